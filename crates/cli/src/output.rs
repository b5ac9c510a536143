//! What people and programs see: text or one Report on stdout, talk and errors on stderr, exit codes.
//!
//! It promises that stdout holds data only, that a closed pipe is no error, and that a fault of frazil's own is told
//! in a sentence. Nothing else in this crate writes to the terminal.

use std::{
    any::Any,
    io::{IsTerminal, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use frazil_engine::EngineError;
use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line, shown_text},
};
use frazil_store::manners;
use serde_json::json;

use crate::{
    arguments::{Color, Global, Json},
    made,
};

const VERBS: [&str; 16] = [
    "ls",
    "cp",
    "sync",
    "rm",
    "du",
    "scratch",
    "gc",
    "push",
    "accept",
    "check",
    "inspect",
    "convert",
    "build",
    "verify",
    "feedstock",
    "profile",
];

/// Verbs that ask servers for little of much: they say what it came to.
const SCANNING: [&str; 4] = ["inspect", "convert", "build", "verify"];

/// How long a verb may take to stop by itself. Then it ends as it stands, whatever it waits for: what is done is kept as
/// after a kill.
const STOPS_WITHIN: Duration = Duration::from_millis(1500);

/// How often it is looked whether somebody wants to stop.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// Whether the answer is being said: there is one, whoever says it.
static SAID: AtomicBool = AtomicBool::new(false);

/// Where a thread met a fault of frazil's own.
static FAULT: Mutex<Option<String>> = Mutex::new(None);

/// How to talk to whoever typed the command.
#[derive(Debug, Clone)]
pub struct Talk {
    pub json: bool,
    /// Whether items come one by one before the Report.
    pub lines: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub progress: bool,
    pub colour: bool,
}

/// What a verb answers: the Report, and the same in words for people.
#[derive(Debug)]
pub struct Answer {
    pub report: Report,
    pub text: String,
}

impl Answer {
    /// An answer that is only an error.
    pub fn failed(verb: &str, error: ErrorReport) -> Self {
        let mut report = Report::of(verb);
        report.fail(error);
        Self { report, text: String::new() }
    }
}

impl Talk {
    pub fn of(global: &Global) -> Self {
        let colour = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self {
            json: global.json.is_some(),
            lines: global.json == Some(Json::Lines),
            quiet: global.quiet,
            verbose: global.verbose,
            progress: !global.no_progress && !global.quiet,
            colour,
        }
    }

