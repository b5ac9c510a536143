//! Deliveries: files that somebody sends, with a manifest that is written last.
//!
//! A folder is a delivery once its manifest is there, and not before. The manifest says of each file its name, its length
//! and its SHA-256, and carries a seal, the SHA-256 of all it says. It promises that a manifest that was cut or altered is
//! told from one that was written. It does not know who may send.

mod accept;
mod again;
mod claim;
mod hold;
pub(crate) mod journal;
mod landing;
mod push;
mod there;

use std::fmt::Write;

use frazil_store::{
    StoreError,
    beneath::{Beneath, unsafe_name},
    bucket::When,
    bucket::hex,
    folder::staging_name,
    small,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use accept::{
    Delivery, Difference, Named, Standing, Taking, check, clear, deliveries, look, record, surely_apart, take_plan,
    why_none,
};
pub use again::{Again, Inbox, again, surely_kept};
pub use claim::Claiming;
pub(crate) use hold::hold_folder;
pub use hold::{Hold, hold};
pub use landing::Landing;
pub(crate) use landing::is_landing;
pub use push::{Already, Pushing, Sent, Wanted, prepare};

use crate::{error::TransferError, place::Place};

/// The name that a manifest has in the folder of its delivery.
pub const MANIFEST: &str = "frazil-delivery.json";

/// What is kept in the folder of a delivery that was accepted.
pub const RECORD: &str = "frazil-accepted.json";

/// What a push puts first, so that no other push writes under its name.
pub const CLAIM: &str = "frazil-push.json";

/// What a delivery says of itself, which is none of its files.
pub(crate) const OWN: &[&str] = &[MANIFEST, RECORD, CLAIM];

/// The largest manifest that is read.
const MOST_MANIFEST_BYTES: u64 = 1 << 30;

/// The version of manifests.
const VERSION: u32 = 1;

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of its form.
    pub frazil_delivery: u32,
    /// The name of the delivery.
    pub name: String,
    /// Who sent it, as that machine says.
    pub who: String,
    /// When, in RFC 3339.
    pub when: String,
    /// By whose clock: `server` or `sender`.
    pub clock: String,
    /// What the sender says of it.
    pub note: Option<String>,
    /// The version of frazil that sent it.
    pub frazil: String,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// The files, by name.
    pub files: Vec<Entry>,
    /// The SHA-256 of all of the above.
    pub seal: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the folder of the delivery.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// What is kept of a delivery that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of its form.
    pub frazil_accepted: u32,
    /// The manifest that was accepted.
    pub manifest: Manifest,
    /// Where the files are now.
    pub to: String,
    /// Whether the files of the delivery went, or were meant to stay.
    pub cleared: bool,
}

impl Manifest {
    /// What the seal has to be.
    #[must_use]
    pub fn seal_of(&self) -> String {
        let mut sum = Sha256::new();
        let note = self.note.as_deref().unwrap_or_default();
        let head = [&self.name, &self.who, &self.when, &self.clock, note, &self.frazil];
        for word in head {
            sum.update(word.as_bytes());
            sum.update([0]);
        }
        sum.update(format!("{} {}\n", self.frazil_delivery, self.size_bytes));
        let mut line = String::new();
        for file in &self.files {
            line.clear();
            let _ = writeln!(line, "{}\0{}\0{}", file.name, file.size_bytes, file.sha256);
            sum.update(line.as_bytes());
        }
        hex(&sum.finalize())
    }

    /// Reads one, with all that may be wrong with it.
    pub(crate) fn parse(text: &str, place: &Place) -> Result<Self, TransferError> {
        let wrong = |reason: String| TransferError::BadManifest { place: place.shown(), reason };
        let manifest: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        manifest.checked(place)
    }

