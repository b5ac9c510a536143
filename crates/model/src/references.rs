//! Which chunks of a joined variable can be had where they lie, in the files.
//!
//! A chunk can be referenced if one file has all of it as one chunk that decodes alike, or as a run of plain bytes.
//! It promises that a reader who follows the reference and decodes it as the array says gets the joined variable's
//! elements, bit for bit; whatever is not so is said to be native, with the reason. It reads nothing.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{ByteOrder, Codec, CodecChain},
    combine::{CombinedVariable, Content, Piece, fill_after, view::ViewAxis},
    dataset::Variable,
    dtype::DataType,
    layout::TargetArray,
    manifest::{ChunkRanges, ChunkTable},
    packing::ValueRule,
    region::{Region, count, grid_of},
};

/// Plain bytes can be cut anywhere; pieces of this size suit a reader far away.
const PLAIN_CHUNK_BYTES: u64 = 4 << 20;

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

/// The form that most elements of a variable have; `None` if none of its chunks can be referenced.
#[must_use]
pub fn form(variable: &CombinedVariable, origins: Origins<'_>, equivalence: Equivalence) -> Option<Form> {
    let Content::Pieces(pieces) = &variable.content else { return None };
    let mut candidates: Vec<(Form, u64)> = Vec::new();
    let mut plain: Vec<&Piece> = Vec::new();
    for piece in pieces {
        let origin = origins(piece);
        if piece.rule != ValueRule::Verbatim || origin.variable.dtype != variable.dtype {
            continue;
        }
        if plain_offset(origin).is_some() {
            plain.push(piece);
            continue;
        }
        if !matches!(origin.table, Some(ChunkTable::Ranges(_))) {
            continue;
        }
        let (chain, _) = without_checksum(&origin.variable.codecs);
        if !is_expressible(&chain) {
            continue;
        }
        let one = Form { chunk_shape: chunk_shape_of(piece, origin.variable), codecs: sayable(chain, &variable.dtype) };
        let n_elements = piece.at.n_elements();
        let swap_bytes = variable.dtype.swap_bytes();
        let is_same = |known: &Form| {
            known.chunk_shape == one.chunk_shape && alike(&known.codecs, &one.codecs, swap_bytes, equivalence)
        };
        match candidates.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, n)) => *n = n.saturating_add(n_elements),
            None => candidates.push((one, n_elements)),
        }
    }
    let plain_elements = plain.iter().map(|piece| piece.at.n_elements()).fold(0, u64::saturating_add);
    // The first of those that are equally large stays.
    let best = candidates.into_iter().rev().max_by_key(|(_, n)| *n);
    match best {
        Some((form, n)) if n >= plain_elements => Some(form),
        _ => plain_form(variable, &plain, origins),
    }
}

/// Byte order says nothing of single bytes.
fn sayable(mut chain: CodecChain, dtype: &DataType) -> CodecChain {
    if dtype.swap_bytes() <= 1 {
        chain.byte_order = ByteOrder::Little;
    }
    chain
}

fn alike(a: &CodecChain, b: &CodecChain, swap_bytes: u32, equivalence: Equivalence) -> bool {
    match equivalence {
        Equivalence::DecodeAlike => a.normal_form(swap_bytes) == b.normal_form(swap_bytes),
        Equivalence::SameToTheLetter => a == b,
    }
}

/// The source's chunks in the order of the array's dimensions.
fn chunk_shape_of(piece: &Piece, variable: &Variable) -> Vec<u64> {
    let length = |axis: &ViewAxis| match axis {
        ViewAxis::Source { axis, .. } => variable.chunk_shape.get(*axis).copied().unwrap_or(1).max(1),
        ViewAxis::New => 1,
    };
    piece.axes.iter().map(length).collect()
}

/// Where a variable begins that lies uncompressed in one run of bytes.
fn plain_offset(origin: Origin<'_>) -> Option<u64> {
    let (variable, Some(ChunkTable::Ranges(ranges))) = (origin.variable, origin.table) else { return None };
    if variable.is_chunked || !variable.codecs.steps.is_empty() || ranges.is_empty() {
        return None;
    }
    let total = count(&variable.shape).checked_mul(variable.dtype.size_bytes()?.into())?;
    let begin = *ranges.offset.first()?;
    let mut end = begin;
    for (offset, length) in ranges.offset.iter().zip(&ranges.length) {
        if *offset != end {
            return None;
        }
        end = end.checked_add(*length)?;
    }
    (end - begin == total).then_some(begin)
}

