//! What of a file is compared when many are looked at.

use std::collections::{BTreeMap, HashSet};

use frazil_model::{
    attribute::{AttributeValue, Attributes},
    combine::view::Values,
    dataset::Role,
    era::{Signature, eras},
    packing::PACKING_ATTRIBUTES,
};
use serde_json::{Value, json};

pub use frazil_model::era::{Difference, Era};

use crate::{identity::digest, inspect::describe::time_units, inspect::words::codec_words, source::Source};

/// Letters of a digest that are shown.
const DIGEST_LETTERS: usize = 12;

/// The aspects of a file: all but what is expected to differ from file to file, the labels and the length of the
/// dimension that grows.
pub(super) fn signature(source: &Source) -> Signature {
    let dataset = &source.decoded.dataset;
    let mut growing: HashSet<&str> = HashSet::new();
    for dimension in dataset.groups.iter().flat_map(|group| &group.dimensions) {
        if dimension.is_unlimited {
            growing.insert(&dimension.name);
        }
    }
    for variable in &dataset.variables {
        if let ([name], true) = (variable.dimensions.as_slice(), time_units(variable).is_some()) {
            growing.insert(name);
        }
    }
    let mut aspects = BTreeMap::new();
    for (number, variable) in dataset.variables.iter().enumerate() {
        if variable.role == Role::DimensionOnly {
            continue;
        }
        let name = variable.path.trim_start_matches('/');
        let mut set = |what: &str, value: String| aspects.insert(format!("{name}: {what}"), value);
        set("dtype", variable.dtype.to_string());
        let dimensions: Vec<String> = variable
            .dimensions
            .iter()
            .zip(&variable.shape)
            .map(
                |(name, length)| {
                    if growing.contains(name.as_str()) { name.clone() } else { format!("{name} {length}") }
                },
            )
            .collect();
        set("dimensions", dimensions.join(", "));
        if variable.is_chunked {
            set("chunks", variable.chunk_shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × "));
        }
        let swap_bytes = variable.dtype.swap_bytes();
        set("codecs", codec_words(&variable.codecs.normal_form(swap_bytes), swap_bytes));
        for attribute in ["units", "calendar"] {
            if let Some(text) = variable.attributes.text(attribute) {
                set(attribute, text.to_owned());
            }
        }
        for attribute in PACKING_ATTRIBUTES {
            if let Some(value) = shown(&variable.attributes, attribute) {
                set(attribute, value);
            }
        }
        let is_coordinate = variable.dimensions == [variable.name()] && !growing.contains(variable.name());
        if let (true, Some(values)) = (is_coordinate, source.values.get(&number)) {
            let digest = match values.as_ref() {
                Values::Fixed(bytes) => digest(bytes),
                Values::Texts(texts) => digest(format!("{texts:?}").as_bytes()),
            };
            set("labels", digest.chars().take(DIGEST_LETTERS).collect());
        }
    }
    Signature(aspects)
}

fn shown(attributes: &Attributes, name: &str) -> Option<String> {
    Some(match attributes.get(name)? {
        AttributeValue::Numbers(numbers) => {
            let values: Vec<String> = numbers.to_f64().iter().map(f64::to_string).collect();
            format!("{} {}", numbers.type_name(), values.join(" "))
        }
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Texts(texts) => texts.join(" "),
        AttributeValue::Unread(_) => "unread".into(),
    })
}

/// The era table as data.
pub(super) fn table(files: &[(String, Signature)]) -> Value {
    let found = eras(files);
    json!({"eras": found.eras, "varies": found.varies})
}
