//! A file's or a store's arrays as items of the Report.

use std::collections::HashMap;

use frazil_model::{
    attribute::Numbers,
    combine::view::Values,
    dataset::{Dataset, Role, Variable},
    dtype::DataType,
    manifest::ChunkTable,
    region::Region,
    time::{Calendar, TimeUnits},
};
use serde_json::{Map, Value, json};

use crate::{
    boxes::Boxes,
    error::EngineError,
    inspect::{
        advice::advice,
        words::{attributes, codec_words},
    },
    source::Source,
    store::{Consolidated, StoreBoxes},
};

/// Times of one variable that are looked at.
const MOST_TIMES: u64 = 4 << 20;

/// One object of the Report.
pub(super) struct Item {
    /// The variable's number; `None` for what was not read at all.
    pub number: Option<usize>,
    /// Bytes of its chunks.
    pub stored_bytes: u64,
    value: Map<String, Value>,
}

impl Item {
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.value.insert(key.to_owned(), value.into());
    }

    pub(super) fn unread(&mut self, reason: String) {
        self.set("unread", reason);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.value.contains_key("unread")
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.value)
    }
}

/// What is said of a file as a whole.
pub(super) fn file(source: &Source) -> Value {
    let dataset = &source.decoded.dataset;
    json!({
        "source": source.name,
        "format": dataset.format,
        "size_bytes": source.fingerprint.size_bytes,
        "groups": groups(dataset),
    })
}

fn groups(dataset: &Dataset) -> Vec<Value> {
    dataset
        .groups
        .iter()
        .map(|group| {
            let dimensions: Vec<Value> = group
                .dimensions
                .iter()
                .map(|dimension| {
                    json!({"name": dimension.name, "length": dimension.length, "unlimited": dimension.is_unlimited})
                })
                .collect();
            json!({"path": group.path, "dimensions": dimensions, "attributes": attributes(&group.attributes)})
        })
        .collect()
}

/// One item for each variable and each thing that is unread.
pub(super) fn variables(source: &Source) -> Vec<Item> {
    let (dataset, manifest) = (&source.decoded.dataset, &source.decoded.manifest);
    let stored_paths = manifest.hdf5.as_ref().map(|places| places.stored_paths.as_slice()).unwrap_or_default();
    let stored_path: HashMap<&str, &str> =
        stored_paths.iter().map(|(shown, stored)| (shown.as_str(), stored.as_str())).collect();
    let growing = growing(dataset);
    let mut items: Vec<Item> = Vec::new();
    for (number, variable) in dataset.variables.iter().enumerate() {
        let (stored_bytes, n_chunks) = weight(manifest.tables.get(number));
        let mut item = item(&source.name, number, variable, stored_bytes, n_chunks, &growing);
        // Of two arrays of one name the netCDF dimension has it in the file.
        if let (Role::Variable, Some(stored)) = (variable.role, stored_path.get(variable.path.as_str())) {
            item.set("path", *stored);
            item.set("shown_as", variable.path.clone());
        }
        if variable.role == Role::DimensionOnly {
            item.set("role", "dimension");
        }
        match manifest.tables.get(number) {
            Some(ChunkTable::External(_)) => item.set("stored_in", "external files"),
            Some(ChunkTable::Virtual(_)) => item.set("stored_in", "variables of other files"),
            Some(ChunkTable::Inline(_)) => item.set("stored_in", "the metadata"),
            _ => {}
        }
        if let Some(Values::Fixed(bytes)) = source.values.get(&number).map(AsRef::as_ref) {
            times(&mut item, variable, bytes);
        }
        name_unreadable(&mut item, variable);
        items.push(item);
    }
    add_unread(&mut items, dataset, &source.name);
    items
}

/// Says so where a variable's values cannot be read whatever happens.
fn name_unreadable(item: &mut Item, variable: &Variable) {
    let reason = match &variable.dtype {
        DataType::Unsupported { kind, .. } => Some(format!("{kind} values are listed, not read")),
        _ => frazil_formats::codecs::unreadable(&variable.codecs),
    };
    if let Some(reason) = reason {
        item.unread(reason);
        item.number = None;
    }
}

fn add_unread(items: &mut Vec<Item>, dataset: &Dataset, name: &str) {
    for unread in &dataset.unread {
        let value = json!({"source": name, "path": unread.path, "unread": unread.reason});
        let Value::Object(value) = value else { continue };
        items.push(Item { number: None, stored_bytes: 0, value });
    }
}

/// Lengths of dimensions that can grow, by name.
fn growing(dataset: &Dataset) -> HashMap<String, u64> {
    let dimensions = dataset.groups.iter().flat_map(|group| &group.dimensions);
    dimensions.filter(|found| found.is_unlimited).map(|found| (found.name.clone(), found.length)).collect()
}

