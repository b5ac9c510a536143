//! `frazil profile`: who could sign, who does, and what they may do.
//!
//! It promises to show no secret: of a key its public part, of a login its name.

use std::{io::Read, path::Path, time::SystemTime};

use frazil_engine::EngineError;
use frazil_model::{
    location::{Door, Location, Object},
    problem::Exit,
    report::{ErrorReport, Report},
    shell::quoted,
};
use frazil_store::{
    StoreError,
    bucket::{
        check::{Check, Outcome, Probe, place_for},
        profile_of,
    },
    login::{of_address, of_netrc},
    profile::{
        Keys, Known, Origin, Profile, Server, Surroundings, WebRemote, default_name,
        import::{self, With},
        known, located_to_write, of_s3,
    },
    rfc3339,
    secret::{shown_key_id, shown_name},
    session::{Kind, note},
};
use serde_json::{Value, json};

use crate::{
    arguments,
    output::{Answer, Talk, table},
};

/// A clock that differs by more is a reason for refusals.
const CLOCK_MATTERS_SECONDS: i64 = 60;

/// Keys that end within this time are a reason to get others first.
const SOON_SECONDS: i64 = 20 * 60;

/// What somebody was given is no longer.
const MAX_GIVEN_BYTES: u64 = 2 << 20;

/// Buckets that are shown as text.
const MOST_BUCKETS: usize = 40;

/// Every profile with the file it stands in, and what shadows it.
pub fn list() -> Answer {
    let surroundings = Surroundings::of_process();
    let Known { profiles, web, unread, not_followed, .. } = known(&surroundings);
    let mut listed = Listed { report: Report::of("profile-list"), rows: Vec::new() };
    for profile in of_s3(&surroundings, None).iter().filter(|profile| profile.origin == Origin::Environment) {
        listed.add(&profile.name, &profile.origin, item(profile), row(profile));
    }
    for profile in &profiles {
        listed.add(&profile.name, &profile.origin, item(profile), row(profile));
    }
    for remote in &web {
        listed.add(&remote.name, &remote.origin, web_item(remote), web_row(remote));
    }
    for not in &not_followed {
        let why = format!("not followed: {}", not.why);
        let row = vec![not.name.clone(), format!("rclone {}", not.kind), why, not.origin.to_string()];
        let item = json!({
            "name": not.name, "kind": not.kind, "origin": not.origin.to_string(), "keys": not.why, "can_sign": false,
        });
        listed.add(&not.name, &not.origin, item, row);
    }
    let (logins, refused) = of_netrc(&surroundings);
    for (entry, origin) in &logins {
        let host = entry.machine.as_deref().unwrap_or("default");
        let keys = refused.clone().unwrap_or_else(|| format!("login {}", shown_name(&entry.login)));
        let item = json!({
            "name": host, "kind": "netrc", "origin": origin.to_string(), "keys": keys, "can_sign": refused.is_none(),
        });
        listed.add(host, origin, item, vec![host.to_owned(), "netrc".into(), keys, origin.to_string()]);
    }
    let Listed { mut report, rows } = listed;
    for (path, reason) in &unread {
        report.warn("profile.unread", format!("{} could not be read: {reason}", path.display()));
    }
    report.total("n_profiles", rows.len());
    report.more.insert("in_force".into(), json!(of_s3(&surroundings, None).map(|profile| profile.name).ok()));
    let text = if rows.is_empty() {
        "no AWS profile, no rclone remote, no keys of Google or Azure and no login were found\n\
         `frazil profile import NAME FILE` keeps keys that you were given; `aws configure` and `rclone config` are read, too\n"
            .into()
    } else {
        table(&rows)
    };
    Answer { report, text }
}

struct Listed {
    report: Report,
    rows: Vec<Vec<String>>,
}

impl Listed {
    fn add(&mut self, name: &str, origin: &Origin, mut item: Value, mut row: Vec<String>) {
        let above = self.report.items.iter().find(|above| above["name"] == name);
        if let Some(above) = above.and_then(|above| above["origin"].as_str()) {
            // A shadowed name of the same place is a second login of one host.
            row.push(format!("shadowed by {above}"));
            item["shadowed_by"] = json!(above);
        }
        debug_assert_eq!(item["origin"], origin.to_string());
        self.report.items.push(item);
        self.rows.push(row);
    }
}

