//! Kerchunk's references: one JSON document, or a folder of tables.
//!
//! A document is seen whole or not at all: it is written aside and gets its name in one step.

use frazil_formats::{
    references::kerchunk::{Reference, SEAL, begin, end, push_entry},
    zarr::{array_document_v2, attributes_document_v2, group_attributes_v2, group_document_v2},
};
use frazil_model::{
    attribute::Attributes,
    references::{Cells, Located},
    region::{Region, number_of},
    zarr::ZarrFormat,
};
use frazil_store::folder::{Folder, Staged};
use serde::Deserialize;

use super::{
    lay::{layouts, table_of},
    make::Part,
    native::{Native, Natives},
    record::{NOTES_OBJECTS, Record},
};
use crate::{error::EngineError, identity::digest};

/// Bytes that are gathered before they are written.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes of a document that is looked at for its record.
const MOST_DOCUMENT_BYTES: u64 = 4 << 30;

/// The metadata of all parts: keys of a Zarr v2 store with their texts.
pub(crate) fn documents(parts: &[Part]) -> Result<Vec<(String, String)>, EngineError> {
    let mut all = Vec::new();
    if parts.iter().all(|part| !part.prefix.is_empty()) {
        all.push((".zgroup".to_owned(), group_document_v2()));
        all.push((".zattrs".to_owned(), group_attributes_v2(&Attributes::default())));
    }
    for part in parts {
        let prefix = part.prefix.trim_start_matches('/');
        for (path, attributes) in &part.combined.groups {
            let folder = joined(prefix, path);
            all.push((below(&folder, ".zgroup"), group_document_v2()));
            all.push((below(&folder, ".zattrs"), group_attributes_v2(attributes)));
        }
        for layout in &layouts(part, ZarrFormat::V2) {
            let folder = joined(prefix, &layout.path);
            let text = array_document_v2(layout).map_err(|error| EngineError::NoZarrType {
                variable: layout.path.clone(),
                dtype: layout.dtype.to_string(),
                reason: error.to_string(),
            })?;
            all.push((below(&folder, ".zarray"), text));
            all.push((below(&folder, ".zattrs"), attributes_document_v2(layout)));
        }
    }
    Ok(all)
}

fn joined(prefix: &str, path: &str) -> String {
    let path = path.trim_start_matches('/');
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}/{path}"),
    }
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// `.zmetadata` of these documents, with what else it says. They are put in as they are: a NaN among attributes is no
/// JSON, and stock readers read it.
pub(crate) fn consolidated(documents: &[(String, String)], more: &str) -> String {
    let members: Vec<String> = documents
        .iter()
        .map(|(key, text)| format!("{}:{}", serde_json::Value::from(key.as_str()), text.trim()))
        .collect();
    format!("{{\"metadata\":{{{}}},\"zarr_consolidated_format\":1{more}}}\n", members.join(",\n"))
}

