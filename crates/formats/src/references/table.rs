//! From references by key to tables by chunk.

use std::{borrow::Cow, collections::HashMap};

use frazil_model::{
    manifest::{ChunkManifest, ChunkReferences, ChunkTable, Reference, Referred},
    region::{count, piece_shape, pieces},
    zarr::ArrayLayout,
};

use super::{MOST_FILES, MOST_INLINE_BYTES, MOST_REFERENCES, too_many};
use crate::{Decoded, FormatError, zarr::ZarrDataset};

/// Decoded bytes of a piece of an array that lies uncompressed in one.
const PIECE_BYTES: u64 = 4 << 20;

/// What a document describes.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its arrays and where their chunks lie: every table is [`ChunkTable::Referred`].
    pub decoded: Decoded,
    /// How each array is laid out, in the order of the variables.
    pub layouts: Vec<ArrayLayout>,
}

/// Where the bytes of a key are.
#[derive(Debug, Clone, PartialEq)]
pub enum Target<'a> {
    /// Here.
    Bytes(Cow<'a, [u8]>),
    /// In a file, from a byte on; all that follow if no length is said.
    File(Cow<'a, str>, u64, Option<u64>),
}

/// The tables of a document while its references are read.
pub(super) struct Tables {
    zarr: ZarrDataset,
    by_path: HashMap<String, usize>,
    files: Vec<String>,
    numbers: HashMap<String, u32>,
    inline: Vec<u8>,
    rows: Vec<Vec<(u64, Reference)>>,
    n_rows: usize,
}

impl Tables {
    /// For the arrays of `zarr`.
    pub(super) fn of(zarr: ZarrDataset) -> Self {
        let by_path = zarr.layouts.iter().enumerate();
        let by_path = by_path.map(|(number, one)| (one.path.trim_start_matches('/').to_owned(), number)).collect();
        let rows = zarr.layouts.iter().map(|_| Vec::new()).collect();
        let (files, numbers) = (Vec::new(), HashMap::new());
        Self { zarr, by_path, files, numbers, inline: Vec::new(), rows, n_rows: 0 }
    }

    /// Puts a reference by its key; one that is no chunk of any array is passed over, as readers of Zarr do.
    pub(super) fn put(&mut self, key: &str, target: &Target<'_>) -> Result<(), FormatError> {
        // The keys of chunks have at most as many slashes as their arrays have dimensions; most have one.
        let found = key.rmatch_indices('/').find_map(|(at, _)| Some((self.by_path.get(&key[..at])?, &key[at + 1..])));
        let Some((&array, rest)) = found else { return Ok(()) };
        match self.zarr.layouts.get(array).and_then(|layout| layout.object_number(rest)) {
            Some(chunk) => self.put_chunk(array, chunk, target),
            None => Ok(()),
        }
    }

    /// Puts the reference of a chunk by its number.
    pub(super) fn put_chunk(&mut self, array: usize, chunk: u64, target: &Target<'_>) -> Result<(), FormatError> {
        self.n_rows += 1;
        if self.n_rows > MOST_REFERENCES {
            return Err(too_many("the number of references", self.n_rows, MOST_REFERENCES));
        }
        let place = match target {
            Target::Bytes(bytes) => {
                let offset = self.inline.len();
                if offset + bytes.len() > MOST_INLINE_BYTES {
                    return Err(too_many(
                        "the bytes of chunks in the document",
                        offset + bytes.len(),
                        MOST_INLINE_BYTES,
                    ));
                }
                self.inline.extend_from_slice(bytes);
                Reference { file: ChunkReferences::INLINE, offset: offset as u64, length: bytes.len() as u64 }
            }
            Target::File(name, offset, length) => {
                let file = self.number_of(name)?;
                Reference { file, offset: *offset, length: length.unwrap_or(ChunkReferences::TO_THE_END) }
            }
        };
        if let Some(rows) = self.rows.get_mut(array) {
            rows.push((chunk, place));
        }
        Ok(())
    }

    fn number_of(&mut self, name: &str) -> Result<u32, FormatError> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.files.len()).ok().filter(|number| (*number as usize) < MOST_FILES);
        let number = number.ok_or_else(|| too_many("the number of files", self.files.len(), MOST_FILES))?;
        self.files.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    /// The arrays, by number.
    pub(super) fn layouts(&self) -> &[ArrayLayout] {
        &self.zarr.layouts
    }

    /// The tables, once every reference was put.
    pub(super) fn finish(self, format: &str) -> Described {
        let Self { zarr, files, inline, mut rows, .. } = self;
        let mut dataset = zarr.dataset;
        format.clone_into(&mut dataset.format);
        let mut layouts = zarr.layouts;
        for ((layout, variable), rows) in layouts.iter_mut().zip(&mut dataset.variables).zip(&mut rows) {
            if let Some(cut) = cut(layout, rows) {
                variable.chunk_shape.clone_from(&layout.chunk_shape);
                // The last piece may be short, as in a file.
                variable.is_chunked = false;
                *rows = cut;
            }
        }
        let tables = rows.into_iter().map(|rows| ChunkTable::Referred(ChunkReferences::from_rows(rows))).collect();
        let referred = Some(Referred { files, inline: inline.into() });
        let manifest = ChunkManifest { tables, referred, ..ChunkManifest::default() };
        Described { decoded: Decoded { dataset, manifest }, layouts }
    }
}

/// Cuts an array that lies uncompressed in one piece, so that a part of it can be read without the rest.
fn cut(layout: &mut ArrayLayout, rows: &[(u64, Reference)]) -> Option<Vec<(u64, Reference)>> {
    let [(0, place)] = rows else { return None };
    let element_bytes = u64::from(layout.dtype.size_bytes()?);
    let n_bytes = count(&layout.shape).checked_mul(element_bytes)?;
    let is_plain = layout.codecs.steps.is_empty() && layout.chunk_shape == layout.shape && place.length == n_bytes;
    if n_bytes <= PIECE_BYTES || !is_plain || place.file == ChunkReferences::INLINE {
        return None;
    }
    let piece = piece_shape(&layout.shape, element_bytes, PIECE_BYTES);
    let rows = pieces(&layout.shape, &piece).map(|(number, first, n_elements)| {
        let offset = place.offset.checked_add(first * element_bytes)?;
        Some((number, Reference { offset, length: n_elements * element_bytes, ..*place }))
    });
    let rows = rows.collect::<Option<Vec<_>>>()?;
    layout.chunk_shape = piece;
    Some(rows)
}
