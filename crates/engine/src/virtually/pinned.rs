//! The files that references lead to, in the state they were found in.

use std::sync::atomic::{AtomicUsize, Ordering};

use frazil_formats::references::icechunk::{Pin, Pinned};
use frazil_model::{
    location::Location,
    range::ByteRange,
    recipe::virtually::{Pinning, VirtualFormat},
};
use frazil_store::read::{Fingerprint, Reader};
use serde::{Deserialize, Serialize};

use super::{
    address::{Address, address},
    spelling::whole_text,
};
use crate::{error::EngineError, source::Source};

/// Files up to this size cost little to read whole where they lie on this machine.
const FREE_BYTES: u64 = 256 << 10;

/// So do all of them, where they have no more bytes than this together.
const FREE_TOGETHER_BYTES: u64 = 64 << 20;

/// Bytes of a file that are held while its digest is taken.
const PIECE_BYTES: u64 = 4 << 20;

/// A file and the state it was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourcePin {
    /// Its name.
    pub name: String,
    /// Where it is, as the user would write it.
    pub location: String,
    /// Its size.
    pub size_bytes: u64,
    /// What tells its state from others.
    pub state: String,
    /// Digest of its structure, attributes, places of chunks and small values.
    pub structure: String,
    /// BLAKE3 of the whole file, where it was read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// The files of a virtual dataset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// How readers come to each.
    pub addresses: Vec<Address>,
    /// How references name each, and the state it must be in.
    pub pinned: Vec<Pinned>,
    /// When the newest was modified, in microseconds since 1970.
    pub newest: Option<u64>,
}

impl Files {
    /// Of `sources`, for readers of `format`.
    ///
    /// # Errors
    /// If a file is where no such reader could open it, or is a store.
    pub fn of(sources: &[Source], format: VirtualFormat) -> Result<Self, EngineError> {
        let mut files = Self::default();
        for source in sources {
            if source.store.is_some() {
                return Err(EngineError::ReferencedStore { store: source.name.clone() });
            }
            let address = address(&source.location, format)?;
            let pin = source.fingerprint.pin(&source.location);
            if let Some((seconds, microseconds)) = pin.modified {
                let moment = seconds.saturating_mul(1_000_000).saturating_add(microseconds.into());
                files.newest = files.newest.max(Some(moment));
            }
            let second = pin.modified.and_then(|(seconds, _)| u32::try_from(seconds).ok());
            let pin = match (pin.tag, second) {
                (Some(tag), _) => Pin::Tag(tag),
                (None, Some(second)) => Pin::NotAfter(second),
                (None, None) => Pin::None,
            };
            files.pinned.push(Pinned { url: address.url.clone(), pin });
            files.addresses.push(address);
        }
        Ok(files)
    }
}

/// What is recorded of each file, with a digest of all its bytes where that is asked for, or where they are few and here.
///
/// # Errors
/// If a file cannot be read, or is not what it was when it was scanned.
pub(crate) fn pins(sources: &[Source], pinning: Pinning, n_threads: usize) -> Result<Vec<SourcePin>, EngineError> {
    let is_here = |source: &&Source| matches!(source.location, Location::File(_));
    let here_bytes =
        sources.iter().filter(is_here).fold(0_u64, |sum, one| sum.saturating_add(one.fingerprint.size_bytes));
    let most_bytes = if here_bytes <= FREE_TOGETHER_BYTES { FREE_TOGETHER_BYTES } else { FREE_BYTES };
    let is_digested = |source: &Source| {
        let is_small = source.fingerprint.size_bytes <= most_bytes && is_here(&source);
        // Of a file whose server tells no states apart nothing else would show a change.
        pinning == Pinning::Content || is_small || !source.fingerprint.tells_changes()
    };
    let pin_of = |source: &Source| -> Result<SourcePin, EngineError> {
        let blake3 = match is_digested(source) {
            true => Some(whole_digest(&source.location, &source.fingerprint)?),
            false => None,
        };
        Ok(SourcePin {
            name: source.name.clone(),
            location: match &source.location {
                // The dataset may be read from another folder.
                Location::File(path) => whole_text(path).unwrap_or_else(|| path.clone()),
                other => other.to_string(),
            },
            size_bytes: source.fingerprint.size_bytes,
            state: source.fingerprint.state.clone(),
            structure: source.structure(),
            blake3,
        })
    };
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, SourcePin)>, EngineError> {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = sources.get(number) else { return Ok(found) };
            found.push((number, pin_of(source)?));
        }
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads.clamp(1, sources.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let reason = || EngineError::Thread { reason: "while taking digests of files".to_owned() };
        threads.into_iter().map(|thread| thread.join().map_err(|_| reason())?).collect::<Result<Vec<_>, EngineError>>()
    })?;
    let mut all: Vec<(usize, SourcePin)> = found.into_iter().flatten().collect();
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, pin)| pin).collect())
}

/// The digest of all bytes of a file that is still as it was.
///
/// # Errors
/// If it cannot be read, or has changed.
pub(crate) fn whole_digest(location: &Location, fingerprint: &Fingerprint) -> Result<String, EngineError> {
    let reader = Reader::open_as(location, fingerprint)?;
    let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), Vec::new(), 0);
    while let Some(range) = ByteRange::new(at, PIECE_BYTES.min(reader.size_bytes() - at)) {
        reader.read_into(range, &mut buffer)?;
        hasher.update(&buffer);
        at = range.end();
    }
    Ok(hasher.finalize().to_hex().to_string())
}
