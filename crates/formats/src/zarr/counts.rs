//! Arrays of counts that readers see as `float32` values, by numcodecs' `fixedscaleoffset`.
//!
//! The codec gives `(number / scale) + offset` in the type that its `dtype` says. Two in a row, one that divides and one that
//! adds, round as xarray does where it decodes `float32` factors. It promises that what is written so is read as the counts and
//! factors it was made of; other uses of the codec are refused by name, as before.

use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    codec::ByteOrder,
    counts::Calibration,
    dtype::{DataType, FloatType, IntType},
    zarr::ArrayLayout,
};
use serde_json::{Value, json};

use super::{
    attributes::{self, FILL_VALUE, MISSING_VALUE},
    dtypes, fill,
};
use crate::FormatError;

const NAME: &str = "fixedscaleoffset";
pub(super) const VALUES: DataType = DataType::Float(FloatType::F32);
const VALUES_V2: &str = "<f4";
const FACTORS: [&str; 2] = ["scale_factor", "add_offset"];

/// The array as readers see it, and the settings of the codecs between it and its counts, in encoding order.
pub(super) struct Seen {
    pub(super) layout: ArrayLayout,
    pub(super) settings: Vec<Value>,
}

/// What readers see of an array of counts; `None` of any other.
pub(super) fn seen(layout: &ArrayLayout) -> Result<Option<Seen>, FormatError> {
    let Some(calibration) = &layout.calibration else { return Ok(None) };
    let int = layout.dtype.clone();
    let order = layout.codecs.byte_order;
    let mut settings = Vec::new();
    if let Some(offset) = calibration.offset {
        settings.push(json!({"offset": offset, "scale": 1, "dtype": VALUES_V2, "astype": VALUES_V2}));
    }
    let counts = dtypes::name_v2(&layout.path, &int, order)?;
    settings.push(json!({"offset": 0, "scale": calibration.divisor, "dtype": VALUES_V2, "astype": counts}));
    let count_of = |bytes: &[u8]| attributes::typed(&int, bytes).as_ref().and_then(integers)?.first().copied();
    let mut shown = ArrayLayout {
        dtype: VALUES,
        fill: layout
            .fill
            .as_deref()
            .and_then(count_of)
            .and_then(|count| Some(calibration.value_of(count)?.to_le_bytes().to_vec())),
        calibration: None,
        ..layout.clone()
    };
    // v2 says the order of the bytes with the type: the codec's values are in the machine's.
    shown.codecs.byte_order = ByteOrder::Little;
    FACTORS.iter().for_each(|name| {
        shown.attributes.remove(name);
    });
    for name in [FILL_VALUE, MISSING_VALUE] {
        let Some(counts) = shown.attributes.remove(name).as_ref().and_then(integers) else { continue };
        let values: Vec<f32> = counts.into_iter().filter_map(|count| calibration.value_of(count)).collect();
        if !values.is_empty() {
            shown.attributes.set(name, AttributeValue::Numbers(Numbers::F32(values)));
        }
    }
    Ok(Some(Seen { layout: shown, settings }))
}

fn integers(value: &AttributeValue) -> Option<Vec<i128>> {
    match value {
        AttributeValue::Numbers(numbers) => numbers.to_integers(),
        _ => None,
    }
}

/// Settings as codecs of v3.
pub(super) fn list_v3(settings: Vec<Value>) -> Vec<Value> {
    settings
        .into_iter()
        .map(|settings| json!({"name": format!("numcodecs.{NAME}"), "configuration": settings}))
        .collect()
}

/// Settings as filters of v2.
pub(super) fn list_v2(settings: Vec<Value>) -> Vec<Value> {
    let filter = |mut settings: Value| {
        settings["id"] = json!(NAME);
        settings
    };
    settings.into_iter().map(filter).collect()
}

