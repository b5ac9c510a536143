//! Steps, as a table of what a file looks like before and after.

use super::*;
use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    codec::CodecChain,
    dataset::{Dataset, Dimension, Group, Role, Variable},
    dtype::{FloatType, IntType},
    problem::Problem,
    recipe,
};
use std::sync::Arc;

fn texts(pairs: &[(&str, &str)]) -> Attributes {
    Attributes(
        pairs.iter().map(|(name, text)| ((*name).to_owned(), AttributeValue::Text((*text).to_owned()))).collect(),
    )
}

fn variable(path: &str, dimensions: &[(&str, u64)], dtype: DataType, attributes: Attributes) -> Variable {
    let shape: Vec<u64> = dimensions.iter().map(|(_, length)| *length).collect();
    Variable {
        path: path.to_owned(),
        role: Role::Variable,
        dimensions: dimensions.iter().map(|(name, _)| (*name).to_owned()).collect(),
        chunk_shape: shape.clone(),
        shape,
        fill: vec![0; dtype.size_bytes().unwrap() as usize],
        dtype,
        is_chunked: false,
        codecs: CodecChain::default(),
        attributes,
    }
}

/// `sst(time, y, x)` in counts with what belongs to it, and a group with a variable of its own. Labels are held.
fn file() -> FileView {
    let (short, float) = (DataType::Int(IntType::I16), DataType::Float(FloatType::F32));
    let mut sst = texts(&[("coordinates", "area"), ("cell_methods", "time: mean"), ("grid_mapping", "crs")]);
    sst.set("_FillValue", AttributeValue::Numbers(Numbers::I16(vec![-1])));
    let all = [("time", 4), ("y", 3), ("x", 5)];
    let variables = vec![
        variable(
            "/time",
            &[("time", 4)],
            short.clone(),
            texts(&[("units", "days since 2000-01-30"), ("bounds", "tb")]),
        ),
        variable("/tb", &[("time", 4), ("nv", 2)], float.clone(), Attributes::default()),
        variable("/y", &[("y", 3)], float.clone(), Attributes::default()),
        variable("/area", &[("y", 3), ("x", 5)], float.clone(), Attributes::default()),
        variable("/crs", &[], DataType::Int(IntType::I32), Attributes::default()),
        variable("/sst", &all, short, sst),
        variable("/wind", &all, float.clone(), Attributes::default()),
        variable("/g/x", &[("x", 2)], float.clone(), Attributes::default()),
        variable("/g/v", &[("x", 2)], float, texts(&[("coordinates", "x")])),
    ];
    let group = |path: &str, dimensions: &[(&str, u64)]| Group {
        path: path.to_owned(),
        attributes: texts(&[("title", "small")]),
        dimensions: dimensions
            .iter()
            .map(|(name, length)| Dimension { name: (*name).to_owned(), length: *length, is_unlimited: false })
            .collect(),
    };
    let groups = vec![group("/", &[("time", 4), ("nv", 2), ("y", 3), ("x", 5)]), group("/g", &[("x", 2)])];
    let dataset = Dataset { format: "netcdf4".to_owned(), groups, variables, unread: Vec::new() };
    let held = |bytes: Vec<u8>| Some(Arc::new(Values::Fixed(bytes.into())));
    FileView::of("a.nc", &dataset, &|number| match number {
        0 => held([0_i16, 1, 2, 3].iter().flat_map(|day| day.to_le_bytes()).collect()),
        2 => held([10_f32, 0.1, -10.0].iter().flat_map(|y| y.to_le_bytes()).collect()),
        _ => None,
    })
}

fn steps(lines: &str) -> Vec<Spanned<Step>> {
    let lines: Vec<String> = lines.lines().map(|line| format!("  - {}\n", line.trim())).collect();
    let text = format!(
        "recipe: 1\nid: a\nsources: {{f: {{url: \"a{{member}}\", keys: {{member: [3]}}}}}}\nwrite: {{zarr: {{}}}}\neach:\n{}",
        lines.concat()
    );
    recipe::parse(&text).unwrap().remove(0).each
}

fn keys() -> BTreeMap<String, KeyValue> {
    BTreeMap::from([("member".to_owned(), KeyValue::Integer { value: 3, digits: 1 })])
}

