//! The files as combining sees them: what the recipe does to each, and what cannot be read or written of it.
//!
//! It promises that whatever is left out is named with its reason, and that what was asked for by name is an error.

use std::collections::{BTreeMap, btree_map::Entry};

use frazil_model::{
    attribute::AttributeValue,
    combine::{
        Combined, MustEqual,
        derived::Origin,
        steps::{self, StepError, StepFault},
        view::FileView,
    },
    dtype::DataType,
    layout::TargetArray,
    recipe::{
        Spanned,
        each::{DimLabel, Step},
    },
};
use serde::Serialize;

use crate::{
    derived::{held_view, whole_view},
    error::EngineError,
    identity::digest,
    prepare::Request,
    sinks::zarr::ZarrStore,
    source::{ChunkReader, Source},
};

/// Something that cannot be read, or has no place in Zarr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The file.
    pub file: String,
    /// Its path there.
    pub path: String,
    /// The attribute of it that is meant, if it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The reason.
    pub reason: String,
}

/// The files as combining sees them, without what cannot be read in one of them. What the steps make is added to the
/// sources.
pub(crate) fn views(
    sources: &mut [Source],
    request: &Request,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<FileView>, EngineError> {
    let view = |source: &Source| {
        FileView::of(&source.name, &source.decoded.dataset, &|number| source.values.get(&number).cloned())
    };
    let mut views: Vec<FileView> = sources.iter().map(view).collect();
    steps::apply_all(&mut views, &request.steps, &request.keys).map_err(|error| named_unread(sources, error))?;
    label_by_key(&mut views, request)?;
    for (source, view) in sources.iter_mut().zip(&mut views) {
        source.derived = std::mem::take(&mut view.derived);
    }
    // Nobody asked for the rest where variables were named.
    if !request.steps.iter().any(|step| matches!(step.value, Step::Keep(_))) {
        for source in sources.iter() {
            left_out.extend(source.decoded.dataset.unread.iter().map(|unread| LeftOut {
                file: source.name.clone(),
                path: unread.path.clone(),
                attribute: None,
                reason: unread.reason.clone(),
            }));
        }
    }
    for (source, view) in sources.iter().zip(&views) {
        left_out.extend(unread_attributes(source, view));
    }
    let is_wanted = |path: &str| {
        request.steps.iter().any(|step| match &step.value {
            Step::Keep(names) => names.iter().any(|name| !name.contains(['*', '?']) && steps::is_named(path, name)),
            _ => false,
        })
    };
    let mut gone: Vec<String> = Vec::new();
    for (source, view) in sources.iter().zip(&views) {
        for variable in &view.variables {
            let Err(problem) = check_readable(source, variable.source) else { continue };
            let EngineError::Unreadable { file, variable: path, reason } = problem else { return Err(problem) };
            // What is computed was asked for as well.
            if is_wanted(&path) || is_wanted(&variable.path) || is_made(source, variable.source) {
                return Err(EngineError::Unreadable { file, variable: path, reason });
            }
            gone.push(variable.path.clone());
            left_out.push(LeftOut { file, path, attribute: None, reason });
        }
    }
    for (source, view) in sources.iter().zip(&mut views) {
        view.variables.retain(|variable| !gone.contains(&variable.path));
        for group in view.groups.extract_if(.., |group| !can_be_key(&group.path)) {
            let (file, path) = (source.name.clone(), group.path);
            left_out.push(LeftOut { file, path, attribute: None, reason: NO_KEY.to_owned() });
        }
    }
    Ok(views)
}

/// Gives files a dimension that none of them has: its label is a key of each.
fn label_by_key(views: &mut [FileView], request: &Request) -> Result<(), EngineError> {
    for (dimension, key) in &request.policies.label_keys {
        let has_it = |view: &FileView| view.variables.iter().any(|one| one.axis_of(&dimension.value).is_some());
        if views.iter().any(has_it) {
            continue;
        }
        let label = Spanned::new(DimLabel::Key(key.value.clone()), key.at);
        let step = Spanned::new(Step::AddDim { dimension: dimension.clone(), label }, dimension.at);
        steps::apply_all(views, &[step], &request.keys)?;
    }
    Ok(())
}

/// A name that no file has may be there and not be readable: that is what to say then.
fn named_unread(sources: &[Source], error: StepError) -> EngineError {
    if let StepFault::Unknown { name, .. } = &error.fault {
        for source in sources {
            if let Some(unread) =
                source.decoded.dataset.unread.iter().find(|unread| steps::is_named(&unread.path, name))
            {
                return source.unreadable_as(&unread.path, &unread.reason);
            }
        }
    }
    error.into()
}

/// Attributes whose values have no place in JSON, or could not be read.
fn unread_attributes(source: &Source, view: &FileView) -> Vec<LeftOut> {
    let of_groups = view.groups.iter().map(|group| (&group.path, &group.attributes));
    let of_variables = view.variables.iter().map(|variable| (&variable.path, &variable.attributes));
    of_groups
        .chain(of_variables)
        .flat_map(|(path, attributes)| attributes.0.iter().map(move |(name, value)| (path, name, value)))
        .filter_map(|(path, name, value)| {
            let AttributeValue::Unread(kind) = value else { return None };
            let (file, path) = (source.name.clone(), path.clone());
            Some(LeftOut { file, path, attribute: Some(name.clone()), reason: kind.clone() })
        })
        .collect()
}

/// Whether a step of the recipe made this variable.
fn is_made(source: &Source, number: usize) -> bool {
    match source.derived(number) {
        Some(derived) => match &derived.origin {
            // The file itself is short; nobody asked for that.
            Origin::Padded { input, .. } => is_made(source, input.source),
            _ => true,
        },
        None => false,
    }
}

/// What no chunk reader can read.
fn check_readable(source: &Source, number: usize) -> Result<(), EngineError> {
    if let Some(derived) = source.derived(number) {
        return derived.inputs().into_iter().try_for_each(|input| check_readable(source, input));
    }
    let variable = source.variable(number);
    if let Some(store) = &source.store {
        store.check(number)?;
    }
    if let Some(reason) = frazil_formats::codecs::unreadable(&variable.codecs) {
        return Err(source.unreadable(number, &reason));
    }
    if !can_be_key(&variable.path) {
        return Err(source.unreadable(number, NO_KEY));
    }
    match &variable.dtype {
        DataType::Unsupported { kind, .. } => {
            Err(source.unreadable(number, &format!("{kind} values have no place in Zarr")))
        }
        DataType::String if !source.values.contains_key(&number) => {
            Err(source.unreadable(number, "its texts are damaged or too many"))
        }
        _ => match crate::others::unreadable(source, number) {
            Some(reason) => Err(source.unreadable(number, &reason)),
            // Where objects are is asked for when they are read.
            None if source.store.is_some() => Ok(()),
            None => source.chunk(number, 0).map(|_| ()),
        },
    }
}

const NO_SHARDS: &str = "it is in chunks and not in shards: zarr-python (3.1) reads no compounds in shards";

const NO_KEY: &str = "its name cannot be a key of a Zarr store";

/// Names of documents in stores of either version, and of frazil's own folder: a node called so would overwrite them.
const TAKEN: [&str; 6] = ["zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata", ".frazil"];

/// Whether a store can have a node at `path`.
fn can_be_key(path: &str) -> bool {
    let is_taken = |part: &str| part == "." || part == ".." || TAKEN.contains(&part);
    !path.contains(['\\', '\0']) && !path.split('/').any(is_taken)
}

/// Takes out arrays whose type has no name in the format.
pub(crate) fn leave_out_untyped(
    request: &Request,
    combined: &mut Combined,
    targets: &mut Vec<TargetArray>,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), EngineError> {
    let mut number = 0;
    while number < targets.len() {
        let store = ZarrStore::new(request.layout.format, Vec::new(), &targets[number..=number]);
        match store.documents() {
            Ok(_) => {
                combined.notes.extend(store.notes());
                if request.layout.shards.is_some() && matches!(targets[number].dtype, DataType::Record(_)) {
                    combined.notes.push((targets[number].path.clone(), NO_SHARDS.to_owned()));
                }
                number += 1;
            }
            Err(EngineError::NoZarrType { variable, reason, .. }) => {
                let file = request.sources.first().map(|(_, name)| name.clone()).unwrap_or_default();
                left_out.push(LeftOut { file, path: variable, attribute: None, reason });
                targets.remove(number);
                combined.variables.remove(number);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Compares large variables that must be the same in every file.
pub(crate) fn check_equal(combined: &Combined, sources: &[Source]) -> Result<(), EngineError> {
    let mut known: BTreeMap<(usize, &str), String> = BTreeMap::new();
    let mut reader = ChunkReader::default();
    for MustEqual { path, along, first, other } in &combined.must_equal {
        for (file, view) in [first, other] {
            if let Entry::Vacant(unknown) = known.entry((*file, path)) {
                let elements = match held_view(&sources[*file], view)? {
                    Some(held) => held,
                    None => whole_view(&mut reader, &sources[*file], view)?,
                };
                unknown.insert(digest(&elements));
            }
        }
        if known.get(&(first.0, path)) != known.get(&(other.0, path)) {
            return Err(EngineError::StaticDiffers {
                variable: path.clone(),
                along: along.clone(),
                file: sources[other.0].name.clone(),
                first_file: sources[first.0].name.clone(),
            });
        }
    }
    Ok(())
}
