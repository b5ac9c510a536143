//! What `convert` and `build` say of a store that they made.

use frazil_engine::EngineError;
use frazil_model::{
    recipe::{
        virtually::{VirtualFormat, VirtualWrite},
        write::ZarrFormat,
    },
    report::Report,
    shell::quoted,
};
use serde_json::Value;

use crate::{
    opening::snippet,
    output::{Talk, bytes},
    references,
};

/// Adds the command to go on with to an interruption.
pub fn with_resume_command(error: EngineError) -> EngineError {
    match error {
        EngineError::Interrupted { .. } => EngineError::Interrupted { resume: Some(this_command()) },
        other => other,
    }
}

/// The command that was typed, to be typed again.
pub fn this_command() -> String {
    let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("frazil {}", words.join(" "))
}

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// A store of this format.
    Zarr(ZarrFormat),
    /// References of this format.
    Virtual(VirtualFormat),
}

impl Result {
    /// References, if there are any, else a store.
    pub fn of(references: Option<&VirtualWrite>, format: ZarrFormat) -> Self {
        references.map_or(Self::Zarr(format), |write| Self::Virtual(write.format))
    }

    /// The lines that open what was made.
    fn opening(self, report: &Report, store: &str) -> String {
        match self {
            Self::Zarr(_) => snippet(store),
            Self::Virtual(format) => references::snippet(format, store, report),
        }
    }
}

/// A Report of a store in words.
pub fn text(report: &Report, result: Result, talk: &Talk) -> String {
    let number = |name: &str| report.totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let more = |name: &str| report.more.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let store = more("store");
    let plan = plan(report, result);
    let opening = || result.opening(report, &store);
    match more("outcome").as_str() {
        "planned" => plan,
        // Whoever wants quiet asked for the store and for nothing else.
        _ if talk.quiet => String::new(),
        "nothing-new" => format!("{store} holds every label already\n"),
        "plan-saved" => format!("{plan}saved in {store}; do its parts with --part 1/N …, then --finish\n"),
        "part-done" => "part done; when all are: --finish\n".to_owned(),
        "already-there" => {
            format!("{store} is there already, made of the same files: nothing was written\n{}", opening())
        }
        _ if number("written_bytes") == 0 => format!("finished {store}\n{}", opening()),
        _ => format!("wrote {} · {}\n{}", bytes(number("written_bytes")), store, opening()),
    }
}

/// Says what will be done, before it is done.
pub fn announce(report: &Report, result: Result, id: &str, talk: &Talk) {
    if !talk.quiet && !talk.json {
        let id = if id.is_empty() { String::new() } else { format!("{id}: ") };
        talk.say(format!("{id}{}", plan(report, result)).trim_end());
    }
}

/// The plan in one line.
fn plan(report: &Report, result: Result) -> String {
    let number = |name: &str| report.totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let version = match result {
        Result::Virtual(format) => return references::plan(report, format),
        Result::Zarr(ZarrFormat::V2) => 2,
        Result::Zarr(ZarrFormat::V3) => 3,
    };
    format!(
        "plan: {} · {} → zarr {version}, {} arrays in {} chunks ({} decoded) · {} tasks · memory up to {}\n",
        if number("files") == 1 { "1 file".to_owned() } else { format!("{} files", number("files")) },
        match number("read_bytes") {
            0 => "all values small".to_owned(),
            n_bytes => format!("{} to read", bytes(n_bytes)),
        },
        number("arrays"),
        number("units"),
        bytes(number("decoded_bytes")),
        number("tasks"),
        bytes(number("peak_memory_bytes")),
    )
}
