//! What must agree between files: variables without the growing dimension, coordinates, lengths. And which
//! dimension it is that grows.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    combine::{
        CombinedVariable,
        error::{CombineError, LARGEST_DIFFERENCE, OTHER_TYPE, RUNS_THE_OTHER_WAY, Rule},
        labels::{Label, Run, labels_in, labels_of, time_units},
        policy::{Alignment, DifferDtype, Policies},
        values::InFile,
        view::{FileView, Values},
    },
    dtype::DataType,
    numbers::{Number, numbers_of},
};

/// The dimension that grows from file to file; `None` if the files hold different variables on the same axes.
pub(super) fn growing_dimension(files: &[FileView], policies: &Policies) -> Result<Option<String>, CombineError> {
    let mut known: Vec<String> = Vec::new();
    for name in files.iter().flat_map(|file| &file.variables).flat_map(|variable| &variable.dimensions) {
        if !known.contains(name) {
            known.push(name.clone());
        }
    }
    if let Some(along) = &policies.along {
        return if known.contains(along) {
            Ok(Some(along.clone()))
        } else {
            Err(CombineError::NoDimension { dimension: along.clone(), known })
        };
    }
    let mut candidates: Vec<(String, u8)> = Vec::new();
    let mut shared: Vec<(String, u8)> = Vec::new();
    for name in &known {
        let Some((differs, rank)) = axis_of(files, name, policies)? else { continue };
        (if differs { &mut candidates } else { &mut shared }).push((name.clone(), rank));
    }
    let best = candidates.iter().map(|(_, rank)| *rank).max().unwrap_or(0);
    let mut leading = candidates.iter().filter(|(_, rank)| *rank == best);
    match (leading.next(), leading.next()) {
        (Some((name, _)), None) => Ok(Some(name.clone())),
        // All of them are placed by label, whatever the files have.
        (Some(_), Some(_)) if candidates.iter().all(|(name, _)| policies.align.of(name) == Alignment::Outer) => {
            Ok(None)
        }
        (Some(_), Some(_)) => {
            Err(CombineError::Ambiguous { candidates: candidates.into_iter().map(|(name, _)| name).collect() })
        }
        (None, _) if are_complements(files) => Ok(None),
        // The same labels in every file: name the one that would grow, so that the label held twice is shown.
        (None, _) => match shared.into_iter().max_by_key(|(_, rank)| *rank).filter(|(_, rank)| *rank > 0) {
            Some((name, _)) => Ok(Some(name)),
            None => Err(CombineError::NothingGrows { file: files[1].name.clone(), first_file: files[0].name.clone() }),
        },
    }
}

/// Whether the labels of a dimension differ between files, and how likely it is the one that grows: 2 for times, 1
/// for an unlimited dimension. `None` for a dimension without labels.
fn axis_of(files: &[FileView], name: &str, policies: &Policies) -> Result<Option<(bool, u8)>, CombineError> {
    let mut first: Option<(usize, Vec<Label>)> = None;
    let mut differs = false;
    for (number, file) in files.iter().enumerate() {
        // A coordinate that cannot be ordered is not the one that grows; if it is, placing it says why.
        let Ok(Some(labels)) = labels_of(file, name) else { continue };
        match &first {
            Some((_, mine)) => differs |= !close(mine, &labels, policies.align.of(name)),
            None => first = Some((number, labels)),
        }
    }
    let Some((holder, _)) = first else { return Ok(None) };
    let file = &files[holder];
    let is_time = file.coordinate("/", name).is_some_and(|coordinate| time_units(coordinate).is_some());
    let is_unlimited = file
        .groups
        .iter()
        .flat_map(|group| &group.dimensions)
        .any(|dimension| dimension.name == name && dimension.is_unlimited);
    Ok(Some((differs, if is_time { 2 } else { u8::from(is_unlimited) })))
}

fn close(a: &[Label], b: &[Label], align: Alignment) -> bool {
    match align {
        Alignment::Exact | Alignment::Outer => a == b,
        Alignment::Tolerance(tolerance) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|pair| match pair {
                    (Label::Number(a), Label::Number(b)) => (a - b).abs() <= tolerance,
                    (a, b) => a == b,
                })
        }
    }
}

/// Whether no data variable is in two files.
fn are_complements(files: &[FileView]) -> bool {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for variable in files.iter().flat_map(|file| &file.variables) {
        *holders.entry(&variable.path).or_default() += 1;
    }
    // Coordinates and the like are shared; a file must bring at least one variable of its own.
    files.iter().all(|file| file.variables.iter().any(|variable| holders.get(variable.path.as_str()) == Some(&1)))
}

