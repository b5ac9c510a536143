//! The files that a file names as places of its values, looked at once: where they are, what they hold, their state.
//!
//! It promises that each is listed by the name that the file uses, that no name leads outside the file's folder, and
//! that files that name each other in a circle come to an end. It reads no values.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use frazil_formats::Decoded;
use frazil_model::{
    dtype::DataType,
    location::Location,
    manifest::{ChunkTable, VirtualPart},
    region::count,
};
use frazil_store::read::{Fingerprint, fingerprint};

use crate::{
    elsewhere::{Named, resolve},
    endless,
    error::EngineError,
    identity::digest,
    scan::{Load, piece_shape, scan_metadata},
    source::Source,
};

/// Files that name files that name files …
const MOST_STEPS_AWAY: usize = 8;

/// Bytes of a piece of a variable whose values lie elsewhere, if nothing says how they are cut there.
const PIECE_BYTES: u64 = 4 << 20;

/// Larger chunks of a mapped variable do not decide how the virtual one is read.
const MOST_ALIKE_BYTES: u64 = 64 << 20;

/// A file that another one names.
#[derive(Debug, Clone)]
pub struct OtherFile {
    /// Its name as stored.
    pub name: String,
    /// What is there.
    pub state: OtherState,
}

/// What is in the place of a file that another one names.
#[derive(Debug, Clone)]
pub enum OtherState {
    /// Bytes without a form of their own (external storage).
    Bytes(Location, Fingerprint),
    /// An HDF5 file.
    File(Arc<Scanned>),
    /// Nothing.
    Absent,
    /// Something that cannot or may not be read, with the reason.
    Unusable(String),
}

/// An HDF5 file that another one names. What follows from the files that it names itself was worked out once: such
/// files may name each other in more ways than can be counted.
#[derive(Debug)]
pub struct Scanned {
    /// The file.
    pub source: Source,
    /// The digest of its structure.
    pub structure: String,
}

impl OtherFile {
    /// Its size and the digest of its structure, as far as it has one.
    #[must_use]
    pub fn identity(&self) -> (u64, String) {
        match &self.state {
            OtherState::Bytes(_, fingerprint) => (fingerprint.size_bytes, String::new()),
            OtherState::File(other) => (other.source.fingerprint.size_bytes, other.structure.clone()),
            OtherState::Absent => (0, "absent".into()),
            OtherState::Unusable(reason) => (0, digest(reason.as_bytes())),
        }
    }

    /// Where it is and the state it had, with those that it names itself.
    pub fn states(&self, found: &mut BTreeMap<Location, Fingerprint>) {
        match &self.state {
            OtherState::Bytes(location, fingerprint) => {
                found.insert(location.clone(), fingerprint.clone());
            }
            OtherState::File(other) => {
                let Source { location, fingerprint, others, .. } = &other.source;
                if found.insert(location.clone(), fingerprint.clone()).is_none() {
                    others.iter().for_each(|other| other.states(found));
                }
            }
            OtherState::Absent | OtherState::Unusable(_) => {}
        }
    }
}

/// The other files of a scan, so that each is looked at once.
#[derive(Default)]
pub(crate) struct Survey {
    /// `None`: it is being looked at.
    known: HashMap<PathBuf, Option<OtherState>>,
    depth: usize,
}

impl Survey {
    /// Finds the files that a file names, and settles what follows from them: shapes that have no end of their own,
    /// and how variables are cut.
    ///
    /// Who loads no small values wants to see what there is, not to build: the files are then opened when their values
    /// are asked for.
    pub(crate) fn settle(&mut self, location: &Location, load: Load, decoded: &mut Decoded) -> Vec<OtherFile> {
        let mut others = BTreeMap::new();
        endless::settle(decoded, &mut |file| self.virtual_file(location, file));
        let is_building = load == Load::SmallValues || self.depth > 0;
        for table in decoded.manifest.tables.iter().filter(|_| is_building) {
            match table {
                ChunkTable::External(parts) => parts.iter().for_each(|part| {
                    others.entry(part.file.clone()).or_insert_with(|| external_file(location, &part.file));
                }),
                ChunkTable::Virtual(parts) => parts.iter().filter(|part| part.file != ".").for_each(|part| {
                    others.entry(part.file.clone()).or_insert_with(|| self.virtual_file(location, &part.file));
                }),
                _ => {}
            }
        }
        let others: Vec<OtherFile> =
            others.into_iter().filter_map(|(name, state)| Some(OtherFile { name, state: state? })).collect();
        cut(decoded, &others);
        others
    }

