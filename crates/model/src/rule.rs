//! Applying a `ValueRule` to elements: exact, or an error that says which value cannot be had.

use crate::{
    dtype::{DataType, FloatType, IntType},
    numbers::{Number, f64_to_half, half_to_f64, number_of, push_float, push_integer},
    packing::{Fill, Packing, Signedness, ValueRule, decoded_type},
    recipe::each::MaskRule,
};

/// Bytes that go through several rules at a time: a multiple of every element's size.
const CHAIN_BYTES: usize = 1 << 14;

/// A stored value that a rule cannot turn into what the store holds.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[allow(missing_docs)]
pub enum RuleError {
    #[error("stored count {count} falls between two counts of the store's packing")]
    Between { count: i128 },
    #[error("stored count {count} becomes {mapped}, which {dtype} cannot hold")]
    Outside { count: i128, mapped: i128, dtype: IntType },
    #[error("stored count {count} becomes {fill}, which `_FillValue` makes missing in the store")]
    MeansMissing { count: i128, fill: i128 },
    #[error("a missing value cannot be written: the store's packing has no `_FillValue`")]
    NoFill,
    #[error("{value} does not fit {to}")]
    DoesNotFit { value: String, to: String },
}

/// Bytes of one element after the rule.
#[must_use]
pub fn target_bytes(rule: &ValueRule, source_bytes: usize) -> usize {
    match rule {
        ValueRule::Verbatim => source_bytes,
        ValueRule::Widen { to, .. } | ValueRule::Cast { to, .. } => to.size_bytes().unwrap_or(0) as usize,
        ValueRule::Mask { .. } => source_bytes,
        ValueRule::Gather(record) => record.tight().size_bytes as usize,
        ValueRule::Chain(rules) => rules.iter().fold(source_bytes, |bytes, rule| target_bytes(rule, bytes)),
        ValueRule::Decode { to, .. } => to.size_bytes() as usize,
        ValueRule::Repack { to, .. } | ValueRule::Scale { to, .. } => to.size_bytes() as usize,
    }
}

/// Appends to `out` what the little-endian elements `stored` become.
///
/// # Errors
/// If a value cannot be had exactly.
pub fn apply(rule: &ValueRule, stored: &[u8], out: &mut Vec<u8>) -> Result<(), RuleError> {
    match rule {
        ValueRule::Verbatim => {
            out.extend_from_slice(stored);
            Ok(())
        }
        ValueRule::Widen { from, to } => widen(from, to, stored, out),
        ValueRule::Cast { from, to } => cast(from, to, stored, out),
        ValueRule::Mask { dtype, packing, masked, missing } => {
            mask(dtype, packing, masked, missing, stored, out);
            Ok(())
        }
        ValueRule::Gather(record) => {
            record.gather(stored, out);
            Ok(())
        }
        ValueRule::Chain(rules) => chain(rules, stored, out),
        ValueRule::Decode { from, packing, compute, to } => {
            decode(from, packing, (*compute, *to), stored, out);
            Ok(())
        }
        ValueRule::Scale { from, to, factor } => {
            scale(*from, *to, *factor, stored, out);
            Ok(())
        }
        ValueRule::Repack { from, to, numerator, denominator, addend, missing, fill } => {
            let map = Counts {
                to: *to,
                numerator: *numerator,
                denominator: *denominator,
                addend: *addend,
                missing,
                fill: *fill,
            };
            map.apply(*from, stored, out)
        }
    }
}

fn widen(from: &DataType, to: &DataType, stored: &[u8], out: &mut Vec<u8>) -> Result<(), RuleError> {
    let size = from.size_bytes().unwrap_or(1).max(1) as usize;
    for cell in stored.chunks_exact(size) {
        let fits = match (number_of(from, cell), to) {
            (Some(Number::Integer(value)), DataType::Int(int)) => push_integer(*int, value, out),
            (Some(Number::Integer(value)), DataType::Float(float)) => push_exact(*float, value, out),
            (Some(Number::Float(value)), DataType::Float(float)) => {
                push_float(*float, value, out);
                Some(())
            }
            _ => None,
        };
        fits.ok_or_else(|| RuleError::DoesNotFit {
            value: format!("{:?}", number_of(from, cell)),
            to: to.to_string(),
        })?;
    }
    Ok(())
}

