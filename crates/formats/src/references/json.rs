//! Kerchunk's references as JSON, of both versions: <https://fsspec.github.io/kerchunk/spec.html>.
//!
//! The text is walked twice, first for the metadata and then for the references, so that no more than the tables is held.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    MAX_DOCUMENT_BYTES, MOST_REFERENCES, bad, base64,
    table::{Described, Tables, Target},
    template::{Names, Value, render},
    too_many,
};
use crate::{FormatError, zarr};

/// Templates of one document.
const MOST_TEMPLATES: usize = 100_000;

/// Rules of one document that make references.
const MOST_RULES: usize = 100_000;

/// Keys of documents of Zarr.
const DOCUMENTS_V2: [&str; 3] = [".zgroup", ".zarray", ".zattrs"];

/// Bytes of the metadata of a document.
const MOST_METADATA_BYTES: usize = 64 << 20;

/// Whether a file begins like one.
#[must_use]
pub fn looks_like_json(head: &[u8]) -> bool {
    head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a whole document.
///
/// # Errors
/// If it is no such document, or says more than its bounds allow.
pub fn read_json(bytes: &[u8]) -> Result<Described, FormatError> {
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(FormatError::TooLarge {
            what: "the document of references".into(),
            claimed: bytes.len() as u64,
            limit: MAX_DOCUMENT_BYTES,
        });
    }
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    let mut n_bytes = 0;
    let head = walk(bytes, &mut |key, target| {
        let name = key.rsplit('/').next().unwrap_or(key);
        if !DOCUMENTS_V2.contains(&name) && name != "zarr.json" {
            return Ok(());
        }
        let Stored::Text(text) = target else { return Err(bad(format!("`{key}` lies in another file"))) };
        let text = match text.strip_prefix("base64:").map(base64::decode) {
            None => text.into_owned(),
            Some(decoded) => decoded
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| bad(format!("`{key}` is no text")))?,
        };
        n_bytes += text.len();
        if n_bytes > MOST_METADATA_BYTES {
            return Err(too_many("the bytes of its metadata", n_bytes, MOST_METADATA_BYTES));
        }
        metadata.insert(key.to_owned(), text);
        Ok(())
    })?;
    let documents: Vec<(String, String)> = metadata.into_iter().collect();
    let zarr = if documents.iter().any(|(key, _)| key == "zarr.json") {
        let node =
            |(key, text): &(String, String)| Some((format!("/{}", key.strip_suffix("zarr.json")?), text.clone()));
        zarr::read_v3_documents(&documents.iter().filter_map(node).collect::<Vec<_>>())?
    } else if documents.is_empty() {
        return Err(bad("it is JSON, and names no array: it is no document of references"));
    } else {
        zarr::read_v2_documents(&documents)?
    };
    let mut tables = Tables::of(zarr);
    let names = Names { templates: Some(&head.templates), values: BTreeMap::new() };
    walk(bytes, &mut |key, stored| match stored {
        Stored::Text(text) => match text.strip_prefix("base64:") {
            Some(encoded) => {
                // Most texts are metadata, or of no array; whether one is a chunk, its key says.
                let bytes = base64::decode(encoded).ok_or_else(|| bad(format!("`{key}` is not Base64")))?;
                tables.put(key, &Target::Bytes(bytes.into()))
            }
            None => tables.put(key, &Target::Bytes(text.as_bytes().into())),
        },
        Stored::File(name, range) => {
            let name = if name.contains("{{") { render(&name, &names)?.into() } else { name };
            let (offset, length) = range.map_or((0, None), |(offset, length)| (offset, Some(length)));
            tables.put(key, &Target::File(name, offset, length))
        }
    })?;
    for rule in &head.rules {
        rule.make(&head.templates, &mut tables)?;
    }
    Ok(tables.finish("kerchunk"))
}

