//! From a profile to the dialect that its server speaks.
//!
//! It promises that a token goes to no server over a line that others can read. It sends nothing.

use std::sync::Arc;

use frazil_model::location::{Door, Location, Object};

use super::{
    azure::Azure,
    dialect::{Asked, Depth, Dialect, Naming},
    google::Google,
    s3::{Quotes, S3, sent_in_path},
};
use crate::{
    address::Address,
    bearer::Bearer,
    error::StoreError,
    keys::{Again, Key, Provider},
    manners,
    open::{HeaderName, HeaderValue, NoAnswer},
    profile::{AzureServer, GoogleServer, Grant, Keys, Profile, S3Server, Server, Style, Surroundings},
    secret::Secret,
    shared_key::{SharedAccess, SharedKey, VERSION},
    sign::{Sign, Signer},
    token::Tokens,
};

/// Requests to one server of buckets at a time: these are made for many.
const REQUESTS_AT_A_TIME: u32 = 64;

/// What a token of Google is asked to open.
pub(crate) const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// What a token of Microsoft is asked to open.
const AZURE_SCOPE: &str = "https://storage.azure.com/.default";

/// The dialect of the server of a profile, for one of its buckets.
pub(super) fn dialect(naming: &Naming, bucket: String, profile: &Profile) -> Result<Arc<dyn Dialect>, StoreError> {
    Ok(match &profile.server {
        Server::S3(server) => Arc::new(open_s3(naming, bucket, profile, server)?),
        Server::Google(server) => Arc::new(open_google(naming, bucket, profile, server)?),
        Server::Azure(server) => Arc::new(open_azure(naming, bucket, profile, server)?),
    })
}

/// The tokens of a profile that has such.
pub(crate) fn tokens(profile: &Profile) -> Option<Arc<Tokens>> {
    let scope = if matches!(profile.server, Server::Google(_)) { GOOGLE_SCOPE } else { AZURE_SCOPE };
    match &profile.keys {
        Keys::Token(grant) => Some(Tokens::of(grant, scope)),
        _ => None,
    }
}

/// A token of a grant, and when it ends.
///
/// # Errors
/// Why there is none.
pub(crate) fn tokens_for(grant: &Grant, scope: &str) -> Result<(Secret, Option<u64>), String> {
    let tokens = Tokens::of(grant, scope);
    let token = tokens.token().map_err(NoAnswer::words)?;
    Ok((token, tokens.ends_seconds()))
}

