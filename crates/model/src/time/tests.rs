//! Tables that xarray and cftime gave, and laws.

use proptest::prelude::*;

use super::*;
use crate::{
    attribute::Numbers,
    dtype::{DataType, FloatType, IntType},
};

/// Units, calendar, value, and what `xarray.coding.times.decode_cf_datetime` (2026.9) makes of them.
#[rustfmt::skip]
const DECODED_BY_XARRAY: &[(&str, &str, &str, &str)] = &[
    ("days since 1850-1-1", "standard", "45000.5", "1973-03-17T12:00:00"),
    ("days since 1850-01-01 00:00:00", "noleap", "56940.1", "2006-01-01T02:24:00"),
    ("days since 1859-12-01", "360_day", "86399.5", "2099-11-30T12:00:00"),
    ("days since 0001-01-01", "standard", "730120.25", "1999-12-31T06:00:00"),
    ("days since 0001-01-01", "proleptic_gregorian", "730120", "2000-01-02T00:00:00"),
    ("days since 0001-01-01", "julian", "730120", "1999-12-18T00:00:00"),
    ("days since 1582-10-04", "standard", "1", "1582-10-15T00:00:00"),
    ("days since 1-1-1", "366_day", "-1", "0000-12-31T00:00:00"),
    ("hours since 1900-01-01 00:00:0.0", "gregorian", "1051881.3", "2019-12-31T09:18:00"),
    ("hrs since 1900-01-01", "gregorian", "1051881.3", "2019-12-31T09:18:00"),
    ("minutes since 1992-10-8 15:15:42.5 -06:00", "standard", "0.1", "1992-10-08T21:15:48.5"),
    ("seconds since 1970-01-01T00:00:00Z", "standard", "1e9", "2001-09-09T01:46:40"),
    ("seconds since 1970-01-01T00:00:00Z", "standard", "0.3333333333333333", "1970-01-01T00:00:00.333333333"),
    ("sec since 1970-01-01 UTC", "standard", "0.3333333333333333", "1970-01-01T00:00:00.333333"),
    ("milliseconds since 2000-01-01 00:00:00 +0530", "standard", "1", "1999-12-31T18:30:00.001"),
    ("msec since 2000-01-01", "standard", "-1", "1999-12-31T23:59:59.999"),
    ("microseconds since 2000", "standard", "1234567", "2000-01-01T00:00:01.234567"),
    ("nanoseconds since 1970-01-01", "standard", "1234567890123456789", "2009-02-13T23:31:30.123456789"),
    ("days since -4712-01-01 12:00", "julian", "2400000", "1859-11-05T12:00:00"),
    ("days since -0044-03-15", "standard", "16071", "0001-03-15T00:00:00"),
    ("days since 1964-03-12 12:09:00 -9:00", "standard", "1", "1964-03-13T21:09:00"),
    ("days since 2300-01-01", "standard", "0.123456789", "2300-01-01T02:57:46.66657"),
    ("days since 1600-01-01", "standard", "0.7", "1600-01-01T16:48:00"),
    ("months since 1850-01-01", "360_day", "13", "1851-02-01T00:00:00"),
    ("common_years since 1850-01-01", "noleap", "2", "1852-01-01T00:00:00"),
    ("d since 2000-02-29", "all_leap", "366", "2001-02-29T00:00:00"),
    ("days since 1678-01-01", "standard", "-1000", "1675-04-07T00:00:00"),
    ("seconds since 2000-01-01", "noleap", "0.999999", "2000-01-01T00:00:00.999999"),
    ("seconds since 2000-01-01", "noleap", "1.000001", "2000-01-01T00:00:01"),
];

#[test]
fn numbers_decode_as_in_xarray() {
    for (units, calendar, value, expected) in DECODED_BY_XARRAY {
        let calendar = Calendar::parse(Some(calendar)).unwrap();
        let units = TimeUnits::parse(units, calendar).unwrap();
        let instant = match value.parse::<i64>() {
            Ok(value) => units.instant_of_int(value),
            Err(_) => units.instant_of_float(value.parse().unwrap()),
        };
        assert_eq!(instant.unwrap().to_rfc3339(calendar), *expected, "{value} {units} in {calendar}");
    }
}

