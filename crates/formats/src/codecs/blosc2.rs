//! HDF5's blosc2 filter: a frame around one chunk of blocks, which may be small boxes of an array (b2nd).
//!
//! It reads frames that lie in one piece and hold one chunk, as the filter writes them. Blocks are decoded one at a
//! time and put where they belong, so no more memory is taken than the result and a few blocks.

use crate::error::FormatError;

use super::{Expected, Scratch, bad, bit_planes::unshuffle_bits, blosc, room, shuffle::unshuffle};

const FRAME_HEADER_BYTES: usize = 87;
const CHUNK_HEADER_BYTES: usize = 32;
const MAX_RANK: usize = 8;
const BOTH_SHUFFLES: u8 = 5;
const STORED: u8 = 2;
const NOT_SPLIT: u8 = 0x10;
const USES_DICTIONARY: u8 = 1;
/// Upper byte of a chunk's place that says the chunk is all zeros.
const ALL_ZEROS: u8 = 0x81;

fn odd(reason: impl Into<String>) -> FormatError {
    bad("blosc2", reason)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FormatError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    field.copied().ok_or_else(|| odd("it ends too early"))
}

fn big(bytes: &[u8], at: usize) -> Result<usize, FormatError> {
    usize::try_from(u32::from_be_bytes(field(bytes, at)?)).map_err(|_| odd("a size does not fit this machine"))
}

fn little(bytes: &[u8], at: usize) -> Result<i32, FormatError> {
    Ok(i32::from_le_bytes(field(bytes, at)?))
}

fn size(bytes: &[u8], at: usize) -> Result<usize, FormatError> {
    usize::try_from(little(bytes, at)?).map_err(|_| odd("a size is negative"))
}

/// Decodes a frame of one chunk; returns the number of bytes in `to`.
pub(crate) fn decode(
    inside: &mut blosc::Inside<'_>,
    frame: &[u8],
    expected: Expected,
    to: &mut Scratch,
) -> Result<usize, FormatError> {
    if frame.get(2..10) != Some(b"b2frame\0") || frame.len() < FRAME_HEADER_BYTES {
        return Err(odd("it is no frame"));
    }
    let header_bytes = big(frame, 11)?;
    let n_bytes = usize::try_from(u64::from_be_bytes(field(frame, 30)?)).unwrap_or(usize::MAX);
    let stored = usize::try_from(u64::from_be_bytes(field(frame, 39)?)).unwrap_or(usize::MAX);
    let (width, chunk_bytes) = (big(frame, 48)?, big(frame, 58)?);
    if n_bytes == 0 || chunk_bytes < n_bytes || width == 0 {
        return Err(odd(format!("a frame of {n_bytes} bytes in chunks of {chunk_bytes}")));
    }
    let boxes = boxes(frame.get(..header_bytes).unwrap_or_default(), width)?;
    let wanted = boxes.as_ref().map_or(n_bytes, |boxes| boxes.n_bytes);
    if wanted > expected.limit() {
        return Err(odd(format!("it decodes to {wanted} bytes, more than {}", expected.limit())));
    }
    let output = room(to, wanted);
    let body = frame.get(header_bytes..).ok_or_else(|| odd("it ends too early"))?;
    if stored == 0 {
        // There is no chunk; where its place would be, the frame says what all of it is.
        let place = body.get(CHUNK_HEADER_BYTES..).and_then(|place| place.first_chunk::<8>());
        return match place {
            Some([.., ALL_ZEROS]) => {
                output.fill(0);
                Ok(wanted)
            }
            _ => Err(odd("a frame without a chunk that is not all zeros")),
        };
    }
    let chunk = Chunk::of(body, width)?;
    if chunk.n_bytes != n_bytes {
        return Err(odd(format!("a chunk of {} bytes in a frame of {n_bytes}", chunk.n_bytes)));
    }
    match &boxes {
        None => chunk.blocks(inside, output.len(), |at, block| {
            if let Some(place) = output.get_mut(at..at + block.len()) {
                place.copy_from_slice(block);
            }
        })?,
        Some(boxes) => {
            let n_boxes = boxes.counts.iter().try_fold(1_usize, |product, count| product.checked_mul(*count));
            let all = n_boxes.and_then(|n_boxes| n_boxes.checked_mul(boxes.box_bytes));
            if chunk.block_bytes != boxes.box_bytes || all != Some(chunk.n_bytes) {
                return Err(odd("its blocks do not fit its boxes"));
            }
            chunk.blocks(inside, output.len(), |at, block| boxes.put(at / boxes.box_bytes, block, output))?;
        }
    }
    Ok(wanted)
}

/// How an array is cut into boxes, each of which is a block.
struct Boxes {
    shape: Vec<usize>,
    block: Vec<usize>,
    /// Boxes along each dimension.
    counts: Vec<usize>,
    width: usize,
    n_bytes: usize,
    box_bytes: usize,
}