/// Rules one after another, over a bounded number of elements at a time.
fn chain(rules: &[ValueRule], stored: &[u8], out: &mut Vec<u8>) -> Result<(), RuleError> {
    let Some((last, before)) = rules.split_last() else {
        out.extend_from_slice(stored);
        return Ok(());
    };
    let Some(first) = before.first() else { return apply(last, stored, out) };
    // Every number is a whole part of it; records have sizes of their own.
    let part_bytes = match first {
        ValueRule::Gather(record) => CHAIN_BYTES.next_multiple_of((record.size_bytes as usize).max(1)),
        _ => CHAIN_BYTES,
    };
    for part in stored.chunks(part_bytes) {
        let mut between = part.to_vec();
        for rule in before {
            let mut next = Vec::with_capacity(between.len());
            apply(rule, &between, &mut next)?;
            between = next;
        }
        apply(last, &between, out)?;
    }
    Ok(())
}

fn cast(from: &DataType, to: &DataType, stored: &[u8], out: &mut Vec<u8>) -> Result<(), RuleError> {
    let size = from.size_bytes().unwrap_or(1).max(1) as usize;
    for cell in stored.chunks_exact(size) {
        let number = number_of(from, cell);
        let fits = match (number, to) {
            (Some(Number::Integer(value)), DataType::Int(int)) => push_integer(*int, value, out),
            (Some(Number::Integer(value)), DataType::Float(float)) => push_exact(*float, value, out),
            (Some(Number::Float(value)), DataType::Float(float)) => push_near(*float, value, out),
            // `-0.0` would lose its sign, which no reader of integers misses.
            #[allow(clippy::cast_possible_truncation)] // it is whole, and below 2^100
            (Some(Number::Float(value)), DataType::Int(int)) if value.fract() == 0.0 && value.abs() < 1e30 => {
                push_integer(*int, value as i128, out)
            }
            _ => None,
        };
        fits.ok_or_else(|| RuleError::DoesNotFit { value: shown(number), to: to.to_string() })?;
    }
    Ok(())
}

fn shown(number: Option<Number>) -> String {
    match number {
        Some(Number::Integer(value)) => value.to_string(),
        Some(Number::Float(value)) => value.to_string(),
        None => "a value that is no number".to_owned(),
    }
}

/// Appends the nearest float, unless it would become infinite.
#[allow(clippy::cast_possible_truncation)] // rounding is what it is for
fn push_near(float: FloatType, value: f64, out: &mut Vec<u8>) -> Option<()> {
    let most = match float {
        FloatType::F16 => 65_519.999,
        FloatType::F32 => {
            return (value.is_infinite() || !(value as f32).is_infinite()).then(|| push_float(float, value, out));
        }
        FloatType::F64 => f64::INFINITY,
    };
    (value.is_infinite() || value.is_nan() || value.abs() <= most).then(|| push_float(float, value, out))
}

/// Writes `missing` for the elements whose decoded value `masked` names.
fn mask(dtype: &DataType, packing: &Packing, masked: &MaskRule, missing: &[u8], stored: &[u8], out: &mut Vec<u8>) {
    let size = dtype.size_bytes().unwrap_or(1).max(1) as usize;
    let to = decoded_type(dtype, packing).unwrap_or(match dtype {
        DataType::Float(float) => *float,
        _ => FloatType::F64,
    });
    // numpy compares in the type of the array: 1e20 means the float32 nearest to it.
    let masked = masked.rounded(to);
    let mut values = Vec::new();
    for part in stored.chunks(CHAIN_BYTES / size * size) {
        values.clear();
        decode(dtype, packing, (to, FloatType::F64), part, &mut values);
        for (cell, value) in part.chunks_exact(size).zip(values.chunks_exact(8)) {
            let value = value.try_into().map_or(f64::NAN, f64::from_le_bytes);
            out.extend_from_slice(if masked.masks(value) { missing } else { cell });
        }
    }
}

