//! Names of types in Zarr v2 (numpy's) and v3.

use frazil_model::{
    codec::ByteOrder,
    dtype::{DataType, FloatType, IntType},
    record::{Field, Record},
};
use serde_json::{Value, json};

use super::unsupported;
use crate::FormatError;

/// Most bytes of a fixed-size cell.
const CELL_LIMIT_BYTES: u64 = 1 << 20;

/// The type as v3 names it.
pub(super) fn name_v3(path: &str, dtype: &DataType) -> Result<Value, FormatError> {
    Ok(match dtype {
        DataType::Int(_) | DataType::Float(_) | DataType::Bool | DataType::String => json!(dtype.to_string()),
        DataType::Complex(FloatType::F32 | FloatType::F64) => json!(dtype.to_string()),
        DataType::Enum { base, .. } => json!(base.to_string()),
        DataType::Char => json!({"name": "null_terminated_bytes", "configuration": {"length_bytes": 1}}),
        DataType::FixedString { size_bytes } => {
            json!({"name": "null_terminated_bytes", "configuration": {"length_bytes": size_bytes}})
        }
        DataType::Record(record) => {
            let field = |field: &Field| Ok(json!([field.name, name_v3(path, &field.dtype)?]));
            let fields = record.fields.iter().map(field).collect::<Result<Vec<_>, FormatError>>()?;
            json!({"name": "structured", "configuration": {"fields": fields}})
        }
        other => return Err(unsupported(path, format!("Zarr v3 has no type for {other}"))),
    })
}

/// The type of a v3 name.
pub(super) fn parse_v3(path: &str, name: &Value) -> Result<DataType, FormatError> {
    let unknown = || unsupported(path, format!("frazil does not read the type {name}"));
    let text = name.as_str().or_else(|| name.get("name")?.as_str()).ok_or_else(unknown)?;
    Ok(match text {
        "bool" => DataType::Bool,
        "int8" => DataType::Int(IntType::I8),
        "int16" => DataType::Int(IntType::I16),
        "int32" => DataType::Int(IntType::I32),
        "int64" => DataType::Int(IntType::I64),
        "uint8" => DataType::Int(IntType::U8),
        "uint16" => DataType::Int(IntType::U16),
        "uint32" => DataType::Int(IntType::U32),
        "uint64" => DataType::Int(IntType::U64),
        "float16" => DataType::Float(FloatType::F16),
        "float32" => DataType::Float(FloatType::F32),
        "float64" => DataType::Float(FloatType::F64),
        "complex64" => DataType::Complex(FloatType::F32),
        "complex128" => DataType::Complex(FloatType::F64),
        "string" => DataType::String,
        "null_terminated_bytes" => {
            let n_bytes = name.pointer("/configuration/length_bytes").and_then(Value::as_u64);
            cell(n_bytes.ok_or_else(unknown)?).ok_or_else(unknown)?
        }
        "structured" | "struct" => {
            let fields = name.pointer("/configuration/fields").and_then(Value::as_array).ok_or_else(unknown)?;
            let field = |field: &Value| {
                // zarr-python writes pairs, the registered extension objects.
                let (name, dtype) = match field.as_array().map(Vec::as_slice) {
                    Some([name, dtype]) => (name, dtype),
                    Some(_) => return Err(unknown()),
                    None => (field.get("name").ok_or_else(unknown)?, field.get("data_type").ok_or_else(unknown)?),
                };
                Ok((name.as_str().ok_or_else(unknown)?.to_owned(), parse_v3(path, dtype)?, ByteOrder::Little))
            };
            record(fields.iter().map(field).collect::<Result<_, FormatError>>()?).ok_or_else(unknown)?
        }
        _ => return Err(unknown()),
    })
}

/// A record of fields that follow one another; `None` if one has no fixed size.
fn record(fields: Vec<(String, DataType, ByteOrder)>) -> Option<DataType> {
    let mut size_bytes = 0_u32;
    let mut placed = Vec::with_capacity(fields.len());
    for (name, dtype, byte_order) in fields {
        let offset = size_bytes;
        size_bytes = size_bytes.checked_add(dtype.size_bytes()?)?;
        placed.push(Field { name, offset, dtype, byte_order, text_end: None });
    }
    let is_sound = !placed.is_empty() && u64::from(size_bytes) <= CELL_LIMIT_BYTES;
    is_sound.then_some(DataType::Record(Record { fields: placed, size_bytes }))
}

