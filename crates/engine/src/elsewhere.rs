//! Values that a file says lie in other files: HDF5 external storage and virtual datasets.
//!
//! It promises that no file is opened outside the folder of the file that names it: a file from a stranger must not
//! read what is yours. What a virtual dataset names and is not there holds its fill value, as HDF5 has it; an
//! external file that is not there is an error.

use std::path::{Component, Path, PathBuf};

use frazil_model::{
    dtype::DataType,
    location::Location,
    manifest::{ExternalPart, Hyperslab, VirtualPart},
    range::ByteRange,
    region::{Region, count},
};
use frazil_store::{StoreError, read::Reader};

use crate::{
    boxes::{Boxes, FileBoxes},
    error::EngineError,
    others::OtherState,
    scan::{Load, scan},
    source::Source,
    strided,
};

/// Bytes read of a variable at once to fill a box of a virtual one.
pub(crate) const MOST_GATHERED_BYTES: u64 = 128 << 20;

/// A file that a virtual dataset names.
pub(crate) enum Other {
    /// It is there.
    Open(Box<FileBoxes>),
    /// It is not: its part holds the fill value.
    Missing,
}

/// Where a named file is.
pub(crate) enum Named {
    At(PathBuf),
    Nowhere,
    Outside,
}

/// The file `name` as the file at `location` means it.
pub(crate) fn resolve(location: &Location, name: &str) -> Named {
    let Location::File(path) = location else { return Named::Outside };
    let Some(folder) = Path::new(path).parent() else { return Named::Outside };
    let Ok(folder) = std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) else {
        return Named::Outside;
    };
    let wanted = plain(&folder.join(name));
    if wanted.starts_with(plain(&folder)) {
        return if wanted.is_file() { Named::At(wanted) } else { Named::Nowhere };
    }
    // HDF5 looks for an absolute name that is not there beside the file.
    let beside = Path::new(name).file_name().map(|last| folder.join(last)).filter(|path| path.is_file());
    match beside {
        Some(path) if Path::new(name).is_absolute() => Named::At(path),
        _ if wanted.exists() => Named::Outside,
        _ => Named::Nowhere,
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Reads bytes from `start` of the files of `parts`, which count as one. What lies behind the end of a file is zero.
pub(crate) fn read_external(
    source: &Source,
    number: usize,
    parts: &[ExternalPart],
    start: u64,
    into: &mut [u8],
) -> Result<(), EngineError> {
    let refuse = |reason: &str| source.unreadable(number, reason);
    into.fill(0);
    let end = start.saturating_add(into.len() as u64);
    let mut at = 0_u64;
    let mut buffer = Vec::new();
    for part in parts {
        let part_end = at.saturating_add(part.length);
        let (from, to) = (start.max(at), end.min(part_end));
        if from < to {
            let path = match resolve(&source.location, &part.file) {
                Named::At(path) => path,
                Named::Nowhere => return Err(refuse(&format!("there is no external file `{}`", part.file))),
                Named::Outside => {
                    return Err(refuse(&format!("its external file `{}` lies outside its folder", part.file)));
                }
            };
            let location = Location::File(path.to_string_lossy().into_owned());
            let listed = source.others.iter().find_map(|other| match &other.state {
                OtherState::Bytes(at, fingerprint) if *at == location => Some(fingerprint),
                _ => None,
            });
            let reader = match listed {
                Some(fingerprint) => Reader::open_as(&location, fingerprint)?,
                None => Reader::open(&location)?,
            };
            let first = part.offset.saturating_add(from - at);
            let n_bytes = (to - from).min(reader.size_bytes().saturating_sub(first));
            if let Some(range) = ByteRange::new(first, n_bytes) {
                reader.read_into(range, &mut buffer)?;
                let place = usize::try_from(from - start).unwrap_or(usize::MAX);
                if let Some(target) = into.get_mut(place..place.saturating_add(buffer.len())) {
                    target.copy_from_slice(&buffer);
                }
            }
        }
        at = part_end;
        if at >= end {
            return Ok(());
        }
    }
    Err(refuse("its external files hold less than its shape asks for"))
}

/// Opens the file that a virtual dataset names.
pub(crate) fn open_virtual(source: &Source, number: usize, name: &str) -> Result<Other, EngineError> {
    if name == "." {
        return Ok(Other::Open(Box::new(FileBoxes::new(source.clone(), 0))));
    }
    match source.others.iter().find(|other| other.name == name).map(|other| &other.state) {
        Some(OtherState::File(other)) => return Ok(Other::Open(Box::new(FileBoxes::new(other.source.clone(), 0)))),
        Some(OtherState::Absent) => return Ok(Other::Missing),
        _ => {}
    }
    let path = match resolve(&source.location, name) {
        Named::At(path) => path,
        Named::Nowhere => return Ok(Other::Missing),
        Named::Outside => return Err(source.unreadable(number, &format!("`{name}` lies outside its folder"))),
    };
    let location = Location::File(path.to_string_lossy().into_owned());
    match scan(&location, name, Load::Nothing) {
        Ok(other) => Ok(Other::Open(Box::new(FileBoxes::new(other, 0)))),
        Err(EngineError::Store(StoreError::NotFound { .. })) => Ok(Other::Missing),
        Err(error) => Err(error),
    }
}

/// The part of a mapping that fills a box.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Virtual {
    /// For each dimension, the chosen elements in the box: place in the mapping, place in the box.
    chosen: Vec<Vec<(u64, u64)>>,
    /// Elements of the box along each dimension.
    shape: Vec<u64>,
}

