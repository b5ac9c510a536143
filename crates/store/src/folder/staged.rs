//! Objects that are written piece by piece, and seen when they are whole.

use super::{Tag, local, remote};
use crate::error::StoreError;

/// An object that nobody sees yet. Dropped, it is given up.
#[derive(Debug)]
pub struct Staged(pub(super) Stage);

#[derive(Debug)]
pub(super) enum Stage {
    Here(local::Staged),
    Away(Box<remote::Staged>),
}

impl Staged {
    /// Writes `bytes` behind what is there.
    ///
    /// # Errors
    /// As for [`Folder::put`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.0 {
            Stage::Here(staged) => staged.write(bytes),
            Stage::Away(staged) => staged.write(bytes),
        }
    }

    /// Gives the object its name, once its bytes are safe.
    ///
    /// # Errors
    /// As for [`Folder::put`].
    pub fn publish(self) -> Result<Tag, StoreError> {
        match self.0 {
            Stage::Here(staged) => staged.publish().map(|()| None),
            Stage::Away(staged) => staged.publish(),
        }
    }
}
