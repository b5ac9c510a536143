//! Real files against the reference library's answers: shapes, chunks, types and SHA-256 sums of all values.
//!
//! The files are not in this repository. They are looked for in `shared/corpus` beside it, or where
//! `FRAZIL_CORPUS` says; without them the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use frazil_formats::{
    Decoded, FormatError, Progress, SparseBytes, Stop, Wants,
    codecs::{ChunkForm, Codecs},
    hdf5::{Hdf5Decoder, decode_whole, strings},
};
use frazil_model::{
    dataset::{Role, Variable},
    dtype::{DataType, FloatType, IntType},
    manifest::{ChunkTable, Hdf5Places, VirtualPart},
};
use sha2::{Digest, Sha256};

/// Values larger than this are not summed in the answer key.
const MAX_VALUE_BYTES: u64 = 1 << 30;

/// Why a variable may differ from the answer: nobody reads it silently wrong.
const EXPLAINED: [&str; 3] = [
    "frazil does not read HDF5 filter",
    "virtual dataset whose length follows from files",
    // The key holds them widened to sixteen bytes; frazil carries the stored twelve.
    "values of <f12 differ",
];

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("FRAZIL_CORPUS").map_or(beside, PathBuf::from);
    corpus.join("EXPECTED.jsonl").exists().then_some(corpus)
}

/// The answers on HDF5 files: path, expected outcome, variables.
fn answers(corpus: &Path) -> Vec<(String, String, serde_json::Value)> {
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let outcomes: BTreeMap<&str, &str> =
        manifest.lines().filter_map(|line| Some((line.split('\t').next()?, line.rsplit('\t').next()?))).collect();
    let answers = std::fs::read_to_string(corpus.join("EXPECTED.jsonl")).unwrap();
    let mut rows = Vec::new();
    for line in answers.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = row["path"].as_str().unwrap().to_owned();
        let is_ours = ["hdf5/", "netcdf4/", "malformed/hdf5/"].iter().any(|start| path.starts_with(start));
        if is_ours {
            let outcome = outcomes.get(path.as_str()).copied().unwrap_or_default().to_owned();
            rows.push((path, outcome, row["h5"].clone()));
        }
    }
    rows
}

fn numpy_name(dtype: &DataType) -> String {
    let int = |int: &IntType| {
        let end = if int.size_bytes() == 1 { '|' } else { '<' };
        format!("{end}{}{}", if int.is_signed() { 'i' } else { 'u' }, int.size_bytes())
    };
    match dtype {
        DataType::Int(base) | DataType::Enum { base, .. } => int(base),
        DataType::Float(float) => format!("<f{}", float.size_bytes()),
        DataType::Complex(FloatType::F64) => "<c16".into(),
        DataType::Complex(float) => format!("<c{}", 2 * float.size_bytes()),
        DataType::Bool => "|b1".into(),
        DataType::Char => "|S1".into(),
        DataType::FixedString { size_bytes } => format!("|S{size_bytes}"),
        DataType::String => "vlenstr".into(),
        DataType::Raw { name, .. } => name.clone(),
        DataType::Unsupported { kind, .. } => kind.clone(),
        DataType::Record(_) => "compound".into(),
    }
}

/// All values of a variable in C order, or why not.
fn values(variable: &Variable, table: &ChunkTable, file: &SparseBytes) -> Result<Vec<u8>, String> {
    // Texts are pointers while they are in chunks.
    let element = u64::from(variable.dtype.size_bytes().unwrap_or(16));
    let n_bytes = variable.n_elements().saturating_mul(element);
    if n_bytes > MAX_VALUE_BYTES {
        return Err("huge".into());
    }
    let element = element as usize;
    let fill = if variable.fill.len() == element { variable.fill.clone() } else { vec![0; element] };
    let mut all: Vec<u8> = fill.iter().copied().cycle().take(n_bytes as usize).collect();
    let decoded_bytes = variable.chunk_shape.iter().product::<u64>() as usize * element;
    let form = ChunkForm { chain: &variable.codecs, swap_bytes: variable.dtype.swap_bytes(), decoded_bytes };
    let mut codecs = Codecs::new();
    let mut place = |index: u64, stored: &[u8], skipped: u32| -> Result<(), String> {
        let chunk = codecs.decode(&form, stored, skipped).map_err(|error| error.to_string())?;
        copy_chunk(variable, index, chunk, element, &mut all);
        Ok(())
    };
    match table {
        ChunkTable::Inline(bytes) => place(0, bytes, 0)?,
        ChunkTable::Ranges(ranges) => {
            for row in 0..ranges.len() {
                let found = ranges.row(row).unwrap();
                let stored = file.get("chunk", found.offset, found.length).map_err(|stop| format!("{stop:?}"))?;
                place(ranges.index.get(row).unwrap(), stored, found.skipped_steps)?;
            }
        }
        ChunkTable::External(_) => return Err("external".into()),
        ChunkTable::Virtual(_) => return Err("virtual".into()),
        ChunkTable::Referred(_) => return Err("references".into()),
    }
    Ok(all)
}

