//! One store made, from request to Report: what `convert` and `build` have in common.

use std::{collections::BTreeSet, sync::atomic::AtomicBool, time::SystemTime};

use frazil_model::{
    attribute::AttributeValue,
    combine::{Combined, expect::sample_fraction},
    problem::Exit,
    report::{ErrorReport, Report},
};
use frazil_store::folder::Folder;
use serde_json::json;

use crate::{
    compare::compare,
    error::EngineError,
    expect,
    extend::{self, Ready},
    parts::{self, Part},
    prepare::{Prepared, Request, prepare, prepare_of, scanned},
    progress::Progress,
    publish::{self, Outcome, Standing, standing},
    receipt::Receipt,
    recorded,
    source::Source,
    verify::Verified,
    views::LeftOut,
};

/// What to do about a store that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// There must be none, or this one.
    Create,
    /// The new one takes its place.
    Replace,
    /// What is new is added.
    Extend,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To the finished store.
    All,
    /// Say what would be done.
    DryRun,
    /// Save the plan.
    PlanOnly,
    /// Do a part of a saved plan.
    Part(Part),
    /// Check all parts and show the store.
    Finish,
}

/// Who watches a run.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Counts what is done.
    pub progress: &'a Progress,
    /// Set when it is to end.
    pub stop: &'a AtomicBool,
    /// Hears the plan before anything is written.
    pub planned: &'a dyn Fn(&Report),
}

/// Makes a store and reports on it.
///
/// # Errors
/// Whatever stood in the way.
pub fn make(
    verb: &str,
    request: &Request,
    (how, stage): (How, Stage),
    watch: Watch<'_>,
) -> Result<Report, EngineError> {
    let mut report = Report::of(verb);
    report.more.insert("store".into(), json!(request.target.to_string()));
    if how == How::Extend && matches!(stage, Stage::All | Stage::DryRun) {
        return extended(report, request, stage, watch);
    }
    let mut prepared = match how {
        How::Create => prepare_as_recorded(request)?,
        How::Replace | How::Extend => prepare(request)?,
    };
    expect::check(&request.expect, &prepared)?;
    // Parts follow a plan that was checked when it was saved, and whose sources may not change.
    let is_checked = match stage {
        Stage::Part(_) | Stage::Finish => true,
        Stage::All => how == How::Create && is_made(request, &prepared)?,
        Stage::DryRun | Stage::PlanOnly => false,
    };
    if !is_checked {
        expect::check_values(&request.expect, &prepared, watch.stop)?;
    }
    tell(&mut report, &prepared);
    let said = |mut report: Report, outcome: &str| {
        report.more.insert("outcome".into(), json!(outcome));
        Ok(report)
    };
    let outcome = match stage {
        Stage::DryRun => {
            report.dry_run = true;
            let is_there = look(request, &prepared, how)? == Outcome::AlreadyThere;
            return said(report, if is_there { "already-there" } else { "planned" });
        }
        Stage::PlanOnly => match parts::plan_only(request, &prepared)? {
            Outcome::Written => return said(report, "plan-saved"),
            Outcome::AlreadyThere => return said(report, "already-there"),
        },
        Stage::Part(part) => {
            (watch.planned)(&report);
            parts::part(request, &prepared, part, watch.progress, watch.stop)?;
            return said(report, "part-done");
        }
        Stage::Finish => parts::finish(request, &prepared)?,
        Stage::All => {
            (watch.planned)(&report);
            match how {
                How::Replace => publish::replace(request, &prepared, watch.progress, watch.stop)?,
                _ => publish::create(request, &prepared, watch.progress, watch.stop)?,
            }
        }
    };
    finish(&mut report, outcome, watch.progress);
    tell_missing(&mut report, &prepared.sources);
    if let (Some(fraction), Outcome::Written) = (sample_fraction(&request.expect), outcome) {
        compare_sample(&mut report, request, &mut prepared, fraction, watch.stop)?;
    }
    Ok(report)
}

/// Scans, joins and plans, with the names that a store which may be there already has for these files.
fn prepare_as_recorded(request: &Request) -> Result<Prepared, EngineError> {
    let began = SystemTime::now();
    let mut sources = scanned(request)?;
    if let Ok(Some(receipt)) = Receipt::of(&Folder::at(&request.target)?) {
        recorded::rename(&mut sources, &receipt, &mut |_| Ok(false))?;
    }
    prepare_of(request, sources, began)
}

