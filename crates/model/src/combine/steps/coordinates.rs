//! Coordinates: what readers take for one, and labels that do not stand in the file.

use crate::{
    attribute::{AttributeValue, Attributes, Numbers},
    combine::{
        steps::{
            Doing, Failure,
            error::{StepFault, Thing},
            held, names,
        },
        view::{Values, ViewAxis},
    },
    dtype::{DataType, FloatType, IntType},
    recipe::{
        date::{Moment, WrittenTime},
        each::{DimLabel, TimeFrom, TimeSource},
        source::KeyValue,
        span::Spanned,
    },
};

/// Units of the times that frazil writes itself: whole seconds hold every moment of a file name, in every file alike.
const UNITS: &str = "seconds since 1970-01-01";
const CALENDAR: &str = "proleptic_gregorian";

/// A label that does not stand in a coordinate of the file.
struct NewLabel {
    dtype: DataType,
    values: Values,
    attributes: Attributes,
}

impl NewLabel {
    fn integer(value: i64) -> Self {
        let bytes = value.to_le_bytes().to_vec();
        Self {
            dtype: DataType::Int(IntType::I64),
            values: Values::Fixed(bytes.into()),
            attributes: Attributes::default(),
        }
    }

    fn time(moment: Moment) -> Self {
        let mut label = Self::integer(moment.unix_seconds());
        label.attributes.set("units", AttributeValue::Text(UNITS.to_owned()));
        label.attributes.set("calendar", AttributeValue::Text(CALENDAR.to_owned()));
        label
    }

    fn text(text: String) -> Self {
        let values = Values::Texts(vec![Some(text)]);
        Self { dtype: DataType::String, values, attributes: Attributes::default() }
    }

    fn number(value: f64) -> Self {
        let bytes = value.to_le_bytes().to_vec();
        let dtype = DataType::Float(FloatType::F64);
        Self { dtype, values: Values::Fixed(bytes.into()), attributes: Attributes::default() }
    }
}

