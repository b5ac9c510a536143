//! A place that a store is written to: a folder of this machine, or what lies below a key of a bucket.
//!
//! Both have the same words. It promises that a put is seen whole or not at all, that nothing is ever written outside
//! the place, and that what cannot be looked at is an error and never taken for absent. It does not know what the
//! bytes mean.

mod local;
mod opened;
mod remote;
mod shelf;
mod staged;

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use frazil_model::location::Location;

pub use local::{exchange, give_name, remove_tree, sync_folder};
pub use opened::Opened;
pub use shelf::{Listed, Shelf};
pub use staged::Staged;

use crate::error::StoreError;
use local::Local;
use staged::Stage;

pub(crate) use remote::Remote;

/// Where unfinished files lie, below the folder. In a bucket nothing has that key: what is unfinished there is an
/// upload that nobody sees.
pub const STAGING: &str = ".frazil/staging";

/// What tells one content of an object from another without reading it, where the place says so.
pub type Tag = Option<String>;

/// A place that is written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Folder {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Here(Local),
    Away(Box<Remote>),
}

/// An object that was read, and what tells it from what may stand in its place later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the server says of its state; empty on this machine, where the bytes tell.
    tag: String,
}

/// Something that lies directly in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name there.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What lies in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Folder,
    Link,
}

/// What a listing says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its size.
    pub size_bytes: u64,
    /// What tells its content from another; empty if the server does not say.
    pub tag: String,
}

/// How objects must be put so that thousands of them are safe before the store is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// A put that was acknowledged is safe.
    AtOnce,
    /// Those that were put for later are safe after one [`Folder::sync_all`], names and all.
    Together,
    /// Files and the folders that they lie in must be synced, each by itself.
    Apart,
}

