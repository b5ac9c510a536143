//! `frazil convert`.

use std::sync::atomic::AtomicBool;

use frazil_engine::EngineError;
use frazil_model::{problem::Exit, report::ErrorReport};

use crate::{
    arguments::Convert,
    output::{Answer, Talk},
};

pub fn run(_words: &Convert, _talk: &Talk, _stop: &AtomicBool) -> Result<Answer, EngineError> {
    Ok(Answer::failed("convert", ErrorReport::new("cli.not-yet", "`frazil convert` does nothing yet".into(), Exit::No)))
}
