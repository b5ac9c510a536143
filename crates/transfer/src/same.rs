//! Whether two files hold the same bytes, told without moving them.
//!
//! Sizes tell most differences. What a server keeps as a digest is compared with the digest of the other side, which is
//! made by reading it where it is not remembered. Where a server keeps no digest that anybody can make, size and time
//! must do, and that is said.

use std::{fs::File, io::Read, path::Path, time::SystemTime};

use frazil_model::location::Location;
use frazil_store::{StoreError, bucket::Digest, read::fingerprint_of};

use crate::{
    known::Known,
    making::{Made, Making},
    walk::Found,
};

/// Files are read in blocks of so many bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// What is known of two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    /// They hold the same bytes.
    Yes,
    /// They do not.
    No,
    /// Size and time say so, and nothing else can be compared.
    BySizeAndTime,
}

/// Which of a file and an object is the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyIs {
    /// It is sent up.
    Object,
    /// It is fetched.
    File,
}

/// Whether an object holds the bytes of a file on this machine; either is the `copy` of the other.
///
/// # Errors
/// If the file must be read and cannot be.
pub fn file_and_object(
    path: &Path,
    file: &Found,
    object: &Found,
    copy: CopyIs,
    known: &Known,
) -> Result<Same, StoreError> {
    let by_time = || match copy {
        CopyIs::Object => by_time(file, object),
        CopyIs::File => by_time(object, file),
    };
    if file.size_bytes != object.size_bytes {
        return Ok(Same::No);
    }
    Ok(match file_by_digest(path, file, object, known)? {
        Some(true) => Same::Yes,
        Some(false) => Same::No,
        None => by_time(),
    })
}

/// Whether an object holds the bytes of a file of the same size, by the digest that its server keeps; nothing if that cannot be
/// compared.
///
/// # Errors
/// If the file must be read and cannot be.
pub fn file_by_digest(path: &Path, file: &Found, object: &Found, known: &Known) -> Result<Option<bool>, StoreError> {
    let Some(expected) = object.state.digest else { return Ok(None) };
    let digests = match &file.mark {
        Some(mark) => known.digests(&file.name, mark),
        None => Vec::new(),
    };
    // A digest of the same kind settles it either way.
    if let Some(digest) = digests.iter().find(|digest| is_alike(digest, &expected)) {
        return Ok(Some(*digest == expected));
    }
    Ok(match made(path, &expected, file, known)? {
        Made::Equal => Some(true),
        Made::Other => Some(false),
        Made::UnknownParts => None,
    })
}

/// Whether two objects hold the same bytes.
#[must_use]
pub fn objects(from: &Found, to: &Found) -> Same {
    match by_digests(from, to) {
        Some(true) => Same::Yes,
        Some(false) => Same::No,
        None => by_time(from, to),
    }
}

/// The same by the digests that servers keep; nothing if they cannot be compared.
#[must_use]
pub fn by_digests(a: &Found, b: &Found) -> Option<bool> {
    match (a.state.digest, b.state.digest) {
        _ if a.size_bytes != b.size_bytes => Some(false),
        (Some(a), Some(b)) if a == b => Some(true),
        (Some(Digest::Md5(_)), Some(Digest::Md5(_))) | (Some(Digest::Crc32c(_)), Some(Digest::Crc32c(_))) => {
            Some(false)
        }
        _ => None,
    }
}

fn is_alike(a: &Digest, b: &Digest) -> bool {
    matches!((a, b), (Digest::Md5(_), Digest::Md5(_)) | (Digest::Crc32c(_), Digest::Crc32c(_))) || a == b
}

/// Files of one size are taken for the same if the copy is not older than its source.
fn by_time(from: &Found, to: &Found) -> Same {
    match (from.modified_seconds, to.modified_seconds) {
        (Some(from), Some(to)) if to >= from => Same::BySizeAndTime,
        _ => Same::No,
    }
}

/// Reads a file and compares its digest; remembers what it learns.
///
/// # Errors
/// If it cannot be read, or changes meanwhile.
pub fn made(path: &Path, expected: &Digest, file: &Found, known: &Known) -> Result<Made, StoreError> {
    let location = || Location::File(path.display().to_string());
    let failed = |error| StoreError::reading(&location(), error);
    let moment = SystemTime::now();
    let mut open = File::open(path).map_err(failed)?;
    let mark = fingerprint_of(&open.metadata().map_err(failed)?);
    let mut making = Making::of(*expected, mark.size_bytes);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match open.read(&mut block).map_err(failed)? {
            0 => break,
            n_bytes => making.take(block.get(..n_bytes).unwrap_or_default()),
        }
    }
    let (made, digest) = making.finish();
    if let Some(digest) = digest {
        known.remember(&file.name, &mark, digest, moment);
    }
    let now = fingerprint_of(&open.metadata().map_err(failed)?);
    match now == mark {
        true => Ok(made),
        false => Err(StoreError::Changed { location: location(), reason: "it was written to meanwhile".into() }),
    }
}
