//! `frazil profile`: who could sign, and who does.

use frazil_engine::EngineError;
use frazil_model::{location::Location, report::Report};
use frazil_store::{
    bucket::profile_of,
    profile::{Keys, Known, Profile, Server, Surroundings, known, located},
};
use serde_json::{Value, json};

use crate::{
    arguments::Explain,
    output::{Answer, table},
};

/// Every profile with the file it stands in, and what shadows it.
pub fn list() -> Answer {
    let Known { profiles, unread, not_followed, .. } = known(&Surroundings::of_process());
    let mut report = Report::of("profile-list");
    let mut rows = Vec::new();
    for (number, profile) in profiles.iter().enumerate() {
        let mut item = item(profile);
        let mut row = row(profile);
        if let Some(above) = profiles.iter().take(number).find(|above| above.name == profile.name) {
            item["shadowed_by"] = json!(above.origin.to_string());
            row.push(format!("shadowed by {}", above.origin));
        }
        report.items.push(item);
        rows.push(row);
    }
    for not in &not_followed {
        let why = format!("not followed: {}", not.why);
        rows.push(vec![not.name.clone(), format!("rclone {}", not.kind), why, not.origin.to_string()]);
        report.items.push(json!({
            "name": not.name, "kind": not.kind, "origin": not.origin.to_string(), "keys": not.why, "can_sign": false,
        }));
    }
    for (path, reason) in &unread {
        report.warn("profile.unread", format!("{} could not be read: {reason}", path.display()));
    }
    report.total("n_profiles", profiles.len());
    let text = if rows.is_empty() {
        "no AWS profile, no rclone remote of buckets and no keys of Google or Azure were found\n".into()
    } else {
        table(&rows)
    };
    Answer { report, text }
}

/// Which file and which key open a place.
pub fn explain(words: &Explain) -> Result<Answer, EngineError> {
    let mut report = Report::of("profile-explain");
    let location = located(&words.place)?;
    report.more.insert("location".into(), json!(location.to_string()));
    let Location::Object(object) = &location else {
        let text = format!("{location} is asked for without a signature\n");
        return Ok(Answer { report, text });
    };
    let profile = profile_of(object)?;
    report.items.push(item(&profile));
    let text = format!("{location} is asked for by\n{}", table(&[row(&profile)]));
    Ok(Answer { report, text })
}

/// The keys of a profile in words. The public part of a key tells which one it is; the rest shows nowhere.
fn keys(profile: &Profile) -> String {
    match &profile.keys {
        Keys::Fixed { access_key_id, token: None, .. } => format!("key {access_key_id}"),
        Keys::Fixed { access_key_id, token: Some(_), .. } => format!("temporary key {access_key_id}"),
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
    let (kind, endpoint) = match &profile.server {
        Server::S3(server) => ("s3", &server.endpoint),
        Server::Google(server) => ("google", &server.endpoint),
        Server::Azure(server) => ("azure", &server.endpoint),
    };
    let mut item = json!({
        "name": profile.name, "origin": profile.origin.to_string(), "kind": kind, "endpoint": endpoint,
        "keys": keys(profile), "below": profile.below,
        "can_sign": !matches!(profile.keys, Keys::Missing { .. } | Keys::Anonymous),
    });
    match &profile.server {
        Server::S3(server) => item["region"] = json!(server.region),
        Server::Google(server) => item["project"] = json!(server.project),
        Server::Azure(server) => item["account"] = json!(server.account),
    }
    item
}
