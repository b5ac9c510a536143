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
    counts::Calibration,
    dtype::{DataType, FloatType, IntType},
    numbers::push_integer,
    packing::{PACKING_ATTRIBUTES, Packing, Signedness, ValueRule, decoded_type, survives_json},
    rule::apply,
};

mod repack;

use repack::repacked;

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
            && is_packed_alike(first, other, policies)
            // A store may have no word for a text that means "missing".
            && (policies.follows_store || missing_texts(other) == missing_texts(first))
    };
    let Some(other) = all.iter().find(|other| !same(other)) else {
        return Ok(uniform(all, first, &packing, policies));
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
        return Err(no_common_type(first, other));
    }
    if only_dtype && policies.differ.dtype == DifferDtype::Promote {
        return widened(all, first, other);
    }
    if only_dtype && widened(all, first, other).is_err() {
        return Err(no_common_type(first, other));
    }
    if !all.iter().any(is_packed) {
        return Err(differs(first, other));
    }
    match policies.differ.packing {
        DifferPacking::Error => Err(differs(first, other)),
        DifferPacking::Decode => Ok(decoded(all, "the files are packed differently")),
        // Counts with sign and counts without have no factors that could be the same: they are numbers of two types.
        DifferPacking::Repack if policies.differ_is_unasked && only_signs(all) => Err(differs(first, other)),
        DifferPacking::Repack => repacked(all),
    }
}

/// Whether counts of two files mean the same. What a store says in JSON is what a file says if readers of JSON compute the
/// same of it.
fn is_packed_alike(first: &InFile<'_>, other: &InFile<'_>, policies: &Policies) -> bool {
    let (mine, theirs) = (first.variable.packing(), other.variable.packing());
    let is_said_alike = policies.follows_store
        && survives_json(&other.variable.dtype, &theirs)
        && theirs.through_json().same_as(&mine.through_json());
    is_said_alike || theirs.same_as(&mine)
}

/// Whether files differ in nothing but whether their counts have a sign.
fn only_signs(all: &[InFile<'_>]) -> bool {
    let packing = |one: &InFile<'_>| one.variable.packing();
    let signs: BTreeSet<String> = all.iter().map(|one| format!("{:?}", packing(one).unsigned)).collect();
    signs.len() > 1 && all.iter().all(|one| packing(one).scale.is_none() && packing(one).offset.is_none())
}

/// The texts that mean "missing".
fn missing_texts<'a>(one: &InFile<'a>) -> BTreeSet<&'a str> {
    ["_FillValue", "missing_value"].iter().filter_map(|name| one.variable.attributes.text(name)).collect()
}

/// Files of one packing stay packed, unless JSON would change what a reader computes.
fn uniform(all: &[InFile<'_>], first: &InFile<'_>, packing: &Packing, policies: &Policies) -> ValuePlan {
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
    if policies.keeps_counts
        && let Some((dtype, packing)) = as_counts(first.variable)
    {
        let (rules, note) = (vec![ValueRule::Verbatim; all.len()], Some(AS_COUNTS.to_owned()));
        return ValuePlan { dtype, packing, rules, note };
    }
    let json = decoded_type(&first.variable.dtype, &packing.through_json());
    decoded(all, if decoded_type(&first.variable.dtype, packing) == json { OTHER_STEPS } else { OTHER_TYPE })
}

const OTHER_TYPE: &str =
    "its packing attributes are float32, and JSON would make them float64: readers would get other values";

const OTHER_STEPS: &str = "its packing attributes are float64 and it is not, and JSON's numbers would take on its type: \
                           readers would get other values";

const AS_INTEGERS: &str = "stored as the integers that readers compute: the integer type of its scale_factor decides \
                           theirs, and JSON would make it int64";

const AS_COUNTS: &str = "its counts stay as they are, and numcodecs' `fixedscaleoffset` makes float32 values of them: JSON \
                         would make its packing attributes float64";

/// Attributes to be set.
type NamedValues = Vec<(String, AttributeValue)>;

/// The type of counts that a codec makes values of, and their packing where it is not that of the file: with `_Unsigned` the
/// bits stay, and are said to be what they are read as.
fn as_counts(variable: &ViewVariable) -> Option<(DataType, Option<NamedValues>)> {
    let packing = variable.packing();
    if packing.unsigned.is_none() {
        return Calibration::of(&variable.dtype, &packing).map(|_| (variable.dtype.clone(), None));
    }
    let dtype = meant_type(&variable.dtype, packing.unsigned);
    let factors = ["scale_factor", "add_offset"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), variable.attributes.get(name)?.clone())));
    let fills = meant_counts(variable)
        .into_iter()
        .filter(|(name, _)| PACKING_ATTRIBUTES.contains(&name.as_str()))
        .map(|(name, values)| Some((name, attribute_of(&dtype, &values)?)))
        .collect::<Option<Vec<_>>>()?;
    let said: Vec<_> = factors.chain(fills).collect();
    let mut attributes = Attributes::default();
    said.iter().for_each(|(name, value)| attributes.set(name, value.clone()));
    Calibration::of(&dtype, &Packing::of(&attributes)).map(|_| (dtype, Some(said)))
}

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

