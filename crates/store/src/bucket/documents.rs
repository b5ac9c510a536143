//! The XML documents of the S3 dialect.
//!
//! Source: the Amazon S3 API reference. No entities are expanded, and what a server adds is passed over.

use std::fmt::Write;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::{
    dialect::{Asked, Depth, Digest, Listed, Page, Part, State, Upload},
    s3::sent_in_query,
};

/// A page of a listing (`ListObjectsV2`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPage {
    #[serde(default)]
    contents: Vec<Entry>,
    #[serde(default)]
    common_prefixes: Vec<Prefix>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    /// How many keys and prefixes the page has, where that is said.
    key_count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    size: u64,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    last_modified: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Prefix {
    prefix: String,
}

/// A document whose root has this name, in whatever space of names. A page that a gateway answers with in place of the server
/// has another one: what is left out in it would be taken for what is not there.
///
/// # Errors
/// What makes no sense in it.
pub(super) fn of_root<T: serde::de::DeserializeOwned>(text: &str, root: &str) -> Result<T, String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(first) | Event::Empty(first) if first.local_name().as_ref() == root => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Text(text) if AsRef::<str>::as_ref(&text).trim().is_empty() => {}
            _ => return Err(format!("it is no `{root}`")),
        }
    }
    quick_xml::de::from_str(text).map_err(|error| error.to_string())
}

impl ListPage {
    /// The page in our nouns.
    ///
    /// # Errors
    /// What makes no sense in it.
    pub fn read(text: &str, asked: &Asked<'_>) -> Result<Page, String> {
        let page: Self =
            quick_xml::de::from_str(text).map_err(|error| format!("the listing makes no sense: {error}"))?;
        let n_named = page.contents.len() + page.common_prefixes.len();
        if page.key_count.is_some_and(|n_keys| n_keys > n_named) {
            return Err(format!(
                "the listing names {n_named} of the {} keys that it says it has",
                page.key_count.unwrap_or(0)
            ));
        }
        let encoding = page.encoding_type.as_deref();
        let decoded =
            |key: String| decoded(key, encoding).ok_or_else(|| "the listing names a key that is no text".to_owned());
        let mut objects = Vec::with_capacity(page.contents.len());
        for entry in page.contents {
            objects.push(Listed {
                key: decoded(entry.key)?,
                size_bytes: entry.size,
                state: state_of(entry.etag.as_deref().unwrap_or_default()),
                modified_seconds: entry.last_modified.as_deref().and_then(crate::settled::seconds_of_rfc3339),
            });
        }
        let folders = page.common_prefixes.into_iter().map(|entry| decoded(entry.prefix)).collect::<Result<_, _>>()?;
        let next = match (page.is_truncated, page.next_continuation_token) {
            (false, _) => None,
            (true, Some(next)) if asked.next != Some(&next) => Some(next),
            (true, _) => return Err("the listing was cut short and does not say how it goes on".into()),
        };
        Ok(Page { objects, folders, next }.checked(asked.prefix)?)
    }
}

fn decoded(key: String, encoding: Option<&str>) -> Option<String> {
    match encoding {
        Some("url") => {
            // Some servers write a space as forms do.
            let plain = key.replace('+', "%20");
            percent_decode_str(&plain).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        }
        _ => Some(key),
    }
}

/// Whether a key could have been made by encoding one: all that is not plain in an address stands there as `%41`.
fn looks_encoded(key: &str) -> bool {
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        let is_right = match byte {
            b'%' => {
                rest.next().is_some_and(|a| a.is_ascii_hexdigit()) && rest.next().is_some_and(|b| b.is_ascii_hexdigit())
            }
            _ => byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte),
        };
        if !is_right {
            return false;
        }
    }
    true
}

/// What a page of a listing is asked for with, in the order of the names, as a signature wants them.
pub(super) fn query_of_page(asked: &Asked<'_>, after: Option<&str>) -> String {
    let mut query = String::new();
    if let Some(token) = asked.next {
        query.push_str(&format!("continuation-token={}&", sent_in_query(token)));
    }
    if asked.depth == Depth::One {
        query.push_str("delimiter=%2F&");
    }
    query.push_str(&format!("encoding-type=url&list-type=2&prefix={}", sent_in_query(asked.prefix)));
    if let Some(last) = after {
        query.push_str(&format!("&start-after={}", sent_in_query(last)));
    }
    query
}

