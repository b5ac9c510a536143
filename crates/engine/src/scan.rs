//! Finding out what files hold: metadata only, a few requests a file, all files at once.
//!
//! It promises that the metadata of a large file costs few and small reads, and that one bad file does not hide
//! what is wrong with the others.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use frazil_formats::{
    Decoded, FormatError, Progress, SparseBytes, Wants,
    hdf5::{self, Hdf5Decoder},
    netcdf3::{self, Netcdf3Decoder},
    references::{MAX_DOCUMENT_BYTES, looks_like_dmrpp, looks_like_json, read_dmrpp, read_json},
};
use frazil_model::{
    codec::CodecChain,
    combine::view::Values,
    dataset::{Role, Variable},
    dtype::DataType,
    location::Location,
    manifest::{ChunkPlace, ChunkRanges, ChunkTable},
    range::ByteRange,
    region::{self, Region, coordinates_of, count},
};
use frazil_store::{
    StoreError,
    read::{Fingerprint, Reader},
};

use crate::{
    blocks::{Blocks, HEAD_BYTES},
    error::EngineError,
    others::Survey,
    source::{ChunkReader, Source},
    store_source,
    strided::{self, Walk},
};

/// Bytes read around what is asked for later: nodes of an index lie far apart in a large file.
const LATER_BLOCK_BYTES: u64 = 8 << 10;

/// Bytes read around a text, which others lie beside.
const TEXT_BLOCK_BYTES: u64 = 64 << 10;

/// Rounds of asking for more bytes; a file that needs more is made to never end.
const MOST_ROUNDS: usize = 1000;

/// Variables up to this size are loaded while scanning, so that files can be compared.
const SMALL_VALUES_BYTES: u64 = 64 << 10;

/// Coordinates and times up to this size are loaded as well.
const COORDINATE_BYTES: u64 = 16 << 20;

/// Variables of texts are loaded up to this many elements.
const MOST_TEXTS: u64 = 4 << 20;

/// Stored bytes of values that are read along at once.
const MOST_AHEAD_BYTES: u64 = 8 << 20;

/// Decoded bytes of a piece of an uncompressed variable, which can be read in pieces of any size.
const PIECE_BYTES: u64 = 4 << 20;

/// Which values are loaded along with the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// None.
    Nothing,
    /// Coordinates and times.
    Labels,
    /// Those that combining needs.
    SmallValues,
}

/// Scans files on `n_threads` threads. The answers are in the order of `locations`.
pub fn scan_all(locations: &[(Location, String)], load: Load, n_threads: usize) -> Vec<Result<Source, EngineError>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((location, name)) = locations.get(number) else { return found };
            found.push((number, scan(location, name, load)));
        }
    };
    let mut all: Vec<(usize, Result<Source, EngineError>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads.clamp(1, locations.len().max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, found)| found).collect()
}

/// Scans one file.
///
/// # Errors
/// If it cannot be read or is of no known format.
pub fn scan(location: &Location, name: &str, load: Load) -> Result<Source, EngineError> {
    if store_source::is_store(location) {
        return store_source::scan(location, name, load);
    }
    let (reader, fingerprint, head) = Reader::begin(location, HEAD_BYTES)?;
    scan_begun(location, name, load, fingerprint, (reader, head), &mut Survey::default())
}

/// Scans one file whose present state is known.
///
/// # Errors
/// As for [`scan`].
pub(crate) fn scan_as(
    location: &Location,
    name: &str,
    load: Load,
    fingerprint: Fingerprint,
) -> Result<Source, EngineError> {
    scan_metadata(location, name, load, fingerprint, &mut Survey::default())
}

/// As [`scan_as`], for a file that another one names as well.
pub(crate) fn scan_metadata(
    location: &Location,
    name: &str,
    load: Load,
    fingerprint: Fingerprint,
    survey: &mut Survey,
) -> Result<Source, EngineError> {
    let reader = Reader::open_as(location, &fingerprint)?;
    let head = reader.head(HEAD_BYTES)?;
    scan_begun(location, name, load, fingerprint, (reader, head), survey)
}

