//! Where the chunks of an array are: the seven ways in which HDF5 keeps that.
//!
//! Every walker reads an index level by level and asks for all of a level at once. It promises that places are
//! absolute in the file, that chunk numbers count over the grid of the present shape, and that neither the size of
//! the grid nor anything the file claims makes it take more memory than the file's own bytes can fill. It does not
//! read chunks.

mod btree1;
mod btree2_chunks;
mod extensible_array;
mod fixed_array;
mod implicit;
mod single;

use frazil_model::manifest::{ChunkPlace, ChunkRanges};

use crate::{
    error::FormatError,
    hdf5::{cursor::Cursor, superblock::FileContext},
    sparse::{SparseBytes, Stop},
};

/// More chunks of one array than this are refused: their table alone would take a gigabyte.
const MAX_CHUNKS: usize = 1 << 24;

/// What a walker must know about the array.
#[derive(Debug, Clone)]
pub struct ChunkIndexRequest<'a> {
    /// How chunks are found.
    pub kind: ChunkIndexKind,
    /// Present lengths.
    pub shape: &'a [u64],
    /// Largest lengths; `None` where there is no end.
    pub max_shape: &'a [Option<u64>],
    /// Lengths of a chunk.
    pub chunk_shape: &'a [u64],
    /// Bytes of an element.
    pub element_bytes: u64,
    /// Whether chunks go through filters, so that their sizes differ.
    pub filtered: bool,
    /// Bytes of an address in this file.
    pub offset_bytes: u8,
    /// Bytes of a length in this file.
    pub length_bytes: u8,
    /// What addresses are relative to.
    pub base_address: u64,
}

/// How the chunks of an array are found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChunkIndexKind {
    /// No chunk was ever written.
    None,
    /// A version 1 B-tree.
    BTreeV1 { address: u64 },
    /// The one chunk there is.
    Single { address: u64, filtered_size: Option<u64>, filter_mask: u32 },
    /// All chunks lie one after another.
    Implicit { address: u64 },
    /// A list of fixed length.
    FixedArray { address: u64 },
    /// A list that grows along the one unlimited dimension.
    ExtensibleArray { address: u64 },
    /// A version 2 B-tree.
    BTreeV2 { address: u64 },
}

/// Finds all chunks that were written and lie in the present shape.
///
/// # Errors
/// [`Stop::Need`] with all that the next level takes, or the error that the index makes no sense.
pub fn chunk_ranges(request: &ChunkIndexRequest<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, Stop> {
    if request.kind == ChunkIndexKind::None {
        return Ok(ChunkRanges::default());
    }
    let grid = Grid::of(request)?;
    if request.shape.contains(&0) {
        return Ok(ChunkRanges::default());
    }
    match request.kind {
        ChunkIndexKind::None => Ok(ChunkRanges::default()),
        ChunkIndexKind::BTreeV1 { address } => btree1::walk(address, &grid, bytes),
        ChunkIndexKind::Single { address, filtered_size, filter_mask } => {
            Ok(single::walk(address, filtered_size, filter_mask, &grid)?)
        }
        ChunkIndexKind::Implicit { address } => Ok(implicit::walk(address, &grid, bytes)?),
        ChunkIndexKind::FixedArray { address } => fixed_array::walk(address, &grid, bytes),
        ChunkIndexKind::ExtensibleArray { address } => extensible_array::walk(address, &grid, bytes),
        ChunkIndexKind::BTreeV2 { address } => btree2_chunks::walk(address, &grid, bytes),
    }
}

pub(crate) fn malformed(offset: u64, reason: impl Into<String>) -> FormatError {
    FormatError::Malformed { what: "chunk index".into(), offset, reason: reason.into() }
}

/// The array's chunks along each dimension, and what all walkers need besides.
struct Grid<'a> {
    request: &'a ChunkIndexRequest<'a>,
    context: FileContext,
    /// Chunks along each dimension of the present shape.
    counts: Vec<u64>,
    /// Bytes of a chunk before filters.
    chunk_bytes: u64,
}

impl<'a> Grid<'a> {
    fn of(request: &'a ChunkIndexRequest<'a>) -> Result<Self, FormatError> {
        let rank = request.shape.len();
        let too_many = || malformed(0, "an array with more chunks or bytes than can be counted");
        if request.chunk_shape.len() != rank || request.max_shape.len() != rank || request.chunk_shape.contains(&0) {
            return Err(malformed(
                0,
                format!("chunks of shape {:?} for an array of {:?}", request.chunk_shape, request.shape),
            ));
        }
        let counts: Vec<u64> =
            request.shape.iter().zip(request.chunk_shape).map(|(length, chunk)| length.div_ceil(*chunk)).collect();
        counts.iter().try_fold(1_u64, |product, count| product.checked_mul(*count)).ok_or_else(too_many)?;
        let chunk_bytes = request
            .chunk_shape
            .iter()
            .try_fold(request.element_bytes, |product, length| product.checked_mul(*length))
            .ok_or_else(too_many)?;
        let context = FileContext {
            offset_bytes: request.offset_bytes,
            length_bytes: request.length_bytes,
            base_address: request.base_address,
        };
        Ok(Self { request, context, counts, chunk_bytes })
    }

    /// Chunks along each dimension at its largest; `None` where there is no end.
    fn max_counts(&self) -> Vec<Option<u64>> {
        let lengths = self.request.max_shape.iter().zip(self.request.chunk_shape);
        lengths.map(|(length, chunk)| length.map(|length| length.div_ceil(*chunk))).collect()
    }

