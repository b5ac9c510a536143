//! Whether a virtual dataset is what was written, and its files are what was referenced.
//!
//! Every document and every chunk of its own is read and compared (`intact`). Every file is looked at;
//! one whose state is another is read whole and compared with the digest that was taken of it, if one was. It promises
//! that a file which may hold other bytes is never passed over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use frazil_model::{location::Location, plan::Limits, recipe::virtually::VirtualFormat};
use frazil_store::{
    StoreError,
    folder::Folder,
    profile::located,
    read::{Fingerprint, fingerprint},
};

use super::{
    icechunk,
    intact::{self, Depth, Repository},
    kerchunk::{self, State},
    pinned::{SourcePin, whole_digest},
    record::Record,
    tables,
};
use crate::{
    compare::{CHUNK_LIMIT_BYTES, compare_boxes},
    error::EngineError,
    index::{IndexUse, look},
    prepare::prepare,
    referred::follow,
    repeat::request_of,
    scan::Load,
    store_source::as_store,
    verify::{Finding, Verified},
};

/// A virtual dataset that was found.
#[derive(Debug)]
pub struct VirtualDataset {
    /// The place, or the folder of the document.
    folder: Folder,
    /// The document in it, if it is one.
    name: Option<String>,
    document: Location,
    format: VirtualFormat,
    /// What the digest of a document of JSON says, and its bytes.
    state: Option<(State, u64)>,
    record: Option<Record>,
}

/// The virtual dataset at `location`; `None` if there is none.
///
/// # Errors
/// If it cannot be looked at.
pub fn virtual_dataset(location: &Location) -> Result<Option<VirtualDataset>, EngineError> {
    if let Location::Http(_) = location {
        return Ok(None);
    }
    let folder = Folder::at(location)?;
    let is_file = folder.is_object()?;
    if let (true, Some((parent, name))) = (is_file, folder.parent()) {
        let format = VirtualFormat::KerchunkJson;
        let document = kerchunk::read_json(&parent, &name)?;
        return Ok(document.map(|document| VirtualDataset {
            folder: parent,
            name: Some(name),
            document: location.clone(),
            format,
            state: Some((document.state, document.n_bytes)),
            record: document.record,
        }));
    }
    if is_file {
        return Ok(None);
    }
    if let Some(tip) = icechunk::tip(&folder)? {
        let record = icechunk::record(&folder, &tip)?;
        return Ok(Some(VirtualDataset {
            folder,
            name: None,
            document: location.clone(),
            format: VirtualFormat::Icechunk,
            state: None,
            record,
        }));
    }
    let record = tables::record_of_any(&folder)?;
    let format = VirtualFormat::KerchunkParquet;
    Ok(record.map(|record| VirtualDataset {
        folder,
        name: None,
        document: location.clone(),
        format,
        state: None,
        record: Some(record),
    }))
}

impl VirtualDataset {
    /// Joins files anew, those that it was made of unless others are given, and compares every value. Answers how many.
    ///
    /// # Errors
    /// If something cannot be read, or only a recipe says how the files were joined.
    pub fn compare(
        &self,
        given: Vec<(Location, String)>,
        limits: Limits,
        stop: &AtomicBool,
        found: &mut Verified,
    ) -> Result<u64, EngineError> {
        let place = match &self.name {
            None => self.folder.location(),
            Some(_) => self.document.clone(),
        };
        let record = self.record.as_ref().ok_or_else(|| EngineError::NotOurs {
            place: place.clone(),
            reason: "nothing in it says of what it was made".into(),
        })?;
        let recorded = record.sources.iter().map(|pin| Ok((located(&pin.location)?, pin.name.clone())));
        let recorded: Vec<(Location, String)> = recorded.collect::<Result<_, EngineError>>()?;
        // What it was made of are files that whoever verifies it trusts it with.
        follow(recorded.iter().map(|(location, _)| location.clone()).collect());
        let sources = if given.is_empty() { recorded } else { given };
        let mut request = request_of(&record.request, &place, sources, limits)?;
        super::make::promote(&mut request);
        request.policies.keeps_counts = true;
        // Whatever its name ends with, it is a folder unless it is a document.
        let itself = if self.name.is_none() { as_store(place.clone()) } else { place.clone() };
        let source = look(&itself, &place.to_string(), Load::Nothing, limits.memory_bytes, IndexUse::Bypass)?;
        let store = source.store.as_ref().ok_or_else(|| EngineError::NotOurs {
            place: place.clone(),
            reason: "it cannot be read as a dataset".into(),
        })?;
        compare_boxes(&|| Ok(store.boxes(&source.name, CHUNK_LIMIT_BYTES)), &prepare(&request)?, stop, found)
    }