/// Scans a file of which the beginning was read.
fn scan_begun(
    location: &Location,
    name: &str,
    load: Load,
    fingerprint: Fingerprint,
    (reader, head): (Reader, Bytes),
    survey: &mut Survey,
) -> Result<Source, EngineError> {
    let failed = |source| EngineError::Format { file: name.to_owned(), source };
    if looks_like_json(&head) {
        let described = document(&reader, head).and_then(|text| read_json(&text).map_err(failed))?;
        return store_source::of_references(location, name, load, fingerprint, described);
    }
    if looks_like_dmrpp(&head) {
        let read = |text: Bytes| read_dmrpp(&text, location.file_name()).map_err(failed);
        let described = document(&reader, head).and_then(read)?;
        return store_source::of_references(location, name, load, fingerprint, described);
    }
    let mut blocks = Blocks::new(reader, head.clone());
    let mut decoded = if netcdf3::looks_like_netcdf3(&head) {
        let mut decoder = Netcdf3Decoder::new();
        drive(&mut blocks, name, &mut |bytes| decoder.advance(bytes))?
    } else {
        let mut decoder = Hdf5Decoder::new();
        drive(&mut blocks, name, &mut |bytes| decoder.advance(bytes)).map_err(|error| not_hdf5(error, &head, name))?
    };
    split_plain(&mut decoded);
    let others = Arc::new(survey.settle(location, load, &mut decoded));
    let decoded = Arc::new(decoded);
    let mut source = Source {
        location: location.clone(),
        name: name.to_owned(),
        fingerprint,
        decoded,
        values: HashMap::new(),
        derived: Vec::new(),
        store: None,
        others,
    };
    load_values(&mut source, load, blocks).map_err(|error| match error {
        LoadError::Format(error) => failed(error),
        LoadError::Engine(error) => error,
    })?;
    Ok(source)
}

/// All of a document, of which the beginning was read. One that is too large is not read: whoever parses it says so.
fn document(reader: &Reader, head: Bytes) -> Result<Bytes, EngineError> {
    let size_bytes = reader.size_bytes();
    if size_bytes > MAX_DOCUMENT_BYTES {
        return Err(
            StoreError::TooLarge { location: reader.location().clone(), limit_bytes: MAX_DOCUMENT_BYTES }.into()
        );
    }
    match ByteRange::new(0, size_bytes) {
        Some(all) if head.len() as u64 != size_bytes => Ok(reader.read(all)?),
        _ => Ok(head),
    }
}

/// A file without any signature is better described by how it begins.
fn not_hdf5(error: EngineError, head: &[u8], name: &str) -> EngineError {
    let EngineError::Format { source: FormatError::UnknownFormat { .. }, .. } = error else { return error };
    let begins = match head {
        [] => "nothing: it is empty".to_owned(),
        _ if head.starts_with(b"<") => "`<`, like a web page".to_owned(),
        _ => format!("{:02x?}", &head[..head.len().min(8)]),
    };
    EngineError::Format { file: name.to_owned(), source: FormatError::UnknownFormat { begins } }
}

/// Feeds a decoder until it is done.
fn drive<T>(
    blocks: &mut Blocks,
    name: &str,
    advance: &mut dyn FnMut(&SparseBytes) -> Result<Progress<T>, FormatError>,
) -> Result<T, EngineError> {
    let failed = |source| EngineError::Format { file: name.to_owned(), source };
    for _ in 0..MOST_ROUNDS {
        match advance(blocks.bytes()).map_err(failed)? {
            Progress::Done(done) => return Ok(done),
            Progress::Need(ranges) => blocks.fetch(&Wants(ranges), LATER_BLOCK_BYTES)?,
        }
    }
    Err(failed(FormatError::TooLarge {
        what: "the number of reads for its metadata".into(),
        claimed: MOST_ROUNDS as u64,
        limit: MOST_ROUNDS as u64,
    }))
}

