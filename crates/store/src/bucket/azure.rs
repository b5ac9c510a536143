//! The dialect of Azure's blobs.
//!
//! It promises that a put that was acknowledged holds the bytes that were sent, by their MD5; that parts of several
//! uploads of one key do not mix, because each is named by its upload, its number and its MD5; and that a key which
//! Azure would keep under another name is refused. An upload is no thing of its own there: parts that nobody made an
//! object of are seen by no reader and are dropped by the server after a week, or when the key is next written; see
//! `docs/design/0018`. Source: Microsoft Learn, "Blob service REST API".

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use frazil_model::location::Location;
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    azure_documents::{BlockId, Blocks, Listing, block_list, containers_of},
    dialect::{
        Asked, Depth, Dialect, Digest, Limits, Listed, Naming, Original, Page, Part, Sent, State, Upload, When, hex,
    },
    digest_of_parts,
    exchange::{Reply, exchange, exchange_once, one_by_one},
    s3::{sent_in_path, sent_in_query},
};
use crate::{
    address::Address,
    asking::{Fault, Way, lasting, with_retries},
    digest::{base64, bytes_of_base64},
    error::StoreError,
    open::{Method, Sending},
    read::Fingerprint,
    settled::seconds_of_web_date,
    sign::Sign,
    web::Marks,
};

/// Pages of one listing of uploads.
const MOST_PAGES: usize = 100_000;

/// A server may look at 50,000 parts before it answers.
const MADE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// The first wait for a copy under way; each is twice the one before.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// The longest wait between two looks.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// A copy that takes longer is given up.
const COPIED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// The digest of the parts of an object, kept with it: Azure makes none of a whole that came in parts.
const DIGEST_HEADER: &str = "x-ms-meta-frazilparts";

/// A container of Azure.
#[derive(Debug)]
pub(super) struct Azure {
    naming: Naming,
    server: Address,
    /// What comes before a key in the path of an address.
    path: String,
    bucket: String,
    signer: Option<Arc<dyn Sign>>,
    signed_as: String,
}

impl Azure {
    pub fn new(
        naming: &Naming,
        bucket: String,
        server: Address,
        signer: Option<Arc<dyn Sign>>,
        signed_as: String,
    ) -> Self {
        let path = format!("{}/{}", server.path().trim_end_matches('/'), sent_in_path(&bucket));
        Self { naming: naming.clone(), server, path, bucket, signer, signed_as }
    }

    fn way(&self, key: &str, query: Option<String>) -> Way {
        let address = self.server.with_sent_path(format!("{}/{}", self.path, sent_in_path(key)), query);
        Way { address, signer: self.signer.clone() }
    }

    fn nonsense(&self, key: &str, reason: impl std::fmt::Display) -> StoreError {
        lasting(&self.location(key), format!("the server's answer makes no sense: {reason}"))
    }

    fn send(&self, key: &str, query: Option<String>, sending: &Sending<'_>) -> Result<Reply, StoreError> {
        exchange(&self.location(key), &self.way(key, query), sending).map_err(StoreError::while_writing)
    }