    /// Looks at all of it.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn verify(&self, n_threads: usize, stop: &AtomicBool) -> Result<Verified, EngineError> {
        let mut found = Verified::default();
        match (self.format, &self.record) {
            (VirtualFormat::Icechunk, record) => {
                if let Some(tip) = icechunk::tip(&self.folder)? {
                    let repository = Repository { folder: &self.folder, tip: &tip, record: record.as_ref() };
                    repository.check(Depth::All, &mut found)?;
                }
            }
            (VirtualFormat::KerchunkParquet, Some(record)) => intact::tables(&self.folder, record, &mut found)?,
            (VirtualFormat::KerchunkParquet, None) => {}
            (VirtualFormat::KerchunkJson, _) => self.json(&mut found),
        }
        if let Some(record) = &self.record {
            files(record, n_threads, stop, &mut found)?;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(EngineError::Interrupted { resume: None });
        }
        found.problems.sort_by(|a, b| (&a.key, &a.source).cmp(&(&b.key, &b.source)));
        Ok(found)
    }

    /// The one document of references.
    fn json(&self, found: &mut Verified) {
        let (Some(name), Some((state, n_bytes))) = (&self.name, self.state) else { return };
        match state {
            // It was not compared with anything.
            State::NotKnown => found.has_no_digests = true,
            State::Whole | State::Changed => {
                (found.n_objects, found.n_read, found.read_bytes) = (1, 1, n_bytes);
            }
        }
        if state == State::Changed {
            found.add(Finding::of(name, "its bytes are not those that were written"));
        }
    }
}

/// Looks at every file.
fn files(record: &Record, n_threads: usize, stop: &AtomicBool, found: &mut Verified) -> Result<(), EngineError> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<Finding>, EngineError> {
        let mut problems = Vec::new();
        while let Some(pin) = record.sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if let Some(problem) = problem_of(pin)? {
                problems.push(Finding::of_source(&pin.name, problem));
            }
        }
        Ok(problems)
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..n_threads.clamp(1, record.sources.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let reason = || EngineError::Thread { reason: "while looking at files".to_owned() };
        threads.into_iter().map(|thread| thread.join().map_err(|_| reason())?).collect::<Result<Vec<_>, EngineError>>()
    })?;
    found.n_files += record.sources.len() as u64;
    all.into_iter().flatten().for_each(|finding| found.add(finding));
    Ok(())
}

/// What is wrong with a file; `None` if its bytes are those that were referenced.
fn problem_of(pin: &SourcePin) -> Result<Option<&'static str>, EngineError> {
    let location = located(&pin.location)?;
    let now = match fingerprint(&location) {
        Ok(now) => now,
        Err(StoreError::NotFound { .. } | StoreError::Absent { .. }) => return Ok(Some("it is gone")),
        Err(error) => return Err(error.into()),
    };
    if now.size_bytes != pin.size_bytes {
        return Ok(Some("it has changed since it was referenced: its size is another"));
    }
    let then = Fingerprint { size_bytes: pin.size_bytes, state: pin.state.clone() };
    // What a server holds under the tag that it had is what it held, whenever it was put there.
    let is_tagged = !matches!(location, Location::File(_)) && now.pin(&location).tag.is_some();
    let is_same_tag = is_tagged && now.pin(&location).tag == then.pin(&location).tag;
    if is_same_tag || (now.state == pin.state && now.tells_changes()) {
        return Ok(None);
    }
    if let Some(known) = &pin.blake3 {
        let is_same = whole_digest(&location, &now)? == *known;
        return Ok((!is_same).then_some("it has changed since it was referenced"));
    }
    let scanned = look(&location, &pin.name, Load::SmallValues, u64::MAX, IndexUse::Bypass);
    if scanned.is_ok_and(|source| source.structure() == pin.structure) {
        return Ok(Some(
            "its times or its tag are others since it was referenced, and no digest of its values was taken then \
             (`--pin content` takes one)",
        ));
    }
    Ok(Some("it has changed since it was referenced"))
}
