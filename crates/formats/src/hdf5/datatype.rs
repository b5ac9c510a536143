//! Datatype messages, versions 1 to 5: what one element is, in HDF5's words.
//!
//! It promises that nesting is bounded and that sizes add up. What frazil makes of a type is said in `element`.

use crate::{error::FormatError, hdf5::cursor::Cursor};

/// Types inside types inside types.
const MAX_DEPTH: u32 = 32;
/// Dimensions of an array type.
const MAX_RANK: u8 = 32;

/// A datatype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datatype {
    pub class: Class,
    /// Bytes of an element as stored.
    pub size_bytes: u32,
}

/// Kind of a datatype, with what matters about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    Integer { is_big: bool, is_signed: bool, bits: Bits },
    Float(FloatLayout),
    Time,
    Text { padding: Padding },
    Bitfield { is_big: bool },
    Opaque,
    Compound(Vec<Member>),
    Reference { kind: u8 },
    Enum { base: Box<Datatype>, members: Vec<(String, Vec<u8>)> },
    VlenSequence(Box<Datatype>),
    VlenText,
    Array { shape: Vec<u32>, base: Box<Datatype> },
    Complex(Box<Datatype>),
}

/// Where the value is among the bits of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    pub offset: u16,
    pub precision: u16,
}

/// The parts of a floating-point number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloatLayout {
    pub order: FloatOrder,
    pub bits: Bits,
    /// 2: the leading one of the mantissa is implied, as in IEEE 754.
    pub normalization: u8,
    pub sign_at: u8,
    pub exponent_at: u8,
    pub exponent_bits: u8,
    pub mantissa_at: u8,
    pub mantissa_bits: u8,
    pub bias: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatOrder {
    Little,
    Big,
    Vax,
}

/// How a fixed string fills its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    NulTerminated,
    Nul,
    Space,
}

/// A field of a compound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: String,
    pub offset: u32,
    pub datatype: Datatype,
}

/// Reads a datatype message's body.
pub(crate) fn datatype(offset: u64, body: &[u8]) -> Result<Datatype, FormatError> {
    parse(&mut Cursor::new("datatype", offset, body), 0)
}

fn parse(cursor: &mut Cursor<'_>, depth: u32) -> Result<Datatype, FormatError> {
    if depth > MAX_DEPTH {
        return Err(cursor.bad(format!("types nest deeper than {MAX_DEPTH}")));
    }
    let first = cursor.u8()?;
    let (version, class) = (first >> 4, first & 0x0F);
    let flags = cursor.take(3)?;
    let flags = flags.iter().rev().fold(0_u32, |flags, byte| (flags << 8) | u32::from(*byte));
    let size_bytes = cursor.u32()?;
    if !(1..=5).contains(&version) {
        return Err(cursor.bad(format!("version {version}")));
    }
    if size_bytes == 0 {
        return Err(cursor.bad("an element of no bytes".into()));
    }
    let class = match class {
        0 => integer(cursor, flags, size_bytes)?,
        1 => float(cursor, flags, size_bytes)?,
        2 => {
            cursor.skip(2)?;
            Class::Time
        }
        3 => Class::Text { padding: padding(cursor, flags)? },
        4 => {
            bits(cursor, size_bytes)?;
            Class::Bitfield { is_big: flags & 1 != 0 }
        }
        5 => {
            cursor.skip((flags & 0xFF) as usize)?;
            Class::Opaque
        }
        6 => compound(cursor, version, flags, size_bytes, depth)?,
        7 => Class::Reference { kind: (flags & 0x0F) as u8 },
        8 => enumeration(cursor, version, flags, size_bytes, depth)?,
        9 => match flags & 0x0F {
            0 => Class::VlenSequence(Box::new(parse(cursor, depth + 1)?)),
            1 => {
                parse(cursor, depth + 1)?;
                Class::VlenText
            }
            kind => return Err(cursor.bad(format!("variable-length type {kind}"))),
        },
        10 => array(cursor, version, size_bytes, depth)?,
        11 => Class::Complex(Box::new(parse(cursor, depth + 1)?)),
        class => return Err(cursor.bad(format!("class {class}"))),
    };
    Ok(Datatype { class, size_bytes })
}

fn bits(cursor: &mut Cursor<'_>, size_bytes: u32) -> Result<Bits, FormatError> {
    let bits = Bits { offset: cursor.u16()?, precision: cursor.u16()? };
    let n_bits = u64::from(size_bytes) * 8;
    if bits.precision == 0 || u64::from(bits.offset) + u64::from(bits.precision) > n_bits {
        return Err(cursor.bad(format!("{} bits from bit {} of {n_bits}", bits.precision, bits.offset)));
    }
    Ok(bits)
}

fn integer(cursor: &mut Cursor<'_>, flags: u32, size_bytes: u32) -> Result<Class, FormatError> {
    let bits = bits(cursor, size_bytes)?;
    Ok(Class::Integer { is_big: flags & 1 != 0, is_signed: flags & 8 != 0, bits })
}

