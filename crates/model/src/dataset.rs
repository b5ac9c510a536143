//! Arrays, their dimensions and attributes: what a file or a store holds, without its values.

use serde::{Deserialize, Serialize};

use crate::{attribute::Attributes, codec::CodecChain, dtype::DataType};

/// Everything one file or store describes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Dataset {
    /// `netcdf4`, `hdf5`, `netcdf3`, `zarr2`, `zarr3`.
    pub format: String,
    /// Groups in file order, each before its children; the first is the root, `/`.
    pub groups: Vec<Group>,
    /// Variables in file order, by the group they are in.
    pub variables: Vec<Variable>,
    /// What could not be read, by name and reason. The rest was read.
    pub unread: Vec<Unread>,
}

/// A group of variables.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Group {
    /// Absolute: `/`, `/model/ocean`.
    pub path: String,
    /// Attributes of the group.
    pub attributes: Attributes,
    /// Dimensions declared in this group.
    pub dimensions: Vec<Dimension>,
}

/// A named length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dimension {
    /// Its name, without a path.
    pub name: String,
    /// Its present length.
    pub length: u64,
    /// Whether the file lets it grow.
    pub is_unlimited: bool,
}

/// One array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    /// Absolute path in the file: `/group/name`.
    pub path: String,
    /// What the variable is for.
    pub role: Role,
    /// Names of its dimensions, one for each of `shape`. A name may occur twice.
    pub dimensions: Vec<String>,
    /// Its present shape.
    pub shape: Vec<u64>,
    /// What one element is.
    pub dtype: DataType,
    /// How its chunks are cut. A variable stored in one piece is one chunk of its whole shape.
    pub chunk_shape: Vec<u64>,
    /// Whether the file itself cuts the variable into chunks.
    pub is_chunked: bool,
    /// How a chunk's elements become bytes.
    pub codecs: CodecChain,
    /// The value of elements that were never written, as little-endian bytes; zeros where the file says nothing.
    pub fill: Vec<u8>,
    /// Attributes verbatim, without the format's own bookkeeping.
    pub attributes: Attributes,
}

/// What an array of a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A variable that readers see.
    Variable,
    /// An HDF5 array that only stands for a netCDF dimension (`This is a netCDF dimension but not a netCDF variable`).
    DimensionOnly,
}

/// Something in a file that frazil could not read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unread {
    /// Its path; `/` for the file itself.
    pub path: String,
    /// The reason, in words.
    pub reason: String,
}

impl Variable {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path of the group it is in: `/` or `/a/b`.
    #[must_use]
    pub fn group(&self) -> &str {
        match self.path.rfind('/') {
            None | Some(0) => "/",
            Some(at) => &self.path[..at],
        }
    }

    /// How many elements; saturates for shapes that no memory holds.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        if self.shape.contains(&0) {
            return 0;
        }
        self.shape.iter().fold(1, |product, length| product.saturating_mul(*length))
    }

    /// How many chunks along each dimension.
    #[must_use]
    pub fn grid(&self) -> Vec<u64> {
        self.shape.iter().zip(&self.chunk_shape).map(|(length, chunk)| length.div_ceil((*chunk).max(1))).collect()
    }
}

impl Dataset {
    /// The variable at `path`. A netCDF dimension may have the name of a variable that does not describe it; then
    /// it is the variable.
    #[must_use]
    pub fn variable(&self, path: &str) -> Option<&Variable> {
        let mut named = self.variables.iter().filter(|variable| variable.path == path);
        let first = named.next()?;
        if first.role == Role::Variable {
            Some(first)
        } else {
            named.find(|v| v.role == Role::Variable).or(Some(first))
        }
    }

    /// The group at `path`.
    #[must_use]
    pub fn group(&self, path: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.path == path)
    }
}
