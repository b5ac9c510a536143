//! Object headers: the list of messages that says what an object is.
//!
//! Versions 1 and 2 with their continuation blocks. It promises that each block is read once and that checksums
//! were compared. It does not know what the messages mean.

use std::{collections::HashSet, sync::Arc};

use crate::{
    error::FormatError,
    hdf5::{
        checksum,
        cursor::Cursor,
        session::{Session, malformed, too_large},
    },
    sparse::{Stop, Wants},
};

/// Blocks of one object header.
const MAX_BLOCKS: usize = 65_536;

/// Messages of one object header; a message with nothing in it takes more memory than file.
const MAX_MESSAGES: usize = 1 << 18;

const CONTINUATION: u16 = 0x10;

/// The messages of one object, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub messages: Vec<Message>,
}

/// One message as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub kind: u16,
    pub flags: u8,
    /// When it was made, among its siblings; only if the file keeps count.
    pub creation_order: Option<u16>,
    /// Where the body lies in the file.
    pub offset: u64,
    pub body: Vec<u8>,
}

impl Message {
    /// Whether the body only says where the real one is.
    pub const fn is_shared(&self) -> bool {
        self.flags & 0b10 != 0
    }
}

impl Header {
    /// The first message of `kind`.
    pub fn find(&self, kind: u16) -> Option<&Message> {
        self.messages.iter().find(|message| message.kind == kind)
    }
}

#[derive(Clone, Copy)]
enum Style {
    Old,
    New { with_creation_order: bool },
}

/// Reads the object header at `address`.
pub(crate) fn header(session: &mut Session<'_>, address: u64) -> Result<Arc<Header>, Stop> {
    if let Some(header) = session.memo.headers.get(&address) {
        return Ok(Arc::clone(header));
    }
    let start = session.read_up_to("object header", address, 64)?;
    let (style, first) = if start.starts_with(b"OHDR") {
        new_prefix(session, address, start)?
    } else {
        old_prefix(session, address, start)?
    };
    let mut messages = Vec::new();
    let mut visited = HashSet::new();
    let mut blocks = vec![first];
    // Block by block in the order they are named, so that messages keep their order.
    while !blocks.is_empty() {
        let mut wants = Wants::default();
        let mut next = Vec::new();
        for (at, n_bytes, is_first) in blocks {
            if !visited.insert(at) || visited.len() > MAX_BLOCKS {
                return Err(malformed("object header", at, "its continuation blocks run in a circle").into());
            }
            let read = session.read("object header block", at, n_bytes);
            let Some(block) = wants.collect(read)? else { continue };
            let offset = session.offset("object header block", at)?;
            let from = messages.len();
            parse_block(style, offset, block, is_first, &mut messages)?;
            for message in messages.get(from..).unwrap_or_default() {
                if message.kind == CONTINUATION {
                    next.push(continuation(session, message)?);
                }
            }
        }
        wants.or_stop()?;
        blocks = next;
    }
    let kept: u64 = messages.iter().map(|message| message.body.len() as u64 + 64).sum();
    session.count_values("object headers", kept)?;
    messages.retain(|message| message.kind != 0 && message.kind != CONTINUATION);
    let header = Arc::new(Header { messages });
    session.memo.headers.insert(address, Arc::clone(&header));
    Ok(header)
}

/// Where a block is (address, bytes) and whether it is the first.
type Block = (u64, u64, Place);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind the prefix; a new-style block begins at the prefix, of this many bytes.
    First {
        prefix_bytes: usize,
    },
    Continued,
}

fn old_prefix(session: &Session<'_>, address: u64, start: &[u8]) -> Result<(Style, Block), FormatError> {
    let mut cursor = Cursor::new("object header", session.offset("object header", address)?, start);
    let version = cursor.u8()?;
    if version != 1 {
        return Err(cursor.bad(format!("there is no object header here: version {version}")));
    }
    cursor.skip(1 + 2 + 4)?;
    let n_bytes = cursor.u32()?;
    let at = address.saturating_add(16);
    Ok((Style::Old, (at, u64::from(n_bytes), Place::First { prefix_bytes: 0 })))
}

