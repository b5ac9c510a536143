//! Deleting: a plan that can be read, and what carries it out.
//!
//! It promises that a store is gone for its readers before its first chunk goes, that keys which merely begin like the
//! place stay, and that a listing that failed deletes nothing. Of a folder of this machine only what the plan saw goes, as
//! the plan saw it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use frazil_store::{
    StoreError,
    beneath::removal::{Left, Odd, Removal, remove_one},
    bucket::Bucket,
};

use crate::{
    atoms::{Atoms, Phase},
    copy::Scope,
    error::TransferError,
    guard,
    place::{Place, Written, joined},
    run::Watch,
    walk::{Tree, is_meant_as_pattern, trees},
};

/// Requests to delete that run at a time; each is for many keys.
const DELETED_AT_A_TIME: usize = 8;

/// Keys of one request.
const KEYS_AT_A_TIME: usize = 1000;

/// What would be deleted.
#[derive(Debug)]
pub struct Plan {
    /// Each place with what lies there.
    pub trees: Vec<Tree>,
}

impl Plan {
    /// Files and objects that would go, links and the like included.
    #[must_use]
    pub fn n_objects(&self) -> u64 {
        self.trees.iter().map(Tree::n_all).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.trees.iter().map(Tree::all_bytes).fold(0, u64::saturating_add)
    }
}

/// Whether somebody said how much may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A number of objects, or a person who looks at the plan.
    Said,
    /// Nobody did.
    None,
}

/// Looks what would be deleted.
///
/// # Errors
/// If a place is not there, cannot be listed, is too much, or is part of a store.
pub fn plan(places: &[Written], scope: Scope, bound: Bound) -> Result<Plan, TransferError> {
    let mut all: Vec<Tree> = Vec::new();
    for written in places {
        guard::not_too_much(&written.place, &written.text)?;
        guard::bounds(&written.place)?;
        if is_meant_as_pattern(written)? {
            guard::not_everything(&written.place, &written.text)?;
            if bound == Bound::None {
                return Err(TransferError::Unbounded { pattern: written.text.clone() });
            }
        }
        all.extend(found(written)?);
    }
    for tree in &all {
        guard::not_too_much(&tree.place, &tree.place.shown())?;
        guard::nothing_mounted(&tree.place)?;
        if scope == Scope::WholeStores {
            outside_of_stores(tree)?;
        }
    }
    Ok(Plan { trees: all })
}

/// A link is deleted itself, not what it leads to: a slash behind it could mean either, so it is refused.
fn found(written: &Written) -> Result<Vec<Tree>, TransferError> {
    if let Place::Local(path) = &written.place
        && let Ok(about) = path.symlink_metadata()
        && !about.is_dir()
    {
        if written.ends_with_slash {
            guard::no_link(written)?;
            return Err(TransferError::FileWithSlash { place: written.text.clone() });
        }
        let tree = Tree::empty(written.place.clone(), true);
        return Ok(vec![match Some(about).filter(std::fs::Metadata::is_file) {
            Some(about) => Tree { found: vec![crate::walk::Found::of_file("", &about)], ..tree },
            None => Tree { passed_over: vec![(String::new(), "a link".into())], ..tree },
        }]);
    }
    trees(written)
}

/// A store may be deleted whole, unless it lies in another one; other files may not be if they lie in one.
fn outside_of_stores(tree: &Tree) -> Result<(), TransferError> {
    let is_store =
        !tree.is_file && Atoms::among(tree.found.iter().map(|found| &*found.name)).roots().next() == Some("");
    let around = if is_store { guard::Around::Above } else { guard::Around::AtOrAbove };
    guard::not_inside_a_store(&tree.place, around)
}

/// Deletes. Answers what is still there, with the reason.
///
/// # Errors
/// If the deletion could not be begun, or somebody wanted to stop.
pub fn run(plan: &Plan, watch: Watch<'_>) -> Result<Vec<Left>, TransferError> {
    watch.progress.expect(plan.n_objects(), plan.n_bytes());
    let mut left = Vec::new();
    for tree in &plan.trees {
        left.extend(one(tree, watch)?);
    }
    Ok(left)
}

