//! Files as boxes: variables that are put together along several dimensions, or along one that has holes.
//!
//! Each file has a place for every label of its own along every dimension that is joined. It promises that an element
//! is filled by one file, by its labels, that two files which fill the same are compared or refused, and that a place
//! that no file fills is filled only where that was asked for, with a value that readers take for "missing".

use std::collections::BTreeSet;

use crate::{
    attribute::Attributes,
    combine::{
        error::CombineError,
        labels::{Axis, Label},
        view::Values,
    },
    dtype::DataType,
    numbers::push_float,
    packing::Packing,
    region::{Region, coordinates_of, count},
};

/// Boxes that files are cut into, where they meet.
const MOST_CELLS: u64 = 1 << 22;

/// A dimension along which elements are placed by label.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Its name.
    pub name: String,
    /// Its labels, and where those of each file are.
    pub axis: Axis,
    /// Whether places may stay empty.
    pub holes: Holes,
}

/// Which places may stay empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holes {
    /// None.
    Never,
    /// Those of these labels: the file that would fill them is known to be missing.
    At(BTreeSet<Label>),
    /// Any.
    Anywhere,
}

/// A box of the joined variable and the holder that fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    /// Which holder.
    pub holder: usize,
    /// First element there, along each placed dimension.
    pub from: Vec<u64>,
    /// First element of the joined variable, along each placed dimension.
    pub to: Vec<u64>,
    /// How many elements along each.
    pub shape: Vec<u64>,
}

/// Boxes, and whether places are left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Boxes {
    /// In the order of their places.
    pub filled: Vec<Filled>,
    /// Whether some places are empty.
    pub has_holes: bool,
}

/// What stands in the way of placing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// Two holders fill the element at these places, and may not.
    Twice { first: usize, second: usize, at: Vec<u64> },
    /// No holder fills the element at these places.
    Nowhere { at: Vec<u64> },
    /// There are too many boxes.
    TooMany,
}

/// What to do where two holders fill the same box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// The first stays.
    KeepFirst,
    /// The second takes its place.
    TakeSecond,
    /// It is an error.
    Refuse,
}

/// Cuts of one dimension, and where each holder's elements are between them.
struct Cuts {
    edges: Vec<u64>,
    /// For each holder, its pieces between two edges: number of the piece, first element in the file.
    pieces: Vec<Vec<(u64, u64)>>,
}

impl Cuts {
    fn of(placed: &Placed, files: &[usize]) -> Self {
        let empty = Vec::new();
        let places = |file: &usize| placed.axis.places.get(*file).unwrap_or(&empty);
        let follows = |pair: (&u64, &u64)| pair.0.checked_add(1) == Some(*pair.1);
        let mut edges: BTreeSet<u64> = [0, placed.axis.labels.len() as u64].into();
        for places in files.iter().map(places) {
            for (at, place) in places.iter().enumerate() {
                if at == 0 || !places.get(at - 1).is_some_and(|before| follows((before, place))) {
                    edges.insert(*place);
                }
                if !places.get(at + 1).is_some_and(|next| follows((place, next))) {
                    edges.insert(place + 1);
                }
            }
        }
        let edges: Vec<u64> = edges.into_iter().collect();
        let pieces = files
            .iter()
            .map(|file| {
                let starts = places(file).iter().enumerate();
                starts
                    .filter_map(|(from, place)| Some((edges.binary_search(place).ok()? as u64, from as u64)))
                    .collect()
            })
            .collect();
        Self { edges, pieces }
    }

    fn n_pieces(&self) -> u64 {
        (self.edges.len() as u64).saturating_sub(1)
    }

    fn start(&self, piece: u64) -> u64 {
        usize::try_from(piece).ok().and_then(|piece| self.edges.get(piece)).copied().unwrap_or(0)
    }

    fn length(&self, piece: u64) -> u64 {
        self.start(piece + 1).saturating_sub(self.start(piece))
    }
}

