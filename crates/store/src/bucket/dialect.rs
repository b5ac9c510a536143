//! What a server of buckets can do, in whatever dialect it is asked.
//!
//! It holds the nouns of buckets and the list of what a dialect must do. It sends nothing.

use std::fmt;

use frazil_model::location::{Location, Object};

use super::lifecycle::{Days, Rule, Wanted};
use crate::{
    asking::{Way, lasting},
    error::StoreError,
    read::Fingerprint,
    web::Marks,
};

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// What the server says of its content.
    pub state: State,
    /// When it was written, by the server's clock, in seconds since 1970.
    pub modified_seconds: Option<u64>,
}

/// What tells one content of an object from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The tag, where it is not just the digest: of a million objects that are listed it often is.
    tag: Option<Box<str>>,
    /// A digest of its bytes that anybody can make.
    pub digest: Option<Digest>,
}

impl State {
    /// The state of this tag and this digest.
    #[must_use]
    pub fn new(tag: &str, digest: Option<Digest>) -> Self {
        let of_digest = digest.and_then(|digest| digest.to_etag());
        let is_told = of_digest.as_deref().unwrap_or_default() == tag;
        Self { tag: (!is_told).then(|| tag.into()), digest }
    }

    /// What conditions are made of: an `ETag` without quotes, or a generation; empty if the server says none.
    #[must_use]
    pub fn tag(&self) -> String {
        match &self.tag {
            Some(tag) => tag.to_string(),
            None => self.digest.and_then(|digest| digest.to_etag()).unwrap_or_default(),
        }
    }
}

/// A digest that servers keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Digest {
    /// MD5 of all bytes.
    Md5([u8; 16]),
    /// MD5 of the MD5s of so many parts, as objects have that were sent in parts.
    Md5OfParts {
        /// The digest of digests.
        digest: [u8; 16],
        /// How many there were.
        n_parts: u32,
    },
    /// CRC-32C of all bytes.
    Crc32c(u32),
}

impl Digest {
    /// The digest that an `ETag` of Amazon S3 is: `900150983cd24fb0d6963f7d28e17f72`, or `…-3` for three parts.
    #[must_use]
    pub fn of_etag(etag: &str) -> Option<Self> {
        let (hex, n_parts) = etag.split_once('-').map_or((etag, None), |(hex, n_parts)| (hex, Some(n_parts)));
        let digest = bytes_of_hex(hex)?;
        match n_parts {
            None => Some(Self::Md5(digest)),
            Some(n_parts) => Some(Self::Md5OfParts { digest, n_parts: n_parts.parse().ok()? }),
        }
    }

    /// The digest in words.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Crc32c(sum) => format!("crc32c {sum:08x}"),
            other => other.to_etag().unwrap_or_default(),
        }
    }

    /// The `ETag` that it is, if it is one.
    #[must_use]
    pub fn to_etag(&self) -> Option<String> {
        match self {
            Self::Md5(digest) => Some(hex(digest)),
            Self::Md5OfParts { digest, n_parts } => Some(format!("{}-{n_parts}", hex(digest))),
            Self::Crc32c(_) => None,
        }
    }
}

fn bytes_of_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects, in the order of the server.
    pub objects: Vec<Listed>,
    /// What keys go on with up to the next slash, where only one level was asked for; with that slash.
    pub folders: Vec<String>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

impl Page {
    /// The page, if all it names begins as it was asked for.
    pub(crate) fn checked(self, prefix: &str) -> Result<Self, &'static str> {
        let objects = self.objects.iter().map(|object| &object.key);
        match objects.chain(&self.folders).all(|key| key.starts_with(prefix)) {
            true => Ok(self),
            false => Err("the listing names a key that was not asked for"),
        }
    }
}

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every key.
    All,
    /// Up to the next slash.
    One,
}

/// What a listing is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub prefix: &'a str,
    pub depth: Depth,
    /// What the page before said, for the first page nothing.
    pub next: Option<&'a str>,
}

/// When a put is to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When<'a> {
    /// Whatever is there.
    Always,
    /// If nothing is there.
    Absent,
    /// If what is there has this tag.
    Is(&'a str),
}

/// Bytes for an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub bytes: &'a [u8],
    pub md5: [u8; 16],
    pub when: When<'a>,
}

/// An upload in parts that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upload {
    /// The key that it will have.
    pub key: String,
    /// What the server calls it.
    pub id: String,
    /// When it began, in seconds since 1970, by the server's clock, where that is said.
    pub begun_seconds: Option<u64>,
}

/// A part of an upload that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// What the server calls it; in most dialects the MD5 of its bytes.
    pub tag: String,
    /// Its size.
    pub size_bytes: u64,
}

