//! What was read of a file, as one number: so that a file that changed is told from one that did not.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The sum of the digests of byte ranges, modulo 2^256: the same for the same ranges in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RangeSum([u64; 4]);

/// Bytes with their BLAKE3 digest: what is read, checked and stored as it is needs it in three places and has it once.
#[derive(Debug, Clone, Copy)]
pub struct Digested<'a> {
    bytes: &'a [u8],
    digest: blake3::Hash,
}

impl<'a> Digested<'a> {
    /// Of `bytes`.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, digest: blake3::hash(bytes) }
    }

    /// Of bytes whose digest is known.
    pub(crate) const fn known(bytes: &'a [u8], digest: blake3::Hash) -> Self {
        Self { bytes, digest }
    }

    /// The digest.
    pub(crate) const fn digest(&self) -> blake3::Hash {
        self.digest
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The digest, in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.digest.to_hex().to_string()
    }
}

impl RangeSum {
    /// Adds the range of `bytes` from `offset`.
    pub fn add(&mut self, offset: u64, bytes: Digested<'_>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&offset.to_le_bytes()).update(&(bytes.bytes.len() as u64).to_le_bytes());
        let digest = hasher.update(bytes.digest.as_bytes()).finalize();
        let mut words = [0; 4];
        for (word, part) in words.iter_mut().zip(digest.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*part);
        }
        self.merge(Self(words));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = mine.overflowing_add(theirs);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*mine, carry) = (sum, first || second);
        }
    }
}

impl fmt::Display for RangeSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

/// The BLAKE3 digest of bytes, in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Digested::of(bytes).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_sum_alike_in_any_order() {
        let (mut one, mut other) = (RangeSum::default(), RangeSum::default());
        one.add(0, Digested::of(b"abc"));
        one.add(100, Digested::of(b"def"));
        other.add(100, Digested::of(b"def"));
        other.add(0, Digested::of(b"abc"));
        assert_eq!(one, other);
        other.add(0, Digested::of(b""));
        assert_ne!(one, other);
    }
}
