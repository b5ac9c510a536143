//! One HDF5 dataset: shape, type, chunks, filters, fill value, and where its bytes are.
//!
//! It promises that a shape, a layout and a type that do not fit each other are refused here, so that readers of
//! chunks need not ask again.

use bytes::Bytes;
use frazil_model::{
    codec::{Codec, CodecChain},
    dtype::DataType,
    manifest::{ChunkPlace, ChunkRanges, ChunkTable, ExternalPart},
};

use crate::{
    error::FormatError,
    hdf5::{
        chunk_index::{self, ChunkIndexKind, ChunkIndexRequest},
        cursor::Cursor,
        dataspace::{Dataspace, dataspace},
        datatype::{Class, Datatype, datatype},
        element::{Element, element, little_endian},
        global_heap,
        header::{Header, Message},
        layout::{self, EdgeChunks, ExternalFiles, Layout},
        local_heap::{self, local_heap},
        pipeline,
        session::{Session, malformed, too_large, unsupported},
        shared, virtual_layout,
    },
    sparse::Stop,
};

pub(crate) const DATASPACE: u16 = 0x01;
pub(crate) const DATATYPE: u16 = 0x03;
const OLD_FILL: u16 = 0x04;
const FILL: u16 = 0x05;
const EXTERNAL_FILES: u16 = 0x07;
pub(crate) const LAYOUT: u16 = 0x08;
const PIPELINE: u16 = 0x0B;
/// Memory of a chunk's place: number, offset, length.
const ROW_BYTES: u64 = 24;
/// A fixed-size element that claims more is refused: every chunk would hold such elements.
const MAX_ELEMENT_BYTES: u32 = 16 << 20;

/// A dataset in full, but for its list of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub element: Element,
    pub shape: Vec<u64>,
    pub max_shape: Vec<Option<u64>>,
    pub chunk_shape: Vec<u64>,
    pub is_chunked: bool,
    pub codecs: CodecChain,
    pub fill: Vec<u8>,
    /// Whether the netCDF library has a type for it.
    pub is_known_to_netcdf: bool,
    storage: Storage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Storage {
    Compact(Vec<u8>),
    Nothing,
    Piece { offset: u64, n_bytes: u64 },
    External { files: ExternalFiles, n_bytes: u64 },
    Chunks { index: ChunkIndexKind, element_bytes: u64, edges: EdgeChunks },
    Virtual { heap: Option<u64>, index: u32 },
}

/// Reads the dataset with this header.
pub(crate) fn array(session: &mut Session<'_>, header: &Header) -> Result<Array, Stop> {
    let (offset, body) = message(session, header, DATASPACE, "dataspace")?;
    let space = dataspace(session.context, offset, &body)?;
    let (offset, body) = message(session, header, DATATYPE, "datatype")?;
    let datatype = datatype(offset, &body)?;
    let Dataspace::Simple { shape, max_shape } = &space else {
        return Err(unsupported("its shape", "it is null: there are no values").into());
    };
    let (offset, body) = message(session, header, LAYOUT, "data layout")?;
    let layout = layout::layout(session.context, offset, &body)?;
    let element = element(&datatype);
    if element.dtype.size_bytes().is_some_and(|size| size > MAX_ELEMENT_BYTES) {
        return Err(too_large("bytes of an element", datatype.size_bytes.into(), MAX_ELEMENT_BYTES.into()).into());
    }
    let filters = match header.find(PIPELINE) {
        Some(message) => {
            let (offset, body) = shared::resolve(session, message)?;
            pipeline::pipeline(offset, &body)?
        }
        None => Vec::new(),
    };
    let mut steps: Vec<Codec> = element.first_step.iter().cloned().collect();
    steps.extend(filters.iter().map(|filter| pipeline::codec(filter, datatype.size_bytes)));
    let codecs = CodecChain { byte_order: element.byte_order, steps };
    let fill = fill(session, header, &datatype, &element)?;
    let (chunk_shape, is_chunked, storage) = storage(session, header, &datatype, &space, layout)?;
    Ok(Array {
        shape: shape.clone(),
        max_shape: max_shape.clone(),
        element,
        chunk_shape: chunk_shape.unwrap_or_else(|| shape.clone()),
        is_chunked,
        codecs,
        fill,
        is_known_to_netcdf: is_known_to_netcdf(&datatype)
            || (matches!(datatype.class, Class::Opaque | Class::Compound(_))
                && header.find(DATATYPE).is_some_and(Message::is_shared)),
        storage,
    })
}

/// Whether the netCDF library (4.10) lists arrays of this type without a name in the file. Compounds only with plain
/// members.
fn is_known_to_netcdf(datatype: &Datatype) -> bool {
    match &datatype.class {
        Class::Integer { .. }
        | Class::Float(_)
        | Class::Text { .. }
        | Class::VlenText
        | Class::Enum { .. }
        | Class::VlenSequence(_) => true,
        Class::Compound(members) => members.iter().all(|member| is_plain_member(&member.datatype)),
        _ => false,
    }
}

