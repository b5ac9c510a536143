//! What is refused before anything is changed: whole buckets and homes, parts of stores, places that must not be written
//! to.

use std::path::{Path, PathBuf};

use frazil_model::{
    location::{Location, is_below},
    zarr::DOCUMENTS,
};
use frazil_store::{
    StoreError,
    beneath::removal::{Identity, mounted_below},
    bounds,
    bucket::Bucket,
};

use crate::{
    atoms::{Atoms, ancestors},
    error::TransferError,
    place::{Place, Written, joined},
    walk::Tree,
};

/// Whether a place may be written to at all.
///
/// # Errors
/// [`StoreError::OutOfBounds`] if the configuration says no.
pub fn bounds(place: &Place) -> Result<(), TransferError> {
    let location = match place {
        Place::Local(path) => Location::File(path.display().to_string()),
        Place::Bucket { bucket, key } => bucket.location(&format!("{key}/")),
        Place::Web(location) => location.clone(),
    };
    Ok(bounds::check(&location)?)
}

/// Whether a tree is copied into itself.
///
/// # Errors
/// [`TransferError::Within`] if so.
pub fn not_within(tree: &Tree, dest: &Place) -> Result<(), TransferError> {
    let is_within = match (&tree.place, dest) {
        (Place::Local(from), Place::Local(to)) => {
            let (from, to) = (real(from), real(to));
            // A folder that is mounted elsewhere has two paths.
            let is_source = |folder: &Path| {
                tree.identity.is_some()
                    && std::fs::metadata(folder).ok().map(|about| Identity::of(&about)) == tree.identity
            };
            if tree.is_file { from == to } else { to.starts_with(&from) || to.ancestors().any(is_source) }
        }
        (Place::Bucket { bucket: from, key: from_key }, Place::Bucket { bucket: to, key: to_key }) => {
            let is_one = from.location("") == to.location("") || (from.shares_server_with(to) && from.is_same(to));
            is_one && if tree.is_file { to_key == from_key } else { is_below(to_key, from_key) }
        }
        _ => false,
    };
    match is_within {
        true => Err(TransferError::Within { source_place: tree.place.shown(), dest: dest.shown() }),
        false => Ok(()),
    }
}

/// Whether what is to follow a source holds that source: then its deletions would take the source away.
///
/// # Errors
/// [`TransferError::Within`] if so.
pub fn not_around(tree: &Tree, dest: &Place) -> Result<(), TransferError> {
    not_within(&folder(dest), &tree.place)
}

/// A folder as a tree of which nothing is known but which one it is.
fn folder(place: &Place) -> Tree {
    let identity = match place {
        Place::Local(path) => std::fs::metadata(path).ok().map(|about| Identity::of(&about)),
        Place::Bucket { .. } | Place::Web(_) => None,
    };
    Tree { identity, ..Tree::empty(place.clone(), false) }
}

/// Whether a delivery and where it goes are apart: neither lies in the other, whatever links lead there. Else one of its own
/// files might be taken for the copy of another.
///
/// # Errors
/// [`TransferError::IntoInbox`] if not.
pub fn apart(delivery: &Place, dest: &Place) -> Result<(), TransferError> {
    let tree = folder(delivery);
    match (not_within(&tree, dest), not_around(&tree, dest)) {
        (Ok(()), Ok(())) => Ok(()),
        _ => Err(TransferError::IntoInbox { inbox: delivery.shown(), dest: dest.shown() }),
    }
}

/// Whether two texts of places mean the same: paths with their links followed, others as they are written.
#[must_use]
pub fn is_one_place(a: &str, b: &Place) -> bool {
    match b {
        Place::Local(path) => Path::new(a).is_absolute() && real(Path::new(a)) == real(path),
        _ => a == b.shown(),
    }
}

/// The place as it is noted for others who stand elsewhere.
#[must_use]
pub fn noted(place: &Place) -> String {
    match place {
        Place::Local(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        _ => place.shown(),
    }
}

/// The path with its links followed as far as it is there.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(above), absolute.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    absolute
}

/// Whether a tree would be written into a store that it does not replace.
///
/// # Errors
/// [`TransferError::InsideStore`] if so.
pub fn outside_of_stores(root: &Place, base: &str, tree: &Tree) -> Result<(), TransferError> {
    let dest = if base.is_empty() { root.clone() } else { root.below(base) };
    let is_store =
        !tree.is_file && Atoms::among(tree.found.iter().map(|found| &*found.name)).roots().next() == Some("");
    // A store may take the place of a store; anything else may not.
    not_inside_a_store(&dest, if is_store { Around::Above } else { Around::AtOrAbove })
}

/// Where a store is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// In the folders above a place.
    Above,
    /// There, and at the place itself.
    AtOrAbove,
}

