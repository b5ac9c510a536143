//! What one element of an array is.
//!
//! Byte order is not here: it belongs to how a chunk is stored (`codec`). In memory every number is
//! little-endian.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// The type of one element.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// A signed or unsigned integer of 1, 2, 4 or 8 bytes.
    Int(IntType),
    /// IEEE 754 binary16, 32 or 64.
    Float(FloatType),
    /// A pair of floats, real then imaginary (HDF5: a compound of `r` and `i`).
    Complex(FloatType),
    /// An HDF5 enum of FALSE and TRUE in one byte; values are 0 or 1.
    Bool,
    /// One byte of text: netCDF's `char`, HDF5's one-byte fixed string.
    Char,
    /// Text in cells of `size_bytes` (more than one), padded with NUL.
    FixedString {
        /// Bytes of a cell.
        size_bytes: u32,
    },
    /// Text of any length, UTF-8.
    String,
    /// An integer whose values have names.
    Enum {
        /// How values are stored.
        base: IntType,
        /// Names with their values, in file order.
        members: Vec<(String, i128)>,
    },
    /// Numbers that frazil carries as bytes and cannot name in Zarr: x87 long doubles, bit fields, opaque blobs.
    Raw {
        /// What it is, in numpy's or HDF5's words: `<f16`, `|V7`, `bitfield 2`.
        name: String,
        /// Bytes of an element.
        size_bytes: u32,
    },
    /// Nested arrays, vlens, references, and compounds that hold such: listed, not read.
    Unsupported {
        /// `compound`, `vlen`, `reference`, `array`…
        kind: String,
        /// Bytes of an element as stored.
        size_bytes: u32,
    },
    /// Named fields side by side (HDF5: a compound). Their byte order is theirs, also in memory.
    Record(Record),
}

/// Width and sign of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum IntType {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl IntType {
    /// The type of `size_bytes` (1, 2, 4 or 8) bytes with or without sign.
    #[must_use]
    pub const fn of(size_bytes: u32, signed: bool) -> Option<Self> {
        Some(match (size_bytes, signed) {
            (1, true) => Self::I8,
            (2, true) => Self::I16,
            (4, true) => Self::I32,
            (8, true) => Self::I64,
            (1, false) => Self::U8,
            (2, false) => Self::U16,
            (4, false) => Self::U32,
            (8, false) => Self::U64,
            _ => return None,
        })
    }

    /// Bytes of one value.
    #[must_use]
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether values can be negative.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }

    /// Smallest and largest value.
    #[must_use]
    pub const fn bounds(self) -> (i128, i128) {
        let bits = self.size_bytes() * 8;
        if self.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }
}

/// Width of an IEEE 754 float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum FloatType {
    F16,
    F32,
    F64,
}

impl FloatType {
    /// Bytes of one value.
    #[must_use]
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl DataType {
    /// Bytes of one element in memory; `None` where elements have no fixed size.
    #[must_use]
    pub const fn size_bytes(&self) -> Option<u32> {
        Some(match self {
            Self::Int(int) | Self::Enum { base: int, .. } => int.size_bytes(),
            Self::Float(float) => float.size_bytes(),
            Self::Complex(float) => 2 * float.size_bytes(),
            Self::Bool | Self::Char => 1,
            Self::FixedString { size_bytes } | Self::Raw { size_bytes, .. } => *size_bytes,
            Self::Record(record) => record.size_bytes,
            Self::String | Self::Unsupported { .. } => return None,
        })
    }

    /// Bytes of the piece that byte order turns round: 4 for a complex64, 1 for text.
    #[must_use]
    pub const fn swap_bytes(&self) -> u32 {
        match self {
            Self::Int(int) | Self::Enum { base: int, .. } => int.size_bytes(),
            Self::Float(float) | Self::Complex(float) => float.size_bytes(),
            _ => 1,
        }
    }

    /// Whether elements are numbers that a reader computes with.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Complex(_) | Self::Bool | Self::Enum { .. })
    }
}

impl fmt::Display for IntType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_signed() { "" } else { "u" };
        write!(f, "{sign}int{}", self.size_bytes() * 8)
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "float{}", self.size_bytes() * 8)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => int.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Complex(float) => write!(f, "complex{}", float.size_bytes() * 16),
            Self::Bool => f.write_str("bool"),
            Self::Char => f.write_str("char"),
            Self::FixedString { size_bytes } => write!(f, "S{size_bytes}"),
            Self::String => f.write_str("string"),
            Self::Enum { base, .. } => write!(f, "enum({base})"),
            Self::Raw { name, .. } => f.write_str(name),
            Self::Unsupported { kind, .. } => f.write_str(kind),
            Self::Record(record) => {
                f.write_str("{")?;
                for (number, field) in record.fields.iter().enumerate() {
                    write!(f, "{}{}: {}", if number == 0 { "" } else { ", " }, field.name, field.dtype)?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_numpy_names_them() {
        assert_eq!(DataType::Int(IntType::U16).to_string(), "uint16");
        assert_eq!(DataType::Float(FloatType::F32).to_string(), "float32");
        assert_eq!(DataType::Complex(FloatType::F64).to_string(), "complex128");
    }

    #[test]
    fn bounds_are_those_of_the_machine() {
        assert_eq!(IntType::I16.bounds(), (i16::MIN.into(), i16::MAX.into()));
        assert_eq!(IntType::U64.bounds(), (0, u64::MAX.into()));
    }
}
