//! What lies below a key of a bucket, as a place that a store is written to.
//!
//! A put is one request, or an upload in parts that nobody sees before it is complete. It promises that nothing is
//! deleted after a listing that was not whole, and that nothing is put or deleted by a process whose claim on the
//! place was lost. A claim is optional here: who reads has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use frazil_model::location::{Location, Object};

use super::{Entry, Kind, STAGING, Seen, Tag, check_key};
use crate::{
    bucket::{Bucket, Depth, Part, Upload, When},
    error::StoreError,
    lock::Claim,
    read::Fingerprint,
};

/// Objects from this size on are sent in parts: what breaks off is sent again only in part.
const SENT_IN_PARTS_BYTES: usize = 32 << 20;

/// Bytes of a part, if the object is not too large for that.
const PART_BYTES: u64 = 16 << 20;

/// Bytes of a part that is held until it is full.
const STAGED_PART_BYTES: u64 = 6 << 20;

/// What parts are a multiple of: some servers take no others.
const PART_STEP_BYTES: u64 = 256 << 10;

/// Parts of one object that are sent at a time.
const PARTS_AT_A_TIME: usize = 4;

/// Names of one level of keys.
const MOST_NAMES: usize = 10_000_000;

/// Bytes of an object that is read whole.
const MOST_WHOLE_BYTES: u64 = 16 << 30;

/// A place in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    object: Object,
    bucket: Bucket,
    /// What the keys of the place begin with: nothing, or a key and a slash.
    prefix: String,
    /// What this process holds on the place, if it writes there.
    claim: Arc<Mutex<Option<Arc<Claim>>>>,
}

impl Remote {
    pub fn at(object: &Object) -> Result<Self, StoreError> {
        let key = object.key.trim_end_matches('/');
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        Ok(Self { object: object.with_key(key.to_owned()), bucket: Bucket::of(object)?, prefix, claim: Arc::default() })
    }

    pub fn location(&self) -> Location {
        Location::Object(self.object.clone())
    }

    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub fn key(&self, key: &str) -> Result<String, StoreError> {
        check_key(key)?;
        Ok(format!("{}{key}", self.prefix))
    }

    pub fn location_of(&self, key: &str) -> Result<Location, StoreError> {
        Ok(self.bucket.location(&self.key(key)?))
    }

    pub fn parent(&self) -> Option<(Self, String)> {
        let key = &self.object.key;
        let (parent, name) = key.rsplit_once('/').unwrap_or(("", key));
        if name.is_empty() {
            return None;
        }
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        let object = self.object.with_key(parent.to_owned());
        Some((Self { object, prefix, ..self.clone() }, name.to_owned()))
    }

    /// From now on nothing is written here unless `claim` holds.
    pub fn claimed_by(&self, claim: Option<Arc<Claim>>) {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = claim;
    }

