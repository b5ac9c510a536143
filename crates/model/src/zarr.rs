//! One array of a Zarr store: what its metadata says, for either format.
//!
//! It promises that a chunk has one key. It does not know JSON; that is the concern of the formats.

use serde::{Deserialize, Serialize};

use crate::{
    attribute::Attributes,
    codec::CodecChain,
    counts::Calibration,
    dtype::DataType,
    region::{grid_of, number_of},
};

/// Files that make a folder a Zarr store, or an array or group of one.
pub const DOCUMENTS: [&str; 5] = ["zarr.json", ".zgroup", ".zarray", ".zmetadata", "refs/branch.main/ref.json"];

/// Which Zarr specification a store follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ZarrFormat {
    /// `.zarray`, `.zattrs`, `.zgroup`, `.zmetadata`.
    V2,
    /// `zarr.json`.
    #[default]
    V3,
}

/// What stands between the numbers of a chunk's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Separator {
    Dot,
    Slash,
}

/// How the key of a chunk is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChunkKeys {
    /// `c/0/1`: v3's own.
    Default(Separator),
    /// `0.1`: v2's, which v3 can use as well.
    V2(Separator),
}

/// At which end of a shard its index lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum IndexPlace {
    Start,
    End,
}

/// Whether the index of a shard is followed by its CRC-32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum IndexChecksum {
    Crc32c,
    None,
}

/// Objects that hold many chunks each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shards {
    /// Elements of a shard along each dimension: a multiple of the chunk's.
    pub shape: Vec<u64>,
    /// Where the index is.
    pub index_place: IndexPlace,
    /// What follows the index.
    pub index_checksum: IndexChecksum,
}

impl Shards {
    /// Shards as stock zarr-python writes them.
    #[must_use]
    pub const fn of(shape: Vec<u64>) -> Self {
        Self { shape, index_place: IndexPlace::End, index_checksum: IndexChecksum::Crc32c }
    }
}

/// Everything the metadata of one array says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArrayLayout {
    /// Absolute path in the store: `/group/name`.
    pub path: String,
    /// Present shape.
    pub shape: Vec<u64>,
    /// Elements of a chunk along each dimension.
    pub chunk_shape: Vec<u64>,
    /// The objects that chunks lie in; `None`: each chunk is an object.
    pub shards: Option<Shards>,
    /// What one element is.
    pub dtype: DataType,
    /// The value of elements in no object, as little-endian bytes. `None`: nothing is said (v2's `null`).
    pub fill: Option<Vec<u8>>,
    /// How a chunk's elements become bytes.
    pub codecs: CodecChain,
    /// Names of the dimensions.
    pub dimensions: Vec<String>,
    /// Attributes, with `_FillValue` of the array's type, wherever the format keeps it.
    pub attributes: Attributes,
    /// How chunk keys are spelled.
    pub keys: ChunkKeys,
    /// What readers see in place of these counts, their packing and their marks for "missing".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

impl ArrayLayout {
    /// The key of the chunk (or shard) at `coordinates` of its grid, relative to the array's folder.
    #[must_use]
    pub fn chunk_key(&self, coordinates: &[u64]) -> String {
        let (first, separator) = match self.keys {
            ChunkKeys::Default(separator) => (Some("c".to_owned()), separator),
            // An array without dimensions has one chunk, `0`.
            ChunkKeys::V2(separator) => (coordinates.is_empty().then(|| "0".to_owned()), separator),
        };
        let separator = match separator {
            Separator::Dot => ".",
            Separator::Slash => "/",
        };
        let parts: Vec<String> = first.into_iter().chain(coordinates.iter().map(u64::to_string)).collect();
        parts.join(separator)
    }

    /// How many objects there are along each dimension.
    #[must_use]
    pub fn object_grid(&self) -> Vec<u64> {
        grid_of(&self.shape, self.object_shape())
    }

    /// The number of the object of `key`, relative to the array's folder, in C order of the grid of objects; `None` if it
    /// is that of no object.
    #[must_use]
    pub fn object_number(&self, key: &str) -> Option<u64> {
        let numbers: Vec<u64> = key.split(['/', '.']).filter_map(|part| part.parse().ok()).collect();
        let at = if self.shape.is_empty() { Vec::new() } else { numbers };
        let grid = self.object_grid();
        let is_inside = at.len() == grid.len() && at.iter().zip(&grid).all(|(at, length)| at < length);
        // A key that is spelled in another way is that of no object.
        (is_inside && self.chunk_key(&at) == key).then(|| number_of(&at, &grid))
    }

    /// Elements of an object along each dimension: of a shard, else of a chunk.
    #[must_use]
    pub fn object_shape(&self) -> &[u64] {
        self.shards.as_ref().map_or(&self.chunk_shape, |shards| &shards.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_keys_are_spelled_as_the_specifications_say() {
        let key = |keys, coordinates: &[u64]| {
            let layout = ArrayLayout {
                path: "/a".into(),
                shape: Vec::new(),
                chunk_shape: Vec::new(),
                shards: None,
                dtype: DataType::Bool,
                fill: None,
                codecs: CodecChain::default(),
                dimensions: Vec::new(),
                attributes: Attributes::default(),
                keys,
                calibration: None,
            };
            layout.chunk_key(coordinates)
        };
        assert_eq!(key(ChunkKeys::Default(Separator::Slash), &[1, 20]), "c/1/20");
        assert_eq!(key(ChunkKeys::Default(Separator::Dot), &[1, 20]), "c.1.20");
        assert_eq!(key(ChunkKeys::Default(Separator::Slash), &[]), "c");
        assert_eq!(key(ChunkKeys::V2(Separator::Dot), &[1, 20]), "1.20");
        assert_eq!(key(ChunkKeys::V2(Separator::Slash), &[1, 20]), "1/20");
        assert_eq!(key(ChunkKeys::V2(Separator::Dot), &[]), "0");
    }
}
