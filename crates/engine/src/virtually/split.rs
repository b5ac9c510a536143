//! Files that are alike, set apart from those that are not.

use std::collections::BTreeSet;

use frazil_model::{
    combine::{
        error::CombineError,
        labels::time_units,
        view::{FileView, ViewVariable},
    },
    packing::PACKING_ATTRIBUTES,
    recipe::virtually::IfIncompatible,
    references::without_checksum,
};

use super::make::{Part, VirtualRequest, layout, part};
use crate::{
    error::EngineError,
    identity::digest,
    prepare::{Request, SmallData, joined_of},
    source::Source,
    views::views,
};

/// Plans a dataset in parts, each of files that are alike; `None` if all are.
pub(super) fn split(
    wanted: &VirtualRequest,
    request: &Request,
    mut sources: Vec<Source>,
) -> Result<Option<Vec<Part>>, EngineError> {
    let mut request = request.clone();
    request.layout = layout(wanted.write.format);
    request.policies.differ = wanted.request.policies.differ;
    request.policies.keeps_counts = true;
    let views = views(&mut sources, &request, &mut Vec::new())?;
    let small = SmallData::InFiles { above_bytes: wanted.write.inline_below.0 };
    let in_class = |(number, class): (usize, &Vec<usize>)| {
        let (own, sources) = of_class(&request, (&sources, &views), class);
        part(wanted, &own, joined_of(&own, sources, small)?, era(number))
    };
    let mut parts = None;
    for classes in classes(&views, &request).iter().filter(|classes| classes.len() > 1) {
        parts = Some(classes.iter().enumerate().map(in_class).collect());
        if matches!(parts, Some(Ok(_))) {
            break;
        }
    }
    parts.transpose()
}

/// The group of files of one kind.
pub(super) fn era(number: usize) -> String {
    format!("/era-{}", number + 1)
}

/// A request for the files of one class alone, and these.
pub(super) fn of_class(
    request: &Request,
    (sources, views): (&[Source], &[FileView]),
    class: &[usize],
) -> (Request, Vec<Source>) {
    let mut own = request.clone();
    own.sources = class.iter().map(|number| request.sources[*number].clone()).collect();
    own.keys = class.iter().filter_map(|number| request.keys.get(*number).cloned()).collect();
    // What is said of a dimension is said to the files that have it.
    let all = class.iter().flat_map(|number| &views[*number].variables);
    let has: BTreeSet<&String> = all.flat_map(|variable| &variable.dimensions).collect();
    own.policies.align.dimensions.retain(|(name, _)| has.contains(&name.value));
    (own, class.iter().map(|number| sources[*number].clone()).collect())
}

/// Whether files that are set apart could do what all together cannot, and may be.
pub(super) fn can_split(wanted: &VirtualRequest, error: &EngineError) -> bool {
    let is_difference = match error {
        EngineError::NotReferable { .. } | EngineError::Value { .. } => true,
        // Files that are told apart by a key belong together: what one lacks is in a file that is not there.
        EngineError::Combine(CombineError::Absent { .. }) => wanted.request.merge.is_none(),
        EngineError::Combine(error) => is_difference(error),
        _ => false,
    };
    wanted.write.allows(IfIncompatible::Split) && is_difference
}

/// Whether files cannot be joined for what they are, and not for what was asked of them or for what is not there.
const fn is_difference(error: &CombineError) -> bool {
    match error {
        CombineError::NoFiles
        | CombineError::NoDimension { .. }
        | CombineError::NoLabels { .. }
        | CombineError::AbsentLabels { .. }
        | CombineError::Uncovered { .. }
        | CombineError::Gap { .. }
        | CombineError::NotYet { .. } => false,
        CombineError::Differs { .. }
        | CombineError::Absent { .. }
        | CombineError::Static { .. }
        | CombineError::Coordinate { .. }
        | CombineError::Duplicate { .. }
        | CombineError::Ambiguous { .. }
        | CombineError::NothingGrows { .. }
        | CombineError::GroupLabels { .. }
        | CombineError::Labels { .. }
        | CombineError::TimeInexact { .. }
        | CombineError::Unwritable { .. }
        | CombineError::TooLarge { .. } => true,
    }
}

/// The numbers of files that decode alike, in the order of their first ones: as few classes as the form of chunks asks for,
/// and then those whose labels are the same, too, but for labels along the dimensions that grow.
pub(super) fn classes(views: &[FileView], request: &Request) -> [Vec<Vec<usize>>; 2] {
    let policies = &request.policies;
    let along: Vec<&str> = policies.along.iter().chain(&policies.also_along).map(String::as_str).collect();
    let coarse = alike(views, &form);
    let fine = alike(views, &|view| format!("{}\n{}", form(view), labels(view, &along)));
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
