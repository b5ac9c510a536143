//! Virtual datasets whose length follows from other files: selections without an end, and names with a number.
//!
//! It promises the length that the HDF5 library gives them by default: to the last element that is there, over numbered
//! files up to the first that is missing. Where none of the files is there, nothing is known of the length, and the
//! variable is named as unread: an empty one would look like data that nobody measured.

use frazil_formats::Decoded;
use frazil_model::{
    dataset::{Dataset, Unread, Variable},
    manifest::{ChunkTable, Hyperslab, VirtualPart},
    region::count,
};

use crate::others::{OtherState, Scanned};

/// Numbered files of one mapping, and parts of one virtual dataset.
const MOST_PARTS: usize = 1 << 20;

/// Blocks that are written out one by one where those of both sides do not end together.
const MOST_RUNS: usize = 1 << 12;

/// Looks for a file that a virtual dataset names; `None` if that is being asked already.
type Find<'a> = &'a mut dyn FnMut(&str) -> Option<OtherState>;

/// Gives endless virtual datasets the shape that they have now.
pub(crate) fn settle(decoded: &mut Decoded, find: Find<'_>) {
    let mut number = 0;
    while number < decoded.manifest.tables.len() {
        let endless = match &decoded.manifest.tables[number] {
            ChunkTable::Virtual(parts) => parts.iter().any(VirtualPart::is_endless),
            _ => false,
        };
        if !endless {
            number += 1;
            continue;
        }
        let ChunkTable::Virtual(parts) = &decoded.manifest.tables[number] else { continue };
        match settled(parts, &decoded.dataset.variables[number], &decoded.dataset, find) {
            Ok((shape, parts)) => {
                let variable = &mut decoded.dataset.variables[number];
                variable.chunk_shape.clone_from(&shape);
                variable.shape = shape;
                decoded.manifest.tables[number] = ChunkTable::Virtual(parts);
                set_lengths(&mut decoded.dataset, number);
                number += 1;
            }
            Err(reason) => {
                let variable = decoded.dataset.variables.remove(number);
                decoded.manifest.tables.remove(number);
                let reason = format!("virtual dataset is not something frazil reads: {reason}");
                decoded.dataset.unread.push(Unread { path: variable.path, reason });
            }
        }
    }
}

/// Dimensions are as long as the variables that have them.
fn set_lengths(dataset: &mut Dataset, number: usize) {
    let (path, names) = (dataset.variables[number].group().to_owned(), dataset.variables[number].dimensions.clone());
    for name in names {
        let lengths = dataset.variables.iter().filter(|variable| variable.group() == path).flat_map(|variable| {
            let pairs = variable.dimensions.iter().zip(&variable.shape);
            pairs.filter(|(dimension, _)| **dimension == name).map(|(_, length)| *length).collect::<Vec<_>>()
        });
        let Some(longest) = lengths.max() else { continue };
        let group = dataset.groups.iter_mut().find(|group| group.path == path);
        let found = group.and_then(|group| group.dimensions.iter_mut().find(|dimension| dimension.name == name));
        if let Some(dimension) = found {
            dimension.length = longest;
        }
    }
}

/// The shape, and the parts with their ends.
fn settled(
    parts: &[VirtualPart],
    variable: &Variable,
    dataset: &Dataset,
    find: Find<'_>,
) -> Result<(Vec<u64>, Vec<VirtualPart>), String> {
    let mut shape = variable.shape.clone();
    let mut ends: Vec<Option<u64>> = vec![None; shape.len()];
    let mut found = Vec::new();
    let mut first_name = String::new();
    for part in parts {
        let axis = part.to.iter().position(Hyperslab::is_endless);
        let new = match axis {
            None => vec![part.clone()],
            Some(_) if part.from.iter().any(Hyperslab::is_endless) => followed(part, dataset, find)?,
            Some(axis) => counted(part, axis, find)?,
        };
        if let (Some(axis), true) = (axis, new.is_empty()) {
            ends[axis] = ends[axis].or(Some(0));
            first_name = format!("{} and others", part.file);
        }
        for part in &new {
            for (end, slab) in ends.iter_mut().zip(&part.to) {
                *end = (*end).max(last_of(slab));
            }
        }
        found.extend(new);
        if found.len() > MOST_PARTS {
            return Err("it has too many parts".into());
        }
    }
    let endless = |axis: usize| parts.iter().any(|part| part.to.get(axis).is_some_and(Hyperslab::is_endless));
    for axis in (0..shape.len()).filter(|axis| endless(*axis)) {
        shape[axis] = ends[axis].unwrap_or(0);
        if shape[axis] == 0 {
            return Err(format!(
                "its length follows from files that it does not list one by one, and none of them is there ({first_name})"
            ));
        }
    }
    Ok((shape, found))
}

