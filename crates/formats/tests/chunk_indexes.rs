//! Chunk indexes of small files written by the HDF5 library: an array of 9 by 11 numbers that count up from 0, in
//! chunks of 4 by 3, once for each kind of index, with and without filters (shuffle, deflate).
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use frazil_formats::{
    FormatError, SparseBytes, Stop,
    codecs::{ChunkForm, Codecs},
    hdf5::chunk_index::{ChunkIndexKind, ChunkIndexRequest, chunk_ranges},
};
use frazil_model::{
    codec::{Codec, CodecChain},
    manifest::ChunkRanges,
};

const SHAPE: [u64; 2] = [9, 11];
const CHUNK: [u64; 2] = [4, 3];

struct Case {
    name: &'static str,
    filtered: bool,
    max_shape: [Option<u64>; 2],
    file: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let kinds = [
        ("btree1", [Some(9), Some(11)]),
        ("fixed_array", [Some(9), Some(20)]),
        ("extensible_array", [Some(9), None]),
        ("btree2", [None, None]),
    ];
    let each = |(name, max_shape)| {
        [("", false), ("_filtered", true)].map(|(suffix, filtered)| {
            let path = format!("{}/tests/data/{name}{suffix}.h5", env!("CARGO_MANIFEST_DIR"));
            Case { name, filtered, max_shape, file: std::fs::read(path).unwrap() }
        })
    };
    kinds.into_iter().flat_map(each).collect()
}

impl Case {
    /// The index's address, by its signature.
    fn kind(&self) -> ChunkIndexKind {
        let find = |signature: &[u8]| {
            self.file.windows(signature.len()).position(|window| window == signature).unwrap() as u64
        };
        match self.name {
            "btree1" => ChunkIndexKind::BTreeV1 { address: find(b"TREE\x01") },
            "fixed_array" => ChunkIndexKind::FixedArray { address: find(b"FAHD") },
            "extensible_array" => ChunkIndexKind::ExtensibleArray { address: find(b"EAHD") },
            _ => ChunkIndexKind::BTreeV2 { address: find(b"BTHD") },
        }
    }

    fn walk(&self, kind: ChunkIndexKind, file: &[u8]) -> Result<ChunkRanges, FormatError> {
        let request = ChunkIndexRequest {
            kind,
            shape: &SHAPE,
            max_shape: &self.max_shape,
            chunk_shape: &CHUNK,
            element_bytes: 2,
            filtered: self.filtered,
            offset_bytes: 8,
            length_bytes: 8,
            base_address: 0,
        };
        let mut sparse = SparseBytes::new(file.len() as u64);
        for _ in 0..20 {
            match chunk_ranges(&request, &sparse) {
                Ok(table) => return Ok(table),
                Err(Stop::Bad(error)) => return Err(error),
                Err(Stop::Need(wants)) => {
                    let missing = sparse.missing(&wants, 1);
                    assert!(!missing.is_empty(), "{}: asks for what is here", self.name);
                    for range in missing {
                        let (from, to) = (range.offset() as usize, range.end() as usize);
                        sparse.insert(range.offset(), Bytes::copy_from_slice(&file[from..to]));
                    }
                }
            }
        }
        panic!("{}: it takes too many rounds", self.name);
    }

    fn values(&self, table: &ChunkRanges) -> Vec<u16> {
        let steps = vec![Codec::Shuffle { element_bytes: 2 }, Codec::Deflate { level: None }];
        let chain = CodecChain { steps: if self.filtered { steps } else { Vec::new() }, ..CodecChain::default() };
        let form = ChunkForm { chain: &chain, swap_bytes: 2, decoded_bytes: 24 };
        let mut codecs = Codecs::new();
        let mut values = vec![u16::MAX; 99];
        for row in 0..table.len() {
            let (index, place) = (table.index.get(row).unwrap(), table.row(row).unwrap());
            let stored = &self.file[place.offset as usize..][..place.length as usize];
            let elements = codecs.decode(&form, stored, place.skipped_steps).unwrap();
            for (k, element) in elements.chunks_exact(2).enumerate() {
                let (y, x) = (index / 4 * 4 + k as u64 / 3, index % 4 * 3 + k as u64 % 3);
                if y < 9 && x < 11 {
                    values[(y * 11 + x) as usize] = u16::from_le_bytes([element[0], element[1]]);
                }
            }
        }
        values
    }
}

#[test]
fn every_kind_of_index_leads_to_the_values_that_were_written() {
    for case in cases() {
        let table = case.walk(case.kind(), &case.file).unwrap();
        assert_eq!(table.index, (0..12).collect(), "{} {}", case.name, case.filtered);
        assert_eq!(case.values(&table), (0..99).collect::<Vec<u16>>(), "{} {}", case.name, case.filtered);
    }
}

#[test]
fn a_damaged_byte_gives_an_error_or_an_answer_but_no_panic() {
    for case in cases() {
        let kind = case.kind();
        for at in 0..case.file.len() {
            for value in [0, 0x7f, 0xff] {
                let mut file = case.file.clone();
                file[at] = value;
                let _ = case.walk(kind.clone(), &file);
            }
        }
    }
}

#[test]
fn a_file_cut_short_is_an_error() {
    for case in cases() {
        let (ChunkIndexKind::BTreeV1 { address }
        | ChunkIndexKind::FixedArray { address }
        | ChunkIndexKind::ExtensibleArray { address }
        | ChunkIndexKind::BTreeV2 { address }) = case.kind()
        else {
            continue;
        };
        assert!(case.walk(case.kind(), &case.file[..address as usize + 9]).is_err(), "{}", case.name);
    }
}

#[test]
fn a_huge_grid_costs_nothing_and_an_uncountable_one_is_an_error() {
    let case = &cases()[2];
    let request = |shape: &[u64]| {
        let request = ChunkIndexRequest {
            kind: ChunkIndexKind::Implicit { address: 0 },
            shape,
            max_shape: &[Some(u64::MAX), Some(u64::MAX)],
            chunk_shape: &[1, 1],
            element_bytes: 1,
            filtered: false,
            offset_bytes: 8,
            length_bytes: 8,
            base_address: 0,
        };
        chunk_ranges(&request, &SparseBytes::whole(Bytes::copy_from_slice(&case.file)))
    };
    assert!(matches!(request(&[u64::MAX, 1]), Err(Stop::Bad(FormatError::Truncated { .. }))));
    assert!(matches!(request(&[u64::MAX, 2]), Err(Stop::Bad(FormatError::Malformed { .. }))));
}
