//! What is done: a line for each unit that was put, so that a run that was stopped goes on where it was.
//!
//! A line is written after its unit is safely in place. A line that was cut off by a kill is no line. It knows no
//! clock: a journal only ever says what is there.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use frazil_store::{StoreError, folder::Folder};
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    identity::{Digested, RangeSum},
};

/// Where journals lie, below the store.
pub const FOLDER: &str = ".frazil/journal";

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Key of the unit.
    pub key: String,
    /// Its bytes; `None` if it was never written in a source and so is not there.
    pub bytes: Option<Stored>,
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
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal `name` of a store, to be continued.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(folder: &Folder, name: &str) -> Result<Self, EngineError> {
        let path = folder.path_of(&format!("{FOLDER}/{name}"))?;
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
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Notes a unit.
    ///
    /// # Errors
    /// If the line cannot be written.
    pub fn note(&self, line: &Line) -> Result<(), EngineError> {
        let mut text = serde_json::to_vec(line).map_err(|error| EngineError::Document { reason: error.to_string() })?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).map_err(|error| StoreError::writing(&self.path, text.len() as u64, error))?;
        Ok(())
    }
}

/// The units that all journals of a store say are done, by key.
///
/// # Errors
/// If a journal cannot be read.
pub fn done(folder: &Folder) -> Result<BTreeMap<String, Line>, EngineError> {
    let mut found = BTreeMap::new();
    for path in journals(&folder.path_of(FOLDER)?)? {
        let text = std::fs::read(&path).map_err(|error| StoreError::writing(&path, 0, error))?;
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
    let mut kept = BTreeMap::new();
    for (key, line) in done(folder)? {
        let is_whole = match &line.bytes {
            None => true,
            Some(stored) => folder.get(&key)?.is_some_and(|bytes| Stored::of(&bytes) == *stored),
        };
        if is_whole {
            kept.insert(key, line);
        }
    }
    Ok(kept)
}

fn journals(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::writing(folder, 0, error).into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| StoreError::writing(folder, 0, error))?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}
