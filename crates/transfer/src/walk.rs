//! What lies at a place: one file, or all files below a folder.
//!
//! A folder of a bucket is what its keys begin with up to a slash; an object is never taken for a folder because other
//! keys begin like it. It promises that a listing that fails is an error, that no link is followed unless it was named
//! itself, and that what is passed over is named.

use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use frazil_model::{
    location::Location,
    pattern::{fits, is_pattern},
};
use frazil_store::{
    StoreError,
    beneath::removal::Identity,
    bucket::{Bucket, Depth, Listed, State},
    read::{Fingerprint, fingerprint, fingerprint_of, fingerprint_to_copy},
};

use crate::{
    atoms::Atoms,
    error::TransferError,
    place::{Place, Written, joined},
};

/// Where unfinished files lie below the folder that is written to.
pub(crate) const WORKSHOP: &str = ".frazil/staging";

/// Why what has a name that is no text is passed over.
const ODD_NAME: &str = "its name is not UTF-8 text";

/// Folders within folders.
const MAX_DEPTH: usize = 2048;

/// A file or an object.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name below the place that was walked; empty if it is that place.
    pub name: Arc<str>,
    /// Its size.
    pub size_bytes: u64,
    /// What a server says of its content.
    pub state: State,
    /// When it was written, in seconds since 1970.
    pub modified_seconds: Option<u64>,
    /// How it is recognised, where it is a file of this machine or of a web server.
    pub mark: Option<Box<Fingerprint>>,
}

/// What lies at a place.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The place.
    pub place: Place,
    /// Whether it is a file by itself.
    pub is_file: bool,
    /// The files, by name.
    pub found: Vec<Found>,
    /// Names that cannot be moved, with the reason.
    pub passed_over: Vec<(String, String)>,
    /// The object that has the name of the folder itself, with its slash: the mark that some programs leave where a folder
    /// begins, or what somebody put under that name. It is no file of the tree.
    pub mark: Option<Found>,
    /// Which folder of this machine it is, if it is one.
    pub identity: Option<Identity>,
    /// The folders in it that may not be read.
    pub(crate) closed: Vec<String>,
}

impl Tree {
    /// One in which nothing lies.
    #[must_use]
    pub(crate) const fn empty(place: Place, is_file: bool) -> Self {
        Self {
            place,
            is_file,
            found: Vec::new(),
            passed_over: Vec::new(),
            mark: None,
            identity: None,
            closed: Vec::new(),
        }
    }

    /// Refuses folders that may not be read, unless what lies in them is not meant. Of a store all of it is, or nothing.
    ///
    /// # Errors
    /// [`TransferError::Closed`] for the first that is meant.
    pub(crate) fn must_be_open(&self, is_meant: impl Fn(&str) -> bool) -> Result<(), TransferError> {
        if self.closed.is_empty() {
            return Ok(());
        }
        let atoms = Atoms::among(self.found.iter().map(|found| &*found.name));
        let is_meant =
            |folder: &str| atoms.of(folder).map_or_else(|| is_meant(folder), |root| root.is_empty() || is_meant(root));
        let Some(closed) = self.closed.iter().find(|folder| is_meant(folder)) else { return Ok(()) };
        Err(TransferError::Closed { place: self.place.below(closed).shown() })
    }

    /// Whether names were seen that are no text.
    #[must_use]
    pub(crate) fn has_odd_names(&self) -> bool {
        self.passed_over.iter().any(|(_, why)| why == ODD_NAME)
    }

    /// Whether another look at the same place saw the same files in the same state.
    #[must_use]
    pub fn is_like(&self, then: &Self) -> bool {
        let is_same = |(a, b): (&Found, &Found)| {
            a.name == b.name
                && a.size_bytes == b.size_bytes
                && a.state == b.state
                && a.modified_seconds == b.modified_seconds
                && a.mark == b.mark
        };
        self.identity == then.identity
            && self.found.len() == then.found.len()
            && self.passed_over == then.passed_over
            && self.found.iter().zip(&then.found).all(is_same)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.found.iter().map(|found| found.size_bytes).fold(0, u64::saturating_add)
    }