fn is_plain_member(datatype: &Datatype) -> bool {
    match &datatype.class {
        Class::Integer { .. } | Class::Float(_) | Class::Text { .. } => true,
        Class::Array { base, .. } => matches!(base.class, Class::Integer { .. } | Class::Float(_) | Class::Text { .. }),
        _ => false,
    }
}

/// The body of the message of `kind`, which must be there.
fn message(session: &mut Session<'_>, header: &Header, kind: u16, what: &str) -> Result<shared::Body, Stop> {
    match header.find(kind) {
        Some(message) => shared::resolve(session, message),
        None => Err(malformed("object header", 0, format!("a dataset without a {what}")).into()),
    }
}

/// The fill value as readers see it, in little-endian bytes; UTF-8 for text of any length.
fn fill(session: &mut Session<'_>, header: &Header, datatype: &Datatype, element: &Element) -> Result<Vec<u8>, Stop> {
    let (mut value, mut at) = (None, 0);
    if let Some(message) = header.find(FILL) {
        let (offset, body) = shared::resolve(session, message)?;
        at = offset;
        value = layout::fill_value(offset, &body)?;
    } else if let Some(message) = header.find(OLD_FILL) {
        let (offset, body) = shared::resolve(session, message)?;
        at = offset;
        value = layout::old_fill_value(offset, &body)?;
    }
    if element.dtype == DataType::String {
        let Some(value) = value else { return Ok(Vec::new()) };
        let mut cursor = Cursor::new("fill value", at, &value);
        return match global_heap::descriptor(session, &mut cursor)? {
            Some((n_bytes, pointer)) => {
                let text = global_heap::object(session, pointer)?;
                Ok(text.get(..n_bytes as usize).unwrap_or(text).to_vec())
            }
            None => Ok(Vec::new()),
        };
    }
    let Some(size_bytes) = element.dtype.size_bytes() else { return Ok(Vec::new()) };
    let Some(value) = value else { return Ok(vec![0; size_bytes as usize]) };
    if value.len() as u64 != u64::from(size_bytes) {
        return Err(
            malformed("fill value", at, format!("it has {} bytes, an element {size_bytes}", value.len())).into()
        );
    }
    Ok(little_endian(datatype, &value).unwrap_or(value))
}

type Stored = (Option<Vec<u64>>, bool, Storage);

fn storage(
    session: &mut Session<'_>,
    header: &Header,
    datatype: &Datatype,
    space: &Dataspace,
    layout: Layout,
) -> Result<Stored, Stop> {
    let at = header.find(LAYOUT).map_or(0, |message| message.offset);
    let n_bytes = space.n_elements().and_then(|n| n.checked_mul(datatype.size_bytes.into()));
    let n_bytes = |what: &str| n_bytes.ok_or_else(|| too_large(what, u64::MAX, u64::MAX - 1));
    Ok(match layout {
        Layout::Compact(mut bytes) => {
            let n_bytes = n_bytes("bytes of a compact array")?;
            if (bytes.len() as u64) < n_bytes {
                return Err(malformed("data layout", at, "a compact array is cut short").into());
            }
            bytes.truncate(usize::try_from(n_bytes).unwrap_or(usize::MAX));
            (None, false, Storage::Compact(bytes))
        }
        Layout::Contiguous { address, n_bytes: stored } => {
            if let Some(message) = header.find(EXTERNAL_FILES) {
                let (offset, body) = shared::resolve(session, message)?;
                let files = layout::external_files(session.context, offset, &body)?;
                return Ok((None, false, Storage::External { files, n_bytes: n_bytes("bytes of an array")? }));
            }
            let Some(address) = address else { return Ok((None, false, Storage::Nothing)) };
            let n_bytes = n_bytes("bytes of an array")?;
            if stored.is_some_and(|stored| stored < n_bytes) {
                return Err(
                    malformed("data layout", at, "an array's piece of the file is shorter than its shape").into()
                );
            }
            let offset = session.offset("array", address)?;
            let size_bytes = session.bytes.size_bytes();
            let end = offset.saturating_add(n_bytes);
            if end > size_bytes {
                return Err(FormatError::Truncated { what: "array".into(), offset, end, size_bytes }.into());
            }
            let piece = if n_bytes == 0 { Storage::Nothing } else { Storage::Piece { offset, n_bytes } };
            (None, false, piece)
        }
        Layout::Chunked { index, chunk_shape, element_bytes, edges } => {
            let Dataspace::Simple { shape, .. } = space else { return Ok((None, true, Storage::Nothing)) };
            if chunk_shape.len() != shape.len() || element_bytes != u64::from(datatype.size_bytes) {
                return Err(
                    malformed("data layout", at, "its chunks do not fit the shape and type of the array").into()
                );
            }
            let chunk_bytes = chunk_shape.iter().try_fold(element_bytes, |size, length| size.checked_mul(*length));
            if chunk_bytes.is_none() {
                return Err(too_large("bytes of a chunk", u64::MAX, u64::MAX - 1).into());
            }
            (Some(chunk_shape), true, Storage::Chunks { index, element_bytes, edges })
        }
        Layout::Virtual { heap, index } => (None, false, Storage::Virtual { heap, index }),
    })
}

