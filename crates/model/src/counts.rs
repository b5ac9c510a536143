//! Counts that a codec turns into values, for packing that JSON attributes cannot say.
//!
//! xarray decodes counts whose factors are `float32` to `float32`; in a Zarr store the factors come back as `float64`, and
//! so would the values. numcodecs' `fixedscaleoffset` makes the same `float32` values on the way, so that the counts can
//! stay as they are. It promises that every count there can be gives, bit for bit, what xarray computes from the file: each
//! is tried. Packing for which that does not hold is left to others.

use serde::{Deserialize, Serialize};

use crate::{
    dtype::{DataType, FloatType, IntType},
    packing::{Factor, FactorKind, Fill, Packing, decoded_type, survives_json},
};

/// Bytes of the largest counts that are tried one by one.
const MOST_COUNT_BYTES: u32 = 2;

/// Counts and the values that a codec makes of them: `count / divisor`, rounded to `float32`, then `+ offset`, rounded again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What the counts are.
    pub int: IntType,
    /// The file's `scale_factor`.
    pub scale: f32,
    /// What the codec divides by.
    pub divisor: f64,
    /// The file's `add_offset`.
    pub offset: Option<f32>,
}

impl Calibration {
    /// The codec's counterpart of `packing`, where readers need one and every count comes out right.
    #[must_use]
    pub fn of(stored: &DataType, packing: &Packing) -> Option<Self> {
        let is_float32 = decoded_type(stored, packing) == Some(FloatType::F32);
        // With `_Unsigned` the stored type is not that of the counts.
        if survives_json(stored, packing) || !is_float32 || packing.unsigned.is_some() {
            return None;
        }
        let DataType::Int(int) = stored else { return None };
        let float32 = |factor: Factor| {
            #[allow(clippy::cast_possible_truncation)] // it was a float32
            (factor.kind == FactorKind::F32).then_some(factor.value as f32)
        };
        let scale = float32(packing.scale?)?;
        let offset = match packing.offset {
            Some(offset) => Some(float32(offset)?),
            None => None,
        };
        let found = Self::tried(*int, scale, offset)?;
        packing.fills.iter().all(|fill| found.tells_apart(*fill)).then_some(found)
    }

    /// The one whose codec divides by `divisor` and adds `offset`.
    #[must_use]
    pub fn of_codec(int: IntType, divisor: f64, offset: Option<f32>) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation)] // the nearest is meant, and its neighbours are tried
        let near = (1.0 / divisor) as f32;
        [near, near.next_up(), near.next_down()]
            .into_iter()
            .filter_map(|scale| Self::tried(int, scale, offset))
            .find(|found| found.divisor.to_bits() == divisor.to_bits())
    }

    /// With a divisor by which every count comes out right.
    fn tried(int: IntType, scale: f32, offset: Option<f32>) -> Option<Self> {
        if int.size_bytes() > MOST_COUNT_BYTES || !scale.is_normal() || offset.is_some_and(|offset| !offset.is_finite())
        {
            return None;
        }
        let divisor = 1.0 / f64::from(scale);
        [divisor, divisor.next_up(), divisor.next_down()]
            .into_iter()
            .map(|divisor| Self { int, scale, divisor, offset })
            .find(|one| one.counts().all(|count| one.value(count).to_bits() == one.wanted(count).to_bits()))
    }

    fn counts(&self) -> std::ops::RangeInclusive<i32> {
        let (least, most) = self.int.bounds();
        i32::try_from(least).unwrap_or(0)..=i32::try_from(most).unwrap_or(0)
    }

    /// What xarray computes from the file.
    #[allow(clippy::cast_precision_loss)] // two bytes fit the mantissa
    fn wanted(&self, count: i32) -> f32 {
        let scaled = count as f32 * self.scale;
        self.offset.map_or(scaled, |offset| scaled + offset)
    }

    /// What the codec makes of a count.
    #[must_use]
    pub fn value(&self, count: i32) -> f32 {
        #[allow(clippy::cast_possible_truncation)] // as the codec does
        let scaled = (f64::from(count) / self.divisor) as f32;
        self.offset.map_or(scaled, |offset| scaled + offset)
    }

    /// The count that gives `value`.
    #[must_use]
    pub fn count(&self, value: f32) -> Option<i32> {
        self.counts().find(|count| self.value(*count).to_bits() == value.to_bits())
    }

    /// The value of a stored number that means "missing"; `None` if it is no count, so that nothing equals it.
    #[must_use]
    pub fn value_of(&self, fill: i128) -> Option<f32> {
        i32::try_from(fill).ok().filter(|count| self.counts().contains(count)).map(|count| self.value(count))
    }

    /// Whether what means "missing" is a value of its own.
    fn tells_apart(&self, fill: Fill) -> bool {
        let Fill::Integer(fill) = fill else { return false };
        let Some(value) = self.value_of(fill) else { return true };
        // Readers compare values: a zero with the other sign is equal.
        value.is_finite() && self.counts().filter(|count| self.value(*count) == value).count() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packing(scale: f32, offset: Option<f32>, fills: &[i128]) -> Packing {
        let factor = |value: f32| Factor { value: value.into(), kind: FactorKind::F32 };
        Packing {
            scale: Some(factor(scale)),
            offset: offset.map(factor),
            fills: fills.iter().map(|fill| Fill::Integer(*fill)).collect(),
            ..Packing::default()
        }
    }

    const SHORT: DataType = DataType::Int(IntType::I16);

    #[test]
    fn the_factors_of_usual_archives_are_said_by_a_codec() {
        for scale in [0.01, 0.001, 0.1, 0.02, 1e-4, 0.05, 0.0025, 0.5] {
            for offset in [None, Some(0.0), Some(273.15), Some(25.0)] {
                let found =
                    Calibration::of(&SHORT, &packing(scale, offset, &[-999])).map(|found| (found.scale, found.offset));
                assert_eq!(found, Some((scale, offset)));
            }
        }
    }

    #[test]
    fn a_factor_that_lets_any_count_come_out_otherwise_is_not_said_so() {
        // `-24576 * 1.997826631257307e-05` lies between two float32.
        assert_eq!(Calibration::of(&SHORT, &packing(1.997_826_6e-5, None, &[])), None);
    }

    #[test]
    fn what_json_can_say_needs_no_codec() {
        let double = Packing { scale: Some(Factor { value: 0.01, kind: FactorKind::F64 }), ..Packing::default() };
        assert_eq!(Calibration::of(&SHORT, &double), None);
        assert_eq!(Calibration::of(&DataType::Int(IntType::I32), &packing(0.01, None, &[])), None);
    }

    #[test]
    fn a_missing_value_that_equals_others_is_not_said_so() {
        // So large an offset leaves few values apart.
        assert_eq!(Calibration::of(&SHORT, &packing(0.01, Some(1e9), &[-999])), None);
        assert!(Calibration::of(&SHORT, &packing(0.01, Some(1e9), &[70_000])).is_some());
    }

    #[test]
    fn the_codec_tells_its_factors_and_values_tell_their_counts() {
        let found = Calibration::of(&SHORT, &packing(0.01, Some(273.15), &[])).unwrap_or_else(|| unreachable!());
        assert_eq!(Calibration::of_codec(IntType::I16, found.divisor, found.offset).as_ref(), Some(&found));
        assert_eq!(found.count(found.value(-999)), Some(-999));
        assert_eq!(Calibration::of_codec(IntType::I16, 3.3, None).map(|found| found.divisor), None);
    }
}
