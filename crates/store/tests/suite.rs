//! What every server of buckets must do, whatever its dialect: one suite for all.
//!
//! It runs where `FRAZIL_SUITE` names a place to work in (`gs://bucket/folder/`, `az://…`, `s3://…`, `REMOTE:…`) and
//! the environment says who signs; `FRAZIL_SUITE_OTHER` names a place in another bucket of the same server. The judges
//! start the servers and run it (`tests/judge/test_clouds.py`). It knows no server.

#![allow(clippy::unwrap_used, clippy::panic)] // Tests: their panics are their verdicts.

use std::sync::atomic::{AtomicUsize, Ordering};

use frazil_model::{
    location::{Location, Object},
    range::ByteRange,
};
use frazil_store::{
    StoreError,
    bucket::{Bucket, Depth, Digest, When, listing},
    digest::md5,
    profile::located,
    read::Reader,
};

/// Keys that servers and programs like to change.
const ODD_KEYS: [&str; 17] = [
    "a//b",
    "/lead",
    "trail/",
    "./x",
    "x/../y",
    "x/.",
    "dot.",
    "ü é 漢字 🦀",
    "u\u{308}",
    "%41 %2F %zz",
    "a+b c&d=e?f#g;h",
    "q\"'<>`^|~*",
    "back\\slash",
    " space ",
    "tab\there",
    "@!$,:()[]{}",
    "aux/CON/nul",
];

/// The least that all servers take as a part before the last.
const PART_BYTES: usize = 5 << 20;

/// The folder of one test.
fn place(name: &str) -> (Bucket, Object) {
    place_at("FRAZIL_SUITE", name)
}

fn place_at(variable: &str, name: &str) -> (Bucket, Object) {
    let text = std::env::var(variable).unwrap_or_else(|_| panic!("`{variable}` names no place"));
    let Location::Object(object) = located(&text).unwrap() else { panic!("`{text}` is in no bucket") };
    let object = object.with_key(format!("{}{name}/", object.key));
    (Bucket::of(&object).unwrap(), object)
}

fn content(bucket: &Bucket, key: &str) -> Vec<u8> {
    let reader = Reader::open(&bucket.location(key)).unwrap();
    match ByteRange::new(0, reader.size_bytes()) {
        Some(all) => reader.read(all).unwrap().to_vec(),
        None => Vec::new(),
    }
}

fn keys(start: &Object) -> Vec<String> {
    let mut keys: Vec<String> = listing(start).unwrap().into_iter().map(|listed| listed.key).collect();
    keys.sort_unstable();
    keys
}

