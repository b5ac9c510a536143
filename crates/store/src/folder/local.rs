//! A folder on this machine that is written to, so that no reader ever sees half a file.
//!
//! Every put is a whole file: written under a staging name, synced, renamed. A key is a relative path of plain
//! parts; nothing is ever written outside the folder. It does not know that there are other places than this machine.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use frazil_model::location::Location;

use super::{Entry, Kind, STAGING, check_key, staging_name, sync_file_system};
use crate::error::StoreError;

/// A folder of this machine.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub root: PathBuf,
}

impl Local {
    /// An error of reading something of it.
    pub fn reading(path: &Path, error: io::Error) -> StoreError {
        StoreError::reading(&Location::File(path.display().to_string()), error)
    }

    /// Makes the folder and those above it, so that their names survive a power cut. It is no error if it is there.
    ///
    /// # Errors
    /// If it cannot be made, or something else has its name.
    pub fn make(&self) -> Result<(), StoreError> {
        make_folder(&self.root)
    }

    /// The path of `key`.
    ///
    /// # Errors
    /// [`StoreError::UnsafeKey`] if the key could lead out of the folder.
    pub fn path_of(&self, key: &str) -> Result<PathBuf, StoreError> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    /// Writes `bytes` as `key`: the old file or the new one is seen, never a part.
    ///
    /// The file's bytes are on the disk when this returns; its name is, once its folder was synced ([`Self::sync`]).
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Write`]; then the old file is as it was.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_with(key, bytes, File::sync_all)
    }

    /// As [`Self::put`], but the file's bytes are on the disk only after the next [`Self::sync_all`]: thousands of
    /// small files reach it much faster together than one by one.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub fn put_for_later(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        // Elsewhere than on Linux there is no way to sync all files of a folder at once.
        self.put_with(key, bytes, if cfg!(target_os = "linux") { |_| Ok(()) } else { File::sync_all })
    }

    fn put_with(&self, key: &str, bytes: &[u8], sync: fn(&File) -> io::Result<()>) -> Result<(), StoreError> {
        let mut staged = self.stage(key, bytes.len() as u64)?;
        staged.write(bytes)?;
        staged.publish_with(sync)
    }

    /// Begins a file of `n_bytes` that is to become `key`, to be written piece by piece.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub fn stage(&self, key: &str, n_bytes: u64) -> Result<Staged, StoreError> {
        let target = self.path_of(key)?;
        let path = self.root.join(STAGING).join(staging_name());
        let file = create(&path).map_err(|error| StoreError::writing(&target, n_bytes, error))?;
        Ok(Staged { file, path, target, n_bytes, is_published: false })
    }

    /// Reads the file of `key`; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path_of(key)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Self::reading(&path, error)),
        }
    }

    /// Removes the file or folder of `key`, and what is in it. It is no error if there is none.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        remove_tree(&self.path_of(key)?)
    }

    /// Makes the names of all files in the folder of `key` survive a power cut.
    ///
    /// # Errors
    /// If the folder cannot be synced.
    pub fn sync(&self, key: Option<&str>) -> Result<(), StoreError> {
        let path = key.map_or_else(|| Ok(self.root.clone()), |key| self.path_of(key))?;
        sync_folder(&path)
    }

    /// Makes the bytes of all files that were put for later survive a power cut.
    ///
    /// # Errors
    /// If a file could not be written to the disk.
    pub fn sync_all(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.root).and_then(|folder| sync_file_system(&folder));
        synced.map_err(|error| StoreError::writing(&self.root, 0, error))
    }

    /// Every file below the folder, as keys, sorted.
    pub fn keys(&self) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| Self::reading(&folder, error))? {
                let entry = entry.map_err(|error| Self::reading(&folder, error))?;
                if entry.file_type().map_err(|error| Self::reading(&folder, error))?.is_dir() {
                    folders.push(entry.path());
                } else if let Ok(key) = entry.path().strip_prefix(&self.root) {
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// What lies directly in the folder of `key`, sorted by name; nothing if there is no such folder.
    pub fn names(&self, key: &str) -> Result<Vec<Entry>, StoreError> {
        let path = self.root.join(key);
        let reading = |error| Self::reading(&path, error);
        let mut found = Vec::new();
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(reading)?,
        };
        for entry in entries {
            let entry = entry.map_err(reading)?;
            let kind = match entry.file_type().map_err(reading)? {
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::File,
            };
            found.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        found.sort();
        Ok(found)
    }

    /// Whether anything has the name of `key`. What cannot be looked at is an error, never absent.
    pub fn exists(&self, key: &str) -> Result<bool, StoreError> {
        let path = self.path_of(key)?;
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(Self::reading(&path, error)),
        }
    }
}

/// A file that nobody sees yet.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    path: PathBuf,
    target: PathBuf,
    n_bytes: u64,
    is_published: bool,
}

impl Staged {
    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::writing(&self.target, self.n_bytes, error)
    }

    /// Writes `bytes` behind what is there.
    ///
    /// # Errors
    /// As for [`Local::put`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// Gives the file its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// As for [`Local::put`].
    pub fn publish(self) -> Result<(), StoreError> {
        self.publish_with(File::sync_all)
    }

    fn publish_with(mut self, sync: fn(&File) -> io::Result<()>) -> Result<(), StoreError> {
        sync(&self.file).map_err(|error| self.failed(error))?;
        rename(&self.path, &self.target).map_err(|error| self.failed(error))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_published {
            // What could not be finished is not left lying about; if even this fails, the next run clears staging.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lets two folders change places in one step: a reader sees the one or the other under each name.
///
/// # Errors
/// If the file system cannot do that in one step, or either is not there.
pub fn exchange(a: &Path, b: &Path) -> Result<(), StoreError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).map_err(|error| StoreError::writing(b, 0, error.into()))?;
    sync_folder(parent_of(b))
}

/// Gives a folder another name, unless something has that already.
///
/// # Errors
/// If something has it, or the folder cannot be moved there.
pub fn give_name(folder: &Path, name: &Path) -> Result<(), StoreError> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    let named = match renameat_with(CWD, folder, CWD, name, RenameFlags::NOREPLACE) {
        // Not every file system knows that condition; but none replaces a folder that has something in it.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(folder, name),
        named => named.map_err(Into::into),
    };
    named.map_err(|error| StoreError::writing(name, 0, error))?;
    sync_folder(parent_of(name))
}

/// Makes a folder's entries survive a power cut.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot sync a folder, and say so; there is nothing more that we could do.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(|error| StoreError::writing(path, 0, error)),
    }
}

/// The folder that a path lies in.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder and those above it, from the top, each synced in the one that holds it.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let failed = |level: &Path, error| Err(StoreError::writing(level, 0, error));
    let mut missing = Vec::new();
    for level in path.ancestors().map(|level| if level.as_os_str().is_empty() { Path::new(".") } else { level }) {
        match fs::metadata(level) {
            Ok(about) if about.is_dir() => break,
            Ok(_) => return failed(level, io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(level),
            Err(error) => return failed(level, error),
        }
    }
    for level in missing.into_iter().rev() {
        match fs::create_dir(level) {
            // Another process was a little faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && level.is_dir() => {}
            Err(error) => return failed(level, error),
            Ok(()) => {}
        }
        match sync_folder(parent_of(level)) {
            // A folder that may be written to and not read cannot be synced.
            Err(StoreError::Write { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Removes a file or a folder with all that is in it. A link is removed, not followed. It is no error if there is none.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(StoreError::writing(path, 0, error))
        }
        _ => Ok(()),
    }
}

/// Creates a file, and its folder where that is missing.
fn create(path: &Path) -> io::Result<File> {
    match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            File::create(path)
        }
        created => created,
    }
}

/// Renames a file, creating the target's folder where that is missing.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
            fs::rename(from, to)
        }
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_lead_out_of_the_folder() {
        let folder = Local { root: "/nowhere".into() };
        for key in ["", "/etc/passwd", "a/../../b", "./a", "a//b", "a/\0"] {
            assert!(matches!(folder.path_of(key), Err(StoreError::UnsafeKey { .. })), "{key:?}");
        }
    }

    #[test]
    fn a_folder_is_made_with_those_above_it_and_not_in_the_place_of_a_file() {
        let top = std::env::temp_dir().join(format!("frazil-made-{}", std::process::id()));
        let folder = Local { root: top.join("a/b") };
        folder.make().unwrap();
        folder.make().unwrap();
        fs::write(top.join("file"), b"").unwrap();
        assert!(matches!(Local { root: top.join("file/c") }.make(), Err(StoreError::Write { .. })));
        remove_tree(&top).unwrap();
    }

    #[test]
    fn a_put_leaves_nothing_but_the_file() {
        let root = std::env::temp_dir().join(format!("frazil-folder-{}", std::process::id()));
        let folder = Local { root: root.clone() };
        folder.put("sst/c/0/1", b"chunk").unwrap();
        assert_eq!(folder.get("sst/c/0/1").unwrap().as_deref(), Some(&b"chunk"[..]));
        assert_eq!(folder.get("sst/c/0/2").unwrap(), None);
        assert_eq!(folder.keys().unwrap(), ["sst/c/0/1"]);
        remove_tree(&root).unwrap();
    }
}
