//! Whether two files hold the same bytes, told without moving them.
//!
//! Sizes tell most differences. What a server keeps as a digest is compared with the digest of the other side, which is
//! made by reading it where it is not remembered. Where a server keeps no digest that anybody can make, size and time
//! must do, and that is said.

use std::{fs::File, io::Read, path::Path, time::SystemTime};

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    bucket::Digest,
    digest::{Running, crc32c_on, md5},
    read::fingerprint_of,
};

use crate::{copy::parts::part_bytes, known::Known, walk::Found};

/// Sizes of parts that other programs send, in MiB.
const USUAL_PARTS_MIB: [u64; 12] = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128];

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

/// What a digest of a file that was read says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is the one that was expected.
    Equal,
    /// It is another one.
    Other,
    /// It is made of parts, and their size is not known.
    UnknownParts,
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
    let remember = |digest| known.remember(&file.name, &mark, digest, moment);
    let made = match *expected {
        Digest::Md5(_) => {
            let digest = Digest::Md5(md5_of_file(&mut open).map_err(failed)?);
            remember(digest);
            if digest == *expected { Made::Equal } else { Made::Other }
        }
        Digest::Md5OfParts { n_parts, .. } => {
            let sizes = sizes_of_parts(mark.size_bytes, n_parts);
            let digests = md5_of_parts(&mut open, &sizes).map_err(failed)?;
            match digests.into_iter().find(|digest| digest == expected) {
                Some(digest) => {
                    remember(digest);
                    Made::Equal
                }
                // Parts may have any size: that none of the usual ones fits tells nothing.
                None => Made::UnknownParts,
            }
        }
        Digest::Crc32c(_) => {
            let digest = Digest::Crc32c(crc32c_of_file(&mut open).map_err(failed)?);
            remember(digest);
            if digest == *expected { Made::Equal } else { Made::Other }
        }
    };
    let now = fingerprint_of(&open.metadata().map_err(failed)?);
    match now == mark {
        true => Ok(made),
        false => Err(StoreError::Changed { location: location(), reason: "it was written to meanwhile".into() }),
    }
}

fn md5_of_file(file: &mut File) -> std::io::Result<[u8; 16]> {
    let (mut running, mut block) = (Running::default(), vec![0; BLOCK_BYTES]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(running.finish()),
            n_bytes => running.take(block.get(..n_bytes).unwrap_or_default()),
        }
    }
}

fn crc32c_of_file(file: &mut File) -> std::io::Result<u32> {
    let (mut sum, mut block) = (0, vec![0; BLOCK_BYTES]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(sum),
            n_bytes => sum = crc32c_on(sum, block.get(..n_bytes).unwrap_or_default()),
        }
    }
}

/// Sizes that parts of an object may have had, ours first.
fn sizes_of_parts(size_bytes: u64, n_parts: u32) -> Vec<u64> {
    let usual = USUAL_PARTS_MIB.iter().map(|mib| mib << 20);
    let mut sizes: Vec<u64> = std::iter::once(part_bytes(size_bytes)).chain(usual).collect();
    sizes.retain(|part| size_bytes.div_ceil(*part).max(1) == u64::from(n_parts));
    sizes.dedup();
    sizes
}

/// The digests that a file has in parts of these sizes, made in one reading.
fn md5_of_parts(file: &mut File, sizes: &[u64]) -> std::io::Result<Vec<Digest>> {
    struct Making {
        part_bytes: u64,
        left: u64,
        running: Running,
        parts: Vec<u8>,
        n_parts: u32,
    }
    let begun = |part_bytes: &u64| Making {
        part_bytes: *part_bytes,
        left: *part_bytes,
        running: Running::default(),
        parts: Vec::new(),
        n_parts: 0,
    };
    let mut all: Vec<Making> = sizes.iter().map(begun).collect();
    let mut block = vec![0; BLOCK_BYTES];
    let end = |making: &mut Making| {
        making.parts.extend(std::mem::take(&mut making.running).finish());
        making.n_parts += 1;
        making.left = making.part_bytes;
    };
    loop {
        let n_read = file.read(&mut block)?;
        for making in &mut all {
            let mut bytes = block.get(..n_read).unwrap_or_default();
            while !bytes.is_empty() {
                let n_bytes = usize::try_from(making.left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, rest) = bytes.split_at(n_bytes);
                making.running.take(now);
                making.left -= n_bytes as u64;
                bytes = rest;
                if making.left == 0 {
                    end(making);
                }
            }
            if n_read == 0 && (making.left < making.part_bytes || making.n_parts == 0) {
                end(making);
            }
        }
        if n_read == 0 {
            break;
        }
    }
    Ok(all
        .into_iter()
        .map(|making| Digest::Md5OfParts { digest: md5(&making.parts), n_parts: making.n_parts })
        .collect())
}
