//! Cutting arrays into tasks within the memory and the threads that there are.
//!
//! It promises that the plan's figure for memory holds, and that a plan that cannot hold it is refused with the figure
//! that is needed. The choice changes no byte of the result.

use frazil_formats::codecs::{most_encoded_bytes, working_bytes};
use frazil_model::{
    combine::{Combined, Content},
    layout::TargetArray,
    location::Location,
    manifest::ChunkTable,
    plan::{ArrayPlan, Cuts, Limits, PlanError, SourceSizes, Task, plan_array, reading_bytes, room, tasks},
    region::count,
};
use serde::Serialize;

use crate::{error::EngineError, others::tables_bytes, run::Pace, source::Source};

/// Chunks of one variable of one file.
const MOST_SOURCE_CHUNKS: u64 = 200_000_000;

/// Edges of source chunks that an estimate looks at, per dimension.
const MOST_EDGES: usize = 100_000;

/// Workers that wait for web servers, on top of those that compute. Each server has a limit of its own.
const WAITING_FOR_THE_WEB: usize = 8;

/// The same while files are scanned: they hold little then, and wait for most of the time.
const SCANNING_THE_WEB: usize = 24;

/// At most this part of the memory is for units on their way to a server, if few of them fit in it.
const MOST_FOR_WAITING: u64 = 8;

/// Tasks below this size are not worth being made smaller.
const SMALL_TASK_BYTES: u64 = 32 << 20;

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

/// Tasks and how they are run.
pub(crate) struct Planned {
    pub arrays: Vec<ArrayPlan>,
    pub tasks: Vec<Task>,
    pub pace: Pace,
    pub peak_memory_bytes: u64,
}

/// How many workers wait while the others compute: one for the disk, and as many as a web server allows.
pub(crate) fn n_waiting<'a>(locations: impl Iterator<Item = &'a Location>) -> usize {
    if is_far(locations) { WAITING_FOR_THE_WEB } else { 1 }
}

/// The same while files are scanned.
pub(crate) fn n_waiting_scanners<'a>(locations: impl Iterator<Item = &'a Location>) -> usize {
    if is_far(locations) { SCANNING_THE_WEB } else { 1 }
}

fn is_far<'a>(mut locations: impl Iterator<Item = &'a Location>) -> bool {
    locations.any(|location| !matches!(location, Location::File(_)))
}

/// Every chunk of a source is looked at, written or not; a file of a few bytes can claim more than a life is long.
fn check_chunks(sources: &[Source], combined: &Combined) -> Result<(), EngineError> {
    for variable in &combined.variables {
        let Content::Pieces(pieces) = &variable.content else { continue };
        for piece in pieces {
            let source = &sources[piece.file];
            let n_units = count(&source.variable(piece.variable).grid());
            if n_units > MOST_SOURCE_CHUNKS {
                let (variable, limit) = (variable.path.clone(), MOST_SOURCE_CHUNKS);
                let problem = PlanError::TooManyUnits { variable, n_units, limit };
                return Err(EngineError::Plan { problem, file: source.name.clone() });
            }
        }
    }
    Ok(())
}

/// How many things are done at a time: worth trying, from the fastest to the most modest.
struct Try {
    n_workers: usize,
    n_tasks: usize,
    n_encoders: usize,
    /// Each encoder has room for so many hundredths of what a unit becomes at worst.
    hundredths: u64,
    /// Units that may be on their way to a server.
    n_on_their_way: usize,
}

/// Cuts all arrays into tasks, with as many threads and tasks at a time as the memory allows.
pub(crate) fn plan(
    sources: &[Source],
    combined: &Combined,
    targets: &[TargetArray],
    (limits, n_on_their_way): (Limits, usize),
) -> Result<Planned, EngineError> {
    check_chunks(sources, combined)?;
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
    let attempt =
        |n_workers, n_tasks, n_encoders, hundredths| Try { n_workers, n_tasks, n_encoders, hundredths, n_on_their_way };
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
            let problem = with_least_memory(problem, limits, &|limits| {
                let room = room(limits, metadata_bytes, thread, 1);
                try_plan(&attempt(1, 1, 1, 100), room, targets, &cuts, limits).is_ok()
            });
            let more = if sources.len() > 1 { " and others" } else { "" };
            let file = sources.first().map(|source| format!("{}{more}", source.name)).unwrap_or_default();
            Err(EngineError::Plan { problem, file })
        }
        (None, None) => Err(EngineError::Thread { reason: "no pace was tried".into() }),
    }
}

/// Puts the memory that would do, to within a tenth, into a refusal.
fn with_least_memory(problem: PlanError, limits: Limits, fits: &dyn Fn(Limits) -> bool) -> PlanError {
    /// Tenths more, again and again: from a megabyte to more than any machine has.
    const MOST_TRIES: usize = 150;
    let PlanError::Memory { variable, limit_bytes, why, .. } = problem else { return problem };
    let mut memory_bytes = limits.memory_bytes.max(1 << 20);
    for _ in 0..MOST_TRIES {
        if fits(Limits { memory_bytes, ..limits }) {
            break;
        }
        memory_bytes = memory_bytes.saturating_add(memory_bytes / 10);
    }
    PlanError::Memory { variable, needed_bytes: memory_bytes, limit_bytes, why }
}

/// Plans all arrays for one pace; also says how long that takes, in no particular unit.
fn try_plan(
    attempt: &Try,
    room: u64,
    targets: &[TargetArray],
    cuts: &[Cuts],
    limits: Limits,
) -> Result<(f64, Planned), PlanError> {
    let &Try { n_workers, n_tasks, n_encoders, hundredths, n_on_their_way } = attempt;
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
        // Room for those on their way, if that does not take much from the tasks.
        let waiting = worst.saturating_mul(n_on_their_way as u64).min(room / MOST_FOR_WAITING);
        encoded_bytes = waiting.max(encoded_bytes);
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
    let tables: usize = sources.iter().map(tables_bytes).sum();
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
        size.stored_bytes = ranges.length.iter().max().unwrap_or(0);
    }
    if let (Some(store), None) = (&source.store, source.derived(number)) {
        // Where nothing says how long objects are: as long as a chunk that did not become smaller.
        let worst = || most_encoded_bytes(size.chunk_bytes);
        size.stored_bytes =
            store.stored_bytes(number).map(|(largest, _)| largest).filter(|n| *n > 0).unwrap_or_else(worst);
    }
    if source.lies_elsewhere(number) {
        let (decoded, stored) = crate::others::reading_bytes(source, number, size.chunk_bytes);
        (size.chunk_bytes, size.stored_bytes) = (size.chunk_bytes.saturating_add(decoded), stored);
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
                    _ => {
                        sources[file].store.as_ref().and_then(|store| store.stored_bytes(number)).map_or(0, |all| all.1)
                    }
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
