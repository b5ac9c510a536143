//! Profiles of the AWS tools: the environment, `~/.aws/credentials` and `~/.aws/config`.
//!
//! Source: the AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Precedence of settings" and
//! "Service-specific endpoints".

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Keys, Origin, Profile, S3Server, Server, Style, Surroundings,
    ini::{Section, sections_of},
};
use crate::secret::Secret;

/// The region that is signed for when none is named; servers other than Amazon's take it.
const USUAL_REGION: &str = "us-east-1";

/// Ways to get keys that are named and not yet followed.
const NOT_FOLLOWED: [&str; 5] =
    ["role_arn", "sso_session", "sso_account_id", "credential_process", "web_identity_token_file"];

/// What both files say of one profile.
#[derive(Default)]
struct Both {
    credentials: Option<(PathBuf, Section)>,
    config: Option<(PathBuf, Section)>,
}

impl Both {
    /// Keys are looked for where they belong first.
    fn sections(&self) -> impl Iterator<Item = &Section> {
        self.credentials.iter().chain(&self.config).map(|(_, section)| section)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.sections().find_map(|section| section.text(key))
    }
}

/// The profiles of both files, by name.
pub(super) fn profiles(surroundings: &Surroundings, unread: &mut Vec<(PathBuf, String)>) -> Vec<Profile> {
    let mut found: BTreeMap<String, Both> = BTreeMap::new();
    let mut services: BTreeMap<String, Section> = BTreeMap::new();
    let mut read = |path: Option<PathBuf>| -> Vec<(PathBuf, Section)> {
        let Some(path) = path else { return Vec::new() };
        match sections_of(&path) {
            Ok(sections) => sections.into_iter().map(|section| (path.clone(), section)).collect(),
            Err(reason) => {
                unread.push((path, reason));
                Vec::new()
            }
        }
    };
    for (path, section) in read(surroundings.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")) {
        let name = section.name.clone();
        found.entry(name).or_default().credentials = Some((path, section));
    }
    for (path, section) in read(surroundings.file("AWS_CONFIG_FILE", ".aws/config")) {
        let (kind, name) = section.name.split_once(' ').unwrap_or(("", &section.name));
        let name = name.trim().to_owned();
        match kind {
            "services" => {
                services.insert(name, section);
            }
            "profile" => found.entry(name).or_default().config = Some((path, section)),
            "" if name == "default" => found.entry(name).or_default().config = Some((path, section)),
            _ => {}
        }
    }
    found.into_iter().filter_map(|(name, both)| profile(name, &both, &services, surroundings)).collect()
}

fn profile(
    name: String,
    both: &Both,
    services: &BTreeMap<String, Section>,
    surroundings: &Surroundings,
) -> Option<Profile> {
    let (path, section) = both.credentials.as_ref().or(both.config.as_ref())?;
    let of_service = both.text("services").and_then(|name| services.get(name)?.text("s3.endpoint_url"));
    let is_ignored = surroundings.variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|text| text == "true");
    let named = [of_service, both.text("s3.endpoint_url"), both.text("endpoint_url")].into_iter().flatten().next();
    let endpoint = endpoint_of_environment(surroundings).or(named.filter(|_| !is_ignored));
    Some(Profile {
        name,
        origin: Origin::File { path: path.clone(), line: section.line },
        server: Server::S3(S3Server {
            style: style(endpoint, both.text("s3.addressing_style")),
            endpoint: endpoint.map(str::to_owned),
            region: region_of_environment(surroundings).or(both.text("region")).unwrap_or(USUAL_REGION).to_owned(),
        }),
        keys: keys(both),
        below: None,
    })
}

fn keys(both: &Both) -> Keys {
    // A key and its secret stand in one file.
    let fixed = both.sections().find_map(|section| {
        Some(Keys::Fixed {
            access_key_id: section.text("aws_access_key_id")?.to_owned(),
            secret: section.secret("aws_secret_access_key")?,
            token: section.secret("aws_session_token"),
        })
    });
    fixed.unwrap_or_else(|| {
        let way = NOT_FOLLOWED.into_iter().find(|key| both.text(key).is_some());
        let why = match way {
            Some(key) => format!("it gets its keys by `{key}`, which frazil does not follow yet"),
            None => "it has no `aws_access_key_id` and `aws_secret_access_key`".to_owned(),
        };
        Keys::Missing { why }
    })
}

/// Where the name of a bucket stands. Servers other than Amazon's rarely have a name for each bucket.
fn style(endpoint: Option<&str>, said: Option<&str>) -> Style {
    match said {
        Some("path") => Style::Path,
        Some("virtual") => Style::Host,
        _ if endpoint.is_some() => Style::Path,
        _ => Style::Host,
    }
}

fn endpoint_of_environment(surroundings: &Surroundings) -> Option<&str> {
    surroundings.variable("AWS_ENDPOINT_URL_S3").or_else(|| surroundings.variable("AWS_ENDPOINT_URL"))
}

fn region_of_environment(surroundings: &Surroundings) -> Option<&str> {
    surroundings.variable("AWS_REGION").or_else(|| surroundings.variable("AWS_DEFAULT_REGION"))
}

/// The name of the profile that is in force.
pub(super) fn default_name(surroundings: &Surroundings) -> String {
    let named = surroundings.variable("AWS_PROFILE").or_else(|| surroundings.variable("AWS_DEFAULT_PROFILE"));
    named.unwrap_or("default").to_owned()
}

/// The keys of the environment, with the server and the region that the profile in force names besides.
pub(super) fn of_environment(surroundings: &Surroundings) -> Option<Profile> {
    let keys = Keys::Fixed {
        access_key_id: surroundings.variable("AWS_ACCESS_KEY_ID")?.to_owned(),
        secret: Secret::new(surroundings.variable("AWS_SECRET_ACCESS_KEY")?.to_owned()),
        token: surroundings.variable("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned())),
    };
    Some(Profile { name: "environment".into(), origin: Origin::Environment, keys, ..bare(surroundings) })
}

/// A server without keys: the one of the profile in force.
pub(super) fn bare(surroundings: &Surroundings) -> Profile {
    let name = default_name(surroundings);
    let in_force = profiles(surroundings, &mut Vec::new()).into_iter().find(|profile| profile.name == name);
    in_force.unwrap_or_else(|| {
        let endpoint = endpoint_of_environment(surroundings);
        Profile {
            name,
            origin: Origin::Environment,
            server: Server::S3(S3Server {
                style: style(endpoint, None),
                endpoint: endpoint.map(str::to_owned),
                region: region_of_environment(surroundings).unwrap_or(USUAL_REGION).to_owned(),
            }),
            keys: Keys::Missing { why: "there are none".into() },
            below: None,
        }
    })
}
