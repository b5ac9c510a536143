//! HDF5 filters that are small containers around a compressor, and the way to all the others.

use crate::error::FormatError;

use super::{
    Expected, Scratch, bad, bit_planes::unshuffle_bits, blosc, blosc2, jpeg_ls, lz, nbit, room, scale_offset, szip, zfp,
};

/// Elements of a bitshuffle block come in multiples of this.
const BITSHUFFLE_MULTIPLE: usize = 8;
const BITSHUFFLE_BLOCK_BYTES: usize = 8192;
const BITSHUFFLE_LEAST_ELEMENTS: usize = 128;

/// Decodes what filter `id` with client `values` made; returns the number of bytes in `to`.
pub(crate) fn decode(
    inside: &mut blosc::Inside<'_>,
    (id, values): (u32, &[u32]),
    input: &[u8],
    expected: Expected,
    to: &mut Scratch,
) -> Result<usize, FormatError> {
    let limit = expected.limit();
    match id {
        4 => szip::decode(values, input, expected, inside.block, to),
        5 => nbit::decode(values, input, expected, to),
        6 => scale_offset::decode(values, input, expected, to),
        307 => bunzip2(input, room(to, limit)),
        32000 => lz::decode_lzf(input, room(to, limit)),
        32004 => lz4_blocks(input, room(to, limit)),
        32013 => zfp::decode(values, input, expected, to),
        32026 => blosc2::decode(inside, input, expected, to),
        32018 => jpeg_ls::decode(input, expected, to),
        32008 => bitshuffle(inside, values, input, expected, to),
        _ => {
            let name = super::name_of_hdf5_filter(id);
            Err(bad(name, format!("frazil does not read HDF5 filter {id}")))
        }
    }
}

/// Decodes a bzip2 stream into `output`; returns how much of it was filled.
fn bunzip2(input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    let odd = |reason: String| bad("bzip2", reason);
    let mut stream = bzip2::Decompress::new(false);
    let mut spare = [0; 1];
    loop {
        let (taken, filled) = (stream.total_in(), stream.total_out());
        let from = usize::try_from(taken).ok().and_then(|taken| input.get(taken..)).unwrap_or_default();
        let at = usize::try_from(filled).unwrap_or(usize::MAX);
        if at > output.len() {
            return Err(odd(format!("it decodes to more than {} bytes", output.len())));
        }
        let to = output.get_mut(at..).filter(|to| !to.is_empty()).unwrap_or(&mut spare);
        let status = stream.decompress(from, to).map_err(|error| odd(error.to_string()))?;
        let ended = status == bzip2::Status::StreamEnd;
        if ended && stream.total_out() <= output.len() as u64 {
            return usize::try_from(stream.total_out()).map_err(|_| odd("too large".into()));
        }
        if !ended && stream.total_in() == taken && stream.total_out() == filled {
            return Err(odd("the compressed bytes end too early".into()));
        }
    }
}

/// A big-endian size of four bytes at the front of `input`, which moves on.
fn size(codec: &str, input: &mut &[u8]) -> Result<usize, FormatError> {
    let (size, rest) = input.split_first_chunk::<4>().ok_or_else(|| bad(codec, "it ends too early"))?;
    *input = rest;
    usize::try_from(u32::from_be_bytes(*size)).map_err(|_| bad(codec, "a size does not fit this machine"))
}

/// The next `n_bytes` of `input`, which moves on.
fn take<'a>(codec: &str, input: &mut &'a [u8], n_bytes: usize) -> Result<&'a [u8], FormatError> {
    let (taken, rest) = input.split_at_checked(n_bytes).ok_or_else(|| bad(codec, "it ends too early"))?;
    *input = rest;
    Ok(taken)
}

/// The total size that both lz4 and bitshuffle write in eight bytes.
fn total(codec: &str, input: &mut &[u8], limit: usize) -> Result<usize, FormatError> {
    let (total, rest) = input.split_first_chunk::<8>().ok_or_else(|| bad(codec, "it ends too early"))?;
    *input = rest;
    let total = usize::try_from(u64::from_be_bytes(*total)).unwrap_or(usize::MAX);
    if total > limit {
        return Err(bad(codec, format!("it decodes to {total} bytes, more than {limit}")));
    }
    Ok(total)
}

/// HDF5's lz4 filter: total size, block size, and each block behind its size.
fn lz4_blocks(mut input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    let n_bytes = total("lz4", &mut input, output.len())?;
    let block_bytes = size("lz4", &mut input)?.max(1);
    for to in output[..n_bytes].chunks_mut(block_bytes) {
        let stored = size("lz4", &mut input)?;
        let block = take("lz4", &mut input, stored)?;
        if stored == to.len() {
            to.copy_from_slice(block);
            continue;
        }
        let filled = blosc::decode_lz4(block, to)?;
        if filled != to.len() {
            return Err(bad("lz4", format!("a block decodes to {filled} bytes, not to {}", to.len())));
        }
    }
    Ok(n_bytes)
}

