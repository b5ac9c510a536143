//! What was read of a large object on its way to another server, compared with the digest that its own server keeps.
//!
//! Parts are read side by side, and most digests are of bytes in their order: where one is needed, each part waits for its turn to
//! be looked at. It promises that bytes of which the server's digest tells that they are others are not called moved, and that
//! what nothing could be compared with is said to be so.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use frazil_store::{
    StoreError,
    bucket::{Digest, Part, digest_of_parts, hex},
    digest::{crc32c, crc32c_of_pieces},
};

use super::one::Source;
use crate::{
    making::{Made, Making},
    window::{Room, Window},
};

/// Watches what is read of one file.
#[derive(Default)]
pub(super) struct Witness {
    sums: Sums,
    parts: Mutex<BTreeMap<u32, Part>>,
    in_order: Option<InOrder>,
}

/// What a witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// What was read is what the server has a digest of.
    Same,
    /// It is something else.
    Other,
    /// The server keeps none that could be compared.
    Nothing,
    /// The server keeps one of parts whose size is not known: another look at the same bytes is all that tells.
    Unknown,
}

impl Witness {
    /// One for a file that is read in so many parts.
    pub fn of(source: &Source, n_parts: usize) -> Self {
        match source.state.digest {
            // Most have parts of our size, whose digests are made anyway.
            Some(Digest::Md5OfParts { n_parts: theirs, .. }) if usize::try_from(theirs) == Ok(n_parts) => {
                Self::default()
            }
            Some(digest @ (Digest::Md5(_) | Digest::Md5OfParts { .. })) => Self::of_order(source, digest),
            Some(Digest::Crc32c(_)) | None => Self::default(),
        }
    }

    /// One that looks at the bytes in their order, whatever the parts are.
    pub fn of_order(source: &Source, expected: Digest) -> Self {
        Self { in_order: Some(InOrder::of(Making::of(expected, source.mark.size_bytes))), ..Self::default() }
    }

    /// Room for a part. Where parts wait for one another the first of them has it first.
    pub fn room<'w>(&self, number: u32, window: &'w Window, n_bytes: u64) -> Room<'w> {
        match &self.in_order {
            None => window.take(n_bytes),
            Some(in_order) => in_order.room(number, window, n_bytes),
        }
    }

    /// Looks at the bytes of a part.
    pub fn see(&self, source: &Source, number: u32, bytes: &[u8]) {
        if Sums::are_kept(source) {
            self.sums.note(number, crc32c(bytes), bytes.len() as u64);
        }
        if let Some(in_order) = &self.in_order {
            in_order.see(number, bytes);
        }
    }

    /// Notes the MD5 of a part.
    pub fn note(&self, number: u32, digest: [u8; 16], n_bytes: u64) {
        let part = Part { number, tag: hex(&digest), size_bytes: n_bytes };
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
    }

    /// Nobody waits any more for a part that will not come.
    pub fn break_off(&self) {
        if let Some(in_order) = &self.in_order {
            in_order.turn().is_broken = true;
            in_order.turned.notify_all();
        }
    }

    /// What it has to say of the whole, and the parts as they were.
    pub fn word(self, source: &Source) -> (Word, Vec<Part>) {
        let parts: Vec<Part> = self.parts.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        let Some(expected) = source.state.digest else { return (Word::Nothing, parts) };
        let same_or = |is_same, other| if is_same { Word::Same } else { other };
        let word = match (expected, self.in_order) {
            (Digest::Crc32c(_), _) => {
                self.sums.digest().map_or(Word::Nothing, |sum| same_or(sum == expected, Word::Other))
            }
            (_, None) => same_or(digest_of_parts(&parts) == Some(expected), Word::Unknown),
            (_, Some(in_order)) => match in_order.finish() {
                Made::Equal => Word::Same,
                Made::Other => Word::Other,
                Made::UnknownParts => Word::Unknown,
            },
        };
        (word, parts)
    }
}

