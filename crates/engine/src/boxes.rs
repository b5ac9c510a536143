//! Boxes of values out of files, wherever the file says that they lie: chunks, other files, variables of other files.
//!
//! It promises little-endian elements in C order, exactly those that were stored, and no more memory than its limit
//! for any box. It is for looking and checking, one box after another; building has its own ways.

use std::collections::HashMap;

use frazil_formats::{
    SparseBytes, Stop,
    codecs::{ChunkForm, Codecs},
    hdf5,
};
use frazil_model::{
    dataset::{Dataset, Variable},
    dtype::DataType,
    manifest::{ChunkTable, ExternalPart, VirtualPart},
    region::{Region, coordinates_of, count, grid_of, number_of},
};
use frazil_store::read::Reader;

use crate::{
    elsewhere::{self, Other, Virtual},
    error::EngineError,
    source::{ChunkReader, Source, cut_form},
    strided::{self, Walk},
};

/// Bytes read at once while looking for texts.
const BLOCK_BYTES: u64 = 64 << 10;

/// Rounds of asking for more bytes of texts.
const MOST_ROUNDS: usize = 1000;

/// Bytes that are kept of a file's texts between two boxes.
const KEPT_TEXT_BYTES: u64 = 64 << 20;

/// Virtual variables of virtual variables of …
const MOST_STEPS_AWAY: usize = 8;

/// Other files that are kept open.
const MOST_OTHERS: usize = 64;

/// What has arrays whose boxes can be read.
pub trait Boxes {
    /// What is there.
    fn dataset(&self) -> &Dataset;

    /// Reads a box into `into`, which is as long as the box's elements. Not for texts of any length.
    ///
    /// # Errors
    /// If a chunk cannot be read or decoded, or needs more memory than the limit.
    fn read(&mut self, variable: usize, region: &Region, into: &mut [u8]) -> Result<(), EngineError>;

    /// Reads a box of texts of any length; `None` was never written.
    ///
    /// # Errors
    /// As for [`Self::read`].
    fn texts(&mut self, variable: usize, region: &Region) -> Result<Vec<Option<String>>, EngineError>;
}

/// The boxes of a file.
pub struct FileBoxes {
    source: Source,
    chunks: ChunkReader,
    codecs: Codecs,
    /// Most decoded bytes of one chunk.
    chunk_limit_bytes: u64,
    /// Bytes of texts that were read, with the open file.
    text_bytes: Option<(Reader, SparseBytes)>,
    others: HashMap<String, Other>,
    n_steps_away: usize,
}

impl FileBoxes {
    /// The boxes of `source`. A chunk of more than `chunk_limit_bytes` is refused.
    #[must_use]
    pub fn new(source: Source, chunk_limit_bytes: u64) -> Self {
        Self {
            source,
            chunks: ChunkReader::default(),
            codecs: Codecs::new(),
            chunk_limit_bytes,
            text_bytes: None,
            others: HashMap::new(),
            n_steps_away: 0,
        }
    }

    /// The file.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Reads a box of elements of `element_bytes`: of texts, that of their descriptors.
    fn read_raw(
        &mut self,
        number: usize,
        region: &Region,
        element_bytes: usize,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        let decoded = std::sync::Arc::clone(&self.source.decoded);
        let (Some(variable), Some(table)) =
            (decoded.dataset.variables.get(number), decoded.manifest.tables.get(number))
        else {
            return Err(self.source.unreadable(number, "the file does not say where its values are"));
        };
        if into.len() as u64 != region.n_elements().saturating_mul(element_bytes as u64) {
            return Err(self.source.unreadable(number, "a box of it has another size"));
        }
        if into.is_empty() {
            return Ok(());
        }
        put_fill(variable, element_bytes, into);
        match table {
            ChunkTable::Ranges(ranges) => {
                let (first, last) = chunk_span(variable, region);
                let from = ranges.index.partition_point(|index| index < first);
                let to = ranges.index.partition_point(|index| index <= last);
                for row in from..to {
                    let (Some(index), Some(place)) = (ranges.index.get(row), ranges.row(row)) else { continue };
                    let Some(copy) = ChunkCopy::of(variable, index, region) else { continue };
                    let form = cut_form(self.form(number, variable, element_bytes)?, variable, index);
                    let stored = self.chunks.stored(&self.source, place)?;
                    let elements = self.codecs.decode(&form, stored, place.skipped_steps);
                    let elements = elements.map_err(|error| self.source.bad_chunk(number, index, error))?;
                    copy.run(elements, into, element_bytes);
                }
                Ok(())
            }
            ChunkTable::Inline(bytes) => {
                let Some(copy) = ChunkCopy::of(variable, 0, region) else { return Ok(()) };
                let form = self.form(number, variable, element_bytes)?;
                let elements = self.codecs.decode(&form, bytes, 0);
                let elements = elements.map_err(|error| self.source.bad_chunk(number, 0, error))?;
                copy.run(elements, into, element_bytes);
                Ok(())
            }
            ChunkTable::External(parts) => self.external(number, parts, region, element_bytes, into),
            ChunkTable::Virtual(parts) => self.virtual_box(number, parts, region, element_bytes, into),
            ChunkTable::Referred(_) => Err(self.source.unreadable(number, "its values are read as those of a store")),
        }
    }

