//! What earlier scans found, so that the next scan of the same files is free.
//!
//! One file for each folder of sources, in the user's cache. An entry counts only while the file's fingerprint is the
//! one it was made with, and only fingerprints that show every later change are kept. It promises that a damaged,
//! foreign or older index is as good as none, that writing it never fails a scan, and that it does not grow without
//! bound. A verifier goes past it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use frazil_formats::Decoded;
use frazil_model::{combine::view::Values, dataset::Dataset, location::Location, manifest::ChunkManifest};
use frazil_store::{
    cache::{self, Magic},
    read::Fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    places::Place,
    scan::{Load, is_loaded, load_more, scan, scan_as},
    source::Source,
    store_source,
};

/// Begins every index. Its number changes with whatever an entry holds.
const MAGIC: &Magic = b"frazil index 07\n";

/// Bytes of one index; what does not fit is scanned again.
const MAX_INDEX_BYTES: u64 = 512 << 20;

/// Bytes of one file's entry.
const MAX_ENTRY_BYTES: usize = 4 << 20;

/// Bytes of all indexes; the oldest go first.
const MAX_CACHE_BYTES: u64 = 2 << 30;

/// An index may take this share of the memory that there is.
const SHARE_OF_MEMORY: u64 = 8;

/// How often a scan that goes on keeps what it found, at most.
const KEPT_EVERY: Duration = Duration::from_secs(2);

/// Whether what was found before may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexUse {
    /// It is used, and kept for the next time.
    Use,
    /// Every file is read.
    Bypass,
}

/// The digest of values that several files share.
type Key = [u8; 32];

/// Scanned metadata of the folders of some files.
pub struct Index {
    cache: Option<PathBuf>,
    folders: HashMap<String, Folder>,
    /// A moment before any file was looked at.
    began: SystemTime,
    /// Bytes that one index may take.
    most_bytes: u64,
}

/// The files of one folder.
#[derive(Default)]
struct Folder {
    known: HashMap<String, Entry>,
    values: HashMap<Key, Bytes>,
    /// Values that several files share are held once.
    shared: Mutex<HashMap<Key, Arc<Values>>>,
    new: Mutex<New>,
}

/// What this scan found.
#[derive(Default)]
struct New {
    entries: BTreeMap<String, Entry>,
    values: HashMap<Key, Bytes>,
    n_bytes: u64,
    /// Whether anything of it is not in the cache yet.
    is_new: bool,
}

/// One file: its state, and its encoded [`Content`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    fingerprint: Fingerprint,
    content: Bytes,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Content {
    dataset: Dataset,
    manifest: ChunkManifest,
    /// Numbers of variables, with the digests of their values.
    values: Vec<(usize, Key)>,
}

/// Values as they are kept.
#[derive(Serialize, Deserialize)]
enum Kept {
    Fixed(Bytes),
    Texts(Vec<Option<String>>),
}

/// An index as it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    folder: String,
    entries: Vec<(String, Entry)>,
    values: Vec<(Key, Bytes)>,
}

/// Scans files on `n_threads` threads, with the help of earlier scans where their index takes little of
/// `memory_bytes`. The answers are in the order of `locations`.
pub fn scan_all(
    locations: &[(Location, String)],
    load: Load,
    n_threads: usize,
    memory_bytes: u64,
    how: IndexUse,
) -> Vec<Result<Source, EngineError>> {
    if how == IndexUse::Bypass {
        return crate::scan::scan_all(locations, load, n_threads);
    }
    let index = Index::of(locations.iter().map(|(location, _)| location), memory_bytes, how);
    let (next, kept) = (AtomicUsize::new(0), first_keeping());
    let worker = || {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((location, name)) = locations.get(number) else { return found };
            found.push((number, index.scan(location, name, load)));
            index.keep_now_and_then(&kept);
        }
    };
    let mut all: Vec<(usize, Result<Source, EngineError>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads.clamp(1, locations.len().max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    index.keep();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, found)| found).collect()
}

