//! Buckets: objects by their keys, and what keys there are.
//!
//! It promises that a key is asked for byte for byte, that a listing is whole or an error, never cut short, that what
//! was put is what was sent, and that nothing is asked without a signature unless that was wished for. What the objects
//! mean it does not know; how a server is spoken to its dialect knows.

mod azure;
mod azure_documents;
pub mod check;
mod dialect;
mod documents;
mod exchange;
mod google;
mod google_documents;
mod google_lifecycle;
pub mod lifecycle;
mod opening;
mod pages;
mod s3;
mod s3_lifecycle;
mod s3_parts;
mod whole;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

use frazil_model::location::{Door, Location, Object};

pub use dialect::{Depth, Digest, Limits, Listed, Page, Part, State, Upload, When, hex};
pub(crate) use opening::{GOOGLE_SCOPE, again, may_list, tokens, tokens_for};
pub use pages::Pages;

use crate::{
    asking::Way,
    bounds,
    digest::md5,
    error::StoreError,
    profile::{self, Keys, Profile, Surroundings},
    read::Fingerprint,
    web::{self, Marks},
};
use dialect::{Dialect, Naming, Original, Sent};

/// Keys of one listing that is held whole.
const MOST_KEYS: usize = 50_000_000;

/// Who signs in this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// The profile for `s3://`; by itself it is what the AWS tools would take.
    pub profile: Option<String>,
    /// Whether nothing is signed.
    pub signing: Signing,
}

/// Whether requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signing {
    /// All of them, or there is an error.
    #[default]
    Always,
    /// None: the data is public.
    Never,
}

static CHOSEN: OnceLock<Chosen> = OnceLock::new();

/// Says who signs, before anything is asked. A second call changes nothing.
pub fn choose(chosen: Chosen) {
    let _ = CHOSEN.set(chosen);
}

/// Buckets by door and name.
type Opened = HashMap<(Door, String), Bucket>;

static OPENED: LazyLock<Mutex<Opened>> = LazyLock::new(Mutex::default);

/// The profile that signs for a place.
///
/// # Errors
/// If nobody does.
pub fn profile_of(object: &Object) -> Result<Profile, StoreError> {
    let chosen = CHOSEN.get().cloned().unwrap_or_default();
    let surroundings = Surroundings::of_process();
    if chosen.signing == Signing::Never {
        return Ok(profile::unsigned_at(&surroundings, &object.door, chosen.profile.as_deref()));
    }
    let unsigned = |why: String| StoreError::Unsigned { location: Location::Object(object.clone()), why };
    let profile = profile::of_door(&surroundings, &object.door, chosen.profile.as_deref()).map_err(unsigned)?;
    match &profile.keys {
        Keys::Missing { why } => Err(unsigned(format!("profile `{}` ({}): {why}", profile.name, profile.origin))),
        _ => Ok(profile),
    }
}

/// A bucket whose server and profile are known. Cheap to clone.
///
/// Its keys are those below the place that its door leads to: with an alias into a folder, those below that folder.
#[derive(Debug, Clone)]
pub struct Bucket {
    dialect: Arc<dyn Dialect>,
    naming: Naming,
    name: Arc<str>,
}

impl Bucket {
    /// The bucket of an object. Nothing is asked yet.
    ///
    /// # Errors
    /// If nobody signs for it.
    pub fn of(object: &Object) -> Result<Self, StoreError> {
        let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (object.door.clone(), object.bucket.clone());
        if let Some(bucket) = all.get(&name) {
            return Ok(bucket.clone());
        }
        let bucket = Self::open(object)?;
        all.insert(name, bucket.clone());
        Ok(bucket)
    }

    fn open(object: &Object) -> Result<Self, StoreError> {
        let profile = profile_of(object)?;
        let (bucket, below) = match &profile.below {
            // The paths of an alias start below a place of its own.
            Some(below) => {
                let (bucket, rest) = below.split_once('/').unwrap_or((below, ""));
                (bucket.to_owned(), if rest.is_empty() { String::new() } else { format!("{rest}/") })
            }
            None => (object.bucket.clone(), String::new()),
        };
        let naming = Naming { object: object.with_key(String::new()), below };
        let name = bucket.as_str().into();
        let dialect = opening::dialect(&naming, bucket, &profile)?;
        Ok(Self { dialect, naming, name })
    }

