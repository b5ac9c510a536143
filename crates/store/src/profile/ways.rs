//! How an AWS profile gets its keys: the first way that it names, in the order of the AWS tools.
//!
//! It promises that a way that cannot be gone is said to be so, and that no other is taken in its place. Nothing is asked.
//! Source: the AWS SDKs and Tools Reference Guide, "Assume role", "IAM Identity Center", "Process" and "Container".

use ring::digest;

use super::{
    Keys, Surroundings,
    aws::{Both, Files, keys_of_environment},
    ini::Section,
    source::{Container, Role, SignOn, Source, TokenService, WebIdentity},
};
use crate::{
    bucket::hex,
    secret::{Secret, shown_name},
};

/// How often a role may lead to another.
const MOST_ROLES: usize = 8;

/// Where containers of Amazon ask for keys.
const CONTAINER_SERVER: &str = "http://169.254.170.2";

fn missing(why: impl Into<String>) -> Keys {
    Keys::Missing { why: why.into() }
}

fn got(source: Source) -> Keys {
    Keys::Got(Box::new(source))
}

/// The keys of the profile `name`, which `n_roles` roles led to.
pub(super) fn keys(files: &Files, name: &str, surroundings: &Surroundings, n_roles: usize) -> Keys {
    let Some(both) = files.profiles.get(name) else {
        return missing(format!("there is no AWS profile `{}`", shown_name(name)));
    };
    if let Some(arn) = both.text("role_arn") {
        return of_role(files, name, both, arn, surroundings, n_roles);
    }
    if both.text("web_identity_token_file").is_some() {
        return missing("it has a `web_identity_token_file` and no `role_arn`");
    }
    if both.text("sso_session").is_some() || both.text("sso_start_url").is_some() {
        return of_sign_on(files, name, both, surroundings);
    }
    let section =
        |place: &Option<(std::path::PathBuf, Section)>| place.as_ref().and_then(|(_, section)| fixed(section));
    if let Some(keys) = section(&both.credentials) {
        return keys;
    }
    if let Some(command) = both.secret("credential_process") {
        return got(Source::Process { command });
    }
    section(&both.config).unwrap_or_else(|| missing("it has no `aws_access_key_id` and `aws_secret_access_key`"))
}

/// A key and its secret, which stand in one section.
fn fixed(section: &Section) -> Option<Keys> {
    match (section.text("aws_access_key_id"), section.secret("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            let token = section.secret("aws_session_token");
            Some(Keys::Fixed { access_key_id: id.to_owned(), secret, token, ends_seconds: None })
        }
        (None, None) => None,
        _ => Some(missing("it has only one of `aws_access_key_id` and `aws_secret_access_key`")),
    }
}

fn of_role(files: &Files, name: &str, both: &Both, arn: &str, surroundings: &Surroundings, n_roles: usize) -> Keys {
    if both.text("mfa_serial").is_some() {
        return missing(
            "its role wants the code of a device (`mfa_serial`), which frazil does not ask for; get temporary keys with \
             `aws configure export-credentials` and use those",
        );
    }
    if n_roles >= MOST_ROLES {
        return missing(format!("its `source_profile` leads on more than {MOST_ROLES} times"));
    }
    let service = service(files, both, surroundings);
    let session_name = both.text("role_session_name").map(str::to_owned);
    let duration_seconds = match both.text("duration_seconds").map(str::parse) {
        None => None,
        Some(Ok(seconds)) => Some(seconds),
        Some(Err(_)) => return missing("its `duration_seconds` is no number"),
    };
    let arn = arn.to_owned();
    let from = match (both.text("source_profile"), both.text("credential_source"), both.text("web_identity_token_file"))
    {
        (Some(source), ..) => of_source(files, name, both, source, surroundings, n_roles),
        (None, Some("Environment"), _) => keys_of_environment(surroundings).unwrap_or_else(|| {
            missing("its `credential_source = Environment`, and there are no keys in the environment")
        }),
        (None, Some("EcsContainer"), _) => container(surroundings).unwrap_or_else(|| {
            missing("its `credential_source = EcsContainer`, and no variable names the server of a container")
        }),
        (None, Some("Ec2InstanceMetadata"), _) => missing(
            "its `credential_source = Ec2InstanceMetadata`, which frazil does not follow: it asks no metadata address of \
             a cloud for keys",
        ),
        (None, Some(_), _) => missing("its `credential_source` is none that is known"),
        (None, None, Some(path)) => {
            let token_file = surroundings.at_home(path);
            return got(Source::WebIdentity(WebIdentity { arn, session_name, duration_seconds, token_file, service }));
        }
        (None, None, None) => {
            missing("it has `role_arn` and neither `source_profile`, `credential_source` nor `web_identity_token_file`")
        }
    };
    if let Keys::Missing { why } = from {
        return missing(why);
    }
    let external_id = both.secret("external_id");
    got(Source::Role(Role { arn, session_name, external_id, duration_seconds, service, from: Box::new(from) }))
}

