//! How the arrays of a store are cut and packed.

use serde::{Deserialize, Serialize};

use crate::{
    attribute::Attributes,
    codec::{ByteOrder, Codec, CodecChain},
    combine::{Combined, CombinedVariable, Content},
    dtype::DataType,
    problem::{Exit, Problem},
    recipe::{
        Spanned,
        spec::{ChunkLength, ChunkSpec, CodecSpec, Favour},
        suggest::nearest,
        write::ZarrFormat,
    },
    region::count,
};

/// Joined coordinates of a store that grows are cut at this many labels, so that a day more does not make a chunk more.
const GROWING_COORDINATE_CHUNK: u64 = 4096;

/// Variables that are held in memory are one chunk up to this size.
const ONE_CHUNK_BYTES: u64 = 16 << 20;

/// A chunk may not be larger, decoded.
const MOST_CHUNK_BYTES: u64 = 2 << 30;

/// One array of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetArray {
    /// Absolute path.
    pub path: String,
    /// Names of its dimensions.
    pub dimensions: Vec<String>,
    /// Its shape.
    pub shape: Vec<u64>,
    /// What one element is.
    pub dtype: DataType,
    /// Value of elements that are in no chunk, little-endian.
    pub fill: Vec<u8>,
    /// Attributes.
    pub attributes: Attributes,
    /// Elements of a chunk along each dimension.
    pub chunk_shape: Vec<u64>,
    /// Elements of a shard along each dimension, whole chunks.
    pub shard_shape: Option<Vec<u64>>,
    /// How a chunk's elements become bytes.
    pub codecs: CodecChain,
    /// Whether chunks of the source are passed on where they fit.
    pub keeps_chunks: bool,
    /// Whether chunks that no source ever wrote are left out: readers see the fill value. Stock xarray takes v2's
    /// fill value for "missing", so there they are written out.
    pub leaves_out_unwritten: bool,
}

impl TargetArray {
    /// Elements of what is written in one put: a shard, or a chunk.
    #[must_use]
    pub fn unit_shape(&self) -> &[u64] {
        self.shard_shape.as_deref().unwrap_or(&self.chunk_shape)
    }

    /// Decoded bytes of a chunk; texts count as 16 bytes each.
    #[must_use]
    pub fn chunk_bytes(&self) -> u64 {
        count(&self.chunk_shape).saturating_mul(self.dtype.size_bytes().unwrap_or(16).into())
    }
}

/// What the author asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct LayoutRequest {
    /// Version of Zarr.
    pub format: ZarrFormat,
    /// How arrays are cut; `None`: as frazil sees fit.
    pub chunks: Option<ChunkSpec>,
    /// How chunks are put together in shards.
    pub shards: Option<Vec<(Spanned<String>, ChunkLength)>>,
    /// How chunks are packed.
    pub codec: CodecSpec,
    /// Whether the store is made to be extended.
    pub grows: Growth,
}

/// Whether a store is made to be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Growth {
    /// Written once.
    #[default]
    Never,
    /// Extended later.
    Extended,
}

/// Why a layout cannot be had.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayoutError {
    #[error("`{what}` names dimension `{name}`; the dataset has {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    UnknownDimension { what: &'static str, name: String, known: Vec<String> },
    #[error("shards of {shard} along `{dimension}` do not hold whole chunks of {chunk} (`{variable}`)")]
    BrokenShard { variable: String, dimension: String, shard: u64, chunk: u64 },
    #[error("Zarr v2 has no shards")]
    ShardsInV2,
    #[error("a chunk of `{variable}` would have {chunk_bytes} bytes; the limit is {limit_bytes}")]
    ChunkTooLarge { variable: String, chunk_bytes: u64, limit_bytes: u64 },
}

impl Problem for LayoutError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownDimension { .. } => "layout.unknown-dimension",
            Self::BrokenShard { .. } => "layout.broken-shard",
            Self::ShardsInV2 => "layout.shards-in-v2",
            Self::ChunkTooLarge { .. } => "layout.chunk-too-large",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownDimension { name, known, .. } => {
                format!("did you mean `{}`?", nearest(name, known.iter().map(String::as_str))?)
            }
            Self::BrokenShard { chunk, .. } => format!("choose a multiple of {chunk}"),
            Self::ShardsInV2 => "leave out `shards`, or write Zarr v3".into(),
            Self::ChunkTooLarge { .. } => "choose smaller chunks; 50 to 200 MB suits object stores".into(),
        })
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Lays out every variable of a joined dataset.
///
/// # Errors
/// If the request names what the dataset has not, or asks for what Zarr has not.
pub fn lay_out(combined: &Combined, request: &LayoutRequest) -> Result<Vec<TargetArray>, LayoutError> {
    if request.format == ZarrFormat::V2 && request.shards.is_some() {
        return Err(LayoutError::ShardsInV2);
    }
    check_names(combined, request)?;
    combined.variables.iter().map(|variable| lay_out_one(combined, variable, request)).collect()
}

