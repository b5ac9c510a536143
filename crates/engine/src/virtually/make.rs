//! One virtual dataset made, from request to Report.

use frazil_model::{
    combine::Combined,
    layout::{Growth, LayoutRequest, lay_out},
    recipe::{
        combine::{DifferDtype, DifferPacking},
        spec::CodecSpec,
        virtually::{IfIncompatible, VirtualFormat, VirtualWrite},
        write::ZarrFormat,
    },
    report::Report,
};
use frazil_store::{
    folder::{Folder, STAGING},
    lock::{Lock, Sharing},
};
use serde_json::json;

use super::{
    beside::{self, workshop},
    checks::{check_native, check_ranges},
    icechunk::{self, Commit},
    intact::Depth,
    kerchunk::write_json,
    lay::{Laid, lay},
    native::{Condition, Keeping, NativeWork, Natives, make_natives},
    pinned::Files,
    record::{Record, record},
    said::tell,
    split::{can_split, split},
    tables,
    there::{Compared, There, with_known},
};
use crate::{
    error::EngineError,
    expect,
    make::{How, Stage, Watch},
    prepare::{Joined, Request, SmallData, joined_of, nothing_left, prepare, scanned},
    source::Source,
    standing::{exists, foreign},
    views::{LeftOut, leave_out_untyped},
};

/// What is to be referenced, and how.
#[derive(Debug, Clone)]
pub struct VirtualRequest {
    /// The files and what is done to them.
    pub request: Request,
    /// The references.
    pub write: VirtualWrite,
}

/// Files that are referenced together: all of them, or those of one kind.
#[derive(Debug)]
pub(crate) struct Part {
    /// The group they are in: nothing, or `/era-1`.
    pub prefix: String,
    /// The files.
    pub sources: Vec<Source>,
    /// How references name them.
    pub files: Files,
    /// What they are joined to.
    pub combined: Combined,
    /// Their arrays.
    pub laid: Laid,
    /// Values of them that must be made.
    pub work: Option<NativeWork>,
    /// What the files hold and the dataset will not.
    pub left_out: Vec<LeftOut>,
}

/// A folder, and the name of the document in it that is written, if it is one.
type Place<'a> = (&'a Folder, Option<&'a str>);

/// What is planned: as one dataset, or in parts.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The parts.
    pub parts: Vec<Part>,
    /// Why it is not one, in words.
    pub why_split: Option<String>,
}

/// The layout that references want: the format's, whatever the request said.
pub(super) fn layout(format: VirtualFormat) -> LayoutRequest {
    LayoutRequest {
        format: match format {
            VirtualFormat::Icechunk => ZarrFormat::V3,
            VirtualFormat::KerchunkJson | VirtualFormat::KerchunkParquet => ZarrFormat::V2,
        },
        chunks: None,
        shards: None,
        codec: CodecSpec::default(),
        grows: Growth::Extended,
    }
}

