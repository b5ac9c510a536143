//! Arithmetic of a recipe: `sqrt(u ** 2 + v ** 2)`, as a tree.
//!
//! Total: no loops, no side effects, bounded in size. Precedence is Python's, from weak to strong: `or`, `and`, `not`,
//! comparison, `+ -`, `* / %`, unary `-`, `**`. What the operations mean stands in `evaluate`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::Serialize;

use crate::recipe::{amount::bad, error::Fault, read::shortened, suggest::nearest};

/// The longest expression, in bytes.
const MAX_BYTES: usize = 4096;
/// How deep operations may lie in each other.
const MAX_DEPTH: usize = 64;

/// An expression over variables.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A number.
    Number(f64),
    /// The values of a variable.
    Name(String),
    /// One operation on one argument.
    Unary(Unary, Box<Expression>),
    /// One operation on two arguments.
    Binary(Binary, Box<Expression>, Box<Expression>),
    /// `where(condition, then, otherwise)`.
    Where(Box<[Expression; 3]>),
}

/// Operations on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unary {
    Negate,
    Not,
    Abs,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Round,
}

/// Operations on two arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
    Atan2,
    Min,
    Max,
}

const FUNCTIONS_OF_ONE: [(&str, Unary); 7] = [
    ("abs", Unary::Abs),
    ("sqrt", Unary::Sqrt),
    ("exp", Unary::Exp),
    ("log", Unary::Log),
    ("sin", Unary::Sin),
    ("cos", Unary::Cos),
    ("round", Unary::Round),
];
const FUNCTIONS_OF_TWO: [(&str, Binary); 3] = [("atan2", Binary::Atan2), ("min", Binary::Min), ("max", Binary::Max)];
const OPERATORS: [(&str, Binary); 14] = [
    ("or", Binary::Or),
    ("and", Binary::And),
    ("<=", Binary::LessOrEqual),
    (">=", Binary::GreaterOrEqual),
    ("==", Binary::Equal),
    ("!=", Binary::NotEqual),
    ("<", Binary::Less),
    (">", Binary::Greater),
    ("+", Binary::Add),
    ("-", Binary::Subtract),
    ("**", Binary::Power),
    ("*", Binary::Multiply),
    ("/", Binary::Divide),
    ("%", Binary::Modulo),
];

impl Expression {
    /// The variables it uses, each once.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        let mut open = vec![self];
        while let Some(expression) = open.pop() {
            match expression {
                Self::Number(_) => {}
                Self::Name(name) => {
                    names.insert(name.as_str());
                }
                Self::Unary(_, a) => open.push(a),
                Self::Binary(_, a, b) => open.extend([&**a, &**b]),
                Self::Where(parts) => open.extend(parts.iter()),
            }
        }
        names
    }
}

/// With all brackets, so that what binds stronger can be seen.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) if value.is_nan() => f.write_str("nan"),
            Self::Number(value) => write!(f, "{value:?}"),
            Self::Name(name) => f.write_str(name),
            Self::Unary(Unary::Negate, a) => write!(f, "(-{a})"),
            Self::Unary(Unary::Not, a) => write!(f, "(not {a})"),
            Self::Unary(function, a) => {
                let name = FUNCTIONS_OF_ONE.iter().find(|(_, known)| known == function).map_or("", |(name, _)| name);
                write!(f, "{name}({a})")
            }
            Self::Binary(operation, a, b) => match OPERATORS.iter().find(|(_, known)| known == operation) {
                Some((sign, _)) => write!(f, "({a} {sign} {b})"),
                None => {
                    let name = FUNCTIONS_OF_TWO.iter().find(|(_, known)| known == operation);
                    write!(f, "{}({a}, {b})", name.map_or("", |(name, _)| name))
                }
            },
            Self::Where(parts) => {
                let [condition, then, otherwise] = &**parts;
                write!(f, "where({condition}, {then}, {otherwise})")
            }
        }
    }
}

impl Serialize for Expression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Word(String),
    /// An operator, a bracket or a comma.
    Sign(&'static str),
}

