//! Variables that are shorter than a dimension of theirs, as the netCDF library shows them.
//!
//! netCDF-4 lets each variable have its own extent along an unlimited dimension. Readers see all of them at the
//! dimension's full length: what a variable lacks holds its fill value. It promises the library's choice of that
//! value: the one the variable was made with, else its `_FillValue`, else the default of its type.

use std::sync::Arc;

use crate::{
    combine::{
        derived::{Derived, Input, Origin},
        view::{FileView, Values, ViewAxis},
    },
    dataset::{Dataset, Variable},
    dtype::{DataType, FloatType, IntType},
    numbers::{push_float, push_integer},
    region::{Region, coordinates_of, count, number_of},
};

/// netCDF's `NC_FILL_FLOAT` and `NC_FILL_DOUBLE`.
const DEFAULT_FLOAT: f64 = 9.969_209_968_386_869e36;

/// Values up to this size are held along with their padding; larger ones are read when they are wanted.
const MOST_HELD_BYTES: u64 = 64 << 20;

/// Gives variables that are shorter than their dimensions the full length.
pub(crate) fn pad(view: &mut FileView, dataset: &Dataset) {
    for number in 0..view.variables.len() {
        let Some(variable) = dataset.variables.get(view.variables[number].source) else { continue };
        let full = full_shape(dataset, variable);
        if full != variable.shape {
            pad_one(view, number, variable, full);
        }
    }
}

fn pad_one(view: &mut FileView, number: usize, variable: &Variable, full: Vec<u64>) {
    let pad = pad_value(variable);
    let source = view.n_sources + view.derived.len();
    let target = &mut view.variables[number];
    let input = Input::of(target);
    let n_bytes = count(&full).saturating_mul(variable.dtype.size_bytes().unwrap_or(16).into());
    let values = target.values.take().filter(|_| n_bytes <= MOST_HELD_BYTES);
    target.values = values.map(|values| Arc::new(padded(&values, &variable.shape, &full, &pad)));
    target.shape = full;
    target.axes = (0..target.shape.len()).map(|axis| ViewAxis::Source { axis, start: 0, step: 1 }).collect();
    target.is_chunked = false;
    let mut derived = Derived::like(target, Origin::Padded { input, pad }, 2);
    derived.variable.fill.clone_from(&variable.fill);
    target.chunk_shape.clone_from(&derived.variable.chunk_shape);
    target.codecs.clone_from(&derived.variable.codecs);
    target.source = source;
    view.derived.push(derived);
}

/// The lengths of a variable's dimensions, as the nearest group above it has them.
fn full_shape(dataset: &Dataset, variable: &Variable) -> Vec<u64> {
    let is_above =
        |path: &str| path == "/" || variable.group() == path || variable.group().starts_with(&format!("{path}/"));
    let length_of = |(name, length): (&String, &u64)| {
        let declared = dataset.groups.iter().filter(|group| is_above(&group.path)).filter_map(|group| {
            Some((group.path.len(), group.dimensions.iter().find(|dimension| dimension.name == *name)?))
        });
        declared.max_by_key(|(depth, _)| *depth).map_or(*length, |(_, dimension)| dimension.length.max(*length))
    };
    variable.dimensions.iter().zip(&variable.shape).map(length_of).collect()
}

/// What the library shows where a variable has no element.
fn pad_value(variable: &Variable) -> Vec<u8> {
    if variable.fill.iter().any(|byte| *byte != 0) {
        return variable.fill.clone();
    }
    let own = variable.attributes.numbers("_FillValue").filter(|value| value.dtype() == variable.dtype);
    match own.filter(|value| value.len() == 1) {
        Some(value) => value.to_le_bytes(),
        None => default_fill(&variable.dtype),
    }
}

/// The fill value that the netCDF library gives to a type.
#[must_use]
pub fn default_fill(dtype: &DataType) -> Vec<u8> {
    let mut bytes = Vec::new();
    match dtype {
        DataType::Int(int) => {
            let value = match int {
                IntType::I8 => -127,
                IntType::U8 => 255,
                IntType::I16 => -32_767,
                IntType::U16 => 65_535,
                IntType::I32 => -2_147_483_647,
                IntType::U32 => 4_294_967_295,
                IntType::I64 => -9_223_372_036_854_775_806,
                IntType::U64 => 18_446_744_073_709_551_614,
            };
            push_integer(*int, value, &mut bytes);
        }
        DataType::Float(float @ (FloatType::F32 | FloatType::F64)) => push_float(*float, DEFAULT_FLOAT, &mut bytes),
        other => bytes.resize(other.size_bytes().unwrap_or(0) as usize, 0),
    }
    bytes
}

/// Values of `shape` as the first of `full`, with `pad` around them.
fn padded(values: &Values, shape: &[u64], full: &[u64], pad: &[u8]) -> Values {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let inside = Region::whole(shape);
    // For each element of the whole, its number among those that are there.
    let from = |number: u64| {
        let at = coordinates_of(number, full);
        let is_there = at.iter().zip(&inside.shape).all(|(at, length)| at < length);
        is_there.then(|| size(number_of(&at, shape)))
    };
    match values {
        Values::Fixed(bytes) => {
            let element = pad.len().max(1);
            let mut out = Vec::with_capacity(size(count(full)).saturating_mul(element));
            for number in 0..count(full) {
                let cell = from(number).and_then(|at| bytes.get(at * element..(at + 1) * element));
                out.extend_from_slice(cell.unwrap_or(pad));
            }
            Values::Fixed(out.into())
        }
        Values::Texts(texts) => {
            Values::Texts((0..count(full)).map(|number| from(number).and_then(|at| texts.get(at)?.clone())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_variable_lacks_is_around_what_it_has() {
        let values = Values::Fixed(vec![1, 2, 3, 4].into());
        assert_eq!(padded(&values, &[2, 2], &[3, 3], &[9]), Values::Fixed(vec![1, 2, 9, 3, 4, 9, 9, 9, 9].into()));
    }

    #[test]
    fn the_default_fill_of_a_double_is_that_of_netcdf() {
        let bytes = default_fill(&DataType::Float(FloatType::F64));
        assert_eq!(f64::from_le_bytes(bytes.try_into().unwrap()).to_bits(), 0x479e_0000_0000_0000);
    }
}
