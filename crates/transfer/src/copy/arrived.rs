//! A large file that is fetched: which parts of it have arrived, and their digests.
//!
//! It promises that a part counts as there only once its bytes are in the file, and that of another file, or of another state of
//! this one, none does.

use std::{
    collections::BTreeMap,
    io::Seek,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use frazil_store::{
    StoreError,
    beneath::Beneath,
    bucket::{Digest, Part, hex},
    digest::{LANES, md5_of_ranges},
};

use super::one::Source;

/// Which parts of a file have arrived, kept beside it.
pub(super) struct Done {
    pub numbers: Vec<u32>,
    list: Mutex<std::fs::File>,
}

impl Done {
    pub fn of(folder: &Beneath, list: &str, identity: &str) -> Result<Self, StoreError> {
        let text = folder.staged(list).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let mut lines = text.lines();
        let numbers = match lines.next() {
            Some(first) if first == identity => lines.filter_map(|line| line.parse().ok()).collect(),
            _ => Vec::new(),
        };
        let file = folder.stage(list)?;
        let mut begun = format!("{identity}\n");
        for number in &numbers {
            begun.push_str(&format!("{number}\n"));
        }
        let written = file.set_len(0).and_then(|()| file.write_all_at(begun.as_bytes(), 0));
        written.map_err(|error| StoreError::writing(&folder.path().join(list), 0, error))?;
        let mut file = file;
        let _ = file.seek(std::io::SeekFrom::End(0));
        Ok(Self { numbers, list: Mutex::new(file) })
    }

    pub fn note(&self, number: u32) -> std::io::Result<()> {
        use std::io::Write;
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.write_all(format!("{number}\n").as_bytes())
    }
}

/// Parts of a download that are in the file. Their MD5s are made of what the file holds, some parts at a time: that costs
/// little more than one, and needs no room for parts that wait.
pub(super) struct Arrived<'a> {
    file: &'a std::fs::File,
    /// Whether the server's digest is one of parts.
    is_asked: bool,
    waiting: Mutex<Vec<(u32, (u64, u64))>>,
    parts: Mutex<BTreeMap<u32, Part>>,
}

impl<'a> Arrived<'a> {
    pub fn of(file: &'a std::fs::File, source: &Source) -> Self {
        let is_asked = matches!(source.state.digest, Some(Digest::Md5OfParts { .. }));
        Self { file, is_asked, waiting: Mutex::default(), parts: Mutex::default() }
    }

    /// A part is there.
    pub fn note(&self, number: u32, range: (u64, u64)) -> std::io::Result<()> {
        if !self.is_asked {
            return Ok(());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((number, range));
        if waiting.len() < LANES {
            return Ok(());
        }
        let some = std::mem::take(&mut *waiting);
        drop(waiting);
        self.digest(&some)
    }

    fn digest(&self, some: &[(u32, (u64, u64))]) -> std::io::Result<()> {
        let ranges: Vec<(u64, u64)> = some.iter().map(|(_, range)| *range).collect();
        let digests = md5_of_ranges(self.file, &ranges)?;
        let made = some.iter().zip(digests).map(|((number, (offset, end)), digest)| {
            (*number, Part { number: *number, tag: hex(&digest), size_bytes: end - offset })
        });
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
        Ok(())
    }

    /// All of them, in their order.
    pub fn parts(self) -> std::io::Result<Vec<Part>> {
        let some = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.digest(&some)?;
        Ok(self.parts.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect())
    }
}
