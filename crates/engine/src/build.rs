//! From a recipe to the request that makes its store.

use std::path::PathBuf;

use frazil_model::{
    combine::{absent::Absent, error::CombineError, policy::Policies, steps::selection},
    dataset::Role,
    layout::{Growth, LayoutRequest},
    location::Location,
    plan::Limits,
    recipe::{
        self, Recipe, Spanned,
        combine::Merge,
        expect::Expectation,
        source::Missing,
        spec::Selection,
        virtually::VirtualFormat,
        write::{Mode, Write},
    },
};

use frazil_store::profile::{located, located_to_write};

use crate::{
    error::EngineError,
    find::{self, Gone, Pick},
    index::{IndexUse, look},
    make::How,
    prepare::{Reissued, Request},
    scan::Load,
};

/// How a recipe is run.
#[derive(Debug, Clone)]
pub struct Running {
    /// The folder that relative paths of the recipe lie in.
    pub folder: PathBuf,
    /// Where the store is written.
    pub target: Location,
    /// Which files are taken.
    pub pick: Pick,
    /// What is taken of the files besides.
    pub selection: Option<Selection>,
    /// Memory and threads.
    pub limits: Limits,
    /// Whether what earlier runs noted about files may be used.
    pub index: IndexUse,
    /// What to do about files that changed since they were added to a store that is extended.
    pub reissued: Reissued,
    /// Which of the recipe's results is made.
    pub product: Product,
}

/// Which of a recipe's results is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// The one that it writes.
    AsWritten,
    /// The store that it makes when it is asked for.
    Store,
}

/// What a recipe asks for, and the places of files that are not there and need not be.
///
/// The names that the author wrote are checked against the first file.
///
/// # Errors
/// If a file is not there, or a name is not in the files.
pub fn request(recipe: &Recipe, running: &Running) -> Result<(Request, How, Vec<Gone>), EngineError> {
    let files = find::find(&recipe.sources, &running.folder, running.pick)?;
    if let Some(first) = files.found.first() {
        let source = look(&first.location, &first.name, Load::Nothing, running.limits.memory_bytes, running.index)?;
        let dataset = &source.decoded.dataset;
        let visible = dataset.variables.iter().filter(|variable| variable.role == Role::Variable);
        let variables: Vec<String> = visible.map(|variable| variable.path.clone()).collect();
        let mut dimensions: Vec<String> =
            dataset.variables.iter().flat_map(|variable| variable.dimensions.clone()).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        if let Some(wrong) = recipe::check_names(recipe, &variables, &dimensions).into_iter().next() {
            return Err(EngineError::Names { problem: wrong, file: first.name.clone() });
        }
    }
    let zarr = match (&recipe.write, running.product) {
        (Write::Virtual(_), Product::AsWritten) => None,
        (write, _) => Some(write.zarr().ok_or_else(|| EngineError::NoStore { id: recipe.id.value.clone() })?),
    };
    let how = match zarr.map_or(recipe.write.mode(), |zarr| zarr.mode) {
        Mode::Create => How::Create,
        Mode::Extend => How::Extend,
        Mode::Replace => How::Replace,
    };
    if how != How::Extend && running.reissued == Reissued::Revised {
        return Err(EngineError::NotExtending { recipe: recipe.id.value.clone() });
    }
    let combine = &recipe.combine;
    let (filled, skipped): (Vec<Gone>, Vec<Gone>) =
        files.absent.into_iter().partition(|gone| gone.missing == Missing::Fill);
    if how == How::Extend {
        let what = match (combine.along.get(1), filled.is_empty()) {
            (Some(second), _) => format!("extending along a second dimension (`{}`)", second.dimension.value),
            (None, false) => "extending with `missing: fill`".to_owned(),
            (None, true) => String::new(),
        };
        if !what.is_empty() {
            return Err(CombineError::NotYet { what }.into());
        }
    }
    let request = Request {
        sources: files.found.iter().map(|found| (found.location.clone(), found.name.clone())).collect(),
        steps: recipe.each.iter().cloned().chain(running.selection.as_ref().and_then(selection)).collect(),
        keys: files.found.into_iter().map(|found| found.keys).collect(),
        expect: expectations(recipe, running.pick),
        merge: match &combine.merge {
            Some(Merge::Key(key)) => Some(key.value.clone()),
            _ => None,
        },
        absent: filled.iter().map(|gone| Absent { place: gone.place.clone(), keys: gone.keys.clone() }).collect(),
        policies: Policies {
            also_along: combine.along.iter().skip(1).map(|along| along.dimension.value.clone()).collect(),
            label_keys: combine
                .along
                .iter()
                .filter_map(|along| Some((along.dimension.clone(), along.key.clone()?)))
                .collect(),
            fillable: Vec::new(),
            along: combine.along.first().map(|along| along.dimension.value.clone()),
            align: combine.align.clone(),
            differ: combine.differ,
            gaps: combine.gaps.clone(),
            duplicates: combine.duplicates,
            follows_store: false,
            descends: None,
            keeps_counts: false,
            differ_is_unasked: false,
        },
        layout: LayoutRequest {
            format: zarr.map(|zarr| zarr.format).unwrap_or_default(),
            chunks: zarr.map(|zarr| zarr.chunks.clone()),
            shards: zarr.and_then(|zarr| zarr.shards.clone()),
            codec: zarr.map(|zarr| zarr.codec.clone()).unwrap_or_default(),
            grows: if how == How::Extend { Growth::Extended } else { Growth::Never },
        },
        target: running.target.clone(),
        limits: running.limits,
        recipe: match &running.selection {
            Some(selection) => format!("{} {}", recipe::canonical(recipe), serde_json::json!(selection)),
            None => recipe::canonical(recipe),
        },
        index: running.index,
        reissued: running.reissued,
    };
    Ok((request, how, skipped.into_iter().chain(filled).collect()))
}

