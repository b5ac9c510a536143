//! From files to a plan: scan, combine, lay out, cut into tasks. Nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use frazil_model::{
    combine::{
        Combined, Content,
        absent::{Absent, Telling, labels_of_absent},
        combine,
        error::CombineError,
        policy::Policies,
        view::FileView,
    },
    layout::{LayoutRequest, TargetArray, lay_out},
    location::Location,
    plan::{ArrayPlan, Limits, Task},
    recipe::{each::Step, expect::Expectation, source::KeyValue, span::Spanned},
    region::count,
};

use crate::{
    error::EngineError,
    grow::Edge,
    identity::digest,
    index::{IndexUse, scan_all},
    planning::{Summary, n_waiting_scanners, plan, summary},
    run::Pace,
    scan::Load,
    sinks::zarr::n_on_their_way,
    source::Source,
    store_source,
    views::{LeftOut, check_equal, leave_out_untyped, views},
};

/// What is to be made of which files.
#[derive(Debug, Clone)]
pub struct Request {
    /// Files, each with the name used in messages and in the receipt.
    pub sources: Vec<(Location, String)>,
    /// What is done to each file before files are joined; a selection comes last.
    pub steps: Vec<Spanned<Step>>,
    /// The keys of each file, for the steps that ask for them; a file without a row has none.
    pub keys: Vec<BTreeMap<String, KeyValue>>,
    /// The key that tells files with different variables apart.
    pub merge: Option<String>,
    /// Files that are not there, and what they would bring is filled.
    pub absent: Vec<Absent>,
    /// What must hold of the result.
    pub expect: Vec<Spanned<Expectation>>,
    /// Decisions about files that differ.
    pub policies: Policies,
    /// How the store is cut and packed.
    pub layout: LayoutRequest,
    /// Where the store is written.
    pub target: Location,
    /// Memory and threads.
    pub limits: Limits,
    /// What else makes this plan another one: the recipe's text without its comments.
    pub recipe: String,
    /// Whether what earlier runs noted about files may be used. It decides no byte.
    pub index: IndexUse,
    /// What to do about files that changed since they were added to a store that is extended.
    pub reissued: Reissued,
}

/// What to do about a file that changed since it was added to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reissued {
    /// It is refused by name.
    Refused,
    /// Its values take the place of the old ones.
    Revised,
}

/// A plan, and all that is needed to run it.
#[derive(Debug)]
pub struct Prepared {
    /// The files.
    pub sources: Vec<Source>,
    /// What they are joined to.
    pub combined: Combined,
    /// The arrays to write.
    pub targets: Vec<TargetArray>,
    /// How each array is made.
    pub arrays: Vec<ArrayPlan>,
    /// All tasks.
    pub tasks: Vec<Task>,
    /// How they are run.
    pub pace: Pace,
    /// What the plan says about itself.
    pub summary: Summary,
    /// The digest of everything that decides a byte of the store.
    pub hash: String,
    /// What the files hold and the store will not, by name and reason.
    pub left_out: Vec<LeftOut>,
    /// Where arrays in shards ended, of a store that is extended; by array.
    pub edges: Vec<Option<Edge>>,
    /// Files that take the place of what they gave to the store before.
    pub revised: Vec<String>,
    /// A moment before any file was looked at.
    pub began: SystemTime,
    /// Whether what earlier runs noted about files may be used.
    pub index: IndexUse,
}

/// Scans, joins and plans.
///
/// # Errors
/// Whatever stands in the way, naming file, variable and rule.
pub fn prepare(request: &Request) -> Result<Prepared, EngineError> {
    let began = SystemTime::now();
    prepare_of(request, scanned(request)?, began)
}

/// Joins and plans files that were scanned, no earlier than at `began`.
pub(crate) fn prepare_of(request: &Request, sources: Vec<Source>, began: SystemTime) -> Result<Prepared, EngineError> {
    let Joined { sources, mut combined, mut left_out } = joined_of(request, sources, SmallData::Held)?;
    let mut targets = lay_out(&combined, &request.layout)?;
    leave_out_untyped(request, &mut combined, &mut targets, &mut left_out)?;
    if targets.is_empty() {
        nothing_left(&mut left_out)?;
    }
    let planned = plan(&sources, &combined, &targets, (request.limits, n_on_their_way(&request.target)))?;
    let hash = hash_of(request, &sources, &combined, &targets);
    let summary = summary(&sources, &combined, &targets, &planned);
    Ok(Prepared {
        sources,
        combined,
        targets,
        arrays: planned.arrays,
        tasks: planned.tasks,
        pace: planned.pace,
        summary,
        hash,
        left_out,
        edges: Vec::new(),
        revised: Vec::new(),
        began,
        index: request.index,
    })
}

/// Files as one dataset, before anything is known of where it goes.
pub(crate) struct Joined {
    /// The files.
    pub sources: Vec<Source>,
    /// What they are joined to.
    pub combined: Combined,
    /// What the files hold and the dataset will not.
    pub left_out: Vec<LeftOut>,
}

/// What becomes of data that is small enough to be held while files are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SmallData {
    /// It is held, and need not be read again.
    Held,
    /// What has more bytes stays in the files all the same.
    InFiles {
        /// Bytes of a variable of one file.
        above_bytes: u64,
    },
}

