//! Running tasks: read, decode, scatter, encode, put, on all cores and within the memory of the plan.
//!
//! Each worker thread takes the next piece of work: to encode a unit whose elements are complete, to read a source
//! chunk of a task under way, or to begin another task if the plan's memory allows one more. It promises that a unit
//! is put only when every element of it is there, and that the first error stops the run. It does not know where
//! units go: that is the sink's.

pub mod buffer;
pub mod encode;
pub mod gather;
mod puts;
pub mod room;
pub mod work;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use frazil_formats::codecs::Loose;
use frazil_model::{
    combine::{Combined, Content, fill_after},
    layout::TargetArray,
    manifest::ChunkPlace,
    packing::ValueRule,
    plan::Task,
};

use crate::{
    error::EngineError,
    grow::Grown,
    identity::{Digested, RangeSum},
    progress::Progress,
    run::{
        buffer::Pool,
        encode::{Encoded, Encoder, Order},
        gather::{Elements, scatter},
        puts::{End, Puts},
        room::Room,
        work::Work,
    },
    source::{ChunkReader, Source},
};

/// What is run.
pub struct Job<'a> {
    /// Files.
    pub sources: &'a [Source],
    /// What they are joined to.
    pub combined: &'a Combined,
    /// The arrays to write, one for each joined variable.
    pub targets: &'a [TargetArray],
    /// The tasks to do.
    pub tasks: &'a [Task],
    /// How it is run.
    pub pace: Pace,
    /// Shards that are there already and get more chunks.
    pub grown: Option<&'a Grown<'a>>,
}

/// How many things are done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Worker threads.
    pub n_workers: usize,
    /// Tasks whose memory may be taken at a time.
    pub n_tasks: usize,
    /// Bytes that each of them may fill.
    pub task_bytes: u64,
    /// Threads that share the memory of encoded units.
    pub n_encoders: usize,
    /// Bytes of encoded units.
    pub encoded_bytes: u64,
}

/// Where units go. Called from several threads.
pub trait Sink: Sync {
    /// Takes the bytes of a unit. `None`: no element of it was ever written in any source. `read` has what was read
    /// of each file and counts for this unit.
    ///
    /// # Errors
    /// If it cannot be stored.
    fn put(
        &self,
        array: usize,
        at: &[u64],
        bytes: Option<Digested<'_>>,
        read: &[(usize, RangeSum)],
    ) -> Result<(), EngineError>;

    /// How many units may be on their way at a time, while workers go on; 0 if a put takes no longer than making a unit.
    fn n_on_their_way(&self) -> usize {
        0
    }
}

/// Something to do.
enum Step {
    Read(Arc<Work>, usize),
    Write(Arc<Work>, usize),
}

struct State {
    next_task: usize,
    n_under_way: usize,
    steps: VecDeque<Step>,
    error: Option<EngineError>,
}

struct Shared<'a> {
    job: &'a Job<'a>,
    sink: &'a dyn Sink,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    pool: Pool,
    room: Arc<Room>,
    puts: Puts,
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs all tasks of a job.
///
/// # Errors
/// The first error of any task; [`EngineError::Interrupted`] once `stop` is set.
pub fn run(job: &Job<'_>, sink: &dyn Sink, progress: &Progress, stop: &AtomicBool) -> Result<(), EngineError> {
    let state = State { next_task: 0, n_under_way: 0, steps: VecDeque::new(), error: None };
    let room = Room::new(job.pace.encoded_bytes, job.pace.n_encoders, job.targets.len());
    let (pool, state) = (Pool::default(), Mutex::new(state));
    let puts = Puts::new(if job.tasks.is_empty() { 0 } else { sink.n_on_their_way() });
    let shared = Shared { job, sink, progress, stop, pool, room, puts, state, changed: Condvar::new() };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..job.pace.n_workers.max(1)).map(|_| scope.spawn(|| shared.work())).collect();
        let putters: Vec<_> = (0..shared.puts.n_threads).map(|_| scope.spawn(|| shared.put())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, ()>| {
            if thread.join().is_err() {
                shared.fail(EngineError::Thread { reason: "a worker met a case it was not made for".into() });
            }
        };
        workers.into_iter().for_each(join);
        shared.puts.end(if stop.load(Ordering::Relaxed) { End::Now } else { End::WhenDone });
        putters.into_iter().for_each(join);
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None if stop.load(Ordering::Relaxed) => Err(EngineError::Interrupted { resume: None }),
        None => Ok(()),
    }
}

