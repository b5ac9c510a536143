//! What many files can become together, what stands in the way, and what it would cost: for each kind of dataset.
//!
//! It promises to plan as `frazil convert` does with the usual policies, from metadata alone, and to write nothing.

use std::time::SystemTime;

use frazil_model::{
    combine::policy::Policies,
    layout::{Growth, LayoutRequest},
    location::Location,
    plan::Limits,
    recipe::{
        span::Position,
        spec::CodecSpec,
        virtually::{FORMATS, VirtualFormat, VirtualWrite},
        write::ZarrFormat,
    },
    report::ErrorReport,
};
use serde_json::{Value, json};

use crate::{
    error::EngineError,
    index::IndexUse,
    prepare::{Reissued, Request, prepare_of, scanned},
    source::Source,
    virtually::{Amounts, VirtualRequest, made_arrays, parts},
};

/// A verdict for each target: `virtual` in its three formats, and `zarr`.
pub(super) fn verdicts(sources: Vec<(Location, String)>, limits: Limits, index: IndexUse) -> Value {
    let request = request(sources, limits, index);
    let scan = scanned(&request);
    let by_reference = FORMATS.map(|(name, format)| {
        let mut verdict = match &scan {
            Ok(scan) => virtually(&request, format, scan.clone()).unwrap_or_else(|error| refusal(&error)),
            Err(error) => refusal(error),
        };
        (verdict["target"], verdict["format"]) = (json!("virtual"), json!(name));
        verdict
    });
    let mut all = by_reference.to_vec();
    let mut verdict = match scan {
        Ok(scan) => copied(&request, scan).unwrap_or_else(|error| refusal(&error)),
        Err(error) => refusal(&error),
    };
    verdict["target"] = json!("zarr");
    all.push(verdict);
    Value::Array(all)
}

/// What `frazil convert` asks for without a word about how.
fn request(sources: Vec<(Location, String)>, limits: Limits, index: IndexUse) -> Request {
    Request {
        sources,
        steps: Vec::new(),
        keys: Vec::new(),
        merge: None,
        absent: Vec::new(),
        expect: Vec::new(),
        policies: Policies::default(),
        layout: LayoutRequest {
            format: ZarrFormat::V3,
            chunks: None,
            shards: None,
            codec: CodecSpec::default(),
            grows: Growth::Never,
        },
        // Nothing is written; a place on this machine is planned for.
        target: Location::File("frazil-inspect.zarr".into()),
        limits,
        recipe: String::new(),
        index,
        reissued: Reissued::Refused,
    }
}

fn virtually(request: &Request, format: VirtualFormat, scan: Vec<Source>) -> Result<Value, EngineError> {
    let write = VirtualWrite { format, ..VirtualWrite::usual(Position::default()) };
    let parts = parts(&VirtualRequest { request: request.clone(), write }, scan)?.parts;
    let made: Vec<Value> =
        made_arrays(&parts).into_iter().map(|(path, why)| json!({"path": path, "why": why})).collect();
    let mut verdict = json!(Amounts::of(&parts));
    verdict["possible"] = json!(true);
    verdict["n_groups"] = json!(parts.len());
    verdict["made"] = json!(made);
    Ok(verdict)
}

fn copied(request: &Request, scan: Vec<Source>) -> Result<Value, EngineError> {
    let mut verdict = json!(prepare_of(request, scan, SystemTime::now())?.summary);
    verdict["possible"] = json!(true);
    Ok(verdict)
}

fn refusal(error: &EngineError) -> Value {
    let error = ErrorReport::of(error);
    json!({"possible": false, "code": error.code, "why": error.message, "cause": error.cause, "hint": error.hint})
}
