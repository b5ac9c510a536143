//! A source file: what it holds, and its chunks, element by element.
//!
//! It promises that elements are those of the file or an error that names file, variable and chunk. Each worker
//! thread has a `ChunkReader` of its own; nothing here is locked.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use frazil_formats::{
    Decoded, FormatError,
    codecs::{ChunkForm, Codecs, Loose},
};
use frazil_model::{
    codec::{ByteOrder, Codec, CodecChain},
    combine::{derived::Derived, view::Values},
    dataset::Variable,
    location::Location,
    manifest::{ChunkPlace, ChunkTable},
    range::ByteRange,
    region::{Region, coordinates_of, count},
};
use frazil_store::read::{Fingerprint, Reader};

use crate::{
    blocks::Blocks,
    boxes::{Boxes, FileBoxes},
    error::EngineError,
    others::OtherFile,
    store_source::{StorePlace, StoreReader},
};

/// Most decoded bytes of a chunk of another file; the plan has counted with it.
const MOST_OTHER_CHUNK_BYTES: u64 = 2 << 30;

/// A file that was scanned.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub location: Location,
    /// How it is named in messages and in the receipt.
    pub name: String,
    /// Its state when it was scanned.
    pub fingerprint: Fingerprint,
    /// What it holds.
    pub decoded: Arc<Decoded>,
    /// Values of its small variables, by the variable's number.
    pub values: HashMap<usize, Arc<Values>>,
    /// Variables that the steps of a recipe made of it, numbered behind its own.
    pub derived: Vec<Derived>,
    /// The Zarr store that this is, if it is one.
    pub store: Option<Arc<StorePlace>>,
    /// Files that this one names as places of its values.
    pub others: Arc<Vec<OtherFile>>,
}

/// Where the bytes of one chunk come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkAt {
    /// A range of the file.
    File(ChunkPlace),
    /// The metadata itself.
    Inline,
    /// An object of a Zarr store.
    Object,
    /// Other files, or variables of them.
    Elsewhere,
    /// Nowhere: it was never written and holds the fill value.
    Unwritten,
}

impl Source {
    /// The variable of number `variable`.
    #[must_use]
    pub fn variable(&self, variable: usize) -> &Variable {
        match self.derived(variable) {
            Some(derived) => &derived.variable,
            None => &self.decoded.dataset.variables[variable],
        }
    }

    /// The derived variable of number `variable`; `None` for those of the file.
    #[must_use]
    pub fn derived(&self, variable: usize) -> Option<&Derived> {
        self.derived.get(variable.checked_sub(self.decoded.dataset.variables.len())?)
    }

    /// Where chunk `chunk` of `variable` is.
    ///
    /// # Errors
    /// [`EngineError::Unreadable`] if the file does not say.
    pub fn chunk(&self, variable: usize, chunk: u64) -> Result<ChunkAt, EngineError> {
        if let (Some(store), None) = (&self.store, self.derived(variable)) {
            return store.chunk(self, variable, chunk);
        }
        match self.decoded.manifest.tables.get(variable) {
            Some(ChunkTable::Ranges(ranges)) => Ok(ranges.find(chunk).map_or(ChunkAt::Unwritten, ChunkAt::File)),
            Some(ChunkTable::Inline(_)) => Ok(ChunkAt::Inline),
            Some(ChunkTable::External(_) | ChunkTable::Virtual(_) | ChunkTable::Referred(_)) => Ok(ChunkAt::Elsewhere),
            None if self.derived(variable).is_some() => Ok(ChunkAt::Inline),
            None => Err(self.unreadable(variable, "the file does not say where its values are")),
        }
    }

    /// The error for a chunk that cannot be decoded.
    #[must_use]
    pub fn bad_chunk(&self, variable: usize, chunk: u64, source: frazil_formats::FormatError) -> EngineError {
        EngineError::Chunk { file: self.name.clone(), variable: self.variable(variable).path.clone(), chunk, source }
    }

