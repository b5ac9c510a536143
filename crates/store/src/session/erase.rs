//! What is left of identities that were handed on, and taking it away.
//!
//! It looks at what frazil wrote or was told of: profiles that were imported, files that were exported, files that were imported
//! from. It promises to take only what holds for a while, unless it was named by itself; that the files of other programs
//! are not its own; that a file which somebody changed since goes only if it still holds nothing else; and that no link is followed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::files::{self, Kind, Note, mark_of, notes, replace, wipe};
use crate::{
    profile::{
        Surroundings,
        grant::text_of,
        import::{self, without},
        ini::{Section, sections},
    },
    secret::{Secret, shown_key_id, shown_name},
};
use frazil_model::shell::quoted;

/// Something that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// The section of it, if only that is meant.
    pub profile: Option<String>,
    /// What it holds, in words that hold no secret.
    pub what: String,
    /// Its size.
    pub size_bytes: u64,
    /// Why it stays, if it does.
    pub stays: Option<String>,
}

/// What there is: all of it, or what is `told` by the names of profiles and files.
///
/// # Errors
/// If something that is named is not there, or cannot be looked at.
pub fn look(surroundings: &Surroundings, told: &[String]) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    // Its folder of settings may be kept elsewhere, with a link to it: the secret is there.
    let own = import::file(surroundings).map(|path| fs::canonicalize(&path).unwrap_or(path));
    let kept = own.as_deref().map(of_own_file).transpose()?.unwrap_or_default();
    let noted = notes(surroundings);
    if told.is_empty() {
        found.extend(kept.into_iter().map(|(found, _)| found));
        found.extend(own.as_deref().and_then(Path::parent).into_iter().flat_map(of_kills));
        for note in noted.values() {
            found.extend(of_noted(note, surroundings));
        }
        return Ok(found);
    }
    for text in told {
        let named = kept.iter().find(|(found, _)| found.profile.as_ref() == Some(text));
        match named {
            // Whoever names it means it.
            Some((one, _)) => found.push(Found { stays: None, ..one.clone() }),
            None => found.push(of_told(Path::new(text), &noted, surroundings)?),
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert((one.path.clone(), one.profile.clone())));
    Ok(found)
}

/// The profiles of frazil's own file, and whether each ends.
fn of_own_file(path: &Path) -> Result<Vec<(Found, bool)>, String> {
    if path.symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    let text = text_of(path).map_err(|why| format!("{} could not be read: {why}", path.display()))?;
    let one = |section: Section| {
        let (what, is_temporary) = told_by(&section);
        let stays = (!is_temporary)
            .then(|| format!("it does not end; `frazil profile erase {}` takes it away", quoted(&section.name)));
        let what = format!("profile `{}`: {what}", section.name);
        let size_bytes = text.len() as u64;
        (Found { path: path.to_owned(), profile: Some(section.name), what, size_bytes, stays }, is_temporary)
    };
    Ok(sections(&text).into_iter().map(one).collect())
}

/// What a section holds, and whether it is for a while only.
fn told_by(section: &Section) -> (String, bool) {
    let id = section.text("access_key_id").or_else(|| section.text("aws_access_key_id"));
    let has = |key: &str| section.secret(key).is_some();
    let until = section.text("expires").map(|ends| format!(" until {}", shown_name(ends))).unwrap_or_default();
    let token = has("session_token") || has("aws_session_token");
    match id {
        Some(id) if token || !until.is_empty() => (format!("temporary key {}{until}", shown_key_id(id)), true),
        Some(id) => (format!("key {}", shown_key_id(id)), false),
        None if has("access_token") || has("token") || has("headers") => (format!("token{until}"), true),
        None => ("nothing that frazil knows".into(), false),
    }
}

/// What runs of frazil that were killed left beside its file.
fn of_kills(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_left = |name: &str| name.starts_with("profiles.") && name.ends_with(".new");
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_left))
        .map(|entry| {
            let size_bytes = entry.metadata().map_or(0, |about| about.len());
            Found {
                path: entry.path(),
                profile: None,
                what: "left by a run that was killed".into(),
                size_bytes,
                stays: None,
            }
        })
        .collect()
}

/// Where other programs keep what they sign with, below the home of somebody: also what only ends there is theirs.
const OTHERS: [&str; 8] =
    [".aws", ".azure", ".boto", ".config/gcloud", ".config/rclone", ".netrc", ".rclone.conf", ".s3cfg"];

