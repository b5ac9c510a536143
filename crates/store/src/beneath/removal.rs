//! Removing from a folder of this machine what was seen there, and nothing else.
//!
//! It promises that the folder is the one that was looked at, that a file goes only in the state in which it was seen, and
//! that nothing goes behind a link or on another file system that came in between. What was written there meanwhile stays,
//! with the folders above it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use frazil_model::location::Location;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat, unlinkat},
    io::Errno,
};

use super::{Beneath, Missing};
use crate::{
    error::StoreError,
    folder::STAGING,
    read::{Fingerprint, fingerprint_of},
};

/// Folders within folders that are looked through.
const MAX_DEPTH: usize = 512;

/// What tells one folder of this machine from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    /// That of a file or a folder that was looked at.
    #[must_use]
    pub fn of(about: &Metadata) -> Self {
        Self { device: about.dev(), number: about.ino() }
    }
}

/// The places below a folder where others are mounted, those of the same file system included.
#[must_use]
pub fn mounted_below(folder: &Path) -> Vec<PathBuf> {
    let (Ok(folder), Ok(mounts)) = (fs::canonicalize(folder), fs::read_to_string("/proc/self/mountinfo")) else {
        return Vec::new();
    };
    // proc(5): the fifth word is where it is mounted, with spaces and the like in octal digits.
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|word| PathBuf::from(unescaped(word)));
    let mut below: Vec<PathBuf> = places.filter(|place| *place != folder && place.starts_with(&folder)).collect();
    below.sort();
    below
}

