//! How the arrays of a virtual dataset are cut, and where each of their chunks is.

use frazil_model::{
    combine::{Combined, CombinedVariable, Content, Piece},
    counts::Calibration,
    layout::{LayoutRequest, TargetArray, lay_out},
    manifest::ChunkTable,
    packing::Packing,
    plan::PlanError,
    recipe::virtually::IfIncompatible,
    references::{ArrayReferences, Cells, Equivalence, Located, Origin, Unwritten, Why, form},
    region::{Region, count, number_of},
    zarr::{ArrayLayout, ZarrFormat},
};

use super::make::Part;
use crate::{error::EngineError, sinks::zarr::ZarrStore, source::Source};

/// Chunks of an array, each of which is looked at.
const MOST_CELLS: u64 = 500_000_000;

/// Chunks of an array that are made.
const MOST_NATIVE: u64 = 20_000_000;

/// Chunks of an array by where they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// In files.
    pub references: u64,
    /// Stored bytes of those.
    pub referenced_bytes: u64,
    /// To be made; the C-order numbers of the cells.
    pub native: Vec<u64>,
    /// Nowhere.
    pub unwritten: u64,
    /// Why the first that must be made must be.
    pub why: Option<Why>,
}

/// All arrays.
#[derive(Debug)]
pub(crate) struct Laid {
    /// What the store says of each.
    pub targets: Vec<TargetArray>,
    /// Where their chunks are.
    pub references: Vec<ArrayReferences>,
    /// How many are where.
    pub counts: Vec<Counts>,
}

/// What a source says of the variable of a piece. Values that steps made lie in no file.
pub(crate) fn origin_of<'a>(sources: &'a [Source], piece: &Piece) -> Origin<'a> {
    let source = &sources[piece.file];
    Origin { variable: source.variable(piece.variable), table: table_of(sources, piece.file, piece.variable) }
}

/// The places of a variable's chunks.
pub(crate) fn table_of(sources: &[Source], file: usize, variable: usize) -> Option<&ChunkTable> {
    let source = sources.get(file)?;
    if source.store.is_some() || source.derived(variable).is_some() {
        return None;
    }
    source.decoded.manifest.tables.get(variable)
}

/// Lays out the arrays of a joined dataset as their files have them.
///
/// # Errors
/// If an array cannot be laid out.
pub(crate) fn lay(
    sources: &[Source],
    combined: &Combined,
    request: &LayoutRequest,
    policies: &[IfIncompatible],
) -> Result<Laid, EngineError> {
    let equivalence = match policies.contains(&IfIncompatible::Equivalent) {
        true => Equivalence::DecodeAlike,
        false => Equivalence::SameToTheLetter,
    };
    let origins = |piece: &Piece| origin_of(sources, piece);
    let mut targets = lay_out(combined, request)?;
    let mut references = Vec::with_capacity(targets.len());
    for (variable, target) in combined.variables.iter().zip(&mut targets) {
        match form(variable, &origins, equivalence) {
            Some(form) => {
                target.chunk_shape = form.chunk_shape;
                target.codecs = form.codecs;
            }
            None => keep_chunks(variable, target),
        }
        target.keeps_chunks = false;
        references.push(ArrayReferences::of(variable, target, &origins, equivalence, unwritten(target)));
    }
    let counts = (references.iter().zip(&targets)).map(|(array, target)| counted(array, target, sources));
    let counts = counts.collect::<Result<_, EngineError>>()?;
    Ok(Laid { targets, references, counts })
}

/// The arrays as their documents say them. Counts whose packing JSON cannot say are shown as values.
pub(crate) fn layouts(part: &Part, format: ZarrFormat) -> Vec<ArrayLayout> {
    let mut arrays = ZarrStore::new(format, part.combined.groups.clone(), &part.laid.targets).arrays;
    for layout in &mut arrays {
        layout.calibration = Calibration::of(&layout.dtype, &Packing::of(&layout.attributes));
    }
    arrays
}

/// An array that is made altogether is cut as the first file cuts it, so that it grows without being cut anew.
fn keep_chunks(variable: &CombinedVariable, target: &mut TargetArray) {
    if matches!(variable.content, Content::Pieces(_)) && variable.is_chunked {
        target.chunk_shape = variable.source_chunk_shape.iter().map(|length| (*length).max(1)).collect();
    }
}

/// What readers take for a chunk that is not there. Of v2 stock xarray masks the array's `fill_value`, so nothing is said
/// there unless the variable itself says it.
fn unwritten(target: &TargetArray) -> Unwritten {
    if target.leaves_out_unwritten {
        return Unwritten::TheFillValue;
    }
    let said = target.attributes.numbers("_FillValue").map(|numbers| (numbers.dtype(), numbers.to_le_bytes()));
    match said {
        Some((dtype, bytes)) if dtype == target.dtype && bytes == target.fill => Unwritten::TheFillValue,
        _ => Unwritten::SomethingElse,
    }
}

/// Looks at every chunk of an array.
fn counted(array: &ArrayReferences, target: &TargetArray, sources: &[Source]) -> Result<Counts, EngineError> {
    let mut counts = Counts::default();
    let grid = array.grid();
    let too_many = |n_units, limit| {
        let problem = PlanError::TooManyUnits { variable: target.path.clone(), n_units, limit };
        EngineError::Plan { problem, file: sources.first().map(|source| source.name.clone()).unwrap_or_default() }
    };
    if count(&grid) > MOST_CELLS {
        return Err(too_many(count(&grid), MOST_CELLS));
    }
    let table = |file: usize, variable: usize| table_of(sources, file, variable);
    let mut cells = Cells::of(Region::whole(&grid));
    while let Some(cell) = cells.next_cell() {
        match array.locate(cell, &table) {
            Located::File { length, .. } => {
                counts.references += 1;
                counts.referenced_bytes = counts.referenced_bytes.saturating_add(length);
            }
            Located::Unwritten => counts.unwritten += 1,
            Located::Native(why) => {
                counts.native.push(number_of(cell, &grid));
                counts.why.get_or_insert(why);
                if counts.native.len() as u64 > MOST_NATIVE {
                    return Err(too_many(count(&grid), MOST_NATIVE));
                }
            }
        }
    }
    Ok(counts)
}