/// Adds what is new to a store, or makes it.
fn extended(mut report: Report, request: &Request, stage: Stage, watch: Watch<'_>) -> Result<Report, EngineError> {
    let mut ready = extend::prepare_extension(request)?;
    let prepared = match &ready {
        Ready::Create(prepared) => Some(&**prepared),
        Ready::Extend(extension) => Some(&extension.prepared),
        Ready::NothingNew => None,
    };
    if let Some(prepared) = prepared {
        tell(&mut report, prepared);
        expect::check(&request.expect, prepared)?;
        let is_there = matches!(ready, Ready::Create(_)) && is_made(request, prepared)?;
        if !is_there {
            expect::check_values(&request.expect, prepared, watch.stop)?;
        }
    }
    if stage == Stage::DryRun {
        report.dry_run = true;
        let outcome = if prepared.is_some() { "planned" } else { "nothing-new" };
        report.more.insert("outcome".into(), json!(outcome));
        return Ok(report);
    }
    if prepared.is_some() {
        (watch.planned)(&report);
    }
    let outcome = extend::extend(request, &ready, watch.progress, watch.stop)?;
    if let Ready::Create(prepared) = &ready {
        tell_missing(&mut report, &prepared.sources);
    } else if let Ready::Extend(extension) = &ready {
        tell_missing(&mut report, &extension.prepared.sources);
    }
    if matches!(&ready, Ready::Extend(extension) if !extension.prepared.revised.is_empty()) {
        // What was re-issued is in place; now what is new.
        ready = extend::prepare_extension(request)?;
        if let Ready::Extend(extension) = &ready {
            expect::check(&request.expect, &extension.prepared)?;
            expect::check_values(&request.expect, &extension.prepared, watch.stop)?;
            extend::extend(request, &ready, watch.progress, watch.stop)?;
        }
    }
    finish(&mut report, outcome, watch.progress);
    Ok(report)
}

/// Whether a store of this very plan is there: then nothing will be written, or its changed sources are refused.
fn is_made(request: &Request, prepared: &Prepared) -> Result<bool, EngineError> {
    let found = standing(&Folder::at(&request.target)?)?;
    Ok(matches!(found, Standing::Published(receipt) if receipt.plan == prepared.hash))
}

/// What a run would come to, or what would stand in its way.
fn look(request: &Request, prepared: &Prepared, how: How) -> Result<Outcome, EngineError> {
    let folder = Folder::at(&request.target)?;
    match how {
        How::Replace => publish::check_replaceable(request)?,
        _ if publish::is_made(prepared, &folder)? => return Ok(Outcome::AlreadyThere),
        _ => {}
    }
    Ok(Outcome::Written)
}

/// Compares a share of the store with the sources, read anew.
fn compare_sample(
    report: &mut Report,
    request: &Request,
    prepared: &mut Prepared,
    fraction: f64,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // a share of at most 1 gives a step of at least 1
    let step = (1.0 / fraction.clamp(1e-6, 1.0)) as usize;
    prepared.tasks = std::mem::take(&mut prepared.tasks).into_iter().step_by(step.max(1)).collect();
    let mut found = Verified::default();
    let n_values = compare(&Folder::at(&request.target)?, prepared, stop, &mut found)?;
    report.total("values_compared", n_values);
    if let Some(first) = found.problems.first() {
        let place =
            first.region.as_ref().or(first.array.as_ref()).or(first.source.as_ref()).cloned().unwrap_or_default();
        let message = format!("the store differs from its sources at {place}: {}", first.problem);
        report.fail(ErrorReport::new("expect.sample-equals-source", message, Exit::No));
    }
    Ok(())
}

