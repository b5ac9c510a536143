//! The bytes of a file that we hold so far.
//!
//! A decoder asks for ranges; what is not here yet becomes a want, and the caller fetches all wants of a round at
//! once. It promises that a byte handed out is the file's byte at that offset.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use frazil_model::range::{ByteRange, coalesce};

use crate::error::FormatError;

/// The answer of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress<T> {
    /// Here it is.
    Done(T),
    /// Fetch these and call again.
    Need(Vec<ByteRange>),
}

/// Why parsing stopped short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// These bytes are not here yet.
    Need(Wants),
    /// The bytes are here and make no sense.
    Bad(FormatError),
}

/// Ranges that are wanted next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants(pub Vec<ByteRange>);

impl Wants {
    /// Takes the wants of a step that stopped for lack of bytes, so that its siblings can go on and add theirs.
    ///
    /// # Errors
    /// The step's own error, if it stopped for another reason.
    pub fn collect<T>(&mut self, step: Result<T, Stop>) -> Result<Option<T>, FormatError> {
        match step {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Need(more)) => {
                self.0.extend(more.0);
                Ok(None)
            }
            Err(Stop::Bad(error)) => Err(error),
        }
    }

    /// Stops if anything is wanted.
    ///
    /// # Errors
    /// [`Stop::Need`] with all that was collected.
    pub fn or_stop(self) -> Result<(), Stop> {
        if self.0.is_empty() { Ok(()) } else { Err(Stop::Need(self)) }
    }
}

impl From<FormatError> for Stop {
    fn from(error: FormatError) -> Self {
        Self::Bad(error)
    }
}

/// Parts of a file of known size.
#[derive(Debug, Clone, Default)]
pub struct SparseBytes {
    size_bytes: u64,
    /// Extents by offset; they neither overlap nor touch.
    extents: BTreeMap<u64, Arc<Vec<u8>>>,
}

/// Adds to an extent that begins at `start` what `bytes` has beyond its end.
fn add_from(held: &mut Arc<Vec<u8>>, start: u64, (offset, bytes): (u64, &[u8])) {
    let known = usize::try_from(start + held.len() as u64 - offset).unwrap_or(usize::MAX);
    if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
        Arc::make_mut(held).extend_from_slice(new);
    }
}

impl SparseBytes {
    /// A file of `size_bytes` of which nothing is held.
    #[must_use]
    pub const fn new(size_bytes: u64) -> Self {
        Self { size_bytes, extents: BTreeMap::new() }
    }

