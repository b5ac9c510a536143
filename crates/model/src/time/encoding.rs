//! Times of one encoding written in another, exactly or not at all.
//!
//! Files of one series often count from different dates. It promises that each value that is written decodes to the
//! very instant that the value it was made from decodes to.

use super::{TimeError, calendar::Instant, units::TimeUnits};
use crate::{
    attribute::Numbers,
    dtype::{DataType, FloatType, IntType},
};

/// Numbers and what they count.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Step and date to count from.
    pub units: TimeUnits,
    /// The times.
    pub values: Numbers,
}

/// Writes the times `values` of units `from` in units `to`, as numbers of type `dtype`.
///
/// A NaN stays a NaN where `dtype` has one.
///
/// # Errors
/// The first value that is no time or cannot be held exactly; also if the calendars differ.
pub fn reencode(values: &Numbers, from: &TimeUnits, to: &TimeUnits, dtype: &DataType) -> Result<Numbers, TimeError> {
    if from.calendar() != to.calendar() {
        return Err(TimeError::Calendars { from: from.calendar(), to: to.calendar() });
    }
    encode(&instants(values, from)?, to, dtype)
}

/// Units and type that hold all `labels`: those of the first file if they can, else finer ones from the same date.
///
/// # Errors
/// If not even nanoseconds in 64 bits hold them.
pub fn units_that_hold(labels: &[Instant], first: &TimeUnits, dtype: &DataType) -> Result<Encoded, TimeError> {
    let labels: Vec<Option<Instant>> = labels.iter().copied().map(Some).collect();
    let mut refused = match encode(&labels, first, dtype) {
        Ok(values) => return Ok(Encoded { units: first.clone(), values }),
        Err(error) => error,
    };
    let wide = DataType::Int(IntType::I64);
    for unit in std::iter::once(&first.unit()).chain(first.unit().finer()) {
        let units = if *unit == first.unit() { first.clone() } else { first.with_unit(*unit) };
        match encode(&labels, &units, &wide) {
            Ok(values) => return Ok(Encoded { units, values }),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The instants of `values`; `None` for a NaN.
///
/// # Errors
/// The first value that is no time.
pub fn instants(values: &Numbers, units: &TimeUnits) -> Result<Vec<Option<Instant>>, TimeError> {
    let no_time = |index: usize, value: String| TimeError::NoTime { index, value, units: units.to_string() };
    if let Some(integers) = values.to_integers() {
        let instant = |(index, value): (usize, i128)| {
            let instant = i64::try_from(value).ok().and_then(|value| units.instant_of_int(value));
            instant.map(Some).ok_or_else(|| no_time(index, value.to_string()))
        };
        return integers.into_iter().enumerate().map(instant).collect();
    }
    let instant = |(index, value): (usize, f64)| match units.instant_of_float(value) {
        None if value.is_nan() => Ok(None),
        None => Err(no_time(index, value.to_string())),
        found => Ok(found),
    };
    values.to_f64().into_iter().enumerate().map(instant).collect()
}

/// Numbers of type `dtype` that decode to `instants`.
fn encode(instants: &[Option<Instant>], units: &TimeUnits, dtype: &DataType) -> Result<Numbers, TimeError> {
    let each = Each { instants, units, dtype };
    Ok(match dtype {
        DataType::Int(IntType::I8) => Numbers::I8(each.integers()?),
        DataType::Int(IntType::I16) => Numbers::I16(each.integers()?),
        DataType::Int(IntType::I32) => Numbers::I32(each.integers()?),
        DataType::Int(IntType::I64) => Numbers::I64(each.integers()?),
        DataType::Int(IntType::U8) => Numbers::U8(each.integers()?),
        DataType::Int(IntType::U16) => Numbers::U16(each.integers()?),
        DataType::Int(IntType::U32) => Numbers::U32(each.integers()?),
        DataType::Int(IntType::U64) => Numbers::U64(each.integers()?),
        DataType::Float(FloatType::F64) => Numbers::F64(each.map(|instant| each.float(instant), f64::NAN)?),
        DataType::Float(FloatType::F32) => Numbers::F32(each.map(|instant| each.short_float(instant), f32::NAN)?),
        other => return Err(TimeError::NotATimeType { dtype: other.to_string() }),
    })
}

/// What every value is encoded with.
struct Each<'a> {
    instants: &'a [Option<Instant>],
    units: &'a TimeUnits,
    dtype: &'a DataType,
}

impl Each<'_> {
    fn map<T: Copy>(&self, exact: impl Fn(Instant) -> Option<T>, missing: T) -> Result<Vec<T>, TimeError> {
        let value = |(index, instant): (usize, &Option<Instant>)| match instant {
            None => Ok(missing),
            Some(instant) => exact(*instant).ok_or_else(|| self.inexact(index, Some(*instant))),
        };
        self.instants.iter().enumerate().map(value).collect()
    }

    fn integers<T: TryFrom<i64>>(&self) -> Result<Vec<T>, TimeError> {
        let value = |(index, instant): (usize, &Option<Instant>)| {
            let exact = instant.and_then(|instant| self.integer(instant)).and_then(|value| T::try_from(value).ok());
            exact.ok_or_else(|| self.inexact(index, *instant))
        };
        self.instants.iter().enumerate().map(value).collect()
    }

    fn integer(&self, instant: Instant) -> Option<i64> {
        let (distance, step) = (instant.ns() - self.units.epoch().ns(), i128::from(self.units.unit().ns()));
        let value = if distance % step == 0 { i64::try_from(distance / step).ok()? } else { return None };
        (self.units.instant_of_int(value) == Some(instant)).then_some(value)
    }

    fn float(&self, instant: Instant) -> Option<f64> {
        self.units.float_value_of(instant)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn short_float(&self, instant: Instant) -> Option<f32> {
        let value = self.units.float_value_of(instant)? as f32;
        (self.units.instant_of_float(f64::from(value)) == Some(instant)).then_some(value)
    }

    fn inexact(&self, index: usize, instant: Option<Instant>) -> TimeError {
        let instant = instant.map_or_else(|| "NaN".to_owned(), |instant| instant.to_rfc3339(self.units.calendar()));
        TimeError::Inexact { index, instant, dtype: self.dtype.to_string(), units: self.units.to_string() }
    }
}