impl Doing<'_> {
    /// Says in `coordinates` attributes what is a coordinate, as xarray does when it writes: on each variable that has
    /// all dimensions of the coordinate, or else on the dataset.
    pub(super) fn set_coords(&mut self, wanted: &[Spanned<String>]) {
        let mut paths: Vec<String> = Vec::new();
        for name in wanted {
            let found = self.numbers(name);
            if found.is_empty() && !name.contains(['*', '?']) {
                self.lacks(Thing::Variable, name, names::variables(self.view));
            }
            paths.extend(found.into_iter().map(|number| self.view.variables[number].path.clone()));
        }
        self.name_coordinates(&paths);
    }

    pub(super) fn name_coordinates(&mut self, paths: &[String]) {
        if paths.is_empty() {
            return;
        }
        let already = names::coordinates(self.view);
        let new: Vec<(String, String, Vec<String>)> = self
            .view
            .variables
            .iter()
            .filter(|variable| paths.contains(&variable.path) && variable.dimensions != [variable.name()])
            .map(|variable| (variable.path.clone(), variable.group().to_owned(), variable.dimensions.clone()))
            .collect();
        let mut unnamed: Vec<&(String, String, Vec<String>)> = new.iter().collect();
        let there: Vec<(String, String)> =
            self.view.variables.iter().map(|one| (one.group().to_owned(), one.name().to_owned())).collect();
        for (variable, is_coordinate) in self.view.variables.iter_mut().zip(already) {
            if is_coordinate || paths.contains(&variable.path) {
                continue;
            }
            let group = variable.group().to_owned();
            // One name that is not there makes xarray overlook all the others.
            let mut listed = names::words(&variable.attributes, "coordinates");
            listed.retain(|name| {
                name.contains('/') || there.iter().any(|(at, one)| one == name && names::sees(&group, at))
            });
            let n_before = listed.len();
            for coordinate in &new {
                let (path, at, dimensions) = coordinate;
                if *at != group || !dimensions.iter().all(|name| variable.dimensions.contains(name)) {
                    continue;
                }
                unnamed.retain(|one| one.0 != *path);
                let name = path.rsplit('/').next().unwrap_or(path).to_owned();
                if !listed.contains(&name) {
                    listed.push(name);
                }
            }
            if listed.len() > n_before {
                listed.sort_unstable();
                variable.attributes.set("coordinates", AttributeValue::Text(listed.join(" ")));
            }
        }
        let unnamed: Vec<(String, String)> =
            unnamed.into_iter().map(|(path, group, _)| (group.clone(), path.clone())).collect();
        for (group, path) in unnamed {
            let Some(group) = self.view.groups.iter_mut().find(|one| one.path == group) else { continue };
            let mut listed = names::words(&group.attributes, "coordinates");
            let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
            if !listed.contains(&name) {
                listed.push(name);
                listed.sort_unstable();
                group.attributes.set("coordinates", AttributeValue::Text(listed.join(" ")));
            }
        }
    }

    /// A dimension of length one before all others, on every variable that is no coordinate.
    pub(super) fn add_dim(&mut self, dimension: &Spanned<String>, label: &Spanned<DimLabel>) -> Result<(), Failure> {
        let new = match &label.value {
            DimLabel::Integer(value) => NewLabel::integer(*value),
            DimLabel::Number(value) => NewLabel::number(*value),
            DimLabel::Text(text) => NewLabel::text(text.clone()),
            DimLabel::Key(name) => match self.key(&Spanned::new(name.clone(), label.at))? {
                KeyValue::Integer { value, .. } => NewLabel::integer(value),
                KeyValue::Time(moment) => NewLabel::time(moment),
                KeyValue::Text(text) => NewLabel::text(text),
            },
        };
        self.with_dimension(dimension, new)
    }

    fn with_dimension(&mut self, dimension: &Spanned<String>, label: NewLabel) -> Result<(), Failure> {
        let taken =
            |what| Err(Failure { at: dimension.at, fault: StepFault::Taken { what, name: dimension.value.clone() } });
        if names::dimensions(self.view).contains(&dimension.value) {
            return taken(Thing::Dimension);
        }
        let path = format!("/{}", dimension.value);
        match self.view.variable(&path) {
            // A scalar of the name was the label so far.
            Some(scalar) if scalar.shape.is_empty() => self.view.variables.retain(|variable| variable.path != path),
            Some(_) => return taken(Thing::Variable),
            None => {}
        }
        let coordinates = names::coordinates(self.view);
        for (variable, is_coordinate) in self.view.variables.iter_mut().zip(coordinates) {
            if !is_coordinate {
                variable.dimensions.insert(0, dimension.value.clone());
                variable.shape.insert(0, 1);
                variable.chunk_shape.insert(0, 1);
                variable.axes.insert(0, ViewAxis::New);
            }
        }
        self.add_coordinate(&dimension.value, 1, label);
        Ok(())
    }

    fn add_coordinate(&mut self, dimension: &str, length: u64, label: NewLabel) {
        let mut coordinate =
            held(self.view, &format!("/{dimension}"), &[(dimension, length)], label.dtype, label.values);
        coordinate.attributes = label.attributes;
        self.view.variables.insert(0, coordinate);
    }

    fn key(&self, name: &Spanned<String>) -> Result<KeyValue, Failure> {
        self.keys.get(&name.value).cloned().ok_or_else(|| {
            let known = self.keys.keys().cloned().collect();
            Failure { at: name.at, fault: StepFault::NoKey { name: name.value.clone(), known } }
        })
    }

    /// The time of a file from a key, an attribute or another variable.
    pub(super) fn time_from(&mut self, time: &TimeFrom) -> Result<(), Failure> {
        let (origin, label) = match &time.from {
            TimeSource::Key(name) => match self.key(name)? {
                KeyValue::Time(moment) => (format!("key `{name}`"), NewLabel::time(moment)),
                other => {
                    // A year alone stands for its first moment, as it does in a file name.
                    let written = other.to_string();
                    let origin = format!("key `{name}`");
                    let fault = StepFault::NotATime { origin: origin.clone(), written: written.clone(), format: None };
                    let moment = written.parse::<WrittenTime>().map_err(|_| Failure { at: name.at, fault })?.first;
                    (origin, NewLabel::time(moment))
                }
            },
            TimeSource::Attribute(name, format) => {
                let Some(text) = self.root().and_then(|root| root.attributes.get(name).map(written)) else {
                    self.lacks(Thing::Attribute, name, self.root_attributes());
                    return Ok(());
                };
                let origin = format!("attribute `{name}`");
                let moment = match format {
                    Some(format) => format.read(text.trim()),
                    None => plain_time(text.trim()),
                };
                let format = format.as_ref().map(ToString::to_string);
                let fault = StepFault::NotATime { origin: origin.clone(), written: text, format };
                (origin, NewLabel::time(moment.ok_or(Failure { at: name.at, fault })?))
            }
            TimeSource::Variable(name) => return self.time_of_variable(&time.dimension, name),
        };
        let dimension = &time.dimension;
        match self.length_of(&dimension.value) {
            None => self.with_dimension(dimension, label),
            Some(1) => {
                self.view.variables.retain(|variable| variable.path != format!("/{dimension}"));
                self.add_coordinate(&dimension.value, 1, label);
                Ok(())
            }
            Some(got) => {
                let fault = StepFault::OneLabel { dimension: dimension.value.clone(), got, origin };
                Err(Failure { at: dimension.at, fault })
            }
        }
    }

    /// A scalar becomes the label of a new dimension; labels along the dimension become its coordinate.
    fn time_of_variable(&mut self, dimension: &Spanned<String>, name: &Spanned<String>) -> Result<(), Failure> {
        let Some(number) = self.named(name).into_iter().next() else { return Ok(()) };
        let variable = self.view.variables[number].clone();
        let failed = |fault| Failure { at: name.at, fault };
        let Some(values) = variable.values.clone() else {
            let reason = "its values could not be read".to_owned();
            return Err(failed(StepFault::Labels { name: name.value.clone(), reason }));
        };
        let label = NewLabel {
            dtype: variable.dtype.clone(),
            values: values.as_ref().clone(),
            attributes: variable.attributes.clone(),
        };
        if variable.dimensions == [dimension.value.clone()] {
            let path = format!("/{dimension}");
            if variable.path != path {
                self.view.variables.retain(|one| one.path != path);
                self.add_coordinate(&dimension.value, variable.shape[0], label);
            }
            return Ok(());
        }
        if variable.shape.iter().any(|length| *length != 1) {
            let n_dimensions = variable.dimensions.len();
            return Err(failed(StepFault::NotOneDimensional { name: name.value.clone(), n_dimensions }));
        }
        // The variable is the coordinate from here on.
        self.view.variables.remove(number);
        match self.length_of(&dimension.value) {
            None => self.with_dimension(dimension, label),
            Some(1) => {
                self.view.variables.retain(|one| one.path != format!("/{dimension}"));
                self.add_coordinate(&dimension.value, 1, label);
                Ok(())
            }
            Some(got) => {
                let (dimension, origin) = (dimension.value.clone(), format!("`{name}`"));
                Err(failed(StepFault::OneLabel { dimension, got, origin }))
            }
        }
    }

    fn length_of(&self, dimension: &str) -> Option<u64> {
        self.view.variables.iter().find_map(|variable| Some(variable.shape[variable.axis_of(dimension)?]))
    }

    fn root(&self) -> Option<&crate::dataset::Group> {
        self.view.groups.iter().find(|group| group.path == "/")
    }

    fn root_attributes(&self) -> Vec<String> {
        let names = self.root().into_iter().flat_map(|root| &root.attributes.0);
        names.map(|(name, _)| name.clone()).collect()
    }

    /// Attributes of the dataset become scalar variables.
    pub(super) fn promote(&mut self, pairs: &[(Spanned<String>, Spanned<String>)]) -> Result<(), Failure> {
        for (attribute, name) in pairs {
            let Some(value) = self.root().and_then(|root| root.attributes.get(attribute).cloned()) else {
                self.lacks(Thing::Attribute, attribute, self.root_attributes());
                continue;
            };
            let path = names::path_in("/", name);
            if self.view.variable(&path).is_some() {
                let fault = StepFault::Taken { what: Thing::Variable, name: name.value.clone() };
                return Err(Failure { at: name.at, fault });
            }
            let (dtype, values) = match value {
                AttributeValue::Text(text) => (DataType::String, Values::Texts(vec![Some(text)])),
                AttributeValue::Texts(texts) if texts.len() == 1 => {
                    (DataType::String, Values::Texts(texts.into_iter().map(Some).collect()))
                }
                AttributeValue::Numbers(numbers) if numbers.len() == 1 => {
                    (Numbers::dtype(&numbers), Values::Fixed(numbers.to_le_bytes().into()))
                }
                other => {
                    let reason = match other {
                        AttributeValue::Unread(reason) => reason,
                        _ => "it holds several values".to_owned(),
                    };
                    let fault = StepFault::Values { name: attribute.value.clone(), what: "made a scalar", reason };
                    return Err(Failure { at: attribute.at, fault });
                }
            };
            let made = held(self.view, &path, &[], dtype, values);
            self.view.variables.push(made);
            for group in self.view.groups.iter_mut().filter(|group| group.path == "/") {
                group.attributes.remove(attribute);
            }
        }
        Ok(())
    }
}

fn written(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Text(text) | AttributeValue::Unread(text) => text.clone(),
        AttributeValue::Texts(texts) => texts.join(" "),
        AttributeValue::Numbers(numbers) => match (numbers.to_integers(), numbers.to_f64().as_slice()) {
            (Some(integers), _) if integers.len() == 1 => integers.iter().map(ToString::to_string).collect(),
            (_, [one]) => one.to_string(),
            (_, many) => format!("{many:?}"),
        },
    }
}

/// `2010-06-30T12:00:00`, also with a fraction of zeros as many programs write it.
fn plain_time(text: &str) -> Option<Moment> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    Some(whole.parse::<WrittenTime>().ok()?.first)
}
