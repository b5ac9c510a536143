//! One question to a server that gives keys.
//!
//! It promises that nothing follows where such a server might send us, that a token goes to it over TLS or not past this
//! machine, and that no error repeats what was sent or answered, but for the name that the server gives it.

use std::{io::Read, net::IpAddr, time::Duration};

use crate::{
    address::{Address, Scheme},
    manners::Manners,
    open::{Answer, Ask, NoAnswer, Sending, send},
    sign::Sign,
};

/// Keys are small.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// Tries of one question.
const MOST_TRIES: u32 = 3;

/// The wait before the second.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What a server of keys answered.
pub(super) struct Told {
    pub status: u16,
    pub text: String,
}

/// The address of such a server.
pub(super) fn address(text: &str, path: &str) -> Result<Address, String> {
    let text = format!("{}{path}", text.trim_end_matches('/'));
    Address::parse(&text).ok_or_else(|| "the address of its server of keys cannot be sent".to_owned())
}

/// Whether what is sent there can be read by nobody else.
pub(super) fn is_private(address: &Address) -> bool {
    address.scheme() == Scheme::Https || is_loopback(address)
}

/// Whether it is on this machine.
pub(crate) fn is_loopback(address: &Address) -> bool {
    let host = address.host().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Asks, again if that may help.
pub(super) fn told(address: &Address, sending: &Sending<'_>, signer: Option<&dyn Sign>) -> Result<Told, String> {
    let manners = Manners::default();
    let mut wait = FIRST_WAIT;
    let mut n_tries = 1;
    loop {
        // Without a turn at its host: whoever needs the keys may be holding the last one of the same host.
        let answer = send(address, Ask::Send(sending), &manners, signer);
        let answer = answer.and_then(|answer| text_of(answer).ok_or_else(broken));
        let reason = match answer {
            Ok(told) if matches!(told.status, 429 | 500 | 502..=504) => format!("it answered {}", told.status),
            Ok(told) => return Ok(told),
            Err(NoAnswer::Passing(reason)) => reason,
            Err(NoAnswer::NoHost) => "there is no such host".to_owned(),
            Err(NoAnswer::Untrusted(distrust, why)) => {
                let (place, hint) = (address.without_query(), distrust.hint());
                return Err(format!("{place}, which gives keys, is not trusted, {why}; {hint}"));
            }
            Err(NoAnswer::Unsigned(reason) | NoAnswer::NotSignedNow(reason) | NoAnswer::Lasting(reason)) => {
                return Err(format!("{} could not be asked for keys: {reason}", address.without_query()));
            }
        };
        if n_tries == MOST_TRIES {
            return Err(format!("{} could not be asked for keys: {reason}", address.without_query()));
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

/// The name of an error, if it is one word: nothing else of an answer is repeated.
pub(super) fn plain(code: &str) -> Option<&str> {
    let is_word = !code.is_empty() && code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    is_word.then_some(code)
}
