//! Units of time: a step and a date to count from.
//!
//! It promises to read what stock xarray reads, to the same instant, or to say why not. Where readers would disagree
//! on a spelling, it is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    TimeError,
    calendar::{Calendar, Instant},
    reference::{Reader, reference_date},
};
use crate::attribute::Numbers;

/// The step of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Days,
    /// Of 30 days; in the 360-day calendar only.
    Months,
    /// Of 365 days; in the calendar without leap years only.
    CommonYears,
}

/// `hours since 1900-01-01` in a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeUnits {
    unit: Unit,
    /// The unit as it was spelled.
    unit_text: String,
    /// What follows `since`, as it was spelled.
    epoch_text: String,
    epoch: Instant,
    calendar: Calendar,
    reader: Reader,
    agreement: Agreement,
}

/// Whether numpy and cftime read the date to count from alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Agreement {
    Alike,
    /// Times beyond the years of `datetime64` are then refused.
    NumpyOnly,
}

/// How xarray decodes the floats of one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoding {
    /// To nanoseconds, cut toward zero.
    Datetime64,
    /// To microseconds, rounded.
    Cftime,
}

impl Reader {
    fn of(unit: Unit, unit_text: &str, calendar: Calendar) -> Self {
        let spelled = unit_text.to_ascii_lowercase();
        let is_spelled_out = spelled == unit.name() || unit.name().strip_suffix('s') == Some(&spelled);
        if calendar.is_real_world() && is_spelled_out { Self::Numpy } else { Self::Cftime }
    }
}

/// A number that stands for an instant exactly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExactValue {
    Int(i64),
    Float(f64),
}

impl Unit {
    /// Nanoseconds of one step.
    #[must_use]
    pub const fn ns(self) -> i64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
            Self::Days => 86_400_000_000_000,
            Self::Months => 30 * 86_400_000_000_000,
            Self::CommonYears => 365 * 86_400_000_000_000,
        }
    }

    /// The spelling that every reader knows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Microseconds => "microseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Days => "days",
            Self::Months => "months",
            Self::CommonYears => "common_years",
        }
    }

    /// Units that divide this one, coarsest first.
    #[must_use]
    pub fn finer(self) -> &'static [Self] {
        const ORDER: [Unit; 7] = [
            Unit::Days,
            Unit::Hours,
            Unit::Minutes,
            Unit::Seconds,
            Unit::Milliseconds,
            Unit::Microseconds,
            Unit::Nanoseconds,
        ];
        let from = ORDER.iter().position(|unit| unit.ns() < self.ns()).unwrap_or(ORDER.len());
        ORDER.get(from..).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "nanosecond" | "nanoseconds" => Self::Nanoseconds,
            "microsecond" | "microseconds" | "microsec" | "microsecs" => Self::Microseconds,
            "millisecond" | "milliseconds" | "millisec" | "millisecs" | "msec" | "msecs" | "ms" => Self::Milliseconds,
            "second" | "seconds" | "sec" | "secs" | "s" => Self::Seconds,
            "minute" | "minutes" | "min" | "mins" => Self::Minutes,
            "hour" | "hours" | "hr" | "hrs" | "h" => Self::Hours,
            "day" | "days" | "d" => Self::Days,
            "month" | "months" => Self::Months,
            "common_year" | "common_years" => Self::CommonYears,
            _ => return None,
        })
    }
}

impl TimeUnits {
    /// Reads `days since 1850-01-01` in `calendar`.
    ///
    /// # Errors
    /// If there is no ` since `, the unit has no fixed length, or the date is not one of the calendar.
    pub fn parse(units: &str, calendar: Calendar) -> Result<Self, TimeError> {
        let owned = || units.to_owned();
        // The last ` since `, as xarray finds it.
        let Some((unit_text, date)) = units.rsplit_once(" since ") else {
            return Err(TimeError::NotTime { units: owned() });
        };
        let (unit_text, date) = (unit_text.trim(), date.trim());
        let unit = match (Unit::parse(unit_text), calendar) {
            (Some(Unit::Months), Calendar::Days360) => Unit::Months,
            (Some(Unit::CommonYears), Calendar::NoLeap) => Unit::CommonYears,
            (Some(unit), _) if !matches!(unit, Unit::Months | Unit::CommonYears) => unit,
            (None, _) if !matches!(unit_text.to_ascii_lowercase().as_str(), "year" | "years") => {
                return Err(TimeError::UnknownUnit { units: owned(), unit: unit_text.to_owned(), calendar });
            }
            _ => return Err(TimeError::NoFixedLength { units: owned(), unit: unit_text.to_owned(), calendar }),
        };
        let reader = Reader::of(unit, unit_text, calendar);
        if unit == Unit::Nanoseconds && reader == Reader::Cftime {
            return Err(TimeError::UnknownUnit { units: owned(), unit: unit_text.to_owned(), calendar });
        }
        let epoch = reference_date(date, calendar, reader).map_err(|reason| TimeError::ReferenceDate {
            units: owned(),
            date: date.to_owned(),
            calendar,
            reason: reason.to_owned(),
        })?;
        let agreement = match reference_date(date, calendar, Reader::Cftime) {
            Ok(same) if same == epoch => Agreement::Alike,
            _ => Agreement::NumpyOnly,
        };
        Ok(Self {
            unit,
            unit_text: unit_text.to_owned(),
            epoch_text: date.to_owned(),
            epoch,
            calendar,
            reader,
            agreement,
        })
    }

