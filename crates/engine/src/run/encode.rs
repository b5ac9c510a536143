//! From the elements of a unit to its stored bytes: a chunk, or a shard of chunks.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use bytes::BytesMut;
use frazil_formats::{
    FormatError,
    codecs::{Codecs, Fit, most_encoded_bytes},
};
use frazil_model::{
    codec::{ByteOrder, Codec, CodecChain},
    combine::{Content, Piece},
    dtype::DataType,
    layout::TargetArray,
    plan::PlanError,
    region::{Region, cells_touching, coordinates_of, count, grid_of, number_of},
};

use crate::{
    error::EngineError,
    grow::NOT_IN_SHARD,
    identity::{Digested, RangeSum},
    run::{
        Job,
        buffer::{ChunkBuffer, Pool},
        room::{Grant, Room},
        work::{ChunkKind, Round, ShardSoFar, Unit, Work, WorkChunk},
    },
    source::{ChunkAt, ChunkReader},
    strided::{self, Walk, c_strides},
};

/// Encodes units, reusing its buffers. One a thread.
#[derive(Default)]
pub struct Encoder {
    codecs: Codecs,
}

/// What became of a unit.
#[derive(Debug)]
pub enum Encoded<'a> {
    /// No element of it was ever written in a source.
    Nothing,
    /// The stored bytes of a source chunk.
    Passed(Digested<'a>),
    /// Its bytes.
    Whole(Grant),
    /// The chunks of a shard so far: more rounds follow.
    Part(ShardSoFar),
}

/// One unit and all that encoding it needs.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// What is run.
    pub job: &'a Job<'a>,
    /// The task under way.
    pub work: &'a Work,
    /// The unit.
    pub unit: &'a Unit,
    /// Takes the memory of chunks back.
    pub pool: &'a Pool,
    /// Gives memory for encoded bytes.
    pub room: &'a Arc<Room>,
}

impl Order<'_> {
    fn target(&self) -> &TargetArray {
        &self.job.targets[self.work.task.array]
    }

    fn content(&self) -> &Content {
        &self.job.combined.variables[self.work.task.array].content
    }

    fn chunks(&self) -> impl Iterator<Item = &WorkChunk> {
        self.unit.chunks.iter().filter_map(|number| self.work.chunks.get(*number))
    }

    /// The elements of each chunk, ready to be encoded; `None` for those that stay out of the store.
    fn elements(&self) -> Vec<Option<BytesMut>> {
        let (target, content) = (self.target(), self.content());
        self.chunks()
            .map(|chunk| match &chunk.kind {
                ChunkKind::Texts => Some(texts_of(target, content, &chunk.region).as_slice().into()),
                ChunkKind::Filled { buffer, is_written } => {
                    if let Content::Inline(all) = content {
                        copy_inline(all, target, buffer);
                    } else if target.leaves_out_unwritten && !is_written.load(Ordering::Relaxed) {
                        self.pool.give(buffer.take_whole());
                        return None;
                    }
                    Some(buffer.take_whole())
                }
                ChunkKind::Passed { .. } | ChunkKind::LeftOut | ChunkKind::Kept => None,
            })
            .collect()
    }

    /// The index of the shard before any chunk is added to it.
    fn first_index(&self) -> Vec<(u64, u64)> {
        let old = self.unit.old.as_ref().map(|old| old.index.clone());
        old.unwrap_or_else(|| vec![(NOT_IN_SHARD, NOT_IN_SHARD); n_chunks_of(self.target())])
    }

    /// Whether chunks that are in the shard must not be seen any more.
    fn is_another_index_needed(&self) -> bool {
        self.unit.old.as_ref().is_some_and(|old| old.has_others)
    }

    fn failed(&self, source: FormatError) -> EngineError {
        let variable = self.target().path.clone();
        EngineError::Chunk { file: "the store".into(), variable, chunk: 0, source }
    }

    /// A unit that takes more memory than there is.
    fn too_large(&self) -> EngineError {
        let limit_bytes = self.room.most_bytes() as u64;
        let target = self.target();
        let unit_bytes = count(target.unit_shape()).saturating_mul(target.dtype.size_bytes().unwrap_or(16).into());
        // A quarter of the memory is for filling it, and the program takes some, too.
        let needed_bytes = most_encoded_bytes(unit_bytes).saturating_mul(3) / 2;
        let why = format!("an encoded shard of it is larger than the {limit_bytes} bytes that are left for it");
        let problem = PlanError::Memory { variable: target.path.clone(), needed_bytes, limit_bytes, why };
        EngineError::Plan { problem, file: "the sources".into() }
    }
}

