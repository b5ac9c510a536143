//! Adding what is new to a finished store, by label.
//!
//! Chunks beyond the visible shape are put first, the chunk at the edge is completed in one put, the documents come
//! last: readers see the old shape with the old values until they see the new one. The published axis is never
//! rewritten; what it cannot hold exactly is refused.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use frazil_model::{
    combine::{
        Combined, combine,
        labels::{self, Label, labels_of},
        policy::Policies,
        view::FileView,
    },
    layout::{Growth, TargetArray},
    plan::{ArrayPlan, Task},
    region::{Region, coordinates_of, count, grid_of},
    zarr::{ArrayLayout, ZarrFormat as StoreFormat},
};
use frazil_store::folder::{Folder, STAGING};
use frazil_store::lock::Sharing;

use crate::{
    error::EngineError,
    identity::digest,
    journal,
    planning::{plan, summary},
    prepare::{Prepared, Request, prepare, scanned},
    progress::Progress,
    publish::{self, Outcome, PLAN, SavedPlan, Showing, Standing, lock, run_tasks, save_plan, show, standing, tidy},
    receipt::{INVENTORY, Inventory, Receipt},
    sinks::zarr::{ZarrStore, root_key},
    source::Source,
    store_source,
    views::{LeftOut, check_equal, views},
};

/// What extending a store takes.
pub struct Extension {
    /// The run; its first source is the store itself.
    pub prepared: Prepared,
    store: ZarrStore,
    receipt: Receipt,
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
    let folder = Folder::new(request.target.clone());
    let mut request = request.clone();
    request.layout.grows = Growth::Extended;
    let receipt = match standing(&folder)? {
        Standing::Published(receipt) => *receipt,
        Standing::Foreign { what } => {
            return Err(EngineError::Exists { path: folder.root().to_owned(), what: what.to_owned() });
        }
        Standing::Nothing | Standing::Unfinished { .. } => return Ok(Ready::Create(Box::new(prepare(&request)?))),
    };
    let (old, layouts) = store_source::open(folder.root())?;
    let mut files = scanned(&request)?;
    let mut left_out = Vec::new();
    let file_views = views(&mut files, &request, &mut left_out)?;
    let old_view = FileView::of(&old.name, &old.decoded.dataset, &|number| old.values.get(&number).cloned());
    let along = along(&request, &receipt, &old_view, &file_views)?;
    let fresh = fresh(&along, &old_view, &file_views, &files, &receipt)?;
    if fresh.is_empty() {
        return Ok(Ready::NothingNew);
    }
    let (mut sources, mut all_views) = (vec![old], vec![old_view]);
    for (number, (source, view)) in files.into_iter().zip(file_views).enumerate() {
        if fresh.contains(&number) {
            sources.push(source);
            all_views.push(view);
        }
    }
    let mut policies = Policies { along: Some(along.clone()), ..request.policies.clone() };
    policies.follows_store = true;
    let combined = combine(&all_views, &policies)?;
    check_equal(&combined, &sources)?;
    extension(&request, &folder, &along, (combined, sources), layouts, receipt, left_out)
        .map(|found| Ready::Extend(Box::new(found)))
}

/// The dimension that grows: the recipe's, or the one along which the store was made.
fn along(request: &Request, receipt: &Receipt, old: &FileView, files: &[FileView]) -> Result<String, EngineError> {
    if let Some(along) = request.policies.along.clone().or_else(|| receipt.along.clone()) {
        return Ok(along);
    }
    let mut both = vec![old.clone()];
    both.extend(files.iter().cloned());
    match combine(&both, &request.policies)?.along {
        Some((name, _)) => Ok(name),
        None => Err(EngineError::Extend {
            file: old.name.clone(),
            reason: "no dimension of it grows from file to file".into(),
        }),
    }
}

