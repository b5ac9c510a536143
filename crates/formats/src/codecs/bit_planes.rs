//! Bits of equal weight side by side, and back: the bit shuffle of blosc and of HDF5's bitshuffle filter.
//!
//! Bit `k` of byte `b` of eight elements in a row makes one byte of row `8 * b + k`. The number of elements is a
//! multiple of eight; callers deal with the rest.

/// Undoes a bit shuffle. Both slices hold `n_elements` (a multiple of 8) elements of `element_bytes`.
pub(crate) fn unshuffle_bits(input: &[u8], element_bytes: usize, output: &mut [u8]) {
    let row_bytes = input.len() / element_bytes / 8;
    if row_bytes == 0 {
        return;
    }
    for (byte, rows) in input.chunks_exact(8 * row_bytes).enumerate() {
        for (group, elements) in output.chunks_exact_mut(8 * element_bytes).enumerate() {
            let bits = std::array::from_fn(|row| rows[row * row_bytes + group]);
            let turned = transpose(u64::from_le_bytes(bits)).to_le_bytes();
            for (to, value) in elements[byte..].iter_mut().step_by(element_bytes).zip(turned) {
                *to = value;
            }
        }
    }
}

/// Bit shuffle. Both slices hold a multiple of 8 elements of `element_bytes`.
#[cfg(test)]
pub(crate) fn shuffle_bits(input: &[u8], element_bytes: usize, output: &mut [u8]) {
    let row_bytes = input.len() / element_bytes / 8;
    for byte in 0..element_bytes {
        for group in 0..row_bytes {
            let bytes = std::array::from_fn(|k| input[(group * 8 + k) * element_bytes + byte]);
            let turned = transpose(u64::from_le_bytes(bytes)).to_le_bytes();
            for (row, value) in turned.iter().enumerate() {
                output[(byte * 8 + row) * row_bytes + group] = *value;
            }
        }
    }
}

/// Turns an 8 by 8 matrix of bits over its diagonal.
const fn transpose(bits: u64) -> u64 {
    let t = (bits ^ (bits >> 7)) & 0x00aa_00aa_00aa_00aa;
    let bits = bits ^ t ^ (t << 7);
    let t = (bits ^ (bits >> 14)) & 0x0000_cccc_0000_cccc;
    let bits = bits ^ t ^ (t << 14);
    let t = (bits ^ (bits >> 28)) & 0x0000_0000_f0f0_f0f0;
    bits ^ t ^ (t << 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_a_matrix_moves_each_bit_across_the_diagonal() {
        for row in 0..8 {
            for column in 0..8 {
                assert_eq!(transpose(1 << (8 * row + column)), 1 << (8 * column + row));
            }
        }
    }

    #[test]
    fn a_bit_shuffle_can_be_undone() {
        let input: Vec<u8> = (0..48_u32).map(|i| (i * i * 37) as u8).collect();
        let (mut shuffled, mut back) = (vec![0; 48], vec![0; 48]);
        shuffle_bits(&input, 3, &mut shuffled);
        unshuffle_bits(&shuffled, 3, &mut back);
        assert_eq!(back, input);
    }
}
