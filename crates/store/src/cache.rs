//! Small files in the user's cache folder: what earlier runs found, for the next ones.
//!
//! It promises that whoever reads meets all of a file or none of it, that a damaged, foreign or older one is as good
//! as none, that no failure here stops a run, and that all files together stay within a bound. It does not know what
//! they hold.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use frazil_model::location::Location;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the checksum behind the sixteen with which a file begins.
const CHECKSUM_BYTES: usize = 32;

/// What a kind of file begins with. It changes with whatever such a file holds.
pub type Magic = [u8; 16];

/// Where files of one kind are kept: `$FRAZIL_CACHE`, else `frazil` in the user's cache folder. An empty name means
/// nowhere.
#[must_use]
pub fn folder(kind: &str) -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = match named("FRAZIL_CACHE") {
        Some(folder) => folder,
        None => match named("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
            Some(folder) => folder.join("frazil"),
            None => named("HOME").filter(|home| home.is_absolute())?.join(".cache/frazil"),
        },
    };
    (!folder.as_os_str().is_empty()).then(|| folder.join(kind))
}

/// The folder of a file, absolute, and its name there. What an address says after `?` may be a key that nobody else
/// should see, so only its digest is kept.
#[must_use]
pub fn parts(location: &Location) -> Option<(String, String)> {
    match location {
        Location::File(path) => {
            let path = std::path::absolute(path).ok()?;
            Some((path.parent()?.to_str()?.to_owned(), path.file_name()?.to_str()?.to_owned()))
        }
        Location::Http(address) => {
            let (plain, query) = address.split_once('?').map_or((address.as_str(), None), |(a, b)| (a, Some(b)));
            let (folder, file) = plain.rsplit_once('/')?;
            let query = query.map(|query| format!("?{}", blake3::hash(query.as_bytes()).to_hex()));
            Some((folder.to_owned(), format!("{file}{}", query.unwrap_or_default())))
        }
        // Another server may have the same names; the entity tags of its objects are others, and they are compared.
        Location::Object(object) => {
            let place = object.to_string();
            let (folder, file) = place.rsplit_once('/')?;
            Some((folder.to_owned(), file.to_owned()))
        }
    }
}

/// The file that is kept about `folder`.
#[must_use]
pub fn file(cache: &Path, folder: &str, ending: &str) -> PathBuf {
    cache.join(format!("{}.{ending}", blake3::hash(folder.as_bytes()).to_hex()))
}

/// Reads a file; nothing if it is not there, larger than `most_bytes`, damaged, or of another kind.
#[must_use]
pub fn read<T: DeserializeOwned>(path: &Path, magic: &Magic, most_bytes: u64) -> Option<T> {
    if std::fs::metadata(path).ok()?.len() > most_bytes {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (head, body) = bytes.split_at_checked(magic.len() + CHECKSUM_BYTES)?;
    let (begin, checksum) = head.split_at_checked(magic.len())?;
    if begin != magic || blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    postcard::from_bytes(body).ok()
}

/// Writes a file: to another name first. Says whether it did.
pub fn write<T: Serialize>(path: &Path, magic: &Magic, what: &T) -> bool {
    let Ok(body) = postcard::to_allocvec(what) else { return false };
    let Some(folder) = path.parent() else { return false };
    if std::fs::create_dir_all(folder).is_err() {
        return false;
    }
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(magic)?;
        file.write_all(blake3::hash(&body).as_bytes())?;
        file.write_all(&body)
    });
    let is_done = written.and_then(|()| std::fs::rename(&temporary, path)).is_ok();
    if !is_done {
        let _ = std::fs::remove_file(&temporary);
    }
    is_done
}

/// Removes the oldest files of an ending while all together are larger than `most_bytes`.
pub fn prune(cache: &Path, ending: &str, most_bytes: u64) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some((about.modified().ok()?, about.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|(_, n_bytes, _)| n_bytes).sum();
    for (_, n_bytes, path) in files {
        if total <= most_bytes {
            return;
        }
        let is_ours = path.extension().is_some_and(|end| end == ending || end == "new");
        if is_ours && std::fs::remove_file(&path).is_ok() {
            total -= n_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_an_address_is_not_kept() {
        let (folder, file) = parts(&Location::Http("https://host/data/a.nc?token=secret".into())).unwrap();
        assert_eq!(folder, "https://host/data");
        assert!(file.starts_with("a.nc?") && !file.contains("secret"));
    }

    #[test]
    fn what_is_damaged_or_of_another_kind_is_as_good_as_none() {
        let home = std::env::temp_dir().join(format!("frazil-cache-{}", std::process::id()));
        let path = file(&home, "/data", "index");
        let (magic, other) = (b"one kind of file", b"some other kind!");
        assert!(write(&path, magic, &vec![1_u64, 2]));
        assert_eq!(read(&path, magic, 1000), Some(vec![1_u64, 2]));
        assert_eq!(read::<Vec<u64>>(&path, other, 1000), None);
        assert_eq!(read::<Vec<u64>>(&path, magic, 10), None);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read::<Vec<u64>>(&path, magic, 1000), None);
        }
        prune(&home, "index", 0);
        assert!(!path.exists());
        crate::folder::remove_tree(&home).unwrap();
    }
}
