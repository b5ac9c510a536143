//! The words of a netCDF-3 header, in file order.
//!
//! It promises that no count of the file is believed: lists grow only as fast as their bytes are read, so memory
//! stays within a small multiple of the header. It does not know where values lie; that is `layout`.

use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    dtype::{DataType, FloatType, IntType},
};

use crate::FormatError;

/// Longest name; the netCDF library's own bound (`NC_MAX_NAME`).
const NAME_LIMIT_BYTES: u64 = 256;

/// Why the header could not be read from the bytes given.
#[derive(Debug)]
pub(super) enum HeaderStop {
    /// `what` at `offset` reaches to `end`, beyond the bytes given.
    RanOut { what: String, offset: u64, end: u64 },
    /// The bytes make no sense.
    Bad(FormatError),
}

impl From<FormatError> for HeaderStop {
    fn from(error: FormatError) -> Self {
        Self::Bad(error)
    }
}

/// What the header says.
#[derive(Debug)]
pub(super) struct Header {
    /// Records written; `None` if the writer was still streaming.
    pub(super) n_records: Option<u64>,
    pub(super) dimensions: Vec<HeaderDimension>,
    pub(super) attributes: Attributes,
    pub(super) variables: Vec<HeaderVariable>,
    /// One past the header's last byte.
    pub(super) end: u64,
}

/// A named length; 0 stands for the record dimension.
#[derive(Debug)]
pub(super) struct HeaderDimension {
    pub(super) name: String,
    pub(super) length: u64,
}

/// One variable as declared.
#[derive(Debug)]
pub(super) struct HeaderVariable {
    pub(super) name: String,
    /// Places in the list of dimensions; each was checked to be in it.
    pub(super) dimensions: Vec<usize>,
    pub(super) attributes: Attributes,
    /// `_FillValue` as little-endian bytes, if it is one value of the variable's type.
    pub(super) fill: Option<Vec<u8>>,
    pub(super) value_type: ValueType,
    /// First byte of the values, or of their first record.
    pub(super) begin: u64,
    /// Where the declaration starts, for messages.
    pub(super) offset: u64,
}

/// The external types of netCDF-3 (`NC_BYTE` to `NC_UINT64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Char,
    Int(IntType),
    Float(FloatType),
}

impl ValueType {
    pub(super) const fn size_bytes(self) -> u32 {
        match self {
            Self::Char => 1,
            Self::Int(int) => int.size_bytes(),
            Self::Float(float) => float.size_bytes(),
        }
    }

    pub(super) const fn data_type(self) -> DataType {
        match self {
            Self::Char => DataType::Char,
            Self::Int(int) => DataType::Int(int),
            Self::Float(float) => DataType::Float(float),
        }
    }
}

/// The three kinds of file differ in the width of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Classic,
    Offset64,
    Data64,
}

/// Reads the header at the start of `head`.
pub(super) fn parse(head: &[u8]) -> Result<Header, HeaderStop> {
    let mut words = Words { head, at: 0, version: Version::Classic };
    let magic = words.take("the magic number", 4)?;
    words.version = match magic {
        b"CDF\x01" => Version::Classic,
        b"CDF\x02" => Version::Offset64,
        b"CDF\x05" => Version::Data64,
        _ => return Err(FormatError::UnknownFormat { begins: format!("{:?}", String::from_utf8_lossy(magic)) }.into()),
    };
    let n_records = words.record_count()?;
    let mut dimensions = Vec::new();
    for _ in 0..words.list("the list of dimensions", 10)? {
        let name = words.name("the name of a dimension")?;
        let length = words.count("the length of a dimension")?;
        dimensions.push(HeaderDimension { name, length });
    }
    let (attributes, _) = words.attributes()?;
    let mut variables = Vec::new();
    for _ in 0..words.list("the list of variables", 11)? {
        variables.push(words.variable(dimensions.len())?);
    }
    Ok(Header { n_records, dimensions, attributes, variables, end: words.at as u64 })
}

/// A reader that knows how wide the numbers of this file are.
struct Words<'a> {
    head: &'a [u8],
    at: usize,
    version: Version,
}

