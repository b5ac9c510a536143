//! Whether two places are one under two names, or one lies in the other.
//!
//! Buckets have many names: of servers, of remotes, of folders where they are mounted; and folders have as many. Whoever
//! deletes at one place because the same is at another asks here first. A mark is put at the one and looked for at the
//! other; it is gone afterwards.
//!
//! It promises that none of the files that go is one of those for whose sake they go, as long as the folders below each
//! place are that place's own: nothing is mounted in them.

use std::{
    collections::BTreeSet,
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use frazil_store::{StoreError, beneath::Beneath, bucket::When};

use crate::{
    atoms::ancestors,
    error::TransferError,
    place::{Place, Written},
    walk::tree,
};

/// What the name of a mark begins with.
pub(crate) const MARK: &str = ".frazil-mark-";

/// Whether a name is that of a mark that a run which was killed left.
pub(crate) fn is_mark(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|base| base.starts_with(MARK))
}

static N_MARKS: AtomicU64 = AtomicU64::new(0);

/// Refuses two folders that are one.
///
/// # Errors
/// [`TransferError::Within`] if they are, or why nobody can tell.
pub fn are_two(a: &Place, b: &Place) -> Result<(), TransferError> {
    apart_if(a, b, |mark| Ok(is_there(a, mark)?))
}

/// Refuses two folders of which files of the one are files of the other: of all that have `names` at both places, those of
/// `source` may go then without one of `dest` going with them.
///
/// # Errors
/// [`TransferError::Within`] if so, or why nobody can tell.
pub fn share_nothing<'a>(
    source: &Place,
    dest: &Place,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), TransferError> {
    // The new place is the old one, or lies in it, whatever the names of the folders between.
    apart_if(source, dest, |mark| lies_below(source, mark))?;
    // The old place lies in the new one. A file is one of another name there only by a folder that both names tell.
    let between = between(names);
    if between.is_empty() {
        return Ok(());
    }
    apart_if(dest, source, |mark| {
        for folder in &between {
            if is_there(&dest.below(folder), mark)? {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .map_err(|error| match error {
        TransferError::Within { .. } => TransferError::Within { source_place: source.shown(), dest: dest.shown() },
        error => error,
    })
}

/// The folders by which one of the names becomes another: `sub` if there are `sub/a` and `a`.
fn between<'a>(names: impl Iterator<Item = &'a str> + Clone) -> BTreeSet<&'a str> {
    let all: BTreeSet<&str> = names.clone().collect();
    let folders = names.flat_map(|name| {
        let above = ancestors(name).skip(1).filter(|folder| !folder.is_empty());
        above.map(move |folder| (folder, name.get(folder.len() + 1..).unwrap_or_default()))
    });
    folders.filter(|(_, rest)| all.contains(rest)).map(|(folder, _)| folder).collect()
}

/// Puts a mark at `b`; `a` is another place unless the mark `is_seen` from there.
fn apart_if(
    a: &Place,
    b: &Place,
    is_seen: impl FnOnce(&str) -> Result<bool, TransferError>,
) -> Result<(), TransferError> {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mark = format!("{MARK}{}-{nanoseconds}-{}", process::id(), N_MARKS.fetch_add(1, Ordering::Relaxed));
    put(b, &mark)?;
    let is_seen = is_seen(&mark);
    match take(b, &mark) {
        // Whoever may only put there leaves it; `gc` knows it.
        Err(TransferError::Store(StoreError::Denied { .. })) => {}
        taken => taken?,
    }
    match is_seen? {
        true => Err(TransferError::Within { source_place: a.shown(), dest: b.shown() }),
        false => Ok(()),
    }
}

/// Whether a mark is in a folder or anywhere below it.
fn lies_below(place: &Place, mark: &str) -> Result<bool, TransferError> {
    let written = Written { text: place.shown(), place: place.clone(), ends_with_slash: true };
    let found = match tree(&written) {
        Err(TransferError::Nothing { .. }) => return Ok(false),
        found => found?.found,
    };
    Ok(found.iter().any(|found| found.name.rsplit('/').next() == Some(mark)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_another_by_the_folder_between_them() {
        for (names, expected) in [
            (&["a", "b/c"][..], &[][..]),
            (&["a", "sub/a"], &["sub"]),
            (&["a", "sub/a", "sub/sub/a"], &["sub", "sub/sub"]),
            (&["zarr.json", "g/zarr.json", "g/h/zarr.json", "x/y"], &["g", "g/h"]),
            (&["suba", "sub/b"], &[]),
        ] {
            let found: Vec<&str> = between(names.iter().copied()).into_iter().collect();
            assert_eq!(found, expected, "{names:?}");
        }
    }
}
