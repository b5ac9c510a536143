//! From the elements of a unit to its stored bytes: a chunk, or a shard of chunks.

use std::sync::atomic::Ordering;

use frazil_formats::codecs::{ChunkForm, Codecs};
use frazil_model::{
    codec::{ByteOrder, Codec, CodecChain},
    combine::{Content, Piece},
    dtype::DataType,
    layout::TargetArray,
    region::{Region, cells_touching, coordinates_of, count, grid_of, number_of},
};

use crate::{
    error::EngineError,
    identity::RangeSum,
    run::{
        Job,
        buffer::{ChunkBuffer, Pool},
        work::{ChunkKind, Unit, Work, WorkChunk},
    },
    source::{ChunkAt, ChunkReader},
    strided::{self, Walk, c_strides},
};

/// The index entry of a chunk that is not in its shard (Zarr v3, sharding codec 1.0).
const NOT_IN_SHARD: u64 = u64::MAX;

/// Encodes units, reusing its buffers. One a thread.
#[derive(Default)]
pub struct Encoder {
    codecs: Codecs,
    checker: Codecs,
    unit: Vec<u8>,
}

impl Encoder {
    /// The bytes of a unit; `None` if nothing of it was ever written in a source.
    ///
    /// # Errors
    /// If a chunk cannot be encoded, or a chunk that is passed on is damaged.
    pub fn unit<'a>(
        &'a mut self,
        job: &Job<'_>,
        work: &Work,
        unit: &Unit,
        reader: &'a mut ChunkReader,
        pool: &Pool,
    ) -> Result<Option<&'a [u8]>, EngineError> {
        let target = &job.targets[work.task.array];
        let content = &job.combined.variables[work.task.array].content;
        if target.shard_shape.is_some() {
            return self.shard(target, content, work, unit, pool);
        }
        let Some(chunk) = unit.chunks.first().map(|number| &work.chunks[*number]) else { return Ok(None) };
        if let (ChunkKind::Passed { piece, chunk }, Content::Pieces(pieces)) = (&chunk.kind, content) {
            return self.pass(job, &pieces[*piece], *chunk, reader, unit).map(Some);
        }
        if !self.chunk(target, content, chunk, pool)? {
            return Ok(None);
        }
        Ok(Some(&self.unit))
    }

    /// Encodes one chunk into `self.unit`; false if nothing of it was ever written.
    fn chunk(
        &mut self,
        target: &TargetArray,
        content: &Content,
        chunk: &WorkChunk,
        pool: &Pool,
    ) -> Result<bool, EngineError> {
        self.unit.clear();
        self.append_chunk(target, content, chunk, pool)
    }

    fn append_chunk(
        &mut self,
        target: &TargetArray,
        content: &Content,
        chunk: &WorkChunk,
        pool: &Pool,
    ) -> Result<bool, EngineError> {
        let failed =
            |source| EngineError::Chunk { file: "the store".into(), variable: target.path.clone(), chunk: 0, source };
        let swap_bytes = target.dtype.swap_bytes();
        match &chunk.kind {
            ChunkKind::Texts => {
                let plain = texts_of(target, content, &chunk.region);
                self.unit.extend_from_slice(self.codecs.encode(&target.codecs, 1, &plain).map_err(failed)?);
            }
            ChunkKind::Filled { buffer, is_written } => {
                if let Content::Inline(all) = content {
                    copy_inline(all, target, buffer);
                } else if target.leaves_out_unwritten && !is_written.load(Ordering::Relaxed) {
                    pool.give(buffer.take_whole());
                    return Ok(false);
                }
                let elements = buffer.take_whole();
                self.unit.extend_from_slice(self.codecs.encode(&target.codecs, swap_bytes, &elements).map_err(failed)?);
                pool.give(elements);
            }
            ChunkKind::Passed { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// A shard: its chunks one after another, then the index with its checksum.
    fn shard(
        &mut self,
        target: &TargetArray,
        content: &Content,
        work: &Work,
        unit: &Unit,
        pool: &Pool,
    ) -> Result<Option<&[u8]>, EngineError> {
        self.unit.clear();
        let grid = grid_of(target.unit_shape(), &target.chunk_shape);
        let n_chunks = usize::try_from(count(&grid)).unwrap_or(0);
        let mut index = vec![(NOT_IN_SHARD, NOT_IN_SHARD); n_chunks];
        let mut is_empty = true;
        for number in &unit.chunks {
            let chunk = &work.chunks[*number];
            let begin = self.unit.len();
            if !self.append_chunk(target, content, chunk, pool)? {
                continue;
            }
            is_empty = false;
            let at: Vec<u64> = (0..grid.len())
                .map(|axis| chunk.region.start[axis] / target.chunk_shape[axis] - unit.at[axis] * grid[axis])
                .collect();
            if let Some(entry) = usize::try_from(number_of(&at, &grid)).ok().and_then(|place| index.get_mut(place)) {
                *entry = (begin as u64, (self.unit.len() - begin) as u64);
            }
        }
        if is_empty {
            return Ok(None);
        }
        let plain: Vec<u8> =
            index.iter().flat_map(|(offset, length)| [offset.to_le_bytes(), length.to_le_bytes()]).flatten().collect();
        let chain = CodecChain { byte_order: ByteOrder::Little, steps: vec![Codec::Crc32c] };
        let failed =
            |source| EngineError::Chunk { file: "the store".into(), variable: target.path.clone(), chunk: 0, source };
        self.unit.extend_from_slice(self.codecs.encode(&chain, 8, &plain).map_err(failed)?);
        Ok(Some(&self.unit))
    }

    /// The stored bytes of a source chunk, inflated once to see that they are whole.
    fn pass<'a>(
        &mut self,
        job: &Job<'_>,
        piece: &Piece,
        chunk: u64,
        reader: &'a mut ChunkReader,
        unit: &Unit,
    ) -> Result<&'a [u8], EngineError> {
        let source = &job.sources[piece.file];
        let variable = source.variable(piece.variable);
        let ChunkAt::File(place) = source.chunk(piece.variable, chunk)? else {
            return Err(source.unreadable(piece.variable, "its chunk went away"));
        };
        let stored = reader.stored(source, place)?;
        let decoded_bytes = count(&variable.chunk_shape) * u64::from(variable.dtype.size_bytes().unwrap_or(1));
        let form = ChunkForm {
            chain: &variable.codecs,
            swap_bytes: variable.dtype.swap_bytes(),
            decoded_bytes: usize::try_from(decoded_bytes).unwrap_or(usize::MAX),
        };
        let failed = |error| EngineError::Chunk {
            file: source.name.clone(),
            variable: variable.path.clone(),
            chunk,
            source: error,
        };
        self.checker.decode(&form, stored, place.skipped_steps).map_err(failed)?;
        let mut sum = RangeSum::default();
        sum.add(place.offset, stored);
        unit.note(piece.file, sum);
        // Its checksum has done its work; Zarr has no place for it.
        let trailer = if variable.codecs.steps.last() == Some(&Codec::Fletcher32) { 4 } else { 0 };
        Ok(&stored[..stored.len().saturating_sub(trailer)])
    }
}

