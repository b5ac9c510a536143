//! Groups: one of them as the whole file, or all of them side by side.

use std::collections::BTreeMap;

use crate::{
    combine::steps::{
        Doing, Failure,
        error::{StepFault, Thing},
        names, rename,
    },
    dataset::{Dimension, Group},
    recipe::span::Spanned,
};

impl Doing<'_> {
    /// Only what is in one group, its name taken away, as `xarray.open_dataset(group=…)` shows it.
    pub(super) fn group(&mut self, group: &Spanned<String>) {
        let path = format!("/{}", group.trim_matches('/'));
        if path == "/" {
            self.view.variables.retain(|variable| variable.group() == "/");
            self.view.groups.retain(|group| group.path == "/");
            return;
        }
        if !self.view.groups.iter().any(|known| known.path == path) {
            let known = self.view.groups.iter().map(|group| group.path.trim_start_matches('/').to_owned());
            let known = known.filter(|name| !name.is_empty()).collect();
            self.lacks(Thing::Group, group, known);
            return;
        }
        let inside = |one: &str| one == path || names::sees(one, &path);
        // Dimensions of the groups above hold in this one, unless it has its own of the name.
        let mut above: Vec<Dimension> = Vec::new();
        for dimension in
            self.view.groups.iter().filter(|group| names::sees(&path, &group.path)).flat_map(|group| &group.dimensions)
        {
            above.retain(|known| known.name != dimension.name);
            above.push(dimension.clone());
        }
        let shortened = |one: &str| match one.strip_prefix(&path) {
            Some("") | None => "/".to_owned(),
            Some(rest) => rest.to_owned(),
        };
        self.view.variables.retain(|variable| inside(variable.group()));
        for variable in &mut self.view.variables {
            variable.path = shortened(&variable.path);
        }
        self.view.groups.retain(|group| inside(&group.path));
        for group in &mut self.view.groups {
            group.path = shortened(&group.path);
            if group.path == "/" {
                group.dimensions.clone_from(&above);
            }
        }
    }

    /// Variables of all groups in the root. Dimensions that a group declares get its name as its variables do, so that
    /// coordinates stay coordinates; so do its attributes.
    pub(super) fn flatten(&mut self, separator: &str) -> Result<(), Failure> {
        let flat = |path: &str| path.trim_start_matches('/').replace('/', separator);
        // Dimensions first, group by group, while paths still say who sees which.
        let groups: Vec<Group> = self.view.groups.clone();
        for group in groups.iter().filter(|group| group.path != "/").rev() {
            for dimension in &group.dimensions {
                let new = format!("{}{separator}{}", flat(&group.path), dimension.name);
                let in_scope = self.view.variables.iter_mut().filter(|one| names::sees(one.group(), &group.path));
                for name in in_scope.flat_map(|variable| &mut variable.dimensions) {
                    if *name == dimension.name {
                        name.clone_from(&new);
                    }
                }
            }
        }
        let paths: BTreeMap<String, String> =
            self.view.variables.iter().map(|one| (one.path.clone(), format!("/{}", flat(&one.path)))).collect();
        for to in paths.values() {
            if paths.values().filter(|other| *other == to).count() > 1 {
                let name = to.trim_start_matches('/').to_owned();
                let fault = StepFault::Taken { what: Thing::Variable, name };
                return Err(Failure { at: Default::default(), fault });
            }
        }
        rename::apply(self.view, &paths, &BTreeMap::new());
        let mut root = Group { path: "/".to_owned(), ..Group::default() };
        for group in groups {
            let prefix = flat(&group.path);
            let named = |name: String| if prefix.is_empty() { name } else { format!("{prefix}{separator}{name}") };
            root.attributes.0.extend(group.attributes.0.into_iter().map(|(name, value)| (named(name), value)));
            let dimensions = group.dimensions.into_iter();
            root.dimensions.extend(dimensions.map(|one| Dimension { name: named(one.name), ..one }));
        }
        self.view.groups = vec![root];
        Ok(())
    }
}