/// Where the chunks of `array` are.
pub(crate) fn chunks(session: &mut Session<'_>, array: &Array) -> Result<ChunkTable, Stop> {
    Ok(match &array.storage {
        Storage::Compact(bytes) => ChunkTable::Inline(Bytes::copy_from_slice(bytes)),
        Storage::Nothing => ChunkTable::Ranges(ChunkRanges::default()),
        Storage::Piece { offset, n_bytes } => ChunkTable::Ranges(ChunkRanges::single(*offset, *n_bytes)),
        Storage::External { files, n_bytes } => ChunkTable::External(external(session, files, *n_bytes)?),
        Storage::Virtual { heap, index } => {
            ChunkTable::Virtual(virtual_layout::parts(session, *heap, *index, &array.shape)?)
        }
        Storage::Chunks { index, element_bytes, edges } => {
            let is_filtered = !array.codecs.steps.is_empty() && n_filters(array) > 0;
            let request = ChunkIndexRequest {
                kind: index.clone(),
                shape: &array.shape,
                max_shape: &array.max_shape,
                chunk_shape: &array.chunk_shape,
                element_bytes: *element_bytes,
                filtered: is_filtered,
                offset_bytes: session.context.offset_bytes,
                length_bytes: session.context.length_bytes,
                base_address: session.context.base_address,
            };
            let ranges = chunk_index::chunk_ranges(&request, session.bytes)?;
            session.count_values("lists of chunks", ranges.len() as u64 * ROW_BYTES)?;
            ChunkTable::Ranges(with_skips(array, *edges, ranges))
        }
    })
}

/// Takes away the filters that every chunk left out: what nothing went through need not be known, and the chunks are plain.
pub(crate) fn drop_unused_steps(array: &mut Array, table: &mut ChunkTable) {
    let ChunkTable::Ranges(ranges) = table else { return };
    let unused = ranges.skipped_steps.iter().copied().reduce(|all, skipped| all & skipped).unwrap_or(0);
    // From the last, so that the numbers of the others stay.
    for number in (0..array.codecs.steps.len().min(32)).rev().filter(|number| unused >> number & 1 == 1) {
        array.codecs.steps.remove(number);
        let below = (1_u32 << number) - 1;
        for skipped in &mut ranges.skipped_steps {
            *skipped = (*skipped & below) | (*skipped >> 1 & !below);
        }
    }
    if ranges.skipped_steps.iter().all(|skipped| *skipped == 0) {
        ranges.skipped_steps.clear();
    }
}

/// Filters in the file; a step of our own comes before them.
fn n_filters(array: &Array) -> usize {
    array.codecs.steps.len() - usize::from(array.element.first_step.is_some())
}

/// Turns masks of filters into masks of steps, and marks edge chunks that the file leaves unfiltered.
fn with_skips(array: &Array, edges: EdgeChunks, ranges: ChunkRanges) -> ChunkRanges {
    let leaves_edges = edges == EdgeChunks::Unfiltered;
    if ranges.skipped_steps.is_empty() && !leaves_edges {
        return ranges;
    }
    let all = (0..n_filters(array)).fold(0_u32, |mask, i| mask | 1_u32.checked_shl(i as u32).unwrap_or(0));
    let shift = u32::from(array.element.first_step.is_some());
    let rows = (0..ranges.len()).filter_map(|row| {
        let index = ranges.index.get(row)?;
        let place = ranges.row(row)?;
        let skipped = if leaves_edges && is_edge(array, index) { all } else { place.skipped_steps & all };
        Some((index, ChunkPlace { skipped_steps: skipped << shift, ..place }))
    });
    ChunkRanges::from_rows(rows.collect())
}

/// Whether chunk `index` reaches over the end of the array.
fn is_edge(array: &Array, mut index: u64) -> bool {
    for (length, chunk) in array.shape.iter().zip(&array.chunk_shape).rev() {
        let n_chunks = length.div_ceil((*chunk).max(1)).max(1);
        let at = index % n_chunks;
        index /= n_chunks;
        if at == n_chunks - 1 && length % chunk != 0 {
            return true;
        }
    }
    false
}

/// The stretches of other files that hold the array's `n_bytes`.
fn external(session: &mut Session<'_>, files: &ExternalFiles, n_bytes: u64) -> Result<Vec<ExternalPart>, Stop> {
    let names = local_heap(session, files.heap)?;
    let mut left = n_bytes;
    let mut parts = Vec::new();
    for (name, offset, length) in &files.slots {
        if left == 0 {
            break;
        }
        let length = left.min(*length);
        parts.push(ExternalPart { file: local_heap::text(names, *name)?, offset: *offset, length });
        left -= length;
    }
    Ok(parts)
}
