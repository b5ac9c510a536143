//! Whether a fingerprint can be relied on: whether any later change of the file would show in it.
//!
//! A file that changes twice within one tick of its clock may have the same times after both. So times count only if
//! they lie well before the moment at which they were looked at. It promises to say "no" in doubt.

use std::time::{Duration, SystemTime};

use crate::{read::Fingerprint, web::Marks};

/// The coarsest tick of a file system's clock: FAT counts two seconds at a time.
const FILE_TICK: Duration = Duration::from_secs(2);

/// A web server's clock may differ from ours, and it tells times in seconds (RFC 9110, section 8.8.2.2).
const WEB_TICK: Duration = Duration::from_secs(60);

impl Fingerprint {
    /// When a server says that its file was modified, in seconds since 1970.
    #[must_use]
    pub fn modified_seconds(&self) -> Option<u64> {
        Marks::from_state(&self.state).modified.as_deref().and_then(seconds_of_web_date)
    }

    /// When a file of this machine was last written, put where it is, or renamed, in seconds since 1970: what was copied with
    /// its old date is as young as the copy.
    #[must_use]
    pub fn touched_seconds(&self) -> Option<u64> {
        let (modified, changed) = times_of_file(&self.state)?;
        Some(modified.max(changed).duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
    }

    /// Whether a change after `now` would show in it. `now` is a moment before the fingerprint was taken.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let is_before = |time: Option<SystemTime>, tick| {
            time.and_then(|time| time.checked_add(tick)).is_some_and(|time| time < now)
        };
        if let Some((modified, changed)) = times_of_file(&self.state) {
            return is_before(Some(modified), FILE_TICK) && is_before(Some(changed), FILE_TICK);
        }
        let marks = Marks::from_state(&self.state);
        match &marks.etag {
            _ if marks.generation.is_some() => true,
            // A weak tag stays the same through changes that its server holds to be of no weight.
            Some(etag) if !etag.starts_with("W/") => true,
            _ => is_before(marks.modified.as_deref().and_then(web_date), WEB_TICK),
        }
    }
}

/// When a file on this machine was modified and changed, if the state is of one.
fn times_of_file(state: &str) -> Option<(SystemTime, SystemTime)> {
    let mut parts = state.split('/');
    let (modified, changed, inode) = (parts.next()?, parts.next()?, parts.next()?);
    inode.parse::<u64>().ok()?;
    Some((time(modified)?, time(changed)?))
}

/// Reads `seconds.nanoseconds` since 1970; what is before that is long ago.
fn time(text: &str) -> Option<SystemTime> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    let seconds = u64::try_from(seconds.parse::<i64>().ok()?).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds.parse().ok().filter(|n| *n < 1_000_000_000)?))
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers may write (RFC 9110, section 5.6.7).
fn web_date(text: &str) -> Option<SystemTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next().filter(|name| name.len() == 3)?;
    let month = MONTHS.find(month).filter(|at| at % 3 == 0)? as u64 / 3;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next() != Some("GMT") {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// Days from 1970 to a day of the calendar of today; `month` counts from 0.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let before: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days_of_months = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_year: u64 = days_of_months.iter().take(usize::try_from(month).ok()?).sum();
    Some(before + in_year + day - 1)
}

