//! A repository of Icechunk: what it holds now, and one state more.
//!
//! Chunks, manifests, log and snapshot are put first, under names made of their content; then the branch is pointed to
//! the new snapshot in one conditional put. It promises that readers see the state before or after, whoever else writes,
//! and that the same dataset in the same repository gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use frazil_formats::{
    references::icechunk::{
        ArrayNode, Changes, FIRST_MESSAGE, FIRST_SNAPSHOT, ManifestPart, ManifestWriter, Node, NodeId, ObjectId,
        Payload, Snapshot, read_snapshot, snapshot, transaction,
    },
    zarr::{array_document_v3, group_document_v3},
};
use frazil_model::{
    attribute::Attributes,
    references::{ArrayReferences, Cells, Located},
    region::{Region, number_of},
    zarr::{ArrayLayout, ZarrFormat},
};
use frazil_store::{
    StoreError,
    folder::{Folder, Held},
};

use super::{
    address::{config, doors},
    intact::manifest_key,
    lay::{layouts, table_of},
    make::Part,
    native::{Native, object_id},
    pinned::Files,
    record::Record,
};
use crate::{error::EngineError, identity::Digested, journal::Stored, source::Source};

/// Key of the branch.
pub(crate) const BRANCH: &str = "refs/branch.main/ref.json";

/// Key of the repository's settings.
pub(crate) const SETTINGS: &str = "config.yaml";

/// References in one manifest: what a reader loads for a single chunk.
const MOST_REFERENCES: u64 = 200_000;

/// Property of a snapshot that holds the digest of the plan.
pub(crate) const PLAN: &str = "frazil_plan";

/// The present state of a repository.
#[derive(Debug)]
pub(crate) struct Tip {
    /// The branch, as it was read.
    pub held: Held,
    /// What it points to.
    pub snapshot: Snapshot,
}

impl Tip {
    /// The plan that made it, if frazil did.
    pub fn plan(&self) -> Option<&str> {
        self.snapshot.properties.iter().find(|(key, _)| key == PLAN).map(|(_, value)| value.as_str())
    }
}

/// The branch of a repository whose present state cannot be read, if it is one that frazil made.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn headless(folder: &Folder) -> Result<Option<Held>, EngineError> {
    let Some(held) = folder.get_held(BRANCH)? else { return Ok(None) };
    let said: Option<serde_json::Value> = serde_json::from_slice(&held.bytes).ok();
    let name = said.as_ref().and_then(|said| said["snapshot"].as_str()).and_then(ObjectId::of_name);
    Ok(match name {
        Some(id) if folder.exists(&record_key(id))? => Some(held),
        _ => None,
    })
}

/// The present state of the repository in `folder`; `None` if there is none.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn tip(folder: &Folder) -> Result<Option<Tip>, EngineError> {
    let Some(held) = folder.get_held(BRANCH)? else { return Ok(None) };
    let damaged = |reason: &str| EngineError::Damaged { key: BRANCH.into(), reason: reason.into() };
    let said: serde_json::Value = serde_json::from_slice(&held.bytes).map_err(|error| damaged(&error.to_string()))?;
    let name = said["snapshot"].as_str().ok_or_else(|| damaged("it names no snapshot"))?;
    let key = format!("snapshots/{name}");
    let bytes = folder.get(&key)?.ok_or_else(|| EngineError::Missing { key: key.clone() })?;
    let mut read = read_snapshot(&bytes).map_err(|error| EngineError::Damaged { key, reason: error.to_string() })?;
    read.id = ObjectId::of_name(name).ok_or_else(|| damaged("its snapshot has no name"))?;
    Ok(Some(Tip { held, snapshot: read }))
}

/// Of what the present state was made; `None` if frazil did not make it.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn record(folder: &Folder, tip: &Tip) -> Result<Option<Record>, EngineError> {
    let key = record_key(tip.snapshot.id);
    let Some(bytes) = folder.get(&key)? else { return Ok(None) };
    Record::parse(&key, &bytes).map(Some)
}

/// The folder of the records.
pub(super) const RECORDS: &str = ".frazil/virtual";

/// The key of the record of a snapshot.
pub(super) fn record_key(id: ObjectId) -> String {
    format!("{RECORDS}/{}.json", id.name())
}

/// The key of a snapshot.
pub(super) fn snapshot_key(id: ObjectId) -> String {
    format!("snapshots/{}", id.name())
}

/// The key of the log of the transaction that made a snapshot.
pub(super) fn transaction_key(id: ObjectId) -> String {
    format!("transactions/{}", id.name())
}

