//! Whether two places hold the same files, and whether a place holds what a manifest says.
//!
//! Sizes tell first, then the digests that servers keep, where both sides have one that can be compared; else both sides are
//! read. It promises that size and time are never taken for a proof, that every file of either side is told of as the same,
//! differing, missing, extra or not compared, and that nothing is written. A listing that fails is an error.

pub mod manifest;

use std::sync::atomic::AtomicBool;

use frazil_store::StoreError;

use crate::{
    atoms::Atoms,
    copy::{Filter, claims::is_lock},
    error::TransferError,
    known::Known,
    place::{Place, Written},
    progress::Progress,
    same,
    sums::{FILES_AT_A_TIME, for_each, sha256},
    walk::{Found, Tree, tree_with_closed},
};

/// What is compared.
#[derive(Debug)]
pub struct Checking {
    /// One place.
    pub a: Written,
    /// The other.
    pub b: Written,
    /// Which names are meant.
    pub filter: Filter,
    /// How.
    pub how: How,
    /// What only B has.
    pub extra: Extra,
}

/// How files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By digests that servers keep where there are some.
    Digests,
    /// Both sides are read.
    Read,
}

/// What only the other side has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Is a difference.
    Counts,
    /// Is not.
    IsFine,
}

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Only A has it.
    Missing,
    /// Only B has it.
    Extra,
    /// It has another length.
    Size,
    /// It has other bytes.
    Bytes,
    /// It could not be compared.
    NotCompared,
}

impl What {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Size => "size",
            Self::Bytes => "bytes",
            Self::NotCompared => "not-compared",
        }
    }
}

/// One file that is not the same.
#[derive(Debug)]
pub struct Difference {
    /// Its name below both places; empty if the places are files.
    pub name: String,
    /// The Zarr store that it is of, below both places; empty if they are one store.
    pub store: Option<String>,
    /// How it differs.
    pub what: What,
    /// In words.
    pub words: String,
    /// Whether it can never be there: that place takes no such name.
    pub is_unkept: bool,
    /// Why it could not be compared, if an error says so.
    pub error: Option<TransferError>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Files that are the same.
    pub n_same: u64,
    /// Their bytes.
    pub same_bytes: u64,
    /// Of those, files that were read on both sides.
    pub n_read: u64,
    /// Zarr stores on either side.
    pub n_stores: u64,
    /// All others, by name.
    pub differences: Vec<Difference>,
}

impl Compared {
    /// Counts a file that both sides have, by what came of comparing it.
    fn take(&mut self, pair: &Pair<'_>, verdict: Result<Verdict, StoreError>, store: impl FnOnce() -> Option<String>) {
        let (what, words, error) = match verdict {
            Ok(Verdict::Same { is_read }) => {
                self.n_same += 1;
                self.n_read += u64::from(is_read);
                self.same_bytes = self.same_bytes.saturating_add(pair.a.size_bytes);
                return;
            }
            Ok(Verdict::Other) => (What::Bytes, "it has other bytes there".to_owned(), None),
            Err(error) => (What::NotCompared, error.to_string(), Some(error.into())),
        };
        let name = pair.name.clone();
        self.differences.push(Difference { name, store: store(), what, words, is_unkept: false, error });
    }
}

/// A file that both sides have.
struct Pair<'a> {
    name: String,
    a: &'a Found,
    b: &'a Found,
}

/// How a pair is.
enum Verdict {
    Same { is_read: bool },
    Other,
}

