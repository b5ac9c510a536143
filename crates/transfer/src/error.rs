//! Why something could not be listed, copied or deleted.

use frazil_model::{
    location::LocationError,
    problem::{Exit, Problem},
    shell::quoted,
};
use frazil_store::StoreError;

/// Why something could not be listed, copied or deleted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TransferError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("there is nothing at `{place}`")]
    Nothing { place: String },
    #[error("`{place}` is a link, and a link is not followed where things are deleted")]
    LinkWithSlash { place: String, to: Option<String> },
    #[error("`{place}` is a file, and its slash says that it is a folder")]
    FileWithSlash { place: String },
    #[error("`{place}` is a folder without a name")]
    Nameless { place: String },
    #[error("`{place}` cannot be listed: it is a web server, and no bucket")]
    NoListing { place: String },
    #[error("not all of it could be counted: {reason}")]
    Uncountable { reason: String },
    #[error("nobody knows where your home is: `HOME` is not set")]
    NoHome,
    #[error("nobody says what time it is at `{place}`")]
    NoClock { place: String },
    #[error("`{place}` is no catalog that can be read: {reason}")]
    NoCatalog { place: String, reason: String },
    #[error("`{place}` was not the same when it was looked at again")]
    Unlike { place: String },
    #[error(
        "it cannot be moved to `{place}` as one thing: {n} files are in the way or cannot be moved; the first: {first}"
    )]
    NotWhole { place: String, n: usize, first: String },
    #[error("`{place}` is no place where things stay: a rule of its server deletes there, too")]
    NotPersistent { place: String },
    #[error("`{place}` has no rule that frazil could set: {reason}")]
    NoRules { place: String, reason: String },
    #[error("the server of `{place}` took the rule and does not keep it")]
    RuleNotKept { place: String },
    #[error("nothing can be compared with `{file}`: {reason}")]
    Uncomparable { file: String, reason: String },
    #[error("`{file}` is a file, and `{folder}` a folder")]
    FileAndFolder { file: String, folder: String },
    #[error("`{place}` cannot be written to: {reason}")]
    NotWritable { place: String, reason: &'static str },
    #[error("`{place}` is held back: other files of its store could not be moved, so that it is not shown")]
    HeldBack { place: String },
    #[error("`{dest}` cannot be what is copied: it must be where that goes")]
    ManyToOne { dest: String },
    #[error("`{dest}` is a folder, and a file cannot take its place")]
    IsFolder { dest: String },
    #[error("`{dest}` lies in `{source_place}`, or is the same")]
    Within { source_place: String, dest: String },
    #[error("`{place}` is part of the store `{store}`")]
    InsideStore { place: String, store: String },
    #[error("`{place}` is too much to be deleted: {reason}")]
    TooMuch { place: String, reason: String },
    #[error("`{pattern}` takes whatever fits, and nobody said how much that may be")]
    Unbounded { pattern: String },
    #[error("{n_objects} objects would go, and at most {most} may")]
    TooMany { n_objects: u64, most: u64 },
    #[error("nothing was deleted: nobody said that {what} may go")]
    NotConfirmed { what: String },
    #[error("`{file}` is no configuration that frazil reads: {reason}")]
    Configuration { file: String, reason: String },
    #[error("{n_failed} of {n_all} could not be {done}; the first: {first}")]
    Part { n_failed: usize, n_all: usize, done: &'static str, first: String, exit: Exit },
    #[error("the source is empty, and `--delete` would take away everything at `{dest}`")]
    EmptySource { dest: String },
    #[error("`{name}` is no name for a delivery: {reason}")]
    DeliveryName { name: String, reason: &'static str },
    #[error("nothing was sent: {} of the names cannot be delivered{}", names.len(), first_of(names))]
    Undeliverable { names: Vec<(String, String)> },
    #[error("there is no file in `{place}` that could be sent")]
    NoFiles { place: String },
    #[error("`{place}` was not delivered")]
    NotDelivered { place: String, source: StoreError },
    #[error("another push to `{place}` was begun{}", begun_by(by.as_deref()))]
    PushTaken { place: String, by: Option<String> },
    #[error("`{place}` holds {n} files that this push must not write over or leave there; the first: {first}")]
    Leftover { place: String, n: usize, first: String },
    #[error("`{place}` lacks {n} of the files that were sent; the first: `{first}`")]
    Vanished { place: String, n: usize, first: String },
    #[error("`{place}` is a delivery already, with other content: {first}")]
    DeliveryTaken { place: String, first: String },
    #[error("`{place}` is no whole delivery: it has no manifest")]
    Unfinished { place: String },
    #[error("`{place}` is a file, and a folder is asked for")]
    NoFolder { place: String },
    #[error("`{place}` is being taken on already, by another frazil process{}", which(by))]
    BeingAccepted { place: String, by: String },
    #[error("`{place}` lies in the store `{store}`")]
    IntoStore { place: String, store: String },
    #[error("`{place}` is no delivery: it holds {n}; the first: `{first}`")]
    HoldsDeliveries { place: String, n: usize, first: String },
    #[error("what is kept of `{place}` is not what frazil wrote: {reason}")]
    BadRecord { place: String, reason: String },
    #[error("`{place}` was accepted already, and its files went to `{went}`, not to `{to}`")]
    WentElsewhere { place: String, went: String, to: String },
    #[error(
        "`{place}` was accepted already, and {n} of its files are not at `{to}` as they were sent; the first: {first}"
    )]
    NotThere { place: String, to: String, n: usize, first: String },
    #[error(
        "`{place}` is whole, and `frazil-accepted.json` beside it says that it was accepted; but not all of it is at `{to}`"
    )]
    NotKept { place: String, to: String },
    #[error("access to `{place}` was refused: the folder may not be read")]
    Closed { place: String },
    #[error("`{place}` is not what was sent: {n} of the files are not as they were; the first: {first}")]
    NotAsCopied { place: String, n: usize, first: String },
    #[error("the files are at `{to}`, but `{place}` could not be noted as accepted, or not be cleared")]
    NotCleared { place: String, to: String, source: Box<TransferError> },
    #[error("a delivery cannot go to `{dest}`: it lies in `{inbox}`, or holds it")]
    IntoInbox { inbox: String, dest: String },
    #[error("the manifest of `{place}` is not one that frazil wrote: {reason}")]
    BadManifest { place: String, reason: String },
    #[error("`{place}` is not what its manifest says: {n} of its files are not as they were sent; the first: {first}")]
    NotAsSent { place: String, n: usize, first: String },
    #[error("`{place}` is no manifest that frazil reads: {reason}")]
    BadSums { place: String, reason: String },
    #[error("`{place}` cannot take the delivery: {n} other files are in the way; the first: {first}")]
    InTheWay { place: String, n: usize, first: String },
    #[error("interrupted{}", open.as_deref().map(left_open).unwrap_or_default())]
    Interrupted { resume: Option<String>, open: Option<String> },
}

