//! Each way in which a catalog may name a store, against stores that have much in common.

use super::*;

const STORES: [&str; 7] = [
    "top.zarr",
    "jdoe/sst.zarr",
    "kim/sst.zarr",
    "kim/run 1/rain.zarr",
    "kim/year=2001.zarr",
    "kim/deep/é.zarr",
    "lee/sst_2001.zarr",
];

fn find(texts: &[(String, String)], place: &Place, stores: &[&str]) -> Result<Vec<Option<String>>, TransferError> {
    let stores: Vec<(&str, Kind)> = stores.iter().map(|store| (*store, Kind::Store)).collect();
    super::find(texts, place, &stores)
}

/// What is named at a folder of this machine that is not there, so that only its path is compared.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let place = Place::Local("/data/scratch".into());
    let found = find(&[("catalog".into(), text.into())], &place, &STORES).unwrap();
    let found: Vec<&str> =
        STORES.iter().zip(found).filter(|(_, told)| told.is_some()).map(|(store, _)| *store).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_store_is_found_by_any_address_of_it() {
    for text in [
        r#"{"store": "s3://scratch/jdoe/sst.zarr"}"#,
        r#"{"store": "s3:\/\/scratch\/jdoe\/sst.zarr\/"}"#,
        r#"{"store": "\u0073cratch/jd\u006fe/s\u0073t.zarr"}"#,
        r#""a \"quoted\" text\n/data/scratch/jdoe/sst.zarr\n""#,
        "stores:\n  - osn:scratch/jdoe/sst.zarr",
        "stores: [osn:scratch/jdoe/sst.zarr, s3://b/x.zarr]",
        "store: scratch/jdoe/sst.zarr# the sea",
        "url=/data/scratch/jdoe/sst.zarr",
        "https://host/scratch/jdoe/sst.zarr/zarr.json",
        "https://host/scratch/jdoe/sst.zarr?versionId=1",
        "https://host/scratch%2Fjdoe%2Fsst.zarr",
        "https://scratch.s3.us-east-1.amazonaws.com/jdoe/sst.zarr",
        "https://data.example/any/thing/jdoe/sst.zarr",
        "arn:aws:s3:::scratch/jdoe/sst.zarr",
        "/mnt/jdoe/sst.zarr::zip",
        "see <s3://scratch/jdoe/sst.zarr>.",
        "see [it](s3://scratch/jdoe/sst.zarr).",
        "in s3://scratch/jdoe/sst.zarr.",
        "<a href=s3://scratch/jdoe/sst.zarr>",
        "_jdoe/sst.zarr_ and `jdoe/sst.zarr`",
        "urlpath: jdoe/sst.zarr",
    ] {
        check(text, &["jdoe/sst.zarr"]);
    }
    // Where the folder is not plainly said, all that have the name are meant.
    for text in [
        "sst.zarr",
        "{{ CATALOG_DIR }}/sst.zarr",
        "$ROOT/{user}/sst.zarr",
        "jdoe/./sst.zarr",
        "**jdoe/sst.zarr**",
        r"C:\scratch\jdoe\sst.zarr",
        "数据在sst.zarr里",
    ] {
        check(text, &["jdoe/sst.zarr", "kim/sst.zarr"]);
    }
    check("s3://scratch/jdoe/../kim/sst.zarr", &["kim/sst.zarr"]);
}

#[test]
fn names_with_letters_that_texts_escape_are_found() {
    for text in [
        "/data/scratch/kim/run 1/rain.zarr",
        "path: s3://scratch/kim/run%201/rain.zarr",
        r"cp /data/scratch/kim/run\ 1/rain.zarr .",
        "kim/run+1/rain.zarr",
        "- >\n  kim/run\n  1/rain.zarr",
    ] {
        check(text, &["kim/run 1/rain.zarr"]);
    }
    for text in [
        r#"url = "/x/scratch/kim/year=2001.zarr""#,
        "[x](s3://scratch/kim/year=2001.zarr)",
        "kim/year%3D2001.zarr",
        "<a href='kim/year&#61;2001.zarr'>",
    ] {
        check(text, &["kim/year=2001.zarr"]);
    }
    for text in ["kim/deep/e\u{301}.zarr", r"kim/deep/\u00e9.zarr", "kim/deep/%c3%a9.zarr", "kim/deep/&#xe9;.zarr"] {
        check(text, &["kim/deep/é.zarr"]);
    }
}