/// The files whose labels are new, by number.
///
/// A file whose labels are there must be one that the store was made of, unchanged.
fn fresh(
    along: &str,
    old: &FileView,
    views: &[FileView],
    files: &[Source],
    receipt: &Receipt,
) -> Result<BTreeSet<usize>, EngineError> {
    let no_labels =
        |file: &str| EngineError::Extend { file: file.to_owned(), reason: format!("it has no labels for `{along}`") };
    let there = labels_of(old, along)?.ok_or_else(|| no_labels(&old.name))?;
    let known: BTreeSet<&Label> = there.iter().collect();
    let descends = there.len() > 1 && there[0] > there[there.len() - 1];
    let mut fresh = BTreeSet::new();
    for (number, view) in views.iter().enumerate() {
        let labels = labels_of(view, along)?.ok_or_else(|| no_labels(&view.name))?;
        if let (Some(Label::Time(_, ours)), Some(Label::Time(_, theirs))) = (there.first(), labels.first())
            && !(labels::agree(*ours, *theirs, &there) && labels::agree(*ours, *theirs, &labels))
        {
            let reason = format!("`{along}` has calendar `{theirs}`, and the store's is `{ours}`");
            return Err(EngineError::Extend { file: view.name.clone(), reason });
        }
        let n_known = labels.iter().filter(|label| known.contains(label)).count();
        let refused = |reason: String| Err(EngineError::Extend { file: view.name.clone(), reason });
        if n_known == labels.len() {
            let source = &files[number];
            let record = receipt.sources.iter().find(|record| record.name == source.name);
            let is_same = record.is_some_and(|record| {
                record.size_bytes == source.fingerprint.size_bytes && record.structure == source.structure()
            });
            if !is_same && !labels.is_empty() {
                let why = if record.is_some() {
                    "the file has changed since it was added"
                } else {
                    "it came from another file"
                };
                return refused(format!("`{along}` = {} is in the store already, and {why}", labels[0]));
            }
            continue;
        }
        if n_known > 0 {
            let label = labels.iter().find(|label| known.contains(label)).map(ToString::to_string).unwrap_or_default();
            return refused(format!(
                "`{along}` = {label} is in the store already, and other labels of the file are not"
            ));
        }
        if let (Some(last), Some(wrong)) =
            (there.last(), labels.iter().find(|label| there.last().is_some_and(|last| (*label > last) == descends)))
        {
            return refused(format!("`{along}` = {wrong} does not come after {last}, where the store ends"));
        }
        fresh.insert(number);
    }
    Ok(fresh)
}

/// The run that adds the new labels.
fn extension(
    request: &Request,
    folder: &Folder,
    along: &str,
    (combined, sources): (Combined, Vec<Source>),
    mut layouts: Vec<ArrayLayout>,
    receipt: Receipt,
    left_out: Vec<LeftOut>,
) -> Result<Extension, EngineError> {
    let mut targets = Vec::new();
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
        if let (Some(shards), Some(axis), Some(old)) = (&layout.shards, variable.along, old_length)
            && !old.is_multiple_of(shards.shape[axis])
        {
            return Err(refused(format!(
                "its last shard along `{along}` is not full, and a published shard is not rewritten"
            )));
        }
        targets.push((target_of(&layout, variable.fill.clone()), old_length));
        ordered.push(layout);
    }
    if let Some(layout) = layouts.first() {
        return Err(EngineError::Extend {
            file: layout.path.clone(),
            reason: "it is in the store and in none of the new files".into(),
        });
    }
    let format = if layouts_are_v3(folder) { StoreFormat::V3 } else { StoreFormat::V2 };
    let arrays: Vec<TargetArray> = targets.iter().map(|(target, _)| target.clone()).collect();
    let mut planned = plan(&sources, &combined, &arrays, request.limits)?;
    let mut tasks: Vec<Task> = Vec::new();
    for (number, (target, old_length)) in targets.iter().enumerate() {
        let (Some(old_length), Some(axis)) = (old_length, combined.variables[number].along) else { continue };
        tasks.extend(new_tasks(number, target, &planned.arrays[number], axis, *old_length));
    }
    // The chunks at the edge, which readers of the old shape see, come last.
    tasks.sort_by_key(|task| touches_edge(task, &targets[task.array], combined.variables[task.array].along));
    planned.tasks = tasks;
    let summary = summary(&sources, &combined, &arrays, &planned);
    let root = folder.get(root_key(format))?.unwrap_or_default();
    let shown = folder.get(".zmetadata")?.unwrap_or_default();
    let files: Vec<String> = sources.iter().skip(1).map(Source::structure).collect();
    let hash = digest(format!("{:?}", (digest(&root), digest(&shown), &ordered, files, &receipt.request)).as_bytes());
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
    };
    Ok(Extension { prepared, store: ZarrStore { format, groups, arrays: ordered }, receipt })
}