/// Deletes what was seen at one place. Answers what is still there, with the reason.
pub(crate) fn one(tree: &Tree, watch: Watch<'_>) -> Result<Vec<Left>, TransferError> {
    let left = match &tree.place {
        Place::Local(path) => of_path(path, tree, watch),
        Place::Bucket { bucket, key } => of_bucket(bucket, key, tree, watch)?,
        Place::Web(_) => Vec::new(),
    };
    if watch.stop.load(Ordering::Relaxed) {
        return Err(TransferError::Interrupted { resume: None, open: None });
    }
    Ok(left)
}

fn of_path(path: &Path, tree: &Tree, watch: Watch<'_>) -> Vec<Left> {
    let named = |(name, error): Left| (tree.place.below(&name).shown(), error);
    let files = tree.found.iter().map(|found| (&*found.name, found.mark.as_deref()));
    let others = tree.passed_over.iter().map(|(name, _)| (name.as_str(), None));
    let Some(identity) = tree.identity else {
        let gone = files.chain(others).map(|(_, mark)| remove_one(path, mark));
        watch.progress.bytes(tree.n_bytes());
        watch.progress.file();
        return gone.filter_map(Result::err).map(|error| (tree.place.shown(), error)).collect();
    };
    let removal = match Removal::open(path, identity) {
        Ok(removal) => removal,
        Err(error) => return vec![(tree.place.shown(), error)],
    };
    let atoms = Atoms::among(files.clone().map(|(name, _)| name));
    let mut left = Vec::new();
    for phase in Phase::ALL.into_iter().rev() {
        for found in tree.found.iter().filter(|found| atoms.phase(&found.name) == phase) {
            if watch.stop.load(Ordering::Relaxed) {
                return left.into_iter().map(named).collect();
            }
            if let Err(error) = removal.remove(&found.name, found.mark.as_deref()) {
                left.push((found.name.to_string(), error));
            }
            watch.progress.bytes(found.size_bytes);
            watch.progress.file();
        }
        // A store that is still shown must still be whole.
        if phase != Phase::Data && !left.is_empty() {
            return left.into_iter().map(named).collect();
        }
    }
    for (name, _) in &tree.passed_over {
        left.extend(removal.remove(name, None).err().map(|error| (name.clone(), error)));
    }
    let told: BTreeSet<String> = left.iter().map(|(name, _)| name.clone()).collect();
    let odd = if tree.has_odd_names() { Odd::Goes } else { Odd::Stays };
    left.extend(removal.finish(odd).into_iter().filter(|(name, _)| !told.contains(name)));
    left.into_iter().map(named).collect()
}

fn of_bucket(
    bucket: &Bucket,
    key: &str,
    tree: &Tree,
    watch: Watch<'_>,
) -> Result<Vec<(String, StoreError)>, TransferError> {
    let atoms = Atoms::among(tree.found.iter().map(|found| &*found.name));
    let left = Mutex::new(Vec::new());
    for phase in Phase::ALL.into_iter().rev() {
        let of_phase = tree.found.iter().filter(|found| atoms.phase(&found.name) == phase);
        let mut keys: Vec<(String, u64)> = of_phase.map(|found| (joined(key, &found.name), found.size_bytes)).collect();
        if phase == Phase::Data
            && let Some(mark) = &tree.mark
        {
            keys.push((format!("{key}/"), mark.size_bytes));
        }
        let batches: Vec<&[(String, u64)]> = keys.chunks(KEYS_AT_A_TIME).collect();
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<StoreError>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..DELETED_AT_A_TIME.min(batches.len()) {
                scope.spawn(|| {
                    while !watch.stop.load(Ordering::Relaxed) {
                        let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let names: Vec<&str> = batch.iter().map(|(key, _)| key.as_str()).collect();
                        match bucket.delete(&names) {
                            Ok(still) => left.lock().unwrap_or_else(PoisonError::into_inner).extend(still),
                            Err(error) => {
                                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                                return;
                            }
                        }
                        watch.progress.bytes(batch.iter().map(|(_, n_bytes)| *n_bytes).fold(0, u64::saturating_add));
                        batch.iter().for_each(|_| watch.progress.file());
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
    }
    Ok(left.into_inner().unwrap_or_else(PoisonError::into_inner))
}
