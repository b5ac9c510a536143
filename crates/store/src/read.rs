//! Reading: sizes, fingerprints and ranges of files.
//!
//! It promises that a range yields exactly the bytes asked for, or an error.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
};

use bytes::Bytes;
use frazil_model::{location::Location, range::ByteRange};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its size.
    pub size_bytes: u64,
    /// Changes when the content may have changed.
    pub state: String,
}

/// The present fingerprint of a file.
///
/// # Errors
/// If it is not there or cannot be read.
pub fn fingerprint(location: &Location) -> Result<Fingerprint, StoreError> {
    let path = path_of(location)?;
    let about = std::fs::metadata(path).map_err(|error| StoreError::reading(location, error))?;
    if about.is_dir() {
        return Err(StoreError::IsFolder { location: location.clone() });
    }
    // The change time moves even when a program sets the modification time back.
    let state = format!(
        "{}.{:09}/{}.{:09}/{}",
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
        about.ino()
    );
    Ok(Fingerprint { size_bytes: about.len(), state })
}

/// A file that is open for reading ranges.
#[derive(Debug)]
pub struct Reader {
    location: Location,
    file: File,
    size_bytes: u64,
}

impl Reader {
    /// Opens the file at `location`.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        let reading = |error| StoreError::reading(location, error);
        let file = File::open(path_of(location)?).map_err(reading)?;
        let about = file.metadata().map_err(reading)?;
        if about.is_dir() {
            return Err(StoreError::IsFolder { location: location.clone() });
        }
        Ok(Self { location: location.clone(), file, size_bytes: about.len() })
    }

    /// The file's size when it was opened.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads `range` into `buffer`, which is resized to it.
    ///
    /// # Errors
    /// [`StoreError::Short`] if the file ends before the range.
    pub fn read_into(&self, range: ByteRange, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let short = || StoreError::Short {
            location: self.location.clone(),
            offset: range.offset(),
            end: range.end(),
            size_bytes: self.size_bytes,
        };
        // Looked at before the buffer grows: a damaged file must not make us ask for memory it cannot fill.
        if range.end() > self.size_bytes {
            return Err(short());
        }
        buffer.resize(usize::try_from(range.n_bytes()).map_err(|_| short())?, 0);
        self.file.read_exact_at(buffer, range.offset()).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => short(),
            _ => StoreError::reading(&self.location, error),
        })
    }

    /// Reads `range`.
    ///
    /// # Errors
    /// As for [`Self::read_into`].
    pub fn read(&self, range: ByteRange) -> Result<Bytes, StoreError> {
        let mut buffer = Vec::new();
        self.read_into(range, &mut buffer)?;
        Ok(buffer.into())
    }
}

fn path_of(location: &Location) -> Result<&str, StoreError> {
    match location {
        Location::File(path) => Ok(path),
        Location::Http(_) => Err(StoreError::Fetch {
            location: location.clone(),
            reason: "this place is not a file".into(),
            is_temporary: false,
        }),
    }
}
