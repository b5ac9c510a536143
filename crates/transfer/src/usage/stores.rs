//! Which store each of many names belongs to, told in one pass.
//!
//! Names come in the order of a listing, so that those of a folder come together. It promises that only the folders above the
//! present name and the stores that were found are held, however many names there are: a store of a million chunks, each in a
//! folder of its own, takes one line. The topmost store counts: what lies in it belongs to nothing else.

use std::collections::HashMap;

use frazil_model::zarr::DOCUMENTS;

/// How the name of a folder ends that is a store, though its documents may not be there yet, or not any more.
const ENDINGS: [&str; 2] = [".zarr", ".icechunk"];

/// What is summed over names.
pub(crate) trait Sum: Copy + Default + PartialEq {
    /// Adds another sum.
    fn add(&mut self, other: Self);
}

/// What a sum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// A store, the place itself if the name is empty.
    Store,
    /// What lies in a folder and in none of its stores; in no folder if the name is empty.
    Loose,
}

/// A folder whose names may still be coming.
#[derive(Default)]
struct Open<A> {
    /// Where its name ends in the path.
    end: usize,
    /// Whether a document of a store was seen in it.
    is_store: bool,
    /// What lies below it and in none of `stores`.
    loose: A,
    stores: Vec<(String, A)>,
}

/// The stores so far.
pub(crate) struct Stores<A> {
    /// The folder of the last name.
    path: String,
    /// That folder and those above it; the first is the place itself.
    open: Vec<Open<A>>,
    /// What lies in no store, by the first folder of its name.
    loose: Vec<(String, A)>,
    n_told: usize,
}

impl<A: Sum> Default for Stores<A> {
    fn default() -> Self {
        Self { path: String::new(), open: vec![Open::default()], loose: Vec::new(), n_told: 0 }
    }
}

impl<A: Sum> Stores<A> {
    /// Adds what has this name; answers how many are told apart so far.
    pub(crate) fn add(&mut self, name: &str, amount: A) -> usize {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != self.path || self.open.is_empty() {
            self.turn_to(folder);
        }
        let roots = DOCUMENTS.iter().filter_map(|document| name.strip_suffix(document));
        for root in roots.filter(|above| above.is_empty() || above.ends_with('/')) {
            let end = root.strip_suffix('/').unwrap_or(root).len();
            // The place itself is told from a folder with an empty name by being the first.
            if let Some(open) = self.open.iter_mut().find(|open| open.end == end) {
                open.is_store = true;
            }
        }
        if let Some(open) = self.open.last_mut() {
            open.loose.add(amount);
        }
        self.n_told
    }

    /// Closes the folders that `folder` does not lie in, and opens those above it.
    fn turn_to(&mut self, folder: &str) {
        let is_above = |end: usize, path: &str| {
            let (above, rest) = (path.get(..end), folder.get(end..).unwrap_or("?"));
            end == 0 || (folder.get(..end) == above && (rest.is_empty() || rest.starts_with('/')))
        };
        while self.open.len() > 1 && self.open.last().is_some_and(|open| !is_above(open.end, &self.path)) {
            self.close();
        }
        let from = self.open.last().map_or(0, |open| open.end);
        folder.clone_into(&mut self.path);
        if folder.is_empty() {
            return;
        }
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        let new = ends.filter(|end| *end > from);
        let is_store = |end: usize| {
            let name = folder.get(..end).unwrap_or_default();
            ENDINGS.iter().any(|ending| name.ends_with(ending))
        };
        self.open.extend(new.map(|end| Open { end, is_store: is_store(end), ..Open::default() }));
    }

    /// Hands what the last folder holds to the one above it.
    fn close(&mut self) {
        let is_first = self.open.len() == 2;
        let Some(mut closed) = self.open.pop() else { return };
        let Some(above) = self.open.last_mut() else { return };
        let name = self.path.get(..closed.end).unwrap_or_default();
        if closed.is_store {
            self.n_told -= closed.stores.len().min(self.n_told);
            self.n_told += 1;
            let whole = closed.stores.iter().fold(closed.loose, |mut sum, (_, amount)| {
                sum.add(*amount);
                sum
            });
            above.stores.push((name.to_owned(), whole));
            return;
        }
        above.stores.append(&mut closed.stores);
        if is_first && closed.loose != A::default() {
            self.n_told += 1;
            self.loose.push((name.to_owned(), closed.loose));
        } else {
            above.loose.add(closed.loose);
        }
    }

    /// Each store with all that lies in it; what lies in none by its first folder.
    pub(crate) fn told(mut self) -> HashMap<(String, Whose), A> {
        while self.open.len() > 1 {
            self.close();
        }
        let place = self.open.pop().unwrap_or_default();
        let stores = place.stores.into_iter().map(|(name, amount)| ((name, Whose::Store), amount));
        let loose = self.loose.into_iter().map(|(name, amount)| ((name, Whose::Loose), amount));
        let rest = (place.loose != A::default()).then_some(((String::new(), Whose::Loose), place.loose));
        let mut groups: HashMap<(String, Whose), A> = HashMap::new();
        for (whose, amount) in stores.chain(loose).chain(rest) {
            let whose = if place.is_store { (String::new(), Whose::Store) } else { whose };
            groups.entry(whose).or_default().add(amount);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Amount;

    #[track_caller]
    fn check(names: &str, expected: &str) {
        let mut stores = Stores::<Amount>::default();
        for name in names.split_whitespace() {
            stores.add(name, Amount { n_objects: 1, n_bytes: 1, newest_seconds: None });
        }
        let mut told: Vec<String> = stores
            .told()
            .into_iter()
            .map(|((name, whose), sum)| {
                let end = if whose == Whose::Loose && !name.is_empty() { "/" } else { "" };
                format!("{name}{end}={}", sum.n_objects)
            })
            .collect();
        told.sort();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_lies_in_a_store_is_of_the_topmost_one() {
        check(
            "j/a.zarr/x/c/0 j/a.zarr/x/zarr.json j/a.zarr/zarr.json j/notes.txt r/chunks/1 r/refs/branch.main/ref.json top",
            "=1 j/=1 j/a.zarr=3 r=2",
        );
    }

    #[test]
    fn a_name_that_begins_like_a_store_is_not_in_it() {
        check("a/s-1/x a/s.zarr/.zgroup a/s.zarr/c a/s/x b/s.zarr/.zgroup", "a/=2 a/s.zarr=2 b/s.zarr=1");
    }

    #[test]
    fn a_place_that_is_a_store_is_one_thing() {
        check("c/0/0 c/0/1 sub/x/.zarray zarr.json", "=4");
    }

    #[test]
    fn a_store_whose_documents_are_not_there_is_told_by_its_name() {
        check("a/x.zarr/sst/c/0 a/x.zarr/sst/zarr.json b/y.icechunk/chunks/1 top.zarr", "=1 a/x.zarr=2 b/y.icechunk=1");
    }

    #[test]
    fn stores_in_folders_without_documents_stay_apart() {
        check(
            "a/b/x.zarr/.zgroup a/b/x.zarr/0/.zarray a/b/y.zarr/.zgroup a/c a/d/e/f",
            "a/=2 a/b/x.zarr=2 a/b/y.zarr=1",
        );
    }
}
