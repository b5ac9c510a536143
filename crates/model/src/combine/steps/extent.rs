//! Which elements along a dimension, and in which order.
//!
//! Elements that follow one another, forwards or backwards, stay where they are: the axis says where they begin. Others
//! become a derived variable that picks them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    combine::{
        derived::{Input, Origin},
        labels::{Label as AxisLabel, labels_there},
        steps::{
            Doing, Failure, derive,
            error::{StepFault, Thing},
            is_named, n_reads, names,
        },
        view::{FileView, Values, ViewAxis, ViewVariable},
    },
    dtype::{DataType, FloatType},
    recipe::{
        combine::Duplicates,
        date::Moment,
        each::Order,
        span::Spanned,
        spec::{Label, Pick},
    },
};

/// Labels along a dimension.
pub(super) struct Along {
    pub(super) dimension: String,
    /// The group of the variable that holds them.
    pub(super) group: String,
    /// Nothing stands for one that is missing.
    pub(super) labels: Vec<Option<AxisLabel>>,
    pub(super) dtype: DataType,
}

impl Along {
    /// The first and the last label that is there, in words.
    pub(super) fn ends(&self) -> Option<(String, String)> {
        let mut there = self.labels.iter().flatten();
        let first = there.next()?;
        Some((first.to_string(), there.last().unwrap_or(first).to_string()))
    }
}

