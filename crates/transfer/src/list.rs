//! What is at a place, line by line: buckets, folders, stores, files.
//!
//! A Zarr store is one line, as is a repository of Icechunk. It promises that a listing that failed is an error and never looks like an empty place, and
//! that a listing of all keys needs no more room than a page of them.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use frazil_model::location::{Door, Location};
use frazil_store::{
    StoreError,
    bucket::{self, Bucket, Depth},
    profile,
};
use serde_json::Value;

use crate::{
    atoms::REPOSITORY,
    error::TransferError,
    place::{Place, Written, joined},
    walk::{Found, is_meant_as_pattern, trees},
};

/// Folders that are looked into at a time.
const LOOKED_INTO_AT_A_TIME: usize = 16;

/// Folders that are looked into, to see whether they are stores; more are shown as folders.
const MOST_LOOKED_INTO: usize = 2000;

/// The metadata of a store may be so large.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// Names in a folder that tell whether it is a store, with a slash behind those of folders.
const TELLING: [&str; 7] = ["zarr.json", ".zmetadata", ".zgroup", ".zarray", REPOSITORY, "snapshots/", "refs/"];

/// Branches and tags of a repository on this machine that are looked at.
const MOST_NAMES: usize = 1000;

/// Variables that are named.
const MOST_NAMED: usize = 8;

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A bucket.
    Bucket,
    /// A folder.
    Folder,
    /// A Zarr store, by its version, with its variables.
    Store {
        /// 2 or 3.
        version: u8,
        /// Names of its arrays.
        variables: Vec<String>,
    },
    /// A repository of Icechunk, by the version of its format.
    Repository {
        /// 1 or 2.
        version: u8,
    },
    /// A file or an object.
    File,
    /// A link, a pipe, a device.
    Other,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name below the place that was listed.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its size, where that is known.
    pub size_bytes: Option<u64>,
    /// When it was written, in seconds since 1970.
    pub modified_seconds: Option<u64>,
}

impl Line {
    fn folder(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::Folder, size_bytes: None, modified_seconds: None }
    }

    fn file(found: &Found) -> Self {
        Self {
            name: found.name.to_string(),
            kind: Kind::File,
            size_bytes: Some(found.size_bytes),
            modified_seconds: found.modified_seconds,
        }
    }

    /// The names of some variables, in words.
    #[must_use]
    pub fn variables(&self) -> String {
        let Kind::Store { variables, .. } = &self.kind else { return String::new() };
        let mut text = variables.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(" ");
        if variables.len() > MOST_NAMED {
            text.push_str(&format!(" … ({} in all)", variables.len()));
        }
        text
    }
}

/// Says each line of what is at a place, one level deep.
///
/// # Errors
/// If nothing is there, or it cannot be listed.
pub fn list(text: &str) -> Result<Vec<Line>, TransferError> {
    if let Some(door) = door_alone(text) {
        let line = |name| Line { name, kind: Kind::Bucket, size_bytes: None, modified_seconds: None };
        return Ok(bucket::buckets(&door)?.into_iter().map(line).collect());
    }
    let written = Written::read(text)?;
    let (place, mut lines) = match &written.place {
        Place::Local(path) if path.is_dir() => (written.place.clone(), of_folder(path)?),
        Place::Bucket { bucket, key } if !is_meant_as_pattern(&written)? => match of_prefix(bucket, key, &written)? {
            Some(lines) => (written.place.clone(), lines),
            None => return Ok(vec![single(&written)?]),
        },
        _ => return of_trees(&written),
    };
    look_into(&place, &mut lines);
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lines)
}

/// Says every file below a place, as the listing goes on.
///
/// # Errors
/// If nothing is there, or it cannot be listed to its end.
pub fn list_all(text: &str, mut say: impl FnMut(Line) -> Result<(), TransferError>) -> Result<(), TransferError> {
    let written = Written::read(text)?;
    let Place::Bucket { bucket, key } = &written.place else {
        for tree in trees(&written)? {
            for found in &tree.found {
                let name = if found.name.is_empty() { tree.place.base_name() } else { found.name.to_string() };
                say(Line { name, ..Line::file(found) })?;
            }
        }
        return Ok(());
    };
    if frazil_model::pattern::is_pattern(key)
        || (!written.ends_with_slash && !key.is_empty() && bucket.about(key)?.is_some())
    {
        for tree in trees(&written)? {
            for found in &tree.found {
                say(Line { name: joined(&tree.place.base_name(), &found.name), ..Line::file(found) })?;
            }
        }
        return Ok(());
    }
    let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
    let mut is_empty = true;
    for page in bucket.pages(&prefix, Depth::All) {
        for listed in page?.objects {
            is_empty = false;
            let name = listed.key.get(prefix.len()..).unwrap_or_default().to_owned();
            say(Line {
                name,
                kind: Kind::File,
                size_bytes: Some(listed.size_bytes),
                modified_seconds: listed.modified_seconds,
            })?;
        }
    }
    // An empty bucket is there; an empty folder of one is not.
    match is_empty && !key.is_empty() {
        true => Err(TransferError::Nothing { place: text.to_owned() }),
        false => Ok(()),
    }
}

