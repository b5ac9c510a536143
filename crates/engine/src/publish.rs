//! Writing a store so that readers see the old one or the new one, and never half of it.
//!
//! Chunks go to their final keys, then the arrays' documents, then receipt and inventory; the root document comes
//! last, in one put. A run that was stopped at any point is taken up where it was by the same command.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use frazil_model::{
    plan::Task,
    recipe::write::ZarrFormat,
    region::{Region, cells_touching},
};
use frazil_store::{
    StoreError,
    folder::{Folder, STAGING},
    lock::{Lock, Sharing},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    journal::{self, Journal, Line, Stored},
    prepare::{Prepared, Request},
    progress::Progress,
    receipt::{INVENTORY, Inventory, RECEIPT, Receipt, SourceRecord, inventory_digest, sums},
    run::{Job, run},
    sinks::zarr::{ZarrSink, ZarrStore, root_key},
    unchanged,
};

/// Key of the plan of unfinished work.
pub const PLAN: &str = ".frazil/plan.json";

/// Key of the lock.
const LOCK: &str = ".frazil/lock";

/// What lies at the place of a store.
#[derive(Debug)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// Work of a plan that is not finished.
    Unfinished {
        /// Digest of the plan.
        plan: String,
    },
    /// A store that frazil finished.
    Published(Box<Receipt>),
    /// Something else.
    Foreign {
        /// What it is.
        what: &'static str,
    },
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The store was written.
    Written,
    /// It was there already, made of the same files: nothing was written.
    AlreadyThere,
}

/// The plan of unfinished work, as it lies beside the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Version of this document.
    pub frazil_plan: u32,
    /// Digest of the plan.
    pub plan: String,
    /// Its tasks, of which parts are made.
    pub tasks: Vec<Task>,
}

/// Looks at the place of a store.
///
/// # Errors
/// If it cannot be read.
pub fn standing(folder: &Folder) -> Result<Standing, EngineError> {
    let is_visible = [ZarrFormat::V3, ZarrFormat::V2].iter().any(|format| folder.root().join(root_key(*format)).exists());
    if is_visible {
        return Ok(match Receipt::of(folder)? {
            Some(receipt) => Standing::Published(Box::new(receipt)),
            None => Standing::Foreign { what: "it is a Zarr store that frazil did not write" },
        });
    }
    if let Some(bytes) = folder.get(PLAN)? {
        let saved = serde_json::from_slice::<SavedPlan>(&bytes);
        return Ok(Standing::Unfinished { plan: saved.map(|saved| saved.plan).unwrap_or_default() });
    }
    let entries = match std::fs::read_dir(folder.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Standing::Nothing),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Standing::Foreign { what: "it is a file" }),
        Err(error) => return Err(StoreError::writing(folder.root(), 0, error).into()),
    };
    let is_empty = entries.filter_map(Result::ok).all(|entry| entry.file_name() == ".frazil");
    Ok(if is_empty { Standing::Nothing } else { Standing::Foreign { what: "it is a folder with other files in it" } })
}

/// Writes a new store, or goes on with one that was begun.
///
/// # Errors
/// [`EngineError::Exists`] if something else is there; otherwise whatever stops the run.
pub fn create(request: &Request, prepared: &Prepared, progress: &Progress, stop: &AtomicBool) -> Result<Outcome, EngineError> {
    let folder = Folder::new(request.target.clone());
    match standing(&folder)? {
        Standing::Published(receipt) => return already_there(request, prepared, &folder, &receipt),
        Standing::Foreign { what } => return Err(exists(&folder, what)),
        Standing::Unfinished { plan } if plan != prepared.hash => {
            return Err(EngineError::OtherPlan { path: folder.root().to_owned() });
        }
        Standing::Unfinished { .. } | Standing::Nothing => {}
    }
    write(request, prepared, &folder, progress, stop)?;
    Ok(Outcome::Written)
}

