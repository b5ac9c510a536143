//! The two kinds of file that hold profiles: those of the AWS tools and that of rclone.
//!
//! Both are sections of `key = value` lines. It promises to keep the order, to take a line that it does not understand
//! for no line, and to hold no more than a small file. It does not know what the keys mean.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use crate::secret::{Secret, shown_name};

/// A longer file holds no profiles.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// One section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Section {
    /// Its name, as it stands between the brackets, if it looks like one.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// Values by key, in lower case; those below a key have its name before theirs: `s3.addressing_style`. Any of them
    /// may be a key or a token.
    values: BTreeMap<String, Secret>,
}

impl Section {
    /// The value of a key that is no secret; `None` if it is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(Secret::reveal).filter(|text| !text.is_empty())
    }

    /// The value of a key that is one.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.values.get(key).filter(|secret| !secret.reveal().is_empty()).cloned()
    }

    /// Says something else for a key.
    pub fn set(&mut self, key: String, value: Secret) {
        self.values.insert(key, value);
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }
}

/// The sections of a file; none if there is no such file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn sections_of(path: &Path) -> Result<Vec<Section>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.lines().any(|line| line.starts_with("RCLONE_ENCRYPT_V0:")) {
        return Err("it is encrypted with a password, which frazil does not ask for".into());
    }
    Ok(sections(&text))
}

/// The sections of a text.
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut parent = String::new();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
            found.push(Section { name: shown_name(name.trim()).to_owned(), line: number + 1, values: BTreeMap::new() });
            parent.clear();
            continue;
        }
        let (Some(section), Some((key, value))) = (found.last_mut(), trimmed.split_once('=')) else { continue };
        let key = key.trim().to_lowercase();
        // What is indented below a key without a value belongs to that key.
        let is_below = line.starts_with([' ', '\t']) && !parent.is_empty();
        let key = if is_below { format!("{parent}.{key}") } else { key };
        if !is_below {
            parent = if value.trim().is_empty() { key.clone() } else { String::new() };
        }
        section.values.insert(key, Secret::new(value.trim().to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_as_their_programs_read_them() {
        let found = sections(
            "# a comment\n[default]\nregion = us-east-1\n\n[profile osn]\nendpoint_url=https://osn.example\ns3 =\n  \
             addressing_style = path\nregion = x\n[ r ]\naccess_key_id = A=B==\nnonsense\n",
        );
        let names: Vec<_> = found.iter().map(|section| (section.name.as_str(), section.line)).collect();
        assert_eq!(names, [("default", 2), ("profile osn", 5), ("r", 10)]);
        assert_eq!(found[1].text("s3.addressing_style"), Some("path"));
        assert_eq!(found[1].text("region"), Some("x"));
        assert_eq!(found[2].text("access_key_id"), Some("A=B=="));
        assert!(!format!("{found:?}").contains("A=B"));
    }
}
