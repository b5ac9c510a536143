//! Attributes of several files as those of one dataset.
//!
//! Some attributes carry meaning: where they differ, the numbers are not comparable and the join is refused.
//! The others describe; they may differ, and the policy says what stays.

use crate::{
    attribute::{AttributeValue, Attributes},
    combine::{
        error::{CombineError, Rule},
        policy::Differ,
        policy::DifferAttrs,
        policy::DifferUnits,
        view::FileView,
    },
    time::Calendar,
};

/// Attributes that change what a number means, or what readers make of it.
const MEANING: [&str; 19] = [
    "units",
    "calendar",
    "standard_name",
    "cell_methods",
    "grid_mapping",
    "positive",
    "coordinates",
    "bounds",
    "climatology",
    "formula_terms",
    "flag_values",
    "flag_masks",
    "flag_meanings",
    "valid_min",
    "valid_max",
    "valid_range",
    "dtype",
    "_Unsigned",
    "_Encoding",
];

/// Attributes that are decided elsewhere: packing by the packing policy, time by its labels.
const DECIDED_ELSEWHERE: [&str; 4] = ["scale_factor", "add_offset", "_FillValue", "missing_value"];

/// An attribute that was left out because files differ in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The variable, or `/` for the dataset.
    pub path: String,
    /// The attribute.
    pub name: String,
}

/// One file's attributes, with the file's name.
pub struct Named<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Its attributes.
    pub attributes: &'a Attributes,
}

/// Joins the attributes of one variable (or of the dataset, `path` `/`).
///
/// `settled` names attributes that the caller has decided; they are taken from the first file unseen.
///
/// # Errors
/// [`CombineError::Differs`] where an attribute that carries meaning differs, or any under the policy `error`.
pub fn join(
    path: &str,
    all: &[Named<'_>],
    settled: &[&str],
    policy: Differ,
    dropped: &mut Vec<Dropped>,
) -> Result<Attributes, CombineError> {
    let Some((first, rest)) = all.split_first() else { return Ok(Attributes::default()) };
    let mut joined = first.attributes.clone();
    let mut names: Vec<&str> = first.attributes.0.iter().map(|(name, _)| name.as_str()).collect();
    for other in rest {
        for (name, _) in &other.attributes.0 {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    for name in names {
        let is_number =
            |one: &Named<'_>| one.attributes.get(name).is_none_or(|value| matches!(value, AttributeValue::Numbers(_)));
        let is_packing = path != "/" && DECIDED_ELSEWHERE.contains(&name);
        if settled.contains(&name) || (is_packing && all.iter().all(is_number)) {
            continue;
        }
        let mine = first.attributes.get(name);
        let Some(other) = rest.iter().find(|other| !same(name, mine, other.attributes.get(name))) else { continue };
        // Times have labels: where their counts may lie says nothing more, and differs from file to file.
        let is_of_times = name.starts_with("valid_") && settled.contains(&"calendar");
        let carries_meaning = path != "/" && !is_of_times && (is_packing || MEANING.contains(&name));
        if name == "units" && policy.units == DifferUnits::First {
            continue;
        }
        if carries_meaning || policy.attrs == DifferAttrs::Error {
            return Err(CombineError::Differs {
                rule: match name {
                    "units" => Rule::Units,
                    "calendar" => Rule::Calendar,
                    _ if is_packing => Rule::Fill,
                    _ if carries_meaning => Rule::Meaning,
                    _ => Rule::Attributes,
                },
                variable: path.to_owned(),
                what: name.to_owned(),
                file: other.file.to_owned(),
                value: show(other.attributes.get(name)),
                first_file: first.file.to_owned(),
                first_value: show(mine),
            });
        }
        if policy.attrs == DifferAttrs::DropConflicts {
            joined.remove(name);
            dropped.push(Dropped { path: path.to_owned(), name: name.to_owned() });
        }
    }
    Ok(joined)
}

/// What `coordinates` names in any file, where files differ in it and every name is a variable.
pub(super) fn all_coordinates(path: &str, all: &[Named<'_>], files: &[FileView]) -> Option<String> {
    let texts: Vec<Option<&str>> = all.iter().map(|one| one.attributes.text("coordinates")).collect();
    let is_text =
        |one: &Named<'_>| one.attributes.get("coordinates").is_none() || one.attributes.text("coordinates").is_some();
    if texts.windows(2).all(|pair| pair[0] == pair[1]) || !all.iter().all(is_text) {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for name in texts.iter().flatten().flat_map(|text| text.split_whitespace()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let is_whole = |text: &Option<&str>| {
        text.is_some_and(|text| names.iter().all(|name| text.split_whitespace().any(|other| other == *name)))
    };
    if let (true, Some(first)) = (texts.iter().all(is_whole), texts.first().copied().flatten()) {
        return Some(first.to_owned());
    }
    let exists = |name: &&str| {
        path.match_indices('/').any(|(at, _)| {
            let wanted = format!("{}/{}", &path[..at], name.trim_start_matches('/'));
            files.iter().any(|file| file.variable(&wanted).is_some())
        })
    };
    names.iter().all(exists).then(|| names.join(" "))
}

pub(super) fn same(name: &str, a: Option<&AttributeValue>, b: Option<&AttributeValue>) -> bool {
    match (a, b) {
        // `noleap` and `365_day` are one calendar.
        _ if name == "calendar" && calendar(a).is_some() && calendar(a) == calendar(b) => true,
        // A number is the same number in another type: JSON knows only one.
        (Some(AttributeValue::Numbers(a)), Some(AttributeValue::Numbers(b))) => {
            a.len() == b.len() && a.to_f64().iter().zip(b.to_f64()).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        // One text is the same text in either of the two ways that files keep it.
        (Some(AttributeValue::Text(text)), Some(AttributeValue::Texts(texts)))
        | (Some(AttributeValue::Texts(texts)), Some(AttributeValue::Text(text))) => texts == std::slice::from_ref(text),
        (Some(a), Some(b)) => a.same_bits(b),
        (None, None) => true,
        _ => false,
    }
}

/// The calendar that an attribute names; without one it is the standard calendar.
fn calendar(value: Option<&AttributeValue>) -> Option<Calendar> {
    match value {
        None => Calendar::parse(None),
        Some(AttributeValue::Text(text)) => Calendar::parse(Some(text)),
        Some(AttributeValue::Texts(texts)) => match texts.as_slice() {
            [text] => Calendar::parse(Some(text)),
            _ => None,
        },
        Some(_) => None,
    }
}

/// An attribute in a message.
#[must_use]
pub fn show(value: Option<&AttributeValue>) -> String {
    match value {
        None => "none".to_owned(),
        Some(AttributeValue::Text(text)) => format!("`{}`", text.chars().take(80).collect::<String>()),
        Some(AttributeValue::Texts(texts)) => format!("{texts:?}").chars().take(80).collect(),
        Some(AttributeValue::Numbers(numbers)) => {
            let values = numbers.to_f64();
            match values.as_slice() {
                [one] => format!("{one}"),
                many => format!("{:?}", &many[..many.len().min(8)]),
            }
        }
        Some(AttributeValue::Unread(reason)) => format!("unread ({reason})"),
    }
}