fn float(cursor: &mut Cursor<'_>, flags: u32, size_bytes: u32) -> Result<Class, FormatError> {
    let order = match (flags & 1 != 0, flags & 0x40 != 0) {
        (false, false) => FloatOrder::Little,
        (true, false) => FloatOrder::Big,
        (true, true) => FloatOrder::Vax,
        (false, true) => return Err(cursor.bad("a byte order that does not exist".into())),
    };
    Ok(Class::Float(FloatLayout {
        order,
        normalization: ((flags >> 4) & 3) as u8,
        sign_at: ((flags >> 8) & 0xFF) as u8,
        bits: bits(cursor, size_bytes)?,
        exponent_at: cursor.u8()?,
        exponent_bits: cursor.u8()?,
        mantissa_at: cursor.u8()?,
        mantissa_bits: cursor.u8()?,
        bias: cursor.u32()?,
    }))
}

fn padding(cursor: &Cursor<'_>, flags: u32) -> Result<Padding, FormatError> {
    match flags & 0x0F {
        0 => Ok(Padding::NulTerminated),
        1 => Ok(Padding::Nul),
        2 => Ok(Padding::Space),
        padding => Err(cursor.bad(format!("string padding {padding}"))),
    }
}

/// A name; before version 3 it fills a multiple of eight bytes.
fn name(cursor: &mut Cursor<'_>, version: u8) -> Result<String, FormatError> {
    let name = cursor.until_nul()?;
    if version < 3 {
        cursor.skip((name.len() + 1).next_multiple_of(8) - (name.len() + 1))?;
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn compound(
    cursor: &mut Cursor<'_>,
    version: u8,
    flags: u32,
    size_bytes: u32,
    depth: u32,
) -> Result<Class, FormatError> {
    let n_members = flags & 0xFFFF;
    let mut members = Vec::new();
    for _ in 0..n_members {
        let name = name(cursor, version)?;
        let offset = if version < 3 { cursor.u32()? } else { short_uint(cursor, size_bytes)? };
        let mut shape = Vec::new();
        if version == 1 {
            // Before array types, a member itself had dimensions.
            let rank = cursor.u8()?;
            cursor.skip(3 + 4 + 4)?;
            for axis in 0..4 {
                let length = cursor.u32()?;
                if axis < rank {
                    shape.push(length);
                }
            }
        }
        let mut datatype = parse(cursor, depth + 1)?;
        if !shape.is_empty() {
            let size = shape.iter().try_fold(datatype.size_bytes, |size, length| size.checked_mul(*length));
            let size_bytes = size.ok_or_else(|| cursor.bad("an array member is too large".into()))?;
            datatype = Datatype { class: Class::Array { shape, base: Box::new(datatype) }, size_bytes };
        }
        if offset.checked_add(datatype.size_bytes).is_none_or(|end| end > size_bytes) {
            return Err(cursor.bad(format!("member `{name}` lies outside its compound")));
        }
        members.push(Member { name, offset, datatype });
    }
    Ok(Class::Compound(members))
}

/// A number below `limit`, in as few bytes as `limit` needs.
fn short_uint(cursor: &mut Cursor<'_>, limit: u32) -> Result<u32, FormatError> {
    let n_bytes = (limit.max(1).ilog2() / 8 + 1) as usize;
    let number = cursor.uint(n_bytes)?;
    u32::try_from(number).map_err(|_| cursor.bad("a number is too large".into()))
}

fn enumeration(
    cursor: &mut Cursor<'_>,
    version: u8,
    flags: u32,
    size_bytes: u32,
    depth: u32,
) -> Result<Class, FormatError> {
    let base = parse(cursor, depth + 1)?;
    if base.size_bytes != size_bytes {
        return Err(cursor.bad("an enum and its base differ in size".into()));
    }
    let names = (0..flags & 0xFFFF).map(|_| name(cursor, version)).collect::<Result<Vec<String>, _>>()?;
    let mut members = Vec::new();
    for name in names {
        members.push((name, cursor.take(base.size_bytes as usize)?.to_vec()));
    }
    Ok(Class::Enum { base: Box::new(base), members })
}

fn array(cursor: &mut Cursor<'_>, version: u8, size_bytes: u32, depth: u32) -> Result<Class, FormatError> {
    let rank = cursor.u8()?;
    if rank == 0 || rank > MAX_RANK {
        return Err(cursor.bad(format!("an array type of {rank} dimensions")));
    }
    if version < 3 {
        cursor.skip(3)?;
    }
    let shape = (0..rank).map(|_| cursor.u32()).collect::<Result<Vec<u32>, _>>()?;
    if version < 3 {
        cursor.skip(4 * usize::from(rank))?;
    }
    let base = parse(cursor, depth + 1)?;
    let size = shape.iter().try_fold(base.size_bytes, |size, length| size.checked_mul(*length));
    if size != Some(size_bytes) {
        return Err(cursor.bad("an array type's size is not that of its elements".into()));
    }
    Ok(Class::Array { shape, base: Box::new(base) })
}
