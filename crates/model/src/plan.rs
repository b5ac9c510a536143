//! Which chunks are made together, what that reads and how much memory it takes.
//!
//! A task is a box of units (shards or chunks) of one array. It is chosen so that each source chunk is read and
//! decoded by as few tasks as the memory allows: once, wherever that can be. The choice changes no byte of the result.

use serde::{Deserialize, Serialize};

use crate::{
    combine::{Content, Piece, view::ViewAxis},
    layout::TargetArray,
    problem::Problem,
    region::{Region, count, grid_of},
};

/// Version of the plan's file format.
pub const PLAN_VERSION: u32 = 1;

/// Memory that the process takes before any chunk is read: program, buffers of the system, metadata in flight.
const BASE_BYTES: u64 = 32 << 20;

/// Chunks or shards of one array; each is at least an entry in the journal and a file.
const MOST_UNITS: u64 = 20_000_000;

/// Boxes are tried along each dimension at these shares of what the dimension has, besides those that fit source chunks.
const MOST_CANDIDATES: usize = 12;

/// What is done in one go, without a trace until it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Number of the array.
    pub array: usize,
    /// First unit along each dimension.
    pub first: Vec<u64>,
    /// How many units along each dimension.
    pub n_units: Vec<u64>,
}

/// How one array is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArrayPlan {
    /// Units of a task along each dimension.
    pub units_of_task: Vec<u64>,
    /// Decoded bytes of a task's units.
    pub task_bytes: u64,
    /// How often a source chunk is decoded, on average: 1 is best.
    pub decodes_per_chunk: f64,
}

/// Limits of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the process may take.
    pub memory_bytes: u64,
    /// Threads that decode and encode.
    pub n_threads: usize,
}

/// Sizes of what is read for one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceSizes {
    /// Decoded bytes of the largest source chunk.
    pub chunk_bytes: u64,
    /// Bytes of the largest stored source chunk.
    pub stored_bytes: u64,
}

/// Why a plan cannot be had.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error("`{variable}` needs {needed_bytes} bytes of memory: {why}; the limit is {limit_bytes}")]
    Memory { variable: String, needed_bytes: u64, limit_bytes: u64, why: String },
    #[error("`{variable}` would have {n_units} chunks; the limit is {limit}")]
    TooManyUnits { variable: String, n_units: u64, limit: u64 },
}

impl Problem for PlanError {
    fn code(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "plan.memory",
            Self::TooManyUnits { .. } => "plan.too-many-chunks",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Memory { needed_bytes, .. } => {
                Some(format!("choose `--memory {}MB`, or smaller chunks", needed_bytes.div_ceil(1_000_000)))
            }
            Self::TooManyUnits { .. } => Some("choose larger chunks or shards, or leave the variable out".into()),
        }
    }
}

/// Bytes that reading takes in each thread: the stored chunk, and two buffers it goes through.
#[must_use]
pub const fn reading_bytes(source: SourceSizes) -> u64 {
    source.stored_bytes.saturating_add(source.chunk_bytes.saturating_mul(5) / 2)
}

/// Bytes that tasks may fill and encoded units may take, once base and threads have theirs.
#[must_use]
pub const fn room(limits: Limits, metadata_bytes: u64, thread_bytes: u64, n_workers: usize) -> u64 {
    let threads = thread_bytes.saturating_mul(n_workers as u64);
    let taken = BASE_BYTES.saturating_add(metadata_bytes).saturating_add(threads);
    limits.memory_bytes.saturating_sub(taken)
}

/// Where source chunks begin and end along each dimension of an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cuts(pub Vec<Vec<u64>>);

impl Cuts {
    /// The edges of source chunks along each dimension, of all pieces; at most `most` a dimension, since a longer
    /// list would only make the estimate finer.
    #[must_use]
    pub fn of(content: &Content, shape: &[u64], chunk_shape_of: &dyn Fn(&Piece) -> Vec<u64>, most: usize) -> Self {
        let mut cuts: Vec<Vec<u64>> = shape.iter().map(|length| vec![0, *length]).collect();
        if let Content::Pieces(pieces) = content {
            for piece in pieces {
                let chunk = chunk_shape_of(piece);
                for (axis, edges) in cuts.iter_mut().enumerate() {
                    if edges.len() > most {
                        continue;
                    }
                    edges.push(piece.at.start[axis]);
                    edges.push(piece.at.end(axis));
                    let ViewAxis::Source { axis: source, start, step } = piece.axes[axis] else { continue };
                    let length = chunk[source].max(1);
                    let first = if step > 0 { length - start % length } else { start % length + 1 };
                    let mut edge = first;
                    while edge < piece.at.shape[axis] && edges.len() <= most {
                        edges.push(piece.at.start[axis] + edge);
                        edge += length;
                    }
                }
            }
        }
        for edges in &mut cuts {
            edges.sort_unstable();
            edges.dedup();
        }
        Self(cuts)
    }

