//! What runs that were killed left behind: uploads that nobody finishes, files that are not whole, locks of nobody.
//!
//! It promises that only what is older than was said goes, by the clock of the place; that nothing goes of a store that a run
//! holds; and that nothing goes by which unfinished work could go on: that is told, and stays. A listing that failed
//! means that nothing goes, and each thing is looked at once more right before it goes.

mod arriving;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    beneath::Beneath,
    bucket::{Bucket, Depth, Upload},
    folder::Folder,
    lock::{Lock, Sharing},
};

use crate::{
    delivery::{is_landing, journal},
    error::TransferError,
    guard,
    place::{Place, Written, joined},
    probe::MARK,
    scratch::{is_held, now, prefix_of},
};

/// The folder of a store in which frazil works.
const WORK: &str = ".frazil";

/// Where its lock lies, and its work.
const LOCK: &str = ".frazil/lock";
pub(crate) const PLAN: &str = ".frazil/plan.json";
const STAGING: &str = ".frazil/staging/";
const JOURNAL: &str = ".frazil/journal/";

/// What replaces a store while it is made, and how files begin that told what time it is.
const BESIDE: &str = ".frazil-new";
const CLOCK: &str = ".frazil-clock-";

/// How objects begin by which it was tried out what keys may do.
const TRIED: &str = ".frazil-check-";

/// Folders within folders.
const MAX_DEPTH: usize = 2048;

/// Things of frazil at one place.
const MOST_FOUND: usize = 1_000_000;

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An upload that has begun and not ended.
    Upload(Upload),
    /// A file that is not whole.
    Staged,
    /// A lock that nobody holds.
    Lock,
    /// Notes about what was done, by which nothing can go on.
    Journal,
    /// What a push noted in the home of whoever typed it.
    Notes,
    /// A file that told what time it is, or what keys may do.
    Clock,
    /// Work that can go on.
    Work,
    /// A folder in which a delivery was arriving, all of which is in the inbox still.
    Arriving,
}

/// Something that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its name below the place.
    pub name: String,
    /// What it is.
    pub what: What,
    /// Its bytes; of an upload those of its parts.
    pub size_bytes: u64,
    /// When it was last written, in seconds since 1970, where that is known.
    pub written_seconds: Option<u64>,
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It is not old enough.
    Young,
    /// A run holds its store.
    Held,
    /// Nobody knows how old it is.
    Undated,
    /// The command that began it goes on with it.
    Unfinished,
}

