//! Grants: by what a token is got that opens a server for a while.
//!
//! It reads the JSON in which Google's tools keep credentials. It sends nothing: `token` goes and gets the token. It
//! promises that a grant shows no secret, and that a kind of credentials which it does not know is named.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Surroundings;
use crate::secret::{Secret, shown_name};

/// A longer file holds no credentials.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Credentials of which one opens the next.
const MOST_SOURCES: usize = 4;

/// Where Google gives tokens, unless the credentials say otherwise.
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";

/// By what a token is got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A token that somebody got for us.
    Given {
        /// The token.
        token: Secret,
        /// When it ends, in seconds since 1970, if that was said.
        ends_seconds: Option<u64>,
    },
    /// A file in which somebody keeps a token that is good.
    File {
        /// The file.
        path: PathBuf,
    },
    /// The standing permission of a user.
    Refresh {
        /// Where the token is got.
        url: String,
        /// The program that was permitted.
        client_id: String,
        /// What that program is known by.
        client_secret: Option<Secret>,
        /// The permission.
        refresh_token: Secret,
    },
    /// The key of a service account.
    ServiceAccount {
        /// Where the token is got.
        url: String,
        /// Its name.
        email: String,
        /// Which of its keys it is.
        key_id: String,
        /// The key, as PEM.
        private_key: Secret,
    },
    /// The token of somebody else, exchanged.
    Exchange {
        /// Where it is exchanged.
        url: String,
        /// Who exchanges it.
        audience: String,
        /// What kind of token it is.
        kind: String,
        /// The project of people of a workforce.
        project: Option<String>,
        /// Where the token of somebody else is.
        subject: Subject,
    },
    /// Another account, which the one of a grant may be.
    Impersonated {
        /// Where the token is got.
        url: String,
        /// The accounts in between.
        delegates: Vec<String>,
        /// Who asks.
        source: Box<Grant>,
    },
    /// An application that is known by a secret or by the token of somebody else (Microsoft Entra).
    Application {
        /// Where the token is got.
        url: String,
        /// Its name.
        client_id: String,
        /// What it is known by.
        proof: Proof,
    },
    /// The machine that runs us, where a variable of its platform says so.
    Machine {
        /// Where the token is got.
        url: String,
        /// What must be said with it.
        header: (&'static str, Secret),
    },
}

/// What an application is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A secret.
    Secret(Secret),
    /// A token of its platform, in a file.
    File(PathBuf),
}

/// Where a token that is exchanged is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The field of its JSON; none if it is the token itself.
        field: Option<String>,
    },
    /// At an address.
    Url {
        /// The address.
        url: String,
        /// What is sent with the question.
        headers: Vec<(String, Secret)>,
        /// The field of its JSON; none if it is the token itself.
        field: Option<String>,
    },
}

impl Grant {
    /// What it is, in words that hold no secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Given { ends_seconds: None, .. } => "access token".into(),
            Self::Given { ends_seconds: Some(ends), .. } => {
                format!("access token until {}", crate::settled::rfc3339(*ends))
            }
            Self::File { path } => format!("token in {}", shown_name(&path.to_string_lossy())),
            Self::Refresh { client_id, .. } => format!("user, by client {}", shown_name(short(client_id))),
            Self::ServiceAccount { email, .. } => format!("service account {}", shown_name(email)),
            Self::Exchange { subject: Subject::File { path, .. }, .. } => {
                format!("token exchanged for that in {}", shown_name(&path.to_string_lossy()))
            }
            Self::Exchange { .. } => "token exchanged for that of another server".into(),
            Self::Impersonated { url, source, .. } => {
                let email = url.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
                format!("service account {}, by {}", shown_name(email), source.shown())
            }
            Self::Application { client_id, .. } => format!("application {}", shown_name(client_id)),
            Self::Machine { .. } => "account of this machine".into(),
        }
    }
}

fn short(client_id: &str) -> &str {
    client_id.split('.').next().unwrap_or(client_id)
}

/// Credentials and the project that pays, as Google's tools keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GoogleCredentials {
    pub grant: Grant,
    pub quota_project: Option<String>,
}

/// The text of a small file.
pub(crate) fn text_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => Err(format!("it is larger than {MAX_FILE_BYTES} bytes")),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// The credentials in a JSON text.
pub(super) fn of_google_json(text: &str, surroundings: &Surroundings) -> Result<GoogleCredentials, String> {
    // The text is a secret: what the library would say of it stays unsaid.
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("it is not JSON: line {}, column {}", error.line(), error.column()))?;
    let quota_project = string(&value, "quota_project_id").map(str::to_owned);
    Ok(GoogleCredentials { grant: grant(&value, surroundings, MOST_SOURCES)?, quota_project })
}

fn string<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn needed(value: &Value, name: &str) -> Result<String, String> {
    string(value, name).map(str::to_owned).ok_or_else(|| format!("it has no `{name}`"))
}

