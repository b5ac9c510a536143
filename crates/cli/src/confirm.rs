//! Asking before something is deleted.

use std::io::{IsTerminal, Write};

use frazil_transfer::{TransferError, place::Place};

use crate::{
    arguments::Confirmed,
    du::objects,
    output::{Talk, bytes},
};

/// From so many objects on, or so many bytes, a yes is not enough: the name must be typed.
const MANY_OBJECTS: u64 = 100;
const MANY_BYTES: u64 = 10_000_000_000;

/// What is typed to let all of a place go: its name, or the whole of it where that has none, as the root of a bucket.
pub fn word_for(place: &Place) -> String {
    Some(place.base_name()).filter(|name| !name.trim().is_empty()).unwrap_or_else(|| place.shown())
}

/// Lets a deletion pass that was confirmed, by `--yes` or at the terminal.
///
/// # Errors
/// If nobody said yes, or more would go than may.
pub fn confirm(talk: &Talk, said: &Confirmed, what: &str, n_objects: u64, n_bytes: u64) -> Result<(), TransferError> {
    if let Some(most) = said.max_objects.filter(|most| n_objects > *most) {
        return Err(TransferError::TooMany { n_objects, most });
    }
    if said.yes {
        return Ok(());
    }
    let refused = || TransferError::NotConfirmed { what: what.to_owned() };
    if talk.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused());
    }
    let is_much = n_objects > MANY_OBJECTS || n_bytes > MANY_BYTES;
    let wanted = if is_much { what } else { "yes" };
    let amount = bytes(n_bytes);
    let mut err = std::io::stderr();
    // Nobody who does not see the question can answer it.
    let asked = write!(err, "{}, {amount}, will be gone. Type {wanted} to delete them: ", objects(n_objects));
    asked.and_then(|()| err.flush()).map_err(|_| refused())?;
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(_) if line.trim() == wanted => Ok(()),
        _ => Err(refused()),
    }
}
