//! Messages that are stored elsewhere: committed datatypes and the shared message table.
//!
//! It promises that following one never runs in a circle: a message found elsewhere must be there in full.

use std::sync::Arc;

use crate::{
    error::FormatError,
    hdf5::{
        cursor::Cursor,
        fractal_heap,
        header::{Header, Message, header},
        session::{Session, malformed, unsupported},
    },
    sparse::Stop,
};

const SHARED_TABLE: u16 = 0x0F;
/// Indexes of a shared message table (HDF5's own limit).
const MAX_INDEXES: u8 = 8;
/// Bytes of one index in the table, with the widest addresses.
const MAX_INDEX_BYTES: u64 = 1 + 1 + 2 + 4 + 3 * 2 + 2 * 32;

/// Which kinds of messages are kept in which heap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SharedTable {
    /// Bit mask of message kinds, and the address of their fractal heap.
    heaps: Vec<(u16, u64)>,
}

/// A message's body in full, with where it lies in the file.
pub(crate) type Body = (u64, Vec<u8>);

/// Reads the table that the superblock extension `header` names, if it does.
pub(crate) fn shared_table(session: &mut Session<'_>, header: &Header) -> Result<SharedTable, Stop> {
    let Some(message) = header.find(SHARED_TABLE) else { return Ok(SharedTable::default()) };
    let context = session.context;
    let mut cursor = Cursor::new("shared message table message", message.offset, &message.body);
    cursor.skip(1)?;
    let address = cursor.address(context.offset_bytes)?;
    let n_indexes = cursor.u8()?;
    let Some(address) = address else { return Ok(SharedTable::default()) };
    if n_indexes > MAX_INDEXES {
        return Err(cursor.bad(format!("{n_indexes} indexes")).into());
    }
    let table = session.read_up_to("shared message table", address, 8 + u64::from(n_indexes) * MAX_INDEX_BYTES)?;
    let mut cursor = Cursor::new("shared message table", address, table);
    if cursor.take(4)? != b"SMTB" {
        return Err(cursor.bad("it has no signature".into()).into());
    }
    let mut heaps = Vec::new();
    for _ in 0..n_indexes {
        cursor.skip(2)?;
        let kinds = cursor.u16()?;
        cursor.skip(4 + 2 + 2 + 2)?;
        cursor.address(context.offset_bytes)?;
        if let Some(heap) = cursor.address(context.offset_bytes)? {
            heaps.push((kinds, heap));
        }
    }
    Ok(SharedTable { heaps })
}

/// The body of `message`, from wherever it is.
pub(crate) fn resolve(session: &mut Session<'_>, message: &Message) -> Result<Body, Stop> {
    if message.is_shared() {
        follow(session, message.kind, message.offset, &message.body)
    } else {
        Ok((message.offset, message.body.clone()))
    }
}

/// The body of the message of `kind` that the shared-message record `record` stands for.
pub(crate) fn follow(session: &mut Session<'_>, kind: u16, offset: u64, record: &[u8]) -> Result<Body, Stop> {
    let context = session.context;
    let mut cursor = Cursor::new("shared message", offset, record);
    let version = cursor.u8()?;
    let place = cursor.u8()?;
    match version {
        1 => {
            // The first version kept a whole symbol table entry: the name's place comes before the address.
            cursor.skip(6)?;
            cursor.skip(context.length_bytes.into())?;
        }
        2 => {}
        3 if place == 1 => {
            let id = cursor.take(8)?;
            return from_heap(session, kind, offset, id);
        }
        3 if place == 2 => {}
        3 => return Err(cursor.bad(format!("place {place}")).into()),
        _ => return Err(cursor.bad(format!("version {version}")).into()),
    }
    let address = cursor.address(context.offset_bytes)?.ok_or_else(|| cursor.bad("it leads nowhere".into()))?;
    let header = header(session, address)?;
    let found = header.find(kind).ok_or_else(|| malformed("shared message", offset, "it is not where it should be"))?;
    if found.is_shared() {
        return Err(malformed("shared message", offset, "it leads to another shared message").into());
    }
    Ok((found.offset, found.body.clone()))
}

/// The body of the message of `kind` with this ID in the file's heap of shared messages.
pub(crate) fn from_heap(session: &mut Session<'_>, kind: u16, offset: u64, id: &[u8]) -> Result<Body, Stop> {
    let table = session.memo.shared_table.as_ref().map(Arc::clone).unwrap_or_default();
    let mask = 1_u16.checked_shl(kind.into()).unwrap_or(0);
    let heap = table.heaps.iter().find(|(kinds, _)| kinds & mask != 0).map(|(_, heap)| *heap);
    let heap = heap.ok_or_else(|| malformed("shared message", offset, "the file has no table for its kind"))?;
    let heap = fractal_heap::open(session, heap)?;
    Ok((offset, fractal_heap::object(session, &heap, id)?))
}

/// Refuses a message that must not be ignored and that we do not know.
pub(crate) fn refuse_unknown(header: &Header) -> Result<(), FormatError> {
    const LAST_KNOWN: u16 = 0x18;
    const MUST_BE_KNOWN: u8 = 0x80;
    let unknown = header.messages.iter().find(|m| m.kind > LAST_KNOWN && m.flags & MUST_BE_KNOWN != 0);
    match unknown {
        Some(message) => Err(unsupported(
            "object header",
            format!("it has a message of kind {}, which must not be ignored", message.kind),
        )),
        None => Ok(()),
    }
}