impl<'a> Words<'a> {
    fn take(&mut self, what: &str, n_bytes: u64) -> Result<&'a [u8], HeaderStop> {
        let offset = self.at as u64;
        let end = offset.saturating_add(n_bytes);
        let taken = usize::try_from(end).ok().and_then(|end| self.head.get(self.at..end));
        let Some(taken) = taken else {
            return Err(HeaderStop::RanOut { what: what.to_owned(), offset, end });
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32, HeaderStop> {
        let bytes = self.take(what, 4)?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
    }

    fn u64(&mut self, what: &str) -> Result<u64, HeaderStop> {
        let bytes = self.take(what, 8)?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// A length or count: 8 bytes in CDF-5, else 4.
    fn count(&mut self, what: &str) -> Result<u64, HeaderStop> {
        match self.version {
            Version::Classic | Version::Offset64 => self.u32(what).map(u64::from),
            Version::Data64 => self.u64(what),
        }
    }

    /// A place in the file: 4 bytes in CDF-1, else 8.
    fn place(&mut self, what: &str) -> Result<u64, HeaderStop> {
        match self.version {
            Version::Classic => self.u32(what).map(u64::from),
            Version::Offset64 | Version::Data64 => self.u64(what),
        }
    }

    /// All bits set say that the count was never filled in.
    fn record_count(&mut self) -> Result<Option<u64>, HeaderStop> {
        let count = self.count("the number of records")?;
        let streaming = if self.version == Version::Data64 { u64::MAX } else { u64::from(u32::MAX) };
        Ok((count != streaming).then_some(count))
    }

    /// How many entries the list of kind `tag` has. An absent list is two zeros.
    fn list(&mut self, what: &str, tag: u32) -> Result<u64, HeaderStop> {
        let offset = self.at as u64;
        let found = self.u32(what)?;
        let count = self.count(what)?;
        if found == tag || (found == 0 && count == 0) {
            return Ok(count);
        }
        Err(malformed(what, offset, format!("its tag is {found}, not {tag}")))
    }

    /// Text and its padding to four bytes.
    fn padded(&mut self, what: &str, n_bytes: u64) -> Result<&'a [u8], HeaderStop> {
        let taken = self.take(what, n_bytes)?;
        let padding = (4 - n_bytes % 4) % 4;
        self.take(what, padding)?;
        Ok(taken)
    }

    fn name(&mut self, what: &str) -> Result<String, HeaderStop> {
        let n_bytes = self.count(what)?;
        if n_bytes > NAME_LIMIT_BYTES {
            let what = what.to_owned();
            return Err(FormatError::TooLarge { what, claimed: n_bytes, limit: NAME_LIMIT_BYTES }.into());
        }
        let bytes = self.padded(what, n_bytes)?;
        // A name ends at its first NUL, as in C: renaming in place leaves the rest of a longer name as NULs.
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    fn value_type(&mut self, what: &str) -> Result<ValueType, HeaderStop> {
        let offset = self.at as u64;
        let code = self.u32(what)?;
        Ok(match (code, self.version) {
            (1, _) => ValueType::Int(IntType::I8),
            (2, _) => ValueType::Char,
            (3, _) => ValueType::Int(IntType::I16),
            (4, _) => ValueType::Int(IntType::I32),
            (5, _) => ValueType::Float(FloatType::F32),
            (6, _) => ValueType::Float(FloatType::F64),
            (7, Version::Data64) => ValueType::Int(IntType::U8),
            (8, Version::Data64) => ValueType::Int(IntType::U16),
            (9, Version::Data64) => ValueType::Int(IntType::U32),
            (10, Version::Data64) => ValueType::Int(IntType::I64),
            (11, Version::Data64) => ValueType::Int(IntType::U64),
            _ => return Err(malformed(what, offset, format!("{code} is no type of this kind of file"))),
        })
    }

    /// The attributes, and the type and bytes of `_FillValue` if there is one.
    fn attributes(&mut self) -> Result<(Attributes, Option<RawValues<'a>>), HeaderStop> {
        let mut attributes = Attributes::default();
        let mut fill = None;
        for _ in 0..self.list("the list of attributes", 12)? {
            let name = self.name("the name of an attribute")?;
            let value_type = self.value_type("the type of an attribute")?;
            let count = self.count("the length of an attribute")?;
            let bytes = self.padded("an attribute", count.saturating_mul(u64::from(value_type.size_bytes())))?;
            let raw = RawValues { value_type, bytes };
            if name == "_FillValue" {
                fill = Some(raw);
            }
            attributes.0.push((name, raw.attribute()));
        }
        Ok((attributes, fill))
    }

    fn variable(&mut self, n_dimensions: usize) -> Result<HeaderVariable, HeaderStop> {
        let offset = self.at as u64;
        let name = self.name("the name of a variable")?;
        let mut dimensions = Vec::new();
        for _ in 0..self.count("the rank of a variable")? {
            let at = self.at as u64;
            let id = self.count("a dimension of a variable")?;
            match usize::try_from(id) {
                Ok(id) if id < n_dimensions => dimensions.push(id),
                _ => return Err(malformed(&format!("variable `{name}`"), at, format!("there is no dimension {id}"))),
            }
        }
        let (attributes, fill) = self.attributes()?;
        let value_type = self.value_type("the type of a variable")?;
        // The stored size is wrong for large variables in many files; it is computed from the shape instead.
        self.count("the size of a variable")?;
        let begin = self.place("the place of a variable")?;
        let fill = fill.filter(|raw| raw.value_type == value_type).and_then(RawValues::single_le_bytes);
        Ok(HeaderVariable { name, dimensions, attributes, fill, value_type, begin, offset })
    }
}

/// Big-endian values of an attribute.
#[derive(Clone, Copy)]
struct RawValues<'a> {
    value_type: ValueType,
    bytes: &'a [u8],
}

/// The big-endian values of `bytes` as numbers of the type of `from_be_bytes`.
fn numbers<const N: usize, T>(bytes: &[u8], from_be_bytes: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|value| from_be_bytes(*value)).collect()
}

