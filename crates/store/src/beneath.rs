//! Files below a folder, for names that nobody vouches for: keys of buckets, links of pages.
//!
//! It promises that nothing is read, written or removed outside of the folder, whatever a name says and whatever links
//! are put in its way meanwhile: every folder on the way is opened by itself and must not be a link. A file is seen
//! whole or not at all: it is written in a workshop below the folder and then given its name.

pub mod removal;

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, TryLockError},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat};

use crate::{
    error::StoreError,
    folder::{STAGING, leads_out, staging_name, sync_file_system},
};

/// Folders that are kept open.
const MOST_OPEN: usize = 128;

/// The longest name of a file (`NAME_MAX` of Linux file systems).
const MAX_NAME_BYTES: usize = 255;

/// A lock or the workshop is made, and found removed by another process, at most this often before we give up.
const MOST_TRIES: usize = 100;

/// A folder that is written to.
#[derive(Debug)]
pub struct Beneath {
    path: PathBuf,
    root: Arc<OwnedFd>,
    open: Mutex<HashMap<String, Arc<OwnedFd>>>,
}

/// Why a name cannot be that of a file below a folder.
#[must_use]
pub fn unsafe_name(name: &str) -> Option<&'static str> {
    let is_long = || name.split('/').any(|part| part.len() > MAX_NAME_BYTES);
    leads_out(name).or_else(|| is_long().then_some("a part of it is longer than 255 bytes"))
}