/// One state more.
pub(crate) struct Commit<'a> {
    /// The repository.
    pub folder: &'a Folder,
    /// The state before; `None` for a new repository, and for one that is made anew.
    pub tip: Option<&'a Tip>,
    /// The branch as it is now.
    pub held: Option<&'a Held>,
    /// What the record of the state before says was written.
    pub before: Option<&'a Record>,
    /// What it will hold.
    pub parts: &'a [Part],
    /// Values that were made, by part.
    pub natives: &'a [super::native::Natives],
    /// Of what it is made.
    pub record: &'a Record,
    /// What people read in the history.
    pub message: String,
}

/// Makes the state visible.
///
/// # Errors
/// [`EngineError::Conflict`] if somebody else was faster; or if something cannot be put.
pub(crate) fn commit(commit: &Commit<'_>) -> Result<ObjectId, EngineError> {
    let Commit { folder, tip, .. } = *commit;
    let known: BTreeSet<ObjectId> = tip.map(known_manifests).unwrap_or_default();
    // What was written before is still there, for whoever reads an earlier state.
    let mut written: BTreeMap<String, Stored> = commit.before.map(|record| record.objects.clone()).unwrap_or_default();
    let mut nodes = Vec::new();
    for (part, natives) in commit.parts.iter().zip(commit.natives) {
        groups_of(part, &mut nodes);
        for (number, layout) in layouts(part, ZarrFormat::V3).iter().enumerate() {
            let path = format!("{}{}", part.prefix, layout.path);
            let id = node_id(&path);
            let array = OneArray {
                references: &part.laid.references[number],
                natives: &natives[number],
                sources: &part.sources,
                files: &part.files,
                along: part.combined.variables[number].along,
            };
            let manifests = manifests(folder, id, &array, &known, &mut written)?;
            nodes.push(array_node(id, path, layout, manifests)?);
        }
    }
    complete_groups(&mut nodes);
    let newest = commit.parts.iter().filter_map(|part| part.files.newest).max().unwrap_or(0);
    let before = tip.map_or(0, |tip| tip.snapshot.written_at);
    let state = Snapshot {
        id: ObjectId::default(),
        parent: Some(tip.map_or(FIRST_SNAPSHOT, |tip| tip.snapshot.id)),
        // The moment is that of the newest file, so that the same files give the same bytes.
        written_at: if tip.is_some() { newest.max(before + 1) } else { newest },
        message: commit.message.clone(),
        properties: vec![(PLAN.to_owned(), commit.record.plan.clone())],
        nodes,
    };
    let name = |bytes: &[u8]| object_id(&Digested::of(bytes));
    let (id, document) = snapshot(&state, &name);
    let changes = changes(&state, tip);
    if tip.is_none() {
        begin(folder, state.written_at, &mut written)?;
    }
    let settings = config(&doors(commit.parts.iter().flat_map(|part| &part.files.addresses)));
    let log = transaction(id, &changes);
    written.insert(SETTINGS.to_owned(), Stored::of(settings.as_bytes()));
    written.insert(transaction_key(id), Stored::of(&log));
    written.insert(snapshot_key(id), Stored::of(&document));
    let record = Record { objects: written, ..commit.record.clone() };
    // It vouches for the settings, which a kill may leave beside the state before.
    folder.put(&record_key(id), record.to_text()?.as_bytes())?;
    configure(folder, &settings)?;
    folder.put(&transaction_key(id), &log)?;
    folder.put(&snapshot_key(id), &document)?;
    for key in ["chunks", "manifests", "transactions", "snapshots", RECORDS, ".frazil"] {
        if folder.exists(key)? {
            folder.sync(Some(key))?;
        }
    }
    folder.sync(None)?;
    point(folder, commit.held, id)?;
    Ok(id)
}

/// Points the branch to a snapshot.
fn point(folder: &Folder, held: Option<&Held>, id: ObjectId) -> Result<(), EngineError> {
    let text = format!("{{\"snapshot\":\"{}\"}}", id.name());
    match folder.replace(BRANCH, held, text.as_bytes()) {
        Err(StoreError::Taken { .. }) => {
            // An answer that was lost may have been a yes.
            let now = folder.get_held(BRANCH)?;
            match now.is_some_and(|held| held.bytes == text.as_bytes()) {
                true => Ok(()),
                false => Err(EngineError::Conflict { place: folder.location() }),
            }
        }
        put => Ok(put?),
    }?;
    folder.sync(Some("refs/branch.main"))?;
    folder.sync(Some("refs"))?;
    folder.sync(None)?;
    Ok(())
}

