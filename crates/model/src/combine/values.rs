//! What the store holds for a variable that several files have, and how each file's numbers become that.

use std::collections::BTreeSet;

use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    combine::{
        attributes::show,
        error::{CombineError, Rule},
        policy::{DifferDtype, DifferPacking, Policies},
        view::ViewVariable,
    },
    dtype::{DataType, FloatType, IntType},
    numbers::push_integer,
    packing::{Factor, Fill, PACKING_ATTRIBUTES, Packing, ValueRule, decoded_type, survives_json},
    rule::apply,
};

/// A variable of one file, with the file's name.
#[derive(Clone, Copy)]
pub struct InFile<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// The variable there.
    pub variable: &'a ViewVariable,
}

/// How a variable is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ValuePlan {
    /// The store's type.
    pub dtype: DataType,
    /// The store's packing attributes, to be set after the packing attributes of the files were removed; `None`:
    /// the first file's stay.
    pub packing: Option<Vec<(String, AttributeValue)>>,
    /// For each file, what happens to its numbers.
    pub rules: Vec<ValueRule>,
    /// Why it is stored otherwise than in the files, for the report.
    pub note: Option<String>,
}

/// Decides how a variable is stored.
///
/// # Errors
/// [`CombineError::Differs`] where values would change and no policy says how.
pub fn plan(all: &[InFile<'_>], policies: &Policies) -> Result<ValuePlan, CombineError> {
    let Some(first) = all.first() else { return Err(CombineError::NoFiles) };
    let packing = first.variable.packing();
    let same = |other: &InFile<'_>| {
        other.variable.dtype == first.variable.dtype
            && other.variable.packing().same_as(&packing)
            // A store may have no word for a text that means "missing".
            && (policies.follows_store || missing_texts(other) == missing_texts(first))
    };
    let Some(other) = all.iter().find(|other| !same(other)) else {
        return Ok(uniform(all, first, &packing));
    };
    if policies.follows_store
        && let Some(rules) =
            all.iter().skip(1).map(|one| scaled(one, &first.variable.dtype)).collect::<Option<Vec<_>>>()
    {
        let rules = std::iter::once(ValueRule::Verbatim).chain(rules).collect();
        let (dtype, note) = (first.variable.dtype.clone(), Some(AS_INTEGERS.to_owned()));
        return Ok(ValuePlan { dtype, packing: Some(Vec::new()), rules, note });
    }
    let survives = |one: &InFile<'_>| survives_json(&one.variable.dtype, &one.variable.packing());
    if policies.follows_store && all.iter().skip(1).all(|one| !survives(one)) {
        return Ok(decoded(all, "as in the store that is extended"));
    }
    let is_packed = |one: &InFile<'_>| !Packing::of(&one.variable.attributes).eq(&Packing::default());
    let numbers = |one: &InFile<'_>| matches!(one.variable.dtype, DataType::Int(_) | DataType::Float(_));
    let only_dtype = other.variable.packing().same_as(&packing);
    if !all.iter().all(numbers) {
        return Err(differs(first, other));
    }
    if only_dtype && policies.differ.dtype == DifferDtype::Promote {
        return widened(all, first, other);
    }
    if !all.iter().any(is_packed) {
        return Err(differs(first, other));
    }
    match policies.differ.packing {
        DifferPacking::Error => Err(differs(first, other)),
        DifferPacking::Decode => Ok(decoded(all, "the files are packed differently")),
        DifferPacking::Repack => repacked(all),
    }
}

/// The texts that mean "missing".
fn missing_texts<'a>(one: &InFile<'a>) -> BTreeSet<&'a str> {
    ["_FillValue", "missing_value"].iter().filter_map(|name| one.variable.attributes.text(name)).collect()
}

