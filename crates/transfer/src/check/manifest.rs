//! Whether a folder holds what a manifest says: that of a delivery, or the sums that `sha256sum` and `md5sum` print.
//!
//! It promises that every line is understood or refused by its number, and that no name leads outside of the folder. Source: the
//! manual of the GNU core utilities, "md5sum invocation"; the form of BSD (`--tag`) is read as well.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use frazil_model::location::Location;
use frazil_store::{StoreError, beneath::unsafe_name};

use super::Extra;
use crate::{
    copy::claims::is_lock,
    delivery::{Difference, Manifest, OWN, Record},
    error::TransferError,
    place::{Place, Written},
    probe::is_mark,
    progress::Progress,
    sums::{FILES_AT_A_TIME, Sum, for_each, sum_like},
    walk::{Found, tree},
};

/// The largest manifest that is read.
const MOST_BYTES: u64 = 1 << 30;

/// What a file has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name in the folder.
    pub name: String,
    /// Its length, if that is said.
    pub size_bytes: Option<u64>,
    /// The sum of its bytes.
    pub sum: Sum,
}

/// What a folder has to hold.
#[derive(Debug)]
pub struct Expectation {
    /// What kind of manifest said so.
    pub kind: &'static str,
    /// The files, by name.
    pub files: Vec<Expected>,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Files that are as they should be.
    pub found: Vec<Found>,
    /// What is not.
    pub differences: Vec<Difference>,
}

impl From<&Manifest> for Expectation {
    fn from(manifest: &Manifest) -> Self {
        let expected = |file: &crate::delivery::Entry| Expected {
            name: file.name.clone(),
            size_bytes: Some(file.size_bytes),
            sum: Sum::Sha256(file.sha256.clone()),
        };
        Self { kind: "delivery", files: manifest.files.iter().map(expected).collect() }
    }
}

impl Expectation {
    /// Reads a manifest.
    ///
    /// # Errors
    /// If it cannot be read, or says what makes no sense.
    pub fn read(written: &Written) -> Result<Self, TransferError> {
        let text = match &written.place {
            Place::Local(path) => std::fs::read_to_string(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => TransferError::Nothing { place: written.text.clone() },
                _ => StoreError::reading(&Location::File(path.display().to_string()), error).into(),
            })?,
            Place::Bucket { bucket, key } => {
                bucket.text(key, MOST_BYTES)?.ok_or_else(|| TransferError::Nothing { place: written.text.clone() })?
            }
            Place::Web(location) => {
                let (place, reason) = (location.to_string(), "copy it to this machine first".to_owned());
                return Err(TransferError::BadSums { place, reason });
            }
        };
        let wrong = |reason: String| TransferError::BadSums { place: written.text.clone(), reason };
        if text.trim_start().starts_with('{') {
            let manifest = match serde_json::from_str::<Record>(&text) {
                Ok(record) => record.manifest.checked(&written.place)?,
                Err(_) => Manifest::parse(&text, &written.place)?,
            };
            return Ok(Self::from(&manifest));
        }
        Self::of_sums(&text).map_err(wrong)
    }

    /// Reads lines of sums.
    fn of_sums(text: &str) -> Result<Self, String> {
        let mut files: BTreeMap<String, Sum> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, sum) = sum_of_line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            let name = name.strip_prefix("./").map(str::to_owned).unwrap_or(name);
            if let Some(reason) = unsafe_name(&name) {
                return Err(format!("line {} names `{name}`: {reason}", number + 1));
            }
            if files.insert(name.clone(), sum.clone()).is_some_and(|before| before != sum) {
                return Err(format!("line {} gives `{name}` another sum than a line before", number + 1));
            }
        }
        if files.is_empty() {
            return Err("it names no file".into());
        }
        let expected = |(name, sum)| Expected { name, size_bytes: None, sum };
        Ok(Self { kind: "sums", files: files.into_iter().map(expected).collect() })
    }
}

