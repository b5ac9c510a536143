//! What the files below a folder of this machine take on its disk.
//!
//! It counts what `du` counts: blocks, folders included, a file with several names once, no link followed.

use std::{
    collections::HashSet,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use frazil_store::StoreError;

use super::{Amount, By, Count, Mounts, Usage, shown};
use crate::{
    error::TransferError,
    place::{Written, joined},
};

/// Blocks of `stat` have so many bytes, whatever the file system's have.
const BLOCK_BYTES: u64 = 512;

/// Folders within folders.
const MAX_DEPTH: usize = 2048;

/// Files with several names that are remembered.
const MOST_LINKED: usize = 10_000_000;

/// What could not be counted is named so often.
const MOST_NAMED: usize = 1000;

struct Walk {
    count: Count,
    usage: Usage,
    mounts: Mounts,
    device: u64,
    linked: HashSet<(u64, u64)>,
}

pub(super) fn usage(path: &Path, written: &Written, by: By, mounts: Mounts) -> Result<Usage, TransferError> {
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => TransferError::Nothing { place: written.text.clone() },
        _ => StoreError::reading(&shown(path), error).into(),
    })?;
    // The clock of this machine is that of its disks; a disk of the network may have another one, and files that seem to
    // come from the future are young.
    let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|now| now.as_secs());
    let usage = Usage {
        place: written.place.clone(),
        total: Amount::default(),
        apparent_bytes: 0,
        groups: Vec::new(),
        open: None,
        now_seconds,
        uncounted: Vec::new(),
        passed_over: Vec::new(),
    };
    let count = Count::of(by, now_seconds);
    let mut walk = Walk { count, usage, mounts, device: about.dev(), linked: HashSet::new() };
    walk.add("", &about)?;
    if about.is_dir() {
        walk.folder(path, "", 0)?;
    }
    let Walk { count, mut usage, .. } = walk;
    (usage.total, usage.groups) = count.told();
    Ok(usage)
}

impl Walk {
    fn add(&mut self, name: &str, about: &Metadata) -> Result<(), TransferError> {
        let is_counted_before = !about.is_dir() && about.nlink() > 1 && !self.linked.insert((about.dev(), about.ino()));
        if is_counted_before {
            return Ok(());
        }
        if self.linked.len() > MOST_LINKED {
            let reason = format!("more than {MOST_LINKED} files have several names");
            return Err(TransferError::Uncountable { reason });
        }
        let is_folder = about.is_dir();
        self.usage.apparent_bytes = self.usage.apparent_bytes.saturating_add(about.len());
        let amount = Amount {
            n_objects: u64::from(!is_folder),
            n_bytes: about.blocks().saturating_mul(BLOCK_BYTES),
            newest_seconds: u64::try_from(about.mtime()).ok(),
        };
        // A folder is part of itself.
        if is_folder { self.count.add(&format!("{name}/"), amount) } else { self.count.add(name, amount) }
    }

    fn folder(&mut self, folder: &Path, below: &str, depth: usize) -> Result<(), TransferError> {
        if depth >= MAX_DEPTH {
            self.lacks(below, format!("it lies more than {MAX_DEPTH} folders deep"));
            return Ok(());
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(StoreError::reading(&shown(folder), error).into()),
            Err(error) => {
                self.lacks(below, error.kind().to_string());
                return Ok(());
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.lacks(below, error.kind().to_string());
                    return Ok(());
                }
            };
            let name = joined(below, &entry.file_name().to_string_lossy());
            let about = match entry.metadata() {
                Ok(about) => about,
                // Somebody removed it since the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.lacks(&name, error.kind().to_string());
                    continue;
                }
            };
            if about.dev() != self.device && self.mounts == Mounts::PassedOver {
                self.usage.passed_over.push((name, "it is another file system".into()));
                continue;
            }
            self.add(&name, &about)?;
            if about.is_dir() {
                self.folder(&entry.path(), &name, depth + 1)?;
            }
        }
        Ok(())
    }

    fn lacks(&mut self, name: &str, why: String) {
        if self.usage.uncounted.len() < MOST_NAMED {
            self.usage.uncounted.push((name.to_owned(), why));
        }
    }
}
