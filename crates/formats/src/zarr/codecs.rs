//! Codec chains as v3 lists of codecs and v2 filters and compressors.
//!
//! It promises that a chain it cannot spell, or a codec it does not know, is refused by name.

use frazil_model::{
    codec::{ByteOrder, Codec, CodecChain},
    dtype::DataType,
    zarr::{IndexChecksum, IndexPlace, Shards},
};
use serde_json::{Value, json};

use super::unsupported;
use crate::FormatError;

/// Level where the chain says none; zlib's and gzip's fastest that still pays.
const DEFLATE_LEVEL: u32 = 4;
/// Most codecs in a chain.
const STEPS_LIMIT: usize = 16;
const BLOSC_SHUFFLES: [&str; 3] = ["noshuffle", "shuffle", "bitshuffle"];

/// What a list of v3 codecs says.
pub(super) struct ChainV3 {
    pub(super) codecs: CodecChain,
    /// Chunk shape within shards, and the shards less their shape.
    pub(super) inner: Option<(Vec<u64>, Shards)>,
}

/// The codecs of a chunk as a v3 list.
pub(super) fn list_v3(path: &str, dtype: &DataType, chain: &CodecChain) -> Result<Vec<Value>, FormatError> {
    let first = match (dtype, chain.byte_order) {
        (DataType::String, _) => json!({"name": "vlen-utf8", "configuration": {}}),
        _ if dtype.swap_bytes() <= 1 => json!({"name": "bytes"}),
        (_, ByteOrder::Little) => json!({"name": "bytes", "configuration": {"endian": "little"}}),
        (_, ByteOrder::Big) => json!({"name": "bytes", "configuration": {"endian": "big"}}),
    };
    let mut list = vec![first];
    for step in &chain.steps {
        list.push(step_v3(path, step)?);
    }
    Ok(list)
}

/// The v3 codec that lays chunks with `codecs` into shards.
pub(super) fn sharding_v3(chunk_shape: &[u64], shards: &Shards, codecs: Vec<Value>) -> Value {
    let mut index_codecs = vec![json!({"name": "bytes", "configuration": {"endian": "little"}})];
    if shards.index_checksum == IndexChecksum::Crc32c {
        index_codecs.push(json!({"name": "crc32c"}));
    }
    let index_location = match shards.index_place {
        IndexPlace::Start => "start",
        IndexPlace::End => "end",
    };
    json!({"name": "sharding_indexed", "configuration": {
        "chunk_shape": chunk_shape,
        "codecs": codecs,
        "index_codecs": index_codecs,
        "index_location": index_location,
    }})
}

fn step_v3(path: &str, step: &Codec) -> Result<Value, FormatError> {
    Ok(match step {
        Codec::Shuffle { element_bytes } => {
            json!({"name": "numcodecs.shuffle", "configuration": {"elementsize": element_bytes}})
        }
        Codec::Deflate { level } => {
            json!({"name": "numcodecs.zlib", "configuration": {"level": level.unwrap_or(DEFLATE_LEVEL)}})
        }
        Codec::Gzip { level } => json!({"name": "gzip", "configuration": {"level": level.unwrap_or(DEFLATE_LEVEL)}}),
        // Stock zarr-python refuses it without a configuration, though it has nothing to say.
        Codec::Fletcher32 => json!({"name": "numcodecs.fletcher32", "configuration": {}}),
        Codec::Crc32c => json!({"name": "crc32c"}),
        Codec::Zstd { level } => {
            json!({"name": "zstd", "configuration": {"level": level.unwrap_or(0), "checksum": false}})
        }
        Codec::Blosc { cname, clevel, shuffle, element_bytes } => {
            let shuffle = BLOSC_SHUFFLES.get(*shuffle as usize).copied().unwrap_or("noshuffle");
            json!({"name": "blosc", "configuration": {
                "typesize": element_bytes, "cname": cname, "clevel": clevel, "shuffle": shuffle, "blocksize": 0,
            }})
        }
        Codec::Hdf5 { id, name, .. } => {
            return Err(unsupported(path, format!("Zarr has no codec for HDF5 filter {id} ({name})")));
        }
        #[allow(unreachable_patterns)]
        other => return Err(unsupported(path, format!("Zarr has no codec for {other:?}"))),
    })
}

