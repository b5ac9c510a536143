//! Asking web servers: again where that may help, elsewhere where they send us, and no longer than anybody waits.
//!
//! It promises that every question ends with an answer or an error that names the address without its query, that a
//! server is asked within its limits, and that a signature goes to no other server than the one it was made for.

use std::{
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use frazil_model::{location::Location, range::ByteRange};

use crate::{
    address::{Address, Scheme},
    bucket,
    error::StoreError,
    keys::is_about_key,
    login::Login,
    manners::{Manners, Turn, count_received, count_retry, hold, manners_of, note_fault, turn},
    open::{Answer, Ask, NoAnswer, send},
    region,
    sign::Sign,
    skew,
};

/// How often one question may be sent elsewhere.
const MOST_REDIRECTS: usize = 5;

/// How often one question may be signed anew with another key.
const MOST_RENEWALS: usize = 3;

/// The first wait before a question is asked again; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait, also if a server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// No question is asked again after so much time.
const MOST_TIME: Duration = Duration::from_secs(15 * 60);

/// The document that explains an error is shorter.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// So much room is taken at once for what was asked for; for more only as it arrives.
const MOST_RESERVED: u64 = 32 << 20;

/// How often a host that is not known is looked for again.
const NAME_TRIES: u32 = 1;

/// The name of the error that whoever reads is to pay and says no project that does.
pub(crate) const PAYER_MISSING: &str = "UserProjectMissing";

/// Why one try gave nothing.
pub(crate) enum Fault {
    /// Asked again, it may give something, after so much time if the server said when.
    Again { reason: String, after: Option<Duration> },
    /// It will not.
    Final(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

pub(crate) fn again(reason: impl Into<String>) -> Fault {
    Fault::Again { reason: reason.into(), after: None }
}

/// Where a file is asked for, and who signs.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub address: Address,
    pub signer: Option<Arc<dyn Sign>>,
}

/// The way to a location.
pub(crate) fn way_to(location: &Location) -> Result<Way, StoreError> {
    match location {
        Location::File(_) => Err(lasting(location, "this place is not on a web server")),
        Location::Http(text) => {
            let address = Address::parse(text).ok_or_else(|| lasting(location, "its address cannot be sent"))?;
            let signer = Login::of(&address);
            Ok(Way { address, signer })
        }
        Location::Object(object) => bucket::way_to(object),
    }
}

pub(crate) fn lasting(location: &Location, reason: impl Into<String>) -> StoreError {
    StoreError::Fetch { location: location.clone(), reason: reason.into(), is_temporary: false }
}

/// Asks until there is an answer, a lasting refusal, or no more tries.
pub(crate) fn with_retries<T>(
    location: &Location,
    way: &Way,
    mut once: impl FnMut(&Manners) -> Result<T, Fault>,
) -> Result<T, StoreError> {
    let manners = manners_of(way.address.authority());
    let began = Instant::now();
    let mut wait = FIRST_WAIT;
    let mut n_tries: u32 = 0;
    loop {
        let (reason, after) = match once(&manners) {
            Ok(answer) => return Ok(answer),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Again { reason, after }) => (reason, after),
        };
        n_tries += 1;
        let pause = after.map_or(wait, |after| after.max(wait));
        let is_late = pause > LONGEST_WAIT;
        if is_late || n_tries > manners.retries || began.elapsed() + pause > MOST_TIME {
            let reason = match n_tries {
                _ if is_late => format!("{reason}, and to come back in {} s", pause.as_secs()),
                1 => reason,
                _ => format!("{reason} (tried {n_tries} times)"),
            };
            return Err(StoreError::Fetch { location: location.clone(), reason, is_temporary: true });
        }
        count_retry();
        note_fault(way.address.authority());
        if after.is_some() {
            // A server that asks for patience means everybody who asks it.
            hold(way.address.authority(), pause);
        }
        std::thread::sleep(pause);
        wait = wait.saturating_mul(2).min(LONGEST_WAIT);
    }
}

/// Asks, and asks where the server sends us, if that is safe.
pub(crate) fn follow(location: &Location, way: &Way, ask: Ask<'_>, manners: &Manners) -> Result<(Answer, Turn), Fault> {
    follow_to(location, &mut way.clone(), ask, manners)
}

pub(crate) fn follow_to(
    location: &Location,
    at: &mut Way,
    ask: Ask<'_>,
    manners: &Manners,
) -> Result<(Answer, Turn), Fault> {
    region::lead(at);
    let (mut n_renewals, mut n_redirects, mut is_timed) = (0, 0, false);
    while n_redirects <= MOST_REDIRECTS {
        let since = Instant::now();
        let (mut answer, mut turn) = ask_host(location, at, ask, manners)?;
        if let Some(signer) = &at.signer {
            signer.hear(&at.address, &answer);
        }
        if !is_timed && is_refused_by_time(&answer, at) {
            is_timed = true;
            continue;
        }
        if n_renewals < MOST_RENEWALS && is_unexplained(&answer, at, ask) {
            drop(turn);
            let (said, its_turn) = explained(location, at, manners)?;
            if said.status != answer.status {
                // Another thread got another key meanwhile, or the server knows no such question: it is asked once more.
                n_renewals += 1;
                continue;
            }
            (answer, turn) = (said, its_turn);
        }
        if n_renewals < MOST_RENEWALS && is_refused_by_key(&mut answer, at, since) {
            n_renewals += 1;
            continue;
        }
        let is_elsewhere = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
        if let Some(region) = region::said(at, &answer)
            && region::lead_to(at, region)
        {
            n_redirects += 1;
            continue;
        }
        if !is_elsewhere {
            // Some servers know no HEAD, and say so in this way.
            let is_answer = matches!(ask, Ask::Head) || !matches!(answer.status, 401 | 403);
            return match login_refused(location, at, answer.status) {
                Some(error) if !is_answer => Err(error.into()),
                _ => Ok((answer, turn)),
            };
        }
        if at.signer.as_ref().is_some_and(|signer| signer.is_for_one_server()) {
            return Err(elsewhere(location, &answer).into());
        }
        let said = answer.header("location").unwrap_or_default();
        let Some(next) = at.address.join(said).filter(|_| !said.is_empty()) else {
            return Err(lasting(location, "the server sends us to a place that is no web address").into());
        };
        if at.address.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
            let reason = format!("the server sends us from https to {}, which is not safe", next.without_query());
            return Err(lasting(location, reason).into());
        }
        at.address = next;
        n_redirects += 1;
    }
    Err(lasting(location, format!("the server sends us on more than {MOST_REDIRECTS} times")).into())
}

