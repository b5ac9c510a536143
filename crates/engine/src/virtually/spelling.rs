//! One file under several spellings of its path: relative, through a link, with `..`.
//!
//! References name files by whole paths. It promises that a file is one file however its path is spelled, and that a dataset
//! which is there keeps the spelling that it has: its author may mean a link to be followed by whoever reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use frazil_model::location::Location;

/// The path of a file as references spell it: from the root on and without `..`; links stay.
pub(super) fn whole(path: &str) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let parts: Vec<Component<'_>> = path.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else { return path };
    let (before, after) = parts.split_at(last + 1);
    // Behind a link `..` leads elsewhere than its letters say.
    match std::fs::canonicalize(before.iter().collect::<PathBuf>()) {
        Ok(folder) => folder.join(after.iter().collect::<PathBuf>()),
        Err(_) => path,
    }
}

/// The path of a file as references spell it, as text.
pub(super) fn whole_text(path: &str) -> Option<String> {
    whole(path).into_os_string().into_string().ok()
}

/// Spells each file as `known` does if it is one of those; one that lies beside such files is spelled as they are.
pub(super) fn respell(files: &mut [(Location, String)], known: &[Location]) {
    let known: BTreeSet<&Path> = known.iter().filter_map(path_of).collect();
    let mut others: Vec<(&mut Location, PathBuf)> = Vec::new();
    let mut given: BTreeSet<PathBuf> = BTreeSet::new();
    for (location, _) in files {
        let Location::File(text) = &*location else { continue };
        let path = whole(text);
        if known.contains(path.as_path()) {
            set(location, &path);
            given.insert(path);
        } else {
            others.push((location, path));
        }
    }
    if others.is_empty() {
        return;
    }
    let unmatched = known.iter().filter(|path| !given.contains(**path));
    let real: BTreeMap<PathBuf, &Path> =
        unmatched.filter_map(|path| Some((path.canonicalize().ok()?, *path))).collect();
    // Beginnings that are spelled otherwise, and how.
    let mut beginnings: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut fresh = Vec::new();
    for (location, path) in others {
        match path.canonicalize().ok().and_then(|is| real.get(&is)) {
            Some(known) => {
                let (ours, theirs) = without_same_end(&path, known);
                beginnings.insert(ours, theirs);
                set(location, known);
            }
            None => fresh.push((location, path)),
        }
    }
    for (location, path) in fresh {
        let alike = beginnings.iter().rev().find_map(|(ours, theirs)| Some(theirs.join(path.strip_prefix(ours).ok()?)));
        let is_same =
            |other: &PathBuf| other.canonicalize().ok().is_some_and(|is| path.canonicalize().ok() == Some(is));
        set(location, &alike.filter(is_same).unwrap_or(path));
    }
}

fn set(location: &mut Location, path: &Path) {
    if let Some(path) = path.to_str() {
        *location = Location::File(path.to_owned());
    }
}

fn path_of(location: &Location) -> Option<&Path> {
    match location {
        Location::File(path) => Some(Path::new(path)),
        Location::Http(_) | Location::Object(_) => None,
    }
}

/// Two paths without the parts at their ends that are the same.
fn without_same_end(a: &Path, b: &Path) -> (PathBuf, PathBuf) {
    let (mut a, mut b) = (a.to_owned(), b.to_owned());
    while a.file_name().is_some() && a.file_name() == b.file_name() {
        a.pop();
        b.pop();
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_spelled_as_the_dataset_spells_them() {
        let folder = std::env::temp_dir().join(format!("frazil-spelling-{}", std::process::id()));
        let folder = {
            std::fs::create_dir_all(folder.join("real/2000")).unwrap();
            folder.canonicalize().unwrap()
        };
        for name in ["a.nc", "b.nc"] {
            std::fs::write(folder.join("real/2000").join(name), b"").unwrap();
        }
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link")).unwrap();
        let at = |path: &str| Location::File(folder.join(path).display().to_string());
        let check = |given: &[&str], known: &str, expected: &[&str]| {
            let mut files: Vec<(Location, String)> = given.iter().map(|path| (at(path), String::new())).collect();
            respell(&mut files, &[at(known)]);
            let expected: Vec<Location> = expected.iter().map(|path| at(path)).collect();
            assert_eq!(files.into_iter().map(|(location, _)| location).collect::<Vec<_>>(), expected);
        };
        check(&["link/2000/a.nc", "link/2000/b.nc"], "real/2000/a.nc", &["real/2000/a.nc", "real/2000/b.nc"]);
        check(&["real/2000/a.nc", "real/2000/b.nc"], "link/2000/a.nc", &["link/2000/a.nc", "link/2000/b.nc"]);
        check(&["link/../real/2000/a.nc"], "real/2000/a.nc", &["real/2000/a.nc"]);
        // Whoever links a year of the archive to another disk keeps that name.
        check(&["real/2000/a.nc", "link/2000/b.nc"], "real/2000/a.nc", &["real/2000/a.nc", "link/2000/b.nc"]);
        frazil_store::folder::remove_tree(&folder).unwrap();
    }
}