    /// The form of a full chunk, if it is within the limit.
    fn form<'v>(
        &self,
        number: usize,
        variable: &'v Variable,
        element_bytes: usize,
    ) -> Result<ChunkForm<'v>, EngineError> {
        let decoded_bytes = count(&variable.chunk_shape).saturating_mul(element_bytes as u64);
        if decoded_bytes > self.chunk_limit_bytes {
            let reason = format!(
                "one chunk of it decodes to {decoded_bytes} bytes, more than the limit of {}; give more with `--memory`",
                self.chunk_limit_bytes
            );
            return Err(self.source.unreadable(number, &reason));
        }
        let decoded_bytes = usize::try_from(decoded_bytes)
            .map_err(|_| self.source.unreadable(number, "one chunk of it is larger than memory"))?;
        Ok(ChunkForm { chain: &variable.codecs, swap_bytes: variable.dtype.swap_bytes(), decoded_bytes })
    }

    /// Values that lie one after another in other files.
    fn external(
        &mut self,
        number: usize,
        parts: &[ExternalPart],
        region: &Region,
        element_bytes: usize,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        let variable = self.source.variable(number).clone();
        for (first, range) in strided::runs(&variable.shape, region) {
            let bytes = range.start * element_bytes..range.end * element_bytes;
            let Some(run) = into.get_mut(bytes) else { continue };
            elsewhere::read_external(&self.source, number, parts, first * element_bytes as u64, run)?;
            let form = ChunkForm {
                chain: &variable.codecs,
                swap_bytes: variable.dtype.swap_bytes(),
                decoded_bytes: run.len(),
            };
            let elements = self.codecs.decode(&form, run, 0);
            let elements = elements.map_err(|error| self.source.bad_chunk(number, 0, error))?.to_vec();
            run.copy_from_slice(&elements);
        }
        Ok(())
    }

    /// Values that come from variables of other files.
    fn virtual_box(
        &mut self,
        number: usize,
        parts: &[VirtualPart],
        region: &Region,
        element_bytes: usize,
        into: &mut [u8],
    ) -> Result<(), EngineError> {
        if self.n_steps_away >= MOST_STEPS_AWAY {
            return Err(self.source.unreadable(number, "it is virtual, of a virtual variable, and so on without end"));
        }
        let dtype = self.source.variable(number).dtype.clone();
        for part in parts {
            let wanted = Virtual::within(part, region).map_err(|reason| self.source.unreadable(number, &reason))?;
            let Some(wanted) = wanted else { continue };
            if self.others.len() >= MOST_OTHERS && !self.others.contains_key(&part.file) {
                self.others.clear();
            }
            // Taken out while it is used: it may itself lead further.
            let other = self.others.remove(&part.file);
            let other = other.map_or_else(|| elsewhere::open_virtual(&self.source, number, &part.file), Ok)?;
            let Other::Open(mut boxes) = other else {
                self.others.insert(part.file.clone(), Other::Missing);
                continue;
            };
            boxes.n_steps_away = self.n_steps_away + 1;
            boxes.chunk_limit_bytes = self.chunk_limit_bytes;
            let done = elsewhere::gather(&mut boxes, part, &wanted, &dtype, element_bytes, into);
            self.others.insert(part.file.clone(), Other::Open(boxes));
            done.map_err(|reason| self.source.unreadable(number, &reason))?;
        }
        Ok(())
    }

    /// The bytes of texts, with a reader of the file.
    fn text_bytes(&mut self) -> Result<(Reader, SparseBytes), EngineError> {
        if let Some((reader, bytes)) = self.text_bytes.take()
            && bytes.held_bytes() <= KEPT_TEXT_BYTES
        {
            return Ok((reader, bytes));
        }
        let reader = Reader::open_as(&self.source.location, &self.source.fingerprint)?;
        let bytes = SparseBytes::new(reader.size_bytes());
        Ok((reader, bytes))
    }
}