fn check_names(combined: &Combined, request: &LayoutRequest) -> Result<(), LayoutError> {
    let mut known: Vec<String> = combined.variables.iter().flat_map(|variable| variable.dimensions.clone()).collect();
    known.sort_unstable();
    known.dedup();
    let explicit = match &request.chunks {
        Some(ChunkSpec::Explicit(lengths)) => lengths.as_slice(),
        _ => &[],
    };
    let shards = request.shards.as_deref().unwrap_or_default();
    for (what, (name, _)) in
        explicit.iter().map(|pair| ("chunks", pair)).chain(shards.iter().map(|pair| ("shards", pair)))
    {
        if !known.contains(&name.value) {
            return Err(LayoutError::UnknownDimension { what, name: name.value.clone(), known });
        }
    }
    Ok(())
}

fn lay_out_one(
    combined: &Combined,
    variable: &CombinedVariable,
    request: &LayoutRequest,
) -> Result<TargetArray, LayoutError> {
    let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let keeps_chunks = request.codec == CodecSpec::Keep && kept_chain(variable).is_some();
    let is_held = !matches!(variable.content, Content::Pieces(_));
    let is_small = is_held && count(&variable.shape).saturating_mul(element_bytes) <= ONE_CHUNK_BYTES;
    // Readers load whole coordinates before anything else, so those are one chunk whatever the author says of data.
    let is_coordinate = variable.dimensions.len() == 1
        && variable.path.rsplit('/').next() == variable.dimensions.first().map(String::as_str);
    let in_one = is_small && (is_coordinate || !matches!(request.chunks, Some(ChunkSpec::Explicit(_))));
    let mut chunk_shape = match &request.chunks {
        _ if in_one && !keeps_chunks => variable.shape.clone(),
        Some(ChunkSpec::Explicit(lengths)) => explicit_chunks(variable, lengths),
        Some(ChunkSpec::Auto { target, favour }) => auto_chunks(combined, variable, target.0, *favour),
        None if request.codec == CodecSpec::Keep && variable.is_chunked => variable.source_chunk_shape.clone(),
        None => default_chunks(combined, variable),
    };
    if let (true, Growth::Extended, Some(axis)) = (in_one, request.grows, variable.along) {
        chunk_shape[axis] = chunk_shape[axis].max(GROWING_COORDINATE_CHUNK);
    }
    // A chunk of an empty array still needs a length.
    chunk_shape.iter_mut().for_each(|length| *length = (*length).max(1));
    let chunk_bytes = count(&chunk_shape).saturating_mul(element_bytes);
    if chunk_bytes > MOST_CHUNK_BYTES {
        let (variable, limit_bytes) = (variable.path.clone(), MOST_CHUNK_BYTES);
        return Err(LayoutError::ChunkTooLarge { variable, chunk_bytes, limit_bytes });
    }
    let shard_shape = match &request.shards {
        // zarr-python (3.1) opens no records in shards.
        Some(lengths) if !in_one && !matches!(variable.dtype, DataType::Record(_)) => {
            Some(shards(variable, &chunk_shape, lengths)?)
        }
        _ => None,
    };
    let codecs =
        if keeps_chunks { kept_chain(variable) } else { request.codec.chain(swap_free_bytes(&variable.dtype)) };
    Ok(TargetArray {
        path: variable.path.clone(),
        dimensions: variable.dimensions.clone(),
        shape: variable.shape.clone(),
        dtype: variable.dtype.clone(),
        fill: variable.fill.clone(),
        attributes: variable.attributes.clone(),
        chunk_shape,
        shard_shape,
        codecs: codecs.or_else(|| CodecSpec::default().chain(swap_free_bytes(&variable.dtype))).unwrap_or_default(),
        keeps_chunks,
        leaves_out_unwritten: request.format == ZarrFormat::V3,
    })
}

/// Bytes over which a shuffle spreads; text gains nothing from it.
fn swap_free_bytes(dtype: &DataType) -> u32 {
    if dtype.is_number() { dtype.size_bytes().unwrap_or(1) } else { 1 }
}

