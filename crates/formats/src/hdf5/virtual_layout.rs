//! Virtual datasets: boxes of an array that are filled from arrays of other files.
//!
//! Mappings come from a global heap object. Regular selections become [`VirtualPart`]s. Where the length of an array
//! depends on which files are there (`%b` in names, selections without end), the parts are endless, with names as
//! stored: the stored shape is only what some program saw last.

use frazil_model::manifest::{Hyperslab, VirtualPart};

use crate::{
    error::FormatError,
    hdf5::{
        checksum,
        cursor::Cursor,
        global_heap::{self, Pointer},
        local_heap,
        session::{Session, too_large, unsupported},
    },
    sparse::Stop,
};

/// Parts of one virtual dataset.
const MAX_PARTS: u64 = 1 << 20;
/// HDF5's own limit.
const MAX_RANK: u32 = 32;

/// A selection as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    All,
    None,
    /// One slab per dimension; a count or block of `u64::MAX` has no end.
    Regular(Vec<Hyperslab>),
}

/// The parts of the virtual dataset that global heap object `index` at `heap` describes.
pub(crate) fn parts(
    session: &mut Session<'_>,
    heap: Option<u64>,
    index: u32,
    shape: &[u64],
) -> Result<Vec<VirtualPart>, Stop> {
    let Some(address) = heap else { return Ok(Vec::new()) };
    let object = global_heap::object(session, Pointer { address, index })?;
    checksum::verify("virtual dataset", address, object)?;
    let body = object.get(..object.len().saturating_sub(4)).unwrap_or_default();
    let mut cursor = Cursor::new("virtual dataset", address, body);
    let version = cursor.u8()?;
    if version > 1 {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    let n_mappings = cursor.uint(session.context.length_bytes.into())?;
    let mut parts = Vec::new();
    let mut names: Vec<(String, String)> = Vec::new();
    for _ in 0..n_mappings {
        let (file, variable) = mapping_names(&mut cursor, version, &names)?;
        names.push((file.clone(), variable.clone()));
        let from = selection(&mut cursor)?;
        let to = selection(&mut cursor)?;
        spell_out(&mut parts, &file, &variable, &from, &to, shape)?;
        if parts.len() as u64 > MAX_PARTS {
            return Err(too_large("parts of a virtual dataset", parts.len() as u64, MAX_PARTS).into());
        }
        session.count_values("virtual datasets", 64 + (file.len() + variable.len()) as u64)?;
    }
    Ok(parts)
}

/// The names of one mapping. Version 1 may point back to those of an earlier one.
fn mapping_names(cursor: &mut Cursor<'_>, version: u8, earlier: &[(String, String)]) -> Result<(String, String), Stop> {
    let flags = if version == 0 { 0 } else { cursor.u8()? };
    if flags & !0b111 != 0 {
        return Err(cursor.bad(format!("flags {flags}")).into());
    }
    let file = if flags & 0b100 != 0 {
        ".".to_owned()
    } else if flags & 0b001 != 0 {
        let at = usize::try_from(cursor.uint(8)?).unwrap_or(usize::MAX);
        earlier.get(at).map(|(file, _)| file.clone()).ok_or_else(|| cursor.bad("a name that is not there".into()))?
    } else {
        local_heap::name(cursor.until_nul()?)
    };
    let variable = if flags & 0b010 != 0 {
        let at = usize::try_from(cursor.uint(8)?).unwrap_or(usize::MAX);
        earlier.get(at).map(|(_, name)| name.clone()).ok_or_else(|| cursor.bad("a name that is not there".into()))?
    } else {
        local_heap::name(cursor.until_nul()?)
    };
    Ok((file, variable))
}

/// Reads a serialized selection.
fn selection(cursor: &mut Cursor<'_>) -> Result<Selection, FormatError> {
    let (kind, version) = (cursor.u32()?, cursor.u32()?);
    match (kind, version) {
        (0, _) => {
            cursor.skip(8)?;
            Ok(Selection::None)
        }
        (3, _) => {
            cursor.skip(8)?;
            Ok(Selection::All)
        }
        (2, 1) => {
            cursor.skip(8)?;
            irregular(cursor, 4)
        }
        (2, 2) => {
            let flags = cursor.u8()?;
            cursor.skip(4)?;
            if flags & 1 != 0 { regular(cursor, 8) } else { irregular(cursor, 8) }
        }
        (2, 3) => {
            let flags = cursor.u8()?;
            let number_bytes = usize::from(cursor.u8()?);
            if !matches!(number_bytes, 2 | 4 | 8) {
                return Err(cursor.bad(format!("numbers of {number_bytes} bytes")));
            }
            if flags & 1 != 0 { regular(cursor, number_bytes) } else { irregular(cursor, number_bytes) }
        }
        (1, _) => Err(unsupported("virtual dataset", "it selects single points")),
        _ => Err(cursor.bad(format!("a selection of kind {kind}, version {version}"))),
    }
}

fn rank(cursor: &mut Cursor<'_>) -> Result<u32, FormatError> {
    let rank = cursor.u32()?;
    if rank == 0 || rank > MAX_RANK { Err(cursor.bad(format!("{rank} dimensions"))) } else { Ok(rank) }
}

/// A number of which "all ones" means "no end".
fn endless(cursor: &mut Cursor<'_>, number_bytes: usize) -> Result<u64, FormatError> {
    let number = cursor.address(u8::try_from(number_bytes).unwrap_or(8))?;
    Ok(number.unwrap_or(u64::MAX))
}

fn regular(cursor: &mut Cursor<'_>, number_bytes: usize) -> Result<Selection, FormatError> {
    let rank = rank(cursor)?;
    let slabs = (0..rank).map(|_| {
        let (start, stride) = (cursor.uint(number_bytes)?, cursor.uint(number_bytes)?);
        let (count, block) = (endless(cursor, number_bytes)?, endless(cursor, number_bytes)?);
        if stride == 0 || count == 0 || block == 0 {
            return Err(cursor.bad("an empty selection".into()));
        }
        Ok(Hyperslab { start, stride, count, block })
    });
    Ok(Selection::Regular(slabs.collect::<Result<_, _>>()?))
}

/// A list of blocks, which is how older files store any selection. Those that are the product of a regular selection
/// along each dimension are one; of others, the order of elements is not that of a box.
fn irregular(cursor: &mut Cursor<'_>, number_bytes: usize) -> Result<Selection, FormatError> {
    let rank = rank(cursor)? as usize;
    let n_blocks = cursor.uint(number_bytes)?;
    if n_blocks > MAX_PARTS {
        return Err(too_large("blocks of a selection", n_blocks, MAX_PARTS));
    }
    let mut axes: Vec<Vec<(u64, u64)>> = vec![Vec::new(); rank];
    for _ in 0..n_blocks {
        let starts = (0..rank).map(|_| cursor.uint(number_bytes)).collect::<Result<Vec<u64>, _>>()?;
        let ends = (0..rank).map(|_| cursor.uint(number_bytes)).collect::<Result<Vec<u64>, _>>()?;
        for (axis, (start, end)) in axes.iter_mut().zip(starts.iter().zip(&ends)) {
            let block = end.checked_sub(*start).and_then(|length| length.checked_add(1));
            axis.push((*start, block.ok_or_else(|| cursor.bad("a block that ends before it begins".into()))?));
        }
    }
    let irregular = || unsupported("virtual dataset", "it selects an irregular set of blocks");
    let mut n_product = 1_u64;
    let mut slabs = Vec::with_capacity(rank);
    for mut blocks in axes {
        blocks.sort_unstable();
        blocks.dedup();
        n_product = n_product.saturating_mul(blocks.len() as u64);
        slabs.push(regular_along(&blocks).ok_or_else(irregular)?);
    }
    // Blocks of a selection never lie over one another, so as many as the product are the product.
    if n_product == n_blocks { Ok(Selection::Regular(slabs)) } else { Err(irregular()) }
}

/// Blocks along one dimension, sorted, as one selection, if they are equally long and far apart.
fn regular_along(blocks: &[(u64, u64)]) -> Option<Hyperslab> {
    let (start, block) = *blocks.first()?;
    let stride = blocks.get(1).map_or(block, |(next, _)| next - start);
    let is_regular = blocks.windows(2).all(|pair| match pair {
        [(one, _), (next, length)] => next - one == stride && *length == block && stride >= block,
        _ => true,
    });
    is_regular.then_some(Hyperslab { start, stride, count: blocks.len() as u64, block })
}

/// Adds the parts of one mapping.
fn spell_out(
    parts: &mut Vec<VirtualPart>,
    file: &str,
    variable: &str,
    from: &Selection,
    to: &Selection,
    shape: &[u64],
) -> Result<(), FormatError> {
    let to = match to {
        Selection::None => return Ok(()),
        Selection::All => shape.iter().map(|n| Hyperslab { start: 0, stride: *n, count: 1, block: *n }).collect(),
        Selection::Regular(slabs) => slabs.clone(),
    };
    let from = match from {
        Selection::None => return Ok(()),
        Selection::All => Vec::new(),
        Selection::Regular(slabs) => slabs.clone(),
    };
    if to.len() != shape.len() {
        return Err(unsupported("virtual dataset", "a mapping has another number of dimensions than the array"));
    }
    let is_numbered = has_number(file) || has_number(variable);
    let ends = |slabs: &[Hyperslab]| slabs.iter().filter(|slab| slab.is_endless()).count();
    match (ends(&to), ends(&from), is_numbered) {
        (0, 0, false) => {}
        // Whoever has the other files can tell how long such an array is: the library looks at them each time.
        (1, 1, false) | (1, 0, true) => {
            parts.push(VirtualPart { file: file.to_owned(), variable: variable.to_owned(), from, to });
            return Ok(());
        }
        _ => {
            return Err(unsupported(
                "virtual dataset",
                "its length follows from files that it does not list one by one",
            ));
        }
    }
    add(parts, plain_name(file), plain_name(variable), from, to)
}

fn add(
    parts: &mut Vec<VirtualPart>,
    file: String,
    variable: String,
    from: Vec<Hyperslab>,
    to: Vec<Hyperslab>,
) -> Result<(), FormatError> {
    let n_elements = |slabs: &[Hyperslab]| {
        slabs.iter().try_fold(1_u64, |product, slab| product.checked_mul(slab.count.checked_mul(slab.block)?))
    };
    if n_elements(&to).is_none() || (!from.is_empty() && n_elements(&from) != n_elements(&to)) {
        return Err(unsupported("virtual dataset", "a mapping has more elements on one side than on the other"));
    }
    parts.push(VirtualPart { file, variable, from, to });
    Ok(())
}

/// Whether a name asks for the number of the block: `%b`, where `%%` is a percent sign.
fn has_number(name: &str) -> bool {
    name.replace("%%", "").contains("%b")
}

fn plain_name(name: &str) -> String {
    name.replace("%%", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_follow_regularly_are_one_selection() {
        assert_eq!(
            regular_along(&[(1, 2), (5, 2), (9, 2)]),
            Some(Hyperslab { start: 1, stride: 4, count: 3, block: 2 })
        );
        assert_eq!(regular_along(&[(1, 2), (5, 2), (10, 2)]), None);
        assert_eq!(regular_along(&[(1, 2), (5, 3)]), None);
    }

    #[test]
    fn a_percent_sign_is_written_twice() {
        assert_eq!(plain_name("100%%b.h5"), "100%b.h5");
        assert!(!has_number("100%%b.h5"));
        assert!(has_number("a%b.h5"));
    }
}
