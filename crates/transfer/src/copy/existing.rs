//! What is there already where something is to be copied to.
//!
//! It is told by listings, one for each folder that is written, never by a question for each file.

use std::{collections::BTreeMap, sync::Arc};

use frazil_store::bucket::{Bucket, Depth};

use super::claims::is_lock;
use crate::{
    atoms::root_of_document,
    error::TransferError,
    place::{Place, Written, joined, under},
    walk::{Found, Tree, tree},
};

/// So many files are asked about one by one; for more their folder is listed.
const MOST_ASKED: usize = 16;

/// The size of what is no file: no file has it.
const UNLIKE: u64 = u64::MAX;

/// Files by their names below the place that is written to, in the order of names.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    found: Vec<Found>,
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
        // Who writes to a store is no part of it.
        existing.found.retain(|found| !is_lock(&found.name));
        existing.found.sort_by(|a, b| a.name.cmp(&b.name));
        existing.found.dedup_by(|again, first| again.name == first.name);
        Ok(existing)
    }

    fn add_local(&mut self, root: &Place, base: &str) -> Result<(), TransferError> {
        let place = if base.is_empty() { root.clone() } else { root.below(base) };
        let Place::Local(path) = &place else { return Ok(()) };
        match path.symlink_metadata() {
            Err(_) => return Ok(()),
            // A link is not followed: the place that is written to is the only one that may be one.
            Ok(about) if about.is_symlink() && !base.is_empty() => {
                self.found.push(unlike(base));
                return Ok(());
            }
            Ok(_) => {}
        }
        let written = Written { text: place.shown(), place: place.clone(), ends_with_slash: false };
        let there = tree(&written)?;
        for mut found in there.found {
            found.name = under(base, &found.name);
            self.found.push(found);
        }
        self.found.extend(there.passed_over.iter().map(|(name, _)| unlike(&joined(base, name))));
        Ok(())
    }

    fn add_objects(&mut self, bucket: &Bucket, key: &str, names: &[&str]) -> Result<(), TransferError> {
        if names.len() <= MOST_ASKED {
            for name in names {
                if let Some(listed) = bucket.about(&joined(key, name))? {
                    self.found.push(Found::of_object(listed, *name));
                }
            }
            return Ok(());
        }
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        for page in bucket.pages(&prefix, Depth::One) {
            for listed in page?.objects {
                let name: Arc<str> = listed.key.get(prefix.len()..).unwrap_or_default().into();
                self.found.push(Found::of_object(listed, name));
            }
        }
        Ok(())
    }

    fn add_listing(&mut self, bucket: &Bucket, key: &str, base: &str) -> Result<(), TransferError> {
        let start = joined(key, base);
        let prefix = if start.is_empty() { String::new() } else { format!("{start}/") };
        for page in bucket.pages(&prefix, Depth::All) {
            for listed in page?.objects {
                let below: Arc<str> = listed.key.get(prefix.len()..).unwrap_or_default().into();
                if !below.is_empty() {
                    self.found.push(Found::of_object(listed, under(base, &below)));
                }
            }
        }
        Ok(())
    }

    /// What has a name.
    pub fn named(&self, name: &str) -> Option<&Found> {
        let at = self.found.binary_search_by(|found| (*found.name).cmp(name)).ok()?;
        self.found.get(at)
    }

    /// What stores show themselves by, with size and tag.
    pub fn documents(&self) -> BTreeMap<String, (u64, String)> {
        let is_document = |found: &&Found| found.size_bytes != UNLIKE && root_of_document(&found.name).is_some();
        let documents = self.found.iter().filter(is_document);
        documents.map(|found| (found.name.to_string(), (found.size_bytes, found.state.tag()))).collect()
    }

    /// All names with their sizes, sorted.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let size_bytes = |found: &Found| if found.size_bytes == UNLIKE { 0 } else { found.size_bytes };
        self.found.iter().map(move |found| (&*found.name, size_bytes(found)))
    }
}

/// Something that is no file, and so like none.
fn unlike(name: &str) -> Found {
    let state = frazil_store::bucket::State::default();
    Found { name: name.into(), size_bytes: UNLIKE, state, modified_seconds: None, mark: None }
}
