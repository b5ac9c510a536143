//! What `convert` and `build` say of a store that they made.

use frazil_engine::EngineError;
use frazil_model::{location::Location, recipe::write::ZarrFormat, report::Report};
use serde_json::Value;

use crate::output::bytes;

/// Files with the names that messages and receipts use: below the folder that all local files share, so that a
/// receipt does not depend on where that folder lies.
pub fn named(locations: impl Iterator<Item = Location>) -> Vec<(Location, String)> {
    let locations: Vec<Location> = locations.collect();
    let folder_of = |path: &str| path.rfind('/').map_or(0, |at| at + 1);
    let shared = locations
        .iter()
        .filter_map(|location| match location {
            Location::File(path) => Some(path[..folder_of(path)].to_owned()),
            Location::Http(_) => None,
        })
        .reduce(|a, b| {
            let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
            let cut = folder_of(a.get(..same).unwrap_or_default());
            a[..cut].to_owned()
        })
        .unwrap_or_default();
    locations
        .into_iter()
        .map(|location| {
            let name = match &location {
                Location::File(path) => path.strip_prefix(&shared).unwrap_or(path).to_owned(),
                Location::Http(_) => location.to_string(),
            };
            (location, name)
        })
        .collect()
}

/// Adds the command to go on with to an interruption.
pub fn with_resume_command(error: EngineError) -> EngineError {
    match error {
        EngineError::Interrupted { .. } => {
            let quoted = |word: String| {
                let is_plain = word.chars().all(|c| c.is_alphanumeric() || "-_./=:,@%+".contains(c));
                if is_plain && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
            };
            let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
            EngineError::Interrupted { resume: Some(format!("frazil {}", words.join(" "))) }
        }
        other => other,
    }
}

/// A Report of a store in words.
pub fn text(report: &Report, format: ZarrFormat) -> String {
    let number = |name: &str| report.totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let more = |name: &str| report.more.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let store = more("store");
    let version = match format {
        ZarrFormat::V2 => 2,
        ZarrFormat::V3 => 3,
    };
    let plan = format!(
        "plan: {} files · {} read → zarr {version}, {} arrays in {} chunks ({} decoded) · {} tasks · memory up to {}\n",
        number("files"),
        bytes(number("read_bytes")),
        number("arrays"),
        number("units"),
        bytes(number("decoded_bytes")),
        number("tasks"),
        bytes(number("peak_memory_bytes")),
    );
    match more("outcome").as_str() {
        "planned" => plan,
        "nothing-new" => format!("{store} holds every label already\n"),
        "plan-saved" => format!("{plan}saved beside {store}; do its parts with --part 1/N …, then --finish\n"),
        "part-done" => format!("part done; when all are: --finish\n"),
        "already-there" => {
            format!("{store} is there already, made of the same files: nothing was written\n{}", snippet(&store))
        }
        _ => format!("{plan}wrote {} · {}\n{}", bytes(number("written_bytes")), store, snippet(&store)),
    }
}

/// What opens the store, to be pasted.
fn snippet(store: &str) -> String {
    format!(
        "open it:\n    import xarray as xr\n    ds = xr.open_dataset({store:?}, engine=\"zarr\", consolidated=True)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_below_the_folder_they_share() {
        let files = ["/data/a/x.nc", "/data/ab/y.nc"].map(|path| Location::File(path.into()));
        let names: Vec<String> = named(files.into_iter()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a/x.nc", "ab/y.nc"]);
        let alone: Vec<_> =
            named(std::iter::once(Location::File("/data/x.nc".into()))).into_iter().map(|(_, name)| name).collect();
        assert_eq!(alone, ["x.nc"]);
    }
}
