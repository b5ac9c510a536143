//! How far a run is: one line that renews itself on a terminal, a plain line every 30 seconds elsewhere.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use frazil_engine::progress::{Progress, Snapshot};
use frazil_transfer::progress as transfer;

use crate::output::{Talk, bytes};

/// How often the line on a terminal is renewed.
const RENEWED_EVERY: Duration = Duration::from_millis(250);

/// How often a line is written where nobody watches.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// A run whose tasks do not end for so long has something slow in it.
const SLOW_AFTER: Duration = Duration::from_secs(10);

/// Runs `work` and shows `progress` meanwhile.
pub fn shown<T>(talk: &Talk, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let mut line = Line::new();
    renewed(talk, move |at| line.text(progress.now(), at), work)
}

/// The same for a transfer.
pub fn moving<T>(talk: &Talk, progress: &transfer::Progress, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    renewed(talk, move |at| moving_text(progress.now(), at.duration_since(started)), work)
}

/// Runs `work` and shows a line about it meanwhile.
fn renewed<T>(talk: &Talk, mut text: impl FnMut(Instant) -> String + Send, work: impl FnOnce() -> T) -> T {
    if !talk.progress || talk.json {
        return work();
    }
    let is_terminal = std::io::stderr().is_terminal();
    let (done, until_done) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let every = if is_terminal { RENEWED_EVERY } else { WRITTEN_EVERY };
            while until_done.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let text = text(Instant::now());
                let mut out = std::io::stderr().lock();
                // Nobody may be listening; that is their choice.
                let _ = if is_terminal { write!(out, "\r\u{1b}[K{text}") } else { writeln!(out, "{text}") };
                let _ = out.flush();
            }
            if is_terminal {
                let _ = write!(std::io::stderr(), "\r\u{1b}[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// How far a transfer is: files, bytes, rate, what is left, and what is slow.
fn moving_text(now: transfer::Snapshot, taken: Duration) -> String {
    let seconds = taken.as_secs_f64().max(0.001);
    if now.n_files == 0 {
        return format!("looking what is there · {seconds:.0} s");
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = (now.n_bytes_done as f64 / seconds) as u64;
    let mut text = format!(
        "{} of {} files · {} of {} ({}/s)",
        now.n_files_done,
        now.n_files,
        bytes(now.n_bytes_done),
        bytes(now.n_bytes),
        bytes(rate)
    );
    if now.n_bytes_done > 0 && now.n_bytes_done < now.n_bytes {
        #[allow(clippy::cast_precision_loss)]
        let left = seconds / now.n_bytes_done as f64 * (now.n_bytes - now.n_bytes_done) as f64;
        text.push_str(&format!(" · {} left", span(left)));
    }
    let busy = (now.waited + now.local).as_secs_f64();
    if busy > 0.0 {
        text.push_str(&format!(" · waiting for the server {:.0} %", 100.0 * now.waited.as_secs_f64() / busy));
    }
    text
}

/// What is remembered between two lines.
struct Line {
    started: Instant,
    last_done: (u64, Instant),
}

impl Line {
    fn new() -> Self {
        Self { started: Instant::now(), last_done: (0, Instant::now()) }
    }

    fn text(&mut self, now: Snapshot, at: Instant) -> String {
        if now.n_tasks_done != self.last_done.0 {
            self.last_done = (now.n_tasks_done, at);
        }
        let seconds = at.duration_since(self.started).as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = (now.read_bytes as f64 / seconds) as u64;
        if now.n_tasks == 0 {
            return format!("looking at the files · {seconds:.0} s");
        }
        let mut text = format!(
            "{} of {} tasks · read {} ({}/s) · wrote {}",
            now.n_tasks_done,
            now.n_tasks,
            bytes(now.read_bytes),
            bytes(rate),
            bytes(now.written_bytes)
        );
        if now.n_tasks_done > 0 && now.n_tasks_done < now.n_tasks {
            #[allow(clippy::cast_precision_loss)]
            let left = seconds / now.n_tasks_done as f64 * (now.n_tasks - now.n_tasks_done) as f64;
            text.push_str(&format!(" · {} left", span(left)));
        }
        let waited = at.duration_since(self.last_done.1);
        if waited > SLOW_AFTER {
            text.push_str(&format!(" · no task has ended for {:.0} s", waited.as_secs_f64()));
        }
        text
    }
}

/// Seconds for people: `3 min`.
fn span(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_left_and_what_is_slow() {
        let mut line = Line::new();
        let at = |seconds| line.started + Duration::from_secs(seconds);
        let (early, late) = (at(10), at(25));
        let now = Snapshot { read_bytes: 50_000_000, written_bytes: 20_000_000, n_tasks_done: 1, n_tasks: 4 };
        assert_eq!(line.text(now, early), "1 of 4 tasks · read 50 MB (5.0 MB/s) · wrote 20 MB · 30 s left");
        assert!(line.text(now, late).ends_with("no task has ended for 15 s"));
    }
}