    /// The error for a variable that cannot be read.
    #[must_use]
    pub fn unreadable(&self, variable: usize, reason: &str) -> EngineError {
        self.unreadable_as(&self.variable(variable).path, reason)
    }

    /// The error for something of the file that cannot be read.
    #[must_use]
    pub fn unreadable_as(&self, path: &str, reason: &str) -> EngineError {
        EngineError::Unreadable { file: self.name.clone(), variable: path.to_owned(), reason: reason.to_owned() }
    }
}

/// The form of chunk `chunk` from that of a full one: the last piece of an uncompressed variable ends where the variable
/// ends.
pub(crate) fn cut_form<'a>(full: ChunkForm<'a>, variable: &Variable, chunk: u64) -> ChunkForm<'a> {
    if variable.is_chunked || !variable.codecs.steps.is_empty() {
        return full;
    }
    let piece = Region::of_cell(&coordinates_of(chunk, &variable.grid()), &variable.chunk_shape, &variable.shape);
    let n_elements = count(&variable.chunk_shape).max(1);
    let element_bytes = full.decoded_bytes as u64 / n_elements;
    match usize::try_from(piece.n_elements().saturating_mul(element_bytes)) {
        Ok(n_bytes) if n_bytes < full.decoded_bytes => ChunkForm { decoded_bytes: n_bytes, ..full },
        _ => full,
    }
}

/// Reads and decodes chunks, reusing its buffers. One a thread.
pub struct ChunkReader {
    codecs: Codecs,
    stored: Vec<u8>,
    /// Elements of the last chunk of a derived variable.
    made: Vec<u8>,
    open: Option<(Location, Blocks)>,
    objects: StoreReader,
    /// The file whose values lie elsewhere that was read last.
    elsewhere: Option<Box<FileBoxes>>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self {
            codecs: Codecs::new(),
            stored: Vec::new(),
            made: Vec::new(),
            open: None,
            objects: StoreReader::default(),
            elsewhere: None,
        }
    }
}

impl ChunkReader {
    /// One that begins with the file at `location`, of which a part is held.
    pub(crate) fn with(location: &Location, blocks: Blocks) -> Self {
        Self { open: Some((location.clone(), blocks)), ..Self::default() }
    }

    /// The file that is open now.
    pub(crate) fn blocks(&mut self) -> Option<&mut Blocks> {
        self.open.as_mut().map(|(_, blocks)| blocks)
    }

    /// The stored bytes of a chunk.
    ///
    /// # Errors
    /// If the file cannot be read or is shorter than it was.
    pub fn stored(&mut self, source: &Source, place: ChunkPlace) -> Result<&[u8], EngineError> {
        self.fetch(source, place)?;
        Ok(&self.stored)
    }

    /// The stored bytes of a chunk, decoded once to see that they are whole. How the elements are shuffled does not
    /// matter for that.
    ///
    /// # Errors
    /// If the chunk cannot be read or decoded.
    pub fn checked(
        &mut self,
        source: &Source,
        variable: usize,
        chunk: u64,
        place: ChunkPlace,
    ) -> Result<&[u8], EngineError> {
        let about = source.variable(variable);
        let steps = &about.codecs.steps;
        let n_moves = steps.iter().take_while(|step| matches!(step, Codec::Shuffle { .. })).count();
        let chain = CodecChain { byte_order: ByteOrder::Little, steps: steps[n_moves..].to_vec() };
        let decoded_bytes = count(&about.chunk_shape).saturating_mul(about.dtype.size_bytes().unwrap_or(1).into());
        let decoded_bytes = usize::try_from(decoded_bytes).unwrap_or(usize::MAX);
        let form = ChunkForm { chain: &chain, swap_bytes: 1, decoded_bytes };
        self.fetch(source, place)?;
        self.codecs.decode(&form, &self.stored, place.skipped_steps >> n_moves).map_err(|error| {
            EngineError::Chunk { file: source.name.clone(), variable: about.path.clone(), chunk, source: error }
        })?;
        Ok(&self.stored)
    }

