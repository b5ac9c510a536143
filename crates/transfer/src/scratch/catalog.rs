//! Catalogs: texts that name stores which somebody relies on.
//!
//! It is generous: whatever looks like the address of a store, of something in it or of a folder above it counts, with or
//! without its scheme, relative or percent-encoded. A mistake keeps something that could have gone, and never the other
//! way. A catalog that cannot be read is an error.

use std::collections::{HashMap, HashSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{
    error::TransferError,
    place::{Place, Written},
    walk::{Found, Tree, tree},
};

/// The largest text of a catalog.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// What catalogs are written in.
const ENDINGS: [&str; 9] = [".json", ".yaml", ".yml", ".jsonl", ".geojson", ".toml", ".md", ".txt", ".html"];

/// What ends an address in a text.
const ENDS: &[char] = &['"', '\'', '`', ',', ';', '<', '>', '(', ')', '[', ']', '{', '}', '|', '=', '#', '?', '\\'];

/// The addresses that some catalogs name.
#[derive(Debug, Default)]
pub struct Named {
    /// Each with the text that names it.
    all: Vec<(Vec<String>, usize)>,
    /// Which of them have a part.
    with: HashMap<String, Vec<usize>>,
    texts: Vec<String>,
    known: HashSet<Vec<String>>,
}

impl Named {
    /// Reads catalogs: a text, or a folder of them.
    ///
    /// # Errors
    /// If one is not there or cannot be read, or a folder holds none.
    pub fn read(catalogs: &[String]) -> Result<Self, TransferError> {
        let mut named = Self::default();
        for text in catalogs {
            let written = Written::read(text)?;
            let tree = tree(&written)?;
            let is_text = |found: &&Found| tree.is_file || ENDINGS.iter().any(|ending| found.name.ends_with(ending));
            let files: Vec<&Found> = tree.found.iter().filter(is_text).collect();
            if files.is_empty() {
                return Err(TransferError::NoCatalog { place: text.clone(), reason: "no text lies there".into() });
            }
            for found in files {
                let content = content(&tree, found)?;
                let place = if tree.is_file { tree.place.clone() } else { tree.place.below(&found.name) };
                named.add(&content, place.shown());
            }
        }
        Ok(named)
    }

    fn add(&mut self, content: &str, text: String) {
        let number = self.texts.len();
        self.texts.push(text);
        if let Ok(value) = serde_json::from_str(content) {
            return self.add_value(&value, number);
        }
        self.add_words(&content.replace("\\/", "/"), number);
        // A document a line.
        for line in content.lines().filter(|line| line.starts_with('{')) {
            if let Ok(value) = serde_json::from_str(line) {
                self.add_value(&value, number);
            }
        }
    }

    fn add_value(&mut self, value: &Value, number: usize) {
        match value {
            Value::String(text) => self.add_words(text, number),
            Value::Array(all) => all.iter().for_each(|value| self.add_value(value, number)),
            Value::Object(all) => {
                for (key, value) in all {
                    self.add_words(key, number);
                    self.add_value(value, number);
                }
            }
            _ => {}
        }
    }

    fn add_words(&mut self, text: &str, number: usize) {
        // A line may be one address with spaces in it.
        for line in text.lines().filter(|line| line.len() < 4096) {
            self.add_word(line.trim(), number);
            let value = line.trim().trim_start_matches("- ").split_once(": ").map(|(_, value)| value);
            if let Some(value) = value {
                self.add_word(value.trim().trim_matches(ENDS), number);
            }
        }
        text.split(|letter: char| letter.is_whitespace() || ENDS.contains(&letter))
            .for_each(|word| self.add_word(word, number));
    }

    fn add_word(&mut self, word: &str, number: usize) {
        let plain = percent_decode_str(word).decode_utf8_lossy();
        for word in [word, &*plain] {
            let path = word.rsplit_once("://").map_or(word, |(_, path)| path);
            // `NAME:bucket/key`, and words with a full stop at their end.
            let path = path.split_once(':').filter(|(name, _)| !name.contains('/')).map_or(path, |(_, rest)| rest);
            let parts: Vec<String> = path
                .trim_end_matches([':', '.', '!'])
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".")
                .map(str::to_owned)
                .collect();
            if parts.is_empty() || !self.known.insert(parts.clone()) {
                continue;
            }
            let at = self.all.len();
            let different: HashSet<&String> = parts.iter().collect();
            for part in different {
                self.with.entry(part.clone()).or_default().push(at);
            }
            self.all.push((parts, number));
        }
    }

    /// The text that names a store, one of its files or a folder above it, if one does. `place` is where the store is, with the
    /// bucket in front; `n_above` of its first parts are the place that was asked about.
    #[must_use]
    pub fn names(&self, place: &str, n_above: usize) -> Option<&str> {
        let path = place.rsplit_once("://").map_or(place, |(_, path)| path);
        let path = path.split_once(':').filter(|(name, _)| !name.contains('/')).map_or(path, |(_, rest)| rest);
        let own: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (last, n_own) = (own.last()?, own.len());
        let told = |at: usize| self.all.get(at).and_then(|(_, text)| self.texts.get(*text)).map(String::as_str);
        // It, or something in it: the name stands there, with as much before it as the address has.
        for at in self.with.get(*last).into_iter().flatten() {
            let (parts, _) = self.all.get(*at)?;
            let is_it = parts.iter().enumerate().filter(|(_, part)| part == last).any(|(end, _)| {
                let n = (end + 1).min(n_own);
                own[n_own - n..].iter().zip(&parts[end + 1 - n..=end]).all(|(a, b)| a == b)
            });
            if is_it {
                return told(*at);
            }
        }
        // A folder above it, below the place.
        for end in n_above..n_own.saturating_sub(1) {
            let above = &own[..=end];
            let ends_there = |at: &&usize| {
                self.all.get(**at).is_some_and(|(parts, _)| {
                    let n = parts.len().min(above.len());
                    n > 1
                        && parts.len() <= above.len()
                        && above[above.len() - n..].iter().zip(&parts[parts.len() - n..]).all(|(a, b)| a == b)
                })
            };
            let name = own.get(end)?;
            if let Some(at) = self.with.get(*name).into_iter().flatten().find(ends_there) {
                return told(*at);
            }
        }
        None
    }
}

