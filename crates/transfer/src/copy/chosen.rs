//! A plan of files that somebody chose, made without looking what lies where they go.

use std::{collections::BTreeMap, sync::Arc};

use super::{Plan, Task};
use crate::{atoms::Atoms, known::Known, place::Place};

impl Plan {
    /// The plan that moves these files and no others. `names` are all that the sources have, moved or not. Nothing of it
    /// is taken for a store: whoever reads what is written looks for something else that comes last.
    #[must_use]
    pub(crate) fn of_tasks(root: Place, tasks: Vec<Task>, mut names: Vec<Arc<str>>, same: (u64, u64)) -> Self {
        names.sort_unstable();
        Self {
            root,
            tasks,
            same,
            n_by_time: 0,
            in_the_way: Vec::new(),
            passed_over: Vec::new(),
            deletes: Vec::new(),
            atoms: Atoms::default(),
            hidden: BTreeMap::new(),
            known: Known::nothing(),
            documents: BTreeMap::new(),
            names,
            unmoved: Vec::new(),
            only_new: false,
            besides: &[],
        }
    }
}
