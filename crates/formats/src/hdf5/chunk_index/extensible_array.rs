//! Chunks in an extensible array: arrays with one unlimited dimension.
//!
//! The list runs with the unlimited dimension slowest, wherever it stands in the shape. Its entries are spread over an
//! index block, data blocks and super blocks of data blocks that double in size; large data blocks are cut into pages.

use frazil_model::manifest::ChunkRanges;

use crate::{
    error::FormatError,
    hdf5::{checksum, cursor::Cursor},
    sparse::{SparseBytes, Stop, Wants},
};

use super::{Budget, Entry, Grid, Order, Rows, fixed_array::is_written, malformed};

const WHAT: &str = "extensible array of chunks";
const CHECKSUM_BYTES: u64 = 4;
/// An array cannot have more entries than this many bits can count.
const MAX_INDEX_BITS: u8 = 64;

struct Header {
    entry: Entry,
    entry_bytes: u64,
    /// Bytes of a block's place in the list.
    place_bytes: u64,
    /// Entries in the index block itself.
    n_first: u64,
    /// Entries of the smallest data block.
    smallest: u64,
    /// Super blocks whose data blocks the index block names directly.
    n_direct: u32,
    n_super_blocks: u32,
    page_entries: u64,
    index_block: u64,
}

/// Data blocks of super block `number`: how many, and entries of each.
struct SuperBlock {
    n_blocks: u64,
    block_entries: u64,
}

impl Header {
    fn super_block(&self, at: u64, number: u32) -> Result<SuperBlock, FormatError> {
        let n_blocks = 1_u64.checked_shl(number / 2);
        let block_entries = 1_u64.checked_shl(number.div_ceil(2)).and_then(|times| times.checked_mul(self.smallest));
        n_blocks
            .zip(block_entries)
            .map(|(n_blocks, block_entries)| SuperBlock { n_blocks, block_entries })
            .ok_or_else(|| malformed(at, format!("a super block of number {number}")))
    }
}

/// A data block to read: where, and the entry it begins with.
struct DataBlock<'a> {
    address: u64,
    first: u64,
    n_entries: u64,
    /// `None` for a block without pages.
    pages: Option<Pages<'a>>,
}

/// Which pages of a data block were written: the `count` bits from `first` of a bitmap.
struct Pages<'a> {
    bitmap: &'a [u8],
    first: u64,
    count: u64,
}

/// A super block to read.
struct Super {
    address: u64,
    first: u64,
    number: u32,
}