const SIGNS: [&str; 15] = ["**", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let (number, after) = rest.split_at(length);
            let value = number.parse().ok().filter(|value: &f64| value.is_finite());
            found.push(Token::Number(value.ok_or_else(|| bad(format!("`{}` is no number", shortened(number))))?));
            after
        } else if first.is_alphabetic() || first == '_' || first == '`' {
            // Names that are no plain words stand between backticks.
            let (word, after) = match rest.strip_prefix('`') {
                Some(quoted) => quoted.split_once('`').ok_or_else(|| bad("a backtick is not closed".to_owned()))?,
                None => rest.split_at(rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())),
            };
            found.push(Token::Word(word.to_owned()));
            after
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest.split_at(sign.len()).1
        } else if first == '=' {
            return Err(bad("`=` sets nothing here; `==` compares".to_owned()));
        } else {
            return Err(bad(format!("`{}` has no meaning in an expression", first.escape_debug())));
        };
        rest = after.trim_start();
    }
    Ok(found)
}

fn number_length(text: &str) -> usize {
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        let sign_of_exponent = "+-".contains(letter) && "eE".contains(before);
        if !(letter.is_ascii_digit() || ".eE".contains(letter) || sign_of_exponent) {
            return at;
        }
        before = letter;
    }
    text.len()
}

impl FromStr for Expression {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.len() > MAX_BYTES {
            return Err(Fault::TooLarge { what: "the expression in bytes".to_owned(), limit: MAX_BYTES as u64 });
        }
        let mut reader = Reader { tokens: tokens(text)?, next: 0, depth: 0 };
        let expression = reader.alternatives()?;
        match reader.peek() {
            None => Ok(expression),
            Some(token) => Err(unexpected(token)),
        }
    }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

