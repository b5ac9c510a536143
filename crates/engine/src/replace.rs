//! A new store in the place of an old one.
//!
//! On this machine the new one is made beside the old one; then the two change places, and the old one is removed: the
//! old store stays as it was until the new one is whole. In a bucket nothing can change places, so there the old one is
//! taken away, what shows it first, and the new one made where it was. It promises that nothing but a Zarr store or
//! frazil's own unfinished work is ever removed, and that no reader finds half a store.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use frazil_model::{location::Location, recipe::write::ZarrFormat};
use frazil_store::{
    StoreError,
    folder::{Folder, STAGING, exchange, remove_tree},
    lock::{Lock, Sharing},
};

use crate::{
    error::EngineError,
    prepare::{Prepared, Request},
    progress::Progress,
    publish::{LOCK, Outcome, PLAN, SavedPlan, create, lock, store_of, sweep, tidy, write},
    receipt::Receipt,
    revise,
    sinks::zarr::root_key,
    standing::{Standing, foreign, is_some_store, n_damaged, standing, stray},
    unchanged,
    verify::Amount,
};

/// Writes a store in the place of whatever store is there.
///
/// # Errors
/// As for [`create`]; the old store stays as it was until the new one is whole.
pub fn replace(
    request: &Request,
    prepared: &Prepared,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Outcome, EngineError> {
    let request = &on_the_ground(request)?;
    let folder = Folder::at(&request.target)?;
    let found = standing(&folder)?;
    match &found {
        Standing::Published(receipt)
            if revise::unfinished(&folder, receipt)?.is_none() && is_this(&folder, prepared, receipt)? =>
        {
            sweep(&folder)?;
            return Ok(Outcome::AlreadyThere);
        }
        Standing::Nothing => return create(request, prepared, progress, stop),
        Standing::Unfinished { plan } if *plan == prepared.hash => return create(request, prepared, progress, stop),
        Standing::Unfinished { .. } => {
            discard_work(&folder)?;
            return create(request, prepared, progress, stop);
        }
        Standing::Published(_) | Standing::Foreign { .. } => {}
    }
    check_replaceable(request)?;
    let held = lock(&folder, Sharing::Alone)?;
    let Some(root) = folder.path() else {
        replace_in_bucket(request, prepared, &folder, progress, stop)?;
        tidy(&folder, held)?;
        return Ok(Outcome::Written);
    };
    match make_beside(root, request, prepared, progress, stop) {
        Ok(beside) => {
            exchange(&beside, root)?;
            let held = held.moved_to(&beside.join(LOCK));
            remove_old(&beside, held)?;
            Ok(Outcome::Written)
        }
        Err(error) => {
            // The old store is left as it was found, if that can still be done.
            let _ = held.remove();
            let _ = std::fs::remove_dir(root.join(".frazil"));
            Err(error)
        }
    }
}

/// Whether what is at the place of a store may be removed for another one.
///
/// # Errors
/// [`EngineError::NotAStore`] if anything of it is not of a store.
pub fn check_replaceable(request: &Request) -> Result<(), EngineError> {
    let request = &on_the_ground(request)?;
    let folder = Folder::at(&request.target)?;
    let found = standing(&folder)?;
    if let Standing::Foreign { what } = &found
        && !is_some_store(what)
    {
        return Err(foreign(&folder, what));
    }
    check_no_source_inside(request, &folder)?;
    match stray(&folder, &found)? {
        Some(stray) => {
            let what = format!("`{stray}` in it does not belong to a Zarr store");
            Err(EngineError::NotAStore { place: request.target.clone(), what })
        }
        None => Ok(()),
    }
}

/// The request with its target's links followed: what changes places must be the store, not a link to it.
fn on_the_ground(request: &Request) -> Result<Request, EngineError> {
    let mut request = request.clone();
    let Location::File(target) = &request.target else { return Ok(request) };
    match std::fs::canonicalize(target) {
        Ok(path) => request.target = Location::File(path.to_string_lossy().into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::writing(Path::new(target), 0, error).into()),
    }
    Ok(request)
}

/// Where the new store is made while the old one is still there.
pub(crate) fn beside(target: &Path) -> PathBuf {
    let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".frazil-new");
    target.with_file_name(name)
}

/// Whether a finished store is the one that the plan makes, of the same bytes, and none of its objects is damaged.
fn is_this(folder: &Folder, prepared: &Prepared, receipt: &Receipt) -> Result<bool, EngineError> {
    Ok(receipt.plan == prepared.hash && !unchanged::differs(prepared, receipt)? && n_damaged(folder, Amount::All)? == 0)
}

/// Whether the folder beside a store is what an earlier replacement left there: only ours has a place for work in it,
/// until at the very end it has nothing.
pub(crate) fn is_ours_beside(beside: &Path) -> bool {
    let is_empty = || std::fs::read_dir(beside).is_ok_and(|mut entries| entries.next().is_none());
    beside.join(".frazil").is_dir() || is_empty()
}