/// Reads `2026-11-20T17:42:17.123Z`, as listings of buckets have it, in seconds since 1970.
pub(crate) fn seconds_of_rfc3339(text: &str) -> Option<u64> {
    let (date, clock) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let is_sane = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let mut clock = clock.split('.').next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let days = is_sane.then(|| days_since_1970(year, month - 1, day))??;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The same with any distance from Greenwich: `2026-11-20T17:42:17.123456+01:00`.
pub(crate) fn seconds_of_any_rfc3339(text: &str) -> Option<u64> {
    let text = text.trim();
    let at = text.len().checked_sub(6)?;
    let (local, distance) = match text.split_at_checked(at) {
        Some((local, distance)) if distance.starts_with(['+', '-']) => (local, distance),
        _ => return seconds_of_rfc3339(text),
    };
    let (hours, minutes) = distance.get(1..)?.split_once(':')?;
    let seconds =
        hours.parse::<u64>().ok().filter(|h| *h < 24)? * 3600 + minutes.parse::<u64>().ok().filter(|m| *m < 60)? * 60;
    let local = seconds_of_rfc3339(&format!("{local}Z"))?;
    if distance.starts_with('-') { local.checked_add(seconds) } else { local.checked_sub(seconds) }
}

/// A moment of seconds since 1970 in its parts: year, month, day, hour, minute, second.
pub(crate) fn parts_of(seconds: u64) -> (u64, usize, u64, u64, u64, u64) {
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Nobody means a moment that many years ahead.
    while year < 10_000 {
        let of_year = if is_leap(year) { 366 } else { 365 };
        if days < of_year {
            break;
        }
        days -= of_year;
        year += 1;
    }
    let mut month = 0;
    for of_month in [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < of_month {
            break;
        }
        days -= of_month;
        month += 1;
    }
    (year, month, days + 1, clock / 3600, clock / 60 % 60, clock % 60)
}

/// A moment as people and JSON read it.
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day, hour, minute, second) = parts_of(seconds);
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1)
}

/// A moment as a header has it.
pub(crate) fn web_date_of(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second) = parts_of(seconds);
    let weekday = usize::try_from(seconds / 86_400 % 7).ok().and_then(|at| DAYS.get(at)).unwrap_or(&"Thu");
    let month = MONTHS.get(month).unwrap_or(&"Jan");
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Now, in seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads the date of a header, in seconds since 1970.
pub(crate) fn seconds_of_web_date(text: &str) -> Option<u64> {
    Some(web_date(text)?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &str, now: u64, expected: bool) {
        let fingerprint = Fingerprint { size_bytes: 1, state: state.into() };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        assert_eq!(fingerprint.is_settled(now), expected, "{state:?}");
    }

    #[test]
    fn times_count_once_they_are_past() {
        check("1000.000000005/1000.000000000/7", 1003, true);
        check("1000.000000005/1000.000000000/7", 1002, false);
        check("900.000000000/1001.500000000/7", 1003, false);
        // A file from the future says nothing.
        check("5000.000000000/1000.000000000/7", 1003, false);
        check("", 1003, false);
    }

    #[test]
    fn what_was_copied_with_its_date_is_as_young_as_the_copy() {
        let touched = |state: &str| Fingerprint { size_bytes: 1, state: state.into() }.touched_seconds();
        assert_eq!(touched("1000.000000005/5000.000000000/7"), Some(5000));
        assert_eq!(touched("5000.000000005/1000.000000000/7"), Some(5000));
        assert_eq!(touched("etag \"abc\""), None);
    }

    #[test]
    fn a_moment_is_written_as_it_is_read() {
        for seconds in
            [0, 68_169_599, 784_111_777, 951_782_399, 951_782_400, 1_709_251_199, 1_795_196_537, 4_107_542_399]
        {
            assert_eq!(seconds_of_web_date(&web_date_of(seconds)), Some(seconds));
            assert_eq!(seconds_of_any_rfc3339(&rfc3339(seconds)), Some(seconds));
        }
        assert_eq!(web_date_of(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(1_795_196_537), "2026-11-20T17:42:17Z");
    }

    #[test]
    fn a_strong_tag_counts_and_a_weak_one_only_with_a_date() {
        check("etag \"abc\"", 0, true);
        check("etag W/\"abc\"", 1 << 40, false);
        check("etag W/\"abc\"\nmodified Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 61, true);
        check("modified Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 60, false);
        check("modified Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199 + 61, true);
        check("modified yesterday", 1 << 40, false);
    }

    #[test]
    fn moments_are_shown_in_the_calendar_of_today() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_196_537, "2026-11-20T17:42:17Z"),
        ] {
            assert_eq!(rfc3339(seconds), shown);
        }
    }
}
