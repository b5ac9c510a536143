//! The memory that a task fills: one buffer a target chunk, in slabs that threads fill side by side.
//!
//! Source chunks arrive in any order from several threads, and each writes its own places. A slab is a run of rows
//! along the first dimension with a lock of its own; all slabs of a chunk lie in one allocation, so that they can be
//! put together without a copy and handed to the encoder.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use frazil_model::region::Region;

/// A slab is about this large: small enough that threads seldom meet, large enough that locks do not count.
const SLAB_BYTES: usize = 256 << 10;

/// Writes rows of a slab: its bytes, its first row, and the rows to write.
pub type RowWriter<'a> = dyn FnMut(&mut [u8], usize, std::ops::Range<usize>) + 'a;

/// One target chunk that is being filled.
#[derive(Debug)]
pub struct ChunkBuffer {
    /// The chunk's box in the array, cut at the array's end.
    pub region: Region,
    /// Rows along the first dimension in each slab but the last.
    rows_of_slab: usize,
    slabs: Vec<Mutex<BytesMut>>,
}

/// Buffers of finished tasks, kept for the next ones: fresh memory costs a page fault for every 4 KiB.
#[derive(Debug, Default)]
pub struct Pool {
    spare: Mutex<Vec<BytesMut>>,
}

impl Pool {
    /// A buffer of `n_bytes` with any content.
    fn take(&self, n_bytes: usize) -> BytesMut {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = spare.iter().position(|buffer| buffer.len() == n_bytes) {
            return spare.swap_remove(at);
        }
        // Buffers of another array's size would only take room from the budget.
        spare.clear();
        BytesMut::zeroed(n_bytes)
    }

    /// Sees to it that `n_buffers` of `n_bytes` each are there. What is missing is one allocation: thousands of small
    /// ones would stay with the allocator of the thread that made them when the next array needs other sizes.
    pub fn stock(&self, n_buffers: usize, n_bytes: usize) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|buffer| buffer.len() == n_bytes);
        let n_missing = n_buffers.saturating_sub(spare.len());
        let (Some(total), true) = (n_bytes.checked_mul(n_missing), n_missing > 0 && n_bytes > 0) else { return };
        let mut block = BytesMut::zeroed(total);
        while block.len() > n_bytes {
            let rest = block.split_off(n_bytes);
            spare.push(block);
            block = rest;
        }
        spare.push(block);
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: BytesMut) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

impl ChunkBuffer {
    /// A buffer for a chunk of `chunk_shape`. With `fill`, every element is set to it first; without, the content is
    /// whatever it is, and the caller must write every element.
    #[must_use]
    pub fn new(pool: &Pool, region: Region, chunk_shape: &[u64], element_bytes: usize, fill: Option<&[u8]>) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let n_rows = chunk_shape.first().map_or(1, |rows| size(*rows));
        let row_bytes = chunk_shape.iter().skip(1).map(|length| size(*length)).product::<usize>() * element_bytes;
        let mut whole = pool.take(n_rows * row_bytes);
        if let Some(fill) = fill {
            fill_with(&mut whole, fill);
        }
        let rows_of_slab = (SLAB_BYTES / row_bytes.max(1)).clamp(1, n_rows.max(1));
        let mut slabs = Vec::with_capacity(n_rows.div_ceil(rows_of_slab));
        while whole.len() > rows_of_slab * row_bytes {
            let rest = whole.split_off(rows_of_slab * row_bytes);
            slabs.push(Mutex::new(whole));
            whole = rest;
        }
        slabs.push(Mutex::new(whole));
        Self { region, rows_of_slab, slabs }
    }

    /// Runs `write` on each slab that holds rows `first .. first + n_rows`, with the slab's first row, and the part of
    /// the rows that lies in it.
    pub fn rows(&self, first: usize, n_rows: usize, write: &mut RowWriter<'_>) {
        let mut row = first;
        let end = first + n_rows;
        while row < end {
            let number = row / self.rows_of_slab;
            let slab_first = number * self.rows_of_slab;
            let slab_end = end.min(slab_first + self.rows_of_slab);
            if let Some(slab) = self.slabs.get(number) {
                let mut bytes = slab.lock().unwrap_or_else(PoisonError::into_inner);
                write(&mut bytes, slab_first, row..slab_end);
            }
            row = slab_end;
        }
    }

    /// Takes the filled chunk out, in one piece; the buffer is empty afterwards.
    #[must_use]
    pub fn take_whole(&self) -> BytesMut {
        let mut slabs =
            self.slabs.iter().map(|slab| std::mem::take(&mut *slab.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut whole = slabs.next().unwrap_or_default();
        for slab in slabs {
            whole.unsplit(slab);
        }
        whole
    }
}

/// Repeats `fill` over `buffer`.
pub fn fill_with(buffer: &mut [u8], fill: &[u8]) {
    match fill {
        [first, rest @ ..] if rest.iter().all(|byte| byte == first) => buffer.fill(*first),
        _ => {
            for cell in buffer.chunks_exact_mut(fill.len().max(1)) {
                cell.copy_from_slice(fill);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_come_together_in_one_piece() {
        let pool = Pool::default();
        let chunk = [5, 100_000];
        let buffer = ChunkBuffer::new(&pool, Region::whole(&chunk), &chunk, 1, Some(&[7]));
        assert!(buffer.slabs.len() > 1);
        buffer.rows(1, 3, &mut |bytes, slab_first, rows| {
            for row in rows {
                bytes[(row - slab_first) * 100_000] = u8::try_from(row).unwrap();
            }
        });
        let whole = buffer.take_whole();
        let first_of_row: Vec<u8> = whole.iter().step_by(100_000).copied().collect();
        assert_eq!((whole.len(), first_of_row), (500_000, vec![7, 1, 2, 3, 7]));
    }
}
