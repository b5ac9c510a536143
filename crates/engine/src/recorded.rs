//! Which of a run's files are those that the receipt of a store names, where both call them otherwise.
//!
//! A file's name says where it lies below a folder, and folders move: `f00.nc` of one receipt may be `2000/f00.nc` of this
//! run. A file is taken for one that the receipt names if one name is the end of the other, and its size and structure are
//! those of the receipt; or if it has changed, and no other file or record could be meant. It promises never to choose
//! between two.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use frazil_model::location::Location;

use crate::{error::EngineError, find::path_of, receipt::Receipt, source::Source};

/// What tells one file from others of the same name.
pub(crate) type Identity = (u64, String);

/// What the receipt calls files, by their numbers: those that it calls otherwise than they are called here.
///
/// `identity` answers for a file its size and structure; `is_of_store` whether a file that is not what it was can only be
/// one of those that the store was made of.
///
/// # Errors
/// Those of `identity` and `is_of_store`.
pub(crate) fn other_names(
    receipt: &Receipt,
    files: &[(&Location, &str)],
    identity: &mut dyn FnMut(usize) -> Result<Identity, EngineError>,
    is_of_store: &mut dyn FnMut(usize) -> Result<bool, EngineError>,
) -> Result<BTreeMap<usize, String>, EngineError> {
    let names: BTreeSet<&str> = files.iter().map(|(_, name)| *name).collect();
    let known: BTreeSet<&str> = receipt.sources.iter().map(|record| record.name.as_str()).collect();
    let free = receipt.sources.iter().enumerate().filter(|(_, record)| !names.contains(record.name.as_str()));
    let mut by_file_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, record) in free {
        by_file_name.entry(last_part(&record.name)).or_default().push(number);
    }
    // Pairs of a file and a record that may be the same.
    let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (file, (location, name)) in files.iter().enumerate().filter(|(_, (_, name))| !known.contains(name)) {
        let records = by_file_name.get(last_part(name)).into_iter().flatten();
        let named = records.map(|record| (*record, receipt.sources[*record].name.as_str()));
        pairs.extend(meant(location, name, named).into_iter().map(|record| (file, record)));
    }
    let mut found = BTreeMap::new();
    let mut same = BTreeSet::new();
    for file in pairs.iter().map(|(file, _)| *file).collect::<BTreeSet<_>>() {
        let (size_bytes, structure) = identity(file)?;
        let is_same = |record: usize| {
            let record = &receipt.sources[record];
            record.size_bytes == size_bytes && record.structure == structure
        };
        same.extend(pairs.range((file, 0)..(file + 1, 0)).filter(|(_, record)| is_same(*record)));
    }
    take(&mut found, &mut pairs, &same, receipt);
    let mut of_store = BTreeSet::new();
    for (file, record) in &pairs {
        if is_of_store(*file)? {
            of_store.insert((*file, *record));
        }
    }
    take(&mut found, &mut pairs, &of_store, receipt);
    Ok(found)
}

/// Takes the pairs of `sure` of which neither side has another, and leaves what they have in no other pair.
fn take(
    found: &mut BTreeMap<usize, String>,
    pairs: &mut BTreeSet<(usize, usize)>,
    sure: &BTreeSet<(usize, usize)>,
    receipt: &Receipt,
) {
    let (mut of_file, mut of_record) = (BTreeMap::new(), BTreeMap::new());
    for (file, record) in sure {
        *of_file.entry(*file).or_insert(0) += 1;
        *of_record.entry(*record).or_insert(0) += 1;
    }
    let is_only = |(file, record): &&(usize, usize)| of_file[file] == 1 && of_record[record] == 1;
    let taken: Vec<(usize, usize)> = sure.iter().filter(is_only).copied().collect();
    let (files, records): (BTreeSet<usize>, BTreeSet<usize>) = taken.iter().copied().unzip();
    pairs.retain(|(file, record)| !files.contains(file) && !records.contains(record));
    found.extend(taken.into_iter().map(|(file, record)| (file, receipt.sources[record].name.clone())));
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Those of `known` that may mean a file of this machine: the end of its path, else what its name here is the end of.
fn meant<'a, T>(location: &Location, name: &str, known: impl Iterator<Item = (T, &'a str)> + Clone) -> Vec<T> {
    let Some(path) = path_of(location) else { return Vec::new() };
    let those = |is_it: &dyn Fn(&str) -> bool| -> Vec<T> {
        let all = known.clone().filter(|(_, known)| !known.contains("://") && is_it(known));
        all.map(|(one, _)| one).collect()
    };
    let of_path = those(&|known| path.ends_with(known));
    if of_path.is_empty() { those(&|known| Path::new(known).ends_with(name)) } else { of_path }
}

/// What the receipt calls a file of which no more than its place is known, if only one name can be meant.
#[must_use]
pub fn name_of(receipt: &Receipt, location: &Location, name: &str) -> Option<String> {
    let records = || receipt.sources.iter().map(|record| (record.name.as_str(), record.name.as_str()));
    if records().any(|(known, _)| known == name) {
        return Some(name.to_owned());
    }
    match meant(location, name, records())[..] {
        [one] => Some(one.to_owned()),
        _ => None,
    }
}

/// Gives files that were scanned the names by which the receipt knows them.
///
/// # Errors
/// Those of `is_of_store`.
pub(crate) fn rename(
    sources: &mut [Source],
    receipt: &Receipt,
    is_of_store: &mut dyn FnMut(usize) -> Result<bool, EngineError>,
) -> Result<BTreeMap<usize, String>, EngineError> {
    let files: Vec<(&Location, &str)> = sources.iter().map(|source| (&source.location, source.name.as_str())).collect();
    let mut identity = |file: usize| Ok((sources[file].fingerprint.size_bytes, sources[file].structure()));
    let names = other_names(receipt, &files, &mut identity, is_of_store)?;
    for (number, name) in &names {
        sources[*number].name.clone_from(name);
    }
    Ok(names)
}
