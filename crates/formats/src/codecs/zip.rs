//! zlib and gzip by libdeflate, which wants to know the size of the result: a chunk's size is known.

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::error::FormatError;

use super::{Scratch, bad, room};

/// Level where a chain names none.
const USUAL_LEVEL: u32 = 4;

/// A compressor of the level that was last asked for.
#[derive(Default)]
pub(crate) struct Deflater {
    compressor: Option<(u32, Compressor)>,
}

impl Deflater {
    fn of(&mut self, level: Option<u32>) -> Result<&mut Compressor, FormatError> {
        let level = level.unwrap_or(USUAL_LEVEL);
        if self.compressor.as_ref().is_none_or(|(held, _)| *held != level) {
            let number = i32::try_from(level).unwrap_or(i32::MAX);
            let known = CompressionLvl::new(number).map_err(|_| bad("deflate", format!("no level {level}")))?;
            self.compressor = Some((level, Compressor::new(known)));
        }
        let compressor = self.compressor.as_mut().map(|(_, compressor)| compressor);
        compressor.ok_or_else(|| bad("deflate", "no compressor"))
    }

    pub(crate) fn zlib(&mut self, level: Option<u32>, input: &[u8], to: &mut Scratch) -> Result<usize, FormatError> {
        let compressor = self.of(level)?;
        let bound = compressor.zlib_compress_bound(input.len());
        compressor.zlib_compress(input, room(to, bound)).map_err(|error| bad("deflate", error.to_string()))
    }

    /// Encodes into `output`, which must have room for all of it.
    pub(crate) fn zlib_into(&mut self, level: u32, input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
        let compressor = self.of(Some(level))?;
        compressor.zlib_compress(input, output).map_err(|error| bad("deflate", error.to_string()))
    }

    pub(crate) fn gzip(&mut self, level: Option<u32>, input: &[u8], to: &mut Scratch) -> Result<usize, FormatError> {
        let compressor = self.of(level)?;
        let bound = compressor.gzip_compress_bound(input.len());
        compressor.gzip_compress(input, room(to, bound)).map_err(|error| bad("gzip", error.to_string()))
    }
}

fn reason(codec: &str, error: DecompressionError, limit: usize) -> FormatError {
    match error {
        DecompressionError::BadData => bad(codec, "the compressed bytes are damaged"),
        DecompressionError::InsufficientSpace => bad(codec, format!("it decodes to more than {limit} bytes")),
    }
}

/// Decodes a zlib stream into `output`; returns how much of it was filled.
pub(crate) fn inflate(inflater: &mut Decompressor, input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    let limit = output.len();
    inflater.zlib_decompress(input, output).map_err(|error| reason("deflate", error, limit))
}

/// Decodes gzip members that follow one another into `output`; returns how much of it was filled.
pub(crate) fn gunzip(inflater: &mut Decompressor, input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    let limit = output.len();
    let (mut from, mut filled) = (input, 0);
    // Each round eats a member's header and trailer, so there are fewer rounds than input bytes.
    loop {
        let to = output.get_mut(filled..).unwrap_or_default();
        let n_bytes = inflater.gzip_decompress(from, to).map_err(|error| reason("gzip", error, limit))?;
        let member = to.get(..n_bytes).unwrap_or_default();
        filled += n_bytes;
        match after_member(from, member) {
            Some(next) => from = next,
            None => return Ok(filled),
        }
    }
}

/// The member that follows the one which decodes to `member`.
///
/// libdeflate does not say where a member ends, but its trailer (CRC-32 and size) is known by now, and the next
/// member's magic number follows it.
fn after_member<'a>(input: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    const SMALLEST_MEMBER: usize = 18;
    if input.len() < 2 * SMALLEST_MEMBER {
        return None;
    }
    let mut seam = [0; 11];
    seam[..4].copy_from_slice(&libdeflater::crc32(member).to_le_bytes());
    #[allow(clippy::cast_possible_truncation)] // gzip keeps the size modulo 2^32
    seam[4..8].copy_from_slice(&(member.len() as u32).to_le_bytes());
    seam[8..].copy_from_slice(&MAGIC);
    let at = input.windows(seam.len()).position(|window| window == seam)?;
    input.get(at + 8..)
}
