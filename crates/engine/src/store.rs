//! Reading a Zarr store, wherever it lies: what it holds, and its values box by box.
//!
//! An object that is not there holds the fill value, as Zarr has it; whether it should be there, the receipt knows.
//! It promises that no document leads outside the folder.

pub(crate) mod documents;

use std::sync::Arc;

use frazil_formats::{
    FormatError,
    codecs::{ChunkForm, Codecs},
    zarr::ZarrDataset,
};
use frazil_model::{
    dataset::{Dataset, Variable},
    manifest::ChunkReferences,
    region::{Region, cells_touching, coordinates_of, count, number_of},
    zarr::{ArrayLayout, IndexChecksum, IndexPlace, Shards},
};
use frazil_store::{
    StoreError,
    folder::{Opened, Shelf},
};

use crate::{
    boxes::{Boxes, ChunkCopy, put_fill},
    error::EngineError,
    referred::{ReferredFiles, ReferredReader},
};

/// Objects of one array that are counted.
const MAX_OBJECTS: u64 = 20_000_000;

/// Bytes of an entry in the index of a shard: offset and length.
const INDEX_ENTRY_BYTES: u64 = 16;

/// What an index says of a chunk that was never written.
const UNWRITTEN: u64 = u64::MAX;

/// What holds the objects of a store.
#[derive(Debug, Clone)]
pub enum Holder {
    /// A place that has each by its key.
    Shelf(Shelf),
    /// Other files, where a document says.
    Files(Arc<ReferredFiles>),
}

/// A Zarr store.
pub struct StoreBoxes {
    root: Holder,
    referred: ReferredReader,
    name: String,
    zarr: Arc<ZarrDataset>,
    /// Whether one document describes all of it.
    pub consolidated: Consolidated,
    codecs: Codecs,
    stored: Vec<u8>,
    chunk_limit_bytes: u64,
    shard: Option<OpenShard>,
    /// Chunks that were wanted and are not there, by number of the array.
    absent: Vec<(usize, u64)>,
}

/// Whether one document describes a whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Consolidated {
    Yes,
    No,
}

/// The shard that was read last.
struct OpenShard {
    key: String,
    /// `None`: it is not there.
    found: Option<(Opened, Vec<(u64, u64)>)>,
}

/// Objects of an array and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Objects {
    /// How many are there.
    pub n_objects: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

impl StoreBoxes {
    /// Opens the store at `root`, called `name` in messages. A chunk of more than `chunk_limit_bytes` is refused.
    ///
    /// # Errors
    /// If its metadata cannot be read.
    pub fn open(root: &Shelf, name: &str, chunk_limit_bytes: u64) -> Result<Self, EngineError> {
        let found = documents::read(root, name)?;
        let zarr = Arc::new(found.zarr);
        Ok(Self {
            consolidated: found.consolidated,
            ..Self::of(Holder::Shelf(found.root), zarr, name, chunk_limit_bytes)
        })
    }

    /// The store at `root` whose documents were read.
    #[must_use]
    pub fn of(root: Holder, zarr: Arc<ZarrDataset>, name: &str, chunk_limit_bytes: u64) -> Self {
        Self {
            root,
            referred: ReferredReader::default(),
            name: name.to_owned(),
            zarr,
            consolidated: Consolidated::Yes,
            codecs: Codecs::new(),
            stored: Vec::new(),
            chunk_limit_bytes,
            shard: None,
            absent: Vec::new(),
        }
    }

