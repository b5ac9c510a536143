//! What is this? Structure, types, chunks, sizes, times, advice; on request the digests of all values.
//!
//! It promises that what cannot be read is named with its reason and the rest is described, that one bad file does not
//! hide the others, and that memory stays within the limit given. It reads and never writes.

mod advice;
mod describe;
mod digest;
mod eras;
mod targets;
pub mod words;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use frazil_model::{
    location::Location,
    plan::Limits,
    problem::Exit,
    report::{ErrorReport, Report},
};
use frazil_store::profile::located;
use serde_json::{Value, json};

use crate::{
    boxes::FileBoxes,
    error::EngineError,
    index::{Index, IndexUse, first_keeping},
    places::{Place, places},
    planning::n_waiting_scanners,
    scan::Load,
    source::Source,
    store::StoreBoxes,
    store_source,
};

pub use eras::{Difference, Era};
pub use words::codec_words;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whether values are read.
    pub digests: Digests,
    /// Memory for chunks and slabs of values.
    pub memory_bytes: u64,
    /// Threads.
    pub n_threads: usize,
    /// Whether what was found before may be used.
    pub index: IndexUse,
    /// Set when the user wants it to stop.
    pub stop: &'a AtomicBool,
}

/// Whether values are read and digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Digests {
    No,
    Yes,
}

/// What was found at one place.
struct Found {
    /// One object for each variable and each thing that is unread.
    items: Vec<Value>,
    /// About the place itself.
    about: Value,
    n_unread: usize,
    stored_bytes: u64,
    signature: Option<frazil_model::era::Signature>,
}

/// Describes what `names` name: files, patterns, folders, Zarr stores.
///
/// # Errors
/// If a name is no place or gives nothing. What is wrong with a file is in the Report.
pub fn inspect(names: &[String], options: &Options<'_>) -> Result<Report, EngineError> {
    let places = named(names)?;
    let found = all(&places, options);
    if options.stop.load(Ordering::Relaxed) {
        return Err(EngineError::Interrupted { resume: None });
    }
    let is_wanted = |found: &Found| options.digests == Digests::Yes && found.n_unread > 0;
    let is_undigested = found.iter().flatten().any(is_wanted);
    // One file that cannot be read is the answer; of many it is a part of it.
    if let ([place], [Err(error)]) = (places.as_slice(), found.as_slice()) {
        let mut report = Report::of("inspect");
        report.fail(ErrorReport::of(error).at(place.name().to_owned()));
        return Ok(report);
    }
    let mut report = report(&places, found);
    if report.more.contains_key("eras") {
        report.more.insert("targets".into(), verdicts(&places, options));
    }
    let is_nothing = !report.items.is_empty() && report.items.iter().all(|item| item.get("unread").is_some());
    if is_undigested || is_nothing {
        let n_unread = report.totals.get("n_unread").and_then(Value::as_u64).unwrap_or(0);
        let message = format!("{n_unread} of {} things could not be read", report.items.len());
        let hint = "each is named in the answer with its reason";
        report.fail(ErrorReport::new("inspect.partly", message, Exit::Partly).with_hint(hint));
    }
    Ok(report)
}

/// What the files among the places can become together.
fn verdicts(places: &[Place], options: &Options<'_>) -> Value {
    let files = places.iter().filter_map(|place| match place {
        Place::File { location, name } => Some((location.clone(), name.clone())),
        Place::Zarr { .. } => None,
    });
    let limits = Limits { memory_bytes: options.memory_bytes, n_threads: options.n_threads };
    targets::verdicts(files.collect(), limits, options.index)
}

/// The places of all names. One that is not there does not hide the others: whoever looks at it says so.
fn named(names: &[String]) -> Result<Vec<Place>, EngineError> {
    let mut all = Vec::new();
    for name in names {
        match places(std::slice::from_ref(name)) {
            Ok(found) => all.extend(found),
            Err(EngineError::Store(error)) => match located(name)? {
                location @ Location::File(_) => all.push(Place::File { location, name: name.clone() }),
                // A listing that was refused says nothing of the objects.
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Looks at all places, on several threads, in their order.
fn all(places: &[Place], options: &Options<'_>) -> Vec<Result<Found, EngineError>> {
    let index = Index::open(places, options.memory_bytes, options.index);
    let (next, kept) = (AtomicUsize::new(0), first_keeping());
    let slots: Vec<Mutex<Option<Result<Found, EngineError>>>> = places.iter().map(|_| Mutex::new(None)).collect();
    let locations = places.iter().filter_map(|place| match place {
        Place::File { location, .. } => Some(location),
        Place::Zarr { .. } => None,
    });
    let n_waiting = if options.digests == Digests::No { n_waiting_scanners(locations) - 1 } else { 0 };
    let n_threads = (options.n_threads + n_waiting).clamp(1, places.len().max(1));
    let share = Share {
        chunk_bytes: options.memory_bytes / 4 / n_threads as u64,
        slab_bytes: (options.memory_bytes / 16 / n_threads as u64).max(1 << 20),
    };
    let worker = || {
        while !options.stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(place), Some(slot)) = (places.get(number), slots.get(number)) else { return };
            let found = one(place, options, share, &index);
            index.keep_now_and_then(&kept);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(worker);
        }
    });
    index.keep();
    let missing = || Err(EngineError::Interrupted { resume: None });
    slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(missing))
        .collect()
}

