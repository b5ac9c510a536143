//! What every verb answers: one object, the same for people's programs and for Python.
//!
//! It promises that its keys are only ever added to within one version of a schema. It knows no clock: how long the
//! verb took is filled in by whoever called it.

use std::{borrow::Cow, error::Error};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::problem::{Exit, Problem};

/// Causes of one error that are told; more would bury the first.
const MOST_CAUSES: usize = 8;

/// What a verb answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `frazil.inspect/1`: the verb and the version of its answer.
    pub schema: String,
    /// Whether all that was asked for was done.
    pub ok: bool,
    /// Whether it was only said what would be done.
    pub dry_run: bool,
    /// How long it took.
    pub seconds: f64,
    /// Counts and sums.
    pub totals: Map<String, Value>,
    /// One object for each thing.
    pub items: Vec<Value>,
    /// What is worth knowing and no error.
    pub warnings: Vec<Warning>,
    /// Why it was not done.
    pub error: Option<ErrorReport>,
    /// What only this verb answers.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable, dotted name.
    pub code: String,
    /// What it is, in one line.
    pub message: String,
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// A stable, dotted name.
    pub code: String,
    /// What is wrong, in one line.
    pub message: String,
    /// Why.
    pub cause: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where.
    pub location: Option<String>,
    /// Who signed.
    pub profile: Option<String>,
    /// The exit code of the command.
    pub exit: u8,
}

impl Report {
    /// The empty answer of `verb` that all is well.
    #[must_use]
    pub fn of(verb: &str) -> Self {
        Self {
            schema: format!("frazil.{verb}/1"),
            ok: true,
            dry_run: false,
            seconds: 0.0,
            totals: Map::new(),
            items: Vec::new(),
            warnings: Vec::new(),
            error: None,
            more: Map::new(),
        }
    }

    /// The answer that `problem` stood in the way.
    #[must_use]
    pub fn failed(verb: &str, problem: &dyn Problem) -> Self {
        let mut report = Self::of(verb);
        report.fail(ErrorReport::of(problem));
        report
    }

    /// Says that something stood in the way. The first error stays: it is what must be mended first.
    pub fn fail(&mut self, error: ErrorReport) {
        self.ok = false;
        self.error.get_or_insert(error);
    }

    /// Adds a warning.
    pub fn warn(&mut self, code: &str, message: String) {
        self.warnings.push(Warning { code: code.to_owned(), message });
    }

    /// Sets a count or a sum.
    pub fn total(&mut self, name: &str, value: impl Into<Value>) {
        self.totals.insert(name.to_owned(), value.into());
    }

    /// The exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.error.as_ref().map_or(0, |error| error.exit)
    }
}

impl ErrorReport {
    /// The error with its causes and its hint.
    #[must_use]
    pub fn of(problem: &dyn Problem) -> Self {
        let message = one_line(&problem.to_string());
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = problem.source();
        while let Some(cause) = next.filter(|_| causes.len() < MOST_CAUSES) {
            let text = one_line(&cause.to_string());
            // An error that only wraps another says the same again.
            if text != message && causes.last() != Some(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        Self {
            code: problem.code().to_owned(),
            message,
            cause: (!causes.is_empty()).then(|| causes.join(": ")),
            hint: problem.hint().map(|hint| one_line(&hint)),
            location: None,
            profile: None,
            exit: problem.exit().code(),
        }
    }

    /// An error in words.
    #[must_use]
    pub fn new(code: &str, message: String, exit: Exit) -> Self {
        Self {
            code: code.to_owned(),
            message: one_line(&message),
            cause: None,
            hint: None,
            location: None,
            profile: None,
            exit: exit.code(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// Adds where.
    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }
}

/// Without line breaks and without what a terminal would obey, or show in another order than it stands: names in a file are
/// somebody else's.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect()
}

/// A name as people are shown it: one with letters that a terminal would obey, or that change what is seen, with those and
/// quotes escaped as Rust writes them.
#[must_use]
pub fn shown_name(name: &str) -> String {
    if name.chars().any(is_obeyed) { name.escape_debug().to_string() } else { name.to_owned() }
}

/// Text of several lines as people are shown it: a terminal obeys nothing in it but the ends of its lines and tabs.
#[must_use]
pub fn shown_text(text: &str) -> Cow<'_, str> {
    let is_obeyed = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| match is_obeyed(letter) {
        true => letter.escape_debug().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

fn is_obeyed(letter: char) -> bool {
    letter.is_control() || is_unseen(letter)
}

/// Letters that nobody sees and that change what is seen: directions, joiners, spaces of no width, ends of lines, tags
/// (Unicode's categories Cf, Zl and Zp). The joiners inside words of some scripts are among them; a name is then shown apart.
const fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::LocationError;

    #[test]
    fn a_report_has_every_key_of_the_contract() {
        let report = Report::failed("inspect", &LocationError::Scheme { scheme: "ftp".into() });
        let shown = serde_json::to_value(&report).unwrap();
        for key in ["schema", "ok", "dry_run", "seconds", "totals", "items", "warnings", "error"] {
            assert!(shown.get(key).is_some(), "{key}");
        }
        for key in ["code", "message", "cause", "hint", "location", "profile", "exit"] {
            assert!(shown["error"].get(key).is_some(), "{key}");
        }
        assert_eq!((report.ok, report.exit_code()), (false, 2));
        assert_eq!(serde_json::from_value::<Report>(shown).unwrap(), report);
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31mb\nc"), "a [31mb c");
        assert_eq!(shown_name("a\u{1b}[31mb\nc\u{202e}"), "a\\u{1b}[31mb\\nc\\u{202e}");
        assert_eq!(shown_text("é \"q\"\n\u{1b}[31m\tb\n"), "é \"q\"\n\\u{1b}[31m\tb\n");
        assert_eq!(one_line("evil\u{202e}rraz.\u{200b}\u{2066}é\u{2028}\u{9b}"), "evil rraz.  é  ");
    }
}
