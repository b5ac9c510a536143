//! Which source chunks a box needs, and where their elements go.

use frazil_formats::codecs::{Loose, Planes};
use frazil_model::{
    combine::{Piece, view::ViewAxis},
    packing::ValueRule,
    region::{Region, cells_touching, number_of},
    rule,
};

use crate::{
    error::EngineError,
    run::buffer::ChunkBuffer,
    source::Source,
    strided::{self, Walk, c_strides},
};

/// Elements in one run from which on it pays to unshuffle them on their way.
const LONG_RUN: u64 = 256;

/// A source chunk that fills a box of the array.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkRead {
    /// Number of the piece it belongs to.
    pub piece: usize,
    /// Number of the chunk in its variable.
    pub chunk: u64,
    /// First element of the chunk along each source dimension.
    pub chunk_start: Vec<u64>,
    /// The box of the array that it fills.
    pub fills: Region,
    /// The first element of the array that the chunk fills at all: the unit that holds it counts the chunk as read.
    pub first: Vec<u64>,
}

/// The source chunks that fill `wanted`, of the pieces that touch it.
#[must_use]
pub fn reads(pieces: &[Piece], along: Option<usize>, wanted: &Region, sources: &[Source]) -> Vec<ChunkRead> {
    let mut found = Vec::new();
    // Pieces are sorted along the growing dimension and do not overlap: the rest cannot touch the box.
    let (first, last) = match along {
        None => (0, pieces.len()),
        Some(axis) => (
            pieces.partition_point(|piece| piece.at.end(axis) <= wanted.start[axis]),
            pieces.partition_point(|piece| piece.at.start[axis] < wanted.end(axis)),
        ),
    };
    for (number, piece) in pieces.iter().enumerate().take(last).skip(first) {
        let Some(shared) = piece.at.intersect(wanted) else { continue };
        let variable = sources[piece.file].variable(piece.variable);
        let in_source = source_region(piece, &shared, variable.shape.len());
        let grid = variable.grid();
        for cell in cells_touching(&in_source, &variable.chunk_shape) {
            let of_chunk = Region::of_cell(&cell, &variable.chunk_shape, &variable.shape);
            let Some(part) = of_chunk.intersect(&in_source) else { continue };
            let fills = target_region(piece, &part);
            let all = of_chunk.intersect(&source_region(piece, &piece.at, variable.shape.len()));
            let first = all.map_or_else(|| fills.start.clone(), |all| target_region(piece, &all).start);
            found.push(ChunkRead {
                piece: number,
                chunk: number_of(&cell, &grid),
                chunk_start: of_chunk.start,
                fills,
                first,
            });
        }
    }
    found
}

/// The box of the source whose elements fill box `target` of the array.
fn source_region(piece: &Piece, target: &Region, n_source_axes: usize) -> Region {
    let mut region = Region { start: vec![0; n_source_axes], shape: vec![1; n_source_axes] };
    for (axis, index) in &piece.fixed {
        region.start[*axis] = *index;
    }
    for (axis, view) in piece.axes.iter().enumerate() {
        let ViewAxis::Source { axis: source, start, step } = *view else { continue };
        let (from, length) = (target.start[axis] - piece.at.start[axis], target.shape[axis]);
        region.start[source] = if step > 0 { start + from } else { start - (from + length - 1) };
        region.shape[source] = length;
    }
    region
}

/// The box of the array that box `part` of the source fills.
fn target_region(piece: &Piece, part: &Region) -> Region {
    let mut region = piece.at.clone();
    for (axis, view) in piece.axes.iter().enumerate() {
        let ViewAxis::Source { axis: source, start, step } = *view else { continue };
        let from = if step > 0 { part.start[source] - start } else { start - (part.end(source) - 1) };
        region.start[axis] = piece.at.start[axis] + from;
        region.shape[axis] = part.shape[source];
    }
    region
}

