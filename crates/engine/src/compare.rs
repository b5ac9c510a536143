//! Whether the values of a store are those of its sources: every one of them, decoded from both sides.
//!
//! The sources are scanned and joined anew, the store is read as a reader of Zarr would; nothing that the build kept
//! is used. It promises to name, for each array, the first element that differs with both values, and each source
//! that is not what the receipt says. It takes no more memory than the plan of the sources' own build.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use frazil_formats::codecs::Loose;
use frazil_model::{
    combine::{Combined, CombinedVariable, Content},
    dtype::{DataType, FloatType},
    layout::TargetArray,
    plan::Task,
    region::{Region, coordinates_of, count, number_of},
};
use frazil_store::folder::Folder;

use crate::{
    boxes::Boxes,
    error::EngineError,
    prepare::Prepared,
    receipt::Receipt,
    run::{
        buffer::{ChunkBuffer, Pool},
        gather::{self, Elements, scatter},
    },
    source::{ChunkReader, Source},
    store::StoreBoxes,
    strided::{self, Walk, c_strides},
    verify::{Finding, Verified, region_text},
};

/// Most bytes of one decoded chunk of the store.
pub(crate) const CHUNK_LIMIT_BYTES: u64 = 2 << 30;

/// Boxes of one array of which the first difference is named; the others would say the same.
const MOST_OF_AN_ARRAY: u64 = 20;

/// Compares the store at `root` with what `prepared` says of its sources, and adds what differs to `found`. Answers
/// how many values were compared.
///
/// # Errors
/// If the store or a source cannot be read; [`EngineError::Interrupted`] once `stop` is set.
pub fn compare(
    root: &Folder,
    prepared: &Prepared,
    stop: &AtomicBool,
    found: &mut Verified,
) -> Result<u64, EngineError> {
    compare_sources(root, prepared, found)?;
    let name = root.to_string();
    let given = Given {
        prefix: "",
        sources: &prepared.sources,
        combined: &prepared.combined,
        targets: &prepared.targets,
        tasks: &prepared.tasks,
        n_threads: prepared.pace.n_tasks,
    };
    compare_boxes(&|| StoreBoxes::open(&root.clone().into(), &name, CHUNK_LIMIT_BYTES), &[given], stop, found)
}

/// What files give, and the boxes in which it is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// The group of the store that should hold it: nothing, or `/era-1`.
    pub prefix: &'a str,
    /// The files.
    pub sources: &'a [Source],
    /// What they are joined to.
    pub combined: &'a Combined,
    /// The arrays.
    pub targets: &'a [TargetArray],
    /// Boxes of them.
    pub tasks: &'a [Task],
    /// Boxes that are held at a time.
    pub n_threads: usize,
}

/// The same of the store that `open` opens, and of all that should be in it.
///
/// # Errors
/// As for [`compare`].
pub(crate) fn compare_boxes(
    open: &(dyn Fn() -> Result<StoreBoxes, EngineError> + Sync),
    given: &[Given<'_>],
    stop: &AtomicBool,
    found: &mut Verified,
) -> Result<u64, EngineError> {
    let store = open()?;
    for variable in &store.dataset().variables {
        let is_given = |part: &Given<'_>| part.targets.iter().any(|target| part.path(target) == variable.path);
        if !given.iter().any(is_given) {
            found.add(of_array(&variable.path, "the sources have no such array".into()));
        }
    }
    given.iter().try_fold(0, |sum, part| Ok(sum + compare_part(open, &store, *part, stop, found)?))
}

fn compare_part(
    open: &(dyn Fn() -> Result<StoreBoxes, EngineError> + Sync),
    store: &StoreBoxes,
    given: Given<'_>,
    stop: &AtomicBool,
    found: &mut Verified,
) -> Result<u64, EngineError> {
    let comparison = Comparison {
        given,
        numbers: matching_arrays(store, given, found),
        n_values: AtomicU64::new(0),
        n_of_array: given.targets.iter().map(|_| AtomicU64::new(0)).collect(),
        found: Mutex::new(found),
    };
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), EngineError> {
        let mut store = open()?;
        let mut reader = ChunkReader::default();
        while let Some(task) = given.tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return Err(EngineError::Interrupted { resume: None });
            }
            comparison.compare_box(task, &mut store, &mut reader)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..given.n_threads.max(1)).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| EngineError::Thread { reason: "while comparing values".into() })?
        })
    })?;
    Ok(comparison.n_values.into_inner())
}

