//! Where the values of each variable lie.
//!
//! A variable with the record dimension has one chunk a record; all record variables take turns, so its records lie
//! `record_bytes` apart. Any other variable is one chunk. It promises that every chunk it lists lies in the file.

use std::collections::HashSet;

use frazil_model::{
    codec::{ByteOrder, CodecChain},
    dataset::{Dataset, Dimension, Group, Role, Unread, Variable},
    manifest::{ChunkManifest, ChunkRanges, ChunkTable},
};

use super::header::{Header, HeaderVariable};
use crate::{Decoded, FormatError};

/// Most dimensions of a variable; numpy's bound, so that any reader can hold it.
const RANK_LIMIT: usize = 64;
/// Most records of all variables of a file together; their places take 24 bytes each.
const CHUNK_LIMIT: u64 = 1 << 24;
/// Most bytes of dimension names over all variables: names are repeated for each variable that uses them.
const DIMENSION_NAMES_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// What a variable takes in the file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    is_record: bool,
    /// Bytes of one record, or of the whole variable, without padding.
    n_bytes: u64,
}

/// The dataset and the places of its chunks, in a file of `size_bytes`.
pub(super) fn decoded(header: Header, size_bytes: u64) -> Result<Decoded, FormatError> {
    let extents = header.variables.iter().map(|variable| extent(&header, variable)).collect::<Result<Vec<_>, _>>()?;
    let record_bytes = record_bytes(&extents)?;
    let n_records = n_records(&header, &extents, record_bytes, size_bytes);
    check_limits(&header, &extents, n_records)?;
    check_order(&header, &extents, record_bytes)?;

    let mut dataset = Dataset { format: "netcdf3".into(), ..Dataset::default() };
    let mut tables = Vec::new();
    let mut names = HashSet::new();
    for (variable, extent) in header.variables.iter().zip(&extents) {
        if let Some(reason) = unusable(variable, &names) {
            dataset.unread.push(Unread { path: format!("/{}", variable.name), reason });
            continue;
        }
        names.insert(variable.name.as_str());
        let places = Places { extent: *extent, record_bytes, n_records, size_bytes, header_end: header.end };
        tables.push(ChunkTable::Ranges(places.ranges(variable)?));
        dataset.variables.push(described(&header, variable, *extent, n_records));
    }
    let dimensions = header
        .dimensions
        .iter()
        .map(|dimension| Dimension {
            name: dimension.name.clone(),
            length: if dimension.length == 0 { n_records } else { dimension.length },
            is_unlimited: dimension.length == 0,
        })
        .collect();
    dataset.groups.push(Group { path: "/".into(), attributes: header.attributes, dimensions });
    Ok(Decoded { dataset, manifest: ChunkManifest { tables, ..ChunkManifest::default() } })
}

/// Why a variable cannot be listed, though the rest of the file can.
fn unusable(variable: &HeaderVariable, names: &HashSet<&str>) -> Option<String> {
    if variable.name.is_empty() || variable.name.contains('/') {
        Some("its name is empty or has a slash in it".into())
    } else if names.contains(variable.name.as_str()) {
        Some("another variable has the same name".into())
    } else if variable.dimensions.len() > RANK_LIMIT {
        Some(format!("it has {} dimensions, more than {RANK_LIMIT}", variable.dimensions.len()))
    } else {
        None
    }
}

fn extent(header: &Header, variable: &HeaderVariable) -> Result<Extent, FormatError> {
    let mut n_bytes = u64::from(variable.value_type.size_bytes());
    let mut is_record = false;
    let lengths = variable.dimensions.iter().filter_map(|id| header.dimensions.get(*id)).map(|known| known.length);
    for (position, length) in lengths.enumerate() {
        match (position, length) {
            (0, 0) => is_record = true,
            (_, 0) => return Err(bad(variable, "only the first dimension may be unlimited".into())),
            _ => {
                n_bytes = n_bytes.checked_mul(length).ok_or_else(|| bad(variable, "its shape is absurd".into()))?;
            }
        }
    }
    Ok(Extent { is_record, n_bytes })
}

/// From one record of a variable to its next.
fn record_bytes(extents: &[Extent]) -> Result<u64, FormatError> {
    let records: Vec<u64> = extents.iter().filter(|extent| extent.is_record).map(|extent| extent.n_bytes).collect();
    // Variables are padded to four bytes, but a lone record variable is not: the format's one exception.
    if let [only] = records[..] {
        return Ok(only);
    }
    records.iter().try_fold(0_u64, |sum, n_bytes| sum.checked_add(n_bytes.checked_next_multiple_of(4)?)).ok_or_else(
        || FormatError::Malformed {
            what: "the record variables".into(),
            offset: 0,
            reason: "their sizes add up to more than a file can hold".into(),
        },
    )
}

/// How many records there are; counted from the file's size if the writer never filled the number in.
fn n_records(header: &Header, extents: &[Extent], record_bytes: u64, size_bytes: u64) -> u64 {
    header.n_records.unwrap_or_else(|| {
        let complete =
            header.variables.iter().zip(extents).filter(|(_, extent)| extent.is_record).map(|(variable, extent)| {
                match size_bytes.checked_sub(variable.begin.saturating_add(extent.n_bytes)) {
                    Some(beyond_first) => beyond_first / record_bytes.max(1) + 1,
                    None => 0,
                }
            });
        complete.min().unwrap_or(0)
    })
}

