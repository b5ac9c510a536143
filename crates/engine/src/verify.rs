//! Whether a finished store is still what was written: every object with its length and digest, and nothing else.
//!
//! It trusts the receipt, which seals itself, and through it the inventory; everything else is read again. It
//! promises to name each object that is lost, changed or not of the store, with its array and its elements, and never
//! to take a chunk of nothing but fill for a lost one. It does not decode: whether the values are those of the
//! sources is asked in `compare`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use frazil_formats::zarr;
use frazil_model::{region::Region, zarr::ArrayLayout};
use frazil_store::{
    StoreError,
    folder::{Folder, Opened, Seen},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::EngineError,
    journal::{self, Stored},
    publish::PLAN,
    receipt::{INVENTORY, Inventory, RECEIPT, Receipt, inventory_digest},
};

/// Bytes of an object that are held at a time.
const BLOCK_BYTES: u64 = 2 << 20;

/// Threads more than were asked for, where objects come from a server.
const MORE_THREADS: usize = 14;

/// Problems that are listed; more are only counted.
const MOST_PROBLEMS: usize = 10_000;

/// What is said of an object that no inventory has.
pub(crate) const STRAY: &str = "it does not belong to the store";

/// How many of the objects are read in full. All are looked at: whether they are there, and how long they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Every one.
    All,
    /// About this many of a hundred, others for each `seed`.
    Percent {
        /// Of a hundred.
        percent: f64,
        /// Which ones.
        seed: u64,
    },
}

impl Amount {
    /// As little as possible: whether every object is there and how long it is.
    pub const LOOK: Self = Self::Percent { percent: 0.0, seed: 0 };

    /// Whether the object `key` is read.
    fn includes(self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Percent { percent, seed } => lot(seed, key) < percent,
        }
    }

    /// The same, or as much as it takes to read one of `keys`: a look at nothing says nothing.
    fn of_at_least_one<'a>(self, keys: impl Iterator<Item = &'a String>) -> Self {
        let Self::Percent { percent, seed } = self else { return self };
        let least = keys.map(|key| lot(seed, key)).fold(f64::INFINITY, f64::min);
        if least < percent || least.is_infinite() { self } else { Self::Percent { percent: least.next_up(), seed } }
    }
}

/// A number from 0 to 100 that depends on a key and a seed alone.
fn lot(seed: u64, key: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(key.as_bytes());
    let bytes = hasher.finalize();
    let word = bytes.as_bytes().first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    f64::from(word) / (f64::from(u32::MAX) + 1.0) * 100.0
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Key of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Path of the array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// Its elements: `sst[0:30, 0:720]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The source that the store differs from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Finding {
    /// A problem of an object of an array.
    pub(crate) fn of_array(key: &str, array: &str, problem: &str) -> Self {
        Self { array: Some(array.to_owned()), ..Self::of(key, problem) }
    }

    /// A problem of a source.
    pub(crate) fn of_source(name: &str, problem: &str) -> Self {
        Self { key: None, array: None, region: None, source: Some(name.to_owned()), problem: problem.to_owned() }
    }

    /// A problem of one object of which no more is known.
    pub(crate) fn of(key: &str, problem: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), array: None, region: None, source: None, problem: problem.into() }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verified {
    /// What is wrong, sorted by key; at most ten thousand.
    pub problems: Vec<Finding>,
    /// How much is wrong in all.
    pub n_problems: u64,
    /// Objects of the store.
    pub n_objects: u64,
    /// Objects that were read in full.
    pub n_read: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Files of a virtual dataset that were looked at.
    pub n_files: u64,
    /// When the documents of a virtual dataset were written, no digests of them were taken: changes in them are not seen.
    pub has_no_digests: bool,
    /// Work on this store was begun and not finished. What readers see is complete all the same.
    pub is_unfinished: bool,
}

impl Verified {
    /// Notes a problem.
    pub fn add(&mut self, finding: Finding) {
        self.n_problems += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(finding);
        }
    }
}

