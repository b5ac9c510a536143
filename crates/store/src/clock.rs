//! What time it is where a folder lies.
//!
//! Files are as old as the clock of their file system says, and that may be another machine's. So a file is made there, and
//! asked how old it is; nobody sees it where the system knows files without names.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::error::StoreError;

/// What time it is by the clock that dates files of a folder, in seconds since 1970.
///
/// # Errors
/// If nothing can be written there, so that nobody can tell.
pub fn folder_seconds(folder: &Path) -> Result<u64, StoreError> {
    let failed = |error| StoreError::writing(folder, 0, error);
    if let Some(file) = nameless(folder) {
        return seconds(&file).map_err(failed);
    }
    let path = folder.join(format!(".frazil-clock-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    let now = seconds(&file);
    fs::remove_file(&path).map_err(failed)?;
    now.map_err(failed)
}

fn seconds(mut file: &File) -> std::io::Result<u64> {
    // Some file systems date a file by its first byte.
    std::io::Write::write_all(&mut file, b"?")?;
    Ok(u64::try_from(file.metadata()?.mtime()).unwrap_or(0))
}

#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(CWD, folder, flags, Mode::from_raw_mode(0o600)).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn nameless(_folder: &Path) -> Option<File> {
    None
}