/// Writes a store in the place of whatever frazil store is there.
///
/// The new one is made beside the old one; then the two change places in one step, and the old one is removed.
///
/// # Errors
/// As for [`create`]; the old store stays as it was until the new one is whole.
pub fn replace(request: &Request, prepared: &Prepared, progress: &Progress, stop: &AtomicBool) -> Result<Outcome, EngineError> {
    let folder = Folder::new(request.target.clone());
    let beside = Folder::new(beside(&request.target));
    let there = standing(&folder)?;
    match &there {
        Standing::Published(receipt) if receipt.plan == prepared.hash && !unchanged::differs(prepared, receipt)? => {
            // A kill between the exchange and the removal leaves the old store beside the new one.
            frazil_store::folder::remove_tree(beside.root())?;
            return already_there(request, prepared, &folder, receipt);
        }
        Standing::Foreign { what: what @ "it is a file" } => return Err(exists(&folder, what)),
        Standing::Nothing => return create(request, prepared, progress, stop),
        Standing::Unfinished { plan } if *plan == prepared.hash => return create(request, prepared, progress, stop),
        Standing::Unfinished { .. } => {
            let lock = lock(&folder, Sharing::Alone)?;
            clear(&folder)?;
            lock.remove()?;
            return create(request, prepared, progress, stop);
        }
        Standing::Published(_) | Standing::Foreign { .. } => {}
    }
    let held = lock(&folder, Sharing::Alone)?;
    if let Standing::Unfinished { plan } = standing(&beside)?
        && plan != prepared.hash
    {
        clear(&beside)?;
    }
    match standing(&beside)? {
        Standing::Published(receipt) if receipt.plan == prepared.hash => {}
        Standing::Published(_) | Standing::Foreign { .. } => {
            frazil_store::folder::remove_tree(beside.root())?;
            write(request, prepared, &beside, progress, stop)?;
        }
        Standing::Nothing | Standing::Unfinished { .. } => write(request, prepared, &beside, progress, stop)?,
    }
    frazil_store::folder::exchange(beside.root(), folder.root())?;
    held.abandon();
    frazil_store::folder::remove_tree(beside.root())?;
    Ok(Outcome::Written)
}

/// Where the new store is made while the old one is still there.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!(".{name}.frazil-new"))
}

fn exists(folder: &Folder, what: &str) -> EngineError {
    EngineError::Exists { path: folder.root().to_owned(), what: what.to_owned() }
}

/// A finished store is there: is it this one?
fn already_there(request: &Request, prepared: &Prepared, folder: &Folder, receipt: &Receipt) -> Result<Outcome, EngineError> {
    if receipt.plan != prepared.hash {
        return Err(exists(folder, "it was made of other files, or with other options"));
    }
    if unchanged::differs(prepared, receipt)? {
        return Err(exists(folder, "its sources have changed since it was made"));
    }
    let leftovers = ["journal", "plan.json", "staging", "lock"];
    if leftovers.iter().any(|name| request.target.join(".frazil").join(name).exists()) {
        let lock = lock(folder, Sharing::Alone)?;
        tidy(folder, lock)?;
    }
    Ok(Outcome::AlreadyThere)
}

pub(crate) fn lock(folder: &Folder, sharing: Sharing<'_>) -> Result<Lock, EngineError> {
    Ok(Lock::take(&folder.path_of(LOCK)?, sharing)?)
}

/// Removes unfinished work and all that it wrote; the lock stays.
fn clear(folder: &Folder) -> Result<(), EngineError> {
    let entries = std::fs::read_dir(folder.root()).map_err(|error| StoreError::writing(folder.root(), 0, error))?;
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != ".frazil") {
        frazil_store::folder::remove_tree(&entry.path())?;
    }
    for key in [journal::FOLDER, PLAN, STAGING, RECEIPT, INVENTORY] {
        folder.remove(key)?;
    }
    Ok(())
}

/// Makes the whole store and shows it.
fn write(request: &Request, prepared: &Prepared, folder: &Folder, progress: &Progress, stop: &AtomicBool) -> Result<(), EngineError> {
    let store = store_of(request, prepared);
    // What cannot be put into words is better known before the work than after it.
    let documents = store.documents()?;
    let lock = lock(folder, Sharing::Alone)?;
    folder.remove(STAGING)?;
    save_plan(folder, prepared)?;
    let touched = run_tasks(prepared, &store, folder, &prepared.tasks, "whole", progress, stop)?;
    show(request, prepared, folder, &store, documents, &touched)?;
    tidy(folder, lock)
}

/// The description of the store that a plan makes.
pub(crate) fn store_of(request: &Request, prepared: &Prepared) -> ZarrStore {
    ZarrStore::new(request.layout.format, prepared.combined.groups.clone(), &prepared.targets)
}

/// Puts the plan beside the store, so that unfinished work can be told from other things.
pub(crate) fn save_plan(folder: &Folder, prepared: &Prepared) -> Result<(), EngineError> {
    let saved = SavedPlan { frazil_plan: frazil_model::plan::PLAN_VERSION, plan: prepared.hash.clone(), tasks: prepared.tasks.clone() };
    let text = serde_json::to_string(&saved).map_err(|error| EngineError::Document { reason: error.to_string() })?;
    if folder.get(PLAN)?.as_deref() != Some(text.as_bytes()) {
        folder.put(PLAN, text.as_bytes())?;
    }
    Ok(())
}

