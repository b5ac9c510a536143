//! Boxes of an array, and the grids that cut it.
//!
//! Indices are element numbers, C order: the last dimension runs fastest.

use serde::{Deserialize, Serialize};

/// A box: along each dimension `start .. start + shape`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Region {
    /// First element along each dimension.
    pub start: Vec<u64>,
    /// How many elements along each dimension.
    pub shape: Vec<u64>,
}

impl Region {
    /// All of an array of `shape`.
    #[must_use]
    pub fn whole(shape: &[u64]) -> Self {
        Self { start: vec![0; shape.len()], shape: shape.to_vec() }
    }

    /// One past the last element along dimension `axis`.
    #[must_use]
    pub fn end(&self, axis: usize) -> u64 {
        self.start[axis] + self.shape[axis]
    }

    /// How many elements; saturates.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        count(&self.shape)
    }

    /// The part that both boxes have; `None` if they share no element.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let mut shared =
            Self { start: Vec::with_capacity(self.start.len()), shape: Vec::with_capacity(self.start.len()) };
        for axis in 0..self.start.len() {
            let start = self.start[axis].max(other.start[axis]);
            let end = self.end(axis).min(other.end(axis));
            if end <= start {
                return None;
            }
            shared.start.push(start);
            shared.shape.push(end - start);
        }
        Some(shared)
    }

    /// The region of grid cell `coordinates` for cells of `cell` elements, cut at the end of an array of `shape`.
    #[must_use]
    pub fn of_cell(coordinates: &[u64], cell: &[u64], shape: &[u64]) -> Self {
        let start: Vec<u64> = coordinates.iter().zip(cell).map(|(at, length)| at * length).collect();
        let shape = start
            .iter()
            .zip(cell)
            .zip(shape)
            .map(|((start, cell), length)| (*cell).min(length.saturating_sub(*start)))
            .collect();
        Self { start, shape }
    }
}

/// How many elements a shape has; saturates, and a zero wins over any other length.
#[must_use]
pub fn count(shape: &[u64]) -> u64 {
    if shape.contains(&0) {
        return 0;
    }
    shape.iter().fold(1, |product, length| product.saturating_mul(*length))
}

/// Cells of `cell` elements along each dimension of `shape`.
#[must_use]
pub fn grid_of(shape: &[u64], cell: &[u64]) -> Vec<u64> {
    shape.iter().zip(cell).map(|(length, cell)| length.div_ceil((*cell).max(1))).collect()
}

/// The C-order number of the cell at `coordinates`.
#[must_use]
pub fn number_of(coordinates: &[u64], grid: &[u64]) -> u64 {
    coordinates.iter().zip(grid).fold(0, |number, (at, length)| number * length + at)
}

/// The coordinates of cell `number`.
#[must_use]
pub fn coordinates_of(mut number: u64, grid: &[u64]) -> Vec<u64> {
    let mut coordinates = vec![0; grid.len()];
    for (at, length) in coordinates.iter_mut().zip(grid).rev() {
        let length = (*length).max(1);
        *at = number % length;
        number /= length;
    }
    coordinates
}

/// The grid cells that touch `region`, in C order.
pub fn cells_touching<'a>(region: &'a Region, cell: &'a [u64]) -> impl Iterator<Item = Vec<u64>> + 'a {
    let first: Vec<u64> = region.start.iter().zip(cell).map(|(start, cell)| start / (*cell).max(1)).collect();
    let grid: Vec<u64> = (0..cell.len())
        .map(
            |axis| {
                if region.shape[axis] == 0 { 0 } else { (region.end(axis) - 1) / cell[axis].max(1) - first[axis] + 1 }
            },
        )
        .collect();
    (0..count(&grid))
        .map(move |number| coordinates_of(number, &grid).iter().zip(&first).map(|(at, first)| at + first).collect())
}

/// The largest run of elements in C order that is a box of at most `most_bytes`.
#[must_use]
pub fn piece_shape(shape: &[u64], element_bytes: u64, most_bytes: u64) -> Vec<u64> {
    let mut piece = shape.to_vec();
    for axis in 0..shape.len() {
        let row_bytes = count(&shape[axis + 1..]).saturating_mul(element_bytes).max(1);
        piece[axis] = (most_bytes / row_bytes).clamp(1, shape[axis].max(1));
        if row_bytes <= most_bytes {
            break;
        }
    }
    piece
}

/// The pieces of an array that lies in C order: for each its number, its first element and how many it has.
pub fn pieces<'a>(shape: &'a [u64], piece: &'a [u64]) -> impl Iterator<Item = (u64, u64, u64)> + 'a {
    let grid = grid_of(shape, piece);
    (0..count(&grid)).map(move |number| {
        let region = Region::of_cell(&coordinates_of(number, &grid), piece, shape);
        let first = region.start.iter().zip(shape).fold(0, |at, (start, length)| at * length + start);
        (number, first, region.n_elements())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_cell_is_cut_at_the_end_of_the_array() {
        assert_eq!(Region::of_cell(&[3, 0], &[10, 4], &[31, 4]), Region { start: vec![30, 0], shape: vec![1, 4] });
    }

    #[test]
    fn a_scalar_has_one_element_and_one_cell() {
        let scalar = Region::whole(&[]);
        assert_eq!(scalar.n_elements(), 1);
        assert_eq!(cells_touching(&scalar, &[]).collect::<Vec<_>>(), [Vec::<u64>::new()]);
    }

    proptest! {
        #[test]
        fn cells_cover_a_region_exactly_once(start in 0..20_u64, length in 1..20_u64, cell in 1..7_u64) {
            let region = Region { start: vec![start, 0], shape: vec![length, 5] };
            let covered: u64 = cells_touching(&region, &[cell, 2])
                .filter_map(|at| Region::of_cell(&at, &[cell, 2], &[100, 5]).intersect(&region))
                .map(|shared| shared.n_elements())
                .sum();
            prop_assert_eq!(covered, region.n_elements());
        }

        #[test]
        fn a_cell_number_gives_its_coordinates_back(number in 0..60_u64) {
            let grid = [3, 4, 5];
            prop_assert_eq!(number_of(&coordinates_of(number, &grid), &grid), number);
        }
    }
}