/// `name(dimension=first+length)`, `-` where it runs backwards; `~` where it is derived.
fn show(view: &FileView) -> String {
    let axis = |variable: &ViewVariable, axis: usize| {
        let (name, length) = (&variable.dimensions[axis], variable.shape[axis]);
        match variable.axes[axis] {
            ViewAxis::Source { start, step, .. } => {
                format!("{name}={start}{}{length}", if step > 0 { '+' } else { '-' })
            }
            ViewAxis::New => format!("{name}=new"),
        }
    };
    let one = |variable: &ViewVariable| {
        let axes: Vec<String> = (0..variable.shape.len()).map(|number| axis(variable, number)).collect();
        let mark = if variable.source < view.n_sources { "" } else { "~" };
        format!("{mark}{}({})", variable.path.trim_start_matches('/'), axes.join(" "))
    };
    view.variables.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn done(lines: &str) -> FileView {
    let mut view = file();
    apply(&mut view, &steps(lines), &keys()).unwrap();
    view
}

/// The variables after the steps; only those named are shown.
#[track_caller]
fn check(lines: &str, expected: &str) {
    let mut view = done(lines);
    let named: Vec<&str> = expected
        .split(' ')
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name.trim_start_matches('~'))
        .collect();
    view.variables.retain(|variable| named.contains(&variable.path.trim_start_matches('/')));
    assert_eq!(show(&view), expected);
}

#[track_caller]
fn refused(lines: &str, message: &str, hint: Option<&str>) {
    let error = apply(&mut file(), &steps(lines), &keys()).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(error.hint().as_deref(), hint);
}

#[track_caller]
fn attribute(lines: &str, path: &str, name: &str, expected: Option<&str>) {
    assert_eq!(done(lines).variable(path).unwrap().attributes.text(name), expected);
}

#[test]
fn what_is_kept_brings_what_it_needs() {
    assert_eq!(
        show(&done("keep: [sst]")),
        "time(time=0+4) tb(time=0+4 nv=0+2) y(y=0+3) area(y=0+3 x=0+5) crs() sst(time=0+4 y=0+3 x=0+5)"
    );
    assert_eq!(show(&done("keep: [v]")), "g/x(x=0+2) g/v(x=0+2)");
    assert_eq!(show(&done("drop: [\"*\", none*]")), "");
}

#[test]
fn attributes_follow_names() {
    attribute("rename: {tb: time_bounds}", "/time", "bounds", Some("time_bounds"));
    attribute("rename: {time: t}", "/sst", "cell_methods", Some("t: mean"));
    attribute("rename: {area: a, crs: proj}", "/sst", "coordinates", Some("a"));
    attribute("rename: {area: a, crs: proj}", "/sst", "grid_mapping", Some("proj"));
    attribute("flatten_groups: true", "/g_v", "coordinates", Some("g_x"));
    check("rename: {x: y, y: x}", "x(x=0+3) area(x=0+3 y=0+5)");
}

#[test]
fn a_range_of_labels_moves_no_data() {
    check("subset: {time: 2000-02, y: [-10, 5]}", "sst(time=2+2 y=1+2 x=0+5)");
    check("subset: {time: 2000-01-31}", "time(time=1+1) tb(time=1+1 nv=0+2)");
    check("subset: {y: 0.1}", "y(y=1+1)");
    check("sort: [y]", "y(y=2-3) area(y=2-3 x=0+5)");
    check("sort: [y]\nsubset: {y: 0/}", "y(y=1-2) area(y=1-2 x=0+5)");
    check("sort: [y]\nsort: {y: descending}", "y(y=0+3)");
    check("subset: {y: 0.1}\nsqueeze: [y]\ntranspose: [x]", "sst(x=0+5 time=0+4)");
}

#[test]
fn a_dimension_is_added_to_data_and_not_to_coordinates() {
    check(
        "add_dim: {member: \"{member}\"}",
        "~member(member=0+1) area(y=0+3 x=0+5) sst(member=new time=0+4 y=0+3 x=0+5)",
    );
    let view = done("add_dim: {member: \"{member}\"}");
    assert_eq!(
        view.variable("/member").unwrap().values.as_deref(),
        Some(&Values::Fixed(3_i64.to_le_bytes().to_vec().into()))
    );
}

