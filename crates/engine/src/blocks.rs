//! The bytes of one file that a scan has read, and which it reads next.
//!
//! On this machine a read costs little and small blocks do. Of a server each read is a question, so what lies near is
//! read along: within an allowance, so that a large file is not read for the sake of a few questions less. It promises
//! that all bytes are of one state of the file, and that what was read is not read again while it is held.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use frazil_formats::{SparseBytes, Wants};
use frazil_model::range::{ByteRange, coalesce};
use frazil_store::{StoreError, read::Reader};

/// Bytes read at once at the beginning of a file.
pub(crate) const HEAD_BYTES: u64 = 64 << 10;

/// Bytes of a small file of a server that may be read for its metadata and small values…
const ALLOWED_BYTES: u64 = 256 << 10;
/// …and the share of a large one.
const ALLOWED_SHARE: u64 = 100;

/// A gap that is always cheaper to read than to ask twice.
const TINY_GAP_BYTES: u64 = 4 << 10;

/// A wider gap is read over only if that leaves one question.
const WIDE_GAP_BYTES: u64 = 64 << 10;

/// Something this small is the beginning of something larger, which is read along.
const BEGINNING_BYTES: u64 = 1 << 10;

/// So much is read along with a beginning.
const LEAST_AHEAD_BYTES: u64 = 4 << 10;

/// What is read along before something begins at a multiple of this.
const BEFORE_BYTES: u64 = 4 << 10;

/// Most that is read behind what is asked for.
const MOST_AHEAD_BYTES: u64 = 64 << 10;

/// Metadata that has taken this many allowances is large: from then on this share of what it took is read along.
const LARGE_FROM: u64 = 2;
const LARGE_SHARE: u64 = 8;

/// Questions of one file at a time; its server may allow fewer.
const MOST_AT_ONCE: usize = 8;

/// The parts of a file that are held, and the way to the others.
#[derive(Debug)]
pub(crate) struct Blocks {
    reader: Reader,
    bytes: SparseBytes,
    /// What was held before values were read along.
    metadata: Option<SparseBytes>,
    read_bytes: u64,
}

/// What is asked for, and so what may follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Metadata: what it leads to lies near it, as often as not.
    Metadata,
    /// Values, of which it is known how long they are.
    Values,
}

impl Blocks {
    /// A file of which `head` was read.
    pub fn new(reader: Reader, head: Bytes) -> Self {
        let mut bytes = SparseBytes::new(reader.size_bytes());
        let read_bytes = head.len() as u64;
        bytes.insert(0, head);
        Self { reader, bytes, metadata: None, read_bytes }
    }

    /// The way to the file.
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What is held.
    pub const fn bytes(&self) -> &SparseBytes {
        &self.bytes
    }

    /// Reads what is wanted of the metadata, so that it is held: on this machine in blocks of `block_bytes`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn fetch(&mut self, wants: &Wants, block_bytes: u64) -> Result<(), StoreError> {
        let ranges = match self.reader.is_far() {
            true => self.planned(wants, Kind::Metadata),
            false => self.bytes.missing(wants, block_bytes),
        };
        self.read_all(&ranges)
    }

    /// Reads values along that will be asked for one by one, in as few questions as may be, and forgets those that were
    /// read so before.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn fetch_values(&mut self, ranges: Vec<ByteRange>) -> Result<(), StoreError> {
        match &self.metadata {
            Some(metadata) => self.bytes = metadata.clone(),
            None => self.metadata = Some(self.bytes.clone()),
        }
        let ranges = self.planned(&Wants(ranges), Kind::Values);
        self.read_all(&ranges)
    }

    /// Reads `range` into `buffer`: what is held, or the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_into(&self, range: ByteRange, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        match self.bytes.get("chunk", range.offset(), range.n_bytes()) {
            Ok(held) => {
                buffer.clear();
                buffer.extend_from_slice(held);
                Ok(())
            }
            Err(_) => self.reader.read_into(range, buffer),
        }
    }

    /// What is read for `wants`.
    fn planned(&self, wants: &Wants, kind: Kind) -> Vec<ByteRange> {
        let size_bytes = self.bytes.size_bytes();
        let ranges = self.bytes.missing(wants, 1);
        let needed = total(&ranges);
        let allowed = ALLOWED_BYTES.max(size_bytes / ALLOWED_SHARE);
        let taken = self.read_bytes.saturating_add(needed);
        let spare = match taken > allowed.saturating_mul(LARGE_FROM) {
            true => taken / LARGE_SHARE,
            false => allowed.saturating_sub(taken),
        };
        let joined = joined(ranges, spare, kind);
        if kind == Kind::Values {
            return joined;
        }
        let spare = spare.saturating_sub(total(&joined) - needed);
        let wide = widened(&joined, spare);
        self.bytes.missing(&Wants(wide), 1)
    }

    fn read_all(&mut self, ranges: &[ByteRange]) -> Result<(), StoreError> {
        let n_threads = if self.reader.is_far() { MOST_AT_ONCE.min(ranges.len()) } else { 1 };
        self.read_bytes = self.read_bytes.saturating_add(total(ranges));
        if n_threads <= 1 {
            for range in ranges {
                self.bytes.insert(range.offset(), self.reader.read(*range)?);
            }
            return Ok(());
        }
        let (next, read) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(ranges.len())));
        let worker = || -> Result<(), StoreError> {
            while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = self.reader.read(*range).inspect_err(|_| next.store(ranges.len(), Ordering::Relaxed))?;
                read.lock().unwrap_or_else(PoisonError::into_inner).push((range.offset(), bytes));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(worker)).collect();
            let own = worker();
            // A thread that broke off has read less than it took; then its ranges are wanted again.
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(()))).and(own)
        })?;
        for (offset, bytes) in read.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.bytes.insert(offset, bytes);
        }
        Ok(())
    }
}

