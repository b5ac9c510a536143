//! The `frazil` command: words in, work done by the engine, words and an exit code out.
//!
//! It knows the terminal and exit codes; it does not know how a chunk is found.

mod accept;
mod arguments;
mod build;
mod check;
mod config;
mod confirm;
mod convert;
mod copy;
mod du;
mod gc;
mod inspect;
mod lint;
mod ls;
mod made;
mod opening;
mod output;
mod profile;
mod progress;
mod push;
mod references;
mod remove;
mod scratch;
mod session;
mod subsets;
mod verify;

use std::process::ExitCode;

use arguments::{Arguments, Feedstock, Profile, Scratch, Verb};
use frazil_store::{
    bucket::{Chosen, Signing, choose},
    profile::located,
};
use output::Talk;

fn main() -> ExitCode {
    output::explain_panics();
    frazil_store::secret::keep_from_dumps();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(said) => return said,
    };
    let stop = output::stop_on_signals();
    let talk = Talk::of(&arguments.global);
    choose(Chosen {
        profile: arguments.global.profile.clone(),
        signing: if arguments.global.anonymous { Signing::Never } else { Signing::Always },
    });
    let followed: Result<Vec<_>, _> = arguments.global.follow.iter().map(|text| located(text)).collect();
    match followed {
        Ok(places) => frazil_engine::referred::follow(places),
        Err(error) => return talk.answer("frazil", &stop, |_| Err(error)),
    }
    if let Err(error) = config::read(arguments.global.config.as_deref()) {
        return talk.answer("frazil", &stop, |_| Err(error));
    }
    match &arguments.verb {
        Verb::Ls(words) => talk.answer("ls", &stop, |talk| ls::run(words, talk)),
        Verb::Cp(words) if subsets::are_asked_for(&words.places) => {
            talk.answer("cp", &stop, |talk| subsets::cp(words, talk, &stop))
        }
        Verb::Cp(words) => talk.answer("cp", &stop, |talk| copy::cp(words, talk, &stop)),
        Verb::Sync(words) => talk.answer("sync", &stop, |talk| copy::sync(words, talk, &stop)),
        Verb::Rm(words) => talk.answer("rm", &stop, |talk| remove::run_verb(words, talk, &stop)),
        Verb::Push(words) => talk.answer("push", &stop, |talk| push::run(words, talk, &stop)),
        Verb::Accept(words) => talk.answer("accept", &stop, |talk| accept::run(words, talk, &stop)),
        Verb::Du(words) => talk.answer("du", &stop, |_| du::run(words)),
        Verb::Scratch(Scratch::List(words)) => talk.answer("scratch-list", &stop, |_| scratch::list(words)),
        Verb::Scratch(Scratch::Keep(words)) => {
            talk.answer("scratch-keep", &stop, |talk| scratch::keep(words, talk, &stop))
        }
        Verb::Scratch(Scratch::Expire(words)) => {
            talk.answer("scratch-expire", &stop, |talk| scratch::expire(words, talk, &stop))
        }
        Verb::Scratch(Scratch::Rule(words)) => talk.answer("scratch-rule", &stop, |talk| scratch::rule(words, talk)),
        Verb::Gc(words) => talk.answer("gc", &stop, |talk| gc::run(words, talk)),
        Verb::Inspect(words) => talk.answer("inspect", &stop, |talk| inspect::run(words, talk, &stop)),
        Verb::Convert(words) => talk.answer("convert", &stop, |talk| convert::run(words, talk, &stop)),
        Verb::Build(words) => talk.answer("build", &stop, |talk| build::run(words, talk, &stop)),
        Verb::Check(words) => talk.answer("check", &stop, |talk| check::run(words, talk, &stop)),
        Verb::Verify(words) if words.manifest.is_some() => {
            talk.answer("verify", &stop, |talk| check::manifest(words, talk, &stop))
        }
        Verb::Verify(words) => talk.answer("verify", &stop, |talk| verify::run(words, talk, &stop)),
        Verb::Feedstock(Feedstock::Lint(words)) => talk.answer("feedstock-lint", &stop, |talk| lint::run(words, talk)),
        Verb::Profile(Profile::List) => {
            talk.answer("profile-list", &stop, |_| Ok::<_, frazil_engine::EngineError>(profile::list()))
        }
        Verb::Profile(Profile::Import(words)) => talk.answer("profile-import", &stop, |_| profile::import(words)),
        Verb::Profile(Profile::Export(words)) => {
            talk.answer("profile-export", &stop, |talk| session::export(words, talk))
        }
        Verb::Profile(Profile::Token(words)) => talk.answer("profile-token", &stop, |talk| session::token(words, talk)),
        Verb::Profile(Profile::Erase(words)) => talk.answer("profile-erase", &stop, |talk| session::erase(words, talk)),
        Verb::Profile(Profile::Check(words)) => talk.answer("profile-check", &stop, |talk| profile::check(words, talk)),
        Verb::Profile(Profile::Explain(words)) => talk.answer("profile-explain", &stop, |_| profile::explain(words)),
    }
}
