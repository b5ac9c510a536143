//! What people type: verbs, their arguments and their help.
//!
//! Values are read by the same grammar as in recipes, so that a word means the same everywhere.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use frazil_model::recipe::{
    amount::ByteSize,
    combine::{Align, Differ, Duplicates},
    span::Spanned,
    spec::{ChunkLength, ChunkSpec, CodecSpec, Selection},
    subset::Bbox,
    virtually::{IfIncompatible, Pinning, VirtualFormat},
    write::ZarrFormat,
};
use values::{
    align, differ, duplicates, if_incompatible, pinning, read, shards, some_bytes, threads, virtual_format, zarr_format,
};

use crate::output;

mod moving;
mod profiles;
mod scratch;
mod storage;
mod usage;
mod values;

pub use moving::{Accept, Check, Push};
pub use profiles::{CheckProfile, Erase, Explain, Export, Import, Profile, Token};
pub use scratch::{Gc, Scratch, ScratchExpire, ScratchKeep, ScratchList, ScratchRule};
pub use storage::{Confirmed, Cp, Filters, Ls, Rm, Sync};
pub use usage::{Du, UsedBy};

/// Turns netCDF and HDF5 files into verified, analysis-ready Zarr stores.
#[derive(Debug, Parser)]
#[command(
    name = "frazil",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start with `frazil inspect FILE`, then `frazil convert FILE OUT.zarr --to zarr`.\nEvery command \
                  explains itself: `frazil help convert`."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Say less: only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print one JSON Report on stdout instead of text; with =lines long listings come as a line for each item first
    #[arg(long, global = true, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "report")]
    pub json: Option<Json>,
    /// Do not show how far the work is
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Who signs for s3://: an AWS profile or an rclone remote
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Ask for public data of buckets without a signature
    #[arg(long, global = true)]
    pub anonymous: bool,
    /// Let documents of references lead to what lies below this place; may be given more than once
    #[arg(long, global = true, value_name = "PLACE")]
    pub follow: Vec<String>,
    /// The configuration; by itself frazil/config.toml in your folder of configurations
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How JSON comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Json {
    /// One object.
    Report,
    /// A line for each item, then the Report without them.
    Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Ls(Ls),
    Cp(Cp),
    Sync(Sync),
    Rm(Rm),
    Push(Push),
    Accept(Accept),
    Du(Du),
    Check(Check),
    /// Places where things go after a while: what goes when, what is kept, what is old
    #[command(subcommand)]
    Scratch(Scratch),
    Gc(Gc),
    Inspect(Inspect),
    Convert(Convert),
    Build(Build),
    Verify(Verify),
    /// Check recipes without running them
    #[command(subcommand)]
    Feedstock(Feedstock),
    /// Who could sign for buckets, and who does
    #[command(subcommand)]
    Profile(Profile),
}

/// Say what files and Zarr stores hold: variables, chunks, codecs, times, and what is odd about them
///
/// Several files are compared: the era table shows which of them differ from the rest, and in what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil inspect sst.nc
  frazil inspect 'data/*.nc'             what differs between the files
  frazil inspect sst.nc --digest --json  SHA-256 of every variable's stored values")]
pub struct Inspect {
    /// Files, patterns in quotes, folders, or Zarr stores
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<String>,
    /// Read all values and print the SHA-256 of each variable, so that copies can be compared
    #[arg(long)]
    pub digest: bool,
    /// Memory for reading values
    #[arg(long, value_name = "SIZE", default_value = "512MB", value_parser = read::<ByteSize>)]
    pub memory: ByteSize,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Read every file again, whatever earlier scans found
    #[arg(long)]
    pub no_index: bool,
}

/// Make one Zarr store of one or more files, stores or references
///
/// Several files are joined along the dimension that grows from one to the next. Where they differ in a way that would
/// change a value, the command stops and names file, variable and rule; --differ says what may be done about it.
/// A command that was interrupted goes on when it is typed again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil convert sst.nc sst.zarr --to zarr
  frazil convert 'daily/*.nc' sst.zarr --to zarr --chunks time=30,lat=360,lon=720 --memory 512MB
  frazil convert 'daily/*.nc' sst.zarr --to zarr --vars sst --select time=2000/2010 --codec keep
  frazil convert old.zarr new.zarr --to zarr --chunks time=365,lat=30,lon=30
  frazil convert 'old.zarr?sst&time=2001&bbox=-30,40,10,60' part.zarr --to zarr
  frazil convert 'daily/*.nc' sst.icechunk --to virtual      no copy: references to the chunks")]
