//! Which chunks of a joined variable can be had where they lie, in the files.
//!
//! A chunk can be referenced if one file has all of it as one chunk that decodes alike, or as a run of plain bytes.
//! It promises that a reader who follows the reference and decodes it as the array says gets the joined variable's
//! elements, bit for bit; whatever is not so is said to be native, with the reason. It reads nothing.

use serde::{Deserialize, Serialize};

pub mod doors;
mod fits;
mod form;

pub use form::form;

use crate::{
    codec::{Codec, CodecChain},
    combine::{CombinedVariable, Content, Piece, fill_after},
    dataset::Variable,
    layout::TargetArray,
    manifest::ChunkTable,
    region::{Region, count, grid_of},
};

/// Bytes of a checksum that stands behind a chunk.
const CHECKSUM_BYTES: u64 = 4;

/// What a source says of the variable that a piece comes from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The variable.
    pub variable: &'a Variable,
    /// Where its chunks are; `None` if they lie in no file as they are.
    pub table: Option<&'a ChunkTable>,
}

/// Gives the origin of a piece: the number of its file and of its variable there.
pub type Origins<'a> = &'a dyn Fn(&Piece) -> Origin<'a>;

/// Whether chains that decode alike are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Equivalence {
    DecodeAlike,
    SameToTheLetter,
}

/// How chunks of an array must be cut and packed to be referenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Elements of a chunk along each dimension.
    pub chunk_shape: Vec<u64>,
    /// How its elements become bytes.
    pub codecs: CodecChain,
}

/// Why a part of an array cannot be referenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Why {
    /// Its values are not those of the file.
    Values,
    /// Its elements come in another order.
    Order,
    /// It is cut into other chunks, or they begin elsewhere.
    Chunks,
    /// It is packed by other codecs.
    Codecs,
    /// No reader has its codecs.
    NoCodec,
    /// It lies in several files, or in none.
    Elsewhere,
    /// A step of its codecs was left out for this chunk.
    SkippedStep,
    /// It was never written, and readers would take another value for it.
    Unwritten,
    /// It ends before its chunk does.
    Ragged,
}

impl Why {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Values => "its stored values are not those of the joined variable",
            Self::Order => "its elements lie in another order",
            Self::Chunks => "its chunks have another shape or begin elsewhere",
            Self::Codecs => "its chunks are packed by other codecs",
            Self::NoCodec => "readers have no codec for its chunks",
            Self::Elsewhere => "its values do not lie in the file as chunks",
            Self::SkippedStep => "a filter was left out for some of its chunks",
            Self::Unwritten => "chunks that were never written hold another value there",
            Self::Ragged => "chunks at the edge of a file are not whole",
        }
    }
}

/// Where a chunk of the array is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located {
    /// In file number `file`.
    File {
        /// Number of the file.
        file: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Nowhere: readers take the array's fill value.
    Unwritten,
    /// It must be made.
    Native(Why),
}

/// One array: where its chunks are.
#[derive(Debug, Clone)]
pub struct ArrayReferences {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    along: Option<usize>,
    pieces: Vec<PieceReferences>,
    /// What readers do about a chunk that is in no file.
    unwritten: Unwritten,
    /// Elements of the array that no file has, or that are held in memory.
    is_held: bool,
}

/// What readers take for a chunk that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unwritten {
    TheFillValue,
    SomethingElse,
}

#[derive(Debug, Clone)]
struct PieceReferences {
    file: usize,
    variable: usize,
    at: Region,
    how: Result<How, Why>,
    has_the_fill: bool,
}

#[derive(Debug, Clone)]
enum How {
    /// Whole chunks.
    Chunks {
        /// For each source dimension the array's dimension it is, and how many cells lie before it; else the one cell.
        cells: Vec<(Option<usize>, i64)>,
        source_grid: Vec<u64>,
        trailer_bytes: u64,
        /// Stored bytes of each chunk, where they are not packed.
        plain_bytes: Option<u64>,
    },
    /// A run of plain bytes.
    Plain { offset: u64, start: Vec<u64>, shape: Vec<u64>, element_bytes: u64 },
}

/// The chain without a checksum at its end, which readers need not see.
#[must_use]
pub fn without_checksum(chain: &CodecChain) -> (CodecChain, u64) {
    let mut chain = chain.clone();
    if chain.steps.last() == Some(&Codec::Fletcher32) {
        chain.steps.pop();
        return (chain, CHECKSUM_BYTES);
    }
    (chain, 0)
}

/// Whether stock readers undo every step, and frazil can do it.
#[must_use]
pub fn is_expressible(chain: &CodecChain) -> bool {
    chain.steps.iter().all(|step| {
        matches!(step, Codec::Shuffle { .. } | Codec::Deflate { .. } | Codec::Zstd { .. } | Codec::Blosc { .. })
    })
}

impl ArrayReferences {
    /// Of a variable whose array is `target`.
    #[must_use]
    pub fn of(
        variable: &CombinedVariable,
        target: &TargetArray,
        origins: Origins<'_>,
        equivalence: Equivalence,
        unwritten: Unwritten,
    ) -> Self {
        let pieces: Vec<PieceReferences> = match &variable.content {
            Content::Pieces(pieces) => pieces
                .iter()
                .map(|piece| {
                    let origin = origins(piece);
                    PieceReferences {
                        file: piece.file,
                        variable: piece.variable,
                        at: piece.at.clone(),
                        how: fits::how(piece, origin, target, equivalence),
                        has_the_fill: fill_after(&piece.rule, &origin.variable.fill) == target.fill,
                    }
                })
                .collect(),
            Content::Inline(_) | Content::Texts(_) => Vec::new(),
        };
        Self {
            shape: target.shape.clone(),
            chunk_shape: target.chunk_shape.clone(),
            along: variable.along,
            pieces,
            unwritten,
            is_held: !matches!(variable.content, Content::Pieces(_)),
        }
    }