fn new_prefix(session: &Session<'_>, address: u64, start: &[u8]) -> Result<(Style, Block), FormatError> {
    let mut cursor = Cursor::new("object header", session.offset("object header", address)?, start);
    cursor.skip(4)?;
    let version = cursor.u8()?;
    if version != 2 {
        return Err(cursor.bad(format!("version {version}")));
    }
    let flags = cursor.u8()?;
    if flags & 0x20 != 0 {
        cursor.skip(16)?;
    }
    if flags & 0x10 != 0 {
        cursor.skip(4)?;
    }
    let n_bytes = cursor.uint(1 << (flags & 3))?;
    let prefix_bytes = cursor.done();
    let total =
        n_bytes.checked_add(prefix_bytes as u64 + 4).ok_or_else(|| too_large("object header", n_bytes, u64::MAX))?;
    let style = Style::New { with_creation_order: flags & 4 != 0 };
    Ok((style, (address, total, Place::First { prefix_bytes })))
}

fn continuation(session: &Session<'_>, message: &Message) -> Result<Block, FormatError> {
    let mut cursor = Cursor::new("continuation message", message.offset, &message.body);
    let address = cursor.address(session.context.offset_bytes)?;
    let n_bytes = cursor.uint(session.context.length_bytes.into())?;
    match address {
        Some(address) if n_bytes > 0 => Ok((address, n_bytes, Place::Continued)),
        _ => Err(cursor.bad("it leads nowhere".into())),
    }
}

fn parse_block(
    style: Style,
    offset: u64,
    block: &[u8],
    place: Place,
    messages: &mut Vec<Message>,
) -> Result<(), FormatError> {
    let Style::New { with_creation_order } = style else {
        return parse_old(offset, block, messages);
    };
    checksum::verify("object header", offset, block)?;
    let prefix_bytes = match place {
        Place::First { prefix_bytes } => prefix_bytes,
        Place::Continued if block.starts_with(b"OCHK") => 4,
        Place::Continued => return Err(malformed("object header block", offset, "it has no signature")),
    };
    let body = block.get(..block.len().saturating_sub(4)).unwrap_or_default();
    let mut cursor = Cursor::new("object header", offset, body);
    cursor.skip(prefix_bytes)?;
    let message_prefix = if with_creation_order { 6 } else { 4 };
    // What is left over at the end is a gap.
    while cursor.rest().len() >= message_prefix {
        let kind = u16::from(cursor.u8()?);
        let n_bytes = cursor.u16()?;
        let flags = cursor.u8()?;
        let creation_order = if with_creation_order { Some(cursor.u16()?) } else { None };
        let offset = cursor.position();
        let body = cursor.take(n_bytes.into())?.to_vec();
        push(messages, Message { kind, flags, creation_order, offset, body })?;
    }
    Ok(())
}

fn parse_old(offset: u64, block: &[u8], messages: &mut Vec<Message>) -> Result<(), FormatError> {
    let mut cursor = Cursor::new("object header", offset, block);
    while cursor.rest().len() >= 8 {
        let kind = cursor.u16()?;
        let n_bytes = cursor.u16()?;
        let flags = cursor.u8()?;
        cursor.skip(3)?;
        let offset = cursor.position();
        let body = cursor.take(n_bytes.into())?.to_vec();
        push(messages, Message { kind, flags, creation_order: None, offset, body })?;
    }
    Ok(())
}

fn push(messages: &mut Vec<Message>, message: Message) -> Result<(), FormatError> {
    if messages.len() >= MAX_MESSAGES {
        return Err(too_large("messages of an object header", MAX_MESSAGES as u64 + 1, MAX_MESSAGES as u64));
    }
    messages.push(message);
    Ok(())
}
