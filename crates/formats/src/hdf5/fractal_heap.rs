//! Fractal heaps: links and attributes of large objects, and shared messages.
//!
//! Managed, huge and tiny objects, direct and indirect blocks, filtered blocks. It promises that block sizes come
//! from the heap's own table, not from what a block claims, and that checksums were compared.

use std::sync::Arc;

use frazil_model::codec::{Codec, CodecChain};

use crate::{
    codecs::{ChunkForm, Codecs},
    error::FormatError,
    hdf5::{
        checksum,
        cursor::Cursor,
        pipeline::{self, Filter},
        session::{Session, malformed, too_large},
    },
    sparse::Stop,
};

/// A block that claims more is refused.
const MAX_BLOCK_BYTES: u64 = 64 << 20;
/// Indirect blocks inside indirect blocks.
const MAX_DEPTH: u32 = 64;

/// What a heap's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FractalHeap {
    address: u64,
    id_bytes: u16,
    has_block_checksums: bool,
    max_managed_bytes: u32,
    huge_index: Option<u64>,
    width: u64,
    start_block_bytes: u64,
    max_direct_bytes: u64,
    max_heap_bits: u16,
    root: Option<u64>,
    root_rows: u16,
    filters: Vec<Filter>,
    filtered_root: (u64, u32),
}

impl FractalHeap {
    /// Bytes of a place in the heap.
    fn place_bytes(&self) -> usize {
        usize::from(self.max_heap_bits).div_ceil(8)
    }

    /// Bytes of the blocks in row `row`; `None` beyond any heap.
    fn row_block_bytes(&self, row: u32) -> Option<u64> {
        if row == 0 {
            Some(self.start_block_bytes)
        } else {
            self.start_block_bytes.checked_mul(1_u64.checked_shl(row - 1)?)
        }
    }

    /// How many rows of an indirect block point to direct blocks.
    const fn direct_rows(&self) -> u32 {
        self.max_direct_bytes.ilog2() - self.start_block_bytes.ilog2() + 2
    }
}

/// Reads the header of the heap at `address`.
pub(crate) fn open(session: &mut Session<'_>, address: u64) -> Result<Arc<FractalHeap>, Stop> {
    if let Some(heap) = session.memo.heaps.get(&address) {
        return Ok(Arc::clone(heap));
    }
    let context = session.context;
    let (o, l) = (u64::from(context.offset_bytes), u64::from(context.length_bytes));
    let plain = 22 + 12 * l + 3 * o;
    let head = session.read("fractal heap", address, 9)?;
    let filter_bytes = u64::from(u16::from_le_bytes([*head.get(7).unwrap_or(&0), *head.get(8).unwrap_or(&0)]));
    let total = if filter_bytes > 0 { plain + l + 4 + filter_bytes } else { plain } + 4;
    let head = session.read("fractal heap", address, total)?;
    let offset = session.offset("fractal heap", address)?;
    let mut cursor = Cursor::new("fractal heap", offset, head);
    if cursor.take(4)? != b"FRHP" {
        return Err(cursor.bad("it has no signature".into()).into());
    }
    checksum::verify("fractal heap", offset, head)?;
    let heap = Arc::new(parse(session, address, filter_bytes, &mut cursor)?);
    session.memo.heaps.insert(address, Arc::clone(&heap));
    Ok(heap)
}