/// Verifies the store in `folder`.
///
/// # Errors
/// [`EngineError::NotOurs`] if nothing there says what should be there; [`EngineError::Interrupted`] once `stop` is
/// set.
pub fn verify(folder: &Folder, amount: Amount, n_threads: usize, stop: &AtomicBool) -> Result<Verified, EngineError> {
    if let Some(Err(error)) = folder.path().map(std::fs::metadata) {
        return Err(StoreError::reading(&folder.location(), error).into());
    }
    let listing = folder.listing()?;
    if listing.as_ref().is_some_and(BTreeMap::is_empty) {
        return Err(StoreError::NotFound { location: folder.location() }.into());
    }
    let mut found = Verified::default();
    let inventory = trusted_inventory(folder, &mut found)?;
    let expected = Expected { began: journal::done(folder)?, layouts: layouts(folder), inventory };
    found.is_unfinished = folder.get(PLAN)?.is_some();
    found.n_objects = expected.inventory.0.len() as u64;
    let amount = amount.of_at_least_one(expected.inventory.0.keys());
    let shelf = Shelf { folder, listing: listing.as_ref() };
    read_objects(&shelf, &expected, amount, n_threads, stop, &mut found)?;
    if stop.load(Ordering::Relaxed) {
        return Err(EngineError::Interrupted { resume: None });
    }
    for key in strays(&shelf, &expected)? {
        found.add(expected.finding(&key, STRAY));
    }
    compare_documents(folder, &expected.inventory, &mut found)?;
    found.problems.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The inventory, as far as it can be read. A damaged receipt or inventory is itself a problem, and the rest is
/// looked at all the same.
fn trusted_inventory(folder: &Folder, found: &mut Verified) -> Result<Inventory, EngineError> {
    let not_ours = |reason: &str| EngineError::NotOurs { place: folder.location(), reason: reason.to_owned() };
    let receipt = match Receipt::of(folder) {
        Ok(Some(receipt)) => Some(receipt),
        Ok(None) if folder.get(PLAN)?.is_some() => return Err(not_ours("work on it is not finished")),
        Ok(None) => None,
        Err(EngineError::NotOurs { reason, .. }) => {
            found.add(Finding::of(RECEIPT, reason));
            None
        }
        Err(error) => return Err(error),
    };
    if receipt.is_none() && found.n_problems == 0 {
        if folder.get(INVENTORY)?.is_none() {
            return Err(not_ours("it has no receipt"));
        }
        found.add(Finding::of(RECEIPT, "it is missing"));
    }
    let Some(bytes) = folder.get(INVENTORY)? else {
        found.add(Finding::of(INVENTORY, "it is missing: no object can be checked"));
        return Ok(Inventory::default());
    };
    let text = String::from_utf8_lossy(&bytes);
    if receipt.is_some_and(|receipt| receipt.inventory != inventory_digest(&text)) || text.contains('\u{fffd}') {
        found.add(Finding::of(
            INVENTORY,
            "it was changed after it was written: what is said of other objects may be wrong",
        ));
    }
    let lines = text.lines().filter_map(Inventory::parse);
    Ok(Inventory(lines.flat_map(|line| line.0).collect()))
}

/// What should be there.
pub(crate) struct Expected {
    pub inventory: Inventory,
    /// What unfinished work has put in place already.
    pub began: BTreeMap<String, journal::Line>,
    /// Arrays by the key of their folder.
    pub layouts: BTreeMap<String, ArrayLayout>,
}

impl Expected {
    /// A problem of the object `key`, with its array and its elements.
    fn finding(&self, key: &str, problem: impl Into<String>) -> Finding {
        let mut finding = Finding::of(key, problem);
        let folders = key.match_indices('/').map(|(at, _)| (&key[..at], &key[at + 1..]));
        if let Some((layout, rest)) = folders.rev().find_map(|(at, rest)| Some((self.layouts.get(at)?, rest))) {
            finding.array = Some(layout.path.clone());
            finding.region = region_of(layout, rest);
        }
        finding
    }

    /// Whether unfinished work put just this there.
    fn began_with(&self, key: &str, stored: &Stored) -> bool {
        self.began.get(key).is_some_and(|line| line.bytes.as_ref() == Some(stored))
    }
}

/// The elements that the object `key` of an array holds: `sst[0:30, 0:720, 0:1440]`.
fn region_of(layout: &ArrayLayout, key: &str) -> Option<String> {
    let numbers: Vec<u64> = key.split(['/', '.']).filter_map(|part| part.parse().ok()).collect();
    let at = if layout.shape.is_empty() { Vec::new() } else { numbers };
    // An object beyond the array is no object of it, nor is one whose key is spelled in another way.
    if at.len() != layout.shape.len() || layout.chunk_key(&at) != key {
        return None;
    }
    let object_shape = layout.object_shape();
    let is_inside = at
        .iter()
        .zip(object_shape)
        .zip(&layout.shape)
        .all(|((at, object), length)| at.checked_mul(*object).is_some_and(|start| start < *length));
    if !is_inside {
        return None;
    }
    Some(region_text(&layout.path, &Region::of_cell(&at, object_shape, &layout.shape)))
}

/// A box of an array as people write it.
pub(crate) fn region_text(path: &str, region: &Region) -> String {
    let spans = region.start.iter().zip(&region.shape).map(|(start, length)| format!("{start}:{}", start + length));
    format!("{}[{}]", path.trim_start_matches('/'), spans.collect::<Vec<_>>().join(", "))
}

/// The arrays by the key of their folder, as far as the root document can be read.
fn layouts(folder: &Folder) -> BTreeMap<String, ArrayLayout> {
    let text = |key| folder.get(key).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let read = text("zarr.json")
        .and_then(|text| zarr::read_v3_root(&text).ok())
        .or_else(|| text(".zmetadata").and_then(|text| zarr::read_v2_consolidated(&text).ok()));
    let layouts = read.map(|read| read.layouts).unwrap_or_default();
    layouts.into_iter().map(|layout| (layout.path.trim_start_matches('/').to_owned(), layout)).collect()
}

/// Looks at every object of the inventory, on several threads.
pub(crate) fn read_objects(
    shelf: &Shelf<'_>,
    expected: &Expected,
    amount: Amount,
    n_threads: usize,
    stop: &AtomicBool,
    found: &mut Verified,
) -> Result<(), EngineError> {
    let objects: Vec<(&String, &Stored)> = expected.inventory.0.iter().collect();
    let (next, n_read, read_bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (shared, no_answer) = (Mutex::new(found), Mutex::new(None));
    let worker = || {
        let mut block = Vec::new();
        while let Some((key, stored)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
            let is_failed = || no_answer.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if stop.load(Ordering::Relaxed) || is_failed() {
                return;
            }
            let look = if amount.includes(key) {
                look_inside(shelf, key, stored, &mut block)
            } else {
                look_at(shelf, key, stored)
            };
            match look {
                Look::Same { n_bytes } => {
                    n_read.fetch_add(u64::from(n_bytes.is_some()), Ordering::Relaxed);
                    read_bytes.fetch_add(n_bytes.unwrap_or(0), Ordering::Relaxed);
                }
                Look::Other(now) if expected.began_with(key, &now) => {}
                Look::Other(now) => {
                    let problem = difference(&now, stored);
                    shared.lock().unwrap_or_else(PoisonError::into_inner).add(expected.finding(key, problem));
                }
                Look::NoAnswer(error) => {
                    no_answer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
                Look::Problem(problem) => {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).add(expected.finding(key, problem));
                }
            }
        }
    };
    let is_whole = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..shelf.n_threads(n_threads).clamp(1, objects.len().max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().all(|thread| thread.join().is_ok())
    });
    if !is_whole {
        return Err(EngineError::Thread { reason: "while reading the objects of the store".into() });
    }
    if let Some(error) = no_answer.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error.into());
    }
    let found = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.n_read = n_read.into_inner();
    found.read_bytes = read_bytes.into_inner();
    Ok(())
}

