//! Catalogs: texts that name stores which somebody relies on.
//!
//! It promises to be generous: a mistake keeps something that could have gone, and never the other way. So it does not ask
//! what of a text is an address; it looks for the names of the stores in it, in all the ways in which texts write them. A
//! catalog of which anything cannot be read is an error.

mod forms;
mod search;
mod text;

use crate::{
    error::TransferError,
    place::{Place, Written},
    walk::{Found, Tree, tree},
};

use text::{Content, MAX_TEXT_BYTES, content_of};

/// All texts of all catalogs, in memory at once.
const MAX_ALL_BYTES: usize = 1 << 30;

/// The texts of some catalogs.
#[derive(Debug, Default)]
pub struct Named {
    /// Each with where it lies.
    texts: Vec<(String, String)>,
}

impl Named {
    /// Reads catalogs: a text, or a folder of them, in which every file counts.
    ///
    /// # Errors
    /// If one is not there or cannot be read, or a folder holds none.
    pub fn read(catalogs: &[String]) -> Result<Self, TransferError> {
        let mut named = Self::default();
        for text in catalogs {
            let written = Written::read(text)?;
            let tree = tree(&written)?;
            let wrong = |reason: String| TransferError::NoCatalog { place: text.clone(), reason };
            let passed_over = tree.passed_over.iter().find(|(name, _)| !is_of_git(name));
            if let Some((name, why)) = passed_over {
                return Err(wrong(format!("`{name}` in it is not read, {why}; name what it leads to, or take it out")));
            }
            let (mut n_texts, mut n_bytes) = (0_usize, 0_usize);
            for found in tree.found.iter().filter(|found| tree.is_file || !is_of_git(&found.name)) {
                let place = if tree.is_file { tree.place.clone() } else { tree.place.below(&found.name) };
                let content = match content(&tree, &place, found)? {
                    Content::Text(content) => content,
                    Content::Picture if tree.is_file => return Err(wrong("it is a picture".into())),
                    Content::Picture => continue,
                };
                n_texts += usize::from(!content.trim().is_empty());
                n_bytes += content.len();
                named.texts.push((place.shown(), content));
                if named.texts.iter().map(|(_, text)| text.len()).fold(0, usize::saturating_add) > MAX_ALL_BYTES {
                    return Err(wrong(format!("all catalogs have more than {MAX_ALL_BYTES} bytes")));
                }
            }
            match (n_texts, n_bytes) {
                (0, 0) if tree.found.is_empty() => return Err(wrong("no text lies there".into())),
                (0, _) => return Err(wrong("there is nothing in it".into())),
                _ => {}
            }
        }
        Ok(named)
    }

    /// For each of the stores, by their names below a place, which text names it, if one does: it, something in it, or a folder
    /// above it.
    ///
    /// # Errors
    /// If there are too many names.
    pub fn find(&self, place: &Place, stores: &[&str]) -> Result<Vec<Option<String>>, TransferError> {
        search::find(&self.texts, place, stores)
    }
}

/// What git keeps beside the texts: names in it are of the past.
fn is_of_git(name: &str) -> bool {
    name == ".git" || name.starts_with(".git/") || name.contains("/.git/")
}

fn content(tree: &Tree, place: &Place, found: &Found) -> Result<Content, TransferError> {
    let wrong = |reason: String| TransferError::NoCatalog { place: place.shown(), reason };
    if found.size_bytes > MAX_TEXT_BYTES {
        return Err(wrong(format!("it has {} bytes, and at most {MAX_TEXT_BYTES} are read", found.size_bytes)));
    }
    let bytes = match place {
        Place::Local(path) => std::fs::read(path).map_err(|error| wrong(error.kind().to_string()))?,
        Place::Bucket { bucket, key } => {
            bucket.get(key, MAX_TEXT_BYTES)?.ok_or_else(|| wrong("it is gone".to_owned()))?.to_vec()
        }
        Place::Web(_) => return Err(wrong("it is on a web server; fetch it first".into())),
    };
    let content = content_of(&bytes).map_err(wrong)?;
    let name = if tree.is_file { place.base_name() } else { found.name.to_string() };
    match &content {
        Content::Text(text) if text::is_cut_off(&name, text) => Err(wrong("it ends in the middle of its JSON".into())),
        _ => Ok(content),
    }
}
