//! Packed numbers: stored counts, and the values that readers compute from them.
//!
//! The judge is stock xarray: `decoded_type` says which dtype it chooses, from the types of the attributes, and
//! `Decoding` says what it computes. JSON has one kind of number, so an attribute that was a `float32` in the
//! file is a `float64` in a Zarr store; where that changes the outcome, packed data cannot stay packed.
//!
//! Source: CF conventions 1.11, section 8.1 "Packed Data"; xarray's `conventions` for dtypes.

use serde::{Deserialize, Serialize};

use crate::{
    attribute::{Attributes, Numbers},
    dtype::{DataType, FloatType, IntType},
    numbers::{float_of, push_float},
    recipe::each::MaskRule,
    record::Record,
};

/// The attributes that say how stored counts become values.
pub const PACKING_ATTRIBUTES: [&str; 4] = ["scale_factor", "add_offset", "_FillValue", "missing_value"];

/// What the packing attributes of a variable say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Packing {
    /// `scale_factor` and whether it is stored as a `float32`.
    pub scale: Option<Factor>,
    /// `add_offset`.
    pub offset: Option<Factor>,
    /// `_FillValue` and `missing_value`, as stored.
    pub fills: Vec<Fill>,
    /// `_Unsigned = "true"`: stored integers are to be read without sign (or, `"false"`, with).
    pub unsigned: Option<Signedness>,
    /// NaN is all that is marked missing: xarray then leaves floats in the type that is stored.
    #[serde(default)]
    pub marks_nan: bool,
    /// The units are those of times, for which xarray chooses a type again once what is missing is NaN.
    #[serde(default)]
    pub is_time: bool,
    /// The factors are numbers of JSON, which take on the type of what they are multiplied with.
    #[serde(default)]
    pub is_json: bool,
}

/// What `_Unsigned` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Signedness {
    Signed,
    Unsigned,
}

/// A number that stored counts are multiplied with or added to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// Its value.
    pub value: f64,
    /// Its type, which takes part in xarray's choice of dtype.
    pub kind: FactorKind,
}

/// The type of a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum FactorKind {
    F32,
    F64,
    Integer,
}

/// A stored value that means "missing".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Fill {
    /// Of an integer type.
    Integer(i128),
    /// Of a float type.
    Float(f64),
}

impl Packing {
    /// Reads the packing attributes of a variable.
    #[must_use]
    pub fn of(attributes: &Attributes) -> Self {
        let factor = |name: &str| {
            let numbers = attributes.numbers(name)?;
            let kind = match numbers {
                Numbers::F32(_) => FactorKind::F32,
                Numbers::F64(_) => FactorKind::F64,
                _ => FactorKind::Integer,
            };
            numbers.to_f64().first().map(|value| Factor { value: *value, kind })
        };
        let fills: Vec<Fill> = ["_FillValue", "missing_value"]
            .iter()
            .filter_map(|name| attributes.numbers(name))
            .flat_map(|numbers| match numbers.to_integers() {
                Some(integers) => integers.into_iter().map(Fill::Integer).collect::<Vec<_>>(),
                // A NaN needs no mark: it is missing already, and xarray leaves it out as well.
                None => numbers.to_f64().into_iter().filter(|value| !value.is_nan()).map(Fill::Float).collect(),
            })
            .collect();
        let unsigned = match attributes.text("_Unsigned") {
            Some("true") => Some(Signedness::Unsigned),
            Some("false") => Some(Signedness::Signed),
            _ => None,
        };
        let is_marked = ["_FillValue", "missing_value"].iter().any(|name| attributes.numbers(name).is_some());
        let (marks_nan, is_time) = (is_marked && fills.is_empty(), is_time_like(attributes));
        let (scale, offset) = (factor("scale_factor"), factor("add_offset"));
        Self { scale, offset, fills, unsigned, marks_nan, is_time, is_json: false }
    }

    /// Whether stored counts differ from values.
    #[must_use]
    pub const fn scales(&self) -> bool {
        self.scale.is_some() || self.offset.is_some()
    }

    /// The same packing after its attributes went through JSON.
    #[must_use]
    pub fn through_json(&self) -> Self {
        let widen = |factor: Option<Factor>| {
            factor.map(|factor| Factor {
                kind: if factor.kind == FactorKind::Integer { FactorKind::Integer } else { FactorKind::F64 },
                ..factor
            })
        };
        Self { scale: widen(self.scale), offset: widen(self.offset), is_json: true, ..self.clone() }
    }

