//! Expectations, as a table of what holds and what does not.

use super::*;
use crate::{
    attribute::{AttributeValue, Numbers},
    codec::CodecChain,
    dtype::IntType,
    recipe,
};

fn combined() -> Combined {
    let variable = |path: &str, dimensions: &[&str], values: &[i16], units: &str| {
        let mut attributes = Attributes::default();
        attributes.set("units", AttributeValue::Text(units.to_owned()));
        attributes.set("_FillValue", AttributeValue::Numbers(Numbers::I16(vec![-9])));
        CombinedVariable {
            path: path.to_owned(),
            dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
            shape: vec![values.len() as u64],
            dtype: DataType::Int(IntType::I16),
            fill: vec![0, 0],
            attributes,
            source_chunk_shape: vec![1],
            is_chunked: false,
            source_codecs: Some(CodecChain::default()),
            along: None,
            content: Content::Inline(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        }
    };
    Combined {
        groups: vec![("/".to_owned(), Attributes::default())],
        variables: vec![
            variable("/time", &["time"], &[0, 1, 2, 4], "days since 2000-01-01"),
            variable("/y", &["y"], &[3, 2, 2], "m"),
        ],
        along: None,
        dropped: Vec::new(),
        notes: Vec::new(),
        must_equal: Vec::new(),
    }
}

fn expectations(line: &str) -> Vec<Spanned<Expectation>> {
    let text = format!("recipe: 1\nid: a\nsources: {{f: {{url: a}}}}\nwrite: {{zarr: {{}}}}\nexpect:\n  - {line}\n");
    recipe::parse(&text).unwrap().remove(0).expect
}

#[track_caller]
fn expect(line: &str, expected: &[&str]) {
    let found: Vec<String> = check(&expectations(line), &combined()).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_so_is_passed_in_silence() {
    expect("dims: {time: 4, y: 3}", &[]);
    expect("monotonic: {time: increasing}", &[]);
    expect("units: {y: m}", &[]);
    expect("unique: [time]", &[]);
    expect("attrs_equal: {y: {units: m, comment: ~}}", &[]);
}

#[test]
fn what_is_not_so_is_said_with_its_line() {
    expect("dims: {time: 5}", &["line 6: `time` is 4 long, not 5"]);
    expect("monotonic: {y: decreasing}", &["line 6: `y` does not only fall: after 2 comes 2"]);
    expect(
        "gaps: {time: 1d}",
        &["line 6: after `time` = 2000-01-03T00:00:00 comes 2000-01-05T00:00:00, and a step of 1d was expected"],
    );
    expect("units: {y: km}", &["line 6: `units` of `y` is `m`, not `km`"]);
    expect("unique: [y]", &["line 6: `y` holds 2 twice"]);
    expect("attrs_equal: {global: {title: x}}", &["line 6: `title` of `global` is none, not `x`"]);
    expect("units: {yy: m}", &["line 6: there is no variable `yy`"]);
}

#[track_caller]
fn values(line: &str, fed: &[&[i16]], expected: &[&str]) {
    let mut all = ValueChecker::new(&expectations(line), &combined());
    let empty = all.clone();
    for part in fed {
        let mut one = empty.clone();
        one.feed("/y", &part.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        all.merge(&one);
    }
    assert_eq!(all.failures().iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn ranges_are_of_decoded_values_and_missing_ones_are_counted() {
    values("range: {y: [0, 3]}", &[&[0, 3, -9]], &[]);
    values(
        "range: {y: [0, 3]}",
        &[&[0, 4], &[-1, -9]],
        &["line 6: 2 of 4 values of `y` lie outside 0 to 3; they run from -1 to 4"],
    );
    values(
        "range: {y: [0, 3], allow_nan: 0.25}",
        &[&[-9, -9], &[1]],
        &["line 6: 2 of 3 values of `y` are missing, more than 0.25 of them"],
    );
}
