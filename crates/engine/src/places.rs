//! What people name: files, patterns, folders, stores, addresses.
//!
//! A pattern or a folder becomes the files in it, sorted by name. It promises that a Zarr store is one thing, however
//! many files it has, and that neither a loop of links nor a strange pattern keeps it from ending.

use std::{io::Read, os::unix::fs::MetadataExt, path::Path};

use frazil_model::{
    location::Location,
    pattern::{is_pattern, matches},
    zarr::DOCUMENTS,
};
use frazil_store::{StoreError, profile::located, read::open_regular};

use crate::{buckets::places_of, error::EngineError, store_source};

/// Folders within folders.
const MAX_DEPTH: usize = 64;

/// Files and folders looked at for one name.
const MAX_ENTRIES: usize = 5_000_000;

/// Where an HDF5 file may begin behind a user block, besides byte 0.
const USER_BLOCKS: [u64; 5] = [512, 1024, 2048, 4096, 8192];

/// Something to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file or an object of a server.
    File {
        /// Where.
        location: Location,
        /// How it is named in messages.
        name: String,
    },
    /// A Zarr store.
    Zarr {
        /// Where.
        location: Location,
        /// How it is named in messages.
        name: String,
    },
}

impl Place {
    /// How it is named in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Zarr { name, .. } => name,
        }
    }
}

/// What `texts` name, each in the order given; files of a pattern or a folder by name.
///
/// # Errors
/// If a name is no place, is not there, or a pattern or a folder gives nothing.
pub fn places(texts: &[String]) -> Result<Vec<Place>, EngineError> {
    let mut all = Vec::new();
    for text in texts {
        let location = located(text)?;
        let path = match &location {
            Location::File(path) => path,
            Location::Http(_) => {
                all.push(of_web(location)?);
                continue;
            }
            Location::Object(object) => {
                all.extend(places_of(object)?);
                continue;
            }
        };
        let about = std::fs::metadata(path);
        match about {
            Ok(about) if about.is_dir() => all.extend(of_folder(path)?),
            Ok(_) => all.push(file(path.clone())),
            Err(_) if is_pattern(path) => all.extend(of_pattern(path)?),
            Err(error) => return Err(StoreError::reading(&location, error).into()),
        }
    }
    Ok(all)
}

/// A web server lists nothing: the spelling of an address says whether it may be a store, and its documents whether it
/// is one.
fn of_web(location: Location) -> Result<Place, EngineError> {
    let name = location.to_string();
    let is_store = may_be_store(&location) && store_source::is_there(&location)?;
    Ok(if is_store { Place::Zarr { location, name } } else { Place::File { location, name } })
}

/// Whether an address is spelled as those of stores are: with a slash at its end, or with an ending that says so.
fn may_be_store(location: &Location) -> bool {
    let Location::Http(address) = location else { return false };
    let path = address.split('?').next().unwrap_or_default();
    let name = location.file_name();
    path.ends_with('/') || name.contains(".zarr") || name.ends_with(".parq") || name.ends_with(".parquet")
}

fn file(path: String) -> Place {
    Place::File { location: Location::File(path.clone()), name: path }
}

fn zarr(path: &str) -> Place {
    Place::Zarr { location: Location::File(path.to_owned()), name: path.to_owned() }
}

/// Whether the folder at `path` is a Zarr store or an array or group of one.
#[must_use]
pub fn is_zarr(path: &Path) -> bool {
    DOCUMENTS.iter().any(|name| path.join(name).is_file())
}

/// The data files below a folder, told by how they begin; or the store that the folder is.
fn of_folder(path: &str) -> Result<Vec<Place>, EngineError> {
    if is_zarr(Path::new(path)) {
        return Ok(vec![zarr(path)]);
    }
    let mut walk = Walk::new();
    walk.folder(path)?;
    if walk.found.is_empty() {
        return Err(EngineError::NoData { folder: path.to_owned() });
    }
    walk.found.sort();
    Ok(walk.found)
}

/// The files that match a pattern.
fn of_pattern(pattern: &str) -> Result<Vec<Place>, EngineError> {
    let (start, rest) = match pattern.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => ("", pattern),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let mut walk = Walk::new();
    walk.matching(start, &parts, 0)?;
    walk.found.sort();
    walk.found.dedup();
    if walk.found.is_empty() {
        return Err(EngineError::NoMatch { pattern: pattern.to_owned() });
    }
    Ok(walk.found)
}

struct Walk {
    found: Vec<Place>,
    n_entries: usize,
    /// Device and number of each folder from the start to here: a link to one of them leads in a circle.
    way: Vec<(u64, u64)>,
}

impl Walk {
    const fn new() -> Self {
        Self { found: Vec::new(), n_entries: 0, way: Vec::new() }
    }