/// What is said of one chunk.
pub(crate) enum Said<'a> {
    /// A range of a file.
    Range { url: &'a str, offset: u64, length: u64 },
    /// Its bytes.
    Bytes(&'a [u8]),
}

/// Takes a chunk: its C-order number, its cell, and what is said of it.
pub(crate) type SeeChunk<'a> = &'a mut dyn FnMut(u64, &[u64], Said<'_>) -> Result<(), EngineError>;

/// Hands out every chunk of array `number` of a part that is somewhere: its C-order number, its cell, and what is said.
pub(crate) fn each_chunk(part: &Part, natives: &Natives, number: usize, see: SeeChunk<'_>) -> Result<(), EngineError> {
    let references = &part.laid.references[number];
    let table = |file: usize, variable: usize| table_of(&part.sources, file, variable);
    let grid = references.grid();
    let mut cells = Cells::of(Region::whole(&grid));
    while let Some(cell) = cells.next_cell() {
        let at = number_of(cell, &grid);
        match references.locate(cell, &table) {
            Located::File { file, offset, length } => {
                let url = part.files.pinned.get(file).map_or("", |file| file.url.as_str());
                see(at, cell, Said::Range { url, offset, length })?;
            }
            Located::Unwritten => {}
            Located::Native(_) => {
                if let Some(Native::Inline(bytes)) = natives[number].get(&at) {
                    see(at, cell, Said::Bytes(bytes))?;
                }
            }
        }
    }
    Ok(())
}

/// Writes the document `name` of `folder`.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_json(
    folder: &Folder,
    name: &str,
    parts: &[Part],
    natives: &[Natives],
    record: &Record,
) -> Result<u64, EngineError> {
    let mut out = Out {
        staged: folder.stage(name, 0)?,
        waiting: Vec::new(),
        n_bytes: 0,
        is_first: true,
        hasher: blake3::Hasher::new(),
    };
    let documents = documents(parts)?;
    let about = serde_json::to_string(record).map_err(|error| EngineError::Document { reason: error.to_string() })?;
    out.waiting.extend_from_slice(begin(&about).as_bytes());
    for (key, text) in &documents {
        out.entry(key, Reference::Text(text))?;
    }
    out.entry(".zmetadata", Reference::Text(&consolidated(&documents, "")))?;
    for (part, natives) in parts.iter().zip(natives) {
        for (number, layout) in layouts(part, ZarrFormat::V2).iter().enumerate() {
            let folder = joined(part.prefix.trim_start_matches('/'), &layout.path);
            each_chunk(part, natives, number, &mut |_, cell, said| {
                let key = below(&folder, &layout.chunk_key(cell));
                out.entry(
                    &key,
                    match said {
                        Said::Range { url, offset, length } => Reference::Range { url, offset, length },
                        Said::Bytes(bytes) => Reference::Bytes(bytes),
                    },
                )
            })?;
        }
    }
    out.finish()
}

struct Out {
    staged: Staged,
    waiting: Vec<u8>,
    n_bytes: u64,
    is_first: bool,
    /// Of all that was written.
    hasher: blake3::Hasher,
}

impl Out {
    fn entry(&mut self, key: &str, reference: Reference<'_>) -> Result<(), EngineError> {
        if !std::mem::take(&mut self.is_first) {
            self.waiting.extend_from_slice(b",\n");
        }
        push_entry(key, reference, &mut self.waiting);
        if self.waiting.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.n_bytes += self.waiting.len() as u64;
        self.hasher.update(&self.waiting);
        self.staged.write(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64, EngineError> {
        self.flush()?;
        let seal = end(self.hasher.finalize().to_hex().as_str());
        self.staged.write(seal.as_bytes())?;
        self.n_bytes += seal.len() as u64;
        self.staged.publish()?;
        Ok(self.n_bytes)
    }
}

/// What of a document is looked at.
#[derive(Deserialize)]
struct Ours {
    frazil: Option<Record>,
}

/// A document of references that frazil wrote.
#[derive(Debug)]
pub(crate) struct Document {
    /// Of what it was made; `None` if that cannot be read any more.
    pub record: Option<Record>,
    /// Its bytes.
    pub n_bytes: u64,
    /// What the digest at its end says.
    pub state: State,
}

/// Whether a document is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is.
    Whole,
    /// It is not.
    Changed,
    /// No digest was taken when it was written.
    NotKnown,
}

/// The document `name`, if frazil wrote it. Others may be of any size: of those only the beginning is read.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_json(folder: &Folder, name: &str) -> Result<Option<Document>, EngineError> {
    const BEGIN: &[u8] = b"{\"version\":1,\"frazil\":{";
    let Some(opened) = folder.open(name)? else { return Ok(None) };
    let mut head = Vec::new();
    opened.read(0, opened.length().min(BEGIN.len() as u64), &mut head)?;
    if head != BEGIN {
        return Ok(None);
    }
    let Some(bytes) = folder.get_within(name, MOST_DOCUMENT_BYTES)? else { return Ok(None) };
    let ours: Option<Ours> = serde_json::from_slice(&bytes).ok();
    let record = ours.and_then(|ours| ours.frazil);
    let state = state(&bytes, record.as_ref());
    Ok(Some(Document { record, n_bytes: bytes.len() as u64, state }))
}

fn state(bytes: &[u8], record: Option<&Record>) -> State {
    let n_end = end(&digest(b"")).len();
    let (before, found) = bytes.split_at(bytes.len().saturating_sub(n_end));
    if found == end(&digest(before)).as_bytes() {
        return State::Whole;
    }
    let was_sealed = found.windows(SEAL.len()).any(|window| window == SEAL.as_bytes());
    match record {
        Some(record) if record.frazil_virtual < NOTES_OBJECTS && !was_sealed => State::NotKnown,
        _ => State::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_of_a_document_can_flip_unseen() {
        let about = format!("{{\"frazil_virtual\":{NOTES_OBJECTS},\"plan\":\"\",\"request\":\"\",\"sources\":[]}}");
        let record = |bytes: &[u8]| serde_json::from_slice::<Ours>(bytes).ok().and_then(|ours| ours.frazil);
        let mut bytes = begin(&about).into_bytes();
        push_entry("v/0", Reference::Range { url: "file:///a.nc", offset: 1, length: 2 }, &mut bytes);
        let seal = end(&digest(&bytes));
        bytes.extend_from_slice(seal.as_bytes());
        assert_eq!(state(&bytes, record(&bytes).as_ref()), State::Whole);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(state(&bytes, record(&bytes).as_ref()), State::Changed, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
