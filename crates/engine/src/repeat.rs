//! The request by which a store was made, made again: from its receipt, or from its recipe.
//!
//! It promises to ask for the same values; how the store is cut and packed is of no concern here. What the receipt alone
//! cannot say again, and a recipe that is not what it was, are errors.

use std::path::Path;

use frazil_model::{
    combine::{
        labels::labels_of,
        policy::{Align, Differ, Duplicates, Policies},
        steps::selection,
        view::FileView,
    },
    layout::{Growth, LayoutRequest},
    location::Location,
    plan::Limits,
    recipe::{
        self, Recipe, Spanned,
        each::Step,
        spec::{CodecSpec, Selection},
        subset::Bbox,
        write::ZarrFormat,
    },
};
use frazil_store::folder::Folder;
use serde::Deserialize;

use crate::{
    build::{self, Product, Running},
    error::EngineError,
    find::Pick,
    index::{IndexUse, look},
    prepare::{Reissued, Request},
    receipt::Receipt,
    recorded::other_names,
    scan::Load,
    store_source,
};

/// What the receipt remembers of the decisions about files that differ.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    along: Option<String>,
    align: Align,
    differ: Differ,
    duplicates: Duplicates,
    vars: Vec<String>,
    drop: Vec<String>,
    select: Option<Selection>,
    bbox: Option<Bbox>,
}

impl Asked {
    /// Reads what `convert` or `build` put into the receipt.
    fn of(request: &str) -> Self {
        let (value, select) = read_request(request);
        match value.pointer("/means/combine") {
            Some(combine) => Self {
                align: serde_json::from_value(combine["align"].clone()).unwrap_or_default(),
                differ: serde_json::from_value(combine["differ"].clone()).unwrap_or_default(),
                duplicates: serde_json::from_value(combine["duplicates"].clone()).unwrap_or_default(),
                select,
                ..Self::default()
            },
            None => serde_json::from_value(value).unwrap_or_default(),
        }
    }
}

/// The request of a receipt, and the selection that was typed behind a recipe.
fn read_request(request: &str) -> (serde_json::Value, Option<Selection>) {
    let mut values = serde_json::Deserializer::from_str(request).into_iter::<serde_json::Value>();
    let first = values.next().and_then(Result::ok).unwrap_or_default();
    let second = values.next().and_then(Result::ok);
    (first, second.and_then(|value| serde_json::from_value(value).ok()))
}

/// Whether something was decided or done to each file that only the recipe can repeat.
#[must_use]
pub fn needs_recipe(receipt: &Receipt) -> bool {
    let (request, _) = read_request(&receipt.request);
    let Some(means) = request.get("means") else { return false };
    let is_empty = |path: &str| means.pointer(path).and_then(serde_json::Value::as_array).is_none_or(Vec::is_empty);
    let along = means.pointer("/combine/along").and_then(serde_json::Value::as_array);
    let is_plain = along.is_none_or(|along| along.len() <= 1 && along.iter().all(|one| one["key"].is_null()));
    let sources = means.get("sources").and_then(serde_json::Value::as_array);
    let fills = sources.is_some_and(|all| all.iter().any(|source| source["missing"] == "Fill"));
    !is_empty("/each") || !is_plain || fills
}

