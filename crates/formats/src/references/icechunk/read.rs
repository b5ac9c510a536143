//! Icechunk's documents, read back: its own and those of other programs.

use std::collections::BTreeMap;

use frazil_model::codec::{ByteOrder, Codec, CodecChain};

use super::{
    super::flat::Table, ARRAY, ArrayNode, HEADER_BYTES, Kind, MAGIC, MOST_DOCUMENT_BYTES, ManifestPart, Node, NodeId,
    ObjectId, Payload, Snapshot, VERSION, WRITER, ZSTD,
};
use crate::{FormatError, codecs::Codecs};

/// The plain bytes of a document of `kind`.
///
/// # Errors
/// If it is another thing, of a later version, damaged, or larger than any document may be.
fn unpacked(kind: Kind, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let bad = |reason: &str| FormatError::Malformed {
        what: "a document of Icechunk".into(),
        offset: 0,
        reason: reason.into(),
    };
    let header =
        bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(MAGIC)).ok_or_else(|| bad("no header"))?;
    let (version, found, packing) = (header[36], header[37], header[38]);
    if version != VERSION {
        return Err(FormatError::Unsupported {
            what: format!("version {version} of Icechunk's format"),
            reason: "it reads version 1".into(),
        });
    }
    if found != kind as u8 {
        return Err(bad("it is of another kind"));
    }
    let body = &bytes[HEADER_BYTES..];
    if packing != ZSTD {
        return Ok(body.to_vec());
    }
    let claimed = zstd_safe::get_frame_content_size(body).ok().flatten();
    if claimed.is_some_and(|claimed| claimed > MOST_DOCUMENT_BYTES as u64) {
        let (what, limit) = ("a document of Icechunk".to_owned(), MOST_DOCUMENT_BYTES as u64);
        return Err(FormatError::TooLarge { what, claimed: claimed.unwrap_or(limit), limit });
    }
    let chain = CodecChain { byte_order: ByteOrder::Little, steps: vec![Codec::Zstd { level: None }] };
    let mut codecs = Codecs::new();
    // Some writers do not say how much there is: more and more is tried.
    let mut room = claimed.and_then(|claimed| usize::try_from(claimed).ok()).unwrap_or_else(|| body.len() * 8 + 4096);
    loop {
        room = room.clamp(1, MOST_DOCUMENT_BYTES);
        match codecs.decode_at_most(&chain, body, room) {
            Ok(plain) => return Ok(plain.to_vec()),
            Err(_) if claimed.is_none() && room < MOST_DOCUMENT_BYTES => room = room.saturating_mul(8),
            Err(error) => return Err(error),
        }
    }
}

/// Whether a document of `kind` holds what its name says, where names are made of the content by `name`.
#[must_use]
pub fn is_named(kind: Kind, id: ObjectId, bytes: &[u8], name: &dyn Fn(&[u8]) -> ObjectId) -> bool {
    let Ok(mut plain) = unpacked(kind, bytes) else { return false };
    let at = plain.windows(id.0.len()).position(|window| window == id.0);
    // The name was made before it was put in.
    match at.and_then(|at| plain.get_mut(at..at + id.0.len())) {
        Some(cell) => cell.fill(0),
        None => return false,
    }
    name(&plain) == id
}

/// Whether another program wrote a document. A few letters that differ are damage.
#[must_use]
pub fn is_of_others(bytes: &[u8]) -> bool {
    let writer = bytes.get(MAGIC.len()..MAGIC.len() + WRITER.len()).unwrap_or_default();
    let n_others = writer.iter().zip(WRITER).filter(|(found, ours)| found != ours).count();
    bytes.starts_with(MAGIC) && n_others > 2
}

/// Reads a snapshot.
///
/// # Errors
/// If the document is damaged.
pub fn read_snapshot(bytes: &[u8]) -> Result<Snapshot, FormatError> {
    let plain = unpacked(Kind::Snapshot, bytes)?;
    let root = Table::root(&plain)?;
    let mut sizes: BTreeMap<ObjectId, (u64, u32)> = BTreeMap::new();
    for file in root.structures::<32>(6)? {
        let (id, size) = (cell::<12>(&file[..12]), u64::from_le_bytes(cell(&file[16..24])));
        sizes.insert(ObjectId(id), (size, u32::from_le_bytes(cell(&file[24..28]))));
    }
    let mut read = Snapshot {
        id: ObjectId(root.bytes(0)?.unwrap_or_default()),
        parent: root.bytes(1)?.map(ObjectId),
        written_at: root.u64(3)?,
        message: root.text(4)?.unwrap_or_default().to_owned(),
        ..Snapshot::default()
    };
    for item in root.tables(5)? {
        let item = item?;
        let value = item.vector(1)?.and_then(message_unpacked);
        if let (Some(key), Some(value)) = (item.text(0)?, value) {
            read.properties.push((key.to_owned(), value));
        }
    }
    for table in root.tables(2)? {
        read.nodes.push(read_node(&table?, &sizes)?);
    }
    Ok(read)
}

