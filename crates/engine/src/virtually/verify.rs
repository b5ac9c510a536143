//! Whether a virtual dataset is what was written, and its files are what was referenced.
//!
//! Every document and every chunk of its own is read and compared (`intact`). Every file is looked at;
//! one whose state is another is read whole and compared with the digest that was taken of it, if one was. It promises
//! that a file which may hold other bytes is never passed over.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use frazil_model::{dataset::Dataset, location::Location, plan::Limits, recipe::virtually::VirtualFormat};
use frazil_store::{
    StoreError,
    folder::Folder,
    profile::located,
    read::{Fingerprint, fingerprint},
};

use super::{
    again::{self, Again},
    icechunk,
    intact::{self, Depth, Repository},
    kerchunk::{self, State},
    pinned::{SourcePin, whole_digest},
    record::Record,
    split::era,
    tables,
};
use crate::{
    boxes::Boxes,
    compare::{CHUNK_LIMIT_BYTES, compare_boxes},
    error::EngineError,
    index::{IndexUse, look},
    prepare::{Request, scanned},
    referred::follow,
    repeat::request_of,
    scan::Load,
    store::StoreBoxes,
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
        let request = request_of(&record.request, &place, in_order(sources, record)?, limits)?;
        // Whatever its name ends with, it is a folder unless it is a document.
        let itself = if self.name.is_none() { as_store(place.clone()) } else { place.clone() };
        let source = look(&itself, &place.to_string(), Load::Nothing, limits.memory_bytes, IndexUse::Bypass)?;
        let store = source.store.as_ref().ok_or_else(|| EngineError::NotOurs {
            place: place.clone(),
            reason: "it cannot be read as a dataset".into(),
        })?;
        let open = || store.boxes(&source.name, CHUNK_LIMIT_BYTES);
        let parts = match self.planned_again(&request, &open())? {
            Ok(parts) => parts,
            Err(problem) => {
                found.add(Finding::of_source(&place.to_string(), &problem));
                return Ok(0);
            }
        };
        let given: Vec<_> = parts.iter().flat_map(Again::given).collect();
        compare_boxes(&|| Ok(open()), &given, stop, found)
    }

    /// The files joined anew, in the parts that the dataset has; or why it cannot have been made of them.
    fn planned_again(&self, request: &Request, store: &StoreBoxes) -> Result<Result<Vec<Again>, String>, EngineError> {
        let scan = scanned(request)?;
        let there = store.dataset();
        let is_bare = |path: &str| {
            let number = there.variables.iter().position(|variable| variable.path == path);
            number.is_some_and(|number| store.objects(number).is_ok_and(|objects| objects.n_objects == 0))
        };
        let n_eras = n_eras(there);
        let is_split = n_eras > 1 && !scan.iter().any(|source| self::n_eras(&source.decoded.dataset) > 0);
        if !is_split {
            return Ok(Ok(vec![again::whole(request, self.format, scan, &is_bare)?]));
        }
        Ok(again::in_eras(request, self.format, scan, n_eras, &is_bare)?.map_err(|n_kinds| {
            format!("it has {n_eras} groups, each of files that are alike; the sources are of another number of kinds: {n_kinds}")
        }))
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

/// Groups that making calls `era-1`, `era-2`, as long as there is a next one.
fn n_eras(dataset: &Dataset) -> usize {
    let is_there = |path: &str| {
        let is_in = |at: &str| at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        dataset.groups.iter().any(|group| is_in(&group.path)) || dataset.variables.iter().any(|one| is_in(&one.path))
    };
    (0..).take_while(|number| is_there(&era(*number))).count()
}

/// Files in the order in which they became the dataset: the first of a kind says which group is theirs. What the record
/// does not know comes last.
fn in_order(mut sources: Vec<(Location, String)>, record: &Record) -> Result<Vec<(Location, String)>, EngineError> {
    let known: HashMap<Location, usize> = (record.sources.iter().enumerate())
        .map(|(number, pin)| Ok((whole(&located(&pin.location)?), number)))
        .collect::<Result<_, EngineError>>()?;
    sources.sort_by_key(|(location, _)| known.get(&whole(location)).copied().unwrap_or(usize::MAX));
    Ok(sources)
}

/// A file of this machine by its whole path: it may be typed in another folder than the one that it was named in.
fn whole(location: &Location) -> Location {
    match location {
        Location::File(path) => {
            Location::File(std::path::absolute(path).map_or_else(|_| path.clone(), |path| path.display().to_string()))
        }
        other => other.clone(),
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
