//! Places where things go after a while: what goes when, by the server's rule or by a number of days.
//!
//! It promises that nothing is told by the clock of this machine where a server has one, that a store is one thing, and that
//! an object of which nobody knows when it was written stays. It deletes nothing; [`expire`] does.

pub mod catalog;
pub mod expire;
pub mod keep;

use std::{collections::BTreeMap, time::SystemTime};

use frazil_store::{
    StoreError,
    bucket::{
        Bucket, Depth,
        lifecycle::{Rule, Rules},
    },
    clock::folder_seconds,
    lock,
};

use crate::{
    error::TransferError,
    place::{Place, Written, joined},
    usage::stores::{Stores, Sum, Whose},
    walk::tree,
};

/// Stores and folders that are told apart.
const MOST_TOLD: usize = 1_000_000;

const DAY_SECONDS: u64 = 86_400;

/// By what something goes.
#[derive(Debug, Clone)]
pub enum Terms {
    /// By the rules of the server.
    Rules(Rules),
    /// Each object so many seconds after it was written, as rules have it.
    Age {
        /// How many.
        seconds: u64,
    },
    /// Each store once all in it is so many seconds old, as [`expire`] has it.
    WholeStores {
        /// How many.
        seconds: u64,
    },
    /// Nobody knows, or nothing does.
    None,
}

/// What becomes of some objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// How many there are.
    pub n_objects: u64,
    /// Their bytes.
    pub n_bytes: u64,
    /// When the oldest was written, in seconds since 1970.
    pub oldest_seconds: Option<u64>,
    /// When the youngest was written.
    pub newest_seconds: Option<u64>,
    /// Objects of which nobody knows when they were written.
    pub n_undated: u64,
    /// From when on the first may go.
    pub first_seconds: Option<u64>,
    /// From when on the last may go.
    pub last_seconds: Option<u64>,
    /// Objects that stay.
    pub n_staying: u64,
    /// Objects that go soon.
    pub n_soon: u64,
    /// Their bytes.
    pub soon_bytes: u64,
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Sum for Fate {
    fn add(&mut self, other: Self) {
        *self = Self {
            n_objects: self.n_objects.saturating_add(other.n_objects),
            n_bytes: self.n_bytes.saturating_add(other.n_bytes),
            oldest_seconds: earlier(self.oldest_seconds, other.oldest_seconds),
            newest_seconds: self.newest_seconds.max(other.newest_seconds),
            n_undated: self.n_undated.saturating_add(other.n_undated),
            first_seconds: earlier(self.first_seconds, other.first_seconds),
            last_seconds: self.last_seconds.max(other.last_seconds),
            n_staying: self.n_staying.saturating_add(other.n_staying),
            n_soon: self.n_soon.saturating_add(other.n_soon),
            soon_bytes: self.soon_bytes.saturating_add(other.soon_bytes),
        };
    }
}

/// A store, or the files of a folder that are in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name below the place; of a store that is the place itself, empty.
    pub name: String,
    /// Whether it is a store.
    pub is_store: bool,
    /// What becomes of it.
    pub fate: Fate,
}

