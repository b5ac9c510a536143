//! `frazil build`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use frazil_engine::{
    EngineError,
    build::{Product, Running, ending, request, target},
    find::{Gone, Pick},
    index::IndexUse,
    make::{How, Stage, Watch, make},
    parts::Part,
    prepare::Reissued,
    progress::Progress,
    virtually::{VirtualRequest, make_virtual},
};
use frazil_model::{
    plan::Limits,
    problem::{Exit, Problem},
    recipe::{
        Recipe, parse,
        source::Missing,
        write::{Mode, Write},
    },
    report::{ErrorReport, Report},
    shell::quoted,
};

use crate::{
    arguments::Build,
    lint::{problems, read, recipe_file},
    made,
    output::{Answer, Talk},
    progress,
};

pub fn run(words: &Build, talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    let path = recipe_file(Path::new(&words.feedstock));
    let recipes = match recipes("build", &path, words.only.as_deref()) {
        Ok(recipes) => recipes,
        Err(answer) => return Ok(*answer),
    };
    let mut all = Answer { report: Report::of("build"), text: String::new() };
    let mut n_done = 0;
    for recipe in &recipes {
        let answer = match one(recipe, recipes.len(), &path, words, talk, stop) {
            Err(error) if recipes.len() == 1 || matches!(error, EngineError::Interrupted { .. }) => return Err(error),
            Err(error) => Answer::failed("build", ErrorReport::of(&error)),
            Ok(answer) if recipes.len() == 1 => return Ok(answer),
            Ok(answer) => answer,
        };
        n_done += usize::from(answer.report.ok);
        all.text.push_str(&answer.text);
        all.report.items.push(serde_json::to_value(&answer.report).unwrap_or_default());
        all.report.warnings.extend(answer.report.warnings);
        if let Some(error) = answer.report.error {
            all.report.fail(error);
        }
    }
    if let (Some(first), true) = (&mut all.report.error, n_done > 0) {
        first.message =
            format!("{n_done} of {} recipes were built; of the others the first: {}", recipes.len(), first.message);
        first.exit = Exit::Partly.code();
    }
    Ok(all)
}

/// Builds the store of one recipe.
fn one(
    recipe: &Recipe,
    n_recipes: usize,
    path: &Path,
    words: &Build,
    talk: &Talk,
    stop: &AtomicBool,
) -> Result<Answer, EngineError> {
    let product = if words.materialize { Product::Store } else { Product::AsWritten };
    let running = Running {
        folder: folder_of(path),
        target: target(words.to.as_deref(), &recipe.id.value, n_recipes, ending(recipe, product))?,
        selection: words.select.clone(),
        pick: words.prune.map_or(Pick::All, |first| Pick::Ends { first, last: 0 }),
        limits: Limits { memory_bytes: words.limits.memory.0, n_threads: words.limits.n_threads() },
        index: if words.no_index { IndexUse::Bypass } else { IndexUse::Use },
        reissued: if words.revise { Reissued::Revised } else { Reissued::Refused },
        product,
    };
    let counters = Progress::default();
    let stage = stage(words);
    let references = match (&recipe.write, product) {
        (Write::Virtual(write), Product::AsWritten) => Some(write),
        _ => None,
    };
    let mode =
        references.map_or_else(|| recipe.write.zarr().map_or(Mode::Create, |zarr| zarr.mode), |write| write.mode);
    let result = made::Result::of(references, recipe.write.zarr().map(|zarr| zarr.format).unwrap_or_default());
    if words.overwrite && mode == Mode::Extend && references.is_none() {
        return Err(EngineError::OverwritesExtended { id: recipe.id.value.clone() });
    }
    let report = progress::shown(talk, &counters, || {
        let (request, mut how, absent) = request(recipe, &running)?;
        if words.overwrite {
            how = How::Replace;
        }
        let planned = |report: &Report| made::announce(report, result, &recipe.id.value, talk);
        let watch = Watch { progress: &counters, stop, planned: &planned };
        let mut report = match references {
            None => make("build", &request, (how, stage), watch)?,
            Some(write) => {
                let wanted = VirtualRequest { request, write: write.clone() };
                make_virtual("build", &wanted, (how, stage), watch)?
            }
        };
        for Gone { place, missing, .. } in absent {
            let what =
                if missing == Missing::Fill { "; what it would have brought is filled" } else { " and was skipped" };
            report.warn("source.absent", format!("`{place}` is not there{what}"));
        }
        Ok(report)
    })
    .map_err(made::with_resume_command)?;
    let text = made::text(&report, result, talk);
    let text = if text.is_empty() { text } else { format!("{}: {text}", recipe.id.value) };
    Ok(Answer { report, text })
}

fn stage(words: &Build) -> Stage {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    match (words.dry_run, &words.stage.part) {
        (true, _) => Stage::DryRun,
        (false, Some(part)) => Stage::Part(Part { number: size(part.number), of: size(part.of) }),
        (false, None) if words.stage.plan_only => Stage::PlanOnly,
        (false, None) if words.stage.finish => Stage::Finish,
        (false, None) => Stage::All,
    }
}

/// The folder of a feedstock: the one that holds `feedstock/recipe.yaml`, or the recipe itself.
pub fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new("."));
    let folder = if parent.file_name().is_some_and(|name| name == "feedstock") {
        parent.parent().unwrap_or(parent)
    } else {
        parent
    };
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// The recipes that are asked for, or what is wrong with the file.
pub fn recipes(verb: &str, path: &Path, only: Option<&str>) -> Result<Vec<Recipe>, Box<Answer>> {
    let name = path.display().to_string();
    let failed = |error: ErrorReport| Box::new(Answer::failed(verb, error.at(name.clone())));
    let text = read(path).map_err(|cause| {
        let mut error = ErrorReport::new("recipe.unread", format!("`{name}` could not be read"), Exit::Usage)
            .with_hint("name the folder of a feedstock, or its recipe file");
        error.cause = Some(cause);
        failed(error)
    })?;
    let mut recipes = parse(&text).map_err(|errors| {
        let mut error =
            ErrorReport::new("recipe.problems", format!("`{name}` has {}", problems(errors.len() as u64)), Exit::Usage);
        if let Some(first) = errors.first() {
            error.cause = Some(first.to_string());
            error.hint = Some(
                first
                    .hint()
                    .unwrap_or_else(|| format!("`frazil feedstock lint {}` shows each with its line", quoted(&name))),
            );
        }
        failed(error)
    })?;
    if let Some(only) = only {
        let known: Vec<String> = recipes.iter().map(|recipe| format!("`{}`", recipe.id.value)).collect();
        recipes.retain(|recipe| recipe.id.value == only);
        if recipes.is_empty() {
            let message = format!("`{name}` has no recipe `{only}`");
            return Err(failed(
                ErrorReport::new("recipe.no-such-id", message, Exit::Usage)
                    .with_hint(&format!("it has {}", known.join(", "))),
            ));
        }
    }
    Ok(recipes)
}
