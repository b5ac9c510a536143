//! References that lie in several objects: Kerchunk's tables, and the present state of a repository of Icechunk.

use frazil_formats::references::{
    Described, MOST_TABLE_BYTES, ParquetReferences,
    icechunk::{RepositoryReferences, read_snapshot},
};
use frazil_model::{location::Location, references::doors::web_doors};
use frazil_store::{StoreError, folder::Shelf};

use crate::{
    error::EngineError,
    store::documents,
    virtually::{BRANCH, REPOSITORY_SETTINGS},
};

/// References that lie in tables (Kerchunk as Parquet), and the bytes of the document that leads to them; `None` if
/// this is a store that has its chunks itself.
pub(super) fn tables_of_references(root: &Shelf, name: &str) -> Result<Option<(Described, u64)>, EngineError> {
    let failed = |source| EngineError::Format { file: name.to_owned(), source };
    let Some(text) = documents::document(root, ".zmetadata")? else { return Ok(None) };
    let Some(mut references) = ParquetReferences::of(&text).map_err(failed)? else { return Ok(None) };
    for record in references.records() {
        // A table of nothing but chunks that were never written is not there.
        if let Some(bytes) = root.get_within(&record.key, MOST_TABLE_BYTES)? {
            references.put(&record, bytes.into()).map_err(failed)?;
        }
    }
    Ok(Some((references.finish(), text.len() as u64)))
}

/// The present state of a repository of Icechunk, the bytes of its snapshot and its name; `None` if this is none.
pub(super) fn repository(root: &Shelf, name: &str) -> Result<Option<(Described, u64, String)>, EngineError> {
    let failed = |source| EngineError::Format { file: name.to_owned(), source };
    let Some(text) = documents::document(root, BRANCH)? else { return Ok(None) };
    let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let missing = |key: String| EngineError::Missing { key };
    let snapshot = said["snapshot"].as_str().ok_or_else(|| missing(BRANCH.to_owned()))?;
    let held = |key: String| -> Result<Vec<u8>, EngineError> {
        root.get_within(&key, MOST_TABLE_BYTES)?.ok_or_else(|| missing(key))
    };
    let bytes = held(format!("snapshots/{snapshot}"))?;
    let state = read_snapshot(&bytes).map_err(failed)?;
    let settings = documents::document(root, REPOSITORY_SETTINGS)?.unwrap_or_default();
    let doors = web_doors(&settings);
    let mut references = RepositoryReferences::of(&state, &names_below(root)?, doors).map_err(failed)?;
    for (array, id) in references.manifests().to_vec() {
        references.put(array, &held(format!("manifests/{}", id.name()))?).map_err(failed)?;
    }
    Ok(Some((references.finish(), bytes.len() as u64, format!("snapshot {snapshot}"))))
}

/// What comes before the names of a repository's own objects. A name on this machine starts from beside the repository, as
/// those of its files do; elsewhere from within.
fn names_below(root: &Shelf) -> Result<String, EngineError> {
    let location = root.location();
    let Location::File(path) = &location else { return Ok(String::new()) };
    let path = std::path::absolute(path).map_err(|error| StoreError::reading(&location, error))?;
    Ok(format!("{}/", path.display()))
}
