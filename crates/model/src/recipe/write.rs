//! What is written, how it is cut and packed, what is run first, and where it is published.

pub use crate::zarr::ZarrFormat;
use serde::Serialize;

use crate::recipe::{
    amount::ByteSize,
    read::{Fields, Plain, Problems, entries, parsed, text, whole, word},
    span::{Position, Spanned},
    spec::{ChunkLength, ChunkSpec, CodecSpec, FAVOURS, Favour},
    virtually::{VirtualWrite, virtually},
    yaml::Node,
};

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Write {
    /// A Zarr store.
    Zarr(ZarrWrite),
    /// References to the chunks of the files.
    Virtual(VirtualWrite),
}

impl Write {
    /// What to do about what is there.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Zarr(zarr) => zarr.mode,
            Self::Virtual(write) => write.mode,
        }
    }

    /// What is written as Zarr, now or when it is asked for.
    #[must_use]
    pub const fn zarr(&self) -> Option<&ZarrWrite> {
        match self {
            Self::Zarr(zarr) => Some(zarr),
            Self::Virtual(write) => write.on_request.as_ref(),
        }
    }
}

/// A Zarr store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZarrWrite {
    /// Version of the format.
    pub format: ZarrFormat,
    /// How arrays are cut.
    pub chunks: ChunkSpec,
    /// Lengths of shards along named dimensions, sorted by name.
    pub shards: Option<Vec<(Spanned<String>, ChunkLength)>>,
    /// How chunks are packed.
    pub codec: CodecSpec,
    /// What to do about a store that is there.
    pub mode: Mode,
    /// Where the author wrote it.
    #[serde(skip)]
    pub at: Position,
}

/// What to do about a store that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Mode {
    /// There must be none.
    #[default]
    Create,
    /// Add what is new.
    Extend,
    /// Put the new one in its place.
    Replace,
}

/// How many files the pruned run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// From the start.
    pub first: u64,
    /// From the end.
    pub last: u64,
}

impl Default for Test {
    fn default() -> Self {
        Self { first: 2, last: 0 }
    }
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The place of the store.
    pub to: Spanned<String>,
    /// The catalog file that names it.
    pub catalog: Option<Spanned<String>>,
}

/// The mapping under `write`.
pub(crate) fn write(node: &Node, problems: &mut Problems) -> Option<Write> {
    let planned = ["icechunk", "parquet", "cog"];
    if let Some(name) = node.text() {
        // `write: zarr` alone takes the usual settings.
        if planned.contains(&name) {
            problems.not_yet(node.at, &format!("write.{name}"));
            return None;
        }
        let kinds = [
            ("zarr", Write::Zarr as fn(ZarrWrite) -> Write),
            ("virtual", |_| Write::Virtual(VirtualWrite::usual(Position::default()))),
        ];
        return word(node, "write", &kinds, problems).map(|kind| kind(usual(node.at)));
    }
    let fields = Fields::of(node, "write", &["zarr", "virtual"], &planned, "{zarr: {codec: zstd:5}}", problems)?;
    if planned.iter().any(|name| fields.get(name).is_some()) {
        return None;
    }
    let Some(node) = fields.get("virtual") else {
        let zarr_node = fields.need("zarr", "zarr: {codec: zstd:5}", problems)?;
        return Some(Write::Zarr(zarr(zarr_node, When::Now, problems)));
    };
    let mut write = virtually(node, problems);
    write.on_request = fields.get("zarr").map(|node| zarr(node, When::OnRequest, problems));
    Some(Write::Virtual(write))
}

/// When a store is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    OnRequest,
}

fn usual(at: Position) -> ZarrWrite {
    ZarrWrite {
        format: ZarrFormat::default(),
        chunks: ChunkSpec::default(),
        shards: None,
        codec: CodecSpec::default(),
        mode: Mode::default(),
        at,
    }
}

