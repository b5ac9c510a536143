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
                Keys::Got(source) => source.shown(),
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
        "sso no keys: there is no `[sso-session x]` amazon us-east-1 Host",
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
    check("none", &[RCLONE], &[], Some("other"), "there is no profile `other`");
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

const WAYS: (&str, &str) = (
    ".aws/config",
    "[profile base]\naws_access_key_id = B\naws_secret_access_key = s\n[profile role]\nrole_arn = arn:r\nsource_profile = \
     base\n[profile chain]\nrole_arn = arn:c\nsource_profile = role\n[profile own]\nrole_arn = arn:o\nsource_profile = \
     own\naws_access_key_id = W\naws_secret_access_key = s\n[profile loop]\nrole_arn = arn:l\nsource_profile = \
     loop2\n[profile loop2]\nrole_arn = arn:m\nsource_profile = loop\n[profile env]\nrole_arn = \
     arn:e\ncredential_source = Environment\n[profile cloud]\nrole_arn = arn:e\ncredential_source = \
     Ec2InstanceMetadata\n[profile mfa]\nrole_arn = arn:e\nsource_profile = base\nmfa_serial = x\n[profile \
     program]\ncredential_process = /bin/keys --password CANARY\n[profile web]\nrole_arn = \
     arn:w\nweb_identity_token_file = ~/token\n[sso-session s]\nsso_region = eu-west-1\nsso_start_url = \
     https://x\n[profile sso]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[profile half]\naws_access_key_id \
     = H\n",
);

#[test]
fn a_profile_names_the_way_to_its_keys() {
    let end = "amazon us-east-1 Host";
    for (name, keys) in [
        ("role", "role arn:r (`role_arn`) taken on by key B"),
        ("chain", "role arn:c (`role_arn`) taken on by role arn:r (`role_arn`) taken on by key B"),
        ("own", "role arn:o (`role_arn`) taken on by key W"),
        ("program", "keys of the program `/bin/keys`"),
        ("sso", "keys of single sign-on: account 1, role r"),
        ("half", "no keys: it has only one of `aws_access_key_id` and `aws_secret_access_key`"),
        ("env", "no keys: its `credential_source = Environment`, and there are no keys in the environment"),
        (
            "cloud",
            "no keys: its `credential_source = Ec2InstanceMetadata`, which frazil does not follow: it asks no metadata \
             address of a cloud for keys",
        ),
        (
            "mfa",
            "no keys: its role wants the code of a device (`mfa_serial`), which frazil does not ask for; get temporary \
             keys with `aws configure export-credentials` and use those",
        ),
    ] {
        check(&format!("way-{name}"), &[WAYS], &[], Some(name), &format!("{name} {keys} {end}"));
    }
}

#[test]
fn roles_that_lead_in_a_circle_are_refused() {
    let home = std::env::temp_dir().join(format!("frazil-profile-circle-{}", std::process::id()));
    std::fs::create_dir_all(home.join(".aws")).unwrap();
    std::fs::write(home.join(WAYS.0), WAYS.1).unwrap();
    let variables = [("HOME".to_owned(), home.display().to_string())];
    let profile = of_s3(&Surroundings::of(variables.into()), Some("loop")).unwrap();
    let _ = std::fs::remove_dir_all(&home);
    let Keys::Missing { why } = profile.keys else { panic!("{profile:?}") };
    assert!(why.ends_with("leads on more than 8 times"), "{why}");
}

