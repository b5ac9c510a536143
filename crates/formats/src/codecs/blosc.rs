//! c-blosc 1 containers: blocks that are shuffled and compressed one by one.
//!
//! Layout: a header of 16 bytes, the start of each block, and for each block one or (split by byte plane) several
//! streams behind their sizes. It promises that what it writes, c-blosc reads, and never to trust a size it reads.

use frazil_model::codec::ByteOrder;
use libdeflater::Decompressor;

use crate::error::FormatError;

use super::bit_planes::unshuffle_bits;
use super::lz::decode_blosclz;
use super::shuffle::{shuffle, unshuffle_ordered};
use super::zip::{self, Deflater};
use super::zstandard::Zstd;
use super::{Fit, Scratch, bad, room};

const HEADER_BYTES: usize = 16;
const FORMAT_VERSION: u8 = 2;
const BYTE_SHUFFLE: u8 = 1;
const STORED: u8 = 2;
const BIT_SHUFFLE: u8 = 4;
const NOT_SPLIT: u8 = 0x10;
/// Wider elements are never split.
const MAX_SPLITS: usize = 16;
/// Streams with fewer bytes are never split.
const MIN_SPLIT_BYTES: usize = 128;
/// Blocks that we write have at most these bytes: they stay in the cache between shuffle and compressor.
const BLOCK_BYTES: usize = 512 * 1024;
/// Number of the format in the header's flags.
const FORMATS: [&str; 5] = ["blosclz", "lz4", "snappy", "zlib", "zstd"];

fn odd(reason: impl Into<String>) -> FormatError {
    bad("blosc", reason)
}

/// What the compressors inside a container need.
pub(crate) struct Inside<'a> {
    pub inflater: &'a mut Decompressor,
    pub deflater: &'a mut Deflater,
    pub zstd: &'a mut Zstd,
    pub block: &'a mut Scratch,
}

struct Header {
    flags: u8,
    element_bytes: usize,
    n_bytes: usize,
    block_bytes: usize,
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize, FormatError> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let four = four.ok_or_else(|| odd("the container ends too early"))?;
    usize::try_from(u32::from_le_bytes(*four)).map_err(|_| odd("a size does not fit this machine"))
}

fn header(stored: &[u8]) -> Result<Header, FormatError> {
    let [version, _, flags, element_bytes, ..] = *stored else {
        return Err(odd("the container has no header"));
    };
    if !(1..=FORMAT_VERSION).contains(&version) {
        return Err(odd(format!("version {version} of the container is not known")));
    }
    let header = Header {
        flags,
        element_bytes: usize::from(element_bytes).max(1),
        n_bytes: u32_at(stored, 4)?,
        block_bytes: u32_at(stored, 8)?,
    };
    let container_bytes = u32_at(stored, 12)?;
    if container_bytes > stored.len() || container_bytes < HEADER_BYTES {
        return Err(odd(format!("it claims {container_bytes} stored bytes and has {}", stored.len())));
    }
    if header.block_bytes == 0 && header.n_bytes > 0 {
        return Err(odd("its blocks are empty"));
    }
    Ok(header)
}

/// Bytes that a container says it decodes to.
pub(crate) fn decoded_bytes(stored: &[u8]) -> Result<usize, FormatError> {
    Ok(header(stored)?.n_bytes)
}

