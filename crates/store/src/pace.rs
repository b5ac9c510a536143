//! How fast bytes may travel, for whoever shares a link with others.
//!
//! One pace for the whole process, whatever the number of connections: what is sent and what is fetched count alike. It
//! promises that no more bytes than the pace allows leave in any longer stretch of time. Without a pace nothing waits.

use std::{
    io::{self, Read},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// Bytes that are let go at a time: small enough that a slow link is not filled in bursts.
const BLOCK_BYTES: usize = 64 << 10;

/// What was not used within this time is lost, so that a pause is not followed by a flood.
const LENT_FOR: Duration = Duration::from_millis(100);

static PACE: OnceLock<Pace> = OnceLock::new();

#[derive(Debug)]
struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

/// Lets no more than so many bytes a second travel. A second call changes nothing.
pub fn limit(bytes_per_second: u64) {
    let _ = PACE.set(Pace { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) });
}

/// Whether there is a pace.
#[must_use]
pub fn is_set() -> bool {
    PACE.get().is_some()
}

/// How long so many bytes take at most, if others have as many to send.
pub(crate) fn time_for(n_bytes: u64, n_others: u64) -> Duration {
    PACE.get()
        .map_or(Duration::ZERO, |pace| Duration::from_secs(n_bytes.saturating_mul(n_others) / pace.bytes_per_second))
}

/// Waits until so many bytes may go.
fn wait_for(n_bytes: usize) {
    let Some(pace) = PACE.get() else { return };
    let begins = {
        let mut free_at = pace.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begins = (*free_at).max(now.checked_sub(LENT_FOR).unwrap_or(now));
        #[allow(clippy::cast_precision_loss)]
        let taken = Duration::from_secs_f64(n_bytes as f64 / pace.bytes_per_second as f64);
        *free_at = begins + taken;
        begins
    };
    std::thread::sleep(begins.saturating_duration_since(Instant::now()));
}

/// A reader that keeps the pace.
#[derive(Debug)]
pub struct Paced<R>(pub R);

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if !is_set() {
            return self.0.read(block);
        }
        let most = block.len().min(BLOCK_BYTES);
        let n_bytes = self.0.read(block.get_mut(..most).unwrap_or_default())?;
        wait_for(n_bytes);
        Ok(n_bytes)
    }
}
