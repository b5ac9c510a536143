//! Files of web servers that do not tell how large they are: what makes its answers while it sends them.
//!
//! They are read from their beginning to their end, in one stream. It promises that what broke off is no file: an answer in
//! chunks says where its end is; one that ends as its connection closes is read twice, and is whole if both are the same.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Seek, Write},
    sync::atomic::Ordering,
};

use frazil_store::{
    StoreError,
    beneath::Beneath,
    digest::Running,
    folder::staging_name,
    read::{Copied, Reader},
};

use super::one::{Moved, Source, md5_of};
use crate::{error::TransferError, place::Place, run::Workers, same::Same, walk::Found};

/// Fetches such a file into a folder of this machine.
///
/// # Errors
/// If it cannot be had whole, or not be written.
pub(super) fn fetch(
    source: &Source,
    folder: &Beneath,
    name: &str,
    workers: &Workers<'_>,
) -> Result<Moved, TransferError> {
    let staged = staging_name();
    let file = folder.stage(&staged)?;
    let writing = |error| StoreError::writing(&folder.path().join(name), 0, error);
    let fetched = whole(source, &file, workers, &writing).and_then(|n_bytes| {
        folder.publish(&staged, name)?;
        Ok(n_bytes)
    });
    match fetched {
        Ok(n_bytes) => {
            workers.untold_bytes.fetch_add(n_bytes, Ordering::Relaxed);
            Ok(Moved { is_verified: false, state: source.state.clone() })
        }
        Err(error) => {
            folder.drop_staged(&staged);
            Err(error)
        }
    }
}

/// Puts all of it into a file, and answers how much that is.
fn whole(
    source: &Source,
    file: &File,
    workers: &Workers<'_>,
    writing: &impl Fn(io::Error) -> StoreError,
) -> Result<u64, TransferError> {
    let (copied, digest) = read(source, Some(file), Some(workers), writing)?;
    if !copied.has_end && read(source, None, Some(workers), writing)? != (copied, digest) {
        let reason = "its server does not say where it ends, and two answers were not the same".into();
        return Err(StoreError::Changed { location: source.location.clone(), reason }.into());
    }
    Ok(copied.n_bytes)
}

/// Reads all of it, with the MD5 of what came.
fn read(
    source: &Source,
    file: Option<&File>,
    workers: Option<&Workers<'_>>,
    writing: &impl Fn(io::Error) -> StoreError,
) -> Result<(Copied, [u8; 16]), TransferError> {
    let reader = Reader::open_as(&source.location, &source.mark)?;
    let running = RefCell::new(Running::default());
    let begin = || {
        running.replace(Running::default());
        if let Some(mut file) = file {
            file.set_len(0)?;
            file.seek(io::SeekFrom::Start(0))?;
        }
        Ok(Arriving { file, running: &running, workers })
    };
    match reader.copy_all(begin, writing) {
        Err(_) if workers.is_some_and(Workers::is_stopped) => {
            Err(TransferError::Interrupted { resume: None, open: None })
        }
        copied => Ok((copied?, running.into_inner().finish())),
    }
}

/// Where what arrives goes.
struct Arriving<'a> {
    file: Option<&'a File>,
    running: &'a RefCell<Running>,
    workers: Option<&'a Workers<'a>>,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.workers.is_some_and(Workers::is_stopped) {
            return Err(io::Error::other("it is to stop"));
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            // What is read once more is no more of it.
            self.workers.inspect(|workers| workers.progress.bytes(bytes.len() as u64));
        }
        self.running.borrow_mut().take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether such a file is what is there already: both are read.
pub(super) fn judge(source: &Source, (to, there): (&Place, &Found)) -> Result<Same, StoreError> {
    let Place::Local(_) = to else { return Ok(Same::No) };
    let (copied, digest) = match read(source, None, None, &|error| StoreError::reading(&source.location, error)) {
        Ok(read) => read,
        Err(TransferError::Store(error)) => return Err(error),
        Err(_) => return Ok(Same::No),
    };
    if copied.n_bytes != there.size_bytes {
        return Ok(Same::No);
    }
    Ok(if md5_of(to, there)? == digest { Same::Yes } else { Same::No })
}
