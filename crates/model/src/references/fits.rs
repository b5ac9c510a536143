//! Whether the chunks of a file are those of the array.

use super::{
    Equivalence, How, Origin, Why,
    form::{alike, plain_offset, same_bits, sayable},
    is_expressible, without_checksum,
};
use crate::{
    combine::{Piece, view::ViewAxis},
    dataset::Variable,
    layout::TargetArray,
    manifest::ChunkTable,
    packing::ValueRule,
    region::count,
};

/// How the chunks of a piece are the array's.
pub(super) fn how(
    piece: &Piece,
    origin: Origin<'_>,
    target: &TargetArray,
    equivalence: Equivalence,
) -> Result<How, Why> {
    let variable = origin.variable;
    if piece.rule != ValueRule::Verbatim || !same_bits(&variable.dtype, &target.dtype) {
        return Err(Why::Values);
    }
    let Some(ChunkTable::Ranges(_)) = origin.table else { return Err(Why::Elsewhere) };
    if piece.axes.iter().any(|axis| matches!(axis, ViewAxis::Source { step, .. } if *step != 1)) {
        return Err(Why::Order);
    }
    let swap_bytes = target.dtype.swap_bytes();
    let (chain, trailer_bytes) = without_checksum(&variable.codecs);
    let chain = sayable(chain, &target.dtype);
    if !is_expressible(&chain) {
        return Err(Why::NoCodec);
    }
    if !alike(&chain, &target.codecs, swap_bytes, equivalence) {
        return Err(Why::Codecs);
    }
    if let Some(offset) = plain_offset(origin)
        && let Some(plain) = plain(piece, variable, target, offset)
    {
        return Ok(plain);
    }
    whole_chunks(piece, variable, target, trailer_bytes)
}

/// A run of plain bytes, if each of the array's chunks is one.
fn plain(piece: &Piece, variable: &Variable, target: &TargetArray, offset: u64) -> Option<How> {
    let element_bytes = u64::from(variable.dtype.size_bytes()?);
    let mut start = Vec::new();
    let mut shape = Vec::new();
    let mut next = 0;
    for axis in &piece.axes {
        match axis {
            ViewAxis::New => {
                start.push(0);
                shape.push(1);
            }
            ViewAxis::Source { axis, start: first, step: 1 } if *axis == next => {
                start.push(*first);
                shape.push(*variable.shape.get(*axis)?);
                next += 1;
            }
            ViewAxis::Source { .. } => return None,
        }
    }
    // All dimensions of the file are there, in its order.
    if next != variable.shape.len() {
        return None;
    }
    let n_axes = shape.len();
    let is_cut = (0..n_axes).position(|axis| target.chunk_shape[axis] > 1).unwrap_or(n_axes);
    let is_whole = (is_cut + 1..n_axes).all(|axis| target.chunk_shape[axis] == shape[axis]);
    is_whole.then_some(How::Plain { offset, start, shape, element_bytes })
}

/// Whole chunks of the file, if the array's are just those.
fn whole_chunks(piece: &Piece, variable: &Variable, target: &TargetArray, trailer_bytes: u64) -> Result<How, Why> {
    let mut cells: Vec<Option<(Option<usize>, i64)>> = vec![None; variable.shape.len()];
    let mut last_long = None;
    for (number, axis) in piece.axes.iter().enumerate() {
        let chunk = target.chunk_shape[number];
        let ViewAxis::Source { axis, start, .. } = *axis else {
            if chunk != 1 {
                return Err(Why::Chunks);
            }
            continue;
        };
        if variable.chunk_shape.get(axis) != Some(&chunk) {
            return Err(Why::Chunks);
        }
        // Dimensions of single elements may stand anywhere without a change of the bytes.
        if chunk > 1 {
            if last_long.is_some_and(|last| last > axis) {
                return Err(Why::Order);
            }
            last_long = Some(axis);
        }
        cells[axis] = Some((Some(number), shift(piece, number, start, chunk, variable.shape[axis])?));
    }
    for (axis, index) in &piece.fixed {
        if variable.chunk_shape.get(*axis) != Some(&1) {
            return Err(Why::Chunks);
        }
        let cell = cells.get_mut(*axis).ok_or(Why::Chunks)?;
        *cell = Some((None, i64::try_from(*index).map_err(|_| Why::Chunks)?));
    }
    let plain_bytes = match (variable.codecs.steps.is_empty(), variable.dtype.size_bytes()) {
        (true, Some(element_bytes)) => Some(count(&variable.chunk_shape).saturating_mul(element_bytes.into())),
        _ => None,
    };
    Ok(How::Chunks {
        cells: cells.into_iter().collect::<Option<Vec<_>>>().ok_or(Why::Order)?,
        source_grid: variable.grid(),
        trailer_bytes,
        plain_bytes,
    })
}

/// How many cells the file is ahead of the array along a dimension.
fn shift(piece: &Piece, axis: usize, start: u64, chunk: u64, source_length: u64) -> Result<i64, Why> {
    let signed = |number: u64| i64::try_from(number).map_err(|_| Why::Chunks);
    let (first, own, chunk) = (signed(start)?, signed(piece.at.start[axis])?, signed(chunk)?);
    if (first - own) % chunk != 0 {
        return Err(Why::Chunks);
    }
    // A chunk that is cut in the middle of the file has elements behind the cut which the array has not: only at the
    // array's own end nobody looks at them, or where the file ends as well.
    let end = start.checked_add(piece.at.shape[axis]).ok_or(Why::Chunks)?;
    debug_assert!(end <= source_length);
    Ok((first - own) / chunk)
}
