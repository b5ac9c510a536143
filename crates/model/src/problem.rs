//! What every error of frazil can say about itself.
//!
//! `Display` names the thing and what is wrong with it, `source()` says why, `hint()` what to do. The `code` is
//! a promise: scripts match on it.

use std::error::Error;

/// How a command ends: the exit codes of the output contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A check failed, a thing was not found, a rule refused.
    No,
    /// The command line or the recipe is wrong.
    Usage,
    /// Some of the work was done; the report says which.
    Partly,
    /// Credentials are needed or were refused.
    SignIn,
    /// It may work later: a server was busy, a lock was held.
    Later,
    /// The user interrupted; the work can be resumed.
    Interrupted,
}

impl Exit {
    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::No => 1,
            Self::Usage => 2,
            Self::Partly => 3,
            Self::SignIn => 4,
            Self::Later => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error that a person can act on.
pub trait Problem: Error {
    /// A stable, dotted name: `format.truncated`, `combine.units`.
    fn code(&self) -> &'static str;

    /// What to do next, if something is known to help.
    fn hint(&self) -> Option<String> {
        None
    }

    /// How the process should end.
    fn exit(&self) -> Exit {
        Exit::No
    }
}
