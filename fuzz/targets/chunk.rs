//! Any bytes, through any chain of steps, are a chunk of the size asked for or an error.
//!
//! The first bytes choose the chain and the size, the rest are the stored chunk.
#![no_main]

use frazil_formats::codecs::{ChunkForm, Codecs, from_hdf5_filter};
use frazil_model::codec::{ByteOrder, Codec, CodecChain};
use libfuzzer_sys::fuzz_target;

/// The steps that a byte chooses from; `values` are a filter's client values.
fn step(choice: u8, element_bytes: u32, values: &[u32]) -> Codec {
    match choice % 10 {
        0 => Codec::Shuffle { element_bytes },
        1 => Codec::Deflate { level: Some(1) },
        2 => Codec::Gzip { level: Some(1) },
        3 => Codec::Fletcher32,
        4 => Codec::Crc32c,
        5 => Codec::Zstd { level: Some(1) },
        6 => Codec::Blosc { cname: "zstd".to_owned(), clevel: 1, shuffle: 1, element_bytes },
        // szip, nbit, scale-offset, lzf, bzip2, blosc, lz4, bitshuffle, zstd, zfp, blosc2, JPEG-LS: by their registered
        // numbers.
        other => {
            let ids = [4, 5, 6, 32000, 307, 32001, 32004, 32008, 32015, 32013, 32026, 32018];
            let id = ids[(usize::from(other) + usize::from(choice / 10)) % ids.len()];
            from_hdf5_filter(id, "", values, element_bytes)
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((head, stored)) = data.split_at_checked(16) else { return };
    let element_bytes = [1, 2, 4, 8][usize::from(head[0] % 4)];
    let byte_order = if head[0] & 16 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let n_steps = usize::from(head[1] % 4);
    let values: Vec<u32> = head[8..].iter().map(|value| u32::from(*value)).collect();
    let steps = head[2..2 + n_steps].iter().map(|choice| step(*choice, element_bytes, &values)).collect();
    let chain = CodecChain { byte_order, steps };
    let decoded_bytes = usize::from(u16::from_le_bytes([head[6], head[7]])) * element_bytes as usize;
    let form = ChunkForm { chain: &chain, swap_bytes: element_bytes, decoded_bytes };
    let mut codecs = Codecs::new();
    if let Ok(elements) = codecs.decode(&form, stored, 0) {
        assert_eq!(elements.len(), decoded_bytes);
    }
});
