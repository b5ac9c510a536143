//! Encoded units on their way to a store that takes its time: threads that put them while the workers go on.
//!
//! A server answers after many milliseconds in which a worker could have encoded the next unit. The bytes stay within
//! the room of encoded units, so that no more wait than memory was planned for. It promises that whoever waits here is
//! woken when the run ends, however it ends.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{
    identity::{Digested, RangeSum},
    run::room::Grant,
};

/// Units that wait for each thread that puts them; their bytes are bounded by the room.
const MOST_WAITING: usize = 4;

/// A unit that is to be put.
#[derive(Debug)]
pub(super) struct Encoded {
    pub array: usize,
    pub at: Vec<u64>,
    pub grant: Grant,
    /// Of the grant's bytes.
    pub digest: blake3::Hash,
    /// What was read of each file and counts for it.
    pub read: Vec<(usize, RangeSum)>,
}

impl Encoded {
    pub fn bytes(&self) -> Digested<'_> {
        Digested::known(&self.grant.bytes, self.digest)
    }
}

/// Units on their way.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// Threads that put; none: workers put by themselves.
    pub n_threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Encoded>,
    end: Option<End>,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Once all that wait are put.
    WhenDone,
    /// Now: what waits is not put.
    Now,
}

impl Puts {
    pub fn new(n_threads: usize) -> Self {
        Self { n_threads, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a unit to the threads; waits while too many others do.
    pub fn push(&self, unit: Encoded) {
        let mut state = self.state();
        while state.waiting.len() >= self.n_threads.saturating_mul(MOST_WAITING) && state.end.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.end != Some(End::Now) {
            state.waiting.push_back(unit);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Says how it ends. The sooner end counts.
    pub fn end(&self, end: End) {
        let mut state = self.state();
        if end == End::Now {
            state.waiting.clear();
        }
        if state.end != Some(End::Now) {
            state.end = Some(end);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next unit; `None` at the end.
    pub fn next(&self) -> Option<Encoded> {
        let mut state = self.state();
        loop {
            if let Some(unit) = state.waiting.pop_front() {
                drop(state);
                self.changed.notify_all();
                return Some(unit);
            }
            if state.end.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