impl Beneath {
    /// The folder at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        crate::folder::Folder::new(path.to_owned()).make()?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root =
            openat(CWD, path, flags, Mode::empty()).map_err(|error| StoreError::writing(path, 0, error.into()))?;
        Ok(Self { path: path.to_owned(), root: Arc::new(root), open: Mutex::default() })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, name: &str, n_bytes: u64, error: impl Into<io::Error>) -> StoreError {
        StoreError::writing(&self.path.join(name), n_bytes, error.into())
    }

    fn checked<'a>(&self, name: &'a str) -> Result<(&'a str, &'a str), StoreError> {
        match unsafe_name(name) {
            Some(reason) => Err(StoreError::UnsafeKey { key: name.to_owned(), reason }),
            None => Ok(name.rsplit_once('/').unwrap_or(("", name))),
        }
    }

    /// Opens a folder below, part by part; makes what is missing if `missing` says so.
    fn folder(&self, name: &str, missing: Missing) -> io::Result<Option<Arc<OwnedFd>>> {
        if name.is_empty() {
            return Ok(Some(Arc::clone(&self.root)));
        }
        if let Some(folder) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Some(Arc::clone(folder)));
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let mut at = Arc::clone(&self.root);
        for part in name.split('/') {
            let mut found = openat(&*at, part, flags, Mode::empty());
            if matches!(found, Err(rustix::io::Errno::NOENT)) {
                if missing == Missing::Leave {
                    return Ok(None);
                }
                match mkdirat(&*at, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                found = openat(&*at, part, flags, Mode::empty());
            }
            at = match found {
                Ok(folder) => Arc::new(folder),
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) if missing == Missing::Leave => {
                    return Ok(None);
                }
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                    let reason = match statat(&*at, part, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(about) if FileType::from_raw_mode(about.st_mode) == FileType::Symlink => {
                            format!("`{part}` is a link, and links are not written through")
                        }
                        _ => format!("`{part}` is a file, and nothing can lie below it"),
                    };
                    return Err(io::Error::new(io::ErrorKind::NotADirectory, reason));
                }
                Err(error) => return Err(error.into()),
            };
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MOST_OPEN {
            open.clear();
        }
        open.insert(name.to_owned(), Arc::clone(&at));
        Ok(Some(at))
    }

    fn made(&self, name: &str) -> io::Result<Arc<OwnedFd>> {
        self.folder(name, Missing::Make)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What has a name, links not followed; `None` if nothing has.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn about(&self, name: &str) -> Result<Option<Kind>, StoreError> {
        let (folder, file) = self.checked(name)?;
        let Some(at) = self.folder(folder, Missing::Leave).map_err(|error| self.failed(name, 0, error))? else {
            return Ok(None);
        };
        match statat(&*at, file, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(name, 0, error)),
            Ok(about) => Ok(Some(match FileType::from_raw_mode(about.st_mode) {
                FileType::RegularFile => {
                    // Opened by the folder it lies in, so that it is the file that was looked at.
                    let opened = openat(&*at, file, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
                    match opened.map(File::from).and_then(|open| open.metadata().map_err(|_| rustix::io::Errno::IO)) {
                        Ok(about) => Kind::File(about),
                        Err(_) => Kind::Other,
                    }
                }
                FileType::Directory => Kind::Folder,
                _ => Kind::Other,
            })),
        }
    }

    /// Writes a file whole. Its bytes are on the disk after the next [`Self::sync_all`].
    ///
    /// # Errors
    /// [`StoreError::UnsafeKey`] if the name leads out of the folder; [`StoreError::Full`], [`StoreError::Write`].
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.checked(name)?;
        let staged = staging_name();
        let mut file = self.stage(&staged)?;
        let written = file.write_all(bytes).map_err(|error| self.failed(name, bytes.len() as u64, error));
        if let Err(error) = written {
            self.drop_staged(&staged);
            return Err(error);
        }
        self.publish(&staged, name).inspect_err(|_| self.drop_staged(&staged))
    }

    /// Opens a file of the workshop, as it was left if it is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn stage(&self, staged: &str) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let opened = self.made(STAGING).and_then(|at| Ok(openat(&*at, staged, flags, Mode::from_raw_mode(0o666))?));
            match opened {
                // Another process that writes below the same folder took the workshop away when nothing was in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound && n_tries < MOST_TRIES => {
                    self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(STAGING);
                }
                opened => return opened.map(File::from).map_err(|error| self.failed(staged, 0, error)),
            }
        }
    }

    /// The bytes of a file of the workshop, if it is there.
    #[must_use]
    pub fn staged(&self, staged: &str) -> Option<Vec<u8>> {
        fs::read(self.path.join(STAGING).join(staged)).ok()
    }

    /// Gives a file of the workshop its name.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub fn publish(&self, staged: &str, name: &str) -> Result<(), StoreError> {
        let (folder, file) = self.checked(name)?;
        let from = self.made(STAGING).map_err(|error| self.failed(name, 0, error))?;
        let to = self.made(folder).map_err(|error| self.failed(name, 0, error))?;
        renameat(&*from, staged, &*to, file).map_err(|error| match error {
            rustix::io::Errno::ISDIR | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST => {
                let reason = "a folder has this name, and a file cannot take its place";
                self.failed(name, 0, io::Error::new(io::ErrorKind::IsADirectory, reason))
            }
            error => self.failed(name, 0, error),
        })
    }

    /// Removes a file of the workshop.
    pub fn drop_staged(&self, staged: &str) {
        if let Ok(at) = self.made(STAGING) {
            // What cannot be removed is removed by the next run.
            let _ = unlinkat(&*at, staged, AtFlags::empty());
        }
    }

    /// Removes the files of the workshop whose names begin with `start`, but for those that begin with `kept`.
    pub fn drop_staged_but(&self, start: &str, kept: &str) {
        let Ok(entries) = fs::read_dir(self.path.join(STAGING)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(start) && !name.starts_with(kept) {
                self.drop_staged(&name);
            }
        }
    }

    /// Removes a file or a link, and the folders above it that are empty then.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let (folder, file) = self.checked(name)?;
        let Some(at) = self.folder(folder, Missing::Leave).map_err(|error| self.failed(name, 0, error))? else {
            return Ok(());
        };
        match unlinkat(&*at, file, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(self.failed(name, 0, error)),
        }
        self.remove_empty(folder);
        Ok(())
    }

    /// Locks a file, which is made if it is not there. The lock is the operating system's and dies with its process.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it; [`StoreError::NoLocks`] if the file system has none.
    pub fn lock(&self, name: &str) -> Result<File, StoreError> {
        let (folder, file) = self.checked(name)?;
        let locked = || StoreError::Locked { place: self.path.join(name).display().to_string(), by: String::new() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..MOST_TRIES {
            let at = self.made(folder).map_err(|error| self.failed(name, 0, error))?;
            let opened = match openat(&*at, file, flags, Mode::from_raw_mode(0o666)) {
                // Whoever held it before took the folder away, too.
                Err(rustix::io::Errno::NOENT) => {
                    self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
                    continue;
                }
                opened => File::from(opened.map_err(|error| self.failed(name, 0, error))?),
            };
            match opened.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(locked()),
                Err(TryLockError::Error(source)) => {
                    return Err(StoreError::NoLocks { path: self.path.join(name), source });
                }
            }
            let about = opened.metadata().map_err(|error| self.failed(name, 0, error))?;
            match statat(&*at, file, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if named.st_ino == about.ino() => return Ok(opened),
                // It was removed while we waited.
                _ => {}
            }
        }
        Err(locked())
    }

    /// Takes away the file of a lock, and frees it.
    pub fn unlock(&self, name: &str, lock: File) {
        // What cannot be removed is locked by nobody once it is closed.
        let _ = self.remove(name);
        drop(lock);
    }

    /// Removes a folder and those above it as long as they are empty.
    pub fn remove_empty(&self, folder: &str) {
        let mut folder = folder;
        while !folder.is_empty() {
            let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            let Ok(Some(at)) = self.folder(above, Missing::Leave) else { return };
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
            if unlinkat(&*at, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            folder = above;
        }
    }

    /// Makes everything that was written survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync_all(&self) -> Result<(), StoreError> {
        sync_file_system(&*self.root).map_err(|error| self.failed("", 0, error))
    }

    /// Clears the workshop of what processes left that have ended, and removes it if nothing is in it.
    pub fn tidy(&self) {
        let Ok(entries) = fs::read_dir(self.path.join(STAGING)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.split_once('-').and_then(|(pid, _)| pid.parse::<u32>().ok());
            let is_left =
                pid.is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists());
            if is_left {
                self.drop_staged(&name);
            }
        }
        self.remove_empty(STAGING);
    }
}

