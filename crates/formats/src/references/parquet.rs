//! Kerchunk's references as Parquet: `.zmetadata` beside a folder of tables for each array, `refs.0.parq` and so on, of
//! `record_size` chunks each.
//!
//! It promises to put no more rows than the arrays have chunks, and that a table of another form is refused by name.

use bytes::Bytes;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use serde::Deserialize;

use super::{
    MOST_REFERENCES, bad,
    table::{Described, Tables, Target},
    too_many,
};
use crate::{FormatError, zarr};

/// Bytes of one table, packed and unpacked.
pub const MOST_TABLE_BYTES: u64 = 256 << 20;

/// What tells `.zmetadata` of references from that of a store.
#[derive(Deserialize)]
struct Head {
    record_size: u64,
}

/// A document of references while its tables are read.
pub struct ParquetReferences {
    tables: Tables,
    record_size: u64,
}

/// One table of some chunks of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which array, by number.
    pub array: usize,
    /// The first of its chunks.
    pub first_chunk: u64,
    /// The key of the table.
    pub key: String,
}

impl ParquetReferences {
    /// Reads `.zmetadata`; `None` if it is that of a store that has its chunks itself.
    ///
    /// # Errors
    /// If it is no such document, or would lead to more references than the bounds allow.
    pub fn of(text: &str) -> Result<Option<Self>, FormatError> {
        let Ok(Head { record_size }) = serde_json::from_str(text) else { return Ok(None) };
        let tables = Tables::of(zarr::read_v2_consolidated(text)?);
        let chunks = tables.layouts().iter().map(|layout| frazil_model::region::count(&layout.object_grid()));
        let n_chunks = chunks.fold(0_u64, u64::saturating_add);
        if n_chunks > MOST_REFERENCES as u64 {
            return Err(too_many(
                "the number of chunks",
                usize::try_from(n_chunks).unwrap_or(usize::MAX),
                MOST_REFERENCES,
            ));
        }
        if record_size == 0 {
            return Err(bad("its tables have no rows (`record_size`)"));
        }
        Ok(Some(Self { tables, record_size }))
    }

    /// The tables that there may be.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut all = Vec::new();
        for (array, layout) in self.tables.layouts().iter().enumerate() {
            let n_records = frazil_model::region::count(&layout.object_grid()).div_ceil(self.record_size);
            let folder = layout.path.trim_start_matches('/');
            all.extend((0..n_records).map(|number| Record {
                array,
                first_chunk: number * self.record_size,
                key: format!("{folder}/refs.{number}.parq"),
            }));
        }
        all
    }

    /// Puts the rows of a table.
    ///
    /// # Errors
    /// If it is none of references.
    pub fn put(&mut self, record: &Record, bytes: Bytes) -> Result<(), FormatError> {
        let failed = |error: parquet::errors::ParquetError| bad(format!("`{}`: {error}", record.key));
        let reader = SerializedFileReader::new(bytes).map_err(failed)?;
        let about = reader.metadata();
        let n_bytes = about.row_groups().iter().map(|group| group.total_byte_size()).fold(0, i64::saturating_add);
        if !u64::try_from(n_bytes).is_ok_and(|n_bytes| n_bytes <= MOST_TABLE_BYTES) {
            return Err(bad(format!("`{}` unpacks to more than {MOST_TABLE_BYTES} bytes", record.key)));
        }
        let n_chunks =
            self.tables.layouts().get(record.array).map_or(0, |one| frazil_model::region::count(&one.object_grid()));
        let n_most = self.record_size.min(n_chunks.saturating_sub(record.first_chunk));
        for (number, row) in (0..n_most).zip(reader.get_row_iter(None).map_err(failed)?) {
            let row = row.map_err(failed)?;
            let (mut path, mut raw, mut offset, mut size) = (None, None, 0_u64, 0_u64);
            for (name, field) in row.get_column_iter() {
                match (name.as_str(), field) {
                    ("path", Field::Str(text)) => path = Some(text.clone()),
                    ("path", Field::Bytes(bytes)) => path = bytes.as_utf8().ok().map(str::to_owned),
                    ("raw", Field::Bytes(bytes)) => raw = Some(bytes.data().to_vec()),
                    ("raw", Field::Str(text)) => raw = Some(text.as_bytes().to_vec()),
                    ("offset", field) => offset = whole(field, record)?,
                    ("size", field) => size = whole(field, record)?,
                    _ => {}
                }
            }
            let target = match (raw, path.filter(|path| !path.is_empty())) {
                (Some(bytes), _) => Target::Bytes(bytes.into()),
                // As fsspec has it: no offset and no size mean the whole file.
                (None, Some(path)) => Target::File(path.into(), offset, (offset != 0 || size != 0).then_some(size)),
                (None, None) => continue,
            };
            self.tables.put_chunk(record.array, record.first_chunk + number, &target)?;
        }
        Ok(())
    }

    /// The tables, once all were put.
    #[must_use]
    pub fn finish(self) -> Described {
        self.tables.finish("kerchunk")
    }
}

fn whole(field: &Field, record: &Record) -> Result<u64, FormatError> {
    let number = match field {
        Field::Null => Some(0),
        Field::Long(number) => u64::try_from(*number).ok(),
        Field::Int(number) => u64::try_from(*number).ok(),
        Field::ULong(number) => Some(*number),
        Field::UInt(number) => Some((*number).into()),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // looked at before
        Field::Double(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => Some(*number as u64),
        _ => None,
    };
    number.ok_or_else(|| bad(format!("`{}` has an offset or a size that is none", record.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_has_its_chunks_itself_is_none() {
        assert!(ParquetReferences::of(r#"{"zarr_consolidated_format":1,"metadata":{}}"#).unwrap().is_none());
    }

    #[test]
    fn more_chunks_than_any_table_holds_are_refused() {
        let array = r#"{"zarr_format":2,"shape":[1000000000],"chunks":[1],"dtype":"<i2","compressor":null,"filters":null,"fill_value":null,"order":"C"}"#;
        let text = format!(r#"{{"record_size":10,"metadata":{{"x/.zarray":{array}}}}}"#);
        assert!(ParquetReferences::of(&text).is_err());
        let small = text.replace("1000000000", "25");
        let keys: Vec<String> =
            ParquetReferences::of(&small).unwrap().unwrap().records().into_iter().map(|record| record.key).collect();
        assert_eq!(keys, ["x/refs.0.parq", "x/refs.1.parq", "x/refs.2.parq"]);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let text = r#"{"record_size":10,"metadata":{"x/.zarray":{"zarr_format":2,"shape":[4],"chunks":[1],"dtype":"<i2","compressor":null,"filters":null,"fill_value":null,"order":"C"}}}"#;
        let mut references = ParquetReferences::of(text).unwrap().unwrap();
        let record = references.records().remove(0);
        for bytes in [&b""[..], b"PAR1", b"PAR1\0\0\0\0PAR1", &[0xff; 64]] {
            assert!(references.put(&record, Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
