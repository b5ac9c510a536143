//! Where each chunk's bytes are.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::column::Column;

/// For each variable of a `Dataset`, in the same order, where its chunks are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChunkManifest {
    /// One table a variable.
    pub tables: Vec<ChunkTable>,
    /// What only an HDF5 file needs to be read.
    #[serde(default)]
    pub hdf5: Option<Hdf5Places>,
    /// What [`ChunkTable::Referred`] counts on.
    #[serde(default)]
    pub referred: Option<Referred>,
}

/// Where chunks lie that a document only refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Referred {
    /// Files that chunks lie in, as the document names them, each once.
    pub files: Vec<String>,
    /// The bytes of chunks that the document holds itself, one after another.
    pub inline: Bytes,
}

/// What reading the values of an HDF5 file takes besides the chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hdf5Places {
    /// Bytes of an address in a variable-length text's descriptor (4 bytes of length, address, 4 bytes of number).
    pub offset_bytes: u8,
    /// Bytes of a length in the global heaps that hold such texts.
    pub length_bytes: u8,
    /// Byte of the file that address 0 stands for.
    pub base_address: u64,
    /// Variables whose path is not that in the file, with the file's: `("/x", "/_nc4_non_coord_x")`.
    pub stored_paths: Vec<(String, String)>,
}

/// Where the chunks of one variable are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ChunkTable {
    /// Chunks at byte ranges of the file. A chunk that is not listed was never written: it holds the fill value.
    Ranges(ChunkRanges),
    /// The one chunk's bytes lie in the metadata.
    Inline(Bytes),
    /// The bytes lie one after another in other files (HDF5 external storage).
    External(Vec<ExternalPart>),
    /// The values come from variables of other files, or of this one (HDF5 virtual dataset).
    Virtual(Vec<VirtualPart>),
    /// Chunks are ranges of other files, whichever each lies in (Kerchunk, DMR++).
    Referred(ChunkReferences),
}

/// Columns: chunk `index[i]` is `length[i]` bytes at `offset[i]` of file `file[i]` of the manifest's [`Referred`].
///
/// `index` counts chunks in C order and is sorted and unique. A chunk that is not listed holds the fill value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkReferences {
    /// C-order number of each chunk.
    pub index: Vec<u64>,
    /// Which file, by number; [`ChunkReferences::INLINE`]: the bytes that the document holds itself.
    pub file: Vec<u32>,
    /// First byte.
    pub offset: Vec<u64>,
    /// Bytes; [`ChunkReferences::TO_THE_END`]: all that follow.
    pub length: Vec<u64>,
}

/// One chunk's place in a file that is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Number of the file, or [`ChunkReferences::INLINE`].
    pub file: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes, or [`ChunkReferences::TO_THE_END`].
    pub length: u64,
}

impl ChunkReferences {
    /// In place of a file: the bytes lie in the document.
    pub const INLINE: u32 = u32::MAX;

    /// In place of a length: up to the end of the file.
    pub const TO_THE_END: u64 = u64::MAX;

    /// The table of `(index, reference)` rows in any order; of two rows for one chunk the last stays.
    #[must_use]
    pub fn from_rows(mut rows: Vec<(u64, Reference)>) -> Self {
        rows.reverse();
        rows.sort_by_key(|(index, _)| *index);
        rows.dedup_by_key(|(index, _)| *index);
        Self {
            index: rows.iter().map(|(index, _)| *index).collect(),
            file: rows.iter().map(|(_, place)| place.file).collect(),
            offset: rows.iter().map(|(_, place)| place.offset).collect(),
            length: rows.iter().map(|(_, place)| place.length).collect(),
        }
    }

    /// How many chunks are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Where chunk `index` is; `None` if it is not listed.
    #[must_use]
    pub fn find(&self, index: u64) -> Option<Reference> {
        let row = self.index.binary_search(&index).ok()?;
        Some(Reference { file: *self.file.get(row)?, offset: *self.offset.get(row)?, length: *self.length.get(row)? })
    }
}

/// Columns: chunk `index[i]` has `length[i]` bytes at `offset[i]`.
///
/// `index` counts chunks in C order over the grid of the present shape and is sorted and unique.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkRanges {
    /// C-order number of each chunk.
    pub index: Column,
    /// First byte in the file.
    pub offset: Column,
    /// Stored bytes.
    pub length: Column,
    /// Bit `i` set: step `i` of the chain was skipped for this chunk. Empty: no chunk skips any.
    pub skipped_steps: Vec<u32>,
}

