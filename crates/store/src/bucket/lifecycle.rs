//! What a server deletes by itself: the rules of a bucket's lifecycle.
//!
//! It promises that the rules of others stay as they are when one is set, word for word, and that a moment is told only where
//! the server's documentation says how it comes to be. When a server really deletes is its own affair: never before
//! that moment, and within a day or two after it.

use super::Bucket;
use crate::{bounds, error::StoreError};

const DAY_SECONDS: u64 = 86_400;

/// What the rules that frazil sets are called, with the prefix after it.
const OURS: &str = "frazil-scratch ";

/// The longest name of a rule (Amazon S3 API reference, `LifecycleRule`).
const MAX_ID_BYTES: usize = 255;

/// What the rule of a prefix is called; one that is too long for that by its digest.
pub(super) fn id_of(prefix: &str) -> String {
    match OURS.len() + prefix.len() <= MAX_ID_BYTES {
        true => format!("{OURS}{prefix}"),
        false => format!("{OURS}{}", blake3::hash(prefix.as_bytes()).to_hex()),
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name; empty if it has none.
    pub id: String,
    /// What the keys that it is about begin with, one of these.
    pub prefixes: Vec<String>,
    /// Whether it is in force.
    pub is_enabled: bool,
    /// When an object goes.
    pub goes: Goes,
    /// After so many days uploads go that have not ended.
    pub uploads_days: Option<u64>,
    /// Only objects of more than so many bytes.
    pub more_than_bytes: Option<u64>,
    /// Only objects of fewer than so many bytes.
    pub fewer_than_bytes: Option<u64>,
    /// What else must hold, in words: what listings do not tell, such as tags.
    pub only: Vec<String>,
    /// Where rules have no names: whether another one ends uploads of the same keys after as many days, and neither says more.
    pub is_pair: bool,
}

/// When an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// The rule is about other things.
    Never,
    /// So many days after it was written.
    AfterDays(u64),
    /// From a moment on, in seconds since 1970.
    From(u64),
}

/// How days are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// Up to the next midnight in Greenwich (Amazon S3 user guide, "Expiring objects"; Ceph tells the same).
    ToMidnight,
    /// From moment to moment (Google, "Object Lifecycle Management": `age`).
    Exact,
}

/// The rules of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// All of them, in the order of the server.
    pub all: Vec<Rule>,
    /// How days are counted.
    pub days: Days,
    /// What comes before a key in the bucket.
    pub(super) below: String,
}

impl Rule {
    /// Whether it deletes objects of which it need not be known more than listings tell.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_enabled && self.goes != Goes::Never && self.only.is_empty()
    }

    fn is_about(&self, key: &str, size_bytes: u64) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
            && self.more_than_bytes.is_none_or(|bytes| size_bytes > bytes)
            && self.fewer_than_bytes.is_none_or(|bytes| size_bytes < bytes)
    }

    /// Whether some key that begins with `prefix` could be one that it is about.
    fn touches(&self, prefix: &str) -> bool {
        self.prefixes.iter().any(|own| own.starts_with(prefix) || prefix.starts_with(own.as_str()))
    }
}

impl Rules {
    /// From which moment on the server may delete an object; `None`: it does not, or nobody knows when it was written.
    #[must_use]
    pub fn goes_seconds(&self, key: &str, size_bytes: u64, written_seconds: Option<u64>) -> Option<u64> {
        let key = format!("{}{key}", self.below);
        let moment = |rule: &Rule| match rule.goes {
            Goes::Never => None,
            Goes::From(moment) => Some(moment),
            Goes::AfterDays(days) => Some(self.after(written_seconds?, days)),
        };
        self.all.iter().filter(|rule| rule.is_plain() && rule.is_about(&key, size_bytes)).filter_map(moment).min()
    }

    fn after(&self, written_seconds: u64, days: u64) -> u64 {
        let exact = written_seconds.saturating_add(days.saturating_mul(DAY_SECONDS));
        match self.days {
            Days::Exact => exact,
            Days::ToMidnight => (exact / DAY_SECONDS + 1).saturating_mul(DAY_SECONDS),
        }
    }

