//! Keys that are got, not written: by whom, and with what.
//!
//! Nouns only: nothing is asked here. Source: the AWS SDKs and Tools Reference Guide, "Standardized credential providers".

use std::path::PathBuf;

use super::Keys;
use crate::secret::{self, Secret};

/// Who gives temporary keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A program that prints them (`credential_process`). Its words may be secret.
    Process {
        /// The command line.
        command: Secret,
    },
    /// AWS single sign-on, with the token that `aws sso login` left.
    SignOn(SignOn),
    /// A role that is taken on with other keys.
    Role(Role),
    /// A role that is taken on with a token in a file.
    WebIdentity(WebIdentity),
    /// The server that a container was told of.
    Container(Container),
}

/// A sign-on of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOn {
    /// The profile, for `aws sso login --profile`.
    pub profile: String,
    /// Where the token lies.
    pub cache: PathBuf,
    /// The server that gives keys for it.
    pub endpoint: String,
    /// The account.
    pub account_id: String,
    /// The role in it.
    pub role_name: String,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub arn: String,
    /// What the session is called.
    pub session_name: Option<String>,
    /// A word that the role wants to hear.
    pub external_id: Option<Secret>,
    /// For how long.
    pub duration_seconds: Option<u64>,
    /// Who gives its keys.
    pub service: TokenService,
    /// What the question is signed with.
    pub from: Box<Keys>,
}

/// A role that a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// Its name.
    pub arn: String,
    /// What the session is called.
    pub session_name: Option<String>,
    /// For how long.
    pub duration_seconds: Option<u64>,
    /// Where the token lies.
    pub token_file: PathBuf,
    /// Who gives its keys.
    pub service: TokenService,
}

/// A server that gives keys for roles (STS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenService {
    /// Its address.
    pub endpoint: String,
    /// The region that is signed for.
    pub region: String,
}

/// The server of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its address.
    pub address: String,
    /// What it wants to hear, in itself or in a file.
    pub token: Option<Secret>,
    /// The file with that.
    pub token_file: Option<PathBuf>,
}

impl Source {
    /// Who gives the keys, in words.
    #[must_use]
    pub fn shown(&self) -> String {
        let name = secret::shown_name;
        match self {
            Self::Process { command } => format!("keys of the program `{}`", name(&program(command))),
            Self::SignOn(on) => {
                let (account, role) = (name(&on.account_id), name(&on.role_name));
                format!("keys of single sign-on: account {account}, role {role}")
            }
            Self::Role(Role { arn, from, .. }) => {
                let arn = name(arn);
                match from.as_ref() {
                    Keys::Fixed { access_key_id, .. } => {
                        format!("role {arn} (`role_arn`) taken on by key {}", secret::shown_key_id(access_key_id))
                    }
                    Keys::Got(source) => format!("role {arn} (`role_arn`) taken on by {}", source.shown()),
                    _ => format!("role {arn} (`role_arn`)"),
                }
            }
            Self::WebIdentity(of) => {
                format!("role {} by the token in {}", name(&of.arn), name(&of.token_file.to_string_lossy()))
            }
            Self::Container(of) => format!("keys of the container's server {}", secret::shown_address(&of.address)),
        }
    }
}

/// The first word of a command: the others may be secret.
pub(crate) fn program(command: &Secret) -> String {
    let words = words(command.reveal()).unwrap_or_default();
    words.into_iter().next().unwrap_or_default()
}

/// The words of a command line as a shell would cut it, without a shell; `None` if a quote is left open.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => match letters.next()? {
                            letter @ ('"' | '\\' | '$' | '`') => word.push(letter),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_as_a_shell_would_cut_it() {
        let cut = |line| words(line).map(|words| words.join("|"));
        assert_eq!(cut("/opt/a b  'c d' \"e \\\"f\\\" \\n\" g\\ h ''"), Some("/opt/a|b|c d|e \"f\" \\n|g h|".into()));
        assert_eq!(cut("a; rm -rf $HOME"), Some("a;|rm|-rf|$HOME".into()));
        assert_eq!(cut("a 'b"), None);
        assert_eq!(program(&Secret::new("'/opt/my prog' --token x".into())), "/opt/my prog");
    }
}
