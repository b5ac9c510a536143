//! The steps of `each`, read from YAML.

use std::collections::BTreeSet;

use crate::{
    attribute::{AttributeValue, Numbers},
    dtype::{DataType, FloatType, IntType},
    recipe::{
        combine::{DUPLICATES, Duplicates},
        each::{AttributeEdit, AttributeEdits, DimLabel, MaskRule, Order, Step, TimeFrom, TimeSource},
        error::Fault,
        read::{Fields, Plain, Problems, entries, finite, parsed, text, texts, truth, unknown_key, word},
        span::{Position, Spanned},
        spec::{Label, Pick},
        yaml::{Content, Node},
    },
};

const VERBS: [&str; 19] = [
    "keep",
    "drop",
    "rename",
    "group",
    "flatten_groups",
    "set_coords",
    "add_dim",
    "time_from",
    "subset",
    "squeeze",
    "transpose",
    "sort",
    "dedup",
    "cast",
    "mask",
    "calc",
    "attrs",
    "fix_before_decode",
    "promote",
];
const PLANNED: [&str; 4] = ["python", "csv", "add_column", "bands"];

/// The list under `each`.
pub(crate) fn each(node: &Node, problems: &mut Problems) -> Vec<Spanned<Step>> {
    let Some(items) = node.list() else {
        text_list_wanted(node, problems);
        return Vec::new();
    };
    let mut steps = Vec::new();
    for item in items {
        for (verb, node) in entries(item, "each", "{keep: [precip]}", problems) {
            if problems.are_enough() {
                return steps;
            }
            if PLANNED.contains(&verb.as_str()) {
                problems.not_yet(verb.at, &format!("each.{verb}"));
            } else if VERBS.contains(&verb.as_str()) {
                steps.extend(step(verb, node, problems).map(|step| Spanned::new(step, verb.at)));
            } else {
                let mut fault = unknown_key("each", verb, &VERBS);
                if let Fault::UnknownKey { known, .. } = &mut fault {
                    known.sort();
                }
                problems.add(verb.at, fault);
            }
        }
    }
    steps
}

fn text_list_wanted(node: &Node, problems: &mut Problems) {
    let fault = Fault::WrongType {
        key: "each".to_owned(),
        expected: "a list of steps".to_owned(),
        example: "[{keep: [precip]}, {rename: {nav_lat: lat}}]".to_owned(),
        found: node.describe(),
    };
    problems.add(node.at, fault);
}

fn step(verb: &str, node: &Node, problems: &mut Problems) -> Option<Step> {
    let names = |problems: &mut Problems| {
        let names = texts(node, verb, "[precip, \"*_bounds\"]", problems);
        (!names.is_empty()).then_some(names)
    };
    Some(match verb {
        "keep" => Step::Keep(names(problems)?),
        "drop" => Step::Drop(names(problems)?),
        "rename" => Step::Rename(renames(node, verb, problems)),
        "group" => Step::Group(text(node, verb, "/science/grid", problems)?),
        "flatten_groups" => flatten_groups(node, problems)?,
        "set_coords" => Step::SetCoords(names(problems)?),
        "add_dim" => return add_dim(node, problems),
        "time_from" => Step::TimeFrom(time_from(node, problems)?),
        "subset" => Step::Subset(subset(node, problems)),
        "squeeze" if matches!(node.plain(), Some(Plain::Bool(true))) => Step::Squeeze(Vec::new()),
        "squeeze" => Step::Squeeze(names(problems)?),
        "transpose" => Step::Transpose(names(problems)?),
        "sort" => Step::Sort(named_words(
            node,
            verb,
            &[("ascending", Order::Ascending), ("descending", Order::Descending)],
            Order::Ascending,
            problems,
        )),
        "dedup" => Step::Dedup(named_words(node, verb, &DUPLICATES, Duplicates::First, problems)),
        "cast" => Step::Cast(cast(node, problems)),
        "mask" => Step::Mask(mask(node, problems)),
        "calc" => {
            let lines = entries(node, verb, "{speed: \"sqrt(u ** 2 + v ** 2)\"}", problems).iter();
            let parse = |(name, node): &(Spanned<String>, Node), problems: &mut Problems| {
                Some((name.clone(), Spanned::new(parsed(node, "calc", "sqrt(u ** 2 + v ** 2)", problems)?, node.at)))
            };
            let mut found = Vec::new();
            for line in lines {
                found.extend(parse(line, problems));
            }
            Step::Calc(found)
        }
        "attrs" => Step::Attrs(attribute_edits(node, verb, problems)),
        "fix_before_decode" => Step::FixBeforeDecode(attribute_edits(node, verb, problems)),
        _ => Step::Promote(renames(node, verb, problems)),
    })
}

