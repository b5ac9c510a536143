//! The file `.netrc`: hosts, names, passwords.
//!
//! It promises to use no file that others can read, and no line after one that makes no sense. Source: the manuals of
//! netrc in inetutils and of curl.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{address::Address, secret::Secret};

/// A longer file holds no logins.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The host, or host and port; `None` for all that are not named.
    pub machine: Option<String>,
    /// The name.
    pub login: String,
    /// Its line, from 1.
    pub line: usize,
    pub(super) password: Secret,
}

/// The file.
#[derive(Default)]
pub(super) struct Netrc {
    pub path: PathBuf,
    pub entries: Vec<Entry>,
    /// Why it is not used.
    pub refused: Option<String>,
}

impl Netrc {
    /// Reads it; one that is not there is empty.
    pub fn read(path: &Path) -> Self {
        let Ok(about) = fs::metadata(path) else { return Self::default() };
        let text = match about.len() {
            size if size > MAX_FILE_BYTES => Err(format!("it is larger than {MAX_FILE_BYTES} bytes")),
            _ => fs::read_to_string(path).map_err(|error| error.to_string()),
        };
        let mut read = match text {
            Ok(text) => Self::of(&text),
            Err(why) => Self { refused: Some(why), ..Self::default() },
        };
        let us = fs::metadata("/proc/self").map(|about| about.uid()).ok();
        if about.mode() & 0o077 != 0 {
            read.refused = Some("others can read it; `chmod 600` it first".into());
        } else if us.is_some_and(|us| about.uid() != us && about.uid() != 0) {
            read.refused = Some("it belongs to somebody else".into());
        }
        read.refused = read.refused.map(|why| format!("{} is not used: {why}", path.display()));
        read.path = path.to_owned();
        read
    }

    pub fn of(text: &str) -> Self {
        let (entries, wrong) = entries(text);
        let refused = wrong.map(|line| format!("line {line} makes no sense"));
        Self { path: PathBuf::new(), entries, refused }
    }

    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.refused.is_none()
    }

    /// The login for a server. One without a port is for the usual port, or for the one that somebody typed; the default
    /// is for nothing but what was typed.
    pub fn entry(&self, hop: &Address, is_typed: bool) -> Option<&Entry> {
        let is_usual = is_typed || hop.port() == Some(hop.scheme().port());
        self.entries.iter().find(|entry| match entry.machine.as_deref() {
            None => is_typed,
            Some(machine) => {
                let is_host = machine.eq_ignore_ascii_case(hop.host()) && is_usual;
                is_host || machine.eq_ignore_ascii_case(hop.authority())
            }
        })
    }
}

/// A word and its line.
fn words(text: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let mut in_macro = false;
    for (number, line) in text.lines().enumerate() {
        if in_macro {
            // A macro ends with an empty line.
            in_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            // Passwords may begin with `#`, so it counts where a word of the grammar could stand.
            let is_value = matches!(found.last(), Some((word, _)) if is_key(word)) && !is_second(&found);
            if rest.starts_with('#') && !is_value {
                break;
            }
            let (word, after) = word(rest);
            rest = after.trim_start();
            if word == "macdef" && !is_value {
                in_macro = true;
                break;
            }
            found.push((word, number + 1));
        }
    }
    found
}

fn is_key(word: &str) -> bool {
    ["machine", "login", "user", "password", "account"].contains(&word)
}

/// Whether the last word is the value of the one before it.
fn is_second(words: &[(String, usize)]) -> bool {
    let mut n_keys = 0;
    for (word, _) in words.iter().rev() {
        if !is_key(word) {
            break;
        }
        n_keys += 1;
    }
    n_keys % 2 == 0
}

/// The first word of a line, whose letters may stand in quotes, and what follows.
fn word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return (word.to_owned(), rest);
    };
    let mut word = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (word, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => word.extend(letters.next().map(|(_, letter)| letter)),
            other => word.push(other),
        }
    }
    (word, "")
}

/// The logins, and the line that makes no sense, if there is one.
fn entries(text: &str) -> (Vec<Entry>, Option<usize>) {
    let mut found: Vec<Entry> = Vec::new();
    let mut words = words(text).into_iter();
    while let Some((word, line)) = words.next() {
        match word.as_str() {
            "default" => {
                found.push(Entry { machine: None, login: String::new(), line, password: Secret::new(String::new()) })
            }
            key if is_key(key) => {
                let Some((value, _)) = words.next() else { return (found, Some(line)) };
                match (key, found.last_mut()) {
                    ("machine", _) => found.push(Entry {
                        machine: Some(value.to_lowercase()),
                        login: String::new(),
                        line,
                        password: Secret::new(String::new()),
                    }),
                    ("login" | "user", Some(entry)) => entry.login = value,
                    ("password", Some(entry)) => entry.password = Secret::new(value),
                    (_, Some(_)) => {}
                    (_, None) => return (found, Some(line)),
                }
            }
            _ => return (found, Some(line)),
        }
    }
    (found, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (found, wrong) = entries(text);
        let shown: Vec<_> = found
            .iter()
            .map(|entry| {
                let machine = entry.machine.as_deref().unwrap_or("*");
                format!("{machine} {} {} {}", entry.login, entry.password.reveal(), entry.line)
            })
            .collect();
        let wrong = wrong.map(|line| format!(" | wrong {line}")).unwrap_or_default();
        assert_eq!(format!("{}{wrong}", shown.join(" | ")), expected);
    }

    #[test]
    fn logins_are_read_as_other_programs_read_them() {
        check("machine a login b password c\n", "a b c 1");
        check(
            "# all of mine\nmachine A\n  login b # me\n  password c\n\ndefault login d password e",
            "a b c 2 | * d e 6",
        );
        check("machine a login b password #c", "a b #c 1");
        check("machine a login \"b c\" password \"d\\\"e\"", "a b c d\"e 1");
        check(
            "machine a login b password c\nmacdef init\ncd /x\nmachine evil\n\nmachine d login e password f",
            "a b c 1 | d e f 6",
        );
        check("machine a login login password password", "a login password 1");
        check("machine a login b account x password c", "a b c 1");
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_line() {
        check("machine a login b password c\nnonsense", "a b c 1 | wrong 2");
        check("login b", " | wrong 1");
        check("machine", " | wrong 1");
    }
}