    /// The manifest, if it is one that frazil writes and names nothing outside its folder.
    pub(crate) fn checked(self, place: &Place) -> Result<Self, TransferError> {
        let wrong = |reason: String| TransferError::BadManifest { place: place.shown(), reason };
        if self.frazil_delivery != VERSION {
            return Err(wrong(format!("its form is version {}", self.frazil_delivery)));
        }
        if self.seal != self.seal_of() {
            return Err(wrong("its seal does not fit what it says".into()));
        }
        if let Some(pair) = self.files.windows(2).find(|pair| matches!(pair, [a, b] if a.name >= b.name)) {
            let names: Vec<&str> = pair.iter().map(|file| file.name.as_str()).collect();
            return Err(wrong(match names.as_slice() {
                [a, b] if a == b => format!("it names `{a}` twice"),
                _ => format!("its files are not sorted by name: {}", names.join(", ")),
            }));
        }
        for file in &self.files {
            if let Some(reason) = unsafe_name(&file.name).or_else(|| reserved(&file.name)) {
                return Err(wrong(format!("it names `{}`: {reason}", file.name)));
            }
        }
        if self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size_bytes)) != Some(self.size_bytes) {
            return Err(wrong("its size is not that of its files".into()));
        }
        Ok(self)
    }

    /// How the files of another differ, if they do.
    #[must_use]
    pub fn first_difference(&self, files: &[Entry]) -> Option<String> {
        let mut there = self.files.iter().zip(files);
        if let Some((a, b)) = there.find(|(a, b)| a != b) {
            return Some(match a.name == b.name {
                true => format!("`{}` has other bytes there", a.name),
                false => format!("`{}` is not in both", a.name.as_str().min(&b.name)),
            });
        }
        let (n_there, n_here) = (self.files.len(), files.len());
        (n_there != n_here).then(|| format!("it has {n_there} files, and here are {n_here}"))
    }
}

/// Names that a file of a delivery cannot have.
fn reserved(name: &str) -> Option<&'static str> {
    OWN.contains(&name).then_some("a delivery keeps what it says of itself under that name")
}

/// A small text of a folder; nothing if it is not there.
fn text(folder: &Place, name: &str) -> Result<Option<String>, TransferError> {
    match folder.below(name) {
        Place::Local(path) => match small::text(&path, MOST_MANIFEST_BYTES) {
            Err(StoreError::Read { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
                let reason = format!("`{name}`: {source}");
                Err(TransferError::BadManifest { place: folder.shown(), reason })
            }
            text => Ok(text?),
        },
        Place::Bucket { bucket, key } => Ok(bucket.text(&key, MOST_MANIFEST_BYTES)?),
        Place::Web(location) => Err(TransferError::NoListing { place: location.to_string() }),
    }
}

/// What is put where nothing may be yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    /// Only if nothing is there.
    New,
    /// Whatever is there.
    Over,
}

/// Puts a small text whole. Answers whether it did: not if something is there that must stay.
fn put_text(folder: &Place, name: &str, text: &str, how: Put) -> Result<bool, TransferError> {
    match folder {
        Place::Bucket { bucket, .. } => {
            let Place::Bucket { key, .. } = folder.below(name) else { return Ok(false) };
            let when = if how == Put::New { When::Absent } else { When::Always };
            match bucket.put(&key, text.as_bytes(), when) {
                Ok(_) => Ok(true),
                Err(StoreError::Taken { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        Place::Local(path) => {
            let beneath = Beneath::open(path)?;
            if how == Put::Over {
                beneath.put(name, text.as_bytes())?;
                beneath.sync_all()?;
                beneath.tidy();
                return Ok(true);
            }
            let staged = staging_name();
            let failed = |error| StoreError::writing(&path.join(name), text.len() as u64, error);
            let mut file = beneath.stage(&staged)?;
            std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
            beneath.sync_all()?;
            // A second name for a file is given only where there is none.
            let linked = std::fs::hard_link(path.join(frazil_store::folder::STAGING).join(&staged), path.join(name));
            beneath.drop_staged(&staged);
            beneath.tidy();
            match linked {
                Ok(()) => {
                    beneath.sync_all()?;
                    Ok(true)
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(failed(error).into()),
            }
        }
        Place::Web(location) => {
            let (place, reason) = (location.to_string(), "a web server takes no files");
            Err(TransferError::NotWritable { place, reason })
        }
    }
}
