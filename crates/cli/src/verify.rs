//! `frazil verify`.

use std::sync::atomic::AtomicBool;

use frazil_engine::EngineError;
use frazil_model::{problem::Exit, report::ErrorReport};

use crate::{
    arguments::Verify,
    output::{Answer, Talk},
};

pub fn run(_words: &Verify, _talk: &Talk, _stop: &AtomicBool) -> Result<Answer, EngineError> {
    Ok(Answer::failed("verify", ErrorReport::new("cli.not-yet", "`frazil verify` does nothing yet".into(), Exit::No)))
}
