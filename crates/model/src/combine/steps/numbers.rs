//! What values are: another type, values that mean "missing", and the attributes that say so.

use std::sync::Arc;

use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    combine::{
        labels::time_units,
        steps::{Doing, Failure, error::StepFault},
        values::{follow_counts, read_as_meant, replace_packing},
        view::{Values, ViewVariable},
    },
    dtype::{DataType, FloatType},
    numbers::{Number, numbers_of},
    packing::{Fill, PACKING_ATTRIBUTES, ValueRule, decoded_type},
    recipe::{
        each::{AttributeEdit, AttributeEdits, MaskRule},
        span::Spanned,
    },
    rule,
};

/// Whether attributes are edited as the file stores them or as readers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Editing {
    /// Before values are decoded.
    Stored,
    /// After that: what decides the values cannot be changed any more.
    Decoded,
}

impl Doing<'_> {
    pub(super) fn cast(&mut self, casts: &[(Spanned<String>, DataType)]) -> Result<(), Failure> {
        for (name, to) in casts {
            for number in self.named(name) {
                let variable = &mut self.view.variables[number];
                cast(variable, to).map_err(|fault| Failure { at: name.at, fault })?;
            }
        }
        Ok(())
    }

    pub(super) fn mask(&mut self, masks: &[(Spanned<String>, MaskRule)]) -> Result<(), Failure> {
        for (name, masked) in masks {
            for number in self.named(name) {
                let variable = &mut self.view.variables[number];
                mask(variable, masked).map_err(|fault| Failure { at: name.at, fault })?;
            }
        }
        Ok(())
    }

    pub(super) fn attributes(&mut self, edits: &[AttributeEdits], editing: Editing) -> Result<(), Failure> {
        for AttributeEdits { of, edits } in edits {
            let Some(name) = of else {
                for group in self.view.groups.iter_mut().filter(|group| group.path == "/") {
                    edits.iter().for_each(|(attribute, edit)| set(&mut group.attributes, attribute, edit.clone()));
                }
                continue;
            };
            for number in self.named(name) {
                let variable = &mut self.view.variables[number];
                for (attribute, edit) in edits {
                    let edit = checked(variable, attribute, edit, editing)
                        .map_err(|fault| Failure { at: attribute.at, fault })?;
                    set(&mut variable.attributes, attribute, edit);
                }
            }
        }
        Ok(())
    }
}

fn set(attributes: &mut Attributes, name: &str, edit: AttributeEdit) {
    match edit {
        AttributeEdit::Set(value) => attributes.set(name, value),
        AttributeEdit::Remove => {
            attributes.remove(name);
        }
    }
}

/// The edit as it is written to this variable.
fn checked(
    variable: &ViewVariable,
    attribute: &str,
    edit: &AttributeEdit,
    editing: Editing,
) -> Result<AttributeEdit, StepFault> {
    let is_packing = PACKING_ATTRIBUTES.contains(&attribute) || attribute == "_Unsigned";
    let is_time = matches!(attribute, "units" | "calendar") && time_units(variable).is_some();
    if editing == Editing::Decoded && (is_packing || is_time) {
        let name = variable.path.trim_start_matches('/').to_owned();
        return Err(StepFault::DecodesValues { name, attribute: attribute.to_owned() });
    }
    let AttributeEdit::Set(AttributeValue::Numbers(numbers)) = edit else { return Ok(edit.clone()) };
    if !matches!(attribute, "_FillValue" | "missing_value" | "valid_min" | "valid_max" | "valid_range") {
        return Ok(edit.clone());
    }
    // A mark has the type of what it marks.
    let wrong = || StepFault::WrongFill {
        name: variable.path.trim_start_matches('/').to_owned(),
        attribute: attribute.to_owned(),
        value: format!("{:?}", numbers.to_f64()),
        dtype: variable.dtype.to_string(),
    };
    let mut bytes = Vec::new();
    let rule = ValueRule::Cast { from: numbers.dtype(), to: variable.dtype.clone() };
    rule::apply(&rule, &numbers.to_le_bytes(), &mut bytes).map_err(|_| wrong())?;
    let numbers = Numbers::of(&variable.dtype, &bytes).ok_or_else(wrong)?;
    Ok(AttributeEdit::Set(AttributeValue::Numbers(numbers)))
}

