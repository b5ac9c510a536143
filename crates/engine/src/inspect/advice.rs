//! Advice on how a variable is stored: what will make it slow to read, or odd to write.

use frazil_model::{
    attribute::Numbers,
    codec::Codec,
    dataset::Variable,
    dtype::{DataType, IntType},
    region::count,
};
use serde_json::{Value, json};

/// A variable below this size is quick to read however it is cut.
const SMALL_BYTES: u64 = 16 << 20;

/// Chunks below this cost more to find than to read.
const TINY_CHUNK_BYTES: u64 = 64 << 10;

/// Chunks above this do not fit into the memory of small machines several at a time.
const HUGE_CHUNK_BYTES: u64 = 512 << 20;

/// What can be said of a variable.
pub(super) fn advice(variable: &Variable, is_growing: &dyn Fn(&str) -> Option<u64>) -> Vec<Value> {
    let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let n_bytes = variable.n_elements().saturating_mul(element_bytes);
    let chunk_bytes = count(&variable.chunk_shape).saturating_mul(element_bytes);
    let mut found: Vec<(&str, String)> = Vec::new();
    if variable.is_chunked && n_bytes > SMALL_BYTES && chunk_bytes < TINY_CHUNK_BYTES {
        found.push(("chunks-tiny", format!("chunks of {chunk_bytes} bytes are slow to read: many small requests")));
    }
    if variable.is_chunked && chunk_bytes > HUGE_CHUNK_BYTES {
        let message = format!("a chunk decodes to {} MB, all of which is needed to read one value", chunk_bytes >> 20);
        found.push(("chunks-huge", message));
    }
    let compresses = |step: &Codec| !matches!(step, Codec::Shuffle { .. } | Codec::Fletcher32 | Codec::Crc32c);
    if n_bytes > SMALL_BYTES && !variable.codecs.steps.iter().any(compresses) {
        found.push(("not-compressed", "its values are not compressed".into()));
    }
    for (name, chunk) in variable.dimensions.iter().zip(&variable.chunk_shape) {
        if let (1, Some(length), true) = (*chunk, is_growing(name), n_bytes > SMALL_BYTES)
            && length > 100
        {
            found.push((
                "chunk-of-one",
                format!("chunks hold one `{name}` each: a series at a point reads all of them"),
            ));
        }
    }
    let is_packed = matches!(variable.dtype, DataType::Int(IntType::I8 | IntType::I16 | IntType::U8 | IntType::U16));
    let short = ["scale_factor", "add_offset"]
        .into_iter()
        .filter(|name| matches!(variable.attributes.numbers(name), Some(Numbers::F32(_))));
    if let (true, Some(name)) = (is_packed, { short }.next()) {
        let message = format!(
            "`{name}` is float32, and JSON has one kind of number: readers of a Zarr copy may decode to float64"
        );
        found.push(("packed-float32", message));
    }
    found.into_iter().map(|(code, message)| json!({"code": format!("inspect.{code}"), "message": message})).collect()
}
