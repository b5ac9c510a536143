//! `frazil build`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use frazil_engine::{
    EngineError,
    build::{Running, request, target},
    find::Pick,
    index::IndexUse,
    make::{How, Stage, make},
    parts::Part,
    prepare::Reissued,
    progress::Progress,
};
use frazil_model::{
    location::Location,
    plan::Limits,
    problem::{Exit, Problem},
    recipe::{Recipe, parse, write::Write},
    report::{ErrorReport, Report},
};

use crate::{
    arguments::Build,
    lint::{read, recipe_file},
    made,
    output::{Answer, Talk},
    progress,
};

pub fn run(words: &Build, talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    let path = recipe_file(Path::new(&words.feedstock));
    let recipes = match recipes(&path, words) {
        Ok(recipes) => recipes,
        Err(answer) => return Ok(*answer),
    };
    let mut all = Answer { report: Report::of("build"), text: String::new() };
    for recipe in &recipes {
        let answer = one(recipe, recipes.len(), &path, words, talk, stop)?;
        if recipes.len() == 1 {
            return Ok(answer);
        }
        all.text.push_str(&answer.text);
        all.report.items.push(serde_json::to_value(&answer.report).unwrap_or_default());
        all.report.warnings.extend(answer.report.warnings);
        if let Some(error) = answer.report.error {
            all.report.fail(error);
        }
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
    let to = words.to.as_deref();
    let place = target(to, &recipe.id.value, n_recipes);
    let Location::File(place) = Location::parse(&place.to_string_lossy())? else {
        return Err(EngineError::NotWritable { place: place.display().to_string() });
    };
    let running = Running {
        folder: folder_of(path),
        target: place.into(),
        selection: words.select.clone(),
        pick: words.prune.map_or(Pick::All, |first| Pick::Ends { first, last: 0 }),
        limits: Limits { memory_bytes: words.limits.memory.0, n_threads: words.limits.n_threads() },
        index: if words.no_index { IndexUse::Bypass } else { IndexUse::Use },
        reissued: if words.revise { Reissued::Revised } else { Reissued::Refused },
    };
    let counters = Progress::default();
    let stage = stage(words);
    let report = progress::shown(talk, &counters, || {
        let (request, mut how, absent) = request(recipe, &running)?;
        if words.overwrite {
            how = How::Replace;
        }
        let mut report = make("build", &request, (how, stage), &counters, stop)?;
        for place in absent {
            report.warn("source.absent", format!("`{place}` is not there and was skipped"));
        }
        Ok(report)
    })
    .map_err(made::with_resume_command)?;
    let Write::Zarr(write) = &recipe.write;
    let text = format!("{}: {}", recipe.id.value, made::text(&report, write.format));
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
fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new("."));
    let folder = if parent.file_name().is_some_and(|name| name == "feedstock") {
        parent.parent().unwrap_or(parent)
    } else {
        parent
    };
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// The recipes that are asked for, or what is wrong with the file.
fn recipes(path: &Path, words: &Build) -> Result<Vec<Recipe>, Box<Answer>> {
    let name = path.display().to_string();
    let failed = |error: ErrorReport| Box::new(Answer::failed("build", error.at(name.clone())));
    let text = read(path).map_err(|cause| {
        let mut error = ErrorReport::new("recipe.unread", format!("`{name}` could not be read"), Exit::Usage)
            .with_hint("name the folder of a feedstock, or its recipe file");
        error.cause = Some(cause);
        failed(error)
    })?;
    let mut recipes = parse(&text).map_err(|errors| {
        let mut error =
            ErrorReport::new("recipe.problems", format!("`{name}` has {} problems", errors.len()), Exit::Usage);
        if let Some(first) = errors.first() {
            error.cause = Some(first.to_string());
            error.hint = Some(
                first.hint().unwrap_or_else(|| format!("`frazil feedstock lint {name}` shows each with its line")),
            );
        }
        failed(error)
    })?;
    if let Some(only) = &words.only {
        let known: Vec<String> = recipes.iter().map(|recipe| format!("`{}`", recipe.id.value)).collect();
        recipes.retain(|recipe| recipe.id.value == *only);
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
