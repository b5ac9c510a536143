//! The document of the lifecycle of a bucket, as Amazon and Ceph have it, and how a rule is put in it.
//!
//! Source: the Amazon S3 API reference, `GetBucketLifecycleConfiguration`. A server takes only whole documents: the rules
//! that are not ours go back as the very text that they came as, and with them what a header says beside the document.

use serde::Deserialize;

use super::{
    dialect::Dialect,
    documents::of_root,
    lifecycle::{Goes, Rule, Wanted, id_of},
    s3::S3,
};
use crate::{
    digest::{base64, md5},
    error::StoreError,
    open::{Method, Sending},
    settled::seconds_of_rfc3339,
};

/// What begins a document.
const HEAD: &str =
    r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#;
const TAIL: &str = "</LifecycleConfiguration>";

/// How a server says that there are none, and what that is as a document.
const NO_RULES: &str = "NoSuchLifecycleConfiguration";
const NONE: &str = "<LifecycleConfiguration/>";

/// The header that says from which size on objects change their class by themselves.
pub(super) const LEAST_MOVED: &str = "x-amz-transition-default-minimum-object-size";

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Rule", default)]
    rules: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ID", default)]
    id: String,
    status: String,
    prefix: Option<String>,
    filter: Option<Filter>,
    expiration: Option<Expiration>,
    abort_incomplete_multipart_upload: Option<Abort>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    prefix: Option<String>,
    #[serde(default)]
    tag: Vec<serde::de::IgnoredAny>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
    and: Option<Box<Filter>>,
    /// Of Ceph: only objects of such a kind.
    #[serde(default)]
    flag: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Expiration {
    days: Option<u64>,
    date: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Abort {
    days_after_initiation: Option<u64>,
}

impl S3 {
    /// The rules by which the server deletes.
    pub fn told_rules(&self) -> Result<Vec<Rule>, StoreError> {
        rules(&self.lifecycle()?).map_err(|error| self.nonsense("", error))
    }

    /// Sets or takes away the rule of a prefix.
    pub fn send_rule(&self, prefix: &str, wanted: Wanted) -> Result<(), StoreError> {
        let way = self.way_to_bucket("lifecycle=".into());
        let (text, least_moved) = match self.send("", &way, &Sending::new(Method::GET, &[])) {
            Err(StoreError::Absent { code: Some(code), .. }) if code == NO_RULES => (NONE.to_owned(), None),
            said => said.map(|said| (said.text, said.least_moved))?,
        };
        let document = with_rule(&text, prefix, wanted).map_err(|error| self.nonsense("", error))?;
        let mut sending = match &document {
            Some(text) => Sending::new(Method::PUT, text.as_bytes()).with("content-md5", base64(&md5(text.as_bytes()))),
            None => Sending::new(Method::DELETE, &[]),
        };
        // Without it Amazon takes its own default, by which rules of others would move other objects.
        if let (Some(_), Some(least)) = (&document, least_moved) {
            sending = sending.with(LEAST_MOVED, least);
        }
        self.send("", &self.way_to_bucket("lifecycle=".into()), &sending).map(drop)
    }

    fn lifecycle(&self) -> Result<String, StoreError> {
        match self.text(&self.location(""), "lifecycle=".into()) {
            Err(StoreError::Absent { code: Some(code), .. }) if code == NO_RULES => Ok(NONE.into()),
            text => text,
        }
    }
}

/// The rules that a document holds.
///
/// # Errors
/// What makes no sense in it.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let document: Document = of_root(text, "LifecycleConfiguration")?;
    document.rules.into_iter().map(Entry::rule).collect()
}

impl Entry {
    fn rule(self) -> Result<Rule, String> {
        let filter = self.filter.unwrap_or_default();
        let (and, plain) = (filter.and.as_deref(), &filter);
        let prefix = [self.prefix.as_ref(), plain.prefix.as_ref(), and.and_then(|and| and.prefix.as_ref())];
        let has = |some: fn(&Filter) -> bool| some(plain) || and.is_some_and(some);
        let mut only = Vec::new();
        if has(|filter| !filter.tag.is_empty()) {
            only.push("objects with certain tags".to_owned());
        }
        if has(|filter| !filter.flag.is_empty()) {
            only.push("objects of a certain kind".to_owned());
        }
        let goes = match self.expiration {
            None => Goes::Never,
            Some(Expiration { days: Some(days), .. }) => Goes::AfterDays(days),
            Some(Expiration { date: Some(date), .. }) => {
                Goes::From(seconds_of_rfc3339(&date).ok_or_else(|| format!("`{date}` is no moment"))?)
            }
            // It is about marks of what was deleted.
            Some(_) => Goes::Never,
        };
        Ok(Rule {
            prefixes: vec![prefix.into_iter().flatten().next().cloned().unwrap_or_default()],
            is_enabled: self.status == "Enabled",
            goes,
            uploads_days: self.abort_incomplete_multipart_upload.and_then(|abort| abort.days_after_initiation),
            more_than_bytes: plain.object_size_greater_than.or(and.and_then(|and| and.object_size_greater_than)),
            fewer_than_bytes: plain.object_size_less_than.or(and.and_then(|and| and.object_size_less_than)),
            only,
            is_pair: false,
            id: self.id,
        })
    }
}

