//! Requests that carry a token.
//!
//! It promises that a token goes over https, or to this machine, and shows nowhere.

use std::{fmt, sync::Arc, time::Instant};

use crate::{
    open::{HeaderName, HeaderValue, NoAnswer, Request},
    settled::{now_seconds, web_date_of},
    sign::Sign,
    token::Tokens,
};

/// The names of errors that are about who asks, not about what is asked for.
const ABOUT_TOKENS: [&str; 6] = [
    "authError",
    "required",
    "AuthenticationRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "InvalidToken",
];

/// Puts a token into each request, and what its server wants beside it.
pub(crate) struct Bearer {
    pub tokens: Arc<Tokens>,
    /// Headers that each request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub profile: String,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer({})", self.profile)
    }
}

impl Sign for Bearer {
    fn profile(&self) -> &str {
        &self.profile
    }

    fn sign(&self, mut request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let unsendable = || NoAnswer::Unsigned("its token cannot be sent".into());
        let token = self.tokens.token()?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(HeaderName::from_static("authorization"), value);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if headers.contains_key("x-ms-version") {
            let date = HeaderValue::try_from(web_date_of(now_seconds())).map_err(|_| unsendable())?;
            headers.insert(HeaderName::from_static("x-ms-date"), date);
        }
        Ok(request)
    }

    fn is_renewed(&self, since: Instant, code: Option<&str>) -> bool {
        // Whoever is known and may not is not helped by another token; how often one is got is bounded by who asks.
        let is_unknown = code.is_some_and(|code| ABOUT_TOKENS.contains(&code));
        is_unknown && self.tokens.is_another_after(since)
    }
}
