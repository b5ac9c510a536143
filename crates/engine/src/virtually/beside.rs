//! References of Kerchunk on this machine: made beside their place, and put into it in one step.

use std::path::{Path, PathBuf};

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    folder::{Folder, exchange, remove_tree, sync_folder},
};

use crate::{error::EngineError, replace::beside};

/// The folder beside a place in which what is to take it is made; `None` in a bucket, where a put is one step.
pub(super) fn workshop(target: &Location) -> Option<PathBuf> {
    match target {
        Location::File(path) => Some(beside(Path::new(path))),
        Location::Http(_) | Location::Object(_) => None,
    }
}

/// Takes away what an earlier try left there.
pub(super) fn clear(target: &Location) -> Result<(), EngineError> {
    match workshop(target) {
        Some(path) if path.exists() => Ok(remove_tree(&path)?),
        _ => Ok(()),
    }
}

/// Makes the document `name` of what `write` writes, and gives it its place.
pub(super) fn document(
    target: &Location,
    name: &str,
    write: impl FnOnce(&Folder) -> Result<u64, EngineError>,
) -> Result<u64, EngineError> {
    let (Some(workshop), Location::File(path)) = (workshop(target), target) else {
        return write(&Folder::at(target)?.parent().map(|(parent, _)| parent).unwrap_or(Folder::at(target)?));
    };
    clear(target)?;
    let folder = Folder::new(workshop.clone());
    folder.make()?;
    let n_bytes = write(&folder)?;
    let made = workshop.join(name);
    // Its bytes first, then its name.
    let synced = std::fs::File::open(&made).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::writing(&made, 0, error))?;
    sync_folder(&workshop)?;
    rename(&made, Path::new(path))?;
    remove_tree(&workshop)?;
    Ok(n_bytes)
}

/// Makes the folder that `write` fills, and gives it its place.
pub(super) fn folder(
    target: &Location,
    write: impl FnOnce(&Folder) -> Result<u64, EngineError>,
) -> Result<u64, EngineError> {
    let (Some(workshop), Location::File(path)) = (workshop(target), target) else {
        return write(&Folder::at(target)?);
    };
    clear(target)?;
    let folder = Folder::new(workshop.clone());
    folder.make()?;
    let n_bytes = write(&folder)?;
    folder.remove(frazil_store::folder::STAGING)?;
    let path = Path::new(path);
    if path.exists() {
        exchange(&workshop, path)?;
        remove_tree(&workshop)?;
    } else {
        rename(&workshop, path)?;
    }
    Ok(n_bytes)
}

fn rename(from: &Path, to: &Path) -> Result<(), EngineError> {
    std::fs::rename(from, to).map_err(|error| StoreError::writing(to, 0, error))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(sync_folder(parent)?)
}
