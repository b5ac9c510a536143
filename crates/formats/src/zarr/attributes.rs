//! Attributes as JSON, the way stock xarray writes and reads them.
//!
//! JSON knows one kind of integer and one of float, so narrower types widen on the way back. It promises that values
//! survive: integers to the last bit, NaN and infinities, text verbatim.

use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    dtype::{DataType, FloatType, IntType},
};
use serde_json::{Map, Value, json};

use super::{fill, json as documents};

pub(super) const FILL_VALUE: &str = "_FillValue";
pub(super) const MISSING_VALUE: &str = "missing_value";
pub(super) const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";

/// Attributes as an object, without those that could not be read.
pub(super) fn to_json(attributes: &Attributes) -> Map<String, Value> {
    attributes.0.iter().filter_map(|(name, value)| Some((name.clone(), value_to_json(value)?))).collect()
}

/// What becomes of the attribute `_FillValue`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Missing {
    /// There is none.
    Unsaid,
    /// It is said where stock xarray looks for it.
    Fill(Value),
    /// xarray cannot read it there; as `missing_value` it masks the same elements.
    Elsewhere(Value),
    /// xarray could not open an array that says it.
    Lost,
}

/// As [`to_json`], with `_FillValue` as xarray writes it for an array of v3.
pub(super) fn to_json_v3(attributes: &Attributes, dtype: &DataType) -> Map<String, Value> {
    with_missing(attributes, missing_v3(attributes, dtype))
}

/// As [`to_json`], without `_FillValue`, which a v2 array says by its `fill_value`.
pub(super) fn to_json_v2(attributes: &Attributes, dtype: &DataType) -> Map<String, Value> {
    let missing = missing_v2(attributes, dtype);
    with_missing(attributes, if matches!(missing, Missing::Fill(_)) { Missing::Lost } else { missing })
}

fn with_missing(attributes: &Attributes, missing: Missing) -> Map<String, Value> {
    let mut object = to_json(attributes);
    match missing {
        Missing::Fill(value) => {
            object.insert(FILL_VALUE.into(), value);
        }
        Missing::Elsewhere(value) => {
            object.shift_remove(FILL_VALUE);
            object.insert(MISSING_VALUE.into(), value);
        }
        Missing::Lost | Missing::Unsaid => {
            object.shift_remove(FILL_VALUE);
        }
    }
    object
}

/// How an array of v3 says its `_FillValue`: floats in base64, integers as they are. xarray decodes no other type.
pub(super) fn missing_v3(attributes: &Attributes, dtype: &DataType) -> Missing {
    let Some(value) = attributes.get(FILL_VALUE) else { return Missing::Unsaid };
    match (dtype, value) {
        (DataType::Float(_), AttributeValue::Numbers(numbers)) => match numbers.to_f64()[..] {
            [value] => Missing::Fill(json!(fill::base64(&value.to_le_bytes()))),
            _ => elsewhere(attributes, value),
        },
        (DataType::Int(_) | DataType::Bool | DataType::Enum { .. }, AttributeValue::Numbers(numbers)) => {
            match (numbers.to_integers().as_deref(), &numbers.to_f64()[..]) {
                (Some([integer]), _) => Missing::Fill(integer_v3(*integer, numbers, attributes, dtype)),
                (None, [float]) if float.fract() == 0.0 => Missing::Fill(numbers_to_json(numbers)),
                _ => elsewhere(attributes, value),
            }
        }
        (DataType::String, AttributeValue::Text(_)) => elsewhere(attributes, value),
        _ => Missing::Lost,
    }
}

/// Unsigned numbers that `_Unsigned = "false"` makes signed are masked by a signed number, or xarray cannot read it.
fn integer_v3(integer: i128, numbers: &Numbers, attributes: &Attributes, dtype: &DataType) -> Value {
    let signed = match dtype {
        DataType::Int(int) if attributes.text("_Unsigned") == Some("false") => IntType::of(int.size_bytes(), true),
        _ => None,
    };
    let wrapped = signed.and_then(|int| {
        let (_, largest) = int.bounds();
        (integer > largest && integer <= 2 * largest + 1).then_some(integer - 2 * (largest + 1))
    });
    match wrapped.and_then(|wrapped| i64::try_from(wrapped).ok()) {
        Some(wrapped) => json!(wrapped),
        None => numbers_to_json(numbers),
    }
}

