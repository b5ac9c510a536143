//! Units of time: a step and a date to count from.
//!
//! It promises to read what stock xarray reads, to the same instant, or to say why not. Where readers would disagree
//! on a spelling, it is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    TimeError,
    calendar::{Calendar, Instant, from_date},
};

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

/// Who decodes these times for stock xarray, as long as they lie between 1678 and 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Reader {
    /// Real-world calendars and units spelled out: `datetime64`, in nanoseconds.
    Numpy,
    /// All else: in microseconds.
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
        let is_agreed = self.agreement == Agreement::Alike || i64::try_from(instant.ns()).is_ok();
        is_agreed.then_some(instant)
    }

    /// The instant that xarray decodes a float to; `None` for NaN, infinities and absurd values.
    ///
    /// Real-world calendars between 1678 and 2262 go to nanoseconds, cut toward zero; all else goes to microseconds,
    /// rounded as cftime rounds. Xarray chooses for an array as a whole: if one value of an array lies outside those
    /// years, its others go to microseconds too.
    #[must_use]
    pub fn instant_of_float(&self, value: f64) -> Option<Instant> {
        if !value.is_finite() {
            return None;
        }
        self.datetime64_of(value).or_else(|| self.cftime_of(value))
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
    #[allow(clippy::cast_precision_loss)]
    pub fn float_value_of(&self, instant: Instant) -> Option<f64> {
        let step = i128::from(self.unit.ns());
        let distance = instant.ns() - self.epoch.ns();
        // Whole steps apart from the rest: the quotient is then right to the last bit or the one beside it.
        let nearest = (distance / step) as f64 + (distance % step) as f64 / step as f64;
        [nearest, nearest.next_up(), nearest.next_down()]
            .into_iter()
            .find(|value| self.instant_of_float(*value) == Some(instant))
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

/// The instant of `1850-1-1`, `1970-01-01T00:00:00Z`, `2000-01-01 12:00:00.5 +01:00`, `1900`.
fn reference_date(text: &str, calendar: Calendar, reader: Reader) -> Result<Instant, &'static str> {
    let (date, rest) = split_date(text);
    let (year, month, day) = read_date(date).ok_or("the date is not year-month-day")?;
    let (clock, zone) = split_zone(rest);
    let (hour, minute, second, nanosecond) =
        read_clock(clock.trim(), reader).ok_or("the time is not hours:minutes:seconds")?;
    // cftime overlooks an hour without minutes; numpy does not.
    if !clock.contains(':') && hour != 0 && reader == Reader::Cftime {
        return Err("an hour without minutes is read differently by different readers");
    }
    let offset_minutes = read_zone(zone.trim(), reader)?;
    if year == 0 && matches!(calendar, Calendar::Standard | Calendar::Julian) {
        return Err("there is no year 0");
    }
    let local =
        from_date(calendar, year, month, day, hour, minute, second, nanosecond).ok_or("there is no such date")?;
    local.plus_ns(-i128::from(offset_minutes) * 60_000_000_000).ok_or("it is too far away")
}

/// The date, and what follows its `T` or space.
fn split_date(text: &str) -> (&str, &str) {
    match text.find(['T', 't', ' ', 'Z']) {
        Some(at) => {
            let (date, rest) = text.split_at(at);
            (date, rest.strip_prefix(['T', 't']).unwrap_or(rest))
        }
        None => (text, ""),
    }
}

fn read_date(text: &str) -> Option<(i64, u8, u8)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split('-');
    let year: i64 = number(parts.next()?, 7)?;
    let month = parts.next().map_or(Some(1), |part| number(part, 2))?;
    let day = parts.next().map_or(Some(1), |part| number(part, 2))?;
    // A year of eight digits would be a date without dashes, which readers take apart differently.
    (parts.next().is_none()).then_some((sign * year, month, day))
}

/// The time of day, and the zone that follows it.
fn split_zone(text: &str) -> (&str, &str) {
    text.find(['Z', 'z', '+', '-', 'U', 'G']).map_or((text, ""), |at| text.split_at(at))
}

fn read_clock(text: &str, reader: Reader) -> Option<(u8, u8, u8, u32)> {
    if text.is_empty() {
        return Some((0, 0, 0, 0));
    }
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = parts.next().map_or(Some(0), |part| number(part, 2))?;
    let (second, fraction) = match parts.next() {
        Some(part) => part.split_once('.').unwrap_or((part, "")),
        None => ("0", ""),
    };
    if parts.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanosecond = match reader {
        Reader::Numpy => {
            let nine_digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
            number(&nine_digits, 9)?
        }
        // cftime cuts a float to microseconds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Reader::Cftime => (format!("0.{fraction}0").parse::<f64>().ok()? * 1e6) as u32 * 1_000,
    };
    Some((hour, minute, number(second, 2)?, nanosecond))
}

/// Minutes east of Greenwich.
fn read_zone(text: &str, reader: Reader) -> Result<i64, &'static str> {
    let unknown = "its time zone is not like +01:00";
    if matches!(text, "" | "Z" | "z" | "UTC" | "GMT") {
        return Ok(0);
    }
    let (sign, digits) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ => return Err(unknown),
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "0"),
    };
    // cftime overlooks a zone of one digit; numpy does not.
    if hours.len() != 2 && reader == Reader::Cftime {
        return Err("a time zone of one digit is read differently by different readers");
    }
    let hours: i64 = number(hours, 2).filter(|hours| *hours < 24).ok_or(unknown)?;
    let minutes: i64 = number(minutes, 2).filter(|minutes| *minutes < 60).ok_or(unknown)?;
    Ok(sign * (hours * 60 + minutes))
}

/// A number of one to `n_digits` digits and nothing else.
fn number<T: std::str::FromStr>(text: &str, n_digits: usize) -> Option<T> {
    let is_number = !text.is_empty() && text.len() <= n_digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}
