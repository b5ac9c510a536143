//! The `frazil` command.
#![allow(clippy::print_stderr, clippy::print_stdout)]
use std::sync::atomic::AtomicBool;
use frazil_model::{combine::policy::Policies, layout::*, location::Location, plan::Limits, problem::Problem, recipe::spec::*, recipe::write::ZarrFormat};
use frazil_engine::{prepare::*, publish, progress::Progress};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(2).collect();
    let mut get = |name: &str| { args.iter().position(|a| a == name).map(|i| { let v = args[i+1].clone(); args.drain(i..i+2); v }) };
    let _ = get("--to");
    let format = match get("--zarr-format").as_deref() { Some("2") => ZarrFormat::V2, _ => ZarrFormat::V3 };
    let chunks = get("--chunks").map(|c| c.parse::<ChunkSpec>().unwrap());
    let codec = get("--codec").map_or(CodecSpec::default(), |c| c.parse().unwrap());
    let shards = get("--shards").map(|c| match c.parse::<ChunkSpec>().unwrap() { ChunkSpec::Explicit(x) => x, _ => vec![] });
    let memory = get("--memory").map_or(1_000_000_000, |m| m.parse::<frazil_model::recipe::amount::ByteSize>().unwrap().0);
    let threads = get("--threads").map_or(2, |m| m.parse().unwrap());
    let mut policies = Policies::default();
    if let Some(d) = get("--differ") { 
        use frazil_model::combine::policy::*;
        match d.as_str() { "packing=repack" => policies.differ.packing = DifferPacking::Repack, "packing=decode" => policies.differ.packing = DifferPacking::Decode, _ => {} } }
    policies.along = get("--along");
    let overwrite = args.iter().position(|a| a == "--overwrite").map(|i| args.remove(i)).is_some();
    let json = args.iter().position(|a| a == "--json").map(|i| args.remove(i)).is_some();
    let dest = args.pop().unwrap();
    let sources = args.iter().map(|a| (Location::parse(a).unwrap(), a.clone())).collect();
    let request = Request { sources, steps: vec![], keys: vec![], policies, layout: LayoutRequest { format, chunks, shards, codec, grows: Growth::Never }, target: dest.into(), limits: Limits { memory_bytes: memory, n_threads: threads }, recipe: String::new() };
    let run = || { let t = std::time::Instant::now(); let p = prepare(&request)?; eprintln!("{:?} {:?} prepared in {:?}", p.summary, p.pace, t.elapsed());
        for n in &p.combined.notes { eprintln!("note {n:?}"); }
        let f = if overwrite { publish::replace } else { publish::create };
        if json { let items: Vec<_> = p.left_out.iter().map(|l| serde_json::json!({"path": l.path, "unread": l.reason, "source": l.file})).collect(); println!("{}", serde_json::json!({"ok": true, "items": items})); }
        f(&request, &p, &Progress::default(), &AtomicBool::new(false)).map(|o| (o, p.left_out.is_empty())) };
    match run() {
        Ok((outcome, true)) => eprintln!("{outcome:?}"), Ok(_) => std::process::exit(3),
        Err(e) => { let e: frazil_engine::EngineError = e; if json { println!("{}", serde_json::json!({"ok": false, "items": [], "error": {"code": e.code(), "message": e.to_string(), "cause": std::error::Error::source(&e).map(|s| s.to_string()), "hint": e.hint(), "exit": e.exit().code()}})); } eprintln!("error: {e}"); let mut s = std::error::Error::source(&e); while let Some(c) = s { eprintln!("cause: {c}"); s = c.source(); } if let Some(h) = e.hint() { eprintln!("hint:  {h}"); } std::process::exit(e.exit().code().into()); }
    }
}