/// Whether `b` is known to equal `a`; false where the values are too large to be held here.
pub(super) fn equal(a: &InFile<'_>, b: &InFile<'_>, along: &str, policies: &Policies) -> Result<bool, CombineError> {
    let (mine, theirs) = (a.variable, b.variable);
    let is_coordinate = mine.dimensions == [mine.name()];
    let fail = |detail: String| {
        let (file, first_file) = (b.file.to_owned(), a.file.to_owned());
        if is_coordinate {
            CombineError::Coordinate { dimension: mine.name().to_owned(), file, first_file, detail }
        } else {
            CombineError::Static { variable: mine.path.clone(), along: along.to_owned(), file, first_file, detail }
        }
    };
    if mine.shape != theirs.shape {
        return Err(fail(format!("shape {:?} against {:?}", theirs.shape, mine.shape)));
    }
    if let (Some(ours), Some(counted)) = (time_units(mine), time_units(theirs)) {
        match (labels_in(mine), labels_in(theirs)) {
            (Ok(x), Ok(y)) => return compare_times(&x, &y).map(|()| true).map_err(fail),
            _ if ours != counted => {
                return Err(fail(format!("its times count otherwise: `{}` against `{}`", counted.0, ours.0)));
            }
            _ => {}
        }
    }
    let are_promoted = policies.differ.dtype == DifferDtype::Promote && is_plain(a) && is_plain(b);
    if mine.dtype != theirs.dtype && !are_promoted {
        return Err(fail(format!("{OTHER_TYPE}: {} against {}", theirs.dtype, mine.dtype)));
    }
    if !mine.packing().same_as(&theirs.packing()) {
        return Err(fail("it is packed differently".to_owned()));
    }
    let (Some(x), Some(y)) = (&mine.values, &theirs.values) else {
        // Bytes of two types are not compared while they are read.
        let is_one_type = mine.dtype == theirs.dtype;
        return if is_one_type {
            Ok(false)
        } else {
            Err(fail(format!("{OTHER_TYPE}, and they are too many to be compared")))
        };
    };
    if x == y && mine.dtype == theirs.dtype {
        return Ok(true);
    }
    let (Values::Fixed(x), Values::Fixed(y)) = (x.as_ref(), y.as_ref()) else {
        return Err(fail("the texts differ".to_owned()));
    };
    let (Some(x), Some(y)) = (numbers_of(&mine.dtype, x), numbers_of(&theirs.dtype, y)) else {
        return Err(fail("the values differ".to_owned()));
    };
    let is_same = |(x, y): (&Number, &Number)| means_the_same(*x, *y) || (float(*x).is_nan() && float(*y).is_nan());
    // 0.0 and -0.0 are one place on an axis.
    if (is_coordinate || mine.dtype != theirs.dtype) && x.iter().zip(&y).all(is_same) {
        return Ok(true);
    }
    if let (true, Alignment::Tolerance(tolerance)) = (is_coordinate, policies.align.of(mine.name()))
        && x.iter().zip(&y).all(|(x, y)| (float(*x) - float(*y)).abs() <= tolerance)
    {
        return Ok(true);
    }
    Err(fail(difference(&x, &y)))
}

/// Whether a variable holds numbers that are values.
fn is_plain(one: &InFile<'_>) -> bool {
    let is_number = matches!(one.variable.dtype, DataType::Int(_) | DataType::Float(_));
    is_number && !one.variable.packing().scales() && one.variable.packing().unsigned.is_none()
}

/// Whether two numbers are one, whatever their types.
fn means_the_same(x: Number, y: Number) -> bool {
    match (x, y) {
        #[allow(clippy::cast_possible_truncation)] // it is whole, and below 2^53
        (Number::Integer(whole), Number::Float(value)) | (Number::Float(value), Number::Integer(whole)) => {
            value.fract() == 0.0 && value.abs() < 9e15 && value as i128 == whole
        }
        (x, y) => x == y,
    }
}

/// Whether two lists of times are the same instants, whatever they count from; else how they differ.
fn compare_times(first: &[Label], other: &[Label]) -> Result<(), String> {
    let agree = |(a, b): (&Label, &Label)| match (a, b) {
        (Label::Time(a, ours), Label::Time(b, theirs)) => a == b && ours.agrees_with(*theirs, [a].into_iter()),
        _ => false,
    };
    match first.iter().zip(other).position(|pair| !agree(pair)) {
        None => Ok(()),
        Some(at) => Err(match (first.get(at), other.get(at)) {
            (Some(a), Some(b)) if first.len() == 1 => format!("{b} against {a}"),
            (Some(a), Some(b)) => format!("element {at} is {b} against {a}"),
            _ => "the times differ".to_owned(),
        }),
    }
}

fn float(number: Number) -> f64 {
    match number {
        #[allow(clippy::cast_precision_loss)]
        Number::Integer(value) => value as f64,
        Number::Float(value) => value,
    }
}

