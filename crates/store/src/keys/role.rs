//! Keys of a role (STS), and who a key belongs to.
//!
//! It promises that of an answer nothing is repeated but the name of an error. Source: the AWS Security Token Service API
//! reference; Ceph answers the same.

use std::fs;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Key, seconds_of, service};
use crate::{
    giver::Told,
    open::{Method, Sending},
    profile::source::{Role, TokenService, WebIdentity},
    secret::{Secret, shown_name},
    sign::TokenSigner,
    skew::by_our_clock,
};

/// What a form holds as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a session is called if the profile does not say.
const SESSION: &str = "frazil";

#[derive(Deserialize)]
struct Answered {
    #[serde(rename = "AssumeRoleResult", alias = "AssumeRoleWithWebIdentityResult")]
    result: Assumed,
}

#[derive(Deserialize)]
struct Assumed {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

fn form(fields: &[(&str, &str)]) -> Secret {
    let field = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, FORM));
    Secret::new(fields.iter().map(field).collect::<Vec<_>>().join("&"))
}

fn post(service: &TokenService, form: &Secret, key: Option<&Key>) -> Result<Told, String> {
    let address = service::address(&service.endpoint, "/")?;
    if key.is_none() && !address.is_private() {
        return Err(format!("its server of roles {} is not asked over TLS", address.authority()));
    }
    let body = form.reveal().as_bytes();
    let sending = Sending::new(Method::POST, body).with("content-type", "application/x-www-form-urlencoded");
    let signer = key.map(|key| TokenSigner::new(key, &service.region, body));
    service::told(&address, &sending, signer.as_ref().map(|signer| signer as &dyn crate::sign::Sign))
}

/// Takes on a role with a key; a `policy` narrows what it may do for this time.
pub(crate) fn assume(role: &Role, key: &Key, policy: Option<&str>) -> Result<Key, String> {
    let duration = role.duration_seconds.map(|seconds| seconds.to_string());
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session_name.as_deref().unwrap_or(SESSION)),
    ];
    fields.extend(duration.as_deref().map(|seconds| ("DurationSeconds", seconds)));
    fields.extend(policy.map(|policy| ("Policy", policy)));
    fields.extend(role.external_id.as_ref().map(|id| ("ExternalId", id.reveal())));
    read(&post(&role.service, &form(&fields), Some(key))?, &role.arn, &role.service)
}

/// Takes on a role with a token.
pub(super) fn assume_with_token(role: &WebIdentity) -> Result<Key, String> {
    let path = role.token_file.to_string_lossy();
    let unread = |error: std::io::Error| format!("{}: {}", shown_name(&path), error.kind());
    let token = fs::read_to_string(&role.token_file).map_err(unread)?;
    let duration = role.duration_seconds.map(|seconds| seconds.to_string());
    let mut fields = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session_name.as_deref().unwrap_or(SESSION)),
        ("WebIdentityToken", token.trim()),
    ];
    fields.extend(duration.as_deref().map(|seconds| ("DurationSeconds", seconds)));
    read(&post(&role.service, &form(&fields), None)?, &role.arn, &role.service)
}

fn read(told: &Told, arn: &str, service: &TokenService) -> Result<Key, String> {
    let arn = shown_name(arn);
    if told.status != 200 {
        let code = between(&told.text, "Code").and_then(service::plain);
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        return Err(format!(
            "its role `{arn}` (`role_arn`) could not be taken on: the server answered {}{code}",
            told.status
        ));
    }
    let nonsense = |_| format!("the answer about its role `{arn}` makes no sense");
    let answered: Answered = quick_xml::de::from_str(&told.text).map_err(nonsense)?;
    let keys = answered.result.credentials;
    let server = service::address(&service.endpoint, "/")?;
    Ok(Key {
        access_key_id: keys.access_key_id,
        secret: Secret::new(keys.secret_access_key),
        token: Some(Secret::new(keys.session_token)),
        ends_seconds: seconds_of(&keys.expiration).map(|ends| by_our_clock(server.authority(), ends)),
    })
}

/// The text of an element.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

/// Who a key belongs to, if its server says.
pub(super) fn caller(service: &TokenService, key: &Key) -> Option<String> {
    let told = post(service, &form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]), Some(key)).ok()?;
    let arn = between(&told.text, "Arn").filter(|_| told.status == 200)?;
    let is_plain = arn.len() <= 2048 && arn.chars().all(|c| !c.is_control());
    is_plain.then(|| shown_name(arn).to_owned())
}
