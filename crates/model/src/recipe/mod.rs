//! The recipe of a feedstock as data: what to find, what to do to each file, how to combine, what to write and what
//! must hold.
//!
//! `parse` reads the text of a recipe file, all its YAML documents, and reports everything that is wrong with it at
//! once, each with its line. It knows no files and no network, and text from strangers cannot make it slow or large.

pub mod amount;
pub mod calc;
mod canonical;
pub(crate) mod check;
pub mod combine;
pub mod date;
pub mod each;
pub mod error;
pub mod evaluate;
pub mod expect;
pub mod keys;
mod read;
pub mod source;
pub mod span;
pub mod spec;
mod steps;
pub mod subset;
pub mod suggest;
pub mod template;
pub mod virtually;
pub mod write;
pub(crate) mod yaml;

use serde::Serialize;

pub use canonical::canonical;
pub use check::check_names;
pub use error::{Fault, RecipeError};
pub use keys::{Expanded, expand, expansion, match_name};
pub use span::{Position, Spanned};
pub use yaml::MAX_TEXT_BYTES;

use crate::recipe::{
    combine::Combine,
    each::Step,
    error::MAX_ERRORS,
    expect::Expectation,
    read::{Fields, Problems, shortened, text, word},
    source::Source,
    write::{Publish, Test, Write},
    yaml::{Content, Node},
};

/// What one feedstock dataset is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Which YAML document of the file it is, from 1.
    #[serde(skip)]
    pub document: usize,
    /// Its name, which is also the store's: letters, digits, `.`, `_` and `-`.
    pub id: Spanned<String>,
    /// Sets of files, in the order written.
    pub sources: Vec<Source>,
    /// What is done to each file.
    pub each: Vec<Spanned<Step>>,
    /// How files become one dataset.
    pub combine: Combine,
    /// What is written.
    pub write: Write,
    /// What must hold of the result.
    pub expect: Vec<Spanned<Expectation>>,
    /// The pruned run.
    #[serde(skip)]
    pub test: Test,
    /// Where the result goes.
    #[serde(skip)]
    pub publish: Option<Publish>,
}