    /// Puts the stored bytes of chunk `chunk` of a variable into `into`. `false`: it was never written.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn stored_chunk(&mut self, number: usize, chunk: u64, into: &mut Vec<u8>) -> Result<bool, EngineError> {
        let zarr = Arc::clone(&self.zarr);
        let Some((variable, layout)) = zarr.dataset.variables.get(number).zip(zarr.layouts.get(number)) else {
            return Err(self.unreadable(number, "there is no such variable"));
        };
        std::mem::swap(&mut self.stored, into);
        let fetched = self.fetch(number, layout, &coordinates_of(chunk, &variable.grid()));
        std::mem::swap(&mut self.stored, into);
        fetched
    }

    /// The chunks that were wanted since the last question and are not there, by number of the array.
    pub fn take_absent(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.absent)
    }

    /// How each array is laid out, in the order of the variables.
    #[must_use]
    pub fn layouts(&self) -> &[ArrayLayout] {
        &self.zarr.layouts
    }

    /// The objects of an array that are there.
    ///
    /// # Errors
    /// If a server does not list them.
    pub fn objects(&self, variable: usize) -> Result<Objects, EngineError> {
        let mut found = Objects::default();
        let Some(layout) = self.zarr.layouts.get(variable) else { return Ok(found) };
        let folder = layout.path.trim_start_matches('/');
        let root = match &self.root {
            Holder::Shelf(root) => root,
            Holder::Files(files) => {
                let Some(table) = files.table(variable) else { return Ok(found) };
                let lengths = table.length.iter().filter(|length| **length != ChunkReferences::TO_THE_END);
                let size_bytes = lengths.fold(0, |sum: u64, length| sum.saturating_add(*length));
                return Ok(Objects { n_objects: table.len() as u64, size_bytes });
            }
        };
        root.each_object(folder, &mut |key, about| {
            if !is_document(key.rsplit('/').next().unwrap_or(key)) && found.n_objects < MAX_OBJECTS {
                found.n_objects += 1;
                found.size_bytes = found.size_bytes.saturating_add(about.size_bytes);
            }
        })?;
        Ok(found)
    }

    fn key(&self, layout: &ArrayLayout, chunk: &str) -> String {
        match layout.path.trim_start_matches('/') {
            "" => chunk.to_owned(),
            folder => format!("{folder}/{chunk}"),
        }
    }

    fn unreadable(&self, variable: usize, reason: impl Into<String>) -> EngineError {
        let path = self.zarr.dataset.variables.get(variable).map(|variable| variable.path.clone());
        EngineError::Unreadable { file: self.name.clone(), variable: path.unwrap_or_default(), reason: reason.into() }
    }

    fn bad_chunk(&self, variable: &Variable, chunk: u64, source: FormatError) -> EngineError {
        EngineError::Chunk { file: self.name.clone(), variable: variable.path.clone(), chunk, source }
    }

    /// Puts the stored bytes of the chunk at `at` into `self.stored`. `false`: it was never written.
    fn fetch(&mut self, number: usize, layout: &ArrayLayout, at: &[u64]) -> Result<bool, EngineError> {
        let limit_bytes = self.chunk_limit_bytes.saturating_mul(2);
        let root = match &self.root {
            Holder::Shelf(root) => root.clone(),
            Holder::Files(files) => {
                let chunk = number_of(at, &layout.object_grid());
                let is_there = self.referred.read(files, number, chunk, limit_bytes, &mut self.stored)?;
                // The last piece of an array that lies in one ends where the array ends.
                if let Some(about) = self.zarr.dataset.variables.get(number).filter(|about| !about.is_chunked) {
                    let n_bytes =
                        count(&about.chunk_shape).saturating_mul(about.dtype.size_bytes().unwrap_or(1).into());
                    let n_bytes = usize::try_from(n_bytes.min(limit_bytes)).unwrap_or(0);
                    self.stored.resize(self.stored.len().max(n_bytes), 0);
                }
                return Ok(is_there);
            }
        };
        let Some(shards) = &layout.shards else {
            let key = self.key(layout, &layout.chunk_key(at));
            if root.path().is_none() {
                let stored = match root.get_within(&key, limit_bytes) {
                    Err(StoreError::TooLarge { limit_bytes, .. }) => {
                        let reason =
                            format!("one chunk of it takes more than {limit_bytes} bytes; give more with `--memory`");
                        return Err(self.unreadable(number, reason));
                    }
                    stored => stored?,
                };
                let is_there = stored.is_some();
                self.stored = stored.unwrap_or_default();
                return Ok(is_there);
            }
            let Some(opened) = root.open(&key)? else { return Ok(false) };
            self.check_stored(number, opened.length())?;
            opened.read(0, opened.length(), &mut self.stored)?;
            return Ok(true);
        };
        let per_shard: Vec<u64> =
            shards.shape.iter().zip(&layout.chunk_shape).map(|(shard, chunk)| shard / (*chunk).max(1)).collect();
        let shard_at: Vec<u64> = at.iter().zip(&per_shard).map(|(at, n)| at / (*n).max(1)).collect();
        let inside: Vec<u64> = at.iter().zip(&per_shard).map(|(at, n)| at % (*n).max(1)).collect();
        let key = self.key(layout, &layout.chunk_key(&shard_at));
        self.open_shard(&root, number, &key, shards, count(&per_shard))?;
        let entry = usize::try_from(number_of(&inside, &per_shard)).unwrap_or(usize::MAX);
        let Some((file, index)) = self.shard.as_ref().and_then(|shard| shard.found.as_ref()) else { return Ok(false) };
        let Some((offset, n_bytes)) = index.get(entry).copied() else { return Ok(false) };
        if (offset, n_bytes) == (UNWRITTEN, UNWRITTEN) {
            return Ok(false);
        }
        if offset.checked_add(n_bytes).is_none_or(|end| end > file.length()) {
            return Err(self.unreadable(number, format!("a shard points past its end: {key}")));
        }
        self.check_stored(number, n_bytes)?;
        file.read(offset, n_bytes, &mut self.stored)?;
        Ok(true)
    }

    fn check_stored(&self, number: usize, n_bytes: u64) -> Result<(), EngineError> {
        if n_bytes > self.chunk_limit_bytes.saturating_mul(2) {
            let reason = format!("one chunk of it takes {n_bytes} bytes; give more with `--memory`");
            return Err(self.unreadable(number, reason));
        }
        Ok(())
    }

    /// Reads the index of the shard `key`, unless it is the one that is open.
    fn open_shard(
        &mut self,
        root: &Shelf,
        number: usize,
        key: &str,
        shards: &Shards,
        n_chunks: u64,
    ) -> Result<(), EngineError> {
        if self.shard.as_ref().is_some_and(|shard| shard.key == key) {
            return Ok(());
        }
        let found = match root.open(key)? {
            None => None,
            Some(file) => {
                let checksum_bytes = if shards.index_checksum == IndexChecksum::Crc32c { 4 } else { 0 };
                let index_bytes = n_chunks.saturating_mul(INDEX_ENTRY_BYTES).saturating_add(checksum_bytes);
                if index_bytes > file.length() {
                    return Err(self.unreadable(number, format!("a shard is cut short: {key}")));
                }
                let at = if shards.index_place == IndexPlace::Start { 0 } else { file.length() - index_bytes };
                let mut bytes = Vec::new();
                file.read(at, index_bytes, &mut bytes)?;
                let table = bytes.len() - usize::try_from(checksum_bytes).unwrap_or(0);
                if checksum_bytes > 0 && bytes[table..] != crc32c::crc32c(&bytes[..table]).to_le_bytes() {
                    return Err(self.unreadable(number, format!("the index of a shard is damaged: {key}")));
                }
                let number = |cell: &[u8]| cell.try_into().map(u64::from_le_bytes).unwrap_or(UNWRITTEN);
                let entries = bytes[..table].chunks_exact(16).map(|cell| (number(&cell[..8]), number(&cell[8..])));
                Some((file, entries.collect()))
            }
        };
        self.shard = Some(OpenShard { key: key.to_owned(), found });
        Ok(())
    }
}

