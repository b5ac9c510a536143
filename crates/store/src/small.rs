//! Small texts of folders that others may write to.
//!
//! It promises that only a file is read, and no more of it than was asked for: no link is followed, no pipe waited for and
//! no device drained, whatever somebody put under the name.

use std::{
    fs::File,
    io::{Error, ErrorKind, Read},
    path::Path,
};

use frazil_model::location::Location;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::error::StoreError;

/// A file of text of at most `limit_bytes`; `None` if nothing has the name.
///
/// # Errors
/// [`StoreError::TooLarge`] if it is larger; [`StoreError::Read`] with `InvalidData` if what has the name is no file, or no
/// text.
pub fn text(path: &Path, limit_bytes: u64) -> Result<Option<String>, StoreError> {
    let location = || Location::File(path.display().to_string());
    let no_file = |reason| StoreError::reading(&location(), Error::new(ErrorKind::InvalidData, reason));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP) => return Err(no_file("it is a link")),
        Err(Errno::NXIO) => return Err(no_file("it is a pipe, a socket or a device")),
        Err(error) => return Err(StoreError::reading(&location(), error.into())),
    };
    let failed = |error| StoreError::reading(&location(), error);
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(no_file("it is a folder, a pipe, a socket or a device"));
    }
    let mut bytes = Vec::new();
    (&file).take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(StoreError::TooLarge { location: location(), limit_bytes });
    }
    String::from_utf8(bytes).map(Some).map_err(|_| no_file("it is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_read_and_no_more_than_was_asked_for() {
        let folder = std::env::temp_dir().join(format!("frazil-small-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        std::fs::write(folder.join("file"), "four").unwrap();
        std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
        assert_eq!(text(&folder.join("file"), 4).unwrap().as_deref(), Some("four"));
        assert!(
            text(&folder.join("nothing"), 4).unwrap().is_none() && text(&folder.join("file/x"), 4).unwrap().is_none()
        );
        assert!(matches!(text(&folder.join("file"), 3), Err(StoreError::TooLarge { .. })));
        for name in ["link", "pipe", "folder"] {
            assert!(matches!(text(&folder.join(name), 4), Err(StoreError::Read { .. })), "{name}");
        }
        assert!(matches!(text(Path::new("/dev/zero"), 4), Err(StoreError::Read { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
