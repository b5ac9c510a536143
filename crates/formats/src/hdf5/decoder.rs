//! Driving the reading of a file: which object is read next, and what it still needs.
//!
//! Work is a list of small tasks, one for each part of each object. A round runs all of them; those that lack bytes
//! wait, and their wants are fetched together. It promises that a task that is done is never run again, and that an
//! object that cannot be read does not take others along.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use frazil_model::{
    attribute::{AttributeValue, Attributes},
    manifest::ChunkTable,
    range::coalesce,
};

use crate::{
    Decoded,
    error::FormatError,
    hdf5::{
        array::{self, Array},
        attributes::attributes,
        element::{reference_lists, value},
        header::{Header, header},
        links::{Link, Target, links},
        netcdf4,
        session::{Memo, Session, malformed, too_large, unsupported},
        shared::{self, shared_table},
        superblock::{Superblock, superblock},
    },
    sparse::{Progress, SparseBytes, Stop, Wants},
};

/// Objects of one file.
const MAX_OBJECTS: usize = 2_000_000;

const DRIVER_INFO: u16 = 0x14;
const GROUP_MESSAGES: [u16; 4] = [0x02, 0x06, 0x0A, 0x11];

/// Reads HDF5 and netCDF-4 files round by round.
#[derive(Debug, Default)]
pub struct Hdf5Decoder {
    superblock: Option<Superblock>,
    memo: Memo,
    objects: BTreeMap<u64, Object>,
    waiting: VecDeque<Task>,
}

/// What is known of the object at an address.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub kind: Option<Result<Kind, FormatError>>,
    pub attributes: Option<Result<ObjectAttributes, FormatError>>,
    pub links: Option<Result<Vec<Link>, FormatError>>,
    pub array: Option<Result<Array, FormatError>>,
    pub chunks: Option<Result<ChunkTable, FormatError>>,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Array,
    /// A committed datatype or something that holds nothing.
    Other,
}

/// The attributes of an object, with those that tie it to dimensions.
#[derive(Debug, Default)]
pub(crate) struct ObjectAttributes {
    /// All but those whose values are references.
    pub values: Attributes,
    /// For each dimension, the addresses of its scales.
    pub dimension_list: Vec<Vec<u64>>,
    /// Names of attributes that are damaged, with the reason.
    pub unread: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    address: u64,
    part: Part,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Header,
    Attributes,
    Links,
    Array,
    Chunks,
}

impl Hdf5Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on as far as `bytes` allow.
    ///
    /// # Errors
    /// If the file as a whole cannot be read. What concerns one object is in the dataset's `unread`.
    pub fn advance(&mut self, bytes: &SparseBytes) -> Result<Progress<Decoded>, FormatError> {
        self.memo.read_bytes = 0;
        self.memo.value_bytes = 0;
        let mut wants = Wants::default();
        let start = self.start(bytes);
        let Some(superblock) = wants.collect(start)? else { return Ok(need(wants)) };
        let mut session = Session { bytes, context: superblock.context, memo: &mut self.memo };
        let mut still_waiting = VecDeque::new();
        while let Some(task) = self.waiting.pop_front() {
            match run(&mut session, &mut self.objects, task) {
                Ok(next) => {
                    for task in next {
                        if matches!(task.part, Part::Header) {
                            if self.objects.contains_key(&task.address) {
                                continue;
                            }
                            if self.objects.len() >= MAX_OBJECTS {
                                return Err(too_large("number of objects", MAX_OBJECTS as u64 + 1, MAX_OBJECTS as u64));
                            }
                            self.objects.insert(task.address, Object::default());
                        }
                        self.waiting.push_back(task);
                    }
                }
                Err(more) => {
                    wants.0.extend(more.0);
                    still_waiting.push_back(task);
                }
            }
        }
        self.waiting = still_waiting;
        if !wants.0.is_empty() {
            return Ok(need(wants));
        }
        if let Some(Object { kind: Some(Err(error)), .. }) = self.objects.get(&superblock.root) {
            return Err(error.clone());
        }
        match self.objects.get(&superblock.root) {
            Some(Object { links: Some(Ok(_)), .. }) => {}
            Some(Object { links: Some(Err(error)), .. }) => return Err(error.clone()),
            _ => return Err(malformed("root group", superblock.root, "there is no group")),
        }
        Ok(Progress::Done(netcdf4::decoded(superblock.context, superblock.root, &self.objects)))
    }

    /// Reads the superblock and its extension, and plans the root group.
    fn start(&mut self, bytes: &SparseBytes) -> Result<Superblock, Stop> {
        if let Some(superblock) = &self.superblock {
            return Ok(superblock.clone());
        }
        let superblock = superblock(bytes)?;
        let mut session = Session { bytes, context: superblock.context, memo: &mut self.memo };
        if let Some(address) = superblock.driver {
            let block = session.read("driver information", address, 16)?;
            let driver = block.get(8..16).unwrap_or_default().escape_ascii().to_string();
            return Err(Stop::Bad(several_files(&driver)));
        }
        if let Some(address) = superblock.extension {
            let header = header(&mut session, address)?;
            if let Some(message) = header.find(DRIVER_INFO) {
                let driver = message.body.get(1..9).unwrap_or_default().escape_ascii().to_string();
                return Err(Stop::Bad(several_files(&driver)));
            }
            let table = shared_table(&mut session, &header)?;
            session.memo.shared_table = Some(Arc::new(table));
        }
        self.objects.insert(superblock.root, Object::default());
        self.waiting.push_back(Task { address: superblock.root, part: Part::Header });
        self.superblock = Some(superblock.clone());
        Ok(superblock)
    }
}

