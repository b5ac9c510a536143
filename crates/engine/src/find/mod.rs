//! From what people type or a recipe says to the files that are meant.
//!
//! It promises an order that does not depend on the machine: the author's where there is one, else by name; names that
//! do not depend on where a folder lies; and that a file that is not there is an error or listed, never lost. It looks
//! at names, not into files.

mod listing;
mod names;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use frazil_model::{
    location::Location,
    recipe::{
        self, Expanded, Fault, Position, RecipeError, expansion, match_name,
        source::{Fetch, KeyValue, Missing, SourceKind},
    },
};
use frazil_store::{
    StoreError,
    address::Address,
    manners::{Manners, ask_gently},
    profile::located,
    read::fingerprint,
};

pub(crate) use names::path_of;
use names::{name_found, name_typed};

use crate::{
    buckets,
    error::EngineError,
    places::{Place, places},
    store_source::{self, as_store, is_store},
};

/// Files asked for at a time, to see whether they are there.
const MOST_ASKED_AT_ONCE: usize = 16;

/// Requests to one host at a time, whatever a recipe says.
const MOST_PER_HOST: u32 = 64;

/// A file that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub location: Location,
    /// How it is named in messages and in the receipt.
    pub name: String,
    /// The source of the recipe that it belongs to; empty if it was typed.
    pub source: String,
    /// What its name says.
    pub keys: BTreeMap<String, KeyValue>,
}

/// The files that are meant, and those that are not there and may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// In their order.
    pub found: Vec<Found>,
    /// Files that are not there, which the recipe allows.
    pub absent: Vec<Gone>,
}

/// A file that is not there and need not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Where it would be.
    pub place: String,
    /// What its name says.
    pub keys: BTreeMap<String, KeyValue>,
    /// What the recipe says of it.
    pub missing: Missing,
}

/// Which files of each source are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// All of them.
    All,
    /// Some from the start and some from the end.
    Ends {
        /// From the start.
        first: u64,
        /// From the end.
        last: u64,
    },
}

impl Pick {
    /// Which of `n_files` are taken, as numbers in their order.
    fn of(self, n_files: usize) -> Vec<usize> {
        let Self::Ends { first, last } = self else { return (0..n_files).collect() };
        let narrow = |count| usize::try_from(count).unwrap_or(usize::MAX).min(n_files);
        let end = narrow(first);
        let start = n_files.saturating_sub(narrow(last)).max(end);
        (0..end).chain(start..n_files).collect()
    }
}

/// The files that were typed: paths, patterns, folders, addresses.
///
/// # Errors
/// If something typed is no place, is not there, or matches nothing. A store that is written into the folder of its own
/// files is none of them.
pub fn typed(texts: &[String], target: &Location) -> Result<Vec<Found>, EngineError> {
    let mut found = Vec::new();
    let on_disk = |location: &Location| match location {
        Location::File(path) => std::fs::canonicalize(path).ok(),
        Location::Http(_) | Location::Object(_) => None,
    };
    let path = on_disk(target);
    let mut left_out = None;
    let is_target = |location: &Location| location == target || (path.is_some() && on_disk(location) == path);
    for place in places(texts)? {
        if let Place::Zarr { location, .. } = &place
            && is_target(location)
        {
            left_out = Some(location.clone());
            continue;
        }
        found.push(Found {
            location: place_of(place),
            name: String::new(),
            source: String::new(),
            keys: BTreeMap::new(),
        });
    }
    if let (true, Some(source_place)) = (found.is_empty(), left_out) {
        return Err(EngineError::IntoItself { source_place, target: target.clone() });
    }
    name_typed(&mut found);
    Ok(found)
}

