//! An object that is open for reading parts of it, wherever it lies.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use frazil_model::{location::Location, range::ByteRange};

use super::local::Local;
use crate::{
    error::StoreError,
    read::{Fingerprint, Reader, open_regular},
};

/// An object that is open for reading.
#[derive(Debug)]
pub struct Opened {
    from: From,
    length: u64,
}

#[derive(Debug)]
enum From {
    File(File, PathBuf),
    Object(Box<Reader>),
}

impl Opened {
    pub(super) fn file(path: &Path) -> Result<Option<Self>, StoreError> {
        match open_regular(path) {
            Ok((file, about)) => Ok(Some(Self { from: From::File(file, path.to_owned()), length: about.len() })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Local::reading(path, error)),
        }
    }

    pub(super) fn object(location: &Location) -> Result<Option<Self>, StoreError> {
        match Reader::open(location) {
            Ok(reader) => Ok(Some(Self { length: reader.size_bytes(), from: From::Object(Box::new(reader)) })),
            Err(StoreError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of an object whose size is known. Whoever reads compares what is there, so no state of it is asked for.
    pub(super) fn object_of(location: &Location, size_bytes: u64) -> Result<Self, StoreError> {
        let reader = Reader::open_as(location, &Fingerprint { size_bytes, state: String::new() })?;
        Ok(Self { from: From::Object(Box::new(reader)), length: size_bytes })
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Reads `n_bytes` from `offset` into `buffer`, which then holds just these.
    ///
    /// # Errors
    /// [`StoreError::Short`] if it ends before.
    pub fn read(&self, offset: u64, n_bytes: u64, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let Some(range) = ByteRange::new(offset, n_bytes) else {
            buffer.clear();
            return if n_bytes == 0 { Ok(()) } else { Err(self.short(offset, n_bytes)) };
        };
        let (file, path) = match &self.from {
            From::Object(reader) => return reader.read_into(range, buffer),
            From::File(file, path) => (file, path),
        };
        // Looked at before the buffer grows: a damaged index must not make us ask for memory it cannot fill.
        if range.end() > self.length {
            return Err(self.short(offset, n_bytes));
        }
        buffer.resize(usize::try_from(n_bytes).map_err(|_| self.short(offset, n_bytes))?, 0);
        file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.short(offset, n_bytes),
            _ => Local::reading(path, error),
        })
    }

    fn short(&self, offset: u64, n_bytes: u64) -> StoreError {
        let location = match &self.from {
            From::File(_, path) => Location::File(path.display().to_string()),
            From::Object(reader) => reader.location().clone(),
        };
        StoreError::Short { location, offset, end: offset.saturating_add(n_bytes), size_bytes: self.length }
    }
}
