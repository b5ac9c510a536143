//! `frazil scratch`: what goes when, what is kept, what is old, and the rule.

mod expire;
mod keep;
mod list;
mod rule;

use frazil_store::{
    bucket::lifecycle::{Goes, Rule},
    rfc3339,
};

pub use expire::run as expire;
pub use keep::run as keep;
pub use list::run as list;
pub use rule::run as rule;

use crate::output::bytes;

/// A rule in words.
fn words_of(rule: &Rule) -> String {
    let what = match rule.prefixes.as_slice() {
        [one] if one.is_empty() => "everything".to_owned(),
        prefixes => prefixes.iter().map(|prefix| format!("`{prefix}…`")).collect::<Vec<_>>().join(", "),
    };
    let mut text = match rule.goes {
        Goes::Never => format!("{what} stays"),
        Goes::AfterDays(1) => format!("{what} goes after 1 day"),
        Goes::AfterDays(days) => format!("{what} goes after {days} days"),
        Goes::From(0) => format!("{what} goes"),
        Goes::From(moment) => format!("{what} goes from {} on", moment_of(moment)),
    };
    for (bytes_, how) in [(rule.more_than_bytes, "more"), (rule.fewer_than_bytes, "fewer")] {
        text.push_str(&bytes_.map(|n| format!(", of {how} than {}", bytes(n))).unwrap_or_default());
    }
    if !rule.only.is_empty() {
        text.push_str(&format!(", only {}", rule.only.join(" and ")));
    }
    if let Some(days) = rule.uploads_days {
        text.push_str(&format!(", uploads that have not ended after {days} days"));
    }
    if !rule.is_enabled {
        text.push_str(", but it is not in force");
    }
    text
}

/// A moment as people write it.
fn moment_of(seconds: u64) -> String {
    let text = rfc3339(seconds);
    format!("{} UTC", text.get(..16).unwrap_or_default().replace('T', " "))
}

/// A stretch of time in the largest unit that it is a multiple of.
fn stretch(seconds: u64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    // A day or two are told in hours.
    let unit = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit) && (*unit < 86_400 || seconds / unit > 2));
    let (unit, name) = unit.unwrap_or(&(1, "second"));
    let n = seconds / unit;
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_people_say_them() {
        for (seconds, expected) in
            [(172_800, "48 hours"), (604_800, "7 days"), (60, "1 minute"), (61, "61 seconds"), (86_400, "24 hours")]
        {
            assert_eq!(stretch(seconds), expected);
        }
    }
}
