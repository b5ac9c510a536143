//! How far a run is: counters that workers add to and whoever shows them reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one run.
#[derive(Debug, Default)]
pub struct Progress {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    n_tasks_done: AtomicU64,
    n_tasks: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Bytes read from sources.
    pub read_bytes: u64,
    /// Bytes written to the store.
    pub written_bytes: u64,
    /// Finished tasks.
    pub n_tasks_done: u64,
    /// All tasks.
    pub n_tasks: u64,
}

impl Progress {
    /// Sets how many tasks there are.
    pub fn expect(&self, n_tasks: u64) {
        self.n_tasks.store(n_tasks, Ordering::Relaxed);
    }

    /// Bytes were read.
    pub fn read(&self, n_bytes: u64) {
        self.read_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// Bytes were written.
    pub fn written(&self, n_bytes: u64) {
        self.written_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// A task is done.
    pub fn task_done(&self) {
        self.n_tasks_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the run is.
    #[must_use]
    pub fn now(&self) -> Snapshot {
        Snapshot {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            n_tasks_done: self.n_tasks_done.load(Ordering::Relaxed),
            n_tasks: self.n_tasks.load(Ordering::Relaxed),
        }
    }
}