/// `s3://`, `gs://`, `az://` or `NAME:`, where no bucket is named.
fn door_alone(text: &str) -> Option<Door> {
    match text {
        "s3://" => Some(Door::S3),
        "gs://" => Some(Door::Google),
        "az://" => Some(Door::Azure),
        _ => {
            let name = text.strip_suffix(':').filter(|name| !name.is_empty() && !name.contains('/'))?;
            let known = profile::known(&profile::Surroundings::of_process());
            let profile = known.named(name)?;
            profile.below.is_none().then(|| Door::Named(name.to_owned()))
        }
    }
}

fn of_folder(path: &std::path::Path) -> Result<Vec<Line>, TransferError> {
    let failed = |error| StoreError::reading(&Location::File(path.display().to_string()), error);
    let mut lines = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(about) = entry.metadata() else { continue };
        let kind = about.file_type();
        lines.push(if kind.is_dir() {
            Line::folder(&name)
        } else if kind.is_file() {
            Line::file(&Found::of_file(&name, &about))
        } else {
            Line { name, kind: Kind::Other, size_bytes: None, modified_seconds: None }
        });
    }
    Ok(lines)
}

/// One level of a bucket; `None` if the key is that of an object.
fn of_prefix(bucket: &Bucket, key: &str, written: &Written) -> Result<Option<Vec<Line>>, TransferError> {
    let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
    let (mut lines, mut folders, mut is_marked) = (Vec::new(), BTreeSet::new(), false);
    for page in bucket.pages(&prefix, Depth::One) {
        let page = page?;
        for listed in page.objects {
            let name = listed.key.get(prefix.len()..).unwrap_or_default().to_owned();
            // The mark that some programs leave where a folder begins.
            is_marked |= name.is_empty();
            if !name.is_empty() || listed.size_bytes > 0 {
                lines.push(Line {
                    name,
                    kind: Kind::File,
                    size_bytes: Some(listed.size_bytes),
                    modified_seconds: listed.modified_seconds,
                });
            }
        }
        folders.extend(page.folders.iter().filter_map(|folder| Some(folder.get(prefix.len()..)?.to_owned())));
    }
    // A folder may have no name, where a key begins with a slash.
    let name = |folder: &String| folder.strip_suffix('/').filter(|name| !name.is_empty()).unwrap_or("/").to_owned();
    lines.extend(folders.iter().map(|folder| Line::folder(&name(folder))));
    match lines.is_empty() && !key.is_empty() {
        true if written.ends_with_slash && is_marked => Ok(Some(lines)),
        true if written.ends_with_slash => Err(TransferError::Nothing { place: written.text.clone() }),
        true => Ok(None),
        false => Ok(Some(lines)),
    }
}

/// The object that a key is.
fn single(written: &Written) -> Result<Line, TransferError> {
    let mut lines = of_trees(written)?;
    lines.pop().ok_or_else(|| TransferError::Nothing { place: written.text.clone() })
}

/// What single files and patterns name: each file or folder is a line.
fn of_trees(written: &Written) -> Result<Vec<Line>, TransferError> {
    let mut lines = Vec::new();
    for tree in trees(written)? {
        let name = tree.place.base_name();
        let line = match tree.found.first().filter(|_| tree.is_file) {
            Some(found) => Line { name, ..Line::file(found) },
            None => Line { size_bytes: Some(tree.n_bytes()), ..Line::folder(&name) },
        };
        lines.push(line);
    }
    Ok(lines)
}

/// Looks which folders are stores.
fn look_into(place: &Place, lines: &mut [Line]) {
    let mut folders: Vec<&mut Line> = lines.iter_mut().filter(|line| line.kind == Kind::Folder).collect();
    folders.truncate(MOST_LOOKED_INTO);
    let n_folders = folders.len();
    let (next, folders) = (AtomicUsize::new(0), Mutex::new(folders));
    std::thread::scope(|scope| {
        for _ in 0..LOOKED_INTO_AT_A_TIME.min(n_folders) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let held = || folders.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(name) = held().get(at).map(|line| line.name.clone()) else { return };
                    // A folder that cannot be looked into is shown as a folder.
                    if let Some((kind, size_bytes)) = look(&place.below(&name))
                        && let Some(line) = held().get_mut(at)
                    {
                        (line.kind, line.size_bytes) = (kind, size_bytes);
                    }
                }
            });
        }
    });
}

