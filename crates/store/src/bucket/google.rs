//! The dialect of Google Cloud Storage.
//!
//! Objects are named and asked about in JSON, because there a key is one part of the path, byte for byte, and a
//! generation tells every content from another. Uploads in parts are made in XML, the one interface that has them; see
//! `docs/design/0018`. It promises that a put that was acknowledged holds the bytes that were sent, by the digest that
//! the server made of them. Source: the Cloud Storage JSON and XML API references.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use frazil_model::location::Location;

use super::{
    dialect::{Asked, Depth, Dialect, Digest, Limits, Listed, Naming, Original, Page, Part, Sent, State, Upload, When},
    documents,
    exchange::{exchange, exchange_once, one_by_one},
    google_documents::{Listing, Resource, Rewritten, buckets_of},
    google_lifecycle,
    lifecycle::{Days, Rule, Wanted},
    s3::{S3, sent_in_query},
};
use crate::{
    address::Address,
    asking::{Fault, Way, lasting, with_retries},
    digest::{base64, crc32c, crc32c_of_pieces},
    error::StoreError,
    open::{Method, Sending},
    read::Fingerprint,
    sign::Sign,
    web::Marks,
};

/// What is asked about an object.
const FIELDS: &str = "name,size,generation,md5Hash,crc32c,updated";

/// One rewrite copies a gigabyte or more; no object has more than five terabytes.
const MOST_REWRITES: usize = 100_000;

/// A server may copy for half a minute before it answers.
const COPIED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Buckets of one project that are held.
const MOST_BUCKETS: usize = 100_000;

/// The largest object.
const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// The tag and the CRC-32C of each part, by its number.
type DigestsOfParts = HashMap<u32, (String, u32)>;

/// A bucket of Google.
#[derive(Debug)]
pub(super) struct Google {
    naming: Naming,
    server: Address,
    /// What comes before all paths of the server.
    path: String,
    bucket: String,
    signer: Option<Arc<dyn Sign>>,
    signed_as: String,
    /// Whose buckets are named when all are asked for.
    project: Option<String>,
    /// For uploads in parts.
    xml: S3,
    /// The digest of each part that this process sent, by upload and number: the server keeps one of the whole only.
    digests: Mutex<HashMap<String, DigestsOfParts>>,
}

impl Google {
    pub fn new(
        naming: &Naming,
        bucket: String,
        server: Address,
        signer: Option<Arc<dyn Sign>>,
        signed_as: String,
        project: Option<String>,
    ) -> Self {
        let path = server.path().trim_end_matches('/').trim_end_matches("/storage/v1").to_owned();
        let xml = S3 {
            naming: naming.clone(),
            server: server.clone(),
            path: format!("{path}/{}", sent_in_query(&bucket)),
            bucket: bucket.clone(),
            signer: signer.clone(),
            signed_as: signed_as.clone(),
            quotes: super::s3::Quotes::Around,
            sent_key: sent_in_query,
        };
        Self {
            naming: naming.clone(),
            server,
            path,
            bucket,
            signer,
            signed_as,
            project,
            xml,
            digests: Mutex::default(),
        }
    }

    fn way(&self, path: &str, query: String) -> Way {
        let query = Some(query).filter(|query| !query.is_empty());
        let address = self.server.with_sent_path(format!("{}{path}", self.path), query);
        Way { address, signer: self.signer.clone() }
    }

    /// The path of the bucket itself.
    fn itself(&self) -> String {
        format!("/storage/v1/b/{}", sent_in_query(&self.bucket))
    }

    /// The rules by which the server deletes, as it tells them.
    fn lifecycle(&self) -> Result<String, StoreError> {
        let way = self.way(&self.itself(), "fields=lifecycle,metageneration".into());
        Ok(exchange(&self.location(""), &way, &Sending::new(Method::GET, &[]))?.text)
    }

    /// The path of the objects of the bucket.
    fn objects(&self) -> String {
        format!("/storage/v1/b/{}/o", sent_in_query(&self.bucket))
    }

    fn way_to_resource(&self, key: &str, query: String) -> Way {
        self.way(&format!("{}/{}", self.objects(), sent_in_query(key)), query)
    }

