//! Metadata documents to a dataset and the layout of its arrays.
//!
//! An array that frazil cannot read is named with its reason, and the others are read. It promises that no document
//! leads outside its store: names like `..` are refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use frazil_model::{
    attribute::Attributes,
    counts::Calibration,
    dataset::{Dataset, Dimension, Group, Role, Unread, Variable},
    zarr::{ArrayLayout, ChunkKeys, Separator},
};
use serde_json::{Map, Value};

use super::{
    attributes::{self, DIMENSIONS, FILL_VALUE},
    codecs::{self, numbers},
    counts, dtypes, fill, json as documents, unsupported,
};
use crate::FormatError;

/// Most dimensions of an array; numpy's bound.
const RANK_LIMIT: usize = 64;

/// What the metadata of a store says.
#[derive(Debug, Clone, PartialEq)]
pub struct ZarrDataset {
    /// Groups and variables.
    pub dataset: Dataset,
    /// Keys, shards and fill values: one for each variable of `dataset`, in the same order.
    pub layouts: Vec<ArrayLayout>,
}

/// A document as a value that equals that of every document which says the same: numbers that are not finite, which
/// JSON has no word for and Zarr writes all the same, equal themselves. `None` if it is no document.
#[must_use]
pub fn read_document(bytes: &[u8]) -> Option<Value> {
    documents::parse("a document", std::str::from_utf8(bytes).ok()?).ok()
}

/// Reads the consolidated metadata in the `zarr.json` of a root.
///
/// # Errors
/// If it is no such document, or nothing is consolidated in it.
pub fn read_v3_root(text: &str) -> Result<ZarrDataset, FormatError> {
    let root = documents::parse("zarr.json", text)?;
    let Some(nodes) = root.pointer("/consolidated_metadata/metadata").and_then(Value::as_object) else {
        return Err(unsupported("zarr.json", "it has no consolidated metadata"));
    };
    let mut reading = Reading::new("zarr3");
    reading.node_v3("", &root);
    for (key, node) in nodes {
        reading.node_v3(key, node);
    }
    Ok(reading.finish())
}

/// Reads single `zarr.json` documents, each with the path of its node: the root's is `/`.
///
/// # Errors
/// If one is not JSON.
pub fn read_v3_documents(nodes: &[(String, String)]) -> Result<ZarrDataset, FormatError> {
    let mut reading = Reading::new("zarr3");
    for (path, text) in nodes {
        reading.node_v3(path.trim_matches('/'), &documents::parse(path, text)?);
    }
    Ok(reading.finish())
}

/// Reads a `.zmetadata`.
///
/// # Errors
/// If it is no such document.
pub fn read_v2_consolidated(text: &str) -> Result<ZarrDataset, FormatError> {
    let root = documents::parse(".zmetadata", text)?;
    let Some(nodes) = root.get("metadata").and_then(Value::as_object) else {
        return Err(unsupported(".zmetadata", "it has no metadata"));
    };
    Ok(read_v2(nodes))
}

/// Reads single `.zgroup`, `.zarray` and `.zattrs` documents, each with its key.
///
/// # Errors
/// If one is not JSON.
pub fn read_v2_documents(nodes: &[(String, String)]) -> Result<ZarrDataset, FormatError> {
    let parsed: Result<Map<String, Value>, FormatError> = nodes
        .iter()
        .map(|(key, text)| Ok((key.trim_start_matches('/').to_owned(), documents::parse(key, text)?)))
        .collect();
    Ok(read_v2(&parsed?))
}

/// The dataset of arrays whose layouts another format gave.
pub(crate) fn of_layouts(layouts: Vec<ArrayLayout>, groups: Vec<Group>, unread: Vec<Unread>) -> ZarrDataset {
    let groups: BTreeMap<String, Attributes> = groups.into_iter().map(|group| (group.path, group.attributes)).collect();
    Reading { groups, layouts, unread, ..Reading::new("") }.finish()
}