/// Puts a rule behind the variable's own; values that are held follow at once.
fn then(variable: &mut ViewVariable, rule: &ValueRule, dtype: DataType) -> Result<(), String> {
    if let Some(values) = &variable.values {
        let Values::Fixed(bytes) = values.as_ref() else { return Err("it holds texts".to_owned()) };
        let mut after = Vec::new();
        rule::apply(rule, bytes, &mut after).map_err(|error| error.to_string())?;
        variable.values = Some(Arc::new(Values::Fixed(after.into())));
    }
    variable.rule = variable.rule.then(rule);
    variable.dtype = dtype;
    Ok(())
}

/// Values in another type. Packed counts become the values they stand for first.
fn cast(variable: &mut ViewVariable, to: &DataType) -> Result<(), StepFault> {
    if !variable.packing().scales() {
        read_as_meant(variable);
        if variable.dtype == *to {
            return Ok(());
        }
    }
    let packing = variable.packing();
    let fails = |variable: &ViewVariable, reason: String| StepFault::Values {
        name: variable.path.trim_start_matches('/').to_owned(),
        what: "cast",
        reason,
    };
    if !matches!(variable.dtype, DataType::Int(_) | DataType::Float(_)) {
        return Err(fails(variable, format!("it is {}, no integer and no float", variable.dtype)));
    }
    let to_float = if let DataType::Float(float) = to { Some(*float) } else { None };
    let is_decoded =
        packing.scales() || packing.unsigned.is_some() || (!packing.fills.is_empty() && to_float.is_some());
    if let (true, Some(decoded)) = (is_decoded, decoded_type(&variable.dtype, &packing)) {
        let (from, values) = (variable.dtype.clone(), DataType::Float(decoded));
        let rule = ValueRule::Decode { from: from.clone(), packing, compute: decoded, to: decoded };
        then(variable, &rule, values.clone()).map_err(|reason| fails(variable, reason))?;
        follow_counts(&mut variable.attributes, &rule, &from, &values);
        replace_packing(&mut variable.attributes, &[]);
    }
    let rule = ValueRule::Cast { from: variable.dtype.clone(), to: to.clone() };
    if variable.dtype != *to {
        follow_counts(&mut variable.attributes, &rule, &variable.dtype, to);
        then(variable, &rule, to.clone()).map_err(|reason| fails(variable, reason))?;
    }
    if is_decoded {
        if let Some(nan) = to_float.map(nan) {
            variable.attributes.set("_FillValue", AttributeValue::Numbers(nan));
        }
        return Ok(());
    }
    for name in ["_FillValue", "missing_value"] {
        let Some(numbers) = variable.attributes.numbers(name).cloned() else { continue };
        let mut bytes = Vec::new();
        let rule = ValueRule::Cast { from: numbers.dtype(), to: to.clone() };
        let marks = rule::apply(&rule, &numbers.to_le_bytes(), &mut bytes).ok().and_then(|()| Numbers::of(to, &bytes));
        let marks = marks.ok_or_else(|| StepFault::WrongFill {
            name: variable.path.trim_start_matches('/').to_owned(),
            attribute: name.to_owned(),
            value: format!("{:?}", numbers.to_f64()),
            dtype: to.to_string(),
        })?;
        variable.attributes.set(name, AttributeValue::Numbers(marks));
    }
    Ok(())
}

#[allow(clippy::missing_const_for_fn)]
fn nan(float: FloatType) -> Numbers {
    match float {
        FloatType::F64 => Numbers::F64(vec![f64::NAN]),
        FloatType::F32 | FloatType::F16 => Numbers::F32(vec![f32::NAN]),
    }
}

