//! What is there already where something is to be copied to.
//!
//! It is told by listings, one for each folder that is written, never by a question for each file.

use std::collections::BTreeMap;

use frazil_store::bucket::{Bucket, Depth};

use crate::{
    error::TransferError,
    place::{Place, Written, joined},
    walk::{Found, Tree, tree},
};

/// So many files are asked about one by one; for more their folder is listed.
const MOST_ASKED: usize = 16;

/// The size of what is no file: no file has it.
const UNLIKE: u64 = u64::MAX;

/// Files by their names below the place that is written to.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    by_name: BTreeMap<String, Found>,
}

impl Existing {
    /// What is there below `root`, where the trees go under their names.
    pub fn below(root: &Place, trees: &[Tree], bases: &[String]) -> Result<Self, TransferError> {
        let mut existing = Self::default();
        let files: Vec<&str> =
            trees.iter().zip(bases).filter(|(tree, _)| tree.is_file).map(|(_, base)| base.as_str()).collect();
        match root {
            Place::Local(_) => {
                for base in bases {
                    existing.add_local(root, base)?;
                }
            }
            Place::Bucket { bucket, key } => {
                existing.add_objects(bucket, key, &files)?;
                for (_, base) in trees.iter().zip(bases).filter(|(tree, _)| !tree.is_file) {
                    existing.add_listing(bucket, key, base)?;
                }
            }
            Place::Web(_) => {}
        }
        Ok(existing)
    }

    fn add_local(&mut self, root: &Place, base: &str) -> Result<(), TransferError> {
        let place = if base.is_empty() { root.clone() } else { root.below(base) };
        let Place::Local(path) = &place else { return Ok(()) };
        match path.symlink_metadata() {
            Err(_) => return Ok(()),
            // A link is not followed: the place that is written to is the only one that may be one.
            Ok(about) if about.is_symlink() && !base.is_empty() => {
                self.by_name.insert(base.to_owned(), unlike(base.to_owned()));
                return Ok(());
            }
            Ok(_) => {}
        }
        let written = Written { text: place.shown(), place: place.clone(), ends_with_slash: false };
        let there = tree(&written)?;
        for mut found in there.found {
            found.name = joined(base, &found.name);
            self.by_name.insert(found.name.clone(), found);
        }
        for (name, _) in there.passed_over {
            let name = joined(base, &name);
            self.by_name.insert(name.clone(), unlike(name));
        }
        Ok(())
    }

    fn add_objects(&mut self, bucket: &Bucket, key: &str, names: &[&str]) -> Result<(), TransferError> {
        if names.len() <= MOST_ASKED {
            for name in names {
                if let Some(listed) = bucket.about(&joined(key, name))? {
                    self.insert(listed, (*name).to_owned());
                }
            }
            return Ok(());
        }
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        for page in bucket.pages(&prefix, Depth::One) {
            for listed in page?.objects {
                let name = listed.key.get(prefix.len()..).unwrap_or_default().to_owned();
                self.insert(listed, name);
            }
        }
        Ok(())
    }

    fn add_listing(&mut self, bucket: &Bucket, key: &str, base: &str) -> Result<(), TransferError> {
        let start = joined(key, base);
        let prefix = if start.is_empty() { String::new() } else { format!("{start}/") };
        for page in bucket.pages(&prefix, Depth::All) {
            for listed in page?.objects {
                let below = listed.key.get(prefix.len()..).unwrap_or_default().to_owned();
                if !below.is_empty() {
                    self.insert(listed, joined(base, &below));
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, listed: frazil_store::bucket::Listed, name: String) {
        let found = Found {
            name: name.clone(),
            size_bytes: listed.size_bytes,
            state: listed.state,
            modified_seconds: listed.modified_seconds,
            mark: None,
        };
        self.by_name.insert(name, found);
    }

    /// What has a name.
    pub fn named(&self, name: &str) -> Option<&Found> {
        self.by_name.get(name)
    }

    /// All names with their sizes, sorted.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let size_bytes = |found: &Found| if found.size_bytes == UNLIKE { 0 } else { found.size_bytes };
        self.by_name.iter().map(move |(name, found)| (name.as_str(), size_bytes(found)))
    }
}

/// Something that is no file, and so like none.
fn unlike(name: String) -> Found {
    Found {
        name,
        size_bytes: UNLIKE,
        state: frazil_store::bucket::State::default(),
        modified_seconds: None,
        mark: None,
    }
}
