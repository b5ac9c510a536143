//! A part of a dataset, as it is written behind a place: `STORE?sst,ice&time=2000/2010&bbox=-30,40,10,60`.
//!
//! Names of variables come first, labels of coordinates and a box of latitudes and longitudes after them, with `&`
//! between. It promises that a question mark which may be part of a name or of an address is left to them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::recipe::{
    amount::bad,
    error::Fault,
    read::shortened,
    span::Spanned,
    spec::{Pick, Selection},
};

/// Names, picks and boxes of one subset.
const MOST_PARTS: usize = 256;

/// How places end that a subset can be written behind.
const ENDINGS: [&str; 14] = [
    "/", ".zarr", ".nc", ".nc3", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".hdf", ".json", ".parq", ".parquet", ".dmrpp",
];

/// A part of a dataset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Subset {
    /// Variables; all if none is named.
    pub names: Vec<String>,
    /// Labels along coordinates.
    pub select: Selection,
    /// A box of latitudes and longitudes.
    pub bbox: Option<Bbox>,
}

/// A box of longitudes and latitudes, in degrees. One whose west lies east of its east goes over the 180th meridian.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Bbox {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

impl Bbox {
    /// How many degrees of longitude it spans.
    #[must_use]
    pub fn width(&self) -> f64 {
        if self.west <= self.east { self.east - self.west } else { self.east + 360.0 - self.west }
    }
}

impl FromStr for Bbox {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let numbers: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        let [west, south, east, north] = numbers[..] else {
            return Err(bad(format!(
                "`{}` is not written like `-30,40,10,60`: west, south, east, north",
                shortened(text)
            )));
        };
        if text.split(',').count() != 4 || ![west, east].iter().all(|at| (-360.0..=360.0).contains(at)) {
            return Err(bad("west and east are longitudes from -360 to 360".to_owned()));
        }
        if ![south, north].iter().all(|at| (-90.0..=90.0).contains(at)) || south > north {
            return Err(bad("latitudes go from south to north, from -90 to 90".to_owned()));
        }
        let bbox = Self { west, south, east, north };
        if !(0.0..=360.0).contains(&bbox.width()) {
            return Err(bad("the box goes around the world more than once".to_owned()));
        }
        Ok(bbox)
    }
}

impl FromStr for Subset {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut subset = Self::default();
        let mut picks: Vec<(Spanned<String>, Pick)> = Vec::new();
        for (number, part) in text.split('&').enumerate() {
            if number >= MOST_PARTS {
                return Err(Fault::TooLarge { what: "the number of its parts".to_owned(), limit: MOST_PARTS as u64 });
            }
            match part.split_once('=') {
                None if number == 0 => {
                    let names = part.split(',').map(str::trim).filter(|name| !name.is_empty());
                    subset.names = names.map(str::to_owned).collect();
                }
                None => {
                    return Err(bad(format!("`{}` is not written like `time=2000/2010`", shortened(part))));
                }
                Some(("bbox", value)) if subset.bbox.is_none() => subset.bbox = Some(value.parse()?),
                Some((name, value)) => {
                    let name = name.trim();
                    if name.is_empty() || name == "bbox" || picks.iter().any(|(known, _)| known.value == name) {
                        return Err(bad(format!("`{}` is given twice, or has no name", shortened(name))));
                    }
                    picks.push((Spanned::unplaced(name.to_owned()), value.parse()?));
                }
            }
        }
        picks.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
        subset.select = Selection(picks);
        if subset == Self::default() {
            return Err(bad(
                "a question mark is followed by variables, labels or a box: `?sst&time=2000/2010`".to_owned()
            ));
        }
        Ok(subset)
    }
}

/// The place and what stands behind its question mark; `None` if there is no subset.
///
/// `is_there` says whether a text is the path of something: then no sign of it is a question mark.
#[must_use]
pub fn split<'t>(text: &'t str, is_there: &dyn Fn(&str) -> bool) -> Option<(&'t str, &'t str)> {
    if is_there(text) {
        return None;
    }
    let is_address = text.starts_with("http://") || text.starts_with("https://");
    // The first question mark of an address begins its query, unless a store stands before it; of a pattern one sign.
    let ends = |place: &str| ENDINGS.iter().any(|ending| place.ends_with(ending));
    text.match_indices('?').map(|(at, _)| (&text[..at], &text[at + 1..])).find(|(place, _)| match is_address {
        true => place.ends_with(".zarr") || place.ends_with(".zarr/"),
        false => ends(place) || is_there(place),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_variables_labels_and_a_box() {
        let subset: Subset = "sst,ice&time=2000/2010&bbox=-30,40,10,60".parse().unwrap();
        assert_eq!(subset.names, ["sst", "ice"]);
        assert_eq!(subset.select, "time=2000/2010".parse().unwrap());
        assert_eq!(subset.bbox, Some(Bbox { west: -30.0, south: 40.0, east: 10.0, north: 60.0 }));
        assert_eq!("time=2001".parse::<Subset>().unwrap().names, Vec::<String>::new());
        assert_eq!("&depth=5".parse::<Subset>().unwrap().select.0.len(), 1);
        for wrong in
            ["", "&", "sst&ice", "sst&time=", "sst&time=1&time=2", "sst&bbox=1,2,3", "bbox=0,0,1,1&bbox=0,0,1,1"]
        {
            assert!(wrong.parse::<Subset>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_box_lies_on_the_earth() {
        let width = |text: &str| text.parse::<Bbox>().map(|bbox| bbox.width()).ok();
        assert_eq!(width("-10,0,10,20"), Some(20.0));
        assert_eq!(width("170,-5,-170,5"), Some(20.0));
        assert_eq!(width("-180,-90,180,90"), Some(360.0));
        for wrong in ["0,10,1,0", "0,-91,1,0", "0,0,361,0", "-180,0,200,1", "0,0,nan,1", "0,0,1,1,1", "a,0,1,1"] {
            assert_eq!(width(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_question_mark_may_be_part_of_a_name() {
        let parts = |text: &'static str| split(text, &|path| path == "a?b.nc" || path == "store");
        assert_eq!(parts("a.zarr?sst"), Some(("a.zarr", "sst")));
        assert_eq!(parts("store?sst"), Some(("store", "sst")));
        assert_eq!(parts("data/*.nc?sst&time=2001"), Some(("data/*.nc", "sst&time=2001")));
        assert_eq!(parts("sst.200?.nc?sst"), Some(("sst.200?.nc", "sst")));
        for name in ["a?b.nc", "sst.200?.nc", "a.nc", "https://h/a.nc?token=x", "https://h/d/?list"] {
            assert_eq!(parts(name), None, "{name}");
        }
        assert_eq!(parts("https://h/a.zarr?sst"), Some(("https://h/a.zarr", "sst")));
    }
}
