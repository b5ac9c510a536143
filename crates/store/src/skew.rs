//! What time it is for a server that does not take the time of this machine.
//!
//! A signature has a moment in it, and servers take only moments of their own. One that refuses a request says in its answer
//! what time it has; from then on what is signed for it has its time. It promises that the clock of this machine is used
//! until a server has refused it, and that no server sets the time for another.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::settled::{now_seconds, seconds_of_web_date};

/// Servers take what is a few minutes off (AWS: fifteen, others: five); what is nearer was refused for another reason.
const MOST_APART_SECONDS: u64 = 240;

/// How far servers are ahead of this machine, in seconds, by their names.
static AHEAD: LazyLock<Mutex<HashMap<String, i64>>> = LazyLock::new(Mutex::default);

/// Now, in seconds since 1970, as the server of this name has it.
pub(crate) fn seconds_at(authority: &str) -> u64 {
    let ahead = AHEAD.lock().unwrap_or_else(PoisonError::into_inner).get(authority).copied().unwrap_or(0);
    now_seconds().saturating_add_signed(ahead)
}

/// A moment of the server of this name as the clock of this machine tells it.
pub(crate) fn by_our_clock(authority: &str, seconds: u64) -> u64 {
    let ahead = AHEAD.lock().unwrap_or_else(PoisonError::into_inner).get(authority).copied().unwrap_or(0);
    seconds.saturating_add_signed(ahead.saturating_neg())
}

/// Takes note of what time a server that refused a request says it has. Answers whether that is another time than the
/// request was signed with.
pub(crate) fn is_another(authority: &str, date: Option<&str>) -> bool {
    let Some(theirs) = date.and_then(seconds_of_web_date) else { return false };
    if theirs.abs_diff(seconds_at(authority)) <= MOST_APART_SECONDS {
        return false;
    }
    let ahead = i64::try_from(theirs).ok().zip(i64::try_from(now_seconds()).ok());
    let Some(ahead) = ahead.and_then(|(theirs, ours)| theirs.checked_sub(ours)) else { return false };
    AHEAD.lock().unwrap_or_else(PoisonError::into_inner).insert(authority.to_owned(), ahead);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settled::web_date_of;

    #[test]
    fn a_server_has_its_own_time_once_it_refused_ours() {
        let (now, theirs) = (now_seconds(), now_seconds() + 10 * 365 * 86_400);
        assert!(
            !is_another("a:1", Some(&web_date_of(now))) && !is_another("a:1", None) && !is_another("a:1", Some("?"))
        );
        assert!(is_another("a:1", Some(&web_date_of(theirs))));
        assert!(seconds_at("a:1").abs_diff(theirs) <= 2 && seconds_at("b:1").abs_diff(now) <= 2);
        assert!(!is_another("a:1", Some(&web_date_of(theirs))), "it is known by now");
        assert!(is_another("a:1", Some(&web_date_of(now - 86_400))));
        assert!(seconds_at("a:1").abs_diff(now - 86_400) <= 2);
    }
}
