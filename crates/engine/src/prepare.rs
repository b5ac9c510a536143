//! From files to a plan: scan, combine, lay out, cut into tasks. Nothing is written.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::PathBuf,
};

use frazil_formats::codecs::{most_encoded_bytes, working_bytes};
use frazil_model::{
    attribute::AttributeValue,
    combine::{
        Combined, Content, MustEqual, combine,
        policy::Policies,
        steps::{self, StepError, StepFault},
        view::FileView,
    },
    dataset::Variable,
    dtype::DataType,
    layout::{LayoutRequest, TargetArray, lay_out},
    location::Location,
    manifest::ChunkTable,
    plan::{ArrayPlan, Cuts, Limits, PlanError, SourceSizes, Task, plan_array, reading_bytes, room, tasks},
    recipe::{each::Step, expect::Expectation, source::KeyValue, span::Spanned},
    region::count,
};
use serde::Serialize;

use crate::{
    derived::whole_view,
    error::EngineError,
    identity::digest,
    run::Pace,
    scan::{Load, scan_all},
    sinks::zarr::ZarrStore,
    source::{ChunkReader, Source},
};

/// Edges of source chunks that an estimate looks at, per dimension.
const MOST_EDGES: usize = 100_000;

/// Workers that wait for web servers, on top of those that compute. Each server has a limit of its own.
const WAITING_FOR_THE_WEB: usize = 8;

/// Tasks below this size are not worth being made smaller.
const SMALL_TASK_BYTES: u64 = 32 << 20;

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
}

/// Something that cannot be read, or has no place in Zarr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The file.
    pub file: String,
    /// Its path there.
    pub path: String,
    /// The attribute of it that is meant, if it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The reason.
    pub reason: String,
}

/// What a plan says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Files read.
    pub n_files: u64,
    /// Arrays written.
    pub n_arrays: u64,
    /// Tasks.
    pub n_tasks: u64,
    /// Units written.
    pub n_units: u64,
    /// Bytes read from chunks of the sources.
    pub read_bytes: u64,
    /// Decoded bytes of the result.
    pub decoded_bytes: u64,
    /// Most memory that the run will take.
    pub peak_memory_bytes: u64,
    /// How often a source chunk is decoded, at worst: 1 is best.
    pub decodes_per_chunk: f64,
}

/// Scans, joins and plans.
///
/// # Errors
/// Whatever stands in the way, naming file, variable and rule.
pub fn prepare(request: &Request) -> Result<Prepared, EngineError> {
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
    })
}

/// All files of a request, scanned.
pub(crate) fn scanned(request: &Request) -> Result<Vec<Source>, EngineError> {
    let n_threads = request.limits.n_threads + n_waiting(request.sources.iter().map(|(location, _)| location));
    scan_all(&request.sources, Load::SmallValues, n_threads).into_iter().collect()
}