fn clear(bucket: &Bucket, start: &Object) {
    let keys = keys(start);
    let left = bucket.delete(&keys.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// Bytes that differ from place to place.
fn bytes(n_bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..n_bytes.div_ceil(4)).flat_map(|_| next().to_le_bytes()).take(n_bytes).collect()
}

#[test]
#[ignore = "needs a server"]
fn what_was_put_is_there_byte_for_byte() {
    let (bucket, start) = place("put");
    clear(&bucket, &start);
    for n_bytes in [0, 1, 16 << 10, 300 << 10] {
        let (key, sent) = (format!("{}{n_bytes}", start.key), bytes(n_bytes, 1));
        assert_eq!(bucket.about(&key).unwrap(), None);
        let state = bucket.put(&key, &sent, When::Always).unwrap();
        let about = bucket.about(&key).unwrap().unwrap();
        assert_eq!((about.key.as_str(), about.size_bytes), (key.as_str(), n_bytes as u64));
        assert_eq!(about.state, state);
        assert!(!state.tag().is_empty() && about.modified_seconds.is_some(), "{about:?}");
        assert_eq!(state.digest, Some(Digest::Md5(md5(&sent))));
        assert_eq!(content(&bucket, &key), sent);
        let listed = listing(&start.with_key(key)).unwrap();
        assert_eq!(listed.first(), Some(&about), "the listing says the same");
    }
    let missing = format!("{}missing", start.key);
    assert!(matches!(Reader::open(&bucket.location(&missing)), Err(StoreError::Absent { .. })));
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn ranges_are_ranges_of_what_was_opened() {
    let (bucket, start) = place("ranges");
    let (key, sent) = (format!("{}object", start.key), bytes(1 << 20, 2));
    bucket.put(&key, &sent, When::Always).unwrap();
    let reader = Reader::open(&bucket.location(&key)).unwrap();
    for (offset, n_bytes) in [(0, 1), (17, 4096), ((1 << 20) - 1, 1)] {
        let got = reader.read(ByteRange::new(offset, n_bytes).unwrap()).unwrap();
        let (from, to) = (offset as usize, (offset + n_bytes) as usize);
        assert_eq!(got, sent[from..to]);
    }
    assert!(matches!(reader.read(ByteRange::new(1 << 20, 1).unwrap()), Err(StoreError::Short { .. })));
    bucket.put(&key, &bytes(1 << 20, 3), When::Always).unwrap();
    let after = reader.read(ByteRange::new(0, 300 << 10).unwrap());
    assert!(matches!(after, Err(StoreError::Changed { .. })), "it is another object now: {after:?}");
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn a_condition_holds_or_nothing_is_written() {
    let (bucket, start) = place("conditions");
    clear(&bucket, &start);
    let key = format!("{}object", start.key);
    let first = bucket.put(&key, b"one", When::Absent).unwrap();
    let refused = |when: When<'_>| matches!(bucket.put(&key, b"no", when), Err(StoreError::Taken { .. }));
    assert!(refused(When::Absent));
    let second = bucket.put(&key, b"two", When::Is(&first.tag())).unwrap();
    assert!(refused(When::Is(&first.tag())));
    assert_eq!(content(&bucket, &key), b"two");
    assert_eq!(bucket.about(&key).unwrap().unwrap().state, second);
    // Of many who want to be first, one is.
    let (other, n_first) = (format!("{}race", start.key), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let (bucket, other, n_first) = (&bucket, &other, &n_first);
            scope.spawn(move || match bucket.put(other, &[number], When::Absent) {
                Ok(_) => n_first.fetch_add(1, Ordering::Relaxed),
                Err(StoreError::Taken { .. }) => 0,
                Err(error) => panic!("{error}"),
            });
        }
    });
    assert_eq!(n_first.into_inner(), 1);
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn a_key_is_kept_byte_for_byte_or_refused() {
    let (bucket, start) = place("odd");
    clear(&bucket, &start);
    let mut kept = Vec::new();
    for (number, odd) in ODD_KEYS.iter().enumerate() {
        let key = format!("{}{odd}", start.key);
        let sent = format!("content of number {number}").into_bytes();
        match bucket.put(&key, &sent, When::Absent) {
            Ok(_) => kept.push((key, sent)),
            Err(StoreError::UnsafeKey { .. }) => {}
            Err(error) => panic!("{odd:?}: {error}"),
        }
    }
    let mut names: Vec<String> = kept.iter().map(|(key, _)| key.clone()).collect();
    names.sort_unstable();
    assert_eq!(keys(&start), names);
    assert!(names.len() >= 11, "too many are refused: {names:?}");
    for (key, sent) in &kept {
        assert_eq!(content(&bucket, key), *sent, "{key:?}");
        assert_eq!(bucket.about(key).unwrap().unwrap().size_bytes, sent.len() as u64);
    }
    for (key, _) in &kept {
        assert!(bucket.delete(&[key]).unwrap().is_empty(), "{key:?}");
        assert_eq!(bucket.about(key).unwrap(), None, "{key:?}");
    }
    assert!(keys(&start).is_empty());
}

#[test]
#[ignore = "needs a server"]
fn a_listing_is_whole() {
    const N_KEYS: usize = 2100;
    let (bucket, start) = place("many");
    clear(&bucket, &start);
    let names: Vec<String> = (0..N_KEYS).map(|at| format!("{}{}/{at:04}", start.key, at % 3)).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(N_KEYS / 16 + 1) {
            let bucket = &bucket;
            scope.spawn(move || {
                some.iter().for_each(|key| drop(bucket.put(key, key.as_bytes(), When::Always).unwrap()))
            });
        }
    });
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(keys(&start), expected);
    let level = |prefix: &str| {
        let (mut folders, mut n_objects) = (Vec::new(), 0);
        for page in bucket.pages(prefix, Depth::One) {
            let page = page.unwrap();
            folders.extend(page.folders);
            n_objects += page.objects.len();
        }
        (folders, n_objects)
    };
    let folders: Vec<String> = (0..3).map(|at| format!("{}{at}/", start.key)).collect();
    assert_eq!(level(&start.key), (folders, 0));
    assert_eq!(level(&format!("{}1/", start.key)), (vec![], N_KEYS / 3));
    assert_eq!(level(&format!("{}1/nothing", start.key)), (vec![], 0));
    let mut gone: Vec<&str> = names.iter().map(String::as_str).collect();
    gone.push("not/there/at/all");
    assert!(bucket.delete(&gone).unwrap().is_empty());
    assert!(keys(&start).is_empty());
}