/// A digest of bytes in their order, of parts that are read side by side.
struct InOrder {
    turn: Mutex<Turn>,
    turned: Condvar,
}

struct Turn {
    making: Making,
    /// The last part that has room.
    roomed: u32,
    /// The last part that was looked at.
    seen: u32,
    is_broken: bool,
}

impl InOrder {
    fn of(making: Making) -> Self {
        let turn = Turn { making, roomed: 0, seen: 0, is_broken: false };
        Self { turn: Mutex::new(turn), turned: Condvar::new() }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, is_due: impl Fn(&Turn) -> bool) -> MutexGuard<'_, Turn> {
        let is_early = |turn: &mut Turn| !turn.is_broken && !is_due(turn);
        self.turned.wait_while(self.turn(), is_early).unwrap_or_else(PoisonError::into_inner)
    }

    /// Were room given to a later part first, both could wait for each other for ever.
    fn room<'w>(&self, number: u32, window: &'w Window, n_bytes: u64) -> Room<'w> {
        drop(self.wait(|turn| turn.roomed + 1 == number));
        let room = window.take(n_bytes);
        self.turn().roomed = number;
        self.turned.notify_all();
        room
    }

    fn see(&self, number: u32, bytes: &[u8]) {
        let mut turn = self.wait(|turn| turn.seen + 1 == number);
        if !turn.is_broken {
            turn.making.take(bytes);
            turn.seen = number;
        }
        drop(turn);
        self.turned.notify_all();
    }

    fn finish(self) -> Made {
        self.turn.into_inner().unwrap_or_else(PoisonError::into_inner).making.finish().0
    }
}

/// The CRC-32C of parts that were read, where their server keeps one of the whole.
#[derive(Default)]
pub(super) struct Sums(Mutex<BTreeMap<u32, (u32, u64)>>);

impl Sums {
    pub fn are_kept(source: &Source) -> bool {
        matches!(source.state.digest, Some(Digest::Crc32c(_)))
    }

    pub fn note(&self, number: u32, sum: u32, n_bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (sum, n_bytes));
    }

    /// That of the whole, if there are any.
    pub fn digest(&self) -> Option<Digest> {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.is_empty() { None } else { crc32c_of_pieces(sums.values().copied()).map(Digest::Crc32c) }
    }
}

/// The error that other bytes arrived than the server says that it has.
pub(crate) fn damaged(source: &Source, expected: &Digest) -> StoreError {
    StoreError::ArrivedDamaged { location: source.location.clone(), digest: expected.shown() }
}

#[cfg(test)]
mod tests {
    use frazil_store::digest::md5;

    use super::*;

    #[test]
    fn parts_that_come_in_any_order_are_seen_in_theirs_in_little_room() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at >> 3) as u8).collect();
        let in_order = InOrder::of(Making::of(Digest::Md5(md5(&bytes)), bytes.len() as u64));
        let window = Window::new(2500);
        let next = Mutex::new(bytes.chunks(1000).enumerate());
        std::thread::scope(|scope| {
            for n in 0..8_u64 {
                let (in_order, window, next) = (&in_order, &window, &next);
                scope.spawn(move || {
                    loop {
                        let Some((at, piece)) = next.lock().unwrap().next() else { return };
                        std::thread::sleep(std::time::Duration::from_micros((n * 37 + at as u64 * 13) % 300));
                        let number = u32::try_from(at).unwrap() + 1;
                        let _room = in_order.room(number, window, 1000);
                        in_order.see(number, piece);
                    }
                });
            }
        });
        assert_eq!(in_order.finish(), Made::Equal);
    }

    #[test]
    fn nobody_waits_for_a_part_that_will_not_come() {
        let in_order = InOrder::of(Making::of(Digest::Md5([0; 16]), 10));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| in_order.see(2, b"later"));
            in_order.turn().is_broken = true;
            in_order.turned.notify_all();
            waiting.join().unwrap();
        });
    }
}