impl Shared<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: EngineError) {
        self.state().error.get_or_insert(error);
        self.changed.notify_all();
        self.puts.end(End::Now);
    }

    /// Puts units that workers left.
    fn put(&self) {
        while let Some(unit) = self.puts.next() {
            let n_bytes = unit.grant.bytes.len() as u64;
            match self.sink.put(unit.array, &unit.at, Some(unit.bytes()), &unit.read) {
                Ok(()) => self.progress.written(n_bytes),
                Err(error) => self.fail(error),
            }
        }
    }

    fn work(&self) {
        let mut reader = ChunkReader::default();
        let mut encoder = Encoder::default();
        let mut scratch = Vec::new();
        while let Some(step) = self.next() {
            let done = match &step {
                Step::Read(work, number) => self.read(work, *number, &mut reader, &mut scratch),
                Step::Write(work, number) => self.write(work, *number, &mut reader, &mut encoder),
            };
            if let Err(error) = done {
                self.fail(error);
            }
        }
        // Others may wait for a step that will not come.
        self.changed.notify_all();
    }

    /// The next step; `None` when all is done or something failed.
    fn next(&self) -> Option<Step> {
        let mut state = self.state();
        loop {
            if state.error.is_some() || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(step) = state.steps.pop_front() {
                return Some(step);
            }
            let n_tasks = self.job.tasks.len();
            if state.next_task < n_tasks && state.n_under_way < self.job.pace.n_tasks {
                let number = state.next_task;
                state.next_task += 1;
                state.n_under_way += 1;
                drop(state);
                match Work::begin(self.job, &self.job.tasks[number], &self.pool) {
                    Ok(work) => self.begin(&Arc::new(work)),
                    Err(error) => self.fail(error),
                }
                state = self.state();
                continue;
            }
            if state.next_task >= n_tasks && state.n_under_way == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(&self, work: &Arc<Work>) {
        if work.reads.is_empty() {
            self.complete(work);
            return;
        }
        let mut state = self.state();
        state.steps.extend((0..work.reads.len()).map(|number| Step::Read(Arc::clone(work), number)));
        drop(state);
        self.changed.notify_all();
    }

    /// All elements of a task are there: its units come first, so that their memory is free again soon.
    fn complete(&self, work: &Arc<Work>) {
        let mut state = self.state();
        for number in (0..work.units.len()).rev() {
            state.steps.push_front(Step::Write(Arc::clone(work), number));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether stored bytes are copied so that they can wait for their put.
    fn is_copied(&self, n_bytes: usize) -> bool {
        self.puts.n_threads > 0 && n_bytes <= self.room.most_bytes() / 2
    }

    fn read(
        &self,
        work: &Arc<Work>,
        number: usize,
        reader: &mut ChunkReader,
        scratch: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let read = &work.reads[number];
        let Content::Pieces(pieces) = &self.job.combined.variables[work.task.array].content else { return Ok(()) };
        let piece = &pieces[read.piece];
        let source = &self.job.sources[piece.file];
        let target = &self.job.targets[work.task.array];
        let owner = work.owner(read, target);
        let mut n_read = 0;
        let mut seen = |place: ChunkPlace, bytes: &[u8]| {
            n_read = place.length;
            if let Some(unit) = owner {
                let mut sum = RangeSum::default();
                sum.add(place.offset, Digested::of(bytes));
                unit.note(piece.file, sum);
            }
        };
        let elements = match piece.rule {
            ValueRule::Verbatim => reader.loose_elements(source, piece.variable, read.chunk, &mut seen)?,
            _ => reader.elements(source, piece.variable, read.chunk, &mut seen)?.map(Loose::Elements),
        };
        let fill = &source.variable(piece.variable).fill;
        // Readers of the store see the array's fill value in place of a chunk that is not there.
        let is_left_out = target.leaves_out_unwritten && fill_after(&piece.rule, fill) == target.fill;
        let mut touched = Vec::new();
        for (buffer, is_written) in work.filled_by(read, target) {
            if elements.is_some() || !is_left_out {
                is_written.store(true, Ordering::Relaxed);
            }
            touched.push(buffer);
        }
        let elements = elements.map_or(Elements::Fill(fill), Elements::Chunk);
        scatter(read, piece, source, elements, &touched, &target.chunk_shape, scratch)?;
        self.progress.read(n_read);
        if work.reads_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.complete(work);
        }
        Ok(())
    }

    fn write(
        &self,
        work: &Arc<Work>,
        number: usize,
        reader: &mut ChunkReader,
        encoder: &mut Encoder,
    ) -> Result<(), EngineError> {
        let unit = &work.units[number];
        let order = Order { job: self.job, work, unit, pool: &self.pool, room: &self.room };
        let encoded = encoder.unit(order, reader)?;
        let bytes = match &encoded {
            Encoded::Nothing => None,
            Encoded::Passed(bytes) => Some(*bytes),
            Encoded::Whole(grant) => Some(Digested::of(&grant.bytes)),
            Encoded::Part(_) => {
                let Encoded::Part(so_far) = encoded else { return Ok(()) };
                let n_before = work.round.as_ref().map_or(0, |round| round.n_before) + work.chunks.len();
                let next = Work::begin_round(self.job, &work.task, &self.pool, n_before, Some(so_far))?;
                self.begin(&Arc::new(next));
                return Ok(());
            }
        };
        let read = unit.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let digest = bytes.map(|bytes| bytes.digest());
        match (encoded, digest) {
            (Encoded::Whole(mut grant), Some(digest)) if self.puts.n_threads > 0 => {
                grant.settle();
                self.puts.push(puts::Encoded { array: work.task.array, at: unit.at.clone(), grant, digest, read });
            }
            (Encoded::Passed(bytes), Some(digest)) if self.is_copied(bytes.bytes().len()) => {
                let mut grant = self.room.take(bytes.bytes().len());
                grant.bytes.extend_from_slice(bytes.bytes());
                self.puts.push(puts::Encoded { array: work.task.array, at: unit.at.clone(), grant, digest, read });
            }
            (encoded, _) => {
                let bytes = match &encoded {
                    Encoded::Passed(bytes) => Some(*bytes),
                    Encoded::Whole(grant) => digest.map(|digest| Digested::known(&grant.bytes, digest)),
                    Encoded::Nothing | Encoded::Part(_) => None,
                };
                self.sink.put(work.task.array, &unit.at, bytes, &read)?;
                self.progress.written(bytes.map_or(0, |bytes| bytes.bytes().len() as u64));
            }
        }
        if work.units_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.progress.task_done();
            self.state().n_under_way -= 1;
            self.changed.notify_all();
        }
        Ok(())
    }
}
