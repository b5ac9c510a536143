//! `frazil convert`.

use std::sync::atomic::AtomicBool;

use frazil_engine::{
    EngineError,
    find::typed,
    index::IndexUse,
    make::{How, Stage, Watch, make},
    prepare::{Reissued, Request},
    progress::Progress,
    virtually::{VirtualRequest, make_virtual},
};
use frazil_model::{
    combine::policy::Policies,
    layout::{Growth, LayoutRequest},
    plan::Limits,
    problem::Exit,
    recipe::{Spanned, each::Step, span::Position, subset::Subset, virtually::VirtualWrite},
    report::{ErrorReport, Report},
};
use frazil_store::profile::located_to_write;
use serde_json::json;

use crate::{
    arguments::{Convert, Target},
    made,
    output::{Answer, Talk},
    progress, subsets,
};

pub fn run(words: &Convert, talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    if let Some(answer) = out_of_place(words) {
        return Ok(answer);
    }
    let request = request(words)?;
    let references = match words.to {
        Target::Zarr => None,
        Target::Virtual => Some(references(words)),
    };
    let result = made::Result::of(references.as_ref(), words.zarr_format);
    let how = if words.overwrite { How::Replace } else { How::Create };
    let stage = if words.dry_run { Stage::DryRun } else { Stage::All };
    let counters = Progress::default();
    let report = progress::shown(talk, &counters, || {
        let planned = |report: &Report| made::announce(report, result, "", talk);
        let watch = Watch { progress: &counters, stop, planned: &planned };
        match &references {
            None => make("convert", &request, (how, stage), watch),
            Some(write) => {
                let wanted = VirtualRequest { request: request.clone(), write: write.clone() };
                make_virtual("convert", &wanted, (how, stage), watch)
            }
        }
    })
    .map_err(made::with_resume_command)?;
    let text = made::text(&report, result, talk);
    Ok(Answer { report, text })
}

/// Words that mean nothing for what is written would be passed over without a word.
fn out_of_place(words: &Convert) -> Option<Answer> {
    let given = |is_given: bool, word: &'static str| is_given.then_some(word);
    let (word, of) = match words.to {
        Target::Virtual => (
            [
                given(words.chunks.is_some(), "--chunks"),
                given(words.shards.is_some(), "--shards"),
                given(words.codec.is_some(), "--codec"),
            ],
            "a Zarr store: references keep the chunks and codecs of the files",
        ),
        Target::Zarr => (
            [
                given(words.references.format.is_some(), "--format"),
                given(words.references.if_incompatible.is_some(), "--if-incompatible"),
                None,
            ],
            "references (`--to virtual`)",
        ),
    };
    let word = word.into_iter().flatten().next()?;
    let error = ErrorReport::new("usage.out-of-place", format!("`{word}` is of {of}"), Exit::Usage);
    Some(Answer::failed("convert", error.with_hint(&format!("leave out `{word}`"))))
}

/// How references are to be written.
fn references(words: &Convert) -> VirtualWrite {
    VirtualWrite {
        format: words.references.format.unwrap_or_default(),
        inline_below: words.references.inline,
        pin: words.references.pin,
        if_incompatible: words.references.if_incompatible.clone(),
        ..VirtualWrite::usual(Position::default())
    }
}

/// What the words ask for.
fn request(words: &Convert) -> Result<Request, EngineError> {
    let (sources, store) = words.sources_and_store();
    let target = located_to_write(store)?;
    let asked =
        Subset { names: words.vars.clone(), select: words.select.clone().unwrap_or_default(), bbox: words.bbox };
    let (sources, subset) = subsets::of(sources, asked)?;
    let found = typed(&sources, &target)?;
    let mut steps = Vec::new();
    if !words.drop.is_empty() {
        steps.push(Spanned::unplaced(Step::Drop(words.drop.iter().cloned().map(Spanned::unplaced).collect())));
    }
    steps.extend(subsets::steps(&subset));
    let policies = Policies {
        along: words.along.clone(),
        align: words.align.clone(),
        differ: words.differ,
        gaps: None,
        duplicates: words.duplicates,
        follows_store: false,
        ..Policies::default()
    };
    let select = (!subset.select.0.is_empty()).then_some(&subset.select);
    let mut recipe = json!({
        "along": words.along, "align": words.align, "differ": words.differ, "duplicates": words.duplicates,
        "vars": subset.names, "drop": words.drop, "select": select,
    });
    if let Some(bbox) = subset.bbox {
        recipe["bbox"] = json!(bbox);
    }
    Ok(Request {
        sources: found.into_iter().map(|found| (found.location, found.name)).collect(),
        steps,
        keys: Vec::new(),
        merge: None,
        absent: Vec::new(),
        expect: Vec::new(),
        policies,
        layout: LayoutRequest {
            format: words.zarr_format,
            chunks: words.chunks.clone(),
            shards: words.shards.clone().map(|shards| shards.0),
            codec: words.codec.clone().unwrap_or_default(),
            grows: Growth::Never,
        },
        target,
        limits: Limits { memory_bytes: words.limits.memory.0, n_threads: words.limits.n_threads() },
        recipe: recipe.to_string(),
        index: if words.no_index { IndexUse::Bypass } else { IndexUse::Use },
        reissued: Reissued::Refused,
    })
}