#[track_caller]
fn check_refused(units: &str, calendar: Calendar, reason: &str) {
    let error = TimeUnits::parse(units, calendar).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn units_that_readers_do_not_share_are_refused_with_a_reason() {
    check_refused("m s-1", Calendar::Standard, "there is no ` since ` in it");
    check_refused("months since 1850-01-01", Calendar::Standard, "no fixed length in calendar standard");
    check_refused("years since 1850-01-01", Calendar::NoLeap, "no fixed length");
    check_refused("fortnights since 1850-01-01", Calendar::Standard, "not a unit of time");
    check_refused("nanoseconds since 1850-01-01", Calendar::NoLeap, "not a unit of time for calendar noleap");
    check_refused("days since 0000-01-01", Calendar::Standard, "there is no year 0");
    check_refused("days since 1582-10-10", Calendar::Standard, "there is no such date");
    check_refused("days since 2001-02-29", Calendar::NoLeap, "there is no such date");
    check_refused("days since 1/1/2000", Calendar::Standard, "not year-month-day");
    check_refused("days since 2000-01-01 12", Calendar::NoLeap, "differently");
    check_refused("days since 2000-01-01 00:00:00 -9:00", Calendar::NoLeap, "differently");
    check_refused("days since ", Calendar::Standard, "not year-month-day");
}

#[test]
fn what_readers_would_decode_differently_has_no_instant() {
    // Within 1678 to 2262 numpy reads the zone; beyond, cftime overlooks it.
    let units = TimeUnits::parse("days since 1964-03-12 12:09:00 -9:00", Calendar::Standard).unwrap();
    assert!(units.instant_of_int(1).is_some());
    assert_eq!(units.instant_of_int(200_000), None);
    assert_eq!(units.instant_of_float(200_000.5), None);
    assert_eq!(units.instant_of_float(f64::NAN), None);
    assert_eq!(units.instant_of_int(i64::MIN), None);
}

fn units(text: &str) -> TimeUnits {
    TimeUnits::parse(text, Calendar::Standard).unwrap()
}

const INT32: DataType = DataType::Int(IntType::I32);
const FLOAT64: DataType = DataType::Float(FloatType::F64);

#[test]
fn times_of_another_epoch_are_written_exactly() {
    let (from, to) = (units("days since 2001-01-01"), units("days since 2000-01-01"));
    assert_eq!(reencode(&Numbers::F32(vec![0.5, 1.5]), &from, &to, &FLOAT64), Ok(Numbers::F64(vec![366.5, 367.5])));
    assert_eq!(reencode(&Numbers::I16(vec![0, -366]), &from, &to, &INT32), Ok(Numbers::I32(vec![366, 0])));
}

#[test]
fn a_time_that_cannot_be_held_is_refused_by_its_place() {
    let (from, to) = (units("hours since 2001-01-01"), units("days since 2001-01-01"));
    let error = reencode(&Numbers::I32(vec![24, 36]), &from, &to, &INT32).unwrap_err();
    assert_eq!(
        error.to_string(),
        "value 1 (2001-01-02T12:00:00) cannot be held exactly as int32 in `days since 2001-01-01`"
    );
    let other = TimeUnits::parse("days since 2001-01-01", Calendar::NoLeap).unwrap();
    assert!(matches!(reencode(&Numbers::I32(vec![24]), &from, &other, &INT32), Err(TimeError::Calendars { .. })));
    let missing = Numbers::F64(vec![f64::NAN]);
    assert!(matches!(reencode(&missing, &from, &to, &INT32), Err(TimeError::Inexact { .. })));
    assert!(matches!(reencode(&missing, &from, &to, &FLOAT64), Ok(Numbers::F64(values)) if values[0].is_nan()));
}

#[test]
fn labels_that_the_first_units_cannot_hold_get_finer_ones_from_the_same_date() {
    let days = units("days since 1850-01-01");
    let noon = from_date(Calendar::Standard, 1850, 1, 2, 12, 0, 0, 0).unwrap();
    let held = all_held(&[noon], &days, &INT32);
    assert_eq!((held.units.to_string().as_str(), held.values), ("hours since 1850-01-01", Numbers::I64(vec![36])));
    let held = all_held(&[noon], &days, &FLOAT64);
    assert_eq!((held.units, held.values), (days, Numbers::F64(vec![1.5])));
}

fn all_held(labels: &[Instant], first: &TimeUnits, dtype: &DataType) -> Encoded {
    units_that_hold(&[(labels, std::slice::from_ref(dtype))], first).unwrap().remove(0)
}

#[test]
fn one_time_outside_the_years_of_datetime64_makes_all_of_its_array_microseconds() {
    let units = units("days since 1850-01-01");
    let near = units.instants(&Numbers::F64(vec![0.123_456_789])).unwrap();
    assert_eq!(near[0].unwrap().to_rfc3339(Calendar::Standard), "1850-01-01T02:57:46.6665696");
    let far = units.instants(&Numbers::F64(vec![0.123_456_789, 200_000.0, f64::NAN])).unwrap();
    assert_eq!(far[0].unwrap().to_rfc3339(Calendar::Standard), "1850-01-01T02:57:46.66657");
    assert_eq!(far[2], None);
    // A label beyond 2262: what is written for this part of the labels decodes as it will in the whole.
    let labels: Vec<Instant> = far.into_iter().flatten().collect();
    let whole = all_held(&labels, &units, &FLOAT64);
    let part = reencode(&Numbers::F64(vec![0.123_456_789]), &whole.units, &whole.units, &FLOAT64);
    let (Ok(Numbers::F64(part)), Numbers::F64(whole)) = (part, whole.values) else { panic!("floats stay floats") };
    assert_eq!(part[0], whole[0]);
}

const CALENDARS: [Calendar; 6] = [
    Calendar::Standard,
    Calendar::ProlepticGregorian,
    Calendar::Julian,
    Calendar::NoLeap,
    Calendar::AllLeap,
    Calendar::Days360,
];

proptest! {
    #[test]
    fn an_instant_becomes_a_date_and_that_date_the_instant(
        calendar in prop::sample::select(&CALENDARS[..]),
        days in -3_000_000_i128..3_000_000,
        ns in 0..super::calendar::NS_PER_DAY,
    ) {
        let instant = Instant::of_ns(days * super::calendar::NS_PER_DAY + ns).unwrap();
        let Date { year, month, day, hour, minute, second, nanosecond } = instant.date(calendar);
        prop_assert_eq!(from_date(calendar, year, month, day, hour, minute, second, nanosecond), Some(instant));
    }

    #[test]
    fn the_next_day_has_the_next_date(
        calendar in prop::sample::select(&CALENDARS[..]),
        days in -3_000_000_i128..3_000_000,
    ) {
        let day = |days: i128| Instant::of_ns(days * super::calendar::NS_PER_DAY).unwrap().date(calendar);
        prop_assert!(day(days) < day(days + 1));
    }

    #[test]
    fn what_is_written_exactly_reads_back_as_the_same_instant(
        calendar in prop::sample::select(&CALENDARS[..]),
        unit in prop::sample::select(vec!["days", "hours", "h", "seconds", "milliseconds"]),
        value in -1e6..1e6_f64,
    ) {
        let units = TimeUnits::parse(&format!("{unit} since 1900-03-01"), calendar).unwrap();
        let instant = units.instant_of_float(value).unwrap();
        let back = match units.exact_value_of(instant) {
            Some(ExactValue::Int(value)) => units.instant_of_int(value),
            Some(ExactValue::Float(value)) => units.instant_of_float(value),
            None => None,
        };
        prop_assert_eq!(back, Some(instant));
    }

    #[test]
    fn no_units_make_it_panic(text in "[a-z]{0,8} since [-+0-9:. TZ]{0,30}", value: f64, count: i64) {
        for calendar in CALENDARS {
            if let Ok(units) = TimeUnits::parse(&text, calendar) {
                let _ = units.instant_of_float(value).map(|instant| instant.to_rfc3339(calendar));
                let _ = units.instant_of_int(count).and_then(|instant| units.exact_value_of(instant));
            }
        }
    }

    #[test]
    fn no_date_makes_it_panic(text in "days since [-+]?[0-9]{1,7}(-[0-9]{1,2}){0,3}[ T]?[-+0-9:. TZé]{0,30}", value: f64) {
        for calendar in CALENDARS {
            if let Ok(units) = TimeUnits::parse(&text, calendar) {
                let _ = units.instant_of_float(value).map(|instant| instant.to_rfc3339(calendar));
            }
        }
    }
}
