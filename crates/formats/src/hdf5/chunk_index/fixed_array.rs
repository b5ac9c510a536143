//! Chunks in a fixed array: arrays whose dimensions all have an end.
//!
//! The list runs over the largest shape, which may be far larger than the present one. A long list is cut into pages,
//! and a bitmap says which of them were ever written.

use frazil_model::manifest::ChunkRanges;

use crate::{
    hdf5::{checksum, cursor::Cursor},
    sparse::{SparseBytes, Stop, Wants},
};

use super::{Budget, Entry, Grid, Order, Rows, malformed};

const WHAT: &str = "fixed array of chunks";
const CHECKSUM_BYTES: u64 = 4;

struct Header {
    entry: Entry,
    entry_bytes: u64,
    page_entries: u64,
    n_entries: u64,
    block: u64,
}

pub(super) fn walk(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, Stop> {
    let Some(header) = header(address, grid, bytes)? else {
        return Ok(ChunkRanges::default());
    };
    let order = Order::of(grid)?;
    let mut rows = Rows::default();
    let at = grid.offset(header.block)?;
    let prefix_bytes = 6 + u64::from(grid.context.offset_bytes);
    let is_paged = header.n_entries > header.page_entries;
    let n_pages = if is_paged { header.n_entries.div_ceil(header.page_entries) } else { 0 };
    let inside_bytes = if is_paged { n_pages.div_ceil(8) } else { header.n_entries * header.entry_bytes };
    let block_bytes = prefix_bytes + inside_bytes + CHECKSUM_BYTES;
    let structure = bytes.get(WHAT, at, block_bytes)?;
    let mut cursor = Cursor::new(WHAT, at, structure);
    if cursor.take(4)? != b"FADB" {
        return Err(malformed(at, "a fixed array without its data block").into());
    }
    checksum::verify(WHAT, at, structure)?;
    cursor.skip(2 + usize::from(grid.context.offset_bytes))?;
    if !is_paged {
        for index in 0..header.n_entries {
            if let (Some(place), Some(number)) = (grid.element(&mut cursor, header.entry)?, order.number(grid, index)) {
                rows.push(number, place)?;
            }
        }
        return Ok(rows.table());
    }
    let bitmap = cursor.take(usize::try_from(inside_bytes).unwrap_or(usize::MAX))?;
    let mut wants = Wants::default();
    let mut budget = Budget::of(bytes);
    let page_bytes = header.page_entries * header.entry_bytes + CHECKSUM_BYTES;
    for page in (0..n_pages).filter(|page| is_written(bitmap, *page)) {
        let first = page * header.page_entries;
        let n_entries = header.page_entries.min(header.n_entries - first);
        let page_at = page.checked_mul(page_bytes).and_then(|skip| at.checked_add(block_bytes)?.checked_add(skip));
        let page_at = page_at.ok_or_else(|| malformed(at, "a page beyond any file"))?;
        let used = n_entries * header.entry_bytes + CHECKSUM_BYTES;
        budget.spend(page_at, used)?;
        let Some(structure) = wants.collect(bytes.get(WHAT, page_at, used))? else {
            continue;
        };
        checksum::verify(WHAT, page_at, structure)?;
        let mut cursor = Cursor::new(WHAT, page_at, structure);
        for index in first..first + n_entries {
            if let (Some(place), Some(number)) = (grid.element(&mut cursor, header.entry)?, order.number(grid, index)) {
                rows.push(number, place)?;
            }
        }
    }
    wants.or_stop()?;
    Ok(rows.table())
}

/// Whether the bit of `page` is set; the first page's bit is the highest of the first byte.
pub(super) fn is_written(bitmap: &[u8], page: u64) -> bool {
    let byte = usize::try_from(page / 8).ok().and_then(|at| bitmap.get(at)).copied().unwrap_or(0);
    byte & (0x80 >> (page % 8)) != 0
}

fn header(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<Option<Header>, Stop> {
    let at = grid.offset(address)?;
    let n_bytes = 8 + u64::from(grid.context.offset_bytes) + u64::from(grid.context.length_bytes) + CHECKSUM_BYTES;
    let structure = bytes.get(WHAT, at, n_bytes)?;
    let mut cursor = Cursor::new(WHAT, at, structure);
    if cursor.take(4)? != b"FAHD" || cursor.u8()? != 0 {
        return Err(malformed(at, "a fixed array without its header").into());
    }
    checksum::verify(WHAT, at, structure)?;
    cursor.skip(1)?;
    let entry_bytes = u64::from(cursor.u8()?);
    let page_bits = cursor.u8()?;
    let n_entries = cursor.uint(grid.context.length_bytes.into())?;
    let Some(block) = cursor.address(grid.context.offset_bytes)? else {
        return Ok(None);
    };
    let page_entries = 1_u64.checked_shl(page_bits.into()).ok_or_else(|| malformed(at, "pages too large"))?;
    // Space for every entry is set aside in the file, so this bounds all that follows.
    if n_entries.checked_mul(entry_bytes).is_none_or(|all| all > bytes.size_bytes()) {
        return Err(malformed(at, format!("{n_entries} entries in a file of {} bytes", bytes.size_bytes())).into());
    }
    let entry = grid.entry(at, entry_bytes, 0)?;
    let page_entries = page_entries.min(n_entries.max(1));
    Ok(Some(Header { entry, entry_bytes, page_entries, n_entries, block }))
}
