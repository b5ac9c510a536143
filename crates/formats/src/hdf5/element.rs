//! What frazil makes of HDF5's types, and the values of attributes.
//!
//! It promises that a number comes out as it was stored, or with the reason why it is not read. Types are named as
//! h5py names them: a compound of `r` and `i` is complex, an enum of FALSE and TRUE is a boolean.

use frazil_model::{
    attribute::{AttributeValue, Numbers},
    codec::{ByteOrder, Codec, FloatParts, TextEnd},
    dtype::{DataType, FloatType, IntType},
    record::{Field, Record},
};

use crate::{
    hdf5::{
        attributes::Stored,
        cursor::Cursor,
        dataspace::Dataspace,
        datatype::{Bits, Class, Datatype, FloatLayout, FloatOrder, Member, Padding},
        float_bits::{fits, to_standard},
        global_heap,
        integer_bits::widen,
        session::Session,
        text_cells::clean,
    },
    sparse::{Stop, Wants},
};

/// Elements in the model's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub dtype: DataType,
    pub byte_order: ByteOrder,
    /// What lies between the elements and their filters: integers and texts that do not fill their bytes.
    pub first_step: Option<Codec>,
}

/// What frazil makes of `datatype`.
pub(crate) fn element(datatype: &Datatype) -> Element {
    let size_bytes = datatype.size_bytes;
    let plain = |dtype| Element { dtype, byte_order: ByteOrder::Little, first_step: None };
    let unsupported = |kind: &str| plain(DataType::Unsupported { kind: kind.to_owned(), size_bytes });
    match &datatype.class {
        Class::Integer { is_big, is_signed, bits } => match IntType::of(size_bytes, *is_signed) {
            Some(int) => {
                Element { dtype: DataType::Int(int), byte_order: order(*is_big), first_step: step(int, *bits) }
            }
            None => unsupported(&format!("integer of {size_bytes} bytes")),
        },
        Class::Float(layout) => float(layout, size_bytes),
        Class::Time => unsupported("time"),
        Class::Text { .. } if size_bytes == 1 => plain(DataType::Char),
        Class::Text { padding } => {
            let end = match padding {
                Padding::NulTerminated => Some(TextEnd::FirstNul),
                Padding::Space => Some(TextEnd::Spaces),
                Padding::Nul => None,
            };
            Element {
                dtype: DataType::FixedString { size_bytes },
                byte_order: ByteOrder::Little,
                first_step: end.map(|end| Codec::TextCells { size_bytes, end }),
            }
        }
        Class::Bitfield { is_big: true } if size_bytes > 1 => unsupported("big-endian bitfield"),
        Class::Bitfield { .. } => plain(DataType::Raw { name: format!("bitfield {size_bytes}"), size_bytes }),
        Class::Opaque => plain(DataType::Raw { name: format!("|V{size_bytes}"), size_bytes }),
        Class::Compound(members) => complex(members, size_bytes)
            .or_else(|| record(members, size_bytes).map(|record| plain(DataType::Record(record))))
            .unwrap_or_else(|| unsupported("compound")),
        Class::Reference { kind: 0 | 2 } => unsupported("object reference"),
        Class::Reference { kind: 1 | 3 } => unsupported("region reference"),
        Class::Reference { .. } => unsupported("reference"),
        Class::Enum { base, members } => enumeration(base, members).unwrap_or_else(|| unsupported("enum")),
        Class::VlenSequence(_) => unsupported("vlen"),
        Class::VlenText => plain(DataType::String),
        Class::Array { .. } => unsupported("array"),
        Class::Complex(base) => match element(base) {
            Element { dtype: DataType::Float(float), byte_order, first_step: None }
                if base.size_bytes.checked_mul(2) == Some(size_bytes) =>
            {
                Element { dtype: DataType::Complex(float), byte_order, first_step: None }
            }
            _ => unsupported("complex"),
        },
    }
}

const fn order(is_big: bool) -> ByteOrder {
    if is_big { ByteOrder::Big } else { ByteOrder::Little }
}

/// The step that fills the unused bits of an integer, if it has any.
fn step(int: IntType, bits: Bits) -> Option<Codec> {
    let is_full = bits.offset == 0 && u32::from(bits.precision) == int.size_bytes() * 8;
    (!is_full).then(|| Codec::IntegerBits { int, offset: bits.offset.into(), precision: bits.precision.into() })
}