fn parse(
    session: &Session<'_>,
    address: u64,
    filter_bytes: u64,
    cursor: &mut Cursor<'_>,
) -> Result<FractalHeap, FormatError> {
    let context = session.context;
    let (o, l) = (context.offset_bytes, usize::from(context.length_bytes));
    let version = cursor.u8()?;
    if version != 0 {
        return Err(cursor.bad(format!("version {version}")));
    }
    let id_bytes = cursor.u16()?;
    cursor.skip(2)?;
    let flags = cursor.u8()?;
    let max_managed_bytes = cursor.u32()?;
    cursor.skip(l)?;
    let huge_index = cursor.address(o)?;
    cursor.skip(l + usize::from(o) + 8 * l)?;
    let width = u64::from(cursor.u16()?);
    let start_block_bytes = cursor.uint(l)?;
    let max_direct_bytes = cursor.uint(l)?;
    let max_heap_bits = cursor.u16()?;
    cursor.skip(2)?;
    let root = cursor.address(o)?;
    let root_rows = cursor.u16()?;
    let (mut filters, mut filtered_root) = (Vec::new(), (0, 0));
    if filter_bytes > 0 {
        filtered_root = (cursor.uint(l)?, cursor.u32()?);
        let at = cursor.position();
        filters = pipeline::pipeline(at, cursor.take(usize::try_from(filter_bytes).unwrap_or(usize::MAX))?)?;
    }
    let sane = start_block_bytes.is_power_of_two()
        && max_direct_bytes.is_power_of_two()
        && start_block_bytes <= max_direct_bytes
        && max_direct_bytes <= MAX_BLOCK_BYTES
        && width.is_power_of_two()
        && (1..=64).contains(&max_heap_bits);
    if !sane {
        return Err(cursor.bad("its table of blocks makes no sense".into()));
    }
    let has_block_checksums = flags & 2 != 0;
    Ok(FractalHeap {
        address,
        id_bytes,
        has_block_checksums,
        max_managed_bytes,
        huge_index,
        width,
        start_block_bytes,
        max_direct_bytes,
        max_heap_bits,
        root,
        root_rows,
        filters,
        filtered_root,
    })
}

/// The bytes of the object `id`.
pub(crate) fn object(session: &mut Session<'_>, heap: &FractalHeap, id: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut cursor = Cursor::new("fractal heap object", heap.address, id);
    let first = cursor.u8()?;
    if first >> 6 != 0 {
        return Err(cursor.bad(format!("version {}", first >> 6)).into());
    }
    let object = match (first >> 4) & 3 {
        0 => {
            let at = cursor.uint(heap.place_bytes())?;
            let largest = heap.max_direct_bytes.min(u64::from(heap.max_managed_bytes)).max(1);
            let n_bytes = cursor.uint((largest.ilog2() / 8 + 1) as usize)?;
            managed(session, heap, at, n_bytes)?
        }
        1 => huge(session, heap, &mut cursor)?,
        2 => {
            // IDs longer than 17 bytes need a second byte for the length.
            let short = u16::from(first & 0x0F);
            let length = if heap.id_bytes > 17 { (short << 8) | u16::from(cursor.u8()?) } else { short };
            cursor.take(usize::from(length) + 1)?.to_vec()
        }
        kind => return Err(cursor.bad(format!("kind {kind}")).into()),
    };
    session.count_values("objects of fractal heaps", object.len() as u64)?;
    Ok(object)
}

/// A direct block: where it is, where it begins in the heap, and its bytes.
struct Direct {
    address: u64,
    starts_at: u64,
    n_bytes: u64,
    /// Stored bytes and filter mask, in a heap with filters.
    filtered: (u64, u32),
}

fn managed(session: &mut Session<'_>, heap: &FractalHeap, at: u64, n_bytes: u64) -> Result<Vec<u8>, Stop> {
    let direct = find(session, heap, at)?;
    let block = direct_block(session, heap, &direct)?;
    let from = at.checked_sub(direct.starts_at).and_then(|from| usize::try_from(from).ok());
    let object = from.and_then(|from| block.get(from..from.checked_add(usize::try_from(n_bytes).ok()?)?));
    let object = object.ok_or_else(|| malformed("fractal heap object", heap.address, "it reaches over its block"))?;
    Ok(object.to_vec())
}

