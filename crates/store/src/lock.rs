//! Keeping two writers of one store apart.
//!
//! The lock is the operating system's, so it dies with its process. Parts of one plan share it: the lock file names
//! the plan, and holders of the same plan lock it together.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::error::StoreError;

/// A lock file is made, locked and found removed by its last holder at most this often before we give up.
const MOST_TRIES: usize = 100;

/// A held lock; dropped, it is free again. The file stays until [`Lock::remove`].
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

/// With whom a lock may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing<'a> {
    /// With nobody.
    Alone,
    /// With those who work on this plan.
    Plan(&'a str),
}

impl Lock {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn take(path: &Path, sharing: Sharing<'_>) -> Result<Self, StoreError> {
        let failed = |error| StoreError::writing(path, 0, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        for _ in 0..MOST_TRIES {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => match Self::join(path, file, sharing)? {
                    Some(lock) => return Ok(lock),
                    None => continue,
                },
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
            if let Sharing::Plan(_) = sharing {
                // From exclusive to shared: others of the plan may come in.
                file.try_lock_shared().map_err(|_| StoreError::Locked { path: path.to_owned() })?;
            }
            return Ok(Self { path: path.to_owned(), file });
        }
        Err(StoreError::Locked { path: path.to_owned() })
    }

    /// Joins the holders of the same plan. `None`: the file went away in between.
    fn join(path: &Path, file: File, sharing: Sharing<'_>) -> Result<Option<Self>, StoreError> {
        let locked = || StoreError::Locked { path: path.to_owned() };
        let Sharing::Plan(wanted) = sharing else { return Err(locked()) };
        file.try_lock_shared().map_err(|_| locked())?;
        if !is_still_at(&file, path) {
            return Ok(None);
        }
        let mut name = String::new();
        (&file).read_to_string(&mut name).map_err(|error| StoreError::writing(path, 0, error))?;
        if name == wanted { Ok(Some(Self { path: path.to_owned(), file })) } else { Err(locked()) }
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
        let alone = Lock::take(&path, Sharing::Alone).unwrap();
        assert!(matches!(Lock::take(&path, Sharing::Plan("a")), Err(StoreError::Locked { .. })));
        alone.remove().unwrap();
        let first = Lock::take(&path, Sharing::Plan("a")).unwrap();
        let second = Lock::take(&path, Sharing::Plan("a")).unwrap();
        assert!(matches!(Lock::take(&path, Sharing::Plan("b")), Err(StoreError::Locked { .. })));
        assert!(matches!(Lock::take(&path, Sharing::Alone), Err(StoreError::Locked { .. })));
        first.remove().unwrap();
        assert!(matches!(Lock::take(&path, Sharing::Alone), Err(StoreError::Locked { .. })), "the second still works");
        second.remove().unwrap();
        assert!(!path.exists());
    }
}
