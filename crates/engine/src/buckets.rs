//! Files in buckets: what a pattern or the start of a key names there.
//!
//! It promises that a pattern means in a bucket what it means on this machine, and that a listing that was cut short is
//! an error, not a shorter answer. It reads keys, not objects.

use frazil_model::{
    location::{Location, Object},
    pattern::{fits, is_pattern},
};
use frazil_store::bucket::listing;

use crate::{error::EngineError, places::is_named_like_data};

/// The objects that `object` names: those of a pattern, those below a key that ends with a slash, or itself.
pub fn objects(object: &Object) -> Result<Vec<Location>, EngineError> {
    let is_named = !is_pattern(&object.key) && !object.key.is_empty() && !object.key.ends_with('/');
    if is_named {
        return Ok(vec![Location::Object(object.clone())]);
    }
    let parts: Vec<&str> = object.key.split('/').collect();
    let n_plain = parts.iter().take_while(|part| !is_pattern(part)).count();
    let start: String = parts.iter().take(n_plain).map(|part| format!("{part}/")).collect();
    let start = if is_pattern(&object.key) { start } else { object.key.clone() };
    let is_meant = |key: &str| match is_pattern(&object.key) {
        true => fits(&parts, &key.split('/').collect::<Vec<_>>()),
        // Objects are not opened to see how they begin: each would cost a request.
        false => is_named_like_data(key),
    };
    let keys = listing(&object.with_key(start))?.into_iter().map(|listed| listed.key);
    let mut found: Vec<Location> =
        keys.filter(|key| is_meant(key)).map(|key| Location::Object(object.with_key(key))).collect();
    found.sort();
    if found.is_empty() {
        return Err(EngineError::NoMatch { pattern: object.to_string() });
    }
    Ok(found)
}
