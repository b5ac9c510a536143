//! Writing a store so that readers see the old one or the new one, and never half of it.
//!
//! Chunks go to their final keys, then the arrays' documents, then receipt and inventory; the root document comes
//! last, in one put. A run that was stopped at any point is taken up where it was by the same command.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::SystemTime,
};

use frazil_model::{
    location::Location,
    plan::Task,
    recipe::write::ZarrFormat,
    region::{Region, cells_touching},
};
use frazil_store::{
    StoreError,
    folder::{Folder, STAGING, Safety},
    lock::{Lock, Sharing},
    read::Fingerprint,
    steady::Steady,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::EngineError,
    grow::Grown,
    identity::RangeSum,
    index::IndexUse,
    journal::{self, Journal, Stored},
    known,
    prepare::{Prepared, Request},
    progress::Progress,
    receipt::{INVENTORY, Inventory, OtherRecord, RECEIPT, Receipt, SourceRecord, inventory_digest, sums},
    replace::{beside, clear_bucket, is_ours_beside},
    revise,
    run::{Job, run},
    sinks::zarr::{Syncing, ZarrSink, ZarrStore, note_folders, root_key},
    source::Source,
    standing::{exists, foreign, n_damaged},
    unchanged,
    verify::Amount,
};

pub use crate::{
    replace::{check_replaceable, replace},
    standing::{Standing, standing},
};

/// Key of the plan of unfinished work.
pub const PLAN: &str = ".frazil/plan.json";

/// Key of the lock.
pub(crate) const LOCK: &str = ".frazil/lock";

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
    /// Name and state of each file when the plan was made.
    pub sources: Vec<(String, Fingerprint)>,
    /// Files that take the place of what they gave to the store before, so that chunks which readers see are rewritten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revises: Vec<String>,
    /// Whether all else that lies in its place is to go first: a store that is being replaced in a bucket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

impl SavedPlan {
    /// The plan of a run.
    pub(crate) fn of(prepared: &Prepared) -> Self {
        Self {
            frazil_plan: frazil_model::plan::PLAN_VERSION,
            plan: prepared.hash.clone(),
            tasks: prepared.tasks.clone(),
            sources: states(prepared),
            revises: prepared.revised.clone(),
            replaces: false,
        }
    }

    pub(crate) fn to_text(&self) -> Result<String, EngineError> {
        serde_json::to_string(self).map_err(|error| EngineError::Document { reason: error.to_string() })
    }