/// The request by which a recipe joins the sources again as they were for the store at `root`.
///
/// Files that the recipe finds and the receipt does not name are left out: they came later, or the build was a pruned
/// one. The second answer is how many.
///
/// # Errors
/// [`EngineError::OtherRecipe`] if the store was made by another recipe; otherwise as for building.
pub fn request_of_recipe(
    root: &Folder,
    receipt: &Receipt,
    recipes: &[Recipe],
    folder: &Path,
    limits: Limits,
) -> Result<(Request, usize), EngineError> {
    let (then, selection) = read_request(&receipt.request);
    let other = |what: String| EngineError::OtherRecipe { place: root.location(), what };
    let id = then.pointer("/means/id").and_then(serde_json::Value::as_str);
    let id = id.ok_or_else(|| other("it was made by `convert`, without a recipe".into()))?;
    let recipe = recipes.iter().find(|recipe| recipe.id.value == id);
    let recipe = recipe.ok_or_else(|| other(format!("it was made by recipe `{id}`, which is not there")))?;
    let now: serde_json::Value = serde_json::from_str(&recipe::canonical(recipe)).unwrap_or_default();
    for part in ["each", "combine"] {
        let path = format!("/means/{part}");
        if now.pointer(&path) != then.pointer(&path) {
            return Err(other(format!("`{part}` of recipe `{id}` is not what it was")));
        }
    }
    let running = Running {
        folder: folder.to_owned(),
        target: root.location(),
        pick: Pick::All,
        selection,
        limits,
        index: IndexUse::Bypass,
        reissued: Reissued::Refused,
        product: Product::Store,
    };
    let (mut request, _, _) = build::request(recipe, &running)?;
    let files: Vec<(&Location, &str)> = request.sources.iter().map(|(place, name)| (place, name.as_str())).collect();
    let mut identity = |number: usize| {
        let (location, name) = files[number];
        let source = look(location, name, Load::SmallValues, limits.memory_bytes, IndexUse::Bypass)?;
        Ok((source.fingerprint.size_bytes, source.structure()))
    };
    for (number, name) in other_names(receipt, &files, &mut identity, &mut |_| Ok(false))? {
        request.sources[number].1 = name;
    }
    let is_named = |(_, name): &(Location, String)| receipt.sources.iter().any(|record| record.name == *name);
    let n_found = request.sources.len();
    let (sources, keys): (Vec<_>, Vec<_>) = std::mem::take(&mut request.sources)
        .into_iter()
        .zip(std::mem::take(&mut request.keys))
        .filter(|(source, _)| is_named(source))
        .unzip();
    let n_others = n_found - sources.len();
    (request.sources, request.keys) = (sources, keys);
    request.layout.format = format_of(root)?;
    request.policies.descends = descends(root, request.policies.along.as_deref());
    Ok((request, n_others))
}

/// Whether the labels of a store fall: one that grew has the order that it began with. Nothing of what cannot be read.
fn descends(root: &Folder, along: Option<&str>) -> Option<bool> {
    let (store, _) = store_source::open(root).ok()?;
    let view = FileView::of(&store.name, &store.decoded.dataset, &|number| store.values.get(&number).cloned());
    let labels = labels_of(&view, along?).ok()??;
    (labels.len() > 1).then(|| labels.first() > labels.last())
}

fn format_of(root: &Folder) -> Result<ZarrFormat, EngineError> {
    Ok(if root.exists(".zgroup")? { ZarrFormat::V2 } else { ZarrFormat::V3 })
}

/// The request by which the sources are joined again as they were for the store.
///
/// How the store is cut and packed is of no concern here: only values are compared.
///
/// # Errors
/// If the store cannot be looked at.
pub fn request(
    root: &Folder,
    receipt: &Receipt,
    sources: Vec<(Location, String)>,
    limits: Limits,
) -> Result<Request, EngineError> {
    let mut made = request_of(&receipt.request, &root.location(), sources, limits)?;
    if made.policies.along.is_none() {
        made.policies.along.clone_from(&receipt.along);
    }
    made.layout.format = format_of(root)?;
    made.policies.descends = descends(root, made.policies.along.as_deref());
    Ok(made)
}

/// The request that a text of a receipt means, for what lies at `target`.
pub(crate) fn request_of(
    text: &str,
    target: &Location,
    sources: Vec<(Location, String)>,
    limits: Limits,
) -> Result<Request, EngineError> {
    let asked = Asked::of(text);
    let along = asked.along;
    let names = [(asked.vars, Step::Keep as fn(_) -> _), (asked.drop, Step::Drop)];
    let mut steps: Vec<Spanned<Step>> = names
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, step)| Spanned::unplaced(step(names.into_iter().map(Spanned::unplaced).collect())))
        .collect();
    steps.extend(asked.select.as_ref().and_then(selection));
    steps.extend(asked.bbox.map(|bbox| Spanned::unplaced(Step::Bbox(bbox))));
    Ok(Request {
        sources,
        steps,
        keys: Vec::new(),
        merge: None,
        absent: Vec::new(),
        expect: Vec::new(),
        policies: Policies {
            along,
            align: asked.align,
            differ: asked.differ,
            duplicates: asked.duplicates,
            ..Policies::default()
        },
        layout: LayoutRequest {
            format: ZarrFormat::default(),
            chunks: None,
            shards: None,
            codec: CodecSpec::default(),
            grows: Growth::Never,
        },
        target: target.clone(),
        limits,
        recipe: text.to_owned(),
        // A verifier believes nothing that was noted before.
        index: IndexUse::Bypass,
        reissued: Reissued::Refused,
    })
}
