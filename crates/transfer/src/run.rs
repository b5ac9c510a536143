//! A plan carried out: phase by phase, many files at a time.
//!
//! It promises that a store whose chunks did not all arrive is not shown, that nothing is deleted after any error, that
//! a file is deleted only once it was seen that its source has none, and that whatever stops it, the same plan made anew
//! goes on where it was.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use frazil_model::location::is_below;
use frazil_store::{
    StoreError,
    beneath::Beneath,
    bucket::{Bucket, Upload, When},
};

use crate::{
    atoms::{Phase, may_show},
    copy::{
        Delete, Plan, Task,
        claims::Claims,
        one::{Sink, move_one},
        parts::LARGE_BYTES,
    },
    error::TransferError,
    known::Known,
    place::{Place, joined},
    progress::Progress,
    together::Together,
    window::Window,
};

/// Bytes under way at once, in parts and whole files.
const WINDOW_BYTES: u64 = 128 << 20;

/// Small files that move at a time.
const FILES_AT_A_TIME: usize = 32;

/// Large files that move at a time, each with its parts.
const LARGE_FILES_AT_A_TIME: usize = 2;

/// Questions asked at a time before files are deleted.
const QUESTIONS_AT_A_TIME: usize = 16;

/// Failures that are told one by one.
const MOST_TOLD: usize = 1000;

/// Who watches a transfer.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// Counts what is done.
    pub progress: &'a Progress,
    /// Set when it is to end.
    pub stop: &'a AtomicBool,
}

/// What is noted while a transfer runs, for whoever cannot list what is there when it goes on.
pub trait Notes: Sync {
    /// A file is there, with this tag.
    fn arrived(&self, task: &Task, tag: &str);
    /// An upload was begun.
    fn begun(&self, upload: &Upload);
    /// Uploads that were begun earlier.
    fn uploads(&self) -> Vec<Upload>;
}

/// What all workers share.
pub(crate) struct Workers<'a> {
    pub progress: &'a Progress,
    pub window: Window,
    pub known: &'a Known,
    pub together: Together,
    /// A moment before any file was looked at.
    pub began: SystemTime,
    /// Uploads that were begun or go on, and have not ended.
    pub n_open: AtomicUsize,
    /// Bytes of files that arrived and whose size was not known before.
    pub untold_bytes: AtomicU64,
    /// When a file that is sent whole is put.
    pub when: When<'static>,
    notes: Option<&'a dyn Notes>,
    stop: &'a AtomicBool,
    uploads: Mutex<HashMap<String, Vec<Upload>>>,
}

impl Workers<'_> {
    /// Whether somebody wants to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An upload of this key that an earlier run left open.
    pub fn open_upload(&self, key: &str) -> Option<Upload> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(key)?.last().cloned()
    }

    /// Says that an upload was begun.
    pub fn begun(&self, upload: &Upload) {
        if let Some(notes) = self.notes {
            notes.begun(upload);
        }
    }

    /// Says that an upload goes on, and so is not to be given up in the end.
    pub fn uses(&self, upload: &Upload) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_key) = uploads.get_mut(&upload.key) {
            of_key.retain(|other| other != upload);
        }
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files that moved.
    pub n_files: u64,
    /// Their bytes.
    pub n_bytes: u64,
    /// Files whose bytes could not be compared with what their server keeps.
    pub n_unverified: u64,
    /// Files that were deleted.
    pub n_deleted: u64,
    /// Files that could not be moved.
    pub n_failed: u64,
    /// The first of them, with the reason.
    pub failed: Vec<(String, TransferError)>,
    /// Stores that some of them are of.
    broken: BTreeSet<String>,
    /// Files that were to be deleted and stay, with the reason.
    pub kept: Vec<(String, String)>,
}