    /// The file that a virtual dataset names; `None` if that is the question already.
    fn virtual_file(&mut self, location: &Location, name: &str) -> Option<OtherState> {
        let path = match resolve(location, name) {
            Named::At(path) => path,
            Named::Nowhere => return Some(OtherState::Absent),
            Named::Outside => return Some(OtherState::Unusable(format!("`{name}` lies outside its folder"))),
        };
        if let Some(known) = self.known.get(&path) {
            return known.clone();
        }
        if self.depth >= MOST_STEPS_AWAY {
            return Some(OtherState::Unusable("it is virtual, of a virtual variable, and so on without end".into()));
        }
        self.known.insert(path.clone(), None);
        self.depth += 1;
        let there = Location::File(path.to_string_lossy().into_owned());
        let scanned = fingerprint(&there)
            .map_err(EngineError::from)
            .and_then(|fingerprint| scan_metadata(&there, name, Load::Nothing, fingerprint, self));
        let state = match scanned {
            Ok(source) => {
                let structure = source.structure();
                OtherState::File(Arc::new(Scanned { source, structure }))
            }
            Err(error) => OtherState::Unusable(format!("`{name}`: {}", with_cause(&error))),
        };
        self.depth -= 1;
        self.known.insert(path, Some(state.clone()));
        Some(state)
    }
}

