//! In which form most of a variable can be referenced.

use super::{Equivalence, Form, Origin, Origins, is_expressible, without_checksum};
use crate::{
    codec::{ByteOrder, CodecChain},
    combine::{CombinedVariable, Content, Piece, view::ViewAxis},
    dataset::Variable,
    dtype::DataType,
    manifest::ChunkTable,
    packing::ValueRule,
    region::count,
};

/// Plain bytes can be cut anywhere; pieces of this size suit a reader far away.
const PLAIN_CHUNK_BYTES: u64 = 4 << 20;

/// The form that most elements of a variable have; `None` if none of its chunks can be referenced.
#[must_use]
pub fn form(variable: &CombinedVariable, origins: Origins<'_>, equivalence: Equivalence) -> Option<Form> {
    let Content::Pieces(pieces) = &variable.content else { return None };
    let mut candidates: Vec<(Form, u64)> = Vec::new();
    let mut plain: Vec<&Piece> = Vec::new();
    for piece in pieces {
        let origin = origins(piece);
        if piece.rule != ValueRule::Verbatim || !same_bits(&origin.variable.dtype, &variable.dtype) {
            continue;
        }
        if plain_offset(origin).is_some() {
            plain.push(piece);
            continue;
        }
        if !matches!(origin.table, Some(ChunkTable::Ranges(_))) {
            continue;
        }
        let (chain, _) = without_checksum(&origin.variable.codecs);
        if !is_expressible(&chain) {
            continue;
        }
        let one = Form { chunk_shape: chunk_shape_of(piece, origin.variable), codecs: sayable(chain, &variable.dtype) };
        let n_elements = piece.at.n_elements();
        let swap_bytes = variable.dtype.swap_bytes();
        let is_same = |known: &Form| {
            known.chunk_shape == one.chunk_shape && alike(&known.codecs, &one.codecs, swap_bytes, equivalence)
        };
        match candidates.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, n)) => *n = n.saturating_add(n_elements),
            None => candidates.push((one, n_elements)),
        }
    }
    let plain_elements = plain.iter().map(|piece| piece.at.n_elements()).fold(0, u64::saturating_add);
    // The first of those that are equally large stays.
    let best = candidates.into_iter().rev().max_by_key(|(_, n)| *n);
    match best {
        Some((form, n)) if n >= plain_elements => Some(form),
        _ => plain_form(variable, &plain, origins),
    }
}

/// Whether elements that nothing is done to are of the one type and of the other: the sign of a count is in the eye of its
/// reader.
pub(super) fn same_bits(stored: &DataType, read: &DataType) -> bool {
    match (stored, read) {
        (DataType::Int(stored), DataType::Int(read)) => stored.size_bytes() == read.size_bytes(),
        _ => stored == read,
    }
}

/// Byte order says nothing of single bytes.
pub(super) fn sayable(mut chain: CodecChain, dtype: &DataType) -> CodecChain {
    if dtype.swap_bytes() <= 1 {
        chain.byte_order = ByteOrder::Little;
    }
    chain
}

pub(super) fn alike(a: &CodecChain, b: &CodecChain, swap_bytes: u32, equivalence: Equivalence) -> bool {
    match equivalence {
        Equivalence::DecodeAlike => a.normal_form(swap_bytes) == b.normal_form(swap_bytes),
        Equivalence::SameToTheLetter => a == b,
    }
}

/// The source's chunks in the order of the array's dimensions.
fn chunk_shape_of(piece: &Piece, variable: &Variable) -> Vec<u64> {
    let length = |axis: &ViewAxis| match axis {
        ViewAxis::Source { axis, .. } => variable.chunk_shape.get(*axis).copied().unwrap_or(1).max(1),
        ViewAxis::New => 1,
    };
    piece.axes.iter().map(length).collect()
}

/// Where a variable begins that lies uncompressed in one run of bytes.
pub(super) fn plain_offset(origin: Origin<'_>) -> Option<u64> {
    let (variable, Some(ChunkTable::Ranges(ranges))) = (origin.variable, origin.table) else { return None };
    if variable.is_chunked || !variable.codecs.steps.is_empty() || ranges.is_empty() {
        return None;
    }
    let total = count(&variable.shape).checked_mul(variable.dtype.size_bytes()?.into())?;
    let begin = ranges.offset.get(0)?;
    let mut end = begin;
    for (offset, length) in ranges.offset.iter().zip(ranges.length.iter()) {
        if offset != end {
            return None;
        }
        end = end.checked_add(length)?;
    }
    (end - begin == total).then_some(begin)
}

/// Chunks for runs of plain bytes: as large as suits a reader, whole in every file, each in one run.
fn plain_form(variable: &CombinedVariable, pieces: &[&Piece], origins: Origins<'_>) -> Option<Form> {
    let first = pieces.first()?;
    let byte_order = sayable(origins(first).variable.codecs.clone(), &variable.dtype).byte_order;
    let n_axes = variable.shape.len();
    // Along each dimension: a length that divides each file's part and its place, and whether all are just that long.
    let mut unit = vec![0; n_axes];
    let mut is_full = vec![true; n_axes];
    for piece in pieces {
        for axis in 0..n_axes {
            let (length, start) = match piece.axes[axis] {
                ViewAxis::Source { axis: source, start, .. } => {
                    (origins(piece).variable.shape.get(source).copied().unwrap_or(1), start)
                }
                ViewAxis::New => (1, 0),
            };
            is_full[axis] &= (unit[axis] == 0 || unit[axis] == length) && piece.at.shape[axis] == length;
            for number in [length, start, piece.at.start[axis], piece.at.shape[axis]] {
                unit[axis] = greatest_divisor(unit[axis], number);
            }
        }
    }
    let element_bytes = u64::from(variable.dtype.size_bytes()?);
    let last_cut = is_full.iter().rposition(|full| !full).unwrap_or(0);
    let mut chunk_shape: Vec<u64> = unit.iter().map(|length| (*length).max(1)).collect();
    for axis in 0..n_axes {
        if axis < last_cut {
            chunk_shape[axis] = 1;
            continue;
        }
        let row_bytes = count(&chunk_shape[axis + 1..]).saturating_mul(element_bytes).max(1);
        let most = (PLAIN_CHUNK_BYTES / row_bytes).max(1);
        chunk_shape[axis] = largest_divisor(chunk_shape[axis], most);
        if row_bytes <= PLAIN_CHUNK_BYTES {
            break;
        }
    }
    Some(Form { chunk_shape, codecs: CodecChain { byte_order, steps: Vec::new() } })
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The largest number up to `most` that divides `length`.
fn largest_divisor(length: u64, most: u64) -> u64 {
    if length <= most {
        return length;
    }
    let mut best = 1;
    let mut small: u64 = 1;
    while small.saturating_mul(small) <= length {
        if length.is_multiple_of(small) {
            for divisor in [small, length / small] {
                if divisor <= most {
                    best = best.max(divisor);
                }
            }
        }
        small += 1;
    }
    best
}