/// Decodes a container into `output`, whose length must be that of [`decoded_bytes`]. Numbers of `swap_bytes` in
/// `order` are turned little-endian on the way if that costs nothing; the answer is their order afterwards.
pub(crate) fn decode(
    inside: &mut Inside<'_>,
    stored: &[u8],
    swap_bytes: u32,
    order: ByteOrder,
    output: &mut [u8],
) -> Result<ByteOrder, FormatError> {
    let header = header(stored)?;
    if header.n_bytes != output.len() {
        return Err(odd(format!("it decodes to {} bytes, not to {}", header.n_bytes, output.len())));
    }
    if header.flags & STORED != 0 {
        let body = stored.get(HEADER_BYTES..).and_then(|body| body.get(..output.len()));
        output.copy_from_slice(body.ok_or_else(|| odd("the container ends too early"))?);
        return Ok(order);
    }
    let whole_words = header.element_bytes == swap_bytes as usize
        && header.block_bytes.is_multiple_of(header.element_bytes)
        && header.n_bytes.is_multiple_of(header.element_bytes);
    let turn = if whole_words && header.flags & BYTE_SHUFFLE != 0 { order } else { ByteOrder::Little };
    for (number, to) in output.chunks_mut(header.block_bytes.max(1)).enumerate() {
        let start = u32_at(stored, HEADER_BYTES + 4 * number)?;
        let streams = stored.get(start..).ok_or_else(|| odd("a block starts after the end"))?;
        decode_block(inside, &header, streams, turn, to)?;
    }
    Ok(if turn == order { ByteOrder::Little } else { order })
}

fn decode_block(
    inside: &mut Inside<'_>,
    header: &Header,
    streams: &[u8],
    turn: ByteOrder,
    output: &mut [u8],
) -> Result<(), FormatError> {
    let width = header.element_bytes;
    let short = output.len() < header.block_bytes;
    let split =
        header.flags & NOT_SPLIT == 0 && width <= MAX_SPLITS && header.block_bytes / width >= MIN_SPLIT_BYTES && !short;
    let n_splits = if split { width } else { 1 };
    // A short last block counts as one byte-shuffled whole even if it is shorter than an element.
    let shuffled = header.flags & BYTE_SHUFFLE != 0 && width > 1;
    let bits = header.flags & BIT_SHUFFLE != 0 && output.len() >= width;
    if !shuffled && !bits {
        return decode_streams(inside.inflater, inside.zstd, header, streams, n_splits, output);
    }
    let block = room(inside.block, output.len());
    decode_streams(inside.inflater, inside.zstd, header, streams, n_splits, block)?;
    if shuffled {
        unshuffle_ordered(block, width, turn, output);
        return Ok(());
    }
    let n_elements = output.len() / width;
    if n_elements.is_multiple_of(8) {
        let whole = n_elements * width;
        unshuffle_bits(&block[..whole], width, &mut output[..whole]);
        output[whole..].copy_from_slice(&block[whole..]);
    } else {
        output.copy_from_slice(block);
    }
    Ok(())
}

fn decode_streams(
    inflater: &mut Decompressor,
    zstd: &mut Zstd,
    header: &Header,
    mut streams: &[u8],
    n_splits: usize,
    output: &mut [u8],
) -> Result<(), FormatError> {
    if !output.len().is_multiple_of(n_splits) {
        return Err(odd("a block cannot be split into equal streams"));
    }
    for to in output.chunks_exact_mut((output.len() / n_splits).max(1)) {
        let n_bytes = u32_at(streams, 0)?;
        let stream = streams.get(4..).and_then(|rest| rest.get(..n_bytes));
        let stream = stream.ok_or_else(|| odd("a stream ends after the container"))?;
        streams = &streams[4 + n_bytes..];
        if n_bytes == to.len() {
            to.copy_from_slice(stream);
            continue;
        }
        let filled = decode_stream(inflater, zstd, header.flags >> 5, stream, to)?;
        if filled != to.len() {
            return Err(odd(format!("a stream decodes to {filled} bytes, not to {}", to.len())));
        }
    }
    Ok(())
}

/// Decodes one stream of the compressor that a container numbers `format`; returns how much of `output` was filled.
pub(crate) fn decode_stream(
    inflater: &mut Decompressor,
    zstd: &mut Zstd,
    format: u8,
    stream: &[u8],
    output: &mut [u8],
) -> Result<usize, FormatError> {
    match FORMATS.get(usize::from(format)).copied() {
        Some("blosclz") => decode_blosclz(stream, output),
        Some("lz4") => decode_lz4(stream, output),
        Some("snappy") => snap::raw::Decoder::new().decompress(stream, output).map_err(|error| odd(error.to_string())),
        Some("zlib") => zip::inflate(inflater, stream, output),
        Some("zstd") => zstd.decode(stream, output),
        _ => Err(odd(format!("compressor {format} is not known"))),
    }
}