    /// Whether a rule is the one that [`Bucket::set_rule`] sets for a prefix, by its name; where rules have none, by being the pair
    /// that it sets and nothing more.
    #[must_use]
    pub fn is_ours(&self, rule: &Rule, prefix: &str) -> bool {
        let prefix = format!("{}{prefix}", self.below);
        let is_of_prefix = rule.prefixes.len() == 1 && rule.prefixes.first() == Some(&prefix);
        rule.id == id_of(&prefix) || (rule.is_pair && is_of_prefix)
    }

    /// The rules that may be about keys that begin with `prefix`, those that are not in force included.
    pub fn about<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a Rule> {
        let prefix = format!("{}{prefix}", self.below);
        self.all.iter().filter(move |rule| rule.touches(&prefix))
    }
}

/// The rule that is to be in force for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Objects go after so many days, and so do uploads that have not ended.
    Days(u32),
    /// Nothing goes by a rule of ours.
    Nothing,
}

impl Bucket {
    /// The rules by which the server deletes; `None` if it cannot be asked for them.
    ///
    /// # Errors
    /// If it does not say.
    pub fn rules(&self) -> Result<Option<Rules>, StoreError> {
        let rules = self.dialect.rules()?;
        Ok(rules.map(|(all, days)| Rules { all, days, below: self.naming.below.clone() }))
    }

    /// Sets the rule of keys that begin with `prefix`, or takes it away; the rules of others stay. Answers those that are
    /// there then, as the server tells them; `None` if it takes none.
    ///
    /// # Errors
    /// If the server does not take it, or has other rules than it was given.
    pub fn set_rule(&self, prefix: &str, wanted: Wanted) -> Result<Option<Rules>, StoreError> {
        bounds::check(&self.location(prefix))?;
        if !self.dialect.set_rule(&self.key(prefix), wanted)? {
            return Ok(None);
        }
        self.rules()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, goes: Goes) -> Rule {
        Rule {
            id: String::new(),
            prefixes: vec![prefix.into()],
            is_enabled: true,
            goes,
            uploads_days: None,
            more_than_bytes: None,
            fewer_than_bytes: None,
            only: Vec::new(),
            is_pair: false,
        }
    }

    #[test]
    fn names_of_rules_are_no_longer_than_servers_take() {
        assert_eq!(id_of("a/"), "frazil-scratch a/");
        let (long, other) = (id_of(&"a".repeat(900)), id_of(&"a".repeat(901)));
        assert!(long.len() <= MAX_ID_BYTES && long != other);
    }

    #[test]
    fn the_earliest_rule_that_is_about_an_object_counts() {
        let off = Rule { is_enabled: false, ..rule("", Goes::AfterDays(1)) };
        let tagged = Rule { only: vec!["tags".into()], ..rule("", Goes::AfterDays(1)) };
        let small = Rule { fewer_than_bytes: Some(10), ..rule("", Goes::AfterDays(2)) };
        let all = vec![off, tagged, small, rule("a/", Goes::AfterDays(7)), rule("a/b", Goes::From(400))];
        let rules = Rules { all, days: Days::Exact, below: String::new() };
        for (key, size_bytes, expected) in [
            ("a/x", 10, Some(1000 + 7 * DAY_SECONDS)),
            ("a/x", 9, Some(1000 + 2 * DAY_SECONDS)),
            ("a/b/x", 10, Some(400)),
            ("x", 10, None),
        ] {
            assert_eq!(rules.goes_seconds(key, size_bytes, Some(1000)), expected, "{key}");
        }
        assert_eq!(rules.goes_seconds("a/x", 10, None), None);
    }

    #[test]
    fn days_end_at_the_next_midnight() {
        let rules = Rules { all: vec![rule("", Goes::AfterDays(7))], days: Days::ToMidnight, below: "x/".into() };
        assert_eq!(rules.goes_seconds("k", 1, Some(1)), Some(8 * DAY_SECONDS));
        assert_eq!(rules.goes_seconds("k", 1, Some(DAY_SECONDS - 1)), Some(8 * DAY_SECONDS));
        assert_eq!(rules.goes_seconds("k", 1, Some(DAY_SECONDS)), Some(9 * DAY_SECONDS));
    }
}