/// One past the last element of a selection.
fn last_of(slab: &Hyperslab) -> Option<u64> {
    let blocks = slab.count.checked_sub(1)?.checked_mul(slab.stride)?;
    slab.start.checked_add(blocks)?.checked_add(slab.block)
}

/// A mapping of a variable that grows: as much of it as is there.
fn followed(part: &VirtualPart, dataset: &Dataset, find: Find<'_>) -> Result<Vec<VirtualPart>, String> {
    let only = |slabs: &[Hyperslab]| {
        let mut endless = slabs.iter().enumerate().filter(|(_, slab)| slab.is_endless());
        endless.next().map(|(axis, _)| axis).filter(|_| endless.next().is_none())
    };
    let (Some(from_axis), Some(to_axis)) = (only(&part.from), only(&part.to)) else {
        return Err("a mapping has no end along two dimensions".into());
    };
    let file = part.file.replace("%%", "%");
    let variable = part.variable.replace("%%", "%");
    let path = format!("/{}", variable.trim_matches('/'));
    let length_in = |dataset: &Dataset| dataset.variable(&path).and_then(|there| there.shape.get(from_axis).copied());
    let length = match find_in(&file, find)? {
        Place::Here => length_in(dataset),
        Place::There(other) => length_in(&other.source.decoded.dataset),
        Place::Nowhere => None,
    };
    let n = n_below(&part.from[from_axis], length.unwrap_or(0));
    let (from, to) = (part.from[from_axis], part.to[to_axis]);
    let mut found = Vec::new();
    for (from, to) in spans(&from, &to, n)? {
        let mut new = VirtualPart { file: file.clone(), variable: variable.clone(), ..part.clone() };
        new.from[from_axis] = from;
        new.to[to_axis] = to;
        found.push(new);
    }
    Ok(found)
}

/// Elements of an endless selection below `length`.
fn n_below(slab: &Hyperslab, length: u64) -> u64 {
    let left = length.saturating_sub(slab.start);
    if slab.block == u64::MAX || slab.stride <= slab.block {
        return left;
    }
    (left / slab.stride).saturating_mul(slab.block).saturating_add((left % slab.stride).min(slab.block))
}

