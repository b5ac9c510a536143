//! Adding what is new to a finished store, by label.
//!
//! Chunks beyond the visible shape are put first, the chunk at the edge is completed in one put, the documents come
//! last: readers see the old shape with the old values until they see the new one. The published axis is never
//! rewritten; what it cannot hold exactly is refused.

use std::{ops::Range, sync::atomic::AtomicBool, time::SystemTime};

use frazil_model::{
    combine::{
        Combined, combine,
        labels::labels_of,
        policy::{Duplicates, Policies},
        view::FileView,
    },
    layout::{Growth, TargetArray},
    plan::{ArrayPlan, Task},
    region::{Region, coordinates_of, count, grid_of},
    zarr::{ArrayLayout, IndexChecksum, IndexPlace, ZarrFormat as StoreFormat},
};
use frazil_store::folder::{Folder, STAGING};
use frazil_store::lock::Sharing;

use crate::{
    error::EngineError,
    grow::Edge,
    held,
    identity::digest,
    journal, kept,
    planning::{plan, summary},
    prepare::{Prepared, Reissued, Request, prepare, scanned},
    progress::Progress,
    publish::{
        self, Outcome, SavedPlan, Showing, Standing, has_leftovers, lock, run_tasks, save_plan, show, standing, states,
        tidy,
    },
    receipt::{INVENTORY, Inventory, Receipt},
    revise,
    sinks::zarr::{ZarrStore, n_on_their_way, root_key},
    source::Source,
    store_source, unchanged,
    views::{LeftOut, check_equal, views},
};

/// What extending a store takes.
pub struct Extension {
    /// The run; its first source is the store itself.
    pub prepared: Prepared,
    store: ZarrStore,
    receipt: Receipt,
    /// Digest of the root documents that all this follows from.
    root: String,
}

/// What a request to extend comes to.
pub enum Ready {
    /// There is no store yet: it is made.
    Create(Box<Prepared>),
    /// There are new labels.
    Extend(Box<Extension>),
    /// Every label is there already.
    NothingNew,
}

/// Finds out what is new.
///
/// # Errors
/// If a file cannot follow what is there.
pub fn prepare_extension(request: &Request) -> Result<Ready, EngineError> {
    let folder = Folder::at(&request.target)?;
    let mut request = request.clone();
    request.layout.grows = Growth::Extended;
    // Before anything else of the store is looked at: whoever holds the lock later sees whether it is still this one.
    let root = root_digest(&folder)?;
    let receipt = match standing(&folder)? {
        Standing::Published(receipt) => *receipt,
        Standing::Foreign { what } => {
            return Err(EngineError::Exists { place: folder.location(), what: what.to_owned() });
        }
        Standing::Nothing | Standing::Unfinished { .. } => return Ok(Ready::Create(Box::new(prepare(&request)?))),
    };
    kept::check_steps(&folder, &receipt, &request.recipe)?;
    let began = SystemTime::now();
    let (old, layouts) = store_source::open(&folder)?;
    let mut files = scanned(&request)?;
    let mut left_out = Vec::new();
    let mut file_views = views(&mut files, &request, &mut left_out)?;
    let old_view = FileView::of(&old.name, &old.decoded.dataset, &|number| old.values.get(&number).cloned());
    let along = along(&request, &receipt, &old_view, &file_views)?;
    held::rename(&along, &old_view, &mut file_views, &mut files, &receipt)?;
    let half_revised = revise::unfinished(&folder, &receipt)?.unwrap_or_default();
    let is_given = |name: &String| files.iter().any(|file| file.name == *name);
    if !half_revised.is_empty() && (request.reissued == Reissued::Refused || !half_revised.iter().all(is_given)) {
        return Err(EngineError::HalfRevised { place: folder.location(), files: half_revised.join(", ") });
    }
    let sorted = held::sort((&request, began), &along, &old_view, &file_views, &files, (&receipt, &half_revised))?;
    // What was re-issued comes first and alone; what is new follows.
    let chosen = if sorted.revised.is_empty() { &sorted.fresh } else { &sorted.revised };
    if chosen.is_empty() {
        return Ok(Ready::NothingNew);
    }
    let there = labels_of(&old_view, &along)?;
    let (mut sources, mut all_views) = (vec![old], vec![old_view]);
    for (number, (source, view)) in files.into_iter().zip(file_views).enumerate() {
        if chosen.contains(&number) {
            sources.push(source);
            all_views.push(view);
        }
    }
    let mut policies = Policies { along: Some(along.clone()), ..request.policies.clone() };
    policies.follows_store = true;
    if !sorted.revised.is_empty() {
        // The files come after the store.
        policies.duplicates = Duplicates::Last;
    }
    let combined = combine(&all_views, &policies)?;
    check_equal(&combined, &sources)?;
    let file = sources.get(1).map(|source| source.name.clone()).unwrap_or_default();
    kept::check_meaning((&along, there.as_deref().unwrap_or_default()), &all_views[0], &combined, &file)?;
    let is_same_axis = combined.along.as_ref().map(|(_, labels)| labels) == there.as_ref();
    if !sorted.revised.is_empty() && !is_same_axis {
        return Err(EngineError::Extend { file, reason: format!("`{along}` of the store is in no order") });
    }
    let changed = if sorted.revised.is_empty() { Changed::Behind } else { Changed::Places(sorted.places) };
    extension((&request, began, root), &folder, changed, (combined, sources), layouts, receipt, left_out)
        .map(|found| Ready::Extend(Box::new(found)))
}

