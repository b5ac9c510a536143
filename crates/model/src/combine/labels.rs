//! Labels along the dimension that grows, and where each file's elements go.
//!
//! Everything is placed by label, never by position: a missing file cannot shift the rest.

use std::{cmp::Ordering, fmt};

use crate::{
    attribute::Attributes,
    combine::{
        error::{CombineError, MISSING_LABEL, Rule},
        meant::Meant,
        policy::Policies,
        view::{FileView, Values, ViewVariable},
    },
    dtype::DataType,
    numbers::Number,
    time::{Calendar, Instant, TimeUnits},
};

/// What an element along a dimension is called.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// A point in time of a calendar.
    Time(Instant, Calendar),
    /// A number, not NaN.
    Number(f64),
    /// An integer.
    Integer(i128),
    /// A text.
    Text(String),
}

impl Eq for Label {}

impl Label {
    const fn calendar(&self) -> Option<Calendar> {
        match self {
            Self::Time(_, calendar) => Some(*calendar),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Time(..) => 0,
            Self::Number(_) => 1,
            Self::Integer(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Time(a, _), Self::Time(b, _)) => a.cmp(b),
            // 0.0 and -0.0 are one place on an axis.
            (Self::Number(a), Self::Number(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(instant, calendar) => f.write_str(&instant.to_rfc3339(*calendar)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Text(text) => write!(f, "`{text}`"),
        }
    }
}

/// The units and calendar of a variable that holds times; `None` if it does not.
#[must_use]
pub fn time_units(variable: &ViewVariable) -> Option<(TimeUnits, Calendar)> {
    time_units_of(&variable.dtype, &variable.attributes)
}

fn time_units_of(dtype: &DataType, attributes: &Attributes) -> Option<(TimeUnits, Calendar)> {
    time_units_in(dtype, attributes.text("units"), attributes.text("calendar"))
}

/// The units and calendar that are said of times, if numbers of type `dtype` can be times.
pub(super) fn time_units_in(
    dtype: &DataType,
    units: Option<&str>,
    calendar: Option<&str>,
) -> Option<(TimeUnits, Calendar)> {
    let calendar = Calendar::parse(calendar).filter(|_| dtype.is_number())?;
    let units = TimeUnits::parse(units?, calendar).ok()?;
    Some((units, calendar))
}

/// The variable whose values are the labels of `dimension`: the root's, or else the first group's.
pub(super) fn coordinate_of<'a>(file: &'a FileView, dimension: &str) -> Option<&'a ViewVariable> {
    file.coordinate("/", dimension).or_else(|| {
        file.variables.iter().find(|variable| variable.name() == dimension && variable.dimensions == [dimension])
    })
}

/// The labels of one file place all its variables: a group that gives the dimension labels of its own must give it
/// the same ones, and as many as `variable` has elements.
pub(super) fn check_placed(
    file: &FileView,
    variable: &ViewVariable,
    dimension: &str,
    labels: &[Label],
) -> Result<(), CombineError> {
    let Some(length) = variable.axis_of(dimension).and_then(|axis| variable.shape.get(axis)) else { return Ok(()) };
    let Some(placing) = coordinate_of(file, dimension) else { return Ok(()) };
    let no_labels = || CombineError::NoLabels {
        dimension: format!("{}/{dimension}", variable.group().trim_end_matches('/')),
        file: file.name.clone(),
    };
    let declaring = |group: &str| file.declaring_group(group, dimension);
    let own = match (declaring(variable.group()), declaring(placing.group())) {
        (Some(here), Some(there)) if here != there => Some(
            file.coordinate(variable.group(), dimension)
                .filter(|found| declaring(found.group()) == Some(here))
                .ok_or_else(no_labels)?,
        ),
        _ => file.coordinate(variable.group(), dimension),
    };
    let differ = |label: Option<&Label>, first_label: Option<&Label>| CombineError::GroupLabels {
        dimension: dimension.to_owned(),
        file: file.name.clone(),
        group: variable.group().to_owned(),
        first_group: placing.group().to_owned(),
        label: label.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        first_label: first_label.map_or_else(|| "nothing".to_owned(), ToString::to_string),
    };
    if let Some(own) = own.filter(|own| own.path != placing.path) {
        let theirs = labels_in(own).map_err(|reason| CombineError::Labels {
            dimension: own.path.clone(),
            file: file.name.clone(),
            reason,
        })?;
        let n_most = theirs.len().max(labels.len());
        if let Some(at) = (0..n_most).find(|at| theirs.get(*at).cmp(&labels.get(*at)) != Ordering::Equal) {
            return Err(differ(theirs.get(at), labels.get(at)));
        }
    }
    if *length == labels.len() as u64 {
        return Ok(());
    }
    Err(CombineError::Differs {
        rule: Rule::Length,
        variable: variable.path.clone(),
        what: format!("dimension `{dimension}` of length"),
        file: file.name.clone(),
        value: length.to_string(),
        first_file: file.name.clone(),
        first_value: format!("{} labels in `{}`", labels.len(), placing.path),
    })
}

/// The labels that `file` gives to `dimension`; `None` if it has no such coordinate.
///
/// # Errors
/// [`CombineError::Labels`] if a label is missing, NaN or of a type without order.
pub fn labels_of(file: &FileView, dimension: &str) -> Result<Option<Vec<Label>>, CombineError> {
    let Some(coordinate) = coordinate_of(file, dimension) else { return Ok(None) };
    let fail =
        |reason: String| CombineError::Labels { dimension: dimension.to_owned(), file: file.name.clone(), reason };
    labels_in(coordinate).map(Some).map_err(fail)
}

/// The labels that a one-dimensional variable holds, or why they are none.
pub(crate) fn labels_in(coordinate: &ViewVariable) -> Result<Vec<Label>, String> {
    labels_there(coordinate)?.into_iter().map(|label| label.ok_or_else(missing)).collect()
}

/// The same, where nothing stands for a label that is missing.
pub(crate) fn labels_there(coordinate: &ViewVariable) -> Result<Vec<Option<Label>>, String> {
    match coordinate.values.as_deref() {
        None => Err("the values could not be read".into()),
        Some(Values::Texts(texts)) => Ok(texts.iter().map(|text| text.clone().map(Label::Text)).collect()),
        Some(Values::Fixed(bytes)) => labels_of_bytes(&coordinate.dtype, &coordinate.attributes, bytes),
    }
}

/// The labels that stored elements stand for, or why they are none.
pub(crate) fn fixed_labels(dtype: &DataType, attributes: &Attributes, bytes: &[u8]) -> Result<Vec<Label>, String> {
    labels_of_bytes(dtype, attributes, bytes)?.into_iter().map(|label| label.ok_or_else(missing)).collect()
}

fn missing() -> String {
    format!("{MISSING_LABEL}: it is NaN, what `_FillValue` or `missing_value` says, or was never written")
}

fn labels_of_bytes(dtype: &DataType, attributes: &Attributes, bytes: &[u8]) -> Result<Vec<Option<Label>>, String> {
    if let DataType::FixedString { .. } | DataType::Char = dtype {
        let size = dtype.size_bytes().unwrap_or(1) as usize;
        return Ok(bytes
            .chunks(size.max(1))
            .map(|cell| Some(Label::Text(String::from_utf8_lossy(cell).trim_end_matches('\0').to_owned())))
            .collect());
    }
    let meant = Meant::values_of(dtype, attributes, bytes).ok_or_else(|| format!("{dtype} has no order"))?;
    let units = time_units_of(dtype, attributes);
    let label = |number: Number| match (number, &units) {
        (Number::Float(value), Some((units, calendar))) => units
            .instant_of_float(value)
            .map(|instant| Label::Time(instant, *calendar))
            .ok_or_else(|| format!("{value} is out of range")),
        (Number::Integer(value), Some((units, calendar))) => i64::try_from(value)
            .ok()
            .and_then(|value| units.instant_of_int(value))
            .map(|instant| Label::Time(instant, *calendar))
            .ok_or_else(|| format!("{value} is out of range")),
        (Number::Float(value), None) => Ok(Label::Number(value)),
        (Number::Integer(value), None) => Ok(Label::Integer(value)),
    };
    meant.numbers.into_iter().map(|number| number.map(label).transpose()).collect()
}

/// All labels of a joined dimension, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Labels, each once.
    pub labels: Vec<Label>,
    /// For each file and each of its elements along the dimension, the element's place in `labels`.
    pub places: Vec<Vec<u64>>,
}

