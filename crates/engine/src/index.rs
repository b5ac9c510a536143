//! What earlier scans found, so that the next scan of the same files is free.
//!
//! One file for each folder of sources, in the user's cache. An entry counts only while the file's fingerprint is the
//! one it was made with. It promises that a damaged, foreign or older index is as good as none, that writing it never
//! fails a scan, and that it does not grow without bound. A verifier goes past it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use frazil_formats::Decoded;
use frazil_model::{combine::view::Values, dataset::Dataset, location::Location, manifest::ChunkManifest};
use frazil_store::read::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    places::Place,
    scan::{Load, is_loaded, load_more, scan},
    source::Source,
};

/// Begins every index. Its number changes with whatever an entry holds.
const MAGIC: &[u8; 16] = b"frazil index 01\n";

/// Bytes of the checksum behind it.
const CHECKSUM_BYTES: usize = 32;

/// Bytes of one index; what does not fit is scanned again.
const MAX_INDEX_BYTES: u64 = 512 << 20;

/// Bytes of one file's entry.
const MAX_ENTRY_BYTES: usize = 4 << 20;

/// Bytes of all indexes; the oldest go first.
const MAX_CACHE_BYTES: u64 = 2 << 30;

/// A file that changed so recently may change again without its times showing it.
const TOO_RECENT: Duration = Duration::from_secs(2);

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

/// Scans files on `n_threads` threads, with the help of earlier scans. The answers are in the order of `locations`.
pub fn scan_all(
    locations: &[(Location, String)],
    load: Load,
    n_threads: usize,
    how: IndexUse,
) -> Vec<Result<Source, EngineError>> {
    if how == IndexUse::Bypass {
        return crate::scan::scan_all(locations, load, n_threads);
    }
    let index = Index::of(locations.iter().map(|(location, _)| location), how);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((location, name)) = locations.get(number) else { return found };
            found.push((number, index.scan(location, name, load)));
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

impl Index {
    /// The index for `places`.
    #[must_use]
    pub fn open(places: &[Place], how: IndexUse) -> Self {
        let locations = places.iter().filter_map(|place| match place {
            Place::File { location, .. } => Some(location),
            Place::Zarr { .. } => None,
        });
        Self::of(locations, how)
    }

    fn of<'a>(locations: impl Iterator<Item = &'a Location>, how: IndexUse) -> Self {
        let cache = if how == IndexUse::Use { cache_folder() } else { None };
        Self::in_folder(cache, locations)
    }

    /// The index in the folder `cache`.
    fn in_folder<'a>(cache: Option<PathBuf>, locations: impl Iterator<Item = &'a Location>) -> Self {
        let mut folders = HashMap::new();
        if let Some(cache) = &cache {
            for (folder, _) in locations.filter_map(parts) {
                folders
                    .entry(folder)
                    .or_insert_with_key(|folder| read(&index_file(cache, folder), folder).unwrap_or_default());
            }
        }
        Self { cache, folders }
    }

    /// Scans a file, or finds what an earlier scan found.
    ///
    /// # Errors
    /// As for [`scan`].
    pub fn scan(&self, location: &Location, name: &str, load: Load) -> Result<Source, EngineError> {
        let Some((folder, file)) = parts(location).and_then(|(folder, file)| Some((self.folders.get(&folder)?, file)))
        else {
            return scan(location, name, load);
        };
        let fingerprint = frazil_store::read::fingerprint(location)?;
        if let Some(mut source) = folder.find(&file, location, name, &fingerprint, load) {
            let n_before = source.values.len();
            load_more(&mut source, load)?;
            if source.values.len() > n_before {
                folder.add(file, &source);
            }
            return Ok(source);
        }
        let source = scan(location, name, load)?;
        if is_settled(location) {
            folder.add(file, &source);
        }
        Ok(source)
    }

    /// Keeps what was found. That it cannot is no error: the next scan takes longer.
    pub fn keep(self) {
        let Some(cache) = self.cache else { return };
        let mut is_written = false;
        for (name, folder) in self.folders {
            is_written |= folder.keep(&cache, name);
        }
        if is_written {
            prune(&cache);
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
    fn add(&self, file: String, source: &Source) {
        // What such a file holds follows from others, whose states the entry would not show.
        if (0..source.decoded.manifest.tables.len()).any(|number| source.lies_elsewhere(number)) {
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
        new.entries.insert(file, Entry { fingerprint: source.fingerprint.clone(), content: content.into() });
        new.values.extend(kept);
    }

    /// Writes the index of this folder, if anything is new. Says whether it did.
    fn keep(self, cache: &Path, name: String) -> bool {
        let new = self.new.into_inner().unwrap_or_else(PoisonError::into_inner);
        if new.entries.is_empty() {
            return false;
        }
        let mut entries: BTreeMap<String, Entry> = self.known.into_iter().collect();
        entries.extend(new.entries);
        let mut known_values = self.values;
        known_values.extend(new.values);
        let mut values: BTreeMap<Key, Bytes> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        let mut left = MAX_INDEX_BYTES;
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
        let path = index_file(cache, &name);
        let stored = Stored { folder: name, entries: kept, values: values.into_iter().collect() };
        write(&path, &stored).is_some()
    }
}

/// The folder of a file, absolute, and its name there.
fn parts(location: &Location) -> Option<(String, String)> {
    let Location::File(path) = location else { return None };
    let path = std::path::absolute(path).ok()?;
    Some((path.parent()?.to_str()?.to_owned(), path.file_name()?.to_str()?.to_owned()))
}

/// Whether a file has not changed for a while.
fn is_settled(location: &Location) -> bool {
    let Location::File(path) = location else { return false };
    let changed = std::fs::metadata(path).and_then(|about| about.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age > TOO_RECENT))
}

/// Where indexes are kept: `$FRAZIL_CACHE`, else `frazil` in the user's cache folder. An empty name means nowhere.
fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = match named("FRAZIL_CACHE") {
        Some(folder) => folder,
        None => match named("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
            Some(folder) => folder.join("frazil"),
            None => named("HOME").filter(|home| home.is_absolute())?.join(".cache/frazil"),
        },
    };
    (!folder.as_os_str().is_empty()).then(|| folder.join("scans"))
}

