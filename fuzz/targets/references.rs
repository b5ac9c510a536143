//! Any bytes are a document of references or an error.
#![no_main]

use frazil_formats::references::{read_dmrpp, read_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match data.first() {
        Some(b'{') => drop(read_json(data)),
        Some(b'<') => drop(read_dmrpp(data, "a.nc.dmrpp")),
        _ => {}
    }
});
