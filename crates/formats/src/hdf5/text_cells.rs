//! Texts in cells of fixed size.
//!
//! HDF5 lets a cell hold anything behind the NUL that ends its text, or fill it with spaces. Readers see neither.

use frazil_model::codec::TextEnd;

/// Fills each cell of `size_bytes` with NUL from the end of its text on.
pub fn clean(bytes: &mut [u8], size_bytes: u32, end: TextEnd) {
    for cell in bytes.chunks_exact_mut((size_bytes as usize).max(1)) {
        end.clean(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_end_of_a_text_is_not_seen() {
        let mut cells = *b"ab\0dxy";
        clean(&mut cells, 3, TextEnd::FirstNul);
        assert_eq!(&cells, b"ab\0dxy");
        clean(&mut cells, 2, TextEnd::FirstNul);
        assert_eq!(&cells, b"ab\0\0xy");
    }

    #[test]
    fn spaces_at_the_end_of_a_cell_are_not_text() {
        let mut cells = *b"a b   ";
        clean(&mut cells, 3, TextEnd::Spaces);
        assert_eq!(&cells, b"a b\0\0\0");
    }
}
