//! Whether the names in a recipe exist: keys and sources within the recipe, variables and dimensions in the files.

use std::collections::BTreeSet;

use crate::recipe::{
    Recipe,
    combine::{Combine, Merge},
    each::{DimLabel, Step, TimeSource},
    error::{Fault, MAX_ERRORS, RecipeError},
    expect::Expectation,
    read::Problems,
    source::Source,
    span::{Position, Spanned},
    spec::ChunkSpec,
    suggest::nearest,
};

/// How many names a message lists.
const MAX_LISTED: usize = 8;

/// Notes keys and sources that are named and not there.
pub(crate) fn references(sources: &[Source], each: &[Spanned<Step>], combine: &Combine, problems: &mut Problems) {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for source in sources {
        keys.extend(source.keys.iter().map(|key| key.name.value.as_str()));
        keys.extend(source.pattern.iter().flat_map(|pattern| pattern.value.keys()));
    }
    let mut key = |place: &str, name: &str, at: Position| {
        if !keys.contains(name) && !problems.are_enough() {
            problems.add(at, unknown(place, name, "the keys of the sources are", &keys));
        }
    };
    for along in &combine.along {
        if let Some(name) = &along.key {
            key("combine.along", name, name.at);
        }
    }
    if let Some(Merge::Key(name)) = &combine.merge {
        key("combine.merge", name, name.at);
    }
    for step in each {
        match &step.value {
            Step::AddDim { label: Spanned { value: DimLabel::Key(name), at }, .. } => key("each.add_dim", name, *at),
            Step::TimeFrom(time) => {
                if let TimeSource::Key(name) = &time.from {
                    key("each.time_from", name, name.at);
                }
            }
            _ => {}
        }
    }
    if let Some(Merge::Sources(names)) = &combine.merge {
        let known: BTreeSet<&str> = sources.iter().map(|source| source.name.value.as_str()).collect();
        for name in names.iter().filter(|name| !known.contains(name.as_str())).take(MAX_ERRORS) {
            problems.add(name.at, unknown("combine.merge", name, "the sources are", &known));
        }
    }
}

/// What a recipe names that its files do not have.
///
/// `variables` are the names (or paths) of all variables of all files, `dimensions` of all their dimensions. Steps are
/// followed in their order, so that a renamed variable is known by its new name.
#[must_use]
pub fn check_names(recipe: &Recipe, variables: &[String], dimensions: &[String]) -> Vec<RecipeError> {
    let plain = |names: &[String]| names.iter().map(|name| name.trim_start_matches('/').to_owned()).collect();
    let mut problems = Problems::of_document(recipe.document);
    let mut names = Names { variables: plain(variables), dimensions: plain(dimensions) };
    for step in &recipe.each {
        names.follow(&step.value, &mut problems);
    }
    names.combine(&recipe.combine, &mut problems);
    if let Some(zarr) = recipe.write.zarr() {
        if let ChunkSpec::Explicit(lengths) = &zarr.chunks {
            lengths.iter().for_each(|(name, _)| names.dimension("chunks", name, &mut problems));
        }
        for (name, _) in zarr.shards.iter().flatten() {
            names.dimension("shards", name, &mut problems);
        }
    }
    for expected in &recipe.expect {
        names.expect(&expected.value, &mut problems);
    }
    problems.errors.sort_by_key(|error| error.at);
    problems.errors
}

/// The names that are there after the steps so far.
struct Names {
    variables: BTreeSet<String>,
    dimensions: BTreeSet<String>,
}

