//! One question to a server that gives keys or tokens.
//!
//! It promises that nothing follows where such a server might send us, that it is not asked for ever, and that no error
//! repeats what was sent or answered.

use std::{io::Read, time::Duration};

use crate::{
    address::Address,
    manners::Manners,
    open::{Answer, Ask, NoAnswer, Sending, send},
    sign::Sign,
    skew,
};

/// Longer answers hold no key and no token.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Tries of one question.
const MOST_TRIES: u32 = 4;

/// The wait before the second; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What such a server answered.
pub(crate) struct Told {
    pub status: u16,
    pub text: String,
}

/// Why it told nothing, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Untold {
    /// It may later.
    Passing(String),
    /// It will not.
    Lasting(String),
    /// It may not be who it should be: why, and what to do.
    Untrusted(String),
}

/// Asks, again if that may help. Without a turn at its host: whoever needs the answer may be holding the last one.
pub(crate) fn told(address: &Address, sending: &Sending<'_>, signer: Option<&dyn Sign>) -> Result<Told, Untold> {
    let manners = Manners::default();
    let mut wait = FIRST_WAIT;
    let mut n_tries = 1;
    let mut is_timed = false;
    loop {
        let answer = send(address, Ask::Send(sending), &manners, signer);
        if signer.is_some()
            && !is_timed
            && answer.as_ref().is_ok_and(|answer| {
                matches!(answer.status, 400 | 401 | 403) && skew::is_another(address.authority(), answer.header("date"))
            })
        {
            is_timed = true;
            continue;
        }
        let answer = answer.and_then(|answer| text_of(answer).ok_or_else(broken));
        let reason = match answer {
            Ok(told) if matches!(told.status, 408 | 429 | 500..=599) => format!("it answered {}", told.status),
            Ok(told) => return Ok(told),
            Err(NoAnswer::Passing(reason)) => reason,
            Err(NoAnswer::Untrusted(distrust, why)) => {
                return Err(Untold::Untrusted(format!("{why}; {}", distrust.hint())));
            }
            Err(NoAnswer::NoHost) => "there is no such host".to_owned(),
            Err(NoAnswer::Unsigned(reason) | NoAnswer::NotSignedNow(reason) | NoAnswer::Lasting(reason)) => {
                return Err(Untold::Lasting(reason));
            }
        };
        if n_tries == MOST_TRIES {
            return Err(Untold::Passing(format!("{reason} (tried {n_tries} times)")));
        }
        n_tries += 1;
        std::thread::sleep(wait);
        wait = wait.saturating_mul(2);
    }
}

fn broken() -> NoAnswer {
    NoAnswer::Passing("the answer broke off".into())
}

fn text_of(mut answer: Answer) -> Option<Told> {
    let mut bytes = Vec::new();
    (&mut answer.body).take(MAX_ANSWER_BYTES).read_to_end(&mut bytes).ok()?;
    Some(Told { status: answer.status, text: String::from_utf8_lossy(&bytes).into_owned() })
}