    fn fetch(&mut self, source: &Source, place: ChunkPlace) -> Result<(), EngineError> {
        let is_open = self.open.as_ref().is_some_and(|(location, _)| *location == source.location);
        if !is_open {
            let reader = Reader::open_as(&source.location, &source.fingerprint)?;
            self.open = Some((source.location.clone(), Blocks::new(reader, Bytes::new())));
        }
        match (&self.open, ByteRange::new(place.offset, place.length)) {
            (Some((_, blocks)), Some(range)) => blocks.read_into(range, &mut self.stored)?,
            _ => self.stored.clear(),
        }
        Ok(())
    }

    /// The elements of a chunk, little-endian, of the full chunk shape; `None` if it was never written. `seen` gets
    /// the stored bytes.
    ///
    /// # Errors
    /// If the chunk cannot be read or decoded.
    pub fn elements<'a>(
        &'a mut self,
        source: &'a Source,
        variable: usize,
        chunk: u64,
        seen: &mut dyn FnMut(ChunkPlace, &[u8]),
    ) -> Result<Option<&'a [u8]>, EngineError> {
        if let Some(derived) = source.derived(variable) {
            self.made = crate::derived::elements(self, source, derived, chunk, seen)?;
            return Ok(Some(&self.made));
        }
        if source.lies_elsewhere(variable) {
            self.read_elsewhere(source, variable, chunk, seen)?;
            return Ok(Some(&self.made));
        }
        self.decoded(source, variable, chunk, seen, Codecs::decode)
    }

    /// As [`Self::elements`], with the last step of decoding left to whoever copies them.
    ///
    /// # Errors
    /// As for [`Self::elements`].
    pub fn loose_elements<'a>(
        &'a mut self,
        source: &'a Source,
        variable: usize,
        chunk: u64,
        seen: &mut dyn FnMut(ChunkPlace, &[u8]),
    ) -> Result<Option<Loose<'a>>, EngineError> {
        if source.derived(variable).is_some() || source.lies_elsewhere(variable) {
            return Ok(self.elements(source, variable, chunk, seen)?.map(Loose::Elements));
        }
        self.decoded(source, variable, chunk, seen, Codecs::decode_loosely)
    }

    /// Reads a chunk of a variable whose values lie elsewhere; `seen` gets its elements, since there are no stored
    /// bytes of this file.
    fn read_elsewhere(
        &mut self,
        source: &Source,
        variable: usize,
        chunk: u64,
        seen: &mut dyn FnMut(ChunkPlace, &[u8]),
    ) -> Result<(), EngineError> {
        let is_open =
            self.elsewhere.as_ref().is_some_and(|boxes| Arc::ptr_eq(&boxes.source().decoded, &source.decoded));
        let mut boxes = match self.elsewhere.take().filter(|_| is_open) {
            Some(boxes) => boxes,
            None => Box::new(FileBoxes::new(source.clone(), MOST_OTHER_CHUNK_BYTES)),
        };
        let about = source.variable(variable);
        let element_bytes = about.dtype.size_bytes().unwrap_or(1);
        let region = Region::of_cell(&coordinates_of(chunk, &about.grid()), &about.chunk_shape, &about.shape);
        let n_bytes = region.n_elements().saturating_mul(element_bytes.into());
        let mut held = vec![0; usize::try_from(n_bytes).unwrap_or(0)];
        boxes.read(variable, &region, &mut held)?;
        seen(ChunkPlace { offset: chunk, length: n_bytes, skipped_steps: 0 }, &held);
        self.made = crate::derived::padded(held, &region.shape, &about.chunk_shape, element_bytes as usize);
        self.elsewhere = Some(boxes);
        Ok(())
    }

    fn decoded<'a, T>(
        &'a mut self,
        source: &'a Source,
        variable: usize,
        chunk: u64,
        seen: &mut dyn FnMut(ChunkPlace, &[u8]),
        decode: impl Fn(&'a mut Codecs, &ChunkForm<'_>, &'a [u8], u32) -> Result<T, FormatError>,
    ) -> Result<Option<T>, EngineError> {
        let about = source.variable(variable);
        let Some(element_bytes) = about.dtype.size_bytes() else {
            return Err(source.unreadable(variable, &format!("{} has no elements of fixed size", about.dtype)));
        };
        let decoded_bytes = count(&about.chunk_shape).saturating_mul(element_bytes.into());
        let decoded_bytes = usize::try_from(decoded_bytes)
            .map_err(|_| source.unreadable(variable, "one chunk of it is larger than memory"))?;
        let form = ChunkForm { chain: &about.codecs, swap_bytes: about.dtype.swap_bytes(), decoded_bytes };
        let failed = |error| EngineError::Chunk {
            file: source.name.clone(),
            variable: about.path.clone(),
            chunk,
            source: error,
        };
        match source.chunk(variable, chunk)? {
            ChunkAt::Unwritten | ChunkAt::Elsewhere => Ok(None),
            ChunkAt::Object => {
                if !self.objects.fetch(source, variable, chunk, &mut self.stored)? {
                    return Ok(None);
                }
                // The number of the chunk tells it from others of the store, wherever its bytes lie.
                let length = self.stored.len() as u64;
                seen(ChunkPlace { offset: chunk, length, skipped_steps: 0 }, &self.stored);
                decode(&mut self.codecs, &form, &self.stored, 0).map(Some).map_err(failed)
            }
            ChunkAt::Inline => {
                let Some(ChunkTable::Inline(bytes)) = source.decoded.manifest.tables.get(variable) else {
                    return Ok(None);
                };
                decode(&mut self.codecs, &form, bytes, 0).map(Some).map_err(failed)
            }
            ChunkAt::File(place) => {
                self.fetch(source, place)?;
                seen(place, &self.stored);
                let form = cut_form(form, about, chunk);
                decode(&mut self.codecs, &form, &self.stored, place.skipped_steps).map(Some).map_err(failed)
            }
        }
    }
}

