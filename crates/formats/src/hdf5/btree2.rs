//! Version 2 B-trees: any records of one size, in order.
//!
//! Nodes are read level by level, so that a tree of any width costs as many rounds as it is deep. It promises that
//! every node's checksum was compared, and that a file cannot name more nodes than it has bytes for. It does not know
//! what the records mean.

use crate::{
    error::FormatError,
    hdf5::{checksum, cursor::Cursor, superblock::FileContext},
    sparse::{SparseBytes, Stop, Wants},
};

/// Signature, version, type and checksum of a node.
const NODE_FRAME_BYTES: u64 = 10;
/// Deeper trees would hold more records than any file has bytes.
const MAX_DEPTH: u16 = 16;

/// What a tree's header says.
struct Header {
    kind: u8,
    node_bytes: u64,
    record_bytes: u64,
    depth: u16,
    root: Option<Child>,
}

/// A node that was not read yet.
#[derive(Clone, Copy)]
struct Child {
    address: u64,
    n_records: u64,
}

/// A stretch of the tree, in order.
enum Part {
    Record(Vec<u8>),
    Node(Child),
}

/// Widths of the fields of nodes at one depth; leaves have depth 0.
#[derive(Clone, Copy)]
struct Level {
    /// Most records of a node.
    max_records: u64,
    /// Bytes of the number of all records below; 0 for leaves.
    total_bytes: u64,
}

/// All records of the tree at `address`, in order.
///
/// # Errors
/// [`Stop::Need`] with the nodes of the next level, or the error that the tree makes no sense.
pub fn records(address: u64, context: &FileContext, bytes: &SparseBytes) -> Result<Vec<Vec<u8>>, Stop> {
    Ok(tree(address, context, bytes)?.1)
}

/// The type of the tree at `address` and all its records, in order.
pub(crate) fn tree(address: u64, context: &FileContext, bytes: &SparseBytes) -> Result<(u8, Vec<Vec<u8>>), Stop> {
    let header = header(address, context, bytes)?;
    let Some(root) = header.root else {
        return Ok((header.kind, Vec::new()));
    };
    let levels = levels(address, &header, context)?;
    // Nodes never overlap, so all of them together cannot be larger than the file.
    let mut nodes_left = bytes.size_bytes() / header.node_bytes;
    let mut parts = vec![Part::Node(root)];
    for depth in (0..levels.len()).rev() {
        let mut wants = Wants::default();
        let mut next = Vec::with_capacity(parts.len());
        for part in parts {
            let Part::Node(child) = part else {
                next.push(part);
                continue;
            };
            nodes_left = nodes_left
                .checked_sub(1)
                .ok_or_else(|| malformed(address, "it has more nodes than fit in the file"))?;
            if let Some(inside) = wants.collect(node(child, depth, &header, &levels, context, bytes))? {
                next.extend(inside);
            }
        }
        wants.or_stop()?;
        parts = next;
    }
    let records = parts.into_iter().filter_map(|part| match part {
        Part::Record(record) => Some(record),
        Part::Node(_) => None,
    });
    Ok((header.kind, records.collect()))
}

fn malformed(offset: u64, reason: impl Into<String>) -> FormatError {
    FormatError::Malformed { what: "v2 B-tree".into(), offset, reason: reason.into() }
}

fn offset(address: u64, context: &FileContext) -> Result<u64, FormatError> {
    address.checked_add(context.base_address).ok_or_else(|| malformed(address, "its address is beyond any file"))
}

fn header(address: u64, context: &FileContext, bytes: &SparseBytes) -> Result<Header, Stop> {
    let what = "v2 B-tree";
    let at = offset(address, context)?;
    let n_bytes = 22 + u64::from(context.offset_bytes) + u64::from(context.length_bytes);
    let structure = bytes.get(what, at, n_bytes)?;
    let mut cursor = Cursor::new(what, at, structure);
    if cursor.take(4)? != b"BTHD" || cursor.u8()? != 0 {
        return Err(malformed(at, "it has no header").into());
    }
    checksum::verify(what, at, structure)?;
    let kind = cursor.u8()?;
    let node_bytes = u64::from(cursor.u32()?);
    let record_bytes = u64::from(cursor.u16()?);
    let depth = cursor.u16()?;
    cursor.skip(2)?;
    let root = cursor.address(context.offset_bytes)?;
    let n_records = u64::from(cursor.u16()?);
    if depth > MAX_DEPTH || record_bytes == 0 || node_bytes < NODE_FRAME_BYTES + record_bytes {
        return Err(
            malformed(at, format!("depth {depth}, nodes of {node_bytes} and records of {record_bytes} bytes")).into()
        );
    }
    let root = root.filter(|_| n_records > 0).map(|address| Child { address, n_records });
    Ok(Header { kind, node_bytes, record_bytes, depth, root })
}