/// The direct block that holds place `at`.
fn find(session: &mut Session<'_>, heap: &FractalHeap, at: u64) -> Result<Direct, Stop> {
    let nowhere = || malformed("fractal heap object", heap.address, "it is not in the heap");
    let mut address = heap.root.ok_or_else(nowhere)?;
    let mut rows = u32::from(heap.root_rows);
    if rows == 0 {
        return Ok(Direct { address, starts_at: 0, n_bytes: heap.start_block_bytes, filtered: heap.filtered_root });
    }
    let mut starts_at = 0_u64;
    for _ in 0..MAX_DEPTH {
        let relative = at.checked_sub(starts_at).ok_or_else(nowhere)?;
        // Row 0 spans one width of start blocks; row n the double of all before it.
        let span = heap.start_block_bytes.checked_mul(heap.width).ok_or_else(nowhere)?;
        let row = if relative < span { 0 } else { (relative / span).ilog2() + 1 };
        if row >= rows {
            return Err(nowhere().into());
        }
        let row_at = if row == 0 {
            0
        } else {
            span.checked_mul(1_u64.checked_shl(row - 1).ok_or_else(nowhere)?).ok_or_else(nowhere)?
        };
        let n_bytes = heap.row_block_bytes(row).ok_or_else(nowhere)?;
        let column = relative.saturating_sub(row_at) / n_bytes;
        let entry = indirect_entry(session, heap, address, rows, row, column)?;
        let child = entry.0.ok_or_else(nowhere)?;
        let child_at =
            column.checked_mul(n_bytes).and_then(|within| starts_at.checked_add(row_at)?.checked_add(within));
        starts_at = child_at.ok_or_else(nowhere)?;
        if row < heap.direct_rows() {
            return Ok(Direct { address: child, starts_at, n_bytes, filtered: (entry.1, entry.2) });
        }
        address = child;
        rows = (n_bytes / span).max(1).ilog2() + 1;
    }
    Err(too_large("depth of a fractal heap", u64::from(MAX_DEPTH) + 1, MAX_DEPTH.into()).into())
}

/// The entry at `row` and `column` of the indirect block at `address`: address, stored bytes, filter mask.
fn indirect_entry(
    session: &mut Session<'_>,
    heap: &FractalHeap,
    address: u64,
    rows: u32,
    row: u32,
    column: u64,
) -> Result<(Option<u64>, u64, u32), Stop> {
    let context = session.context;
    let (o, l) = (u64::from(context.offset_bytes), u64::from(context.length_bytes));
    let direct_entry = if heap.filters.is_empty() { o } else { o + l + 4 };
    let n_direct = u64::from(rows.min(heap.direct_rows())) * heap.width;
    let n_indirect = u64::from(rows.saturating_sub(heap.direct_rows())) * heap.width;
    let prefix = 5 + o + heap.place_bytes() as u64;
    let total = prefix + n_direct * direct_entry + n_indirect * o + 4;
    if total > MAX_BLOCK_BYTES {
        return Err(too_large("fractal heap block", total, MAX_BLOCK_BYTES).into());
    }
    let offset = session.offset("fractal heap block", address)?;
    let block = session.bytes.get("fractal heap block", offset, total)?;
    if session.memo.verified_blocks.insert((address, total)) {
        session.read("fractal heap block", address, total)?;
        if !block.starts_with(b"FHIB") {
            return Err(malformed("fractal heap block", offset, "it has no signature").into());
        }
        checksum::verify("fractal heap block", offset, block)?;
    }
    let entry = u64::from(row) * heap.width + column;
    let is_direct = row < heap.direct_rows();
    let at =
        if is_direct { entry * direct_entry } else { n_direct * direct_entry + entry.saturating_sub(n_direct) * o };
    let mut cursor = Cursor::new("fractal heap block", offset, block);
    cursor.skip(usize::try_from(prefix + at).unwrap_or(usize::MAX))?;
    let child = cursor.address(context.offset_bytes)?;
    if is_direct && !heap.filters.is_empty() {
        return Ok((child, cursor.uint(context.length_bytes.into())?, cursor.u32()?));
    }
    Ok((child, 0, 0))
}

