//! Tokens that open a server for a while: got by a grant, kept in memory, got anew before they end.
//!
//! It promises that threads share one token and that one of them at a time gets it; that a token which a server refuses
//! is got anew once; and that no message holds a token or what it was got with. It does not know what the token opens.

mod asked;
mod signed;

pub(crate) use asked::EVERYTHING;

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use crate::{
    open::NoAnswer,
    profile::grant::{self, Grant},
    secret::Secret,
    settled::now_seconds,
};

/// A token is got anew so long before its end, or when a quarter of its time is left if that is later.
const BEFORE_ITS_END: Duration = Duration::from_secs(300);

/// A token that does not say when it ends is good for so long: a file may hold another one by then.
const UNTOLD: Duration = Duration::from_secs(60);

/// After a failure an old token that is still good is kept for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// A longer one is taken for a mistake.
const LONGEST: Duration = Duration::from_secs(100 * 86_400);

/// A token as it was got.
pub(super) struct Got {
    pub token: Secret,
    /// For how long it is good, if that was said.
    pub lifetime: Option<Duration>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoToken {
    /// There may be one later.
    Passing(String),
    /// There will be none.
    Lasting(String),
}

impl From<NoToken> for NoAnswer {
    fn from(reason: NoToken) -> Self {
        match reason {
            NoToken::Passing(why) => Self::NotSignedNow(why),
            NoToken::Lasting(why) => Self::Unsigned(why),
        }
    }
}

#[derive(Clone)]
struct Held {
    token: Secret,
    got: Instant,
    renew: Instant,
    ends: Option<Instant>,
}

/// The token of one grant.
pub(crate) struct Tokens {
    grant: Grant,
    scope: String,
    held: Mutex<Option<Held>>,
    /// Whoever holds it gets the next one.
    getting: Mutex<()>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.grant.shown())
    }
}

static ALL: LazyLock<Mutex<Vec<Arc<Tokens>>>> = LazyLock::new(Mutex::default);

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tokens {
    /// Those of a grant, shared by all who have the same. Nothing is asked yet.
    pub fn of(grant: &Grant, scope: &str) -> Arc<Self> {
        let mut all = held(&ALL);
        if let Some(known) = all.iter().find(|known| known.grant == *grant && known.scope == scope) {
            return Arc::clone(known);
        }
        let new =
            Self { grant: grant.clone(), scope: scope.to_owned(), held: Mutex::default(), getting: Mutex::default() };
        let new = Arc::new(new);
        all.push(Arc::clone(&new));
        new
    }

    /// A token that is good now.
    pub fn token(&self) -> Result<Secret, NoAnswer> {
        let now = Instant::now();
        let known = held(&self.held).clone();
        let old = match known {
            Some(known) if now < known.renew => return Ok(known.token),
            Some(known) if known.ends.is_none_or(|ends| now < ends) => Some(known.token),
            _ => None,
        };
        let _getting = match (&old, self.getting.try_lock()) {
            (_, Ok(getting)) => getting,
            // Somebody gets the next one, and this one is still good.
            (Some(old), Err(TryLockError::WouldBlock)) => return Ok(old.clone()),
            _ => held(&self.getting),
        };
        // Whoever got here first has got it for all.
        if let Some(known) = held(&self.held).as_ref().filter(|known| Instant::now() < known.renew) {
            return Ok(known.token.clone());
        }
        match (self.get(), old) {
            (Ok(token), _) => Ok(token),
            // What is good until its end, or until a server says otherwise, needs no other: a pipe is read once.
            (Err(_), Some(old)) => {
                if let Some(known) = held(&self.held).as_mut() {
                    known.renew = now + AFTER_FAILURE;
                }
                Ok(old)
            }
            (Err(reason), None) => Err(reason.into()),
        }
    }

    /// When the token that is held ends, in seconds since 1970, if that is known.
    pub fn ends_seconds(&self) -> Option<u64> {
        let ends = held(&self.held).as_ref()?.ends?;
        Some(now_seconds() + ends.checked_duration_since(Instant::now())?.as_secs())
    }

    fn get(&self) -> Result<Secret, NoToken> {
        // Its time may have begun when it was asked for; it is there when it has arrived.
        let asked = Instant::now();
        let Got { token, lifetime } = get(&self.grant, &self.scope)?;
        let lifetime = lifetime.map(|lifetime| lifetime.min(LONGEST));
        let renew = lifetime.map_or(UNTOLD, |lifetime| lifetime - BEFORE_ITS_END.min(lifetime / 4));
        let known = Held {
            token: token.clone(),
            got: Instant::now(),
            renew: asked + renew,
            ends: lifetime.map(|lifetime| asked + lifetime),
        };
        *held(&self.held) = Some(known);
        Ok(token)
    }

    /// Tells that the token of a question of this moment was refused. Whether there is another one now.
    pub fn is_another_after(&self, asked: Instant) -> bool {
        let _getting = held(&self.getting);
        let old = held(&self.held).clone();
        match old {
            Some(known) if known.got > asked => true,
            // Nobody can get another one.
            _ if matches!(self.grant, Grant::Given { .. }) => false,
            old => self.get().is_ok_and(|token| old.is_none_or(|old| old.token != token)),
        }
    }
}

