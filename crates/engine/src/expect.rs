//! What the author expects of the result, checked before anything of it can be seen.
//!
//! Shapes, labels and attributes are known once the files are joined; ranges are looked up in the values that the
//! store will hold, task by task.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use frazil_model::{
    combine::{
        Combined,
        expect::{ValueChecker, check as known},
    },
    plan::Task,
    recipe::{Spanned, expect::Expectation},
};

use crate::{
    compare::{expected, region_of},
    error::EngineError,
    prepare::Prepared,
    source::ChunkReader,
};

/// Checks what names, lengths, labels and attributes tell.
///
/// # Errors
/// [`EngineError::Expect`] with the first that does not hold and its line.
pub fn check(expectations: &[Spanned<Expectation>], prepared: &Prepared) -> Result<(), EngineError> {
    check_combined(expectations, &prepared.combined)
}

/// The same of a joined dataset.
///
/// # Errors
/// As for [`check`].
pub(crate) fn check_combined(expectations: &[Spanned<Expectation>], combined: &Combined) -> Result<(), EngineError> {
    match known(expectations, combined).into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Whether any of them is about values, which must be read for it.
pub(crate) fn is_about_values(expectations: &[Spanned<Expectation>]) -> bool {
    expectations.iter().any(|expected| matches!(expected.value, Expectation::Range { .. }))
}

/// Checks what the values tell: the files are read for it, on as many threads as the plan's memory allows.
///
/// # Errors
/// [`EngineError::Expect`] with the first that does not hold and its line.
pub fn check_values(
    expectations: &[Spanned<Expectation>],
    prepared: &Prepared,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    let mut all = ValueChecker::new(expectations, &prepared.combined);
    let path_of = |task: &Task| prepared.combined.variables[task.array].path.as_str();
    let tasks: Vec<&Task> = prepared.tasks.iter().filter(|task| all.wants(path_of(task))).collect();
    let next = AtomicUsize::new(0);
    let worker = || -> Result<ValueChecker, EngineError> {
        let mut checker = ValueChecker::new(expectations, &prepared.combined);
        let mut reader = ChunkReader::default();
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return Err(EngineError::Interrupted { resume: None });
            }
            let variable = &prepared.combined.variables[task.array];
            let region = region_of(task, &prepared.targets[task.array]);
            checker.feed(&variable.path, &expected(&prepared.sources, variable, &region, &mut reader)?);
        }
        Ok(checker)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads(prepared, &tasks)).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| {
            let reason = "while looking at values that are expected".to_owned();
            let checker = thread.join().map_err(|_| EngineError::Thread { reason })?;
            all.merge(&checker?);
            Ok::<(), EngineError>(())
        })
    })?;
    match all.failures().into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// How many boxes fit at a time in what the plan set aside for those of its tasks and for encoded units.
fn n_threads(prepared: &Prepared, tasks: &[&Task]) -> usize {
    let bytes_of = |task: &&Task| {
        let target = &prepared.targets[task.array];
        region_of(task, target).n_elements().saturating_mul(target.dtype.size_bytes().unwrap_or(16).into())
    };
    let largest = tasks.iter().map(bytes_of).max().unwrap_or(0).max(1);
    let pace = prepared.pace;
    let room = pace.task_bytes.saturating_mul(pace.n_tasks as u64).saturating_add(pace.encoded_bytes);
    let fitting = usize::try_from(room / largest).unwrap_or(usize::MAX);
    fitting.clamp(1, pace.n_workers.max(1)).min(tasks.len().max(1))
}