    /// How often the stretches between cuts are touched by boxes of `length`, along one dimension.
    fn touches(&self, axis: usize, length: u64) -> u64 {
        self.0[axis].windows(2).map(|edge| (edge[1] - 1) / length - edge[0] / length + 1).sum()
    }

    fn stretches(&self, axis: usize) -> u64 {
        (self.0[axis].len() as u64).saturating_sub(1).max(1)
    }
}

/// Chooses the box of units that is made together.
///
/// Of the boxes that fit in `room_bytes`, the one that decodes source chunks least; of those the smallest, down to
/// about `least_bytes`, since small tasks start early and fail small.
///
/// A shard that does not fit is made alone, a part of its chunks at a time.
///
/// # Errors
/// [`PlanError::Memory`] if not even one chunk fits.
pub fn plan_array(
    target: &TargetArray,
    cuts: &Cuts,
    room_bytes: u64,
    least_bytes: u64,
    limits: Limits,
) -> Result<ArrayPlan, PlanError> {
    let unit = target.unit_shape();
    let grid = grid_of(&target.shape, unit);
    let element = u64::from(target.dtype.size_bytes().unwrap_or(16));
    let unit_bytes = count(unit).saturating_mul(element);
    if count(&grid) > MOST_UNITS {
        let (variable, n_units) = (target.path.clone(), count(&grid));
        return Err(PlanError::TooManyUnits { variable, n_units, limit: MOST_UNITS });
    }
    if target.chunk_bytes() > room_bytes {
        let chunk_bytes = target.chunk_bytes();
        let needed_bytes = limits.memory_bytes.saturating_sub(room_bytes).saturating_add(chunk_bytes);
        return Err(PlanError::Memory {
            variable: target.path.clone(),
            needed_bytes,
            limit_bytes: limits.memory_bytes,
            why: format!("one chunk has {chunk_bytes} bytes, and as much again once it is encoded"),
        });
    }
    if unit_bytes > room_bytes {
        return Ok(in_rounds(target, cuts, room_bytes));
    }
    let candidates: Vec<Vec<u64>> =
        (0..unit.len()).map(|axis| candidates(grid[axis], unit[axis], &cuts.0[axis])).collect();
    let mut best: Option<(f64, u64, Vec<u64>)> = None;
    for_each_choice(&candidates, &mut |choice| {
        let bytes = choice.iter().fold(unit_bytes, |bytes, n_units| bytes.saturating_mul(*n_units));
        if bytes > room_bytes {
            return;
        }
        let decodes: f64 = (0..unit.len())
            .map(|axis| {
                #[allow(clippy::cast_precision_loss)]
                let share = cuts.touches(axis, choice[axis] * unit[axis]) as f64 / cuts.stretches(axis) as f64;
                share
            })
            .product();
        let size = bytes.max(least_bytes);
        let better = best.as_ref().is_none_or(|(least, smallest, _)| {
            decodes < *least - 1e-9 || (decodes < *least + 1e-9 && size < *smallest)
        });
        if better {
            best = Some((decodes, size, choice.to_vec()));
        }
    });
    let (decodes_per_chunk, _, units_of_task) = best.unwrap_or((1.0, unit_bytes, vec![1; unit.len()]));
    let task_bytes = units_of_task.iter().fold(unit_bytes, |bytes, n_units| bytes.saturating_mul(*n_units));
    Ok(ArrayPlan { units_of_task, task_bytes, decodes_per_chunk })
}

/// The plan of shards that do not fit: each is filled some chunks at a time, in C order.
fn in_rounds(target: &TargetArray, cuts: &Cuts, room_bytes: u64) -> ArrayPlan {
    let chunk = &target.chunk_shape;
    let n_chunks = round_chunks(target, room_bytes);
    // A run of chunks in C order is about this box.
    let inner = grid_of(target.unit_shape(), chunk);
    let (mut left, mut covers) = (n_chunks, vec![1; chunk.len()]);
    for axis in (0..chunk.len()).rev() {
        covers[axis] = left.clamp(1, inner[axis].max(1));
        left /= inner[axis].max(1);
    }
    #[allow(clippy::cast_precision_loss)]
    let decodes = (0..chunk.len())
        .map(|axis| cuts.touches(axis, covers[axis] * chunk[axis]) as f64 / cuts.stretches(axis) as f64)
        .product();
    ArrayPlan {
        units_of_task: vec![1; chunk.len()],
        task_bytes: n_chunks * target.chunk_bytes(),
        decodes_per_chunk: decodes,
    }
}

/// How many chunks of a shard are filled at a time where a task may fill `room_bytes`.
#[must_use]
pub fn round_chunks(target: &TargetArray, room_bytes: u64) -> u64 {
    let of_unit = count(&grid_of(target.unit_shape(), &target.chunk_shape)).max(1);
    (room_bytes / target.chunk_bytes().max(1)).clamp(1, of_unit)
}