/// Reads a v3 list of codecs.
pub(super) fn parse_v3(path: &str, dtype: &DataType, list: &Value) -> Result<ChainV3, FormatError> {
    let wrong = |reason: &str| unsupported(path, reason);
    let codecs =
        list.as_array().filter(|list| list.len() <= STEPS_LIMIT).ok_or_else(|| wrong("its codecs are no list"))?;
    let mut codecs = codecs.iter().map(|codec| (name_of(codec), codec.get("configuration").unwrap_or(&Value::Null)));
    let mut serializer = codecs.next();
    while let Some(("transpose", settings)) = serializer {
        if !keeps_order(settings) {
            return Err(wrong("its chunks are transposed"));
        }
        serializer = codecs.next();
    }
    let Some((name, settings)) = serializer else { return Err(wrong("no codec makes bytes of its elements")) };
    let mut chain = CodecChain::default();
    let mut inner = None;
    match (name, dtype) {
        ("bytes", _) if *dtype != DataType::String => {
            if settings.get("endian").and_then(Value::as_str) == Some("big") {
                chain.byte_order = ByteOrder::Big;
            }
        }
        ("vlen-utf8", DataType::String) => {}
        ("sharding_indexed", _) => {
            let within = parse_v3(path, dtype, settings.get("codecs").unwrap_or(&Value::Null))?;
            if within.inner.is_some() || codecs.len() > 0 {
                return Err(wrong("its shards lie in shards or are compressed as a whole"));
            }
            chain = within.codecs;
            inner = Some((
                numbers(settings.get("chunk_shape")).ok_or_else(|| wrong("its shards have no chunk shape"))?,
                index_of(path, settings)?,
            ));
        }
        _ => return Err(wrong(&format!("its elements become bytes by `{name}`"))),
    }
    for (name, settings) in codecs {
        chain.steps.push(parse_step(path, name, settings, dtype)?);
    }
    Ok(ChainV3 { codecs: chain, inner })
}

