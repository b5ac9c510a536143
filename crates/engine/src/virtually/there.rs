//! What lies at the place of a virtual dataset, and what that means for what is asked.

use std::collections::{BTreeMap, BTreeSet};

use frazil_model::{
    location::{Location, LocationError},
    recipe::virtually::VirtualFormat,
};
use frazil_store::{
    folder::{Folder, Held},
    profile::located,
};

use super::{
    icechunk::{self, Tip},
    intact::{self, Depth, Repository},
    kerchunk::{self, Document, State},
    make::VirtualRequest,
    pinned::{SourcePin, whole_digest},
    record::{NOTES_OBJECTS, RECORD, Record},
    spelling::respell,
    tables,
};
use crate::{
    error::EngineError,
    make::How,
    prepare::Reissued,
    standing::{Standing, standing},
    verify::Verified,
};

/// What lies at the place of a virtual dataset.
#[derive(Debug)]
pub(super) enum There {
    Nothing,
    Repository(Box<Tip>, Option<Box<Record>>),
    References(Box<Record>),
    /// One that frazil made, so damaged that nobody knows of what; with the branch, if it is a repository.
    Damaged(Option<Box<Held>>, String),
    Other(&'static str),
}

impl There {
    pub fn of(format: VirtualFormat, folder: &Folder, name: Option<&str>) -> Result<Self, EngineError> {
        if let (VirtualFormat::KerchunkJson, Some(name)) = (format, name) {
            return Ok(match kerchunk::read_json(folder, name)? {
                Some(Document { record: Some(record), state: State::Whole | State::NotKnown, .. }) => {
                    Self::References(Box::new(record))
                }
                Some(_) => Self::Damaged(None, "it was changed after it was written".into()),
                None if folder.exists(name)? => Self::Other("it is a file that frazil did not write"),
                None => Self::Nothing,
            });
        }
        if format == VirtualFormat::KerchunkParquet {
            match tables::record(folder) {
                Ok(Some(record)) => return Ok(Self::References(Box::new(record))),
                Ok(None) => {}
                Err(error @ EngineError::Damaged { .. }) => return Ok(Self::Damaged(None, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        if format == VirtualFormat::Icechunk
            && let Some(there) = Self::repository(folder)?
        {
            return Ok(there);
        }
        if format == VirtualFormat::KerchunkParquet && folder.exists(RECORD)? {
            return Ok(Self::Nothing);
        }
        // What an earlier try left is written anew under the same names.
        let ours: BTreeSet<&str> =
            ["chunks", "manifests", "snapshots", "transactions", "refs", "config.yaml", ".frazil"].into();
        if format == VirtualFormat::Icechunk && folder.exists(".frazil")? {
            let names = folder.names("")?;
            if names.iter().all(|entry| ours.contains(entry.name.as_str())) {
                return Ok(Self::Nothing);
            }
        }
        Ok(match standing(folder)? {
            Standing::Nothing => Self::Nothing,
            Standing::Unfinished { .. } => Self::Other("it holds unfinished work on a store"),
            Standing::Published(_) => Self::Other("it is a Zarr store"),
            Standing::Foreign { what } => Self::Other(what),
        })
    }

    fn repository(folder: &Folder) -> Result<Option<Self>, EngineError> {
        let found = icechunk::tip(folder).and_then(|tip| {
            let Some(tip) = tip else { return Ok(None) };
            let record = icechunk::record(folder, &tip)?.map(Box::new);
            Ok(Some(Self::Repository(Box::new(tip), record)))
        });
        match found {
            Err(error @ (EngineError::Damaged { .. } | EngineError::Missing { .. })) => {
                match icechunk::headless(folder)? {
                    Some(held) => Ok(Some(Self::Damaged(Some(Box::new(held)), error.to_string()))),
                    None => Err(error),
                }
            }
            found => found,
        }
    }

    /// What is wrong with the documents that are there, in words; `None` if they are what was written.
    pub fn damage(&self, folder: &Folder, depth: Depth) -> Result<Option<String>, EngineError> {
        let mut found = Verified::default();
        match self {
            Self::Damaged(_, what) => return Ok(Some(what.clone())),
            Self::Repository(tip, record) => {
                let record = record.as_deref();
                Repository { folder, tip, record }.check(depth, &mut found)?;
            }
            // A document of JSON has been compared already.
            Self::References(record) => intact::tables(folder, record, &mut found)?,
            Self::Nothing | Self::Other(_) => {}
        }
        let n_problems = found.n_problems;
        Ok((n_problems > 0).then(|| format!("{n_problems} of its objects are not what was written")))
    }

    /// Whether digests were taken of what is there when it was written.
    pub fn has_digests(&self) -> bool {
        self.record().is_some_and(|record| record.frazil_virtual >= NOTES_OBJECTS)
    }

    /// The branch of a repository.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Repository(tip, _) => Some(&tip.held),
            Self::Damaged(held, _) => held.as_deref(),
            Self::Nothing | Self::References(_) | Self::Other(_) => None,
        }
    }

    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Repository(_, record) => record.as_deref(),
            Self::References(record) => Some(record),
            Self::Nothing | Self::Damaged(..) | Self::Other(_) => None,
        }
    }

