//! From files to a plan: scan, combine, lay out, cut into tasks. Nothing is written.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use frazil_model::{
    combine::{Combined, Content, combine, policy::Policies},
    layout::{LayoutRequest, TargetArray, lay_out},
    location::Location,
    plan::{ArrayPlan, Limits, Task},
    recipe::{each::Step, expect::Expectation, source::KeyValue, span::Spanned},
};

use crate::{
    error::EngineError,
    grow::Edge,
    identity::digest,
    index::{IndexUse, scan_all},
    planning::{Summary, n_waiting, plan, summary},
    run::Pace,
    scan::Load,
    source::Source,
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
    /// What must hold of the result.
    pub expect: Vec<Spanned<Expectation>>,
    /// Decisions about files that differ.
    pub policies: Policies,
    /// How the store is cut and packed.
    pub layout: LayoutRequest,
    /// Where the store is written.
    pub target: PathBuf,
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
    let mut sources = scanned(request)?;
    let mut left_out = Vec::new();
    let views = views(&mut sources, request, &mut left_out)?;
    let mut combined = combine(&views, &request.policies)?;
    check_equal(&combined, &sources)?;
    let mut targets = lay_out(&combined, &request.layout)?;
    leave_out_untyped(request, &mut combined, &mut targets, &mut left_out)?;
    if targets.is_empty() && !left_out.is_empty() {
        let LeftOut { file, path, reason, .. } = left_out.swap_remove(0);
        return Err(EngineError::Unreadable { file, variable: path, reason });
    }
    let planned = plan(&sources, &combined, &targets, request.limits)?;
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

/// All files of a request, scanned.
pub(crate) fn scanned(request: &Request) -> Result<Vec<Source>, EngineError> {
    let n_threads = request.limits.n_threads + n_waiting(request.sources.iter().map(|(location, _)| location));
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