impl Virtual {
    /// What of `part` lies in `region`; `None` if nothing does.
    pub(crate) fn within(part: &VirtualPart, region: &Region) -> Result<Option<Self>, String> {
        if part.to.len() != region.shape.len() {
            return Err("a mapping has another number of dimensions than the variable".into());
        }
        let mut chosen = Vec::with_capacity(part.to.len());
        for (axis, slab) in part.to.iter().enumerate() {
            let found = in_range(slab, region.start[axis], region.end(axis))?;
            if found.is_empty() {
                return Ok(None);
            }
            chosen.push(found);
        }
        Ok(Some(Self { chosen, shape: region.shape.clone() }))
    }
}

/// Elements of a slab between `start` and `end`: their number in the slab, and their distance from `start`.
fn in_range(slab: &Hyperslab, start: u64, end: u64) -> Result<Vec<(u64, u64)>, String> {
    let mut found = Vec::new();
    if slab.count > 1 && slab.stride < slab.block.max(1) {
        return Err("the blocks of a mapping lie over one another".into());
    }
    let stride = slab.stride.max(1);
    let first = start.saturating_sub(slab.start).saturating_sub(slab.block) / stride;
    for number in first..slab.count {
        let Some(block) = number.checked_mul(stride).and_then(|distance| distance.checked_add(slab.start)) else {
            break;
        };
        if block >= end {
            break;
        }
        let from = block.max(start);
        for at in from..block.saturating_add(slab.block).min(end) {
            found.push((number * slab.block + (at - block), at - start));
        }
    }
    Ok(found)
}

/// Where element `number` of a slab lies.
fn place(slab: &Hyperslab, number: u64) -> Option<u64> {
    let block = slab.block.max(1);
    slab.start.checked_add((number / block).checked_mul(slab.stride)?)?.checked_add(number % block)
}

/// Copies the elements of one mapping into a box. The error is a reason.
pub(crate) fn gather(
    boxes: &mut FileBoxes,
    part: &VirtualPart,
    wanted: &Virtual,
    dtype: &DataType,
    element_bytes: usize,
    into: &mut [u8],
) -> Result<(), String> {
    let Some(number) = position(boxes.source(), &part.variable) else { return Ok(()) };
    let variable = boxes.source().variable(number).clone();
    if variable.dtype != *dtype {
        return Err(format!("`{}` in `{}` is {}, not {dtype}", part.variable, part.file, variable.dtype));
    }
    let from: Vec<Hyperslab> = if part.from.is_empty() {
        variable.shape.iter().map(|n| Hyperslab { start: 0, stride: *n, count: 1, block: *n }).collect()
    } else {
        part.from.clone()
    };
    if from.len() != variable.shape.len() {
        return Err(format!("a mapping has another number of dimensions than `{}`", part.variable));
    }
    let axes = pair_axes(&from, &part.to)?;
    // For each dimension of the source, the elements in the order of the box.
    let mut sources: Vec<Vec<u64>> = Vec::with_capacity(from.len());
    let mut targets: Vec<Vec<u64>> = Vec::with_capacity(from.len());
    let target_strides = strided::c_strides(&wanted.shape);
    let mut base = 0_usize;
    for (axis, found) in wanted.chosen.iter().enumerate() {
        if !axes.contains(&Some(axis)) {
            let (_, at) = found[0];
            base += usize::try_from(at).unwrap_or(0) * target_strides[axis].unsigned_abs();
        }
    }
    for (slab, axis) in from.iter().zip(&axes) {
        let length = variable.shape[sources.len()];
        let pairs: Vec<(u64, u64)> = match axis {
            Some(axis) => wanted.chosen[*axis]
                .iter()
                .filter_map(|(number, at)| {
                    Some((place(slab, *number)?, *at * target_strides[*axis].unsigned_abs() as u64))
                })
                .collect(),
            None => vec![(slab.start, 0)],
        };
        // A source that is shorter than the mapping leaves the rest to the fill value.
        let pairs = pairs.into_iter().filter(|(source, _)| *source < length);
        let (source, target): (Vec<u64>, Vec<u64>) = pairs.unzip();
        if source.is_empty() {
            return Ok(());
        }
        sources.push(source);
        targets.push(target);
    }
    let bounds = Region {
        start: sources.iter().map(|all| all.iter().copied().min().unwrap_or(0)).collect(),
        shape: sources
            .iter()
            .map(|all| {
                let (least, most) = (all.iter().copied().min().unwrap_or(0), all.iter().copied().max().unwrap_or(0));
                most - least + 1
            })
            .collect(),
    };
    let n_bytes = count(&bounds.shape).saturating_mul(element_bytes as u64);
    if n_bytes > MOST_GATHERED_BYTES {
        return Err(format!("its elements lie too far apart in `{}`", part.file));
    }
    let mut held = vec![0; usize::try_from(n_bytes).map_err(|_| "it is larger than memory".to_owned())?];
    boxes.read(number, &bounds, &mut held).map_err(|error| match &error {
        EngineError::Unreadable { reason, .. } => format!("`{}` in `{}`: {reason}", part.variable, part.file),
        _ => error.to_string(),
    })?;
    scatter(&held, &bounds, (&sources, &targets), base, element_bytes, into);
    Ok(())
}