/// What one thread may hold.
#[derive(Debug, Clone, Copy)]
struct Share {
    chunk_bytes: u64,
    slab_bytes: u64,
}

fn one(place: &Place, options: &Options<'_>, share: Share, index: &Index) -> Result<Found, EngineError> {
    match place {
        Place::File { location, name } => {
            let source = index.scan(location, name, Load::Labels)?;
            match &source.store {
                Some(store) => of_store(store.boxes(name, share.chunk_bytes), name, options, share),
                None => Ok(of_file(source, options, share)),
            }
        }
        Place::Zarr { location, name } => {
            let source = store_source::scan(location, name, Load::Nothing)?;
            let boxes = source.store.as_ref().map(|store| store.boxes(name, share.chunk_bytes));
            boxes.map_or_else(|| Ok(of_file(source, options, share)), |boxes| of_store(boxes, name, options, share))
        }
    }
}

fn of_file(source: Source, options: &Options<'_>, share: Share) -> Found {
    let about = describe::file(&source);
    let signature = eras::signature(&source);
    let mut described = describe::variables(&source);
    let stored_bytes = source.fingerprint.size_bytes;
    if options.digests == Digests::Yes {
        let name = source.name.clone();
        let mut boxes = FileBoxes::new(source, share.chunk_bytes);
        for item in described.iter_mut().filter(|item| item.number.is_some()) {
            if options.stop.load(Ordering::Relaxed) {
                break;
            }
            add_digest(item, &mut boxes, stored_bytes, share, &name);
        }
    }
    found(described, about, stored_bytes, Some(signature))
}

fn of_store(mut store: StoreBoxes, name: &str, options: &Options<'_>, share: Share) -> Result<Found, EngineError> {
    let (about, mut described) = describe::store(&mut store, name)?;
    let stored_bytes = described.iter().map(|item| item.stored_bytes).sum();
    if options.digests == Digests::Yes {
        for item in described.iter_mut().filter(|item| item.number.is_some()) {
            if options.stop.load(Ordering::Relaxed) {
                break;
            }
            let item_bytes = item.stored_bytes;
            add_digest(item, &mut store, item_bytes, share, name);
        }
    }
    Ok(found(described, about, stored_bytes, None))
}

fn add_digest(
    item: &mut describe::Item,
    boxes: &mut dyn crate::boxes::Boxes,
    stored_bytes: u64,
    share: Share,
    name: &str,
) {
    let Some(number) = item.number else { return };
    match digest::digest(boxes, number, stored_bytes, share.slab_bytes) {
        Ok(digest) => item.set("digest", digest),
        Err(digest::Undigested::Reason(reason)) => item.unread(reason),
        Err(digest::Undigested::Error(error)) => item.unread(words::reason(&error, name)),
    }
}

fn found(
    described: Vec<describe::Item>,
    about: Value,
    stored_bytes: u64,
    signature: Option<frazil_model::era::Signature>,
) -> Found {
    let n_unread = described.iter().filter(|item| item.is_unread()).count();
    let items = described.into_iter().map(describe::Item::into_value).collect();
    Found { items, about, n_unread, stored_bytes, signature }
}

/// Puts what was found together.
fn report(places: &[Place], found: Vec<Result<Found, EngineError>>) -> Report {
    let mut report = Report::of("inspect");
    let (mut abouts, mut signatures) = (Vec::new(), Vec::new());
    let (mut n_failed, mut n_unread, mut n_variables, mut stored_bytes) = (0_u64, 0_usize, 0_usize, 0_u64);
    let mut first_error: Option<ErrorReport> = None;
    for (place, found) in places.iter().zip(found) {
        match found {
            Ok(found) => {
                n_unread += found.n_unread;
                n_variables += found.items.len();
                stored_bytes = stored_bytes.saturating_add(found.stored_bytes);
                report.items.extend(found.items);
                abouts.push(found.about);
                signatures.extend(found.signature.map(|signature| (place.name().to_owned(), signature)));
            }
            Err(error) => {
                n_failed += 1;
                let error = ErrorReport::of(&error);
                let reason = error.cause.clone().unwrap_or_else(|| error.message.clone());
                report.items.push(json!({"source": place.name(), "path": "/", "unread": reason}));
                first_error.get_or_insert(error);
            }
        }
    }
    report.total("n_sources", places.len());
    report.total("n_variables", n_variables - n_unread.min(n_variables));
    report.total("n_unread", n_unread as u64 + n_failed);
    report.total("stored_bytes", stored_bytes);
    report.more.insert("sources".into(), Value::Array(abouts));
    if signatures.len() > 1 {
        report.more.insert("eras".into(), eras::table(&signatures));
    }
    if n_unread > 0 {
        let what = if n_unread == 1 { "one thing" } else { "some things" };
        report.warn("inspect.unread", format!("{what} could not be read; each is named with its reason ({n_unread})"));
    }
    if let Some(first) = first_error {
        let message = format!("{n_failed} of {} files could not be read; the first: {}", places.len(), first.message);
        let mut error = ErrorReport::new("inspect.partly", message, Exit::Partly);
        (error.cause, error.hint) = (first.cause, first.hint);
        report.fail(error);
    }
    report
}