impl Names {
    fn follow(&mut self, step: &Step, problems: &mut Problems) {
        match step {
            Step::Keep(names) => names.iter().for_each(|name| self.variable("each.keep", name, problems)),
            Step::SetCoords(names) => names.iter().for_each(|name| self.some("each.set_coords", name, problems)),
            Step::Drop(names) => {
                names.iter().for_each(|name| self.some("each.drop", name, problems));
                self.variables.retain(|known| !names.iter().any(|name| matches(name, known)));
            }
            Step::Rename(pairs) => self.rename(pairs, problems),
            Step::Group(group) => self.enter(group, problems),
            Step::FlattenGroups { separator } => {
                // A dimension takes the name of the group that declares it, which names alone do not tell.
                let groups = self.variables.iter().filter_map(|name| name.rsplit_once('/')).map(|(group, _)| group);
                let groups: BTreeSet<String> = groups.map(|group| group.replace('/', separator)).collect();
                let named = |group: &String| -> Vec<String> {
                    self.dimensions.iter().map(|name| format!("{group}{separator}{name}")).collect()
                };
                let named: Vec<String> = groups.iter().flat_map(named).collect();
                self.dimensions.extend(named);
                self.variables = self.variables.iter().map(|name| name.replace('/', separator)).collect();
            }
            Step::AddDim { dimension, .. } => self.add(dimension),
            Step::TimeFrom(time) => {
                if let TimeSource::Variable(name) = &time.from {
                    self.variable("each.time_from", name, problems);
                }
                self.add(&time.dimension);
            }
            Step::Subset(picks) => picks.iter().for_each(|(name, _)| self.either("each.subset", name, problems)),
            // Its axes are found by what files say of them.
            Step::Bbox(_) => {}
            Step::Squeeze(names) => {
                names.iter().for_each(|name| self.dimension("each.squeeze", name, problems));
                self.dimensions.retain(|known| !names.iter().any(|name| name.value == *known));
            }
            Step::Transpose(names) => names.iter().for_each(|name| self.dimension("each.transpose", name, problems)),
            Step::Sort(names) => names.iter().for_each(|(name, _)| self.either("each.sort", name, problems)),
            Step::Dedup(names) => names.iter().for_each(|(name, _)| self.either("each.dedup", name, problems)),
            Step::Cast(names) => names.iter().for_each(|(name, _)| self.variable("each.cast", name, problems)),
            Step::Mask(names) => names.iter().for_each(|(name, _)| self.variable("each.mask", name, problems)),
            Step::Calc(lines) => {
                for (name, expression) in lines {
                    for used in expression.names() {
                        let used = Spanned::new(used.to_owned(), expression.at);
                        self.either("each.calc", &used, problems);
                    }
                    self.variables.insert(name.value.clone());
                }
            }
            Step::Attrs(edits) | Step::FixBeforeDecode(edits) => {
                edits
                    .iter()
                    .filter_map(|edit| edit.of.as_ref())
                    .for_each(|name| self.variable("attrs", name, problems));
            }
            Step::Promote(pairs) => {
                self.variables.extend(pairs.iter().map(|(_, name)| name.value.clone()));
            }
        }
    }

    fn rename(&mut self, pairs: &[(Spanned<String>, Spanned<String>)], problems: &mut Problems) {
        pairs.iter().for_each(|(old, _)| self.either("each.rename", old, problems));
        for names in [&mut self.variables, &mut self.dimensions] {
            let renamed = names.iter().map(|name| {
                let pair = pairs.iter().find(|(old, _)| old.trim_start_matches('/') == name);
                pair.map_or_else(|| name.clone(), |(_, new)| new.value.clone())
            });
            *names = renamed.collect();
        }
    }

    fn enter(&mut self, group: &Spanned<String>, problems: &mut Problems) {
        let path = group.trim_matches('/');
        if path.is_empty() {
            self.variables.retain(|name| !name.contains('/'));
            return;
        }
        let inside = |name: &String| Some(name.strip_prefix(path)?.strip_prefix('/')?.to_owned());
        let found: BTreeSet<String> = self.variables.iter().filter_map(inside).collect();
        if found.is_empty() {
            let groups: BTreeSet<&str> =
                self.variables.iter().filter_map(|name| name.rsplit_once('/')).map(|(group, _)| group).collect();
            problems.add(group.at, unknown("each.group", path, "the files have the groups", &groups));
        }
        self.variables = found;
    }