fn read_v2(nodes: &Map<String, Value>) -> ZarrDataset {
    let mut reading = Reading::new("zarr2");
    for (key, node) in nodes {
        let (folder, file) = key.rsplit_once('/').unwrap_or(("", key));
        let attributes_key = if folder.is_empty() { ".zattrs".to_owned() } else { format!("{folder}/.zattrs") };
        match file {
            ".zgroup" => reading.group(folder, attributes::from_json(nodes.get(&attributes_key))),
            ".zarray" => reading.array(folder, |path| array_v2(path, node, nodes.get(&attributes_key))),
            _ => {}
        }
    }
    reading.finish()
}

/// A store that is being read.
struct Reading {
    format: &'static str,
    groups: BTreeMap<String, Attributes>,
    layouts: Vec<ArrayLayout>,
    unread: Vec<Unread>,
}

impl Reading {
    fn new(format: &'static str) -> Self {
        let groups = BTreeMap::from([("/".to_owned(), Attributes::default())]);
        Self { format, groups, layouts: Vec::new(), unread: Vec::new() }
    }

    fn node_v3(&mut self, key: &str, node: &Value) {
        match node.get("node_type").and_then(Value::as_str) {
            Some("group") => self.group(key, attributes::from_json(node.get("attributes"))),
            Some("array") => self.array(key, |path| array_v3(path, node)),
            _ => self
                .unread
                .push(Unread { path: format!("/{key}"), reason: "it is neither a group nor an array".into() }),
        }
    }

    fn group(&mut self, key: &str, attributes: Attributes) {
        if key.is_empty() {
            self.groups.insert("/".into(), attributes);
        } else if stays_inside(key) {
            self.groups.insert(format!("/{key}"), attributes);
        }
    }

    fn array(&mut self, key: &str, read: impl FnOnce(&str) -> Result<ArrayLayout, FormatError>) {
        let path = format!("/{key}");
        if !stays_inside(key) {
            let reason = "its name is empty or leads out of the store".into();
            return self.unread.push(Unread { path, reason });
        }
        match read(&path) {
            Ok(layout) => self.layouts.push(layout),
            Err(error) => self.unread.push(Unread { path, reason: error.to_string() }),
        }
    }

    fn finish(mut self) -> ZarrDataset {
        // Groups that no document declares, but that arrays lie in.
        for layout in &self.layouts {
            let parents = layout.path.match_indices('/').skip(1).map(|(at, _)| &layout.path[..at]);
            for parent in parents {
                self.groups.entry(parent.to_owned()).or_default();
            }
        }
        tell_apart(&mut self.layouts);
        let variables: Vec<Variable> = self.layouts.iter().map(variable).collect();
        let mut dimensions = dimensions_by_group(&variables);
        let groups = self.groups.into_iter().map(|(path, attributes)| {
            let dimensions = dimensions.remove(&path).unwrap_or_default();
            Group { path, attributes, dimensions }
        });
        let dataset = Dataset { format: self.format.into(), groups: groups.collect(), variables, unread: self.unread };
        ZarrDataset { dataset, layouts: self.layouts }
    }
}

/// Dimensions without a name are one where they are as long in every array of a group; otherwise their length becomes part
/// of the name that stands for theirs: `dim_0_12`.
fn tell_apart(layouts: &mut [ArrayLayout]) {
    let is_nameless = |name: &str| name.strip_prefix("dim_").is_some_and(|rest| rest.parse::<usize>().is_ok());
    let group_of = |path: &str| path.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    let mut lengths: HashMap<(String, String), HashSet<u64>> = HashMap::new();
    for layout in layouts.iter() {
        for (name, length) in layout.dimensions.iter().zip(&layout.shape).filter(|(name, _)| is_nameless(name)) {
            lengths.entry((group_of(&layout.path), name.clone())).or_default().insert(*length);
        }
    }
    lengths.retain(|_, lengths| lengths.len() > 1);
    for layout in layouts.iter_mut().filter(|_| !lengths.is_empty()) {
        let group = group_of(&layout.path);
        for (name, length) in layout.dimensions.iter_mut().zip(&layout.shape) {
            if lengths.contains_key(&(group.clone(), name.clone())) {
                *name = format!("{name}_{length}");
            }
        }
    }
}

