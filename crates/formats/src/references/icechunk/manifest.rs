//! Manifests: where the chunks of an array are, for a box of its grid.

use super::{
    super::flat::{Field, Writer},
    IDENTIFIER, Kind, NodeId, ObjectId, Payload, Pin, Pinned, named,
};

/// One array's chunks in a box of its grid, in C order.
pub struct ManifestWriter {
    writer: Writer,
    files: Vec<(Option<usize>, Option<usize>)>,
    /// Fields that wait for the address of a file, and for its tag.
    waiting: Vec<(usize, usize, Option<usize>)>,
    first: usize,
    n_written: usize,
    id_at: usize,
}

impl ManifestWriter {
    /// Begins the manifest of `n_chunks` chunks of `node`.
    #[must_use]
    pub fn new(node: NodeId, n_chunks: usize, n_files: usize) -> Self {
        let mut writer = Writer::new(IDENTIFIER);
        let root = writer.root(&[(1, Field::Child), (0, Field::Bytes(&[0; 12]))]);
        let arrays = writer.children(root.children[0], 1);
        let array = writer.table(arrays, &[(1, Field::Child), (0, Field::Bytes(&node.0))]);
        let first = writer.children(array.children[0], n_chunks);
        Self {
            writer,
            files: vec![(None, None); n_files],
            waiting: Vec::new(),
            first,
            n_written: 0,
            id_at: root.bytes_at,
        }
    }

    /// Adds the next chunk.
    pub fn push(&mut self, at: &[u32], payload: &Payload<'_>, files: &[Pinned]) {
        let from = self.first + 4 * self.n_written;
        self.n_written += 1;
        match payload {
            Payload::Inline(bytes) => {
                let placed = self.writer.table(from, &[(0, Field::Child), (1, Field::Child)]);
                self.writer.numbers(placed.children[0], at);
                self.writer.vector(placed.children[1], bytes);
            }
            Payload::Native { id, offset, length } => {
                let fields =
                    [(2, Field::U64(*offset)), (3, Field::U64(*length)), (0, Field::Child), (4, Field::Bytes(&id.0))];
                let placed = self.writer.table(from, &fields);
                self.writer.numbers(placed.children[0], at);
            }
            Payload::Virtual { file, offset, length } => {
                const NOWHERE: &Pinned = &Pinned { url: String::new(), pin: Pin::None };
                let wide = [(2, Field::U64(*offset)), (3, Field::U64(*length)), (0, Field::Child), (5, Field::Child)];
                let placed = match &files.get(*file).unwrap_or(NOWHERE).pin {
                    Pin::None => self.writer.table(from, &wide),
                    Pin::Tag(_) => self.writer.table(from, &[wide[0], wide[1], wide[2], wide[3], (6, Field::Child)]),
                    Pin::NotAfter(second) => {
                        let second = (7, Field::U32(*second));
                        self.writer.table(from, &[wide[0], wide[1], wide[2], wide[3], second])
                    }
                };
                let tag = (placed.children[2] != 0).then_some(placed.children[2]);
                self.waiting.push((*file, placed.children[1], tag));
                self.writer.numbers(placed.children[0], at);
            }
        }
    }

    /// The whole document, named by `name` of what it holds.
    #[must_use]
    pub fn finish(mut self, files: &[Pinned], name: &dyn Fn(&[u8]) -> ObjectId) -> (ObjectId, Vec<u8>) {
        for (file, url_from, tag_from) in std::mem::take(&mut self.waiting) {
            let (Some(about), Some(known)) = (files.get(file), self.files.get_mut(file)) else { continue };
            match known.0 {
                Some(at) => self.writer.point_to(url_from, at),
                None => known.0 = Some(self.writer.text(url_from, &about.url)),
            }
            let (Some(from), Pin::Tag(tag)) = (tag_from, &about.pin) else { continue };
            match known.1 {
                Some(at) => self.writer.point_to(from, at),
                None => known.1 = Some(self.writer.text(from, tag)),
            }
        }
        named(self.writer, self.id_at, Kind::Manifest, name)
    }

    /// Bytes of the document so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether no chunk was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.n_written == 0
    }
}