fn check_limits(header: &Header, extents: &[Extent], n_records: u64) -> Result<(), FormatError> {
    let n_record_variables = extents.iter().filter(|extent| extent.is_record).count() as u64;
    let claimed = n_records.saturating_mul(n_record_variables);
    if claimed > CHUNK_LIMIT {
        let what = "the number of records of all variables".to_owned();
        return Err(FormatError::TooLarge { what, claimed, limit: CHUNK_LIMIT });
    }
    let ids = header.variables.iter().flat_map(|variable| &variable.dimensions);
    let claimed = ids.filter_map(|id| header.dimensions.get(*id)).map(|known| known.name.len() as u64 + 24).sum();
    if claimed > DIMENSION_NAMES_LIMIT_BYTES {
        let what = "the text of all dimension names".to_owned();
        return Err(FormatError::TooLarge { what, claimed, limit: DIMENSION_NAMES_LIMIT_BYTES });
    }
    Ok(())
}

/// Values lie in the order in which variables are declared, those of records behind all others: a damaged place would show
/// the values of one variable as those of another. The netCDF library refuses such files, too.
fn check_order(header: &Header, extents: &[Extent], record_bytes: u64) -> Result<(), FormatError> {
    let placed = |is_record: bool| {
        let all = header.variables.iter().zip(extents);
        all.filter(move |(_, extent)| extent.is_record == is_record && extent.n_bytes > 0)
    };
    let mut before: Option<(&HeaderVariable, u64)> = None;
    for (variable, extent) in placed(false).chain(placed(true)) {
        if let Some((other, end)) = before
            && variable.begin < end
        {
            let reason = format!("its values lie before the end of those of `{}`, which is declared first", other.name);
            return Err(bad(variable, reason));
        }
        before = Some((variable, variable.begin.saturating_add(extent.n_bytes)));
    }
    match (placed(true).next(), before) {
        (Some((first, _)), Some((last, end))) if end > first.begin.saturating_add(record_bytes) => {
            Err(bad(last, "its first record ends behind the place of the second".into()))
        }
        _ => Ok(()),
    }
}

/// What is needed to place the chunks of one variable.
struct Places {
    extent: Extent,
    record_bytes: u64,
    n_records: u64,
    size_bytes: u64,
    header_end: u64,
}

impl Places {
    fn ranges(&self, variable: &HeaderVariable) -> Result<ChunkRanges, FormatError> {
        let Extent { is_record, n_bytes } = self.extent;
        let n_chunks = if is_record { self.n_records } else { 1 };
        let Some(last) = n_chunks.checked_sub(1) else {
            return Ok(ChunkRanges::default());
        };
        if variable.begin < self.header_end {
            return Err(bad(variable, format!("its values begin at byte {}, inside the header", variable.begin)));
        }
        // In `u128` the end of the last record cannot overflow.
        let end = u128::from(variable.begin) + u128::from(last) * u128::from(self.record_bytes) + u128::from(n_bytes);
        if end > u128::from(self.size_bytes) {
            return Err(FormatError::Truncated {
                what: format!("variable `{}`", variable.name),
                offset: variable.begin,
                end: u64::try_from(end).unwrap_or(u64::MAX),
                size_bytes: self.size_bytes,
            });
        }
        let (begin, record_bytes) = (variable.begin, self.record_bytes);
        Ok(ChunkRanges::of_runs((0..n_chunks).map(|index| (index, begin + index * record_bytes, n_bytes))))
    }
}

fn described(header: &Header, variable: &HeaderVariable, extent: Extent, n_records: u64) -> Variable {
    let known = || variable.dimensions.iter().filter_map(|id| header.dimensions.get(*id));
    let of_records = |length: u64, records: u64| if length == 0 { records } else { length };
    let shape: Vec<u64> = known().map(|dimension| of_records(dimension.length, n_records)).collect();
    let chunk_shape = match extent.is_record {
        true => known().map(|dimension| of_records(dimension.length, 1)).collect(),
        false => shape.clone(),
    };
    let value_bytes = variable.value_type.size_bytes() as usize;
    Variable {
        path: format!("/{}", variable.name),
        role: Role::Variable,
        dimensions: known().map(|dimension| dimension.name.clone()).collect(),
        shape,
        dtype: variable.value_type.data_type(),
        chunk_shape,
        // Records are how the format grows, not a choice of the writer's: nothing to copy into a store.
        is_chunked: false,
        codecs: CodecChain { byte_order: ByteOrder::Big, steps: Vec::new() },
        fill: variable.fill.clone().unwrap_or_else(|| vec![0; value_bytes]),
        attributes: variable.attributes.clone(),
    }
}

fn bad(variable: &HeaderVariable, reason: String) -> FormatError {
    FormatError::Malformed { what: format!("variable `{}`", variable.name), offset: variable.offset, reason }
}
