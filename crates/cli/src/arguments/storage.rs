//! What people type to list, copy and delete.

use clap::Args;

/// List what is at a place: buckets, folders, stores, files
///
/// A Zarr store is one line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil ls data/
  frazil ls s3://bucket/                  what is in a bucket
  frazil ls osn:                          the buckets of a profile or an rclone remote
  frazil ls s3://bucket/data/ --recursive every key below")]
pub struct Ls {
    /// A path, s3://bucket/key, or NAME:bucket/key
    #[arg(value_name = "PLACE", default_value = ".")]
    pub place: String,
    /// Every file below, one line each
    #[arg(short, long)]
    pub recursive: bool,
}

/// Copy files, folders and whole stores, from anywhere to anywhere
///
/// `cp A B` makes B be A; `cp A B/` puts A inside B, whether B is there or not. What is there already and the same is
/// left alone, so a command that was interrupted goes on when it is typed again; what differs is left and named, unless
/// --overwrite is given. The metadata of a Zarr store is written last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil cp sst.nc s3://bucket/data/           puts s3://bucket/data/sst.nc there
  frazil cp sst.zarr osn:bucket/sst.zarr       a whole store; readers see it when all of it is there
  frazil cp 'osn:bucket/*.nc' data/            files of a pattern
  frazil cp https://host/file.nc s3://bucket/  from a web server
  frazil cp 'sst.zarr?sst&time=2001' sst2001.zarr  a store of a part")]
pub struct Cp {
    /// What to copy, then where
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "DEST"])]
    pub places: Vec<String>,
    /// Replace files that are there and differ
    #[arg(long)]
    pub overwrite: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub filters: Filters,
}

/// Make DEST hold what SOURCE holds
///
/// Files that differ are replaced. What SOURCE has not stays, unless --delete is given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil sync results/ s3://bucket/results
  frazil sync results s3://bucket/results --delete -n    what would go")]
pub struct Sync {
    /// What to follow
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// Delete what SOURCE has not
    #[arg(long)]
    pub delete: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
    #[command(flatten)]
    pub filters: Filters,
}

/// Delete files, objects, folders and whole stores: the plan first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil rm s3://bucket/old.zarr -n      what would go
  frazil rm s3://bucket/old.zarr --yes")]
pub struct Rm {
    /// What to delete
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<String>,
    /// Only say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub confirmed: Confirmed,
    /// Parts of stores are meant
    #[arg(long)]
    pub inside_store: bool,
}

/// What somebody said about a deletion.
#[derive(Debug, Args)]
pub struct Confirmed {
    /// Delete without being asked
    #[arg(long)]
    pub yes: bool,
    /// Delete nothing if more objects than this would go
    #[arg(long, value_name = "N")]
    pub max_objects: Option<u64>,
}

/// Which files of a source are meant, and how they are compared.
#[derive(Debug, Args)]
pub struct Filters {
    /// Only names like this, such as '*.nc' or 'daily/2001/**'; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No names like this; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Compare by the bytes themselves: read again what earlier runs remember
    #[arg(long)]
    pub checksum: bool,
    /// Parts of stores are meant
    #[arg(long)]
    pub inside_store: bool,
}