    fn assure(&self) -> Result<(), StoreError> {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner).clone();
        claim.map_or(Ok(()), |claim| claim.assure())
    }

    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<Tag, StoreError> {
        let key = self.key(key)?;
        self.assure()?;
        if bytes.len() < SENT_IN_PARTS_BYTES {
            return Ok(tag(self.bucket.put(&key, bytes, When::Always)?.tag()));
        }
        let mut upload = Unfinished::begin(self, key)?;
        let part_bytes = self.part_bytes(bytes.len() as u64, PART_BYTES);
        upload.send_all(bytes, part_bytes)?;
        self.assure()?;
        upload.complete()
    }

    /// Bytes of a part of an object that has so many bytes, if possible `wanted`.
    fn part_bytes(&self, n_bytes: u64, wanted: u64) -> usize {
        let limits = self.bucket.limits();
        let least = n_bytes.div_ceil(u64::from(limits.most_parts.max(1)));
        let part_bytes = wanted.max(least).max(limits.part_min_bytes).next_multiple_of(PART_STEP_BYTES);
        usize::try_from(part_bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn stage(&self, key: &str, n_bytes: u64) -> Result<Staged, StoreError> {
        let key = self.key(key)?;
        self.assure()?;
        let part_bytes = self.part_bytes(n_bytes, STAGED_PART_BYTES);
        Ok(Staged { remote: self.clone(), key, part_bytes, waiting: Vec::new(), upload: None })
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_within(key, MOST_WHOLE_BYTES)
    }

    pub fn get_within(&self, key: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.bucket.get(&self.key(key)?, limit_bytes)
    }

    pub fn get_held(&self, key: &str) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let key = self.key(key)?;
        // Asked for before the bytes: if it is another's by then, the next condition fails, which is right.
        let Some(about) = self.bucket.about(&key)? else { return Ok(None) };
        let Some(bytes) = self.bucket.get(&key, MOST_WHOLE_BYTES)? else { return Ok(None) };
        Ok(Some((bytes, about.state.tag())))
    }

    pub fn replace(&self, key: &str, tag: Option<&str>, bytes: &[u8]) -> Result<(), StoreError> {
        let key = self.key(key)?;
        self.assure()?;
        self.bucket.put(&key, bytes, tag.map_or(When::Absent, When::Is)).map(drop)
    }

    pub fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.bucket.about(&self.key(key)?)?.is_some())
    }

    pub fn is_object(&self) -> Result<bool, StoreError> {
        Ok(!self.object.key.is_empty() && self.bucket.about(&self.object.key)?.is_some())
    }

    /// Whether an object lies here, by whatever door it is reached.
    pub fn holds(&self, object: &Object) -> bool {
        let address = |bucket: &Bucket, key: &str| bucket.address(key).without_query();
        Bucket::of(object)
            .is_ok_and(|bucket| address(&bucket, &object.key).starts_with(&address(&self.bucket, &self.prefix)))
    }

    /// Looks at each object whose key begins with that of the folder `key`.
    pub fn each_below(&self, key: &str, see: &mut dyn FnMut(&str, u64)) -> Result<(), StoreError> {
        self.pages(key, &mut |key, seen| see(key, seen.size_bytes))
    }

    /// Looks at each object whose key begins with that of the folder `key`, with what tells its states apart.
    pub fn each_marked(&self, key: &str, see: &mut dyn FnMut(&str, &Fingerprint)) -> Result<(), StoreError> {
        let start = if key.is_empty() { self.prefix.clone() } else { format!("{}/", self.key(key)?) };
        for page in self.bucket.pages(&start, Depth::All) {
            for object in page?.objects {
                if let Some(key) = object.key.strip_prefix(&self.prefix).filter(|key| !key.is_empty()) {
                    see(key, &self.bucket.mark(&object));
                }
            }
        }
        Ok(())
    }

    fn pages(&self, key: &str, see: &mut dyn FnMut(&str, Seen)) -> Result<(), StoreError> {
        let start = if key.is_empty() { self.prefix.clone() } else { format!("{}/", self.key(key)?) };
        for page in self.bucket.pages(&start, Depth::All) {
            for object in page?.objects {
                let Some(key) = object.key.strip_prefix(&self.prefix) else { continue };
                // What consoles put in the place of a folder is no object of a store.
                if !key.is_empty() {
                    see(key, Seen { size_bytes: object.size_bytes, tag: object.state.tag() });
                }
            }
        }
        Ok(())
    }

    pub fn listing(&self, key: &str) -> Result<BTreeMap<String, Seen>, StoreError> {
        let mut found = BTreeMap::new();
        self.pages(key, &mut |key, seen| {
            found.insert(key.to_owned(), seen);
        })?;
        Ok(found)
    }

    pub fn names(&self, key: &str) -> Result<Vec<Entry>, StoreError> {
        let start = if key.is_empty() { self.prefix.clone() } else { format!("{}/", self.key(key)?) };
        let mut found = BTreeSet::new();
        for page in self.bucket.pages(&start, Depth::One) {
            let page = page?;
            let files = page.objects.into_iter().map(|object| (object.key, Kind::File));
            for (key, kind) in files.chain(page.folders.into_iter().map(|key| (key, Kind::Folder))) {
                let name = key.strip_prefix(&start).unwrap_or(&key);
                let name = if kind == Kind::Folder { name.strip_suffix('/').unwrap_or(name) } else { name };
                if !(name.is_empty() && kind == Kind::File) {
                    found.insert(Entry { name: name.to_owned(), kind });
                }
            }
            if found.len() > MOST_NAMES {
                let (location, reason) = (self.location(), format!("it names more than {MOST_NAMES} objects"));
                return Err(StoreError::Fetch { location, reason, is_temporary: false });
            }
        }
        Ok(found.into_iter().collect())
    }

    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        if key == STAGING {
            return self.give_up_uploads();
        }
        // The listing is whole before anything is deleted.
        let below = self.listing(key)?;
        let keys: Vec<&str> = std::iter::once(key).chain(below.keys().map(String::as_str)).collect();
        self.remove_all(&keys)
    }

    pub fn remove_all(&self, keys: &[&str]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.assure()?;
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let left = self.bucket.delete(&keys)?;
        left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Gives up the uploads that earlier runs began here and did not finish.
    fn give_up_uploads(&self) -> Result<(), StoreError> {
        let uploads = match self.bucket.uploads(&self.prefix) {
            // Keys for one prefix may not ask that everywhere; what is left open is then for a rule of the bucket.
            Err(StoreError::Denied { .. }) => return Ok(()),
            uploads => uploads?,
        };
        if !uploads.is_empty() {
            self.assure()?;
        }
        uploads.iter().try_for_each(|upload| self.bucket.abort(upload))
    }
}