/// All files in the narrowest type that holds what their numbers mean.
fn widened(all: &[InFile<'_>], first: &InFile<'_>, other: &InFile<'_>) -> Result<ValuePlan, CombineError> {
    let survives = |one: &InFile<'_>| survives_json(&one.variable.dtype, &one.variable.packing());
    if !all.iter().all(survives) {
        return Ok(decoded(all, "the files differ in dtype, and JSON would make their float32 packing float64"));
    }
    let meant = |one: &InFile<'_>| meant_type(&one.variable.dtype, one.variable.packing().unsigned);
    let to = all
        .iter()
        .map(meant)
        .try_fold(meant(first), |wide, next| wider(&wide, &next))
        .ok_or_else(|| no_common_type(first, other))?;
    let rules = all
        .iter()
        .map(|one| {
            let from = meant(one);
            if from == to { ValueRule::Verbatim } else { ValueRule::Widen { from, to: to.clone() } }
        })
        .collect();
    let packing = match first.variable.packing().unsigned {
        None => None,
        Some(_) => {
            let counts = meant_counts(first.variable);
            if all.iter().any(|one| meant_counts(one.variable) != counts) {
                return Err(no_common_type(first, other));
            }
            let factors = ["scale_factor", "add_offset"]
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), first.variable.attributes.get(name)?.clone())));
            let counts = counts
                .into_iter()
                .map(|(name, values)| Some((name, attribute_of(&to, &values)?)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| no_common_type(first, other))?;
            Some(factors.chain(counts).collect())
        }
    };
    Ok(ValuePlan { note: Some(format!("stored as {to}: the files differ in dtype")), dtype: to, packing, rules })
}

/// Attributes whose numbers are counts of their variable.
const COUNT_ATTRIBUTES: [&str; 7] =
    ["_FillValue", "missing_value", "flag_values", "flag_masks", "valid_min", "valid_max", "valid_range"];

/// The type that `_Unsigned` makes of stored integers.
fn meant_type(stored: &DataType, unsigned: Option<Signedness>) -> DataType {
    use IntType::{I8, I16, I32, I64, U8, U16, U32, U64};
    let (DataType::Int(int), Some(signedness)) = (stored, unsigned) else { return stored.clone() };
    DataType::Int(match (int.size_bytes(), signedness) {
        (1, Signedness::Unsigned) => U8,
        (1, Signedness::Signed) => I8,
        (2, Signedness::Unsigned) => U16,
        (2, Signedness::Signed) => I16,
        (4, Signedness::Unsigned) => U32,
        (4, Signedness::Signed) => I32,
        (_, Signedness::Unsigned) => U64,
        (_, Signedness::Signed) => I64,
    })
}

/// Attributes that are counts, of a variable with `_Unsigned`: read without or with sign as its counts are.
fn meant_counts(variable: &ViewVariable) -> Vec<(String, Vec<i128>)> {
    let DataType::Int(int) = meant_type(&variable.dtype, variable.packing().unsigned) else { return Vec::new() };
    let (least, most) = int.bounds();
    let span = most - least + 1;
    // A number that no count has means none of them, whatever the sign.
    let is_count = |value: i128| (-span / 2..span).contains(&value);
    let meant = |value: i128| if is_count(value) { (value - least).rem_euclid(span) + least } else { value };
    COUNT_ATTRIBUTES
        .iter()
        .filter_map(|name| {
            let values = variable.attributes.numbers(name)?.to_integers()?;
            Some(((*name).to_owned(), values.into_iter().map(meant).collect()))
        })
        .collect()
}

fn attribute_of(dtype: &DataType, values: &[i128]) -> Option<AttributeValue> {
    let DataType::Int(int) = dtype else {
        #[allow(clippy::cast_precision_loss)] // the type was chosen to hold them
        return Some(AttributeValue::Numbers(Numbers::F64(values.iter().map(|value| *value as f64).collect())));
    };
    let mut bytes = Vec::new();
    values.iter().try_for_each(|value| push_integer(*int, *value, &mut bytes))?;
    Numbers::of(dtype, &bytes).map(AttributeValue::Numbers)
}

