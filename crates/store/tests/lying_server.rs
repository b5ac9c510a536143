//! Reading from a web server that has one fault: the right bytes or a refusal that says why, soon.

#![allow(clippy::unwrap_used)] // A test: its panic is its verdict.

use std::time::{Duration, Instant};

use frazil_model::{
    location::Location,
    problem::{Exit, Problem},
    range::ByteRange,
};
use frazil_store::{
    StoreError,
    manners::{Manners, ask_gently},
    read::{Reader, fingerprint},
};
use frazil_testkit::lying::{FAULTS, LyingServer};

const LARGE: usize = 600_000;
const MEDIUM: usize = 100_000;
const SMALL: usize = 1_000;

fn content(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|at| u8::try_from((at * 7 + at / 256) % 251).unwrap()).collect()
}

fn server() -> LyingServer {
    let files = [
        ("large.nc", content(LARGE)),
        ("small.nc", content(SMALL)),
        ("medium.nc", content(MEDIUM)),
        ("empty.nc", Vec::new()),
    ];
    let server = LyingServer::start(files.map(|(name, bytes)| (name.to_owned(), bytes)).into());
    let quick = Duration::from_millis(400);
    ask_gently(
        &server.host(),
        Manners { per_host: 24, connect_within: quick, silence_within: quick, ..Manners::default() },
    );
    server
}

/// Reads a file in a few parts; what it has there must be what is read.
fn read(server: &LyingServer, fault: &str, name: &str) -> Result<usize, StoreError> {
    let location = Location::parse(&(server.address(fault, name) + "?key=hidden")).unwrap();
    let state = fingerprint(&location)?;
    let reader = Reader::open_as(&location, &state)?;
    let expected = content(usize::try_from(state.size_bytes.min(LARGE as u64)).unwrap());
    let mut n_bytes = 0;
    let parts = [
        (0, state.size_bytes.min(50)),
        (state.size_bytes / 2, state.size_bytes / 4),
        (state.size_bytes.saturating_sub(9), state.size_bytes.min(9)),
    ];
    for (offset, length) in parts {
        let Some(range) = ByteRange::new(offset, length) else { continue };
        let bytes = reader.read(range)?;
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(bytes, expected[offset..offset + bytes.len()], "{fault}");
        assert_eq!(bytes.len() as u64, length, "{fault}");
        n_bytes += bytes.len();
    }
    Ok(n_bytes)
}

/// What is shown of an error: its code and message.
#[track_caller]
fn refused(server: &LyingServer, fault: &str, name: &str, code: &str, says: &str, exit: Exit) {
    let error = read(server, fault, name).unwrap_err();
    let shown = error.to_string();
    assert_eq!(error.code(), code, "{fault}: {shown}");
    assert!(shown.contains(says) && shown.contains(&format!("/{fault}/{name}")), "{fault}: {shown}");
    assert!(!shown.contains("hidden"), "{shown}");
    assert_eq!(error.exit(), exit, "{fault}: {shown}");
}

#[test]
fn a_large_file_is_read_in_the_parts_that_are_asked_for() {
    let server = server();
    assert_eq!(read(&server, "honest", "large.nc").unwrap(), 50 + LARGE / 4 + 9);
    let asked = server.requests("honest", "large.nc");
    assert_eq!(asked, ["HEAD", "GET bytes=0-49", "GET bytes=300000-449999", "GET bytes=599991-599999"]);
}

#[test]
fn a_small_file_is_asked_for_once() {
    let server = server();
    assert_eq!(read(&server, "honest", "small.nc").unwrap(), 50 + 250 + 9);
    assert_eq!(server.requests("honest", "small.nc"), ["HEAD", "GET bytes=0-999"]);
    assert_eq!(read(&server, "no-ranges", "small.nc").unwrap(), 50 + 250 + 9);
    assert_eq!(read(&server, "honest", "empty.nc").unwrap(), 0);
    // A small part of it costs no more than that part; a server that knows no parts gives all of it once.
    read(&server, "honest", "medium.nc").unwrap();
    assert_eq!(server.requests("honest", "medium.nc"), ["HEAD", "GET bytes=0-49", "GET bytes=0-99999"]);
    read(&server, "no-ranges", "medium.nc").unwrap();
    assert_eq!(server.requests("no-ranges", "medium.nc").len(), 3);
}

