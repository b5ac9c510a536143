//! What a store that is extended keeps: its labels, its numbers and what they mean, its chunks.
//!
//! Nothing of it is written again but chunks that are not full and documents. It promises that these say of the old numbers
//! what they said before, and that a chunk which is completed is the one that was written.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use frazil_model::{
    combine::{Combined, labels::Label, view::FileView},
    packing::Packing,
};
use frazil_store::folder::Folder;
use serde_json::Value;

use crate::{
    error::EngineError,
    journal,
    prepare::Prepared,
    publish::units_of,
    receipt::{Inventory, Receipt},
    sinks::zarr::ZarrStore,
    verify::{Amount, Expected, Shelf, Verified, read_objects},
};

/// The steps for each file must be those by which the store was made; which part of a file is taken may change.
///
/// # Errors
/// [`EngineError::OtherSteps`] if they are others.
pub(crate) fn check_steps(folder: &Folder, receipt: &Receipt, recipe: &str) -> Result<(), EngineError> {
    let (then, now) = (steps_of(&receipt.request), steps_of(recipe));
    match then == now {
        true => Ok(()),
        false => Err(EngineError::OtherSteps { place: folder.location() }),
    }
}

fn steps_of(request: &str) -> Vec<Value> {
    let mut values = serde_json::Deserializer::from_str(request).into_iter::<Value>();
    let first = values.next().and_then(Result::ok).unwrap_or_default();
    let steps = first.pointer("/means/each").and_then(Value::as_array).cloned().unwrap_or_default();
    steps.into_iter().filter(|step| step.get("Subset").is_none()).collect()
}

/// The joined dataset must begin with the labels that are there, and read the numbers that are there as before.
///
/// # Errors
/// [`EngineError::Extend`] if it does not; `file` is the first that is new.
pub(crate) fn check_meaning(
    (along, there): (&str, &[Label]),
    old: &FileView,
    combined: &Combined,
    file: &str,
) -> Result<(), EngineError> {
    let refused = |reason: String| Err(EngineError::Extend { file: file.to_owned(), reason });
    let labels = combined.along.as_ref().map_or(&[][..], |(_, labels)| labels);
    if !labels.starts_with(there) {
        return refused(format!(
            "the labels of `{along}` in the store are in no order, so that none can come after them"
        ));
    }
    for variable in &combined.variables {
        let Some(before) = old.variable(&variable.path) else { continue };
        if !Packing::of(&before.attributes).same_as(&Packing::of(&variable.attributes)) {
            return refused(format!(
                "`{}`: its packing or its marks for missing values are others in the store, which cannot hold the new values \
                 with them",
                variable.path
            ));
        }
    }
    Ok(())
}

/// Chunks that are there and get more elements must be what was written: what is damaged would be taken for good after.
///
/// # Errors
/// [`EngineError::Damaged`] if one is not; otherwise if it cannot be read.
pub(crate) fn check_chunks(
    folder: &Folder,
    (prepared, store): (&Prepared, &ZarrStore),
    inventory: Inventory,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    // Shards that grow are compared when they are copied.
    let copied = |task: &&frazil_model::plan::Task| prepared.edges.get(task.array).is_some_and(Option::is_none);
    let tasks = prepared.tasks.iter().filter(copied);
    let touched: BTreeSet<String> =
        tasks.flat_map(|task| units_of(task).into_iter().map(|at| store.unit_key(task.array, &at))).collect();
    let inventory = Inventory(inventory.0.into_iter().filter(|(key, _)| touched.contains(key)).collect());
    let expected = Expected { inventory, began: journal::done(folder)?, layouts: Default::default() };
    let mut found = Verified::default();
    let shelf = Shelf { folder, listing: None };
    read_objects(&shelf, &expected, Amount::All, prepared.pace.n_tasks, stop, &mut found)?;
    if stop.load(Ordering::Relaxed) {
        return Err(EngineError::Interrupted { resume: None });
    }
    match found.problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(EngineError::Damaged { key: problem.key.unwrap_or_default(), reason: problem.problem }),
    }
}