    /// Everything that is there: files, what is passed over, and the object that has the name of the folder itself.
    #[must_use]
    pub fn n_all(&self) -> u64 {
        // One with bytes in it is passed over.
        let n_marks = usize::from(self.mark.as_ref().is_some_and(|mark| mark.size_bytes == 0));
        (self.found.len() + self.passed_over.len() + n_marks) as u64
    }

    /// The bytes of everything.
    #[must_use]
    pub fn all_bytes(&self) -> u64 {
        self.n_bytes().saturating_add(self.mark.as_ref().map_or(0, |mark| mark.size_bytes))
    }

    /// Keeps the object that has the name of the folder itself apart. One with bytes in it is named.
    fn set_mark(&mut self, name: String, mark: Found) {
        if mark.size_bytes > 0 {
            self.passed_over.push((name, "an object has the name of the folder itself".into()));
        }
        self.mark = Some(mark);
    }
}

/// What the places name, patterns included.
///
/// # Errors
/// If one names nothing, or cannot be listed.
pub fn trees(written: &Written) -> Result<Vec<Tree>, TransferError> {
    let trees = trees_with_closed(written)?;
    trees.iter().try_for_each(|tree| tree.must_be_open(|_| true))?;
    Ok(trees)
}

/// The same for whoever knows what is meant of them, and asks each whether that may be read ([`Tree::must_be_open`]).
///
/// # Errors
/// As for [`trees`].
pub(crate) fn trees_with_closed(written: &Written) -> Result<Vec<Tree>, TransferError> {
    if is_meant_as_pattern(written)? { of_pattern(written) } else { Ok(vec![tree_with_closed(written)?]) }
}

/// The same for whoever copies what is there, whose size need not be told before.
///
/// # Errors
/// As for [`trees`].
pub(crate) fn trees_to_copy(written: &Written) -> Result<Vec<Tree>, TransferError> {
    match &written.place {
        Place::Web(location) => Ok(vec![of_web(&written.place, fingerprint_to_copy(location)?)]),
        _ => trees_with_closed(written),
    }
}

/// A file of a web server.
fn of_web(place: &Place, mark: Fingerprint) -> Tree {
    let size_bytes = mark.told_bytes().unwrap_or_default();
    let found = Found { mark: Some(Box::new(mark)), ..Found::named("", size_bytes) };
    Tree { found: vec![found], ..Tree::empty(place.clone(), true) }
}

/// Whether a place is written as a pattern, and nothing has that very name.
///
/// # Errors
/// If the server does not say.
pub(crate) fn is_meant_as_pattern(written: &Written) -> Result<bool, TransferError> {
    Ok(match &written.place {
        Place::Local(path) => is_pattern(&written.text) && path.symlink_metadata().is_err(),
        Place::Bucket { bucket, key } => is_pattern(key) && bucket.about(key)?.is_none(),
        Place::Web(_) => false,
    })
}

/// What lies at a place.
///
/// # Errors
/// If nothing does, or it cannot be listed.
pub fn tree(written: &Written) -> Result<Tree, TransferError> {
    let tree = tree_with_closed(written)?;
    tree.must_be_open(|_| true)?;
    match tree.mark.is_some() && tree.found.is_empty() && tree.passed_over.is_empty() {
        true => Err(TransferError::Nothing { place: written.text.clone() }),
        false => Ok(tree),
    }
}

/// As [`trees_with_closed`], of one place. A folder of a bucket of which there is nothing but its mark is an empty one.
///
/// # Errors
/// As for [`tree`].
pub(crate) fn tree_with_closed(written: &Written) -> Result<Tree, TransferError> {
    let nothing = || TransferError::Nothing { place: written.text.clone() };
    let tree = match &written.place {
        Place::Local(path) => of_path(path, written)?,
        Place::Bucket { bucket, key } => of_key(bucket, key, written)?,
        Place::Web(location) => of_web(&written.place, fingerprint(location)?),
    };
    if tree.n_all() == 0 && !matches!(tree.place, Place::Local(_)) {
        return Err(nothing());
    }
    Ok(tree)
}

