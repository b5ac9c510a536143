//! `frazil verify`.

use std::{fmt::Write, path::Path, sync::atomic::AtomicBool};

use frazil_engine::{
    EngineError,
    compare::compare,
    find::typed,
    prepare::prepare,
    receipt::Receipt,
    recorded::name_of,
    repeat::{needs_recipe, request, request_of_recipe},
    verify::{Amount, Verified, verify},
    virtually::virtual_dataset,
};
use frazil_model::{
    location::Location,
    plan::Limits,
    problem::Exit,
    report::{ErrorReport, Report},
};
use frazil_store::{folder::Folder, profile::located};
use serde_json::json;

use crate::{
    arguments::Verify,
    build::{folder_of, recipes},
    lint::{problems, recipe_file},
    output::{Answer, Talk, bytes},
};

/// Problems that are shown to people; the Report has them all.
const MOST_SHOWN: usize = 20;

pub fn run(words: &Verify, _talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    if let Some(dataset) = virtual_dataset(&located(&words.store)?)? {
        let mut found = dataset.verify(words.limits.n_threads(), stop)?;
        let n_values = match &words.sources {
            Some(sources) => {
                let given = if sources.is_empty() { Vec::new() } else { typed(sources, &located(&words.store)?)? };
                let given = given.into_iter().map(|found| (found.location, found.name)).collect();
                Some(dataset.compare(given, limits(words), stop, &mut found)?)
            }
            None => None,
        };
        return Ok(answer(words, Report::of("verify"), &found, n_values));
    }
    let root = Folder::at(&located(&words.store)?)?;
    let amount = words.subset.map_or(Amount::All, |share| Amount::Percent { percent: share.0, seed: words.seed });
    let mut found = verify(&root, amount, words.limits.n_threads(), stop)?;
    let mut report = Report::of("verify");
    let n_values = match (&words.sources, &words.feedstock) {
        (_, Some(feedstock)) => {
            let path = recipe_file(Path::new(feedstock));
            let recipes = match recipes("verify", &path, None) {
                Ok(recipes) => recipes,
                Err(answer) => return Ok(*answer),
            };
            let receipt = receipt_of(&root)?;
            let (request, n_others) = request_of_recipe(&root, &receipt, &recipes, &folder_of(&path), limits(words))?;
            if n_others > 0 {
                let message = format!("the recipe finds {n_others} files that the store was not made of");
                report.warn("verify.other-files", message);
            }
            Some(compare(&root, &prepare(&request)?, stop, &mut found)?)
        }
        (Some(sources), None) => Some(compare_with(words, &root, sources, stop, &mut found)?),
        (None, None) => None,
    };
    Ok(answer(words, report, &found, n_values))
}

/// What was found, as a Report and in words.
fn answer(words: &Verify, mut report: Report, found: &Verified, n_values: Option<u64>) -> Answer {
    report.more.insert("store".into(), json!(words.store));
    report.total("objects", found.n_objects);
    report.total("objects_read", found.n_read);
    report.total("read_bytes", found.read_bytes);
    report.total("problems", found.n_problems);
    if let Some(n_values) = n_values {
        report.total("values_compared", n_values);
    }
    report.items = found.problems.iter().map(|finding| json!(finding)).collect();
    if found.n_files > 0 {
        report.total("files", found.n_files);
    }
    if found.has_no_digests {
        let message = "its documents were written by an earlier frazil or by another program, and no digests of them were \
                       kept: a change in one that still makes sense goes unseen. `--overwrite` writes it anew with digests";
        report.warn("verify.no-digests", message.to_owned());
    }
    if found.is_unfinished {
        let message = "work on this store was begun and not finished; type the command that began it again".to_owned();
        report.warn("verify.unfinished", message);
    }
    let text = text(&words.store, found, n_values);
    if found.n_problems > 0 {
        let message = format!("`{}` is not what was written: it has {}", words.store, problems(found.n_problems));
        let mut error = ErrorReport::new("verify.differs", message, Exit::No);
        error.hint = Some(match found.is_unfinished {
            true => "type the command that was interrupted again: it finishes what it began".into(),
            false => "make it again with `--overwrite` (`mode: replace` in a recipe)".into(),
        });
        report.fail(error);
    }
    Answer { report, text }
}

/// Joins the sources anew and compares every value. Answers how many.
fn compare_with(
    words: &Verify,
    root: &Folder,
    sources: &[String],
    stop: &AtomicBool,
    found: &mut Verified,
) -> Result<u64, EngineError> {
    let receipt = receipt_of(root)?;
    if needs_recipe(&receipt) {
        return Err(EngineError::CannotRepeat { place: root.location() });
    }
    let sources = if sources.is_empty() {
        receipt
            .sources
            .iter()
            .map(|record| Ok((beside(root, &record.name)?, record.name.clone())))
            .collect::<Result<_, EngineError>>()?
    } else {
        let found = typed(sources, &root.location())?.into_iter();
        // Runs on other folders gave other names.
        let named = |name: String, place: &Location| name_of(&receipt, place, &name).unwrap_or(name);
        found.map(|found| (found.location.clone(), named(found.name, &found.location))).collect()
    };
    let prepared = prepare(&request(root, &receipt, sources, limits(words))?)?;
    compare(root, &prepared, stop, found)
}

fn limits(words: &Verify) -> Limits {
    Limits { memory_bytes: words.limits.memory.0, n_threads: words.limits.n_threads() }
}

fn receipt_of(root: &Folder) -> Result<Receipt, EngineError> {
    Receipt::of(root)?.ok_or_else(|| {
        let reason = "it has no receipt, so nothing says of what it was made".to_owned();
        EngineError::NotOurs { place: root.location(), reason }
    })
}

/// Where a file that the receipt names may be: beside the store, else as the name says.
fn beside(root: &Folder, name: &str) -> Result<Location, EngineError> {
    if let Some(path) = root.path() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = parent.join(name);
        if !name.contains("://") && path.exists() {
            return Ok(Location::File(path.display().to_string()));
        }
    }
    match located(name)? {
        Location::File(path) if !Path::new(&path).exists() => {
            Err(EngineError::SourceGone { name: name.to_owned(), store: root.location() })
        }
        location => Ok(location),
    }
}

/// What was read and looked at, where nothing is wrong.
fn seen(found: &Verified) -> String {
    let mut parts = Vec::new();
    if found.n_objects > 0 {
        let as_written = if found.has_no_digests { "as their names say" } else { "all as written" };
        let read = bytes(found.read_bytes);
        parts.push(format!("{} of {} objects read ({read}), {as_written}", found.n_read, found.n_objects));
    }
    if found.n_files > 0 {
        parts.push(format!("{} files that it leads to looked at, none has changed", found.n_files));
    }
    parts.join("; ")
}

fn text(store: &str, found: &Verified, n_values: Option<u64>) -> String {
    let mut text = String::new();
    for finding in found.problems.iter().take(MOST_SHOWN) {
        let parts = [&finding.key, &finding.region, &finding.source];
        let places: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        let place = if places.is_empty() { finding.array.clone().unwrap_or_default() } else { places.join("  ") };
        let _ = writeln!(text, "{place}: {}", finding.problem);
    }
    let more = found.n_problems.saturating_sub(MOST_SHOWN as u64);
    if more > 0 {
        let _ = writeln!(text, "… and {more} more; `--json` lists them");
    }
    if found.n_problems == 0 {
        let _ = writeln!(text, "{store}: {}", seen(found));
        if let Some(n_values) = n_values {
            let _ = writeln!(text, "{n_values} values compared with the sources: all equal");
        }
    }
    text
}
