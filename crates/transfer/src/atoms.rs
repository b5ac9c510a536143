//! Stores among files, of Zarr and of Icechunk: which names belong to one, and in which order they are written and deleted.
//!
//! A store is one thing. Whoever opens it comes through the metadata of its root, or through the branches and tags of a
//! repository, so these are written after everything else and deleted before it; a reader sees a whole store or none. All
//! is told by names: nothing is read.

use std::collections::BTreeSet;

use frazil_model::zarr::DOCUMENTS;

/// What begins the names of the branches and tags of a repository of Icechunk, below its root.
const REFS: &str = "refs/";

/// What a repository of Icechunk in version 2 of its format has in place of those.
pub(crate) const REPOSITORY: &str = "repo";

/// Such a repository has this folder beside it.
const SNAPSHOTS: &str = "snapshots";

/// How a repository of Icechunk is to be read.
const SETTINGS: &str = "config.yaml";

/// Whether a file of this name holds metadata of a store. Attributes alone make no store.
#[must_use]
pub fn is_metadata(file: &str) -> bool {
    DOCUMENTS.contains(&file) || file == ".zattrs"
}

/// Whether a name may be one that readers of a store look at first, told by itself.
#[must_use]
pub fn may_show(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    is_metadata(file) || file == REPOSITORY || file == SETTINGS || store_of_ref(name).is_some()
}

/// The repository that a name would be a branch or a tag of: `a` of `a/refs/branch.main/ref.json`.
fn store_of_ref(name: &str) -> Option<&str> {
    let (folder, _) = name.rsplit_once('/')?;
    let (above, ref_) = folder.rsplit_once('/')?;
    let is_ref = ref_.starts_with("branch.") || ref_.starts_with("tag.");
    let root = above.strip_suffix("refs").filter(|_| is_ref)?;
    if root.is_empty() { Some(root) } else { root.strip_suffix('/') }
}

/// The folder that a name makes a store, if it does so by itself.
pub(crate) fn root_of_document(name: &str) -> Option<&str> {
    DOCUMENTS.iter().find_map(|document| {
        let root = name.strip_suffix(document)?;
        if root.is_empty() { Some(root) } else { root.strip_suffix('/') }
    })
}

/// When a file is written: all of one phase before any of the next. Deleted is in the opposite order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Chunks, and whatever is not of a store.
    Data,
    /// Metadata of arrays and groups below the root.
    Inner,
    /// What readers look at once they know that there is a store.
    Outer,
    /// What makes it one.
    Root,
}

impl Phase {
    /// All, in the order of writing.
    pub const ALL: [Self; 4] = [Self::Data, Self::Inner, Self::Outer, Self::Root];
}

/// The stores among some names: the topmost folders that hold metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Atoms {
    roots: BTreeSet<String>,
}

impl Atoms {
    /// The stores among `names`, which are relative and have slashes between their parts.
    pub fn among<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut roots: BTreeSet<String> = BTreeSet::new();
        // Repositories of version 2 show themselves by a file and a folder together.
        let (mut with_repository, mut with_snapshots): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
        for name in names {
            if let Some(root) = root_of_document(name) {
                roots.insert(root.to_owned());
            }
            let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            match folder.rsplit_once('/').unwrap_or(("", folder)) {
                _ if file == REPOSITORY => drop(with_repository.insert(folder)),
                (root, SNAPSHOTS) => drop(with_snapshots.insert(root)),
                _ => {}
            }
        }
        roots.extend(with_repository.intersection(&with_snapshots).map(|root| (*root).to_owned()));
        let inner: Vec<String> = roots
            .iter()
            .filter(|folder| ancestors(folder).any(|above| above != folder.as_str() && roots.contains(above)))
            .cloned()
            .collect();
        for folder in &inner {
            roots.remove(folder);
        }
        Self { roots }
    }

    /// The folders of the stores, sorted; the empty one is the place itself.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(String::as_str)
    }

    /// The store that a name belongs to.
    #[must_use]
    pub fn of<'a>(&self, name: &'a str) -> Option<&'a str> {
        ancestors(name).find(|folder| self.roots.contains(*folder))
    }

    /// When a name is written.
    #[must_use]
    pub fn phase(&self, name: &str) -> Phase {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let Some(root) = self.of(name) else { return Phase::Data };
        let below = name.strip_prefix(root).map_or(name, |below| below.trim_start_matches('/'));
        match below {
            REPOSITORY => Phase::Root,
            SETTINGS => Phase::Outer,
            _ if below.starts_with(REFS) => Phase::Root,
            _ if is_metadata(file) => match (folder == root, file) {
                (false, _) => Phase::Inner,
                (true, ".zattrs" | ".zmetadata") => Phase::Outer,
                (true, _) => Phase::Root,
            },
            _ => Phase::Data,
        }
    }
}

/// Folders and files of an Icechunk repository, by the first part of their names in it.
const OF_A_REPOSITORY: [&str; 8] =
    ["refs", "snapshots", "manifests", "chunks", "transactions", "overwritten", "config.yaml", "repo"];

