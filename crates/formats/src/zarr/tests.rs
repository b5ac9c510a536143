//! Spellings, refusals, and documents that are not what they should be.

use frazil_model::{
    attribute::{AttributeValue, Numbers},
    dtype::{DataType, FloatType, IntType},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const F32: DataType = DataType::Float(FloatType::F32);

#[track_caller]
fn check_fill(dtype: &DataType, bytes: &[u8], written: &serde_json::Value) {
    assert_eq!(fill::to_json("/a", dtype, bytes).as_ref(), Ok(written));
    assert_eq!(fill::from_json("/a", dtype, written), Ok(bytes.to_vec()));
}

#[test]
fn fill_values_are_spelled_as_the_specification_says() {
    check_fill(&F32, &1.5_f32.to_le_bytes(), &json!(1.5));
    check_fill(&F32, &0x7fc0_0000_u32.to_le_bytes(), &json!("NaN"));
    check_fill(&F32, &0xffc0_0001_u32.to_le_bytes(), &json!("0xffc00001"));
    check_fill(&F32, &f32::NEG_INFINITY.to_le_bytes(), &json!("-Infinity"));
    check_fill(&DataType::Float(FloatType::F16), &[0x00, 0x3c], &json!(1.0));
    check_fill(&DataType::Float(FloatType::F16), &[0x00, 0x7e], &json!("NaN"));
    check_fill(&DataType::Int(IntType::I64), &i64::MIN.to_le_bytes(), &json!(i64::MIN));
    check_fill(&DataType::Int(IntType::U64), &u64::MAX.to_le_bytes(), &json!(u64::MAX));
    check_fill(&DataType::Int(IntType::I8), &[0xff], &json!(-1));
    check_fill(&DataType::Bool, &[1], &json!(true));
    check_fill(&DataType::FixedString { size_bytes: 4 }, b"ab\0\0", &json!("YWI="));
    check_fill(&DataType::String, b"", &json!(""));
}

#[test]
fn a_fill_value_that_the_type_cannot_hold_is_refused() {
    assert!(fill::from_json("/a", &DataType::Int(IntType::U8), &json!(256)).is_err());
    assert!(fill::from_json("/a", &DataType::Int(IntType::U8), &json!(0.5)).is_err());
    assert!(fill::from_json("/a", &F32, &json!("nonsense")).is_err());
    assert!(fill::from_json("/a", &DataType::Char, &json!("YWI=")).is_err());
}

fn with_fill(value: AttributeValue) -> frazil_model::attribute::Attributes {
    frazil_model::attribute::Attributes(vec![("_FillValue".into(), value)])
}

#[test]
fn a_fill_value_is_said_where_xarray_can_read_it_or_not_at_all() {
    use attributes::{Missing, missing_v2, missing_v3};
    let text = with_fill(AttributeValue::Text(" ".into()));
    assert_eq!(missing_v3(&text, &DataType::Char), Missing::Lost);
    assert_eq!(missing_v2(&text, &DataType::Char), Missing::Fill(json!("IA==")));
    assert_eq!(missing_v3(&text, &DataType::String), Missing::Elsewhere(json!(" ")));
    assert_eq!(missing_v3(&text, &F32), Missing::Lost);
    let int = DataType::Int(IntType::I16);
    let two = with_fill(AttributeValue::Numbers(Numbers::I16(vec![1, 2])));
    assert_eq!(missing_v3(&two, &int), Missing::Elsewhere(json!([1, 2])));
    assert_eq!(missing_v2(&two, &int), Missing::Elsewhere(json!([1, 2])));
    let nan = with_fill(AttributeValue::Numbers(Numbers::F64(vec![f64::NAN])));
    assert_eq!(missing_v3(&nan, &int), Missing::Lost);
    assert_eq!(missing_v2(&nan, &int), Missing::Lost);
}

#[test]
fn an_unsigned_fill_value_that_is_read_as_signed_survives() {
    let dtype = DataType::Int(IntType::U8);
    let mut signed = with_fill(AttributeValue::Numbers(Numbers::U8(vec![255])));
    assert_eq!(attributes::to_json_v3(&signed, &dtype)["_FillValue"], json!(255));
    signed.set("_Unsigned", AttributeValue::Text("false".into()));
    let written = attributes::to_json_v3(&signed, &dtype);
    assert_eq!(written["_FillValue"], json!(-1));
    assert_eq!(attributes::from_json_v3(Some(&written.into()), &dtype), signed);
}

/// A v3 array with one thing changed.
fn v3(pointer: &str, value: serde_json::Value) -> String {
    let mut document = json!({
        "shape": [4], "data_type": "float32", "node_type": "array", "zarr_format": 3, "fill_value": 0.0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    });
    *document.pointer_mut(pointer).unwrap() = value;
    document.to_string()
}

#[track_caller]
fn check_refused(document: String, reason: &str) {
    let read = read_v3_documents(&[("/a".into(), document)]).unwrap();
    let reasons: Vec<&str> = read.dataset.unread.iter().map(|unread| unread.reason.as_str()).collect();
    assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reasons:?}");
}

