//! How gently each server is asked: requests at a time, time between them, tries; and what was asked of all.
//!
//! It promises that no server gets more requests at a time than its limit, whatever the number of threads. The limits
//! belong to the process: two sets of files on one server share them. Where nobody said how many, a server is asked
//! for more at a time while it answers, and for half as many after each fault.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Most requests at a time that a server comes to by answering.
const MOST_BY_ANSWERING: f32 = 24.0;

/// What an answer adds to the requests at a time, before the first fault.
const GROWTH: f32 = 0.5;

/// How gently a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Requests to the host at a time; of a host about which nobody said anything, the first ones.
    pub per_host: u32,
    /// Least time between the starts of two requests to the host.
    pub min_interval: Duration,
    /// How often a request is tried again.
    pub retries: u32,
    /// Longest wait for a connection.
    pub connect_within: Duration,
    /// Longest silence of a server.
    pub silence_within: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            per_host: 6,
            min_interval: Duration::ZERO,
            retries: 6,
            connect_within: Duration::from_secs(20),
            silence_within: Duration::from_secs(30),
        }
    }
}

impl Manners {
    /// The gentler of both.
    fn and(self, other: Self) -> Self {
        Self {
            per_host: self.per_host.min(other.per_host),
            min_interval: self.min_interval.max(other.min_interval),
            retries: self.retries.min(other.retries),
            connect_within: self.connect_within.min(other.connect_within),
            silence_within: self.silence_within.min(other.silence_within),
        }
    }
}

/// What was asked of web servers, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests sent, tries and redirects included.
    pub n_requests: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
    /// Requests that were tries of an earlier one.
    pub n_retries: u64,
}

impl Traffic {
    /// What was added after `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            n_requests: self.n_requests.saturating_sub(earlier.n_requests),
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
            n_retries: self.n_retries.saturating_sub(earlier.n_retries),
        }
    }
}

static N_REQUESTS: AtomicU64 = AtomicU64::new(0);
static RECEIVED_BYTES: AtomicU64 = AtomicU64::new(0);
static N_RETRIES: AtomicU64 = AtomicU64::new(0);

/// What was asked of web servers until now.
#[must_use]
pub fn traffic() -> Traffic {
    Traffic {
        n_requests: N_REQUESTS.load(Ordering::Relaxed),
        received_bytes: RECEIVED_BYTES.load(Ordering::Relaxed),
        n_retries: N_RETRIES.load(Ordering::Relaxed),
    }
}

pub(crate) fn count_received(n_bytes: u64) {
    RECEIVED_BYTES.fetch_add(n_bytes, Ordering::Relaxed);
}

