//! A claim on a place in a bucket: an object that says who is at work there.
//!
//! It is put if nothing is there, and from then on changed only as it was last seen, so of two who want it one gets it.
//! Its holder renews it; whoever finds one that was not renewed for long, by the server's clock, or whose process is
//! surely gone, takes it over. It promises that nothing is written for a holder who could not renew it in time. No
//! clock of this machine is compared with any other.

use std::{
    fmt::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use frazil_model::location::Location;

use super::{Sharing, holder::Holder};
use crate::{
    bucket::{Bucket, When},
    error::StoreError,
    folder::Remote,
};

/// How often a claim is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(30);

/// After so long without a renewal a holder does not write before it renewed.
const ASSURED_FOR: Duration = Duration::from_secs(90);

/// A claim that was not renewed for so long is taken over. A request of its holder that is still under way then has
/// been tried long enough to be over.
const LEASE: Duration = Duration::from_secs(10 * 60);

/// So often others of a plan may come first.
const MOST_TRIES: u32 = 200;

/// The longest pause before the next try.
const LONGEST_PAUSE_MS: u64 = 400;

/// Bytes of a claim: hundreds of holders.
const MOST_BYTES: u64 = 1 << 20;

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Document {
    /// The plan whose parts share it; empty if nobody else may.
    plan: String,
    /// Changes with every renewal, so that no two states of it are alike.
    beat: u64,
    holders: Vec<Holder>,
}

impl Document {
    fn to_text(&self) -> String {
        let mut text = format!("frazil claim 1\nplan {}\nbeat {}\n", self.plan, self.beat);
        for holder in &self.holders {
            let _ = writeln!(text, "{}", holder.to_line());
        }
        text
    }

    /// Reads it back; `None` if it makes no sense.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix("frazil claim 1\n")?.lines();
        Some(Self {
            plan: lines.next()?.strip_prefix("plan ")?.to_owned(),
            beat: lines.next()?.strip_prefix("beat ")?.parse().ok()?,
            holders: lines.map(Holder::parse).collect::<Option<_>>()?,
        })
    }

    fn has(&self, id: &str) -> bool {
        self.holders.iter().any(|holder| holder.id == id)
    }

    fn next(&self, holders: Vec<Holder>) -> Self {
        Self { plan: self.plan.clone(), beat: self.beat.wrapping_add(1), holders }
    }
}

/// What was found at the key of a claim.
struct Found {
    tag: String,
    modified_seconds: Option<u64>,
    /// `None`: it makes no sense.
    document: Option<Document>,
}

/// A claim that is held.
#[derive(Debug)]
pub(crate) struct Claim {
    bucket: Bucket,
    key: String,
    place: Location,
    me: Holder,
    state: Mutex<State>,
    end: Mutex<bool>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    tag: String,
    document: Document,
    /// When it was renewed, by two clocks: the one does not count sleep, the other can be set.
    renewed: (Instant, SystemTime),
    is_lost: bool,
}