/// Which file and which key open a place, and why no other.
pub fn explain(words: &arguments::Explain) -> Result<Answer, EngineError> {
    let mut report = Report::of("profile-explain");
    let location = located_to_write(&words.place)?;
    report.more.insert("location".into(), json!(location.to_string()));
    let object = match &location {
        Location::Object(object) => object,
        Location::Http(address) => return explain_login(report, &location, address),
        Location::File(_) => {
            let text = format!("{location} is a path on this machine\n");
            return Ok(Answer { report, text });
        }
    };
    let profile = profile_of(object)?;
    report.items.push(item(&profile));
    let mut text = format!("{location} is asked for by\n{}", table(&[row(&profile)]));
    let others = others(object, &profile);
    if !others.is_empty() {
        text.push_str("and not by\n");
        text.push_str(&table(&others));
    }
    let others: Vec<Value> = others.iter().map(|row| json!({"name": row.first(), "why_not": row.last()})).collect();
    report.more.insert("others".into(), json!(others));
    Ok(Answer { report, text })
}

/// Who else could have signed, and why they do not.
fn others(object: &Object, winner: &Profile) -> Vec<Vec<String>> {
    let surroundings = Surroundings::of_process();
    let in_force = default_name(&surroundings);
    let all = known(&surroundings).profiles;
    let why = |profile: &Profile| match (&object.door, &winner.origin) {
        (Door::Named(name), _) if &profile.name == name => format!("{} comes first", winner.origin),
        (Door::S3, Origin::Environment) if profile.name == in_force => "keys of the environment come first".to_owned(),
        (Door::S3, _) if profile.name == winner.name => format!("{} comes first", winner.origin),
        (Door::S3, _) if profile.name == in_force => format!("`--profile {}` comes first", winner.name),
        _ => "another was named".to_owned(),
    };
    let is_other = |profile: &&Profile| {
        let is_named = profile.name == winner.name || profile.name == in_force;
        is_named && profile.origin != winner.origin
    };
    all.iter()
        .filter(is_other)
        .map(|profile| vec![profile.name.clone(), keys(profile), profile.origin.to_string(), why(profile)])
        .collect()
}

fn explain_login(mut report: Report, location: &Location, address: &str) -> Result<Answer, EngineError> {
    let unsigned = |why| StoreError::Unsigned { location: location.clone(), why };
    let text = match of_address(address).map_err(unsigned)? {
        Some((by, origin)) => {
            report.items.push(json!({"name": by, "origin": origin.to_string(), "can_sign": true}));
            format!("{location} is asked for with {by} ({origin})\n")
        }
        None => format!("{location} is asked for without a login\n"),
    };
    Ok(Answer { report, text })
}