/// A value of a document.
enum Stored<'a> {
    Text(Cow<'a, str>),
    File(Cow<'a, str>, Option<(u64, u64)>),
}

/// What a document says besides its references.
#[derive(Default)]
struct Head {
    templates: BTreeMap<String, String>,
    rules: Vec<Rule>,
}

type See<'s> = &'s mut dyn FnMut(&str, Stored<'_>) -> Result<(), FormatError>;

/// Walks all references of a document.
fn walk(bytes: &[u8], see: See<'_>) -> Result<Head, FormatError> {
    let mut failed = None;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let walked = Top { see, failed: &mut failed }.deserialize(&mut reader).and_then(|head| reader.end().map(|()| head));
    match (walked, failed) {
        (_, Some(error)) => Err(error),
        (Ok(head), None) => Ok(head),
        (Err(error), None) => Err(bad(format!("it is no JSON that could be read: {error}"))),
    }
}

struct Top<'s, 'f> {
    see: See<'s>,
    failed: &'f mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = Head;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Head, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of references")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
        let mut head = Head::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => {
                    if map.next_value::<serde_json::Value>()?.as_u64() != Some(1) {
                        return Err(de::Error::custom("its version is not 1"));
                    }
                }
                "templates" => {
                    head.templates = map.next_value()?;
                    if head.templates.len() > MOST_TEMPLATES {
                        return Err(de::Error::custom("it has too many templates"));
                    }
                }
                "gen" => {
                    head.rules = map.next_value()?;
                    if head.rules.len() > MOST_RULES {
                        return Err(de::Error::custom("it has too many rules that make references"));
                    }
                }
                "refs" => map.next_value_seed(All { see: &mut *self.see, failed: &mut *self.failed })?,
                // Version 0 has its references at the top.
                _ => map.next_value_seed(One { key: &key, see: &mut *self.see, failed: &mut *self.failed })?,
            }
        }
        Ok(head)
    }
}

/// All references of an object.
struct All<'s, 'f> {
    see: See<'s>,
    failed: &'f mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for All<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for All<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of references")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            map.next_value_seed(One { key: &key, see: &mut *self.see, failed: &mut *self.failed })?;
        }
        Ok(())
    }
}

/// One reference.
struct One<'k, 's, 'f> {
    key: &'k str,
    see: See<'s>,
    failed: &'f mut Option<FormatError>,
}

impl One<'_, '_, '_> {
    fn done<E: de::Error>(self, stored: Stored<'_>) -> Result<(), E> {
        (self.see)(self.key, stored).map_err(|error| {
            let said = E::custom(&error);
            *self.failed = Some(error);
            said
        })
    }
}

impl<'de> DeserializeSeed<'de> for One<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a file with offset and length")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.done(Stored::Text(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        // Metadata as JSON within the JSON.
        let value = serde_json::Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
        self.done(Stored::Text(value.to_string().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some(name) = items.next_element::<Option<String>>()? else {
            return Err(de::Error::custom(format!("`{}` refers to nothing", self.key)));
        };
        let offset = items.next_element::<u64>()?;
        let length = items.next_element::<u64>()?;
        if items.next_element::<IgnoredAny>()?.is_some() || offset.is_some() != length.is_some() {
            return Err(de::Error::custom(format!(
                "`{}` is neither a file nor a file with offset and length",
                self.key
            )));
        }
        let Some(name) = name else {
            return Err(de::Error::custom(format!("`{}` refers to a file without a name", self.key)));
        };
        self.done(Stored::File(name.into(), offset.zip(length)))
    }
}

/// A rule that makes references.
#[derive(Deserialize)]
struct Rule {
    key: String,
    url: String,
    #[serde(default)]
    offset: Option<Written>,
    #[serde(default)]
    length: Option<Written>,
    #[serde(default)]
    dimensions: BTreeMap<String, Places>,
}

/// A number, or a template of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Template(String),
}

/// The values along a dimension.
#[derive(Deserialize)]
#[serde(untagged)]
enum Places {
    Listed(Vec<serde_json::Value>),
    Range {
        #[serde(default)]
        start: i64,
        stop: i64,
        #[serde(default)]
        step: Option<i64>,
    },
}

impl Places {
    fn len(&self) -> usize {
        match self {
            Self::Listed(values) => values.len(),
            Self::Range { start, stop, step } => {
                let (step, span) = (i128::from(step.unwrap_or(1)), i128::from(*stop) - i128::from(*start));
                if step == 0 || span.signum() != step.signum() {
                    return 0;
                }
                let n = (span.abs() + step.abs() - 1) / step.abs();
                usize::try_from(n).unwrap_or(usize::MAX)
            }
        }
    }

    fn value(&self, number: usize) -> Option<Value> {
        match self {
            Self::Listed(values) => match values.get(number)? {
                serde_json::Value::String(text) => Some(Value::Text(text.clone())),
                serde_json::Value::Number(number) => number.as_i64().map(Value::Number),
                _ => None,
            },
            Self::Range { start, step, .. } => {
                let far = step.unwrap_or(1).checked_mul(i64::try_from(number).ok()?)?;
                start.checked_add(far).map(Value::Number)
            }
        }
    }
}

