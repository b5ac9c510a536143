//! Dates of the proleptic Gregorian calendar, as they stand in file names.
//!
//! Enough to walk from a first file to a last one and to read a date out of a name. The calendars that data use
//! (noleap, 360_day) are not known here: file names follow the wall calendar.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::recipe::{
    amount::{Interval, bad},
    error::Fault,
    read::shortened,
};

/// A moment to the second, without a time zone; ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days of a month; 0 for a month that there is not.
#[must_use]
pub const fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

impl Moment {
    /// The moment, if the calendar has it.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let fits = year <= 9999
            && (1..=days_in_month(year, month)).contains(&day)
            && hour <= 23
            && minute <= 59
            && second <= 59;
        fits.then_some(Self { year, month, day, hour, minute, second })
    }

    /// Seconds since the first moment of year 0.
    #[must_use]
    pub fn seconds(self) -> i64 {
        let clock = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days_before(self.year, self.month, self.day) * 86_400 + clock
    }

    /// Seconds since 1970-01-01T00:00:00.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.seconds() - days_before(1970, 1, 1) * 86_400
    }

    /// The moment `seconds` after the first of year 0, if it is before year 10000.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        if !(0..=days_before(9999, 12, 31)).contains(&days) {
            return None;
        }
        // Years have between 365 and 366 days: the guess is at most a few years off, and late rather than early.
        let mut year = u16::try_from(days / 365).ok()?.min(9999);
        while days_before(year, 1, 1) > days {
            year = year.checked_sub(1)?;
        }
        let mut rest = days - days_before(year, 1, 1);
        let mut month = 1_u8;
        while rest >= i64::from(days_in_month(year, month)) {
            rest -= i64::from(days_in_month(year, month));
            month += 1;
        }
        let small = |value: i64| u8::try_from(value).ok();
        Self::new(year, month, small(rest + 1)?, small(clock / 3600)?, small(clock / 60 % 60)?, small(clock % 60)?)
    }

    /// `n` intervals after this one. Months keep the day, or take the month's last: a step from 31 January is 28 February.
    #[must_use]
    pub fn after(self, interval: Interval, n: u32) -> Option<Self> {
        match interval {
            Interval::Milliseconds(length) => {
                // Only whole seconds can be written in a name.
                let seconds = i64::try_from(length / 1000).ok()?.checked_mul(i64::from(n))?;
                Self::from_seconds(self.seconds().checked_add(seconds)?)
            }
            Interval::Months(months) => {
                let total = u64::from(self.year) * 12 + u64::from(self.month - 1) + u64::from(months) * u64::from(n);
                let (year, month) = (u16::try_from(total / 12).ok()?, u8::try_from(total % 12 + 1).ok()?);
                let day = self.day.min(days_in_month(year, month));
                Self::new(year, month, day, self.hour, self.minute, self.second)
            }
        }
    }

    /// The day's number in its year, from 1.
    #[must_use]
    pub fn day_of_year(self) -> i64 {
        days_before(self.year, self.month, self.day) - days_before(self.year, 1, 1) + 1
    }
}

