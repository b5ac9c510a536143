//! Keys of AWS single sign-on, with the token that `aws sso login` left.
//!
//! It promises that the token goes over TLS to the sign-on server alone, and that one that has ended is said to have, with
//! the command that renews it. It does not sign anybody on.
//! Source: the IAM Identity Center Portal API reference, `GetRoleCredentials`.

use std::{fs, time::SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Key, now_seconds, seconds_of, service};
use crate::{
    open::{Method, Sending},
    profile::source::SignOn,
    secret::{Secret, shown_name},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    access_token: String,
    expires_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    role_credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// In milliseconds since 1970.
    expiration: u64,
}

/// Asks for the keys of the role.
pub(super) fn ask(on: &SignOn) -> Result<Key, String> {
    let login = format!("sign on with `aws sso login --profile {}`", shown_name(&on.profile));
    let text = match fs::read(&on.cache) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("nobody has signed on yet: {login}"));
        }
        Err(error) => return Err(format!("{} could not be read: {}", on.cache.display(), error.kind())),
    };
    let nonsense = || format!("{} makes no sense: {login}", on.cache.display());
    let cached: Cached = serde_json::from_slice(&text).map_err(|_| nonsense())?;
    // Older tools wrote `UTC` for the zone.
    let ends = seconds_of(&cached.expires_at.replace("UTC", "Z")).ok_or_else(nonsense)?;
    if ends <= now_seconds(SystemTime::now()) {
        return Err(format!("its sign-on ended at {}: {login}", shown_name(&cached.expires_at)));
    }
    let sent = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let path = format!("/federation/credentials?account_id={}&role_name={}", sent(&on.account_id), sent(&on.role_name));
    let address = service::address(&on.endpoint, &path)?;
    if !address.is_private() {
        return Err(format!("its sign-on server {} is not asked over TLS", address.authority()));
    }
    let sending = Sending::new(Method::GET, &[]).with("x-amz-sso_bearer_token", cached.access_token);
    let told = service::told(&address, &sending, None)?;
    match told.status {
        200 => {}
        401 => return Err(format!("its sign-on is no longer taken: {login}")),
        status => {
            let (account, role) = (&on.account_id, &on.role_name);
            return Err(format!(
                "the sign-on server gives no keys for role {role} of account {account}: it answered {status}"
            ));
        }
    }
    let answered: Answered =
        serde_json::from_str(&told.text).map_err(|_| "the answer of the sign-on server makes no sense".to_owned())?;
    let keys = answered.role_credentials;
    Ok(Key {
        access_key_id: keys.access_key_id,
        secret: Secret::new(keys.secret_access_key),
        token: Some(Secret::new(keys.session_token)),
        ends_seconds: Some(keys.expiration / 1000),
    })
}
