//! What a recipe does to each file before files are joined.
//!
//! Most steps move no data: they change names, attributes, order and extent of a view, and the engine follows its axes
//! back to the file. Where values change, the view gets a rule; where elements change their order or new ones are
//! made, a derived variable says what to read. Steps run in the order written, each sees names as the ones before left
//! them. A name that no file has is an error with its line; a name that some files lack is left to the joining, which
//! knows whether a file may lack it.

mod calc;
mod coordinates;
mod error;
mod extent;
mod geographic;
mod groups;
mod names;
mod numbers;
mod rename;

use std::collections::BTreeMap;

pub use error::{StepError, StepFault, Thing};
pub use names::is_named;

use crate::{
    combine::{
        derived::{Derived, MOST_READS, Origin},
        view::{FileView, Values, ViewAxis, ViewVariable},
    },
    dtype::DataType,
    packing::ValueRule,
    recipe::{
        each::Step,
        source::KeyValue,
        span::{Position, Spanned},
        spec::Selection,
    },
};

/// Does the steps to one file.
///
/// # Errors
/// The first step that cannot be done, or names what the file has not.
pub fn apply(view: &mut FileView, steps: &[Spanned<Step>], keys: &BTreeMap<String, KeyValue>) -> Result<(), StepError> {
    for step in steps {
        if let Some(absent) = one(view, step, keys)?.into_iter().next() {
            return Err(absent);
        }
    }
    Ok(())
}

/// Does the steps to all files of a dataset; `keys` are those of each file, none where it has no row.
///
/// A selection may leave nothing of a file, as long as something is left of another.
///
/// # Errors
/// The first step that cannot be done to a file, or names what no file has.
pub fn apply_all(
    views: &mut [FileView],
    steps: &[Spanned<Step>],
    keys: &[BTreeMap<String, KeyValue>],
) -> Result<(), StepError> {
    let none = BTreeMap::new();
    for step in steps {
        // What every file so far lacks; `None` before the first file.
        let mut lacking: Option<Vec<StepError>> = None;
        for (number, view) in views.iter_mut().enumerate() {
            let absent = one(view, step, keys.get(number).unwrap_or(&none))?;
            lacking = Some(match lacking {
                None => absent,
                Some(known) => {
                    known.into_iter().filter(|one| absent.iter().any(|other| same_name(one, other))).collect()
                }
            });
        }
        if let Some(absent) = lacking.into_iter().flatten().next() {
            return Err(absent);
        }
    }
    Ok(())
}

/// The step that a selection is: `--select` comes after the steps of the recipe.
#[must_use]
pub fn selection(selection: &Selection) -> Option<Spanned<Step>> {
    (!selection.0.is_empty()).then(|| Spanned::unplaced(Step::Subset(selection.0.clone())))
}

/// Whether two files lack the same thing.
fn same_name(a: &StepError, b: &StepError) -> bool {
    let name = |error: &StepError| match &error.fault {
        StepFault::Unknown { name, .. }
        | StepFault::NothingPicked { name, .. }
        | StepFault::NothingInBox { name, .. } => Some(name.clone()),
        _ => None,
    };
    a.at == b.at && name(a) == name(b)
}

/// Why a step fails, and the name that it fails for.
struct Failure {
    at: Position,
    fault: StepFault,
}

/// What a step is done to, and what it misses there.
struct Doing<'a> {
    view: &'a mut FileView,
    keys: &'a BTreeMap<String, KeyValue>,
    /// Names that this file has not.
    absent: Vec<Failure>,
}

/// Does one step; answers what the file lacks for it.
fn one(
    view: &mut FileView,
    step: &Spanned<Step>,
    keys: &BTreeMap<String, KeyValue>,
) -> Result<Vec<StepError>, StepError> {
    // What was not written in a recipe was written on the command line.
    let verb = match &step.value {
        Step::Keep(_) if step.at.line == 0 => "--vars",
        Step::Drop(_) if step.at.line == 0 => "--drop",
        Step::Subset(_) if step.at.line == 0 => "--select",
        Step::Bbox(_) if step.at.line == 0 => "--bbox",
        step => verb(step),
    };
    let file = view.name.clone();
    let named = |failure: Failure| {
        // What is wrong with the step as a whole stands where the step does.
        let at = if failure.at.line == 0 { step.at } else { failure.at };
        StepError { at, step: verb, file: file.clone(), fault: failure.fault }
    };
    let mut doing = Doing { view, keys, absent: Vec::new() };
    match doing.step(&step.value) {
        Ok(()) => Ok(doing.absent.into_iter().map(named).collect()),
        Err(failure) => Err(named(failure)),
    }
}

