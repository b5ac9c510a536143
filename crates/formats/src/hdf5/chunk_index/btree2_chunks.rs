//! Chunks in a version 2 B-tree: arrays with two or more unlimited dimensions.

use frazil_model::manifest::ChunkRanges;

use crate::{
    hdf5::{btree2, cursor::Cursor},
    sparse::{SparseBytes, Stop},
};

use super::{Grid, Rows, malformed};

/// Type numbers of trees of unfiltered and filtered chunks.
const UNFILTERED: u8 = 10;
const FILTERED: u8 = 11;

pub(super) fn walk(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, Stop> {
    let (kind, records) = btree2::tree(address, &grid.context, bytes)?;
    let expected = if grid.request.filtered { FILTERED } else { UNFILTERED };
    if kind != expected {
        return Err(malformed(address, format!("a B-tree of type {kind} instead of {expected}")).into());
    }
    let rank = grid.counts.len();
    let mut rows = Rows::default();
    for record in records {
        let entry = grid.entry(address, record.len() as u64, 8 * rank as u64)?;
        let mut cursor = Cursor::new("chunk record", address, &record);
        let place = grid.element(&mut cursor, entry)?;
        let position = (0..rank).map(|_| cursor.uint(8)).collect::<Result<Vec<u64>, _>>()?;
        if let (Some(place), Some(number)) = (place, grid.number(&position)) {
            rows.push(number, place)?;
        }
    }
    Ok(rows.table())
}
