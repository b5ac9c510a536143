//! Large files, moved in parts.
//!
//! Parts that a server has already are not sent again: each is compared by its digest with the bytes that it would get.
//! It promises that a killed transfer goes on part by part, and that no upload is left open once a file is there.

use std::{
    collections::BTreeMap,
    io::Seek,
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use frazil_model::range::ByteRange;
use frazil_store::{
    StoreError,
    beneath::Beneath,
    bucket::{Bucket, Digest, Part, State, Upload, digest_of_parts, hex},
    digest::{crc32c_on, md5},
    folder::staging_name,
    read::Reader,
};

use super::{
    arrived::{Arrived, Done},
    one::{Moved, Source},
    witness::{Sums, Witness, Word, damaged},
};
use crate::{error::TransferError, making::Made, run::Workers, same::made, walk::Found};

/// Parts have at least this size; whoever must send again sends no more than those under way.
const PART_BYTES: u64 = 16 << 20;

/// Parts of one object; servers take no more.
const MOST_PARTS: u64 = 10_000;

/// What arrives is written in blocks of so many bytes, which stay near the core.
const BLOCK_BYTES: usize = 256 << 10;

/// A server that copies by itself is asked for so many bytes at a time.
const COPIED_PART_BYTES: u64 = 512 << 20;

/// Files from this size on are moved in parts.
pub const LARGE_BYTES: u64 = 32 << 20;

/// Parts of one file that are moved at a time.
const PARTS_AT_A_TIME: usize = 4;

/// The size that the parts of a file have, by its size alone, so that every run has the same.
#[must_use]
pub fn part_bytes(size_bytes: u64) -> u64 {
    let least = size_bytes.div_ceil(MOST_PARTS);
    PART_BYTES.max(least.div_ceil(1 << 20) << 20)
}

/// The parts of a file: number from 1, offset and end.
fn parts_of(size_bytes: u64, part_bytes: u64) -> Vec<(u32, u64, u64)> {
    let n_parts = u32::try_from(size_bytes.div_ceil(part_bytes)).unwrap_or(u32::MAX);
    (0..n_parts)
        .map(|n| {
            let offset = u64::from(n) * part_bytes;
            (n + 1, offset, (offset + part_bytes).min(size_bytes))
        })
        .collect()
}

/// Runs `work` for each part on some threads, until one fails or somebody wants to stop.
fn each_part(
    parts: &[(u32, u64, u64)],
    workers: &Workers<'_>,
    work: impl Fn((u32, u64, u64), &mut Vec<u8>) -> Result<(), TransferError> + Sync,
) -> Result<(), TransferError> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let first: Mutex<Option<TransferError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..PARTS_AT_A_TIME.min(parts.len()) {
            scope.spawn(|| {
                // One for all parts of a thread: fresh memory costs more than what is read into it.
                let mut buffer = Vec::new();
                while !failed.load(Ordering::Relaxed) && !workers.is_stopped() {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(&part) = parts.get(at) else { return };
                    if let Err(error) = work(part, &mut buffer) {
                        failed.store(true, Ordering::Relaxed);
                        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if workers.is_stopped() => Err(TransferError::Interrupted { resume: None, open: None }),
        None => Ok(()),
    }
}

fn read_part(
    reader: &Reader,
    (offset, end): (u64, u64),
    buffer: &mut Vec<u8>,
    source: &Source,
    workers: &Workers<'_>,
) -> Result<(), StoreError> {
    let began = Instant::now();
    if let Some(range) = ByteRange::new(offset, end - offset) {
        reader.read_into(range, buffer)?;
    }
    if source.is_local() {
        workers.progress.local(began.elapsed())
    } else {
        workers.progress.waited(began.elapsed())
    }
    Ok(())
}

/// Sends a large file to a bucket.
///
/// # Errors
/// If it cannot be read or the server does not take it.
pub(crate) fn send(source: &Source, bucket: &Bucket, key: &str, workers: &Workers<'_>) -> Result<Moved, TransferError> {
    let size_bytes = source.mark.size_bytes;
    let upload = Begun::of(bucket, key, workers)?;
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let done: Mutex<BTreeMap<u32, Part>> = Mutex::default();
    let ranges = parts_of(size_bytes, part_bytes(size_bytes));
    let witness = Witness::of(source, ranges.len());
    let send_part = |(number, offset, end), buffer: &mut Vec<u8>| {
        let _room = witness.room(number, &workers.window, end - offset);
        read_part(&reader, (offset, end), buffer, source, workers)?;
        witness.see(source, number, buffer);
        let digest = workers.together.md5(buffer);
        witness.note(number, digest, end - offset);
        let there = upload.parts.get(&number).filter(|part| part.size_bytes == end - offset);
        let part = match there.filter(|part| part.tag == hex(&digest)) {
            Some(part) => part.clone(),
            None => {
                let began = Instant::now();
                let part = bucket.part_of(&upload.upload, number, buffer, digest)?;
                workers.progress.waited(began.elapsed());
                part
            }
        };
        workers.progress.bytes(end - offset);
        done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
        Ok(())
    };
    each_part(&ranges, workers, |part, buffer| send_part(part, buffer).inspect_err(|_| witness.break_off()))
        .map_err(|error| upload.given_up(bucket, error))?;
    source.check_unchanged()?;
    let (word, seen) = witness.word(source);
    let is_compared = is_as_kept(source, word, &reader, &ranges, &seen, workers);
    let is_compared = is_compared.map_err(|error| upload.given_up(bucket, error))?;
    let parts: Vec<Part> = done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
    let state = bucket.complete(&upload.upload, &parts).map_err(|error| upload.given_up(bucket, error.into()))?;
    workers.n_open.fetch_sub(1, Ordering::Relaxed);
    Ok(Moved { is_verified: is_compared && state.digest.is_some(), state })
}

/// Whether what was read is what the server of the source keeps; an error if it is not.
fn is_as_kept(
    source: &Source,
    word: Word,
    reader: &Reader,
    ranges: &[(u32, u64, u64)],
    seen: &[Part],
    workers: &Workers<'_>,
) -> Result<bool, TransferError> {
    match (word, &source.state.digest) {
        (Word::Same, _) => Ok(true),
        (Word::Nothing, _) | (_, None) => Ok(source.is_local()),
        (Word::Other, Some(expected)) => Err(damaged(source, expected).into()),
        (Word::Unknown, Some(expected)) => read_twice(source, expected, reader, ranges, seen, workers),
    }
}

/// Reads all of a file once more, where its digest told nothing yet: whatever happened to some bytes on their way does not
/// happen to them twice. Answers whether the digest tells something now.
fn read_twice(
    source: &Source,
    expected: &Digest,
    reader: &Reader,
    ranges: &[(u32, u64, u64)],
    seen: &[Part],
    workers: &Workers<'_>,
) -> Result<bool, TransferError> {
    let witness = Witness::of_order(source, *expected);
    let look = |(number, offset, end), buffer: &mut Vec<u8>| {
        let _room = witness.room(number, &workers.window, end - offset);
        read_part(reader, (offset, end), buffer, source, workers)?;
        witness.see(source, number, buffer);
        let tag = hex(&workers.together.md5(buffer));
        let first = seen.binary_search_by_key(&number, |part| part.number).ok().and_then(|at| seen.get(at));
        match first.is_some_and(|first| first.tag == tag) {
            true => Ok(()),
            false => Err(damaged(source, expected).into()),
        }
    };
    each_part(ranges, workers, |part, buffer| look(part, buffer).inspect_err(|_| witness.break_off()))?;
    Ok(witness.word(source).0 == Word::Same)
}

/// Lets a server copy a large object in parts.
///
/// # Errors
/// If it does not.
pub(crate) fn copy(
    from: (&Bucket, &str, &State, u64),
    bucket: &Bucket,
    key: &str,
    workers: &Workers<'_>,
) -> Result<Moved, TransferError> {
    let (from_bucket, from_key, from_state, size_bytes) = from;
    let tag = from_state.tag();
    let upload = Begun::of(bucket, key, workers)?;
    let part_bytes = COPIED_PART_BYTES.max(part_bytes(size_bytes));
    let done: Mutex<BTreeMap<u32, Part>> = Mutex::default();
    each_part(&parts_of(size_bytes, part_bytes), workers, |(number, offset, end), _| {
        let began = Instant::now();
        let original = (from_bucket, from_key, tag.as_str());
        let part = bucket.copy_part(&upload.upload, number, original, offset..=end - 1)?;
        workers.progress.waited(began.elapsed());
        workers.progress.bytes(end - offset);
        done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
        Ok(())
    })
    .map_err(|error| upload.given_up(bucket, error))?;
    let parts: Vec<Part> = done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
    let state = bucket.complete(&upload.upload, &parts).map_err(|error| upload.given_up(bucket, error.into()))?;
    workers.n_open.fetch_sub(1, Ordering::Relaxed);
    Ok(Moved { is_verified: true, state })
}

/// An upload that goes on or begins.
struct Begun {
    upload: Upload,
    parts: BTreeMap<u32, Part>,
}

impl Begun {
    fn of(bucket: &Bucket, key: &str, workers: &Workers<'_>) -> Result<Self, StoreError> {
        if let Some(upload) = workers.open_upload(key) {
            match bucket.parts(&upload) {
                Ok(parts) => {
                    workers.uses(&upload);
                    workers.n_open.fetch_add(1, Ordering::Relaxed);
                    let parts = parts.into_iter().map(|part| (part.number, part)).collect();
                    return Ok(Self { upload, parts });
                }
                // It ended meanwhile, or its parts may not be looked at.
                Err(StoreError::Absent { .. } | StoreError::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let upload = bucket.begin(key)?;
        workers.begun(&upload);
        workers.n_open.fetch_add(1, Ordering::Relaxed);
        Ok(Self { upload, parts: BTreeMap::new() })
    }

    /// What will not go on is not left lying about; what may go on later is.
    fn given_up(&self, bucket: &Bucket, error: TransferError) -> TransferError {
        use frazil_model::problem::{Exit, Problem};
        if !matches!(error.exit(), Exit::Later | Exit::Interrupted | Exit::SignIn) {
            // The error that led here is the one to be told.
            let _ = bucket.abort(&self.upload);
        }
        error
    }
}

/// Fetches a large file into a folder of this machine.
///
/// # Errors
/// If it cannot be read or written, or other bytes arrived than the server keeps a digest of.
pub(crate) fn fetch(
    source: &Source,
    folder: &Beneath,
    name: &str,
    workers: &Workers<'_>,
) -> Result<Moved, TransferError> {
    let size_bytes = source.mark.size_bytes;
    let part_bytes = part_bytes(size_bytes);
    let identity = format!("{} {part_bytes} {}", source.mark.size_bytes, source.mark.state.replace('\n', " "));
    let of_name = hex(&md5(name.as_bytes()));
    let staged = format!("{of_name}.{}.part", hex(&md5(format!("{}\0{identity}", source.location).as_bytes())));
    // What was begun of another file or another state of this one does not go on.
    folder.drop_staged_but(&of_name, &staged);
    let list = format!("{staged}s");
    let file = folder.stage(&staged)?;
    let done = Done::of(folder, &list, &identity)?;
    let failed = |error| StoreError::writing(&folder.path().join(name), size_bytes, error);
    file.set_len(size_bytes).map_err(failed)?;
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let parts = parts_of(size_bytes, part_bytes);
    let arrived = Arrived::of(&file, source);
    let sums = Sums::default();
    let fetching = Fetching { source, reader: &reader, file: &file, done: &done, sums: &sums, arrived: &arrived };
    let fetched = each_part(&parts, workers, |part, block| fetching.part(part, block, workers, &failed));
    fetched.inspect_err(|error| {
        // What is fetched in one go instead has no use for parts.
        if matches!(error, TransferError::Store(StoreError::RangeIgnored { .. })) {
            folder.drop_staged(&staged);
            folder.drop_staged(&list);
        }
    })?;
    let arrived = arrived.parts().map_err(failed)?;
    let sum = sums.digest().filter(|_| Sums::are_kept(source));
    let is_verified = match source.state.digest {
        // Most large objects have parts of our size; others are read once more.
        Some(digest) if digest_of_parts(&arrived) == Some(digest) || sum == Some(digest) => true,
        Some(digest) => {
            let found = Found { name: name.into(), ..source.as_found() };
            let path = folder.path().join(frazil_store::folder::STAGING).join(&staged);
            match made(&path, &digest, &found, workers.known)? {
                Made::Equal => true,
                Made::UnknownParts => {
                    read_twice(source, &digest, &reader, &parts, &arrived, workers).inspect_err(|error| {
                        if matches!(error, TransferError::Store(StoreError::ArrivedDamaged { .. })) {
                            folder.drop_staged(&staged);
                            folder.drop_staged(&list);
                        }
                    })?
                }
                Made::Other => {
                    folder.drop_staged(&staged);
                    folder.drop_staged(&list);
                    return Err(damaged(source, &digest).into());
                }
            }
        }
        None => false,
    };
    folder.publish(&staged, name)?;
    folder.drop_staged(&list);
    Ok(Moved { is_verified, state: source.state.clone() })
}

/// A download under way.
struct Fetching<'a> {
    source: &'a Source,
    reader: &'a Reader,
    file: &'a std::fs::File,
    done: &'a Done,
    sums: &'a Sums,
    arrived: &'a Arrived<'a>,
}

impl Fetching<'_> {
    /// Fetches one part, unless an earlier run left it, and notes what it holds.
    fn part(
        &self,
        (number, offset, end): (u32, u64, u64),
        block: &mut Vec<u8>,
        workers: &Workers<'_>,
        failed: &impl Fn(std::io::Error) -> StoreError,
    ) -> Result<(), TransferError> {
        let _room = workers.window.take(end - offset);
        block.resize(BLOCK_BYTES, 0);
        let Some(range) = ByteRange::new(offset, end - offset) else { return Ok(()) };
        let (mut sum, mut local) = (0, Duration::ZERO);
        let began = Instant::now();
        let mut see = |at: u64, piece: &[u8]| {
            if Sums::are_kept(self.source) {
                // Whoever begins anew begins a new sum.
                sum = crc32c_on(if at == offset { 0 } else { sum }, piece);
            }
        };
        if !self.done.numbers.contains(&number) {
            self.reader.hand_on(range, block, &mut |at, piece| {
                let began = Instant::now();
                self.file.write_all_at(piece, at).map_err(failed)?;
                see(at, piece);
                local += began.elapsed();
                Ok(())
            })?;
            self.done.note(number).map_err(failed)?;
        } else if Sums::are_kept(self.source) {
            // What an earlier run left is looked at as what arrives now is.
            for at in (offset..end).step_by(BLOCK_BYTES) {
                let n_bytes = usize::try_from(end - at).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
                let piece = block.get_mut(..n_bytes).unwrap_or_default();
                self.file.read_exact_at(piece, at).map_err(failed)?;
                see(at, piece);
            }
        }
        workers.progress.waited(began.elapsed().saturating_sub(local));
        self.sums.note(number, sum, end - offset);
        let began = Instant::now();
        self.arrived.note(number, (offset, end)).map_err(failed)?;
        workers.progress.local(local + began.elapsed());
        workers.progress.bytes(end - offset);
        Ok(())
    }
}

/// Fetches a large file in one go, from a server that knows no ranges: it begins anew if it breaks off.
///
/// # Errors
/// As for [`fetch`].
pub(crate) fn fetch_whole(
    source: &Source,
    folder: &Beneath,
    name: &str,
    workers: &Workers<'_>,
) -> Result<Moved, TransferError> {
    let staged = staging_name();
    let writing = |error| StoreError::writing(&folder.path().join(name), source.mark.size_bytes, error);
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let file = folder.stage(&staged)?;
    let begin = || {
        file.set_len(0)?;
        (&file).seek(std::io::SeekFrom::Start(0))?;
        Ok(&file)
    };
    let copied = reader.copy_all(begin, writing).and_then(|_| folder.publish(&staged, name));
    if let Err(error) = copied {
        folder.drop_staged(&staged);
        return Err(error.into());
    }
    workers.progress.bytes(source.mark.size_bytes);
    Ok(Moved { is_verified: false, state: source.state.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_file_and_are_never_too_many() {
        for size_bytes in [1, PART_BYTES, PART_BYTES + 1, 256 << 20, 5 << 40] {
            let parts = parts_of(size_bytes, part_bytes(size_bytes));
            assert!(parts.len() as u64 <= MOST_PARTS);
            assert_eq!(parts.iter().map(|(_, offset, end)| end - offset).sum::<u64>(), size_bytes);
            assert_eq!(parts.last().map(|part| part.2), Some(size_bytes));
        }
    }
}
