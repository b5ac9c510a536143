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
    others::OtherFile,
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
    /// Files that it names as places of its values; what was read of them is part of `read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherRecord>,
}

/// A file that a source names as a place of its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRecord {
    /// Its name as stored.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Digest of its structure; `absent` if it was not there, empty for a file of bytes alone.
    pub structure: String,
}

impl OtherRecord {
    /// What is said of a file.
    #[must_use]
    pub fn of(other: &OtherFile) -> Self {
        let (size_bytes, structure) = other.identity();
        Self { name: other.name.clone(), size_bytes, structure }
    }
}

/// Every object of a store with its length and digest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory(pub BTreeMap<String, Stored>);

impl Inventory {
    /// As text: a line an object, its key, length and BLAKE3 with tabs between them.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(key, stored)| format!("{}\t{}\t{}\n", escaped(key), stored.length, stored.blake3)).collect()
    }

    /// Reads it back; `None` if a line is not of that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut parts = line.split('\t');
            let (key, length, blake3) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            Some((unescaped(key), Stored { length, blake3: blake3.to_owned() }))
        };
        text.lines().map(line).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }
}

/// A key without the signs that the inventory keeps for itself. No key has a backslash: such names are refused.
fn escaped(key: &str) -> String {
    key.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescaped(key: &str) -> String {
    key.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r")
}

/// A receipt with a digest of its own content, so that a flipped bit in it does not go unseen.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    receipt: Receipt,
    seal: String,
}

impl Receipt {
    /// The digest of all that it says.
    fn seal(&self) -> Result<String, EngineError> {
        let text = serde_json::to_string(self).map_err(|error| EngineError::Document { reason: error.to_string() })?;
        Ok(digest(text.as_bytes()))
    }

    /// The receipt of a store; `None` if it has none.
    ///
    /// # Errors
    /// If it cannot be read, or makes no sense.
    pub fn of(folder: &Folder) -> Result<Option<Self>, EngineError> {
        let Some(bytes) = folder.get(RECEIPT)? else { return Ok(None) };
        let damaged = |reason: &str| EngineError::NotOurs {
            place: folder.location(),
            reason: format!("its receipt is damaged: {reason}"),
        };
        let Sealed { receipt, seal } = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
        if receipt.seal()? != seal || receipt.to_text()?.as_bytes() != bytes {
            return Err(damaged("it was changed after it was written"));
        }
        Ok(Some(receipt))
    }

    /// As text.
    ///
    /// # Errors
    /// Never in practice: every part of it has a place in JSON.
    pub fn to_text(&self) -> Result<String, EngineError> {
        serde_json::to_string_pretty(&Sealed { receipt: self.clone(), seal: self.seal()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_gives_back_any_key() {
        let stored = Stored { length: 3, blake3: digest(b"abc") };
        let keys = ["sst/c/0", "name with space", "tab\there", "line\nbreak", "return\r"];
        let inventory = Inventory(keys.iter().map(|key| ((*key).to_owned(), stored.clone())).collect());
        assert_eq!(Inventory::parse(&inventory.to_text()), Some(inventory));
    }

    #[test]
    fn no_bit_of_a_receipt_can_flip_unseen() {
        let root = std::env::temp_dir().join(format!("frazil-receipt-{}", std::process::id()));
        let folder = Folder::new(root.clone());
        let source = SourceRecord {
            name: "a.nc".into(),
            size_bytes: 10,
            structure: digest(b"s"),
            read: digest(b"r"),
            others: Vec::new(),
        };
        let (plan, inventory) = (digest(b"p"), digest(b"i"));
        let receipt = Receipt {
            frazil_receipt: 1,
            plan,
            request: String::new(),
            along: None,
            sources: vec![source],
            n_arrays: 1,
            n_units: 2,
            inventory,
        };
        let text = receipt.to_text().unwrap();
        folder.put(RECEIPT, text.as_bytes()).unwrap();
        assert_eq!(Receipt::of(&folder).unwrap(), Some(receipt));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(root.join(RECEIPT), &bytes).unwrap();
            assert!(matches!(Receipt::of(&folder), Err(EngineError::NotOurs { .. })), "bit {bit}");
        }
        frazil_store::folder::remove_tree(&root).unwrap();
    }
}
