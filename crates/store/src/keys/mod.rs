//! The keys that requests are signed with, as they are now.
//!
//! It promises that temporary keys are got once for all threads and renewed before they end; that a key that a server no
//! longer takes is looked for again where it came from, so that rotated files and programs go on; that no key meant for
//! another server is taken then; and that no key shows in any message. What it cannot get it names, with what to do.

mod container;
mod process;
mod role;
mod service;
mod sign_on;
mod watch;

use std::{
    fmt,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    profile::{
        Keys, Profile, S3Server,
        source::{Source, TokenService},
    },
    secret::Secret,
    settled::seconds_of_rfc3339,
};
pub(crate) use role::assume;
pub(crate) use watch::Again;

/// Temporary keys are renewed at least this long before their end, if they last that long.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Keys of short life are renewed when this share of it is left.
const RENEWED_AT_SHARE: u32 = 5;

/// After a failure nobody is asked again for so long.
const FAILURE_LASTS: Duration = Duration::from_secs(2);

/// Keys that a server refuses are got again if they are older than this.
const LEAST_AGE: Duration = Duration::from_secs(1);

/// The same where fresh keys did not help before: they may do other things, but not this.
const MOST_LEAST_AGE: Duration = Duration::from_secs(60);

/// What servers say of a key that they do not know, or no longer.
const ABOUT_KEYS: [&str; 9] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Whether what a server says is about the key that signed, and not about what was asked for.
pub(crate) fn is_about_key(code: &str) -> bool {
    ABOUT_KEYS.contains(&code)
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub access_key_id: String,
    pub secret: Secret,
    pub token: Option<Secret>,
    /// When it ends, in seconds since 1970.
    pub ends_seconds: Option<u64>,
}

impl Key {
    /// The key that a profile holds in itself.
    fn of(keys: &Keys) -> Option<Self> {
        let Keys::Fixed { access_key_id, secret, token, ends_seconds } = keys else { return None };
        let (access_key_id, secret, token) = (access_key_id.clone(), secret.clone(), token.clone());
        Some(Self { access_key_id, secret, token, ends_seconds: *ends_seconds })
    }
}

/// Where the keys of a profile come from, for all threads.
pub(crate) struct Provider {
    profile: String,
    again: Option<Again>,
    held: Mutex<Held>,
    /// Whether a server took the key for anything.
    has_worked: AtomicBool,
}

struct Held {
    keys: Keys,
    key: Option<Arc<Key>>,
    got: Instant,
    /// When a temporary key is to be renewed.
    renew: Option<Instant>,
    failed: Option<(Instant, String)>,
    /// Whether the key was got in place of one that a server refused.
    is_second_look: bool,
    /// Whether the key was got because a server said no more than that the one before may not.
    is_second: bool,
    /// How old such a key must be to be got again for the same reason.
    least_age: Duration,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.profile)
    }
}

type Known = Vec<(Profile, Arc<Provider>)>;

/// The providers of this process, so that two buckets do not run one program twice.
static PROVIDERS: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

