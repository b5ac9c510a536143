//! Whether files are still what a store was made of: every byte that was read for it is read again and summed.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use frazil_model::{
    combine::Content,
    manifest::ChunkPlace,
    region::{Region, count},
};

use crate::{
    error::EngineError,
    identity::{Digested, RangeSum},
    prepare::Prepared,
    receipt::{Receipt, SourceRecord},
    run::gather,
    source::{ChunkAt, ChunkReader, Source},
};

/// Whether any source differs from what the receipt says was read.
///
/// # Errors
/// If a source cannot be read.
pub fn differs(prepared: &Prepared, receipt: &Receipt) -> Result<bool, EngineError> {
    let names = |(source, record): (&Source, &SourceRecord)| source.name != record.name;
    if receipt.sources.len() != prepared.sources.len() || prepared.sources.iter().zip(&receipt.sources).any(names) {
        return Ok(true);
    }
    let wanted = ranges(prepared)?;
    let next = AtomicUsize::new(0);
    let worker = || -> Result<bool, EngineError> {
        let mut reader = ChunkReader::default();
        loop {
            let file = next.fetch_add(1, Ordering::Relaxed);
            let (Some(ranges), Some(record)) = (wanted.get(file), receipt.sources.get(file)) else { return Ok(false) };
            if sum(&prepared.sources[file], ranges, &mut reader)?.to_string() != record.read {
                next.store(usize::MAX / 2, Ordering::Relaxed);
                return Ok(true);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..prepared.pace.n_workers.max(1)).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_fold(false, |differs, thread| {
            let answer = thread.join().map_err(|_| EngineError::Thread { reason: "while comparing sources".into() })?;
            Ok(differs || answer?)
        })
    })
}

/// What is read of each file for its values, as one number a file.
///
/// # Errors
/// If a source cannot be read.
pub fn read_sums(prepared: &Prepared) -> Result<Vec<RangeSum>, EngineError> {
    let mut reader = ChunkReader::default();
    ranges(prepared)?.iter().zip(&prepared.sources).map(|(ranges, source)| sum(source, ranges, &mut reader)).collect()
}

fn sum(source: &Source, ranges: &[ChunkPlace], reader: &mut ChunkReader) -> Result<RangeSum, EngineError> {
    let mut sum = RangeSum::default();
    for place in ranges {
        sum.add(place.offset, Digested::of(reader.stored(source, *place)?));
    }
    Ok(sum)
}

/// The byte ranges of each file that the store's values come from.
fn ranges(prepared: &Prepared) -> Result<Vec<Vec<ChunkPlace>>, EngineError> {
    let mut wanted: Vec<Vec<_>> = vec![Vec::new(); prepared.sources.len()];
    let mut seen: BTreeSet<(usize, usize, usize, u64)> = BTreeSet::new();
    for (number, variable) in prepared.combined.variables.iter().enumerate() {
        let Content::Pieces(pieces) = &variable.content else { continue };
        if count(&variable.shape) == 0 {
            continue;
        }
        for read in gather::reads(pieces, variable.along, &Region::whole(&variable.shape), &prepared.sources) {
            let piece = &pieces[read.piece];
            // A chunk that fills two pieces is counted for each, as the run does.
            if !seen.insert((number, read.piece, piece.file, read.chunk)) {
                continue;
            }
            if let ChunkAt::File(place) = prepared.sources[piece.file].chunk(piece.variable, read.chunk)? {
                wanted[piece.file].push(place);
            }
        }
    }
    Ok(wanted)
}
