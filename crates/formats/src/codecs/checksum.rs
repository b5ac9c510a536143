//! Checksums in the last four bytes of a chunk: HDF5's Fletcher-32 and Zarr's CRC-32C.

use crate::error::FormatError;

use super::bad;

/// Bytes of either checksum.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// Words that can be summed before a 32-bit sum must be folded.
const FOLD_WORDS: usize = 360;

/// HDF5's Fletcher-32: big-endian 16-bit words, the last one padded with zero, sums folded to 16 bits.
pub(crate) fn fletcher32(bytes: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut first, mut second) = (0_u32, 0_u32);
    let (words, rest) = bytes.as_chunks::<2>();
    for block in words.chunks(FOLD_WORDS) {
        for word in block {
            first = first.wrapping_add(u32::from(u16::from_be_bytes(*word)));
            second = second.wrapping_add(first);
        }
        (first, second) = (fold(first), fold(second));
    }
    if let Some(last) = rest.first() {
        first = first.wrapping_add(u32::from(*last) << 8);
        second = second.wrapping_add(first);
        (first, second) = (fold(first), fold(second));
    }
    (first, second) = (fold(first), fold(second));
    second << 16 | first
}

/// Cuts the checksum off and compares it.
fn split<'a>(codec: &str, stored: &'a [u8]) -> Result<(&'a [u8], u32), FormatError> {
    let Some((body, sum)) = stored.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(bad(codec, format!("{} bytes have no room for a checksum", stored.len())));
    };
    Ok((body, u32::from_le_bytes(*sum)))
}

fn differ(codec: &str, stored: u32, computed: u32) -> FormatError {
    bad(codec, format!("the stored checksum is {stored:08x}, the bytes have {computed:08x}"))
}

/// The bytes before a Fletcher-32 that fits them.
pub(crate) fn verified_fletcher32(stored: &[u8]) -> Result<&[u8], FormatError> {
    let (body, sum) = split("fletcher32", stored)?;
    let computed = fletcher32(body);
    // Libraries before HDF5 1.6.3 stored the bytes of each half the other way round on little-endian machines.
    let old = (computed & 0x00ff_00ff) << 8 | (computed >> 8) & 0x00ff_00ff;
    if sum == computed || sum == old { Ok(body) } else { Err(differ("fletcher32", sum, computed)) }
}

/// The bytes before a CRC-32C that fits them.
pub(crate) fn verified_crc32c(stored: &[u8]) -> Result<&[u8], FormatError> {
    let (body, sum) = split("crc32c", stored)?;
    let computed = crc32c::crc32c(body);
    if sum == computed { Ok(body) } else { Err(differ("crc32c", sum, computed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fletcher32_of_either_age_is_accepted_and_a_wrong_one_is_not() {
        let sum = fletcher32(b"abcde");
        assert_eq!(sum, 0x4ff0_29c7);
        let mut stored = b"abcde".to_vec();
        stored.extend(sum.to_le_bytes());
        assert_eq!(verified_fletcher32(&stored), Ok(&b"abcde"[..]));
        stored.swap(5, 6);
        stored.swap(7, 8);
        assert_eq!(verified_fletcher32(&stored), Ok(&b"abcde"[..]));
        stored[0] ^= 1;
        assert!(verified_fletcher32(&stored).is_err());
    }

    #[test]
    fn a_chunk_too_short_for_its_checksum_is_refused() {
        assert!(verified_fletcher32(b"abc").is_err());
        assert!(verified_crc32c(b"").is_err());
    }
}
