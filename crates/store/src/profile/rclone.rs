//! Remotes of rclone, from `rclone.conf` and from variables: of type `s3`, `google cloud storage`, `azureblob`, `http` and `alias`.
//!
//! It promises that a remote that is not followed is named with the reason, and that variables come before the file, as
//! they do for rclone. Source: the rclone documentation, "Environment Variables", "Amazon S3 Storage Providers", "HTTP"
//! and "Alias". Keys of `s3` remotes stand there as they are.

use std::{path::PathBuf, time::SystemTime};

use super::{
    Keys, Known, NotFollowed, Origin, Profile, S3Server, Server, Style, Surroundings, WebRemote,
    aws::{self, Files, USUAL_REGION},
    azure, google, import,
    ini::{Section, sections_of},
};
use crate::{
    keys::{now_seconds, seconds_of},
    secret::{Secret, shown_kind, shown_name},
};

/// How often one alias may lead to another.
const MOST_ALIASES: usize = 8;

/// What variables of all `s3` remotes may say.
const SETTINGS: [&str; 16] = [
    "provider",
    "env_auth",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "profile",
    "shared_credentials_file",
    "endpoint",
    "region",
    "force_path_style",
    "v2_auth",
    "use_dual_stack",
    "sse_customer_key",
    "sse_customer_key_base64",
    "use_accelerate_endpoint",
    "type",
];

/// Providers whose servers want the bucket in the name of the host.
const BUCKET_IN_HOST: [&str; 4] = ["AWS", "Alibaba", "HuaweiOBS", "TencentCOS"];

/// A remote: a section of the file, with what variables say of it.
pub(super) struct Remote {
    pub section: Section,
    pub origin: Origin,
}

/// All remotes, in the order of the file; those of variables alone come last.
pub(super) fn sections(surroundings: &Surroundings, known: &mut Known) -> Vec<Remote> {
    let mut found = Vec::new();
    // What frazil was told to keep has the same form, and comes first.
    let own = import::file(surroundings).filter(|path| path.exists());
    for path in own.iter().cloned().chain(file(surroundings)) {
        known.files.push(path.clone());
        let is_private = if own.as_ref() == Some(&path) { import::is_private(&path) } else { Ok(()) };
        let sections = is_private.and_then(|()| sections_of(&path)).unwrap_or_else(|reason| {
            known.unread.push((path.clone(), reason));
            Vec::new()
        });
        for section in sections {
            let origin = Origin::File { path: path.clone(), line: section.line };
            found.push(Remote { section, origin });
        }
    }
    for name in surroundings.names() {
        let kind = name.strip_prefix("RCLONE_CONFIG_").and_then(|rest| rest.strip_suffix("_TYPE"));
        let Some(remote) = kind.filter(|remote| !remote.is_empty()) else { continue };
        if !found.iter().any(|known: &Remote| in_variables(&known.section.name) == remote) {
            let mut section = Section::default();
            section.name = remote.to_lowercase();
            found.push(Remote { section, origin: Origin::Environment });
        }
    }
    for remote in &mut found {
        let prefix = format!("RCLONE_CONFIG_{}_", in_variables(&remote.section.name));
        for (name, value) in surroundings.beginning_with(&prefix) {
            let key = name.get(prefix.len()..).unwrap_or_default().to_lowercase();
            remote.section.set(key, Secret::new(value.to_owned()));
        }
        if remote.section.text("type") != Some("s3") {
            continue;
        }
        for key in SETTINGS {
            let is_said = surroundings.variable(&format!("{prefix}{}", key.to_uppercase())).is_some();
            let of_all = surroundings.variable(&format!("RCLONE_S3_{}", key.to_uppercase()));
            if let (Some(value), false) = (of_all, is_said) {
                remote.section.set(key.to_owned(), Secret::new(value.to_owned()));
            }
        }
    }
    found
}

