//! Fill values: little-endian bytes in memory, numbers, names or base64 in documents.
//!
//! It promises that the bits survive: a NaN that is not the usual one is written by its bits in v3.

use frazil_model::dtype::{DataType, FloatType, IntType};
use serde_json::{Value, json};

use super::{json as documents, unsupported};
use crate::FormatError;

/// The `fill_value` for `bytes`. v2 has no spelling for unusual NaNs; v3 has.
pub(super) fn to_json(path: &str, dtype: &DataType, bytes: &[u8]) -> Result<Value, FormatError> {
    let wrong = || unsupported(path, format!("its fill value is not one {dtype}"));
    Ok(match dtype {
        DataType::Bool => json!(*bytes.first().ok_or_else(wrong)? != 0),
        DataType::Int(int) | DataType::Enum { base: int, .. } => integer(*int, bytes).ok_or_else(wrong)?,
        DataType::Float(float) => number(*float, bytes).ok_or_else(wrong)?,
        DataType::Complex(float) => {
            let (real, imaginary) = bytes.split_at_checked(float.size_bytes() as usize).ok_or_else(wrong)?;
            json!([number(*float, real).ok_or_else(wrong)?, number(*float, imaginary).ok_or_else(wrong)?])
        }
        DataType::Char | DataType::FixedString { .. } => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            json!(base64(bytes.get(..end).unwrap_or_default()))
        }
        DataType::String => json!(std::str::from_utf8(bytes).map_err(|_| wrong())?.trim_end_matches('\0')),
        DataType::Record(_) => json!(base64(bytes)),
        DataType::Raw { .. } | DataType::Unsupported { .. } => return Err(wrong()),
    })
}

/// The bytes of a `fill_value`.
pub(super) fn from_json(path: &str, dtype: &DataType, value: &Value) -> Result<Vec<u8>, FormatError> {
    let wrong = || unsupported(path, format!("its fill value {value} is not one {dtype}"));
    Ok(match dtype {
        DataType::Bool => vec![u8::from(value.as_bool().or_else(|| Some(value.as_u64()? != 0)).ok_or_else(wrong)?)],
        DataType::Int(int) | DataType::Enum { base: int, .. } => integer_bytes(*int, value).ok_or_else(wrong)?,
        DataType::Float(float) => number_bytes(*float, value).ok_or_else(wrong)?,
        DataType::Complex(float) => {
            // A plain number is a complex one without an imaginary part.
            let zero = json!(0.0);
            let parts = match value.as_array().map(Vec::as_slice) {
                Some([real, imaginary]) => [real, imaginary],
                Some(_) => return Err(wrong()),
                None => [value, &zero],
            };
            let mut bytes = Vec::new();
            for part in parts {
                bytes.extend(number_bytes(*float, part).ok_or_else(wrong)?);
            }
            bytes
        }
        DataType::Char | DataType::FixedString { .. } => {
            let size_bytes = dtype.size_bytes().unwrap_or(1) as usize;
            let mut bytes = match value {
                Value::String(text) => from_base64(text).ok_or_else(wrong)?,
                Value::Number(number) if number.as_u64() == Some(0) => Vec::new(),
                _ => return Err(wrong()),
            };
            if bytes.len() > size_bytes {
                return Err(wrong());
            }
            bytes.resize(size_bytes, 0);
            bytes
        }
        DataType::String => match value {
            Value::String(text) => text.as_bytes().to_vec(),
            Value::Number(number) if number.as_u64() == Some(0) => Vec::new(),
            _ => return Err(wrong()),
        },
        DataType::Record(record) => match value {
            Value::String(text) => {
                from_base64(text).filter(|bytes| bytes.len() == record.size_bytes as usize).ok_or_else(wrong)?
            }
            Value::Number(number) if number.as_u64() == Some(0) => vec![0; record.size_bytes as usize],
            _ => return Err(wrong()),
        },
        DataType::Raw { .. } | DataType::Unsupported { .. } => return Err(wrong()),
    })
}

