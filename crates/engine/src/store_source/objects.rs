//! The objects of one array: those that are there, and those that should be.

use frazil_model::zarr::ArrayLayout;
use frazil_store::{
    folder::{Listed, Shelf},
    read::Fingerprint,
};

use crate::{error::EngineError, receipt::Inventory};

/// Columns: object `number[i]` has `length[i]` bytes. Sorted and unique.
#[derive(Debug, Default)]
struct Lengths {
    number: Vec<u64>,
    length: Vec<u64>,
}

impl Lengths {
    fn of(mut rows: Vec<(u64, u64)>) -> Self {
        rows.sort_unstable();
        rows.dedup_by_key(|(number, _)| *number);
        Self { number: rows.iter().map(|row| row.0).collect(), length: rows.iter().map(|row| row.1).collect() }
    }

    fn find(&self, number: u64) -> Option<u64> {
        self.length.get(self.number.binary_search(&number).ok()?).copied()
    }

    fn held_bytes(&self) -> usize {
        self.number.len() * 16
    }
}

/// The objects of an array.
#[derive(Debug)]
pub(super) struct Objects {
    /// Those that are there; `None`: nothing lists them.
    there: Option<Lengths>,
    /// Those that an inventory has.
    expected: Lengths,
    /// Changes when any of them does.
    state: u128,
}

impl Objects {
    /// The objects of the array `layout` in the store at `root`, of which `inventory` says which should be there.
    pub(super) fn of(root: &Shelf, layout: &ArrayLayout, inventory: Option<&str>) -> Result<Self, EngineError> {
        let folder = layout.path.trim_start_matches('/');
        let number = |key: &str| layout.object_number(key.strip_prefix(folder)?.trim_start_matches('/'));
        let (mut rows, mut state) = (Vec::new(), 0_u128);
        let listed = root.each_object(folder, &mut |key, about| {
            if let Some(number) = number(key) {
                rows.push((number, about.size_bytes));
                state = state.wrapping_add(mark(number, about));
            }
        })?;
        let expected = inventory.map_or_else(Vec::new, |text| {
            let lines = text.lines().filter(|line| line.starts_with(folder)).filter_map(Inventory::parse);
            let objects = lines.flat_map(|line| line.0);
            objects.filter_map(|(key, stored)| Some((number(&key)?, stored.length))).collect()
        });
        let there = (listed == Listed::All).then(|| Lengths::of(rows));
        Ok(Self { there, expected: Lengths::of(expected), state })
    }

    /// Of an array of which nothing is known.
    pub(super) fn unlisted() -> Self {
        Self { there: None, expected: Lengths::default(), state: 0 }
    }

    /// How long an object is: `None` if nothing says, `Some(None)` if it is not there.
    pub(super) fn length(&self, number: u64) -> Option<Option<u64>> {
        self.there.as_ref().map(|there| there.find(number))
    }

    /// How long an object should be, if it should be there.
    pub(super) fn expected(&self, number: u64) -> Option<u64> {
        self.expected.find(number)
    }

    /// Bytes of the largest, and of all.
    pub(super) fn sizes(&self) -> Option<(u64, u64)> {
        let lengths = &self.there.as_ref()?.length;
        Some((lengths.iter().copied().max().unwrap_or(0), lengths.iter().fold(0, |sum, n| sum.saturating_add(*n))))
    }

    pub(super) const fn state(&self) -> u128 {
        self.state
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.there.as_ref().map_or(0, Lengths::held_bytes) + self.expected.held_bytes()
    }
}

/// A number that an object and its state have to themselves.
fn mark(number: u64, about: &Fingerprint) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&about.size_bytes.to_le_bytes()).update(about.state.as_bytes());
    hasher.finalize().as_bytes().first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}
