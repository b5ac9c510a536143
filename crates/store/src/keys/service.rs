//! Servers that give keys: where they are, and what they say.
//!
//! It promises that no error repeats what was answered, but for the name that the server gives it.

use crate::{
    address::Address,
    giver::{self, Told, Untold},
    open::Sending,
    sign::Sign,
};

/// The address of such a server.
pub(super) fn address(text: &str, path: &str) -> Result<Address, String> {
    let text = format!("{}{path}", text.trim_end_matches('/'));
    Address::parse(&text).ok_or_else(|| "the address of its server of keys cannot be sent".to_owned())
}

/// Asks it.
pub(super) fn told(address: &Address, sending: &Sending<'_>, signer: Option<&dyn Sign>) -> Result<Told, String> {
    let place = address.without_query();
    giver::told(address, sending, signer).map_err(|why| match why {
        Untold::Untrusted(why) => format!("{place}, which gives keys, is not trusted, {why}"),
        Untold::Passing(why) | Untold::Lasting(why) => format!("{place} could not be asked for keys: {why}"),
    })
}

/// The name of an error, if it is one word: nothing else of an answer is repeated.
pub(super) fn plain(code: &str) -> Option<&str> {
    let is_word = !code.is_empty() && code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    is_word.then_some(code)
}