impl Found {
    pub(crate) fn named(name: &str, size_bytes: u64) -> Self {
        Self { name: name.into(), size_bytes, state: State::default(), modified_seconds: None, mark: None }
    }

    pub(crate) fn of_object(listed: Listed, name: impl Into<Arc<str>>) -> Self {
        let (size_bytes, modified_seconds) = (listed.size_bytes, listed.modified_seconds);
        Self { name: name.into(), size_bytes, state: listed.state, modified_seconds, mark: None }
    }

    /// When it came to be what it is where it is, in seconds since 1970.
    #[must_use]
    pub fn touched_seconds(&self) -> Option<u64> {
        match self.mark.as_deref() {
            Some(mark) => mark.touched_seconds(),
            None => self.modified_seconds,
        }
    }

    /// Its size; nothing if its server does not tell it. It counts as nothing in sums.
    #[must_use]
    pub fn told_bytes(&self) -> Option<u64> {
        self.mark.as_deref().map_or(Some(self.size_bytes), Fingerprint::told_bytes)
    }

    /// A file of this machine.
    pub(crate) fn of_file(name: &str, about: &fs::Metadata) -> Self {
        let modified = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            modified_seconds: modified.map(|time| time.as_secs()),
            mark: Some(Box::new(fingerprint_of(about))),
            ..Self::named(name, about.len())
        }
    }
}

fn of_path(path: &Path, written: &Written) -> Result<Tree, TransferError> {
    let location = || Location::File(path.display().to_string());
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => TransferError::Nothing { place: written.text.clone() },
        _ => StoreError::reading(&location(), error).into(),
    })?;
    let mut tree = Tree::empty(written.place.clone(), !about.is_dir());
    if about.is_dir() {
        tree.identity = Some(Identity::of(&about));
        walk(path, "", 0, &mut tree)?;
        tree.found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    } else if about.is_file() && !written.ends_with_slash {
        tree.found.push(Found::of_file("", &about));
    } else if about.is_file() {
        return Err(TransferError::FileWithSlash { place: written.text.clone() });
    } else {
        tree.passed_over.push((written.text.clone(), "it is a pipe, a socket or a device, and no file".into()));
    }
    Ok(tree)
}

fn walk(folder: &Path, below: &str, depth: usize, tree: &mut Tree) -> Result<(), TransferError> {
    let failed = |error| StoreError::reading(&Location::File(folder.display().to_string()), error);
    let entries = match fs::read_dir(folder) {
        // Somebody removed it since the folder above was read: another process its workshop, for one.
        Err(error) if depth > 0 && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if depth > 0 && error.kind() == std::io::ErrorKind::PermissionDenied => {
            tree.closed.push(below.to_owned());
            return Ok(());
        }
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            let name = joined(below, &entry.file_name().to_string_lossy());
            tree.passed_over.push((name, ODD_NAME.into()));
            continue;
        };
        let name = joined(below, &name);
        let about = match entry.metadata() {
            // Somebody removed it since the folder was read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            about => about.map_err(failed)?,
        };
        let kind = about.file_type();
        if kind.is_symlink() {
            tree.passed_over.push((name, "it is a link, and links are not followed".into()));
        } else if kind.is_dir() {
            match depth >= MAX_DEPTH {
                true => tree.passed_over.push((name, format!("it lies more than {MAX_DEPTH} folders deep"))),
                false if name == WORKSHOP => {}
                false => walk(&entry.path(), &name, depth + 1, tree)?,
            }
        } else if kind.is_file() {
            tree.found.push(Found::of_file(&name, &about));
        } else {
            let what = if kind.is_fifo() { "a pipe" } else { "a socket or a device" };
            tree.passed_over.push((name, format!("it is {what}, and no file")));
        }
    }
    Ok(())
}

