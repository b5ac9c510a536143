//! What is done: a line for each unit that was put, so that a run that was stopped goes on where it was.
//!
//! A line is written after its unit is safely in place. A line that was cut off by a kill is no line; in a bucket, a
//! kill takes the lines of the last seconds. It knows no clock: a journal only ever says what is there.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fs::{File, OpenOptions},
    hash::{BuildHasher, Hasher},
    io::{Read, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use frazil_store::{
    StoreError,
    folder::{Entry, Folder},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    identity::{Digested, RangeSum},
};

/// Where journals lie, below the store.
pub const FOLDER: &str = ".frazil/journal";

/// Lines that wait for their object in a bucket.
const MOST_WAITING: usize = 4096;

/// The longest that a line waits, if others follow.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Key of the unit.
    pub key: String,
    /// Its bytes; `None` if it was never written in a source and so is not there.
    pub bytes: Option<Stored>,
    /// What tells its bytes from others without reading them, where the place of the store says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What was read of each file, by the file's number.
    pub read: Vec<(usize, RangeSum)>,
}

/// Length and digest of what was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Bytes.
    pub length: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

impl Stored {
    /// Of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_digested(Digested::of(bytes))
    }

    /// Of bytes whose digest is known.
    #[must_use]
    pub fn of_digested(bytes: Digested<'_>) -> Self {
        Self { length: bytes.bytes().len() as u64, blake3: bytes.hex() }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    to: To,
}

#[derive(Debug)]
enum To {
    File {
        path: PathBuf,
        file: Mutex<File>,
    },
    /// Objects cannot be appended to: lines are gathered, and some at a time become an object.
    Objects(Box<Objects>),
}

#[derive(Debug)]
struct Objects {
    folder: Folder,
    name: String,
    /// Two processes that do the same part must not write over each other's lines.
    id: u64,
    waiting: Mutex<Waiting>,
}

/// Lines that are in no object yet.
#[derive(Debug)]
struct Waiting {
    next_number: u64,
    lines: Vec<u8>,
    n_lines: usize,
    since: Instant,
}

impl Journal {
    /// Opens the journal `name` of a store, to be continued.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(folder: &Folder, name: &str) -> Result<Self, EngineError> {
        let Some(path) = folder.path_of(&format!("{FOLDER}/{name}"))? else {
            let number = |entry: Entry| entry.name.strip_prefix(name)?.strip_prefix('.')?.get(..6)?.parse::<u64>().ok();
            let last = folder.names(FOLDER)?.into_iter().filter_map(number).max();
            let next_number = last.map_or(0, |last| last + 1);
            let waiting = Waiting { next_number, lines: Vec::new(), n_lines: 0, since: Instant::now() };
            let (folder, name, id) = (folder.clone(), name.to_owned(), RandomState::new().build_hasher().finish());
            let objects = Objects { folder, name, id, waiting: Mutex::new(waiting) };
            return Ok(Self { to: To::Objects(Box::new(objects)) });
        };
        let failed = |error| StoreError::writing(&path, 0, error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        let mut all = Vec::new();
        file.read_to_end(&mut all).map_err(failed)?;
        if all.last().is_some_and(|byte| *byte != b'\n') {
            // The line that a kill cut off must not swallow the next one.
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(Self { to: To::File { path, file: Mutex::new(file) } })
    }

    /// Notes a unit.
    ///
    /// # Errors
    /// If the line cannot be written.
    pub fn note(&self, line: &Line) -> Result<(), EngineError> {
        let mut text = serde_json::to_vec(line).map_err(|error| EngineError::Document { reason: error.to_string() })?;
        text.push(b'\n');
        match &self.to {
            To::File { path, file } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(&text).map_err(|error| StoreError::writing(path, text.len() as u64, error))?;
                Ok(())
            }
            To::Objects(objects) => {
                let mut now = objects.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                now.lines.extend_from_slice(&text);
                now.n_lines += 1;
                if now.n_lines < MOST_WAITING && now.since.elapsed() < LONGEST_WAIT {
                    return Ok(());
                }
                drop(now);
                self.finish()
            }
        }
    }

    /// Puts away the lines that are gathered, if any are.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn finish(&self) -> Result<(), EngineError> {
        let To::Objects(objects) = &self.to else { return Ok(()) };
        let Objects { folder, name, id, waiting } = &**objects;
        let mut now = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, number) = (std::mem::take(&mut now.lines), now.next_number);
        (now.n_lines, now.since) = (0, Instant::now());
        now.next_number += u64::from(!lines.is_empty());
        // Others note meanwhile.
        drop(now);
        if !lines.is_empty() {
            folder.put(&format!("{FOLDER}/{name}.{number:06}.{id:016x}"), &lines)?;
        }
        Ok(())
    }
}

/// The units that all journals of a store say are done, by key.
///
/// # Errors
/// If a journal cannot be read.
pub fn done(folder: &Folder) -> Result<BTreeMap<String, Line>, EngineError> {
    let mut found = BTreeMap::new();
    for entry in folder.names(FOLDER)? {
        let text = folder.get(&format!("{FOLDER}/{}", entry.name))?.unwrap_or_default();
        // Lines that make no sense were cut off by a kill; their units are done again.
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        for line in lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()) {
            found.insert(line.key.clone(), line);
        }
    }
    Ok(found)
}

/// The units whose objects are there and whole, of those that all journals say are done.
///
/// # Errors
/// If a journal or an object cannot be read.
pub fn trusted(folder: &Folder) -> Result<BTreeMap<String, Line>, EngineError> {
    let done = done(folder)?;
    let listing = if done.is_empty() { None } else { folder.listing()? };
    let mut kept = BTreeMap::new();
    for (key, line) in done {
        let is_whole = match (&line.bytes, &listing) {
            (None, _) => true,
            (Some(stored), Some(listing)) => match listing.get(&key) {
                Some(seen) if seen.size_bytes != stored.length => false,
                // The tag that the server gave for these bytes: they need not be fetched to see that they are there.
                Some(seen) if !seen.tag.is_empty() && line.tag.as_ref() == Some(&seen.tag) => true,
                Some(_) => is_there(folder, &key, stored)?,
                None => false,
            },
            (Some(stored), None) => is_there(folder, &key, stored)?,
        };
        if is_whole {
            kept.insert(key, line);
        }
    }
    Ok(kept)
}

fn is_there(folder: &Folder, key: &str, stored: &Stored) -> Result<bool, EngineError> {
    Ok(folder.get(key)?.is_some_and(|bytes| Stored::of(&bytes) == *stored))
}
