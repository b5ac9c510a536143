//! Credentials of Google: the environment, the files of its tools, and remotes of rclone.
//!
//! Source: Google Cloud, "How Application Default Credentials works", the properties of `gcloud`, and the rclone
//! documentation, "Google Cloud Storage". The machine that runs us is asked only where `GCE_METADATA_HOST` names it.

use std::path::Path;

use super::{
    GoogleServer, Keys, Origin, Profile, Server, Surroundings,
    grant::{GoogleCredentials, Grant, of_google_json, of_pasted, text_of},
    ini::Section,
};
use crate::secret::Secret;

/// The name of what Google's own libraries would take.
pub(super) const NAME: &str = "google";

/// A token in the environment, as `gcloud` and others take one.
const TOKEN_VARIABLES: [&str; 2] = ["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"];

/// What the libraries of Google would take; `None` if there is nothing of the kind.
pub(super) fn in_force(surroundings: &Surroundings) -> Option<Profile> {
    let given = TOKEN_VARIABLES.iter().find_map(|name| Some((*name, surroundings.variable(name)?)));
    if let Some((name, text)) = given {
        return Some(profile(surroundings, Origin::Environment, pasted(text).map_err(|why| format!("{name}: {why}"))));
    }
    if let Some(path) = surroundings.variable("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE") {
        let path = surroundings.at_home(path);
        let origin = Origin::File { path: path.clone(), line: 1 };
        return Some(profile(surroundings, origin, Ok(bare(Grant::File { path }))));
    }
    if let Some(path) = surroundings.variable("GOOGLE_APPLICATION_CREDENTIALS") {
        return Some(of_file(surroundings, &surroundings.at_home(path)));
    }
    let folder = match surroundings.variable("CLOUDSDK_CONFIG") {
        Some(path) => Some(surroundings.at_home(path)),
        None => surroundings.home.as_ref().map(|home| home.join(".config/gcloud")),
    };
    if let Some(path) = folder.map(|folder| folder.join("application_default_credentials.json"))
        && path.symlink_metadata().is_ok()
    {
        return Some(of_file(surroundings, &path));
    }
    surroundings.variable("GCE_METADATA_HOST").map(|host| {
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
        let header = ("metadata-flavor", Secret::new("Google".into()));
        profile(surroundings, Origin::Environment, Ok(bare(Grant::Machine { url, header })))
    })
}

/// The server alone, for whoever signs nothing.
pub(super) fn unsigned(surroundings: &Surroundings) -> Profile {
    let missing = Err("there are no credentials of Google".to_owned());
    in_force(surroundings).unwrap_or_else(|| profile(surroundings, Origin::Environment, missing))
}

fn bare(grant: Grant) -> GoogleCredentials {
    GoogleCredentials { grant, quota_project: None }
}

fn pasted(text: &str) -> Result<GoogleCredentials, String> {
    let (token, ends_seconds) = of_pasted(text)?;
    Ok(bare(Grant::Given { token, ends_seconds }))
}

fn of_file(surroundings: &Surroundings, path: &Path) -> Profile {
    let origin = Origin::File { path: path.to_owned(), line: 1 };
    let read = text_of(path).and_then(|text| of_google_json(&text, surroundings));
    profile(surroundings, origin, read)
}

fn profile(surroundings: &Surroundings, origin: Origin, read: Result<GoogleCredentials, String>) -> Profile {
    let named = ["GOOGLE_CLOUD_QUOTA_PROJECT", "CLOUDSDK_BILLING_QUOTA_PROJECT"];
    let named = named.iter().find_map(|name| surroundings.variable(name)).map(str::to_owned);
    let project = named.or_else(|| read.as_ref().ok()?.quota_project.clone());
    let keys = match read {
        Ok(credentials) => Keys::Token(credentials.grant),
        Err(why) => Keys::Missing { why },
    };
    let owner = owner(surroundings).or_else(|| project.clone());
    let server = Server::Google(GoogleServer { endpoint: emulator(surroundings), project, owner });
    Profile { name: NAME.into(), origin, server, keys, below: None }
}

fn owner(surroundings: &Surroundings) -> Option<String> {
    let named = ["GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"];
    named.iter().find_map(|name| surroundings.variable(name)).map(str::to_owned)
}

/// Where the libraries of Google are told to find their server.
fn emulator(surroundings: &Surroundings) -> Option<String> {
    let host = surroundings.variable("STORAGE_EMULATOR_HOST")?;
    Some(if host.contains("://") { host.to_owned() } else { format!("http://{host}") })
}

/// A remote of rclone.
pub(super) fn of_remote(section: &Section, surroundings: &Surroundings) -> Profile {
    let (keys, project) = match credentials(section, surroundings) {
        Ok(Some(credentials)) => (Keys::Token(credentials.grant), credentials.quota_project),
        Ok(None) => (Keys::Anonymous, None),
        Err(why) => (Keys::Missing { why }, None),
    };
    let endpoint = section.text("endpoint").map(super::rclone::with_scheme).or_else(|| emulator(surroundings));
    let project = section.text("user_project").map(str::to_owned).or(project);
    let owner = section.text("project_number").map(str::to_owned).or_else(|| owner(surroundings));
    let server = Server::Google(GoogleServer { endpoint, project, owner });
    Profile { name: section.name.clone(), origin: Origin::Environment, server, keys, below: None }
}

/// What a remote is opened with, in the order of rclone; `None`: nothing, because that is wished there.
fn credentials(section: &Section, surroundings: &Surroundings) -> Result<Option<GoogleCredentials>, String> {
    if section.is_on("anonymous") {
        return Ok(None);
    }
    if let Some(text) = section.text("service_account_credentials") {
        return of_google_json(text, surroundings)
            .map(Some)
            .map_err(|why| format!("`service_account_credentials`: {why}"));
    }
    if let Some(path) = section.text("service_account_file") {
        let path = surroundings.at_home(path);
        let read = text_of(&path).and_then(|text| of_google_json(&text, surroundings));
        return read.map(Some).map_err(|why| format!("{}: {why}", path.display()));
    }
    if section.is_on("env_auth") {
        let found = in_force(surroundings).ok_or("`env_auth` is on, and there are no credentials of Google")?;
        let (keys, server) = (found.keys, found.server);
        return match (keys, server) {
            (Keys::Token(grant), Server::Google(server)) => {
                Ok(Some(GoogleCredentials { grant, quota_project: server.project }))
            }
            (Keys::Missing { why }, _) => Err(format!("{}: {why}", found.origin)),
            _ => Err("`env_auth` is on, and there are no credentials of Google".into()),
        };
    }
    if let Some(token) = section.text("access_token") {
        return pasted(token).map(Some).map_err(|why| format!("`access_token`: {why}"));
    }
    match section.text("token") {
        Some(token) => of_token(section, token).map(Some),
        None => Err("it has no credentials; rclone would ask for a sign-in".into()),
    }
}

/// The token that rclone got by a sign-in. It can be renewed only for a program that is named beside it.
fn of_token(section: &Section, text: &str) -> Result<GoogleCredentials, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| "its `token` is not JSON".to_owned())?;
    let refresh = value.get("refresh_token").and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let grant = match (refresh, section.text("client_id")) {
        (Some(refresh), Some(client_id)) => Grant::Refresh {
            url: section.text("token_url").unwrap_or("https://oauth2.googleapis.com/token").to_owned(),
            client_id: client_id.to_owned(),
            client_secret: section.secret("client_secret"),
            refresh_token: Secret::new(refresh.to_owned()),
        },
        _ => return pasted(text).map_err(|why| format!("its `token`: {why}")),
    };
    Ok(bare(grant))
}
