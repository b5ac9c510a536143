//! `frazil verify`.

use std::{path::Path, sync::atomic::AtomicBool};

use frazil_engine::{
    EngineError,
    verify::{Amount, verify},
};
use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report},
};
use serde_json::json;

use crate::{
    arguments::Verify,
    output::{Answer, Talk, bytes},
};

/// Problems that are shown as text; the Report has more.
const SHOWN: usize = 20;

pub fn run(words: &Verify, _talk: &Talk, stop: &AtomicBool) -> Result<Answer, EngineError> {
    let found = verify(Path::new(&words.store), Amount::All, words.limits.n_threads(), stop)?;
    let mut report = Report::of("verify");
    report.more.insert("store".into(), json!(words.store));
    report.total("objects", found.n_objects);
    report.total("read_objects", found.n_read);
    report.total("read_bytes", found.read_bytes);
    report.total("problems", found.n_problems);
    report.items = found.problems.iter().map(|problem| json!(problem)).collect();
    if found.is_unfinished {
        report.warn(
            "verify.unfinished",
            "work on this store was begun and not finished; what readers see is complete".into(),
        );
    }
    let mut text = String::new();
    for problem in found.problems.iter().take(SHOWN) {
        let place =
            problem.region.as_ref().or(problem.array.as_ref()).map(|place| format!(" ({place})")).unwrap_or_default();
        text.push_str(&format!("{}{place}: {}\n", problem.key.as_deref().unwrap_or("the store"), problem.problem));
    }
    if found.n_problems == 0 {
        text.push_str(&format!(
            "{}: {} objects, {} read; every one is there and unaltered\n",
            words.store,
            found.n_objects,
            bytes(found.read_bytes)
        ));
    } else {
        let first = found
            .problems
            .first()
            .map(|problem| format!(": {} {}", problem.key.as_deref().unwrap_or("the store"), problem.problem))
            .unwrap_or_default();
        let message = format!("`{}` has {} problems{first}", words.store, found.n_problems);
        report.fail(
            ErrorReport::new("verify.problems", message, Exit::No)
                .with_hint("build it again with `--overwrite`, or copy it again from where it was whole"),
        );
    }
    Ok(Answer { report, text })
}
