//! Chunks, codecs and selections: one grammar each, for recipes and for the command line.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{ByteOrder, Codec, CodecChain},
    recipe::{
        amount::{ByteSize, bad},
        date::{Moment, WrittenTime},
        error::Fault,
        read::shortened,
        span::{Position, Spanned},
        suggest::nearest,
    },
    time::Calendar,
};

/// How the arrays of a store are cut: `time=30,lat=360`, `auto`, `auto:100MB`, `auto:100MB:time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ChunkSpec {
    /// Lengths along the named dimensions, sorted by name; along others the whole length.
    Explicit(Vec<(Spanned<String>, ChunkLength)>),
    /// Chunks of about `target` decoded bytes.
    Auto {
        /// Decoded bytes of a chunk.
        target: ByteSize,
        /// What reads should be fast.
        favour: Favour,
    },
}

/// The length of a chunk along a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ChunkLength {
    /// So many elements, at least one.
    Elements(u64),
    /// The whole dimension: `full` or `-1`.
    Full,
}

/// What automatic chunks should serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Favour {
    /// Long in time, small in space: series at a point.
    Time,
    /// Short in time, whole maps.
    Map,
    /// Between the two.
    #[default]
    Balanced,
}

pub(crate) const FAVOURS: [(&str, Favour); 3] =
    [("time", Favour::Time), ("map", Favour::Map), ("balanced", Favour::Balanced)];

impl Default for ChunkSpec {
    fn default() -> Self {
        Self::Auto { target: ByteSize(100_000_000), favour: Favour::default() }
    }
}

impl FromStr for ChunkLength {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "full" | "-1" => Ok(Self::Full),
            _ => match text.parse() {
                Ok(length @ 1..) => Ok(Self::Elements(length)),
                _ => Err(bad(format!(
                    "a chunk's length is a whole number above 0, or `full`, not `{}`",
                    shortened(text)
                ))),
            },
        }
    }
}

impl FromStr for ChunkSpec {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut parts = text.split(':');
        if parts.next() == Some("auto") {
            let (mut target, mut favour) = (ByteSize(100_000_000), Favour::default());
            for part in parts {
                match FAVOURS.iter().find(|(name, _)| *name == part) {
                    Some((_, named)) => favour = *named,
                    None => target = part.parse()?,
                }
            }
            return Ok(Self::Auto { target, favour });
        }
        let mut lengths = Vec::new();
        for (name, length) in pairs(text, "time=30,lat=360")? {
            lengths.push((name, length.parse()?));
        }
        lengths.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
        Ok(Self::Explicit(lengths))
    }
}

/// How chunks are compressed: `zstd:5`, `blosc:zstd:3`, `shuffle+zstd:3`, `gzip:6`, `none`, `keep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum CodecSpec {
    /// As in the source: chunk bytes are passed on where that is possible.
    Keep,
    /// Not at all.
    None,
    /// Zstandard.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
    /// gzip.
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    /// Blosc with a byte shuffle.
    Blosc {
        /// The compressor inside: `zstd`, `lz4`, `lz4hc`, `zlib` or `blosclz`.
        cname: String,
        /// 0 to 9.
        clevel: u32,
    },
}

impl Default for CodecSpec {
    /// Shuffled Zstandard packs floats at several times the speed of Zstandard alone, and smaller.
    fn default() -> Self {
        Self::Blosc { cname: "zstd".to_owned(), clevel: 3 }
    }
}

impl CodecSpec {
    /// The chain for elements of `element_bytes`; `None` for `keep`, where the source decides.
    #[must_use]
    pub fn chain(&self, element_bytes: u32) -> Option<CodecChain> {
        let step = match self {
            Self::Keep => return None,
            Self::None => return Some(CodecChain::default()),
            Self::Zstd { level } => Codec::Zstd { level: Some(*level) },
            Self::Gzip { level } => Codec::Gzip { level: Some(*level) },
            Self::Blosc { cname, clevel } => Codec::Blosc {
                cname: cname.clone(),
                clevel: *clevel,
                shuffle: u32::from(element_bytes > 1),
                element_bytes,
            },
        };
        Some(CodecChain { byte_order: ByteOrder::Little, steps: vec![step] })
    }
}

