//! Stores written with our documents, read back by us and, if asked for, by stock zarr-python and xarray.
//!
//! `FRAZIL_ORACLE_PYTHON=/path/to/python cargo test --test zarr_documents` runs `zarr_stock.py` on what is written here.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use frazil_formats::zarr;
use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    codec::{ByteOrder, Codec, CodecChain},
    dtype::{DataType, FloatType, IntType},
    zarr::{ArrayLayout, ChunkKeys, Separator, Shards, ZarrFormat},
};

fn attributes(entries: &[(&str, AttributeValue)]) -> Attributes {
    Attributes(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn numbers(numbers: Numbers) -> AttributeValue {
    AttributeValue::Numbers(numbers)
}

fn array(name: &str, dtype: DataType, format: ZarrFormat) -> ArrayLayout {
    ArrayLayout {
        path: format!("/{name}"),
        shape: vec![4, 6],
        chunk_shape: vec![2, 3],
        shards: None,
        fill: None,
        codecs: CodecChain::default(),
        dimensions: vec!["y".into(), "x".into()],
        attributes: Attributes::default(),
        dtype,
        keys: match format {
            ZarrFormat::V2 => ChunkKeys::V2(Separator::Dot),
            ZarrFormat::V3 => ChunkKeys::Default(Separator::Slash),
        },
        calibration: None,
    }
}

/// One array of every number type; element `i` is `i`.
fn plain_arrays(format: ZarrFormat) -> Vec<ArrayLayout> {
    use IntType::{I8, I16, I32, I64, U8, U16, U32, U64};
    let mut arrays: Vec<ArrayLayout> = [I8, I16, I32, I64, U8, U16, U32, U64]
        .into_iter()
        .map(|int| array(&format!("plain_{int}"), DataType::Int(int), format))
        .collect();
    for float in [FloatType::F32, FloatType::F64] {
        arrays.push(array(&format!("plain_{float}"), DataType::Float(float), format));
    }
    let mut big_endian = array("plain_big_endian", DataType::Int(I32), format);
    big_endian.codecs.byte_order = ByteOrder::Big;
    arrays.push(big_endian);
    for place in [1, 4] {
        arrays[place].keys = match format {
            ZarrFormat::V2 => ChunkKeys::V2(Separator::Slash),
            ZarrFormat::V3 => ChunkKeys::V2(Separator::Dot),
        };
    }
    arrays
}

/// Arrays whose documents must be understood; the oracle writes and reads values through them.
fn coded_arrays(format: ZarrFormat) -> Vec<ArrayLayout> {
    let float = DataType::Float(FloatType::F32);
    let coded = |name: &str, dtype: &DataType, steps: &[Codec]| {
        let mut layout = array(&format!("coded_{name}"), dtype.clone(), format);
        layout.codecs.steps = steps.to_vec();
        layout
    };
    let blosc = |cname: &str, shuffle| Codec::Blosc { cname: cname.into(), clevel: 5, shuffle, element_bytes: 4 };
    let shuffle = Codec::Shuffle { element_bytes: 4 };
    let mut arrays = vec![
        coded("zstd", &float, &[Codec::Zstd { level: Some(3) }]),
        coded("gzip", &float, &[Codec::Gzip { level: Some(5) }]),
        coded("blosc_zstd", &float, &[blosc("zstd", 1)]),
        coded("blosc_lz4", &float, &[blosc("lz4", 2)]),
        coded("shuffle_zlib", &float, &[shuffle.clone(), Codec::Deflate { level: None }]),
        coded("fletcher32", &float, &[shuffle, Codec::Deflate { level: Some(1) }, Codec::Fletcher32]),
        coded("bool", &DataType::Bool, &[]),
        coded("float16", &DataType::Float(FloatType::F16), &[]),
        coded("complex64", &DataType::Complex(FloatType::F32), &[]),
        coded("complex128", &DataType::Complex(FloatType::F64), &[]),
        coded("string", &DataType::String, &[Codec::Zstd { level: None }]),
        coded("char", &DataType::Char, &[]),
        coded("fixed", &DataType::FixedString { size_bytes: 5 }, &[]),
    ];
    if format == ZarrFormat::V3 {
        arrays.push(coded("crc32c", &float, &[Codec::Zstd { level: None }, Codec::Crc32c]));
        let mut sharded = coded("sharded", &float, &[Codec::Zstd { level: None }]);
        sharded.shards = Some(Shards::of(vec![4, 6]));
        arrays.push(sharded);
        let mut infinite = coded("fill_infinity", &float, &[]);
        infinite.fill = Some(f32::NEG_INFINITY.to_le_bytes().to_vec());
        arrays.push(infinite);
        let mut unusual = coded("fill_nan_bits", &float, &[]);
        unusual.fill = Some(0x7fc0_1234_u32.to_le_bytes().to_vec());
        arrays.push(unusual);
        let mut complex = coded("fill_complex", &DataType::Complex(FloatType::F32), &[]);
        complex.fill = Some([f32::NAN.to_le_bytes(), 1.5_f32.to_le_bytes()].concat());
        arrays.push(complex);
    }
    arrays
}

/// Arrays with missing values, which xarray must mask: element 5 of each is missing.
fn masked_arrays(format: ZarrFormat) -> Vec<ArrayLayout> {
    let mut float = array("masked_float", DataType::Float(FloatType::F32), format);
    float.attributes = attributes(&[("_FillValue", numbers(Numbers::F32(vec![5.0])))]);
    let mut integer = array("masked_int", DataType::Int(IntType::I16), format);
    integer.attributes = attributes(&[
        ("_FillValue", numbers(Numbers::I16(vec![5]))),
        ("scale_factor", numbers(Numbers::F64(vec![0.5]))),
    ]);
    vec![float, integer]
}

fn root_attributes() -> Attributes {
    attributes(&[
        ("title", AttributeValue::Text("é\u{2028} \"quoted\" \\ NaN Infinity \n".into())),
        ("texts", AttributeValue::Texts(vec!["a".into(), "b".into()])),
        ("nan", numbers(Numbers::F64(vec![f64::NAN]))),
        ("bounds", numbers(Numbers::F32(vec![f32::NEG_INFINITY, 0.1]))),
        ("large", numbers(Numbers::I64(vec![9_007_199_254_740_993]))),
        ("largest", numbers(Numbers::U64(vec![u64::MAX]))),
        ("one", numbers(Numbers::F64(vec![1.0]))),
        ("tiny", numbers(Numbers::F64(vec![5e-324, 1e300]))),
        ("none", numbers(Numbers::I32(Vec::new()))),
    ])
}

/// The bytes of element `number` of an array of numbers.
fn element(layout: &ArrayLayout, number: u32) -> Vec<u8> {
    let mut bytes = match layout.dtype {
        DataType::Int(int) => number.to_le_bytes().into_iter().chain([0; 4]).take(int.size_bytes() as usize).collect(),
        #[allow(clippy::cast_precision_loss)]
        DataType::Float(FloatType::F32) => (number as f32).to_le_bytes().to_vec(),
        _ => f64::from(number).to_le_bytes().to_vec(),
    };
    if layout.codecs.byte_order == ByteOrder::Big {
        bytes.reverse();
    }
    bytes
}

fn put(folder: &Path, key: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn put_chunks(folder: &Path, layout: &ArrayLayout) {
    for row in 0..2_u32 {
        for column in 0..2_u32 {
            let places = (0..2).flat_map(|y| (0..3).map(move |x| (2 * row + y) * 6 + 3 * column + x));
            let chunk: Vec<u8> = places.flat_map(|number| element(layout, number)).collect();
            let key = layout.chunk_key(&[row.into(), column.into()]);
            put(folder, &format!("{}/{key}", &layout.path[1..]), chunk);
        }
    }
}

/// Writes the store and gives its arrays and its consolidated document.
fn write_store(folder: &Path, format: ZarrFormat) -> (Vec<ArrayLayout>, String) {
    let _ = fs::remove_dir_all(folder);
    let mut arrays = plain_arrays(format);
    arrays.extend(masked_arrays(format));
    let mut nested = array("sub/inner", DataType::Int(IntType::I32), format);
    nested.attributes = attributes(&[("units", AttributeValue::Text("m".into()))]);
    arrays.push(nested);
    for layout in &arrays {
        put_chunks(folder, layout);
    }
    arrays.extend(coded_arrays(format));
    let groups = vec![("/sub".to_owned(), attributes(&[("kind", AttributeValue::Text("sub".into()))]))];
    let root = root_attributes();
    let consolidated = match format {
        ZarrFormat::V2 => {
            for layout in &arrays {
                put(folder, &format!("{}/.zarray", &layout.path[1..]), zarr::array_document_v2(layout).unwrap());
                put(folder, &format!("{}/.zattrs", &layout.path[1..]), zarr::attributes_document_v2(layout));
            }
            put(folder, ".zgroup", zarr::group_document_v2());
            put(folder, ".zattrs", zarr::group_attributes_v2(&root));
            put(folder, "sub/.zgroup", zarr::group_document_v2());
            put(folder, "sub/.zattrs", zarr::group_attributes_v2(&groups[0].1));
            let consolidated = zarr::consolidated_document_v2(&root, &groups, &arrays).unwrap();
            put(folder, ".zmetadata", &consolidated);
            consolidated
        }
        ZarrFormat::V3 => {
            for layout in &arrays {
                put(folder, &format!("{}/zarr.json", &layout.path[1..]), zarr::array_document_v3(layout).unwrap());
            }
            put(folder, "sub/zarr.json", zarr::group_document_v3(&groups[0].1));
            let consolidated = zarr::root_document_v3(&root, &groups, &arrays).unwrap();
            put(folder, "zarr.json", &consolidated);
            consolidated
        }
    };
    (arrays, consolidated)
}

/// What a layout looks like once it was written and read.
fn as_read(mut layout: ArrayLayout, format: ZarrFormat) -> ArrayLayout {
    match format {
        // `_FillValue` is all that v2 says, and typed values of other attributes widen.
        ZarrFormat::V2 => {
            layout.fill = layout.attributes.numbers("_FillValue").map(Numbers::to_le_bytes);
            for step in &mut layout.codecs.steps {
                match step {
                    Codec::Zstd { level } => *level = Some(level.unwrap_or(0)),
                    Codec::Deflate { level } => *level = Some(level.unwrap_or(4)),
                    _ => {}
                }
            }
            let fill = layout.attributes.remove("_FillValue");
            if let Some(fill) = fill {
                layout.attributes.set("_FillValue", fill);
            }
        }
        ZarrFormat::V3 => {
            let zeros = vec![0; layout.dtype.size_bytes().unwrap_or(0) as usize];
            layout.fill = Some(layout.fill.unwrap_or(zeros));
            for step in &mut layout.codecs.steps {
                match step {
                    Codec::Zstd { level } => *level = Some(level.unwrap_or(0)),
                    Codec::Deflate { level } => *level = Some(level.unwrap_or(4)),
                    _ => {}
                }
            }
        }
    }
    layout
}

#[track_caller]
fn check(format: ZarrFormat, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (arrays, consolidated) = write_store(&folder, format);
    let (again, same) = write_store(&folder, format);
    assert_eq!((&again, &same), (&arrays, &consolidated), "the same input gives the same bytes");
    let read = match format {
        ZarrFormat::V2 => zarr::read_v2_consolidated(&consolidated),
        ZarrFormat::V3 => zarr::read_v3_root(&consolidated),
    };
    let read = read.unwrap();
    assert_eq!(read.dataset.unread, []);
    let expected: Vec<ArrayLayout> = arrays.into_iter().map(|layout| as_read(layout, format)).collect();
    // The members of each group stand together, in the order they were given.
    let (nested, at_root): (Vec<_>, Vec<_>) = expected.iter().partition(|layout| layout.path.starts_with("/sub/"));
    for (found, wanted) in read.layouts.iter().zip(at_root.into_iter().chain(nested)) {
        assert_eq!(found, wanted);
    }
    assert_eq!(read.layouts.len(), expected.len());
    let root = &read.dataset.group("/").unwrap().attributes;
    assert_eq!(root.text("title"), root_attributes().text("title"));
    assert_eq!(root.numbers("large"), Some(&Numbers::I64(vec![9_007_199_254_740_993])));
    assert_eq!(root.numbers("largest"), Some(&Numbers::U64(vec![u64::MAX])));
    assert!(root.numbers("nan").unwrap().to_f64()[0].is_nan());
    assert_eq!(root.numbers("bounds").unwrap().to_f64(), [f64::NEG_INFINITY, f64::from(0.1_f32)]);

    let Some(python) = std::env::var_os("FRAZIL_ORACLE_PYTHON") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zarr_stock.py");
    let status = Command::new(python).arg(script).arg(&folder).status().unwrap();
    assert!(status.success(), "stock zarr-python and xarray disagree");
}

#[test]
fn v3_documents_read_back_as_they_were_meant() {
    check(ZarrFormat::V3, "documents_v3.zarr");
}

#[test]
fn v2_documents_read_back_as_they_were_meant() {
    check(ZarrFormat::V2, "documents_v2.zarr");
}
