//! Elements of variables that steps made: held, picked from other chunks, or computed from them.
//!
//! It promises the same as reading a chunk of a file: its elements, or an error that names file, variable and chunk.

use std::{collections::BTreeMap, ops::Range};

use frazil_model::{
    combine::{
        derived::{Derived, Input, Origin},
        view::{Values, ViewAxis, ViewVariable},
    },
    manifest::ChunkPlace,
    packing::ValueRule,
    recipe::evaluate::evaluate,
    region::{Region, cells_touching, coordinates_of, count, number_of},
    rule,
};

use crate::{
    error::EngineError,
    source::{ChunkReader, Source},
    strided::{self, Walk, c_strides},
};

/// Gets the stored bytes of each chunk that is read.
type Seen<'a> = &'a mut dyn FnMut(ChunkPlace, &[u8]);

/// The elements of chunk `chunk`, of the full chunk shape; zeros beyond the end of the variable.
pub(crate) fn elements(
    reader: &mut ChunkReader,
    source: &Source,
    derived: &Derived,
    chunk: u64,
    seen: Seen<'_>,
) -> Result<Vec<u8>, EngineError> {
    let variable = &derived.variable;
    let region = Region::of_cell(&coordinates_of(chunk, &variable.grid()), &variable.chunk_shape, &variable.shape);
    let element_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let bytes = match &derived.origin {
        Origin::Held(values) => match values.as_ref() {
            Values::Fixed(bytes) => bytes.to_vec(),
            Values::Texts(_) => {
                return Err(source.unreadable_as(&variable.path, "it holds texts, which have no chunks"));
            }
        },
        Origin::Picked { input, axis, indexes } => {
            picked(reader, source, (input, *axis, indexes), &region, element_bytes, seen)?
        }
        Origin::Padded { input, pad } => {
            let mut out = pad.repeat(size(region.n_elements()));
            let stored = Region::whole(&source.variable(input.source).shape);
            if let Some(part) = stored.intersect(&region) {
                let held = read_box(reader, source, input, &part, seen)?;
                let strides = c_strides(&region.shape);
                let starts = part.start.iter().zip(&region.start).zip(&strides);
                let offset = starts.map(|((at, start), stride)| size(at - start) * stride.unsigned_abs()).sum();
                let extents: Vec<usize> = part.shape.iter().map(|length| size(*length)).collect();
                let from = Walk { offset: 0, strides: c_strides(&part.shape) };
                strided::copy(&held, &from, &mut out, &Walk { offset, strides }, &extents, element_bytes);
            }
            out
        }
        Origin::Computed { expression, inputs } => {
            let mut columns: Vec<(&str, Vec<f64>)> = Vec::new();
            for (name, input) in inputs {
                let bytes = read_box(reader, source, input, &region, seen)?;
                let cells = bytes.chunks_exact(8).map(|cell| cell.try_into().map_or(f64::NAN, f64::from_le_bytes));
                columns.push((name, cells.collect()));
            }
            let named: BTreeMap<&str, &[f64]> =
                columns.iter().map(|(name, values)| (*name, values.as_slice())).collect();
            let computed = evaluate(expression, &named, size(region.n_elements()))
                .map_err(|error| source.unreadable_as(&variable.path, &error.to_string()))?;
            computed.into_iter().flat_map(f64::to_le_bytes).collect()
        }
    };
    Ok(padded(bytes, &region.shape, &variable.chunk_shape, element_bytes))
}

/// All elements of a view, after its rule.
///
/// # Errors
/// If a chunk cannot be read, or a value cannot be had exactly.
pub fn whole_view(reader: &mut ChunkReader, source: &Source, view: &ViewVariable) -> Result<Vec<u8>, EngineError> {
    read_box(reader, source, &Input::of(view), &Region::whole(&view.shape), &mut |_, _| {})
}

