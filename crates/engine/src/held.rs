//! What a store knows of the files that it is to be extended by: which are new, which it holds, which have changed.
//!
//! It promises that a file whose labels are there is either what it was, or refused by name, or revised as a whole
//! because that was asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::SystemTime,
};

use frazil_model::combine::{
    error::{CombineError, Rule},
    labels::{self, Label, Run, labels_of, runs_of},
    policy::Duplicates,
    view::FileView,
};

use crate::{
    error::EngineError,
    known::{self, Known},
    planning::n_waiting,
    prepare::{Reissued, Request},
    receipt::Receipt,
    recorded,
    source::{ChunkReader, Source},
    unchanged::{Ask, Held, those_that},
};

/// The files of a request, sorted by what the store knows of them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Numbers of those whose labels are new.
    pub fresh: BTreeSet<usize>,
    /// Numbers of those that changed and whose values take the place of the old ones.
    pub revised: BTreeSet<usize>,
    /// The places along the growing dimension that these have.
    pub places: Vec<Range<u64>>,
}

/// Sorts the files of a request.
///
/// A file whose labels are there must be one that the store was made of, unchanged, unless it may be revised. Those
/// that are named in `half_revised` are revised in any case.
///
/// # Errors
/// If a file cannot follow what is there.
pub(crate) fn sort(
    request: (&Request, SystemTime),
    along: &str,
    old: &FileView,
    views: &[FileView],
    files: &[Source],
    (receipt, half_revised): (&Receipt, &[String]),
) -> Result<Sorted, EngineError> {
    let no_labels =
        |file: &str| EngineError::Extend { file: file.to_owned(), reason: format!("it has no labels for `{along}`") };
    let there = labels_of(old, along)?.ok_or_else(|| no_labels(&old.name))?;
    let known: BTreeSet<&Label> = there.iter().collect();
    let descends = there.len() > 1 && there[0] > there[there.len() - 1];
    let (mut fresh, mut held) = (BTreeSet::new(), Vec::new());
    for (number, view) in views.iter().enumerate() {
        let labels = labels_of(view, along)?.ok_or_else(|| no_labels(&view.name))?;
        if let (Some(Label::Time(_, ours)), Some(Label::Time(_, theirs))) = (there.first(), labels.first())
            && !(labels::agree(*ours, *theirs, &there) && labels::agree(*ours, *theirs, &labels))
        {
            let differ = CombineError::Differs {
                rule: Rule::Calendar,
                variable: along.to_owned(),
                what: "calendar".to_owned(),
                file: view.name.clone(),
                value: theirs.to_string(),
                first_file: old.name.clone(),
                first_value: ours.to_string(),
            };
            return Err(differ.into());
        }
        let n_known = labels.iter().filter(|label| known.contains(label)).count();
        let refused = |reason: String| Err(EngineError::Extend { file: view.name.clone(), reason });
        if n_known == labels.len() {
            if labels.is_empty() {
                continue;
            }
            match receipt.sources.iter().position(|record| record.name == files[number].name) {
                Some(record) => held.push((record, number, labels)),
                None => return refused(already(along, &labels[0], "it came from another file")),
            }
            continue;
        }
        if n_known > 0 {
            let label = labels.iter().find(|label| known.contains(label)).map(ToString::to_string).unwrap_or_default();
            return refused(format!(
                "`{along}` = {label} is in the store already, and other labels of the file are not"
            ));
        }
        if let (Some(last), Some(wrong)) =
            (there.last(), labels.iter().find(|label| there.last().is_some_and(|last| (*label > last) == descends)))
        {
            return refused(format!("`{along}` = {wrong} does not come after {last}, where the store ends"));
        }
        fresh.insert(number);
    }
    held.sort_by_key(|(record, ..)| *record);
    let mut changed = changed(request, along, (old, &there), &held, (files, views), receipt)?;
    if request.0.reissued == Reissued::Revised {
        changed.extend((0..held.len()).filter(|at| half_revised.contains(&files[held[*at].1].name)));
        let places = places(along, &there, &held, &changed, receipt)
            .map_err(|(at, reason)| EngineError::Extend { file: views[held[at].1].name.clone(), reason })?;
        return Ok(Sorted { fresh, revised: changed.iter().map(|at| held[*at].1).collect(), places });
    }
    if let Some((_, number, labels)) = changed.first().and_then(|at| held.get(*at)) {
        let reason = already(along, &labels[0], "the file has changed since it was added");
        return Err(EngineError::Reissued { file: views[*number].name.clone(), reason });
    }
    Ok(Sorted { fresh, ..Sorted::default() })
}

/// Gives files the names by which the receipt knows them.
///
/// # Errors
/// If labels cannot be read.
pub(crate) fn rename(
    along: &str,
    old: &FileView,
    views: &mut [FileView],
    files: &mut [Source],
    receipt: &Receipt,
) -> Result<(), EngineError> {
    let there: BTreeSet<Label> = labels_of(old, along)?.into_iter().flatten().collect();
    // Of a file that has changed since, only its labels say that the store was made of it.
    let mut is_of_store = |file: usize| {
        let labels = labels_of(&views[file], along)?;
        Ok(labels.is_some_and(|labels| !labels.is_empty() && labels.iter().all(|label| there.contains(label))))
    };
    for (number, name) in recorded::rename(files, receipt, &mut is_of_store)? {
        views[number].name = name;
    }
    Ok(())
}

