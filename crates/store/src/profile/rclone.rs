//! Remotes of rclone: `rclone.conf`, of type `s3`, `google cloud storage`, `azureblob` and `alias`.
//!
//! Source: the rclone documentation, "Amazon S3 Storage Providers" and "Alias". Keys of `s3` remotes stand there as they
//! are.

use std::path::PathBuf;

use super::{
    Keys, Origin, Profile, S3Server, Server, Style, Surroundings, aws, azure, google,
    ini::{Section, sections_of},
};

/// How often one alias may lead to another.
const MOST_ALIASES: usize = 8;

/// The remotes that lead to buckets, in the order of the file.
pub(super) fn remotes(
    surroundings: &Surroundings,
    aws: &[Profile],
    unread: &mut Vec<(PathBuf, String)>,
) -> Vec<Profile> {
    let Some(path) = file(surroundings) else { return Vec::new() };
    let sections = sections_of(&path).unwrap_or_else(|reason| {
        unread.push((path.clone(), reason));
        Vec::new()
    });
    let remote = |section: &Section| {
        let origin = Origin::File { path: path.clone(), line: section.line };
        let (server, below) = followed(section, &sections)?;
        let profile = match server.text("type") {
            Some("google cloud storage") => google::of_remote(server, surroundings),
            Some("azureblob") => azure::of_remote(server, surroundings),
            _ => of_s3(server, surroundings, aws),
        };
        Some(Profile { name: section.name.clone(), origin, below, ..profile })
    };
    sections.iter().filter_map(remote).collect()
}

fn file(surroundings: &Surroundings) -> Option<PathBuf> {
    if let Some(path) = surroundings.variable("RCLONE_CONFIG") {
        return Some(surroundings.at_home(path));
    }
    let of_home = surroundings.home.as_ref().map(|home| home.join(".config"));
    let config = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from).or(of_home)?;
    let usual = config.join("rclone/rclone.conf");
    let old = surroundings.home.as_ref().map(|home| home.join(".rclone.conf"));
    Some(old.filter(|old| !usual.exists() && old.exists()).unwrap_or(usual))
}

/// The remote of buckets that a section is or leads to, and the place there that its paths start from.
fn followed<'a>(section: &'a Section, all: &'a [Section]) -> Option<(&'a Section, Option<String>)> {
    let (mut section, mut below) = (section, String::new());
    for _ in 0..MOST_ALIASES {
        match section.text("type") {
            Some("s3" | "google cloud storage" | "azureblob") => {
                return Some((section, Some(below).filter(|below| !below.is_empty())));
            }
            Some("alias") => {
                let (name, path) = section.text("remote")?.split_once(':')?;
                let parts = [path.trim_matches('/'), &below];
                below = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
                section = all.iter().find(|other| other.name == name)?;
            }
            _ => return None,
        }
    }
    None
}

fn of_s3(section: &Section, surroundings: &Surroundings, aws: &[Profile]) -> Profile {
    // rclone takes what the AWS tools would take only if it is told so.
    let is_of_environment = section.is_on("env_auth");
    let named = section.text("profile").map(str::to_owned);
    let elsewhere = is_of_environment.then(|| {
        let name = named.clone().unwrap_or_else(|| aws::default_name(surroundings));
        let of_profile = || aws.iter().find(|profile| profile.name == name).cloned();
        let of_environment = || aws::of_environment(surroundings).filter(|_| named.is_none());
        of_environment().or_else(of_profile)
    });
    let keys = match (section.text("access_key_id"), section.secret("secret_access_key"), &elsewhere) {
        (Some(id), Some(secret), _) => {
            Keys::Fixed { access_key_id: id.to_owned(), secret, token: section.secret("session_token") }
        }
        (_, _, Some(Some(profile))) => profile.keys.clone(),
        (_, _, Some(None)) => Keys::Missing { why: "`env_auth` is on, and there are no keys for the AWS tools".into() },
        (None, None, None) => Keys::Missing { why: "it has no keys; rclone would ask without a signature".into() },
        _ => Keys::Missing { why: "it has only one of `access_key_id` and `secret_access_key`".into() },
    };
    let server = elsewhere.flatten().and_then(|profile| match profile.server {
        Server::S3(server) => Some(server),
        _ => None,
    });
    let endpoint = section.text("endpoint").map(with_scheme).or_else(|| server.as_ref()?.endpoint.clone());
    let region = section.text("region").map(str::to_owned).or_else(|| server.as_ref().map(|from| from.region.clone()));
    let is_path = match section.text("force_path_style") {
        Some(_) => section.is_on("force_path_style"),
        None => endpoint.is_some(),
    };
    Profile {
        name: section.name.clone(),
        origin: Origin::Environment,
        server: Server::S3(S3Server {
            endpoint,
            region: region.unwrap_or_else(|| "us-east-1".into()),
            style: if is_path { Style::Path } else { Style::Host },
        }),
        keys,
        below: None,
    }
}

/// rclone takes a server without a scheme for one that speaks TLS.
pub(super) fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}
