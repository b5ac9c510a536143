//! Chunks whose decoded size nobody knows: lists of texts in a Zarr store.
//!
//! It promises that no more than a limit is taken, whatever the stored bytes claim.

use frazil_model::codec::{ByteOrder, Codec, CodecChain};

use super::{Codecs, Expected, checksum, is_empty};
use crate::error::FormatError;

/// Room that a chunk of unknown size gets at first.
const FIRST_ROOM_BYTES: usize = 64 << 10;

impl Codecs {
    /// What `stored` decodes to: at most `most_bytes`.
    ///
    /// # Errors
    /// [`FormatError::Chunk`] if a checksum differs, a step fails, or the result is larger.
    pub fn decode_at_most<'a>(
        &'a mut self,
        chain: &CodecChain,
        stored: &'a [u8],
        most_bytes: usize,
    ) -> Result<&'a [u8], FormatError> {
        let mut n_bytes: Option<usize> = None;
        let mut n_stored = stored.len();
        for step in chain.steps.iter().rev().filter(|step| !is_empty(step)) {
            let input = match n_bytes {
                None => &stored[..n_stored],
                Some(n_bytes) => &self.front[..n_bytes],
            };
            let checked = match step {
                Codec::Fletcher32 => Some(checksum::verified_fletcher32(input)?.len()),
                Codec::Crc32c => Some(checksum::verified_crc32c(input)?.len()),
                _ => None,
            };
            if let Some(left) = checked {
                match &mut n_bytes {
                    None => n_stored = left,
                    Some(n_bytes) => *n_bytes = left,
                }
                continue;
            }
            // Room for as much as the limit is taken by and by: most lists are small.
            let mut room = input.len().saturating_mul(8).max(FIRST_ROOM_BYTES).min(most_bytes);
            let done = loop {
                let limit = Expected::AtMost(room);
                match self.engines.decode_step(step, 1, ByteOrder::Little, limit, input, &mut self.back) {
                    Err(_) if room < most_bytes => room = room.saturating_mul(8).min(most_bytes),
                    done => break done?,
                }
            };
            std::mem::swap(&mut self.front, &mut self.back);
            n_bytes = Some(done.n_bytes);
        }
        Ok(match n_bytes {
            None => &stored[..n_stored],
            Some(n_bytes) => &self.front[..n_bytes],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_unknown_size_comes_back_and_a_larger_one_is_refused() {
        let chain =
            CodecChain { byte_order: ByteOrder::Little, steps: vec![Codec::Zstd { level: Some(3) }, Codec::Crc32c] };
        let text = b"one text after another".repeat(20);
        let mut codecs = Codecs::new();
        let stored = codecs.encode(&chain, 1, &text).unwrap().to_vec();
        assert_eq!(codecs.decode_at_most(&chain, &stored, 1000).unwrap(), text);
        assert!(codecs.decode_at_most(&chain, &stored, 100).is_err());
        let long = vec![7; 10 << 20];
        let stored = codecs.encode(&chain, 1, &long).unwrap().to_vec();
        assert_eq!(codecs.decode_at_most(&chain, &stored, usize::MAX).unwrap(), long);
        assert!(codecs.decode_at_most(&chain, &stored, (10 << 20) - 1).is_err());
    }
}
