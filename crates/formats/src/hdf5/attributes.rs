//! The attributes of an object: in its header, or in a fractal heap.
//!
//! It promises that one attribute that cannot be read does not take the others along. Values are decoded in
//! `element`.

use crate::{
    error::FormatError,
    hdf5::{
        cursor::Cursor,
        dataspace::{Dataspace, dataspace},
        datatype::{Datatype, datatype},
        fractal_heap,
        header::Header,
        local_heap,
        session::Session,
        shared,
    },
    sparse::{Stop, Wants},
};

const DATASPACE: u16 = 0x01;
const DATATYPE: u16 = 0x03;
const ATTRIBUTE: u16 = 0x0C;
const ATTRIBUTE_INFO: u16 = 0x15;

/// An attribute as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub name: String,
    /// The type, shape and bytes of its value, or why they cannot be told.
    pub value: Result<Stored, FormatError>,
    creation_order: Option<u32>,
}

/// A value as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub datatype: Datatype,
    pub dataspace: Dataspace,
    pub bytes: Vec<u8>,
}

/// All attributes of the object with this header, in order of creation where the file keeps count, by name
/// otherwise; those in a header stand in the order in which they were made.
pub(crate) fn attributes(session: &mut Session<'_>, header: &Header) -> Result<Vec<Attribute>, Stop> {
    let mut wants = Wants::default();
    let mut attributes = Vec::new();
    for message in header.messages.iter().filter(|message| message.kind == ATTRIBUTE) {
        let body = shared::resolve(session, message);
        if let Some((offset, body)) = wants.collect(body)? {
            let parsed = attribute(session, offset, &body, message.creation_order.map(u32::from));
            attributes.extend(wants.collect(parsed)?);
        }
    }
    for message in header.messages.iter().filter(|message| message.kind == ATTRIBUTE_INFO) {
        let dense = dense_attributes(session, message.offset, &message.body);
        attributes.extend(wants.collect(dense)?.unwrap_or_default());
    }
    wants.or_stop()?;
    let n_bytes = attributes.iter().map(|attribute| attribute.name.len() as u64 + 128).sum();
    session.count_values("attributes", n_bytes)?;
    if attributes.iter().all(|attribute| attribute.creation_order.is_some()) {
        attributes.sort_by_key(|attribute| attribute.creation_order);
    }
    Ok(attributes)
}

/// Reads an attribute message's body.
fn attribute(
    session: &mut Session<'_>,
    offset: u64,
    body: &[u8],
    creation_order: Option<u32>,
) -> Result<Attribute, Stop> {
    let mut cursor = Cursor::new("attribute", offset, body);
    let version = cursor.u8()?;
    if !(1..=3).contains(&version) {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    let flags = cursor.u8()?;
    let flags = if version == 1 { 0 } else { flags };
    let (name_bytes, type_bytes, space_bytes) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    if version == 3 {
        cursor.skip(1)?;
    }
    // The first version pads each part to a multiple of eight bytes.
    let mut part = |n_bytes: u16| -> Result<(u64, &[u8]), FormatError> {
        let at = cursor.position();
        let n_bytes = usize::from(n_bytes);
        let stored = cursor.take(if version == 1 { n_bytes.next_multiple_of(8) } else { n_bytes })?;
        Ok((at, stored.get(..n_bytes).unwrap_or_default()))
    };
    let (_, name) = part(name_bytes)?;
    let name = local_heap::name(name.split(|byte| *byte == 0).next().unwrap_or_default());
    let (type_at, type_part) = part(type_bytes)?;
    let (space_at, space_part) = part(space_bytes)?;
    let value = stored(session, flags, (type_at, type_part), (space_at, space_part), cursor.rest());
    match value {
        Ok(value) => Ok(Attribute { name, value: Ok(value), creation_order }),
        Err(Stop::Bad(error)) => Ok(Attribute { name, value: Err(error), creation_order }),
        Err(need) => Err(need),
    }
}

fn stored(
    session: &mut Session<'_>,
    flags: u8,
    (type_at, type_part): (u64, &[u8]),
    (space_at, space_part): (u64, &[u8]),
    data: &[u8],
) -> Result<Stored, Stop> {
    let (type_at, type_body) = if flags & 1 != 0 {
        shared::follow(session, DATATYPE, type_at, type_part)?
    } else {
        (type_at, type_part.to_vec())
    };
    let (space_at, space_body) = if flags & 2 != 0 {
        shared::follow(session, DATASPACE, space_at, space_part)?
    } else {
        (space_at, space_part.to_vec())
    };
    let datatype = datatype(type_at, &type_body)?;
    let dataspace = dataspace(session.context, space_at, &space_body)?;
    let n_bytes = dataspace
        .n_elements()
        .and_then(|n| n.checked_mul(u64::from(datatype.size_bytes)))
        .and_then(|n_bytes| usize::try_from(n_bytes).ok());
    let bytes = n_bytes.and_then(|n_bytes| data.get(..n_bytes));
    let bytes = bytes.ok_or_else(|| Cursor::new("attribute", type_at, &[]).bad("its value is cut short".into()))?;
    session.count_values("attributes", bytes.len() as u64)?;
    Ok(Stored { datatype, dataspace, bytes: bytes.to_vec() })
}

/// Attributes in a fractal heap, if the attribute info message names one.
fn dense_attributes(session: &mut Session<'_>, offset: u64, body: &[u8]) -> Result<Vec<Attribute>, Stop> {
    let mut cursor = Cursor::new("attribute info", offset, body);
    let version = cursor.u8()?;
    if version != 0 {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    let is_ordered = cursor.u8()? & 1 != 0;
    if is_ordered {
        cursor.skip(2)?;
    }
    let heap = cursor.address(session.context.offset_bytes)?;
    let index = cursor.address(session.context.offset_bytes)?;
    let (Some(heap_address), Some(index)) = (heap, index) else { return Ok(Vec::new()) };
    let mut wants = Wants::default();
    let heap = fractal_heap::open(session, heap_address);
    let heap = wants.collect(heap)?;
    let records = session.records(index);
    let records = wants.collect(records)?;
    let mut attributes = Vec::new();
    if let (Some(heap), Some(records)) = (heap, records) {
        for record in records.iter() {
            let mut cursor = Cursor::new("attribute name index", index, record);
            let id = cursor.take(8)?;
            let is_shared = cursor.u8()? & 0b10 != 0;
            let order = cursor.u32()?;
            let body = if is_shared {
                shared::from_heap(session, ATTRIBUTE, heap_address, id).map(|(_, body)| body)
            } else {
                fractal_heap::object(session, &heap, id)
            };
            if let Some(body) = wants.collect(body)? {
                let parsed = attribute(session, heap_address, &body, is_ordered.then_some(order));
                attributes.extend(wants.collect(parsed)?);
            }
        }
    }
    wants.or_stop()?;
    if !is_ordered {
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(attributes)
}