impl Provider {
    /// That of a profile; `again` finds it anew.
    pub fn of(profile: &Profile, again: Option<Again>) -> Arc<Self> {
        let mut all = PROVIDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, provider)) = all.iter().find(|(known, _)| known == profile) {
            return Arc::clone(provider);
        }
        let provider = Arc::new(Self::new(&profile.name, &profile.keys, again));
        all.push((profile.clone(), Arc::clone(&provider)));
        provider
    }

    /// One that is nobody else's.
    pub fn new(profile: &str, keys: &Keys, again: Option<Again>) -> Self {
        let held = Held {
            keys: keys.clone(),
            key: Key::of(keys).map(Arc::new),
            got: Instant::now(),
            renew: None,
            failed: None,
            is_second_look: false,
            is_second: false,
            least_age: LEAST_AGE,
        };
        Self { profile: profile.to_owned(), again, held: Mutex::new(held), has_worked: AtomicBool::new(false) }
    }

    /// Says that a server took the key.
    pub fn has_worked(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    /// Whether a server took the key for anything.
    pub fn is_proven(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }

    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The key to sign with now.
    ///
    /// # Errors
    /// Why there is none, with what to do.
    pub fn key(&self) -> Result<Arc<Key>, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = &self.again
            && again.may_have_changed()
        {
            held.take(again);
        }
        let now = Instant::now();
        if let Some(key) = &held.key
            && held.renew.is_none_or(|renew| now < renew)
        {
            return Ok(Arc::clone(key));
        }
        if let Some((at, why)) = &held.failed
            && now.duration_since(*at) < FAILURE_LASTS
        {
            return held.still_good().ok_or_else(|| why.clone());
        }
        match got(&held.keys) {
            Ok(key) => Ok(held.hold(key)),
            Err(why) => {
                let why = format!("profile `{}`: {why}", self.profile);
                held.failed = Some((Instant::now(), why.clone()));
                held.still_good().ok_or(why)
            }
        }
    }

    /// Whether there is another key than the one that a server refused, which was taken after `since`.
    pub fn is_renewed(&self, since: Instant, code: Option<&str>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.got > since {
            // Another thread was refused before us.
            return true;
        }
        let Some(refused) = held.key.clone() else { return false };
        if let Some(again) = &self.again {
            again.settle();
            held.take(again);
        }
        if matches!(held.keys, Keys::Got(_)) && held.key.as_ref() == Some(&refused) {
            // Ceph says of a key that it does not know no more than that it may not, as of one that may not.
            let is_about_key = code.is_some_and(is_about_key);
            if self.has_worked.load(Ordering::Relaxed) {
                held.least_age = LEAST_AGE;
            }
            let is_again = held.is_second && !is_about_key;
            // What a program hands out first it may have kept for long; what it hands out when asked again is the best it has.
            let is_best = is_about_key && held.is_second_look && held.got.elapsed() < LEAST_AGE;
            if is_best || (is_again && held.got.elapsed() < held.least_age) {
                return false;
            }
            if is_again {
                held.least_age = held.least_age.saturating_mul(2).min(MOST_LEAST_AGE);
            }
            match got(&held.keys) {
                Ok(key) => {
                    held.hold(key);
                    held.is_second_look = true;
                    self.has_worked.store(false, Ordering::Relaxed);
                    held.is_second = !is_about_key;
                }
                Err(_) => return false,
            }
        }
        held.key.is_none() || held.key != Some(refused)
    }
}

impl Held {
    fn hold(&mut self, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        self.got = Instant::now();
        self.failed = None;
        (self.is_second_look, self.is_second) = (false, false);
        self.renew = key.ends_seconds.and_then(|ends| {
            let lasts = Duration::from_secs(ends.saturating_sub(now_seconds(SystemTime::now())));
            self.got.checked_add(lasts.saturating_sub(RENEWED_BEFORE.min(lasts / RENEWED_AT_SHARE)))
        });
        self.key = Some(Arc::clone(&key));
        key
    }

    /// The key, if it has not ended.
    fn still_good(&self) -> Option<Arc<Key>> {
        let now = now_seconds(SystemTime::now());
        self.key.clone().filter(|key| key.ends_seconds.is_none_or(|ends| now < ends))
    }

    /// What the files say now, if it is another key.
    fn take(&mut self, again: &Again) {
        let Some(keys) = again.keys() else { return };
        if keys == self.keys {
            return;
        }
        self.key = Key::of(&keys).map(Arc::new);
        self.keys = keys;
        self.got = Instant::now();
        self.renew = None;
        self.failed = None;
    }
}