#[test]
fn one_group_or_all_of_them() {
    assert_eq!(show(&done("group: g")), "x(x=0+2) v(x=0+2)");
    check("flatten_groups: {separator: __}", "g__x(g__x=0+2) g__v(g__x=0+2)");
}

#[test]
fn coordinates_are_said_to_be_some() {
    attribute("set_coords: [tb, crs]", "/sst", "coordinates", Some("area crs"));
    attribute("set_coords: [area]", "/wind", "coordinates", Some("area"));
    attribute("drop: [area]\nset_coords: [wind]", "/sst", "coordinates", Some("wind"));
}

#[test]
fn values_change_by_a_rule_and_labels_at_once() {
    let view =
        done("cast: {sst: float64, y: int8}\nmask: {wind: {below: 0}}".replace("y: int8", "time: int64").as_str());
    assert!(matches!(view.variable("/sst").unwrap().rule, ValueRule::Chain(_)));
    assert!(matches!(view.variable("/wind").unwrap().rule, ValueRule::Mask { .. }));
    let time = view.variable("/time").unwrap();
    assert_eq!(time.values.as_ref().unwrap().len(8), 4);
    refused(
        "cast: {y: int8}",
        "line 6: `a.nc`, `cast`: `y` cannot be cast: 0.10000000149011612 does not fit int8",
        None,
    );
}

#[test]
fn new_values_are_derived_and_small_ones_known() {
    check(
        "calc: {speed: \"sst + wind * y\", twice: \"speed * 2\"}",
        "~speed(time=0+4 y=0+3 x=0+5) ~twice(time=0+4 y=0+3 x=0+5)",
    );
    let view = done("calc: {y: \"y * 10\"}");
    let tenfold: Vec<u8> =
        [100.0, f64::from(0.1_f32) * 10.0, -100.0].iter().flat_map(|y: &f64| y.to_le_bytes()).collect();
    assert_eq!(view.variable("/y").unwrap().values.as_deref(), Some(&Values::Fixed(tenfold.into())));
}

#[test]
fn what_would_be_read_without_end_is_refused() {
    let lines: Vec<String> = (0..20).map(|n| format!("v{}: \"v{n} + wind * v{n}\"", n + 1)).collect();
    let mut text = format!("calc: {{v0: \"wind + sst\", {}}}", lines.join(", "));
    assert!(apply(&mut file(), &steps(&text), &keys()).is_ok());
    let pairs: Vec<String> = (0..20).map(|n| format!("v{0}: \"v{n} + w{n}\", w{0}: \"v{n} - w{n}\"", n + 1)).collect();
    text = format!("calc: {{v0: \"wind + sst\", w0: \"wind - sst\", {}}}", pairs.join(", "));
    let error = apply(&mut file(), &steps(&text), &keys()).unwrap_err();
    assert_eq!(error.code(), "step.too-deep");
}

#[test]
fn what_is_not_there_is_named_with_its_line() {
    refused(
        "keep: [sst]\nkeep: [sts]",
        "line 7: `a.nc`, `keep`: there is no variable `sts`; there are `time`, `tb`, `y`, `area`, `crs`, `sst`",
        Some("did you mean `sst`?"),
    );
    refused(
        "subset: {time: 2031}",
        "line 6: `a.nc`, `subset`: no label of `time` is `2031`; they run from 2000-01-30T00:00:00 to 2000-02-02T00:00:00",
        None,
    );
    refused(
        "rename: {y: x}",
        "line 6: `a.nc`, `rename`: there is a dimension `x` already",
        Some("choose another name, or take the old one out with `drop: [x]`"),
    );
    refused(
        "subset: {x: 3}",
        "line 6: `a.nc`, `subset`: the labels of `x` cannot be used: `/area` has the dimension, too, and does not see them",
        None,
    );
}

#[test]
fn a_name_may_be_missing_in_some_files_but_not_in_all() {
    let mut other = file();
    other.variables.retain(|variable| variable.path != "/wind");
    let mut views = [file(), other];
    apply_all(&mut views, &steps("rename: {wind: w}"), &[]).unwrap();
    assert!(views[0].variable("/w").is_some());
    assert_eq!(apply_all(&mut views, &steps("drop: [wind]"), &[]).unwrap_err().code(), "step.unknown-name");
}
