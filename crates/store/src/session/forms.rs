//! How other programs want to be told who somebody is.
//!
//! Each form holds all that its program needs: server, region, where the name of a bucket stands, and what servers other than
//! Amazon's do not understand. It promises that a form which cannot hold an identity is refused, and never half filled. Source:
//! the AWS SDKs and Tools Reference Guide, and the documentations of rclone, s3fs, gcsfs, adlfs and obstore.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Held, Session};
use crate::{
    keys::Key,
    profile::{AzureServer, GoogleServer, S3Server, Server, Style},
    secret::Secret,
    settled::rfc3339,
};
use frazil_model::shell::quoted;

/// For which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file that is `credentials` and `config` of the AWS tools in one.
    Aws,
    /// A configuration of rclone with one remote.
    Rclone,
    /// Lines for a shell.
    Env,
    /// `storage_options` of fsspec, pandas, dask and xarray, as JSON.
    StorageOptions,
    /// Arguments of a store of obstore, as JSON.
    Obstore,
}

/// What an AWS SDK is told of servers other than Amazon's, which know only the old checksums.
const OLD_CHECKSUMS: [&str; 2] = ["request_checksum_calculation", "response_checksum_validation"];
const IF_REQUIRED: &str = "when_required";

impl Form {
    /// The text of an identity for the program.
    ///
    /// # Errors
    /// If it cannot say it.
    pub fn text(self, session: &Session) -> Result<Secret, String> {
        let text = match (self, &session.server, &session.held) {
            (Self::Env, Server::S3(server), Held::Key(key)) => s3_variables(session, server, key)?,
            (Self::Aws, Server::S3(server), Held::Key(key)) => aws_file(session, server, key)?,
            (Self::Rclone, Server::S3(server), Held::Key(key)) => rclone(session, &s3_remote(server, key))?,
            (Self::StorageOptions, Server::S3(server), Held::Key(key)) => pretty(&s3fs(server, key)),
            (Self::Obstore, Server::S3(server), Held::Key(key)) => pretty(&obstore_s3(server, key)),
            (Self::Env, Server::Google(server), Held::Token(token)) => {
                let mut all = vec![
                    ("CLOUDSDK_AUTH_ACCESS_TOKEN", Some(token.reveal().to_owned())),
                    ("GOOGLE_OAUTH_ACCESS_TOKEN", Some(token.reveal().to_owned())),
                ];
                all.extend(server.endpoint.clone().map(|endpoint| ("STORAGE_EMULATOR_HOST", Some(endpoint))));
                variables(&all)?
            }
            (Self::Rclone, Server::Google(server), Held::Token(token)) => {
                rclone(session, &google_remote(session, server, token))?
            }
            (Self::StorageOptions, Server::Google(server), Held::Token(token)) => pretty(&gcsfs(server, token)),
            (Self::Obstore, Server::Google(_), _) => {
                return Err(
                    "obstore takes no access token of Google as a setting; `--to storage-options` is for gcsfs".into(),
                );
            }
            (Self::Aws, Server::Google(_) | Server::Azure(_), _) => {
                return Err("the AWS tools speak with no server of Google or Azure".into());
            }
            (_, Server::Azure(server), Held::AccountKey(_) | Held::SharedAccess(_)) => self.azure(session, server)?,
            _ => return Err(format!("this form cannot hold its {}", session.shown())),
        };
        Ok(Secret::new(text))
    }