/// The dimension that grows: the recipe's, or the one along which the store was made.
fn along(request: &Request, receipt: &Receipt, old: &FileView, files: &[FileView]) -> Result<String, EngineError> {
    if let Some(along) = request.policies.along.clone().or_else(|| receipt.along.clone()) {
        return Ok(along);
    }
    // What the store was made of would stand twice where the store stands for it.
    let is_new = |file: &&FileView| receipt.sources.iter().all(|record| record.name != file.name);
    let mut both = vec![old.clone()];
    both.extend(files.iter().filter(is_new).cloned());
    match combine(&both, &request.policies)?.along {
        Some((name, _)) => Ok(name),
        None => Err(EngineError::Extend {
            file: old.name.clone(),
            reason: "no dimension of it grows from file to file".into(),
        }),
    }
}

/// What of the store becomes other than it was.
enum Changed {
    /// What lies behind it.
    Behind,
    /// These places along the growing dimension.
    Places(Vec<Range<u64>>),
}

impl Changed {
    /// Along a dimension that had `old_length` elements and has `length` now.
    fn ranges(&self, old_length: u64, length: u64) -> Vec<Range<u64>> {
        match self {
            Self::Behind => std::iter::once(old_length..length).collect(),
            Self::Places(places) => places.clone(),
        }
    }
}