/// When a scan that begins now keeps what it found.
pub(crate) fn first_keeping() -> Mutex<Instant> {
    Mutex::new(Instant::now() + KEPT_EVERY)
}

/// Scans one file with the help of earlier scans, and keeps nothing.
///
/// # Errors
/// As for [`scan`].
pub fn look(
    location: &Location,
    name: &str,
    load: Load,
    memory_bytes: u64,
    how: IndexUse,
) -> Result<Source, EngineError> {
    Index::of(std::iter::once(location), memory_bytes, how).scan(location, name, load)
}

impl Index {
    /// The index for `places`.
    #[must_use]
    pub fn open(places: &[Place], memory_bytes: u64, how: IndexUse) -> Self {
        let locations = places.iter().filter_map(|place| match place {
            Place::File { location, .. } => Some(location),
            Place::Zarr { .. } => None,
        });
        Self::of(locations, memory_bytes, how)
    }

    fn of<'a>(locations: impl Iterator<Item = &'a Location>, memory_bytes: u64, how: IndexUse) -> Self {
        let cache = if how == IndexUse::Use { cache::folder("scans") } else { None };
        Self::in_folder(cache, memory_bytes, SystemTime::now(), locations)
    }

    /// The index in the folder `cache`.
    fn in_folder<'a>(
        cache: Option<PathBuf>,
        memory_bytes: u64,
        began: SystemTime,
        locations: impl Iterator<Item = &'a Location>,
    ) -> Self {
        let most_bytes = MAX_INDEX_BYTES.min(memory_bytes / SHARE_OF_MEMORY);
        let mut folders = HashMap::new();
        if let Some(cache) = &cache {
            for (name, _) in locations.filter_map(cache::parts) {
                if folders.contains_key(&name) {
                    continue;
                }
                // An index that is too large for us may serve others, so it is left as it is.
                let about = std::fs::metadata(cache::file(cache, &name, "index"));
                if about.is_ok_and(|about| about.len() > most_bytes && about.len() <= MAX_INDEX_BYTES) {
                    continue;
                }
                let folder = read(cache, &name, most_bytes).unwrap_or_default();
                folders.insert(name, folder);
            }
        }
        Self { cache, folders, began, most_bytes }
    }

    /// Scans a file, or finds what an earlier scan found.
    ///
    /// # Errors
    /// As for [`scan`].
    pub fn scan(&self, location: &Location, name: &str, load: Load) -> Result<Source, EngineError> {
        if store_source::is_store(location) {
            return store_source::scan(location, name, load);
        }
        let of_folder = cache::parts(location).and_then(|(folder, file)| Some((self.folders.get(&folder)?, file)));
        let Some((folder, file)) = of_folder else { return scan(location, name, load) };
        // Of a file that no index knows a server is not asked what it is: its beginning says that as well.
        let is_far = !matches!(location, Location::File(_));
        if is_far && !folder.known.contains_key(&file) {
            return Ok(self.noted(folder, file, scan(location, name, load)?));
        }
        let fingerprint = frazil_store::read::fingerprint(location)?;
        if let Some(mut source) = folder.find(&file, location, name, &fingerprint, load) {
            let n_before = source.values.len();
            load_more(&mut source, load)?;
            if source.values.len() > n_before {
                folder.add(file, &source, self.most_bytes);
            }
            return Ok(source);
        }
        Ok(self.noted(folder, file, scan_as(location, name, load, fingerprint)?))
    }

    /// A file that was scanned, kept for the next time if its fingerprint can be relied on.
    fn noted(&self, folder: &Folder, file: String, source: Source) -> Source {
        if source.fingerprint.is_settled(self.began) {
            folder.add(file, &source, self.most_bytes);
        }
        source
    }

    /// Keeps what was found. That it cannot is no error: the next scan takes longer.
    pub fn keep(&self) {
        let Some(cache) = &self.cache else { return };
        let mut is_written = false;
        for (name, folder) in &self.folders {
            is_written |= folder.keep(cache, name, self.most_bytes);
        }
        if is_written {
            cache::prune(cache, "index", MAX_CACHE_BYTES);
        }
    }

    /// Keeps what was found if it is time to, so that a scan that is ended goes on where it was. `next` is when.
    pub(crate) fn keep_now_and_then(&self, next: &Mutex<Instant>) {
        let Ok(mut next) = next.try_lock() else { return };
        let began = Instant::now();
        if began >= *next {
            self.keep();
            *next = Instant::now() + KEPT_EVERY.max(began.elapsed() * 20);
        }
    }
}