impl Unit {
    /// Who it belongs to: the first part of its name.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// What lies at a place, and what becomes of it.
#[derive(Debug)]
pub struct Survey {
    /// Stores and folders, what goes first on top.
    pub units: Vec<Unit>,
    /// All of it.
    pub total: Fate,
    /// What time it was there.
    pub now_seconds: u64,
}

impl Survey {
    /// What goes soon, by owner, the most bytes first.
    #[must_use]
    pub fn soon(&self) -> Vec<(&str, u64, u64)> {
        let mut owners: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for unit in self.units.iter().filter(|unit| unit.fate.n_soon > 0) {
            let (n_objects, n_bytes) = owners.entry(unit.owner()).or_default();
            *n_objects = n_objects.saturating_add(unit.fate.n_soon);
            *n_bytes = n_bytes.saturating_add(unit.fate.soon_bytes);
        }
        let mut all: Vec<_> = owners.into_iter().map(|(owner, (objects, bytes))| (owner, objects, bytes)).collect();
        all.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
        all
    }
}

/// What time it is at a place, by the clock that dates what lies there.
///
/// # Errors
/// If nobody says.
pub fn now(written: &Written) -> Result<u64, TransferError> {
    match &written.place {
        Place::Bucket { bucket, key } => {
            bucket.clock_seconds(&prefix_of(key))?.ok_or_else(|| TransferError::NoClock { place: written.text.clone() })
        }
        Place::Local(path) if !path.exists() => Err(TransferError::Nothing { place: written.text.clone() }),
        Place::Local(path) => {
            let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
            Ok(folder_seconds(folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref()))?)
        }
        Place::Web(_) => Err(TransferError::NoListing { place: written.text.clone() }),
    }
}

/// The same for who only looks. Where nothing may be written the clock of this machine must do; then a note says so.
///
/// # Errors
/// As for [`now`].
pub fn now_to_look(written: &Written) -> Result<(u64, Option<String>), TransferError> {
    match now(written) {
        Err(TransferError::Store(error @ StoreError::Write { .. })) => {
            let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok((ours.as_secs(), Some(format!("moments are told by the clock of this machine: {error}"))))
        }
        told => Ok((told?, None)),
    }
}

/// What keys below a folder begin with.
pub(crate) fn prefix_of(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}/") }
}

/// Looks at everything below a place, where it was `now_seconds` before: whatever is written meanwhile is then no older than it
/// seems.
///
/// # Errors
/// If nothing is there, or its listing does not come to an end.
pub fn survey(written: &Written, terms: &Terms, now_seconds: u64, soon_seconds: u64) -> Result<Survey, TransferError> {
    let soon = now_seconds.saturating_add(soon_seconds);
    let mut sums = Stores::<Fate>::default();
    let mut add = |name: &str, key: &str, n_bytes: u64, written_seconds: Option<u64>| {
        let goes = match terms {
            Terms::Rules(rules) => rules.goes_seconds(key, n_bytes, written_seconds),
            Terms::Age { seconds } | Terms::WholeStores { seconds } => {
                written_seconds.map(|written| written.saturating_add(*seconds))
            }
            Terms::None => None,
        };
        let is_soon = goes.is_some_and(|goes| goes <= soon);
        let one = Fate {
            n_objects: 1,
            n_bytes,
            oldest_seconds: written_seconds,
            newest_seconds: written_seconds,
            n_undated: u64::from(written_seconds.is_none()),
            first_seconds: goes,
            last_seconds: goes,
            n_staying: u64::from(goes.is_none()),
            n_soon: u64::from(is_soon),
            soon_bytes: if is_soon { n_bytes } else { 0 },
        };
        match sums.add(name, one) <= MOST_TOLD {
            true => Ok(()),
            false => Err(TransferError::Uncountable { reason: format!("it has more than {MOST_TOLD} folders") }),
        }
    };
    match &written.place {
        Place::Bucket { bucket, key } => {
            let prefix = prefix_of(key);
            let mut is_empty = true;
            for page in bucket.pages(&prefix, Depth::All) {
                for listed in page?.objects {
                    is_empty = false;
                    let name = listed.key.get(prefix.len()..).unwrap_or_default();
                    add(name, &listed.key, listed.size_bytes, listed.modified_seconds)?;
                }
            }
            if is_empty && !key.is_empty() {
                return Err(TransferError::Nothing { place: written.text.clone() });
            }
        }
        Place::Local(_) => {
            let tree = tree(written)?;
            let files = tree.found.iter().map(|found| (&*found.name, found.size_bytes, found.touched_seconds()));
            // Links and the like: nobody looks when they were made.
            let others = tree.passed_over.iter().map(|(name, _)| (name.as_str(), 0, None));
            let mut all: Vec<(&str, u64, Option<u64>)> = files.chain(others).collect();
            all.sort_unstable();
            for (name, size_bytes, written_seconds) in all {
                add(name, "", size_bytes, written_seconds)?;
            }
        }
        Place::Web(_) => return Err(TransferError::NoListing { place: written.text.clone() }),
    }
    let mut units: Vec<Unit> = sums
        .told()
        .into_iter()
        .map(|((name, whose), fate)| Unit { name, is_store: whose == Whose::Store, fate })
        .collect();
    if let Terms::WholeStores { .. } = terms {
        units.iter_mut().for_each(|unit| unit.fate = whole(unit, soon));
    }
    let mut total = Fate::default();
    units.iter().for_each(|unit| total.add(unit.fate));
    let order =
        |unit: &Unit| (unit.fate.first_seconds.unwrap_or(u64::MAX), unit.fate.oldest_seconds.unwrap_or(u64::MAX));
    units.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(Survey { units, total, now_seconds })
}

