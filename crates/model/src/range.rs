//! A stretch of bytes in a file or object: never empty, never backwards.

use serde::{Deserialize, Serialize};

/// `offset..offset + n_bytes`, where `n_bytes` is at least 1 and the end fits in a `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    offset: u64,
    n_bytes: u64,
}

impl ByteRange {
    /// The range of `n_bytes` from `offset`, unless it is empty or its end overflows.
    #[must_use]
    pub const fn new(offset: u64, n_bytes: u64) -> Option<Self> {
        if n_bytes == 0 || offset.checked_add(n_bytes).is_none() {
            return None;
        }
        Some(Self { offset, n_bytes })
    }

    /// First byte.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// How many bytes; at least 1.
    #[must_use]
    pub const fn n_bytes(self) -> u64 {
        self.n_bytes
    }

    /// One past the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset + self.n_bytes
    }

    /// Whether every byte of `other` lies in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }
}

/// Joins ranges that overlap or lie at most `gap_bytes` apart; the result is sorted.
///
/// A request costs a round trip, so a small gap is cheaper to read than to skip.
#[must_use]
pub fn coalesce(mut ranges: Vec<ByteRange>, gap_bytes: u64) -> Vec<ByteRange> {
    ranges.sort_unstable();
    let mut joined: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.offset <= last.end().saturating_add(gap_bytes) => {
                last.n_bytes = last.end().max(range.end()) - last.offset;
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_nearly_touch_become_one_request() {
        let range = |offset, n_bytes| ByteRange::new(offset, n_bytes).unwrap();
        assert_eq!(coalesce(vec![range(10, 5), range(0, 8), range(40, 1)], 2), [range(0, 15), range(40, 1)]);
        assert_eq!(coalesce(vec![range(0, 100), range(10, 5)], 0), [range(0, 100)]);
    }

    #[test]
    fn an_empty_or_overflowing_range_cannot_be_made() {
        assert_eq!(ByteRange::new(3, 0), None);
        assert_eq!(ByteRange::new(u64::MAX, 1), None);
    }
}
