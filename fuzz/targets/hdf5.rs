//! Any bytes are an HDF5 file or an error.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = frazil_formats::hdf5::decode_whole(Bytes::copy_from_slice(data));
});
