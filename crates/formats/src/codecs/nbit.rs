//! HDF5's n-bit filter: only the bits that a type's precision names are kept, packed without gaps.
//!
//! Types nest (arrays, compounds), and the filter's client values describe them as a tree. Bits outside the precision
//! come back as zero, those of a sign too: to make complete numbers of them is a step of its own.

use crate::error::FormatError;

use super::{Expected, Scratch, bad, bits::Bits, room};

const ATOMIC: u32 = 1;
const ARRAY: u32 = 2;
const COMPOUND: u32 = 3;
const AS_IT_IS: u32 = 4;
/// Types nest no deeper than this.
const MAX_DEPTH: u32 = 16;
fn odd(reason: impl Into<String>) -> FormatError {
    bad("n-bit", reason)
}

/// A type as the client values describe it.
enum Kind {
    Atomic { size: usize, big: bool, precision: u32, offset: u32 },
    Array { count: usize, element: Box<Kind> },
    Compound { size: usize, members: Vec<(usize, Kind)> },
    Bytes { size: usize },
}

impl Kind {
    fn size(&self) -> usize {
        match self {
            Self::Atomic { size, .. } | Self::Compound { size, .. } | Self::Bytes { size } => *size,
            Self::Array { count, element } => count.saturating_mul(element.size()),
        }
    }
}

/// Reads the description of one type.
fn kind(values: &mut impl Iterator<Item = u32>, depth: u32) -> Result<Kind, FormatError> {
    let missing = || odd("the description of its type ends too early");
    let mut next = || values.next().ok_or_else(missing);
    let class = next()?;
    let size = usize::try_from(next()?).map_err(|_| missing())?;
    if size == 0 || depth > MAX_DEPTH {
        return Err(odd("the description of its type makes no sense"));
    }
    match class {
        ATOMIC => {
            let (order, precision, offset) = (next()?, next()?, next()?);
            let fits = u64::from(precision) + u64::from(offset) <= 8 * size as u64;
            if order > 1 || precision == 0 || !fits {
                return Err(odd(format!("{precision} bits from bit {offset} of {size} bytes")));
            }
            Ok(Kind::Atomic { size, big: order == 1, precision, offset })
        }
        ARRAY => {
            let element = kind(values, depth + 1)?;
            if !size.is_multiple_of(element.size()) {
                return Err(odd("an array of incomplete elements"));
            }
            Ok(Kind::Array { count: size / element.size(), element: Box::new(element) })
        }
        COMPOUND => {
            let n_members = next()?;
            let mut members = Vec::new();
            for _ in 0..n_members {
                let offset = values.next().and_then(|offset| usize::try_from(offset).ok()).ok_or_else(missing)?;
                let member = kind(values, depth + 1)?;
                if offset.checked_add(member.size()).is_none_or(|end| end > size) {
                    return Err(odd("a member reaches over its compound's end"));
                }
                members.push((offset, member));
            }
            Ok(Kind::Compound { size, members })
        }
        AS_IT_IS => Ok(Kind::Bytes { size }),
        _ => Err(odd(format!("type class {class}"))),
    }
}

/// Decodes a chunk whose filter has the client `values`.
pub(crate) fn decode(values: &[u32], input: &[u8], expected: Expected, to: &mut Scratch) -> Result<usize, FormatError> {
    let [n_values, as_it_is, n_elements, description @ ..] = values else {
        return Err(odd("its settings are missing"));
    };
    if *as_it_is == 1 {
        // The type has no bits to spare, so whatever came in, which may be compressed bytes, went out as it was.
        let n_bytes = input.len();
        if n_bytes > expected.limit() {
            return Err(odd(format!("{n_bytes} bytes, more than {}", expected.limit())));
        }
        room(to, n_bytes).copy_from_slice(input);
        return Ok(n_bytes);
    }
    let n_described = usize::try_from(*n_values).unwrap_or(usize::MAX).saturating_sub(3).min(description.len());
    let kind = kind(&mut description.iter().copied().take(n_described), 0)?;
    let n_bytes = usize::try_from(*n_elements).ok().and_then(|count| count.checked_mul(kind.size()));
    let n_bytes = n_bytes.filter(|n_bytes| *n_bytes <= expected.limit());
    let n_bytes = n_bytes.ok_or_else(|| odd(format!("{n_elements} elements of {} bytes", kind.size())))?;
    let output = room(to, n_bytes);
    output.fill(0);
    let mut bits = Bits::new("n-bit", input);
    for element in output.chunks_exact_mut(kind.size()) {
        unpack(&kind, &mut bits, element)?;
    }
    Ok(n_bytes)
}

fn unpack(kind: &Kind, bits: &mut Bits<'_>, element: &mut [u8]) -> Result<(), FormatError> {
    match kind {
        Kind::Bytes { .. } => {
            for byte in element {
                *byte = u8::try_from(bits.short(8)?).unwrap_or(0);
            }
        }
        Kind::Array { element: inner, .. } => {
            for one in element.chunks_exact_mut(inner.size()) {
                unpack(inner, bits, one)?;
            }
        }
        Kind::Compound { members, .. } => {
            for (offset, member) in members {
                let place = element.get_mut(*offset..).and_then(|rest| rest.get_mut(..member.size()));
                unpack(member, bits, place.ok_or_else(|| odd("a member outside its compound"))?)?;
            }
        }
        Kind::Atomic { big, precision, offset, .. } => unpack_atomic(bits, *big, *precision, *offset, element)?,
    }
    Ok(())
}

/// Reads `precision` bits, highest first, and puts them from bit `offset` upwards.
fn unpack_atomic(
    bits: &mut Bits<'_>,
    big: bool,
    precision: u32,
    offset: u32,
    element: &mut [u8],
) -> Result<(), FormatError> {
    let size = element.len();
    let mut top = offset + precision;
    while top > offset {
        // The byte that holds the highest missing bit, and what of it is ours.
        let byte = (top - 1) / 8;
        let bottom = offset.max(byte * 8);
        let part = u8::try_from(bits.short(top - bottom)?).unwrap_or(0) << (bottom - byte * 8);
        let at = if big { size - 1 - byte as usize } else { byte as usize };
        if let Some(place) = element.get_mut(at) {
            *place |= part;
        }
        top = bottom;
    }
    Ok(())
}