    /// Runs a verb and says what it answers; soon after `stop` is set, that it was interrupted.
    pub fn answer<E: Problem>(
        &self,
        verb: &'static str,
        stop: &Arc<AtomicBool>,
        run: impl FnOnce(&Self) -> Result<Answer, E>,
    ) -> ExitCode {
        let started = Instant::now();
        self.end_soon_after(stop, verb, started);
        let answer = match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer { report: Report::failed(verb, &error), text: String::new() },
            Err(_) => Answer::failed(verb, fault()),
        };
        if SAID.swap(true, Ordering::SeqCst) {
            // The process is ending; its exit code is the other thread's.
            loop {
                std::thread::park();
            }
        }
        self.say_answer(answer, verb, started)
    }

    /// Watches `stop`: a silent server or a disk that hangs must not keep anybody waiting.
    fn end_soon_after(&self, stop: &Arc<AtomicBool>, verb: &'static str, started: Instant) {
        let (talk, stop) = (self.clone(), Arc::clone(stop));
        let watch = move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(LOOKED_EVERY);
            }
            std::thread::sleep(STOPS_WITHIN);
            if SAID.swap(true, Ordering::SeqCst) {
                return;
            }
            let error = made::with_resume_command(EngineError::Interrupted { resume: None });
            let answer = Answer { report: Report::failed(verb, &error), text: String::new() };
            let _ = talk.say_answer(answer, verb, started);
            std::process::exit(i32::from(Exit::Interrupted.code()));
        };
        // Without a thread for it the verb stops when it can.
        let _ = std::thread::Builder::new().name("stop".into()).spawn(watch);
    }

    fn say_answer(&self, mut answer: Answer, verb: &str, started: Instant) -> ExitCode {
        answer.report.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let asked = manners::traffic();
        if asked.n_requests > 0 {
            answer.report.more.insert(
                "asked".into(),
                json!({"n_requests": asked.n_requests, "received_bytes": asked.received_bytes, "n_retries": asked.n_retries}),
            );
        }
        let mut printed = Ok(());
        if self.json {
            let items = if self.lines { std::mem::take(&mut answer.report.items) } else { Vec::new() };
            printed = print_items(&items).and_then(|()| print_report(&answer.report));
        } else {
            if self.verbose {
                self.say(&format!("{verb} took {:.3} s", answer.report.seconds));
            }
            if asked.n_requests > 0 && !self.quiet && SCANNING.contains(&verb) {
                self.say(&format!("asked servers {} times for {}", asked.n_requests, bytes(asked.received_bytes)));
            }
            printed = print(&shown_text(&answer.text)).and(printed);
            if !self.quiet {
                for warning in &answer.report.warnings {
                    self.say_painted(&format!(
                        "{} {}  {}",
                        self.paint("33", "warning:"),
                        warning.code,
                        one_line(&warning.message)
                    ));
                }
            }
        }
        if let Some(error) = &answer.report.error
            && !self.json
        {
            self.error(error);
        }
        match printed {
            // Whatever was done: whoever reads the answer has not got it.
            Err(error) if answer.report.error.is_none() => {
                self.say_painted(&format!("{} the answer could not be written: {error}", self.paint("1;31", "error:")));
                ExitCode::from(Exit::No.code())
            }
            _ => ExitCode::from(answer.report.exit_code()),
        }
    }

    /// Lines on stderr. Whatever names stand in them, the terminal obeys none.
    pub fn say(&self, lines: &str) {
        self.say_painted(&shown_text(lines));
    }

    fn say_painted(&self, line: &str) {
        // Nobody may be listening; that is their choice.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// The three lines of an error.
    pub fn error(&self, error: &ErrorReport) {
        self.say_painted(&format!("{} {}", self.paint("1;31", "error:"), error.message));
        if let Some(cause) = &error.cause {
            self.say_painted(&format!("{} {cause}", self.paint("1", "cause:")));
        }
        if let Some(hint) = &error.hint {
            self.say_painted(&format!("{}  {hint}", self.paint("1;36", "hint:")));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Data on stdout, at once: for answers that are too long to be held.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn print_items(items: &[serde_json::Value]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for item in items {
        let written = serde_json::to_writer(&mut out, item).map_err(std::io::Error::from);
        unless_closed(written.and_then(|()| out.write_all(b"\n")))?;
    }
    unless_closed(out.flush())
}

pub fn print_report(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    unless_closed(serde_json::to_writer(&mut out, report).map_err(std::io::Error::from).and_then(|()| {
        out.write_all(b"\n")?;
        out.flush()
    }))
}

/// A reader that has seen enough closes the pipe: no error.
fn unless_closed(printed: std::io::Result<()>) -> std::io::Result<()> {
    printed.or_else(|error| if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Says what clap found: help on stdout with code 0, or what is wrong with code 2.
pub fn say_usage(error: &clap::Error, words: &[std::ffi::OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--json" || word.to_str().is_some_and(|word| word.starts_with("--json="))) {
        let verb = words.iter().filter_map(|word| word.to_str()).find(|word| VERBS.contains(word));
        let shown = error.render().to_string();
        // Up to the empty line before the usage: what is missing or possible stands on lines of its own.
        let lines = shown.lines().take_while(|line| !line.trim().is_empty() && !line.starts_with("Usage"));
        let message = one_line(lines.map(str::trim).collect::<Vec<_>>().join(" ").trim_start_matches("error:").trim());
        let found = ErrorReport::new("usage", message, Exit::Usage).with_hint("`frazil help` lists every word");
        // The exit code says the same to whoever cannot be written to.
        let _ = print_report(&Answer::failed(verb.unwrap_or("frazil"), found).report);
    } else {
        let _ = error.print();
    }
    ExitCode::from(Exit::Usage.code())
}

/// Keeps a fault of frazil's own from looking like an accident: no trace, a sentence when the verb ends.
pub fn explain_panics() {
    std::panic::set_hook(Box::new(|about| {
        let place = about.location().map_or_else(String::new, |place| format!("{}:{}", place.file(), place.line()));
        let what = words_of_panic(about.payload());
        let mut first = FAULT.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| one_line(&format!("{what} ({place})")));
    }));
}

/// What a panic says of itself if that is words of the program, or numbers. What else was made while it ran may repeat
/// what was read, and that may have been a file of keys.
fn words_of_panic(payload: &dyn Any) -> &str {
    const OF_NUMBERS: [&str; 5] = [
        "index out of bounds: the len is ",
        "range start index ",
        "range end index ",
        "slice index starts at ",
        "failed to spawn thread: ",
    ];
    if let Some(words) = payload.downcast_ref::<&str>() {
        return words;
    }
    let made = payload.downcast_ref::<String>().map_or("", String::as_str);
    if OF_NUMBERS.iter().any(|start| made.starts_with(start)) { made } else { "what it says is not shown" }
}

/// The error that frazil itself is wrong.
fn fault() -> ErrorReport {
    let cause = FAULT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut error = ErrorReport::new("frazil.fault", "frazil met a case that it does not know".into(), Exit::No)
        .with_hint(
            "this is a fault of frazil: please report it with this message, the command and, if you can, the file",
        );
    error.cause = cause;
    error
}

/// A flag that SIGINT, SIGTERM and SIGHUP set. The second signal ends the process at once.
pub fn stop_on_signals() -> Arc<AtomicBool> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
        flag,
    };
    let stop = Arc::new(AtomicBool::new(false));
    // Past the largest file that a user may write the system sends a signal; unheard, the write itself says why.
    let _ = flag::register(SIGXFSZ, Arc::default());
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // If it cannot be caught, the process ends as processes do: what is done is kept either way.
        let _ = flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), Arc::clone(&stop));
        let _ = flag::register(signal, Arc::clone(&stop));
    }
    stop.store(false, Ordering::Relaxed);
    stop
}