fn total(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| range.n_bytes()).sum()
}

/// Joins sorted ranges over gaps that together have at most `spare` bytes, small ones first, and over all that are tiny.
/// Metadata keeps half of it for what comes after, unless all that lies between can be had.
fn joined(ranges: Vec<ByteRange>, spare: u64, kind: Kind) -> Vec<ByteRange> {
    let gaps = ranges.windows(2).map(|pair| pair[1].offset() - pair[0].end());
    let mut gaps: Vec<(u64, ByteRange)> = gaps.zip(ranges.iter().copied()).collect();
    gaps.sort_unstable();
    let all: u64 = gaps.iter().map(|(gap, _)| gap).sum();
    let most = if kind == Kind::Values || all <= spare { spare } else { spare / 2 };
    let widest = if all <= spare { u64::MAX } else { WIDE_GAP_BYTES };
    let mut sum = 0_u64;
    let closed = gaps.into_iter().take_while(|(gap, _)| {
        sum = sum.saturating_add(*gap);
        (sum <= most && *gap <= widest) || *gap <= TINY_GAP_BYTES
    });
    let closed: Vec<ByteRange> = closed.filter_map(|(gap, range)| ByteRange::new(range.end(), gap)).collect();
    coalesce(ranges.into_iter().chain(closed).collect(), 0)
}

/// Reads along what lies behind each range, and a little before it, with `spare` bytes for all. The rest stays for what
/// comes after.
fn widened(ranges: &[ByteRange], spare: u64) -> Vec<ByteRange> {
    let share = spare / 4 / (ranges.len() as u64).max(1);
    let wide = |range: &ByteRange| {
        let least = if range.n_bytes() < BEGINNING_BYTES { LEAST_AHEAD_BYTES } else { 0 };
        let ahead = share.clamp(least, MOST_AHEAD_BYTES);
        let start = if share >= BEFORE_BYTES { range.offset() / BEFORE_BYTES * BEFORE_BYTES } else { range.offset() };
        ByteRange::new(start, range.end().saturating_add(ahead) - start).unwrap_or(*range)
    };
    ranges.iter().map(wide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: u64, end: u64) -> ByteRange {
        ByteRange::new(offset, end - offset).unwrap()
    }

    #[test]
    fn all_that_lies_near_is_one_question() {
        let ranges = vec![range(100_000, 101_000), range(150_000, 151_000), range(200_000, 201_000)];
        assert_eq!(joined(ranges, 98_000, Kind::Metadata), [range(100_000, 201_000)]);
    }

    #[test]
    fn what_lies_far_apart_is_not_joined_but_for_small_gaps() {
        let ranges = vec![range(0, 3_000), range(5_000, 8_000), range(1_000_000, 1_003_000)];
        assert_eq!(joined(ranges, 500_000, Kind::Metadata), [range(0, 8_000), range(1_000_000, 1_003_000)]);
    }

    #[test]
    fn metadata_keeps_half_of_the_allowance_for_what_comes_after() {
        let ranges = vec![range(0, 1_000), range(61_000, 62_000), range(122_000, 123_000)];
        assert_eq!(joined(ranges.clone(), 119_000, Kind::Metadata).len(), 3);
        assert_eq!(joined(ranges.clone(), 119_000, Kind::Values).len(), 2);
        assert_eq!(joined(ranges, 120_000, Kind::Metadata).len(), 1);
    }

    #[test]
    fn many_nodes_are_read_as_they_are_and_beginnings_with_what_follows() {
        let nodes: Vec<ByteRange> = (0..80).map(|n| range(n * 1_000_000, n * 1_000_000 + 3_000)).collect();
        assert_eq!(widened(&nodes, 0), nodes);
        assert_eq!(widened(&[range(0, 64)], 0), [range(0, 64 + LEAST_AHEAD_BYTES)]);
        assert_eq!(widened(&[range(0, 64)], 1 << 30), [range(0, 64 + MOST_AHEAD_BYTES)]);
    }
}