#[test]
fn keys_of_the_machine_come_after_those_of_profiles_and_only_if_they_are_named() {
    let container = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/k")];
    let shown = "environment keys of the container's server http://127.0.0.1:9/k amazon us-east-1 Host";
    check("container", &[], &container, None, shown);
    check("profile-first", &[CREDENTIALS], &container, None, "default D amazon us-east-1 Host");
    let web = [("AWS_ROLE_ARN", "arn:w"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
    check("web", &[], &web, None, "environment role arn:w by the token in /t amazon us-east-1 Host");
    check(
        "half",
        &[CREDENTIALS],
        &[("AWS_ACCESS_KEY_ID", "E")],
        None,
        "environment no keys: `AWS_ACCESS_KEY_ID` is set and `AWS_SECRET_ACCESS_KEY` is not amazon us-east-1 Host",
    );
}

const MATRIX: (&str, &str) = (
    ".config/rclone/rclone.conf",
    "[ceph]\ntype = s3\nprovider = Ceph\naccess_key_id = C\nsecret_access_key = s\nsession_token = t\nendpoint = \
     http://here:1\n[nowhere]\ntype = s3\nprovider = Ceph\naccess_key_id = C\nsecret_access_key = s\n[aws]\ntype = \
     s3\nprovider = AWS\naccess_key_id = A\nsecret_access_key = s\nregion = eu-west-1\n[host]\ntype = s3\nprovider = \
     Other\naccess_key_id = C\nsecret_access_key = s\nendpoint = here\nforce_path_style = false\n[silent]\ntype = \
     s3\nprofile = osn\n[secret]\ntype = crypt\nremote = ceph:x\n[over]\ntype = alias\nremote = secret:y\n[folder]\ntype \
     = alias\nremote = /data\n[other]\ntype = s3\nenv_auth = true\nprofile = o\nshared_credentials_file = ~/elsewhere\n",
);

#[test]
fn every_spelling_of_a_remote_is_read_as_rclone_reads_it() {
    check("m-ceph", &[MATRIX], &[], Some("ceph"), "ceph C+token http://here:1 us-east-1 Path");
    check("m-aws", &[MATRIX], &[], Some("aws"), "aws A amazon eu-west-1 Host");
    check("m-host", &[MATRIX], &[], Some("host"), "host C https://here us-east-1 Host");
    let elsewhere = ("elsewhere", "[o]\naws_access_key_id = L\naws_secret_access_key = s\n");
    check("m-file", &[MATRIX, elsewhere], &[], Some("other"), "other L amazon us-east-1 Host");
    check(
        "m-nowhere",
        &[MATRIX],
        &[],
        Some("nowhere"),
        "nowhere no keys: it has no `endpoint`, and its provider `Ceph` is not Amazon amazon us-east-1 Host",
    );
    check(
        "m-silent",
        &[MATRIX, CREDENTIALS],
        &[],
        Some("silent"),
        "silent no keys: it names a `profile` without `env_auth = true`; rclone would ask without a signature amazon \
         us-east-1 Host",
    );
}

#[test]
fn variables_come_before_the_file_and_make_remotes_of_their_own() {
    let variables = [
        ("RCLONE_CONFIG_POD_2_TYPE", "s3"),
        ("RCLONE_CONFIG_POD_2_ACCESS_KEY_ID", "V"),
        ("RCLONE_CONFIG_POD_2_SECRET_ACCESS_KEY", "s"),
        ("RCLONE_S3_ENDPOINT", "http://all"),
        ("RCLONE_CONFIG_CEPH_ENDPOINT", "http://there"),
    ];
    check("v-own", &[MATRIX], &variables, Some("pod_2"), "pod_2 V http://all us-east-1 Path");
    check("v-over", &[MATRIX], &variables, Some("ceph"), "ceph C+token http://there us-east-1 Path");
}

#[test]
fn a_remote_that_is_not_followed_says_why() {
    let home = std::env::temp_dir().join(format!("frazil-profile-not-{}", std::process::id()));
    std::fs::create_dir_all(home.join(".config/rclone")).unwrap();
    std::fs::write(home.join(MATRIX.0), MATRIX.1).unwrap();
    let variables = [("HOME".to_owned(), home.display().to_string())];
    let known = known(&Surroundings::of(variables.into()));
    let _ = std::fs::remove_dir_all(&home);
    let shown: Vec<_> = known.not_followed.iter().map(|not| format!("{}: {}", not.name, not.why)).collect();
    assert_eq!(
        shown,
        [
            "secret: it is encrypted, and what is stored there are no files that frazil knows",
            "over: it is encrypted, and what is stored there are no files that frazil knows",
            "folder: it is an alias of a folder on this machine; name that folder",
        ]
    );
    let connection = |text: &str| text.split_once(':').and_then(|(a, b)| connection_string(a, b, &known));
    assert_eq!(connection(":s3,access_key_id=CANARY:bucket").as_deref(), Some(":s3"));
    assert_eq!(connection("ceph,access_key_id=CANARY:bucket").as_deref(), Some("ceph"));
    assert_eq!(connection("a,b:c"), None);
}
