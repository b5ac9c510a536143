//! Files that a document of references leads to: where they are, whether they may be read, and their bytes.
//!
//! It promises that a document from a stranger leads nowhere that nobody named: by itself only to what lies beside it or
//! below, in its own folder, bucket or server; elsewhere only below places that `--follow` names. A file is read in the
//! state that it had when it was first looked at, or not at all.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use frazil_formats::Decoded;
use frazil_model::{
    location::Location,
    manifest::{ChunkReferences, ChunkTable, Reference},
    range::ByteRange,
};
use frazil_store::{
    StoreError,
    address::Address,
    read::{Fingerprint, Reader, fingerprint},
};

use crate::{
    elsewhere::{Named, resolve},
    error::EngineError,
};

/// Files that a thread keeps open.
const MOST_OPEN: usize = 64;

static FOLLOWED: RwLock<Vec<Location>> = RwLock::new(Vec::new());

/// Lets references lead to what lies below these places, too.
pub fn follow(places: Vec<Location>) {
    FOLLOWED.write().unwrap_or_else(PoisonError::into_inner).extend(places);
}

/// The files that a document refers to.
#[derive(Debug)]
pub struct ReferredFiles {
    /// Where the document is.
    document: Location,
    /// How it is called in messages.
    name: String,
    decoded: Arc<Decoded>,
    /// Where each file is and its state, once it was looked at.
    known: Vec<OnceLock<(Location, Fingerprint)>>,
}

impl ReferredFiles {
    /// Of the document at `document`, called `name`.
    #[must_use]
    pub fn of(document: Location, name: &str, decoded: Arc<Decoded>) -> Self {
        let n_files = decoded.manifest.referred.as_ref().map_or(0, |referred| referred.files.len());
        Self { document, name: name.to_owned(), decoded, known: (0..n_files).map(|_| OnceLock::new()).collect() }
    }

    /// The chunks of a variable.
    #[must_use]
    pub fn table(&self, variable: usize) -> Option<&ChunkReferences> {
        match self.decoded.manifest.tables.get(variable) {
            Some(ChunkTable::Referred(table)) => Some(table),
            _ => None,
        }
    }

    /// Whether all files of a variable may be read.
    ///
    /// # Errors
    /// [`EngineError::NotFollowed`] for the first that may not.
    pub fn check(&self, variable: usize) -> Result<(), EngineError> {
        let mut last = ChunkReferences::INLINE;
        for file in self.table(variable).map(|table| table.file.as_slice()).unwrap_or_default() {
            if *file != last && *file != ChunkReferences::INLINE && self.known(*file)?.get().is_none() {
                self.place(*file)?;
            }
            last = *file;
        }
        Ok(())
    }

    fn known(&self, file: u32) -> Result<&OnceLock<(Location, Fingerprint)>, EngineError> {
        self.known.get(file as usize).ok_or_else(|| EngineError::Unreadable {
            file: self.name.clone(),
            variable: "/".into(),
            reason: "it refers to a file that it does not name".into(),
        })
    }

    /// Where a file is, if it may be read.
    fn place(&self, file: u32) -> Result<Location, EngineError> {
        let named = self.decoded.manifest.referred.as_ref().and_then(|referred| referred.files.get(file as usize));
        let followed = FOLLOWED.read().unwrap_or_else(PoisonError::into_inner);
        let text = named.map(String::as_str).unwrap_or_default();
        place_of(&self.document, text, &followed).map_err(|why| match why {
            NotHere::Absent(location) => StoreError::NotFound { location }.into(),
            NotHere::NotFollowed(place) => EngineError::NotFollowed { document: self.name.clone(), place },
        })
    }

    /// Where a file is, and the state in which it is read.
    fn state(&self, file: u32) -> Result<&(Location, Fingerprint), EngineError> {
        let known = self.known(file)?;
        if let Some(found) = known.get() {
            return Ok(found);
        }
        let location = self.place(file)?;
        let found = fingerprint(&location)?;
        Ok(known.get_or_init(|| (location, found)))
    }

