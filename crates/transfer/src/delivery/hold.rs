//! Whoever takes a delivery on has it alone: two would copy, check and clear the same files.
//!
//! A lock in the delivery keeps apart who goes anywhere with it; a landing is locked by itself, for it may be that of a
//! delivery in which nothing may be written. It promises that either dies with its process. Where there are no locks
//! nobody is kept apart.

use std::fs::{File, TryLockError};

use frazil_store::{
    StoreError,
    beneath::Beneath,
    folder::Folder,
    lock::{Lock, Sharing},
};

use crate::{copy::claims::LOCK, error::TransferError, place::Place};

/// A delivery that nobody else takes on meanwhile. Dropped, it is free.
#[derive(Debug)]
pub struct Hold(Held);

#[derive(Debug)]
enum Held {
    Here(Beneath, Option<File>),
    Away {
        _lock: Lock,
    },
    /// It cannot be locked.
    Open,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Held::Here(folder, file) = &mut self.0
            && let Some(file) = file.take()
        {
            folder.unlock(LOCK, file);
        }
    }
}

/// Takes the lock of a delivery that is there.
///
/// # Errors
/// [`TransferError::BeingAccepted`] if somebody else has it.
pub fn hold(delivery: &Place) -> Result<Hold, TransferError> {
    let taken = match delivery {
        // What strangers put there in place of a lock is not followed.
        Place::Local(path) => Beneath::open(path).and_then(|folder| {
            let file = folder.lock(LOCK)?;
            Ok(Held::Here(folder, Some(file)))
        }),
        Place::Bucket { bucket, key } => Folder::at(&bucket.location(key))
            .and_then(|folder| Lock::take(&folder, LOCK, Sharing::Alone).map(|lock| Held::Away { _lock: lock })),
        Place::Web(_) => Ok(Held::Open),
    };
    match taken {
        Ok(held) => Ok(Hold(held)),
        Err(StoreError::Locked { by, .. }) => Err(TransferError::BeingAccepted { place: delivery.shown(), by }),
        // Whoever may not write there is told so once the files are at their place.
        Err(
            StoreError::NoLocks { .. }
            | StoreError::Denied { .. }
            | StoreError::Refused { .. }
            | StoreError::Write { .. }
            | StoreError::Full { .. }
            | StoreError::Fetch { is_temporary: false, .. }
            | StoreError::Send { is_temporary: false, .. },
        ) => Ok(Hold(Held::Open)),
        Err(error) => Err(error.into()),
    }
}

/// Locks a folder itself, so that nothing has to lie in it. Nothing if somebody else has it, or another has its name by now.
///
/// # Errors
/// If it cannot be opened.
pub(crate) fn hold_folder(path: &std::path::Path) -> std::io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let folder = File::open(path)?;
    if matches!(folder.try_lock(), Err(TryLockError::WouldBlock)) {
        return Ok(None);
    }
    let (open, named) = (folder.metadata()?, path.symlink_metadata()?);
    Ok(((open.dev(), open.ino()) == (named.dev(), named.ino())).then_some(folder))
}
