//! The JSON documents of Google Cloud Storage.
//!
//! Source: the Cloud Storage JSON API reference. Numbers stand there as texts. What a server adds is passed over.

use serde::{Deserialize, Deserializer};

use super::dialect::{Digest, Listed, Page, State};
use crate::{digest::bytes_of_base64, settled::seconds_of_any_rfc3339};

/// What is said of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    name: String,
    #[serde(deserialize_with = "number")]
    size: u64,
    #[serde(default, deserialize_with = "text")]
    generation: String,
    md5_hash: Option<String>,
    crc32c: Option<String>,
    updated: Option<String>,
}

/// A number, or a text that is one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Number::deserialize(from)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(|_| serde::de::Error::custom("a size is no number")),
    }
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Number::deserialize(from)? {
        Number::Number(number) => number.to_string(),
        Number::Text(text) => text,
    })
}

impl Resource {
    /// An object in our nouns.
    pub fn read(text: &str) -> Result<Listed, String> {
        serde_json::from_str::<Self>(text).map(Self::listed).map_err(|error| error.to_string())
    }

    fn listed(self) -> Listed {
        let bytes = |text: &Option<String>| bytes_of_base64(text.as_deref()?);
        let md5 = bytes(&self.md5_hash).and_then(|bytes| bytes.try_into().ok()).map(Digest::Md5);
        let crc = || bytes(&self.crc32c)?.try_into().ok().map(|bytes| Digest::Crc32c(u32::from_be_bytes(bytes)));
        Listed {
            size_bytes: self.size,
            state: State::new(&self.generation, md5.or_else(crc)),
            modified_seconds: self.updated.as_deref().and_then(seconds_of_any_rfc3339),
            key: self.name,
        }
    }
}

/// A page of a listing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    kind: Option<String>,
    #[serde(default)]
    items: Vec<Resource>,
    #[serde(default)]
    prefixes: Vec<String>,
    next_page_token: Option<String>,
}

impl Listing {
    /// The page in our nouns.
    pub fn read(text: &str, asked_after: Option<&str>) -> Result<Page, String> {
        let page: Self = serde_json::from_str(text).map_err(|error| format!("the listing makes no sense: {error}"))?;
        if page.kind.as_deref() != Some("storage#objects") {
            return Err("the listing makes no sense: it is something else".into());
        }
        let next = page.next_page_token.filter(|token| !token.is_empty());
        if next.is_some() && next.as_deref() == asked_after {
            return Err("the listing was cut short and does not say how it goes on".into());
        }
        Ok(Page { objects: page.items.into_iter().map(Resource::listed).collect(), folders: page.prefixes, next })
    }
}

/// The names on a page of buckets, and what the next page is asked for with.
pub(super) fn buckets_of(text: &str, asked_after: Option<&str>) -> Result<(Vec<String>, Option<String>), String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Buckets {
        #[serde(default)]
        items: Vec<Named>,
        next_page_token: Option<String>,
    }
    let page: Buckets = serde_json::from_str(text).map_err(|error| format!("the listing makes no sense: {error}"))?;
    let next = page.next_page_token.filter(|token| !token.is_empty());
    if next.is_some() && next.as_deref() == asked_after {
        return Err("the listing was cut short and does not say how it goes on".into());
    }
    Ok((page.items.into_iter().map(|bucket| bucket.name).collect(), next))
}

/// How far a copy is.
pub(super) enum Rewritten {
    /// It is whole.
    Done(Listed),
    /// It goes on if it is asked for again with this.
    GoesOn {
        /// What says where it was.
        token: String,
    },
}

impl Rewritten {
    pub fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            done: bool,
            rewrite_token: Option<String>,
            resource: Option<Resource>,
        }
        let answer: Answer = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match answer {
            Answer { done: true, resource: Some(resource), .. } => Ok(Self::Done(resource.listed())),
            Answer { done: false, rewrite_token: Some(token), .. } => Ok(Self::GoesOn { token }),
            _ => Err("a copy is neither done nor does it go on".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_is_there_and_how_it_goes_on() {
        let text = r#"{"kind":"storage#objects","nextPageToken":"t","prefixes":["d/"],"items":[
            {"name":"a//b","size":"3","generation":"17","md5Hash":"kAFQmDzST7DWlj99KOF/cg==","crc32c":"NhCmhg==",
             "updated":"2026-11-20T17:42:17.123Z"},{"name":"c","size":4,"generation":1,"crc32c":"NhCmhg=="}]}"#;
        let page = Listing::read(text, None).unwrap();
        let first = &page.objects[0];
        assert_eq!((first.key.as_str(), first.size_bytes, first.state.tag().as_str()), ("a//b", 3, "17"));
        assert_eq!(first.state.digest, Some(Digest::Md5(crate::digest::md5(b"abc"))));
        assert_eq!(first.modified_seconds, Some(1_795_196_537));
        assert_eq!(page.objects[1].state.digest, Some(Digest::Crc32c(0x3610_a686)));
        assert_eq!((page.folders, page.next), (vec!["d/".to_owned()], Some("t".to_owned())));
        assert!(Listing::read(text, Some("t")).is_err(), "a page that leads to itself");
        assert!(Listing::read("{\"items\":[{\"name\":\"x\"", None).is_err());
        assert!(Listing::read("{\"items\":[{\"name\":\"x\"}]}", None).is_err(), "no size");
        assert!(Listing::read("{\"error\":{}}", None).is_err(), "something else");
        assert!(Listing::read(r#"{"kind":"storage#objects"}"#, None).is_ok_and(|page| page.objects.is_empty()));
    }

    #[test]
    fn a_copy_is_done_or_goes_on() {
        assert!(matches!(Rewritten::read(r#"{"done":false,"rewriteToken":"r"}"#), Ok(Rewritten::GoesOn { .. })));
        assert!(matches!(
            Rewritten::read(r#"{"done":true,"resource":{"name":"a","size":"1","generation":"2"}}"#),
            Ok(Rewritten::Done(_))
        ));
        assert!(Rewritten::read(r#"{"done":true}"#).is_err());
    }
}