pub(super) fn walk(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, Stop> {
    let Some(header) = header(address, grid, bytes)? else {
        return Ok(ChunkRanges::default());
    };
    let mut walker =
        Walker { grid, bytes, header, order: Order::of(grid)?, budget: Budget::of(bytes), rows: Rows::default() };
    let (mut blocks, supers) = walker.index_block()?;
    let mut wants = Wants::default();
    // What can be asked for is asked for in this round: blocks of the index block, and super blocks.
    for one in &supers {
        if let Some(more) = wants.collect(walker.super_block(one))? {
            blocks.extend(more);
        }
    }
    for block in &blocks {
        wants.collect(walker.data_block(block))?;
    }
    wants.or_stop()?;
    Ok(walker.rows.table())
}

fn header(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<Option<Header>, Stop> {
    let at = grid.offset(address)?;
    let (offset_bytes, length_bytes) = (grid.context.offset_bytes, grid.context.length_bytes);
    let n_bytes = 12 + 6 * u64::from(length_bytes) + u64::from(offset_bytes) + CHECKSUM_BYTES;
    let structure = bytes.get(WHAT, at, n_bytes)?;
    let mut cursor = Cursor::new(WHAT, at, structure);
    if cursor.take(4)? != b"EAHD" || cursor.u8()? != 0 {
        return Err(malformed(at, "an extensible array without its header").into());
    }
    checksum::verify(WHAT, at, structure)?;
    cursor.skip(1)?;
    let entry_bytes = u64::from(cursor.u8()?);
    let index_bits = cursor.u8()?;
    let n_first = u64::from(cursor.u8()?);
    let smallest = u64::from(cursor.u8()?);
    let least_pointers = u64::from(cursor.u8()?);
    let page_bits = cursor.u8()?;
    cursor.skip(6 * usize::from(length_bytes))?;
    let Some(index_block) = cursor.address(offset_bytes)? else {
        return Ok(None);
    };
    let sound = smallest.is_power_of_two() && least_pointers.is_power_of_two() && index_bits <= MAX_INDEX_BITS;
    let smallest_bits = smallest.checked_ilog2().unwrap_or(0);
    let page_entries = 1_u64.checked_shl(page_bits.into());
    let (true, Some(page_entries), Some(more)) =
        (sound, page_entries, u32::from(index_bits).checked_sub(smallest_bits))
    else {
        return Err(malformed(at, "an extensible array with impossible settings").into());
    };
    Ok(Some(Header {
        entry: grid.entry(at, entry_bytes, 0)?,
        entry_bytes,
        place_bytes: u64::from(index_bits).div_ceil(8),
        n_first,
        smallest,
        n_direct: 2 * least_pointers.ilog2(),
        n_super_blocks: 1 + more,
        page_entries,
        index_block,
    }))
}

struct Walker<'a> {
    grid: &'a Grid<'a>,
    bytes: &'a SparseBytes,
    header: Header,
    order: Order,
    budget: Budget,
    rows: Rows,
}

impl<'a> Walker<'a> {
    /// Reads `n_bytes` at `address`, whose checksum is in the last four and which begin with `signature`; the answer
    /// is past signature, version, type, the header's address and the block's place of `place_bytes`.
    fn block(&mut self, signature: &[u8; 4], address: u64, n_bytes: u64, place_bytes: u64) -> Result<Cursor<'a>, Stop> {
        let at = self.grid.offset(address)?;
        self.budget.spend(at, n_bytes)?;
        let structure = self.bytes.get(WHAT, at, n_bytes)?;
        let mut cursor = Cursor::new(WHAT, at, structure);
        if cursor.take(4)? != signature {
            return Err(malformed(at, "a block of an extensible array with the wrong signature").into());
        }
        checksum::verify(WHAT, at, structure)?;
        cursor.skip(2 + usize::from(self.grid.context.offset_bytes) + usize::try_from(place_bytes).unwrap_or(0))?;
        Ok(cursor)
    }

    fn frame_bytes(&self, place_bytes: u64) -> u64 {
        6 + u64::from(self.grid.context.offset_bytes) + place_bytes + CHECKSUM_BYTES
    }

    fn entries(&mut self, cursor: &mut Cursor<'_>, first: u64, n_entries: u64) -> Result<(), FormatError> {
        for index in first..first.saturating_add(n_entries) {
            let place = self.grid.element(cursor, self.header.entry)?;
            if let (Some(place), Some(number)) = (place, self.order.number(self.grid, index)) {
                self.rows.push(number, place)?;
            }
        }
        Ok(())
    }

    fn index_block(&mut self) -> Result<(Vec<DataBlock<'a>>, Vec<Super>), Stop> {
        let header = &self.header;
        let (address, n_first, offset_bytes) = (header.index_block, header.n_first, self.grid.context.offset_bytes);
        let n_direct = header.n_direct.min(header.n_super_blocks);
        let plan: Vec<SuperBlock> =
            (0..header.n_super_blocks).map(|number| header.super_block(address, number)).collect::<Result<_, _>>()?;
        let n_named: u64 = plan.iter().take(n_direct as usize).map(|one| one.n_blocks).sum();
        let n_pointers = n_named + u64::from(header.n_super_blocks - n_direct);
        let n_bytes = self.frame_bytes(0) + n_first * header.entry_bytes + n_pointers * u64::from(offset_bytes);
        let mut cursor = self.block(b"EAIB", address, n_bytes, 0)?;
        self.entries(&mut cursor, 0, n_first)?;
        let (mut blocks, mut supers) = (Vec::new(), Vec::new());
        let mut first = n_first;
        for (number, one) in (0_u32..).zip(&plan) {
            if number < n_direct {
                for _ in 0..one.n_blocks {
                    if let Some(address) = cursor.address(offset_bytes)? {
                        blocks.push(DataBlock { address, first, n_entries: one.block_entries, pages: None });
                    }
                    first = first.saturating_add(one.block_entries);
                }
            } else {
                if let Some(address) = cursor.address(offset_bytes)? {
                    supers.push(Super { address, first, number });
                }
                first = first.saturating_add(one.n_blocks.saturating_mul(one.block_entries));
            }
        }
        Ok((blocks, supers))
    }

    fn super_block(&mut self, one: &Super) -> Result<Vec<DataBlock<'a>>, Stop> {
        let SuperBlock { n_blocks, block_entries } = self.header.super_block(one.address, one.number)?;
        let offset_bytes = self.grid.context.offset_bytes;
        let is_paged = block_entries > self.header.page_entries;
        let n_pages = if is_paged { block_entries / self.header.page_entries } else { 0 };
        let bitmap_bytes = n_pages.div_ceil(8);
        let beyond = || malformed(one.address, "a super block beyond any file");
        let inside = bitmap_bytes.checked_add(offset_bytes.into()).and_then(|each| each.checked_mul(n_blocks));
        let n_bytes = inside.and_then(|inside| inside.checked_add(self.frame_bytes(self.header.place_bytes)));
        let n_bytes = n_bytes.ok_or_else(beyond)?;
        let mut cursor = self.block(b"EASB", one.address, n_bytes, self.header.place_bytes)?;
        let bitmaps = cursor.take(usize::try_from(bitmap_bytes * n_blocks).map_err(|_| beyond())?)?;
        let mut blocks = Vec::new();
        for number in 0..n_blocks {
            let Some(address) = cursor.address(offset_bytes)? else {
                continue;
            };
            // The bits of all blocks follow one another without a gap, though each block has whole bytes set aside.
            let pages = is_paged.then_some(Pages { bitmap: bitmaps, first: number * n_pages, count: n_pages });
            let first = number.checked_mul(block_entries).and_then(|skip| skip.checked_add(one.first));
            blocks.push(DataBlock { address, first: first.ok_or_else(beyond)?, n_entries: block_entries, pages });
        }
        Ok(blocks)
    }

    fn data_block(&mut self, block: &DataBlock<'_>) -> Result<(), Stop> {
        let beyond = || malformed(block.address, "a data block beyond any file");
        let entry_bytes = self.header.entry_bytes;
        let frame_bytes = self.frame_bytes(self.header.place_bytes);
        let Some(pages) = &block.pages else {
            let inside = block.n_entries.checked_mul(entry_bytes).and_then(|inside| inside.checked_add(frame_bytes));
            let mut cursor = self.block(b"EADB", block.address, inside.ok_or_else(beyond)?, self.header.place_bytes)?;
            return Ok(self.entries(&mut cursor, block.first, block.n_entries)?);
        };
        let mut wants = Wants::default();
        wants.collect(self.block(b"EADB", block.address, frame_bytes, self.header.place_bytes))?;
        let n_entries = self.header.page_entries;
        let page_bytes = n_entries.checked_mul(entry_bytes).and_then(|inside| inside.checked_add(CHECKSUM_BYTES));
        let page_bytes = page_bytes.ok_or_else(beyond)?;
        let start = self.grid.offset(block.address)?.checked_add(frame_bytes).ok_or_else(beyond)?;
        for page in (0..pages.count).filter(|page| is_written(pages.bitmap, pages.first + page)) {
            let at = page.checked_mul(page_bytes).and_then(|skip| skip.checked_add(start)).ok_or_else(beyond)?;
            self.budget.spend(at, page_bytes)?;
            let Some(structure) = wants.collect(self.bytes.get(WHAT, at, page_bytes))? else {
                continue;
            };
            checksum::verify(WHAT, at, structure)?;
            let first =
                page.checked_mul(n_entries).and_then(|skip| skip.checked_add(block.first)).ok_or_else(beyond)?;
            self.entries(&mut Cursor::new(WHAT, at, structure), first, n_entries)?;
        }
        wants.or_stop()
    }
}
