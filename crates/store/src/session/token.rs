//! Tokens for one prefix, one mode and a while, made of what somebody may do already.
//!
//! On servers of S3 a role is taken on with a policy of the session (STS AssumeRole); of Google's tokens one is exchanged for a
//! narrower one. It promises that a token which turns out to open more than was asked for is not handed on.

use frazil_model::location::{Location, Object};
use serde_json::json;

use super::policy::{Mode, of_boundary, of_session, prefix_of};
use crate::{
    bucket::{may_list, profile_of, tokens_for},
    error::StoreError,
    keys::{self, Key, assume},
    profile::{
        GoogleServer, Keys, Profile, S3Server, Server, Surroundings,
        source::{Role, Source, TokenService},
    },
    secret::Secret,
    settled::rfc3339,
    token::{self, EVERYTHING},
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What may be done with it.
    pub mode: Mode,
    /// For how long, in seconds.
    pub seconds: u64,
    /// The role that is taken on; that of the profile if it has one.
    pub role: Option<String>,
    /// Whether a token of Google that cannot be narrowed is wanted as it is.
    pub unscoped: Unscoped,
}

/// What becomes of a token that cannot be narrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unscoped {
    /// It is not handed on.
    Refused,
    /// It is handed on as it is.
    Wanted,
}

/// A token, as `profile import` takes it.
#[derive(Debug, Clone)]
pub struct Token {
    /// JSON.
    pub text: Secret,
    /// When it ends, in seconds since 1970.
    pub ends_seconds: Option<u64>,
    /// The place that it opens, as its holder will call it but for the door.
    pub opens: String,
    /// Whether it opens nothing else.
    pub is_narrow: bool,
    /// The policy that it was made with.
    pub policy: String,
}