    /// The number of the chunk at `position` of the grid; `None` if it lies beyond the present shape.
    fn number(&self, position: &[u64]) -> Option<u64> {
        let mut number = 0_u64;
        for (at, count) in position.iter().zip(&self.counts) {
            if at >= count {
                return None;
            }
            number = number.checked_mul(*count)?.checked_add(*at)?;
        }
        Some(number)
    }

    fn offset(&self, address: u64) -> Result<u64, FormatError> {
        let offset = address.checked_add(self.context.base_address);
        offset.ok_or_else(|| malformed(address, "an address beyond any file"))
    }

    /// Reads an array's element: where a chunk is. `None` if it was never written.
    fn element(&self, cursor: &mut Cursor<'_>, entry: Entry) -> Result<Option<ChunkPlace>, FormatError> {
        let address = cursor.address(self.context.offset_bytes)?;
        let (length, skipped_steps) = match entry {
            Entry::Plain => (self.chunk_bytes, 0),
            Entry::Filtered { size_bytes } => (cursor.uint(size_bytes)?, cursor.u32()?),
        };
        let Some(address) = address else {
            return Ok(None);
        };
        Ok(Some(ChunkPlace { offset: self.offset(address)?, length, skipped_steps }))
    }

    /// The form of an entry that takes `entry_bytes`, apart from `position_bytes` for where the chunk is in the array.
    fn entry(&self, offset: u64, entry_bytes: u64, position_bytes: u64) -> Result<Entry, FormatError> {
        let fixed = u64::from(self.context.offset_bytes) + position_bytes;
        let odd = || malformed(offset, format!("entries of {entry_bytes} bytes"));
        if !self.request.filtered {
            return if entry_bytes == fixed { Ok(Entry::Plain) } else { Err(odd()) };
        }
        let size_bytes = entry_bytes.checked_sub(fixed + 4).filter(|size_bytes| (1..=8).contains(size_bytes));
        let size_bytes = size_bytes.and_then(|size_bytes| usize::try_from(size_bytes).ok());
        Ok(Entry::Filtered { size_bytes: size_bytes.ok_or_else(odd)? })
    }
}

/// How an array or tree keeps the place of one chunk.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// Its address.
    Plain,
    /// Its address, its size in so many bytes, and which filters it skipped.
    Filtered { size_bytes: usize },
}

/// What a file may still make us read: parts of an index never overlap, so all together are smaller than the file.
struct Budget {
    left: u64,
}

impl Budget {
    const fn of(bytes: &SparseBytes) -> Self {
        Self { left: bytes.size_bytes() }
    }

    fn spend(&mut self, offset: u64, n_bytes: u64) -> Result<(), FormatError> {
        let left = self.left.checked_sub(n_bytes);
        self.left = left.ok_or_else(|| malformed(offset, "its parts are together larger than the file"))?;
        Ok(())
    }
}

/// Chunks found so far.
#[derive(Default)]
struct Rows(Vec<(u64, ChunkPlace)>);

impl Rows {
    fn push(&mut self, number: u64, place: ChunkPlace) -> Result<(), FormatError> {
        if self.0.len() >= MAX_CHUNKS {
            let what = "the number of an array's chunks".to_owned();
            return Err(FormatError::TooLarge { what, claimed: MAX_CHUNKS as u64 + 1, limit: MAX_CHUNKS as u64 });
        }
        self.0.push((number, place));
        Ok(())
    }

    fn table(self) -> ChunkRanges {
        ChunkRanges::from_rows(self.0)
    }
}

/// A list of chunks that runs over a grid with fixed lengths but for its slowest dimension.
struct Order {
    /// Dimensions, slowest first.
    dimensions: Vec<usize>,
    /// Chunks along each of them but the slowest.
    counts: Vec<u64>,
}

impl Order {
    /// The order in which arrays list chunks: the unlimited dimension is slowest, the others follow as they are.
    fn of(grid: &Grid<'_>) -> Result<Self, FormatError> {
        let max_counts = grid.max_counts();
        let slowest = max_counts.iter().position(Option::is_none).unwrap_or(0);
        let mut dimensions: Vec<usize> = (0..max_counts.len()).filter(|dimension| *dimension != slowest).collect();
        let counts: Option<Vec<u64>> = dimensions.iter().map(|at| max_counts.get(*at).copied().flatten()).collect();
        let counts = counts.ok_or_else(|| malformed(0, "a list of chunks with two unlimited dimensions"))?;
        if counts.contains(&0) {
            return Err(malformed(0, "a list of chunks over a dimension that can hold none"));
        }
        if !max_counts.is_empty() {
            dimensions.insert(0, slowest);
        }
        Ok(Self { dimensions, counts })
    }

    /// The number in the present grid of the list's entry `index`.
    fn number(&self, grid: &Grid<'_>, index: u64) -> Option<u64> {
        let mut position = vec![0; self.dimensions.len()];
        let mut rest = index;
        for (dimension, count) in self.dimensions.iter().skip(1).zip(&self.counts).rev() {
            *position.get_mut(*dimension)? = rest % count;
            rest /= count;
        }
        match self.dimensions.first() {
            Some(slowest) => *position.get_mut(*slowest)? = rest,
            None if rest > 0 => return None,
            None => {}
        }
        grid.number(&position)
    }
}
