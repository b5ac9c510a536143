//! Floats whose parts lie elsewhere in their bytes than IEEE 754 puts them.
//!
//! HDF5 lets a float have any layout. It promises exact values: a layout is only taken for a standard float that
//! holds all its numbers.

use frazil_model::{
    codec::{ByteOrder, FloatParts},
    dtype::FloatType,
};

/// Whether `parts` make sense in a float of `float`'s size, and `float` holds all their numbers.
#[must_use]
pub fn fits(parts: FloatParts, float: FloatType) -> bool {
    let n_bits = float.size_bytes() * 8;
    let (mantissa_bits, max_exponent) = match float {
        FloatType::F16 => return false,
        FloatType::F32 => (23, 127),
        FloatType::F64 => (52, 1023),
    };
    let inside = |at: u32, bits: u32| at.checked_add(bits).is_some_and(|end| end <= n_bits);
    // Exponents from 1 - bias to the largest below the one that is infinity; all must be normal numbers.
    let largest = (1_i64 << parts.exponent_bits.min(32)) - 2 - i64::from(parts.bias);
    let smallest = 1 - i64::from(parts.bias) - i64::from(parts.mantissa_bits);
    (2..=11).contains(&parts.exponent_bits)
        && (1..=mantissa_bits).contains(&parts.mantissa_bits)
        && inside(parts.sign_at, 1)
        && inside(parts.exponent_at, parts.exponent_bits)
        && inside(parts.mantissa_at, parts.mantissa_bits)
        && largest <= max_exponent
        && smallest > -max_exponent
}

/// Turns each element into a float of `float`, in the same byte order.
pub fn to_standard(bytes: &mut [u8], float: FloatType, parts: FloatParts, order: ByteOrder) {
    for element in bytes.chunks_exact_mut(float.size_bytes() as usize) {
        if order == ByteOrder::Big {
            element.reverse();
        }
        let raw = element.iter().rev().fold(0_u64, |raw, byte| (raw << 8) | u64::from(*byte));
        let value = value(raw, parts);
        match float {
            FloatType::F16 => {}
            #[allow(clippy::cast_possible_truncation)] // it fits
            FloatType::F32 => element.copy_from_slice(&(value as f32).to_le_bytes()),
            FloatType::F64 => element.copy_from_slice(&value.to_le_bytes()),
        }
        if order == ByteOrder::Big {
            element.reverse();
        }
    }
}

fn value(raw: u64, parts: FloatParts) -> f64 {
    let field = |at: u32, bits: u32| raw.checked_shr(at).unwrap_or(0) & ((1_u64 << bits.min(63)) - 1);
    let exponent = field(parts.exponent_at, parts.exponent_bits);
    let mantissa = field(parts.mantissa_at, parts.mantissa_bits);
    let largest = (1_u64 << parts.exponent_bits.min(63)) - 1;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let magnitude = if exponent == largest {
        if mantissa == 0 { f64::INFINITY } else { f64::NAN }
    } else {
        // The parts fit a standard float, so every step is exact.
        let (lead, exponent) = if exponent == 0 { (0, 1) } else { (1_u64 << parts.mantissa_bits.min(63), exponent) };
        let scale = exponent as i32 - parts.bias as i32 - parts.mantissa_bits as i32;
        (mantissa | lead) as f64 * 2_f64.powi(scale)
    };
    if field(parts.sign_at, 1) == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_float_has_the_value_of_its_parts() {
        let parts =
            FloatParts { sign_at: 26, exponent_at: 20, exponent_bits: 6, mantissa_at: 7, mantissa_bits: 13, bias: 31 };
        assert!(fits(parts, FloatType::F32));
        // -1.5 * 2^3
        let raw: u32 = (1 << 26) | (34 << 20) | (0b1_0000_0000_0000 << 7);
        let mut bytes = raw.to_be_bytes();
        to_standard(&mut bytes, FloatType::F32, parts, ByteOrder::Big);
        assert_eq!(f32::from_be_bytes(bytes), -12.0);
    }

    #[test]
    fn a_layout_that_a_standard_float_cannot_hold_is_not_taken() {
        let parts = FloatParts {
            sign_at: 31,
            exponent_at: 20,
            exponent_bits: 11,
            mantissa_at: 0,
            mantissa_bits: 20,
            bias: 1023,
        };
        assert!(!fits(parts, FloatType::F32));
    }
}
