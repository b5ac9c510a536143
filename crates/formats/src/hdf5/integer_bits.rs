//! Integers that use only some bits of their bytes.
//!
//! HDF5 lets an integer have a precision smaller than its size, and an offset. The bits around the value are
//! padding, whatever they hold; a reader sees the value with its sign.

use frazil_model::{codec::ByteOrder, dtype::IntType};

/// Moves each value to the low bits of its element and fills the bits above with its sign. Elements keep their
/// byte order. Bits outside the element are taken as absent.
pub fn widen(bytes: &mut [u8], int: IntType, offset: u32, precision: u32, order: ByteOrder) {
    let n_bits = int.size_bytes() * 8;
    let precision = precision.clamp(1, n_bits);
    let unused = n_bits - precision;
    for element in bytes.chunks_exact_mut(int.size_bytes() as usize) {
        if order == ByteOrder::Big {
            element.reverse();
        }
        let raw = element.iter().rev().fold(0_u64, |raw, byte| (raw << 8) | u64::from(*byte));
        let value = raw.checked_shr(offset).unwrap_or(0) & (u64::MAX >> (64 - precision));
        let is_negative = int.is_signed() && (value >> (precision - 1)) & 1 == 1;
        let value = if is_negative && unused > 0 { value | (u64::MAX << precision) } else { value };
        for (byte, wide) in element.iter_mut().zip(value.to_le_bytes()) {
            *byte = wide;
        }
        if order == ByteOrder::Big {
            element.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_integer_keeps_its_sign() {
        // Twelve bits from bit 2: -1 with ones all around it, then 5.
        let mut bytes = [0xFF, 0xFF, 0b0001_0100, 0];
        widen(&mut bytes, IntType::I16, 2, 12, ByteOrder::Little);
        assert_eq!(bytes, [0xFF, 0xFF, 5, 0]);
    }

    #[test]
    fn padding_is_not_part_of_an_unsigned_value() {
        let mut bytes = [0xF1, 0x23];
        widen(&mut bytes, IntType::U16, 0, 12, ByteOrder::Big);
        assert_eq!(bytes, [0x01, 0x23]);
    }
}
