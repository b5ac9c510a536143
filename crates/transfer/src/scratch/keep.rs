//! Keeping: a store or a folder moves from where things go to where they stay, as one thing.
//!
//! It promises that nothing goes at the old place before all of it was compared with what lies at the new one, and that what
//! was written there meanwhile stops it. Typed again, it goes on where it was.

use super::{Told, is_held, rules_of_bucket};
use crate::{
    copy::{Filter, Mode, Plan, Proof, Request, Scope, plan as copy_plan},
    error::TransferError,
    guard,
    place::{Place, Written, joined},
    probe::{above, are_two, share_nothing},
    remove,
    run::{self, Outcome, Watch},
    walk::{Found, Tree, tree},
};

/// What is to be kept, and where.
#[derive(Debug)]
pub struct Keeping {
    request: Request,
    /// The source as it was when the plan was made.
    source: Tree,
    /// The copy that comes first.
    pub copy: Plan,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Looks what would be moved.
///
/// # Errors
/// If the source is not there or is part of a store, the new place is no better, or other files are in the way.
pub fn plan(source: Written, dest: Written) -> Result<Keeping, TransferError> {
    guard::bounds(&source.place)?;
    guard::no_link(&source)?;
    guard::not_too_much(&source.place, &source.text)?;
    let seen = tree(&source)?;
    let around = if seen.is_file { guard::Around::AtOrAbove } else { guard::Around::Above };
    guard::not_inside_a_store(&source.place, around)?;
    guard::nothing_mounted(&source.place)?;
    if is_held(&source.place)? {
        let by = "it is not finished".to_owned();
        return Err(frazil_store::StoreError::Locked { place: source.place.shown(), by }.into());
    }
    let request = Request {
        sources: vec![source],
        dest,
        mode: Mode::Copy,
        proof: Proof::Remembered,
        scope: Scope::WholeStores,
        filter: Filter { include: Vec::new(), exclude: Vec::new() },
    };
    let (request, copy) = match copy_plan(&request) {
        // What a run that was killed left of a store, once its documents had gone: all of it must be there.
        Err(error @ TransferError::InsideStore { .. }) => {
            let request = Request { scope: Scope::InsideStores, ..request };
            let copy = copy_plan(&request)?;
            if !copy.tasks.is_empty() {
                return Err(error);
            }
            (request, copy)
        }
        copy => (request, copy?),
    };
    whole(&copy)?;
    let mut notes = Vec::new();
    let there = there(&request);
    persistent(&copy, &seen, &there, &mut notes)?;
    Ok(Keeping { request, source: seen, copy, notes })
}

/// Whether what is copied is all of it, and nothing else is in its way.
fn whole(copy: &Plan) -> Result<(), TransferError> {
    let others = copy.passed_over.iter().map(|(name, why)| format!("`{name}`: {why}"));
    let others: Vec<String> = copy.in_the_way.iter().map(|name| format!("`{name}`")).chain(others).collect();
    match others.first() {
        Some(first) => Err(TransferError::NotWhole { place: copy.root.shown(), n: others.len(), first: first.clone() }),
        None => Ok(()),
    }
}

/// Where the source is after the copy.
fn there(request: &Request) -> Place {
    let dest = &request.dest;
    match request.sources.first() {
        Some(source) if dest.ends_with_slash => dest.place.below(&source.place.base_name()),
        _ => dest.place.clone(),
    }
}

/// Whether all of it stays where it is put, or is already, as far as the server says.
fn persistent(copy: &Plan, source: &Tree, there: &Place, notes: &mut Vec<String>) -> Result<(), TransferError> {
    let Some((bucket, _)) = copy.bucket() else { return Ok(()) };
    let Place::Bucket { key, .. } = there else { return Ok(()) };
    match rules_of_bucket(bucket)? {
        Told::Rules(rules) => {
            let goes =
                |found: &&Found| rules.goes_seconds(&joined(key, &found.name), found.size_bytes, Some(0)).is_some();
            match source.found.iter().find(goes) {
                Some(found) => Err(TransferError::NotPersistent { place: there.below(&found.name).shown() }),
                None => Ok(()),
            }
        }
        Told::Unknown(why) => {
            notes.push(format!("whether things stay at `{}` is not known: {why}", there.shown()));
            Ok(())
        }
    }
}

/// Refuses a new place that is the old one under another name, or of which files are files of the old one: the only copy
/// would go.
fn is_another_place(keeping: &Keeping) -> Result<(), TransferError> {
    // What was copied just now was not there before.
    if keeping.copy.same.0 == 0 {
        return Ok(());
    }
    let (source, there) = (&keeping.source.place, there(&keeping.request));
    match keeping.source.is_file {
        true => are_two(&above(source), &above(&there)),
        false => share_nothing(source, &there, keeping.source.found.iter().map(|found| &*found.name)),
    }
}

/// What became of it.
#[derive(Debug)]
pub struct Kept {
    /// The copy.
    pub outcome: Outcome,
    /// Files whose bytes were compared at both places.
    pub n_compared: u64,
    /// Objects that are no longer at the old place.
    pub n_removed: u64,
    /// What could not be removed there, with the reason.
    pub left: Vec<(String, String)>,
}

/// Copies, compares, and removes the original.
///
/// # Errors
/// If anything is not as it should be; then the original is still there.
pub fn run(keeping: &Keeping, watch: Watch<'_>) -> Result<Kept, TransferError> {
    let outcome = run::run(&keeping.copy, watch)?;
    if let Some((name, error)) = outcome.failed.first() {
        let (n_failed, n_all) = (outcome.failed.len(), keeping.copy.tasks.len());
        let first = format!("`{name}`: {error}");
        return Err(TransferError::Part {
            n_failed,
            n_all,
            done: "copied",
            first,
            exit: frazil_model::problem::Exit::No,
        });
    }
    // The same plan anew, with every file read: nothing may be left to do.
    let request = Request { proof: Proof::Read, ..keeping.request.clone() };
    let again = copy_plan(&request)?;
    whole(&again)?;
    let source = keeping.request.sources.first().ok_or(TransferError::Nothing { place: String::new() })?;
    let changed = || TransferError::Unlike { place: source.place.shown() };
    let now = tree(source)?;
    if !again.tasks.is_empty() || !now.is_like(&keeping.source) {
        return Err(changed());
    }
    if watch.stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(TransferError::Interrupted { resume: None, open: None });
    }
    is_another_place(keeping)?;
    let n_removed = now.found.len() as u64;
    let left = remove::run(&remove::Plan { trees: vec![now] }, watch)?;
    let left: Vec<(String, String)> = left.into_iter().map(|(name, error)| (name, error.to_string())).collect();
    Ok(Kept { outcome, n_compared: again.same.0, n_removed: n_removed.saturating_sub(left.len() as u64), left })
}
