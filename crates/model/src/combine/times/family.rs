//! A coordinate of times and its bounds, which share one encoding.
//!
//! Bounds are counted as their coordinate is (CF 1.11, section 7.1), and have no units of their own, or the same. It
//! promises that both are decided from all files together, so that either gives the same answer when it is asked for by
//! itself.

use super::{Counted, inexact, meant};
use crate::{
    combine::{
        error::CombineError,
        labels::time_units_in,
        values::InFile,
        view::{FileView, ViewVariable},
    },
    dtype::{DataType, FloatType},
    time::{Encoded, Instant, TimeUnits, units_that_hold},
};

/// Times of all files that share an encoding: the coordinate, then its bounds, if it has any.
pub(super) struct Family<'a>(Vec<Member<'a>>);

struct Member<'a> {
    path: String,
    held: Vec<Held<'a>>,
}

/// The variable of one file.
struct Held<'a> {
    in_file: InFile<'a>,
    counted: Counted,
}

impl<'a> Family<'a> {
    /// The family of `path`; `None` if a file has something there that is no time.
    pub fn of(files: &'a [FileView], path: &str) -> Option<Self> {
        let coordinate = files.iter().find_map(|file| bounded_by(file, path)).map_or(path, |one| one.path.as_str());
        let bounds = files.iter().find_map(|file| bounds_of(file.variable(coordinate)?));
        let members = [Member::of(files, coordinate), bounds.and_then(|path| Member::of(files, &path))];
        let family = Self(members.into_iter().flatten().collect());
        // Without its coordinate a variable stands for itself.
        if family.member(path).is_some() { Some(family) } else { Some(Self(vec![Member::of(files, path)?])) }
    }

    fn member(&self, path: &str) -> Option<&Member<'a>> {
        self.0.iter().find(|member| member.path == path)
    }

    /// How `path` counts in a file.
    pub fn counted(&self, path: &str, file: &str) -> Option<&Counted> {
        let held = self.member(path)?.held.iter().find(|held| held.in_file.file == file)?;
        Some(&held.counted)
    }

    /// In which units and type `path` is written; `None` if it may stay as it is.
    ///
    /// # Errors
    /// If not even nanoseconds hold all times, or a file's are not known.
    pub fn encoding(&self, path: &str) -> Result<Option<(TimeUnits, DataType)>, CombineError> {
        if self.0.iter().all(Member::is_alike) {
            return Ok(None);
        }
        let Some(first) = self.0.first().and_then(|member| member.held.first()) else { return Ok(None) };
        let wanted = self.0.iter().map(Member::wanted).collect::<Result<Vec<_>, _>>()?;
        let welcome: Vec<_> = wanted.iter().map(|(labels, types)| (labels.as_slice(), types.as_slice())).collect();
        let encoded =
            units_that_hold(&welcome, &first.counted.units).map_err(|error| inexact(&first.in_file, &error))?;
        let own = self.0.iter().zip(encoded).find(|(member, _)| member.path == path);
        Ok(own.filter(|(member, encoded)| !member.stays(encoded)).map(|(_, one)| (one.units, one.values.dtype())))
    }
}

impl<'a> Member<'a> {
    fn of(files: &'a [FileView], path: &str) -> Option<Self> {
        let holding = files.iter().filter_map(|file| Some((file, file.variable(path)?)));
        let held = holding.map(|(file, variable)| {
            let counted = Counted::of(variable, bounded_by(file, path))?;
            Some(Held { in_file: InFile { file: &file.name, variable }, counted })
        });
        let held = held.collect::<Option<Vec<_>>>()?;
        (!held.is_empty()).then(|| Self { path: path.to_owned(), held })
    }

    /// Whether all files count alike, in numbers of one type with the same marks.
    fn is_alike(&self) -> bool {
        let Some((first, rest)) = self.held.split_first() else { return true };
        let (mine, packing) = (first.in_file.variable, first.in_file.variable.packing());
        rest.iter().all(|held| {
            let theirs = held.in_file.variable;
            held.counted.units == first.counted.units
                && theirs.dtype == mine.dtype
                && theirs.packing().same_as(&packing)
        })
    }

    /// All times, and the types that they may have.
    fn wanted(&self) -> Result<(Vec<Instant>, Vec<DataType>), CombineError> {
        let (mut instants, mut types) = (Vec::new(), Vec::new());
        for held in &self.held {
            instants.extend(held.counted.instants(&held.in_file)?);
            types.push(meant(&held.in_file)?.dtype);
        }
        let is_float = types.iter().any(|dtype| matches!(dtype, DataType::Float(_)));
        types.truncate(1);
        types.extend(is_float.then_some(DataType::Float(FloatType::F64)));
        Ok((instants, types))
    }

    /// Whether what is written is what the files hold.
    fn stays(&self, encoded: &Encoded) -> bool {
        self.is_alike()
            && self.held.first().is_some_and(|first| {
                first.counted.units.to_string() == encoded.units.to_string()
                    && first.in_file.variable.dtype == encoded.values.dtype()
            })
    }
}

impl Counted {
    /// How a variable counts: by its own attributes, and where it has none by those of the coordinate that it bounds, each
    /// by itself as xarray has it.
    fn of(variable: &ViewVariable, coordinate: Option<&ViewVariable>) -> Option<Self> {
        let said = |name: &str| {
            variable.attributes.text(name).or_else(|| coordinate.and_then(|other| other.attributes.text(name)))
        };
        time_units_in(&variable.dtype, said("units"), said("calendar"))
            .map(|(units, calendar)| Self { units, calendar })
    }
}

/// The coordinate of a file whose bounds are at `path`.
pub(in crate::combine) fn bounded_by<'a>(file: &'a FileView, path: &str) -> Option<&'a ViewVariable> {
    file.variables.iter().find(|variable| bounds_of(variable).as_deref() == Some(path))
}

/// The path of the bounds that a variable says it has.
fn bounds_of(variable: &ViewVariable) -> Option<String> {
    let name = ["bounds", "climatology"].iter().find_map(|key| variable.attributes.text(key))?;
    Some(format!("{}/{name}", variable.group().trim_end_matches('/')))
}