/// The document with the rule of a prefix set or taken away; `None` if no rule is left.
///
/// # Errors
/// What makes no sense in the document.
pub(super) fn with_rule(text: &str, prefix: &str, wanted: Wanted) -> Result<Option<String>, String> {
    let all = rules(text)?;
    let pieces = pieces(text);
    if pieces.len() != all.len() {
        return Err("its rules cannot be told apart".into());
    }
    let id = id_of(prefix);
    let mut kept: Vec<String> =
        all.iter().zip(pieces).filter(|(rule, _)| rule.id != id).map(|(_, text)| text.to_owned()).collect();
    if let Wanted::Days(days) = wanted {
        let (id, prefix) = (quick_xml::escape::escape(&id), quick_xml::escape::escape(prefix));
        kept.push(format!(
            "<Rule><ID>{id}</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>{days}</Days></Expiration><AbortIncompleteMultipartUpload>\
             <DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
        ));
    }
    Ok((!kept.is_empty()).then(|| format!("{HEAD}{}{TAIL}", kept.concat())))
}

/// The text of each rule.
fn pieces(text: &str) -> Vec<&str> {
    const OPEN: &str = "<Rule>";
    const CLOSE: &str = "</Rule>";
    text.match_indices(OPEN)
        .filter_map(|(at, _)| text.get(at..)?.find(CLOSE).and_then(|end| text.get(at..at + end + CLOSE.len())))
        .collect()
}

#[cfg(test)]
#[allow(clippy::expect_used)] // Tests: their panics are their verdicts.
mod tests {
    use super::*;

    const OTHERS: &str = "<Rule><ID>logs &amp; more</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
        <Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule><Rule><Prefix>old/</Prefix><Status>Disabled</Status>\
        <Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration></Rule><Rule><ID>v</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>\
        <NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays></NoncurrentVersionExpiration></Rule>";

    fn document(rules: &str) -> String {
        format!("{HEAD}{rules}{TAIL}")
    }

    #[test]
    fn rules_are_read() {
        let read = rules(&document(OTHERS)).expect("they make sense");
        let told: Vec<_> = read.iter().map(|rule| (rule.prefixes.join(","), rule.is_enabled, rule.goes)).collect();
        assert_eq!(
            told,
            [
                ("logs/".into(), true, Goes::AfterDays(3)),
                ("old/".into(), false, Goes::From(1_893_456_000)),
                (String::new(), true, Goes::Never)
            ]
        );
        assert!(!read[0].only.is_empty() && read[1].only.is_empty());
    }

    #[test]
    fn the_rules_of_others_stay_word_for_word() {
        let set = with_rule(&document(OTHERS), "a&b/", Wanted::Days(7)).expect("they make sense").expect("one is set");
        assert!(set.contains(OTHERS), "{set}");
        let ours = rules(&set).expect("it makes sense").pop().expect("one is set");
        assert_eq!(
            (ours.prefixes.join(","), ours.goes, ours.uploads_days),
            ("a&b/".into(), Goes::AfterDays(7), Some(7))
        );
        let again = with_rule(&set, "a&b/", Wanted::Days(9)).expect("they make sense").expect("one is set");
        assert_eq!(rules(&again).expect("it makes sense").len(), 4);
        let gone = with_rule(&set, "a&b/", Wanted::Nothing).expect("they make sense");
        assert_eq!(gone, Some(document(OTHERS)));
        assert_eq!(with_rule(&document(""), "x", Wanted::Nothing), Ok(None));
        assert_eq!(rules(NONE).map(|rules| rules.len()), Ok(0));
    }

    #[test]
    fn a_page_of_the_web_is_no_document_without_rules() {
        for page in ["<html><body>Please sign in</body></html>", "<!DOCTYPE html><html></html>", "<Error/>", "", "text"]
        {
            assert!(rules(page).is_err() && with_rule(page, "x/", Wanted::Days(7)).is_err(), "{page}");
        }
    }
}
