//! HDF5's szip filter: Rice codes as in CCSDS 121.0-B, "Lossless Data Compression".
//!
//! A stream is a row of reference intervals; each holds blocks of a few samples, and each block says which code it
//! uses. With the nearest-neighbour option samples are differences from the one before, folded to be positive.

use crate::error::FormatError;

use super::{Expected, Scratch, bad, bits::Bits, room};

const MSB: u32 = 16;
const NEAREST_NEIGHBOUR: u32 = 32;
/// A row of zero blocks that reaches to the end of its segment of 64 blocks.
const REST_OF_SEGMENT: u32 = 5;
const SEGMENT_BLOCKS: u32 = 64;
/// Largest code of a pair of samples.
const MAX_PAIR: u32 = 90;
const MAX_BLOCK_SAMPLES: usize = 64;

fn odd(reason: impl Into<String>) -> FormatError {
    bad("szip", reason)
}

/// How samples are laid out.
struct Form {
    sample_bits: u32,
    block_samples: usize,
    /// Blocks of a reference interval.
    interval_blocks: u32,
    differences: bool,
    big: bool,
}

impl Form {
    /// Bytes of a sample in the result.
    const fn sample_bytes(&self) -> usize {
        match self.sample_bits {
            0..=8 => 1,
            9..=16 => 2,
            _ => 4,
        }
    }
}

/// Decodes a chunk whose filter has the client `values`: options, samples of a block, bits of a sample, samples of
/// a scan line.
pub(crate) fn decode(
    values: &[u32],
    input: &[u8],
    expected: Expected,
    spare: &mut Scratch,
    to: &mut Scratch,
) -> Result<usize, FormatError> {
    let [options, block_samples, sample_bits, line_samples, ..] = *values else {
        return Err(odd("its settings are missing"));
    };
    let (size, stream) = input.split_first_chunk::<4>().ok_or_else(|| odd("it has no size"))?;
    let n_bytes = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
    if n_bytes > expected.limit() {
        return Err(odd(format!("it decodes to {n_bytes} bytes, more than {}", expected.limit())));
    }
    let block = usize::try_from(block_samples).unwrap_or(0);
    let line = usize::try_from(line_samples).unwrap_or(0);
    if !(1..=MAX_BLOCK_SAMPLES).contains(&block) || line == 0 || !matches!(sample_bits, 1..=32 | 64) {
        return Err(odd(format!("settings {values:?} are impossible")));
    }
    // Wide samples are stored as planes of bytes, highest weight first in memory order.
    let planes = if matches!(sample_bits, 32 | 64) { sample_bits as usize / 8 } else { 1 };
    let form = Form {
        sample_bits: if planes > 1 { 8 } else { sample_bits },
        block_samples: block,
        interval_blocks: line_samples.div_ceil(block_samples),
        differences: options & NEAREST_NEIGHBOUR != 0,
        big: options & MSB != 0,
    };
    let width = form.sample_bytes();
    let (used, padded) = (line * width, line.div_ceil(block) * block * width);
    if planes == 1 && used == padded {
        samples(&form, stream, room(to, n_bytes))?;
        return Ok(n_bytes);
    }
    if used == padded {
        let flat = room(spare, n_bytes);
        samples(&form, stream, flat)?;
        weave(flat, planes, room(to, n_bytes));
        return Ok(n_bytes);
    }
    // Every scan line was padded to whole blocks; the padding goes again. Lines are decoded one by one, as each is
    // an interval of its own, so that short lines in large blocks cannot ask for more memory than the chunk has.
    let flat = room(spare, n_bytes);
    lines(&form, stream, used, padded, flat)?;
    let output = room(to, n_bytes);
    if planes > 1 {
        weave(flat, planes, output)
    } else {
        output.copy_from_slice(flat)
    }
    Ok(n_bytes)
}

/// Puts planes of bytes together to elements of as many bytes.
fn weave(planes: &[u8], n_planes: usize, output: &mut [u8]) {
    super::shuffle::unshuffle(planes, n_planes, output);
}

/// Decodes one interval for each scan line of `used` bytes; what pads it to `padded` bytes is left out.
fn lines(form: &Form, stream: &[u8], used: usize, padded: usize, output: &mut [u8]) -> Result<(), FormatError> {
    let mut bits = Bits::new("szip", stream);
    let mut interval = Vec::new();
    for to in output.chunks_mut(used) {
        // The padding of the last line need not be there.
        let n_bytes = if to.len() < used { to.len() } else { padded };
        read_interval(form, &mut bits, n_bytes / form.sample_bytes(), &mut interval)?;
        write_interval(form, &interval, to);
    }
    Ok(())
}