fn unescaped(word: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Something that is still there, with the reason.
pub type Left = (String, StoreError);

/// A folder from which things are removed.
#[derive(Debug)]
pub struct Removal {
    folder: Beneath,
    identity: Identity,
}

impl Removal {
    /// Opens the folder at `path`, which must be the one that was seen.
    ///
    /// # Errors
    /// If it is another one by now, or cannot be opened.
    pub fn open(path: &Path, seen: Identity) -> Result<Self, StoreError> {
        // A link in its place leads to another one, whatever was seen through it.
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let failed = |error: io::Error| StoreError::writing(path, 0, error);
        let root = File::from(openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
        let identity = Identity::of(&root.metadata().map_err(failed)?);
        if identity != seen {
            return Err(stays(path.to_owned(), "another folder has its name by now"));
        }
        let open = Mutex::new(HashMap::new());
        Ok(Self { folder: Beneath { path: path.to_owned(), root: Arc::new(root.into()), open }, identity })
    }

    fn stays(&self, name: &str, reason: &str) -> StoreError {
        stays(self.folder.path.join(name), reason)
    }

    fn failed(&self, name: &str, error: impl Into<io::Error>) -> StoreError {
        self.folder.failed(name, 0, error)
    }

    /// Removes a file that is as it was seen, or, without a `mark`, a link or whatever else is no file. It is no error if
    /// it is gone.
    ///
    /// # Errors
    /// If it is another one by now, lies elsewhere, or cannot be removed.
    pub fn remove(&self, name: &str, mark: Option<&Fingerprint>) -> Result<(), StoreError> {
        let (above, file) = self.folder.checked(name)?;
        let opened = self.folder.folder(above, Missing::Leave).map_err(|error| self.failed(name, error))?;
        let Some(at) = opened else {
            return match self.folder.path.join(above).symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                _ => Err(self.stays(name, "a folder above it is a link or a file by now")),
            };
        };
        self.check_file_system(&at, name)?;
        match statat(&*at, file, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed(name, error)),
            Ok(about) if is_as_seen(&about, mark) => {}
            Ok(_) => return Err(self.stays(name, WRITTEN)),
        }
        match unlinkat(&*at, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// Whether a folder is on the file system of the folder that was opened, and nothing is mounted there.
    fn check_file_system(&self, at: &OwnedFd, name: &str) -> Result<(), StoreError> {
        let about =
            at.try_clone().and_then(|at| File::from(at).metadata()).map_err(|error| self.failed(name, error))?;
        let here = Identity::of(&about);
        match here == self.identity || (here.device == self.identity.device && !is_mounted(at)) {
            true => Ok(()),
            false => Err(self.stays(name, "another file system is mounted above it by now")),
        }
    }

    /// Removes the folders that are empty by now, the folder itself last, and what `odd` says of names that are no text.
    /// Answers what is still there.
    #[must_use]
    pub fn finish(self, odd: Odd) -> Vec<Left> {
        let mut left = Vec::new();
        self.clear_workshop();
        let root = Arc::clone(&self.folder.root);
        let takes = if odd == Odd::Goes { Takes::OddNames } else { Takes::Nothing };
        if self.prune(&root, "", 0, takes, &mut left)
            && let Err(error) = fs::remove_dir(&self.folder.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            left.push((String::new(), self.failed("", error)));
        }
        left
    }

    /// What runs left unfinished is seen by nobody, and goes with the rest.
    fn clear_workshop(&self) {
        let Ok(Some(at)) = self.folder.folder(STAGING, Missing::Leave) else { return };
        let Ok(entries) = Dir::read_from(&*at) else { return };
        for entry in entries.flatten() {
            // What stays is told of when the folders go.
            let _ = unlinkat(&*at, entry.file_name(), AtFlags::empty());
        }
    }

    /// Removes the empty folders below one, and what it `takes` besides. Answers whether nothing is left in it.
    fn prune(&self, at: &OwnedFd, below: &str, depth: usize, takes: Takes, left: &mut Vec<Left>) -> bool {
        let entries = match Dir::read_from(at).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => {
                left.push((below.to_owned(), self.failed(below, error)));
                return false;
            }
        };
        let n_left = left.len();
        for entry in entries.iter().filter(|entry| ![c".", c".."].contains(&entry.file_name())) {
            let file = entry.file_name();
            let text = file.to_string_lossy();
            let is_odd = matches!(text, Cow::Owned(_));
            let name = if below.is_empty() { text.into_owned() } else { format!("{below}/{text}") };
            // What lies in a folder with a name that is no text was seen with it, as one thing.
            let takes = if is_odd && takes == Takes::OddNames { Takes::All } else { takes };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            let emptied = match openat(at, file, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR | Errno::LOOP) if takes == Takes::All => {
                    unlinkat(at, file, AtFlags::empty()).map(|()| false).map_err(|error| self.failed(&name, error))
                }
                Err(Errno::NOTDIR | Errno::LOOP) => Err(self.stays(&name, "it came there meanwhile")),
                Err(error) => Err(self.failed(&name, error)),
                Ok(_) if depth >= MAX_DEPTH => Err(self.stays(&name, "it lies too deep")),
                Ok(folder) => {
                    let inner = self.check_file_system(&folder, &name);
                    inner.map(|()| self.prune(&folder, &name, depth + 1, takes, left))
                }
            };
            let removed = emptied.and_then(|is_empty| match is_empty {
                true => match unlinkat(at, file, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(self.failed(&name, error)),
                },
                // It was no folder, or what is left in it was told of.
                false => Ok(()),
            });
            if let Err(error) = removed {
                left.push((name, error));
            }
        }
        left.len() == n_left
    }
}

/// What becomes of files and folders whose names are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// They were seen, and go.
    Goes,
    /// Nobody saw them.
    Stays,
}

/// What goes besides empty folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    OddNames,
    All,
}

const WRITTEN: &str = "it was written to since it was looked at";

fn is_as_seen(about: &Stat, mark: Option<&Fingerprint>) -> bool {
    let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
    let Some(mark) = mark else { return !is_file };
    // As `fingerprint_of` has it.
    let state = format!(
        "{}.{:09}/{}.{:09}/{}",
        about.st_mtime, about.st_mtime_nsec, about.st_ctime, about.st_ctime_nsec, about.st_ino
    );
    is_file && u64::try_from(about.st_size) == Ok(mark.size_bytes) && state == mark.state
}

#[cfg(target_os = "linux")]
fn is_mounted(at: &OwnedFd) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    // Kernels before 5.8 do not say; there other devices alone are told apart.
    statx(at, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|about| about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
const fn is_mounted(_at: &OwnedFd) -> bool {
    false
}

/// Removes a file that is as it was seen, or, without a `mark`, a link or whatever else is no file and no folder.
///
/// # Errors
/// As for [`Removal::remove`].
pub fn remove_one(path: &Path, mark: Option<&Fingerprint>) -> Result<(), StoreError> {
    let failed = |error| StoreError::writing(path, 0, error);
    let about = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about.map_err(failed)?,
    };
    let is_as_seen = match mark {
        Some(mark) => about.is_file() && *mark == fingerprint_of(&about),
        None => !about.is_file() && !about.is_dir(),
    };
    match is_as_seen {
        true => fs::remove_file(path).map_err(failed),
        false => Err(stays(path.to_owned(), WRITTEN)),
    }
}