/// The error that a web server, which may be another than the one that was asked, wants to know who asks.
fn login_refused(location: &Location, at: &Way, status: u16) -> Option<StoreError> {
    let Location::Http(_) = location else { return None };
    let login = at.signer.as_ref().and_then(|signer| signer.told_by(&at.address));
    let host = at.address.authority().to_owned();
    Some(StoreError::Login { location: location.clone(), host, status, login })
}

/// Whether a server did not take what was signed, and has another time than it was signed with.
fn is_refused_by_time(answer: &Answer, at: &Way) -> bool {
    at.signer.is_some()
        && matches!(answer.status, 400 | 401 | 403)
        && skew::is_another(at.address.authority(), answer.header("date"))
}

/// Whether a server of buckets said no without a word, as it does to a question without a body, and may mean the key:
/// Amazon has status 400 for tokens that have ended, and for much else.
fn is_unexplained(answer: &Answer, at: &Way, ask: Ask<'_>) -> bool {
    let is_mute = matches!(ask, Ask::Head) && answer.header("x-ms-error-code").is_none();
    let is_for_buckets = |signer: &Arc<dyn Sign>| signer.is_for_one_server();
    match &at.signer {
        Some(signer) if is_mute && is_for_buckets(signer) => match answer.status {
            400 => true,
            403 => !signer.is_proven(),
            _ => false,
        },
        _ => false,
    }
}

/// The answer of the same server where it gives its reasons: to a question for the first byte.
fn explained(location: &Location, at: &Way, manners: &Manners) -> Result<(Answer, Turn), Fault> {
    let first = ByteRange::new(0, 1).ok_or_else(|| again("no range"))?;
    ask_host(location, at, Ask::Range(first), manners)
}

