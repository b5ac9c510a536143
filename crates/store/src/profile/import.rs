//! Keys and tokens that somebody was given for a while, taken into frazil's own file of profiles.
//!
//! The file has the form of `rclone.conf`, so that it needs no reader of its own. It promises that the file is for its
//! owner alone, is replaced whole or not at all by one command at a time, and keeps what it says of others; and that
//! nothing of what was given is repeated, whether it makes sense or not.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Surroundings;
use crate::{keys::seconds_of, secret::Secret, session::replace};

/// What was given is no longer.
const MAX_GIVEN_BYTES: usize = 1 << 20;

/// How long another command that changes the file may take.
const MAX_HELD: Duration = Duration::from_secs(60);

/// How long until it is looked at again.
const NEXT_LOOK: Duration = Duration::from_millis(20);

/// What goes with the keys.
#[derive(Debug, Clone, Default)]
pub struct With {
    /// The server of buckets, or of the web if a token was given.
    pub address: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// When they end, if that is not said beside them.
    pub expires: Option<String>,
}

/// What was taken.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The file.
    pub path: PathBuf,
    /// When the keys end.
    pub expires: Option<String>,
    /// What they are, in words.
    pub what: &'static str,
}

/// Where frazil's own profiles lie.
pub(crate) fn file(surroundings: &Surroundings) -> Option<PathBuf> {
    let of_home = surroundings.home.as_ref().map(|home| home.join(".config"));
    let config = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from).or(of_home)?;
    Some(config.join("frazil/profiles.conf"))
}

/// Why a file of secrets is not read, if others can.
///
/// # Errors
/// That they can.
pub fn is_private(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(about) if about.mode() & 0o077 != 0 => {
            Err(format!("others can read {}; `chmod 600` it first", path.display()))
        }
        _ => Ok(()),
    }
}

/// Takes what `text` gives as the profile `name`.
///
/// # Errors
/// What is wrong with it, in words that repeat nothing of it.
pub fn import(surroundings: &Surroundings, name: &str, text: &str, with: &With) -> Result<Imported, String> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !is_name {
        return Err("the name of a profile has letters, digits, `-` and `_`".into());
    }
    let path = file(surroundings).ok_or("there is no home folder for its file")?;
    let given = Given::read(text)?;
    let (what, section, expires) = given.section(name, with)?;
    // It may be kept elsewhere, with a link to it: the old keys are there, and are overwritten there.
    let path = match fs::canonicalize(&path) {
        Ok(real) => real,
        Err(_) if path.symlink_metadata().is_ok() => {
            return Err(format!("{} is a link that leads nowhere; remove it first", path.display()));
        }
        Err(_) => path,
    };
    let failed = |error: std::io::Error| format!("{} could not be written: {error}", path.display());
    make_folder(&path).map_err(failed)?;
    let _held = held(&path)?;
    let old = match fs::read_to_string(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{} could not be read: {error}", path.display())),
    };
    is_private(&path)?;
    let text = Secret::new(format!("{}{}", without(&old, name), section.reveal()));
    replace(&path, &text).map_err(failed)?;
    Ok(Imported { path, expires, what })
}

