//! Memory for encoded units: how much each thread may take, so that all of them together keep to the plan.
//!
//! Nobody knows before how small a unit becomes. So each thread tries with its share, and the few units that do not
//! fit in it are encoded again with room for the worst case, when nobody else needs that room. It promises that no
//! more than the plan says is ever handed out, and that whoever waits gets its turn.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The memory of all encoded units.
#[derive(Debug)]
pub struct Room {
    most_bytes: usize,
    share_bytes: usize,
    state: Mutex<State>,
    freed: Condvar,
    /// By array: whether a unit of it did not fit in a share.
    outgrown: Vec<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    granted_bytes: usize,
    /// Buffers to be used again: fresh memory costs a page fault for every 4 KiB.
    spare: Vec<Vec<u8>>,
}

/// A buffer, and the right to fill so many bytes of it. Dropping it gives both back.
pub struct Grant {
    room: Arc<Room>,
    /// So many bytes may be filled.
    pub n_bytes: usize,
    /// The buffer.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("n_bytes", &self.n_bytes).field("filled", &self.bytes.len()).finish()
    }
}

impl Room {
    /// Room of `most_bytes` for `n_encoders` threads and `n_arrays` arrays.
    #[must_use]
    pub fn new(most_bytes: u64, n_encoders: usize, n_arrays: usize) -> Arc<Self> {
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        Arc::new(Self {
            most_bytes,
            share_bytes: most_bytes / n_encoders.max(1),
            state: Mutex::default(),
            freed: Condvar::new(),
            outgrown: (0..n_arrays).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// All of it.
    #[must_use]
    pub const fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// What to try first for a unit of `array` that takes `worst_bytes` at worst.
    #[must_use]
    pub fn first_try(&self, array: usize, worst_bytes: usize) -> usize {
        let outgrown = self.outgrown.get(array).is_some_and(|outgrown| outgrown.load(Ordering::Relaxed));
        worst_bytes.min(if outgrown { self.most_bytes } else { self.share_bytes })
    }

    /// A unit of `array` did not fit in a share.
    pub fn note_outgrown(&self, array: usize) {
        if let Some(outgrown) = self.outgrown.get(array) {
            outgrown.store(true, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `n_bytes` are free and takes them; all there is, if that is less.
    #[must_use]
    pub fn take(self: &Arc<Self>, n_bytes: usize) -> Grant {
        let n_bytes = n_bytes.min(self.most_bytes);
        let mut state = self.state();
        while self.most_bytes - state.granted_bytes < n_bytes {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.granted_bytes += n_bytes;
        // A buffer whose pages were touched further than the grant goes would be more than was granted.
        let fits = (0..state.spare.len()).filter(|at| state.spare[*at].capacity() <= n_bytes);
        let best = fits.max_by_key(|at| state.spare[*at].capacity());
        let mut bytes = best.map(|at| state.spare.swap_remove(at)).unwrap_or_default();
        bytes.clear();
        let held = |state: &State| state.spare.iter().map(Vec::capacity).sum::<usize>();
        while state.granted_bytes + held(&state) > self.most_bytes && state.spare.pop().is_some() {}
        Grant { room: Arc::clone(self), n_bytes, bytes }
    }
}

impl Grant {
    /// Gives back the right to what was not filled: the bytes may be held for a while.
    pub fn settle(&mut self) {
        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 4 {
            self.bytes.shrink_to_fit();
        }
        let held = self.bytes.capacity().min(self.n_bytes);
        self.room.state().granted_bytes -= self.n_bytes - held;
        self.n_bytes = held;
        self.room.freed.notify_all();
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.granted_bytes -= self.n_bytes;
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 && bytes.capacity() <= self.n_bytes {
            state.spare.push(bytes);
        }
        drop(state);
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_handed_out_than_there_is() {
        let room = Room::new(100, 2, 1);
        assert_eq!(room.first_try(0, 80), 50);
        let (one, two) = (room.take(50), room.take(50));
        assert_eq!(room.state().granted_bytes, 100);
        drop(one);
        drop(two);
        room.note_outgrown(0);
        assert_eq!((room.first_try(0, 80), room.take(1000).n_bytes), (80, 100));
        assert_eq!(room.state().granted_bytes, 0);
    }

    #[test]
    fn what_was_not_filled_is_given_back() {
        let room = Room::new(100, 1, 1);
        let mut grant = room.take(100);
        grant.bytes.extend_from_slice(&[0; 40]);
        grant.settle();
        assert!(room.take(50).n_bytes == 50 && grant.bytes.len() == 40);
        drop(grant);
        assert_eq!(room.take(100).n_bytes, 100);
    }

    #[test]
    fn a_buffer_is_used_again_if_it_is_not_larger_than_the_grant() {
        let room = Room::new(100, 1, 1);
        let mut grant = room.take(60);
        grant.bytes.reserve_exact(60);
        drop(grant);
        assert_eq!(room.take(70).bytes.capacity(), 60);
        assert_eq!(room.take(50).bytes.capacity(), 0);
    }
}
