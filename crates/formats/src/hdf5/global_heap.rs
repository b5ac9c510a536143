//! Global heaps: values of variable length, which arrays and attributes point to.
//!
//! It promises that each collection is parsed once and that an object lies inside its collection.

use std::{collections::HashMap, sync::Arc};

use crate::{
    hdf5::{
        cursor::Cursor,
        session::{Session, malformed, too_large},
    },
    sparse::Stop,
};

/// A collection that claims more is refused; HDF5 makes them of 4 KiB, or as large as their one object.
const MAX_COLLECTION_BYTES: u64 = 1 << 30;

/// Where the objects of one collection lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Collection {
    /// Address of the data and its length, by object number.
    objects: HashMap<u16, (u64, u64)>,
}

/// A pointer into a global heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub address: u64,
    pub index: u32,
}

/// Reads the collection at `address`.
pub(crate) fn collection(session: &mut Session<'_>, address: u64) -> Result<Arc<Collection>, Stop> {
    if let Some(collection) = session.memo.collections.get(&address) {
        return Ok(Arc::clone(collection));
    }
    let length_bytes = usize::from(session.context.length_bytes);
    let offset = session.offset("global heap", address)?;
    let head = session.read("global heap", address, 8 + length_bytes as u64)?;
    let mut cursor = Cursor::new("global heap", offset, head);
    if cursor.take(4)? != b"GCOL" {
        return Err(cursor.bad("it has no signature".into()).into());
    }
    let version = cursor.u8()?;
    if version != 1 {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    cursor.skip(3)?;
    let n_bytes = cursor.uint(length_bytes)?;
    if n_bytes > MAX_COLLECTION_BYTES {
        return Err(too_large("global heap", n_bytes, MAX_COLLECTION_BYTES).into());
    }
    let all = session.read("global heap", address, n_bytes)?;
    let mut cursor = Cursor::new("global heap", offset, all);
    cursor.skip(8 + length_bytes)?;
    let mut collection = Collection::default();
    while cursor.rest().len() >= 8 + length_bytes {
        let index = cursor.u16()?;
        cursor.skip(6)?;
        let length = cursor.uint(length_bytes)?;
        if index == 0 {
            // What is left is free.
            break;
        }
        collection.objects.insert(index, (address.saturating_add(cursor.done() as u64), length));
        let padded = length.checked_next_multiple_of(8).and_then(|padded| usize::try_from(padded).ok());
        let padded = padded.ok_or_else(|| cursor.bad("an object is larger than its heap".into()))?;
        // The last object may end without its padding.
        let n_left = cursor.rest().len();
        if length > n_left as u64 {
            return Err(cursor.bad("an object is larger than its heap".into()).into());
        }
        cursor.skip(padded.min(n_left))?;
    }
    session.count_values("global heaps", collection.objects.len() as u64 * 48)?;
    let collection = Arc::new(collection);
    session.memo.collections.insert(address, Arc::clone(&collection));
    Ok(collection)
}

/// The bytes of the object that `pointer` points to.
pub(crate) fn object<'a>(session: &mut Session<'a>, pointer: Pointer) -> Result<&'a [u8], Stop> {
    let collection = collection(session, pointer.address)?;
    let place = u16::try_from(pointer.index).ok().and_then(|index| collection.objects.get(&index));
    let (address, n_bytes) = place
        .copied()
        .ok_or_else(|| malformed("global heap", pointer.address, format!("it has no object {}", pointer.index)))?;
    session.read("global heap object", address, n_bytes)
}

/// Reads a variable-length value's descriptor: how many elements, and where; `None` if it has no elements.
pub(crate) fn descriptor(session: &Session<'_>, cursor: &mut Cursor<'_>) -> Result<Option<(u32, Pointer)>, Stop> {
    let n_elements = cursor.u32()?;
    let address = cursor.address(session.context.offset_bytes)?;
    let index = cursor.u32()?;
    Ok(match address {
        Some(address) if n_elements > 0 && address > 0 => Some((n_elements, Pointer { address, index })),
        _ => None,
    })
}
