//! Copying a box of elements between two arrays whose dimensions run differently.

use frazil_formats::codecs::Planes;

/// One array's side of a copy: where the box begins, and how far apart its elements are, all in elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk {
    /// Of the first element.
    pub offset: usize,
    /// From one element to the next along each dimension of the box; negative where the array is walked backwards.
    pub strides: Vec<isize>,
}

/// The distances between elements of a C-order array of `shape`.
#[must_use]
pub fn c_strides(shape: &[u64]) -> Vec<isize> {
    let mut strides = vec![1_isize; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * isize::try_from(shape[axis + 1]).unwrap_or(isize::MAX);
    }
    strides
}

/// The runs of a box that lie in one piece in an array of `shape`: the array's element each begins with, and the
/// elements of the box that it is.
pub fn runs(
    shape: &[u64],
    region: &frazil_model::region::Region,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    use frazil_model::region::{coordinates_of, count};
    // Trailing dimensions that the box has all of lie in one piece, and so do elements along the one before them.
    let n_whole = region.shape.iter().zip(shape).rev().take_while(|(part, whole)| part == whole).count();
    let n_outer = shape.len().saturating_sub(n_whole + 1);
    let outer: Vec<u64> = region.shape[..n_outer].to_vec();
    let run = count(&region.shape[n_outer..]);
    let inner_start = region.start[n_outer..].iter().zip(&shape[n_outer..]).fold(0, |at, (start, n)| at * n + start);
    let (start, shape) = (region.start[..n_outer].to_vec(), shape.to_vec());
    (0..if run == 0 { 0 } else { count(&outer) }).map(move |number| {
        let at = coordinates_of(number, &outer);
        let row = at.iter().zip(&start).zip(&shape).fold(0, |row, ((at, start), n)| row * n + at + start);
        let first = row * count(&shape[n_outer..]) + inner_start;
        let from = usize::try_from(number * run).unwrap_or(usize::MAX);
        (first, from..from.saturating_add(usize::try_from(run).unwrap_or(0)))
    })
}

/// Where elements are copied from.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    /// Elements as they are.
    Elements(&'a [u8]),
    /// Elements whose bytes are still shuffled; slow where they do not lie in runs.
    Planes(Planes<'a>),
}

/// How many elements of a box of `extents` lie in one run on both sides.
#[must_use]
pub fn run_length(from: &[isize], to: &[isize], extents: &[u64]) -> u64 {
    let mut run = 1;
    for axis in (0..extents.len()).rev() {
        let is_next = |stride: isize| u64::try_from(stride) == Ok(run);
        if !is_next(from[axis]) || !is_next(to[axis]) {
            break;
        }
        run *= extents[axis];
    }
    run
}

/// Copies a box of `extents` elements of `element_bytes` each.
///
/// Trailing dimensions that lie in one run on both sides are copied as one.
pub fn copy(source: &[u8], from: &Walk, target: &mut [u8], to: &Walk, extents: &[usize], element_bytes: usize) {
    copy_from(From::Elements(source), from, target, to, extents, element_bytes);
}

/// As [`copy`], of elements that may still be shuffled.
pub fn copy_from(source: From<'_>, from: &Walk, target: &mut [u8], to: &Walk, extents: &[usize], element_bytes: usize) {
    if extents.contains(&0) {
        return;
    }
    let (mut run, mut n_outer) = (1_usize, extents.len());
    #[allow(clippy::cast_possible_wrap)] // lengths of arrays in memory
    while n_outer > 0 && from.strides[n_outer - 1] == run as isize && to.strides[n_outer - 1] == run as isize {
        run *= extents[n_outer - 1];
        n_outer -= 1;
    }
    // Without a common run the innermost dimension is walked element by element.
    let inner = match source {
        From::Elements(elements) if run == 1 && n_outer > 0 => {
            n_outer -= 1;
            Some((elements, (extents[n_outer], from.strides[n_outer], to.strides[n_outer])))
        }
        _ => None,
    };
    let mut at = vec![0_usize; n_outer];
    let (mut source_at, mut target_at) = (from.offset, to.offset);
    loop {
        match inner {
            None => {
                let (a, b, n) = (source_at * element_bytes, target_at * element_bytes, run * element_bytes);
                match source {
                    From::Elements(source) => target[b..b + n].copy_from_slice(&source[a..a + n]),
                    From::Planes(planes) => planes.copy_run(source_at, &mut target[b..b + n]),
                }
            }
            Some((source, line)) => copy_line(source, source_at, target, target_at, line, element_bytes),
        }
        let mut axis = n_outer;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            at[axis] += 1;
            source_at = source_at.wrapping_add_signed(from.strides[axis]);
            target_at = target_at.wrapping_add_signed(to.strides[axis]);
            if at[axis] < extents[axis] {
                break;
            }
            let back = -isize::try_from(extents[axis]).unwrap_or(0);
            source_at = source_at.wrapping_add_signed(from.strides[axis] * back);
            target_at = target_at.wrapping_add_signed(to.strides[axis] * back);
            at[axis] = 0;
        }
    }
}