/// The first of names that cannot be delivered, with its reason.
fn first_of(names: &[(String, String)]) -> String {
    names.first().map(|(name, reason)| format!("; the first, `{name}`: {reason}")).unwrap_or_default()
}

fn begun_by(who: Option<&str>) -> String {
    match who {
        Some(who) => format!(" by {who}, with other files"),
        None => ", and it cannot be told from here with which files".into(),
    }
}

fn which(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(": {by}") }
}

impl TransferError {
    /// The same where a delivery was to be written: no word makes it part of a store.
    pub(crate) fn of_delivery(self) -> Self {
        match self {
            Self::InsideStore { place, store } => Self::IntoStore { place, store },
            other => other,
        }
    }

    /// The same as what became of a delivery: nothing says that it is whole.
    pub(crate) fn undelivered(self, place: &crate::place::Place) -> Self {
        match self {
            Self::Store(source) => Self::NotDelivered { place: place.shown(), source },
            other => other,
        }
    }
}

/// What is said of uploads that were begun.
fn left_open(place: &str) -> String {
    format!("; what has arrived of large files stays at `{place}`, seen by nobody, and is not sent again")
}

impl Problem for TransferError {
    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Location(error) => error.code(),
            Self::Nothing { .. } => "transfer.nothing",
            Self::LinkWithSlash { .. } => "transfer.link",
            Self::FileWithSlash { .. } => "transfer.no-folder",
            Self::Nameless { .. } => "transfer.nameless",
            Self::NoListing { .. } => "transfer.no-listing",
            Self::Uncountable { .. } => "transfer.uncountable",
            Self::Uncomparable { .. } => "transfer.uncomparable",
            Self::FileAndFolder { .. } => "check.file-and-folder",
            Self::NoHome => "transfer.no-home",
            Self::NoClock { .. } => "scratch.no-clock",
            Self::NoCatalog { .. } => "scratch.no-catalog",
            Self::Unlike { .. } => "scratch.changed",
            Self::NotWhole { .. } => "scratch.not-whole",
            Self::NotPersistent { .. } => "scratch.not-persistent",
            Self::NoRules { .. } => "scratch.no-rules",
            Self::RuleNotKept { .. } => "scratch.rule-not-kept",
            Self::NotWritable { .. } => "transfer.not-writable",
            Self::HeldBack { .. } => "transfer.held-back",
            Self::ManyToOne { .. } => "transfer.many-to-one",
            Self::IsFolder { .. } => "transfer.is-folder",
            Self::Within { .. } => "transfer.within",
            Self::InsideStore { .. } => "transfer.inside-store",
            Self::TooMuch { .. } => "transfer.too-much",
            Self::Unbounded { .. } => "transfer.unbounded",
            Self::TooMany { .. } => "transfer.too-many",
            Self::NotConfirmed { .. } => "transfer.not-confirmed",
            Self::Configuration { .. } => "transfer.configuration",
            Self::Part { .. } => "transfer.part",
            Self::EmptySource { .. } => "transfer.empty-source",
            Self::DeliveryName { .. } => "delivery.name",
            Self::Undeliverable { .. } => "delivery.undeliverable",
            Self::DeliveryTaken { .. } => "delivery.taken",
            Self::NoFiles { .. } => "delivery.no-files",
            Self::NotDelivered { source, .. } => source.code(),
            Self::PushTaken { .. } => "delivery.another-push",
            Self::Leftover { .. } => "delivery.leftover",
            Self::Vanished { .. } => "delivery.vanished",
            Self::Unfinished { .. } => "delivery.unfinished",
            Self::NoFolder { .. } => "transfer.no-folder",
            Self::BeingAccepted { .. } => "delivery.being-accepted",
            Self::IntoStore { .. } => "delivery.into-store",
            Self::HoldsDeliveries { .. } => "delivery.many",
            Self::BadRecord { .. } => "delivery.record",
            Self::WentElsewhere { .. } => "delivery.went-elsewhere",
            Self::NotThere { .. } => "delivery.not-there",
            Self::NotKept { .. } => "delivery.not-kept",
            Self::Closed { .. } => "store.refused",
            Self::NotAsCopied { .. } => "delivery.not-as-copied",
            Self::NotCleared { .. } => "delivery.not-cleared",
            Self::IntoInbox { .. } => "delivery.into-inbox",
            Self::BadManifest { .. } => "delivery.manifest",
            Self::NotAsSent { .. } => "delivery.not-as-sent",
            Self::BadSums { .. } => "check.manifest",
            Self::InTheWay { .. } => "delivery.in-the-way",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Location(error) => return error.hint(),
            Self::Nothing { place } if place.ends_with('/') => {
                "the name of an object has no slash at its end; `frazil ls` on the folder above shows what is there"
                    .into()
            }
            Self::Nothing { .. } => "`frazil ls` on the folder above shows what is there".into(),
            Self::LinkWithSlash { place, to } => {
                let mut link = place.trim_end_matches('/');
                while let Some(before) = link.strip_suffix("/.") {
                    link = before.trim_end_matches('/');
                }
                let folder =
                    to.as_ref().map(|to| format!("; for what it leads to, name `{}`", quoted(to))).unwrap_or_default();
                format!("nothing was deleted; `frazil rm {}` removes the link alone{folder}", quoted(link))
            }
            Self::FileWithSlash { place } => format!("name it without the slash: `{}`", place.trim_end_matches('/')),
            Self::Nameless { .. } => "name its objects one by one, or the bucket with one slash".into(),
            Self::NoListing { .. } => "name its files, each by its address".into(),
            Self::NoHome => "name a place to look at: `frazil gc PLACE`".into(),
            Self::NoClock { .. } => "nothing was deleted; tell whoever runs the server".into(),
            Self::NoCatalog { .. } => "nothing was deleted: what it names is not known".into(),
            Self::Unlike { .. } => {
                "nothing was deleted: somebody writes there, or a listing was not whole; type the command again later"
                    .into()
            }
            Self::NotWhole { .. } => {
                "nothing was copied; name another place with `--to`, or copy with `frazil cp`".into()
            }
            Self::NotPersistent { .. } => {
                "name another place with `--to`; `frazil scratch rule` shows its rules".into()
            }
            Self::NoRules { .. } => "`frazil scratch expire` deletes what is old, a plan first".into(),
            Self::RuleNotKept { .. } => "`frazil scratch rule` shows what it has now; tell whoever runs it".into(),
            Self::Uncomparable { .. } => "keep a Report with the same words and `--save FILE`, and name that".into(),
            Self::FileAndFolder { folder, .. } => {
                format!("`{}/` means the file of that name in it", folder.trim_end_matches('/'))
            }
            Self::Uncountable { .. } => "count the folders in it one by one, or with less depth".into(),
            Self::NotWritable { .. } => "name a folder on this machine or a bucket".into(),
            Self::HeldBack { .. } => "type the same command again once the others can be moved".into(),
            Self::ManyToOne { dest } => format!("write a slash at the end: `{dest}/`"),
            Self::IsFolder { dest } => format!("`{dest}/` puts it inside"),
            Self::Within { .. } => "name another place".into(),
            Self::InsideStore { store, .. } => {
                format!("a store is one thing: name `{store}`, or say `--inside-store` if you mean a part of it")
            }
            Self::TooMuch { .. } => "name the folders in it that are to go".into(),
            Self::Unbounded { .. } => "look at the plan with `-n`, then say `--yes --max-objects N`".into(),
            Self::TooMany { .. } => "if that is meant, say so: `--max-objects N`".into(),
            Self::NotConfirmed { .. } => "look at the plan with `-n`, then type the command again with `--yes`".into(),
            Self::Configuration { .. } => "mend the file, or name another one with `--config`".into(),
            Self::Part { .. } => {
                "type the same command again: what is done is kept, and the rest is tried again".into()
            }
            Self::EmptySource { .. } => "if all of it is to go, use `frazil rm`".into(),
            Self::DeliveryName { .. } => "name it by one word, such as `--as run7`".into(),
            Self::Undeliverable { .. } => "`--exclude` leaves files out".into(),
            Self::DeliveryTaken { .. } => "a delivery never changes: choose another name with `--as`".into(),
            Self::NoFiles { .. } => "a delivery has one file at least; look what `--exclude` leaves".into(),
            Self::NotDelivered { source, .. } => return source.hint().or(Some(
                "nothing says that it is whole; type the same command again: it sends the files as they are then".into(),
            )),
            Self::PushTaken { .. } => {
                "choose another name with `--as`, or have whoever keeps the inbox delete what is there".into()
            }
            Self::Leftover { .. } => {
                "choose another name with `--as`, or have whoever keeps the inbox delete them".into()
            }
            Self::Vanished { .. } => {
                "nothing says that it is whole; type the same command again: what is missing is sent again".into()
            }
            Self::NoFolder { .. } => "name the folder that it lies in".into(),
            Self::BeingAccepted { .. } => {
                "nothing was done; once that one is done, the same command says how it ended".into()
            }
            Self::IntoStore { .. } => "a store is one thing, and a delivery no part of it: name another place".into(),
            Self::HoldsDeliveries { place, first, .. } => {
                format!("name one of them, such as `{}/{first}`, or say `--list` or `--watch`", place.trim_end_matches('/'))
            }
            Self::BadRecord { .. } => "it is left as it is; look at its `frazil-accepted.json`".into(),
            Self::WentElsewhere { went, .. } => format!("nothing was done; `--to {}` is where they went", quoted(went)),
            Self::NotThere { .. } => "nothing was deleted; look where they are, and at what is left in the inbox".into(),
            Self::NotKept { place, to } => {
                format!("nothing was done; `frazil accept {} --to {}` takes it on if it never was", quoted(place), quoted(to))
            }
            Self::Closed { .. } => {
                "its owner can let you read it; cp, sync, push and check leave it out with `--exclude`".into()
            }
            Self::NotAsCopied { .. } => {
                "the inbox is as it was; name another place with `--to`, or take away what was there before".into()
            }
            Self::NotCleared { .. } => {
                "accept writes to the folder of the delivery and deletes there; once it may, type the same command again".into()
            }
            Self::IntoInbox { .. } => "nothing was copied; name a place outside of the delivery and not above it".into(),
            Self::Unfinished { .. } => {
                "whoever sends it types the same `frazil push` again; until then it is not touched".into()
            }
            Self::BadManifest { .. } => "it is left as it is; ask for it to be pushed again under another name".into(),
            Self::NotAsSent { .. } => {
                "nothing of it was taken on; ask for it to be pushed again under another name".into()
            }
            Self::BadSums { .. } => {
                "it reads frazil-delivery.json, frazil-accepted.json and what `sha256sum` and `md5sum` print".into()
            }
            Self::InTheWay { .. } => "nothing was copied; name another place with `--to`".into(),
            Self::Interrupted { resume: Some(command), .. } => format!("go on with: {command}"),
            Self::Interrupted { resume: None, .. } => "type the same command again to go on".into(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Location(_)
            | Self::Nameless { .. }
            | Self::ManyToOne { .. }
            | Self::Configuration { .. }
            | Self::DeliveryName { .. } => Exit::Usage,
            Self::Part { exit, .. } => *exit,
            Self::NotDelivered { source, .. } => source.exit(),
            Self::NotCleared { source, .. } => source.exit(),
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::BeingAccepted { .. } => Exit::Later,
            _ => Exit::No,
        }
    }
}
