//! Kerchunk's reference documents: keys of a Zarr v2 store with the places of their bytes.
//!
//! Source: fsspec's specification of reference file systems, version 1.

use serde_json::Value;

use crate::zarr::base64;

/// What is at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A range of a file.
    Range {
        /// The file's address.
        url: &'a str,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// What a document begins with; `about`, an object in JSON, is what its writer says of it. Entries follow, with commas
/// between them.
#[must_use]
pub fn begin(about: &str) -> String {
    format!("{{\"version\":1,\"frazil\":{about},\"refs\":{{\n")
}

/// What a document ends with: `digest`, of all bytes before this end.
#[must_use]
pub fn end(digest: &str) -> String {
    format!("\n}},\"{SEAL}\":\"{digest}\"}}\n")
}

/// The member of a document that holds the digest. Readers look at none but those that they know.
pub const SEAL: &str = "frazil_blake3";

/// Appends one entry, without a comma.
pub fn push_entry(key: &str, reference: Reference<'_>, out: &mut Vec<u8>) {
    push_text(key, out);
    out.push(b':');
    match reference {
        Reference::Text(text) => push_text(text, out),
        Reference::Bytes(bytes) => {
            out.extend_from_slice(b"\"base64:");
            out.extend_from_slice(base64(bytes).as_bytes());
            out.push(b'"');
        }
        Reference::Range { url, offset, length } => {
            out.push(b'[');
            push_text(url, out);
            out.extend_from_slice(format!(",{offset},{length}]").as_bytes());
        }
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f);
    if is_plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(Value::from(text).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json() {
        let mut out = begin("{}").into_bytes();
        push_entry("a/0", Reference::Range { url: "file:///x \"y\".nc", offset: 3, length: 4 }, &mut out);
        out.push(b',');
        push_entry("b/0", Reference::Bytes(&[0, 255]), &mut out);
        out.push(b',');
        push_entry(".zattrs", Reference::Text("{\"a\": 1}"), &mut out);
        out.extend_from_slice(end("0af3").as_bytes());
        let read: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["refs"]["a/0"], serde_json::json!(["file:///x \"y\".nc", 3, 4]));
        assert_eq!(read["refs"]["b/0"], "base64:AP8=");
        assert_eq!(read[SEAL], "0af3");
        assert_eq!(read["refs"][".zattrs"], "{\"a\": 1}");
    }
}
