//! What lies at the place of a store, before anything is done there.
//!
//! It promises that what cannot be looked at is an error and never taken for absent: it would be written over.

use std::{collections::BTreeSet, io::ErrorKind, path::Path};

use frazil_formats::zarr::read_document;
use frazil_model::recipe::write::ZarrFormat;
use frazil_store::{
    StoreError,
    folder::{Entry, Folder, Kind},
};
use serde_json::Value;

use crate::{
    error::EngineError,
    publish::{PLAN, SavedPlan},
    receipt::Receipt,
    sinks::zarr::root_key,
    verify::{self, Amount, STRAY},
};

/// What lies at the place of a store.
#[derive(Debug)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// Work of a plan that is not finished.
    Unfinished {
        /// Digest of the plan.
        plan: String,
    },
    /// A store that frazil finished.
    Published(Box<Receipt>),
    /// Something else.
    Foreign {
        /// What it is.
        what: &'static str,
    },
}

/// What is said of a Zarr store that another program wrote.
pub(crate) const OTHERS_STORE: &str = "it is a Zarr store that frazil did not write";

/// What is said of a store whose receipt makes no sense.
pub(crate) const DAMAGED_STORE: &str = "it is a Zarr store whose receipt is damaged";

/// What is said of a store whose root document is lost.
pub(crate) const HEADLESS_STORE: &str = "it is a Zarr store that lost the document that shows it";

/// Looks at the place of a store.
///
/// # Errors
/// If it cannot be read.
pub fn standing(folder: &Folder) -> Result<Standing, EngineError> {
    for format in [ZarrFormat::V3, ZarrFormat::V2] {
        // What cannot be looked at must not be taken for absent: it would be written over.
        if folder.exists(root_key(format))? {
            return of_visible(folder);
        }
    }
    if let Some(bytes) = folder.get(PLAN)? {
        let saved = serde_json::from_slice::<SavedPlan>(&bytes);
        return Ok(Standing::Unfinished { plan: saved.map(|saved| saved.plan).unwrap_or_default() });
    }
    if let Ok(Some(_)) = Receipt::of(folder) {
        return Ok(Standing::Foreign { what: HEADLESS_STORE });
    }
    match folder.path() {
        Some(path) => of_path(path, folder),
        None if folder.is_object()? => Ok(Standing::Foreign { what: "it is an object" }),
        None => of_names(&folder.names("")?),
    }
}

/// What a folder of this machine without a store is.
fn of_path(path: &Path, folder: &Folder) -> Result<Standing, EngineError> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => of_names(&folder.names("")?),
        Ok(_) => Ok(Standing::Foreign { what: "it is a file" }),
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            Ok(Standing::Foreign { what: "it is a link to something that is not there" })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Standing::Nothing),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(Standing::Foreign { what: "it is a file" }),
        Err(error) => Err(StoreError::reading(&folder.location(), error).into()),
    }
}

fn of_names(names: &[Entry]) -> Result<Standing, EngineError> {
    Ok(match names.iter().all(|entry| entry.name == ".frazil") {
        true => Standing::Nothing,
        false => Standing::Foreign { what: "it is a folder with other files in it" },
    })
}

fn of_visible(folder: &Folder) -> Result<Standing, EngineError> {
    Ok(match Receipt::of(folder) {
        Ok(Some(receipt)) => Standing::Published(Box::new(receipt)),
        Ok(None) => Standing::Foreign { what: OTHERS_STORE },
        Err(EngineError::NotOurs { .. }) => Standing::Foreign { what: DAMAGED_STORE },
        Err(error) => return Err(error),
    })
}

pub(crate) fn exists(folder: &Folder, what: &str) -> EngineError {
    EngineError::Exists { place: folder.location(), what: what.to_owned() }
}

/// The error for what frazil did not put there.
pub(crate) fn foreign(folder: &Folder, what: &str) -> EngineError {
    if is_some_store(what) {
        return exists(folder, what);
    }
    EngineError::NotAStore { place: folder.location(), what: what.to_owned() }
}

/// Whether what was found is a Zarr store, in whatever state.
pub(crate) fn is_some_store(what: &str) -> bool {
    [OTHERS_STORE, DAMAGED_STORE, HEADLESS_STORE].contains(&what)
}

/// How many objects of a finished store are lost, have another length or were added. Their bytes are looked at if
/// `amount` says so.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn n_damaged(folder: &Folder, amount: Amount) -> Result<u64, EngineError> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    Ok(verify::verify(folder, amount, 1, &stop)?.n_problems)
}

/// A file in a store that does not belong to it: what somebody else put there must not be removed with it.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn stray(folder: &Folder, standing: &Standing) -> Result<Option<String>, EngineError> {
    let is_ours = match standing {
        Standing::Published(_) => true,
        Standing::Foreign { what } => *what == HEADLESS_STORE,
        Standing::Nothing | Standing::Unfinished { .. } => return Ok(None),
    };
    if is_ours {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let found = verify::verify(folder, Amount::LOOK, 1, &stop)?;
        return Ok(found.problems.into_iter().find(|finding| finding.problem == STRAY).and_then(|finding| finding.key));
    }
    stray_of_node(folder, &Levels::of(folder)?, "")
}