impl Boxes for FileBoxes {
    fn dataset(&self) -> &Dataset {
        &self.source.decoded.dataset
    }

    fn read(&mut self, variable: usize, region: &Region, into: &mut [u8]) -> Result<(), EngineError> {
        let Some(element_bytes) = self.source.variable(variable).dtype.size_bytes() else {
            let reason = format!("{} has no elements of fixed size", self.source.variable(variable).dtype);
            return Err(self.source.unreadable(variable, &reason));
        };
        self.read_raw(variable, region, element_bytes as usize, into)
    }

    fn texts(&mut self, variable: usize, region: &Region) -> Result<Vec<Option<String>>, EngineError> {
        let decoded = std::sync::Arc::clone(&self.source.decoded);
        let Some(places) = &decoded.manifest.hdf5 else {
            return Err(self.source.unreadable(variable, "the file does not say where its texts are"));
        };
        if matches!(decoded.manifest.tables.get(variable), Some(ChunkTable::Virtual(_))) {
            return Err(self.source.unreadable(variable, "its texts lie in other files"));
        }
        let descriptor_bytes = 8 + usize::from(places.offset_bytes);
        let n_bytes = usize::try_from(region.n_elements().saturating_mul(descriptor_bytes as u64));
        let n_bytes = n_bytes.map_err(|_| self.source.unreadable(variable, "it is larger than memory"))?;
        let mut raw = vec![0; n_bytes];
        self.read_raw(variable, region, descriptor_bytes, &mut raw)?;
        let (reader, mut bytes) = self.text_bytes()?;
        for _ in 0..MOST_ROUNDS {
            match hdf5::strings(&raw, places, &bytes) {
                Ok(texts) => {
                    self.text_bytes = Some((reader, bytes));
                    return Ok(texts);
                }
                Err(Stop::Bad(error)) => return Err(self.source.unreadable(variable, &error.to_string())),
                Err(Stop::Need(wants)) => {
                    for range in bytes.missing(&wants, BLOCK_BYTES) {
                        bytes.insert(range.offset(), reader.read(range)?);
                    }
                }
            }
        }
        Err(self.source.unreadable(variable, "its texts need too many reads"))
    }
}

/// Fills a box with the value of what was never written.
pub(crate) fn put_fill(variable: &Variable, element_bytes: usize, into: &mut [u8]) {
    let fill = &variable.fill;
    if fill.len() != element_bytes || fill.iter().all(|byte| *byte == 0) || variable.dtype == DataType::String {
        into.fill(0);
        return;
    }
    for cell in into.chunks_mut(element_bytes) {
        cell.copy_from_slice(&fill[..cell.len()]);
    }
}

/// First and last chunk that can touch a box, by number.
pub(crate) fn chunk_span(variable: &Variable, region: &Region) -> (u64, u64) {
    let grid = variable.grid();
    let cell = |at: &dyn Fn(usize) -> u64| -> Vec<u64> {
        (0..grid.len()).map(|axis| at(axis) / variable.chunk_shape[axis].max(1)).collect()
    };
    let first = cell(&|axis| region.start[axis]);
    let last = cell(&|axis| region.end(axis).saturating_sub(1));
    (number_of(&first, &grid), number_of(&last, &grid))
}

/// How the part of a chunk that lies in a box gets there.
pub(crate) struct ChunkCopy {
    from: Walk,
    to: Walk,
    extents: Vec<usize>,
}

impl ChunkCopy {
    /// For chunk `index` of a variable; `None` if it does not touch the box.
    pub(crate) fn of(variable: &Variable, index: u64, region: &Region) -> Option<Self> {
        let grid = grid_of(&variable.shape, &variable.chunk_shape);
        let chunk = Region::of_cell(&coordinates_of(index, &grid), &variable.chunk_shape, &variable.shape);
        let shared = chunk.intersect(region)?;
        let walk = |origin: &[u64], shape: &[u64]| {
            let strides = strided::c_strides(shape);
            let offset = shared.start.iter().zip(origin).zip(&strides).fold(0, |offset, ((start, origin), stride)| {
                offset + usize::try_from(start - origin).unwrap_or(0) * stride.unsigned_abs()
            });
            Walk { offset, strides }
        };
        Some(Self {
            from: walk(&chunk.start, &variable.chunk_shape),
            to: walk(&region.start, &region.shape),
            extents: shared.shape.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect(),
        })
    }

    /// Copies.
    pub(crate) fn run(&self, chunk: &[u8], into: &mut [u8], element_bytes: usize) {
        strided::copy(chunk, &self.from, into, &self.to, &self.extents, element_bytes);
    }
}