/// Reads the description of boxes (the metalayer `b2nd`) in a frame's header, if there is one.
fn boxes(header: &[u8], width: usize) -> Result<Option<Boxes>, FormatError> {
    let Some(at) = header.windows(6).position(|window| window == b"\xa4b2nd\xd2") else {
        return Ok(None);
    };
    // A binary value of 32-bit length, and in it an array: version, rank, shape, chunk shape, block shape, type.
    let at = big(header, at + 6)?.saturating_add(5);
    let [_, _, rank, _] = field(header, at)?;
    let rank = usize::from(rank);
    if rank == 0 || rank > MAX_RANK {
        return Err(odd(format!("boxes of {rank} dimensions")));
    }
    let chunk_at = at + 4 + 9 * rank;
    let numbers = |from: usize| (0..rank).map(|i| big(header, from + 5 * i + 1)).collect::<Result<Vec<_>, _>>();
    let shape = numbers(chunk_at + 1)?;
    let block = numbers(chunk_at + 2 + 5 * rank)?;
    let product = |lengths: &[usize]| lengths.iter().try_fold(width, |product, length| product.checked_mul(*length));
    // A box larger than the array would make us take memory for nothing.
    if shape.iter().zip(&block).any(|(length, block)| *block == 0 || block > length) {
        return Err(odd(format!("boxes of {block:?} in an array of {shape:?}")));
    }
    let counts = shape.iter().zip(&block).map(|(length, block)| length.div_ceil(*block)).collect();
    let (Some(n_bytes), Some(box_bytes)) = (product(&shape), product(&block)) else {
        return Err(odd("an array larger than any memory"));
    };
    Ok(Some(Boxes { shape, block, counts, width, n_bytes, box_bytes }))
}

impl Boxes {
    /// Puts the elements of box `number` where they belong; what reaches over the array's end is left out.
    fn put(&self, number: usize, elements: &[u8], output: &mut [u8]) {
        let rank = self.shape.len();
        let mut start = vec![0; rank];
        let mut rest = number;
        for dimension in (0..rank).rev() {
            start[dimension] = rest % self.counts[dimension] * self.block[dimension];
            rest /= self.counts[dimension];
        }
        let row_elements = self.block[rank - 1];
        let used = row_elements.min(self.shape[rank - 1].saturating_sub(start[rank - 1])) * self.width;
        for (row, from) in elements.chunks_exact(row_elements * self.width).enumerate() {
            let (mut rest, mut at, mut stride, mut is_inside) = (row, start[rank - 1], self.shape[rank - 1], true);
            for dimension in (0..rank - 1).rev() {
                let position = start[dimension] + rest % self.block[dimension];
                rest /= self.block[dimension];
                is_inside &= position < self.shape[dimension];
                at += position * stride;
                stride *= self.shape[dimension];
            }
            let place = output.get_mut(at * self.width..).and_then(|rest| rest.get_mut(..used));
            if let (true, Some(place)) = (is_inside, place) {
                place.copy_from_slice(&from[..used]);
            }
        }
    }
}

/// A chunk of blocks.
struct Chunk<'a> {
    bytes: &'a [u8],
    flags: u8,
    special: u8,
    filters: [u8; 6],
    filter_meta: [u8; 6],
    width: usize,
    n_bytes: usize,
    block_bytes: usize,
}

impl<'a> Chunk<'a> {
    fn of(bytes: &'a [u8], width: usize) -> Result<Self, FormatError> {
        let flags = field::<3>(bytes, 0)?[2];
        if flags & BOTH_SHUFFLES != BOTH_SHUFFLES {
            return Err(odd("a chunk of the older format"));
        }
        let [more_flags] = field(bytes, 31)?;
        if more_flags & USES_DICTIONARY != 0 {
            return Err(odd("a chunk with a dictionary"));
        }
        let [header_width] = field(bytes, 3)?;
        let chunk = Self {
            bytes,
            flags,
            special: more_flags >> 4 & 7,
            filters: field(bytes, 16)?,
            filter_meta: field(bytes, 24)?,
            width: usize::from(header_width).max(1),
            n_bytes: size(bytes, 4)?,
            block_bytes: size(bytes, 8)?,
        };
        if chunk.block_bytes == 0 || (chunk.special == 3 && chunk.width != width) {
            return Err(odd("a chunk of empty blocks"));
        }
        Ok(chunk)
    }

