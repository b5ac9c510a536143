//! Files that hold secrets: written for their owner alone, noted, and overwritten when they go.
//!
//! The notes hold paths and no secret. It promises that a file of somebody else is never replaced, and that the bytes of one
//! that goes are overwritten where they lie before its name goes. What a file system keeps of them elsewhere (snapshots, copies on write,
//! the spare blocks of a disk) no program reaches.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{profile::Surroundings, read::fingerprint_of, secret::Secret};

/// The notes are no longer.
const MAX_NOTES_BYTES: u64 = 16 << 20;

/// A file is overwritten in pieces of so many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// How a file came to hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `profile export` wrote it.
    Exported,
    /// `profile token` wrote it.
    Token,
    /// Somebody gave it to `profile import`.
    Imported,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Exported => "written by `profile export`",
            Self::Token => "written by `profile token`",
            Self::Imported => "read by `profile import`",
        }
    }
}

/// What is noted of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub path: PathBuf,
    pub kind: Kind,
    /// What it was like then.
    pub mark: String,
}

fn notes_file(surroundings: &Surroundings) -> Option<PathBuf> {
    let named = |name: &str| surroundings.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("frazil/handed-on.jsonl"))
}

/// What is noted, by path; the last note of a path counts.
pub(super) fn notes(surroundings: &Surroundings) -> BTreeMap<PathBuf, Note> {
    let mut found = BTreeMap::new();
    let Some(path) = notes_file(surroundings) else { return found };
    if path.metadata().is_ok_and(|about| about.len() <= MAX_NOTES_BYTES) {
        let text = fs::read_to_string(path).unwrap_or_default();
        for note in text.lines().filter_map(|line| serde_json::from_str::<Note>(line).ok()) {
            found.insert(note.path.clone(), note);
        }
    }
    found
}

/// Notes that a file holds a secret for a while.
///
/// # Errors
/// If that cannot be noted: then it would be forgotten.
pub fn note(surroundings: &Surroundings, path: &Path, kind: Kind) -> io::Result<()> {
    let Some(notes) = notes_file(surroundings) else { return Ok(()) };
    let path = fs::canonicalize(path)?;
    let mark = mark_of(&path.metadata()?);
    if let Some(folder) = notes.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut line = serde_json::to_string(&Note { path, kind, mark })?;
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(notes)?;
    file.write_all(line.as_bytes())
}

/// Keeps only the notes of files that are still there.
pub(super) fn tidy(surroundings: &Surroundings) -> io::Result<()> {
    let Some(path) = notes_file(surroundings) else { return Ok(()) };
    let left: Vec<Note> =
        notes(surroundings).into_values().filter(|note| note.path.symlink_metadata().is_ok()).collect();
    if left.is_empty() {
        return fs::remove_file(path).or_else(absent_is_gone);
    }
    let line = |note: &Note| serde_json::to_string(note).map(|line| line + "\n");
    let text: String = left.iter().map(line).collect::<Result<_, _>>()?;
    replace(&path, &Secret::new(text))
}

fn absent_is_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What tells one state of a file from another.
pub(super) fn mark_of(about: &fs::Metadata) -> String {
    let mark = fingerprint_of(about);
    format!("{} {}", mark.size_bytes, mark.state)
}

/// Whether a file may be written: nothing is there, or what an earlier run wrote and nobody changed.
///
/// # Errors
/// That it may not.
pub fn is_free(surroundings: &Surroundings, path: &Path) -> Result<(), String> {
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    let noted = fs::canonicalize(path).ok().and_then(|path| notes(surroundings).remove(&path));
    let is_ours = noted.is_some_and(|note| note.kind != Kind::Imported && note.mark == mark_of(&about));
    match is_ours {
        true => Ok(()),
        false => Err(format!("{} is there already, and is left as it is; name another file", path.display())),
    }
}

/// Writes a file that only its owner can read, in the place of one that an earlier run wrote, and notes it.
///
/// # Errors
/// If it cannot be written, or somebody else's is there.
pub fn write(surroundings: &Surroundings, path: &Path, text: &Secret, kind: Kind) -> Result<(), String> {
    is_free(surroundings, path)?;
    let failed = |error: io::Error| format!("{} could not be written: {error}", path.display());
    replace(path, text).map_err(failed)?;
    note(surroundings, path, kind).map_err(|error| {
        let _ = wipe(path);
        format!("{} could not be noted, and is not kept: {error}", path.display())
    })
}

/// Puts a file in its place in one step; what was there before is overwritten.
pub(crate) fn replace(path: &Path, text: &Secret) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let old = open(path).ok();
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(text.reveal().as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    });
    if written.is_err() {
        let _ = wipe(&fresh);
    }
    written?;
    if let Some((old, about)) = old.filter(|(_, about)| about.nlink() == 1) {
        overwrite(&old, about.len())?;
    }
    Ok(())
}

/// Opens what is to be overwritten: a file, and never what a link leads to.
fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, about)),
        false => Err(io::Error::other("it is no file")),
    }
}

fn overwrite(file: &File, n_bytes: u64) -> io::Result<()> {
    let zeros = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    while offset < n_bytes {
        let n = usize::try_from(n_bytes - offset).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        file.write_all_at(zeros.get(..n).unwrap_or_default(), offset)?;
        offset += n as u64;
    }
    file.sync_all()?;
    file.set_len(0)?;
    file.sync_all()
}

/// Overwrites a file and takes its name away.
pub(super) fn wipe(path: &Path) -> io::Result<()> {
    let (file, about) = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if about.nlink() > 1 {
        return Err(io::Error::other("it has a second name elsewhere"));
    }
    overwrite(&file, about.len())?;
    fs::remove_file(path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_overwritten_where_it_lies() {
        let path = std::env::temp_dir().join(format!("frazil-wipe-{}", std::process::id()));
        fs::write(&path, "CANARY").unwrap();
        let reader = File::open(&path).unwrap();
        replace(&path, &Secret::new("other CANARY".into())).unwrap();
        assert_eq!(reader.metadata().unwrap().len(), 0, "the old one is still there for whoever has it open");
        let link = path.with_extension("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(wipe(&link).is_err() && path.exists(), "a link is not followed");
        fs::remove_file(&link).unwrap();
        fs::hard_link(&path, &link).unwrap();
        assert!(wipe(&path).is_err() && path.exists(), "its second name would be empty");
        fs::remove_file(&link).unwrap();
        let reader = File::open(&path).unwrap();
        wipe(&path).unwrap();
        assert!(!path.exists() && reader.metadata().unwrap().len() == 0);
    }
}