fn float(layout: &FloatLayout, size_bytes: u32) -> Element {
    let known = [(FloatType::F16, 10, 5, 15), (FloatType::F32, 23, 8, 127), (FloatType::F64, 52, 11, 1023)];
    let is_ieee = |(float, mantissa, exponent, bias): &(FloatType, u8, u8, u32)| {
        size_bytes == float.size_bytes()
            && u32::from(layout.bits.precision) == size_bytes * 8
            && u32::from(layout.sign_at) + 1 == size_bytes * 8
            && layout.normalization == 2
            && (layout.mantissa_at, layout.mantissa_bits) == (0, *mantissa)
            && (layout.exponent_at, layout.exponent_bits) == (*mantissa, *exponent)
            && layout.bias == *bias
    };
    let byte_order = match layout.order {
        FloatOrder::Little => ByteOrder::Little,
        FloatOrder::Big => ByteOrder::Big,
        FloatOrder::Vax => {
            let dtype = DataType::Unsupported { kind: "VAX float".into(), size_bytes };
            return Element { dtype, byte_order: ByteOrder::Little, first_step: None };
        }
    };
    let dtype = match known.iter().find(|known| is_ieee(known)) {
        Some((float, ..)) => DataType::Float(*float),
        None => {
            if let Some((float, step)) = moved_parts(layout, size_bytes) {
                return Element { dtype: DataType::Float(float), byte_order, first_step: Some(step) };
            }
            let end = if byte_order == ByteOrder::Big { '>' } else { '<' };
            // numpy calls long doubles by the bytes they take; other layouts have no name of their own.
            let is_long = size_bytes > 8;
            let name = if is_long {
                format!("{end}f{size_bytes}")
            } else {
                format!("float of {} bits in {size_bytes} bytes, {end}", layout.bits.precision)
            };
            return Element {
                dtype: DataType::Raw { name, size_bytes },
                byte_order: ByteOrder::Little,
                first_step: None,
            };
        }
    };
    Element { dtype, byte_order, first_step: None }
}

/// The standard float of the same size that holds all numbers of this layout, and the step that makes it.
fn moved_parts(layout: &FloatLayout, size_bytes: u32) -> Option<(FloatType, Codec)> {
    let float = [FloatType::F32, FloatType::F64].into_iter().find(|float| float.size_bytes() == size_bytes)?;
    let parts = FloatParts {
        sign_at: layout.sign_at.into(),
        exponent_at: layout.exponent_at.into(),
        exponent_bits: layout.exponent_bits.into(),
        mantissa_at: layout.mantissa_at.into(),
        mantissa_bits: layout.mantissa_bits.into(),
        bias: layout.bias,
    };
    (layout.normalization == 2 && fits(parts, float)).then_some((float, Codec::FloatBits { float, parts }))
}

/// A compound of two equal floats called `r` and `i`.
fn complex(members: &[Member], size_bytes: u32) -> Option<Element> {
    let [real, imaginary] = members else { return None };
    let is_pair = real.name == "r"
        && imaginary.name == "i"
        && real.datatype == imaginary.datatype
        && real.offset == 0
        && imaginary.offset == real.datatype.size_bytes
        && size_bytes.checked_div(2) == Some(imaginary.offset)
        && size_bytes.is_multiple_of(2);
    // Looked at first: compounds inside compounds would be looked at over and over.
    if !is_pair || !matches!(real.datatype.class, Class::Float(_)) {
        return None;
    }
    match element(&real.datatype) {
        Element { dtype: DataType::Float(float), byte_order, first_step: None } => {
            Some(Element { dtype: DataType::Complex(float), byte_order, first_step: None })
        }
        _ => None,
    }
}

/// A compound of fields that Zarr's structured type can hold: numbers, text in cells, and such compounds.
fn record(members: &[Member], size_bytes: u32) -> Option<Record> {
    let field = |member: &Member| {
        let Element { dtype, byte_order, first_step } = element(&member.datatype);
        let text_end = match first_step {
            None => None,
            Some(Codec::TextCells { end, .. }) => Some(end),
            Some(_) => return None,
        };
        let has_place = !matches!(dtype, DataType::Unsupported { .. } | DataType::Raw { .. } | DataType::String);
        (has_place && !member.name.is_empty()).then(|| Field {
            name: member.name.clone(),
            offset: member.offset,
            dtype,
            byte_order,
            text_end,
        })
    };
    let fields: Vec<Field> = members.iter().map(field).collect::<Option<_>>()?;
    (!fields.is_empty()).then_some(Record { fields, size_bytes })
}

