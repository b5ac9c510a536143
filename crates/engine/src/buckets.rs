//! Files in buckets: what a pattern or the start of a key names there.
//!
//! It promises that a pattern means in a bucket what it means on this machine, and that a listing that was cut short is
//! an error, not a shorter answer. It reads keys, not objects.

use frazil_model::location::{Location, Object};
use frazil_store::bucket::listing;

use crate::{
    error::EngineError,
    places::{is_named_like_data, is_pattern, matches},
};

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
    let fits = |key: &str| match is_pattern(&object.key) {
        true => fits(&parts, &key.split('/').collect::<Vec<_>>()),
        // Objects are not opened to see how they begin: each would cost a request.
        false => is_named_like_data(key),
    };
    let keys = listing(&object.with_key(start))?.into_iter().map(|listed| listed.key);
    let mut found: Vec<Location> =
        keys.filter(|key| fits(key)).map(|key| Location::Object(object.with_key(key))).collect();
    found.sort();
    if found.is_empty() {
        return Err(EngineError::NoMatch { pattern: object.to_string() });
    }
    Ok(found)
}

/// Whether the parts of a key are as a pattern says; `**` is any number of them.
fn fits(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), Some(_)) => true,
        (Some((&"**", rest)), _) => (0..=key.len()).any(|n_parts| fits(rest, &key[n_parts..])),
        (Some((part, rest)), Some((name, names))) => {
            // As in a shell, a star does not find what is hidden.
            let is_seen = part.starts_with('.') || !name.starts_with('.');
            (part == name || (is_seen && is_pattern(part) && matches(part, name))) && fits(rest, names)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, key: &str, expected: bool) {
        let parts = |text: &'static str| text.split('/').collect::<Vec<_>>();
        let (pattern, key) = (pattern.to_owned().leak(), key.to_owned().leak());
        assert_eq!(fits(&parts(pattern), &parts(key)), expected, "{pattern} {key}");
    }

    #[test]
    fn a_star_does_not_cross_a_slash_and_two_do() {
        check("a/*.nc", "a/x.nc", true);
        check("a/*.nc", "a/b/x.nc", false);
        check("a/**/*.nc", "a/b/c/x.nc", true);
        check("a/**/*.nc", "a/x.nc", true);
        check("a/**", "a/b/c", true);
        check("a/*.nc", "a/.x.nc", false);
        check("a/[0-9].nc", "a/7.nc", true);
    }
}
