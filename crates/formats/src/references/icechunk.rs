//! Icechunk's documents, version 1: snapshots, manifests and logs of transactions, as bytes and back.
//!
//! It promises that the same content gives the same bytes, and that a million references to one file hold its name
//! once. Names of documents are made of their content by whoever calls, so a document that is there need not be written.
//! It does not know where documents lie.
//!
//! Source: Icechunk specification version 1, and its FlatBuffers schemas.

mod described;
mod manifest;
mod read;

pub use described::RepositoryReferences;
pub use manifest::ManifestWriter;
pub use read::{Found, SeeChunk, is_named, is_of_others, read_manifest, read_snapshot};
use zstd_safe::{CompressionLevel, compress_bound};

use super::flat::{Field, Writer};

/// What every document begins with.
const MAGIC: &[u8] = "ICE🧊CHUNK".as_bytes();
/// Who wrote it, padded with spaces.
const WRITER: &[u8; 24] = b"frazil                  ";
const VERSION: u8 = 1;
const ZSTD: u8 = 1;
const HEADER_BYTES: usize = 12 + 24 + 3;
const LEVEL: CompressionLevel = 3;
const IDENTIFIER: [u8; 4] = *b"Ichk";
/// A document may not claim more than this once it is unpacked; FlatBuffers end at 2 GiB.
const MOST_DOCUMENT_BYTES: usize = 2 << 30;

/// The snapshot that every repository begins with: `1CECHNKREP0F1RSTCMT0`.
pub const FIRST_SNAPSHOT: ObjectId = ObjectId([0x0b, 0x1c, 0xc8, 0xd6, 0x78, 0x75, 0x80, 0xf0, 0xe3, 0x3a, 0x65, 0x34]);

/// The message of that snapshot.
pub const FIRST_MESSAGE: &str = "Repository initialized";

/// The name of a document or a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId(pub [u8; 12]);

/// The name of an array or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 8]);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl ObjectId {
    /// As it stands in keys: Crockford's base 32.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = String::new();
        let (mut held, mut n_bits) = (0_u32, 0);
        for byte in self.0 {
            held = held << 8 | u32::from(byte);
            n_bits += 8;
            while n_bits >= 5 {
                n_bits -= 5;
                name.push(char::from(ALPHABET[(held >> n_bits & 31) as usize]));
            }
        }
        name.push(char::from(ALPHABET[(held << (5 - n_bits) & 31) as usize]));
        name
    }

    /// The id that `name` stands for.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        if name.len() != 20 {
            return None;
        }
        let mut id = [0; 12];
        let (mut held, mut n_bits, mut at) = (0_u32, 0, 0);
        for letter in name.bytes() {
            let value = ALPHABET.iter().position(|known| *known == letter)?;
            held = held << 5 | u32::try_from(value).ok()?;
            n_bits += 5;
            if n_bits >= 8 && at < id.len() {
                n_bits -= 8;
                id[at] = (held >> n_bits & 0xff) as u8;
                at += 1;
            }
        }
        Some(Self(id))
    }
}

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Snapshot = 1,
    Manifest = 2,
    Transaction = 4,
}

/// Where the bytes of a chunk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// In the manifest.
    Inline(&'a [u8]),
    /// In an object of the repository.
    Native {
        /// Its name.
        id: ObjectId,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// In another file.
    Virtual {
        /// Number of the file.
        file: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// A file that chunks lie in, and the state it must be in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pinned {
    /// Its address, percent-encoded.
    pub url: String,
    /// What its server says of its state.
    pub pin: Pin,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Pin {
    /// Nothing does.
    #[default]
    None,
    /// The entity tag.
    Tag(String),
    /// It did not change after this second since 1970.
    NotAfter(u32),
}

/// Puts the name of its content into a document.
fn named(mut writer: Writer, id_at: usize, kind: Kind, name: &dyn Fn(&[u8]) -> ObjectId) -> (ObjectId, Vec<u8>) {
    let id = name(writer.bytes_mut());
    if let Some(cell) = writer.bytes_mut().get_mut(id_at..id_at + 12) {
        cell.copy_from_slice(&id.0);
    }
    (id, packed(kind, &writer.into_bytes()))
}

/// A manifest and the box of the array's grid that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPart {
    /// Its name.
    pub id: ObjectId,
    /// First cell and the cell behind the last, along each dimension.
    pub extents: Vec<(u32, u32)>,
    /// Bytes of the document.
    pub size_bytes: u64,
    /// Chunks in it.
    pub n_chunks: u32,
}

/// An array or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Absolute path.
    pub path: String,
    /// `zarr.json`.
    pub document: String,
    /// Of an array.
    pub array: Option<ArrayNode>,
}

/// What a snapshot says of an array besides its `zarr.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArrayNode {
    /// Length of each dimension and of its chunks.
    pub shape: Vec<(u64, u64)>,
    /// Names of the dimensions.
    pub dimensions: Vec<String>,
    /// Where its chunks are written down.
    pub manifests: Vec<ManifestPart>,
}