/// Files of one packing stay packed, unless JSON would change what a reader computes.
fn uniform(all: &[InFile<'_>], first: &InFile<'_>, packing: &Packing) -> ValuePlan {
    if let Some(to) = scaled_type(first)
        && let Some(rules) = all.iter().map(|one| scaled(one, &to)).collect()
    {
        return ValuePlan { dtype: to, packing: Some(Vec::new()), rules, note: Some(AS_INTEGERS.to_owned()) };
    }
    if survives_json(&first.variable.dtype, packing) {
        return ValuePlan {
            dtype: first.variable.dtype.clone(),
            packing: None,
            rules: vec![ValueRule::Verbatim; all.len()],
            note: None,
        };
    }
    decoded(all, "its packing attributes are float32, and JSON would make them float64: readers would get other values")
}

const AS_INTEGERS: &str = "stored as the integers that readers compute: the integer type of its scale_factor decides \
                           theirs, and JSON would make it int64";

/// The integer type that xarray decodes to where an integer is multiplied with an integer, and JSON cannot say it.
fn scaled_type(one: &InFile<'_>) -> Option<DataType> {
    let packing = one.variable.packing();
    // With a mark for "missing" xarray needs a NaN, which no integer is: it stays as it is.
    if packing.offset.is_some() || !packing.fills.is_empty() || packing.unsigned.is_some() {
        return None;
    }
    let to = one.variable.attributes.numbers("scale_factor")?.dtype();
    let is_lost = matches!(to, DataType::Int(int) if int != IntType::I64);
    (is_lost && matches!(one.variable.dtype, DataType::Int(_))).then_some(to)
}

/// The rule that gives the integers of `to` which xarray decodes to; `None` if it decodes to another type.
fn scaled(one: &InFile<'_>, to: &DataType) -> Option<ValueRule> {
    let (DataType::Int(from), DataType::Int(int)) = (&one.variable.dtype, to) else { return None };
    let factor = *one.variable.attributes.numbers("scale_factor")?.to_integers()?.first()?;
    (scaled_type(one).as_ref() == Some(to)).then_some(ValueRule::Scale { from: *from, to: *int, factor })
}

/// All files by the values that xarray computes for each.
fn decoded(all: &[InFile<'_>], why: &str) -> ValuePlan {
    let type_of = |one: &InFile<'_>| {
        decoded_type(&one.variable.dtype, &one.variable.packing()).unwrap_or_else(|| plain_float(&one.variable.dtype))
    };
    let to = all.iter().map(type_of).max().unwrap_or(FloatType::F64);
    let rules = all
        .iter()
        .map(|one| {
            // A value computed in float32 and then widened is what xarray's own join gives.
            let (packing, compute) = (one.variable.packing(), type_of(one));
            ValueRule::Decode { from: one.variable.dtype.clone(), packing, compute, to }
        })
        .collect();
    let nan = match to {
        FloatType::F32 | FloatType::F16 => Numbers::F32(vec![f32::NAN]),
        FloatType::F64 => Numbers::F64(vec![f64::NAN]),
    };
    ValuePlan {
        dtype: DataType::Float(to),
        packing: Some(vec![("_FillValue".to_owned(), AttributeValue::Numbers(nan))]),
        rules,
        note: Some(format!("stored as {} values: {why}", DataType::Float(to))),
    }
}

fn plain_float(dtype: &DataType) -> FloatType {
    match dtype {
        DataType::Float(float) => *float,
        DataType::Int(int) if int.size_bytes() <= 2 => FloatType::F32,
        _ => FloatType::F64,
    }
}

fn widened(all: &[InFile<'_>], first: &InFile<'_>, other: &InFile<'_>) -> Result<ValuePlan, CombineError> {
    let to = all
        .iter()
        .map(|one| one.variable.dtype.clone())
        .try_fold(first.variable.dtype.clone(), |wide, next| wider(&wide, &next))
        .ok_or_else(|| differs(first, other))?;
    let rules = all
        .iter()
        .map(|one| {
            if one.variable.dtype == to {
                ValueRule::Verbatim
            } else {
                ValueRule::Widen { from: one.variable.dtype.clone(), to: to.clone() }
            }
        })
        .collect();
    Ok(ValuePlan { note: Some(format!("stored as {to}: the files differ in dtype")), dtype: to, packing: None, rules })
}

/// The narrowest type that holds every value of both.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        _ if a == b => Some(a.clone()),
        (DataType::Float(a), DataType::Float(b)) => Some(DataType::Float((*a).max(*b))),
        (DataType::Int(a), DataType::Int(b)) => {
            holding(a.bounds().0.min(b.bounds().0), a.bounds().1.max(b.bounds().1), 1).map(DataType::Int)
        }
        (DataType::Int(int), DataType::Float(float)) | (DataType::Float(float), DataType::Int(int)) => {
            match int.size_bytes() {
                1 | 2 => Some(DataType::Float((*float).max(FloatType::F32))),
                4 => Some(DataType::Float(FloatType::F64)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The narrowest integer of at least `size_bytes` that holds `low..=high`, signed unless only unsigned does.
fn holding(low: i128, high: i128, size_bytes: u32) -> Option<IntType> {
    use IntType::{I8, I16, I32, I64, U8, U16, U32, U64};
    [I8, U8, I16, U16, I32, U32, I64, U64].into_iter().find(|int| {
        let (least, most) = int.bounds();
        int.size_bytes() >= size_bytes && least <= low && high <= most
    })
}

/// Counts of one packing: the first among the files' to which every count of all others maps exactly. Where there is
/// none, the values are stored: they are right, and a policy that was chosen is no reason to stop.
fn repacked(all: &[InFile<'_>]) -> Result<ValuePlan, CombineError> {
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

fn differs(first: &InFile<'_>, other: &InFile<'_>) -> CombineError {
    let (a, b) = (&first.variable, &other.variable);
    let named = |rule, what: &str, value: String, first_value: String| CombineError::Differs {
        rule,
        variable: a.path.clone(),
        what: what.to_owned(),
        file: other.file.to_owned(),
        value,
        first_file: first.file.to_owned(),
        first_value,
    };
    for name in PACKING_ATTRIBUTES {
        let (mine, theirs) = (a.attributes.get(name), b.attributes.get(name));
        let same = match (mine, theirs) {
            (Some(mine), Some(theirs)) => mine.same_bits(theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        };
        if !same {
            let rule = match (mine, theirs) {
                // What numbers need is decoded or repacked; texts have no such way out.
                (Some(AttributeValue::Text(_)), _) | (_, Some(AttributeValue::Text(_))) => Rule::Meaning,
                _ if name.ends_with("r") || name.ends_with("t") => Rule::Packing,
                _ => Rule::Fill,
            };
            return named(rule, name, show(theirs), show(mine));
        }
    }
    named(Rule::Dtype, "dtype", b.dtype.to_string(), a.dtype.to_string())
}

/// Puts the store's packing attributes in the place of the files'.
pub fn replace_packing(attributes: &mut Attributes, packing: &[(String, AttributeValue)]) {
    for name in PACKING_ATTRIBUTES.iter().chain(&["_Unsigned"]) {
        attributes.remove(name);
    }
    for (name, value) in packing {
        attributes.set(name, value.clone());
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

    #[test]
    fn the_narrowest_type_that_holds_a_range_is_found() {
        assert_eq!(holding(-327_680, 327_670, 2), Some(IntType::I32));
        assert_eq!(holding(0, 65_535, 2), Some(IntType::U16));
        assert_eq!(holding(-1, i128::from(u64::MAX), 1), None);
    }
}