/// What an `ETag` says, with or without its quotes.
pub(super) fn state_of(etag: &str) -> State {
    let tag = etag.trim().trim_matches('"');
    State::new(tag, Digest::of_etag(tag))
}

/// The answer to the beginning of an upload.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub upload_id: String,
}

/// The answer to a copy, of an object or a part.
#[derive(Deserialize)]
pub(super) struct Copied {
    #[serde(rename = "ETag", default)]
    pub etag: String,
}

/// A page of parts (`ListParts`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartsPage {
    #[serde(default)]
    pub part: Vec<PartEntry>,
    #[serde(default)]
    pub is_truncated: bool,
    pub next_part_number_marker: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartEntry {
    part_number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
    last_modified: Option<String>,
}

impl PartEntry {
    pub fn part(self) -> Part {
        Part { number: self.part_number, tag: self.etag.trim_matches('"').to_owned(), size_bytes: self.size }
    }

    pub fn written_seconds(&self) -> Option<u64> {
        self.last_modified.as_deref().and_then(crate::settled::seconds_of_rfc3339)
    }
}

/// A page of uploads (`ListMultipartUploads`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploadsPage {
    #[serde(default)]
    upload: Vec<UploadEntry>,
    #[serde(default)]
    pub is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    encoding_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadEntry {
    key: String,
    upload_id: String,
    initiated: Option<String>,
}

impl UploadsPage {
    /// After which key and which upload the next page begins, as they are sent back: plain.
    pub fn next(&self) -> Option<(String, String)> {
        let key = decoded(self.next_key_marker.clone(), self.encoding_type.as_deref())?;
        Some((key, self.next_upload_id_marker.clone()))
    }

    /// The uploads; `None` if a key is no text.
    pub fn uploads(self) -> Option<Vec<Upload>> {
        // Ceph encodes the keys of uploads as it was asked to, and does not say so (16.2).
        let is_encoded = self.encoding_type.is_none() && self.upload.iter().all(|entry| looks_encoded(&entry.key));
        let encoding = if is_encoded { Some("url".to_owned()) } else { self.encoding_type };
        let upload = |entry: UploadEntry| {
            Some(Upload {
                key: decoded(entry.key, encoding.as_deref())?,
                id: entry.upload_id,
                begun_seconds: entry.initiated.as_deref().and_then(crate::settled::seconds_of_rfc3339),
            })
        };
        self.upload.into_iter().map(upload).collect()
    }
}

