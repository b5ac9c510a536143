//! The only places that may be written to, where somebody said so.
//!
//! It is asked by whoever puts, copies or deletes an object, so that no verb can forget it.

use std::sync::OnceLock;

use frazil_model::location::Location;

use crate::error::StoreError;

static ONLY_UNDER: OnceLock<Vec<String>> = OnceLock::new();

/// Lets nothing be written but below these places, such as `gs://leap-persistent/jdoe/`. A second call changes nothing.
pub fn write_only_under(places: Vec<String>) {
    let _ = ONLY_UNDER.set(places);
}

/// Whether a place may be written to. Files of this machine may, unless a place of it is named.
///
/// # Errors
/// [`StoreError::OutOfBounds`] if not.
pub fn check(location: &Location) -> Result<(), StoreError> {
    match ONLY_UNDER.get() {
        Some(places) => check_under(location, places),
        None => Ok(()),
    }
}

fn check_under(location: &Location, places: &[String]) -> Result<(), StoreError> {
    let text = match location {
        Location::File(path) => match std::path::absolute(path) {
            Ok(path) => path.display().to_string(),
            Err(_) => path.clone(),
        },
        other => other.to_string(),
    };
    let of_kind = |place: &&String| matches!(location, Location::File(_)) == place.starts_with('/');
    let mut asked = places.iter().filter(of_kind).peekable();
    if matches!(location, Location::File(_)) && asked.peek().is_none() {
        return Ok(());
    }
    let is_under = |place: &String| {
        let place = place.trim_end_matches('/');
        let rest = text.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !text.split('/').any(|part| part == "..")
    };
    match asked.any(is_under) {
        true => Ok(()),
        false => Err(StoreError::OutOfBounds { location: location.clone(), allowed: places.join("`, `") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_a_named_place_is_written() {
        let places = ["s3://data/me/".to_owned(), "pod:b".to_owned()];
        let check = |text: &str| check_under(&Location::parse(text).unwrap(), &places).is_ok();
        assert!(check("s3://data/me/x") && check("s3://data/me"));
        assert!(!check("s3://data/meow") && !check("s3://data/you/x") && !check("s3://other/me/x"));
        assert!(!check("s3://data/me/../you"));
        assert!(check("/tmp/x"), "no place of this machine is named");
    }
}