/// A file of which the store knows: its record's number, its own number, its labels.
type KnownFile = (usize, usize, Vec<Label>);

/// The places of what changed. Nothing says which labels a file had before, so they must be those that the other
/// files leave; the error is the number of the file that has others, with the reason.
fn places(
    along: &str,
    there: &[Label],
    held: &[KnownFile],
    changed: &BTreeSet<usize>,
    receipt: &Receipt,
) -> Result<Vec<Range<u64>>, (usize, String)> {
    let Some(first) = changed.first().copied() else { return Ok(Vec::new()) };
    let is_given = |number: usize| held.iter().any(|(record, ..)| *record == number);
    if let Some(absent) = (0..receipt.sources.len()).find(|number| !is_given(*number)) {
        let name = &receipt.sources[absent].name;
        let reason = format!("to revise it, all files that the store was made of must be given, and `{name}` is not");
        return Err((first, reason));
    }
    let mut owners: BTreeMap<&Label, usize> = BTreeMap::new();
    for (at, (_, _, labels)) in held.iter().enumerate() {
        for label in labels {
            if let Some(other) = owners.insert(label, at)
                && (changed.contains(&at) || changed.contains(&other))
            {
                let file = if changed.contains(&at) { at } else { other };
                return Err((file, format!("to revise it, `{along}` = {label} must be in no other file")));
            }
        }
    }
    let mut places: Vec<Range<u64>> = Vec::new();
    for (place, label) in (0..).zip(there) {
        let Some(owner) = owners.get(label) else {
            return Err((
                first,
                format!("its labels are not those that it had: `{along}` = {label} is in no file now"),
            ));
        };
        match places.last_mut() {
            _ if !changed.contains(owner) => {}
            Some(range) if range.end == place => range.end = place + 1,
            _ => places.push(place..place + 1),
        }
    }
    Ok(places)
}

fn already(along: &str, label: &Label, why: &str) -> String {
    format!("`{along}` = {label} is in the store already, and {why}")
}

/// Which of the files that the store was made of are not what they were then: if they are refused, the first.
fn changed(
    (request, began): (&Request, SystemTime),
    along: &str,
    (old, there): (&FileView, &[Label]),
    held: &[KnownFile],
    (files, views): (&[Source], &[FileView]),
    receipt: &Receipt,
) -> Result<BTreeSet<usize>, EngineError> {
    let labels: Vec<&[Label]> = held.iter().map(|(_, _, labels)| labels.as_slice()).collect();
    let mut runs = runs_held(there, &labels, request.policies.duplicates);
    let all: Vec<Held> = held
        .iter()
        .zip(&mut runs)
        .map(|((record, number, _), runs)| Held {
            source: &files[*number],
            view: &views[*number],
            record: &receipt.sources[*record],
            runs: std::mem::take(runs),
        })
        .collect();
    let paths: BTreeSet<&str> = old.variables.iter().map(|variable| variable.path.as_str()).collect();
    let n_threads = request.limits.n_threads + n_waiting(request.sources.iter().map(|(location, _)| location));
    let known = Known::of(all.iter().map(|held| held.source), request.index);
    // Whatever is surely the same is not read again.
    let unsure: Vec<usize> =
        (0..all.len()).filter(|at| !known.is_as_it_was(all[*at].source, all[*at].record)).collect();
    let is_other = |at: usize, reader: &mut ChunkReader| Ok(!all[unsure[at]].is_as_it_was(along, &paths, reader)?);
    let ask = if request.reissued == Reissued::Revised { Ask::All } else { Ask::First };
    let changed = those_that(unsure.len(), n_threads, ask, &is_other)?;
    if changed.is_empty() {
        known::note(unsure.iter().map(|at| (all[*at].source, all[*at].record)), began, request.index);
    }
    Ok(changed.into_iter().map(|at| unsure[at]).collect())
}

/// Which elements of each file the store holds: of a label that several have, those of one.
fn runs_held(there: &[Label], files: &[&[Label]], duplicates: Duplicates) -> Vec<Vec<Run>> {
    let places: BTreeMap<&Label, usize> = there.iter().enumerate().map(|(place, label)| (label, place)).collect();
    // What came from files that are not given any more belongs to nobody.
    let nobody = files.len();
    let mut owners = vec![(nobody, 0); there.len()];
    for (number, labels) in files.iter().enumerate() {
        for (from, label) in labels.iter().enumerate() {
            if let Some(owner) = places.get(label).and_then(|place| owners.get_mut(*place))
                && (owner.0 == nobody || duplicates == Duplicates::Last)
            {
                *owner = (number, from as u64);
            }
        }
    }
    let mut runs = vec![Vec::new(); files.len()];
    for run in runs_of(&owners) {
        if let Some(runs) = runs.get_mut(run.file) {
            runs.push(run);
        }
    }
    runs
}
