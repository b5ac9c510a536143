//! Times of files that count from different dates, written in one encoding, exactly or not at all. What is missing stays
//! missing, and nothing else becomes so.
//!
use std::sync::Arc;

use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    combine::{
        error::{CombineError, Rule},
        meant::Meant,
        padding::default_fill,
        policy::DifferTime,
        values::{InFile, ValuePlan},
        view::{FileView, Values},
    },
    dtype::{DataType, FloatType, IntType},
    numbers::{Number, number_of, numbers_of, push_float, push_integer},
    packing::{Fill, Packing, ValueRule},
    rule::means_missing,
    time::{Calendar, Instant, TimeUnits, encoding},
};

mod family;

use family::Family;
pub(in crate::combine) use family::bounded_by;

/// Times of one variable, re-encoded.
pub(super) struct Times {
    /// Values of each holder, in the common encoding.
    pub values: Vec<Arc<Values>>,
    dtype: DataType,
    /// What brings an unwritten element of the first file into the store's type.
    of_unwritten: ValueRule,
    /// The marks of the store, where the first file's do not stay.
    packing: Option<Vec<(String, AttributeValue)>>,
    /// Set on the variable, unless it borrows its coordinate's.
    units: Option<String>,
    note: String,
}

impl Times {
    /// The values are in their final form.
    pub(super) fn plan(&self, n_files: usize) -> ValuePlan {
        ValuePlan {
            dtype: self.dtype.clone(),
            packing: self.packing.clone(),
            rules: vec![ValueRule::Verbatim; n_files],
            note: Some(self.note.clone()),
        }
    }

    /// What brings an unwritten element of the first file into the store's type.
    pub(super) fn of_unwritten(&self) -> ValueRule {
        self.of_unwritten.clone()
    }

    /// Sets the units.
    pub(super) fn write_to(&self, attributes: &mut Attributes) {
        if let Some(units) = &self.units {
            attributes.set("units", AttributeValue::Text(units.clone()));
        }
    }
}