    /// A file on this machine that is not what it was when it was first looked at.
    #[must_use]
    pub fn changed(&self) -> Option<&Location> {
        let looked_at = self.known.iter().filter_map(OnceLock::get);
        looked_at
            .filter(|(location, _)| matches!(location, Location::File(_)))
            .find(|(location, before)| fingerprint(location).ok().as_ref() != Some(before))
            .map(|(location, _)| location)
    }

    /// Bytes that its tables take.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let manifest = &self.decoded.manifest;
        let rows: usize =
            (0..manifest.tables.len()).filter_map(|at| self.table(at)).map(|table| table.len() * 28).sum();
        let named = manifest
            .referred
            .as_ref()
            .map_or(0, |all| all.inline.len() + all.files.iter().map(|file| file.len() + 200).sum::<usize>());
        rows.saturating_add(named)
    }
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum NotHere {
    Absent(Location),
    NotFollowed(String),
}

/// The file `text` as the document at `document` means it.
fn place_of(document: &Location, text: &str, followed: &[Location]) -> Result<Location, NotHere> {
    let refused = || NotHere::NotFollowed(shown(text));
    let is_address = text.contains("://");
    let named = match (document, is_address) {
        // A name without a scheme lies where the document does.
        (Location::File(_), _) | (_, true) => Location::parse(text).map_err(|_| refused())?,
        (Location::Http(address), false) => {
            let joined = Address::parse(address).and_then(|address| address.join(text)).ok_or_else(refused)?;
            Location::Http(joined.to_string())
        }
        (Location::Object(object), false) => {
            let folder = object.key.rsplit_once('/').map_or("", |(folder, _)| folder);
            let key = if folder.is_empty() { text.to_owned() } else { format!("{folder}/{text}") };
            Location::Object(object.with_key(key))
        }
    };
    match (document, &named) {
        (Location::File(_), Location::File(path)) => match resolve(document, path) {
            Named::At(path) => return Ok(Location::File(path.to_string_lossy().into_owned())),
            Named::Nowhere if followed.is_empty() => return Err(NotHere::Absent(named)),
            Named::Nowhere | Named::Outside => {}
        },
        (Location::File(_), _) => {}
        _ if is_below(&named, &folder_of(document)) => return Ok(named),
        _ => {}
    }
    if followed.iter().any(|place| is_below(&named, place)) { Ok(named) } else { Err(refused()) }
}

/// What may be said of a name: signed addresses carry their key in the query.
fn shown(text: &str) -> String {
    Location::parse(text).map_or_else(|_| text.split('?').next().unwrap_or_default().to_owned(), |one| one.to_string())
}

fn folder_of(location: &Location) -> Location {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    match location {
        Location::File(path) => Location::File(folder(path)),
        Location::Http(address) => Location::Http(folder(address.split('?').next().unwrap_or_default())),
        Location::Object(object) => Location::Object(object.with_key(folder(&object.key))),
    }
}

