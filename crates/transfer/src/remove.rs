//! Deleting: a plan that can be read, and what carries it out.
//!
//! It promises that a store is gone for its readers before its first chunk goes, that keys which merely begin like the
//! place stay, and that a listing that failed deletes nothing.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use frazil_store::{StoreError, bucket::Bucket, folder::remove_tree};

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
        self.trees.iter().map(|tree| (tree.found.len() + tree.passed_over.len()) as u64).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.trees.iter().map(Tree::n_bytes).fold(0, u64::saturating_add)
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
        if scope == Scope::WholeStores {
            outside_of_stores(tree)?;
        }
    }
    Ok(Plan { trees: all })
}

/// A link is deleted itself, not what it leads to.
fn found(written: &Written) -> Result<Vec<Tree>, TransferError> {
    if let Place::Local(path) = &written.place
        && path.symlink_metadata().is_ok_and(|about| !about.is_dir())
        && !written.ends_with_slash
    {
        let name = written.place.base_name();
        let tree = Tree { place: written.place.clone(), is_file: true, found: Vec::new(), passed_over: Vec::new() };
        let about = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
        return Ok(vec![match about {
            Some(about) => Tree { found: vec![crate::walk::Found::of_file("", &about)], ..tree },
            None => Tree { passed_over: vec![(name, "a link".into())], ..tree },
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
pub fn run(plan: &Plan, watch: Watch<'_>) -> Result<Vec<(String, StoreError)>, TransferError> {
    watch.progress.expect(plan.n_objects(), plan.n_bytes());
    let mut left = Vec::new();
    for tree in &plan.trees {
        match &tree.place {
            Place::Local(path) => {
                let atoms = Atoms::among(tree.found.iter().map(|found| &*found.name));
                for phase in [Phase::Root, Phase::Outer] {
                    for found in tree.found.iter().filter(|found| atoms.phase(&found.name) == phase) {
                        remove_tree(&path.join(&*found.name))?;
                    }
                }
                if let Err(error) = remove_tree(path) {
                    left.push((tree.place.shown(), error));
                }
                watch.progress.bytes(tree.n_bytes());
                tree.found.iter().for_each(|_| watch.progress.file());
            }
            Place::Bucket { bucket, key } => left.extend(of_bucket(bucket, key, tree, watch)?),
            Place::Web(_) => {}
        }
        if watch.stop.load(Ordering::Relaxed) {
            return Err(TransferError::Interrupted { resume: None, open: None });
        }
    }
    Ok(left)
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
        if phase == Phase::Data && !tree.is_file && !key.is_empty() {
            // The mark that some programs leave where a folder begins.
            keys.push((format!("{key}/"), 0));
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