pub(crate) fn count_retry() {
    N_RETRIES.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
struct Running {
    n_now: u32,
    next_start: Option<Instant>,
    /// Requests at a time that the host's answers and faults have come to.
    by_answering: f32,
    has_failed: bool,
}

impl Default for Running {
    fn default() -> Self {
        #[allow(clippy::cast_precision_loss)] // a handful
        let by_answering = Manners::default().per_host as f32;
        Self { n_now: 0, next_start: None, by_answering, has_failed: false }
    }
}

/// The door to one host.
#[derive(Debug, Default)]
struct Door {
    running: Mutex<Running>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Host {
    manners: Option<Manners>,
    door: Arc<Door>,
    /// Whether it was seen to give a part of a file.
    gives_parts: bool,
}

static HOSTS: LazyLock<Mutex<HashMap<String, Host>>> = LazyLock::new(Mutex::default);

/// A thread that panicked while it held one of these left nothing half done in it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks `host` (with its port) from now on as `manners` say; where others said something before, as the gentler of both.
pub fn ask_gently(host: &str, manners: Manners) {
    let mut hosts = held(&HOSTS);
    let known = &mut hosts.entry(host.to_owned()).or_default().manners;
    *known = Some(known.map_or(manners, |known| known.and(manners)));
}

/// Lets `host` be asked so many times at once, unless somebody said how it is to be asked.
pub(crate) fn expect_many(host: &str, per_host: u32) {
    let mut hosts = held(&HOSTS);
    let known = &mut hosts.entry(host.to_owned()).or_default().manners;
    known.get_or_insert(Manners { per_host, ..Manners::default() });
}

fn door_of(host: &str) -> (Option<Manners>, Arc<Door>) {
    let mut hosts = held(&HOSTS);
    let host = hosts.entry(host.to_owned()).or_default();
    (host.manners, Arc::clone(&host.door))
}

/// How `host` is asked.
pub(crate) fn manners_of(host: &str) -> Manners {
    door_of(host).0.unwrap_or_default()
}

/// Notes that `host` gave a part of a file where a part was asked for.
pub(crate) fn note_part(host: &str) {
    let mut hosts = held(&HOSTS);
    match hosts.get_mut(host) {
        Some(known) => known.gives_parts = true,
        None => hosts.entry(host.to_owned()).or_default().gives_parts = true,
    }
}

/// Whether `host` is known to give parts of files.
pub(crate) fn gives_parts(host: &str) -> bool {
    held(&HOSTS).get(host).is_some_and(|host| host.gives_parts)
}

/// Lets no new request start at `host` for a while.
pub(crate) fn hold(host: &str, pause: Duration) {
    let (_, door) = door_of(host);
    let mut running = held(&door.running);
    let until = Instant::now().checked_add(pause);
    running.next_start = running.next_start.max(until);
}

/// Notes that `host` failed in a way that may pass: it is asked for half as many things at a time.
pub(crate) fn note_fault(host: &str) {
    let (_, door) = door_of(host);
    let mut running = held(&door.running);
    running.by_answering = (running.by_answering / 2.0).max(1.0);
    running.has_failed = true;
}

/// The right to have one request running at a host; dropped, another may start.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Door>);

/// Waits for a turn at `host`. Every turn ends, since every request has a time in which it must end.
pub(crate) fn turn(host: &str) -> Turn {
    let (said, door) = door_of(host);
    let manners = said.unwrap_or_default();
    let mut running = held(&door.running);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 24
    while running.n_now >= said.map_or(running.by_answering as u32, |said| said.per_host).max(1) {
        running = door.left.wait(running).unwrap_or_else(PoisonError::into_inner);
    }
    running.n_now += 1;
    let now = Instant::now();
    let start = running.next_start.map_or(now, |next| next.max(now));
    running.next_start = start.checked_add(manners.min_interval);
    drop(running);
    let turn = Turn(door);
    std::thread::sleep(start.saturating_duration_since(now));
    N_REQUESTS.fetch_add(1, Ordering::Relaxed);
    turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = held(&self.0.running);
        running.n_now = running.n_now.saturating_sub(1);
        let growth = if running.has_failed { GROWTH / running.by_answering } else { GROWTH };
        running.by_answering = (running.by_answering + growth).min(MOST_BY_ANSWERING);
        drop(running);
        // The limit may have grown by more than the place that became free.
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_host_is_asked_no_more_at_a_time_than_it_may_be() {
        ask_gently("limit.test", Manners { per_host: 3, ..Manners::default() });
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let _turn = turn("limit.test");
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn a_host_that_answers_is_asked_for_more_and_one_that_fails_for_less() {
        let most_at_a_time = |host: &str| {
            let turns: Vec<Turn> = (0..40)
                .map_while(|_| {
                    let (_, door) = door_of(host);
                    let running = held(&door.running);
                    let is_free = (running.n_now as f32) < running.by_answering.floor();
                    drop(running);
                    is_free.then(|| turn(host))
                })
                .collect();
            turns.len()
        };
        assert_eq!(most_at_a_time("growth.test"), 6);
        for _ in 0..40 {
            drop(turn("growth.test"));
        }
        assert_eq!(most_at_a_time("growth.test"), 24);
        note_fault("growth.test");
        assert_eq!(most_at_a_time("growth.test"), 12);
        for _ in 0..10 {
            note_fault("growth.test");
        }
        assert_eq!(most_at_a_time("growth.test"), 1);
    }

    #[test]
    fn requests_start_no_closer_than_the_interval() {
        ask_gently("interval.test", Manners { min_interval: Duration::from_millis(20), ..Manners::default() });
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| drop(turn("interval.test")));
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