/// The files of a recipe; paths that are not absolute lie in `folder`.
///
/// # Errors
/// If a file is not there that must be, a name cannot be read, or nothing is found.
pub fn find(sources: &[recipe::source::Source], folder: &Path, pick: Pick) -> Result<Files, EngineError> {
    let mut all = Files::default();
    for source in sources {
        let found = of_source(source, folder, &mut all.absent)?;
        // What a folder or a page lists is there.
        let is_listed = matches!(source.kind, SourceKind::Glob(_) | SourceKind::Index(_));
        let found = match source.missing {
            Missing::Skip | Missing::Fill if !is_listed => there(found, pick, source.missing, &mut all.absent)?,
            _ => pick.of(found.len()).into_iter().filter_map(|at| found.get(at).cloned()).collect(),
        };
        if found.is_empty() {
            return Err(EngineError::NoFiles { source_name: source.name.value.clone() });
        }
        all.found.extend(found);
    }
    name_found(&mut all.found, sources, folder);
    Ok(all)
}

/// The files of one source, in order; where they are listed, those that are there.
fn of_source(
    source: &recipe::source::Source,
    folder: &Path,
    absent: &mut Vec<Gone>,
) -> Result<Vec<Found>, EngineError> {
    let mut found = Vec::new();
    let at = match &source.kind {
        SourceKind::Url(_) | SourceKind::List(_) => {
            for expanded in expansion(source)? {
                let Expanded { text, keys } = expanded?;
                let location = place_in(folder, &text)?;
                be_gentle(&location, &source.fetch);
                found.push(Found { location, name: String::new(), source: source.name.value.clone(), keys });
            }
            return Ok(found);
        }
        SourceKind::Glob(template) | SourceKind::Index(template) => template.at,
    };
    let is_index = matches!(source.kind, SourceKind::Index(_));
    for expanded in expansion(source)? {
        let Expanded { text, keys } = expanded?;
        let location = place_in(folder, &text)?;
        let names = match (&location, is_index) {
            (Location::Http(_), true) => {
                be_gentle(&location, &source.fetch);
                listing::files(&location)
            }
            (Location::File(path), false) => of_pattern(path),
            (Location::Object(object), false) => buckets::places_of(object)
                .map(|all| all.into_iter().map(|place| (place.name().to_owned(), place_of(place))).collect::<Vec<_>>())
                .map(|all| all.into_iter().map(|(name, place)| (place, name)).collect()),
            (Location::Object(_), true) => {
                return Err(unfit(source, at, "index", "a bucket needs no page of links; use `glob`"));
            }
            (Location::Http(_), false) => {
                return Err(unfit(source, at, "glob", "a web server cannot be searched; use `index` or `url`"));
            }
            (Location::File(_), true) => {
                return Err(unfit(source, at, "index", "a folder needs no page of links; use `glob`"));
            }
        };
        let names = match names {
            Err(error) if source.missing != Missing::Error && is_absence(&error) => {
                absent.push(Gone { place: location.to_string(), keys, missing: source.missing });
                continue;
            }
            names => names?,
        };
        let n_before = found.len();
        for (location, name) in names {
            let Some(more) = match_name(source, &name)? else { continue };
            let mut keys = keys.clone();
            keys.extend(more);
            found.push(Found { location, name, source: source.name.value.clone(), keys });
        }
        if found.len() == n_before {
            match source.missing {
                missing @ (Missing::Skip | Missing::Fill) => {
                    absent.push(Gone { place: location.to_string(), keys, missing });
                }
                Missing::Error => return Err(no_match(source, &location)),
            }
        }
    }
    found.sort_by(|a, b| a.location.cmp(&b.location));
    found.dedup_by(|a, b| a.location == b.location);
    Ok(found)
}

/// The files of a pattern, and the names that are matched.
fn of_pattern(path: &str) -> Result<Vec<(Location, String)>, EngineError> {
    let mut found = Vec::new();
    for place in places(&[path.to_owned()])? {
        let location = place_of(place);
        let name = location.to_string();
        found.push((location, name));
    }
    Ok(found)
}

fn place_of(place: Place) -> Location {
    match place {
        Place::File { location, .. } => location,
        Place::Zarr { location, .. } => as_store(location),
    }
}

fn no_match(source: &recipe::source::Source, location: &Location) -> EngineError {
    match &source.pattern {
        Some(pattern) => EngineError::NoMatchIn { place: location.to_string(), pattern: pattern.value.to_string() },
        None => EngineError::NoMatch { pattern: location.to_string() },
    }
}

