//! `frazil build`.

use std::sync::atomic::AtomicBool;

use frazil_engine::EngineError;
use frazil_model::{problem::Exit, report::ErrorReport};

use crate::{
    arguments::Build,
    output::{Answer, Talk},
};

pub fn run(_words: &Build, _talk: &Talk, _stop: &AtomicBool) -> Result<Answer, EngineError> {
    Ok(Answer::failed("build", ErrorReport::new("cli.not-yet", "`frazil build` does nothing yet".into(), Exit::No)))
}
