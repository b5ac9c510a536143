//! Metadata documents of arrays and groups.
//!
//! It promises the keys and spellings of stock zarr-python 3.1, in a fixed order. Attributes that could not be read are
//! left out; the caller has listed them.

use frazil_model::{
    attribute::Attributes,
    zarr::{ArrayLayout, ChunkKeys, Separator},
};
use serde_json::{Map, Value, json};

use super::{
    attributes::{self, DIMENSIONS, Missing},
    codecs, counts, dtypes, fill, json as documents, unsupported,
};
use crate::FormatError;

/// `zarr.json` of an array.
///
/// # Errors
/// If v3 has no word for the type, the fill value or a codec.
pub fn array_document_v3(layout: &ArrayLayout) -> Result<String, FormatError> {
    Ok(documents::to_text(&array_v3(layout)?))
}

/// `zarr.json` of a group that is not the root of a consolidated store.
#[must_use]
pub fn group_document_v3(attributes: &Attributes) -> String {
    documents::to_text(&json!({
        "attributes": attributes::to_json(attributes), "zarr_format": 3, "node_type": "group",
    }))
}

/// `zarr.json` of a root, with the metadata of all other groups and of all arrays.
///
/// `groups` are absolute paths with attributes; the root may be among them and is not repeated.
///
/// # Errors
/// As for [`array_document_v3`].
pub fn root_document_v3(
    root: &Attributes,
    groups: &[(String, Attributes)],
    arrays: &[ArrayLayout],
) -> Result<String, FormatError> {
    let mut nodes = Vec::new();
    for (path, attributes) in groups.iter().filter(|(path, _)| path != "/") {
        // Stock zarr-python gives each group an empty list of its own, and finds its members in the root's.
        let group = json!({
            "attributes": attributes::to_json(attributes),
            "zarr_format": 3,
            "consolidated_metadata": consolidated_v3(Map::new()),
            "node_type": "group",
        });
        nodes.push((key(path), group));
    }
    for layout in arrays {
        nodes.push((key(&layout.path), array_v3(layout)?));
    }
    Ok(documents::to_text(&json!({
        "attributes": attributes::to_json(root),
        "zarr_format": 3,
        "consolidated_metadata": consolidated_v3(
            siblings_together(nodes).into_iter().map(|(key, node)| (key.to_owned(), node)).collect()
        ),
        "node_type": "group",
    })))
}

/// Nodes with those of one group side by side, in the order they had.
///
/// Stock zarr-python collects the members of a group from neighbours only: a member that stands apart from the others
/// makes it lose them, or not open the store at all.
fn siblings_together<T>(mut nodes: Vec<(&str, T)>) -> Vec<(&str, T)> {
    nodes.sort_by_key(|(key, _)| key.rsplit_once('/').map(|(parent, _)| parent));
    nodes
}

fn consolidated_v3(metadata: Map<String, Value>) -> Value {
    json!({"kind": "inline", "must_understand": false, "metadata": metadata})
}

/// The path as a key: without its first slash.
fn key(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

fn array_v3(layout: &ArrayLayout) -> Result<Value, FormatError> {
    let path = layout.path.as_str();
    check_shapes(layout)?;
    if let Some(seen) = counts::seen(layout)? {
        let mut node = array_v3(&seen.layout)?;
        let chain = codecs::list_v3(path, &layout.dtype, &layout.codecs)?;
        node["codecs"] = Value::Array(counts::list_v3(seen.settings).into_iter().chain(chain).collect());
        return Ok(node);
    }
    // First of all: without a word for the type there is none for its fill value or its codecs either.
    let data_type = dtypes::name_v3(path, &layout.dtype)?;
    let mut codecs = codecs::list_v3(path, &layout.dtype, &layout.codecs)?;
    if let Some(shards) = &layout.shards {
        codecs = vec![codecs::sharding_v3(&layout.chunk_shape, shards, codecs)];
    }
    let fill_value = match &layout.fill {
        Some(bytes) => fill::to_json(path, &layout.dtype, bytes)?,
        None => {
            let zeros = vec![0; layout.dtype.size_bytes().unwrap_or(0) as usize];
            fill::to_json(path, &layout.dtype, &zeros)?
        }
    };
    let (name, separator) = match layout.keys {
        ChunkKeys::Default(separator) => ("default", separator),
        ChunkKeys::V2(separator) => ("v2", separator),
    };
    Ok(json!({
        "shape": layout.shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": layout.object_shape()}},
        "chunk_key_encoding": {"name": name, "configuration": {"separator": text(separator)}},
        "fill_value": fill_value,
        "codecs": codecs,
        "attributes": attributes::to_json_v3(&layout.attributes, &layout.dtype),
        "dimension_names": layout.dimensions,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }))
}

/// What a v3 array says otherwise than the file, or not at all.
#[must_use]
pub fn note_v3(layout: &ArrayLayout) -> Option<&'static str> {
    note(&attributes::missing_v3(&layout.attributes, &layout.dtype))
}

/// What a v2 array says otherwise than the file, or not at all.
#[must_use]
pub fn note_v2(layout: &ArrayLayout) -> Option<&'static str> {
    note(&attributes::missing_v2(&layout.attributes, &layout.dtype))
}

const fn note(missing: &Missing) -> Option<&'static str> {
    match missing {
        Missing::Unsaid | Missing::Fill(_) => None,
        Missing::Elsewhere(_) => Some(
            "its `_FillValue` is written as `missing_value`: readers mask the same, and could not open the store else",
        ),
        Missing::Lost => Some(
            "its `_FillValue` is left out: xarray cannot open a store that says it for this type; such elements are \
             written as they are",
        ),
    }
}