impl Encoder {
    /// The bytes of a unit.
    ///
    /// # Errors
    /// If a chunk cannot be encoded, or a chunk that is passed on is damaged.
    pub fn unit<'a>(&mut self, order: Order<'_>, reader: &'a mut ChunkReader) -> Result<Encoded<'a>, EngineError> {
        let first = order.chunks().next().map(|chunk| &chunk.kind);
        if let (Some(ChunkKind::Passed { piece, chunk }), Content::Pieces(pieces)) = (first, order.content()) {
            return pass(order.job, &pieces[*piece], *chunk, reader, order.unit).map(Encoded::Passed);
        }
        let elements = order.elements();
        let encoded = match (&order.work.round, order.target().shard_shape.is_some()) {
            (Some(round), _) => self.part(order, round, &elements),
            (None, is_shard) => {
                if elements.iter().all(Option::is_none) && !order.is_another_index_needed() {
                    return Ok(Encoded::Nothing);
                }
                let worst = elements.iter().flatten().map(|chunk| worst_bytes(chunk.len())).sum::<usize>();
                let worst = worst + if is_shard { worst_bytes(16 * n_chunks_of(order.target())) } else { 0 };
                self.whole(order, &elements, worst)
            }
        };
        elements.into_iter().flatten().for_each(|chunk| order.pool.give(chunk));
        encoded
    }