fn unexpected(token: &Token) -> Fault {
    bad(match token {
        Token::Number(value) => format!("the number {value} stands where an operator is wanted"),
        Token::Word(word) => format!("`{}` stands where an operator is wanted", shortened(word)),
        Token::Sign(sign) => format!("`{sign}` stands where a number or a name is wanted"),
    })
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let found = match self.peek()? {
            Token::Sign(sign) => signs.iter().find(|known| *known == sign),
            Token::Word(word) => signs.iter().find(|known| *known == word),
            Token::Number(_) => None,
        }?;
        self.next += 1;
        Some(found)
    }

    /// Every way down into the tree goes through here, so that no text exhausts the stack.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let what = "the depth of brackets and signs".to_owned();
            return Err(Fault::TooLarge { what, limit: MAX_DEPTH as u64 });
        }
        let found = read(self);
        self.depth -= 1;
        found
    }

    /// Operations of one strength, from left to right. Each makes the tree one deeper, so they are counted too.
    fn chain(
        &mut self,
        signs: &[&'static str],
        part: fn(&mut Self) -> Result<Expression, Fault>,
    ) -> Result<Expression, Fault> {
        /// As many terms as a sum may have: the tree of a long sum is as deep as it is long.
        const MAX_TERMS: usize = 256;
        let mut left = part(self)?;
        for _ in 0..MAX_TERMS {
            let Some(sign) = self.sign(signs) else { return Ok(left) };
            let right = part(self)?;
            let operation = OPERATORS.iter().find(|(known, _)| *known == sign).map(|(_, operation)| *operation);
            let Some(operation) = operation else { return Err(bad(format!("`{sign}` is no operation"))) };
            left = Expression::Binary(operation, Box::new(left), Box::new(right));
        }
        Err(Fault::TooLarge { what: "the number of terms".to_owned(), limit: MAX_TERMS as u64 })
    }

    fn alternatives(&mut self) -> Result<Expression, Fault> {
        self.chain(&["or"], |reader| reader.chain(&["and"], Self::negation))
    }

    fn negation(&mut self) -> Result<Expression, Fault> {
        if self.sign(&["not"]).is_some() {
            let inner = self.deeper(Self::negation)?;
            return Ok(Expression::Unary(Unary::Not, Box::new(inner)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression, Fault> {
        const SIGNS: [&str; 6] = ["<=", ">=", "==", "!=", "<", ">"];
        let left = self.sum()?;
        let Some(sign) = self.sign(&SIGNS) else { return Ok(left) };
        let right = self.sum()?;
        if self.sign(&SIGNS).is_some() {
            // In Python `a < b < c` is two comparisons, in C it compares with a truth: neither should be guessed.
            return Err(bad("two comparisons stand side by side; join them with `and`".to_owned()));
        }
        let operation = OPERATORS.iter().find(|(known, _)| *known == sign).map_or(Binary::Equal, |(_, known)| *known);
        Ok(Expression::Binary(operation, Box::new(left), Box::new(right)))
    }

    fn sum(&mut self) -> Result<Expression, Fault> {
        self.chain(&["+", "-"], |reader| reader.chain(&["*", "/", "%"], Self::signed))
    }

    fn signed(&mut self) -> Result<Expression, Fault> {
        match self.sign(&["-", "+"]) {
            Some("-") => {
                let inner = self.deeper(Self::signed)?;
                Ok(Expression::Unary(Unary::Negate, Box::new(inner)))
            }
            Some(_) => self.deeper(Self::signed),
            None => self.power(),
        }
    }

    /// `a ** b ** c` is `a ** (b ** c)`, and `-a ** b` is `-(a ** b)`.
    fn power(&mut self) -> Result<Expression, Fault> {
        let base = self.atom()?;
        if self.sign(&["**"]).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        Ok(Expression::Binary(Binary::Power, Box::new(base), Box::new(exponent)))
    }

    fn atom(&mut self) -> Result<Expression, Fault> {
        let token = self.peek().cloned().ok_or_else(|| bad("the expression ends too early".to_owned()))?;
        self.next += 1;
        match token {
            Token::Number(value) => Ok(Expression::Number(value)),
            Token::Sign("(") => {
                let inner = self.deeper(Self::alternatives)?;
                self.sign(&[")"]).map(|_| inner).ok_or_else(|| bad("a bracket is not closed".to_owned()))
            }
            Token::Sign(_) => Err(unexpected(&token)),
            Token::Word(word) if matches!(word.as_str(), "and" | "or" | "not") => {
                Err(bad(format!("`{word}` stands where a number or a name is wanted")))
            }
            Token::Word(word) if self.sign(&["("]).is_some() => self.call(&word),
            Token::Word(word) if word == "nan" => Ok(Expression::Number(f64::NAN)),
            Token::Word(word) => Ok(Expression::Name(word)),
        }
    }

    fn call(&mut self, function: &str) -> Result<Expression, Fault> {
        let mut arguments = vec![self.deeper(Self::alternatives)?];
        while self.sign(&[","]).is_some() {
            arguments.push(self.deeper(Self::alternatives)?);
        }
        if self.sign(&[")"]).is_none() {
            return Err(bad(format!("the bracket of `{}` is not closed", shortened(function))));
        }
        let one = FUNCTIONS_OF_ONE.iter().find(|(name, _)| *name == function).map(|(_, known)| *known);
        let two = FUNCTIONS_OF_TWO.iter().find(|(name, _)| *name == function).map(|(_, known)| *known);
        let wanted = match (one, two) {
            (Some(_), _) => 1,
            (_, Some(_)) => 2,
            _ if function == "where" => 3,
            _ => {
                let known = FUNCTIONS_OF_ONE.iter().map(|(name, _)| *name);
                let known = known.chain(FUNCTIONS_OF_TWO.iter().map(|(name, _)| *name)).chain(["where"]);
                let better =
                    nearest(function, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
                return Err(bad(format!("there is no function `{}`{better}", shortened(function))));
            }
        };
        let given = arguments.len();
        let mut parts = arguments.into_iter().map(Box::new);
        let call = match (one, two, parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(one), _, Some(a), None, None, None) => Some(Expression::Unary(one, a)),
            (_, Some(two), Some(a), Some(b), None, None) => Some(Expression::Binary(two, a, b)),
            (None, None, Some(a), Some(b), Some(c), None) => Some(Expression::Where(Box::new([*a, *b, *c]))),
            _ => None,
        };
        call.ok_or_else(|| bad(format!("`{function}` takes {wanted} argument(s), not {given}")))
    }
}
