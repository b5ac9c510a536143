//! Whether the documents of a virtual dataset are those that were written.
//!
//! The record keeps length and digest of each; manifests and chunks of a repository have names that are made of what
//! they hold, too, which shows damage also where no digest was kept. It promises that no bit of what readers follow can
//! flip unseen, and knows nothing of the files that references lead to.

use std::collections::{BTreeMap, BTreeSet};

use frazil_formats::references::icechunk::{
    FIRST_SNAPSHOT, Found, Kind, ManifestPart, Node, ObjectId, Payload, is_named, is_of_others, read_manifest,
};
use frazil_store::folder::{Folder, Listing};

use super::{
    icechunk::{RECORDS, SETTINGS, Tip, record_key, snapshot_key, transaction_key},
    native::{chunk_key, object_id},
    record::Record,
};
use crate::{
    error::EngineError,
    identity::Digested,
    journal::Stored,
    verify::{Finding, Verified, difference},
};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The documents of the present state, and whether its chunks are there.
    Present,
    /// Also what the chunks hold, and the documents of states before.
    All,
}

/// Compares all tables and what shows them.
pub(super) fn tables(folder: &Folder, record: &Record, found: &mut Verified) -> Result<(), EngineError> {
    found.has_no_digests |= record.objects.is_empty();
    for (key, stored) in &record.objects {
        found.n_objects += 1;
        match folder.get(key)? {
            Some(bytes) => compared(key, &bytes, stored, found),
            None => found.add(Finding::of(key, LOST)),
        }
    }
    Ok(())
}

const LOST: &str = "it is lost";

const OTHER_CONTENT: &str = "its name is that of other content: it is not what was written";

fn name_of(bytes: &[u8]) -> ObjectId {
    object_id(&Digested::of(bytes))
}

fn compared(key: &str, bytes: &[u8], stored: &Stored, found: &mut Verified) {
    read(bytes, found);
    let now = Stored::of(bytes);
    if now != *stored {
        found.add(Finding::of(key, difference(&now, stored)));
    }
}

fn read(bytes: &[u8], found: &mut Verified) {
    found.n_read += 1;
    found.read_bytes += bytes.len() as u64;
}

/// A repository in its present state.
pub(super) struct Repository<'a> {
    pub folder: &'a Folder,
    pub tip: &'a Tip,
    pub record: Option<&'a Record>,
}

