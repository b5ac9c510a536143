//! Keys of Azure accounts: the environment, the file of the `az` command, and remotes of rclone.
//!
//! Source: Microsoft Learn, "Configure Azure Storage connection strings", "az storage" (its variables), "Environment
//! variables" of the Azure identity libraries, and the rclone documentation, "Microsoft Azure Blob Storage".

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    AzureServer, Keys, Origin, Profile, Server, Surroundings,
    grant::{Grant, Proof, of_pasted, text_of},
    ini::{Section, sections_of},
};
use crate::secret::{Secret, shown_name};

/// The name of what the tools of Azure would take.
pub(super) const NAME: &str = "azure";

/// The account of every emulator; both are public (Microsoft Learn, "Use the Azurite emulator").
const EMULATED_ACCOUNT: &str = "devstoreaccount1";
const EMULATED_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATED_SERVER: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// Where Microsoft gives tokens.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// What a place tells of its account.
struct Found {
    account: String,
    endpoint: Option<String>,
    keys: Keys,
}

/// What the tools of Azure would take; `None` if there is nothing of the kind. `host` is that of a named account.
pub(super) fn in_force(surroundings: &Surroundings, host: Option<&str>) -> Option<Profile> {
    let (origin, found) = match of_variables(surroundings, host) {
        Some(found) => (Origin::Environment, found),
        None => of_file(surroundings)?,
    };
    Some(at_host(profile(NAME, origin, found), host))
}

/// The server alone, for whoever signs nothing.
pub(super) fn unsigned(surroundings: &Surroundings, host: Option<&str>) -> Profile {
    let missing = || {
        let keys = Keys::Missing { why: "there are no keys of Azure".into() };
        at_host(profile(NAME, Origin::Environment, Found { account: String::new(), endpoint: None, keys }), host)
    };
    in_force(surroundings, host).unwrap_or_else(missing)
}

fn profile(name: &str, origin: Origin, found: Found) -> Profile {
    let keys = match (&found.keys, found.account.is_empty()) {
        (Keys::Missing { .. }, _) | (_, false) => found.keys,
        (_, true) => Keys::Missing { why: "no account is named; set `AZURE_STORAGE_ACCOUNT`".into() },
    };
    let server = Server::Azure(AzureServer { account: found.account, endpoint: found.endpoint });
    Profile { name: name.to_owned(), origin, server, keys, below: None }
}

/// The same for the account that a place names. Keys and signatures are for one account; a token opens all it may.
pub(super) fn at_host(profile: Profile, host: Option<&str>) -> Profile {
    let (Some(host), Server::Azure(server)) = (host, &profile.server) else { return profile };
    let account = host.split('.').next().unwrap_or_default();
    if server.account == account {
        return profile;
    }
    let keys = match profile.keys {
        Keys::AccountKey(_) | Keys::SharedAccess(_) => Keys::Missing {
            why: format!("its key is for account `{}`, not for `{account}`", shown_name(&server.account)),
        },
        keys => keys,
    };
    let endpoint = Some(format!("https://{}", host.replacen(".dfs.", ".blob.", 1)));
    Profile { server: Server::Azure(AzureServer { account: account.to_owned(), endpoint }), keys, ..profile }
}

fn of_variables(surroundings: &Surroundings, host: Option<&str>) -> Option<Found> {
    let first = |names: &[&str]| names.iter().find_map(|name| surroundings.variable(name)).map(str::to_owned);
    if let Some(text) = surroundings.variable("AZURE_STORAGE_CONNECTION_STRING") {
        return Some(of_connection_string(text));
    }
    let of_host = || host.and_then(|host| host.split('.').next()).map(str::to_owned);
    let named = first(&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]);
    let key = first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]);
    let sas = first(&["AZURE_STORAGE_SAS_TOKEN"]);
    let keys = match (key, sas) {
        (Some(key), _) => Some(Keys::AccountKey(Secret::new(key))),
        (None, Some(sas)) => Some(shared_access(&sas)),
        (None, None) => of_token_variables(surroundings),
    };
    if named.is_none() && keys.is_none() {
        return None;
    }
    let why = || "`AZURE_STORAGE_ACCOUNT` is set, and nothing that signs for it".to_owned();
    let keys = keys.unwrap_or_else(|| Keys::Missing { why: why() });
    let endpoint = first(&["AZURE_STORAGE_BLOB_ENDPOINT", "AZURE_STORAGE_ENDPOINT"]);
    Some(Found { account: named.or_else(of_host).unwrap_or_default(), endpoint, keys })
}

