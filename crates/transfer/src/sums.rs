//! SHA-256 and MD5 of files wherever they lie, many at a time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use frazil_model::range::ByteRange;
use frazil_store::{StoreError, bucket::hex, digest::Running, read::Reader};
use sha2::{Digest, Sha256};

use crate::{copy::one::Source, place::Place, progress::Progress, walk::Found};

/// Files are read in blocks of so many bytes.
const BLOCK_BYTES: u64 = 8 << 20;

/// Files that are read at a time.
pub(crate) const FILES_AT_A_TIME: usize = 16;

/// A sum of a file, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256.
    Sha256(String),
    /// MD5, which tells accidents and no intent.
    Md5(String),
}

impl Sum {
    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Md5(_) => "md5",
        }
    }

    /// The same as people write it.
    pub(crate) const fn kind_shown(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Md5(_) => "MD5",
        }
    }

    /// Its digits.
    #[must_use]
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Md5(digits) => digits,
        }
    }
}

enum Making {
    Sha256(Sha256),
    Md5(Running),
}

/// The sum of a file of the kind that `like` is of.
pub(crate) fn sum_like(like: &Sum, place: Place, found: &Found, progress: &Progress) -> Result<Sum, StoreError> {
    let mut making = match like {
        Sum::Sha256(_) => Making::Sha256(Sha256::new()),
        Sum::Md5(_) => Making::Md5(Running::default()),
    };
    read(place, found, progress, |bytes| match &mut making {
        Making::Sha256(sum) => sum.update(bytes),
        Making::Md5(sum) => sum.take(bytes),
    })?;
    Ok(match making {
        Making::Sha256(sum) => Sum::Sha256(hex(&sum.finalize())),
        Making::Md5(sum) => Sum::Md5(hex(&sum.finish())),
    })
}

/// The SHA-256 of a file.
pub(crate) fn sha256(place: Place, found: &Found, progress: &Progress) -> Result<String, StoreError> {
    let mut sum = Sha256::new();
    read(place, found, progress, |bytes| sum.update(bytes))?;
    Ok(hex(&sum.finalize()))
}

/// Reads a file, which must be in the state that it was found in from the first byte to the last.
fn read(place: Place, found: &Found, progress: &Progress, mut take: impl FnMut(&[u8])) -> Result<(), StoreError> {
    let source = Source::of(place, found);
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let (mut buffer, mut offset) = (Vec::new(), 0);
    while let Some(range) = ByteRange::new(offset, BLOCK_BYTES.min(found.size_bytes - offset)) {
        reader.read_into(range, &mut buffer)?;
        take(&buffer);
        offset = range.end();
        progress.bytes(range.n_bytes());
    }
    source.check_unchanged()?;
    progress.file();
    Ok(())
}

/// Does `work` for each of some things, many at a time, until somebody wants to stop. What was not begun then has no answer.
pub(crate) fn for_each<T: Sync, A: Send>(
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
