//! A state of a repository as a source: its arrays, and where their chunks lie.

use frazil_model::references::doors::WebDoor;

use super::{
    super::table::{Described, Tables, Target},
    Found, NodeId, ObjectId, Payload, Snapshot, read_manifest,
};
use crate::{FormatError, zarr};

/// A repository while its manifests are read.
pub struct RepositoryReferences {
    tables: Tables,
    /// Of each array its node and the lengths of its grid.
    arrays: Vec<(NodeId, Vec<u64>)>,
    manifests: Vec<(usize, ObjectId)>,
    /// What comes before the names of its own chunks.
    folder: String,
    doors: Vec<WebDoor>,
}

impl RepositoryReferences {
    /// Of the state that `snapshot` holds. Its own chunks are named below `folder`, which ends with a slash or is empty; some
    /// of its references mean what lies behind `doors`.
    ///
    /// # Errors
    /// If a document of it is no JSON.
    pub fn of(snapshot: &Snapshot, folder: &str, doors: Vec<WebDoor>) -> Result<Self, FormatError> {
        let documents: Vec<(String, String)> =
            snapshot.nodes.iter().map(|node| (node.path.clone(), node.document.clone())).collect();
        let tables = Tables::of(zarr::read_v3_documents(&documents)?);
        let (mut arrays, mut manifests) = (Vec::new(), Vec::new());
        for (number, layout) in tables.layouts().iter().enumerate() {
            let node = snapshot.nodes.iter().find(|node| node.path == layout.path);
            arrays.push((node.map(|node| node.id).unwrap_or_default(), layout.object_grid()));
            let parts = node.and_then(|node| node.array.as_ref()).map(|array| array.manifests.as_slice());
            manifests.extend(parts.unwrap_or_default().iter().map(|part| (number, part.id)));
        }
        Ok(Self { tables, arrays, manifests, folder: folder.to_owned(), doors })
    }

    /// The manifests that hold its references: the number of an array, and a name.
    #[must_use]
    pub fn manifests(&self) -> &[(usize, ObjectId)] {
        &self.manifests
    }

    /// Puts what a manifest says of an array.
    ///
    /// # Errors
    /// If the manifest is damaged, or holds more than the bounds allow.
    pub fn put(&mut self, array: usize, bytes: &[u8]) -> Result<(), FormatError> {
        let Some((node, grid)) = self.arrays.get(array).cloned() else { return Ok(()) };
        let Self { tables, folder, doors, .. } = self;
        read_manifest(bytes, node, &mut |cell, found| {
            if cell.len() != grid.len() || cell.iter().zip(&grid).any(|(at, length)| u64::from(*at) >= *length) {
                return Ok(());
            }
            let chunk = cell.iter().zip(&grid).fold(0, |number, (at, length)| number * length + u64::from(*at));
            let target = match found {
                Found::Here(Payload::Inline(bytes)) => Target::Bytes((*bytes).into()),
                Found::Here(Payload::Native { id, offset, length }) => {
                    Target::File(format!("{folder}chunks/{}", id.name()).into(), *offset, Some(*length))
                }
                Found::Here(Payload::Virtual { .. }) => return Ok(()),
                Found::There { url, offset, length, .. } => {
                    let door = doors.iter().find_map(|door| Some((door, url.strip_prefix(door.prefix.as_str())?)));
                    let url = door.map_or_else(|| plain(url), |(door, rest)| format!("{}{rest}", door.root));
                    Target::File(url.into(), *offset, Some(*length))
                }
            };
            tables.put_chunk(array, chunk, &target)
        })
    }

    /// What it describes, once every manifest was put.
    #[must_use]
    pub fn finish(self) -> Described {
        self.tables.finish("icechunk")
    }
}

/// An address without the percent signs that a path or a key has not.
fn plain(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some(("file", path)) => ("", path),
        Some(("http" | "https", _)) | None => return url.to_owned(),
        Some((scheme, rest)) => (scheme, rest),
    };
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let Some((first, more)) = left.split_first() {
        let code = more.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                left = &more[2..];
            }
            None => {
                bytes.push(*first);
                left = more;
            }
        }
    }
    let rest = String::from_utf8(bytes).unwrap_or_else(|_| rest.to_owned());
    if scheme.is_empty() { rest } else { format!("{scheme}://{rest}") }
}