impl Doing<'_> {
    pub(super) fn subset(&mut self, picks: &[(Spanned<String>, Pick)]) -> Result<(), Failure> {
        for (name, pick) in picks {
            let Some(along) = self.along(name)? else { continue };
            let failed = |fault| Failure { at: name.at, fault };
            let wanted = picked(&along, pick, name).map_err(failed)?;
            let takes = |label: &Option<AxisLabel>| label.as_ref().is_some_and(|label| wanted.takes(label));
            let indexes: Vec<u64> =
                along.labels.iter().zip(0..).filter(|(label, _)| takes(label)).map(|(_, index)| index).collect();
            if let (true, Some((first, last))) = (indexes.is_empty(), along.ends()) {
                let fault = StepFault::NothingPicked { name: name.value.clone(), written: written(pick), first, last };
                self.absent.push(failed(fault));
            }
            self.take_along(&along, &indexes).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn sort(&mut self, names: &[(Spanned<String>, Order)]) -> Result<(), Failure> {
        for (name, order) in names {
            let Some(along) = self.along(name)? else { continue };
            let mut sorted: Vec<(&Option<AxisLabel>, u64)> = along.labels.iter().zip(0..).collect();
            // What is missing comes last in both orders, as xarray sorts.
            sorted.sort_by(|(a, _), (b, _)| {
                let by_label = if *order == Order::Ascending { a.cmp(b) } else { b.cmp(a) };
                a.is_none().cmp(&b.is_none()).then(by_label)
            });
            let indexes: Vec<u64> = sorted.into_iter().map(|(_, index)| index).collect();
            self.take_along(&along, &indexes).map_err(|fault| Failure { at: name.at, fault })?;
        }
        Ok(())
    }

    pub(super) fn dedup(&mut self, names: &[(Spanned<String>, Duplicates)]) -> Result<(), Failure> {
        for (name, which) in names {
            let Some(along) = self.along(name)? else { continue };
            let failed = |fault| Failure { at: name.at, fault };
            let mut chosen: BTreeMap<&Option<AxisLabel>, u64> = BTreeMap::new();
            for (label, index) in along.labels.iter().zip(0..) {
                match (chosen.contains_key(label), which) {
                    (true, Duplicates::Error) => {
                        let label = label.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
                        let name = name.value.clone();
                        return Err(failed(StepFault::Twice { name, label }));
                    }
                    (true, Duplicates::First) => {}
                    (false, _) | (true, Duplicates::Last) => {
                        chosen.insert(label, index);
                    }
                }
            }
            let indexes: BTreeSet<u64> = chosen.into_values().collect();
            self.take_along(&along, &indexes.into_iter().collect::<Vec<_>>()).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn squeeze(&mut self, names: &[Spanned<String>]) -> Result<(), Failure> {
        let known = names::dimensions(self.view);
        let wanted: Vec<String> =
            if names.is_empty() { known.clone() } else { names.iter().map(|name| name.value.clone()).collect() };
        for name in names {
            if !known.contains(&name.value) {
                self.lacks(Thing::Dimension, name, known.clone());
            }
        }
        let mut scalars: Vec<String> = Vec::new();
        for variable in &mut self.view.variables {
            let is_coordinate = variable.dimensions == [variable.name()];
            for name in &wanted {
                while let Some(axis) = variable.axis_of(name) {
                    let got = variable.shape[axis];
                    if got != 1 && names.is_empty() {
                        break;
                    }
                    if got != 1 {
                        let at = names.iter().find(|one| one.value == *name).map(|one| one.at).unwrap_or_default();
                        let fault = StepFault::NotSingle { name: variable.path.clone(), dimension: name.clone(), got };
                        return Err(Failure { at, fault });
                    }
                    without_axis(variable, axis);
                    if is_coordinate {
                        scalars.push(variable.path.clone());
                    }
                }
            }
        }
        // A coordinate without its dimension is one still, if it is said.
        self.name_coordinates(&scalars);
        Ok(())
    }

    pub(super) fn transpose(&mut self, names: &[Spanned<String>]) {
        let known = names::dimensions(self.view);
        for name in names {
            if !known.contains(&name.value) {
                self.lacks(Thing::Dimension, name, known.clone());
            }
        }
        for variable in &mut self.view.variables {
            let place =
                |dimension: &String| names.iter().position(|name| name.value == *dimension).unwrap_or(names.len());
            let mut order: Vec<usize> = (0..variable.dimensions.len()).collect();
            order.sort_by_key(|axis| place(&variable.dimensions[*axis]));
            if !order.is_sorted() {
                *variable = variable.transposed(&order);
            }
        }
    }

    /// The labels that `name` stands for; notes if the file has none.
    fn along(&mut self, name: &Spanned<String>) -> Result<Option<Along>, Failure> {
        let mut found: Vec<&ViewVariable> =
            self.view.variables.iter().filter(|variable| is_named(&variable.path, name)).collect();
        found.sort_by_key(|variable| (variable.dimensions != [variable.name()], variable.dimensions.len() != 1));
        let failed = |fault| Failure { at: name.at, fault };
        let Some(variable) = found.first() else {
            if names::dimensions(self.view).contains(&name.value) {
                let reason = "no variable of that name labels the dimension".to_owned();
                return Err(failed(StepFault::Labels { name: name.value.clone(), reason }));
            }
            let known = self.view.variables.iter().filter(|variable| variable.dimensions.len() == 1);
            let known = known.map(|variable| variable.name().to_owned()).collect();
            self.lacks(Thing::Coordinate, name, known);
            return Ok(None);
        };
        let [dimension] = variable.dimensions.as_slice() else {
            let n_dimensions = variable.dimensions.len();
            return Err(failed(StepFault::NotOneDimensional { name: name.value.clone(), n_dimensions }));
        };
        let blind =
            |one: &&ViewVariable| one.axis_of(dimension).is_some() && !names::sees(one.group(), variable.group());
        if let (false, Some(other)) = (name.contains('/'), self.view.variables.iter().find(blind)) {
            let reason = format!("`{}` has the dimension, too, and does not see them", other.path);
            return Err(failed(StepFault::Labels { name: name.value.clone(), reason }));
        }
        let labels =
            labels_there(variable).map_err(|reason| failed(StepFault::Labels { name: name.value.clone(), reason }))?;
        // A name may mean a dimension of each of several groups: one at a time.
        if let Some(other) = found.iter().skip(1).find(|other| other.dimensions.len() == 1) {
            let reason = format!("it may be `{}` or `{}`; write the whole path", variable.path, other.path);
            return Err(failed(StepFault::Labels { name: name.value.clone(), reason }));
        }
        let (dimension, group) = (dimension.clone(), variable.group().to_owned());
        Ok(Some(Along { dimension, group, labels, dtype: variable.label_type() }))
    }

    /// Takes these elements of every variable along a dimension.
    pub(super) fn take_along(&mut self, along: &Along, indexes: &[u64]) -> Result<(), StepFault> {
        let length = along.labels.len() as u64;
        if indexes.len() == along.labels.len() && indexes.is_sorted() {
            return Ok(());
        }
        let indexes = Arc::new(indexes.to_vec());
        for number in 0..self.view.variables.len() {
            let variable = &self.view.variables[number];
            if !names::sees(variable.group(), &along.group) {
                continue;
            }
            for axis in 0..variable.dimensions.len() {
                let variable = &self.view.variables[number];
                if variable.dimensions[axis] != along.dimension {
                    continue;
                }
                if variable.shape[axis] != length {
                    return Err(StepFault::Lengths {
                        name: variable.path.clone(),
                        length: variable.shape[axis],
                        dimension: along.dimension.clone(),
                        other: "its coordinate".to_owned(),
                        other_length: length,
                    });
                }
                self.view.variables[number] = taken(self.view, number, axis, &indexes)?;
            }
        }
        Ok(())
    }
}

/// A variable with these elements along one axis.
fn taken(view: &mut FileView, number: usize, axis: usize, indexes: &Arc<Vec<u64>>) -> Result<ViewVariable, StepFault> {
    let before = &view.variables[number];
    let mut after = before.clone();
    after.shape[axis] = indexes.len() as u64;
    after.values = before.values.as_ref().map(|values| Arc::new(values.picked(&before.shape, axis, indexes)));
    if let Some((first, is_backwards)) = run(indexes) {
        if let ViewAxis::Source { start, step, .. } = &mut after.axes[axis] {
            *start = if *step > 0 { *start + first } else { start.saturating_sub(first) };
            *step = if is_backwards { -*step } else { *step };
        }
        return Ok(after);
    }
    match after.values.clone() {
        // Texts are held whole; nothing is read for them.
        Some(values) if matches!(*values, Values::Texts(_)) => Ok(after),
        Some(values) => {
            after.chunk_shape.clone_from(&after.shape);
            derive(view, after, Origin::Held(values), 0)
        }
        None => {
            let reads = n_reads(view, before.source);
            let input = Input::of(before);
            after.chunk_shape[axis] = after.chunk_shape[axis].min(after.shape[axis]).max(1);
            derive(view, after, Origin::Picked { input, axis, indexes: Arc::clone(indexes) }, reads)
        }
    }
}

/// The first of elements that follow one another, and whether they run backwards.
fn run(indexes: &[u64]) -> Option<(u64, bool)> {
    let Some(first) = indexes.first() else { return Some((0, false)) };
    let follows = |pair: &[u64], step: i8| match pair {
        [a, b] if step > 0 => a.checked_add(1) == Some(*b),
        [a, b] => b.checked_add(1) == Some(*a),
        _ => true,
    };
    let forwards = indexes.windows(2).all(|pair| follows(pair, 1));
    let backwards = indexes.windows(2).all(|pair| follows(pair, -1));
    (forwards || backwards).then_some((*first, !forwards))
}

fn without_axis(variable: &mut ViewVariable, axis: usize) {
    variable.dimensions.remove(axis);
    variable.shape.remove(axis);
    variable.chunk_shape.remove(axis);
    if let ViewAxis::Source { axis: source, start, .. } = variable.axes.remove(axis) {
        variable.fixed.push((source, start));
    }
}

/// A pick in the kind of the labels.
enum Wanted {
    Numbers(Option<f64>, Option<f64>),
    Integers(Option<i128>, Option<i128>),
    Times(Option<Moment>, Option<Moment>),
    Texts(Option<String>, Option<String>),
}

impl Wanted {
    fn takes(&self, label: &AxisLabel) -> bool {
        fn within<T: PartialOrd>(value: &T, from: Option<&T>, to: Option<&T>) -> bool {
            from.is_none_or(|from| value >= from) && to.is_none_or(|to| value <= to)
        }
        match (self, label) {
            (Self::Numbers(from, to), AxisLabel::Number(value)) => within(value, from.as_ref(), to.as_ref()),
            #[allow(clippy::cast_precision_loss)] // a range in fractions over whole labels
            (Self::Numbers(from, to), AxisLabel::Integer(value)) => {
                within(&(*value as f64), from.as_ref(), to.as_ref())
            }
            (Self::Integers(from, to), AxisLabel::Integer(value)) => within(value, from.as_ref(), to.as_ref()),
            (Self::Texts(from, to), AxisLabel::Text(value)) => within(value, from.as_ref(), to.as_ref()),
            (Self::Times(from, to), AxisLabel::Time(instant, calendar)) => {
                // Dates are compared as they are written, which needs no date that a calendar does not have.
                let date = instant.date(*calendar);
                let value = (date.year, date.month, date.day, date.hour, date.minute, date.second);
                within(&value, from.map(parts).as_ref(), to.map(parts).as_ref())
            }
            _ => false,
        }
    }
}

fn parts(moment: Moment) -> (i64, u8, u8, u8, u8, u8) {
    (i64::from(moment.year), moment.month, moment.day, moment.hour, moment.minute, moment.second)
}

fn picked(along: &Along, pick: &Pick, name: &Spanned<String>) -> Result<Wanted, StepFault> {
    let (from, to) = match pick {
        Pick::At(label) => (Some(label), Some(label)),
        Pick::Between(from, to) => (from.as_ref(), to.as_ref()),
    };
    fn both<T>(
        from: Option<&Label>,
        to: Option<&Label>,
        read: impl Fn(&Label) -> Option<T>,
        wrong: impl Fn(&Label) -> StepFault,
    ) -> Result<(Option<T>, Option<T>), StepFault> {
        let one = |label: Option<&Label>| label.map(|label| read(label).ok_or_else(|| wrong(label))).transpose();
        Ok((one(from)?, one(to)?))
    }
    let kind = |wanted: &'static str| {
        move |label: &Label| StepFault::LabelKind { name: name.value.clone(), written: label.0.clone(), wanted }
    };
    Ok(match along.labels.iter().flatten().next() {
        Some(AxisLabel::Time(_, calendar)) => {
            let time = |label: &Label| label.time_in(*calendar);
            let (first, _) = both(from, None, |label| time(label).map(|time| time.first), kind("time"))?;
            let (_, last) =
                both(None, to, |label| time(label).map(|time| end_of(time.first, time.last)), kind("time"))?;
            Wanted::Times(first, last)
        }
        Some(AxisLabel::Integer(_)) => match both(from, to, |label| label.0.parse().ok(), kind("number")) {
            Ok((from, to)) => Wanted::Integers(from, to),
            Err(_) => {
                let (from, to) = both(from, to, Label::number, kind("number"))?;
                Wanted::Numbers(from, to)
            }
        },
        Some(AxisLabel::Number(_)) => {
            #[allow(clippy::cast_possible_truncation)] // 0.1 means the label that shows as 0.1
            let round = |value: f64| match along.dtype {
                DataType::Float(FloatType::F32) => f64::from(value as f32),
                _ => value,
            };
            let (from, to) = both(from, to, |label| label.number().map(round), kind("number"))?;
            Wanted::Numbers(from, to)
        }
        Some(AxisLabel::Text(_)) | None => {
            let (from, to) = both(from, to, |label| Some(label.0.clone()), kind("text"))?;
            Wanted::Texts(from, to)
        }
    })
}

/// The last second of a written time. A month of the 360-day calendar has a 30th of February: whole months end on
/// the 31st of any.
fn end_of(first: Moment, last: Moment) -> Moment {
    let is_whole_month = first.day == 1 && last.day > 27;
    if is_whole_month { Moment { day: 31, ..last } } else { last }
}

fn written(pick: &Pick) -> String {
    let show = |label: &Option<Label>| label.as_ref().map_or(String::new(), |label| label.0.clone());
    match pick {
        Pick::At(label) => format!("`{}`", label.0),
        Pick::Between(from, to) => format!("in `{}/{}`", show(from), show(to)),
    }
}
