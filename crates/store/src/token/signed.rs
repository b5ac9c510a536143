//! Assertions that a service account signs with its own key (RFC 7523, RS256).
//!
//! It promises that no error repeats the key.

use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use serde_json::{Value, json};

use super::NoToken;
use crate::{
    digest::{base64_of_addresses, bytes_of_base64},
    secret::{Secret, shown_name},
    settled::now_seconds,
};

/// How long an assertion is good for; servers take no longer ones.
const LIFETIME_SECONDS: u64 = 3600;

/// What `email` says of itself to whoever is at `audience`.
pub(super) fn assertion(
    email: &str,
    key_id: &str,
    private_key: &Secret,
    audience: &str,
    scope: &str,
) -> Result<String, NoToken> {
    let now = now_seconds();
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if !key_id.is_empty() {
        header["kid"] = json!(key_id);
    }
    let claims = json!({"iss": email, "scope": scope, "aud": audience, "iat": now, "exp": now + LIFETIME_SECONDS});
    let part = |value: &Value| base64_of_addresses(value.to_string().as_bytes());
    let said = format!("{}.{}", part(&header), part(&claims));
    let signature = signature(private_key, said.as_bytes()).ok_or_else(|| {
        NoToken::Lasting(format!("the `private_key` of {} is no RSA key that signs", shown_name(email)))
    })?;
    Ok(format!("{said}.{}", base64_of_addresses(&signature)))
}

fn signature(private_key: &Secret, bytes: &[u8]) -> Option<Vec<u8>> {
    let pem = private_key.reveal();
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (kind, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let der = bytes_of_base64(body)?;
    let pair = match kind {
        "PRIVATE KEY" => KeyPair::from_pkcs8(&der).ok()?,
        "RSA PRIVATE KEY" => KeyPair::from_der(&der).ok()?,
        _ => return None,
    };
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature).ok()?;
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_not_repeated() {
        for pem in ["CANARY", "-----BEGIN PRIVATE KEY-----\nCANARY==\n-----END PRIVATE KEY-----\n"] {
            let said = assertion("a@p", "", &Secret::new(pem.into()), "https://aud", "s");
            assert_eq!(said, Err(NoToken::Lasting("the `private_key` of a@p is no RSA key that signs".into())));
        }
    }
}
