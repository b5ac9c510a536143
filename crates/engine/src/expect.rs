//! What the author expects of the result, checked before anything of it can be seen.
//!
//! Shapes, labels and attributes are known once the files are joined; ranges are looked up in the values that the
//! store will hold, task by task.

use std::sync::atomic::{AtomicBool, Ordering};

use frazil_model::{
    combine::expect::{ValueChecker, check as known},
    recipe::{Spanned, expect::Expectation},
};

use crate::{
    compare::{expected, region_of},
    error::EngineError,
    prepare::Prepared,
    source::ChunkReader,
};

/// Checks all expectations.
///
/// # Errors
/// [`EngineError::Expect`] with the first that does not hold and its line.
pub fn check(expectations: &[Spanned<Expectation>], prepared: &Prepared, stop: &AtomicBool) -> Result<(), EngineError> {
    if let Some(failure) = known(expectations, &prepared.combined).into_iter().next() {
        return Err(failure.into());
    }
    let mut checker = ValueChecker::new(expectations, &prepared.combined);
    let mut reader = ChunkReader::default();
    for task in &prepared.tasks {
        let variable = &prepared.combined.variables[task.array];
        if !checker.wants(&variable.path) {
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(EngineError::Interrupted { resume: None });
        }
        let region = region_of(task, &prepared.targets[task.array]);
        checker.feed(&variable.path, &expected(&prepared.sources, variable, &region, &mut reader)?);
    }
    match checker.failures().into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}