/// What kind of store a folder is, and its size if it has an inventory; `None` if it is none.
fn look(folder: &Place) -> Option<(Kind, Option<u64>)> {
    let names = match folder {
        // A folder may hold a million names.
        Place::Local(path) => {
            let is_there = |name: &&str| match name.strip_suffix('/') {
                Some(folder) => path.join(folder).is_dir(),
                None => path.join(name).is_file(),
            };
            TELLING.into_iter().filter(is_there).map(str::to_owned).collect()
        }
        _ => level(folder)?,
    };
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let Some(mark) = ["zarr.json", ".zmetadata", ".zgroup", ".zarray"].into_iter().find(|mark| has(mark)) else {
        // The names of branches and tags lie one level deeper.
        let refs = if has("refs/") { level(&folder.below("refs")).unwrap_or_default() } else { Vec::new() };
        return version_of_repository(&names, &refs).map(|version| (Kind::Repository { version }, None));
    };
    let document: Value = serde_json::from_slice(&small(&folder.below(mark))?).unwrap_or_default();
    let variables = variables(&document);
    let version = if mark == "zarr.json" { 3 } else { 2 };
    let inventory = small(&folder.below(".frazil/inventory.tsv"));
    let size_bytes = inventory.and_then(|text| size_of_inventory(&String::from_utf8(text).ok()?));
    Some((Kind::Store { version, variables }, size_bytes))
}

/// Names in a folder, with a slash behind those of folders; of many only the first.
fn level(folder: &Place) -> Option<Vec<String>> {
    match folder {
        Place::Local(path) => {
            let entries = fs::read_dir(path).ok()?.take(MOST_NAMES).filter_map(Result::ok);
            let name = |entry: fs::DirEntry| {
                let name = entry.file_name().into_string().ok()?;
                Some(if entry.path().is_dir() { name + "/" } else { name })
            };
            Some(entries.filter_map(name).collect())
        }
        Place::Bucket { bucket, key } => {
            let prefix = format!("{key}/");
            let page = bucket.pages(&prefix, Depth::One).next()?.ok()?;
            let objects = page.objects.iter().map(|listed| &listed.key);
            Some(objects.chain(&page.folders).filter_map(|key| Some(key.get(prefix.len()..)?.to_owned())).collect())
        }
        Place::Web(_) => None,
    }
}

/// The version of the format of a repository of Icechunk, by the names in its folder and those in its `refs`.
fn version_of_repository(names: &[String], refs: &[String]) -> Option<u8> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let is_ref = |name: &String| name.ends_with('/') && (name.starts_with("branch.") || name.starts_with("tag."));
    match has("snapshots/") {
        true if has(REPOSITORY) => Some(2),
        true if refs.iter().any(is_ref) => Some(1),
        _ => None,
    }
}

fn small(place: &Place) -> Option<Vec<u8>> {
    match place {
        Place::Local(path) => {
            let is_small = path.metadata().ok()?.len() <= MAX_METADATA_BYTES;
            is_small.then(|| fs::read(path).ok())?
        }
        Place::Bucket { bucket, key } => bucket.text(key, MAX_METADATA_BYTES).ok()?.map(String::into_bytes),
        Place::Web(_) => None,
    }
}

/// The arrays that the consolidated metadata of a store names.
fn variables(document: &Value) -> Vec<String> {
    let v3 = document.pointer("/consolidated_metadata/metadata").and_then(Value::as_object);
    let v2 = document.get("metadata").and_then(Value::as_object);
    let mut names: Vec<String> = match (v3, v2) {
        (Some(nodes), _) => {
            let is_array = |node: &Value| node.get("node_type").and_then(Value::as_str) == Some("array");
            nodes.iter().filter(|(_, node)| is_array(node)).map(|(name, _)| name.clone()).collect()
        }
        (None, Some(nodes)) => nodes.keys().filter_map(|key| Some(key.strip_suffix("/.zarray")?.to_owned())).collect(),
        (None, None) => Vec::new(),
    };
    names.sort_unstable();
    names
}

fn size_of_inventory(text: &str) -> Option<u64> {
    text.lines().try_fold(0_u64, |sum, line| sum.checked_add(line.split('\t').nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_shows_itself_by_its_branches_or_by_one_file() {
        let version = |names: &[&str], refs: &[&str]| {
            let owned = |some: &[&str]| some.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            version_of_repository(&owned(names), &owned(refs))
        };
        assert_eq!(version(&["refs/", "snapshots/"], &["branch.main/"]), Some(1));
        assert_eq!(version(&["refs/", "snapshots/"], &["tag.v1/"]), Some(1));
        assert_eq!(version(&["repo", "snapshots/"], &[]), Some(2));
        for (names, refs) in [
            (&["refs/", "snapshots/"], &["heads/"]),
            (&["refs/", "chunks/"], &["branch.main/"]),
            (&["repo/", "snapshots/"], &["branch.main"]),
        ] {
            assert_eq!(version(names, refs), None, "{names:?} {refs:?}");
        }
    }

    #[test]
    fn a_store_says_its_variables_in_both_formats() {
        let v3 = serde_json::json!({"consolidated_metadata": {"metadata": {
            "sst": {"node_type": "array"}, "deep": {"node_type": "group"}, "deep/x": {"node_type": "array"}}}});
        assert_eq!(variables(&v3), ["deep/x", "sst"]);
        let v2 = serde_json::json!({"metadata": {".zgroup": {}, "sst/.zarray": {}, "sst/.zattrs": {}}});
        assert_eq!(variables(&v2), ["sst"]);
        assert_eq!(size_of_inventory("a\t3\tx\nb\t4\ty\n"), Some(7));
    }
}
