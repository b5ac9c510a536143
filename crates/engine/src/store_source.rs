//! A Zarr store as a source: what it holds, which of its objects are there, and their bytes.
//!
//! Arrays are listed when the first of their chunks is asked for, so a part of a large store costs no more than that
//! part. It promises that an object which the inventory of a store of frazil has, and which is not there or has another
//! length, is an error: missing is not fill. Where nothing says what should be there, an object that is not there holds
//! the fill value, as Zarr has it, and is counted.

mod documents_of_references;
mod objects;
mod place;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use frazil_formats::{Decoded, references::Described, zarr::ZarrDataset};
use frazil_model::{
    combine::view::Values,
    dtype::DataType,
    location::Location,
    manifest::{ChunkManifest, ChunkReferences},
    region::{Region, coordinates_of, count, grid_of, number_of},
    zarr::ArrayLayout,
};
use frazil_store::{
    StoreError,
    folder::{Folder, Shelf},
    read::Fingerprint,
};

use crate::{
    boxes::Boxes,
    error::EngineError,
    identity::digest,
    receipt::INVENTORY,
    referred::ReferredFiles,
    scan::{Load, is_label, is_loaded},
    source::{ChunkAt, Source},
    store::{Consolidated, Holder, StoreBoxes, documents},
};

use documents_of_references::{repository, tables_of_references};
use objects::Objects;

pub use place::{as_store, check_apart, format_of, is_store, is_there};

/// A chunk of an existing store may have this many decoded bytes.
const MOST_CHUNK_BYTES: u64 = 2 << 30;

/// A chunk of texts, whose decoded size nobody says, may have this many.
const MOST_TEXT_BYTES: u64 = 128 << 20;

/// Bytes of an inventory.
const MAX_INVENTORY_BYTES: u64 = 4 << 30;

/// Objects that are not there and are counted one by one.
const MOST_MISSING: usize = 1_000_000;

/// What a store is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is a source among others.
    Source,
    /// It is itself extended: objects of it are rewritten, so no inventory speaks for them.
    Extension,
}

/// The store that a source is.
#[derive(Debug)]
pub struct StorePlace {
    holder: Holder,
    zarr: Arc<ZarrDataset>,
    consolidated: Consolidated,
    reading: Reading,
    /// Lines of the inventory, if the store has one.
    inventory: Option<String>,
    /// Objects of each array, once one of its chunks was asked for.
    listed: Vec<OnceLock<Objects>>,
    missing: Mutex<BTreeSet<(usize, u64)>>,
}

/// The store at `root` as a source for its own extension, with the layouts of its arrays.
///
/// # Errors
/// If its metadata or its coordinates cannot be read.
pub fn open(root: &Folder) -> Result<(Source, Vec<ArrayLayout>), EngineError> {
    let source = of_shelf(&root.clone().into(), &root.to_string(), Load::SmallValues, Reading::Extension)?;
    let layouts = source.store.as_ref().map(|store| store.zarr.layouts.clone()).unwrap_or_default();
    Ok((source, layouts))
}

/// Scans the store at `location`.
///
/// # Errors
/// If its metadata or its coordinates cannot be read.
pub fn scan(location: &Location, name: &str, load: Load) -> Result<Source, EngineError> {
    of_shelf(&Shelf::at(location)?, name, load, Reading::Source)
}

fn of_shelf(root: &Shelf, name: &str, load: Load, reading: Reading) -> Result<Source, EngineError> {
    if let Some((described, n_bytes)) = tables_of_references(root, name)? {
        let Decoded { dataset, manifest } = &described.decoded;
        let state = digest(&postcard::to_allocvec(&(dataset, manifest)).unwrap_or_default());
        let fingerprint = Fingerprint { size_bytes: n_bytes, state: format!("documents {state}") };
        return of_references(&as_store(root.location()), name, load, fingerprint, described);
    }
    if let Some((described, n_bytes, state)) = repository(root, name)? {
        let fingerprint = Fingerprint { size_bytes: n_bytes, state };
        return of_references(&as_store(root.location()), name, load, fingerprint, described);
    }
    let found = documents::read(root, name)?;
    let inventory = match reading {
        Reading::Extension => None,
        Reading::Source => inventory(root)?,
    };
    let zarr = Arc::new(found.zarr);
    let dataset = zarr.dataset.clone();
    let listed = dataset.variables.iter().map(|_| OnceLock::new()).collect();
    let place = StorePlace {
        holder: Holder::Shelf(found.root),
        zarr,
        consolidated: found.consolidated,
        reading,
        inventory,
        listed,
        missing: Mutex::default(),
    };
    let values = small_values(&place, name, load)?;
    // The documents are all that is known of it now; each array has a state of its own.
    let state = digest(&postcard::to_allocvec(&dataset).unwrap_or_default());
    Ok(Source {
        location: as_store(root.location()),
        name: name.to_owned(),
        fingerprint: Fingerprint { size_bytes: found.n_bytes, state: format!("documents {state}") },
        decoded: Arc::new(Decoded { dataset, manifest: ChunkManifest::default() }),
        values,
        derived: Vec::new(),
        store: Some(Arc::new(place)),
        others: Arc::default(),
    })
}

