//! Where the files of a recipe are, what their names say, and how gently to ask for them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use regex::{Regex, RegexBuilder};
use serde::Serialize;

use crate::recipe::{
    amount::{Interval, bad},
    date::{Moment, TimeFormat, WrittenTime},
    error::{Fault, MAX_ERRORS},
    read::{Fields, Problems, entries, parsed, shortened, text, texts, whole, word},
    span::{Position, Spanned},
    suggest::nearest,
    template::Template,
    yaml::{Content, Node},
};

/// One named set of files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Its name in the recipe.
    pub name: Spanned<String>,
    /// How files are found.
    pub kind: SourceKind,
    /// Keys whose values are known beforehand, in the order in which they run: the last one fastest.
    pub keys: Vec<Key>,
    /// What names must look like, and which keys they hold.
    pub pattern: Option<Spanned<NamePattern>>,
    /// How keys that are times are written in names.
    pub parse: Vec<(Spanned<String>, Spanned<TimeFormat>)>,
    /// What to do about a file that is not there.
    pub missing: Missing,
    /// How to fetch. No part of what a recipe means.
    #[serde(skip)]
    pub fetch: Fetch,
    /// Which YAML document it stands in, for errors.
    #[serde(skip)]
    pub document: usize,
}

/// How the files of a source are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum SourceKind {
    /// Each template, filled with every combination of keys.
    Url(Vec<Spanned<Template>>),
    /// These files.
    List(Vec<Spanned<String>>),
    /// Files of a folder or bucket whose names match, `*` and `?` as in a shell.
    Glob(Spanned<Template>),
    /// Links of a listing page.
    Index(Spanned<Template>),
}

/// A key and the values it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Key {
    /// Its name.
    pub name: Spanned<String>,
    /// Its values.
    pub values: KeyValues,
}

/// The values of a key, not yet counted out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum KeyValues {
    /// These.
    List(Vec<KeyValue>),
    /// Whole numbers from the first to the last, both included, written with at least `digits` digits.
    Integers {
        /// First value.
        first: i64,
        /// Last value.
        last: i64,
        /// Least number of digits.
        digits: usize,
    },
    /// Times from `start`, each `step` after the one before, as long as they are not after `end`.
    Times {
        /// First time.
        start: Moment,
        /// No time is after this one.
        end: Moment,
        /// From one to the next.
        step: Interval,
    },
}

/// The value that a key has for a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum KeyValue {
    /// A whole number, written with at least `digits` digits.
    Integer {
        /// The number.
        value: i64,
        /// Least number of digits.
        digits: usize,
    },
    /// A time.
    Time(Moment),
    /// Any other text.
    Text(String),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { value, digits } => write!(f, "{value:0digits$}"),
            Self::Time(moment) => moment.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What to do about a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Missing {
    /// Stop.
    #[default]
    Error,
    /// Go on without it, and list it.
    Skip,
    /// Fill what it would have brought, and list it.
    Fill,
}

/// How gently to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetch {
    /// Requests to one host at a time.
    pub per_host: Option<u32>,
    /// Least time between two requests to one host, in milliseconds.
    pub min_interval_ms: Option<u64>,
    /// How often a request is tried again.
    pub retries: Option<u32>,
    /// Whether fetched bytes are kept.
    pub cache: Cache,
}

/// How long fetched bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// Not at all.
    #[default]
    None,
    /// While the build runs.
    Run,
}