#[test]
#[ignore = "needs a server"]
fn the_server_copies_what_is_meant() {
    let (bucket, start) = place("copies");
    clear(&bucket, &start);
    let (key, odd) = (format!("{}from", start.key), format!("{}odd//ü +%41?#", start.key));
    let sent = bytes(3 << 20, 4);
    let first = bucket.put(&key, &sent, When::Always).unwrap();
    let copied = bucket.copy(&bucket, &key, &first.tag(), &odd).unwrap();
    assert_eq!(copied.digest, first.digest);
    assert_eq!(content(&bucket, &odd), sent);
    let back = format!("{}back", start.key);
    bucket.copy(&bucket, &odd, "", &back).unwrap();
    assert_eq!(content(&bucket, &back), sent);
    bucket.put(&key, b"another", When::Always).unwrap();
    match bucket.copy(&bucket, &key, &first.tag(), &back) {
        Err(StoreError::Taken { .. }) => assert_eq!(content(&bucket, &back), sent),
        // Some servers take no notice of the condition; then at least it shows.
        Err(StoreError::Changed { .. }) => {}
        other => panic!("{other:?}"),
    }
    if std::env::var_os("FRAZIL_SUITE_OTHER").is_some() {
        let (other, there) = place_at("FRAZIL_SUITE_OTHER", "copies");
        assert!(other.shares_server_with(&bucket));
        let to = format!("{}copy", there.key);
        other.copy(&bucket, &odd, &copied.tag(), &to).unwrap();
        assert_eq!(content(&other, &to), sent);
        clear(&other, &there);
    }
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn parts_become_one_object_or_none() {
    let (bucket, start) = place("parts");
    clear(&bucket, &start);
    let key = format!("{}object", start.key);
    let pieces = [bytes(PART_BYTES, 5), bytes(PART_BYTES, 6), bytes(1234, 7)];
    let upload = bucket.begin(&key).unwrap();
    // In any order, at the same time.
    std::thread::scope(|scope| {
        for (number, piece) in (1..).zip(&pieces).collect::<Vec<_>>().into_iter().rev() {
            let (bucket, upload) = (&bucket, &upload);
            scope.spawn(move || bucket.part(upload, number, piece).unwrap());
        }
    });
    assert_eq!(bucket.about(&key).unwrap(), None, "nobody sees it before it is whole");
    assert!(keys(&start).is_empty());
    let parts = bucket.parts(&upload).unwrap();
    let seen: Vec<_> = parts.iter().map(|part| (part.number, part.size_bytes, part.tag.clone())).collect();
    let sent: Vec<_> = (1..)
        .zip(&pieces)
        .map(|(number, piece)| (number, piece.len() as u64, frazil_store::bucket::hex(&md5(piece))))
        .collect();
    assert_eq!(seen, sent);
    let open: Vec<_> = bucket.uploads(&start.key).unwrap().into_iter().map(|upload| (upload.key, upload.id)).collect();
    assert_eq!(open, [(upload.key.clone(), upload.id.clone())]);
    let state = bucket.complete(&upload, &parts).unwrap();
    assert_eq!(bucket.about(&key).unwrap().unwrap().state, state);
    assert!(state.digest.is_some(), "{state:?}");
    assert_eq!(content(&bucket, &key), pieces.concat());
    assert!(bucket.uploads(&start.key).unwrap().is_empty());
    let copy = format!("{}copy", start.key);
    assert_eq!(
        bucket.copy(&bucket, &key, &state.tag(), &copy).unwrap().digest,
        state.digest,
        "a copy keeps its digest"
    );
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn a_part_may_be_sent_again_and_an_upload_given_up() {
    let (bucket, start) = place("again");
    clear(&bucket, &start);
    let key = format!("{}object ü+%41", start.key);
    let upload = bucket.begin(&key).unwrap();
    bucket.part(&upload, 1, &bytes(PART_BYTES, 8)).unwrap();
    let first = bucket.part(&upload, 1, &bytes(PART_BYTES, 9)).unwrap();
    let last = bucket.part(&upload, 2, b"end").unwrap();
    bucket.complete(&upload, &[first, last]).unwrap();
    assert_eq!(content(&bucket, &key), [bytes(PART_BYTES, 9), b"end".to_vec()].concat());
    let given_up = bucket.begin(&key).unwrap();
    bucket.part(&given_up, 1, &bytes(PART_BYTES, 10)).unwrap();
    bucket.abort(&given_up).unwrap();
    bucket.abort(&given_up).unwrap();
    assert_eq!(content(&bucket, &key).len(), PART_BYTES + 3, "what was there stays");
    clear(&bucket, &start);
}

#[test]
#[ignore = "needs a server"]
fn two_uploads_of_one_key_do_not_mix() {
    let (bucket, start) = place("two");
    clear(&bucket, &start);
    let key = format!("{}object", start.key);
    let (one, two) = (bucket.begin(&key).unwrap(), bucket.begin(&key).unwrap());
    assert_ne!(one.id, two.id);
    let of_one = [bucket.part(&one, 1, &bytes(PART_BYTES, 11)).unwrap(), bucket.part(&one, 2, b"one").unwrap()];
    let of_two = [bucket.part(&two, 1, &bytes(PART_BYTES, 12)).unwrap(), bucket.part(&two, 2, b"two").unwrap()];
    assert_eq!(bucket.uploads(&key).unwrap().len(), 2);
    assert_eq!(bucket.parts(&two).unwrap().len(), 2);
    bucket.complete(&one, &of_one).unwrap();
    let first = [bytes(PART_BYTES, 11), b"one".to_vec()].concat();
    assert_eq!(content(&bucket, &key), first);
    // The server may have dropped the parts of the other by now; then it says so.
    match bucket.complete(&two, &of_two) {
        Ok(_) => assert_eq!(content(&bucket, &key), [bytes(PART_BYTES, 12), b"two".to_vec()].concat()),
        Err(StoreError::Absent { .. }) => assert_eq!(content(&bucket, &key), first),
        Err(error) => panic!("{error}"),
    }
    clear(&bucket, &start);
}