/// The type as v2 names it: numpy's spelling with the byte order.
pub(super) fn name_v2(path: &str, dtype: &DataType, order: ByteOrder) -> Result<Value, FormatError> {
    let kind = match dtype {
        DataType::Int(int) | DataType::Enum { base: int, .. } => {
            format!("{}{}", if int.is_signed() { 'i' } else { 'u' }, int.size_bytes())
        }
        DataType::Float(float) => format!("f{}", float.size_bytes()),
        DataType::Complex(float @ (FloatType::F32 | FloatType::F64)) => format!("c{}", 2 * float.size_bytes()),
        DataType::Bool => "b1".into(),
        DataType::Char => "S1".into(),
        DataType::FixedString { size_bytes } => format!("S{size_bytes}"),
        DataType::String => "O".into(),
        DataType::Record(record) => {
            let field = |field: &Field| match field.dtype {
                // Its specification allows them; zarr-python opens none.
                DataType::Record(_) => Err(unsupported(path, "records inside records have no place in Zarr v2")),
                _ => Ok(json!([field.name, name_v2(path, &field.dtype, field.byte_order)?])),
            };
            return Ok(json!(record.fields.iter().map(field).collect::<Result<Vec<_>, FormatError>>()?));
        }
        other => return Err(unsupported(path, format!("Zarr v2 has no type for {other}"))),
    };
    let mark = match order {
        _ if dtype.swap_bytes() <= 1 => '|',
        ByteOrder::Little => '<',
        ByteOrder::Big => '>',
    };
    Ok(json!(format!("{mark}{kind}")))
}

/// The type of a v2 name, and its byte order. Objects are text: what their filters say is checked elsewhere.
pub(super) fn parse_v2(path: &str, name: &Value) -> Result<(DataType, ByteOrder), FormatError> {
    let unknown = || unsupported(path, format!("frazil does not read the type {name}"));
    if let Some(fields) = name.as_array() {
        let field = |field: &Value| match field.as_array().map(Vec::as_slice) {
            Some([name, dtype]) => {
                let (dtype, order) = parse_v2(path, dtype)?;
                Ok((name.as_str().ok_or_else(unknown)?.to_owned(), dtype, order))
            }
            _ => Err(unknown()),
        };
        let fields = fields.iter().map(field).collect::<Result<_, FormatError>>()?;
        return Ok((record(fields).ok_or_else(unknown)?, ByteOrder::Little));
    }
    let text = name.as_str().ok_or_else(unknown)?;
    let mut letters = text.chars();
    let order = match letters.next() {
        Some('<' | '|') => ByteOrder::Little,
        Some('>') => ByteOrder::Big,
        _ => return Err(unknown()),
    };
    let kind = letters.next().ok_or_else(unknown)?;
    if kind == 'O' {
        return Ok((DataType::String, ByteOrder::Little));
    }
    let n_bytes: u32 = letters.as_str().parse().map_err(|_| unknown())?;
    let dtype = match (kind, n_bytes) {
        ('b', 1) => DataType::Bool,
        ('i', _) => DataType::Int(IntType::of(n_bytes, true).ok_or_else(unknown)?),
        ('u', _) => DataType::Int(IntType::of(n_bytes, false).ok_or_else(unknown)?),
        ('f', 2) => DataType::Float(FloatType::F16),
        ('f', 4) => DataType::Float(FloatType::F32),
        ('f', 8) => DataType::Float(FloatType::F64),
        ('c', 8) => DataType::Complex(FloatType::F32),
        ('c', 16) => DataType::Complex(FloatType::F64),
        ('S', _) => cell(u64::from(n_bytes)).ok_or_else(unknown)?,
        _ => return Err(unknown()),
    };
    Ok((dtype, order))
}

/// Text in cells of `n_bytes`.
fn cell(n_bytes: u64) -> Option<DataType> {
    match n_bytes {
        1 => Some(DataType::Char),
        2..=CELL_LIMIT_BYTES => Some(DataType::FixedString { size_bytes: u32::try_from(n_bytes).ok()? }),
        _ => None,
    }
}