impl Folder {
    /// What is known of a file in its present state.
    fn find(
        &self,
        file: &str,
        location: &Location,
        name: &str,
        fingerprint: &Fingerprint,
        load: Load,
    ) -> Option<Source> {
        let entry = self.known.get(file).filter(|entry| entry.fingerprint == *fingerprint)?;
        let content: Content = postcard::from_bytes(&entry.content).ok()?;
        let mut values = HashMap::new();
        for (number, key) in content.values {
            if content.dataset.variables.get(number).is_some_and(|variable| is_loaded(variable, load)) {
                values.insert(number, self.values_of(key)?);
            }
        }
        Some(Source {
            derived: Vec::new(),
            location: location.clone(),
            name: name.to_owned(),
            fingerprint: fingerprint.clone(),
            decoded: Arc::new(Decoded { dataset: content.dataset, manifest: content.manifest }),
            values,
            store: None,
            others: Arc::default(),
        })
    }

    fn values_of(&self, key: Key) -> Option<Arc<Values>> {
        if let Some(found) = self.shared.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(found));
        }
        let values = match postcard::from_bytes(self.values.get(&key)?).ok()? {
            Kept::Fixed(bytes) => Values::Fixed(bytes),
            Kept::Texts(texts) => Values::Texts(texts),
        };
        let values = Arc::new(values);
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&values));
        Some(values)
    }

    /// Takes down what a scan found.
    fn add(&self, file: String, source: &Source, most_bytes: u64) {
        // What such a file holds follows from others, whose states the entry would not show.
        let lies_elsewhere = |number| source.lies_elsewhere(number);
        if source.store.is_some() || (0..source.decoded.manifest.tables.len()).any(lies_elsewhere) {
            return;
        }
        let mut values = Vec::with_capacity(source.values.len());
        let mut kept = Vec::with_capacity(source.values.len());
        for (number, found) in &source.values {
            let encoded = match found.as_ref() {
                Values::Fixed(bytes) => postcard::to_allocvec(&Kept::Fixed(bytes.clone())),
                Values::Texts(texts) => postcard::to_allocvec(&Kept::Texts(texts.clone())),
            };
            let Ok(encoded) = encoded else { return };
            let key: Key = *blake3::hash(&encoded).as_bytes();
            values.push((*number, key));
            kept.push((key, Bytes::from(encoded)));
        }
        values.sort_unstable();
        let content =
            Content { dataset: source.decoded.dataset.clone(), manifest: source.decoded.manifest.clone(), values };
        let Ok(content) = postcard::to_allocvec(&content) else { return };
        if content.len() > MAX_ENTRY_BYTES {
            return;
        }
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(key, _)| !new.values.contains_key(key));
        let n_bytes = content.len() + kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        if new.n_bytes.saturating_add(n_bytes as u64) > most_bytes {
            return;
        }
        new.n_bytes += n_bytes as u64;
        new.is_new = true;
        new.entries.insert(file, Entry { fingerprint: source.fingerprint.clone(), content: content.into() });
        new.values.extend(kept);
    }

    /// Writes the index of this folder, if anything is new. Says whether it did.
    fn keep(&self, cache: &Path, name: &str, most_bytes: u64) -> bool {
        let mut entries: BTreeMap<String, Entry> = self.known.clone().into_iter().collect();
        let mut known_values = self.values.clone();
        {
            let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut new.is_new) {
                return false;
            }
            entries.extend(new.entries.clone());
            known_values.extend(new.values.clone());
        }
        let mut values: BTreeMap<Key, Bytes> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        let mut left = most_bytes;
        for (file, entry) in entries {
            let Ok(content) = postcard::from_bytes::<Content>(&entry.content) else { continue };
            let missing = content.values.iter().filter(|(_, key)| !values.contains_key(key));
            let wanted: Vec<(Key, Bytes)> =
                missing.filter_map(|(_, key)| Some((*key, known_values.get(key)?.clone()))).collect();
            let n_bytes = entry.content.len() + wanted.iter().map(|(_, bytes)| bytes.len() + 64).sum::<usize>() + 256;
            let Some(rest) = left.checked_sub(n_bytes as u64) else { break };
            left = rest;
            values.extend(wanted);
            kept.push((file, entry));
        }
        let path = cache::file(cache, name, "index");
        let stored = Stored { folder: name.to_owned(), entries: kept, values: values.into_iter().collect() };
        cache::write(&path, MAGIC, &stored)
    }
}