/// The common encoding of times whose files count differently; `None` if the variable holds no times, or all files
/// count alike.
pub(super) fn unify(
    holders: &[InFile<'_>],
    files: &[FileView],
    policy: DifferTime,
) -> Result<Option<Times>, CombineError> {
    let Some(InFile { variable: first, .. }) = holders.first() else { return Ok(None) };
    let Some(family) = Family::of(files, &first.path) else { return Ok(None) };
    let counted: Vec<&Counted> = holders.iter().filter_map(|holder| family.counted(&first.path, holder.file)).collect();
    if counted.len() < holders.len() {
        return Ok(None);
    }
    check_alike(holders, &counted, policy)?;
    let Some((units, dtype)) = family.encoding(&first.path)? else { return Ok(None) };
    let written = holders
        .iter()
        .zip(&counted)
        .map(|(holder, counted)| {
            let meant = meant(holder)?;
            let there = encoding::reencode(&meant.there(), &counted.units, &units, &dtype);
            Ok((meant, there.map_err(|error| inexact(holder, &error))?))
        })
        .collect::<Result<Vec<_>, CombineError>>()?;
    let mark = Mark::of(&holders[0], &dtype, &written)?;
    let values =
        written.iter().map(|(meant, there)| Arc::new(Values::Fixed(mark.between(meant, there).into()))).collect();
    let read_as = written.first().map_or(dtype.clone(), |(meant, _)| meant.dtype.clone());
    let widened = ValueRule::Widen { from: read_as, to: dtype.clone() };
    Ok(Some(Times {
        values,
        dtype,
        of_unwritten: Meant::decoding(&first.dtype, &first.packing()).unwrap_or_default().then(&widened),
        packing: mark.packing,
        note: format!("times of files that count differently, written in `{units}`"),
        units: first.attributes.text("units").is_some().then(|| units.to_string()),
    }))
}

/// Files must have one calendar, as far as their times tell calendars apart, and one count if `policy` says so.
fn check_alike(holders: &[InFile<'_>], counted: &[&Counted], policy: DifferTime) -> Result<(), CombineError> {
    let [first, ..] = counted else { return Ok(()) };
    let differs = |rule, what: &str, at: usize, shown: &dyn Fn(&Counted) -> String| CombineError::Differs {
        rule,
        variable: holders[0].variable.path.clone(),
        what: what.to_owned(),
        file: holders[at].file.to_owned(),
        value: shown(counted[at]),
        first_file: holders[0].file.to_owned(),
        first_value: shown(first),
    };
    for (at, other) in counted.iter().enumerate().filter(|(_, other)| other.calendar != first.calendar) {
        let mut instants = first.instants(&holders[0])?;
        instants.extend(other.instants(&holders[at])?);
        if !first.calendar.agrees_with(other.calendar, instants.iter()) {
            return Err(differs(Rule::Calendar, "calendar", at, &|one| one.calendar.to_string()));
        }
    }
    match counted.iter().position(|other| other.units != first.units) {
        Some(at) if policy == DifferTime::Error => {
            Err(differs(Rule::Units, "time units", at, &|one| one.units.to_string()))
        }
        _ => Ok(()),
    }
}

/// How one file counts.
struct Counted {
    units: TimeUnits,
    calendar: Calendar,
}

impl Counted {
    fn instants(&self, holder: &InFile<'_>) -> Result<Vec<Instant>, CombineError> {
        self.units
            .instants(&meant(holder)?.there())
            .map(|instants| instants.into_iter().flatten().collect())
            .map_err(|error| inexact(holder, &error))
    }
}

/// What stands in the store for a time that is missing.
struct Mark {
    /// One element; empty if nothing is missing.
    cell: Vec<u8>,
    /// What says so, where the first file's attributes do not.
    packing: Option<Vec<(String, AttributeValue)>>,
}

impl Mark {
    /// The first file's mark, if it is none of the times that are written; else one that is none.
    fn of(first: &InFile<'_>, dtype: &DataType, written: &[(Meant, Numbers)]) -> Result<Self, CombineError> {
        let stored = first.variable.packing();
        // Packed times are written as what they stand for, and NaN needs no mark.
        let before = if stored.scales() { Packing::default() } else { stored.clone() };
        let times: Vec<Number> =
            written.iter().filter_map(|(_, there)| numbers_of(dtype, &there.to_le_bytes())).flatten().collect();
        let lacks_some = written.iter().any(|(meant, there)| meant.numbers.len() > there.len());
        let is_as_before = stored == before && stored.unsigned.is_none();
        let stays = written.first().is_some_and(|(meant, _)| meant.dtype == *dtype)
            && before.unsigned.is_none()
            && !times.iter().any(|time| before.fills.iter().any(|fill| means_missing(*time, *fill, dtype, &before)));
        let marks = before.fills.iter().filter_map(|fill| cell_of(*fill, dtype, &before)).collect::<Vec<_>>();
        let is_free = |cell: &Vec<u8>| number_of(dtype, cell).is_some_and(|mark| !times.contains(&mark));
        match (marks.first(), dtype) {
            (Some(cell), _) if stays => return Ok(Self { cell: cell.clone(), packing: None }),
            (_, DataType::Float(float)) if stays => {
                return Ok(Self { cell: nan(*float), packing: (!is_as_before).then(Vec::new) });
            }
            _ if before.fills.is_empty() && !lacks_some => {
                return Ok(Self { cell: Vec::new(), packing: (!is_as_before).then(Vec::new) });
            }
            _ => {}
        }
        let cell =
            marks.into_iter().chain(usual_marks(dtype)).find(is_free).ok_or_else(|| CombineError::Unwritable {
                variable: first.variable.path.clone(),
                file: first.file.to_owned(),
                reason: format!("no {dtype} is left that could stand for a missing time"),
            })?;
        let said = Numbers::of(dtype, &cell).map(|mark| ("_FillValue".to_owned(), AttributeValue::Numbers(mark)));
        Ok(Self { cell, packing: Some(said.into_iter().collect()) })
    }

    /// The times that are there, with the mark where one is missing.
    fn between(&self, meant: &Meant, there: &Numbers) -> Vec<u8> {
        let there = there.to_le_bytes();
        let size = there.len().checked_div(meant.numbers.iter().flatten().count()).unwrap_or(self.cell.len());
        let mut cells = there.chunks_exact(size.max(1));
        let mut bytes = Vec::with_capacity(size * meant.numbers.len());
        for number in &meant.numbers {
            bytes.extend_from_slice(number.and_then(|_| cells.next()).unwrap_or(&self.cell));
        }
        bytes
    }
}

/// A mark as an element of `dtype`, if it can be one.
fn cell_of(fill: Fill, dtype: &DataType, packing: &Packing) -> Option<Vec<u8>> {
    let mut cell = Vec::new();
    match (dtype, fill) {
        (DataType::Int(int), Fill::Integer(value)) => {
            let wrapped = value.rem_euclid(1 << (8 * int.size_bytes()));
            push_integer(*int, if packing.unsigned.is_some() { wrapped } else { value }, &mut cell)?;
        }
        #[allow(clippy::cast_precision_loss)] // it must mean the same
        (DataType::Float(float), Fill::Integer(value)) => push_float(*float, value as f64, &mut cell),
        (DataType::Float(float), Fill::Float(value)) => push_float(*float, value, &mut cell),
        _ => return None,
    }
    means_missing(number_of(dtype, &cell)?, fill, dtype, packing).then_some(cell)
}

fn nan(float: FloatType) -> Vec<u8> {
    let mut cell = Vec::new();
    push_float(float, f64::NAN, &mut cell);
    cell
}

/// NaN; of integers the value of unwritten elements in netCDF, then what lies at the ends.
fn usual_marks(dtype: &DataType) -> Vec<Vec<u8>> {
    let end = |int: IntType, value| {
        let mut cell = Vec::new();
        push_integer(int, value, &mut cell).map(|()| cell)
    };
    match dtype {
        DataType::Int(int) => {
            let (least, most) = int.bounds();
            let ends = [most, least].into_iter().filter_map(|value| end(*int, value));
            std::iter::once(default_fill(dtype)).chain(ends).collect()
        }
        DataType::Float(float) => vec![nan(*float)],
        _ => Vec::new(),
    }
}

fn meant(holder: &InFile<'_>) -> Result<Meant, CombineError> {
    let variable = holder.variable;
    let (path, file) = (variable.path.clone(), holder.file.to_owned());
    match variable.values.as_deref() {
        Some(Values::Fixed(bytes)) => {
            let reason = "its times are not plain numbers".to_owned();
            let meant = Meant::values_of(&variable.dtype, &variable.attributes, bytes);
            meant.ok_or(CombineError::TooLarge { variable: path, file, reason })
        }
        _ => {
            let reason = "its times count from another date and must be rewritten".to_owned();
            Err(CombineError::TooLarge { variable: path, file, reason })
        }
    }
}

fn inexact(holder: &InFile<'_>, error: &crate::time::TimeError) -> CombineError {
    CombineError::Unwritable {
        variable: holder.variable.path.clone(),
        file: holder.file.to_owned(),
        reason: error.to_string(),
    }
}
