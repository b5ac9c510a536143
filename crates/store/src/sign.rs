//! Who signs requests, and signatures of S3 requests.
//!
//! It promises that a signed request goes to the server it was made for with the key and the query as they are sent, and
//! that no error repeats a secret.

mod v4;

use std::{fmt, sync::Arc, time::Instant};

use ring::digest;
use v4::Scope;

use crate::{
    address::Address,
    bucket::hex,
    keys::{Key, Provider},
    open::{Answer, HeaderMap, HeaderValue, NoAnswer, Request},
    skew::seconds_at,
};

/// What stands in place of a digest of the body: the connection, or the digest of the object, looks after that.
const UNSIGNED_BODY: HeaderValue = HeaderValue::from_static("UNSIGNED-PAYLOAD");

/// Whoever makes a request one that a server takes.
pub(crate) trait Sign: fmt::Debug + Send + Sync {
    /// The request with its signature.
    ///
    /// # Errors
    /// Why it has none.
    fn sign(&self, request: Request<()>) -> Result<Request<()>, NoAnswer>;

    /// The profile whose key it is.
    fn profile(&self) -> &str;

    /// Whether it has another key by now than the one that a server refused, with `code`, for what was signed at `since`.
    fn is_renewed(&self, since: Instant, code: Option<&str>) -> bool {
        let _ = (since, code);
        false
    }

    /// Whether a server took its key for anything. Until then what a server refuses may be the key.
    fn is_proven(&self) -> bool {
        true
    }

    /// Whether what it signs is for one server only, so that it follows to no other.
    fn is_for_one_server(&self) -> bool {
        true
    }

    /// Takes note of an answer of the server at `hop`.
    fn hear(&self, hop: &Address, answer: &Answer) {
        let _ = (hop, answer);
    }

    /// Who tells the server at `hop` something, in words; nobody if it is asked as anybody may ask.
    fn told_by(&self, hop: &Address) -> Option<String> {
        let _ = hop;
        Some(self.profile().to_owned())
    }

    /// The same for another region of the same server, if there is such a thing.
    fn for_region(&self, region: &str) -> Option<Arc<dyn Sign>> {
        let _ = region;
        None
    }
}

/// Signs for one region with the key that a profile has now.
pub(crate) struct Signer {
    provider: Arc<Provider>,
    scope: Scope,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.provider.profile())
    }
}

impl Signer {
    /// One that signs with the keys of `provider`.
    pub fn new(provider: Arc<Provider>, region: &str) -> Self {
        Self { provider, scope: Scope::new("s3", region) }
    }
}

impl Sign for Signer {
    fn profile(&self) -> &str {
        self.provider.profile()
    }

    fn sign(&self, request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let key = self.provider.key().map_err(NoAnswer::Unsigned)?;
        signed(request, UNSIGNED_BODY, &self.scope, &key).map_err(NoAnswer::Unsigned)
    }

    fn is_renewed(&self, since: Instant, code: Option<&str>) -> bool {
        self.provider.is_renewed(since, code)
    }

    fn is_proven(&self) -> bool {
        self.provider.is_proven()
    }

    fn hear(&self, _hop: &Address, answer: &Answer) {
        if (200..300).contains(&answer.status) {
            self.provider.has_worked();
        }
    }

    fn for_region(&self, region: &str) -> Option<Arc<dyn Sign>> {
        Some(Arc::new(Self::new(Arc::clone(&self.provider), region)))
    }
}

/// Signs one request to a server of roles, whose body it has read.
pub(crate) struct TokenSigner {
    key: Key,
    scope: Scope,
    digest: String,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner")
    }
}

impl TokenSigner {
    /// One for a request with this body.
    pub fn new(key: &Key, region: &str, body: &[u8]) -> Self {
        let digest = hex(digest::digest(&digest::SHA256, body).as_ref());
        Self { key: key.clone(), scope: Scope::new("sts", region), digest }
    }
}

impl Sign for TokenSigner {
    fn profile(&self) -> &str {
        &self.key.access_key_id
    }

    fn sign(&self, request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let digest = HeaderValue::from_str(&self.digest).map_err(|_| NoAnswer::Unsigned(unsignable()))?;
        signed(request, digest, &self.scope, &self.key).map_err(NoAnswer::Unsigned)
    }
}

fn unsignable() -> String {
    "the request cannot be signed".to_owned()
}

/// Servers fold the values of a header that is repeated, and spaces in a value. No request of ours has such a header.
fn are_signable(headers: &HeaderMap) -> bool {
    let is_folded = |value: &HeaderValue| !value.as_bytes().windows(2).any(|pair| pair == b"  ");
    headers.keys_len() == headers.len() && headers.values().all(is_folded)
}

fn signed(request: Request<()>, digest: HeaderValue, scope: &Scope, key: &Key) -> Result<Request<()>, String> {
    if !are_signable(request.headers()) {
        return Err(unsignable());
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("x-amz-content-sha256", digest);
    let seconds = parts.uri.authority().map(|authority| seconds_at(authority.as_str()));
    match seconds.and_then(|seconds| scope.sign(&mut parts, key, seconds)) {
        Some(()) => Ok(Request::from_parts(parts, body)),
        None => Err(unsignable()),
    }
}

#[cfg(test)]
mod tests;
