//! Objects that are read whole, and what time it is where they lie.

use std::io::Read;

use super::Bucket;
use crate::{
    address::Address,
    asking::{again, follow, is_packed, packed, read_exactly, refusal, with_retries},
    error::StoreError,
    manners::count_received,
    open::Ask,
    settled::seconds_of_web_date,
};

impl Bucket {
    /// Where the server has an object.
    pub(crate) fn address(&self, key: &str) -> Address {
        self.dialect.way_to(&self.key(key)).address
    }

    /// Reads an object of at most `limit_bytes` in one request; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is larger.
    pub fn get(&self, key: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let (location, way) = (self.location(key), self.dialect.way_to(&self.key(key)));
        let too_large = || StoreError::TooLarge { location: location.clone(), limit_bytes };
        let got = with_retries(&location, &way, |manners| {
            let (mut answer, _turn) = follow(&location, &way, Ask::Whole { limit_bytes }, manners)?;
            if answer.status != 200 {
                return Err(refusal(&location, &way, &mut answer));
            }
            if is_packed(&answer) {
                return Err(packed(&location, &answer).into());
            }
            let mut bytes = Vec::new();
            match answer.header("content-length").and_then(|text| text.parse::<u64>().ok()) {
                Some(n_bytes) if n_bytes > limit_bytes => return Err(too_large().into()),
                Some(n_bytes) => read_exactly(&mut answer, n_bytes, &mut bytes)?,
                None => {
                    let read = (&mut answer.body).take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
                    count_received(bytes.len() as u64);
                    read.map_err(|_| again("the answer broke off"))?;
                    if bytes.len() as u64 > limit_bytes {
                        return Err(too_large().into());
                    }
                }
            }
            Ok(bytes)
        });
        match got {
            Err(StoreError::Absent { code, .. })
                if !matches!(code.as_deref(), Some("NoSuchBucket" | "ContainerNotFound")) =>
            {
                Ok(None)
            }
            got => got.map(Some),
        }
    }

    /// What time it is by the server's clock, in seconds since 1970, as the answer to a question about `key` says;
    /// `None` if it does not.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn server_seconds(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let (location, way) = (self.location(key), self.dialect.way_to(&self.key(key)));
        with_retries(&location, &way, |manners| {
            let (mut answer, _turn) = follow(&location, &way, Ask::Head, manners)?;
            match answer.status {
                200 | 404 | 405 => Ok(answer.header("date").and_then(seconds_of_web_date)),
                _ => Err(refusal(&location, &way, &mut answer)),
            }
        })
    }

    /// The same of whoever may perhaps only list what begins with `prefix`; `None` if nobody says.
    ///
    /// # Errors
    /// Why what begins with it may not be listed, either.
    pub fn clock_seconds(&self, prefix: &str) -> Result<Option<u64>, StoreError> {
        // At Azure a container is no object that could be asked about; whoever may only list is told by the bucket itself.
        let first = if prefix.is_empty() { ".frazil-clock" } else { prefix };
        for key in [first, ""] {
            match self.server_seconds(key) {
                Err(StoreError::Denied { .. }) => {}
                now => return now,
            }
        }
        // An answer to HEAD has no words for what is wrong; an answer to a listing has.
        match self.pages(prefix, super::Depth::One).next() {
            Some(Err(error)) => Err(error),
            _ => Ok(None),
        }
    }
}