impl RawValues<'_> {
    fn attribute(self) -> AttributeValue {
        let bytes = self.bytes;
        AttributeValue::Numbers(match self.value_type {
            // As the netCDF libraries show text: without NULs, wherever they stand. Text that is not UTF-8 (Latin-1
            // degree signs are common) keeps what can be kept.
            ValueType::Char => return AttributeValue::Text(String::from_utf8_lossy(bytes).replace('\0', "")),
            ValueType::Int(IntType::I8) => Numbers::I8(numbers(bytes, i8::from_be_bytes)),
            ValueType::Int(IntType::I16) => Numbers::I16(numbers(bytes, i16::from_be_bytes)),
            ValueType::Int(IntType::I32) => Numbers::I32(numbers(bytes, i32::from_be_bytes)),
            ValueType::Int(IntType::I64) => Numbers::I64(numbers(bytes, i64::from_be_bytes)),
            ValueType::Int(IntType::U8) => Numbers::U8(numbers(bytes, u8::from_be_bytes)),
            ValueType::Int(IntType::U16) => Numbers::U16(numbers(bytes, u16::from_be_bytes)),
            ValueType::Int(IntType::U32) => Numbers::U32(numbers(bytes, u32::from_be_bytes)),
            ValueType::Int(IntType::U64) => Numbers::U64(numbers(bytes, u64::from_be_bytes)),
            ValueType::Float(FloatType::F64) => Numbers::F64(numbers(bytes, f64::from_be_bytes)),
            // netCDF-3 has no half floats.
            ValueType::Float(FloatType::F32 | FloatType::F16) => Numbers::F32(numbers(bytes, f32::from_be_bytes)),
        })
    }

    /// The one value as little-endian bytes; `None` if there are more or fewer.
    fn single_le_bytes(self) -> Option<Vec<u8>> {
        let is_single = self.bytes.len() == self.value_type.size_bytes() as usize;
        is_single.then(|| self.bytes.iter().rev().copied().collect())
    }
}

pub(super) fn malformed(what: &str, offset: u64, reason: String) -> HeaderStop {
    HeaderStop::Bad(FormatError::Malformed { what: what.to_owned(), offset, reason })
}
