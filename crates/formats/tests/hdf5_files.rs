//! Small HDF5 files, each made by h5py or netCDF4-python for one question.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use frazil_formats::{
    Decoded, FormatError, SparseBytes,
    codecs::{ChunkForm, Codecs},
    hdf5::{decode_whole, looks_like_hdf5, strings},
};
use frazil_model::{
    attribute::{AttributeValue, Numbers},
    codec::Codec,
    dataset::Role,
    dtype::{DataType, FloatType, IntType},
    manifest::{ChunkTable, Hyperslab, VirtualPart},
};

fn bytes(name: &str) -> Bytes {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap().into()
}

fn decoded(name: &str) -> Decoded {
    decode_whole(bytes(name)).unwrap()
}

/// The arrays of a file: path, role and dimensions, one a line.
fn arrays(decoded: &Decoded) -> Vec<String> {
    let line = |variable: &frazil_model::dataset::Variable| {
        let role = if variable.role == Role::DimensionOnly { " only a dimension" } else { "" };
        format!("{}({}){role}", variable.path, variable.dimensions.join(", "))
    };
    decoded.dataset.variables.iter().map(line).collect()
}

fn unread(decoded: &Decoded) -> Vec<String> {
    decoded.dataset.unread.iter().map(|unread| format!("{}: {}", unread.path, unread.reason)).collect()
}

#[test]
fn an_array_is_listed_under_each_of_its_names_and_circles_end() {
    let file = decoded("user_block_and_links.h5");
    assert_eq!(
        arrays(&file),
        [
            "/hard(phony_dim_2)",
            "/soft(phony_dim_2, phony_dim_3)",
            "/texts(phony_dim_2)",
            "/a/b/c(phony_dim_0, phony_dim_1)",
        ]
    );
    assert_eq!(
        unread(&file),
        [
            "/dangling: soft link to `/nope`, which is not there",
            "/elsewhere: external link to `/q` of `other.h5`, not followed",
        ]
    );
}

#[test]
fn places_count_from_the_start_of_the_file_not_of_its_user_block() {
    let bytes = bytes("user_block_and_links.h5");
    assert!(!looks_like_hdf5(&bytes) && looks_like_hdf5(&bytes[512..]));
    let file = decode_whole(bytes.clone()).unwrap();
    let at = file.dataset.variables.iter().position(|variable| variable.path == "/a/b/c").unwrap();
    let ChunkTable::Ranges(ranges) = &file.manifest.tables[at] else { panic!("it is one range") };
    let stored = &bytes[ranges.offset.get(0).unwrap() as usize..][..ranges.length.get(0).unwrap() as usize];
    let counted: Vec<u8> = (0..12_i16).flat_map(i16::to_be_bytes).collect();
    assert_eq!(stored, counted);
}

#[test]
fn texts_of_any_length_are_read_through_their_heap() {
    let bytes = bytes("user_block_and_links.h5");
    let file = decode_whole(bytes.clone()).unwrap();
    let at = file.dataset.variables.iter().position(|variable| variable.path == "/texts").unwrap();
    let ChunkTable::Ranges(ranges) = &file.manifest.tables[at] else { panic!("it is one range") };
    let raw = bytes.slice(
        ranges.offset.get(0).unwrap() as usize
            ..(ranges.offset.get(0).unwrap() + ranges.length.get(0).unwrap()) as usize,
    );
    let texts = strings(&raw, &file.manifest.hdf5.unwrap(), &SparseBytes::whole(bytes)).unwrap();
    let texts: Vec<String> = texts.into_iter().map(Option::unwrap_or_default).collect();
    assert_eq!(texts, ["é", "bc", ""]);
}

#[test]
fn a_virtual_array_says_which_box_comes_from_which_file() {
    let file = decoded("virtual.h5");
    let slab = |start, stride, count, block| Hyperslab { start, stride, count, block };
    let with_end = file.manifest.tables.iter().filter_map(|table| match table {
        ChunkTable::Virtual(parts) if !parts.iter().any(VirtualPart::is_endless) => Some(parts),
        _ => None,
    });
    let found: Vec<_> = with_end.collect();
    let [part, whole] = found.as_slice() else { panic!("both are virtual") };
    assert_eq!((part[0].file.as_str(), part[0].variable.as_str()), (".", "data"));
    assert_eq!(part[0].from, [slab(0, 1, 1, 2), slab(0, 1, 1, 10)]);
    assert_eq!(part[0].to, [slab(2, 1, 1, 2), slab(0, 2, 10, 1)]);
    let files: Vec<&str> = whole.iter().map(|part| part.file.as_str()).collect();
    assert_eq!(files, ["source0.h5", "source1.h5"]);
    assert_eq!(whole[0].from, []);
    assert_eq!(whole[1].to, [slab(1, 1, 1, 1), slab(0, 1, 1, 100)]);
}

#[test]
fn a_virtual_array_without_end_keeps_its_names_as_stored() {
    let file = decoded("virtual.h5");
    let at = file.dataset.variables.iter().position(|variable| variable.path == "/endless").unwrap();
    let ChunkTable::Virtual(parts) = &file.manifest.tables[at] else { panic!("it is virtual") };
    assert!(parts.iter().all(VirtualPart::is_endless));
    assert_eq!(unread(&file), [""; 0]);
}

