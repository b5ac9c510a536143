//! Files on their way to the disk while others are still being made.
//!
//! A put that waits for the disk leaves a core idle; a put that never waits leaves all the waiting to the end, and
//! the memory of the machine full of unwritten pages. One thread beside the workers syncs large files one after
//! another, and a worker waits only when [`MOST_WAITING`] files do. It promises that [`Steady::finish`] answers well
//! only if every file was synced. It does not know what the files are.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::error::StoreError;

/// Files that may wait for the disk.
const MOST_WAITING: usize = 4;

/// A thread that syncs files in the order in which they come.
#[derive(Debug)]
pub struct Steady {
    queue: Option<SyncSender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    error: Mutex<Option<StoreError>>,
    is_given_up: AtomicBool,
}

impl Shared {
    fn error(&self) -> Result<(), StoreError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn work(&self, queue: &Receiver<PathBuf>) {
        for path in queue {
            if self.is_given_up.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = File::open(&path).and_then(|file| file.sync_all()) {
                let error = StoreError::writing(&path, 0, error);
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        }
    }
}

impl Steady {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(MOST_WAITING);
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("sync".into()).spawn(move || shared.work(&waiting))?
        };
        Ok(Self { queue: Some(queue), thread: Some(thread), shared })
    }

    /// Has a file synced, sooner or later.
    ///
    /// # Errors
    /// If an earlier file could not be.
    pub fn sync(&self, path: PathBuf) -> Result<(), StoreError> {
        match self.queue.as_ref().map(|queue| queue.send(path)) {
            Some(Err(_)) => self.shared.error(),
            _ => Ok(()),
        }
    }

    /// Waits until all files are synced.
    ///
    /// # Errors
    /// If one of them could not be.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.stop();
        self.shared.error()
    }

    fn stop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its work is a loop that answers through `error`; it has nothing to panic about.
            let _ = thread.join();
        }
    }
}

impl Drop for Steady {
    /// A run that failed or was interrupted does not wait for files that nobody will see.
    fn drop(&mut self) {
        self.shared.is_given_up.store(true, Ordering::Relaxed);
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_synced_is_named() {
        let here = std::env::temp_dir().join(format!("frazil-steady-{}", std::process::id()));
        std::fs::write(&here, b"x").unwrap();
        let steady = Steady::start().unwrap();
        steady.sync(here.clone()).unwrap();
        steady.finish().unwrap();
        std::fs::remove_file(&here).unwrap();
        let steady = Steady::start().unwrap();
        steady.sync(here.clone()).unwrap();
        let error = steady.finish().unwrap_err().to_string();
        assert!(error.contains(&here.display().to_string()), "{error}");
    }

    #[test]
    fn workers_learn_of_a_failure_and_never_wait_for_ever() {
        let steady = Steady::start().unwrap();
        let answers: Vec<_> = (0..100).map(|_| steady.sync("/nowhere/at/all".into())).collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count() + usize::from(steady.finish().is_err()), 1);
    }
}
