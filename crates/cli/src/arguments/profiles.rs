//! What people type about who signs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Profile {
    /// List AWS profiles, rclone remotes and logins, each with its file, what shadows it and why it cannot sign
    List,
    Explain(Explain),
    Check(Check),
    Import(Import),
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
pub struct Check {
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