/// Puts the labels of all files in order: ascending, or descending if that is how every file has them, or how the first
/// has them if the others follow it, or if that is said.
///
/// # Errors
/// [`CombineError::Duplicate`] if one file holds a label twice.
pub fn join_labels(
    dimension: &str,
    files: &[FileView],
    labels: &[Vec<Label>],
    policies: &Policies,
) -> Result<Axis, CombineError> {
    let deciding = if policies.follows_store { labels.get(..1).unwrap_or_default() } else { labels };
    let descends = |file: &Vec<Label>| file.windows(2).all(|pair| pair[0] > pair[1]);
    let has_order = deciding.iter().any(|file| file.len() > 1);
    let is_descending = policies.descends.unwrap_or_else(|| has_order && deciding.iter().all(descends));
    for (file, labels) in files.iter().zip(labels) {
        let mut sorted: Vec<&Label> = labels.iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CombineError::Duplicate {
                dimension: dimension.to_owned(),
                label: pair[0].to_string(),
                file: file.name.clone(),
                first_file: file.name.clone(),
            });
        }
    }
    let mut all: Vec<Label> = labels.iter().flatten().cloned().collect();
    all.sort_unstable();
    all.dedup();
    let n_labels = all.len();
    let places = labels
        .iter()
        .map(|file| {
            file.iter()
                .map(|label| {
                    let at = all.binary_search(label).unwrap_or(n_labels);
                    (if is_descending { n_labels - 1 - at } else { at }) as u64
                })
                .collect()
        })
        .collect();
    if is_descending {
        all.reverse();
    }
    Ok(Axis { labels: all, places })
}

