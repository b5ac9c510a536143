//! Why bytes could not be read or written.

use std::{io, path::PathBuf};

use frazil_model::{
    location::Location,
    problem::{Exit, Problem},
    shell::quoted,
};

use crate::{keys::is_about_key, trust::Distrust};

/// Why bytes could not be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error("there is no `{location}`")]
    NotFound { location: Location },
    #[error("access to `{location}` was refused")]
    Refused { location: Location, source: io::Error },
    #[error("`{location}` could not be read")]
    Read { location: Location, source: io::Error },
    #[error("`{location}` has {size_bytes} bytes; bytes {offset} to {end} were asked for")]
    Short { location: Location, offset: u64, end: u64, size_bytes: u64 },
    #[error("`{location}` is a folder")]
    IsFolder { location: Location },
    #[error("`{}` could not be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("no space is left for `{}`{}", path.display(), wanted(*n_bytes))]
    Full { path: PathBuf, n_bytes: u64, source: io::Error },
    #[error("`{place}` is being written by another frazil process{}", known(by))]
    Locked { place: String, by: String },
    #[error("`{location}` was taken over by another frazil process while this one did not answer")]
    LockLost { location: Location },
    #[error("the server of `{location}` does not list what lies there")]
    CannotList { location: Location },
    #[error("nothing can be written to `{location}`")]
    NotWritable { location: Location },
    #[error("`{}` cannot be locked: its file system has no locks", path.display())]
    NoLocks { path: PathBuf, source: io::Error },
    #[error("`{key}` is not a safe key: {reason}")]
    UnsafeKey { key: String, reason: &'static str },
    #[error("the server of `{location}` ignores byte ranges")]
    RangeIgnored { location: Location },
    #[error("there is no `{location}`: the server answered {status}{}", after_space(code.as_deref()))]
    Absent { location: Location, status: u16, code: Option<String> },
    #[error(
        "access to `{}` was refused: the server answered {status}{}{}",
        refused_place(location, code.as_deref()),
        after_space(code.as_deref()),
        about_key(code.as_deref(), signed_by.as_deref())
    )]
    Denied { location: Location, status: u16, code: Option<String>, signed_by: Option<String> },
    #[error("`{location}` was not written: what is there is not what was expected there")]
    Taken { location: Location },
    #[error("the server of `{location}` has other bytes than were sent: {got} in place of {wanted}")]
    Damaged { location: Location, wanted: String, got: String },
    #[error("`{location}` arrived damaged: its bytes are not those that its server keeps the digest {digest} of")]
    ArrivedDamaged { location: Location, digest: String },
    #[error("`{location}` could not be sent: {reason}")]
    Send { location: Location, reason: String, is_temporary: bool },
    #[error("access to `{location}` was refused: `{host}` answered {status}{}", with_login(login.as_deref()))]
    Login { location: Location, host: String, status: u16, login: Option<String> },
    #[error("`{location}` must not be written to: only `{allowed}` may")]
    OutOfBounds { location: Location, allowed: String },
    #[error("`{location}` was not asked for: `{host}` is not trusted, {why}")]
    Untrusted { location: Location, host: String, distrust: Distrust, why: String },
    #[error("nobody signs for `{location}`: {why}")]
    Unsigned { location: Location, why: String },
    #[error("`{location}` stays: {reason}")]
    Stays { location: Location, reason: String },
    #[error("`{location}` changed while it was read: {reason}")]
    Changed { location: Location, reason: String },
    #[error("the server of `{location}` answered with a web page in place of the file")]
    WebPage { location: Location },
    #[error("the server of `{location}` answered with bytes `{got}` where {wanted} were asked for")]
    WrongRange { location: Location, wanted: String, got: String },
    #[error("`{location}` is larger than {limit_bytes} bytes, too large to be read whole")]
    TooLarge { location: Location, limit_bytes: u64 },
    #[error("`{location}` could not be fetched: {reason}")]
    Fetch { location: Location, reason: String, is_temporary: bool },
}

/// How much was to be written, where that is known.
fn wanted(n_bytes: u64) -> String {
    if n_bytes == 0 { String::new() } else { format!(" ({n_bytes} bytes)") }
}