fn renames(node: &Node, verb: &str, problems: &mut Problems) -> Vec<(Spanned<String>, Spanned<String>)> {
    let mut found: Vec<(Spanned<String>, Spanned<String>)> = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (old, node) in entries(node, verb, "{nav_lat: lat}", problems) {
        let Some(new) = text(node, verb, "{nav_lat: lat}", problems) else { continue };
        if !taken.insert(new.value.clone()) {
            problems.bad(new.at, verb, format!("two things cannot both be named `{new}`"));
        }
        found.push((old.clone(), new));
    }
    found.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    found
}

fn flatten_groups(node: &Node, problems: &mut Problems) -> Option<Step> {
    if node.map().is_some() {
        let fields = Fields::of(node, "flatten_groups", &["separator"], &[], "{separator: _}", problems)?;
        let separator = fields.need("separator", "separator: _", problems)?;
        let separator = text(separator, "separator", "_", problems)?;
        if separator.contains('/') {
            problems.bad(separator.at, "separator", "cannot be or hold `/`, which parts groups");
        }
        return Some(Step::FlattenGroups { separator: separator.value });
    }
    if !truth(node, "flatten_groups", problems)? {
        problems.bad(node.at, "flatten_groups", "take the line out instead of writing `false`");
    }
    Some(Step::FlattenGroups { separator: "_".to_owned() })
}

fn add_dim(node: &Node, problems: &mut Problems) -> Option<Step> {
    let [(dimension, node)] = entries(node, "add_dim", "{member: \"{member}\"}", problems) else {
        if node.map().is_some_and(|entries| !entries.is_empty()) {
            problems.bad(node.at, "add_dim", "adds one dimension; write one step for each");
        }
        return None;
    };
    let label = match node.plain() {
        Some(Plain::Integer(value)) => DimLabel::Integer(value),
        Some(Plain::Float(value)) if value.is_finite() => DimLabel::Number(value),
        _ => {
            let text = text(node, "add_dim", "{member: \"{member}\"}", problems)?;
            match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(key) => DimLabel::Key(key.strip_prefix("file.").unwrap_or(key).to_owned()),
                None => DimLabel::Text(text.value),
            }
        }
    };
    Some(Step::AddDim { dimension: dimension.clone(), label: Spanned::new(label, node.at) })
}

fn time_from(node: &Node, problems: &mut Problems) -> Option<TimeFrom> {
    let usual = |at: Position| Spanned::new("time".to_owned(), at);
    if node.text().is_some() {
        let key = text(node, "time_from", "{key: time}", problems)?;
        return Some(TimeFrom { dimension: usual(node.at), from: TimeSource::Key(key) });
    }
    let known = ["key", "attribute", "variable", "format", "dim"];
    let fields = Fields::of(node, "time_from", &known, &[], "{key: time}", problems)?;
    let dimension = match fields.get("dim") {
        Some(node) => text(node, "dim", "time", problems)?,
        None => usual(node.at),
    };
    let format = fields.get("format").and_then(|node| parsed(node, "format", "%Y-%m-%d", problems));
    let given: Vec<(&str, &Node)> =
        ["key", "attribute", "variable"].into_iter().filter_map(|kind| Some((kind, fields.get(kind)?))).collect();
    let [(kind, node)] = given.as_slice() else {
        problems.bad(node.at, "time_from", "needs one of `key`, `attribute` and `variable`");
        return None;
    };
    let name = text(node, kind, "time", problems)?;
    if let Some(format) = fields.get("format").filter(|_| *kind != "attribute") {
        problems.bad(
            format.at,
            "format",
            "belongs to `attribute`; how a key is written stands in the source's `parse`",
        );
    }
    let from = match *kind {
        "key" => TimeSource::Key(name),
        "attribute" => TimeSource::Attribute(name, format),
        _ => TimeSource::Variable(name),
    };
    Some(TimeFrom { dimension, from })
}

