//! `frazil feedstock lint`: every problem of a recipe with its line.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use frazil_engine::EngineError;
use frazil_model::{
    location::Location,
    problem::{Exit, Problem},
    recipe::{MAX_TEXT_BYTES, RecipeError, parse},
    report::{ErrorReport, Report},
};
use serde_json::json;

use crate::{
    arguments::Lint,
    output::{Answer, Talk},
};

pub fn run(words: &Lint, _talk: &Talk) -> Result<Answer, EngineError> {
    let mut report = Report::of("feedstock-lint");
    let mut text = String::new();
    let (mut n_recipes, mut n_problems) = (0_usize, 0_usize);
    for place in &words.places {
        let path = recipe_file(place);
        let name = path.display().to_string();
        let content = match read(&path) {
            Ok(content) => content,
            Err(cause) => {
                let mut error = ErrorReport::new("recipe.unread", format!("`{name}` could not be read"), Exit::Usage)
                    .with_hint("name the folder of a feedstock, or its recipe file")
                    .at(Location::File(name).to_string());
                error.cause = Some(cause);
                report.fail(error);
                continue;
            }
        };
        match parse(&content) {
            Ok(recipes) => {
                n_recipes += recipes.len();
                for recipe in &recipes {
                    text.push_str(&format!("{name}: `{}` is well formed\n", recipe.id.value));
                    report.items.push(json!({"source": name, "id": recipe.id.value, "ok": true}));
                }
            }
            Err(errors) => {
                n_problems += errors.len();
                for error in &errors {
                    text.push_str(&format!("{name}: {}\n", error.render(&content)));
                    if let Some(hint) = error.hint() {
                        text.push_str(&format!("hint: {hint}\n"));
                    }
                    text.push('\n');
                    report.items.push(item(&name, error));
                }
                let message = format!("`{name}` has {}", problems(errors.len() as u64));
                let error = ErrorReport::new("recipe.problems", message, Exit::Usage);
                report.fail(with_first(error, &errors).at(name));
            }
        }
    }
    report.total("n_recipes", n_recipes);
    report.total("n_problems", n_problems);
    Ok(Answer { report, text })
}

/// The first problem is what must be mended first.
fn with_first(mut error: ErrorReport, errors: &[RecipeError]) -> ErrorReport {
    if let Some(first) = errors.first() {
        error.cause = Some(first.to_string());
        error.hint = first.hint();
    }
    error
}

fn item(name: &str, error: &RecipeError) -> serde_json::Value {
    json!({
        "source": name,
        "ok": false,
        "document": error.document,
        "line": error.at.line,
        "column": error.at.column,
        "code": error.code(),
        "message": error.fault.to_string(),
        "hint": error.hint(),
    })
}

/// How many problems there are, in words.
pub fn problems(n_problems: u64) -> String {
    if n_problems == 1 { "a problem".to_owned() } else { format!("{n_problems} problems") }
}

/// The recipe of a feedstock's folder, or the file itself.
pub fn recipe_file(place: &Path) -> PathBuf {
    if !place.is_dir() {
        return place.to_owned();
    }
    let inside = place.join("feedstock/recipe.yaml");
    if inside.exists() { inside } else { place.join("recipe.yaml") }
}

/// The text of a recipe. A file that is longer than any recipe is not read to its end.
pub fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())
}
