//! A virtual dataset planned again from its files, to be compared with what was written of them.
//!
//! It goes the way that making goes, in the same parts and with the same types, but takes no reference from anywhere: only
//! values are asked for. Of what was written it takes no more than how many parts there are. It promises that an array
//! without a single chunk on either side costs nothing, however large its shape says it is.

use frazil_model::{
    combine::{Combined, CombinedVariable, Content},
    layout::{TargetArray, lay_out},
    manifest::ChunkTable,
    plan::Task,
    recipe::virtually::VirtualFormat,
};

use super::{
    lay::table_of,
    make::{layout, promote},
    split::{classes, era, of_class},
};
use crate::{
    compare::Given,
    error::EngineError,
    planning::plan,
    prepare::{Joined, Request, SmallData, joined_of, nothing_left},
    source::Source,
    views::{leave_out_untyped, views},
};

/// Files that are joined, and their arrays cut into boxes.
pub(super) struct Again {
    prefix: String,
    sources: Vec<Source>,
    /// Arrays with chunks.
    filled: Boxed,
    /// Arrays without any: one element of each piece speaks for all.
    bare: Boxed,
}

struct Boxed {
    combined: Combined,
    targets: Vec<TargetArray>,
    tasks: Vec<Task>,
    n_threads: usize,
}

impl Boxed {
    /// No array yet of what is joined to `combined`.
    fn of(combined: &Combined) -> Self {
        let combined = Combined {
            groups: Vec::new(),
            variables: Vec::new(),
            along: combined.along.clone(),
            dropped: Vec::new(),
            notes: Vec::new(),
            must_equal: Vec::new(),
        };
        Self { combined, targets: Vec::new(), tasks: Vec::new(), n_threads: 1 }
    }

    fn push(&mut self, variable: CombinedVariable, target: TargetArray) {
        self.combined.variables.push(variable);
        self.targets.push(target);
    }
}

impl Again {
    /// What is to be compared.
    pub fn given(&self) -> [Given<'_>; 2] {
        [&self.filled, &self.bare].map(|boxed| Given {
            prefix: &self.prefix,
            sources: &self.sources,
            combined: &boxed.combined,
            targets: &boxed.targets,
            tasks: &boxed.tasks,
            n_threads: boxed.n_threads,
        })
    }
}

/// Whether the array at a path of the dataset has no chunk there.
pub(super) type IsBare<'a> = &'a dyn Fn(&str) -> bool;

/// Plans all files as one dataset.
pub(super) fn whole(
    request: &Request,
    format: VirtualFormat,
    scan: Vec<Source>,
    is_bare: IsBare<'_>,
) -> Result<Again, EngineError> {
    let mut request = with_layout(request, format);
    // Where it was not asked for, nothing differs in these.
    promote(&mut request);
    again(&request, scan, String::new(), is_bare)
}

/// Plans the files in as many parts as the dataset has; else the answer is how many kinds of files there are.
pub(super) fn in_eras(
    request: &Request,
    format: VirtualFormat,
    mut scan: Vec<Source>,
    n_eras: usize,
    is_bare: IsBare<'_>,
) -> Result<Result<Vec<Again>, usize>, EngineError> {
    let request = with_layout(request, format);
    let views = views(&mut scan, &request, &mut Vec::new())?;
    let all = classes(&views, &request);
    let Some(classes) = all.iter().find(|classes| classes.len() == n_eras) else {
        return Ok(Err(all[0].len()));
    };
    let part = |(number, class): (usize, &Vec<usize>)| {
        let (own, sources) = of_class(&request, (&scan, &views), class);
        again(&own, sources, era(number), is_bare)
    };
    Ok(Ok(classes.iter().enumerate().map(part).collect::<Result<_, _>>()?))
}

fn with_layout(request: &Request, format: VirtualFormat) -> Request {
    let mut request = request.clone();
    request.layout = layout(format);
    request.policies.keeps_counts = true;
    request
}

fn again(request: &Request, scan: Vec<Source>, prefix: String, is_bare: IsBare<'_>) -> Result<Again, EngineError> {
    let Joined { sources, mut combined, mut left_out } = joined_of(request, scan, SmallData::Held)?;
    let mut targets = lay_out(&combined, &request.layout)?;
    leave_out_untyped(request, &mut combined, &mut targets, &mut left_out)?;
    if targets.is_empty() {
        nothing_left(&mut left_out)?;
    }
    let (mut filled, mut bare) = (Boxed::of(&combined), Boxed::of(&combined));
    for (variable, mut target) in combined.variables.into_iter().zip(targets) {
        let starts = starts_of_bare(&sources, &variable.content);
        match starts.filter(|_| is_bare(&format!("{prefix}{}", target.path))) {
            None => filled.push(variable, target),
            Some(starts) => {
                let (array, ones) = (bare.targets.len(), vec![1; target.shape.len()]);
                bare.tasks.extend(starts.into_iter().map(|first| Task { array, first, n_units: ones.clone() }));
                target.chunk_shape = ones;
                bare.push(variable, target);
            }
        }
    }
    let planned = plan(&sources, &filled.combined, &filled.targets, (request.limits, 0))?;
    (filled.tasks, filled.n_threads) = (planned.tasks, planned.pace.n_tasks);
    Ok(Again { prefix, sources, filled, bare })
}

/// Where each piece of an array begins, if none of them has a single chunk in its file.
fn starts_of_bare(sources: &[Source], content: &Content) -> Option<Vec<Vec<u64>>> {
    let Content::Pieces(pieces) = content else { return None };
    let is_bare = |table: Option<&ChunkTable>| matches!(table, Some(ChunkTable::Ranges(ranges)) if ranges.is_empty());
    let all = pieces.iter().all(|piece| is_bare(table_of(sources, piece.file, piece.variable)));
    (all && !pieces.is_empty()).then(|| pieces.iter().map(|piece| piece.at.start.clone()).collect())
}
