//! Files that are alike, set apart from those that are not.

use frazil_model::{
    combine::{
        labels::time_units,
        view::{FileView, ViewVariable},
    },
    packing::PACKING_ATTRIBUTES,
    references::without_checksum,
};

use crate::identity::digest;

/// The numbers of files that decode alike, in the order of their first ones: as few classes as the form of chunks asks for,
/// and then those whose labels are the same, too, but for labels along the dimensions that grow.
pub(crate) fn classes(views: &[FileView], along: &[&str]) -> [Vec<Vec<usize>>; 2] {
    let coarse = alike(views, &form);
    let fine = alike(views, &|view| format!("{}\n{}", form(view), labels(view, along)));
    [coarse, fine]
}

/// Files that give the same for `signature`.
fn alike(views: &[FileView], signature: &dyn Fn(&FileView) -> String) -> Vec<Vec<usize>> {
    let mut classes: Vec<(String, Vec<usize>)> = Vec::new();
    for (number, view) in views.iter().enumerate() {
        let signature = signature(view);
        match classes.iter_mut().find(|(known, _)| *known == signature) {
            Some((_, files)) => files.push(number),
            None => classes.push((signature, vec![number])),
        }
    }
    classes.into_iter().map(|(_, files)| files).collect()
}

/// The labels of dimensions that do not grow. Where nobody said which one grows, time does.
fn labels(view: &FileView, along: &[&str]) -> String {
    let grows = |variable: &ViewVariable| match along {
        [] => time_units(variable).is_some(),
        along => along.contains(&variable.name()),
    };
    let mut about: Vec<String> = view
        .variables
        .iter()
        .filter(|variable| variable.dimensions == [variable.name()] && !grows(variable))
        .map(|variable| digest(format!("{:?}", (&variable.path, &variable.shape, &variable.values)).as_bytes()))
        .collect();
    about.sort_unstable();
    about.concat()
}

/// All that decides whether chunks of two files can be referenced as one array.
fn form(view: &FileView) -> String {
    let mut variables: Vec<_> =
        view.variables.iter().filter(|variable| variable.dimensions != [variable.name()]).collect();
    variables.sort_by(|a, b| a.path.cmp(&b.path));
    let about = variables.iter().map(|variable| {
        let (chain, _) = without_checksum(&variable.codecs);
        let chunks = if variable.is_chunked { Some(&variable.chunk_shape) } else { None };
        let meaning =
            PACKING_ATTRIBUTES.iter().chain(&["_Unsigned", "units", "calendar", "standard_name", "cell_methods"]);
        let packing: Vec<String> = meaning.map(|name| format!("{:?}", variable.attributes.get(name))).collect();
        let chain = chain.normal_form(variable.dtype.swap_bytes());
        format!("{:?}", (&variable.path, &variable.dimensions, &variable.dtype, chunks, chain, packing))
    });
    about.collect::<Vec<_>>().join("\n")
}