/// Whether a place is another one or lies below it. A path with `..` lies nowhere for sure.
fn is_below(place: &Location, folder: &Location) -> bool {
    let below = |path: &str, folder: &str| {
        let rest = path.strip_prefix(folder.trim_end_matches('/'));
        let is_dotted = path.split(['/', '\\']).any(|part| part == ".." || part.eq_ignore_ascii_case("%2e%2e"));
        !is_dotted && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (place, folder) {
        (Location::File(path), Location::File(folder)) => {
            let absolute = |path: &str| std::path::absolute(path).map(|path| path.to_string_lossy().into_owned());
            matches!((absolute(path), absolute(folder)), (Ok(path), Ok(folder)) if below(&path, &folder))
        }
        (Location::Http(address), Location::Http(folder)) => {
            below(address.split('?').next().unwrap_or_default(), folder)
        }
        (Location::Object(object), Location::Object(folder)) => {
            object.door == folder.door && object.bucket == folder.bucket && {
                folder.key.is_empty() || below(&object.key, &folder.key)
            }
        }
        _ => false,
    }
}

/// Reads chunks that a document refers to. One a thread.
#[derive(Default)]
pub(crate) struct ReferredReader {
    open: HashMap<u32, Reader>,
}

impl ReferredReader {
    /// Puts the stored bytes of a chunk into `into`; `limit_bytes` is the most that one may have. `false`: no reference
    /// for it.
    pub(crate) fn read(
        &mut self,
        files: &ReferredFiles,
        variable: usize,
        chunk: u64,
        limit_bytes: u64,
        into: &mut Vec<u8>,
    ) -> Result<bool, EngineError> {
        let Some(Reference { file, offset, length }) = files.table(variable).and_then(|table| table.find(chunk)) else {
            return Ok(false);
        };
        let unreadable = |reason: String| {
            let about = files.decoded.dataset.variables.get(variable);
            let variable = about.map_or_else(String::new, |about| about.path.clone());
            EngineError::Unreadable { file: files.name.clone(), variable, reason }
        };
        if file == ChunkReferences::INLINE {
            let inline = files.decoded.manifest.referred.as_ref().map(|all| &all.inline);
            let bounds = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(length)).ok());
            let bytes = inline.zip(bounds).and_then(|(all, (start, end))| all.get(start..end));
            let bytes = bytes.ok_or_else(|| unreadable("a chunk in the document is cut short".into()))?;
            into.clear();
            into.extend_from_slice(bytes);
            return Ok(true);
        }
        if !self.open.contains_key(&file) {
            if self.open.len() >= MOST_OPEN {
                self.open.clear();
            }
            let (location, state) = files.state(file)?;
            self.open.insert(file, Reader::open_as(location, state)?);
        }
        let Some(reader) = self.open.get(&file) else { return Ok(false) };
        let length = match length {
            ChunkReferences::TO_THE_END => reader.size_bytes().saturating_sub(offset),
            length => length,
        };
        if length > limit_bytes {
            return Err(unreadable(format!("one chunk of it takes {length} bytes; give more with `--memory`")));
        }
        match ByteRange::new(offset, length) {
            Some(range) => reader.read_into(range, into)?,
            None if length == 0 => into.clear(),
            None => return Err(unreadable("a reference lies behind the end of any file".into())),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, text: &str, follow: &[&str], expected: Result<&str, ()>) {
        let followed: Vec<Location> = follow.iter().map(|text| Location::parse(text).unwrap()).collect();
        let found = place_of(&Location::parse(document).unwrap(), text, &followed).map(|place| place.to_string());
        assert_eq!(found.as_deref().map_err(|_| ()), expected, "{text}");
    }

    #[test]
    fn a_document_leads_to_its_own_folder_alone() {
        check("http://h/d/r.json", "http://h/d/a.nc", &[], Ok("http://h/d/a.nc"));
        check("http://h/d/r.json", "sub/a.nc", &[], Ok("http://h/d/sub/a.nc"));
        check("s3://b/d/r.json", "s3://b/d/sub/a.nc", &[], Ok("s3://b/d/sub/a.nc"));
        check("s3://b/d/r.json", "a.nc", &[], Ok("s3://b/d/a.nc"));
        for text in ["http://h/e/a.nc", "http://h/d2/a.nc", "http://g/d/a.nc", "https://h/d/a.nc", "../a.nc", "/a.nc"] {
            check("http://h/d/r.json", text, &[], Err(()));
        }
        for text in
            ["s3://b/a.nc", "s3://c/d/a.nc", "gs://b/d/a.nc", "s3://b/d/../a.nc", "../a.nc", "http://169.254.169.254/"]
        {
            check("s3://b/d/r.json", text, &[], Err(()));
        }
        for text in ["s3://b/a.nc", "http://h/a.nc", "/etc/passwd", "file:///etc/passwd", "ftp://h/a.nc", "name:b/k"] {
            check("/nowhere/r.json", text, &[], Err(()));
        }
    }

    #[test]
    fn what_was_named_is_followed() {
        check("/nowhere/r.json", "s3://b/d/a.nc", &["s3://b/d"], Ok("s3://b/d/a.nc"));
        check("/nowhere/r.json", "s3://b/d2/a.nc", &["s3://b/d"], Err(()));
        check("/nowhere/r.json", "http://h/x?sign=1", &["http://h/"], Ok("http://h/x?…"));
        check("/nowhere/r.json", "/data/a.nc", &["/data"], Ok("/data/a.nc"));
        check("/nowhere/r.json", "/data/../etc/passwd", &["/data"], Err(()));
    }
}
