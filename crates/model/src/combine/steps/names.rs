//! Which variables a name means, and the attributes in which variables name each other.

use crate::{
    attribute::{AttributeValue, Attributes},
    combine::view::{FileView, ViewVariable},
    recipe::check,
};

/// Attributes that name other variables which a variable needs (CF 1.11, section 1.2 and chapters 5 to 7).
pub(super) const NEEDS: [&str; 8] = [
    "coordinates",
    "bounds",
    "climatology",
    "grid_mapping",
    "cell_measures",
    "ancillary_variables",
    "formula_terms",
    "node_coordinates",
];

/// Attributes whose variables describe others: readers take them for coordinates.
pub(super) const DESCRIBES: [&str; 7] =
    ["coordinates", "bounds", "climatology", "grid_mapping", "cell_measures", "formula_terms", "node_coordinates"];

/// Attributes that name dimensions or coordinates, each followed by a colon or alone.
const NAMES_DIMENSIONS: [&str; 4] = ["cell_methods", "compress", "sample_dimension", "instance_dimension"];

/// Whether a path is meant by a name, where `*` and `?` stand for letters: `sst`, `/sst`, `ocean/sst`, `*_bounds`.
#[must_use]
pub fn is_named(path: &str, name: &str) -> bool {
    let path = path.trim_start_matches('/');
    if let Some(whole) = name.strip_prefix('/') {
        return check::matches(whole, path);
    }
    check::matches(name, path)
        || (!name.contains('/') && path.rsplit('/').next().is_some_and(|last| check::matches(name, last)))
}

/// Names of all variables, without the leading `/`.
pub(super) fn variables(view: &FileView) -> Vec<String> {
    view.variables.iter().map(|variable| variable.path.trim_start_matches('/').to_owned()).collect()
}

/// Names of all dimensions, each once.
pub(super) fn dimensions(view: &FileView) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in view.variables.iter().flat_map(|variable| &variable.dimensions) {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// The path of a name seen from a group.
pub(super) fn path_in(group: &str, name: &str) -> String {
    match name.strip_prefix('/') {
        Some(absolute) => format!("/{absolute}"),
        None if group == "/" => format!("/{name}"),
        None => format!("{group}/{name}"),
    }
}

/// Whether variables in `group` see what is in `holder`: it is the same group or a parent.
pub(super) fn sees(group: &str, holder: &str) -> bool {
    holder == "/" || group == holder || group.strip_prefix(holder).is_some_and(|rest| rest.starts_with('/'))
}

/// The names in an attribute that names variables.
pub(super) fn words(attributes: &Attributes, key: &str) -> Vec<String> {
    let Some(text) = attributes.text(key) else { return Vec::new() };
    text.split_whitespace().map(|word| word.trim_end_matches(':').to_owned()).collect()
}

/// Which variables are kept when these are wanted: they, and what they need.
pub(super) fn with_needs(view: &FileView, mut kept: Vec<bool>) -> Vec<bool> {
    loop {
        let wanted: Vec<(String, String)> = view
            .variables
            .iter()
            .zip(&kept)
            .filter(|(_, kept)| **kept)
            .flat_map(|(variable, _)| {
                let named = NEEDS.iter().flat_map(|key| words(&variable.attributes, key));
                let all: Vec<(String, String)> = named
                    .chain(variable.dimensions.iter().cloned())
                    .map(|name| (variable.group().to_owned(), name))
                    .collect();
                all
            })
            .collect();
        let mut grew = false;
        for (variable, kept) in view.variables.iter().zip(&mut kept) {
            if !*kept && wanted.iter().any(|(group, name)| is_meant(variable, group, name)) {
                *kept = true;
                grew = true;
            }
        }
        if !grew {
            return kept;
        }
    }
}

/// Whether `name`, written in an attribute in `group`, means this variable: there or in a parent.
pub(super) fn is_meant(variable: &ViewVariable, group: &str, name: &str) -> bool {
    if name.contains('/') {
        return path_in(group, name) == variable.path;
    }
    variable.name() == name && sees(group, variable.group())
}

/// For each variable, whether readers take it for a coordinate: it labels a dimension, or another names it.
pub(super) fn coordinates(view: &FileView) -> Vec<bool> {
    let mut named: Vec<(String, String)> = Vec::new();
    for variable in &view.variables {
        for key in DESCRIBES {
            named.extend(words(&variable.attributes, key).into_iter().map(|name| (variable.group().to_owned(), name)));
        }
    }
    for group in &view.groups {
        named.extend(words(&group.attributes, "coordinates").into_iter().map(|name| (group.path.clone(), name)));
    }
    view.variables
        .iter()
        .map(|variable| {
            variable.dimensions == [variable.name()]
                || named.iter().any(|(group, name)| is_meant(variable, group, name))
        })
        .collect()
}

/// Lets attributes follow names: `renamed` gives the new name of what `name`, seen from `group`, was.
pub(super) fn follow(view: &mut FileView, renamed: &dyn Fn(&str, &str) -> Option<String>) {
    let mend = |attributes: &mut Attributes, group: &str| {
        for key in NEEDS.iter().chain(&NAMES_DIMENSIONS) {
            let Some(text) = attributes.text(key) else { continue };
            // `area: cell_area` says what `cell_area` is; in these two the word before the colon is the name.
            let colon_names = NAMES_DIMENSIONS.contains(key) || *key == "grid_mapping";
            let words: Vec<String> = text
                .split_whitespace()
                .map(|word| {
                    let (name, colon) = word.strip_suffix(':').map_or((word, ""), |name| (name, ":"));
                    match renamed(group, name).filter(|_| colon.is_empty() || colon_names) {
                        Some(new) => format!("{new}{colon}"),
                        None => word.to_owned(),
                    }
                })
                .collect();
            let joined = words.join(" ");
            if text.split_whitespace().ne(joined.split_whitespace()) {
                attributes.set(key, AttributeValue::Text(joined));
            }
        }
    };
    for variable in &mut view.variables {
        let group = variable.group().to_owned();
        mend(&mut variable.attributes, &group);
    }
    for group in &mut view.groups {
        let path = group.path.clone();
        mend(&mut group.attributes, &path);
    }
}
