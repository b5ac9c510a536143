//! From a source to names, and from names to keys.

use std::collections::BTreeMap;

use crate::recipe::{
    amount::Interval,
    date::Moment,
    error::{Fault, RecipeError},
    read::shortened,
    source::{Key, KeyValue, KeyValues, Source, SourceKind, key_value},
    span::{Position, Spanned},
    template::Template,
};

/// The most names that a source may stand for; the largest known archive has some 100,000 files.
pub const MAX_NAMES: u64 = 2_000_000;

/// A name, and the keys that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// A URL, a path or a pattern.
    pub text: String,
    /// The value of each key.
    pub keys: BTreeMap<String, KeyValue>,
}

/// All names of `source`: files of `url` and `list`, places to look in of `glob` and `index`.
///
/// # Errors
/// More than [`MAX_NAMES`], or a value that cannot be written as its field asks.
pub fn expand(source: &Source) -> Result<Vec<Expanded>, RecipeError> {
    expansion(source)?.collect()
}

/// The names of `source` one after another, the last key running fastest.
///
/// # Errors
/// More than [`MAX_NAMES`].
pub fn expansion(source: &Source) -> Result<impl Iterator<Item = Result<Expanded, RecipeError>> + '_, RecipeError> {
    let templates: &[Spanned<Template>] = match &source.kind {
        SourceKind::Url(templates) => templates,
        SourceKind::Glob(template) | SourceKind::Index(template) => std::slice::from_ref(template),
        SourceKind::List(_) => &[],
    };
    let listed: &[Spanned<String>] = if let SourceKind::List(names) = &source.kind { names } else { &[] };
    let mut total = listed.len() as u64;
    for template in templates {
        let n = keys_of(source, template).map(|key| count(&key.values)).try_fold(1_u64, u64::checked_mul);
        total = n.and_then(|n| total.checked_add(n)).filter(|total| *total <= MAX_NAMES).ok_or_else(|| {
            let what = format!("the number of names of source `{}`", source.name);
            problem(source, template.at, Fault::TooLarge { what, limit: MAX_NAMES })
        })?;
    }
    let filled = templates.iter().flat_map(move |template| fill_all(source, template));
    Ok(listed.iter().map(move |name| from_list(source, name)).chain(filled))
}

fn fill_all<'s>(
    source: &'s Source,
    template: &'s Spanned<Template>,
) -> impl Iterator<Item = Result<Expanded, RecipeError>> + 's {
    let keys: Vec<(&Key, Vec<KeyValue>)> = keys_of(source, template).map(|key| (key, values(&key.values))).collect();
    let total: usize = keys.iter().map(|(_, values)| values.len()).product();
    let reads_names = matches!(source.kind, SourceKind::Url(_));
    (0..total).map(move |number| {
        let mut rest = number;
        let mut chosen = BTreeMap::new();
        for (key, values) in keys.iter().rev() {
            if let Some(value) = values.get(rest % values.len().max(1)) {
                chosen.insert(key.name.value.clone(), value.clone());
            }
            rest /= values.len().max(1);
        }
        let text = template.fill(&chosen).map_err(|fault| problem(source, template.at, fault))?;
        if reads_names {
            let found = match_name(source, &text)?.ok_or_else(|| unmatched(source, &text, template.at))?;
            chosen.extend(found);
        }
        parse_times(source, &text, &mut chosen)?;
        Ok(Expanded { text, keys: chosen })
    })
}

fn from_list(source: &Source, name: &Spanned<String>) -> Result<Expanded, RecipeError> {
    let keys = match_name(source, name)?.ok_or_else(|| unmatched(source, name, name.at))?;
    Ok(Expanded { text: name.value.clone(), keys })
}

/// The keys that `name` holds, by the source's `match`; `None` if it does not match.
///
/// # Errors
/// A captured text that is not a time as `parse` says.
pub fn match_name(source: &Source, name: &str) -> Result<Option<BTreeMap<String, KeyValue>>, RecipeError> {
    let Some(pattern) = &source.pattern else { return Ok(Some(BTreeMap::new())) };
    let Some(captures) = pattern.regex.captures(name) else { return Ok(None) };
    let mut keys = BTreeMap::new();
    for key in pattern.value.keys() {
        if let Some(found) = captures.name(key) {
            keys.insert(key.to_owned(), key_value(found.as_str()));
        }
    }
    parse_times(source, name, &mut keys)?;
    Ok(Some(keys))
}

/// Turns the keys that `parse` names into times.
fn parse_times(source: &Source, name: &str, keys: &mut BTreeMap<String, KeyValue>) -> Result<(), RecipeError> {
    for (key, format) in &source.parse {
        let Some(value) = keys.get_mut(&key.value) else { continue };
        if matches!(value, KeyValue::Time(_)) {
            continue;
        }
        let written = value.to_string();
        let Some(moment) = format.read(&written) else {
            let reason = format!(
                "`{}` in `{}` is not a time as `{}` writes it",
                shortened(&written),
                ending(name),
                format.value
            );
            return Err(problem(source, format.at, Fault::BadValue { key: key.value.clone(), reason }));
        };
        *value = KeyValue::Time(moment);
    }
    Ok(())
}

fn unmatched(source: &Source, name: &str, at: Position) -> RecipeError {
    let reason = format!("`{}` is not matched by it", ending(name));
    problem(source, at, Fault::BadValue { key: "match".to_owned(), reason })
}

/// The end of a name: that is where names differ.
fn ending(name: &str) -> String {
    shortened(name.trim_end_matches('/').rsplit('/').next().unwrap_or(name))
}

fn problem(source: &Source, at: Position, fault: Fault) -> RecipeError {
    RecipeError { document: source.document, at, fault }
}

/// The keys that stand in `template`, in the order declared.
fn keys_of<'s>(source: &'s Source, template: &'s Template) -> impl Iterator<Item = &'s Key> {
    source.keys.iter().filter(|key| template.keys().any(|name| name == key.name.value))
}

/// How many values, without counting them out.
fn count(values: &KeyValues) -> u64 {
    match values {
        KeyValues::List(values) => values.len() as u64,
        KeyValues::Integers { first, last, .. } => last.abs_diff(*first).saturating_add(1),
        KeyValues::Times { start, end, step } => {
            let length = match step {
                Interval::Milliseconds(length) => (length / 1000).max(1),
                // No month is shorter; this errs on the side of more.
                Interval::Months(months) => u64::from(*months).max(1) * 28 * 86_400,
            };
            end.seconds().abs_diff(start.seconds()) / length + 1
        }
    }
}

/// The values counted out; the caller has counted them before.
fn values(values: &KeyValues) -> Vec<KeyValue> {
    match values {
        KeyValues::List(values) => values.clone(),
        KeyValues::Integers { first, last, digits } => {
            (*first..=*last).map(|value| KeyValue::Integer { value, digits: *digits }).collect()
        }
        KeyValues::Times { start, end, step } => {
            let at = |n: u32| start.after(*step, n).filter(|moment: &Moment| moment <= end);
            (0..=u32::MAX).map_while(at).map(KeyValue::Time).collect()
        }
    }
}
