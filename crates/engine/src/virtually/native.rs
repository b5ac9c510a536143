//! Values that cannot be referenced: which tasks make them, and where their bytes go.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use bytes::Bytes;
use frazil_formats::references::icechunk::ObjectId;
use frazil_model::{
    combine::Combined,
    layout::TargetArray,
    plan::{Limits, Task},
    region::{Region, cells_touching, grid_of, number_of},
};
use frazil_store::folder::Folder;

use super::lay::Laid;
use crate::{
    error::EngineError,
    identity::{Digested, RangeSum},
    planning::plan,
    progress::Progress,
    run::{Job, Pace, Sink, run},
    sinks::zarr::n_on_their_way,
    source::Source,
};

/// Coordinates up to this size stand in the references themselves.
pub(crate) const MOST_INLINE_COORDINATE_BYTES: usize = 64 << 10;

/// What there is to make.
#[derive(Debug)]
pub(crate) struct NativeWork {
    /// Of each array to make, its number among all.
    numbers: Vec<usize>,
    combined: Combined,
    targets: Vec<TargetArray>,
    tasks: Vec<Task>,
    pace: Pace,
    /// Most memory that making it takes.
    pub peak_memory_bytes: u64,
}

/// A chunk that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Native {
    /// Its bytes.
    Inline(Bytes),
    /// The object that has them.
    Object {
        /// Its name.
        id: ObjectId,
        /// Bytes.
        length: u64,
    },
}

/// What was made, by array and C-order number of the cell. Cells that hold nothing but the fill value are not there.
pub(crate) type Natives = Vec<BTreeMap<u64, Native>>;

impl NativeWork {
    /// Plans it within the limits; `None` if there is nothing to make.
    ///
    /// # Errors
    /// If the memory does not do.
    pub fn plan(
        sources: &[Source],
        combined: &Combined,
        laid: &Laid,
        limits: Limits,
        folder: &Folder,
    ) -> Result<Option<Self>, EngineError> {
        let numbers: Vec<usize> =
            (0..laid.targets.len()).filter(|number| !laid.counts[*number].native.is_empty()).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        let mut part = Combined {
            groups: combined.groups.clone(),
            variables: numbers.iter().map(|number| combined.variables[*number].clone()).collect(),
            along: combined.along.clone(),
            dropped: Vec::new(),
            notes: Vec::new(),
            must_equal: Vec::new(),
        };
        let targets: Vec<TargetArray> = numbers.iter().map(|number| laid.targets[*number].clone()).collect();
        let planned = plan(sources, &part, &targets, (limits, n_on_their_way(&folder.location())))?;
        part.variables.shrink_to_fit();
        let tasks = planned
            .tasks
            .into_iter()
            .flat_map(|task| {
                let native = &laid.counts[numbers[task.array]].native;
                wanted(task.clone(), &targets[task.array], native)
            })
            .collect();
        let (pace, peak_memory_bytes) = (planned.pace, planned.peak_memory_bytes);
        Ok(Some(Self { numbers, combined: part, targets, tasks, pace, peak_memory_bytes }))
    }
}

/// The part of a task that makes what is wanted: all of it, or its units one by one.
fn wanted(task: Task, target: &TargetArray, native: &[u64]) -> Vec<Task> {
    let grid = grid_of(&target.shape, &target.chunk_shape);
    let ones = vec![1; grid.len()];
    let all = Region { start: task.first.clone(), shape: task.n_units.clone() };
    let cells: Vec<Vec<u64>> =
        cells_touching(&all, &ones).filter(|cell| native.binary_search(&number_of(cell, &grid)).is_ok()).collect();
    if cells.len() as u64 == all.n_elements() {
        return vec![task];
    }
    cells.into_iter().map(|first| Task { array: task.array, first, n_units: ones.clone() }).collect()
}

/// What is known of objects that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Each is what its name says.
    Whole,
    /// Some are damaged.
    Damaged,
}

/// Where bytes go that are made.
pub(crate) struct Keeping<'a> {
    /// The repository, if objects can be put there; else all stay in memory.
    pub folder: Option<&'a Folder>,
    /// Chunks up to this size stay in memory.
    pub inline_below: usize,
    /// Whether small coordinates do.
    pub inline_coords: bool,
    /// Whether what is there under the name of a chunk is it.
    pub condition: Condition,
}

struct NativeSink<'a> {
    keeping: &'a Keeping<'a>,
    work: &'a NativeWork,
    made: Mutex<Natives>,
}

impl Sink for NativeSink<'_> {
    fn n_on_their_way(&self) -> usize {
        self.keeping.folder.map_or(0, |folder| n_on_their_way(&folder.location()))
    }

    fn put(
        &self,
        array: usize,
        at: &[u64],
        bytes: Option<Digested<'_>>,
        _read: &[(usize, RangeSum)],
    ) -> Result<(), EngineError> {
        let Some(bytes) = bytes else { return Ok(()) };
        let target = &self.work.targets[array];
        let number = number_of(at, &grid_of(&target.shape, &target.chunk_shape));
        let n_bytes = bytes.bytes().len();
        let is_small_coordinate =
            self.keeping.inline_coords && is_coordinate(target) && n_bytes <= MOST_INLINE_COORDINATE_BYTES;
        let native = match self.keeping.folder {
            Some(folder) if n_bytes > self.keeping.inline_below && !is_small_coordinate => {
                let id = object_id(&bytes);
                let key = chunk_key(id);
                // Its name is that of its content: what is there under it is it.
                if self.keeping.condition == Condition::Damaged || !folder.exists(&key)? {
                    folder.put(&key, bytes.bytes())?;
                }
                Native::Object { id, length: n_bytes as u64 }
            }
            _ => Native::Inline(Bytes::copy_from_slice(bytes.bytes())),
        };
        self.made.lock().unwrap_or_else(PoisonError::into_inner)[self.work.numbers[array]].insert(number, native);
        Ok(())
    }
}

/// The name that bytes have by their content.
pub(crate) fn object_id(bytes: &Digested<'_>) -> ObjectId {
    let mut id = [0; 12];
    id.copy_from_slice(&bytes.digest().as_bytes()[..12]);
    ObjectId(id)
}

/// The key of a chunk's object.
pub(crate) fn chunk_key(id: ObjectId) -> String {
    format!("chunks/{}", id.name())
}

/// Whether readers load an array before all others.
fn is_coordinate(target: &TargetArray) -> bool {
    let name = target.path.rsplit('/').next().unwrap_or_default();
    target.dimensions.iter().any(|dimension| dimension == name) || target.dimensions.len() <= 1
}

/// Makes it.
///
/// # Errors
/// If a source cannot be read, or something cannot be put.
pub(crate) fn make_natives(
    work: Option<&NativeWork>,
    sources: &[Source],
    n_arrays: usize,
    keeping: &Keeping<'_>,
    (progress, stop): (&Progress, &AtomicBool),
) -> Result<Natives, EngineError> {
    let Some(work) = work else { return Ok(vec![BTreeMap::new(); n_arrays]) };
    progress.expect(work.tasks.len() as u64);
    let sink = NativeSink { keeping, work, made: Mutex::new(vec![BTreeMap::new(); n_arrays]) };
    let job = Job {
        sources,
        combined: &work.combined,
        targets: &work.targets,
        tasks: &work.tasks,
        pace: work.pace,
        grown: None,
    };
    run(&job, &sink, progress, stop)?;
    Ok(sink.made.into_inner().unwrap_or_else(PoisonError::into_inner))
}