/// The state that every repository begins with.
fn begin(folder: &Folder, written_at: u64, written: &mut BTreeMap<String, Stored>) -> Result<(), EngineError> {
    let first = Snapshot { id: FIRST_SNAPSHOT, written_at, message: FIRST_MESSAGE.into(), ..Snapshot::default() };
    let (id, document) = snapshot(&first, &|_| FIRST_SNAPSHOT);
    folder.put(&snapshot_key(id), &document)?;
    written.insert(snapshot_key(id), Stored::of(&document));
    Ok(())
}

/// Settings name the doors that references lead through.
fn configure(folder: &Folder, settings: &str) -> Result<(), EngineError> {
    if folder.get(SETTINGS)?.as_deref() != Some(settings.as_bytes()) {
        folder.put(SETTINGS, settings.as_bytes())?;
    }
    Ok(())
}

fn known_manifests(tip: &Tip) -> BTreeSet<ObjectId> {
    let arrays = tip.snapshot.nodes.iter().filter_map(|node| node.array.as_ref());
    arrays.flat_map(|array| array.manifests.iter().map(|manifest| manifest.id)).collect()
}

/// The name of a node, by its path.
pub(crate) fn node_id(path: &str) -> NodeId {
    let digest = Digested::of(path.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&digest.digest().as_bytes()[..8]);
    NodeId(id)
}

fn groups_of(part: &Part, nodes: &mut Vec<Node>) {
    for (path, attributes) in &part.combined.groups {
        let path = match (part.prefix.as_str(), path.as_str()) {
            ("", "/") => "/".to_owned(),
            (prefix, "/") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}{path}"),
        };
        nodes.push(Node { id: node_id(&path), document: group_document_v3(attributes), array: None, path });
    }
}

/// Every group that something lies in is there, the root first.
fn complete_groups(nodes: &mut Vec<Node>) {
    let mut wanted: BTreeSet<String> = BTreeSet::from(["/".to_owned()]);
    for node in nodes.iter() {
        let mut path = node.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            wanted.insert(parent.to_owned());
            path = parent;
        }
    }
    let there: BTreeSet<String> = nodes.iter().map(|node| node.path.clone()).collect();
    for path in wanted.difference(&there) {
        let document = group_document_v3(&Attributes::default());
        nodes.push(Node { id: node_id(path), path: path.clone(), document, array: None });
    }
}

fn array_node(
    id: NodeId,
    path: String,
    layout: &ArrayLayout,
    manifests: Vec<ManifestPart>,
) -> Result<Node, EngineError> {
    let document = array_document_v3(layout).map_err(|error| EngineError::NoZarrType {
        variable: layout.path.clone(),
        dtype: layout.dtype.to_string(),
        reason: error.to_string(),
    })?;
    let array = ArrayNode {
        shape: layout.shape.iter().copied().zip(layout.chunk_shape.iter().copied()).collect(),
        dimensions: layout.dimensions.clone(),
        manifests,
    };
    Ok(Node { id, path, document, array: Some(array) })
}

struct OneArray<'a> {
    references: &'a ArrayReferences,
    natives: &'a BTreeMap<u64, Native>,
    sources: &'a [Source],
    files: &'a Files,
    along: Option<usize>,
}

/// Cells of one manifest along each dimension. Along the one that grows all are of one length whatever the array's, so
/// that a longer array has the same manifests and one more.
fn block(grid: &[u64], along: Option<usize>) -> Vec<u64> {
    let mut block = vec![1; grid.len()];
    let mut room = MOST_REFERENCES;
    for axis in (0..grid.len()).rev().filter(|axis| Some(*axis) != along) {
        block[axis] = grid[axis].clamp(1, room);
        room = (room / block[axis]).max(1);
    }
    if let Some(axis) = along.filter(|axis| *axis < grid.len()) {
        block[axis] = room;
    }
    block
}

fn manifests(
    folder: &Folder,
    node: NodeId,
    array: &OneArray<'_>,
    known: &BTreeSet<ObjectId>,
    written: &mut BTreeMap<String, Stored>,
) -> Result<Vec<ManifestPart>, EngineError> {
    let grid = array.references.grid();
    let block = block(&grid, array.along);
    let mut parts = Vec::new();
    let mut blocks =
        Cells::of(Region::whole(&grid.iter().zip(&block).map(|(n, b)| n.div_ceil(*b)).collect::<Vec<_>>()));
    while let Some(number) = blocks.next_cell() {
        let start: Vec<u64> = number.iter().zip(&block).map(|(number, length)| number * length).collect();
        let shape = start.iter().zip(&block).zip(&grid).map(|((start, length), n)| (*length).min(n - start)).collect();
        let part = Region { start, shape };
        let Some((id, document, n_chunks)) = manifest(node, array, &part)? else { continue };
        if !known.contains(&id) {
            folder.put(&manifest_key(id), &document)?;
            written.insert(manifest_key(id), Stored::of(&document));
        }
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let extents = (0..grid.len()).map(|axis| (narrow(part.start[axis]), narrow(part.end(axis)))).collect();
        parts.push(ManifestPart { id, extents, size_bytes: document.len() as u64, n_chunks });
    }
    Ok(parts)
}

