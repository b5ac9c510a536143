//! What the AWS tools and rclone would take, said as tables.

use super::*;

/// A home with these files, and these variables. Shows who signs, for what.
#[track_caller]
fn check(name: &str, files: &[(&str, &str)], variables: &[(&str, &str)], chosen: Option<&str>, expected: &str) {
    let home = std::env::temp_dir().join(format!("frazil-profile-{}-{name}", std::process::id()));
    for (path, text) in files {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut all: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.insert("HOME".into(), home.display().to_string());
    let shown = match of_s3(&Surroundings::of(all), chosen) {
        Ok(profile) => {
            let keys = match &profile.keys {
                Keys::Fixed { access_key_id, token, .. } => {
                    format!("{access_key_id}{}", if token.is_some() { "+token" } else { "" })
                }
                Keys::Token(grant) => grant.shown(),
                Keys::AccountKey(_) => "account key".into(),
                Keys::SharedAccess(_) => "signature".into(),
                Keys::Anonymous => "anonymous".into(),
                Keys::Missing { why } => format!("no keys: {why}"),
            };
            let server = match &profile.server {
                Server::S3(server) => {
                    let endpoint = server.endpoint.as_deref().unwrap_or("amazon");
                    format!("{endpoint} {} {:?}", server.region, server.style)
                }
                Server::Google(server) => format!("{} {:?}", profile.server.shown(), server.project),
                Server::Azure(server) => format!("{} {}", profile.server.shown(), server.account),
            };
            let below = profile.below.as_deref().map(|below| format!(" below {below}")).unwrap_or_default();
            format!("{} {keys} {server}{below}", profile.name)
        }
        Err(why) => why,
    };
    let _ = std::fs::remove_dir_all(&home);
    assert_eq!(shown, expected);
}

const CREDENTIALS: (&str, &str) = (
    ".aws/credentials",
    "[default]\naws_access_key_id = D\naws_secret_access_key = s\n[osn]\naws_access_key_id = O\naws_secret_access_key = \
     s\naws_session_token = t\n",
);
const CONFIG: (&str, &str) = (
    ".aws/config",
    "[default]\nregion = eu-west-1\n[profile osn]\nendpoint_url = https://osn.example\n[profile sso]\nsso_session = x\n",
);

#[test]
fn keys_of_the_environment_come_before_those_of_files() {
    let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
    check("env", &[CREDENTIALS, CONFIG], &keys, None, "environment E amazon eu-west-1 Host");
    check("file", &[CREDENTIALS, CONFIG], &[], None, "default D amazon eu-west-1 Host");
}

#[test]
fn a_chosen_profile_comes_before_all() {
    let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "default")];
    check("chosen", &[CREDENTIALS, CONFIG], &keys, Some("osn"), "osn O+token https://osn.example us-east-1 Path");
}

#[test]
fn the_environment_names_server_and_region_before_files() {
    let variables = [("AWS_PROFILE", "osn"), ("AWS_ENDPOINT_URL", "http://here"), ("AWS_REGION", "r")];
    check("server", &[CREDENTIALS, CONFIG], &variables, None, "osn O+token http://here r Path");
}

#[test]
fn a_profile_without_keys_says_why_and_none_below_it_is_taken() {
    check(
        "sso",
        &[CREDENTIALS, CONFIG],
        &[("AWS_PROFILE", "sso")],
        None,
        "sso no keys: it gets its keys by `sso_session`, which frazil does not follow yet amazon us-east-1 Host",
    );
    check("none", &[], &[], None, "there are no keys in the environment and there is no AWS profile `default`");
}

const RCLONE: (&str, &str) = (
    ".config/rclone/rclone.conf",
    "[pod]\ntype = s3\nprovider = Ceph\naccess_key_id = P\nsecret_access_key = s\nendpoint = pod.example\n[here]\ntype = \
     alias\nremote = pod:bucket/folder\n[deep]\ntype = alias\nremote = here:more\n[env]\ntype = s3\nenv_auth = \
     true\nprofile = osn\n[open]\ntype = s3\n[drive]\ntype = drive\ntoken = {}\n",
);

#[test]
fn remotes_of_rclone_are_profiles() {
    check("pod", &[RCLONE], &[], Some("pod"), "pod P https://pod.example us-east-1 Path");
    check("alias", &[RCLONE], &[], Some("deep"), "deep P https://pod.example us-east-1 Path below bucket/folder/more");
    check("auth", &[RCLONE, CREDENTIALS, CONFIG], &[], Some("env"), "env O+token https://osn.example us-east-1 Path");
    check("drive", &[RCLONE], &[], Some("drive"), "there is no profile `drive`");
}

#[test]
fn a_remote_without_keys_is_not_taken_for_an_open_one() {
    check(
        "open",
        &[RCLONE],
        &[],
        Some("open"),
        "open no keys: it has no keys; rclone would ask without a signature amazon us-east-1 Host",
    );
}
