//! What is done to a file's view before files are joined.

use frazil_model::combine::view::FileView;

use crate::prepare::FileStep;

/// Attributes that name other variables which a variable needs (CF 1.11, section 1.2 and chapters 5 to 7).
const NEEDS: [&str; 8] = [
    "coordinates",
    "bounds",
    "climatology",
    "grid_mapping",
    "cell_measures",
    "ancillary_variables",
    "formula_terms",
    "node_coordinates",
];

/// Applies a step.
pub fn apply(view: &mut FileView, step: &FileStep) {
    match step {
        FileStep::Keep(names) => keep(view, names),
        FileStep::Drop(names) => {
            view.variables.retain(|variable| !names.iter().any(|name| is_named(&variable.path, name)))
        }
    }
}

/// Whether a path is meant by a name: `sst`, `/sst`, `ocean/sst`.
pub(crate) fn is_named(path: &str, name: &str) -> bool {
    let name = name.trim_start_matches('/');
    path.trim_start_matches('/') == name || (!name.contains('/') && path.rsplit('/').next() == Some(name))
}

/// Keeps the named variables and what they need: coordinates, bounds, grid mapping, cell measures.
fn keep(view: &mut FileView, names: &[String]) {
    let mut kept: Vec<bool> =
        view.variables.iter().map(|variable| names.iter().any(|name| is_named(&variable.path, name))).collect();
    loop {
        let wanted: Vec<String> = view
            .variables
            .iter()
            .zip(&kept)
            .filter(|(_, kept)| **kept)
            .flat_map(|(variable, _)| {
                let named = NEEDS.iter().filter_map(|key| variable.attributes.text(key));
                let words =
                    named.flat_map(|text| text.split_whitespace().map(|word| word.trim_end_matches(':').to_owned()));
                words.chain(variable.dimensions.iter().cloned()).collect::<Vec<_>>()
            })
            .collect();
        let mut grew = false;
        for (variable, kept) in view.variables.iter().zip(&mut kept) {
            if !*kept && wanted.iter().any(|name| is_named(&variable.path, name)) {
                *kept = true;
                grew = true;
            }
        }
        if !grew {
            break;
        }
    }
    let mut kept = kept.into_iter();
    view.variables.retain(|_| kept.next().unwrap_or(false));
}
