//! The XML documents of Azure's blobs, and the names of parts.
//!
//! Source: Microsoft Learn, "List Blobs", "Get Block List" and "Put Block List". No entities are expanded, and what a
//! server adds is passed over.

use std::fmt::Write;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::{
    azure::digest_of,
    dialect::{Listed, Page, State, hex},
};
use crate::{
    digest::{base64, bytes_of_base64},
    settled::seconds_of_web_date,
};

/// What the name of each part of ours begins with.
const MARK: &[u8; 4] = b"frz1";

/// A page of a listing.
pub(super) struct Listing {
    entries: Vec<Entry>,
    next: Option<String>,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    blobs: Option<Entries>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct Entries {
    #[serde(rename = "$value", default)]
    all: Vec<Entry>,
}

#[derive(Deserialize)]
enum Entry {
    Blob(Blob),
    BlobPrefix(Folder),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    properties: Properties,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Folder {
    name: Name,
}

#[derive(Deserialize)]
struct Name {
    #[serde(rename = "@Encoded")]
    encoded: Option<String>,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length", default)]
    length: u64,
    #[serde(rename = "Last-Modified", default)]
    modified: String,
    #[serde(rename = "Etag", default)]
    etag: String,
    #[serde(rename = "Content-MD5", default)]
    md5: String,
    #[serde(rename = "ResourceType", default)]
    kind: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "frazilparts", default)]
    parts: String,
    #[serde(rename = "hdi_isfolder", default)]
    is_folder: String,
}

impl Blob {
    /// A folder of an account with folders is listed like an object, and is none.
    fn is_folder(&self) -> bool {
        self.properties.kind == "directory"
            || self.metadata.as_ref().is_some_and(|metadata| metadata.is_folder.eq_ignore_ascii_case("true"))
    }
}

impl Name {
    fn plain(&self) -> Option<String> {
        match self.encoded.as_deref() {
            Some("true") => percent_decode_str(&self.text).decode_utf8().ok().map(std::borrow::Cow::into_owned),
            _ => Some(self.text.clone()),
        }
    }
}

impl Listing {
    pub fn read(text: &str, asked_after: Option<&str>) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        if !text.contains("<EnumerationResults") {
            return Err("the listing makes no sense: it is something else".into());
        }
        let document: Document =
            quick_xml::de::from_str(text).map_err(|error| format!("the listing makes no sense: {error}"))?;
        let Some(blobs) = document.blobs else { return Err("the listing was cut short".into()) };
        let next = document.next_marker.filter(|next| !next.is_empty());
        if next.is_some() && next.as_deref() == asked_after {
            return Err("the listing was cut short and does not say how it goes on".into());
        }
        let name = |entry: &Entry| match entry {
            Entry::Blob(blob) => blob.name.plain(),
            Entry::BlobPrefix(folder) => folder.name.plain(),
        };
        let names: Option<Vec<String>> = blobs.all.iter().map(name).collect();
        let names = names.ok_or("the listing names a key that is no text")?;
        Ok(Self { entries: blobs.all, next, names })
    }

    /// The page in our nouns.
    pub fn page(self) -> Page {
        let mut page = Page { next: self.next, ..Page::default() };
        for (entry, key) in self.entries.into_iter().zip(self.names) {
            match entry {
                Entry::BlobPrefix(_) => page.folders.push(key),
                Entry::Blob(blob) if blob.is_folder() => {}
                Entry::Blob(Blob { properties, metadata, .. }) => page.objects.push(Listed {
                    key,
                    size_bytes: properties.length,
                    state: State::new(
                        properties.etag.trim_matches('"'),
                        digest_of(&properties.md5, &metadata.map(|metadata| metadata.parts).unwrap_or_default()),
                    ),
                    modified_seconds: seconds_of_web_date(&properties.modified),
                }),
            }
        }
        page
    }
}

/// The names on a page of containers, and what the next page is asked for with.
pub(super) fn containers_of(text: &str, asked_after: Option<&str>) -> Result<(Vec<String>, Option<String>), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entries {
        #[serde(default)]
        container: Vec<Named>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Containers {
        containers: Entries,
        next_marker: Option<String>,
    }
    let text = text.trim_start_matches('\u{feff}');
    let page: Containers =
        quick_xml::de::from_str(text).map_err(|error| format!("the listing makes no sense: {error}"))?;
    let next = page.next_marker.filter(|next| !next.is_empty());
    if next.is_some() && next.as_deref() == asked_after {
        return Err("the listing was cut short and does not say how it goes on".into());
    }
    Ok((page.containers.container.into_iter().map(|container| container.name).collect(), next))
}

/// The name of a part: its upload, its number and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockId([u8; 32]);

