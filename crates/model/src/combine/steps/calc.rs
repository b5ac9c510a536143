//! New values from old ones, element by element.
//!
//! Dimensions are matched by name, as xarray matches them: a variable that lacks one serves all its elements. Values
//! are `float64`, whatever they are made of. What is small is computed here; the rest when its chunks are read.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    attribute::{AttributeValue, Attributes},
    codec::CodecChain,
    combine::{
        derived::{Input, Origin},
        steps::{
            Doing, Failure, derive,
            error::{StepFault, Thing},
            n_reads, names, numbers,
        },
        view::{Values, ViewAxis, ViewVariable},
    },
    dtype::{DataType, FloatType},
    packing::ValueRule,
    recipe::{calc::Expression, evaluate::evaluate, span::Spanned},
    region::{coordinates_of, count},
};

/// Results up to this size are computed at once: labels must be known before files are joined.
const MOST_HELD_BYTES: u64 = 16 << 20;

/// Attributes that a result takes over, since they say where it is and not what it is.
const PLACING: [&str; 2] = ["coordinates", "grid_mapping"];

impl Doing<'_> {
    pub(super) fn calc(&mut self, lines: &[(Spanned<String>, Spanned<Expression>)]) -> Result<(), Failure> {
        for (name, expression) in lines {
            if let Some(made) = self.computed(name, expression)? {
                match self.view.variables.iter_mut().find(|variable| variable.path == made.path) {
                    Some(old) => *old = made,
                    None => self.view.variables.push(made),
                }
            }
        }
        Ok(())
    }

    fn computed(
        &mut self,
        name: &Spanned<String>,
        expression: &Spanned<Expression>,
    ) -> Result<Option<ViewVariable>, Failure> {
        let failed = |fault| Failure { at: expression.at, fault };
        let Some(parts) = self.parts(expression)? else { return Ok(None) };
        let (dimensions, shape) = common_shape(&parts).map_err(failed)?;
        let template = parts.iter().map(|(_, part)| part).find(|part| part.dimensions.len() == dimensions.len());
        let chunk_shape: Vec<u64> = dimensions
            .iter()
            .zip(&shape)
            .map(|(dimension, length)| {
                let chunk = template.and_then(|part| Some(part.chunk_shape[part.axis_of(dimension)?]));
                chunk.unwrap_or(*length).clamp(1, (*length).max(1))
            })
            .collect();
        let path = match self
            .view
            .variables
            .iter()
            .find(|variable| variable.path.trim_start_matches('/') == name.trim_start_matches('/'))
        {
            Some(old) => old.path.clone(),
            None => names::path_in(parts.first().map_or("/", |(_, part)| part.group()), name),
        };
        let mut made = ViewVariable {
            source: 0,
            path,
            axes: Vec::new(),
            chunk_shape,
            dtype: DataType::Float(FloatType::F64),
            attributes: placed(&parts, &dimensions),
            is_json: false,
            fill: f64::NAN.to_le_bytes().to_vec(),
            fixed: Vec::new(),
            is_chunked: false,
            codecs: CodecChain::default(),
            rule: ValueRule::Verbatim,
            values: None,
            dimensions,
            shape,
        };
        if let Some(values) = at_once(expression, &parts, &made) {
            let values = Arc::new(values);
            made.values = Some(Arc::clone(&values));
            made.chunk_shape = made.shape.iter().map(|length| (*length).max(1)).collect();
            return derive(self.view, made, Origin::Held(values), 0).map(Some).map_err(failed);
        }
        let mut reads = 0_usize;
        let mut inputs = Vec::new();
        for (used, part) in &parts {
            reads = reads.saturating_add(n_reads(self.view, part.source));
            inputs.push((used.clone(), input(part, &made.dimensions).ok_or_else(|| failed(no_number(part)))?));
        }
        let origin = Origin::Computed { expression: expression.value.clone(), inputs };
        derive(self.view, made, origin, reads).map(Some).map_err(failed)
    }

    /// The variables that an expression names, in the order in which it does; `None` if the file lacks one.
    fn parts(&mut self, expression: &Spanned<Expression>) -> Result<Option<Vec<(String, ViewVariable)>>, Failure> {
        let mut parts: Vec<(String, ViewVariable)> = Vec::new();
        for used in in_order(expression) {
            let found = self.numbers(&used);
            let exact =
                found.iter().find(|number| self.view.variables[**number].group() == "/").or_else(|| found.first());
            let Some(number) = exact else {
                let known = names::variables(self.view);
                let what =
                    if names::dimensions(self.view).contains(&used) { Thing::Coordinate } else { Thing::Variable };
                self.lacks(what, &Spanned::new(used, expression.at), known);
                return Ok(None);
            };
            let part = self.view.variables[*number].clone();
            if numbers::to_float64(&part).is_none() {
                return Err(Failure { at: expression.at, fault: no_number(&part) });
            }
            parts.push((used, part));
        }
        Ok(Some(parts))
    }
}

