//! `frazil check`, and `frazil verify --manifest`: whether places hold the same files, or what a manifest says.

use std::{collections::BTreeMap, path::Path, sync::atomic::AtomicBool};

use frazil_model::{
    problem::{Exit, Problem},
    report::{ErrorReport, Report, one_line, shown_name},
};
use frazil_store::pace;
use frazil_transfer::{
    TransferError,
    check::{
        Checking, Compared, Difference, Extra, How, What, check,
        manifest::{Expectation, verify},
    },
    copy::Filter,
    place::{Place, Written},
    progress::Progress,
};
use serde_json::json;

use crate::{
    arguments::{Check, Verify},
    made::this_command,
    output::{Answer, Talk, bytes},
    progress::moving,
    push::{files, first_lines},
};

pub fn run(words: &Check, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    if let Some(limit) = words.limit {
        pace::limit(limit.0);
    }
    let checking = Checking {
        a: Written::read(&words.a)?,
        b: Written::read(&words.b)?,
        filter: Filter { include: words.include.clone(), exclude: words.exclude.clone() },
        how: if words.read { How::Read } else { How::Digests },
        extra: if words.one_way { Extra::IsFine } else { Extra::Counts },
    };
    let progress = Progress::default();
    let compared = moving(talk, &progress, || check(&checking, &progress, stop)).map_err(resumable)?;
    let mut report = Report::of("check");
    report.more.insert("a".into(), json!(words.a));
    report.more.insert("b".into(), json!(words.b));
    report.total("n_same", compared.n_same);
    report.total("same_bytes", compared.same_bytes);
    report.total("n_read", compared.n_read);
    report.total("n_stores", compared.n_stores);
    for what in [What::Missing, What::Extra, What::Size, What::Bytes, What::NotCompared] {
        report.total(total(what), count(&compared, what));
    }
    for one in &compared.differences {
        report.items.push(json!({
            "name": one.name, "outcome": one.what.word(), "store": one.store, "message": one.words,
        }));
    }
    if let Some(error) = error_of(words, &compared) {
        report.fail(error);
    }
    Ok(Answer { report, text: text(words, &compared) })
}

fn resumable(error: TransferError) -> TransferError {
    match error {
        TransferError::Interrupted { open, .. } => TransferError::Interrupted { resume: Some(this_command()), open },
        other => other,
    }
}

const fn total(what: What) -> &'static str {
    match what {
        What::Missing => "n_missing",
        What::Extra => "n_extra",
        What::Size => "n_other_size",
        What::Bytes => "n_other_bytes",
        What::NotCompared => "n_not_compared",
    }
}

fn count(compared: &Compared, what: What) -> usize {
    compared.differences.iter().filter(|one| one.what == what).count()
}

/// The error that the places are not alike, or that it is not known.
fn error_of(words: &Check, compared: &Compared) -> Option<ErrorReport> {
    let first = compared.differences.first()?;
    let n_unknown = count(compared, What::NotCompared);
    let n_different = compared.differences.len() - n_unknown;
    let (a, b) = (&words.a, &words.b);
    if n_different > 0 {
        let first = compared.differences.iter().find(|one| one.what != What::NotCompared).unwrap_or(first);
        let n_unkept = compared.differences.iter().filter(|one| one.is_unkept).count();
        let hint = match n_unkept {
            0 => "`frazil cp` or `frazil sync` makes them alike".to_owned(),
            n if n == n_different => {
                format!("`{b}` takes no such names: rename the files, or leave them out with `--exclude`")
            }
            n => format!(
                "`frazil cp` or `frazil sync` makes them alike but for {}: `{b}` takes no such names; rename them, or leave \
                 them out with `--exclude`",
                files(n)
            ),
        };
        let message = format!("`{a}` and `{b}` differ in {}; the first: {}", files(n_different), line(first));
        return Some(ErrorReport::new("check.differs", message, Exit::No).with_hint(&one_line(&hint)));
    }
    let exits: Vec<Exit> = compared.differences.iter().filter_map(|one| Some(one.error.as_ref()?.exit())).collect();
    let exit = match exits.first() {
        Some(exit @ (Exit::SignIn | Exit::Later)) if exits.iter().all(|other| other == exit) => *exit,
        _ => Exit::Partly,
    };
    let message = format!("{} could not be compared; the first: {}", files(n_unknown), line(first));
    Some(
        ErrorReport::new("check.not-compared", message, exit)
            .with_hint("the others are the same; `--exclude` leaves files out"),
    )
}

fn line(one: &Difference) -> String {
    if one.name.is_empty() { one.words.clone() } else { format!("`{}`: {}", shown_name(&one.name), one.words) }
}