/// Chunks for runs of plain bytes: as large as suits a reader, whole in every file, each in one run.
fn plain_form(variable: &CombinedVariable, pieces: &[&Piece], origins: Origins<'_>) -> Option<Form> {
    let first = pieces.first()?;
    let byte_order = sayable(origins(first).variable.codecs.clone(), &variable.dtype).byte_order;
    let n_axes = variable.shape.len();
    // Along each dimension: a length that divides each file's part and its place, and whether all are just that long.
    let mut unit = vec![0; n_axes];
    let mut is_full = vec![true; n_axes];
    for piece in pieces {
        for axis in 0..n_axes {
            let (length, start) = match piece.axes[axis] {
                ViewAxis::Source { axis: source, start, .. } => {
                    (origins(piece).variable.shape.get(source).copied().unwrap_or(1), start)
                }
                ViewAxis::New => (1, 0),
            };
            is_full[axis] &= (unit[axis] == 0 || unit[axis] == length) && piece.at.shape[axis] == length;
            for number in [length, start, piece.at.start[axis], piece.at.shape[axis]] {
                unit[axis] = greatest_divisor(unit[axis], number);
            }
        }
    }
    let element_bytes = u64::from(variable.dtype.size_bytes()?);
    let last_cut = is_full.iter().rposition(|full| !full).unwrap_or(0);
    let mut chunk_shape: Vec<u64> = unit.iter().map(|length| (*length).max(1)).collect();
    for axis in 0..n_axes {
        if axis < last_cut {
            chunk_shape[axis] = 1;
            continue;
        }
        let row_bytes = count(&chunk_shape[axis + 1..]).saturating_mul(element_bytes).max(1);
        let most = (PLAIN_CHUNK_BYTES / row_bytes).max(1);
        chunk_shape[axis] = largest_divisor(chunk_shape[axis], most);
        if row_bytes <= PLAIN_CHUNK_BYTES {
            break;
        }
    }
    Some(Form { chunk_shape, codecs: CodecChain { byte_order, steps: Vec::new() } })
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The largest number up to `most` that divides `length`.
fn largest_divisor(length: u64, most: u64) -> u64 {
    if length <= most {
        return length;
    }
    let mut best = 1;
    let mut small: u64 = 1;
    while small.saturating_mul(small) <= length {
        if length.is_multiple_of(small) {
            for divisor in [small, length / small] {
                if divisor <= most {
                    best = best.max(divisor);
                }
            }
        }
        small += 1;
    }
    best
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
                        how: how(piece, origin, target, equivalence),
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
                let Some(place) = find(ranges, number) else { return self.missing(piece.has_the_fill) };
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

/// The place of a chunk: at once where all were written.
fn find(ranges: &ChunkRanges, number: u64) -> Option<crate::manifest::ChunkPlace> {
    let row = usize::try_from(number).ok()?;
    match ranges.index.get(row) {
        Some(index) if *index == number => ranges.row(row),
        _ => ranges.find(number),
    }
}

/// How the chunks of a piece are the array's.
fn how(piece: &Piece, origin: Origin<'_>, target: &TargetArray, equivalence: Equivalence) -> Result<How, Why> {
    let variable = origin.variable;
    if piece.rule != ValueRule::Verbatim || variable.dtype != target.dtype {
        return Err(Why::Values);
    }
    let Some(ChunkTable::Ranges(_)) = origin.table else { return Err(Why::Elsewhere) };
    if piece.axes.iter().any(|axis| matches!(axis, ViewAxis::Source { step, .. } if *step != 1)) {
        return Err(Why::Order);
    }
    let swap_bytes = target.dtype.swap_bytes();
    let (chain, trailer_bytes) = without_checksum(&variable.codecs);
    let chain = sayable(chain, &target.dtype);
    if !is_expressible(&chain) {
        return Err(Why::NoCodec);
    }
    if !alike(&chain, &target.codecs, swap_bytes, equivalence) {
        return Err(Why::Codecs);
    }
    if let Some(offset) = plain_offset(origin)
        && let Some(plain) = plain(piece, variable, target, offset)
    {
        return Ok(plain);
    }
    whole_chunks(piece, variable, target, trailer_bytes)
}

/// A run of plain bytes, if each of the array's chunks is one.
fn plain(piece: &Piece, variable: &Variable, target: &TargetArray, offset: u64) -> Option<How> {
    let element_bytes = u64::from(variable.dtype.size_bytes()?);
    let mut start = Vec::new();
    let mut shape = Vec::new();
    let mut next = 0;
    for axis in &piece.axes {
        match axis {
            ViewAxis::New => {
                start.push(0);
                shape.push(1);
            }
            ViewAxis::Source { axis, start: first, step: 1 } if *axis == next => {
                start.push(*first);
                shape.push(*variable.shape.get(*axis)?);
                next += 1;
            }
            ViewAxis::Source { .. } => return None,
        }
    }
    // All dimensions of the file are there, in its order.
    if next != variable.shape.len() {
        return None;
    }
    let n_axes = shape.len();
    let is_cut = (0..n_axes).position(|axis| target.chunk_shape[axis] > 1).unwrap_or(n_axes);
    let is_whole = (is_cut + 1..n_axes).all(|axis| target.chunk_shape[axis] == shape[axis]);
    is_whole.then_some(How::Plain { offset, start, shape, element_bytes })
}

/// Whole chunks of the file, if the array's are just those.
fn whole_chunks(piece: &Piece, variable: &Variable, target: &TargetArray, trailer_bytes: u64) -> Result<How, Why> {
    let mut cells: Vec<Option<(Option<usize>, i64)>> = vec![None; variable.shape.len()];
    let mut last_long = None;
    for (number, axis) in piece.axes.iter().enumerate() {
        let chunk = target.chunk_shape[number];
        let ViewAxis::Source { axis, start, .. } = *axis else {
            if chunk != 1 {
                return Err(Why::Chunks);
            }
            continue;
        };
        if variable.chunk_shape.get(axis) != Some(&chunk) {
            return Err(Why::Chunks);
        }
        // Dimensions of single elements may stand anywhere without a change of the bytes.
        if chunk > 1 {
            if last_long.is_some_and(|last| last > axis) {
                return Err(Why::Order);
            }
            last_long = Some(axis);
        }
        cells[axis] = Some((Some(number), shift(piece, number, start, chunk, variable.shape[axis])?));
    }
    for (axis, index) in &piece.fixed {
        if variable.chunk_shape.get(*axis) != Some(&1) {
            return Err(Why::Chunks);
        }
        let cell = cells.get_mut(*axis).ok_or(Why::Chunks)?;
        *cell = Some((None, i64::try_from(*index).map_err(|_| Why::Chunks)?));
    }
    let plain_bytes = match (variable.codecs.steps.is_empty(), variable.dtype.size_bytes()) {
        (true, Some(element_bytes)) => Some(count(&variable.chunk_shape).saturating_mul(element_bytes.into())),
        _ => None,
    };
    Ok(How::Chunks {
        cells: cells.into_iter().collect::<Option<Vec<_>>>().ok_or(Why::Order)?,
        source_grid: variable.grid(),
        trailer_bytes,
        plain_bytes,
    })
}

/// How many cells the file is ahead of the array along a dimension.
fn shift(piece: &Piece, axis: usize, start: u64, chunk: u64, source_length: u64) -> Result<i64, Why> {
    let signed = |number: u64| i64::try_from(number).map_err(|_| Why::Chunks);
    let (first, own, chunk) = (signed(start)?, signed(piece.at.start[axis])?, signed(chunk)?);
    if (first - own) % chunk != 0 {
        return Err(Why::Chunks);
    }
    // A chunk that is cut in the middle of the file has elements behind the cut which the array has not: only at the
    // array's own end nobody looks at them, or where the file ends as well.
    let end = start.checked_add(piece.at.shape[axis]).ok_or(Why::Chunks)?;
    debug_assert!(end <= source_length);
    Ok((first - own) / chunk)
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
