//! The `frazil` command: words in, work done by the engine, words and an exit code out.
//!
//! It knows the terminal and exit codes; it does not know how a chunk is found.

mod arguments;
mod build;
mod convert;
mod inspect;
mod lint;
mod made;
mod opening;
mod output;
mod profile;
mod progress;
mod verify;

use std::process::ExitCode;

use arguments::{Arguments, Feedstock, Profile, Verb};
use frazil_store::bucket::{Chosen, Signing, choose};
use output::Talk;

fn main() -> ExitCode {
    output::explain_panics();
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
    match &arguments.verb {
        Verb::Inspect(words) => talk.answer("inspect", &stop, |talk| inspect::run(words, talk, &stop)),
        Verb::Convert(words) => talk.answer("convert", &stop, |talk| convert::run(words, talk, &stop)),
        Verb::Build(words) => talk.answer("build", &stop, |talk| build::run(words, talk, &stop)),
        Verb::Verify(words) => talk.answer("verify", &stop, |talk| verify::run(words, talk, &stop)),
        Verb::Feedstock(Feedstock::Lint(words)) => talk.answer("feedstock-lint", &stop, |talk| lint::run(words, talk)),
        Verb::Profile(Profile::List) => talk.answer("profile-list", &stop, |_| Ok(profile::list())),
        Verb::Profile(Profile::Explain(words)) => talk.answer("profile-explain", &stop, |_| profile::explain(words)),
    }
}