#[test]
fn many_links_and_attributes_keep_the_order_in_which_they_were_made() {
    let file = decoded("dense.h5");
    let x = file.dataset.variable("/x").unwrap();
    let names: Vec<&str> = x.attributes.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 41);
    assert_eq!(names[..3], ["attribute 0", "attribute 31", "attribute 22"]);
    assert_eq!(x.attributes.numbers("huge"), Some(&Numbers::U8(vec![0; 5000])));
    let linked: Vec<&str> = file.dataset.variables.iter().map(|variable| variable.path.as_str()).collect();
    assert_eq!(linked.len(), 41);
    assert_eq!(linked[1..4], ["/many/link 0", "/many/link 7", "/many/link 14"]);
}

#[test]
fn types_are_named_as_h5py_names_them() {
    let file = decoded("types.h5");
    let dtype = |path: &str| file.dataset.variable(path).unwrap().dtype.clone();
    assert_eq!(dtype("/bool"), DataType::Bool);
    assert_eq!(dtype("/complex"), DataType::Complex(FloatType::F64));
    assert_eq!(dtype("/half"), DataType::Float(FloatType::F16));
    assert_eq!(dtype("/text"), DataType::String);
    assert_eq!(dtype("/compound").size_bytes(), Some(4));
    assert!(matches!(dtype("/compound"), DataType::Record(record) if record.tight() == record));
    assert_eq!(
        dtype("/named"),
        DataType::Enum { base: IntType::I16, members: vec![("A".into(), 1), ("B".into(), -2)] }
    );
}

#[test]
fn a_fill_value_is_little_endian_whatever_the_file_is() {
    let file = decoded("types.h5");
    assert_eq!(file.dataset.variable("/filled").unwrap().fill, 1.5_f32.to_le_bytes());
    assert_eq!(file.dataset.variable("/text").unwrap().fill, b"abc");
    assert_eq!(file.dataset.variable("/named").unwrap().fill, [0, 0]);
}

#[test]
fn an_integer_of_few_bits_is_decoded_with_its_sign() {
    let file = decoded("types.h5");
    let variable = file.dataset.variable("/twelve bits").unwrap();
    assert_eq!(variable.codecs.steps, [Codec::IntegerBits { int: IntType::I16, offset: 2, precision: 12 }]);
    let form = ChunkForm { chain: &variable.codecs, swap_bytes: 2, decoded_bytes: 4 };
    let mut codecs = Codecs::new();
    assert_eq!(codecs.decode(&form, &[0xFC, 0x3F, 0x14, 0xC0], 0).unwrap(), [0xFF, 0xFF, 5, 0]);
}

#[test]
fn attributes_keep_their_kind() {
    let file = decoded("types.h5");
    let attributes = &file.dataset.group("/").unwrap().attributes;
    assert_eq!(attributes.text("empty"), Some(""));
    assert_eq!(attributes.text("padded"), Some("ab"));
    assert_eq!(attributes.get("list"), Some(&AttributeValue::Texts(vec!["x".into(), "yé".into()])));
    assert_eq!(attributes.numbers("half"), Some(&Numbers::F32(vec![-2.0])));
}

#[test]
fn dimensions_are_those_that_the_netcdf_library_shows() {
    let file = decoded("dimensions.nc");
    assert_eq!(file.dataset.format, "netcdf4");
    assert_eq!(
        arrays(&file),
        [
            "/t(t) only a dimension",
            "/x(x)",
            "/only(only) only a dimension",
            "/only(x)",
            "/two(x, x)",
            "/late(t, x)",
            "/station(x, only)",
            "/g/x(x) only a dimension",
            "/g/v(x, only)",
        ]
    );
    let shown = |path: &str| {
        let group = file.dataset.group(path).unwrap();
        group.dimensions.iter().map(|d| format!("{} {} {}", d.name, d.length, d.is_unlimited)).collect::<Vec<_>>()
    };
    assert_eq!(shown("/"), ["t 2 true", "x 3 false", "only 7 false"]);
    assert_eq!(shown("/g"), ["x 5 false"]);
}

#[test]
fn a_variable_with_the_name_of_a_foreign_dimension_loses_its_mark_and_keeps_its_stored_path() {
    let file = decoded("dimensions.nc");
    assert_eq!(file.dataset.variable("/only").unwrap().dimensions, ["x"]);
    assert_eq!(file.manifest.hdf5.unwrap().stored_paths, [("/only".to_owned(), "/_nc4_non_coord_only".to_owned())]);
}

#[test]
fn the_bookkeeping_of_netcdf_is_not_shown() {
    let file = decoded("dimensions.nc");
    let names = |path: &str| {
        let attributes = &file.dataset.variable(path).unwrap().attributes;
        attributes.0.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("/station"), ["units"]);
    assert!(names("/x").is_empty());
    assert!(file.dataset.group("/").unwrap().attributes.0.is_empty());
}

#[test]
fn a_file_cut_short_is_refused_with_its_size() {
    let whole = bytes("types.h5");
    let error = decode_whole(whole.slice(..whole.len() - 1)).unwrap_err();
    let size_bytes = whole.len() as u64 - 1;
    let expected = FormatError::Truncated { what: "HDF5 file".into(), offset: 0, end: size_bytes + 1, size_bytes };
    assert_eq!(error, expected);
}

#[test]
fn what_is_no_hdf5_file_is_named_by_its_first_bytes() {
    let error = decode_whole(Bytes::from_static(b"<!DOCTYPE html>")).unwrap_err();
    assert_eq!(error, FormatError::UnknownFormat { begins: "\"<!DOCTYP\"".into() });
}