/// A regular expression over names, with named captures. A name matches if its end does: `^` asks for the whole.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    pub(crate) regex: Regex,
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl NamePattern {
    /// The keys it captures.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

impl FromStr for NamePattern {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        /// More than any file name needs, and little enough to compile at once.
        const MAX_COMPILED_BYTES: usize = 1 << 20;
        // `a.nc` must not take `a.nc.md5` along; what stands before the name is a path.
        let whole = format!("(?:{text})$");
        match RegexBuilder::new(&whole).size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).build() {
            Ok(regex) => Ok(Self { text: text.to_owned(), regex }),
            Err(regex::Error::CompiledTooBig(_)) => Err(bad("this expression is too large".to_owned())),
            Err(error) => {
                let shown = error.to_string();
                let why = shown.lines().next_back().unwrap_or_default();
                Err(bad(format!(
                    "`{}` is not a regular expression: {}",
                    shortened(text),
                    why.trim_start_matches("error: ")
                )))
            }
        }
    }
}

const KINDS: [&str; 4] = ["url", "list", "glob", "index"];
const KNOWN: [&str; 9] = ["url", "list", "glob", "index", "keys", "match", "parse", "missing", "fetch"];
const PLANNED: [&str; 5] = ["doi", "cmr", "stac", "paired_with", "substitute"];

/// The mapping under `sources`.
pub(crate) fn sources(node: &Node, problems: &mut Problems) -> Vec<Source> {
    let example = "sources: {files: {url: \"https://host/{year}.nc\", keys: {year: 2001..2020}}}";
    entries(node, "sources", example, problems).iter().filter_map(|(name, node)| source(name, node, problems)).collect()
}

fn source(name: &Spanned<String>, node: &Node, problems: &mut Problems) -> Option<Source> {
    let section = format!("sources.{}", shortened(name));
    let fields = Fields::of(node, &section, &KNOWN, &PLANNED, "{glob: \"data/*.nc\"}", problems)?;
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
    let keys = fields.get("keys").map_or_else(Vec::new, |node| keys(node, problems));
    let pattern = fields.get("match").and_then(|node| {
        if problems.patterns_left == 0 {
            problems.bad(node.at, "match", "the file has too many patterns");
            return None;
        }
        problems.patterns_left -= 1;
        let pattern = parsed(node, "match", r"(?P<time>\d{8})\.nc", problems)?;
        Some(Spanned::new(pattern, node.at))
    });
    let parse = fields.get("parse").map_or_else(Vec::new, |node| formats(node, problems));
    let missing = fields.get("missing").and_then(|node| missing(node, problems)).unwrap_or_default();
    let fetch = fields.get("fetch").map_or_else(Fetch::default, |node| fetch(node, problems));
    let kind = match given.as_slice() {
        [kind] => kind_of(kind, fields.get(kind)?, problems)?,
        [] => {
            if !PLANNED.iter().any(|kind| fields.get(kind).is_some()) {
                fields.need("url", "glob: \"data/*.nc\"` or `url: \"https://host/{year}.nc\"", problems);
            }
            return None;
        }
        [_, second, ..] => {
            let at = fields.get(second).map_or(node.at, |node| node.at);
            problems.bad(at, &section, format!("has both `{}`; choose one", given.join("` and `")));
            return None;
        }
    };
    let source = Source { name: name.clone(), kind, keys, pattern, parse, missing, fetch, document: problems.document };
    check_keys(&source, problems);
    Some(source)
}

fn kind_of(kind: &str, node: &Node, problems: &mut Problems) -> Option<SourceKind> {
    let template = |node: &Node, problems: &mut Problems| {
        let template = parsed(node, kind, "https://host/{year}.nc", problems)?;
        Some(Spanned::new(template, node.at))
    };
    match kind {
        "url" => {
            let found: Vec<_> = match node.list() {
                Some(items) => items.iter().filter_map(|item| template(item, problems)).collect(),
                None => template(node, problems).into_iter().collect(),
            };
            if node.list().is_some_and(<[Node]>::is_empty) {
                problems.bad(node.at, kind, "is an empty list");
            }
            (!found.is_empty()).then_some(SourceKind::Url(found))
        }
        "list" => {
            let found = texts(node, kind, "[a.nc, b.nc]", problems);
            refuse_twice(kind, &found, problems);
            (!found.is_empty()).then_some(SourceKind::List(found))
        }
        "glob" => template(node, problems).map(SourceKind::Glob),
        _ => template(node, problems).map(SourceKind::Index),
    }
}