    /// Where a key lies on its server: the bucket's own name and all folders, whatever an alias leaves out.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        format!("{}/{}", self.name, self.key(key))
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.naming.below)
    }

    fn relative(&self, mut listed: Listed) -> Listed {
        listed.key = self.relative_key(&listed.key);
        listed
    }

    fn relative_key(&self, key: &str) -> String {
        key.strip_prefix(&self.naming.below).unwrap_or(key).to_owned()
    }

    /// The place of a key.
    #[must_use]
    pub fn location(&self, key: &str) -> Location {
        Location::Object(self.naming.object.with_key(key.to_owned()))
    }

    /// Why the server takes no object of this key, where that is known without asking it.
    #[must_use]
    pub fn unkept(&self, key: &str) -> Option<&'static str> {
        self.dialect.unkept(&self.key(key))
    }

    /// Objects whose key begins with `prefix`, page by page, in the order of the server.
    #[must_use]
    pub fn pages(&self, prefix: &str, depth: Depth) -> Pages {
        Pages::of(self.clone(), self.key(prefix), depth)
    }

    /// What is at `key` now; `None` if nothing is.
    ///
    /// # Errors
    /// If the server does not say.
    pub fn about(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        Ok(self.dialect.about(&self.key(key))?.map(|listed| self.relative(listed)))
    }

    /// How an object of a listing is recognised when it is read.
    #[must_use]
    pub fn mark(&self, listed: &Listed) -> Fingerprint {
        Fingerprint { size_bytes: listed.size_bytes, state: self.dialect.mark(&listed.state) }
    }

    /// A small object of text; `None` if there is none.
    ///
    /// # Errors
    /// If it is larger than `limit_bytes` or cannot be read.
    pub fn text(&self, key: &str, limit_bytes: u64) -> Result<Option<String>, StoreError> {
        match web::text(&self.location(key), &self.dialect.way_to(&self.key(key)), limit_bytes) {
            Err(StoreError::Absent { .. }) => Ok(None),
            text => text.map(Some),
        }
    }

    /// Puts an object whole, if `when` holds.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if it does not hold; [`StoreError::Damaged`] if the server has other bytes than these.
    pub fn put(&self, key: &str, bytes: &[u8], when: When<'_>) -> Result<State, StoreError> {
        bounds::check(&self.location(key))?;
        self.dialect.put(&self.key(key), &Sent { bytes, md5: md5(bytes), when })
    }

    /// Deletes objects; what is not there is no error. Answers those that are still there, with the reason.
    ///
    /// # Errors
    /// If the server does not say which are.
    pub fn delete(&self, keys: &[&str]) -> Result<Vec<(String, StoreError)>, StoreError> {
        for key in keys {
            bounds::check(&self.location(key))?;
        }
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        let mut left = Vec::new();
        for some in keys.chunks(self.dialect.limits().most_deleted.max(1)) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            left.extend(self.dialect.delete(&some)?);
        }
        Ok(left.into_iter().map(|(key, error)| (self.relative_key(&key), error)).collect())
    }

    /// Whether the server of `other` can copy from there to here by itself.
    #[must_use]
    pub fn shares_server_with(&self, other: &Self) -> bool {
        self.dialect.server() == other.dialect.server()
    }

    /// Whether `other` is the same bucket, by whatever name.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.dialect.bucket() == other.dialect.bucket() && self.naming.below == other.naming.below
    }

    /// Lets the server copy an object of `from`, which must still have `tag` unless that is empty.
    ///
    /// # Errors
    /// If it does not; objects larger than [`Limits::copy_max_bytes`] must be copied in parts.
    pub fn copy(&self, from: &Self, from_key: &str, tag: &str, key: &str) -> Result<State, StoreError> {
        bounds::check(&self.location(key))?;
        let from_key = from.key(from_key);
        let original = Original { bucket: from.dialect.bucket(), key: &from_key, tag };
        self.dialect.copy(&original, &self.key(key))
    }

    /// Begins an upload in parts. Only [`Self::complete`] makes it seen; [`Self::abort`] gives it up.
    ///
    /// # Errors
    /// If the server takes none.
    pub fn begin(&self, key: &str) -> Result<Upload, StoreError> {
        bounds::check(&self.location(key))?;
        let upload = self.dialect.begin(&self.key(key))?;
        Ok(Upload { key: key.to_owned(), ..upload })
    }

    fn upload(&self, upload: &Upload) -> Upload {
        Upload { key: self.key(&upload.key), ..upload.clone() }
    }

    /// Sends a part; numbers go from 1.
    ///
    /// # Errors
    /// If the server does not take it, or has other bytes than these.
    pub fn part(&self, upload: &Upload, number: u32, bytes: &[u8]) -> Result<Part, StoreError> {
        self.part_of(upload, number, bytes, md5(bytes))
    }

    /// The same by whoever has made the MD5 of the part already.
    ///
    /// # Errors
    /// As for [`Self::part`].
    pub fn part_of(&self, upload: &Upload, number: u32, bytes: &[u8], md5: [u8; 16]) -> Result<Part, StoreError> {
        self.dialect.part(&self.upload(upload), number, &Sent { bytes, md5, when: When::Always })
    }

    /// Lets the server copy a range of an object into a part.
    ///
    /// # Errors
    /// If it does not.
    pub fn copy_part(
        &self,
        upload: &Upload,
        number: u32,
        from: (&Self, &str, &str),
        range: RangeInclusive<u64>,
    ) -> Result<Part, StoreError> {
        let (bucket, key, tag) = from;
        let key = bucket.key(key);
        let original = Original { bucket: bucket.dialect.bucket(), key: &key, tag };
        self.dialect.copy_part(&self.upload(upload), number, &original, range)
    }

    /// The parts of an upload that the server has.
    ///
    /// # Errors
    /// If it does not say.
    pub fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        self.dialect.parts(&self.upload(upload))
    }

    /// When an upload was begun or last got a part, in seconds since 1970, by the server's clock; `None` if it does not say.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn touched_seconds(&self, upload: &Upload) -> Result<Option<u64>, StoreError> {
        self.dialect.touched_seconds(&self.upload(upload))
    }

    /// Makes parts, in the order of their numbers, one object.
    ///
    /// # Errors
    /// If the server does not, or has another object than these parts make.
    pub fn complete(&self, upload: &Upload, parts: &[Part]) -> Result<State, StoreError> {
        self.dialect.complete(&self.upload(upload), parts)
    }

    /// Gives an upload up, with its parts. It is no error if there is none.
    ///
    /// # Errors
    /// If the server still has it.
    pub fn abort(&self, upload: &Upload) -> Result<(), StoreError> {
        self.dialect.abort(&self.upload(upload))
    }

    /// Uploads that have begun and not ended, of keys that begin with `prefix`.
    ///
    /// # Errors
    /// If the server does not say.
    pub fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let mut found = self.dialect.uploads(&self.key(prefix))?;
        for upload in &mut found {
            upload.key = self.relative_key(&upload.key);
        }
        Ok(found)
    }

    /// What requests to its server may hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.dialect.limits()
    }
}