/// Who was asked as.
fn with_login(login: Option<&str>) -> String {
    login.map_or_else(String::new, |login| format!(" to {login}"))
}

/// Who is at work, where that is known.
fn known(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(" ({by})") }
}

/// The name of an error, where the server gave one.
fn after_space(code: Option<&str>) -> String {
    code.map_or_else(String::new, |code| format!(" {code}"))
}

/// Whether a server named the token that a request was signed with, or its key, as what it does not take.
fn is_about_token(code: &str) -> bool {
    code.contains("Token") || code == "InvalidSecurity"
}

/// What was refused: whoever is not known may have nothing of a bucket, whichever object was asked for first.
fn refused_place(location: &Location, code: Option<&str>) -> Location {
    let is_about_all = |code: &&str| is_about_token(code) || *code == "InvalidAccessKeyId";
    match (location, code.filter(is_about_all)) {
        (Location::Object(object), Some(_)) => Location::Object(object.with_key(String::new())),
        _ => location.clone(),
    }
}

/// What a server does not take, in words.
fn about_key(code: Option<&str>, signed_by: Option<&str>) -> String {
    match (code, signed_by) {
        (Some(code), Some(name)) if code.contains("Expired") && is_about_token(code) => {
            format!("; the token of profile `{name}` has ended")
        }
        (Some(code), Some(name)) if is_about_token(code) => {
            format!("; it does not take the token of profile `{name}`")
        }
        (Some("InvalidAccessKeyId"), Some(name)) => format!("; it does not know the key of profile `{name}`"),
        _ => String::new(),
    }
}

impl StoreError {
    /// A failed read of `location`.
    #[must_use]
    pub fn reading(location: &Location, source: io::Error) -> Self {
        let location = location.clone();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { location },
            io::ErrorKind::PermissionDenied => Self::Refused { location, source },
            io::ErrorKind::IsADirectory => Self::IsFolder { location },
            _ => Self::Read { location, source },
        }
    }

    /// A failed write of `n_bytes` to `path`.
    #[must_use]
    pub fn writing(path: &std::path::Path, n_bytes: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, n_bytes, source },
            _ => Self::Write { path, source },
        }
    }
}

impl StoreError {
    /// The same for somebody who was writing.
    pub(crate) fn while_writing(self) -> Self {
        match self {
            Self::Fetch { location, reason, is_temporary } => Self::Send { location, reason, is_temporary },
            other => other,
        }
    }
}

impl StoreError {
    /// Whether a server did not know the key or the token: it then says nothing of what may be done.
    #[must_use]
    pub fn refuses_key(&self) -> bool {
        matches!(self, Self::Denied { code: Some(code), .. } if is_about_key(code))
    }
}

