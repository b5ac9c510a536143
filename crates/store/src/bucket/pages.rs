//! A listing page by page, to its end.
//!
//! It promises that a listing is whole or an error, as far as its server can be asked: whoever says that a page is the
//! last one is asked once more for what follows the last name. What comes then belongs to the listing, whether the
//! server had cut it short or somebody has just written it. A listing of nothing is asked for twice.

use super::{
    Bucket,
    dialect::{Asked, Depth, Page},
};
use crate::{asking::lasting, error::StoreError};

/// A server that says so often that a listing is whole, and it is not, is believed no more.
const MOST_WRONG_ENDS: u32 = 8;

/// No name of a folder goes on with it: after it comes what is behind the folder.
const LAST_LETTER: char = char::MAX;

/// A listing under way. After an error it is over: what came before is not all there is.
#[derive(Debug)]
pub struct Pages {
    bucket: Bucket,
    prefix: String,
    depth: Depth,
    at: At,
    /// The last name so far, in the order of bytes.
    last: String,
    n_wrong_ends: u32,
}

#[derive(Debug)]
enum At {
    Start,
    Next(String),
    /// The server said that there is no more.
    SaidToBeWhole,
    Over,
}

impl Pages {
    pub(super) fn of(bucket: Bucket, prefix: String, depth: Depth) -> Self {
        Self { bucket, prefix, depth, at: At::Start, last: String::new(), n_wrong_ends: 0 }
    }

    fn page(&self, next: Option<&str>) -> Result<Page, StoreError> {
        let asked = Asked { prefix: &self.prefix, depth: self.depth, next };
        let page = self.bucket.dialect.page(&asked)?;
        // An empty page is rare, and a server that has lost its way gives one, too: it is asked twice.
        match page.objects.is_empty() && page.folders.is_empty() && page.next.is_none() {
            true => self.bucket.dialect.page(&asked),
            false => Ok(page),
        }
    }

    /// What comes after the last name, where that can be asked and there is anything.
    fn rest(&mut self) -> Result<Option<Page>, StoreError> {
        if self.last.is_empty() {
            return Ok(None);
        }
        let Some(mut page) = self.bucket.dialect.page_after(&self.prefix, self.depth, &self.last)? else {
            return Ok(None);
        };
        let n_named = page.objects.len() + page.folders.len();
        page.objects.retain(|object| object.key > self.last);
        page.folders.retain(|folder| *folder > self.last);
        let n_new = page.objects.len() + page.folders.len();
        // Whoever begins anew does not know the question. One name may be the last one itself.
        if n_new == 0 && (n_named > 1 || page.next.is_none()) {
            return Ok(None);
        }
        self.n_wrong_ends += 1;
        if self.n_wrong_ends > MOST_WRONG_ENDS {
            let reason = "the server says again and again that its listing is whole, and it is not";
            return Err(lasting(&self.bucket.dialect.location(&self.prefix), reason));
        }
        Ok(Some(page))
    }

    fn note(&mut self, page: &Page) {
        let folders = page.folders.iter().map(|folder| format!("{folder}{LAST_LETTER}"));
        let last = page.objects.iter().map(|object| object.key.as_str()).max();
        for name in last.map(str::to_owned).into_iter().chain(folders) {
            if name > self.last {
                self.last = name;
            }
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = match std::mem::replace(&mut self.at, At::Over) {
            At::Over => return None,
            At::Start => self.page(None),
            At::Next(token) => self.page(Some(&token)),
            At::SaidToBeWhole => self.rest().transpose()?,
        };
        Some(page.map(|mut page| {
            self.note(&page);
            self.at = page.next.clone().map_or(At::SaidToBeWhole, At::Next);
            page.objects = page.objects.into_iter().map(|listed| self.bucket.relative(listed)).collect();
            page.folders = page.folders.iter().map(|key| self.bucket.relative_key(key)).collect();
            page
        }))
    }
}