/// Who fills what. `files` are the numbers of the holders' files; `overlap` says what to do about two.
pub(super) fn boxes(
    placed: &[&Placed],
    files: &[usize],
    overlap: &mut dyn FnMut(&Filled, &Filled) -> Overlap,
) -> Result<Boxes, Misplaced> {
    let cuts: Vec<Cuts> = placed.iter().map(|one| Cuts::of(one, files)).collect();
    let grid: Vec<u64> = cuts.iter().map(Cuts::n_pieces).collect();
    if count(&grid) > MOST_CELLS {
        return Err(Misplaced::TooMany);
    }
    let mut owners: Vec<Option<(usize, Vec<u64>)>> = vec![None; usize::try_from(count(&grid)).unwrap_or(0)];
    let box_of = |cell: u64, (holder, from): (usize, Vec<u64>)| {
        let at = coordinates_of(cell, &grid);
        let to = at.iter().zip(&cuts).map(|(piece, cuts)| cuts.start(*piece)).collect();
        let shape = at.iter().zip(&cuts).map(|(piece, cuts)| cuts.length(*piece)).collect();
        Filled { holder, from, to, shape }
    };
    for holder in 0..files.len() {
        let own: Vec<&Vec<(u64, u64)>> = cuts.iter().filter_map(|cuts| cuts.pieces.get(holder)).collect();
        let lengths: Vec<u64> = own.iter().map(|pieces| pieces.len() as u64).collect();
        for number in 0..count(&lengths) {
            let mut cell = 0;
            let mut from = Vec::with_capacity(own.len());
            for ((at, pieces), length) in coordinates_of(number, &lengths).into_iter().zip(&own).zip(&grid) {
                let Some((piece, first)) = usize::try_from(at).ok().and_then(|at| pieces.get(at)) else { continue };
                cell = cell * length + piece;
                from.push(*first);
            }
            let Some(owner) = usize::try_from(cell).ok().and_then(|cell| owners.get_mut(cell)) else { continue };
            let mine = (holder, from);
            let Some(other) = owner.clone() else {
                *owner = Some(mine);
                continue;
            };
            let (first, second) = (box_of(cell, other), box_of(cell, mine.clone()));
            match overlap(&first, &second) {
                Overlap::KeepFirst => {}
                Overlap::TakeSecond => *owner = Some(mine),
                Overlap::Refuse => {
                    return Err(Misplaced::Twice { first: first.holder, second: holder, at: first.to });
                }
            }
        }
    }
    let mut found = Boxes { filled: Vec::new(), has_holes: false };
    for (cell, owner) in owners.into_iter().enumerate() {
        let cell = cell as u64;
        match owner {
            Some(owner) => add(&mut found.filled, box_of(cell, owner)),
            None => {
                let hole = box_of(cell, (0, Vec::new()));
                let may_stay =
                    placed.iter().enumerate().any(|(axis, one)| is_hole(one, hole.to[axis], hole.shape[axis]));
                if !may_stay {
                    return Err(Misplaced::Nowhere { at: hole.to });
                }
                found.has_holes = true;
            }
        }
    }
    Ok(found)
}

/// Whether all places of a stretch may stay empty.
fn is_hole(placed: &Placed, start: u64, length: u64) -> bool {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    match &placed.holes {
        Holes::Never => false,
        Holes::Anywhere => true,
        Holes::At(labels) => placed
            .axis
            .labels
            .get(size(start)..size(start + length))
            .is_some_and(|stretch| stretch.iter().all(|label| labels.contains(label))),
    }
}

/// Adds a box, to the last one if it goes on there.
fn add(filled: &mut Vec<Filled>, next: Filled) {
    if let (Some(last), Some(axis)) = (filled.last_mut(), next.to.len().checked_sub(1)) {
        let goes_on = last.holder == next.holder
            && last.to[..axis] == next.to[..axis]
            && last.from[..axis] == next.from[..axis]
            && last.shape[..axis] == next.shape[..axis]
            && last.to[axis] + last.shape[axis] == next.to[axis]
            && last.from[axis] + last.shape[axis] == next.from[axis];
        if goes_on {
            last.shape[axis] += next.shape[axis];
            return;
        }
    }
    filled.push(next);
}

/// The stored value that readers take for "missing": the variable's own mark, or NaN. The error says why there is none.
///
/// # Errors
/// If there is no such value.
pub(super) fn missing_value(dtype: &DataType, attributes: &Attributes) -> Result<Vec<u8>, String> {
    let packing = Packing::of(attributes);
    let own = ["_FillValue", "missing_value"].iter().find_map(|name| attributes.numbers(name));
    if let Some(own) = own.filter(|own| own.dtype() == *dtype && !packing.fills.is_empty()) {
        let size = dtype.size_bytes().unwrap_or(1) as usize;
        return Ok(own.to_le_bytes().into_iter().take(size).collect());
    }
    let mut bytes = Vec::new();
    match dtype {
        DataType::Float(float) => {
            push_float(*float, f64::NAN, &mut bytes);
            Ok(bytes)
        }
        _ => {
            Err(format!("no file fills all of it, and {dtype} without a `_FillValue` has no value for what is missing"))
        }
    }
}

/// Copies box `shape` of an array of `from_shape` to its place in one of `to_shape`; `width` entries an element.
pub(super) fn copy_box<T: Clone>(
    (from, from_shape, from_start): (&[T], &[u64], &[u64]),
    (to, to_shape, to_start): (&mut [T], &[u64], &[u64]),
    shape: &[u64],
    width: usize,
) {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let run = shape.last().copied().unwrap_or(1);
    let outer = &shape[..shape.len().saturating_sub(1)];
    if count(shape) == 0 {
        return;
    }
    for number in 0..count(outer) {
        let mut at = coordinates_of(number, outer);
        at.resize(shape.len(), 0);
        let first = |start: &[u64], of: &[u64]| {
            let place: Vec<u64> = at.iter().zip(start).map(|(at, start)| at + start).collect();
            size(crate::region::number_of(&place, of)) * width
        };
        let (source, target) = (first(from_start, from_shape), first(to_start, to_shape));
        let length = size(run) * width;
        if let (Some(source), Some(target)) = (from.get(source..source + length), to.get_mut(target..target + length)) {
            target.clone_from_slice(source);
        }
    }
}