/// The place and checksum of a shard's index; the shape is not known here.
fn index_of(path: &str, settings: &Value) -> Result<Shards, FormatError> {
    let mut shards = Shards::of(Vec::new());
    if settings.get("index_location").and_then(Value::as_str) == Some("start") {
        shards.index_place = IndexPlace::Start;
    }
    let codecs = settings.get("index_codecs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = codecs.iter().map(name_of).collect();
    shards.index_checksum = match names[..] {
        ["bytes", "crc32c"] => IndexChecksum::Crc32c,
        ["bytes"] => IndexChecksum::None,
        _ => return Err(unsupported(path, "the index of its shards is encoded in an unknown way")),
    };
    let is_big =
        codecs.iter().any(|codec| codec.pointer("/configuration/endian").and_then(Value::as_str) == Some("big"));
    if is_big { Err(unsupported(path, "the index of its shards is big-endian")) } else { Ok(shards) }
}

fn name_of(codec: &Value) -> &str {
    codec.as_str().or_else(|| codec.get("name")?.as_str()).unwrap_or_default()
}

fn keeps_order(settings: &Value) -> bool {
    let order = settings.get("order");
    order.and_then(Value::as_str) == Some("C")
        || numbers(order).is_some_and(|order| order.iter().enumerate().all(|(place, axis)| place as u64 == *axis))
}

/// A list of whole numbers.
pub(super) fn numbers(value: Option<&Value>) -> Option<Vec<u64>> {
    value?.as_array()?.iter().map(Value::as_u64).collect()
}

/// A codec of either format: the names of v2 are those of v3 less `numcodecs.`.
fn parse_step(path: &str, name: &str, settings: &Value, dtype: &DataType) -> Result<Codec, FormatError> {
    let setting = |key: &str| settings.get(key).and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
    let element_bytes = dtype.size_bytes().unwrap_or(1);
    Ok(match name.strip_prefix("numcodecs.").unwrap_or(name) {
        "shuffle" => Codec::Shuffle { element_bytes: setting("elementsize").unwrap_or(4) },
        "zlib" => Codec::Deflate { level: setting("level") },
        "gzip" => Codec::Gzip { level: setting("level") },
        "fletcher32" => Codec::Fletcher32,
        "crc32c" => match settings.get("location").and_then(Value::as_str) {
            None | Some("end") => Codec::Crc32c,
            Some(_) => return Err(unsupported(path, "its checksums come first")),
        },
        "zstd" => {
            let level = settings.get("level").and_then(Value::as_i64).and_then(|level| i32::try_from(level).ok());
            Codec::Zstd { level }
        }
        "blosc" => {
            let shuffle = settings.get("shuffle");
            let named = shuffle.and_then(Value::as_str);
            let by_name = named.and_then(|name| BLOSC_SHUFFLES.iter().position(|known| *known == name));
            let shuffle = match (by_name, shuffle.and_then(Value::as_i64)) {
                (Some(place), _) => u32::try_from(place).unwrap_or_default(),
                // numcodecs' automatic choice.
                (None, Some(-1)) => {
                    if element_bytes == 1 {
                        2
                    } else {
                        1
                    }
                }
                (None, number) => number.and_then(|number| u32::try_from(number).ok()).unwrap_or(1),
            };
            Codec::Blosc {
                cname: settings.get("cname").and_then(Value::as_str).unwrap_or("lz4").to_owned(),
                clevel: setting("clevel").unwrap_or(5),
                shuffle,
                element_bytes: setting("typesize").unwrap_or(element_bytes),
            }
        }
        _ => return Err(unsupported(path, format!("it is encoded by `{name}`"))),
    })
}

/// v2's `filters` and `compressor`.
pub(super) fn filters_v2(path: &str, dtype: &DataType, chain: &CodecChain) -> Result<(Value, Value), FormatError> {
    let mut steps = chain.steps.as_slice();
    let mut compressor = Value::Null;
    if let [
        before @ ..,
        last @ (Codec::Deflate { .. } | Codec::Gzip { .. } | Codec::Zstd { .. } | Codec::Blosc { .. }),
    ] = steps
    {
        compressor = step_v2(path, last)?;
        steps = before;
    }
    let mut filters = Vec::new();
    if *dtype == DataType::String {
        filters.push(json!({"id": "vlen-utf8"}));
    }
    for step in steps {
        filters.push(step_v2(path, step)?);
    }
    Ok((if filters.is_empty() { Value::Null } else { json!(filters) }, compressor))
}

fn step_v2(path: &str, step: &Codec) -> Result<Value, FormatError> {
    Ok(match step {
        Codec::Shuffle { element_bytes } => json!({"id": "shuffle", "elementsize": element_bytes}),
        Codec::Deflate { level } => json!({"id": "zlib", "level": level.unwrap_or(DEFLATE_LEVEL)}),
        Codec::Gzip { level } => json!({"id": "gzip", "level": level.unwrap_or(DEFLATE_LEVEL)}),
        Codec::Fletcher32 => json!({"id": "fletcher32"}),
        Codec::Zstd { level } => json!({"id": "zstd", "level": level.unwrap_or(0)}),
        Codec::Blosc { cname, clevel, shuffle, .. } => {
            json!({"id": "blosc", "cname": cname, "clevel": clevel, "shuffle": shuffle, "blocksize": 0})
        }
        other => return Err(unsupported(path, format!("Zarr v2 has no codec for {other:?}"))),
    })
}

/// Reads v2's `filters` and `compressor`, after elements in `byte_order`.
pub(super) fn parse_v2(
    path: &str,
    dtype: &DataType,
    byte_order: ByteOrder,
    array: &Value,
) -> Result<CodecChain, FormatError> {
    let filters = array.get("filters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let compressor = array.get("compressor").filter(|compressor| !compressor.is_null());
    if filters.len() > STEPS_LIMIT {
        return Err(unsupported(path, format!("it has {} filters", filters.len())));
    }
    let mut steps: Vec<&Value> = filters.iter().chain(compressor).collect();
    if *dtype == DataType::String {
        let is_text = steps.first().and_then(|step| step.get("id")).and_then(Value::as_str) == Some("vlen-utf8");
        if !is_text {
            return Err(unsupported(path, "it holds objects that are not text"));
        }
        steps.remove(0);
    }
    let steps = steps
        .into_iter()
        .map(|step| parse_step(path, step.get("id").and_then(Value::as_str).unwrap_or_default(), step, dtype))
        .collect::<Result<_, _>>()?;
    Ok(CodecChain { byte_order, steps })
}
