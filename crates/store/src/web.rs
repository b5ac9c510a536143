//! Files of web servers: what they are now, and ranges of their bytes.
//!
//! It promises that a range yields exactly the bytes asked for, of the file in the state that was asked for, or an
//! error that names the address without its query; and that every question ends, however the server behaves. It does
//! not trust a server: HTTP allows the whole body where a part was asked for (RFC 9110, section 14.2), so status,
//! range and length of every answer are looked at.

mod begin;

use std::{io::Read, sync::OnceLock};

use bytes::Bytes;
use frazil_model::{location::Location, range::ByteRange};

use crate::{
    address::Address,
    asking::{
        Fault, Way, again, broke_off, follow, follow_to, is_packed, is_web_page, lasting, packed, read_exactly,
        read_piece, refusal, too_many, way_to, with_retries,
    },
    bucket,
    error::StoreError,
    manners::{Manners, Turn, count_received, gives_parts, note_part},
    open::{Answer, Ask},
    read::{Copied, Fingerprint, Pieces, SMALL_FILE_BYTES},
};

pub(crate) use begin::begin;

/// A small file is fetched whole when a part of it is asked for that is at least this share of it.
const WHOLE_FROM_SHARE: u64 = 8;

/// A file up to this size is fetched whole in any case.
const TINY_FILE_BYTES: u64 = 16 << 10;

/// A file that is copied whole is copied in blocks of so many bytes.
const COPIED_BLOCK_BYTES: usize = 256 << 10;

/// A file whose size is not told is copied up to so many bytes.
const MOST_UNTOLD_BYTES: u64 = 1 << 40;

/// A file of a web server in one state.
#[derive(Debug)]
pub(crate) struct WebFile {
    location: Location,
    way: Way,
    size_bytes: u64,
    marks: Marks,
    /// All of it, if it is small.
    whole: OnceLock<Bytes>,
}

/// What a server says to tell one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    /// Its `ETag`.
    pub(crate) etag: Option<String>,
    /// Its `Last-Modified`.
    pub(crate) modified: Option<String>,
    /// The generation that Google gives each content.
    pub(crate) generation: Option<String>,
}

impl Marks {
    fn of(answer: &Answer) -> Self {
        let text = |name| answer.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Self { etag: text("etag"), modified: text("last-modified"), generation: text("x-goog-generation") }
    }

