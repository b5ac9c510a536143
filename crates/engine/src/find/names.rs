//! How files are named in messages and in the receipt.
//!
//! Files of this machine are named by their path below a folder, so that a receipt does not depend on where that folder
//! lies; files of web servers by their address without its query. What a recipe finds is named below the folder that the
//! recipe itself names, whichever files are there: a store that grows knows its files by these names. What was typed is
//! named below the folder that all of it shares. No two files of one run share a name.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use frazil_model::{
    location::Location,
    recipe::source::{Source, SourceKind},
};
use frazil_store::address::Address;

use super::place_in;
use crate::find::Found;

/// Signs with which the part of a pattern begins that is looked for.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Names files that were typed.
pub fn name_typed(files: &mut [Found]) {
    let folders = files.iter().filter_map(|file| Some(path_of(&file.location)?.parent()?.to_owned()));
    let folder = shared_folder(folders);
    name_below(files, &folder);
}

/// Names the files of the sources of a recipe whose relative paths lie in `folder`.
pub fn name_found(files: &mut [Found], sources: &[Source], folder: &Path) {
    let folder = shared_folder(sources.iter().flat_map(|source| folders_of(source, folder)));
    name_below(files, &folder);
}

/// Names all files of a run; those of this machine by their path below `folder`.
fn name_below(files: &mut [Found], folder: &Path) {
    let mut n_named: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let name = match (&file.location, path_of(&file.location)) {
            (Location::Http(text), _) => {
                Address::parse(text).map_or_else(|| file.location.to_string(), |address| address.without_query())
            }
            (Location::Object(object), _) => object.to_string(),
            (Location::File(text), None) => text.clone(),
            (Location::File(_), Some(path)) => {
                path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned()
            }
        };
        // Addresses may differ in their query alone, which is not shown.
        let number = n_named.entry(name.clone()).or_default();
        *number += 1;
        file.name = if *number == 1 { name } else { format!("{name}#{number}") };
    }
}

/// The folders that a source names before anything in its paths varies.
fn folders_of(source: &Source, folder: &Path) -> Vec<PathBuf> {
    let above = |text: &str| Some(absolute(&path_at(folder, text)?).parent()?.to_owned());
    let of_start = |start: &str| match start.rfind('/') {
        Some(end) => Some(absolute(&path_at(folder, &start[..=end])?)),
        None => Some(absolute(folder)),
    };
    match &source.kind {
        SourceKind::Url(templates) => templates.iter().filter_map(|template| of_start(&template.start())).collect(),
        SourceKind::Glob(template) => {
            let start = template.start();
            let varies = start.contains(WILDCARDS) || template.keys().next().is_some();
            let whole = if varies { None } else { path_at(folder, &start).map(|path| absolute(&path)) };
            match whole {
                // All files of a folder.
                Some(path) if path.is_dir() => vec![path],
                _ => of_start(start.split(WILDCARDS).next().unwrap_or_default()).into_iter().collect(),
            }
        }
        // A list may grow: what it names from the feedstock on keeps that name.
        SourceKind::List(names) => {
            let of_name = |name: &str| match Path::new(name).is_relative() {
                true => path_at(folder, name).map(|_| absolute(folder)),
                false => above(name),
            };
            names.iter().filter_map(|name| of_name(name)).collect()
        }
        SourceKind::Index(_) => Vec::new(),
    }
}

/// The path on this machine that `start` means in a recipe that lies in `folder`.
fn path_at(folder: &Path, start: &str) -> Option<PathBuf> {
    match place_in(folder, start).ok()? {
        Location::File(path) => Some(PathBuf::from(path)),
        Location::Http(_) | Location::Object(_) => None,
    }
}

/// The whole path of a file of this machine, by its letters alone.
pub(crate) fn path_of(location: &Location) -> Option<PathBuf> {
    match location {
        Location::File(path) => Some(absolute(Path::new(path))),
        Location::Http(_) | Location::Object(_) => None,
    }
}

fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
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

/// The longest folder that all folders lie in, or are.
fn shared_folder(mut folders: impl Iterator<Item = PathBuf>) -> PathBuf {
    let Some(mut shared) = folders.next() else { return PathBuf::new() };
    for folder in folders {
        while !folder.starts_with(&shared) {
            if !shared.pop() {
                return PathBuf::new();
            }
        }
    }
    shared
}
