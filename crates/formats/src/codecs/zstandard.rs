//! Zstandard frames, with contexts that live from chunk to chunk and a hard end of the output.

use zstd_safe::{CCtx, DCtx};

use crate::error::FormatError;

use super::{Fit, Scratch, bad, room};

/// Level where a chain names none.
const USUAL_LEVEL: i32 = 3;

/// Where this much is left of an output, its end had no say in any block's form: equal inputs give equal frames.
const SLACK_BYTES: usize = 256 << 10;

fn named(code: zstd_safe::ErrorCode) -> FormatError {
    bad("zstd", zstd_safe::get_error_name(code))
}

/// Contexts that are made when first used.
#[derive(Default)]
pub(crate) struct Zstd {
    reader: Option<DCtx<'static>>,
    writer: Option<CCtx<'static>>,
}

impl Zstd {
    /// Decodes frames into `output`; returns how much of it was filled.
    pub(crate) fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
        if self.reader.is_none() {
            self.reader = DCtx::try_create();
        }
        let reader = self.reader.as_mut().ok_or_else(|| bad("zstd", "no memory for a context"))?;
        reader.decompress(output, input).map_err(named)
    }

    /// Encodes into `output`, which must have room for all of it. The frame names its size and has no checksum.
    pub(crate) fn encode_into(&mut self, level: i32, input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
        if self.writer.is_none() {
            self.writer = CCtx::try_create();
        }
        let writer = self.writer.as_mut().ok_or_else(|| bad("zstd", "no memory for a context"))?;
        writer.compress(output, input, level).map_err(named)
    }

    pub(crate) fn encode(&mut self, level: Option<i32>, input: &[u8], to: &mut Scratch) -> Result<usize, FormatError> {
        let bound = zstd_safe::compress_bound(input.len());
        self.encode_into(level.unwrap_or(USUAL_LEVEL), input, room(to, bound))
    }

    /// Appends to `out`, of which no more than `most_bytes` are touched. The frame is that of [`Self::encode_into`].
    pub(crate) fn append(
        &mut self,
        level: Option<i32>,
        input: &[u8],
        most_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<Fit, FormatError> {
        let bound = zstd_safe::compress_bound(input.len());
        let begin = out.len();
        let n_bytes = bound.min(most_bytes.saturating_sub(begin));
        if n_bytes == 0 {
            return Ok(Fit::TooLarge);
        }
        // Fresh memory is not touched before it is written.
        out.reserve_exact(n_bytes);
        if self.writer.is_none() {
            self.writer = CCtx::try_create();
        }
        let writer = self.writer.as_mut().ok_or_else(|| bad("zstd", "no memory for a context"))?;
        let mut to = std::io::Cursor::new(std::mem::take(out));
        to.set_position(begin as u64);
        let packed = writer.compress(&mut to, input, level.unwrap_or(USUAL_LEVEL));
        *out = to.into_inner();
        match packed {
            Ok(_) if n_bytes == bound || out.len() + SLACK_BYTES <= begin + n_bytes => Ok(Fit::Whole),
            Ok(_) => Ok(Fit::TooLarge),
            Err(code) if is_too_small(code) => Ok(Fit::TooLarge),
            Err(code) => Err(named(code)),
        }
    }
}

/// Whether an error says that the output has no room.
fn is_too_small(code: zstd_safe::ErrorCode) -> bool {
    zstd_safe::get_error_name(code) == "Destination buffer is too small"
}
