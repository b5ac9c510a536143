//! Profiles: who signs for a bucket, and where its server is.
//!
//! They are read where they lie, in the environment, the files of the AWS tools and that of rclone, and copied nowhere.
//! It promises that every profile knows the file and the line it came from, that a lower one is never taken silently in
//! place of a higher one that is broken, and that nothing is asked of a server without a signature unless that was
//! wished for. It sends nothing and looks for no server.

mod aws;
mod azure;
mod google;
pub(crate) mod grant;
pub mod import;
pub(crate) mod ini;
mod rclone;
pub mod source;
mod ways;
mod web;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use frazil_model::location::{Door, Location, LocationError, Object};

pub use grant::Grant;

use crate::secret::{self, Secret};
use source::Source;
pub use web::WebRemote;

/// What comes before a place in the bucket where a hub's people write for a while.
const SCRATCH: &str = "scratch:";

/// What this process was given: variables and a home.
#[derive(Clone, Default)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let variables: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        Self::of(variables)
    }

    /// Those of somebody whose variables are these.
    #[must_use]
    pub fn of(variables: BTreeMap<String, String>) -> Self {
        let home = variables.get("HOME").map(PathBuf::from);
        Self { variables, home }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Whether a switch is on.
    fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// The names of all variables.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Variables whose names begin alike.
    fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.variables.range(prefix.to_owned()..).take_while(move |(name, _)| name.starts_with(prefix));
        all.map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, value)| !value.is_empty())
    }

    /// The file that a variable names, else one in the home folder.
    pub(crate) fn file(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        match self.variable(variable) {
            Some(path) => Some(self.at_home(path)),
            None => self.home.as_ref().map(|home| home.join(below_home)),
        }
    }

    /// A path in which `~/` is the home folder.
    fn at_home(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }
}

/// Variables may be keys.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surroundings({} variables)", self.variables.len())
    }
}

/// Who signs, and for which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub origin: Origin,
    /// The server, and how it is spoken to.
    pub server: Server,
    /// What is signed with.
    pub keys: Keys,
    /// A place that all of its paths start from: `bucket/folder` of an rclone alias.
    pub below: Option<String>,
}

/// Where a profile was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Variables of the environment.
    Environment,
    /// A section of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the section.
        line: usize,
    },
    /// The wish to sign nothing.
    Wish,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Wish => f.write_str("`--anonymous`"),
        }
    }
}

/// A server of buckets, by the dialect that it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The dialect of Amazon S3, which Ceph and others share.
    S3(S3Server),
    /// Google Cloud Storage.
    Google(GoogleServer),
    /// Blob storage of Azure.
    Azure(AzureServer),
}

/// Google Cloud Storage, or what speaks like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleServer {
    /// Its address; `None` is Google's own.
    pub endpoint: Option<String>,
    /// The project that pays for requests.
    pub project: Option<String>,
    /// The project whose buckets are named when all are asked for.
    pub owner: Option<String>,
}

/// An account of Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureServer {
    /// The account.
    pub account: String,
    /// Its address; `None` is Azure's own of the account.
    pub endpoint: Option<String>,
}

/// A server that speaks the dialect of Amazon S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Server {
    /// Its address; `None` is Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region that is signed for.
    pub region: String,
    /// Where the name of the bucket stands in an address.
    pub style: Style,
}

impl Server {
    /// Its address in words.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::S3(S3Server { endpoint: None, region, .. }) => format!("Amazon {}", secret::shown_name(region)),
            Self::Google(GoogleServer { endpoint: None, .. }) => "Google".into(),
            Self::Azure(AzureServer { endpoint: None, account }) => format!("Azure {}", secret::shown_name(account)),
            _ => self.endpoint_shown().unwrap_or_default(),
        }
    }

    /// Its address if it was named, to be shown.
    #[must_use]
    pub fn endpoint_shown(&self) -> Option<String> {
        let (Self::S3(S3Server { endpoint, .. })
        | Self::Google(GoogleServer { endpoint, .. })
        | Self::Azure(AzureServer { endpoint, .. })) = self;
        endpoint.as_deref().map(|endpoint| secret::shown_address(endpoint).to_owned())
    }
}

/// Where the name of the bucket stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In the path: what servers other than Amazon's understand.
    Path,
    /// In the name of the host.
    Host,
}

/// What requests are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// A key, its secret and, if it is for a while only, a token.
    Fixed {
        /// The public part.
        access_key_id: String,
        /// The secret part.
        secret: Secret,
        /// The token that goes with a temporary key.
        token: Option<Secret>,
        /// When it ends, in seconds since 1970, if that was said beside it.
        ends_seconds: Option<u64>,
    },
    /// Keys for a while, which somebody gives when they are asked.
    Got(Box<Source>),
    /// A token, and by what it is got.
    Token(Grant),
    /// The key of an account of Azure.
    AccountKey(Secret),
    /// A signature that somebody made for us: part of every address.
    SharedAccess(Secret),
    /// Nothing, because somebody wished so.
    Anonymous,
    /// Nothing, though it should.
    Missing {
        /// What is wrong with the profile.
        why: String,
    },
}