/// Every key that is used has values, and every key that has values is used.
fn check_keys(source: &Source, problems: &mut Problems) {
    let templates: &[Spanned<Template>] = match &source.kind {
        SourceKind::Url(templates) => templates,
        SourceKind::Glob(template) | SourceKind::Index(template) => std::slice::from_ref(template),
        SourceKind::List(_) => &[],
    };
    let declared: BTreeSet<&str> = source.keys.iter().map(|key| key.name.value.as_str()).collect();
    let used: BTreeSet<&str> = templates.iter().flat_map(|template| template.value.keys()).collect();
    let captured = source.pattern.iter().flat_map(|pattern| pattern.value.keys());
    let known: BTreeSet<&str> = declared.iter().copied().chain(captured).collect();
    let better = |key: &str, names: &BTreeSet<&str>| {
        nearest(key, names.iter().copied()).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
    };
    for template in templates {
        if problems.are_enough() {
            return;
        }
        for key in template.keys().filter(|key| !declared.contains(key)).take(MAX_ERRORS) {
            let source = &source.name;
            let reason = format!("`{{{key}}}` is not among the `keys` of source `{source}`{}", better(key, &declared));
            problems.bad(template.at, key, reason);
        }
    }
    for key in source.keys.iter().filter(|key| !used.contains(key.name.as_str())) {
        let reason = format!("`{}` stands in no address of source `{}`", key.name, source.name);
        problems.bad(key.name.at, "keys", reason);
    }
    for (name, _) in source.parse.iter().filter(|(name, _)| !known.contains(name.as_str())).take(MAX_ERRORS) {
        problems.bad(name.at, "parse", format!("there is no key `{name}`{}", better(name, &known)));
    }
}

fn missing(node: &Node, problems: &mut Problems) -> Option<Missing> {
    let words = [("error", Missing::Error), ("skip", Missing::Skip), ("fill", Missing::Fill)];
    word(node, "missing", &words, problems)
}

fn keys(node: &Node, problems: &mut Problems) -> Vec<Key> {
    /// No known source has more than four.
    const MAX_KEYS: usize = 32;
    let declared = entries(node, "keys", "{year: 1996..2025}", problems);
    if declared.len() > MAX_KEYS {
        problems.add(node.at, Fault::TooLarge { what: "the number of keys".to_owned(), limit: MAX_KEYS as u64 });
    }
    declared
        .iter()
        .take(MAX_KEYS)
        .filter_map(|(name, node)| Some(Key { name: name.clone(), values: key_values(name, node, problems)? }))
        .collect()
}

fn key_values(name: &str, node: &Node, problems: &mut Problems) -> Option<KeyValues> {
    match &node.content {
        Content::List(_) => {
            let values = texts(node, name, "[tas, pr]", problems);
            refuse_twice(name, &values, problems);
            let values: Vec<KeyValue> = values.iter().map(|text| key_value(text)).collect();
            (!values.is_empty()).then_some(KeyValues::List(values))
        }
        Content::Map(_) => times(name, node, problems),
        Content::Scalar { .. } => {
            let text = text(node, name, "1996..2025", problems)?;
            match text.split_once("..") {
                None => Some(KeyValues::List(vec![key_value(&text)])),
                Some((first, last)) => integers(name, first.trim(), last.trim(), node.at, problems),
            }
        }
    }
}

fn refuse_twice(key: &str, values: &[Spanned<String>], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for value in values.iter().filter(|value| !seen.insert(value.value.as_str())) {
        problems.bad(value.at, key, format!("`{}` is listed twice", shortened(value)));
    }
}

/// A number if it can be written back as it was read, else text.
pub(crate) fn key_value(text: &str) -> KeyValue {
    let digits = text.len();
    match text.parse() {
        Ok(value) if digits <= 18 && format!("{value:0digits$}") == text => KeyValue::Integer { value, digits },
        _ => KeyValue::Text(text.to_owned()),
    }
}