fn of_key(bucket: &Bucket, key: &str, written: &Written) -> Result<Tree, TransferError> {
    let mut tree = Tree::empty(written.place.clone(), false);
    let mut refused = None;
    if !written.ends_with_slash && !key.is_empty() {
        match bucket.about(key) {
            Ok(Some(listed)) => {
                tree.is_file = true;
                tree.found.push(Found::of_object(listed, ""));
                return Ok(tree);
            }
            Ok(None) => {}
            // Whoever may list but not read cannot be told that there is no such object.
            Err(error @ StoreError::Denied { .. }) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
    for page in bucket.pages(&prefix, Depth::All) {
        for listed in page?.objects {
            let name: Arc<str> = listed.key.get(prefix.len()..).unwrap_or_default().into();
            match name.is_empty() {
                true => tree.set_mark(listed.key.clone(), Found::of_object(listed, "")),
                false => tree.found.push(Found::of_object(listed, name)),
            }
        }
    }
    match refused {
        Some(error) if tree.found.is_empty() && tree.mark.is_none() => Err(error.into()),
        _ => Ok(tree),
    }
}

/// What a pattern names: files, and folders whose name is as the pattern says.
fn of_pattern(written: &Written) -> Result<Vec<Tree>, TransferError> {
    let text = match &written.place {
        Place::Local(path) => path.display().to_string(),
        Place::Bucket { key, .. } => key.clone(),
        Place::Web(_) => String::new(),
    };
    let parts: Vec<&str> = text.split('/').collect();
    let n_plain = parts.iter().take_while(|part| !is_pattern(part)).count();
    let start = parts.get(..n_plain).unwrap_or_default().join("/");
    let place = match &written.place {
        Place::Local(_) => {
            let is_absolute = text.starts_with('/');
            let start = if start.is_empty() && !is_absolute { ".".to_owned() } else { format!("{start}/") };
            Place::Local(PathBuf::from(start))
        }
        Place::Bucket { bucket, .. } => Place::Bucket { bucket: bucket.clone(), key: start },
        web @ Place::Web(_) => web.clone(),
    };
    let above = Written { text: written.text.clone(), place, ends_with_slash: true };
    let whole = tree(&above)?;
    let mut found: Vec<Tree> = Vec::new();
    let pattern = parts.get(n_plain..).unwrap_or_default();
    // What fits, and what lies below it.
    let fit = |name: &str| {
        let names: Vec<&str> = name.split('/').collect();
        let n_parts = (1..=names.len()).find(|n_parts| fits(pattern, &names[..*n_parts]))?;
        // A name that ends with a slash is that of a folder.
        let is_file = n_parts == names.len();
        Some((whole.place.below(&names[..n_parts].join("/")), names[n_parts..].join("/"), is_file))
    };
    for one in &whole.found {
        let Some((place, rest, is_file)) = fit(&one.name) else { continue };
        let is_mark = rest.is_empty() && !is_file;
        let one = Found { name: rest.into(), ..one.clone() };
        match found.last_mut().filter(|last| last.place.shown() == place.shown() && !last.is_file && !is_file) {
            Some(last) if is_mark => last.set_mark(place.shown(), one),
            Some(last) => last.found.push(one),
            None if is_mark => {
                let mut tree = Tree::empty(place, false);
                tree.set_mark(tree.place.shown(), one);
                found.push(tree);
            }
            None => {
                let identity = match &place {
                    Place::Local(path) if !is_file => fs::metadata(path).ok().map(|about| Identity::of(&about)),
                    _ => None,
                };
                found.push(Tree { found: vec![one], identity, ..Tree::empty(place, is_file) });
            }
        }
    }
    for (name, why) in &whole.passed_over {
        let Some((place, rest, _)) = fit(name) else { continue };
        if let Some(tree) = found.iter_mut().find(|tree| !tree.is_file && tree.place.shown() == place.shown()) {
            tree.passed_over.push((rest, why.clone()));
        }
    }
    match found.is_empty() {
        true => Err(TransferError::Nothing { place: written.text.clone() }),
        false => Ok(found),
    }
}