/// Profiles that were found, and files that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Those before others of the same name shadow them.
    pub profiles: Vec<Profile>,
    /// File and reason.
    pub unread: Vec<(PathBuf, String)>,
    /// Names that lead to a web server.
    pub web: Vec<WebRemote>,
    /// Names that lead to no bucket.
    pub not_followed: Vec<NotFollowed>,
    /// The files that were read or looked for.
    pub files: Vec<PathBuf>,
}

/// A name that is known and leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFollowed {
    /// The name.
    pub name: String,
    /// What kind of remote it says it is.
    pub kind: String,
    /// Where it was read.
    pub origin: Origin,
    /// Why it is not followed.
    pub why: String,
}

impl Known {
    /// The profile of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// Why there is no profile of a name.
    fn why_not(&self, name: &str) -> String {
        if let Some(web) = self.web.iter().find(|web| web.name == name) {
            return format!("remote `{name}` ({}) is of a web server, which has no buckets", web.origin);
        }
        if let Some(not) = self.not_followed.iter().find(|not| not.name == name) {
            return format!("rclone remote `{name}` ({}) is of type `{}`: {}", not.origin, not.kind, not.why);
        }
        let unread = self.unread.first();
        let unread = unread.map(|(path, why)| format!("; {} could not be read: {why}", path.display()));
        format!("there is no profile `{name}`{}", unread.unwrap_or_default())
    }
}

/// What is known when the first name is looked for: a recipe may have a hundred thousand of them.
static OF_PROCESS: LazyLock<Known> = LazyLock::new(|| known(&Surroundings::of_process()));

/// The place that a text names, `NAME:bucket/key` included.
///
/// A path that is there wins over a profile of the same name; `./` in front makes any name a path.
///
/// # Errors
/// If it names no place.
pub fn located(text: &str) -> Result<Location, LocationError> {
    let location = Location::parse(text)?;
    if let Some(rest) = text.strip_prefix(SCRATCH).filter(|_| Path::new(text).symlink_metadata().is_err()) {
        // Where a hub lets its people write for a while: it says so in a variable.
        let scratch = Surroundings::of_process();
        let scratch = scratch.variable("SCRATCH_BUCKET").ok_or(LocationError::NoScratch)?;
        let scratch = format!("{}/{rest}", scratch.trim_end_matches('/'));
        return if scratch.starts_with(SCRATCH) { Err(LocationError::NoScratch) } else { located(&scratch) };
    }
    let (Location::File(path), Some((name, rest))) = (&location, text.split_once(':')) else { return Ok(location) };
    if name.contains('/') || text.contains("://") || Path::new(path).symlink_metadata().is_ok() {
        return Ok(location);
    }
    let known = &*OF_PROCESS;
    if let Some(kind) = connection_string(name, rest, known) {
        return Err(LocationError::Settings { remote: kind });
    }
    if let Some(remote) = known.web.iter().find(|remote| remote.name == name) {
        return Location::parse(&remote.address_of(rest));
    }
    let is_followed = known.named(name).is_some();
    if name.is_empty() || !(is_followed || known.not_followed.iter().any(|not| not.name == name)) {
        return Ok(location);
    }
    let door = Door::Named(name.to_owned());
    // The paths of an alias need no bucket: it stands in the alias. Nor does what leads nowhere.
    let object = match known.named(name).map(|profile| &profile.below) {
        None | Some(Some(_)) => Some(Object { door, bucket: String::new(), key: rest.to_owned() }),
        Some(None) => Object::parse(door, rest),
    };
    object.map(Location::Object).ok_or_else(|| LocationError::NoBucket { text: text.to_owned() })
}

/// The place that a text names, to be written to.
///
/// A name before a colon that nobody knows is taken for a misspelt one, and not for a file to be made.
///
/// # Errors
/// If it names no place, or one that is more likely meant to be another.
pub fn located_to_write(text: &str) -> Result<Location, LocationError> {
    let location = located(text)?;
    match (&location, text.split_once(':')) {
        (Location::File(path), Some((name, _)))
            if !name.contains('/') && !text.contains("://") && Path::new(path).symlink_metadata().is_err() =>
        {
            Err(LocationError::NoProfile { name: name.to_owned(), text: text.to_owned() })
        }
        _ => Ok(location),
    }
}