/// A token that somebody made of another one.
pub(crate) struct Narrowed {
    pub token: Secret,
    /// When it ends, in seconds since 1970, if that was said.
    pub ends_seconds: Option<u64>,
}

/// Makes a narrower token of one that is good for everything.
pub(crate) fn narrowed(grant: &Grant, wide: &Secret, boundary: &serde_json::Value) -> Result<Narrowed, String> {
    let got = asked::narrowed(grant, wide, boundary).map_err(|none| NoAnswer::from(none).words())?;
    let ends_seconds = got.lifetime.map(|lifetime| now_seconds() + lifetime.as_secs());
    Ok(Narrowed { token: got.token, ends_seconds })
}

/// Gets a token.
fn get(grant: &Grant, scope: &str) -> Result<Got, NoToken> {
    match grant {
        Grant::Given { token, ends_seconds } => given(token.clone(), *ends_seconds, "the access token"),
        Grant::File { path } => {
            let why = |why: String| NoToken::Lasting(format!("{}: {why}", path.display()));
            let (token, ends) = grant::text_of(path).and_then(|text| grant::of_pasted(&text)).map_err(why)?;
            given(token, ends, &format!("the token in {}", path.display()))
        }
        _ => asked::get(grant, scope),
    }
}

fn given(token: Secret, ends_seconds: Option<u64>, what: &str) -> Result<Got, NoToken> {
    let Some(ends) = ends_seconds else { return Ok(Got { token, lifetime: None }) };
    match ends.checked_sub(now_seconds()).filter(|left| *left > 0) {
        Some(left) => Ok(Got { token, lifetime: Some(Duration::from_secs(left)) }),
        None => Err(NoToken::Lasting(format!("{what} ended at {}", crate::settled::rfc3339(ends)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_until(ends_seconds: Option<u64>) -> Grant {
        Grant::Given { token: Secret::new("CANARY".into()), ends_seconds }
    }

    #[test]
    fn a_token_that_ended_is_not_sent_and_says_when() {
        let tokens = Tokens::of(&given_until(Some(1_795_196_537 - 86_400 * 365)), "s");
        let Err(NoAnswer::Unsigned(why)) = tokens.token() else { panic!("it is sent") };
        assert_eq!(why, "the access token ended at 2025-11-20T17:42:17Z");
        assert!(!format!("{tokens:?}").contains("CANARY"));
    }

    #[test]
    fn a_token_in_a_file_is_read_again_when_it_is_refused() {
        let path = std::env::temp_dir().join(format!("frazil-token-{}", std::process::id()));
        std::fs::write(&path, "one\n").unwrap();
        let tokens = Tokens::of(&Grant::File { path: path.clone() }, "s");
        let asked = Instant::now();
        assert_eq!(tokens.token().unwrap().reveal(), "one");
        assert!(!tokens.is_another_after(Instant::now()), "the same one helps nobody");
        std::fs::write(&path, "two\n").unwrap();
        assert!(tokens.is_another_after(Instant::now()));
        assert_eq!(tokens.token().unwrap().reveal(), "two");
        assert!(tokens.is_another_after(asked), "it is newer than the question");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn those_with_the_same_grant_share_a_token() {
        assert!(Arc::ptr_eq(&Tokens::of(&given_until(None), "s"), &Tokens::of(&given_until(None), "s")));
        assert!(!Arc::ptr_eq(&Tokens::of(&given_until(None), "s"), &Tokens::of(&given_until(Some(1)), "s")));
    }
}
