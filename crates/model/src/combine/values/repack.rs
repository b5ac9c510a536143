//! Counts of several packings as counts of one, where every one of them maps to the same value, to the bit.

use super::{InFile, ValuePlan, decoded, holding};
use crate::{
    attribute::{AttributeValue, Numbers},
    combine::error::CombineError,
    dtype::{DataType, IntType},
    numbers::push_integer,
    packing::{Factor, Fill, Packing, ValueRule, decoded_type, survives_json},
    rule::apply,
};

/// Counts of one packing: the first among the files' to which every count of all others maps exactly. Where there is
/// none, the values are stored: they are right, and a policy that was chosen is no reason to stop.
pub(super) fn repacked(all: &[InFile<'_>]) -> Result<ValuePlan, CombineError> {
    let integers = all
        .iter()
        .all(|one| matches!(one.variable.dtype, DataType::Int(_)) && one.variable.packing().unsigned.is_none());
    if !integers || all.iter().any(|one| !survives_json(&one.variable.dtype, &one.variable.packing())) {
        return Ok(decoded(
            all,
            "the files are packed differently, and not all of them as integers that JSON can describe",
        ));
    }
    for target in all {
        let Ok(plan) = Repacking::to(target, all) else { continue };
        if let Some(plan) = plan.is_whole.then(|| plan.finish(all)).filter(|plan| reads_alike(all, target, plan)) {
            return Ok(plan);
        }
    }
    Ok(decoded(all, "the counts of one file do not map exactly, to the bit of what a reader computes, to another's"))
}

/// Whether a reader computes the same value, to the bit, from a file's count and from the store's.
///
/// `3 * 0.1` and `30 * 0.01` are the same number on paper and not in a float: then the values themselves are stored.
fn reads_alike(all: &[InFile<'_>], target: &InFile<'_>, plan: &ValuePlan) -> bool {
    let DataType::Int(to) = plan.dtype else { return false };
    let unmarked = |one: &InFile<'_>| Packing { fills: Vec::new(), ..one.variable.packing() };
    let wanted = target.variable.packing();
    all.iter().zip(&plan.rules).all(|(one, rule)| {
        let (DataType::Int(from), ValueRule::Repack { numerator, denominator, addend, missing, .. }) =
            (&one.variable.dtype, rule)
        else {
            return false;
        };
        let (packing, compute) = (unmarked(one), decoded_type(&one.variable.dtype, &one.variable.packing()));
        if compute != decoded_type(&plan.dtype, &wanted) {
            return false;
        }
        let same = |a: Option<Factor>, b: Option<Factor>| a.map(|a| a.value.to_bits()) == b.map(|b| b.value.to_bits());
        if same(packing.scale, wanted.scale) && same(packing.offset, wanted.offset) {
            return true;
        }
        // Every count of two bytes can be tried; wider ones cannot.
        let Some(compute) = compute.filter(|_| from.size_bytes() <= 2) else { return false };
        let decode = |int: IntType, packing: &Packing, counts: &[i128]| {
            let mut bytes = Vec::new();
            counts.iter().try_for_each(|count| push_integer(int, *count, &mut bytes))?;
            let rule = ValueRule::Decode { from: DataType::Int(int), packing: packing.clone(), compute, to: compute };
            let mut values = Vec::new();
            apply(&rule, &bytes, &mut values).ok()?;
            Some(values)
        };
        let (low, high) = from.bounds();
        let counts: Vec<i128> = (low..=high).filter(|count| !missing.contains(count)).collect();
        let mapped: Vec<i128> = counts.iter().map(|count| count * numerator / denominator + addend).collect();
        let theirs = decode(*from, &packing, &counts);
        theirs.is_some() && theirs == decode(to, &unmarked(target), &mapped)
    })
}

/// A try to write every file's counts in one file's packing.
struct Repacking<'a> {
    target: InFile<'a>,
    /// For each file: numerator, denominator, addend.
    maps: Vec<(i128, i128, i128)>,
    /// Whether every count of every file maps to a count.
    is_whole: bool,
}

impl<'a> Repacking<'a> {
    fn to(target: &InFile<'a>, all: &[InFile<'_>]) -> Result<Self, TooManyDigits> {
        let wanted = target.variable.packing();
        let scale = Ratio::of(wanted.scale.map_or(1.0, |factor| factor.value))?;
        let offset = Ratio::of(wanted.offset.map_or(0.0, |factor| factor.value))?;
        let mut is_whole = true;
        let maps = all
            .iter()
            .map(|one| {
                let packing = one.variable.packing();
                let ratio = Ratio::of(packing.scale.map_or(1.0, |factor| factor.value))?.over(scale)?;
                let addend =
                    Ratio::of(packing.offset.map_or(0.0, |factor| factor.value))?.minus(offset)?.over(scale)?;
                if addend.denominator != 1 {
                    return Err(TooManyDigits);
                }
                is_whole &= ratio.denominator == 1;
                Ok((ratio.numerator, ratio.denominator, addend.numerator))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { target: *target, maps, is_whole })
    }

    fn finish(self, all: &[InFile<'_>]) -> ValuePlan {
        let int_of = |one: &InFile<'_>| match one.variable.dtype {
            DataType::Int(int) => int,
            _ => IntType::I64,
        };
        let (mut low, mut high) = (0, 0);
        for (one, (numerator, denominator, addend)) in all.iter().zip(&self.maps) {
            let (least, most) = int_of(one).bounds();
            let ends = [least * numerator / denominator + addend, most * numerator / denominator + addend];
            low = low.min(ends[0]).min(ends[1]);
            high = high.max(ends[0]).max(ends[1]);
        }
        let narrow = int_of(&self.target);
        // If even 64 bits do not hold every possible count, reading alike fails and the values are stored.
        let to = holding(low, high, narrow.size_bytes()).unwrap_or(IntType::I64);
        let has_fill = all.iter().any(|one| !one.variable.packing().fills.is_empty());
        let fill = has_fill.then(|| self.fill(narrow, to, low));
        let rules = all
            .iter()
            .zip(&self.maps)
            .map(|(one, (numerator, denominator, addend))| ValueRule::Repack {
                from: int_of(one),
                to,
                numerator: *numerator,
                denominator: *denominator,
                addend: *addend,
                missing: one.variable.packing().fills.iter().filter_map(integer).collect(),
                fill,
            })
            .collect();
        let attributes = &self.target.variable.attributes;
        let mut packing: Vec<(String, AttributeValue)> = ["scale_factor", "add_offset"]
            .iter()
            .filter_map(|name| attributes.get(name).map(|value| ((*name).to_owned(), value.clone())))
            .collect();
        if let Some(value) = fill.and_then(|fill| number_attribute(to, fill)) {
            packing.push(("_FillValue".to_owned(), value));
        }
        let note = format!("stored as {to} counts in the packing of `{}`", self.target.file);
        ValuePlan { dtype: DataType::Int(to), packing: Some(packing), rules, note: Some(note) }
    }

    /// The count that means "missing": the target's own, or one that no widened count can become.
    fn fill(&self, narrow: IntType, to: IntType, low: i128) -> i128 {
        let own = self.target.variable.packing().fills.first().and_then(integer);
        match own {
            Some(own) if narrow == to => own,
            _ if to.bounds().0 < low => to.bounds().0,
            Some(own) => own,
            None => to.bounds().0,
        }
    }
}

fn integer(fill: &Fill) -> Option<i128> {
    match fill {
        Fill::Integer(value) => Some(*value),
        #[allow(clippy::cast_possible_truncation)] // it is whole
        Fill::Float(value) => (value.fract() == 0.0 && value.abs() < 1e18).then_some(*value as i128),
    }
}

fn number_attribute(int: IntType, value: i128) -> Option<AttributeValue> {
    Some(AttributeValue::Numbers(match int {
        IntType::I8 => Numbers::I8(vec![value.try_into().ok()?]),
        IntType::I16 => Numbers::I16(vec![value.try_into().ok()?]),
        IntType::I32 => Numbers::I32(vec![value.try_into().ok()?]),
        IntType::I64 => Numbers::I64(vec![value.try_into().ok()?]),
        IntType::U8 => Numbers::U8(vec![value.try_into().ok()?]),
        IntType::U16 => Numbers::U16(vec![value.try_into().ok()?]),
        IntType::U32 => Numbers::U32(vec![value.try_into().ok()?]),
        IntType::U64 => Numbers::U64(vec![value.try_into().ok()?]),
    }))
}

/// A number has more decimal digits than the exact arithmetic here carries.
struct TooManyDigits;

/// An exact fraction in lowest terms, denominator positive.
#[derive(Clone, Copy)]
struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    /// The decimal number that the author of the file meant: the shortest that reads back as `value`.
    fn of(value: f64) -> Result<Self, TooManyDigits> {
        let text = format!("{value}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        if fraction.len() > 17 {
            return Err(TooManyDigits);
        }
        let numerator = format!("{whole}{fraction}").parse::<i64>().map_err(|_| TooManyDigits)?;
        Self { numerator: numerator.into(), denominator: 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0)) }
            .reduced()
    }

    fn over(self, other: Self) -> Result<Self, TooManyDigits> {
        let numerator = self.numerator.checked_mul(other.denominator).ok_or(TooManyDigits)?;
        let denominator = self.denominator.checked_mul(other.numerator).ok_or(TooManyDigits)?;
        Self { numerator, denominator }.reduced()
    }

    fn minus(self, other: Self) -> Result<Self, TooManyDigits> {
        let cross = |a: i128, b: i128| a.checked_mul(b).ok_or(TooManyDigits);
        let numerator = cross(self.numerator, other.denominator)? - cross(other.numerator, self.denominator)?;
        Self { numerator, denominator: cross(self.denominator, other.denominator)? }.reduced()
    }

    /// In lowest terms, if both parts are below 2^62, so that a count of 64 bits can be multiplied with them.
    fn reduced(self) -> Result<Self, TooManyDigits> {
        let (mut a, mut b) = (self.numerator.unsigned_abs(), self.denominator.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor =
            i128::try_from(a).ok().filter(|divisor| *divisor != 0 && self.denominator != 0).ok_or(TooManyDigits)?;
        let sign = self.denominator.signum();
        let lowest =
            Self { numerator: sign * self.numerator / divisor, denominator: sign * self.denominator / divisor };
        let limit = 1_i128 << 62;
        (lowest.numerator.abs() < limit && lowest.denominator < limit).then_some(lowest).ok_or(TooManyDigits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(value: f64) -> (i128, i128) {
        Ratio::of(value).map(|ratio| (ratio.numerator, ratio.denominator)).ok().unwrap()
    }

    #[test]
    fn a_scale_factor_is_the_decimal_that_was_written() {
        assert_eq!(ratio(0.01), (1, 100));
        assert_eq!(ratio(273.15), (5463, 20));
        assert_eq!(ratio(-2.0), (-2, 1));
    }
}