/// The run that adds the new labels, or rewrites those that were re-issued.
fn extension(
    (request, began, root): (&Request, SystemTime, String),
    folder: &Folder,
    changed: Changed,
    (combined, sources): (Combined, Vec<Source>),
    mut layouts: Vec<ArrayLayout>,
    receipt: Receipt,
    left_out: Vec<LeftOut>,
) -> Result<Extension, EngineError> {
    let (mut targets, mut edges) = (Vec::new(), Vec::new());
    let mut ordered = Vec::new();
    for variable in &combined.variables {
        let file = sources.get(1).map(|source| source.name.clone()).unwrap_or_default();
        let refused = |reason: String| EngineError::Extend {
            file: file.clone(),
            reason: format!("`{}`: {reason}", variable.path),
        };
        let at = layouts.iter().position(|layout| layout.path == variable.path);
        let mut layout =
            at.map(|at| layouts.swap_remove(at)).ok_or_else(|| refused("it is not in the store".into()))?;
        if layout.dtype != variable.dtype {
            let (ours, theirs) = (&layout.dtype, &variable.dtype);
            return Err(refused(format!(
                "its values as {ours}, which the store has, cannot hold the new ones exactly; that would take {theirs}"
            )));
        }
        for name in ["units", "calendar"] {
            if layout.attributes.text(name) != variable.attributes.text(name) {
                return Err(refused(format!("`{name}` of the store cannot hold the new values exactly")));
            }
        }
        // What the files do not agree on any more is left out, as if all had been joined at once.
        layout.attributes.clone_from(&variable.attributes);
        let lengths = layout.shape.iter().zip(&variable.shape).zip(&variable.dimensions).enumerate();
        let mut others = lengths.filter(|(axis, ((ours, theirs), _))| ours != theirs && Some(*axis) != variable.along);
        if let Some((_, ((ours, theirs), name))) = others.next() {
            return Err(refused(format!("dimension `{name}` has length {ours} in the store, and would need {theirs}")));
        }
        let old_length = variable.along.map(|axis| layout.shape[axis]);
        layout.shape.clone_from(&variable.shape);
        let edge = edge_of(&layout, variable.along, old_length, &changed);
        if let (Some(_), Some(shards)) = (&edge, &layout.shards)
            && (shards.index_place, shards.index_checksum) != (IndexPlace::End, IndexChecksum::Crc32c)
        {
            return Err(refused("a shard of it has its index where nothing can be added".into()));
        }
        edges.push(edge);
        targets.push((target_of(&layout, variable.fill.clone()), old_length));
        ordered.push(layout);
    }
    if let Some(layout) = layouts.first() {
        return Err(EngineError::Extend {
            file: layout.path.clone(),
            reason: "it is in the store and in none of the new files".into(),
        });
    }
    let format = if layouts_are_v3(folder)? { StoreFormat::V3 } else { StoreFormat::V2 };
    let arrays: Vec<TargetArray> = targets.iter().map(|(target, _)| target.clone()).collect();
    let mut planned = plan(&sources, &combined, &arrays, (request.limits, n_on_their_way(&request.target)))?;
    let mut tasks: Vec<Task> = Vec::new();
    for (number, (target, old_length)) in targets.iter().enumerate() {
        let (Some(old_length), Some(axis)) = (old_length, combined.variables[number].along) else { continue };
        for units in units_of(&changed.ranges(*old_length, target.shape[axis]), target.unit_shape()[axis]) {
            tasks.extend(tasks_of(number, target, &planned.arrays[number], axis, &units));
        }
    }
    // The chunks at the edge, which readers of the old shape see, come last.
    tasks.sort_by_key(|task| touches_edge(task, &targets[task.array], combined.variables[task.array].along));
    planned.tasks = tasks;
    let summary = summary(&sources, &combined, &arrays, &planned);
    let revised: Vec<String> = match changed {
        Changed::Behind => Vec::new(),
        Changed::Places(_) => sources.iter().skip(1).map(|source| source.name.clone()).collect(),
    };
    let files: Vec<String> = sources.iter().skip(1).map(Source::structure).collect();
    let hash = digest(format!("{:?}", (&root, &ordered, files, &revised, &receipt.request)).as_bytes());
    let groups = combined.groups.clone();
    let prepared = Prepared {
        sources,
        combined,
        targets: arrays,
        arrays: planned.arrays,
        tasks: planned.tasks,
        pace: planned.pace,
        summary,
        hash,
        left_out,
        edges,
        revised,
        began,
        index: request.index,
    };
    let store = ZarrStore { format, groups, arrays: ordered };
    Ok(Extension { prepared, store, receipt, root })
}

/// Where an array in shards ended, if chunks are added to any of them.
fn edge_of(layout: &ArrayLayout, along: Option<usize>, old_length: Option<u64>, changed: &Changed) -> Option<Edge> {
    let (shards, axis, old_length) = (layout.shards.as_ref()?, along?, old_length?);
    let is_full = old_length.is_multiple_of(*shards.shape.get(axis)?);
    let changed = changed.ranges(old_length, *layout.shape.get(axis)?);
    let is_touched = !is_full || changed.iter().any(|range| range.start < old_length);
    is_touched.then_some(Edge { axis, old_length, changed })
}

/// What readers see of the store, as one digest.
fn root_digest(folder: &Folder) -> Result<String, EngineError> {
    let keys = [root_key(StoreFormat::V3), ".zmetadata", root_key(StoreFormat::V2)];
    let documents = keys.map(|key| folder.get(key).map(|bytes| bytes.map(|bytes| digest(&bytes))));
    let documents = documents.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(digest(format!("{documents:?}").as_bytes()))
}

fn layouts_are_v3(folder: &Folder) -> Result<bool, EngineError> {
    Ok(folder.exists(root_key(StoreFormat::V3))?)
}

fn target_of(layout: &ArrayLayout, fill: Vec<u8>) -> TargetArray {
    TargetArray {
        path: layout.path.clone(),
        dimensions: layout.dimensions.clone(),
        shape: layout.shape.clone(),
        dtype: layout.dtype.clone(),
        leaves_out_unwritten: layout.fill.as_ref() == Some(&fill),
        fill: layout.fill.clone().unwrap_or(fill),
        attributes: layout.attributes.clone(),
        chunk_shape: layout.chunk_shape.clone(),
        shard_shape: layout.shards.as_ref().map(|shards| shards.shape.clone()),
        codecs: layout.codecs.clone(),
        keeps_chunks: false,
    }
}

