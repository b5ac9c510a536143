//! Variables that are put together box by box: along several dimensions, or with holes.

use std::sync::Arc;

use super::{Holder, Joining, MOST_INLINE_BYTES, same_box, settled};
use crate::{
    combine::{
        CombinedVariable, Content, MustEqual,
        attributes::Dropped,
        error::CombineError,
        fill_after, piece,
        placing::{Boxes, Filled, Misplaced, Overlap, Placed, assembled, boxes, missing_value, too_many},
        policy::Duplicates,
        times, values,
        view::{Values, ViewAxis},
    },
    packing::ValueRule,
    region::{Region, count},
};

/// Where a holder's elements come from and go to, in full dimensions.
type Part = (usize, Vec<u64>, Region);

/// Joins the variable at `path`.
pub(super) fn variable(
    joining: &mut Joining<'_>,
    path: &str,
    holders: &[Holder],
) -> Result<CombinedVariable, CombineError> {
    let Some(first) = holders.first() else { return Err(CombineError::NoFiles) };
    let placed: Vec<(usize, Placed)> =
        joining.placed.iter().filter_map(|one| Some((first.variable.axis_of(&one.name)?, one.clone()))).collect();
    let found = filled(joining, path, holders, &placed)?;
    let unified = times::unify(&joining.named(holders), joining.files, joining.policies.differ.time)?;
    let plan = match &unified {
        Some(times) => times.plan(holders.len()),
        None => values::plan(&joining.named(holders), joining.policies)?,
    };
    if let Some(note) = &plan.note {
        joining.parts.notes.push((path.to_owned(), note.clone()));
    }
    let mut attributes = joining.attributes(path, holders, &settled(unified.is_some(), &plan))?;
    if let Some(packing) = &plan.packing {
        values::replace_packing(&mut attributes, packing);
    }
    for name in values::replace_counts(&mut attributes, &joining.named(holders), &plan) {
        joining.parts.dropped.push(Dropped { path: path.to_owned(), name: name.to_owned() });
    }
    if let Some(times) = &unified {
        times.write_to(&mut attributes);
    }
    let rule = match &unified {
        Some(times) => times.of_unwritten(),
        None => plan.rules.first().cloned().unwrap_or_default(),
    };
    let mut fill = fill_after(&first.variable.rule.then(&rule), &first.variable.fill);
    if found.has_holes {
        fill = missing_value(&plan.dtype, &attributes).map_err(|reason| CombineError::Unwritable {
            variable: path.to_owned(),
            file: joining.files[first.file].name.clone(),
            reason,
        })?;
    }
    let mut shape = first.variable.shape.clone();
    for (axis, one) in &placed {
        shape[*axis] = one.axis.labels.len() as u64;
    }
    let parts: Vec<Part> = found.filled.iter().map(|one| part(one, &placed, holders)).collect();
    let main = joining.along.as_deref().and_then(|along| first.variable.axis_of(along));
    let loaded = match &unified {
        Some(times) => Some(times.values.clone()),
        None => holders.iter().map(|holder| holder.variable.values.clone()).collect::<Option<Vec<_>>>(),
    };
    let element_bytes = plan.dtype.size_bytes().unwrap_or(1);
    let is_small = count(&shape).saturating_mul(element_bytes.into()) <= MOST_INLINE_BYTES as u64;
    let is_plain = plan.rules.iter().all(|rule| *rule == ValueRule::Verbatim);
    let content = match loaded.filter(|loaded| is_plain && (is_small || is_texts(loaded) || unified.is_some())) {
        Some(_) if !is_small => return Err(too_large(joining, path, first, count(&shape))),
        Some(loaded) => {
            let shapes: Vec<&[u64]> = holders.iter().map(|holder| holder.variable.shape.as_slice()).collect();
            match assembled(&loaded, &parts, &shapes, &shape, &fill) {
                Values::Fixed(bytes) => Content::Inline(bytes),
                Values::Texts(texts) => Content::Texts(texts),
            }
        }
        None => Content::Pieces(parts.iter().map(|part| piece_of(part, holders, &plan.rules)).collect()),
    };
    let codecs = &first.variable.codecs;
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
        along: main.filter(|axis| is_in_order(&content, *axis)),
        content,
    })
}

fn is_texts(loaded: &[Arc<Values>]) -> bool {
    loaded.iter().any(|one| matches!(one.as_ref(), Values::Texts(_)))
}

fn too_large(joining: &Joining<'_>, path: &str, first: &Holder, n_elements: u64) -> CombineError {
    CombineError::TooLarge {
        variable: path.to_owned(),
        file: joining.files[first.file].name.clone(),
        reason: format!("{n_elements} elements, the limit is {MOST_INLINE_BYTES} bytes"),
    }
}

