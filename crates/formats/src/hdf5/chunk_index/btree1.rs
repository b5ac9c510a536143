//! Chunks in a version 1 B-tree, the index of all files before HDF5 1.10 and of most since.
//!
//! Keys carry a chunk's size, the filters it skipped and its first element in every dimension, the last of which is
//! the element's own bytes.

use frazil_model::manifest::{ChunkPlace, ChunkRanges};

use crate::{
    error::FormatError,
    hdf5::cursor::Cursor,
    sparse::{SparseBytes, Stop, Wants},
};

use super::{Budget, Grid, Rows, malformed};

/// Entries of a node unless the file was made with another setting; a larger node takes a second read.
const USUAL_ENTRIES: u64 = 64;

/// A node's address, and the level it must have.
#[derive(Clone, Copy)]
struct Node {
    address: u64,
    level: Option<u8>,
}

/// What a node holds.
struct Inside {
    level: u8,
    entries: Vec<Entry>,
}

struct Entry {
    length: u64,
    skipped_steps: u32,
    /// First element of the chunk.
    start: Vec<u64>,
    child: Option<u64>,
}

pub(super) fn walk(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, Stop> {
    let mut budget = Budget::of(bytes);
    let mut rows = Rows::default();
    let mut nodes = vec![Node { address, level: None }];
    // Levels fall by one from round to round, so this ends after 256 of them.
    while !nodes.is_empty() {
        let mut wants = Wants::default();
        let mut below = Vec::new();
        for node in &nodes {
            let Some(inside) = wants.collect(read(*node, grid, bytes, &mut budget))? else {
                continue;
            };
            for entry in inside.entries {
                if inside.level == 0 {
                    push(entry, grid, &mut rows)?;
                } else if let Some(address) = entry.child {
                    below.push(Node { address, level: Some(inside.level - 1) });
                }
            }
        }
        wants.or_stop()?;
        nodes = below;
    }
    Ok(rows.table())
}

fn push(entry: Entry, grid: &Grid<'_>, rows: &mut Rows) -> Result<(), FormatError> {
    let Some(address) = entry.child else {
        return Ok(());
    };
    let chunk_shape = grid.request.chunk_shape;
    if entry.start.iter().zip(chunk_shape).any(|(start, length)| start % length != 0) {
        return Err(malformed(address, format!("a chunk of shape {chunk_shape:?} starts at {:?}", entry.start)));
    }
    let position: Vec<u64> = entry.start.iter().zip(chunk_shape).map(|(start, length)| start / length).collect();
    let Some(number) = grid.number(&position) else {
        return Ok(());
    };
    let offset = grid.offset(address)?;
    rows.push(number, ChunkPlace { offset, length: entry.length, skipped_steps: entry.skipped_steps })
}

fn read(node: Node, grid: &Grid<'_>, bytes: &SparseBytes, budget: &mut Budget) -> Result<Inside, Stop> {
    let what = "chunk B-tree node";
    let at = grid.offset(node.address)?;
    let offset_bytes = u64::from(grid.context.offset_bytes);
    let rank = grid.counts.len();
    let header_bytes = 8 + 2 * offset_bytes;
    let entry_bytes = 8 + 8 * (rank as u64 + 1) + offset_bytes;
    let guess = bytes.get_up_to(what, at, header_bytes + USUAL_ENTRIES * entry_bytes)?;
    let mut cursor = Cursor::new(what, at, guess);
    if cursor.take(4)? != b"TREE" || cursor.u8()? != 1 {
        return Err(malformed(at, "a node that is none of a chunk B-tree").into());
    }
    let level = cursor.u8()?;
    let n_entries = cursor.u16()?;
    if node.level.is_some_and(|expected| expected != level) {
        return Err(malformed(at, format!("a node of level {level} in the wrong place")).into());
    }
    let n_bytes = header_bytes + u64::from(n_entries) * entry_bytes;
    budget.spend(at, n_bytes)?;
    let mut cursor = Cursor::new(what, at, bytes.get(what, at, n_bytes)?);
    cursor.skip(usize::try_from(header_bytes).unwrap_or(usize::MAX))?;
    let mut entries = Vec::with_capacity(n_entries.into());
    for _ in 0..n_entries {
        let length = u64::from(cursor.u32()?);
        let skipped_steps = cursor.u32()?;
        let mut start = Vec::with_capacity(rank);
        for _ in 0..rank {
            start.push(cursor.uint(8)?);
        }
        cursor.skip(8)?;
        let child = cursor.address(grid.context.offset_bytes)?;
        entries.push(Entry { length, skipped_steps, start, child });
    }
    Ok(Inside { level, entries })
}
