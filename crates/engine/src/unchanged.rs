//! Whether files are still what a store was made of: every byte that was read for it is read again and summed, unless
//! the record of earlier runs knows the file in its present state.

use std::collections::BTreeSet;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use frazil_model::{
    combine::{
        Content, Piece,
        labels::Run,
        view::{FileView, ViewAxis, ViewVariable},
    },
    location::Location,
    manifest::ChunkPlace,
    packing::ValueRule,
    region::{Region, count},
};

use crate::{
    error::EngineError,
    identity::{Digested, RangeSum},
    known::{self, Known},
    prepare::Prepared,
    publish::other_states,
    receipt::{Receipt, SourceRecord},
    run::gather,
    source::{ChunkAt, ChunkReader, Source},
};

/// Variables that may have been read or not: each doubles the sums that would do.
const MOST_UNSURE: usize = 12;

/// Something that is read of a file for its values.
enum Part {
    /// A range of its bytes.
    Stored(ChunkPlace),
    /// What a chunk of a derived variable is made of.
    Made { variable: usize, chunk: u64 },
}

/// Whether any source differs from what the receipt says was read. What is surely the same is not read again.
///
/// # Errors
/// If a source cannot be read.
pub fn differs(prepared: &Prepared, receipt: &Receipt) -> Result<bool, EngineError> {
    let names = |(source, record): (&Source, &SourceRecord)| source.name != record.name;
    if receipt.sources.len() != prepared.sources.len() || prepared.sources.iter().zip(&receipt.sources).any(names) {
        return Ok(true);
    }
    let pair = |file: usize| (&prepared.sources[file], &receipt.sources[file]);
    let known = Known::of(prepared.sources.iter(), prepared.index);
    let is_unsure = |file: &usize| !known.is_as_it_was(pair(*file).0, pair(*file).1);
    let unsure: Vec<usize> = (0..prepared.sources.len()).filter(is_unsure).collect();
    if unsure.is_empty() {
        return Ok(false);
    }
    let wanted = parts(prepared)?;
    let is_other = |at: usize, reader: &mut ChunkReader| {
        let (source, record) = pair(unsure[at]);
        Ok(sum(source, &wanted[unsure[at]], reader)?.to_string() != record.read)
    };
    let differs = !those_that(unsure.len(), prepared.pace.n_workers, Ask::First, &is_other)?.is_empty();
    if !differs {
        known::note(unsure.into_iter().map(pair), prepared.began, prepared.index);
    }
    Ok(differs)
}

/// Looks whether the files are still what they were when they were scanned.
///
/// # Errors
/// [`EngineError::Changed`] if one is not.
pub(crate) fn check(sources: &[Source]) -> Result<(), EngineError> {
    for source in sources.iter().filter(|source| !source.is_extended()) {
        if let Some(store) = &source.store
            && let Some(what) = store.changed()?
        {
            let reason = format!("{what} is not what it was at the beginning");
            return Err(EngineError::Changed { file: source.name.clone(), reason });
        }
    }
    let is_file = |source: &&Source| source.store.is_none() && matches!(source.location, Location::File(_));
    for source in sources.iter().filter(is_file) {
        if frazil_store::read::fingerprint(&source.location).ok().as_ref() != Some(&source.fingerprint) {
            let reason = "its size or its time of change is not what it was at the beginning".to_owned();
            return Err(EngineError::Changed { file: source.name.clone(), reason });
        }
        for (location, fingerprint) in other_states(source) {
            if frazil_store::read::fingerprint(&location).ok().as_ref() != Some(&fingerprint) {
                let reason = format!("`{location}`, where some of its values lie, is not what it was at the beginning");
                return Err(EngineError::Changed { file: source.name.clone(), reason });
            }
        }
    }
    Ok(())
}

/// How many answers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The least.
    First,
    /// All.
    All,
}

