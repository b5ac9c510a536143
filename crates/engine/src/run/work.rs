//! One task: what it reads, the chunks it fills, the units it writes.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize},
};

use frazil_model::{
    combine::{Content, Piece, fill_after, view::ViewAxis},
    layout::TargetArray,
    packing::ValueRule,
    plan::{Task, round_chunks},
    region::{Region, cells_touching, count},
};

use crate::{
    error::EngineError,
    grow::OldShard,
    identity::RangeSum,
    run::{
        Job,
        buffer::{ChunkBuffer, Pool},
        gather::{self, ChunkRead},
        room::Grant,
    },
    source::ChunkAt,
};

/// A task under way, or one round of it: a shard that does not fit in memory is filled some chunks at a time.
pub struct Work {
    /// The task.
    pub task: Task,
    /// Source chunks to read.
    pub reads: Vec<ChunkRead>,
    /// Chunks of the box, each in its unit.
    pub chunks: Vec<WorkChunk>,
    /// Units to write, with the numbers of their chunks.
    pub units: Vec<Unit>,
    /// Reads that are not finished.
    pub reads_left: AtomicUsize,
    /// Units that are not written.
    pub units_left: AtomicUsize,
    /// Which part of a shard this is, if it is not all of it.
    pub round: Option<Round>,
    /// Which chunk lies in which cell of the array's chunk grid.
    places: Places,
}

/// Some chunks of a shard, in C order.
#[derive(Debug)]
pub struct Round {
    /// Chunks of the shard that earlier rounds did.
    pub n_before: usize,
    /// Whether no chunk is left after this round.
    pub is_last: bool,
    /// What earlier rounds made of the shard; whoever encodes this one takes it.
    pub so_far: Mutex<Option<ShardSoFar>>,
}

/// A shard that is not finished.
#[derive(Debug)]
pub struct ShardSoFar {
    /// Its chunks, encoded, one after another.
    pub encoded: Grant,
    /// Where each of its chunks begins, and its length.
    pub index: Vec<(u64, u64)>,
    /// What was read of each file and counts for the shard.
    pub read: Vec<(usize, RangeSum)>,
}

/// Chunk numbers by cell of a box of the array's chunk grid.
#[derive(Debug, Default)]
struct Places {
    first: Vec<u64>,
    grid: Vec<u64>,
    numbers: Vec<Option<usize>>,
}

impl Places {
    fn of(box_of_cells: Region) -> Self {
        let n_cells = usize::try_from(box_of_cells.n_elements()).unwrap_or(0);
        Self { first: box_of_cells.start, grid: box_of_cells.shape, numbers: vec![None; n_cells] }
    }

    fn place(&self, cell: &[u64]) -> Option<usize> {
        let mut at = 0;
        for ((cell, first), length) in cell.iter().zip(&self.first).zip(&self.grid) {
            let from = cell.checked_sub(*first).filter(|from| from < length)?;
            at = at * length + from;
        }
        usize::try_from(at).ok()
    }

    fn number(&self, cell: &[u64]) -> Option<usize> {
        *self.numbers.get(self.place(cell)?)?
    }

    fn set(&mut self, cell: &[u64], number: usize) {
        if let Some(entry) = self.place(cell).and_then(|place| self.numbers.get_mut(place)) {
            *entry = Some(number);
        }
    }
}

/// What is written in one put.
#[derive(Debug)]
pub struct Unit {
    /// Its place in the array's grid of units.
    pub at: Vec<u64>,
    /// Its chunks in C order, as numbers into [`Work::chunks`].
    pub chunks: Vec<usize>,
    /// What was read of each file and counts for this unit.
    pub read: Mutex<Vec<(usize, RangeSum)>>,
    /// The shard that is there already, if this is one that gets more chunks.
    pub old: Option<OldShard>,
}

impl Unit {
    /// Adds what was read of a file.
    pub fn note(&self, file: usize, sum: RangeSum) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match read.iter_mut().find(|(number, _)| *number == file) {
            Some((_, known)) => known.merge(sum),
            None => read.push((file, sum)),
        }
    }
}

