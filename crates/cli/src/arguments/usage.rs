//! What people type to see who uses how much.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use frazil_model::recipe::amount::ByteSize;

use super::values::read;

/// Say who uses how much of a place: by folder, owner, age or store
///
/// Ages are told by the clock of the server. On this machine the blocks of the disk are counted, a file with several names
/// once; links are not followed and other file systems not entered. What could not be counted is named, and the command
/// then ends with code 3.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil du osn:my-bucket
  frazil du osn:my-bucket --by owner --markdown        to be posted
  frazil du osn:my-bucket --by age
  frazil du osn:my-bucket --save this-week.json --since last-week.json
  frazil du ~ --limit-of 50GB
  frazil du /home --by owner --limit-of 50GB    who has more than that")]
pub struct Du {
    /// A path, s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE", default_value = ".")]
    pub place: String,
    /// What is counted together; an owner is the first folder below PLACE
    #[arg(long, value_name = "WHAT", default_value = "folder")]
    pub by: UsedBy,
    /// Folders of so many levels are told apart, with --by folder
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub depth: u8,
    /// Also say what has grown since this Report, kept by --save or --json
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Keep the Report in this file
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write a table of Markdown
    #[arg(long)]
    pub markdown: bool,
    /// How much there may be, with --by owner for each: say how much of that is used
    #[arg(long, value_name = "SIZE", value_parser = read::<ByteSize>)]
    pub limit_of: Option<ByteSize>,
    /// Also count other file systems that are mounted below
    #[arg(long)]
    pub other_file_systems: bool,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsedBy {
    Folder,
    Owner,
    Age,
    Store,
}