#[test]
fn a_folder_above_and_a_pattern_keep_all_that_they_may_mean() {
    let kim: &[&str] = &["kim/sst.zarr", "kim/run 1/rain.zarr", "kim/year=2001.zarr", "kim/deep/é.zarr"];
    // What lies at the top has no folder below the place that could say that it is not meant.
    let and_top: Vec<&str> = std::iter::once("top.zarr").chain(kim.iter().copied()).collect();
    for text in [
        "kim/*.zarr",
        "s3://scratch/kim/{{ year }}.zarr",
        "root / f'kim/{name}.zarr'",
        "kim/%Y.zarr",
        "kim/<name>.zarr",
    ] {
        check(text, &and_top);
    }
    for text in [
        "s3://scratch/kim/",
        "s3://scratch/kim",
        "kim/",
        "osn:kim",
        "in /data/scratch/kim.",
        "https://scratch.s3.amazonaws.com/kim/",
        "'kim/' + name + '.zarr'",
        "kim/sst_%04d.zarr",
        "kim/[a-z]",
        "kim/${NAME}",
        "kim/run?/out",
        r#"{"root": "s3:\/\/scratch\/kim\/"}"#,
        "scratch%2Fkim%2F",
    ] {
        check(text, kim);
    }
    check("s3://scratch/kim/deep/", &["kim/deep/é.zarr"]);
    check("lee/sst_{{ year }}.zarr and sst_*.zarr", &["lee/sst_2001.zarr"]);
    check("year={{ year }}.zarr", &["kim/year=2001.zarr"]);
    check("jdo?/sst.zarr", &["jdoe/sst.zarr", "kim/sst.zarr"]);
    for text in ["*.zarr", "'{name}.zarr'", "{{ root }}/{{ name }}.zarr", "$HOME/$name.zarr", "kim/**/*.zarr"] {
        check(text, &STORES);
    }
}

#[test]
fn the_place_itself_keeps_all_of_it() {
    for text in ["/data/scratch/", "file:///data/scratch", "/data/", "root: s3://scratch/", "~/scratch/*", "scratch/"] {
        check(text, &STORES);
    }
    check("our scratch, and scratch/notes.txt of s3://scratch/catalog.json", &[]);
}

#[test]
fn other_names_keep_nothing() {
    for text in [
        "",
        "other: xsst.zarr, sst.zarr2, sst.zarr-old, v1.sst.zarr",
        "kim wrote deep notes of 2001",
        "s3://scratch/ann/sst.zarr",
        "kim/notes.txt, https://host/kim/a.nc?x=1, kim%2Fnotes.txt",
        r"kim\/notes.txt",
    ] {
        check(text, &[]);
    }
}

#[test]
fn a_store_that_is_the_place_itself_has_its_own_name() {
    let found = |text: &str, stores: &[&str]| {
        let place = Place::Local("/data/scratch/jdoe/sst.zarr".into());
        find(&[("catalog".into(), text.into())], &place, stores).unwrap()
    };
    for text in ["sst.zarr", "s3://b/jdoe/sst.zarr/.zattrs", "jdoe/{name}.zarr", "/data/scratch/jdoe/"] {
        assert!(found(text, &[""])[0].is_some(), "{text}");
    }
    assert_eq!(found("rain.zarr", &[""]), [None]);
    assert_eq!(found("s3://b/kim/ sst.zarr-old", &[""]), [None]);
}

#[test]
fn what_names_it_is_told() {
    let place = Place::Local("/data/scratch".into());
    let texts = [("a.md".into(), "kim/sst.zarr".into()), ("b.md".into(), "'s3://me:word@host/kim/{year}.zarr'".into())];
    let found = find(&texts, &place, &["kim/sst.zarr", "kim/rain.zarr"]).unwrap();
    assert_eq!(found, [Some("a.md".to_owned()), Some("b.md (with `kim/{year}.zarr`)".to_owned())]);
}
