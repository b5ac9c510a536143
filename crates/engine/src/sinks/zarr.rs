//! A Zarr store in a folder: keys, documents, and units that go into the journal once they are in place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use frazil_formats::zarr as documents;
use frazil_model::{
    attribute::Attributes,
    layout::TargetArray,
    location::Location,
    recipe::write::ZarrFormat,
    zarr::{ArrayLayout, ChunkKeys, Separator, Shards},
};
use frazil_store::{folder::Folder, steady::Steady};

use crate::{
    error::EngineError,
    grow::Grown,
    identity::{Digested, RangeSum},
    journal::{Journal, Line, Stored},
    run::Sink,
};

/// Units from this size on are synced while others are made. Until the store is shown the journal may list one that a
/// power cut takes away, so whoever goes on compares each with its digest.
const LARGE_UNIT_BYTES: usize = 1 << 20;

/// Units on their way to a bucket at a time.
const PUTS_AT_A_TIME: usize = 24;

/// The description of a store: all that its metadata says.
#[derive(Debug, Clone)]
pub struct ZarrStore {
    /// Version of the format.
    pub format: ZarrFormat,
    /// Groups with their attributes; the root first.
    pub groups: Vec<(String, Attributes)>,
    /// Arrays, in the order of the targets.
    pub arrays: Vec<ArrayLayout>,
}

impl ZarrStore {
    /// The store of `targets`.
    #[must_use]
    pub fn new(format: ZarrFormat, groups: Vec<(String, Attributes)>, targets: &[TargetArray]) -> Self {
        let arrays = targets.iter().map(|target| layout_of(format, target)).collect();
        Self { format, groups, arrays }
    }

    /// The key of a unit.
    #[must_use]
    pub fn unit_key(&self, array: usize, at: &[u64]) -> String {
        let layout = &self.arrays[array];
        format!("{}/{}", layout.path.trim_start_matches('/'), layout.chunk_key(at))
    }

    /// All documents with their keys. The last one makes the store visible.
    ///
    /// # Errors
    /// If a type or a codec has no name in the format.
    pub fn documents(&self) -> Result<Vec<(String, String)>, EngineError> {
        match self.format {
            ZarrFormat::V3 => self.documents_v3(),
            ZarrFormat::V2 => self.documents_v2(),
        }
    }

    /// What arrays say otherwise than the files, by path.
    #[must_use]
    pub fn notes(&self) -> Vec<(String, String)> {
        let note = |layout: &ArrayLayout| match self.format {
            ZarrFormat::V3 => documents::note_v3(layout),
            ZarrFormat::V2 => documents::note_v2(layout),
        };
        self.arrays.iter().filter_map(|layout| Some((layout.path.clone(), note(layout)?.to_owned()))).collect()
    }

    fn documents_v3(&self) -> Result<Vec<(String, String)>, EngineError> {
        let mut all = Vec::new();
        for layout in &self.arrays {
            let text = documents::array_document_v3(layout).map_err(|error| no_type(layout, &error))?;
            all.push((format!("{}/zarr.json", layout.path.trim_start_matches('/')), text));
        }
        for (path, attributes) in self.groups.iter().filter(|(path, _)| path != "/") {
            all.push((format!("{}/zarr.json", path.trim_start_matches('/')), documents::group_document_v3(attributes)));
        }
        let root =
            documents::root_document_v3(self.root(), &self.groups, &self.arrays).map_err(|error| document(&error))?;
        all.push(("zarr.json".into(), root));
        Ok(all)
    }

    fn documents_v2(&self) -> Result<Vec<(String, String)>, EngineError> {
        let mut all = Vec::new();
        for layout in &self.arrays {
            let folder = layout.path.trim_start_matches('/');
            let text = documents::array_document_v2(layout).map_err(|error| no_type(layout, &error))?;
            all.push((format!("{folder}/.zarray"), text));
            all.push((format!("{folder}/.zattrs"), documents::attributes_document_v2(layout)));
        }
        for (path, attributes) in self.groups.iter().filter(|(path, _)| path != "/") {
            let folder = path.trim_start_matches('/');
            all.push((format!("{folder}/.zgroup"), documents::group_document_v2()));
            all.push((format!("{folder}/.zattrs"), documents::group_attributes_v2(attributes)));
        }
        all.push((".zattrs".into(), documents::group_attributes_v2(self.root())));
        let text = documents::consolidated_document_v2(self.root(), &self.groups, &self.arrays);
        all.push((".zmetadata".into(), text.map_err(|error| document(&error))?));
        all.push((".zgroup".into(), documents::group_document_v2()));
        Ok(all)
    }

    fn root(&self) -> &Attributes {
        const NONE: &Attributes = &Attributes(Vec::new());
        self.groups.iter().find(|(path, _)| path == "/").map_or(NONE, |(_, attributes)| attributes)
    }
}

/// The document that makes a store of this format visible.
#[must_use]
pub const fn root_key(format: ZarrFormat) -> &'static str {
    match format {
        ZarrFormat::V3 => "zarr.json",
        ZarrFormat::V2 => ".zgroup",
    }
}

