//! What people type about places where things go after a while.

use clap::{Args, Subcommand};

use super::storage::Confirmed;

#[derive(Debug, Subcommand)]
pub enum Scratch {
    List(ScratchList),
    Keep(ScratchKeep),
    Expire(ScratchExpire),
    Rule(ScratchRule),
}

/// Say what goes when, by the rule that the server enforces
///
/// A store is one line, with the moment from which on the server may delete its first and its last object. Moments are told
/// by the clock of the server. `scratch:` is the place that the variable SCRATCH_BUCKET names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil scratch list scratch:
  frazil scratch list osn:my-scratch --within 7d
  frazil scratch list /scratch/jdoe --older-than 30d    what `scratch expire` would find old, and when")]
pub struct ScratchList {
    /// A path, s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE", default_value = "scratch:")]
    pub place: String,
    /// Also say what goes within this time, by owner
    #[arg(long, value_name = "TIME", default_value = "48h", value_parser = age)]
    pub within: u64,
    /// Things go when they are so old, whatever the server does: 7d, 12h
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub older_than: Option<u64>,
}

/// Move a store or a folder to a place where it stays
///
/// It is copied, every file is compared at both places, and only then it goes at the old one. A place with a rule that
/// deletes there, too, is refused. Typed again, the same command goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil scratch keep scratch:sst.zarr --to osn:bucket/sst.zarr
  frazil scratch keep scratch:run7 --to osn:bucket/ -n    what would be moved")]
pub struct ScratchKeep {
    /// A store, a folder or a file
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where it stays; with a slash at its end, under its name inside
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// Only say what would be moved
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Delete stores that are old, where no rule does: the plan first
///
/// Only whole stores go, and only if everything in them is older, by the clock of the place. What a catalog names stays, and
/// so does what somebody writes to. If anything cannot be listed, nothing is deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil scratch expire /scratch --older-than 30d -n
  frazil scratch expire osn:my-scratch --older-than 7d --catalog catalog.json --yes
  frazil scratch expire osn:my-scratch --older-than 7d --catalog ./feedstocks/ --max-objects 10000 --yes")]
pub struct ScratchExpire {
    /// A path, s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// How old a store must be: 7d, 12h
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub older_than: u64,
    /// A text, or a folder of texts, that names what stays; may be given more than once
    #[arg(long, value_name = "PLACE")]
    pub catalog: Vec<String>,
    /// Only say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
}

/// Show or set the rule by which the server deletes
///
/// Without --days or --off it is shown. Rules of others stay as they are. What is older already goes at once, so that is
/// said first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil scratch rule scratch:
  frazil scratch rule osn:my-scratch --days 7 -n
  frazil scratch rule osn:my-scratch/tmp --days 7 --yes
  frazil scratch rule osn:my-scratch/tmp --off")]
pub struct ScratchRule {
    /// s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE", default_value = "scratch:")]
    pub place: String,
    /// Objects go so many days after they were written, and so do uploads that have not ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500), conflicts_with = "off")]
    pub days: Option<u32>,
    /// Take away the rule that --days has set
    #[arg(long)]
    pub off: bool,
    /// Only say what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
}

/// Remove what runs that were killed left behind: the plan first
///
/// Uploads that were never finished, by whatever program; files that are not whole and locks that nobody holds, of frazil.
/// Without PLACE: what pushes that were never finished noted in your home. What a run holds stays, and so does that by
/// which work can go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil gc osn:my-bucket -n
  frazil gc osn:my-bucket/data --older-than 7d --yes
  frazil gc --older-than 4w --yes")]
pub struct Gc {
    /// A path, s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE")]
    pub place: Option<String>,
    /// How long nothing may have been written to it: 1d, 12h
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = age)]
    pub older_than: u64,
    /// Only say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
}

/// Seconds of `7d`, `48h`, `30m` or `90s`.
pub(super) fn age(text: &str) -> Result<u64, String> {
    let wrong = || "it is a time such as `7d`, `48h`, `30m` or `90s`".to_owned();
    let (at, unit) = text.char_indices().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.get(..at).unwrap_or_default().parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_read() {
        for (text, expected) in [("7d", Ok(604_800)), ("48h", Ok(172_800)), ("90s", Ok(90)), ("2w", Ok(1_209_600))] {
            assert_eq!(age(text), expected);
        }
        for wrong in ["7", "d", "", "0d", "-1d", "1y", "99999999999999999d", "7ä"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