    /// Decodes block after block and gives each to `put` with its place in the chunk. Blocks of more than `limit`
    /// bytes are refused.
    fn blocks(
        &self,
        inside: &mut blosc::Inside<'_>,
        limit: usize,
        mut put: impl FnMut(usize, &[u8]),
    ) -> Result<(), FormatError> {
        let largest = self.block_bytes.min(self.n_bytes);
        if largest > limit {
            return Err(odd(format!("blocks of {largest} bytes")));
        }
        let (mut block, mut other, mut reference) = (vec![0; largest], vec![0; largest], Vec::new());
        for (number, at) in (0..self.n_bytes).step_by(self.block_bytes).enumerate() {
            let n_bytes = self.block_bytes.min(self.n_bytes - at);
            let (block, other) = (&mut block[..n_bytes], &mut other[..n_bytes]);
            if self.special != 0 {
                self.fill(block)?;
            } else if self.flags & STORED != 0 {
                let from = self.bytes.get(CHUNK_HEADER_BYTES + at..).and_then(|rest| rest.get(..n_bytes));
                block.copy_from_slice(from.ok_or_else(|| odd("it ends too early"))?);
            } else {
                let start = size(self.bytes, CHUNK_HEADER_BYTES + 4 * number)?;
                self.streams(inside, start, block)?;
                self.undo_filters(number == 0, block, other, &mut reference)?;
            }
            put(at, block);
        }
        Ok(())
    }

    /// A chunk that is one value throughout.
    fn fill(&self, block: &mut [u8]) -> Result<(), FormatError> {
        match self.special {
            1 => block.fill(0),
            2 if self.width == 4 => {
                block.chunks_exact_mut(4).for_each(|to| to.copy_from_slice(&f32::NAN.to_le_bytes()))
            }
            2 if self.width == 8 => {
                block.chunks_exact_mut(8).for_each(|to| to.copy_from_slice(&f64::NAN.to_le_bytes()))
            }
            3 => {
                let value = self.bytes.get(CHUNK_HEADER_BYTES..).and_then(|rest| rest.get(..self.width));
                let value = value.ok_or_else(|| odd("it ends too early"))?;
                block.chunks_exact_mut(self.width).for_each(|to| to.copy_from_slice(value));
            }
            other => return Err(odd(format!("a special chunk of kind {other}"))),
        }
        Ok(())
    }

    /// Decompresses the streams of a block.
    fn streams(&self, inside: &mut blosc::Inside<'_>, start: usize, block: &mut [u8]) -> Result<(), FormatError> {
        let is_split = self.flags & NOT_SPLIT == 0 && block.len() == self.block_bytes;
        let n_streams = if is_split && block.len().is_multiple_of(self.width) { self.width } else { 1 };
        let mut at = start;
        for to in block.chunks_exact_mut((block.len() / n_streams).max(1)) {
            let stored = little(self.bytes, at)?;
            at = at.saturating_add(4);
            if stored == 0 {
                to.fill(0);
                continue;
            }
            if stored < 0 {
                // A run of one byte, which is the number itself; then a byte of flags.
                at = at.saturating_add(1);
                to.fill(u8::try_from(stored.unsigned_abs()).map_err(|_| odd("a run of what is no byte"))?);
                continue;
            }
            let n_bytes = usize::try_from(stored).unwrap_or(usize::MAX);
            let stream = self.bytes.get(at..).and_then(|rest| rest.get(..n_bytes));
            let stream = stream.ok_or_else(|| odd("a stream ends after the frame"))?;
            at = at.saturating_add(n_bytes);
            if n_bytes == to.len() {
                to.copy_from_slice(stream);
                continue;
            }
            let filled = blosc::decode_stream(inside.inflater, inside.zstd, self.flags >> 5, stream, to)?;
            if filled != to.len() {
                return Err(odd(format!("a stream decodes to {filled} bytes, not to {}", to.len())));
            }
        }
        Ok(())
    }

    /// Undoes the filters of a block, last first.
    fn undo_filters(
        &self,
        is_first: bool,
        block: &mut [u8],
        other: &mut [u8],
        reference: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        for (filter, meta) in self.filters.iter().zip(&self.filter_meta).rev() {
            match filter {
                // Truncated precision is how it is.
                0 | 4 => {}
                1 => {
                    let width = if *meta == 0 { self.width } else { usize::from(*meta) };
                    unshuffle(block, width, other);
                    block.copy_from_slice(other);
                }
                2 => {
                    let whole = block.len() / self.width / 8 * 8 * self.width;
                    unshuffle_bits(&block[..whole], self.width, &mut other[..whole]);
                    block[..whole].copy_from_slice(&other[..whole]);
                }
                3 => {
                    let step = match self.width {
                        width @ (1 | 2 | 4 | 8) => width,
                        width if width.is_multiple_of(8) => 8,
                        _ => 1,
                    };
                    if is_first {
                        for at in step..block.len() / step * step {
                            block[at] ^= block[at - step];
                        }
                        block.clone_into(reference);
                    } else {
                        let whole = block.len() / step * step;
                        block[..whole].iter_mut().zip(reference.iter()).for_each(|(byte, before)| *byte ^= before);
                    }
                }
                other => return Err(odd(format!("filter {other} is not known"))),
            }
        }
        Ok(())
    }
}