/// The manifest of a box of cells; `None` if no chunk of it is anywhere.
fn manifest(
    node: NodeId,
    array: &OneArray<'_>,
    part: &Region,
) -> Result<Option<(ObjectId, Vec<u8>, u32)>, EngineError> {
    let table = |file: usize, variable: usize| table_of(array.sources, file, variable);
    let grid = array.references.grid();
    // The list of a manifest comes before its entries, so they are counted first.
    let mut n_chunks = 0;
    let mut cells = Cells::of(part.clone());
    while let Some(cell) = cells.next_cell() {
        n_chunks += usize::from(match array.references.locate(cell, &table) {
            Located::File { .. } => true,
            Located::Unwritten => false,
            Located::Native(_) => array.natives.contains_key(&number_of(cell, &grid)),
        });
    }
    if n_chunks == 0 {
        return Ok(None);
    }
    let mut writer = ManifestWriter::new(node, n_chunks, array.files.pinned.len());
    let mut at = Vec::new();
    let mut cells = Cells::of(part.clone());
    while let Some(cell) = cells.next_cell() {
        let payload = match array.references.locate(cell, &table) {
            Located::File { file, offset, length } => Payload::Virtual { file, offset, length },
            Located::Unwritten => continue,
            Located::Native(_) => match array.natives.get(&number_of(cell, &grid)) {
                None => continue,
                Some(Native::Inline(bytes)) => Payload::Inline(bytes),
                Some(Native::Object { id, length }) => Payload::Native { id: *id, offset: 0, length: *length },
            },
        };
        at.clear();
        at.extend(cell.iter().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)));
        writer.push(&at, &payload, &array.files.pinned);
    }
    let (id, document) = writer.finish(&array.files.pinned, &|bytes| object_id(&Digested::of(bytes)));
    Ok(Some((id, document, u32::try_from(n_chunks).unwrap_or(u32::MAX))))
}

/// What the new state changes of the one before.
fn changes(state: &Snapshot, tip: Option<&Tip>) -> Changes {
    let mut changes = Changes::default();
    let before: BTreeMap<&str, &Node> =
        tip.map(|tip| tip.snapshot.nodes.iter().map(|node| (node.path.as_str(), node)).collect()).unwrap_or_default();
    for node in &state.nodes {
        match (before.get(node.path.as_str()).filter(|old| old.array.is_some() == node.array.is_some()), &node.array) {
            (None, None) => changes.new_groups.push(node.id),
            (None, Some(_)) => changes.new_arrays.push(node.id),
            (Some(old), None) if old.document != node.document => changes.updated_groups.push(node.id),
            (Some(_), None) => {}
            (Some(old), Some(array)) => {
                if old.document != node.document {
                    changes.updated_arrays.push(node.id);
                }
                let cells = changed_cells(old.array.as_ref(), array);
                if !cells.is_empty() {
                    changes.updated_chunks.push((node.id, cells));
                }
            }
        }
    }
    let after: BTreeMap<&str, bool> =
        state.nodes.iter().map(|node| (node.path.as_str(), node.array.is_some())).collect();
    for (path, old) in before {
        match (after.get(path), &old.array) {
            (Some(is_array), array) if *is_array == array.is_some() => {}
            (_, Some(_)) => changes.deleted_arrays.push(old.id),
            (_, None) => changes.deleted_groups.push(old.id),
        }
    }
    changes
}

/// The cells of manifests that were not there.
fn changed_cells(old: Option<&ArrayNode>, new: &ArrayNode) -> Vec<Vec<u32>> {
    let known: BTreeSet<ObjectId> = old.iter().flat_map(|old| old.manifests.iter().map(|part| part.id)).collect();
    let mut cells = Vec::new();
    for part in new.manifests.iter().filter(|part| !known.contains(&part.id)) {
        let start = part.extents.iter().map(|(from, _)| u64::from(*from)).collect();
        let shape = part.extents.iter().map(|(from, to)| u64::from(to - from)).collect();
        let mut all = Cells::of(Region { start, shape });
        while let Some(cell) = all.next_cell() {
            cells.push(cell.iter().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).collect());
        }
    }
    cells
}
