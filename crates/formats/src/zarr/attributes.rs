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
pub(super) const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";

/// Attributes as an object, without those that could not be read.
pub(super) fn to_json(attributes: &Attributes) -> Map<String, Value> {
    attributes.0.iter().filter_map(|(name, value)| Some((name.clone(), value_to_json(value)?))).collect()
}

/// As [`to_json`], with `_FillValue` as xarray writes it for an array of v3: floats in base64.
pub(super) fn to_json_v3(attributes: &Attributes, dtype: &DataType) -> Map<String, Value> {
    let mut object = to_json(attributes);
    if let (Some(value), Some(place)) = (attributes.get(FILL_VALUE), object.get_mut(FILL_VALUE)) {
        match (dtype, value) {
            (DataType::Float(_), AttributeValue::Numbers(numbers)) => {
                if let [value] = numbers.to_f64()[..] {
                    *place = json!(fill::base64(&value.to_le_bytes()));
                }
            }
            (DataType::Char | DataType::FixedString { .. }, AttributeValue::Text(text)) => {
                *place = json!(fill::base64(text.as_bytes()));
            }
            _ => {}
        }
    }
    object
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
            fill::from_json("", dtype, stored).ok().and_then(|bytes| typed(dtype, &bytes))
        }
        _ => None,
    };
    if let Some(value) = decoded {
        attributes.set(FILL_VALUE, value);
    }
    attributes
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
            Some(text.as_bytes().to_vec())
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