impl FromStr for CodecSpec {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["keep"] => Ok(Self::Keep),
            ["none"] => Ok(Self::None),
            ["zstd", level @ ..] if level.len() < 2 => Ok(Self::Zstd { level: level_of(level, 3, 1..=22, text)? }),
            ["gzip", level @ ..] if level.len() < 2 => {
                Ok(Self::Gzip { level: level_of(level, 6, 0..=9, text)?.unsigned_abs() })
            }
            ["shuffle+zstd", level @ ..] if level.len() < 2 => blosc("zstd", level, text),
            ["blosc"] => Ok(Self::default()),
            ["blosc", cname, level @ ..] if level.len() < 2 => blosc(cname, level, text),
            _ => Err(unknown(text, &["zstd:5", "blosc:zstd:3", "shuffle+zstd:3", "gzip:6", "none", "keep"])),
        }
    }
}

fn blosc(cname: &str, level: &[&str], text: &str) -> Result<CodecSpec, Fault> {
    let known = ["zstd", "lz4", "lz4hc", "zlib", "blosclz"];
    if !known.contains(&cname) {
        return Err(unknown(cname, &known));
    }
    Ok(CodecSpec::Blosc { cname: cname.to_owned(), clevel: level_of(level, 3, 0..=9, text)?.unsigned_abs() })
}

fn level_of(given: &[&str], usual: i32, allowed: std::ops::RangeInclusive<i32>, text: &str) -> Result<i32, Fault> {
    let Some(level) = given.first() else { return Ok(usual) };
    match level.parse() {
        Ok(level) if allowed.contains(&level) => Ok(level),
        _ => Err(bad(format!(
            "`{}` of `{}` is no level: a number from {} to {}",
            shortened(level),
            shortened(text),
            allowed.start(),
            allowed.end()
        ))),
    }
}

fn unknown(value: &str, known: &[&str]) -> Fault {
    Fault::UnknownValue {
        key: String::new(),
        value: shortened(value),
        suggestion: nearest(value, known.iter().copied()),
        known: known.iter().map(|name| (*name).to_owned()).collect(),
    }
}

impl fmt::Display for CodecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::None => f.write_str("none"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Blosc { cname, clevel } => write!(f, "blosc:{cname}:{clevel}"),
        }
    }
}

/// What is taken along each named coordinate, by label: `time=2000/2010,lat=-10/10,depth=5`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection(pub Vec<(Spanned<String>, Pick)>);

/// Labels that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pick {
    /// One label; of times all that begin so: `2000` is the whole year.
    At(Label),
    /// From a label to another, both included; an end that is not given is the array's.
    Between(Option<Label>, Option<Label>),
}

/// A label as written. Whether it is a number or a time, the coordinate decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label(pub String);

impl Label {
    /// The label as a finite number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        self.0.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// The label as a time, from its first to its last second: `2000` is the whole year.
    #[must_use]
    pub fn time(&self) -> Option<WrittenTime> {
        self.0.parse().ok()
    }

    /// The same in a calendar whose February may be longer.
    #[must_use]
    pub fn time_in(&self, calendar: Calendar) -> Option<WrittenTime> {
        let in_long_february = || {
            let most = match calendar {
                Calendar::Days360 => 30,
                Calendar::AllLeap | Calendar::Julian | Calendar::Standard => 29,
                Calendar::NoLeap | Calendar::ProlepticGregorian => 28,
            };
            let (month, rest) =
                self.0.split_at_checked("2000-02-".len()).filter(|(month, _)| month.ends_with("-02-"))?;
            let (day, clock) = rest.split_at_checked(2)?;
            let day = day.parse().ok().filter(|day| (29..=most).contains(day))?;
            let written: WrittenTime = format!("{month}28{clock}").parse().ok()?;
            Some(WrittenTime { first: Moment { day, ..written.first }, last: Moment { day, ..written.last } })
        };
        self.time().or_else(in_long_february)
    }
}

impl Pick {
    /// The labels from one to another.
    ///
    /// # Errors
    /// If the first lies behind the second, as numbers or as times: nothing would be taken.
    pub fn between(from: Option<Label>, to: Option<Label>) -> Result<Self, Fault> {
        if let (Some(from), Some(to)) = (&from, &to) {
            let numbers = from.number().zip(to.number()).is_some_and(|(from, to)| from > to);
            let times = from.time().zip(to.time()).is_some_and(|(from, to)| from.first > to.last);
            if numbers || times {
                let reason = format!("`{}` to `{}` runs backwards", shortened(&from.0), shortened(&to.0));
                return Err(bad(reason));
            }
        }
        Ok(Self::Between(from, to))
    }
}