/// The error that this file is one of a set.
fn several_files(driver: &str) -> FormatError {
    unsupported("HDF5 file", format!("it is part of a set of files (driver {driver})"))
}

fn need(wants: Wants) -> Progress<Decoded> {
    Progress::Need(coalesce(wants.0, 0))
}

/// Runs one task and says which tasks follow, or what it lacks.
fn run(session: &mut Session<'_>, objects: &mut BTreeMap<u64, Object>, task: Task) -> Result<Vec<Task>, Wants> {
    let address = task.address;
    let mut object = objects.remove(&address).unwrap_or_default();
    let result = run_part(session, &mut object, task);
    objects.insert(address, object);
    result
}

fn run_part(session: &mut Session<'_>, object: &mut Object, task: Task) -> Result<Vec<Task>, Wants> {
    let follow = |part| Task { address: task.address, part };
    // Once a file has used up its memory, nothing more of it is looked at; what is missing is named.
    let allowed = session.count_values("this file", 0);
    match task.part {
        Part::Header => {
            let kind = settle(allowed.map_err(Stop::Bad).and_then(|()| Ok(kind(&*header(session, task.address)?)?)))?;
            let next = match &kind {
                Ok(Kind::Group) => vec![follow(Part::Attributes), follow(Part::Links)],
                Ok(Kind::Array) => vec![follow(Part::Attributes), follow(Part::Array)],
                Ok(Kind::Other) | Err(_) => Vec::new(),
            };
            object.kind = Some(kind);
            Ok(next)
        }
        Part::Attributes => {
            let header = allowed.map_err(Stop::Bad).and_then(|()| header(session, task.address));
            object.attributes = Some(settle(header.and_then(|header| object_attributes(session, &header)))?);
            Ok(Vec::new())
        }
        Part::Links => {
            let header = allowed.map_err(Stop::Bad).and_then(|()| header(session, task.address));
            let found = settle(header.and_then(|header| links(session, &header)))?;
            let next = found.iter().flatten().filter_map(|link| match link.target {
                Target::Hard(address) => Some(Task { address, part: Part::Header }),
                _ => None,
            });
            let next = next.collect();
            object.links = Some(found);
            Ok(next)
        }
        Part::Array => {
            let header = allowed.map_err(Stop::Bad).and_then(|()| header(session, task.address));
            let array = settle(header.and_then(|header| array::array(session, &header)))?;
            let next = if array.is_ok() { vec![follow(Part::Chunks)] } else { Vec::new() };
            object.array = Some(array);
            Ok(next)
        }
        Part::Chunks => {
            if let Some(Ok(array)) = &mut object.array {
                let chunks = allowed.map_err(Stop::Bad).and_then(|()| array::chunks(session, array));
                let mut chunks = settle(chunks)?;
                if let Ok(chunks) = &mut chunks {
                    array::drop_unused_steps(array, chunks);
                }
                object.chunks = Some(chunks);
            }
            Ok(Vec::new())
        }
    }
}

/// Parts "not yet" from "never": only the first stops a task.
fn settle<T>(step: Result<T, Stop>) -> Result<Result<T, FormatError>, Wants> {
    match step {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Bad(error)) => Ok(Err(error)),
        Err(Stop::Need(wants)) => Err(wants),
    }
}

/// What the object with this header is.
fn kind(header: &Header) -> Result<Kind, FormatError> {
    shared::refuse_unknown(header)?;
    let has = |kind| header.find(kind).is_some();
    Ok(if has(array::DATATYPE) && has(array::DATASPACE) {
        Kind::Array
    } else if GROUP_MESSAGES.iter().any(|kind| has(*kind)) {
        Kind::Group
    } else {
        Kind::Other
    })
}

fn object_attributes(session: &mut Session<'_>, header: &Header) -> Result<ObjectAttributes, Stop> {
    let mut object = ObjectAttributes::default();
    let mut wants = Wants::default();
    for attribute in attributes(session, header)? {
        let stored = match attribute.value {
            Ok(stored) => stored,
            Err(error) => {
                object.unread.push((attribute.name.clone(), error.to_string()));
                object.values.0.push((attribute.name, AttributeValue::Unread(error.to_string())));
                continue;
            }
        };
        let decoded = if attribute.name == "DIMENSION_LIST" {
            match reference_lists(session, &stored) {
                Ok(lists) => {
                    object.dimension_list = lists;
                    Ok(AttributeValue::Unread("object references".into()))
                }
                Err(stop) => Err(stop),
            }
        } else {
            value(session, &stored)
        };
        match decoded {
            Ok(value) => object.values.0.push((attribute.name, value)),
            Err(Stop::Need(more)) => wants.0.extend(more.0),
            Err(Stop::Bad(error)) => {
                object.unread.push((attribute.name.clone(), error.to_string()));
                object.values.0.push((attribute.name, AttributeValue::Unread(error.to_string())));
            }
        }
    }
    wants.or_stop()?;
    Ok(object)
}

/// Reads a file of which all bytes are here.
///
/// # Errors
/// If the file as a whole cannot be read.
pub fn decode_whole(bytes: Bytes) -> Result<Decoded, FormatError> {
    let size_bytes = bytes.len() as u64;
    match Hdf5Decoder::new().advance(&SparseBytes::whole(bytes))? {
        Progress::Done(decoded) => Ok(decoded),
        // Nothing can be missing from a whole file; if it is, the file points past its end.
        Progress::Need(ranges) => {
            let (offset, end) = ranges.first().map_or((0, 0), |range| (range.offset(), range.end()));
            Err(FormatError::Truncated { what: "HDF5 file".into(), offset, end, size_bytes })
        }
    }
}
