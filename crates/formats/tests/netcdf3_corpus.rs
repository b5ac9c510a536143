//! Every netCDF-3 file of the corpus against the digests that the reference library gave.

// Functions beside the tests of an integration test are not in `cfg(test)` to clippy.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use frazil_formats::{Decoded, FormatError, netcdf3};
use frazil_model::{
    dataset::Variable,
    dtype::DataType,
    manifest::{ChunkRanges, ChunkTable},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("no corpus at {}: nothing was compared", folder.display());
    None
}

/// The netCDF-3 rows: path, the file's bytes, what the reference saw.
fn rows() -> Vec<(String, Vec<u8>, Value)> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let key = fs::read_to_string(corpus.join("EXPECTED.jsonl")).unwrap();
    let rows = key.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["path"].as_str().unwrap().starts_with("netcdf3/"))
        .map(|row| {
            let path = row["path"].as_str().unwrap().to_owned();
            let bytes = fs::read(corpus.join(&path)).unwrap();
            (path, bytes, row["nc3"].clone())
        })
        .collect()
}

/// The stored values in C order, little-endian.
fn values(file: &[u8], variable: &Variable, ranges: &ChunkRanges) -> Vec<u8> {
    let mut values = Vec::new();
    for (offset, length) in ranges.offset.iter().zip(ranges.length.iter()) {
        let (from, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
        values.extend_from_slice(&file[from..from + length]);
    }
    for value in values.chunks_mut(variable.dtype.swap_bytes() as usize) {
        value.reverse();
    }
    values
}

fn numpy_name(dtype: &DataType) -> String {
    match dtype {
        DataType::Char => "|S1".into(),
        DataType::Int(int) => {
            let (sign, size_bytes) = (if int.is_signed() { 'i' } else { 'u' }, int.size_bytes());
            format!("{}{sign}{size_bytes}", if size_bytes == 1 { '|' } else { '<' })
        }
        DataType::Float(float) => format!("<f{}", float.size_bytes()),
        other => panic!("netCDF-3 has no {other}"),
    }
}

/// What differs between a file and its row.
fn differences(path: &str, file: &[u8], decoded: &Decoded, expected: &Value) -> Vec<String> {
    let expected = expected.as_object().unwrap();
    let mut differences = Vec::new();
    if decoded.dataset.variables.len() != expected.len() || !decoded.dataset.unread.is_empty() {
        differences.push(format!("{path}: {} variables", decoded.dataset.variables.len()));
    }
    for (variable, table) in decoded.dataset.variables.iter().zip(&decoded.manifest.tables) {
        let ChunkTable::Ranges(ranges) = table else { panic!("netCDF-3 has ranges only") };
        let digest = Sha256::digest(values(file, variable, ranges));
        let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let row = &expected[&variable.path];
        let found = json!([variable.shape, variable.dimensions, numpy_name(&variable.dtype), digest]);
        let wanted = json!([row["shape"], row["dims"], row["dtype"], row["sha"]]);
        if found != wanted {
            differences.push(format!("{path}: {}: {found} is not {wanted}", variable.path));
        }
    }
    differences
}

#[test]
fn every_variable_equals_the_reference() {
    let (mut n_variables, mut differing) = (0, Vec::new());
    let rows = rows();
    for (path, file, expected) in &rows {
        let decoded = netcdf3::decode_whole(Bytes::from(file.clone()));
        if let Some(refused) = expected.get("err") {
            let error = decoded.expect_err("the reference refuses it");
            let is_damage = matches!(error, FormatError::Truncated { .. } | FormatError::Malformed { .. });
            assert!(is_damage, "{path}: {error}, the reference: {refused}");
            continue;
        }
        let decoded = decoded.unwrap_or_else(|error| panic!("{path}: {error}"));
        n_variables += decoded.dataset.variables.len();
        differing.extend(differences(path, file, &decoded, expected));
    }
    println!("{} files, {n_variables} variables, {} differ", rows.len(), differing.len());
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn no_truncation_makes_it_panic_and_none_passes_for_whole() {
    for (path, file, _) in rows() {
        let whole = netcdf3::decode_whole(Bytes::from(file.clone())).ok();
        for step in 0..20 {
            let cut = Bytes::copy_from_slice(&file[..file.len() * step / 20]);
            // Some files end in padding that nothing needs: then the cut file is the file.
            if let Ok(decoded) = netcdf3::decode_whole(cut) {
                assert_eq!(Some(decoded), whole, "{path} cut at {step}/20");
            }
        }
    }
}
