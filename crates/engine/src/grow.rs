//! Shards that are not full, and get more chunks.
//!
//! The new object is the old one to its last byte, then the new chunks, then a new index: whoever still holds the old
//! index finds at its offsets what was there. It promises that the object is what an undisturbed run makes, however
//! often it was begun, since the inventory says how long the old one was; and that a shard which is not what was
//! written is refused. What the old index and a chunk that was not full took stays in the object, unused.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use frazil_model::{
    region::{Region, coordinates_of, count, grid_of},
    zarr::ArrayLayout,
};
use frazil_store::{
    StoreError,
    folder::{Folder, Tag},
};

use crate::{
    error::EngineError,
    journal::Stored,
    receipt::{INVENTORY, Inventory},
    sinks::zarr::ZarrStore,
};

/// The index entry of a chunk that is not in its shard (Zarr v3, sharding codec 1.0).
pub(crate) const NOT_IN_SHARD: u64 = u64::MAX;

/// Bytes of an entry in the index: offset and length.
const ENTRY_BYTES: usize = 16;

/// Bytes of the CRC-32C behind the index.
const CHECKSUM_BYTES: usize = 4;

/// Bytes that are copied at a time.
const BLOCK_BYTES: u64 = 4 << 20;

/// Where an array in shards ended before, and which of its elements become others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The dimension along which it grows.
    pub axis: usize,
    /// Its length there.
    pub old_length: u64,
    /// Elements along it that are new or others.
    pub changed: Vec<Range<u64>>,
}

impl Edge {
    /// Whether elements from `first` to before `end` stay as they are.
    fn keeps(&self, first: u64, end: u64) -> bool {
        self.changed.iter().all(|changed| end <= changed.start || changed.end <= first)
    }
}

/// The shards of a store that get more chunks.
#[derive(Debug)]
pub struct Grown<'a> {
    folder: &'a Folder,
    store: &'a ZarrStore,
    /// By array.
    edges: &'a [Option<Edge>],
    before: BTreeMap<String, Stored>,
    /// What a copy holds was not planned for, so there is one at a time.
    copying: Mutex<()>,
}

/// A shard as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldShard {
    /// Its bytes.
    pub n_bytes: u64,
    /// Where each chunk that stays begins, and its length.
    pub index: Vec<(u64, u64)>,
    /// Whether it holds chunks that do not stay: without a new index readers would go on seeing them.
    pub has_others: bool,
}

impl<'a> Grown<'a> {
    /// The shards at `edges`, of which the inventory says what they were; `None` if there are none.
    ///
    /// # Errors
    /// If the inventory cannot be read.
    pub fn of(
        folder: &'a Folder,
        store: &'a ZarrStore,
        edges: &'a [Option<Edge>],
    ) -> Result<Option<Self>, EngineError> {
        if edges.iter().all(Option::is_none) {
            return Ok(None);
        }
        let text = folder.get(INVENTORY)?.unwrap_or_default();
        let damaged = || EngineError::Damaged { key: INVENTORY.into(), reason: "it cannot be read".into() };
        let Inventory(before) = Inventory::parse(&String::from_utf8_lossy(&text)).ok_or_else(damaged)?;
        Ok(Some(Self { folder, store, edges, before, copying: Mutex::default() }))
    }

    fn edge(&self, array: usize, at: &[u64]) -> Option<(&Edge, &ArrayLayout)> {
        let edge = self.edges.get(array)?.as_ref()?;
        let layout = self.store.arrays.get(array)?;
        let first = at.get(edge.axis)?.checked_mul(*layout.object_shape().get(edge.axis)?)?;
        (first < edge.old_length).then_some((edge, layout))
    }

    /// Whether no element of a chunk becomes another, so that it stays where it is.
    #[must_use]
    pub fn keeps(&self, array: usize, chunk: &Region) -> bool {
        let edge = self.edges.get(array).and_then(Option::as_ref);
        edge.is_some_and(|edge| edge.keeps(chunk.start[edge.axis], chunk.end(edge.axis)))
    }

