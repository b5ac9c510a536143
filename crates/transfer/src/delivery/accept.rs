//! Taking a delivery on: it is checked against its manifest, copied, checked again where it is now, and cleared.
//!
//! It promises that nothing is copied of a delivery of which one byte is not as it was sent, that nothing goes before
//! every file was read at its new place, and that only what the manifest names goes. Whatever stops it, typed again it
//! goes on.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    beneath::{Beneath, removal::mounted_below},
    bucket::{Bucket, Depth},
};

use super::{CLAIM, Landing, MANIFEST, Manifest, OWN, Put, RECORD, Record, VERSION, put_text, text};
use crate::{
    check::{
        Extra,
        manifest::{Checked, Expectation, verify},
    },
    copy::{Filter, Mode, Plan, Proof, Request, Scope, plan_besides},
    error::TransferError,
    guard,
    place::{Place, Written},
    probe::{above, are_two, share_nothing},
    progress::Progress,
};

/// Folders above a delivery that are asked for.
const MOST_ABOVE: usize = 64;

/// A folder of deliveries, or one that is none yet.
#[derive(Debug)]
pub struct Delivery {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub place: Place,
    /// What it says of itself, if it is whole.
    pub manifest: Option<Manifest>,
    /// What is kept of it, if it was accepted.
    pub record: Option<Record>,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its manifest is there.
    Whole,
    /// It has none.
    Unfinished,
    /// It was accepted, and its files are on their way out.
    Clearing,
    /// It was accepted.
    Accepted,
}

impl Delivery {
    /// How far it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.manifest, &self.record) {
            // Who sends the same files once more sends nothing new.
            (Some(manifest), Some(record)) if record.manifest.files == manifest.files => match record.cleared {
                true => Standing::Accepted,
                false => Standing::Clearing,
            },
            (Some(_), _) => Standing::Whole,
            (None, Some(record)) if record.cleared => Standing::Accepted,
            (None, Some(_)) => Standing::Clearing,
            (None, None) => Standing::Unfinished,
        }
    }
}

/// One thing that is not as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub name: String,
    /// `missing`, `extra`, `size`, `sha256` or `md5`.
    pub what: &'static str,
    /// In words.
    pub words: String,
}

/// What lies in the folder of a delivery.
///
/// # Errors
/// If it cannot be read, or says of itself what makes no sense.
pub fn look(place: &Place) -> Result<Delivery, TransferError> {
    let manifest = text(place, MANIFEST)?.map(|text| Manifest::parse(&text, place)).transpose()?;
    let record = match text(place, RECORD).and_then(|text| text.map(|text| read_record(&text, place)).transpose()) {
        // What is no record takes nothing from a delivery that is whole.
        Err(TransferError::BadManifest { .. } | TransferError::BadRecord { .. }) if manifest.is_some() => None,
        record => record?,
    };
    Ok(Delivery { name: place.base_name(), place: place.clone(), manifest, record })
}

/// It lies where others may write: nothing goes because it says so.
fn read_record(text: &str, place: &Place) -> Result<Record, TransferError> {
    let wrong = |reason: String| TransferError::BadRecord { place: place.shown(), reason };
    let record: Record = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match record.manifest.checked(place) {
        Ok(manifest) => Ok(Record { manifest, ..record }),
        Err(TransferError::BadManifest { reason, .. }) => Err(wrong(reason)),
        Err(error) => Err(error),
    }
}

/// Why a place is no delivery that could be taken on.
#[must_use]
pub fn why_none(place: &Place) -> TransferError {
    if let Err(error) = place.must_be_folder() {
        return error;
    }
    let inside = deliveries(place).unwrap_or_default();
    let is_one = |inside: &&Named| match &inside.1 {
        Ok(delivery) => delivery.standing() != Standing::Unfinished,
        Err(_) => true,
    };
    let inside: Vec<&str> = inside.iter().filter(is_one).map(|(name, _)| name.as_str()).collect();
    match inside.first() {
        None => TransferError::Unfinished { place: place.shown() },
        Some(first) => {
            TransferError::HoldsDeliveries { place: place.shown(), n: inside.len(), first: (*first).to_owned() }
        }
    }
}

/// A folder of a place of deliveries by its name, with what it says or why it cannot be told.
pub type Named = (String, Result<Delivery, TransferError>);