/// The files as combining sees them, without what cannot be read in one of them. What the steps make is added to the
/// sources.
pub(crate) fn views(
    sources: &mut [Source],
    request: &Request,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<FileView>, EngineError> {
    let view = |source: &Source| {
        FileView::of(&source.name, &source.decoded.dataset, &|number| source.values.get(&number).cloned())
    };
    let mut views: Vec<FileView> = sources.iter().map(view).collect();
    steps::apply_all(&mut views, &request.steps, &request.keys).map_err(|error| named_unread(sources, error))?;
    for (source, view) in sources.iter_mut().zip(&mut views) {
        source.derived = std::mem::take(&mut view.derived);
    }
    // Nobody asked for the rest where variables were named.
    if !request.steps.iter().any(|step| matches!(step.value, Step::Keep(_))) {
        for source in sources.iter() {
            left_out.extend(source.decoded.dataset.unread.iter().map(|unread| LeftOut {
                file: source.name.clone(),
                path: unread.path.clone(),
                attribute: None,
                reason: unread.reason.clone(),
            }));
        }
    }
    for (source, view) in sources.iter().zip(&views) {
        left_out.extend(unread_attributes(source, view));
    }
    let is_wanted = |path: &str| {
        request.steps.iter().any(|step| match &step.value {
            Step::Keep(names) => names.iter().any(|name| !name.contains(['*', '?']) && steps::is_named(path, name)),
            _ => false,
        })
    };
    let mut gone: Vec<String> = Vec::new();
    for (source, view) in sources.iter().zip(&views) {
        for variable in &view.variables {
            let Err(problem) = check_readable(source, variable.source) else { continue };
            let EngineError::Unreadable { file, variable: path, reason } = problem else { return Err(problem) };
            // What is computed was asked for as well.
            if is_wanted(&path) || is_wanted(&variable.path) || source.derived(variable.source).is_some() {
                return Err(EngineError::Unreadable { file, variable: path, reason });
            }
            gone.push(variable.path.clone());
            left_out.push(LeftOut { file, path, attribute: None, reason });
        }
    }
    for view in &mut views {
        view.variables.retain(|variable| !gone.contains(&variable.path));
    }
    Ok(views)
}

/// A name that no file has may be there and not be readable: that is what to say then.
fn named_unread(sources: &[Source], error: StepError) -> EngineError {
    if let StepFault::Unknown { name, .. } = &error.fault {
        for source in sources {
            if let Some(unread) =
                source.decoded.dataset.unread.iter().find(|unread| steps::is_named(&unread.path, name))
            {
                return source.unreadable_as(&unread.path, &unread.reason);
            }
        }
    }
    error.into()
}

/// Attributes whose values have no place in JSON, or could not be read.
fn unread_attributes(source: &Source, view: &FileView) -> Vec<LeftOut> {
    let of_groups = view.groups.iter().map(|group| (&group.path, &group.attributes));
    let of_variables = view.variables.iter().map(|variable| (&variable.path, &variable.attributes));
    of_groups
        .chain(of_variables)
        .flat_map(|(path, attributes)| attributes.0.iter().map(move |(name, value)| (path, name, value)))
        .filter_map(|(path, name, value)| {
            let AttributeValue::Unread(kind) = value else { return None };
            let (file, path) = (source.name.clone(), path.clone());
            Some(LeftOut { file, path, attribute: Some(name.clone()), reason: kind.clone() })
        })
        .collect()
}

/// What no chunk reader can read.
fn check_readable(source: &Source, number: usize) -> Result<(), EngineError> {
    if let Some(derived) = source.derived(number) {
        return derived.inputs().into_iter().try_for_each(|input| check_readable(source, input));
    }
    let variable = source.variable(number);
    if let Some(reason) = frazil_formats::codecs::unreadable(&variable.codecs) {
        return Err(source.unreadable(number, &reason));
    }
    if variable.path.contains(['\\', '\0']) || variable.path.split('/').any(|part| part == "." || part == "..") {
        return Err(source.unreadable(number, "its name cannot be a key of a Zarr store"));
    }
    if let Some((name, length, full)) = shorter_dimension(source, variable) {
        let reason = format!("it has {length} elements along `{name}`, whose length is {full}");
        return Err(source.unreadable(number, &reason));
    }
    match &variable.dtype {
        DataType::Unsupported { kind, .. } => {
            Err(source.unreadable(number, &format!("{kind} values have no place in Zarr")))
        }
        DataType::String if !source.values.contains_key(&number) => {
            Err(source.unreadable(number, "its texts are damaged or too many"))
        }
        _ => source.chunk(number, 0).map(|_| ()),
    }
}

/// A dimension of which the variable has only a beginning: the file was closed before all of it was written.
fn shorter_dimension<'a>(source: &Source, variable: &'a Variable) -> Option<(&'a str, u64, u64)> {
    let groups = &source.decoded.dataset.groups;
    variable.dimensions.iter().zip(&variable.shape).find_map(|(name, length)| {
        let is_above =
            |path: &str| path == "/" || variable.group() == path || variable.group().starts_with(&format!("{path}/"));
        let nearest = groups
            .iter()
            .filter(|group| is_above(&group.path))
            .filter_map(|group| {
                Some((group.path.len(), group.dimensions.iter().find(|dimension| dimension.name == *name)?))
            })
            .max_by_key(|(depth, _)| *depth)?;
        (nearest.1.length > *length).then_some((name.as_str(), *length, nearest.1.length))
    })
}