/// Does those of `tasks` that no journal says are done.
pub(crate) fn run_tasks(
    prepared: &Prepared,
    store: &ZarrStore,
    folder: &Folder,
    tasks: &[Task],
    journal_name: &str,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<BTreeSet<String>, EngineError> {
    let done = trusted(folder, journal::done(folder)?)?;
    let left: Vec<Task> = tasks
        .iter()
        .filter(|task| units_of(task).iter().any(|at| !done.contains_key(&store.unit_key(task.array, at))))
        .cloned()
        .collect();
    progress.expect(left.len() as u64);
    let journal = Journal::open(folder, journal_name)?;
    let sink = ZarrSink { store, folder, journal: &journal, touched: Mutex::default() };
    let job = Job {
        sources: &prepared.sources,
        combined: &prepared.combined,
        targets: &prepared.targets,
        tasks: &left,
        pace: prepared.pace,
    };
    run(&job, &sink, progress, stop)?;
    Ok(sink.touched.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The journal's lines whose objects are there and whole.
fn trusted(folder: &Folder, lines: BTreeMap<String, Line>) -> Result<BTreeMap<String, Line>, EngineError> {
    let mut kept = BTreeMap::new();
    for (key, line) in lines {
        let is_whole = match &line.bytes {
            None => true,
            Some(stored) => folder.get(&key)?.is_some_and(|bytes| Stored::of(&bytes) == *stored),
        };
        if is_whole {
            kept.insert(key, line);
        }
    }
    Ok(kept)
}

/// The places of a task's units.
pub(crate) fn units_of(task: &Task) -> Vec<Vec<u64>> {
    let ones = vec![1; task.first.len()];
    cells_touching(&Region { start: task.first.clone(), shape: task.n_units.clone() }, &ones).collect()
}

/// Writes documents, inventory and receipt, and at last the document that makes the store visible.
pub(crate) fn show(
    request: &Request,
    prepared: &Prepared,
    folder: &Folder,
    store: &ZarrStore,
    mut documents: Vec<(String, String)>,
    touched: &BTreeSet<String>,
) -> Result<(), EngineError> {
    let lines = journal::done(folder)?;
    let mut inventory = Inventory::default();
    let mut n_units = 0;
    for key in prepared.tasks.iter().flat_map(|task| units_of(task).into_iter().map(|at| store.unit_key(task.array, &at))) {
        let line = lines.get(&key).ok_or_else(|| EngineError::Missing { key: key.clone() })?;
        if let Some(stored) = &line.bytes {
            n_units += 1;
            inventory.0.insert(key, stored.clone());
        }
    }
    for (key, text) in &documents {
        inventory.0.insert(key.clone(), Stored::of(text.as_bytes()));
    }
    let root = documents.pop().ok_or_else(|| EngineError::Document { reason: "a store without documents".into() })?;
    for (key, text) in &documents {
        folder.put(key, text.as_bytes())?;
    }
    let inventory = inventory.to_text();
    let receipt = Receipt {
        frazil_receipt: 1,
        plan: prepared.hash.clone(),
        request: request.recipe.clone(),
        sources: records(prepared, &sums(&lines, prepared.sources.len())),
        n_arrays: prepared.targets.len() as u64,
        n_units,
        inventory: inventory_digest(&inventory),
    };
    folder.put(INVENTORY, inventory.as_bytes())?;
    folder.put(RECEIPT, receipt.to_text()?.as_bytes())?;
    folder.sync_all()?;
    let of_documents = documents.iter().filter_map(|(key, _)| key.rsplit_once('/')).map(|(parent, _)| parent.to_owned());
    for key in touched.iter().cloned().chain(of_documents).collect::<BTreeSet<_>>() {
        folder.sync(Some(&key))?;
    }
    folder.sync(Some(".frazil"))?;
    folder.sync(None)?;
    folder.put(&root.0, root.1.as_bytes())?;
    folder.sync(None)?;
    Ok(())
}

fn records(prepared: &Prepared, sums: &[crate::identity::RangeSum]) -> Vec<SourceRecord> {
    prepared
        .sources
        .iter()
        .zip(sums)
        .map(|(source, sum)| SourceRecord {
            name: source.name.clone(),
            size_bytes: source.fingerprint.size_bytes,
            structure: source.structure(),
            read: sum.to_string(),
        })
        .collect()
}

/// Takes away what only unfinished work needs; the lock goes last.
pub(crate) fn tidy(folder: &Folder, lock: Lock) -> Result<(), EngineError> {
    for key in [journal::FOLDER, STAGING, PLAN] {
        folder.remove(key)?;
    }
    lock.remove()?;
    Ok(())
}
