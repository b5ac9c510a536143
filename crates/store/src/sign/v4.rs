//! Signatures of version 4, in the headers of a request.
//!
//! Source: AWS, "Signature Version 4 signing process", and for paths and digests the pages on S3. It promises that what is
//! signed is what is sent: keys are not normalised, and every header counts. The moment is given from outside, since the
//! clock of this machine may not be that of the server.

use ring::{digest, hmac};

use crate::{
    bucket::hex,
    keys::Key,
    open::{HeaderMap, HeaderName, HeaderValue, Parts},
    settled::parts_of,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands for itself in names and values of a query.
const QUERY: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What stands for itself in a path.
const PATH: AsciiSet = QUERY.remove(b'/');

/// For what a signature is good.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    service: &'static str,
    region: String,
}

impl Scope {
    pub fn new(service: &'static str, region: &str) -> Self {
        Self { service, region: region.to_owned() }
    }

    /// Signs a request, whose digest is in its headers, at a moment in seconds since 1970. Nothing if it cannot be put into
    /// headers.
    pub fn sign(&self, parts: &mut Parts, key: &Key, seconds: u64) -> Option<()> {
        let (year, month, day, hour, minute, second) = parts_of(seconds);
        let date = format!("{year:04}{:02}{day:02}", month + 1);
        let moment = format!("{date}T{hour:02}{minute:02}{second:02}Z");
        let authority = parts.uri.authority()?.as_str().to_owned();
        put(&mut parts.headers, "host", &authority)?;
        put(&mut parts.headers, "x-amz-date", &moment)?;
        if let Some(token) = &key.token {
            put(&mut parts.headers, "x-amz-security-token", token.reveal())?.set_sensitive(true);
        }
        let (canonical, names) = canonical(parts)?;
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}");
        let start = format!("AWS4{}", key.secret.reveal()).into_bytes();
        let words = [date.as_str(), &self.region, self.service, "aws4_request", &text];
        let signature = words.iter().fold(start, |key, word| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), word.as_bytes()).as_ref().to_vec()
        });
        let (id, signature) = (&key.access_key_id, hex(&signature));
        let said = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        put(&mut parts.headers, "authorization", &said)?.set_sensitive(true);
        Some(())
    }
}

fn put<'a>(headers: &'a mut HeaderMap, name: &'static str, value: &str) -> Option<&'a mut HeaderValue> {
    headers.insert(name, HeaderValue::from_str(value).ok()?);
    headers.get_mut(name)
}

/// The request as it is signed, and the names of its headers.
fn canonical(parts: &Parts) -> Option<(String, String)> {
    let path = percent_decode_str(parts.uri.path()).collect::<Vec<u8>>();
    let path = percent_encoding::percent_encode(&path, &PATH);
    let mut query: Vec<(String, String)> = Vec::new();
    for part in parts.uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let plain = |text| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            Some(utf8_percent_encode(&text, &QUERY).to_string())
        };
        query.push((plain(name)?, plain(value)?));
    }
    query.sort_unstable();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers: Vec<(&str, &str)> = Vec::new();
    for (name, value) in &parts.headers {
        headers.push((HeaderName::as_str(name), value.to_str().ok()?.trim()));
    }
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let digest = parts.headers.get("x-amz-content-sha256")?.to_str().ok()?;
    let method = &parts.method;
    Some((format!("{method}\n{path}\n{}\n{headers}\n{names}\n{digest}", query.join("&")), names))
}
