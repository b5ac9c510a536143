//! Reading: sizes, fingerprints and ranges of files, on this machine and on web servers.
//!
//! It promises that a range yields exactly the bytes asked for, or an error.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use bytes::Bytes;
use frazil_model::{location::Location, range::ByteRange};
use serde::{Deserialize, Serialize};

use crate::{
    error::StoreError,
    web::{self, WebFile},
};

/// A file up to this size may be read whole: one request costs less than many.
pub(crate) const SMALL_FILE_BYTES: u64 = 256 << 10;

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
    let Location::File(path) = location else { return web::fingerprint(location) };
    let about = std::fs::metadata(path).map_err(|error| StoreError::reading(location, error))?;
    if about.is_dir() {
        return Err(StoreError::IsFolder { location: location.clone() });
    }
    Ok(fingerprint_of(&about))
}

/// The same of a file that is read from its beginning to its end and no other way: its server may not tell its size.
///
/// # Errors
/// As for [`fingerprint`].
pub fn fingerprint_to_copy(location: &Location) -> Result<Fingerprint, StoreError> {
    match location {
        Location::Http(_) => web::fingerprint_to_copy(location),
        _ => fingerprint(location),
    }
}

/// The fingerprint of a file on this machine that was looked at.
#[must_use]
pub fn fingerprint_of(about: &Metadata) -> Fingerprint {
    // The change time moves even when a program sets the modification time back.
    let state = format!(
        "{}.{:09}/{}.{:09}/{}",
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
        about.ino()
    );
    Fingerprint { size_bytes: about.len(), state }
}

impl Fingerprint {
    /// In place of a size that no server told.
    const UNTOLD: u64 = u64::MAX;

    /// One of a file whose size its server does not tell.
    pub(crate) const fn untold(state: String) -> Self {
        Self { size_bytes: Self::UNTOLD, state }
    }

    /// Its size; nothing if its server does not tell it.
    #[must_use]
    pub const fn told_bytes(&self) -> Option<u64> {
        if self.size_bytes == Self::UNTOLD { None } else { Some(self.size_bytes) }
    }

    /// Whether a change would show in it. Some servers say nothing that tells one state from another.
    #[must_use]
    pub const fn tells_changes(&self) -> bool {
        !self.state.is_empty()
    }
}

/// A file that is open for reading ranges.
#[derive(Debug)]
pub struct Reader {
    location: Location,
    place: Place,
    size_bytes: u64,
}

#[derive(Debug)]
enum Place {
    File(File),
    Web(Box<WebFile>),
}