/// Decodes an LZ4 block into `output`; returns how much of it was filled.
pub(crate) fn decode_lz4(stream: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    lz4_flex::block::decompress_into(stream, output).map_err(|error| bad("lz4", error.to_string()))
}

/// How a container is written.
///
/// A container says itself what is in it, so one that is asked for in a way that only others write is written in the nearest
/// way that we do: LZ4 for LZ4HC (whose streams are LZ4), BloscLZ and Snappy, bytes shuffled for bits shuffled. Every reader of
/// the array decodes it.
pub(crate) struct Writing<'a> {
    pub cname: &'a str,
    pub clevel: u32,
    pub shuffle: u32,
    pub element_bytes: u32,
}

impl Writing<'_> {
    /// Elements that c-blosc can name; wider ones count as bytes.
    fn width(&self) -> usize {
        usize::from(u8::try_from(self.element_bytes).unwrap_or(1)).max(1)
    }

    /// The compressor that is used, with its number.
    fn compressor(&self) -> Result<(Compressor, u8), FormatError> {
        match self.cname {
            "lz4" | "lz4hc" | "blosclz" | "snappy" => Ok((Compressor::Lz4, 1)),
            "zlib" => Ok((Compressor::Zlib, 3)),
            "zstd" => Ok((Compressor::Zstd, 4)),
            other => Err(odd(format!("compressor {other} is not known"))),
        }
    }
}

/// What packs the streams of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compressor {
    Lz4,
    Zlib,
    Zstd,
}

/// The block size for `n_bytes`: as few blocks as the cache allows, all of one size where that can be, because a
/// shorter last block cannot be split.
fn block_bytes_for(n_bytes: usize, width: usize) -> usize {
    if n_bytes <= BLOCK_BYTES {
        return n_bytes.max(1);
    }
    let fewest = n_bytes.div_ceil(BLOCK_BYTES);
    let even = (fewest..=2 * fewest).find(|n_blocks| n_bytes.is_multiple_of(n_blocks * width));
    even.map_or_else(|| BLOCK_BYTES / width * width, |n_blocks| n_bytes / n_blocks)
}

/// Writes the container of `elements` and returns its size.
pub(crate) fn encode(
    inside: &mut Inside<'_>,
    how: &Writing<'_>,
    elements: &[u8],
    to: &mut Scratch,
) -> Result<usize, FormatError> {
    to.clear();
    append(inside, how, elements, usize::MAX, to)?;
    Ok(to.len())
}