/// Names each source that is not what the receipt says.
fn compare_sources(root: &Folder, prepared: &Prepared, found: &mut Verified) -> Result<(), EngineError> {
    // A receipt that is damaged or lost was named already.
    let receipt = match Receipt::of(root) {
        Ok(Some(receipt)) => receipt,
        Ok(None) | Err(EngineError::NotOurs { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let of_source = |name: &str, problem: &str| Finding {
        key: None,
        array: None,
        region: None,
        source: Some(name.to_owned()),
        problem: problem.to_owned(),
    };
    let mut records: BTreeMap<&str, _> = receipt.sources.iter().map(|record| (record.name.as_str(), record)).collect();
    for source in &prepared.sources {
        let problem = match records.remove(source.name.as_str()) {
            None => "the store was not made of it",
            Some(record) if record.size_bytes != source.fingerprint.size_bytes => {
                "it has changed since the store was made: its size is another"
            }
            Some(record) if record.structure != source.structure() => {
                "it has changed since the store was made: its structure or its attributes are others"
            }
            Some(_) => continue,
        };
        found.add(of_source(&source.name, problem));
    }
    for name in records.keys() {
        found.add(of_source(name, "the store was made of it, and it is not among the sources given"));
    }
    Ok(())
}

impl Given<'_> {
    /// Where an array is in the store.
    fn path(&self, target: &TargetArray) -> String {
        format!("{}{}", self.prefix, target.path)
    }
}

/// A problem of an array as a whole.
fn of_array(path: &str, problem: String) -> Finding {
    Finding { key: None, array: Some(path.to_owned()), region: None, source: None, problem }
}

/// The number in the store of each array that the sources give; one that is not there, or is another, is a problem.
fn matching_arrays(store: &StoreBoxes, given: Given<'_>, found: &mut Verified) -> Vec<Option<usize>> {
    let there = &store.dataset().variables;
    let number_of_target = |target: &TargetArray| {
        let path = given.path(target);
        let Some(number) = there.iter().position(|variable| variable.path == path) else {
            found.add(of_array(&path, "the store has no such array".into()));
            return None;
        };
        let variable = &there[number];
        // Zarr has no enumerations: their numbers stand for them.
        let type_of = |dtype: &DataType| match dtype {
            DataType::Enum { base, .. } => (base.to_string(), Some(base.size_bytes())),
            other => (other.to_string(), other.size_bytes()),
        };
        if variable.shape != target.shape || type_of(&variable.dtype) != type_of(&target.dtype) {
            let problem = format!(
                "the store holds {} of shape {:?}; the sources give {} of shape {:?}",
                variable.dtype, variable.shape, target.dtype, target.shape
            );
            found.add(of_array(&path, problem));
            return None;
        }
        Some(number)
    };
    given.targets.iter().map(number_of_target).collect()
}

struct Comparison<'a> {
    given: Given<'a>,
    numbers: Vec<Option<usize>>,
    n_values: AtomicU64,
    n_of_array: Vec<AtomicU64>,
    found: Mutex<&'a mut Verified>,
}

impl Comparison<'_> {
    fn compare_box(&self, task: &Task, store: &mut StoreBoxes, reader: &mut ChunkReader) -> Result<(), EngineError> {
        let Some(number) = self.numbers.get(task.array).copied().flatten() else { return Ok(()) };
        let target = &self.given.targets[task.array];
        let region = region_of(task, target);
        if region.n_elements() == 0 {
            return Ok(());
        }
        let variable = &self.given.combined.variables[task.array];
        let difference = if let Content::Texts(texts) = &variable.content {
            first_other_text(texts, &target.shape, &region, &store.texts(number, &region)?)
        } else {
            let element_bytes = target.dtype.size_bytes().unwrap_or(1) as usize;
            let expected = expected(self.given.sources, variable, &region, reader)?;
            let mut there = vec![0; expected.len()];
            match store.read(number, &region, &mut there) {
                Ok(()) => first_other(&target.dtype, element_bytes, &expected, &there),
                Err(EngineError::Chunk { source, .. }) => Some((0, format!("it cannot be decoded: {source}"))),
                Err(error) => return Err(error),
            }
        };
        self.n_values.fetch_add(region.n_elements(), Ordering::Relaxed);
        if let Some((element, problem)) = difference
            && self.n_of_array[task.array].fetch_add(1, Ordering::Relaxed) < MOST_OF_AN_ARRAY
        {
            self.name(variable, &region, element, problem);
        }
        Ok(())
    }

    /// Notes the first difference within a box.
    fn name(&self, variable: &CombinedVariable, region: &Region, element: u64, problem: String) {
        let within = coordinates_of(element, &region.shape);
        let start: Vec<u64> = within.iter().zip(&region.start).map(|(at, start)| at + start).collect();
        let here = Region { shape: vec![1; start.len()], start };
        let source = self.file_of(variable, &here).map(|file| self.given.sources[file].name.clone());
        let path = format!("{}{}", self.given.prefix, variable.path);
        let finding =
            Finding { key: None, region: Some(region_text(&path, &here)), array: Some(path), source, problem };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).add(finding);
    }

    /// The file that an element comes from. Small variables are joined before they are cut into boxes of files, so of
    /// these it is known where they are alike in all files, or through a larger variable of the same labels.
    fn file_of(&self, variable: &CombinedVariable, here: &Region) -> Option<usize> {
        let holds = |content: &Content, is_it: &dyn Fn(&Region) -> bool| match content {
            Content::Pieces(pieces) => pieces.iter().find(|piece| is_it(&piece.at)).map(|piece| piece.file),
            _ => None,
        };
        if let Content::Pieces(_) = variable.content {
            return holds(&variable.content, &|at| here.start.is_empty() || at.intersect(here).is_some());
        }
        if self.given.sources.len() == 1 {
            return Some(0);
        }
        let axis = variable.along?;
        let (name, index) = (variable.dimensions.get(axis)?, *here.start.get(axis)?);
        self.given.combined.variables.iter().find_map(|other| {
            let axis = other.dimensions.iter().position(|dimension| dimension == name)?;
            holds(&other.content, &|at| (at.start[axis]..at.end(axis)).contains(&index))
        })
    }
}

