//! How many bytes may be under way at once, whatever the number of workers.

use std::sync::{Condvar, Mutex, PoisonError};

/// Room for bytes.
#[derive(Debug)]
pub(crate) struct Window {
    most: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

/// Room that was taken; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    window: &'a Window,
    n_bytes: u64,
}

impl Window {
    /// Room for `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { most: most.max(1), taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits for room for `n_bytes`; what is larger than all of it gets all of it.
    pub fn take(&self, n_bytes: u64) -> Room<'_> {
        let n_bytes = n_bytes.min(self.most);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while self.most - *taken < n_bytes {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += n_bytes;
        Room { window: self, n_bytes }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.window.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.n_bytes;
        self.window.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_under_way_than_there_is_room_for() {
        let (window, now, most) = (Window::new(10), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for n_bytes in [3, 4, 5, 6, 20] {
                let (window, now, most) = (&window, &now, &most);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let _room = window.take(n_bytes);
                        most.fetch_max(
                            now.fetch_add(n_bytes.min(10), Ordering::SeqCst) + n_bytes.min(10),
                            Ordering::SeqCst,
                        );
                        now.fetch_sub(n_bytes.min(10), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 10);
    }
}
