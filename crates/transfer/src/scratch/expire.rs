//! Deleting what is old, at places that delete nothing by themselves.
//!
//! It promises that only whole stores go, and only those of which every object is older than was said, by the clock of the
//! place; that none goes that a catalog names, that somebody is writing, or of which anything is not known; and that one
//! listing that failed means that nothing is deleted at all. Each store is listed twice before anything is decided, and once
//! more right before it goes: all must say the same.

use frazil_model::location::Location;
use frazil_store::{
    StoreError,
    beneath::removal::mounted_below,
    bucket::{Bucket, Upload},
};

use super::{Survey, Terms, Unit, catalog::Named, is_held, now, prefix_of, survey};
use crate::{
    atoms::stranger,
    error::TransferError,
    guard,
    place::{Place, Written},
    remove,
    run::Watch,
    walk::{Tree, tree},
};

/// Why a store stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// Something in it is not old enough.
    Young,
    /// A catalog names it.
    Named {
        /// The text.
        catalog: String,
    },
    /// Somebody is writing to it.
    Written {
        /// How that is known.
        how: String,
    },
    /// Nobody knows when all of it was written, or what it is.
    Unknown {
        /// In words.
        why: String,
    },
}

/// What would go and what would stay.
#[derive(Debug)]
pub struct Plan {
    /// Stores that would go, each with what is to be deleted.
    pub goes: Vec<(Unit, Tree)>,
    /// Stores that stay, with the reason.
    pub stays: Vec<(Unit, Stays)>,
    /// Files that are in no store, which all stay.
    pub n_loose: u64,
    /// What time it was there.
    pub now_seconds: u64,
    /// From when on a store is young.
    before: u64,
}

impl Plan {
    /// Objects that would go.
    #[must_use]
    pub fn n_objects(&self) -> u64 {
        self.goes.iter().map(|(_, tree)| tree.found.len() as u64).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.goes.iter().map(|(_, tree)| tree.n_bytes()).fold(0, u64::saturating_add)
    }
}

/// Looks what would go that is older than `age_seconds`.
///
/// # Errors
/// If anything could not be listed or read, or its clock is not told; then nothing may be deleted.
pub fn plan(written: &Written, age_seconds: u64, named: &Named) -> Result<Plan, TransferError> {
    guard::bounds(&written.place)?;
    guard::no_link(written)?;
    guard::not_inside_a_store(&written.place, guard::Around::Above)?;
    let seen = survey(written, &Terms::WholeStores { seconds: age_seconds }, now(written)?, 0)?;
    let before = seen.now_seconds.saturating_sub(age_seconds);
    let uploads = Uploads::below(&written.place)?;
    let Survey { units, now_seconds, .. } = seen;
    let n_loose = units.iter().filter(|unit| !unit.is_store).map(|unit| unit.fate.n_objects).sum();
    let (mut goes, mut stays) = (Vec::new(), Vec::new());
    for unit in units.into_iter().filter(|unit| unit.is_store) {
        match stays_for(&unit, written, before, &uploads)? {
            Some(why) => stays.push((unit, why)),
            None => goes.push(unit),
        }
    }
    let goes = unnamed(goes, written, named, &mut stays)?;
    // All of them, before anything is decided: one that cannot be listed is an error for all.
    let mut trees = Vec::new();
    for unit in goes {
        let tree = listed_again(&unit, written, before)?;
        let names: Vec<&str> = tree.found.iter().map(|found| &*found.name).collect();
        match stranger(&names) {
            Some(name) => {
                let why = format!("`{name}` in it does not belong to a store");
                stays.push((unit, Stays::Unknown { why }));
            }
            None => trees.push((unit, tree)),
        }
    }
    let within =
        trees.iter().map(|(unit, tree)| (unit.name.as_str(), tree.found.iter().map(|found| &*found.name).collect()));
    let catalogs = named.find_within(&written.place, within)?;
    let mut unnamed = Vec::new();
    for ((unit, tree), catalog) in trees.into_iter().zip(catalogs) {
        match catalog {
            Some(catalog) => stays.push((unit, Stays::Named { catalog })),
            None => unnamed.push((unit, tree)),
        }
    }
    let trees = unnamed;
    Ok(Plan { goes: trees, stays, n_loose, now_seconds, before })
}

/// Those that no catalog names.
fn unnamed(
    goes: Vec<Unit>,
    written: &Written,
    named: &Named,
    stays: &mut Vec<(Unit, Stays)>,
) -> Result<Vec<Unit>, TransferError> {
    let names: Vec<&str> = goes.iter().map(|unit| unit.name.as_str()).collect();
    let catalogs = named.find(&written.place, &names)?;
    let mut left = Vec::new();
    for (unit, catalog) in goes.into_iter().zip(catalogs) {
        match catalog {
            Some(catalog) => stays.push((unit, Stays::Named { catalog })),
            None => left.push(unit),
        }
    }
    Ok(left)
}

/// Uploads that have begun below a place and not ended.
enum Uploads {
    /// These, each by its name below the place.
    Known(Bucket, Vec<(String, Upload)>),
    /// Nobody says.
    Unknown(String),
    /// There is no such thing.
    None,
}

