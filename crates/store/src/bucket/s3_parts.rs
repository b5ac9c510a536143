//! The parts of an upload that a server of S3 has.

use super::{
    dialect::{Dialect, Part, Upload},
    documents::{PartEntry, PartsPage},
    s3::{MAX_PAGE_BYTES, MOST_PAGES, S3, sent_in_query},
};
use crate::{error::StoreError, web};

impl S3 {
    fn part_entries(&self, upload: &Upload) -> Result<Vec<PartEntry>, StoreError> {
        let location = self.location(&upload.key);
        let mut found = Vec::new();
        let mut after = 0;
        for _ in 0..MOST_PAGES {
            let query = format!("part-number-marker={after}&uploadId={}", sent_in_query(&upload.id));
            let text = web::text(&location, &self.way_with(&upload.key, Some(query)), MAX_PAGE_BYTES)?;
            let page: PartsPage = quick_xml::de::from_str(&text).map_err(|error| self.nonsense(&upload.key, error))?;
            let next = page.next_part_number_marker.filter(|next| page.is_truncated && *next > after);
            found.extend(page.part);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(found)
    }

    /// The parts.
    pub fn listed_parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        Ok(self.part_entries(upload)?.into_iter().map(PartEntry::part).collect())
    }

    /// When the last of them arrived, in seconds since 1970; nothing if there is none.
    pub fn newest_part_seconds(&self, upload: &Upload) -> Result<Option<u64>, StoreError> {
        Ok(self.part_entries(upload)?.iter().filter_map(PartEntry::written_seconds).max())
    }
}
