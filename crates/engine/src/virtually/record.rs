//! Of what a virtual dataset was made, and every document that was written of it.
//!
//! It promises that no bit of a record can flip unseen, and that the same dataset has the same record.

use std::collections::BTreeMap;

use frazil_model::combine::Content;
use serde::{Deserialize, Serialize};

use super::{
    address::check_doors,
    make::{Part, VirtualRequest},
    pinned::{Files, SourcePin, pins},
};
use crate::{error::EngineError, identity::digest, journal::Stored};

/// Version of what decides the bytes of a virtual dataset.
const VERSION: u32 = 1;

/// Key of the document that says of what a virtual dataset was made.
pub(crate) const RECORD: &str = ".frazil/virtual.json";

/// Of what a virtual dataset was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of this document.
    pub frazil_virtual: u32,
    /// Digest of everything that decides a byte of the dataset.
    pub plan: String,
    /// What was asked for, as canonical text.
    pub request: String,
    /// The files, in order.
    pub sources: Vec<SourcePin>,
    /// Every document that was written, by its key; none of a JSON document, which has its digest at its end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, Stored>,
    /// Digest of all that this record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
}

/// Version of records that say what was written; those before are believed.
pub(crate) const NOTES_OBJECTS: u32 = 2;

impl Record {
    /// As text, with its seal.
    pub fn to_text(&self) -> Result<String, EngineError> {
        let failed = |error: serde_json::Error| EngineError::Document { reason: error.to_string() };
        let bare = Self { seal: None, ..self.clone() };
        let seal = digest(serde_json::to_string(&bare).map_err(failed)?.as_bytes());
        Ok(serde_json::to_string_pretty(&Self { seal: Some(seal), ..bare }).map_err(failed)? + "\n")
    }

    /// Reads the record at `key`.
    ///
    /// # Errors
    /// If it makes no sense, or was changed after it was written.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self, EngineError> {
        let damaged = |reason: String| EngineError::Damaged { key: key.to_owned(), reason };
        let read: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let is_sealed = read.seal.is_some() || read.frazil_virtual >= NOTES_OBJECTS;
        if is_sealed && read.to_text()?.as_bytes() != bytes {
            return Err(damaged("it was changed after it was written".into()));
        }
        Ok(read)
    }
}

/// Of what the dataset is made, with the digest of everything that decides a byte of it.
pub(super) fn record(wanted: &VirtualRequest, parts: &[Part]) -> Result<Record, EngineError> {
    check_doors(parts.iter().flat_map(|part| &part.files.addresses))?;
    let mut text =
        format!("{:?}", (VERSION, &wanted.write.format, wanted.write.inline_below, wanted.write.inline_coords));
    let mut sources = Vec::new();
    for part in parts {
        let own = pins(&part.sources, wanted.write.pin, wanted.request.limits.n_threads)?;
        let contents: Vec<String> =
            part.combined.variables.iter().map(|variable| content_digest(&variable.content, &part.files)).collect();
        text.push_str(&format!("{:?}", (&part.prefix, &part.laid.targets, &part.combined.groups, contents)));
        // Of what its files hold, not of when they were touched.
        let files = part.files.pinned.iter().zip(&own);
        let mut said: Vec<String> = files
            .map(|(file, pin)| format!("{:?}", (&file.url, pin.size_bytes, &pin.structure, &pin.blake3)))
            .collect();
        // Whatever the order in which they were named.
        said.sort_unstable();
        said.iter().for_each(|file| text.push_str(file));
        sources.extend(own);
    }
    let (plan, request) = (digest(text.as_bytes()), wanted.request.recipe.clone());
    Ok(Record { frazil_virtual: NOTES_OBJECTS, plan, request, sources, objects: BTreeMap::new(), seal: None })
}

fn content_digest(content: &Content, files: &Files) -> String {
    match content {
        Content::Inline(bytes) => digest(bytes),
        Content::Texts(texts) => digest(format!("{texts:?}").as_bytes()),
        Content::Pieces(pieces) => {
            let url = |file: usize| files.pinned.get(file).map_or("", |file| file.url.as_str());
            let said = pieces.iter().map(|piece| {
                format!("{:?}", (url(piece.file), piece.variable, &piece.at, &piece.axes, &piece.fixed, &piece.rule))
            });
            digest(said.collect::<String>().as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_of_a_record_can_flip_unseen() {
        let objects = BTreeMap::from([("config.yaml".to_owned(), Stored::of(b"x"))]);
        let (plan, request, seal) = (digest(b"p"), "r".to_owned(), None);
        let record = Record { frazil_virtual: NOTES_OBJECTS, plan, request, sources: Vec::new(), objects, seal };
        let mut bytes = record.to_text().unwrap().into_bytes();
        assert_eq!(Record::parse("k", &bytes).unwrap().objects, record.objects);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Record::parse("k", &bytes), Err(EngineError::Damaged { .. })), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
