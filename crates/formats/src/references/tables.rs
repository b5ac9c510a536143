//! Kerchunk's references as Parquet tables: one row a chunk, in C order, cut into files of one length.
//!
//! Source: fsspec's `LazyReferenceMapper`: columns `path`, `offset`, `size`, `raw`; a row without path and bytes is a
//! chunk that is not there.

use std::sync::Arc;

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use crate::FormatError;

/// Rows of one file; readers load a file for any of its chunks.
pub const RECORD_ROWS: u64 = 100_000;

/// Rows of one file.
#[derive(Debug, Default)]
pub struct TableWriter {
    paths: Vec<ByteArray>,
    has_path: Vec<i16>,
    offsets: Vec<i64>,
    sizes: Vec<i64>,
    raws: Vec<ByteArray>,
    has_raw: Vec<i16>,
    last: Option<ByteArray>,
}

impl TableWriter {
    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    fn row(&mut self, path: Option<ByteArray>, offset: u64, size: u64, raw: Option<ByteArray>) {
        self.has_path.push(i16::from(path.is_some()));
        self.paths.extend(path);
        self.has_raw.push(i16::from(raw.is_some()));
        self.raws.extend(raw);
        self.offsets.push(i64::try_from(offset).unwrap_or(i64::MAX));
        self.sizes.push(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Adds a range of a file.
    pub fn range(&mut self, url: &str, offset: u64, length: u64) {
        let path = match &self.last {
            Some(last) if last.data() == url.as_bytes() => last.clone(),
            _ => ByteArray::from(url.as_bytes().to_vec()),
        };
        self.last = Some(path.clone());
        self.row(Some(path), offset, length, None);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.row(None, 0, 0, Some(ByteArray::from(bytes.to_vec())));
    }

    /// Fills up with chunks that are not there, to `n_rows` rows.
    pub fn missing_to(&mut self, n_rows: usize) {
        while self.len() < n_rows {
            self.row(None, 0, 0, None);
        }
    }

    /// The file.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        self.written().map_err(|error| FormatError::Unsupported {
            what: "a table of references".into(),
            reason: error.to_string(),
        })
    }

    fn written(self) -> Result<Vec<u8>, ParquetError> {
        let optional = |name: &str, converted| {
            Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                .with_repetition(Repetition::OPTIONAL)
                .with_converted_type(converted)
                .build()
                .map(Arc::new)
        };
        let number = |name: &str| {
            Type::primitive_type_builder(name, Physical::INT64)
                .with_repetition(Repetition::REQUIRED)
                .build()
                .map(Arc::new)
        };
        let fields = vec![
            optional("path", ConvertedType::UTF8)?,
            number("offset")?,
            number("size")?,
            optional("raw", ConvertedType::NONE)?,
        ];
        let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("frazil".to_owned())
            .build();
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        let mut number_of_column = 0;
        while let Some(mut column) = group.next_column()? {
            match number_of_column {
                0 => column.typed::<ByteArrayType>().write_batch(&self.paths, Some(&self.has_path), None)?,
                1 => column.typed::<Int64Type>().write_batch(&self.offsets, None, None)?,
                2 => column.typed::<Int64Type>().write_batch(&self.sizes, None, None)?,
                _ => column.typed::<ByteArrayType>().write_batch(&self.raws, Some(&self.has_raw), None)?,
            };
            column.close()?;
            number_of_column += 1;
        }
        group.close()?;
        file.close()?;
        Ok(bytes)
    }
}