#[test]
fn a_file_is_opened_by_asking_for_its_beginning_alone() {
    let server = server();
    let begin = |fault, name| Reader::begin(&Location::parse(&server.address(fault, name)).unwrap(), 65_536).unwrap();
    let (reader, state, head) = begin("honest", "large.nc");
    assert_eq!((head.len(), state.size_bytes), (65_536, LARGE as u64));
    assert_eq!(reader.read(ByteRange::new(70_000, 10).unwrap()).unwrap(), content(LARGE)[70_000..70_010]);
    reader.check_ranges().unwrap();
    assert_eq!(server.requests("honest", "large.nc"), ["GET bytes=0-65535", "GET bytes=70000-70009"]);
    let (reader, _, head) = begin("honest", "medium.nc");
    assert_eq!(head, content(MEDIUM));
    reader.read(ByteRange::new(90_000, 10).unwrap()).unwrap();
    assert_eq!(server.requests("honest", "medium.nc"), ["GET bytes=0-65535", "GET bytes=65536-99999"]);
    let (_, state, head) = begin("honest", "empty.nc");
    assert_eq!((head.len(), state.size_bytes), (0, 0));
    let (reader, _, head) = begin("no-ranges", "medium.nc");
    assert_eq!(head, content(MEDIUM));
    reader.read(ByteRange::new(90_000, 10).unwrap()).unwrap();
    assert_eq!(server.requests("no-ranges", "medium.nc").len(), 1);
}

/// Asked for its beginning, or first what it is: the same file in the same state, or a refusal.
#[test]
fn a_file_that_is_opened_by_its_beginning_is_the_one_that_is_there() {
    let (server, other) = (server(), server());
    for host in [server.host(), other.host()] {
        ask_gently(&host, Manners { retries: 2, per_host: 24, ..Manners::default() });
    }
    let cases =
        ["large.nc", "medium.nc", "small.nc"].iter().flat_map(|name| FAULTS.iter().map(move |fault| (name, fault)));
    std::thread::scope(|scope| {
        for (name, fault) in cases {
            let (server, other) = (&server, &other);
            scope.spawn(move || {
                let at = |server: &LyingServer| Location::parse(&server.address(fault, name)).unwrap();
                let in_turn = fingerprint(&at(other)).and_then(|state| {
                    let head = Reader::open_as(&at(other), &state)?.head(65_536)?;
                    Ok((state, head))
                });
                let begun = Reader::begin(&at(server), 65_536).map(|(_, state, head)| (state, head));
                if let Ok((state, head)) = &begun {
                    assert_eq!(head, &content(usize::try_from(state.size_bytes).unwrap())[..head.len()], "{fault}");
                }
                match (in_turn, begun) {
                    (Ok(in_turn), Ok(begun)) => assert_eq!(in_turn, begun, "{fault} {name}"),
                    (Ok(_), Err(begun)) => panic!("{fault} {name}: {begun}"),
                    // Who never heard another size cannot say that it changed.
                    (Err(in_turn), Err(begun)) if fault != &"other-total" => {
                        assert_eq!(in_turn.code(), begun.code(), "{fault} {name}");
                    }
                    (Err(_), _) => {}
                }
            });
        }
    });
}

/// The same range at once and piece by piece: the same bytes, or the same refusal.
#[test]
fn what_is_handed_on_piece_by_piece_is_what_is_read_at_once() {
    let server = server();
    std::thread::scope(|scope| {
        for fault in [
            "honest",
            "busy-twice",
            "cut",
            "cut-always",
            "short",
            "long",
            "other-range",
            "other-total",
            "gzip",
            "login-page",
            "no-ranges",
            "no-length",
            "reset-once",
            "changes",
            "not-satisfiable",
            "hop",
        ] {
            let server = &server;
            scope.spawn(move || {
                let location = Location::parse(&server.address(fault, "large.nc")).unwrap();
                let Ok(state) = fingerprint(&location) else { return };
                let Ok(reader) = Reader::open_as(&location, &state) else { return };
                let Some(range) = ByteRange::new(1000, state.size_bytes.min(LARGE as u64).saturating_sub(2000)) else {
                    return;
                };
                let at_once = reader.read(range);
                let mut pieces = vec![0; LARGE];
                let handed = reader.hand_on(range, &mut [0; 7000], &mut |at, piece| {
                    let at = usize::try_from(at).unwrap();
                    pieces[at..at + piece.len()].copy_from_slice(piece);
                    Ok(())
                });
                let at = usize::try_from(range.offset()).unwrap();
                match (at_once, handed) {
                    (Ok(bytes), Ok(())) => assert_eq!(bytes, pieces[at..at + bytes.len()], "{fault}"),
                    (Err(one), Err(other)) => assert_eq!(one.code(), other.code(), "{fault}"),
                    (one, other) => panic!("{fault}: {:?} at once, {other:?} in pieces", one.map(|bytes| bytes.len())),
                }
            });
        }
    });
}

#[test]
fn a_fault_that_passes_does_not_show() {
    let server = server();
    let passing = ["busy-twice", "cut", "short", "reset-once", "no-head", "no-length", "no-marks", "hop", "limited"];
    std::thread::scope(|scope| {
        for fault in passing {
            let server = &server;
            scope.spawn(move || {
                for name in ["large.nc", "small.nc"] {
                    read(server, fault, name).unwrap_or_else(|error| panic!("{fault}: {error}"));
                }
            });
        }
    });
}

