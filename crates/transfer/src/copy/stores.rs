//! Stores among the files of a copy: each is the source's in the end, whole, or left as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::{Delete, Mode, Plan, Task, existing::Existing};
use crate::atoms::{Atoms, Phase};

/// What a copy would change in one store.
#[derive(Default)]
struct Changes<'a> {
    /// What is there and the source has not.
    extra: Vec<(&'a str, u64)>,
    /// Metadata that readers look at first, as it is there now.
    shown: Vec<String>,
    is_in_the_way: bool,
    is_written: bool,
    /// Whether chunks that are there become others.
    is_rewritten: bool,
}

/// Sees to it that each store that is written is the source's, whole, or left as it is.
pub(super) fn keep_whole(plan: &mut Plan, mode: Mode, existing: &Existing) {
    plan.atoms = Atoms::among(plan.names.iter().map(|name| &**name));
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let mut hidden: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut deletes = Vec::new();
    for (root, changes) in changes_of(plan, existing) {
        let has_extra = !changes.extra.is_empty();
        let is_refused = match mode {
            Mode::Copy => has_extra || changes.is_in_the_way,
            Mode::Sync => has_extra,
            Mode::CopyOver | Mode::SyncAndDelete => false,
        };
        if is_refused && (has_extra || changes.is_in_the_way || changes.is_written) {
            refused.insert(root.to_owned());
            continue;
        }
        if has_extra || changes.is_rewritten {
            hidden.insert(root.to_owned(), changes.shown);
        }
        let gone = |(name, size_bytes): (&str, u64)| Delete { name: name.to_owned(), size_bytes, source: None };
        deletes.extend(changes.extra.into_iter().map(gone));
    }
    plan.hidden = hidden;
    plan.deletes.extend(deletes);
    leave(plan, &refused);
    put_again(plan);
}

fn changes_of<'a>(plan: &'a Plan, existing: &'a Existing) -> BTreeMap<&'a str, Changes<'a>> {
    let atoms = &plan.atoms;
    let mut all: BTreeMap<&str, Changes<'_>> = atoms.roots().map(|root| (root, Changes::default())).collect();
    for (name, size_bytes) in existing.all() {
        let Some(changes) = atoms.of(name).and_then(|root| all.get_mut(root)) else { continue };
        if !plan.has(name) {
            changes.extra.push((name, size_bytes));
        }
        if matches!(atoms.phase(name), Phase::Root | Phase::Outer) {
            changes.shown.push(name.to_owned());
        }
    }
    for name in &plan.in_the_way {
        if let Some(changes) = atoms.of(name).and_then(|root| all.get_mut(root)) {
            changes.is_in_the_way = true;
        }
    }
    for task in &plan.tasks {
        if let Some(changes) = atoms.of(&task.to).and_then(|root| all.get_mut(root)) {
            changes.is_written = true;
            changes.is_rewritten |= task.replaces && atoms.phase(&task.to) == Phase::Data;
        }
    }
    all
}

/// Leaves stores as they are, each named once.
fn leave(plan: &mut Plan, refused: &BTreeSet<String>) {
    let atoms = &plan.atoms;
    let is_left = |name: &str| atoms.of(name).is_some_and(|root| refused.contains(root));
    plan.tasks.retain(|task| !is_left(&task.to));
    plan.in_the_way.retain(|name| !is_left(name));
    for root in refused {
        let place = if root.is_empty() { plan.root.clone() } else { plan.root.below(root) };
        plan.in_the_way.push(format!("{} (the store there is another one)", place.shown()));
    }
}

/// Metadata of a store that is taken away first is written at the end, whether it differs or not.
fn put_again(plan: &mut Plan) {
    let hidden: BTreeSet<&str> = plan.hidden.values().flatten().map(String::as_str).collect();
    let (again, unmoved): (Vec<Task>, Vec<Task>) =
        std::mem::take(&mut plan.unmoved).into_iter().partition(|task| hidden.contains(&*task.to));
    plan.unmoved = unmoved;
    plan.tasks.extend(again);
}
