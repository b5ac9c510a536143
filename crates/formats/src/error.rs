//! Why the bytes of a file could not be understood.

use frazil_model::problem::Problem;

/// Why the bytes of a file could not be understood. The caller adds which file.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FormatError {
    #[error("not a netCDF or HDF5 file: it begins with {begins}")]
    UnknownFormat { begins: String },
    #[error("truncated: {what} needs bytes {offset} to {end}, the file has {size_bytes}")]
    Truncated { what: String, offset: u64, end: u64, size_bytes: u64 },
    #[error("{what} at byte {offset}: {reason}")]
    Malformed { what: String, offset: u64, reason: String },
    #[error("{what} is not something frazil reads: {reason}")]
    Unsupported { what: String, reason: String },
    #[error("{what} claims {claimed}, more than the limit of {limit}")]
    TooLarge { what: String, claimed: u64, limit: u64 },
    #[error("chunk of {codec}: {reason}")]
    Chunk { codec: String, reason: String },
}

impl Problem for FormatError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownFormat { .. } => "format.unknown",
            Self::Truncated { .. } => "format.truncated",
            Self::Malformed { .. } => "format.malformed",
            Self::Unsupported { .. } => "format.unsupported",
            Self::TooLarge { .. } => "format.too-large",
            Self::Chunk { .. } => "format.chunk",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat { .. } => Some("frazil reads netCDF-3, netCDF-4 and HDF5 files and Zarr stores".into()),
            Self::Truncated { .. } => Some("the download may be incomplete; fetch the file again".into()),
            Self::Malformed { .. } | Self::Chunk { .. } => {
                Some("the file may be damaged; compare its checksum with the provider's".into())
            }
            Self::Unsupported { .. } | Self::TooLarge { .. } => None,
        }
    }
}
