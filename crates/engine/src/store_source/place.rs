//! Which places are stores, and how they are spelled so that they are known as such.

use std::path::{Path, PathBuf};

use frazil_model::{location::Location, recipe::write::ZarrFormat, zarr::DOCUMENTS};
use frazil_store::folder::Shelf;

use crate::error::EngineError;

/// Whether a place that somebody named is one of a store: a folder of this machine, or a key or an address that ends
/// with a slash or as stores do.
#[must_use]
pub fn is_store(location: &Location) -> bool {
    let path = match location {
        Location::File(path) => return Path::new(path).is_dir(),
        Location::Http(address) => address.split('?').next().unwrap_or_default(),
        Location::Object(object) => &object.key,
    };
    path.ends_with('/') || path.ends_with(".zarr")
}

/// The place of a store, spelled so that it is known as one.
#[must_use]
pub fn as_store(location: Location) -> Location {
    let slashed = |text: String| if text.ends_with('/') { text } else { text + "/" };
    match location {
        Location::File(_) => location,
        Location::Object(object) => Location::Object(object.with_key(slashed(object.key.clone()))),
        Location::Http(address) => Location::Http(match address.split_once('?') {
            None => slashed(address),
            Some((address, query)) => format!("{}?{query}", slashed(address.to_owned())),
        }),
    }
}

/// Whether there is a store at `location`.
///
/// # Errors
/// If that cannot be looked at.
pub fn is_there(location: &Location) -> Result<bool, EngineError> {
    let root = Shelf::at(location)?;
    for key in DOCUMENTS {
        if root.open(key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A store must not be written into one that is read for it.
///
/// # Errors
/// [`EngineError::IntoItself`] if it would be.
pub fn check_apart(source: &Location, target: &Location) -> Result<(), EngineError> {
    let is_inside = match (source, target) {
        (Location::File(source), Location::File(target)) => {
            is_store(&Location::File(source.clone()))
                && std::fs::canonicalize(source).is_ok_and(|source| real(Path::new(target)).starts_with(source))
        }
        (Location::Object(source), Location::Object(target)) => {
            let folder = format!("{}/", source.key.trim_end_matches('/'));
            let is_same = source.door == target.door && source.bucket == target.bucket;
            is_same && is_store(&Location::Object(source.clone())) && format!("{}/", target.key).starts_with(&folder)
        }
        _ => false,
    };
    let (source, target) = (source.clone(), target.clone());
    if is_inside { Err(EngineError::IntoItself { source_place: source, target }) } else { Ok(()) }
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for parent in full.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(parent), full.strip_prefix(parent)) {
            return real.join(rest);
        }
    }
    full
}

/// Which version of Zarr the store at `location` is of; `None` if it is no store.
///
/// # Errors
/// If that cannot be looked at.
pub fn format_of(location: &Location) -> Result<Option<ZarrFormat>, EngineError> {
    if !is_store(location) {
        return Ok(None);
    }
    let is_v3 = Shelf::at(location)?.open("zarr.json")?.is_some();
    Ok(Some(if is_v3 { ZarrFormat::V3 } else { ZarrFormat::V2 }))
}