fn grant(value: &Value, surroundings: &Surroundings, n_left: usize) -> Result<Grant, String> {
    let secret = |name: &str| needed(value, name).map(Secret::new);
    let url = |name: &str| string(value, name).unwrap_or(GOOGLE_TOKENS).to_owned();
    match string(value, "type").unwrap_or_default() {
        kind @ ("authorized_user" | "external_account_authorized_user") => Ok(Grant::Refresh {
            url: if kind == "authorized_user" { url("token_uri") } else { url("token_url") },
            client_id: needed(value, "client_id")?,
            client_secret: secret("client_secret").ok(),
            refresh_token: secret("refresh_token")?,
        }),
        "service_account" => Ok(Grant::ServiceAccount {
            url: url("token_uri"),
            email: needed(value, "client_email")?,
            key_id: string(value, "private_key_id").unwrap_or_default().to_owned(),
            private_key: secret("private_key")?,
        }),
        "external_account" => {
            let exchange = exchange(value, surroundings)?;
            Ok(match string(value, "service_account_impersonation_url") {
                None => exchange,
                Some(url) => {
                    Grant::Impersonated { url: url.to_owned(), delegates: Vec::new(), source: Box::new(exchange) }
                }
            })
        }
        "impersonated_service_account" => {
            let n_left = n_left.checked_sub(1).ok_or("its credentials lead from one to the next")?;
            let source = value.get("source_credentials").ok_or("it has no `source_credentials`")?;
            let delegates = value.get("delegates").and_then(Value::as_array).into_iter().flatten();
            Ok(Grant::Impersonated {
                url: needed(value, "service_account_impersonation_url")?,
                delegates: delegates.filter_map(Value::as_str).map(str::to_owned).collect(),
                source: Box::new(grant(source, surroundings, n_left)?),
            })
        }
        "" => Err("it has no `type` of credentials".into()),
        kind if kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Err(format!("its credentials are of type `{kind}`, which frazil does not follow"))
        }
        _ => Err("its credentials are of a type that frazil does not follow".into()),
    }
}

fn exchange(value: &Value, surroundings: &Surroundings) -> Result<Grant, String> {
    let source = value.get("credential_source").ok_or("it has no `credential_source`")?;
    let format = source.get("format");
    let field = format.filter(|format| string(format, "type") == Some("json"));
    let field = field.map(|format| needed(format, "subject_token_field_name")).transpose()?;
    let subject = match (string(source, "file"), string(source, "url")) {
        (Some(path), _) => Subject::File { path: surroundings.at_home(path), field },
        (None, Some(url)) if source.get("environment_id").is_none() => {
            let headers = source.get("headers").and_then(Value::as_object).into_iter().flatten();
            let header =
                |(name, value): (&String, &Value)| Some((name.clone(), Secret::new(value.as_str()?.to_owned())));
            Subject::Url { url: url.to_owned(), headers: headers.filter_map(header).collect(), field }
        }
        _ if source.get("executable").is_some() => {
            return Err("its credentials come from a program, which frazil does not start".into());
        }
        _ => return Err("its `credential_source` is of a kind that frazil does not follow".into()),
    };
    Ok(Grant::Exchange {
        url: needed(value, "token_url")?,
        audience: needed(value, "audience")?,
        kind: needed(value, "subject_token_type")?,
        project: string(value, "workforce_pool_user_project").map(str::to_owned),
        subject,
    })
}

/// A token as somebody pastes it: the token itself, or JSON with its end as the tools print it.
///
/// # Errors
/// If it is neither.
pub(crate) fn of_pasted(text: &str) -> Result<(Secret, Option<u64>), String> {
    let text = text.trim();
    if !text.starts_with('{') {
        let is_token = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        return if is_token { Ok((Secret::new(text.to_owned()), None)) } else { Err("there is no token in it".into()) };
    }
    let value: Value = serde_json::from_str(text).map_err(|_| "there is no token in it".to_owned())?;
    let names = ["access_token", "accessToken", "token"];
    let token = names.iter().find_map(|name| string(&value, name)).ok_or("it has no `access_token`")?;
    let ends = ["expiry", "expireTime", "expires_at", "token_expiry"].iter().find_map(|name| string(&value, name));
    let ends = match ends {
        Some(text) => Some(crate::settled::seconds_of_any_rfc3339(text).ok_or("its end is no time")?),
        None => value.get("expires_on").and_then(|on| on.as_u64().or_else(|| on.as_str()?.parse().ok())),
    };
    Ok((Secret::new(token.to_owned()), ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let shown = match of_google_json(json, &Surroundings::default()) {
            Ok(credentials) => {
                assert!(!format!("{credentials:?}").contains("CANARY"));
                credentials.grant.shown()
            }
            Err(why) => why,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn credentials_of_google_say_what_they_are() {
        check(
            r#"{"type":"authorized_user","client_id":"7.apps","client_secret":"CANARY","refresh_token":"CANARY"}"#,
            "user, by client 7",
        );
        check(r#"{"type":"service_account","client_email":"a@p","private_key":"CANARY"}"#, "service account a@p");
        check(
            r#"{"type":"impersonated_service_account","service_account_impersonation_url":"https://i/v1/x/b@p:generateAccessToken",
            "source_credentials":{"type":"authorized_user","client_id":"7","refresh_token":"CANARY"}}"#,
            "service account b@p, by user, by client 7",
        );
        check(
            r#"{"type":"external_account","audience":"a","subject_token_type":"jwt","token_url":"https://sts","credential_source":{"file":"/t"}}"#,
            "token exchanged for that in /t",
        );
    }

    #[test]
    fn what_is_not_followed_is_named() {
        check(r#"{"type":"gdch"}"#, "its credentials are of type `gdch`, which frazil does not follow");
        check(r#"{"type":"service_account"}"#, "it has no `client_email`");
        check("CANARY{", "it is not JSON: line 1, column 1");
        let program = r#"{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"u",
            "credential_source":{"executable":{"command":"x"}}}"#;
        check(program, "its credentials come from a program, which frazil does not start");
    }

    #[test]
    fn a_pasted_token_may_say_when_it_ends() {
        let ends = |text: &str| of_pasted(text).map(|(token, ends)| (token.reveal().to_owned(), ends));
        assert_eq!(ends("ya29.x\n"), Ok(("ya29.x".into(), None)));
        let json = r#"{"access_token":"y","expiry":"2026-11-20T17:42:17.5+01:00"}"#;
        assert_eq!(ends(json), Ok(("y".into(), Some(1_795_192_937))));
        assert!(ends("two words").is_err() && ends("{}").is_err() && ends("").is_err());
    }
}