fn layouts_are_v3(folder: &Folder) -> bool {
    folder.root().join(root_key(StoreFormat::V3)).exists()
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

/// The tasks from the unit on in which the array ended.
fn new_tasks(array: usize, target: &TargetArray, plan: &ArrayPlan, axis: usize, old_length: u64) -> Vec<Task> {
    let grid = grid_of(&target.shape, target.unit_shape());
    let first_unit = old_length / target.unit_shape()[axis];
    let mut rest = grid.clone();
    rest[axis] = grid[axis].saturating_sub(first_unit);
    let boxes = grid_of(&rest, &plan.units_of_task);
    (0..count(&boxes))
        .map(|number| {
            let mut units = Region::of_cell(&coordinates_of(number, &boxes), &plan.units_of_task, &rest);
            units.start[axis] += first_unit;
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
    let folder = Folder::new(request.target.clone());
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
    if let Some(saved) = saved(&folder)?
        && saved.plan != prepared.hash
    {
        discard(&folder)?;
    }
    folder.remove(STAGING)?;
    save_plan(&folder, prepared)?;
    let touched = run_tasks(prepared, &extension.store, &folder, &prepared.tasks, "extension", progress, stop)?;
    let inventory =
        folder.get(INVENTORY)?.and_then(|bytes| Inventory::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
    let new: BTreeSet<&str> = prepared.sources.iter().map(|source| source.name.as_str()).collect();
    // After a kill between receipt and root the receipt names the new files already.
    let earlier =
        extension.receipt.sources.iter().filter(|record| !new.contains(record.name.as_str())).cloned().collect();
    let showing = Showing {
        hash: &prepared.hash,
        request: &extension.receipt.request,
        along: prepared.combined.along.as_ref().map(|(name, _)| name.clone()),
        sources: &prepared.sources,
        earlier,
        inventory,
        tasks: &prepared.tasks,
        store: &extension.store,
    };
    show(&showing, &folder, documents, &touched)?;
    tidy(&folder, lock)?;
    Ok(Outcome::Written)
}

/// Takes away what an extension began that is not gone on with: its sources are others now. Nobody has seen any of it.
fn discard(folder: &Folder) -> Result<(), EngineError> {
    let inventory = inventory(folder)?;
    for key in journal::done(folder)?.keys().filter(|key| !inventory.0.contains_key(*key)) {
        folder.remove(key)?;
    }
    folder.remove(journal::FOLDER)?;
    folder.remove(PLAN)?;
    Ok(())
}

fn inventory(folder: &Folder) -> Result<Inventory, EngineError> {
    let text = folder.get(INVENTORY)?.unwrap_or_default();
    Ok(Inventory::parse(&String::from_utf8_lossy(&text)).unwrap_or_default())
}

fn saved(folder: &Folder) -> Result<Option<SavedPlan>, EngineError> {
    Ok(folder.get(PLAN)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A kill after the last document leaves only what is to be taken away.
fn finish_tidying(folder: &Folder) -> Result<(), EngineError> {
    let leftovers = ["journal", "plan.json", "staging", "lock"];
    if leftovers.iter().any(|name| folder.root().join(".frazil").join(name).exists()) {
        let lock = lock(folder, Sharing::Alone)?;
        tidy(folder, lock)?;
    }
    Ok(())
}