/// How an object that is there differs from what was written.
pub(crate) fn difference(now: &Stored, written: &Stored) -> String {
    match now.length == written.length {
        true => "its bytes are not those that were written".to_owned(),
        false => format!("it has {} bytes; {} were written", now.length, written.length),
    }
}

/// What a look at an object shows.
enum Look {
    /// It is as it was written; so many bytes were read to see it.
    Same { n_bytes: Option<u64> },
    /// It is another one.
    Other(Stored),
    /// It cannot be compared.
    Problem(String),
    /// Its server does not answer, which says nothing of it.
    NoAnswer(StoreError),
}

/// Where the objects are, with what a listing said of them where there was one.
pub(crate) struct Shelf<'a> {
    pub folder: &'a Folder,
    pub listing: Option<&'a BTreeMap<String, Seen>>,
}

impl Shelf<'_> {
    /// More than there are cores, where most of the time is waiting.
    fn n_threads(&self, n_threads: usize) -> usize {
        if self.listing.is_some() { n_threads.saturating_add(MORE_THREADS) } else { n_threads }
    }

    fn open(&self, key: &str) -> Result<Opened, Look> {
        let opened = match self.listing.map(|listing| listing.get(key)) {
            Some(None) => Ok(None),
            Some(Some(seen)) => self.folder.open_seen(key, seen),
            None => self.folder.open(key),
        };
        match opened {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(Look::Problem("it is missing".into())),
            Err(StoreError::IsFolder { .. }) => Err(Look::Problem("a folder is in its place".into())),
            Err(error) => Err(Look::of(error)),
        }
    }
}

