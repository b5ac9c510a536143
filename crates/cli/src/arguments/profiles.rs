//! What people type about who they are: profiles, what they may do, and what is handed on of them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use frazil_store::session::{Form, policy::Mode};

use super::Confirmed;

#[derive(Debug, Subcommand)]
pub enum Profile {
    /// List AWS profiles, rclone remotes and logins, each with its file, what shadows it and why it cannot sign
    List,
    Explain(Explain),
    Check(CheckProfile),
    Import(Import),
    Export(Export),
    Token(Token),
    Erase(Erase),
}

/// Keep keys or a token that you were given for a while, in a file that only you can read
///
/// They are read from a file or from stdin, never from the command line, where they would show in process lists: the JSON of
/// `aws sts assume-role`, lines such as `export AWS_ACCESS_KEY_ID=…`, or a token alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aws configure export-credentials | frazil profile import mine
  frazil profile import osn keys.json --server https://osn.example
  frazil profile import archive token.txt --server https://archive.example/ --expires 2026-12-01T00:00:00Z")]
pub struct Import {
    /// The name that it gets
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A file with the keys; stdin if not given
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The server that they are for; gs:// is Google's
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// The region of the server
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// When they end, if that is not said beside them
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
}

/// Try out what a profile may do: list, read, write, delete, and as whom
///
/// At a place, a small object with a random name is written and deleted again; without one, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil profile check osn
  frazil profile check osn bucket/folder/")]
pub struct CheckProfile {
    /// The name of a profile
    #[arg(value_name = "NAME")]
    pub name: String,
    /// bucket/folder/
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
}

/// Say which profile, file and key open a place
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frazil profile explain s3://bucket/data/")]
pub struct Explain {
    /// s3://bucket/key, NAME:bucket/key or https://host/path
    #[arg(value_name = "PLACE")]
    pub place: String,
}

/// Hand an identity on to another program, for one session
///
/// Roles, programs and sign-ons are followed, so that the other program needs to know nothing of them. Secrets go to a file that only
/// you can read (--out), which `frazil profile erase` takes away; lines for a shell may go to stdout, if that is no terminal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(frazil profile export osn --to env)\"           for this shell: aws, s3fs, obstore and frazil itself
  frazil profile export osn --to rclone --out session.conf
  frazil profile export osn --to storage-options --out session.json   for xarray, pandas, dask")]
pub struct Export {
    /// The name of a profile; who signs for s3:// if not given
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// For which program: aws, rclone, env (lines for a shell), storage-options (fsspec, xarray) or obstore
    #[arg(long, value_name = "FORM", value_parser = form)]
    pub to: Form,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Make a token for somebody: for one folder of a bucket, for one kind of work and for a while
///
/// On Amazon and Ceph a role is taken on with a policy of the session (STS AssumeRole); a token of Google is exchanged for a narrower one.
/// What comes out is JSON that `frazil profile import` takes. It is tried out first: one that opens more is not handed on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil profile token osn:bucket/inbox/jdoe/ --mode deliver --for 2h --role inbox --out token.json
  frazil profile token s3://bucket/data/ --mode read --role arn:aws:iam::1:role/share | frazil profile import data")]
pub struct Token {
    /// The folder that it opens: NAME:bucket/folder/, s3://bucket/folder/ or gs://bucket/folder/
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// What may be done: read, write (no reading, no deleting), read-write, or deliver (what `frazil push` needs)
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub mode: Mode,
    /// For how long: 15m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub lifetime: Duration,
    /// The role that is taken on, by its ARN or, if the server is not Amazon's, its name; that of the profile if it has one
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Of Google: if the token cannot be narrowed, hand it on as it is
    #[arg(long)]
    pub unscoped: bool,
    /// The file to write; stdout if not given, unless that is a terminal
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Take away what is left of temporary credentials: overwritten, then removed
///
/// What frazil wrote or was told of: profiles that were imported, the files that they were imported from, files of `export` and
/// `token`. What does not end stays, unless it is named. The plan comes first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil profile erase -n            what there is
  frazil profile erase --yes
  frazil profile erase inbox token.json --yes")]
pub struct Erase {
    /// Profiles of frazil's own, or files; all that is temporary if not given
    #[arg(value_name = "NAME|FILE")]
    pub told: Vec<String>,
    /// Only say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
}

fn form(text: &str) -> Result<Form, String> {
    let all = [
        ("aws", Form::Aws),
        ("rclone", Form::Rclone),
        ("env", Form::Env),
        ("storage-options", Form::StorageOptions),
        ("obstore", Form::Obstore),
    ];
    let known = || all.map(|(name, _)| name).join(", ");
    all.iter().find(|(name, _)| *name == text).map(|(_, form)| *form).ok_or_else(|| format!("it is one of {}", known()))
}

fn mode(text: &str) -> Result<Mode, String> {
    let all = [Mode::Read, Mode::Write, Mode::ReadWrite, Mode::Deliver];
    let known = || all.map(Mode::shown).join(", ");
    all.into_iter().find(|mode| mode.shown() == text).ok_or_else(|| format!("it is one of {}", known()))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "it is a time such as `15m` or `2h`".to_owned();
    let (number, seconds) = match text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)? {
        (number, "s") => (number, 1),
        (number, "m") => (number, 60),
        (number, "h") => (number, 3600),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        // The servers of Amazon give no shorter and no longer ones.
        Some(seconds @ 900..=43_200) => Ok(Duration::from_secs(seconds)),
        _ => Err("a token lasts from 15m to 12h".into()),
    }
}