    fn azure(self, session: &Session, server: &AzureServer) -> Result<String, String> {
        let account = &server.account;
        let (word, variable, secret) = match &session.held {
            Held::SharedAccess(signature) => ("sas_token", "AZURE_STORAGE_SAS_TOKEN", signature),
            Held::AccountKey(key) => ("account_key", "AZURE_STORAGE_KEY", key),
            _ => return Err("this form cannot hold it".into()),
        };
        let secret = secret.reveal().trim_start_matches('?');
        Ok(match (self, &server.endpoint) {
            (Self::Env, endpoint) => {
                let other = if word == "sas_token" { "AZURE_STORAGE_KEY" } else { "AZURE_STORAGE_SAS_TOKEN" };
                variables(&[
                    ("AZURE_STORAGE_ACCOUNT", Some(account.clone())),
                    (variable, Some(secret.to_owned())),
                    (other, None),
                    ("AZURE_STORAGE_CONNECTION_STRING", None),
                    ("AZURE_STORAGE_BLOB_ENDPOINT", endpoint.clone()),
                ])?
            }
            (Self::Rclone, endpoint) if word == "account_key" => {
                let mut lines = vec![("type", "azureblob"), ("account", account), ("key", secret)];
                lines.extend(endpoint.as_deref().map(|endpoint| ("endpoint", endpoint)));
                rclone(session, &owned(&lines))?
            }
            (Self::Rclone, endpoint) => {
                let usual = || format!("https://{account}.blob.core.windows.net");
                let url = format!("{}/?{secret}", endpoint.clone().unwrap_or_else(usual).trim_end_matches('/'));
                rclone(session, &owned(&[("type", "azureblob"), ("account", account), ("sas_url", &url)]))?
            }
            (Self::StorageOptions, None) => pretty(&json!({"account_name": account, word: secret})),
            (Self::StorageOptions, Some(endpoint)) => {
                let named = if word == "sas_token" { "SharedAccessSignature" } else { "AccountKey" };
                let all = format!("BlobEndpoint={endpoint};AccountName={account};{named}={secret}");
                pretty(&json!({"account_name": account, "connection_string": all}))
            }
            (Self::Obstore, endpoint) => {
                let mut config = json!({"account_name": account, word: secret});
                if let Some(endpoint) = endpoint {
                    config["endpoint"] = json!(endpoint);
                }
                let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
                pretty(&json!({"config": config, "client_options": {"allow_http": is_plain}}))
            }
            (Self::Aws, _) => return Err("the AWS tools speak with no server of Azure".into()),
        })
    }

