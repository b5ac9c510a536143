//! The superblock: where the file begins, how wide its addresses are, and where the root group is.
//!
//! It promises that the file is as long as its superblock says. Versions 0 to 3 are read.

use crate::{
    error::FormatError,
    hdf5::{checksum, cursor::Cursor},
    sparse::{SparseBytes, Stop, Wants},
};

/// The eight bytes that every HDF5 file has at 0, 512, 1024, 2048…
pub(crate) const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// How addresses and lengths are written in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileContext {
    /// Bytes of an address.
    pub offset_bytes: u8,
    /// Bytes of a length.
    pub length_bytes: u8,
    /// Byte of the file that address 0 stands for.
    pub base_address: u64,
}

/// What the superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub context: FileContext,
    /// Object header of the root group.
    pub root: u64,
    /// Object header with further messages on the file.
    pub extension: Option<u64>,
    /// Driver information of old files.
    pub driver: Option<u64>,
}

/// Largest superblock: version 1 with 8-byte addresses has 100 bytes.
const MAX_SUPERBLOCK_BYTES: u64 = 128;

/// Finds and reads the superblock.
pub(crate) fn superblock(bytes: &SparseBytes) -> Result<Superblock, Stop> {
    let mut at = 0;
    let mut wants = Wants::default();
    while at < bytes.size_bytes() {
        let head = wants.collect(bytes.get_up_to("file signature", at, 8))?;
        if head.is_some_and(|head| head == SIGNATURE) {
            // A place before this one that is not here yet may be the right one.
            wants.or_stop()?;
            return read(bytes, at);
        }
        if at == 0 && head.is_none() {
            break;
        }
        at = if at == 0 { 512 } else { at.saturating_mul(2) };
    }
    // All places where a user block may end are wanted at once.
    wants.or_stop()?;
    let head = bytes.get_up_to("file signature", 0, 8)?;
    Err(Stop::Bad(FormatError::UnknownFormat { begins: begins(head) }))
}

/// The first bytes of a file, for people.
fn begins(head: &[u8]) -> String {
    if head.is_empty() { "nothing: it is empty".into() } else { format!("\"{}\"", head.escape_ascii()) }
}

fn read(bytes: &SparseBytes, at: u64) -> Result<Superblock, Stop> {
    let block = bytes.get_up_to("superblock", at, MAX_SUPERBLOCK_BYTES)?;
    let mut cursor = Cursor::new("superblock", at, block);
    cursor.skip(8)?;
    let version = cursor.u8()?;
    match version {
        0 | 1 => read_old(bytes, at, version, cursor),
        2 | 3 => read_new(bytes, at, version, cursor, block),
        _ => Err(Stop::Bad(FormatError::Unsupported {
            what: "HDF5 superblock".into(),
            reason: format!("its version {version} is newer than 3"),
        })),
    }
}

fn read_old(bytes: &SparseBytes, at: u64, version: u8, mut cursor: Cursor<'_>) -> Result<Superblock, Stop> {
    cursor.skip(4)?;
    let (offset_bytes, length_bytes) = sizes(&mut cursor)?;
    cursor.skip(1 + 2 + 2 + 4)?;
    if version == 1 {
        cursor.skip(4)?;
    }
    let base = cursor.address(offset_bytes)?;
    cursor.address(offset_bytes)?;
    let end = cursor.address(offset_bytes)?;
    let driver = cursor.address(offset_bytes)?;
    cursor.address(offset_bytes)?;
    let root = cursor.address(offset_bytes)?.ok_or_else(|| cursor.bad("it has no root group".into()))?;
    check_end(bytes, at, base.unwrap_or(0), end)?;
    Ok(Superblock {
        context: FileContext { offset_bytes, length_bytes, base_address: at },
        root,
        extension: None,
        driver,
    })
}

fn read_new(
    bytes: &SparseBytes,
    at: u64,
    version: u8,
    mut cursor: Cursor<'_>,
    block: &[u8],
) -> Result<Superblock, Stop> {
    let (offset_bytes, length_bytes) = sizes(&mut cursor)?;
    let flags = cursor.u8()?;
    let base = cursor.address(offset_bytes)?;
    let extension = cursor.address(offset_bytes)?;
    let end = cursor.address(offset_bytes)?;
    let root = cursor.address(offset_bytes)?.ok_or_else(|| cursor.bad("it has no root group".into()))?;
    cursor.skip(4)?;
    checksum::verify("superblock", at, block.get(..cursor.done()).unwrap_or_default())?;
    // Bit 0: open for writing. Bit 2: open for writing while others read. Only version 3 keeps them.
    if version == 3 && flags & 0b101 != 0 {
        return Err(Stop::Bad(FormatError::Unsupported {
            what: "HDF5 file".into(),
            reason: "it is still marked as open by a program that writes to it, so it may be unfinished".into(),
        }));
    }
    check_end(bytes, at, base.unwrap_or(0), end)?;
    Ok(Superblock {
        context: FileContext { offset_bytes, length_bytes, base_address: at },
        root,
        extension,
        driver: None,
    })
}

fn sizes(cursor: &mut Cursor<'_>) -> Result<(u8, u8), FormatError> {
    let (offset_bytes, length_bytes) = (cursor.u8()?, cursor.u8()?);
    if [offset_bytes, length_bytes].iter().any(|size| !matches!(size, 2 | 4 | 8 | 16 | 32)) {
        return Err(cursor.bad(format!("addresses of {offset_bytes} and lengths of {length_bytes} bytes")));
    }
    Ok((offset_bytes, length_bytes))
}

/// The end is stored as a byte of the file as it was written; a user block put before it later moves it along.
fn check_end(bytes: &SparseBytes, at: u64, base: u64, end: Option<u64>) -> Result<(), FormatError> {
    let Some(end) = end else { return Ok(()) };
    let end = end.saturating_sub(base).saturating_add(at);
    if end > bytes.size_bytes() {
        return Err(FormatError::Truncated {
            what: "HDF5 file".into(),
            offset: at,
            end,
            size_bytes: bytes.size_bytes(),
        });
    }
    Ok(())
}
