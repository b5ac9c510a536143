//! Uploads that somebody else ended.
//!
//! Two copies of one file to one key share what is open there: that of an earlier run goes on, and whoever is first takes it
//! away from the other. It promises that this is no error where the right bytes are there in the end.

use std::sync::atomic::Ordering;

use frazil_store::{StoreError, bucket::Bucket};

use super::{
    Proof,
    one::{Moved, Source, judge},
};
use crate::{error::TransferError, known::Known, place::Place, run::Workers, same::Same, walk::Found};

/// Sends something in parts; once more if somebody ended its upload and left something else there than was sent.
pub(super) fn despite_others(
    source: &Source,
    bucket: &Bucket,
    key: &str,
    workers: &Workers<'_>,
    send: impl Fn() -> Result<Moved, TransferError>,
) -> Result<Moved, TransferError> {
    for _ in 0..2 {
        match send() {
            Err(TransferError::Store(error)) if is_about_upload(&error) => {}
            sent => return sent,
        }
        workers.n_open.fetch_sub(1, Ordering::Relaxed);
        if let Some(there) = there(source, bucket, key)? {
            return Ok(there);
        }
    }
    let reason = "another process writes there too, or takes away what is open there: it ended the upload twice".into();
    Err(StoreError::Send { location: bucket.location(key), reason, is_temporary: true }.into())
}

/// Whether an error says that there is no such upload any more, or no such parts.
fn is_about_upload(error: &StoreError) -> bool {
    let StoreError::Absent { code: Some(code), .. } = error else { return false };
    matches!(code.as_str(), "NoSuchUpload" | "InvalidBlockList")
}

/// What is at the key, if it holds the bytes that were to be sent.
fn there(source: &Source, bucket: &Bucket, key: &str) -> Result<Option<Moved>, TransferError> {
    let Some(listed) = bucket.about(key)? else { return Ok(None) };
    let state = listed.state.clone();
    let place = Place::Bucket { bucket: bucket.clone(), key: key.to_owned() };
    let (found, there) = (source.as_found(), Found::of_object(listed, ""));
    // It must have been read to be known: nobody has seen what others sent.
    let same = judge((&source.place, &found), (&place, &there), &Known::nothing(), Proof::Read)?;
    source.check_unchanged()?;
    Ok((same == Same::Yes).then_some(Moved { is_verified: true, state }))
}