/// One state of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its name; what [`snapshot`] is given is ignored but for the first snapshot.
    pub id: ObjectId,
    /// The state before.
    pub parent: Option<ObjectId>,
    /// Microseconds since 1970.
    pub written_at: u64,
    /// What people read in the history.
    pub message: String,
    /// Texts by name.
    pub properties: Vec<(String, String)>,
    /// Arrays and groups.
    pub nodes: Vec<Node>,
}

/// The document of a snapshot, named by its content.
#[must_use]
pub fn snapshot(snapshot: &Snapshot, name: &dyn Fn(&[u8]) -> ObjectId) -> (ObjectId, Vec<u8>) {
    let mut writer = Writer::new(IDENTIFIER);
    let root_fields = [
        (3, Field::U64(snapshot.written_at)),
        (2, Field::Child),
        (4, Field::Child),
        (5, Field::Child),
        (6, Field::Child),
        (0, Field::Bytes(&[0; 12])),
    ];
    let root = match &snapshot.parent {
        None => writer.root(&root_fields),
        Some(parent) => {
            let [a, b, c, d, e, f] = root_fields;
            writer.root(&[a, b, c, d, e, f, (1, Field::Bytes(&parent.0))])
        }
    };
    let mut nodes: Vec<&Node> = snapshot.nodes.iter().collect();
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    let first = writer.children(root.children[0], nodes.len());
    for (number, one) in nodes.iter().enumerate() {
        node(&mut writer, first + 4 * number, one);
    }
    writer.text(root.children[1], &snapshot.message);
    let first = writer.children(root.children[2], snapshot.properties.len());
    for (number, (key, value)) in snapshot.properties.iter().enumerate() {
        let item = writer.table(first + 4 * number, &[(0, Field::Child), (1, Field::Child)]);
        writer.text(item.children[0], key);
        writer.vector(item.children[1], &message_pack(value));
    }
    let mut manifests: Vec<&ManifestPart> =
        nodes.iter().filter_map(|node| node.array.as_ref()).flat_map(|array| &array.manifests).collect();
    manifests.sort_by_key(|manifest| manifest.id);
    manifests.dedup_by_key(|manifest| manifest.id);
    let mut files = Vec::with_capacity(32 * manifests.len());
    for manifest in &manifests {
        files.extend_from_slice(&manifest.id.0);
        files.extend_from_slice(&[0; 4]);
        files.extend_from_slice(&manifest.size_bytes.to_le_bytes());
        files.extend_from_slice(&manifest.n_chunks.to_le_bytes());
        files.extend_from_slice(&[0; 4]);
    }
    writer.structures(root.children[3], manifests.len(), 8, &files);
    if snapshot.id == FIRST_SNAPSHOT {
        return named(writer, root.bytes_at, Kind::Snapshot, &|_| FIRST_SNAPSHOT);
    }
    named(writer, root.bytes_at, Kind::Snapshot, name)
}

const ARRAY: u8 = 1;
const GROUP: u8 = 2;