/// The buckets of an account (`ListBuckets`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AllBuckets {
    buckets: BucketEntries,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketEntries {
    #[serde(default)]
    bucket: Vec<BucketEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketEntry {
    name: String,
}

impl AllBuckets {
    pub fn names(self) -> Vec<String> {
        self.buckets.bucket.into_iter().map(|entry| entry.name).collect()
    }
}

/// The answer to a deletion of many: those that are still there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Deleted {
    #[serde(default)]
    pub error: Vec<DeleteError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteError {
    pub key: String,
    pub code: String,
}

/// The answer to the question for all buckets: who asked, and their names.
pub(super) fn buckets(text: &str) -> (Option<String>, Vec<String>) {
    let Ok(said) = quick_xml::de::from_str::<Buckets>(text) else { return (None, Vec::new()) };
    let who = said.owner.map(|owner| match owner.display_name {
        Some(name) if !name.is_empty() && name != owner.id => format!("{} ({name})", owner.id),
        _ => owner.id,
    });
    let is_plain = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
    let names = said.buckets.unwrap_or_default().bucket.into_iter().map(|bucket| bucket.name);
    (who.filter(is_plain), names.filter(is_plain).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Buckets {
    owner: Option<Owner>,
    buckets: Option<BucketList>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct BucketList {
    #[serde(default)]
    bucket: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Owner {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "DisplayName")]
    display_name: Option<String>,
}

/// Whether a key comes through an XML document as it is.
pub(super) fn is_plain_in_xml(key: &str) -> bool {
    key.chars().all(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// The request to delete `keys`.
pub(super) fn deletion(keys: &[&str]) -> String {
    let mut text = String::from("<Delete><Quiet>true</Quiet>");
    for key in keys {
        let _ = write!(text, "<Object><Key>{}</Key></Object>", quick_xml::escape::escape(*key));
    }
    text.push_str("</Delete>");
    text
}

/// The request to make parts one object.
pub(super) fn completion(parts: &[Part]) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for part in parts {
        let _ = write!(
            text,
            "<Part><PartNumber>{}</PartNumber><ETag>\"{}\"</ETag></Part>",
            part.number,
            quick_xml::escape::escape(part.tag.as_str())
        );
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// The code of an error that came with status 200, as copies and completions have them.
pub(super) fn code_of_error(text: &str) -> Option<&str> {
    let (before, rest) = text.split_once("<Code>")?;
    before.contains("<Error>").then_some(())?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::dialect::Depth;

    const fn asked(next: Option<&str>) -> Asked<'_> {
        Asked { prefix: "", depth: Depth::One, next }
    }

    #[test]
    fn keys_of_uploads_are_encoded_whether_that_is_said_or_not() {
        let page = |encoding: &str, key: &str| {
            let text = format!(
                "<ListMultipartUploadsResult>{encoding}<NextKeyMarker>{key}</NextKeyMarker><Upload><Key>{key}</Key>\
                 <UploadId>1</UploadId></Upload></ListMultipartUploadsResult>"
            );
            let page: UploadsPage = quick_xml::de::from_str(&text).unwrap();
            let next = page.next().unwrap().0;
            (page.uploads().unwrap()[0].key.clone(), next)
        };
        let said = "<EncodingType>url</EncodingType>";
        assert_eq!(page(said, "a%2Fb+c"), ("a/b c".into(), "a/b c".into()));
        assert_eq!(page("", "a/two%20%C3%BC%2B%25").0, "a/two ü+%");
        assert_eq!(page("", "a/two ü+%"), ("a/two ü+%".into(), "a/two ü+%".into()));
    }

    #[test]
    fn a_page_says_what_is_there_and_how_it_goes_on() {
        let text = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
                    <NextContinuationToken>t</NextContinuationToken><Contents><Key>a%20b+c%2F</Key><Size>3</Size>\
                    <ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag>\
                    <LastModified>2026-11-20T17:42:17.123Z</LastModified></Contents>\
                    <CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>";
        let page = ListPage::read(text, &asked(None)).unwrap();
        assert_eq!((page.objects[0].key.as_str(), page.objects[0].size_bytes), ("a b c/", 3));
        assert!(matches!(page.objects[0].state.digest, Some(Digest::Md5(_))));
        assert_eq!(page.objects[0].modified_seconds, Some(1_795_196_537));
        assert_eq!((page.folders, page.next), (vec!["d/".to_owned()], Some("t".to_owned())));
        assert!(ListPage::read(text, &asked(Some("t"))).is_err(), "a page that leads to itself");
        assert!(ListPage::read("<ListBucketResult><IsTruncated>tr", &asked(None)).is_err());
    }

    #[test]
    fn objects_and_folders_may_come_in_one_order() {
        let object = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag></Contents>");
        let folder = |key: &str| format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>");
        let items = [object("a"), folder("b/"), object("c"), folder("d/"), object("e")].concat();
        let text = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>");
        let page = ListPage::read(&text, &asked(None)).unwrap();
        let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((keys, page.folders), (vec!["a", "c", "e"], vec!["b/".to_owned(), "d/".to_owned()]));
    }

    #[test]
    fn tags_say_how_they_were_made() {
        let tag = "900150983cd24fb0d6963f7d28e17f72";
        assert_eq!(Digest::of_etag(tag).and_then(|digest| digest.to_etag()).as_deref(), Some(tag));
        let parts = format!("{tag}-12");
        assert_eq!(Digest::of_etag(&parts).and_then(|digest| digest.to_etag()), Some(parts));
        assert_eq!(Digest::of_etag("0x8D"), None);
    }

    #[test]
    fn keys_are_escaped_where_they_stand_in_a_document() {
        assert!(deletion(&["a<b&c"]).contains("<Key>a&lt;b&amp;c</Key>"));
        assert_eq!(code_of_error("<?xml?><Error><Code>SlowDown</Code></Error>"), Some("SlowDown"));
        assert_eq!(code_of_error("<CopyObjectResult/>"), None);
    }
}
