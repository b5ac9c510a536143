//! What a push noted on this machine, so that the same command typed again goes on where nothing may be listed.
//!
//! A line a note, appended as things happen; a line that a kill cut short is passed over. One process at a time has it. Where
//! files may be read it is not needed: without it they are asked for one by one, or sent again. It holds names, digests and
//! the names that servers give to uploads, and no secret.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use frazil_store::{StoreError, bucket::Upload, cache};
use serde::{Deserialize, Serialize};

use crate::{copy::Task, place::Place, run::Notes, walk::Found};

/// The largest journal that is read.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The SHA-256 of a file in one state.
    Sum { name: String, mark: String, sha256: String },
    /// A file in one state is there, with this tag.
    Sent { name: String, mark: String, tag: String },
    /// An upload was begun.
    Upload { key: String, id: String },
    /// A claim with this text is about to be put.
    Trying { text: String },
    /// It is there, and nothing of ours was there before.
    First,
    /// It is there.
    Claimed,
    /// The manifest is about to be put.
    Finishing,
    /// A delivery of this content was sent whole.
    Whole { content: String },
}

/// The notes of one delivery.
#[derive(Debug, Default)]
pub(super) struct Journal {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
    sums: HashMap<String, (String, String)>,
    sent: HashMap<String, (String, String)>,
    uploads: Vec<Upload>,
    /// What this process has sent, with tags.
    arrived: Mutex<HashMap<String, String>>,
    /// Claims that were put or were about to be, the last one last.
    pub claims: Vec<String>,
    /// Whether the last of them is known to be there.
    pub is_claimed: bool,
    /// The content that was sent whole.
    pub whole: Option<String>,
    /// Whether the manifest may be there.
    pub may_be_whole: bool,
}

/// A state of a file as it is noted; nothing where a later change might not show.
fn mark_of(found: &Found) -> Option<String> {
    let mark = found.mark.as_deref()?;
    mark.is_settled(std::time::SystemTime::now()).then(|| format!("{} {}", mark.size_bytes, mark.state))
}

/// Where journals are kept.
pub(crate) fn home() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("frazil/push"))
}

impl Journal {
    /// The notes of a delivery, as earlier runs left them.
    pub fn of(delivery: &Place) -> Self {
        let path = home().map(|home| cache::file(&home, &delivery.shown(), "journal"));
        let mut journal = Self { path, ..Self::default() };
        let Some(path) = &journal.path else { return journal };
        if path.metadata().is_ok_and(|about| about.len() <= MOST_BYTES) {
            for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
                match serde_json::from_str(line) {
                    Ok(Line::Sum { name, mark, sha256 }) => {
                        journal.sums.insert(name, (mark, sha256));
                    }
                    Ok(Line::Sent { name, mark, tag }) => {
                        journal.sent.insert(name, (mark, tag));
                    }
                    Ok(Line::Upload { key, id }) => journal.uploads.push(Upload { key, id, begun_seconds: None }),
                    Ok(Line::Trying { text }) => journal.try_claim(text),
                    Ok(Line::First) => journal.begin_anew(),
                    Ok(Line::Claimed) => journal.is_claimed = true,
                    Ok(Line::Finishing) => journal.may_be_whole = true,
                    Ok(Line::Whole { content }) => {
                        journal.whole = Some(content);
                        journal.may_be_whole = true;
                    }
                    Err(_) => {}
                }
            }
        }
        journal
    }

    fn try_claim(&mut self, text: String) {
        self.claims.retain(|claim| *claim != text);
        self.claims.push(text);
        self.is_claimed = false;
    }

    fn begin_anew(&mut self) {
        self.sent.clear();
        self.claims.drain(..self.claims.len().saturating_sub(1));
        (self.is_claimed, self.whole, self.may_be_whole) = (true, None, false);
    }

    /// Begins to write.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it.
    pub fn open(&self, place: &Place) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).ok();
        if let Some(file) = &mut file {
            // Where there are no locks nobody is kept apart here; the claim at the place still is.
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                let by = " on this machine: a push of the same name".to_owned();
                return Err(StoreError::Locked { place: place.shown(), by });
            }
            // A line that was cut short must not swallow the next.
            let _ = file.write_all(b"\n");
        }
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    /// Notes that a claim is about to be put.
    pub fn note_trying(&mut self, text: &str) {
        self.note(&Line::Trying { text: text.to_owned() });
        self.try_claim(text.to_owned());
    }

    /// Notes that it is there, the first one at its place.
    pub fn note_first(&mut self) {
        self.note(&Line::First);
        self.begin_anew();
    }

    /// Notes that it is there.
    pub fn note_claimed(&mut self) {
        self.note(&Line::Claimed);
        self.is_claimed = true;
    }

    /// Notes that the manifest is about to be put: what it names is not written to from then on.
    pub fn note_finishing(&self) {
        self.note(&Line::Finishing);
    }

    /// All names that this or an earlier try meant to send.
    pub fn names(&self) -> BTreeSet<&str> {
        self.sums.keys().chain(self.sent.keys()).map(String::as_str).collect()
    }

    /// Whether it is noted that a name was sent, in whatever state.
    pub fn has_sent(&self, name: &str) -> bool {
        self.sent.contains_key(name)
    }

    /// The tag of what this process has sent under a name.
    pub fn arrived_tag(&self, name: &str) -> Option<String> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn note(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_string(line) else { return };
        text.push('\n');
        if let Some(file) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without it more is asked and sent the next time.
            let _ = file.write_all(text.as_bytes());
        }
    }

    pub fn sum(&self, name: &str, found: &Found) -> Option<String> {
        let (mark, sha256) = self.sums.get(name)?;
        (mark_of(found)? == *mark).then(|| sha256.clone())
    }

    pub fn note_sum(&self, name: &str, found: &Found, sha256: &str) {
        // Without a mark it tells at least that the name was meant.
        let mark = mark_of(found).unwrap_or_default();
        self.note(&Line::Sum { name: name.to_owned(), mark, sha256: sha256.to_owned() });
    }

    /// The tag that a file got when it was sent in the state that it has now.
    pub fn tag(&self, name: &str, found: &Found) -> Option<&str> {
        let (mark, tag) = self.sent.get(name)?;
        (mark_of(found)? == *mark).then_some(tag)
    }

    /// What is kept once the delivery is whole: that it was, for whoever cannot read it when the command is typed again.
    pub fn finish(&self, content: &str) {
        let Some(path) = &self.path else { return };
        let claim = self.claims.last().map(|text| Line::Trying { text: text.clone() });
        let lines = claim.into_iter().chain([Line::Claimed, Line::Whole { content: content.to_owned() }]);
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(&line).unwrap_or_default());
            text.push('\n');
        }
        let beside = path.with_extension("new");
        // A journal that stays as it was says less, and nothing wrong.
        let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    }
}

impl Notes for Journal {
    fn arrived(&self, task: &Task, tag: &str) {
        let mark = mark_of(&task.found).unwrap_or_default();
        self.note(&Line::Sent { name: task.to.to_string(), mark, tag: tag.to_owned() });
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(task.to.to_string(), tag.to_owned());
    }

    fn begun(&self, upload: &Upload) {
        self.note(&Line::Upload { key: upload.key.clone(), id: upload.id.clone() });
    }

    fn uploads(&self) -> Vec<Upload> {
        self.uploads.clone()
    }
}
