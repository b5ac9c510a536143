//! The walls of the house, checked over `cargo metadata` and the sources.
//!
//! `docs/architecture.md` says which floor may know what. `Cargo.toml` keeps most of it (the dependency is absent);
//! this test keeps it absent, together with the licences, the build needs and the size of files. It knows names of
//! crates and words in sources; it does not know what the code does.

#![allow(clippy::unwrap_used)] // A test: its panic is its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A floor, and the packages that must not be reachable from it, tests aside.
const WALLS: &[(&str, &[&str])] = &[
    (
        "frazil-model",
        &[
            "tokio",
            "object_store",
            "reqwest",
            "hyper",
            "ureq",
            "frazil-store",
            "frazil-formats",
            "frazil-engine",
            "clap",
        ],
    ),
    (
        "frazil-formats",
        &[
            "tokio",
            "futures",
            "async-trait",
            "object_store",
            "reqwest",
            "hyper",
            "ureq",
            "frazil-store",
            "frazil-engine",
        ],
    ),
    ("frazil-store", &["frazil-formats", "frazil-engine", "frazil-transfer", "clap", "indicatif"]),
    ("frazil-transfer", &["frazil-formats", "frazil-engine", "frazil-cli", "clap", "indicatif"]),
    ("frazil-engine", &["frazil-cli", "clap", "indicatif", "comfy-table", "miette"]),
];

/// What a floor must not name in its own manifest, though it may reach it through the floor below.
const NOT_DIRECTLY: &[(&str, &[&str])] = &[
    ("frazil-cli", &["object_store", "reqwest", "hyper", "ureq", "frazil-formats"]),
    ("frazil-engine", &["object_store", "reqwest", "hyper", "ureq"]),
    ("frazil-transfer", &["object_store", "reqwest", "hyper", "ureq"]),
];

/// Crates that need more than Rust and `cc` to build, or bring a library of the system.
const NOT_IN_THE_TREE: &[&str] = &[
    "cmake",
    "bindgen",
    "clang-sys",
    "openssl-sys",
    "native-tls",
    "hdf5-sys",
    "hdf5-metno-sys",
    "netcdf-sys",
    "libaec-sys",
    "aws-lc-sys",
    "serde_yaml",
];

/// Licences we may ship. One of the alternatives of an `OR` is enough; every part of an `AND` is needed.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Zlib",
    "CC0-1.0",
    "ISC",
    "Unlicense",
    "0BSD",
    "Unicode-3.0",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CDLA-Permissive-2.0",
];

/// Words that the sources of the pure floors must not hold: files, network, clock, async.
const NOT_IN_PURE_FLOORS: &[&str] = &["std::fs", "std::net", "SystemTime", "Instant::now", "async fn", "std::env"];

const MAX_LINES: usize = 500;

