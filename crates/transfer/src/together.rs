//! Digests of parts that are under way at the same time, made side by side.
//!
//! The MD5 of one part keeps most of a core waiting; those of several parts together cost hardly more than that of one
//! (`frazil_store::digest`). Workers bring their parts here: whoever completes a group, or has waited for long enough,
//! makes the digests of all that are waiting. It promises each worker its own bytes back, with their digest.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use frazil_store::digest::{LANES, md5, md5_of_each};

/// So long a part waits for others: about as long as its digest takes by itself.
const PATIENCE: Duration = Duration::from_millis(30);

/// A digest of fewer bytes is made at once.
const LEAST_BYTES: usize = 1 << 20;

/// Where parts wait for others.
#[derive(Debug, Default)]
pub(crate) struct Together {
    table: Mutex<Table>,
    is_made: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    n_brought: u64,
    waiting: Vec<(u64, Vec<u8>)>,
    made: HashMap<u64, (Vec<u8>, [u8; 16])>,
}

impl Together {
    /// The MD5 of a part.
    pub fn md5(&self, part: &mut Vec<u8>) -> [u8; 16] {
        if part.len() < LEAST_BYTES {
            return md5(part);
        }
        let until = Instant::now() + PATIENCE;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = table.n_brought;
        table.n_brought += 1;
        table.waiting.push((mine, std::mem::take(part)));
        loop {
            if let Some((bytes, digest)) = table.made.remove(&mine) {
                *part = bytes;
                return digest;
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_waiting = table.waiting.iter().any(|(number, _)| *number == mine);
            if is_waiting && (table.waiting.len() >= LANES || left.is_zero()) {
                let n_parts = table.waiting.len().min(LANES);
                let group: Vec<(u64, Vec<u8>)> = table.waiting.drain(..n_parts).collect();
                drop(table);
                let parts: Vec<&[u8]> = group.iter().map(|(_, bytes)| bytes.as_slice()).collect();
                let digests = if let [alone] = parts.as_slice() { vec![md5(alone)] } else { md5_of_each(&parts) };
                table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
                let made = group.into_iter().zip(digests).map(|((number, bytes), digest)| (number, (bytes, digest)));
                table.made.extend(made);
                self.is_made.notify_all();
            } else if is_waiting {
                (table, _) = self.is_made.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner);
            } else {
                // Somebody is at it.
                table = self.is_made.wait(table).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_own_bytes_and_digest_back() {
        let together = Together::default();
        std::thread::scope(|scope| {
            for n in 0..9_u8 {
                let together = &together;
                scope.spawn(move || {
                    for round in 0..3_u8 {
                        let part = vec![n ^ round; LEAST_BYTES + usize::from(n)];
                        let mut brought = part.clone();
                        assert_eq!(together.md5(&mut brought), md5(&part));
                        assert_eq!(brought, part);
                    }
                });
            }
        });
    }
}
