//! Profiles of the AWS tools: the environment, `~/.aws/credentials` and `~/.aws/config`.
//!
//! Source: the AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Precedence of settings" and
//! "Service-specific endpoints". How a profile gets its keys is in `ways.rs`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Keys, Known, Origin, Profile, S3Server, Server, Style, Surroundings,
    ini::{Section, sections_of},
    ways,
};
use crate::{keys::seconds_of, secret::Secret};

/// The region that is signed for when none is named; servers other than Amazon's take it.
pub(super) const USUAL_REGION: &str = "us-east-1";

/// What both files say of one profile.
#[derive(Default)]
pub(super) struct Both {
    pub credentials: Option<(PathBuf, Section)>,
    pub config: Option<(PathBuf, Section)>,
}

impl Both {
    /// Keys are looked for where they belong first.
    fn sections(&self) -> impl Iterator<Item = &Section> {
        self.credentials.iter().chain(&self.config).map(|(_, section)| section)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.sections().find_map(|section| section.text(key))
    }

    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.sections().find_map(|section| section.secret(key))
    }

    fn is_on(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }
}

/// What the files of the AWS tools say.
#[derive(Default)]
pub(super) struct Files {
    pub profiles: BTreeMap<String, Both>,
    services: BTreeMap<String, Section>,
    pub sessions: BTreeMap<String, Section>,
}

impl Files {
    /// Reads them; `credentials` may lie elsewhere.
    pub fn read(surroundings: &Surroundings, credentials: Option<&Path>, known: &mut Known) -> Self {
        let mut files = Self::default();
        let mut read = |path: Option<PathBuf>| -> Vec<(PathBuf, Section)> {
            let Some(path) = path else { return Vec::new() };
            known.files.push(path.clone());
            match sections_of(&path) {
                Ok(sections) => sections.into_iter().map(|section| (path.clone(), section)).collect(),
                Err(reason) => {
                    known.unread.push((path, reason));
                    Vec::new()
                }
            }
        };
        let usual = || surroundings.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        for (path, section) in read(credentials.map(Path::to_owned).or_else(usual)) {
            let name = section.name.clone();
            files.profiles.entry(name).or_default().credentials = Some((path, section));
        }
        for (path, section) in read(surroundings.file("AWS_CONFIG_FILE", ".aws/config")) {
            let (kind, name) = section.name.split_once(' ').unwrap_or(("", &section.name));
            let name = name.trim().trim_matches(['"', '\'']).to_owned();
            match kind {
                "services" => {
                    files.services.insert(name, section);
                }
                "sso-session" => {
                    files.sessions.insert(name, section);
                }
                "profile" => files.profiles.entry(name).or_default().config = Some((path, section)),
                "" if name == "default" => files.profiles.entry(name).or_default().config = Some((path, section)),
                _ => {}
            }
        }
        files
    }

    /// The profiles, each with the way it gets its keys.
    pub fn profiles(&self, surroundings: &Surroundings) -> Vec<Profile> {
        let names = self.profiles.iter();
        names.filter_map(|(name, both)| self.profile(name, both, surroundings)).collect()
    }

    fn profile(&self, name: &str, both: &Both, surroundings: &Surroundings) -> Option<Profile> {
        let (path, section) = both.credentials.as_ref().or(both.config.as_ref())?;
        let region = self.region(both, surroundings);
        let named = self.endpoint(both, surroundings, "s3").map(str::to_owned);
        let endpoint = named.or_else(|| special_endpoint(both, surroundings, &region));
        let keys = ways::keys(self, name, surroundings, 0);
        let style = match endpoint.as_deref() {
            Some(endpoint) if is_amazon(endpoint) => style(None, both.text("s3.addressing_style")),
            endpoint => style(endpoint, both.text("s3.addressing_style")),
        };
        Some(Profile {
            name: name.to_owned(),
            origin: Origin::File { path: path.clone(), line: section.line },
            server: Server::S3(S3Server { style, endpoint, region }),
            keys,
            below: None,
        })
    }

    pub fn region(&self, both: &Both, surroundings: &Surroundings) -> String {
        region_of_environment(surroundings).or(both.text("region")).unwrap_or(USUAL_REGION).to_owned()
    }

