//! A place that stores are read from: a folder, what lies below a key of a bucket, or below an address of a web server.
//!
//! It promises that a key leads nowhere but below the place, and that what cannot be looked at is an error and never
//! taken for absent. Web servers do not list: what lies there, a document must say.

use std::{fmt, fs, io, path::Path};

use frazil_model::location::Location;

use super::{Entry, Folder, Opened, Place, check_key, local::Local};
use crate::{
    address::sent_path,
    error::StoreError,
    read::{Fingerprint, fingerprint_of},
};

/// Folders within folders that are listed.
const MAX_DEPTH: usize = 256;

/// A place that is read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shelf(Where);

#[derive(Debug, Clone)]
enum Where {
    Folder(Folder),
    /// An address without a slash at its end, and its query.
    Web(String, Option<String>),
}

/// Whether what lies at a place was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// All of it was seen.
    All,
    /// Its server lists nothing.
    Unlisted,
}

impl From<Folder> for Shelf {
    fn from(folder: Folder) -> Self {
        Self(Where::Folder(folder))
    }
}

impl Shelf {
    /// The place at `location`.
    ///
    /// # Errors
    /// If nobody signs for it.
    pub fn at(location: &Location) -> Result<Self, StoreError> {
        Ok(Self(match location {
            Location::Http(address) => {
                let (address, query) = match address.split_once('?') {
                    Some((address, query)) => (address, Some(query.to_owned())),
                    None => (address.as_str(), None),
                };
                Where::Web(address.trim_end_matches('/').to_owned(), query)
            }
            location => Where::Folder(Folder::at(location)?),
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Location {
        match &self.0 {
            Where::Folder(folder) => folder.location(),
            Where::Web(address, None) => Location::Http(format!("{address}/")),
            Where::Web(address, Some(query)) => Location::Http(format!("{address}/?{query}")),
        }
    }

    /// Its path, if it is on this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Where::Folder(folder) => folder.path(),
            Where::Web(..) => None,
        }
    }

    /// The folder or the part of a bucket that it is; `None` on a web server, where nothing is written.
    #[must_use]
    pub const fn folder(&self) -> Option<&Folder> {
        match &self.0 {
            Where::Folder(folder) => Some(folder),
            Where::Web(..) => None,
        }
    }

    /// The place that this one lies in, and its name there; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<(Self, String)> {
        match &self.0 {
            Where::Folder(folder) => folder.parent().map(|(parent, name)| (parent.into(), name)),
            Where::Web(address, query) => {
                let (parent, name) = address.rsplit_once('/').filter(|(parent, _)| !parent.ends_with('/'))?;
                Some((Self(Where::Web(parent.to_owned(), query.clone())), crate::address::decoded(name)?))
            }
        }
    }

    /// Reads the object of `key`, of at most `limit_bytes`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or if it is there and cannot be read.
    pub fn get_within(&self, key: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.0 {
            Where::Folder(folder) if folder.path().is_none() => folder.get_within(key, limit_bytes),
            _ => {
                let Some(opened) = self.open(key)? else { return Ok(None) };
                if opened.length() > limit_bytes {
                    let location = Location::File(format!("{self}/{key}"));
                    return Err(StoreError::TooLarge { location, limit_bytes });
                }
                let mut bytes = Vec::new();
                opened.read(0, opened.length(), &mut bytes)?;
                Ok(Some(bytes))
            }
        }
    }

    /// Opens the object of `key` for reading parts of it; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open(&self, key: &str) -> Result<Option<Opened>, StoreError> {
        let opened = match &self.0 {
            Where::Folder(folder) => folder.open(key),
            Where::Web(address, query) => {
                check_key(key)?;
                let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
                Opened::object(&Location::Http(format!("{address}/{}{query}", sent_path(key))))
            }
        };
        match opened {
            Err(StoreError::IsFolder { .. }) => Ok(None),
            opened => opened,
        }
    }

    /// What lies directly in the folder of `key`, sorted; nothing if there is no such folder.
    ///
    /// # Errors
    /// [`StoreError::CannotList`] on a web server; if it cannot be listed.
    pub fn names(&self, key: &str) -> Result<Vec<Entry>, StoreError> {
        match &self.0 {
            Where::Folder(folder) => folder.names(key),
            Where::Web(..) => Err(StoreError::CannotList { location: self.location() }),
        }
    }

    /// Looks at every object below the folder of `key`, in no order, with what tells its states apart.
    ///
    /// # Errors
    /// If they cannot be listed: then nothing is known.
    pub fn each_object(&self, key: &str, see: &mut dyn FnMut(&str, &Fingerprint)) -> Result<Listed, StoreError> {
        let Where::Folder(folder) = &self.0 else { return Ok(Listed::Unlisted) };
        match &folder.place {
            Place::Away(remote) => remote.each_marked(key, see)?,
            Place::Here(local) => {
                let start = if key.is_empty() { local.root.clone() } else { local.path_of(key)? };
                walk(&start, &mut key.to_owned(), 0, see)?;
            }
        }
        Ok(Listed::All)
    }
}

/// Looks at every file below a folder; `key` is that of the folder.
fn walk(
    folder: &Path,
    key: &mut String,
    depth: usize,
    see: &mut dyn FnMut(&str, &Fingerprint),
) -> Result<(), StoreError> {
    let reading = |error| Local::reading(folder, error);
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        entries => entries.map_err(reading)?,
    };
    if depth > MAX_DEPTH {
        return Err(reading(io::Error::other("its folders have no end")));
    }
    for entry in entries {
        let entry = entry.map_err(reading)?;
        // A name that is no text is no key of a store.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let about = match fs::metadata(entry.path()) {
            // It went away meanwhile, or is a link that leads nowhere: there is no object.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            about => about.map_err(reading)?,
        };
        let n_before = key.len();
        if n_before > 0 {
            key.push('/');
        }
        key.push_str(&name);
        if about.is_dir() {
            walk(&entry.path(), key, depth + 1, see)?;
        } else if about.is_file() {
            see(key, &fingerprint_of(&about));
        }
        key.truncate(n_before);
    }
    Ok(())
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location())
    }
}