/// The numbers below `n` of which `is_it` says so, in order, asked on several threads.
///
/// # Errors
/// The first error of `is_it`.
pub(crate) fn those_that(
    n: usize,
    n_threads: usize,
    ask: Ask,
    is_it: &(dyn Fn(usize, &mut ChunkReader) -> Result<bool, EngineError> + Sync),
) -> Result<Vec<usize>, EngineError> {
    let (next, end, found) = (AtomicUsize::new(0), AtomicUsize::new(n), Mutex::new(BTreeSet::new()));
    let worker = || -> Result<(), EngineError> {
        let mut reader = ChunkReader::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end.load(Ordering::Relaxed) {
                return Ok(());
            }
            if is_it(number, &mut reader)? {
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                if ask == Ask::First {
                    end.fetch_min(number, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads.clamp(1, n.max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| EngineError::Thread { reason: "while comparing sources".into() })?
        })
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let most = if ask == Ask::First { 1 } else { n };
    Ok(found.into_iter().take(most).collect())
}

fn sum(source: &Source, parts: &[Part], reader: &mut ChunkReader) -> Result<RangeSum, EngineError> {
    let mut sum = RangeSum::default();
    for part in parts {
        match part {
            Part::Stored(place) => sum.add(place.offset, Digested::of(reader.stored(source, *place)?)),
            Part::Made { variable, chunk } => {
                let mut seen = |place: ChunkPlace, bytes: &[u8]| sum.add(place.offset, Digested::of(bytes));
                reader.elements(source, *variable, *chunk, &mut seen)?;
            }
        }
    }
    Ok(sum)
}

/// What of each file the store's values come from.
fn parts(prepared: &Prepared) -> Result<Vec<Vec<Part>>, EngineError> {
    let mut wanted: Vec<Vec<Part>> = prepared.sources.iter().map(|_| Vec::new()).collect();
    for variable in &prepared.combined.variables {
        let Content::Pieces(pieces) = &variable.content else { continue };
        if count(&variable.shape) > 0 {
            let region = Region::whole(&variable.shape);
            add_parts(pieces, variable.along, &region, &prepared.sources, &mut wanted)?;
        }
    }
    Ok(wanted)
}

/// Adds what is read to fill `region` of a variable with `pieces`.
fn add_parts(
    pieces: &[Piece],
    along: Option<usize>,
    region: &Region,
    sources: &[Source],
    wanted: &mut [Vec<Part>],
) -> Result<(), EngineError> {
    let mut seen: BTreeSet<(usize, u64)> = BTreeSet::new();
    for read in gather::reads(pieces, along, region, sources) {
        // A chunk that fills two pieces is counted for each, as the run does.
        if !seen.insert((read.piece, read.chunk)) {
            continue;
        }
        let piece = &pieces[read.piece];
        let source = &sources[piece.file];
        let is_made = source.derived(piece.variable).is_some() || source.lies_elsewhere(piece.variable);
        if is_made || matches!(source.chunk(piece.variable, read.chunk)?, ChunkAt::Object) {
            wanted[piece.file].push(Part::Made { variable: piece.variable, chunk: read.chunk });
        } else if let ChunkAt::File(place) = source.chunk(piece.variable, read.chunk)? {
            wanted[piece.file].push(Part::Stored(place));
        }
    }
    Ok(())
}

/// A file of which a store holds values already.
pub(crate) struct Held<'a> {
    /// The file.
    pub source: &'a Source,
    /// What the recipe makes of it.
    pub view: &'a FileView,
    /// What the receipt says of it.
    pub record: &'a SourceRecord,
    /// Which of its elements along the growing dimension the store holds.
    pub runs: Vec<Run>,
}

impl Held<'_> {
    /// Whether the file is what it was when it was added to the store with the arrays `paths`.
    ///
    /// How much was read of it then depended on its neighbours: small values may have come with the scan, and what
    /// has not the growing dimension from another file. The digest of the structure covers the former. So it is
    /// asked whether what must have been read, with any of what may have been, gives the sum of the receipt.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn is_as_it_was(
        &self,
        along: &str,
        paths: &BTreeSet<&str>,
        reader: &mut ChunkReader,
    ) -> Result<bool, EngineError> {
        if self.record.size_bytes != self.source.fingerprint.size_bytes
            || self.record.structure != self.source.structure()
        {
            return Ok(false);
        }
        let held = || self.view.variables.iter().filter(|variable| paths.contains(variable.path.as_str()));
        let was_surely_read = |variable: &ViewVariable| variable.axis_of(along).is_some() && variable.values.is_none();
        let mut sure = RangeSum::default();
        for variable in held().filter(|variable| was_surely_read(variable)) {
            sure.merge(self.sum_of(variable, along, reader)?);
        }
        if sure.to_string() == self.record.read {
            return Ok(true);
        }
        let mut sums = vec![sure];
        for variable in held().filter(|variable| !was_surely_read(variable)) {
            let more = self.sum_of(variable, along, reader)?;
            if more == RangeSum::default() {
                continue;
            }
            if sums.len() >= 1 << MOST_UNSURE {
                break;
            }
            let with: Vec<RangeSum> = sums
                .iter()
                .map(|sum| {
                    let mut sum = *sum;
                    sum.merge(more);
                    sum
                })
                .collect();
            if with.iter().any(|sum| sum.to_string() == self.record.read) {
                return Ok(true);
            }
            sums.extend(with);
        }
        Ok(false)
    }

    /// What reading the elements of a variable that the store holds sums up to.
    fn sum_of(&self, variable: &ViewVariable, along: &str, reader: &mut ChunkReader) -> Result<RangeSum, EngineError> {
        let whole = Piece {
            file: 0,
            variable: variable.source,
            at: Region::whole(&variable.shape),
            axes: variable.axes.clone(),
            fixed: variable.fixed.clone(),
            rule: ValueRule::Verbatim,
        };
        let pieces = match variable.axis_of(along) {
            None => vec![whole],
            Some(axis) => self.runs.iter().map(|run| part_of(&whole, axis, run)).collect(),
        };
        let mut wanted = [Vec::new()];
        for piece in pieces {
            let region = piece.at.clone();
            if region.n_elements() > 0 {
                add_parts(&[piece], None, &region, std::slice::from_ref(self.source), &mut wanted)?;
            }
        }
        sum(self.source, &wanted[0], reader)
    }
}

/// The elements of one run.
fn part_of(whole: &Piece, axis: usize, run: &Run) -> Piece {
    let mut part = whole.clone();
    part.at.shape[axis] = run.count;
    if let Some(ViewAxis::Source { start, step, .. }) = part.axes.get_mut(axis) {
        *start = if *step > 0 { *start + run.from } else { *start - run.from };
    }
    part
}