    fn combine(&mut self, combine: &Combine, problems: &mut Problems) {
        for along in &combine.along {
            // With a key the dimension may be new; without, its labels must stand in the files.
            if along.key.is_none() {
                self.either("combine.along", &along.dimension, problems);
            }
            self.add(&along.dimension);
        }
        for (name, _) in &combine.align.dimensions {
            self.either("combine.align", name, problems);
        }
    }

    fn expect(&self, expected: &Expectation, problems: &mut Problems) {
        match expected {
            Expectation::Dims(dims) => dims.iter().for_each(|(name, _)| self.dimension("expect.dims", name, problems)),
            Expectation::Range { ranges, .. } => {
                ranges.iter().for_each(|(name, ..)| self.variable("expect.range", name, problems));
            }
            Expectation::Monotonic(names) => {
                names.iter().for_each(|(name, _)| self.either("expect.monotonic", name, problems));
            }
            Expectation::Gaps(gaps) => gaps.iter().for_each(|(name, _)| self.either("expect.gaps", name, problems)),
            Expectation::Units(units) => {
                units.iter().for_each(|(name, _)| self.variable("expect.units", name, problems));
            }
            Expectation::AttrsEqual(attributes) => {
                let named = attributes.iter().filter_map(|attributes| attributes.of.as_ref());
                named.for_each(|name| self.variable("expect.attrs_equal", name, problems));
            }
            Expectation::Unique(names) => names.iter().for_each(|name| self.either("expect.unique", name, problems)),
            Expectation::SampleEqualsSource(_) => {}
        }
    }

    /// A new dimension, with the coordinate that labels it.
    fn add(&mut self, dimension: &Spanned<String>) {
        self.dimensions.insert(dimension.value.clone());
        self.variables.insert(dimension.value.clone());
    }

    fn variable(&self, place: &str, name: &Spanned<String>, problems: &mut Problems) {
        if !problems.are_enough() && !self.variables.iter().any(|known| matches(name, known)) {
            problems.add(name.at, unknown(place, name, "the files have", &borrowed(&self.variables)));
        }
    }

    /// Like a variable, but a pattern that finds none is harmless: nothing hangs on it.
    fn some(&self, place: &str, name: &Spanned<String>, problems: &mut Problems) {
        if !name.contains(['*', '?']) {
            self.variable(place, name, problems);
        }
    }

    fn dimension(&self, place: &str, name: &Spanned<String>, problems: &mut Problems) {
        if !problems.are_enough() && !self.dimensions.contains(&name.value) {
            problems.add(name.at, unknown(place, name, "the dimensions are", &borrowed(&self.dimensions)));
        }
    }

    fn either(&self, place: &str, name: &Spanned<String>, problems: &mut Problems) {
        if !self.dimensions.contains(&name.value) {
            self.variable(place, name, problems);
        }
    }
}

fn borrowed(names: &BTreeSet<String>) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

fn unknown(place: &str, name: &str, among: &str, known: &BTreeSet<&str>) -> Fault {
    let suggestion = nearest(name, known.iter().copied());
    let listed: Vec<String> = known.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    let among = match known.len().saturating_sub(MAX_LISTED) {
        _ if known.is_empty() => "there are none".to_owned(),
        0 => format!("{among} {}", listed.join(", ")),
        more => format!("{among} {} and {more} more", listed.join(", ")),
    };
    Fault::UnknownName { key: place.to_owned(), name: name.to_owned(), among, suggestion }
}

/// Whether `name` is what `pattern` says, where `*` stands for any letters and `?` for one.
#[must_use]
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.trim_start_matches('/').chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == '?' || name.get(n) == Some(letter) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // The last star takes one letter more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name) in
            [("*_bounds", "time_bounds"), ("*", "x"), ("t?s", "tas"), ("a*b*c", "aXbYbZc"), ("/a", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*_bounds", "time_bnds"), ("t?s", "ts"), ("a", "ab"), ("", "a"), ("?", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