/// A stretch of another file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalPart {
    /// The file's name as stored, relative to the file that names it.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A box of a virtual dataset and the box it is filled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualPart {
    /// The other file's name as stored; `.` for this file.
    pub file: String,
    /// Path of the variable there.
    pub variable: String,
    /// Where elements are taken from; empty: all of them, in order.
    pub from: Vec<Hyperslab>,
    /// Where they go; as many elements, in the same order.
    pub to: Vec<Hyperslab>,
}

/// A regular selection along one dimension: `count` blocks of `block` elements, `stride` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hyperslab {
    /// First element.
    pub start: u64,
    /// From one block's start to the next.
    pub stride: u64,
    /// How many blocks.
    pub count: u64,
    /// Elements of a block.
    pub block: u64,
}

/// One chunk's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlace {
    /// First byte in the file.
    pub offset: u64,
    /// Stored bytes.
    pub length: u64,
    /// Bit `i` set: step `i` of the chain was skipped.
    pub skipped_steps: u32,
}

impl Hyperslab {
    /// Whether it goes on as far as there are elements: its count or its block is the largest number there is.
    #[must_use]
    pub const fn is_endless(&self) -> bool {
        self.count == u64::MAX || self.block == u64::MAX
    }
}

impl VirtualPart {
    /// Whether its length follows from the other file. Its names are then as stored: `%b` stands for the number of a
    /// block, `%%` for a percent sign.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.to.iter().chain(&self.from).any(Hyperslab::is_endless)
    }
}

impl ChunkRanges {
    /// A table of one chunk.
    #[must_use]
    pub fn single(offset: u64, length: u64) -> Self {
        Self::of_runs(std::iter::once((0, offset, length)))
    }

    /// A table of whole chunks `(index, offset, length)`, by rising index.
    #[must_use]
    pub fn of_runs(rows: impl Iterator<Item = (u64, u64, u64)> + Clone) -> Self {
        Self {
            index: rows.clone().map(|(index, ..)| index).collect(),
            offset: rows.clone().map(|(_, offset, _)| offset).collect(),
            length: rows.map(|(.., length)| length).collect(),
            skipped_steps: Vec::new(),
        }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let columns = [&self.index, &self.offset, &self.length].map(Column::held_bytes);
        columns.iter().sum::<usize>() + self.skipped_steps.len() * size_of::<u32>()
    }

    /// How many chunks were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no chunk was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Where chunk `index` is; `None` if it was never written.
    #[must_use]
    pub fn find(&self, index: u64) -> Option<ChunkPlace> {
        self.row(self.index.find(index)?)
    }

    /// The chunk of row `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<ChunkPlace> {
        Some(ChunkPlace {
            offset: self.offset.get(row)?,
            length: self.length.get(row)?,
            skipped_steps: self.skipped_steps.get(row).copied().unwrap_or(0),
        })
    }

    /// The table of `(index, place)` rows in any order; of two rows for one chunk the first stays.
    #[must_use]
    pub fn from_rows(mut rows: Vec<(u64, ChunkPlace)>) -> Self {
        rows.sort_by_key(|(index, _)| *index);
        rows.dedup_by_key(|(index, _)| *index);
        let skips = rows.iter().any(|(_, place)| place.skipped_steps != 0);
        Self {
            index: rows.iter().map(|(index, _)| *index).collect(),
            offset: rows.iter().map(|(_, place)| place.offset).collect(),
            length: rows.iter().map(|(_, place)| place.length).collect(),
            skipped_steps: if skips { rows.iter().map(|(_, place)| place.skipped_steps).collect() } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_references_for_a_chunk_the_last_stays() {
        let place = |offset| Reference { file: 0, offset, length: 10 };
        let table = ChunkReferences::from_rows(vec![(7, place(70)), (2, place(20)), (7, place(71))]);
        assert_eq!((table.find(7), table.find(2), table.find(3)), (Some(place(71)), Some(place(20)), None));
    }

    #[test]
    fn a_chunk_that_was_never_written_is_not_found() {
        let place = |offset| ChunkPlace { offset, length: 10, skipped_steps: 0 };
        let table = ChunkRanges::from_rows(vec![(7, place(70)), (2, place(20))]);
        assert_eq!(table.find(7), Some(place(70)));
        assert_eq!(table.find(3), None);
        assert!(table.skipped_steps.is_empty());
    }
}