/// How many packages may appear in more than one version. Raise it only with the reason beside it.
const MAX_DUPLICATES: usize = 6;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The resolved tree for this machine: other systems' crates need not be downloaded to check it.
fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    let answer = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Everything that `name` reaches through normal and build dependencies.
fn reached(metadata: &Value, name: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = list(metadata, "packages").map(|p| (text(p, "id"), text(p, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"], "nodes").map(|n| (text(n, "id"), n)).collect();
    let mut waiting: Vec<&str> = names.iter().filter(|(_, n)| **n == name).map(|(id, _)| *id).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        for dependency in list(nodes[id], "deps") {
            let needed = list(dependency, "dep_kinds").any(|kind| text(kind, "kind") != "dev");
            let id = text(dependency, "pkg");
            if needed && seen.insert(id) {
                waiting.push(id);
            }
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn each_floor_reaches_only_what_lies_below_it() {
    let metadata = metadata();
    for (floor, forbidden) in WALLS {
        let reached = reached(&metadata, floor);
        for name in *forbidden {
            assert!(!reached.contains(*name), "`{floor}` reaches `{name}`; docs/architecture.md says why it must not");
        }
    }
    for (floor, forbidden) in NOT_DIRECTLY {
        let Some(package) = list(&metadata, "packages").find(|p| text(p, "name") == *floor) else { continue };
        for dependency in list(package, "dependencies").filter(|d| text(d, "kind") != "dev") {
            let name = text(dependency, "name");
            assert!(!forbidden.contains(&name), "`{floor}` names `{name}` in its Cargo.toml");
        }
    }
}

#[test]
fn nothing_but_rust_and_cc_is_needed_to_build() {
    for package in list(&metadata(), "packages") {
        let name = text(package, "name");
        assert!(!NOT_IN_THE_TREE.contains(&name), "`{name}` is in the tree: it needs more than Rust and cc");
    }
}

/// Whether one alternative of `expression` holds only licences that we may ship.
fn is_permitted(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" OR ").any(|one| one.split(" AND ").all(|part| LICENCES.contains(&part.trim())))
}

#[test]
fn a_licence_is_read_as_alternatives_and_parts() {
    assert!(is_permitted("MIT OR GPL-3.0-only"));
    assert!(is_permitted("MIT/Apache-2.0"));
    assert!(is_permitted("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_permitted("LGPL-2.1-only"));
    assert!(!is_permitted("MIT AND GPL-3.0-only"));
    assert!(!is_permitted(""));
}

#[test]
fn every_licence_may_be_shipped() {
    for package in list(&metadata(), "packages") {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        assert!(is_permitted(licence), "`{name}` has the licence `{licence}`");
    }
}

#[test]
fn few_packages_come_in_two_versions() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in list(&metadata, "packages") {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    versions.retain(|_, found| found.len() > 1);
    assert!(versions.len() <= MAX_DUPLICATES, "in more than one version: {versions:?}");
}

/// The external dependencies of a manifest that no comment explains.
fn without_reason(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut explained = false;
    let mut bare = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
            explained = false;
        } else if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if inside && !explained {
            let ours = line.starts_with("frazil-") || line.contains("workspace = true") || line.contains(" # ");
            // A dependency written over several lines has its name on the first.
            let is_start = line.contains('=') && !line.starts_with(['"', ']', '}']);
            if is_start && !ours {
                bare.push(line);
            }
        }
    }
    bare
}

#[test]
fn a_dependency_without_a_reason_is_seen() {
    assert_eq!(without_reason("[dependencies]\nbytes = \"1\"\n"), ["bytes = \"1\""]);
    assert!(without_reason("[dependencies]\n# Cheap slices.\nbytes = \"1\"\n").is_empty());
    assert!(without_reason("[dependencies]\nbytes.workspace = true\nfrazil-model = { path = \"x\" }\n").is_empty());
    assert!(without_reason("[package]\nname = \"x\"\n").is_empty());
}

#[test]
fn every_dependency_says_why_it_is_there() {
    for manifest in files(&root(), "Cargo.toml") {
        let content = std::fs::read_to_string(&manifest).unwrap();
        let bare = without_reason(&content);
        assert!(bare.is_empty(), "{}: a comment should say why: {bare:?}", manifest.display());
    }
}

/// The files below `folder` whose name ends with `ending`; build products, caches and hidden folders aside.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = name.starts_with('.') || ["target", "data", "corpus", "vendor"].contains(&name.as_str());
            if path.is_dir() && !skipped {
                waiting.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A source without its tests, comments kept: they take room too.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod ").next().unwrap_or(source)
}

#[test]
fn no_file_is_too_long_to_read_at_once() {
    for path in files(&root(), ".rs").into_iter().chain(files(&root(), ".py")) {
        let source = std::fs::read_to_string(&path).unwrap();
        let is_test = path.components().any(|part| part.as_os_str() == "tests") && path.extension().unwrap() == "rs";
        let n_lines = without_tests(&source).lines().count();
        assert!(is_test || n_lines <= MAX_LINES, "{} has {n_lines} lines; {MAX_LINES} is the most", path.display());
    }
}

#[test]
fn every_room_opens_by_saying_what_it_is() {
    for path in files(&root().join("crates"), ".rs") {
        let source = std::fs::read_to_string(&path).unwrap();
        // A shebang or an attribute may come first; the words must come before any code.
        let first = source.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty()).unwrap_or_default();
        assert!(first.starts_with("//!"), "{} does not open with a `//!` comment", path.display());
    }
}

#[test]
fn the_pure_floors_hold_no_files_network_clock_or_async() {
    for crate_name in ["model", "formats"] {
        for path in files(&root().join("crates").join(crate_name).join("src"), ".rs") {
            if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let code = without_tests(&source).lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for word in NOT_IN_PURE_FLOORS {
                    assert!(!line.contains(word), "{}: `{word}` near line {}: {line}", path.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn the_network_is_called_in_one_file_only() {
    for path in files(&root().join("crates"), ".rs") {
        if path.ends_with("store/src/open.rs") || path.ends_with("testkit/tests/walls.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for library in ["object_store::", "ureq::"] {
            assert!(!source.contains(library), "{} calls {library}; store/open.rs does that", path.display());
        }
    }
}
