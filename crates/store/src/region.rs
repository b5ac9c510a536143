//! Buckets of Amazon in another region than the one that is signed for.
//!
//! It promises that only Amazon's own hosts are left for one another, that the bucket stays the same, and that a region is
//! learned once. Source: the Amazon S3 User Guide, "Making requests", redirects and `x-amz-bucket-region`.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{asking::Way, open::Answer};

/// The end of the hosts that send one to another.
const AMAZON: &str = ".amazonaws.com";

/// The region of a bucket, by the host and, where that is shared, the bucket in the path.
static LEARNED: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// What regions are learned by.
fn place(way: &Way) -> String {
    let authority = way.address.authority();
    let bucket = way.address.path().split('/').nth(1).filter(|_| authority.starts_with("s3"));
    format!("{authority}/{}", bucket.unwrap_or_default())
}

/// The region that an answer names, if it is another than the one that was asked.
pub(crate) fn said<'a>(way: &Way, answer: &'a Answer) -> Option<&'a str> {
    let is_sent_away = matches!(answer.status, 301 | 307 | 400) && way.signer.is_some();
    let region = answer.header("x-amz-bucket-region").filter(|_| is_sent_away)?;
    in_region(way.address.authority(), region).map(|_| region)
}

/// The host of another region; `None` if it is the same, or no region.
fn in_region(authority: &str, region: &str) -> Option<String> {
    let is_region = (3..=32).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let (before, old) = authority.strip_suffix(AMAZON)?.rsplit_once('.')?;
    (is_region && old != region && !old.starts_with("s3")).then(|| format!("{before}.{region}{AMAZON}"))
}

/// Leads the way to the region; false if it leads there already.
pub(crate) fn lead_to(way: &mut Way, region: &str) -> bool {
    let before = place(way);
    if !lead_once(way, region) {
        return false;
    }
    LEARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(before, region.to_owned());
    true
}

fn lead_once(way: &mut Way, region: &str) -> bool {
    let signer = way.signer.as_ref().and_then(|signer| signer.for_region(region));
    let authority = in_region(way.address.authority(), region);
    let (Some(signer), Some(authority)) = (signer, authority) else { return false };
    way.signer = Some(signer);
    way.address = way.address.with_authority(authority);
    true
}

/// Leads the way to the region that was learned of its bucket.
pub(crate) fn lead(way: &mut Way) {
    if way.signer.is_none() || !way.address.authority().ends_with(AMAZON) {
        return;
    }
    let region = LEARNED.lock().unwrap_or_else(PoisonError::into_inner).get(&place(way)).cloned();
    if let Some(region) = region {
        lead_once(way, &region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_amazon_are_left_for_another_region() {
        let lead = |authority: &str, region: &str| in_region(authority, region).unwrap_or_default();
        assert_eq!(lead("b.s3.us-east-1.amazonaws.com", "eu-west-1"), "b.s3.eu-west-1.amazonaws.com");
        assert_eq!(lead("s3.dualstack.us-east-1.amazonaws.com", "eu-west-1"), "s3.dualstack.eu-west-1.amazonaws.com");
        assert_eq!(lead("b.s3.us-east-1.amazonaws.com", "us-east-1"), "");
        assert_eq!(lead("b.s3.us-east-1.amazonaws.com", "evil.example/"), "");
        assert_eq!(lead("b.s3.us-east-1.amazonaws.com.evil.example", "eu-west-1"), "");
        assert_eq!(lead("127.0.0.1:8000", "eu-west-1"), "");
    }
}
