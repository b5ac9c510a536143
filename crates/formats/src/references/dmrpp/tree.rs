//! The elements of a DMR++ as a tree; chunks, of which there are many, as rows.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use crate::{
    FormatError,
    references::{MAX_DOCUMENT_BYTES, MOST_REFERENCES, bad, too_many},
};

/// Elements within elements.
const MOST_DEPTH: usize = 64;

/// Elements of a document, without chunks.
const MOST_NODES: usize = 4_000_000;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Its name without a prefix.
    pub name: String,
    /// Whether it is of DMR++ and not of the DMR that it adds to.
    pub is_of_dmrpp: bool,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub children: Vec<Node>,
    pub chunks: Vec<PlacedChunk>,
}

/// A `dmrpp:chunk`.
#[derive(Debug)]
pub(super) struct PlacedChunk {
    pub offset: u64,
    pub n_bytes: u64,
    /// Its first element.
    pub position: Option<Box<[u64]>>,
    /// The file that it lies in, if it is another one.
    pub href: Option<Box<str>>,
    /// One of several blocks, or packed in another way than its neighbours.
    pub is_odd: bool,
}

impl Node {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_chunk(&self) -> bool {
        self.is_of_dmrpp && self.name == "chunk"
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads a document.
pub(super) fn read(bytes: &[u8]) -> Result<Node, FormatError> {
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        let limit = usize::try_from(MAX_DOCUMENT_BYTES).unwrap_or(usize::MAX);
        return Err(too_many("the bytes of the document", bytes.len(), limit));
    }
    // Most say that they are Latin-1, and hold ASCII.
    let text: Cow<'_, str> = match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    };
    let mut reader = Reader::from_str(&text);
    let mut growing = Growing { open: vec![Node::default()], n_nodes: 0, n_chunks: 0 };
    loop {
        match reader.read_event().map_err(|error| no_xml(&error))? {
            Event::Start(start) => growing.begin(&start)?,
            Event::Empty(start) => {
                growing.begin(&start)?;
                growing.end()?;
            }
            Event::End(_) => growing.end()?,
            Event::Text(text) => growing.add(&text),
            Event::CData(text) => growing.add(&text),
            Event::GeneralRef(name) => {
                let sign = entity(&name).ok_or_else(|| bad(format!("it names `&{};`, which is nothing", &*name)))?;
                growing.add(sign.encode_utf8(&mut [0; 4]));
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let mut open = growing.open;
    let mut document = open.pop().filter(|_| open.is_empty()).ok_or_else(|| no_xml(&"it is cut short"))?;
    document.children.pop().ok_or_else(|| no_xml(&"it is empty"))
}

fn no_xml(error: &dyn std::fmt::Display) -> FormatError {
    bad(format!("it is no XML that could be read: {error}"))
}

/// A tree that is being read.
struct Growing {
    /// The element that is open last stands at the end; the first stands for the document.
    open: Vec<Node>,
    n_nodes: usize,
    n_chunks: usize,
}

impl Growing {
    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), FormatError> {
        let (name, is_of_dmrpp) = name_of(start);
        let node = Node { name, is_of_dmrpp, attributes: attributes_of(start)?, ..Node::default() };
        if node.is_chunk() {
            self.n_chunks += 1;
            if self.n_chunks > MOST_REFERENCES {
                return Err(too_many("the number of chunks", self.n_chunks, MOST_REFERENCES));
            }
            let chunk = chunk(&node.attributes)?;
            if let Some(parent) = self.open.last_mut() {
                parent.chunks.push(chunk);
            }
        } else {
            self.n_nodes += 1;
        }
        if self.n_nodes > MOST_NODES || self.open.len() > MOST_DEPTH {
            return Err(bad("it has too many elements, or too many within one another"));
        }
        self.open.push(node);
        Ok(())
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let node = self.open.pop().ok_or_else(|| no_xml(&"it ends twice"))?;
        let parent = self.open.last_mut().ok_or_else(|| no_xml(&"it ends twice"))?;
        // Chunks are rows of their parent already.
        if !node.is_chunk() {
            parent.children.push(node);
        }
        Ok(())
    }

    fn add(&mut self, text: &str) {
        if let Some(node) = self.open.last_mut() {
            node.text.push_str(text);
        }
    }
}

fn name_of(start: &BytesStart<'_>) -> (String, bool) {
    let name = start.name();
    let local = name.local_name().into_inner().to_owned();
    (local, name.prefix().is_some_and(|prefix| prefix.into_inner() == "dmrpp"))
}

fn attributes_of(start: &BytesStart<'_>) -> Result<Vec<(String, String)>, FormatError> {
    let failed = |error: &dyn std::fmt::Display| bad(format!("an attribute of it could not be read: {error}"));
    let mut all = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| failed(&error))?;
        let name = attribute.key.local_name().into_inner().to_owned();
        let raw = attribute.value.to_string();
        all.push((name, unescaped(&raw).ok_or_else(|| failed(&raw))?));
    }
    Ok(all)
}

/// The text with `&amp;` and its like as the signs that they are.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, behind) = after.split_once(';')?;
        out.push_str(before);
        out.push(entity(name)?);
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

/// The sign of a reference: those five that XML has, and numbers.
fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn chunk(attributes: &[(String, String)]) -> Result<PlacedChunk, FormatError> {
    let said = |name: &str| attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let number = |name: &str| said(name).and_then(|text| text.trim().parse::<u64>().ok());
    let wrong = || bad("a chunk has no place: `offset` and `nBytes` are whole numbers");
    let (offset, n_bytes) = (number("offset").ok_or_else(wrong)?, number("nBytes").ok_or_else(wrong)?);
    let position = match said("chunkPositionInArray") {
        None => None,
        Some(text) => {
            let inside = text.trim().trim_start_matches('[').trim_end_matches(']');
            let numbers: Option<Vec<u64>> = inside.split(',').map(|part| part.trim().parse().ok()).collect();
            Some(numbers.ok_or_else(wrong)?.into_boxed_slice())
        }
    };
    let mask = said("fm").or_else(|| said("filterMask")).is_some_and(|mask| mask.trim() != "0");
    let href = said("href").filter(|href| !href.is_empty()).map(Into::into);
    Ok(PlacedChunk { offset, n_bytes, position, href, is_odd: mask || said("LinkedBlockIndex").is_some() })
}