    /// What to type or paste to use a file of this form.
    #[must_use]
    pub fn usage(self, session: &Session, path: &Path) -> String {
        let (name, file) = (&session.name, path.display().to_string());
        let (open, store) = match &session.server {
            Server::S3(_) => ("s3://BUCKET/STORE.zarr", "S3Store"),
            Server::Google(_) => ("gs://BUCKET/STORE.zarr", "GCSStore"),
            Server::Azure(_) => ("az://CONTAINER/STORE.zarr", "AzureStore"),
        };
        match self {
            Self::Aws => {
                let file = quoted(&file);
                let name = quoted(name);
                format!(
                    "AWS_SHARED_CREDENTIALS_FILE={file} AWS_CONFIG_FILE={file} aws --profile {name} s3 ls s3://BUCKET/"
                )
            }
            Self::Rclone => format!("rclone --config {} ls {}", quoted(&file), quoted(format!("{name}:BUCKET"))),
            Self::Env => format!(". {}", quoted(&file)),
            Self::StorageOptions => {
                format!("xarray.open_zarr({open:?}, storage_options=json.load(open({file:?})))")
            }
            Self::Obstore => format!("obstore.store.{store}(\"BUCKET\", **json.load(open({file:?})))"),
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Whether a value can stand in a line of a file without becoming something else.
fn plain(value: &str) -> Result<&str, String> {
    match value.chars().any(char::is_control) || value.trim() != value {
        true => Err("a part of it holds a line break or begins with a space, which no file of keys can hold".into()),
        false => Ok(value),
    }
}

/// Lines that set variables, or unset those that would be in the way.
fn variables(all: &[(&str, Option<String>)]) -> Result<String, String> {
    let line = |(name, value): &(&str, Option<String>)| {
        Ok(match value {
            Some(value) => format!("export {name}='{}'\n", plain(value)?.replace('\'', "'\\''")),
            None => format!("unset {name}\n"),
        })
    };
    all.iter().map(line).collect()
}

fn is_plain_http(server: &S3Server) -> bool {
    server.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// Whether a server is another than Amazon's.
fn is_other(server: &S3Server) -> bool {
    let host = |endpoint: &String| {
        endpoint.split("://").last().unwrap_or_default().split(['/', ':']).next().map(str::to_owned)
    };
    let host = server.endpoint.as_ref().and_then(host);
    host.is_some_and(|host| !host.ends_with(".amazonaws.com") && !host.ends_with(".amazonaws.com.cn"))
}

fn token_of(key: &Key) -> Option<String> {
    key.token.as_ref().map(|token| token.reveal().to_owned())
}

fn s3_variables(session: &Session, server: &S3Server, key: &Key) -> Result<String, String> {
    let if_other = |value: &str| is_other(server).then(|| value.to_owned());
    variables(&[
        ("AWS_ACCESS_KEY_ID", Some(key.access_key_id.clone())),
        ("AWS_SECRET_ACCESS_KEY", Some(key.secret.reveal().to_owned())),
        ("AWS_SESSION_TOKEN", token_of(key)),
        ("AWS_CREDENTIAL_EXPIRATION", session.ends_seconds.map(rfc3339)),
        ("AWS_ENDPOINT_URL", server.endpoint.clone()),
        // These come before it.
        ("AWS_ENDPOINT_URL_S3", None),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", None),
        ("AWS_PROFILE", None),
        ("AWS_DEFAULT_PROFILE", None),
        ("AWS_REGION", Some(server.region.clone())),
        ("AWS_DEFAULT_REGION", Some(server.region.clone())),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", if_other(IF_REQUIRED)),
        ("AWS_RESPONSE_CHECKSUM_VALIDATION", if_other(IF_REQUIRED)),
        // This one obstore reads.
        ("AWS_ALLOW_HTTP", is_plain_http(server).then(|| "true".to_owned())),
    ])
}

const fn style(server: &S3Server) -> &'static str {
    match server.style {
        Style::Path => "path",
        Style::Host => "virtual",
    }
}

fn aws_file(session: &Session, server: &S3Server, key: &Key) -> Result<String, String> {
    let mut lines = vec![
        ("aws_access_key_id", key.access_key_id.clone()),
        ("aws_secret_access_key", key.secret.reveal().to_owned()),
    ];
    lines.extend(token_of(key).map(|token| ("aws_session_token", token)));
    lines.push(("region", server.region.clone()));
    lines.extend(server.endpoint.clone().map(|endpoint| ("endpoint_url", endpoint)));
    if is_other(server) {
        lines.extend(OLD_CHECKSUMS.map(|key| (key, IF_REQUIRED.to_owned())));
    }
    Ok(format!("{}s3 =\n    addressing_style = {}\n", section(session, &lines)?, style(server)))
}

/// A section of a file, with its end above it.
fn section(session: &Session, lines: &[(&str, String)]) -> Result<String, String> {
    let name = plain(&session.name)?;
    if name.contains(['[', ']', '#', ';']) {
        return Err(format!("no file of keys can hold the name `{name}`"));
    }
    let mut text = format!("# {} {}, by `frazil profile export`\n[{name}]\n", session.shown(), session.until());
    for (key, value) in lines {
        text.push_str(&format!("{key} = {}\n", plain(value)?));
    }
    Ok(text)
}

type Lines = Vec<(&'static str, String)>;

fn owned(lines: &[(&'static str, &str)]) -> Lines {
    lines.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn rclone(session: &Session, lines: &Lines) -> Result<String, String> {
    if session.name.contains(':') {
        return Err(format!("no remote of rclone can have the name `{}`", session.name));
    }
    let mut lines = lines.clone();
    // rclone takes no notice of it; frazil does.
    lines.extend(session.ends_seconds.map(|ends| ("expires", rfc3339(ends))));
    section(session, &lines)
}

fn s3_remote(server: &S3Server, key: &Key) -> Lines {
    let provider = if is_other(server) { "Other" } else { "AWS" };
    let mut lines = owned(&[("type", "s3"), ("provider", provider), ("env_auth", "false")]);
    lines.push(("access_key_id", key.access_key_id.clone()));
    lines.push(("secret_access_key", key.secret.reveal().to_owned()));
    lines.extend(token_of(key).map(|token| ("session_token", token)));
    lines.extend(server.endpoint.clone().map(|endpoint| ("endpoint", endpoint)));
    lines.push(("region", server.region.clone()));
    lines.push(("force_path_style", (server.style == Style::Path).to_string()));
    // Whoever may write below one prefix only may not look for the bucket, nor make it.
    lines.push(("no_check_bucket", "true".to_owned()));
    lines
}

fn google_remote(session: &Session, server: &GoogleServer, token: &Secret) -> Lines {
    // rclone wants a time of its own form, and asks a browser without one.
    let ends = session.ends_seconds.map_or_else(|| "9999-12-31T00:00:00Z".to_owned(), rfc3339);
    let token = json!({"access_token": token.reveal(), "token_type": "Bearer", "expiry": ends}).to_string();
    let mut lines = owned(&[("type", "google cloud storage"), ("env_auth", "false")]);
    lines.push(("token", token));
    lines.extend(server.endpoint.clone().map(|endpoint| ("endpoint", endpoint)));
    lines.extend(server.project.clone().map(|project| ("user_project", project)));
    lines
}

fn s3fs(server: &S3Server, key: &Key) -> Value {
    let mut options = json!({
        "key": key.access_key_id, "secret": key.secret.reveal(), "client_kwargs": {"region_name": server.region},
        "config_kwargs": {"s3": {"addressing_style": style(server)}},
    });
    if let Some(token) = token_of(key) {
        options["token"] = json!(token);
    }
    if let Some(endpoint) = &server.endpoint {
        options["client_kwargs"]["endpoint_url"] = json!(endpoint);
    }
    if is_other(server) {
        for word in OLD_CHECKSUMS {
            options["config_kwargs"][word] = json!(IF_REQUIRED);
        }
    }
    options
}

fn gcsfs(server: &GoogleServer, token: &Secret) -> Value {
    let mut options = Map::new();
    options.insert("token".into(), json!(token.reveal()));
    options.extend(server.endpoint.clone().map(|endpoint| ("endpoint_url".to_owned(), json!(endpoint))));
    options.extend(server.project.clone().map(|project| ("project".to_owned(), json!(project))));
    Value::Object(options)
}

fn obstore_s3(server: &S3Server, key: &Key) -> Value {
    let mut config = json!({
        "access_key_id": key.access_key_id, "secret_access_key": key.secret.reveal(), "region": server.region,
    });
    if let Some(token) = token_of(key) {
        config["session_token"] = json!(token);
    }
    if let Some(endpoint) = &server.endpoint {
        config["endpoint"] = json!(endpoint);
    }
    json!({"config": config, "client_options": {"allow_http": is_plain_http(server)}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(secret: &str) -> Session {
        let server = S3Server { endpoint: Some("http://h:1".into()), region: "r".into(), style: Style::Path };
        let key =
            Key { access_key_id: "A".into(), secret: Secret::new(secret.into()), token: None, ends_seconds: Some(0) };
        Session {
            name: "n".into(),
            below: None,
            ends_seconds: Some(0),
            server: Server::S3(server),
            held: Held::Key(key),
        }
    }

    #[test]
    fn a_shell_takes_the_lines_for_what_they_are() {
        let text = Form::Env.text(&session("a'b $(c)")).unwrap();
        assert!(text.reveal().contains("export AWS_SECRET_ACCESS_KEY='a'\\''b $(c)'\n"));
        assert!(text.reveal().contains("unset AWS_SESSION_TOKEN\n"));
    }

    #[test]
    fn what_would_become_another_line_is_refused() {
        for form in [Form::Env, Form::Aws, Form::Rclone] {
            let why = form.text(&session("CANARY\nregion = x")).unwrap_err();
            assert!(!why.contains("CANARY"), "{why}");
        }
        assert!(Form::StorageOptions.text(&session("a\nb")).is_ok());
    }

    #[test]
    fn the_end_stands_with_the_key() {
        for form in [Form::Env, Form::Aws, Form::Rclone] {
            assert!(form.text(&session("s")).unwrap().reveal().contains("1970-01-01T00:00:00Z"));
        }
    }
}
