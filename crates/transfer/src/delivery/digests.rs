//! SHA-256 of files wherever they lie, many at a time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use frazil_model::range::ByteRange;
use frazil_store::{StoreError, bucket::hex, read::Reader};
use sha2::{Digest, Sha256};

use crate::{copy::one::Source, place::Place, progress::Progress, walk::Found};

/// Files are read in blocks of so many bytes.
const BLOCK_BYTES: u64 = 8 << 20;

/// Files that are read at a time.
pub(super) const FILES_AT_A_TIME: usize = 16;

/// The SHA-256 of a file, which must be in the state that it was found in from the first byte to the last.
pub(super) fn sha256(place: Place, found: &Found, progress: &Progress) -> Result<String, StoreError> {
    let source = Source::of(place, found);
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let (mut sum, mut buffer, mut offset) = (Sha256::new(), Vec::new(), 0);
    while let Some(range) = ByteRange::new(offset, BLOCK_BYTES.min(found.size_bytes - offset)) {
        reader.read_into(range, &mut buffer)?;
        sum.update(&buffer);
        offset = range.end();
        progress.bytes(range.n_bytes());
    }
    source.check_unchanged()?;
    progress.file();
    Ok(hex(&sum.finalize()))
}

/// Does `work` for each of some things, many at a time, until somebody wants to stop. What was not begun then has no answer.
pub(super) fn for_each<T: Sync, A: Send>(
    all: &[T],
    at_a_time: usize,
    stop: &AtomicBool,
    work: impl Fn(&T) -> A + Sync,
) -> Vec<Option<A>> {
    let answers: Vec<Mutex<Option<A>>> = all.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.min(all.len()) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(one), Some(answer)) = (all.get(at), answers.get(at)) else { return };
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(one));
                }
            });
        }
    });
    answers.into_iter().map(|answer| answer.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}
