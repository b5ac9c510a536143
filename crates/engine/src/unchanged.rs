//! Whether files are still what a store was made of: every byte that was read for it is read again and summed.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use frazil_model::{
    combine::Content,
    region::{Region, count},
};

use crate::{
    error::EngineError,
    identity::RangeSum,
    prepare::Prepared,
    receipt::Receipt,
    run::gather,
    source::{ChunkAt, ChunkReader},
};

/// Whether any source differs from what the receipt says was read.
///
/// # Errors
/// If a source cannot be read.
pub fn differs(prepared: &Prepared, receipt: &Receipt) -> Result<bool, EngineError> {
    if receipt.sources.len() != prepared.sources.len() {
        return Ok(true);
    }
    let wanted = ranges(prepared)?;
    let next = AtomicUsize::new(0);
    let worker = || -> Result<bool, EngineError> {
        let mut reader = ChunkReader::default();
        loop {
            let file = next.fetch_add(1, Ordering::Relaxed);
            let (Some(ranges), Some(record)) = (wanted.get(file), receipt.sources.get(file)) else { return Ok(false) };
            let source = &prepared.sources[file];
            let mut sum = RangeSum::default();
            for place in ranges {
                let bytes = reader.stored(source, *place)?;
                sum.add(place.offset, bytes);
            }
            if sum.to_string() != record.read || source.name != record.name {
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

/// The byte ranges of each file that the store's values come from.
fn ranges(prepared: &Prepared) -> Result<Vec<Vec<frazil_model::manifest::ChunkPlace>>, EngineError> {
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
