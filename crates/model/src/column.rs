//! A row of numbers in as few bytes as their spread asks for: places of chunks are known by the hundred million.

use serde::{Deserialize, Serialize};

/// Numbers that do not change once they are collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column(Kept);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Kept {
    /// Each is the one before and `step`.
    Steps {
        first: u64,
        step: u64,
        n: usize,
    },
    /// Each is `least` and what stands here.
    Narrow {
        least: u64,
        above: Vec<u32>,
    },
    Wide(Vec<u64>),
}

impl Default for Column {
    fn default() -> Self {
        Self(Kept::Steps { first: 0, step: 0, n: 0 })
    }
}

impl FromIterator<u64> for Column {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let (Some(first), Some(least)) = (numbers.first().copied(), numbers.iter().copied().min()) else {
            return Self::default();
        };
        let step = numbers.get(1).map_or(Some(0), |second| second.checked_sub(first));
        if let Some(step) = step
            && numbers.windows(2).all(|pair| pair[0].checked_add(step) == Some(pair[1]))
        {
            return Self(Kept::Steps { first, step, n: numbers.len() });
        }
        match numbers.iter().map(|number| u32::try_from(number - least).ok()).collect() {
            Some(above) => Self(Kept::Narrow { least, above }),
            None => Self(Kept::Wide(numbers)),
        }
    }
}

impl Column {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Steps { n, .. } => *n,
            Kept::Narrow { above, .. } => above.len(),
            Kept::Wide(numbers) => numbers.len(),
        }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.0 {
            Kept::Steps { .. } => 0,
            Kept::Narrow { above, .. } => size_of_val(above.as_slice()),
            Kept::Wide(numbers) => size_of_val(numbers.as_slice()),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one at `row`.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<u64> {
        match &self.0 {
            Kept::Steps { first, step, n } => (row < *n).then(|| first.wrapping_add(step.wrapping_mul(row as u64))),
            Kept::Narrow { least, above } => above.get(row).map(|above| least + u64::from(*above)),
            Kept::Wide(numbers) => numbers.get(row).copied(),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// The first row of which `is_before` is not true, where it is true of the first ones and of no other.
    #[must_use]
    pub fn partition_point(&self, is_before: impl Fn(u64) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle).is_some_and(&is_before) {
                true => from = middle + 1,
                false => to = middle,
            }
        }
        from
    }

    /// The row of `number` in a column that rises.
    #[must_use]
    pub fn find(&self, number: u64) -> Option<usize> {
        // Most columns that are asked count from nought: then the row is the number.
        let near = usize::try_from(number).unwrap_or(usize::MAX);
        if self.get(near) == Some(number) {
            return Some(near);
        }
        let row = self.partition_point(|one| one < number);
        (self.get(row) == Some(number)).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_whatever_they_are_kept_as() {
        let rows: [Vec<u64>; 8] = [
            vec![],
            vec![7],
            vec![5; 4],
            (0..9).collect(),
            vec![10, 14, 18],
            vec![u64::from(u32::MAX) + 5, 5, 6],
            vec![9, 2, 2, 700],
            vec![0, u64::MAX, 1],
        ];
        for numbers in rows {
            let column: Column = numbers.iter().copied().collect();
            assert_eq!(column.iter().collect::<Vec<_>>(), numbers);
            assert_eq!((column.len(), column.get(numbers.len())), (numbers.len(), None));
        }
    }

    #[test]
    fn steps_and_near_numbers_take_few_bytes() {
        assert!(matches!((0..9).collect::<Column>().0, Kept::Steps { .. }));
        assert!(matches!([1 << 40, (1 << 40) + 9, 1 << 40].into_iter().collect::<Column>().0, Kept::Narrow { .. }));
    }

    #[test]
    fn a_number_is_found_where_it_is() {
        for numbers in [vec![0, 1, 2, 3], vec![0, 2, 3, 9], vec![1, 1 << 40]] {
            let column: Column = numbers.iter().copied().collect();
            for number in 0..12 {
                assert_eq!(column.find(number), numbers.iter().position(|one| *one == number));
            }
            assert_eq!(column.partition_point(|one| one < 3), numbers.iter().filter(|one| **one < 3).count());
        }
    }
}
