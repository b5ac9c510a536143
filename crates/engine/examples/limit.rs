//! The codec-only limit: what converting daily files costs if nothing is done but read, decode, scatter, encode and
//! write.
//!
//! `limit CHUNKS CODEC DEST FILES...`, CHUNKS like `30,720,1440`, CODEC like `zstd:3`, `blosc:zstd:3` or `keep`;
//! `LIMIT_THREADS=1` takes one thread instead of two. A bare loop over files of one source chunk a day and variable: no
//! journal, no digest, no sync, no budget, no metadata. It shares the codecs and the scan with the engine and nothing
//! else; what the scan costs is printed, too. It promises no store that opens.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::cast_possible_truncation
)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use frazil_engine::{
    scan::{Load, scan_all},
    source::Source,
};
use frazil_formats::codecs::{ChunkForm, Codecs};
use frazil_model::{
    codec::CodecChain, dataset::Variable, location::Location, manifest::ChunkTable, recipe::spec::CodecSpec,
};

/// Days `first..end` of one variable.
struct Block {
    name: String,
    first: usize,
    end: usize,
}

struct Job {
    sources: Vec<Source>,
    dest: PathBuf,
    chunks: [usize; 3],
    codec: CodecSpec,
}

/// Buffers that a thread keeps.
struct Thread {
    decoder: Codecs,
    encoder: Codecs,
    stored: Vec<u8>,
    block: Vec<u8>,
}

impl Job {
    /// The stored bytes of a variable's one chunk, into `stored`.
    fn read<'a>(&'a self, day: usize, name: &str, stored: &mut Vec<u8>) -> &'a Variable {
        let source = &self.sources[day];
        let variables = &source.decoded.dataset.variables;
        let number = variables.iter().position(|variable| variable.name() == name).unwrap();
        let ChunkTable::Ranges(ranges) = &source.decoded.manifest.tables[number] else { panic!("no chunks") };
        assert_eq!(ranges.len(), 1, "one chunk a day");
        let Location::File(path) = &source.location else { panic!("no file") };
        stored.resize(ranges.length.get(0).unwrap() as usize, 0);
        File::open(path).unwrap().read_exact_at(stored, ranges.offset.get(0).unwrap()).unwrap();
        &variables[number]
    }

    fn run(&self, block: &Block, thread: &mut Thread) {
        let Thread { decoder, encoder, stored, block: filled } = thread;
        for day in block.first..block.end {
            let variable = self.read(day, &block.name, stored);
            let element = variable.dtype.size_bytes().unwrap() as usize;
            let (n_lat, n_lon) = (variable.shape[1] as usize, variable.shape[2] as usize);
            let day_bytes = n_lat * n_lon * element;
            let form = ChunkForm { chain: &variable.codecs, swap_bytes: element as u32, decoded_bytes: day_bytes };
            let elements = decoder.decode(&form, stored, 0).unwrap();
            if self.codec == CodecSpec::Keep {
                write(&self.dest.join(&block.name).join(format!("{day}.0.0")), stored);
                continue;
            }
            let [days, lat, lon] = self.chunks;
            let chunk_bytes = days * lat * lon * element;
            let (lats, lons) = (n_lat.div_ceil(lat), n_lon.div_ceil(lon));
            if filled.len() < lats * lons * chunk_bytes {
                filled.resize(lats * lons * chunk_bytes, 0);
            }
            for row in 0..n_lat {
                let line = &elements[row * n_lon * element..(row + 1) * n_lon * element];
                for (column, run) in line.chunks(lon * element).enumerate() {
                    let chunk = (row / lat * lons + column) * chunk_bytes;
                    let at = chunk + ((day - block.first) * lat + row % lat) * lon * element;
                    filled[at..at + run.len()].copy_from_slice(run);
                }
            }
            if day + 1 == block.end {
                let chain: CodecChain = self.codec.chain(element as u32).unwrap();
                for (number, chunk) in filled[..lats * lons * chunk_bytes].chunks(chunk_bytes).enumerate() {
                    let encoded = encoder.encode(&chain, element as u32, chunk).unwrap();
                    let key = format!("c/{}/{}/{}", block.first / days, number / lons, number % lons);
                    write(&self.dest.join(&block.name).join(key), encoded);
                }
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if fs::write(path, bytes).is_err() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Clock ticks of user and system time; Linux counts a hundred a second for every program.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let mut words = std::env::args().skip(1);
    let chunks: Vec<usize> = words.next().expect("CHUNKS").split(',').map(|length| length.parse().unwrap()).collect();
    let codec: CodecSpec = words.next().expect("CODEC").parse().unwrap();
    let dest = PathBuf::from(words.next().expect("DEST"));
    let files: Vec<(Location, String)> = words.map(|path| (Location::parse(&path).unwrap(), path)).collect();
    let n_threads: usize = std::env::var("LIMIT_THREADS").map_or(2, |text| text.parse().unwrap());
    let start = Instant::now();
    let sources: Vec<Source> =
        scan_all(&files, Load::Nothing, n_threads).into_iter().map(|found| found.unwrap()).collect();
    let (scan_wall, scan_cpu) = (start.elapsed().as_secs_f64(), cpu_seconds());
    let names = sources[0].decoded.dataset.variables.iter().filter(|variable| variable.shape.len() == 3);
    let n_days = sources.len();
    let blocks: Vec<Block> = names
        .flat_map(|variable| {
            (0..n_days.div_ceil(chunks[0])).map(|number| Block {
                name: variable.name().to_owned(),
                first: number * chunks[0],
                end: n_days.min((number + 1) * chunks[0]),
            })
        })
        .collect();
    let job = Job { sources, dest, chunks: chunks.try_into().unwrap(), codec };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                let mut thread =
                    Thread { decoder: Codecs::new(), encoder: Codecs::new(), stored: Vec::new(), block: Vec::new() };
                while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    job.run(block, &mut thread);
                }
            });
        }
    });
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds());
    println!("wall {wall:.2} s, CPU {cpu:.2} s; of it the scan: wall {scan_wall:.2} s, CPU {scan_cpu:.2} s");
}