/// Bytes that HDF5 takes for a number of at most `limit`.
fn bytes_for(limit: u64) -> u64 {
    u64::from(limit.max(1).ilog2()) / 8 + 1
}

/// Field widths of each depth, leaves first.
fn levels(address: u64, header: &Header, context: &FileContext) -> Result<Vec<Level>, FormatError> {
    let room = header.node_bytes - NODE_FRAME_BYTES;
    let max_records = room / header.record_bytes;
    let count_bytes = bytes_for(max_records);
    let mut levels = vec![Level { max_records, total_bytes: 0 }];
    let mut below = max_records;
    for _ in 0..header.depth {
        let total_bytes = levels.last().map_or(0, |level| level.total_bytes);
        let pointer_bytes = u64::from(context.offset_bytes) + count_bytes + total_bytes;
        let max_records = room.saturating_sub(pointer_bytes) / (header.record_bytes + pointer_bytes);
        if max_records == 0 {
            return Err(malformed(address, "its inner nodes have no room for a record"));
        }
        below = (max_records + 1).saturating_mul(below).saturating_add(max_records);
        levels.push(Level { max_records, total_bytes: bytes_for(below) });
    }
    Ok(levels)
}

/// What is inside a node: records, and between them the nodes below.
fn node(
    child: Child,
    depth: usize,
    header: &Header,
    levels: &[Level],
    context: &FileContext,
    bytes: &SparseBytes,
) -> Result<Vec<Part>, Stop> {
    let what = "v2 B-tree node";
    let at = offset(child.address, context)?;
    let (Some(level), below) = (levels.get(depth), depth.checked_sub(1).and_then(|depth| levels.get(depth))) else {
        return Err(malformed(at, "its depth is wrong").into());
    };
    if child.n_records > level.max_records {
        return Err(malformed(at, format!("a node of {} records", child.n_records)).into());
    }
    let count_bytes = levels.first().map_or(1, |leaf| bytes_for(leaf.max_records));
    let pointer_bytes = below.map_or(0, |below| u64::from(context.offset_bytes) + count_bytes + below.total_bytes);
    // A node without inner pointers has none at its end either.
    let n_pointers = if below.is_some() { child.n_records + 1 } else { 0 };
    let used = NODE_FRAME_BYTES + child.n_records * header.record_bytes + n_pointers * pointer_bytes;
    let structure = bytes.get(what, at, used)?;
    let mut cursor = Cursor::new(what, at, structure);
    let signature: &[u8] = if below.is_some() { b"BTIN" } else { b"BTLF" };
    if cursor.take(4)? != signature || cursor.u8()? != 0 || cursor.u8()? != header.kind {
        return Err(malformed(at, "a node has the wrong signature, version or type").into());
    }
    checksum::verify(what, at, structure)?;
    let record_bytes = usize::try_from(header.record_bytes).unwrap_or(usize::MAX);
    let mut records = Vec::new();
    for _ in 0..child.n_records {
        records.push(Part::Record(cursor.take(record_bytes)?.to_vec()));
    }
    let Some(below) = below else {
        return Ok(records);
    };
    let mut parts = Vec::new();
    let mut records = records.into_iter();
    for _ in 0..n_pointers {
        let address = cursor.address(context.offset_bytes)?;
        let n_records = cursor.uint(usize::try_from(count_bytes).unwrap_or(0))?;
        cursor.skip(usize::try_from(below.total_bytes).unwrap_or(0))?;
        let address = address.ok_or_else(|| malformed(at, "a node below it has no address"))?;
        parts.push(Part::Node(Child { address, n_records }));
        parts.extend(records.next());
    }
    Ok(parts)
}