/// By age a store goes as one thing, once the youngest in it is old enough; what is in none stays.
fn whole(unit: &Unit, soon: u64) -> Fate {
    let Fate { n_objects, n_bytes, .. } = unit.fate;
    let goes = unit.fate.last_seconds.filter(|_| unit.is_store && unit.fate.n_staying == 0);
    let is_soon = goes.is_some_and(|goes| goes <= soon);
    Fate {
        first_seconds: goes,
        last_seconds: goes,
        n_staying: if goes.is_some() { 0 } else { n_objects },
        n_soon: if is_soon { n_objects } else { 0 },
        soon_bytes: if is_soon { n_bytes } else { 0 },
        ..unit.fate
    }
}

/// What a server says of its rules.
#[derive(Debug)]
pub enum Told {
    /// These are there.
    Rules(Rules),
    /// They cannot be told, with the reason.
    Unknown(String),
}

/// The rules of a place.
///
/// # Errors
/// If the server does not answer.
pub fn rules_of(written: &Written) -> Result<Told, TransferError> {
    let Place::Bucket { bucket, .. } = &written.place else {
        return Ok(Told::Unknown("nothing on this machine goes by itself that frazil could know of".into()));
    };
    rules_of_bucket(bucket)
}

pub(crate) fn rules_of_bucket(bucket: &Bucket) -> Result<Told, TransferError> {
    Ok(match bucket.rules() {
        Ok(Some(rules)) => Told::Rules(rules),
        Ok(None) => Told::Unknown("its server tells rules only to whoever manages the account".into()),
        Err(error @ StoreError::Denied { .. }) if !error.refuses_key() => Told::Unknown(error.to_string()),
        // What it does not know it says with an error that lasts.
        Err(error @ StoreError::Fetch { is_temporary: false, .. }) => Told::Unknown(error.to_string()),
        Err(error) => return Err(error.into()),
    })
}

/// Where the lock of a store lies in it.
const LOCK: &str = ".frazil/lock";

/// Whether a run of frazil that may still be at work holds the store at a place.
pub(crate) fn is_held(place: &Place) -> Result<bool, TransferError> {
    Ok(match place {
        Place::Local(path) => match lock::is_held(&path.join(LOCK)) {
            // Then nobody has one.
            Err(StoreError::NoLocks { .. }) => false,
            held => held?,
        },
        Place::Bucket { bucket, key } => lock::is_claimed(bucket, &joined(key, LOCK))?,
        Place::Web(_) => false,
    })
}

/// Days as seconds.
#[must_use]
pub fn seconds_of_days(days: u64) -> u64 {
    days.saturating_mul(DAY_SECONDS)
}

/// The rules that may be about what lies below a place.
pub fn rules_about<'a>(rules: &'a Rules, place: &Place) -> Vec<&'a Rule> {
    match place {
        Place::Bucket { key, .. } => rules.about(&prefix_of(key)).collect(),
        Place::Local(_) | Place::Web(_) => Vec::new(),
    }
}