/// Puts a chunk's elements where they belong; those beyond the shape are left out.
fn copy_chunk(variable: &Variable, mut index: u64, chunk: &[u8], element: usize, all: &mut [u8]) {
    let rank = variable.shape.len();
    if rank == 0 {
        all.copy_from_slice(&chunk[..all.len()]);
        return;
    }
    let grid = variable.grid();
    let mut start = vec![0; rank];
    for axis in (0..rank).rev() {
        start[axis] = index % grid[axis] * variable.chunk_shape[axis];
        index /= grid[axis];
    }
    let row = (variable.chunk_shape[rank - 1].min(variable.shape[rank - 1].saturating_sub(start[rank - 1]))) as usize;
    let n_rows: u64 = variable.chunk_shape[..rank - 1].iter().product();
    for number in 0..n_rows {
        let (mut rest, mut target, mut step, mut inside) = (number, start[rank - 1], variable.shape[rank - 1], true);
        for axis in (0..rank - 1).rev() {
            let at = start[axis] + rest % variable.chunk_shape[axis];
            rest /= variable.chunk_shape[axis];
            inside &= at < variable.shape[axis];
            target += at * step;
            step *= variable.shape[axis];
        }
        if inside {
            let from = (number * variable.chunk_shape[rank - 1]) as usize * element;
            let to = target as usize * element;
            all[to..to + row * element].copy_from_slice(&chunk[from..from + row * element]);
        }
    }
}

fn sum(variable: &Variable, table: &ChunkTable, file: &SparseBytes, places: &Hdf5Places) -> Result<String, String> {
    let mut bytes = values(variable, table, file)?;
    if variable.dtype == DataType::String {
        let texts = strings(&bytes, places, file).map_err(|stop| match stop {
            Stop::Bad(error) => error.to_string(),
            Stop::Need(_) => "incomplete".into(),
        })?;
        bytes = texts.into_iter().map(Option::unwrap_or_default).collect::<Vec<String>>().join("\0").into_bytes();
    }
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digest[..32].to_owned())
}

/// Compares one variable with its answer; `Err` says what differs.
fn compare(path: &str, answer: &serde_json::Value, decoded: &Decoded, file: &SparseBytes) -> Result<(), String> {
    let places = decoded.manifest.hdf5.clone().unwrap_or_default();
    let renamed = places.stored_paths.iter().find(|(_, stored)| stored == path).map_or(path, |(shown, _)| shown);
    let unread = decoded.dataset.unread.iter().find(|unread| unread.path == path);
    let is_it = |variable: &Variable| variable.path == renamed && (renamed == path || variable.role == Role::Variable);
    let Some(at) = decoded.dataset.variables.iter().position(is_it) else {
        let reason = unread.map_or("not listed", |unread| unread.reason.as_str());
        return if answer.get("shape").is_some_and(|shape| !shape.is_null()) { Err(reason.to_owned()) } else { Ok(()) };
    };
    let (variable, table) = (&decoded.dataset.variables[at], &decoded.manifest.tables[at]);
    let Some(shape) = answer.get("shape") else { return Ok(()) };
    if matches!(table, ChunkTable::Virtual(parts) if parts.iter().any(VirtualPart::is_endless)) {
        return Err("virtual dataset whose length follows from files that it does not list one by one".into());
    }
    if *shape != serde_json::json!(variable.shape) {
        return Err(format!("shape {:?}, not {shape}", variable.shape));
    }
    if let Some(chunks) = answer.get("chunks").filter(|chunks| !chunks.is_null())
        && *chunks != serde_json::json!(variable.chunk_shape)
    {
        return Err(format!("chunks {:?}, not {chunks}", variable.chunk_shape));
    }
    if variable.is_chunked != answer.get("chunks").is_some_and(|chunks| !chunks.is_null()) {
        return Err(format!("chunked: {}", variable.is_chunked));
    }
    if variable.dimensions.len() != variable.shape.len() {
        return Err(format!("{} names for {} dimensions", variable.dimensions.len(), variable.shape.len()));
    }
    let ours = numpy_name(&variable.dtype);
    if let Some(dtype) = answer["dtype"].as_str()
        && ours != dtype
        && !matches!(variable.dtype, DataType::Raw { .. })
    {
        return Err(format!("type {ours}, not {dtype}"));
    }
    if let Some(expected) = answer["sha"].as_str() {
        let found = sum(variable, table, file, &places)?;
        if found != expected {
            return Err(format!("values of {ours} differ"));
        }
    }
    Ok(())
}

/// Reads a file in blocks, as from a server, and counts the rounds.
fn in_blocks(bytes: &Bytes, block_bytes: u64) -> (Result<Decoded, FormatError>, u32, u64) {
    let mut decoder = Hdf5Decoder::new();
    let mut held = SparseBytes::new(bytes.len() as u64);
    for round in 0.. {
        match decoder.advance(&held) {
            Ok(Progress::Done(decoded)) => return (Ok(decoded), round, held.held_bytes()),
            Err(error) => return (Err(error), round, held.held_bytes()),
            Ok(Progress::Need(ranges)) => {
                let missing = held.missing(&Wants(ranges), block_bytes);
                assert!(!missing.is_empty(), "it asks for what it has");
                for range in missing {
                    held.insert(range.offset(), bytes.slice(range.offset() as usize..range.end() as usize));
                }
            }
        }
    }
    unreachable!()
}