/// All folders of a place of deliveries, each with what it says or why it cannot be told.
///
/// # Errors
/// If the place cannot be listed.
pub fn deliveries(inbox: &Place) -> Result<Vec<Named>, TransferError> {
    let mut names: Vec<String> = Vec::new();
    match inbox {
        Place::Bucket { bucket, key } => {
            let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
            for page in bucket.pages(&prefix, Depth::One) {
                let folders = page?.folders;
                names.extend(folders.iter().filter_map(|folder| folder.get(prefix.len()..)).map(str::to_owned));
            }
        }
        Place::Local(path) => {
            let failed = |error| StoreError::reading(&Location::File(path.display().to_string()), error);
            for entry in std::fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        Place::Web(location) => return Err(TransferError::NoListing { place: location.to_string() }),
    }
    for name in &mut names {
        name.truncate(name.trim_end_matches('/').len());
    }
    names.retain(|name| !name.is_empty() && !name.starts_with('.'));
    names.sort_unstable();
    Ok(names.into_iter().map(|name| (name.clone(), look(&inbox.below(&name)))).collect())
}

fn written(place: &Place) -> Written {
    Written { text: place.shown(), place: place.clone(), ends_with_slash: true }
}

/// Compares a folder with a manifest: every name, every length, every byte.
///
/// # Errors
/// If it cannot be listed or read, or somebody wanted to stop.
pub fn check(
    place: &Place,
    manifest: &Manifest,
    others: Extra,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Checked, TransferError> {
    verify(place, &Expectation::from(manifest), others, None, progress, stop)
}

/// What is taken on, and where it goes.
#[derive(Debug)]
pub struct Taking<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// What it says.
    pub manifest: &'a Manifest,
    /// Where it goes.
    pub to: &'a Place,
    /// Where its files are put first.
    pub landing: Landing,
}

/// Whether the place where a delivery goes is apart from it, whatever their names: of servers, of remotes, of mounts. Neither
/// is the other, or lies in it: a mark is put there and looked for in the delivery, below it and above it.
///
/// # Errors
/// [`TransferError::IntoInbox`] if it is not, or why nobody can tell.
pub fn surely_apart(delivery: &Place, to: &Place, manifest: &Manifest) -> Result<(), TransferError> {
    // What is mounted in it would be emptied with it, and is seen under no name of its own.
    guard::nothing_mounted(delivery)?;
    let names = manifest.files.iter().map(|file| file.name.as_str());
    let told = share_nothing(delivery, to, names).and_then(|()| none_above(delivery, to));
    told.map_err(|error| match error {
        TransferError::Within { .. } => TransferError::IntoInbox { inbox: delivery.shown(), dest: to.shown() },
        error => error,
    })
}

/// Whether a place is none of the folders above a delivery.
fn none_above(delivery: &Place, to: &Place) -> Result<(), TransferError> {
    let mut at = match delivery {
        Place::Local(path) => Place::Local(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        other => other.clone(),
    };
    for _ in 0..MOST_ABOVE {
        let next = above(&at);
        let is_top = matches!(&at, Place::Bucket { key, .. } if key.is_empty()) || next.shown() == at.shown();
        if is_top || matches!(&at, Place::Local(path) if path.parent().is_none()) {
            return Ok(());
        }
        at = next;
        match are_two(&at, to) {
            // Whoever may not look above the inbox cannot be told.
            Err(TransferError::Store(StoreError::Denied { .. })) => return Ok(()),
            told => told?,
        }
    }
    Ok(())
}

/// The plan of the copy. Nothing may be in its way.
///
/// # Errors
/// If other files are there, or the delivery changed since it was checked.
pub fn take_plan(taking: &Taking<'_>, checked: &Checked) -> Result<Plan, TransferError> {
    let landing = &taking.landing.place;
    let request = Request {
        sources: vec![written(&taking.delivery.place)],
        dest: Written { text: landing.shown(), place: landing.clone(), ends_with_slash: false },
        mode: Mode::Copy,
        // What lies at a place that others see may be anybody's, whatever its time says.
        proof: if taking.landing.is_hidden() { Proof::Remembered } else { Proof::Read },
        scope: Scope::WholeStores,
        filter: Filter::default(),
    };
    let plan = plan_besides(&request, OWN).map_err(TransferError::of_delivery)?;
    let mut others = plan.in_the_way.clone();
    others.extend(plan.passed_over.iter().map(|(name, why)| format!("{name}: {why}")));
    if let Place::Local(path) = landing {
        others.extend(of_another_kind(path, taking.manifest));
    }
    if let Some(first) = others.first() {
        let (place, n) = (taking.to.shown(), others.len());
        return Err(TransferError::InTheWay { place, n, first: format!("`{first}`") });
    }
    for task in &plan.tasks {
        let at = checked.found.binary_search_by(|found| found.name.cmp(&task.found.name)).ok();
        let then = at.and_then(|at| checked.found.get(at));
        let is_as_checked = then.is_some_and(|then| {
            then.size_bytes == task.found.size_bytes
                && then.state.tag() == task.found.state.tag()
                && then.mark == task.found.mark
        });
        if !is_as_checked {
            let first = format!("`{}` changed since it was checked", task.found.name);
            return Err(TransferError::NotAsSent { place: taking.delivery.place.shown(), n: 1, first });
        }
    }
    Ok(plan)
}

/// Notes that a delivery was accepted.
///
/// # Errors
/// If that cannot be written.
pub fn record(taking: &Taking<'_>, cleared: bool) -> Result<Record, TransferError> {
    let to = guard::noted(taking.to);
    let record = Record { frazil_accepted: VERSION, manifest: taking.manifest.clone(), to, cleared };
    put_record(&taking.delivery.place, &record).map_err(|error| not_cleared(&taking.delivery.place, &record, error))?;
    Ok(record)
}

fn not_cleared(place: &Place, record: &Record, error: TransferError) -> TransferError {
    TransferError::NotCleared { place: place.shown(), to: record.to.clone(), source: Box::new(error) }
}

/// Folders where files of a delivery would go, and files where its folders would.
fn of_another_kind(path: &Path, manifest: &Manifest) -> BTreeSet<String> {
    let (mut others, mut seen): (BTreeSet<String>, BTreeSet<PathBuf>) = Default::default();
    for file in &manifest.files {
        let name = Path::new(&file.name);
        if path.join(name).symlink_metadata().is_ok_and(|about| about.is_dir()) {
            others.insert(format!("{}: a folder is there", file.name));
        }
        for above in name.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            if seen.insert(above.to_owned()) && path.join(above).symlink_metadata().is_ok_and(|about| !about.is_dir()) {
                others.insert(format!("{}: a file or a link is there", above.display()));
            }
        }
    }
    // It may show the delivery itself.
    let mounts = if seen.is_empty() { Vec::new() } else { mounted_below(path) };
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    for mount in mounts.iter().filter_map(|mount| mount.strip_prefix(&real).ok()) {
        if seen.contains(mount) {
            others.insert(format!("{}: another folder is mounted there", mount.display()));
        }
    }
    others
}

fn put_record(place: &Place, record: &Record) -> Result<(), TransferError> {
    let mut text = serde_json::to_string_pretty(record).unwrap_or_default();
    text.push('\n');
    put_text(place, RECORD, &text, Put::Over)?;
    Ok(())
}

/// Clears the folder of a delivery that was accepted: its manifest first, so that what is left of it is no delivery, then
/// what that names.
///
/// # Errors
/// If something of it cannot be deleted.
pub fn clear(place: &Place, record: &Record) -> Result<(), TransferError> {
    cleared(place, record).map_err(|error| not_cleared(place, record, error))
}

fn cleared(place: &Place, record: &Record) -> Result<(), TransferError> {
    let files = record.manifest.files.iter().map(|file| file.name.as_str());
    let names = std::iter::once(MANIFEST).chain(files).chain([CLAIM]);
    match place {
        Place::Bucket { bucket, key } => {
            let keys: Vec<String> = names.map(|name| key_below(place, name)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let (manifest, files) = keys.split_at(1.min(keys.len()));
            close_uploads(bucket, &format!("{key}/"))?;
            for some in [manifest, files] {
                if let Some((_, error)) = bucket.delete(some)?.into_iter().next() {
                    return Err(error.into());
                }
            }
        }
        Place::Local(path) => {
            let folder = Beneath::open(path)?;
            for name in names {
                folder.remove(name)?;
            }
            folder.sync_all()?;
        }
        Place::Web(_) => {}
    }
    put_record(place, &Record { cleared: true, ..record.clone() })
}

/// Closes what a kill left open of the files of a delivery: who sent it may not be allowed to look for that.
fn close_uploads(bucket: &Bucket, below: &str) -> Result<(), TransferError> {
    let open = match bucket.uploads(below) {
        // Nor may everybody who accepts; then a rule of the bucket has to.
        Err(StoreError::Denied { .. } | StoreError::Fetch { is_temporary: false, .. }) => return Ok(()),
        open => open?,
    };
    for upload in open {
        match bucket.abort(&upload) {
            Err(StoreError::Absent { .. } | StoreError::Denied { .. }) => {}
            closed => closed?,
        }
    }
    Ok(())
}

fn key_below(place: &Place, name: &str) -> String {
    match place.below(name) {
        Place::Bucket { key, .. } => key,
        Place::Local(_) | Place::Web(_) => String::new(),
    }
}