/// Which dimension of the target each dimension of the source is; `None` for one of a single element.
fn pair_axes(from: &[Hyperslab], to: &[Hyperslab]) -> Result<Vec<Option<usize>>, String> {
    let extent = |slab: &Hyperslab| slab.count.saturating_mul(slab.block);
    let mut targets = to.iter().enumerate().filter(|(_, slab)| extent(slab) != 1);
    let mut axes = Vec::with_capacity(from.len());
    for slab in from {
        if extent(slab) == 1 {
            axes.push(None);
            continue;
        }
        match targets.next() {
            Some((axis, target)) if extent(target) == extent(slab) => axes.push(Some(axis)),
            _ => return Err("a mapping folds its elements into another shape".into()),
        }
    }
    if targets.next().is_some() { Err("a mapping folds its elements into another shape".into()) } else { Ok(axes) }
}

fn position(source: &Source, path: &str) -> Option<usize> {
    let path = format!("/{}", path.trim_matches('/'));
    let stored = source.decoded.manifest.hdf5.as_ref().map(|places| places.stored_paths.as_slice()).unwrap_or_default();
    let path = stored.iter().find(|(_, stored)| *stored == path).map_or(path.clone(), |(shown, _)| shown.clone());
    source.decoded.dataset.variables.iter().position(|variable| variable.path == path)
}

/// Puts the elements at `sources` of what is held to `targets` of the box, both by dimension.
fn scatter(
    held: &[u8],
    bounds: &Region,
    (sources, targets): (&[Vec<u64>], &[Vec<u64>]),
    base: usize,
    element_bytes: usize,
    into: &mut [u8],
) {
    let strides = strided::c_strides(&bounds.shape);
    let lengths: Vec<u64> = sources.iter().map(|all| all.len() as u64).collect();
    for number in 0..count(&lengths) {
        let at = frazil_model::region::coordinates_of(number, &lengths);
        let (mut source, mut target) = (0_usize, base);
        for (axis, place) in at.iter().enumerate() {
            let Ok(place) = usize::try_from(*place) else { return };
            let distance = usize::try_from(sources[axis][place] - bounds.start[axis]).unwrap_or(0);
            source += distance * strides[axis].unsigned_abs();
            target += usize::try_from(targets[axis][place]).unwrap_or(0);
        }
        let (from, to) = (source * element_bytes, target * element_bytes);
        if let (Some(from), Some(to)) = (held.get(from..from + element_bytes), into.get_mut(to..to + element_bytes)) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beside_is_found_and_one_outside_is_not_opened() {
        let folder = std::env::temp_dir().join(format!("frazil-elsewhere-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("in")).unwrap();
        std::fs::write(folder.join("in/a.bin"), b"a").unwrap();
        std::fs::write(folder.join("secret"), b"b").unwrap();
        let location = Location::File(folder.join("in/file.h5").to_str().unwrap().into());
        let found = |name: &str| match resolve(&location, name) {
            Named::At(_) => "there",
            Named::Nowhere => "nowhere",
            Named::Outside => "outside",
        };
        let absolute = folder.join("in/a.bin");
        assert_eq!(found("a.bin"), "there");
        assert_eq!(found("./x/../a.bin"), "there");
        assert_eq!(found(absolute.to_str().unwrap()), "there");
        assert_eq!(found("/nowhere/a.bin"), "there");
        assert_eq!(found("b.bin"), "nowhere");
        assert_eq!(found("../secret"), "outside");
        assert_eq!(found("/etc/passwd"), "outside");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn blocks_of_a_slab_are_counted_through() {
        let slab = Hyperslab { start: 1, stride: 4, count: 3, block: 2 };
        assert_eq!(in_range(&slab, 0, 100), Ok(vec![(0, 1), (1, 2), (2, 5), (3, 6), (4, 9), (5, 10)]));
        assert_eq!(in_range(&slab, 6, 10), Ok(vec![(3, 0), (4, 3)]));
        assert_eq!((0..6).map(|number| place(&slab, number).unwrap()).collect::<Vec<_>>(), [1, 2, 5, 6, 9, 10]);
    }
}
