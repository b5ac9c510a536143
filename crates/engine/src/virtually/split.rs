//! Files that are alike, set apart from those that are not.

use frazil_model::{combine::view::FileView, packing::PACKING_ATTRIBUTES, references::without_checksum};

/// The numbers of files that decode alike, in the order of their first ones.
pub(crate) fn classes(views: &[FileView]) -> Vec<Vec<usize>> {
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

/// All that decides whether two files can be referenced as one.
fn signature(view: &FileView) -> String {
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
