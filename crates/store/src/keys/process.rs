//! Keys that a program prints (`credential_process`).
//!
//! It promises that no shell reads the command, that the program ends in time or is ended, and that neither its words nor
//! what it prints is ever repeated. Secrets that frazil itself was given by variables are not passed on to it.
//! Source: the AWS SDKs and Tools Reference Guide, "Process credential provider".

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{Key, seconds_of};
use crate::{
    profile::source::{program, words},
    secret::Secret,
};

/// A program that takes longer waits for somebody.
const MOST_TIME: Duration = Duration::from_secs(60);

/// Keys are small.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// How often it is looked whether the program has ended.
const LOOKED_EVERY: Duration = Duration::from_millis(10);

/// Secrets of our own.
const KEPT_BACK: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "EARTHDATA_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "IDENTITY_HEADER",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

/// Runs the program.
pub(super) fn run(command: &Secret) -> Result<Key, String> {
    let name = program(command);
    let failed = |why: &str| {
        format!("its `credential_process`, the program `{name}`, {why}; run it by itself to see what it says")
    };
    let Some(words) = words(command.reveal()) else { return Err(failed("has a quote that is never closed")) };
    let Some((first, rest)) = words.split_first() else { return Err("its `credential_process` is empty".into()) };
    let mut command = Command::new(first);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if KEPT_BACK.contains(&text.as_ref())
            || text.starts_with("RCLONE_CONFIG_")
            || ["RCLONE_S3_", "RCLONE_GCS_", "RCLONE_AZUREBLOB_"].iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&variable);
        }
    }
    let mut child = command.spawn().map_err(|error| failed(&format!("could not be started: {}", error.kind())))?;
    let output = output(&mut child);
    let output = output.map_err(|why| failed(&why))?;
    let printed: Printed = serde_json::from_slice(&output).map_err(|_| failed("printed no keys that make sense"))?;
    if printed.version != 1 {
        return Err(failed("printed keys of a version other than 1"));
    }
    let ends_seconds = match &printed.expiration {
        None => None,
        Some(text) => Some(seconds_of(text).ok_or_else(|| failed("printed an `Expiration` that is no time"))?),
    };
    Ok(Key {
        access_key_id: printed.access_key_id,
        secret: Secret::new(printed.secret_access_key),
        token: printed.session_token.filter(|token| !token.is_empty()).map(Secret::new),
        ends_seconds,
    })
}

/// What it prints until it ends.
fn output(child: &mut Child) -> Result<Vec<u8>, String> {
    let (sender, receiver) = mpsc::channel();
    let Some(stdout) = child.stdout.take() else { return Err("prints nothing".into()) };
    // A child of its own may hold the pipe open after it ended, so nobody waits for this thread.
    let read = move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    };
    let spawned = std::thread::Builder::new().name("credential_process".into()).spawn(read);
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if spawned.is_ok() && began.elapsed() < MOST_TIME => std::thread::sleep(LOOKED_EVERY),
            Ok(None) => break Err(format!("did not end within {} s", MOST_TIME.as_secs())),
            Err(error) => break Err(format!("could not be waited for: {}", error.kind())),
        }
    };
    let status = status.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })?;
    if !status.success() {
        return Err(match status.code() {
            Some(code) => format!("ended with code {code}"),
            None => "was ended by a signal".into(),
        });
    }
    let left = MOST_TIME.saturating_sub(began.elapsed()).min(Duration::from_secs(5));
    match receiver.recv_timeout(left) {
        Ok(Ok(bytes)) => Ok(bytes),
        _ => Err("printed nothing that could be read".into()),
    }
}
