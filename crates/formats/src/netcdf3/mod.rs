//! netCDF-3 files: classic (CDF-1), 64-bit offset (CDF-2) and 64-bit data (CDF-5).
//!
//! The header says where everything is, so only the head of the file is read. It promises that every byte of every
//! listed chunk lies in the file: a file that is shorter than its header claims is refused, never padded with zeros.
//! It does not know what the values mean.

mod header;
mod layout;

use bytes::Bytes;

use crate::{Decoded, FormatError, Progress, SparseBytes, Stop};
use header::HeaderStop;

/// Bytes of the head that are asked for at first; most headers fit.
const FIRST_HEAD_BYTES: u64 = 64 * 1024;
/// A header that did not fit is asked for again, this many times larger.
const HEAD_GROWTH: u64 = 4;
/// Largest header. Real ones stay under a few MiB, even with long histories.
const HEADER_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Whether a file that begins with `head` is netCDF-3.
#[must_use]
pub fn looks_like_netcdf3(head: &[u8]) -> bool {
    matches!(head, [b'C', b'D', b'F', 1 | 2 | 5, ..])
}

/// Reads the structure of one netCDF-3 file.
#[derive(Debug, Clone)]
pub struct Netcdf3Decoder {
    /// How much of the file's head the next attempt looks at.
    head_bytes: u64,
}

impl Default for Netcdf3Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Netcdf3Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { head_bytes: FIRST_HEAD_BYTES }
    }

    /// Goes as far as the bytes reach.
    ///
    /// # Errors
    /// If the file is not netCDF-3, its header makes no sense, or it is shorter than its header claims.
    pub fn advance(&mut self, bytes: &SparseBytes) -> Result<Progress<Decoded>, FormatError> {
        // Each round looks at a head that is at least `HEAD_GROWTH` times larger, up to the limit: a handful of rounds.
        loop {
            let head = match bytes.get_up_to("the header", 0, self.head_bytes) {
                Ok(head) => head,
                Err(Stop::Need(wants)) => return Ok(Progress::Need(wants.0)),
                Err(Stop::Bad(error)) => return Err(error),
            };
            match header::parse(head) {
                Ok(header) => return layout::decoded(header, bytes.size_bytes()).map(Progress::Done),
                Err(HeaderStop::Bad(error)) => return Err(error),
                Err(HeaderStop::RanOut { what, offset, end }) => {
                    if end > bytes.size_bytes() {
                        let size_bytes = bytes.size_bytes();
                        return Err(FormatError::Truncated { what, offset, end, size_bytes });
                    }
                    if end > HEADER_LIMIT_BYTES {
                        let claimed = end;
                        let what = "the netCDF-3 header".to_owned();
                        return Err(FormatError::TooLarge { what, claimed, limit: HEADER_LIMIT_BYTES });
                    }
                    self.head_bytes = end.max(self.head_bytes.saturating_mul(HEAD_GROWTH)).min(HEADER_LIMIT_BYTES);
                }
            }
        }
    }
}

/// Reads the structure of a file that is held whole.
///
/// # Errors
/// As for [`Netcdf3Decoder::advance`].
pub fn decode_whole(bytes: Bytes) -> Result<Decoded, FormatError> {
    let sparse = SparseBytes::whole(bytes);
    match Netcdf3Decoder::new().advance(&sparse)? {
        Progress::Done(decoded) => Ok(decoded),
        Progress::Need(ranges) => {
            let (offset, end) = ranges.first().map_or((0, 0), |range| (range.offset(), range.end()));
            Err(FormatError::Truncated { what: "the header".into(), offset, end, size_bytes: sparse.size_bytes() })
        }
    }
}

#[cfg(test)]
mod tests;