    /// The one that lies in a place, if it makes sense.
    pub(crate) fn in_folder(folder: &Folder) -> Result<Option<Self>, EngineError> {
        Ok(folder.get(PLAN)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// What only unfinished work leaves below `.frazil`.
const LEFTOVERS: [&str; 4] = [journal::FOLDER, STAGING, PLAN, LOCK];

/// Writes a new store, or goes on with one that was begun.
///
/// # Errors
/// [`EngineError::Exists`] if something else is there; otherwise whatever stops the run.
pub fn create(
    request: &Request,
    prepared: &Prepared,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Outcome, EngineError> {
    let folder = Folder::at(&request.target)?;
    if is_made(prepared, &folder)? {
        sweep(&folder)?;
        return Ok(Outcome::AlreadyThere);
    }
    let lock = lock(&folder, Sharing::Alone)?;
    // Another process may have written it between the look and the lock.
    match is_made(prepared, &folder) {
        Ok(false) => {}
        Ok(true) => {
            tidy(&folder, lock)?;
            return Ok(Outcome::AlreadyThere);
        }
        Err(error) => {
            lock.remove()?;
            return Err(error);
        }
    }
    write(request, prepared, &folder, progress, stop)?;
    tidy(&folder, lock)?;
    Ok(Outcome::Written)
}

/// Whether the store of this plan is there already; an error if anything else is in its place.
pub(crate) fn is_made(prepared: &Prepared, folder: &Folder) -> Result<bool, EngineError> {
    match standing(folder)? {
        Standing::Published(receipt) if receipt.plan != prepared.hash => {
            Err(exists(folder, "it was made of other files, or with other options"))
        }
        Standing::Published(receipt) if revise::unfinished(folder, &receipt)?.is_some() => {
            Err(exists(folder, "a revision of it is not finished"))
        }
        Standing::Published(receipt) if unchanged::differs(prepared, &receipt)? => {
            Err(exists(folder, "its sources have changed since it was made"))
        }
        Standing::Published(_) => match n_damaged(folder, Amount::LOOK)? {
            0 => Ok(true),
            n_damaged => Err(exists(folder, &format!("{n_damaged} of its objects are not what was written"))),
        },
        Standing::Foreign { what } => Err(foreign(folder, what)),
        Standing::Unfinished { plan } if plan != prepared.hash => {
            Err(EngineError::OtherPlan { place: folder.location() })
        }
        Standing::Unfinished { .. } | Standing::Nothing => Ok(false),
    }
}

/// Takes away what a kill after the last document left, in the store and beside it.
pub(crate) fn sweep(folder: &Folder) -> Result<(), EngineError> {
    let beside = folder.path().map(beside).filter(|beside| is_ours_beside(beside));
    if beside.is_none() && !has_leftovers(folder)? {
        return Ok(());
    }
    match lock(folder, Sharing::Alone) {
        Ok(lock) => {
            if let Some(beside) = beside.filter(|beside| is_ours_beside(beside)) {
                frazil_store::folder::remove_tree(&beside)?;
            }
            tidy(folder, lock)
        }
        // Somebody is at work here: these are no leftovers.
        Err(EngineError::Store(StoreError::Locked { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether anything is there that only unfinished work leaves.
pub(crate) fn has_leftovers(folder: &Folder) -> Result<bool, EngineError> {
    let names = folder.names(".frazil")?;
    Ok(names.iter().any(|entry| LEFTOVERS.contains(&format!(".frazil/{}", entry.name).as_str())))
}

pub(crate) fn lock(folder: &Folder, sharing: Sharing<'_>) -> Result<Lock, EngineError> {
    folder.make()?;
    Lock::take(folder, LOCK, sharing).map_err(|error| match error {
        // People know the store, not the file that stands for it.
        StoreError::Locked { by, .. } => StoreError::Locked { place: folder.to_string(), by }.into(),
        error => error.into(),
    })
}

/// Makes the whole store and shows it; whoever calls holds its lock.
pub(crate) fn write(
    request: &Request,
    prepared: &Prepared,
    folder: &Folder,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    let store = store_of(request, prepared);
    // What cannot be put into words is better known before the work than after it.
    let documents = store.documents()?;
    folder.remove(STAGING)?;
    forget_changed(prepared, folder)?;
    save_plan(folder, prepared)?;
    let ran = run_tasks(prepared, &store, folder, &prepared.tasks, "whole", progress, stop)?;
    unchanged::check(&prepared.sources)?;
    show(&Showing::whole(request, prepared, &store), folder, documents, &ran)
}

/// Forgets what was done from files that are not what they were: a store must not be a mixture of both states.
pub(crate) fn forget_changed(prepared: &Prepared, folder: &Folder) -> Result<(), EngineError> {
    let Some(bytes) = folder.get(PLAN)? else { return Ok(()) };
    let is_same = serde_json::from_slice::<SavedPlan>(&bytes).is_ok_and(|saved| saved.sources == states(prepared));
    if !is_same {
        folder.remove(journal::FOLDER)?;
    }
    Ok(())
}

/// Name and state of each file. A store that is extended is none: the run itself changes it, and the digest of the
/// plan holds what readers see of it.
pub(crate) fn states(prepared: &Prepared) -> Vec<(String, Fingerprint)> {
    let files = prepared.sources.iter().filter(|source| !source.is_extended());
    let mut states: Vec<(String, Fingerprint)> = files.map(|source| (source.name.clone(), source.state())).collect();
    let others = prepared.sources.iter().flat_map(other_states);
    states.extend(others.map(|(location, fingerprint)| (location.to_string(), fingerprint)));
    states
}

/// Places and states of the files that a file names.
pub(crate) fn other_states(source: &Source) -> BTreeMap<Location, Fingerprint> {
    let mut found = BTreeMap::new();
    source.others.iter().for_each(|other| other.states(&mut found));
    found
}

/// What is shown at the end of a run.
pub(crate) struct Showing<'a> {
    /// Digest of the plan.
    pub hash: &'a str,
    /// What was asked for.
    pub request: &'a str,
    /// The dimension that grows.
    pub along: Option<String>,
    /// Files that were read; what was read of them is in the journal, by their number.
    pub sources: &'a [Source],
    /// Files that were read before, for a store that is extended.
    pub earlier: Vec<SourceRecord>,
    /// Objects that were there before.
    pub inventory: Inventory,
    /// Tasks of the run.
    pub tasks: &'a [Task],
    /// The store.
    pub store: &'a ZarrStore,
    /// Since when the files are known, and whether that is noted for the next run.
    pub noting: (SystemTime, IndexUse),
}

impl<'a> Showing<'a> {
    /// Of a store that is written from nothing.
    pub(crate) fn whole(request: &'a Request, prepared: &'a Prepared, store: &'a ZarrStore) -> Self {
        Self {
            hash: &prepared.hash,
            request: &request.recipe,
            along: prepared.combined.along.as_ref().map(|(name, _)| name.clone()),
            sources: &prepared.sources,
            earlier: Vec::new(),
            inventory: Inventory::default(),
            tasks: &prepared.tasks,
            store,
            noting: (prepared.began, prepared.index),
        }
    }
}

/// The description of the store that a plan makes.
pub(crate) fn store_of(request: &Request, prepared: &Prepared) -> ZarrStore {
    ZarrStore::new(request.layout.format, prepared.combined.groups.clone(), &prepared.targets)
}

/// Puts the plan beside the store, so that unfinished work can be told from other things.
pub(crate) fn save_plan(folder: &Folder, prepared: &Prepared) -> Result<(), EngineError> {
    if SavedPlan::in_folder(folder)?.is_some_and(|saved| saved.replaces) {
        clear_bucket(folder)?;
    }
    let text = SavedPlan::of(prepared).to_text()?;
    if folder.get(PLAN)?.as_deref() != Some(text.as_bytes()) {
        folder.put(PLAN, text.as_bytes())?;
    }
    // Chunks without a plan would be taken for somebody else's files, after a power cut as well.
    folder.sync(Some(".frazil"))?;
    folder.sync(None)?;
    Ok(())
}

/// What a run leaves to whoever shows the store.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// Folders that got a new name and must be synced.
    pub touched: BTreeSet<String>,
    /// Whether all that was read of the sources was read by this process.
    pub read_all: bool,
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
) -> Result<Ran, EngineError> {
    let done = journal::trusted(folder)?;
    let left: Vec<Task> = tasks
        .iter()
        .filter(|task| units_of(task).iter().any(|at| !done.contains_key(&store.unit_key(task.array, at))))
        .cloned()
        .collect();
    progress.expect(left.len() as u64);
    // A run that was killed may not have synced the folders it wrote to.
    let mut touched = BTreeSet::new();
    done.iter().filter(|(_, line)| line.bytes.is_some()).for_each(|(key, _)| note_folders(key, &mut touched));
    let journal = Journal::open(folder, journal_name)?;
    // Readers of the old shape see the chunk at the edge, so it is on the disk before its name is.
    let syncing = match (is_visible(folder)?, folder.safety()) {
        (true, _) => Syncing::Each,
        (false, Safety::AtOnce) => Syncing::AtOnce,
        (false, Safety::Together | Safety::Apart) => Syncing::BeforeTheEnd(steady()?),
    };
    let grown = Grown::of(folder, store, &prepared.edges)?;
    let grown = grown.as_ref();
    let sink = ZarrSink { store, folder, journal: &journal, touched: Mutex::new(touched), syncing, grown, done: &done };
    let job = Job {
        sources: &prepared.sources,
        combined: &prepared.combined,
        targets: &prepared.targets,
        tasks: &left,
        pace: prepared.pace,
        grown,
    };
    let done_well = run(&job, &sink, progress, stop);
    // Also after an interruption: what was done need not be done again.
    let noted = journal.finish();
    done_well?;
    noted?;
    if let Syncing::BeforeTheEnd(steady) = sink.syncing {
        steady.finish()?;
    }
    let touched = sink.touched.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Ran { touched, read_all: done.is_empty() })
}

fn steady() -> Result<Steady, EngineError> {
    Steady::start().map_err(|error| EngineError::Thread { reason: format!("the machine gives no thread: {error}") })
}

/// The places of a task's units.
pub(crate) fn units_of(task: &Task) -> Vec<Vec<u64>> {
    let ones = vec![1; task.first.len()];
    cells_touching(&Region { start: task.first.clone(), shape: task.n_units.clone() }, &ones).collect()
}

/// Writes documents, inventory and receipt, and at last the document that makes the store visible.
pub(crate) fn show(
    showing: &Showing<'_>,
    folder: &Folder,
    mut documents: Vec<(String, String)>,
    ran: &Ran,
) -> Result<(), EngineError> {
    let lines = journal::done(folder)?;
    let mut inventory = showing.inventory.clone();
    for task in showing.tasks {
        for key in units_of(task).iter().map(|at| showing.store.unit_key(task.array, at)) {
            let line = lines.get(&key).ok_or_else(|| EngineError::Missing { key: key.clone() })?;
            match &line.bytes {
                Some(stored) => inventory.0.insert(key, stored.clone()),
                None => inventory.0.remove(&key),
            };
        }
    }
    for (key, text) in &documents {
        inventory.0.insert(key.clone(), Stored::of(text.as_bytes()));
    }
    let root = documents.pop().ok_or_else(|| EngineError::Document { reason: "a store without documents".into() })?;
    // Some readers of v2 look no further than here, so it must not come before what it speaks of.
    let consolidated = documents.pop_if(|(key, _)| key == ".zmetadata");
    let n_units = (inventory.0.len() - documents.len() - 1) as u64;
    let inventory = inventory.to_text();
    let mut sources = showing.earlier.clone();
    let records = records(showing.sources, &sums(&lines, showing.sources.len()));
    for record in &records {
        match sources.iter_mut().find(|known| known.name == record.name) {
            Some(known) => known.clone_from(record),
            None => sources.push(record.clone()),
        }
    }
    let receipt = Receipt {
        frazil_receipt: 1,
        plan: showing.hash.to_owned(),
        request: showing.request.to_owned(),
        along: showing.along.clone(),
        sources,
        n_arrays: showing.store.arrays.len() as u64,
        n_units,
        inventory: inventory_digest(&inventory),
    };
    documents.push((INVENTORY.to_owned(), inventory));
    documents.push((RECEIPT.to_owned(), receipt.to_text()?));
    settle(folder, &documents, &ran.touched)?;
    if let Some((key, text)) = consolidated {
        folder.put(&key, text.as_bytes())?;
        folder.sync(None)?;
    }
    folder.put(&root.0, root.1.as_bytes())?;
    folder.sync(None)?;
    note(showing, folder, &records, ran);
    Ok(())
}

/// Puts documents that readers do not look at first, and waits until the disk has all of the store but what shows it.
fn settle(folder: &Folder, documents: &[(String, String)], touched: &BTreeSet<String>) -> Result<(), EngineError> {
    // Where nobody looks yet, thousands of small files reach the disk together, names and all.
    let is_together = folder.safety() == Safety::Together && !is_visible(folder)?;
    for (key, text) in documents {
        match is_together {
            true => folder.put_for_later(key, text.as_bytes())?,
            false => folder.put(key, text.as_bytes())?,
        };
    }
    folder.sync_all()?;
    if is_together || folder.safety() == Safety::AtOnce {
        return Ok(());
    }
    let of_documents =
        documents.iter().filter_map(|(key, _)| key.rsplit_once('/')).map(|(parent, _)| parent.to_owned());
    for key in touched.iter().cloned().chain(of_documents).collect::<BTreeSet<_>>() {
        folder.sync(Some(&key))?;
    }
    Ok(folder.sync(None)?)
}

/// Whether readers find a store in the folder.
fn is_visible(folder: &Folder) -> Result<bool, EngineError> {
    Ok(folder.exists(root_key(ZarrFormat::V3))? || folder.exists(root_key(ZarrFormat::V2))?)
}

/// Notes what was read of the files, so that they need not be read again while they stay as they are.
fn note(showing: &Showing<'_>, folder: &Folder, records: &[SourceRecord], ran: &Ran) {
    let (began, index) = showing.noting;
    // Parts and earlier tries may have read before this process looked, but none before the plan was saved. When that
    // was in a bucket only another clock says.
    let planned = match folder.path_of(PLAN).ok().flatten() {
        Some(path) => std::fs::metadata(path).ok().and_then(|about| about.modified().ok()),
        None => ran.read_all.then_some(began),
    };
    let Some(planned) = planned else { return };
    let files = showing.sources.iter().filter(|source| !source.is_extended());
    known::note(files.zip(records), began.min(planned), index);
}

/// What the receipt says of files; an existing store that is read for its own extension is none.
fn records(sources: &[Source], sums: &[RangeSum]) -> Vec<SourceRecord> {
    sources
        .iter()
        .zip(sums)
        .filter(|(source, _)| !source.is_extended())
        .map(|(source, sum)| SourceRecord {
            name: source.name.clone(),
            size_bytes: source.fingerprint.size_bytes,
            structure: source.structure(),
            read: sum.to_string(),
            others: source.others.iter().map(OtherRecord::of).collect(),
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
