//! Why a verb could not do its work.

use frazil_formats::FormatError;
use frazil_model::{
    combine::{error::CombineError, expect::Failure, steps::StepError},
    layout::LayoutError,
    location::{Location, LocationError},
    plan::PlanError,
    problem::{Exit, Problem},
    recipe::RecipeError,
    rule::RuleError,
    shell::quoted,
};
use frazil_store::StoreError;

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Combine(#[from] CombineError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{problem}, read from `{file}`")]
    Plan { problem: PlanError, file: String },
    #[error("`{file}` could not be read")]
    Format { file: String, source: FormatError },
    #[error("chunk {chunk} of `{variable}` in `{file}` could not be read")]
    Chunk { file: String, variable: String, chunk: u64, source: FormatError },
    #[error("`{variable}` in `{file}` cannot be read: {reason}")]
    Unreadable { file: String, variable: String, reason: String },
    #[error("a value of `{variable}` in `{file}` cannot be written exactly")]
    Value { file: String, variable: String, source: RuleError },
    #[error("`{variable}` has no dimension `{along}`, and its values in `{file}` differ from those in `{first_file}`")]
    StaticDiffers { variable: String, along: String, file: String, first_file: String },
    #[error("`{variable}` is {dtype}, which cannot be written to Zarr: {reason}")]
    NoZarrType { variable: String, dtype: String, reason: String },
    #[error("interrupted")]
    Interrupted { resume: Option<String> },
    #[error("`{place}` is there already")]
    Exists { place: Location, what: String },
    #[error("`{place}` is in the way: {what}")]
    NotAStore { place: Location, what: String },
    #[error("recipe `{id}` extends its store, and `--overwrite` would leave only what its sources hold now")]
    OverwritesExtended { id: String },
    #[error("`{file}` is not what it was when the plan was saved")]
    ChangedSincePlan { file: String },
    #[error("`each` of the recipe is not what it was when `{place}` was made")]
    OtherSteps { place: Location },
    #[error("`{place}` holds unfinished work of another plan")]
    OtherPlan { place: Location },
    #[error("`{place}` is not a store that frazil wrote: {reason}")]
    NotOurs { place: Location, reason: String },
    #[error("`{file}` changed while it was read: {reason}")]
    Changed { file: String, reason: String },
    #[error("`{pattern}` matches no file")]
    NoMatch { pattern: String },
    #[error("a name in `{folder}` is not UTF-8 text: `{name}`")]
    OddName { folder: String, name: String },
    #[error("`{name}`, of which the store was made, lies neither beside it nor here")]
    SourceGone { name: String, store: Location },
    #[error("folder `{folder}` holds no data")]
    NoData { folder: String },
    #[error("nothing at `{place}` matches `{pattern}`")]
    NoMatchIn { place: String, pattern: String },
    #[error("source `{source_name}` has no files")]
    NoFiles { source_name: String },
    #[error("`{place}` names more than {limit} files")]
    TooManyNames { place: String, limit: u64 },
    #[error("`{target}` lies in `{source_place}`, of which it would be made")]
    IntoItself { source_place: Location, target: Location },
    #[error("`{text}` is no part of a dataset: {reason}")]
    Subset { text: String, reason: String },
    #[error("`{document}` refers to `{place}`, where nobody allowed it to lead")]
    NotFollowed { document: String, place: String },
    #[error("`{key}` of `{store}` is lost: {problem}")]
    LostObject { store: String, key: String, problem: String },
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error("the result could not be put into words: {reason}")]
    Document { reason: String },
    #[error("`{place}` has no plan of which a part could be done: {reason}")]
    NoPlan { place: Location, reason: String },
    #[error("`{key}` of the store is not what was written: {reason}")]
    Damaged { key: String, reason: String },
    #[error("`{place}` holds a revision that is not finished, of {files}")]
    HalfRevised { place: Location, files: String },
    #[error("recipe `{recipe}` does not extend a store, so nothing can be revised")]
    NotExtending { recipe: String },
    #[error("`{file}` cannot extend the store: {reason}")]
    Extend { file: String, reason: String },
    #[error("`{file}` cannot extend the store: {reason}")]
    Reissued { file: String, reason: String },
    #[error("the result is not what the recipe expects: {0}")]
    Expect(#[from] Failure),
    #[error("`{place}` cannot be compared with files alone: its recipe did more than join them")]
    CannotRepeat { place: Location },
    #[error("`{place}` cannot be compared with what this recipe makes: {what}")]
    OtherRecipe { place: Location, what: String },
    #[error("{problem} (looked up in `{file}`)")]
    Names { problem: RecipeError, file: String },
    #[error("`{key}` is not written yet")]
    Missing { key: String },
    #[error("`{file}` cannot be referenced: {why}")]
    NoWay { file: String, why: String },
    #[error("`{store}` is a Zarr store, and references lead to chunks within files")]
    ReferencedStore { store: String },
    #[error("`{variable}` cannot be referenced as one array: {why} (`{file}`)")]
    NotReferable { variable: String, file: String, why: &'static str, n_native: u64, n_chunks: u64 },
    #[error("somebody else changed `{place}` meanwhile")]
    Conflict { place: Location },
    #[error("recipe `{id}` makes no store: it says nothing of `zarr`")]
    NoStore { id: String },
    #[error("a virtual dataset is not made in parts")]
    NoParts,
    #[error("`{file}` is not what it was when it was referenced: {reason}")]
    Stale { file: String, reason: String },
    #[error("a thread of the run ended without a word: {reason}")]
    Thread { reason: String },
}

impl Problem for EngineError {
    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Location(error) => error.code(),
            Self::Step(error) => error.code(),
            Self::Combine(error) => error.code(),
            Self::Layout(error) => error.code(),
            Self::Plan { problem, .. } => problem.code(),
            Self::Format { source, .. } => source.code(),
            Self::Chunk { .. } => "source.chunk",
            Self::Unreadable { .. } => "source.unreadable",
            Self::Value { .. } => "combine.value",
            Self::StaticDiffers { .. } => "combine.static",
            Self::NoZarrType { .. } => "zarr.type",
            Self::Interrupted { .. } => "run.interrupted",
            Self::Exists { .. } => "target.exists",
            Self::NotAStore { .. } => "target.not-a-store",
            Self::OtherPlan { .. } => "target.other-plan",
            Self::OtherSteps { .. } => "extend.other-steps",
            Self::NotOurs { .. } => "target.not-ours",
            Self::Changed { .. } | Self::ChangedSincePlan { .. } => "source.changed",
            Self::OverwritesExtended { .. } => "target.extended",
            Self::NoMatch { .. } | Self::NoMatchIn { .. } | Self::NoData { .. } => "source.no-match",
            Self::OddName { .. } => "source.odd-name",
            Self::SourceGone { .. } => "source.gone",
            Self::NoFiles { .. } => "source.no-files",
            Self::TooManyNames { .. } => "source.too-many",
            Self::LostObject { .. } => "source.lost-object",
            Self::NotFollowed { .. } => "source.not-followed",
            Self::Subset { .. } => "usage.subset",
            Self::IntoItself { .. } => "target.in-source",
            Self::Recipe(error) => error.code(),
            Self::Document { .. } => "run.document",
            Self::NoPlan { .. } => "run.no-plan",
            Self::Damaged { .. } => "target.damaged",
            Self::HalfRevised { .. } => "extend.half-revised",
            Self::NotExtending { .. } => "extend.not-extending",
            Self::Extend { .. } | Self::Reissued { .. } => "extend.refused",
            Self::Expect(failure) => failure.code(),
            Self::CannotRepeat { .. } => "verify.cannot-repeat",
            Self::OtherRecipe { .. } => "verify.other-recipe",
            Self::Names { problem, .. } => problem.code(),
            Self::Missing { .. } => "run.missing",
            Self::NoWay { .. } | Self::ReferencedStore { .. } => "virtual.no-way",
            Self::NotReferable { .. } => "virtual.not-referable",
            Self::Conflict { .. } => "target.conflict",
            Self::NoParts => "virtual.parts",
            Self::NoStore { .. } => "virtual.no-store",
            Self::Stale { .. } => "virtual.stale",
            Self::Thread { .. } => "run.thread",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Location(error) => return error.hint(),
            Self::Step(error) => return error.hint(),
            Self::Combine(error) => return error.hint(),
            Self::Layout(error) => return error.hint(),
            Self::Plan { problem, .. } => return problem.hint(),
            Self::Format { source, .. } | Self::Chunk { source, .. } => return source.hint(),
            Self::Unreadable { variable, .. } | Self::NoZarrType { variable, .. } if variable == "/" => {
                "`frazil inspect` shows what can be read of it".into()
            }
            Self::Unreadable { variable, .. } | Self::NoZarrType { variable, .. } => {
                format!(
                    "name the variables you want with `--vars` (`keep:` in a recipe), without `{}`",
                    variable.trim_start_matches('/')
                )
            }
            Self::Value { source: RuleError::DoesNotFit { .. }, .. } => {
                "choose a type that holds every value; NaN fits no integer, and `mask` makes values missing".into()
            }
            Self::Value { .. } => "choose `differ: {packing: decode}` (`--differ packing=decode`)".into(),
            Self::StaticDiffers { variable, .. } => {
                format!("leave it out with `drop: [{}]`, or build the files apart", variable.trim_start_matches('/'))
            }
            Self::Interrupted { resume } => match resume {
                Some(command) => format!("what is done is kept; go on with: {command}"),
                None => "what is done is kept; type the same command again".into(),
            },
            Self::Exists { what, .. } => {
                format!("{what}; `--overwrite` (`mode: replace` in a recipe) puts the new store in its place")
            }
            Self::NotAStore { .. } => {
                "frazil removes nothing but Zarr stores; name another place, or move away what is there".into()
            }
            Self::OtherPlan { place } => format!(
                "finish it with the command that began it, or discard it with `--overwrite` or by removing {place}"
            ),
            Self::OtherSteps { .. } => {
                "what is there came from the steps of then: take them as they were, or say `mode: replace`".into()
            }
            Self::NotOurs { .. } => "name a store that `frazil build` or `frazil convert` finished".into(),
            Self::OverwritesExtended { .. } => {
                "if all that the store should hold is among the sources, say `mode: replace` in the recipe".into()
            }
            Self::ChangedSincePlan { .. } => {
                "save the plan anew with `--plan-only`, then do its parts: what was done from other bytes is done again"
                    .into()
            }
            Self::Changed { .. } => "run the command again: it starts from the file as it is now".into(),
            Self::NoMatch { .. } => {
                "patterns know `*`, `?`, `[…]` and `**`; quote them so that the shell leaves them alone".into()
            }
            Self::SourceGone { store, .. } => {
                format!("say where they are: `frazil verify {} --sources FOLDER`", quoted(store))
            }
            Self::OddName { .. } => "rename it: it can be neither typed nor reported".into(),
            Self::NoData { .. } => {
                "netCDF-3, netCDF-4 and HDF5 files and Zarr stores were looked for, in its folders, too".into()
            }
            Self::NoMatchIn { .. } => {
                "`match` stands for the end of a file's name; `(?P<year>\\d+)` captures a key".into()
            }
            Self::NoFiles { .. } => "see that its address and keys are right: each of its files is missing".into(),
            Self::Recipe(error) => return error.hint(),
            Self::TooManyNames { .. } => return None,
            Self::IntoItself { .. } => "write it to another place".into(),
            Self::Subset { .. } => "write it like `STORE?sst,ice&time=2000/2010&bbox=-30,40,10,60`, in quotes".into(),
            Self::NotFollowed { place, .. } => {
                let folder = place.rsplit_once('/').map_or(place.as_str(), |(folder, _)| folder);
                format!("if you trust it, name where it may lead: `--follow {folder}/`")
            }
            Self::LostObject { store, .. } => format!(
                "the store's own inventory names it; `frazil verify {}` lists all that is lost. Make the store again",
                quoted(store)
            ),
            Self::NoPlan { .. } => "save one with `frazil build FEEDSTOCK --plan-only`".into(),
            Self::Damaged { .. } => {
                "`frazil verify` names all that is damaged; build the store again with `--overwrite`".into()
            }
            Self::HalfRevised { .. } => {
                "type the command again with `--revise`, or build the store again with `--overwrite`".into()
            }
            Self::NotExtending { .. } => "leave out `--revise`, or choose `mode: extend`".into(),
            Self::Extend { .. } => {
                "`mode: replace` builds the store again, if all that its sources hold now can be joined".into()
            }
            Self::Reissued { .. } => {
                "`--revise` lets a re-issued file take the place of the old one, `mode: replace` builds the store again"
                    .into()
            }
            Self::Missing { .. } => "run the parts that are not done, then `--finish` again".into(),
            Self::Expect(failure) => return failure.hint(),
            Self::CannotRepeat { .. } => "name its feedstock: `frazil verify STORE --feedstock DIR`".into(),
            Self::OtherRecipe { .. } => {
                "take the recipe as it was then; for a store of `convert` say `--sources` instead".into()
            }
            Self::Names { problem, .. } => return problem.hint(),
            Self::NoWay { .. } => "copy it to a place that they can reach, or write a Zarr store".into(),
            Self::ReferencedStore { .. } => {
                "readers open it as it is; `--to zarr` joins stores, or lays out their chunks anew".into()
            }
            Self::NotReferable { n_native, n_chunks, .. } => format!(
                "{n_native} of its {n_chunks} chunks would have to be copied: `--if-incompatible native` does that in a \
                 repository of Icechunk, `split` sets files that are alike apart"
            ),
            Self::Conflict { .. } => "type the command again: it adds to what is there now".into(),
            Self::NoStore { .. } => "add `zarr: {when: on_request}` beside `virtual` in its `write`".into(),
            Self::NoParts => "leave out `--plan-only`, `--part` and `--finish`: it takes only metadata".into(),
            Self::Stale { .. } => {
                "type the command with `--revise`: its references are then made from what it is now".into()
            }
            Self::Document { .. } | Self::Thread { .. } => return None,
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Location(error) => error.exit(),
            Self::Step(error) => error.exit(),
            Self::Layout(error) => error.exit(),
            Self::Recipe(error) => error.exit(),
            Self::Names { problem, .. } => problem.exit(),
            Self::NotExtending { .. } | Self::Subset { .. } | Self::NoParts | Self::NoStore { .. } => Exit::Usage,
            Self::Conflict { .. } => Exit::Later,
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => Exit::No,
        }
    }
}
