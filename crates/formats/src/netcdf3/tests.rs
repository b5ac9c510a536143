//! Small headers, built by hand.

use bytes::Bytes;
use frazil_model::{
    attribute::{AttributeValue, Numbers},
    manifest::ChunkTable,
};
use proptest::prelude::*;

use super::*;

/// Words of a CDF-1 header.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn name(self, name: &str) -> Self {
        let mut words = self.u32(u32::try_from(name.len()).unwrap());
        words.0.extend(name.as_bytes());
        words.0.resize(words.0.len().next_multiple_of(4), 0);
        words
    }
}

/// A file of two dimensions, `time` (unlimited) and `x` (3), and `int16` variables that take `time` and `x`.
fn records(n_records: u32, variables: &[&str], data_bytes: usize) -> Vec<u8> {
    let mut words = Words(b"CDF\x01".to_vec()).u32(n_records);
    words = words.u32(10).u32(2).name("time").u32(0).name("x").u32(3).u32(0).u32(0);
    words = words.u32(11).u32(u32::try_from(variables.len()).unwrap());
    let header_bytes = words.0.len() + variables.iter().map(|name| name.len().next_multiple_of(4) + 36).sum::<usize>();
    for (place, name) in variables.iter().enumerate() {
        let begin = u32::try_from(header_bytes + place * 8).unwrap();
        words = words.name(name).u32(2).u32(0).u32(1).u32(0).u32(0).u32(3).u32(8).u32(begin);
    }
    assert_eq!(words.0.len(), header_bytes);
    words.0.resize(header_bytes + data_bytes, 7);
    words.0
}

/// Shape, chunk shape and places (relative to the first) of each variable, or the error.
fn described(file: Vec<u8>) -> String {
    let decoded = match decode_whole(Bytes::from(file)) {
        Ok(decoded) => decoded,
        Err(error) => return error.to_string(),
    };
    let mut lines = Vec::new();
    for (variable, table) in decoded.dataset.variables.iter().zip(&decoded.manifest.tables) {
        let ChunkTable::Ranges(ranges) = table else { panic!("netCDF-3 has ranges only") };
        let first = ranges.offset.get(0).unwrap_or(0);
        let places: Vec<u64> = ranges.offset.iter().map(|offset| offset - first).collect();
        let n_bytes = ranges.length.get(0).unwrap_or(0);
        lines.push(format!(
            "{} {:?} in {:?}, {n_bytes} bytes at {places:?}",
            variable.name(),
            variable.shape,
            variable.chunk_shape
        ));
    }
    lines.join("; ")
}

#[test]
fn record_variables_take_turns_padded_to_four_bytes() {
    assert_eq!(
        described(records(2, &["a", "b"], 30)),
        "a [2, 3] in [1, 3], 6 bytes at [0, 16]; b [2, 3] in [1, 3], 6 bytes at [0, 16]"
    );
}

#[test]
fn a_lone_record_variable_is_not_padded() {
    assert_eq!(described(records(3, &["a"], 18)), "a [3, 3] in [1, 3], 6 bytes at [0, 6, 12]");
}

#[test]
fn a_variable_that_lies_within_another_is_refused_by_name() {
    let mut file = records(2, &["a", "b"], 30);
    let begin_of_b = file.len() - 30 - 4;
    file[begin_of_b + 3] -= 4;
    let refusal = described(file);
    assert!(refusal.contains("variable `b`") && refusal.contains("`a`"), "{refusal}");
}

#[test]
fn a_file_that_is_short_of_one_byte_is_refused_by_variable() {
    assert_eq!(described(records(3, &["a"], 17)), "truncated: variable `a` needs bytes 96 to 114, the file has 113");
}

#[test]
fn records_of_a_streaming_writer_are_counted_from_the_size() {
    assert_eq!(
        described(records(u32::MAX, &["a", "b"], 16 + 16 + 9)),
        "a [2, 3] in [1, 3], 6 bytes at [0, 16]; b [2, 3] in [1, 3], 6 bytes at [0, 16]"
    );
    assert_eq!(described(records(u32::MAX, &["a"], 0)), "a [0, 3] in [1, 3], 0 bytes at []");
}

#[test]
fn a_variable_that_comes_twice_is_named_and_the_rest_is_read() {
    let decoded = decode_whole(Bytes::from(records(1, &["a", "a"], 14))).unwrap();
    assert_eq!(decoded.dataset.variables.len(), 1);
    assert_eq!(decoded.dataset.unread[0].reason, "another variable has the same name");
}

#[test]
fn claims_beyond_the_bytes_are_refused_before_memory_is_taken() {
    let file = Words(b"CDF\x01".to_vec()).u32(0).u32(10).u32(u32::MAX).name("x").u32(1).0;
    assert_eq!(described(file), "truncated: the name of a dimension needs bytes 28 to 32, the file has 28");
    let file = Words(b"CDF\x01".to_vec()).u32(0).u32(10).u32(1).u32(u32::MAX).0;
    assert_eq!(described(file), "the name of a dimension claims 4294967295, more than the limit of 256");
}

#[test]
fn sixty_four_bit_files_have_wide_counts_and_unsigned_types() {
    let mut file = b"CDF\x05".to_vec();
    let wide = |file: &mut Vec<u8>, value: u64| file.extend(value.to_be_bytes());
    wide(&mut file, 0);
    file.extend([0; 12]);
    file.extend(12_u32.to_be_bytes());
    wide(&mut file, 1);
    wide(&mut file, 1);
    file.extend(b"n\0\0\0");
    file.extend(11_u32.to_be_bytes());
    wide(&mut file, 1);
    wide(&mut file, u64::MAX);
    file.extend([0; 12]);
    let decoded = decode_whole(Bytes::from(file)).unwrap();
    let root = decoded.dataset.group("/").unwrap();
    assert_eq!(root.attributes.get("n"), Some(&AttributeValue::Numbers(Numbers::U64(vec![u64::MAX]))));
}

#[test]
fn a_header_longer_than_the_first_request_is_asked_for_in_few_rounds() {
    let text = "x".repeat(1_000_000);
    let file = Words(b"CDF\x01".to_vec()).u32(0).u32(0).u32(0).u32(12).u32(1).name("history").u32(2).name(&text);
    let file = file.u32(0).u32(0).0;
    let (mut decoder, mut sparse, mut rounds) = (Netcdf3Decoder::new(), SparseBytes::new(file.len() as u64), 0);
    let decoded = loop {
        match decoder.advance(&sparse).unwrap() {
            Progress::Done(decoded) => break decoded,
            Progress::Need(ranges) => {
                for range in ranges {
                    let (from, to) = (range.offset() as usize, range.end() as usize);
                    sparse.insert(range.offset(), Bytes::copy_from_slice(&file[from..to]));
                }
            }
        }
        rounds += 1;
        assert!(rounds < 6);
    };
    assert_eq!(decoded.dataset.groups[0].attributes.text("history"), Some(text.as_str()));
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(
        version in prop::sample::select(vec![1_u8, 2, 5]),
        words in prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 1, 2, 3, 5, 10, 11, 12, 255]), 0..300),
    ) {
        let mut file = vec![b'C', b'D', b'F', version];
        file.extend(words);
        let _ = decode_whole(Bytes::from(file));
    }

    #[test]
    fn a_changed_byte_of_a_header_makes_no_panic(at in 0_usize..150, byte: u8) {
        let mut file = records(2, &["a", "b"], 30);
        let at = at % file.len();
        file[at] = byte;
        let _ = decode_whole(Bytes::from(file));
    }
}
