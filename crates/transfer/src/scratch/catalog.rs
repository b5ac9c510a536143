//! Catalogs: texts that name stores which somebody relies on.
//!
//! It promises to be generous: a mistake keeps something that could have gone, and never the other way. So it does not ask
//! what of a text is an address; it looks for the names of the stores in it, in all the ways in which texts write them. A
//! catalog of which anything cannot be read is an error.

mod forms;
mod search;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    atoms::{ancestors, root_of_document},
    error::TransferError,
    place::{Place, Written, joined},
    walk::{Found, Tree, tree},
};

use search::Kind;
use text::{Content, MAX_TEXT_BYTES, content_of};

/// Stores and groups in stores.
const MOST_WITHIN: usize = 1_000_000;

/// All texts of all catalogs, in memory at once.
const MAX_ALL_BYTES: usize = 1 << 30;

/// The texts of some catalogs.
#[derive(Debug, Default)]
pub struct Named {
    /// Each with where it lies.
    texts: Vec<(String, String)>,
}

impl Named {
    /// Reads catalogs: a text, or a folder of them, in which every file counts.
    ///
    /// # Errors
    /// If one is not there or cannot be read, or a folder holds none.
    pub fn read(catalogs: &[String]) -> Result<Self, TransferError> {
        let mut named = Self::default();
        for text in catalogs {
            let written = Written::read(text)?;
            let tree = tree(&written)?;
            let wrong = |reason: String| TransferError::NoCatalog { place: text.clone(), reason };
            let passed_over = tree.passed_over.iter().find(|(name, _)| !is_of_git(name));
            if let Some((name, why)) = passed_over {
                return Err(wrong(format!("`{name}` in it is not read, {why}; name what it leads to, or take it out")));
            }
            let mut n_texts = 0_usize;
            for found in tree.found.iter().filter(|found| tree.is_file || !is_of_git(&found.name)) {
                let place = if tree.is_file { tree.place.clone() } else { tree.place.below(&found.name) };
                let content = match content(&tree, &place, found)? {
                    Content::Text(content) => content,
                    Content::Picture if tree.is_file => return Err(wrong("it is a picture".into())),
                    Content::Picture => continue,
                };
                // Whoever was killed while it was written leaves it so: what it names is not known.
                if content.trim().is_empty() {
                    let which = if tree.is_file { "it".to_owned() } else { format!("`{}` in it", found.name) };
                    return Err(wrong(format!("there is nothing in {which}")));
                }
                n_texts += 1;
                named.texts.push((place.shown(), content));
                if named.texts.iter().map(|(_, text)| text.len()).fold(0, usize::saturating_add) > MAX_ALL_BYTES {
                    return Err(wrong(format!("all catalogs have more than {MAX_ALL_BYTES} bytes")));
                }
            }
            if n_texts == 0 {
                return Err(wrong("no text lies there".into()));
            }
        }
        Ok(named)
    }

    /// For each of the stores, by their names below a place, which text names it, if one does: it, something in it, or a folder
    /// above it.
    ///
    /// # Errors
    /// If there are too many names.
    pub fn find(&self, place: &Place, stores: &[&str]) -> Result<Vec<Option<String>>, TransferError> {
        let stores: Vec<(&str, Kind)> = stores.iter().map(|store| (*store, Kind::Store)).collect();
        search::find(&self.texts, place, &stores)
    }

    /// The same by what lies in each of the stores, whose names come with those of all their files: stores that have a name of
    /// their own, and groups.
    ///
    /// # Errors
    /// If there are too many names.
    pub fn find_within<'a>(
        &self,
        place: &Place,
        stores: impl Iterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Vec<Option<String>>, TransferError> {
        let (mut paths, mut told) = (Vec::new(), Vec::new());
        for (number, (store, files)) in stores.enumerate() {
            told.push(None);
            let nodes = within(&files).into_iter().map(|(inner, kind)| (joined(store, inner), kind, number));
            paths.extend(nodes.filter(|_| !self.texts.is_empty()));
            if paths.len() > MOST_WITHIN {
                let reason = format!("its stores hold more than {MOST_WITHIN} stores and groups");
                return Err(TransferError::Uncountable { reason });
            }
        }
        let sought: Vec<(&str, Kind)> = paths.iter().map(|(path, kind, _)| (path.as_str(), *kind)).collect();
        for ((path, _, number), by) in paths.iter().zip(search::find(&self.texts, place, &sought)?) {
            if let (Some(by), Some(told)) = (by, told.get_mut(*number)) {
                told.get_or_insert_with(|| format!("{by}, of `{path}` in it"));
            }
        }
        Ok(told)
    }
}