/// `count` elements of a file from `from` on, going to `to` and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Which file.
    pub file: usize,
    /// First element in the file.
    pub from: u64,
    /// First element in the joined dimension.
    pub to: u64,
    /// How many.
    pub count: u64,
}

/// Gives all labels the first file's calendar where every calendar means the same dates by them.
pub(super) fn in_one_calendar(labels: &mut [Vec<Label>]) {
    let calendars: Vec<Calendar> = labels.iter().filter_map(|labels| labels.first()?.calendar()).collect();
    let Some(first) = calendars.first().copied() else { return };
    let agrees = |calendar: &Calendar| labels.iter().all(|labels| agree(first, *calendar, labels));
    if !calendars.iter().all(agrees) {
        return;
    }
    for label in labels.iter_mut().flatten() {
        if let Label::Time(_, calendar) = label {
            *calendar = first;
        }
    }
}

/// Whether the times among `labels` are the same dates in both calendars.
#[must_use]
pub fn agree(a: Calendar, b: Calendar, labels: &[Label]) -> bool {
    let instants = labels.iter().filter_map(|label| match label {
        Label::Time(instant, _) => Some(instant),
        _ => None,
    });
    a.agrees_with(b, instants)
}

/// Runs of elements whose owners follow each other, given for each place its file and its element there.
#[must_use]
pub fn runs_of(owners: &[(usize, u64)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (to, (file, from)) in owners.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.file == *file && run.from + run.count == *from => run.count += 1,
            _ => runs.push(Run { file: *file, from: *from, to: to as u64, count: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_follow_each_other_are_one_run() {
        let run = |file, from, to, count| Run { file, from, to, count };
        assert_eq!(runs_of(&[(0, 0), (0, 1), (1, 0), (0, 2)]), [run(0, 0, 0, 2), run(1, 0, 2, 1), run(0, 2, 3, 1)]);
    }

    #[test]
    fn zero_has_one_place() {
        assert_eq!(Label::Number(0.0).cmp(&Label::Number(-0.0)), Ordering::Equal);
    }
}
