//! The documents of a Zarr store, found wherever it lies: in one for all of them, or node by node.
//!
//! It promises that no document leads outside the place, and that what cannot be looked at is an error. Node by node only
//! places can be read that list what they hold.

use frazil_formats::zarr::{self, ZarrDataset};
use frazil_store::{
    StoreError,
    folder::{Kind, Shelf},
};

use super::Consolidated;
use crate::error::EngineError;

/// Bytes of one metadata document.
const MAX_DOCUMENT_BYTES: u64 = 256 << 20;

/// Metadata documents of a store that has none for all.
const MAX_DOCUMENTS: usize = 200_000;

/// Groups within groups.
const MAX_DEPTH: usize = 64;

/// What the documents of a store say.
pub(crate) struct Found {
    /// What the keys of chunks begin at: the store, or the folder that an array by itself lies in.
    pub root: Shelf,
    pub zarr: ZarrDataset,
    pub consolidated: Consolidated,
    /// Bytes of the documents that were read.
    pub n_bytes: u64,
}

/// Reads the documents of the store at `root`, called `name` in messages.
pub(crate) fn read(root: &Shelf, name: &str) -> Result<Found, EngineError> {
    let failed = |source| EngineError::Format { file: name.to_owned(), source };
    let whole = |zarr, text: &str| Found {
        root: root.clone(),
        zarr,
        consolidated: Consolidated::Yes,
        n_bytes: text.len() as u64,
    };
    let apart = |root, zarr, documents: &[(String, String)]| Found {
        root,
        zarr,
        consolidated: Consolidated::No,
        n_bytes: documents.iter().map(|(_, text)| text.len() as u64).sum(),
    };
    if let Some(text) = document(root, "zarr.json")? {
        if let Ok(zarr) = zarr::read_v3_root(&text) {
            return Ok(whole(zarr, &text));
        }
        let (root, documents) = documents_v3(root, text)?;
        let zarr = zarr::read_v3_documents(&documents).map_err(failed)?;
        return Ok(apart(root, zarr, &documents));
    }
    if let Some(text) = document(root, ".zmetadata")? {
        return Ok(whole(zarr::read_v2_consolidated(&text).map_err(failed)?, &text));
    }
    let (place, documents) = documents_v2(root)?;
    if documents.is_empty() && root.path().is_none() {
        return Err(StoreError::NotFound { location: root.location() }.into());
    }
    let zarr = zarr::read_v2_documents(&documents).map_err(failed)?;
    Ok(apart(place, zarr, &documents))
}

/// A document; `None` if it is not there.
pub(crate) fn document(root: &Shelf, key: &str) -> Result<Option<String>, EngineError> {
    let Some(bytes) = root.get_within(key, MAX_DOCUMENT_BYTES)? else { return Ok(None) };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| EngineError::Damaged { key: key.into(), reason: "it is no text".into() })
}

/// Names below a folder that are folders, sorted.
fn folders(root: &Shelf, key: &str) -> Result<Vec<String>, EngineError> {
    let is_folder = |name: &str, kind| match kind {
        Kind::Folder => true,
        Kind::File => false,
        Kind::Link => root.path().is_some_and(|path| path.join(key).join(name).is_dir()),
    };
    let names = root.names(key)?.into_iter();
    let names = names.filter(|entry| is_folder(&entry.name, entry.kind) && !entry.name.starts_with('.'));
    Ok(names.map(|entry| entry.name).collect())
}

/// Documents with their keys, and the folder that keys begin at.
type Documents = (Shelf, Vec<(String, String)>);

/// The key of `name` in the folder of `key`.
fn below(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") }
}

/// All documents of a v3 store, node by node. An array by itself is a store of one.
fn documents_v3(root: &Shelf, text: String) -> Result<Documents, EngineError> {
    if let Some(found) = alone(root, &[("zarr.json", "")], &text)? {
        return Ok(found);
    }
    let mut all = vec![("/".to_owned(), text)];
    let mut waiting = vec![(String::new(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for name in folders(root, &folder)? {
            let child = below(&folder, &name);
            if all.len() >= MAX_DOCUMENTS {
                continue;
            }
            if let Some(text) = document(root, &below(&child, "zarr.json"))? {
                // Nothing lies below an array but its chunks.
                if depth < MAX_DEPTH && !is_array(&text) {
                    waiting.push((child.clone(), depth + 1));
                }
                all.push((format!("/{child}"), text));
            }
        }
    }
    Ok((root.clone(), all))
}

fn is_array(text: &str) -> bool {
    zarr::read_document(text.as_bytes()).is_some_and(|node| node["node_type"] == "array")
}

/// The documents of an array that is no part of a store: it gets the name of its folder.
fn alone(root: &Shelf, files: &[(&str, &str)], text: &str) -> Result<Option<Documents>, EngineError> {
    let is_v3 = files.first().is_some_and(|(file, _)| *file == "zarr.json");
    if is_v3 && !is_array(text) {
        return Ok(None);
    }
    let Some((parent, name)) = root.parent() else { return Ok(None) };
    let mut all = Vec::new();
    for (file, suffix) in files {
        if let Some(text) = document(root, file)? {
            all.push((format!("{name}{suffix}"), text));
        }
    }
    Ok(Some((parent, all)))
}

/// All documents of a v2 store.
fn documents_v2(root: &Shelf) -> Result<Documents, EngineError> {
    if document(root, ".zarray")?.is_some() {
        let files = [(".zarray", "/.zarray"), (".zattrs", "/.zattrs")];
        if let Some(found) = alone(root, &files, "")? {
            return Ok(found);
        }
    }
    let mut all = Vec::new();
    let mut waiting = vec![(String::new(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let mut has_array = false;
        for file in [".zgroup", ".zarray", ".zattrs"] {
            let key = below(&folder, file);
            if let Some(text) = document(root, &key)?.filter(|_| all.len() < MAX_DOCUMENTS) {
                has_array |= file == ".zarray";
                all.push((key, text));
            }
        }
        if depth < MAX_DEPTH && !has_array && !(all.is_empty() && folder.is_empty() && root.folder().is_none()) {
            waiting.extend(folders(root, &folder)?.iter().map(|name| (below(&folder, name), depth + 1)));
        }
    }
    Ok((root.clone(), all))
}