/// Replacing a store by one that is made of files in it would remove those files.
fn check_no_source_inside(request: &Request, folder: &Folder) -> Result<(), EngineError> {
    match request.sources.iter().find(|(location, _)| folder.holds(location)) {
        Some((location, _)) => {
            let what = format!("the source {location} lies in it");
            Err(EngineError::NotAStore { place: request.target.clone(), what })
        }
        None => Ok(()),
    }
}

/// Makes the new store where the old one is; whoever calls holds its lock.
///
/// First the plan is put that says so: whoever meets it later, when half of the old store is gone, knows that the rest is
/// to go, too.
fn replace_in_bucket(
    request: &Request,
    prepared: &Prepared,
    folder: &Folder,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    // What cannot be put into words must be known before anything is taken away.
    store_of(request, prepared).documents()?;
    let saved = SavedPlan { replaces: true, ..SavedPlan::of(prepared) };
    folder.put(PLAN, saved.to_text()?.as_bytes())?;
    write(request, prepared, folder, progress, stop)
}

/// Makes the new store; what is left of an earlier try is used if it is of this plan and of these bytes.
fn make_beside(
    root: &Path,
    request: &Request,
    prepared: &Prepared,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<PathBuf, EngineError> {
    let root = beside(root);
    let folder = Folder::new(root.clone());
    if root.symlink_metadata().is_ok() && !is_ours_beside(&root) {
        let what = "it stands where the new store is made, and is none of frazil's".to_owned();
        return Err(EngineError::NotAStore { place: folder.location(), what });
    }
    let lock = lock(&folder, Sharing::Alone)?;
    let is_whole = match standing(&folder)? {
        Standing::Published(receipt) => is_this(&folder, prepared, &receipt)?,
        _ => false,
    };
    if !is_whole {
        if !matches!(standing(&folder)?, Standing::Unfinished { plan } if plan == prepared.hash) {
            clear(&folder)?;
        }
        write(request, prepared, &folder, progress, stop)?;
    }
    tidy(&folder, lock)?;
    Ok(root)
}

/// Discards the unfinished work of another plan.
fn discard_work(folder: &Folder) -> Result<(), EngineError> {
    let lock = lock(folder, Sharing::Alone)?;
    // Its owner may have finished it between the look and the lock.
    if let Standing::Unfinished { .. } = standing(folder)? {
        clear(folder)?;
    }
    Ok(lock.remove()?)
}

/// Removes all that is in a folder but its lock. The plan goes last but one, so that the rest is known as ours for as
/// long as any of it is there.
fn clear(folder: &Folder) -> Result<(), EngineError> {
    let Some(root) = folder.path() else {
        clear_bucket(folder)?;
        return Ok(folder.remove_all(&[PLAN])?);
    };
    for path in entries(root)?.iter().filter(|path| !path.ends_with(".frazil")) {
        remove_tree(path)?;
    }
    let ours = entries(&root.join(".frazil"))?;
    let is_plan = |path: &&PathBuf| path.ends_with("plan.json");
    let rest = ours.iter().filter(|path| !path.ends_with("lock"));
    for path in rest.clone().filter(|path| !is_plan(path)).chain(rest.filter(is_plan)) {
        remove_tree(path)?;
    }
    Ok(())
}

/// Removes all that lies below a place in a bucket but its lock and its plan; what shows a store goes first.
pub(crate) fn clear_bucket(folder: &Folder) -> Result<(), EngineError> {
    folder.remove(STAGING)?;
    let keys = folder.keys()?;
    let shows = |key: &&str| [root_key(ZarrFormat::V3), ".zmetadata", root_key(ZarrFormat::V2)].contains(key);
    let keys = || keys.iter().map(String::as_str);
    folder.remove_all(&keys().filter(shows).collect::<Vec<_>>())?;
    let rest = keys().filter(|key| !shows(key) && ![PLAN, LOCK].contains(key));
    Ok(folder.remove_all(&rest.collect::<Vec<_>>())?)
}

/// Removes the old store. Its lock goes last, so that nobody makes another one in its place meanwhile.
fn remove_old(old: &Path, lock: Lock) -> Result<(), EngineError> {
    clear(&Folder::new(old.to_owned()))?;
    lock.remove()?;
    for path in [old.join(".frazil"), old.to_owned()] {
        match std::fs::remove_dir(&path) {
            // Somebody has begun the next replacement.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty) => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::writing(&path, 0, error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let failed = |error| StoreError::writing(folder, 0, error);
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        // Another process that found the old store beside the new one took it away meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        found.push(entry.map_err(failed)?.path());
    }
    Ok(found)
}
