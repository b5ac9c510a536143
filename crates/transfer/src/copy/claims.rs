//! Two who write to one store kept apart, by the same lock that builds take.
//!
//! It promises that whoever comes second is told so before anything of the store has changed, and that a store which
//! became another one between the plan and the lock is not written by that plan. What is no store has no lock. Where a
//! file system has no locks, or a server knows no conditions, nobody is kept apart.

use std::{collections::BTreeSet, fs::File};

use frazil_model::{location::is_below, zarr::DOCUMENTS};
use frazil_store::{
    StoreError,
    beneath::Kind,
    folder::Folder,
    lock::{Lock, Sharing},
};

use super::{Plan, one::Sink};
use crate::{
    error::TransferError,
    place::{Place, joined},
};

/// What stands for the lock in a store.
pub(crate) const LOCK: &str = ".frazil/lock";

/// Stores of one copy that are locked; each has a renewal of its own. In a copy of more nobody is kept apart.
const MOST_LOCKED: usize = 64;

/// Whether a name is that of a lock.
pub(crate) fn is_lock(name: &str) -> bool {
    name.strip_suffix(LOCK).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The locks of the stores that a plan writes to. Dropped, they are free.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    here: Vec<(String, File)>,
    away: Vec<Lock>,
}

impl Claims {
    /// Takes them all, or none.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if somebody else writes to one, or has written to it since the plan was made.
    pub fn take(plan: &Plan, sink: &Sink<'_>) -> Result<Self, TransferError> {
        let mut claims = Self::default();
        let stores = written(plan);
        if stores.len() > MOST_LOCKED {
            return Ok(claims);
        }
        for store in stores {
            let place = if store.is_empty() { plan.root.clone() } else { plan.root.below(store) };
            let taken = claims.take_one(&place, store, sink).and_then(|()| unchanged(plan, &place, store, sink));
            match taken {
                // What cannot be locked is not: whoever may not write is told so by the first file.
                Err(
                    StoreError::NoLocks { .. }
                    | StoreError::Denied { .. }
                    | StoreError::Fetch { is_temporary: false, .. }
                    | StoreError::Send { is_temporary: false, .. },
                ) => {}
                Err(error) => {
                    claims.leave(sink);
                    return Err(error.into());
                }
                Ok(()) => {}
            }
        }
        Ok(claims)
    }

    fn take_one(&mut self, place: &Place, store: &str, sink: &Sink<'_>) -> Result<(), StoreError> {
        let named = |error| match error {
            // People know the store, not the file that stands for it.
            StoreError::Locked { by, .. } => StoreError::Locked { place: place.shown(), by },
            error => error,
        };
        match (sink, place) {
            (Sink::Folder(folder), _) => {
                let name = joined(store, LOCK);
                let file = folder.lock(&name).map_err(named)?;
                self.here.push((name, file));
            }
            (Sink::Bucket(..), Place::Bucket { bucket, key }) => {
                let folder = Folder::at(&bucket.location(key))?;
                self.away.push(Lock::take(&folder, LOCK, Sharing::Alone).map_err(named)?);
            }
            (Sink::Bucket(..), _) => {}
        }
        Ok(())
    }

    /// Whether they are still held: what shows a store is written by its holder alone.
    ///
    /// # Errors
    /// [`StoreError::LockLost`] if somebody else has one.
    pub fn assure(&self) -> Result<(), StoreError> {
        self.away.iter().try_for_each(Lock::assure)
    }

    /// Frees them and takes away what stands for them.
    pub fn leave(self, sink: &Sink<'_>) {
        if let Sink::Folder(folder) = sink {
            for (name, file) in self.here {
                folder.unlock(&name, file);
            }
        }
        for lock in self.away {
            // What stays is known to be nobody's once this process has ended.
            let _ = lock.remove();
        }
    }
}

/// The stores that a plan changes.
fn written(plan: &Plan) -> BTreeSet<&str> {
    let of_tasks = plan.tasks.iter().filter_map(|task| plan.atoms.of(&task.to));
    let is_deleted = |root: &&str| plan.deletes.iter().any(|delete| is_below(&delete.name, root));
    let hidden = plan.hidden.keys().map(String::as_str).filter(is_deleted);
    of_tasks.chain(hidden).collect()
}

/// Whether the documents of a store are as they were when the plan was made; of others the plan may not know.
fn unchanged(plan: &Plan, place: &Place, store: &str, sink: &Sink<'_>) -> Result<(), StoreError> {
    for document in DOCUMENTS {
        let name = joined(store, document);
        let then = plan.documents.get(&name);
        if then.is_none() && !plan.has(&name) {
            continue;
        }
        let now = match (sink, place) {
            (Sink::Folder(folder), _) => match folder.about(&name)? {
                Some(Kind::File(about)) => Some((about.len(), String::new())),
                _ => None,
            },
            (Sink::Bucket(..), Place::Bucket { bucket, key }) => {
                bucket.about(&joined(key, document))?.map(|there| (there.size_bytes, there.state.tag()))
            }
            (Sink::Bucket(..), _) => None,
        };
        if now.as_ref() != then {
            let by = "it has been since this plan was made".to_owned();
            return Err(StoreError::Locked { place: place.shown(), by });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_by_its_whole_name() {
        for (name, is) in [(".frazil/lock", true), ("a/.frazil/lock", true), ("a.frazil/lock", false), ("lock", false)]
        {
            assert_eq!(is_lock(name), is, "{name}");
        }
    }
}
