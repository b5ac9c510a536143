//! What a copy would do: which files move, which are there already, which are in the way, which go.
//!
//! A plan is made from listings alone and changes nothing. It promises that no name is lost in it: every file of the
//! source is moved, there already, in the way, or passed over with a reason.

mod arrived;
mod chosen;
pub(crate) mod claims;
mod ended;
pub(crate) mod existing;
pub(crate) mod one;
pub mod parts;
mod stores;
mod untold;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use frazil_model::{
    location::is_below,
    pattern::{fits, is_pattern},
};
use frazil_store::bucket::Bucket;

use crate::{
    atoms::{Atoms, Phase, may_show},
    error::TransferError,
    guard,
    known::Known,
    place::{Place, Written, joined, under},
    probe::is_mark,
    same::Same,
    walk::{Found, Tree, trees_to_copy},
};
use claims::is_lock;
use existing::Existing;

/// Files that are added to a plan at a time.
const ADDED_AT_A_TIME: usize = 64 << 10;

/// What is to be copied, where, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// What.
    pub sources: Vec<Written>,
    /// Where.
    pub dest: Written,
    /// What is done about files that are there.
    pub mode: Mode,
    /// How files are told to be the same.
    pub proof: Proof,
    /// Whether parts of stores may be written.
    pub scope: Scope,
    /// Which names are meant.
    pub filter: Filter,
}

/// What is done about files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those that differ are left, and named.
    Copy,
    /// Those that differ are replaced.
    CopyOver,
    /// Those that differ are replaced: the copy follows its source.
    Sync,
    /// And those that the source has not are deleted.
    SyncAndDelete,
}

/// How files are told to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By digests, remembered ones included.
    Remembered,
    /// By digests made now; where a server keeps none, by reading both.
    Read,
}

/// Whether parts of stores may be written and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A store is one thing.
    WholeStores,
    /// Parts of stores are meant.
    InsideStores,
}

/// Which names are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only names that fit one of these, if there are any.
    pub include: Vec<String>,
    /// No name that fits one of these.
    pub exclude: Vec<String>,
}

impl Filter {
    /// Whether a name is meant. A pattern without a slash is about the last part of a name, or any folder above it.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let fits_one = |patterns: &[String]| patterns.iter().any(|pattern| is_name_like(pattern, name));
        (self.include.is_empty() || fits_one(&self.include)) && !fits_one(&self.exclude)
    }

    /// Whether something below a folder may be meant, for all that the folder's name says.
    #[must_use]
    pub fn may_take_below(&self, folder: &str) -> bool {
        !self.exclude.iter().any(|pattern| is_name_like(pattern, folder))
    }

    /// Whether a name below a source is meant, which is called `base` where it is written to if it is one of several. Filters
    /// are about a store, not about its parts; a source that is a store itself is meant.
    #[must_use]
    pub fn takes_of(&self, atoms: &Atoms, base: &str, name: &str) -> bool {
        let meant = joined(base, atoms.of(name).unwrap_or(name));
        meant.is_empty() || self.takes(&meant)
    }
}

/// A name below the first of some folders that it lies in.
fn below_one<'a>(folders: &[String], name: &'a str) -> Option<&'a str> {
    folders.iter().find_map(|folder| match folder.is_empty() {
        true => Some(name),
        false => name.strip_prefix(folder.as_str())?.strip_prefix('/'),
    })
}

fn is_name_like(pattern: &str, name: &str) -> bool {
    let names: Vec<&str> = name.split('/').collect();
    if !pattern.contains('/') {
        return names.iter().any(|part| if is_pattern(pattern) { fits(&[pattern], &[part]) } else { pattern == *part });
    }
    let parts: Vec<&str> = pattern.trim_start_matches('/').trim_end_matches('/').split('/').collect();
    (1..=names.len()).any(|n_parts| fits(&parts, &names[..n_parts]))
}