    /// As the state of a fingerprint. A header holds no line break.
    pub(crate) fn to_state(&self) -> String {
        let line = |name, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
        [line("etag", &self.etag), line("modified", &self.modified), line("generation", &self.generation)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn from_state(state: &str) -> Self {
        let find = |name| state.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Self { etag: find("etag "), modified: find("modified "), generation: find("generation ") }
    }

    /// Whether two answers are about different states. What one of them does not say tells nothing.
    fn differ(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
        differ(&self.etag, &other.etag)
            || differ(&self.modified, &other.modified)
            || differ(&self.generation, &other.generation)
    }
}

/// The present state of a file, of which parts are wanted.
pub(crate) fn fingerprint(location: &Location) -> Result<Fingerprint, StoreError> {
    let found = fingerprint_to_copy(location)?;
    match found.told_bytes() {
        Some(_) => Ok(found),
        None => Err(StoreError::RangeIgnored { location: location.clone() }),
    }
}

/// The present state of a file, whose server may not tell its size.
pub(crate) fn fingerprint_to_copy(location: &Location) -> Result<Fingerprint, StoreError> {
    if let Location::Object(object) = location
        && let Some(found) = bucket::fingerprint(object)?
    {
        return Ok(found);
    }
    let way = way_to(location)?;
    if let Some(found) = with_retries(location, &way, |manners| by_head(location, &way, manners))? {
        return Ok(found);
    }
    with_retries(location, &way, |manners| by_first_byte(location, &way, manners))
}

fn found(size_bytes: u64, answer: &Answer) -> Fingerprint {
    Fingerprint { size_bytes, state: Marks::of(answer).to_state() }
}

/// Asks without a body. `None`: this server must be asked otherwise.
fn by_head(location: &Location, way: &Way, manners: &Manners) -> Result<Option<Fingerprint>, Fault> {
    let (mut answer, _) = follow(location, way, Ask::Head, manners)?;
    match answer.status {
        200 => {
            let length = answer.header("content-length").and_then(|text| text.parse().ok());
            // An empty file is rare; a web server that leaves the length out or says 0 is not. Servers of buckets say it
            // as it is, and know no range of an empty object.
            let is_bucket = matches!(location, Location::Object(_));
            let is_plain = !is_packed(&answer);
            Ok(length.filter(|length| (*length > 0 || is_bucket) && is_plain).map(|length| found(length, &answer)))
        }
        404 | 410 | 429 | 500 | 502..=504 => Err(refusal(location, way, &mut answer)),
        // Some servers know no HEAD, and an address may be signed for GET alone.
        _ => Ok(None),
    }
}

/// Asks for the first byte; the answer says how many there are.
fn by_first_byte(location: &Location, way: &Way, manners: &Manners) -> Result<Fingerprint, Fault> {
    let Some(first) = ByteRange::new(0, 1) else { return Err(again("no range")) };
    let (mut answer, _turn) = follow(location, way, Ask::Range(first), manners)?;
    match answer.status {
        206 => {
            let part = content_range(&answer);
            let Some(Part { total: Some(total), .. }) = part else {
                return Err(lasting(location, "the server does not say how large it is").into());
            };
            let mut one = Vec::new();
            read_exactly(&mut answer, 1, &mut one)?;
            Ok(found(total, &answer))
        }
        200 if is_packed(&answer) => Err(packed(location, &answer).into()),
        200 if is_web_page(&answer) => Err(StoreError::WebPage { location: location.clone() }.into()),
        200 => match answer.header("content-length").and_then(|text| text.parse().ok()) {
            Some(size_bytes) => Ok(found(size_bytes, &answer)),
            None => Ok(Fingerprint::untold(Marks::of(&answer).to_state())),
        },
        416 if answer.header("content-range") == Some("bytes */0") => Ok(found(0, &answer)),
        _ => Err(refusal(location, way, &mut answer)),
    }
}

/// Whether as many bytes come as were asked for, if the server says how many come.
fn check_announced(answer: &Answer, range: ByteRange) -> Result<(), Fault> {
    let announced = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
    match announced {
        Some(announced) if announced != range.n_bytes() => {
            Err(again(format!("{announced} bytes were announced where {} were asked for", range.n_bytes())))
        }
        _ => Ok(()),
    }
}

impl WebFile {
    /// The file at `location` in the state of `fingerprint`. Nothing is asked yet.
    pub(crate) fn open(location: &Location, fingerprint: &Fingerprint) -> Result<Self, StoreError> {
        Ok(Self {
            location: location.clone(),
            way: way_to(location)?,
            size_bytes: fingerprint.size_bytes,
            marks: Marks::from_state(&fingerprint.state),
            whole: OnceLock::new(),
        })
    }

    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether the server gives a part of the file and not all of it.
    pub(crate) fn check_ranges(&self) -> Result<(), StoreError> {
        match ByteRange::new(0, 1).filter(|_| self.size_bytes > 1) {
            Some(_) if gives_parts(self.way.address.authority()) => Ok(()),
            Some(first) => self.fetch(first, &mut Vec::new()),
            None => Ok(()),
        }
    }

    /// Reads `range`, which lies within the file, into `buffer`.
    pub(crate) fn read_into(&self, range: ByteRange, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let small = ByteRange::new(0, self.size_bytes).filter(|all| all.n_bytes() <= SMALL_FILE_BYTES);
        let Some(all) = small else { return self.fetch(range, buffer) };
        if let Some(whole) = self.whole.get() {
            return self.cut(whole, range, buffer);
        }
        let is_large_part = range.n_bytes().saturating_mul(WHOLE_FROM_SHARE) >= self.size_bytes;
        if !is_large_part && self.size_bytes > TINY_FILE_BYTES {
            match self.fetch(range, buffer) {
                // A server without ranges gives a small file whole.
                Err(StoreError::RangeIgnored { .. }) => {}
                done => return done,
            }
        }
        let mut bytes = Vec::new();
        self.fetch(all, &mut bytes)?;
        self.cut(self.whole.get_or_init(|| bytes.into()), range, buffer)
    }

    fn cut(&self, whole: &Bytes, range: ByteRange, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let bounds = usize::try_from(range.offset()).ok().zip(usize::try_from(range.end()).ok());
        let part = bounds.and_then(|(start, end)| whole.get(start..end));
        let Some(part) = part else { return Err(self.changed("it no longer has the bytes that were asked for")) };
        buffer.clear();
        buffer.extend_from_slice(part);
        Ok(())
    }

    fn fetch(&self, range: ByteRange, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        with_retries(&self.location, &self.way, |manners| self.fetch_once(range, buffer, manners))
    }

    fn fetch_once(&self, range: ByteRange, buffer: &mut Vec<u8>, manners: &Manners) -> Result<(), Fault> {
        let (mut answer, _turn) = self.asked(range, manners)?;
        read_exactly(&mut answer, range.n_bytes(), buffer)
    }

    /// Hands on a range piece by piece, each with its offset in the file. What breaks off begins anew.
    pub(crate) fn hand_on(&self, range: ByteRange, block: &mut [u8], to: Pieces<'_>) -> Result<(), StoreError> {
        with_retries(&self.location, &self.way, |manners| {
            let (mut answer, _turn) = self.asked(range, manners)?;
            let (mut at, end) = (range.offset(), range.end());
            loop {
                let read = read_piece(&mut answer, block);
                let n_bytes = read.map_err(|error| broke_off(&error, at - range.offset(), range.n_bytes()))?;
                match block.get(..n_bytes).unwrap_or_default() {
                    [] if at == end => return Ok(()),
                    [] => return Err(again(format!("{} of {} bytes arrived", at - range.offset(), range.n_bytes()))),
                    piece if piece.len() as u64 > end - at => return Err(too_many(range.n_bytes())),
                    piece => to(at, piece)?,
                }
                at += n_bytes as u64;
            }
        })
    }

    /// The answer to a question for a range, of which no byte has been read.
    fn asked(&self, range: ByteRange, manners: &Manners) -> Result<(Answer, Turn), Fault> {
        let location = || self.location.clone();
        let (mut answer, turn) = follow(&self.location, &self.way, Ask::Range(range), manners)?;
        match answer.status {
            206 => {}
            200 if is_packed(&answer) => return Err(packed(&self.location, &answer).into()),
            200 if is_web_page(&answer) => return Err(StoreError::WebPage { location: location() }.into()),
            // Cutting the whole object down to size would work, and would download the archive once per chunk.
            200 if range.n_bytes() != self.size_bytes => {
                return Err(StoreError::RangeIgnored { location: location() }.into());
            }
            200 => {}
            412 | 416 => return Err(self.changed("it no longer has the bytes that were asked for").into()),
            _ => return Err(refusal(&self.location, &self.way, &mut answer)),
        }
        if is_packed(&answer) {
            return Err(packed(&self.location, &answer).into());
        }
        if self.marks.differ(&Marks::of(&answer)) {
            return Err(self.changed("the server says that it is another version now").into());
        }
        if answer.status == 206 {
            self.check_part(range, &answer)?;
        }
        check_announced(&answer, range)?;
        if answer.status == 206 {
            note_part(self.way.address.authority());
        }
        Ok((answer, turn))
    }

    /// Copies the whole file from its beginning, for servers that know no ranges or tell no size. `begin` is called before
    /// each try and gives what is written to.
    pub(crate) fn copy_all<W: std::io::Write>(
        &self,
        mut begin: impl FnMut() -> std::io::Result<W>,
        writing: impl Fn(std::io::Error) -> StoreError,
    ) -> Result<Copied, StoreError> {
        let limit_bytes = self.size_bytes.min(MOST_UNTOLD_BYTES);
        with_retries(&self.location, &self.way, |manners| {
            let mut to = begin().map_err(&writing)?;
            let (mut answer, _turn) = follow(&self.location, &self.way, Ask::Whole { limit_bytes }, manners)?;
            match answer.status {
                200 if is_packed(&answer) => return Err(packed(&self.location, &answer).into()),
                200 if is_web_page(&answer) => {
                    return Err(StoreError::WebPage { location: self.location.clone() }.into());
                }
                200 => {}
                _ => return Err(refusal(&self.location, &self.way, &mut answer)),
            }
            if self.marks.differ(&Marks::of(&answer)) {
                return Err(self.changed("the server says that it is another version now").into());
            }
            let announced = answer.header("content-length").and_then(|text| text.parse().ok());
            let wanted = if self.size_bytes > limit_bytes { announced } else { Some(self.size_bytes) };
            let is_in_chunks = answer.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
            let (mut block, mut got) = (vec![0; COPIED_BLOCK_BYTES], 0_u64);
            loop {
                let n_bytes = answer.body.read(&mut block).map_err(|_| again("the connection broke off"))?;
                count_received(n_bytes as u64);
                got = got.saturating_add(n_bytes as u64);
                match (n_bytes, wanted) {
                    (0, Some(wanted)) if got != wanted => {
                        return Err(again(format!("{got} of {wanted} bytes arrived")));
                    }
                    (0, _) => return Ok(Copied { n_bytes: got, has_end: wanted.is_some() || is_in_chunks }),
                    (_, Some(wanted)) if got > wanted => return Err(self.changed("it is larger now").into()),
                    (_, None) if got > limit_bytes => {
                        let location = self.location.clone();
                        return Err(StoreError::TooLarge { location, limit_bytes }.into());
                    }
                    _ => to.write_all(block.get(..n_bytes).unwrap_or_default()).map_err(&writing)?,
                }
            }
        })
    }

    /// Whether the part that a server says it sends is the one that was asked for.
    fn check_part(&self, range: ByteRange, answer: &Answer) -> Result<(), Fault> {
        let wrong = |got: &str| {
            let wanted = format!("{}-{}", range.offset(), range.end() - 1);
            Fault::Final(StoreError::WrongRange { location: self.location.clone(), wanted, got: got.to_owned() })
        };
        let said = answer.header("content-range").unwrap_or("nothing");
        let Some(part) = content_range(answer) else { return Err(wrong(said)) };
        if part.total.is_some_and(|total| total != self.size_bytes) {
            return Err(self.changed("its size is another one now").into());
        }
        match (part.first == range.offset(), part.last == range.end() - 1) {
            (true, true) => Ok(()),
            // A server may send less than was asked for (RFC 9110, section 15.3.7).
            (true, false) if part.last < range.end() => Err(again(format!("the server sent only a part: {said}"))),
            _ => Err(wrong(said)),
        }
    }

    fn changed(&self, reason: &str) -> StoreError {
        StoreError::Changed { location: self.location.clone(), reason: reason.to_owned() }
    }
}

/// A page of links.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it came from in the end.
    pub address: Address,
    /// Its text.
    pub text: String,
}

/// Fetches a page of at most `limit_bytes`.
///
/// # Errors
/// If it is not there, larger, or no text.
pub fn page(location: &Location, limit_bytes: u64) -> Result<Page, StoreError> {
    fetch_text(location, &way_to(location)?, limit_bytes)
}

/// The text that lies that `way`: an answer of a bucket about itself.
pub(crate) fn text(location: &Location, way: &Way, limit_bytes: u64) -> Result<String, StoreError> {
    fetch_text(location, way, limit_bytes).map(|page| page.text)
}

fn fetch_text(location: &Location, way: &Way, limit_bytes: u64) -> Result<Page, StoreError> {
    let too_large = || StoreError::TooLarge { location: location.clone(), limit_bytes };
    with_retries(location, way, |manners| {
        let mut at = way.clone();
        let (mut answer, _turn) = follow_to(location, &mut at, Ask::Whole { limit_bytes }, manners)?;
        if answer.status != 200 {
            return Err(refusal(location, way, &mut answer));
        }
        if is_packed(&answer) {
            return Err(packed(location, &answer).into());
        }
        let announced = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > limit_bytes) {
            return Err(too_large().into());
        }
        let mut bytes = Vec::new();
        let read = (&mut answer.body).take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
        count_received(bytes.len() as u64);
        read.map_err(|error| again(format!("the page broke off: {error}")))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(too_large().into());
        }
        // Old servers list in Latin-1; links are ASCII in either case.
        Ok(Page { address: at.address, text: String::from_utf8_lossy(&bytes).into_owned() })
    })
}

/// What a `Content-Range` says.
struct Part {
    first: u64,
    last: u64,
    total: Option<u64>,
}

fn content_range(answer: &Answer) -> Option<Part> {
    let said = answer.header("content-range")?;
    let (unit, rest) = said.split_once(' ')?;
    let (part, total) = rest.trim().split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let part = Part { first: first.parse().ok()?, last: last.parse().ok()?, total };
    let is_whole = part.first <= part.last && part.total.is_none_or(|total| part.last < total);
    (unit.eq_ignore_ascii_case("bytes") && is_whole).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_say_tells_no_difference() {
        let marks = |state| Marks::from_state(state);
        assert!(!marks("etag \"a\"\nmodified Mon").differ(&marks("etag \"a\"")));
        assert!(!marks("").differ(&marks("etag \"a\"")));
        assert!(marks("etag \"a\"").differ(&marks("etag \"b\"")));
        assert!(marks("etag \"a\"\nmodified Mon").differ(&marks("etag \"a\"\nmodified Tue")));
        assert_eq!(marks("etag \"a\"\nmodified Mon").to_state(), "etag \"a\"\nmodified Mon");
    }
}
