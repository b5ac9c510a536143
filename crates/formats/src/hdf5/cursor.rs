//! Reading little-endian fields one after another.
//!
//! It promises that no read leaves the bytes it was given: a short field is an error that names the structure and
//! the byte of the file where it lies. It does not know what the fields mean.

use crate::error::FormatError;

/// A place in the bytes of one structure.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    what: &'a str,
    offset: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`, which lie at `offset` of the file and are called `what`.
    pub const fn new(what: &'a str, offset: u64, bytes: &'a [u8]) -> Self {
        Self { what, offset, bytes, at: 0 }
    }

    /// The next `n_bytes`.
    pub fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(n_bytes).filter(|end| *end <= self.bytes.len());
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.bad(format!("{n_bytes} bytes do not fit in what is left of it")));
        };
        self.at += n_bytes;
        Ok(taken)
    }

    /// Leaves `n_bytes` out.
    pub fn skip(&mut self, n_bytes: usize) -> Result<(), FormatError> {
        self.take(n_bytes).map(|_| ())
    }

    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub fn u16(&mut self) -> Result<u16, FormatError> {
        let mut field = [0; 2];
        field.copy_from_slice(self.take(2)?);
        Ok(u16::from_le_bytes(field))
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        let mut field = [0; 4];
        field.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(field))
    }

    /// An unsigned number of `n_bytes`; those beyond the eighth must be zero.
    pub fn uint(&mut self, n_bytes: usize) -> Result<u64, FormatError> {
        let field = self.take(n_bytes)?;
        let (low, high) = field.split_at(field.len().min(8));
        if high.iter().any(|byte| *byte != 0) {
            return Err(self.bad("a number does not fit in 64 bits".into()));
        }
        Ok(low.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// An address of `n_bytes`; `None` if it is undefined (all bits set).
    pub fn address(&mut self, n_bytes: u8) -> Result<Option<u64>, FormatError> {
        let field = self.take(usize::from(n_bytes))?;
        if field.iter().all(|byte| *byte == 0xFF) {
            return Ok(None);
        }
        Self::new(self.what, self.position(), field).uint(field.len()).map(Some)
    }

    /// The bytes up to a NUL, which is left out.
    pub fn until_nul(&mut self) -> Result<&'a [u8], FormatError> {
        let rest = self.rest();
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(self.bad("a name has no end".into()));
        };
        let name = self.take(length)?;
        self.skip(1)?;
        Ok(name)
    }

    /// All that is left, without moving.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes were read.
    pub const fn done(&self) -> usize {
        self.at
    }

    /// Where in the file the next field lies.
    pub const fn position(&self) -> u64 {
        self.offset.saturating_add(self.at as u64)
    }

    /// The error that this structure is wrong here.
    pub fn bad(&self, reason: String) -> FormatError {
        FormatError::Malformed { what: self.what.to_owned(), offset: self.position(), reason }
    }
}
