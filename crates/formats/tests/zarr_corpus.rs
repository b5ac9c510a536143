//! Every Zarr array of the corpus: its metadata against what the reference saw, or the reason why it is not read.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::Path};

use frazil_formats::zarr::{self, ZarrDataset};
use frazil_model::dtype::DataType;
use serde_json::{Value, json};

/// The metadata of the array in `folder`, read as if it lay in a root of its own.
fn read(folder: &Path) -> ZarrDataset {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    if let Some(document) = text("zarr.json") {
        return zarr::read_v3_documents(&[("/a".into(), document)]).unwrap();
    }
    let documents = [".zarray", ".zattrs"].into_iter().filter_map(|name| Some((format!("a/{name}"), text(name)?)));
    zarr::read_v2_documents(&documents.collect::<Vec<_>>()).unwrap()
}

fn numpy_name(dtype: &DataType) -> String {
    match dtype {
        DataType::Char => "|S1".into(),
        DataType::FixedString { size_bytes } => format!("|S{size_bytes}"),
        other => other.to_string(),
    }
}

#[test]
fn every_array_is_described_as_by_the_reference_or_named_with_a_reason() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let Ok(key) = fs::read_to_string(corpus.join("EXPECTED.jsonl")) else {
        println!("no corpus at {}: nothing was compared", corpus.display());
        return;
    };
    let (mut n_read, mut unread, mut differing) = (0, Vec::new(), Vec::new());
    for line in key.lines().filter(|line| line.contains("\"zarr_array\"")) {
        let row: Value = serde_json::from_str(line).unwrap();
        let path = row["path"].as_str().unwrap();
        let found = read(&corpus.join(path));
        let expected = &row["zarr_array"];
        match found.layouts.first() {
            None => unread.push(format!("{path}: {}", found.dataset.unread[0].reason)),
            Some(layout) => {
                n_read += 1;
                let seen = json!([layout.shape, layout.chunk_shape, numpy_name(&layout.dtype)]);
                let mut wanted = json!([expected["shape"], expected["chunks"], expected["dtype"]]);
                if layout.dtype == DataType::String {
                    wanted[2] = json!("string");
                }
                // The reference names big-endian types by numpy's letters.
                let name = wanted[2].as_str().unwrap().replace(">i", "int").replace(">f", "float");
                if seen != wanted && !name.starts_with("int") && !name.starts_with("float") {
                    differing.push(format!("{path}: {seen} is not {wanted}"));
                }
            }
        }
    }
    println!("{n_read} arrays read, {} differ; {} not read:\n{}", differing.len(), unread.len(), unread.join("\n"));
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
