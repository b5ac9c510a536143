//! How the elements of a chunk become its stored bytes.

use serde::{Deserialize, Serialize};

use crate::dtype::{FloatType, IntType};

/// Which end of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ByteOrder {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

/// One step from elements to stored bytes. Decoding goes through a chain from its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// Bytes of equal weight side by side.
    Shuffle {
        /// Bytes of an element.
        element_bytes: u32,
    },
    /// zlib (RFC 1950).
    Deflate {
        /// 0 to 9; says nothing about decoding.
        level: Option<u32>,
    },
    /// gzip (RFC 1952).
    Gzip {
        /// 0 to 9.
        level: Option<u32>,
    },
    /// HDF5's Fletcher-32 checksum, in the last four bytes.
    Fletcher32,
    /// CRC-32C in the last four bytes (Zarr v3).
    Crc32c,
    /// Zstandard frames (RFC 8878).
    Zstd {
        /// Compression level.
        level: Option<i32>,
    },
    /// A c-blosc 1 container. It describes itself; the fields say how to encode.
    Blosc {
        /// `zstd`, `lz4`, `lz4hc`, `zlib`, `blosclz` or `snappy`.
        cname: String,
        /// 0 to 9.
        clevel: u32,
        /// 0 none, 1 bytes, 2 bits.
        shuffle: u32,
        /// Bytes of an element.
        element_bytes: u32,
    },
    /// Integers that use only some bits of their bytes, as HDF5 allows. Decoding fills the others with the sign.
    IntegerBits {
        /// What a reader sees.
        int: IntType,
        /// Lowest bit of the value.
        offset: u32,
        /// Bits of the value.
        precision: u32,
    },
    /// Floats whose parts lie elsewhere in their bytes than IEEE 754 puts them. Decoding moves them.
    FloatBits {
        /// What a reader sees; it holds every such number.
        float: FloatType,
        /// Where the parts lie.
        parts: FloatParts,
    },
    /// Texts in cells of fixed size, of which readers see only the part before the end. Decoding fills the rest with
    /// NUL.
    TextCells {
        /// Bytes of a cell.
        size_bytes: u32,
        /// How a text ends.
        end: TextEnd,
    },
    /// Any other HDF5 filter, by its registered number and client values (`H5Pset_filter`).
    Hdf5 {
        /// Registered number.
        id: u32,
        /// Name in the file, if any.
        name: String,
        /// Client values as stored.
        values: Vec<u32>,
    },
}

/// Where the parts of a float lie, in bits from the lowest. The leading one of the mantissa is implied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FloatParts {
    pub sign_at: u32,
    pub exponent_at: u32,
    pub exponent_bits: u32,
    pub mantissa_at: u32,
    pub mantissa_bits: u32,
    pub bias: u32,
}

/// How a text ends inside a cell of fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextEnd {
    /// At the first NUL; what follows may be anything.
    FirstNul,
    /// Before the spaces at the end of the cell.
    Spaces,
}

impl TextEnd {
    /// Fills `cell` with NUL from the end of its text on.
    pub fn clean(self, cell: &mut [u8]) {
        let length = match self {
            Self::FirstNul => cell.iter().position(|byte| *byte == 0).unwrap_or(cell.len()),
            Self::Spaces => cell.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1),
        };
        if let Some(rest) = cell.get_mut(length..) {
            rest.fill(0);
        }
    }
}

/// The steps in encoding order, after the elements were laid out in `byte_order`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct CodecChain {
    /// Order of the bytes of a number.
    pub byte_order: ByteOrder,
    /// Steps in encoding order.
    pub steps: Vec<Codec>,
}

impl CodecChain {
    /// The chain without what does not matter for decoding.
    ///
    /// Two chains with the same normal form decode any chunk alike: compression levels, a shuffle of one-byte
    /// elements and the byte order of one-byte elements are gone. Checksum trailers stay, since they take bytes.
    #[must_use]
    pub fn normal_form(&self, swap_bytes: u32) -> Self {
        let steps = self
            .steps
            .iter()
            .filter(|step| !matches!(step, Codec::Shuffle { element_bytes: 0 | 1 }))
            .map(|step| match step {
                Codec::Deflate { .. } => Codec::Deflate { level: None },
                Codec::Gzip { .. } => Codec::Gzip { level: None },
                Codec::Zstd { .. } => Codec::Zstd { level: None },
                Codec::Blosc { .. } => Codec::Blosc { cname: String::new(), clevel: 0, shuffle: 0, element_bytes: 0 },
                other => other.clone(),
            })
            .collect();
        let byte_order = if swap_bytes <= 1 { ByteOrder::Little } else { self.byte_order };
        Self { byte_order, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_level_does_not_make_two_chains_differ() {
        let chain = |level| CodecChain {
            byte_order: ByteOrder::Little,
            steps: vec![Codec::Shuffle { element_bytes: 4 }, Codec::Deflate { level: Some(level) }],
        };
        assert_ne!(chain(4), chain(6));
        assert_eq!(chain(4).normal_form(4), chain(6).normal_form(4));
    }

    #[test]
    fn one_byte_elements_have_no_order_to_shuffle() {
        let shuffled = CodecChain { byte_order: ByteOrder::Big, steps: vec![Codec::Shuffle { element_bytes: 1 }] };
        assert_eq!(shuffled.normal_form(1), CodecChain::default());
    }
}
