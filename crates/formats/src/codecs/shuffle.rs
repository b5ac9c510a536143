//! Bytes of equal weight side by side, and back.
//!
//! HDF5's shuffle filter, which blosc shares: byte `k` of every element goes to plane `k`; what is left over after the
//! last whole element is copied as it is. Loops for the usual widths work in two rounds (bytes to pairs, pairs to
//! elements) on small blocks, because compilers turn exactly that into interleaving instructions.

use frazil_model::codec::ByteOrder;

/// Elements that one round of a block handles.
const BLOCK: usize = 64;

/// Puts the bytes of elements side by side: `output` gets plane after plane. Both slices have the same length.
pub fn shuffle(input: &[u8], element_bytes: usize, output: &mut [u8]) {
    let n_bytes = input.len().min(output.len());
    let (input, output) = (&input[..n_bytes], &mut output[..n_bytes]);
    if element_bytes <= 1 || n_bytes < element_bytes {
        output.copy_from_slice(input);
        return;
    }
    let n_elements = n_bytes / element_bytes;
    let whole = n_elements * element_bytes;
    let (planes, rest) = output.split_at_mut(whole);
    rest.copy_from_slice(&input[whole..]);
    let input = &input[..whole];
    match element_bytes {
        2 => shuffle_2(input, planes, n_elements),
        4 => shuffle_4(input, planes, n_elements),
        8 => shuffle_8(input, planes, n_elements),
        _ => shuffle_any(input, element_bytes, planes, n_elements),
    }
}

/// Undoes [`shuffle`]. Both slices have the same length.
pub fn unshuffle(input: &[u8], element_bytes: usize, output: &mut [u8]) {
    unshuffle_ordered(input, element_bytes, ByteOrder::Little, output);
}

/// Undoes [`shuffle`] and, if the elements are numbers in `order` big, turns each round on the way: the planes are
/// only read in the other order, so it costs nothing.
pub(crate) fn unshuffle_ordered(input: &[u8], element_bytes: usize, order: ByteOrder, output: &mut [u8]) {
    let n_bytes = input.len().min(output.len());
    let (input, output) = (&input[..n_bytes], &mut output[..n_bytes]);
    if element_bytes <= 1 || n_bytes < element_bytes {
        output.copy_from_slice(input);
        return;
    }
    let n_elements = n_bytes / element_bytes;
    let whole = n_elements * element_bytes;
    let (elements, rest) = output.split_at_mut(whole);
    rest.copy_from_slice(&input[whole..]);
    let plane = |k: usize| {
        let k = if order == ByteOrder::Big { element_bytes - 1 - k } else { k };
        &input[k * n_elements..(k + 1) * n_elements]
    };
    match element_bytes {
        2 => unshuffle_2([plane(0), plane(1)], elements),
        4 => unshuffle_4(std::array::from_fn(plane), elements),
        8 => unshuffle_8(std::array::from_fn(plane), elements),
        _ => {
            for k in 0..element_bytes {
                for (to, byte) in elements[k..].iter_mut().step_by(element_bytes).zip(plane(k)) {
                    *to = *byte;
                }
            }
        }
    }
}

/// Elements whose bytes are still shuffled: what is wanted of them goes to its place in one step.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    bytes: &'a [u8],
    element_bytes: usize,
    order: ByteOrder,
}

impl<'a> Planes<'a> {
    /// Planes of elements of 2, 4 or 8 bytes, in `order`.
    pub(crate) fn new(bytes: &'a [u8], element_bytes: usize, order: ByteOrder) -> Option<Self> {
        let is_usual = matches!(element_bytes, 2 | 4 | 8) && bytes.len().is_multiple_of(element_bytes);
        is_usual.then_some(Self { bytes, element_bytes, order })
    }

    /// Bytes of all elements.
    #[must_use]
    pub const fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the elements from number `first` on to `output`, little-endian, as many as have room there.
    pub fn copy_run(&self, first: usize, output: &mut [u8]) {
        let n_elements = self.bytes.len() / self.element_bytes;
        let wanted = output.len() / self.element_bytes;
        let plane = |k: usize| {
            let k = if self.order == ByteOrder::Big { self.element_bytes - 1 - k } else { k };
            &self.bytes[k * n_elements + first..k * n_elements + first + wanted]
        };
        match self.element_bytes {
            2 => unshuffle_2([plane(0), plane(1)], output),
            4 => unshuffle_4(std::array::from_fn(plane), output),
            _ => unshuffle_8(std::array::from_fn(plane), output),
        }
    }
}