/// Copies the chunk's part of values that are held in memory.
fn copy_inline(all: &[u8], target: &TargetArray, buffer: &ChunkBuffer) {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let element_bytes = target.dtype.size_bytes().unwrap_or(1) as usize;
    let (from_strides, to_strides) = (c_strides(&target.shape), c_strides(&target.chunk_shape));
    let region = &buffer.region;
    let extents: Vec<usize> = region.shape.iter().map(|length| size(*length)).collect();
    let base: usize =
        region.start.iter().zip(&from_strides).map(|(start, stride)| size(*start) * stride.unsigned_abs()).sum();
    let n_rows = extents.first().copied().unwrap_or(1);
    buffer.rows(0, n_rows, &mut |bytes, slab_first, rows| {
        let mut part = extents.clone();
        let stride = from_strides.first().map_or(0, |stride| stride.unsigned_abs());
        if let Some(length) = part.first_mut() {
            *length = rows.len();
        }
        let to_stride = to_strides.first().map_or(0, |stride| stride.unsigned_abs());
        let from = Walk { offset: base + rows.start * stride, strides: from_strides.clone() };
        let to = Walk { offset: (rows.start - slab_first) * to_stride, strides: to_strides.clone() };
        strided::copy(all, &from, bytes, &to, &part, element_bytes);
    });
}

/// The texts of a chunk as `vlen-utf8` lays them out: a count, then each with its length in bytes.
///
/// Source: numcodecs `vlen-utf8`, which Zarr v3's `string` type uses.
fn texts_of(target: &TargetArray, content: &Content, region: &Region) -> Vec<u8> {
    let Content::Texts(all) = content else { return Vec::new() };
    debug_assert_eq!(target.dtype, DataType::String);
    let n_elements = count(&target.chunk_shape);
    let mut plain = Vec::new();
    plain.extend_from_slice(&u32::try_from(n_elements).unwrap_or(u32::MAX).to_le_bytes());
    for number in 0..n_elements {
        let within = coordinates_of(number, &target.chunk_shape);
        let at: Vec<u64> = within.iter().zip(&region.start).map(|(at, start)| at + start).collect();
        let is_inside = within.iter().zip(&region.shape).all(|(at, length)| at < length);
        let text = is_inside
            .then(|| all.get(usize::try_from(number_of(&at, &target.shape)).ok()?)?.as_deref())
            .flatten()
            .unwrap_or_default();
        plain.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        plain.extend_from_slice(text.as_bytes());
    }
    plain
}

/// The chunks of a unit in C order, as boxes of the array.
#[must_use]
pub fn chunks_of_unit(target: &TargetArray, at: &[u64]) -> Vec<Region> {
    let of_unit = Region::of_cell(at, target.unit_shape(), &target.shape);
    cells_touching(&of_unit, &target.chunk_shape)
        .map(|cell| Region::of_cell(&cell, &target.chunk_shape, &target.shape))
        .collect()
}
