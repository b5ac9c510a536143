//! One file, from any place to any other.

use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Instant};

use frazil_model::{location::Location, range::ByteRange};
use frazil_store::{
    StoreError,
    beneath::Beneath,
    bucket::{Bucket, Digest, Listed, State},
    digest::{Running, md5},
    folder::staging_name,
    pace::{self, Paced},
    read::{Fingerprint, Reader, fingerprint_of, open_regular},
};

use super::{
    Proof, Task, ended,
    parts::{self, LARGE_BYTES},
    untold,
    witness::damaged,
};
use crate::{
    error::TransferError,
    known::Known,
    making::{Made, Making},
    place::{Place, joined},
    run::Workers,
    same::{self, CopyIs, Same},
    walk::Found,
};

/// Blocks in which files are compared.
const BLOCK_BYTES: u64 = 4 << 20;

/// What a moved file is now.
#[derive(Debug)]
pub(crate) struct Moved {
    /// What the server says of it.
    pub state: State,
    /// Whether what arrived was compared with what was sent.
    pub is_verified: bool,
}

/// A file that is read.
#[derive(Debug)]
pub(crate) struct Source {
    pub location: Location,
    pub mark: Fingerprint,
    pub state: State,
    pub(super) place: Place,
}

impl Source {
    pub fn of(place: Place, found: &Found) -> Self {
        let location = match &place {
            Place::Local(path) => Location::File(path.display().to_string()),
            Place::Bucket { bucket, key } => bucket.location(key),
            Place::Web(location) => location.clone(),
        };
        let mark = match (&place, &found.mark) {
            (_, Some(mark)) => (**mark).clone(),
            (Place::Bucket { bucket, .. }, None) => bucket.mark(&as_listed(found)),
            _ => Fingerprint { size_bytes: found.size_bytes, state: String::new() },
        };
        Self { location, mark, state: found.state.clone(), place }
    }

    /// Whether it lies on this machine.
    pub const fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    pub fn as_found(&self) -> Found {
        Found {
            name: "".into(),
            size_bytes: self.mark.size_bytes,
            state: self.state.clone(),
            modified_seconds: None,
            mark: None,
        }
    }