/// Whether a place lies in a store.
///
/// # Errors
/// [`TransferError::InsideStore`] if so.
pub fn not_inside_a_store(place: &Place, around: Around) -> Result<(), TransferError> {
    let refused = |store: String| TransferError::InsideStore { place: place.shown(), store };
    let n_skipped = usize::from(around == Around::Above);
    match place {
        Place::Local(path) => {
            let path = real(path);
            // The topmost is the store; what lies in it is part of it, also if it is a group by itself.
            match path.ancestors().skip(n_skipped).filter(|folder| is_store_root(folder)).last() {
                Some(store) => Err(refused(store.display().to_string())),
                None => Ok(()),
            }
        }
        Place::Bucket { bucket, key } => {
            let mut folders: Vec<&str> = ancestors(key).skip(n_skipped).collect();
            folders.reverse();
            match store_among(bucket, &folders)? {
                Some(folder) => Err(refused(bucket.location(folder).to_string())),
                None => Ok(()),
            }
        }
        Place::Web(_) => Ok(()),
    }
}

/// The first of some folders of a bucket that has the metadata of a store.
fn store_among<'a>(bucket: &Bucket, folders: &[&'a str]) -> Result<Option<&'a str>, TransferError> {
    let asked: Vec<(&str, String)> =
        folders.iter().flat_map(|folder| DOCUMENTS.iter().map(|name| (*folder, joined(folder, name)))).collect();
    let ask = |mark: &str| match bucket.about(mark) {
        Ok(found) => Ok(found.is_some()),
        // Whoever may not look there cannot be told.
        Err(StoreError::Denied { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    // Each question is a way to the server and back: they go together.
    std::thread::scope(|scope| {
        let asking: Vec<_> = asked.iter().map(|(folder, mark)| (*folder, scope.spawn(move || ask(mark)))).collect();
        let mut store = None;
        for (folder, answer) in asking {
            match answer.join() {
                Ok(answer) => store = store.or(answer?.then_some(folder)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(store)
    })
}

fn is_store_root(folder: &Path) -> bool {
    DOCUMENTS.iter().any(|name| folder.join(name).is_file())
}

/// Whether a pattern takes whatever is in a bucket.
///
/// # Errors
/// [`TransferError::TooMuch`] if so.
pub fn not_everything(place: &Place, text: &str) -> Result<(), TransferError> {
    let Place::Bucket { key, .. } = place else { return Ok(()) };
    let first = key.split('/').next().unwrap_or_default();
    match !first.is_empty() && first.chars().all(|letter| matches!(letter, '*' | '?')) {
        true => {
            let reason = "its pattern takes whatever is in the bucket".to_owned();
            Err(TransferError::TooMuch { place: text.to_owned(), reason })
        }
        false => Ok(()),
    }
}

/// Whether a place is a link: where things are deleted it is not followed.
///
/// # Errors
/// [`TransferError::LinkWithSlash`] if so.
pub fn no_link(written: &Written) -> Result<(), TransferError> {
    match &written.place {
        Place::Local(path) if path.symlink_metadata().is_ok_and(|about| about.is_symlink()) => {
            let to = std::fs::canonicalize(path).ok().map(|to| to.display().to_string());
            Err(TransferError::LinkWithSlash { place: written.text.clone(), to })
        }
        _ => Ok(()),
    }
}

/// Whether something else is mounted below a folder of this machine, which would be emptied with it.
///
/// # Errors
/// [`TransferError::TooMuch`] if so.
pub fn nothing_mounted(place: &Place) -> Result<(), TransferError> {
    let Place::Local(path) = place else { return Ok(()) };
    match mounted_below(path).first() {
        Some(mount) => {
            let reason = format!("`{}` is mounted in it", mount.display());
            Err(TransferError::TooMuch { place: place.shown(), reason })
        }
        None => Ok(()),
    }
}

/// Whether a place is too much to be deleted in one go.
///
/// # Errors
/// [`TransferError::TooMuch`] if so.
pub fn not_too_much(place: &Place, text: &str) -> Result<(), TransferError> {
    let refused = |reason: &str| Err(TransferError::TooMuch { place: text.to_owned(), reason: reason.to_owned() });
    match place {
        Place::Bucket { key, .. } => {
            // `a/..` means nothing in a bucket, but whoever wrote it meant something.
            if key.trim_matches('/').is_empty() {
                return refused("it is the whole bucket");
            }
            Ok(())
        }
        Place::Local(path) => {
            let real_path = real(path);
            if real_path.components().count() <= 2 {
                return refused("it is the root of this machine, or lies directly below it");
            }
            let holds = |inner: Option<PathBuf>| inner.is_some_and(|inner| real(&inner).starts_with(&real_path));
            if holds(std::env::var_os("HOME").map(PathBuf::from)) {
                return refused("your home is in it");
            }
            if holds(std::env::current_dir().ok()) {
                return refused("the folder that you are in is in it");
            }
            Ok(())
        }
        Place::Web(location) => {
            Err(TransferError::NotWritable { place: location.to_string(), reason: "nothing can be deleted there" })
        }
    }
}
