//! The digest of a variable's stored values, so that two copies of a dataset can be compared anywhere.
//!
//! SHA-256 over the stored values in C order, little-endian, without scaling; texts of fixed size are their cells,
//! padded with NUL; texts of any length are UTF-8, joined with one NUL. It promises that it holds a slab at a time,
//! never a large variable.

use frazil_model::{
    dataset::Variable,
    dtype::DataType,
    region::{Region, count},
};
use sha2::{Digest, Sha256};

use crate::{boxes::Boxes, error::EngineError};

/// A variable of more than this, and far more than its file has, is mostly values that were never written.
const LARGE_BYTES: u64 = 1 << 30;

/// How much more a variable may hold than is stored.
const MOST_TIMES_STORED: u64 = 1000;

/// Bytes that a number of the 80-bit format has, and those of its cell in memory.
const LONG_DOUBLE_BYTES: usize = 10;
const LONG_DOUBLE_CELL: usize = 16;

/// Texts read at once.
const TEXTS_AT_ONCE: u64 = 64 << 10;

/// The digest of variable `number`: `sha256:…`.
///
/// `stored_bytes` is what its file or its objects take in all; `slab_bytes` is held at a time.
pub(super) fn digest(
    boxes: &mut dyn Boxes,
    number: usize,
    stored_bytes: u64,
    slab_bytes: u64,
) -> Result<String, Undigested> {
    let Some(variable) = boxes.dataset().variables.get(number).cloned() else {
        return Err(Undigested::Reason("there is no such variable".into()));
    };
    let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let n_bytes = variable.n_elements().saturating_mul(element_bytes);
    if n_bytes > LARGE_BYTES && n_bytes / MOST_TIMES_STORED > stored_bytes {
        return Err(Undigested::Reason(format!(
            "too large to digest: {n_bytes} bytes of values, of which at most {stored_bytes} are stored"
        )));
    }
    let mut hasher = Sha256::new();
    if variable.dtype == DataType::String {
        let mut is_first = true;
        for region in slabs(&variable, 1, TEXTS_AT_ONCE) {
            for text in boxes.texts(number, &region)? {
                if !is_first {
                    hasher.update([0]);
                }
                hasher.update(text.unwrap_or_default().as_bytes());
                is_first = false;
            }
        }
    } else {
        let mut slab = Vec::new();
        for region in slabs(&variable, element_bytes, slab_bytes) {
            let n_bytes = region.n_elements().saturating_mul(element_bytes);
            slab.resize(usize::try_from(n_bytes).unwrap_or(0), 0);
            boxes.read(number, &region, &mut slab)?;
            match long_double_bytes(&variable.dtype) {
                // Bytes that the number does not use are zero in memory, whatever they are in a file.
                Some(size_bytes) => slab.chunks(size_bytes).for_each(|number| {
                    let mut cell = [0; LONG_DOUBLE_CELL];
                    let n_used = number.len().min(LONG_DOUBLE_BYTES);
                    cell[..n_used].copy_from_slice(&number[..n_used]);
                    hasher.update(cell);
                }),
                None => hasher.update(&slab),
            }
        }
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}

/// Stored bytes of a long double in the 80-bit format of x87, if the type is one.
fn long_double_bytes(dtype: &DataType) -> Option<usize> {
    match dtype {
        DataType::Raw { name, size_bytes }
            if ["<f12", "<f16"].contains(&name.as_str()) && (10..16).contains(size_bytes) =>
        {
            usize::try_from(*size_bytes).ok()
        }
        _ => None,
    }
}

/// Why there is no digest.
#[derive(Debug)]
pub(super) enum Undigested {
    Reason(String),
    Error(EngineError),
}

impl From<EngineError> for Undigested {
    fn from(error: EngineError) -> Self {
        Self::Error(error)
    }
}

/// Boxes that follow one another in C order and together are the variable, of about `slab_bytes` each; whole rows of
/// chunks where they fit, so that a chunk is decoded once.
fn slabs(variable: &Variable, element_bytes: u64, slab_bytes: u64) -> impl Iterator<Item = Region> {
    let shape = variable.shape.clone();
    let row_bytes = |axis: usize| count(&shape[axis + 1..]).saturating_mul(element_bytes).max(1);
    let axis = (0..shape.len()).find(|axis| row_bytes(*axis) <= slab_bytes);
    let axis = axis.unwrap_or(shape.len().saturating_sub(1));
    let (outer, rows, length) = match shape.get(axis) {
        None => (Vec::new(), 1, 1),
        Some(length) => {
            let rows = (slab_bytes / row_bytes(axis)).clamp(1, (*length).max(1));
            let chunk = variable.chunk_shape.get(axis).copied().unwrap_or(1).max(1);
            (shape[..axis].to_vec(), if rows > chunk { rows / chunk * chunk } else { rows }, *length)
        }
    };
    let n_parts = length.div_ceil(rows);
    let n_slabs = if count(&shape) == 0 { 0 } else { count(&outer).saturating_mul(n_parts) };
    (0..n_slabs).map(move |number| {
        let mut region = Region::whole(&shape);
        let outer_at = frazil_model::region::coordinates_of(number / n_parts, &outer);
        for (place, at) in outer_at.iter().enumerate() {
            (region.start[place], region.shape[place]) = (*at, 1);
        }
        if let Some(start) = region.start.get_mut(axis) {
            *start = number % n_parts * rows;
            region.shape[axis] = rows.min(length - region.start[axis]);
        }
        region
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use frazil_model::{attribute::Attributes, codec::CodecChain, dataset::Role};
    use proptest::prelude::*;

    fn variable(shape: Vec<u64>, chunk_shape: Vec<u64>) -> Variable {
        Variable {
            path: "/a".into(),
            role: Role::Variable,
            dimensions: Vec::new(),
            shape,
            dtype: DataType::Char,
            chunk_shape,
            is_chunked: true,
            codecs: CodecChain::default(),
            fill: vec![0],
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn a_scalar_is_one_slab_and_an_empty_array_none() {
        assert_eq!(slabs(&variable(vec![], vec![]), 4, 100).collect::<Vec<_>>(), [Region::default()]);
        assert_eq!(slabs(&variable(vec![0, 4], vec![1, 4]), 4, 100).count(), 0);
    }

    proptest! {
        #[test]
        fn slabs_follow_one_another_and_are_the_whole(
            shape in proptest::collection::vec(1..7_u64, 1..4), chunk in 1..4_u64, slab in 1..200_u64,
        ) {
            let variable = variable(shape.clone(), vec![chunk; shape.len()]);
            let mut next = 0;
            for region in slabs(&variable, 1, slab) {
                for (first, run) in crate::strided::runs(&shape, &region) {
                    prop_assert_eq!(first, next);
                    next += run.len() as u64;
                }
            }
            prop_assert_eq!(next, count(&shape));
        }
    }
}
