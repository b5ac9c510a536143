//! Identities that are handed on for a while: to other programs, to other people; and what is left of them taken away.
//!
//! It promises that what is handed on says when it ends, if that is known; that it lies in files for their owner alone, which
//! are noted so that they can be erased; and that nothing of it shows anywhere else.

pub mod erase;
mod files;
mod forms;
pub mod policy;
pub mod token;

use frazil_model::location::{Location, Object};
use percent_encoding::percent_decode_str;

pub(crate) use files::replace;
pub use files::{Kind, is_free, note, write};
pub use forms::Form;

use crate::{
    bucket::{again, profile_of, tokens},
    error::StoreError,
    keys::{Key, Provider, seconds_of},
    profile::{Keys, Server},
    secret::{Secret, shown_key_id},
    settled::rfc3339,
};

/// Who somebody is for a server, with all that another program needs to be the same.
#[derive(Debug, Clone)]
pub struct Session {
    /// The name of the profile.
    pub name: String,
    /// Where its paths start, if not at the server.
    pub below: Option<String>,
    /// When it ends, in seconds since 1970, if that is known.
    pub ends_seconds: Option<u64>,
    server: Server,
    held: Held,
}

/// What is signed with.
#[derive(Debug, Clone)]
enum Held {
    Key(Key),
    Token(Secret),
    AccountKey(Secret),
    SharedAccess(Secret),
}

impl Session {
    /// Who signs at a place now: what profiles only describe (roles, programs, sign-ons) is got.
    ///
    /// # Errors
    /// If nobody signs there.
    pub fn of(object: &Object) -> Result<Self, StoreError> {
        let profile = profile_of(object)?;
        let unsigned = |why| StoreError::Unsigned { location: Location::Object(object.clone()), why };
        let (held, ends_seconds) = match &profile.keys {
            Keys::Fixed { .. } | Keys::Got(_) => {
                let key = Provider::of(&profile, Some(again(&object.door, &profile))).key().map_err(unsigned)?;
                let ends = key.ends_seconds;
                (Held::Key((*key).clone()), ends)
            }
            Keys::Token(_) => {
                let Some(tokens) = tokens(&profile) else { return Err(unsigned("it has no token".into())) };
                let token = tokens.token().map_err(|none| unsigned(none.words()))?;
                (Held::Token(token), tokens.ends_seconds())
            }
            Keys::AccountKey(key) => (Held::AccountKey(key.clone()), None),
            Keys::SharedAccess(signature) => (Held::SharedAccess(signature.clone()), end_of(signature)),
            Keys::Anonymous | Keys::Missing { .. } => {
                return Err(unsigned(format!("profile `{}` signs nothing that could be handed on", profile.name)));
            }
        };
        Ok(Self { name: profile.name, below: profile.below, ends_seconds, server: profile.server, held })
    }

    /// What it is, in words that hold no secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.held {
            Held::Key(key) => {
                let what = if key.token.is_some() { "temporary key" } else { "key" };
                format!("{what} {}", shown_key_id(&key.access_key_id))
            }
            Held::Token(_) => "access token".into(),
            Held::AccountKey(_) => "account key".into(),
            Held::SharedAccess(_) => "shared access signature".into(),
        }
    }

    /// When it ends, in words.
    #[must_use]
    pub fn until(&self) -> String {
        match (self.ends_seconds, &self.held) {
            (Some(ends), _) => format!("until {}", rfc3339(ends)),
            (None, Held::Key(Key { token: None, .. }) | Held::AccountKey(_)) => "without an end".into(),
            (None, _) => "with an end that nobody said".into(),
        }
    }
}

/// When a signature of Azure ends: it says so itself.
fn end_of(signature: &Secret) -> Option<u64> {
    let mut fields = signature.reveal().trim_start_matches('?').split('&');
    let ends = fields.find_map(|field| field.strip_prefix("se="))?;
    seconds_of(&percent_decode_str(ends).decode_utf8().ok()?)
}
