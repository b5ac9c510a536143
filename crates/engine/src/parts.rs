//! A plan in parts: saved once, done from anywhere, finished by whoever comes last.
//!
//! Parts share the lock of their plan and each has a journal of its own. All write the same bytes that one process
//! would write. Files that changed since the plan was saved are refused.

use std::sync::atomic::AtomicBool;

use frazil_model::plan::Task;
use frazil_store::{folder::Folder, lock::Sharing};

use crate::{
    error::EngineError,
    journal,
    prepare::{Prepared, Request},
    progress::Progress,
    publish::{
        self, Outcome, PLAN, Ran, SavedPlan, Showing, Standing, lock, run_tasks, save_plan, show, standing, store_of,
        tidy,
    },
};

/// Part `number` of `of`, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Part {
    /// The tasks of this part: a run of them, so that neighbours share what they read.
    #[must_use]
    pub fn of_tasks<'a>(&self, tasks: &'a [Task]) -> &'a [Task] {
        let edge = |part: usize| tasks.len() * part / self.of.max(1);
        &tasks[edge(self.number.saturating_sub(1))..edge(self.number)]
    }
}

/// Saves the plan beside the store that it makes.
///
/// # Errors
/// If another thing is there, or it cannot be written.
pub fn plan_only(request: &Request, prepared: &Prepared) -> Result<Outcome, EngineError> {
    let folder = Folder::at(&request.target)?;
    match standing(&folder)? {
        Standing::Published(_) => publish::create(request, prepared, &Progress::default(), &AtomicBool::new(false)),
        Standing::Foreign { what } => Err(EngineError::Exists { place: folder.location(), what: what.to_owned() }),
        Standing::Unfinished { plan } if plan != prepared.hash => {
            Err(EngineError::OtherPlan { place: folder.location() })
        }
        Standing::Unfinished { .. } => {
            // What was done from files that are others now is done again.
            if saved(&folder, prepared).is_err() {
                let lock = lock(&folder, Sharing::Alone)?;
                publish::forget_changed(prepared, &folder)?;
                save_plan(&folder, prepared)?;
                drop(lock);
            }
            Ok(Outcome::Written)
        }
        Standing::Nothing => {
            let lock = lock(&folder, Sharing::Plan(&prepared.hash))?;
            save_plan(&folder, prepared)?;
            drop(lock);
            Ok(Outcome::Written)
        }
    }
}

/// Does one part of a saved plan.
///
/// # Errors
/// [`EngineError::Changed`] if a file is not what it was when the plan was saved.
pub fn part(
    request: &Request,
    prepared: &Prepared,
    part: Part,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    let folder = Folder::at(&request.target)?;
    let saved = saved(&folder, prepared)?;
    let _lock = lock(&folder, Sharing::Plan(&prepared.hash))?;
    let store = store_of(request, prepared);
    let journal = format!("part-{}-of-{}", part.number, part.of);
    run_tasks(prepared, &store, &folder, part.of_tasks(&saved.tasks), &journal, progress, stop)?;
    // Whoever finishes may sit on another machine and could not sync what this one holds back.
    folder.sync_all()?;
    Ok(())
}

/// Checks that every part was done and every object is what was put, and shows the store.
///
/// # Errors
/// [`EngineError::Missing`] if a part is not done, or what it put is not there any more.
pub fn finish(request: &Request, prepared: &Prepared) -> Result<Outcome, EngineError> {
    let folder = Folder::at(&request.target)?;
    if let Standing::Published(_) = standing(&folder)? {
        return publish::create(request, prepared, &Progress::default(), &AtomicBool::new(false));
    }
    saved(&folder, prepared)?;
    let lock = lock(&folder, Sharing::Alone)?;
    let store = store_of(request, prepared);
    let documents = store.documents()?;
    check_units(&folder)?;
    // Other processes put the units: every folder of theirs is synced here.
    let touched = journal::done(&folder)?
        .keys()
        .flat_map(|key| key.match_indices('/').map(|(at, _)| key[..at].to_owned()).collect::<Vec<_>>())
        .filter(|key| folder.path().is_some_and(|root| root.join(key).is_dir()))
        .collect();
    let ran = Ran { touched, read_all: false };
    show(&Showing::whole(request, prepared, &store), &folder, documents, &ran)?;
    tidy(&folder, lock)?;
    Ok(Outcome::Written)
}

/// Whether every unit that a part put is there as it was put.
fn check_units(folder: &Folder) -> Result<(), EngineError> {
    let whole = journal::trusted(folder)?;
    let lost = journal::done(folder)?.into_keys().find(|key| !whole.contains_key(key));
    lost.map_or(Ok(()), |key| Err(EngineError::Missing { key }))
}

/// The plan that lies beside the store, if it is this one and its files are as they were.
fn saved(folder: &Folder, prepared: &Prepared) -> Result<SavedPlan, EngineError> {
    let no_plan = |reason: &str| EngineError::NoPlan { place: folder.location(), reason: reason.to_owned() };
    let bytes = folder.get(PLAN)?.ok_or_else(|| no_plan("none was saved"))?;
    let saved: SavedPlan = serde_json::from_slice(&bytes).map_err(|error| no_plan(&error.to_string()))?;
    if saved.replaces {
        return Err(no_plan("the store that was there before is not taken away yet"));
    }
    for ((name, state), source) in saved.sources.iter().zip(&prepared.sources) {
        if *name != source.name || *state != source.fingerprint {
            return Err(EngineError::ChangedSincePlan { file: source.name.clone() });
        }
    }
    if saved.plan != prepared.hash || saved.sources.len() != prepared.sources.len() {
        return Err(EngineError::OtherPlan { place: folder.location() });
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_all_tasks_and_none_twice() {
        let tasks: Vec<Task> = (0..10).map(|array| Task { array, first: vec![], n_units: vec![] }).collect();
        for of in 1..13 {
            let done: Vec<usize> =
                (1..=of).flat_map(|number| Part { number, of }.of_tasks(&tasks)).map(|task| task.array).collect();
            assert_eq!(done, (0..10).collect::<Vec<_>>());
        }
    }
}