impl Source {
    /// Whether it is the store that is extended, and no file that is read.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_extended())
    }

    /// Its state, with that of the arrays that were looked at.
    #[must_use]
    pub fn state(&self) -> Fingerprint {
        let mut fingerprint = self.fingerprint.clone();
        if let Some(store) = &self.store {
            fingerprint.state = format!("{} {}", fingerprint.state, store.state());
        }
        fingerprint
    }

    /// Whether the values of a variable are not in this file.
    #[must_use]
    pub fn lies_elsewhere(&self, variable: usize) -> bool {
        let table = self.decoded.manifest.tables.get(variable);
        self.store.is_none() && matches!(table, Some(ChunkTable::External(_) | ChunkTable::Virtual(_)))
    }

    /// The digest of what the file says about itself: structure, attributes, places of chunks, small values.
    #[must_use]
    pub fn structure(&self) -> String {
        let manifest = &self.decoded.manifest;
        let about =
            postcard::to_allocvec(&(&self.decoded.dataset, &manifest.tables, &manifest.hdf5)).unwrap_or_default();
        let mut numbers: Vec<usize> = self.values.keys().copied().collect();
        numbers.sort_unstable();
        let mut all = crate::identity::digest(&about);
        for number in numbers {
            all.push_str(&match self.values.get(&number).map(AsRef::as_ref) {
                Some(Values::Fixed(bytes)) => crate::identity::digest(bytes),
                Some(Values::Texts(texts)) => {
                    crate::identity::digest(&postcard::to_allocvec(texts).unwrap_or_default())
                }
                None => String::new(),
            });
        }
        if let Some(referred) = &manifest.referred {
            all.push_str(&crate::identity::digest(&postcard::to_allocvec(referred).unwrap_or_default()));
        }
        for other in self.others.iter() {
            all.push_str(&format!("{:?}", (&other.name, other.identity())));
        }
        crate::identity::digest(all.as_bytes())
    }
}