/// Appends the container of `elements` to `out`, which does not grow beyond `most_bytes`.
pub(crate) fn append(
    inside: &mut Inside<'_>,
    how: &Writing<'_>,
    elements: &[u8],
    most_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<Fit, FormatError> {
    let width = how.width();
    let n_bytes = u32::try_from(elements.len()).ok().filter(|n_bytes| i32::try_from(*n_bytes).is_ok());
    let n_bytes = n_bytes.ok_or_else(|| odd("a chunk of 2 GiB or more does not fit"))?;
    let (compressor, format) = how.compressor()?;
    let shuffled = how.shuffle != 0 && width > 1;
    let block_bytes = block_bytes_for(elements.len(), width);
    let n_blocks = elements.len().div_ceil(block_bytes);
    let may_split = shuffled && width <= MAX_SPLITS && block_bytes / width >= MIN_SPLIT_BYTES;
    let splits = if may_split && block_bytes.is_multiple_of(width) { width } else { 1 };
    let mut flags = format << 5 | if shuffled { BYTE_SHUFFLE } else { 0 };
    if splits == 1 {
        flags |= NOT_SPLIT;
    }

    let begin = out.len();
    // A container is never larger than its elements behind a header.
    let most_container = (HEADER_BYTES + elements.len()).min(most_bytes.saturating_sub(begin));
    out.reserve_exact(most_container);
    let index_bytes = HEADER_BYTES + 4 * n_blocks;
    let mut is_stored = how.clevel == 0 || index_bytes > most_container;
    if !is_stored {
        out.resize(begin + index_bytes, 0);
        for (number, from) in elements.chunks(block_bytes).enumerate() {
            #[allow(clippy::cast_possible_truncation)] // bounded by the check of n_bytes
            let start = (out.len() - begin) as u32;
            out[begin + HEADER_BYTES + 4 * number..][..4].copy_from_slice(&start.to_le_bytes());
            let n_splits = if from.len() == block_bytes { splits } else { 1 };
            let (block, packed) = halves(inside.block, from.len());
            let block = if shuffled {
                shuffle(from, width, block);
                &*block
            } else {
                from
            };
            for stream in block.chunks_exact(from.len() / n_splits) {
                let n_packed = encode_stream(inside.deflater, inside.zstd, (compressor, how.clevel), stream, packed)?;
                is_stored |= out.len() - begin + n_packed > most_container;
                if !is_stored {
                    out.extend_from_slice(&packed[..n_packed]);
                }
            }
            if is_stored {
                break;
            }
        }
    }
    if is_stored {
        if most_container < HEADER_BYTES + elements.len() {
            return Ok(Fit::TooLarge);
        }
        flags |= STORED;
        out.truncate(begin);
        out.resize(begin + HEADER_BYTES, 0);
        out.extend_from_slice(elements);
    }
    #[allow(clippy::cast_possible_truncation)] // all below 2 GiB
    let (block_bytes, container_bytes, width) = (block_bytes as u32, (out.len() - begin) as u32, width as u8);
    let head = &mut out[begin..begin + HEADER_BYTES];
    head[..4].copy_from_slice(&[FORMAT_VERSION, 1, flags, width]);
    head[4..8].copy_from_slice(&n_bytes.to_le_bytes());
    head[8..12].copy_from_slice(&block_bytes.to_le_bytes());
    head[12..16].copy_from_slice(&container_bytes.to_le_bytes());
    Ok(Fit::Whole)
}

/// Room for a shuffled block and for one of its streams after packing.
fn halves(scratch: &mut Scratch, block_bytes: usize) -> (&mut [u8], &mut [u8]) {
    let packed = 4 + zstd_safe::compress_bound(block_bytes).max(block_bytes * 9 / 8 + 1024);
    room(scratch, block_bytes + packed).split_at_mut(block_bytes)
}

/// Writes a stream behind its size; returns the bytes of both.
fn encode_stream(
    deflater: &mut Deflater,
    zstd: &mut Zstd,
    (compressor, clevel): (Compressor, u32),
    stream: &[u8],
    output: &mut [u8],
) -> Result<usize, FormatError> {
    let (size, body) = output.split_at_mut(4);
    let packed = match compressor {
        Compressor::Zstd => zstd.encode_into(zstd_level(clevel), stream, body)?,
        Compressor::Lz4 => {
            lz4_flex::block::compress_into(stream, body).map_err(|error| bad("lz4", error.to_string()))?
        }
        Compressor::Zlib => deflater.zlib_into(clevel, stream, body)?,
    };
    let n_bytes = if packed >= stream.len() {
        body[..stream.len()].copy_from_slice(stream);
        stream.len()
    } else {
        packed
    };
    #[allow(clippy::cast_possible_truncation)] // below 2 GiB
    size.copy_from_slice(&(n_bytes as u32).to_le_bytes());
    Ok(4 + n_bytes)
}

/// The zstd level for a blosc level from 1 to 9.
///
/// c-blosc takes higher ones, but does not split its blocks by byte plane for zstd. Split, level 3 packs smaller than
/// c-blosc's level 5 does, in less than half the time.
fn zstd_level(clevel: u32) -> i32 {
    const LEVELS: [i32; 9] = [1, 2, 3, 5, 7, 10, 13, 16, 19];
    let step = usize::try_from(clevel).unwrap_or(usize::MAX).saturating_sub(1).min(LEVELS.len() - 1);
    LEVELS[step]
}