impl Uploads {
    fn below(place: &Place) -> Result<Self, TransferError> {
        let Place::Bucket { bucket, key } = place else { return Ok(Self::None) };
        let prefix = prefix_of(key);
        match bucket.uploads(&prefix) {
            Ok(found) => {
                let named = |upload: Upload| Some((upload.key.get(prefix.len()..)?.to_owned(), upload));
                Ok(Self::Known(bucket.clone(), found.into_iter().filter_map(named).collect()))
            }
            Err(error @ StoreError::Denied { .. }) => Ok(Self::Unknown(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Why the store of this name stays, if an upload keeps it.
    fn keep(&self, store: &str, before: u64) -> Result<Option<Stays>, TransferError> {
        let (bucket, all) = match self {
            Self::None => return Ok(None),
            Self::Unknown(why) => {
                let why = format!("whether uploads are under way is not known: {why}");
                return Ok(Some(Stays::Unknown { why }));
            }
            Self::Known(bucket, all) => (bucket, all),
        };
        let is_in = |name: &str| store.is_empty() || name.strip_prefix(store).is_some_and(|rest| rest.starts_with('/'));
        for (_, upload) in all.iter().filter(|(name, _)| is_in(name)) {
            // One that was begun long ago may have got a part just now.
            let touched = match bucket.touched_seconds(upload) {
                // It ended since it was listed: what came of it the listing of the store tells.
                Err(StoreError::Absent { .. }) => continue,
                touched => touched?,
            };
            if touched.is_none_or(|touched| touched >= before) {
                return Ok(Some(Stays::Written { how: "an upload is under way".into() }));
            }
        }
        Ok(None)
    }
}

/// Why a store stays, if it does.
fn stays_for(unit: &Unit, written: &Written, before: u64, uploads: &Uploads) -> Result<Option<Stays>, TransferError> {
    let place = place_of(unit, written);
    if unit.fate.n_undated > 0 {
        let why = format!("nobody knows how old {} of its files are", unit.fate.n_undated);
        return Ok(Some(Stays::Unknown { why }));
    }
    if unit.fate.newest_seconds.is_none_or(|newest| newest >= before) {
        return Ok(Some(Stays::Young));
    }
    if let Some(why) = uploads.keep(&unit.name, before)? {
        return Ok(Some(why));
    }
    if is_held(&place)? {
        return Ok(Some(Stays::Written { how: "a run of frazil holds it".into() }));
    }
    if let Place::Local(path) = &place
        && let Some(mount) = mounted_below(path).first()
    {
        return Ok(Some(Stays::Unknown { why: format!("`{}` is mounted in it", mount.display()) }));
    }
    Ok(None)
}

fn place_of(unit: &Unit, written: &Written) -> Place {
    if unit.name.is_empty() { written.place.clone() } else { written.place.below(&unit.name) }
}

fn looked_at(place: &Place) -> Result<Tree, TransferError> {
    tree(&Written { text: place.shown(), place: place.clone(), ends_with_slash: true })
}

fn is_old(tree: &Tree, before: u64) -> bool {
    tree.passed_over.is_empty()
        && tree.found.iter().all(|found| found.touched_seconds().is_some_and(|touched| touched < before))
}

/// What a store holds, as a listing of its own says; it must be what the first one said.
fn listed_again(unit: &Unit, written: &Written, before: u64) -> Result<Tree, TransferError> {
    let place = place_of(unit, written);
    guard::not_too_much(&place, &place.shown())?;
    let again = looked_at(&place)?;
    // The mark that some programs leave where a folder begins has a name in the one listing only.
    let n_marks = unit.fate.n_objects.checked_sub(again.found.len() as u64);
    let is_alike = n_marks.is_some_and(|n_marks| n_marks <= 1) && again.n_bytes() == unit.fate.n_bytes;
    match is_alike && is_old(&again, before) {
        true => Ok(again),
        false => Err(TransferError::Unlike { place: place.shown() }),
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Expired {
    /// Stores that are gone.
    pub n_stores: u64,
    /// Their bytes.
    pub n_bytes: u64,
    /// What is still there, with the reason.
    pub left: Vec<(String, StoreError)>,
}

/// Deletes store by store. One that is not as it was planned stays.
///
/// # Errors
/// If a place cannot be listed any more, or somebody wanted to stop; what is gone by then is gone.
pub fn run(plan: &Plan, watch: Watch<'_>) -> Result<Expired, TransferError> {
    watch.progress.expect(plan.n_objects(), plan.n_bytes());
    let mut expired = Expired::default();
    for (_, then) in &plan.goes {
        let left = match stays_after_all(then, plan.before)? {
            Some(reason) => vec![(then.place.shown(), stays(&then.place, reason))],
            None => remove::one(then, watch)?,
        };
        if left.is_empty() {
            expired.n_stores += 1;
            expired.n_bytes = expired.n_bytes.saturating_add(then.n_bytes());
        }
        expired.left.extend(left);
    }
    Ok(expired)
}

/// Why a store that was to go stays: somebody came to it since the plan was made.
fn stays_after_all(then: &Tree, before: u64) -> Result<Option<String>, TransferError> {
    let meanwhile = || Some("it was written to meanwhile".to_owned());
    let now = match looked_at(&then.place) {
        Err(TransferError::Nothing { .. }) => return Ok(meanwhile()),
        now => now?,
    };
    if !now.is_like(then) || !is_old(&now, before) {
        return Ok(meanwhile());
    }
    Ok(match Uploads::below(&then.place)?.keep("", before)? {
        Some(Stays::Written { how: why } | Stays::Unknown { why }) => Some(why),
        Some(Stays::Young | Stays::Named { .. }) => meanwhile(),
        None if is_held(&then.place)? => Some("a run of frazil holds it".to_owned()),
        None => None,
    })
}

fn stays(place: &Place, reason: String) -> StoreError {
    let location = match place {
        Place::Local(path) => Location::File(path.display().to_string()),
        Place::Bucket { bucket, key } => bucket.location(key),
        Place::Web(location) => location.clone(),
    };
    StoreError::Stays { location, reason }
}