    /// A whole file.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        let mut sparse = Self::new(bytes.len() as u64);
        sparse.insert(0, bytes);
        sparse
    }

    /// The file's size.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.extents.values().map(|extent| extent.len() as u64).sum()
    }

    /// Adds bytes that were fetched from `offset`. Where it overlaps what is held, the two must agree.
    pub fn insert(&mut self, offset: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        // Most files are read from front to back: what is held grows at its end, and only what is new is copied.
        let before = self.extents.range(..=offset).next_back();
        let before = before.filter(|(start, held)| **start + held.len() as u64 >= offset).map(|(start, _)| *start);
        let (start, mut joined) = match before.and_then(|start| Some((start, self.extents.remove(&start)?))) {
            Some((start, mut held)) => {
                add_from(&mut held, start, (offset, &bytes));
                (start, held)
            }
            None => (offset, Arc::new(Vec::from(bytes))),
        };
        while let Some((next, held)) = self.extents.range(start..=start + joined.len() as u64).next() {
            let (next, held) = (*next, Arc::clone(held));
            add_from(&mut joined, start, (next, &held));
            self.extents.remove(&next);
        }
        self.extents.insert(start, joined);
    }

    /// The `n_bytes` from `offset`, of what the caller calls `what`.
    ///
    /// # Errors
    /// [`Stop::Need`] if they are not held yet, [`FormatError::Truncated`] if the file ends before them.
    pub fn get(&self, what: &str, offset: u64, n_bytes: u64) -> Result<&[u8], Stop> {
        let Some(range) = ByteRange::new(offset, n_bytes) else {
            if n_bytes == 0 {
                return Ok(&[]);
            }
            return Err(Stop::Bad(self.truncated(what, offset, u64::MAX)));
        };
        if range.end() > self.size_bytes {
            return Err(Stop::Bad(self.truncated(what, offset, range.end())));
        }
        let held = self.extents.range(..=offset).next_back().and_then(|(start, extent)| {
            let from = usize::try_from(offset - start).ok()?;
            extent.get(from..from.checked_add(usize::try_from(n_bytes).ok()?)?)
        });
        held.ok_or_else(|| Stop::Need(Wants(vec![range])))
    }

    /// As many of `n_bytes` from `offset` as the file has.
    ///
    /// # Errors
    /// As for [`Self::get`], but a short file gives what it has.
    pub fn get_up_to(&self, what: &str, offset: u64, n_bytes: u64) -> Result<&[u8], Stop> {
        self.get(what, offset, n_bytes.min(self.size_bytes.saturating_sub(offset)))
    }

    /// The ranges to fetch for `wants`: widened to blocks of `block_bytes`, joined, cut at the end of the file,
    /// and without what is held.
    #[must_use]
    pub fn missing(&self, wants: &Wants, block_bytes: u64) -> Vec<ByteRange> {
        let widened = wants
            .0
            .iter()
            .filter_map(|want| {
                let start = want.offset() / block_bytes * block_bytes;
                let end = want.end().div_ceil(block_bytes).saturating_mul(block_bytes).min(self.size_bytes);
                ByteRange::new(start, end.checked_sub(start)?)
            })
            .collect();
        coalesce(widened, block_bytes).into_iter().flat_map(|range| self.holes(range)).collect()
    }

    /// The parts of `range` that are not held.
    fn holes(&self, range: ByteRange) -> Vec<ByteRange> {
        let mut holes = Vec::new();
        let mut at = range.offset();
        let first = self.extents.range(..=at).next_back().map_or(at, |(start, _)| *start);
        for (start, extent) in self.extents.range(first..range.end()) {
            let end = start + extent.len() as u64;
            if end <= at {
                continue;
            }
            if *start > at {
                holes.extend(ByteRange::new(at, start - at));
            }
            at = at.max(end);
        }
        if at < range.end() {
            holes.extend(ByteRange::new(at, range.end() - at));
        }
        holes
    }

    fn truncated(&self, what: &str, offset: u64, end: u64) -> FormatError {
        FormatError::Truncated { what: what.to_owned(), offset, end, size_bytes: self.size_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_touch_are_read_across_their_seam() {
        let mut sparse = SparseBytes::new(100);
        sparse.insert(10, Bytes::from_static(b"world"));
        sparse.insert(4, Bytes::from_static(b"hello "));
        assert_eq!(sparse.get("greeting", 4, 11), Ok(&b"hello world"[..]));
        assert_eq!(sparse.held_bytes(), 11);
    }

    #[test]
    fn whatever_the_order_the_bytes_are_those_of_the_file() {
        let file: Vec<u8> = (0..=255).collect();
        let mut state = 7_u64;
        for _ in 0..200 {
            let mut sparse = SparseBytes::new(256);
            let mut is_held = [false; 256];
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (from, length) = ((state >> 33) as usize % 256, (state >> 50) as usize % 60);
                let to = (from + length).min(256);
                sparse.insert(from as u64, Bytes::copy_from_slice(&file[from..to]));
                is_held[from..to].fill(true);
            }
            for from in 0..256 {
                let run = is_held[from..].iter().take_while(|held| **held).count();
                assert_eq!(sparse.get("run", from as u64, run as u64), Ok(&file[from..from + run]));
                let more = (run as u64 + 1).min(256 - from as u64);
                assert_eq!(sparse.get("more", from as u64, more).is_ok(), more == run as u64);
            }
            assert_eq!(sparse.held_bytes(), is_held.iter().filter(|held| **held).count() as u64);
            let all = Wants(vec![ByteRange::new(0, 256).unwrap()]);
            let n_missing: u64 = sparse.missing(&all, 1).iter().map(|range| range.n_bytes()).sum();
            assert_eq!(n_missing + sparse.held_bytes(), 256);
        }
    }

    #[test]
    fn a_hole_is_a_want_and_the_end_of_the_file_an_error() {
        let sparse = SparseBytes::new(100);
        assert!(matches!(sparse.get("x", 90, 10), Err(Stop::Need(_))));
        assert!(matches!(sparse.get("x", 91, 10), Err(Stop::Bad(FormatError::Truncated { .. }))));
        assert!(matches!(sparse.get("x", u64::MAX, 10), Err(Stop::Bad(FormatError::Truncated { .. }))));
    }

    #[test]
    fn only_what_is_not_held_is_fetched() {
        let mut sparse = SparseBytes::new(100);
        sparse.insert(0, Bytes::from(vec![0; 32]));
        let want = Wants(vec![ByteRange::new(30, 10).unwrap()]);
        assert_eq!(sparse.missing(&want, 16), [ByteRange::new(32, 16).unwrap()]);
    }
}