    /// A file of this machine that was written to while it was read was read in no state at all. One that goes on where its
    /// size says that it ends was not read whole: files of `/proc` and of some servers have a size of 0.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        self.check_state()?;
        let Place::Local(path) = &self.place else { return Ok(()) };
        let read = open_regular(path).and_then(|(file, _)| file.read_at(&mut [0], self.mark.size_bytes));
        match read.map_err(|error| StoreError::reading(&self.location, error))? {
            0 => Ok(()),
            _ => {
                let reason = format!("it goes on after the {} bytes that it is said to have", self.mark.size_bytes);
                Err(StoreError::Changed { location: self.location.clone(), reason })
            }
        }
    }

    fn check_state(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Local(path) => {
                let about = path.metadata().map_err(|error| StoreError::reading(&self.location, error))?;
                if fingerprint_of(&about) == self.mark {
                    return Ok(());
                }
                let reason = "it was written to meanwhile".into();
                Err(StoreError::Changed { location: self.location.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    fn whole(&self, workers: &Workers<'_>) -> Result<Vec<u8>, StoreError> {
        let began = Instant::now();
        let mut bytes = Vec::new();
        let reader = Reader::open_as(&self.location, &self.mark)?;
        if let Some(range) = ByteRange::new(0, self.mark.size_bytes) {
            reader.read_into(range, &mut bytes)?;
        }
        self.check_unchanged()?;
        if self.is_local() {
            workers.progress.local(began.elapsed());
        } else {
            workers.progress.waited(began.elapsed());
        }
        Ok(bytes)
    }
}

fn as_listed(found: &Found) -> Listed {
    Listed {
        key: found.name.to_string(),
        size_bytes: found.size_bytes,
        state: found.state.clone(),
        modified_seconds: found.modified_seconds,
    }
}

/// Where files are written.
pub(crate) enum Sink<'a> {
    /// A folder of this machine.
    Folder(&'a Beneath),
    /// A bucket, below a prefix.
    Bucket(&'a Bucket, &'a str),
}

/// Moves one file.
pub(crate) fn move_one(task: &Task, sink: &Sink<'_>, workers: &Workers<'_>) -> Result<Moved, TransferError> {
    let place = task.place();
    let source = Source::of(place, &task.found);
    let moved = match sink {
        Sink::Bucket(bucket, prefix) => to_bucket(&source, bucket, &joined(prefix, &task.to), workers),
        Sink::Folder(folder) => to_folder(&source, folder, &task.to, workers),
    }?;
    if let (Place::Local(_), Some(digest)) = (&source.place, moved.state.digest) {
        workers.known.remember(&task.found.name, &source.mark, digest, workers.began);
    }
    Ok(moved)
}

fn to_bucket(source: &Source, bucket: &Bucket, key: &str, workers: &Workers<'_>) -> Result<Moved, TransferError> {
    let Some(size_bytes) = source.mark.told_bytes() else {
        return Err(StoreError::RangeIgnored { location: source.location.clone() }.into());
    };
    if let Place::Bucket { bucket: from, key: from_key } = &source.place
        && bucket.shares_server_with(from)
    {
        if size_bytes > bucket.limits().copy_max_bytes {
            let from = (from, from_key.as_str(), &source.state, size_bytes);
            return ended::despite_others(source, bucket, key, workers, || parts::copy(from, bucket, key, workers));
        }
        let began = Instant::now();
        let state = bucket.copy(from, from_key, &source.state.tag(), key)?;
        workers.progress.waited(began.elapsed());
        workers.progress.bytes(size_bytes);
        return Ok(Moved { is_verified: true, state });
    }
    if size_bytes >= LARGE_BYTES {
        return ended::despite_others(source, bucket, key, workers, || parts::send(source, bucket, key, workers));
    }
    let _room = workers.window.take(size_bytes);
    let bytes = source.whole(workers)?;
    let is_compared = verify(source, &bytes, workers)?;
    let began = Instant::now();
    let state = match bucket.put(key, &bytes, workers.when) {
        // What is there may be just this.
        Err(StoreError::Taken { location }) => match bucket.about(key)?.map(|there| there.state) {
            Some(state) if state.digest == Some(Digest::Md5(md5(&bytes))) => state,
            _ => return Err(StoreError::Taken { location }.into()),
        },
        put => put?,
    };
    workers.progress.waited(began.elapsed());
    workers.progress.bytes(size_bytes);
    Ok(Moved { is_verified: is_compared && state.digest.is_some(), state })
}

fn to_folder(source: &Source, folder: &Beneath, name: &str, workers: &Workers<'_>) -> Result<Moved, TransferError> {
    let size_bytes = source.mark.size_bytes;
    if let Place::Local(path) = &source.place {
        return file_to_folder(source, path, folder, name, workers);
    }
    if source.mark.told_bytes().is_none() {
        return untold::fetch(source, folder, name, workers);
    }
    if size_bytes >= LARGE_BYTES {
        return match parts::fetch(source, folder, name, workers) {
            Err(TransferError::Store(StoreError::RangeIgnored { .. })) => {
                parts::fetch_whole(source, folder, name, workers)
            }
            fetched => fetched,
        };
    }
    let _room = workers.window.take(size_bytes);
    let bytes = source.whole(workers)?;
    let is_verified = verify(source, &bytes, workers)?;
    let began = Instant::now();
    folder.put(name, &bytes)?;
    workers.progress.local(began.elapsed());
    workers.progress.bytes(size_bytes);
    Ok(Moved { is_verified, state: source.state.clone() })
}

/// Compares bytes with the digest that their server keeps. Says whether it could.
fn verify(source: &Source, bytes: &[u8], workers: &Workers<'_>) -> Result<bool, StoreError> {
    let Some(expected) = source.state.digest else { return Ok(source.is_local()) };
    let mut making = Making::of(expected, bytes.len() as u64);
    making.take(bytes);
    match making.finish().0 {
        Made::Equal => Ok(true),
        // Where the digest tells nothing another look does: what happened to bytes on their way does not happen twice.
        Made::UnknownParts if source.whole(workers)? == bytes => Ok(false),
        Made::UnknownParts | Made::Other => Err(damaged(source, &expected)),
    }
}

/// A copy on this machine keeps the time of its source, so that the two are known to be alike.
fn file_to_folder(
    source: &Source,
    path: &Path,
    folder: &Beneath,
    name: &str,
    workers: &Workers<'_>,
) -> Result<Moved, TransferError> {
    let began = Instant::now();
    let staged = staging_name();
    let reading = |error| StoreError::reading(&source.location, error);
    let writing = |error| StoreError::writing(&folder.path().join(name), source.mark.size_bytes, error);
    let mut from = File::open(path).map_err(reading)?;
    let mut to = folder.stage(&staged)?;
    let all = match pace::is_set() {
        true => std::io::copy(&mut Paced(&mut from), &mut to),
        false => std::io::copy(&mut from, &mut to),
    };
    let copied = all.map_err(writing).and_then(|_| {
        source.check_state()?;
        let about = from.metadata().map_err(reading)?;
        to.set_permissions(about.permissions()).map_err(writing)?;
        to.set_modified(about.modified().map_err(reading)?).map_err(writing)?;
        folder.publish(&staged, name)
    });
    if let Err(error) = copied {
        folder.drop_staged(&staged);
        return Err(error.into());
    }
    workers.progress.local(began.elapsed());
    workers.progress.bytes(source.mark.size_bytes);
    Ok(Moved { is_verified: true, state: State::default() })
}

/// Whether a file is what is there already.
pub(crate) fn judge(
    (from, found): (&Place, &Found),
    (to, there): (&Place, &Found),
    known: &Known,
    proof: Proof,
) -> Result<Same, StoreError> {
    if found.told_bytes().is_none() {
        return untold::judge(&Source::of(from.clone(), found), (to, there));
    }
    if found.size_bytes != there.size_bytes {
        return Ok(Same::No);
    }
    let same = match (from, to) {
        (Place::Local(path), Place::Bucket { .. }) => same::file_and_object(path, found, there, CopyIs::Object, known)?,
        (Place::Bucket { .. }, Place::Local(path)) => same::file_and_object(path, there, found, CopyIs::File, known)?,
        (Place::Bucket { .. }, Place::Bucket { .. }) => same::objects(found, there),
        (Place::Local(_), Place::Local(_)) => match (modified(found), modified(there)) {
            (Some(a), Some(b)) if a == b => Same::BySizeAndTime,
            _ => read_both((from, found), (to, there))?,
        },
        (Place::Web(_), _) => match found.mark.as_deref().and_then(Fingerprint::modified_seconds) {
            from @ Some(_) => same::objects(&Found { modified_seconds: from, ..found.clone() }, there),
            // A server that says nothing of its file must be read to be compared.
            None => match read_both((from, found), (to, there)) {
                Err(StoreError::RangeIgnored { .. }) => Same::No,
                same => same?,
            },
        },
        (_, Place::Web(_)) => Same::No,
    };
    match same {
        Same::BySizeAndTime if proof == Proof::Read => read_both((from, found), (to, there)),
        same => Ok(same),
    }
}

/// When a file of this machine was written to, to the nanosecond.
fn modified(found: &Found) -> Option<&str> {
    found.mark.as_ref()?.state.split('/').next()
}

/// Compares two files by reading both.
fn read_both((from, found): (&Place, &Found), (to, there): (&Place, &Found)) -> Result<Same, StoreError> {
    Ok(if md5_of(from, found)? == md5_of(to, there)? { Same::Yes } else { Same::No })
}

/// The MD5 of a file that is read for it.
pub(super) fn md5_of(place: &Place, found: &Found) -> Result<[u8; 16], StoreError> {
    let source = Source::of(place.clone(), found);
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let (mut running, mut buffer, mut offset) = (Running::default(), Vec::new(), 0);
    while let Some(range) = ByteRange::new(offset, BLOCK_BYTES.min(found.size_bytes - offset)) {
        reader.read_into(range, &mut buffer)?;
        running.take(&buffer);
        offset = range.end();
    }
    Ok(running.finish())
}
