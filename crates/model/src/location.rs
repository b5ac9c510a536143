//! Where something is. Safe to print: it never holds a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::{Exit, Problem};

/// A place in normal form: a path on this machine, a file of a web server, or an object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Location {
    /// A path on this machine, as the user wrote it less `.` parts and double slashes.
    File(String),
    /// An `http` or `https` address without user, password or fragment.
    Http(String),
    /// An object of a bucket, or all whose keys begin alike.
    Object(Object),
}

/// A bucket, a key in it, and the door that leads there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// Who knows the way.
    pub door: Door,
    /// Name of the bucket; empty if the door leads into one.
    pub bucket: String,
    /// The key, byte for byte: `//`, `.` and a slash at the end mean themselves.
    pub key: String,
}

/// How a bucket is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Door {
    /// `s3://`: by the profile that is in force.
    S3,
    /// `gs://`: by the credentials of Google that are in force.
    Google,
    /// `az://`: in the account of Azure that is in force.
    Azure,
    /// `abfs://container@HOST`: in the account of Azure that is named there.
    AzureAccount {
        /// The account and where it is: `account.dfs.core.windows.net`.
        host: String,
    },
    /// `NAME:`: by the profile or remote of that name.
    Named(String),
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
    #[error("`{text}` names no bucket")]
    NoBucket { text: String },
    #[error("`{host}` is not the host of a storage account of Azure")]
    NoAccount { host: String },
    #[error("`scratch:` is nowhere: the variable SCRATCH_BUCKET is not set")]
    NoScratch,
    #[error("there is no profile or remote `{name}`")]
    NoProfile { name: String, text: String },
    #[error("settings of the remote `{remote}` stand in its place, which frazil does not read")]
    Settings { remote: String },
}

impl Problem for LocationError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty => "location.empty",
            Self::Scheme { .. } => "location.scheme",
            Self::Secret { .. } => "location.secret",
            Self::NoHost { .. } => "location.no-host",
            Self::NoBucket { .. } => "location.no-bucket",
            Self::NoAccount { .. } => "location.no-account",
            Self::NoScratch => "location.no-scratch",
            Self::NoProfile { .. } => "location.no-profile",
            Self::Settings { .. } => "location.settings",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Scheme { .. } => Some("use a path, `s3://`, `gs://`, `az://`, `http://` or `https://`".into()),
            Self::Secret { .. } => Some("take it out of the address: it would show in logs and process lists".into()),
            Self::NoHost { .. } => Some("write `https://host/path`".into()),
            Self::NoBucket { .. } => Some("write `s3://bucket/key`".into()),
            Self::NoAccount { .. } => Some("write `abfs://container@account.dfs.core.windows.net/key`".into()),
            Self::NoScratch => {
                Some("set it, such as `SCRATCH_BUCKET=gs://leap-scratch/jdoe`, or name the bucket".into())
            }
            Self::NoProfile { text, .. } => Some(format!(
                "`frazil profile list` shows those that there are; for a file of that name write `./{text}`"
            )),
            Self::Settings { .. } => {
                Some("give the remote a name in rclone.conf: keys on a command line show in process lists".into())
            }
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
            "s3" => object(text, Door::S3, rest),
            "gs" | "gcs" => object(text, Door::Google, rest),
            "az" | "abfs" | "abfss" => match rest.split('/').next().and_then(|first| first.split_once('@')) {
                None => object(text, Door::Azure, rest),
                Some((container, host)) => {
                    let key = rest.split_once('/').map_or("", |(_, key)| key);
                    object(text, Door::AzureAccount { host: account_host(host)? }, &format!("{container}/{key}"))
                }
            },
            _ => Err(LocationError::Scheme { scheme: scheme.to_owned() }),
        }
    }

    /// The last part of the path: `gpcp_2001.nc`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = match self {
            Self::File(path) => path,
            Self::Http(address) => address.split('?').next().unwrap_or_default(),
            Self::Object(object) => &object.key,
        };
        path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
    }
}

fn object(text: &str, door: Door, rest: &str) -> Result<Location, LocationError> {
    let object = Object::parse(door, rest).map(Location::Object);
    object.ok_or_else(|| LocationError::NoBucket { text: text.to_owned() })
}

/// Where accounts of Azure are, in its clouds.
const AZURE_CLOUDS: [&str; 3] = ["core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn"];

/// The host of an account in the one spelling. A token goes to it, so it must be one of Azure's.
fn account_host(text: &str) -> Result<String, LocationError> {
    let lower = text.to_ascii_lowercase();
    let parts = lower.split_once('.').and_then(|(account, rest)| Some((account, rest.split_once('.')?)));
    match parts {
        Some((account, ("dfs" | "blob", cloud)))
            if AZURE_CLOUDS.contains(&cloud)
                && !account.is_empty()
                && account.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Ok(format!("{account}.dfs.{cloud}"))
        }
        _ => Err(LocationError::NoAccount { host: text.to_owned() }),
    }
}

impl Object {
    /// Reads `bucket/key`; `None` if there is no bucket.
    #[must_use]
    pub fn parse(door: Door, text: &str) -> Option<Self> {
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        (!bucket.is_empty()).then(|| Self { door, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Another key of the same bucket.
    #[must_use]
    pub fn with_key(&self, key: String) -> Self {
        Self { key, ..self.clone() }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.door {
            Door::S3 => write!(f, "s3://{}/{}", self.bucket, self.key),
            Door::Google => write!(f, "gs://{}/{}", self.bucket, self.key),
            Door::Azure => write!(f, "az://{}/{}", self.bucket, self.key),
            Door::AzureAccount { host } => write!(f, "abfs://{}@{host}/{}", self.bucket, self.key),
            Door::Named(name) if self.bucket.is_empty() => write!(f, "{name}:{}", self.key),
            Door::Named(name) => write!(f, "{name}:{}/{}", self.bucket, self.key),
        }
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
            Self::Object(object) => write!(f, "{object}"),
        }
    }
}

/// Whether a name with slashes is that of a folder or lies below it; all names lie below the empty one.
#[must_use]
pub fn is_below(name: &str, folder: &str) -> bool {
    folder.is_empty() || name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
    fn a_key_is_kept_byte_for_byte() {
        check("s3://bucket/a//b/./c d%2B/", "s3://bucket/a//b/./c d%2B/");
        check("s3://bucket", "s3://bucket/");
        check("s3:///key", "error: `s3:///key` names no bucket");
    }

    #[test]
    fn each_cloud_has_its_door() {
        check("gs://bucket/a//b", "gs://bucket/a//b");
        check("gcs://bucket/k", "gs://bucket/k");
        check("az://container/a/./b", "az://container/a/./b");
        check("abfss://c@Acc.dfs.core.windows.net//k@x", "abfs://c@acc.dfs.core.windows.net//k@x");
        check("az://c@acc.blob.core.windows.net", "abfs://c@acc.dfs.core.windows.net/");
        check("abfs://c@acc.evil.example/k", "error: `acc.evil.example` is not the host of a storage account of Azure");
        check("abfs://@acc.dfs.core.windows.net/k", "error: `abfs://@acc.dfs.core.windows.net/k` names no bucket");
        check("az:///k", "error: `az:///k` names no bucket");
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