impl BlockId {
    /// The name of a part whose MD5 is `tag`.
    pub fn of(upload: &str, number: u32, tag: &str) -> Option<Self> {
        let bytes = |text: &str, n_bytes: usize| -> Option<Vec<u8>> {
            let is_hex = text.len() == 2 * n_bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let pair = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
            if is_hex { (0..n_bytes).map(pair).collect() } else { None }
        };
        let parts = [MARK.to_vec(), bytes(upload, 8)?, number.to_be_bytes().to_vec(), bytes(tag, 16)?];
        Some(Self(parts.concat().try_into().ok()?))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = bytes_of_base64(text)?.try_into().ok()?;
        bytes.starts_with(MARK).then_some(Self(bytes))
    }

    /// As it is sent.
    pub fn sent(&self) -> String {
        base64(&self.0)
    }

    pub fn upload(&self) -> String {
        hex(self.0.get(4..12).unwrap_or_default())
    }

    pub fn number(&self) -> u32 {
        self.0.get(12..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    pub fn digest(&self) -> [u8; 16] {
        self.0.get(16..).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    }
}

/// The parts of which no object was made.
pub(super) struct Blocks;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlockDocument {
    uncommitted_blocks: Option<BlockEntries>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlockEntries {
    #[serde(default)]
    block: Vec<BlockEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlockEntry {
    name: String,
    size: u64,
}

impl Blocks {
    /// Those of ours, with their sizes.
    pub fn read(text: &str) -> Result<Vec<(BlockId, u64)>, String> {
        let text = text.trim_start_matches('\u{feff}');
        let document: BlockDocument = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
        let blocks = document.uncommitted_blocks.map(|blocks| blocks.block).unwrap_or_default();
        Ok(blocks.into_iter().filter_map(|block| Some((BlockId::parse(&block.name)?, block.size))).collect())
    }
}

/// The request to make parts one object.
pub(super) fn block_list(ids: &[BlockId]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for id in ids {
        let _ = write!(text, "<Latest>{}</Latest>", id.sent());
    }
    text.push_str("</BlockList>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Digest;

    #[test]
    fn a_page_says_what_is_there_and_how_it_goes_on() {
        let text = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Prefix>a</Prefix><Blobs>\
                    <Blob><Name>a b </Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>\
                    <Etag>0x8D</Etag><Content-Length>3</Content-Length><Content-MD5>kAFQmDzST7DWlj99KOF/cg==</Content-MD5>\
                    </Properties><Metadata /></Blob><BlobPrefix><Name>a/</Name></BlobPrefix>\
                    <Blob><Name Encoded=\"true\">a%EF%BF%BE</Name><Properties><Content-Length>0</Content-Length>\
                    <Content-MD5 /></Properties><Metadata><frazilparts>900150983cd24fb0d6963f7d28e17f72-2</frazilparts>\
                    </Metadata></Blob><Blob><Name>ad</Name><Properties><Content-Length>0</Content-Length></Properties>\
                    <Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob></Blobs><NextMarker>t</NextMarker>\
                    </EnumerationResults>";
        let page = Listing::read(text, None).unwrap().page();
        let first = &page.objects[0];
        assert_eq!((first.key.as_str(), first.size_bytes, first.state.tag().as_str()), ("a b ", 3, "0x8D"));
        assert_eq!(first.state.digest, Some(Digest::Md5(crate::digest::md5(b"abc"))));
        assert_eq!(first.modified_seconds, Some(784_111_777));
        assert_eq!(page.objects[1].key, "a\u{fffe}");
        assert!(matches!(page.objects[1].state.digest, Some(Digest::Md5OfParts { n_parts: 2, .. })));
        assert_eq!((page.objects.len(), page.folders, page.next), (2, vec!["a/".to_owned()], Some("t".to_owned())));
        assert!(Listing::read(text, Some("t")).is_err(), "a page that leads to itself");
        assert!(Listing::read(&text[..300], None).is_err());
        assert!(Listing::read("<html/>", None).is_err());
        let empty = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        assert_eq!(Listing::read(empty, None).unwrap().page(), Page::default());
    }

    #[test]
    fn the_name_of_a_part_says_what_it_is_part_of() {
        let id = BlockId::of("0123456789abcdef", 7, "900150983cd24fb0d6963f7d28e17f72").unwrap();
        assert_eq!((id.upload().as_str(), id.number()), ("0123456789abcdef", 7));
        assert_eq!(hex(&id.digest()), "900150983cd24fb0d6963f7d28e17f72");
        let text = format!(
            "<BlockList><UncommittedBlocks><Block><Name>{}</Name><Size>5</Size></Block>\
             <Block><Name>YQ==</Name><Size>1</Size></Block></UncommittedBlocks></BlockList>",
            id.sent()
        );
        assert_eq!(Blocks::read(&text), Ok(vec![(id, 5)]));
        assert_eq!(Blocks::read("<BlockList><UncommittedBlocks /></BlockList>"), Ok(vec![]));
        assert!(BlockId::of("x", 1, "y").is_none());
    }
}