/// What a profile may do.
pub fn check(words: &arguments::CheckProfile, talk: &Talk) -> Result<Answer, EngineError> {
    let surroundings = Surroundings::of_process();
    let is_alias = of_s3(&surroundings, Some(&words.name)).is_ok_and(|profile| profile.below.is_some());
    let object = place_for(&words.name, words.place.as_deref(), is_alias);
    let probe = Probe::at(&object)?;
    if let Some(place) = probe.place() {
        talk.say(&format!("a small object is written and deleted again: {place}"));
    }
    let check = probe.run()?;
    let mut report = Report::of("profile-check");
    report.more.insert("profile".into(), item(&check.profile));
    report.more.insert("who".into(), json!(check.who));
    report.more.insert("ends".into(), json!(check.ends_seconds.map(rfc3339)));
    let left = left_seconds(&check);
    report.more.insert("left_seconds".into(), json!(left));
    if left.is_some_and(|left| left < SOON_SECONDS) {
        let message = format!("its keys end soon: {}", left.map(time_left).unwrap_or_default());
        report.warn("profile.ends", message);
    }
    report.more.insert("clock_ahead_seconds".into(), json!(check.clock_ahead_seconds));
    report.more.insert("buckets".into(), json!(check.buckets));
    for step in &check.steps {
        let (can, why) = match &step.outcome {
            Outcome::Can => (json!(true), Value::Null),
            Outcome::Refused { why } => (json!(false), json!(why)),
            Outcome::Unknown { why } => (Value::Null, json!(why)),
        };
        report.items.push(json!({"what": step.what, "can": can, "why": why}));
    }
    if let Some(ahead) = check.clock_ahead_seconds.filter(|ahead| ahead.abs() > CLOCK_MATTERS_SECONDS) {
        let message = format!("the clock of the server is {ahead} s ahead of this machine's; set it right");
        report.warn("profile.clock", message);
    }
    if let Some(left) = &check.left {
        report.warn("profile.probe-left", format!("it may not delete, and `{left}` stays there; it has 37 bytes"));
    }
    if !check.is_signed_in() {
        let message = format!("the server takes the keys of `{}` for nothing that was tried", words.name);
        // Keys for one folder may nothing elsewhere.
        let and = match &words.place {
            None => {
                format!(
                    "; keys for one folder are tried there: `frazil profile check {} bucket/folder/`",
                    quoted(&words.name)
                )
            }
            Some(_) => String::new(),
        };
        let hint = format!("it was signed with {} ({}){and}", keys(&check.profile), check.profile.origin);
        report.fail(ErrorReport::new("profile.refused", message, Exit::SignIn).with_hint(&hint));
    }
    let text = check_text(&check);
    Ok(Answer { report, text })
}

/// Keeps keys that somebody was given.
pub fn import(words: &arguments::Import) -> Result<Answer, EngineError> {
    let mut report = Report::of("profile-import");
    let with = With { address: words.server.clone(), region: words.region.clone(), expires: words.expires.clone() };
    let surroundings = Surroundings::of_process();
    let taken = given(words.file.as_deref()).and_then(|text| import::import(&surroundings, &words.name, &text, &with));
    if let (Ok(_), Some(path)) = (&taken, &words.file)
        && let Err(error) = note(&surroundings, path, Kind::Imported)
    {
        let message = format!("{} is not noted, and `profile erase` will not find it: {error}", path.display());
        report.warn("profile.unnoted", message);
    }
    let text = match taken {
        Ok(taken) => {
            let path = taken.path.display().to_string();
            let until = taken.expires.as_ref().map(|ends| format!(", until {ends}")).unwrap_or_default();
            let text = format!("{} is kept as `{}` in {path}{until}\n", taken.what, words.name);
            report.items.push(json!({"name": words.name, "origin": path, "expires": taken.expires}));
            text
        }
        Err(why) => {
            report.fail(ErrorReport::new("profile.import", why, Exit::No));
            String::new()
        }
    };
    Ok(Answer { report, text })
}

/// What stands in a file, or comes on stdin.
fn given(file: Option<&Path>) -> Result<String, String> {
    let mut text = String::new();
    let read = match file {
        Some(path) if path.is_dir() => {
            return Err(format!("`{}` is a folder; name the file with the keys", path.display()));
        }
        Some(path) if !path.exists() => {
            return Err(format!("there is no file `{}`; without one, keys are read from stdin", path.display()));
        }
        Some(path) => {
            import::is_private(path)?;
            let file = std::fs::File::open(path);
            file.and_then(|file| file.take(MAX_GIVEN_BYTES).read_to_string(&mut text))
        }
        None => std::io::stdin().lock().take(MAX_GIVEN_BYTES).read_to_string(&mut text),
    };
    read.map_err(|error| format!("what was given could not be read: {}", error.kind()))?;
    Ok(text)
}

/// How long the keys are still good, by the clock of their server where that is known.
fn left_seconds(check: &Check) -> Option<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let now = i64::try_from(now).ok()?.checked_add(check.clock_ahead_seconds.unwrap_or(0))?;
    i64::try_from(check.ends_seconds?).ok()?.checked_sub(now)
}

/// The same in words.
fn time_left(seconds: i64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        _ if seconds <= 0 => "over".into(),
        (0, 0) => format!("{seconds} s left"),
        (0, minutes) => format!("{minutes} min left"),
        (hours, minutes) if hours < 100 => format!("{hours} h {minutes} min left"),
        (hours, _) => format!("{} days left", hours / 24),
    }
}