/// Appends an integer as a float if the float holds it exactly.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // looked at right after
fn push_exact(float: FloatType, value: i128, out: &mut Vec<u8>) -> Option<()> {
    let as_float = value as f64;
    let exact = match float {
        FloatType::F64 => as_float as i128 == value,
        FloatType::F32 => f64::from(as_float as f32) == as_float && as_float as i128 == value,
        FloatType::F16 => value.abs() <= 2048,
    };
    exact.then(|| push_float(float, as_float, out))
}

/// Computes `count * scale_factor + add_offset` with the dtype and the rounding of stock xarray, bit for bit.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // numpy's casts
fn decode(from: &DataType, packing: &Packing, (compute, to): (FloatType, FloatType), stored: &[u8], out: &mut Vec<u8>) {
    let size = from.size_bytes().unwrap_or(1).max(1) as usize;
    let from = &signed_as(from, packing.unsigned);
    out.reserve(stored.len() / size * to.size_bytes() as usize);
    let step_of = |factor| packing.step_type(factor, compute);
    let (scaling, moving) = (packing.scale.map(step_of), packing.offset.map(step_of));
    for cell in stored.chunks_exact(size) {
        let number = number_of(from, cell).unwrap_or(Number::Float(f64::NAN));
        if packing.fills.iter().any(|fill| means_missing(number, *fill, from, packing)) {
            push_float(to, f64::NAN, out);
            continue;
        }
        let mut value = match (number, compute) {
            (Number::Integer(value), FloatType::F64) => value as f64,
            (Number::Integer(value), _) => f64::from(value as f32),
            (Number::Float(value), _) => rounded(compute, value),
        };
        // numpy does each step in the wider of both types and rounds it to that of the values. Doubles that are rounded
        // to float32 are what float32 gives, since they have twice its digits and more.
        if let (Some(scale), Some(step)) = (packing.scale, scaling) {
            value = rounded(compute, rounded(step, value * rounded(step, scale.value)));
        }
        if let (Some(offset), Some(step)) = (packing.offset, moving) {
            value = rounded(compute, rounded(step, value + rounded(step, offset.value)));
        }
        push_float(to, value, out);
    }
}

/// The nearest number of type `float`.
#[allow(clippy::cast_possible_truncation)]
fn rounded(float: FloatType, value: f64) -> f64 {
    match float {
        FloatType::F64 => value,
        FloatType::F32 => f64::from(value as f32),
        FloatType::F16 => half_to_f64(f64_to_half(value)),
    }
}

/// Multiplies as numpy does in integers of type `to`.
fn scale(from: IntType, to: IntType, factor: i128, stored: &[u8], out: &mut Vec<u8>) {
    for cell in stored.chunks_exact(from.size_bytes() as usize) {
        let Some(Number::Integer(count)) = number_of(&DataType::Int(from), cell) else { continue };
        // Both have at most 64 bits. The lower bytes of a product do not depend on what wraps before.
        let product = count.wrapping_mul(factor).to_le_bytes();
        out.extend(product.iter().take(to.size_bytes() as usize));
    }
}

/// The integer type under which stored bytes are to be read, as `_Unsigned` says.
pub(crate) fn signed_as(stored: &DataType, unsigned: Option<Signedness>) -> DataType {
    match (stored, unsigned) {
        (DataType::Int(int), Some(signedness)) => {
            let signed = signedness == Signedness::Signed;
            IntType::of(int.size_bytes(), signed).map_or_else(|| stored.clone(), DataType::Int)
        }
        _ => stored.clone(),
    }
}

