//! Joining more than one file: which dimension grows, whose element goes where, what each variable becomes.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use crate::{
    attribute::{AttributeValue, Attributes},
    combine::{
        Combined, CombinedVariable, Content, MustEqual,
        attributes::{self, Dropped, Named},
        error::{CombineError, Rule},
        fill_after,
        labels::{self, Axis, Label, Run, runs_of, time_units},
        lengths, piece,
        placing::{self, Placed},
        policy::{DifferDtype, Duplicates, Policies},
        statics, times, values,
        view::{FileView, Values, ViewAxis, ViewVariable},
    },
    packing::ValueRule,
    region::Region,
};

mod axes;
mod boxed;

pub(super) use axes::keeps_step;

/// Values joined in memory may be this large; larger variables are read piece by piece.
const MOST_INLINE_BYTES: usize = 64 << 20;

/// Joins at least two files.
pub(super) fn join(files: &[FileView], policies: &Policies) -> Result<Combined, CombineError> {
    let along = statics::growing_dimension(files, policies)?;
    let mut joining = Joining {
        files,
        policies,
        along: along.clone(),
        axis: None,
        placed: Vec::new(),
        labels: Vec::new(),
        text_lengths: lengths::of_texts(files),
        owners: HashMap::new(),
        parts: Parts::default(),
    };
    if let Some(dimension) = &along {
        joining.place(dimension)?;
    }
    joining.place_others()?;
    let mut paths: Vec<&str> = Vec::new();
    for variable in files.iter().flat_map(|file| &file.variables) {
        if !paths.contains(&variable.path.as_str()) {
            paths.push(&variable.path);
        }
    }
    let variables = paths.iter().map(|path| joining.variable(path)).collect::<Result<Vec<_>, _>>()?;
    let groups = joining.groups()?;
    joining.check_lengths(&paths)?;
    statics::check_lengths(&variables)?;
    let labels = joining.axis.map(|axis| axis.labels);
    Ok(Combined {
        groups,
        variables,
        along: along.zip(labels),
        dropped: joining.parts.dropped,
        notes: joining.parts.notes,
        must_equal: joining.parts.must_equal,
    })
}

struct Joining<'a> {
    files: &'a [FileView],
    policies: &'a Policies,
    along: Option<String>,
    axis: Option<Axis>,
    /// Dimensions along which elements are placed box by box: further ones, and those that may have holes.
    placed: Vec<Placed>,
    /// Each file's labels along the dimension that grows.
    labels: Vec<Vec<Label>>,
    /// Dimensions that are only the length of texts, with the longest.
    text_lengths: BTreeMap<String, u64>,
    /// Who fills each place, by the set of files that have a variable.
    owners: HashMap<Vec<usize>, Rc<Vec<Run>>>,
    parts: Parts,
}

/// What joining leaves besides the variables.
#[derive(Default)]
struct Parts {
    dropped: Vec<Dropped>,
    notes: Vec<(String, String)>,
    must_equal: Vec<MustEqual>,
}

/// A file that has the variable, with the variable's dimensions in the first file's order.
struct Holder {
    file: usize,
    variable: ViewVariable,
}

/// Attributes that are decided with the values: times were compared by what they mean, and packing says how counts do.
fn settled(is_time: bool, plan: &values::ValuePlan) -> Vec<&'static str> {
    let mut settled = if is_time { vec!["units", "calendar"] } else { Vec::new() };
    if plan.packing.is_some() {
        settled.push("_Unsigned");
    }
    settled
}

