//! The lines of Python that open a store, to be pasted.
//!
//! They hold no secret: for a store in a bucket they name the profile, or say which variables must be set first.

use frazil_model::location::{Door, Location, Object};
use frazil_store::{
    bucket::profile_of,
    profile::{AzureServer, GoogleServer, Keys, Origin, Profile, S3Server, Server, located},
};
use serde_json::{Map, Value, json};

/// What opens the store that `store` names.
pub fn snippet(store: &str) -> String {
    match located(store) {
        Ok(Location::Object(object)) => match profile_of(&object) {
            Ok(profile) => of_bucket(&object, &profile),
            Err(_) => String::new(),
        },
        _ => lines(&[], store, &Map::new()),
    }
}

fn lines(before: &[String], store: &str, options: &Map<String, Value>) -> String {
    let options = match options.is_empty() {
        true => String::new(),
        false => format!(", storage_options={}", python(&Value::Object(options.clone()))),
    };
    let before: String = before.iter().map(|line| format!("    # {line}\n")).collect();
    format!(
        "open it:\n{before}    import xarray as xr\n    ds = xr.open_dataset({store:?}, engine=\"zarr\", \
         consolidated=True{options})\n"
    )
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name:?}: {}", python(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn of_bucket(object: &Object, profile: &Profile) -> String {
    match &profile.server {
        Server::S3(server) => of_s3(object, profile, server),
        Server::Google(server) => of_google(object, profile, server),
        Server::Azure(server) => of_azure(object, profile, server),
    }
}

fn of_google(object: &Object, profile: &Profile, server: &GoogleServer) -> String {
    let (mut before, mut options) = (Vec::new(), Map::new());
    if profile.keys == Keys::Anonymous {
        options.insert("token".into(), json!("anon"));
    } else if let Door::Named(name) = &object.door {
        before.push(format!("set GOOGLE_APPLICATION_CREDENTIALS to what `{name}` signs with ({})", profile.origin));
    }
    if let Some(endpoint) = &server.endpoint {
        options.insert("endpoint_url".into(), json!(endpoint.trim_end_matches('/').trim_end_matches("/storage/v1")));
    }
    before.push("this needs the package gcsfs".into());
    lines(&before, &address("gs", object, profile), &options)
}

fn of_azure(object: &Object, profile: &Profile, server: &AzureServer) -> String {
    let (mut before, mut options) = (Vec::new(), Map::new());
    options.insert("account_name".into(), json!(server.account));
    if profile.keys == Keys::Anonymous {
        options.insert("anon".into(), json!(true));
    } else if profile.origin != Origin::Environment {
        before.push(format!(
            "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN to what `{}` signs with ({})",
            profile.name, profile.origin
        ));
    }
    before.push("this needs the package adlfs".into());
    lines(&before, &address("az", object, profile), &options)
}

fn of_s3(object: &Object, profile: &Profile, server: &S3Server) -> String {
    let (mut before, mut options) = (Vec::new(), Map::new());
    let is_of_aws = match &profile.origin {
        Origin::File { path, .. } => path.file_name().is_some_and(|name| name != "rclone.conf"),
        Origin::Environment | Origin::Wish => false,
    };
    if is_of_aws {
        options.insert("profile".into(), json!(profile.name));
    } else {
        if profile.keys == Keys::Anonymous {
            options.insert("anon".into(), json!(true));
        } else if profile.origin != Origin::Environment {
            before.push(format!(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to what `{}` signs with ({})",
                profile.name, profile.origin
            ));
        }
        // Variables are read by Python, too.
        if let Some(endpoint) = server.endpoint.as_ref().filter(|_| profile.origin != Origin::Environment) {
            options.insert("endpoint_url".into(), json!(endpoint));
        }
    }
    before.push("this needs the package s3fs".into());
    lines(&before, &address("s3", object, profile), &options)
}

/// The place as every program knows it.
fn address(scheme: &str, object: &Object, profile: &Profile) -> String {
    let key = object.key.trim_end_matches('/');
    match (&object.door, &profile.below) {
        (Door::Named(_), Some(below)) => format!("{scheme}://{}/{key}", below.trim_end_matches('/')),
        _ => format!("{scheme}://{}/{key}", object.bucket),
    }
}

#[cfg(test)]
mod tests {
    use frazil_store::profile::Style;

    use super::*;

    #[test]
    fn each_cloud_is_opened_by_its_own_package() {
        let of = |server: Server, door: Door, keys: Keys| {
            let origin = Origin::Environment;
            let profile = Profile { name: "p".into(), origin, server, keys, below: None };
            of_bucket(&Object::parse(door, "data/a.zarr").unwrap(), &profile)
        };
        let google = || Server::Google(GoogleServer { endpoint: None, project: None, owner: None });
        let text = of(google(), Door::Google, Keys::Anonymous);
        assert!(
            text.contains(
                r#"("gs://data/a.zarr", engine="zarr", consolidated=True, storage_options={"token": "anon"})"#
            ),
            "{text}"
        );
        let azure = Server::Azure(AzureServer { account: "acc".into(), endpoint: None });
        let text = of(azure, Door::Named("p".into()), Keys::Missing { why: String::new() });
        assert!(
            text.contains(
                r#"("az://data/a.zarr", engine="zarr", consolidated=True, storage_options={"account_name": "acc"})"#
            ),
            "{text}"
        );
        assert!(text.contains("adlfs"), "{text}");
    }

    #[track_caller]
    fn check(origin: Origin, keys: Keys, expected: &str) {
        let endpoint = Some("http://here".to_owned());
        let server = Server::S3(S3Server { endpoint, region: "r".into(), style: Style::Path });
        let profile = Profile { name: "pod".into(), origin, server, keys, below: None };
        let object = Object::parse(Door::Named("pod".into()), "data/a.zarr").unwrap();
        let text = of_bucket(&object, &profile);
        let call = text.lines().last().unwrap().trim();
        let expected = format!(
            "ds = xr.open_dataset(\"s3://data/a.zarr\", engine=\"zarr\", consolidated=True, storage_options={expected})"
        );
        assert_eq!(call, expected);
    }

    #[test]
    fn a_store_in_a_bucket_is_opened_by_the_profile_that_made_it() {
        let file = |name: &str| Origin::File { path: name.into(), line: 1 };
        let keys = || Keys::Missing { why: String::new() };
        check(file(".aws/credentials"), keys(), r#"{"profile": "pod"}"#);
        check(file("rclone.conf"), keys(), r#"{"endpoint_url": "http://here"}"#);
        check(Origin::Wish, Keys::Anonymous, r#"{"anon": True, "endpoint_url": "http://here"}"#);
    }
}