/// A file that moves.
#[derive(Debug, Clone)]
pub struct Task {
    /// The place that its name is below.
    pub from: Arc<Place>,
    /// The file.
    pub found: Found,
    /// Its name below the place that is written to.
    pub to: Arc<str>,
    /// When it is written.
    pub phase: Phase,
    /// Whether something is there that it replaces.
    pub replaces: bool,
}

impl Task {
    /// The place of the file.
    #[must_use]
    pub fn place(&self) -> Place {
        if self.found.name.is_empty() { (*self.from).clone() } else { self.from.below(&self.found.name) }
    }
}

/// What a copy would do.
#[derive(Debug)]
pub struct Plan {
    /// The place that is written to; names are below it.
    pub root: Place,
    /// Files that move, by name.
    pub tasks: Vec<Task>,
    /// Files that are there already, and their bytes.
    pub same: (u64, u64),
    /// How many of them are told by size and time alone.
    pub n_by_time: u64,
    /// Files that differ from what is there, which is left as it is.
    pub in_the_way: Vec<String>,
    /// What cannot be moved, with the reason.
    pub passed_over: Vec<(String, String)>,
    /// Files that go, each with the place that must not have it.
    pub deletes: Vec<Delete>,
    /// The stores among what is written.
    pub atoms: Atoms,
    /// Stores whose metadata is taken away before anything of them changes.
    pub hidden: BTreeMap<String, Vec<String>>,
    /// Digests of files of this machine.
    pub known: Known,
    /// What stores that are there show themselves by, as it was when the plan was made: size and tag.
    pub(crate) documents: BTreeMap<String, (u64, String)>,
    /// All names that the sources have below the root, sorted.
    names: Vec<Arc<str>>,
    /// Metadata that is there already, should it have to be written again.
    unmoved: Vec<Task>,
    /// Whether nothing that lies there is written over: files go where nothing is.
    pub(crate) only_new: bool,
    /// Names below the sources that are no part of them.
    besides: &'static [&'static str],
}

/// A file that goes.
#[derive(Debug, Clone)]
pub struct Delete {
    /// Its name below the place that is written to.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Where it would be if the source had it.
    pub source: Option<Place>,
}

impl Plan {
    /// Bytes that move.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.found.size_bytes).fold(0, u64::saturating_add)
    }
}

/// Makes the plan of a copy.
///
/// # Errors
/// If a source is not there, a place cannot be listed, or a guard says no.
pub fn plan(request: &Request) -> Result<Plan, TransferError> {
    plan_besides(request, &[])
}

/// The same, where some names below the sources are no part of them.
///
/// # Errors
/// As for [`plan`].
pub(crate) fn plan_besides(request: &Request, besides: &'static [&'static str]) -> Result<Plan, TransferError> {
    let mut all: Vec<Tree> = Vec::new();
    for source in &request.sources {
        all.extend(trees_to_copy(source)?);
    }
    all.iter().try_for_each(|tree| tree.must_be_open(|folder| request.filter.may_take_below(folder)))?;
    let (root, bases) = places(request, &all)?;
    guard::bounds(&root)?;
    if let Place::Web(location) = &root {
        let (place, reason) = (location.to_string(), "a web server takes no files");
        return Err(TransferError::NotWritable { place, reason });
    }
    for (tree, base) in all.iter().zip(&bases) {
        let dest = if base.is_empty() { root.clone() } else { root.below(base) };
        guard::not_within(tree, &dest)?;
        if request.mode == Mode::SyncAndDelete {
            guard::not_around(tree, &dest)?;
            guard::not_too_much(&dest, &request.dest.text)?;
        }
        if request.scope == Scope::WholeStores {
            guard::outside_of_stores(&root, base, tree)?;
        }
    }
    let existing = Existing::below(&root, &all, &bases)?;
    let known = match (&root, all.first().map(|tree| &tree.place)) {
        _ if request.proof == Proof::Read => Known::nothing(),
        (Place::Bucket { .. }, Some(Place::Local(path))) => Known::of(path),
        (Place::Local(path), _) => Known::of(path),
        _ => Known::nothing(),
    };
    let mut plan = Plan {
        root,
        tasks: Vec::new(),
        same: (0, 0),
        n_by_time: 0,
        in_the_way: Vec::new(),
        passed_over: Vec::new(),
        deletes: Vec::new(),
        atoms: Atoms::default(),
        hidden: BTreeMap::new(),
        known,
        documents: existing.documents(),
        names: Vec::new(),
        unmoved: Vec::new(),
        only_new: false,
        besides,
    };
    for (tree, base) in all.into_iter().zip(&bases) {
        plan.add(request, tree, base, &existing)?;
    }
    plan.names.sort_unstable();
    plan.names.dedup();
    stores::keep_whole(&mut plan, request.mode, &existing);
    if request.mode == Mode::SyncAndDelete {
        plan.add_deletes(request, &existing, &bases)?;
    }
    let atoms = plan.atoms.clone();
    for task in &mut plan.tasks {
        task.phase = atoms.phase(&task.to);
    }
    Ok(plan)
}