/// A part of a structure, whose size is known.
fn cell<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn read_node(table: &Table<'_>, sizes: &BTreeMap<ObjectId, (u64, u32)>) -> Result<Node, FormatError> {
    let document = table.vector(2)?.unwrap_or_default();
    let mut node = Node {
        id: NodeId(table.bytes(0)?.unwrap_or_default()),
        path: table.text(1)?.unwrap_or_default().to_owned(),
        document: String::from_utf8_lossy(document).into_owned(),
        array: None,
    };
    let (ARRAY, Some(about)) = (table.u8(3)?, table.table(4)?) else { return Ok(node) };
    let mut array = ArrayNode::default();
    for cells in about.structures::<16>(0)? {
        array.shape.push((u64::from_le_bytes(cell(&cells[..8])), u64::from_le_bytes(cell(&cells[8..]))));
    }
    for dimension in about.tables(1)? {
        array.dimensions.push(dimension?.text(0)?.unwrap_or_default().to_owned());
    }
    for manifest in about.tables(2)? {
        let manifest = manifest?;
        let id = ObjectId(manifest.bytes(0)?.unwrap_or_default());
        let ranges = manifest.structures::<8>(1)?;
        let extents = ranges
            .iter()
            .map(|range| (u32::from_le_bytes(cell(&range[..4])), u32::from_le_bytes(cell(&range[4..]))))
            .collect();
        let (size_bytes, n_chunks) = sizes.get(&id).copied().unwrap_or_default();
        array.manifests.push(ManifestPart { id, extents, size_bytes, n_chunks });
    }
    node.array = Some(array);
    Ok(node)
}

/// A chunk as a manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// In the repository, or in the manifest.
    Here(Payload<'a>),
    /// In another file.
    There {
        /// The file's address and state.
        url: &'a str,
        /// Its entity tag.
        tag: Option<&'a str>,
        /// Seconds since 1970 after which it did not change; 0: not said.
        not_after: u32,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// Takes a chunk: its cell, and where it is.
pub type SeeChunk<'a> = &'a mut dyn FnMut(&[u32], &Found<'_>) -> Result<(), FormatError>;

/// Reads the chunks of `node` in a manifest, one by one.
///
/// # Errors
/// If the document is damaged, or `see` refuses.
pub fn read_manifest(bytes: &[u8], node: NodeId, see: SeeChunk<'_>) -> Result<(), FormatError> {
    let plain = unpacked(Kind::Manifest, bytes)?;
    let root = Table::root(&plain)?;
    if root.u8(3)? != 0 {
        return Err(FormatError::Unsupported {
            what: "a manifest of Icechunk with packed addresses".into(),
            reason: "it belongs to a later version of the format".into(),
        });
    }
    for array in root.tables(1)? {
        let array = array?;
        if array.bytes(0)?.map(NodeId) != Some(node) {
            continue;
        }
        for chunk in array.tables(1)? {
            let chunk = chunk?;
            let (offset, length) = (chunk.u64(2)?, chunk.u64(3)?);
            let found = if let Some(url) = chunk.text(5)? {
                Found::There { url, tag: chunk.text(6)?, not_after: chunk.u32(7)?, offset, length }
            } else if let Some(id) = chunk.bytes(4)? {
                Found::Here(Payload::Native { id: ObjectId(id), offset, length })
            } else {
                Found::Here(Payload::Inline(chunk.vector(1)?.unwrap_or_default()))
            };
            see(&chunk.numbers(0)?, &found)?;
        }
    }
    Ok(())
}

fn message_unpacked(bytes: &[u8]) -> Option<String> {
    let at = match *bytes.first()? {
        first @ 0xa0..=0xbf if usize::from(first & 0x1f) + 1 == bytes.len() => 1,
        0xd9 => 2,
        0xda => 3,
        0xdb => 5,
        _ => return None,
    };
    String::from_utf8(bytes.get(at..)?.to_vec()).ok()
}
