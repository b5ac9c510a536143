//! Numbers as bytes: little-endian elements of a dtype, read as wide numbers and written back.

use crate::dtype::{DataType, FloatType, IntType};

/// One number, without loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// From an integer type.
    Integer(i128),
    /// From a float type.
    Float(f64),
}

/// Reads one integer of `int` from its little-endian bytes.
#[must_use]
pub fn integer_of(int: IntType, bytes: &[u8]) -> Option<i128> {
    Some(match int {
        IntType::I8 => i8::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::U8 => u8::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::I16 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::U16 => u16::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::I32 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::U32 => u32::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::I64 => i64::from_le_bytes(bytes.try_into().ok()?).into(),
        IntType::U64 => u64::from_le_bytes(bytes.try_into().ok()?).into(),
    })
}

/// Reads one float of `float` from its little-endian bytes.
#[must_use]
pub fn float_of(float: FloatType, bytes: &[u8]) -> Option<f64> {
    Some(match float {
        FloatType::F16 => half_to_f64(u16::from_le_bytes(bytes.try_into().ok()?)),
        FloatType::F32 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        FloatType::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
    })
}

/// The numbers of little-endian `bytes`; `None` if `dtype` is not an integer or a float, or bytes are left over.
#[must_use]
pub fn numbers_of(dtype: &DataType, bytes: &[u8]) -> Option<Vec<Number>> {
    let size = dtype.size_bytes()? as usize;
    if size == 0 || !bytes.len().is_multiple_of(size) {
        return None;
    }
    bytes.chunks_exact(size).map(|cell| number_of(dtype, cell)).collect()
}

/// The number of one little-endian cell.
#[must_use]
pub fn number_of(dtype: &DataType, cell: &[u8]) -> Option<Number> {
    match dtype {
        DataType::Int(int) | DataType::Enum { base: int, .. } => integer_of(*int, cell).map(Number::Integer),
        DataType::Bool => cell.first().map(|value| Number::Integer((*value).into())),
        DataType::Float(float) => float_of(*float, cell).map(Number::Float),
        _ => None,
    }
}

/// Appends an integer as little-endian bytes of `int`; `None` if it does not fit.
pub fn push_integer(int: IntType, value: i128, out: &mut Vec<u8>) -> Option<()> {
    let (low, high) = int.bounds();
    if value < low || value > high {
        return None;
    }
    out.extend_from_slice(&value.to_le_bytes()[..int.size_bytes() as usize]);
    Some(())
}

/// Appends a float as little-endian bytes of `float`, rounding to nearest.
#[allow(clippy::cast_possible_truncation)] // rounding is what it is for
pub fn push_float(float: FloatType, value: f64, out: &mut Vec<u8>) {
    match float {
        FloatType::F16 => out.extend_from_slice(&f64_to_half(value).to_le_bytes()),
        FloatType::F32 => out.extend_from_slice(&(value as f32).to_le_bytes()),
        FloatType::F64 => out.extend_from_slice(&value.to_le_bytes()),
    }
}

/// Every binary16 is a binary64.
pub(crate) fn half_to_f64(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + mantissa / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// Rounds to the nearest binary16, ties to even.
pub(crate) fn f64_to_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if value.is_nan() {
        return sign | 0x7e00;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    let exponent = if size < 2_f64.powi(-14) { -14.0 } else { size.log2().floor().clamp(-14.0, 15.0) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let steps = (size / 2_f64.powf(exponent - 10.0)).round_ties_even() as u16;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let biased = (exponent + 14.0) as u16;
    // A normal number's steps carry the leading one, which adds 1 to the exponent field.
    sign | ((biased << 10) + steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_float_comes_back() {
        for bits in (0..=0xffff_u16).filter(|bits| !half_to_f64(*bits).is_nan()) {
            assert_eq!(f64_to_half(half_to_f64(bits)), bits, "{bits:#06x}");
        }
    }

    #[test]
    fn an_integer_that_does_not_fit_is_not_cut() {
        let mut out = Vec::new();
        assert_eq!(push_integer(IntType::I8, 128, &mut out), None);
        assert_eq!(push_integer(IntType::I8, -128, &mut out), Some(()));
        assert_eq!(out, [0x80]);
    }
}
