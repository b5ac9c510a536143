//! One question to a server of buckets and its whole answer, as the dialects of the clouds need it.
//!
//! It promises that a question ends with an answer that says yes, or an error; and that of many objects each is asked
//! for by itself, some at a time. It does not know what is asked.

use std::{
    io::Read,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use frazil_model::location::Location;

use crate::{
    asking::{Fault, Way, again, follow, refusal, with_retries},
    error::StoreError,
    manners::{Manners, count_received},
    open::{Answer, Ask, Sending},
};

/// A page of a listing has some thousand keys of at most a kilobyte, which may be escaped.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// Objects that are asked for at a time, each by itself.
const AT_A_TIME: usize = 32;

/// An answer that says yes.
pub(super) struct Reply {
    answer: Answer,
    pub text: String,
}

impl Reply {
    /// The text of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.answer.header(name).unwrap_or_default()
    }
}

/// Asks until there is an answer.
pub(super) fn exchange(location: &Location, way: &Way, sending: &Sending<'_>) -> Result<Reply, StoreError> {
    with_retries(location, way, |manners| exchange_once(location, way, sending, manners))
}

/// Asks once.
pub(super) fn exchange_once(
    location: &Location,
    way: &Way,
    sending: &Sending<'_>,
    manners: &Manners,
) -> Result<Reply, Fault> {
    let (mut answer, _turn) = follow(location, way, Ask::Send(sending), manners)?;
    if !(200..300).contains(&answer.status) {
        return Err(refusal(location, way, &mut answer));
    }
    let mut bytes = Vec::new();
    let read = (&mut answer.body).take(MAX_PAGE_BYTES).read_to_end(&mut bytes);
    count_received(bytes.len() as u64);
    read.map_err(|_| again("the answer broke off"))?;
    Ok(Reply { answer, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Does the same for each key, some at a time. Answers those that failed; what is not there is no failure.
pub(super) fn one_by_one(
    keys: &[&str],
    once: impl Fn(&str) -> Result<(), StoreError> + Sync,
) -> Vec<(String, StoreError)> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            match once(key) {
                Ok(()) | Err(StoreError::Absent { .. }) => {}
                Err(error) => failed.lock().unwrap_or_else(PoisonError::into_inner).push(((*key).to_owned(), error)),
            }
        }
    };
    std::thread::scope(|scope| {
        // A machine that gives no thread more leaves the work to this one.
        for _ in 1..keys.len().min(AT_A_TIME) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}
