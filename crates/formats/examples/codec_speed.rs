//! Prints how fast chunks are decoded and encoded, with the bare compressor's speed beside it as the limit.
//!
//! Run with `cargo run --release -p frazil-formats --example codec_speed`. One thread; MB are of elements.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::Instant;

use frazil_formats::codecs::{ChunkForm, Codecs, shuffle, unshuffle};
use frazil_model::codec::{ByteOrder, Codec, CodecChain};

const ROUNDS: usize = 12;

/// Best speed of several rounds, in MB a second.
fn speed(n_bytes: usize, mut work: impl FnMut()) -> f64 {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    n_bytes as f64 / best / 1e6
}

/// A smooth field with a little noise, as of temperature over latitude and longitude.
fn field(n: usize) -> Vec<u8> {
    let mut seed = 1_u32;
    (0..n)
        .flat_map(|i| {
            let (y, x) = ((i / 1440) as f32, (i % 1440) as f32);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (seed >> 24) as f32 / 25_600.0;
            let value = 288.0 + 30.0 * (y / 230.0).cos() + 5.0 * (x / 115.0).sin() + noise;
            ((value * 100.0).round() / 100.0).to_le_bytes()
        })
        .collect()
}

fn chain(byte_order: ByteOrder, steps: &[Codec]) -> CodecChain {
    CodecChain { byte_order, steps: steps.to_vec() }
}

fn shuffles() {
    for width in [2, 4, 8, 3] {
        let input = vec![7_u8; 256 * 1024 / width * width];
        let mut output = input.clone();
        let there = speed(input.len() * 100, || (0..100).for_each(|_| shuffle(black_box(&input), width, &mut output)));
        let back = speed(input.len() * 100, || (0..100).for_each(|_| unshuffle(black_box(&input), width, &mut output)));
        println!("{width}-byte elements in cache: shuffle {there:.0} MB/s, unshuffle {back:.0} MB/s");
    }
}

fn zlib(elements: &[u8]) {
    let mut codecs = Codecs::new();
    for (name, order) in [("little", ByteOrder::Little), ("big", ByteOrder::Big)] {
        let chain = chain(order, &[Codec::Shuffle { element_bytes: 4 }, Codec::Deflate { level: Some(4) }]);
        let stored = codecs.encode(&chain, 4, elements).unwrap().to_vec();
        let form = ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes: elements.len() };
        let ours = speed(elements.len(), || {
            black_box(codecs.decode(&form, &stored, 0).unwrap());
        });
        let mut bare = libdeflater::Decompressor::new();
        let mut output = vec![0; elements.len()];
        let limit = speed(elements.len(), || {
            bare.zlib_decompress(&stored, &mut output).unwrap();
        });
        let ratio = elements.len() as f64 / stored.len() as f64;
        println!("inflate + unshuffle ({name}-endian, ratio {ratio:.2}): {ours:.0} MB/s; bare inflate {limit:.0} MB/s");
        let ours = speed(elements.len(), || {
            black_box(codecs.encode(&chain, 4, elements).unwrap());
        });
        println!("  shuffle + deflate-4: {ours:.0} MB/s");
    }
}

fn zstandard(elements: &[u8]) {
    let mut codecs = Codecs::new();
    let mut shuffled = vec![0; elements.len()];
    shuffle(elements, 4, &mut shuffled);
    let mut output = vec![0; elements.len() + 100_000];
    let mut bare = zstd_safe::CCtx::create();
    let mut n_bytes = 0;
    let limit = speed(elements.len(), || n_bytes = bare.compress(&mut output[..], &shuffled, 3).unwrap());
    let mut reader = zstd_safe::DCtx::create();
    let mut back = elements.to_vec();
    let reading = speed(elements.len(), || {
        reader.decompress(&mut back[..], &output[..n_bytes]).unwrap();
    });
    let ratio = elements.len() as f64 / n_bytes as f64;
    println!("bare zstd-3 of shuffled bytes: encode {limit:.0} MB/s, decode {reading:.0} MB/s, ratio {ratio:.3}");
    for (cname, clevel) in [("zstd", 1), ("zstd", 3), ("zstd", 5), ("lz4", 5), ("zlib", 4)] {
        let step = Codec::Blosc { cname: cname.into(), clevel, shuffle: 1, element_bytes: 4 };
        let chain = chain(ByteOrder::Little, &[step]);
        let stored = codecs.encode(&chain, 4, elements).unwrap().to_vec();
        let there = speed(elements.len(), || {
            black_box(codecs.encode(&chain, 4, elements).unwrap());
        });
        let form = ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes: elements.len() };
        let back = speed(elements.len(), || {
            black_box(codecs.decode(&form, &stored, 0).unwrap());
        });
        let ratio = elements.len() as f64 / stored.len() as f64;
        println!("blosc {cname}-{clevel}: encode {there:.0} MB/s, decode {back:.0} MB/s, ratio {ratio:.3}");
    }
}

fn main() {
    let from_file = std::env::args().nth(1);
    let elements = from_file.map_or_else(|| field(1440 * 721 * 2), |path| std::fs::read(path).unwrap());
    shuffles();
    zlib(&elements);
    zstandard(&elements);
}