/// Joins files that were scanned.
pub(crate) fn joined_of(request: &Request, mut sources: Vec<Source>, small: SmallData) -> Result<Joined, EngineError> {
    for (location, _) in &request.sources {
        store_source::check_apart(location, &request.target)?;
    }
    let mut left_out = Vec::new();
    let mut views = views(&mut sources, request, &mut left_out)?;
    if let SmallData::InFiles { above_bytes } = small {
        views.iter_mut().for_each(|view| leave_in_file(view, above_bytes));
    }
    let policies = with_absent(&mut views, request)?;
    check_aligned(&views, &policies)?;
    let combined = combine(&views, &policies)?;
    check_pieces(&combined, &sources)?;
    check_equal(&combined, &sources)?;
    // Words about chunks may name what could not be read: the reason for that is what helps.
    if combined.variables.is_empty() {
        nothing_left(&mut left_out)?;
    }
    Ok(Joined { sources, combined, left_out })
}

/// Forgets the values of data that are to stay in the file. Labels, and what describes them, are needed for joining.
fn leave_in_file(view: &mut FileView, above_bytes: u64) {
    let describing: Vec<String> = view
        .variables
        .iter()
        .flat_map(|variable| {
            ["bounds", "climatology", "coordinates", "grid_mapping"].map(|name| variable.attributes.text(name))
        })
        .flatten()
        .flat_map(|names| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for variable in &mut view.variables {
        let n_bytes = count(&variable.shape).saturating_mul(variable.dtype.size_bytes().unwrap_or(0).into());
        let is_label = variable.dimensions.is_empty() || variable.dimensions == [variable.name()];
        let is_data = !is_label && !describing.iter().any(|name| name == variable.name());
        if is_data && n_bytes > above_bytes && variable.dtype.size_bytes().is_some() {
            variable.values = None;
        }
    }
}

/// The error for files of which nothing can be read.
pub(crate) fn nothing_left(left_out: &mut Vec<LeftOut>) -> Result<(), EngineError> {
    if left_out.is_empty() {
        return Ok(());
    }
    let LeftOut { file, path, reason, .. } = left_out.swap_remove(0);
    Err(EngineError::Unreadable { file, variable: path, reason })
}

/// The policies, with the labels of files that are not there. Such files join as files of labels alone.
fn with_absent(views: &mut Vec<FileView>, request: &Request) -> Result<Policies, EngineError> {
    let mut policies = request.policies.clone();
    if request.absent.is_empty() {
        return Ok(policies);
    }
    let Some(along) = policies.along.clone() else {
        let what = "`missing: fill` without `along`".to_owned();
        return Err(CombineError::NotYet { what }.into());
    };
    for dimension in policies.also_along.iter().chain([&along]).cloned().collect::<Vec<_>>() {
        let named = policies.label_keys.iter().find(|(name, _)| name.value == dimension);
        let key = named.map(|(_, key)| key.value.clone());
        let telling = Telling { dimension: &dimension, key: key.as_deref(), merge: request.merge.as_deref() };
        let labels = labels_of_absent(views, &request.keys, &request.absent, telling)?;
        policies.fillable.push((dimension, labels));
    }
    Ok(policies)
}

/// A dimension whose labels are to be compared in some way must be one: else the word would be passed over.
fn check_aligned(views: &[FileView], policies: &Policies) -> Result<(), CombineError> {
    if policies.align.dimensions.is_empty() {
        return Ok(());
    }
    let all = views.iter().flat_map(|view| &view.variables).flat_map(|variable| &variable.dimensions);
    let known: BTreeSet<&String> = all.collect();
    match policies.align.dimensions.iter().find(|(name, _)| !known.contains(&name.value)) {
        Some((name, _)) => Err(CombineError::NoDimension {
            dimension: name.value.clone(),
            known: known.into_iter().cloned().collect(),
        }),
        None => Ok(()),
    }
}

/// Every piece must lie in a file: those that are not there have none.
fn check_pieces(combined: &Combined, sources: &[Source]) -> Result<(), EngineError> {
    for variable in &combined.variables {
        let Content::Pieces(pieces) = &variable.content else { continue };
        if pieces.iter().any(|piece| piece.file >= sources.len()) {
            let what = format!("`missing: fill` where labels are not plain (`{}`)", variable.path);
            return Err(CombineError::NotYet { what }.into());
        }
    }
    Ok(())
}

/// All files of a request, scanned.
pub(crate) fn scanned(request: &Request) -> Result<Vec<Source>, EngineError> {
    let n_threads = request.limits.n_threads + n_waiting_scanners(request.sources.iter().map(|(location, _)| location));
    let found = scan_all(&request.sources, Load::SmallValues, n_threads, request.limits.memory_bytes, request.index);
    found.into_iter().collect()
}

/// Everything that decides a byte of the store: what is written, and from what.
fn hash_of(request: &Request, sources: &[Source], combined: &Combined, targets: &[TargetArray]) -> String {
    let contents: Vec<String> = combined
        .variables
        .iter()
        .map(|variable| match &variable.content {
            Content::Inline(bytes) => digest(bytes),
            Content::Texts(texts) => digest(format!("{texts:?}").as_bytes()),
            Content::Pieces(pieces) => digest(format!("{pieces:?}").as_bytes()),
        })
        .collect();
    let files: Vec<(String, u64, String)> =
        sources.iter().map(|source| (source.name.clone(), source.fingerprint.size_bytes, source.structure())).collect();
    let text = format!(
        "{:?}",
        (
            frazil_model::plan::PLAN_VERSION,
            request.layout.format,
            &request.recipe,
            serde_json::to_string(&request.steps).unwrap_or_default(),
            targets,
            &combined.groups,
            contents,
            files
        )
    );
    digest(text.as_bytes())
}