/// What must hold. Lengths and gaps are those of all files, so a pruned run does not promise them.
fn expectations(recipe: &Recipe, pick: Pick) -> Vec<Spanned<Expectation>> {
    let of_all =
        |expected: &&Spanned<Expectation>| matches!(expected.value, Expectation::Dims(_) | Expectation::Gaps(..));
    let is_pruned = pick != Pick::All;
    recipe.expect.iter().filter(|expected| !is_pruned || !of_all(expected)).cloned().collect()
}

/// What the name of a result ends with, where the author names only its folder.
#[must_use]
pub const fn ending(recipe: &Recipe, product: Product) -> &'static str {
    match (&recipe.write, product) {
        (Write::Virtual(write), Product::AsWritten) => match write.format {
            VirtualFormat::Icechunk => "icechunk",
            VirtualFormat::KerchunkJson => "json",
            VirtualFormat::KerchunkParquet => "parq",
        },
        _ => "zarr",
    }
}

/// Where the store of recipe `id` goes. `TO/` and several recipes mean a folder of stores, `TO` the store itself.
///
/// # Errors
/// If `to` is no place.
pub fn target(to: Option<&str>, id: &str, n_recipes: usize, ending: &str) -> Result<Location, EngineError> {
    let file = format!("{id}.{ending}");
    // `NAME:` of an alias is a folder of a bucket; else a path may end so.
    let is_alias = |to: &str| to.ends_with(':') && matches!(located(to), Ok(Location::Object(_)));
    Ok(located_to_write(&match to {
        None => file,
        Some(to) if to.ends_with('/') || is_alias(to) => format!("{to}{file}"),
        Some(to) if n_recipes > 1 => format!("{to}/{file}"),
        Some(to) => to.to_owned(),
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_means_inside() {
        let check = |to, n_recipes, expected: &str| {
            assert_eq!(target(to, "sst", n_recipes, "zarr").unwrap().to_string(), expected);
        };
        check(Some("out"), 1, "out");
        check(Some("out/"), 1, "out/sst.zarr");
        check(Some("out"), 2, "out/sst.zarr");
        check(None, 1, "sst.zarr");
        check(Some("s3://bucket/"), 1, "s3://bucket/sst.zarr");
        check(Some("s3://bucket/out"), 1, "s3://bucket/out");
        check(Some("s3://bucket/out"), 2, "s3://bucket/out/sst.zarr");
    }
}
