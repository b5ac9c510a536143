//! `frazil scratch keep`: from where things go to where they stay.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::Exit,
    report::{ErrorReport, Report, one_line},
};
use frazil_transfer::{
    TransferError,
    place::Written,
    progress::Progress,
    run::Watch,
    scratch::keep::{plan, run as carry_out},
};
use serde_json::json;

use crate::{
    arguments::ScratchKeep,
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
};

pub fn run(words: &ScratchKeep, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let (source, dest) = (Written::read(&words.source)?, Written::read_dest(&words.to)?);
    let from = source.place.shown();
    let progress = Progress::default();
    let keeping = moving(talk, &progress, || plan(source, dest))?;
    let copy = &keeping.copy;
    let mut report = Report::of("scratch-keep");
    report.more.insert("source".into(), json!(from));
    report.more.insert("dest".into(), json!(copy.root.shown()));
    report.total("n_planned", copy.tasks.len());
    report.total("planned_bytes", copy.n_bytes());
    report.total("n_same", copy.same.0);
    for note in &keeping.notes {
        report.warn("scratch.not-known", note.clone());
    }
    let n_all = copy.tasks.len() as u64 + copy.same.0;
    let line = format!(
        "move {} → {}: {n_all} files, {} of them there already, {} to copy",
        one_line(&from),
        one_line(&copy.root.shown()),
        copy.same.0,
        bytes(copy.n_bytes())
    );
    if words.dry_run {
        report.dry_run = true;
        return Ok(Answer { report, text: format!("{line}\n") });
    }
    if !talk.quiet && !talk.json {
        talk.say(&line);
    }
    let kept = moving(talk, &progress, || carry_out(&keeping, Watch { progress: &progress, stop }));
    let kept = kept.map_err(|error| match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    })?;
    report.total("n_files", kept.outcome.n_files);
    report.total("n_bytes", kept.outcome.n_bytes);
    report.total("n_compared", kept.n_compared);
    report.total("n_removed", kept.n_removed);
    report.total("n_left", kept.left.len());
    if let Some((name, why)) = kept.left.first() {
        let n_all = usize::try_from(n_all).unwrap_or(usize::MAX);
        let first = format!("`{name}`: {why}");
        let n_failed = kept.left.len();
        let error =
            TransferError::Part { n_failed, n_all, done: "removed at the old place", first, exit: Exit::Partly };
        report.fail(ErrorReport::of(&error));
    }
    let text = format!(
        "copied {} files · {} · compared {} · removed {} → {}\n",
        kept.outcome.n_files,
        bytes(kept.outcome.n_bytes),
        kept.n_compared,
        kept.n_removed,
        one_line(&copy.root.shown())
    );
    Ok(Answer { report, text: if talk.quiet { String::new() } else { text } })
}