#[test]
fn a_fault_that_lasts_is_named() {
    let server = server();
    refused(&server, "honest", "absent.nc", "store.not-found", "404", Exit::No);
    assert!(server.requests("honest", "absent.nc").len() <= 3);
    refused(&server, "no-ranges", "large.nc", "store.range-ignored", "ignores byte ranges", Exit::No);
    refused(&server, "other-range", "large.nc", "store.wrong-range", "bytes 1-50/600000", Exit::No);
    refused(&server, "many-parts", "large.nc", "store.wrong-range", "nothing", Exit::No);
    refused(&server, "other-total", "large.nc", "store.changed", "size", Exit::No);
    refused(&server, "changes", "large.nc", "store.changed", "another version", Exit::No);
    refused(&server, "changes-quietly", "large.nc", "store.changed", "size", Exit::No);
    refused(&server, "not-satisfiable", "large.nc", "store.changed", "no longer", Exit::No);
    refused(&server, "login-page", "small.nc", "store.web-page", "web page", Exit::No);
    refused(&server, "gzip", "small.nc", "store.fetch", "`gzip`", Exit::No);
    refused(&server, "forbidden", "small.nc", "store.refused", "403", Exit::SignIn);
    refused(&server, "unauthorized", "small.nc", "store.refused", "401", Exit::SignIn);
    refused(&server, "loop", "small.nc", "store.fetch", "more than 5 times", Exit::No);
    assert_eq!(server.requests("loop", "small.nc").len(), 6);
    refused(&server, "to-file", "small.nc", "store.fetch", "no web address", Exit::No);
    refused(&server, "gone-elsewhere", "small.nc", "store.fetch", "no web address", Exit::No);
    refused(&server, "come-back-late", "small.nc", "store.fetch", "7200 s", Exit::Later);
    assert_eq!(server.requests("come-back-late", "small.nc").len(), 1);
}

#[test]
fn tries_have_an_end() {
    let server = server();
    let patient = ["always-busy", "cut-always", "short-always", "long", "reset", "garbage", "endless-head"];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for fault in patient {
            let server = &server;
            scope.spawn(move || {
                let error = read(server, fault, "small.nc").unwrap_err();
                assert_eq!(error.code(), "store.fetch", "{fault}: {error}");
                assert!(server.requests(fault, "small.nc").len() <= 15, "{fault}");
                if fault != "endless-head" {
                    assert_eq!(error.exit(), Exit::Later, "{fault}: {error}");
                }
            });
        }
    });
    assert_eq!(server.requests("always-busy", "small.nc").len(), 7);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn silence_has_an_end() {
    let server = server();
    let quick = Duration::from_millis(400);
    ask_gently(
        &server.host(),
        Manners { retries: 1, connect_within: quick, silence_within: quick, ..Manners::default() },
    );
    let began = Instant::now();
    refused(&server, "stall", "small.nc", "store.fetch", "silent", Exit::Later);
    refused(&server, "stall-in-body", "small.nc", "store.fetch", "", Exit::Later);
    // A byte now and then is no answer either.
    refused(&server, "drip", "small.nc", "store.fetch", "", Exit::Later);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_size_that_cannot_be_takes_no_memory() {
    let server = server();
    ask_gently(&server.host(), Manners { retries: 0, ..Manners::default() });
    let location = Location::parse(&server.address("huge", "small.nc")).unwrap();
    let reader = Reader::open(&location).unwrap();
    let error = reader.read(ByteRange::new(0, 1 << 59).unwrap()).unwrap_err();
    assert_eq!(error.code(), "store.fetch", "{error}");
}

#[test]
fn nobody_listening_is_an_error_that_may_pass() {
    let gone = server().host();
    ask_gently(&gone, Manners { retries: 1, ..Manners::default() });
    let error = fingerprint(&Location::parse(&format!("http://{gone}/a.nc")).unwrap()).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("store.fetch", Exit::Later), "{error}");
}

#[test]
fn every_fault_is_tried() {
    let here = include_str!("lying_server.rs");
    let missing: Vec<_> = FAULTS.iter().filter(|fault| !here.contains(&format!("\"{fault}\""))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_file_on_this_machine_that_changed_is_refused() {
    let path = std::env::temp_dir().join(format!("frazil-changed-{}", std::process::id()));
    std::fs::write(&path, b"before").unwrap();
    let location = Location::File(path.display().to_string());
    let before = fingerprint(&location).unwrap();
    assert!(Reader::open_as(&location, &before).is_ok());
    std::fs::write(&path, b"afterwards").unwrap();
    let error = Reader::open_as(&location, &before).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error.code(), "store.changed");
}
