//! Where the files of a delivery are put before anybody sees them.
//!
//! A folder of this machine that is not there yet is made beside its place and moved there once every byte in it was
//! checked, so that whoever looks sees the whole delivery or nothing. A bucket knows no such move, and a folder that is
//! there has others' files: in these each file appears by itself.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use frazil_store::{StoreError, folder::give_name};

use super::hold_folder;
use crate::{check::Extra, error::TransferError, guard, place::Place, probe::is_mark};

/// What the name of a folder ends with that is being made beside its place.
const BESIDE: &str = ".frazil-arriving";

/// So much of the name of its place is in the name of a landing, in bytes: names are no longer than 255.
const MOST_NAME_BYTES: usize = 200;

/// The digits of a seal that tell one delivery from another.
const SEAL_DIGITS: usize = 16;

/// Whether a folder of this name is a landing.
pub(crate) fn is_landing(base: &str) -> bool {
    base.starts_with('.') && base.ends_with(BESIDE)
}

/// Where the files of one delivery land, and where they go from there.
#[derive(Debug)]
pub struct Landing {
    /// Where the files are put.
    pub place: Place,
    /// The folder that is moved, and its name in the end.
    moves: Option<(PathBuf, PathBuf)>,
}

impl Landing {
    /// The landing of a delivery with this seal that goes from `delivery` to `to`.
    ///
    /// # Errors
    /// If it must not be written there, or the two are not apart.
    pub fn of(delivery: &Place, to: &Place, seal: &str) -> Result<Self, TransferError> {
        guard::bounds(to)?;
        guard::apart(delivery, to)?;
        let direct = Self { place: to.clone(), moves: None };
        let Place::Local(path) = to else { return Ok(direct) };
        let is_free = path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(direct) };
        let name = name.to_string_lossy();
        let name = &name[..name.floor_char_boundary(MOST_NAME_BYTES)];
        let beside = parent.join(format!(".{name}.{}{BESIDE}", seal.get(..SEAL_DIGITS).unwrap_or(seal)));
        let place = Place::Local(beside.clone());
        // Where only the place itself may be written to, nothing is made beside it.
        match is_free && guard::bounds(&place).is_ok() {
            true => Ok(Self { place, moves: Some((beside, path.clone())) }),
            false => Ok(direct),
        }
    }

    /// Makes it, and keeps others out as long as what is answered lives.
    ///
    /// # Errors
    /// [`TransferError::BeingAccepted`] if somebody else puts files there.
    pub fn hold(&self) -> Result<Option<File>, TransferError> {
        let Some((beside, path)) = &self.moves else { return Ok(None) };
        let failed = |error| StoreError::writing(beside, 0, error);
        fs::create_dir_all(beside).map_err(failed)?;
        match hold_folder(beside).map_err(failed)? {
            Some(held) => Ok(Some(held)),
            None => Err(TransferError::BeingAccepted { place: path.display().to_string(), by: String::new() }),
        }
    }

    /// Takes it away, if nothing is in it.
    pub fn leave(&self) {
        if let Some((beside, _)) = &self.moves {
            let _ = fs::remove_dir(beside);
        }
    }

    /// Shows the files at their place.
    ///
    /// # Errors
    /// If somebody else made something there meanwhile, or it cannot be written to.
    pub fn arrive(&self) -> Result<(), TransferError> {
        if let Some((beside, path)) = &self.moves {
            for entry in fs::read_dir(beside).into_iter().flatten().flatten() {
                // A run that was killed left it.
                if entry.file_name().to_str().is_some_and(is_mark) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            give_name(beside, path)?;
        }
        Ok(())
    }

    /// Whether nobody else puts files there.
    #[must_use]
    pub const fn is_hidden(&self) -> bool {
        self.moves.is_some()
    }

    /// Whether whatever lies there but the files of the delivery has no business there.
    #[must_use]
    pub const fn others(&self) -> Extra {
        if self.moves.is_some() { Extra::Counts } else { Extra::IsFine }
    }
}