/// Variables that name such files and folders.
const OTHERS_NAMED: [&str; 13] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "RCLONE_CONFIG",
    "NETRC",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_CONFIG_DIR",
    "AZURE_STORAGE_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "BOTO_CONFIG",
];

/// Whether a file is another program's: where such programs keep theirs, or in a hidden folder of the home.
fn is_others(path: &Path, surroundings: &Surroundings) -> bool {
    let home = surroundings.variable("HOME").map(PathBuf::from);
    let home = home.as_ref();
    let named = OTHERS_NAMED.iter().filter_map(|name| surroundings.variable(name)).map(PathBuf::from);
    let known = home.into_iter().flat_map(|home| OTHERS.map(|name| home.join(name)));
    let real = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
    if named.chain(known).any(|others| !others.as_os_str().is_empty() && path.starts_with(real(others))) {
        return true;
    }
    let below = home.map(|home| real(home.clone())).and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned));
    let first = below.as_deref().and_then(|below| below.components().next()).map(|first| first.as_os_str().to_owned());
    first.is_some_and(|first| first.as_encoded_bytes().starts_with(b"."))
}

/// Why a file stays whatever it holds, if it does.
fn stays_where_it_is(path: &Path, kind: Option<Kind>, surroundings: &Surroundings) -> Option<String> {
    let about = path.symlink_metadata().ok()?;
    if about.file_type().is_symlink() {
        return Some("it is a link now, and what it leads to is left to you".into());
    }
    if fs::canonicalize(path).is_ok_and(|real| real != path) {
        return Some("a folder that it was in is a link now, and what that leads to is left to you".into());
    }
    if about.nlink() > 1 {
        return Some("it has a second name elsewhere, which would be empty; it is left to you".into());
    }
    // What frazil itself wrote is its own wherever that was wanted.
    let is_own = matches!(kind, Some(Kind::Exported | Kind::Token));
    (!is_own && is_others(path, surroundings)).then(|| "it is another program's; it is left to you".into())
}

/// A file that was noted; nothing if it is gone.
fn of_noted(note: &Note, surroundings: &Surroundings) -> Option<Found> {
    let about = note.path.symlink_metadata().ok()?;
    let mut found = Found {
        path: note.path.clone(),
        profile: None,
        what: note.kind.shown().to_owned(),
        size_bytes: about.len(),
        stays: stays_where_it_is(&note.path, Some(note.kind), surroundings),
    };
    if found.stays.is_some() {
        return Some(found);
    }
    if note.kind == Kind::Imported || note.mark != mark_of(&about) {
        let is_noted = note.mark == mark_of(&about);
        match held_by(&note.path, is_noted) {
            Ok(what) => found.what = format!("{}, {}", what, note.kind.shown()),
            Err(why) => found.stays = Some(why),
        }
    }
    Some(found)
}

/// A file that somebody names.
fn of_told(
    path: &Path,
    noted: &std::collections::BTreeMap<PathBuf, Note>,
    surroundings: &Surroundings,
) -> Result<Found, String> {
    let name = path.display();
    let about = path
        .symlink_metadata()
        .map_err(|_| format!("there is neither a profile of frazil's own nor a file `{name}`"))?;
    if about.file_type().is_symlink() {
        return Err(format!("{name} is a link; name what it leads to"));
    }
    if !about.is_file() || about.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("{name} is no file of yours"));
    }
    let path = fs::canonicalize(path).map_err(|error| format!("{name} could not be looked at: {error}"))?;
    if let Some(found) = noted.get(&path).and_then(|note| of_noted(note, surroundings)) {
        return Ok(found);
    }
    let held = stays_where_it_is(&path, None, surroundings).map_or_else(|| held_by(&path, false), Err);
    let (what, stays) = match held {
        Ok(what) => (what, None),
        Err(why) => ("a file".to_owned(), Some(why)),
    };
    Ok(Found { path, profile: None, what, size_bytes: about.len(), stays })
}

