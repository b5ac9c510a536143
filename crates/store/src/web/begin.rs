//! A file that is opened by asking for its beginning.
//!
//! The answer to that one question says how large the file is and which state of it this is, so nothing else is asked
//! before. It promises the same checks as for any other part, and to leave alone what it does not understand: whoever
//! calls then asks what the file is, without its bytes.

use std::sync::OnceLock;

use bytes::Bytes;
use frazil_model::{location::Location, range::ByteRange};

use super::{Marks, WebFile, check_announced, content_range};
use crate::{
    asking::{Fault, Way, follow, is_packed, is_web_page, packed, read_exactly, refusal, way_to, with_retries},
    bucket,
    error::StoreError,
    manners::{Manners, note_part},
    open::Ask,
    read::{Fingerprint, SMALL_FILE_BYTES},
};

/// A file as it is now, with its beginning: all of it, if it is small.
pub(crate) type Begun = (WebFile, Fingerprint, Bytes);

/// Opens a file by asking for its first `n_bytes`: the answer says all else. `None`: it must be asked otherwise what the
/// file is.
pub(crate) fn begin(location: &Location, n_bytes: u64) -> Result<Option<Begun>, StoreError> {
    let (way, Some(first)) = (way_to(location)?, ByteRange::new(0, n_bytes)) else { return Ok(None) };
    let begun = with_retries(location, &way, |manners| begin_once(location, &way, first, manners))?;
    let Some((file, fingerprint, head)) = begun else { return Ok(None) };
    let rest = ByteRange::new(head.len() as u64, file.size_bytes - head.len() as u64);
    match rest.filter(|_| file.size_bytes <= SMALL_FILE_BYTES) {
        Some(rest) => {
            let (mut all, mut more) = (head.to_vec(), Vec::new());
            file.fetch(rest, &mut more)?;
            all.append(&mut more);
            let whole = file.whole.get_or_init(|| all.into()).clone();
            Ok(Some((file, fingerprint, whole)))
        }
        None => Ok(Some((file, fingerprint, head))),
    }
}

fn begin_once(location: &Location, way: &Way, first: ByteRange, manners: &Manners) -> Result<Option<Begun>, Fault> {
    let (mut answer, _turn) = follow(location, way, Ask::Range(first), manners)?;
    let announced = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
    let size_bytes = match answer.status {
        200 | 206 if is_packed(&answer) => return Err(packed(location, &answer).into()),
        206 => content_range(&answer).and_then(|part| part.total),
        200 if is_web_page(&answer) => return Err(StoreError::WebPage { location: location.clone() }.into()),
        // Without ranges a small file is as good as its beginning.
        200 if announced.is_some_and(|size_bytes| size_bytes <= SMALL_FILE_BYTES) => announced,
        200 => return Err(StoreError::RangeIgnored { location: location.clone() }.into()),
        // Nothing has no beginning.
        416 => None,
        _ => return Err(refusal(location, way, &mut answer)),
    };
    let Some(size_bytes) = size_bytes else { return Ok(None) };
    let marks = Marks::of(&answer);
    let Some(fingerprint) = begun_fingerprint(location, size_bytes, &marks)? else { return Ok(None) };
    let n_bytes = if answer.status == 206 { first.n_bytes().min(size_bytes) } else { size_bytes };
    let Some(range) = ByteRange::new(0, n_bytes) else { return Ok(None) };
    let file = WebFile { location: location.clone(), way: way.clone(), size_bytes, marks, whole: OnceLock::new() };
    if answer.status == 206 {
        file.check_part(range, &answer)?;
    }
    check_announced(&answer, range)?;
    let mut bytes = Vec::new();
    read_exactly(&mut answer, range.n_bytes(), &mut bytes)?;
    if answer.status == 206 {
        note_part(way.address.authority());
    }
    let head = Bytes::from(bytes);
    if n_bytes == size_bytes {
        file.whole.get_or_init(|| head.clone());
    }
    Ok(Some((file, fingerprint, head)))
}

/// The fingerprint that an answer with a part of a file gives; the same that its server gives when it is asked for that.
fn begun_fingerprint(location: &Location, size_bytes: u64, marks: &Marks) -> Result<Option<Fingerprint>, StoreError> {
    let state = match location {
        Location::Object(object) => bucket::state_of(object, marks)?,
        _ => Some(marks.to_state()),
    };
    Ok(state.map(|state| Fingerprint { size_bytes, state }))
}
