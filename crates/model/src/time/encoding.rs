//! Times of one encoding written in another, exactly or not at all.
//!
//! Files of one series often count from different dates. It promises that each value that is written decodes to the
//! very instant that the value it was made from decodes to.

use super::{
    TimeError,
    calendar::Instant,
    units::{Decoding, TimeUnits},
};
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
/// The first value that is no time or cannot be held exactly; also if the calendars do not agree about the times.
pub fn reencode(values: &Numbers, from: &TimeUnits, to: &TimeUnits, dtype: &DataType) -> Result<Numbers, TimeError> {
    let instants = from.instants(values);
    let are_shared = match &instants {
        Ok(instants) => from.calendar().agrees_with(to.calendar(), instants.iter().flatten()),
        Err(_) => from.calendar() == to.calendar(),
    };
    if !are_shared {
        return Err(TimeError::Calendars { from: from.calendar(), to: to.calendar() });
    }
    encode(&instants?, to, dtype)
}

/// Times that are written together with others, and the types that they may have where they count as `first` does, the
/// most welcome first.
pub type Welcome<'a> = (&'a [Instant], &'a [DataType]);

/// Units and types that hold all labels, of each of `all`: the units of the first file if they can, else finer ones from
/// the same date, counted in integers of 64 bits.
///
/// The units remember how the labels decode together, so that a part of them that is written later with these units
/// decodes to the same instants as in the whole.
///
/// # Errors
/// If not even nanoseconds in 64 bits hold them.
pub fn units_that_hold(all: &[Welcome<'_>], first: &TimeUnits) -> Result<Vec<Encoded>, TimeError> {
    let wide = DataType::Int(IntType::I64);
    let in_units = |units: &TimeUnits, is_first: bool| -> Result<Vec<Encoded>, TimeError> {
        all.iter()
            .map(|(labels, types)| {
                let types = types.iter().filter(|_| is_first).chain([&wide]);
                let labels: Vec<Option<Instant>> = labels.iter().copied().map(Some).collect();
                let mut refused = None;
                for dtype in types {
                    match encode(&labels, units, dtype) {
                        Ok(values) => return Ok(Encoded { units: units.for_array_of(&labels), values }),
                        Err(error) => refused = refused.or(Some(error)),
                    }
                }
                Err(refused.unwrap_or_else(|| TimeError::NotTime { units: units.to_string() }))
            })
            .collect()
    };
    let mut refused = match in_units(first, true) {
        Ok(encoded) => return Ok(encoded),
        Err(error) => error,
    };
    for unit in first.unit().finer() {
        match in_units(&first.with_unit(*unit), false) {
            Ok(encoded) => return Ok(encoded),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Numbers of type `dtype` that decode to `instants`.
fn encode(instants: &[Option<Instant>], units: &TimeUnits, dtype: &DataType) -> Result<Numbers, TimeError> {
    let each = Each { instants, units, dtype, decoding: units.decoding_of(instants) };
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
    decoding: Decoding,
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
        self.units.encode(instant, self.decoding)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn short_float(&self, instant: Instant) -> Option<f32> {
        let value = self.float(instant)? as f32;
        (self.units.decode(f64::from(value), self.decoding) == Some(instant)).then_some(value)
    }

    fn inexact(&self, index: usize, instant: Option<Instant>) -> TimeError {
        let instant = instant.map_or_else(|| "NaN".to_owned(), |instant| instant.to_rfc3339(self.units.calendar()));
        TimeError::Inexact { index, instant, dtype: self.dtype.to_string(), units: self.units.to_string() }
    }
}
