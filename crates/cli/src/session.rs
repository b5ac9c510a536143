//! `frazil profile export`, `token` and `erase`: identities are handed on for a while, and what is left of them goes.
//!
//! It promises that a secret goes to a file for its owner alone, or to a program that reads stdout where that was asked for; never
//! to a terminal and never into a Report.

use std::{io::IsTerminal, path::Path};

use frazil_model::{
    location::{Door, Location, Object},
    problem::Exit,
    report::{ErrorReport, Report, one_line},
    shell::quoted,
};
use frazil_store::{
    bucket::check::place_for,
    profile::{Surroundings, located_to_write, of_s3},
    rfc3339,
    secret::Secret,
    session::{
        Form, Kind, Session,
        erase::{self, Found},
        is_free,
        token::{NoToken, Token, Unscoped, Wish, make},
        write,
    },
};
use frazil_transfer::TransferError;
use serde_json::json;

use crate::{
    arguments,
    confirm::confirm,
    output::{Answer, Talk, table},
};

/// Hands an identity on.
pub fn export(words: &arguments::Export, talk: &Talk) -> Result<Answer, TransferError> {
    let surroundings = Surroundings::of_process();
    let refused = |why: String| Answer::failed("profile-export", ErrorReport::new("profile.export", why, Exit::No));
    let to = match target(words.out.as_deref(), words.to == Form::Env, talk) {
        Ok(to) => to,
        Err(error) => return Ok(Answer::failed("profile-export", error)),
    };
    if let Some(Err(why)) = to.path().map(|path| is_free(&surroundings, path)) {
        return Ok(refused(why));
    }
    let object = match &words.name {
        Some(name) => {
            let is_alias = of_s3(&surroundings, Some(name)).is_ok_and(|profile| profile.below.is_some());
            place_for(name, None, is_alias)
        }
        None => Object { door: Door::S3, bucket: String::new(), key: String::new() },
    };
    let session = Session::of(&object)?;
    let mut report = Report::of("profile-export");
    let text = match words.to.text(&session) {
        Ok(text) => text,
        Err(why) => return Ok(refused(format!("profile `{}` cannot be exported: {why}", session.name))),
    };
    if let Some(below) = &session.below {
        let message = format!("`{}` starts at `{below}`, and other programs start at the server", session.name);
        report.warn("profile.below", message);
    }
    let said = format!("{} of `{}`, {}", session.shown(), session.name, session.until());
    if let Err(why) = to.take(&surroundings, &text, Kind::Exported) {
        return Ok(refused(why));
    }
    let usage = to.path().map(|path| words.to.usage(&session, path));
    report.items.push(json!({
        "name": session.name, "keys": session.shown(), "expires": session.ends_seconds.map(rfc3339), "file": to.path(),
        "use": usage,
    }));
    Ok(told(report, &to, &said, usage.as_deref(), talk))
}

/// Makes a token.
pub fn token(words: &arguments::Token, talk: &Talk) -> Result<Answer, TransferError> {
    let surroundings = Surroundings::of_process();
    let failed = |error: ErrorReport| Ok(Answer::failed("profile-token", error));
    let refused = |why: String| ErrorReport::new("profile.token", why, Exit::No);
    let to = match target(words.out.as_deref(), true, talk) {
        Ok(to) => to,
        Err(error) => return failed(error),
    };
    if let Some(Err(why)) = to.path().map(|path| is_free(&surroundings, path)) {
        return failed(refused(why));
    }
    let Location::Object(object) = located_to_write(&words.place)? else {
        let why = format!("`{}` is in no bucket; a token opens a folder of one", words.place);
        let error = ErrorReport::new("profile.token", why, Exit::Usage);
        return failed(error.with_hint("name a folder of one, such as `osn:bucket/folder/`"));
    };
    let unscoped = if words.unscoped { Unscoped::Wanted } else { Unscoped::Refused };
    let wish = Wish { mode: words.mode, seconds: words.lifetime.as_secs(), role: words.role.clone(), unscoped };
    let token: Token = match make(&object, &wish) {
        Ok(token) => token,
        Err(NoToken::Store(error)) => return Err(error.into()),
        Err(NoToken::Refused { why, hint }) => return failed(refused(why).with_hint(hint)),
    };
    let mut report = Report::of("profile-token");
    let until = token.ends_seconds.map(rfc3339);
    let shown =
        until.clone().map(|ends| format!("until {ends}")).unwrap_or_else(|| "with an end that nobody said".into());
    let said = match token.is_narrow {
        true => format!("a token to {} {}, {shown}", words.mode.shown(), token.opens),
        false => {
            let message = "the token was not narrowed: it opens all that the account may".to_owned();
            report.warn("profile.unscoped", message);
            format!("a token for all that the account may, {shown}")
        }
    };
    // `bucket/` has no folder.
    if token.is_narrow && token.opens.split('/').nth(1).is_none_or(str::is_empty) {
        let message =
            format!("it opens all of `{}`: name a folder, such as `{}jdoe/`, for less", token.opens, token.opens);
        report.warn("profile.whole-bucket", message);
    }
    if let Err(why) = to.take(&surroundings, &token.text, Kind::Token) {
        return failed(refused(why));
    }
    let usage = to.path().map(|path| format!("frazil profile import NAME {}", quoted(path.display())));
    report.items.push(json!({
        "opens": token.opens, "mode": words.mode.shown(), "expires": until, "file": to.path(), "narrow": token.is_narrow,
        "policy": token.policy,
    }));
    Ok(told(report, &to, &said, usage.as_deref(), talk))
}