/// What would go and what would stay.
#[derive(Debug)]
pub struct Plan {
    place: Place,
    /// What would go.
    pub goes: Vec<Stray>,
    /// What stays, with the reason.
    pub stays: Vec<(Stray, Stays)>,
    /// What time it was there.
    pub now_seconds: u64,
    /// Only what was written before that goes.
    before: u64,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Looks what is left at a place that is older than `age_seconds`.
///
/// # Errors
/// If it cannot be listed, or nobody says what time it is there; then nothing may go.
pub fn plan(written: &Written, age_seconds: u64) -> Result<Plan, TransferError> {
    guard::bounds(&written.place)?;
    guard::no_link(written)?;
    let now_seconds = now(written)?;
    let before = now_seconds.saturating_sub(age_seconds);
    let mut plan = Plan {
        place: written.place.clone(),
        goes: Vec::new(),
        stays: Vec::new(),
        now_seconds,
        before,
        notes: Vec::new(),
    };
    let mut found = match &written.place {
        Place::Bucket { bucket, key } => of_bucket(bucket, key, &mut plan.notes)?,
        Place::Local(path) => {
            let mut found = Vec::new();
            walk(path, "", 0, &mut found)?;
            found
        }
        Place::Web(_) => return Err(TransferError::NoListing { place: written.text.clone() }),
    };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let unfinished: BTreeSet<String> =
        found.iter().filter_map(|stray| stray.name.strip_suffix(PLAN)).map(str::to_owned).collect();
    // Whoever holds a store has put its lock there.
    let locks = found.iter().filter(|stray| stray.what == What::Lock);
    let locked = locks.filter_map(|stray| store_of(&stray.name)).map(|store| store.trim_end_matches('/').to_owned());
    let mut held = Held { place: &written.place, locked: locked.collect(), known: BTreeMap::new() };
    for stray in found {
        let why = match stray.written_seconds {
            None => Some(Stays::Undated),
            Some(written) if written >= before => Some(Stays::Young),
            Some(_) if held.is_held(&stray)? => Some(Stays::Held),
            Some(_) if stray.what == What::Arriving && is_arriving(&written.place, &stray.name) => Some(Stays::Held),
            // What is not whole is made anew by whoever goes on; the rest is what the work goes on by.
            Some(_) => match stray.what {
                What::Work => Some(Stays::Unfinished),
                What::Journal if store_of(&stray.name).is_some_and(|store| unfinished.contains(store)) => {
                    Some(Stays::Unfinished)
                }
                _ => None,
            },
        };
        match why {
            Some(why) => plan.stays.push((stray, why)),
            None => plan.goes.push(stray),
        }
    }
    Ok(plan)
}

/// What runs that were killed left in the home of whoever typed them: notes by which a push goes on.
///
/// # Errors
/// If they cannot be listed.
pub fn plan_at_home(age_seconds: u64) -> Result<Plan, TransferError> {
    let Some(home) = journal::home() else { return Err(TransferError::NoHome) };
    let mut plan = Plan {
        place: Place::Local(home.clone()),
        goes: Vec::new(),
        stays: Vec::new(),
        now_seconds: 0,
        before: 0,
        notes: Vec::new(),
    };
    if !home.is_dir() {
        return Ok(plan);
    }
    plan.now_seconds = frazil_store::clock::folder_seconds(&home)?;
    let before = plan.now_seconds.saturating_sub(age_seconds);
    plan.before = before;
    for (name, about) in entries(&home)? {
        if about.is_file() && name.ends_with(".journal") {
            let stray = of_file(name, What::Notes, &about);
            match stray.written_seconds.is_some_and(|written| written < before) {
                true => plan.goes.push(stray),
                false => plan.stays.push((stray, Stays::Young)),
            }
        }
    }
    Ok(plan)
}

/// The store that a name of frazil's own is in, with a slash at its end unless it is the place.
fn store_of(name: &str) -> Option<&str> {
    let at = name.match_indices(WORK).map(|(at, _)| at);
    let mut ends = at.filter(|at| {
        let (before, after) = (name.get(..*at).unwrap_or("?"), name.get(at + WORK.len()..).unwrap_or("?"));
        (before.is_empty() || before.ends_with('/')) && after.starts_with('/')
    });
    ends.next().and_then(|at| name.get(..at))
}

/// What a name is to frazil, if it is anything.
fn what_of(name: &str) -> Option<What> {
    let base = name.rsplit('/').next().unwrap_or_default();
    if [CLOCK, TRIED, MARK].iter().any(|start| base.starts_with(start)) && !name.contains("/.frazil/") {
        return Some(What::Clock);
    }
    let store = store_of(name)?;
    let inner = name.get(store.len()..)?;
    match inner {
        LOCK => Some(What::Lock),
        PLAN => Some(What::Work),
        _ if inner.starts_with(STAGING) => Some(What::Staged),
        _ if inner.starts_with(JOURNAL) => Some(What::Journal),
        _ => None,
    }
}

fn of_bucket(bucket: &Bucket, key: &str, notes: &mut Vec<String>) -> Result<Vec<Stray>, TransferError> {
    let prefix = prefix_of(key);
    let mut found = Vec::new();
    for page in bucket.pages(&prefix, Depth::All) {
        for listed in page?.objects {
            let name = listed.key.get(prefix.len()..).unwrap_or_default();
            if let Some(what) = what_of(name) {
                let (size_bytes, written_seconds) = (listed.size_bytes, listed.modified_seconds);
                add(&mut found, Stray { name: name.to_owned(), what, size_bytes, written_seconds })?;
            }
        }
    }
    let uploads = match bucket.uploads(&prefix) {
        Ok(uploads) => uploads,
        Err(error @ StoreError::Denied { .. }) => {
            notes.push(format!("uploads that have not ended are not known: {error}"));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    for upload in uploads {
        let told = bucket.parts(&upload).and_then(|parts| Ok((parts, bucket.touched_seconds(&upload)?)));
        let (parts, written_seconds) = match told {
            // It ended since the uploads were listed.
            Err(StoreError::Absent { .. }) => continue,
            told => told?,
        };
        let size_bytes = parts.iter().map(|part| part.size_bytes).fold(0, u64::saturating_add);
        let name = upload.key.get(prefix.len()..).unwrap_or_default().to_owned();
        add(&mut found, Stray { name, what: What::Upload(upload), size_bytes, written_seconds })?;
    }
    Ok(found)
}

fn add(found: &mut Vec<Stray>, stray: Stray) -> Result<(), TransferError> {
    if found.len() >= MOST_FOUND {
        return Err(TransferError::Uncountable { reason: format!("more than {MOST_FOUND} things are left there") });
    }
    found.push(stray);
    Ok(())
}

fn of_file(name: String, what: What, about: &fs::Metadata) -> Stray {
    Stray { name, what, size_bytes: about.len(), written_seconds: u64::try_from(about.mtime()).ok() }
}

fn entries(folder: &Path) -> Result<Vec<(String, fs::Metadata)>, TransferError> {
    let failed = |error| StoreError::reading(&Location::File(folder.display().to_string()), error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Names of ours are texts.
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.metadata() {
            Ok(about) => all.push((name, about)),
            // Somebody removed it since the folder was read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error).into()),
        }
    }
    Ok(all)
}

fn walk(folder: &Path, below: &str, depth: usize, found: &mut Vec<Stray>) -> Result<(), TransferError> {
    if depth >= MAX_DEPTH {
        return Err(TransferError::Uncountable {
            reason: format!("`{below}` lies more than {MAX_DEPTH} folders deep"),
        });
    }
    for (name, about) in entries(folder)? {
        let path = folder.join(&name);
        let name = joined(below, &name);
        if about.is_dir() && is_landing(name.rsplit('/').next().unwrap_or_default()) {
            add(found, arriving::look(&path, name)?)?;
        } else if about.is_dir() {
            if name.ends_with(BESIDE) && name.rsplit('/').next().is_some_and(|base| base.starts_with('.')) {
                add(found, of_file(name.clone(), What::Work, &about))?;
            }
            walk(&path, &name, depth + 1, found)?;
        } else if about.is_file()
            && let Some(what) = what_of(&name)
        {
            add(found, of_file(name, what, &about))?;
        }
    }
    Ok(())
}

/// Which stores runs hold, asked once each.
struct Held<'a> {
    place: &'a Place,
    /// Stores that have a lock.
    locked: BTreeSet<String>,
    known: BTreeMap<String, bool>,
}

impl Held<'_> {
    /// Whether a run holds a store that something is in: any folder above it may be one.
    fn is_held(&mut self, stray: &Stray) -> Result<bool, TransferError> {
        let ends = stray.name.match_indices('/').map(|(at, _)| at);
        for above in std::iter::once("").chain(ends.filter_map(|end| stray.name.get(..end))) {
            if !self.locked.contains(above) {
                continue;
            }
            let is_held = match self.known.get(above) {
                Some(known) => *known,
                None => {
                    let place = if above.is_empty() { self.place.clone() } else { self.place.below(above) };
                    let is = is_held(&place)?;
                    self.known.insert(above.to_owned(), is);
                    is
                }
            };
            if is_held {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_arriving(place: &Place, name: &str) -> bool {
    matches!(place.below(name), Place::Local(path) if arriving::is_held(&path))
}

/// Removes what would go. Answers what is still there, with the reason.
///
/// # Errors
/// If a server does not say what it did.
pub fn run(plan: &Plan) -> Result<Vec<(String, String)>, TransferError> {
    let mut left = Vec::new();
    let mut stores: BTreeMap<&str, Vec<&Stray>> = BTreeMap::new();
    for stray in &plan.goes {
        match &stray.what {
            What::Upload(upload) => {
                let Place::Bucket { bucket, .. } = &plan.place else { continue };
                // Somebody may be sending parts again, who is not seen otherwise.
                let done = match bucket.touched_seconds(upload) {
                    Err(StoreError::Absent { .. }) => Ok(()),
                    Ok(Some(touched)) if touched < plan.before => {
                        bucket.abort(upload).map_err(|error| error.to_string())
                    }
                    Ok(_) => Err(CHANGED.to_owned()),
                    Err(error) => Err(error.to_string()),
                };
                left.extend(done.err().map(|why| (stray.name.clone(), why)));
            }
            What::Arriving => {
                let Place::Local(path) = plan.place.below(&stray.name) else { continue };
                let done = arriving::remove(&path, stray, plan.before);
                left.extend(done.err().map(|why| (stray.name.clone(), why)));
            }
            _ => stores.entry(store_of(&stray.name).unwrap_or("?")).or_default().push(stray),
        }
    }
    for (store, strays) in stores {
        // A run that begins now must find the store locked, or what it needs in place.
        let lock = if store == "?" { None } else { Some(lock_of(&plan.place, store)) };
        if let Some(Err(error @ StoreError::Locked { .. })) = &lock {
            left.extend(strays.iter().map(|stray| (stray.name.clone(), error.to_string())));
            continue;
        }
        for stray in strays.iter().filter(|stray| stray.what != What::Lock || lock.is_none()) {
            let done = match is_as_it_was(plan, stray) {
                Ok(Some(true)) => removed(&plan.place, &stray.name).map_err(|error| error.to_string()),
                Ok(Some(false)) => Err(CHANGED.to_owned()),
                // Somebody else removed it.
                Ok(None) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            left.extend(done.err().map(|why| (stray.name.clone(), why)));
        }
        let removed_lock = match lock {
            Some(Ok(lock)) => lock.remove().map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        };
        if let Err(error) = removed_lock {
            left.push((format!("{store}{LOCK}"), error));
        }
        if let (Place::Local(path), true) = (&plan.place, store != "?") {
            // Only what is empty goes.
            for folder in [".frazil/staging", ".frazil/journal", WORK] {
                let _ = fs::remove_dir(path.join(store).join(folder));
            }
        }
    }
    Ok(left)
}

/// What is said of a thing that somebody still works with.
const CHANGED: &str = "it was written to since it was looked at, and stays";

/// Whether something is still as it was when it was found; `None` if it is gone.
fn is_as_it_was(plan: &Plan, stray: &Stray) -> Result<Option<bool>, StoreError> {
    let (size_bytes, written_seconds) = match plan.place.below(&stray.name) {
        Place::Local(path) => match path.symlink_metadata() {
            Ok(about) => (about.len(), u64::try_from(about.mtime()).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::reading(&Location::File(path.display().to_string()), error)),
        },
        Place::Bucket { bucket, key } => match bucket.about(&key)? {
            Some(listed) => (listed.size_bytes, listed.modified_seconds),
            None => return Ok(None),
        },
        Place::Web(_) => return Ok(Some(true)),
    };
    Ok(Some(size_bytes == stray.size_bytes && written_seconds.is_some_and(|written| written < plan.before)))
}

fn lock_of(place: &Place, store: &str) -> Result<Lock, StoreError> {
    let location = match place.below(store.trim_end_matches('/')) {
        Place::Local(path) => Location::File(path.display().to_string()),
        Place::Bucket { bucket, key } => bucket.location(key.trim_end_matches('/')),
        Place::Web(location) => location,
    };
    Lock::take(&Folder::at(&location)?, LOCK, Sharing::Alone)
}

fn removed(place: &Place, name: &str) -> Result<(), StoreError> {
    match (place, place.below(name)) {
        // Others may write there: no link leads out of it.
        (Place::Local(path), _) => Beneath::open(path)?.remove(name),
        (_, Place::Bucket { bucket, key }) => {
            bucket.delete(&[&key])?.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_frazil_works_with_is_told() {
        for (name, expected) in [
            (".frazil/lock", Some(What::Lock)),
            ("a/b.zarr/.frazil/lock", Some(What::Lock)),
            ("a/b.zarr/.frazil/staging/12-0", Some(What::Staged)),
            ("a/b.zarr/.frazil/journal/whole.000000.ab", Some(What::Journal)),
            ("a/b.zarr/.frazil/plan.json", Some(What::Work)),
            ("a/b.zarr/.frazil/receipt.json", None),
            ("a/b.zarr/.frazil/inventory.tsv", None),
            ("a/x.frazil/lock", None),
            ("a/.frazil", None),
            ("a/.frazil-clock-12", Some(What::Clock)),
            ("a/.frazil-check-0f", Some(What::Clock)),
            ("a/.frazil-mark-1-2-0", Some(What::Clock)),
            ("lock", None),
        ] {
            assert_eq!(what_of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_belongs_to_the_store_around_it() {
        for (name, expected) in [
            (".frazil/lock", Some("")),
            ("a/b/.frazil/staging/1-2", Some("a/b/")),
            ("a/b", None),
            ("x.frazil/lock", None),
        ] {
            assert_eq!(store_of(name), expected, "{name}");
        }
    }
}
