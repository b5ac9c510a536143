//! The links of a group, however they are stored: symbol tables, link messages, fractal heaps.
//!
//! It promises links in the order that the netCDF library lists them: of creation where the file keeps count, of
//! names otherwise. It does not follow them.

use std::collections::HashSet;

use crate::{
    error::FormatError,
    hdf5::{
        cursor::Cursor,
        fractal_heap,
        header::Header,
        local_heap::{self, local_heap},
        session::{Session, malformed, too_large},
        shared,
    },
    sparse::{Stop, Wants},
};

const LINK_INFO: u16 = 0x02;
const LINK: u16 = 0x06;
const SYMBOL_TABLE: u16 = 0x11;
/// Nodes of one group's B-tree.
const MAX_NODES: usize = 1 << 20;
/// Levels of a B-tree.
const MAX_LEVELS: u8 = 32;

/// A name in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub name: String,
    pub target: Target,
    creation_order: Option<u64>,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Address of an object header.
    Hard(u64),
    /// A path in this file.
    Soft(String),
    /// A path in another file.
    External { file: String, path: String },
    /// Something that only the program that made it understands.
    User(u8),
}

/// All links of the group with this header.
pub(crate) fn links(session: &mut Session<'_>, header: &Header) -> Result<Vec<Link>, Stop> {
    let mut wants = Wants::default();
    let mut links = Vec::new();
    for message in header.messages.iter().filter(|message| message.kind == LINK) {
        let body = shared::resolve(session, message);
        if let Some((offset, body)) = wants.collect(body)? {
            links.push(link(session, offset, &body)?);
        }
    }
    for message in header.messages.iter().filter(|message| message.kind == LINK_INFO) {
        let dense = dense_links(session, message.offset, &message.body);
        links.extend(wants.collect(dense)?.unwrap_or_default());
    }
    if let Some(message) = header.find(SYMBOL_TABLE) {
        let old = old_links(session, message.offset, &message.body);
        links.extend(wants.collect(old)?.unwrap_or_default());
    }
    wants.or_stop()?;
    session.count_values("links", links.iter().map(|link| link.name.len() as u64 + 96).sum())?;
    if links.iter().all(|link| link.creation_order.is_some()) {
        links.sort_by_key(|link| link.creation_order);
    } else {
        links.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(links)
}

/// Reads a link message's body.
fn link(session: &Session<'_>, offset: u64, body: &[u8]) -> Result<Link, FormatError> {
    let mut cursor = Cursor::new("link", offset, body);
    let version = cursor.u8()?;
    if version != 1 {
        return Err(cursor.bad(format!("version {version}")));
    }
    let flags = cursor.u8()?;
    let kind = if flags & 8 != 0 { cursor.u8()? } else { 0 };
    let creation_order = if flags & 4 != 0 { Some(cursor.uint(8)?) } else { None };
    if flags & 0x10 != 0 {
        cursor.skip(1)?;
    }
    let name_bytes = cursor.uint(1 << (flags & 3))?;
    let name = local_heap::name(cursor.take(usize::try_from(name_bytes).unwrap_or(usize::MAX))?);
    if name.is_empty() {
        return Err(cursor.bad("a link without a name".into()));
    }
    let target = match kind {
        0 => {
            let address = cursor.address(session.context.offset_bytes)?;
            Target::Hard(address.ok_or_else(|| cursor.bad("a link that leads nowhere".into()))?)
        }
        1 => {
            let n_bytes = cursor.u16()?;
            Target::Soft(local_heap::name(cursor.take(n_bytes.into())?))
        }
        64 => {
            let n_bytes = cursor.u16()?;
            let mut value = Cursor::new("external link", cursor.position(), cursor.take(n_bytes.into())?);
            value.skip(1)?;
            let file = local_heap::name(value.until_nul()?);
            Target::External { file, path: local_heap::name(value.until_nul()?) }
        }
        kind => Target::User(kind),
    };
    Ok(Link { name, target, creation_order })
}

/// Links in a fractal heap, if the link info message names one.
fn dense_links(session: &mut Session<'_>, offset: u64, body: &[u8]) -> Result<Vec<Link>, Stop> {
    let mut cursor = Cursor::new("link info", offset, body);
    let version = cursor.u8()?;
    if version != 0 {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    if cursor.u8()? & 1 != 0 {
        cursor.skip(8)?;
    }
    let heap = cursor.address(session.context.offset_bytes)?;
    let index = cursor.address(session.context.offset_bytes)?;
    let (Some(heap_address), Some(index)) = (heap, index) else { return Ok(Vec::new()) };
    let mut wants = Wants::default();
    let heap = fractal_heap::open(session, heap_address);
    let heap = wants.collect(heap)?;
    let records = session.records(index);
    let records = wants.collect(records)?;
    let mut links = Vec::new();
    if let (Some(heap), Some(records)) = (heap, records) {
        for record in records.iter() {
            // Records are a hash of the name, then the ID in the heap.
            let mut cursor = Cursor::new("link name index", index, record);
            cursor.skip(4)?;
            let object = fractal_heap::object(session, &heap, cursor.rest());
            if let Some(object) = wants.collect(object)? {
                links.push(link(session, heap_address, &object)?);
            }
        }
    }
    wants.or_stop()?;
    Ok(links)
}

/// Links in a symbol table: a B-tree of nodes, with names in a local heap.
fn old_links(session: &mut Session<'_>, offset: u64, body: &[u8]) -> Result<Vec<Link>, Stop> {
    let mut cursor = Cursor::new("symbol table message", offset, body);
    let tree = cursor.address(session.context.offset_bytes)?;
    let heap = cursor.address(session.context.offset_bytes)?;
    let (Some(tree), Some(heap)) = (tree, heap) else {
        return Err(cursor.bad("it leads nowhere".into()).into());
    };
    let mut wants = Wants::default();
    let heap = local_heap(session, heap);
    let heap = wants.collect(heap)?;
    let mut level = vec![tree];
    let mut visited = HashSet::new();
    let mut nodes = Vec::new();
    // Level by level, so that all nodes of a level are wanted at once.
    let mut expected = None;
    while !level.is_empty() {
        let mut next = Vec::new();
        let mut below = None;
        for address in level {
            if !visited.insert(address) || visited.len() > MAX_NODES {
                return Err(malformed("group B-tree", address, "its nodes run in a circle").into());
            }
            let node = tree_node(session, address, expected);
            if let Some((node_level, children)) = wants.collect(node)? {
                match node_level.checked_sub(1) {
                    None => nodes.extend(children),
                    lower => {
                        below = lower;
                        next.extend(children);
                    }
                }
            }
        }
        expected = below;
        level = next;
    }
    let mut links = Vec::new();
    for address in nodes {
        let node = symbol_node(session, address, heap);
        links.extend(wants.collect(node)?.unwrap_or_default());
        if !visited.insert(address) || visited.len() > MAX_NODES {
            return Err(malformed("group B-tree", address, "its nodes run in a circle").into());
        }
    }
    wants.or_stop()?;
    Ok(links)
}

/// A node of a group's B-tree: its level and its children.
fn tree_node(session: &mut Session<'_>, address: u64, expected: Option<u8>) -> Result<(u8, Vec<u64>), Stop> {
    let context = session.context;
    let (o, l) = (u64::from(context.offset_bytes), u64::from(context.length_bytes));
    let offset = session.offset("group B-tree", address)?;
    let head = session.read("group B-tree", address, 8)?;
    let mut cursor = Cursor::new("group B-tree", offset, head);
    if cursor.take(4)? != b"TREE" || cursor.u8()? != 0 {
        return Err(cursor.bad("there is no node of a group here".into()).into());
    }
    let level = cursor.u8()?;
    if level > MAX_LEVELS || expected.is_some_and(|expected| expected != level) {
        return Err(cursor.bad(format!("a node of level {level} where none belongs")).into());
    }
    let n_children = cursor.u16()?;
    let n_bytes = 8 + 2 * o + l + u64::from(n_children) * (o + l);
    let node = session.read("group B-tree", address, n_bytes)?;
    let mut cursor = Cursor::new("group B-tree", offset, node);
    cursor.skip(8 + 2 * usize::from(context.offset_bytes))?;
    let mut children = Vec::with_capacity(n_children.into());
    for _ in 0..n_children {
        cursor.skip(context.length_bytes.into())?;
        let child = cursor.address(context.offset_bytes)?;
        children.push(child.ok_or_else(|| cursor.bad("a child is nowhere".into()))?);
    }
    Ok((level, children))
}

/// The links of a symbol table node. Names are looked up if the heap is there; if not, the caller stops anyway.
fn symbol_node(session: &mut Session<'_>, address: u64, heap: Option<(u64, &[u8])>) -> Result<Vec<Link>, Stop> {
    const MAX_SYMBOLS: u64 = 1 << 16;
    let context = session.context;
    let offset = session.offset("symbol table node", address)?;
    let head = session.read("symbol table node", address, 8)?;
    let mut cursor = Cursor::new("symbol table node", offset, head);
    if cursor.take(4)? != b"SNOD" || cursor.u8()? != 1 {
        return Err(cursor.bad("there is no symbol table node here".into()).into());
    }
    cursor.skip(1)?;
    let n_symbols = cursor.u16()?;
    let entry_bytes = 2 * u64::from(context.offset_bytes) + 24;
    if u64::from(n_symbols) > MAX_SYMBOLS {
        return Err(too_large("symbol table node", n_symbols.into(), MAX_SYMBOLS).into());
    }
    let node = session.read("symbol table node", address, 8 + u64::from(n_symbols) * entry_bytes)?;
    let mut cursor = Cursor::new("symbol table node", offset, node);
    cursor.skip(8)?;
    let Some(heap) = heap else { return Ok(Vec::new()) };
    let mut links = Vec::with_capacity(n_symbols.into());
    for _ in 0..n_symbols {
        let name = local_heap::text(heap, cursor.uint(context.offset_bytes.into())?)?;
        let address = cursor.address(context.offset_bytes)?;
        let cache = cursor.u32()?;
        cursor.skip(4)?;
        let scratch = cursor.take(16)?;
        let target = match (cache, address) {
            (2, _) => {
                let at = Cursor::new("soft link", offset, scratch).u32()?;
                Target::Soft(local_heap::text(heap, at.into())?)
            }
            (_, Some(address)) => Target::Hard(address),
            (_, None) => return Err(cursor.bad(format!("`{name}` leads nowhere")).into()),
        };
        if name.is_empty() {
            return Err(cursor.bad("a link without a name".into()).into());
        }
        links.push(Link { name, target, creation_order: None });
    }
    Ok(links)
}