    /// Whether two packings give every stored count the same value and the same dtype.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let factor = |a: Option<Factor>, b: Option<Factor>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.value.to_bits() == b.value.to_bits() && a.kind == b.kind,
            _ => false,
        };
        let fills = self.fills.len() == other.fills.len()
            && self.fills.iter().zip(&other.fills).all(|(a, b)| match (a, b) {
                (Fill::Integer(a), Fill::Integer(b)) => a == b,
                (Fill::Float(a), Fill::Float(b)) => a.to_bits() == b.to_bits(),
                // The same number in an attribute of another type.
                (Fill::Integer(integer), Fill::Float(float)) | (Fill::Float(float), Fill::Integer(integer)) => {
                    #[allow(clippy::cast_possible_truncation)] // it is whole, and small enough
                    let whole = float.fract() == 0.0 && float.abs() < 9e15 && *float as i128 == *integer;
                    whole && (*integer != 0 || float.is_sign_positive())
                }
            });
        let is_computed_alike = !self.scales() || (self.marks_nan, self.is_time) == (other.marks_nan, other.is_time);
        factor(self.scale, other.scale)
            && factor(self.offset, other.offset)
            && fills
            && self.unsigned == other.unsigned
            && is_computed_alike
    }

    /// The type in which one step of computing values of type `compute` is done, before it is rounded to that type.
    #[must_use]
    pub fn step_type(&self, factor: Factor, compute: FloatType) -> FloatType {
        match factor.kind {
            FactorKind::F64 if !self.is_json => FloatType::F64,
            FactorKind::F32 if !self.is_json => compute.max(FloatType::F32),
            _ => compute,
        }
    }
}

/// Whether xarray makes times or spans of time of what has these units.
fn is_time_like(attributes: &Attributes) -> bool {
    const SPANS: [&str; 7] = ["days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"];
    attributes.text("units").is_some_and(|units| units.contains("since") || SPANS.contains(&units))
}

/// The dtype that stock xarray gives the decoded values of a variable; `None` where values are read as stored.
#[must_use]
pub fn decoded_type(stored: &DataType, packing: &Packing) -> Option<FloatType> {
    let (size_bytes, is_integer) = match stored {
        DataType::Int(int) => (int.size_bytes(), true),
        DataType::Float(float) => (float.size_bytes(), false),
        _ => return None,
    };
    if !packing.scales() && packing.fills.is_empty() {
        return None;
    }
    if let (DataType::Float(float), true) = (stored, packing.marks_nan && !packing.is_time) {
        return Some(*float);
    }
    match (packing.scale, packing.offset) {
        (Some(scale), Some(offset)) if scale.kind == offset.kind && scale.kind != FactorKind::Integer => {
            // Four-byte counts do not fit the mantissa of a float32.
            let is_chosen_again = packing.is_time && !packing.fills.is_empty();
            let is_long = is_integer && size_bytes == 4 && !is_chosen_again;
            let wide = scale.kind == FactorKind::F64 || is_long;
            Some(if wide { FloatType::F64 } else { FloatType::F32 })
        }
        (_, Some(_)) => Some(FloatType::F64),
        (Some(scale), None) if scale.kind == FactorKind::F32 => Some(FloatType::F32),
        (Some(_), None) => Some(FloatType::F64),
        (None, None) => match stored {
            DataType::Float(float) => Some(*float),
            _ if size_bytes <= 2 => Some(FloatType::F32),
            _ => Some(FloatType::F64),
        },
    }
}

/// Whether a reader of the Zarr store, where attributes are JSON, gets what a reader of the file gets.
#[must_use]
pub fn survives_json(stored: &DataType, packing: &Packing) -> bool {
    let json = packing.through_json();
    let of_step = |packing: &Packing, factor: Option<Factor>| {
        let compute = decoded_type(stored, packing)?;
        let step = packing.step_type(factor?, compute);
        // Arithmetic of twice the digits and two more rounds to the same, if the factor is a number of the shorter type.
        Some(if holds(compute, factor?.value) { compute } else { step })
    };
    !packing.scales()
        || (decoded_type(stored, packing) == decoded_type(stored, &json)
            && of_step(packing, packing.scale) == of_step(&json, json.scale)
            && of_step(packing, packing.offset) == of_step(&json, json.offset))
}

