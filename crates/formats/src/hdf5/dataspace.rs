//! Dataspace messages, versions 1 and 2: the shape of an array and how far it may grow.

use crate::{
    error::FormatError,
    hdf5::{cursor::Cursor, superblock::FileContext},
};

/// HDF5's own limit.
const MAX_RANK: u8 = 32;

/// A shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dataspace {
    /// No values at all.
    Null,
    /// One value (rank 0) or an array of them.
    Simple {
        shape: Vec<u64>,
        /// `None` where the dimension may grow for ever.
        max_shape: Vec<Option<u64>>,
    },
}

impl Dataspace {
    /// How many elements, unless that is too many to count.
    pub fn n_elements(&self) -> Option<u64> {
        match self {
            Self::Null => Some(0),
            Self::Simple { shape, .. } if shape.contains(&0) => Some(0),
            Self::Simple { shape, .. } => shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length)),
        }
    }
}

/// Reads a dataspace message's body.
pub(crate) fn dataspace(context: FileContext, offset: u64, body: &[u8]) -> Result<Dataspace, FormatError> {
    let mut cursor = Cursor::new("dataspace", offset, body);
    let version = cursor.u8()?;
    let rank = cursor.u8()?;
    let flags = cursor.u8()?;
    if rank > MAX_RANK {
        return Err(cursor.bad(format!("{rank} dimensions")));
    }
    let is_null = match version {
        1 => {
            cursor.skip(5)?;
            false
        }
        2 => match cursor.u8()? {
            0 | 1 => false,
            2 => true,
            kind => return Err(cursor.bad(format!("kind {kind}"))),
        },
        _ => return Err(cursor.bad(format!("version {version}"))),
    };
    if is_null {
        return Ok(Dataspace::Null);
    }
    let length_bytes = usize::from(context.length_bytes);
    let shape = (0..rank).map(|_| cursor.uint(length_bytes)).collect::<Result<Vec<u64>, _>>()?;
    let max_shape = if flags & 1 != 0 {
        (0..rank).map(|_| cursor.address(context.length_bytes)).collect::<Result<Vec<_>, _>>()?
    } else {
        shape.iter().copied().map(Some).collect()
    };
    if shape.iter().zip(&max_shape).any(|(length, max)| max.is_some_and(|max| max < *length)) {
        return Err(cursor.bad("a dimension is longer than it may become".into()));
    }
    Ok(Dataspace::Simple { shape, max_shape })
}