/// The place that is written to, and for each tree the name that it has there; empty if it is that place.
fn places(request: &Request, all: &[Tree]) -> Result<(Place, Vec<String>), TransferError> {
    let dest = &request.dest;
    if dest.ends_with_slash {
        let bases: Vec<String> = all.iter().map(|tree| tree.place.base_name()).collect();
        return Ok((dest.place.clone(), bases));
    }
    if all.len() > 1 || request.sources.len() > 1 {
        return Err(TransferError::ManyToOne { dest: dest.text.clone() });
    }
    if all.iter().any(|tree| !tree.is_file) {
        return Ok((dest.place.clone(), vec![String::new()]));
    }
    let (above, name) = match &dest.place {
        Place::Local(path) if path.is_dir() => {
            return Err(TransferError::IsFolder { dest: dest.text.clone() });
        }
        Place::Local(path) => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            (Place::Local(above.unwrap_or(std::path::Path::new(".")).to_owned()), dest.place.base_name())
        }
        // No file can be a bucket.
        Place::Bucket { key, .. } if key.is_empty() => {
            return Err(TransferError::ManyToOne { dest: dest.text.clone() });
        }
        Place::Bucket { bucket, key } => {
            let (above, name) = key.rsplit_once('/').filter(|(above, _)| !above.is_empty()).unwrap_or(("", key));
            (Place::Bucket { bucket: bucket.clone(), key: above.to_owned() }, name.to_owned())
        }
        web @ Place::Web(_) => (web.clone(), String::new()),
    };
    Ok((above, vec![name]))
}

impl Plan {
    /// Adds the files of one tree, some at a time: what is looked at need not be held twice.
    fn add(&mut self, request: &Request, tree: Tree, base: &str, existing: &Existing) -> Result<(), TransferError> {
        let Tree { place, mut found, passed_over, .. } = tree;
        let place = Arc::new(place);
        let atoms = Atoms::among(found.iter().map(|found| &*found.name));
        self.names.extend(passed_over.iter().map(|(name, _)| Arc::from(joined(base, name))));
        self.passed_over.extend(passed_over.into_iter().filter(|(name, _)| request.filter.takes(name)));
        found.reverse();
        while !found.is_empty() {
            let mut some = found.split_off(found.len().saturating_sub(ADDED_AT_A_TIME));
            found.shrink_to_fit();
            some.reverse();
            let wanted = self.wanted(request, &place, &atoms, some, base);
            self.judge(request, wanted, existing)?;
        }
        Ok(())
    }

    /// Those of some files that are meant and can be written.
    fn wanted(
        &mut self,
        request: &Request,
        place: &Arc<Place>,
        atoms: &Atoms,
        some: Vec<Found>,
        base: &str,
    ) -> Vec<Task> {
        let mut wanted = Vec::with_capacity(some.len());
        for found in some {
            // Who writes to a store is no part of it, and what frazil notes in a delivery none of that.
            let is_note = !self.besides.is_empty()
                && (is_mark(&found.name) || self.besides.iter().any(|besides| **besides == *found.name));
            if is_lock(&found.name) || is_note {
                continue;
            }
            let is_meant = request.filter.takes_of(atoms, "", &found.name);
            let to = under(base, &found.name);
            self.names.push(Arc::clone(&to));
            if !is_meant {
                continue;
            }
            match self.root.unkept(&to) {
                Some(reason) => {
                    // A file that is a source by itself has no name below one.
                    let name = if found.name.is_empty() { place.base_name() } else { found.name.to_string() };
                    self.passed_over.push((name, reason.to_owned()));
                }
                None => wanted.push(Task { from: Arc::clone(place), found, to, phase: Phase::Data, replaces: false }),
            }
        }
        wanted
    }