fn no_number(part: &ViewVariable) -> StepFault {
    StepFault::Values {
        name: part.path.trim_start_matches('/').to_owned(),
        what: "computed with",
        reason: format!("it is {}, no integer and no float", part.dtype),
    }
}

/// Names from left to right, each once: the dimensions of a result come in this order.
fn in_order(expression: &Expression) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut open = vec![expression];
    while let Some(expression) = open.pop() {
        match expression {
            Expression::Number(_) => {}
            Expression::Name(name) if names.contains(name) => {}
            Expression::Name(name) => names.push(name.clone()),
            Expression::Unary(_, a) => open.push(a),
            Expression::Binary(_, a, b) => open.extend([&**b, &**a]),
            Expression::Where(parts) => open.extend(parts.iter().rev()),
        }
    }
    names
}

fn common_shape(parts: &[(String, ViewVariable)]) -> Result<(Vec<String>, Vec<u64>), StepFault> {
    let mut dimensions: Vec<String> = Vec::new();
    let mut shape: Vec<u64> = Vec::new();
    let mut holders: Vec<&str> = Vec::new();
    for (name, part) in parts {
        for (dimension, length) in part.dimensions.iter().zip(&part.shape) {
            match dimensions.iter().position(|known| known == dimension) {
                None => {
                    dimensions.push(dimension.clone());
                    shape.push(*length);
                    holders.push(name);
                }
                Some(at) if shape[at] == *length => {}
                Some(at) => {
                    return Err(StepFault::Lengths {
                        name: name.clone(),
                        length: *length,
                        dimension: dimension.clone(),
                        other: holders[at].to_owned(),
                        other_length: shape[at],
                    });
                }
            }
        }
    }
    Ok((dimensions, shape))
}

/// Where the result is: the coordinates of its parts.
fn placed(parts: &[(String, ViewVariable)], dimensions: &[String]) -> Attributes {
    let mut attributes = Attributes::default();
    for key in PLACING {
        let from = parts.iter().map(|(_, part)| part).filter(|part| part.dimensions.len() == dimensions.len());
        if let Some(text) = from.filter_map(|part| part.attributes.text(key)).next() {
            attributes.set(key, AttributeValue::Text(text.to_owned()));
        }
    }
    attributes
}

/// For each dimension of the result, where the part's elements come from.
fn input(part: &ViewVariable, dimensions: &[String]) -> Option<Input> {
    let rule = part.rule.then(&numbers::to_float64(part)?);
    let axes = dimensions
        .iter()
        .map(|dimension| part.axis_of(dimension).map_or(ViewAxis::New, |axis| part.axes[axis]))
        .collect();
    Some(Input { source: part.source, axes, fixed: part.fixed.clone(), rule })
}

/// The values, if all they are made of is held and they are few.
fn at_once(expression: &Expression, parts: &[(String, ViewVariable)], made: &ViewVariable) -> Option<Values> {
    let n_elements = count(&made.shape);
    if n_elements.saturating_mul(8) > MOST_HELD_BYTES {
        return None;
    }
    let n = usize::try_from(n_elements).ok()?;
    let mut spread: Vec<(&str, Vec<f64>)> = Vec::new();
    for (name, part) in parts {
        let values = numbers::decoded(part)?;
        let places: Vec<Option<usize>> = part.dimensions.iter().map(|name| made.axis_of(name)).collect();
        let over_all = (0..n_elements).map(|number| {
            let at = coordinates_of(number, &made.shape);
            let index = places.iter().zip(&part.shape).fold(0, |index, (axis, length)| {
                index * length + axis.and_then(|axis| at.get(axis).copied()).unwrap_or(0)
            });
            usize::try_from(index).ok().and_then(|index| values.get(index)).copied().unwrap_or(f64::NAN)
        });
        spread.push((name, over_all.collect()));
    }
    let variables: BTreeMap<&str, &[f64]> = spread.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let computed = evaluate(expression, &variables, n).ok()?;
    Some(Values::Fixed(computed.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>().into()))
}