/// How an array of v2 says its `_FillValue`: as the `fill_value`, which is one element.
pub(super) fn missing_v2(attributes: &Attributes, dtype: &DataType) -> Missing {
    let Some(value) = attributes.get(FILL_VALUE) else { return Missing::Unsaid };
    match fill_bytes(attributes, dtype).and_then(|bytes| fill::to_json("", dtype, &bytes).ok()) {
        Some(value) => Missing::Fill(value),
        None => match (dtype, value) {
            (DataType::Int(_) | DataType::Float(_), AttributeValue::Numbers(_)) => elsewhere(attributes, value),
            _ => Missing::Lost,
        },
    }
}

/// As `missing_value`, unless that says something already, or no element can equal it.
fn elsewhere(attributes: &Attributes, value: &AttributeValue) -> Missing {
    let is_empty = match value {
        AttributeValue::Numbers(numbers) => !numbers.to_f64().iter().any(|value| value.is_finite()),
        _ => false,
    };
    match value_to_json(value) {
        Some(value) if !is_empty && attributes.get(MISSING_VALUE).is_none() => Missing::Elsewhere(value),
        _ => Missing::Lost,
    }
}

fn value_to_json(value: &AttributeValue) -> Option<Value> {
    Some(match value {
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Texts(texts) => json!(texts),
        AttributeValue::Numbers(numbers) => numbers_to_json(numbers),
        AttributeValue::Unread(_) => return None,
    })
}