#[test]
fn an_array_that_would_be_misread_is_named_with_its_reason() {
    check_refused(v3("/data_type", json!("r24")), "does not read the type");
    check_refused(v3("/codecs/0", json!({"name": "packbits"})), "its elements become bytes by `packbits`");
    check_refused(v3("/codecs", json!([{"name": "bytes"}, {"name": "numcodecs.lzma"}])), "encoded by `numcodecs.lzma`");
    check_refused(
        v3("/codecs", json!([{"name": "transpose", "configuration": {"order": [1, 0]}}, "bytes"])),
        "transposed",
    );
    check_refused(v3("/chunk_grid/configuration/chunk_shape", json!([0])), "does not fit");
    check_refused(v3("/chunk_grid/name", json!("rectilinear")), "not all of one shape");
    check_refused(v3("/shape", json!([-1])), "no list of lengths");
    check_refused(v3("/node_type", json!("chunk")), "neither a group nor an array");
    let outside = read_v3_documents(&[("/../a".into(), v3("/attributes", json!({})))]).unwrap();
    assert!(outside.layouts.is_empty() && outside.dataset.unread[0].reason.contains("out of the store"));
}

#[test]
fn text_that_looks_like_a_bare_number_stays_text() {
    let text = r#"{"a": "NaN \" -Infinity", "b": NaN, "c": [Infinity, -Infinity, -1], "NaN": "N"}"#;
    let attributes = attributes::from_json(Some(&json::parse("x", text).unwrap()));
    assert_eq!(attributes.text("a"), Some("NaN \" -Infinity"));
    assert!(attributes.numbers("b").unwrap().to_f64()[0].is_nan());
    assert_eq!(attributes.numbers("c").unwrap().to_f64(), [f64::INFINITY, f64::NEG_INFINITY, -1.0]);
    assert_eq!(attributes.text("NaN"), Some("N"));
}

#[test]
fn a_number_is_read_as_python_wrote_it() {
    let attributes = attributes::from_json(Some(&json::parse("x", r#"{"a": 1.0000000200408773e+20}"#).unwrap()));
    assert_eq!(attributes.numbers("a").unwrap().to_f64(), [f64::from(1e20_f32)]);
}

#[test]
fn json_that_netcdf_has_no_type_for_is_unread_and_not_lost_in_silence() {
    let attributes =
        attributes::from_json(Some(&json!({"flag": true, "nothing": null, "map": {"a": 1}, "mixed": [1, "a"]})));
    assert!(attributes.0.iter().all(|(_, value)| matches!(value, AttributeValue::Unread(_))));
}

#[test]
fn a_fill_value_attribute_is_read_in_the_type_of_its_array() {
    let base64 = fill::base64(&1e20_f64.to_le_bytes());
    let read = attributes::from_json_v3(Some(&json!({"_FillValue": base64})), &F32);
    assert_eq!(read.numbers("_FillValue"), Some(&Numbers::F32(vec![1e20])));
    let read = attributes::from_json_v3(Some(&json!({"_FillValue": -9})), &DataType::Int(IntType::I16));
    assert_eq!(read.numbers("_FillValue"), Some(&Numbers::I16(vec![-9])));
}

proptest! {
    #[test]
    fn a_float_attribute_survives_to_the_last_bit(bits: u64) {
        let value = f64::from_bits(bits);
        let text = json::to_text(&json!({"a": json::float(value)}));
        let attributes = attributes::from_json(Some(&json::parse("x", &text).unwrap()));
        let back = attributes.numbers("a").unwrap().to_f64()[0];
        prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()), "{text}");
    }

    #[test]
    fn bytes_become_base64_and_the_same_bytes(bytes: Vec<u8>) {
        let text = fill::base64(&bytes);
        prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
        prop_assert_eq!(fill::from_base64(&text), Some(bytes));
    }

    #[test]
    fn a_half_becomes_a_number_and_the_same_half(bits: u16) {
        let value = fill::to_f64(FloatType::F16, &bits.to_le_bytes()).unwrap();
        let back = fill::from_f64(FloatType::F16, value);
        prop_assert!(value.is_nan() || back == bits.to_le_bytes());
    }

    #[test]
    fn no_document_makes_it_panic(text in "[\\[\\]{}:,\"a-zNI0-9\\\\é -]{0,60}") {
        let _ = read_v3_root(&text);
        let _ = read_v2_consolidated(&text);
        let _ = read_v2_documents(&[("a/.zarray".into(), text.clone())]);
        let _ = read_v3_documents(&[("a".into(), text)]);
    }

    #[test]
    fn no_value_in_a_document_makes_it_panic(
        pointer in prop::sample::select(vec![
            "/shape", "/shape/0", "/data_type", "/fill_value", "/codecs", "/codecs/0", "/codecs/0/configuration",
            "/chunk_grid/configuration/chunk_shape", "/chunk_grid/configuration/chunk_shape/0", "/attributes",
        ]),
        value in prop::sample::select(vec![
            json!(null), json!(0), json!(-1), json!(u64::MAX), json!(1e300), json!("NaN"), json!([]), json!([[]]), json!({}),
            json!({"name": "null_terminated_bytes", "configuration": {"length_bytes": u64::MAX}}),
            json!({"name": "sharding_indexed", "configuration": {"chunk_shape": [0], "codecs": ["bytes"]}}),
            json!({"_FillValue": "AAAA"}), json!({"_FillValue": [1, "a"]}), json!([u64::MAX, u64::MAX]),
        ]),
    ) {
        let read = read_v3_documents(&[("a".into(), v3(pointer, value))]).unwrap();
        prop_assert_eq!(read.layouts.len() + read.dataset.unread.len(), 1);
        for layout in &read.layouts {
            let _ = array_document_v3(layout);
            let _ = array_document_v2(layout);
        }
    }
}
