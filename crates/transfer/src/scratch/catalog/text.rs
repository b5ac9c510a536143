//! From the bytes of a file to its text.
//!
//! It promises that what is no text in a form that is surely known is an error and no empty text: names that cannot be read
//! are names of stores that would go.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;

/// The largest text of a catalog, unpacked.
pub(super) const MAX_TEXT_BYTES: u64 = 256 << 20;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// It names nothing.
    Picture,
}

const PICTURES: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"];

/// What may be taken for a text, or holds texts that are packed.
const PACKED: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\0", "packed by xz"),
    (b"PAR1", "a Parquet table"),
    (b"SQLite format 3\0", "a database"),
    (b"%PDF-", "a PDF"),
];

/// The text of some bytes.
///
/// # Errors
/// Says what they are, and what to do.
pub(super) fn content_of(bytes: &[u8]) -> Result<Content, String> {
    if !bytes.starts_with(b"\x1f\x8b") {
        return plain(bytes);
    }
    let mut unpacked = Vec::new();
    // One byte more than may be tells that there is more.
    let read = MultiGzDecoder::new(bytes).take(MAX_TEXT_BYTES + 1).read_to_end(&mut unpacked);
    read.map_err(|error| format!("it is packed by gzip, and damaged: {error}"))?;
    match unpacked.len() as u64 > MAX_TEXT_BYTES {
        true => Err(format!("unpacked it has more than {MAX_TEXT_BYTES} bytes")),
        false => plain(&unpacked),
    }
}

fn plain(bytes: &[u8]) -> Result<Content, String> {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    if is_webp || PICTURES.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(Content::Picture);
    }
    if let Some((_, what)) = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(format!("it is {what}; name its text in its place"));
    }
    let unreadable = || "it is no text in UTF-8; write it as one (`iconv -t UTF-8`), or take it out".to_owned();
    let text = match bytes {
        // The longer mark first: that of UTF-16 is how it begins.
        [0xff, 0xfe, 0, 0, rest @ ..] => wide(rest, u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, rest @ ..] => wide(rest, u32::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => pairs(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => pairs(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    };
    text.filter(|text| !text.contains('\0')).map(Content::Text).ok_or_else(unreadable)
}

fn pairs(bytes: &[u8], of: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|unit| of(*unit))).collect::<Result<String, _>>().ok()?;
    rest.is_empty().then_some(text)
}

fn wide(bytes: &[u8], of: fn([u8; 4]) -> u32) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<4>();
    let text = units.iter().map(|unit| char::from_u32(of(*unit))).collect::<Option<String>>()?;
    rest.is_empty().then_some(text)
}

/// Whether a file of JSON ends before it is whole: what would follow may name anything.
pub(super) fn is_cut_off(name: &str, text: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_json = [".json", ".geojson", ".ipynb", ".json.gz", ".geojson.gz"].iter().any(|end| name.ends_with(end));
    let value: Result<IgnoredAny, serde_json::Error> = serde_json::from_str(text);
    is_json && !text.trim().is_empty() && value.is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn texts_are_read_in_every_form_that_is_surely_known() {
        let wide: Vec<u8> = "\u{feff}a é".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wider: Vec<u8> = "\u{feff}a é".chars().flat_map(|letter| (letter as u32).to_be_bytes()).collect();
        for bytes in ["a é".as_bytes(), b"\xef\xbb\xbfa \xc3\xa9", &wide, &wider, &packed("a é")] {
            assert_eq!(content_of(bytes), Ok(Content::Text("a é".into())), "{bytes:?}");
        }
        let two = [packed("one "), packed("two")].concat();
        assert_eq!(content_of(&two), Ok(Content::Text("one two".into())), "each member is read");
        assert_eq!(content_of(b"\x89PNG\r\n\x1a\n\0"), Ok(Content::Picture));
    }

    #[test]
    fn what_is_no_text_is_an_error_that_says_what_it_is() {
        let torn = &packed("a text that is longer")[..20];
        let unmarked: Vec<u8> = "a text".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, expected) in [
            (&b"PK\x03\x04"[..], "a zip"),
            (b"PAR1", "Parquet"),
            (torn, "damaged"),
            (&unmarked, "no text in UTF-8"),
            (b"caf\xe9 a.zarr", "no text in UTF-8"),
            (&packed("\0\0"), "no text in UTF-8"),
        ] {
            let error = content_of(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn json_that_breaks_off_is_told() {
        assert!(is_cut_off("a.json", r#"{"a": ["s3://b/k"#) && is_cut_off("a.JSON", "[1,"));
        assert!(!is_cut_off("a.json", r#"{"a": 1}"#) && !is_cut_off("a.json", "sst.zarr") && !is_cut_off("a.md", "["));
    }
}