impl Repository<'_> {
    /// Compares what it holds.
    pub fn check(&self, depth: Depth, found: &mut Verified) -> Result<(), EngineError> {
        let id = self.tip.snapshot.id;
        if self.record.is_none() && self.is_ours() {
            found.n_objects += 1;
            found.add(Finding::of(&record_key(id), "it is lost: nothing says what was written"));
        }
        let none = BTreeMap::new();
        let objects = self.record.map_or(&none, |record| &record.objects);
        found.has_no_digests |= objects.is_empty();
        let mut manifests = BTreeSet::new();
        let mut chunks = BTreeSet::new();
        for node in &self.tip.snapshot.nodes {
            for part in node.array.iter().flat_map(|array| &array.manifests) {
                let key = manifest_key(part.id);
                self.manifest((node, part), &key, objects.get(&key), &mut chunks, found)?;
                manifests.insert(key);
            }
        }
        let present = [SETTINGS.to_owned(), snapshot_key(id), snapshot_key(FIRST_SNAPSHOT), transaction_key(id)];
        for (key, stored) in objects.iter().filter(|(key, _)| !manifests.contains(*key)) {
            let is_present = present.contains(key);
            if is_present || depth == Depth::All {
                self.document(key, stored, is_present, found)?;
            }
        }
        if self.is_ours() && !objects.contains_key(&snapshot_key(id)) {
            self.snapshot(id, found)?;
        }
        match depth {
            Depth::All => chunks.into_iter().try_for_each(|(id, n_bytes)| self.chunk(id, n_bytes, found)),
            Depth::Present => self.look_at(&chunks, found),
        }
    }

    /// Whether frazil wrote its present state.
    fn is_ours(&self) -> bool {
        self.record.is_some() || self.tip.plan().is_some()
    }

    /// A document of this state, or of one before: of those garbage may have been collected.
    fn document(&self, key: &str, stored: &Stored, is_present: bool, found: &mut Verified) -> Result<(), EngineError> {
        let bytes = self.folder.get(key)?;
        found.n_objects += u64::from(is_present || bytes.is_some());
        match bytes {
            // Icechunk writes a snapshot anew when it lets go of those before.
            Some(bytes) if key.starts_with("snapshots/") && is_of_others(&bytes) => read(&bytes, found),
            Some(bytes) if key == SETTINGS && Stored::of(&bytes) != *stored && self.began_with(&bytes)? => {
                read(&bytes, found);
            }
            Some(bytes) => compared(key, &bytes, stored, found),
            None if is_present => found.add(Finding::of(key, LOST)),
            None => {}
        }
        Ok(())
    }

    /// Whether work that was not finished put these settings there: they come before the state that needs them.
    fn began_with(&self, settings: &[u8]) -> Result<bool, EngineError> {
        let now = Stored::of(settings);
        for entry in self.folder.names(RECORDS)? {
            let key = format!("{RECORDS}/{}", entry.name);
            let record = self.folder.get(&key)?.and_then(|bytes| Record::parse(&key, &bytes).ok());
            if record.is_some_and(|record| record.objects.get(SETTINGS) == Some(&now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The present snapshot, of which no digest was kept.
    fn snapshot(&self, id: ObjectId, found: &mut Verified) -> Result<(), EngineError> {
        let key = snapshot_key(id);
        found.n_objects += 1;
        let Some(bytes) = self.folder.get(&key)? else {
            found.add(Finding::of(&key, LOST));
            return Ok(());
        };
        read(&bytes, found);
        if !is_of_others(&bytes) && !is_named(Kind::Snapshot, id, &bytes, &name_of) {
            found.add(Finding::of(&key, OTHER_CONTENT));
        }
        Ok(())
    }

    /// A manifest, and the chunks of the repository that it leads to.
    fn manifest(
        &self,
        (node, part): (&Node, &ManifestPart),
        key: &str,
        stored: Option<&Stored>,
        chunks: &mut BTreeSet<(ObjectId, u64)>,
        found: &mut Verified,
    ) -> Result<(), EngineError> {
        found.n_objects += 1;
        let Some(bytes) = self.folder.get(key)? else {
            found.add(Finding::of_array(key, &node.path, LOST));
            return Ok(());
        };
        read(&bytes, found);
        let now = Stored::of(&bytes);
        if let Some(stored) = stored.filter(|stored| **stored != now) {
            found.add(Finding::of_array(key, &node.path, &difference(&now, stored)));
            return Ok(());
        }
        let mut n_chunks = 0_u64;
        let seen = read_manifest(&bytes, node.id, &mut |_, chunk| {
            n_chunks += 1;
            if let Found::Here(Payload::Native { id, offset, length }) = chunk {
                chunks.insert((*id, offset.saturating_add(*length)));
            }
            Ok(())
        });
        let problem = match seen {
            Err(error) => Some(error.to_string()),
            Ok(()) if n_chunks != u64::from(part.n_chunks) => {
                Some("it holds another number of chunks than was written".to_owned())
            }
            // Other programs give their manifests names of chance.
            Ok(()) if stored.is_none() && self.is_ours() && !is_named(Kind::Manifest, part.id, &bytes, &name_of) => {
                Some(OTHER_CONTENT.to_owned())
            }
            Ok(()) => None,
        };
        if let Some(problem) = problem {
            found.add(Finding::of_array(key, &node.path, &problem));
        }
        Ok(())
    }

    fn chunk(&self, id: ObjectId, n_bytes: u64, found: &mut Verified) -> Result<(), EngineError> {
        let key = chunk_key(id);
        found.n_objects += 1;
        let Some(bytes) = self.folder.get(&key)? else {
            found.add(Finding::of(&key, LOST));
            return Ok(());
        };
        read(&bytes, found);
        // Other programs give their chunks names of chance: of those only the length is known.
        if (bytes.len() as u64) < n_bytes || (self.is_ours() && object_id(&Digested::of(&bytes)) != id) {
            found.add(Finding::of(&key, "it is not what was written"));
        }
        Ok(())
    }

    /// Whether chunks are there, and long enough: by one listing where each look would be a request.
    fn look_at(&self, chunks: &BTreeSet<(ObjectId, u64)>, found: &mut Verified) -> Result<(), EngineError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let mut sizes = BTreeMap::new();
        let is_listed = self.folder.each_below("chunks", &mut |key, n_bytes| {
            sizes.insert(key.to_owned(), n_bytes);
        })?;
        for (id, n_bytes) in chunks {
            let key = chunk_key(*id);
            let length = match is_listed {
                Listing::Done => sizes.get(&key).copied(),
                Listing::NotHere => self.folder.open(&key)?.map(|opened| opened.length()),
            };
            found.n_objects += 1;
            match length {
                None => found.add(Finding::of(&key, LOST)),
                Some(length) if length < *n_bytes => found.add(Finding::of(&key, "it is not what was written")),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The key of a manifest.
pub(super) fn manifest_key(id: ObjectId) -> String {
    format!("manifests/{}", id.name())
}
