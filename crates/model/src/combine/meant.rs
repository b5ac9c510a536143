//! The numbers of a variable as its attributes say they are meant: with the sign that `_Unsigned` gives them, and without
//! those that are NaN or that `_FillValue` or `missing_value` mark as missing.
//!
//! It promises what stock xarray makes of the same bytes, before it scales them.

use crate::{
    attribute::{Attributes, Numbers},
    dtype::{DataType, FloatType},
    numbers::{Number, numbers_of},
    packing::{Packing, ValueRule, decoded_type},
    rule::{apply, means_missing, signed_as},
};

/// Numbers, and which of them are there.
#[derive(Debug, Clone)]
pub(super) struct Meant {
    /// The type under which they are read.
    pub dtype: DataType,
    /// Each number; nothing where it is missing.
    pub numbers: Vec<Option<Number>>,
}

impl Meant {
    /// The numbers of little-endian `bytes`; `None` if they are none.
    pub fn of(dtype: &DataType, packing: &Packing, bytes: &[u8]) -> Option<Self> {
        let read_as = signed_as(dtype, packing.unsigned);
        let is_nan = |number: Number| matches!(number, Number::Float(value) if value.is_nan());
        let is_marked =
            |number: Number| packing.fills.iter().any(|fill| means_missing(number, *fill, &read_as, packing));
        let numbers = numbers_of(&read_as, bytes)?;
        let numbers =
            numbers.into_iter().map(|number| Some(number).filter(|one| !is_nan(*one) && !is_marked(*one))).collect();
        Some(Self { dtype: read_as, numbers })
    }

    /// The values that counts stand for, where they are packed; a missing one is nothing.
    pub fn values_of(dtype: &DataType, attributes: &Attributes, bytes: &[u8]) -> Option<Self> {
        let packing = Packing::of(attributes);
        let Some(rule) = Self::decoding(dtype, &packing) else { return Self::of(dtype, &packing, bytes) };
        let mut decoded = Vec::new();
        apply(&rule, bytes, &mut decoded).ok()?;
        let dtype = DataType::Float(decoded_type(dtype, &packing)?);
        Self::of(&dtype, &Packing::default(), &decoded)
    }

    /// How counts become the values that they stand for; `None` if they are not packed.
    pub fn decoding(dtype: &DataType, packing: &Packing) -> Option<ValueRule> {
        let to = decoded_type(dtype, packing).filter(|_| packing.scales())?;
        Some(ValueRule::Decode { from: dtype.clone(), packing: packing.clone(), compute: to, to })
    }

    /// Those that are there, one after the other.
    pub fn there(&self) -> Numbers {
        let there = self.numbers.iter().flatten();
        #[allow(clippy::cast_possible_truncation)] // each goes back to the type it came from
        match self.dtype {
            DataType::Float(FloatType::F64) => Numbers::F64(there.map(|number| float(*number)).collect()),
            DataType::Float(_) => Numbers::F32(there.map(|number| float(*number) as f32).collect()),
            _ => {
                let integers: Vec<i128> = there.filter_map(|number| integer(*number)).collect();
                // No integer has more than 64 bits; only those of u64 may not fit the other type.
                match integers.iter().map(|value| i64::try_from(*value)).collect::<Result<Vec<_>, _>>() {
                    Ok(integers) => Numbers::I64(integers),
                    Err(_) => {
                        Numbers::U64(integers.into_iter().filter_map(|value| u64::try_from(value).ok()).collect())
                    }
                }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn float(number: Number) -> f64 {
    match number {
        Number::Float(value) => value,
        Number::Integer(value) => value as f64,
    }
}

const fn integer(number: Number) -> Option<i128> {
    match number {
        Number::Integer(value) => Some(value),
        Number::Float(_) => None,
    }
}
