//! Sending a delivery: every file, then the manifest.
//!
//! It lists nothing: what is there already a journal tells, or a question for each file, so that whoever may only put
//! objects below one prefix can send. It deletes nothing. It promises that the manifest is put only once every file that it
//! names is there, and only if no file changed since its digest was made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use frazil_store::{StoreError, bucket::Listed, read::fingerprint_of, rfc3339};

use super::{Entry, MANIFEST, Manifest, Put, RECORD, Record, VERSION, journal::Journal, put_text, reserved, text};
use crate::{
    atoms::Phase,
    copy::{Filter, Plan, Proof, Task, claims::is_lock, one},
    error::TransferError,
    guard,
    known::Known,
    place::{Place, Written, joined},
    progress::Progress,
    run::{Outcome, Watch, run_noting},
    same::Same,
    sums::{FILES_AT_A_TIME, for_each, sha256},
    walk::{Found, Tree, trees},
};

/// Questions asked at a time.
const QUESTIONS_AT_A_TIME: usize = 32;

/// If none of so many files is there and nobody noted that one was sent, none is.
const FIRST_ASKED: usize = 16;

/// What is to be sent, and where.
#[derive(Debug)]
pub struct Wanted {
    /// What.
    pub sources: Vec<Written>,
    /// The place of deliveries.
    pub to: Written,
    /// The name of the delivery.
    pub name: String,
    /// What the sender says of it.
    pub note: Option<String>,
    /// Who that is.
    pub who: String,
    /// The version of frazil.
    pub version: &'static str,
    /// Which names are meant.
    pub filter: Filter,
}

/// A delivery that can be sent.
#[derive(Debug)]
pub struct Pushing {
    /// The folder of the delivery.
    pub place: Place,
    /// What moves.
    pub plan: Plan,
    /// Its files.
    pub files: Vec<Entry>,
    /// Whether a whole delivery of this name and content is there.
    pub is_there: bool,
    all: Vec<SourceFile>,
    journal: Journal,
}

/// What became of a delivery.
#[derive(Debug)]
pub struct Sent {
    /// What moved.
    pub outcome: Outcome,
    /// The manifest, if it was put.
    pub manifest: Option<Manifest>,
}

/// Looks at everything and makes the plan; nothing is changed but the journal on this machine.
///
/// # Errors
/// If a source is not there or cannot be delivered, or a delivery of that name has other content.
pub fn prepare(wanted: &Wanted, progress: &Progress, stop: &AtomicBool) -> Result<Pushing, TransferError> {
    check_name(&wanted.name)?;
    let place = wanted.to.place.below(&wanted.name);
    if let Place::Web(location) = &place {
        let (place, reason) = (location.to_string(), "a web server takes no files");
        return Err(TransferError::NotWritable { place, reason });
    }
    guard::bounds(&place)?;
    let all = sources(wanted, &place)?;
    let journal = Journal::of(&place);
    journal.open();
    progress.expect(all.len() as u64, all.iter().map(|(_, found, _)| found.size_bytes).sum());
    let files = digests(&all, &journal, progress, stop)?;
    let is_there = match there(&place)? {
        Some(manifest) => match manifest.first_difference(&files) {
            Some(first) => return Err(TransferError::DeliveryTaken { place: place.shown(), first }),
            None => true,
        },
        None => false,
    };
    let mut tasks: Vec<Task> = all
        .iter()
        .map(|(from, found, to)| Task {
            from: Arc::clone(from),
            found: found.clone(),
            to: Arc::clone(to),
            phase: Phase::Data,
            replaces: false,
        })
        .collect();
    let mut same = (0, 0);
    if is_there {
        same = (tasks.len() as u64, tasks.iter().map(|task| task.found.size_bytes).sum());
        tasks.clear();
    } else {
        let is_sent = sent_already(&place, &tasks, &journal, stop)?;
        let mut is_sent = is_sent.into_iter();
        tasks.retain(|task| {
            let is_sent = is_sent.next().unwrap_or(false);
            if is_sent {
                same = (same.0 + 1, same.1 + task.found.size_bytes);
            }
            !is_sent
        });
    }
    let names = all.iter().map(|(_, _, to)| Arc::clone(to)).collect();
    let plan = Plan::of_tasks(place.clone(), tasks, names, same);
    Ok(Pushing { place, plan, files, is_there, all, journal })
}

fn check_name(name: &str) -> Result<(), TransferError> {
    let wrong = |reason| Err(TransferError::DeliveryName { name: name.to_owned(), reason });
    match name {
        "" => wrong("it is empty"),
        _ if name.contains('/') => wrong("it has a slash in it"),
        _ if name.starts_with('.') => wrong("it begins with a dot"),
        _ if name.chars().any(char::is_control) || name.len() > 255 => wrong("it is too long, or not plain text"),
        _ => Ok(()),
    }
}