/// Zarr declares no dimensions: a group has those that its arrays name.
fn dimensions_by_group(variables: &[Variable]) -> HashMap<String, Vec<Dimension>> {
    let mut groups: HashMap<String, Vec<Dimension>> = HashMap::new();
    let mut known = HashSet::new();
    for variable in variables {
        let group = groups.entry(variable.group().to_owned()).or_default();
        for (name, length) in variable.dimensions.iter().zip(&variable.shape) {
            if known.insert((variable.group(), name)) {
                group.push(Dimension { name: name.clone(), length: *length, is_unlimited: false });
            }
        }
    }
    groups
}

fn stays_inside(key: &str) -> bool {
    key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn variable(layout: &ArrayLayout) -> Variable {
    let zeros = || vec![0; layout.dtype.size_bytes().unwrap_or(0) as usize];
    Variable {
        path: layout.path.clone(),
        role: Role::Variable,
        dimensions: layout.dimensions.clone(),
        shape: layout.shape.clone(),
        dtype: layout.dtype.clone(),
        chunk_shape: layout.chunk_shape.clone(),
        is_chunked: true,
        codecs: layout.codecs.clone(),
        fill: layout.fill.clone().unwrap_or_else(zeros),
        attributes: layout.attributes.clone(),
    }
}

/// An array of counts behind values is read as the counts.
fn with_counts(mut layout: ArrayLayout, values: Attributes, calibration: Calibration) -> ArrayLayout {
    layout.attributes = values;
    counts::set_attributes(&mut layout.attributes, &calibration);
    layout.calibration = Some(calibration);
    layout
}

fn array_v3(path: &str, node: &Value) -> Result<ArrayLayout, FormatError> {
    if let Some((behind, calibration)) = counts::behind_v3(node) {
        let values = attributes::from_json_v3(node.get("attributes"), &counts::VALUES);
        return Ok(with_counts(array_v3(path, &behind)?, values, calibration));
    }
    let dtype = dtypes::parse_v3(path, node.get("data_type").unwrap_or(&Value::Null))?;
    if node.pointer("/chunk_grid/name").and_then(Value::as_str) != Some("regular") {
        return Err(unsupported(path, "its chunks are not all of one shape"));
    }
    if node.get("storage_transformers").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(unsupported(path, "its storage is transformed"));
    }
    let shape = shape_of(path, node.get("shape"))?;
    let object_shape = chunks_of(path, node.pointer("/chunk_grid/configuration/chunk_shape"), shape.len())?;
    let chain = codecs::parse_v3(path, &dtype, node.get("codecs").unwrap_or(&Value::Null))?;
    let (chunk_shape, shards) = match chain.inner {
        None => (object_shape, None),
        Some((chunk_shape, mut shards)) => {
            let is_whole = |(object, chunk): (&u64, &u64)| object.checked_rem(*chunk) == Some(0);
            if chunk_shape.len() != shape.len() || !object_shape.iter().zip(&chunk_shape).all(is_whole) {
                return Err(unsupported(path, "its shards are not whole chunks"));
            }
            shards.shape = object_shape;
            (chunk_shape, Some(shards))
        }
    };
    let names = node.get("dimension_names").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(ArrayLayout {
        path: path.to_owned(),
        dimensions: named_dimensions(shape.len(), names),
        shape,
        chunk_shape,
        shards,
        fill: match node.get("fill_value") {
            None | Some(Value::Null) => None,
            Some(value) => Some(fill::from_json(path, &dtype, value)?),
        },
        codecs: chain.codecs,
        attributes: attributes::from_json_v3(node.get("attributes"), &dtype),
        dtype,
        keys: keys_v3(path, node)?,
        calibration: None,
    })
}