/// Cuts variables that lie uncompressed in one piece, so that a part can be read without the rest.
fn split_plain(decoded: &mut Decoded) {
    for (variable, table) in decoded.dataset.variables.iter_mut().zip(&mut decoded.manifest.tables) {
        let (ChunkTable::Ranges(ranges), true) = (&*table, variable.codecs.steps.is_empty() && !variable.is_chunked)
        else {
            continue;
        };
        let (Some(element), Some(place), 1) = (variable.dtype.size_bytes(), ranges.row(0), ranges.len()) else {
            continue;
        };
        let total = count(&variable.shape).saturating_mul(element.into());
        if total <= PIECE_BYTES || place.length != total || variable.chunk_shape != variable.shape {
            continue;
        }
        variable.chunk_shape = piece_shape(&variable.shape, element.into());
        *table = ChunkTable::Ranges(pieces(&variable.shape, &variable.chunk_shape, place, element.into()));
    }
}

/// The largest run of elements in C order that can be read by itself.
pub(crate) fn piece_shape(shape: &[u64], element_bytes: u64) -> Vec<u64> {
    region::piece_shape(shape, element_bytes, PIECE_BYTES)
}

fn pieces(shape: &[u64], piece: &[u64], place: ChunkPlace, element_bytes: u64) -> ChunkRanges {
    let rows = region::pieces(shape, piece).map(|(number, first, n_elements)| {
        let (offset, length) = (place.offset + first * element_bytes, n_elements * element_bytes);
        (number, ChunkPlace { offset, length, skipped_steps: 0 })
    });
    ChunkRanges::from_rows(rows.collect())
}

/// Bytes of all texts of a variable that were never written: each is the fill value.
const MOST_FILL_TEXT_BYTES: usize = 64 << 20;

enum LoadError {
    Format(FormatError),
    Engine(EngineError),
}

impl From<EngineError> for LoadError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Loads the values that combining needs. What cannot be decoded stays unloaded: it is named when it is wanted.
fn load_values(source: &mut Source, load: Load, blocks: Blocks) -> Result<(), LoadError> {
    let decoded = Arc::clone(&source.decoded);
    let is_far = blocks.reader().is_far();
    let mut chunks = ChunkReader::with(&source.location, blocks);
    let variables = decoded.dataset.variables.iter().enumerate();
    let wanted: Vec<usize> = variables
        .filter(|(number, variable)| is_loaded(variable, load) && !source.values.contains_key(number))
        .map(|(number, _)| number)
        .collect();
    let mut n_ahead = 0;
    for (at, number) in wanted.iter().copied().enumerate() {
        if is_far && at >= n_ahead {
            n_ahead = at + fetch_ahead(&decoded, &wanted[at..], &mut chunks)?;
        }
        let loaded = match source.variable(number).dtype {
            DataType::String => texts(source, number, &mut chunks)?,
            _ => unless_unread(whole(source, number, &mut chunks))?.map(|bytes| Values::Fixed(bytes.into())),
        };
        if let Some(values) = loaded {
            source.values.insert(number, Arc::new(values));
        }
    }
    Ok(())
}

/// Reads the chunks of the first of these variables along, in few questions, and says of how many.
fn fetch_ahead(decoded: &Decoded, wanted: &[usize], chunks: &mut ChunkReader) -> Result<usize, EngineError> {
    let Some(blocks) = chunks.blocks() else { return Ok(wanted.len()) };
    let size_bytes = blocks.bytes().size_bytes();
    let (mut ranges, mut n_bytes, mut n_variables) = (Vec::new(), 0_u64, 0);
    for number in wanted {
        if let Some(ChunkTable::Ranges(table)) = decoded.manifest.tables.get(*number) {
            let of_variable = table.length.iter().fold(0, |sum: u64, length| sum.saturating_add(length));
            if n_bytes.saturating_add(of_variable) > MOST_AHEAD_BYTES {
                break;
            }
            n_bytes += of_variable;
            let places = table.offset.iter().zip(table.length.iter());
            let places = places.filter_map(|(offset, length)| ByteRange::new(offset, length));
            // What lies beyond the end is damage, which is named when it is read.
            ranges.extend(places.filter(|range| range.end() <= size_bytes));
        }
        n_variables += 1;
    }
    blocks.fetch_values(ranges)?;
    // One that is too large to be read along is read chunk by chunk.
    Ok(n_variables.max(1))
}