/// Days from the first day of year 0 to this one.
fn days_before(year: u16, month: u8, day: u8) -> i64 {
    let full = i64::from(year);
    let leaps = if year == 0 { 0 } else { (full - 1) / 4 - (full - 1) / 100 + (full - 1) / 400 + 1 };
    let months: i64 = (1..month).map(|month| i64::from(days_in_month(year, month))).sum();
    full * 365 + leaps + months + i64::from(day) - 1
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)?;
        if (self.hour, self.minute, self.second) != (0, 0, 0) {
            write!(f, "T{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        }
        Ok(())
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time as precise as it is written: `2010`, `2010-06`, `2010-06-30`, `2010-06-30T12:00`. It covers its whole
/// year, month, day, minute or second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct WrittenTime {
    /// Its first second.
    pub first: Moment,
    /// Its last second.
    pub last: Moment,
}

impl FromStr for WrittenTime {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let complaint = || bad(format!("`{}` is not a date such as `2010-06-30`", shortened(text)));
        let trimmed = text.strip_suffix('Z').unwrap_or(text);
        let (date, clock) = match trimmed.split_once(['T', ' ']) {
            Some((date, clock)) => (date, Some(clock)),
            None => (trimmed, None),
        };
        let numbers = |part: &str, sign: char, widths: &[usize]| -> Option<Vec<u16>> {
            let fields: Vec<&str> = part.split(sign).collect();
            let right = fields.len() <= widths.len()
                && fields
                    .iter()
                    .zip(widths)
                    .all(|(field, width)| field.len() == *width && field.bytes().all(|byte| byte.is_ascii_digit()));
            right.then(|| fields.iter().filter_map(|field| field.parse().ok()).collect())
        };
        let days = numbers(date, '-', &[4, 2, 2]).ok_or_else(complaint)?;
        let hours = match clock {
            None => Vec::new(),
            Some(clock) if days.len() == 3 => numbers(clock, ':', &[2, 2, 2]).ok_or_else(complaint)?,
            Some(_) => return Err(complaint()),
        };
        let small = |fields: &[u16], index: usize, or: u8| {
            fields.get(index).map_or(Some(or), |value| u8::try_from(*value).ok())
        };
        let at = |or_month: u8, or_day: u8, or_hour: u8, or_sixty: u8| {
            let year = *days.first()?;
            let month = small(&days, 1, or_month)?;
            let day = if days.len() < 3 { or_day.min(days_in_month(year, month)) } else { small(&days, 2, 1)? };
            let (hour, minute) = (small(&hours, 0, or_hour)?, small(&hours, 1, or_sixty)?);
            Moment::new(year, month, day, hour, minute, small(&hours, 2, or_sixty)?)
        };
        match (at(1, 1, 0, 0), at(12, 31, 23, 59)) {
            (Some(first), Some(last)) => Ok(Self { first, last }),
            _ => Err(bad(format!("`{}` is not in the calendar", shortened(text)))),
        }
    }
}

/// How a time is written in a name, in `strftime`'s words: `%Y%m%d`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimeFormat {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Field(char),
}