fn unshuffle_2(planes: [&[u8]; 2], elements: &mut [u8]) {
    for (to, (a, b)) in elements.chunks_exact_mut(2).zip(planes[0].iter().zip(planes[1])) {
        to.copy_from_slice(&(u16::from(*a) | u16::from(*b) << 8).to_le_bytes());
    }
}

/// The block of `plane` from element `at`; shorter at the end.
fn block(plane: &[u8], at: usize) -> &[u8] {
    &plane[at..plane.len().min(at + BLOCK)]
}

fn pairs(low: &[u8], high: &[u8], to: &mut [u16; BLOCK]) {
    for ((to, a), b) in to.iter_mut().zip(low).zip(high) {
        *to = u16::from(*a) | u16::from(*b) << 8;
    }
}

fn quads(low: &[u16; BLOCK], high: &[u16; BLOCK], to: &mut [u32; BLOCK]) {
    for ((to, a), b) in to.iter_mut().zip(low).zip(high) {
        *to = u32::from(*a) | u32::from(*b) << 16;
    }
}

fn unshuffle_4(planes: [&[u8]; 4], elements: &mut [u8]) {
    let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
    for (number, to) in elements.chunks_mut(4 * BLOCK).enumerate() {
        let at = number * BLOCK;
        pairs(block(planes[0], at), block(planes[1], at), &mut low);
        pairs(block(planes[2], at), block(planes[3], at), &mut high);
        for ((to, a), b) in to.chunks_exact_mut(4).zip(&low).zip(&high) {
            to.copy_from_slice(&(u32::from(*a) | u32::from(*b) << 16).to_le_bytes());
        }
    }
}

fn unshuffle_8(planes: [&[u8]; 8], elements: &mut [u8]) {
    let mut pair = [[0_u16; BLOCK]; 4];
    let mut quad = [[0_u32; BLOCK]; 2];
    for (number, to) in elements.chunks_mut(8 * BLOCK).enumerate() {
        let at = number * BLOCK;
        for (k, pair) in pair.iter_mut().enumerate() {
            pairs(block(planes[2 * k], at), block(planes[2 * k + 1], at), pair);
        }
        for (k, quad) in quad.iter_mut().enumerate() {
            quads(&pair[2 * k], &pair[2 * k + 1], quad);
        }
        for ((to, a), b) in to.chunks_exact_mut(8).zip(&quad[0]).zip(&quad[1]) {
            to.copy_from_slice(&(u64::from(*a) | u64::from(*b) << 32).to_le_bytes());
        }
    }
}

fn shuffle_2(input: &[u8], planes: &mut [u8], n_elements: usize) {
    let (low, high) = planes.split_at_mut(n_elements);
    for ((element, a), b) in input.chunks_exact(2).zip(low).zip(high) {
        (*a, *b) = (element[0], element[1]);
    }
}

#[allow(clippy::cast_possible_truncation)] // halves of a number
fn split_pairs(pair: &[u16; BLOCK], low: &mut [u8], high: &mut [u8]) {
    for (to, pair) in low.iter_mut().zip(pair) {
        *to = *pair as u8;
    }
    for (to, pair) in high.iter_mut().zip(pair) {
        *to = (*pair >> 8) as u8;
    }
}

#[allow(clippy::cast_possible_truncation)]
fn split_quads(quad: &[u32; BLOCK], low: &mut [u16; BLOCK], high: &mut [u16; BLOCK]) {
    for ((quad, a), b) in quad.iter().zip(low).zip(high) {
        (*a, *b) = (*quad as u16, (*quad >> 16) as u16);
    }
}

fn shuffle_4(input: &[u8], planes: &mut [u8], n_elements: usize) {
    let (first, second) = planes.split_at_mut(2 * n_elements);
    let (plane_0, plane_1) = first.split_at_mut(n_elements);
    let (plane_2, plane_3) = second.split_at_mut(n_elements);
    let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
    let mut quad = [0; BLOCK];
    for (number, elements) in input.chunks(4 * BLOCK).enumerate() {
        let range = number * BLOCK..number * BLOCK + elements.len() / 4;
        for (to, element) in quad.iter_mut().zip(elements.chunks_exact(4)) {
            *to = u32::from_le_bytes([element[0], element[1], element[2], element[3]]);
        }
        split_quads(&quad, &mut low, &mut high);
        split_pairs(&low, &mut plane_0[range.clone()], &mut plane_1[range.clone()]);
        split_pairs(&high, &mut plane_2[range.clone()], &mut plane_3[range]);
    }
}

