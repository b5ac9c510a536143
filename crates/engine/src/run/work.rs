//! One task: what it reads, the chunks it fills, the units it writes.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize},
};

use frazil_model::{
    combine::{Content, Piece, view::ViewAxis},
    layout::TargetArray,
    packing::ValueRule,
    plan::Task,
    region::{Region, cells_touching},
};

use crate::{
    error::EngineError,
    identity::RangeSum,
    run::{
        Job,
        buffer::{ChunkBuffer, Pool},
        gather::{self, ChunkRead},
    },
    source::ChunkAt,
};

/// A task under way.
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
}

impl Work {
    /// Finds out what a task reads, and takes memory for what it fills.
    ///
    /// # Errors
    /// If a source chunk has no place.
    pub fn begin(job: &Job<'_>, task: &Task, pool: &Pool) -> Result<Self, EngineError> {
        let target = &job.targets[task.array];
        let content = &job.combined.variables[task.array].content;
        let along = job.combined.variables[task.array].along;
        let units = unit_places(task);
        let mut work = Self {
            task: task.clone(),
            reads: Vec::new(),
            chunks: Vec::new(),
            units: Vec::new(),
            reads_left: AtomicUsize::new(0),
            units_left: AtomicUsize::new(units.len()),
        };
        for at in units {
            let of_unit = Region::of_cell(&at, target.unit_shape(), &target.shape);
            let mut chunks = Vec::new();
            for cell in cells_touching(&of_unit, &target.chunk_shape) {
                let region = Region::of_cell(&cell, &target.chunk_shape, &target.shape);
                chunks.push(work.chunks.len());
                let chunk = work.chunk(job, target, content, along, region, pool)?;
                work.chunks.push(chunk);
            }
            work.units.push(Unit { at, chunks, read: Mutex::default() });
        }
        if let (Content::Pieces(pieces), true) =
            (content, work.chunks.iter().any(|chunk| matches!(chunk.kind, ChunkKind::Filled { .. })))
        {
            let unit = target.unit_shape();
            let start: Vec<u64> = task.first.iter().zip(unit).map(|(first, length)| first * length).collect();
            let shape = (0..start.len())
                .map(|axis| (task.n_units[axis] * unit[axis]).min(target.shape[axis].saturating_sub(start[axis])))
                .collect();
            let all = gather::reads(pieces, along, &Region { start, shape }, job.sources);
            // Chunks that are passed on need no element.
            work.reads = all.into_iter().filter(|read| work.fills_any(read)).collect();
        }
        work.reads_left = AtomicUsize::new(work.reads.len());
        Ok(work)
    }

    /// The unit that holds element `at` of the array.
    #[must_use]
    pub fn unit_of(&self, at: &[u64], target: &TargetArray) -> Option<&Unit> {
        let place: Vec<u64> = at.iter().zip(target.unit_shape()).map(|(at, length)| at / length).collect();
        self.units.iter().find(|unit| unit.at == place)
    }

    fn fills_any(&self, read: &ChunkRead) -> bool {
        self.chunks.iter().any(|chunk| {
            matches!(chunk.kind, ChunkKind::Filled { .. })
                && (chunk.region.intersect(&read.fills).is_some() || chunk.region.shape.is_empty())
        })
    }

    fn chunk(
        &self,
        job: &Job<'_>,
        target: &TargetArray,
        content: &Content,
        along: Option<usize>,
        region: Region,
        pool: &Pool,
    ) -> Result<WorkChunk, EngineError> {
        let kind = match content {
            Content::Texts(_) => ChunkKind::Texts,
            Content::Inline(_) => filled(target, &region, pool, true),
            Content::Pieces(pieces) => {
                let reads = gather::reads(pieces, along, &region, job.sources);
                match passed(job, target, pieces, &region, &reads)? {
                    Some(kind) => kind,
                    None => {
                        let covered: u64 = reads.iter().map(|read| read.fills.n_elements()).sum();
                        filled(target, &region, pool, covered < region.n_elements())
                    }
                }
            }
        };
        Ok(WorkChunk { region, kind })
    }
}

fn filled(target: &TargetArray, region: &Region, pool: &Pool, has_holes: bool) -> ChunkKind {
    let element_bytes = target.dtype.size_bytes().unwrap_or(1) as usize;
    // Elements beyond the array's end must not depend on what the memory held before.
    let is_cut = region.shape != target.chunk_shape;
    let fill = (is_cut || has_holes).then_some(target.fill.as_slice());
    let buffer = ChunkBuffer::new(pool, region.clone(), &target.chunk_shape, element_bytes, fill);
    ChunkKind::Filled { buffer, is_written: AtomicBool::new(false) }
}

/// Whether a target chunk is exactly one source chunk in the same codecs.
fn passed(
    job: &Job<'_>,
    target: &TargetArray,
    pieces: &[Piece],
    region: &Region,
    reads: &[ChunkRead],
) -> Result<Option<ChunkKind>, EngineError> {
    let ([read], true) = (reads, target.keeps_chunks && target.shard_shape.is_none()) else { return Ok(None) };
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