/// What is damaged in the file is named when it is wanted. A disk or a server that does not answer is another thing:
/// going on without these values would make another store than the file's.
fn unless_unread<T>(read: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(EngineError::Store(error)) if !matches!(error, StoreError::Short { .. }) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Whether `load` asks for the values of a variable.
pub(crate) fn is_loaded(variable: &Variable, load: Load) -> bool {
    variable.role == Role::Variable
        && match load {
            Load::Nothing => false,
            Load::Labels => is_label(variable) && is_wanted(variable),
            Load::SmallValues => is_wanted(variable),
        }
}

/// Loads what `load` asks for and a source from the index lacks.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn load_more(source: &mut Source, load: Load) -> Result<(), EngineError> {
    let variables = source.decoded.dataset.variables.iter().enumerate();
    let is_complete =
        variables.into_iter().all(|(number, about)| !is_loaded(about, load) || source.values.contains_key(&number));
    if is_complete {
        return Ok(());
    }
    let reader = Reader::open_as(&source.location, &source.fingerprint)?;
    load_values(source, load, Blocks::new(reader, Bytes::new())).map_err(|error| match error {
        LoadError::Format(error) => EngineError::Format { file: source.name.clone(), source: error },
        LoadError::Engine(error) => error,
    })
}

/// Whether a variable holds labels of a dimension, or times.
pub(crate) fn is_label(variable: &Variable) -> bool {
    variable.dimensions == [variable.name()]
        || variable.attributes.text("units").is_some_and(|units| units.contains(" since "))
}

pub(crate) fn is_wanted(variable: &Variable) -> bool {
    let Some(element_bytes) = variable.dtype.size_bytes() else {
        return variable.dtype == DataType::String && variable.n_elements() <= MOST_TEXTS;
    };
    let n_bytes = variable.n_elements().saturating_mul(element_bytes.into());
    n_bytes <= SMALL_VALUES_BYTES || (is_label(variable) && n_bytes <= COORDINATE_BYTES)
}

/// All elements of a variable, little-endian, C order.
///
/// # Errors
/// If a chunk cannot be read or decoded.
pub fn whole(source: &Source, number: usize, chunks: &mut ChunkReader) -> Result<Vec<u8>, EngineError> {
    let variable = source.variable(number);
    let element = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let n_bytes = usize::try_from(variable.n_elements().saturating_mul(element as u64))
        .map_err(|_| source.unreadable(number, "it is larger than memory"))?;
    let mut all = variable.fill.repeat(n_bytes / element.max(1));
    all.resize(n_bytes, 0);
    let grid = variable.grid();
    let to_strides = strided::c_strides(&variable.shape);
    let from_strides = strided::c_strides(&variable.chunk_shape);
    for chunk in written_chunks(source, number) {
        let region = Region::of_cell(&coordinates_of(chunk, &grid), &variable.chunk_shape, &variable.shape);
        let Some(elements) = chunks.elements(source, number, chunk, &mut |_, _| {})? else { continue };
        let offset = region
            .start
            .iter()
            .zip(&to_strides)
            .map(|(start, stride)| usize::try_from(*start).unwrap_or(0) * stride.unsigned_abs())
            .sum();
        let extents: Vec<usize> = region.shape.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect();
        let from = Walk { offset: 0, strides: from_strides.clone() };
        strided::copy(elements, &from, &mut all, &Walk { offset, strides: to_strides.clone() }, &extents, element);
    }
    Ok(all)
}

