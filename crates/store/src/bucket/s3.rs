//! The dialect of Amazon S3, as Amazon and Ceph speak it.
//!
//! It promises that a put that was acknowledged holds the bytes that were sent, by their MD5; that a put whose
//! acknowledgement was lost is recognised, not taken for somebody else's; and that an error inside an answer of status
//! 200 is an error. Source: the Amazon S3 API reference; where Ceph differs it says so beside the code.

use std::{io::Read, time::Duration};

use frazil_model::location::Location;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    dialect::{
        Asked, Depth, Dialect, Digest, Limits, Listed, Naming, Original, Page, Part, Sent, State, Upload, When, hex,
    },
    documents::{self, AllBuckets, Begun, Copied, Deleted, ListPage, UploadsPage, of_root, state_of},
    lifecycle::{Days, Rule, Wanted},
    s3_lifecycle::LEAST_MOVED,
};
use crate::{
    address::Address,
    asking::{Fault, Way, again, follow, lasting, refusal, with_retries},
    digest::{base64, md5},
    error::StoreError,
    manners::{Manners, count_received},
    open::{Answer, Ask, Method, Sending},
    settled::seconds_of_web_date,
    sign::Sign,
    web,
};

/// What stands in an address as it is (RFC 3986, section 2.3), and slashes.
const SENT_AS_IT_IS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The same without slashes, for values in a query.
const SENT_IN_A_QUERY: &AsciiSet = &SENT_AS_IT_IS.add(b'/');

/// A page of a listing has a thousand keys of at most a kilobyte, which may be escaped.
pub(super) const MAX_PAGE_BYTES: u64 = 16 << 20;

/// A server may copy five gigabytes before it answers.
const COPIED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Pages of parts or uploads of one listing.
pub(super) const MOST_PAGES: usize = 10_000;

/// A bucket whose server speaks S3.
#[derive(Debug)]
pub(super) struct S3 {
    pub naming: Naming,
    pub server: Address,
    /// What comes before a key in the path of an address.
    pub path: String,
    pub bucket: String,
    pub signer: Option<std::sync::Arc<dyn Sign>>,
    /// The name of the key that signs, which is no secret.
    pub signed_as: String,
    /// Whether tags stand in conditions with quotes: Amazon has them so, Ceph knows none that have.
    pub quotes: Quotes,
    /// How a key stands in the path of an address.
    pub sent_key: fn(&str) -> String,
}

/// How a tag stands in a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    Around,
    None,
}

/// A text as it stands in the path of an address.
pub(super) fn sent_in_path(text: &str) -> String {
    utf8_percent_encode(text, SENT_AS_IT_IS).to_string()
}

/// A text as it stands in a query, or as one part of a path.
pub(super) fn sent_in_query(text: &str) -> String {
    utf8_percent_encode(text, SENT_IN_A_QUERY).to_string()
}

impl S3 {
    fn way(&self, path: String, query: Option<String>) -> Way {
        Way { address: self.server.with_sent_path(path, query), signer: self.signer.clone() }
    }

    /// The way to an object, with what is asked about it; the query's names are in their order.
    pub(super) fn way_with(&self, key: &str, query: Option<String>) -> Way {
        self.way(format!("{}/{}", self.path, (self.sent_key)(key)), query)
    }

    pub(super) fn way_to_bucket(&self, query: String) -> Way {
        self.way(format!("{}/", self.path), Some(query))
    }

    /// Sends something and reads the answer, again if that may help. Answers the text and what headers say.
    pub(super) fn send(&self, key: &str, way: &Way, sending: &Sending<'_>) -> Result<Said, StoreError> {
        let location = self.location(key);
        let said = with_retries(&location, way, |manners| said_once(&location, way, sending, manners));
        said.map_err(StoreError::while_writing)
    }

    /// Sends something about a whole upload.
    pub fn send_about(&self, upload: &Upload, sending: &Sending<'_>) -> Result<(), StoreError> {
        self.send(&upload.key, &self.way_with(&upload.key, Self::query_of(upload, None)), sending).map(drop)
    }