fn node(writer: &mut Writer, from: usize, node: &Node) {
    let kind = if node.array.is_some() { ARRAY } else { GROUP };
    let placed = writer.table(
        from,
        &[(1, Field::Child), (2, Field::Child), (4, Field::Child), (0, Field::Bytes(&node.id.0)), (3, Field::U8(kind))],
    );
    writer.text(placed.children[0], &node.path);
    writer.vector(placed.children[1], node.document.as_bytes());
    let Some(array) = &node.array else {
        writer.table(placed.children[2], &[]);
        return;
    };
    let about = writer.table(placed.children[2], &[(0, Field::Child), (1, Field::Child), (2, Field::Child)]);
    let shape: Vec<u8> = array
        .shape
        .iter()
        .flat_map(|(length, chunk)| {
            let chunk = if *length == 0 { 0 } else { *chunk };
            [length.to_le_bytes(), chunk.to_le_bytes()]
        })
        .flatten()
        .collect();
    writer.structures(about.children[0], array.shape.len(), 8, &shape);
    let first = writer.children(about.children[1], array.dimensions.len());
    for (number, name) in array.dimensions.iter().enumerate() {
        let dimension = writer.table(first + 4 * number, &[(0, Field::Child)]);
        writer.text(dimension.children[0], name);
    }
    let first = writer.children(about.children[2], array.manifests.len());
    for (number, manifest) in array.manifests.iter().enumerate() {
        let placed = writer.table(first + 4 * number, &[(1, Field::Child), (0, Field::Bytes(&manifest.id.0))]);
        let extents: Vec<u8> =
            manifest.extents.iter().flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()]).flatten().collect();
        writer.structures(placed.children[0], manifest.extents.len(), 4, &extents);
    }
}

/// A text in MessagePack, as properties are kept.
fn message_pack(text: &str) -> Vec<u8> {
    let n_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut packed = vec![0xdb];
    packed.extend_from_slice(&n_bytes.to_be_bytes());
    packed.extend_from_slice(text.as_bytes());
    packed
}

/// What changed from one snapshot to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Groups that were not there.
    pub new_groups: Vec<NodeId>,
    /// Arrays that were not there. Which of their chunks are new need not be said: all are.
    pub new_arrays: Vec<NodeId>,
    /// Groups that are gone.
    pub deleted_groups: Vec<NodeId>,
    /// Arrays that are gone.
    pub deleted_arrays: Vec<NodeId>,
    /// Groups whose attributes changed.
    pub updated_groups: Vec<NodeId>,
    /// Arrays whose shape or attributes changed.
    pub updated_arrays: Vec<NodeId>,
    /// Chunks that changed, by array.
    pub updated_chunks: Vec<(NodeId, Vec<Vec<u32>>)>,
}

/// The log of the transaction that made snapshot `id`.
#[must_use]
pub fn transaction(id: ObjectId, changes: &Changes) -> Vec<u8> {
    let mut writer = Writer::new(IDENTIFIER);
    let mut fields: Vec<(u16, Field<'_>)> = (1..=7).map(|slot| (slot, Field::Child)).collect();
    fields.push((0, Field::Bytes(&id.0)));
    let root = writer.root(&fields);
    // In the order of the slots: the schema has arrays before groups among what was updated.
    let lists = [
        &changes.new_groups,
        &changes.new_arrays,
        &changes.deleted_groups,
        &changes.deleted_arrays,
        &changes.updated_arrays,
        &changes.updated_groups,
    ];
    for (list, from) in lists.into_iter().zip(root.children) {
        let mut sorted = list.clone();
        sorted.sort_unstable();
        let bytes: Vec<u8> = sorted.iter().flat_map(|id| id.0).collect();
        writer.structures(from, sorted.len(), 1, &bytes);
    }
    let mut arrays: Vec<&(NodeId, Vec<Vec<u32>>)> = changes.updated_chunks.iter().collect();
    arrays.sort_by_key(|(id, _)| *id);
    let first = writer.children(root.children[6], arrays.len());
    for (number, (id, chunks)) in arrays.into_iter().enumerate() {
        let array = writer.table(first + 4 * number, &[(1, Field::Child), (0, Field::Bytes(&id.0))]);
        let first = writer.children(array.children[0], chunks.len());
        for (number, at) in chunks.iter().enumerate() {
            let chunk = writer.table(first + 4 * number, &[(0, Field::Child)]);
            writer.numbers(chunk.children[0], at);
        }
    }
    packed(Kind::Transaction, &writer.into_bytes())
}

/// A document with its header.
fn packed(kind: Kind, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + plain.len() / 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(WRITER);
    bytes.extend_from_slice(&[VERSION, kind as u8, ZSTD]);
    let mut frame = Vec::with_capacity(compress_bound(plain.len()));
    // A buffer of that size always suffices.
    if zstd_safe::compress(&mut frame, plain, LEVEL).is_ok() {
        bytes.extend_from_slice(&frame);
    }
    bytes
}
