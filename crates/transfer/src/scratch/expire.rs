//! Deleting what is old, at places that delete nothing by themselves.
//!
//! It promises that only whole stores go, and only those of which every object is older than was said, by the clock of the
//! place; that none goes that a catalog names, that somebody is writing, or of which anything is not known; and that one
//! listing that failed means that nothing is deleted at all. Each store that would go is listed twice, and both must
//! say the same, before the first object goes.

use frazil_store::{StoreError, bucket::Bucket};

use super::{Survey, Terms, Unit, catalog::Named, is_held, prefix_of, survey};
use crate::{
    error::TransferError,
    guard,
    place::{Place, Written},
    remove,
    walk::{Tree, tree},
};

/// Why a store stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// Something in it is not old enough.
    Young,
    /// A catalog names it.
    Named {
        /// The text.
        catalog: String,
    },
    /// Somebody is writing to it.
    Written {
        /// How that is known.
        how: String,
    },
    /// Nobody knows when all of it was written, or what it is.
    Unknown {
        /// In words.
        why: String,
    },
}

/// What would go and what would stay.
#[derive(Debug)]
pub struct Plan {
    /// Stores that would go.
    pub goes: Vec<Unit>,
    /// Stores that stay, with the reason.
    pub stays: Vec<(Unit, Stays)>,
    /// Files that are in no store, which all stay.
    pub n_loose: u64,
    /// What time it was there.
    pub now_seconds: u64,
    /// What is worth knowing: questions that the server does not answer.
    pub notes: Vec<String>,
    /// What is to be deleted.
    pub remove: remove::Plan,
}

/// Looks what would go that is older than `age_seconds`.
///
/// # Errors
/// If anything could not be listed or read, or its clock is not told; then nothing may be deleted.
pub fn plan(written: &Written, age_seconds: u64, named: &Named) -> Result<Plan, TransferError> {
    guard::bounds(&written.place)?;
    guard::not_inside_a_store(&written.place, guard::Around::Above)?;
    let seen = survey(written, &Terms::Age { seconds: age_seconds }, 0)?;
    let before = seen.now_seconds.saturating_sub(age_seconds);
    let mut notes = Vec::new();
    let uploads = match &written.place {
        Place::Bucket { bucket, key } => uploads(bucket, key, &mut notes)?,
        _ => Vec::new(),
    };
    let Survey { units, now_seconds, .. } = seen;
    let n_loose = units.iter().filter(|unit| !unit.is_store).map(|unit| unit.fate.n_objects).sum();
    let (mut goes, mut stays, mut trees) = (Vec::new(), Vec::new(), Vec::new());
    for unit in units.into_iter().filter(|unit| unit.is_store) {
        match stays_for(&unit, written, before, &uploads, named)? {
            Some(why) => stays.push((unit, why)),
            None => goes.push(unit),
        }
    }
    // All of them, before anything is decided: one that cannot be listed is an error for all.
    for unit in &goes {
        trees.push(listed_again(unit, written, before)?);
    }
    Ok(Plan { goes, stays, n_loose, now_seconds, notes, remove: remove::Plan { trees } })
}

/// Uploads that have begun, each by its name below the place and when it began.
fn uploads(bucket: &Bucket, key: &str, notes: &mut Vec<String>) -> Result<Vec<(String, Option<u64>)>, TransferError> {
    let prefix = prefix_of(key);
    match bucket.uploads(&prefix) {
        Ok(found) => Ok(found
            .into_iter()
            .filter_map(|upload| Some((upload.key.get(prefix.len()..)?.to_owned(), upload.begun_seconds)))
            .collect()),
        // Whoever may delete need not be let list uploads; objects that are young say that somebody is at work, too.
        Err(error @ StoreError::Denied { .. }) => {
            notes.push(format!("whether uploads are under way is not known: {error}"));
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// Why a store stays, if it does.
fn stays_for(
    unit: &Unit,
    written: &Written,
    before: u64,
    uploads: &[(String, Option<u64>)],
    named: &Named,
) -> Result<Option<Stays>, TransferError> {
    let place = place_of(unit, written);
    if unit.fate.n_undated > 0 {
        let why = format!("nobody knows how old {} of its files are", unit.fate.n_undated);
        return Ok(Some(Stays::Unknown { why }));
    }
    if unit.fate.newest_seconds.is_none_or(|newest| newest >= before) {
        return Ok(Some(Stays::Young));
    }
    let is_in =
        |name: &str| unit.name.is_empty() || name.strip_prefix(&unit.name).is_some_and(|rest| rest.starts_with('/'));
    if uploads.iter().any(|(name, begun)| is_in(name) && begun.is_none_or(|begun| begun >= before)) {
        return Ok(Some(Stays::Written { how: "an upload is under way".into() }));
    }
    if is_held(&place)? {
        return Ok(Some(Stays::Written { how: "a run of frazil holds it".into() }));
    }
    let n_above = written
        .place
        .shown()
        .rsplit("://")
        .next()
        .unwrap_or_default()
        .split('/')
        .filter(|part| !part.is_empty())
        .count();
    if let Some(catalog) = named.names(&place.shown(), n_above) {
        return Ok(Some(Stays::Named { catalog: catalog.to_owned() }));
    }
    Ok(None)
}

fn place_of(unit: &Unit, written: &Written) -> Place {
    if unit.name.is_empty() { written.place.clone() } else { written.place.below(&unit.name) }
}

/// What a store holds, as a listing of its own says; it must be what the first one said.
fn listed_again(unit: &Unit, written: &Written, before: u64) -> Result<Tree, TransferError> {
    let place = place_of(unit, written);
    guard::not_too_much(&place, &place.shown())?;
    let changed = || TransferError::Unlike { place: place.shown() };
    let again = tree(&Written { text: place.shown(), place: place.clone(), ends_with_slash: true })?;
    let is_old = again.found.iter().all(|found| found.modified_seconds.is_some_and(|written| written < before));
    let is_alike = again.found.len() as u64 == unit.fate.n_objects && again.n_bytes() == unit.fate.n_bytes;
    match is_old && is_alike && again.passed_over.is_empty() {
        true => Ok(again),
        false => Err(changed()),
    }
}