impl Reader {
    /// Opens the file at `location` as it is now.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        match location {
            Location::File(path) => Ok(open_file(location, path)?.0),
            Location::Http(_) | Location::Object(_) => Self::open_as(location, &web::fingerprint(location)?),
        }
    }

    /// Opens the file at `location` as it is now, and reads its first `n_bytes`: more, if it is small, and less only if it
    /// is smaller. Of a web server that is one question.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn begin(location: &Location, n_bytes: u64) -> Result<(Self, Fingerprint, Bytes), StoreError> {
        let (reader, fingerprint) = match location {
            Location::File(path) => open_file(location, path)?,
            Location::Http(_) | Location::Object(_) => {
                if let Some((file, fingerprint, head)) = web::begin(location, n_bytes)? {
                    let (location, size_bytes) = (location.clone(), file.size_bytes());
                    return Ok((Self { location, place: Place::Web(Box::new(file)), size_bytes }, fingerprint, head));
                }
                let fingerprint = web::fingerprint(location)?;
                (Self::open_as(location, &fingerprint)?, fingerprint)
            }
        };
        let head = reader.head(n_bytes)?;
        Ok((reader, fingerprint, head))
    }

    /// The first `n_bytes`, or all there are: also of a small file that has more.
    ///
    /// # Errors
    /// As for [`Self::read_into`].
    pub fn head(&self, n_bytes: u64) -> Result<Bytes, StoreError> {
        let least = if self.size_bytes <= SMALL_FILE_BYTES { self.size_bytes } else { n_bytes };
        ByteRange::new(0, least.min(self.size_bytes)).map_or(Ok(Bytes::new()), |range| self.read(range))
    }

    /// Whether each read is a question to a server.
    #[must_use]
    pub const fn is_far(&self) -> bool {
        matches!(self.place, Place::Web(_))
    }

    /// Opens the file at `location`, which must still be as it was when its fingerprint was taken. A web server is not
    /// asked for that now; every answer of it is compared.
    ///
    /// # Errors
    /// [`StoreError::Changed`], or if it cannot be read.
    pub fn open_as(location: &Location, fingerprint: &Fingerprint) -> Result<Self, StoreError> {
        let Location::File(path) = location else {
            let file = WebFile::open(location, fingerprint)?;
            return Ok(Self {
                location: location.clone(),
                size_bytes: file.size_bytes(),
                place: Place::Web(Box::new(file)),
            });
        };
        let (reader, now) = open_file(location, path)?;
        if now == *fingerprint {
            return Ok(reader);
        }
        let reason = match now.size_bytes == fingerprint.size_bytes {
            true => "its times are others now".to_owned(),
            false => format!("it had {} bytes and has {} now", fingerprint.size_bytes, now.size_bytes),
        };
        Err(StoreError::Changed { location: location.clone(), reason })
    }

    /// Where it is.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// The file's size when it was opened.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether parts of it can be had: a web server may give a small file whole, whatever is asked for.
    ///
    /// # Errors
    /// [`StoreError::RangeIgnored`] if not.
    pub fn check_ranges(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::File(_) => Ok(()),
            Place::Web(file) => file.check_ranges(),
        }
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
        let file = match &self.place {
            Place::File(file) => file,
            Place::Web(file) => return file.read_into(range, buffer),
        };
        buffer.resize(usize::try_from(range.n_bytes()).map_err(|_| short())?, 0);
        file.read_exact_at(buffer, range.offset()).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => short(),
            _ => StoreError::reading(&self.location, error),
        })
    }

    /// Hands on a range piece by piece, each with its offset in the file, through `block`. What breaks off begins anew, so
    /// that a piece may come more than once, after all others of the range before it.
    ///
    /// # Errors
    /// As for [`Self::read_into`], and whatever `to` makes of a piece.
    pub fn hand_on(&self, range: ByteRange, block: &mut [u8], to: Pieces<'_>) -> Result<(), StoreError> {
        let file = match &self.place {
            Place::Web(file) => return file.hand_on(range, block, to),
            Place::File(file) => file,
        };
        let mut at = range.offset();
        while at < range.end() {
            let n_bytes = usize::try_from(range.end() - at).map_or(block.len(), |left| left.min(block.len()));
            let piece = block.get_mut(..n_bytes).unwrap_or_default();
            file.read_exact_at(piece, at).map_err(|error| StoreError::reading(&self.location, error))?;
            to(at, piece)?;
            at += n_bytes as u64;
        }
        Ok(())
    }

    /// Copies the whole file of a server from its beginning, for servers that know no ranges or tell no size; `begin` is
    /// called before each try and gives what is written to.
    ///
    /// # Errors
    /// If it cannot be had whole; what cannot be written `writing` makes an error of.
    pub fn copy_all<W: io::Write>(
        &self,
        begin: impl FnMut() -> io::Result<W>,
        writing: impl Fn(io::Error) -> StoreError,
    ) -> Result<Copied, StoreError> {
        match &self.place {
            Place::File(_) => Err(StoreError::RangeIgnored { location: self.location.clone() }),
            Place::Web(file) => file.copy_all(begin, writing),
        }
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

/// What was copied from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its length.
    pub n_bytes: u64,
    /// Whether the server said where its end is. A connection that just closes may have broken off.
    pub has_end: bool,
}

/// Takes pieces of a file, each with its offset.
pub type Pieces<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), StoreError>;

/// Opens a file. A pipe or a device is none: reading it might never end.
///
/// # Errors
/// If it is not there, is something else, or may not be read.
pub fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let about = std::fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, a socket or a device, and no file"));
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    Ok((file, about))
}

fn open_file(location: &Location, path: &str) -> Result<(Reader, Fingerprint), StoreError> {
    let (file, about) = open_regular(Path::new(path)).map_err(|error| StoreError::reading(location, error))?;
    let size_bytes = about.len();
    Ok((Reader { location: location.clone(), place: Place::File(file), size_bytes }, fingerprint_of(&about)))
}