fn copy_line(
    source: &[u8],
    source_at: usize,
    target: &mut [u8],
    target_at: usize,
    line: (usize, isize, isize),
    element_bytes: usize,
) {
    match element_bytes {
        1 => copy_cells::<1>(source, source_at, target, target_at, line),
        2 => copy_cells::<2>(source, source_at, target, target_at, line),
        4 => copy_cells::<4>(source, source_at, target, target_at, line),
        8 => copy_cells::<8>(source, source_at, target, target_at, line),
        _ => {
            let (mut a, mut b) = (source_at, target_at);
            for _ in 0..line.0 {
                let (x, y) = (a * element_bytes, b * element_bytes);
                target[y..y + element_bytes].copy_from_slice(&source[x..x + element_bytes]);
                a = a.wrapping_add_signed(line.1);
                b = b.wrapping_add_signed(line.2);
            }
        }
    }
}

/// Cells of a size known to the compiler, so that each is one load and one store.
fn copy_cells<const N: usize>(
    source: &[u8],
    source_at: usize,
    target: &mut [u8],
    target_at: usize,
    line: (usize, isize, isize),
) {
    let (source, _) = source.as_chunks::<N>();
    let (target, _) = target.as_chunks_mut::<N>();
    let (mut a, mut b) = (source_at, target_at);
    for _ in 0..line.0 {
        target[b] = source[a];
        a = a.wrapping_add_signed(line.1);
        b = b.wrapping_add_signed(line.2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_lands_in_its_place() {
        let source: Vec<u8> = (0..12).collect();
        let mut target = vec![99; 6];
        let from = Walk { offset: 5, strides: c_strides(&[3, 4]) };
        let to = Walk { offset: 1, strides: c_strides(&[2, 3]) };
        copy(&source, &from, &mut target, &to, &[2, 2], 1);
        assert_eq!(target, [99, 5, 6, 99, 9, 10]);
    }

    #[test]
    fn dimensions_may_change_places_and_run_backwards() {
        let source: Vec<u8> = [1_u16, 2, 3, 4, 5, 6].iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut target = vec![0; 12];
        // Source (2, 3); target (3, 2) with the first dimension reversed.
        let from = Walk { offset: 2, strides: vec![-1, 3] };
        let to = Walk { offset: 0, strides: c_strides(&[3, 2]) };
        copy(&source, &from, &mut target, &to, &[3, 2], 2);
        let values: Vec<u16> = target.chunks(2).map(|cell| u16::from_le_bytes([cell[0], cell[1]])).collect();
        assert_eq!(values, [3, 6, 2, 5, 1, 4]);
    }

    #[test]
    fn a_box_of_whole_rows_is_one_run() {
        let region = frazil_model::region::Region { start: vec![1, 0], shape: vec![2, 4] };
        assert_eq!(runs(&[3, 4], &region).collect::<Vec<_>>(), [(4, 0..8)]);
        let region = frazil_model::region::Region { start: vec![1, 1], shape: vec![2, 2] };
        assert_eq!(runs(&[3, 4], &region).collect::<Vec<_>>(), [(5, 0..2), (9, 2..4)]);
        assert_eq!(runs(&[], &frazil_model::region::Region::default()).collect::<Vec<_>>(), [(0, 0..1)]);
    }

    #[test]
    fn a_scalar_is_one_element() {
        let mut target = vec![0; 4];
        copy(&[1, 2, 3, 4], &Walk::default(), &mut target, &Walk::default(), &[], 4);
        assert_eq!(target, [1, 2, 3, 4]);
    }
}
