//! Addresses of web servers: their parts, and what a link on a page means.
//!
//! It promises that a link is resolved as RFC 3986 says or not at all, and that a resolved address can be sent as it
//! is. Addresses with a user name, other schemes and letters that no server should see have no `Address`.

use std::{
    fmt::{self, Write},
    net::IpAddr,
};

/// Longer addresses are refused by most servers.
const MAX_ADDRESS_BYTES: usize = 16 << 10;

/// An `http` or `https` address in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Scheme,
    authority: String,
    path: String,
    query: Option<String>,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the open.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant where none is said.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Address {
    /// Whether what is sent there can be read by nobody else: it is encrypted, or does not leave this machine.
    pub(crate) fn is_private(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        let is_here = || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.scheme() == Scheme::Https || is_here()
    }

    /// Reads a whole address; `None` if it is none, or carries a user name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        if text.len() > MAX_ADDRESS_BYTES {
            return None;
        }
        let rest = rest.split('#').next()?;
        let (authority, rest) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let (path, query) = split_query(rest);
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(is_host) {
            return None;
        }
        Some(Self {
            scheme,
            authority: authority.to_ascii_lowercase(),
            path: without_dots(&sendable(if path.is_empty() { "/" } else { path })?),
            query: match query {
                Some(query) => Some(sendable(query)?),
                None => None,
            },
        })
    }

    /// The same server, with this path and query as they are sent: no part of them is taken for `.` or `..`.
    #[must_use]
    pub(crate) fn with_sent_path(&self, path: String, query: Option<String>) -> Self {
        Self { scheme: self.scheme, authority: self.authority.clone(), path, query }
    }

    /// What `reference` means on a page at this address.
    #[must_use]
    pub fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim().split('#').next()?;
        let head = reference.split(['/', '?']).next().unwrap_or_default();
        if head.contains(':') {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let (path, query) = split_query(reference);
        let path = match path {
            "" => self.path.clone(),
            _ if path.starts_with('/') => path.to_owned(),
            _ => format!("{}{path}", self.folder()),
        };
        let query = match query {
            None if reference.is_empty() => self.query.clone(),
            None => None,
            Some(query) => Some(sendable(query)?),
        };
        Some(Self {
            scheme: self.scheme,
            authority: self.authority.clone(),
            path: without_dots(&sendable(&path)?),
            query,
        })
    }

    /// Host and port, as the address has them.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Host without port.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// The port, said or meant.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
            _ => Some(self.scheme.port()),
        }
    }

    /// The same on another host.
    #[must_use]
    pub(crate) fn with_authority(&self, authority: String) -> Self {
        Self { authority, ..self.clone() }
    }

    /// How its server is spoken to.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The path, as it is sent.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path up to its last slash.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.path.rfind('/').map_or("/", |at| self.path.get(..=at).unwrap_or("/"))
    }

    /// The address without its query: a key of a signed address stands there.
    #[must_use]
    pub fn without_query(&self) -> String {
        format!("{}://{}{}", self.scheme.name(), self.authority, self.path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_query())?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// The text with letters that may not stand in an address as `%XX`. `None`: it holds letters that no server should see.
fn sendable(text: &str) -> Option<String> {
    let mut sent = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..0x20 | 0x7f | b'\\' => return None,
            b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                // Writing to a string cannot fail.
                let _ = write!(sent, "%{byte:02X}");
            }
            _ => sent.push(char::from(byte)),
        }
    }
    Some(sent)
}

/// The path without `.` and `..` parts (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

/// A key as the path of an address, slashes as they are.
pub(crate) fn sent_path(key: &str) -> String {
    let mut sent = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => sent.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(sent, "%{byte:02X}");
            }
        }
    }
    sent
}

/// The text with every `%XX` as the letter it stands for; `None` if that is no text.
#[must_use]
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, reference: &str, expected: &str) {
        let joined = Address::parse(base).unwrap().join(reference);
        assert_eq!(joined.map_or_else(|| "none".to_owned(), |address| address.to_string()), expected);
    }

    #[test]
    fn a_link_means_what_a_browser_takes_it_for() {
        let base = "http://host:80/data/2001/?C=N";
        check(base, "a.nc", "http://host:80/data/2001/a.nc");
        check(base, "./a b.nc#top", "http://host:80/data/2001/a%20b.nc");
        check(base, "../a.nc", "http://host:80/data/a.nc");
        check(base, "../../../../a.nc", "http://host:80/a.nc");
        check(base, "/a.nc", "http://host:80/a.nc");
        check(base, "//Other/a.nc", "http://other/a.nc");
        check(base, "https://other/a?b=c", "https://other/a?b=c");
        check(base, "?C=M", "http://host:80/data/2001/?C=M");
        check("http://host", "x/y", "http://host/x/y");
    }

    #[test]
    fn what_is_no_address_of_a_file_is_none() {
        for reference in
            ["javascript:alert(1)", "mailto:a@b", "ftp://h/a", "http://me:pw@h/a", "a\0b", "a\\b", "data:x"]
        {
            check("http://host/", reference, "none");
        }
    }

    #[test]
    fn percent_signs_are_read_once() {
        assert_eq!(decoded("a%20b%2525%zz").as_deref(), Some("a b%25%zz"));
        assert_eq!(decoded("%ff"), None);
    }
}
