//! What opens an account of Azure: its key, with which requests are signed, or a signature that somebody made for us.
//!
//! Source: Microsoft Learn, "Authorize with Shared Key". It promises that neither shows in an address that is printed:
//! they are put in where the request leaves.

use std::fmt;

use ring::hmac;

use crate::{
    digest::{base64, bytes_of_base64},
    open::{HeaderName, HeaderValue, NoAnswer, Request},
    secret::Secret,
    settled::web_date_of,
    sign::Sign,
    skew::seconds_at,
};

/// The version of the interface that we speak.
pub(crate) const VERSION: &str = "2021-12-02";

/// The headers that are signed by their place, in this order.
const SIGNED_BY_PLACE: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

fn unsignable() -> NoAnswer {
    NoAnswer::Lasting("the request cannot be signed".into())
}

fn stamp(request: &mut Request<()>) -> Result<(), NoAnswer> {
    let seconds = seconds_at(request.uri().authority().map_or("", |authority| authority.as_str()));
    let headers = request.headers_mut();
    let date = HeaderValue::try_from(web_date_of(seconds)).map_err(|_| unsignable())?;
    headers.insert(HeaderName::from_static("x-ms-date"), date);
    headers.insert(HeaderName::from_static("x-ms-version"), HeaderValue::from_static(VERSION));
    Ok(())
}

/// Signs with the key of an account.
pub(crate) struct SharedKey {
    account: String,
    key: hmac::Key,
    profile: String,
}

impl SharedKey {
    /// One that signs with `key`; `None` if that is no key.
    pub fn new(account: &str, key: &Secret, profile: &str) -> Option<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes_of_base64(key.reveal())?);
        Some(Self { account: account.to_owned(), key, profile: profile.to_owned() })
    }

    /// What is signed.
    fn text(&self, request: &Request<()>) -> Result<String, NoAnswer> {
        let headers = request.headers();
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut text = format!("{}\n", request.method());
        for name in SIGNED_BY_PLACE {
            let value = value(name);
            text.push_str(if name == "content-length" && value == "0" { "" } else { value });
            text.push('\n');
        }
        let mut own: Vec<(&str, &str)> = Vec::new();
        for (name, value) in headers {
            if name.as_str().starts_with("x-ms-") {
                own.push((name.as_str(), value.to_str().map_err(|_| unsignable())?.trim()));
            }
        }
        own.sort_unstable();
        for (name, value) in own {
            text.push_str(&format!("{name}:{value}\n"));
        }
        text.push_str(&format!("/{}{}", self.account, request.uri().path()));
        let mut parameters = Vec::new();
        for part in request.uri().query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = percent_encoding::percent_decode_str(value).decode_utf8().map_err(|_| unsignable())?;
            parameters.push(format!("\n{}:{decoded}", name.to_ascii_lowercase()));
        }
        parameters.sort_unstable();
        text.push_str(&parameters.concat());
        Ok(text)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({})", self.profile)
    }
}

impl Sign for SharedKey {
    fn profile(&self) -> &str {
        &self.profile
    }

    fn sign(&self, mut request: Request<()>) -> Result<Request<()>, NoAnswer> {
        stamp(&mut request)?;
        let signature = hmac::sign(&self.key, self.text(&request)?.as_bytes());
        let value = format!("SharedKey {}:{}", self.account, base64(signature.as_ref()));
        let mut value = HeaderValue::try_from(value).map_err(|_| unsignable())?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static("authorization"), value);
        Ok(request)
    }
}

/// Adds a signature that somebody made to each address.
pub(crate) struct SharedAccess {
    signature: Secret,
    profile: String,
}

impl SharedAccess {
    /// One that adds this query.
    pub fn new(signature: &Secret, profile: &str) -> Self {
        Self { signature: signature.clone(), profile: profile.to_owned() }
    }

    fn with_signature(&self, address: &str) -> String {
        let joint = if address.contains('?') { '&' } else { '?' };
        format!("{address}{joint}{}", self.signature.reveal())
    }
}

impl fmt::Debug for SharedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedAccess({})", self.profile)
    }
}

impl Sign for SharedAccess {
    fn profile(&self) -> &str {
        &self.profile
    }

    fn sign(&self, mut request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let unsendable = |_| NoAnswer::Unsigned("its signature cannot be sent".into());
        stamp(&mut request)?;
        let address = self.with_signature(&request.uri().to_string());
        *request.uri_mut() = address.parse().map_err(|_| unsignable())?;
        // The original of a copy is asked for by the server, which has no signature of its own.
        let source = request.headers().get("x-ms-copy-source").and_then(|source| source.to_str().ok());
        if let Some(source) = source.map(|source| self.with_signature(source)) {
            let mut value = HeaderValue::try_from(source).map_err(unsendable)?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static("x-ms-copy-source"), value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_the_documentation_says() {
        let key = SharedKey::new("myaccount", &Secret::new("a2V5".into()), "p").unwrap();
        let request = Request::get("http://myaccount.blob.core.windows.net/c/a%20b?timeout=30&comp=list&Prefix=%C3%BC")
            .header("x-ms-version", "2021-12-02")
            .header("content-length", "0")
            .header("x-ms-date", "Sun, 11 Oct 2009 21:49:13 GMT")
            .body(())
            .unwrap();
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Sun, 11 Oct 2009 21:49:13 GMT\nx-ms-version:2021-12-02\n\
                        /myaccount/c/a%20b\ncomp:list\nprefix:ü\ntimeout:30";
        assert_eq!(key.text(&request).unwrap(), expected);
        assert!(SharedKey::new("a", &Secret::new("no-base64".into()), "p").is_none());
    }

    #[test]
    fn a_signature_is_added_where_the_request_leaves() {
        let access = SharedAccess::new(&Secret::new("sv=1&sig=CANARY".into()), "p");
        let request = Request::get("https://a.blob.core.windows.net/c/k?comp=x")
            .header("x-ms-copy-source", "https://a.blob.core.windows.net/c/o")
            .body(())
            .unwrap();
        let signed = access.sign(request).unwrap();
        assert_eq!(signed.uri().query(), Some("comp=x&sv=1&sig=CANARY"));
        assert!(signed.headers().get("x-ms-copy-source").unwrap().to_str().unwrap().ends_with("/o?sv=1&sig=CANARY"));
        assert!(!format!("{access:?} {:?}", signed.headers()).contains("CANARY"));
    }
}