fn numbers_to_json(numbers: &Numbers) -> Value {
    let mut values: Vec<Value> = match numbers {
        Numbers::I8(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::I16(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::I32(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::I64(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::U8(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::U16(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::U32(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::U64(values) => values.iter().map(|value| json!(value)).collect(),
        Numbers::F32(values) => values.iter().map(|value| documents::float(f64::from(*value))).collect(),
        Numbers::F64(values) => values.iter().map(|value| documents::float(*value)).collect(),
    };
    if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
}

/// The attributes of an object.
pub(super) fn from_json(object: Option<&Value>) -> Attributes {
    let entries = object.and_then(Value::as_object).into_iter().flatten();
    Attributes(entries.map(|(name, value)| (name.clone(), value_from_json(value))).collect())
}

/// As [`from_json`], with `_FillValue` in the type of the array.
pub(super) fn from_json_v3(object: Option<&Value>, dtype: &DataType) -> Attributes {
    let mut attributes = from_json(object);
    let Some(stored) = object.and_then(|object| object.get(FILL_VALUE)) else { return attributes };
    let decoded = match dtype {
        DataType::Float(float) => {
            let bytes = stored.as_str().and_then(fill::from_base64);
            let value = match bytes.and_then(|bytes| Some(f64::from_le_bytes(bytes.try_into().ok()?))) {
                Some(value) => Some(value),
                None => documents::as_float(stored),
            };
            value.and_then(|value| typed(dtype, &fill::from_f64(*float, value)))
        }
        DataType::Int(_) | DataType::Char | DataType::FixedString { .. } => {
            let wrapped = unwrapped(stored, &attributes, dtype);
            fill::from_json("", dtype, wrapped.as_ref().unwrap_or(stored)).ok().and_then(|bytes| typed(dtype, &bytes))
        }
        _ => None,
    };
    if let Some(value) = decoded {
        attributes.set(FILL_VALUE, value);
    }
    attributes
}

/// The unsigned number that [`integer_v3`] wrote as a signed one.
fn unwrapped(stored: &Value, attributes: &Attributes, dtype: &DataType) -> Option<Value> {
    let DataType::Int(int) = dtype else { return None };
    let negative = stored.as_i64().filter(|value| *value < 0)?;
    if int.is_signed() || attributes.text("_Unsigned") != Some("false") {
        return None;
    }
    u64::try_from(i128::from(negative) + int.bounds().1 + 1).ok().map(|value| json!(value))
}

/// One value of an array's type.
pub(super) fn typed(dtype: &DataType, bytes: &[u8]) -> Option<AttributeValue> {
    Some(AttributeValue::Numbers(match dtype {
        DataType::Int(IntType::I8) => Numbers::I8(vec![i8::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::I16) => Numbers::I16(vec![i16::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::I32) => Numbers::I32(vec![i32::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::I64) => Numbers::I64(vec![i64::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::U8) => Numbers::U8(vec![u8::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::U16) => Numbers::U16(vec![u16::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::U32) => Numbers::U32(vec![u32::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Int(IntType::U64) => Numbers::U64(vec![u64::from_le_bytes(bytes.try_into().ok()?)]),
        #[allow(clippy::cast_possible_truncation)]
        DataType::Float(FloatType::F16) => Numbers::F32(vec![fill::to_f64(FloatType::F16, bytes)? as f32]),
        DataType::Float(FloatType::F32) => Numbers::F32(vec![f32::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Float(FloatType::F64) => Numbers::F64(vec![f64::from_le_bytes(bytes.try_into().ok()?)]),
        DataType::Char | DataType::FixedString { .. } | DataType::String => {
            let text = std::str::from_utf8(bytes).ok()?;
            return Some(AttributeValue::Text(text.trim_end_matches('\0').to_owned()));
        }
        _ => return None,
    }))
}

/// `_FillValue` as the bytes of an element; `None` if it is not one value that the type holds exactly.
pub(super) fn fill_bytes(attributes: &Attributes, dtype: &DataType) -> Option<Vec<u8>> {
    match (attributes.get(FILL_VALUE)?, dtype) {
        (AttributeValue::Text(text), DataType::Char | DataType::FixedString { .. } | DataType::String) => {
            // A cell never holds a longer text; its beginning would mask others.
            let fits = dtype.size_bytes().is_none_or(|size_bytes| text.len() <= size_bytes as usize);
            fits.then(|| text.as_bytes().to_vec())
        }
        (AttributeValue::Numbers(numbers), DataType::Float(float)) => {
            let [value] = numbers.to_f64()[..] else { return None };
            let bytes = fill::from_f64(*float, value);
            let back = fill::to_f64(*float, &bytes)?;
            (back == value || value.is_nan()).then_some(bytes)
        }
        (AttributeValue::Numbers(numbers), DataType::Int(_) | DataType::Bool | DataType::Enum { .. }) => {
            if numbers.len() != 1 {
                return None;
            }
            fill::from_json("", dtype, &numbers_to_json(numbers)).ok()
        }
        _ => None,
    }
}

fn value_from_json(value: &Value) -> AttributeValue {
    match value {
        Value::String(text) => AttributeValue::Text(text.clone()),
        Value::Array(values) => list_from_json(values),
        other => number_list(std::slice::from_ref(other)).map_or_else(
            || AttributeValue::Unread(format!("JSON that netCDF has no type for: {}", kind_of(other))),
            AttributeValue::Numbers,
        ),
    }
}

fn list_from_json(values: &[Value]) -> AttributeValue {
    let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    match (texts, number_list(values)) {
        (Some(texts), _) => AttributeValue::Texts(texts),
        (None, Some(numbers)) => AttributeValue::Numbers(numbers),
        (None, None) => AttributeValue::Unread("JSON that netCDF has no type for: a list of several kinds".into()),
    }
}

/// Integers if all are, else floats; `None` if one is no number.
fn number_list(values: &[Value]) -> Option<Numbers> {
    if let Some(integers) = values.iter().map(Value::as_i64).collect::<Option<Vec<_>>>() {
        return Some(Numbers::I64(integers));
    }
    if let Some(integers) = values.iter().map(Value::as_u64).collect::<Option<Vec<_>>>() {
        return Some(Numbers::U64(integers));
    }
    values.iter().map(documents::as_float).collect::<Option<Vec<_>>>().map(Numbers::F64)
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Object(_) => "an object",
        Value::Number(_) | Value::String(_) | Value::Array(_) => "a value",
    }
}