    /// What the shard `at` of an array was; `None` if it was not there.
    #[must_use]
    pub fn before(&self, array: usize, at: &[u64]) -> Option<&Stored> {
        self.edge(array, at)?;
        self.before.get(&self.store.unit_key(array, at))
    }

    /// The shard `at` of an array as it was, if it was there and gets more chunks.
    ///
    /// # Errors
    /// If it cannot be read or is not what was written.
    pub fn old(&self, array: usize, at: &[u64]) -> Result<Option<OldShard>, EngineError> {
        let (Some((edge, layout)), Some(stored)) = (self.edge(array, at), self.before(array, at)) else {
            return Ok(None);
        };
        let key = self.store.unit_key(array, at);
        let damaged = |reason: &str| EngineError::Damaged { key: key.clone(), reason: reason.to_owned() };
        let grid = grid_of(layout.object_shape(), &layout.chunk_shape);
        let n_chunks = usize::try_from(count(&grid)).map_err(|_| damaged("it has more chunks than memory"))?;
        let index_bytes = n_chunks.saturating_mul(ENTRY_BYTES).saturating_add(CHECKSUM_BYTES) as u64;
        let begin = stored.length.checked_sub(index_bytes).ok_or_else(|| damaged("it is shorter than its index"))?;
        let file = self.folder.open(&key)?.ok_or_else(|| damaged("it is missing"))?;
        let mut bytes = Vec::new();
        match file.read(begin, index_bytes, &mut bytes) {
            Err(StoreError::Short { .. }) => return Err(damaged("it is cut short")),
            read => read?,
        }
        let (table, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if crc32c::crc32c(table).to_le_bytes() != checksum {
            return Err(damaged("its index is not what was written"));
        }
        let (mut index, mut has_others) = (Vec::with_capacity(n_chunks), false);
        for (number, (entry, _)) in table.as_chunks::<ENTRY_BYTES>().0.iter().zip(0..n_chunks).enumerate() {
            let word = |at: usize| entry.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
            let (offset, length) = (word(0).unwrap_or(NOT_IN_SHARD), word(8).unwrap_or(NOT_IN_SHARD));
            let cell = coordinates_of(number as u64, &grid);
            let first = (at[edge.axis] * grid[edge.axis] + cell[edge.axis]) * layout.chunk_shape[edge.axis];
            let end = (first + layout.chunk_shape[edge.axis]).min(layout.shape[edge.axis]);
            let is_there = (offset, length) != (NOT_IN_SHARD, NOT_IN_SHARD);
            if !edge.keeps(first, end) || !is_there {
                has_others |= is_there;
                index.push((NOT_IN_SHARD, NOT_IN_SHARD));
            } else if offset.checked_add(length).is_some_and(|end| end <= begin) {
                index.push((offset, length));
            } else {
                return Err(damaged("its index points past its chunks"));
            }
        }
        Ok(Some(OldShard { n_bytes: stored.length, index, has_others }))
    }

    /// Puts `more` behind what the object `key` was.
    ///
    /// # Errors
    /// If it is not what was written, or the new object cannot be written.
    pub fn put(&self, key: &str, old: &Stored, more: &[u8]) -> Result<(Stored, Tag), EngineError> {
        let damaged = |reason: &str| EngineError::Damaged { key: key.to_owned(), reason: reason.to_owned() };
        let file = self.folder.open(key)?.ok_or_else(|| damaged("it is missing"))?;
        let _turn = self.folder.path().is_none().then(|| self.copying.lock().unwrap_or_else(PoisonError::into_inner));
        let mut staged = self.folder.stage(key, old.length.saturating_add(more.len() as u64))?;
        let mut hasher = blake3::Hasher::new();
        let mut block = Vec::new();
        let mut done = 0;
        while done < old.length {
            let n_bytes = (old.length - done).min(BLOCK_BYTES);
            match file.read(done, n_bytes, &mut block) {
                Err(StoreError::Short { .. }) => return Err(damaged("it is cut short")),
                read => read?,
            }
            hasher.update(&block);
            staged.write(&block)?;
            done += n_bytes;
        }
        if hasher.finalize().to_hex().as_str() != old.blake3 {
            return Err(damaged("its bytes are others"));
        }
        hasher.update(more);
        staged.write(more)?;
        let tag = staged.publish()?;
        let now = Stored { length: old.length + more.len() as u64, blake3: hasher.finalize().to_hex().to_string() };
        Ok((now, tag))
    }
}

#[cfg(test)]
mod tests {
    use frazil_model::{
        attribute::Attributes,
        codec::CodecChain,
        dtype::DataType,
        recipe::write::ZarrFormat,
        zarr::{ChunkKeys, Separator, Shards},
    };