impl Boxes for StoreBoxes {
    fn dataset(&self) -> &Dataset {
        &self.zarr.dataset
    }

    fn read(&mut self, number: usize, region: &Region, into: &mut [u8]) -> Result<(), EngineError> {
        let Some(variable) = self.zarr.dataset.variables.get(number).cloned() else {
            return Err(self.unreadable(number, "there is no such variable"));
        };
        let layout = self.zarr.layouts[number].clone();
        let Some(element_bytes) = variable.dtype.size_bytes() else {
            return Err(self.unreadable(number, format!("{} has no elements of fixed size", variable.dtype)));
        };
        let element_bytes = element_bytes as usize;
        if into.is_empty() {
            return Ok(());
        }
        put_fill(&variable, element_bytes, into);
        let chunk_bytes = count(&variable.chunk_shape).saturating_mul(element_bytes as u64);
        let decoded_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX);
        let form = ChunkForm { chain: &variable.codecs, swap_bytes: variable.dtype.swap_bytes(), decoded_bytes };
        let grid = variable.grid();
        for at in cells_touching(region, &variable.chunk_shape) {
            let index = number_of(&at, &grid);
            if !self.fetch(number, &layout, &at)? {
                self.absent.push((number, index));
                continue;
            }
            // Of a chunk that was never written nothing need be held, however large it would be.
            if chunk_bytes > self.chunk_limit_bytes {
                let reason = format!("one chunk of it decodes to {chunk_bytes} bytes; give more with `--memory`");
                return Err(self.unreadable(number, reason));
            }
            let Some(copy) = ChunkCopy::of(&variable, index, region) else { continue };
            match self.codecs.decode(&form, &self.stored, 0) {
                Ok(elements) => copy.run(elements, into, element_bytes),
                Err(error) => return Err(self.bad_chunk(&variable, index, error)),
            }
        }
        Ok(())
    }

    fn texts(&mut self, number: usize, region: &Region) -> Result<Vec<Option<String>>, EngineError> {
        let Some(variable) = self.zarr.dataset.variables.get(number).cloned() else {
            return Err(self.unreadable(number, "there is no such variable"));
        };
        let layout = self.zarr.layouts[number].clone();
        let n_texts = usize::try_from(region.n_elements()).unwrap_or(usize::MAX);
        let mut all: Vec<Option<String>> = vec![None; n_texts];
        let most_bytes = usize::try_from(self.chunk_limit_bytes).unwrap_or(usize::MAX);
        let (grid, n_in_chunk) = (variable.grid(), count(&variable.chunk_shape));
        for at in cells_touching(region, &variable.chunk_shape) {
            let index = number_of(&at, &grid);
            if !self.fetch(number, &layout, &at)? {
                self.absent.push((number, index));
                continue;
            }
            let texts = self.codecs.decode_at_most(&variable.codecs, &self.stored, most_bytes);
            let texts = match texts.and_then(|bytes| listed_texts(bytes, n_in_chunk)) {
                Ok(texts) => texts,
                Err(error) => return Err(self.bad_chunk(&variable, index, error)),
            };
            let chunk = Region::of_cell(&at, &variable.chunk_shape, &variable.shape);
            let Some(shared) = chunk.intersect(region) else { continue };
            for element in 0..shared.n_elements() {
                let place = coordinates_of(element, &shared.shape);
                let within = |origin: &[u64], shape: &[u64]| {
                    let from: Vec<u64> = place
                        .iter()
                        .zip(&shared.start)
                        .zip(origin)
                        .map(|((at, start), origin)| at + start - origin)
                        .collect();
                    usize::try_from(number_of(&from, shape)).unwrap_or(usize::MAX)
                };
                let text = texts.get(within(&chunk.start, &variable.chunk_shape)).cloned();
                if let (Some(text), Some(target)) = (text, all.get_mut(within(&region.start, &region.shape))) {
                    *target = Some(text);
                }
            }
        }
        Ok(all)
    }
}

