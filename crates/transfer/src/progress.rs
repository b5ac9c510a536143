//! How far a transfer is: counters that workers add to and whoever shows them reads.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counters of one transfer.
#[derive(Debug, Default)]
pub struct Progress {
    n_files: AtomicU64,
    n_bytes: AtomicU64,
    n_files_done: AtomicU64,
    n_bytes_done: AtomicU64,
    waited_micros: AtomicU64,
    read_micros: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Files to be moved.
    pub n_files: u64,
    /// Bytes to be moved.
    pub n_bytes: u64,
    /// Files that are done.
    pub n_files_done: u64,
    /// Bytes that are done.
    pub n_bytes_done: u64,
    /// Time that workers waited for servers, added up.
    pub waited: Duration,
    /// Time that workers read and wrote on this machine, added up.
    pub local: Duration,
}

impl Progress {
    /// Says what there is to do.
    pub fn expect(&self, n_files: u64, n_bytes: u64) {
        self.n_files.store(n_files, Ordering::Relaxed);
        self.n_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// Bytes arrived.
    pub fn bytes(&self, n_bytes: u64) {
        self.n_bytes_done.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// A file is done.
    pub fn file(&self) {
        self.n_files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// A worker waited for a server.
    pub fn waited(&self, time: Duration) {
        self.waited_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// A worker was busy with files of this machine.
    pub fn local(&self, time: Duration) {
        self.read_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Where the transfer is.
    #[must_use]
    pub fn now(&self) -> Snapshot {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            n_files: of(&self.n_files),
            n_bytes: of(&self.n_bytes),
            n_files_done: of(&self.n_files_done),
            n_bytes_done: of(&self.n_bytes_done),
            waited: Duration::from_micros(of(&self.waited_micros)),
            local: Duration::from_micros(of(&self.read_micros)),
        }
    }
}