fn layout_of(format: ZarrFormat, target: &TargetArray) -> ArrayLayout {
    // Stock xarray masks v2's `fill_value`, so nothing is said there unless the variable itself says it.
    let fill = match format {
        ZarrFormat::V3 => Some(target.fill.clone()),
        ZarrFormat::V2 => None,
    };
    ArrayLayout {
        path: target.path.clone(),
        shape: target.shape.clone(),
        chunk_shape: target.chunk_shape.clone(),
        shards: target.shard_shape.clone().map(Shards::of),
        dtype: target.dtype.clone(),
        fill,
        codecs: target.codecs.clone(),
        dimensions: target.dimensions.clone(),
        attributes: target.attributes.clone(),
        keys: match format {
            ZarrFormat::V3 => ChunkKeys::Default(Separator::Slash),
            ZarrFormat::V2 => ChunkKeys::V2(Separator::Dot),
        },
        calibration: None,
    }
}

fn no_type(layout: &ArrayLayout, error: &frazil_formats::FormatError) -> EngineError {
    EngineError::NoZarrType {
        variable: layout.path.clone(),
        dtype: layout.dtype.to_string(),
        reason: error.to_string(),
    }
}

fn document(error: &frazil_formats::FormatError) -> EngineError {
    EngineError::Document { reason: error.to_string() }
}

/// Puts units into a folder and notes them in a journal.
pub struct ZarrSink<'a> {
    /// The store.
    pub store: &'a ZarrStore,
    /// Where it is written.
    pub folder: &'a Folder,
    /// What is done.
    pub journal: &'a Journal,
    /// Folders that got a new name and must be synced before the store is shown.
    pub touched: Mutex<BTreeSet<String>>,
    /// When units reach the disk.
    pub syncing: Syncing,
    /// Shards that are there already and get more chunks.
    pub grown: Option<&'a Grown<'a>>,
    /// What is there and whole, of tasks that are done again because not all of their units are.
    pub done: &'a BTreeMap<String, Line>,
}

/// When units reach the disk.
#[derive(Debug)]
pub enum Syncing {
    /// Each before it gets its name.
    Each,
    /// All of them before the store is shown, since nobody sees them until then: large ones steadily, beside the work,
    /// small ones together at the end.
    BeforeTheEnd(Steady),
    /// Each as soon as it was put: the server has it.
    AtOnce,
}

impl Sink for ZarrSink<'_> {
    fn n_on_their_way(&self) -> usize {
        n_on_their_way(&self.folder.location())
    }

    fn put(
        &self,
        array: usize,
        at: &[u64],
        bytes: Option<Digested<'_>>,
        read: &[(usize, RangeSum)],
    ) -> Result<(), EngineError> {
        let key = self.store.unit_key(array, at);
        if let Some((grown, old)) = self.grown.and_then(|grown| Some((grown, grown.before(array, at)?))) {
            let (stored, tag) = match bytes {
                Some(more) => grown.put(&key, old, more.bytes())?,
                None => (old.clone(), None),
            };
            note_folders(&key, &mut self.touched.lock().unwrap_or_else(PoisonError::into_inner));
            return self.journal.note(&Line { key, bytes: Some(stored), tag, read: read.to_vec() });
        }
        let mut tag = None;
        // What a server has need not be sent again.
        let is_there = |line: &Line| line.bytes.is_some() && line.bytes == bytes.map(Stored::of_digested);
        if matches!(self.syncing, Syncing::AtOnce) && self.done.get(&key).is_some_and(is_there) {
            return Ok(());
        }
        if let Some(bytes) = bytes.map(|bytes| bytes.bytes()) {
            tag = match &self.syncing {
                Syncing::Each | Syncing::AtOnce => self.folder.put(&key, bytes)?,
                Syncing::BeforeTheEnd(steady) => {
                    self.folder.put_for_later(&key, bytes)?;
                    if let Some(path) = self.folder.path_of(&key)?.filter(|_| bytes.len() >= LARGE_UNIT_BYTES) {
                        steady.sync(path)?;
                    }
                    None
                }
            };
            note_folders(&key, &mut self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        }
        // Where a file was re-issued, a chunk may be there that nothing is in any more.
        let is_each = matches!(self.syncing, Syncing::Each);
        if bytes.is_none() && is_each && self.folder.exists(&key)? {
            self.folder.remove_all(&[&key])?;
            note_folders(&key, &mut self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.journal.note(&Line { key, bytes: bytes.map(Stored::of_digested), tag, read: read.to_vec() })
    }
}

/// How many units may be on their way to a place at a time.
pub(crate) const fn n_on_their_way(target: &Location) -> usize {
    match target {
        Location::File(_) => 0,
        Location::Http(_) | Location::Object(_) => PUTS_AT_A_TIME,
    }
}

/// Adds the folders that a key lies in.
pub(crate) fn note_folders(key: &str, folders: &mut BTreeSet<String>) {
    let mut rest = key;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        if !folders.insert(parent.to_owned()) {
            break;
        }
        rest = parent;
    }
}