impl FromStr for Pick {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let label = |part: &str| (!part.trim().is_empty()).then(|| Label(part.trim().to_owned()));
        let pick = match text.split_once('/') {
            None => label(text).map(Self::At),
            Some((_, to)) if to.contains('/') => None,
            Some((from, to)) => match (label(from), label(to)) {
                (None, None) => None,
                (from, to) => Some(Self::between(from, to)?),
            },
        };
        pick.ok_or_else(|| {
            bad(format!("`{}` is not a label or a range such as `2000/2010` or `-10/10`", shortened(text)))
        })
    }
}

impl FromStr for Selection {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut picks = Vec::new();
        for (name, pick) in pairs(text, "time=2000/2010,lat=-10/10")? {
            picks.push((name, pick.parse()?));
        }
        picks.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
        Ok(Self(picks))
    }
}

/// `name=value` pairs with commas between them, each name once.
fn pairs<'t>(text: &'t str, example: &str) -> Result<Vec<(Spanned<String>, &'t str)>, Fault> {
    /// No array has so many dimensions.
    const MAX_PAIRS: usize = 64;
    let mut found: Vec<(Spanned<String>, &str)> = Vec::new();
    for part in text.split(',') {
        if found.len() >= MAX_PAIRS {
            return Err(Fault::TooLarge { what: "the number of names".to_owned(), limit: MAX_PAIRS as u64 });
        }
        let Some((name, value)) = part.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
            return Err(bad(format!("`{}` is not written like `{example}`", shortened(text))));
        };
        if name.is_empty() || value.is_empty() {
            return Err(bad(format!("`{}` is not written like `{example}`", shortened(text))));
        }
        if found.iter().any(|(known, _)| known.value == name) {
            return Err(bad(format!("`{}` is given twice", shortened(name))));
        }
        found.push((Spanned::new(name.to_owned(), Position::default()), value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: fmt::Debug>(pairs: &[(Spanned<String>, T)]) -> Vec<String> {
        pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn chunks_are_named_lengths_or_left_to_frazil() {
        let chunks: ChunkSpec = "time=30, lat=full".parse().unwrap();
        let ChunkSpec::Explicit(lengths) = chunks else { panic!("explicit") };
        assert_eq!(names(&lengths), ["lat=Full", "time=Elements(30)"]);
        assert_eq!("auto".parse(), Ok(ChunkSpec::default()));
        let auto = ChunkSpec::Auto { target: ByteSize(50_000_000), favour: Favour::Time };
        assert_eq!("auto:50MB:time".parse(), Ok(auto));
        for wrong in ["", "time", "time=0", "time=-2", "time=", "time=1,time=2", "auto:", "auto:big"] {
            assert!(wrong.parse::<ChunkSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_codec_has_one_meaning_and_shows_it() {
        for (text, shown) in [
            ("zstd:5", "zstd:5"),
            ("zstd", "zstd:3"),
            ("shuffle+zstd:3", "blosc:zstd:3"),
            ("blosc", "blosc:zstd:3"),
            ("blosc:lz4:5", "blosc:lz4:5"),
            ("gzip", "gzip:6"),
            ("none", "none"),
            ("keep", "keep"),
        ] {
            assert_eq!(text.parse::<CodecSpec>().map(|codec| codec.to_string()), Ok(shown.to_owned()));
        }
        for wrong in ["", "zstd:99", "zstd:3:4", "gzip:-1", "blosc:zip:3", "Zstd:3", "lzma", "blosc:zstd:3:1"] {
            assert!(wrong.parse::<CodecSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn single_bytes_are_not_shuffled() {
        let chain = CodecSpec::default().chain(1).unwrap();
        assert!(matches!(chain.steps.as_slice(), [Codec::Blosc { shuffle: 0, .. }]));
        assert_eq!(CodecSpec::Keep.chain(4), None);
    }

    #[test]
    fn a_selection_is_by_label() {
        let selection: Selection = "time=2000/2010,lat=-10/,depth=5".parse().unwrap();
        let label = |text: &str| Label(text.to_owned());
        assert_eq!(
            selection.0.into_iter().map(|(_, pick)| pick).collect::<Vec<_>>(),
            [
                Pick::At(label("5")),
                Pick::Between(Some(label("-10")), None),
                Pick::Between(Some(label("2000")), Some(label("2010"))),
            ],
        );
        assert_eq!(label("-10").number(), Some(-10.0));
        for wrong in ["", "time", "time=/", "time=1/2/3", "lat=10/-10", "time=2010-05/2010-04", "a=1,a=2"] {
            assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
        }
    }
}
