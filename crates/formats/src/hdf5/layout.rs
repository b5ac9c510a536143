//! Data layout, fill value and external file messages: where an array's bytes are.
//!
//! Layout versions 1 to 5, fill values old and new. It does not follow chunk indexes; it says which kind there is.

use crate::{
    error::FormatError,
    hdf5::{chunk_index::ChunkIndexKind, cursor::Cursor, superblock::FileContext},
};

/// HDF5's own limit on dimensions, plus the element's own.
const MAX_RANK: u8 = 33;

/// Where an array's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In the message itself.
    Compact(Vec<u8>),
    /// In one piece.
    Contiguous {
        /// `None`: nothing was written.
        address: Option<u64>,
        /// Bytes, where the message says so.
        n_bytes: Option<u64>,
    },
    /// In chunks.
    Chunked {
        index: ChunkIndexKind,
        chunk_shape: Vec<u64>,
        /// Bytes of an element, as the layout sees it.
        element_bytes: u64,
        edges: EdgeChunks,
    },
    /// In other arrays, as a global heap object says.
    Virtual { heap: Option<u64>, index: u32 },
}

/// What happens to chunks that reach over the end of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EdgeChunks {
    Filtered,
    Unfiltered,
}

/// Reads a data layout message's body.
pub(crate) fn layout(context: FileContext, offset: u64, body: &[u8]) -> Result<Layout, FormatError> {
    let mut cursor = Cursor::new("data layout", offset, body);
    let version = cursor.u8()?;
    match version {
        1 | 2 => old(context, &mut cursor),
        3..=5 => match cursor.u8()? {
            0 => {
                let n_bytes = cursor.u16()?;
                Ok(Layout::Compact(cursor.take(n_bytes.into())?.to_vec()))
            }
            1 => {
                let address = cursor.address(context.offset_bytes)?;
                let n_bytes = cursor.uint(context.length_bytes.into())?;
                Ok(Layout::Contiguous { address, n_bytes: Some(n_bytes) })
            }
            2 if version == 3 => {
                let rank = cursor.u8()?;
                let address = cursor.address(context.offset_bytes)?;
                let index = address.map_or(ChunkIndexKind::None, |address| ChunkIndexKind::BTreeV1 { address });
                chunked(&mut cursor, rank, 4, index, EdgeChunks::Filtered)
            }
            2 => new_chunked(context, &mut cursor),
            3 if version >= 4 => {
                let heap = cursor.address(context.offset_bytes)?;
                Ok(Layout::Virtual { heap, index: cursor.u32()? })
            }
            class => Err(cursor.bad(format!("class {class}"))),
        },
        _ => Err(cursor.bad(format!("version {version}"))),
    }
}

fn old(context: FileContext, cursor: &mut Cursor<'_>) -> Result<Layout, FormatError> {
    let rank = cursor.u8()?;
    let class = cursor.u8()?;
    cursor.skip(5)?;
    let address = if class == 0 { None } else { cursor.address(context.offset_bytes)? };
    match class {
        0 => {
            cursor.skip(4 * usize::from(rank))?;
            let n_bytes = cursor.u32()?;
            Ok(Layout::Compact(cursor.take(n_bytes as usize)?.to_vec()))
        }
        1 => Ok(Layout::Contiguous { address, n_bytes: None }),
        2 => {
            let index = address.map_or(ChunkIndexKind::None, |address| ChunkIndexKind::BTreeV1 { address });
            chunked(cursor, rank, 4, index, EdgeChunks::Filtered)
        }
        _ => Err(cursor.bad(format!("class {class}"))),
    }
}

/// Reads `rank` chunk lengths, of which the last is the element's bytes.
fn chunked(
    cursor: &mut Cursor<'_>,
    rank: u8,
    length_bytes: usize,
    index: ChunkIndexKind,
    edges: EdgeChunks,
) -> Result<Layout, FormatError> {
    if rank < 2 || rank > MAX_RANK {
        return Err(cursor.bad(format!("chunks of {rank} dimensions, with that of the element")));
    }
    let mut chunk_shape = (0..rank).map(|_| cursor.uint(length_bytes)).collect::<Result<Vec<u64>, _>>()?;
    let element_bytes = chunk_shape.pop().unwrap_or(0);
    if chunk_shape.contains(&0) || element_bytes == 0 {
        return Err(cursor.bad("a chunk of length 0".into()));
    }
    Ok(Layout::Chunked { index, chunk_shape, element_bytes, edges })
}