/// Gets a key.
pub(crate) fn got(keys: &Keys) -> Result<Key, String> {
    let source = match keys {
        Keys::Fixed { .. } => return Key::of(keys).ok_or_else(|| "it has no keys".to_owned()),
        Keys::Missing { why } => return Err(why.clone()),
        Keys::Anonymous => return Err("it signs nothing".into()),
        Keys::Token(_) | Keys::AccountKey(_) | Keys::SharedAccess(_) => {
            return Err("it has keys of another kind".into());
        }
        Keys::Got(source) => source,
    };
    let key = match source.as_ref() {
        Source::Process { command } => process::run(command)?,
        Source::SignOn(on) => sign_on::ask(on)?,
        // How deep roles lead to roles was bounded when the files were read.
        Source::Role(role) => role::assume(role, &got(&role.from)?, None)?,
        Source::WebIdentity(role) => role::assume_with_token(role)?,
        Source::Container(container) => container::ask(container)?,
    };
    if key.ends_seconds.is_some_and(|ends| ends <= now_seconds(SystemTime::now())) {
        return Err(format!("{} have ended already", source.shown()));
    }
    Ok(key)
}

/// Who a key belongs to, where Amazon can be asked: other servers do not say.
pub(crate) fn caller_at_amazon(server: &S3Server, key: &Key) -> Option<String> {
    let is_amazon = server.endpoint.as_ref().is_none_or(|endpoint| endpoint.ends_with(".amazonaws.com"));
    let region = server.region.clone();
    let endpoint = format!("https://sts.{region}.amazonaws.com");
    is_amazon.then(|| role::caller(&TokenService { endpoint, region }, key)).flatten()
}

/// Seconds since 1970.
pub(crate) fn now_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a time of a file or an answer: `Z` or `+00:00` at its end.
pub(crate) fn seconds_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let (plain, offset) = match text.strip_suffix('Z') {
        Some(plain) => (plain, 0),
        None => {
            let (plain, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            let sign = match offset.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            let is_sane = (0..24).contains(&hours) && (0..60).contains(&minutes);
            (plain, is_sane.then_some(sign * (hours * 60 + minutes) * 60)?)
        }
    };
    seconds_of_rfc3339(&format!("{plain}Z"))?.checked_add_signed(-offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zone() {
        assert_eq!(seconds_of("1970-01-01T00:00:10Z"), Some(10));
        assert_eq!(seconds_of("1970-01-01T02:00:10.5+02:00"), Some(10));
        assert_eq!(seconds_of("1969-12-31T19:00:10-05:00"), None);
        assert_eq!(seconds_of("1970-01-02T00:00:00-05:30"), Some(86_400 + 5 * 3600 + 30 * 60));
        for wrong in ["", "now", "1970-01-01T00:00:10", "1970-01-01T00:00:10+zz:00", "é"] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }

    fn process(text: &str) -> Provider {
        let keys = Keys::Got(Box::new(Source::Process { command: Secret::new(text.to_owned()) }));
        Provider::new("p", &keys, None)
    }

    #[test]
    fn a_program_gives_keys_once_for_all_threads() {
        let file = std::env::temp_dir().join(format!("frazil-process-{}", std::process::id()));
        let script = format!(
            "echo x >> {}; echo '{{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"s\"}}'",
            file.display()
        );
        let provider = process(&format!("sh -c \"{}\"", script.replace('"', "\\\"")));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(provider.key().unwrap().access_key_id, "A"));
            }
        });
        let runs = std::fs::read_to_string(&file).unwrap();
        let _ = std::fs::remove_file(&file);
        assert_eq!(runs, "x\n");
    }

    #[test]
    fn what_a_program_says_is_never_repeated() {
        for (command, expected) in [
            ("sh -c 'echo CANARY; echo CANARY >&2; exit 3' CANARY", "ended with code 3"),
            ("sh -c 'echo CANARY'", "printed no keys that make sense"),
            ("/no/such/program CANARY", "could not be started"),
            ("sh -c 'CANARY", "never closed"),
        ] {
            let why = process(command).key().unwrap_err();
            assert!(why.contains(expected) && !why.contains("CANARY"), "{why}");
        }
    }

    #[test]
    fn keys_that_have_ended_are_not_signed_with() {
        let why = process(
            "echo '{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"s\", \"Expiration\": \
             \"2001-01-01T00:00:00Z\"}'",
        )
        .key()
        .unwrap_err();
        assert!(why.contains("have ended already"), "{why}");
    }
}
