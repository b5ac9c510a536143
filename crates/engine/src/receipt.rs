//! What a finished store says about itself: from what it was made, and every object that belongs to it.
//!
//! Receipt and inventory hold no clock, host, place of the store or number of threads: clean builds of the same
//! inputs are the same to the byte, wherever they are written.

use std::collections::BTreeMap;

use frazil_store::folder::Folder;
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    identity::{RangeSum, digest},
    journal::{Line, Stored},
};

/// Key of the receipt.
pub const RECEIPT: &str = ".frazil/receipt.json";

/// Key of the inventory.
pub const INVENTORY: &str = ".frazil/inventory.tsv";

/// From what a store was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this document.
    pub frazil_receipt: u32,
    /// Digest of the plan: everything that decides a byte of the store.
    pub plan: String,
    /// What was asked for, as canonical text.
    pub request: String,
    /// The dimension along which files follow each other.
    pub along: Option<String>,
    /// The files, in order.
    pub sources: Vec<SourceRecord>,
    /// Arrays of the store.
    pub n_arrays: u64,
    /// Objects that hold elements.
    pub n_units: u64,
    /// BLAKE3 of the inventory.
    pub inventory: String,
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Digest of its structure, attributes and places of chunks.
    pub structure: String,
    /// Sum of the digests of every byte range that was read for its values.
    pub read: String,
}

/// Every object of a store with its length and digest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory(pub BTreeMap<String, Stored>);

impl Inventory {
    /// As text: a line an object, its key, length and BLAKE3 with tabs between them.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(key, stored)| format!("{key}\t{}\t{}\n", stored.length, stored.blake3)).collect()
    }

    /// Reads it back; `None` if a line is not of that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut parts = line.split('\t');
            let (key, length, blake3) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            Some((key.to_owned(), Stored { length, blake3: blake3.to_owned() }))
        };
        text.lines().map(line).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }
}

impl Receipt {
    /// The receipt of a store; `None` if it has none.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense.
    pub fn of(folder: &Folder) -> Result<Option<Self>, EngineError> {
        let Some(bytes) = folder.get(RECEIPT)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| EngineError::NotOurs {
            path: folder.root().to_owned(),
            reason: format!("its receipt is damaged: {error}"),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// As text.
    ///
    /// # Errors
    /// Never in practice: every part of it has a place in JSON.
    pub fn to_text(&self) -> Result<String, EngineError> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| EngineError::Document { reason: error.to_string() })
    }
}

/// What was read of each file, over all units.
#[must_use]
pub fn sums(lines: &BTreeMap<String, Line>, n_files: usize) -> Vec<RangeSum> {
    let mut sums = vec![RangeSum::default(); n_files];
    for (file, sum) in lines.values().flat_map(|line| &line.read) {
        if let Some(known) = sums.get_mut(*file) {
            known.merge(*sum);
        }
    }
    sums
}

/// The digest of an inventory.
#[must_use]
pub fn inventory_digest(text: &str) -> String {
    digest(text.as_bytes())
}