fn keys_v3(path: &str, node: &Value) -> Result<ChunkKeys, FormatError> {
    let name = node.pointer("/chunk_key_encoding/name").and_then(Value::as_str);
    let separator = node.pointer("/chunk_key_encoding/configuration/separator").and_then(Value::as_str);
    match (name, separator) {
        (Some("default"), None | Some("/")) => Ok(ChunkKeys::Default(Separator::Slash)),
        (Some("default"), Some(".")) => Ok(ChunkKeys::Default(Separator::Dot)),
        (Some("v2"), None | Some(".")) => Ok(ChunkKeys::V2(Separator::Dot)),
        (Some("v2"), Some("/")) => Ok(ChunkKeys::V2(Separator::Slash)),
        _ => Err(unsupported(path, "the keys of its chunks are spelled in an unknown way")),
    }
}

fn array_v2(path: &str, node: &Value, stored: Option<&Value>) -> Result<ArrayLayout, FormatError> {
    if let Some((behind, calibration)) = counts::behind_v2(node) {
        let mut layout = array_v2(path, &behind, stored)?;
        // Of v2 the fill value, a count by now, is the only `_FillValue`.
        let fill = layout.attributes.remove(FILL_VALUE);
        let values = std::mem::take(&mut layout.attributes);
        let mut layout = with_counts(layout, values, calibration);
        if let Some(fill) = fill {
            layout.attributes.set(FILL_VALUE, fill);
        }
        return Ok(layout);
    }
    let (dtype, byte_order) = dtypes::parse_v2(path, node.get("dtype").unwrap_or(&Value::Null))?;
    let shape = shape_of(path, node.get("shape"))?;
    let chunk_shape = chunks_of(path, node.get("chunks"), shape.len())?;
    if shape.len() > 1 && node.get("order").and_then(Value::as_str) == Some("F") {
        return Err(unsupported(path, "its chunks are in Fortran order"));
    }
    let mut attributes = attributes::from_json(stored);
    attributes.remove(DIMENSIONS);
    let fill = match node.get("fill_value") {
        None | Some(Value::Null) => None,
        Some(value) => Some(fill::from_json(path, &dtype, value)?),
    };
    // To xarray the fill value of a v2 array is its `_FillValue`.
    if let Some(value) = fill.as_deref().and_then(|bytes| attributes::typed(&dtype, bytes)) {
        attributes.set(FILL_VALUE, value);
    }
    let names = stored.and_then(|stored| stored.get(DIMENSIONS)?.as_array()).map(Vec::as_slice).unwrap_or_default();
    Ok(ArrayLayout {
        path: path.to_owned(),
        dimensions: named_dimensions(shape.len(), names),
        shape,
        chunk_shape,
        shards: None,
        fill,
        codecs: codecs::parse_v2(path, &dtype, byte_order, node)?,
        attributes,
        dtype,
        keys: match node.get("dimension_separator").and_then(Value::as_str) {
            Some("/") => ChunkKeys::V2(Separator::Slash),
            _ => ChunkKeys::V2(Separator::Dot),
        },
        calibration: None,
    })
}

fn shape_of(path: &str, value: Option<&Value>) -> Result<Vec<u64>, FormatError> {
    let shape = numbers(value).ok_or_else(|| unsupported(path, "its shape is no list of lengths"))?;
    let elements = shape.iter().try_fold(1_u64, |product, length| product.checked_mul((*length).max(1)));
    if shape.len() > RANK_LIMIT || elements.is_none() {
        return Err(unsupported(path, "its shape is absurd"));
    }
    Ok(shape)
}

fn chunks_of(path: &str, value: Option<&Value>, rank: usize) -> Result<Vec<u64>, FormatError> {
    let chunks = numbers(value).filter(|chunks| chunks.len() == rank && !chunks.contains(&0));
    let chunks = chunks.ok_or_else(|| unsupported(path, "its chunk shape does not fit its shape"))?;
    let elements = chunks.iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
    if elements.is_none() { Err(unsupported(path, "its chunk shape is absurd")) } else { Ok(chunks) }
}

/// Names as stored; `dim_0` where there is none.
fn named_dimensions(rank: usize, names: &[Value]) -> Vec<String> {
    let name =
        |place: usize| names.get(place).and_then(Value::as_str).map_or_else(|| format!("dim_{place}"), str::to_owned);
    (0..rank).map(name).collect()
}