    /// The server of a service: what the environment says of it and of all, then what the profile says.
    pub fn endpoint<'a>(&'a self, both: &'a Both, surroundings: &'a Surroundings, service: &str) -> Option<&'a str> {
        let is_ignored =
            surroundings.is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") || both.is_on("ignore_configured_endpoint_urls");
        if is_ignored {
            return None;
        }
        let key = format!("{service}.endpoint_url");
        let of_services = || both.text("services").and_then(|name| self.services.get(name)?.text(&key));
        endpoint_of_environment(surroundings, service)
            .or_else(of_services)
            .or_else(|| both.text(&key))
            .or_else(|| both.text("endpoint_url"))
    }
}

/// Amazon's own servers of another kind, where a switch wants one.
fn special_endpoint(both: &Both, surroundings: &Surroundings, region: &str) -> Option<String> {
    let is_on = |variable: &str, key: &str| match surroundings.variable(variable) {
        Some(_) => surroundings.is_on(variable),
        None => both.is_on(key),
    };
    let fips = if is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint") { "-fips" } else { "" };
    let is_dual =
        is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint") || both.is_on("s3.use_dualstack_endpoint");
    let dual = if is_dual { ".dualstack" } else { "" };
    (!fips.is_empty() || is_dual).then(|| format!("https://s3{fips}{dual}.{region}.amazonaws.com"))
}

/// Whether a server is Amazon's.
fn is_amazon(endpoint: &str) -> bool {
    let host = endpoint.split("://").last().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
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

fn endpoint_of_environment<'a>(surroundings: &'a Surroundings, service: &str) -> Option<&'a str> {
    let of_service = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
    surroundings.variable(&of_service).or_else(|| surroundings.variable("AWS_ENDPOINT_URL"))
}

fn region_of_environment(surroundings: &Surroundings) -> Option<&str> {
    surroundings.variable("AWS_REGION").or_else(|| surroundings.variable("AWS_DEFAULT_REGION"))
}

/// The name of the profile that is in force.
pub(super) fn default_name(surroundings: &Surroundings) -> String {
    let named = surroundings.variable("AWS_PROFILE").or_else(|| surroundings.variable("AWS_DEFAULT_PROFILE"));
    named.unwrap_or("default").to_owned()
}

/// The keys of the environment; `None` if it has none at all.
pub(super) fn keys_of_environment(surroundings: &Surroundings) -> Option<Keys> {
    match (surroundings.variable("AWS_ACCESS_KEY_ID"), surroundings.variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Some(Keys::Fixed {
            access_key_id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
            token: surroundings.variable("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned())),
            // As the AWS tools and frazil itself export it.
            ends_seconds: surroundings.variable("AWS_CREDENTIAL_EXPIRATION").and_then(seconds_of),
        }),
        // A half of a key is a mistake, not a wish for the next in line.
        (Some(_), None) => {
            Some(Keys::Missing { why: "`AWS_ACCESS_KEY_ID` is set and `AWS_SECRET_ACCESS_KEY` is not".into() })
        }
        (None, Some(_)) => {
            Some(Keys::Missing { why: "`AWS_SECRET_ACCESS_KEY` is set and `AWS_ACCESS_KEY_ID` is not".into() })
        }
        (None, None) => None,
    }
}

/// The same with the server and the region that the profile in force names besides.
pub(super) fn of_environment(surroundings: &Surroundings) -> Option<Profile> {
    let keys = keys_of_environment(surroundings)?;
    Some(Profile { name: "environment".into(), origin: Origin::Environment, keys, ..bare(surroundings) })
}

/// What the environment can sign with if no profile can: a token of an identity, or the server of a container.
pub(super) fn of_machine(surroundings: &Surroundings) -> Option<Profile> {
    let files = Files::read(surroundings, None, &mut Known::default());
    let keys = ways::of_machine(&files, surroundings)?;
    Some(Profile { name: "environment".into(), origin: Origin::Environment, keys, ..bare(surroundings) })
}

/// A server without keys: the one of the profile in force.
pub(super) fn bare(surroundings: &Surroundings) -> Profile {
    let name = default_name(surroundings);
    let files = Files::read(surroundings, None, &mut Known::default());
    let in_force = files.profiles(surroundings).into_iter().find(|profile| profile.name == name);
    in_force.unwrap_or_else(|| {
        let nothing = Both::default();
        let region = files.region(&nothing, surroundings);
        let named = files.endpoint(&nothing, surroundings, "s3").map(str::to_owned);
        let style = style(named.as_deref(), None);
        let endpoint = named.or_else(|| special_endpoint(&nothing, surroundings, &region));
        Profile {
            name,
            origin: Origin::Environment,
            server: Server::S3(S3Server { style, endpoint, region }),
            keys: Keys::Missing { why: "there are none".into() },
            below: None,
        }
    })
}