pub struct Convert {
    /// Files, Zarr stores, references (Kerchunk, DMR++), patterns in quotes or folders, then the store to write
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "DEST"])]
    pub places: Vec<String>,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    pub to: Target,
    #[command(flatten)]
    pub references: References,
    /// Version of the Zarr format
    #[arg(long, value_name = "2|3", default_value = "3", value_parser = zarr_format)]
    pub zarr_format: ZarrFormat,
    /// Chunks: time=30,lat=360 or auto, auto:100MB, auto:100MB:time
    #[arg(long, value_name = "CHUNKS", value_parser = read::<ChunkSpec>)]
    pub chunks: Option<ChunkSpec>,
    /// Shards, each an object with many chunks: time=300
    #[arg(long, value_name = "SHARDS", value_parser = shards)]
    pub shards: Option<ShardSpec>,
    /// zstd:3, shuffle+zstd:3, blosc:lz4:5, gzip:6, none, or keep: the source's own bytes where possible
    #[arg(long, value_name = "CODEC", value_parser = read::<CodecSpec>)]
    pub codec: Option<CodecSpec>,
    #[command(flatten)]
    pub limits: Limits,
    /// Only these variables, with the coordinates they need
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "drop")]
    pub vars: Vec<String>,
    /// All but these variables
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// Labels to take, both ends included: time=2000/2010,lat=-10/10
    #[arg(long, value_name = "LABELS", value_parser = read::<Selection>)]
    pub select: Option<Selection>,
    /// A box of longitudes and latitudes in degrees: west,south,east,north
    #[arg(long, value_name = "BOX", value_parser = read::<Bbox>, allow_hyphen_values = true)]
    pub bbox: Option<Bbox>,
    /// The dimension that grows from file to file, where it is not plain
    #[arg(long, value_name = "DIMENSION")]
    pub along: Option<String>,
    /// What to do where files differ: packing=repack|decode, dtype=promote, units=first, attrs=first|error, time=error
    #[arg(long, value_name = "RULES", default_value = "", hide_default_value = true, value_parser = differ)]
    pub differ: Differ,
    /// How far labels of coordinates may lie apart: lat=1e-5,lon=1e-5
    #[arg(long, value_name = "RULES", default_value = "", hide_default_value = true, value_parser = align)]
    pub align: Align,
    /// What to do about a label that occurs twice: first or last
    #[arg(long, value_name = "WHICH", default_value = "error", value_parser = duplicates)]
    pub duplicates: Duplicates,
    /// Put the new store in the place of one that is there
    #[arg(long)]
    pub overwrite: bool,
    /// Read every file again, whatever earlier runs noted about it
    #[arg(long)]
    pub no_index: bool,
    /// Print the plan and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

impl Convert {
    /// The sources and the store.
    pub fn sources_and_store(&self) -> (&[String], &str) {
        match self.places.split_last() {
            Some((store, sources)) => (sources, store),
            None => (&[], ""),
        }
    }
}

/// Memory and threads of a run.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// Most memory that the run may take
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = read::<ByteSize>)]
    pub memory: ByteSize,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

impl Limits {
    /// Threads to use.
    pub fn n_threads(&self) -> usize {
        n_threads(self.threads)
    }
}

/// The threads asked for, else one for each core.
pub fn n_threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A Zarr store
    Zarr,
    /// References to the chunks of the files, which are not copied
    Virtual,
}

/// How references are written.
#[derive(Debug, Clone, Args)]
pub struct References {
    /// The format of references: icechunk, kerchunk-json or kerchunk-parquet
    #[arg(long, value_name = "FORMAT", value_parser = virtual_format)]
    pub format: Option<VirtualFormat>,
    /// What to try where files cannot be referenced as one, in order: equivalent,native,split
    #[arg(long, value_name = "POLICIES", value_delimiter = ',', value_parser = if_incompatible)]
    pub if_incompatible: Option<Vec<IfIncompatible>>,
    /// By what files are known later: state (size, times, tag), or content: each is read once for its digest
    #[arg(long, value_name = "HOW", default_value = "state", value_parser = pinning)]
    pub pin: Pinning,
    /// Values up to this size stand in the references themselves
    #[arg(long, value_name = "SIZE", default_value = "1KB", value_parser = some_bytes)]
    pub inline: ByteSize,
}

/// Shards along named dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSpec(pub Vec<(Spanned<String>, ChunkLength)>);