    /// Whether it is the same thing that lies there.
    pub fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repository(now, _), Self::Repository(then, _)) => now.snapshot.id == then.snapshot.id,
            (Self::Nothing, Self::Nothing) => true,
            _ => self.record().is_some() && self.record() == other.record(),
        }
    }

    /// What is there beside what is to be written.
    pub fn compared(&self, wanted: &Record) -> Compared {
        let known = match self {
            Self::Nothing => return Compared::Nothing,
            Self::Repository(tip, _) if tip.plan() != Some(wanted.plan.as_str()) => return Compared::Other,
            there => there.record(),
        };
        let Some(known) = known.filter(|known| known.plan == wanted.plan) else { return Compared::Other };
        let mut found = Compared::Same;
        let before: BTreeMap<&str, &SourcePin> = known.sources.iter().map(|pin| (pin.location.as_str(), pin)).collect();
        for now in &wanted.sources {
            let Some(then) = before.get(now.location.as_str()) else { return Compared::Unknown };
            if then.state == now.state {
                continue;
            }
            if then.blake3.is_none() || then.blake3 != now.blake3 {
                return Compared::Unknown;
            }
            found = Compared::Touched;
        }
        found
    }
}

/// What lies at a place beside what is to be written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// There is nothing.
    Nothing,
    /// It is the same.
    Same,
    /// It is the same of files that were touched since, and hold the same bytes.
    Touched,
    /// It is the same, unless files that were touched since hold other bytes.
    Unknown,
    /// It is something else.
    Other,
}

/// The request, with its files spelled as the dataset that is there spells them, and where that is to be extended with those
/// that it was made of before. A file of those that is
/// not what it was is refused by name, unless what it is now is to be taken.
pub(super) fn with_known(wanted: &VirtualRequest, how: How, there: &There) -> Result<VirtualRequest, EngineError> {
    let mut all = wanted.clone();
    let Some(record) = there.record().filter(|_| how != How::Replace) else { return Ok(all) };
    let recorded: Vec<Location> =
        record.sources.iter().map(|pin| located(&pin.location)).collect::<Result<_, LocationError>>()?;
    respell(&mut all.request.sources, &recorded);
    if how != How::Extend {
        return Ok(all);
    }
    let given: BTreeSet<Location> = all.request.sources.iter().map(|(location, _)| location.clone()).collect();
    for (pin, location) in record.sources.iter().zip(recorded) {
        let fingerprint = frazil_store::read::fingerprint(&location);
        let is_revised = wanted.request.reissued == Reissued::Revised;
        let changed =
            fingerprint.as_ref().map_or(true, |now| now.state != pin.state || now.size_bytes != pin.size_bytes);
        if changed && !is_revised {
            let now = fingerprint?;
            // A file that was only touched holds the same bytes.
            let is_same = now.size_bytes == pin.size_bytes
                && pin.blake3.as_ref().is_some_and(|known| whole_digest(&location, &now).ok().as_ref() == Some(known));
            if !is_same {
                let reason = "its size, times or tag are others now".to_owned();
                return Err(EngineError::Stale { file: pin.name.clone(), reason });
            }
        }
        if !given.contains(&location) {
            if !wanted.request.keys.is_empty() && wanted.request.keys.iter().any(|keys| !keys.is_empty()) {
                let reason = "it is in the dataset, but no source of the recipe finds it any more".to_owned();
                return Err(EngineError::Extend { file: pin.name.clone(), reason });
            }
            all.request.sources.push((location, pin.name.clone()));
        }
    }
    // In an order that does not depend on which file came when.
    if all.request.keys.is_empty() {
        all.request.sources.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    Ok(all)
}
