//! Chunks that lie one after another, in the order of the largest grid: no index at all.

use frazil_model::manifest::{ChunkPlace, ChunkRanges};

use crate::{error::FormatError, sparse::SparseBytes};

use super::{Grid, Rows, malformed};

pub(super) fn walk(address: u64, grid: &Grid<'_>, bytes: &SparseBytes) -> Result<ChunkRanges, FormatError> {
    let start = grid.offset(address)?;
    let n_chunks: u64 = grid.counts.iter().product();
    // Before anything is made of the grid: all of its chunks must be in the file.
    let end = n_chunks.checked_mul(grid.chunk_bytes).and_then(|n_bytes| start.checked_add(n_bytes));
    let end = end.unwrap_or(u64::MAX);
    if grid.chunk_bytes == 0 || end > bytes.size_bytes() {
        let what = "the chunks of an array without an index".to_owned();
        return Err(FormatError::Truncated { what, offset: start, end, size_bytes: bytes.size_bytes() });
    }
    let max_counts: Option<Vec<u64>> = grid.max_counts().into_iter().collect();
    let max_counts = max_counts.ok_or_else(|| malformed(start, "an unlimited array without an index"))?;
    let mut rows = Rows::default();
    let mut position = vec![0; grid.counts.len()];
    for number in 0..n_chunks {
        let mut rest = number;
        for (at, count) in position.iter_mut().zip(&grid.counts).rev() {
            *at = rest % count;
            rest /= count;
        }
        let among_all = position
            .iter()
            .zip(&max_counts)
            .try_fold(0_u64, |sum, (at, count)| sum.checked_mul(*count)?.checked_add(*at));
        let offset = among_all.and_then(|index| index.checked_mul(grid.chunk_bytes)?.checked_add(start));
        let offset = offset.ok_or_else(|| malformed(start, "a chunk beyond any file"))?;
        rows.push(number, ChunkPlace { offset, length: grid.chunk_bytes, skipped_steps: 0 })?;
    }
    Ok(rows.table())
}
