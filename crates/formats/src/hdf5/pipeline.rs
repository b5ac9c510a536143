//! Filter pipeline messages, versions 1 and 2, and the codecs they stand for.

use frazil_model::codec::Codec;

use crate::{codecs::from_hdf5_filter, error::FormatError, hdf5::cursor::Cursor};

/// HDF5's own limit.
const MAX_FILTERS: u8 = 32;
/// Filters from this number on always carry the length of their name.
const FIRST_REGISTERED: u16 = 256;

/// One filter as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub id: u16,
    pub name: String,
    pub values: Vec<u32>,
}

/// Reads a filter pipeline message's body: filters in encoding order.
pub(crate) fn pipeline(offset: u64, body: &[u8]) -> Result<Vec<Filter>, FormatError> {
    let mut cursor = Cursor::new("filter pipeline", offset, body);
    let version = cursor.u8()?;
    let n_filters = cursor.u8()?;
    if !matches!(version, 1 | 2) {
        return Err(cursor.bad(format!("version {version}")));
    }
    if n_filters > MAX_FILTERS {
        return Err(cursor.bad(format!("{n_filters} filters")));
    }
    if version == 1 {
        cursor.skip(6)?;
    }
    (0..n_filters).map(|_| filter(&mut cursor, version)).collect()
}

fn filter(cursor: &mut Cursor<'_>, version: u8) -> Result<Filter, FormatError> {
    let id = cursor.u16()?;
    let name_bytes = if version == 1 || id >= FIRST_REGISTERED { usize::from(cursor.u16()?) } else { 0 };
    // The flags say whether a writer may leave the filter out; each chunk's mask says whether it did.
    cursor.skip(2)?;
    let n_values = cursor.u16()?;
    let stored_bytes = if version == 1 { name_bytes.next_multiple_of(8) } else { name_bytes };
    let name = cursor.take(stored_bytes)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let values = (0..n_values).map(|_| cursor.u32()).collect::<Result<Vec<u32>, _>>()?;
    if version == 1 && n_values % 2 == 1 {
        cursor.skip(4)?;
    }
    Ok(Filter { id, name: String::from_utf8_lossy(name).into_owned(), values })
}

/// The codec that `filter` stands for, on elements of `element_bytes`.
pub(crate) fn codec(filter: &Filter, element_bytes: u32) -> Codec {
    let first = filter.values.first().copied();
    match (filter.id, filter.values.as_slice()) {
        (32015, _) => Codec::Zstd { level: first.map(u32::cast_signed) },
        (32001, [_, _, element_bytes, _, clevel, shuffle, compressor, ..]) if blosc_name(*compressor).is_some() => {
            Codec::Blosc {
                cname: blosc_name(*compressor).unwrap_or_default().to_owned(),
                clevel: *clevel,
                shuffle: *shuffle,
                element_bytes: *element_bytes,
            }
        }
        _ => from_hdf5_filter(filter.id.into(), &filter.name, &filter.values, element_bytes),
    }
}

/// c-blosc's names of its compressors, by number.
const fn blosc_name(compressor: u32) -> Option<&'static str> {
    Some(match compressor {
        0 => "blosclz",
        1 => "lz4",
        2 => "lz4hc",
        3 => "snappy",
        4 => "zlib",
        5 => "zstd",
        _ => return None,
    })
}
