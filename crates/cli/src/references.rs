//! What is said of virtual datasets: the plan in a line, and the lines of Python that open them.
//!
//! They hold no secret: whoever opens them signs with the variables of the environment.

use frazil_model::{
    location::{self, Location, Object},
    recipe::virtually::VirtualFormat,
    report::Report,
};
use frazil_store::{
    bucket::profile_of,
    profile::{Keys, Profile, Server, Style, located},
};
use serde_json::Value;

use crate::output::bytes;

/// What references lead to: a bucket, a server, a folder.
struct Door {
    /// What their addresses begin with.
    prefix: String,
    /// Whether a reader must say who it is.
    is_signed: bool,
}

/// What the references of a dataset lead to.
fn doors(report: &Report) -> Vec<Door> {
    let said = |name: &str| {
        let all = report.more.get(name).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let unsigned = said("asks_unsigned");
    said("leads_to").into_iter().map(|prefix| Door { is_signed: !unsigned.contains(&prefix), prefix }).collect()
}

/// The plan in one line, and a line for each array that is not referenced as it is.
pub fn plan(report: &Report, format: VirtualFormat) -> String {
    let number = |name: &str| report.totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let name = match format {
        VirtualFormat::Icechunk => "icechunk",
        VirtualFormat::KerchunkJson => "kerchunk json",
        VirtualFormat::KerchunkParquet => "kerchunk parquet",
    };
    let native = match number("native_chunks") {
        0 => "nothing copied".to_owned(),
        n => format!("{n} chunks copied ({} decoded)", bytes(number("native_bytes"))),
    };
    let inline = match number("inline_chunks") {
        0 => String::new(),
        n => format!(" · {n} small ones inline"),
    };
    let mut text = format!(
        "plan: {} · {} arrays · {} references to {}{inline} → {name} · {native}\n",
        if number("files") == 1 { "1 file".to_owned() } else { format!("{} files", number("files")) },
        number("arrays"),
        number("references"),
        bytes(number("referenced_bytes")),
    );
    for item in &report.items {
        let said = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
        if ["native", "hybrid"].contains(&said("how")) {
            let share = item.get("native_share").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
            text.push_str(&format!(
                "  {}: {share:.0} % copied: {}\n",
                said("path").trim_start_matches('/'),
                said("why")
            ));
        }
    }
    text
}

/// Groups that are named one by one.
const MOST_GROUPS: usize = 10;

/// The groups with arrays, where the root of a dataset holds none: whoever opens that sees nothing, without a word.
fn groups(report: &Report) -> Vec<String> {
    let arrays = report.items.iter().filter(|item| item.get("how").is_some());
    let paths = arrays.filter_map(|item| item.get("path")?.as_str());
    let group_of = |path: &str| path.trim_start_matches('/').rsplit_once('/').map(|(group, _)| group.to_owned());
    let mut groups: Vec<String> = paths.map(group_of).collect::<Option<_>>().unwrap_or_default();
    groups.dedup();
    groups
}

/// A line that says which other groups can be opened in the same way.
fn others(groups: &[String]) -> Option<String> {
    let (first, last) = (groups.first()?, groups.last()?);
    let names = match groups.len() {
        1 => return None,
        n if n > MOST_GROUPS => format!("{first} to {last}"),
        _ => groups.join(", "),
    };
    Some(format!("# one group at a time; there are {}: {names}", groups.len()))
}

/// The lines that open references.
pub fn snippet(format: VirtualFormat, store: &str, report: &Report) -> String {
    let Ok(location) = located(store) else { return String::new() };
    let (doors, groups) = (doors(report), groups(report));
    let group = groups.first();
    let body = match format {
        VirtualFormat::Icechunk => icechunk(&location, &doors, group.map(String::as_str)),
        VirtualFormat::KerchunkJson | VirtualFormat::KerchunkParquet => {
            kerchunk(&location, &doors, group.map(String::as_str))
        }
    };
    body.map_or_else(String::new, |lines| {
        others(&groups).iter().chain(&lines).fold("open it:\n".to_owned(), |text, line| format!("{text}    {line}\n"))
    })
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn icechunk(location: &Location, doors: &[Door], group: Option<&str>) -> Option<Vec<String>> {
    let storage = match location {
        Location::File(path) => format!("icechunk.local_filesystem_storage({:?})", absolute(path)),
        Location::Object(object) => storage_of(object)?,
        Location::Http(_) => return None,
    };
    let signs = |door: &Door| {
        let with = match door.prefix.split_once("://").filter(|_| door.is_signed) {
            Some(("s3", _)) => "icechunk.s3_credentials(from_env=True)",
            Some(("gs", _)) => "icechunk.gcs_credentials(from_env=True)",
            _ => "None",
        };
        format!("{:?}: {with}", door.prefix)
    };
    let doors = doors.iter().map(signs).collect::<Vec<_>>().join(", ");
    let group = group.map_or_else(String::new, |group| format!(", group={group:?}"));
    Some(vec![
        "import icechunk, xarray as xr".to_owned(),
        format!("storage = {storage}"),
        format!("doors = icechunk.containers_credentials({{{doors}}})"),
        "repo = icechunk.Repository.open(storage, authorize_virtual_chunk_access=doors)".to_owned(),
        format!("ds = xr.open_zarr(repo.readonly_session(\"main\").store, consolidated=False{group})"),
    ])
}

/// Bucket and key as every program knows them.
fn bucket_and_key(object: &Object, profile: &Profile) -> (String, String) {
    let key = object.key.trim_end_matches('/');
    match (&object.door, &profile.below) {
        (location::Door::Named(_), Some(below)) => {
            let whole = format!("{}/{key}", below.trim_end_matches('/'));
            let (bucket, key) = whole.split_once('/').unwrap_or((&whole, ""));
            (bucket.to_owned(), key.to_owned())
        }
        _ => (object.bucket.clone(), key.to_owned()),
    }
}

fn storage_of(object: &Object) -> Option<String> {
    let profile = profile_of(object).ok()?;
    let (bucket, key) = bucket_and_key(object, &profile);
    let signs = if profile.keys == Keys::Anonymous { "anonymous=True" } else { "from_env=True" };
    match &profile.server {
        Server::S3(server) => {
            let mut words = format!("bucket={bucket:?}, prefix={key:?}, region={:?}, {signs}", server.region);
            if let Some(endpoint) = &server.endpoint {
                let is_plain = if endpoint.starts_with("http://") { ", allow_http=True" } else { "" };
                let style = if server.style == Style::Path { ", force_path_style=True" } else { "" };
                words.push_str(&format!(", endpoint_url={endpoint:?}{is_plain}{style}"));
            }
            Some(format!("icechunk.s3_storage({words})"))
        }
        Server::Google(_) => Some(format!("icechunk.gcs_storage(bucket={bucket:?}, prefix={key:?}, {signs})")),
        Server::Azure(server) => Some(format!(
            "icechunk.azure_storage(account={:?}, container={bucket:?}, prefix={key:?}, {signs})",
            server.account
        )),
    }
}

fn kerchunk(location: &Location, doors: &[Door], group: Option<&str>) -> Option<Vec<String>> {
    let place = match location {
        Location::File(path) => absolute(path),
        Location::Object(object) => {
            let profile = profile_of(object).ok()?;
            let (bucket, key) = bucket_and_key(object, &profile);
            let scheme = match profile.server {
                Server::S3(_) => "s3",
                Server::Google(_) => "gs",
                Server::Azure(_) => "az",
            };
            format!("{scheme}://{bucket}/{key}")
        }
        Location::Http(url) => url.clone(),
    };
    let remote = doors.first().and_then(|door| door.prefix.split_once("://")).map_or("file", |(scheme, _)| scheme);
    if let Some(group) = group {
        // `engine="kerchunk"` looks for no groups.
        return Some(vec![
            "import xarray as xr".to_owned(),
            "from kerchunk.utils import refs_as_store".to_owned(),
            format!("store = refs_as_store({place:?}, remote_protocol={remote:?})"),
            format!("ds = xr.open_zarr(store, zarr_format=2, consolidated=True, group={group:?})"),
        ]);
    }
    Some(vec![
        "import xarray as xr  # this needs the package kerchunk".to_owned(),
        format!(
            "ds = xr.open_dataset({place:?}, engine=\"kerchunk\", storage_options={{\"remote_protocol\": {remote:?}}})"
        ),
    ])
}
