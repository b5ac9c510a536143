//! Files as readers of references call them, and the doors that lead to them.
//!
//! It promises that an address holds no secret, and that a file no reader could open is refused by name.

use std::collections::BTreeMap;

use frazil_model::{
    location::{Door, Location, Object},
    recipe::virtually::VirtualFormat,
};
use frazil_store::{
    bucket::profile_of,
    profile::{Keys, Server, Style},
};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::spelling::whole_text;
use crate::error::EngineError;

/// How a reader comes to files whose addresses begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// A folder of this machine.
    Folder,
    /// A web server.
    Web,
    /// Google.
    Google,
    /// A server that speaks S3.
    S3 {
        /// Its address; `None`: Amazon's.
        endpoint: Option<String>,
        /// The region that is signed for.
        region: String,
        /// Where the name of the bucket stands.
        style: Style,
        /// Whether requests go without a signature.
        is_anonymous: bool,
    },
}

impl Way {
    /// Whether a reader must say who it is.
    pub const fn is_signed(&self) -> bool {
        match self {
            Self::Folder | Self::Web => false,
            Self::Google => true,
            Self::S3 { is_anonymous, .. } => !*is_anonymous,
        }
    }
}

/// A file as readers call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The whole.
    pub url: String,
    /// What it begins with: a bucket, a server, a folder.
    pub prefix: String,
    /// How a reader comes there.
    pub way: Way,
}

/// The address of the file at `location` for readers of `format`.
///
/// # Errors
/// If no such reader could open it.
pub(crate) fn address(location: &Location, format: VirtualFormat) -> Result<Address, EngineError> {
    let no_way = |why: &str| EngineError::NoWay { file: location.to_string(), why: why.to_owned() };
    if format == VirtualFormat::KerchunkParquet && location.to_string().contains("{{") {
        return Err(no_way("its name holds `{{`, which readers of Kerchunk's tables take for the name of a template"));
    }
    match location {
        Location::File(path) => {
            let path = whole_text(path).ok_or_else(|| no_way("its path is not UTF-8"))?;
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let said = |text: &str| format!("file://{}", text_for(format, text));
            Ok(Address { url: said(&path), prefix: format!("{}/", said(folder)), way: Way::Folder })
        }
        Location::Http(url) => {
            if format == VirtualFormat::Icechunk && has_port(url) {
                return as_in_a_bucket(url).map_err(no_way);
            }
            let host_end = url.find("://").and_then(|at| url[at + 3..].find('/').map(|end| at + 3 + end));
            let prefix = format!("{}/", &url[..host_end.unwrap_or(url.len())]);
            Ok(Address { url: url.clone(), prefix, way: Way::Web })
        }
        Location::Object(object) => of_object(object, format, &no_way),
    }
}

/// Whether the address of a web server names a port.
fn has_port(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// A file at a web server's own port, as if it lay in an open bucket. Icechunk's readers (1.1) lose the port of an address,
/// but not that of a server that speaks S3, and without a signature they ask either for the same thing.
fn as_in_a_bucket(url: &str) -> Result<Address, &'static str> {
    let no_bucket = "Icechunk's readers lose the port of such an address; Kerchunk's do not";
    let (scheme, rest) = url.split_once("://").ok_or(no_bucket)?;
    let (host, path) = rest.split_once('/').ok_or(no_bucket)?;
    if path.contains(['?', '#']) {
        return Err(no_bucket);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| no_bucket)?;
    if !is_plain_key(&path) {
        return Err("its address has parts that Icechunk's readers change");
    }
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    // A file at the top of the server lies in no folder but the top itself.
    let (bucket, key) = path.split_once('/').filter(|(name, _)| is_name(name)).unwrap_or((".", &path));
    let prefix = format!("s3://{bucket}/");
    let way = Way::S3 {
        endpoint: Some(format!("{scheme}://{host}")),
        region: "us-east-1".to_owned(),
        style: Style::Path,
        is_anonymous: true,
    };
    Ok(Address { url: format!("{prefix}{}", text_for(VirtualFormat::Icechunk, key)), prefix, way })
}

