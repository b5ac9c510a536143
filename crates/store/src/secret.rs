//! What requests are signed with.
//!
//! It promises that a key or token shows nowhere: not in a message, a log, a report, a debugger's view of a value or a
//! dump of memory.

use std::{
    fmt,
    io::{self, Write},
};

use rustix::process::{Resource, Rlimit, setrlimit};

/// What is shown of a text that may hold a secret.
const NOT_SHOWN: &str = "(not shown: it may hold a secret)";

/// A longer text is no name.
const MAX_NAME_BYTES: usize = 256;

/// No kind of remote has a longer name.
const MAX_KIND_BYTES: usize = 24;

/// Secrets of Amazon and of Ceph are as long as this; the public parts of their keys are shorter.
const SECRET_LETTERS: usize = 40;

/// A key or token. It has no `Display` and no `Serialize`, on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The key itself, for whoever signs with it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Writes it to whoever it is meant for: a program that reads the output of this one.
    ///
    /// # Errors
    /// If that reads no more.
    pub fn hand_on(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(self.0.as_bytes())?;
        to.flush()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// The public part of a key, to be shown: as it stands if it looks like one. Whoever types a file of keys may put the
/// secret in its place, and a file that was torn may have both on one line.
#[must_use]
pub fn shown_key_id(text: &str) -> &str {
    let is_id = text.len() < SECRET_LETTERS || text.starts_with("GOOG1");
    if is_id && is_name(text, "-_.") { text } else { NOT_SHOWN }
}

/// A name that stands in a file of keys, to be shown, on the same terms.
#[must_use]
pub fn shown_name(text: &str) -> &str {
    if !is_long_word(text) && is_name(text, "-_.:/@,+ ()[]&$!#%~*'\"") { text } else { NOT_SHOWN }
}

/// The kind of a remote, to be shown: kinds are plain words.
#[must_use]
pub fn shown_kind(text: &str) -> &str {
    let is_kind =
        text.len() <= MAX_KIND_BYTES && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ' ');
    if is_kind { text } else { NOT_SHOWN }
}

/// The address of a server, to be shown, on the same terms: addresses may carry a password or a signature.
#[must_use]
pub fn shown_address(text: &str) -> &str {
    if !is_long_word(text) && is_name(text, "-_.:/[]~%") { text } else { NOT_SHOWN }
}

/// What secrets look like.
fn is_long_word(text: &str) -> bool {
    text.len() >= SECRET_LETTERS && text.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
}

fn is_name(text: &str, besides: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.chars().all(|c| c.is_alphanumeric() || besides.contains(c))
}

/// Keeps the memory of this process, in which secrets are, out of files that the system writes when a process dies.
///
/// One byte, and not none: of a limit of none those systems take no notice that hand the memory to a program.
pub fn keep_from_dumps() {
    // If it cannot be had, the process is as other processes are.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_name_is_shown_and_nothing_else() {
        for id in ["AKIAIOSFODNN7EXAMPLE", "testkey", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(shown_key_id(id), id);
        }
        for not in ["wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "key secret_access_key = x", "a=b", &"A".repeat(40)] {
            assert_eq!(shown_key_id(not), NOT_SHOWN);
        }
        assert_eq!(shown_name("arn:aws:iam::1:role/reader"), "arn:aws:iam::1:role/reader");
        assert_eq!(shown_name("us-east-1 secret_access_key = x"), NOT_SHOWN);
        assert_eq!(shown_address("https://[::1]:8000/a"), "https://[::1]:8000/a");
        for not in ["https://me:word@host", "https://host/?sig=x"] {
            assert_eq!(shown_address(not), NOT_SHOWN);
        }
    }
}
