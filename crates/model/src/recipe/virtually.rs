//! What is linked instead of copied: references to the chunks of other people's files.

use serde::{Deserialize, Serialize};

use crate::recipe::{
    amount::ByteSize,
    read::{Fields, Plain, Problems, parsed, truth, word},
    span::Position,
    write::{Mode, ZarrWrite},
    yaml::Node,
};

/// The format of the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VirtualFormat {
    /// A repository of Icechunk, format version 1.
    #[default]
    Icechunk,
    /// One JSON document of Kerchunk.
    KerchunkJson,
    /// A folder of Kerchunk's tables.
    KerchunkParquet,
}

/// The formats by their names.
pub const FORMATS: [(&str, VirtualFormat); 3] = [
    ("icechunk", VirtualFormat::Icechunk),
    ("kerchunk-json", VirtualFormat::KerchunkJson),
    ("kerchunk-parquet", VirtualFormat::KerchunkParquet),
];

/// What is tried, one after the other, where files cannot be referenced as one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfIncompatible {
    /// Codecs that decode alike are the same.
    Equivalent,
    /// What cannot be referenced is written into the array.
    Native,
    /// Files that are alike become a group of their own.
    Split,
}

/// The policies by their names.
pub const POLICIES: [(&str, IfIncompatible); 3] =
    [("equivalent", IfIncompatible::Equivalent), ("native", IfIncompatible::Native), ("split", IfIncompatible::Split)];

/// By what a file that was referenced is known later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinning {
    /// By its size, times or tag.
    #[default]
    State,
    /// By its bytes as well: each file is read once.
    Content,
}

/// The ways to pin by their names.
pub const PINNINGS: [(&str, Pinning); 2] = [("state", Pinning::State), ("content", Pinning::Content)];

/// Chunks up to this size stand in the references themselves.
pub const INLINE_BELOW: ByteSize = ByteSize(1000);

/// References to the chunks of files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VirtualWrite {
    /// Their format.
    pub format: VirtualFormat,
    /// Values that are written and are no larger stand in the references.
    pub inline_below: ByteSize,
    /// Whether coordinates stand there, too, if they are small.
    pub inline_coords: bool,
    /// What is tried where files cannot be referenced as one array; `None`: all that the format can.
    pub if_incompatible: Option<Vec<IfIncompatible>>,
    /// By what files are known later.
    pub pin: Pinning,
    /// What to do about what is there.
    pub mode: Mode,
    /// The store that the same recipe makes when it is asked for.
    pub on_request: Option<ZarrWrite>,
    /// Where the author wrote it.
    #[serde(skip)]
    pub at: Position,
}

impl VirtualWrite {
    /// As it is without a word of the author's.
    #[must_use]
    pub const fn usual(at: Position) -> Self {
        Self {
            format: VirtualFormat::Icechunk,
            inline_below: INLINE_BELOW,
            inline_coords: true,
            if_incompatible: None,
            pin: Pinning::State,
            mode: Mode::Create,
            on_request: None,
            at,
        }
    }

    /// What is tried, in order.
    #[must_use]
    pub fn policies(&self) -> Vec<IfIncompatible> {
        use IfIncompatible::{Equivalent, Native, Split};
        self.if_incompatible.clone().unwrap_or_else(|| vec![Equivalent, Native, Split])
    }

    /// Whether `policy` is among them.
    #[must_use]
    pub fn allows(&self, policy: IfIncompatible) -> bool {
        self.policies().contains(&policy)
    }
}

/// The mapping under `virtual`.
pub(crate) fn virtually(node: &Node, problems: &mut Problems) -> VirtualWrite {
    let mut write = VirtualWrite::usual(node.at);
    if matches!(node.plain(), Some(Plain::Null)) {
        return write;
    }
    let known = ["format", "inline", "if_incompatible", "pin", "mode"];
    let example = "{format: icechunk, if_incompatible: [equivalent, native]}";
    let Some(fields) = Fields::of(node, "virtual", &known, &[], example, problems) else { return write };
    if let Some(format) = fields.get("format").and_then(|node| word(node, "format", &FORMATS, problems)) {
        write.format = format;
    }
    if let Some(node) = fields.get("inline") {
        inline(node, &mut write, problems);
    }
    if let Some(node) = fields.get("if_incompatible") {
        write.if_incompatible = Some(policies(node, problems));
    }
    if let Some(pin) = fields.get("pin").and_then(|node| word(node, "pin", &PINNINGS, problems)) {
        write.pin = pin;
    }
    let modes = [("create", Mode::Create), ("extend", Mode::Extend), ("replace", Mode::Replace)];
    if let Some(mode) = fields.get("mode").and_then(|node| word(node, "mode", &modes, problems)) {
        write.mode = mode;
    }
    write
}

fn inline(node: &Node, write: &mut VirtualWrite, problems: &mut Problems) {
    let example = "{below: 1KB, coords: true}";
    let Some(fields) = Fields::of(node, "inline", &["below", "coords"], &[], example, problems) else { return };
    if let Some(node) = fields.get("below") {
        let is_nothing = matches!(node.plain(), Some(Plain::Integer(0)));
        let below = if is_nothing { Some(ByteSize(0)) } else { parsed(node, "below", "1KB", problems) };
        write.inline_below = below.unwrap_or(write.inline_below);
    }
    if let Some(coords) = fields.get("coords").and_then(|node| truth(node, "coords", problems)) {
        write.inline_coords = coords;
    }
}

fn policies(node: &Node, problems: &mut Problems) -> Vec<IfIncompatible> {
    match node.list() {
        Some(list) => list.iter().filter_map(|node| word(node, "if_incompatible", &POLICIES, problems)).collect(),
        None => word(node, "if_incompatible", &POLICIES, problems).into_iter().collect(),
    }
}