/// Whether boxes begin and end in order along `axis`: whoever looks for those that touch a stretch relies on it.
fn is_in_order(content: &Content, axis: usize) -> bool {
    let Content::Pieces(pieces) = content else { return true };
    pieces.windows(2).all(|pair| match pair {
        [one, next] => one.at.start[axis] <= next.at.start[axis] && one.at.end(axis) <= next.at.end(axis),
        _ => true,
    })
}

/// Who fills what of the variable.
fn filled(
    joining: &mut Joining<'_>,
    path: &str,
    holders: &[Holder],
    placed: &[(usize, Placed)],
) -> Result<Boxes, CombineError> {
    let files: Vec<usize> = holders.iter().map(|holder| holder.file).collect();
    let axes: Vec<&Placed> = placed.iter().map(|(_, one)| one).collect();
    let mut must_equal: Vec<(usize, usize)> = Vec::new();
    let duplicates = joining.policies.duplicates;
    let mut overlap = |one: &Filled, other: &Filled| match duplicates {
        Duplicates::First => Overlap::KeepFirst,
        Duplicates::Last => Overlap::TakeSecond,
        Duplicates::Error => {
            let (mine, theirs) = (&holders[one.holder].variable, &holders[other.holder].variable);
            let (a, b) = (part(one, placed, holders), part(other, placed, holders));
            if mine.values.is_some() && theirs.values.is_some() {
                return if same_box((mine, &a.1), (theirs, &b.1), &a.2.shape) {
                    Overlap::KeepFirst
                } else {
                    Overlap::Refuse
                };
            }
            // Too large to be held: if both fill the very same places, they are compared before anything is written.
            let same_places = axes.iter().all(|axis| {
                let of = |holder: usize| axis.axis.places.get(files[holder]);
                of(one.holder) == of(other.holder)
            });
            if !same_places {
                return Overlap::Refuse;
            }
            if !must_equal.contains(&(one.holder, other.holder)) {
                must_equal.push((one.holder, other.holder));
            }
            Overlap::KeepFirst
        }
    };
    let found = boxes(&axes, &files, &mut overlap);
    for (one, other) in must_equal {
        let pair = |holder: &Holder| (holder.file, holder.variable.clone());
        joining.parts.must_equal.push(MustEqual {
            path: path.to_owned(),
            along: axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>().join("`, `"),
            first: pair(&holders[one]),
            other: pair(&holders[other]),
        });
    }
    let name = |holder: usize| joining.files[holders[holder].file].name.clone();
    let label = |at: &[u64]| {
        let one = |(axis, at): (&&Placed, &u64)| {
            let label = usize::try_from(*at).ok().and_then(|at| axis.axis.labels.get(at));
            label.map(ToString::to_string).unwrap_or_default()
        };
        axes.iter().zip(at).map(one).collect::<Vec<_>>().join(", ")
    };
    let dimensions = || axes.iter().map(|axis| axis.name.clone()).collect::<Vec<_>>().join("`, `");
    found.map_err(|problem| match problem {
        Misplaced::TooMany => too_many(path, &name(0)),
        Misplaced::Twice { first, second, at } => CombineError::Duplicate {
            dimension: dimensions(),
            label: label(&at),
            file: name(second),
            first_file: name(first),
        },
        Misplaced::Nowhere { at } => {
            CombineError::Uncovered { variable: path.to_owned(), dimension: dimensions(), label: label(&at) }
        }
    })
}

/// A box in all dimensions of the variable.
fn part(one: &Filled, placed: &[(usize, Placed)], holders: &[Holder]) -> Part {
    let shape = &holders[one.holder].variable.shape;
    let mut at = Region::whole(shape);
    let mut from = vec![0; shape.len()];
    for (number, (axis, _)) in placed.iter().enumerate() {
        at.start[*axis] = one.to[number];
        at.shape[*axis] = one.shape[number];
        from[*axis] = one.from[number];
    }
    (one.holder, from, at)
}

fn piece_of((holder, from, at): &Part, holders: &[Holder], rules: &[ValueRule]) -> crate::combine::Piece {
    let holder_of = &holders[*holder];
    let mut piece = piece(holder_of.file, &holder_of.variable, at, &rules[*holder]);
    for (axis, first) in piece.axes.iter_mut().zip(from) {
        if let ViewAxis::Source { start, step, .. } = axis {
            *start = if *step > 0 { *start + first } else { start.saturating_sub(*first) };
        }
    }
    piece
}