/// Takes out arrays whose type has no name in the format.
fn leave_out_untyped(
    request: &Request,
    combined: &mut Combined,
    targets: &mut Vec<TargetArray>,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), EngineError> {
    let mut number = 0;
    while number < targets.len() {
        match ZarrStore::new(request.layout.format, Vec::new(), &targets[number..=number]).documents() {
            Ok(_) => number += 1,
            Err(EngineError::NoZarrType { variable, reason, .. }) => {
                let file = request.sources.first().map(|(_, name)| name.clone()).unwrap_or_default();
                left_out.push(LeftOut { file, path: variable, attribute: None, reason });
                targets.remove(number);
                combined.variables.remove(number);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Compares large variables that must be the same in every file.
pub(crate) fn check_equal(combined: &Combined, sources: &[Source]) -> Result<(), EngineError> {
    let mut known: BTreeMap<(usize, &str), String> = BTreeMap::new();
    let mut reader = ChunkReader::default();
    for MustEqual { path, along, first, other } in &combined.must_equal {
        for (file, view) in [first, other] {
            if let Entry::Vacant(unknown) = known.entry((*file, path)) {
                unknown.insert(digest(&whole_view(&mut reader, &sources[*file], view)?));
            }
        }
        if known.get(&(first.0, path)) != known.get(&(other.0, path)) {
            return Err(EngineError::StaticDiffers {
                variable: path.clone(),
                along: along.clone(),
                file: sources[other.0].name.clone(),
                first_file: sources[first.0].name.clone(),
            });
        }
    }
    Ok(())
}

pub(crate) struct Planned {
    pub arrays: Vec<ArrayPlan>,
    pub tasks: Vec<Task>,
    pub pace: Pace,
    pub peak_memory_bytes: u64,
}

/// How many workers wait while the others compute: one for the disk, and as many as a web server allows.
fn n_waiting<'a>(mut locations: impl Iterator<Item = &'a Location>) -> usize {
    match locations.any(|location| matches!(location, Location::Http(_))) {
        true => WAITING_FOR_THE_WEB,
        false => 1,
    }
}

/// How many things are done at a time: worth trying, from the fastest to the most modest.
struct Try {
    n_workers: usize,
    n_tasks: usize,
    n_encoders: usize,
    /// Each encoder has room for so many hundredths of what a unit becomes at worst.
    hundredths: u64,
}

/// Cuts all arrays into tasks, with as many threads and tasks at a time as the memory allows.
pub(crate) fn plan(
    sources: &[Source],
    combined: &Combined,
    targets: &[TargetArray],
    limits: Limits,
) -> Result<Planned, EngineError> {
    let metadata_bytes = held_bytes(sources, combined);
    let sizes: Vec<SourceSizes> = combined.variables.iter().map(|variable| sizes(sources, &variable.content)).collect();
    let working = |target: &TargetArray| working_bytes(&target.codecs, target.dtype.swap_bytes(), target.chunk_bytes());
    let reading = sizes.iter().map(|size| reading_bytes(*size)).max().unwrap_or(0);
    let thread = reading + targets.iter().map(working).max().unwrap_or(0);
    let cuts: Vec<Cuts> = combined
        .variables
        .iter()
        .map(|variable| {
            let chunk_shape =
                |piece: &frazil_model::combine::Piece| sources[piece.file].variable(piece.variable).chunk_shape.clone();
            Cuts::of(&variable.content, &variable.shape, &chunk_shape, MOST_EDGES)
        })
        .collect();
    let n = limits.n_threads.max(1);
    let more = n + n_waiting(sources.iter().map(|source| &source.location));
    let attempt = |n_workers, n_tasks, n_encoders, hundredths| Try { n_workers, n_tasks, n_encoders, hundredths };
    // One worker more than cores: while one waits for the disk, the others compute. Most units become smaller when
    // they are encoded, so room for four fifths of the worst case is seldom too little.
    let tries = [
        attempt(more, 2, more, 100),
        attempt(more, 2, n, 80),
        attempt(n + 1, 2, n, 80),
        attempt(n, 2, n, 80),
        attempt(n, 2, 1, 100),
        attempt(n + 1, 1, n, 80),
        attempt(n, 1, 1, 100),
        attempt(1, 1, 1, 100),
    ];
    let mut best: Option<(f64, Planned)> = None;
    let mut refused = None;
    for attempt in tries {
        let room = room(limits, metadata_bytes, thread, attempt.n_workers);
        match try_plan(&attempt, room, targets, &cuts, limits) {
            Ok((cost, planned)) if best.as_ref().is_none_or(|(least, _)| cost < least * 0.95) => {
                best = Some((cost, planned));
            }
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (best, refused) {
        (Some((_, planned)), _) => Ok(planned),
        (None, Some(problem)) => {
            let more = if sources.len() > 1 { " and others" } else { "" };
            let file = sources.first().map(|source| format!("{}{more}", source.name)).unwrap_or_default();
            Err(EngineError::Plan { problem, file })
        }
        (None, None) => Err(EngineError::Thread { reason: "no pace was tried".into() }),
    }
}

/// Plans all arrays for one pace; also says how long that takes, in no particular unit.
fn try_plan(
    attempt: &Try,
    room: u64,
    targets: &[TargetArray],
    cuts: &[Cuts],
    limits: Limits,
) -> Result<(f64, Planned), PlanError> {
    let &Try { n_workers, n_tasks, n_encoders, hundredths } = attempt;
    let worst_of = |target: &TargetArray| {
        let unit = count(target.unit_shape()).saturating_mul(target.dtype.size_bytes().unwrap_or(16).into());
        let index = count(target.unit_shape()) / count(&target.chunk_shape).max(1) * 16;
        (unit, most_encoded_bytes(unit).saturating_add(index))
    };
    // A shard that does not fit is kept encoded until it is whole, and filled by and by in a quarter of the room.
    let is_cut = |target: &TargetArray| {
        let (unit, worst) = worst_of(target);
        target.shard_shape.is_some() && unit.saturating_add(worst) > room
    };
    let cannot = |target: &TargetArray| {
        let chunk = target.chunk_bytes();
        let needed_bytes = (limits.memory_bytes - room.min(limits.memory_bytes))
            .saturating_add(chunk)
            .saturating_add(most_encoded_bytes(chunk));
        let why = format!("one chunk has {chunk} bytes, and as much again at worst once it is encoded");
        PlanError::Memory { variable: target.path.clone(), needed_bytes, limit_bytes: limits.memory_bytes, why }
    };
    let n_tasks = if targets.iter().any(is_cut) { 1 } else { n_tasks };
    let mut encoded_bytes = 0;
    for target in targets {
        let (_, worst) = worst_of(target);
        let wanted = match is_cut(target) {
            true => room - (room / 4).max(target.chunk_bytes()).min(room),
            false => worst.max(worst.saturating_mul(n_encoders as u64).saturating_mul(hundredths) / 100),
        };
        encoded_bytes = wanted.max(encoded_bytes);
        if wanted > room || (is_cut(target) && most_encoded_bytes(target.chunk_bytes()) > wanted) {
            return Err(cannot(target));
        }
    }
    let each = (room - encoded_bytes) / n_tasks as u64;
    let planned: Result<Vec<ArrayPlan>, _> = targets
        .iter()
        .zip(cuts)
        .map(|(target, cuts)| {
            if target.chunk_bytes() > each {
                return Err(cannot(target));
            }
            plan_array(target, cuts, each, SMALL_TASK_BYTES, limits)
        })
        .collect();
    let arrays = planned?;
    #[allow(clippy::cast_precision_loss)]
    let cost: f64 = arrays
        .iter()
        .zip(targets)
        .map(|(array, target)| {
            let in_flight = array.units_of_task.iter().product::<u64>().saturating_mul(n_tasks as u64);
            let reading = n_workers.min(limits.n_threads).max(1) as f64;
            let encoding = reading.min(n_encoders as f64).min(in_flight as f64);
            // Packing a byte takes about three times as long as unpacking it.
            let overlap = if n_tasks == 1 { 1.15 } else { 1.0 };
            let elements = count(&target.shape) as f64;
            elements * overlap * (array.decodes_per_chunk / reading + 3.0 / encoding)
        })
        .sum();
    let largest = arrays.iter().map(|array| array.task_bytes).max().unwrap_or(0);
    let peak_memory_bytes = limits.memory_bytes.saturating_sub(room) + encoded_bytes + largest * n_tasks as u64;
    let tasks = targets
        .iter()
        .zip(&arrays)
        .enumerate()
        .flat_map(|(number, (target, array))| tasks(number, target, array))
        .collect();
    let pace = Pace { n_workers, n_tasks, task_bytes: each, n_encoders, encoded_bytes };
    Ok((cost, Planned { arrays, tasks, pace, peak_memory_bytes }))
}

/// Bytes of the values and tables that are held while running.
fn held_bytes(sources: &[Source], combined: &Combined) -> u64 {
    let tables: usize = sources
        .iter()
        .flat_map(|source| &source.decoded.manifest.tables)
        .map(|table| match table {
            ChunkTable::Ranges(ranges) => ranges.len() * 28,
            ChunkTable::Inline(bytes) => bytes.len(),
            ChunkTable::External(parts) => parts.len() * 64,
            ChunkTable::Virtual(parts) => parts.len() * 256,
        })
        .sum();
    let inline: usize = combined
        .variables
        .iter()
        .map(|variable| match &variable.content {
            Content::Inline(bytes) => 2 * bytes.len(),
            Content::Texts(texts) => texts.iter().flatten().map(|text| text.len() + 24).sum(),
            Content::Pieces(pieces) => pieces.len() * 256,
        })
        .sum();
    (tables + inline) as u64
}

fn sizes(sources: &[Source], content: &Content) -> SourceSizes {
    let Content::Pieces(pieces) = content else { return SourceSizes::default() };
    let mut largest = SourceSizes::default();
    for piece in pieces {
        let one = sizes_of(&sources[piece.file], piece.variable);
        largest.chunk_bytes = largest.chunk_bytes.max(one.chunk_bytes);
        largest.stored_bytes = largest.stored_bytes.max(one.stored_bytes);
    }
    largest
}

/// What reading one chunk takes. A derived chunk is held along with all that it is made of.
fn sizes_of(source: &Source, number: usize) -> SourceSizes {
    let variable = source.variable(number);
    let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let mut size = SourceSizes {
        chunk_bytes: count(&variable.chunk_shape).saturating_mul(element_bytes),
        ..SourceSizes::default()
    };
    if let Some(ChunkTable::Ranges(ranges)) = source.decoded.manifest.tables.get(number) {
        size.stored_bytes = ranges.length.iter().copied().max().unwrap_or(0);
    }
    if let Some(derived) = source.derived(number) {
        // Once as read and once as float64, for each of its inputs.
        let n_copies = derived.inputs().len() as u64 * 2 + 1;
        let held = count(&variable.chunk_shape).saturating_mul(8).saturating_mul(n_copies);
        size.chunk_bytes = size.chunk_bytes.saturating_add(held);
        for input in derived.inputs() {
            let input = sizes_of(source, input);
            size.chunk_bytes = size.chunk_bytes.saturating_add(input.chunk_bytes);
            size.stored_bytes = size.stored_bytes.max(input.stored_bytes);
        }
    }
    size
}

/// The variables of the file that a variable is read from.
fn read_for(source: &Source, number: usize) -> Vec<usize> {
    match source.derived(number) {
        Some(derived) => derived.inputs().into_iter().flat_map(|input| read_for(source, input)).collect(),
        None => vec![number],
    }
}

pub(crate) fn summary(sources: &[Source], combined: &Combined, targets: &[TargetArray], planned: &Planned) -> Summary {
    let stored: u64 = combined
        .variables
        .iter()
        .zip(&planned.arrays)
        .map(|(variable, array)| {
            let Content::Pieces(pieces) = &variable.content else { return 0 };
            let read = |piece: &frazil_model::combine::Piece| {
                read_for(&sources[piece.file], piece.variable).into_iter().map(|number| (piece.file, number)).collect()
            };
            let mut once: Vec<(usize, usize)> = pieces.iter().flat_map::<Vec<_>, _>(read).collect();
            once.sort_unstable();
            once.dedup();
            let bytes: u64 = once
                .into_iter()
                .map(|(file, number)| match sources[file].decoded.manifest.tables.get(number) {
                    Some(ChunkTable::Ranges(ranges)) => ranges.length.iter().sum(),
                    _ => 0,
                })
                .sum();
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let read = (bytes as f64 * array.decodes_per_chunk) as u64;
            read
        })
        .sum();
    Summary {
        n_files: sources.len() as u64,
        n_arrays: targets.len() as u64,
        n_tasks: planned.tasks.len() as u64,
        n_units: planned.tasks.iter().map(|task| task.n_units.iter().product::<u64>()).sum(),
        read_bytes: stored,
        decoded_bytes: targets
            .iter()
            .map(|target| count(&target.shape).saturating_mul(target.dtype.size_bytes().unwrap_or(16).into()))
            .sum(),
        peak_memory_bytes: planned.peak_memory_bytes,
        decodes_per_chunk: planned.arrays.iter().map(|array| array.decodes_per_chunk).fold(1.0, f64::max),
    }
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