/// Values that become missing: NaN, or the count that means it.
fn mask(variable: &mut ViewVariable, masked: &MaskRule) -> Result<(), StepFault> {
    let packing = variable.packing();
    let name = variable.path.trim_start_matches('/').to_owned();
    let no_missing =
        |variable: &ViewVariable| StepFault::NoMissing { name: name.clone(), dtype: variable.dtype.to_string() };
    // What reads as true or false is never missing.
    if variable.attributes.text("dtype") == Some("bool") {
        return Err(no_missing(variable));
    }
    let fill = match (packing.fills.first(), &variable.dtype) {
        (Some(fill), _) => *fill,
        (None, DataType::Float(_)) => Fill::Float(f64::NAN),
        // Where one value means "missing", saying so is enough: no value changes.
        (None, DataType::Int(int)) if !packing.scales() => {
            #[allow(clippy::cast_possible_truncation)] // it is whole
            let mark = masked
                .values
                .first()
                .filter(|value| value.fract() == 0.0 && value.abs() < 1e18)
                .map(|value| *value as i128);
            let mark = mark
                .filter(|mark| (int.bounds().0..=int.bounds().1).contains(mark))
                .ok_or_else(|| no_missing(variable))?;
            let mut bytes = Vec::new();
            crate::numbers::push_integer(*int, mark, &mut bytes).ok_or_else(|| no_missing(variable))?;
            let numbers = Numbers::of(&variable.dtype, &bytes).ok_or_else(|| no_missing(variable))?;
            variable.attributes.set("_FillValue", AttributeValue::Numbers(numbers));
            if masked.values.len() == 1 && masked.below.is_none() && masked.above.is_none() {
                return Ok(());
            }
            Fill::Integer(mark)
        }
        _ => return Err(no_missing(variable)),
    };
    let missing = element(&variable.dtype, fill).ok_or_else(|| no_missing(variable))?;
    let rule = ValueRule::Mask { dtype: variable.dtype.clone(), packing, masked: masked.clone(), missing };
    let dtype = variable.dtype.clone();
    then(variable, &rule, dtype).map_err(|reason| StepFault::Values { name, what: "masked", reason })
}

/// A fill mark as an element of a type.
fn element(dtype: &DataType, fill: Fill) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match (dtype, fill) {
        (DataType::Int(int), Fill::Integer(value)) => crate::numbers::push_integer(*int, value, &mut bytes)?,
        #[allow(clippy::cast_possible_truncation)] // it is whole
        (DataType::Int(int), Fill::Float(value)) if value.fract() == 0.0 && value.abs() < 1e18 => {
            crate::numbers::push_integer(*int, value as i128, &mut bytes)?;
        }
        (DataType::Float(float), Fill::Float(value)) => crate::numbers::push_float(*float, value, &mut bytes),
        #[allow(clippy::cast_precision_loss)]
        (DataType::Float(float), Fill::Integer(value)) => crate::numbers::push_float(*float, value as f64, &mut bytes),
        _ => return None,
    }
    Some(bytes)
}

/// The decoded values of what is held, as `float64`.
pub(super) fn decoded(variable: &ViewVariable) -> Option<Vec<f64>> {
    let Values::Fixed(bytes) = variable.values.as_deref()? else { return None };
    let mut values = Vec::new();
    match to_float64(variable)? {
        ValueRule::Verbatim => values.extend_from_slice(bytes),
        rule => rule::apply(&rule, bytes, &mut values).ok()?,
    }
    let numbers = numbers_of(&DataType::Float(FloatType::F64), &values)?;
    Some(numbers.into_iter().map(|number| if let Number::Float(value) = number { value } else { f64::NAN }).collect())
}

/// The rule from a variable's elements, after its own rule, to the `float64` that xarray would compute with.
pub(super) fn to_float64(variable: &ViewVariable) -> Option<ValueRule> {
    let packing = variable.packing();
    match &variable.dtype {
        DataType::Float(FloatType::F64) if packing.fills.is_empty() && !packing.scales() => Some(ValueRule::Verbatim),
        DataType::Int(_) | DataType::Float(_) => {
            let plain = if let DataType::Float(float) = variable.dtype { float } else { FloatType::F64 };
            let compute = decoded_type(&variable.dtype, &packing).unwrap_or(plain);
            Some(ValueRule::Decode { from: variable.dtype.clone(), packing, compute, to: FloatType::F64 })
        }
        _ => None,
    }
}
