//! The calendars of CF, as day numbers.
//!
//! Day 0 is 1970-01-01; in the Julian calendar it is 1969-12-19, the same day, so that the standard calendar can join
//! the two. It promises that a date becomes a day number and that number the
//! same date again, over a million years either way. It does not know units.

use std::fmt;

use serde::{Deserialize, Serialize};

const NS_PER_SECOND: i128 = 1_000_000_000;
pub(super) const NS_PER_DAY: i128 = 86_400 * NS_PER_SECOND;
/// No date lies further from 1970, so no sum below can overflow.
const YEAR_LIMIT: i64 = 1_000_000;

/// How days make months and years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Calendar {
    /// Julian to 1582-10-04, Gregorian from 1582-10-15, no year 0. CF's default.
    Standard,
    /// Gregorian at all times, with a year 0.
    ProlepticGregorian,
    /// A leap year every four years, no year 0.
    Julian,
    /// Every year has 365 days.
    NoLeap,
    /// Every year has 366 days.
    AllLeap,
    /// Twelve months of 30 days.
    Days360,
}

/// A date and a time of day in some calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Date {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub nanosecond: u32,
}

/// An exact time: nanoseconds since day 0 of its calendar. Instants of two calendars cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(i128);

impl Calendar {
    /// The calendar that an attribute names; without the attribute, the standard one. `None`: not a known calendar.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::Standard) };
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "standard" | "gregorian" => Self::Standard,
            "proleptic_gregorian" => Self::ProlepticGregorian,
            "julian" => Self::Julian,
            "noleap" | "365_day" => Self::NoLeap,
            "all_leap" | "366_day" => Self::AllLeap,
            "360_day" => Self::Days360,
            _ => return None,
        })
    }

    /// Whether all `instants` are the same dates in `other`: it is this calendar, or both are real-world ones and no
    /// instant lies before the reform of 1582.
    #[must_use]
    pub fn agrees_with<'a>(self, other: Self, mut instants: impl Iterator<Item = &'a Instant>) -> bool {
        let reform = i128::from(GREGORIAN_REFORM) * NS_PER_DAY;
        self == other
            || (self.is_real_world() && other.is_real_world() && instants.all(|instant| instant.ns() >= reform))
    }

    /// Whether xarray decodes its times to `datetime64`.
    pub(super) const fn is_real_world(self) -> bool {
        matches!(self, Self::Standard | Self::ProlepticGregorian)
    }

    const fn has_year_zero(self) -> bool {
        !matches!(self, Self::Standard | Self::Julian)
    }

    /// Days since day 0, if the date exists.
    fn day_number(self, year: i64, month: u8, day: u8) -> Option<i64> {
        if !(-YEAR_LIMIT..=YEAR_LIMIT).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        if year == 0 && !self.has_year_zero() {
            return None;
        }
        // Where there is no year 0, year -1 comes right before year 1.
        let counted = if year < 0 && !self.has_year_zero() { year + 1 } else { year };
        let (month_number, day_number) = (i64::from(month), i64::from(day));
        let exists = |leap: Leap| day <= month_length(leap.has(counted), month);
        match self {
            Self::ProlepticGregorian => {
                exists(Leap::Gregorian).then(|| gregorian_day(counted, month_number, day_number))
            }
            Self::Julian => exists(Leap::Julian).then(|| julian_day(counted, month_number, day_number)),
            Self::Standard => match (year, month, day) {
                (1582, 10, 5..=14) => None,
                date if date >= (1582, 10, 15) => {
                    exists(Leap::Gregorian).then(|| gregorian_day(counted, month_number, day_number))
                }
                _ => exists(Leap::Julian).then(|| julian_day(counted, month_number, day_number)),
            },
            Self::NoLeap => exists(Leap::Never).then(|| {
                let before = DAYS_BEFORE_MONTH.get(usize::from(month) - 1).copied().unwrap_or_default();
                (year - 1970) * 365 + before + day_number - 1
            }),
            Self::AllLeap => exists(Leap::Always).then(|| {
                let before = DAYS_BEFORE_MONTH.get(usize::from(month) - 1).copied().unwrap_or_default();
                (year - 1970) * 366 + before + i64::from(month > 2) + day_number - 1
            }),
            Self::Days360 => (day <= 30).then(|| (year - 1970) * 360 + (month_number - 1) * 30 + day_number - 1),
        }
    }

    /// The date of a day number: the inverse of [`Self::day_number`].
    fn date_of_day(self, day_number: i64) -> (i64, u8, u8) {
        match self {
            Self::ProlepticGregorian => gregorian_date(day_number),
            Self::Julian => historical(julian_date(day_number)),
            Self::Standard if day_number >= GREGORIAN_REFORM => gregorian_date(day_number),
            Self::Standard => historical(julian_date(day_number)),
            Self::NoLeap => date_in_equal_years(day_number, Leap::Never),
            Self::AllLeap => date_in_equal_years(day_number, Leap::Always),
            Self::Days360 => {
                let in_year = day_number.rem_euclid(360);
                (1970 + day_number.div_euclid(360), narrow(in_year / 30 + 1), narrow(in_year % 30 + 1))
            }
        }
    }
}

/// Day number of 1582-10-15 in the Gregorian calendar.
const GREGORIAN_REFORM: i64 = -141_427;
/// Days of an ordinary year before each month.
const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

#[derive(Clone, Copy)]
enum Leap {
    Never,
    Always,
    Julian,
    Gregorian,
}