fn check_text(check: &Check) -> String {
    let mut rows =
        vec![vec!["signs".into(), keys(&check.profile)], vec!["read in".into(), check.profile.origin.to_string()]];
    rows.push(vec!["server".into(), check.profile.server.shown()]);
    rows.extend(check.who.clone().map(|who| vec!["as".into(), who]));
    let left = left_seconds(check).map(|left| format!(" ({})", time_left(left))).unwrap_or_default();
    rows.extend(check.ends_seconds.map(|ends| vec!["until".into(), format!("{}{left}", rfc3339(ends))]));
    rows.extend(check.clock_ahead_seconds.map(|ahead| vec!["clock".into(), format!("{ahead:+} s")]));
    if !check.buckets.is_empty() {
        let mut names = check.buckets.iter().take(MOST_BUCKETS).cloned().collect::<Vec<_>>().join(" ");
        if check.buckets.len() > MOST_BUCKETS {
            names.push_str(&format!(" and {} more", check.buckets.len() - MOST_BUCKETS));
        }
        rows.push(vec!["buckets".into(), names]);
    }
    for step in &check.steps {
        rows.push(vec![
            step.what.to_owned(),
            match &step.outcome {
                Outcome::Can => "yes".into(),
                Outcome::Refused { why } => format!("no: {why}"),
                Outcome::Unknown { why } => format!("not known: {why}"),
            },
        ]);
    }
    table(&rows)
}

/// The keys of a profile in words. The public part of a key tells which one it is; the rest shows nowhere.
fn keys(profile: &Profile) -> String {
    match &profile.keys {
        Keys::Fixed { access_key_id, token, ends_seconds, .. } => {
            let what = if token.is_some() { "temporary key" } else { "key" };
            let until = ends_seconds.map(|ends| format!(" until {}", rfc3339(ends))).unwrap_or_default();
            format!("{what} {}{until}", shown_key_id(access_key_id))
        }
        Keys::Token(grant) => grant.shown(),
        Keys::AccountKey(_) => "account key".into(),
        Keys::SharedAccess(_) => "shared access signature".into(),
        Keys::Got(source) => source.shown(),
        Keys::Anonymous => "no signature".into(),
        Keys::Missing { why } => format!("cannot sign: {why}"),
    }
}

fn row(profile: &Profile) -> Vec<String> {
    let below = profile.below.as_ref().map_or_else(String::new, |below| format!(" {below}"));
    vec![profile.name.clone(), format!("{}{below}", profile.server.shown()), keys(profile), profile.origin.to_string()]
}

fn item(profile: &Profile) -> Value {
    let kind = match &profile.server {
        Server::S3(_) => "s3",
        Server::Google(_) => "google",
        Server::Azure(_) => "azure",
    };
    let mut item = json!({
        "name": profile.name, "origin": profile.origin.to_string(), "kind": kind,
        "endpoint": profile.server.endpoint_shown(), "keys": keys(profile), "below": profile.below,
        "can_sign": !matches!(profile.keys, Keys::Missing { .. } | Keys::Anonymous),
    });
    match &profile.server {
        Server::S3(server) => item["region"] = json!(shown_name(&server.region)),
        Server::Google(server) => item["project"] = json!(server.project.as_deref().map(shown_name)),
        Server::Azure(server) => item["account"] = json!(shown_name(&server.account)),
    }
    item
}

fn web_keys(remote: &WebRemote) -> &'static str {
    if remote.has_headers() { "headers of its own" } else { "no login" }
}

fn web_row(remote: &WebRemote) -> Vec<String> {
    vec![remote.name.clone(), remote.address.without_query(), web_keys(remote).into(), remote.origin.to_string()]
}

fn web_item(remote: &WebRemote) -> Value {
    json!({
        "name": remote.name, "kind": "http", "origin": remote.origin.to_string(), "endpoint": remote.address.without_query(),
        "keys": web_keys(remote), "can_sign": remote.has_headers(),
    })
}