/// A chunk of the box.
pub struct WorkChunk {
    /// Where it lies in the array.
    pub region: Region,
    /// How it comes about.
    pub kind: ChunkKind,
}

/// How a chunk comes about.
pub enum ChunkKind {
    /// Filled from decoded elements.
    Filled {
        /// Its memory.
        buffer: ChunkBuffer,
        /// Whether any element of it was written in a source.
        is_written: AtomicBool,
    },
    /// The stored bytes of a source chunk, as they are.
    Passed {
        /// Number of the piece.
        piece: usize,
        /// Number of the chunk in the source.
        chunk: u64,
    },
    /// Texts, encoded from memory.
    Texts,
    /// Nothing of it was ever written in a source: readers see the fill value without it.
    LeftOut,
    /// It is in its shard already.
    Kept,
}

impl Work {
    /// Finds out what a task reads, and takes memory for what it fills.
    ///
    /// # Errors
    /// If a source chunk has no place.
    pub fn begin(job: &Job<'_>, task: &Task, pool: &Pool) -> Result<Self, EngineError> {
        Self::begin_round(job, task, pool, 0, None)
    }

    /// The next round of a shard, after the `n_before` chunks that are done.
    ///
    /// # Errors
    /// If a source chunk has no place.
    pub fn begin_round(
        job: &Job<'_>,
        task: &Task,
        pool: &Pool,
        n_before: usize,
        so_far: Option<ShardSoFar>,
    ) -> Result<Self, EngineError> {
        let target = &job.targets[task.array];
        let content = &job.combined.variables[task.array].content;
        let along = job.combined.variables[task.array].along;
        let unit_bytes = count(target.unit_shape()).saturating_mul(target.dtype.size_bytes().unwrap_or(16).into());
        let is_cut = target.shard_shape.is_some() && unit_bytes > job.pace.task_bytes;
        let most = if is_cut { round_chunks(target, job.pace.task_bytes) } else { u64::MAX };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (mut units, cells, n_all) = cells_of(task, target, n_before, most);
        if let Some(grown) = job.grown {
            for unit in &mut units {
                unit.old = grown.old(task.array, &unit.at)?;
            }
        }
        let is_kept = |region: &Region| job.grown.is_some_and(|grown| grown.keeps(task.array, region));
        let regions: Vec<Region> =
            cells.iter().map(|cell| Region::of_cell(cell, &target.chunk_shape, &target.shape)).collect();
        let mut places = Places::of(bounds(&cells, target.shape.len()));
        for (number, cell) in cells.iter().enumerate() {
            places.set(cell, number);
        }
        let reads = match content {
            Content::Pieces(pieces) => gather::reads(pieces, along, &box_of(&regions, target.shape.len()), job.sources),
            _ => Vec::new(),
        };
        let reads: Vec<ChunkRead> = match content {
            Content::Pieces(pieces) if target.leaves_out_unwritten => {
                reads.into_iter().filter(|read| !holds_only_fill(job, target, pieces, read)).collect()
            }
            _ => reads,
        };
        // What fills each chunk: how many elements, and the read if it is a single one.
        let mut fillers: Vec<(u64, usize, Option<usize>)> = vec![(0, 0, None); cells.len()];
        for (number, read) in reads.iter().enumerate() {
            for cell in cells_touching(&read.fills, &target.chunk_shape) {
                let Some(chunk) = places.number(&cell) else { continue };
                let covered = regions[chunk].intersect(&read.fills).map_or(0, |shared| shared.n_elements());
                let filler = &mut fillers[chunk];
                *filler = (filler.0 + covered, filler.1 + 1, Some(number));
            }
        }
        if !matches!(content, Content::Texts(_)) && !target.keeps_chunks {
            let n_filled = (fillers.iter().zip(&regions))
                .filter(|((_, n_reads, _), region)| (*n_reads > 0 || !target.leaves_out_unwritten) && !is_kept(region))
                .count();
            pool.stock(n_filled, usize::try_from(target.chunk_bytes()).unwrap_or(usize::MAX));
        }
        let mut chunks = Vec::with_capacity(regions.len());
        for (region, (covered, n_reads, read)) in regions.into_iter().zip(fillers) {
            let single = read.filter(|_| n_reads == 1).and_then(|number| reads.get(number));
            let kind = match content {
                _ if is_kept(&region) => ChunkKind::Kept,
                Content::Texts(_) => ChunkKind::Texts,
                Content::Inline(_) => filled(target, &region, pool, true),
                Content::Pieces(_) if n_reads == 0 && target.leaves_out_unwritten => ChunkKind::LeftOut,
                Content::Pieces(pieces) => match passed(job, target, pieces, &region, single)? {
                    Some(kind) => kind,
                    None => filled(target, &region, pool, covered < region.n_elements()),
                },
            };
            chunks.push(WorkChunk { region, kind });
        }
        let n_done = n_before + chunks.len();
        let round = is_cut.then(|| Round { n_before, is_last: n_done >= n_all, so_far: Mutex::new(so_far) });
        let mut work = Self {
            task: task.clone(),
            reads: Vec::new(),
            chunks,
            reads_left: AtomicUsize::new(0),
            units_left: AtomicUsize::new(units.len()),
            units,
            round,
            places,
        };
        // Chunks that are passed on need no element.
        work.reads = reads.into_iter().filter(|read| work.filled_by(read, target).next().is_some()).collect();
        work.reads_left = AtomicUsize::new(work.reads.len());
        Ok(work)
    }