/// What was found, a store in one line.
fn text(words: &Check, compared: &Compared) -> String {
    let mut stores: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    let mut lines = Vec::new();
    for one in &compared.differences {
        match one.store.as_deref() {
            Some(store) => stores.entry(store).or_default().push(one),
            None if one.name.is_empty() => lines.push(format!("{}: {}", one.what.word(), one.words)),
            None => lines.push(format!("{}: {}: {}", one.what.word(), shown_name(&one.name), one.words)),
        }
    }
    for (store, all) in stores {
        let what = match all.first().map(|one| one.what) {
            // Its root is what makes a store: where that is missing, the store is.
            Some(what @ (What::Missing | What::Extra))
                if all.iter().all(|one| one.what == what) && has_root(store, &all) =>
            {
                what.word()
            }
            _ => "differs",
        };
        let name = if store.is_empty() {
            Path::new(&words.a).file_name().map_or(words.a.clone(), |name| name.to_string_lossy().into_owned())
        } else {
            store.to_owned()
        };
        let first = all.first().map(|one| format!("{}: {}", shown_name(&one.name), one.words)).unwrap_or_default();
        lines.push(format!("{what}: {} (store): {} of it; the first: {first}", shown_name(&name), files(all.len())));
    }
    let mut text = first_lines(lines.into_iter());
    let same = files(usize::try_from(compared.n_same).unwrap_or(usize::MAX));
    let how = match compared.n_read {
        0 => String::new(),
        n if n == compared.n_same => ", all read on both sides".into(),
        n => format!(", {n} of them read on both sides"),
    };
    text.push_str(&format!("{same} the same ({}{how})", bytes(compared.same_bytes)));
    if !compared.differences.is_empty() {
        text.push_str(&format!(" · {} not", compared.differences.len()));
    }
    text.push('\n');
    text
}

fn has_root(store: &str, all: &[&Difference]) -> bool {
    let marks = ["zarr.json", ".zgroup", ".zarray"];
    let below = |name: &str| {
        if store.is_empty() { name.to_owned() } else { name.get(store.len() + 1..).unwrap_or_default().to_owned() }
    };
    all.iter().any(|one| marks.contains(&below(&one.name).as_str()))
}

/// Checks a folder by a manifest.
pub fn manifest(words: &Verify, talk: &Talk, stop: &AtomicBool) -> Result<Answer, TransferError> {
    let place = Written::read(&words.store)?.place;
    place.must_be_folder()?;
    let file = Written::read(words.manifest.as_deref().unwrap_or_default())?;
    let expectation = Expectation::read(&file)?;
    let extra = if words.one_way { Extra::IsFine } else { Extra::Counts };
    let progress = Progress::default();
    let besides = name_in(&place, &file.place);
    let checked = moving(talk, &progress, || verify(&place, &expectation, extra, besides.as_deref(), &progress, stop))
        .map_err(resumable)?;
    let mut report = Report::of("verify");
    report.more.insert("place".into(), json!(words.store));
    report.more.insert("manifest".into(), json!(words.manifest));
    report.more.insert("kind".into(), json!(expectation.kind));
    report.total("n_files", expectation.files.len());
    report.total("n_same", checked.found.len());
    report.total("read_bytes", checked.found.iter().map(|found| found.size_bytes).sum::<u64>());
    report.total("problems", checked.differences.len());
    for one in &checked.differences {
        report.items.push(json!({"name": one.name, "outcome": one.what, "message": one.words}));
    }
    let mut text = first_lines(
        checked.differences.iter().map(|one| format!("{}: {}: {}", one.what, shown_name(&one.name), one.words)),
    );
    if let Some(first) = checked.differences.first() {
        let (n, place) = (files(checked.differences.len()), &words.store);
        let message =
            format!("`{place}` is not what its manifest says: {n} not; the first: `{}`: {}", first.name, first.words);
        report.fail(ErrorReport::new("verify.differs", message, Exit::No));
    } else {
        let size = bytes(checked.found.iter().map(|found| found.size_bytes).sum());
        text = format!("{}: {} read ({size}), all as the manifest says\n", words.store, files(checked.found.len()));
    }
    Ok(Answer { report, text })
}

/// The name that the manifest itself has in the folder, if it lies there.
fn name_in(place: &Place, file: &Place) -> Option<String> {
    match (place, file) {
        (Place::Local(folder), Place::Local(file)) => {
            let (folder, file) = (std::fs::canonicalize(folder).ok()?, std::fs::canonicalize(file).ok()?);
            Some(file.strip_prefix(folder).ok()?.to_str()?.to_owned())
        }
        (Place::Bucket { bucket, key }, Place::Bucket { bucket: other, key: name }) if bucket.is_same(other) => {
            let name =
                if key.is_empty() { name.as_str() } else { name.strip_prefix(key.as_str())?.strip_prefix('/')? };
            Some(name.to_owned())
        }
        _ => None,
    }
}
