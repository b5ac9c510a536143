//! What of a delivery lies at its place: asked before anything is sent, and looked at once more before it is called whole.
//!
//! It promises that a file counts as sent only if its bytes are there: by the digest or the tag of its server, by reading it,
//! or, where nothing may be read, by the note that it was sent. It changes nothing.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use frazil_store::{
    StoreError,
    bucket::{Bucket, Depth, Listed},
};

use super::{
    Entry, OWN,
    claim::{Claim, Sight},
    journal::Journal,
};
use crate::{
    copy::{Proof, Task, claims::is_lock, one, parts::LARGE_BYTES},
    error::TransferError,
    known::Known,
    place::Place,
    probe::is_mark,
    progress::Progress,
    same::Same,
    sums::{for_each, sha256},
    walk::{Found, tree},
};

/// Questions asked at a time.
const QUESTIONS_AT_A_TIME: usize = 32;

/// If none of so many files is there, none is; what is there all the same is not written over.
const FIRST_ASKED: usize = 16;

/// What has the name of a file that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lies {
    /// Nothing, or nobody says.
    Nothing,
    /// The file itself, with its tag if its server says one.
    Same(String),
    /// Something else.
    Other,
}

fn interrupted() -> TransferError {
    TransferError::Interrupted { resume: None, open: None }
}

/// What has each name.
///
/// # Errors
/// [`TransferError::Leftover`] if something else has one, and nothing that lies there is of this push.
pub(super) fn ask(
    place: &Place,
    tasks: &[Task],
    files: &[Entry],
    journal: &Journal,
    claim: &Claim,
    stop: &AtomicBool,
) -> Result<Vec<Lies>, TransferError> {
    let known = match (place, tasks.first().map(|task| &*task.from)) {
        (Place::Bucket { .. }, Some(Place::Local(path))) => Known::of(path),
        _ => Known::nothing(),
    };
    let asked: Vec<(&Task, &Entry)> = tasks.iter().zip(files).collect();
    let question = |(task, file): &(&Task, &Entry)| one_file(place, task, file, journal, claim, &known);
    let mut lay = vec![Lies::Nothing; tasks.len()];
    let is_bucket = matches!(place, Place::Bucket { .. });
    // Where nothing of ours can be, some questions do; a large file is asked for, for it cannot be sent on a condition.
    let is_first = |at: usize, task: &Task| at < FIRST_ASKED || task.found.size_bytes >= LARGE_BYTES;
    let mut some: Vec<usize> = (0..tasks.len()).collect();
    for round in 0..2 {
        let (now, later): (Vec<usize>, Vec<usize>) =
            some.into_iter().partition(|at| round > 0 || tasks.get(*at).is_some_and(|task| is_first(*at, task)));
        let questions: Vec<(&Task, &Entry)> = now.iter().filter_map(|at| asked.get(*at).copied()).collect();
        for (at, answer) in now.iter().zip(for_each(&questions, QUESTIONS_AT_A_TIME, stop, question)) {
            if let Some(lies) = lay.get_mut(*at) {
                *lies = answer.ok_or_else(interrupted)??;
            }
        }
        if is_bucket && claim.is_fresh && lay.iter().all(|lies| *lies == Lies::Nothing) {
            break;
        }
        some = later;
    }
    known.keep();
    let others = tasks.iter().zip(&lay).filter(|(_, lies)| **lies == Lies::Other).map(|(task, _)| &*task.to);
    let others: Vec<&str> = others.collect();
    match others.first() {
        Some(first) if claim.is_fresh => {
            let first = format!("`{first}` has other bytes");
            Err(TransferError::Leftover { place: place.shown(), n: others.len(), first })
        }
        _ => Ok(lay),
    }
}

fn one_file(
    place: &Place,
    task: &Task,
    file: &Entry,
    journal: &Journal,
    claim: &Claim,
    known: &Known,
) -> Result<Lies, TransferError> {
    let to = place.below(&task.to);
    let noted = journal.tag(&task.to, &task.found);
    match &to {
        Place::Bucket { bucket, key } => {
            let Some(there) = about(bucket, key)? else {
                return Ok(match (claim.sight, noted) {
                    (Sight::Blind, Some(tag)) => Lies::Same(tag.to_owned()),
                    _ => Lies::Nothing,
                });
            };
            let tag = there.state.tag();
            if noted.is_some_and(|noted| !noted.is_empty() && noted == tag) {
                let is_same = there.size_bytes == task.found.size_bytes;
                return Ok(if is_same { Lies::Same(tag) } else { Lies::Other });
            }
            let found = Found::of_object(there, "");
            let same = one::judge((&task.place(), &task.found), (&to, &found), known, Proof::Remembered)?;
            Ok(if same == Same::Yes { Lies::Same(tag) } else { Lies::Other })
        }
        Place::Local(path) => {
            let Ok(about) = path.symlink_metadata() else { return Ok(Lies::Nothing) };
            let found = Found::of_file("", &about);
            if !about.is_file() || found.size_bytes != task.found.size_bytes {
                return Ok(Lies::Other);
            }
            // Size and time alone prove nothing of a file that somebody else may have put there.
            let time = |found: &Found| found.mark.as_ref().map(|mark| mark.state.split('/').next().map(str::to_owned));
            let is_noted = noted.is_some() && time(&found) == time(&task.found);
            let is_same = is_noted || sha256(to.clone(), &found, &Progress::default())? == file.sha256;
            Ok(if is_same { Lies::Same(String::new()) } else { Lies::Other })
        }
        Place::Web(_) => Ok(Lies::Nothing),
    }
}