/// A file: the place it is below, what it is there, and its name in the delivery.
type SourceFile = (Arc<Place>, Found, Arc<str>);

/// The files with their names in the delivery, sorted: those of one folder as they are in it, everything else under its own
/// name.
fn sources(wanted: &Wanted, place: &Place) -> Result<Vec<SourceFile>, TransferError> {
    let mut found: Vec<Tree> = Vec::new();
    for source in &wanted.sources {
        found.extend(trees(source)?);
    }
    let is_one_folder = matches!(found.as_slice(), [tree] if !tree.is_file);
    let mut all: BTreeMap<Arc<str>, (Arc<Place>, Found)> = BTreeMap::new();
    let mut wrong: Vec<(String, String)> = Vec::new();
    for tree in found {
        guard::not_within(&tree, place)?;
        let base = if is_one_folder { String::new() } else { tree.place.base_name() };
        let passed_over = tree.passed_over.into_iter().filter(|(name, _)| wanted.filter.takes(name));
        wrong.extend(passed_over.map(|(name, reason)| (joined(&base, &name), reason)));
        let from = Arc::new(tree.place);
        for found in tree.found {
            let name: Arc<str> = joined(&base, &found.name).into();
            if is_lock(&name) || !wanted.filter.takes(&name) {
                continue;
            }
            let unsafe_name = frazil_store::beneath::unsafe_name(&name).or_else(|| reserved(&name));
            if let Some(reason) = unsafe_name {
                wrong.push((name.to_string(), reason.to_owned()));
            } else if all.insert(Arc::clone(&name), (Arc::clone(&from), found)).is_some() {
                wrong.push((name.to_string(), "two of the sources have that name".to_owned()));
            }
        }
    }
    let n = wrong.len();
    match wrong.into_iter().next() {
        Some((name, reason)) => return Err(TransferError::Undeliverable { n, name, reason }),
        None if all.is_empty() => {
            let place = wanted.sources.first().map(|source| source.text.clone()).unwrap_or_default();
            return Err(TransferError::Nothing { place });
        }
        None => {}
    }
    Ok(all.into_iter().map(|(name, (from, found))| (from, found, name)).collect())
}

fn place_of(from: &Place, found: &Found) -> Place {
    if found.name.is_empty() { from.clone() } else { from.below(&found.name) }
}

fn interrupted() -> TransferError {
    TransferError::Interrupted { resume: None, open: None }
}