/// Tokens by what the environment holds.
fn of_token_variables(surroundings: &Surroundings) -> Option<Keys> {
    let text = |name: &str| surroundings.variable(name).map(str::to_owned);
    if let Some(token) = surroundings.variable("AZURE_STORAGE_TOKEN") {
        return Some(match of_pasted(token) {
            Ok((token, ends_seconds)) => Keys::Token(Grant::Given { token, ends_seconds }),
            Err(why) => Keys::Missing { why: format!("AZURE_STORAGE_TOKEN: {why}") },
        });
    }
    if let Some(path) = surroundings.variable("AZURE_STORAGE_TOKEN_FILE") {
        return Some(Keys::Token(Grant::File { path: surroundings.at_home(path) }));
    }
    let proof = match (text("AZURE_CLIENT_SECRET"), text("AZURE_FEDERATED_TOKEN_FILE")) {
        (Some(secret), _) => Some(Proof::Secret(Secret::new(secret))),
        (None, Some(path)) => Some(Proof::File(PathBuf::from(path))),
        (None, None) => None,
    };
    if let (Some(tenant), Some(client_id), Some(proof)) = (text("AZURE_TENANT_ID"), text("AZURE_CLIENT_ID"), proof) {
        let authority = text("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
        return Some(Keys::Token(application(&authority, &tenant, client_id, proof)));
    }
    let (endpoint, secret) = (text("IDENTITY_ENDPOINT")?, text("IDENTITY_HEADER")?);
    let client = text("AZURE_CLIENT_ID").map_or_else(String::new, |id| format!("&client_id={id}"));
    let url = format!("{endpoint}?resource=https://storage.azure.com/&api-version=2019-08-01{client}");
    Some(Keys::Token(Grant::Machine { url, header: ("x-identity-header", Secret::new(secret)) }))
}

fn application(authority: &str, tenant: &str, client_id: String, proof: Proof) -> Grant {
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    Grant::Application { url, client_id, proof }
}

fn shared_access(text: &str) -> Keys {
    Keys::SharedAccess(Secret::new(text.trim().trim_start_matches('?').to_owned()))
}

/// Reads `Name=value;…`.
fn of_connection_string(text: &str) -> Found {
    let mut values: BTreeMap<String, &str> = BTreeMap::new();
    for part in text.split(';') {
        if let Some((name, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) {
            values.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
    }
    if values.get("usedevelopmentstorage").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        let proxy = values.get("developmentstorageproxyuri");
        let endpoint = proxy.map(|proxy| format!("{}:10000/{EMULATED_ACCOUNT}", proxy.trim_end_matches('/')));
        return emulated(endpoint);
    }
    let text = |name: &str| values.get(name).map(|text| (*text).to_owned());
    let scheme = text("defaultendpointsprotocol").unwrap_or_else(|| "https".into());
    let suffix = text("endpointsuffix");
    let account = text("accountname").or_else(|| account_of(values.get("blobendpoint")?));
    let account = account.unwrap_or_default();
    let endpoint = text("blobendpoint").or_else(|| Some(format!("{scheme}://{account}.blob.{}", suffix?)));
    let keys = match (text("accountkey"), values.get("sharedaccesssignature")) {
        (Some(key), _) => Keys::AccountKey(Secret::new(key)),
        (None, Some(sas)) => shared_access(sas),
        (None, None) => Keys::Missing { why: "the connection string has no `AccountKey` and no signature".into() },
    };
    Found { account, endpoint, keys }
}

fn emulated(endpoint: Option<String>) -> Found {
    Found {
        account: EMULATED_ACCOUNT.into(),
        endpoint: Some(endpoint.unwrap_or_else(|| EMULATED_SERVER.into())),
        keys: Keys::AccountKey(Secret::new(EMULATED_KEY.into())),
    }
}

/// The account that an address is of: the first word of its host, or of its path where the host is a number.
fn account_of(endpoint: &str) -> Option<String> {
    let (_, rest) = endpoint.split_once("://")?;
    let rest = rest.split('?').next()?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_of_account = host.contains(".blob.") || host.contains(".dfs.");
    let account = if is_of_account { host.split('.').next() } else { path.split('/').next() };
    account.filter(|account| !account.is_empty()).map(str::to_owned)
}

/// What `az config` or `az configure` wrote.
fn of_file(surroundings: &Surroundings) -> Option<(Origin, Found)> {
    let folder = match surroundings.variable("AZURE_CONFIG_DIR") {
        Some(path) => surroundings.at_home(path),
        None => surroundings.home.as_ref()?.join(".azure"),
    };
    let path = folder.join("config");
    let section = sections_of(&path).ok()?.into_iter().find(|section| section.name == "storage")?;
    let found = match section.text("connection_string") {
        Some(text) => of_connection_string(text),
        None => {
            let keys = match (section.secret("key"), section.text("sas_token")) {
                (Some(key), _) => Keys::AccountKey(key),
                (None, Some(sas)) => shared_access(sas),
                (None, None) => Keys::Missing { why: "it has no `key` and no `sas_token`".into() },
            };
            Found { account: section.text("account")?.to_owned(), endpoint: None, keys }
        }
    };
    Some((Origin::File { path, line: section.line }, found))
}

/// A remote of rclone.
pub(super) fn of_remote(section: &Section, surroundings: &Surroundings) -> Profile {
    let mut found = remote(section, surroundings);
    if let Some(endpoint) = section.text("endpoint") {
        found.endpoint = Some(super::rclone::with_scheme(endpoint));
    }
    profile(&section.name, Origin::Environment, found)
}

fn remote(section: &Section, surroundings: &Surroundings) -> Found {
    let account = section.text("account").unwrap_or_default().to_owned();
    let with = |keys: Keys| Found { account: account.clone(), endpoint: None, keys };
    let missing = |why: &str| with(Keys::Missing { why: why.to_owned() });
    if section.is_on("use_emulator") {
        let mut found = emulated(None);
        if let (false, Some(key)) = (account.is_empty(), section.secret("key")) {
            found = Found { account, keys: Keys::AccountKey(key), ..found };
        }
        return found;
    }
    if let Some(text) = section.text("connection_string") {
        return of_connection_string(text);
    }
    if let Some(key) = section.secret("key") {
        return with(Keys::AccountKey(key));
    }
    if let Some(url) = section.text("sas_url") {
        return of_sas_url(url);
    }
    let text = |name: &str| section.text(name).map(str::to_owned);
    let authority = surroundings.variable("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY);
    if let (Some(tenant), Some(client_id), Some(secret)) =
        (text("tenant"), text("client_id"), section.secret("client_secret"))
    {
        return with(Keys::Token(application(authority, &tenant, client_id, Proof::Secret(secret))));
    }
    if let Some(path) = section.text("service_principal_file") {
        return match principal(&surroundings.at_home(path), authority) {
            Ok(grant) => with(Keys::Token(grant)),
            Err(why) => missing(&format!("`service_principal_file`: {why}")),
        };
    }
    if section.is_on("env_auth") {
        return match of_variables(surroundings, None) {
            Some(found) if account.is_empty() => found,
            Some(found) => Found { account, endpoint: None, keys: found.keys },
            None => missing("`env_auth` is on, and there are no keys of Azure in the environment"),
        };
    }
    let other = ["use_msi", "use_az", "username", "client_certificate_path"];
    match other.into_iter().find(|key| section.text(key).is_some_and(|text| text != "false")) {
        Some(key) => missing(&format!("it signs by `{}`, which frazil does not follow", shown_name(key))),
        None => missing("it has no key; rclone would ask without a signature"),
    }
}

/// Reads `https://account.blob.core.windows.net/container?SIGNATURE`.
fn of_sas_url(url: &str) -> Found {
    let (address, sas) = url.split_once('?').unwrap_or((url, ""));
    let account = account_of(address).unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("://").filter(|_| !sas.is_empty()) else {
        let keys = Keys::Missing { why: "its `sas_url` is no address with a signature".into() };
        return Found { account, endpoint: None, keys };
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_of_account = host.contains(".blob.") || host.contains(".dfs.");
    let below = if is_of_account { "" } else { path.split('/').next().unwrap_or_default() };
    let endpoint = format!("{scheme}://{host}/{below}");
    Found { account, endpoint: Some(endpoint.trim_end_matches('/').to_owned()), keys: shared_access(sas) }
}

/// The file that `az ad sp create-for-rbac` printed.
fn principal(path: &std::path::Path, authority: &str) -> Result<Grant, String> {
    let value: Value = serde_json::from_str(&text_of(path)?).map_err(|_| "it is not JSON".to_owned())?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let needed = |name: &str| text(name).ok_or_else(|| format!("it has no `{name}`"));
    let proof = Proof::Secret(Secret::new(needed("password")?));
    Ok(application(authority, &needed("tenant")?, needed("appId")?, proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], host: Option<&str>, expected: &str) {
        let all = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown =
            in_force(&Surroundings::of(all), host).map_or_else(|| "nothing".to_owned(), |profile| shown(&profile));
        assert_eq!(shown, expected);
    }

    fn shown(profile: &Profile) -> String {
        let keys = match &profile.keys {
            Keys::AccountKey(_) => "key".into(),
            Keys::SharedAccess(signature) => format!("signature {}", signature.reveal()),
            Keys::Token(grant) => grant.shown(),
            Keys::Missing { why } => why.clone(),
            _ => "other".into(),
        };
        let Server::Azure(server) = &profile.server else { return "no server of Azure".into() };
        format!("{} {} {keys}", server.account, server.endpoint.as_deref().unwrap_or("usual"))
    }

    #[test]
    fn a_connection_string_says_all() {
        let check = |text: &str, expected: &str| check(&[("AZURE_STORAGE_CONNECTION_STRING", text)], None, expected);
        check(
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aw==;EndpointSuffix=core.windows.net",
            "a https://a.blob.core.windows.net key",
        );
        check("AccountName=a;AccountKey=aw==", "a usual key");
        check(
            "BlobEndpoint=https://b.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=x",
            "b https://b.blob.core.windows.net/ signature sv=1&sig=x",
        );
        check("UseDevelopmentStorage=true", "devstoreaccount1 http://127.0.0.1:10000/devstoreaccount1 key");
        check("AccountName=a", "a usual the connection string has no `AccountKey` and no signature");
        check("nonsense", " usual the connection string has no `AccountKey` and no signature");
    }

    #[test]
    fn the_environment_says_who_signs() {
        let account = ("AZURE_STORAGE_ACCOUNT", "a");
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", "CANARY")];
        check(&[], None, "nothing");
        check(&[account], None, "a usual `AZURE_STORAGE_ACCOUNT` is set, and nothing that signs for it");
        check(&[account, ("AZURE_STORAGE_KEY", "aw=="), ("AZURE_STORAGE_SAS_TOKEN", "sig=x")], None, "a usual key");
        check(&[account, ("AZURE_STORAGE_SAS_TOKEN", "?sig=x")], None, "a usual signature sig=x");
        check(&[&[account][..], &principal].concat(), None, "a usual application app");
        check(&principal, None, " usual no account is named; set `AZURE_STORAGE_ACCOUNT`");
    }

    #[test]
    fn a_key_opens_its_own_account_only() {
        let host = Some("b.dfs.core.windows.net");
        let key = [("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_STORAGE_KEY", "aw==")];
        check(&key, host, "b https://b.blob.core.windows.net its key is for account `a`, not for `b`");
        check(&key, Some("a.dfs.core.windows.net"), "a usual key");
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", "CANARY")];
        check(&principal, host, "b usual application app");
    }

    #[test]
    fn an_address_with_a_signature_says_its_account() {
        let found = |url: &str| shown(&profile("p", Origin::Environment, of_sas_url(url)));
        assert_eq!(
            found("https://a.blob.core.windows.net/c?sig=x"),
            "a https://a.blob.core.windows.net signature sig=x"
        );
        assert_eq!(found("http://127.0.0.1:10000/dev/c?sig=x"), "dev http://127.0.0.1:10000/dev signature sig=x");
        assert_eq!(found("https://a.blob.core.windows.net/c"), "a usual its `sas_url` is no address with a signature");
    }
}
