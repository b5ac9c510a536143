//! Folders in which a delivery was arriving when its `accept` was killed.
//!
//! All that is in one is in the inbox still: nothing goes from there before the folder has its place. It promises that a
//! folder goes only as one thing, while nobody puts files into it, once everything in it is old.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::atomic::AtomicBool};

use frazil_model::location::Location;
use frazil_store::StoreError;

use super::{CHANGED, MAX_DEPTH, Stray, What, entries};
use crate::{
    delivery::hold_folder,
    error::TransferError,
    place::{Place, Written},
    progress::Progress,
    remove,
    run::Watch,
    walk::tree,
};

/// What one is, with everything in it.
pub(super) fn look(path: &Path, name: String) -> Result<Stray, TransferError> {
    let failed = |error| StoreError::reading(&Location::File(path.display().to_string()), error);
    let about = path.symlink_metadata().map_err(failed)?;
    let (mut size_bytes, mut youngest) = (0, about.ctime());
    sum(path, 0, &mut size_bytes, &mut youngest)?;
    Ok(Stray { name, what: What::Arriving, size_bytes, written_seconds: u64::try_from(youngest).ok() })
}

fn sum(folder: &Path, depth: usize, size_bytes: &mut u64, youngest: &mut i64) -> Result<(), TransferError> {
    if depth >= MAX_DEPTH {
        let reason = format!("`{}` lies more than {MAX_DEPTH} folders deep", folder.display());
        return Err(TransferError::Uncountable { reason });
    }
    for (name, about) in entries(folder)? {
        // Files have the dates of those that were sent; when they came here tells the last change of any kind.
        *youngest = about.ctime().max(*youngest);
        if about.is_dir() {
            sum(&folder.join(name), depth + 1, size_bytes, youngest)?;
        } else {
            *size_bytes = size_bytes.saturating_add(about.len());
        }
    }
    Ok(())
}

/// Whether somebody puts files into one.
pub(super) fn is_held(path: &Path) -> bool {
    hold_folder(path).is_ok_and(|held| held.is_none())
}

/// Removes one that is as it was, with nobody at work in it. It is no error if it is gone.
pub(super) fn remove(path: &Path, then: &Stray, before: u64) -> Result<(), String> {
    let failed = |error: TransferError| error.to_string();
    let _held = match hold_folder(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(None) => return Err(CHANGED.to_owned()),
        Ok(held) => held,
    };
    let now = look(path, then.name.clone()).map_err(failed)?;
    if now.size_bytes != then.size_bytes || now.written_seconds.is_none_or(|written| written >= before) {
        return Err(CHANGED.to_owned());
    }
    let place = Place::Local(path.to_owned());
    let found = match tree(&Written { text: place.shown(), place, ends_with_slash: true }) {
        Err(TransferError::Nothing { .. }) => return fs::remove_dir(path).map_err(|error| error.to_string()),
        found => found.map_err(failed)?,
    };
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let left = remove::one(&found, Watch { progress: &progress, stop: &stop }).map_err(failed)?;
    left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error.to_string()))
}