    /// The same date to count from, in steps of `unit`.
    #[must_use]
    pub fn with_unit(&self, unit: Unit) -> Self {
        let reader = Reader::of(unit, unit.name(), self.calendar);
        Self { unit, unit_text: unit.name().to_owned(), reader, ..self.clone() }
    }

    /// The step.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// The calendar.
    #[must_use]
    pub const fn calendar(&self) -> Calendar {
        self.calendar
    }

    /// The date that is counted from.
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The instant of an integer; `None` for the integer that stands for "no time" and for absurd ones.
    #[must_use]
    pub fn instant_of_int(&self, value: i64) -> Option<Instant> {
        // numpy keeps this one for NaT.
        if value == i64::MIN {
            return None;
        }
        let instant = self.epoch.plus_ns(i128::from(value) * i128::from(self.unit.ns()))?;
        // Beyond the years of `datetime64` cftime reads, and it knows no nanoseconds.
        let is_shared = self.agreement == Agreement::Alike && self.unit != Unit::Nanoseconds;
        let is_agreed = is_shared || i64::try_from(instant.ns()).is_ok();
        is_agreed.then_some(instant)
    }

    /// The instant that xarray decodes a float to; `None` for NaN, infinities and absurd values.
    ///
    /// Real-world calendars between 1678 and 2262 go to nanoseconds, cut toward zero; all else goes to microseconds,
    /// rounded as cftime rounds. Xarray chooses for an array as a whole: if one value of an array lies outside those
    /// years, its others go to microseconds too; see [`Self::instants`].
    #[must_use]
    pub fn instant_of_float(&self, value: f64) -> Option<Instant> {
        if !value.is_finite() {
            return None;
        }
        self.datetime64_of(value).or_else(|| self.cftime_of(value))
    }

    /// The instants of a whole array, decoded as xarray decodes it; `None` for a NaN.
    ///
    /// # Errors
    /// The first value that is neither a time nor a NaN.
    pub fn instants(&self, values: &Numbers) -> Result<Vec<Option<Instant>>, TimeError> {
        let no_time = |index: usize, value: String| TimeError::NoTime { index, value, units: self.to_string() };
        if let Some(integers) = values.to_integers() {
            let instant = |(index, value): (usize, i128)| {
                let instant = i64::try_from(value).ok().and_then(|value| self.instant_of_int(value));
                instant.map(Some).ok_or_else(|| no_time(index, value.to_string()))
            };
            return integers.into_iter().enumerate().map(instant).collect();
        }
        let values = values.to_f64();
        let all_fit = values.iter().all(|value| value.is_nan() || self.datetime64_of(*value).is_some());
        let decoding = if all_fit { Decoding::Datetime64 } else { Decoding::Cftime };
        let instant = |(index, value): (usize, f64)| match self.decode(value, decoding) {
            None if value.is_nan() => Ok(None),
            None => Err(no_time(index, value.to_string())),
            found => Ok(found),
        };
        values.into_iter().enumerate().map(instant).collect()
    }

    /// How xarray decodes floats that stand for all these instants in one array.
    pub(super) fn decoding_of(&self, instants: &[Option<Instant>]) -> Decoding {
        let fits = |ns: i128| i64::try_from(ns).is_ok_and(|ns| ns != i64::MIN);
        // The distance is multiplied out before it is added to the date that is counted from.
        let is_near = |instant: &Instant| fits(instant.ns()) && fits(instant.ns() - self.epoch.ns());
        if self.reader == Reader::Numpy && fits(self.epoch.ns()) && instants.iter().flatten().all(is_near) {
            Decoding::Datetime64
        } else {
            Decoding::Cftime
        }
    }

    /// These units in an array that holds all `instants`: its parts then decode as the whole does.
    pub(super) fn for_array_of(&self, instants: &[Option<Instant>]) -> Self {
        match self.decoding_of(instants) {
            Decoding::Datetime64 => self.clone(),
            Decoding::Cftime => Self { reader: Reader::Cftime, ..self.clone() },
        }
    }

    pub(super) fn decode(&self, value: f64, decoding: Decoding) -> Option<Instant> {
        if !value.is_finite() {
            return None;
        }
        match decoding {
            Decoding::Datetime64 => self.datetime64_of(value),
            Decoding::Cftime => self.cftime_of(value),
        }
    }