/// A line `SUM  NAME`, `SUM *NAME` or `SHA256 (NAME) = SUM`; a backslash before it says that its name has such for signs that
/// end lines.
fn sum_of_line(line: &str) -> Result<(String, Sum), String> {
    let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |rest| (rest, true));
    let tagged = ["SHA256 (", "MD5 ("].into_iter().find_map(|tag| line.strip_prefix(tag));
    let (name, digits) = match tagged {
        Some(rest) => rest.rsplit_once(") = ").ok_or("it has no ` = ` and a sum at its end")?,
        None if line.contains(" (") && line.contains(") = ") => {
            let kind = line.split(' ').next().unwrap_or_default();
            return Err(format!("it has a sum of the kind {kind}; SHA256 and MD5 are read"));
        }
        None => {
            let (digits, rest) = line.split_once(' ').ok_or("it is no sum with a name")?;
            let name = rest.strip_prefix([' ', '*']).ok_or("between the sum and the name stand two spaces, or ` *`")?;
            (name, digits)
        }
    };
    let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit());
    let digits = digits.to_ascii_lowercase();
    let sum = match (is_hex, digits.len()) {
        (true, 64) => Sum::Sha256(digits),
        (true, 32) => Sum::Md5(digits),
        (true, 40 | 56 | 96 | 128) => return Err("its sum is neither SHA-256 nor MD5".into()),
        _ => return Err("it is no sum with a name".into()),
    };
    let name = if is_escaped { unescaped(name)? } else { name.to_owned() };
    if name.is_empty() { Err("it has no name".into()) } else { Ok((name, sum)) }
}

fn unescaped(name: &str) -> Result<String, String> {
    let (mut plain, mut letters) = (String::with_capacity(name.len()), name.chars());
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('r') => '\r',
                _ => return Err("its name has a backslash that means nothing".into()),
            },
            other => other,
        });
    }
    Ok(plain)
}