/// The units that hold elements of these ranges, as ranges that neither overlap nor touch.
fn units_of(ranges: &[Range<u64>], unit: u64) -> Vec<Range<u64>> {
    let mut units: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, end) = (range.start / unit.max(1), range.end.div_ceil(unit.max(1)));
        match units.last_mut() {
            Some(last) if first <= last.end => last.end = last.end.max(end),
            _ => units.push(first..end),
        }
    }
    units
}

/// The tasks of these units along `axis`.
fn tasks_of(array: usize, target: &TargetArray, plan: &ArrayPlan, axis: usize, wanted: &Range<u64>) -> Vec<Task> {
    let mut rest = grid_of(&target.shape, target.unit_shape());
    rest[axis] = rest[axis].min(wanted.end).saturating_sub(wanted.start);
    let boxes = grid_of(&rest, &plan.units_of_task);
    (0..count(&boxes))
        .map(|number| {
            let mut units = Region::of_cell(&coordinates_of(number, &boxes), &plan.units_of_task, &rest);
            units.start[axis] += wanted.start;
            Task { array, first: units.start, n_units: units.shape }
        })
        .collect()
}

fn touches_edge(task: &Task, (target, old_length): &(TargetArray, Option<u64>), along: Option<usize>) -> bool {
    match (old_length, along) {
        (Some(old), Some(axis)) => task.first[axis] * target.unit_shape()[axis] < *old,
        _ => false,
    }
}

/// Extends a store, or makes it.
///
/// # Errors
/// Whatever stops the run; readers then see the store as it was.
pub fn extend(
    request: &Request,
    ready: &Ready,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Outcome, EngineError> {
    let folder = Folder::at(&request.target)?;
    let extension = match ready {
        Ready::Create(prepared) => return publish::create(request, prepared, progress, stop),
        Ready::NothingNew => {
            finish_tidying(&folder)?;
            return Ok(Outcome::AlreadyThere);
        }
        Ready::Extend(extension) => extension,
    };
    let prepared = &extension.prepared;
    let documents = extension.store.documents()?;
    let lock = lock(&folder, Sharing::Alone)?;
    if root_digest(&folder)? != extension.root {
        // Another process extended the store between the look and the lock.
        lock.remove()?;
        return extend(request, &prepare_extension(request)?, progress, stop);
    }
    match SavedPlan::in_folder(&folder)? {
        Some(saved) if saved.plan != prepared.hash || saved.sources != states(prepared) => discard(&folder)?,
        // A run that was killed may have put a chunk without having noted it.
        Some(_) => {}
        None => kept::check_chunks(&folder, (prepared, &extension.store), inventory(&folder)?, stop)?,
    }
    folder.remove(STAGING)?;
    save_plan(&folder, prepared)?;
    let journal_name = if prepared.revised.is_empty() { "extension" } else { "revision" };
    let ran = run_tasks(prepared, &extension.store, &folder, &prepared.tasks, journal_name, progress, stop)?;
    unchanged::check(&prepared.sources)?;
    let inventory =
        folder.get(INVENTORY)?.and_then(|bytes| Inventory::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
    let showing = Showing {
        hash: &prepared.hash,
        request: &extension.receipt.request,
        along: prepared.combined.along.as_ref().map(|(name, _)| name.clone()),
        sources: &prepared.sources,
        earlier: extension.receipt.sources.clone(),
        inventory,
        tasks: &prepared.tasks,
        store: &extension.store,
        noting: (prepared.began, prepared.index),
    };
    show(&showing, &folder, documents, &ran)?;
    tidy(&folder, lock)?;
    Ok(Outcome::Written)
}

/// Takes away what an extension began that is not gone on with: its sources are others now. Nobody has seen any of it.
fn discard(folder: &Folder) -> Result<(), EngineError> {
    let inventory = inventory(folder)?;
    let done = journal::done(folder)?;
    let begun: Vec<&str> = done.keys().filter(|key| !inventory.0.contains_key(*key)).map(String::as_str).collect();
    folder.remove_all(&begun)?;
    // The plan stays until the next one takes its place: it says if chunks that readers see were being revised.
    folder.remove(journal::FOLDER)?;
    Ok(())
}

fn inventory(folder: &Folder) -> Result<Inventory, EngineError> {
    let text = folder.get(INVENTORY)?.unwrap_or_default();
    Ok(Inventory::parse(&String::from_utf8_lossy(&text)).unwrap_or_default())
}

/// A kill after the last document leaves only what is to be taken away.
fn finish_tidying(folder: &Folder) -> Result<(), EngineError> {
    if has_leftovers(folder)? {
        let lock = lock(folder, Sharing::Alone)?;
        tidy(folder, lock)?;
    }
    Ok(())
}
