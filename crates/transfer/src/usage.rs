//! Who uses how much: bytes and objects of a place, by folder, owner, age or store.
//!
//! It promises that every object is counted once, that no key is held longer than its page, and that whatever could not be
//! counted is named: a sum that lacks something says so. Age is told by the clock of the server, never by that of this
//! machine.

mod folder;
pub(crate) mod stores;

use std::{collections::HashMap, path::Path};

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    bucket::{Bucket, Depth},
};

use crate::{
    error::TransferError,
    place::{Place, Written},
    usage::stores::{Stores, Sum, Whose},
};

/// Folders, owners or stores that are told apart; a place with more is looked at with less depth.
const MOST_GROUPS: usize = 1_000_000;

/// Folders below the place that are told apart, at most.
pub const MAX_DEPTH: usize = 64;

const DAY_SECONDS: u64 = 86_400;

/// Ages, youngest first: below so many days, and how that is called.
const AGES: [(u64, &str); 4] = [(7, "< 7 days"), (30, "< 30 days"), (90, "< 90 days"), (365, "< 1 year")];
const OLDER: &str = "older";
const NO_AGE: &str = "not known";

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The first so many folders of each name.
    Folder {
        /// How many.
        depth: usize,
    },
    /// The first folder of each name.
    Owner,
    /// How long ago it was written.
    Age,
    /// The store or repository that it belongs to.
    Store,
}

/// Other file systems that are mounted below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// They are named, and not counted.
    PassedOver,
    /// They are counted.
    Entered,
}

/// So much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Files or objects.
    pub n_objects: u64,
    /// Their bytes; of files of this machine those that the disk gives them.
    pub n_bytes: u64,
    /// When the youngest was written, in seconds since 1970.
    pub newest_seconds: Option<u64>,
}

impl Sum for Amount {
    fn add(&mut self, other: Self) {
        self.n_objects = self.n_objects.saturating_add(other.n_objects);
        self.n_bytes = self.n_bytes.saturating_add(other.n_bytes);
        self.newest_seconds = self.newest_seconds.max(other.newest_seconds);
    }
}

/// What is counted together, with its name below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How much it is.
    pub amount: Amount,
}

/// Uploads that have begun and not ended: nobody sees them, and they are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// How many.
    pub n_uploads: u64,
    /// Bytes of their parts.
    pub n_bytes: u64,
    /// When the oldest began, in seconds since 1970, where that is said.
    pub oldest_seconds: Option<u64>,
}

/// What was counted.
#[derive(Debug)]
pub struct Usage {
    /// The place.
    pub place: Place,
    /// All of it.
    pub total: Amount,
    /// Sizes of the files as they are read; differs from `total` where the disk gives them more or less.
    pub apparent_bytes: u64,
    /// Groups, the largest first; ages in their order.
    pub groups: Vec<Group>,
    /// Uploads under way; `None` on this machine, or where the server does not tell.
    pub open: Option<Open>,
    /// What time it was by the clock of the server, in seconds since 1970.
    pub now_seconds: Option<u64>,
    /// What could not be counted, with the reason: then the sums lack it.
    pub uncounted: Vec<(String, String)>,
    /// What is not counted though nothing is wrong, with the reason: other file systems, uploads that may not be seen.
    pub passed_over: Vec<(String, String)>,
}

/// Counts what lies at a place.
///
/// # Errors
/// If nothing is there, if its listing does not come to an end, or if the clock that ages need is not told.
pub fn usage(text: &str, by: By, mounts: Mounts) -> Result<Usage, TransferError> {
    let written = Written::read(text)?;
    match &written.place {
        Place::Local(path) => folder::usage(path, &written, by, mounts),
        Place::Bucket { bucket, key } => of_bucket(bucket, key, &written, by),
        Place::Web(_) => Err(TransferError::NoListing { place: text.to_owned() }),
    }
}

fn of_bucket(bucket: &Bucket, key: &str, written: &Written, by: By) -> Result<Usage, TransferError> {
    let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
    // Before the listing: whatever is written meanwhile is then no older than it seems.
    let now_seconds = bucket.clock_seconds(&prefix)?;
    let mut count = Count::of(by, now_seconds);
    for page in bucket.pages(&prefix, Depth::All) {
        for listed in page?.objects {
            let name = listed.key.get(prefix.len()..).unwrap_or_default();
            let (n_bytes, newest_seconds) = (listed.size_bytes, listed.modified_seconds);
            count.add(name, Amount { n_objects: 1, n_bytes, newest_seconds })?;
        }
    }
    if count.total.n_objects == 0 && !key.is_empty() {
        let Some(listed) = bucket.about(key)?.filter(|_| !written.ends_with_slash) else {
            return Err(TransferError::Nothing { place: written.text.clone() });
        };
        let (n_bytes, newest_seconds) = (listed.size_bytes, listed.modified_seconds);
        count.add("", Amount { n_objects: 1, n_bytes, newest_seconds })?;
    }
    let (mut uncounted, mut passed_over) = (Vec::new(), Vec::new());
    let open = match open_uploads(bucket, &prefix) {
        Ok(open) => Some(open),
        // Whoever may list objects need not be let list uploads, and no sum lacks anything for it.
        Err(error @ StoreError::Denied { .. }) => {
            passed_over.push(("uploads that are not finished".to_owned(), error.to_string()));
            None
        }
        Err(error) => {
            uncounted.push(("uploads that are not finished".to_owned(), error.to_string()));
            None
        }
    };
    let (total, groups) = count.told();
    let place = written.place.clone();
    let apparent_bytes = total.n_bytes;
    Ok(Usage { place, total, apparent_bytes, groups, open, now_seconds, uncounted, passed_over })
}

