//! Other names, for variables and dimensions alike; what names them follows.

use std::collections::BTreeMap;

use crate::{
    combine::{
        steps::{
            Doing, Failure,
            error::{StepFault, Thing},
            names,
        },
        view::FileView,
    },
    recipe::span::Spanned,
};

impl Doing<'_> {
    /// All pairs at once, so that two names may change places.
    pub(super) fn rename(&mut self, pairs: &[(Spanned<String>, Spanned<String>)]) -> Result<(), Failure> {
        let dimensions = names::dimensions(self.view);
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        let mut lengths: BTreeMap<String, String> = BTreeMap::new();
        for (old, new) in pairs {
            let mut is_found = false;
            for variable in &self.view.variables {
                let plain = old.trim_start_matches('/');
                if variable.path.trim_start_matches('/') == plain || (!plain.contains('/') && variable.name() == plain)
                {
                    is_found = true;
                    paths.insert(variable.path.clone(), names::path_in(variable.group(), new));
                }
            }
            if dimensions.contains(&old.value) {
                is_found = true;
                lengths.insert(old.value.clone(), new.trim_start_matches('/').to_owned());
            }
            if !is_found {
                let mut known = names::variables(self.view);
                known.extend(
                    dimensions.iter().filter(|name| self.view.variable(&format!("/{name}")).is_none()).cloned(),
                );
                self.lacks(Thing::VariableOrDimension, old, known);
            }
            let stays = |name: &String| *name == new.value && !lengths_hold(pairs, name);
            if lengths.contains_key(&old.value) && dimensions.iter().any(stays) {
                let fault = StepFault::Taken { what: Thing::Dimension, name: new.value.clone() };
                return Err(Failure { at: new.at, fault });
            }
        }
        for (from, to) in &paths {
            let is_taken =
                self.view.variables.iter().any(|other| other.path == *to && !paths.contains_key(&other.path))
                    || paths.iter().any(|(other, new)| other != from && new == to);
            if is_taken {
                let at =
                    pairs.iter().find(|(_, new)| to.ends_with(&new.value)).map(|(_, new)| new.at).unwrap_or_default();
                let name = to.trim_start_matches('/').to_owned();
                return Err(Failure { at, fault: StepFault::Taken { what: Thing::Variable, name } });
            }
        }
        apply(self.view, &paths, &lengths);
        Ok(())
    }
}

fn lengths_hold(pairs: &[(Spanned<String>, Spanned<String>)], name: &str) -> bool {
    pairs.iter().any(|(old, _)| old.value == name)
}

/// Gives variables (by path) and dimensions (by name) their new names.
pub(super) fn apply(view: &mut FileView, paths: &BTreeMap<String, String>, dimensions: &BTreeMap<String, String>) {
    let known: Vec<String> = view.variables.iter().map(|variable| variable.path.clone()).collect();
    names::follow(view, &|group, name| {
        let mut group = group;
        loop {
            let path = names::path_in(group, name);
            if known.contains(&path) {
                let new = paths.get(&path)?;
                return Some(if name.contains('/') { new.clone() } else { last(new).to_owned() });
            }
            if group == "/" || name.contains('/') {
                return dimensions.get(name).cloned();
            }
            group = group.rfind('/').filter(|at| *at > 0).map_or("/", |at| group.get(..at).unwrap_or("/"));
        }
    });
    for variable in &mut view.variables {
        if let Some(new) = paths.get(&variable.path) {
            variable.path.clone_from(new);
        }
        for dimension in &mut variable.dimensions {
            if let Some(new) = dimensions.get(dimension) {
                dimension.clone_from(new);
            }
        }
    }
    for dimension in view.groups.iter_mut().flat_map(|group| &mut group.dimensions) {
        if let Some(new) = dimensions.get(&dimension.name) {
            dimension.name.clone_from(new);
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