/// A file below the node at `path` of somebody's Zarr store that no Zarr store has.
fn stray_of_node(folder: &Folder, levels: &Levels<'_>, path: &str) -> Result<Option<String>, EngineError> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    let document = |name: &str| -> Result<Option<Value>, EngineError> {
        Ok(folder.get(&below(name))?.map(|bytes| read_document(&bytes).unwrap_or(Value::Null)))
    };
    let v3 = document("zarr.json")?;
    let is_array = match &v3 {
        Some(v3) if v3["zarr_format"] == 3 => v3["node_type"] == "array",
        Some(_) => return Ok(Some(below("zarr.json"))),
        None => {
            let (array, group) = (document(".zarray")?, document(".zgroup")?.or(document(".zmetadata")?));
            match (array, group) {
                (Some(array), _) if array["zarr_format"] == 2 => true,
                (None, Some(group)) if group["zarr_format"] == 2 || group.get("metadata").is_some() => false,
                _ => return Ok(Some(if path.is_empty() { ".".to_owned() } else { path.to_owned() })),
            }
        }
    };
    for Entry { name, kind } in levels.names(path)? {
        let is_folder = kind == Kind::Folder;
        let is_document = ["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"].contains(&name.as_str());
        let is_work = path.is_empty() && name == ".frazil";
        let stray = match (is_array, is_folder) {
            _ if is_document || is_work => None,
            (true, _) if !is_chunk(&name) => Some(below(&name)),
            (true, true) => stray_of_chunks(levels, &below(&name))?,
            (true, false) => None,
            (false, true) => stray_of_node(folder, levels, &below(&name))?,
            (false, false) => Some(below(&name)),
        };
        if stray.is_some() {
            return Ok(stray);
        }
    }
    Ok(None)
}

fn stray_of_chunks(levels: &Levels<'_>, path: &str) -> Result<Option<String>, EngineError> {
    for Entry { name, kind } in levels.names(path)? {
        let below = format!("{path}/{name}");
        let stray = if !is_chunk(&name) {
            Some(below)
        } else if kind == Kind::Folder {
            stray_of_chunks(levels, &below)?
        } else {
            None
        };
        if stray.is_some() {
            return Ok(stray);
        }
    }
    Ok(None)
}

/// Whether a part of a key can be of a chunk: `c`, `c.0.1`, `0.1` or `7`.
fn is_chunk(name: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name == "c" || name.strip_prefix("c.").unwrap_or(name).split('.').all(is_number)
}

/// What lies in the folders of a store: looked at one by one, or cut out of one listing of all.
enum Levels<'a> {
    Folder(&'a Folder),
    Keys(BTreeSet<String>),
}

impl<'a> Levels<'a> {
    fn of(folder: &'a Folder) -> Result<Self, EngineError> {
        if folder.path().is_some() {
            return Ok(Self::Folder(folder));
        }
        Ok(Self::Keys(folder.keys()?.into_iter().collect()))
    }

    fn names(&self, path: &str) -> Result<Vec<Entry>, EngineError> {
        let keys = match self {
            Self::Folder(folder) => return Ok(folder.names(path)?),
            Self::Keys(keys) => keys,
        };
        let start = if path.is_empty() { String::new() } else { format!("{path}/") };
        let names = keys.range(start.clone()..).map_while(|key| key.strip_prefix(&start)).map(|rest| {
            let (name, kind) = rest.split_once('/').map_or((rest, Kind::File), |(name, _)| (name, Kind::Folder));
            Entry { name: name.to_owned(), kind }
        });
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts files with these contents; says what does not belong there.
    #[track_caller]
    fn check(name: &str, files: &[(&str, &str)], expected: Option<&str>) {
        let root = std::env::temp_dir().join(format!("frazil-standing-{}-{name}", std::process::id()));
        let folder = Folder::new(root.clone());
        for (key, text) in files {
            folder.put(key, text.as_bytes()).unwrap();
        }
        let standing = standing(&folder).unwrap();
        assert_eq!(stray(&folder, &standing).unwrap().as_deref(), expected);
        frazil_store::folder::remove_tree(&root).unwrap();
    }

    const GROUP: (&str, &str) = ("zarr.json", r#"{"zarr_format": 3, "node_type": "group"}"#);
    const ARRAY: (&str, &str) = ("sst/zarr.json", r#"{"zarr_format": 3, "node_type": "array"}"#);

    #[test]
    fn a_store_of_another_program_has_nothing_but_documents_and_chunks() {
        check("whole", &[GROUP, ARRAY, ("sst/c/0/1", "x"), ("sst/c.0.1", "x")], None);
        check("notes", &[GROUP, ARRAY, ("notes.txt", "x")], Some("notes.txt"));
        check("inside", &[GROUP, ARRAY, ("sst/c/readme", "x")], Some("sst/c/readme"));
        check("folder", &[GROUP, ("data/a.nc", "x")], Some("data"));
        let v2 = [(".zgroup", r#"{"zarr_format": 2}"#), ("t/.zarray", r#"{"zarr_format": 2}"#), ("t/.zattrs", "{}")];
        check("v2", &[&v2[..], &[("t/0.0", "x")]].concat(), None);
        check("v2-notes", &[&v2[..], &[("t/notes", "x")]].concat(), Some("t/notes"));
    }

    #[test]
    fn a_folder_is_no_store_because_a_file_in_it_has_the_name_of_one() {
        check("other", &[("zarr.json", r#"{"a": 1}"#), ("chapter1.txt", "x")], Some("zarr.json"));
        check("empty", &[("zarr.json", "")], Some("zarr.json"));
        check("v2", &[(".zgroup", "x"), ("chapter1.txt", "x")], Some("."));
    }
}
