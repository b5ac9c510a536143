//! Lengths of the dimensions that do not grow: they must agree from file to file.
//!
//! One kind of dimension may differ without any loss: one that is nothing but the length of texts kept as characters.
//! There the shorter texts are padded with NUL, which readers cut off again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    combine::{
        error::{CombineError, Rule},
        values::InFile,
        view::{FileView, Values, ViewVariable},
    },
    dtype::DataType,
};

/// Whether two shapes are the same, whatever their length along `axis`.
pub(super) fn agree_but_for(a: &[u64], b: &[u64], axis: Option<usize>) -> bool {
    a.len() == b.len() && a.iter().zip(b).enumerate().all(|(number, (a, b))| a == b || Some(number) == axis)
}

/// Every file must give a variable the same shape but for the dimension that grows.
///
/// A coordinate says itself, by its labels, how it differs.
pub(super) fn agree(holders: &[InFile<'_>], along: Option<usize>) -> Result<(), CombineError> {
    let Some((first, rest)) = holders.split_first() else { return Ok(()) };
    if first.variable.dimensions == [first.variable.name()] {
        return Ok(());
    }
    let shape = &first.variable.shape;
    let Some(other) = rest.iter().find(|other| !agree_but_for(shape, &other.variable.shape, along)) else {
        return Ok(());
    };
    let differs = |(number, (a, b)): (usize, (&u64, &u64))| a != b && Some(number) != along;
    let axis = shape.iter().zip(&other.variable.shape).enumerate().position(differs);
    let length = |one: &InFile<'_>| axis.and_then(|axis| one.variable.shape.get(axis)).copied().unwrap_or(0);
    let name = axis.and_then(|axis| first.variable.dimensions.get(axis)).map_or("", String::as_str);
    Err(CombineError::Differs {
        rule: Rule::Length,
        variable: first.variable.path.clone(),
        what: format!("dimension `{name}` of length"),
        file: other.file.to_owned(),
        value: length(other).to_string(),
        first_file: first.file.to_owned(),
        first_value: length(first).to_string(),
    })
}

/// Texts padded in memory may be this large in all.
const MOST_PADDED_BYTES: u64 = 64 << 20;

/// The dimensions that are only the length of texts and differ between files, with the longest.
pub(super) fn of_texts(files: &[FileView]) -> BTreeMap<String, u64> {
    let mut lengths: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut n_texts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut others: BTreeSet<&str> = BTreeSet::new();
    for variable in files.iter().flat_map(|file| &file.variables) {
        // What is not held here cannot be padded here.
        let is_padded =
            variable.dtype == DataType::Char && variable.values.is_some() && variable.dimensions != [variable.name()];
        let last = variable.dimensions.len().checked_sub(1).filter(|_| is_padded);
        for (axis, (name, length)) in variable.dimensions.iter().zip(&variable.shape).enumerate() {
            if last == Some(axis) {
                lengths.entry(name).or_default().insert(*length);
                let n_rows = n_texts.entry(name).or_default();
                *n_rows = n_rows.saturating_add(crate::region::count(&variable.shape[..axis]));
            } else {
                others.insert(name);
            }
        }
    }
    let longest = |(name, lengths): (&str, BTreeSet<u64>)| {
        let longest = *lengths.last()?;
        let n_bytes = n_texts.get(name).copied().unwrap_or(0).saturating_mul(longest);
        let is_only_texts = lengths.len() > 1 && !others.contains(name) && n_bytes <= MOST_PADDED_BYTES;
        is_only_texts.then(|| (name.to_owned(), longest))
    };
    lengths.into_iter().filter_map(longest).collect()
}

/// The variable with its texts padded to the longest.
pub(super) fn widened(variable: &ViewVariable, text_lengths: &BTreeMap<String, u64>) -> ViewVariable {
    let mut variable = variable.clone();
    let longest = variable.dimensions.last().and_then(|name| text_lengths.get(name)).copied();
    let (Some(longest), Some(length), Some(Values::Fixed(bytes))) =
        (longest, variable.shape.last().copied(), variable.values.as_deref())
    else {
        return variable;
    };
    let (Ok(new), Ok(old)) = (usize::try_from(longest), usize::try_from(length)) else { return variable };
    if new == old {
        return variable;
    }
    let rows = usize::try_from(crate::region::count(&variable.shape[..variable.shape.len() - 1])).unwrap_or(0);
    let mut padded = vec![0; rows.saturating_mul(new)];
    if old > 0 {
        for (row, text) in padded.chunks_exact_mut(new.max(1)).zip(bytes.chunks_exact(old)) {
            row.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        }
    }
    variable.values = Some(Arc::new(Values::Fixed(padded.into())));
    for lengths in [&mut variable.shape, &mut variable.chunk_shape] {
        if let Some(last) = lengths.last_mut() {
            *last = longest;
        }
    }
    variable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribute::Attributes,
        codec::CodecChain,
        dataset::{Role, Variable},
    };

    fn characters(path: &str, dimensions: &[&str], shape: &[u64], bytes: &'static [u8]) -> ViewVariable {
        let variable = Variable {
            path: path.into(),
            role: Role::Variable,
            dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
            shape: shape.to_vec(),
            dtype: DataType::Char,
            chunk_shape: shape.to_vec(),
            is_chunked: false,
            codecs: CodecChain::default(),
            fill: vec![0],
            attributes: Attributes::default(),
        };
        ViewVariable::of(0, &variable, Some(Arc::new(Values::Fixed(bytes.into()))))
    }

    fn files(variables: Vec<ViewVariable>) -> Vec<FileView> {
        let file = |variable| FileView {
            name: "f.nc".into(),
            groups: Vec::new(),
            variables: vec![variable],
            n_sources: 1,
            derived: Vec::new(),
        };
        variables.into_iter().map(file).collect()
    }

    #[test]
    fn shorter_texts_are_padded_to_the_longest() {
        let short = characters("/name", &["station", "length"], &[2, 2], b"abcd");
        let long = characters("/name", &["station", "length"], &[1, 3], b"xyz");
        let longest = of_texts(&files(vec![short.clone(), long]));
        assert_eq!(longest, BTreeMap::from([("length".to_owned(), 3)]));
        let padded = widened(&short, &longest);
        assert_eq!(padded.shape, [2, 3]);
        assert_eq!(padded.values.as_deref(), Some(&Values::Fixed(b"ab\0cd\0".as_slice().into())));
    }

    #[test]
    fn a_dimension_that_is_more_than_a_length_of_texts_is_not_padded() {
        let short = characters("/name", &["station", "length"], &[2, 2], b"abcd");
        let turned = characters("/code", &["length", "digit"], &[3, 1], b"123");
        assert_eq!(of_texts(&files(vec![short, turned])), BTreeMap::new());
    }

    #[test]
    fn texts_that_would_fill_memory_are_not_padded() {
        let many = characters("/name", &["station", "length"], &[1 << 40, 1], b"");
        let long = characters("/name", &["station", "length"], &[1, 1 << 40], b"");
        assert_eq!(of_texts(&files(vec![many, long])), BTreeMap::new());
    }
}