/// Whether a number equals a fill mark, which is read with the same sign as the data.
pub(crate) fn means_missing(number: Number, fill: Fill, read_as: &DataType, packing: &Packing) -> bool {
    let fill = match (fill, read_as, packing.unsigned) {
        (Fill::Integer(fill), DataType::Int(int), Some(_)) => {
            let modulus = 1_i128 << (int.size_bytes() * 8);
            let wrapped = fill.rem_euclid(modulus);
            Fill::Integer(if wrapped > int.bounds().1 { wrapped - modulus } else { wrapped })
        }
        (fill, _, _) => fill,
    };
    #[allow(clippy::cast_precision_loss)]
    match (number, fill) {
        (Number::Integer(a), Fill::Integer(b)) => a == b,
        (Number::Float(a), Fill::Float(b)) => a == b,
        (Number::Integer(a), Fill::Float(b)) => a as f64 == b,
        (Number::Float(a), Fill::Integer(b)) => a == b as f64,
    }
}

struct Counts<'a> {
    to: IntType,
    numerator: i128,
    denominator: i128,
    addend: i128,
    missing: &'a [i128],
    fill: Option<i128>,
}

impl Counts<'_> {
    fn apply(&self, from: IntType, stored: &[u8], out: &mut Vec<u8>) -> Result<(), RuleError> {
        for cell in stored.chunks_exact(from.size_bytes() as usize) {
            let Some(Number::Integer(count)) = number_of(&DataType::Int(from), cell) else { continue };
            let mapped =
                if self.missing.contains(&count) { self.fill.ok_or(RuleError::NoFill)? } else { self.mapped(count)? };
            push_integer(self.to, mapped, out).ok_or(RuleError::Outside { count, mapped, dtype: self.to })?;
        }
        Ok(())
    }

    fn mapped(&self, count: i128) -> Result<i128, RuleError> {
        // Counts have at most 64 bits and the factors at most 62, so the product fits.
        let scaled = count * self.numerator;
        if scaled % self.denominator != 0 {
            return Err(RuleError::Between { count });
        }
        let mapped = scaled / self.denominator + self.addend;
        match self.fill {
            Some(fill) if fill == mapped => Err(RuleError::MeansMissing { count, fill }),
            _ => Ok(mapped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{Factor, FactorKind};

    fn bytes(counts: &[i16]) -> Vec<u8> {
        counts.iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    #[test]
    fn decoding_rounds_where_numpy_rounds() {
        // Sea-surface temperature: hundredths of a kelvin above 273.15 K, attributes stored as float32.
        let factor = |value: f32| Some(Factor { value: value.into(), kind: FactorKind::F32 });
        let packing = Packing {
            scale: factor(0.01),
            offset: factor(273.15),
            fills: vec![Fill::Integer(-32768)],
            ..Packing::default()
        };
        let mut out = Vec::new();
        decode(
            &DataType::Int(IntType::I16),
            &packing,
            (FloatType::F32, FloatType::F32),
            &bytes(&[0, 1500, -32768]),
            &mut out,
        );
        let kelvin: Vec<f32> = out.chunks(4).map(|cell| f32::from_le_bytes(cell.try_into().unwrap())).collect();
        assert_eq!(kelvin[..2], [273.15, 1500.0 * 0.01_f32 + 273.15]);
        assert!(kelvin[2].is_nan());
    }

    #[test]
    fn an_integer_times_an_integer_wraps_as_in_numpy() {
        let rule = ValueRule::Scale { from: IntType::I16, to: IntType::I8, factor: 2 };
        let mut out = Vec::new();
        apply(&rule, &bytes(&[3, -4, 100]), &mut out).unwrap();
        assert_eq!(out, [6, 0xf8, 200]);
    }

    #[test]
    fn counts_between_two_counts_stop_the_run() {
        let half = ValueRule::Repack {
            from: IntType::I16,
            to: IntType::I16,
            numerator: 1,
            denominator: 2,
            addend: 0,
            missing: vec![-1],
            fill: Some(-99),
        };
        let mut out = Vec::new();
        assert_eq!(apply(&half, &bytes(&[4, -1]), &mut out), Ok(()));
        assert_eq!(out, bytes(&[2, -99]));
        assert_eq!(apply(&half, &bytes(&[3]), &mut out), Err(RuleError::Between { count: 3 }));
        assert_eq!(apply(&half, &bytes(&[-198]), &mut out), Err(RuleError::MeansMissing { count: -198, fill: -99 }));
    }
}