impl Joining<'_> {
    /// The files that have `path`, each with the first one's order of dimensions.
    fn holders(&self, path: &str) -> Result<Vec<Holder>, CombineError> {
        let mut holders: Vec<Holder> = Vec::new();
        for (file, view) in self.files.iter().enumerate() {
            let Some(variable) = view.variable(path) else { continue };
            let variable = lengths::widened(variable, &self.text_lengths);
            let Some(first) = holders.first() else {
                holders.push(Holder { file, variable });
                continue;
            };
            let differs = || CombineError::Differs {
                rule: Rule::Dimensions,
                variable: path.to_owned(),
                what: "dimensions".to_owned(),
                file: view.name.clone(),
                value: format!("({})", variable.dimensions.join(", ")),
                first_file: self.files[first.file].name.clone(),
                first_value: format!("({})", first.variable.dimensions.join(", ")),
            };
            if first.variable.dimensions == variable.dimensions {
                holders.push(Holder { file, variable });
                continue;
            }
            let order = first
                .variable
                .dimensions
                .iter()
                .map(|name| variable.axis_of(name))
                .collect::<Option<Vec<_>>>()
                .filter(|order| order.len() == variable.dimensions.len())
                .ok_or_else(differs)?;
            holders.push(Holder { file, variable: variable.transposed(&order) });
        }
        Ok(holders)
    }

    fn variable(&mut self, path: &str) -> Result<CombinedVariable, CombineError> {
        let holders = self.holders(path)?;
        let Some(first) = holders.first() else { return Err(CombineError::NoFiles) };
        if self.placed.iter().any(|placed| first.variable.axis_of(&placed.name).is_some()) {
            return boxed::variable(self, path, &holders);
        }
        let along = self.along.as_deref().and_then(|along| first.variable.axis_of(along));
        lengths::agree(&self.named(&holders), along)?;
        let (time, content, plan) = match along {
            None => {
                let (content, plan) = self.static_variable(path, &holders)?;
                (None, content, plan)
            }
            Some(axis) => {
                let owners = self.owners(path, &holders, axis)?;
                let times = times::unify(&self.named(&holders), self.files, self.policies.differ.time)?;
                let plan = match &times {
                    Some(times) => times.plan(holders.len()),
                    None => {
                        let in_files: Vec<_> = holders.iter().map(|holder| self.in_file(holder)).collect();
                        values::plan(&in_files, self.policies)?
                    }
                };
                let content = self.content(path, &holders, axis, &owners, &plan.rules, times.as_ref())?;
                (times, content, plan)
            }
        };
        if let Some(note) = &plan.note {
            self.parts.notes.push((path.to_owned(), note.clone()));
        }
        let counts = |holder: &Holder| {
            // Bounds without units of their own are counted as their coordinate is.
            let bounded = along.and_then(|_| times::bounded_by(&self.files[holder.file], path));
            time_units(&holder.variable).or_else(|| time_units(bounded?)).is_some()
        };
        let is_time = time.is_some() || holders.iter().all(counts);
        let mut attributes = self.attributes(path, &holders, &settled(is_time, &plan))?;
        if let Some(packing) = &plan.packing {
            values::replace_packing(&mut attributes, packing);
        }
        for name in values::replace_counts(&mut attributes, &self.named(&holders), &plan) {
            self.parts.dropped.push(Dropped { path: path.to_owned(), name: name.to_owned() });
        }
        if let Some(times) = &time {
            times.write_to(&mut attributes);
        }
        let mut shape = first.variable.shape.clone();
        if let (Some(axis), Some(joined)) = (along, &self.axis) {
            shape[axis] = joined.labels.len() as u64;
        }
        let codecs = &first.variable.codecs;
        // Times were written anew already; what is left to bring into their type is the fill.
        let rule = match &time {
            Some(times) => times.of_unwritten(),
            None => plan.rules.first().cloned().unwrap_or_default(),
        };
        let fill = fill_after(&first.variable.rule.then(&rule), &first.variable.fill);
        Ok(CombinedVariable {
            path: path.to_owned(),
            dimensions: first.variable.dimensions.clone(),
            shape,
            fill,
            dtype: plan.dtype,
            attributes,
            source_chunk_shape: first.variable.chunk_shape.clone(),
            is_chunked: first.variable.is_chunked,
            source_codecs: holders.iter().all(|holder| holder.variable.codecs == *codecs).then(|| codecs.clone()),
            along,
            content,
        })
    }

    fn in_file<'b>(&'b self, holder: &'b Holder) -> values::InFile<'b> {
        values::InFile { file: &self.files[holder.file].name, variable: &holder.variable }
    }

    fn named<'b>(&'b self, holders: &'b [Holder]) -> Vec<values::InFile<'b>> {
        holders.iter().map(|holder| self.in_file(holder)).collect()
    }

    /// Who fills each place along the growing dimension.
    fn owners(&mut self, path: &str, holders: &[Holder], axis: usize) -> Result<Rc<Vec<Run>>, CombineError> {
        let files: Vec<usize> = holders.iter().map(|holder| holder.file).collect();
        let Some(joined) = &self.axis else { return Ok(Rc::new(Vec::new())) };
        for holder in holders {
            let dimension = self.along.as_deref().unwrap_or_default();
            let labels = self.labels.get(holder.file).map_or(&[][..], Vec::as_slice);
            labels::check_placed(&self.files[holder.file], &holder.variable, dimension, labels)?;
        }
        if let Some(known) = self.owners.get(&files) {
            return Ok(Rc::clone(known));
        }
        let dimension = self.along.clone().unwrap_or_default();
        let mut owners: Vec<Option<(usize, u64)>> = vec![None; joined.labels.len()];
        let mut overlaps = false;
        let mut apart: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        for (number, holder) in holders.iter().enumerate() {
            for (from, to) in joined.places[holder.file].iter().enumerate() {
                let place = &mut owners[usize::try_from(*to).unwrap_or(usize::MAX)];
                let mine = (number, from as u64);
                match (*place, self.policies.duplicates) {
                    (None, _) | (Some(_), Duplicates::Last) => *place = Some(mine),
                    (Some(_), Duplicates::First) => {}
                    (Some(other), Duplicates::Error) => {
                        overlaps = true;
                        let are_apart = *apart
                            .entry((other.0, number))
                            .or_insert_with(|| self.hold_different_variables(holders[other.0].file, holder.file));
                        if !are_apart
                            || !same_slice(&holders[other.0].variable, other.1, &holder.variable, mine.1, axis)
                        {
                            return Err(CombineError::Duplicate {
                                dimension,
                                label: joined.labels[usize::try_from(*to).unwrap_or(0)].to_string(),
                                file: self.files[holder.file].name.clone(),
                                first_file: self.files[holders[other.0].file].name.clone(),
                            });
                        }
                    }
                }
            }
        }
        if let Some(at) = owners.iter().position(Option::is_none) {
            let file = joined.places.iter().position(|places| places.contains(&(at as u64))).unwrap_or(0);
            return Err(CombineError::Absent {
                variable: path.to_owned(),
                file: self.files[file].name.clone(),
                first_file: self.files[holders[0].file].name.clone(),
            });
        }
        let owners: Vec<(usize, u64)> = owners.into_iter().flatten().collect();
        let runs = Rc::new(runs_of(&owners));
        // Overlaps were compared by value for this variable only.
        if !overlaps {
            self.owners.insert(files, Rc::clone(&runs));
        }
        Ok(runs)
    }

    /// Whether two files stand side by side, each with a growing variable that the other has not. What both have, such
    /// as the labels, may then be there twice if it is the same.
    fn hold_different_variables(&self, a: usize, b: usize) -> bool {
        let along = self.along.as_deref().unwrap_or_default();
        let brings = |one: &FileView, other: &FileView| {
            let mut growing = one.variables.iter().filter(|variable| variable.axis_of(along).is_some());
            growing.any(|variable| other.variable(&variable.path).is_none())
        };
        brings(&self.files[a], &self.files[b]) && brings(&self.files[b], &self.files[a])
    }

    fn content(
        &self,
        path: &str,
        holders: &[Holder],
        axis: usize,
        runs: &[Run],
        rules: &[ValueRule],
        times: Option<&times::Times>,
    ) -> Result<Content, CombineError> {
        let loaded: Option<Vec<Arc<Values>>> = match times {
            Some(times) => Some(times.values.clone()),
            None => holders.iter().map(|holder| holder.variable.values.clone()).collect(),
        };
        let plain = rules.iter().all(|rule| *rule == ValueRule::Verbatim);
        if let Some(loaded) = loaded.filter(|_| plain) {
            let shapes: Vec<&[u64]> = holders.iter().map(|holder| holder.variable.shape.as_slice()).collect();
            let joined =
                statics::join_values(&loaded, &shapes, axis, runs).ok_or_else(|| CombineError::Unwritable {
                    variable: path.to_owned(),
                    file: self.files[holders[0].file].name.clone(),
                    reason: "its values do not fill its shape".to_owned(),
                })?;
            if joined.len(1) > MOST_INLINE_BYTES {
                return Err(CombineError::TooLarge {
                    variable: path.to_owned(),
                    file: self.files[holders[0].file].name.clone(),
                    reason: format!("{} bytes, the limit is {MOST_INLINE_BYTES}", joined.len(1)),
                });
            }
            return Ok(match joined {
                Values::Fixed(bytes) => Content::Inline(bytes),
                Values::Texts(texts) => Content::Texts(texts),
            });
        }
        let pieces = runs.iter().map(|run| {
            let holder = &holders[run.file];
            let mut at = Region::whole(&holder.variable.shape);
            at.start[axis] = run.to;
            at.shape[axis] = run.count;
            let mut piece = piece(holder.file, &holder.variable, &at, &rules[run.file]);
            if let Some(ViewAxis::Source { start, step, .. }) = piece.axes.get_mut(axis) {
                *start = if *step > 0 { *start + run.from } else { *start - run.from };
            }
            piece
        });
        Ok(Content::Pieces(pieces.collect()))
    }

    /// One that is the same in every file: it is written once, in the type that holds all if their types differ.
    fn static_variable(
        &mut self,
        path: &str,
        holders: &[Holder],
    ) -> Result<(Content, values::ValuePlan), CombineError> {
        self.check_static(path, holders)?;
        let Some(first) = holders.first() else { return Err(CombineError::NoFiles) };
        let may_differ = self.policies.differ.dtype == DifferDtype::Promote && time_units(&first.variable).is_none();
        let types_differ = holders.iter().any(|holder| holder.variable.dtype != first.variable.dtype);
        let written = if may_differ && types_differ { self.named(holders) } else { vec![self.in_file(first)] };
        let plan = values::plan(&written, self.policies)?;
        Ok((self.static_content(first, &plan.rules), plan))
    }

    fn static_content(&self, first: &Holder, rules: &[ValueRule]) -> Content {
        let rule = rules.first().cloned().unwrap_or_default();
        let all = Region::whole(&first.variable.shape);
        let whole = || Content::Pieces(vec![piece(first.file, &first.variable, &all, &rule)]);
        match first.variable.values.as_deref() {
            Some(Values::Texts(texts)) => Content::Texts(texts.clone()),
            Some(Values::Fixed(bytes)) if rule == ValueRule::Verbatim => Content::Inline(bytes.clone()),
            Some(Values::Fixed(bytes)) => {
                widened(&rule, bytes).map_or_else(whole, |values| Content::Inline(values.into()))
            }
            None => whole(),
        }
    }

    /// A variable without the growing dimension must be the same in every file that has it.
    fn check_static(&mut self, path: &str, holders: &[Holder]) -> Result<(), CombineError> {
        let Some((first, rest)) = holders.split_first() else { return Ok(()) };
        let along = self.along.clone().unwrap_or_default();
        for other in rest {
            let (a, b) = (self.in_file(first), self.in_file(other));
            if !statics::equal(&a, &b, &along, self.policies)? {
                let pair = |holder: &Holder| (holder.file, holder.variable.clone());
                self.parts.must_equal.push(MustEqual {
                    path: path.to_owned(),
                    along: along.clone(),
                    first: pair(first),
                    other: pair(other),
                });
            }
        }
        Ok(())
    }

    /// `settled` are the attributes that were decided with the values.
    fn attributes(&mut self, path: &str, holders: &[Holder], settled: &[&str]) -> Result<Attributes, CombineError> {
        let named: Vec<Named<'_>> = holders
            .iter()
            .map(|holder| Named { file: &self.files[holder.file].name, attributes: &holder.variable.attributes })
            .collect();
        let mut settled = settled.to_vec();
        let coordinates = attributes::all_coordinates(path, &named, self.files);
        if coordinates.is_some() {
            settled.push("coordinates");
        }
        let mut joined = attributes::join(path, &named, &settled, self.policies.differ, &mut self.parts.dropped)?;
        if let Some(names) = coordinates {
            joined.set("coordinates", AttributeValue::Text(names));
        }
        Ok(joined)
    }

    fn groups(&mut self) -> Result<Vec<(String, Attributes)>, CombineError> {
        let mut paths: Vec<&str> = Vec::new();
        for group in self.files.iter().flat_map(|file| &file.groups) {
            if !paths.contains(&group.path.as_str()) {
                paths.push(&group.path);
            }
        }
        let files = self.files;
        paths
            .into_iter()
            .map(|path| {
                let named: Vec<Named<'_>> = files
                    .iter()
                    .filter_map(|file| {
                        let group = file.groups.iter().find(|group| group.path == path)?;
                        Some(Named { file: &file.name, attributes: &group.attributes })
                    })
                    .collect();
                let mut dropped = Vec::new();
                let joined = attributes::join("/", &named, &[], self.policies.differ, &mut dropped)?;
                self.parts.dropped.extend(dropped.into_iter().map(|one| Dropped { path: path.to_owned(), ..one }));
                Ok((path.to_owned(), joined))
            })
            .collect()
    }
}