fn content(tree: &Tree, found: &Found) -> Result<String, TransferError> {
    let place = if tree.is_file { tree.place.clone() } else { tree.place.below(&found.name) };
    let wrong = |reason: String| TransferError::NoCatalog { place: place.shown(), reason };
    if found.size_bytes > MAX_TEXT_BYTES {
        return Err(wrong(format!("it has {} bytes", found.size_bytes)));
    }
    let bytes = match &place {
        Place::Local(path) => std::fs::read(path).map_err(|error| wrong(error.kind().to_string()))?,
        Place::Bucket { bucket, key } => {
            bucket.get(key, MAX_TEXT_BYTES)?.ok_or_else(|| wrong("it is gone".to_owned()))?
        }
        Place::Web(_) => return Err(wrong("it is on a web server; fetch it first".into())),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut named = Named::default();
        named.add(text, "catalog".into());
        let stores = ["s3://scratch/jdoe/sst.zarr", "s3://scratch/kim/sst.zarr", "s3://scratch/kim/run 1/rain.zarr"];
        let found: Vec<&str> = stores.into_iter().filter(|store| named.names(store, 1).is_some()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn addresses_in_any_form_are_found() {
        const JDOE: &[&str] = &["s3://scratch/jdoe/sst.zarr"];
        for text in [
            r#"{"store": "s3://scratch/jdoe/sst.zarr"}"#,
            r#"{"store": "s3:\/\/scratch\/jdoe\/sst.zarr\/"}"#,
            r#"{"store": "\u0073cratch/jdoe/sst.zarr"}"#,
            "stores:\n  - osn:scratch/jdoe/sst.zarr",
            "https://host/scratch/jdoe/sst.zarr/zarr.json",
            "https://host/scratch%2Fjdoe%2Fsst.zarr",
            "see <s3://scratch/jdoe/sst.zarr>.",
            "urlpath: jdoe/sst.zarr",
            "{{ CATALOG_DIR }}/jdoe/sst.zarr",
        ] {
            check(text, JDOE);
        }
    }

    #[test]
    fn a_name_alone_keeps_all_that_have_it() {
        check("path: sst.zarr", &["s3://scratch/jdoe/sst.zarr", "s3://scratch/kim/sst.zarr"]);
    }

    #[test]
    fn a_folder_keeps_what_is_in_it_and_the_bucket_does_not() {
        check("s3://scratch/kim/", &["s3://scratch/kim/sst.zarr", "s3://scratch/kim/run 1/rain.zarr"]);
        check("root: s3://scratch/", &[]);
        check("other: s3://another/jdoe/sst.zarr and xsst.zarr", &[]);
    }

    #[test]
    fn an_address_with_spaces_is_one() {
        check("path: s3://scratch/kim/run 1/rain.zarr", &["s3://scratch/kim/run 1/rain.zarr"]);
        check("path: s3://scratch/kim/run%201/rain.zarr", &["s3://scratch/kim/run 1/rain.zarr"]);
    }
}
