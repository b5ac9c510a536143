//! What people type to send a delivery and to take one on.

use clap::Args;
use frazil_model::recipe::amount::ByteSize;

use super::values::read;

/// Send files as one delivery: resumable, checksummed, and there only once it is whole
///
/// Files go to PLACE/NAME/. Last comes frazil-delivery.json, which names each file with its length and SHA-256: until it
/// is there, there is no delivery. Nothing is deleted, and a token that may only put objects below one prefix is enough; one
/// that may read is told more. Typed again, the same command goes on; a delivery that is there is never changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil push results --to inbox:bucket/jdoe --as run7
  frazil push a.nc b.nc --to s3://bucket/inbox --as run8 --note 'second try' --limit 50MB
  frazil push results --to inbox:bucket/jdoe --as run7 -n    what would be sent")]
pub struct Push {
    /// A folder, whose files are the delivery, or several files and folders
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Where deliveries go
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// The name of the delivery
    #[arg(long = "as", value_name = "NAME")]
    pub name: String,
    /// What whoever accepts it should know
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Most bytes a second, all connections together: 50MB
    #[arg(long, value_name = "SIZE", value_parser = read::<ByteSize>)]
    pub limit: Option<ByteSize>,
    /// No names like this; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Only say what would be sent
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Take a delivery on: check every byte, copy, check again, clear the inbox
///
/// A delivery with a file too many or too few, or of which one bit is another, is refused, every such file is named, and
/// nothing is copied. What shows a store comes last. Nothing goes from the inbox before every file was read where it is
/// now. Typed again, the same command goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil accept --list inbox:bucket/jdoe
  frazil accept inbox:bucket/jdoe/run7 --to osn:bucket/run7
  frazil accept inbox:bucket/jdoe/run7 --to data/run7 --keep --build ./run7_feedstock
  frazil accept --watch inbox:bucket/jdoe --to osn:bucket/arrived --every 60s")]
pub struct Accept {
    /// The folder of the delivery; with --list or --watch the place of deliveries
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// Where it goes; with a slash at its end, and with --watch, under its name inside
    #[arg(long, value_name = "PLACE", required_unless_present = "list")]
    pub to: Option<String>,
    /// Leave the files of the delivery where they are
    #[arg(long)]
    pub keep: bool,
    /// Run this feedstock once the files are in place; {name} stands for the name of the delivery, and where no feedstock has
    /// that none is run
    #[arg(long, value_name = "FEEDSTOCK")]
    pub build: Option<String>,
    /// Say which deliveries there are: whole, unfinished or accepted
    #[arg(long, conflicts_with_all = ["to", "keep", "build", "watch", "dry_run"])]
    pub list: bool,
    /// With --list, read every file and say which deliveries are damaged
    #[arg(long, requires = "list")]
    pub check: bool,
    /// Take each delivery on as it comes, until it is interrupted
    #[arg(long, conflicts_with = "dry_run")]
    pub watch: bool,
    /// How often --watch looks: 60s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = every)]
    pub every: std::time::Duration,
    /// Most bytes a second, all connections together: 50MB
    #[arg(long, value_name = "SIZE", value_parser = read::<ByteSize>)]
    pub limit: Option<ByteSize>,
    /// Check the delivery and only say what would be copied
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

fn every(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "it is a time such as `60s` or `5m`".to_owned();
    let (number, seconds) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        _ => return Err(wrong()),
    };
    match number.parse::<u64>() {
        Ok(number @ 1..=86_400) => Ok(std::time::Duration::from_secs(number * seconds)),
        _ => Err(wrong()),
    }
}

/// Say whether two places hold the same files, by name: missing, extra, differing
///
/// Sizes tell first, then the digests that servers keep, where both sides have one that can be compared; else both sides are read.
/// Size and time are never taken for a proof. A Zarr store is told of as one thing. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil check results osn:bucket/results
  frazil check osn:bucket/data gs://other/data      buckets of different clouds: what has no digest in common is read
  frazil check osn:bucket/a.zarr osn:bucket/b.zarr --read
To compare with a manifest: frazil verify PLACE --manifest FILE")]
pub struct Check {
    /// One place
    #[arg(value_name = "A")]
    pub a: String,
    /// The other; of a file, with a slash at its end, the file of that name inside
    #[arg(value_name = "B")]
    pub b: String,
    /// Read both sides, whatever digests their servers keep
    #[arg(long)]
    pub read: bool,
    /// What B has besides is no difference
    #[arg(long)]
    pub one_way: bool,
    /// Only names like this, such as '*.nc' or 'daily/2001/**'; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No names like this; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Most bytes a second, all connections together: 50MB
    #[arg(long, value_name = "SIZE", value_parser = read::<ByteSize>)]
    pub limit: Option<ByteSize>,
}