impl Leap {
    const fn has(self, year: i64) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Julian => year % 4 == 0,
            Self::Gregorian => year % 4 == 0 && (year % 100 != 0 || year % 400 == 0),
        }
    }
}

const fn month_length(is_leap: bool, month: u8) -> u8 {
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before a month in a year that begins in March, where the leap day is the last.
const fn march_days(month: i64) -> i64 {
    (153 * ((month + 9) % 12) + 2) / 5
}

fn gregorian_day(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, in_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    cycle * 146_097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + march_days(month) + day - 1 - 719_468
}

fn gregorian_date(day_number: i64) -> (i64, u8, u8) {
    let shifted = day_number + 719_468;
    let (cycle, in_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_in_cycle = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
    march_date(cycle * 400 + year_in_cycle, in_year)
}

fn julian_day(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, in_cycle) = (year.div_euclid(4), year.rem_euclid(4));
    cycle * 1_461 + in_cycle * 365 + march_days(month) + day - 1 - 719_470
}

fn julian_date(day_number: i64) -> (i64, u8, u8) {
    let shifted = day_number + 719_470;
    let (cycle, in_cycle) = (shifted.div_euclid(1_461), shifted.rem_euclid(1_461));
    let year_in_cycle = (in_cycle - in_cycle / 1_460) / 365;
    march_date(cycle * 4 + year_in_cycle, in_cycle - 365 * year_in_cycle)
}

/// The date of day `in_year` of the year that begins in March of `year`.
fn march_date(year: i64, in_year: i64) -> (i64, u8, u8) {
    let march_month = (5 * in_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = if month <= 2 { year + 1 } else { year };
    (year, narrow(month), narrow(in_year - march_days(month) + 1))
}

fn date_in_equal_years(day_number: i64, leap: Leap) -> (i64, u8, u8) {
    let is_leap = leap.has(0);
    let year_days = if is_leap { 366 } else { 365 };
    let (year, mut day) = (1970 + day_number.div_euclid(year_days), day_number.rem_euclid(year_days));
    let mut month = 1;
    while month < 12 && day >= i64::from(month_length(is_leap, month)) {
        day -= i64::from(month_length(is_leap, month));
        month += 1;
    }
    (year, month, narrow(day + 1))
}

/// Without a year 0: year 0 of the count is year -1 of history.
const fn historical((year, month, day): (i64, u8, u8)) -> (i64, u8, u8) {
    (if year <= 0 { year - 1 } else { year }, month, day)
}

/// Months, days, hours: all below 61.
fn narrow(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// The instant of a date; `None` if the calendar has no such date.
#[must_use]
#[allow(clippy::too_many_arguments)]
pub fn from_date(
    calendar: Calendar,
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    nanosecond: u32,
) -> Option<Instant> {
    if hour > 23 || minute > 59 || second > 59 || nanosecond > 999_999_999 {
        return None;
    }
    let day_number = calendar.day_number(year, month, day)?;
    let seconds = i128::from(hour) * 3_600 + i128::from(minute) * 60 + i128::from(second);
    Instant::of_ns(i128::from(day_number) * NS_PER_DAY + seconds * NS_PER_SECOND + i128::from(nanosecond))
}

impl Instant {
    /// Nanoseconds since 1970-01-01 of its calendar.
    #[must_use]
    pub const fn nanoseconds(self) -> i128 {
        self.0
    }

    /// `None` if it is further from 1970 than any date.
    pub(super) fn of_ns(ns: i128) -> Option<Self> {
        let limit = i128::from(YEAR_LIMIT) * 360 * NS_PER_DAY;
        (-limit..=limit).contains(&ns).then_some(Self(ns))
    }

    /// Nanoseconds since day 0 of the calendar.
    #[must_use]
    pub const fn ns(self) -> i128 {
        self.0
    }

    /// The instant `ns` nanoseconds later, if it is not too far away.
    #[must_use]
    pub fn plus_ns(self, ns: i128) -> Option<Self> {
        Self::of_ns(self.0.checked_add(ns)?)
    }

    /// The date and time of day.
    #[must_use]
    pub fn date(self, calendar: Calendar) -> Date {
        // The limit of an instant keeps the day number small.
        let day_number = i64::try_from(self.0.div_euclid(NS_PER_DAY)).unwrap_or_default();
        let in_day = self.0.rem_euclid(NS_PER_DAY);
        let seconds = i64::try_from(in_day / NS_PER_SECOND).unwrap_or_default();
        let (year, month, day) = calendar.date_of_day(day_number);
        Date {
            year,
            month,
            day,
            hour: narrow(seconds / 3_600),
            minute: narrow(seconds / 60 % 60),
            second: narrow(seconds % 60),
            nanosecond: u32::try_from(in_day % NS_PER_SECOND).unwrap_or_default(),
        }
    }

    /// `1850-01-16T12:00:00`, with a fraction only if there is one.
    #[must_use]
    pub fn to_rfc3339(self, calendar: Calendar) -> String {
        let Date { year, month, day, hour, minute, second, nanosecond } = self.date(calendar);
        let sign = if year < 0 { "-" } else { "" };
        let year = year.unsigned_abs();
        let mut text = format!("{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if nanosecond > 0 {
            text.push_str(format!(".{nanosecond:09}").trim_end_matches('0'));
        }
        text
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::ProlepticGregorian => "proleptic_gregorian",
            Self::Julian => "julian",
            Self::NoLeap => "noleap",
            Self::AllLeap => "all_leap",
            Self::Days360 => "360_day",
        })
    }
}
