//! One round of reading: the bytes held so far and what was understood in earlier rounds.
//!
//! It promises that a structure is parsed once however often it is named, and that a file cannot make us read its
//! bytes over and over: each round has a budget in proportion to the file.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    error::FormatError,
    hdf5::{
        btree2, fractal_heap::FractalHeap, global_heap::Collection, header::Header, shared::SharedTable,
        superblock::FileContext,
    },
    sparse::{SparseBytes, Stop},
};

/// A round may read each byte of a file this often…
const MAX_READS_PER_BYTE: u64 = 16;
/// …and this much besides, for small files.
const FREE_READ_BYTES: u64 = 64 << 20;
/// All names, attributes, chunk tables and other parsed values of a file may take as many bytes as the file, and this
/// many besides, since values take more memory than file.
const FREE_VALUE_BYTES: u64 = 96 << 20;

/// What was understood in earlier rounds.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub headers: HashMap<u64, Arc<Header>>,
    pub heaps: HashMap<u64, Arc<FractalHeap>>,
    pub collections: HashMap<u64, Arc<Collection>>,
    pub heap_blocks: HashMap<u64, Arc<Vec<u8>>>,
    /// Address and size of the indirect heap blocks whose checksum was compared.
    pub verified_blocks: HashSet<(u64, u64)>,
    pub records: HashMap<u64, Arc<Vec<Vec<u8>>>>,
    pub shared_table: Option<Arc<SharedTable>>,
    pub read_bytes: u64,
    pub value_bytes: u64,
}

/// The bytes held so far, with the memory of earlier rounds.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub bytes: &'a SparseBytes,
    pub context: FileContext,
    pub memo: &'a mut Memo,
}

impl<'a> Session<'a> {
    /// The `n_bytes` at `address`.
    pub fn read(&mut self, what: &str, address: u64, n_bytes: u64) -> Result<&'a [u8], Stop> {
        let offset = self.offset(what, address)?;
        let bytes = self.bytes.get(what, offset, n_bytes)?;
        self.count_read(what, n_bytes)?;
        Ok(bytes)
    }

    /// As many of the `n_bytes` at `address` as the file has.
    pub fn read_up_to(&mut self, what: &str, address: u64, n_bytes: u64) -> Result<&'a [u8], Stop> {
        let offset = self.offset(what, address)?;
        let bytes = self.bytes.get_up_to(what, offset, n_bytes)?;
        self.count_read(what, n_bytes)?;
        Ok(bytes)
    }

    /// All records of the v2 B-tree at `address`, in order.
    pub fn records(&mut self, address: u64) -> Result<Arc<Vec<Vec<u8>>>, Stop> {
        if let Some(records) = self.memo.records.get(&address) {
            return Ok(Arc::clone(records));
        }
        let records = Arc::new(btree2::records(address, &self.context, self.bytes)?);
        self.count_values("v2 B-trees", records.iter().map(|record| record.len() as u64 + 24).sum())?;
        self.memo.records.insert(address, Arc::clone(&records));
        Ok(records)
    }

    /// The byte of the file that `address` stands for.
    pub fn offset(&self, what: &str, address: u64) -> Result<u64, FormatError> {
        address.checked_add(self.context.base_address).ok_or_else(|| FormatError::Malformed {
            what: what.to_owned(),
            offset: address,
            reason: "its address is beyond any file".into(),
        })
    }

    fn count_read(&mut self, what: &str, n_bytes: u64) -> Result<(), FormatError> {
        let limit = self.bytes.size_bytes().saturating_mul(MAX_READS_PER_BYTE).saturating_add(FREE_READ_BYTES);
        self.memo.read_bytes = self.memo.read_bytes.saturating_add(n_bytes);
        if self.memo.read_bytes > limit {
            return Err(too_large(&format!("reading {what}"), self.memo.read_bytes, limit));
        }
        Ok(())
    }

    /// Counts `n_bytes` of values that will be kept.
    pub fn count_values(&mut self, what: &str, n_bytes: u64) -> Result<(), FormatError> {
        self.memo.value_bytes = self.memo.value_bytes.saturating_add(n_bytes);
        let limit = self.bytes.size_bytes().saturating_add(FREE_VALUE_BYTES);
        if self.memo.value_bytes > limit {
            return Err(too_large(&format!("memory for {what}"), self.memo.value_bytes, limit));
        }
        Ok(())
    }
}

/// The error that `what` asks for too much.
pub(crate) fn too_large(what: &str, claimed: u64, limit: u64) -> FormatError {
    FormatError::TooLarge { what: what.to_owned(), claimed, limit }
}

/// The error that `what` at `offset` makes no sense.
pub(crate) fn malformed(what: &str, offset: u64, reason: impl Into<String>) -> FormatError {
    FormatError::Malformed { what: what.to_owned(), offset, reason: reason.into() }
}

/// The error that frazil does not read `what`.
pub(crate) fn unsupported(what: &str, reason: impl Into<String>) -> FormatError {
    FormatError::Unsupported { what: what.to_owned(), reason: reason.into() }
}