/// The source that a document of references describes.
///
/// # Errors
/// If its coordinates cannot be read.
pub(crate) fn of_references(
    location: &Location,
    name: &str,
    load: Load,
    fingerprint: Fingerprint,
    described: Described,
) -> Result<Source, EngineError> {
    let Described { decoded, layouts } = described;
    let decoded = Arc::new(decoded);
    let zarr = Arc::new(ZarrDataset { dataset: decoded.dataset.clone(), layouts });
    let files = Arc::new(ReferredFiles::of(location.clone(), name, Arc::clone(&decoded)));
    let place = StorePlace {
        holder: Holder::Files(files),
        zarr,
        consolidated: Consolidated::Yes,
        reading: Reading::Source,
        inventory: None,
        listed: decoded.dataset.variables.iter().map(|_| OnceLock::new()).collect(),
        missing: Mutex::default(),
    };
    let values = small_values(&place, name, load)?;
    Ok(Source {
        location: location.clone(),
        name: name.to_owned(),
        fingerprint,
        decoded,
        values,
        derived: Vec::new(),
        store: Some(Arc::new(place)),
        others: Arc::default(),
    })
}

/// The inventory of a store that frazil made.
fn inventory(root: &Shelf) -> Result<Option<String>, EngineError> {
    let Some(bytes) = root.get_within(INVENTORY, MAX_INVENTORY_BYTES)? else { return Ok(None) };
    let damaged = |_| EngineError::Damaged { key: format!("{root}/{INVENTORY}"), reason: "it is no text".into() };
    String::from_utf8(bytes).map(Some).map_err(damaged)
}

/// Loads what `load` asks for. What cannot be decoded stays unloaded: it is named when it is wanted.
fn small_values(place: &StorePlace, name: &str, load: Load) -> Result<HashMap<usize, Arc<Values>>, EngineError> {
    let mut boxes = place.boxes(name, MOST_CHUNK_BYTES);
    let mut texts = place.boxes(name, MOST_TEXT_BYTES);
    let mut values = HashMap::new();
    let variables = place.zarr.dataset.variables.iter().enumerate();
    for (number, variable) in variables.filter(|(_, variable)| is_loaded(variable, load)) {
        place.check(number)?;
        match place.look_at_all(name, number) {
            // Who wants the variable hears of it; without labels nobody can go on.
            Err(EngineError::LostObject { .. }) if !is_label(variable) => continue,
            looked => looked?,
        }
        let region = Region::whole(&variable.shape);
        let loaded = match variable.dtype {
            DataType::String => texts.texts(number, &region).map(Values::Texts),
            _ => {
                let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(1));
                let mut all = vec![0; usize::try_from(variable.n_elements() * element_bytes).unwrap_or(0)];
                boxes.read(number, &region, &mut all).map(|()| Values::Fixed(all.into()))
            }
        };
        let absent = [boxes.take_absent(), texts.take_absent()].concat();
        let lost = absent.iter().find_map(|(number, chunk)| place.was_not_there(name, *number, *chunk).err());
        match loaded {
            _ if matches!(lost, Some(EngineError::LostObject { .. })) && !is_label(variable) => {}
            Ok(_) if lost.is_some() => return lost.map_or(Ok(values), Err),
            Ok(loaded) => {
                values.insert(number, Arc::new(loaded));
            }
            Err(EngineError::Store(error)) if !matches!(error, StoreError::Short { .. }) => return Err(error.into()),
            Err(error) if place.reading == Reading::Extension => return Err(error),
            Err(_) => {}
        }
    }
    Ok(values)
}

/// Whether an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    There,
    Missing,
    /// Reading will tell.
    Unknown,
}