impl Look {
    /// What an error of reading shows.
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Read { source, .. } | StoreError::Refused { source, .. } => {
                Self::Problem(format!("it could not be read: {source}"))
            }
            error @ (StoreError::Fetch { .. } | StoreError::Denied { .. } | StoreError::Unsigned { .. }) => {
                Self::NoAnswer(error)
            }
            error => Self::Problem(error.to_string()),
        }
    }
}

/// Whether an object is there and how long it is.
fn look_at(shelf: &Shelf<'_>, key: &str, stored: &Stored) -> Look {
    match shelf.open(key).map(|opened| opened.length()) {
        Ok(length) if length == stored.length => Look::Same { n_bytes: None },
        Ok(length) => Look::Problem(format!("it has {length} bytes; {} were written", stored.length)),
        Err(look) => look,
    }
}

/// Reads an object in blocks and compares it with what was written.
fn look_inside(shelf: &Shelf<'_>, key: &str, stored: &Stored, block: &mut Vec<u8>) -> Look {
    let opened = match shelf.open(key) {
        Ok(opened) => opened,
        Err(look) => return look,
    };
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    while length < opened.length() {
        let n_bytes = (opened.length() - length).min(BLOCK_BYTES);
        match opened.read(length, n_bytes, block) {
            Ok(()) => {
                hasher.update(block);
                length += n_bytes;
            }
            Err(error) => return Look::of(error),
        }
    }
    let now = Stored { length, blake3: hasher.finalize().to_hex().to_string() };
    if now == *stored { Look::Same { n_bytes: Some(length) } } else { Look::Other(now) }
}

/// Files that are neither of the store nor of work on it.
fn strays(shelf: &Shelf<'_>, expected: &Expected) -> Result<Vec<String>, EngineError> {
    let of_work = [journal::FOLDER, frazil_store::folder::STAGING, PLAN, crate::publish::LOCK];
    let is_of_work = |key: &str| of_work.iter().any(|at| key == *at || key.starts_with(&format!("{at}/")));
    let mut keys = match shelf.listing {
        Some(listing) => listing.keys().cloned().collect(),
        None => shelf.folder.keys()?,
    };
    keys.retain(|key| {
        !expected.inventory.0.contains_key(key)
            && !expected.began.contains_key(key)
            && ![RECEIPT, INVENTORY].contains(&key.as_str())
            && !is_of_work(key)
    });
    Ok(keys)
}

