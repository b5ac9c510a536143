//! Reading from a real web server. Where nginx is not installed there is nothing to see.

#![allow(clippy::unwrap_used)] // A test: its panic is its verdict.

use frazil_model::{
    location::Location,
    problem::{Exit, Problem},
    range::ByteRange,
};
use frazil_store::{
    manners::traffic,
    read::{Reader, fingerprint},
};
use frazil_testkit::nginx::{Nginx, Speaks};

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("frazil-served-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn ranges_are_those_of_the_file_and_a_new_file_is_noticed() {
    let folder = folder("http");
    let content: Vec<u8> = (0..900_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(folder.join("a b.nc"), &content).unwrap();
    let Some(server) = Nginx::start(&folder, Speaks::Http) else { return };
    let location = Location::parse(&format!("{}/a b.nc", server.address())).unwrap();
    let before = traffic();
    let state = fingerprint(&location).unwrap();
    assert_eq!(state.size_bytes, content.len() as u64);
    assert!(state.tells_changes());
    let reader = Reader::open_as(&location, &state).unwrap();
    for (offset, n_bytes) in [(0, 1), (1_000_001, 333_333), (3_599_999, 1), (0, 3_600_000)] {
        let bytes = reader.read(ByteRange::new(offset, n_bytes).unwrap()).unwrap();
        assert_eq!(bytes, content[usize::try_from(offset).unwrap()..][..usize::try_from(n_bytes).unwrap()]);
    }
    let asked = traffic().since(before);
    assert!(asked.n_requests >= 5 && asked.received_bytes >= 3_933_335, "{asked:?}");
    std::fs::write(folder.join("a b.nc"), &content[4..]).unwrap();
    let error = reader.read(ByteRange::new(0, 9).unwrap()).unwrap_err();
    assert_eq!(error.code(), "store.changed", "{error}");
    assert_ne!(fingerprint(&location).unwrap(), state);
    drop(server);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_certificate_that_nobody_knows_is_refused_at_once() {
    let folder = folder("https");
    std::fs::write(folder.join("a.nc"), b"bytes").unwrap();
    let Some(server) = Nginx::start(&folder, Speaks::Https) else { return };
    let location = Location::parse(&format!("{}/a.nc", server.address())).unwrap();
    let error = fingerprint(&location).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("store.untrusted", Exit::No), "{error}");
    assert!(error.to_string().contains("not trusted"), "{error}");
    drop(server);
    std::fs::remove_dir_all(folder).unwrap();
}