/// Compares two places.
///
/// # Errors
/// If one is not there or cannot be listed, or somebody wanted to stop.
pub fn check(checking: &Checking, progress: &Progress, stop: &AtomicBool) -> Result<Compared, TransferError> {
    let a = tree_with_closed(&checking.a)?;
    let b = other_tree(checking, &a)?;
    if a.is_file != b.is_file {
        let (file, folder) = if a.is_file { (&a, &b) } else { (&b, &a) };
        return Err(TransferError::FileAndFolder { file: file.place.shown(), folder: folder.place.shown() });
    }
    for tree in [&a, &b] {
        tree.must_be_open(|folder| checking.filter.may_take_below(folder))?;
    }
    let names = || a.found.iter().chain(&b.found).map(|found| &*found.name);
    let atoms = Atoms::among(names());
    let is_meant = |name: &str| match atoms.of(name) {
        _ if is_lock(name) => false,
        Some(root) => root.is_empty() || checking.filter.takes(root),
        None => name.is_empty() || checking.filter.takes(name),
    };
    let is_meant_store = |root: &&str| root.is_empty() || checking.filter.takes(root);
    let n_stores = atoms.roots().filter(is_meant_store).count() as u64;
    let mut compared = Compared { n_stores, ..Compared::default() };
    let mut differ = |name: &str, what, words: String| {
        let store = atoms.of(name).map(str::to_owned);
        let is_unkept = what == What::Missing && b.place.unkept(name).is_some();
        let one = Difference { name: name.to_owned(), store, what, words, is_unkept, error: None };
        compared.differences.push(one);
    };
    let mut pairs = Vec::new();
    for_both(&a.found, &b.found, |side| match side {
        Side::Both(a, _) | Side::A(a) if !is_meant(&a.name) => {}
        Side::B(b) if !is_meant(&b.name) => {}
        Side::Both(a, b) if a.size_bytes != b.size_bytes => {
            let words = format!("{} bytes here, {} there", a.size_bytes, b.size_bytes);
            differ(&a.name, What::Size, words);
        }
        Side::Both(a, b) => pairs.push(Pair { name: a.name.to_string(), a, b }),
        Side::A(a) => {
            let why = b.place.unkept(&a.name).map(|why| format!(", and cannot be: {why}")).unwrap_or_default();
            differ(&a.name, What::Missing, format!("it is missing there{why}"));
        }
        Side::B(b) if checking.extra == Extra::Counts => differ(&b.name, What::Extra, "only there".into()),
        Side::B(_) => {}
    });
    for (name, reason) in a.passed_over.iter().chain(&b.passed_over).filter(|(name, _)| is_meant(name)) {
        differ(name, What::NotCompared, reason.clone());
    }
    let n_bytes = pairs.iter().map(|pair| pair.a.size_bytes).fold(0, u64::saturating_add);
    progress.expect(pairs.len() as u64, n_bytes);
    let verdicts = for_each(&pairs, FILES_AT_A_TIME, stop, |pair| verdict(pair, (&a, &b), checking.how, progress));
    for (pair, verdict) in pairs.iter().zip(verdicts) {
        let verdict = verdict.ok_or(TransferError::Interrupted { resume: None, open: None })?;
        let store = || atoms.of(&pair.name).map(str::to_owned);
        compared.take(pair, verdict, store);
    }
    compared.differences.sort_by(|a, b| (&a.name, a.what).cmp(&(&b.name, b.what)));
    Ok(compared)
}

/// What lies at the other place: of a file, the file of its name in a folder, where a slash says that a folder is meant.
fn other_tree(checking: &Checking, a: &Tree) -> Result<Tree, TransferError> {
    let b = &checking.b;
    if !(a.is_file && b.ends_with_slash) {
        return tree_with_closed(b);
    }
    let place = b.place.below(&a.place.base_name());
    tree_with_closed(&Written { text: place.shown(), place, ends_with_slash: false })
}

/// Where a name is.
enum Side<'a> {
    A(&'a Found),
    B(&'a Found),
    Both(&'a Found, &'a Found),
}

/// Tells each name of two listings once. They are sorted here: servers sort by bytes, some of them nearly.
fn for_both<'a>(a: &'a [Found], b: &'a [Found], mut tell: impl FnMut(Side<'a>)) {
    let sorted = |found: &'a [Found]| {
        let mut sorted: Vec<&Found> = found.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted
    };
    let (a, b) = (sorted(a), sorted(b));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        match order {
            std::cmp::Ordering::Less => a.next().into_iter().for_each(|a| tell(Side::A(a))),
            std::cmp::Ordering::Greater => b.next().into_iter().for_each(|b| tell(Side::B(b))),
            std::cmp::Ordering::Equal => a.next().zip(b.next()).into_iter().for_each(|(a, b)| tell(Side::Both(a, b))),
        }
    }
}

fn verdict(pair: &Pair<'_>, (a, b): (&Tree, &Tree), how: How, progress: &Progress) -> Result<Verdict, StoreError> {
    let (place_a, place_b) = (place_of(a, pair.a), place_of(b, pair.b));
    let told = match how {
        How::Read => None,
        How::Digests => match (&place_a, &place_b) {
            (Place::Bucket { .. }, Place::Bucket { .. }) => same::by_digests(pair.a, pair.b),
            // What is remembered of a file would not show that the disk has lost some of it.
            (Place::Local(path), Place::Bucket { .. }) => {
                same::file_by_digest(path, pair.a, pair.b, &Known::nothing())?
            }
            (Place::Bucket { .. }, Place::Local(path)) => {
                same::file_by_digest(path, pair.b, pair.a, &Known::nothing())?
            }
            _ => None,
        },
    };
    if let Some(is_same) = told {
        progress.bytes(pair.a.size_bytes);
        progress.file();
        return Ok(if is_same { Verdict::Same { is_read: false } } else { Verdict::Other });
    }
    let unseen = Progress::default();
    let is_same = sha256(place_a, pair.a, progress)? == sha256(place_b, pair.b, &unseen)?;
    Ok(if is_same { Verdict::Same { is_read: true } } else { Verdict::Other })
}

fn place_of(tree: &Tree, found: &Found) -> Place {
    if found.name.is_empty() { tree.place.clone() } else { tree.place.below(&found.name) }
}
