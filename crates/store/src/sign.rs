//! Signatures of S3 requests.
//!
//! The only file that knows the library for them. It promises that a signed request goes to the server it was made for
//! with the key and the query as they are sent, and that no error repeats a secret.

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::{
    open::{HeaderValue, NoAnswer, Request},
    profile::Keys,
};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::SignRequest;

/// What stands in place of a digest of the body: the connection, or the digest of the object, looks after that.
const UNSIGNED_BODY: HeaderValue = HeaderValue::from_static("UNSIGNED-PAYLOAD");

/// Whoever makes a request one that a server takes.
pub(crate) trait Sign: fmt::Debug + Send + Sync {
    /// The request with its signature.
    ///
    /// # Errors
    /// Why it has none.
    fn sign(&self, request: Request<()>) -> Result<Request<()>, NoAnswer>;

    /// Tells that a server did not know who signed a request that was asked at this moment. Whether asking once more
    /// may help, because it will be signed otherwise.
    fn is_signed_anew_after(&self, _asked: Instant) -> bool {
        false
    }

    /// The profile whose key it is.
    fn profile(&self) -> &str;
}

/// Signs for one region with one key.
pub(crate) struct Signer {
    credential: Credential,
    signer: RequestSigner,
    profile: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.profile)
    }
}

impl Signer {
    /// One that signs with `keys`; `None` if nothing is to be signed.
    pub fn new(keys: &Keys, region: &str, profile: &str) -> Option<Self> {
        let Keys::Fixed { access_key_id, secret, token } = keys else { return None };
        let credential = Credential {
            access_key_id: access_key_id.clone(),
            secret_access_key: secret.reveal().to_owned(),
            session_token: token.as_ref().map(|token| token.reveal().to_owned()),
            expires_in: None,
        };
        Some(Self { credential, signer: RequestSigner::new("s3", region), profile: profile.to_owned() })
    }
}

impl Sign for Signer {
    fn profile(&self) -> &str {
        &self.profile
    }

    fn sign(&self, request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("x-amz-content-sha256", UNSIGNED_BODY);
        let context = reqsign_core::Context::new();
        let signing = self.signer.sign_request(&context, &mut parts, Some(&self.credential), None);
        match now(signing) {
            Some(Ok(())) => Ok(Request::from_parts(parts, body)),
            _ => Err(NoAnswer::Lasting("the request cannot be signed".to_owned())),
        }
    }
}

/// What a future answers at once: with a key at hand, signing waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