const fn text(separator: Separator) -> &'static str {
    match separator {
        Separator::Dot => ".",
        Separator::Slash => "/",
    }
}

/// `.zarray`.
///
/// Its `fill_value` is the attribute `_FillValue`, else null, whatever `layout.fill` is: xarray masks every element
/// that equals the `fill_value` of a v2 array, and a value that was never meant to be missing must not be masked.
///
/// # Errors
/// If v2 has no word for the type or a codec, or the layout has shards.
pub fn array_document_v2(layout: &ArrayLayout) -> Result<String, FormatError> {
    Ok(documents::to_text(&array_v2(layout)?))
}

/// `.zattrs` of an array: its attributes without `_FillValue`, and the names of its dimensions.
#[must_use]
pub fn attributes_document_v2(layout: &ArrayLayout) -> String {
    documents::to_text(&Value::Object(attributes_v2(layout)))
}

/// `.zattrs` of a group.
#[must_use]
pub fn group_attributes_v2(attributes: &Attributes) -> String {
    documents::to_text(&Value::Object(attributes::to_json(attributes)))
}

/// `.zgroup`.
#[must_use]
pub fn group_document_v2() -> String {
    documents::to_text(&json!({"zarr_format": 2}))
}

/// `.zmetadata`: every other document of the store, by key.
///
/// # Errors
/// As for [`array_document_v2`].
pub fn consolidated_document_v2(
    root: &Attributes,
    groups: &[(String, Attributes)],
    arrays: &[ArrayLayout],
) -> Result<String, FormatError> {
    let mut nodes = Map::new();
    nodes.insert(".zgroup".into(), json!({"zarr_format": 2}));
    nodes.insert(".zattrs".into(), Value::Object(attributes::to_json(root)));
    let mut members = Vec::new();
    for (path, attributes) in groups.iter().filter(|(path, _)| path != "/") {
        members.push((key(path), (".zgroup", json!({"zarr_format": 2}), attributes::to_json(attributes))));
    }
    for layout in arrays {
        members.push((key(&layout.path), (".zarray", array_v2(layout)?, attributes_v2(layout))));
    }
    for (key, (name, node, attributes)) in siblings_together(members) {
        nodes.insert(format!("{key}/{name}"), node);
        nodes.insert(format!("{key}/.zattrs"), Value::Object(attributes));
    }
    Ok(documents::to_text(&json!({"metadata": nodes, "zarr_consolidated_format": 1})))
}

fn attributes_v2(layout: &ArrayLayout) -> Map<String, Value> {
    // What cannot be shown is refused along with the array itself.
    let seen = counts::seen(layout).ok().flatten().map(|seen| seen.layout);
    let layout = seen.as_ref().unwrap_or(layout);
    let mut object = attributes::to_json_v2(&layout.attributes, &layout.dtype);
    object.shift_remove(DIMENSIONS);
    object.insert(DIMENSIONS.into(), json!(layout.dimensions));
    object
}

fn array_v2(layout: &ArrayLayout) -> Result<Value, FormatError> {
    let path = layout.path.as_str();
    check_shapes(layout)?;
    if layout.shards.is_some() {
        return Err(unsupported(path, "Zarr v2 has no shards"));
    }
    if let Some(seen) = counts::seen(layout)? {
        let mut node = array_v2(&seen.layout)?;
        let (filters, compressor) = codecs::filters_v2(path, &layout.dtype, &layout.codecs)?;
        let filters = filters.as_array().cloned().unwrap_or_default();
        node["filters"] = Value::Array(counts::list_v2(seen.settings).into_iter().chain(filters).collect());
        node["compressor"] = compressor;
        return Ok(node);
    }
    let ChunkKeys::V2(separator) = layout.keys else {
        return Err(unsupported(path, "Zarr v2 has no chunk keys that begin with `c`"));
    };
    let fill_value = match attributes::missing_v2(&layout.attributes, &layout.dtype) {
        Missing::Fill(value) => named_nan(value),
        Missing::Unsaid | Missing::Elsewhere(_) | Missing::Lost => Value::Null,
    };
    let (filters, compressor) = codecs::filters_v2(path, &layout.dtype, &layout.codecs)?;
    Ok(json!({
        "shape": layout.shape,
        "chunks": layout.chunk_shape,
        "dtype": dtypes::name_v2(path, &layout.dtype, layout.codecs.byte_order)?,
        "fill_value": fill_value,
        "order": "C",
        "filters": filters,
        "dimension_separator": text(separator),
        "compressor": compressor,
        "zarr_format": 2,
    }))
}

/// v2 has one NaN; a mask does not tell them apart.
fn named_nan(fill_value: Value) -> Value {
    match fill_value.as_str() {
        Some(text) if text.starts_with("0x") => json!("NaN"),
        _ => fill_value,
    }
}

/// Shapes of one rank, chunks that are not empty, shards that are whole chunks.
fn check_shapes(layout: &ArrayLayout) -> Result<(), FormatError> {
    let rank = layout.shape.len();
    let object_shape = layout.object_shape();
    if layout.chunk_shape.len() != rank || object_shape.len() != rank || layout.dimensions.len() != rank {
        return Err(unsupported(&layout.path, "its shape, chunks and dimensions differ in rank"));
    }
    let whole = |(object, chunk): (&u64, &u64)| *object > 0 && object.checked_rem(*chunk) == Some(0);
    if !object_shape.iter().zip(&layout.chunk_shape).all(whole) {
        return Err(unsupported(&layout.path, "a chunk is empty, or its shards are not whole chunks"));
    }
    Ok(())
}
