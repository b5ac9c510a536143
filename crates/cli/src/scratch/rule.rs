//! `frazil scratch rule`: the rule shown and set.

use frazil_model::report::{Report, one_line};
use frazil_store::{
    bucket::lifecycle::{Goes, Rule, Rules, Wanted},
    rfc3339,
};
use frazil_transfer::{
    TransferError, guard,
    place::{Place, Written},
    scratch::{Terms, Told, now, rules_about, rules_of, seconds_of_days, survey},
};
use serde_json::{Value, json};

use super::words_of;
use crate::{
    arguments::ScratchRule,
    confirm::{confirm, word_for},
    du::objects,
    output::{Answer, Talk, bytes},
};

/// A rule as data.
pub(super) fn as_data(rule: &Rule) -> Value {
    let (days, from) = match rule.goes {
        Goes::Never => (None, None),
        Goes::AfterDays(days) => (Some(days), None),
        Goes::From(moment) => (None, Some(rfc3339(moment))),
    };
    json!({
        "id": rule.id, "prefixes": rule.prefixes, "enabled": rule.is_enabled, "days": days, "from": from,
        "uploads_days": rule.uploads_days, "only": rule.only,
    })
}

pub fn run(words: &ScratchRule, talk: &Talk) -> Result<Answer, TransferError> {
    let written = Written::read(&words.place)?;
    if let Place::Local(path) = &written.place
        && !path.exists()
    {
        return Err(TransferError::Nothing { place: words.place.clone() });
    }
    let wanted = match (words.days, words.off) {
        (Some(days), _) => Some(Wanted::Days(days)),
        (None, true) => Some(Wanted::Nothing),
        (None, false) => None,
    };
    let told = rules_of(&written)?;
    let Some(wanted) = wanted else { return Ok(shown(&written, &told)) };
    let (before, bucket, prefix) = match (told, &written.place) {
        (Told::Rules(before), Place::Bucket { bucket, key }) => {
            let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
            (before, bucket, prefix)
        }
        (Told::Unknown(reason), place) => return Err(TransferError::NoRules { place: place.shown(), reason }),
        (_, place) => return Err(TransferError::NoRules { place: place.shown(), reason: "it is no bucket".into() }),
    };
    guard::bounds(&written.place)?;
    let ours: Vec<&Rule> = before.all.iter().filter(|rule| before.is_ours(rule, &prefix)).collect();
    let may = if words.dry_run { "would " } else { "" };
    let mut plan = match wanted {
        Wanted::Days(1) => format!("{may}set: what lies below {} goes after 1 day\n", written.place.shown()),
        Wanted::Days(days) => format!("{may}set: what lies below {} goes after {days} days\n", written.place.shown()),
        Wanted::Nothing if ours.is_empty() => {
            let text = format!("{} has no rule of frazil's; nothing is changed\n", written.place.shown());
            let mut report = Report::of("scratch-rule");
            report.more.insert("place".into(), json!(written.place.shown()));
            report.dry_run = words.dry_run;
            items(&mut report, &before, &written);
            return Ok(Answer { report, text: text + &lines(&before, &written) });
        }
        Wanted::Nothing => format!("{may}take away the rule of {}\n", written.place.shown()),
    };
    for rule in &ours {
        let how = if wanted == Wanted::Nothing { "goes" } else { "is replaced" };
        plan.push_str(&format!("{how}: {}\n", one_line(&words_of(rule))));
    }
    // What is old already goes at once, which is a deletion like others.
    let (n_old, old_bytes) = match wanted {
        Wanted::Days(days) => older(&written, days)?,
        Wanted::Nothing => (0, 0),
    };
    if n_old > 0 {
        plan.push_str(&format!(
            "{}, {}, older already, {} soon\n",
            objects(n_old),
            bytes(old_bytes),
            if n_old == 1 { "goes" } else { "go" }
        ));
    }
    let mut report = Report::of("scratch-rule");
    report.more.insert("place".into(), json!(written.place.shown()));
    report.more.insert("replaces".into(), ours.iter().map(|rule| as_data(rule)).collect());
    report.total("n_older", n_old);
    report.total("older_bytes", old_bytes);
    if words.dry_run {
        report.dry_run = true;
        items(&mut report, &before, &written);
        return Ok(Answer { report, text: plan });
    }
    if !talk.quiet && !talk.json {
        talk.say(plan.trim_end());
    }
    if let Wanted::Days(_) = wanted {
        confirm(talk, &words.confirmed, &word_for(&written.place), n_old, old_bytes)?;
    }
    let after = bucket.set_rule(&prefix, wanted)?;
    let reason = || "its server takes rules only from whoever manages the account".to_owned();
    let after = after.ok_or_else(|| TransferError::NoRules { place: written.place.shown(), reason: reason() })?;
    if !is_kept(&before, &after, &prefix, wanted) {
        return Err(TransferError::RuleNotKept { place: written.place.shown() });
    }
    items(&mut report, &after, &written);
    let text = if talk.quiet {
        String::new()
    } else {
        format!("{}\n{}", if wanted == Wanted::Nothing { "taken away" } else { "set" }, lines(&after, &written))
    };
    Ok(Answer { report, text })
}

/// What is older than so many days, and how much that is.
fn older(written: &Written, days: u32) -> Result<(u64, u64), TransferError> {
    let terms = Terms::Age { seconds: seconds_of_days(u64::from(days)) };
    match survey(written, &terms, now(written)?, 0) {
        Ok(seen) => Ok((seen.total.n_soon, seen.total.soon_bytes)),
        Err(TransferError::Nothing { .. }) => Ok((0, 0)),
        Err(error) => Err(error),
    }
}

/// Whether the server has the rule that it took, and all others as they were.
fn is_kept(before: &Rules, after: &Rules, prefix: &str, wanted: Wanted) -> bool {
    let mut ours = after.all.iter().filter(|rule| after.is_ours(rule, prefix) && rule.is_plain());
    let is_as_wanted = match wanted {
        Wanted::Days(days) => ours.any(|rule| rule.goes == Goes::AfterDays(u64::from(days))),
        Wanted::Nothing => ours.next().is_none(),
    };
    let mut others = before.all.iter().filter(|rule| !before.is_ours(rule, prefix));
    is_as_wanted && others.all(|rule| after.all.contains(rule))
}

fn items(report: &mut Report, rules: &Rules, written: &Written) {
    report.items.extend(rules_about(rules, &written.place).into_iter().map(as_data));
}

fn lines(rules: &Rules, written: &Written) -> String {
    let about = rules_about(rules, &written.place);
    match about.is_empty() {
        true => format!("{}: no rule of the server deletes here\n", written.place.shown()),
        false => about.into_iter().map(|rule| format!("{}\n", one_line(&words_of(rule)))).collect(),
    }
}

fn shown(written: &Written, told: &Told) -> Answer {
    let mut report = Report::of("scratch-rule");
    report.more.insert("place".into(), json!(written.place.shown()));
    let text = match told {
        Told::Rules(rules) => {
            items(&mut report, rules, written);
            lines(rules, written)
        }
        Told::Unknown(why) => {
            report.warn("scratch.rules-unknown", format!("by which rule the server deletes is not known: {why}"));
            String::new()
        }
    };
    Answer { report, text }
}
