//! Recipes as their authors write them, the wrong ones above all.

// The functions beside the tests are test code too, which clippy cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

use frazil_model::{
    problem::Problem,
    recipe::{Fault, Recipe, canonical, check_names, expand, match_name, parse},
};
use proptest::prelude::*;

const EXAMPLES: [(&str, &str); 5] = [
    ("daily", include_str!("recipes/daily.yaml")),
    ("variables", include_str!("recipes/variables.yaml")),
    ("virtual", include_str!("recipes/virtual.yaml")),
    ("tables", include_str!("recipes/tables.yaml")),
    ("tiles", include_str!("recipes/tiles.yaml")),
];

/// The smallest recipe, with `more` lines in it.
fn with(more: &str) -> String {
    let mut text = String::from("recipe: 1\nid: x\n");
    for (key, usual) in [("sources", "sources: {f: {glob: \"*.nc\"}}\n"), ("write", "write: zarr\n")] {
        if !more.lines().any(|line| line.starts_with(key)) {
            text.push_str(usual);
        }
    }
    text + more
}

/// The errors of `text`, one a line.
fn errors(text: &str) -> String {
    match parse(text) {
        Ok(_) => "ok".to_owned(),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn good(text: &str) -> Recipe {
    match parse(text) {
        Ok(mut recipes) => recipes.remove(0),
        Err(_) => panic!("{}", errors(text)),
    }
}

/// Input: what follows the smallest recipe, whose own lines are 1 to 4 (one fewer for each section given).
#[track_caller]
fn check(more: &str, expected: &str) {
    assert_eq!(errors(&with(more)), expected);
}

#[test]
fn the_examples_of_the_handbook_are_recipes_or_not_supported_yet() {
    let expected = [
        ("daily", "ok"),
        ("variables", "ok"),
        ("virtual", "ok"),
        (
            "tables",
            "line 6, column 5: `each.csv` is not supported yet\n\
             line 7, column 5: `each.add_column` is not supported yet\n\
             line 10, column 11: `combine.rows` is not supported yet\n\
             line 10, column 33: `differ.columns` is not supported yet\n\
             line 11, column 9: `write.parquet` is not supported yet",
        ),
        (
            "tiles",
            "line 6, column 10: `sources.sd.paired_with` is not supported yet\n\
             line 6, column 29: `sources.sd.substitute` is not supported yet\n\
             line 8, column 5: `each.bands` is not supported yet\n\
             line 10, column 30: `combine.tiles` is not supported yet",
        ),
    ];
    for ((name, text), (same, expected)) in EXAMPLES.into_iter().zip(expected) {
        assert_eq!(name, same);
        assert_eq!(errors(text), expected, "{name}");
    }
}

#[test]
fn a_key_that_does_not_exist_is_named_with_the_one_that_does() {
    check("combine: {alnog: time}", "line 5, column 11: unknown key `alnog` in `combine`; did you mean `along`?");
    check("each: [{kep: [a]}]", "line 5, column 9: unknown key `kep` in `each`; did you mean `keep`?");
    check("combnie: {}", "line 5, column 1: unknown key `combnie` in `recipe`; did you mean `combine`?");
    check(
        "combine: {differ: {packing: repak}}",
        "line 5, column 29: `packing` cannot be `repak`; did you mean `repack`?",
    );
    check("each: [{frobnicate: 1}]", "line 5, column 9: unknown key `frobnicate` in `each`");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    check(
        "combine: {along: [], duplicates: fist}\ntest: {first: many}\nexpect: [{range: {a: 3}}]\npublish: {}",
        "line 5, column 34: `duplicates` cannot be `fist`; did you mean `first`?\n\
         line 6, column 15: `first` must be a whole number of at least 0, for example `2`, and is `many`\n\
         line 7, column 22: `range.a` must be the smallest and the largest value, for example `[0, 1000]`, and is the number 3\n\
         line 8, column 10: `publish` lacks `to`, for example `to: \"osn:bucket/name\"`",
    );
    let many: String = (0..1000).map(|n| format!("wrong{n}: 1\n")).collect();
    assert_eq!(parse(&many).unwrap_err().len(), 50);
}

#[test]
fn a_placeholder_is_not_a_value() {
    check(
        "publish: {to: \"<INSERT_BUCKET>\"}",
        "line 5, column 15: `to` still holds the placeholder `<INSERT_BUCKET>`",
    );
    check("publish: {to: TODO}", "line 5, column 15: `to` still holds the placeholder `TODO`");
    check("publish: {to: ???}", "line 5, column 15: `to` still holds the placeholder `???`");
    check("sources: {f: {glob: \"data_???.nc\", match: '(?P<YEAR>\\d{4})\\.nc'}}", "ok");
    check("each: [{calc: {a: \"where(b <C and C> d, 1, 2)\"}}]", "ok");
}

#[test]
fn a_key_given_twice_is_refused() {
    check("test: {first: 1, first: 2}", "line 5, column 18: key `first` was given before, on line 5");
}

#[test]
fn what_is_missing_is_asked_for_with_an_example() {
    assert_eq!(
        errors("recipe: 1"),
        "line 1, column 1: `recipe` lacks `id`, for example `id: gpcp-daily`\n\
         line 1, column 1: `recipe` lacks `sources`, for example `sources: {files: {glob: \"data/*.nc\"}}`\n\
         line 1, column 1: `recipe` lacks `write`, for example `write: {zarr: {codec: zstd:5}}`",
    );
    assert_eq!(errors(""), "line 1, column 1: the file holds no recipe");
    assert_eq!(
        errors("[1, 2"),
        "line 1, column 6: this is not YAML: while parsing a flow sequence, expected ',' or ']'"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check("write: {zarr: {format: 2, shards: {x: 8}}}", "line 4, column 35: `shards`: only Zarr format 3 has shards");
    check(
        "write: {zarr: {chunks: {x: 3}, shards: {x: 8}}}",
        "line 4, column 41: `shards`: a shard of 8 along `x` does not hold whole chunks of 3",
    );
    check(
        "write: {zarr: {chunks: {x: 0}}}",
        "line 4, column 28: `chunks`: a chunk's length is a whole number above 0, or `full`, not `0`",
    );
    check("combine: {along: {time: year}}", "line 5, column 25: `combine.along` names `year`; there are none");
    check("combine: {merge: [f, g]}", "line 5, column 22: `combine.merge` names `g`; the sources are `f`");
    check(
        "sources: {f: {glob: a, list: [b]}}",
        "line 4, column 21: `sources.f`: has both `list` and `glob`; choose one",
    );
    check(
        "sources: {f: {url: \"{yaer}.nc\", keys: {year: 1..2}}}",
        "line 4, column 20: `yaer`: `{yaer}` is not among the `keys` of source `f`; did you mean `year`?\n\
         line 4, column 40: `keys`: `year` stands in no address of source `f`",
    );
}

#[test]
fn nothing_is_guessed() {
    check("test: {first: !!str 2}", "line 5, column 15: this is not YAML: the tag `str` has no meaning in a recipe");
    check(
        "test: {first: \"2\"}",
        "line 5, column 15: `first` must be a whole number of at least 0, for example `2`, and is `2`",
    );
    check(
        "each: [{attrs: {v: {n: 12345678901234567890}}}]",
        "line 5, column 24: `n`: the number is too large; in quotes it is a text",
    );
    check(
        "each: [{attrs: {v: {n: [0.5, 9007199254740993]}}}]",
        "line 5, column 24: `n`: an attribute is a text, a number, or a list of one of them",
    );
    check("each: [{subset: {lat: [10, -10]}}]", "line 5, column 23: `subset`: `10` to `-10` runs backwards");
    check("each: [{attrs: {v: {norway: no}}}]", "ok");
}

#[test]
fn not_yet_names_the_line() {
    check("each:\n  - python: {file: a.py, call: f}", "line 6, column 5: `each.python` is not supported yet");
    check("sources: {f: {glob: a, fetch: {profile: me}}}", "line 4, column 32: `fetch.profile` is not supported yet");
    check("sources: {f: {doi: 10.5281/zenodo.1}}", "line 4, column 15: `sources.f.doi` is not supported yet");
    check("write: icechunk", "line 4, column 8: `write.icechunk` is not supported yet");
}

#[test]
fn the_line_is_shown_with_a_caret() {
    let text = with("combine: {alnog: time}");
    let error = &parse(&text).unwrap_err()[0];
    assert_eq!(
        error.render(&text),
        "line 5, column 11: unknown key `alnog` in `combine`; did you mean `along`?\n  |\n5 | combine: {alnog: time}\n  |           ^",
    );
    assert_eq!(error.code(), "recipe.unknown-key");
    assert_eq!(error.hint().unwrap(), "known are `along`, `merge`, `align`, `differ`, `gaps`, `duplicates`");
}

#[test]
fn a_name_of_the_authors_cannot_break_the_line_or_the_terminal() {
    let text = with(&format!("each: [{{rename: {{a: \"\\e[31m\\n{}\", b: \"\\e[31m\\n{0}\"}}}}]", "x".repeat(5000)));
    let shown = errors(&text);
    assert!(shown.chars().count() < 600 && !shown.contains(char::is_control), "{shown}");
}

#[test]
fn a_file_may_hold_several_recipes() {
    let two = format!("{}---\n{}", with(""), with("").replace("id: x", "id: y"));
    assert_eq!(parse(&two).unwrap().iter().map(|recipe| recipe.document).collect::<Vec<_>>(), [1, 2]);
    let same = format!("{}---\n{}", with(""), with(""));
    assert_eq!(errors(&same), "line 7, column 5: `id`: `x` is also the id of the recipe on line 2");
}

#[test]
fn every_step_is_read() {
    let text = with(concat!(
        "each:\n",
        "  - {group: /science, flatten_groups: true}\n",
        "  - {keep: [a, \"b*\"], drop: c, rename: {a: b, b: a}, set_coords: lat}\n",
        "  - {add_dim: {member: 3}, time_from: {attribute: date, format: \"%Y%m%d\"}}\n",
        "  - {subset: {lat: [-10, 10], time: 2000/2010, lev: 850}, squeeze: true, transpose: [t, y, x]}\n",
        "  - {sort: {lat: descending}, dedup: time, cast: {a: f32, b: int16}}\n",
        "  - {mask: {a: 255, b: [1, 2], c: {below: 0, above: 9}}, calc: {s: \"sqrt(u**2 + v**2)\"}}\n",
        "  - {attrs: {global: {title: T, n: 3, old: ~}}, fix_before_decode: {time: {units: days since 2000-01-01}}}\n",
        "  - {promote: {orbit_number: orbit}}\n",
    ));
    assert_eq!(good(&text).each.len(), 19);
    check("each: [{cast: {a: text}}]", "line 5, column 19: `cast` cannot be `text`");
    check(
        "each: {keep: a}",
        "line 5, column 7: `each` must be a list of steps, for example `[{keep: [precip]}, {rename: {nav_lat: lat}}]`, and is a mapping",
    );
    check("each: [{rename: {a: c, b: c}}]", "line 5, column 27: `rename`: two things cannot both be named `c`");
    check(
        "each: [{calc: {a: \"srqt(b)\"}}]",
        "line 5, column 19: `calc`: there is no function `srqt`; did you mean `sqrt`?",
    );
}

/// Input: the body of one source; expected: its first and last name, and how many.
#[track_caller]
fn names(source: &str, expected: (&str, &str, usize)) {
    let recipe = good(&with(&format!("sources: {{f: {source}}}")));
    let names = expand(&recipe.sources[0]).unwrap();
    assert_eq!((names[0].text.as_str(), names[names.len() - 1].text.as_str(), names.len()), expected);
}

#[test]
fn keys_unfold_into_names() {
    names("{url: \"{v}.{year}\", keys: {v: [a, b], year: 1996..2025}}", ("a.1996", "b.2025", 60));
    names("{url: \"{m}/{m:03}\", keys: {m: 01..12}}", ("01/001", "12/012", 12));
    let daily = "{url: \"{t:%Y}/{t:%j}-{t:%b}\", keys: {t: {start: 2009-07-01, end: 2010-06, step: 1d}}}";
    names(daily, ("2009/182-Jul", "2010/181-Jun", 365));
    names(
        "{url: \"{t:%Y%m%d%H}\", keys: {t: {start: 2020-02-28, end: 2020-02-29, step: 6h}}}",
        ("2020022800", "2020022918", 8),
    );
    names(
        "{url: \"{t:%Y%m%d}\", keys: {t: {start: 2019-01-31, end: 2019-12, step: 1mo}}}",
        ("20190131", "20191231", 12),
    );
    names("{url: [a, \"b{n}\"], keys: {n: [1, x]}}", ("a", "bx", 3));
    names("{list: [a.nc, b.nc]}", ("a.nc", "b.nc", 2));
    names("{url: \"{{x}}{n}\", keys: {n: 7}}", ("{x}7", "{x}7", 1));
}

#[test]
fn names_without_bound_are_refused_before_they_are_made() {
    for keys in ["{n: 1..9999999999}", "{n: 1..2000, m: 1..2000}", "{n: {start: 0000, end: 9999, step: 1s}}"] {
        let recipe = good(&with(&format!(
            "sources: {{f: {{url: \"{{n}}{}\", keys: {keys}}}}}",
            if keys.contains('m') { "{m}" } else { "" }
        )));
        let error = expand(&recipe.sources[0]).unwrap_err();
        assert!(matches!(error.fault, Fault::TooLarge { limit: 2_000_000, .. }), "{error}");
    }
}

#[test]
fn a_name_says_its_keys() {
    let recipe = good(EXAMPLES[0].1);
    let source = &recipe.sources[0];
    let keys = |name| {
        match_name(source, name).map(|keys| keys.map(|keys| keys["time"].to_string())).map_err(|e| e.to_string())
    };
    assert_eq!(keys("https://host/gpcp_v01r03_daily_d19961001_c20170530.nc"), Ok(Some("1996-10-01".to_owned())));
    assert_eq!(keys("gpcp_v01r03_daily_d19961001_c20170530.nc.md5"), Ok(None));
    assert_eq!(
        keys("gpcp_v01r03_daily_d19961301_c20170530.nc"),
        Err("line 9, column 19: `time`: `19961301` in `gpcp_v01r03_daily_d19961301_c20170530.nc` is not a time as `%Y%m%d` writes it".to_owned()),
    );
}

#[test]
fn a_variable_that_no_file_has_is_named_with_its_line() {
    let recipe =
        good(&with("each:\n  - rename: {nav_lat: lat}\n  - keep: [precipp, lat]\nwrite: {zarr: {chunks: {tme: 3}}}"));
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let errors = check_names(&recipe, &own(&["/precip", "/nav_lat"]), &own(&["time", "nav_lat"]));
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "line 6, column 12: `each.keep` names `precipp`; the files have `lat`, `precip`; did you mean `precip`?",
            "line 7, column 25: `chunks` names `tme`; the dimensions are `lat`, `time`; did you mean `time`?",
        ],
    );
}

#[test]
fn the_canonical_text_is_the_meaning() {
    let meaning = |more: &str| canonical(&good(&with(more)));
    let plain = meaning("");
    assert_eq!(meaning("# a comment\ntest: {first: 9}\npublish: {to: a}\ncombine: {duplicates: error}"), plain);
    assert_eq!(meaning("write: {zarr: {format: 3}}"), plain);
    assert_eq!(meaning("sources: {f: {glob: '*.nc', fetch: {retries: 3}}}"), plain);
    assert_ne!(meaning("combine: {duplicates: first}"), plain);
    assert_eq!(meaning("write: {zarr: {chunks: {a: 1, b: 2}}}"), meaning("write: {zarr: {chunks: {b: 2, a: 1}}}"));
    let fill = |value: &str| meaning(&format!("each: [{{attrs: {{v: {{x: {value}}}}}}}]"));
    let fills: std::collections::BTreeSet<_> = ["1", "1.0", "\"1\"", ".nan", ".inf", "[1]", "~"].map(fill).into();
    assert_eq!(fills.len(), 6, "only 1 and [1] are the same");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_damage_to_a_recipe_makes_the_reader_panic(
        which in 0..EXAMPLES.len(),
        at in 0.0..1.0_f64,
        taken in 0..40_usize,
        put in "[\\PC\n\\[\\]{}:,&*<>%'\"?.0-9-]{0,20}",
    ) {
        let text: Vec<char> = EXAMPLES[which].1.chars().collect();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (at * text.len() as f64) as usize;
        let damaged: String =
            text[..at].iter().copied().chain(put.chars()).chain(text.iter().skip(at + taken).copied()).collect();
        match parse(&damaged) {
            Ok(recipes) => for recipe in recipes {
                let _ = canonical(&recipe);
                for source in &recipe.sources {
                    if let Ok(names) = frazil_model::recipe::expansion(source) { names.take(10).for_each(drop); }
                    let _ = match_name(source, &put);
                }
                let _ = check_names(&recipe, std::slice::from_ref(&put), &[]);
            },
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    let _ = error.render(&damaged);
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }
}
