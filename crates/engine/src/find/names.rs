//! How files are named in messages and in the receipt.
//!
//! Files of this machine are named by their path below the folder that all of them share, so that a receipt does not
//! depend on where that folder lies; files of web servers by their address without its query. No two files of one run
//! share a name.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use frazil_model::location::Location;
use frazil_store::address::Address;

use crate::find::Found;

/// Names all files of a run.
pub fn name_all(files: &mut [Found]) {
    let paths: Vec<Option<PathBuf>> = files
        .iter()
        .map(|file| match &file.location {
            Location::File(path) => Some(plain(&std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)))),
            Location::Http(_) | Location::Object(_) => None,
        })
        .collect();
    let folder = shared_folder(paths.iter().flatten().map(PathBuf::as_path));
    let mut n_named: BTreeMap<String, usize> = BTreeMap::new();
    for (file, path) in files.iter_mut().zip(&paths) {
        let name = match (&file.location, path) {
            (Location::Http(text), _) => {
                Address::parse(text).map_or_else(|| file.location.to_string(), |address| address.without_query())
            }
            (Location::Object(object), _) => object.to_string(),
            (Location::File(text), None) => text.clone(),
            (Location::File(_), Some(path)) => {
                path.strip_prefix(&folder).unwrap_or(path).to_string_lossy().into_owned()
            }
        };
        // Addresses may differ in their query alone, which is not shown.
        let number = n_named.entry(name.clone()).or_default();
        *number += 1;
        file.name = if *number == 1 { name } else { format!("{name}#{number}") };
    }
}

/// A path without `.` and `..`, by its letters alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The longest folder that all paths lie in.
fn shared_folder<'a>(mut paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let Some(mut shared) = paths.next().and_then(Path::parent) else { return PathBuf::new() };
    for path in paths {
        while !path.starts_with(shared) || path == shared {
            let Some(folder) = shared.parent() else { return PathBuf::new() };
            shared = folder;
        }
    }
    shared.to_owned()
}
