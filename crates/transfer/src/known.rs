//! Digests of files on this machine that were made before, so that they need not be read to be compared.
//!
//! One record for each folder that is copied from or to, in the user's cache. A digest counts only while size, times and
//! inode of its file are what they were, and only if any later change would show in them. It promises never to be
//! needed: without it files are read.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use frazil_store::{
    bucket::Digest,
    cache::{self, Magic},
    digest::md5,
    read::Fingerprint,
};
use serde::{Deserialize, Serialize};

/// Begins every record.
const MAGIC: &Magic = b"frazil sums 01 \n";

/// Bytes of the record of one folder; one that grew further is begun anew.
const MAX_RECORD_BYTES: u64 = 256 << 20;

/// Bytes of all records; the oldest go first.
const MAX_ALL_BYTES: u64 = 1 << 30;

/// What is remembered of one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    mark: [u8; 16],
    sums: Vec<Sum>,
}

/// What stands in place of a number of parts beside a CRC-32C: no object has so many.
const CRC32C: u32 = 0;

/// A digest: that of all bytes, or that of so many parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    digest: [u8; 16],
    n_parts: Option<u32>,
}

/// Digests of the files below one folder.
#[derive(Debug)]
pub struct Known {
    path: Option<PathBuf>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<Box<str>, Entry>,
    is_changed: bool,
}

impl Known {
    /// What is remembered of the files below `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let absolute = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
        let path = match (cache::folder("sums"), absolute) {
            (Some(home), Ok(folder)) => Some(cache::file(&home, &folder.to_string_lossy(), "sums")),
            _ => None,
        };
        let by_name = path.as_deref().and_then(|path| cache::read(path, MAGIC, MAX_RECORD_BYTES)).unwrap_or_default();
        Self { path, entries: Mutex::new(Entries { by_name, is_changed: false }) }
    }

    /// Nothing: every file is read.
    #[must_use]
    pub fn nothing() -> Self {
        Self { path: None, entries: Mutex::default() }
    }

    /// The digests of a file in one state.
    #[must_use]
    pub fn digests(&self, name: &str, mark: &Fingerprint) -> Vec<Digest> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.by_name.get(name).filter(|entry| entry.mark == short(mark));
        let digest = |sum: &Sum| match sum.n_parts {
            None => Digest::Md5(sum.digest),
            Some(CRC32C) => {
                let [a, b, c, d, ..] = sum.digest;
                Digest::Crc32c(u32::from_be_bytes([a, b, c, d]))
            }
            Some(n_parts) => Digest::Md5OfParts { digest: sum.digest, n_parts },
        };
        entry.map_or_else(Vec::new, |entry| entry.sums.iter().map(digest).collect())
    }

    /// Remembers a digest of a file whose state was looked at after `moment`, if a change since would show.
    pub fn remember(&self, name: &str, mark: &Fingerprint, digest: Digest, moment: SystemTime) {
        if !mark.is_settled(moment) {
            return;
        }
        let sum = match digest {
            Digest::Md5(digest) => Sum { digest, n_parts: None },
            Digest::Md5OfParts { digest, n_parts } => Sum { digest, n_parts: Some(n_parts) },
            Digest::Crc32c(sum) => {
                let mut digest = [0; 16];
                digest[..4].copy_from_slice(&sum.to_be_bytes());
                Sum { digest, n_parts: Some(CRC32C) }
            }
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = short(mark);
        let entry = entries.by_name.entry(name.into()).or_insert_with(|| Entry { mark, sums: Vec::with_capacity(1) });
        if entry.mark != mark {
            *entry = Entry { mark, sums: Vec::new() };
        }
        if !entry.sums.contains(&sum) {
            entry.sums.push(sum);
            entries.is_changed = true;
        }
    }

    /// Keeps what was remembered for the next time. That this fails is no error.
    pub fn keep(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = self.path.as_deref().filter(|_| entries.is_changed) else { return };
        if cache::write(path, MAGIC, &entries.by_name) {
            entries.is_changed = false;
            if let Some(home) = path.parent() {
                cache::prune(home, "sums", MAX_ALL_BYTES);
            }
        }
    }
}

/// A state in short: it is compared, never shown.
fn short(mark: &Fingerprint) -> [u8; 16] {
    md5(format!("{} {}", mark.size_bytes, mark.state).as_bytes())
}
