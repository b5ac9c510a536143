//! Whether two places are one under two names.
//!
//! Buckets have many names: of servers, of remotes, of folders where they are mounted; and folders have as many. Whoever
//! deletes at one place because the same is at another asks here first. A mark is put at the one and looked for at the
//! other; it is gone afterwards.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use frazil_store::{StoreError, beneath::Beneath, bucket::When};

use crate::{error::TransferError, place::Place};

/// What the name of a mark begins with.
pub(crate) const MARK: &str = ".frazil-mark-";

static N_MARKS: AtomicU64 = AtomicU64::new(0);

/// Refuses two folders that are one.
///
/// # Errors
/// [`TransferError::Within`] if they are, or why nobody can tell.
pub fn are_two(a: &Place, b: &Place) -> Result<(), TransferError> {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mark = format!("{MARK}{}-{nanoseconds}-{}", process::id(), N_MARKS.fetch_add(1, Ordering::Relaxed));
    put(b, &mark)?;
    let is_seen = is_there(a, &mark);
    take(b, &mark)?;
    match is_seen? {
        true => Err(TransferError::Within { source_place: a.shown(), dest: b.shown() }),
        false => Ok(()),
    }
}

/// The folder that a file lies in.
#[must_use]
pub fn above(file: &Place) -> Place {
    match file {
        Place::Local(path) => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            Place::Local(above.unwrap_or(std::path::Path::new(".")).to_owned())
        }
        Place::Bucket { bucket, key } => {
            let above = key.rsplit_once('/').map(|(above, _)| above).unwrap_or_default();
            Place::Bucket { bucket: bucket.clone(), key: above.to_owned() }
        }
        web @ Place::Web(_) => web.clone(),
    }
}

fn put(place: &Place, mark: &str) -> Result<(), TransferError> {
    match place.below(mark) {
        Place::Local(_) => {
            let Place::Local(folder) = place else { return Ok(()) };
            Ok(Beneath::open(folder)?.put(mark, b"")?)
        }
        Place::Bucket { bucket, key } => {
            bucket.put(&key, b"", When::Always)?;
            Ok(())
        }
        Place::Web(location) => Err(TransferError::NoListing { place: location.to_string() }),
    }
}

fn take(place: &Place, mark: &str) -> Result<(), TransferError> {
    match place.below(mark) {
        Place::Local(_) => {
            let Place::Local(folder) = place else { return Ok(()) };
            let folder = Beneath::open(folder)?;
            folder.remove(mark)?;
            folder.tidy();
            Ok(())
        }
        Place::Bucket { bucket, key } => match bucket.delete(&[&key])?.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        },
        Place::Web(_) => Ok(()),
    }
}

fn is_there(place: &Place, mark: &str) -> Result<bool, StoreError> {
    match place.below(mark) {
        Place::Local(path) => Ok(path.symlink_metadata().is_ok()),
        Place::Bucket { bucket, key } => Ok(bucket.about(&key)?.is_some()),
        Place::Web(_) => Ok(false),
    }
}