fn no_common_type(first: &InFile<'_>, other: &InFile<'_>) -> CombineError {
    let CombineError::Differs { rule: Rule::Dtype, variable, what, file, value, first_file, first_value } =
        differs(first, other)
    else {
        return differs(first, other);
    };
    CombineError::Differs { rule: Rule::NoCommonDtype, variable, what, file, value, first_file, first_value }
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
        // Fill values have the variable's type: that those differ is said of the types.
        let is_fill = name.starts_with('_') || name.starts_with('m');
        let same = match (mine, theirs) {
            (Some(mine), Some(theirs)) => mine.same_bits(theirs) || (is_fill && show(Some(mine)) == show(Some(theirs))),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        };
        if !same {
            let rule = match (mine, theirs) {
                // What numbers need is decoded or repacked; texts have no such way out.
                (Some(AttributeValue::Text(_)), _) | (_, Some(AttributeValue::Text(_))) => Rule::Meaning,
                _ if is_fill => Rule::Fill,
                _ => Rule::Packing,
            };
            let (value, first_value) = (show(theirs), show(mine));
            let typed = |value: &str, attribute: Option<&AttributeValue>| match attribute {
                Some(AttributeValue::Numbers(numbers)) => format!("{value} ({})", numbers.type_name()),
                _ => value.to_owned(),
            };
            if value == first_value {
                return named(rule, name, typed(&value, theirs), typed(&first_value, mine));
            }
            return named(rule, name, value, first_value);
        }
    }
    if a.packing().unsigned != b.packing().unsigned {
        let (mine, theirs) = (a.attributes.get("_Unsigned"), b.attributes.get("_Unsigned"));
        return named(Rule::Packing, "_Unsigned", show(theirs), show(mine));
    }
    named(Rule::Dtype, "dtype", b.dtype.to_string(), a.dtype.to_string())
}

/// Attributes that speak of counts, beside those that make values of them (CF 1.11, sections 2.5.1 and 3.5).
const OF_COUNTS: [&str; 5] = ["valid_min", "valid_max", "valid_range", "flag_values", "flag_masks"];

/// Attributes whose numbers are counts of type `from`, after the rule that makes numbers of type `to` of these.
fn counts_after(
    rule: &ValueRule,
    from: &DataType,
    to: &DataType,
    attributes: &Attributes,
    name: &str,
) -> Option<Numbers> {
    let numbers = attributes.numbers(name)?;
    // Of another type they are values already.
    if numbers.dtype() != *from || *rule == ValueRule::Verbatim {
        return Some(numbers.clone());
    }
    let mut bytes = Vec::new();
    apply(rule, &numbers.to_le_bytes(), &mut bytes).ok()?;
    Numbers::of(to, &bytes)
}

/// Lets attributes say of the store's numbers what they said of the files' counts. Answers the names of those that are left
/// out, since files mean other values by them or the store has no word for them.
pub fn replace_counts(attributes: &mut Attributes, all: &[InFile<'_>], plan: &ValuePlan) -> Vec<&'static str> {
    let is_rewritten = plan.rules.iter().any(|rule| *rule != ValueRule::Verbatim);
    let mut left_out = Vec::new();
    let is_decided = |name: &str| plan.packing.iter().flatten().any(|(decided, _)| decided == name);
    let names: Vec<_> = OF_COUNTS
        .into_iter()
        .filter(|name| is_rewritten && attributes.numbers(name).is_some() && !is_decided(name))
        .collect();
    for name in names {
        let mut each = all
            .iter()
            .zip(&plan.rules)
            .map(|(one, rule)| counts_after(rule, &one.variable.dtype, &plan.dtype, &one.variable.attributes, name));
        let first = each.next().flatten();
        match first {
            Some(numbers) if each.all(|other| other.as_ref() == Some(&numbers)) => {
                attributes.set(name, AttributeValue::Numbers(numbers));
            }
            _ => {
                attributes.remove(name);
                left_out.push(name);
            }
        }
    }
    left_out
}

/// Reads integers with the sign that `_Unsigned` gives them, and says so by their type.
pub fn read_as_meant(variable: &mut ViewVariable) {
    let packing = variable.packing();
    if packing.unsigned.is_none() {
        return;
    }
    let (counts, dtype) = (meant_counts(variable), meant_type(&variable.dtype, packing.unsigned));
    variable.attributes.remove("_Unsigned");
    for (name, values) in counts {
        if let Some(value) = attribute_of(&dtype, &values) {
            variable.attributes.set(&name, value);
        }
    }
    variable.dtype = dtype;
}

/// Lets attributes say of numbers of type `to` what they said of the counts that `rule` made them of.
pub fn follow_counts(attributes: &mut Attributes, rule: &ValueRule, from: &DataType, to: &DataType) {
    let names: Vec<_> = OF_COUNTS.into_iter().filter(|name| attributes.numbers(name).is_some()).collect();
    for name in names {
        match counts_after(rule, from, to, attributes, name) {
            Some(numbers) => attributes.set(name, AttributeValue::Numbers(numbers)),
            None => {
                attributes.remove(name);
            }
        }
    }
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

    #[test]
    fn the_narrowest_type_that_holds_a_range_is_found() {
        assert_eq!(holding(-327_680, 327_670, 2), Some(IntType::I32));
        assert_eq!(holding(0, 65_535, 2), Some(IntType::U16));
        assert_eq!(holding(-1, i128::from(u64::MAX), 1), None);
    }
}