/// Whether a server did not take the key that signed, and there is another by now.
fn is_refused_by_key(answer: &mut Answer, at: &Way, since: Instant) -> bool {
    let Some(signer) = &at.signer else { return false };
    if !matches!(answer.status, 400 | 401 | 403) {
        return false;
    }
    let code = code_in(answer);
    let is_meant = answer.status != 400 || code.as_deref().is_some_and(is_about_key);
    is_meant && signer.is_renewed(since, code.as_deref())
}

/// A signature is made for one server: it is not carried on to where that server sends us.
fn elsewhere(location: &Location, answer: &Answer) -> StoreError {
    let region = answer.header("x-amz-bucket-region").map(|region| format!(": its bucket is in region {region}"));
    lasting(location, format!("the server sends signed requests elsewhere{}", region.unwrap_or_default()))
}

/// One request, within the limits of its host.
fn ask_host(location: &Location, at: &Way, ask: Ask<'_>, manners: &Manners) -> Result<(Answer, Turn), Fault> {
    for n_tries in 0..=NAME_TRIES {
        let turn = turn(at.address.authority());
        match send(&at.address, ask, manners, at.signer.as_deref()) {
            Ok(answer) => return Ok((answer, turn)),
            Err(NoAnswer::Passing(reason)) => return Err(again(reason)),
            Err(NoAnswer::Lasting(reason)) => return Err(lasting(location, reason).into()),
            Err(NoAnswer::Untrusted(distrust, why)) => {
                let (location, host) = (location.clone(), at.address.authority().to_owned());
                return Err(StoreError::Untrusted { location, host, distrust, why }.into());
            }
            Err(NoAnswer::Unsigned(why)) => {
                return Err(StoreError::Unsigned { location: location.clone(), why }.into());
            }
            Err(NoAnswer::NotSignedNow(reason)) => {
                let location = location.clone();
                return Err(StoreError::Fetch { location, reason, is_temporary: true }.into());
            }
            Err(NoAnswer::NoHost) if n_tries < NAME_TRIES => {
                drop(turn);
                std::thread::sleep(FIRST_WAIT);
            }
            Err(NoAnswer::NoHost) => break,
        }
    }
    let reason = format!("there is no host `{}`", at.address.authority());
    Err(Fault::Final(StoreError::Fetch { location: location.clone(), reason, is_temporary: true }))
}

/// What a status says that brought no bytes.
pub(crate) fn refusal(location: &Location, way: &Way, answer: &mut Answer) -> Fault {
    let code = if matches!(location, Location::Object(_)) { code_in(answer) } else { None };
    let location = location.clone();
    match answer.status {
        status @ (404 | 410) => Fault::Final(StoreError::Absent { location, status, code }),
        409 | 412 if code.as_deref().is_some_and(is_passing_conflict) => again("the server was busy with the same key"),
        412 if code.as_deref().is_none_or(|code| !code.starts_with("Lease")) => {
            Fault::Final(StoreError::Taken { location })
        }
        409 if code.as_deref() == Some("BlobAlreadyExists") => Fault::Final(StoreError::Taken { location }),
        status @ 400 if code.as_deref() == Some("InvalidBlockList") => {
            Fault::Final(StoreError::Absent { location, status, code })
        }
        403 if code.as_deref().is_some_and(|code| code.to_ascii_lowercase().ends_with("ratelimitexceeded")) => {
            again("the server answered that it is asked too often")
        }
        status @ 400 if code.as_deref() == Some(PAYER_MISSING) => {
            Fault::Final(StoreError::Denied { location, status, code, signed_by: None })
        }
        status @ 400 if code.as_deref().is_some_and(is_about_key) => {
            let signed_by = way.signer.as_ref().map(|signer| signer.profile().to_owned());
            Fault::Final(StoreError::Denied { location, status, code, signed_by })
        }
        400 if code.as_deref() == Some("RequestTimeout") => again("the server waited too long for the bytes"),
        status @ (401 | 403 | 407 | 511) => {
            let signed_by = way.signer.as_ref().map(|signer| signer.profile().to_owned());
            Fault::Final(StoreError::Denied { location, status, code, signed_by })
        }
        status @ (408 | 425 | 429 | 500 | 502..=504) => {
            let after = answer.header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
            Fault::Again { reason: format!("the server answered {status}"), after }
        }
        status => {
            let code = code.map(|code| format!(" {code}")).unwrap_or_default();
            Fault::Final(lasting(&location, format!("the server answered {status}{code}")))
        }
    }
}