/// A name in a store that no Zarr store and no Icechunk repository has, nor frazil's own work in one. `names` are all that
/// lie in it.
#[must_use]
pub fn stranger<'a>(names: &[&'a str]) -> Option<&'a str> {
    let nodes: BTreeSet<&str> = names.iter().filter_map(|name| folder_of_metadata(name)).collect();
    let is_repository = names.iter().any(|name| name.starts_with(REFS) && name.ends_with("/ref.json"))
        || (names.contains(&REPOSITORY) && names.iter().any(|name| name.starts_with("snapshots/")));
    names.iter().copied().find(|name| {
        let first = name.split('/').next().unwrap_or_default();
        let is_own = folder_of_metadata(name).is_some()
            // What some programs leave where a folder begins.
            || name.ends_with('/')
            || first == ".frazil"
            || (is_repository && OF_A_REPOSITORY.contains(&first));
        !is_own && !is_chunk_of(name, &nodes)
    })
}

/// The folder that a document of a store, or its attributes, is about.
fn folder_of_metadata(name: &str) -> Option<&str> {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    is_metadata(file).then_some(folder)
}

/// Whether a name can be that of a chunk of one of these arrays: between the two are numbers, or `c` and numbers.
fn is_chunk_of(name: &str, nodes: &BTreeSet<&str>) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_part = |part: &str| part == "c" || part.strip_prefix("c.").unwrap_or(part).split('.').all(is_number);
    let mut rest = name;
    while let Some((above, part)) = rest.rsplit_once('/').or_else(|| (!rest.is_empty()).then_some(("", rest))) {
        if !is_part(part) {
            return false;
        }
        if nodes.contains(above) {
            return true;
        }
        rest = above;
    }
    false
}

/// A name and the folders above it, from the innermost to the empty one.
pub fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(name);
    std::iter::from_fn(move || {
        let now = next?;
        next = match now.rsplit_once('/') {
            Some((above, _)) => Some(above),
            None if now.is_empty() => None,
            None => Some(""),
        };
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 8] = [
        "notes.txt",
        "a.zarr/zarr.json",
        "a.zarr/sst/zarr.json",
        "a.zarr/sst/c/0",
        "old/b/.zgroup",
        "old/b/.zmetadata",
        "old/b/x/.zarray",
        "old/b/x/0.0",
    ];

    #[test]
    fn a_store_is_the_topmost_folder_with_metadata() {
        let atoms = Atoms::among(NAMES);
        assert_eq!(atoms.roots().collect::<Vec<_>>(), ["a.zarr", "old/b"]);
        assert_eq!(atoms.of("a.zarr/sst/c/0"), Some("a.zarr"));
        assert_eq!(atoms.of("notes.txt"), None);
        assert_eq!(Atoms::among(["zarr.json", "c/0"]).of("c/0"), Some(""));
    }

    #[test]
    fn what_no_store_has_is_a_stranger() {
        let zarr = ["zarr.json", "sst/zarr.json", "sst/c/0/1", "old/.zarray", "old/0.1", ".frazil/plan.json", "old/"];
        assert_eq!(stranger(&zarr), None);
        let repository = ["refs/branch.main/ref.json", "chunks/AAAA", "snapshots/B", "config.yaml"];
        assert_eq!(stranger(&repository), None);
        assert_eq!(stranger(&["repo", "chunks/AAAA", "snapshots/B"]), None);
        for odd in ["thesis.tex", "runs/2020", "sst/notes.txt", "chunks/AAAA", "sst/c/0/1.tmp"] {
            let with: Vec<&str> = zarr.iter().copied().chain([odd]).collect();
            assert_eq!(stranger(&with), Some(odd));
        }
        assert_eq!(stranger(&["c/0/0"]), Some("c/0/0"), "without any metadata");
    }

    #[test]
    fn a_repository_of_icechunk_is_a_store_and_its_branches_and_tags_come_last() {
        use Phase::{Data, Outer, Root};
        let names =
            ["i/chunks/A", "i/config.yaml", "i/refs/branch.main/ref.json", "i/refs/tag.x/ref.json", "i/snapshots/B"];
        let atoms = Atoms::among(names);
        assert_eq!(atoms.roots().collect::<Vec<_>>(), ["i"]);
        assert_eq!(names.map(|name| atoms.phase(name)), [Data, Outer, Root, Root, Data]);
        let names = ["chunks/A", "repo", "snapshots/B", "x/repo"];
        let atoms = Atoms::among(names);
        assert_eq!(atoms.roots().collect::<Vec<_>>(), [""]);
        assert_eq!(names.map(|name| atoms.phase(name)), [Data, Root, Data, Data]);
        assert_eq!(Atoms::among(["x/repo", "y/snapshots/B", "refs/heads/ref.json"]).roots().count(), 0);
        for (name, may) in
            [("a/refs/tag.v1/ref.json", true), ("refs/branch.b/ref.json", true), ("refs/a/b", false), ("a/c/0", false)]
        {
            assert_eq!(may_show(name), may, "{name}");
        }
    }

    #[test]
    fn the_root_is_written_last() {
        let atoms = Atoms::among(NAMES);
        let phases: Vec<Phase> = NAMES.iter().map(|name| atoms.phase(name)).collect();
        use Phase::{Data, Inner, Outer, Root};
        assert_eq!(phases, [Data, Root, Inner, Data, Root, Outer, Inner, Data]);
    }
}