fn integer(int: IntType, bytes: &[u8]) -> Option<Value> {
    if bytes.len() != int.size_bytes() as usize {
        return None;
    }
    let unsigned = bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    let unused_bits = 64 - 8 * int.size_bytes();
    #[allow(clippy::cast_possible_wrap)]
    Some(if int.is_signed() { json!(((unsigned << unused_bits) as i64) >> unused_bits) } else { json!(unsigned) })
}

fn integer_bytes(int: IntType, value: &Value) -> Option<Vec<u8>> {
    let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    // Old writers put `0.0`.
    let whole = || value.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9e15);
    #[allow(clippy::cast_possible_truncation)]
    let exact = exact.or_else(|| whole().map(|value| value as i128))?;
    let (smallest, largest) = int.bounds();
    if !(smallest..=largest).contains(&exact) {
        return None;
    }
    exact.to_le_bytes().get(..int.size_bytes() as usize).map(<[u8]>::to_vec)
}

fn number(float: FloatType, bytes: &[u8]) -> Option<Value> {
    let value = to_f64(float, bytes)?;
    if value.is_nan() && from_f64(float, f64::NAN) != bytes {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        return Some(json!(format!("0x{digits}")));
    }
    Some(if value.is_finite() { json!(value) } else { json!(documents::float_name(value)) })
}

fn number_bytes(float: FloatType, value: &Value) -> Option<Vec<u8>> {
    if let Some(digits) = value.as_str().and_then(|text| text.strip_prefix("0x")) {
        let bits = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2 * float.size_bytes() as usize)?;
        return bits.to_le_bytes().get(..float.size_bytes() as usize).map(<[u8]>::to_vec);
    }
    let value = documents::as_float(value).or_else(|| documents::named_float(value.as_str()?))?;
    Some(from_f64(float, value))
}

/// The value of little-endian bytes.
pub(super) fn to_f64(float: FloatType, bytes: &[u8]) -> Option<f64> {
    Some(match float {
        FloatType::F16 => f64_of_half(u16::from_le_bytes(bytes.try_into().ok()?)),
        FloatType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        FloatType::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
    })
}

/// Little-endian bytes of the nearest value.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn from_f64(float: FloatType, value: f64) -> Vec<u8> {
    match float {
        FloatType::F16 => half_of_f64(value).to_le_bytes().to_vec(),
        // The usual NaN, whatever this machine makes of it.
        FloatType::F32 if value.is_nan() => 0x7fc0_0000_u32.to_le_bytes().to_vec(),
        FloatType::F32 => (value as f32).to_le_bytes().to_vec(),
        FloatType::F64 => value.to_le_bytes().to_vec(),
    }
}

fn f64_of_half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    }
}

/// Nearest half, ties to even.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn half_of_f64(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if value.is_nan() {
        return 0x7e00;
    }
    if magnitude >= 65_520.0 {
        return sign | 0x7c00;
    }
    if magnitude < 2_f64.powi(-14) {
        return sign | (magnitude * 2_f64.powi(24)).round_ties_even() as u16;
    }
    let exponent = (magnitude.to_bits() >> 52) as i32 - 1_023;
    let fraction = (magnitude * 2_f64.powi(10 - exponent)).round_ties_even() as u16;
    // A fraction that rounds up to the next power carries into the exponent.
    sign | (((exponent + 14) as u16) << 10).wrapping_add(fraction)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648) with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let padded = [group.first(), group.get(1), group.get(2)].map(|byte| u32::from(byte.copied().unwrap_or(0)));
        let bits = padded.iter().fold(0, |bits, byte| (bits << 8) | byte);
        for place in 0..4 {
            let letter = ALPHABET.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The bytes of base64 text; `None` if it is not.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let letters = text.trim_end_matches('=');
    if text.len() - letters.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut n_bits) = (Vec::new(), 0_u32, 0);
    for letter in letters.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xff) as u8);
        }
    }
    Some(bytes)
}