/// Whether a number is one of the numbers of `float`.
fn holds(float: FloatType, value: f64) -> bool {
    let mut cell = Vec::new();
    push_float(float, value, &mut cell);
    float_of(float, &cell).is_some_and(|held| held.to_bits() == value.to_bits())
}

/// How stored counts of one file become what the store holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum ValueRule {
    /// As stored.
    #[default]
    Verbatim,
    /// Stored numbers of a narrower type, as numbers of the target's type: every one fits.
    Widen {
        /// The file's type.
        from: DataType,
        /// The store's type.
        to: DataType,
    },
    /// The values that xarray computes.
    Decode {
        /// The file's type.
        from: DataType,
        /// The file's packing.
        packing: Packing,
        /// The type that xarray computes in for this file; each step rounds to it.
        compute: FloatType,
        /// The store's type, at least as wide.
        to: FloatType,
    },
    /// Integers times an integer, in the arithmetic of the store's type: as in numpy, what does not fit wraps.
    Scale {
        /// The file's type.
        from: IntType,
        /// The type of the factor, and the store's.
        to: IntType,
        /// What they are multiplied with.
        factor: i128,
    },
    /// Numbers in another type because the author asked for it: integers exactly, floats rounded to the nearest.
    Cast {
        /// The type before.
        from: DataType,
        /// The type after.
        to: DataType,
    },
    /// Some numbers become missing.
    Mask {
        /// The type before and after.
        dtype: DataType,
        /// How its counts become values.
        packing: Packing,
        /// Which values mean "missing".
        masked: MaskRule,
        /// What is written for them, little-endian.
        missing: Vec<u8>,
    },
    /// The fields of a record one behind the other, numbers little-endian.
    Gather(Record),
    /// One rule after another.
    Chain(Vec<Self>),
    /// Counts of one packing as counts of another: `count * numerator / denominator + addend`.
    Repack {
        /// The file's type.
        from: IntType,
        /// The store's type.
        to: IntType,
        /// Of the exact ratio of the scale factors.
        numerator: i128,
        /// Of the exact ratio of the scale factors.
        denominator: i128,
        /// Exact difference of the offsets, in the store's counts.
        addend: i128,
        /// Counts of the file that mean "missing".
        missing: Vec<i128>,
        /// The count of the store that means "missing".
        fill: Option<i128>,
    },
}

impl ValueRule {
    /// This rule, then `next`.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        match (self, next) {
            (Self::Verbatim, next) => next.clone(),
            (first, Self::Verbatim) => first.clone(),
            (first, next) => {
                let parts =
                    |rule: &Self| if let Self::Chain(rules) = rule { rules.clone() } else { vec![rule.clone()] };
                Self::Chain(parts(first).into_iter().chain(parts(next)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packing(scale: Option<FactorKind>, offset: Option<FactorKind>) -> Packing {
        let factor = |kind: Option<FactorKind>| kind.map(|kind| Factor { value: 0.5, kind });
        Packing { scale: factor(scale), offset: factor(offset), ..Packing::default() }
    }

    #[test]
    fn the_dtype_is_the_one_xarray_chooses() {
        use FactorKind::{F32, F64};
        let short = DataType::Int(IntType::I16);
        let int = DataType::Int(IntType::I32);
        assert_eq!(decoded_type(&short, &packing(Some(F32), Some(F32))), Some(FloatType::F32));
        assert_eq!(decoded_type(&int, &packing(Some(F32), Some(F32))), Some(FloatType::F64));
        assert_eq!(decoded_type(&short, &packing(Some(F64), None)), Some(FloatType::F64));
        assert_eq!(decoded_type(&short, &packing(Some(F32), None)), Some(FloatType::F32));
        assert_eq!(decoded_type(&short, &packing(None, Some(F32))), Some(FloatType::F64));
        assert_eq!(decoded_type(&short, &packing(None, None)), None);
    }

    #[test]
    fn a_float32_scale_does_not_survive_json() {
        use FactorKind::{F32, F64};
        let short = DataType::Int(IntType::I16);
        assert!(!survives_json(&short, &packing(Some(F32), None)));
        assert!(survives_json(&short, &packing(Some(F64), Some(F64))));
        assert!(survives_json(&DataType::Int(IntType::I32), &packing(Some(F32), Some(F32))));
    }
}