    /// Names and whether they are folders, links to folders included.
    fn entries(&mut self, folder: &str) -> Result<Vec<(String, bool)>, EngineError> {
        let shown = if folder.is_empty() { "." } else { folder };
        let location = Location::File(shown.to_owned());
        let reading = |error| StoreError::reading(&location, error);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(shown).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            self.n_entries += 1;
            if self.n_entries > MAX_ENTRIES {
                return Err(EngineError::NoMatch { pattern: shown.to_owned() });
            }
            let name = entry.file_name().into_string().map_err(|name| EngineError::OddName {
                folder: shown.to_owned(),
                name: name.to_string_lossy().into_owned(),
            })?;
            // A link that leads nowhere is no folder; whoever reads it will say what is wrong.
            let is_folder = std::fs::metadata(entry.path()).is_ok_and(|about| about.is_dir());
            all.push((name, is_folder));
        }
        all.sort();
        Ok(all)
    }

    fn folder(&mut self, path: &str) -> Result<(), EngineError> {
        let about = std::fs::metadata(path);
        let about = about.map_err(|error| StoreError::reading(&Location::File(path.to_owned()), error))?;
        let here = (about.dev(), about.ino());
        if self.way.len() > MAX_DEPTH || self.way.contains(&here) {
            return Ok(());
        }
        self.way.push(here);
        for (name, is_folder) in self.entries(path)? {
            if name.starts_with('.') {
                continue;
            }
            let child = join(path, &name);
            if is_folder {
                if is_zarr(Path::new(&child)) {
                    self.found.push(zarr(&child));
                } else {
                    self.folder(&child)?;
                }
            } else if is_named_like_data(&name) || begins_like_data(Path::new(&child)) {
                self.found.push(file(child));
            }
        }
        self.way.pop();
        Ok(())
    }

    fn matching(&mut self, folder: &str, parts: &[&str], depth: usize) -> Result<(), EngineError> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        if depth > MAX_DEPTH {
            return Ok(());
        }
        if *part == "**" {
            self.matching(folder, if rest.is_empty() { &["*"] } else { rest }, depth)?;
            for (name, is_folder) in self.entries(folder)? {
                let path = join(folder, &name);
                // As in a shell, two stars do not follow links: they could lead in a circle.
                let is_walked = is_folder && !name.starts_with('.') && !Path::new(&path).is_symlink();
                if is_walked && !is_zarr(Path::new(&path)) {
                    self.matching(&path, parts, depth + 1)?;
                }
            }
            return Ok(());
        }
        if !is_pattern(part) {
            return self.step(&join(folder, part), rest, depth);
        }
        for (name, _) in self.entries(folder)? {
            // As in a shell, a star does not find what is hidden.
            if matches(part, &name) && (part.starts_with('.') || !name.starts_with('.')) {
                self.step(&join(folder, &name), rest, depth)?;
            }
        }
        Ok(())
    }

    /// Goes on at `path`, which matched.
    fn step(&mut self, path: &str, rest: &[&str], depth: usize) -> Result<(), EngineError> {
        let about = match std::fs::metadata(path) {
            Ok(about) => about,
            Err(_) => {
                // A link that leads nowhere was meant all the same: it is named when it is read.
                if rest.is_empty() && Path::new(path).is_symlink() {
                    self.found.push(file(path.to_owned()));
                }
                return Ok(());
            }
        };
        if !rest.is_empty() {
            return if about.is_dir() { self.matching(path, rest, depth + 1) } else { Ok(()) };
        }
        if !about.is_dir() {
            self.found.push(file(path.to_owned()));
        } else if is_zarr(Path::new(path)) {
            self.found.push(zarr(path));
        }
        Ok(())
    }
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" | "." => name.to_owned(),
        _ if folder.ends_with('/') => format!("{folder}{name}"),
        _ => format!("{folder}/{name}"),
    }
}

/// How data files are named.
const DATA_ENDINGS: [&str; 8] = [".nc", ".nc3", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".hdf"];

/// Whether a name says that it is data. A file that begins otherwise is then damaged, and must not go unseen.
pub(crate) fn is_named_like_data(name: &str) -> bool {
    DATA_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file begins as netCDF or HDF5 files do. What cannot be read is kept: it will be named.
fn begins_like_data(path: &Path) -> bool {
    let mut file = match open_regular(path) {
        Ok((file, _)) => file,
        Err(error) => return error.kind() != std::io::ErrorKind::InvalidInput,
    };
    let mut head = [0; 8];
    let mut n_bytes = 0;
    while n_bytes < head.len() {
        match file.read(&mut head[n_bytes..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => n_bytes += more,
        }
    }
    let head = &head[..n_bytes];
    if head.starts_with(b"CDF") || frazil_formats::hdf5::looks_like_hdf5(head) {
        return true;
    }
    USER_BLOCKS.iter().any(|offset| {
        let mut signature = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut signature, *offset).is_ok()
            && frazil_formats::hdf5::looks_like_hdf5(&signature)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_data_files_and_a_store_is_one_thing() {
        let folder = std::env::temp_dir().join(format!("frazil-places-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub/a.zarr/c")).unwrap();
        std::fs::write(folder.join("b.bin"), b"CDF\x01rest").unwrap();
        std::fs::write(folder.join("notes.txt"), b"hello").unwrap();
        std::fs::write(folder.join("sub/a.zarr/zarr.json"), b"{}").unwrap();
        std::fs::write(folder.join("sub/a.zarr/c/0"), b"CDF\x01").unwrap();
        let text = folder.to_str().unwrap().to_owned();
        let names = |texts: &[String]| -> Vec<String> {
            places(texts).unwrap().iter().map(|place| place.name()[text.len()..].to_owned()).collect()
        };
        assert_eq!(names(std::slice::from_ref(&text)), ["/b.bin", "/sub/a.zarr"]);
        assert_eq!(names(&[format!("{text}/**/*.bin"), format!("{text}/*/*.zarr")]), ["/b.bin", "/sub/a.zarr"]);
        assert!(places(&[format!("{text}/*.nc")]).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