/// Whether a key may list what lies below a prefix of a bucket: it tells whether the server took notice of the policy that the
/// key was given with.
///
/// # Errors
/// If the server does not say.
pub(crate) fn may_list(
    object: &Object,
    profile: &Profile,
    (bucket, prefix): (&str, &str),
    key: &Key,
) -> Result<bool, StoreError> {
    let Server::S3(server) = &profile.server else { return Ok(false) };
    let naming = Naming { object: object.with_key(String::new()), below: String::new() };
    let keys = Keys::Fixed {
        access_key_id: key.access_key_id.clone(),
        secret: key.secret.clone(),
        token: key.token.clone(),
        ends_seconds: key.ends_seconds,
    };
    let mut asked = open_s3(&naming, bucket.to_owned(), profile, server)?;
    // Nobody looks for another key when this one is refused.
    let provider = Arc::new(Provider::new("token", &keys, None));
    asked.signer = Some(Arc::new(Signer::new(provider, &server.region)));
    asked.signed_as = key.access_key_id.clone();
    match asked.page(&Asked { prefix, depth: Depth::One, next: None }) {
        Ok(_) => Ok(true),
        Err(StoreError::Denied { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn unsigned(naming: &Naming, why: String) -> StoreError {
    StoreError::Unsigned { location: Location::Object(naming.object.clone()), why }
}

fn address_of(naming: &Naming, profile: &Profile, text: &str) -> Result<Address, StoreError> {
    let Some(address) = Address::parse(text.trim_end_matches('/')) else {
        let why = format!("the server of profile `{}` has no address that can be sent", profile.name);
        return Err(unsigned(naming, why));
    };
    manners::expect_many(address.authority(), REQUESTS_AT_A_TIME);
    Ok(address)
}

/// Whoever holds a token or a signature may do all that it opens, so it is told over safe lines only.
fn safe(naming: &Naming, profile: &Profile, address: &Address) -> Result<(), StoreError> {
    if address.is_private() {
        return Ok(());
    }
    let why =
        format!("profile `{}` would tell its token to {}, which is not https", profile.name, address.without_query());
    Err(unsigned(naming, why))
}

fn wrong_keys(naming: &Naming, profile: &Profile) -> StoreError {
    unsigned(naming, format!("profile `{}` has keys of another kind of server", profile.name))
}

fn open_google(
    naming: &Naming,
    bucket: String,
    profile: &Profile,
    server: &GoogleServer,
) -> Result<Google, StoreError> {
    let text = server.endpoint.as_deref().unwrap_or("https://storage.googleapis.com");
    let address = address_of(naming, profile, text)?;
    let (signer, signed_as) = match &profile.keys {
        Keys::Token(grant) => {
            safe(naming, profile, &address)?;
            let project = server.project.as_deref().and_then(|project| HeaderValue::from_str(project).ok());
            let project = project.map(|project| (HeaderName::from_static("x-goog-user-project"), project));
            let tokens = Tokens::of(grant, GOOGLE_SCOPE);
            let bearer = Bearer { tokens, headers: project.into_iter().collect(), profile: profile.name.clone() };
            (Some(Arc::new(bearer) as Arc<dyn Sign>), grant.shown())
        }
        Keys::Anonymous => (None, String::new()),
        _ => return Err(wrong_keys(naming, profile)),
    };
    Ok(Google::new(naming, bucket, address, signer, signed_as, server.owner.clone()))
}

fn open_azure(naming: &Naming, bucket: String, profile: &Profile, server: &AzureServer) -> Result<Azure, StoreError> {
    let usual = || format!("https://{}.blob.core.windows.net", server.account);
    if server.account.is_empty() && server.endpoint.is_none() {
        return Err(unsigned(naming, "no account of Azure is named; set `AZURE_STORAGE_ACCOUNT`".into()));
    }
    let address = address_of(naming, profile, &server.endpoint.clone().unwrap_or_else(usual))?;
    let signer: Option<Arc<dyn Sign>> = match &profile.keys {
        Keys::Token(grant) => {
            safe(naming, profile, &address)?;
            let version = (HeaderName::from_static("x-ms-version"), HeaderValue::from_static(VERSION));
            let tokens = Tokens::of(grant, AZURE_SCOPE);
            Some(Arc::new(Bearer { tokens, headers: vec![version], profile: profile.name.clone() }))
        }
        Keys::AccountKey(key) => {
            let signer = SharedKey::new(&server.account, key, &profile.name);
            let why = || format!("the key of profile `{}` is none: it is not base64", profile.name);
            Some(Arc::new(signer.ok_or_else(|| unsigned(naming, why()))?))
        }
        Keys::SharedAccess(signature) => {
            safe(naming, profile, &address)?;
            Some(Arc::new(SharedAccess::new(signature, &profile.name)))
        }
        Keys::Anonymous => None,
        _ => return Err(wrong_keys(naming, profile)),
    };
    Ok(Azure::new(naming, bucket, address, signer, profile.name.clone()))
}

fn open_s3(naming: &Naming, bucket: String, profile: &Profile, server: &S3Server) -> Result<S3, StoreError> {
    let sent = sent_in_path(&bucket);
    let (text, path) = match (&server.endpoint, server.style) {
        // All buckets of the server.
        (Some(endpoint), _) if bucket.is_empty() => (endpoint.clone(), String::new()),
        (None, _) if bucket.is_empty() => (format!("https://s3.{}.amazonaws.com", server.region), String::new()),
        (Some(endpoint), Style::Path) => (endpoint.clone(), format!("/{sent}")),
        (Some(endpoint), Style::Host) => (endpoint.replacen("://", &format!("://{bucket}."), 1), String::new()),
        // A name with dots is not in the certificate of the server.
        (None, style) if style == Style::Path || bucket.contains('.') => {
            (format!("https://s3.{}.amazonaws.com", server.region), format!("/{sent}"))
        }
        (None, _) => (format!("https://{bucket}.s3.{}.amazonaws.com", server.region), String::new()),
    };
    let address = address_of(naming, profile, &text)?;
    let path = format!("{}{path}", address.path().trim_end_matches('/'));
    let signer = signer(&naming.object.door, profile, &server.region);
    let signed_as = match &profile.keys {
        Keys::Fixed { access_key_id, .. } => access_key_id.clone(),
        Keys::Got(_) => profile.name.clone(),
        _ => String::new(),
    };
    let is_amazon = address.host().ends_with(".amazonaws.com");
    let quotes = if is_amazon { Quotes::Around } else { Quotes::None };
    Ok(S3 { naming: naming.clone(), server: address, path, bucket, signer, signed_as, quotes, sent_key: sent_in_path })
}

/// The address of a server, without a bucket.
pub(super) fn server_address(server: &S3Server) -> Option<Address> {
    let amazon = || format!("https://s3.{}.amazonaws.com", server.region);
    Address::parse(server.endpoint.clone().unwrap_or_else(amazon).trim_end_matches('/'))
}

/// How a profile is found anew.
pub(crate) fn again(door: &Door, profile: &Profile) -> Again {
    let chosen = match door {
        Door::Named(name) => Some(name.clone()),
        _ => super::CHOSEN.get().and_then(|chosen| chosen.profile.clone()),
    };
    Again::new(Surroundings::of_process(), chosen, profile.name.clone(), profile.server.clone())
}

/// Who signs with the keys of a profile; nobody if it signs nothing.
pub(super) fn signer(door: &Door, profile: &Profile, region: &str) -> Option<Arc<dyn Sign>> {
    if !matches!(profile.keys, Keys::Fixed { .. } | Keys::Got(_)) {
        return None;
    }
    let provider = Provider::of(profile, Some(again(door, profile)));
    Some(Arc::new(Signer::new(provider, region)))
}
