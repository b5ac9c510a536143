//! Bob Jenkins' `lookup3` hash, which HDF5 puts behind its metadata (HDF5 file format 3.0, "Checksum").

use crate::error::FormatError;

/// `hashlittle` of `bytes` with initial value 0.
#[must_use]
pub fn lookup3(bytes: &[u8]) -> u32 {
    #[allow(clippy::cast_possible_truncation)] // the hash is defined on the low 32 bits of the length
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        (a, b, c) = add(block, a, b, c);
        (a, b, c) = mix(a, b, c);
        rest = after;
    }
    if rest.is_empty() {
        return c;
    }
    (a, b, c) = add(rest, a, b, c);
    finish(a, b, c)
}

/// Refuses a structure whose last four bytes are not the checksum of those before them.
///
/// # Errors
/// [`FormatError::Malformed`] if it differs.
pub(crate) fn verify(what: &str, offset: u64, structure: &[u8]) -> Result<(), FormatError> {
    let bad = |reason: &str| FormatError::Malformed { what: what.to_owned(), offset, reason: reason.to_owned() };
    let (body, stored) = structure.split_last_chunk::<4>().ok_or_else(|| bad("too short for a checksum"))?;
    if matches(body, *stored) { Ok(()) } else { Err(bad("its checksum does not match")) }
}

/// Whether `stored` is the checksum of `body`. A fuzzer would never get past a checksum, so there every sum is right.
pub(crate) fn matches(body: &[u8], stored: [u8; 4]) -> bool {
    cfg!(fuzzing) || lookup3(body) == u32::from_le_bytes(stored)
}

/// Adds up to twelve bytes to the state; absent bytes are zero.
fn add(block: &[u8], a: u32, b: u32, c: u32) -> (u32, u32, u32) {
    let word = |at: usize| {
        (0..4).fold(0_u32, |word, i| word | (u32::from(block.get(at + i).copied().unwrap_or(0)) << (8 * i)))
    };
    (a.wrapping_add(word(0)), b.wrapping_add(word(4)), c.wrapping_add(word(8)))
}

const fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

const fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hashes_as_its_author_says() {
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