    /// The unit that counts a source chunk as read: the one with its first element, and of a shard in rounds the round
    /// with that element.
    #[must_use]
    pub fn owner(&self, read: &ChunkRead, target: &TargetArray) -> Option<&Unit> {
        let cell: Vec<u64> = read.first.iter().zip(&target.chunk_shape).map(|(at, length)| at / length).collect();
        self.places.number(&cell)?;
        let mut number = 0;
        for (axis, at) in read.first.iter().enumerate() {
            let place = (at / target.unit_shape()[axis]).checked_sub(self.task.first[axis])?;
            number = number * self.task.n_units[axis] + place;
        }
        self.units.get(usize::try_from(number).ok()?)
    }

    /// The chunks that a read fills.
    pub fn filled_by<'a>(
        &'a self,
        read: &'a ChunkRead,
        target: &'a TargetArray,
    ) -> impl Iterator<Item = (&'a ChunkBuffer, &'a AtomicBool)> {
        cells_touching(&read.fills, &target.chunk_shape).filter_map(|cell| {
            match &self.chunks.get(self.places.number(&cell)?)?.kind {
                ChunkKind::Filled { buffer, is_written } => Some((buffer, is_written)),
                _ => None,
            }
        })
    }
}

/// The units of a task and the cells of their chunks: of all, or of one shard `most` cells after the first `n_before`.
/// The last answer is how many there are in all.
fn cells_of(task: &Task, target: &TargetArray, n_before: usize, most: usize) -> (Vec<Unit>, Vec<Vec<u64>>, usize) {
    let (mut units, mut cells, mut n_all) = (Vec::new(), Vec::new(), 0);
    for at in unit_places(task) {
        let of_unit = Region::of_cell(&at, target.unit_shape(), &target.shape);
        let first = cells.len();
        for cell in cells_touching(&of_unit, &target.chunk_shape) {
            if n_all >= n_before && n_all - n_before < most {
                cells.push(cell);
            }
            n_all += 1;
        }
        units.push(Unit { at, chunks: (first..cells.len()).collect(), read: Mutex::default(), old: None });
    }
    (units, cells, n_all)
}

/// The smallest box of cells that holds them all.
fn bounds(cells: &[Vec<u64>], n_axes: usize) -> Region {
    let mut region = Region { start: vec![0; n_axes], shape: vec![0; n_axes] };
    for axis in 0..n_axes {
        let first = cells.iter().map(|cell| cell[axis]).min().unwrap_or(0);
        let end = cells.iter().map(|cell| cell[axis] + 1).max().unwrap_or(first);
        (region.start[axis], region.shape[axis]) = (first, end - first);
    }
    region
}

