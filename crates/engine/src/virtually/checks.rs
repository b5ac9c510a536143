//! What must hold before references are made.

use std::collections::BTreeSet;

use frazil_model::{
    codec::Codec,
    combine::{Combined, Content},
    location::Location,
    recipe::virtually::{IfIncompatible, VirtualFormat},
    references::Why,
    region::count,
};
use frazil_store::read::Reader;

use super::{
    lay::{Laid, origin_of},
    make::VirtualRequest,
};
use crate::{error::EngineError, source::Source};

/// Decoded bytes of values that Kerchunk's references may hold themselves.
const MOST_INLINE_BYTES: u64 = 16 << 20;

/// A web server that ignores ranges would send a whole file for each chunk: one file of each is asked for its first byte.
pub(super) fn check_ranges(sources: &[Source]) -> Result<(), EngineError> {
    let mut asked = BTreeSet::new();
    for source in sources {
        let Location::Http(address) = &source.location else { continue };
        let host: String = address.split('/').take(3).collect::<Vec<_>>().join("/");
        if asked.insert(host) {
            Reader::open_as(&source.location, &source.fingerprint)?.check_ranges()?;
        }
    }
    Ok(())
}

const fn is_compressor(step: &Codec) -> bool {
    matches!(step, Codec::Deflate { .. } | Codec::Gzip { .. } | Codec::Zstd { .. } | Codec::Blosc { .. })
}

/// Values that must be made are refused where no policy allows them, or the references have no place for them.
pub(super) fn check_native(
    wanted: &VirtualRequest,
    sources: &[Source],
    combined: &Combined,
    laid: &Laid,
) -> Result<(), EngineError> {
    let is_allowed = wanted.write.allows(IfIncompatible::Native);
    let most = if wanted.write.format == VirtualFormat::Icechunk { u64::MAX } else { MOST_INLINE_BYTES };
    let mut n_bytes = 0_u64;
    for ((variable, target), (array, counts)) in
        combined.variables.iter().zip(&laid.targets).zip(laid.references.iter().zip(&laid.counts))
    {
        // Small values are held in memory, and chunks that hold nothing but fill shrink to nothing if anything shrinks them.
        let Content::Pieces(pieces) = &variable.content else { continue };
        let shrinks = counts.why == Some(Why::Unwritten) && target.codecs.steps.iter().any(is_compressor);
        if counts.native.is_empty() || shrinks {
            continue;
        }
        n_bytes = n_bytes.saturating_add(target.chunk_bytes().saturating_mul(counts.native.len() as u64));
        if is_allowed && n_bytes <= most {
            continue;
        }
        let (file, why) = array.obstacle().unwrap_or((0, counts.why.unwrap_or(Why::Elsewhere)));
        let mut why = why.words();
        if pieces.iter().any(|piece| origin_of(sources, piece).variable.dtype != target.dtype) {
            why = "its stored numbers are of another type, or packed otherwise";
        }
        return Err(EngineError::NotReferable {
            variable: variable.path.trim_start_matches('/').to_owned(),
            file: sources.get(file).map(|source| source.name.clone()).unwrap_or_default(),
            why,
            n_native: counts.native.len() as u64,
            n_chunks: count(&array.grid()),
        });
    }
    Ok(())
}
