//! Files that a recipe knows of and that are not there: which labels they would have had.
//!
//! A key of the file's name says it: another file with the same key has the same labels, or every file has one label
//! that lies equally far from its key. It promises that no label is guessed: where neither tells, the error says so.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    combine::{
        error::CombineError,
        labels::{Label, fixed_labels, labels_of, time_units},
        view::{FileView, Values, ViewVariable},
    },
    dtype::DataType,
    numbers::{push_float, push_integer},
    recipe::source::KeyValue,
    time::{Calendar, ExactValue, Instant, from_date},
};

/// A file that is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Absent {
    /// Where it would be.
    pub place: String,
    /// What its name says.
    pub keys: BTreeMap<String, KeyValue>,
}

/// What tells the labels of files along a dimension.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// The dimension.
    pub dimension: &'a str,
    /// The key that the recipe names for it.
    pub key: Option<&'a str>,
    /// The key that tells files with different variables apart.
    pub merge: Option<&'a str>,
}

/// How far labels lie from keys.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distance {
    Nanoseconds(i128, Calendar),
    Count(i128),
    Nothing,
}

/// The labels of files that are not there. Those that no file has are added as files of nothing but their label.
///
/// # Errors
/// [`CombineError::AbsentLabels`] if nothing tells them.
pub fn labels_of_absent(
    views: &mut Vec<FileView>,
    keys: &[BTreeMap<String, KeyValue>],
    absent: &[Absent],
    telling: Telling<'_>,
) -> Result<Vec<Label>, CombineError> {
    let mut found = Vec::new();
    let n_files = views.len();
    let mut distance = None;
    for file in absent {
        let fail = |reason: &str| CombineError::AbsentLabels {
            dimension: telling.dimension.to_owned(),
            file: file.place.clone(),
            reason: reason.to_owned(),
        };
        let key = key_of(file, telling).ok_or_else(|| fail("no key of its name says which"))?;
        let value = file.keys.get(&key).ok_or_else(|| fail("its name has no such key"))?;
        let is_like = |number: &usize| keys.get(*number).and_then(|keys| keys.get(&key)) == Some(value);
        let siblings: Vec<usize> = (0..n_files).filter(is_like).collect();
        if !siblings.is_empty() {
            for number in siblings {
                found.extend(labels_of(&views[number], telling.dimension)?.unwrap_or_default());
            }
            continue;
        }
        let known = match &distance {
            Some(known) => *known,
            None => *distance.insert(distance_of(&views[..n_files], keys, &key, telling.dimension).map_err(fail)?),
        };
        let label = label_at(value, known).ok_or_else(|| fail("its key is no label of the dimension"))?;
        if !found.contains(&label) {
            let view = with_label(&views[0], telling.dimension, file, &label).map_err(|reason| fail(&reason))?;
            views.push(view);
            found.push(label);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The key that says where along the dimension a file lies.
fn key_of(file: &Absent, telling: Telling<'_>) -> Option<String> {
    if let Some(key) = telling.key {
        return Some(key.to_owned());
    }
    if file.keys.contains_key(telling.dimension) {
        return Some(telling.dimension.to_owned());
    }
    let mut rest = file.keys.keys().filter(|name| Some(name.as_str()) != telling.merge);
    rest.next().filter(|_| rest.next().is_none()).cloned()
}

/// How far the one label of each file lies from its key: the same for all of them.
fn distance_of(
    views: &[FileView],
    keys: &[BTreeMap<String, KeyValue>],
    key: &str,
    dimension: &str,
) -> Result<Distance, &'static str> {
    let mut known: Option<Distance> = None;
    for (view, keys) in views.iter().zip(keys) {
        let labels = labels_of(view, dimension).ok().flatten().unwrap_or_default();
        let [label] = labels.as_slice() else {
            return Err("no other file has the same key, and the files have more labels than one");
        };
        let value = keys.get(key).ok_or("not every file has the key")?;
        let distance = between(label, value).ok_or("the labels are of another kind than the key")?;
        if known.is_some_and(|known| known != distance) {
            return Err("labels do not always lie equally far from the key");
        }
        known = Some(distance);
    }
    known.ok_or("no file is there")
}

fn between(label: &Label, value: &KeyValue) -> Option<Distance> {
    match (label, value) {
        (Label::Time(instant, calendar), value) => {
            let key = instant_of(value, *calendar)?;
            Some(Distance::Nanoseconds(instant.nanoseconds() - key.nanoseconds(), *calendar))
        }
        (Label::Integer(label), KeyValue::Integer { value, .. }) => {
            Some(Distance::Count(label.checked_sub(i128::from(*value))?))
        }
        (Label::Text(label), value) => (*label == value.to_string()).then_some(Distance::Nothing),
        _ => None,
    }
}

fn label_at(value: &KeyValue, distance: Distance) -> Option<Label> {
    match (distance, value) {
        (Distance::Nanoseconds(ns, calendar), value) => {
            Some(Label::Time(instant_of(value, calendar)?.plus_ns(ns)?, calendar))
        }
        (Distance::Count(count), KeyValue::Integer { value, .. }) => {
            Some(Label::Integer(i128::from(*value).checked_add(count)?))
        }
        (Distance::Nothing, value) => Some(Label::Text(value.to_string())),
        (Distance::Count(_), _) => None,
    }
}

/// The moment that a key stands for: a year alone for its first.
fn instant_of(value: &KeyValue, calendar: Calendar) -> Option<Instant> {
    match value {
        KeyValue::Time(moment) => from_date(
            calendar,
            i64::from(moment.year),
            moment.month,
            moment.day,
            moment.hour,
            moment.minute,
            moment.second,
            0,
        ),
        KeyValue::Integer { value, .. } => from_date(calendar, *value, 1, 1, 0, 0, 0, 0),
        KeyValue::Text(_) => None,
    }
}

/// A file that holds one label and nothing else, written as `like` writes it.
fn with_label(like: &FileView, dimension: &str, file: &Absent, label: &Label) -> Result<FileView, String> {
    let is_it = |variable: &&ViewVariable| variable.name() == dimension && variable.dimensions == [dimension];
    let mut coordinate = like.variables.iter().find(is_it).ok_or("no file has labels")?.clone();
    coordinate.shape = vec![1];
    coordinate.values = Some(Arc::new(written(&coordinate, label).ok_or("its label cannot be written exactly")?));
    Ok(FileView {
        name: file.place.clone(),
        groups: like.groups.clone(),
        variables: vec![coordinate],
        n_sources: 0,
        derived: Vec::new(),
    })
}

fn written(coordinate: &ViewVariable, label: &Label) -> Option<Values> {
    let number = match label {
        Label::Text(text) if coordinate.dtype == DataType::String => {
            return Some(Values::Texts(vec![Some(text.clone())]));
        }
        Label::Time(instant, _) => time_units(coordinate)?.0.exact_value_of(*instant)?,
        Label::Integer(value) => ExactValue::Int(i64::try_from(*value).ok()?),
        Label::Number(value) => ExactValue::Float(*value),
        Label::Text(_) => return None,
    };
    let mut bytes = Vec::new();
    match (&coordinate.dtype, number) {
        (DataType::Int(int), ExactValue::Int(value)) => push_integer(*int, value.into(), &mut bytes)?,
        #[allow(clippy::cast_precision_loss)] // it is looked at right after
        (DataType::Float(float), ExactValue::Int(value)) => push_float(*float, value as f64, &mut bytes),
        (DataType::Float(float), ExactValue::Float(value)) => push_float(*float, value, &mut bytes),
        _ => return None,
    }
    // What was written must mean the label again, and no mark for what is missing.
    let again = fixed_labels(&coordinate.dtype, &coordinate.attributes, &bytes);
    again.is_ok_and(|again| again == [label.clone()]).then(|| Values::Fixed(bytes.into()))
}
