//! The dimensions along which elements are placed: their labels over all files, and what must hold of those.

use super::Joining;
use crate::{
    combine::{
        attributes,
        error::{CombineError, Rule},
        labels::{self, Axis, Label, join_labels, labels_of},
        placing::{Holes, Placed},
        policy::{Alignment, DifferUnits, Otherwise, Policies},
        view::FileView,
    },
    recipe::amount::Interval,
    time::{Calendar, Instant},
};

impl Joining<'_> {
    /// Puts the labels of all files on one axis.
    pub(super) fn place(&mut self, dimension: &str) -> Result<(), CombineError> {
        let mut labels = self
            .files
            .iter()
            .map(|file| {
                let labels = labels_of(file, dimension)?;
                // Where files are placed along other dimensions as well, one need not have this one.
                let has_it = file.variables.iter().any(|variable| variable.axis_of(dimension).is_some());
                let may_lack = !self.policies.also_along.is_empty() || self.holes(dimension) != Holes::Never;
                labels
                    .or_else(|| (may_lack && !has_it).then(Vec::new))
                    .ok_or_else(|| CombineError::NoLabels { dimension: dimension.to_owned(), file: file.name.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        labels::in_one_calendar(&mut labels);
        self.check_calendars(dimension, &labels)?;
        self.check_units(dimension, &labels)?;
        let axis = join_labels(dimension, self.files, &labels, self.policies)?;
        self.check_steps(dimension, &axis)?;
        self.axis = Some(axis);
        self.labels = labels;
        Ok(())
    }

    /// Puts the labels of further dimensions on axes: those that are joined as well, and those of which every file may
    /// have others.
    pub(super) fn place_others(&mut self) -> Result<(), CombineError> {
        let mut names: Vec<String> = self.policies.also_along.clone();
        for name in self.files.iter().flat_map(|file| &file.variables).flat_map(|variable| &variable.dimensions) {
            if self.policies.align.of(name) == Alignment::Outer && !names.contains(name) {
                names.push(name.clone());
            }
        }
        for name in names {
            if self.along.as_ref() == Some(&name) {
                continue;
            }
            let labels = self.files.iter().map(|file| labels_of(file, &name)).collect::<Result<Vec<_>, _>>()?;
            if labels.iter().all(Option::is_none) {
                let known = self.policies.also_along.contains(&name);
                let file = self.files.first().map(|file| file.name.clone()).unwrap_or_default();
                match known {
                    true => return Err(CombineError::NoLabels { dimension: name, file }),
                    // Without labels there is nothing to place by: the lengths must agree.
                    false => continue,
                }
            }
            let has_dimension =
                |file: &FileView| file.variables.iter().any(|variable| variable.axis_of(&name).is_some());
            for (file, labels) in self.files.iter().zip(&labels) {
                if labels.is_none() && has_dimension(file) {
                    return Err(CombineError::NoLabels { dimension: name, file: file.name.clone() });
                }
            }
            let mut labels: Vec<Vec<Label>> = labels.into_iter().map(Option::unwrap_or_default).collect();
            labels::in_one_calendar(&mut labels);
            self.check_calendars(&name, &labels)?;
            self.check_units(&name, &labels)?;
            let axis = join_labels(&name, self.files, &labels, &Policies { descends: None, ..self.policies.clone() })?;
            let holes = self.holes(&name);
            self.placed.push(Placed { name, axis, holes });
        }
        if let (Some(name), Some(axis)) = (&self.along, &self.axis) {
            let (name, holes) = (name.clone(), self.holes(name));
            if holes != Holes::Never || !self.placed.is_empty() {
                self.placed.insert(0, Placed { name, axis: axis.clone(), holes });
            }
        }
        Ok(())
    }

    fn holes(&self, dimension: &str) -> Holes {
        if self.policies.align.of(dimension) == Alignment::Outer {
            return Holes::Anywhere;
        }
        match self.policies.fillable.iter().find(|(name, _)| name == dimension) {
            Some((_, labels)) => Holes::At(labels.iter().cloned().collect()),
            None => Holes::Never,
        }
    }

    /// Along dimensions without places, all files must be equally long.
    pub(super) fn check_lengths(&self, paths: &[&str]) -> Result<(), CombineError> {
        let is_placed =
            |name: &String| self.along.as_ref() == Some(name) || self.placed.iter().any(|one| one.name == *name);
        for path in paths {
            let holders = self.holders(path)?;
            let Some((first, rest)) = holders.split_first() else { continue };
            for other in rest {
                for (axis, name) in first.variable.dimensions.iter().enumerate().filter(|(_, name)| !is_placed(name)) {
                    let (mine, theirs) = (first.variable.shape[axis], other.variable.shape[axis]);
                    if mine != theirs {
                        return Err(CombineError::Differs {
                            rule: Rule::Length,
                            variable: (*path).to_owned(),
                            what: format!("dimension `{name}` of length"),
                            file: self.files[other.file].name.clone(),
                            value: theirs.to_string(),
                            first_file: self.files[first.file].name.clone(),
                            first_value: mine.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_calendars(&self, dimension: &str, labels: &[Vec<Label>]) -> Result<(), CombineError> {
        let kind = |label: &Label| match label {
            Label::Time(_, calendar) => format!("calendar `{calendar}`"),
            Label::Number(_) | Label::Integer(_) => "plain numbers".to_owned(),
            Label::Text(_) => "texts".to_owned(),
        };
        let mut first: Option<(usize, String)> = None;
        for (file, labels) in labels.iter().enumerate() {
            let Some(kind) = labels.first().map(kind) else { continue };
            match &first {
                Some((first_file, first_kind)) if *first_kind != kind => {
                    return Err(CombineError::Differs {
                        rule: Rule::Calendar,
                        variable: dimension.to_owned(),
                        what: "labels of".to_owned(),
                        file: self.files[file].name.clone(),
                        value: kind,
                        first_file: self.files[*first_file].name.clone(),
                        first_value: first_kind.clone(),
                    });
                }
                Some(_) => {}
                None => first = Some((file, kind)),
            }
        }
        Ok(())
    }

    /// Numbers in other units are not the same labels, even where they are the same numbers: months since one date and
    /// months since another are no times that could be compared.
    fn check_units(&self, dimension: &str, labels: &[Vec<Label>]) -> Result<(), CombineError> {
        let is_number = |label: &Label| matches!(label, Label::Number(_) | Label::Integer(_));
        let mut coordinates = self
            .files
            .iter()
            .zip(labels)
            .filter(|(_, labels)| labels.first().is_some_and(is_number))
            .filter_map(|(file, _)| Some((file, labels::coordinate_of(file, dimension)?)));
        let Some((first_file, first)) = coordinates.next() else { return Ok(()) };
        if self.policies.differ.units == DifferUnits::First {
            return Ok(());
        }
        let units = first.attributes.get("units");
        match coordinates.find(|(_, other)| !attributes::same("units", units, other.attributes.get("units"))) {
            Some((file, other)) => Err(CombineError::Differs {
                rule: Rule::Units,
                variable: first.path.clone(),
                what: "units".to_owned(),
                file: file.name.clone(),
                value: attributes::show(other.attributes.get("units")),
                first_file: first_file.name.clone(),
                first_value: attributes::show(units),
            }),
            None => Ok(()),
        }
    }

    fn check_steps(&mut self, dimension: &str, axis: &Axis) -> Result<(), CombineError> {
        let Some(gaps) = &self.policies.gaps else { return Ok(()) };
        for (at, pair) in axis.labels.windows(2).enumerate() {
            let [Label::Time(before, calendar), Label::Time(after, _)] = pair else { continue };
            if keeps_step(*before, *after, *calendar, gaps.expect) {
                continue;
            }
            let to = at as u64 + 1;
            let file = axis.places.iter().position(|places| places.contains(&to)).unwrap_or(0);
            let gap = CombineError::Gap {
                dimension: dimension.to_owned(),
                before: pair[0].to_string(),
                after: pair[1].to_string(),
                file: self.files[file].name.clone(),
                expected: gaps.expect.to_string(),
            };
            match gaps.otherwise {
                Otherwise::Error => return Err(gap),
                Otherwise::Allow => self.parts.notes.push((format!("/{dimension}"), gap.to_string())),
            }
        }
        Ok(())
    }
}

/// Whether two times are one step apart.
pub(in crate::combine) fn keeps_step(before: Instant, after: Instant, calendar: Calendar, step: Interval) -> bool {
    match step {
        Interval::Milliseconds(length) => {
            (after.nanoseconds() - before.nanoseconds()).abs() == i128::from(length) * 1_000_000
        }
        // Months differ in length, and monthly data is labelled at the middle as often as at the start.
        Interval::Months(n_months) => {
            let month = |instant: Instant| {
                let date = instant.date(calendar);
                date.year * 12 + i64::from(date.month)
            };
            (month(after) - month(before)).abs() == i64::from(n_months)
        }
    }
}
