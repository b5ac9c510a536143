//! Times of files that count from different dates, written in one encoding, exactly or not at all.
//!
//! A bounds variable has no units of its own (CF 1.11, section 7.1): it is written in those of its coordinate, so
//! the two are decided together.

use std::sync::Arc;

use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    combine::{
        error::{CombineError, Rule},
        labels::time_units,
        policy::DifferTime,
        values::{InFile, ValuePlan},
        view::{FileView, Values, ViewVariable},
    },
    dtype::DataType,
    packing::ValueRule,
    time::{Calendar, Instant, TimeUnits, encoding},
};

/// Times of one variable, re-encoded.
pub(super) struct Times {
    /// Values of each holder, in the common encoding.
    pub values: Vec<Arc<Values>>,
    dtype: DataType,
    /// Set on the variable, unless it borrows its coordinate's.
    units: Option<String>,
    note: String,
}

impl Times {
    /// The values are in their final form.
    pub(super) fn plan(&self, n_files: usize) -> ValuePlan {
        ValuePlan {
            dtype: self.dtype.clone(),
            packing: None,
            rules: vec![ValueRule::Verbatim; n_files],
            note: Some(self.note.clone()),
        }
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
///
/// `relative` gives, for a file's name, the coordinate whose bounds the variable holds, or the bounds it has.
pub(super) fn unify<'a>(
    holders: &[InFile<'_>],
    relative: impl Fn(&str, Relation) -> Option<&'a ViewVariable>,
    policy: DifferTime,
) -> Result<Option<Times>, CombineError> {
    let coordinate_of = |file: &str| relative(file, Relation::Coordinate);
    let counted: Vec<Counted> = holders.iter().filter_map(|holder| Counted::of(holder, &coordinate_of)).collect();
    let (Some(first), true) = (counted.first(), counted.len() == holders.len()) else { return Ok(None) };
    for (at, other) in counted.iter().enumerate().filter(|(_, other)| other.calendar != first.calendar) {
        let mut instants = first.instants(&holders[0], holders[0].variable)?;
        instants.extend(other.instants(&holders[at], holders[at].variable)?);
        if first.calendar.agrees_with(other.calendar, instants.iter()) {
            continue;
        }
        return Err(CombineError::Differs {
            rule: Rule::Calendar,
            variable: holders[0].variable.path.clone(),
            what: "calendar".to_owned(),
            file: holders[at].file.to_owned(),
            value: other.calendar.to_string(),
            first_file: holders[0].file.to_owned(),
            first_value: first.calendar.to_string(),
        });
    }
    let alike = |other: &Counted| other.units == first.units;
    if let (DifferTime::Error, Some(at)) = (policy, counted.iter().position(|other| !alike(other))) {
        return Err(CombineError::Differs {
            rule: Rule::Units,
            variable: holders[0].variable.path.clone(),
            what: "time units".to_owned(),
            file: holders[at].file.to_owned(),
            value: counted[at].units.to_string(),
            first_file: holders[0].file.to_owned(),
            first_value: first.units.to_string(),
        });
    }
    if counted.iter().all(alike) && holders.iter().all(|holder| holder.variable.dtype == holders[0].variable.dtype) {
        return Ok(None);
    }
    let mut family: Vec<Instant> = Vec::new();
    for (holder, counted) in holders.iter().zip(&counted) {
        family.extend(counted.instants(holder, holder.variable)?);
        if let Some(coordinate) = coordinate_of(holder.file) {
            family.extend(counted.instants(holder, coordinate)?);
        }
        if let Some(bounds) = relative(holder.file, Relation::Bounds) {
            family.extend(counted.instants(holder, bounds)?);
        }
    }
    let leader = coordinate_of(holders[0].file).unwrap_or(holders[0].variable);
    let held = encoding::units_that_hold(&family, &first.units, &leader.dtype)
        .map_err(|error| inexact(&holders[0], &error))?;
    let dtype = held.values.dtype();
    let values = holders
        .iter()
        .zip(&counted)
        .map(|(holder, counted)| {
            let numbers = numbers(holder, holder.variable)?;
            let written = encoding::reencode(&numbers, &counted.units, &held.units, &dtype);
            Ok(Arc::new(Values::Fixed(written.map_err(|error| inexact(holder, &error))?.to_le_bytes().into())))
        })
        .collect::<Result<Vec<_>, CombineError>>()?;
    let units = holders[0].variable.attributes.text("units").is_some().then(|| held.units.to_string());
    Ok(Some(Times {
        values,
        dtype,
        units,
        note: format!("times of files that count differently, written in `{}`", held.units),
    }))
}

/// What a variable of times shares its encoding with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The coordinate whose bounds it holds.
    Coordinate,
    /// The bounds of the coordinate it is.
    Bounds,
}

/// How one file counts.
struct Counted {
    units: TimeUnits,
    calendar: Calendar,
}

impl Counted {
    fn of<'a>(holder: &InFile<'_>, coordinate_of: &impl Fn(&str) -> Option<&'a ViewVariable>) -> Option<Self> {
        let own = time_units(holder.variable);
        let (units, calendar) = own.or_else(|| time_units(coordinate_of(holder.file)?))?;
        Some(Self { units, calendar })
    }

    fn instants(&self, holder: &InFile<'_>, variable: &ViewVariable) -> Result<Vec<Instant>, CombineError> {
        self.units
            .instants(&numbers(holder, variable)?)
            .map(|instants| instants.into_iter().flatten().collect())
            .map_err(|error| inexact(holder, &error))
    }
}

/// The variable that shares its encoding of time with `path`: the coordinate of bounds, or the bounds of a coordinate.
pub(super) fn relatives<'a>(files: &'a [FileView], path: &str) -> impl Fn(&str, Relation) -> Option<&'a ViewVariable> {
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let path = path.to_owned();
    let bounds_of = |variable: &ViewVariable| {
        ["bounds", "climatology"].iter().find_map(|key| variable.attributes.text(key).map(str::to_owned))
    };
    move |file, relation| {
        let file = files.iter().find(|view| view.name == file)?;
        match relation {
            Relation::Coordinate => {
                file.variables.iter().find(|variable| bounds_of(variable).as_deref() == Some(&name))
            }
            Relation::Bounds => {
                let bounds = bounds_of(file.variable(&path)?)?;
                file.variables.iter().find(|variable| variable.name() == bounds)
            }
        }
    }
}

fn numbers(holder: &InFile<'_>, variable: &ViewVariable) -> Result<Numbers, CombineError> {
    let fail = |reason: &str| CombineError::TooLarge {
        variable: variable.path.clone(),
        file: holder.file.to_owned(),
        reason: reason.to_owned(),
    };
    match variable.values.as_deref() {
        Some(Values::Fixed(bytes)) => {
            Numbers::of(&variable.dtype, bytes).ok_or_else(|| fail("its times are not plain numbers"))
        }
        _ => Err(fail("its times count from another date and must be rewritten")),
    }
}

fn inexact(holder: &InFile<'_>, error: &crate::time::TimeError) -> CombineError {
    CombineError::Unwritable {
        variable: holder.variable.path.clone(),
        file: holder.file.to_owned(),
        reason: error.to_string(),
    }
}