/// What is at a key. Some servers say of what is not there that it may not be seen.
fn about(bucket: &Bucket, key: &str) -> Result<Option<Listed>, StoreError> {
    match bucket.about(key) {
        Err(StoreError::Denied { .. }) => Ok(None),
        about => about,
    }
}

/// Whether files of an earlier try lie there that are not sent any more: with them the delivery would never be accepted.
///
/// # Errors
/// [`TransferError::Leftover`] if so, or if that cannot be told.
pub(super) fn no_leftovers(
    place: &Place,
    files: &[Entry],
    journal: &Journal,
    claim: &Claim,
    stop: &AtomicBool,
) -> Result<(), TransferError> {
    let is_sent = |name: &str| files.binary_search_by(|file| file.name.as_str().cmp(name)).is_ok();
    let dropped: Vec<&str> = journal.names().into_iter().filter(|name| !is_sent(name)).collect();
    let lies = |name: &&str| -> Result<bool, StoreError> {
        match place.below(name) {
            Place::Local(path) => Ok(path.symlink_metadata().is_ok()),
            Place::Bucket { .. } if claim.sight == Sight::Blind => Ok(!claim.is_fresh && journal.has_sent(name)),
            Place::Bucket { bucket, key } => Ok(about(&bucket, &key)?.is_some()),
            Place::Web(_) => Ok(false),
        }
    };
    let mut left = Vec::new();
    for (name, answer) in dropped.iter().zip(for_each(&dropped, QUESTIONS_AT_A_TIME, stop, lies)) {
        if answer.ok_or_else(interrupted)?? {
            left.push(*name);
        }
    }
    leftover(place, &left)
}

fn leftover(place: &Place, names: &[&str]) -> Result<(), TransferError> {
    let Some(first) = names.first() else { return Ok(()) };
    let first = format!("`{first}` is not among those to be sent");
    Err(TransferError::Leftover { place: place.shown(), n: names.len(), first })
}

/// Whether every file is there now, and nothing else: by one listing where that is allowed, else by a question for each that
/// this process did not send itself.
///
/// # Errors
/// [`TransferError::Vanished`] if one is not there, [`TransferError::Leftover`] if others are.
pub(super) fn look_again(
    place: &Place,
    files: &[Entry],
    lay: &[Lies],
    journal: &Journal,
    stop: &AtomicBool,
) -> Result<(), TransferError> {
    let tag = |file: &Entry, lies: Option<&Lies>| {
        let asked = lies.and_then(|lies| if let Lies::Same(tag) = lies { Some(tag.clone()) } else { None });
        journal.arrived_tag(&file.name).or(asked).filter(|tag| !tag.is_empty())
    };
    let is_as_sent = |file: &Entry, lies: Option<&Lies>, (size_bytes, now): (u64, &str)| {
        size_bytes == file.size_bytes && tag(file, lies).is_none_or(|tag| now.is_empty() || tag == now)
    };
    let mut missing: Vec<&str> = Vec::new();
    if let Some(listed) = listed(place)? {
        for (at, file) in files.iter().enumerate() {
            let there = listed.get(&file.name).map(|(size_bytes, tag)| (*size_bytes, tag.as_str()));
            if !there.is_some_and(|there| is_as_sent(file, lay.get(at), there)) {
                missing.push(&file.name);
            }
        }
        let is_ours = |name: &&str| files.binary_search_by(|file| file.name.as_str().cmp(name)).is_err();
        let others: Vec<&str> = listed.keys().map(String::as_str).filter(is_ours).collect();
        if missing.is_empty() {
            leftover(place, &others)?;
        }
    } else {
        let asked: Vec<(&Entry, &Lies)> =
            files.iter().zip(lay).filter(|(file, _)| journal.arrived_tag(&file.name).is_none()).collect();
        let lies = |(file, lies): &(&Entry, &Lies)| -> Result<bool, StoreError> {
            let Place::Bucket { bucket, key } = place.below(&file.name) else { return Ok(true) };
            let there = about(&bucket, &key)?;
            Ok(there.is_some_and(|there| is_as_sent(file, Some(lies), (there.size_bytes, &there.state.tag()))))
        };
        for ((file, _), answer) in asked.iter().zip(for_each(&asked, QUESTIONS_AT_A_TIME, stop, lies)) {
            if !answer.ok_or_else(interrupted)?? {
                missing.push(&file.name);
            }
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            Err(TransferError::Vanished { place: place.shown(), n: missing.len(), first: (*first).to_owned() })
        }
    }
}

/// The size and the tag of each file of a folder.
type Listing = BTreeMap<String, (u64, String)>;

/// The files of a folder; nothing if they may not be listed.
fn listed(place: &Place) -> Result<Option<Listing>, TransferError> {
    let mut listed = Listing::new();
    let mut add = |name: &str, size_bytes: u64, tag: String| {
        if !name.is_empty() && !OWN.contains(&name) && !is_lock(name) && !is_mark(name) {
            listed.insert(name.to_owned(), (size_bytes, tag));
        }
    };
    match place {
        Place::Bucket { bucket, key } => {
            let prefix = format!("{key}/");
            for page in bucket.pages(&prefix, Depth::All) {
                let objects = match page {
                    Err(StoreError::Denied { .. } | StoreError::Fetch { is_temporary: false, .. }) => return Ok(None),
                    page => page?.objects,
                };
                for object in objects {
                    add(object.key.get(prefix.len()..).unwrap_or_default(), object.size_bytes, object.state.tag());
                }
            }
        }
        Place::Local(_) => {
            let written = crate::place::Written { text: place.shown(), place: place.clone(), ends_with_slash: true };
            for found in tree(&written)?.found {
                add(&found.name, found.size_bytes, String::new());
            }
        }
        Place::Web(_) => return Ok(None),
    }
    Ok(Some(listed))
}
