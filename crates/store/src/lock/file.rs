//! Keeping two writers of one folder of this machine apart.
//!
//! The lock is the operating system's, so it dies with its process. Parts of one plan share it: the lock file names
//! the plan, and holders of the same plan lock it together.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Sharing;
use crate::error::StoreError;

/// A lock file is made, locked and found removed by its last holder at most this often before we give up.
const MOST_TRIES: usize = 100;

/// Between two tries to join others of a plan.
const PAUSE: Duration = Duration::from_millis(5);

/// A held lock; dropped, it is free again. The file stays until [`FileLock::remove`].
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
    file: File,
}

impl FileLock {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn take(path: &Path, sharing: Sharing<'_>) -> Result<Self, StoreError> {
        let failed = |error| StoreError::writing(path, 0, error);
        let locked = || StoreError::Locked { place: path.display().to_string(), by: String::new() };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        for _ in 0..MOST_TRIES {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let Sharing::Plan(wanted) = sharing else { return Err(locked()) };
                    // The first of a plan has it alone for a moment, while it writes the plan's name.
                    if file.try_lock_shared().is_err() {
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                    match Self::join(path, file, wanted)? {
                        Some(lock) => return Ok(lock),
                        None => continue,
                    }
                }
                Err(TryLockError::Error(source)) => return Err(StoreError::NoLocks { path: path.to_owned(), source }),
            }
            if !is_still_at(&file, path) {
                continue;
            }
            let name = match sharing {
                Sharing::Alone => "",
                Sharing::Plan(name) => name,
            };
            file.set_len(0).and_then(|()| (&file).write_all(name.as_bytes())).map_err(failed)?;
            let Sharing::Plan(wanted) = sharing else { return Ok(Self { path: path.to_owned(), file }) };
            // From exclusive to shared: others of the plan may come in. The system frees the one before it gives the
            // other, so somebody may have come in between.
            if file.try_lock_shared().is_ok()
                && let Some(lock) = Self::join(path, file, wanted)?
            {
                return Ok(lock);
            }
            std::thread::sleep(PAUSE);
        }
        Err(locked())
    }

    /// Joins the holders of the plan `wanted`, with whom `file` is locked. `None`: the file went away in between, or
    /// its holder ended before it wrote a name.
    fn join(path: &Path, mut file: File, wanted: &str) -> Result<Option<Self>, StoreError> {
        if !is_still_at(&file, path) {
            return Ok(None);
        }
        let failed = |error| StoreError::writing(path, 0, error);
        let mut name = String::new();
        file.rewind().map_err(failed)?;
        file.read_to_string(&mut name).map_err(failed)?;
        if name == wanted {
            return Ok(Some(Self { path: path.to_owned(), file }));
        }
        if name.is_empty() {
            Ok(None)
        } else {
            Err(StoreError::Locked { place: path.display().to_string(), by: String::new() })
        }
    }

    /// The folder that the file lies in has moved: it is now at `path`.
    #[must_use]
    pub fn moved_to(self, path: &Path) -> Self {
        Self { path: path.to_owned(), file: self.file }
    }

    /// Takes the file away and frees the lock. While others of the plan hold it, the file stays for them.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(self) -> Result<(), StoreError> {
        if self.file.try_lock().is_ok() && is_still_at(&self.file, &self.path) {
            fs::remove_file(&self.path).map_err(|error| StoreError::writing(&self.path, 0, error))?;
        }
        Ok(())
    }
}

/// Whether some process holds the lock at `path`; nobody does where no file is.
pub(super) fn is_held(path: &Path) -> Result<bool, StoreError> {
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::writing(path, 0, error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(StoreError::NoLocks { path: path.to_owned(), source }),
    }
}

/// Whether `path` still names the open file: its last holder may have removed it while we waited.
fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_keeps_the_other_out_and_parts_of_a_plan_come_in() {
        let path = std::env::temp_dir().join(format!("frazil-lock-{}", std::process::id()));
        let alone = FileLock::take(&path, Sharing::Alone).unwrap();
        assert!(matches!(FileLock::take(&path, Sharing::Plan("a")), Err(StoreError::Locked { .. })));
        alone.remove().unwrap();
        let first = FileLock::take(&path, Sharing::Plan("a")).unwrap();
        let second = FileLock::take(&path, Sharing::Plan("a")).unwrap();
        assert!(matches!(FileLock::take(&path, Sharing::Plan("b")), Err(StoreError::Locked { .. })));
        assert!(matches!(FileLock::take(&path, Sharing::Alone), Err(StoreError::Locked { .. })));
        first.remove().unwrap();
        assert!(
            matches!(FileLock::take(&path, Sharing::Alone), Err(StoreError::Locked { .. })),
            "the second still works"
        );
        second.remove().unwrap();
        assert!(!path.exists());
    }
    #[test]
    fn parts_that_begin_at_the_same_moment_all_come_in() {
        let path = std::env::temp_dir().join(format!("frazil-lock-together-{}", std::process::id()));
        for _ in 0..20 {
            let locks: Vec<FileLock> = std::thread::scope(|scope| {
                let take = || FileLock::take(&path, Sharing::Plan("a"));
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
            });
            for lock in locks {
                lock.remove().unwrap();
            }
            assert!(!path.exists());
        }
    }
}