fn index_file(cache: &Path, folder: &str) -> PathBuf {
    cache.join(format!("{}.index", blake3::hash(folder.as_bytes()).to_hex()))
}

/// Reads an index; nothing if it is not there, damaged, of another version or of another folder.
fn read(path: &Path, folder: &str) -> Option<Folder> {
    let n_bytes = std::fs::metadata(path).ok()?.len();
    // A little more than the bound on what is in it.
    if n_bytes > MAX_INDEX_BYTES.saturating_mul(2) {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (head, body) = bytes.split_at_checked(MAGIC.len() + CHECKSUM_BYTES)?;
    let (magic, checksum) = head.split_at_checked(MAGIC.len())?;
    if magic != MAGIC || blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let stored: Stored = postcard::from_bytes(body).ok()?;
    (stored.folder == folder).then(|| Folder {
        known: stored.entries.into_iter().collect(),
        values: stored.values.into_iter().collect(),
        ..Folder::default()
    })
}

/// Writes an index: to another name first, so that whoever reads meets all of it or none.
fn write(path: &Path, stored: &Stored) -> Option<()> {
    let folder = path.parent()?;
    std::fs::create_dir_all(folder).ok()?;
    let body = postcard::to_allocvec(stored).ok()?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(&body).as_bytes())?;
        file.write_all(&body)
    });
    let done = written.and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done.ok()
}

/// Removes the oldest indexes while all together are too large.
fn prune(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some((about.modified().ok()?, about.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|(_, n_bytes, _)| n_bytes).sum();
    for (_, n_bytes, path) in files {
        if total <= MAX_CACHE_BYTES {
            return;
        }
        let ours = path.extension().is_some_and(|end| end == "index" || end == "new");
        if ours && std::fs::remove_file(&path).is_ok() {
            total -= n_bytes;
        }
    }
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
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let location = Location::File(path.to_str().unwrap().into());
        let open = || Index::in_folder(Some(cache.clone()), std::iter::once(&location));
        let n_known = |index: &Index| index.folders.values().map(|folder| folder.known.len()).sum::<usize>();

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
