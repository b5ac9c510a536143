//! Buckets: the way to an object, and what keys there are.
//!
//! It promises that a key is asked for byte for byte, that a listing is whole or an error, never cut short, and that
//! nothing is asked without a signature unless that was wished for. It knows the dialect of S3 that Amazon and Ceph
//! share; what the objects mean it does not know.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

use frazil_model::location::{Door, Location, Object};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    address::Address,
    asking::Way,
    error::StoreError,
    profile::{self, Keys, Profile, Style, Surroundings},
    sign::Signer,
    web,
};

/// What stands in an address as it is (RFC 3986, section 2.3), and slashes.
const SENT_AS_IT_IS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The same without slashes, for values in a query.
const SENT_IN_A_QUERY: &AsciiSet = &SENT_AS_IT_IS.add(b'/');

/// A page of a listing has a thousand keys of at most a kilobyte, which may be escaped.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// Keys of one listing.
const MOST_KEYS: usize = 50_000_000;

/// Who signs in this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// The profile for `s3://`; by itself it is what the AWS tools would take.
    pub profile: Option<String>,
    /// Whether nothing is signed.
    pub signing: Signing,
}

/// Whether requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signing {
    /// All of them, or there is an error.
    #[default]
    Always,
    /// None: the data is public.
    Never,
}

static CHOSEN: OnceLock<Chosen> = OnceLock::new();

/// Says who signs, before anything is asked. A second call changes nothing.
pub fn choose(chosen: Chosen) {
    let _ = CHOSEN.set(chosen);
}

/// A bucket whose server and profile are known.
#[derive(Debug)]
struct Bucket {
    server: Address,
    /// What comes before a key in the path of an address.
    path: String,
    signer: Option<Arc<Signer>>,
    /// What comes before a key in the bucket.
    below: String,
}

/// Buckets by door and name.
type Opened = HashMap<(Door, String), Arc<Bucket>>;

static OPENED: LazyLock<Mutex<Opened>> = LazyLock::new(Mutex::default);

fn opened(object: &Object) -> Result<Arc<Bucket>, StoreError> {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = (object.door.clone(), object.bucket.clone());
    if let Some(bucket) = all.get(&name) {
        return Ok(Arc::clone(bucket));
    }
    let bucket = Arc::new(Bucket::open(object)?);
    all.insert(name, Arc::clone(&bucket));
    Ok(bucket)
}

/// The profile that signs for a place.
///
/// # Errors
/// If nobody does.
pub fn profile_of(object: &Object) -> Result<Profile, StoreError> {
    let chosen = CHOSEN.get().cloned().unwrap_or_default();
    let name = match &object.door {
        Door::S3 => chosen.profile.as_deref(),
        Door::Named(name) => Some(name.as_str()),
    };
    let surroundings = Surroundings::of_process();
    if chosen.signing == Signing::Never {
        return Ok(profile::unsigned(&surroundings, name));
    }
    let unsigned = |why: String| StoreError::Unsigned { location: Location::Object(object.clone()), why };
    let profile = profile::of_s3(&surroundings, name).map_err(unsigned)?;
    match &profile.keys {
        Keys::Missing { why } => Err(unsigned(format!("profile `{}` ({}): {why}", profile.name, profile.origin))),
        _ => Ok(profile),
    }
}