/// The keys of the profile that a role is taken on with; a profile may name itself, for the keys beside its role.
fn of_source(
    files: &Files,
    name: &str,
    both: &Both,
    source: &str,
    surroundings: &Surroundings,
    n_roles: usize,
) -> Keys {
    let keys = if source == name {
        let sections = both.credentials.iter().chain(&both.config);
        let own = sections.into_iter().find_map(|(_, section)| fixed(section));
        own.unwrap_or_else(|| missing("it is its own `source_profile` and has no keys"))
    } else {
        keys(files, source, surroundings, n_roles + 1)
    };
    match keys {
        Keys::Missing { why } => missing(format!("its `source_profile = {}` cannot sign: {why}", shown_name(source))),
        keys => keys,
    }
}

fn service(files: &Files, both: &Both, surroundings: &Surroundings) -> TokenService {
    let region = files.region(both, surroundings);
    let usual = || {
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        format!("https://sts.{region}.amazonaws.com{end}")
    };
    let endpoint = files.endpoint(both, surroundings, "sts").map_or_else(usual, str::to_owned);
    TokenService { endpoint, region }
}

fn of_sign_on(files: &Files, name: &str, both: &Both, surroundings: &Surroundings) -> Keys {
    let nothing = Section::default();
    let (session, cached_as) = match both.text("sso_session") {
        Some(session) => match files.sessions.get(session) {
            Some(section) => (section, session),
            None => return missing(format!("there is no `[sso-session {}]`", shown_name(session))),
        },
        None => (&nothing, both.text("sso_start_url").unwrap_or_default()),
    };
    let text = |key| both.text(key).or_else(|| session.text(key)).map(str::to_owned);
    let (Some(region), Some(account_id), Some(role_name)) =
        (text("sso_region"), text("sso_account_id"), text("sso_role_name"))
    else {
        return missing("its single sign-on lacks one of `sso_region`, `sso_account_id` and `sso_role_name`");
    };
    let Some(home) = &surroundings.home else { return missing("there is no home folder with its sign-on") };
    // The AWS tools name the file so; nothing rests on that digest.
    let named = hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, cached_as.as_bytes()).as_ref());
    let cache = home.join(".aws/sso/cache").join(format!("{named}.json"));
    let endpoint = files.endpoint(both, surroundings, "sso");
    let endpoint = endpoint.map_or_else(|| format!("https://portal.sso.{region}.amazonaws.com"), str::to_owned);
    got(Source::SignOn(SignOn { profile: name.to_owned(), cache, endpoint, account_id, role_name }))
}

/// The server that variables name to a container.
pub(super) fn container(surroundings: &Surroundings) -> Option<Keys> {
    let relative = surroundings.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let address = match relative {
        Some(path) => format!("{CONTAINER_SERVER}/{}", path.trim_start_matches('/')),
        None => surroundings.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")?.to_owned(),
    };
    let token = surroundings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let token_file = surroundings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    Some(got(Source::Container(Container {
        address,
        token: token.map(|token| Secret::new(token.to_owned())),
        token_file: token_file.map(|path| surroundings.at_home(path)),
    })))
}

/// What variables name besides keys: the token of an identity, or the server of a container.
pub(super) fn of_machine(files: &Files, surroundings: &Surroundings) -> Option<Keys> {
    let role = surroundings.variable("AWS_ROLE_ARN").zip(surroundings.variable("AWS_WEB_IDENTITY_TOKEN_FILE"));
    let Some((arn, path)) = role else { return container(surroundings) };
    Some(got(Source::WebIdentity(WebIdentity {
        arn: arn.to_owned(),
        session_name: surroundings.variable("AWS_ROLE_SESSION_NAME").map(str::to_owned),
        duration_seconds: None,
        token_file: surroundings.at_home(path),
        service: service(files, &Both::default(), surroundings),
    })))
}