/// Numbers of units worth trying along a dimension: one, all, halves of all, and those that cover source chunks.
fn candidates(n_units: u64, unit: u64, edges: &[u64]) -> Vec<u64> {
    let n_units = n_units.max(1);
    let longest = edges.windows(2).map(|edge| edge[1] - edge[0]).max().unwrap_or(1);
    let cover = longest.div_ceil(unit).clamp(1, n_units);
    let common = (lcm(longest.max(1), unit) / unit).clamp(1, n_units);
    let mut found = vec![1, n_units, cover, common];
    let mut share = n_units;
    while share > 1 && found.len() < MOST_CANDIDATES {
        share = share.div_ceil(2);
        found.push(share);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
}

fn for_each_choice(candidates: &[Vec<u64>], visit: &mut dyn FnMut(&[u64])) {
    let lengths: Vec<u64> = candidates.iter().map(|list| list.len() as u64).collect();
    let mut choice = vec![1; candidates.len()];
    for number in 0..count(&lengths) {
        for (axis, at) in crate::region::coordinates_of(number, &lengths).into_iter().enumerate() {
            choice[axis] = candidates[axis][usize::try_from(at).unwrap_or(0)];
        }
        visit(&choice);
    }
}

/// The tasks of an array, in C order.
#[must_use]
pub fn tasks(array: usize, target: &TargetArray, plan: &ArrayPlan) -> Vec<Task> {
    let grid = grid_of(&target.shape, target.unit_shape());
    let boxes = grid_of(&grid, &plan.units_of_task);
    (0..count(&boxes))
        .map(|number| {
            let at = crate::region::coordinates_of(number, &boxes);
            let units = Region::of_cell(&at, &plan.units_of_task, &grid);
            Task { array, first: units.start, n_units: units.shape }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribute::Attributes,
        codec::CodecChain,
        dtype::{DataType, FloatType},
    };

    const MB: u64 = 1_000_000;

    fn array(shape: &[u64], chunk: &[u64]) -> TargetArray {
        TargetArray {
            path: "/sst".into(),
            dimensions: vec!["time".into(), "lat".into(), "lon".into()],
            shape: shape.to_vec(),
            dtype: DataType::Float(FloatType::F32),
            fill: vec![0; 4],
            attributes: Attributes::default(),
            chunk_shape: chunk.to_vec(),
            shard_shape: None,
            codecs: CodecChain::default(),
            keeps_chunks: false,
            leaves_out_unwritten: true,
        }
    }

    fn daily(n_days: u64) -> Cuts {
        Cuts(vec![(0..=n_days).collect(), vec![0, 720], vec![0, 1440]])
    }

    #[track_caller]
    fn check(chunk: &[u64], room: u64, expected: (&[u64], f64)) {
        let target = array(&[180, 720, 1440], chunk);
        let limits = Limits { memory_bytes: room, n_threads: 2 };
        let plan = plan_array(&target, &daily(180), room, 8 * MB, limits).unwrap();
        assert_eq!((plan.units_of_task.as_slice(), plan.decodes_per_chunk), expected);
    }

    #[test]
    fn days_to_months_of_maps_reads_each_day_once() {
        check(&[30, 720, 1440], 500 * MB, (&[1, 1, 1], 1.0));
    }

    #[test]
    fn days_to_series_reads_each_day_once_if_memory_allows_and_twice_if_half_of_it_does() {
        check(&[180, 90, 90], 800 * MB, (&[1, 8, 16], 1.0));
        check(&[180, 90, 90], 400 * MB, (&[1, 4, 16], 2.0));
    }

    #[test]
    fn a_chunk_that_does_not_fit_is_refused_with_the_figure() {
        let target = array(&[180, 720, 1440], &[180, 720, 1440]);
        let limits = Limits { memory_bytes: 512 * MB, n_threads: 2 };
        let Err(PlanError::Memory { needed_bytes, .. }) = plan_array(&target, &daily(180), 400 * MB, MB, limits) else {
            panic!("a chunk of 746 MB fits in 400")
        };
        assert_eq!(needed_bytes, 180 * 720 * 1440 * 4 + 112 * MB);
    }

    #[test]
    fn the_tasks_of_an_array_cover_its_units_once() {
        let target = array(&[31, 4, 4], &[10, 4, 4]);
        let plan = ArrayPlan { units_of_task: vec![3, 1, 1], task_bytes: 0, decodes_per_chunk: 1.0 };
        let tasks = tasks(0, &target, &plan);
        assert_eq!(tasks.iter().map(|task| (task.first[0], task.n_units[0])).collect::<Vec<_>>(), [(0, 3), (3, 1)]);
    }
}