/// Whether no reader takes this key for another.
fn is_plain_key(key: &str) -> bool {
    key.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn of_object(
    object: &Object,
    format: VirtualFormat,
    no_way: &dyn Fn(&str) -> EngineError,
) -> Result<Address, EngineError> {
    let profile = profile_of(object)?;
    let (scheme, way) = match &profile.server {
        Server::S3(server) => {
            let way = Way::S3 {
                endpoint: server.endpoint.clone(),
                region: server.region.clone(),
                style: server.style,
                is_anonymous: profile.keys == Keys::Anonymous,
            };
            ("s3", way)
        }
        Server::Google(_) => ("gs", Way::Google),
        Server::Azure(_) => return Err(no_way("readers of references have no way to files in Azure")),
    };
    let (bucket, key) = match (&object.door, &profile.below) {
        (Door::Named(_), Some(below)) => {
            let whole = format!("{}/{}", below.trim_end_matches('/'), object.key);
            let (bucket, key) = whole.split_once('/').unwrap_or((&whole, ""));
            (bucket.to_owned(), key.to_owned())
        }
        _ => (object.bucket.clone(), object.key.clone()),
    };
    if format == VirtualFormat::Icechunk && !is_plain_key(&key) {
        return Err(no_way("its key has parts that Icechunk's readers change"));
    }
    let prefix = format!("{scheme}://{bucket}/");
    Ok(Address { url: format!("{prefix}{}", text_for(format, &key)), prefix, way })
}

/// A path or key in an address. Icechunk's addresses are URLs; Kerchunk's are taken as they are.
fn text_for(format: VirtualFormat, text: &str) -> String {
    if format != VirtualFormat::Icechunk {
        return text.to_owned();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/!$&'()*+,;=:@".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The doors that readers of all these files need: one for each bucket or server, and for folders the one that holds all.
pub(crate) fn doors<'a>(addresses: impl Iterator<Item = &'a Address>) -> BTreeMap<String, Way> {
    let mut doors = BTreeMap::new();
    let mut folder: Option<String> = None;
    for address in addresses {
        if address.way == Way::Folder {
            folder = Some(match folder {
                None => address.prefix.clone(),
                Some(known) => common_folder(&known, &address.prefix),
            });
        } else {
            doors.entry(address.prefix.clone()).or_insert_with(|| address.way.clone());
        }
    }
    doors.extend(folder.map(|folder| (plain_part(&folder).to_owned(), Way::Folder)));
    doors
}

/// Refuses files that readers would look for at one another's servers: addresses that begin alike and lead elsewhere.
///
/// # Errors
/// If there are such.
pub(crate) fn check_doors<'a>(addresses: impl Iterator<Item = &'a Address>) -> Result<(), EngineError> {
    let mut known: BTreeMap<&str, &Address> = BTreeMap::new();
    for address in addresses.filter(|address| address.way != Way::Folder) {
        let first = known.entry(&address.prefix).or_insert(address);
        if first.way != address.way {
            let why = format!("its address begins like that of `{}`, which is at another server", first.url);
            return Err(EngineError::NoWay { file: address.url.clone(), why });
        }
    }
    Ok(())
}

/// A folder as far up as its address needs no percent signs: Icechunk's readers find no file behind a door with some.
fn plain_part(folder: &str) -> &str {
    match folder.find('%').and_then(|at| folder[..at].rfind('/')) {
        Some(end) => &folder[..=end],
        None => folder,
    }
}

/// The deepest folder that both lie in.
fn common_folder(a: &str, b: &str) -> String {
    let n_same = a.split_inclusive('/').zip(b.split_inclusive('/')).take_while(|(a, b)| a == b);
    n_same.map(|(part, _)| part).collect()
}

/// `config.yaml` of a repository of Icechunk whose references lead through these doors.
pub(crate) fn config(doors: &BTreeMap<String, Way>) -> String {
    let mut text = String::from(
        "inline_chunk_threshold_bytes: null\nget_partial_values_concurrency: null\ncompression: null\n\
         max_concurrent_requests: null\ncaching: null\nstorage: null\nvirtual_chunk_containers:\n",
    );
    for (prefix, way) in doors {
        let quoted = json!(prefix).to_string();
        text.push_str(&format!(
            "  {quoted}:\n    name: null\n    url_prefix: {quoted}\n    store: {}\n",
            store(prefix, way)
        ));
    }
    text.push_str("manifest: null\n");
    text
}

fn store(prefix: &str, way: &Way) -> String {
    match way {
        Way::Folder => format!("!local_file_system {}", json!(prefix.strip_prefix("file://").unwrap_or(prefix))),
        Way::Web if prefix.starts_with("http://") => "!http\n      allow_http: 'true'".into(),
        Way::Web => "!http {}".into(),
        Way::Google => "!gcs {}".into(),
        Way::S3 { endpoint, region, style, is_anonymous } => {
            let kind = if endpoint.is_some() { "s3_compatible" } else { "s3" };
            let allow_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
            format!(
                "!{kind}\n      region: {}\n      endpoint_url: {}\n      anonymous: {is_anonymous}\n      \
                 allow_http: {allow_http}\n      force_path_style: {}\n      network_stream_timeout_seconds: 60\n      \
                 requester_pays: false",
                json!(region),
                json!(endpoint),
                *style == Style::Path,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_server_with_a_port_is_asked_as_one_that_speaks_s3() {
        let address = |url: &str| address(&Location::Http(url.into()), VirtualFormat::Icechunk);
        let url = |text: &str| address(text).map(|address| address.url).unwrap_or_default();
        assert_eq!(url("http://h:8080/a/b%20c/x.nc"), "s3://a/b%20c/x.nc");
        assert_eq!(url("http://h:8080/x.nc"), "s3://./x.nc");
        assert_eq!(url("http://h:8080/a%20b/x.nc"), "s3://./a%20b/x.nc");
        assert_eq!(url("http://h/a/x.nc"), "http://h/a/x.nc");
        assert!(address("http://h:8080/a/x.nc?token=1").is_err());
        assert!(address("http://h:8080/a//x.nc").is_err());
        let two = ["http://h:8080/a/x.nc", "http://h:8081/a/x.nc"].map(|text| address(text).unwrap());
        assert!(check_doors(two.iter()).is_err() && check_doors(two[..1].iter()).is_ok());
    }

    #[test]
    fn folders_share_one_door() {
        let address = |path: &str| address(&Location::File(path.into()), VirtualFormat::Icechunk).unwrap();
        let all = [address("/data/a/x.nc"), address("/data/ab/y z#.nc")];
        assert_eq!(all[1].url, "file:///data/ab/y%20z%23.nc");
        let doors = doors(all.iter());
        assert_eq!(doors.keys().collect::<Vec<_>>(), ["file:///data/"]);
        assert!(config(&doors).contains("store: !local_file_system \"/data/\""));
    }
}