/// The same of a view whose values the scan loaded, without reading; `None` if it did not.
///
/// # Errors
/// If a value cannot be had exactly.
pub fn held_view(source: &Source, view: &ViewVariable) -> Result<Option<Vec<u8>>, EngineError> {
    let Some(Values::Fixed(held)) = source.values.get(&view.source).map(AsRef::as_ref) else { return Ok(None) };
    let input = Input::of(view);
    let whole = Region::whole(&source.variable(view.source).shape);
    let element_bytes = source.variable(view.source).dtype.size_bytes().unwrap_or(1) as usize;
    if source.derived(view.source).is_some() || held.len() != size(whole.n_elements()).saturating_mul(element_bytes) {
        return Ok(None);
    }
    let region = Region::whole(&view.shape);
    let mut out = vec![0; size(region.n_elements()).saturating_mul(element_bytes)];
    let wanted = in_source(&input, &region, whole.shape.len());
    copy_part((held, &c_strides(&whole.shape)), (&whole, &wanted), (&input, &region), &mut out, element_bytes);
    ruled(source, &input, out).map(Some)
}

/// The elements of a box of `input`, in C order, after its rule.
fn read_box(
    reader: &mut ChunkReader,
    source: &Source,
    input: &Input,
    region: &Region,
    seen: Seen<'_>,
) -> Result<Vec<u8>, EngineError> {
    let variable = source.variable(input.source);
    let element_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let wanted = in_source(input, region, variable.shape.len());
    let mut out = vec![0; size(region.n_elements()).saturating_mul(element_bytes)];
    let grid = variable.grid();
    let chunk_strides = c_strides(&variable.chunk_shape);
    for cell in cells_touching(&wanted, &variable.chunk_shape) {
        let of_chunk = Region::of_cell(&cell, &variable.chunk_shape, &variable.shape);
        let Some(part) = of_chunk.intersect(&wanted) else { continue };
        let elements = reader.elements(source, input.source, number_of(&cell, &grid), seen)?;
        let unwritten = vec![0; chunk_strides.len()];
        let (bytes, strides) = match elements {
            Some(bytes) => (bytes, &chunk_strides),
            None => (variable.fill.as_slice(), &unwritten),
        };
        copy_part((bytes, strides), (&of_chunk, &part), (input, region), &mut out, element_bytes);
    }
    ruled(source, input, out)
}

/// Copies the elements of `part`, which lie in those of the box `held` with these strides, to where they are in `region`.
fn copy_part(
    (bytes, strides): (&[u8], &[isize]),
    (held, part): (&Region, &Region),
    (input, region): (&Input, &Region),
    out: &mut [u8],
    element_bytes: usize,
) {
    let box_strides = c_strides(&region.shape);
    let mut from = Walk::default();
    let mut to = Walk { offset: 0, strides: box_strides.clone() };
    let mut extents = Vec::with_capacity(region.shape.len());
    for (source_axis, stride) in strides.iter().enumerate() {
        // Where the walk does not go along an axis, this is its one index; the others are corrected below.
        from.offset += size(part.start[source_axis] - held.start[source_axis]) * stride.unsigned_abs();
    }
    for (axis, view) in input.axes.iter().enumerate() {
        let ViewAxis::Source { axis: source_axis, start, step } = *view else {
            from.strides.push(0);
            extents.push(size(region.shape[axis]));
            continue;
        };
        let (stride, length) = (strides[source_axis], part.shape[source_axis]);
        let first = if step > 0 {
            part.start[source_axis] - start
        } else {
            from.offset += size(length.saturating_sub(1)) * stride.unsigned_abs();
            start - (part.end(source_axis) - 1)
        };
        to.offset += size(first - region.start[axis]) * box_strides[axis].unsigned_abs();
        from.strides.push(stride * isize::from(step));
        extents.push(size(length));
    }
    strided::copy(bytes, &from, out, &to, &extents, element_bytes);
}