/// Bytes for people: `4.2 MB`.
pub fn bytes(n_bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n_bytes < 1000 {
        return format!("{n_bytes} B");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut value = n_bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Rows as columns that stand below one another. Columns of numbers are for the caller to pad.
pub fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = " ".repeat(width - cell.chars().count());
            line.push_str(&format!("{cell}{pad}  "));
        }
        text.push_str("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)] // Tests: their panics are their verdicts.
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_two_digits_at_least() {
        for (n_bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "1.0 MB"),
            (58_000_000, "58 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(n_bytes), shown);
        }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            table(&[row(&["sst", "float32"]), row(&["temperature", "x"])]),
            "  sst          float32\n  temperature  x\n"
        );
    }

    #[test]
    fn a_panic_repeats_nothing_that_was_read() {
        let secret = "aws_secret_access_key = CANARYä".to_owned();
        let said = |run: Box<dyn FnOnce() + std::panic::UnwindSafe>| {
            let payload = catch_unwind(run).expect_err("it panics");
            words_of_panic(payload.as_ref()).to_owned()
        };
        let (of_key, of_end) = (secret.clone(), secret.len());
        assert_eq!(said(Box::new(move || drop(of_key[..of_end - 1].to_owned()))), "what it says is not shown");
        assert_eq!(said(Box::new(move || panic!("no key in {secret}"))), "what it says is not shown");
        assert_eq!(said(Box::new(|| panic!("a case that is not known"))), "a case that is not known");
        let at = std::env::args().count() + 5;
        let numbers = said(Box::new(move || {
            let _ = vec![0_u8; 3][at];
        }));
        assert!(numbers.starts_with("index out of bounds: the len is 3"), "{numbers}");
    }
}