/// The remote of `:s3,key=value:path` or `name,key=value:path`: keys may stand there, so no more of it is repeated.
fn connection_string(name: &str, rest: &str, known: &Known) -> Option<String> {
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_. ".contains(c));
    if name.is_empty() {
        let kind = rest.split([',', ':']).next().filter(|kind| is_name(kind) && rest.contains(':'))?;
        return Some(format!(":{kind}"));
    }
    let (remote, _) = name.split_once(',')?;
    let is_known = known.named(remote).is_some() || known.not_followed.iter().any(|not| not.name == remote);
    (is_name(remote) && is_known).then(|| remote.to_owned())
}

/// All profiles of these surroundings: remotes of rclone first, since they are named in locations, then AWS profiles.
#[must_use]
pub fn known(surroundings: &Surroundings) -> Known {
    let mut known = Known::default();
    let files = aws::Files::read(surroundings, None, &mut known);
    known.profiles = rclone::remotes(surroundings, &files, &mut known);
    known.profiles.extend(files.profiles(surroundings));
    known.profiles.extend(google::in_force(surroundings));
    known.profiles.extend(azure::in_force(surroundings, None));
    known
}

/// The name of the AWS profile that is in force.
#[must_use]
pub fn default_name(surroundings: &Surroundings) -> String {
    aws::default_name(surroundings)
}

/// Who signs for `s3://`: the profile that was chosen, else what the AWS tools would take.
///
/// # Errors
/// Why nobody does.
pub fn of_s3(surroundings: &Surroundings, chosen: Option<&str>) -> Result<Profile, String> {
    if let Some(name) = chosen {
        let known = known(surroundings);
        return known.named(name).cloned().ok_or_else(|| known.why_not(name));
    }
    if let Some(profile) = aws::of_environment(surroundings) {
        return Ok(profile);
    }
    let known = known(surroundings);
    let name = aws::default_name(surroundings);
    let found = known.profiles.iter().rfind(|profile| profile.name == name);
    let is_named = surroundings.variable("AWS_PROFILE").is_some();
    let can_sign = found.is_some_and(|profile| !matches!(profile.keys, Keys::Missing { .. }));
    if !is_named
        && !can_sign
        && let Some(profile) = aws::of_machine(surroundings)
    {
        return Ok(profile);
    }
    found.cloned().ok_or_else(|| match known.unread.first() {
        Some((path, reason)) => format!("{} could not be read: {reason}", path.display()),
        None => {
            format!("there are no keys in the environment and there is no AWS profile `{}`", secret::shown_name(&name))
        }
    })
}

/// Who signs at a door: the profile that it names or that was chosen, else what the tools of its cloud would take.
///
/// # Errors
/// Why nobody does.
pub fn of_door(surroundings: &Surroundings, door: &Door, chosen: Option<&str>) -> Result<Profile, String> {
    let host = match door {
        Door::Named(name) => return of_s3(surroundings, Some(name)),
        Door::AzureAccount { host } => Some(host.as_str()),
        Door::S3 | Door::Google | Door::Azure => None,
    };
    if let Some(name) = chosen {
        let known = known(surroundings);
        let named = known.named(name).cloned().ok_or_else(|| known.why_not(name))?;
        // One chosen for another cloud does not sign here: a command may name places of both.
        match (&named.server, door) {
            (Server::S3(_), Door::S3) | (Server::Google(_), Door::Google) => return Ok(named),
            (Server::Azure(_), Door::Azure | Door::AzureAccount { .. }) => return Ok(azure::at_host(named, host)),
            _ => {}
        }
    }
    match door {
        Door::S3 | Door::Named(_) => of_s3(surroundings, None),
        Door::Google => google::in_force(surroundings).ok_or_else(|| {
            "there are no credentials of Google; `gcloud auth application-default login` makes some".into()
        }),
        Door::Azure | Door::AzureAccount { .. } => azure::in_force(surroundings, host)
            .ok_or_else(|| "there are no keys of Azure; `AZURE_STORAGE_ACCOUNT` names its account".into()),
    }
}

/// A profile that signs nothing, for the server that a door or `chosen` names.
#[must_use]
pub fn unsigned_at(surroundings: &Surroundings, door: &Door, chosen: Option<&str>) -> Profile {
    let server = of_door(surroundings, door, chosen).unwrap_or_else(|_| match door {
        Door::S3 | Door::Named(_) => aws::bare(surroundings),
        Door::Google => google::unsigned(surroundings),
        Door::Azure => azure::unsigned(surroundings, None),
        Door::AzureAccount { host } => azure::unsigned(surroundings, Some(host)),
    });
    Profile { name: "anonymous".into(), origin: Origin::Wish, keys: Keys::Anonymous, ..server }
}

#[cfg(test)]
mod tests;