/// Holds the folder of the file of profiles against other commands that change it, until it is dropped.
///
/// # Errors
/// If it is not there, or another command does not end.
pub(crate) fn held(path: &Path) -> Result<File, String> {
    let folder = path.parent().unwrap_or(path);
    let file = File::open(folder).map_err(|error| format!("{} could not be opened: {error}", folder.display()))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < MAX_HELD => sleep(NEXT_LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(format!("another command holds {}; nothing was changed", folder.display()));
            }
            // Some file systems of networks lock no folders; two commands at once are then not kept apart.
            Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Takes away a link in the place of the file whose target went.
pub(crate) fn unlinked(surroundings: &Surroundings) {
    let Some(path) = file(surroundings) else { return };
    if path.symlink_metadata().is_ok_and(|about| about.file_type().is_symlink()) && path.metadata().is_err() {
        // A link that leads nowhere holds no secret.
        let _ = fs::remove_file(path);
    }
}

/// The text of the other sections.
pub(crate) fn without(text: &str, name: &str) -> String {
    let header = format!("[{name}]");
    let mut is_kept = true;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            is_kept = line.trim() != header;
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => fs::DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

/// Whether a text that could be imported is for a while only.
pub(crate) fn is_temporary(text: &str) -> bool {
    Given::read(text).is_ok_and(|given| given.token.is_some() || given.expires.is_some())
}

/// What somebody gave.
#[derive(Default)]
struct Given {
    access_key_id: Option<String>,
    secret: Option<Secret>,
    token: Option<Secret>,
    expires: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Given {
    /// Reads JSON as AWS and Google print it, lines as shells and files of AWS have them, or a token alone.
    fn read(text: &str) -> Result<Self, String> {
        // Editors of some systems put a mark before what they write.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.len() > MAX_GIVEN_BYTES {
            return Err("nothing was given, or far too much".into());
        }
        let mut given = Self::default();
        if text.starts_with('{') {
            let value: Value = serde_json::from_str(text).map_err(|_| "what was given is no JSON".to_owned())?;
            let inner = value.get("Credentials").unwrap_or(&value);
            let pairs = inner.as_object().into_iter().flatten();
            for (key, value) in pairs.filter_map(|(key, value)| Some((key, value.as_str()?))) {
                given.take(key, value);
            }
        } else if text.contains('=') && (text.contains('\n') || text.to_lowercase().contains("aws_")) {
            for line in text.lines() {
                let line = line.trim();
                let line = ["export ", "set ", "$env:", "$Env:"]
                    .iter()
                    .find_map(|start| line.strip_prefix(start))
                    .unwrap_or(line);
                let Some((key, value)) = line.split_once('=') else { continue };
                given.take(key.trim(), value.trim().trim_matches(['"', '\'']));
            }
        } else if is_token(text) {
            given.token = Some(Secret::new(text.to_owned()));
        } else if text.starts_with('<') {
            return Err("what was given is no token: it looks like a page of the web".into());
        } else if text.starts_with(['[', '"']) {
            return Err("what was given is no token: it looks like JSON, and has no names".into());
        } else if text.split_whitespace().count() == 1 {
            return Err("what was given is no token: it has letters that none has".into());
        }
        Ok(given)
    }

    fn take(&mut self, key: &str, value: &str) {
        if value.is_empty() || value.chars().any(char::is_control) {
            return;
        }
        let name: String = key.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        match name.strip_prefix("aws").unwrap_or(&name) {
            "accesskeyid" => self.access_key_id = Some(value.to_owned()),
            "secretaccesskey" => self.secret = Some(Secret::new(value.to_owned())),
            "sessiontoken" | "accesstoken" | "token" => self.token = Some(Secret::new(value.to_owned())),
            "expiration" | "credentialexpiration" | "expiry" | "expires" | "expireson" | "expirationtime" => {
                self.expires = Some(value.to_owned());
            }
            "endpointurl" | "endpointurls3" | "endpoint" => self.endpoint = Some(value.to_owned()),
            "region" | "defaultregion" => self.region = Some(value.to_owned()),
            _ => {}
        }
    }

    /// The section of the file, what it is, and when it ends.
    fn section(&self, name: &str, with: &With) -> Result<(&'static str, Secret, Option<String>), String> {
        let expires = with.expires.clone().or_else(|| self.expires.clone());
        if expires.as_deref().is_some_and(|text| seconds_of(text).is_none()) {
            return Err("when it ends is no time such as 2026-11-20T18:00:00Z".into());
        }
        let is_line = |text: &String| !text.contains(char::is_control);
        let address = with.address.clone().or_else(|| self.endpoint.clone());
        if address.as_ref().is_some_and(|address| !is_address(address)) {
            return Err("its server is no address such as `https://osn.example`".into());
        }
        let region = with.region.clone().or_else(|| self.region.clone()).filter(is_line);
        if self.access_key_id.is_none() && self.token.as_ref().is_some_and(|token| !is_token(token.reveal())) {
            return Err("what was given is no token: it has letters that none has".into());
        }
        let mut lines = vec![format!("[{name}]")];
        let what = match (&self.access_key_id, &self.secret, &self.token) {
            (Some(_), Some(_), _) if address.as_deref() == Some("gs://") => {
                return Err("`--server gs://` takes a token of Google, and keys were given".into());
            }
            (Some(id), Some(secret), token) => {
                lines.extend(["type = s3".into(), format!("access_key_id = {id}")]);
                lines.push(format!("secret_access_key = {}", secret.reveal()));
                lines.extend(token.as_ref().map(|token| format!("session_token = {}", token.reveal())));
                lines.extend(address.map(|address| format!("endpoint = {address}")));
                lines.extend(region.map(|region| format!("region = {region}")));
                if token.is_some() { "a temporary key" } else { "a key" }
            }
            (None, None, Some(token)) if address.as_deref() == Some("gs://") => {
                let mut said = serde_json::json!({"access_token": token.reveal()});
                if let Some(expires) = &expires {
                    said["expiry"] = Value::String(expires.clone());
                }
                lines.extend(["type = google cloud storage".into(), format!("access_token = {said}")]);
                "a token"
            }
            (None, None, Some(token)) => {
                let address = address
                    .ok_or("a token alone needs `--server https://host/` or `--server gs://`, which it is told to")?;
                if !address.starts_with("https://") {
                    return Err("a token is told to servers over https only".into());
                }
                lines.extend(["type = http".into(), format!("url = {address}")]);
                lines.push(format!("headers = Authorization,\"Bearer {}\"", token.reveal().replace('"', "")));
                "a token"
            }
            (None, None, None) => return Err("what was given holds no key and no token that frazil knows".into()),
            _ => return Err("what was given holds one half of a key".into()),
        };
        lines.extend(expires.as_ref().map(|expires| format!("expires = {expires}")));
        Ok((what, Secret::new(format!("{}\n", lines.join("\n"))), expires))
    }
}

/// Whether a word may be told to servers as a token (RFC 6750, section 2.1).
fn is_token(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    !letters.is_empty() && letters.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
}

/// Whether a text is the address of a server: with a scheme, or a name that a server may have.
fn is_address(text: &str) -> bool {
    if text == "gs://" {
        return true;
    }
    let (is_told, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (matches!(scheme, "http" | "https"), rest),
        None => (text.contains('.') || text.contains(':') || text == "localhost", text),
    };
    let host = rest.split('/').next().unwrap_or_default();
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    is_told && !host.is_empty() && host.chars().all(is_letter) && !rest.contains(|c: char| c.is_control() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, address: Option<&str>, expected: &str) {
        let with = With { address: address.map(str::to_owned), ..With::default() };
        let shown = match Given::read(text).and_then(|given| given.section("n", &with)) {
            Ok((what, section, _)) => format!("{what}: {}", section.reveal().trim().replace('\n', "; ")),
            Err(why) => why,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_pasted_becomes_a_profile() {
        let keys = "type = s3; access_key_id = A; secret_access_key = s; session_token = t";
        check(
            r#"{"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2030-01-01T00:00:00+00:00"}}"#,
            Some("https://h"),
            &format!("a temporary key: [n]; {keys}; endpoint = https://h; expires = 2030-01-01T00:00:00+00:00"),
        );
        let lines = "export AWS_ACCESS_KEY_ID=\"A\"\nexport AWS_SECRET_ACCESS_KEY=\"s\"\nexport AWS_SESSION_TOKEN=t\n";
        check(lines, None, &format!("a temporary key: [n]; {keys}"));
        check(
            "aws_access_key_id = A\naws_secret_access_key = s",
            None,
            "a key: [n]; type = s3; access_key_id = A; secret_access_key = s",
        );
        check(
            "CANARY",
            Some("https://h/d"),
            "a token: [n]; type = http; url = https://h/d; headers = Authorization,\"Bearer CANARY\"",
        );
    }

    #[test]
    fn a_mark_before_what_is_pasted_is_no_part_of_it() {
        let keys = "\u{feff}{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"s\"}";
        let expected = "a key: [n]; type = s3; access_key_id = A; secret_access_key = s; endpoint = https://h";
        check(keys, Some("https://h"), expected);
    }

    #[test]
    fn a_token_of_google_is_kept_with_its_end() {
        check(
            r#"{"access_token": "CANARY", "expiry": "2030-01-01T00:00:00Z"}"#,
            Some("gs://"),
            "a token: [n]; type = google cloud storage; access_token = \
             {\"access_token\":\"CANARY\",\"expiry\":\"2030-01-01T00:00:00Z\"}; expires = 2030-01-01T00:00:00Z",
        );
    }

    #[test]
    fn what_makes_no_sense_is_not_repeated() {
        check("CANARY", None, "a token alone needs `--server https://host/` or `--server gs://`, which it is told to");
        check("CANARY", Some("http://h"), "a token is told to servers over https only");
        check("{CANARY", None, "what was given is no JSON");
        check("CANARY and CANARY", None, "what was given holds no key and no token that frazil knows");
        check("AWS_ACCESS_KEY_ID=CANARY\n", None, "what was given holds one half of a key");
        check("<html>502</html>", Some("gs://"), "what was given is no token: it looks like a page of the web");
        check("[\"CANARY\"]", Some("gs://"), "what was given is no token: it looks like JSON, and has no names");
        check("CANARY\u{1b}", Some("https://h"), "what was given is no token: it has letters that none has");
        check(
            r#"{"token": "CANARY two"}"#,
            Some("https://h"),
            "what was given is no token: it has letters that none has",
        );
        check("CANARY", Some("notaurl"), "its server is no address such as `https://osn.example`");
        check("CANARY", Some("ftp://h"), "its server is no address such as `https://osn.example`");
        let keys = "aws_access_key_id = A\naws_secret_access_key = CANARY";
        check(keys, Some("gs://"), "`--server gs://` takes a token of Google, and keys were given");
        check(
            r#"{"token": "CANARY", "expiry": "CANARY"}"#,
            Some("https://h"),
            "when it ends is no time such as 2026-11-20T18:00:00Z",
        );
    }

    #[test]
    fn other_profiles_stay() {
        assert_eq!(without("[a]\nx = 1\n[n]\ny = 2\n\n[b]\nz = 3\n", "n"), "[a]\nx = 1\n[b]\nz = 3\n");
    }
}
