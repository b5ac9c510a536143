//! A delivery of which something is kept already: what is left to do when its command is typed once more.
//!
//! What is kept lies in the inbox, where others may write. It promises that nothing goes because of what it says: a file of
//! the inbox goes only if it was read there and at the place that was typed, and is at both what the manifest says.

use std::sync::atomic::AtomicBool;

use super::{Delivery, Difference, Record, Standing, check};
use crate::{
    check::{Extra, manifest::sizes},
    error::TransferError,
    guard,
    place::Place,
    progress::Progress,
};

/// What is left to do.
#[derive(Debug)]
pub enum Again<'a> {
    /// All of it: nothing is kept, or its files lie in the inbox still.
    All,
    /// Nothing: it was accepted, and its files are where they went.
    Nothing(&'a Record),
    /// What is left in the inbox goes.
    Clear(&'a Record),
    /// Files are not where they went, or not as they were sent.
    Differs(&'a Record, Vec<Difference>),
}

/// What is to become of the files of a delivery in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbox {
    /// They go.
    Clears,
    /// They stay.
    Keeps,
    /// They stay, and something is made of them where they went.
    KeepsAndBuilds,
}

/// Tells what is left to do for a delivery that goes to `to`.
///
/// # Errors
/// [`TransferError::WentElsewhere`] if its files went to another place and are not in the inbox any more.
pub fn again<'a>(
    delivery: &'a Delivery,
    to: &Place,
    inbox: Inbox,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Again<'a>, TransferError> {
    let Some(record) = &delivery.record else { return Ok(Again::All) };
    let standing = delivery.standing();
    let is_same_place = guard::is_one_place(&record.to, to);
    if delivery.manifest.is_some() {
        // Whatever is kept says: all of it is there to be taken on, so that is what is done.
        let is_done = standing == Standing::Accepted && inbox == Inbox::Keeps && is_same_place;
        return Ok(match is_done && sizes(to, &record.manifest)?.is_empty() {
            true => Again::Nothing(record),
            false => Again::All,
        });
    }
    if !is_same_place {
        let (place, went) = (delivery.place.shown(), record.to.clone());
        return Err(TransferError::WentElsewhere { place, went, to: to.shown() });
    }
    if standing == Standing::Accepted || inbox != Inbox::Clears {
        let differences = sizes(to, &record.manifest)?;
        return Ok(if differences.is_empty() { Again::Nothing(record) } else { Again::Differs(record, differences) });
    }
    let there = check(to, &record.manifest, Extra::IsFine, progress, stop)?;
    if !there.differences.is_empty() {
        return Ok(Again::Differs(record, there.differences));
    }
    // What has gone has gone; what is left must be what was sent.
    let mut here = check(&delivery.place, &record.manifest, Extra::IsFine, progress, stop)?.differences;
    here.retain(|one| one.what != "missing" || delivery.place.holds(&one.name));
    Ok(if here.is_empty() { Again::Clear(record) } else { Again::Differs(record, here) })
}

/// Whether a delivery that was kept after it was accepted is where it went, as far as lengths tell. Who asks did not type its
/// name, so nothing is done if not.
///
/// # Errors
/// [`TransferError::NotKept`] if its record says of another place, or of files that are not there.
pub fn surely_kept(delivery: &Delivery, to: &Place) -> Result<(), TransferError> {
    let Some(record) = &delivery.record else { return Ok(()) };
    let is_there = guard::is_one_place(&record.to, to) && sizes(to, &record.manifest)?.is_empty();
    let not_kept = || TransferError::NotKept { place: delivery.place.shown(), to: to.shown() };
    is_there.then_some(()).ok_or_else(not_kept)
}