fn enumeration(base: &Datatype, members: &[(String, Vec<u8>)]) -> Option<Element> {
    // Only plain integers: an enum of enums of enums would be looked at over and over.
    if !matches!(base.class, Class::Integer { .. }) {
        return None;
    }
    let inner = element(base);
    let DataType::Int(int) = inner.dtype else { return None };
    let values: Vec<(String, i128)> = members
        .iter()
        .map(|(name, raw)| Some((name.clone(), *numbers(base, raw)?.to_integers()?.first()?)))
        .collect::<Option<_>>()?;
    let is_bool = int.size_bytes() == 1 && matches!(values.as_slice(), [(f, 0), (t, 1)] if f == "FALSE" && t == "TRUE");
    let dtype = if is_bool { DataType::Bool } else { DataType::Enum { base: int, members: values } };
    Some(Element { dtype, ..inner })
}

/// The elements of `stored` as little-endian bytes; `None` for types whose bytes are not values.
pub(crate) fn little_endian(datatype: &Datatype, stored: &[u8]) -> Option<Vec<u8>> {
    let Element { dtype, byte_order, first_step } = element(datatype);
    if matches!(dtype, DataType::Unsupported { .. } | DataType::String) {
        return None;
    }
    let mut bytes = stored.to_vec();
    if byte_order == ByteOrder::Big {
        for piece in bytes.chunks_exact_mut(dtype.swap_bytes().max(1) as usize) {
            piece.reverse();
        }
    }
    match first_step {
        Some(Codec::IntegerBits { int, offset, precision }) => {
            widen(&mut bytes, int, offset, precision, ByteOrder::Little);
        }
        Some(Codec::FloatBits { float, parts }) => to_standard(&mut bytes, float, parts, ByteOrder::Little),
        Some(Codec::TextCells { size_bytes, end }) => clean(&mut bytes, size_bytes, end),
        _ => {}
    }
    Some(bytes)
}

/// The numbers of `stored`; `None` if its elements are not numbers that attributes hold.
pub(crate) fn numbers(datatype: &Datatype, stored: &[u8]) -> Option<Numbers> {
    /// Cuts bytes into numbers.
    macro_rules! cut {
        ($variant:ident, $number:ty, $bytes:expr) => {
            Numbers::$variant(
                $bytes
                    .as_chunks::<{ size_of::<$number>() }>()
                    .0
                    .iter()
                    .map(|piece| <$number>::from_le_bytes(*piece))
                    .collect(),
            )
        };
    }
    let (base, flat) = match &datatype.class {
        Class::Array { base, .. } => (base.as_ref(), stored),
        _ => (datatype, stored),
    };
    let bytes = little_endian(base, flat)?;
    let int = match element(base).dtype {
        DataType::Int(int) | DataType::Enum { base: int, .. } => int,
        DataType::Bool => IntType::I8,
        DataType::Float(FloatType::F32) => return Some(cut!(F32, f32, bytes)),
        DataType::Float(FloatType::F64) => return Some(cut!(F64, f64, bytes)),
        // Attributes have no half precision; every such number is a single precision one.
        DataType::Float(FloatType::F16) => {
            let halves = bytes.as_chunks::<2>().0.iter().map(|piece| half(u16::from_le_bytes(*piece)));
            return Some(Numbers::F32(halves.collect()));
        }
        _ => return None,
    };
    Some(match int {
        IntType::I8 => cut!(I8, i8, bytes),
        IntType::I16 => cut!(I16, i16, bytes),
        IntType::I32 => cut!(I32, i32, bytes),
        IntType::I64 => cut!(I64, i64, bytes),
        IntType::U8 => cut!(U8, u8, bytes),
        IntType::U16 => cut!(U16, u16, bytes),
        IntType::U32 => cut!(U32, u32, bytes),
        IntType::U64 => cut!(U64, u64, bytes),
    })
}

