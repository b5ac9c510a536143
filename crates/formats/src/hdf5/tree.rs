//! From linked objects to paths: which group or array a reader finds under which name.
//!
//! Links may form circles, and one object may have many names. It promises that every array is listed under each of
//! its names, that circles end, and that what is left out is named.

use std::collections::{BTreeMap, HashMap};

use frazil_model::dataset::Unread;

use crate::hdf5::{
    decoder::{Kind, Object},
    links::Target,
};

/// Names under which the content of one group is listed. Groups that link to each other would have endlessly many.
const MAX_NAMES_OF_A_GROUP: u32 = 8;
/// Groups and arrays that are listed.
const MAX_PATHS: usize = 500_000;
/// Bytes of a path.
const MAX_PATH_BYTES: usize = 4096;
/// Bytes of all paths.
const MAX_ALL_PATH_BYTES: usize = 64 << 20;
/// Soft links that lead to soft links.
const MAX_SOFT_LINKS: u32 = 16;
/// Names looked up for all soft links of a file.
const MAX_SOFT_STEPS: u32 = 1_000_000;

/// A group under one of its names.
#[derive(Debug)]
pub(crate) struct GroupNode {
    pub path: String,
    pub address: u64,
    /// Where its parent is in the list of groups.
    pub parent: Option<usize>,
    /// Names and addresses of its arrays.
    pub arrays: Vec<(String, u64)>,
}

/// All groups, each before its children, and what could not be followed.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub groups: Vec<GroupNode>,
    pub unread: Vec<Unread>,
}

struct Walk<'a> {
    objects: &'a BTreeMap<u64, Object>,
    root: u64,
    tree: Tree,
    names_of: HashMap<u64, u32>,
    by_name: HashMap<u64, HashMap<&'a str, &'a Target>>,
    n_paths: usize,
    path_bytes: usize,
    soft_steps: u32,
}

/// Lists what the group at `root` leads to.
pub(crate) fn tree(root: u64, objects: &BTreeMap<u64, Object>) -> Tree {
    let mut walk = Walk {
        objects,
        root,
        tree: Tree::default(),
        names_of: HashMap::new(),
        by_name: HashMap::new(),
        n_paths: 0,
        path_bytes: 0,
        soft_steps: 0,
    };
    let mut stack = vec![(String::from("/"), root, None)];
    while let Some((path, address, parent)) = stack.pop() {
        let mut children = walk.group(path, address, parent);
        children.reverse();
        stack.extend(children);
    }
    walk.tree
}

impl<'a> Walk<'a> {
    /// Lists a group's arrays and gives its child groups.
    fn group(&mut self, path: String, address: u64, parent: Option<usize>) -> Vec<(String, u64, Option<usize>)> {
        let here = self.tree.groups.len();
        self.tree.groups.push(GroupNode { path: path.clone(), address, parent, arrays: Vec::new() });
        let links = match self.objects.get(&address).and_then(|object| object.links.as_ref()) {
            Some(Ok(links)) => links,
            Some(Err(error)) => {
                self.refuse(path, error.to_string());
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut children = Vec::new();
        for link in links {
            let child_path = if path == "/" { format!("/{}", link.name) } else { format!("{path}/{}", link.name) };
            self.n_paths += 1;
            self.path_bytes += child_path.len();
            if self.n_paths > MAX_PATHS || self.path_bytes > MAX_ALL_PATH_BYTES || child_path.len() > MAX_PATH_BYTES {
                self.refuse(path, "it holds more names, or longer ones, than frazil lists".into());
                return children;
            }
            let child = match self.target(here, address, &link.target) {
                Ok(child) => child,
                Err(reason) => {
                    self.refuse(child_path, reason);
                    continue;
                }
            };
            match self.objects.get(&child).and_then(|object| object.kind.as_ref()) {
                Some(Ok(Kind::Array)) => {
                    if let Some(group) = self.tree.groups.get_mut(here) {
                        group.arrays.push((link.name.clone(), child));
                    }
                }
                Some(Ok(Kind::Group)) => {
                    if self.may_list(here, child, &child_path) {
                        children.push((child_path, child, Some(here)));
                    }
                }
                Some(Ok(Kind::Other)) => {}
                Some(Err(error)) => self.refuse(child_path, error.to_string()),
                None => self.refuse(child_path, "it was not read".into()),
            }
        }
        children
    }

    /// The object that a link leads to, or why it leads nowhere.
    fn target(&mut self, here: usize, group: u64, target: &Target) -> Result<u64, String> {
        match target {
            Target::Hard(address) => Ok(*address),
            Target::Soft(path) => self
                .follow(Some(here), group, path, 0)
                .ok_or_else(|| format!("soft link to `{path}`, which is not there")),
            Target::External { file, path } => Err(format!("external link to `{path}` of `{file}`, not followed")),
            Target::User(kind) => Err(format!("user-defined link of kind {kind}")),
        }
    }

    /// The object that `path` leads to from `group`.
    fn follow(&mut self, here: Option<usize>, group: u64, path: &str, depth: u32) -> Option<u64> {
        if depth > MAX_SOFT_LINKS {
            return None;
        }
        let mut at = if path.starts_with('/') { self.root } else { group };
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            self.soft_steps += 1;
            if self.soft_steps > MAX_SOFT_STEPS {
                return None;
            }
            let target = self.names(at).get(part).copied()?;
            at = match target {
                Target::Hard(address) => *address,
                Target::Soft(path) => self.follow(here, at, path, depth + 1)?,
                Target::External { .. } | Target::User(_) => return None,
            };
        }
        Some(at)
    }

    /// The links of a group by name.
    fn names(&mut self, group: u64) -> &HashMap<&'a str, &'a Target> {
        let objects = self.objects;
        self.by_name.entry(group).or_insert_with(|| {
            let links = objects.get(&group).and_then(|object| object.links.as_ref());
            links.into_iter().flatten().flatten().map(|link| (link.name.as_str(), &link.target)).collect()
        })
    }

    /// Whether a group is listed under this name too. A name inside the group itself shows nothing new.
    fn may_list(&mut self, here: usize, child: u64, path: &str) -> bool {
        let mut above = Some(here);
        while let Some(group) = above.and_then(|index| self.tree.groups.get(index)) {
            if group.address == child {
                return false;
            }
            above = group.parent;
        }
        let n_names = self.names_of.entry(child).or_insert(0);
        *n_names += 1;
        if *n_names > MAX_NAMES_OF_A_GROUP {
            self.refuse(path.to_owned(), "the group has many names; its content is listed under others".into());
            return false;
        }
        true
    }

    fn refuse(&mut self, path: String, reason: String) {
        self.tree.unread.push(Unread { path, reason });
    }
}