/// The document of the counts behind a document of v3, and what makes values of them.
pub(super) fn behind_v3(node: &Value) -> Option<(Value, Calibration)> {
    let codecs = node.get("codecs")?.as_array()?;
    let is_ours = |codec: &&Value| codec.get("name").and_then(Value::as_str) == Some("numcodecs.fixedscaleoffset");
    let settings: Vec<&Value> =
        codecs.iter().take_while(is_ours).filter_map(|codec| codec.get("configuration")).collect();
    let (calibration, _) = calibration(&settings)?;
    if node.get("data_type")?.as_str()? != "float32" {
        return None;
    }
    let mut counts = node.clone();
    counts["codecs"] = json!(codecs[settings.len()..]);
    counts["data_type"] = json!(DataType::Int(calibration.int).to_string());
    counts["fill_value"] = fill_of(node, &calibration)?;
    Some((counts, calibration))
}

/// The document of the counts behind a document of v2, and what makes values of them.
pub(super) fn behind_v2(node: &Value) -> Option<(Value, Calibration)> {
    let filters = node.get("filters")?.as_array()?;
    let is_ours = |filter: &&Value| filter.get("id").and_then(Value::as_str) == Some(NAME);
    let settings: Vec<&Value> = filters.iter().take_while(is_ours).collect();
    let (calibration, order) = calibration(&settings)?;
    if node.get("dtype")?.as_str()? != VALUES_V2 {
        return None;
    }
    let mut counts = node.clone();
    counts["filters"] = json!(filters[settings.len()..]);
    counts["dtype"] = json!(dtypes::name_v2("", &DataType::Int(calibration.int), order).ok()?);
    counts["fill_value"] = fill_of(node, &calibration)?;
    Some((counts, calibration))
}

/// The fill value as a count.
fn fill_of(node: &Value, calibration: &Calibration) -> Option<Value> {
    match node.get("fill_value") {
        None | Some(Value::Null) => Some(Value::Null),
        Some(value) => {
            let bytes = fill::from_json("", &VALUES, value).ok()?;
            Some(json!(calibration.count(f32::from_le_bytes(bytes.try_into().ok()?))?))
        }
    }
}

fn calibration(settings: &[&Value]) -> Option<(Calibration, ByteOrder)> {
    let number = |settings: &Value, name: &str| settings.get(name).and_then(Value::as_f64);
    let is_of_values = |settings: &Value, name: &str| settings.get(name).and_then(Value::as_str) == Some(VALUES_V2);
    let (offset, divides) = match settings {
        [divides] => (None, *divides),
        [adds, divides]
            if is_of_values(adds, "astype") && is_of_values(adds, "dtype") && number(adds, "scale") == Some(1.0) =>
        {
            (Some(number(adds, "offset")?), *divides)
        }
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation)] // checked at once
    let narrow = offset.map(|offset| offset as f32);
    let is_float32 = narrow.map(f64::from) == offset;
    if !is_float32 || !is_of_values(divides, "dtype") || number(divides, "offset") != Some(0.0) {
        return None;
    }
    let (counts, order) = dtypes::parse_v2("", divides.get("astype")?).ok()?;
    let DataType::Int(int) = counts else { return None };
    Some((Calibration::of_codec(int, number(divides, "scale")?, narrow)?, order))
}

/// The attributes of the counts, from those that readers of the values see.
pub(super) fn set_attributes(attributes: &mut Attributes, calibration: &Calibration) {
    let factors = [("scale_factor", Some(calibration.scale)), ("add_offset", calibration.offset)];
    for (name, factor) in factors {
        if let Some(factor) = factor {
            attributes.set(name, AttributeValue::Numbers(Numbers::F32(vec![factor])));
        }
    }
    for name in [FILL_VALUE, MISSING_VALUE] {
        let Some(AttributeValue::Numbers(values)) = attributes.get(name) else { continue };
        #[allow(clippy::cast_possible_truncation)] // they were float32
        let counts: Vec<i32> =
            values.to_f64().into_iter().filter_map(|value| calibration.count(value as f32)).collect();
        attributes.remove(name);
        if let Some(numbers) = typed(calibration.int, &counts) {
            attributes.set(name, AttributeValue::Numbers(numbers));
        }
    }
}

fn typed(int: IntType, counts: &[i32]) -> Option<Numbers> {
    let bytes: Vec<u8> =
        counts.iter().flat_map(|count| count.to_le_bytes().into_iter().take(int.size_bytes() as usize)).collect();
    if counts.is_empty() { None } else { Numbers::of(&DataType::Int(int), &bytes) }
}