#[test]
fn real_files_are_read_as_the_reference_library_reads_them() {
    let Some(corpus) = corpus() else {
        println!("no corpus here");
        return;
    };
    let mut tally: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let (mut n_variables, mut n_equal, mut n_files_wrong) = (0, 0, 0);
    for (path, outcome, answer) in answers(&corpus) {
        let kind = outcome.split([':', ';']).next().unwrap_or_default().to_owned();
        let bytes = Bytes::from(std::fs::read(corpus.join(&path)).unwrap());
        let start = Instant::now();
        let decoded = decode_whole(bytes.clone());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{path} took {took:?}");
        if took > Duration::from_millis(300) {
            println!("slow: {path} {took:?}");
        }
        let row = tally.entry(kind.clone()).or_default();
        row.1 += 1;
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                println!("{kind} {path}: {error}");
                row.0 += u32::from(matches!(kind.as_str(), "REFUSE" | "SURVIVE"));
                continue;
            }
        };
        let file = SparseBytes::whole(bytes);
        let mut wrong = Vec::new();
        for (name, expected) in answer.as_object().into_iter().flatten() {
            if !expected.is_object() {
                continue;
            }
            n_variables += 1;
            match compare(name, expected, &decoded, &file) {
                Ok(()) => n_equal += 1,
                Err(reason) => {
                    let is_explained = EXPLAINED.iter().any(|explained| reason.contains(explained));
                    if !is_explained && kind != "SURVIVE" {
                        unexplained.push(format!("{path} {name}: {reason}"));
                    }
                    wrong.push(format!("{name}: {reason}"));
                }
            }
        }
        if wrong.is_empty() {
            row.0 += 1;
        } else {
            n_files_wrong += 1;
            println!("{kind} {path}: {} differ", wrong.len());
            for line in wrong.iter().take(4) {
                println!("    {line}");
            }
        }
        if kind == "OPENS" {
            for unread in decoded.dataset.unread.iter().take(3) {
                println!("    unread in {path}: {} {}", unread.path, unread.reason);
            }
        }
    }
    println!("{n_equal} of {n_variables} variables equal; {n_files_wrong} files differ");
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    for (kind, (good, all)) in &tally {
        println!("{kind}: {good} of {all}");
    }
}

#[test]
fn reading_in_blocks_gives_what_reading_at_once_gives() {
    let Some(corpus) = corpus() else { return };
    let (mut most, mut all, mut n) = (0, 0, 0);
    for (path, ..) in answers(&corpus) {
        let bytes = Bytes::from(std::fs::read(corpus.join(&path)).unwrap());
        let whole = decode_whole(bytes.clone());
        for block_bytes in [64 << 10, 512] {
            let (parts, rounds, held) = in_blocks(&bytes, block_bytes);
            // As text, since NaN does not equal itself.
            assert!(format!("{parts:?}") == format!("{whole:?}"), "{path}");
            if block_bytes > 512 {
                (most, all, n) = (rounds.max(most), all + rounds, n + 1);
                if rounds > 5 {
                    println!("{path}: {rounds} rounds, {held} of {} bytes", bytes.len());
                }
            }
        }
    }
    println!("{n} files in blocks of 64 KiB: {all} rounds, at most {most} for one");
}

/// Numbers that look random and are the same each time (splitmix64).
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[test]
fn damaged_files_are_read_in_part_or_refused() {
    let Some(corpus) = corpus() else { return };
    let n_flips = std::env::var("FRAZIL_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut state = 7;
    let (mut n_files, mut slowest) = (0_u32, (Duration::ZERO, String::new()));
    for (path, ..) in answers(&corpus) {
        let original = std::fs::read(corpus.join(&path)).unwrap();
        let mut damaged: Vec<Bytes> =
            (0..20).map(|i| Bytes::copy_from_slice(&original[..original.len() * i / 20])).collect();
        for _ in 0..n_flips {
            let mut copy = original.clone();
            for _ in 0..=scramble(&mut state) % 8 {
                // Half of the flips in the first kilobytes, where the structure is.
                let span = if scramble(&mut state).is_multiple_of(2) { copy.len().min(4096) } else { copy.len() };
                let at = scramble(&mut state) as usize % span.max(1);
                if let Some(byte) = copy.get_mut(at) {
                    *byte = scramble(&mut state) as u8;
                }
            }
            damaged.push(copy.into());
        }
        for bytes in damaged {
            let start = Instant::now();
            let _ = decode_whole(bytes);
            n_files += 1;
            slowest = slowest.max((start.elapsed(), path.clone()));
        }
    }
    println!("{n_files} damaged files; slowest {slowest:?}");
    assert!(slowest.0 < Duration::from_secs(10), "{slowest:?}");
}
