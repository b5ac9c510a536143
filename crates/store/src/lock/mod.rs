//! Keeping two writers of one store apart.
//!
//! On this machine the lock is the operating system's; in a bucket it is an object that says who is at work. Either dies
//! with its process. Parts of one plan share it.

mod claim;
mod file;
mod holder;

use std::path::Path;

pub(crate) use claim::Claim;

use crate::{bucket::Bucket, error::StoreError, folder::Folder};
use claim::Claimed;
use file::FileLock;

/// Whether some process holds the lock that the file at `path` stands for.
///
/// # Errors
/// If that cannot be told.
pub fn is_held(path: &Path) -> Result<bool, StoreError> {
    file::is_held(path)
}

/// Whether somebody who may still be at work holds the claim at `key` of a bucket.
///
/// # Errors
/// If the server does not say.
pub fn is_claimed(bucket: &Bucket, key: &str) -> Result<bool, StoreError> {
    claim::is_held(bucket, key)
}

/// With whom a lock may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing<'a> {
    /// With nobody.
    Alone,
    /// With those who work on this plan.
    Plan(&'a str),
}

/// A held lock; dropped, it is free again. What stands for it may stay until [`Lock::remove`].
#[derive(Debug)]
pub struct Lock(Held);

#[derive(Debug)]
enum Held {
    File(FileLock),
    Claim(Box<Claimed>),
}

impl Lock {
    /// Takes the lock `key` of a place. In a bucket nothing is written through `folder`, or what was cloned of it, once
    /// the lock is lost.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn take(folder: &Folder, key: &str, sharing: Sharing<'_>) -> Result<Self, StoreError> {
        match (folder.path_of(key)?, folder.remote()) {
            (None, Some(remote)) => {
                Claimed::take(remote, key, sharing).map(|claimed| Self(Held::Claim(Box::new(claimed))))
            }
            (Some(path), _) => FileLock::take(&path, sharing).map(|lock| Self(Held::File(lock))),
            (None, None) => Err(StoreError::NotWritable { location: folder.location() }),
        }
    }

    /// Whether it is still held: a claim that was not renewed in time is renewed now.
    ///
    /// # Errors
    /// [`StoreError::LockLost`] if somebody else has it.
    pub fn assure(&self) -> Result<(), StoreError> {
        match &self.0 {
            Held::File(_) => Ok(()),
            Held::Claim(claimed) => claimed.assure(),
        }
    }

    /// The folder that its file lies in has moved: it is now at `path`.
    #[must_use]
    pub fn moved_to(self, path: &Path) -> Self {
        match self.0 {
            Held::File(lock) => Self(Held::File(lock.moved_to(path))),
            claim @ Held::Claim(_) => Self(claim),
        }
    }

    /// Takes away what stands for it and frees it. While others of the plan hold it, it stays for them.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn remove(self) -> Result<(), StoreError> {
        match self.0 {
            Held::File(lock) => lock.remove(),
            Held::Claim(claimed) => claimed.remove(),
        }
    }
}
