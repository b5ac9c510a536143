//! What a profile may do at a place, tried out.
//!
//! It promises to touch no object but a probe of its own, whose key is random, which is put only where nothing is, and
//! which is deleted again, or named if it may not be. What it could not find out it says so.

use std::time::{Duration, SystemTime};

use frazil_model::location::{Door, Location, Object};

use super::{
    Bucket, When,
    dialect::Depth,
    documents,
    opening::{again, server_address, signer, tokens},
    profile_of,
};
use crate::{
    asking::{Way, follow, with_retries},
    digest::md5,
    error::StoreError,
    keys::{self, Provider},
    open::Ask,
    profile::{Keys, Profile, S3Server, Server},
    settled::seconds_of_web_date,
    web,
};

/// What a probe holds.
const PROBE: &[u8] = b"frazil profile check: may be deleted\n";

/// The answer to the question for buckets is no longer.
const MAX_BUCKETS_BYTES: u64 = 16 << 20;

/// How one thing that was tried went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was tried: `list`, `read`, `write`, …
    pub what: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It may.
    Can,
    /// The server refuses it.
    Refused {
        /// What the server said.
        why: String,
    },
    /// It could not be found out.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// What was found out.
#[derive(Debug, Clone)]
pub struct Check {
    /// The profile.
    pub profile: Profile,
    /// Who it is for the server, where that says so.
    pub who: Option<String>,
    /// When its keys end, in seconds since 1970.
    pub ends_seconds: Option<u64>,
    /// How far the clock of the server is ahead of ours.
    pub clock_ahead_seconds: Option<i64>,
    /// The buckets that it sees.
    pub buckets: Vec<String>,
    /// What was tried.
    pub steps: Vec<Step>,
    /// The probe, if it could not be deleted again.
    pub left: Option<Location>,
}

impl Check {
    /// Whether the server takes the keys for anything at all.
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        let is_refused = |step: &Step| matches!(step.outcome, Outcome::Refused { .. });
        self.steps.iter().any(|step| step.outcome == Outcome::Can) || !self.steps.iter().any(is_refused)
    }

    fn note(&mut self, what: &'static str, outcome: Outcome) {
        self.steps.push(Step { what, outcome });
    }
}

/// What an error says of what was tried. What is no answer of the server is an error of the check itself.
fn outcome<T>(tried: Result<T, StoreError>) -> Outcome {
    match tried {
        Ok(_) => Outcome::Can,
        Err(error @ (StoreError::Denied { .. } | StoreError::Login { .. })) => {
            Outcome::Refused { why: error.to_string() }
        }
        Err(error) => Outcome::Unknown { why: error.to_string() },
    }
}

/// A check that is about to be made.
#[derive(Debug)]
pub struct Probe {
    object: Object,
    bucket: Option<Bucket>,
    key: String,
    profile: Profile,
}

impl Probe {
    /// One at a place; without a bucket only what is said without one is found out.
    ///
    /// # Errors
    /// If nobody signs there.
    pub fn at(object: &Object) -> Result<Self, StoreError> {
        let profile = profile_of(object)?;
        let has_bucket = !object.bucket.is_empty() || profile.below.is_some();
        let bucket = if has_bucket { Some(Bucket::of(object)?) } else { None };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seed = format!("{} {}", now.as_nanos(), std::process::id());
        let folder = object.key.rfind('/').and_then(|at| object.key.get(..=at)).unwrap_or_default();
        let key = format!("{folder}.frazil-check-{}", super::hex(&md5(seed.as_bytes())));
        Ok(Self { object: object.clone(), bucket, key, profile })
    }

    /// Where the probe will be, if one will be.
    #[must_use]
    pub fn place(&self) -> Option<Location> {
        self.bucket.as_ref().map(|bucket| bucket.location(&self.key))
    }

    /// Makes the check.
    ///
    /// # Errors
    /// If nobody signs, or there is no such bucket.
    pub fn run(self) -> Result<Check, StoreError> {
        let mut check = Check {
            profile: self.profile.clone(),
            who: None,
            ends_seconds: None,
            clock_ahead_seconds: None,
            buckets: Vec::new(),
            steps: Vec::new(),
            left: None,
        };
        if matches!(self.profile.keys, Keys::Fixed { .. } | Keys::Got(_)) {
            let again = again(&self.object.door, &self.profile);
            let key = Provider::of(&self.profile, Some(again))
                .key()
                .map_err(|why| StoreError::Unsigned { location: Location::Object(self.object.clone()), why })?;
            check.ends_seconds = key.ends_seconds;
            if let Server::S3(server) = &self.profile.server {
                check.who = keys::caller_at_amazon(server, &key);
            }
        }
        self.account(&mut check)?;
        if let Some(bucket) = &self.bucket {
            self.there(bucket, &mut check)?;
        }
        check.ends_seconds = check.ends_seconds.or_else(|| tokens(&self.profile)?.ends_seconds());
        Ok(check)
    }