/// The source's chain as a Zarr chain, if Zarr has its steps. A checksum at the end is checked and left out.
fn kept_chain(variable: &CombinedVariable) -> Option<CodecChain> {
    let mut chain = variable.source_codecs.clone().filter(|_| variable.is_chunked)?;
    if chain.steps.last() == Some(&Codec::Fletcher32) {
        chain.steps.pop();
    }
    let element_bytes = variable.dtype.size_bytes().unwrap_or(0);
    let known = |step: &Codec| match step {
        // What was shuffled in elements of another type would have left over bytes, which no reader takes.
        Codec::Shuffle { element_bytes: of_source } => *of_source == element_bytes,
        Codec::Deflate { .. } | Codec::Zstd { .. } => true,
        // The readers of Zarr are built without Snappy.
        Codec::Blosc { cname, .. } => cname != "snappy",
        _ => false,
    };
    if variable.dtype.swap_bytes() <= 1 {
        chain.byte_order = ByteOrder::Little;
    }
    chain.steps.iter().all(known).then_some(chain)
}

fn explicit_chunks(variable: &CombinedVariable, lengths: &[(Spanned<String>, ChunkLength)]) -> Vec<u64> {
    let along = |dimension: &String, length: u64| match lengths.iter().find(|(name, _)| name.value == *dimension) {
        Some((_, ChunkLength::Elements(chunk))) => *chunk,
        _ => length,
    };
    variable.dimensions.iter().zip(&variable.shape).map(|(dimension, length)| along(dimension, *length)).collect()
}

/// The source's own chunks if they are of a good size, else automatic ones.
fn default_chunks(combined: &Combined, variable: &CombinedVariable) -> Vec<u64> {
    let ChunkSpec::Auto { target, favour } = ChunkSpec::default() else { return variable.shape.clone() };
    auto_chunks(combined, variable, target.0, favour)
}

/// Chunks of at most `target_bytes`, halved along the dimensions that `favour` can spare.
fn auto_chunks(combined: &Combined, variable: &CombinedVariable, target_bytes: u64, favour: Favour) -> Vec<u64> {
    let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let mut chunk = variable.shape.clone();
    let series = combined
        .along
        .as_ref()
        .and_then(|(name, _)| variable.dimensions.iter().position(|dimension| dimension == name))
        .unwrap_or(0);
    let n_chunks = |chunk: &[u64], axis: usize| variable.shape[axis].div_ceil(chunk[axis].max(1));
    while count(&chunk).saturating_mul(element_bytes) > target_bytes {
        let can_halve = |axis: &usize| chunk[*axis] > 1;
        let in_space =
            || (0..chunk.len()).filter(|axis| *axis != series).filter(can_halve).max_by_key(|axis| chunk[*axis]);
        let in_series = Some(series).filter(can_halve);
        let space_chunks: u64 =
            (0..chunk.len()).filter(|axis| *axis != series).map(|axis| n_chunks(&chunk, axis)).product();
        let axis = match favour {
            Favour::Map => in_series.or_else(in_space),
            Favour::Time => in_space().or(in_series),
            Favour::Balanced if n_chunks(&chunk, series) <= space_chunks => in_series.or_else(in_space),
            Favour::Balanced => in_space().or(in_series),
        };
        let Some(axis) = axis else { break };
        chunk[axis] = chunk[axis].div_ceil(2);
    }
    chunk
}

fn shards(
    variable: &CombinedVariable,
    chunk_shape: &[u64],
    lengths: &[(Spanned<String>, ChunkLength)],
) -> Result<Vec<u64>, LayoutError> {
    variable
        .dimensions
        .iter()
        .enumerate()
        .map(|(axis, dimension)| {
            let chunk = chunk_shape[axis];
            let whole = variable.shape[axis].max(1).div_ceil(chunk) * chunk;
            match lengths.iter().find(|(name, _)| name.value == *dimension).map(|(_, length)| *length) {
                None => Ok(chunk),
                Some(ChunkLength::Full) => Ok(whole),
                Some(ChunkLength::Elements(shard)) if shard.is_multiple_of(chunk) => Ok(shard),
                Some(ChunkLength::Elements(shard)) => Err(LayoutError::BrokenShard {
                    variable: variable.path.clone(),
                    dimension: dimension.clone(),
                    shard,
                    chunk,
                }),
            }
        })
        .collect()
}