impl Folder {
    /// The folder of this machine at `root`; it need not exist yet.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { place: Place::Here(Local { root }) }
    }

    /// The place at `location`; nothing need be there yet.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] if nothing can be written there; or if nobody signs for it.
    pub fn at(location: &Location) -> Result<Self, StoreError> {
        match location {
            Location::File(path) => Ok(Self::new(PathBuf::from(path))),
            Location::Object(object) => Ok(Self { place: Place::Away(Box::new(Remote::at(object)?)) }),
            Location::Http(_) => Err(StoreError::NotWritable { location: location.clone() }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Location {
        match &self.place {
            Place::Here(local) => Location::File(local.root.display().to_string()),
            Place::Away(remote) => remote.location(),
        }
    }

    /// Its path, if it is on this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Here(local) => Some(&local.root),
            Place::Away(_) => None,
        }
    }

    /// The path of `key`, if it is on this machine.
    ///
    /// # Errors
    /// [`StoreError::UnsafeKey`] if the key could lead out of the folder.
    pub fn path_of(&self, key: &str) -> Result<Option<PathBuf>, StoreError> {
        match &self.place {
            Place::Here(local) => local.path_of(key).map(Some),
            Place::Away(_) => Ok(None),
        }
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        match &self.place {
            Place::Here(_) => None,
            Place::Away(remote) => Some(remote),
        }
    }

    /// The place that this one lies in, and its name there; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<(Self, String)> {
        match &self.place {
            Place::Here(local) => {
                let full = std::path::absolute(&local.root).ok()?;
                let name = full.file_name()?.to_str()?.to_owned();
                Some((Self::new(full.parent()?.to_owned()), name))
            }
            Place::Away(remote) => {
                let (parent, name) = remote.parent()?;
                Some((Self { place: Place::Away(Box::new(parent)) }, name))
            }
        }
    }

    /// Makes the folder and those above it, so that their names survive a power cut. It is no error if it is there.
    ///
    /// # Errors
    /// If it cannot be made, or something else has its name.
    pub fn make(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => local.make(),
            Place::Away(_) => Ok(()),
        }
    }

    /// Writes `bytes` as `key`: the old object or the new one is seen, never a part.
    ///
    /// On this machine the file's bytes are on the disk when this returns; its name is, once its folder was synced
    /// ([`Self::sync`]).
    ///
    /// # Errors
    /// If it cannot be written; then the old object is as it was.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<Tag, StoreError> {
        match &self.place {
            Place::Here(local) => local.put(key, bytes).map(|()| None),
            Place::Away(remote) => remote.put(key, bytes),
        }
    }

    /// As [`Self::put`], but on this machine the file's bytes are on the disk only after the next [`Self::sync_all`]:
    /// thousands of small files reach it much faster together than one by one.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub fn put_for_later(&self, key: &str, bytes: &[u8]) -> Result<Tag, StoreError> {
        match &self.place {
            Place::Here(local) => local.put_for_later(key, bytes).map(|()| None),
            Place::Away(remote) => remote.put(key, bytes),
        }
    }

    /// Begins an object of `n_bytes` that is to become `key`, to be written piece by piece.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub fn stage(&self, key: &str, n_bytes: u64) -> Result<Staged, StoreError> {
        Ok(Staged(match &self.place {
            Place::Here(local) => Stage::Here(local.stage(key, n_bytes)?),
            Place::Away(remote) => Stage::Away(Box::new(remote.stage(key, n_bytes)?)),
        }))
    }

    /// Reads the object of `key`; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.place {
            Place::Here(local) => local.get(key),
            Place::Away(remote) => remote.get(key),
        }
    }

    /// Reads the object of `key` so that it can be replaced later if it is still the same; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn get_held(&self, key: &str) -> Result<Option<Held>, StoreError> {
        match &self.place {
            Place::Here(local) => Ok(local.get(key)?.map(|bytes| Held { bytes, tag: String::new() })),
            Place::Away(remote) => Ok(remote.get_held(key)?.map(|(bytes, tag)| Held { bytes, tag })),
        }
    }

    /// Puts `bytes` in the place of what was `held`; `None`: of nothing. On this machine that is safe only for whoever
    /// holds the lock of the place.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if something else is there.
    pub fn replace(&self, key: &str, held: Option<&Held>, bytes: &[u8]) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => {
                if local.get(key)? != held.map(|held| held.bytes.clone()) {
                    return Err(StoreError::Taken { location: self.location() });
                }
                local.put(key, bytes)
            }
            Place::Away(remote) => remote.replace(key, held.map(|held| held.tag.as_str()), bytes),
        }
    }

    /// The same of at most `limit_bytes`, where it is a server that decides how much comes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], or if it is there and cannot be read.
    pub fn get_within(&self, key: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.place {
            Place::Here(local) => local.get(key),
            Place::Away(remote) => remote.get_within(key, limit_bytes),
        }
    }

    /// Opens the object of `key` for reading parts of it; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is no file.
    pub fn open(&self, key: &str) -> Result<Option<Opened>, StoreError> {
        match &self.place {
            Place::Here(local) => Opened::file(&local.path_of(key)?),
            Place::Away(remote) => Opened::object(&remote.location_of(key)?),
        }
    }

    /// The same of an object of which a listing was had.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_seen(&self, key: &str, seen: &Seen) -> Result<Option<Opened>, StoreError> {
        match &self.place {
            Place::Here(_) => self.open(key),
            Place::Away(remote) => Opened::object_of(&remote.location_of(key)?, seen.size_bytes).map(Some),
        }
    }

    /// Removes the object of `key`, and all that lies below it. It is no error if there is none.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => local.remove(key),
            Place::Away(remote) => remote.remove(key),
        }
    }

    /// Removes objects. It is no error if one is not there.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn remove_all(&self, keys: &[&str]) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => keys.iter().try_for_each(|key| local.remove(key)),
            Place::Away(remote) => remote.remove_all(keys),
        }
    }

    /// Makes the names of all files in the folder of `key` survive a power cut.
    ///
    /// # Errors
    /// If the folder cannot be synced.
    pub fn sync(&self, key: Option<&str>) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => local.sync(key),
            Place::Away(_) => Ok(()),
        }
    }

    /// Makes the bytes of all files that were put for later survive a power cut.
    ///
    /// # Errors
    /// If a file could not be written to the disk.
    pub fn sync_all(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Here(local) => local.sync_all(),
            Place::Away(_) => Ok(()),
        }
    }

    /// How objects become safe here.
    #[must_use]
    pub const fn safety(&self) -> Safety {
        match &self.place {
            Place::Away(_) => Safety::AtOnce,
            // syncfs(2) of Linux sees to the names of files as well as to their bytes.
            Place::Here(_) if cfg!(target_os = "linux") => Safety::Together,
            Place::Here(_) => Safety::Apart,
        }
    }

    /// Every object below the place, as keys, sorted.
    ///
    /// # Errors
    /// If it cannot be listed: then nothing is known.
    pub fn keys(&self) -> Result<Vec<String>, StoreError> {
        match &self.place {
            Place::Here(local) => local.keys(),
            Place::Away(remote) => Ok(remote.listing("")?.into_keys().collect()),
        }
    }

    /// Every object below the place with what one listing says of it, where looking at each would cost a request;
    /// `None` on this machine.
    ///
    /// # Errors
    /// If it cannot be listed: then nothing is known.
    pub fn listing(&self) -> Result<Option<BTreeMap<String, Seen>>, StoreError> {
        match &self.place {
            Place::Here(_) => Ok(None),
            Place::Away(remote) => remote.listing("").map(Some),
        }
    }

    /// Looks at each object whose key begins with that of the folder `key`, without keeping what was seen. Only where
    /// objects are listed; answers whether that is so.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn each_below(&self, key: &str, see: &mut dyn FnMut(&str, u64)) -> Result<Listing, StoreError> {
        match &self.place {
            Place::Here(_) => Ok(Listing::NotHere),
            Place::Away(remote) => remote.each_below(key, see).map(|()| Listing::Done),
        }
    }

    /// What lies directly in the folder of `key`, sorted; the empty key is the place itself. Of a folder that is not
    /// there that is nothing: in a bucket the two are the same.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn names(&self, key: &str) -> Result<Vec<Entry>, StoreError> {
        match &self.place {
            Place::Here(local) => local.names(key),
            Place::Away(remote) => remote.names(key),
        }
    }

    /// Whether anything has the name of `key`.
    ///
    /// # Errors
    /// If that cannot be looked at.
    pub fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match &self.place {
            Place::Here(local) => local.exists(key),
            Place::Away(remote) => remote.exists(key),
        }
    }

    /// Whether a file or an object lies in it.
    #[must_use]
    pub fn holds(&self, location: &Location) -> bool {
        match (&self.place, location) {
            (Place::Here(local), Location::File(path)) => {
                std::fs::canonicalize(path).is_ok_and(|path| path.starts_with(&local.root))
            }
            (Place::Away(remote), Location::Object(object)) => remote.holds(object),
            _ => false,
        }
    }

    /// Whether an object stands in the place itself, as a file stands in the place of a folder.
    ///
    /// # Errors
    /// If that cannot be looked at.
    pub fn is_object(&self) -> Result<bool, StoreError> {
        match &self.place {
            Place::Here(local) => Ok(local.root.is_file()),
            Place::Away(remote) => remote.is_object(),
        }
    }
}

/// Whether objects were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Listing {
    Done,
    NotHere,
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location())
    }
}

/// Why a name with slashes does not stay within its folder.
pub(crate) fn leads_out(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    name.split('/').find_map(|part| match part {
        "" => Some("it has an empty part, which no file can have"),
        "." | ".." => Some("a part of it is `.` or `..`"),
        _ if part.contains('\0') => Some("it holds a NUL"),
        _ => None,
    })
}

/// Whether a key stays within its folder.
fn check_key(key: &str) -> Result<(), StoreError> {
    leads_out(key).map_or(Ok(()), |reason| Err(StoreError::UnsafeKey { key: key.to_owned(), reason }))
}

/// A name for a file that is not whole yet. A key may be longer than a file's name may be, so it is a number; it begins
/// with that of its process, so that it is known to be nobody's once that has ended.
#[must_use]
pub fn staging_name() -> String {
    static N_STAGED: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), N_STAGED.fetch_add(1, Ordering::Relaxed))
}

/// Makes everything that was written to the file system of an open folder survive a power cut.
pub(crate) fn sync_file_system(_folder: impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(_folder)?;
    Ok(())
}