/// Compares a folder with what it has to hold: every name, every byte. `besides` is a name that does not count.
///
/// # Errors
/// If it cannot be listed or read, or somebody wanted to stop.
pub fn verify(
    place: &Place,
    expectation: &Expectation,
    extra: Extra,
    besides: Option<&str>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Checked, TransferError> {
    let mut found = listed(place)?;
    found.retain(|found| Some(&*found.name) != besides);
    let files = &expectation.files;
    let mut checked = Checked::default();
    let mut differ = |name: &str, what, words: String| {
        checked.differences.push(Difference { name: name.to_owned(), what, words });
    };
    let mut read: Vec<(&Expected, &Found)> = Vec::new();
    for file in files {
        match found.binary_search_by(|found| (*found.name).cmp(&file.name)).ok().and_then(|at| found.get(at)) {
            None => differ(&file.name, "missing", "it is missing".into()),
            Some(found) if found.size_bytes == NO_FILE => {
                differ(&file.name, "missing", "it is a link or no file".into())
            }
            Some(found) => match file.size_bytes.filter(|size_bytes| *size_bytes != found.size_bytes) {
                Some(said) => {
                    differ(
                        &file.name,
                        "size",
                        format!("it has {} bytes, and the manifest says {said}", found.size_bytes),
                    );
                }
                None => read.push((file, found)),
            },
        }
    }
    for one in found.iter().filter(|_| extra == Extra::Counts) {
        if files.binary_search_by(|file| file.name.as_str().cmp(&one.name)).is_err() {
            differ(&one.name, "extra", "the manifest does not name it".into());
        }
    }
    progress.expect(read.len() as u64, read.iter().map(|(_, found)| found.size_bytes).sum());
    let sum = |(file, found): &(&Expected, &Found)| sum_like(&file.sum, place.below(&found.name), found, progress);
    let sums = for_each(&read, FILES_AT_A_TIME, stop, sum);
    for ((file, found), sum) in read.into_iter().zip(sums) {
        match sum.ok_or(TransferError::Interrupted { resume: None, open: None })? {
            Ok(sum) if sum == file.sum => checked.found.push(found.clone()),
            Ok(sum) => differ_in(&mut checked, file, &sum),
            Err(error) => return Err(error.into()),
        }
    }
    checked.differences.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(checked)
}

/// The files of a manifest that are not at a place with the length that they were sent with. Nothing is read.
///
/// # Errors
/// If it cannot be listed.
pub(crate) fn sizes(place: &Place, manifest: &Manifest) -> Result<Vec<Difference>, TransferError> {
    let found = listed(place)?;
    let differs = |file: &crate::delivery::Entry| {
        let at = found.binary_search_by(|found| (*found.name).cmp(&file.name)).ok();
        let (what, words) = match at.and_then(|at| found.get(at)).map(|found| found.size_bytes) {
            Some(size_bytes) if size_bytes == file.size_bytes => return None,
            None | Some(NO_FILE) => ("missing", "it is missing".to_owned()),
            Some(size_bytes) => ("size", format!("it has {size_bytes} bytes, and {} were sent", file.size_bytes)),
        };
        Some(Difference { name: file.name.clone(), what, words })
    };
    Ok(manifest.files.iter().filter_map(differs).collect())
}

fn differ_in(checked: &mut Checked, file: &Expected, sum: &Sum) {
    let short = |sum: &Sum| sum.digits().get(..12).unwrap_or_default().to_owned();
    let kind = sum.kind_shown();
    let words = format!("its {kind} begins {}, and the manifest says {}", short(sum), short(&file.sum));
    checked.differences.push(Difference { name: file.name.clone(), what: sum.kind(), words });
}

/// What stands for the size of something that is no file.
const NO_FILE: u64 = u64::MAX;

/// What the files of a folder are, without those that a delivery says of itself.
fn listed(place: &Place) -> Result<Vec<Found>, TransferError> {
    let written = Written { text: place.shown(), place: place.clone(), ends_with_slash: true };
    let tree = match tree(&written) {
        Err(TransferError::Nothing { .. }) => return Ok(Vec::new()),
        tree => tree?,
    };
    let passed_over = tree.passed_over.into_iter().map(|(name, _)| Found::named(&name, NO_FILE));
    let mut found: Vec<Found> = tree.found.into_iter().chain(passed_over).collect();
    found.retain(|found| !OWN.contains(&&*found.name) && !is_lock(&found.name) && !is_mark(&found.name));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match Expectation::of_sums(text) {
            Ok(found) => found
                .files
                .iter()
                .map(|file| format!("{} {:?}", file.sum.kind(), file.name))
                .collect::<Vec<_>>()
                .join(", "),
            Err(why) => why,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn lines_of_sums_are_read_as_their_programs_write_them() {
        check(&format!("{SHA256}  a.nc\n{MD5} *./sub/b\n\n# note\n"), "sha256 \"a.nc\", md5 \"sub/b\"");
        check(&format!("SHA256 (a (1).nc) = {SHA256}\nMD5 (b) = {MD5}\n"), "sha256 \"a (1).nc\", md5 \"b\"");
        check(&format!("\\{MD5}  two\\nlines\\\\\n"), "md5 \"two\\nlines\\\\\"");
        check(&format!("{MD5}   leads with a space"), "md5 \" leads with a space\"");
    }

    #[test]
    fn what_is_no_sum_is_refused_by_its_line() {
        check("", "it names no file");
        check(&format!("{MD5}  a\nword\n"), "line 2: it is no sum with a name");
        check("da39a3ee5e6b4b0d3255bfef95601890afd80709  a\n", "line 1: its sum is neither SHA-256 nor MD5");
        check(&format!("{MD5}  a\n{SHA256}  a\n"), "line 2 gives `a` another sum than a line before");
        assert!(Expectation::of_sums(&format!("{MD5}  ../a\n")).unwrap_err().starts_with("line 1 names `../a`"));
        assert!(Expectation::of_sums(&format!("{MD5}  /etc/a\n")).unwrap_err().starts_with("line 1 names `/etc/a`"));
    }
}