    /// The number that decodes to `instant`, an integer if there is one.
    #[must_use]
    pub fn exact_value_of(&self, instant: Instant) -> Option<ExactValue> {
        let distance = instant.ns() - self.epoch.ns();
        let step = i128::from(self.unit.ns());
        if distance % step == 0 {
            return i64::try_from(distance / step).ok().filter(|value| *value != i64::MIN).map(ExactValue::Int);
        }
        self.float_value_of(instant).map(ExactValue::Float)
    }

    /// The float that decodes to `instant`, if there is one.
    #[must_use]
    pub fn float_value_of(&self, instant: Instant) -> Option<f64> {
        self.encode(instant, self.decoding_of(&[Some(instant)]))
    }

    /// The float that decodes to `instant` by `decoding`, if there is one.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn encode(&self, instant: Instant, decoding: Decoding) -> Option<f64> {
        let step = i128::from(self.unit.ns());
        let distance = instant.ns() - self.epoch.ns();
        // Whole steps apart from the rest: the quotient is then right to the last bit or the one beside it.
        let nearest = (distance / step) as f64 + (distance % step) as f64 / step as f64;
        [nearest, nearest.next_up(), nearest.next_down()]
            .into_iter()
            .find(|value| self.decode(*value, decoding) == Some(instant))
    }

    /// As xarray goes through numpy: multiplied in `f64`, cut toward zero.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn datetime64_of(&self, value: f64) -> Option<Instant> {
        if self.reader == Reader::Cftime {
            return None;
        }
        let epoch = i64::try_from(self.epoch.ns()).ok()?;
        let ns = value * self.unit.ns() as f64;
        if ns.abs() >= i64::MAX as f64 {
            return None;
        }
        let ns = epoch.checked_add(ns as i64).filter(|ns| *ns != i64::MIN)?;
        Instant::of_ns(i128::from(ns))
    }

    /// As cftime: microseconds through an 80-bit float, rounded half to even, with its care for whole seconds.
    fn cftime_of(&self, value: f64) -> Option<Instant> {
        let factor = self.unit.ns() / 1_000;
        if factor == 0 || self.agreement == Agreement::NumpyOnly {
            return None;
        }
        let product = LongDouble::product(value, factor)?;
        let mut us = product.rounded;
        if self.unit.ns() >= Unit::Seconds.ns() {
            if us.rem_euclid(1_000_000) == 1 {
                us = product.floor;
            }
            if us.rem_euclid(1_000_000) == 999_999 {
                us = product.ceil;
            }
        }
        let us = i64::try_from(us).ok()?;
        // cftime holds no nanoseconds in the date it counts from.
        let epoch_us = self.epoch.ns().div_euclid(1_000);
        Instant::of_ns((epoch_us + i128::from(us)) * 1_000)
    }
}

impl fmt::Display for TimeUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} since {}", self.unit_text, self.epoch_text)
    }
}

/// A product with 64 significant bits, as the x87 registers hold it, as integers around it.
struct LongDouble {
    rounded: i128,
    floor: i128,
    ceil: i128,
}

impl LongDouble {
    fn product(value: f64, factor: i64) -> Option<Self> {
        let bits = value.to_bits();
        let stored_exponent = i32::try_from((bits >> 52) & 0x7ff).ok()?;
        let fraction = i128::from(bits & ((1 << 52) - 1));
        let (mantissa, mut exponent) =
            if stored_exponent == 0 { (fraction, -1_074) } else { (fraction | (1 << 52), stored_exponent - 1_075) };
        // 53 and at most 45 bits: no overflow.
        let mut magnitude = mantissa * i128::from(factor);
        let excess = 64 - i32::try_from(magnitude.leading_zeros()).ok()?;
        if excess > 0 {
            magnitude = shift_half_even(magnitude, u32::try_from(excess).ok()?);
            exponent += excess;
        }
        let signed = if value.is_sign_negative() { -magnitude } else { magnitude };
        if exponent >= 0 {
            // Beyond 2^127 there are no times; the shift below must not lose bits.
            if exponent > 60 {
                return (signed == 0).then_some(Self { rounded: 0, floor: 0, ceil: 0 });
            }
            let whole = signed << exponent;
            return Some(Self { rounded: whole, floor: whole, ceil: whole });
        }
        // At most 65 bits are left, so a larger shift gives the same three integers.
        let shift = exponent.unsigned_abs().min(100);
        let floor = signed >> shift;
        let ceil = -((-signed) >> shift);
        let rounded = shift_half_even(magnitude, shift);
        Some(Self { rounded: if value.is_sign_negative() { -rounded } else { rounded }, floor, ceil })
    }
}

/// `magnitude / 2^shift`, rounded half to even; `magnitude` is not negative and `shift` between 1 and 100.
const fn shift_half_even(magnitude: i128, shift: u32) -> i128 {
    let quotient = magnitude >> shift;
    let rest = magnitude - (quotient << shift);
    let half = 1_i128 << (shift - 1);
    if rest > half || (rest == half && quotient % 2 == 1) { quotient + 1 } else { quotient }
}
