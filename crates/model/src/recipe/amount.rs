//! Amounts with units: bytes and stretches of time, written alike in recipes and on the command line.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::recipe::{error::Fault, read::shortened, suggest::nearest};

/// A number of bytes: `512MB`, `100MiB`, `1.5GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("K", 1000),
    ("MB", 1_000_000),
    ("M", 1_000_000),
    ("GB", 1_000_000_000),
    ("G", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (thousandths, unit) = quantity(text, "a size such as `512MB` or `100MiB`")?;
        let factor = unit_of(unit, &BYTE_UNITS, text)?;
        let size_bytes = thousandths.checked_mul(u128::from(factor)).map(|value| value / 1000);
        match size_bytes.and_then(|value| u64::try_from(value).ok()) {
            Some(value) if value > 0 => Ok(Self(value)),
            Some(_) => Err(bad(format!("`{}` is no bytes at all", shortened(text)))),
            None => Err(bad(format!("`{}` is more than any machine holds", shortened(text)))),
        }
    }
}

/// In the largest unit that gives a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units =
            [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("GiB", 1 << 30), ("MB", 1_000_000), ("MiB", 1 << 20)];
        let unit = units.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A stretch of time: `6h`, `1d`, `500ms`, or in months, whose length differs: `1mo`, `1y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Interval {
    /// A fixed length.
    Milliseconds(u64),
    /// Calendar months; a year is twelve.
    Months(u32),
}

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;
const TIME_UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", SECOND),
    ("min", 60 * SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", DAY),
    ("w", 7 * DAY),
];
const MONTH_UNITS: [(&str, u64); 2] = [("mo", 1), ("y", 12)];

impl FromStr for Interval {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (thousandths, unit) = quantity(text, "a time such as `1d`, `6h` or `1mo`")?;
        let too_long = || bad(format!("`{}` is too long", shortened(text)));
        let none = || bad(format!("`{}` is no time at all", shortened(text)));
        if let Some((_, months)) = MONTH_UNITS.iter().find(|(name, _)| *name == unit) {
            if thousandths % 1000 != 0 {
                return Err(bad(format!("`{}`: months and years must be whole", shortened(text))));
            }
            let months = u32::try_from(thousandths / 1000 * u128::from(*months)).map_err(|_| too_long())?;
            return if months == 0 { Err(none()) } else { Ok(Self::Months(months)) };
        }
        if unit.is_empty() {
            return Err(bad(format!("`{}` has no unit: ms, s, min, h, d, w, mo or y", shortened(text))));
        }
        let known: Vec<(&str, u64)> = TIME_UNITS.iter().chain(&MONTH_UNITS).copied().collect();
        let factor = unit_of(unit, &known, text)?;
        let milliseconds = thousandths.checked_mul(u128::from(factor)).map(|value| value / 1000);
        match milliseconds.and_then(|value| u64::try_from(value).ok()) {
            // A thousand years and more is a slip; the bound also keeps date arithmetic far from overflow.
            Some(value) if value > 1_000_000 * DAY => Err(too_long()),
            Some(0) => Err(none()),
            Some(value) => Ok(Self::Milliseconds(value)),
            None => Err(too_long()),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Months(months) if months % 12 == 0 => write!(f, "{}y", months / 12),
            Self::Months(months) => write!(f, "{months}mo"),
            Self::Milliseconds(length) => {
                let units = [("d", DAY), ("h", 3600 * SECOND), ("min", 60 * SECOND), ("s", SECOND)];
                match units.iter().find(|(_, unit)| length.is_multiple_of(*unit)) {
                    Some((name, unit)) => write!(f, "{}{name}", length / unit),
                    None => write!(f, "{length}ms"),
                }
            }
        }
    }
}

/// The number, in thousandths, and the unit behind it.
fn quantity<'t>(text: &'t str, what: &str) -> Result<(u128, &'t str), Fault> {
    let complaint = || bad(format!("`{}` is not {what}", shortened(text)));
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // Eighteen digits hold any size there is, and keep the arithmetic far from overflow.
    if whole.is_empty() || whole.len() > 18 || part.len() > 3 || part.contains('.') {
        return Err(complaint());
    }
    let whole: u128 = whole.parse().map_err(|_| complaint())?;
    let part: u128 = format!("{part:0<3}").parse().map_err(|_| complaint())?;
    Ok((whole * 1000 + part, unit.trim()))
}

fn unit_of(unit: &str, known: &[(&str, u64)], text: &str) -> Result<u64, Fault> {
    let exact = known.iter().find(|(name, _)| *name == unit);
    if let Some((_, factor)) = exact {
        return Ok(*factor);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    let near = names.iter().find(|name| name.eq_ignore_ascii_case(unit)).map(|name| (*name).to_owned());
    let near = near.or_else(|| nearest(unit, names.iter().copied()));
    let better = near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    Err(bad(format!("`{}` has the unknown unit `{}`{better}", shortened(text), shortened(unit))))
}

pub(crate) fn bad(reason: String) -> Fault {
    Fault::BadValue { key: String::new(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn size(text: &str, expected: Result<u64, &str>) {
        let got = text.parse::<ByteSize>().map(|size| size.0).map_err(|fault| fault.to_string());
        assert_eq!(got, expected.map_err(|reason| format!("``: {reason}")));
    }

    #[test]
    fn a_size_is_decimal_unless_it_says_binary() {
        size("512MB", Ok(512_000_000));
        size("100MiB", Ok(100 << 20));
        size("1.5 GB", Ok(1_500_000_000));
        size("4096", Ok(4096));
        size("0MB", Err("`0MB` is no bytes at all"));
        size("99999999999999999GB", Err("`99999999999999999GB` is more than any machine holds"));
        size("12 mb", Err("`12 mb` has the unknown unit `mb`; did you mean `MB`?"));
        size("lots", Err("`lots` is not a size such as `512MB` or `100MiB`"));
        size("-1MB", Err("`-1MB` is not a size such as `512MB` or `100MiB`"));
    }

    #[track_caller]
    fn time(text: &str, expected: Result<Interval, &str>) {
        let got = text.parse::<Interval>().map_err(|fault| fault.to_string());
        assert_eq!(got, expected.map_err(|reason| format!("``: {reason}")));
    }

    #[test]
    fn a_time_is_fixed_or_counts_months() {
        time("6h", Ok(Interval::Milliseconds(6 * 3600 * 1000)));
        time("0.5s", Ok(Interval::Milliseconds(500)));
        time("1mo", Ok(Interval::Months(1)));
        time("2y", Ok(Interval::Months(24)));
        time("0.5mo", Err("`0.5mo`: months and years must be whole"));
        time("3", Err("`3` has no unit: ms, s, min, h, d, w, mo or y"));
        time("3 days", Err("`3 days` has the unknown unit `days`"));
        time("0d", Err("`0d` is no time at all"));
    }

    #[test]
    fn amounts_are_shown_as_they_are_written() {
        for text in ["512MB", "100MiB", "1GB", "12345B"] {
            assert_eq!(text.parse::<ByteSize>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
        for text in ["6h", "1d", "90min", "500ms", "1mo", "3y"] {
            assert_eq!(text.parse::<Interval>().map(|time| time.to_string()), Ok(text.to_owned()));
        }
    }
}
