//! Sending a delivery: every file, then the manifest.
//!
//! A claim comes first, so that the files of one content are sent under one name. What is there already a journal tells, or a
//! question for each file, so that whoever may only put objects below one prefix can send. It deletes nothing. It promises
//! that the manifest is put only if no file changed since its digest was made, and only once every file that it names is
//! there, as far as whoever sends may look.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use frazil_store::{StoreError, bucket::Listed, read::fingerprint_of, rfc3339};

use super::{
    Entry, MANIFEST, Manifest, Put, RECORD, Record, VERSION,
    claim::{self, Claim, Claiming, Sight},
    journal::Journal,
    put_text, reserved, text,
    there::{self, Lies},
};
use crate::{
    atoms::{Atoms, Phase},
    copy::{Filter, Plan, Task, claims::is_lock},
    error::TransferError,
    gc::PLAN,
    guard,
    place::{Place, Written, joined},
    probe::is_mark,
    progress::Progress,
    run::{Outcome, Watch, run_noting},
    sums::{FILES_AT_A_TIME, for_each, sha256},
    walk::{Found, Tree, trees_with_closed},
};

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
    pub already: Already,
    all: Vec<SourceFile>,
    /// What was there when it was asked for, with tags, by the order of the files.
    lay: Vec<Lies>,
    claim: Option<Claim>,
    journal: Journal,
}

/// Whether a delivery is whole before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Already {
    /// It is not.
    No,
    /// Its manifest is there, or what is kept of it once it was accepted.
    Seen,
    /// It may not be read from here; that it was sent whole is noted on this machine.
    Noted,
}

/// What became of a delivery.
#[derive(Debug)]
pub struct Sent {
    /// What moved.
    pub outcome: Outcome,
    /// The manifest, if it was put.
    pub manifest: Option<Manifest>,
    /// Whether somebody else had sent the same meanwhile, and it was accepted.
    pub was_accepted: bool,
}

/// Looks at everything, claims the name unless that is not wished for, and makes the plan.
///
/// # Errors
/// If a source is not there or cannot be delivered, or the name is that of other files.
pub fn prepare(
    wanted: &Wanted,
    claiming: Claiming,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Pushing, TransferError> {
    check_name(&wanted.name)?;
    let place = wanted.to.place.below(&wanted.name);
    if let Place::Web(location) = &place {
        let (place, reason) = (location.to_string(), "a web server takes no files");
        return Err(TransferError::NotWritable { place, reason });
    }
    guard::bounds(&place)?;
    // The delivery itself may be a store; what it lies in may not.
    guard::not_inside_a_store(&place, guard::Around::Above).map_err(TransferError::of_delivery)?;
    let all = sources(wanted, &place)?;
    let mut journal = Journal::of(&place);
    journal.open(&place)?;
    progress.expect(all.len() as u64, all.iter().map(|(_, found, _)| found.size_bytes).sum());
    let files = digests(&all, &journal, progress, stop).map_err(|error| error.undelivered(&place))?;
    let names: Vec<Arc<str>> = all.iter().map(|(_, _, to)| Arc::clone(to)).collect();
    let already = already(&place, &files, &journal)?;
    if already != Already::No {
        let same = (all.len() as u64, all.iter().map(|(_, found, _)| found.size_bytes).sum());
        let plan = Plan::of_tasks(place.clone(), Vec::new(), names, same);
        return Ok(Pushing { place, plan, files, already, all, lay: Vec::new(), claim: None, journal });
    }
    let claim = claim::take(&place, &files, &wanted.who, &mut journal, claiming)?;
    there::no_leftovers(&place, &files, &journal, &claim, stop)?;
    let tasks: Vec<Task> = all
        .iter()
        .map(|(from, found, to)| Task {
            from: Arc::clone(from),
            found: found.clone(),
            to: Arc::clone(to),
            phase: Phase::Data,
            replaces: false,
        })
        .collect();
    let lay = there::ask(&place, &tasks, &files, &journal, &claim, stop)?;
    let (mut moving, mut same) = (Vec::new(), (0, 0));
    for (task, lies) in tasks.into_iter().zip(&lay) {
        match lies {
            Lies::Same(_) => same = (same.0 + 1, same.1 + task.found.size_bytes),
            Lies::Nothing | Lies::Other => moving.push(task),
        }
    }
    let mut plan = Plan::of_tasks(place.clone(), moving, names, same);
    plan.only_new = claim.is_fresh;
    Ok(Pushing { place, plan, files, already, all, lay, claim: Some(claim), journal })
}

/// Whether these files are a whole delivery already.
///
/// # Errors
/// [`TransferError::DeliveryTaken`] if others are.
fn already(place: &Place, files: &[Entry], journal: &Journal) -> Result<Already, TransferError> {
    match manifest_there(place)? {
        Seen::Manifest(manifest) => match manifest.first_difference(files) {
            Some(first) => Err(TransferError::DeliveryTaken { place: place.shown(), first }),
            None => Ok(Already::Seen),
        },
        Seen::Hidden if journal.whole.as_deref() == Some(&*claim::content_of(files)) => Ok(Already::Noted),
        Seen::Hidden | Seen::Nothing => Ok(Already::No),
    }
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
        found.extend(trees_with_closed(source)?);
    }
    let is_one_folder = matches!(found.as_slice(), [tree] if !tree.is_file);
    let mut all: BTreeMap<Arc<str>, (Arc<Place>, Found)> = BTreeMap::new();
    let mut wrong: Vec<(String, String)> = Vec::new();
    for tree in found {
        guard::not_within(&tree, place)?;
        let base = if is_one_folder { String::new() } else { tree.place.base_name() };
        tree.must_be_open(|folder| wanted.filter.may_take_below(&joined(&base, folder)))?;
        let atoms = Atoms::among(tree.found.iter().map(|found| &*found.name));
        let takes = |name: &str| wanted.filter.takes_of(&atoms, &base, name);
        let passed_over = tree.passed_over.into_iter().filter(|(name, _)| takes(name));
        wrong.extend(passed_over.map(|(name, reason)| (joined(&base, &name), reason)));
        let from = Arc::new(tree.place);
        for found in tree.found {
            let name: Arc<str> = joined(&base, &found.name).into();
            if is_lock(&name) || is_mark(&name) || !takes(&found.name) {
                continue;
            }
            let unsafe_name =
                frazil_store::beneath::unsafe_name(&name).or_else(|| reserved(&name)).or_else(|| under_way(&name));
            if let Some(reason) = unsafe_name {
                wrong.push((name.to_string(), reason.to_owned()));
            } else if all.insert(Arc::clone(&name), (Arc::clone(&from), found)).is_some() {
                wrong.push((name.to_string(), "two of the sources have that name".to_owned()));
            }
        }
    }
    if !wrong.is_empty() {
        return Err(TransferError::Undeliverable { names: wrong });
    }
    if all.is_empty() {
        let place = wanted.sources.first().map(|source| source.text.clone()).unwrap_or_default();
        return Err(TransferError::NoFiles { place });
    }
    Ok(all.into_iter().map(|(name, (from, found))| (from, found, name)).collect())
}

