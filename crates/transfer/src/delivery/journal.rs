//! What a push noted on this machine, so that the same command typed again goes on where nothing may be listed.
//!
//! A line a note, appended as things happen; a line that a kill cut short is passed over. It promises never to be needed:
//! without it files are asked for one by one, or sent again. It holds names, digests and the names that servers give to
//! uploads, and no secret.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use frazil_store::{bucket::Upload, cache};
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
}

/// The notes of one delivery.
#[derive(Debug, Default)]
pub(super) struct Journal {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
    sums: HashMap<String, (String, String)>,
    sent: HashMap<String, (String, String)>,
    uploads: Vec<Upload>,
    pub is_new: bool,
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
        let mut journal = Self { path, is_new: true, ..Self::default() };
        let Some(path) = &journal.path else { return journal };
        if path.metadata().is_ok_and(|about| about.len() <= MOST_BYTES) {
            journal.is_new = false;
            for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
                match serde_json::from_str(line) {
                    Ok(Line::Sum { name, mark, sha256 }) => {
                        journal.sums.insert(name, (mark, sha256));
                    }
                    Ok(Line::Sent { name, mark, tag }) => {
                        journal.sent.insert(name, (mark, tag));
                    }
                    Ok(Line::Upload { key, id }) => journal.uploads.push(Upload { key, id, begun_seconds: None }),
                    Err(_) => {}
                }
            }
        }
        journal
    }

    /// Begins to write.
    pub fn open(&self) {
        let Some(path) = &self.path else { return };
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).ok();
        // A line that was cut short must not swallow the next.
        if let Some(file) = &mut file {
            let _ = file.write_all(b"\n");
        }
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
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
        if let Some(mark) = mark_of(found) {
            self.note(&Line::Sum { name: name.to_owned(), mark, sha256: sha256.to_owned() });
        }
    }

    /// The tag that a file got when it was sent in the state that it has now.
    pub fn tag(&self, name: &str, found: &Found) -> Option<&str> {
        let (mark, tag) = self.sent.get(name)?;
        (mark_of(found)? == *mark).then_some(tag)
    }

    /// It is not needed any more.
    pub fn remove(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Notes for Journal {
    fn arrived(&self, task: &Task, tag: &str) {
        if let Some(mark) = mark_of(&task.found) {
            self.note(&Line::Sent { name: task.to.to_string(), mark, tag: tag.to_owned() });
        }
    }

    fn begun(&self, upload: &Upload) {
        self.note(&Line::Upload { key: upload.key.clone(), id: upload.id.clone() });
    }

    fn uploads(&self) -> Vec<Upload> {
        self.uploads.clone()
    }
}
