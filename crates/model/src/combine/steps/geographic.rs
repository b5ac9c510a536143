//! What lies in a box of latitudes and longitudes.
//!
//! The axes are found by what CF says of them (conventions 1.11, sections 4.1 and 4.2), not by their names; longitudes
//! are compared around the circle, so that 350 lies in a box from -20 to 0. It promises that labels stay as they are and
//! in their order: a box that an axis is cut through by its edge is refused.

use crate::{
    combine::{
        labels::{Label, labels_in},
        steps::{Doing, Failure, error::StepFault, extent::Along},
        view::ViewVariable,
    },
    dtype::{DataType, FloatType},
    recipe::{span::Position, subset::Bbox},
};

/// Units that CF has for latitudes.
const NORTH: [&str; 6] = ["degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN"];

/// Units that CF has for longitudes.
const EAST: [&str; 6] = ["degrees_east", "degree_east", "degree_E", "degrees_E", "degreeE", "degreesE"];

#[derive(Clone, Copy)]
enum Axis {
    Latitude,
    Longitude,
}

impl Axis {
    const fn name(self) -> &'static str {
        match self {
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
        }
    }

    /// Whether CF says that a variable holds such coordinates, in degrees.
    fn is_held_by(self, variable: &ViewVariable) -> bool {
        let units = variable.attributes.text("units");
        let known = match self {
            Self::Latitude => NORTH,
            Self::Longitude => EAST,
        };
        match units {
            Some(units) if known.contains(&units) => true,
            Some("degrees" | "degree") | None => variable.attributes.text("standard_name") == Some(self.name()),
            Some(_) => false,
        }
    }

    /// Whether `value` lies in the box.
    fn takes(self, value: f64, bbox: &Bbox, round: &dyn Fn(f64) -> f64) -> bool {
        match self {
            Self::Latitude => value >= round(bbox.south) && value <= round(bbox.north),
            Self::Longitude => (-2..=2).any(|turns| {
                let turn = f64::from(turns) * 360.0;
                let east = bbox.west + bbox.width();
                value >= round(bbox.west + turn) && value <= round(east + turn)
            }),
        }
    }
}

impl Doing<'_> {
    pub(super) fn bbox(&mut self, bbox: &Bbox) -> Result<(), Failure> {
        let failed = |fault| Failure { at: Position::default(), fault };
        for axis in [Axis::Latitude, Axis::Longitude] {
            let holders = self.view.variables.iter().filter(|variable| axis.is_held_by(variable));
            let (axes, others): (Vec<&ViewVariable>, Vec<&ViewVariable>) =
                holders.partition(|variable| variable.dimensions == [variable.name()]);
            if axes.is_empty() {
                let reason = match others.first() {
                    Some(other) => format!("its {}s, in `{}`, are those of no axis", axis.name(), other.path),
                    None => "no variable says that it holds them (`units`, `standard_name`)".to_owned(),
                };
                return Err(failed(StepFault::Labels { name: axis.name().to_owned(), reason }));
            }
            let mut all = Vec::new();
            for variable in axes {
                let labels = labels_in(variable)
                    .map_err(|reason| failed(StepFault::Labels { name: variable.path.clone(), reason }))?;
                all.push((variable.path.clone(), along(variable, labels)));
            }
            for (path, along) in all {
                let indexes = inside(axis, &path, &along, bbox).map_err(failed)?;
                if let (true, Some((first, last))) = (indexes.is_empty(), along.ends()) {
                    self.absent.push(failed(StepFault::NothingInBox { name: path, first, last }));
                }
                self.take_along(&along, &indexes).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn along(variable: &ViewVariable, labels: Vec<Label>) -> Along {
    Along {
        dimension: variable.name().to_owned(),
        group: variable.group().to_owned(),
        labels: labels.into_iter().map(Some).collect(),
        dtype: variable.label_type(),
    }
}

/// The elements of an axis that lie in a box: they follow one another.
fn inside(axis: Axis, path: &str, along: &Along, bbox: &Bbox) -> Result<Vec<u64>, StepFault> {
    #[allow(clippy::cast_possible_truncation)] // 0.1 means the label that shows as 0.1
    let round = |value: f64| match along.dtype {
        DataType::Float(FloatType::F32) => f64::from(value as f32),
        _ => value,
    };
    let mut indexes = Vec::new();
    for (label, index) in along.labels.iter().zip(0..) {
        #[allow(clippy::cast_precision_loss)] // whole degrees
        let value = match label {
            Some(Label::Number(value)) => *value,
            Some(Label::Integer(value)) => *value as f64,
            _ => {
                let reason = "its labels are no numbers".to_owned();
                return Err(StepFault::Labels { name: path.to_owned(), reason });
            }
        };
        if axis.takes(value, bbox, &round) {
            indexes.push(index);
        }
    }
    if indexes.windows(2).any(|pair| matches!(pair, [a, b] if a + 1 != *b)) {
        let (first, last) = along.ends().unwrap_or_default();
        return Err(StepFault::OverTheEdge { name: path.to_owned(), first, last });
    }
    Ok(indexes)
}
