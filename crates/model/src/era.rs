//! Eras: files of one series that are alike, and in what others differ from most of them.
//!
//! A file's signature is a list of aspects, each with its value in words: `sst: dtype` is `float32`. It promises that
//! two files are in one era exactly if all aspects that are compared agree. It does not know what the aspects mean.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// An aspect with more values than this, in more than half of the files each its own, tells no eras apart.
const MANY_VALUES: usize = 8;

/// Aspects with their values, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Signature(pub BTreeMap<String, String>);

/// Files that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Era {
    /// How many.
    pub n_files: usize,
    /// The first, in the order given.
    pub first: String,
    /// The last.
    pub last: String,
    /// The files by number, in the order given.
    #[serde(skip)]
    pub files: Vec<usize>,
    /// In what they differ from the era of the most files; nothing for that one.
    pub differs: Vec<Difference>,
}

/// One aspect in which an era differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The aspect: `sst: dtype`.
    pub what: String,
    /// Its value here; `None` if there is no such thing here.
    pub here: Option<String>,
    /// Its value in the era of the most files.
    pub most: Option<String>,
}

/// The table of eras.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Eras {
    /// The era of the most files first, then in the order of their first files.
    pub eras: Vec<Era>,
    /// Aspects that differ in nearly every file, and so tell no eras apart.
    pub varies: Vec<String>,
}

/// Groups files by their signatures.
#[must_use]
pub fn eras(files: &[(String, Signature)]) -> Eras {
    let varies = varying(files);
    let mut groups: Vec<(BTreeMap<&str, &str>, Vec<usize>)> = Vec::new();
    let mut known: HashMap<Vec<(&str, &str)>, usize> = HashMap::new();
    for (number, (_, signature)) in files.iter().enumerate() {
        let aspects = signature.0.iter().filter(|(what, _)| !varies.contains(what.as_str()));
        let aspects: Vec<(&str, &str)> = aspects.map(|(what, value)| (what.as_str(), value.as_str())).collect();
        let group = *known.entry(aspects).or_insert_with_key(|aspects| {
            groups.push((aspects.iter().copied().collect(), Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(number);
    }
    // Of two eras of as many files the first stands.
    let most = (0..groups.len()).max_by_key(|group| (groups[*group].1.len(), usize::MAX - group));
    let Some(most) = most else { return Eras::default() };
    groups.swap(0, most);
    groups[1..].sort_by_key(|(_, numbers)| numbers.first().copied());
    let name = |number: Option<&usize>| number.and_then(|n| files.get(*n)).map(|(name, _)| name.clone());
    let eras = groups
        .iter()
        .map(|(aspects, numbers)| Era {
            n_files: numbers.len(),
            first: name(numbers.first()).unwrap_or_default(),
            last: name(numbers.last()).unwrap_or_default(),
            files: numbers.clone(),
            differs: differences(aspects, &groups[0].0),
        })
        .collect();
    Eras { eras, varies: varies.into_iter().map(str::to_owned).collect() }
}

/// Aspects that have a value of their own in most files.
fn varying(files: &[(String, Signature)]) -> BTreeSet<&str> {
    let mut values: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for (_, signature) in files {
        for (what, value) in &signature.0 {
            values.entry(what).or_default().insert(value);
        }
    }
    let is_many = |n: usize| n > MANY_VALUES.max(files.len() / 2);
    values.into_iter().filter(|(_, values)| is_many(values.len())).map(|(what, _)| what).collect()
}

fn differences(here: &BTreeMap<&str, &str>, most: &BTreeMap<&str, &str>) -> Vec<Difference> {
    let names: BTreeSet<&str> = here.keys().chain(most.keys()).copied().collect();
    let value = |aspects: &BTreeMap<&str, &str>, what: &str| aspects.get(what).map(|value| (*value).to_owned());
    names
        .into_iter()
        .map(|what| Difference { what: what.to_owned(), here: value(here, what), most: value(most, what) })
        .filter(|difference| difference.here != difference.most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file a line: name, then `aspect=value` words.
    fn table(text: &str) -> Vec<String> {
        let files: Vec<(String, Signature)> = text
            .lines()
            .map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next().unwrap().to_owned();
                let aspects = words.map(|word| word.split_once('=').unwrap()).map(|(a, b)| (a.into(), b.into()));
                (name, Signature(aspects.collect()))
            })
            .collect();
        let show = |era: &Era| {
            let differs: Vec<String> = era
                .differs
                .iter()
                .map(|d| format!("{} {:?} not {:?}", d.what, d.here.as_deref(), d.most.as_deref()))
                .collect();
            format!("{} {}..{} {}", era.n_files, era.first, era.last, differs.join("; "))
        };
        eras(&files).eras.iter().map(show).collect()
    }

    #[test]
    fn the_largest_era_is_first_and_others_say_in_what_they_differ() {
        assert_eq!(
            table("1.nc sst=f4 units=K\n2.nc sst=f4 units=degC\n3.nc sst=f4 units=degC\n4.nc units=degC"),
            [
                "2 2.nc..3.nc ",
                "1 1.nc..1.nc units Some(\"K\") not Some(\"degC\")",
                "1 4.nc..4.nc sst None not Some(\"f4\")",
            ]
        );
        assert!(table("").is_empty());
    }

    #[test]
    fn what_differs_in_every_file_makes_no_eras() {
        let files: Vec<(String, Signature)> = (0..20)
            .map(|n| (format!("{n}"), Signature(BTreeMap::from([("time: units".to_owned(), format!("{n}"))]))))
            .collect();
        let found = eras(&files);
        assert_eq!((found.eras.len(), found.varies), (1, vec!["time: units".to_owned()]));
    }
}
