//! Parts of datasets, named behind a question mark: `STORE?sst&time=2000/2010&bbox=-30,40,10,60`.

use std::{path::Path, sync::atomic::AtomicBool};

use frazil_engine::{
    EngineError,
    find::typed,
    index::IndexUse,
    make::{How, Stage, Watch, make},
    prepare::{Reissued, Request},
    progress::Progress,
    store_source,
};
use frazil_model::{
    combine::{policy::Policies, steps::selection},
    layout::{Growth, LayoutRequest},
    location::Location,
    plan::Limits,
    recipe::{
        Spanned,
        each::Step,
        spec::CodecSpec,
        subset::{Subset, split},
    },
    report::Report,
};
use frazil_store::profile::located_to_write;
use serde_json::json;

use crate::{
    arguments::{Cp, n_threads},
    made,
    output::{Answer, Talk},
    progress,
};

/// Memory of a run that nobody gave a figure for.
const MEMORY_BYTES: u64 = 2_000_000_000;

fn is_there(text: &str) -> bool {
    Path::new(text).symlink_metadata().is_ok()
}

/// Whether any of the sources among `places` has a part named behind it.
pub fn are_asked_for(places: &[String]) -> bool {
    let sources = places.split_last().map_or(&[][..], |(_, sources)| sources);
    sources.iter().any(|text| split(text, &is_there).is_some())
}

/// The places without what stands behind their question marks, and the part that is meant: the same of all of them,
/// together with what `asked` says.
pub fn of(texts: &[String], asked: Subset) -> Result<(Vec<String>, Subset), EngineError> {
    let (mut places, mut meant) = (Vec::new(), None::<(String, Subset)>);
    for text in texts {
        let refused = |reason: String| EngineError::Subset { text: text.clone(), reason };
        let Some((place, part)) = split(text, &is_there) else {
            places.push(text.clone());
            continue;
        };
        let subset: Subset = part.parse().map_err(|fault: frazil_model::recipe::Fault| refused(fault.to_string()))?;
        places.push(place.to_owned());
        match &meant {
            Some((_, known)) if *known != subset => {
                return Err(refused("each source names another part; only the same part of all can be taken".into()));
            }
            _ => meant = Some((text.clone(), subset)),
        }
    }
    let Some((text, part)) = meant else { return Ok((places, asked)) };
    let is_twice = (!part.names.is_empty() && !asked.names.is_empty())
        || (part.bbox.is_some() && asked.bbox.is_some())
        || part.select.0.iter().any(|(name, _)| asked.select.0.iter().any(|(known, _)| known.value == name.value));
    if is_twice {
        let reason = "an option says the same thing; say it once".to_owned();
        return Err(EngineError::Subset { text, reason });
    }
    let mut whole = asked;
    whole.names.extend(part.names);
    whole.select.0.extend(part.select.0);
    whole.select.0.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    whole.bbox = whole.bbox.or(part.bbox);
    Ok((places, whole))
}

/// What is done to each file for it.
pub fn steps(subset: &Subset) -> Vec<Spanned<Step>> {
    let mut steps = Vec::new();
    if !subset.names.is_empty() {
        steps.push(Spanned::unplaced(Step::Keep(subset.names.iter().cloned().map(Spanned::unplaced).collect())));
    }
    steps.extend(selection(&subset.select));
    steps.extend(subset.bbox.map(|bbox| Spanned::unplaced(Step::Bbox(bbox))));
    steps
}

/// `frazil cp` of a part: a store of it, cut and packed as its source is.
pub fn cp(words: &Cp, talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    let request = request(words)?;
    let how = if words.overwrite { How::Replace } else { How::Create };
    let stage = if words.dry_run { Stage::DryRun } else { Stage::All };
    let (format, counters) = (request.layout.format, Progress::default());
    let report = progress::shown(talk, &counters, || {
        let planned = |report: &Report| made::announce(report, made::Result::Zarr(format), "", talk);
        make("cp", &request, (how, stage), Watch { progress: &counters, stop, planned: &planned })
    })
    .map_err(made::with_resume_command)?;
    let text = made::text(&report, made::Result::Zarr(format), talk);
    Ok(Answer { report, text })
}

fn request(words: &Cp) -> Result<Request, EngineError> {
    let (dest, sources) = words.places.split_last().map_or(("", &[][..]), |(dest, all)| (dest.as_str(), all));
    let (places, subset) = of(sources, Subset::default())?;
    if places.len() > 1 {
        let reason = "one source at a time is copied in part; `frazil convert` joins several".to_owned();
        return Err(EngineError::Subset { text: sources.join(" "), reason });
    }
    let target = located_to_write(&inside(dest, places.first().map(String::as_str).unwrap_or_default()))?;
    let found = typed(&places, &target)?;
    let first = found.first().map(|found| &found.location);
    let format = first.map(store_source::format_of).transpose()?.flatten().unwrap_or_default();
    let select = (!subset.select.0.is_empty()).then_some(&subset.select);
    let mut recipe = json!({"vars": subset.names, "select": select});
    if let Some(bbox) = subset.bbox {
        recipe["bbox"] = json!(bbox);
    }
    Ok(Request {
        sources: found.into_iter().map(|found| (found.location, found.name)).collect(),
        steps: steps(&subset),
        keys: Vec::new(),
        merge: None,
        absent: Vec::new(),
        expect: Vec::new(),
        policies: Policies::default(),
        layout: LayoutRequest { format, chunks: None, shards: None, codec: CodecSpec::Keep, grows: Growth::Never },
        target,
        limits: Limits { memory_bytes: MEMORY_BYTES, n_threads: n_threads(None) },
        recipe: recipe.to_string(),
        index: IndexUse::Use,
        reissued: Reissued::Refused,
    })
}

/// `B/` means inside B, under the source's own name.
fn inside(dest: &str, source: &str) -> String {
    if !dest.ends_with('/') {
        return dest.to_owned();
    }
    let location = Location::parse(source).ok();
    let name = location.as_ref().map(Location::file_name).unwrap_or("part");
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("{dest}{stem}.zarr")
}