impl Doing<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Keep(names) => self.keep(names),
            Step::Drop(names) => self.drop(names),
            Step::Rename(pairs) => return self.rename(pairs),
            Step::Group(group) => self.group(group),
            Step::FlattenGroups { separator } => return self.flatten(separator),
            Step::SetCoords(names) => self.set_coords(names),
            Step::AddDim { dimension, label } => return self.add_dim(dimension, label),
            Step::TimeFrom(time) => return self.time_from(time),
            Step::Subset(picks) => return self.subset(picks),
            Step::Bbox(bbox) => return self.bbox(bbox),
            Step::Squeeze(names) => return self.squeeze(names),
            Step::Transpose(names) => self.transpose(names),
            Step::Sort(names) => return self.sort(names),
            Step::Dedup(names) => return self.dedup(names),
            Step::Cast(casts) => return self.cast(casts),
            Step::Mask(masks) => return self.mask(masks),
            Step::Calc(lines) => return self.calc(lines),
            Step::Attrs(edits) => return self.attributes(edits, numbers::Editing::Decoded),
            Step::FixBeforeDecode(edits) => return self.attributes(edits, numbers::Editing::Stored),
            Step::Promote(pairs) => return self.promote(pairs),
        }
        Ok(())
    }

    fn lacks(&mut self, what: Thing, name: &Spanned<String>, known: Vec<String>) {
        let fault = StepFault::Unknown { what, name: name.value.clone(), known };
        self.absent.push(Failure { at: name.at, fault });
    }

    /// Numbers of the variables that a name means; notes if there is none.
    fn named(&mut self, name: &Spanned<String>) -> Vec<usize> {
        let found: Vec<usize> = self.numbers(name);
        if found.is_empty() {
            self.lacks(Thing::Variable, name, names::variables(self.view));
        }
        found
    }

    fn numbers(&self, name: &str) -> Vec<usize> {
        let named = self.view.variables.iter().enumerate().filter(|(_, variable)| is_named(&variable.path, name));
        named.map(|(number, _)| number).collect()
    }

    fn keep(&mut self, names: &[Spanned<String>]) {
        let mut kept = vec![false; self.view.variables.len()];
        for name in names {
            for number in self.named(name) {
                kept[number] = true;
            }
        }
        let mut kept = names::with_needs(self.view, kept).into_iter();
        self.view.variables.retain(|_| kept.next().unwrap_or(false));
    }

    fn drop(&mut self, names: &[Spanned<String>]) {
        let mut gone = vec![false; self.view.variables.len()];
        for name in names {
            let found = self.numbers(name);
            // A pattern that finds none is harmless: nothing hangs on it.
            if found.is_empty() && !name.contains(['*', '?']) {
                self.lacks(Thing::Variable, name, names::variables(self.view));
            }
            for number in found {
                gone[number] = true;
            }
        }
        let mut gone = gone.into_iter();
        self.view.variables.retain(|_| !gone.next().unwrap_or(false));
    }
}

/// How many variables are read for a chunk of this one, itself included.
fn n_reads(view: &FileView, source: usize) -> usize {
    let derived = source.checked_sub(view.n_sources).and_then(|number| view.derived.get(number));
    derived.map_or(1, |derived| derived.n_reads.saturating_add(1))
}

/// Adds a derived variable of the shape, type and chunks of `like`; answers `like`, reading from it.
fn derive(view: &mut FileView, like: ViewVariable, origin: Origin, n_reads: usize) -> Result<ViewVariable, StepFault> {
    if n_reads > MOST_READS {
        return Err(StepFault::TooDeep { name: like.path, limit: MOST_READS });
    }
    let derived = Derived::like(&like, origin, n_reads);
    let made = ViewVariable {
        source: view.n_sources + view.derived.len(),
        axes: (0..like.shape.len()).map(|axis| ViewAxis::Source { axis, start: 0, step: 1 }).collect(),
        fixed: Vec::new(),
        chunk_shape: derived.variable.chunk_shape.clone(),
        is_chunked: false,
        codecs: derived.variable.codecs.clone(),
        rule: ValueRule::Verbatim,
        fill: crate::combine::fill_after(&like.rule, &like.fill),
        ..like
    };
    view.derived.push(derived);
    Ok(made)
}

/// A variable that is held in memory.
fn held(view: &mut FileView, path: &str, dimensions: &[(&str, u64)], dtype: DataType, values: Values) -> ViewVariable {
    let values = std::sync::Arc::new(values);
    let shape: Vec<u64> = dimensions.iter().map(|(_, length)| *length).collect();
    let made = ViewVariable {
        source: 0,
        path: path.to_owned(),
        dimensions: dimensions.iter().map(|(name, _)| (*name).to_owned()).collect(),
        chunk_shape: shape.clone(),
        shape,
        fill: vec![0; dtype.size_bytes().unwrap_or(0) as usize],
        dtype,
        attributes: crate::attribute::Attributes::default(),
        is_json: false,
        axes: Vec::new(),
        fixed: Vec::new(),
        is_chunked: false,
        codecs: crate::codec::CodecChain::default(),
        rule: ValueRule::Verbatim,
        values: Some(std::sync::Arc::clone(&values)),
    };
    // Held values lie on the ground: there is no depth to run out of.
    derive(view, made.clone(), Origin::Held(values), 0).unwrap_or(made)
}

const fn verb(step: &Step) -> &'static str {
    match step {
        Step::Keep(_) => "keep",
        Step::Drop(_) => "drop",
        Step::Rename(_) => "rename",
        Step::Group(_) => "group",
        Step::FlattenGroups { .. } => "flatten_groups",
        Step::SetCoords(_) => "set_coords",
        Step::AddDim { .. } => "add_dim",
        Step::TimeFrom(_) => "time_from",
        Step::Subset(_) => "subset",
        Step::Bbox(_) => "bbox",
        Step::Squeeze(_) => "squeeze",
        Step::Transpose(_) => "transpose",
        Step::Sort(_) => "sort",
        Step::Dedup(_) => "dedup",
        Step::Cast(_) => "cast",
        Step::Mask(_) => "mask",
        Step::Calc(_) => "calc",
        Step::Attrs(_) => "attrs",
        Step::FixBeforeDecode(_) => "fix_before_decode",
        Step::Promote(_) => "promote",
    }
}

#[cfg(test)]
mod tests;