/// The first `n` elements of two endless selections, as pairs that have ends.
fn spans(from: &Hyperslab, to: &Hyperslab, n: u64) -> Result<Vec<(Hyperslab, Hyperslab)>, String> {
    // Blocks that touch are one block.
    let block = |slab: &Hyperslab| if slab.stride == slab.block { u64::MAX } else { slab.block };
    let start = |slab: &Hyperslab, at: u64| match block(slab) {
        u64::MAX => slab.start.checked_add(at),
        block => (at / block).checked_mul(slab.stride).and_then(|blocks| blocks.checked_add(slab.start + at % block)),
    };
    let whole = |slab: &Hyperslab, at: u64, n: u64| {
        let start = start(slab, at).ok_or_else(|| "it is longer than any file".to_owned())?;
        Ok::<_, String>(match block(slab) {
            block if block == u64::MAX || n < block => Hyperslab { start, stride: n, count: 1, block: n },
            block => Hyperslab { start, stride: slab.stride, count: n / block, block },
        })
    };
    // As much as is whole blocks on both sides; the rest run by run.
    let unit = |slab: &Hyperslab| if block(slab) == u64::MAX { 1 } else { block(slab) };
    let (one, other) = (unit(from), unit(to));
    let common = (one / gcd(one, other)).saturating_mul(other);
    let n_whole = n / common * common;
    let mut found = Vec::new();
    if n_whole > 0 {
        found.push((whole(from, 0, n_whole)?, whole(to, 0, n_whole)?));
    }
    let mut at = n_whole;
    while at < n {
        let left = |slab: &Hyperslab| if block(slab) == u64::MAX { n - at } else { unit(slab) - at % unit(slab) };
        let run = left(from).min(left(to)).min(n - at);
        found.push((whole(from, at, run)?, whole(to, at, run)?));
        at += run;
        if found.len() > MOST_RUNS {
            return Err("its blocks end too seldom together".into());
        }
    }
    Ok(found)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// A mapping of numbered files: up to the first that is missing.
fn counted(part: &VirtualPart, axis: usize, find: Find<'_>) -> Result<Vec<VirtualPart>, String> {
    let slab = part.to[axis];
    if slab.block == u64::MAX {
        return Err("a mapping of numbered files has a block without end".into());
    }
    let mut found = Vec::new();
    for number in 0..MOST_PARTS {
        let (file, variable) = (numbered(&part.file, number), numbered(&part.variable, number));
        let path = format!("/{}", variable.trim_matches('/'));
        let Place::There(other) = find_in(&file, find)? else { break };
        let Some(there) = other.source.decoded.dataset.variable(&path) else { break };
        let start = (number as u64).checked_mul(slab.stride).and_then(|distance| distance.checked_add(slab.start));
        let mut to = part.to.clone();
        to[axis] = Hyperslab {
            start: start.ok_or("it is longer than any file")?,
            stride: slab.block,
            count: 1,
            block: slab.block,
        };
        let extents = |slabs: &[Hyperslab]| slabs.iter().map(|slab| slab.count.saturating_mul(slab.block)).collect();
        let wanted: Vec<u64> = extents(&to);
        let given: Vec<u64> = if part.from.is_empty() { there.shape.clone() } else { extents(&part.from) };
        if count(&wanted) == u64::MAX || count(&wanted) != count(&given) {
            return Err(format!("a mapping has more elements on one side than on the other (`{file}`)"));
        }
        found.push(VirtualPart { file, variable, from: part.from.clone(), to });
    }
    Ok(found)
}

/// A name with the number of a block in place of `%b`.
fn numbered(name: &str, number: usize) -> String {
    let parts: Vec<String> = name.split("%%").map(|part| part.replace("%b", &number.to_string())).collect();
    parts.join("%")
}

enum Place {
    Here,
    There(std::sync::Arc<Scanned>),
    Nowhere,
}

fn find_in(file: &str, find: Find<'_>) -> Result<Place, String> {
    if file == "." {
        return Ok(Place::Here);
    }
    match find(file) {
        Some(OtherState::File(other)) => Ok(Place::There(other)),
        Some(OtherState::Absent) => Ok(Place::Nowhere),
        Some(OtherState::Unusable(reason)) => Err(reason),
        Some(OtherState::Bytes(..)) | None => Err("its length follows from itself".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slab(start: u64, stride: u64, count: u64, block: u64) -> Hyperslab {
        Hyperslab { start, stride, count, block }
    }

    #[test]
    fn a_selection_without_end_counts_what_is_there() {
        assert_eq!(n_below(&slab(2, 1, 1, u64::MAX), 10), 8);
        assert_eq!(n_below(&slab(0, 5, u64::MAX, 2), 11), 5);
        assert_eq!(n_below(&slab(4, 5, u64::MAX, 2), 3), 0);
    }

    #[test]
    fn what_does_not_end_together_is_written_out() {
        let spans = spans(&slab(0, 1, 1, u64::MAX), &slab(1, 4, u64::MAX, 2), 5).unwrap();
        assert_eq!(spans, [(slab(0, 4, 1, 4), slab(1, 4, 2, 2)), (slab(4, 1, 1, 1), slab(9, 1, 1, 1))]);
    }

    #[test]
    fn names_are_numbered() {
        assert_eq!(numbered("f-%b-100%%b.h5", 7), "f-7-100%b.h5");
    }
}