fn subset(node: &Node, problems: &mut Problems) -> Vec<(Spanned<String>, Pick)> {
    let mut picks = Vec::new();
    for (name, node) in entries(node, "subset", "{lat: [-10, 10], time: 2000/2010}", problems) {
        let pick = match &node.content {
            Content::List(items) => match items.as_slice() {
                [from, to] => {
                    let label = |node: &Node| node.text().map(|text| Label(text.to_owned()));
                    match (label(from), label(to)) {
                        (None, None) => None,
                        (from, to) => match Pick::between(from, to) {
                            Ok(pick) => Some(pick),
                            Err(fault) => {
                                problems.add(node.at, fault.under("subset"));
                                continue;
                            }
                        },
                    }
                }
                _ => None,
            },
            Content::Scalar { .. } => parsed(node, "subset", "2000/2010", problems),
            Content::Map(_) => None,
        };
        match pick {
            Some(pick) => picks.push((name.clone(), pick)),
            None if node.text().is_some() => {}
            None => problems.bad(node.at, "subset", format!("`{name}` needs a label or two: `[-10, 10]`, `2000/2010`")),
        }
    }
    picks.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    picks
}

/// A name, a list of names, or names with a word each.
pub(crate) fn named_words<T: Copy>(
    node: &Node,
    key: &str,
    choices: &[(&str, T)],
    usual: T,
    problems: &mut Problems,
) -> Vec<(Spanned<String>, T)> {
    if node.map().is_none() {
        return texts(node, key, "time", problems).into_iter().map(|name| (name, usual)).collect();
    }
    let mut found = Vec::new();
    for (name, node) in entries(node, key, "{lat: descending}", problems) {
        found.extend(word(node, key, choices, problems).map(|value| (name.clone(), value)));
    }
    found
}

