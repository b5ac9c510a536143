//! CF time: numbers with units like `days since 1850-01-01` in a calendar, as exact instants.
//!
//! It promises that a number becomes the instant that stock xarray decodes it to, to the nanosecond, and that nothing
//! is written back that would decode to another instant. It does not know which variables are times.
//!
//! - **Source**: CF Conventions 1.11, section 4.4; the rounding is that of xarray and cftime.

mod calendar;
pub mod encoding;
mod units;

pub use calendar::{Calendar, Date, Instant, from_date};
pub use encoding::{Encoded, reencode, units_that_hold};
pub use units::{ExactValue, TimeUnits, Unit};

use crate::problem::Problem;

/// Why a time could not be understood or held.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[allow(missing_docs)]
pub enum TimeError {
    #[error("`{units}` is not a time: there is no ` since ` in it")]
    NotTime { units: String },
    #[error("`{units}` counts in {unit}, which have no fixed length in calendar {calendar}")]
    NoFixedLength { units: String, unit: String, calendar: Calendar },
    #[error("`{units}` counts in `{unit}`, which is not a unit of time for calendar {calendar}")]
    UnknownUnit { units: String, unit: String, calendar: Calendar },
    #[error("`{units}` counts from `{date}`, which is not a date of calendar {calendar}: {reason}")]
    ReferenceDate { units: String, date: String, calendar: Calendar, reason: String },
    #[error("calendar {from} cannot be written as calendar {to}")]
    Calendars { from: Calendar, to: Calendar },
    #[error("value {index} ({value}) is no time in `{units}`")]
    NoTime { index: usize, value: String, units: String },
    #[error("value {index} ({instant}) cannot be held exactly as {dtype} in `{units}`")]
    Inexact { index: usize, instant: String, dtype: String, units: String },
    #[error("times are not held as {dtype}")]
    NotATimeType { dtype: String },
}

impl Problem for TimeError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotTime { .. } => "time.not-time",
            Self::NoFixedLength { .. } | Self::UnknownUnit { .. } => "time.unit",
            Self::ReferenceDate { .. } => "time.reference-date",
            Self::Calendars { .. } => "time.calendar",
            Self::NoTime { .. } => "time.no-time",
            Self::Inexact { .. } => "time.inexact",
            Self::NotATimeType { .. } => "time.dtype",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoFixedLength { .. } => Some("months and years differ in length; count in days".into()),
            Self::UnknownUnit { .. } => {
                Some("days, hours, minutes, seconds, milliseconds, microseconds and nanoseconds are known".into())
            }
            Self::ReferenceDate { .. } => Some("write it as `1850-01-01 00:00:00`".into()),
            Self::Inexact { .. } => Some("choose finer units, such as seconds, for the target".into()),
            Self::NotTime { .. } | Self::Calendars { .. } | Self::NoTime { .. } | Self::NotATimeType { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