fn unfit(source: &recipe::source::Source, at: Position, key: &str, reason: &str) -> EngineError {
    let fault = Fault::BadValue { key: key.to_owned(), reason: reason.to_owned() };
    EngineError::Recipe(RecipeError { document: source.document, at, fault })
}

/// What `text` means in a recipe that lies in `folder`.
fn place_in(folder: &Path, text: &str) -> Result<Location, EngineError> {
    let location = located(text)?;
    Ok(match location {
        Location::File(path) if Path::new(&path).is_relative() && !folder.as_os_str().is_empty() => {
            let joined: PathBuf = folder.join(path);
            Location::parse(&joined.to_string_lossy())?
        }
        location => location,
    })
}

/// Tells the host of `location` how a recipe wants it to be asked.
fn be_gentle(location: &Location, fetch: &Fetch) {
    let Location::Http(text) = location else { return };
    let Some(address) = Address::parse(text) else { return };
    if fetch.per_host.is_none() && fetch.min_interval_ms.is_none() && fetch.retries.is_none() {
        return;
    }
    let usual = Manners::default();
    let manners = Manners {
        per_host: fetch.per_host.unwrap_or(usual.per_host).clamp(1, MOST_PER_HOST),
        min_interval: fetch.min_interval_ms.map_or(usual.min_interval, Duration::from_millis),
        retries: fetch.retries.unwrap_or(usual.retries),
        ..usual
    };
    ask_gently(address.authority(), manners);
}

/// Whether an error says that something is not there, and nothing worse.
fn is_absence(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Store(StoreError::NotFound { .. } | StoreError::Absent { .. }) | EngineError::NoMatch { .. }
    )
}

/// The files that are there, of those that are picked; the others are listed.
fn there(files: Vec<Found>, pick: Pick, missing: Missing, absent: &mut Vec<Gone>) -> Result<Vec<Found>, EngineError> {
    let gone = |file: &Found| Gone { place: file.location.to_string(), keys: file.keys.clone(), missing };
    let Pick::Ends { first, last } = pick else {
        let mut kept = Vec::with_capacity(files.len());
        for (file, is_there) in files.iter().zip(are_there(&files)?) {
            match is_there {
                true => kept.push(file.clone()),
                false => absent.push(gone(file)),
            }
        }
        return Ok(kept);
    };
    // A pruned run asks for no more than it takes.
    let mut taken: BTreeMap<usize, Found> = BTreeMap::new();
    let mut seen = vec![false; files.len()];
    let mut take = |order: &mut dyn Iterator<Item = usize>, wanted: u64| -> Result<(), EngineError> {
        let mut n_taken = 0;
        for at in order {
            let (Some(file), Some(seen)) = (files.get(at), seen.get_mut(at)) else { continue };
            if n_taken >= wanted {
                break;
            }
            if std::mem::replace(seen, true) {
                continue;
            }
            if is_there(&file.location)? {
                taken.insert(at, file.clone());
                n_taken += 1;
            } else {
                absent.push(gone(file));
            }
        }
        Ok(())
    };
    take(&mut (0..files.len()), first)?;
    take(&mut (0..files.len()).rev(), last)?;
    Ok(taken.into_values().collect())
}

fn is_there(location: &Location) -> Result<bool, EngineError> {
    if is_store(location) {
        return store_source::is_there(location);
    }
    match fingerprint(location) {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. } | StoreError::Absent { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether each file is there. Web servers are asked for several at a time, within their limits.
fn are_there(files: &[Found]) -> Result<Vec<bool>, EngineError> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, bool)>, EngineError> {
        let mut answers = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return Ok(answers) };
            answers.push((at, is_there(&file.location)?));
        }
    };
    let mut all = vec![false; files.len()];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MOST_ASKED_AT_ONCE.min(files.len())).map(|_| scope.spawn(worker)).collect();
        for thread in threads {
            let answers =
                thread.join().map_err(|_| EngineError::Thread { reason: "while looking for files".into() })?;
            for (at, is_there) in answers? {
                if let Some(slot) = all.get_mut(at) {
                    *slot = is_there;
                }
            }
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests;