    /// A chunk, or a shard in one go: with a share of the memory if it fits there, else with all that it may need.
    fn whole<'a>(
        &mut self,
        order: Order<'_>,
        elements: &[Option<BytesMut>],
        worst: usize,
    ) -> Result<Encoded<'a>, EngineError> {
        let array = order.work.task.array;
        let mut n_bytes = order.room.first_try(array, worst);
        loop {
            let mut grant = order.room.take(n_bytes);
            let fit = match order.target().shard_shape {
                None => self.append(order, elements.first().and_then(Option::as_ref), &mut grant)?,
                Some(_) => {
                    let mut index = order.first_index();
                    match self.append_chunks(order, elements, &mut grant, &mut index)? {
                        Fit::Whole => self.append_index(order, &index, &mut grant)?,
                        Fit::TooLarge => Fit::TooLarge,
                    }
                }
            };
            match fit {
                Fit::Whole => return Ok(Encoded::Whole(grant)),
                Fit::TooLarge if n_bytes < worst.min(order.room.most_bytes()) => {
                    order.room.note_outgrown(array);
                    n_bytes = worst;
                }
                Fit::TooLarge => return Err(order.too_large()),
            }
        }
    }

    /// The next chunks of a shard that is made in rounds.
    fn part<'a>(
        &mut self,
        order: Order<'_>,
        round: &Round,
        elements: &[Option<BytesMut>],
    ) -> Result<Encoded<'a>, EngineError> {
        let so_far = round.so_far.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut so_far = so_far.unwrap_or_else(|| ShardSoFar {
            encoded: order.room.take(order.room.most_bytes()),
            index: order.first_index(),
            read: Vec::new(),
        });
        let mut fit = self.append_chunks(order, elements, &mut so_far.encoded, &mut so_far.index)?;
        for (file, sum) in so_far.read.drain(..) {
            order.unit.note(file, sum);
        }
        if fit == Fit::Whole && round.is_last {
            if so_far.encoded.bytes.is_empty() && !order.is_another_index_needed() {
                return Ok(Encoded::Nothing);
            }
            fit = self.append_index(order, &so_far.index, &mut so_far.encoded)?;
        }
        match fit {
            Fit::TooLarge => Err(order.too_large()),
            Fit::Whole if round.is_last => Ok(Encoded::Whole(so_far.encoded)),
            Fit::Whole => {
                so_far.read = order.unit.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Ok(Encoded::Part(so_far))
            }
        }
    }

    fn append(&mut self, order: Order<'_>, elements: Option<&BytesMut>, grant: &mut Grant) -> Result<Fit, EngineError> {
        let Some(elements) = elements else { return Ok(Fit::Whole) };
        let target = order.target();
        // Texts carry their own lengths: there is no number to turn round.
        let swap_bytes = if target.dtype == DataType::String { 1 } else { target.dtype.swap_bytes() };
        self.codecs
            .encode_into(&target.codecs, swap_bytes, elements, grant.n_bytes, &mut grant.bytes)
            .map_err(|error| order.failed(error))
    }

    /// The chunks of a shard, one after another.
    fn append_chunks(
        &mut self,
        order: Order<'_>,
        elements: &[Option<BytesMut>],
        grant: &mut Grant,
        index: &mut [(u64, u64)],
    ) -> Result<Fit, EngineError> {
        let target = order.target();
        let grid = grid_of(target.unit_shape(), &target.chunk_shape);
        let n_bytes_before = order.unit.old.as_ref().map_or(0, |old| old.n_bytes);
        for (chunk, elements) in order.chunks().zip(elements) {
            if elements.is_none() {
                continue;
            }
            let begin = grant.bytes.len();
            if self.append(order, elements.as_ref(), grant)? == Fit::TooLarge {
                return Ok(Fit::TooLarge);
            }
            let at: Vec<u64> = (0..grid.len())
                .map(|axis| chunk.region.start[axis] / target.chunk_shape[axis] - order.unit.at[axis] * grid[axis])
                .collect();
            if let Some(entry) = usize::try_from(number_of(&at, &grid)).ok().and_then(|place| index.get_mut(place)) {
                *entry = (n_bytes_before + begin as u64, (grant.bytes.len() - begin) as u64);
            }
        }
        Ok(Fit::Whole)
    }

    /// The index of a shard, with its checksum.
    fn append_index(&mut self, order: Order<'_>, index: &[(u64, u64)], grant: &mut Grant) -> Result<Fit, EngineError> {
        let plain: Vec<u8> =
            index.iter().flat_map(|(offset, length)| [offset.to_le_bytes(), length.to_le_bytes()]).flatten().collect();
        let chain = CodecChain { byte_order: ByteOrder::Little, steps: vec![Codec::Crc32c] };
        let encoded = self.codecs.encode_into(&chain, 8, &plain, grant.n_bytes, &mut grant.bytes);
        encoded.map_err(|error| order.failed(error))
    }
}

fn worst_bytes(n_bytes: usize) -> usize {
    usize::try_from(most_encoded_bytes(n_bytes as u64)).unwrap_or(usize::MAX)
}

fn n_chunks_of(target: &TargetArray) -> usize {
    usize::try_from(count(&grid_of(target.unit_shape(), &target.chunk_shape))).unwrap_or(0)
}

/// The stored bytes of a source chunk, inflated once to see that they are whole.
fn pass<'a>(
    job: &Job<'_>,
    piece: &Piece,
    chunk: u64,
    reader: &'a mut ChunkReader,
    unit: &Unit,
) -> Result<Digested<'a>, EngineError> {
    let source = &job.sources[piece.file];
    let ChunkAt::File(place) = source.chunk(piece.variable, chunk)? else {
        return Err(source.unreadable(piece.variable, "its chunk went away"));
    };
    let stored = Digested::of(reader.checked(source, piece.variable, chunk, place)?);
    let mut sum = RangeSum::default();
    sum.add(place.offset, stored);
    unit.note(piece.file, sum);
    // Its checksum has done its work; Zarr has no place for it.
    let is_summed = source.variable(piece.variable).codecs.steps.last() == Some(&Codec::Fletcher32);
    Ok(if is_summed { without_sum(stored.bytes()) } else { stored })
}

/// A chunk without the four bytes of its Fletcher-32 checksum.
fn without_sum(stored: &[u8]) -> Digested<'_> {
    Digested::of(&stored[..stored.len().saturating_sub(4)])
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
