//! The one chunk of an array that fits in it.

use frazil_model::manifest::{ChunkPlace, ChunkRanges};

use crate::error::FormatError;

use super::{Grid, Rows};

pub(super) fn walk(
    address: u64,
    filtered_size: Option<u64>,
    filter_mask: u32,
    grid: &Grid<'_>,
) -> Result<ChunkRanges, FormatError> {
    let length = filtered_size.unwrap_or(grid.chunk_bytes);
    let mut rows = Rows::default();
    rows.push(0, ChunkPlace { offset: grid.offset(address)?, length, skipped_steps: filter_mask })?;
    Ok(rows.table())
}