/// How two lists of equal length differ, in words.
fn difference(first: &[Number], other: &[Number]) -> String {
    if first.len() > 1 && first.iter().eq(other.iter().rev()) {
        return RUNS_THE_OTHER_WAY.to_owned();
    }
    let at = first.iter().zip(other).position(|(a, b)| a != b).unwrap_or(0);
    let largest = first.iter().zip(other).map(|(a, b)| (float(*a) - float(*b)).abs()).fold(0.0, f64::max);
    match (first.get(at), other.get(at)) {
        (Some(a), Some(b)) => {
            format!("element {at} is {} against {}; {LARGEST_DIFFERENCE} {largest:e}", float(*b), float(*a))
        }
        _ => "the values differ".to_owned(),
    }
}

/// Variables of one group must agree about the length of a dimension.
pub(super) fn check_lengths(variables: &[CombinedVariable]) -> Result<(), CombineError> {
    let mut lengths: BTreeMap<(String, &str), (u64, &str)> = BTreeMap::new();
    for variable in variables {
        let group = variable.path.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        for (name, length) in variable.dimensions.iter().zip(&variable.shape) {
            let (known, holder) = *lengths.entry((group.clone(), name)).or_insert((*length, &variable.path));
            if known != *length {
                return Err(CombineError::Differs {
                    rule: Rule::Length,
                    variable: variable.path.clone(),
                    what: format!("dimension `{name}` of length"),
                    file: variable.path.clone(),
                    value: length.to_string(),
                    first_file: holder.to_owned(),
                    first_value: known.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Joins values along `axis`: for each run, elements of one holder. `None` if the holders' shapes differ elsewhere, or
/// a holder has not all elements of its shape.
pub(super) fn join_values(values: &[Arc<Values>], shapes: &[&[u64]], axis: usize, runs: &[Run]) -> Option<Values> {
    let size = |number: u64| usize::try_from(number).ok();
    let Some(shape) = shapes.first() else { return Some(Values::Fixed(bytes::Bytes::new())) };
    if shapes.iter().any(|other| !super::lengths::agree_but_for(shape, other, Some(axis))) {
        return None;
    }
    let outer = crate::region::count(shape.get(..axis)?);
    let inner = size(crate::region::count(shape.get(axis + 1..)?))?;
    let mut texts = Vec::new();
    let mut fixed = Vec::new();
    for row in 0..outer {
        for run in runs {
            let shape = shapes.get(run.file)?;
            let (first, n_elements) = (size(row * shape.get(axis)? + run.from)? * inner, size(run.count)? * inner);
            let n_all = size(crate::region::count(shape))?;
            match values.get(run.file)?.as_ref() {
                Values::Texts(all) if all.len() == n_all => {
                    texts.extend_from_slice(all.get(first..first + n_elements)?)
                }
                Values::Fixed(all) if all.len().is_multiple_of(n_all.max(1)) => {
                    let element = all.len().checked_div(n_all).unwrap_or(1);
                    fixed.extend_from_slice(all.get(first * element..(first + n_elements) * element)?);
                }
                _ => return None,
            }
        }
    }
    Some(if values.iter().any(|one| matches!(one.as_ref(), Values::Texts(_))) {
        Values::Texts(texts)
    } else {
        Values::Fixed(fixed.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_along_an_inner_axis() {
        let values = [Arc::new(Values::Fixed(vec![1, 2, 5, 6].into())), Arc::new(Values::Fixed(vec![3, 7].into()))];
        let run = |file, from, to, count| Run { file, from, to, count };
        let joined = join_values(&values, &[&[2, 2], &[2, 1]], 1, &[run(0, 0, 0, 2), run(1, 0, 2, 1)]);
        assert_eq!(joined, Some(Values::Fixed(vec![1, 2, 3, 5, 6, 7].into())));
    }

    #[test]
    fn values_of_other_shapes_are_not_joined() {
        let values = [Arc::new(Values::Fixed(vec![1, 2, 5, 6].into())), Arc::new(Values::Fixed(vec![3].into()))];
        let runs = [Run { file: 0, from: 0, to: 0, count: 2 }, Run { file: 1, from: 0, to: 2, count: 1 }];
        assert_eq!(join_values(&values, &[&[2, 2], &[1, 1]], 1, &runs), None);
        assert_eq!(join_values(&values, &[&[2, 2], &[2, 1]], 1, &runs), None);
    }

    #[test]
    fn a_flipped_axis_is_called_flipped() {
        let axis: Vec<Number> = [10.0, 20.0, 30.0].map(Number::Float).to_vec();
        let flipped: Vec<Number> = axis.iter().rev().copied().collect();
        assert_eq!(difference(&axis, &flipped), "it runs the other way");
    }
}
