//! `frazil rm`: the plan first.

use std::sync::atomic::AtomicBool;

use frazil_model::{
    problem::{Exit, Problem as _},
    report::{ErrorReport, Report, one_line, shown_name},
};
use frazil_transfer::{
    TransferError,
    copy::Scope,
    place::Written,
    progress::Progress,
    remove::{Bound, Plan, plan, run},
    run::Watch,
};
use serde_json::json;

use crate::{
    arguments::Rm,
    confirm::{confirm, word_for},
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
};

pub fn run_verb(words: &Rm, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let places: Vec<Written> = words.places.iter().map(|text| Written::read(text)).collect::<Result<_, _>>()?;
    let scope = if words.inside_store { Scope::InsideStores } else { Scope::WholeStores };
    let progress = Progress::default();
    // With `--yes` nobody looks at what a pattern takes.
    let is_unseen = words.confirmed.yes && words.confirmed.max_objects.is_none() && !words.dry_run;
    let bound = if is_unseen { Bound::None } else { Bound::Said };
    let plan = moving(talk, &progress, || plan(&places, scope, bound))?;
    let mut report = Report::of("rm");
    report.total("n_objects", plan.n_objects());
    report.total("n_bytes", plan.n_bytes());
    for tree in &plan.trees {
        let (n_objects, n_bytes) = (tree.n_all(), tree.all_bytes());
        report.items.push(json!({"place": tree.place.shown(), "n_objects": n_objects, "size_bytes": n_bytes}));
    }
    if words.dry_run {
        report.dry_run = true;
        return Ok(Answer { report, text: shown(&plan) });
    }
    if !talk.quiet && !talk.json {
        talk.say(shown(&plan).trim_end());
    }
    let what = plan.trees.first().map(|tree| word_for(&tree.place)).unwrap_or_default();
    confirm(talk, &words.confirmed, &what, plan.n_objects(), plan.n_bytes())?;
    let watch = Watch { progress: &progress, stop };
    let left = moving(talk, &progress, || run(&plan, watch)).map_err(|error| match error {
        TransferError::Interrupted { .. } => TransferError::Interrupted { resume: Some(this_command()), open: None },
        other => other,
    })?;
    report.total("n_left", left.len());
    let text = match (left.len() as u64, plan.n_objects()) {
        (0, 1) => format!("deleted 1 object · {}\n", bytes(plan.n_bytes())),
        (0, n_all) => format!("deleted {n_all} objects · {}\n", bytes(plan.n_bytes())),
        (n_left, n_all) => format!("deleted {} of {n_all} objects\n", n_all.saturating_sub(n_left)),
    };
    if let Some((name, error)) = left.first() {
        let (n_all, first) =
            (usize::try_from(plan.n_objects()).unwrap_or(usize::MAX), format!("`{}`: {error}", shown_name(name)));
        let exit = if left.len() == n_all { error.exit() } else { Exit::Partly };
        let error = TransferError::Part { n_failed: left.len(), n_all, done: "deleted", first, exit };
        report.fail(ErrorReport::of(&error));
    }
    for (name, error) in left {
        report.items.push(json!({"name": name, "outcome": "left", "message": one_line(&error.to_string())}));
    }
    Ok(Answer { report, text: if talk.quiet { String::new() } else { text } })
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for tree in &plan.trees {
        let n_objects = tree.n_all();
        let what = if n_objects == 1 { "1 object".to_owned() } else { format!("{n_objects} objects") };
        text.push_str(&format!("delete {} · {what} · {}\n", shown_name(&tree.place.shown()), bytes(tree.all_bytes())));
    }
    text
}