/// Stored bytes and chunks of a variable.
fn weight(table: Option<&ChunkTable>) -> (u64, u64) {
    match table {
        Some(ChunkTable::Ranges(ranges)) => {
            (ranges.length.iter().fold(0, |sum, n_bytes| sum.saturating_add(n_bytes)), ranges.len() as u64)
        }
        Some(ChunkTable::Inline(bytes)) => (bytes.len() as u64, 1),
        Some(ChunkTable::External(parts)) => (parts.iter().fold(0, |sum, part| sum.saturating_add(part.length)), 1),
        Some(ChunkTable::Virtual(_) | ChunkTable::Referred(_)) | None => (0, 0),
    }
}

fn item(
    source: &str,
    number: usize,
    variable: &Variable,
    stored_bytes: u64,
    n_chunks: u64,
    growing: &HashMap<String, u64>,
) -> Item {
    let mut value = Map::new();
    let mut set = |key: &str, found: Value| value.insert(key.to_owned(), found);
    set("source", source.into());
    set("path", variable.path.clone().into());
    set("dimensions", variable.dimensions.clone().into());
    set("shape", variable.shape.clone().into());
    set("dtype", variable.dtype.to_string().into());
    if variable.is_chunked {
        set("chunk_shape", variable.chunk_shape.clone().into());
        set("n_chunks", n_chunks.into());
        set("n_chunks_in_shape", variable.grid().iter().fold(1_u64, |product, n| product.saturating_mul(*n)).into());
    }
    set("codecs", codec_words(&variable.codecs, variable.dtype.swap_bytes()).into());
    set("stored_bytes", stored_bytes.into());
    if let Some(element_bytes) = variable.dtype.size_bytes() {
        let n_bytes = variable.n_elements().saturating_mul(element_bytes.into());
        set("size_bytes", n_bytes.into());
        if stored_bytes > 0 && n_bytes > 0 {
            #[allow(clippy::cast_precision_loss)]
            let ratio = n_bytes as f64 / stored_bytes as f64;
            set("ratio", ((ratio * 100.0).round() / 100.0).into());
        }
    }
    if let Some(units) = variable.attributes.text("units") {
        set("units", units.into());
    }
    set("attributes", attributes(&variable.attributes));
    let advice = advice(variable, &|name| growing.get(name).copied());
    if !advice.is_empty() {
        set("advice", Value::Array(advice));
    }
    Item { number: Some(number), stored_bytes, value }
}

/// Whether a variable counts times, and how.
pub(super) fn time_units(variable: &Variable) -> Option<TimeUnits> {
    let units = variable.attributes.text("units").filter(|units| units.contains(" since "))?;
    TimeUnits::parse(units, Calendar::parse(variable.attributes.text("calendar"))?).ok()
}

/// Adds the first and the last time.
fn times(item: &mut Item, variable: &Variable, bytes: &[u8]) {
    let (Some(units), Some(numbers)) = (time_units(variable), Numbers::of(&variable.dtype, bytes)) else { return };
    let Ok(instants) = units.instants(&numbers) else { return };
    let (least, most) = (instants.iter().flatten().min(), instants.iter().flatten().max());
    if let (Some(least), Some(most)) = (least, most) {
        let calendar = units.calendar();
        item.set(
            "time",
            json!({
                "first": least.to_rfc3339(calendar),
                "last": most.to_rfc3339(calendar),
                "calendar": calendar.to_string(),
            }),
        );
    }
}

/// A Zarr store and its arrays.
pub(super) fn store(boxes: &mut StoreBoxes, name: &str) -> Result<(Value, Vec<Item>), EngineError> {
    let dataset = boxes.dataset().clone();
    let mut items = Vec::new();
    let growing = HashMap::new();
    for (number, variable) in dataset.variables.iter().enumerate() {
        let objects = boxes.objects(number)?;
        let mut item = item(name, number, variable, objects.size_bytes, objects.n_objects, &growing);
        if let Some(shards) = boxes.layouts().get(number).and_then(|layout| layout.shards.as_ref()) {
            item.set("shard_shape", shards.shape.clone());
        }
        name_unreadable(&mut item, variable);
        if item.number.is_some() && time_units(variable).is_some() && variable.n_elements() <= MOST_TIMES {
            let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(0));
            let n_bytes = usize::try_from(variable.n_elements().saturating_mul(element_bytes)).unwrap_or(0);
            let mut bytes = vec![0; n_bytes];
            if variable.dtype != DataType::String
                && boxes.read(number, &Region::whole(&variable.shape), &mut bytes).is_ok()
            {
                times(&mut item, variable, &bytes);
            }
        }
        items.push(item);
    }
    add_unread(&mut items, &dataset, name);
    let mut about = json!({"source": name, "format": dataset.format, "groups": groups(&dataset)});
    if let (Consolidated::No, Some(about)) = (boxes.consolidated, about.as_object_mut()) {
        let message = "its metadata is not consolidated: readers ask for one document after another";
        about.insert("advice".into(), json!([{"code": "inspect.not-consolidated", "message": message}]));
    }
    Ok((about, items))
}