/// Plans a virtual dataset of files that were scanned: as one, or in parts where files differ and the policies say so.
pub(crate) fn parts(wanted: &VirtualRequest, scan: Vec<Source>) -> Result<Planned, EngineError> {
    let mut request = wanted.request.clone();
    request.layout = layout(wanted.write.format);
    request.policies.keeps_counts = true;
    if wanted.write.allows(IfIncompatible::Native) {
        promote(&mut request);
    }
    let small = SmallData::InFiles { above_bytes: wanted.write.inline_below.0 };
    let whole =
        joined_of(&request, scan.clone(), small).and_then(|joined| part(wanted, &request, joined, String::new()));
    match whole {
        Ok(part) => Ok(Planned { parts: vec![part], why_split: None }),
        Err(error) if can_split(wanted, &error) => match split(wanted, &request, scan)? {
            Some(parts) => Ok(Planned { parts, why_split: Some(error.to_string()) }),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// What is packed otherwise, or of another type, is made anew, exactly.
pub(super) fn promote(request: &mut Request) {
    let differ = &mut request.policies.differ;
    if differ.packing == DifferPacking::Error {
        differ.packing = DifferPacking::Repack;
        request.policies.differ_is_unasked = true;
    }
    if differ.dtype == DifferDtype::Error {
        differ.dtype = DifferDtype::Promote;
    }
}

pub(super) fn part(
    wanted: &VirtualRequest,
    request: &Request,
    Joined { sources, mut combined, mut left_out }: Joined,
    prefix: String,
) -> Result<Part, EngineError> {
    let mut targets = lay_out(&combined, &request.layout)?;
    leave_out_untyped(request, &mut combined, &mut targets, &mut left_out)?;
    if targets.is_empty() {
        nothing_left(&mut left_out)?;
    }
    let files = Files::of(&sources, wanted.write.format)?;
    check_ranges(&sources)?;
    let laid = lay(&sources, &combined, &request.layout, &wanted.write.policies())?;
    check_native(wanted, &sources, &combined, &laid)?;
    let folder = folder_of(wanted)?.0;
    let work = NativeWork::plan(&sources, &combined, &laid, request.limits, &folder)?;
    Ok(Part { prefix, sources, files, combined, laid, work, left_out })
}

/// Where the references are written: a folder, or a document in one.
fn folder_of(wanted: &VirtualRequest) -> Result<(Folder, Option<String>), EngineError> {
    let folder = Folder::at(&wanted.request.target)?;
    if wanted.write.format != VirtualFormat::KerchunkJson {
        return Ok((folder, None));
    }
    let (parent, name) = folder.parent().ok_or_else(|| EngineError::NotAStore {
        place: wanted.request.target.clone(),
        what: "it cannot be the name of a document".into(),
    })?;
    Ok((parent, Some(name)))
}

/// Makes a virtual dataset and reports on it.
///
/// # Errors
/// Whatever stood in the way.
pub fn make_virtual(
    verb: &str,
    wanted: &VirtualRequest,
    (how, stage): (How, Stage),
    watch: Watch<'_>,
) -> Result<Report, EngineError> {
    if !matches!(stage, Stage::All | Stage::DryRun) {
        return Err(EngineError::NoParts);
    }
    let (folder, name) = folder_of(wanted)?;
    let place = (&folder, name.as_deref());
    let there = There::of(wanted.write.format, &folder, name.as_deref())?;
    // Before anything is touched it is known whether there is anything to do.
    let mut ready = Ready::of(verb, wanted, there, how, place, watch)?;
    ready.report.dry_run = stage == Stage::DryRun;
    if ready.is_done(stage) {
        if stage == Stage::All && has_leftovers(wanted, place)? {
            let lock = take_lock(wanted, place)?;
            beside::clear(&wanted.request.target)?;
            if wanted.write.format == VirtualFormat::Icechunk {
                folder.remove(STAGING)?;
            }
            lock.remove()?;
        }
        return Ok(ready.report);
    }
    let was_there = folder.path().is_none_or(std::path::Path::exists);
    let lock = take_lock(wanted, place)?;
    let done = locked(verb, wanted, ready, how, place, watch);
    if wanted.write.format == VirtualFormat::Icechunk {
        folder.remove(STAGING)?;
    }
    lock.remove()?;
    if let (Err(_), false, None, Some(path)) = (&done, was_there, &name, folder.path()) {
        // Nothing was begun: nothing is left.
        if path.exists() && folder.names("")?.iter().all(|entry| entry.name == ".frazil") {
            frazil_store::folder::remove_tree(path)?;
        }
    }
    done
}

/// Whether a run that was killed left something on this machine, in the dataset or beside it.
fn has_leftovers(wanted: &VirtualRequest, (folder, name): Place<'_>) -> Result<bool, EngineError> {
    let Some(workshop) = workshop(&wanted.request.target) else { return Ok(false) };
    let lock = match (name, wanted.write.format, folder.parent()) {
        (Some(name), ..) => folder.exists(&lock_name(name))?,
        (None, VirtualFormat::KerchunkParquet, Some((parent, name))) => parent.exists(&lock_name(&name))?,
        (None, ..) => folder.exists(crate::publish::LOCK)? || folder.exists(STAGING)?,
    };
    Ok(lock || workshop.exists())
}

fn lock_name(name: &str) -> String {
    format!(".{name}.frazil-lock")
}

/// The lock of a repository lies in it; that of references beside them, since they come and go in one step.
fn take_lock(wanted: &VirtualRequest, (folder, name): Place<'_>) -> Result<Lock, EngineError> {
    let of_parent = |parent: &Folder, name: &str| -> Result<Lock, EngineError> {
        parent.make()?;
        Ok(Lock::take(parent, &lock_name(name), Sharing::Alone)?)
    };
    match (name, wanted.write.format, folder.parent()) {
        (Some(name), ..) => of_parent(folder, name),
        (None, VirtualFormat::KerchunkParquet, Some((parent, name))) => of_parent(&parent, &name),
        (None, ..) => crate::publish::lock(folder, Sharing::Alone),
    }
}

/// A dataset that is planned.
struct Ready {
    report: Report,
    wanted: VirtualRequest,
    parts: Vec<Part>,
    record: Record,
    there: There,
    /// Whether what is there is whole.
    condition: Condition,
    /// What there is to say if nothing need be done.
    outcome: Option<&'static str>,
}

impl Ready {
    fn of(
        verb: &str,
        wanted: &VirtualRequest,
        there: There,
        how: How,
        place: Place<'_>,
        watch: Watch<'_>,
    ) -> Result<Self, EngineError> {
        if let There::Other(what) = &there {
            return Err(foreign(place.0, what));
        }
        let wanted = with_known(wanted, how, &there)?;
        let planned = parts(&wanted, scanned(&wanted.request)?)?;
        Self::with(verb, wanted, planned, there, how, place, watch)
    }

    fn with(
        verb: &str,
        wanted: VirtualRequest,
        Planned { parts, why_split }: Planned,
        there: There,
        how: How,
        (folder, _): Place<'_>,
        watch: Watch<'_>,
    ) -> Result<Self, EngineError> {
        for part in &parts {
            expect::check_combined(&wanted.request.expect, &part.combined)?;
        }
        if expect::is_about_values(&wanted.request.expect) {
            expect::check_values(&wanted.request.expect, &prepare(&wanted.request)?, watch.stop)?;
        }
        let record = record(&wanted, &parts)?;
        // Whoever has it made anew wants it whole.
        let depth = if how == How::Replace { Depth::All } else { Depth::Present };
        let condition = match there.damage(folder, depth)? {
            Some(what) if how != How::Replace => return Err(exists(folder, &what)),
            Some(_) => Condition::Damaged,
            None => Condition::Whole,
        };
        let outcome = match there.compared(&record) {
            // What is damaged, or may be without anybody seeing it, is written anew where that is asked for.
            _ if how == How::Replace && (condition == Condition::Damaged || !there.has_digests()) => None,
            Compared::Same if how == How::Extend => Some("nothing-new"),
            Compared::Same => Some("already-there"),
            // Readers of Icechunk compare times and tags: references to touched files are made anew.
            Compared::Touched if wanted.write.format != VirtualFormat::Icechunk => Some("already-there"),
            Compared::Other if how == How::Create => {
                return Err(exists(folder, "it was made of other files, or with other options"));
            }
            Compared::Unknown if how == How::Create => {
                return Err(exists(
                    folder,
                    "its files were touched or rewritten since, and no digest of them was taken",
                ));
            }
            Compared::Touched | Compared::Other | Compared::Unknown | Compared::Nothing => None,
        };
        let mut report = Report::of(verb);
        report.more.insert("store".into(), json!(wanted.request.target.to_string()));
        report.more.insert("format".into(), json!(wanted.write.format));
        tell(&mut report, &wanted, (&parts, why_split.as_deref()), &record);
        report.more.insert("outcome".into(), json!(outcome.unwrap_or("planned")));
        Ok(Self { report, wanted, parts, record, there, condition, outcome })
    }

    fn is_done(&self, stage: Stage) -> bool {
        stage == Stage::DryRun || self.outcome.is_some()
    }

    /// Does it.
    fn run(mut self, place: Place<'_>, watch: Watch<'_>) -> Result<Report, EngineError> {
        (watch.planned)(&self.report);
        let written = write(&self, place, watch)?;
        self.report.more.extend(written);
        self.report.total("written_bytes", watch.progress.now().written_bytes);
        self.report.more.insert("outcome".into(), json!("written"));
        Ok(self.report)
    }
}

/// Does what is ready, with the lock in hand.
fn locked(
    verb: &str,
    wanted: &VirtualRequest,
    ready: Ready,
    how: How,
    place: Place<'_>,
    watch: Watch<'_>,
) -> Result<Report, EngineError> {
    let now = There::of(wanted.write.format, place.0, place.1)?;
    // Somebody may have been here between the look and the lock.
    let ready = match now.is_as(&ready.there) {
        true => ready,
        false => Ready::of(verb, wanted, now, how, place, watch)?,
    };
    if ready.is_done(Stage::All) {
        return Ok(ready.report);
    }
    let can_be_split = ready.parts.len() == 1;
    match ready.run(place, watch) {
        // A value that does not fit shows only when it is made.
        Err(error @ EngineError::Value { .. }) if can_be_split && can_split(wanted, &error) => {
            let there = There::of(wanted.write.format, place.0, place.1)?;
            let wanted = with_known(wanted, how, &there)?;
            let Some(parts) = split(&wanted, &wanted.request, scanned(&wanted.request)?)? else { return Err(error) };
            let planned = Planned { parts, why_split: Some(error.to_string()) };
            let ready = Ready::with(verb, wanted, planned, there, how, place, watch)?;
            if ready.is_done(Stage::All) { Ok(ready.report) } else { ready.run(place, watch) }
        }
        done => done,
    }
}

/// Makes what must be made and writes the references.
fn write(
    Ready { wanted, parts, record, there, condition, .. }: &Ready,
    (folder, name): (&Folder, Option<&str>),
    watch: Watch<'_>,
) -> Result<serde_json::Map<String, serde_json::Value>, EngineError> {
    let keeping = Keeping {
        folder: (wanted.write.format == VirtualFormat::Icechunk).then_some(folder),
        inline_below: usize::try_from(wanted.write.inline_below.0).unwrap_or(usize::MAX),
        inline_coords: wanted.write.inline_coords,
        condition: *condition,
    };
    let natives = parts
        .iter()
        .map(|part| {
            let n_arrays = part.laid.targets.len();
            make_natives(part.work.as_ref(), &part.sources, n_arrays, &keeping, (watch.progress, watch.stop))
        })
        .collect::<Result<Vec<Natives>, _>>()?;
    for part in parts {
        crate::unchanged::check(&part.sources)?;
    }
    let mut more = serde_json::Map::new();
    match (wanted.write.format, name) {
        (VirtualFormat::Icechunk, _) => {
            // A damaged repository begins anew: nothing of it is built upon.
            let (tip, before) = match there {
                There::Repository(tip, record) if *condition == Condition::Whole => (Some(&**tip), record.as_deref()),
                _ => (None, None),
            };
            let n_files: usize = parts.iter().map(|part| part.sources.len()).sum();
            let message = format!("{n_files} {}", if n_files == 1 { "file" } else { "files" });
            let id = icechunk::commit(&Commit {
                folder,
                tip,
                held: there.held(),
                before,
                parts,
                natives: &natives,
                record,
                message,
            })?;
            more.insert("snapshot".into(), json!(id.name()));
        }
        (VirtualFormat::KerchunkJson, Some(name)) => {
            let target = &wanted.request.target;
            let n_bytes = beside::document(target, name, |folder| write_json(folder, name, parts, &natives, record))?;
            watch.progress.written(n_bytes);
        }
        (VirtualFormat::KerchunkJson, None) => {}
        (VirtualFormat::KerchunkParquet, _) => {
            let target = &wanted.request.target;
            let n_bytes = beside::folder(target, |folder| tables::write(folder, parts, &natives, record))?;
            watch.progress.written(n_bytes);
        }
    }
    Ok(more)
}