impl StorePlace {
    /// Whether it is read for its own extension.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.reading == Reading::Extension
    }

    /// The place that has its objects; `None` if they are parts of other files.
    #[must_use]
    pub const fn root(&self) -> Option<&Shelf> {
        match &self.holder {
            Holder::Shelf(root) => Some(root),
            Holder::Files(_) => None,
        }
    }

    /// Whether an array may be read.
    ///
    /// # Errors
    /// [`EngineError::NotFollowed`] if a document leads where it must not.
    pub fn check(&self, number: usize) -> Result<(), EngineError> {
        match &self.holder {
            Holder::Shelf(_) => Ok(()),
            Holder::Files(files) => files.check(number),
        }
    }

    /// How its arrays are laid out, in the order of the variables.
    #[must_use]
    pub fn layouts(&self) -> &[ArrayLayout] {
        &self.zarr.layouts
    }

    /// Its values box by box. A chunk of more than `chunk_limit_bytes` is refused.
    #[must_use]
    pub fn boxes(&self, name: &str, chunk_limit_bytes: u64) -> StoreBoxes {
        let mut boxes = StoreBoxes::of(self.holder.clone(), Arc::clone(&self.zarr), name, chunk_limit_bytes);
        boxes.consolidated = self.consolidated;
        boxes
    }

    /// How many objects were asked for and are not there.
    #[must_use]
    pub fn n_missing(&self) -> usize {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The objects of an array. A file system or a server is asked once.
    fn objects(&self, number: usize) -> Result<&Objects, EngineError> {
        if let Some(known) = self.listed[number].get() {
            return Ok(known);
        }
        let layout = &self.zarr.layouts[number];
        let found = match &self.holder {
            Holder::Shelf(root) => Objects::of(root, layout, self.inventory.as_deref())?,
            Holder::Files(_) => Objects::unlisted(),
        };
        Ok(self.listed[number].get_or_init(|| found))
    }

    /// The number of the object that a chunk lies in.
    fn object_of(&self, number: usize, chunk: u64) -> u64 {
        let layout = &self.zarr.layouts[number];
        let at = coordinates_of(chunk, &grid_of(&layout.shape, &layout.chunk_shape));
        let scaled = at.iter().zip(&layout.chunk_shape).zip(layout.object_shape());
        let object: Vec<u64> = scaled.map(|((at, chunk), object)| at * chunk / (*object).max(1)).collect();
        number_of(&object, &layout.object_grid())
    }

    /// Whether an object of an array is there.
    fn look(&self, name: &str, number: usize, object: u64) -> Result<Look, EngineError> {
        if self.is_extended() {
            return Ok(Look::Unknown);
        }
        let objects = self.objects(number)?;
        let layout = &self.zarr.layouts[number];
        let lost = |problem: String| {
            let at = coordinates_of(object, &layout.object_grid());
            let key = format!("{}/{}", layout.path.trim_start_matches('/'), layout.chunk_key(&at));
            EngineError::LostObject { store: name.to_owned(), key, problem }
        };
        let expected = objects.expected(object);
        match (objects.length(object), expected) {
            (Some(Some(n_bytes)), Some(expected)) if n_bytes != expected => {
                Err(lost(format!("it has {n_bytes} bytes; {expected} were written")))
            }
            (Some(Some(_)), _) => Ok(Look::There),
            (Some(None), Some(_)) => Err(lost("it is not there".into())),
            (Some(None), None) => {
                self.note_missing(number, object);
                Ok(Look::Missing)
            }
            (None, _) => Ok(Look::Unknown),
        }
    }

    /// Looks at all objects of an array.
    fn look_at_all(&self, name: &str, number: usize) -> Result<(), EngineError> {
        let n_objects = if self.root().is_some() { count(&self.zarr.layouts[number].object_grid()) } else { 0 };
        (0..n_objects).try_for_each(|object| self.look(name, number, object).map(|_| ()))
    }

    fn note_missing(&self, number: usize, object: u64) {
        // What frazil wrote leaves out objects of nothing but fill; they are not missing.
        if self.inventory.is_some() {
            return;
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() < MOST_MISSING {
            missing.insert((number, object));
        }
    }

    /// Where a chunk is.
    pub(crate) fn chunk(&self, source: &Source, number: usize, chunk: u64) -> Result<ChunkAt, EngineError> {
        if let Holder::Files(files) = &self.holder {
            let is_there = files.table(number).is_some_and(|table| table.find(chunk).is_some());
            return Ok(if is_there { ChunkAt::Object } else { ChunkAt::Unwritten });
        }
        let object = self.object_of(number, chunk);
        Ok(match self.look(&source.name, number, object)? {
            Look::There | Look::Unknown => ChunkAt::Object,
            Look::Missing => ChunkAt::Unwritten,
        })
    }

    /// What a chunk that was not there when it was read means.
    pub(crate) fn was_not_there(&self, name: &str, number: usize, chunk: u64) -> Result<(), EngineError> {
        if self.is_extended() || self.root().is_none() {
            return Ok(());
        }
        let object = self.object_of(number, chunk);
        let objects = self.objects(number)?;
        let layout = &self.zarr.layouts[number];
        // A shard that is there may lack chunks; on a server that lists nothing the two look alike.
        if layout.shards.is_some() {
            return Ok(());
        }
        let problem = match (objects.expected(object), objects.length(object)) {
            (Some(_), _) => "it is not there",
            (None, Some(Some(_))) => "it was there a moment ago",
            (None, Some(None) | None) => {
                self.note_missing(number, object);
                return Ok(());
            }
        };
        let at = coordinates_of(object, &layout.object_grid());
        let key = format!("{}/{}", layout.path.trim_start_matches('/'), layout.chunk_key(&at));
        Err(EngineError::LostObject { store: name.to_owned(), key, problem: problem.to_owned() })
    }

    /// Stored bytes of the largest object of an array that is read whole, and of all its objects; `None` where nothing
    /// says.
    pub(crate) fn stored_bytes(&self, number: usize) -> Option<(u64, u64)> {
        if let Holder::Files(files) = &self.holder {
            let lengths = files.table(number)?.length.iter().filter(|n| **n != ChunkReferences::TO_THE_END);
            let total = lengths.clone().fold(0, |sum: u64, n| sum.saturating_add(*n));
            return Some((lengths.copied().max().unwrap_or(0), total));
        }
        let objects = self.objects(number).ok().filter(|_| !self.is_extended())?;
        let (largest, total) = objects.sizes()?;
        Some((if self.zarr.layouts[number].shards.is_some() { 0 } else { largest }, total))
    }

    /// The state of the arrays that were looked at, as one text.
    pub(crate) fn state(&self) -> String {
        let states = self.listed.iter().map(|listed| listed.get().map_or(0, Objects::state));
        digest(states.flat_map(u128::to_le_bytes).collect::<Vec<_>>().as_slice())
    }

    /// What of it is not what it was when it was looked at.
    pub(crate) fn changed(&self) -> Result<Option<String>, EngineError> {
        let root = match &self.holder {
            Holder::Shelf(root) => root,
            Holder::Files(files) => {
                return Ok(files.changed().map(|file| format!("`{file}`, where values of it lie,")));
            }
        };
        for (listed, layout) in self.listed.iter().zip(&self.zarr.layouts) {
            let Some(before) = listed.get() else { continue };
            if before.sizes().is_some() && Objects::of(root, layout, None)?.state() != before.state() {
                return Ok(Some(format!("an object of its array `{}`", layout.path)));
            }
        }
        Ok(None)
    }

    /// Bytes that its tables take.
    pub(crate) fn tables_bytes(&self) -> usize {
        let listed = self.listed.iter().filter_map(OnceLock::get).map(Objects::held_bytes);
        let of_files = match &self.holder {
            Holder::Shelf(_) => 0,
            Holder::Files(files) => files.held_bytes(),
        };
        listed.fold(self.inventory.as_ref().map_or(of_files, String::len), usize::saturating_add)
    }
}

/// Reads chunks of stores. One a thread.
#[derive(Default)]
pub struct StoreReader {
    open: Option<(Arc<StorePlace>, StoreBoxes)>,
}

impl StoreReader {
    /// Puts the stored bytes of a chunk into `into`. `false`: it was never written.
    ///
    /// # Errors
    /// If the chunk cannot be read, or is lost.
    pub fn fetch(
        &mut self,
        source: &Source,
        number: usize,
        chunk: u64,
        into: &mut Vec<u8>,
    ) -> Result<bool, EngineError> {
        let Some(store) = &source.store else { return Err(source.unreadable(number, "it is no store")) };
        if self.open.as_ref().is_none_or(|(open, _)| !Arc::ptr_eq(open, store)) {
            self.open = Some((Arc::clone(store), store.boxes(&source.name, MOST_CHUNK_BYTES)));
        }
        let Some((_, boxes)) = &mut self.open else { return Err(source.unreadable(number, "it is no store")) };
        let is_there = boxes.stored_chunk(number, chunk, into)?;
        if !is_there {
            store.was_not_there(&source.name, number, chunk)?;
        }
        Ok(is_there)
    }
}
