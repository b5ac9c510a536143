//! Prints what HDF5 and netCDF-4 files hold, one line of JSON for each, to compare with what other programs see.
//!
//! `cargo run -p frazil-formats --example describe_hdf5 -- FILE...`

#![allow(clippy::print_stdout)]

use std::{error::Error, fs};

use bytes::Bytes;
use frazil_formats::hdf5::decode_whole;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let line = match decode_whole(Bytes::from(fs::read(&path)?)) {
            Ok(decoded) => {
                serde_json::json!({ "path": path, "dataset": decoded.dataset, "hdf5": decoded.manifest.hdf5 })
            }
            Err(error) => serde_json::json!({ "path": path, "error": error.to_string() }),
        };
        println!("{line}");
    }
    Ok(())
}
