//! Chunks that readers see, rewritten because a file was re-issued.
//!
//! Each is put in one step, the documents come last; a reader sees old chunks beside new ones until the run is done.
//! It promises that a revision which was begun is not taken for a finished store: its plan says so until the receipt
//! and the root document are those of that plan.

use frazil_model::recipe::write::ZarrFormat;
use frazil_store::folder::Folder;

use crate::{
    error::EngineError,
    journal::Stored,
    publish::SavedPlan,
    receipt::{INVENTORY, Inventory, Receipt},
    sinks::zarr::root_key,
};

/// The files of a revision that was begun and not finished.
///
/// # Errors
/// If the store cannot be read.
pub fn unfinished(folder: &Folder, receipt: &Receipt) -> Result<Option<Vec<String>>, EngineError> {
    let Some(saved) = SavedPlan::in_folder(folder)?.filter(|saved| !saved.revises.is_empty()) else { return Ok(None) };
    if saved.plan != receipt.plan {
        return Ok(Some(saved.revises));
    }
    let text = folder.get(INVENTORY)?.unwrap_or_default();
    let inventory = Inventory::parse(&String::from_utf8_lossy(&text)).unwrap_or_default();
    for key in [root_key(ZarrFormat::V3), ".zmetadata", root_key(ZarrFormat::V2)] {
        if folder.get(key)?.map(|bytes| Stored::of(&bytes)).as_ref() != inventory.0.get(key) {
            return Ok(Some(saved.revises));
        }
    }
    Ok(None)
}