    /// A document of the server about itself.
    pub(super) fn text(&self, location: &Location, query: String) -> Result<String, StoreError> {
        web::text(location, &self.way_to_bucket(query), MAX_PAGE_BYTES)
    }

    pub(super) fn nonsense(&self, key: &str, reason: impl std::fmt::Display) -> StoreError {
        lasting(&self.location(key), format!("the server's answer makes no sense: {reason}"))
    }

    fn tag_in_condition(&self, tag: &str, quotes: Quotes) -> String {
        match quotes {
            Quotes::Around => format!("\"{tag}\""),
            Quotes::None => tag.to_owned(),
        }
    }

    /// One put, with its condition in one spelling.
    fn put_as(&self, key: &str, sent: &Sent<'_>, quotes: Quotes) -> Result<State, StoreError> {
        let way = self.way_with(key, None);
        let mut sending = Sending::new(Method::PUT, sent.bytes).with("content-md5", base64(&sent.md5));
        match sent.when {
            When::Always => {}
            When::Absent => sending = sending.with("if-none-match", "*"),
            When::Is(tag) => sending = sending.with("if-match", self.tag_in_condition(tag, quotes)),
        }
        let location = self.location(key);
        let mut n_tries = 0;
        let put = with_retries(&location, &way, |manners| {
            n_tries += 1;
            match said_once(&location, &way, &sending, manners) {
                // An earlier try may have arrived, and only its answer been lost.
                Err(Fault::Final(StoreError::Taken { .. })) if n_tries > 1 => match self.about(key)? {
                    Some(there) if there.state.digest == Some(Digest::Md5(sent.md5)) => Ok(Said::of(there.state)),
                    _ => Err(StoreError::Taken { location: location.clone() }.into()),
                },
                said => said,
            }
        });
        let said = put.map_err(StoreError::while_writing)?;
        let state = state_of(&said.etag);
        self.check(key, &state, Digest::Md5(sent.md5), &said)?;
        Ok(state)
    }

