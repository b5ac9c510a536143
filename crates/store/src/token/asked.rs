//! Asking a server of tokens for one.
//!
//! Source: RFC 6749 (OAuth 2.0), RFC 7523 (assertions), RFC 8693 (exchange), the IAM credentials API of Google and the
//! Microsoft identity platform. It promises that nothing that opens a server goes over a line that others can read, and
//! that an error repeats only the name that the server gives it.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Got, NoToken, signed};
use crate::{
    address::Address,
    giver::{self, Told, Untold},
    open::{Method, Sending},
    profile::grant::{Grant, Proof, Subject, text_of},
    secret::Secret,
    settled::{now_seconds, seconds_of_any_rfc3339},
};

/// What whoever may be another account, or makes narrower tokens, must be allowed.
pub(crate) const EVERYTHING: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where Google exchanges tokens.
const GOOGLE_EXCHANGE: &str = "https://sts.googleapis.com/v1/token";

/// Gets the token of a grant that a server gives.
pub(super) fn get(grant: &Grant, scope: &str) -> Result<Got, NoToken> {
    match grant {
        Grant::Refresh { url, client_id, client_secret, refresh_token } => {
            let mut form = vec![
                ("grant_type", "refresh_token"),
                ("client_id", client_id),
                ("refresh_token", refresh_token.reveal()),
            ];
            form.extend(client_secret.as_ref().map(|secret| ("client_secret", secret.reveal())));
            of_form(url, &form)
        }
        Grant::ServiceAccount { url, email, key_id, private_key } => {
            let assertion = signed::assertion(email, key_id, private_key, url, scope)?;
            let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            of_form(url, &[("grant_type", kind), ("assertion", &assertion)])
        }
        Grant::Exchange { url, audience, kind, project, subject } => {
            let subject = subject_token(subject)?;
            let options = project.as_ref().map(|project| json!({"userProject": project}).to_string());
            let mut form = vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("audience", audience),
                ("scope", scope),
                ("subject_token_type", kind),
                ("subject_token", subject.reveal()),
            ];
            form.extend(options.as_deref().map(|options| ("options", options)));
            of_form(url, &form)
        }
        Grant::Impersonated { url, delegates, source } => {
            let source = super::get(source, EVERYTHING)?;
            let body = json!({"scope": [scope], "delegates": delegates, "lifetime": "3600s"}).to_string();
            let sending = Sending::new(Method::POST, body.as_bytes())
                .with("content-type", "application/json")
                .with("authorization", format!("Bearer {}", source.token.reveal()));
            token_in(url, &answer(&safe(url)?, &sending)?)
        }
        Grant::Application { url, client_id, proof } => {
            let mut form = vec![("grant_type", "client_credentials"), ("client_id", client_id), ("scope", scope)];
            let said = match proof {
                Proof::Secret(secret) => secret.clone(),
                Proof::File(path) => Secret::new(text_of(path).map_err(|why| in_file(path, why))?.trim().to_owned()),
            };
            match proof {
                Proof::Secret(_) => form.push(("client_secret", said.reveal())),
                Proof::File(_) => form.extend([
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", said.reveal()),
                ]),
            }
            of_form(url, &form)
        }
        Grant::Machine { url, header: (name, value) } => {
            // The platform named the address, and it is one of the machine itself.
            let address = Address::parse(url).ok_or_else(|| unsendable(url))?;
            let sending = Sending::new(Method::GET, &[]).with(*name, value.reveal());
            token_in(url, &answer(&address, &sending)?)
        }
        // These need no server.
        Grant::Given { .. } | Grant::File { .. } => super::get(grant, scope),
    }
}

/// A narrower token for one that is good for everything. It ends when that one does.
pub(super) fn narrowed(grant: &Grant, wide: &Secret, boundary: &Value) -> Result<Got, NoToken> {
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let options = boundary.to_string();
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", access_token),
        ("subject_token_type", access_token),
        ("subject_token", wide.reveal()),
        ("options", &options),
    ];
    of_form(&exchange_of(grant), &form)
}

/// Where tokens of a grant are exchanged: where Google does so, else where the grant itself is from.
fn exchange_of(grant: &Grant) -> String {
    let own = match grant {
        Grant::Refresh { url, .. } | Grant::ServiceAccount { url, .. } | Grant::Exchange { url, .. } => Some(url),
        Grant::Impersonated { url, .. } => Some(url),
        _ => None,
    };
    let own = own.and_then(|url| Address::parse(url)).filter(|own| !own.host().ends_with("googleapis.com"));
    own.map_or_else(|| GOOGLE_EXCHANGE.to_owned(), |own| own.with_sent_path("/v1/token".into(), None).without_query())
}

fn in_file(path: &std::path::Path, why: impl std::fmt::Display) -> NoToken {
    NoToken::Lasting(format!("{}: {why}", path.display()))
}

fn unsendable(url: &str) -> NoToken {
    let plain = url.split('?').next().unwrap_or_default();
    NoToken::Lasting(format!("no token can be asked for at `{plain}`"))
}

/// An address that may be told a secret.
fn safe(url: &str) -> Result<Address, NoToken> {
    let address = Address::parse(url).ok_or_else(|| unsendable(url))?;
    match address.is_private() {
        true => Ok(address),
        false => Err(NoToken::Lasting(format!("`{}` is not safe: it is not https", address.without_query()))),
    }
}

