//! Named fields side by side in one element: HDF5's compounds, numpy's structured types.
//!
//! Files pad fields as a C compiler would and order their bytes as the writer's machine did; Zarr's structured type does
//! neither. `tight` is the type of the same values without gaps, and `gather` turns elements of the one into the other.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{ByteOrder, TextEnd},
    dtype::DataType,
};

/// The layout of an element with fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// In the order of their names in the file.
    pub fields: Vec<Field>,
    /// Bytes of an element with its gaps.
    pub size_bytes: u32,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins in the element.
    pub offset: u32,
    /// What it is: numbers, text in a cell, or a record.
    pub dtype: DataType,
    /// Order of the bytes of its numbers.
    pub byte_order: ByteOrder,
    /// How its text ends, where a cell may hold more than its text.
    pub text_end: Option<TextEnd>,
}

impl Record {
    /// The same fields one behind the other, numbers little-endian.
    #[must_use]
    pub fn tight(&self) -> Self {
        let mut size_bytes = 0_u32;
        let fields = self.fields.iter().map(|field| {
            let dtype = match &field.dtype {
                DataType::Record(inner) => DataType::Record(inner.tight()),
                // Names of values have no place in a structured type.
                DataType::Enum { base, .. } => DataType::Int(*base),
                other => other.clone(),
            };
            let offset = size_bytes;
            size_bytes = size_bytes.saturating_add(dtype.size_bytes().unwrap_or(0));
            Field { name: field.name.clone(), offset, dtype, byte_order: ByteOrder::Little, text_end: None }
        });
        let fields = fields.collect();
        Self { fields, size_bytes }
    }

    /// Appends the elements of `stored` as elements of `tight`.
    pub fn gather(&self, stored: &[u8], out: &mut Vec<u8>) {
        for element in stored.chunks_exact((self.size_bytes as usize).max(1)) {
            self.gather_one(element, out);
        }
    }

    fn gather_one(&self, element: &[u8], out: &mut Vec<u8>) {
        for field in &self.fields {
            let size = field.dtype.size_bytes().unwrap_or(0) as usize;
            let bytes = element.get(field.offset as usize..).and_then(|rest| rest.get(..size)).unwrap_or_default();
            if let DataType::Record(inner) = &field.dtype {
                inner.gather_one(bytes, out);
                continue;
            }
            let from = out.len();
            out.extend_from_slice(bytes);
            let Some(cell) = out.get_mut(from..) else { continue };
            if field.byte_order == ByteOrder::Big {
                cell.chunks_exact_mut(field.dtype.swap_bytes().max(1) as usize).for_each(<[u8]>::reverse);
            }
            if let Some(end) = field.text_end {
                end.clean(cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::{FloatType, IntType};

    fn field(name: &str, offset: u32, dtype: DataType) -> Field {
        Field { name: name.into(), offset, dtype, byte_order: ByteOrder::Little, text_end: None }
    }

    #[test]
    fn gaps_and_byte_order_go_and_values_stay() {
        let inner = Record { fields: vec![field("code", 2, DataType::Int(IntType::I16))], size_bytes: 4 };
        let station = Record {
            fields: vec![
                Field { byte_order: ByteOrder::Big, ..field("height", 4, DataType::Float(FloatType::F32)) },
                Field {
                    text_end: Some(TextEnd::FirstNul),
                    ..field("name", 0, DataType::FixedString { size_bytes: 3 })
                },
                field("inner", 8, DataType::Record(inner)),
            ],
            size_bytes: 12,
        };
        let mut stored = b"a\0x\xff".to_vec();
        stored.extend(1.5_f32.to_be_bytes());
        stored.extend([0xff, 0xff, 7, 0]);
        let mut out = Vec::new();
        station.gather(&stored, &mut out);
        assert_eq!(out, [&1.5_f32.to_le_bytes()[..], b"a\0\0", &[7, 0]].concat());
        assert_eq!(station.tight().size_bytes, 9);
        assert_eq!(station.tight().tight(), station.tight());
    }
}