/// What has a name.
#[derive(Debug)]
pub enum Kind {
    /// A file.
    File(Metadata),
    /// A folder.
    Folder,
    /// A link, a pipe, a device.
    Other,
}

/// What is done about folders that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside() {
        let top = std::env::temp_dir().join(format!("frazil-beneath-{}", std::process::id()));
        let _ = crate::folder::remove_tree(&top);
        let folder = Beneath::open(&top.join("in")).unwrap();
        for name in ["", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\0"] {
            assert!(matches!(folder.put(name, b"x"), Err(StoreError::UnsafeKey { .. })), "{name:?}");
        }
        std::os::unix::fs::symlink(&top, top.join("in/out")).unwrap();
        assert!(folder.put("out/x", b"x").is_err());
        assert!(folder.about("out/in").unwrap().is_none());
        folder.remove("out/in").unwrap();
        folder.put("a/b/c", b"whole").unwrap();
        folder.put("out", b"a link is replaced, not followed").unwrap();
        folder.tidy();
        assert_eq!(fs::read(top.join("in/a/b/c")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(&top).unwrap().count(), 1, "only the folder itself");
        folder.remove("a/b/c").unwrap();
        assert!(!top.join("in/a").exists() && !top.join("in/.frazil").exists());
        crate::folder::remove_tree(&top).unwrap();
    }
}