/// The chunks of a variable that were written.
fn written_chunks(source: &Source, number: usize) -> Vec<u64> {
    match source.decoded.manifest.tables.get(number) {
        Some(ChunkTable::Ranges(ranges)) => ranges.index.iter().collect(),
        Some(ChunkTable::External(_) | ChunkTable::Virtual(_)) => (0..count(&source.variable(number).grid())).collect(),
        _ => vec![0],
    }
}

/// The texts of a variable. `None`: its descriptors cannot be read.
fn texts(source: &Source, number: usize, chunks: &mut ChunkReader) -> Result<Option<Values>, LoadError> {
    let Some(places) = &source.decoded.manifest.hdf5 else { return Ok(None) };
    let raw = unless_unread(descriptors(source, number, 8 + usize::from(places.offset_bytes), chunks))?;
    let Some(mut raw) = raw else { return Ok(None) };
    let unwritten = take_unwritten(&mut raw, 8 + usize::from(places.offset_bytes));
    let fill = String::from_utf8_lossy(&source.variable(number).fill).into_owned();
    if unwritten.len().saturating_mul(fill.len()) > MOST_FILL_TEXT_BYTES {
        return Ok(None);
    }
    let Some(blocks) = chunks.blocks() else { return Ok(None) };
    for _ in 0..MOST_ROUNDS {
        match hdf5::strings(&raw, places, blocks.bytes()) {
            Ok(mut texts) => {
                for at in unwritten.iter().filter(|_| !fill.is_empty()) {
                    if let Some(text) = texts.get_mut(*at) {
                        *text = Some(fill.clone());
                    }
                }
                return Ok(Some(Values::Texts(texts)));
            }
            Err(frazil_formats::Stop::Bad(_)) => return Ok(None),
            Err(frazil_formats::Stop::Need(wants)) => {
                blocks.fetch(&wants, TEXT_BLOCK_BYTES).map_err(EngineError::from)?
            }
        }
    }
    Err(LoadError::Format(FormatError::TooLarge {
        what: "the number of reads for its texts".into(),
        claimed: MOST_ROUNDS as u64,
        limit: MOST_ROUNDS as u64,
    }))
}

/// A byte of the descriptors of texts that were never written: no heap has such an address.
const UNWRITTEN: u8 = 0xff;

/// The numbers of the texts that were never written; their descriptors become those of empty texts.
fn take_unwritten(raw: &mut [u8], descriptor_bytes: usize) -> Vec<usize> {
    let mut unwritten = Vec::new();
    for (number, descriptor) in raw.chunks_exact_mut(descriptor_bytes.max(1)).enumerate() {
        if descriptor.iter().all(|byte| *byte == UNWRITTEN) {
            descriptor.fill(0);
            unwritten.push(number);
        }
    }
    unwritten
}

/// The descriptors of texts, as an array of `descriptor_bytes` each.
fn descriptors(
    source: &Source,
    number: usize,
    descriptor_bytes: usize,
    chunks: &mut ChunkReader,
) -> Result<Vec<u8>, EngineError> {
    let damaged = || source.unreadable(number, "its texts are damaged");
    let mut plain = source.clone();
    let mut decoded = Decoded { dataset: source.decoded.dataset.clone(), manifest: source.decoded.manifest.clone() };
    let variable = decoded.dataset.variables.get_mut(number).ok_or_else(damaged)?;
    let size_bytes = u32::try_from(descriptor_bytes).map_err(|_| damaged())?;
    variable.dtype = DataType::Raw { name: "text".into(), size_bytes };
    variable.fill = vec![UNWRITTEN; descriptor_bytes];
    variable.codecs = CodecChain { byte_order: frazil_model::codec::ByteOrder::Little, ..variable.codecs.clone() };
    plain.decoded = Arc::new(decoded);
    whole(&plain, number, chunks)
}
