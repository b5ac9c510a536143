//! Files and stores in buckets: what a pattern or the start of a key names there.
//!
//! It promises that a pattern means in a bucket what it means on this machine, that a Zarr store is one thing, and that a
//! listing that was cut short is an error, not a shorter answer. It reads keys, not objects.

use std::collections::BTreeSet;

use frazil_model::{
    location::{Location, Object, is_below},
    pattern::{fits, is_pattern},
    zarr::DOCUMENTS,
};
use frazil_store::{
    bucket::listing,
    folder::{Folder, Kind},
};

use crate::{
    error::EngineError,
    places::{Place, is_named_like_data},
};

/// What `object` names: stores and objects of a pattern or below a key that ends with a slash, a store, or itself.
pub fn places_of(object: &Object) -> Result<Vec<Place>, EngineError> {
    if !is_many(object) {
        // A file is known by its name, without a question; what else a key is, what lies below it says.
        let is_store = !is_named_like_data(&object.key) && is_store(&Location::Object(object.clone()))?;
        return Ok(vec![if is_store { zarr(object, &object.key) } else { file(object, &object.key) }]);
    }
    let keys: Vec<String> = keys_of(object)?;
    let roots = roots(&keys);
    let below = |key: &str| folders_of(key).any(|folder| roots.contains(folder));
    let fits = Fits::of(object);
    let mut found: Vec<Place> =
        keys.iter().filter(|key| !below(key) && fits.file(key)).map(|key| file(object, key)).collect();
    found.extend(roots.iter().filter(|root| fits.store(root)).map(|root| zarr(object, root)));
    found.sort();
    if found.is_empty() {
        return Err(EngineError::NoMatch { pattern: object.to_string() });
    }
    Ok(found)
}

fn file(object: &Object, key: &str) -> Place {
    let location = Location::Object(object.with_key(key.to_owned()));
    Place::File { name: location.to_string(), location }
}

fn zarr(object: &Object, key: &str) -> Place {
    let location = Location::Object(object.with_key(key.to_owned()));
    Place::Zarr { name: location.to_string(), location }
}

/// Whether the objects below a key are of a Zarr store.
fn is_store(location: &Location) -> Result<bool, EngineError> {
    let names = Folder::at(location)?.names("")?;
    Ok(names.iter().any(|entry| entry.kind == Kind::File && DOCUMENTS.contains(&entry.name.as_str())))
}

/// The folders that a key lies in, the bucket itself included.
fn folders_of(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..at]).chain((!key.is_empty()).then_some(""))
}

/// The folders of stores, without those that lie in others.
fn roots(keys: &[String]) -> BTreeSet<String> {
    let of_document = |key: &String| match key.rsplit_once('/') {
        Some((folder, name)) => DOCUMENTS.contains(&name).then(|| folder.to_owned()),
        None => DOCUMENTS.contains(&key.as_str()).then(String::new),
    };
    let all: BTreeSet<String> = keys.iter().filter_map(of_document).collect();
    all.iter().filter(|root| !folders_of(root).any(|folder| all.contains(folder))).cloned().collect()
}

/// Which keys are meant.
struct Fits<'a> {
    object: &'a Object,
    parts: Option<Vec<&'a str>>,
}

impl<'a> Fits<'a> {
    fn of(object: &'a Object) -> Self {
        Self { object, parts: is_pattern(&object.key).then(|| object.key.split('/').collect()) }
    }

    fn file(&self, key: &str) -> bool {
        match &self.parts {
            Some(parts) => fits(parts, &key.split('/').collect::<Vec<_>>()),
            // Objects are not opened to see how they begin: each would cost a request.
            None => is_named_like_data(key),
        }
    }

    fn store(&self, key: &str) -> bool {
        match &self.parts {
            Some(parts) => fits(parts, &key.split('/').collect::<Vec<_>>()),
            None => key.starts_with(self.object.key.as_str()) || is_below(&self.object.key, key),
        }
    }
}

/// Whether a key names what lies below it, or what a pattern fits.
fn is_many(object: &Object) -> bool {
    is_pattern(&object.key) || object.key.is_empty() || object.key.ends_with('/')
}

/// All keys that may be meant.
fn keys_of(object: &Object) -> Result<Vec<String>, EngineError> {
    let start = if is_pattern(&object.key) {
        let plain = object.key.split('/').take_while(|part| !is_pattern(part));
        plain.map(|part| format!("{part}/")).collect()
    } else {
        object.key.clone()
    };
    Ok(listing(&object.with_key(start))?.into_iter().map(|listed| listed.key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_one_thing_and_what_lies_in_it_none() {
        let keys = ["a.nc", "s.zarr/.frazil/receipt.json", "s.zarr/sst/zarr.json", "s.zarr/zarr.json", "t/.zgroup"];
        let found = roots(&keys.map(str::to_owned));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["s.zarr", "t"]);
        assert_eq!(roots(&["zarr.json".to_owned(), "sst/zarr.json".to_owned()]).into_iter().collect::<Vec<_>>(), [""]);
    }
}