/// The object that a server is to copy by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Original<'a> {
    /// Its bucket, as the server knows it.
    pub bucket: &'a str,
    /// Its key there.
    pub key: &'a str,
    /// The content that is meant; empty: any.
    pub tag: &'a str,
}

/// What requests of a server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No part but the last may be smaller.
    pub part_min_bytes: u64,
    /// No part may be larger.
    pub part_max_bytes: u64,
    /// Parts of one object.
    pub most_parts: u32,
    /// The largest object that the server copies in one request.
    pub copy_max_bytes: u64,
    /// Keys that one request can delete.
    pub most_deleted: usize,
}

/// Where errors say that they happened.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub object: Object,
    /// What comes before a key in the bucket: an alias leads into one.
    pub below: String,
}

impl Naming {
    /// The place of a key of the bucket.
    pub fn location(&self, key: &str) -> Location {
        let key = key.strip_prefix(&self.below).unwrap_or(key);
        Location::Object(self.object.with_key(key.to_owned()))
    }
}

/// What a dialect must do. Keys are those of the bucket.
pub(crate) trait Dialect: fmt::Debug + Send + Sync {
    /// Where a key is, for errors.
    fn location(&self, key: &str) -> Location;

    /// Why the server takes no object of this key, where that is known without asking it.
    fn unkept(&self, _key: &str) -> Option<&'static str> {
        None
    }

    /// How an object is read.
    fn way_to(&self, key: &str) -> Way;

    /// The state of an object, where the server tells it better than in an answer to HEAD; else `None`.
    fn fingerprint(&self, _key: &str) -> Result<Option<Fingerprint>, StoreError> {
        Ok(None)
    }

    /// The state that [`Self::fingerprint`] would give, from what an answer with a part of the object says.
    fn state_of(&self, marks: &Marks) -> Option<String> {
        Some(marks.to_state())
    }

    /// A page of the objects whose keys begin alike.
    fn page(&self, asked: &Asked<'_>) -> Result<Page, StoreError>;

    /// The same of names after `last`, that one perhaps included; `None` if the server cannot be asked for them.
    fn page_after(&self, _prefix: &str, _depth: Depth, _last: &str) -> Result<Option<Page>, StoreError> {
        Ok(None)
    }

    /// What is at a key now; `None` if nothing is.
    fn about(&self, key: &str) -> Result<Option<Listed>, StoreError>;

    /// The state of a fingerprint of an object, as answers to its reader will say it; empty if they will not.
    fn mark(&self, state: &State) -> String;

    /// Puts an object whole: [`StoreError::Taken`] if the condition does not hold.
    fn put(&self, key: &str, sent: &Sent<'_>) -> Result<State, StoreError>;

    /// Deletes objects; what is not there is no error. Answers those that are still there, with the reason.
    fn delete(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError>;

    /// Copies within the server.
    fn copy(&self, from: &Original<'_>, key: &str) -> Result<State, StoreError>;

    /// Begins an upload in parts.
    fn begin(&self, key: &str) -> Result<Upload, StoreError>;

    /// Sends a part.
    fn part(&self, upload: &Upload, number: u32, sent: &Sent<'_>) -> Result<Part, StoreError>;

    /// Lets the server copy bytes `first..=last` of another object into a part. By itself a server copies objects whole,
    /// however large they are.
    fn copy_part(
        &self,
        upload: &Upload,
        _number: u32,
        _from: &Original<'_>,
        _range: std::ops::RangeInclusive<u64>,
    ) -> Result<Part, StoreError> {
        Err(lasting(&self.location(&upload.key), "its server copies objects whole, not in parts"))
    }

    /// The parts that are there.
    fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError>;

    /// When an upload was begun or last got a part, in seconds since 1970; `None` if the server does not say.
    fn touched_seconds(&self, upload: &Upload) -> Result<Option<u64>, StoreError> {
        Ok(upload.begun_seconds)
    }

    /// Makes the parts one object.
    fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError>;

    /// Gives an upload up; it is no error if there is none.
    fn abort(&self, upload: &Upload) -> Result<(), StoreError>;

    /// The uploads that have begun, of keys that begin alike.
    fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError>;

    /// The rules by which the server deletes, and how it counts days; `None` if it cannot be asked for them.
    fn rules(&self) -> Result<Option<(Vec<Rule>, Days)>, StoreError> {
        Ok(None)
    }

    /// Sets or takes away the rule of keys that begin alike. Answers whether the server takes rules from whoever reads and
    /// writes.
    fn set_rule(&self, _prefix: &str, _wanted: Wanted) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// The names of all buckets of the server that may be seen.
    fn buckets(&self) -> Result<Vec<String>, StoreError>;

    /// What requests may hold.
    fn limits(&self) -> Limits;

    /// What tells this server and who signs there from others: copies within the server need the same.
    fn server(&self) -> String;

    /// The name that the server knows the bucket by.
    fn bucket(&self) -> &str;
}