fn open_uploads(bucket: &Bucket, prefix: &str) -> Result<Open, StoreError> {
    let mut open = Open::default();
    for upload in bucket.uploads(prefix)? {
        let parts = match bucket.parts(&upload) {
            // It ended since the uploads were listed.
            Err(StoreError::Absent { .. }) => continue,
            parts => parts?,
        };
        open.n_uploads += 1;
        open.n_bytes = parts.iter().map(|part| part.size_bytes).fold(open.n_bytes, u64::saturating_add);
        open.oldest_seconds = match (open.oldest_seconds, upload.begun_seconds) {
            (Some(oldest), Some(begun)) => Some(oldest.min(begun)),
            (oldest, begun) => oldest.or(begun),
        };
    }
    Ok(open)
}

/// Sums that grow.
struct Count {
    by: By,
    now_seconds: Option<u64>,
    total: Amount,
    groups: HashMap<String, Amount>,
    /// The same by stores.
    stores: Stores<Amount>,
}

impl Count {
    fn of(by: By, now_seconds: Option<u64>) -> Self {
        Self { by, now_seconds, total: Amount::default(), groups: HashMap::new(), stores: Stores::default() }
    }

    fn add(&mut self, name: &str, amount: Amount) -> Result<(), TransferError> {
        self.total.add(amount);
        let group = match self.by {
            By::Folder { depth } => folders(name, depth),
            By::Owner => folders(name, 1),
            By::Age => age(self.now_seconds, amount.newest_seconds),
            By::Store => return if self.stores.add(name, amount) <= MOST_GROUPS { Ok(()) } else { Err(too_many()) },
        };
        let n_groups = self.groups.len();
        match self.groups.get_mut(group) {
            Some(sum) => sum.add(amount),
            None if n_groups >= MOST_GROUPS => return Err(too_many()),
            None => {
                self.groups.insert(group.to_owned(), amount);
            }
        }
        Ok(())
    }

    fn told(mut self) -> (Amount, Vec<Group>) {
        if self.by == By::Store {
            let named = |((name, whose), amount): ((String, Whose), Amount)| match whose {
                // A slash tells a folder from the store of that name.
                Whose::Loose if !name.is_empty() => (format!("{name}/"), amount),
                _ => (name, amount),
            };
            self.groups = std::mem::take(&mut self.stores).told().into_iter().map(named).collect();
        }
        let mut groups: Vec<Group> = self.groups.into_iter().map(|(name, amount)| Group { name, amount }).collect();
        match self.by {
            By::Age => groups.sort_by_key(|group| order_of_age(&group.name)),
            _ => groups.sort_by(|a, b| b.amount.n_bytes.cmp(&a.amount.n_bytes).then_with(|| a.name.cmp(&b.name))),
        }
        (self.total, groups)
    }
}

fn too_many() -> TransferError {
    let reason = format!("it has more than {MOST_GROUPS} folders to tell apart");
    TransferError::Uncountable { reason }
}

/// The first folders of a name; empty for what lies in none.
fn folders(name: &str, depth: usize) -> &str {
    let ends = name.match_indices('/').map(|(at, _)| at);
    let last = ends.take(depth).last();
    last.and_then(|end| name.get(..end)).unwrap_or_default()
}

fn age(now_seconds: Option<u64>, written_seconds: Option<u64>) -> &'static str {
    let (Some(now), Some(written)) = (now_seconds, written_seconds) else { return NO_AGE };
    let days = now.saturating_sub(written) / DAY_SECONDS;
    AGES.iter().find(|(below, _)| days < *below).map_or(OLDER, |(_, name)| *name)
}

fn order_of_age(name: &str) -> usize {
    let mut order = AGES.iter().map(|(_, name)| *name).chain([OLDER]);
    order.position(|known| known == name).unwrap_or(AGES.len() + 1)
}

fn shown(path: &Path) -> Location {
    Location::File(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_apart_to_their_depth() {
        for (name, depth, expected) in
            [("a", 1, ""), ("a/b", 1, "a"), ("a/b/c", 1, "a"), ("a/b/c", 2, "a/b"), ("a/b", 9, "a"), ("/x", 1, "")]
        {
            assert_eq!(folders(name, depth), expected, "{name} {depth}");
        }
    }

    #[test]
    fn an_age_begins_at_its_limit() {
        for (days, expected) in [(0, "< 7 days"), (6, "< 7 days"), (7, "< 30 days"), (364, "< 1 year"), (365, "older")]
        {
            assert_eq!(age(Some(1000 * DAY_SECONDS), Some((1000 - days) * DAY_SECONDS)), expected);
        }
        assert_eq!(age(None, Some(1)), "not known");
    }
}