/// The smallest box that holds all of these.
fn box_of(regions: &[Region], n_axes: usize) -> Region {
    let mut all = Region { start: vec![0; n_axes], shape: vec![0; n_axes] };
    for axis in 0..n_axes {
        let first = regions.iter().map(|region| region.start[axis]).min().unwrap_or(0);
        let end = regions.iter().map(|region| region.end(axis)).max().unwrap_or(first);
        (all.start[axis], all.shape[axis]) = (first, end - first);
    }
    all
}

fn filled(target: &TargetArray, region: &Region, pool: &Pool, has_holes: bool) -> ChunkKind {
    let element_bytes = target.dtype.size_bytes().unwrap_or(1) as usize;
    // Elements beyond the array's end must not depend on what the memory held before.
    let is_cut = region.shape != target.chunk_shape;
    let fill = (is_cut || has_holes).then_some(target.fill.as_slice());
    let buffer = ChunkBuffer::new(pool, region.clone(), &target.chunk_shape, element_bytes, fill);
    ChunkKind::Filled { buffer, is_written: AtomicBool::new(false) }
}

/// Whether a source chunk was never written, and what readers take for it is the array's own fill value.
fn holds_only_fill(job: &Job<'_>, target: &TargetArray, pieces: &[Piece], read: &ChunkRead) -> bool {
    let piece = &pieces[read.piece];
    let source = &job.sources[piece.file];
    let is_unwritten = matches!(source.chunk(piece.variable, read.chunk), Ok(ChunkAt::Unwritten));
    is_unwritten && fill_after(&piece.rule, &source.variable(piece.variable).fill) == target.fill
}

/// Whether a target chunk is exactly one source chunk in the same codecs.
fn passed(
    job: &Job<'_>,
    target: &TargetArray,
    pieces: &[Piece],
    region: &Region,
    read: Option<&ChunkRead>,
) -> Result<Option<ChunkKind>, EngineError> {
    let (Some(read), true) = (read, target.keeps_chunks && target.shard_shape.is_none()) else { return Ok(None) };
    let piece = &pieces[read.piece];
    let source = &job.sources[piece.file];
    let variable = source.variable(piece.variable);
    let is_straight = piece.rule == ValueRule::Verbatim
        && piece.fixed.is_empty()
        && piece
            .axes
            .iter()
            .enumerate()
            .all(|(number, axis)| matches!(axis, ViewAxis::Source { axis, step: 1, .. } if *axis == number));
    let same_codecs =
        strip(&variable.codecs, variable.dtype.swap_bytes()) == target.codecs.normal_form(target.dtype.swap_bytes());
    if !is_straight || !same_codecs || variable.chunk_shape != target.chunk_shape || read.fills != *region {
        return Ok(None);
    }
    // The chunk must begin where the target's does; at the far end both are padded.
    let begins = region.start.iter().zip(&read.chunk_start).enumerate().all(|(axis, (start, chunk_start))| {
        let ViewAxis::Source { start: first, .. } = piece.axes[axis] else { return false };
        start - piece.at.start[axis] + first == *chunk_start
    });
    Ok(match source.chunk(piece.variable, read.chunk)? {
        ChunkAt::File(place) if begins && place.skipped_steps == 0 => {
            Some(ChunkKind::Passed { piece: read.piece, chunk: read.chunk })
        }
        _ => None,
    })
}

/// A source's chain without a checksum at its end, in normal form.
fn strip(chain: &frazil_model::codec::CodecChain, swap_bytes: u32) -> frazil_model::codec::CodecChain {
    let mut stripped = chain.normal_form(swap_bytes);
    if stripped.steps.last() == Some(&frazil_model::codec::Codec::Fletcher32) {
        stripped.steps.pop();
    }
    stripped
}

fn unit_places(task: &Task) -> Vec<Vec<u64>> {
    let ones = vec![1; task.first.len()];
    let units = Region { start: task.first.clone(), shape: task.n_units.clone() };
    cells_touching(&units, &ones).collect()
}