#[allow(clippy::cast_possible_truncation)]
fn shuffle_8(input: &[u8], planes: &mut [u8], n_elements: usize) {
    let mut quad = [[0_u32; BLOCK]; 2];
    let mut pair = [[0_u16; BLOCK]; 4];
    for (number, elements) in input.chunks(8 * BLOCK).enumerate() {
        let at = number * BLOCK;
        let count = elements.len() / 8;
        let [low, high] = &mut quad;
        for ((element, a), b) in elements.chunks_exact(8).zip(low).zip(high) {
            *a = u32::from_le_bytes([element[0], element[1], element[2], element[3]]);
            *b = u32::from_le_bytes([element[4], element[5], element[6], element[7]]);
        }
        let [pair_0, pair_1, pair_2, pair_3] = &mut pair;
        split_quads(&quad[0], pair_0, pair_1);
        split_quads(&quad[1], pair_2, pair_3);
        for (k, pair) in pair.iter().enumerate() {
            let (low, high) = planes[2 * k * n_elements..].split_at_mut(n_elements);
            split_pairs(pair, &mut low[at..at + count], &mut high[at..at + count]);
        }
    }
}

fn shuffle_any(input: &[u8], element_bytes: usize, planes: &mut [u8], n_elements: usize) {
    for (k, plane) in planes.chunks_exact_mut(n_elements).enumerate() {
        for (to, byte) in plane.iter_mut().zip(input[k..].iter().step_by(element_bytes)) {
            *to = *byte;
        }
    }
}

/// Turns the bytes of each `swap_bytes` piece round, from one slice into another of the same length.
pub(crate) fn swap_into(input: &[u8], swap_bytes: usize, output: &mut [u8]) {
    output.copy_from_slice(input);
    swap_in_place(output, swap_bytes);
}

/// Turns the bytes of each `swap_bytes` piece round.
pub(crate) fn swap_in_place(bytes: &mut [u8], swap_bytes: usize) {
    match swap_bytes {
        0 | 1 => {}
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|piece| piece.reverse()),
        4 => bytes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .for_each(|piece| *piece = u32::from_le_bytes(*piece).swap_bytes().to_le_bytes()),
        8 => bytes
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .for_each(|piece| *piece = u64::from_le_bytes(*piece).swap_bytes().to_le_bytes()),
        _ => bytes.chunks_exact_mut(swap_bytes).for_each(<[u8]>::reverse),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, letter for letter.
    fn planes(input: &[u8], element_bytes: usize) -> Vec<u8> {
        let whole = input.len() / element_bytes * element_bytes;
        let mut out: Vec<u8> =
            (0..element_bytes).flat_map(|k| input[..whole].iter().skip(k).step_by(element_bytes).copied()).collect();
        out.extend(&input[whole..]);
        out
    }

    proptest! {
        #[test]
        fn a_shuffle_follows_its_definition_and_can_be_undone(
            input in proptest::collection::vec(any::<u8>(), 0..3000),
            element_bytes in 1..20_usize,
        ) {
            let mut shuffled = vec![0; input.len()];
            shuffle(&input, element_bytes, &mut shuffled);
            prop_assert_eq!(&shuffled, &planes(&input, element_bytes));
            let mut back = vec![0; input.len()];
            unshuffle(&shuffled, element_bytes, &mut back);
            prop_assert_eq!(&back, &input);
        }

        #[test]
        fn a_run_of_planes_is_that_run_of_the_elements(
            words in proptest::collection::vec(any::<u64>(), 1..300),
            element_bytes in prop_oneof![Just(2_usize), Just(4), Just(8)],
            from in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut shuffled = vec![0; bytes.len()];
            shuffle(&bytes, element_bytes, &mut shuffled);
            let first = from.index(bytes.len() / element_bytes);
            let mut run = vec![0; bytes.len() - first * element_bytes];
            Planes::new(&shuffled, element_bytes, ByteOrder::Little).unwrap().copy_run(first, &mut run);
            prop_assert_eq!(&run[..], &bytes[first * element_bytes..]);
        }

        #[test]
        fn unshuffling_big_endian_numbers_turns_them_round(
            words in proptest::collection::vec(any::<u64>(), 0..300),
            element_bytes in 1..9_usize,
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let bytes = &bytes[..bytes.len() / element_bytes * element_bytes];
            let mut swapped = vec![0; bytes.len()];
            swap_into(bytes, element_bytes, &mut swapped);
            let mut shuffled = vec![0; bytes.len()];
            shuffle(&swapped, element_bytes, &mut shuffled);
            let mut back = vec![0; bytes.len()];
            unshuffle_ordered(&shuffled, element_bytes, ByteOrder::Big, &mut back);
            prop_assert_eq!(&back[..], bytes);
        }
    }
}