/// A binary16 number as binary32, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1F;
    let mantissa = u32::from(bits) & 0x3FF;
    let magnitude = match exponent {
        0 => {
            #[allow(clippy::cast_precision_loss)] // ten bits
            let value = mantissa as f32 / 16_777_216.0;
            value.to_bits()
        }
        31 => 0x7F80_0000 | (mantissa << 13),
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// Text of an attribute as readers show it: what is not UTF-8 is marked as such.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of an attribute.
pub(crate) fn value(session: &mut Session<'_>, stored: &Stored) -> Result<AttributeValue, Stop> {
    let is_scalar = matches!(&stored.dataspace, Dataspace::Simple { shape, .. } if shape.is_empty());
    let is_null = stored.dataspace == Dataspace::Null;
    let texts = match &stored.datatype.class {
        Class::Text { padding } => {
            let mut cells = stored.bytes.chunks_exact((stored.datatype.size_bytes as usize).max(1));
            // netCDF's `char` text, of which its library shows all but NULs, wherever they stand.
            if let Some(cell) = cells.next().filter(|_| is_scalar) {
                return Ok(AttributeValue::Text(shown(unpadded(cell, Padding::Nul)).replace('\0', "")));
            }
            let cells = stored.bytes.chunks_exact((stored.datatype.size_bytes as usize).max(1));
            cells.map(|cell| shown(unpadded(cell, *padding))).collect()
        }
        Class::VlenText => vlen_texts(session, &stored.bytes)?,
        _ => {
            let numbers = numbers(&stored.datatype, &stored.bytes);
            return Ok(numbers.map_or_else(
                || AttributeValue::Unread(element(&stored.datatype).dtype.to_string()),
                AttributeValue::Numbers,
            ));
        }
    };
    let mut texts: Vec<String> = texts;
    // A list of one text is that text, as all readers of netCDF show it.
    Ok(match texts.pop() {
        Some(text) if texts.is_empty() => AttributeValue::Text(text),
        None if is_null => AttributeValue::Text(String::new()),
        last => {
            texts.extend(last);
            AttributeValue::Texts(texts)
        }
    })
}

/// The text of a cell.
pub(crate) fn unpadded(cell: &[u8], padding: Padding) -> &[u8] {
    let trim = |byte: u8| cell.iter().rposition(|b| *b != byte).map_or(0, |last| last + 1);
    let end = match padding {
        Padding::NulTerminated => cell.iter().position(|byte| *byte == 0).unwrap_or(cell.len()),
        Padding::Nul => trim(0),
        Padding::Space => trim(b' '),
    };
    cell.get(..end).unwrap_or_default()
}

/// The texts that descriptors point to.
fn vlen_texts(session: &mut Session<'_>, descriptors: &[u8]) -> Result<Vec<String>, Stop> {
    let mut cursor = Cursor::new("variable-length text", 0, descriptors);
    let mut wants = Wants::default();
    let mut texts = Vec::new();
    while !cursor.rest().is_empty() {
        let Some((n_bytes, pointer)) = global_heap::descriptor(session, &mut cursor)? else {
            texts.push(String::new());
            continue;
        };
        let object = global_heap::object(session, pointer);
        if let Some(object) = wants.collect(object)? {
            let text = object.get(..n_bytes as usize).unwrap_or(object);
            session.count_values("attributes", text.len() as u64)?;
            texts.push(shown(unpadded(text, Padding::NulTerminated)));
        }
    }
    wants.or_stop()?;
    Ok(texts)
}

/// Dimensions of an array: HDF5's own limit.
const MAX_LISTS: usize = 32;
/// Scales of one dimension that are looked at; netCDF has one.
const MAX_SCALES: u32 = 64;

/// The object addresses that each element of a list of lists of references holds (`DIMENSION_LIST`).
pub(crate) fn reference_lists(session: &mut Session<'_>, stored: &Stored) -> Result<Vec<Vec<u64>>, Stop> {
    let Class::VlenSequence(base) = &stored.datatype.class else { return Ok(Vec::new()) };
    if !matches!(base.class, Class::Reference { kind: 0 }) {
        return Ok(Vec::new());
    }
    let offset_bytes = session.context.offset_bytes;
    let mut cursor = Cursor::new("list of references", 0, &stored.bytes);
    let mut wants = Wants::default();
    let mut lists = Vec::new();
    while !cursor.rest().is_empty() && lists.len() < MAX_LISTS {
        let Some((n_references, pointer)) = global_heap::descriptor(session, &mut cursor)? else {
            lists.push(Vec::new());
            continue;
        };
        let object = global_heap::object(session, pointer);
        let Some(object) = wants.collect(object)? else { continue };
        let mut references = Cursor::new("list of references", 0, object);
        let mut list = Vec::new();
        for _ in 0..n_references.min(MAX_SCALES) {
            list.extend(references.address(offset_bytes)?);
        }
        lists.push(list);
    }
    wants.or_stop()?;
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_the_same_number_as_a_single() {
        assert_eq!(half(0x3C00), 1.0);
        assert_eq!(half(0xC000), -2.0);
        assert_eq!(half(0x0001), 2_f32.powi(-24));
        assert_eq!(half(0x7BFF), 65504.0);
        assert!(half(0x7E00).is_nan());
    }
}