/// Reads the index of a folder; nothing if there is none for it.
fn read(cache: &Path, folder: &str, most_bytes: u64) -> Option<Folder> {
    let stored: Stored = cache::read(&cache::file(cache, folder, "index"), MAGIC, most_bytes)?;
    (stored.folder == folder).then(|| Folder {
        known: stored.entries.into_iter().collect(),
        values: stored.values.into_iter().collect(),
        ..Folder::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A netCDF-3 file with one scalar `int` of `value`.
    fn file(value: i32) -> Vec<u8> {
        let mut bytes = b"CDF\x01".to_vec();
        for word in [0_u32, 0, 0, 0, 0, 0x0B, 1, 1] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(*b"v\0\0\0");
        for word in [0_u32, 0, 0, 4, 4, 64] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(value.to_be_bytes());
        bytes
    }

    #[test]
    fn what_was_found_is_found_again_until_the_file_changes() {
        let home = std::env::temp_dir().join(format!("frazil-index-{}", std::process::id()));
        let (data, cache) = (home.join("data"), home.join("cache"));
        std::fs::create_dir_all(&data).unwrap();
        let path = data.join("a.nc");
        std::fs::write(&path, file(7)).unwrap();
        let location = Location::File(path.to_str().unwrap().into());
        let open_at = |began| Index::in_folder(Some(cache.clone()), 1 << 30, began, std::iter::once(&location));
        let open = || open_at(SystemTime::now() + Duration::from_secs(3600));
        let n_known = |index: &Index| index.folders.values().map(|folder| folder.known.len()).sum::<usize>();

        let young = open_at(SystemTime::now());
        young.scan(&location, "a.nc", Load::SmallValues).unwrap();
        young.keep();
        assert_eq!(n_known(&open()), 0, "a young file may change without its times showing it");
        let first = open();
        let scanned = first.scan(&location, "a.nc", Load::SmallValues).unwrap();
        first.keep();
        let second = open();
        assert_eq!(n_known(&second), 1);
        let found = second.scan(&location, "a.nc", Load::SmallValues).unwrap();
        assert_eq!((found.decoded, found.values), (scanned.decoded, scanned.values));
        assert!(second.folders.values().all(|folder| folder.new.lock().unwrap().entries.is_empty()));

        let kept = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let mut damaged = std::fs::read(&kept).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&kept, damaged).unwrap();
        assert_eq!(n_known(&open()), 0);

        std::fs::write(&path, file(8)).unwrap();
        let changed = second.scan(&location, "a.nc", Load::SmallValues).unwrap();
        assert_eq!(changed.values[&0].as_ref(), &Values::Fixed(8_i32.to_le_bytes().to_vec().into()));
        std::fs::remove_dir_all(home).unwrap();
    }
}