/// The digest of each file: noted, or made now.
fn digests(
    all: &[SourceFile],
    journal: &Journal,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Vec<Entry>, TransferError> {
    let made = for_each(all, FILES_AT_A_TIME, stop, |(from, found, name)| {
        if let Some(sum) = journal.sum(name, found) {
            progress.bytes(found.size_bytes);
            progress.file();
            return Ok(sum);
        }
        let sum = sha256(place_of(from, found), found, progress)?;
        journal.note_sum(name, found, &sum);
        Ok::<_, StoreError>(sum)
    });
    let mut files = Vec::with_capacity(all.len());
    for ((_, found, name), made) in all.iter().zip(made) {
        let sha256 = made.ok_or_else(interrupted)??;
        files.push(Entry { name: name.to_string(), size_bytes: found.size_bytes, sha256 });
    }
    Ok(files)
}

/// The manifest of a delivery that is there, or was there until it was accepted. Whoever may not read is told nothing.
fn there(place: &Place) -> Result<Option<Manifest>, TransferError> {
    let read = |name| match text(place, name) {
        Err(TransferError::Store(StoreError::Denied { .. } | StoreError::Refused { .. })) => Ok(None),
        text => text,
    };
    if let Some(text) = read(MANIFEST)? {
        return Manifest::parse(&text, place).map(Some);
    }
    let record = read(RECORD)?.and_then(|text| serde_json::from_str::<Record>(&text).ok());
    Ok(record.map(|record| record.manifest))
}

/// Whether each file is there already.
fn sent_already(
    place: &Place,
    tasks: &[Task],
    journal: &Journal,
    stop: &AtomicBool,
) -> Result<Vec<bool>, TransferError> {
    let known = match (place, tasks.first().map(|task| &*task.from)) {
        (Place::Bucket { .. }, Some(Place::Local(path))) => Known::of(path),
        _ => Known::nothing(),
    };
    let ask = |task: &Task| -> Result<bool, TransferError> {
        let to = place.below(&task.to);
        let noted = journal.tag(&task.to, &task.found);
        let listed = match &to {
            Place::Bucket { bucket, key } => match bucket.about(key) {
                // Who may not look is told by notes alone.
                Err(StoreError::Denied { .. }) => return Ok(noted.is_some()),
                listed => listed?,
            },
            Place::Local(path) => {
                let same = path.symlink_metadata().is_ok_and(|about| {
                    let there = Found::of_file("", &about);
                    let times =
                        |found: &Found| found.mark.as_ref().map(|mark| mark.state.split('/').next().map(str::to_owned));
                    about.is_file() && there.size_bytes == task.found.size_bytes && times(&there) == times(&task.found)
                });
                return Ok(same);
            }
            Place::Web(_) => None,
        };
        let Some(listed) = listed else { return Ok(false) };
        if noted.is_some_and(|tag| !tag.is_empty() && tag == listed.state.tag()) {
            return Ok(listed.size_bytes == task.found.size_bytes);
        }
        let there = Found::of_object(listed, "");
        let same = one::judge((&task.place(), &task.found), (&to, &there), &known, Proof::Remembered)?;
        Ok(same == Same::Yes)
    };
    let mut is_sent = vec![false; tasks.len()];
    let mut begin = 0;
    for end in [FIRST_ASKED.min(tasks.len()), tasks.len()] {
        let some = tasks.get(begin..end).unwrap_or_default();
        for (at, answer) in for_each(some, QUESTIONS_AT_A_TIME, stop, ask).into_iter().enumerate() {
            if let Some(is_sent) = is_sent.get_mut(begin + at) {
                *is_sent = answer.ok_or_else(interrupted)??;
            }
        }
        if journal.is_new && !is_sent.contains(&true) {
            break;
        }
        begin = end;
    }
    known.keep();
    Ok(is_sent)
}

impl Pushing {
    /// Sends what is not there, then the manifest.
    ///
    /// # Errors
    /// If nothing could be begun, somebody wanted to stop, or a delivery of that name came in between. What failed of single
    /// files the outcome tells; then there is no manifest.
    pub fn run(&self, wanted: &Wanted, watch: Watch<'_>) -> Result<Sent, TransferError> {
        let outcome = run_noting(&self.plan, watch, Some(&self.journal))?;
        if outcome.n_failed > 0 || self.is_there {
            return Ok(Sent { outcome, manifest: None });
        }
        self.check_unchanged()?;
        if watch.stop.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        let (when, clock) = self.when();
        let mut manifest = Manifest {
            frazil_delivery: VERSION,
            name: wanted.name.clone(),
            who: wanted.who.clone(),
            when,
            clock,
            note: wanted.note.clone(),
            frazil: wanted.version.to_owned(),
            size_bytes: self.files.iter().map(|file| file.size_bytes).sum(),
            files: self.files.clone(),
            seal: String::new(),
        };
        manifest.seal = manifest.seal_of();
        let mut text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        text.push('\n');
        if !put_text(&self.place, MANIFEST, &text, Put::New)? {
            // Somebody was faster, or an answer of the server was lost.
            let first = match there(&self.place)? {
                Some(there) => there.first_difference(&self.files),
                None => Some("it cannot be read from here".to_owned()),
            };
            if let Some(first) = first {
                return Err(TransferError::DeliveryTaken { place: self.place.shown(), first });
            }
        }
        self.journal.remove();
        Ok(Sent { outcome, manifest: Some(manifest) })
    }

    /// A file that was written to since its digest was made is not what the manifest would say.
    fn check_unchanged(&self) -> Result<(), TransferError> {
        for (from, found, _) in &self.all {
            let Place::Local(path) = place_of(from, found) else { continue };
            let location = frazil_model::location::Location::File(path.display().to_string());
            let about = path.metadata().map_err(|error| StoreError::reading(&location, error))?;
            if found.mark.as_deref().is_some_and(|mark| *mark != fingerprint_of(&about)) {
                let reason = "it was written to meanwhile".to_owned();
                return Err(StoreError::Changed { location, reason }.into());
            }
        }
        Ok(())
    }

    /// When this is, by the server's clock if that can be had: the time that it gives to what was sent last.
    fn when(&self) -> (String, String) {
        let last = self.plan.tasks.last().map(|task| &*task.to).or(self.all.last().map(|(_, _, name)| &**name));
        let seconds = match (self.place.below(last.unwrap_or_default()), last) {
            (Place::Bucket { bucket, key }, Some(_)) => {
                bucket.about(&key).ok().flatten().and_then(|listed: Listed| listed.modified_seconds)
            }
            _ => None,
        };
        match seconds {
            Some(seconds) => (rfc3339(seconds), "server".to_owned()),
            None => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                (rfc3339(now.as_secs()), "sender".to_owned())
            }
        }
    }
}
