//! The claim of a push: a small file that is put before any other, so that under one name the files of one content are sent.
//!
//! It is put on the condition that none is there. Whoever finds one of the same content goes on: the bytes are the same.
//! Whoever finds one of another content changes nothing, unless the journal of this machine says that it is its own: then the
//! sender's files changed since an unfinished try, and the claim is replaced on the condition that it is still that one.
//!
//! It promises that two pushes of different files never write under one name, and that what was sent whole is not written to
//! again. It needs no right but that of putting objects; who may not read what it finds goes on if its journal knows it.

use frazil_store::{
    StoreError,
    bucket::{When, hex},
    digest::md5,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CLAIM, Entry, Put, VERSION, journal::Journal, put_text, text};
use crate::{error::TransferError, place::Place};

/// Whether the claim is put, or only looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    /// Put it.
    Take,
    /// Change nothing.
    Look,
}

/// What may be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// What is there can be read.
    Open,
    /// Nothing can be read: only the journal tells.
    Blind,
}

/// A claim that is ours, or of the same content.
#[derive(Debug)]
pub(super) struct Claim {
    /// What stands for the files that are sent.
    pub content: String,
    /// What may be seen.
    pub sight: Sight,
    /// Whether there was none: then nothing that lies there is of this push.
    pub is_fresh: bool,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    frazil_push: u32,
    /// Tells one claim from another of the same sender.
    id: String,
    who: String,
    content: String,
}

/// What stands for files: every name, length and digest.
pub(super) fn content_of(files: &[Entry]) -> String {
    let mut sum = Sha256::new();
    for file in files {
        sum.update(format!("{}\0{}\0{}\n", file.name, file.size_bytes, file.sha256));
    }
    hex(&sum.finalize())
}

/// What is there, as far as it may be seen.
enum There {
    Nothing,
    Text(String),
    /// It may not be read, or not be told that nothing is there.
    Hidden,
}

fn there(place: &Place) -> Result<There, TransferError> {
    match text(place, CLAIM) {
        Err(TransferError::Store(StoreError::Denied { .. } | StoreError::Refused { .. })) => Ok(There::Hidden),
        text => Ok(text?.map_or(There::Nothing, There::Text)),
    }
}

/// Takes the claim, or says why not.
///
/// # Errors
/// [`TransferError::PushTaken`] if it is another push's.
pub(super) fn take(
    place: &Place,
    files: &[Entry],
    who: &str,
    journal: &mut Journal,
    claiming: Claiming,
) -> Result<Claim, TransferError> {
    let content = content_of(files);
    let claim = |sight, is_fresh| Claim { content: content.clone(), sight, is_fresh };
    match there(place)? {
        There::Text(there) => {
            found(place, &there, &content, who, journal, claiming)?;
            return Ok(claim(Sight::Open, false));
        }
        There::Nothing if claiming == Claiming::Look => return Ok(claim(Sight::Open, true)),
        There::Hidden if claiming == Claiming::Look => return Ok(claim(Sight::Blind, !journal.is_claimed)),
        There::Nothing | There::Hidden => {}
    }
    let (earlier, was_claimed, may_be_whole) = (journal.claims.clone(), journal.is_claimed, journal.may_be_whole);
    let last = earlier.last().filter(|text| is_of(text, &content));
    let ours = last.cloned().unwrap_or_else(|| said(&content, who, place));
    if !was_claimed || last.is_none() {
        journal.note_trying(&ours);
    }
    if put_text(place, CLAIM, &ours, Put::New)? {
        journal.note_first();
        // Nobody but who may read finds out so that it is there.
        let sight = if matches!(there(place)?, There::Text(_)) { Sight::Open } else { Sight::Blind };
        return Ok(claim(sight, true));
    }
    if let There::Text(there) = there(place)? {
        found(place, &there, &content, who, journal, claiming)?;
        return Ok(claim(Sight::Open, false));
    }
    // It cannot be read, and is ours if it is as one that is noted: the server compares.
    let is_known = was_claimed && last.is_some();
    if !is_known && may_be_whole {
        let first = "it was sent from this machine, and cannot be read from here".to_owned();
        return Err(TransferError::DeliveryTaken { place: place.shown(), first });
    }
    if is_known || earlier.iter().rev().any(|old| matches!(replaced(place, old, &ours), Ok(true))) {
        journal.note_claimed();
        return Ok(claim(Sight::Blind, false));
    }
    Err(TransferError::PushTaken { place: place.shown(), by: None })
}

/// What is done about a claim that is there and can be read.
fn found(
    place: &Place,
    there: &str,
    content: &str,
    who: &str,
    journal: &mut Journal,
    claiming: Claiming,
) -> Result<(), TransferError> {
    match serde_json::from_str::<Said>(there) {
        Ok(said) if said.content == content => Ok(()),
        _ if journal.claims.iter().any(|claim| claim == there) => match claiming {
            Claiming::Look => Ok(()),
            Claiming::Take => {
                let new = said(content, who, place);
                journal.note_trying(&new);
                if !replaced(place, there, &new)? {
                    return Err(TransferError::PushTaken { place: place.shown(), by: None });
                }
                journal.note_claimed();
                Ok(())
            }
        },
        said => Err(TransferError::PushTaken { place: place.shown(), by: said.ok().map(|said| said.who) }),
    }
}

/// Puts a new claim where our old one is, if that is still there.
fn replaced(place: &Place, old: &str, new: &str) -> Result<bool, TransferError> {
    let Place::Bucket { bucket, key } = place.below(CLAIM) else {
        // Nobody else of this machine has our journal.
        return put_text(place, CLAIM, new, Put::Over);
    };
    let tag = match bucket.about(&key) {
        Ok(Some(about)) if matches!(there(place)?, There::Text(there) if there == old) => about.state.tag(),
        Ok(_) => return Ok(false),
        // In the dialect of Amazon it is known without a question.
        Err(StoreError::Denied { .. }) => hex(&md5(old.as_bytes())),
        Err(error) => return Err(error.into()),
    };
    match bucket.put(&key, new.as_bytes(), When::Is(&tag)) {
        Ok(_) => Ok(true),
        Err(StoreError::Taken { .. } | StoreError::Denied { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the claim is still of this content, as far as it may be seen.
///
/// # Errors
/// [`TransferError::PushTaken`] if not.
pub(super) fn assure(place: &Place, claim: &Claim) -> Result<(), TransferError> {
    match there(place)? {
        There::Text(there) if is_of(&there, &claim.content) => Ok(()),
        There::Hidden if claim.sight == Sight::Blind => Ok(()),
        There::Text(there) => {
            let by = serde_json::from_str::<Said>(&there).ok().map(|said| said.who);
            Err(TransferError::PushTaken { place: place.shown(), by })
        }
        There::Nothing | There::Hidden => {
            Err(TransferError::Vanished { place: place.shown(), n: 1, first: CLAIM.to_owned() })
        }
    }
}

fn is_of(text: &str, content: &str) -> bool {
    serde_json::from_str::<Said>(text).is_ok_and(|said| said.content == content)
}

fn said(content: &str, who: &str, place: &Place) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut id = Sha256::new();
    id.update(format!("{} {} {who} {}", now.as_nanos(), std::process::id(), place.shown()));
    let said = Said { frazil_push: VERSION, id: hex(&id.finalize()), who: who.to_owned(), content: content.to_owned() };
    let mut text = serde_json::to_string_pretty(&said).unwrap_or_default();
    text.push('\n');
    text
}