impl Problem for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::Absent { .. } => "store.not-found",
            Self::Refused { .. } | Self::Denied { .. } | Self::Login { .. } => "store.refused",
            Self::Unsigned { .. } => "store.unsigned",
            Self::Untrusted { .. } => "store.untrusted",
            Self::Taken { .. } => "store.taken",
            Self::OutOfBounds { .. } => "store.out-of-bounds",
            Self::Damaged { .. } | Self::ArrivedDamaged { .. } => "store.damaged",
            Self::Send { .. } => "store.send",
            Self::Changed { .. } => "store.changed",
            Self::Stays { .. } => "store.stays",
            Self::WebPage { .. } => "store.web-page",
            Self::WrongRange { .. } => "store.wrong-range",
            Self::TooLarge { .. } => "store.too-large",
            Self::Read { .. } => "store.read",
            Self::Short { .. } => "store.short",
            Self::IsFolder { .. } => "store.is-folder",
            Self::Write { .. } => "store.write",
            Self::Full { .. } => "store.full",
            Self::Locked { .. } | Self::LockLost { .. } => "store.locked",
            Self::CannotList { .. } => "store.cannot-list",
            Self::NotWritable { .. } => "target.not-writable",
            Self::NoLocks { .. } => "store.no-locks",
            Self::UnsafeKey { .. } => "store.unsafe-key",
            Self::RangeIgnored { .. } => "store.range-ignored",
            Self::Fetch { .. } => "store.fetch",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Full { .. } => "free some space and type the same command again: it goes on where it stopped".into(),
            Self::Write { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory) =>
            {
                "it is left as it is; move what is in the way, or write to another place".into()
            }
            Self::Write { .. } => {
                "once the cause is gone, type the same command again: it goes on where it stopped".into()
            }
            Self::Locked { .. } => "wait for it, or write to another place".into(),
            Self::LockLost { .. } => "type the same command again once the other one is done".into(),
            Self::CannotList { .. } => {
                "a store of a web server can be read if its metadata is consolidated; copy it first if it is not".into()
            }
            Self::NotWritable { .. } => "frazil writes to folders of this machine and to buckets".into(),
            Self::Short { .. } => "the file changed or its download is incomplete; run `frazil inspect` on it".into(),
            Self::IsFolder { .. } => "name the files in it, or a pattern such as `folder/*.nc`".into(),
            Self::RangeIgnored { .. } => {
                "its files cannot be read in parts; `frazil cp ADDRESS FOLDER/` fetches them whole: use the copies".into()
            }
            Self::Denied { code: Some(code), .. } if code == "RequestTimeTooSkewed" => {
                "the clock of this machine differs from the server's; set it right".into()
            }
            Self::Denied { code: Some(code), .. } if code == crate::asking::PAYER_MISSING => {
                "its owner lets readers pay; name the project that does: `GOOGLE_CLOUD_QUOTA_PROJECT`, or `user_project` \
                 of an rclone remote"
                    .into()
            }
            Self::Denied { signed_by: Some(_), code: Some(code), location, .. } if is_about_token(code) => format!(
                "sign in again, or put a new token in its place: `frazil profile explain {}` shows where it was read",
                quoted(refused_place(location, Some(code)))
            ),
            Self::Denied { signed_by: Some(name), location, .. } => format!(
                "it was signed with profile `{name}`; `frazil profile explain {}` shows where its key was read",
                quoted(location)
            ),
            Self::Denied { location: Location::Object(_), .. } => {
                "it was asked for without a signature; name who signs with `--profile NAME`".into()
            }
            Self::Untrusted { distrust, .. } => distrust.hint().into(),
            Self::Unsigned { .. } => {
                "`frazil profile list` shows who could; `--anonymous` asks for public data without a signature".into()
            }
            Self::Login { host, login: None, .. } => format!(
                "there is no login for it; put `machine {host} login NAME password WORD` into ~/.netrc, which only you may \
                 read"
            ),
            Self::Login { location, .. } => {
                format!(
                    "the login may be wrong, or may not do this; `frazil profile explain {}` shows where it was read",
 quoted(location)
                )
            }
            Self::Denied { .. } => "the server asks for something that frazil does not send".into(),
            Self::Changed { .. } => "run the command again: it starts from the file as it is now".into(),
            Self::Stays { .. } => "look what is there, then type the command again".into(),
            Self::WebPage { .. } => {
                "open the address in a browser: it may ask you to sign in, or the file may have moved".into()
            }
            Self::WrongRange { .. } => "download the file first and use the copy".into(),
            Self::Taken { .. } => {
                "another process may write there: look what is there, then type the command again".into()
            }
            Self::OutOfBounds { .. } => "`write_only_under` in your configuration says so".into(),
            Self::Damaged { .. } => "type the same command again: it is sent once more".into(),
            Self::ArrivedDamaged { .. } => "type the same command again: it is fetched once more".into(),
            Self::Fetch { is_temporary: true, .. } | Self::Send { is_temporary: true, .. } => {
                "try again later: what is done is kept".into()
            }
            _ => return None,
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Locked { .. }
            | Self::LockLost { .. }
            | Self::Damaged { .. }
            | Self::ArrivedDamaged { .. }
            | Self::Fetch { is_temporary: true, .. }
            | Self::Send { is_temporary: true, .. } => Exit::Later,
            Self::Denied { .. } | Self::Login { .. } | Self::Unsigned { .. } => Exit::SignIn,
            _ => Exit::No,
        }
    }
}
