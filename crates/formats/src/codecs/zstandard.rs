//! Zstandard frames, with contexts that live from chunk to chunk and a hard end of the output.

use zstd_safe::{CCtx, DCtx};

use crate::error::FormatError;

use super::{Scratch, bad, room};

/// Level where a chain names none.
const USUAL_LEVEL: i32 = 3;

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
}