impl Outcome {
    fn fail(&mut self, name: &str, store: Option<&str>, error: TransferError) {
        self.n_failed += 1;
        self.broken.extend(store.map(str::to_owned));
        if self.failed.len() < MOST_TOLD {
            self.failed.push((name.to_owned(), error));
        }
    }
}

/// Carries out a plan.
///
/// # Errors
/// If nothing could be begun, or somebody wanted to stop. What failed of single files the outcome tells.
pub fn run(plan: &Plan, watch: Watch<'_>) -> Result<Outcome, TransferError> {
    run_noting(plan, watch, None)
}

/// The same, with notes taken.
///
/// # Errors
/// As for [`run`].
pub fn run_noting(plan: &Plan, watch: Watch<'_>, notes: Option<&dyn Notes>) -> Result<Outcome, TransferError> {
    let folder;
    let sink = match &plan.root {
        Place::Local(path) => {
            folder = Beneath::open(path)?;
            folder.tidy();
            Sink::Folder(&folder)
        }
        Place::Bucket { bucket, key } => Sink::Bucket(bucket, key),
        Place::Web(location) => {
            let (place, reason) = (location.to_string(), "a web server takes no files");
            return Err(TransferError::NotWritable { place, reason });
        }
    };
    let mut uploads = open_uploads(plan)?;
    for upload in notes.map(Notes::uploads).unwrap_or_default() {
        let of_key = uploads.entry(upload.key.clone()).or_default();
        if !of_key.iter().any(|known| known.id == upload.id) {
            of_key.insert(0, upload);
        }
    }
    let workers = Workers {
        progress: watch.progress,
        window: Window::new(WINDOW_BYTES),
        known: &plan.known,
        together: Together::default(),
        began: SystemTime::now(),
        n_open: AtomicUsize::new(0),
        untold_bytes: AtomicU64::new(0),
        when: if plan.only_new { When::Absent } else { When::Always },
        notes,
        stop: watch.stop,
        uploads: Mutex::new(uploads),
    };
    watch.progress.expect(plan.tasks.len() as u64, plan.n_bytes());
    let mut outcome = Outcome::default();
    let claims = Claims::take(plan, &sink)?;
    let carried = carry_out(plan, &sink, &workers, &claims, &mut outcome);
    claims.leave(&sink);
    outcome.n_bytes = outcome.n_bytes.saturating_add(workers.untold_bytes.load(Ordering::Relaxed));
    if let Sink::Folder(folder) = &sink {
        folder.sync_all()?;
        folder.tidy();
    }
    plan.known.keep();
    carried.map_err(|error| match error {
        TransferError::Interrupted { resume, .. } => {
            let n_open = workers.n_open.load(Ordering::Relaxed);
            TransferError::Interrupted { resume, open: (n_open > 0).then(|| plan.root.shown()) }
        }
        other => other,
    })?;
    Ok(outcome)
}

fn carry_out(
    plan: &Plan,
    sink: &Sink<'_>,
    workers: &Workers<'_>,
    claims: &Claims,
    outcome: &mut Outcome,
) -> Result<(), TransferError> {
    for names in plan.hidden.values() {
        delete(sink, names.iter().map(String::as_str))?;
    }
    for phase in Phase::ALL {
        claims.assure()?;
        let of_phase = |task: &&Task| task.phase == phase;
        let (tasks, held): (Vec<&Task>, Vec<&Task>) = plan
            .tasks
            .iter()
            .filter(of_phase)
            .partition(|task| !plan.atoms.of(&task.to).is_some_and(|root| outcome.broken.contains(root)));
        for task in held {
            let place = plan.root.below(&task.to).shown();
            outcome.fail(&task.to, plan.atoms.of(&task.to), TransferError::HeldBack { place });
        }
        move_all(&tasks, plan, sink, workers, outcome);
        if workers.is_stopped() {
            return Err(TransferError::Interrupted { resume: None, open: None });
        }
        if phase == Phase::Data {
            // What the store had and the new one has not goes before it is shown again.
            let leftovers = plan.deletes.iter().filter(|delete| delete.source.is_none()).map(|delete| &delete.name);
            let leftovers: Vec<&str> = leftovers
                .map(String::as_str)
                .filter(|name| plan.hidden.keys().any(|root| is_below(name, root) && !outcome.broken.contains(root)))
                .collect();
            outcome.n_deleted += leftovers.len() as u64;
            delete(sink, leftovers.into_iter())?;
        }
    }
    give_up_uploads(plan, workers, outcome);
    delete_what_the_source_has_not(plan, sink, workers, outcome)
}