    /// How many chunks along each dimension.
    #[must_use]
    pub fn grid(&self) -> Vec<u64> {
        grid_of(&self.shape, &self.chunk_shape)
    }

    /// Why the array, or a part of it, cannot be referenced at all, with the file that is first met.
    #[must_use]
    pub fn obstacle(&self) -> Option<(usize, Why)> {
        self.pieces.iter().find_map(|piece| piece.how.as_ref().err().map(|why| (piece.file, *why)))
    }

    /// Where the chunk at `cell` of the grid is. `table` gives the places of a variable's chunks: of file, variable.
    #[must_use]
    pub fn locate<'a>(&self, cell: &[u64], table: &dyn Fn(usize, usize) -> Option<&'a ChunkTable>) -> Located {
        if self.is_held {
            return Located::Native(Why::Elsewhere);
        }
        let bounds = |axis: usize| {
            let start = cell[axis] * self.chunk_shape[axis];
            (start, (start + self.chunk_shape[axis]).min(self.shape[axis]))
        };
        let touches = |piece: &PieceReferences| {
            (0..cell.len()).all(|axis| {
                let (start, end) = bounds(axis);
                piece.at.start[axis] < end && start < piece.at.end(axis)
            })
        };
        let holds = |piece: &PieceReferences| {
            (0..cell.len()).all(|axis| {
                let (start, end) = bounds(axis);
                piece.at.start[axis] <= start && end <= piece.at.end(axis)
            })
        };
        // Sorted by their start along the growing dimension, pieces that may touch the cell begin before its end.
        let (first, last) = match self.along {
            Some(axis) => {
                let (start, end) = bounds(axis);
                let first = self.pieces.partition_point(|piece| piece.at.end(axis) <= start);
                (first, self.pieces.partition_point(|piece| piece.at.start[axis] < end))
            }
            None => (0, self.pieces.len()),
        };
        let mut found = self.pieces.get(first..last).unwrap_or_default().iter().filter(|piece| touches(piece));
        let (piece, more) = (found.next(), found.next());
        match (piece, more) {
            (None, _) => self.missing(true),
            (Some(piece), None) if holds(piece) => self.in_piece(piece, cell, table),
            _ => Located::Native(Why::Chunks),
        }
    }

    const fn missing(&self, has_the_fill: bool) -> Located {
        match (self.unwritten, has_the_fill) {
            (Unwritten::TheFillValue, true) => Located::Unwritten,
            _ => Located::Native(Why::Unwritten),
        }
    }

    fn in_piece<'a>(
        &self,
        piece: &PieceReferences,
        cell: &[u64],
        table: &dyn Fn(usize, usize) -> Option<&'a ChunkTable>,
    ) -> Located {
        let how = match &piece.how {
            Ok(how) => how,
            Err(why) => return Located::Native(*why),
        };
        match how {
            How::Plain { offset, start, shape, element_bytes } => {
                let mut at = 0;
                for axis in 0..cell.len() {
                    let from = cell[axis] * self.chunk_shape[axis];
                    if from + self.chunk_shape[axis] > piece.at.end(axis) {
                        return Located::Native(Why::Ragged);
                    }
                    at = at * shape[axis] + (from - piece.at.start[axis] + start[axis]);
                }
                let length = count(&self.chunk_shape) * element_bytes;
                Located::File { file: piece.file, offset: offset + at * element_bytes, length }
            }
            How::Chunks { cells, source_grid, trailer_bytes, plain_bytes } => {
                let Some(ChunkTable::Ranges(ranges)) = table(piece.file, piece.variable) else {
                    return Located::Native(Why::Elsewhere);
                };
                let mut number = 0;
                for ((axis, shift), length) in cells.iter().zip(source_grid) {
                    let own = axis.map_or(0, |axis| i64::try_from(cell[axis]).unwrap_or(i64::MAX));
                    number = number * length + u64::try_from(own + shift).unwrap_or(u64::MAX);
                }
                let Some(place) = ranges.find(number) else { return self.missing(piece.has_the_fill) };
                if place.skipped_steps != 0 {
                    return Located::Native(Why::SkippedStep);
                }
                if plain_bytes.is_some_and(|n_bytes| place.length != n_bytes) {
                    return Located::Native(Why::Ragged);
                }
                match place.length.checked_sub(*trailer_bytes) {
                    Some(length) if length > 0 => Located::File { file: piece.file, offset: place.offset, length },
                    _ => Located::Native(Why::Codecs),
                }
            }
        }
    }
}

/// The cells of a grid in C order, from a first one on, without a new list for each.
#[derive(Debug, Clone)]
pub struct Cells {
    at: Vec<u64>,
    region: Region,
    left: u64,
}

impl Cells {
    /// Of a box of the grid.
    #[must_use]
    pub fn of(region: Region) -> Self {
        Self { at: region.start.clone(), left: region.n_elements(), region }
    }

    /// The next one.
    pub fn next_cell(&mut self) -> Option<&[u64]> {
        if self.left == 0 {
            return None;
        }
        if self.left < self.region.n_elements() {
            for axis in (0..self.at.len()).rev() {
                self.at[axis] += 1;
                if self.at[axis] < self.region.end(axis) {
                    break;
                }
                self.at[axis] = self.region.start[axis];
            }
        }
        self.left -= 1;
        Some(&self.at)
    }
}
