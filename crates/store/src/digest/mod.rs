//! The digests that servers keep of what they hold, and how they are written.

mod lanes;

use md5::{Digest as _, Md5};

pub use lanes::{LANES, md5_of_each, md5_of_ranges};

/// MD5 of `bytes`.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// MD5 of bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Running(Md5);

impl Running {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that came.
    #[must_use]
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32C of bytes whose first ones have the sum `before`.
#[must_use]
pub fn crc32c_on(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

/// CRC-32C of pieces one after the other, by the sum and the length of each; `None` if one is longer than memory.
#[must_use]
pub fn crc32c_of_pieces(pieces: impl IntoIterator<Item = (u32, u64)>) -> Option<u32> {
    pieces
        .into_iter()
        .try_fold(0, |before, (sum, n_bytes)| Some(crc32c::crc32c_combine(before, sum, usize::try_from(n_bytes).ok()?)))
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64 (RFC 4648, section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// Bytes as base64 without padding, with letters for addresses (RFC 4648, section 5).
pub(crate) fn base64_of_addresses(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// The bytes of base64, with its padding; white space between is passed over. `None` if it is none.
pub(crate) fn bytes_of_base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let letters = match text.as_slice() {
        [start @ .., b'=', b'='] | [start @ .., b'='] => start,
        all => all,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in letters.chunks(4) {
        let mut bits: u32 = 0;
        for letter in four {
            let value = LETTERS.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        let n_bytes = four.len() * 3 / 4;
        let all = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes.extend_from_slice(all.get(1..=n_bytes)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_pieces_is_that_of_the_whole() {
        let (one, two) = (b"one two thr".as_slice(), b"ee".as_slice());
        let whole = crc32c(&[one, two].concat());
        assert_eq!(crc32c_of_pieces([one, two].map(|piece| (crc32c(piece), piece.len() as u64))), Some(whole));
        assert_eq!(crc32c_on(crc32c(one), two), whole);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_of_pieces([]), Some(0));
    }

    #[test]
    fn what_is_written_as_base64_is_read_back() {
        for text in ["", "f", "fo", "foo", "foob", "\0\u{ff}~?>"] {
            assert_eq!(bytes_of_base64(&base64(text.as_bytes())).as_deref(), Some(text.as_bytes()));
        }
        for wrong in ["Z", "Zg=", "Z===", "Zm9$", "=Zg="] {
            assert_eq!(bytes_of_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_is_as_in_the_standard() {
        let shown: Vec<String> = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())).into();
        assert_eq!(shown, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