impl Rule {
    fn make(&self, templates: &BTreeMap<String, String>, tables: &mut Tables) -> Result<(), FormatError> {
        let n_all = self.dimensions.values().fold(1_usize, |n, places| n.saturating_mul(places.len()));
        if n_all > MOST_REFERENCES {
            return Err(too_many("the number of references that a rule makes", n_all, MOST_REFERENCES));
        }
        let mut names = Names { templates: Some(templates), values: BTreeMap::new() };
        for number in 0..n_all {
            let mut rest = number;
            for (name, places) in self.dimensions.iter().rev() {
                let value = places.value(rest % places.len().max(1));
                let value = value.ok_or_else(|| bad(format!("dimension `{name}` has a value of no use")))?;
                names.values.insert(name.clone(), value);
                rest /= places.len().max(1);
            }
            let place = |written: &Written| match written {
                Written::Number(number) => Ok(*number),
                Written::Template(template) => {
                    let text = render(template, &names)?;
                    text.trim().parse().map_err(|_| bad(format!("`{text}` is no place in a file")))
                }
            };
            let (offset, length) = match (&self.offset, &self.length) {
                (Some(offset), Some(length)) => (place(offset)?, Some(place(length)?)),
                (None, None) => (0, None),
                _ => return Err(bad("a rule says an offset or a length, and not both")),
            };
            let url = render(&self.url, &names)?;
            tables.put(&render(&self.key, &names)?, &Target::File(url.into(), offset, length))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use frazil_model::manifest::ChunkTable;

    use super::*;

    const ARRAY: &str = r#"{\"zarr_format\":2,\"shape\":[4],\"chunks\":[2],\"dtype\":\"<i2\",\"compressor\":null,\"filters\":null,\"fill_value\":null,\"order\":\"C\"}"#;

    /// The chunks of the first array, as words.
    fn chunks(text: &str) -> Result<Vec<String>, String> {
        let text = text.replace("ARRAY", ARRAY);
        let described = read_json(text.as_bytes()).map_err(|error| error.to_string())?;
        let Some(referred) = described.decoded.manifest.referred else { return Err("nothing".into()) };
        let Some(ChunkTable::Referred(table)) = described.decoded.manifest.tables.first() else {
            return Err("no table".into());
        };
        let shown = table.index.iter().filter_map(|index| Some((index, table.find(*index)?)));
        Ok(shown
            .map(|(index, place)| match referred.files.get(place.file as usize) {
                Some(file) => format!("{index}: {file} {} {}", place.offset, place.length.cast_signed()),
                None => format!("{index}: inline {} {}", place.offset, place.length),
            })
            .collect())
    }

    #[test]
    fn both_versions_say_where_chunks_are() {
        let places = r#""x/.zarray": "ARRAY", "x/0": ["a.nc", 8, 4], "x/1": ["b.nc"]"#;
        let expected = ["0: a.nc 8 4", "1: b.nc 0 -1"].map(str::to_owned).to_vec();
        assert_eq!(chunks(&format!("{{{places}}}")), Ok(expected.clone()));
        assert_eq!(chunks(&format!(r#"{{"version": 1, "refs": {{{places}}}}}"#)), Ok(expected));
    }

    #[test]
    fn small_chunks_lie_in_the_document() {
        let found = chunks(r#"{"version":1,"refs":{"x/0":"base64:AQIDBA==","x/1":"abcd","x/.zarray":"ARRAY"}}"#);
        assert_eq!(found, Ok(vec!["0: inline 0 4".to_owned(), "1: inline 4 4".to_owned()]));
    }

    #[test]
    fn rules_make_references() {
        let found = chunks(
            r#"{"version":1,"templates":{"u":"h/d"},"refs":{"x/.zarray":"ARRAY"},
            "gen":[{"key":"x/{{i}}","url":"http://{{u}}_{{i}}","offset":"{{(i+1)*1000}}","length":"4","dimensions":{"i":{"stop":2}}}]}"#,
        );
        assert_eq!(found, Ok(vec!["0: http://h/d_0 1000 4".to_owned(), "1: http://h/d_1 2000 4".to_owned()]));
    }

    #[test]
    fn bombs_are_refused() {
        let many = r#"{"version":1,"refs":{"x/.zarray":"ARRAY"},"gen":[{"key":"x/{{i}}","url":"u","dimensions":{"i":{"stop":1000000000}}}]}"#;
        assert!(chunks(many).unwrap_err().contains("1000000000"));
        let product = r#"{"version":1,"refs":{"x/.zarray":"ARRAY"},"gen":[{"key":"x/{{i}}","url":"u","dimensions":{"i":{"stop":100000},"j":{"stop":100000},"k":{"start":-9223372036854775808,"stop":9223372036854775807}}}]}"#;
        assert!(chunks(product).is_err());
        assert!(chunks(&format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
        for wrong in [
            "{}",
            "[]",
            "{\"version\":2}",
            "{\"version\":1,\"refs\":{\"x/.zarray\":\"ARRAY\",\"x/0\":[\"u\",-1,4]}}",
            "{",
        ] {
            assert!(chunks(wrong).is_err(), "{wrong}");
        }
    }
}
