//! The law of a run: whatever the cuts, the memory and the threads, the store holds the elements of the sources, each
//! in its place, and equal inputs give equal bytes.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use frazil_engine::{
    EngineError,
    identity::{Digested, RangeSum},
    progress::Progress,
    run::{Job, Pace, Sink, run},
    scan::{Load, scan},
    source::Source,
};
use frazil_formats::codecs::{ChunkForm, Codecs};
use frazil_model::{
    attribute::Attributes,
    codec::{Codec, CodecChain},
    combine::{Combined, CombinedVariable, Content, Piece, view::ViewAxis},
    dtype::{DataType, IntType},
    layout::TargetArray,
    location::Location,
    packing::ValueRule,
    plan::{Cuts, Limits, plan_array, tasks},
    region::{Region, coordinates_of, count, grid_of, number_of},
};
use proptest::prelude::*;

static N_FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let number = N_FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("frazil-rechunk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A netCDF-3 file with one variable `v` of int32: element `i` is `first + i`.
fn netcdf3(shape: &[u64], first: u32) -> Vec<u8> {
    let mut file = b"CDF\x01\0\0\0\0\0\0\0\x0a".to_vec();
    let word = |file: &mut Vec<u8>, number: u64| file.extend((number as u32).to_be_bytes());
    word(&mut file, shape.len() as u64);
    for (axis, length) in shape.iter().enumerate() {
        word(&mut file, 1);
        file.extend([b'a' + axis as u8, 0, 0, 0]);
        word(&mut file, *length);
    }
    file.extend([0; 8]);
    for number in [11, 1, 1] {
        word(&mut file, number);
    }
    file.extend(*b"v\0\0\0");
    word(&mut file, shape.len() as u64);
    (0..shape.len()).for_each(|axis| word(&mut file, axis as u64));
    file.extend([0; 8]);
    for number in [4, count(shape) * 4] {
        word(&mut file, number);
    }
    let begin = file.len() as u64 + 4;
    word(&mut file, begin);
    (0..count(shape)).for_each(|number| file.extend((first + number as u32).to_be_bytes()));
    file
}

/// Bytes of units by place, and what counts as read for each.
type Units = BTreeMap<Vec<u64>, (Vec<u8>, Vec<(usize, RangeSum)>)>;

/// Keeps what is put.
#[derive(Default)]
struct Kept(Mutex<Units>);

impl Sink for Kept {
    fn put(
        &self,
        _: usize,
        at: &[u64],
        bytes: Option<Digested<'_>>,
        read: &[(usize, RangeSum)],
    ) -> Result<(), EngineError> {
        let mut read = read.to_vec();
        read.sort_by_key(|(file, _)| *file);
        let known = self
            .0
            .lock()
            .unwrap()
            .insert(at.to_vec(), (bytes.map(|bytes| bytes.bytes().to_vec()).unwrap_or_default(), read));
        assert!(known.is_none(), "unit {at:?} is put once");
        Ok(())
    }
}

/// Files of one variable, and how it is to be cut.
#[derive(Debug, Clone)]
struct Case {
    /// Lengths of the files along the first dimension.
    files: Vec<u64>,
    inner: Vec<u64>,
    chunk: Vec<u64>,
    /// Chunks of a shard along each dimension; empty: no shards.
    shard: Vec<u64>,
    codec: Codec,
}

impl Case {
    fn shape(&self) -> Vec<u64> {
        std::iter::once(self.files.iter().sum()).chain(self.inner.iter().copied()).collect()
    }

    fn target(&self) -> TargetArray {
        let shape = self.shape();
        let shard = self.chunk.iter().zip(&self.shard).map(|(chunk, n)| chunk * n).collect();
        TargetArray {
            path: "/v".into(),
            dimensions: (0..shape.len()).map(|axis| axis.to_string()).collect(),
            shape,
            dtype: DataType::Int(IntType::I32),
            fill: vec![9, 0, 0, 0],
            attributes: Attributes::default(),
            chunk_shape: self.chunk.clone(),
            shard_shape: (!self.shard.is_empty()).then_some(shard),
            codecs: CodecChain { steps: vec![self.codec.clone()], ..CodecChain::default() },
            keeps_chunks: false,
            leaves_out_unwritten: true,
        }
    }

    fn sources(&self, folder: &Folder) -> Vec<Source> {
        let mut first = 0;
        let mut sources = Vec::new();
        for (number, length) in self.files.iter().enumerate() {
            let path = folder.0.join(format!("{number}.nc")).display().to_string();
            let shape: Vec<u64> = std::iter::once(*length).chain(self.inner.iter().copied()).collect();
            std::fs::write(&path, netcdf3(&shape, first)).unwrap();
            first += count(&shape) as u32;
            sources.push(scan(&Location::File(path.clone()), &path, Load::Nothing).unwrap());
        }
        sources
    }

    fn combined(&self) -> Combined {
        let shape = self.shape();
        let (mut pieces, mut begin) = (Vec::new(), 0);
        for (file, length) in self.files.iter().enumerate() {
            let mut at = Region::whole(&shape);
            (at.start[0], at.shape[0]) = (begin, *length);
            begin += length;
            let axes = (0..shape.len()).map(|axis| ViewAxis::Source { axis, start: 0, step: 1 }).collect();
            pieces.push(Piece { file, variable: 0, at, axes, fixed: vec![], rule: ValueRule::Verbatim });
        }
        let target = self.target();
        let variable = CombinedVariable {
            path: target.path,
            dimensions: target.dimensions,
            source_chunk_shape: shape.clone(),
            shape,
            dtype: target.dtype,
            fill: target.fill,
            attributes: target.attributes,
            is_chunked: false,
            source_codecs: None,
            along: Some(0),
            content: Content::Pieces(pieces),
        };
        let (groups, dropped, notes, must_equal) = (vec![], vec![], vec![], vec![]);
        Combined { groups, variables: vec![variable], along: None, dropped, notes, must_equal }
    }

    /// All units, made within `task_bytes` and `encoded_bytes`.
    fn made(&self, sources: &[Source], n_workers: usize, task_bytes: u64, encoded_bytes: u64) -> Units {
        let (target, combined) = (self.target(), self.combined());
        let task_bytes = task_bytes.max(target.chunk_bytes());
        let content = &combined.variables[0].content;
        let cuts = Cuts::of(content, &target.shape, &|piece| sources[piece.file].variable(0).chunk_shape.clone(), 100);
        let limits = Limits { memory_bytes: task_bytes, n_threads: 2 };
        let plan = plan_array(&target, &cuts, task_bytes, 1, limits).unwrap();
        let tasks = tasks(0, &target, &plan);
        // A shard that is made in rounds holds all the memory of encoded units, so nobody else may want it.
        let n_tasks = if target.shard_shape.is_some() { 1 } else { 2 };
        let pace = Pace { n_workers, n_tasks, task_bytes, n_encoders: n_workers, encoded_bytes };
        let targets = [target];
        let job = Job { sources, combined: &combined, targets: &targets, tasks: &tasks, pace, grown: None };
        let kept = Kept::default();
        run(&job, &kept, &Progress::default(), &AtomicBool::new(false)).unwrap();
        kept.0.into_inner().unwrap()
    }

    /// The elements of all units, as one array.
    fn decoded(&self, units: &Units) -> Vec<u32> {
        let target = self.target();
        let mut all = vec![u32::MAX; count(&target.shape) as usize];
        let mut codecs = Codecs::new();
        let per_unit = grid_of(target.unit_shape(), &target.chunk_shape);
        let n_chunks = count(&per_unit) as usize;
        for (at, (bytes, _)) in units {
            for number in 0..n_chunks {
                let within = coordinates_of(number as u64, &per_unit);
                let cell: Vec<u64> = (0..at.len()).map(|axis| at[axis] * per_unit[axis] + within[axis]).collect();
                let first: Vec<u64> =
                    cell.iter().zip(&target.chunk_shape).map(|(cell, length)| cell * length).collect();
                let mut stored = bytes.as_slice();
                if target.shard_shape.is_some() {
                    let index = &bytes[bytes.len() - 16 * n_chunks - 4..][16 * number..][..16];
                    let word = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap());
                    let is_outside = first.iter().zip(&target.shape).any(|(first, length)| first >= length);
                    assert_eq!(word(0) == u64::MAX, is_outside, "exactly the chunks of the array are there");
                    if is_outside {
                        continue;
                    }
                    stored = &bytes[word(0) as usize..][..word(8) as usize];
                }
                let decoded_bytes = target.chunk_bytes() as usize;
                let form = ChunkForm { chain: &target.codecs, swap_bytes: 4, decoded_bytes };
                let elements = codecs.decode(&form, stored, 0).unwrap();
                for (number, element) in elements.as_chunks::<4>().0.iter().enumerate() {
                    let inside = coordinates_of(number as u64, &target.chunk_shape);
                    let place: Vec<u64> = inside.iter().zip(&first).map(|(inside, first)| first + inside).collect();
                    if place.iter().zip(&target.shape).all(|(at, length)| at < length) {
                        all[number_of(&place, &target.shape) as usize] = u32::from_le_bytes(*element);
                    } else {
                        assert_eq!(*element, [9, 0, 0, 0], "what lies outside the array is the fill value");
                    }
                }
            }
        }
        all
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let codec = prop_oneof![
        Just(Codec::Zstd { level: Some(3) }),
        Just(Codec::Gzip { level: Some(1) }),
        Just(Codec::Blosc { cname: "zstd".into(), clevel: 3, shuffle: 1, element_bytes: 4 }),
    ];
    (1..4_usize).prop_flat_map(move |n_axes| {
        let shard = prop_oneof![Just(vec![]), proptest::collection::vec(1..4_u64, n_axes)];
        let files = proptest::collection::vec(1..9_u64, 1..5);
        let inner = proptest::collection::vec(1..12_u64, n_axes - 1);
        (files, inner, proptest::collection::vec(1..7_u64, n_axes), shard, codec.clone())
            .prop_map(|(files, inner, chunk, shard, codec)| Case { files, inner, chunk, shard, codec })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_its_sources_whatever_the_memory_and_the_threads(
        case in cases(),
        n_workers in 1..4_usize,
        task_bytes in 1..2000_u64,
        encoded_bytes in 0..6000_u64,
    ) {
        let folder = Folder::new();
        let sources = case.sources(&folder);
        // Enough for the worst unit, and sometimes not more.
        let n_elements = count(case.target().unit_shape());
        let worst = n_elements * 4 + (n_elements + 1) * 5000;
        let ample = case.made(&sources, 1, u64::MAX >> 8, 1 << 30);
        let scarce = case.made(&sources, n_workers, task_bytes, worst + encoded_bytes);
        prop_assert_eq!(&ample, &scarce);
        let expected: Vec<u32> = (0..count(&case.shape()) as u32).collect();
        prop_assert_eq!(case.decoded(&scarce), expected);
    }
}

#[test]
fn a_plain_variable_that_does_not_divide_into_pieces_is_read_to_its_end() {
    let codec = Codec::Zstd { level: Some(1) };
    let case = Case { files: vec![5], inner: vec![500_000], chunk: vec![5, 100_000], shard: vec![], codec };
    let folder = Folder::new();
    let sources = case.sources(&folder);
    assert!(sources[0].variable(0).chunk_shape[0] < 5, "it is read in pieces");
    let made = case.made(&sources, 2, 8 << 20, 8 << 20);
    assert!(case.decoded(&made).iter().enumerate().all(|(number, value)| number as u32 == *value));
}