/// Takes away what is left.
pub fn erase(words: &arguments::Erase, talk: &Talk) -> Result<Answer, TransferError> {
    let surroundings = Surroundings::of_process();
    let mut report = Report::of("profile-erase");
    let found = match erase::look(&surroundings, &words.told) {
        Ok(found) => found,
        Err(why) => {
            let error = ErrorReport::new("profile.erase", why, Exit::No)
                .with_hint("`frazil profile erase -n` says what there is");
            return Ok(Answer::failed("profile-erase", error));
        }
    };
    let (goes, stays): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|one| one.stays.is_none());
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut tell = |report: &mut Report, one: &Found, outcome: &str, why: Option<&str>| {
        report.items.push(json!({
            "path": one.path, "profile": one.profile, "what": one.what, "outcome": outcome, "why": why,
        }));
        let reason = why.map(|why| format!(": {why}")).unwrap_or_default();
        rows.push(vec![outcome.to_owned(), one_line(&one.path.display().to_string()), format!("{}{reason}", one.what)]);
    };
    if words.dry_run {
        report.dry_run = true;
        goes.iter().for_each(|one| tell(&mut report, one, "would erase", None));
    } else if !goes.is_empty() {
        if !words.confirmed.yes && !talk.json {
            talk.say(
                table(
                    &goes
                        .iter()
                        .map(|one| vec![one_line(&one.path.display().to_string()), one.what.clone()])
                        .collect::<Vec<_>>(),
                )
                .trim_end(),
            );
        }
        let n_bytes = goes.iter().map(|one| one.size_bytes).sum();
        confirm(talk, &words.confirmed, "credentials", goes.len() as u64, n_bytes)?;
        for one in &goes {
            match erase::erase(&surroundings, one) {
                Ok(()) => tell(&mut report, one, "erased", None),
                Err(why) => {
                    tell(&mut report, one, "failed", Some(&why));
                    report.fail(ErrorReport::new("profile.erase", why, Exit::No));
                }
            }
        }
        erase::forget(&surroundings);
    }
    stays.iter().for_each(|one| tell(&mut report, one, "stays", one.stays.as_deref()));
    report.total("n_found", found.len());
    report.total("n_erased", report.items.iter().filter(|item| item["outcome"] == "erased").count());
    if !words.told.is_empty()
        && let Some(one) = stays.first()
    {
        let why = one.stays.clone().unwrap_or_default();
        report.fail(ErrorReport::new("profile.erase", format!("{} stays: {why}", one.path.display()), Exit::No));
    }
    let text = if rows.is_empty() { "nothing is left of temporary credentials\n".into() } else { table(&rows) };
    Ok(Answer { report, text })
}

/// Where a secret goes.
enum Target<'a> {
    File(&'a Path),
    Stdout,
}

/// Where it may go: a file, or a program that reads stdout.
fn target<'a>(out: Option<&'a Path>, may_be_read: bool, talk: &Talk) -> Result<Target<'a>, ErrorReport> {
    let refused =
        |why: &str, hint: &str| Err(ErrorReport::new("profile.nowhere", why.to_owned(), Exit::Usage).with_hint(hint));
    match out {
        Some(path) => Ok(Target::File(path)),
        None if !may_be_read => refused("this form is a file", "name it with `--out FILE`"),
        None if talk.json => refused("a Report holds no secret", "name a file with `--out FILE`"),
        None if std::io::stdout().is_terminal() => refused(
            "a secret is not shown on a terminal",
            "let a program read it (`eval \"$(…)\"`, `| frazil profile import NAME`), or name a file with `--out FILE`",
        ),
        None => Ok(Target::Stdout),
    }
}

impl Target<'_> {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout => None,
        }
    }

    fn take(&self, surroundings: &Surroundings, text: &Secret, kind: Kind) -> Result<(), String> {
        match self {
            Self::File(path) => write(surroundings, path, text, kind),
            Self::Stdout => {
                text.hand_on(&mut std::io::stdout().lock()).map_err(|error| format!("nobody took it: {}", error.kind()))
            }
        }
    }
}

/// What was handed on, in words: on stdout, or beside it where the secret itself is there.
fn told(report: Report, to: &Target<'_>, said: &str, usage: Option<&str>, talk: &Talk) -> Answer {
    let text = match to {
        Target::File(path) => {
            let usage = usage.map(|usage| format!("use it: {usage}\n")).unwrap_or_default();
            let path = path.display().to_string();
            let (shown, quoted) = (one_line(&path), quoted(&path));
            format!("{said} → {shown} (for you alone)\n{usage}erase it: frazil profile erase {quoted}\n")
        }
        Target::Stdout => {
            if !talk.quiet {
                talk.say(said);
            }
            String::new()
        }
    };
    Answer { report, text }
}
