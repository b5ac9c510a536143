//! What other programs' readers compare to see that a file is still the one that was referenced.
//!
//! They read a file through conditions of HTTP or their like on a disk; a fingerprint holds more than they can ask.

use std::time::SystemTime;

use frazil_model::location::Location;

use crate::{read::Fingerprint, web::Marks};

/// A condition on a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pin {
    /// Its entity tag, if there is a strong one. Of a file on this machine the one that Rust's `object_store` gives it:
    /// inode, time of change in microseconds and size, in hexadecimal.
    pub tag: Option<String>,
    /// When it was modified: seconds since 1970, and microseconds behind them.
    pub modified: Option<(u64, u32)>,
}

impl Fingerprint {
    /// The condition that holds while the file at `location` is as it was.
    #[must_use]
    pub fn pin(&self, location: &Location) -> Pin {
        if let Location::File(_) = location {
            return of_file(self).unwrap_or_default();
        }
        let marks = Marks::from_state(&self.state);
        let tag = marks.etag.filter(|tag| !tag.starts_with("W/") && !tag.is_empty());
        Pin { tag, modified: self.modified_seconds().map(|seconds| (seconds, 0)) }
    }
}

fn of_file(fingerprint: &Fingerprint) -> Option<Pin> {
    let mut parts = fingerprint.state.split('/');
    let (seconds, nanoseconds) = parts.next()?.split_once('.')?;
    let inode: u64 = parts.nth(1)?.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    let microseconds = nanoseconds.parse::<u32>().ok()? / 1000;
    let stamp = u128::from(seconds) * 1_000_000 + u128::from(microseconds);
    Some(Pin {
        tag: Some(format!("{inode:x}-{stamp:x}-{:x}", fingerprint.size_bytes)),
        modified: Some((seconds, microseconds)),
    })
}

/// The present moment, for what no file dates.
#[must_use]
pub fn now_microseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