/// HDF5's bitshuffle filter: blocks of bit planes, bare or compressed with lz4 or zstd.
fn bitshuffle(
    inside: &mut blosc::Inside<'_>,
    values: &[u32],
    mut input: &[u8],
    expected: Expected,
    to: &mut Scratch,
) -> Result<usize, FormatError> {
    let odd = |reason: String| bad("bitshuffle", reason);
    let value = |at: usize| values.get(at).and_then(|value| usize::try_from(*value).ok()).unwrap_or(0);
    let (width, compressor) = (value(2), value(4));
    if width == 0 || !matches!(compressor, 0 | 2 | 3) {
        return Err(odd(format!("settings {values:?} are not known")));
    }
    let (n_bytes, block_bytes) = if compressor == 0 {
        (input.len(), value(3).checked_mul(width))
    } else {
        let n_bytes = total("bitshuffle", &mut input, expected.limit())?;
        (n_bytes, Some(size("bitshuffle", &mut input)?))
    };
    if n_bytes > expected.limit() {
        return Err(odd(format!("it decodes to {n_bytes} bytes, more than {}", expected.limit())));
    }
    let mut block_elements = block_bytes.ok_or_else(|| odd("its blocks are too large".into()))? / width;
    if block_elements == 0 {
        let usual = BITSHUFFLE_BLOCK_BYTES / width / BITSHUFFLE_MULTIPLE * BITSHUFFLE_MULTIPLE;
        block_elements = usual.max(BITSHUFFLE_LEAST_ELEMENTS);
    }
    if !block_elements.is_multiple_of(BITSHUFFLE_MULTIPLE) {
        return Err(odd(format!("blocks of {block_elements} elements")));
    }
    let output = room(to, n_bytes);
    // What is left after the last eight elements is copied as it is.
    let n_shuffled = n_bytes / width / BITSHUFFLE_MULTIPLE * BITSHUFFLE_MULTIPLE * width;
    let (shuffled, rest) = output.split_at_mut(n_shuffled);
    let block_bytes = block_elements.checked_mul(width).ok_or_else(|| odd("its blocks are too large".into()))?;
    for part in shuffled.chunks_mut(block_bytes) {
        if compressor == 0 {
            unshuffle_bits(take("bitshuffle", &mut input, part.len())?, width, part);
            continue;
        }
        let stored = size("bitshuffle", &mut input)?;
        let stored = take("bitshuffle", &mut input, stored)?;
        let block = room(inside.block, part.len());
        let filled =
            if compressor == 2 { blosc::decode_lz4(stored, block)? } else { inside.zstd.decode(stored, block)? };
        if filled != part.len() {
            return Err(odd(format!("a block decodes to {filled} bytes, not to {}", part.len())));
        }
        unshuffle_bits(block, width, part);
    }
    rest.copy_from_slice(take("bitshuffle", &mut input, rest.len())?);
    Ok(n_bytes)
}

#[cfg(test)]
mod tests {
    use frazil_model::codec::{Codec, CodecChain};
    use proptest::prelude::*;

    use crate::codecs::{ChunkForm, Codecs, from_hdf5_filter};

    const IDS: [u32; 13] = [4, 5, 6, 307, 32000, 32001, 32004, 32008, 32013, 32015, 32026, 32022, 999];

    fn decode(codec: Codec, stored: &[u8], decoded_bytes: usize) -> Result<Vec<u8>, crate::FormatError> {
        let chain = CodecChain { steps: vec![codec], ..CodecChain::default() };
        let form = ChunkForm { chain: &chain, swap_bytes: 1, decoded_bytes };
        Codecs::new().decode(&form, stored, 0).map(<[u8]>::to_vec)
    }

    /// A chunk as a filter's own library made it.
    struct Sample {
        id: u32,
        values: Vec<u32>,
        stored: Vec<u8>,
        elements: Vec<u8>,
    }

    /// Lines of filter, client values, stored bytes and elements.
    fn samples() -> Vec<Sample> {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let line = |line: &str| {
            let fields: Vec<&str> = line.split('|').collect();
            let values = fields[1].split(',').filter(|value| !value.is_empty()).map(|value| value.parse().unwrap());
            Sample {
                id: fields[0].parse().unwrap(),
                values: values.collect(),
                stored: hex(fields[2]),
                elements: hex(fields[3]),
            }
        };
        include_str!("../../tests/data/filters.txt").lines().map(line).collect()
    }

    #[test]
    fn every_filter_gives_what_its_own_library_gives() {
        for Sample { id, values, stored, elements } in samples() {
            let codec = from_hdf5_filter(id, "", &values, 4);
            assert_eq!(decode(codec, &stored, elements.len()), Ok(elements), "filter {id} with {values:?}");
        }
    }

    #[test]
    fn a_damaged_or_short_chunk_never_panics() {
        for Sample { id, values, stored, elements } in samples() {
            let codec = from_hdf5_filter(id, "", &values, 4);
            for at in 0..stored.len() {
                for value in [0, 0x40, 0xff] {
                    let mut stored = stored.clone();
                    stored[at] = value;
                    let _ = decode(codec.clone(), &stored, elements.len());
                }
                let _ = decode(codec.clone(), &stored[..at], elements.len());
            }
        }
    }

    #[test]
    fn settings_that_lie_never_panic() {
        for Sample { id, values, stored, elements } in samples() {
            for at in 0..values.len() {
                for value in [0, 1, 2, 3, 7, 33, 64, 65, 255, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                    let mut values = values.clone();
                    values[at] = value;
                    let _ = decode(from_hdf5_filter(id, "", &values, 4), &stored, elements.len());
                }
                let _ = decode(from_hdf5_filter(id, "", &values[..at], 4), &stored, elements.len());
            }
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(
            id in proptest::sample::select(&IDS[..]),
            values in proptest::collection::vec(prop_oneof![0..40_u32, any::<u32>()], 0..12),
            stored in proptest::collection::vec(any::<u8>(), 0..200),
            decoded_bytes in 0..300_usize,
        ) {
            let _ = decode(from_hdf5_filter(id, "", &values, 4), &stored, decoded_bytes);
        }
    }
}