fn new_chunked(context: FileContext, cursor: &mut Cursor<'_>) -> Result<Layout, FormatError> {
    let flags = cursor.u8()?;
    let edges = if flags & 1 != 0 { EdgeChunks::Unfiltered } else { EdgeChunks::Filtered };
    let rank = cursor.u8()?;
    let length_bytes = usize::from(cursor.u8()?);
    if !(1..=8).contains(&length_bytes) {
        return Err(cursor.bad(format!("chunk lengths of {length_bytes} bytes")));
    }
    let layout = chunked(cursor, rank, length_bytes, ChunkIndexKind::None, edges)?;
    let kind = cursor.u8()?;
    let mut single = (None, 0);
    match kind {
        1 if flags & 2 != 0 => single = (Some(cursor.uint(context.length_bytes.into())?), cursor.u32()?),
        1 | 2 => {}
        3 => cursor.skip(1)?,
        4 => cursor.skip(5)?,
        5 => cursor.skip(6)?,
        _ => return Err(cursor.bad(format!("chunk index {kind}"))),
    }
    let index = match (kind, cursor.address(context.offset_bytes)?) {
        (_, None) => ChunkIndexKind::None,
        (1, Some(address)) => ChunkIndexKind::Single { address, filtered_size: single.0, filter_mask: single.1 },
        (2, Some(address)) => ChunkIndexKind::Implicit { address },
        (3, Some(address)) => ChunkIndexKind::FixedArray { address },
        (4, Some(address)) => ChunkIndexKind::ExtensibleArray { address },
        (_, Some(address)) => ChunkIndexKind::BTreeV2 { address },
    };
    match layout {
        Layout::Chunked { chunk_shape, element_bytes, edges, .. } => {
            Ok(Layout::Chunked { index, chunk_shape, element_bytes, edges })
        }
        other => Ok(other),
    }
}

/// Reads a fill value message's body (kind 5): the value as stored, if one was set.
pub(crate) fn fill_value(offset: u64, body: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    let mut cursor = Cursor::new("fill value", offset, body);
    let version = cursor.u8()?;
    let is_there = match version {
        1 | 2 => {
            cursor.skip(2)?;
            let is_defined = cursor.u8()? != 0;
            version == 1 || is_defined
        }
        3 => cursor.u8()? & 0x20 != 0,
        _ => return Err(cursor.bad(format!("version {version}"))),
    };
    if is_there { sized_value(&mut cursor) } else { Ok(None) }
}

/// Reads an old fill value message's body (kind 4).
pub(crate) fn old_fill_value(offset: u64, body: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    sized_value(&mut Cursor::new("fill value", offset, body))
}

fn sized_value(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, FormatError> {
    let n_bytes = cursor.u32()?;
    // -1 means "undefined", 0 "the default"; either way there is no value.
    if n_bytes == 0 || n_bytes == u32::MAX {
        return Ok(None);
    }
    Ok(Some(cursor.take(n_bytes as usize)?.to_vec()))
}

/// External storage as stored: where names are, and a stretch for each file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalFiles {
    /// Address of the local heap with the names.
    pub heap: u64,
    /// Place of the name in the heap, first byte, bytes (all ones: to the end).
    pub slots: Vec<(u64, u64, u64)>,
}

/// Reads an external file list message's body.
pub(crate) fn external_files(context: FileContext, offset: u64, body: &[u8]) -> Result<ExternalFiles, FormatError> {
    let mut cursor = Cursor::new("external file list", offset, body);
    let version = cursor.u8()?;
    if version != 1 {
        return Err(cursor.bad(format!("version {version}")));
    }
    cursor.skip(3)?;
    let (_, n_slots) = (cursor.u16()?, cursor.u16()?);
    let heap = cursor.address(context.offset_bytes)?.ok_or_else(|| cursor.bad("it has no names".into()))?;
    let length_bytes = usize::from(context.length_bytes);
    let slots = (0..n_slots)
        .map(|_| {
            Ok((
                cursor.uint(length_bytes)?,
                cursor.uint(length_bytes)?,
                cursor.address(context.length_bytes)?.unwrap_or(u64::MAX),
            ))
        })
        .collect::<Result<Vec<_>, FormatError>>()?;
    Ok(ExternalFiles { heap, slots })
}