/// The stores and the groups within a store, by its files. An array is told by its group: `time` and `lat` stand in any text.
/// So may names of groups, which count where they are the end of an address; a name with an ending stands for itself.
fn within<'a>(files: &[&'a str]) -> BTreeMap<&'a str, Kind> {
    let nodes: BTreeSet<&str> = files.iter().filter_map(|file| root_of_document(file)).collect();
    let groups = nodes.iter().flat_map(|node| ancestors(node).skip(1)).chain(
        files.iter().filter_map(|file| file.strip_suffix("/.zgroup").or_else(|| file.strip_suffix("/.zmetadata"))),
    );
    let folders = files.iter().flat_map(|file| ancestors(file).skip(1));
    let named = folders.filter(|folder| has_ending(folder));
    let mut all: BTreeMap<&str, Kind> = groups.map(|group| (group, Kind::Folder)).collect();
    all.extend(named.map(|store| (store, Kind::Store)));
    all.remove("");
    all
}

/// Whether the name of a folder is one like `inner.zarr`, and no chunk's like `0.0`.
fn has_ending(folder: &str) -> bool {
    let base = folder.rsplit('/').next().unwrap_or_default();
    let ending = base.rsplit_once('.').filter(|(name, _)| !name.is_empty()).map(|(_, ending)| ending);
    ending.is_some_and(|ending| ending.starts_with(|letter: char| letter.is_alphabetic()))
}

/// What git keeps beside the texts: names in it are of the past.
fn is_of_git(name: &str) -> bool {
    name == ".git" || name.starts_with(".git/") || name.contains("/.git/")
}

fn content(tree: &Tree, place: &Place, found: &Found) -> Result<Content, TransferError> {
    let wrong = |reason: String| TransferError::NoCatalog { place: place.shown(), reason };
    if found.size_bytes > MAX_TEXT_BYTES {
        return Err(wrong(format!("it has {} bytes, and at most {MAX_TEXT_BYTES} are read", found.size_bytes)));
    }
    let bytes = match place {
        Place::Local(path) => std::fs::read(path).map_err(|error| wrong(error.kind().to_string()))?,
        Place::Bucket { bucket, key } => {
            bucket.get(key, MAX_TEXT_BYTES)?.ok_or_else(|| wrong("it is gone".to_owned()))?.to_vec()
        }
        Place::Web(_) => return Err(wrong("it is on a web server; fetch it first".into())),
    };
    let content = content_of(&bytes).map_err(wrong)?;
    let name = if tree.is_file { place.base_name() } else { found.name.to_string() };
    match &content {
        Content::Text(text) if text::is_cut_off(&name, text) => Err(wrong("it ends in the middle of its JSON".into())),
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_groups_in_a_store_are_told_and_arrays_are_not() {
        let files = [
            "zarr.json",
            "time/zarr.json",
            "time/c/0",
            "g/zarr.json",
            "g/sst/zarr.json",
            "g/sst/c/0/0",
            "old/.zgroup",
            "old/x/.zarray",
            "old/x/0.0",
            "deep/in.zarr/zarr.json",
            "it.zarr/c/0",
            ".frazil/receipt.json",
        ];
        let found: Vec<(&str, bool)> =
            within(&files).into_iter().map(|(name, kind)| (name, kind == Kind::Store)).collect();
        let expected = [("deep", false), ("deep/in.zarr", true), ("g", false), ("it.zarr", true), ("old", false)];
        assert_eq!(found, expected);
    }
}