/// The recipes of a file.
///
/// # Errors
/// All that is wrong with it, sorted by line, at most [`error::MAX_ERRORS`].
pub fn parse(text: &str) -> Result<Vec<Recipe>, Vec<RecipeError>> {
    let mut errors = Vec::new();
    let documents = yaml::documents(text, &mut errors);
    let mut recipes: Vec<Recipe> = Vec::new();
    if documents.is_empty() && errors.is_empty() {
        errors.push(RecipeError { document: 1, at: Position { line: 1, column: 1 }, fault: Fault::Empty });
    }
    let mut patterns_left = Problems::of_document(1).patterns_left;
    for (index, node) in documents.iter().enumerate() {
        let mut problems = Problems { patterns_left, ..Problems::of_document(index + 1) };
        placeholders(node, "recipe", &mut problems);
        let found = recipe(node, &mut problems);
        if let Some(recipe) = found {
            if let Some(other) = recipes.iter().find(|other| other.id.value == recipe.id.value) {
                let reason = format!("`{}` is also the id of the recipe on line {}", recipe.id, other.id.at.line);
                problems.bad(recipe.id.at, "id", reason);
            }
            recipes.push(recipe);
        }
        patterns_left = problems.patterns_left;
        errors.append(&mut problems.errors);
        if errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if errors.is_empty() {
        return Ok(recipes);
    }
    errors.sort_by_key(|error| error.at);
    // A placeholder is also a wrong type, and often a bad value: the first complaint about a place is enough.
    let placeholder_at: Vec<Position> =
        errors.iter().filter(|error| matches!(error.fault, Fault::Placeholder { .. })).map(|error| error.at).collect();
    errors.retain(|error| matches!(error.fault, Fault::Placeholder { .. }) || !placeholder_at.contains(&error.at));
    errors.truncate(MAX_ERRORS);
    Err(errors)
}

const KNOWN: [&str; 9] = ["recipe", "id", "sources", "each", "combine", "write", "expect", "test", "publish"];

fn recipe(node: &Node, problems: &mut Problems) -> Option<Recipe> {
    let fields = Fields::of(node, "recipe", &KNOWN, &["fetch"], "recipe: 1", problems)?;
    if let Some(node) = fields.need("recipe", "recipe: 1", problems) {
        word(node, "recipe", &[("1", ())], problems);
    }
    let id = fields.need("id", "id: gpcp-daily", problems).and_then(|node| identifier(node, problems));
    let n_errors = problems.errors.len();
    let sources = fields
        .need("sources", "sources: {files: {glob: \"data/*.nc\"}}", problems)
        .map_or_else(Vec::new, |node| source::sources(node, problems));
    let sources_are_known = problems.errors.len() == n_errors;
    let each = fields.get("each").map_or_else(Vec::new, |node| steps::each(node, problems));
    let combine = fields.get("combine").map_or_else(Combine::default, |node| combine::combine(node, problems));
    let write =
        fields.need("write", "write: {zarr: {codec: zstd:5}}", problems).and_then(|node| write::write(node, problems));
    let expect = fields.get("expect").map_or_else(Vec::new, |node| expect::expect(node, problems));
    let test = fields.get("test").map_or_else(Test::default, |node| write::test(node, problems));
    let publish = fields.get("publish").and_then(|node| write::publish(node, problems));
    if sources_are_known {
        check::references(&sources, &each, &combine, problems);
    }
    Some(Recipe { document: problems.document, id: id?, sources, each, combine, write: write?, expect, test, publish })
}

fn identifier(node: &Node, problems: &mut Problems) -> Option<Spanned<String>> {
    /// Names of stores and of catalog pages are made of it.
    const MAX_ID_CHARS: usize = 100;
    let id = text(node, "id", "gpcp-daily", problems)?;
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !plain || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) || id.len() > MAX_ID_CHARS {
        let reason = format!("`{}` is not made of letters, digits, `.`, `_` and `-` alone", shortened(&id));
        problems.bad(node.at, "id", reason);
        return None;
    }
    Some(id)
}

/// Notes values that the author meant to fill in.
fn placeholders(node: &Node, key: &str, problems: &mut Problems) {
    match &node.content {
        Content::Scalar { text, .. } => {
            if let Some(value) = placeholder(text) {
                problems.add(node.at, Fault::Placeholder { key: shortened(key), value: shortened(value) });
            }
        }
        Content::List(items) => items.iter().for_each(|item| placeholders(item, key, problems)),
        // `a <B` is a comparison there.
        Content::Map(_) if key == "calc" => {}
        Content::Map(entries) => entries.iter().for_each(|(name, node)| placeholders(node, name, problems)),
    }
}

/// The placeholder in a text: `<INSERT_URL>`, `TODO`, `FIXME`, `???`.
fn placeholder(text: &str) -> Option<&str> {
    let words = || text.split(|c: char| c.is_whitespace() || ",;:".contains(c));
    if let Some(word) = words().find(|word| ["TODO", "FIXME", "???"].contains(word)) {
        return Some(word);
    }
    for (at, _) in text.match_indices('<') {
        let (before, from) = text.split_at(at);
        let Some(end) = from.find('>') else { break };
        // `(?P<YEAR>` names a capture.
        let is_capture = before.ends_with('?') || before.ends_with("?P");
        let (inside, _) = from.split_at(end);
        let inside = inside.trim_start_matches('<');
        let shouts = inside.starts_with(|c: char| c.is_ascii_uppercase())
            && inside.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || " _-".contains(c));
        let asks = ["insert", "your", "fill", "path", "name of", "url"]
            .iter()
            .any(|word| inside.to_ascii_lowercase().starts_with(word));
        if !is_capture && (shouts || asks) {
            return from.get(..=end);
        }
    }
    None
}
