//! Expressions over arrays, block by block.
//!
//! The meaning is numpy's for `float64`, so that a recipe says what the notebook it came from said: truths are 1 and 0,
//! anything but 0 is true (NaN too), comparisons with NaN are false (`!=` true), `%` has the divisor's sign, `min` and
//! `max` hand NaN on, and `round` goes to the even neighbour. No values make it fail.

use std::collections::BTreeMap;

use crate::recipe::calc::{Binary, Expression, Unary};

/// Elements that are computed at a time: small enough to stay in the processor's cache.
const BLOCK_ELEMENTS: usize = 1024;

/// Why an expression cannot be computed from what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum EvaluateError {
    #[error("there is no variable `{name}`")]
    NoVariable { name: String },
    #[error("`{name}` has {got} values where {wanted} are wanted")]
    Length { name: String, got: usize, wanted: usize },
}

/// The value of `expression` for each element.
///
/// - **Shape**: every array of `variables` has `n` values, or one, which then holds for all. The result has `n`.
/// - **Units**: none are known; the author answers for them.
///
/// # Errors
/// A variable that is not there, or of another length.
pub fn evaluate(
    expression: &Expression,
    variables: &BTreeMap<&str, &[f64]>,
    n: usize,
) -> Result<Vec<f64>, EvaluateError> {
    for name in expression.names() {
        match variables.get(name).map(|values| values.len()) {
            None => return Err(EvaluateError::NoVariable { name: name.to_owned() }),
            Some(got) if got != n && got != 1 => {
                return Err(EvaluateError::Length { name: name.to_owned(), got, wanted: n });
            }
            Some(_) => {}
        }
    }
    let mut result = Vec::with_capacity(n);
    for start in (0..n).step_by(BLOCK_ELEMENTS) {
        let length = BLOCK_ELEMENTS.min(n - start);
        result.append(&mut block(expression, variables, start, length));
    }
    Ok(result)
}

/// The depth of the recursion is bounded by the depth of an expression.
fn block(expression: &Expression, variables: &BTreeMap<&str, &[f64]>, start: usize, length: usize) -> Vec<f64> {
    match expression {
        Expression::Number(value) => vec![*value; length],
        Expression::Name(name) => match variables.get(name.as_str()) {
            Some([single]) => vec![*single; length],
            Some(values) => values.iter().skip(start).take(length).copied().collect(),
            None => vec![f64::NAN; length],
        },
        Expression::Unary(operation, a) => {
            let mut values = block(a, variables, start, length);
            for value in &mut values {
                *value = unary(*operation, *value);
            }
            values
        }
        Expression::Binary(operation, a, b) => {
            let mut left = block(a, variables, start, length);
            let right = block(b, variables, start, length);
            for (value, other) in left.iter_mut().zip(right) {
                *value = binary(*operation, *value, other);
            }
            left
        }
        Expression::Where(parts) => {
            let [condition, then, otherwise] = &**parts;
            let condition = block(condition, variables, start, length);
            let mut chosen = block(then, variables, start, length);
            let otherwise = block(otherwise, variables, start, length);
            for ((value, condition), other) in chosen.iter_mut().zip(condition).zip(otherwise) {
                if !truth(condition) {
                    *value = other;
                }
            }
            chosen
        }
    }
}

fn truth(value: f64) -> bool {
    value != 0.0
}

fn unary(operation: Unary, a: f64) -> f64 {
    match operation {
        Unary::Negate => -a,
        Unary::Not => f64::from(!truth(a)),
        Unary::Abs => a.abs(),
        Unary::Sqrt => a.sqrt(),
        Unary::Exp => a.exp(),
        Unary::Log => a.ln(),
        Unary::Sin => a.sin(),
        Unary::Cos => a.cos(),
        Unary::Round => a.round_ties_even(),
    }
}

#[allow(clippy::float_cmp)] // `==` is the author's
fn binary(operation: Binary, a: f64, b: f64) -> f64 {
    match operation {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::Modulo => modulo(a, b),
        Binary::Power => a.powf(b),
        Binary::Less => f64::from(a < b),
        Binary::LessOrEqual => f64::from(a <= b),
        Binary::Greater => f64::from(a > b),
        Binary::GreaterOrEqual => f64::from(a >= b),
        Binary::Equal => f64::from(a == b),
        Binary::NotEqual => f64::from(a != b),
        Binary::And => f64::from(truth(a) && truth(b)),
        Binary::Or => f64::from(truth(a) || truth(b)),
        Binary::Atan2 => a.atan2(b),
        Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Min => a.min(b),
        Binary::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => a.max(b),
    }
}

/// The remainder with the sign of the divisor, as Python and numpy have it.
fn modulo(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder == 0.0 {
        return 0.0_f64.copysign(b);
    }
    if (remainder < 0.0) == (b < 0.0) { remainder } else { remainder + b }
}