impl Claim {
    fn lost(&self) -> StoreError {
        StoreError::LockLost { location: self.place.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process may write: its claim was renewed in time, or can be renewed now.
    ///
    /// # Errors
    /// [`StoreError::LockLost`] if somebody else has it.
    pub fn assure(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.is_lost {
            return Err(self.lost());
        }
        let (by_one, by_other) = (state.renewed.0.elapsed(), state.renewed.1.elapsed().unwrap_or_default());
        if by_one.max(by_other) < ASSURED_FOR { Ok(()) } else { self.renew(&mut state) }
    }

    fn renew(&self, state: &mut State) -> Result<(), StoreError> {
        let now = (Instant::now(), SystemTime::now());
        // A server that knows no conditions would let us write over somebody else's claim.
        if let Some(Found { document, .. }) = look(&self.bucket, &self.key)?
            && !document.is_some_and(|document| document.has(&self.me.id))
        {
            state.is_lost = true;
            return Err(self.lost());
        }
        let next = state.document.next(state.document.holders.clone());
        match self.bucket.put(&self.key, next.to_text().as_bytes(), When::Is(&state.tag)) {
            Ok(put) => (state.tag, state.document) = (put.tag(), next),
            Err(StoreError::Taken { .. }) => match look(&self.bucket, &self.key)? {
                // Another one of the plan came first, which is as good.
                Some(Found { tag, document: Some(document), .. }) if document.has(&self.me.id) => {
                    (state.tag, state.document) = (tag, document);
                }
                _ => {
                    state.is_lost = true;
                    return Err(self.lost());
                }
            },
            Err(error) => return Err(error),
        }
        state.renewed = now;
        Ok(())
    }

    /// Renews it again and again until the end.
    fn keep(&self) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        while !*end {
            let (again, waited) = self.ended.wait_timeout(end, RENEWED_EVERY).unwrap_or_else(PoisonError::into_inner);
            end = again;
            if waited.timed_out() && !*end {
                drop(end);
                let mut state = self.state();
                // What is wrong now may be right again before it matters; whoever writes asks.
                if state.is_lost || matches!(self.renew(&mut state), Err(StoreError::LockLost { .. })) {
                    return;
                }
                drop(state);
                end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Leaves it: the others of the plan keep it; alone, it is deleted.
    fn leave(&self) -> Result<(), StoreError> {
        self.assure()?;
        let mut state = self.state();
        for n_tries in 0..MOST_TRIES {
            if state.document.plan.is_empty() {
                let left = self.bucket.delete(&[&self.key])?;
                return left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error));
            }
            // It is not deleted: somebody of the plan may come in between.
            let others = state.document.holders.iter().filter(|holder| holder.id != self.me.id).cloned().collect();
            let next = state.document.next(others);
            match self.bucket.put(&self.key, next.to_text().as_bytes(), When::Is(&state.tag)) {
                Err(StoreError::Taken { .. }) => match look(&self.bucket, &self.key)? {
                    Some(Found { tag, document: Some(document), .. }) if document.has(&self.me.id) => {
                        (state.tag, state.document) = (tag, document);
                        pause(n_tries, &self.me.id);
                    }
                    _ => return Ok(()),
                },
                put => return put.map(|_| ()),
            }
        }
        Ok(())
    }
}

/// A claim with the thread that renews it. Dropped, it is left.
#[derive(Debug)]
pub(super) struct Claimed {
    remote: Remote,
    claim: Arc<Claim>,
    thread: Option<JoinHandle<()>>,
    is_left: bool,
}

impl Claimed {
    pub fn take(remote: &Remote, key: &str, sharing: Sharing<'_>) -> Result<Self, StoreError> {
        let (bucket, key, me) = (remote.bucket().clone(), remote.key(key)?, Holder::new());
        let began = (Instant::now(), SystemTime::now());
        let (tag, document) = taken(remote, &bucket, &key, &me, sharing)?;
        let state = Mutex::new(State { tag, document, renewed: began, is_lost: false });
        let (end, ended) = (Mutex::new(false), Condvar::new());
        let claim = Arc::new(Claim { bucket, key, place: remote.location(), me, state, end, ended });
        let thread = {
            let claim = Arc::clone(&claim);
            std::thread::Builder::new().name("claim".into()).spawn(move || claim.keep()).ok()
        };
        remote.claimed_by(Some(Arc::clone(&claim)));
        // Without the thread, whoever writes renews it; only a long silence would lose it.
        Ok(Self { remote: remote.clone(), claim, thread, is_left: false })
    }

    pub fn assure(&self) -> Result<(), StoreError> {
        self.claim.assure()
    }

    pub fn remove(mut self) -> Result<(), StoreError> {
        self.leave()
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        self.is_left = true;
        *self.claim.end.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.claim.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let left = self.claim.leave();
        self.remote.claimed_by(None);
        left
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_left {
            // If it stays, its process is gone, which the next one sees.
            let _ = self.leave();
        }
    }
}

/// What lies at the key of a claim. The tag is asked for first: if the bytes are newer, nothing is changed by it.
fn look(bucket: &Bucket, key: &str) -> Result<Option<Found>, StoreError> {
    let Some(about) = bucket.about(key)? else { return Ok(None) };
    let Some(bytes) = bucket.get(key, MOST_BYTES)? else { return Ok(None) };
    let document = std::str::from_utf8(&bytes).ok().and_then(Document::parse);
    Ok(Some(Found { tag: about.state.tag(), modified_seconds: about.modified_seconds, document }))
}

/// Whether somebody who may still be at work holds the claim at `key`.
pub(super) fn is_held(bucket: &Bucket, key: &str) -> Result<bool, StoreError> {
    let Some(found) = look(bucket, key)? else { return Ok(false) };
    let me = Holder::new();
    // What makes no sense may be somebody's who writes it in another form.
    let is_free = found.document.as_ref().is_some_and(|there| there.holders.iter().all(|holder| holder.is_gone(&me)));
    Ok(!is_free && age(bucket, key, &found)?.is_none_or(|age| age < LEASE))
}

/// Puts the claim; answers its tag and what it says.
fn taken(
    remote: &Remote,
    bucket: &Bucket,
    key: &str,
    me: &Holder,
    sharing: Sharing<'_>,
) -> Result<(String, Document), StoreError> {
    let plan = match sharing {
        Sharing::Alone => "",
        Sharing::Plan(plan) => plan,
    };
    let mut by = String::new();
    for n_tries in 0..MOST_TRIES {
        let found = look(bucket, key)?;
        let (mut holders, mut beat) = (Vec::new(), 0);
        let when = match &found {
            None => When::Absent,
            Some(found) => {
                let there = found.document.clone().unwrap_or_default();
                let living: Vec<Holder> = there.holders.iter().filter(|holder| !holder.is_gone(me)).cloned().collect();
                let is_free = found.document.is_some() && living.is_empty();
                let is_shared = !plan.is_empty() && there.plan == plan;
                if is_shared && !is_free {
                    holders = living;
                } else if !is_free {
                    let age = age(bucket, key, found)?;
                    if age.is_none_or(|age| age < LEASE) {
                        by = words(&living, age);
                        return Err(StoreError::Locked { place: remote.location().to_string(), by });
                    }
                }
                beat = there.beat.wrapping_add(1);
                When::Is(&found.tag)
            }
        };
        holders.push(me.clone());
        let document = Document { plan: plan.to_owned(), beat, holders };
        match bucket.put(key, document.to_text().as_bytes(), when) {
            // A server that knows no conditions gives it to the last who wants it.
            Ok(put) if is_there(bucket, key, me)? => return Ok((put.tag(), document)),
            Ok(_) | Err(StoreError::Taken { .. }) => pause(n_tries, &me.id),
            Err(error) => return Err(error),
        }
    }
    by.push_str("and many others want it");
    Err(StoreError::Locked { place: remote.location().to_string(), by })
}

fn is_there(bucket: &Bucket, key: &str, me: &Holder) -> Result<bool, StoreError> {
    let found = look(bucket, key)?.and_then(|found| found.document);
    Ok(found.is_some_and(|document| document.has(&me.id)))
}

/// How long ago a claim was renewed, by the server's clock; `None` if it does not say.
fn age(bucket: &Bucket, key: &str, found: &Found) -> Result<Option<Duration>, StoreError> {
    let now = bucket.server_seconds(key)?;
    let ages = now.zip(found.modified_seconds);
    Ok(ages.map(|(now, modified)| Duration::from_secs(now.saturating_sub(modified))))
}

/// Who is at work, and since when nobody heard of them.
fn words(living: &[Holder], age: Option<Duration>) -> String {
    let who = match living {
        [] => "nobody knows which".to_owned(),
        [one] => one.name(),
        [first, rest @ ..] => format!("{} and {} more", first.name(), rest.len()),
    };
    let left = |age: Duration| LEASE.saturating_sub(age).as_secs();
    let heard = |age: Duration| {
        format!("; last heard of {} s ago; if it is gone, it is taken over in {} s", age.as_secs(), left(age))
    };
    format!("{who}{}", age.filter(|age| *age > 2 * RENEWED_EVERY).map(heard).unwrap_or_default())
}

/// Waits a little, not all as long.
fn pause(n_tries: u32, id: &str) {
    let lot = id.bytes().fold(u64::from(n_tries), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let most = (5 << n_tries.min(6)).min(LONGEST_PAUSE_MS);
    std::thread::sleep(Duration::from_millis(1 + lot % most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_back_and_nonsense_is_none() {
        let document = Document { plan: "abc".into(), beat: 7, holders: vec![Holder::new(), Holder::new()] };
        assert_eq!(Document::parse(&document.to_text()), Some(document.clone()));
        let alone = Document { plan: String::new(), ..document };
        assert_eq!(Document::parse(&alone.to_text()), Some(alone));
        assert_eq!(Document::parse("<html>"), None);
    }
}