/// The digest that an object has which was made of these parts, if their tags are the MD5s of their bytes.
#[must_use]
pub fn digest_of_parts(parts: &[Part]) -> Option<Digest> {
    let mut all = Vec::with_capacity(16 * parts.len());
    for part in parts {
        match Digest::of_etag(&part.tag) {
            Some(Digest::Md5(digest)) => all.extend(digest),
            _ => return None,
        }
    }
    Some(Digest::Md5OfParts { digest: md5(&all), n_parts: u32::try_from(parts.len()).ok()? })
}

/// The way to an object.
pub(crate) fn way_to(object: &Object) -> Result<Way, StoreError> {
    let bucket = Bucket::of(object)?;
    Ok(bucket.dialect.way_to(&bucket.key(&object.key)))
}

/// The state of an object, where its server is not asked for it as web servers are.
pub(crate) fn fingerprint(object: &Object) -> Result<Option<Fingerprint>, StoreError> {
    let bucket = Bucket::of(object)?;
    bucket.dialect.fingerprint(&bucket.key(&object.key))
}

/// The state of an object as its fingerprint has it, from what an answer with a part of it says; `None` if that does not
/// say it.
pub(crate) fn state_of(object: &Object, marks: &Marks) -> Result<Option<String>, StoreError> {
    Ok(Bucket::of(object)?.dialect.state_of(marks))
}

/// The names of all buckets that a door leads to.
///
/// # Errors
/// If the server does not say.
pub fn buckets(door: &Door) -> Result<Vec<String>, StoreError> {
    let object = Object { door: door.clone(), bucket: String::new(), key: String::new() };
    Bucket::of(&object)?.dialect.buckets()
}

/// All objects whose key begins with that of `start`, in the order of the server.
///
/// # Errors
/// If a page of the listing cannot be had or makes no sense: then nothing is known.
pub fn listing(start: &Object) -> Result<Vec<Listed>, StoreError> {
    let mut found = Vec::new();
    for page in Bucket::of(start)?.pages(&start.key, Depth::All) {
        found.extend(page?.objects);
        if found.len() > MOST_KEYS {
            let reason = format!("it names more than {MOST_KEYS} objects");
            return Err(StoreError::Fetch { location: Location::Object(start.clone()), reason, is_temporary: false });
        }
    }
    Ok(found)
}
