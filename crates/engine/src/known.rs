//! What was read of files before, so that an unchanged file need not be read again to see that it is unchanged.
//!
//! A record in the user's cache, beside the index of scans: in which state a file had which structure and which sum
//! of what was read. It counts only while the file is in that very state, and only where that state was old enough to
//! show every later change. It promises to decide no byte of any store: it says "surely the same", or nothing.
//! A verifier goes past it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::SystemTime,
};

use frazil_model::location::Location;
use frazil_store::{
    cache::{self, Magic},
    read::Fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::{index::IndexUse, receipt::SourceRecord, source::Source};

/// Begins every record.
const MAGIC: &Magic = b"frazil known 01\n";

/// Bytes of the record of one folder; one that grew further is begun anew.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// Bytes of all records; the oldest go first.
const MAX_ALL_BYTES: u64 = 512 << 20;

/// Different stores that one file may be part of; the oldest is forgotten.
const MOST_READINGS: usize = 16;

/// Structure of a file and sum of what was read of it, as one digest.
type Reading = [u8; 32];

/// One file: its state, and what was found of it then.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    fingerprint: Fingerprint,
    readings: Vec<Reading>,
}

/// A record as it is written.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    folder: String,
    entries: BTreeMap<String, Entry>,
}

/// What is known of some files.
pub(crate) struct Known {
    folders: HashMap<String, BTreeMap<String, Entry>>,
}

impl Known {
    /// The records about `sources`.
    pub(crate) fn of<'a>(sources: impl Iterator<Item = &'a Source>, how: IndexUse) -> Self {
        Self::in_folder(place(how).as_deref(), sources.map(|source| &source.location))
    }

    fn in_folder<'a>(cache: Option<&Path>, locations: impl Iterator<Item = &'a Location>) -> Self {
        let mut folders = HashMap::new();
        if let Some(cache) = cache {
            for (folder, _) in locations.filter_map(cache::parts) {
                folders.entry(folder).or_insert_with_key(|folder| read(cache, folder));
            }
        }
        Self { folders }
    }

    /// Whether a file is surely what it was when the receipt's line about it was written.
    pub(crate) fn is_as_it_was(&self, source: &Source, record: &SourceRecord) -> bool {
        // Its values lie in other files, whose states are not in the record, nor are those of a store's objects.
        if !source.others.is_empty() || source.store.is_some() {
            return false;
        }
        let entry = cache::parts(&source.location)
            .and_then(|(folder, file)| self.folders.get(&folder)?.get(&file))
            .filter(|entry| entry.fingerprint == source.fingerprint);
        entry.is_some_and(|entry| entry.readings.contains(&reading(record)))
    }
}

/// Notes what was read of files whose state is older than `since`, a moment before any of it was read. That it cannot
/// is no error: the next run takes longer.
pub(crate) fn note<'a>(pairs: impl Iterator<Item = (&'a Source, &'a SourceRecord)>, since: SystemTime, how: IndexUse) {
    if let Some(cache) = place(how) {
        note_in(&cache, pairs, since);
    }
}

fn note_in<'a>(cache: &Path, pairs: impl Iterator<Item = (&'a Source, &'a SourceRecord)>, since: SystemTime) {
    let mut new: BTreeMap<String, Vec<(String, &Fingerprint, Reading)>> = BTreeMap::new();
    for (source, record) in pairs.filter(|(source, _)| source.store.is_none() && source.fingerprint.is_settled(since)) {
        if let Some((folder, file)) = cache::parts(&source.location) {
            new.entry(folder).or_default().push((file, &source.fingerprint, reading(record)));
        }
    }
    let mut is_written = false;
    for (folder, news) in new {
        let path = cache::file(cache, &folder, "known");
        // Read again now: another process may have added to it meanwhile.
        let entries = read(cache, &folder);
        let mut stored = Stored { folder, entries };
        let mut is_new = false;
        for (file, fingerprint, reading) in news {
            let fresh = || Entry { fingerprint: fingerprint.clone(), readings: Vec::new() };
            let entry = stored.entries.entry(file).or_insert_with(fresh);
            if entry.fingerprint != *fingerprint {
                *entry = fresh();
            }
            if !entry.readings.contains(&reading) {
                is_new = true;
                entry.readings.push(reading);
                let n_too_many = entry.readings.len().saturating_sub(MOST_READINGS);
                entry.readings.drain(..n_too_many);
            }
        }
        is_written |= is_new && cache::write(&path, MAGIC, &stored);
    }
    if is_written {
        cache::prune(cache, "known", MAX_ALL_BYTES);
    }
}

fn place(how: IndexUse) -> Option<PathBuf> {
    if how == IndexUse::Use { cache::folder("known") } else { None }
}

fn read(cache: &Path, folder: &str) -> BTreeMap<String, Entry> {
    let stored: Option<Stored> = cache::read(&cache::file(cache, folder, "known"), MAGIC, MAX_RECORD_BYTES);
    stored.filter(|stored| stored.folder == folder).unwrap_or_default().entries
}

fn reading(record: &SourceRecord) -> Reading {
    let mut hasher = blake3::Hasher::new();
    hasher.update(record.structure.as_bytes()).update(b"\n").update(record.read.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use frazil_formats::Decoded;
    use frazil_model::{dataset::Dataset, manifest::ChunkManifest};

    use super::*;

    fn source(name: &str, seconds: u64) -> Source {
        Source {
            location: Location::File(format!("/data/{name}")),
            name: name.into(),
            fingerprint: Fingerprint { size_bytes: 4, state: format!("{seconds}.000000000/{seconds}.000000000/1") },
            decoded: Arc::new(Decoded { dataset: Dataset::default(), manifest: ChunkManifest::default() }),
            values: HashMap::new(),
            derived: Vec::new(),
            store: None,
            others: Arc::default(),
        }
    }

    fn record(read: &str) -> SourceRecord {
        SourceRecord {
            name: String::new(),
            size_bytes: 4,
            structure: "s".into(),
            read: read.into(),
            others: Vec::new(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_is_known_in_its_state_and_for_what_was_read_of_it() {
        let cache = std::env::temp_dir().join(format!("frazil-known-{}", std::process::id()));
        let (old, young) = (source("old.nc", 1000), source("young.nc", 2000));
        let is_known = |source: &Source, read: &str| {
            let locations = [&old.location, &young.location];
            Known::in_folder(Some(&cache), locations.into_iter()).is_as_it_was(source, &record(read))
        };
        let (one, two) = (record("1"), record("2"));
        note_in(&cache, [(&old, &one), (&young, &one)].into_iter(), at(2001));
        note_in(&cache, [(&old, &two)].into_iter(), at(2001));
        assert!(is_known(&old, "1") && is_known(&old, "2") && !is_known(&old, "3"));
        assert!(!is_known(&young, "1"), "it may have changed within the same tick");
        assert!(!is_known(&source("old.nc", 1001), "1"));
        // In its new state nothing of the old one counts.
        note_in(&cache, [(&source("old.nc", 1001), &two)].into_iter(), at(2001));
        assert!(
            !is_known(&old, "1") && is_known(&source("old.nc", 1001), "2") && !is_known(&source("old.nc", 1001), "1")
        );
        frazil_store::folder::remove_tree(&cache).unwrap();
    }
}