/// Values joined from those of the holders; what no box fills holds `missing`.
pub(super) fn assembled(
    values: &[std::sync::Arc<Values>],
    regions: &[(usize, Vec<u64>, Region)],
    shapes: &[&[u64]],
    shape: &[u64],
    missing: &[u8],
) -> Values {
    let n_elements = usize::try_from(count(shape)).unwrap_or(usize::MAX);
    if values.iter().any(|one| matches!(one.as_ref(), Values::Texts(_))) {
        let mut out: Vec<Option<String>> = vec![None; n_elements];
        for (holder, from, at) in regions {
            if let Values::Texts(texts) = values[*holder].as_ref() {
                copy_box((texts, shapes[*holder], from), (&mut out, shape, &at.start), &at.shape, 1);
            }
        }
        return Values::Texts(out);
    }
    let width = missing.len().max(1);
    let mut out = missing.repeat(n_elements);
    for (holder, from, at) in regions {
        if let Values::Fixed(bytes) = values[*holder].as_ref() {
            copy_box((bytes, shapes[*holder], from), (&mut out, shape, &at.start), &at.shape, width);
        }
    }
    Values::Fixed(out.into())
}

/// The error for a variable that cannot be put together.
pub(super) fn too_many(path: &str, file: &str) -> CombineError {
    CombineError::TooLarge {
        variable: path.to_owned(),
        file: file.to_owned(),
        reason: format!("the files meet in more than {MOST_CELLS} boxes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(name: &str, n: usize, places: &[&[u64]], holes: Holes) -> Placed {
        let labels = (0..n as i128).map(Label::Integer).collect();
        let places = places.iter().map(|one| one.to_vec()).collect();
        Placed { name: name.into(), axis: Axis { labels, places }, holes }
    }

    /// Each box as `holder: from -> to x shape`.
    fn check(placed: &[&Placed], n_files: usize, expected: Result<&[&str], Misplaced>) {
        let files: Vec<usize> = (0..n_files).collect();
        let found = boxes(placed, &files, &mut |_, _| Overlap::Refuse).map(|found| {
            let text = |one: &Filled| format!("{}: {:?} -> {:?} x {:?}", one.holder, one.from, one.to, one.shape);
            found.filled.iter().map(text).collect::<Vec<_>>()
        });
        assert_eq!(found, expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect()));
    }

    #[test]
    fn four_files_are_the_quarters_of_one_array() {
        let time = placed("time", 4, &[&[0, 1], &[0, 1], &[2, 3], &[2, 3]], Holes::Never);
        let level = placed("lev", 2, &[&[0], &[1], &[0], &[1]], Holes::Never);
        check(
            &[&time, &level],
            4,
            Ok(&[
                "0: [0, 0] -> [0, 0] x [2, 1]",
                "1: [0, 0] -> [0, 1] x [2, 1]",
                "2: [0, 0] -> [2, 0] x [2, 1]",
                "3: [0, 0] -> [2, 1] x [2, 1]",
            ]),
        );
    }

    #[test]
    fn a_quarter_that_no_file_has_is_an_error_unless_it_may_be_missing() {
        let time = placed("time", 2, &[&[0], &[0], &[1]], Holes::Never);
        let mut level = placed("lev", 2, &[&[0], &[1], &[0]], Holes::Never);
        check(&[&time, &level], 3, Err(Misplaced::Nowhere { at: vec![1, 1] }));
        level.holes = Holes::At([Label::Integer(1)].into());
        check(
            &[&time, &level],
            3,
            Ok(&["0: [0, 0] -> [0, 0] x [1, 1]", "1: [0, 0] -> [0, 1] x [1, 1]", "2: [0, 0] -> [1, 0] x [1, 1]"]),
        );
    }

    #[test]
    fn labels_of_one_file_between_those_of_another_cut_it() {
        let lat = placed("lat", 4, &[&[0, 2, 3], &[1]], Holes::Anywhere);
        check(&[&lat], 2, Ok(&["0: [0] -> [0] x [1]", "1: [0] -> [1] x [1]", "0: [1] -> [2] x [2]"]));
    }

    #[test]
    fn two_files_with_the_same_labels_are_refused() {
        let time = placed("time", 2, &[&[0, 1], &[1]], Holes::Never);
        check(&[&time], 2, Err(Misplaced::Twice { first: 0, second: 1, at: vec![1] }));
    }

    #[test]
    fn a_box_goes_to_its_place() {
        let mut to = [0; 6];
        copy_box((&[1, 2, 3, 4], &[2, 2], &[0, 1]), (&mut to, &[2, 3], &[0, 2]), &[2, 1], 1);
        assert_eq!(to, [0, 0, 2, 0, 0, 4]);
    }
}