    /// Tells those that move from those that need not, or must not.
    fn judge(&mut self, request: &Request, wanted: Vec<Task>, existing: &Existing) -> Result<(), TransferError> {
        let verdicts = self.verdicts(request, &wanted, existing)?;
        for (task, verdict) in wanted.into_iter().zip(verdicts) {
            match verdict {
                None => self.tasks.push(task),
                Some(Same::No) if request.mode == Mode::Copy => self.in_the_way.push(task.to.to_string()),
                Some(Same::No) => self.tasks.push(Task { replaces: true, ..task }),
                Some(same) => {
                    self.same = (self.same.0 + 1, self.same.1.saturating_add(task.found.size_bytes));
                    self.n_by_time += u64::from(same == Same::BySizeAndTime);
                    if may_show(&task.to) {
                        self.unmoved.push(Task { replaces: true, ..task });
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether each file is what is there; nothing where nothing is.
    fn verdicts(
        &self,
        request: &Request,
        wanted: &[Task],
        existing: &Existing,
    ) -> Result<Vec<Option<Same>>, TransferError> {
        let judge = |task: &Task| -> Result<Option<Same>, TransferError> {
            let Some(there) = existing.named(&task.to) else { return Ok(None) };
            let to = self.root.below(&task.to);
            Ok(Some(one::judge((&task.place(), &task.found), (&to, there), &self.known, request.proof)?))
        };
        // Files that must be read to be compared are read side by side.
        let n_threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(16);
        let share = wanted.len().div_ceil(n_threads).max(64);
        std::thread::scope(|scope| {
            let judging: Vec<_> = wanted
                .chunks(share)
                .map(|some| scope.spawn(move || some.iter().map(judge).collect::<Result<Vec<_>, _>>()))
                .collect();
            let mut all = Vec::with_capacity(wanted.len());
            for judged in judging {
                match judged.join() {
                    Ok(verdicts) => all.extend(verdicts?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(all)
        })
    }

    /// Adds what the source has not.
    fn add_deletes(&mut self, request: &Request, existing: &Existing, bases: &[String]) -> Result<(), TransferError> {
        if self.names.is_empty() {
            return Err(TransferError::EmptySource { dest: request.dest.text.clone() });
        }
        let is_of_source = |name: &str| bases.iter().any(|base| is_below(name, base));
        let known: BTreeSet<String> = self.deletes.iter().map(|delete| delete.name.clone()).collect();
        let stores = Atoms::among(existing.all().map(|(name, _)| name));
        for (name, size_bytes) in existing.all() {
            let is_kept = self.has(name) || known.contains(name) || !is_of_source(name);
            let Some(relative) = below_one(bases, name).filter(|_| !is_kept) else { continue };
            // A store goes whole or stays whole, also one that only the destination has.
            let meant = stores.of(name).map_or(Some(relative), |root| below_one(bases, root)).unwrap_or_default();
            if !meant.is_empty() && !request.filter.takes(meant) {
                continue;
            }
            let source = request.sources.first().map(|source| source.place.below(relative));
            self.deletes.push(Delete { name: name.to_owned(), size_bytes, source });
        }
        Ok(())
    }

    /// Whether the sources have a name below the root.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| (**known).cmp(name)).is_ok()
    }

    /// The bucket and the prefix that are written to, if it is a bucket.
    #[must_use]
    pub fn bucket(&self) -> Option<(&Bucket, &str)> {
        match &self.root {
            Place::Bucket { bucket, key } => Some((bucket, key)),
            _ => None,
        }
    }
}