    fn way_to_page(&self, asked: &Asked<'_>, from: Option<&str>) -> Way {
        let mut query = format!("prefix={}&maxResults=1000", sent_in_query(asked.prefix));
        if asked.depth == Depth::One {
            query.push_str("&delimiter=%2F");
        }
        if let Some(token) = asked.next {
            query.push_str(&format!("&pageToken={}", sent_in_query(token)));
        }
        if let Some(from) = from {
            query.push_str(&format!("&startOffset={}", sent_in_query(from)));
        }
        query.push_str(&format!("&fields=kind,nextPageToken,prefixes,items({FIELDS})"));
        self.way(&self.objects(), query)
    }

    fn read_page(&self, text: &str, asked: &Asked<'_>) -> Result<Page, StoreError> {
        let page = Listing::read(text, asked.next).and_then(|page| Ok(page.checked(asked.prefix)?));
        page.map_err(|reason| lasting(&self.location(asked.prefix), reason))
    }

    fn nonsense(&self, key: &str, reason: impl std::fmt::Display) -> StoreError {
        lasting(&self.location(key), format!("the server's answer makes no sense: {reason}"))
    }

    fn resource(&self, key: &str, text: &str) -> Result<Listed, StoreError> {
        Resource::read(text).map_err(|reason| self.nonsense(key, reason))
    }

    /// Whether the server has what was sent.
    fn check(&self, key: &str, state: &State, sent: &Sent<'_>) -> Result<(), StoreError> {
        let expected = match state.digest {
            Some(Digest::Md5(_)) => Digest::Md5(sent.md5),
            Some(Digest::Crc32c(_)) => Digest::Crc32c(crc32c(sent.bytes)),
            _ => return Ok(()),
        };
        self.same(key, state.digest, expected)
    }

    fn same(&self, key: &str, got: Option<Digest>, wanted: Digest) -> Result<(), StoreError> {
        match got {
            Some(got) if got != wanted => {
                Err(StoreError::Damaged { location: self.location(key), wanted: wanted.shown(), got: got.shown() })
            }
            _ => Ok(()),
        }
    }

    fn remember(&self, upload: &Upload, part: &Part, digest: u32) {
        let mut all = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(upload.id.clone()).or_default().insert(part.number, (part.tag.clone(), digest));
    }

    fn forget(&self, upload: &Upload) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).remove(&upload.id);
    }

    /// The digest of the object that these parts make, if this process sent them all.
    fn digest_of(&self, upload: &Upload, parts: &[Part]) -> Option<Digest> {
        let all = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&upload.id)?;
        let sums: Option<Vec<(u32, u64)>> = parts
            .iter()
            .map(|part| {
                let (_, sum) = known.get(&part.number).filter(|(tag, _)| *tag == part.tag)?;
                Some((*sum, part.size_bytes))
            })
            .collect();
        crc32c_of_pieces(sums?).map(Digest::Crc32c)
    }

    /// The object that parts have become, if it is that.
    fn made_of(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError> {
        let Some(there) = self.about(&upload.key)? else {
            return Err(self.nonsense(&upload.key, "it took the parts, and there is no object"));
        };
        let wanted: u64 = parts.iter().map(|part| part.size_bytes).sum();
        if there.size_bytes != wanted {
            return Err(StoreError::Damaged {
                location: self.location(&upload.key),
                wanted: format!("{wanted} bytes"),
                got: format!("{} bytes", there.size_bytes),
            });
        }
        if let (Some(wanted), Some(Digest::Crc32c(_))) = (self.digest_of(upload, parts), there.state.digest) {
            self.same(&upload.key, there.state.digest, wanted)?;
        }
        Ok(there.state)
    }
}

impl Dialect for Google {
    fn location(&self, key: &str) -> Location {
        self.naming.location(key)
    }