/// Run a feedstock: make the Zarr store that its recipe describes
///
/// It goes on where an earlier run was stopped. Large builds can be cut in parts: --plan-only writes the plan, --part i/n
/// does a part of it anywhere, --finish checks all parts and publishes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil build ./chirps_feedstock --prune 2 --to /tmp/try   two files, to see whether all is well
  frazil build ./chirps_feedstock --to /data
  frazil build ./chirps_feedstock --to /data --part 3/16    in a job array")]
pub struct Build {
    /// The folder of a feedstock, or its recipe.yaml
    pub feedstock: String,
    /// The store to write; with a slash at its end, the folder to write it in
    #[arg(long, value_name = "DEST")]
    pub to: Option<String>,
    /// Print the plan and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Only the first N files of each source, to try a recipe
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub prune: Option<u64>,
    /// Labels to take, both ends included: time=2000/2010,lat=-10/10
    #[arg(long, value_name = "LABELS", value_parser = read::<Selection>)]
    pub select: Option<Selection>,
    /// Only the recipe of this id
    #[arg(long, value_name = "ID")]
    pub only: Option<String>,
    /// Make the store that a virtual recipe has `when: on_request`, in place of its references
    #[arg(long)]
    pub materialize: bool,
    #[command(flatten)]
    pub limits: Limits,
    /// Put the new store in the place of one that is there
    #[arg(long)]
    pub overwrite: bool,
    /// With `mode: extend`, let files that changed since they were added take the place of what they gave: their chunks
    /// are rewritten one by one, and readers see each at once
    #[arg(long, conflicts_with_all = ["overwrite", "part", "finish", "plan_only"])]
    pub revise: bool,
    /// Read every file again, whatever earlier runs noted about it
    #[arg(long)]
    pub no_index: bool,
    #[command(flatten)]
    pub stage: Stage,
}

/// Which stage of a build in parts.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct Stage {
    /// Write the plan beside the store and do none of it
    #[arg(long)]
    pub plan_only: bool,
    /// Do part i of n of the plan: 3/16
    #[arg(long, value_name = "I/N")]
    pub part: Option<Part>,
    /// Check all parts and publish the store
    #[arg(long)]
    pub finish: bool,
}

/// One part of a plan: `number` from 1 to `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub number: u64,
    pub of: u64,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("a part is written `3/16`: part 3 of 16".into()),
        }
    }
}

/// Check a store: every chunk that was written is there and unaltered; or a folder, by a manifest
///
/// With --sources every value is compared with the files that it came from. With --manifest every file of any folder is read
/// and compared with its sum.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frazil verify sst.zarr
  frazil verify sst.zarr --subset 5%
  frazil verify sst.zarr --sources 'daily/*.nc'
  frazil verify osn:bucket/run7 --manifest SHA256SUMS")]
pub struct Verify {
    /// The store, or with --manifest any folder
    pub store: String,
    /// Files, patterns in quotes or folders that the store was made of; without a place: those that the receipt names,
    /// beside the store or in the present folder
    #[arg(long, value_name = "PLACE", num_args = 0..)]
    pub sources: Option<Vec<String>>,
    /// The folder of the feedstock that the store was built from, or its recipe.yaml: the recipe's steps are done again
    /// and every value is compared
    #[arg(long, value_name = "FEEDSTOCK", conflicts_with = "sources")]
    pub feedstock: Option<String>,
    /// What the place has to hold: the manifest of a delivery, or what `sha256sum` or `md5sum` printed; every file is read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sources", "feedstock", "subset"])]
    pub manifest: Option<String>,
    /// With --manifest: files that it does not name are no difference
    #[arg(long, requires = "manifest")]
    pub one_way: bool,
    /// Read only so many of the objects: 5%. All are looked for, and their lengths compared
    #[arg(long, value_name = "PERCENT")]
    pub subset: Option<Percent>,
    /// Which objects a subset takes
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub limits: Limits,
}

/// So many of a hundred: `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%').unwrap_or(text).parse() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent)),
            _ => Err("a subset is written `5%`, above 0 and up to 100".into()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Feedstock {
    Lint(Lint),
}

/// Check recipes without running them: every problem with its line
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frazil feedstock lint ./chirps_feedstock")]
pub struct Lint {
    /// Folders of feedstocks, or recipe files
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<PathBuf>,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// How the process ends, once help or what is wrong was said.
    pub fn read() -> Result<Self, ExitCode> {
        let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
        Self::try_parse_from(&words).map_err(|error| output::say_usage(&error, &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_part_is_one_of_several() {
        assert_eq!("3/16".parse(), Ok(Part { number: 3, of: 16 }));
        for wrong in ["0/3", "4/3", "3", "a/b", ""] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
