//! Attributes, verbatim: the type matters, because readers derive the dtype of decoded values from it.

use serde::{Deserialize, Serialize};

use crate::dtype::{DataType, FloatType, IntType};

/// Named values in file order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Attributes(pub Vec<(String, AttributeValue)>);

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// One text, without the trailing NULs of its cell.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// Numbers of one type; one value for a scalar.
    Numbers(Numbers),
    /// A value that frazil does not read (a compound, a reference), with its reason.
    Unread(String),
}

/// Numbers of one type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Numbers {
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Runs one expression for whichever type the numbers have.
macro_rules! each_type {
    ($numbers:expr, $values:ident => $body:expr) => {
        match $numbers {
            Numbers::I8($values) => $body,
            Numbers::I16($values) => $body,
            Numbers::I32($values) => $body,
            Numbers::I64($values) => $body,
            Numbers::U8($values) => $body,
            Numbers::U16($values) => $body,
            Numbers::U32($values) => $body,
            Numbers::U64($values) => $body,
            Numbers::F32($values) => $body,
            Numbers::F64($values) => $body,
        }
    };
}

impl Numbers {
    /// How many values.
    #[must_use]
    pub fn len(&self) -> usize {
        each_type!(self, values => values.len())
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as `f64`; integers beyond 2^53 round.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        #[allow(clippy::cast_lossless, clippy::cast_precision_loss, clippy::unnecessary_cast)]
        {
            each_type!(self, values => values.iter().map(|value| *value as f64).collect())
        }
    }

    /// The values as integers, if they are of an integer type.
    #[must_use]
    pub fn to_integers(&self) -> Option<Vec<i128>> {
        Some(match self {
            Self::I8(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::I16(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::I32(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::I64(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::U8(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::U16(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::U32(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::U64(values) => values.iter().map(|value| i128::from(*value)).collect(),
            Self::F32(_) | Self::F64(_) => return None,
        })
    }

    /// The values as little-endian bytes.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        each_type!(self, values => values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The numbers of little-endian `bytes`; `None` if `dtype` is no integer and no `float32` or `float64`.
    #[must_use]
    pub fn of(dtype: &DataType, bytes: &[u8]) -> Option<Self> {
        macro_rules! read {
            ($variant:ident, $number:ty) => {{
                let cells = bytes.chunks_exact(size_of::<$number>());
                if !cells.remainder().is_empty() {
                    return None;
                }
                Self::$variant(cells.filter_map(|cell| Some(<$number>::from_le_bytes(cell.try_into().ok()?))).collect())
            }};
        }
        Some(match dtype {
            DataType::Int(IntType::I8) => read!(I8, i8),
            DataType::Int(IntType::I16) => read!(I16, i16),
            DataType::Int(IntType::I32) => read!(I32, i32),
            DataType::Int(IntType::I64) => read!(I64, i64),
            DataType::Int(IntType::U8) => read!(U8, u8),
            DataType::Int(IntType::U16) => read!(U16, u16),
            DataType::Int(IntType::U32) => read!(U32, u32),
            DataType::Int(IntType::U64) => read!(U64, u64),
            DataType::Float(FloatType::F32) => read!(F32, f32),
            DataType::Float(FloatType::F64) => read!(F64, f64),
            _ => return None,
        })
    }

    /// The type of the numbers.
    #[must_use]
    pub const fn dtype(&self) -> DataType {
        match self {
            Self::I8(_) => DataType::Int(IntType::I8),
            Self::I16(_) => DataType::Int(IntType::I16),
            Self::I32(_) => DataType::Int(IntType::I32),
            Self::I64(_) => DataType::Int(IntType::I64),
            Self::U8(_) => DataType::Int(IntType::U8),
            Self::U16(_) => DataType::Int(IntType::U16),
            Self::U32(_) => DataType::Int(IntType::U32),
            Self::U64(_) => DataType::Int(IntType::U64),
            Self::F32(_) => DataType::Float(FloatType::F32),
            Self::F64(_) => DataType::Float(FloatType::F64),
        }
    }

    /// numpy's name of the type: `float32`.
    #[must_use]
    pub fn type_name(&self) -> String {
        self.dtype().to_string()
    }
}

impl Attributes {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of `name`, if it is one text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            AttributeValue::Text(text) => Some(text),
            AttributeValue::Texts(texts) if texts.len() == 1 => texts.first().map(String::as_str),
            _ => None,
        }
    }

    /// The value of `name`, if it is numbers.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Option<&Numbers> {
        match self.get(name)? {
            AttributeValue::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// Sets `name`, in its old place if it had one.
    pub fn set(&mut self, name: &str, value: AttributeValue) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<AttributeValue> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }
}

impl AttributeValue {
    /// Whether two values are the same to the bit: a NaN equals itself, 1 and 1.0 differ.
    #[must_use]
    pub fn same_bits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Numbers(a), Self::Numbers(b)) => a.dtype() == b.dtype() && a.to_le_bytes() == b.to_le_bytes(),
            _ => self == other,
        }
    }
}
