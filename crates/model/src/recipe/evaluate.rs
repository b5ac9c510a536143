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

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `a`, `b` in the tests below.
    const A: [f64; 8] = [1.5, -2.5, 0.0, -0.0, f64::NAN, f64::INFINITY, 7.0, -7.0];
    const B: [f64; 8] = [2.0, 3.0, -1.0, 5.0, 1.0, 2.0, -3.0, 3.0];

    fn computed(text: &str) -> Vec<f64> {
        let expression: Expression = text.parse().unwrap();
        evaluate(&expression, &BTreeMap::from([("a", &A[..]), ("b", &B[..])]), A.len()).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(computed(text).iter().map(f64::to_string).collect::<Vec<_>>().join(" "), expected);
    }

    /// The expected values are numpy's.
    #[test]
    fn operations_mean_what_numpy_means() {
        check("a + b * 2", "5.5 3.5 -2 10 NaN inf 1 -1");
        check("a % b", "1.5 0.5 -0 0 NaN NaN -2 2");
        check("a / 0", "inf -inf NaN NaN NaN inf inf -inf");
        check("-a ** 2", "-2.25 -6.25 -0 -0 NaN -inf -49 -49");
        check("2 ** 3 ** 2 + 0 * b", "512 512 512 512 512 512 512 512");
        check("a < b", "1 1 0 1 0 0 0 1");
        check("a != a", "0 0 0 0 1 0 0 0");
        check("not a", "0 0 1 1 0 0 0 0");
        check("a and b or 0", "1 1 0 0 1 1 1 1");
        check("min(a, b)", "1.5 -2.5 -1 -0 NaN 2 -3 -7");
        check("max(a, b)", "2 3 0 5 NaN inf 7 3");
        check("round(a)", "2 -2 0 -0 NaN inf 7 -7");
        check("where(a > 0, a, nan)", "1.5 NaN NaN NaN NaN inf 7 NaN");
        check("abs(a) + sqrt(4) + log(exp(1)) - cos(0)", "3.5 4.5 2 2 NaN inf 9 9");
        check("atan2(a, 0) * 0 + sin(0)", "0 0 0 0 NaN 0 0 0");
    }

    #[test]
    fn what_binds_stronger_is_as_in_python() {
        for (text, shown) in [
            ("a + b * c", "(a + (b * c))"),
            ("a - b - c", "((a - b) - c)"),
            ("-a ** -b", "(-(a ** (-b)))"),
            ("not a < b and c or d", "(((not (a < b)) and c) or d)"),
            ("a == b + 1e-3", "(a == (b + 0.001))"),
            ("where(x, .5, nan)", "where(x, 0.5, nan)"),
            ("`sea level` * 2", "(sea level * 2.0)"),
            ("max(a, -b) % +c", "(max(a, b_) % c)"),
        ] {
            let shown = shown.replace("b_", "(-b)");
            assert_eq!(text.parse::<Expression>().map(|expression| expression.to_string()), Ok(shown));
        }
    }

    #[test]
    fn what_is_no_expression_is_said() {
        for (text, reason) in [
            ("", "the expression ends too early"),
            ("a +", "the expression ends too early"),
            ("a b", "`b` stands where an operator is wanted"),
            ("(a", "a bracket is not closed"),
            ("a)", "`)` stands where a number or a name is wanted"),
            ("a < b < c", "two comparisons stand side by side; join them with `and`"),
            ("a = 1", "`=` sets nothing here; `==` compares"),
            ("open(a)", "there is no function `open`"),
            ("sqrt(a, b)", "`sqrt` takes 1 argument(s), not 2"),
            ("a; b", "`;` has no meaning in an expression"),
            ("1.2.3", "`1.2.3` is no number"),
        ] {
            let error = text.parse::<Expression>().unwrap_err();
            assert_eq!(error.under("calc").to_string(), format!("`calc`: {reason}"), "{text}");
        }
        let long = vec!["a"; 2000].join("+");
        assert!(long.parse::<Expression>().is_err());
    }

    #[test]
    fn one_value_holds_for_all_and_blocks_leave_no_seam() {
        let expression: Expression = "x * k + 1".parse().unwrap();
        #[allow(clippy::cast_precision_loss)]
        let x: Vec<f64> = (0..3000).map(|n| n as f64).collect();
        let y = evaluate(&expression, &BTreeMap::from([("x", &x[..]), ("k", &[2.0][..])]), 3000).unwrap();
        assert!(x.iter().zip(&y).all(|(x, y)| (x * 2.0 + 1.0).to_bits() == y.to_bits()));
        let short = evaluate(&expression, &BTreeMap::from([("x", &x[..5]), ("k", &[2.0][..])]), 3000);
        assert_eq!(short, Err(EvaluateError::Length { name: "x".into(), got: 5, wanted: 3000 }));
        assert_eq!(evaluate(&expression, &BTreeMap::new(), 1), Err(EvaluateError::NoVariable { name: "k".into() }));
    }
}