/// Why the plan of a store is not sent: a delivery is whole, and that store is not.
fn under_way(name: &str) -> Option<&'static str> {
    let is_plan = name.strip_suffix(PLAN).is_some_and(|store| store.is_empty() || store.ends_with('/'));
    is_plan.then_some("the store is still being made: type its command again first, or leave the store out")
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

/// What a place says of a delivery.
enum Seen {
    /// This one is whole there, or was until it was accepted.
    Manifest(Box<Manifest>),
    Nothing,
    /// It may not be read, or not be told that nothing is there.
    Hidden,
}

fn manifest_there(place: &Place) -> Result<Seen, TransferError> {
    let mut seen = Seen::Nothing;
    for name in [MANIFEST, RECORD] {
        match text(place, name) {
            Err(TransferError::Store(StoreError::Denied { .. } | StoreError::Refused { .. })) => seen = Seen::Hidden,
            text => match text? {
                Some(text) if name == MANIFEST => return Ok(Seen::Manifest(Box::new(Manifest::parse(&text, place)?))),
                Some(text) => {
                    let record = serde_json::from_str::<Record>(&text).ok();
                    return Ok(record.map_or(seen, |record| Seen::Manifest(Box::new(record.manifest))));
                }
                None => {}
            },
        }
    }
    Ok(seen)
}

impl Pushing {
    /// Sends what is not there, then the manifest.
    ///
    /// # Errors
    /// If nothing could be begun, somebody wanted to stop, or a delivery of that name came in between. What failed of single
    /// files the outcome tells; then there is no manifest.
    pub fn run(&self, wanted: &Wanted, watch: Watch<'_>) -> Result<Sent, TransferError> {
        let outcome = run_noting(&self.plan, watch, Some(&self.journal))?;
        let sent = |outcome, manifest, was_accepted| Ok(Sent { outcome, manifest, was_accepted });
        let Some(claim) = &self.claim else { return sent(outcome, None, false) };
        if outcome.n_failed > 0 {
            return sent(outcome, None, false);
        }
        self.check_unchanged().map_err(|error| error.undelivered(&self.place))?;
        if watch.stop.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        // Somebody else may have sent the same files under this name, and had them accepted and cleared.
        if already(&self.place, &self.files, &self.journal)? == Already::Seen {
            self.journal.finish(&claim.content);
            return sent(outcome, None, true);
        }
        claim::assure(&self.place, claim)?;
        if claim.sight == Sight::Open {
            there::look_again(&self.place, &self.files, &self.lay, &self.journal, watch.stop)?;
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
        self.journal.note_finishing();
        if !put_text(&self.place, MANIFEST, &text, Put::New)? {
            // Somebody was faster, or an answer of the server was lost.
            let first = match manifest_there(&self.place)? {
                Seen::Manifest(there) => there.first_difference(&self.files),
                Seen::Nothing | Seen::Hidden => Some("it cannot be read from here".to_owned()),
            };
            if let Some(first) = first {
                return Err(TransferError::DeliveryTaken { place: self.place.shown(), first });
            }
        }
        self.journal.finish(&claim.content);
        sent(outcome, Some(manifest), false)
    }

    /// Whether what is at the place can be read from here.
    #[must_use]
    pub fn can_see(&self) -> bool {
        self.claim.as_ref().is_none_or(|claim| claim.sight == Sight::Open)
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