fn of_form(url: &str, form: &[(&str, &str)]) -> Result<Got, NoToken> {
    let sent = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", sent(value))).collect();
    let body = body.join("&");
    let sending = Sending::new(Method::POST, body.as_bytes()).with("content-type", "application/x-www-form-urlencoded");
    token_in(url, &answer(&safe(url)?, &sending)?)
}

fn subject_token(subject: &Subject) -> Result<Secret, NoToken> {
    let (text, field, place) = match subject {
        Subject::File { path, field } => {
            (text_of(path).map_err(|why| in_file(path, why))?, field, path.display().to_string())
        }
        Subject::Url { url, headers, field } => {
            let sending = headers.iter().fold(Sending::new(Method::GET, &[]), |sending, (name, value)| {
                sending.with(name.clone(), value.reveal())
            });
            let address = Address::parse(url).ok_or_else(|| unsendable(url))?;
            (answer(&address, &sending)?, field, address.without_query())
        }
    };
    let token = match field {
        None => Some(text.trim().to_owned()),
        Some(field) => {
            let value: Option<Value> = serde_json::from_str(&text).ok();
            value.and_then(|value| value.get(field)?.as_str().map(str::to_owned))
        }
    };
    let token = token.filter(|token| !token.is_empty());
    token.map(Secret::new).ok_or_else(|| NoToken::Lasting(format!("there is no token in {place}")))
}

/// The token of an answer.
fn token_in(url: &str, text: &str) -> Result<Got, NoToken> {
    let nonsense = || {
        let plain = url.split('?').next().unwrap_or_default();
        NoToken::Lasting(format!("`{plain}` answered without a token"))
    };
    let value: Value = serde_json::from_str(text).map_err(|_| nonsense())?;
    let token = ["access_token", "accessToken"].iter().find_map(|name| value.get(*name)?.as_str());
    let token = token.filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()));
    let number = |name: &str| value.get(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let until = value.get("expireTime").and_then(Value::as_str).and_then(seconds_of_any_rfc3339);
    let until = until.or_else(|| number("expires_on")).map(|ends| ends.saturating_sub(now_seconds()));
    let lifetime = number("expires_in").or(until).map(Duration::from_secs);
    Ok(Got { token: Secret::new(token.ok_or_else(nonsense)?.to_owned()), lifetime })
}

/// Asks.
fn answer(address: &Address, sending: &Sending<'_>) -> Result<String, NoToken> {
    let place = address.without_query();
    match giver::told(address, sending, None) {
        Ok(told) if matches!(told.status, 200..=299) => Ok(told.text),
        Ok(Told { status, text }) => {
            let name = name_of_error(&text).unwrap_or_default();
            Err(NoToken::Lasting(format!("`{place}` gives no token: it answered {status}{name}")))
        }
        Err(Untold::Untrusted(why)) => {
            Err(NoToken::Lasting(format!("`{place}`, which gives tokens, is not trusted, {why}")))
        }
        Err(Untold::Lasting(why)) => Err(NoToken::Lasting(format!("no token from `{place}`: {why}"))),
        Err(Untold::Passing(why)) => Err(NoToken::Passing(format!("no token from `{place}` now: {why}"))),
    }
}

/// The name that a server gives an error: `invalid_grant`. What else it says may hold what it was told.
fn name_of_error(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let error = value.get("error")?;
    let name = error.as_str().or_else(|| error.get("status")?.as_str())?;
    let is_name = name.len() < 60 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| format!(" {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_over_https_or_on_this_machine_only() {
        assert!(safe("https://oauth2.googleapis.com/token").is_ok());
        assert!(safe("http://127.0.0.1:8000/token").is_ok() && safe("http://localhost/token").is_ok());
        assert!(safe("http://oauth2.googleapis.com/token").is_err() && safe("http://127.0.0.1.evil.org/").is_err());
    }

    #[test]
    fn an_answer_says_how_long_its_token_is_good() {
        let seconds = |text: &str| token_in("https://x", text).ok().map(|got| got.lifetime.map(|time| time.as_secs()));
        assert_eq!(seconds(r#"{"access_token":"a","expires_in":3599}"#), Some(Some(3599)));
        assert_eq!(seconds(r#"{"access_token":"a","expires_in":"5"}"#), Some(Some(5)));
        assert_eq!(seconds(r#"{"accessToken":"a","expireTime":"1990-01-01T00:00:00Z"}"#), Some(Some(0)));
        assert_eq!(seconds(r#"{"access_token":"a"}"#), Some(None));
        assert_eq!(seconds(r#"{"access_token":""}"#), None);
        assert_eq!(seconds("<html>"), None);
    }

    #[test]
    fn only_the_name_of_an_error_is_repeated() {
        assert_eq!(
            name_of_error(r#"{"error":"invalid_grant","error_description":"CANARY"}"#).as_deref(),
            Some(" invalid_grant")
        );
        assert_eq!(name_of_error(r#"{"error":{"status":"PERMISSION_DENIED"}}"#).as_deref(), Some(" PERMISSION_DENIED"));
        assert_eq!(name_of_error(r#"{"error":"the token CANARY"}"#), None);
    }
}