/// Why there is no token.
#[derive(Debug)]
pub enum NoToken {
    /// Nobody signs at the place.
    Store(StoreError),
    /// What is wrong, and what to do.
    Refused {
        /// In words that hold no secret.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl From<StoreError> for NoToken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn refused(why: impl Into<String>, hint: &'static str) -> NoToken {
    NoToken::Refused { why: why.into(), hint }
}

/// Makes a token for what lies below a place.
///
/// # Errors
/// If nobody signs there, or no narrower token can be had.
pub fn make(object: &Object, wish: &Wish) -> Result<Token, NoToken> {
    let profile = profile_of(object)?;
    let (bucket, key) = match &profile.below {
        Some(below) => {
            let (bucket, rest) = below.split_once('/').unwrap_or((below, ""));
            let parts: Vec<&str> = [rest, &object.key].into_iter().filter(|part| !part.is_empty()).collect();
            (bucket.to_owned(), parts.join("/"))
        }
        None => (object.bucket.clone(), object.key.clone()),
    };
    let prefix = prefix_of(&key).map_err(|why| refused(why, "name a folder"))?;
    match &profile.server {
        Server::S3(server) => of_role(object, &profile, server, (&bucket, &prefix), wish),
        Server::Google(server) => of_google(object, &profile, server, (&bucket, &prefix), wish),
        Server::Azure(_) => Err(refused(
            "frazil makes no tokens for Azure",
            "make a signature with `az storage container generate-sas`",
        )),
    }
}

fn of_role(
    object: &Object,
    profile: &Profile,
    server: &S3Server,
    (bucket, prefix): (&str, &str),
    wish: &Wish,
) -> Result<Token, NoToken> {
    let unsigned = |why| StoreError::Unsigned { location: Location::Object(object.clone()), why };
    let known = match &profile.keys {
        Keys::Got(source) => match source.as_ref() {
            Source::Role(role) => Some(role.clone()),
            _ => None,
        },
        _ => None,
    };
    let from = known.as_ref().map_or(&profile.keys, |role| &role.from);
    let key = keys::got(from).map_err(unsigned)?;
    let service = known.as_ref().map_or_else(|| service(server), |role| role.service.clone());
    let arn = match (&wish.role, &known) {
        (Some(named), _) if named.starts_with("arn:") => named.clone(),
        (Some(named), _) if server.endpoint.is_some() => format!("arn:aws:iam:::role/{named}"),
        (Some(named), _) => {
            let why = format!("Amazon knows no role `{named}` without its account");
            return Err(refused(why, "name it as `--role arn:aws:iam::ACCOUNT:role/NAME`"));
        }
        (None, Some(role)) => role.arn.clone(),
        (None, None) => {
            let why = format!("profile `{}` has no role that could be taken on", profile.name);
            return Err(refused(
                why,
                "name one with `--role`: who keeps the bucket makes it once, with what its tokens may do at most (docs/credentials.md)",
            ));
        }
    };
    let policy = of_session(bucket, prefix, wish.mode);
    let external_id = known.as_ref().and_then(|role| role.external_id.clone());
    let session_name = known.as_ref().and_then(|role| role.session_name.clone());
    let seconds = Some(wish.seconds);
    let role =
        Role { arn, session_name, external_id, duration_seconds: seconds, service, from: Box::new(from.clone()) };
    let key = assume(&role, &key, Some(&policy)).map_err(|why| {
        refused(why, "does that role let this profile take it on (its trust policy), for that long (`--for`)?")
    })?;
    let may_list = |prefix| may_list(object, profile, (bucket, prefix), &key);
    if !prefix.is_empty() && may_list("")? {
        return Err(refused(
            "the server takes no notice of what a token is asked to be for: it may list the whole bucket",
            "it is not handed on; ask who keeps the server for keys of their own",
        ));
    }
    if wish.mode != Mode::Deliver && !may_list(prefix)? {
        return Err(refused(
            format!("the token would open nothing: the role may not list `{bucket}/{prefix}`"),
            "it is not handed on; name a role that may use that bucket with `--role`",
        ));
    }
    Ok(of_key(server, &key, (bucket, prefix), wish.mode, policy))
}

/// Who gives keys for roles: Amazon has a server of its own for that, others the same.
fn service(server: &S3Server) -> TokenService {
    let region = server.region.clone();
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    let surroundings = Surroundings::of_process();
    let usual = || format!("https://sts.{region}.amazonaws.com{end}");
    let named = surroundings.variable("AWS_ENDPOINT_URL_STS").map(str::to_owned);
    let endpoint = named.or_else(|| server.endpoint.clone().filter(|endpoint| !endpoint.contains(".amazonaws.com")));
    TokenService { endpoint: endpoint.unwrap_or_else(usual), region }
}

fn of_key(server: &S3Server, key: &Key, (bucket, prefix): (&str, &str), mode: Mode, policy: String) -> Token {
    let opens = format!("s3://{bucket}/{prefix}");
    // `Version` makes it what a `credential_process` prints.
    let mut said = json!({
        "Version": 1, "AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret.reveal(),
        "SessionToken": key.token.as_ref().map(Secret::reveal), "Expiration": key.ends_seconds.map(rfc3339),
        "region": server.region, "opens": opens, "mode": mode.shown(),
    });
    if let Some(endpoint) = &server.endpoint {
        said["endpoint_url"] = json!(endpoint);
    }
    let text = Secret::new(format!("{said:#}\n"));
    Token { text, ends_seconds: key.ends_seconds, opens: format!("{bucket}/{prefix}"), is_narrow: true, policy }
}

fn of_google(
    object: &Object,
    profile: &Profile,
    server: &GoogleServer,
    (bucket, prefix): (&str, &str),
    wish: &Wish,
) -> Result<Token, NoToken> {
    let Keys::Token(grant) = &profile.keys else {
        return Err(refused(format!("profile `{}` has no token", profile.name), "sign in with `gcloud` first"));
    };
    let boundary = of_boundary(bucket, prefix, wish.mode);
    let narrowed =
        tokens_for(grant, EVERYTHING).and_then(|(wide, ends)| Ok((token::narrowed(grant, &wide, &boundary)?, ends)));
    let (token, ends_seconds, is_narrow) = match (narrowed, wish.unscoped) {
        (Ok((narrow, ends)), _) => (narrow.token, narrow.ends_seconds.or(ends), true),
        (Err(_), Unscoped::Wanted) => {
            let unsigned = |why| StoreError::Unsigned { location: Location::Object(object.clone()), why };
            let (wide, ends) = tokens_for(grant, crate::bucket::GOOGLE_SCOPE).map_err(unsigned)?;
            (wide, ends, false)
        }
        (Err(why), Unscoped::Refused) => {
            return Err(refused(
                format!("the token could not be narrowed to {bucket}/{prefix}: {why}"),
                "`--unscoped` hands the token on as it is; it opens all that the account may",
            ));
        }
    };
    let opens = if is_narrow { format!("gs://{bucket}/{prefix}") } else { "gs://".to_owned() };
    let mode = if is_narrow { wish.mode.shown() } else { "all that the account may" };
    let mut said = json!({
        "access_token": token.reveal(), "expiry": ends_seconds.map(rfc3339), "endpoint": "gs://", "opens": opens, "mode": mode,
    });
    if let Some(project) = &server.project {
        said["quota_project_id"] = json!(project);
    }
    let text = Secret::new(format!("{said:#}\n"));
    let opens = if is_narrow { format!("{bucket}/{prefix}") } else { String::new() };
    Ok(Token { text, ends_seconds, opens, is_narrow, policy: boundary.to_string() })
}