/// What a file holds, if that is temporary credentials and nothing else. One word alone is a token only if it is known to be.
fn held_by(path: &Path, is_noted: bool) -> Result<String, String> {
    let text = text_of(path).map_err(|why| format!("it could not be read: {why}"))?;
    let text = text.trim();
    if text.starts_with('{') {
        let value: Value = serde_json::from_str(text).map_err(|_| "it is no JSON that frazil knows".to_owned())?;
        let mut names = BTreeSet::new();
        names_in(&value, &mut names);
        let has = |some: &[&str]| some.iter().any(|name| names.contains(*name));
        return match has(&["sessiontoken", "accesstoken", "token"]) && !has(&["privatekey", "refreshtoken"]) {
            true => Ok("temporary credentials".into()),
            false => Err("it holds no temporary credentials, or others besides".into()),
        };
    }
    if text.lines().any(|line| line.trim_start().starts_with('[')) {
        let all: Vec<(String, bool)> = sections(text).iter().map(told_by).collect();
        if all.len() > 1 {
            return Err(format!("it holds {} profiles; it is left to you", all.len()));
        }
        return match all.iter().find(|(_, is_temporary)| !is_temporary) {
            None => Ok(all.into_iter().map(|(what, _)| what).next().unwrap_or_default()),
            Some((what, _)) => Err(format!("it holds {what}, which does not end; it is left to you")),
        };
    }
    let is_word = text.split_whitespace().count() == 1 && !text.contains('=');
    let is_meant = import::is_temporary(text) && (is_noted || !is_word);
    is_meant
        .then(|| "temporary credentials".to_owned())
        .ok_or_else(|| "it holds no temporary credentials that frazil knows".into())
}

/// The names of all values of a JSON text, in letters and digits alone.
fn names_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(pairs) => {
            for (name, value) in pairs {
                if !value.is_null() {
                    names.insert(name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect());
                }
                names_in(value, names);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names_in(value, names)),
        _ => {}
    }
}

/// Takes something away.
///
/// # Errors
/// If it is still there.
pub fn erase(surroundings: &Surroundings, found: &Found) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} could not be erased: {error}", found.path.display());
    let Some(name) = &found.profile else {
        // Once more: it may have changed since somebody said yes.
        let is_there = found.path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        return match is_there.is_none_or(|folder| Some(folder.as_path()) == found.path.parent()) {
            true => wipe(&found.path).map_err(failed),
            false => Err(format!("{} could not be erased: a folder above it is a link now", found.path.display())),
        };
    };
    let _held = import::held(&found.path)?;
    let text = text_of(&found.path).map_err(|why| format!("{} could not be read: {why}", found.path.display()))?;
    let left = Secret::new(without(&text, name));
    match sections(left.reveal()).is_empty() {
        true => wipe(&found.path).map_err(failed).inspect(|()| import::unlinked(surroundings)),
        false => replace(&found.path, &left).map_err(failed),
    }
}

/// Forgets the files that are gone.
pub fn forget(surroundings: &Surroundings) {
    // A note too many names a file that is not there, and is passed over.
    let _ = files::tidy(surroundings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let path = std::env::temp_dir().join(format!("frazil-held-{}-{}", std::process::id(), text.len()));
        fs::write(&path, text).unwrap();
        let held = held_by(&path, false);
        fs::remove_file(&path).unwrap();
        assert_eq!(held.unwrap_or_else(|why| why), expected);
    }

    #[test]
    fn what_ends_is_told_from_what_does_not() {
        check(
            r#"{"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "s", "SessionToken": "t"}}"#,
            "temporary credentials",
        );
        check(r#"{"config": {"access_key_id": "A", "session_token": "t"}}"#, "temporary credentials");
        check(
            r#"{"type": "service_account", "private_key": "CANARY"}"#,
            "it holds no temporary credentials, or others besides",
        );
        check("[a]\naws_access_key_id = A\naws_session_token = t\n", "temporary key A");
        check(
            "[a]\naws_access_key_id = A\naws_session_token = t\n[b]\naws_access_key_id = B\naws_secret_access_key = CANARY\n",
            "it holds 2 profiles; it is left to you",
        );
        check(
            "[b]\naws_access_key_id = B\naws_secret_access_key = CANARY\n",
            "it holds key B, which does not end; it is left to you",
        );
        check(
            "export AWS_ACCESS_KEY_ID=A\nexport AWS_SECRET_ACCESS_KEY=s\nexport AWS_SESSION_TOKEN=t\n",
            "temporary credentials",
        );
        check("AWS_ACCESS_KEY_ID=A\nAWS_SECRET_ACCESS_KEY=s\n", "it holds no temporary credentials that frazil knows");
        check("thesis", "it holds no temporary credentials that frazil knows");
        check("my thesis\nin two lines", "it holds no temporary credentials that frazil knows");
    }
}