    /// What the server says without a bucket.
    fn account(&self, check: &mut Check) -> Result<(), StoreError> {
        let Server::S3(server) = &self.profile.server else {
            let said = super::buckets(&self.object.door);
            check.buckets = said.as_ref().cloned().unwrap_or_default();
            check.note("list buckets", outcome(said));
            return Ok(());
        };
        let location = Location::Object(Object { bucket: String::new(), key: String::new(), ..self.object.clone() });
        let Some(way) = self.way_to_server(server) else { return Ok(()) };
        let said = web::text(&location, &way, MAX_BUCKETS_BYTES);
        check.clock_ahead_seconds = clock(&location, &way);
        if let Ok(text) = &said {
            let (who, buckets) = documents::buckets(text);
            check.who = check.who.take().or(who);
            check.buckets = buckets;
        }
        match said {
            Err(error @ (StoreError::Unsigned { .. } | StoreError::Fetch { is_temporary: true, .. })) => {
                return Err(error);
            }
            said => check.note("list buckets", outcome(said)),
        }
        Ok(())
    }

    fn way_to_server(&self, server: &S3Server) -> Option<Way> {
        let address = server_address(server)?;
        let path = format!("{}/", address.path().trim_end_matches('/'));
        let signer = signer(&self.object.door, &self.profile, &server.region);
        Some(Way { address: address.with_sent_path(path, None), signer })
    }

    /// What it may do in the bucket.
    fn there(&self, bucket: &Bucket, check: &mut Check) -> Result<(), StoreError> {
        let folder = self.object.key.as_str();
        let page = bucket.pages(folder, Depth::One).next();
        if let Some(Err(error @ StoreError::Absent { .. })) = page {
            return Err(error);
        }
        let listed = page.as_ref().and_then(|page| page.as_ref().ok()?.objects.first().cloned());
        check.note("list", page.map_or(Outcome::Can, outcome));
        let put = bucket.put(&self.key, PROBE, When::Absent);
        let is_there = put.is_ok();
        let tag = put.as_ref().ok().map(|state| state.tag()).unwrap_or_default();
        check.note("write", outcome(put));
        let read = match (&listed, is_there) {
            (_, true) => Some(bucket.about(&self.key)),
            (Some(listed), false) => Some(bucket.about(&listed.key)),
            (None, false) => None,
        };
        let nothing = || Outcome::Unknown { why: "nothing is there that could be read".into() };
        check.note("read", read.map_or_else(nothing, outcome));
        if is_there {
            check.note("write only if nothing is there", refused(bucket.put(&self.key, PROBE, When::Absent)));
            check.note("write only if unchanged", self.unchanged(bucket, &tag));
        }
        let begun = bucket.begin(&self.key);
        let in_parts = match &begun {
            Ok(upload) => {
                let part = bucket.part(upload, 1, PROBE).map(|_| ());
                let aborted = bucket.abort(upload);
                outcome(part.and(aborted))
            }
            Err(_) => outcome(begun),
        };
        check.note("write in parts", in_parts);
        if is_there {
            let left = bucket.delete(&[&self.key]);
            let left = left.and_then(|left| left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error)));
            check.left = left.is_err().then(|| bucket.location(&self.key));
            check.note("delete", outcome(left));
        }
        Ok(())
    }

    /// Whether a wrong tag is refused and the right one taken.
    fn unchanged(&self, bucket: &Bucket, tag: &str) -> Outcome {
        match refused(bucket.put(&self.key, PROBE, When::Is("00000000000000000000000000000000"))) {
            Outcome::Can => outcome(bucket.put(&self.key, PROBE, When::Is(tag))),
            other => other,
        }
    }
}

/// Whether a condition that does not hold was seen not to.
fn refused<T>(tried: Result<T, StoreError>) -> Outcome {
    match tried {
        Err(StoreError::Taken { .. }) => Outcome::Can,
        Ok(_) => Outcome::Unknown { why: "the server takes no notice of the condition".into() },
        Err(error) => outcome::<()>(Err(error)),
    }
}

/// How far the clock of the server is ahead of ours.
fn clock(location: &Location, way: &Way) -> Option<i64> {
    let date = with_retries(location, way, |manners| {
        let (answer, _turn) = follow(location, way, Ask::Head, manners)?;
        Ok(answer.header("date").and_then(seconds_of_web_date))
    });
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(date.ok()??).ok()?.checked_sub(i64::try_from(ours).ok()?)
}

/// The place that `PLACE` is for a profile: `bucket/folder/`, or the same with a door of its own.
#[must_use]
pub fn place_for(profile: &str, place: Option<&str>, is_alias: bool) -> Object {
    let door = Door::Named(profile.to_owned());
    let place = place.unwrap_or_default();
    let bare = place.split_once("://").map_or(place, |(_, rest)| rest);
    let bare = bare.strip_prefix(&format!("{profile}:")).unwrap_or(bare);
    if is_alias {
        return Object { door, bucket: String::new(), key: bare.to_owned() };
    }
    let (bucket, key) = bare.split_once('/').unwrap_or((bare, ""));
    Object { door, bucket: bucket.to_owned(), key: key.to_owned() }
}