impl FromStr for TimeFormat {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let plain = if letter == '%' {
                match letters.next() {
                    Some(field @ ('Y' | 'y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'j' | 'b')) => {
                        pieces.push(Piece::Field(field));
                        continue;
                    }
                    Some('%') => '%',
                    Some(other) => {
                        let reason = format!("`%{other}` is not one of %Y %y %m %d %H %M %S %j %b %%");
                        return Err(bad(reason));
                    }
                    None => return Err(bad(format!("`{}` ends in a lone `%`", shortened(text)))),
                }
            } else {
                letter
            };
            match pieces.last_mut() {
                Some(Piece::Text(known)) => known.push(plain),
                _ => pieces.push(Piece::Text(plain.to_string())),
            }
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Err(bad(format!("`{}` has no field such as %Y", shortened(text))));
        }
        Ok(Self { pieces })
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('%', "%%"))?,
                Piece::Field(field) => write!(f, "%{field}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for TimeFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TimeFormat {
    /// `moment`, written so.
    #[must_use]
    pub fn write(&self, moment: Moment) -> String {
        let month_name = || MONTHS.get(usize::from(moment.month).saturating_sub(1)).copied().unwrap_or_default();
        let field = |field: char| match field {
            'Y' => format!("{:04}", moment.year),
            'y' => format!("{:02}", moment.year % 100),
            'm' => format!("{:02}", moment.month),
            'd' => format!("{:02}", moment.day),
            'H' => format!("{:02}", moment.hour),
            'M' => format!("{:02}", moment.minute),
            'S' => format!("{:02}", moment.second),
            'j' => format!("{:03}", moment.day_of_year()),
            _ => month_name().to_owned(),
        };
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field(letter) => field(*letter),
            })
            .collect()
    }

    /// The moment that the whole of `text` names. What the format leaves out is the first: January, the 1st, midnight.
    /// Two-digit years are 1969 to 2068.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Moment> {
        let mut rest = text;
        let (mut year, mut month, mut day, mut day_of_year) = (None, 1, 1, None);
        let (mut hour, mut minute, mut second) = (0, 0, 0);
        for piece in &self.pieces {
            let letter = match piece {
                Piece::Text(plain) => {
                    rest = rest.strip_prefix(plain.as_str())?;
                    continue;
                }
                Piece::Field(letter) => *letter,
            };
            let width = match letter {
                'Y' => 4,
                'j' | 'b' => 3,
                _ => 2,
            };
            let (field, after) = rest.split_at_checked(width)?;
            rest = after;
            if letter == 'b' {
                month = u8::try_from(MONTHS.iter().position(|name| name.eq_ignore_ascii_case(field))? + 1).ok()?;
                continue;
            }
            if !field.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let number: u16 = field.parse().ok()?;
            let small = u8::try_from(number).ok();
            match letter {
                'Y' => year = Some(number),
                'y' => year = Some(if number < 69 { 2000 + number } else { 1900 + number }),
                'm' => month = small?,
                'd' => day = small?,
                'H' => hour = small?,
                'M' => minute = small?,
                'S' => second = small?,
                _ => day_of_year = Some(number),
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let year = year?;
        if let Some(number) = day_of_year {
            let first = Moment::new(year, 1, 1, hour, minute, second)?;
            let moment = Moment::from_seconds(first.seconds() + i64::from(number.checked_sub(1)?) * 86_400)?;
            return (moment.year == year).then_some(moment);
        }
        Moment::new(year, month, day, hour, minute, second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(text: &str) -> Moment {
        text.parse::<WrittenTime>().unwrap().first
    }

    #[track_caller]
    fn step(from: &str, interval: &str, n: u32, expected: &str) {
        let after = moment(from).after(interval.parse().unwrap(), n);
        assert_eq!(after.map(|moment| moment.to_string()), Some(expected.to_owned()));
    }

    #[test]
    fn steps_follow_the_calendar() {
        step("2000-02-28", "1d", 2, "2000-03-01");
        step("1900-02-28", "1d", 1, "1900-03-01");
        step("2020-01-31", "1mo", 1, "2020-02-29");
        step("2020-01-31", "1mo", 2, "2020-03-31");
        step("2019-12-31T18:00", "6h", 1, "2020-01-01");
        step("2020-02-29", "1y", 1, "2021-02-28");
        assert_eq!(moment("9999-12-31").after(Interval::Months(1), 1), None);
        assert_eq!(moment("1970-01-01").unix_seconds(), 0);
        assert_eq!(moment("2026-11-20T12:34:56").unix_seconds(), 1_795_178_096);
    }

    #[test]
    fn a_time_covers_as_much_as_it_leaves_out() {
        for (text, last) in [
            ("2010", "2010-12-31T23:59:59"),
            ("2012-02", "2012-02-29T23:59:59"),
            ("2010-06-30", "2010-06-30T23:59:59"),
            ("2010-06-30T12", "2010-06-30T12:59:59"),
            ("2010-06-30 12:30Z", "2010-06-30T12:30:59"),
        ] {
            assert_eq!(text.parse::<WrittenTime>().map(|time| time.last.to_string()), Ok(last.to_owned()));
        }
        for wrong in
            ["", "10", "2010-13", "2010-02-30", "2010-6-1", "2010T12", "2010-06-30T25", "2010-06-30T12:00:00.5"]
        {
            assert!(wrong.parse::<WrittenTime>().is_err(), "{wrong}");
        }
    }

    #[track_caller]
    fn read(format: &str, text: &str, expected: Option<&str>) {
        let found = format.parse::<TimeFormat>().unwrap().read(text);
        assert_eq!(found.map(|moment| moment.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_name_is_read_whole_or_not_at_all() {
        read("%Y%m%d", "20010203", Some("2001-02-03"));
        read("y%Ym%m", "y2001m02", Some("2001-02-01"));
        read("%Y%j", "2020366", Some("2020-12-31"));
        read("%Y%j", "2021366", None);
        read("%d%b%y", "03feb69", Some("1969-02-03"));
        read("%Y%m%d", "2001020", None);
        read("%Y%m%d", "200102033", None);
        read("%Y%m%d", "+0010203", None);
        read("%Y", "２００１", None);
        for wrong in ["", "plain", "%Q", "%"] {
            assert!(wrong.parse::<TimeFormat>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_its_seconds(seconds in 0..315_569_520_000_i64) {
            if let Some(moment) = Moment::from_seconds(seconds) {
                prop_assert_eq!(moment.seconds(), seconds);
            }
        }

        #[test]
        fn what_a_format_writes_it_reads(seconds in 62_167_219_200..65_291_443_200_i64) {
            let moment = Moment::from_seconds(seconds).unwrap();
            for format in ["%Y-%m-%dT%H:%M:%S", "%Y%j%H%M%S", "%d%b%Y%H%M%S", "%y%m%d%H%M%S%%"] {
                let format: TimeFormat = format.parse().unwrap();
                prop_assert_eq!(format.read(&format.write(moment)), Some(moment));
            }
        }
    }
}