/// Compares the document that speaks for the whole store with each array's and each group's own.
fn compare_documents(folder: &Folder, inventory: &Inventory, found: &mut Verified) -> Result<(), EngineError> {
    let (root, is_v3) =
        if inventory.0.contains_key(".zmetadata") { (".zmetadata", false) } else { ("zarr.json", true) };
    let Some(bytes) = folder.get(root)? else {
        if !inventory.0.contains_key(root) && !inventory.0.is_empty() {
            found.add(Finding::of(root, "it is missing: nothing shows the store to readers"));
        }
        return Ok(());
    };
    let pointer = if is_v3 { "/consolidated_metadata/metadata" } else { "/metadata" };
    let parsed = zarr::read_document(&bytes);
    let Some(nodes) = parsed.as_ref().and_then(|root| root.pointer(pointer)).and_then(Value::as_object) else {
        found.add(Finding::of(root, "it does not describe the store"));
        return Ok(());
    };
    let names: [&str; 4] = ["zarr.json", ".zarray", ".zattrs", ".zgroup"];
    let is_document = |key: &&String| names.contains(&key.rsplit('/').next().unwrap_or_default());
    let described: BTreeSet<String> =
        nodes.keys().map(|path| if is_v3 { format!("{path}/zarr.json") } else { path.clone() }).collect();
    let own: BTreeSet<String> =
        inventory.0.keys().filter(is_document).filter(|key| *key != "zarr.json").cloned().collect();
    for key in described.union(&own) {
        let node = nodes.get(if is_v3 { key.trim_end_matches("/zarr.json") } else { key });
        let document = folder.get(key)?.and_then(|bytes| zarr::read_document(&bytes));
        match (node, document) {
            (Some(node), Some(document)) if without_nothing(node) == without_nothing(&document) => {}
            (Some(_), Some(_)) => found.add(Finding::of(key, format!("it says other things than {root}"))),
            (None, _) => found.add(Finding::of(key, format!("{root} says nothing of it"))),
            // A lost object of the inventory was named already.
            (Some(_), None) if inventory.0.contains_key(key) => {}
            (Some(_), None) => found.add(Finding::of(key, format!("{root} speaks of it, and it is not there"))),
        }
    }
    Ok(())
}

/// A document without what only a root may have.
fn without_nothing(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(object) = document.as_object_mut() {
        object.remove("consolidated_metadata");
    }
    document
}

#[cfg(test)]
mod tests {
    use frazil_model::{
        attribute::Attributes,
        codec::CodecChain,
        dtype::DataType,
        zarr::{ChunkKeys, Separator},
    };

    use super::*;

    #[track_caller]
    fn check(keys: ChunkKeys, shape: &[u64], key: &str, expected: Option<&str>) {
        let layout = ArrayLayout {
            path: "/ocean/sst".into(),
            shape: shape.to_vec(),
            chunk_shape: vec![30; shape.len()],
            shards: None,
            dtype: DataType::Bool,
            fill: None,
            codecs: CodecChain::default(),
            dimensions: Vec::new(),
            attributes: Attributes::default(),
            keys,
            calibration: None,
        };
        assert_eq!(region_of(&layout, key).as_deref(), expected);
    }

    #[test]
    fn an_object_is_named_by_its_elements() {
        let slashes = ChunkKeys::Default(Separator::Slash);
        check(slashes, &[100, 50], "c/1/0", Some("ocean/sst[30:60, 0:30]"));
        check(slashes, &[100, 50], "c/3/1", Some("ocean/sst[90:100, 30:50]"));
        check(slashes, &[], "c", Some("ocean/sst[]"));
        check(ChunkKeys::V2(Separator::Dot), &[100], "2", Some("ocean/sst[60:90]"));
        check(ChunkKeys::V2(Separator::Dot), &[], "0", Some("ocean/sst[]"));
    }

    #[test]
    fn what_is_beyond_the_array_or_spelled_otherwise_has_no_elements() {
        let slashes = ChunkKeys::Default(Separator::Slash);
        for key in ["c/4/0", "c/1", "c/01/0", "zarr.json", "c/99999999999999999999/0", "c/18446744073709551615/0"] {
            check(slashes, &[100, 50], key, None);
        }
    }

    #[test]
    fn a_sample_takes_about_its_share_and_all_takes_all() {
        let share = |amount: Amount| (0..10_000).filter(|number| amount.includes(&format!("sst/c/{number}"))).count();
        assert_eq!(share(Amount::All), 10_000);
        assert_eq!(share(Amount::Percent { percent: 100.0, seed: 1 }), 10_000);
        assert_eq!(share(Amount::Percent { percent: 0.0, seed: 1 }), 0);
        assert!((400..600).contains(&share(Amount::Percent { percent: 5.0, seed: 1 })));
    }
}