    /// A put with its length, which is signed.
    fn putting(bytes: &[u8]) -> Sending<'_> {
        Sending::new(Method::PUT, bytes).with("content-length", bytes.len().to_string())
    }

    /// What a HEAD says of a blob; `None` if there is none.
    fn head(&self, key: &str) -> Result<Option<Reply>, StoreError> {
        match exchange(&self.location(key), &self.way(key, None), &Sending::new(Method::HEAD, &[])) {
            Ok(reply) => Ok(Some(reply)),
            Err(StoreError::Absent { code, .. }) if code.as_deref() != Some("ContainerNotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn listing(&self, prefix: &str, include: &str, more: &str, next: Option<&str>) -> Result<Listing, StoreError> {
        let location = self.location(prefix);
        let marker = next.map_or_else(String::new, |next| format!("&marker={}", sent_in_query(next)));
        let query = format!(
            "comp=list&include={include}{marker}&maxresults=5000&prefix={}&restype=container{more}",
            sent_in_query(prefix)
        );
        let address = self.server.with_sent_path(self.path.clone(), Some(query));
        let way = Way { address, signer: self.signer.clone() };
        let reply = exchange(&location, &way, &Sending::new(Method::GET, &[]))?;
        Listing::read(&reply.text, next).map_err(|reason| lasting(&location, reason))
    }

    /// The parts of a key that no object was made of; none if there is no such key.
    fn blocks(&self, key: &str) -> Result<Vec<(BlockId, u64)>, StoreError> {
        let way = self.way(key, Some("blocklisttype=uncommitted&comp=blocklist".into()));
        match exchange(&self.location(key), &way, &Sending::new(Method::GET, &[])) {
            Ok(reply) => Blocks::read(&reply.text).map_err(|reason| self.nonsense(key, reason)),
            Err(StoreError::Absent { code, .. }) if code.as_deref() != Some("ContainerNotFound") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn block_id(&self, upload: &Upload, part: &Part) -> Result<BlockId, StoreError> {
        let id = BlockId::of(&upload.id, part.number, &part.tag);
        id.ok_or_else(|| lasting(&self.location(&upload.key), "it has no such upload or part"))
    }
}

/// What a blob is, from the headers of an answer.
fn listed(key: &str, reply: &Reply) -> Option<Listed> {
    Some(Listed {
        key: key.to_owned(),
        size_bytes: reply.header("content-length").parse().ok()?,
        state: State::new(tag(reply), digest(reply)),
        modified_seconds: seconds_of_web_date(reply.header("last-modified")),
    })
}

fn tag(reply: &Reply) -> &str {
    reply.header("etag").trim_matches('"')
}

fn digest(reply: &Reply) -> Option<Digest> {
    digest_of(reply.header("content-md5"), reply.header(DIGEST_HEADER))
}

/// The digest of a blob, from what the server keeps of it and what was kept with it.
pub(super) fn digest_of(md5: &str, of_parts: &str) -> Option<Digest> {
    match bytes_of_base64(md5).and_then(|bytes| bytes.try_into().ok()) {
        Some(md5) => Some(Digest::Md5(md5)),
        None => Digest::of_etag(of_parts).filter(|digest| matches!(digest, Digest::Md5OfParts { .. })),
    }
}

fn conditional<'a>(sending: Sending<'a>, when: When<'_>) -> Sending<'a> {
    match when {
        When::Always => sending,
        When::Absent => sending.with("if-none-match", "*"),
        When::Is(tag) => sending.with("if-match", format!("\"{tag}\"")),
    }
}

/// Why Azure would keep a key under another name, or not at all.
fn unkept(key: &str) -> Option<&'static str> {
    if key.split('/').any(|part| part.ends_with('.')) {
        "Azure keeps no name of which a part ends with a dot"
    } else if key.contains('\\') {
        "Azure takes a backslash for a slash"
    } else if key.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        "Azure keeps no name with such a letter"
    } else if key.is_empty() || key.chars().count() > 1024 {
        "Azure keeps names of 1 to 1024 letters"
    } else {
        return None;
    }
    .into()
}

/// Refuses a key that Azure would keep under another name.
fn keeps_its_name(key: &str) -> Result<(), StoreError> {
    match unkept(key) {
        Some(reason) => Err(StoreError::UnsafeKey { key: key.to_owned(), reason }),
        None => Ok(()),
    }
}

impl Dialect for Azure {
    fn location(&self, key: &str) -> Location {
        self.naming.location(key)
    }

    fn unkept(&self, key: &str) -> Option<&'static str> {
        unkept(key)
    }

    fn way_to(&self, key: &str) -> Way {
        self.way(key, None)
    }

    fn fingerprint(&self, key: &str) -> Result<Option<Fingerprint>, StoreError> {
        let absent = || StoreError::Absent { location: self.location(key), status: 404, code: None };
        let reply = self.head(key)?.ok_or_else(absent)?;
        let size_bytes = reply.header("content-length").parse();
        let size_bytes = size_bytes.map_err(|_| self.nonsense(key, "it does not say how large it is"))?;
        // As an answer to a question for a range says it.
        let state = format!("etag {}\nmodified {}", reply.header("etag"), reply.header("last-modified"));
        Ok(Some(Fingerprint { size_bytes, state }))
    }

    fn state_of(&self, marks: &Marks) -> Option<String> {
        Some(format!("etag {}\nmodified {}", marks.etag.as_ref()?, marks.modified.as_ref()?))
    }

    fn page(&self, asked: &Asked<'_>) -> Result<Page, StoreError> {
        let more = if asked.depth == Depth::One { "&delimiter=%2F" } else { "" };
        let page = self.listing(asked.prefix, "metadata", more, asked.next)?.page();
        page.checked(asked.prefix).map_err(|reason| lasting(&self.location(asked.prefix), reason))
    }

    fn about(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        let Some(reply) = self.head(key)? else { return Ok(None) };
        listed(key, &reply).map(Some).ok_or_else(|| self.nonsense(key, "it does not say how large it is"))
    }

    fn mark(&self, state: &State) -> String {
        match state.tag() {
            tag if tag.is_empty() => tag,
            tag => format!("etag \"{tag}\""),
        }
    }

    fn put(&self, key: &str, sent: &Sent<'_>) -> Result<State, StoreError> {
        keeps_its_name(key)?;
        let sending = Self::putting(sent.bytes)
            .with("content-md5", base64(&sent.md5))
            .with("content-type", "application/octet-stream")
            .with("x-ms-blob-type", "BlockBlob");
        let sending = conditional(sending, sent.when);
        let (location, way) = (self.location(key), self.way(key, None));
        let mut n_tries = 0;
        let put = with_retries(&location, &way, |manners| {
            n_tries += 1;
            match exchange_once(&location, &way, &sending, manners) {
                // An earlier try may have arrived, and only its answer been lost.
                Err(Fault::Final(StoreError::Taken { .. })) if n_tries > 1 => match self.about(key)? {
                    Some(there) if there.state.digest == Some(Digest::Md5(sent.md5)) => Ok(there.state),
                    _ => Err(StoreError::Taken { location: location.clone() }.into()),
                },
                Err(fault) => Err(fault),
                Ok(reply) => Ok(State::new(tag(&reply), digest(&reply))),
            }
        });
        let state = put.map_err(StoreError::while_writing)?;
        let wanted = Digest::Md5(sent.md5);
        match state.digest {
            Some(got) if got != wanted => Err(StoreError::Damaged {
                location,
                wanted: wanted.to_etag().unwrap_or_default(),
                got: got.to_etag().unwrap_or_default(),
            }),
            // It compared the digest that came with the bytes, and keeps it.
            _ => Ok(State::new(&state.tag(), Some(wanted))),
        }
    }

    fn delete(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError> {
        Ok(one_by_one(keys, |key| self.send(key, None, &Sending::new(Method::DELETE, &[])).map(drop)))
    }

    fn copy(&self, from: &Original<'_>, key: &str) -> Result<State, StoreError> {
        keeps_its_name(key)?;
        let path = format!(
            "{}/{}/{}",
            self.server.path().trim_end_matches('/'),
            sent_in_path(from.bucket),
            sent_in_path(from.key)
        );
        let source = self.server.with_sent_path(path, None).to_string();
        let mut sending = Self::putting(&[]).with("x-ms-copy-source", source);
        if !from.tag.is_empty() {
            sending = sending.with("x-ms-source-if-match", format!("\"{}\"", from.tag));
        }
        let began = Instant::now();
        let mut reply = self.send(key, None, &sending)?;
        let id = reply.header("x-ms-copy-id").to_owned();
        let mut wait = FIRST_LOOK;
        while reply.header("x-ms-copy-status") == "pending" {
            if began.elapsed() > COPIED_WITHIN {
                return Err(lasting(&self.location(key), "the copy does not end"));
            }
            std::thread::sleep(wait);
            wait = wait.saturating_mul(2).min(LONGEST_LOOK);
            reply = self.head(key)?.ok_or_else(|| self.nonsense(key, "the copy is gone"))?;
            if reply.header("x-ms-copy-id") != id {
                return Err(StoreError::Taken { location: self.location(key) });
            }
        }
        match reply.header("x-ms-copy-status") {
            "success" | "" => {}
            status => return Err(lasting(&self.location(key), format!("the server's copy ended with `{status}`"))),
        }
        let there = self.about(key)?.ok_or_else(|| self.nonsense(key, "the copy is gone"))?;
        Ok(there.state)
    }

    fn begin(&self, key: &str) -> Result<Upload, StoreError> {
        keeps_its_name(key)?;
        let mut id = [0; 8];
        let random = SystemRandom::new().fill(&mut id);
        random.map_err(|_| lasting(&self.location(key), "this machine has no random numbers"))?;
        Ok(Upload { key: key.to_owned(), id: hex(&id), begun_seconds: None })
    }

    fn part(&self, upload: &Upload, number: u32, sent: &Sent<'_>) -> Result<Part, StoreError> {
        let part = Part { number, tag: hex(&sent.md5), size_bytes: sent.bytes.len() as u64 };
        let id = self.block_id(upload, &part)?;
        let query = format!("blockid={}&comp=block", sent_in_query(&id.sent()));
        let sending = Self::putting(sent.bytes).with("content-md5", base64(&sent.md5));
        // The server compares the digest, and takes no other bytes.
        self.send(&upload.key, Some(query), &sending)?;
        Ok(part)
    }

    fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        let blocks = self.blocks(&upload.key)?.into_iter().filter(|(id, _)| id.upload() == upload.id);
        let mut parts: Vec<Part> =
            blocks.map(|(id, size_bytes)| Part { number: id.number(), tag: hex(&id.digest()), size_bytes }).collect();
        parts.sort_by_key(|part| part.number);
        parts.dedup_by_key(|part| part.number);
        Ok(parts)
    }

    fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError> {
        let ids: Result<Vec<BlockId>, StoreError> = parts.iter().map(|part| self.block_id(upload, part)).collect();
        let body = block_list(&ids?);
        let digest = digest_of_parts(parts);
        let mut sending = Sending { answer_within: MADE_WITHIN, ..Self::putting(body.as_bytes()) }
            .with("content-type", "application/xml")
            .with("x-ms-blob-content-type", "application/octet-stream");
        if let Some(text) = digest.and_then(|digest| digest.to_etag()) {
            sending = sending.with(DIGEST_HEADER, text);
        }
        // Made again of the same parts it is the same: an answer that was lost does no harm.
        self.send(&upload.key, Some("comp=blocklist".into()), &sending)?;
        let Some(there) = self.about(&upload.key)? else {
            return Err(self.nonsense(&upload.key, "it took the parts, and there is no object"));
        };
        let wanted: u64 = parts.iter().map(|part| part.size_bytes).sum();
        if there.size_bytes != wanted || (digest.is_some() && there.state.digest != digest) {
            return Err(StoreError::Damaged {
                location: self.location(&upload.key),
                wanted: format!("{wanted} bytes of {} parts", parts.len()),
                got: format!("{} bytes of other parts", there.size_bytes),
            });
        }
        Ok(there.state)
    }

    /// The parts are seen by nobody, and the server drops them. There is no request that takes away only them.
    fn abort(&self, _upload: &Upload) -> Result<(), StoreError> {
        Ok(())
    }

    fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let mut keys = Vec::new();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            // An object that is there shows no parts in a listing.
            keys.push(prefix.to_owned());
        }
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let page = self.listing(prefix, "uncommittedblobs", "", next.as_deref())?.page();
            keys.extend(page.objects.into_iter().filter(|object| object.size_bytes == 0).map(|object| object.key));
            match page.next {
                Some(token) => next = Some(token),
                None => break,
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut found: Vec<Upload> = Vec::new();
        for key in keys.into_iter().filter(|key| key.starts_with(prefix)) {
            for (id, _) in self.blocks(&key)? {
                let upload = Upload { key: key.clone(), id: id.upload(), begun_seconds: None };
                if !found.contains(&upload) {
                    found.push(upload);
                }
            }
        }
        Ok(found)
    }

    fn buckets(&self) -> Result<Vec<String>, StoreError> {
        let location = self.location("");
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let marker = next.as_deref().map_or_else(String::new, |next| format!("&marker={}", sent_in_query(next)));
            let path = format!("{}/", self.server.path().trim_end_matches('/'));
            let address = self.server.with_sent_path(path, Some(format!("comp=list{marker}")));
            let way = Way { address, signer: self.signer.clone() };
            let reply = exchange(&location, &way, &Sending::new(Method::GET, &[]))?;
            let (names, after) =
                containers_of(&reply.text, next.as_deref()).map_err(|reason| lasting(&location, reason))?;
            found.extend(names);
            match after {
                Some(after) => next = Some(after),
                None => break,
            }
        }
        Ok(found)
    }

    fn limits(&self) -> Limits {
        Limits {
            part_min_bytes: 1,
            part_max_bytes: 4000 << 20,
            most_parts: 50_000,
            // All that can be there.
            copy_max_bytes: 50_000 * (4000 << 20),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_would_get_another_name_is_refused() {
        for key in ["a//b", " a", "ü/%41+&=?#", "a/", "..x", ".zarr/c/0"] {
            assert!(keeps_its_name(key).is_ok(), "{key}");
        }
        for key in ["./a", "a/../b", "a.", "a./b", "a\\b", "a\nb", ""] {
            assert!(keeps_its_name(key).is_err(), "{key}");
        }
    }
}