/// Elements of one source chunk, or the value of those that were never written.
pub enum Elements<'a> {
    /// Of the full chunk shape, in the file's type.
    Chunk(Loose<'a>),
    /// One element, in the file's type.
    Fill(&'a [u8]),
}

/// Writes the elements of a source chunk to the target chunks that it touches.
///
/// `scratch` receives the elements after the piece's rule, where it changes them.
///
/// # Errors
/// [`EngineError::Value`] if the rule cannot map a value exactly.
pub fn scatter(
    read: &ChunkRead,
    piece: &Piece,
    source: &Source,
    elements: Elements<'_>,
    targets: &[&ChunkBuffer],
    chunk_shape: &[u64],
    scratch: &mut Vec<u8>,
) -> Result<(), EngineError> {
    let variable = source.variable(piece.variable);
    let source_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let element_bytes = rule::target_bytes(&piece.rule, source_bytes);
    let (mut elements, is_fill) = match elements {
        Elements::Chunk(Loose::Elements(bytes)) => (bytes, false),
        Elements::Chunk(Loose::Planes(planes)) => {
            debug_assert_eq!(piece.rule, ValueRule::Verbatim, "a rule needs the elements themselves");
            scatter_planes(read, piece, source, planes, targets, chunk_shape, scratch);
            return Ok(());
        }
        Elements::Fill(bytes) => (bytes, true),
    };
    if piece.rule != ValueRule::Verbatim {
        scratch.clear();
        let mapped = if is_fill {
            rule::apply(&piece.rule, elements, scratch)
        } else {
            map_wanted(
                &piece.rule,
                elements,
                source_bytes,
                &wanted_box(read, piece, variable.shape.len()),
                &variable.chunk_shape,
                scratch,
            )
        };
        mapped.map_err(|error| EngineError::Value {
            file: source.name.clone(),
            variable: variable.path.clone(),
            source: error,
        })?;
        elements = scratch;
    }
    let source_strides = if is_fill { vec![0; variable.chunk_shape.len()] } else { c_strides(&variable.chunk_shape) };
    for target in targets {
        let Some(shared) = target.region.intersect(&read.fills) else { continue };
        let from = walk_of_source(read, piece, &shared, &source_strides);
        copy_to_chunk(strided::From::Elements(elements), &from, target, &shared, chunk_shape, element_bytes);
    }
    Ok(())
}

/// Writes elements whose bytes are still shuffled: straight to their places where they lie in long runs there.
fn scatter_planes(
    read: &ChunkRead,
    piece: &Piece,
    source: &Source,
    planes: Planes<'_>,
    targets: &[&ChunkBuffer],
    chunk_shape: &[u64],
    scratch: &mut Vec<u8>,
) {
    let variable = source.variable(piece.variable);
    let element_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let source_strides = c_strides(&variable.chunk_shape);
    let target_strides = c_strides(chunk_shape);
    let mut is_plain = false;
    for target in targets {
        let Some(shared) = target.region.intersect(&read.fills) else { continue };
        let from = walk_of_source(read, piece, &shared, &source_strides);
        if strided::run_length(&from.strides, &target_strides, &shared.shape) >= LONG_RUN {
            copy_to_chunk(strided::From::Planes(planes), &from, target, &shared, chunk_shape, element_bytes);
            continue;
        }
        if !is_plain {
            scratch.resize(planes.n_bytes(), 0);
            planes.copy_run(0, scratch);
            is_plain = true;
        }
        copy_to_chunk(strided::From::Elements(scratch), &from, target, &shared, chunk_shape, element_bytes);
    }
}

/// The box of the chunk, counted from its own first element, that is wanted of it.
fn wanted_box(read: &ChunkRead, piece: &Piece, n_axes: usize) -> Region {
    let mut region = source_region(piece, &read.fills, n_axes);
    for (start, first) in region.start.iter_mut().zip(&read.chunk_start) {
        *start -= first;
    }
    region
}

/// Applies a rule to the wanted box of a chunk and leaves zeros around it: what nobody asked for need not be mappable.
fn map_wanted(
    rule: &ValueRule,
    elements: &[u8],
    source_bytes: usize,
    wanted: &Region,
    chunk_shape: &[u64],
    out: &mut Vec<u8>,
) -> Result<(), rule::RuleError> {
    let element_bytes = rule::target_bytes(rule, source_bytes);
    if wanted.shape == chunk_shape {
        return rule::apply(rule, elements, out);
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    out.resize(elements.len() / source_bytes.max(1) * element_bytes, 0);
    let run = wanted.shape.last().map_or(1, |length| size(*length));
    let n_runs = wanted.n_elements().checked_div(run as u64).unwrap_or(0);
    let outer = &wanted.shape[..wanted.shape.len().saturating_sub(1)];
    let mut mapped = Vec::with_capacity(run * element_bytes);
    for number in 0..n_runs {
        let mut at = frazil_model::region::coordinates_of(number, outer);
        at.push(0);
        let at: Vec<u64> = at.iter().zip(&wanted.start).map(|(at, start)| at + start).collect();
        let first = size(number_of(&at[..wanted.shape.len()], chunk_shape));
        mapped.clear();
        rule::apply(rule, &elements[first * source_bytes..(first + run) * source_bytes], &mut mapped)?;
        out[first * element_bytes..(first + run) * element_bytes].copy_from_slice(&mapped);
    }
    Ok(())
}

/// How the source chunk is walked to fill box `shared` of the array in C order.
fn walk_of_source(read: &ChunkRead, piece: &Piece, shared: &Region, source_strides: &[isize]) -> Walk {
    let mut offset = 0_isize;
    let signed = |number: u64| isize::try_from(number).unwrap_or(isize::MAX);
    for (axis, index) in &piece.fixed {
        offset += signed(index - read.chunk_start[*axis]) * source_strides[*axis];
    }
    let strides = piece
        .axes
        .iter()
        .enumerate()
        .map(|(axis, view)| match *view {
            ViewAxis::New => 0,
            ViewAxis::Source { axis: source, start, step } => {
                let from = shared.start[axis] - piece.at.start[axis];
                let first = if step > 0 { start + from } else { start - from };
                offset += signed(first - read.chunk_start[source]) * source_strides[source];
                source_strides[source] * isize::from(step)
            }
        })
        .collect();
    Walk { offset: usize::try_from(offset).unwrap_or(usize::MAX), strides }
}

/// Copies box `shared` of the array into the target chunk, slab by slab.
fn copy_to_chunk(
    elements: strided::From<'_>,
    from: &Walk,
    target: &ChunkBuffer,
    shared: &Region,
    chunk_shape: &[u64],
    element_bytes: usize,
) {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let strides = c_strides(chunk_shape);
    let extents: Vec<usize> = shared.shape.iter().map(|length| size(*length)).collect();
    let inner: usize = (1..shared.shape.len())
        .map(|axis| size(shared.start[axis] - target.region.start[axis]) * strides[axis].unsigned_abs())
        .sum();
    let Some(n_rows) = extents.first().copied() else {
        target.rows(0, 1, &mut |bytes, _, _| {
            strided::copy_from(elements, from, bytes, &Walk::default(), &[], element_bytes)
        });
        return;
    };
    let first_row = size(shared.start[0] - target.region.start[0]);
    target.rows(first_row, n_rows, &mut |bytes, slab_first, rows| {
        let mut part = extents.clone();
        part[0] = rows.len();
        let skipped = isize::try_from(rows.start - first_row).unwrap_or(0);
        let from =
            Walk { offset: from.offset.wrapping_add_signed(from.strides[0] * skipped), strides: from.strides.clone() };
        let to =
            Walk { offset: (rows.start - slab_first) * strides[0].unsigned_abs() + inner, strides: strides.clone() };
        strided::copy_from(elements, &from, bytes, &to, &part, element_bytes);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(axes: Vec<ViewAxis>, at: Region) -> Piece {
        Piece { file: 0, variable: 0, at, axes, fixed: vec![], rule: ValueRule::Verbatim }
    }

    #[test]
    fn a_box_and_its_source_are_two_sides_of_one_thing() {
        let axes = vec![
            ViewAxis::Source { axis: 1, start: 9, step: -1 },
            ViewAxis::New,
            ViewAxis::Source { axis: 0, start: 2, step: 1 },
        ];
        let at = Region { start: vec![100, 7, 0], shape: vec![10, 1, 5] };
        let piece = piece(axes, at);
        let wanted = Region { start: vec![103, 7, 1], shape: vec![2, 1, 3] };
        let source = source_region(&piece, &wanted, 2);
        assert_eq!(source, Region { start: vec![3, 5], shape: vec![3, 2] });
        assert_eq!(target_region(&piece, &source), wanted);
    }
}
