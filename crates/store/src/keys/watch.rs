//! The files that a profile was read from, and whether they say something else by now.
//!
//! It promises to look at them rarely, and to take nothing from them that is meant for another server.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::profile::{Keys, Server, Surroundings, known, of_s3};

/// How often files are looked at.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// A file that was just written may be half written.
const SETTLES_WITHIN: Duration = Duration::from_millis(200);

/// How a profile is found anew.
pub(crate) struct Again {
    surroundings: Surroundings,
    chosen: Option<String>,
    name: String,
    server: Server,
    files: Vec<PathBuf>,
    seen: Mutex<(Instant, Vec<Option<Mark>>)>,
}

/// Variables may be keys.
impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Again({})", self.name)
    }
}

/// What tells one state of a file from another.
type Mark = (u64, i64, i64, u64);

fn mark(path: &PathBuf) -> Option<Mark> {
    let about = fs::metadata(path).ok()?;
    Some((about.len(), about.mtime(), about.mtime_nsec(), about.ino()))
}

impl Again {
    /// How the profile `name` for `server`, which was `chosen` or is in force, is found anew.
    pub fn new(surroundings: Surroundings, chosen: Option<String>, name: String, server: Server) -> Self {
        let files = known(&surroundings).files;
        let seen = Mutex::new((Instant::now(), files.iter().map(mark).collect()));
        Self { surroundings, chosen, name, server, files, seen }
    }

    /// Whether a file is another than when it was last asked.
    pub fn may_have_changed(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.elapsed() < LOOKED_EVERY {
            return false;
        }
        let marks: Vec<_> = self.files.iter().map(mark).collect();
        let has_changed = marks != seen.1;
        *seen = (Instant::now(), marks);
        has_changed
    }

    /// Waits until nobody can be in the middle of writing.
    pub fn settle(&self) {
        let youngest = self.files.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max();
        let age = youngest.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if let Some(age) = age
            && age < SETTLES_WITHIN
        {
            std::thread::sleep(SETTLES_WITHIN.saturating_sub(age));
        }
    }

    /// The keys that the profile has now; `None` if it has none, or is for another server.
    pub fn keys(&self) -> Option<Keys> {
        let profile = of_s3(&self.surroundings, self.chosen.as_deref()).ok()?;
        let is_same = profile.name == self.name && profile.server == self.server;
        (is_same && !matches!(profile.keys, Keys::Missing { .. } | Keys::Anonymous)).then_some(profile.keys)
    }
}