fn integers(name: &str, first: &str, last: &str, at: Position, problems: &mut Problems) -> Option<KeyValues> {
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    let digits = if padded(first) { first.len() } else { 1 };
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && digits <= 18 => Some(KeyValues::Integers { first, last, digits }),
        (Ok::<i64, _>(first), Ok::<i64, _>(last)) if first > last => {
            problems.bad(at, name, format!("{first}..{last} runs backwards"));
            None
        }
        _ => {
            let written = format!("{}..{}", shortened(first), shortened(last));
            problems.bad(at, name, format!("`{written}` is not a range of whole numbers such as `1996..2025`"));
            None
        }
    }
}

fn times(name: &str, node: &Node, problems: &mut Problems) -> Option<KeyValues> {
    let example = "{start: 2009-07-01, end: 2010-06-30, step: 1d}";
    let fields = Fields::of(node, name, &["start", "end", "step"], &[], example, problems)?;
    let start = fields.need("start", "start: 2009-07-01", problems);
    let end = fields.need("end", "end: 2010-06-30", problems);
    let step = fields.need("step", "step: 1d", problems);
    let start: Option<WrittenTime> = start.and_then(|node| parsed(node, "start", "2009-07-01", problems));
    let end: Option<WrittenTime> = end.and_then(|node| parsed(node, "end", "2010-06-30", problems));
    let interval: Option<Interval> = step.and_then(|node| parsed(node, "step", "1d", problems));
    let (start, end, interval) = (start?.first, end?.last, interval?);
    if start > end {
        problems.bad(node.at, name, format!("starts on {start}, after its end"));
        return None;
    }
    if let (Interval::Milliseconds(length), Some(step)) = (interval, step)
        && length % 1000 != 0
    {
        problems.bad(step.at, "step", "must be whole seconds");
        return None;
    }
    Some(KeyValues::Times { start, end, step: interval })
}

fn formats(node: &Node, problems: &mut Problems) -> Vec<(Spanned<String>, Spanned<TimeFormat>)> {
    entries(node, "parse", "{time: \"%Y%m%d\"}", problems)
        .iter()
        .filter_map(|(name, node)| {
            let format = parsed(node, "parse", "%Y%m%d", problems)?;
            Some((name.clone(), Spanned::new(format, node.at)))
        })
        .collect()
}

fn fetch(node: &Node, problems: &mut Problems) -> Fetch {
    let known = ["per_host", "min_interval", "retries", "cache"];
    let planned = ["profile", "members", "checksum"];
    let Some(fields) = Fields::of(node, "fetch", &known, &planned, "{per_host: 6, retries: 6}", problems) else {
        return Fetch::default();
    };
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let per_host = fields.get("per_host").and_then(|node| whole(node, "per_host", 1, "6", problems)).map(narrow);
    let retries = fields.get("retries").and_then(|node| whole(node, "retries", 0, "6", problems)).map(narrow);
    let min_interval_ms = fields.get("min_interval").and_then(|node| {
        match parsed::<Interval>(node, "min_interval", "500ms", problems)? {
            Interval::Milliseconds(length) => Some(length),
            Interval::Months(_) => {
                problems.bad(node.at, "min_interval", "is months; write for example `500ms`");
                None
            }
        }
    });
    let cache = fields.get("cache").and_then(|node| cache(node, problems)).unwrap_or_default();
    Fetch { per_host, min_interval_ms, retries, cache }
}

fn cache(node: &Node, problems: &mut Problems) -> Option<Cache> {
    if node.text().is_some_and(|text| text.contains([':', '/'])) {
        problems.not_yet(node.at, "cache: LOCATION");
        return None;
    }
    word(node, "cache", &[("none", Cache::None), ("run", Cache::Run)], problems)
}