fn stays(path: PathBuf, reason: &str) -> StoreError {
    StoreError::Stays { location: Location::File(path.display().to_string()), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let top = std::env::temp_dir().join(format!("frazil-removal-{name}-{}", std::process::id()));
            let _ = crate::folder::remove_tree(&top);
            fs::create_dir_all(top.join("a/sub/deep")).unwrap();
            for file in ["a/one", "a/sub/two", "a/sub/deep/three"] {
                fs::write(top.join(file), b"x").unwrap();
            }
            Self(top)
        }

        fn removal(&self) -> Removal {
            let path = self.0.join("a");
            Removal::open(&path, Identity::of(&path.metadata().unwrap())).unwrap()
        }

        fn mark(&self, name: &str) -> Fingerprint {
            fingerprint_of(&self.0.join("a").join(name).metadata().unwrap())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = crate::folder::remove_tree(&self.0);
        }
    }

    #[test]
    fn what_was_seen_goes_with_the_folders_that_are_empty_then() {
        let place = Place::new("all");
        let removal = place.removal();
        for name in ["one", "sub/two", "sub/deep/three"] {
            removal.remove(name, Some(&place.mark(name))).unwrap();
        }
        assert!(removal.finish(Odd::Stays).is_empty());
        assert!(!place.0.join("a").exists());
    }

    #[test]
    fn what_was_written_meanwhile_stays() {
        let place = Place::new("written");
        let (removal, mark) = (place.removal(), place.mark("one"));
        fs::write(place.0.join("a/one"), b"other").unwrap();
        fs::write(place.0.join("a/sub/new"), b"new").unwrap();
        assert!(removal.remove("one", Some(&mark)).is_err());
        removal.remove("sub/two", Some(&place.mark("sub/two"))).unwrap();
        removal.remove("sub/deep/three", Some(&place.mark("sub/deep/three"))).unwrap();
        let mut left: Vec<String> = removal.finish(Odd::Stays).into_iter().map(|(name, _)| name).collect();
        left.sort();
        assert_eq!(left, ["one", "sub/new"]);
        assert!(place.0.join("a/sub/new").exists() && !place.0.join("a/sub/deep").exists());
    }

    #[test]
    fn a_link_that_came_in_between_leads_nowhere() {
        let place = Place::new("link");
        let (removal, mark) = (place.removal(), place.mark("sub/two"));
        fs::rename(place.0.join("a/sub"), place.0.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(place.0.join("elsewhere"), place.0.join("a/sub")).unwrap();
        assert!(removal.remove("sub/two", Some(&mark)).is_err());
        assert!(place.0.join("elsewhere/two").exists());
    }

    #[test]
    fn another_folder_of_the_name_is_not_touched() {
        let place = Place::new("other");
        let seen = Identity::of(&place.0.join("a").metadata().unwrap());
        fs::rename(place.0.join("a"), place.0.join("b")).unwrap();
        fs::create_dir(place.0.join("a")).unwrap();
        assert!(Removal::open(&place.0.join("a"), seen).is_err());
    }

    #[test]
    fn names_that_are_no_text_go_if_they_were_seen() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let place = Place::new("odd");
        let odd = place.0.join("a/sub").join(OsStr::from_bytes(b"odd\xff"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("inner"), b"x").unwrap();
        fs::write(place.0.join("a").join(OsStr::from_bytes(b"\xfe")), b"x").unwrap();
        let mut left: Vec<String> = place.removal().finish(Odd::Goes).into_iter().map(|(name, _)| name).collect();
        left.sort();
        assert_eq!(left, ["one", "sub/deep/three", "sub/two"]);
        assert!(!odd.exists() && place.removal().finish(Odd::Stays).len() == 3);
    }

    #[test]
    fn words_of_mounts_are_read() {
        assert_eq!(unescaped(r"/a\040b\134c\011"), "/a b\\c\t");
        assert_eq!(unescaped(r"/plain\9"), r"/plain\9");
    }
}