fn tag(tag: String) -> Tag {
    (!tag.is_empty()).then_some(tag)
}

/// An upload in parts; dropped before it is complete, it is given up.
#[derive(Debug)]
struct Unfinished {
    bucket: Bucket,
    upload: Upload,
    parts: Vec<Part>,
    is_over: bool,
}

impl Unfinished {
    fn begin(remote: &Remote, key: String) -> Result<Self, StoreError> {
        let upload = remote.bucket.begin(&key)?;
        Ok(Self { bucket: remote.bucket.clone(), upload, parts: Vec::new(), is_over: false })
    }

    fn next_number(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let part = self.bucket.part(&self.upload, self.next_number(), bytes)?;
        self.parts.push(part);
        Ok(())
    }

    /// Sends all parts, some at a time.
    fn send_all(&mut self, bytes: &[u8], part_bytes: usize) -> Result<(), StoreError> {
        let parts: Vec<(u32, &[u8])> = (self.next_number()..).zip(bytes.chunks(part_bytes.max(1))).collect();
        for some in parts.chunks(PARTS_AT_A_TIME) {
            let (bucket, upload) = (&self.bucket, &self.upload);
            let sent: Vec<Result<Part, StoreError>> = std::thread::scope(|scope| {
                let send = |(number, bytes): &(u32, &[u8])| bucket.part(upload, *number, bytes);
                let threads: Vec<_> = some.iter().map(|part| scope.spawn(move || send(part))).collect();
                let lost = || StoreError::Send {
                    location: bucket.location(&upload.key),
                    reason: "a thread that sent a part of it ended without a word".into(),
                    is_temporary: true,
                };
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(lost()))).collect()
            });
            for part in sent {
                self.parts.push(part?);
            }
        }
        Ok(())
    }

    fn complete(mut self) -> Result<Tag, StoreError> {
        let state = self.bucket.complete(&self.upload, &self.parts)?;
        self.is_over = true;
        Ok(tag(state.tag()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_over {
            // If even this fails, the next run gives it up.
            let _ = self.bucket.abort(&self.upload);
        }
    }
}

/// An object that is written piece by piece.
#[derive(Debug)]
pub(super) struct Staged {
    remote: Remote,
    key: String,
    part_bytes: usize,
    /// What is not sent yet; less than a part and a piece.
    waiting: Vec<u8>,
    upload: Option<Unfinished>,
}

impl Staged {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.waiting.extend_from_slice(bytes);
        while self.waiting.len() > self.part_bytes {
            let rest = self.waiting.split_off(self.part_bytes);
            let part = std::mem::replace(&mut self.waiting, rest);
            let upload = match &mut self.upload {
                Some(upload) => upload,
                None => self.upload.insert(Unfinished::begin(&self.remote, self.key.clone())?),
            };
            upload.send(&part)?;
        }
        Ok(())
    }

    pub fn publish(mut self) -> Result<Tag, StoreError> {
        self.remote.assure()?;
        let Some(mut upload) = self.upload.take() else {
            return Ok(tag(self.remote.bucket.put(&self.key, &self.waiting, When::Always)?.tag()));
        };
        upload.send(&self.waiting)?;
        upload.complete()
    }
}