/// Decodes samples until `output` is full.
fn samples(form: &Form, stream: &[u8], output: &mut [u8]) -> Result<(), FormatError> {
    let mut bits = Bits::new("szip", stream);
    let interval_bytes = (form.interval_blocks as usize).saturating_mul(form.block_samples * form.sample_bytes());
    let mut interval = Vec::new();
    for to in output.chunks_mut(interval_bytes.max(1)) {
        read_interval(form, &mut bits, to.len() / form.sample_bytes(), &mut interval)?;
        write_interval(form, &interval, to);
    }
    Ok(())
}

/// Reads at least `n_samples` of one reference interval, as they were coded.
fn read_interval(
    form: &Form,
    bits: &mut Bits<'_>,
    n_samples: usize,
    interval: &mut Vec<u32>,
) -> Result<(), FormatError> {
    interval.clear();
    let id_bits = match form.sample_bits {
        0..=8 => 3,
        9..=16 => 4,
        _ => 5,
    };
    let uncompressed = (1 << id_bits) - 1;
    let mut block = 0;
    while interval.len() < n_samples && block < form.interval_blocks {
        let has_reference = form.differences && block == 0;
        let id = bits.short(id_bits)?;
        if id == 0 {
            block += low_entropy(form, bits, block, has_reference, interval)?;
            continue;
        }
        block += 1;
        if id == uncompressed {
            for _ in 0..form.block_samples {
                interval.push(bits.short(form.sample_bits)?);
            }
            continue;
        }
        if has_reference {
            interval.push(bits.short(form.sample_bits)?);
        }
        split_samples(bits, id - 1, form.block_samples - usize::from(has_reference), interval)?;
    }
    Ok(())
}

/// Samples whose `low_bits` lowest bits are as they are and whose upper part is a run of zeros.
fn split_samples(
    bits: &mut Bits<'_>,
    low_bits: u32,
    n_samples: usize,
    interval: &mut Vec<u32>,
) -> Result<(), FormatError> {
    let from = interval.len();
    for _ in 0..n_samples {
        let high = bits.zeros(u32::MAX >> 1)?;
        interval.push(high.checked_shl(low_bits).unwrap_or(0));
    }
    if low_bits > 0 {
        for sample in interval.iter_mut().skip(from) {
            *sample |= bits.short(low_bits)?;
        }
    }
    Ok(())
}

/// Blocks of zeros, or samples in pairs; returns how many blocks they are.
fn low_entropy(
    form: &Form,
    bits: &mut Bits<'_>,
    block: u32,
    has_reference: bool,
    interval: &mut Vec<u32>,
) -> Result<u32, FormatError> {
    let in_pairs = bits.short(1)? == 1;
    let mut in_block = 0;
    if has_reference {
        interval.push(bits.short(form.sample_bits)?);
        in_block = 1;
    }
    if !in_pairs {
        let mut n_blocks = bits.zeros(SEGMENT_BLOCKS + 1)? + 1;
        if n_blocks == REST_OF_SEGMENT {
            n_blocks = (form.interval_blocks - block).min(SEGMENT_BLOCKS - block % SEGMENT_BLOCKS);
        } else if n_blocks > REST_OF_SEGMENT {
            n_blocks -= 1;
        }
        if n_blocks > form.interval_blocks - block {
            return Err(odd("blocks of zeros reach over the end of an interval"));
        }
        let n_samples = n_blocks as usize * form.block_samples - in_block;
        interval.resize(interval.len() + n_samples, 0);
        return Ok(n_blocks);
    }
    while in_block < form.block_samples {
        let code = bits.zeros(MAX_PAIR)?;
        // The code counts pairs by their sum: 00, 10 01, 20 11 02, ...
        let mut sum = 0;
        while (sum + 1) * (sum + 2) / 2 <= code {
            sum += 1;
        }
        let second = code - sum * (sum + 1) / 2;
        if in_block % 2 == 0 {
            interval.push(sum - second);
            in_block += 1;
        }
        interval.push(second);
        in_block += 1;
    }
    Ok(1)
}

/// Turns the coded samples into values and writes as many as `output` has room for.
fn write_interval(form: &Form, interval: &[u32], output: &mut [u8]) {
    let largest = u32::MAX >> (32 - form.sample_bits);
    let middle = largest / 2 + 1;
    let mut value = 0_u32;
    for (number, (coded, to)) in interval.iter().zip(output.chunks_exact_mut(form.sample_bytes())).enumerate() {
        value = if !form.differences || number == 0 {
            *coded
        } else {
            let half = (coded >> 1) + (coded & 1);
            let mask = if value & middle == 0 { 0 } else { largest };
            if half <= mask ^ value {
                let step = if coded & 1 == 0 { coded >> 1 } else { !(coded >> 1) };
                value.wrapping_add(step)
            } else {
                mask ^ coded
            }
        };
        let bytes = value.to_be_bytes();
        let low = &bytes[4 - to.len()..];
        if form.big {
            to.copy_from_slice(low);
        } else {
            to.iter_mut().zip(low.iter().rev()).for_each(|(to, byte)| *to = *byte);
        }
    }
}