/// The elements that a box of the store should hold, read from the sources.
///
/// # Errors
/// If a source cannot be read or a value not be mapped.
pub(crate) fn expected(
    sources: &[Source],
    variable: &CombinedVariable,
    region: &Region,
    reader: &mut ChunkReader,
) -> Result<Vec<u8>, EngineError> {
    let element_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
    let pieces = match &variable.content {
        Content::Pieces(pieces) => pieces,
        Content::Inline(all) => return Ok(cut(all, &variable.shape, region, element_bytes)),
        Content::Texts(_) => return Ok(Vec::new()),
    };
    let buffer = ChunkBuffer::new(&Pool::default(), region.clone(), &region.shape, element_bytes, Some(&variable.fill));
    let mut scratch = Vec::new();
    for read in gather::reads(pieces, variable.along, region, sources) {
        let piece = &pieces[read.piece];
        let source = &sources[piece.file];
        let elements = reader.elements(source, piece.variable, read.chunk, &mut |_, _| {})?;
        let fill = &source.variable(piece.variable).fill;
        let elements = elements.map(Loose::Elements).map_or(Elements::Fill(fill), Elements::Chunk);
        scatter(&read, piece, source, elements, &[&buffer], &region.shape, &mut scratch)?;
    }
    Ok(buffer.take_whole().to_vec())
}

/// The box of an array that a task makes.
pub(crate) fn region_of(task: &Task, target: &TargetArray) -> Region {
    let unit = target.unit_shape();
    let start: Vec<u64> = task.first.iter().zip(unit).map(|(first, length)| first * length).collect();
    let cell = task.n_units.iter().zip(unit).map(|(n_units, length)| n_units * length);
    let end = start.iter().zip(cell).zip(&target.shape).map(|((first, cell), length)| (first + cell).min(*length));
    let shape = end.zip(&start).map(|(end, first)| end.saturating_sub(*first)).collect();
    Region { start, shape }
}