fn with_cause(error: &EngineError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn external_file(location: &Location, name: &str) -> Option<OtherState> {
    Some(match resolve(location, name) {
        Named::At(path) => {
            let there = Location::File(path.to_string_lossy().into_owned());
            match fingerprint(&there) {
                Ok(fingerprint) => OtherState::Bytes(there, fingerprint),
                Err(error) => OtherState::Unusable(error.to_string()),
            }
        }
        Named::Nowhere => OtherState::Unusable(format!("there is no external file `{name}`")),
        Named::Outside => OtherState::Unusable(format!("its external file `{name}` lies outside its folder")),
    })
}

/// Cuts variables whose values lie elsewhere into pieces that can be read one by one.
fn cut(decoded: &mut Decoded, others: &[OtherFile]) {
    for (variable, table) in decoded.dataset.variables.iter_mut().zip(&decoded.manifest.tables) {
        let Some(element_bytes) = variable.dtype.size_bytes() else { continue };
        let element_bytes = u64::from(element_bytes);
        let alike = match table {
            ChunkTable::External(_) => None,
            ChunkTable::Virtual(parts) => parts.iter().find_map(|part| chunks_of(part, others)),
            _ => continue,
        };
        let n_bytes = |shape: &[u64]| count(shape).saturating_mul(element_bytes);
        variable.chunk_shape = match alike {
            Some(chunk) if chunk.len() == variable.shape.len() && n_bytes(&chunk) <= MOST_ALIKE_BYTES => {
                grown(&chunk, &variable.shape, &n_bytes)
            }
            _ => piece_shape(&variable.shape, element_bytes),
        };
    }
}

/// The chunks of the variable that a part is filled from.
fn chunks_of(part: &VirtualPart, others: &[OtherFile]) -> Option<Vec<u64>> {
    let OtherState::File(other) = &others.iter().find(|other| other.name == part.file)?.state else { return None };
    Some(other.source.decoded.dataset.variable(&format!("/{}", part.variable.trim_matches('/')))?.chunk_shape.clone())
}

/// Small chunks put together, last dimension first, up to the size of a piece.
fn grown(chunk: &[u64], shape: &[u64], n_bytes: &dyn Fn(&[u64]) -> u64) -> Vec<u64> {
    let mut grown: Vec<u64> = chunk.iter().zip(shape).map(|(chunk, length)| (*chunk).min(*length).max(1)).collect();
    for axis in (0..grown.len()).rev() {
        while grown[axis] < shape[axis] {
            let mut next = grown.clone();
            next[axis] = (next[axis].saturating_mul(2)).min(shape[axis]);
            if n_bytes(&next) > PIECE_BYTES {
                return grown;
            }
            grown = next;
        }
    }
    grown
}

/// Bytes of the tables of a file, and of the files that it names, each once.
pub(crate) fn tables_bytes(source: &Source) -> usize {
    let mut seen = BTreeMap::new();
    add_tables(source, &mut seen);
    seen.into_values().fold(0, usize::saturating_add)
}

fn add_tables(source: &Source, seen: &mut BTreeMap<Location, usize>) {
    if seen.contains_key(&source.location) {
        return;
    }
    let own = source.decoded.manifest.tables.iter().map(|table| match table {
        ChunkTable::Ranges(ranges) => ranges.held_bytes(),
        ChunkTable::Inline(bytes) => bytes.len(),
        ChunkTable::External(parts) => parts.len() * 64,
        ChunkTable::Virtual(parts) => parts.len() * 256,
        // Counted with the store that they are read as.
        ChunkTable::Referred(_) => 0,
    });
    let of_store = source.store.as_ref().map_or(0, |store| store.tables_bytes());
    let own = own.chain([of_store]).fold(source.others.len().saturating_mul(256), usize::saturating_add);
    seen.insert(source.location.clone(), own);
    for other in source.others.iter() {
        if let OtherState::File(other) = &other.state {
            add_tables(&other.source, seen);
        }
    }
}

/// Why a variable whose values lie elsewhere cannot be read; `None` if it can.
pub(crate) fn unreadable(source: &Source, number: usize) -> Option<String> {
    let state = |name: &str| source.others.iter().find(|other| other.name == name).map(|other| &other.state);
    let problem = |name: &str| match state(name) {
        Some(OtherState::Unusable(reason)) => Some(reason.clone()),
        _ => None,
    };
    match source.decoded.manifest.tables.get(number)? {
        ChunkTable::External(parts) => parts.iter().find_map(|part| problem(&part.file)),
        ChunkTable::Virtual(parts) => {
            let about = source.variable(number);
            if about.dtype == DataType::String {
                return Some("its texts lie in other files".into());
            }
            parts.iter().find_map(|part| {
                let Some(OtherState::File(other)) = state(&part.file) else { return problem(&part.file) };
                let there = other.source.decoded.dataset.variable(&format!("/{}", part.variable.trim_matches('/')))?;
                (there.dtype != about.dtype)
                    .then(|| format!("`{}` in `{}` is {}, not {}", part.variable, part.file, there.dtype, about.dtype))
            })
        }
        _ => None,
    }
}

/// What reading a piece of a variable takes besides the piece itself: decoded bytes of the files it lies in, and
/// stored bytes of one of their chunks.
pub(crate) fn reading_bytes(source: &Source, number: usize, piece_bytes: u64) -> (u64, u64) {
    let Some(ChunkTable::Virtual(parts)) = source.decoded.manifest.tables.get(number) else { return (piece_bytes, 0) };
    let (mut decoded, mut stored) = (piece_bytes, 0);
    for part in parts {
        // Where every third element is wanted, those between are read as well.
        let spread = part.from.iter().fold(1_u64, |spread, slab| {
            let is_one = slab.count <= 1;
            spread.saturating_mul(if is_one { 1 } else { slab.stride.div_ceil(slab.block.max(1)) })
        });
        let held = piece_bytes.saturating_mul(spread).min(crate::elsewhere::MOST_GATHERED_BYTES);
        let other = source.others.iter().find(|other| other.name == part.file).map(|other| &other.state);
        let Some(OtherState::File(other)) = other else { continue };
        let decoded_there = &other.source.decoded;
        let variables = decoded_there.dataset.variables.iter().zip(&decoded_there.manifest.tables);
        let path = format!("/{}", part.variable.trim_matches('/'));
        for (variable, table) in variables.filter(|(variable, _)| variable.path == path) {
            let chunk = count(&variable.chunk_shape).saturating_mul(variable.dtype.size_bytes().unwrap_or(16).into());
            decoded = decoded.max(held.saturating_add(chunk));
            if let ChunkTable::Ranges(ranges) = table {
                stored = ranges.length.iter().max().unwrap_or(0).max(stored);
            }
        }
    }
    (decoded.saturating_add(piece_bytes), stored)
}