/// Whether the slices of two variables at one label are known to be the same; unknown values count as different.
fn same_slice(a: &ViewVariable, at_a: u64, b: &ViewVariable, at_b: u64, axis: usize) -> bool {
    let slice = |variable: &ViewVariable, at: u64| {
        let run = Run { file: 0, from: at, to: 0, count: 1 };
        let values = variable.values.clone()?;
        statics::join_values(&[values], &[&variable.shape], axis, &[run])
    };
    match (slice(a, at_a), slice(b, at_b)) {
        (Some(x), Some(y)) => a.dtype == b.dtype && x == y && a.attributes.get("units") == b.attributes.get("units"),
        _ => false,
    }
}

/// Whether the boxes of two variables are the same to the bit; unknown values count as different.
fn same_box((a, from_a): (&ViewVariable, &[u64]), (b, from_b): (&ViewVariable, &[u64]), shape: &[u64]) -> bool {
    let cut = |variable: &ViewVariable, from: &[u64]| {
        let values = variable.values.clone()?;
        let part = (0, from.to_vec(), Region::whole(shape));
        let empty = vec![0; variable.dtype.size_bytes().unwrap_or(1) as usize];
        Some(placing::assembled(&[values], &[part], &[&variable.shape], shape, &empty))
    };
    let units = |variable: &ViewVariable| variable.attributes.get("units").cloned();
    match (cut(a, from_a), cut(b, from_b)) {
        (Some(x), Some(y)) => a.dtype == b.dtype && x == y && units(a) == units(b),
        _ => false,
    }
}

/// Small values in a wider type.
fn widened(rule: &ValueRule, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let is_it = matches!(rule, ValueRule::Widen { .. }) && crate::rule::apply(rule, bytes, &mut out).is_ok();
    is_it.then_some(out)
}