/// Uploads that an earlier run left open below the place that is written to, by key.
fn open_uploads(plan: &Plan) -> Result<HashMap<String, Vec<Upload>>, TransferError> {
    let Some((bucket, prefix)) = plan.bucket() else { return Ok(HashMap::new()) };
    // One question for all; without large files there are none of ours.
    let large: Vec<&Task> = plan.tasks.iter().filter(|task| task.found.size_bytes >= LARGE_BYTES).collect();
    let start = match large.as_slice() {
        [] if plan.same.1 < LARGE_BYTES => return Ok(HashMap::new()),
        [one] => joined(prefix, &one.to),
        _ if prefix.is_empty() => String::new(),
        _ => format!("{prefix}/"),
    };
    let found = match bucket.uploads(&start) {
        Ok(found) => found,
        // Whoever may write but not list uploads sends large files anew.
        Err(StoreError::Denied { .. } | StoreError::Fetch { is_temporary: false, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut uploads: HashMap<String, Vec<Upload>> = HashMap::new();
    for upload in found {
        let name = match prefix.is_empty() {
            true => Some(upload.key.as_str()),
            false => upload.key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
        };
        if name.is_some_and(|name| plan.has(name)) {
            uploads.entry(upload.key.clone()).or_default().push(upload);
        }
    }
    for of_key in uploads.values_mut() {
        of_key.sort_by_key(|upload| upload.begun_seconds);
    }
    Ok(uploads)
}

/// Uploads of files that are there now need not go on.
fn give_up_uploads(plan: &Plan, workers: &Workers<'_>, outcome: &mut Outcome) {
    let Some((bucket, _)) = plan.bucket() else { return };
    let left = std::mem::take(&mut *workers.uploads.lock().unwrap_or_else(PoisonError::into_inner));
    // Whatever failed may go on with them when the command is typed again.
    let left = if outcome.n_failed > 0 { HashMap::new() } else { left };
    for upload in left.into_values().flatten() {
        if let Err(error) = bucket.abort(&upload) {
            outcome.kept.push((upload.key, format!("an upload that was left open could not be given up: {error}")));
        }
    }
}

/// Moves files, small and large side by side.
fn move_all(tasks: &[&Task], plan: &Plan, sink: &Sink<'_>, workers: &Workers<'_>, outcome: &mut Outcome) {
    let (large, small): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(|task| task.found.size_bytes >= LARGE_BYTES);
    let (next_large, next_small) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let together: Mutex<&mut Outcome> = Mutex::new(outcome);
    let work = |queue: &[&Task], next: &AtomicUsize| {
        while !workers.is_stopped() {
            let Some(task) = queue.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let moved = move_one(task, sink, workers);
            let mut outcome = together.lock().unwrap_or_else(PoisonError::into_inner);
            match moved {
                Ok(moved) => {
                    workers.progress.file();
                    if let Some(notes) = workers.notes {
                        notes.arrived(task, &moved.state.tag());
                    }
                    outcome.n_files += 1;
                    outcome.n_bytes = outcome.n_bytes.saturating_add(task.found.size_bytes);
                    outcome.n_unverified += u64::from(!moved.is_verified);
                }
                Err(TransferError::Interrupted { .. }) => {}
                Err(error) => outcome.fail(&task.to, plan.atoms.of(&task.to), error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..LARGE_FILES_AT_A_TIME.min(large.len()) {
            scope.spawn(|| work(&large, &next_large));
        }
        for _ in 0..FILES_AT_A_TIME.min(small.len()) {
            scope.spawn(|| work(&small, &next_small));
        }
    });
}

/// Deletes files where they were written to.
fn delete<'a>(sink: &Sink<'_>, names: impl Iterator<Item = &'a str>) -> Result<(), TransferError> {
    match sink {
        Sink::Folder(folder) => {
            for name in names {
                folder.remove(name)?;
            }
        }
        Sink::Bucket(bucket, prefix) => {
            let keys: Vec<String> = names.map(|name| joined(prefix, name)).collect();
            delete_keys(bucket, &keys)?;
        }
    }
    Ok(())
}

fn delete_keys(bucket: &Bucket, keys: &[String]) -> Result<(), TransferError> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    match bucket.delete(&keys)?.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// Deletes what the source has not, once nothing failed and each was looked for at its source.
fn delete_what_the_source_has_not(
    plan: &Plan,
    sink: &Sink<'_>,
    workers: &Workers<'_>,
    outcome: &mut Outcome,
) -> Result<(), TransferError> {
    let wanted: Vec<&Delete> = plan.deletes.iter().filter(|delete| delete.source.is_some()).collect();
    if outcome.n_failed > 0 {
        let reason = "nothing is deleted after an error";
        outcome.kept.extend(wanted.iter().map(|delete| (delete.name.clone(), reason.to_owned())));
        return Ok(());
    }
    let answers: Mutex<BTreeMap<usize, Result<bool, StoreError>>> = Mutex::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..QUESTIONS_AT_A_TIME.min(wanted.len()) {
            scope.spawn(|| {
                while !workers.is_stopped() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(place) = wanted.get(at).and_then(|delete| delete.source.as_ref()) else { return };
                    answers.lock().unwrap_or_else(PoisonError::into_inner).insert(at, is_there(place));
                }
            });
        }
    });
    if workers.is_stopped() {
        return Err(TransferError::Interrupted { resume: None, open: None });
    }
    let mut sure = Vec::new();
    for (at, answer) in answers.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let Some(one) = wanted.get(at) else { continue };
        match answer {
            Ok(false) => sure.push(one.name.as_str()),
            Ok(true) => outcome.kept.push((one.name.clone(), "the source has it, though its listing did not".into())),
            // One that cannot be told of is enough to delete none.
            Err(error) => return Err(error.into()),
        }
    }
    if !outcome.kept.is_empty() {
        let reason = "the listing of the source was not whole, so nothing is deleted";
        outcome.kept.extend(sure.into_iter().map(|name| (name.to_owned(), reason.to_owned())));
        return Ok(());
    }
    outcome.n_deleted += sure.len() as u64;
    // Metadata of stores first.
    let mut ordered: Vec<(std::cmp::Reverse<Phase>, &str)> =
        sure.into_iter().map(|name| (std::cmp::Reverse(phase_of(name)), name)).collect();
    ordered.sort_unstable();
    delete(sink, ordered.into_iter().map(|(_, name)| name))
}

/// When a name would be written, told by itself.
pub(crate) fn phase_of(name: &str) -> Phase {
    match name.rsplit('/').next().unwrap_or_default() {
        "zarr.json" | ".zgroup" | ".zarray" => Phase::Root,
        ".zmetadata" | ".zattrs" => Phase::Outer,
        _ if may_show(name) => Phase::Root,
        _ => Phase::Data,
    }
}

fn is_there(place: &Place) -> Result<bool, StoreError> {
    match place {
        Place::Local(path) => match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(error) => {
                let location = frazil_model::location::Location::File(path.display().to_string());
                Err(StoreError::reading(&location, error))
            }
        },
        Place::Bucket { bucket, key } => Ok(bucket.about(key)?.is_some()),
        Place::Web(_) => Ok(true),
    }
}