fn zarr(node: &Node, when: When, problems: &mut Problems) -> ZarrWrite {
    let known: &[&str] = match when {
        When::Now => &["format", "chunks", "shards", "codec", "mode"],
        When::OnRequest => &["format", "chunks", "shards", "codec", "mode", "when"],
    };
    let mut zarr = usual(node.at);
    if matches!(node.plain(), Some(Plain::Null)) {
        return zarr;
    }
    let Some(fields) = Fields::of(node, "zarr", known, &[], "{chunks: {time: 30}, codec: zstd:5}", problems) else {
        return zarr;
    };
    if when == When::OnRequest && fields.get("when").and_then(Node::text) != Some("on_request") {
        problems.bad(node.at, "zarr", "beside `virtual` a store is made on request: say `when: on_request`");
    }
    let formats = [("3", ZarrFormat::V3), ("2", ZarrFormat::V2)];
    let modes = [("create", Mode::Create), ("extend", Mode::Extend), ("replace", Mode::Replace)];
    if let Some(format) = fields.get("format").and_then(|node| word(node, "format", &formats, problems)) {
        zarr.format = format;
    }
    if let Some(chunks) = fields.get("chunks").and_then(|node| chunks(node, problems)) {
        zarr.chunks = chunks;
    }
    if let Some(shards) = fields.get("shards") {
        zarr.shards = Some(lengths(shards, "shards", problems));
        if zarr.format == ZarrFormat::V2 {
            problems.bad(shards.at, "shards", "only Zarr format 3 has shards");
        }
    }
    if let Some(codec) = fields.get("codec").and_then(|node| parsed(node, "codec", "zstd:5", problems)) {
        zarr.codec = codec;
    }
    if let Some(mode) = fields.get("mode").and_then(|node| word(node, "mode", &modes, problems)) {
        zarr.mode = mode;
    }
    check_shards(&zarr, problems);
    zarr
}

/// A shard holds whole chunks.
fn check_shards(zarr: &ZarrWrite, problems: &mut Problems) {
    let (Some(shards), ChunkSpec::Explicit(chunks)) = (&zarr.shards, &zarr.chunks) else { return };
    for (name, shard) in shards {
        let chunk = chunks.iter().find(|(chunk, _)| chunk.value == name.value).map(|(_, length)| *length);
        if let (ChunkLength::Elements(shard), Some(ChunkLength::Elements(chunk))) = (*shard, chunk)
            && shard % chunk != 0
        {
            let reason = format!("a shard of {shard} along `{name}` does not hold whole chunks of {chunk}");
            problems.bad(name.at, "shards", reason);
        }
    }
}

fn chunks(node: &Node, problems: &mut Problems) -> Option<ChunkSpec> {
    if node.text().is_some() {
        return parsed(node, "chunks", "{time: 30, lat: 360}", problems);
    }
    let auto = node.map().and_then(|entries| entries.iter().find(|(key, _)| key.value == "auto"));
    let Some((_, settings)) = auto else {
        return Some(ChunkSpec::Explicit(lengths(node, "chunks", problems)));
    };
    let example = "{auto: {target: 100MB, favour: time}}";
    Fields::of(node, "chunks", &["auto"], &[], example, problems)?;
    let fields = Fields::of(settings, "auto", &["target", "favour"], &[], "{target: 100MB, favour: time}", problems)?;
    let target = fields.get("target").and_then(|node| parsed(node, "target", "100MB", problems));
    let favour = fields.get("favour").and_then(|node| word(node, "favour", &FAVOURS, problems));
    let target = target.unwrap_or(ByteSize(100_000_000));
    Some(ChunkSpec::Auto { target, favour: favour.unwrap_or(Favour::Balanced) })
}

fn lengths(node: &Node, key: &str, problems: &mut Problems) -> Vec<(Spanned<String>, ChunkLength)> {
    let mut lengths = Vec::new();
    for (name, node) in entries(node, key, "{time: 30, lat: 360}", problems) {
        if let Some(length) = parsed(node, key, "{time: 30, lat: full}", problems) {
            lengths.push((name.clone(), length));
        }
    }
    lengths.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    lengths
}

/// The mapping under `test`.
pub(crate) fn test(node: &Node, problems: &mut Problems) -> Test {
    let Some(fields) = Fields::of(node, "test", &["first", "last"], &[], "{first: 2, last: 1}", problems) else {
        return Test::default();
    };
    let count = |key: &str, problems: &mut Problems| fields.get(key).map(|node| whole(node, key, 0, "2", problems));
    let (first, last) = (count("first", problems), count("last", problems));
    if matches!((first, last), (Some(Some(0)), None | Some(Some(0))) | (None, Some(Some(0)))) {
        problems.bad(node.at, "test", "a pruned run of no file tests nothing");
    }
    Test { first: first.flatten().unwrap_or(0), last: last.flatten().unwrap_or(0) }
}

/// The mapping under `publish`.
pub(crate) fn publish(node: &Node, problems: &mut Problems) -> Option<Publish> {
    let example = "{to: \"osn:bucket/name\", catalog: catalog.yaml}";
    let fields = Fields::of(node, "publish", &["to", "catalog"], &[], example, problems)?;
    let catalog = fields.get("catalog").and_then(|node| text(node, "catalog", "catalog.yaml", problems));
    let to = fields.need("to", "to: \"osn:bucket/name\"", problems)?;
    Some(Publish { to: text(to, "to", "osn:bucket/name", problems)?, catalog })
}