fn cast(node: &Node, problems: &mut Problems) -> Vec<(Spanned<String>, DataType)> {
    let (int, float) = (DataType::Int, DataType::Float);
    let types: [(&str, &[&str], DataType); 10] = [
        ("float32", &["f32", "float"], float(FloatType::F32)),
        ("float64", &["f64", "double"], float(FloatType::F64)),
        ("int8", &["i8"], int(IntType::I8)),
        ("int16", &["i16"], int(IntType::I16)),
        ("int32", &["i32"], int(IntType::I32)),
        ("int64", &["i64"], int(IntType::I64)),
        ("uint8", &["u8"], int(IntType::U8)),
        ("uint16", &["u16"], int(IntType::U16)),
        ("uint32", &["u32"], int(IntType::U32)),
        ("uint64", &["u64"], int(IntType::U64)),
    ];
    let mut found = Vec::new();
    for (name, node) in entries(node, "cast", "{sst: float32}", problems) {
        let alias = types.iter().position(|(_, aliases, _)| node.text().is_some_and(|text| aliases.contains(&text)));
        let names: Vec<(&str, usize)> = types.iter().enumerate().map(|(index, (name, ..))| (*name, index)).collect();
        let index = alias.or_else(|| word(node, "cast", &names, problems));
        if let Some((.., dtype)) = index.and_then(|index| types.get(index)) {
            found.push((name.clone(), dtype.clone()));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    found
}

fn mask(node: &Node, problems: &mut Problems) -> Vec<(Spanned<String>, MaskRule)> {
    let mut found = Vec::new();
    for (name, node) in entries(node, "mask", "{canopy_height: 255}", problems) {
        found.extend(mask_rule(node, problems).map(|rule| (name.clone(), rule)));
    }
    found.sort_by(|(a, _): &(Spanned<String>, MaskRule), (b, _)| a.value.cmp(&b.value));
    found
}

fn mask_rule(node: &Node, problems: &mut Problems) -> Option<MaskRule> {
    let values = |node: &Node, problems: &mut Problems| -> Vec<f64> {
        match node.list() {
            Some(items) => items.iter().filter_map(|item| finite(item, "mask", "255", problems)).collect(),
            None => finite(node, "mask", "255", problems).into_iter().collect(),
        }
    };
    if node.map().is_none() {
        let values = values(node, problems);
        return (!values.is_empty()).then_some(MaskRule { values, below: None, above: None });
    }
    let fields = Fields::of(node, "mask", &["values", "below", "above"], &[], "{below: 0, above: 100}", problems)?;
    let bound = |key: &str, problems: &mut Problems| fields.get(key).and_then(|node| finite(node, key, "0", problems));
    let (below, above) = (bound("below", problems), bound("above", problems));
    let values = fields.get("values").map_or_else(Vec::new, |node| values(node, problems));
    if let (Some(below), Some(above)) = (below, above)
        && below > above
    {
        problems.bad(node.at, "mask", format!("below {below} and above {above} leaves no value"));
    }
    Some(MaskRule { values, below, above })
}

fn attribute_edits(node: &Node, verb: &str, problems: &mut Problems) -> Vec<AttributeEdits> {
    let example = "{global: {title: My data}, sst: {units: K, comment: ~}}";
    let mut found = Vec::new();
    for (name, node) in entries(node, verb, example, problems) {
        let edits = entries(node, &format!("{verb}.{name}"), example, problems)
            .iter()
            .filter_map(|(attribute, node)| Some((attribute.clone(), attribute_edit(node, attribute, problems)?)))
            .collect();
        let of = (name.value != "global").then(|| name.clone());
        found.push(AttributeEdits { of, edits });
    }
    found
}

/// The value of an attribute: texts, whole numbers (`int64`) or numbers (`float64`).
pub(crate) fn attribute_edit(node: &Node, name: &str, problems: &mut Problems) -> Option<AttributeEdit> {
    let plain = |node: &Node| node.plain();
    let values: Option<Vec<Plain>> = match &node.content {
        Content::List(items) => items.iter().map(plain).collect(),
        _ => plain(node).map(|value| vec![value]),
    };
    let is_list = node.list().is_some();
    let digits = |node: &Node| {
        let Content::Scalar { text, quoted: false } = &node.content else { return false };
        let digits = text.trim_start_matches(['-', '+']);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_err()
    };
    if digits(node) || node.list().is_some_and(|items| items.iter().any(digits)) {
        problems.bad(node.at, name, "the number is too large; in quotes it is a text");
        return None;
    }
    let value = match values.as_deref() {
        Some([Plain::Null]) if !is_list => return Some(AttributeEdit::Remove),
        Some([Plain::Text(text)]) if !is_list => Some(AttributeValue::Text(text.clone())),
        Some(values) if !values.is_empty() => attribute_list(values),
        _ => None,
    };
    if value.is_none() {
        problems.bad(node.at, name, "an attribute is a text, a number, or a list of one of them");
    }
    value.map(AttributeEdit::Set)
}

fn attribute_list(values: &[Plain]) -> Option<AttributeValue> {
    let all = |kind: fn(&Plain) -> bool| values.iter().all(kind);
    if all(|value| matches!(value, Plain::Text(_))) {
        let texts =
            values.iter().filter_map(|value| if let Plain::Text(text) = value { Some(text.clone()) } else { None });
        return Some(AttributeValue::Texts(texts.collect()));
    }
    if all(|value| matches!(value, Plain::Integer(_))) {
        let numbers =
            values.iter().filter_map(|value| if let Plain::Integer(number) = value { Some(*number) } else { None });
        return Some(AttributeValue::Numbers(Numbers::I64(numbers.collect())));
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // compared just below
    let numbers: Option<Vec<f64>> = values
        .iter()
        .map(|value| match value {
            Plain::Integer(number) => Some(*number as f64).filter(|float| *float as i128 == i128::from(*number)),
            Plain::Float(number) => Some(*number),
            _ => None,
        })
        .collect();
    numbers.map(|numbers| AttributeValue::Numbers(Numbers::F64(numbers)))
}
