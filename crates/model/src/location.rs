//! Where something is. Safe to print: it never holds a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::{Exit, Problem};

/// A place in normal form: a path on this machine, or an object of a web server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Location {
    /// A path on this machine, as the user wrote it less `.` parts and double slashes.
    File(String),
    /// An `http` or `https` address without user, password or fragment.
    Http(String),
}

/// Why a text names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LocationError {
    #[error("the location is empty")]
    Empty,
    #[error("`{scheme}://` is not a kind of place that frazil reads yet")]
    Scheme { scheme: String },
    #[error("the address of `{host}` carries a user name or a password")]
    Secret { host: String },
    #[error("`{text}` has no host")]
    NoHost { text: String },
}

impl Problem for LocationError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty => "location.empty",
            Self::Scheme { .. } => "location.scheme",
            Self::Secret { .. } => "location.secret",
            Self::NoHost { .. } => "location.no-host",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Scheme { .. } => Some("use a path, `http://` or `https://`".into()),
            Self::Secret { .. } => Some("take it out of the address: it would show in logs and process lists".into()),
            Self::NoHost { .. } => Some("write `https://host/path`".into()),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Location {
    /// Reads a path or an address.
    ///
    /// # Errors
    /// If the text is empty, its scheme is unknown, or it carries a password.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::File(normal_path(text)));
        };
        match scheme {
            "file" => Ok(Self::File(normal_path(rest.strip_prefix("localhost").unwrap_or(rest)))),
            "http" | "https" => {
                let rest = rest.split('#').next().unwrap_or_default();
                let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
                if host.is_empty() {
                    return Err(LocationError::NoHost { text: text.to_owned() });
                }
                if let Some((_, host)) = host.rsplit_once('@') {
                    return Err(LocationError::Secret { host: host.to_owned() });
                }
                Ok(Self::Http(format!("{scheme}://{}{path}", host.to_ascii_lowercase())))
            }
            _ => Err(LocationError::Scheme { scheme: scheme.to_owned() }),
        }
    }

    /// The last part of the path: `gpcp_2001.nc`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = match self {
            Self::File(path) => path,
            Self::Http(address) => address.split('?').next().unwrap_or_default(),
        };
        path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
    }
}

/// The path less `.` parts and double slashes. `..` stays: the folder before it may be a link.
fn normal_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let joined = parts.join("/");
    if path.starts_with('/') {
        format!("/{joined}")
    } else if joined.is_empty() {
        ".".to_owned()
    } else {
        joined
    }
}

/// Shown without the query of an address: signed addresses carry their key there.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Http(address) => match address.split_once('?') {
                Some((plain, _)) => write!(f, "{plain}?…"),
                None => f.write_str(address),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match Location::parse(text) {
            Ok(location) => location.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_place_has_one_spelling() {
        check("./data//2001/./a.nc", "data/2001/a.nc");
        check("/data/", "/data");
        check("../a.nc", "../a.nc");
        check("file:///tmp/a.nc", "/tmp/a.nc");
        check("https://Example.ORG/a#top", "https://example.org/a");
        check("http://example.org", "http://example.org/");
    }

    #[test]
    fn a_password_is_neither_taken_nor_shown() {
        check(
            "https://me:hunter2@example.org/a",
            "error: the address of `example.org` carries a user name or a password",
        );
        check("https://example.org/a?token=hunter2", "https://example.org/a?…");
    }
}
