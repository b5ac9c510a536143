//! Where the files of a delivery are put before anybody sees them.
//!
//! A folder of this machine that is not there yet is made beside its place and moved there once every byte in it was
//! checked, so that whoever looks sees the whole delivery or nothing. A bucket knows no such move, and a folder that is
//! there has others' files: in these each file appears by itself.

use std::path::PathBuf;

use frazil_store::folder::give_name;

use crate::{check::Extra, error::TransferError, guard, place::Place};

/// What the name of a folder ends with that is being made beside its place.
const BESIDE: &str = ".frazil-new";

/// The digits of a seal that tell one delivery from another.
const SEAL_DIGITS: usize = 16;

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
        let (Some(_), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(direct) };
        let beside = parent.join(format!(".{}{BESIDE}", seal.get(..SEAL_DIGITS).unwrap_or(seal)));
        let place = Place::Local(beside.clone());
        // Where only the place itself may be written to, nothing is made beside it.
        match is_free && guard::bounds(&place).is_ok() {
            true => Ok(Self { place, moves: Some((beside, path.clone())) }),
            false => Ok(direct),
        }
    }

    /// Shows the files at their place.
    ///
    /// # Errors
    /// If somebody else made something there meanwhile, or it cannot be written to.
    pub fn arrive(&self) -> Result<(), TransferError> {
        if let Some((beside, path)) = &self.moves {
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
