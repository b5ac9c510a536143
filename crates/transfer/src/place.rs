//! Places as somebody wrote them: what is meant by a slash at the end, and what lies there.
//!
//! The one rule of slashes: `cp A B` makes B be A, `cp A B/` puts A inside B, whether B is there or not. A slash at the
//! end of a source says that it is a folder.

use std::{path::PathBuf, sync::Arc};

use frazil_model::{
    location::{Location, is_below},
    pattern::is_pattern,
};
use frazil_store::{
    beneath::unsafe_name,
    bucket::{Bucket, Depth},
    profile::{located, located_to_write},
};

use crate::{error::TransferError, walk::WORKSHOP};

/// A place, and whether it ended with a slash.
#[derive(Debug, Clone)]
pub struct Written {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub place: Place,
    /// Whether it ended with a slash: the inside is meant.
    pub ends_with_slash: bool,
}

/// Where something is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A path on this machine.
    Local(PathBuf),
    /// A key of a bucket, or what keys begin with; without a slash at its end.
    Bucket {
        /// The bucket.
        bucket: Bucket,
        /// The key.
        key: String,
    },
    /// A file of a web server.
    Web(Location),
}

impl Written {
    /// Reads a place.
    ///
    /// # Errors
    /// If the text names none, or nobody signs for it: a name before a colon is no path if nothing has that name.
    pub fn read(text: &str) -> Result<Self, TransferError> {
        let location = if is_pattern(text) { located(text)? } else { located_to_write(text)? };
        Self::of(text, location)
    }

    /// Reads a place that is to be written to.
    ///
    /// # Errors
    /// As for [`Self::read`], and if a name before a colon is that of nobody.
    pub fn read_dest(text: &str) -> Result<Self, TransferError> {
        Self::of(text, located_to_write(text)?)
    }

    fn of(text: &str, location: Location) -> Result<Self, TransferError> {
        let place = match location {
            Location::File(path) => Place::Local(path.into()),
            // What keys begin with that begin with a slash has no name that could be told from the bucket itself.
            Location::Object(object) if object.key == "/" => {
                return Err(TransferError::Nameless { place: text.to_owned() });
            }
            Location::Object(object) => {
                let key = object.key.strip_suffix('/').unwrap_or(&object.key).to_owned();
                Place::Bucket { bucket: Bucket::of(&object)?, key }
            }
            web @ Location::Http(_) => Place::Web(web),
        };
        // What is no folder of its own: `.` and `..` are folders however they are written.
        let is_dots = matches!(text.rsplit('/').next(), Some("." | "..")) && matches!(place, Place::Local(_));
        let ends_with_slash = text.ends_with('/') || is_dots;
        Ok(Self { text: text.to_owned(), place, ends_with_slash })
    }
}

impl Place {
    /// The last part of its name.
    #[must_use]
    pub fn base_name(&self) -> String {
        match self {
            // `..` has a name of its own only once it is followed.
            Self::Local(path) => match path.file_name() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => std::fs::canonicalize(path)
                    .ok()
                    .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                    .unwrap_or_default(),
            },
            Self::Bucket { key, .. } => key.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::Web(location) => location.file_name().to_owned(),
        }
    }

    /// A place below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Bucket { bucket, key } => Self::Bucket { bucket: bucket.clone(), key: joined(key, name) },
            Self::Web(location) => Self::Web(location.clone()),
        }
    }

    /// Whether something lies on this machine under a name below this place, be it a link.
    pub(crate) fn holds(&self, name: &str) -> bool {
        matches!(self.below(name), Self::Local(path) if path.symlink_metadata().is_ok())
    }

    /// Why no file of this name can lie below this place, whatever is there.
    #[must_use]
    pub fn unkept(&self, name: &str) -> Option<&'static str> {
        match self {
            Self::Local(_) if is_below(name, WORKSHOP) => {
                Some("this name is kept for files that are not whole yet, which frazil clears away")
            }
            Self::Local(_) => unsafe_name(name),
            Self::Bucket { bucket, key } => bucket.unkept(&joined(key, name)),
            Self::Web(_) => None,
        }
    }

    /// Whether it is a folder, as far as that may be seen.
    ///
    /// # Errors
    /// [`TransferError::Nothing`] if nothing is there, [`TransferError::NoFolder`] if it is a file.
    pub fn must_be_folder(&self) -> Result<(), TransferError> {
        let nothing = || Err(TransferError::Nothing { place: self.shown() });
        let is_file = match self {
            Self::Local(path) => match path.metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return nothing(),
                about => about.is_ok_and(|about| !about.is_dir()),
            },
            Self::Bucket { key, .. } if key.is_empty() => false,
            Self::Bucket { bucket, key } => {
                let below = bucket.pages(&format!("{key}/"), Depth::One).next();
                let is_empty = matches!(below, Some(Ok(page)) if page.objects.is_empty() && page.folders.is_empty());
                match bucket.about(key) {
                    Ok(Some(_)) => is_empty,
                    Ok(None) if is_empty => return nothing(),
                    _ => false,
                }
            }
            Self::Web(_) => return nothing(),
        };
        if is_file { Err(TransferError::NoFolder { place: self.shown() }) } else { Ok(()) }
    }

    /// How it is shown.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Bucket { bucket, key } => bucket.location(key).to_string(),
            Self::Web(location) => location.to_string(),
        }
    }
}

/// A name below a prefix, of which either may be empty.
#[must_use]
pub fn joined(prefix: &str, name: &str) -> String {
    match (prefix.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}/{name}"),
    }
}

/// The same of a name that is shared: it stays that one where nothing comes before it.
#[must_use]
pub(crate) fn under(prefix: &str, name: &Arc<str>) -> Arc<str> {
    if prefix.is_empty() { Arc::clone(name) } else { joined(prefix, name).into() }
}
