//! What earlier scans found.

use frazil_model::location::Location;

use crate::{
    error::EngineError,
    places::Place,
    scan::{Load, scan},
    source::Source,
};

/// Whether what was found before may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexUse {
    /// It is used, and kept for the next time.
    Use,
    /// Every file is read.
    Bypass,
}

/// Scanned metadata.
pub struct Index {}

impl Index {
    /// The index for `places`.
    #[must_use]
    pub fn open(_places: &[Place], _how: IndexUse) -> Self {
        Self {}
    }

    /// Scans a file.
    ///
    /// # Errors
    /// As for [`scan`].
    pub fn scan(&self, location: &Location, name: &str, load: Load) -> Result<Source, EngineError> {
        scan(location, name, load)
    }

    /// Keeps what was found.
    pub fn keep(self) {}
}