/// Whether two requests met at a key, so that one of them is to be made again.
fn is_passing_conflict(code: &str) -> bool {
    ["ConditionalRequestConflict", "OperationAborted", "ConcurrentModification"].contains(&code)
}

/// The name that a server of buckets gives an error: in a header (Azure), or in the document of its body, which is XML
/// or (Google) JSON.
fn code_in(answer: &mut Answer) -> Option<String> {
    let is_name = |code: &String| !code.is_empty() && code.chars().all(|c| c.is_ascii_alphanumeric());
    if let Some(code) = answer.header("x-ms-error-code") {
        return Some(code.to_owned()).filter(is_name);
    }
    let bytes = answer.peek(MAX_ERROR_BYTES);
    let text = String::from_utf8_lossy(&bytes);
    let code = match text.split_once("<Code>") {
        Some((_, rest)) => rest.split_once("</Code>").map(|(code, _)| code.to_owned()),
        None => code_in_json(&text),
    };
    code.filter(is_name)
}

fn code_in_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = value.get("error")?;
    // What its interface in XML has names for is only said in words here.
    let words = error.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    if words.contains("requester pays") {
        return Some(PAYER_MISSING.into());
    }
    if words.contains("bucket does not exist") {
        return Some("NoSuchBucket".into());
    }
    error.get("errors")?.get(0)?.get("reason")?.as_str().map(str::to_owned)
}

pub(crate) fn is_packed(answer: &Answer) -> bool {
    answer.header("content-encoding").is_some_and(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
}

pub(crate) fn packed(location: &Location, answer: &Answer) -> StoreError {
    let name = answer.header("content-encoding").unwrap_or_default();
    lasting(location, format!("the server packs it with `{name}`, though that was not asked for"))
}

pub(crate) fn is_web_page(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        kind.starts_with("text/html") || kind.starts_with("application/xhtml")
    })
}

/// Reads a body that must have exactly `n_bytes`. Room is taken as bytes arrive, not as they are announced.
pub(crate) fn read_exactly(answer: &mut Answer, n_bytes: u64, buffer: &mut Vec<u8>) -> Result<(), Fault> {
    buffer.clear();
    // Growing step by step would copy what is there again and again.
    buffer.reserve(usize::try_from(n_bytes.saturating_add(1).min(MOST_RESERVED)).unwrap_or(0));
    let read = (&mut answer.body).take(n_bytes.saturating_add(1)).read_to_end(buffer);
    let got = buffer.len() as u64;
    count_received(got);
    match read {
        Ok(_) if got == n_bytes => Ok(()),
        Ok(_) if got > n_bytes => Err(too_many(n_bytes)),
        Ok(_) => Err(again(format!("{got} of {n_bytes} bytes arrived"))),
        Err(error) => Err(broke_off(&error, got, n_bytes)),
    }
}

/// Reads the next piece of a body; nothing at its end.
pub(crate) fn read_piece(answer: &mut Answer, block: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match answer.body.read(block) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => {
                count_received(*read.as_ref().unwrap_or(&0) as u64);
                return read;
            }
        }
    }
}

/// A body that came to no end.
pub(crate) fn broke_off(error: &std::io::Error, got: u64, wanted: u64) -> Fault {
    again(match error.kind() {
        std::io::ErrorKind::TimedOut => format!("the server was silent after {got} of {wanted} bytes"),
        _ => format!("the connection broke off after {got} of {wanted} bytes"),
    })
}

/// A body that is longer than it should be.
pub(crate) fn too_many(wanted: u64) -> Fault {
    again(format!("more than the {wanted} bytes that were asked for arrived"))
}