    /// As Google's "Object naming requirements" have it.
    fn unkept(&self, key: &str) -> Option<&'static str> {
        if !(1..=1024).contains(&key.len()) {
            Some("Google keeps names of 1 to 1024 bytes")
        } else if key.contains(['\r', '\n']) {
            Some("Google keeps no name with an end of line")
        } else if matches!(key, "." | "..") || key.starts_with(".well-known/acme-challenge/") {
            Some("Google keeps this name for itself")
        } else {
            None
        }
    }

    fn way_to(&self, key: &str) -> Way {
        self.way(&format!("/download{}/{}", self.objects(), sent_in_query(key)), "alt=media".into())
    }

    fn fingerprint(&self, key: &str) -> Result<Option<Fingerprint>, StoreError> {
        let absent = || StoreError::Absent { location: self.location(key), status: 404, code: None };
        let there = self.about(key)?.ok_or_else(absent)?;
        let state = format!("generation {}", there.state.tag());
        Ok(Some(Fingerprint { size_bytes: there.size_bytes, state }))
    }

    fn state_of(&self, marks: &Marks) -> Option<String> {
        marks.generation.as_ref().map(|generation| format!("generation {generation}"))
    }

    fn page(&self, asked: &Asked<'_>) -> Result<Page, StoreError> {
        let reply =
            exchange(&self.location(asked.prefix), &self.way_to_page(asked, None), &Sending::new(Method::GET, &[]))?;
        self.read_page(&reply.text, asked)
    }

    fn page_after(&self, prefix: &str, depth: Depth, last: &str) -> Result<Option<Page>, StoreError> {
        let asked = Asked { prefix, depth, next: None };
        let way = self.way_to_page(&asked, Some(last));
        match exchange(&self.location(prefix), &way, &Sending::new(Method::GET, &[])) {
            // It does not know the question.
            Err(StoreError::Fetch { is_temporary: false, .. }) => Ok(None),
            reply => self.read_page(&reply?.text, &asked).map(Some),
        }
    }

    fn about(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        let way = self.way_to_resource(key, format!("fields={FIELDS}"));
        match exchange(&self.location(key), &way, &Sending::new(Method::GET, &[])) {
            Ok(reply) => self.resource(key, &reply.text).map(Some),
            // A bucket that is not there is an error, an object is none.
            Err(StoreError::Absent { code, .. }) if code.as_deref() != Some("NoSuchBucket") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn mark(&self, state: &State) -> String {
        match state.tag() {
            tag if tag.is_empty() => tag,
            tag => format!("generation {tag}"),
        }
    }

    fn put(&self, key: &str, sent: &Sent<'_>) -> Result<State, StoreError> {
        let condition = match sent.when {
            When::Always => String::new(),
            When::Absent => "&ifGenerationMatch=0".into(),
            When::Is(generation) => format!("&ifGenerationMatch={}", sent_in_query(generation)),
        };
        let query = format!("uploadType=media&name={}{condition}&fields={FIELDS}", sent_in_query(key));
        let way = self.way(&format!("/upload{}", self.objects()), query);
        let sending = Sending::new(Method::POST, sent.bytes)
            .with("content-type", "application/octet-stream")
            .with("x-goog-hash", format!("md5={}", base64(&sent.md5)));
        let location = self.location(key);
        let mut n_tries = 0;
        let put = with_retries(&location, &way, |manners| {
            n_tries += 1;
            match exchange_once(&location, &way, &sending, manners) {
                // An earlier try may have arrived, and only its answer been lost.
                Err(Fault::Final(StoreError::Taken { .. })) if n_tries > 1 => match self.about(key)? {
                    Some(there) if there.state.digest == Some(Digest::Md5(sent.md5)) => Ok(there),
                    _ => Err(StoreError::Taken { location: location.clone() }.into()),
                },
                said => Ok(self.resource(key, &said?.text)?),
            }
        });
        let state = put.map_err(StoreError::while_writing)?.state;
        self.check(key, &state, sent)?;
        Ok(state)
    }

    fn delete(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError> {
        Ok(one_by_one(keys, |key| {
            let way = self.way_to_resource(key, String::new());
            let deleted = exchange(&self.location(key), &way, &Sending::new(Method::DELETE, &[]));
            deleted.map(drop).map_err(StoreError::while_writing)
        }))
    }

    fn copy(&self, from: &Original<'_>, key: &str) -> Result<State, StoreError> {
        let path = format!(
            "/storage/v1/b/{}/o/{}/rewriteTo/b/{}/o/{}",
            sent_in_query(from.bucket),
            sent_in_query(from.key),
            sent_in_query(&self.bucket),
            sent_in_query(key)
        );
        let condition = match from.tag {
            "" => String::new(),
            tag => format!("ifSourceGenerationMatch={}", sent_in_query(tag)),
        };
        let mut token = String::new();
        for _ in 0..MOST_REWRITES {
            let mut query = condition.clone();
            if !token.is_empty() {
                query.push_str(&format!("&rewriteToken={}", sent_in_query(&token)));
            }
            let way = self.way(&path, query.trim_start_matches('&').to_owned());
            let sending = Sending { answer_within: COPIED_WITHIN, ..Sending::new(Method::POST, &[]) };
            let reply = exchange(&self.location(key), &way, &sending).map_err(StoreError::while_writing)?;
            match Rewritten::read(&reply.text).map_err(|reason| self.nonsense(key, reason))? {
                Rewritten::Done(there) => return Ok(there.state),
                Rewritten::GoesOn { token: next } => token = next,
            }
        }
        Err(self.nonsense(key, "the copy does not end"))
    }

    fn begin(&self, key: &str) -> Result<Upload, StoreError> {
        self.xml.begin(key)
    }

    fn part(&self, upload: &Upload, number: u32, sent: &Sent<'_>) -> Result<Part, StoreError> {
        let part = self.xml.part(upload, number, sent)?;
        self.remember(upload, &part, crc32c(sent.bytes));
        Ok(part)
    }

    fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        self.xml.parts(upload)
    }

    fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError> {
        let body = documents::completion(parts);
        let sending = Sending { answer_within: COPIED_WITHIN, ..Sending::new(Method::POST, body.as_bytes()) };
        let state = match self.xml.send_about(upload, &sending) {
            Ok(()) => self.made_of(upload, parts)?,
            // It may have arrived, and only its answer been lost: then there is no such upload any more.
            Err(error @ StoreError::Absent { .. }) => {
                let expected = self.digest_of(upload, parts);
                let there =
                    self.about(&upload.key)?.filter(|there| expected.is_some() && there.state.digest == expected);
                there.ok_or(error)?.state
            }
            Err(error) => return Err(error),
        };
        self.forget(upload);
        Ok(state)
    }

    fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        self.forget(upload);
        self.xml.abort(upload)
    }

    fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        self.xml.uploads(prefix)
    }

    fn touched_seconds(&self, upload: &Upload) -> Result<Option<u64>, StoreError> {
        self.xml.touched_seconds(upload)
    }

    fn rules(&self) -> Result<Option<(Vec<Rule>, Days)>, StoreError> {
        let rules = google_lifecycle::rules(&self.lifecycle()?);
        Ok(Some((rules.map_err(|error| self.nonsense("", error))?, Days::Exact)))
    }

    fn set_rule(&self, prefix: &str, wanted: Wanted) -> Result<bool, StoreError> {
        let text = self.lifecycle()?;
        let (body, generation) =
            google_lifecycle::with_rule(&text, prefix, wanted).map_err(|error| self.nonsense("", error))?;
        let way = self.way(&self.itself(), format!("fields=lifecycle&ifMetagenerationMatch={generation}"));
        let sending = Sending::new(Method::PATCH, body.as_bytes()).with("content-type", "application/json");
        exchange(&self.location(""), &way, &sending).map_err(StoreError::while_writing)?;
        Ok(true)
    }

    fn buckets(&self) -> Result<Vec<String>, StoreError> {
        let location = self.location("");
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let project = self.project.as_deref().map(|project| format!("project={}&", sent_in_query(project)));
            let after = token.as_deref().map(|token| format!("pageToken={}&", sent_in_query(token)));
            let query = [project, after].into_iter().flatten().collect::<String>();
            let query = format!("{query}fields=kind,nextPageToken,items(name)");
            let reply = exchange(&location, &self.way("/storage/v1/b", query), &Sending::new(Method::GET, &[]))?;
            let (names, next) =
                buckets_of(&reply.text, token.as_deref()).map_err(|reason| lasting(&location, reason))?;
            found.extend(names);
            match next {
                Some(next) if found.len() < MOST_BUCKETS => token = Some(next),
                Some(_) => return Err(lasting(&location, format!("it names more than {MOST_BUCKETS} buckets"))),
                None => return Ok(found),
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            part_min_bytes: 5 << 20,
            part_max_bytes: 5 << 30,
            most_parts: 10_000,
            copy_max_bytes: MAX_OBJECT_BYTES,
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
