//! The date that a time is counted from, as it is spelled in units.
//!
//! It promises that a spelling is read as the readers of such times read it, and refused where they would read it
//! differently.

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Instant, from_date};

/// Who decodes these times for stock xarray, as long as they lie between 1678 and 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Reader {
    /// Real-world calendars and units spelled out: `datetime64`, in nanoseconds.
    Numpy,
    /// All else: in microseconds.
    Cftime,
}

/// The instant of `1850-1-1`, `1970-01-01T00:00:00Z`, `2000-01-01 12:00:00.5 +01:00`, `1900`.
pub(super) fn reference_date(text: &str, calendar: Calendar, reader: Reader) -> Result<Instant, &'static str> {
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