/// The texts of a chunk as `vlen-utf8` lays them out: a count, then each with its length in bytes.
fn listed_texts(bytes: &[u8], n_expected: u64) -> Result<Vec<String>, FormatError> {
    let bad = |reason: &str| FormatError::Chunk { codec: "vlen-utf8".into(), reason: reason.into() };
    let short = || bad("it is cut short");
    let number = |at: usize| -> Result<u32, FormatError> {
        let cell = bytes.get(at..at.saturating_add(4)).ok_or_else(short)?;
        cell.try_into().map(u32::from_le_bytes).map_err(|_| short())
    };
    let n_texts = number(0)?;
    if u64::from(n_texts) != n_expected {
        return Err(bad("it holds another number of texts than its shape"));
    }
    let mut at = 4;
    let mut texts = Vec::new();
    for _ in 0..n_texts {
        let n_bytes = number(at)? as usize;
        at += 4;
        let text = bytes.get(at..at.saturating_add(n_bytes)).ok_or_else(short)?;
        texts.push(std::str::from_utf8(text).map_err(|_| bad("a text is not UTF-8"))?.to_owned());
        at += n_bytes;
    }
    Ok(texts)
}

/// Whether a name is of a document and not of a chunk.
pub(crate) fn is_document(name: &str) -> bool {
    name == "zarr.json" || name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_listed_with_their_lengths() {
        let bytes = [&2_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), b"a", &0_u32.to_le_bytes()].concat();
        assert_eq!(listed_texts(&bytes, 2).unwrap(), ["a", ""]);
        assert!(listed_texts(&bytes, 3).is_err());
        assert!(listed_texts(&bytes[..6], 2).is_err());
    }
}