/// What the plan says.
fn tell(report: &mut Report, prepared: &Prepared) {
    let summary = &prepared.summary;
    report.total("files", summary.n_files);
    report.total("arrays", summary.n_arrays);
    report.total("tasks", summary.n_tasks);
    report.total("units", summary.n_units);
    report.total("read_bytes", summary.read_bytes);
    report.total("decoded_bytes", summary.decoded_bytes);
    report.total("peak_memory_bytes", summary.peak_memory_bytes);
    report.total("decodes_per_chunk", summary.decodes_per_chunk);
    report.more.insert("plan".into(), json!(prepared.hash));
    for target in &prepared.targets {
        report.items.push(json!({
            "path": target.path, "shape": target.shape, "dtype": target.dtype.to_string(),
            "dimensions": target.dimensions, "chunks": target.chunk_shape, "shards": target.shard_shape,
            "codecs": crate::inspect::words::codec_words(&target.codecs, target.dtype.swap_bytes()),
        }));
    }
    for (path, note) in &prepared.combined.notes {
        report.warn("combine.note", format!("{path}: {note}"));
    }
    tell_attributes(report, &prepared.combined);
    tell_left_out(report, &prepared.left_out.iter().collect::<Vec<_>>());
}

/// Attributes that are not what all files say: files differ in them, or they are no text that Zarr can hold.
pub(crate) fn tell_attributes(report: &mut Report, combined: &Combined) {
    let dropped = listed(combined.dropped.iter().map(|one| (&one.path, &one.name)));
    if !dropped.is_empty() {
        let message = format!("files differ in {dropped}; these attributes were left out");
        report.warn("combine.dropped-attributes", message);
    }
    let of_groups = combined.groups.iter().map(|(path, attributes)| (path, attributes));
    let of_variables = combined.variables.iter().map(|variable| (&variable.path, &variable.attributes));
    let all = of_groups.chain(of_variables).flat_map(|(path, all)| all.0.iter().map(move |one| (path, one)));
    let marked = listed(all.filter(|(_, (_, value))| has_mark(value)).map(|(path, (name, _))| (path, name)));
    if !marked.is_empty() {
        let message = format!(
            "{marked} is not UTF-8 in the files: what could not be read stands as \u{FFFD} (`attrs` in a recipe sets it)"
        );
        report.warn("source.not-utf8", message);
    }
}

/// Attributes as `variable@name`, each once.
fn listed<'a>(attributes: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let names = attributes.map(|(path, name)| format!("{}@{name}", path.trim_start_matches('/')));
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Whether a text holds the mark of what is not UTF-8.
fn has_mark(value: &AttributeValue) -> bool {
    let is_marked = |text: &String| text.contains(char::REPLACEMENT_CHARACTER);
    match value {
        AttributeValue::Text(text) => is_marked(text),
        AttributeValue::Texts(texts) => texts.iter().any(is_marked),
        AttributeValue::Numbers(_) | AttributeValue::Unread(_) => false,
    }
}

/// What the files hold and the result will not.
pub(crate) fn tell_left_out(report: &mut Report, all: &[&LeftOut]) {
    for left_out in all {
        let mut item = json!({"source": left_out.file, "path": left_out.path, "unread": left_out.reason});
        if let Some(attribute) = &left_out.attribute {
            item["attribute"] = json!(attribute);
        }
        report.items.push(item);
    }
    if let Some(first) = all.first() {
        let more = all.len() - 1;
        let others = if more > 0 { format!(", and {more} more") } else { String::new() };
        let LeftOut { file, path, attribute, reason } = first;
        let (message, hint) = match attribute {
            Some(name) => (
                format!("an attribute was not written: `{name}` of `{path}` in `{file}`: {reason}{others}"),
                "the rest was written; the Report (`--json`) names each",
            ),
            None => (
                format!("not all of it was written: `{path}` of `{file}`: {reason}{others}"),
                "the rest was written; the Report (`--json`) names each, and `--vars` asks for what you need",
            ),
        };
        report.fail(ErrorReport::new("run.partly", message, Exit::Partly).with_hint(hint));
    }
}

/// What was not there in stores that do not say what should be.
fn tell_missing(report: &mut Report, sources: &[Source]) {
    for (source, store) in sources.iter().filter_map(|source| Some((source, source.store.as_ref()?))) {
        let n_missing = store.n_missing();
        if n_missing > 0 {
            let name = &source.name;
            let message = format!("{n_missing} objects of `{name}` are not there; their elements have the fill value");
            report.warn("source.missing-objects", message);
        }
    }
}

fn finish(report: &mut Report, outcome: Outcome, progress: &Progress) {
    let now = progress.now();
    report.total("written_bytes", now.written_bytes);
    let word = match outcome {
        Outcome::Written => "written",
        Outcome::AlreadyThere => "already-there",
    };
    report.more.insert("outcome".into(), json!(word));
}