/// Elements after the rule of `input`.
fn ruled(source: &Source, input: &Input, elements: Vec<u8>) -> Result<Vec<u8>, EngineError> {
    if input.rule == ValueRule::Verbatim {
        return Ok(elements);
    }
    let mut mapped = Vec::with_capacity(elements.len());
    rule::apply(&input.rule, &elements, &mut mapped).map_err(|error| EngineError::Value {
        file: source.name.clone(),
        variable: source.variable(input.source).path.clone(),
        source: error,
    })?;
    Ok(mapped)
}

/// The box of the source whose elements fill `region`.
fn in_source(input: &Input, region: &Region, n_axes: usize) -> Region {
    let mut wanted = Region { start: vec![0; n_axes], shape: vec![1; n_axes] };
    for (axis, index) in &input.fixed {
        wanted.start[*axis] = *index;
    }
    for (axis, view) in input.axes.iter().enumerate() {
        let ViewAxis::Source { axis: source, start, step } = *view else { continue };
        let (from, length) = (region.start[axis], region.shape[axis]);
        wanted.start[source] =
            if step > 0 { start + from } else { (start - from).saturating_sub(length.saturating_sub(1)) };
        wanted.shape[source] = length;
    }
    wanted
}

/// Elements along `axis` in an order of their own: for each source chunk, those that lie in it.
fn picked(
    reader: &mut ChunkReader,
    source: &Source,
    (input, axis, indexes): (&Input, usize, &[u64]),
    region: &Region,
    element_bytes: usize,
    seen: Seen<'_>,
) -> Result<Vec<u8>, EngineError> {
    let variable = source.variable(input.source);
    let cell_of = |index: u64| match input.axes.get(axis) {
        Some(ViewAxis::Source { axis: source_axis, start, step }) => {
            let at = if *step > 0 { start + index } else { start.saturating_sub(index) };
            at / variable.chunk_shape[*source_axis].max(1)
        }
        _ => 0,
    };
    // For each chunk along the axis: the place in the region and the index there.
    let mut by_cell: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for place in 0..region.shape[axis] {
        let Some(index) = indexes.get(size(region.start[axis] + place)).copied() else { continue };
        by_cell.entry(cell_of(index)).or_default().push((place, index));
    }
    let mut out = vec![0; size(region.n_elements()).saturating_mul(element_bytes)];
    for places in by_cell.values() {
        let indexes = places.iter().map(|(_, index)| *index);
        let Some(Range { start, end }) = hull(indexes) else { continue };
        let mut around = region.clone();
        around.start[axis] = start;
        around.shape[axis] = end - start;
        let held = read_box(reader, source, input, &around, seen)?;
        let (from_strides, to_strides) = (c_strides(&around.shape), c_strides(&region.shape));
        let mut extents: Vec<usize> = region.shape.iter().map(|length| size(*length)).collect();
        extents[axis] = 1;
        for (place, index) in places {
            let from =
                Walk { offset: size(index - start) * from_strides[axis].unsigned_abs(), strides: from_strides.clone() };
            let to = Walk { offset: size(*place) * to_strides[axis].unsigned_abs(), strides: to_strides.clone() };
            strided::copy(&held, &from, &mut out, &to, &extents, element_bytes);
        }
    }
    Ok(out)
}

fn hull(indexes: impl Iterator<Item = u64>) -> Option<Range<u64>> {
    indexes.fold(None, |hull: Option<Range<u64>>, index| {
        let Range { start, end } = hull.unwrap_or(index..index + 1);
        Some(start.min(index)..end.max(index + 1))
    })
}

/// The elements of a box as those of a whole chunk.
pub(crate) fn padded(bytes: Vec<u8>, shape: &[u64], chunk_shape: &[u64], element_bytes: usize) -> Vec<u8> {
    if shape == chunk_shape {
        return bytes;
    }
    let mut whole = vec![0; size(count(chunk_shape)).saturating_mul(element_bytes)];
    let extents: Vec<usize> = shape.iter().map(|length| size(*length)).collect();
    let walk = |shape: &[u64]| Walk { offset: 0, strides: c_strides(shape) };
    strided::copy(&bytes, &walk(shape), &mut whole, &walk(chunk_shape), &extents, element_bytes);
    whole
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