    use super::*;

    fn store() -> ZarrStore {
        let layout = ArrayLayout {
            path: "/v".into(),
            shape: vec![7],
            chunk_shape: vec![2],
            shards: Some(Shards::of(vec![8])),
            dtype: DataType::Bool,
            fill: Some(vec![0]),
            codecs: CodecChain::default(),
            dimensions: Vec::new(),
            attributes: Attributes::default(),
            keys: ChunkKeys::Default(Separator::Slash),
            calibration: None,
        };
        ZarrStore { format: ZarrFormat::V3, groups: Vec::new(), arrays: vec![layout] }
    }

    /// A shard of `chunks`, with its index.
    fn shard(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut bytes, mut index) = (Vec::new(), Vec::new());
        for number in 0..4 {
            let entry = match chunks.get(number) {
                Some(chunk) => (bytes.len() as u64, chunk.len() as u64),
                None => (NOT_IN_SHARD, NOT_IN_SHARD),
            };
            index.extend([entry.0.to_le_bytes(), entry.1.to_le_bytes()].concat());
            bytes.extend(chunks.get(number).copied().unwrap_or_default());
        }
        let checksum = crc32c::crc32c(&index).to_le_bytes();
        [bytes, index, checksum.to_vec()].concat()
    }

    #[test]
    fn a_shard_grows_behind_what_it_was_however_often_that_is_begun() {
        let root = std::env::temp_dir().join(format!("frazil-grow-{}", std::process::id()));
        let (folder, store, edges) = (
            Folder::new(root.clone()),
            store(),
            [Some(Edge { axis: 0, old_length: 5, changed: std::iter::once(5..7).collect() })],
        );
        let old = shard(&[b"ab", b"cd", b"e"]);
        folder.put("v/c/0", &old).unwrap();
        let stored = Stored::of(&old);
        folder.put(INVENTORY, format!("v/c/0\t{}\t{}\n", stored.length, stored.blake3).as_bytes()).unwrap();
        let grown = Grown::of(&folder, &store, &edges).unwrap().unwrap();
        let gone = (NOT_IN_SHARD, NOT_IN_SHARD);
        let expected =
            OldShard { n_bytes: old.len() as u64, index: vec![(0, 2), (2, 2), gone, gone], has_others: true };
        for more in [&b"efg and an index"[..], b"others"] {
            assert_eq!(grown.old(0, &[0]).unwrap().as_ref(), Some(&expected));
            let (now, _) = grown.put("v/c/0", &stored, more).unwrap();
            let whole = [&old, more].concat();
            assert_eq!((folder.get("v/c/0").unwrap(), now), (Some(whole.clone()), Stored::of(&whole)));
        }
        assert_eq!(grown.old(0, &[1]).unwrap(), None, "it begins where nothing was");
        let mut spoiled = old.clone();
        spoiled[1] ^= 1;
        folder.put("v/c/0", &spoiled).unwrap();
        assert!(matches!(grown.put("v/c/0", &stored, b""), Err(EngineError::Damaged { .. })));
        assert_eq!(folder.get("v/c/0").unwrap(), Some(spoiled));
        folder.put("v/c/0", &old[..old.len() - 1]).unwrap();
        assert!(matches!(grown.old(0, &[0]), Err(EngineError::Damaged { .. })));
        frazil_store::folder::remove_tree(&root).unwrap();
    }
}