/// The name of a remote as variables have it.
fn in_variables(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The remotes that lead to buckets; the others are noted with the reason.
pub(super) fn remotes(surroundings: &Surroundings, files: &Files, known: &mut Known) -> Vec<Profile> {
    let all = sections(surroundings, known);
    let mut found = Vec::new();
    for remote in &all {
        let profile = followed(remote, &all).and_then(|(section, below)| {
            let profile = match section.text("type") {
                Some("http") => {
                    let web = WebRemote::of(section, &remote.section.name, &remote.origin, below.as_deref())?;
                    known.web.push(web);
                    return Ok(None);
                }
                Some("google cloud storage") => google::of_remote(section, surroundings),
                Some("azureblob") => azure::of_remote(section, surroundings),
                _ => of_s3(section, surroundings, files, known)?,
            };
            Ok(Some(Profile { name: remote.section.name.clone(), origin: remote.origin.clone(), below, ..profile }))
        });
        match profile {
            Ok(profile) => found.extend(profile),
            Err(why) => known.not_followed.push(NotFollowed {
                name: remote.section.name.clone(),
                kind: shown_kind(remote.section.text("type").unwrap_or("no")).to_owned(),
                origin: remote.origin.clone(),
                why,
            }),
        }
    }
    found
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

/// The remote that a section is or leads to, and the place there that its paths start from.
fn followed<'a>(remote: &'a Remote, all: &'a [Remote]) -> Result<(&'a Section, Option<String>), String> {
    let (mut section, mut below) = (&remote.section, String::new());
    for _ in 0..MOST_ALIASES {
        match section.text("type") {
            Some("s3" | "http" | "google cloud storage" | "azureblob") => {
                return Ok((section, Some(below).filter(|below| !below.is_empty())));
            }
            Some("alias") => {
                let target = section.text("remote").ok_or("it is an alias of nothing")?;
                let Some((name, path)) = target.split_once(':').filter(|(name, _)| !name.contains('/')) else {
                    return Err("it is an alias of a folder on this machine; name that folder".into());
                };
                if name.is_empty() || name.contains(',') {
                    return Err(
                        "it is an alias of a remote with settings in its name, which frazil does not read".into()
                    );
                }
                let parts = [path.trim_matches('/'), &below];
                below = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
                let next = all.iter().find(|other| other.section.name == name);
                section = &next
                    .ok_or_else(|| format!("it is an alias of `{}:`, which there is not", shown_name(name)))?
                    .section;
            }
            Some("crypt") => {
                return Err("it is encrypted, and what is stored there are no files that frazil knows".into());
            }
            Some("chunker") => return Err("it cuts files in pieces of its own".into()),
            Some("compress") => return Err("it compresses files in a way of its own".into()),
            Some("union" | "combine") => {
                return Err("it joins several remotes; name the one that holds the data".into());
            }
            Some("cache") => return Err("it is a cache; name the remote behind it".into()),
            Some("hasher") => return Err("it adds digests to another remote; name that remote".into()),
            Some(kind) => return Err(format!("frazil does not speak with servers of type `{}`", shown_kind(kind))),
            None => return Err("it has no `type`".into()),
        }
    }
    Err(format!("it is an alias that leads on more than {MOST_ALIASES} times"))
}

fn of_s3(section: &Section, surroundings: &Surroundings, files: &Files, known: &mut Known) -> Result<Profile, String> {
    for key in ["sse_customer_key", "sse_customer_key_base64"] {
        if section.text(key).is_some() {
            return Err(format!("its objects are encrypted with a key of yours (`{key}`), which frazil does not send"));
        }
    }
    if section.is_on("v2_auth") {
        return Err("it wants signatures of version 2, which are no longer safe".into());
    }
    let elsewhere = elsewhere(section, surroundings, files, known);
    let keys = match (section.text("access_key_id"), section.secret("secret_access_key"), &elsewhere) {
        (Some(id), Some(secret), _) => {
            let ends_seconds = section.text("expires").and_then(seconds_of);
            let token = section.secret("session_token");
            Keys::Fixed { access_key_id: id.to_owned(), secret, token, ends_seconds }
        }
        (None, None, Some(Ok(profile))) => profile.keys.clone(),
        (None, None, Some(Err(why))) => Keys::Missing { why: why.clone() },
        (None, None, None) if section.text("profile").is_some() => Keys::Missing {
            why: "it names a `profile` without `env_auth = true`; rclone would ask without a signature".into(),
        },
        (None, None, None) => Keys::Missing { why: "it has no keys; rclone would ask without a signature".into() },
        _ => Keys::Missing { why: "it has only one of `access_key_id` and `secret_access_key`".into() },
    };
    let server = elsewhere.and_then(Result::ok).and_then(|profile| match profile.server {
        Server::S3(server) => Some(server),
        _ => None,
    });
    let endpoint = section.text("endpoint").map(with_scheme).or_else(|| server.as_ref()?.endpoint.clone());
    let region = section.text("region").map(str::to_owned).or_else(|| server.as_ref().map(|from| from.region.clone()));
    let provider = section.text("provider").unwrap_or_default();
    let keys = match (&endpoint, provider) {
        (None, provider) if !["", "AWS", "Other"].contains(&provider) => Keys::Missing {
            why: format!("it has no `endpoint`, and its provider `{}` is not Amazon", shown_name(provider)),
        },
        _ => keys,
    };
    let ended = section.text("expires").filter(|text| {
        let ends = seconds_of(text);
        ends.is_some_and(|ends| ends <= now_seconds(SystemTime::now()))
    });
    let keys = match ended {
        Some(ended) => Keys::Missing {
            why: format!("its keys ended at {}; `frazil profile import` takes others", shown_name(ended)),
        },
        None => keys,
    };
    let is_path = match section.text("force_path_style") {
        Some(_) => section.is_on("force_path_style"),
        None => endpoint.is_some() && !BUCKET_IN_HOST.contains(&provider),
    };
    Ok(Profile {
        name: section.name.clone(),
        origin: Origin::Environment,
        server: Server::S3(S3Server {
            endpoint,
            region: region.unwrap_or_else(|| USUAL_REGION.to_owned()),
            style: if is_path { Style::Path } else { Style::Host },
        }),
        keys,
        below: None,
    })
}

/// What the AWS tools would take, if the remote says so (`env_auth`).
fn elsewhere(
    section: &Section,
    surroundings: &Surroundings,
    files: &Files,
    known: &mut Known,
) -> Option<Result<Profile, String>> {
    if !section.is_on("env_auth") {
        return None;
    }
    let named = section.text("profile").map(str::to_owned);
    if named.is_none()
        && let Some(profile) = aws::of_environment(surroundings)
    {
        return Some(Ok(profile));
    }
    let name = named.unwrap_or_else(|| aws::default_name(surroundings));
    let other = section.text("shared_credentials_file").map(|path| surroundings.at_home(path));
    let of_other = other.map(|path| Files::read(surroundings, Some(&path), known));
    let profiles = of_other.as_ref().unwrap_or(files).profiles(surroundings);
    let found = profiles.into_iter().find(|profile| profile.name == name);
    let of_machine = || section.text("profile").is_none().then(|| aws::of_machine(surroundings)).flatten();
    Some(
        found
            .or_else(of_machine)
            .ok_or_else(|| format!("`env_auth` is on, and there is no AWS profile `{}`", shown_name(&name))),
    )
}

/// rclone takes a server without a scheme for one that speaks TLS.
pub(super) fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}