    /// Whether the server has what was sent. With keys of its own it tells no digest of the bytes.
    fn check(&self, key: &str, state: &State, expected: Digest, said: &Said) -> Result<(), StoreError> {
        match state.digest {
            Some(got) if got != expected && !said.is_encrypted => Err(StoreError::Damaged {
                location: self.location(key),
                wanted: expected.to_etag().unwrap_or_default(),
                got: got.to_etag().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Deletes objects with a request for each.
    fn delete_alone(&self, keys: &[&str]) -> Vec<(String, StoreError)> {
        let mut left = Vec::new();
        for key in keys {
            match self.send(key, &self.way_to(key), &Sending::new(Method::DELETE, &[])) {
                Ok(_) | Err(StoreError::Absent { code: None, .. }) => {}
                Err(StoreError::Absent { code: Some(code), .. }) if code == "NoSuchKey" => {}
                Err(error) => left.push(((*key).to_owned(), error)),
            }
        }
        left
    }

    /// Deletes objects with one request.
    fn delete_together(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError> {
        let body = documents::deletion(keys);
        let digest = base64(&md5(body.as_bytes()));
        let sending = Sending::new(Method::POST, body.as_bytes()).with("content-md5", digest);
        let said = self.send("", &self.way_to_bucket("delete=".into()), &sending)?;
        let deleted: Deleted = of_root(&said.text, "DeleteResult").map_err(|error| self.nonsense("", error))?;
        let refused = |error: documents::DeleteError| {
            let why = StoreError::Denied {
                location: self.location(&error.key),
                status: 200,
                code: Some(error.code),
                signed_by: self.signer.as_ref().map(|signer| signer.profile().to_owned()),
            };
            (error.key, why)
        };
        Ok(deleted.error.into_iter().map(refused).collect())
    }

    fn source(&self, from: &Original<'_>, sending: Sending<'static>) -> Sending<'static> {
        let source = format!("/{}/{}", sent_in_path(from.bucket), sent_in_path(from.key));
        let sending = sending.with("x-amz-copy-source", source);
        match from.tag {
            "" => sending,
            tag => sending.with("x-amz-copy-source-if-match", self.tag_in_condition(tag, self.quotes)),
        }
    }

    fn query_of(upload: &Upload, number: Option<u32>) -> Option<String> {
        let number = number.map_or_else(String::new, |number| format!("partNumber={number}&"));
        Some(format!("{number}uploadId={}", sent_in_query(&upload.id)))
    }

    /// What a completion that may have arrived has left at its key.
    fn completed(&self, upload: &Upload, expected: Option<Digest>) -> Result<Option<State>, StoreError> {
        let there = self.about(&upload.key)?;
        Ok(there.map(|there| there.state).filter(|state| state.digest == expected && expected.is_some()))
    }
}

/// What an answer said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    /// From which size on objects change their class by themselves; rules that are sent must say it again.
    pub(super) least_moved: Option<String>,
    etag: String,
    /// Whether the server encrypts with keys of its own; then its tags are no digests.
    is_encrypted: bool,
}

impl Said {
    fn of(state: State) -> Self {
        Self { etag: state.tag(), ..Self::default() }
    }
}

fn said_once(location: &Location, way: &Way, sending: &Sending<'_>, manners: &Manners) -> Result<Said, Fault> {
    let (mut answer, _turn) = follow(location, way, Ask::Send(sending), manners)?;
    if !(200..300).contains(&answer.status) {
        return Err(refusal(location, way, &mut answer));
    }
    let etag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
    let is_encrypted = answer.header("x-amz-server-side-encryption").is_some_and(|kind| kind != "AES256")
        || answer.header("x-amz-server-side-encryption-customer-algorithm").is_some();
    let least_moved = answer.header(LEAST_MOVED).map(str::to_owned);
    let text = whole_text(&mut answer)?;
    match documents::code_of_error(&text) {
        None => Ok(Said { text, least_moved, etag, is_encrypted }),
        Some(code @ ("SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout")) => {
            Err(again(format!("the server answered 200 and in it {code}")))
        }
        Some(code) => Err(lasting(location, format!("the server answered 200 and in it {code}")).into()),
    }
}

fn whole_text(answer: &mut Answer) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    let read = (&mut answer.body).take(MAX_PAGE_BYTES).read_to_end(&mut bytes);
    count_received(bytes.len() as u64);
    read.map_err(|_| again("the answer broke off"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Dialect for S3 {
    fn location(&self, key: &str) -> Location {
        self.naming.location(key)
    }

    fn way_to(&self, key: &str) -> Way {
        self.way_with(key, None)
    }

    fn page(&self, asked: &Asked<'_>) -> Result<Page, StoreError> {
        let location = self.location(asked.prefix);
        let text = self.text(&location, documents::query_of_page(asked, None))?;
        ListPage::read(&text, asked).map_err(|reason| lasting(&location, reason))
    }

    fn page_after(&self, prefix: &str, depth: Depth, last: &str) -> Result<Option<Page>, StoreError> {
        let (location, asked) = (self.location(prefix), Asked { prefix, depth, next: None });
        match self.text(&location, documents::query_of_page(&asked, Some(last))) {
            // It does not know the question.
            Err(StoreError::Fetch { is_temporary: false, .. }) => Ok(None),
            text => ListPage::read(&text?, &asked).map(Some).map_err(|reason| lasting(&location, reason)),
        }
    }

    fn about(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        let (location, way) = (self.location(key), self.way_to(key));
        let found = with_retries(&location, &way, |manners| {
            let (mut answer, _turn) = follow(&location, &way, Ask::Head, manners)?;
            if answer.status != 200 {
                return Err(refusal(&location, &way, &mut answer));
            }
            let size_bytes = answer.header("content-length").and_then(|text| text.parse().ok());
            Ok(Listed {
                key: key.to_owned(),
                size_bytes: size_bytes.ok_or_else(|| again("the server does not say how large it is"))?,
                state: state_of(answer.header("etag").unwrap_or_default()),
                modified_seconds: answer.header("last-modified").and_then(seconds_of_web_date),
            })
        });
        match found {
            Err(StoreError::Absent { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    fn mark(&self, state: &State) -> String {
        match state.tag() {
            tag if tag.is_empty() => tag,
            tag => format!("etag \"{tag}\""),
        }
    }

    fn put(&self, key: &str, sent: &Sent<'_>) -> Result<State, StoreError> {
        match (self.put_as(key, sent, self.quotes), sent.when) {
            // Whoever wants the other spelling of a tag says that the condition does not hold; the tag tells.
            (Err(StoreError::Taken { location }), When::Is(tag)) => {
                if self.about(key)?.is_none_or(|there| there.state.tag() != tag) {
                    return Err(StoreError::Taken { location });
                }
                let other = if self.quotes == Quotes::None { Quotes::Around } else { Quotes::None };
                self.put_as(key, sent, other)
            }
            (put, _) => put,
        }
    }

    fn delete(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError> {
        let (together, alone): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| documents::is_plain_in_xml(key));
        if together.len() < 2 {
            return Ok(self.delete_alone(keys));
        }
        let mut left = match self.delete_together(&together) {
            // Whoever may delete below a prefix alone may not ask the bucket for it (Ceph 16.2).
            Err(StoreError::Denied { .. }) => self.delete_alone(&together),
            left => left?,
        };
        left.extend(self.delete_alone(&alone));
        Ok(left)
    }

    fn copy(&self, from: &Original<'_>, key: &str) -> Result<State, StoreError> {
        let sending = Sending { answer_within: COPIED_WITHIN, ..Sending::new(Method::PUT, &[]) };
        let said = self.send(key, &self.way_to(key), &self.source(from, sending))?;
        let copied: Copied = quick_xml::de::from_str(&said.text).map_err(|error| self.nonsense(key, error))?;
        let state = state_of(&copied.etag);
        // Ceph 16 takes no notice of the condition. A copy has the digest of its original, where that is of all bytes.
        match (state.digest, Digest::of_etag(from.tag)) {
            (Some(got @ Digest::Md5(_)), Some(wanted @ Digest::Md5(_))) if got != wanted && !said.is_encrypted => {
                let reason = "its original is another object now".to_owned();
                Err(StoreError::Changed { location: self.location(key), reason })
            }
            _ => Ok(state),
        }
    }

    fn begin(&self, key: &str) -> Result<Upload, StoreError> {
        let way = self.way_with(key, Some("uploads=".into()));
        let said = self.send(key, &way, &Sending::new(Method::POST, &[]))?;
        let begun: Begun = quick_xml::de::from_str(&said.text).map_err(|error| self.nonsense(key, error))?;
        Ok(Upload { key: key.to_owned(), id: begun.upload_id, begun_seconds: None })
    }

    fn part(&self, upload: &Upload, number: u32, sent: &Sent<'_>) -> Result<Part, StoreError> {
        let way = self.way_with(&upload.key, Self::query_of(upload, Some(number)));
        let sending = Sending::new(Method::PUT, sent.bytes).with("content-md5", base64(&sent.md5));
        let said = self.send(&upload.key, &way, &sending)?;
        self.check(&upload.key, &state_of(&said.etag), Digest::Md5(sent.md5), &said)?;
        let tag = if said.etag.is_empty() { hex(&sent.md5) } else { said.etag };
        Ok(Part { number, tag, size_bytes: sent.bytes.len() as u64 })
    }

    fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: &Original<'_>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Part, StoreError> {
        let way = self.way_with(&upload.key, Self::query_of(upload, Some(number)));
        let sending = Sending { answer_within: COPIED_WITHIN, ..Sending::new(Method::PUT, &[]) }
            .with("x-amz-copy-source-range", format!("bytes={}-{}", range.start(), range.end()));
        let said = self.send(&upload.key, &way, &self.source(from, sending))?;
        let copied: Copied = quick_xml::de::from_str(&said.text).map_err(|error| self.nonsense(&upload.key, error))?;
        let tag = copied.etag.trim_matches('"').to_owned();
        Ok(Part { number, tag, size_bytes: range.end() - range.start() + 1 })
    }

    fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        self.listed_parts(upload)
    }

    fn touched_seconds(&self, upload: &Upload) -> Result<Option<u64>, StoreError> {
        Ok(self.newest_part_seconds(upload)?.max(upload.begun_seconds))
    }

    fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError> {
        let expected = super::digest_of_parts(parts);
        let body = documents::completion(parts);
        let sending = Sending { answer_within: COPIED_WITHIN, ..Sending::new(Method::POST, body.as_bytes()) };
        let said = self.send(&upload.key, &self.way_with(&upload.key, Self::query_of(upload, None)), &sending);
        match said {
            Ok(said) => {
                // Ceph answers with a tag that is empty (16.2), so the object itself is asked.
                let state = match self.about(&upload.key) {
                    // Whoever may write but not read is told by the parts alone, whose digests the server compared.
                    Err(StoreError::Denied { .. }) => return Ok(State::default()),
                    Err(error) => return Err(error),
                    Ok(Some(there)) => there.state,
                    Ok(None) => return Err(self.nonsense(&upload.key, "it took the parts, and there is no object")),
                };
                expected.map_or(Ok(()), |expected| self.check(&upload.key, &state, expected, &said))?;
                Ok(state)
            }
            // It may have arrived, and only its answer been lost: then there is no such upload any more.
            Err(error @ StoreError::Absent { .. }) => self.completed(upload, expected)?.ok_or(error),
            // Ceph answers 500 then, and of its parts that there is no such key (16.2).
            Err(error @ StoreError::Send { is_temporary: true, .. }) => match self.parts(upload) {
                Err(StoreError::Absent { location, status, .. }) => {
                    let gone = StoreError::Absent { location, status, code: Some("NoSuchUpload".into()) };
                    self.completed(upload, expected)?.ok_or(gone)
                }
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        let way = self.way_with(&upload.key, Self::query_of(upload, None));
        match self.send(&upload.key, &way, &Sending::new(Method::DELETE, &[])) {
            Ok(_) | Err(StoreError::Absent { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let location = self.location(prefix);
        let mut found = Vec::new();
        let mut after = (String::new(), String::new());
        for _ in 0..MOST_PAGES {
            let mut query = String::from("encoding-type=url&");
            if !after.0.is_empty() {
                query.push_str(&format!("key-marker={}&", sent_in_query(&after.0)));
            }
            query.push_str(&format!("prefix={}", sent_in_query(prefix)));
            if !after.1.is_empty() {
                query.push_str(&format!("&upload-id-marker={}", sent_in_query(&after.1)));
            }
            query.push_str("&uploads=");
            let text = self.text(&location, query)?;
            let page: UploadsPage =
                of_root(&text, "ListMultipartUploadsResult").map_err(|error| self.nonsense(prefix, error))?;
            let next = page.next().ok_or_else(|| self.nonsense(prefix, "a key is no text"))?;
            let goes_on = page.is_truncated && next != after;
            let uploads = page.uploads().ok_or_else(|| self.nonsense(prefix, "a key is no text"))?;
            found.extend(uploads.into_iter().filter(|upload| upload.key.starts_with(prefix)));
            if !goes_on {
                break;
            }
            after = next;
        }
        Ok(found)
    }

    fn rules(&self) -> Result<Option<(Vec<Rule>, Days)>, StoreError> {
        self.told_rules().map(|rules| Some((rules, Days::ToMidnight)))
    }

    fn set_rule(&self, prefix: &str, wanted: Wanted) -> Result<bool, StoreError> {
        self.send_rule(prefix, wanted).map(|()| true)
    }

    fn buckets(&self) -> Result<Vec<String>, StoreError> {
        let text = web::text(&self.location(""), &self.way(format!("{}/", self.path), None), MAX_PAGE_BYTES)?;
        let all: AllBuckets = quick_xml::de::from_str(&text).map_err(|error| self.nonsense("", error))?;
        Ok(all.names())
    }

    fn limits(&self) -> Limits {
        Limits {
            part_min_bytes: 5 << 20,
            part_max_bytes: 5 << 30,
            most_parts: 10_000,
            copy_max_bytes: 5 << 30,
            most_deleted: 1000,
        }
    }

    fn server(&self) -> String {
        format!("{} {}", self.server.without_query(), self.signed_as)
    }

    fn bucket(&self) -> &str {
        &self.bucket
    }
}