/// A box of elements that are all in memory.
fn cut(all: &[u8], shape: &[u64], region: &Region, element_bytes: usize) -> Vec<u8> {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut into = vec![0; size(region.n_elements()) * element_bytes];
    let strides = c_strides(shape);
    let offset = region.start.iter().zip(&strides).map(|(start, stride)| size(*start) * stride.unsigned_abs()).sum();
    let to = Walk { offset: 0, strides: c_strides(&region.shape) };
    let extents: Vec<usize> = region.shape.iter().map(|length| size(*length)).collect();
    strided::copy(all, &Walk { offset, strides }, &mut into, &to, &extents, element_bytes);
    into
}

/// The first element that differs, by its number in the box, with both values.
fn first_other(dtype: &DataType, element_bytes: usize, expected: &[u8], there: &[u8]) -> Option<(u64, String)> {
    if expected == there {
        return None;
    }
    let mut pairs = expected.chunks(element_bytes.max(1)).zip(there.chunks(element_bytes.max(1)));
    let number = pairs.position(|(a, b)| a != b)?;
    let value = |bytes: &[u8]| {
        let cell = bytes.get(number * element_bytes..(number + 1) * element_bytes).unwrap_or_default();
        value_text(dtype, cell)
    };
    Some((number as u64, differing(&value(there), &value(expected))))
}

fn first_other_text(
    all: &[Option<String>],
    shape: &[u64],
    region: &Region,
    there: &[Option<String>],
) -> Option<(u64, String)> {
    (0..count(&region.shape)).zip(there).find_map(|(number, there)| {
        let at: Vec<u64> =
            coordinates_of(number, &region.shape).iter().zip(&region.start).map(|(at, start)| at + start).collect();
        let expected = usize::try_from(number_of(&at, shape)).ok().and_then(|at| all.get(at)?.as_deref());
        // Zarr has no text that was never written: it is empty.
        let (there, expected) = (there.as_deref().unwrap_or_default(), expected.unwrap_or_default());
        (there != expected).then(|| (number, differing(&format!("{there:?}"), &format!("{expected:?}"))))
    })
}

fn differing(there: &str, expected: &str) -> String {
    format!("the store holds {there}; the source {expected}")
}

/// An element as people read it; what has no words is shown as its bytes.
fn value_text(dtype: &DataType, cell: &[u8]) -> String {
    let as_hex = || cell.iter().rev().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    match dtype {
        DataType::Float(FloatType::F32) => {
            cell.first_chunk::<4>().map_or_else(as_hex, |bytes| format!("{:?}", f32::from_le_bytes(*bytes)))
        }
        DataType::Float(FloatType::F64) => {
            cell.first_chunk::<8>().map_or_else(as_hex, |bytes| format!("{:?}", f64::from_le_bytes(*bytes)))
        }
        DataType::Int(int) => {
            let is_negative = int.is_signed() && cell.last().is_some_and(|byte| *byte >= 0x80);
            let mut wide = [if is_negative { 0xff } else { 0 }; 16];
            wide.iter_mut().zip(cell).for_each(|(wide, byte)| *wide = *byte);
            i128::from_le_bytes(wide).to_string()
        }
        _ => as_hex(),
    }
}

#[cfg(test)]
mod tests {
    use frazil_model::dtype::IntType;

    use super::*;

    #[test]
    fn values_are_shown_as_people_read_them() {
        assert_eq!(value_text(&DataType::Int(IntType::I16), &(-3_i16).to_le_bytes()), "-3");
        assert_eq!(value_text(&DataType::Int(IntType::U64), &u64::MAX.to_le_bytes()), u64::MAX.to_string());
        assert_eq!(value_text(&DataType::Float(FloatType::F32), &0.1_f32.to_le_bytes()), "0.1");
        assert_eq!(value_text(&DataType::Bool, &[1]), "0x01");
    }

    #[test]
    fn the_first_difference_is_named_and_a_nan_equals_itself() {
        let of = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let float = DataType::Float(FloatType::F32);
        assert_eq!(first_other(&float, 4, &of(&[f32::NAN, 1.0]), &of(&[f32::NAN, 1.0])), None);
        let other = first_other(&float, 4, &of(&[f32::NAN, 1.0, 2.0]), &of(&[f32::NAN, 1.5, 3.0]));
        assert_eq!(other, Some((1, "the store holds 1.5; the source 1.0".into())));
    }
}