impl Bucket {
    fn open(object: &Object) -> Result<Self, StoreError> {
        let profile = profile_of(object)?;
        let (bucket, below) = match &profile.below {
            // The paths of an alias start below a place of its own.
            Some(below) => {
                let (bucket, rest) = below.split_once('/').unwrap_or((below, ""));
                (bucket.to_owned(), if rest.is_empty() { String::new() } else { format!("{rest}/") })
            }
            None => (object.bucket.clone(), String::new()),
        };
        let sent = utf8_percent_encode(&bucket, SENT_AS_IT_IS).to_string();
        let (text, path) = match (&profile.endpoint, profile.style) {
            (Some(endpoint), Style::Path) => (endpoint.clone(), format!("/{sent}")),
            (Some(endpoint), Style::Host) => (endpoint.replacen("://", &format!("://{bucket}."), 1), String::new()),
            // A name with dots is not in the certificate of the server.
            (None, style) if style == Style::Path || bucket.contains('.') => {
                (format!("https://s3.{}.amazonaws.com", profile.region), format!("/{sent}"))
            }
            (None, _) => (format!("https://{bucket}.s3.{}.amazonaws.com", profile.region), String::new()),
        };
        let Some(server) = Address::parse(text.trim_end_matches('/')) else {
            let why = format!("the server of profile `{}` has no address that can be sent", profile.name);
            return Err(StoreError::Unsigned { location: Location::Object(object.clone()), why });
        };
        let path = format!("{}{path}", server.path().trim_end_matches('/'));
        let signer = Signer::new(&profile.keys, &profile.region, &profile.name).map(Arc::new);
        Ok(Self { server, path, signer, below })
    }

    fn way(&self, path: String, query: Option<String>) -> Way {
        Way { address: self.server.with_sent_path(path, query), signer: self.signer.clone() }
    }
}

/// The way to an object.
pub(crate) fn way_to(object: &Object) -> Result<Way, StoreError> {
    let bucket = opened(object)?;
    let key = format!("{}{}", bucket.below, object.key);
    Ok(bucket.way(format!("{}/{}", bucket.path, utf8_percent_encode(&key, SENT_AS_IT_IS)), None))
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
}

/// All objects whose key begins with that of `start`, in the order of the server.
///
/// # Errors
/// If a page of the listing cannot be had or makes no sense: then nothing is known.
pub fn listing(start: &Object) -> Result<Vec<Listed>, StoreError> {
    let bucket = opened(start)?;
    let location = Location::Object(start.clone());
    let wrong = |reason: String| StoreError::Fetch { location: location.clone(), reason, is_temporary: false };
    let prefix = format!("{}{}", bucket.below, start.key);
    let sent = |text: &str| utf8_percent_encode(text, SENT_IN_A_QUERY).to_string();
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        // In the order of their names, as a signature wants them.
        let mut query = String::new();
        if let Some(token) = &token {
            query.push_str(&format!("continuation-token={}&", sent(token)));
        }
        query.push_str(&format!("encoding-type=url&list-type=2&prefix={}", sent(&prefix)));
        let way = bucket.way(format!("{}/", bucket.path), Some(query));
        let text = web::text(&location, &way, MAX_PAGE_BYTES)?;
        let page: Page =
            quick_xml::de::from_str(&text).map_err(|error| wrong(format!("the listing makes no sense: {error}")))?;
        for entry in page.contents {
            let key = decoded(entry.key, page.encoding_type.as_deref());
            let Some(key) = key.and_then(|key| Some(key.strip_prefix(&bucket.below)?.to_owned())) else {
                return Err(wrong("the listing names a key that is no text or was not asked for".into()));
            };
            found.push(Listed { key, size_bytes: entry.size });
        }
        if found.len() > MOST_KEYS {
            return Err(wrong(format!("it names more than {MOST_KEYS} objects")));
        }
        match (page.is_truncated, page.next_continuation_token) {
            (false, _) => return Ok(found),
            (true, Some(next)) if token.as_ref() != Some(&next) => token = Some(next),
            (true, _) => return Err(wrong("the listing was cut short and does not say how it goes on".into())),
        }
    }
}

fn decoded(key: String, encoding: Option<&str>) -> Option<String> {
    match encoding {
        Some("url") => {
            // Some servers write a space as forms do.
            let plain = key.replace('+', "%20");
            percent_decode_str(&plain).decode_utf8().ok().map(|key| key.into_owned())
        }
        _ => Some(key),
    }
}

/// A page of a listing (Amazon S3 API, `ListObjectsV2`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    contents: Vec<Entry>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    size: u64,
}