/// The bytes of a direct block, with its own header.
fn direct_block(session: &mut Session<'_>, heap: &FractalHeap, direct: &Direct) -> Result<Arc<Vec<u8>>, Stop> {
    if let Some(block) = session.memo.heap_blocks.get(&direct.address) {
        return Ok(Arc::clone(block));
    }
    let offset = session.offset("fractal heap block", direct.address)?;
    let mut block = if heap.filters.is_empty() {
        session.read("fractal heap block", direct.address, direct.n_bytes)?.to_vec()
    } else {
        let stored = session.read("fractal heap block", direct.address, direct.filtered.0)?;
        unfilter(&heap.filters, direct.filtered.1, stored, direct.n_bytes)?
    };
    if block.len() as u64 != direct.n_bytes || !block.starts_with(b"FHDB") {
        return Err(malformed("fractal heap block", offset, "it has no signature or the wrong size").into());
    }
    if heap.has_block_checksums {
        // The checksum lies behind the block's header and counts as zero in its own sum.
        let at = 5 + usize::from(session.context.offset_bytes) + heap.place_bytes();
        let field = block.get_mut(at..at + 4);
        let field = field.ok_or_else(|| malformed("fractal heap block", offset, "it is too short"))?;
        let mut stored = [0; 4];
        stored.copy_from_slice(field);
        field.fill(0);
        if !checksum::matches(&block, stored) {
            return Err(malformed("fractal heap block", offset, "its checksum does not match").into());
        }
    }
    session.count_values("fractal heap blocks", block.len() as u64)?;
    let block = Arc::new(block);
    session.memo.heap_blocks.insert(direct.address, Arc::clone(&block));
    Ok(block)
}

fn huge(session: &mut Session<'_>, heap: &FractalHeap, cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Stop> {
    let context = session.context;
    let (o, l) = (context.offset_bytes, usize::from(context.length_bytes));
    let is_filtered = !heap.filters.is_empty();
    let direct_bytes = usize::from(o) + l + if is_filtered { 4 + l } else { 0 };
    if usize::from(heap.id_bytes) > direct_bytes {
        return huge_at(session, heap, cursor);
    }
    let index = heap.huge_index.ok_or_else(|| cursor.bad("the heap has no huge objects".into()))?;
    let wanted = cursor.uint(usize::from(heap.id_bytes.saturating_sub(1)).min(8))?;
    for record in session.records(index)?.iter() {
        let mut record = Cursor::new("huge object of a fractal heap", index, record);
        let mut place = record.clone();
        record.skip(direct_bytes)?;
        if record.uint(l)? == wanted {
            return huge_at(session, heap, &mut place);
        }
    }
    Err(cursor.bad(format!("huge object {wanted} is not in the heap")).into())
}

/// A huge object whose address is next.
fn huge_at(session: &mut Session<'_>, heap: &FractalHeap, cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Stop> {
    let context = session.context;
    let l = usize::from(context.length_bytes);
    let address = cursor.address(context.offset_bytes)?.ok_or_else(|| cursor.bad("it is nowhere".into()))?;
    let n_bytes = cursor.uint(l)?;
    if n_bytes > MAX_BLOCK_BYTES {
        return Err(too_large("huge object of a fractal heap", n_bytes, MAX_BLOCK_BYTES).into());
    }
    if heap.filters.is_empty() {
        return Ok(session.read("huge object of a fractal heap", address, n_bytes)?.to_vec());
    }
    let (mask, memory_bytes) = (cursor.u32()?, cursor.uint(l)?);
    let stored = session.read("huge object of a fractal heap", address, n_bytes)?;
    Ok(unfilter(&heap.filters, mask, stored, memory_bytes)?)
}

/// Undoes the filters of a block.
fn unfilter(filters: &[Filter], mask: u32, stored: &[u8], n_bytes: u64) -> Result<Vec<u8>, FormatError> {
    if n_bytes > MAX_BLOCK_BYTES {
        return Err(too_large("fractal heap block", n_bytes, MAX_BLOCK_BYTES));
    }
    let steps: Vec<Codec> = filters.iter().map(|filter| pipeline::codec(filter, 1)).collect();
    let chain = CodecChain { steps, ..CodecChain::default() };
    let decoded_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
    let form = ChunkForm { chain: &chain, swap_bytes: 1, decoded_bytes };
    Ok(Codecs::new().decode(&form, stored, mask)?.to_vec())
}
