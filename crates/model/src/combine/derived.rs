//! Variables that no file holds: steps of a recipe made them.
//!
//! They have a shape, a type and chunks like those of a file, so that all that follows treats them alike; only reading
//! a chunk differs: it is held already, picked from another variable, or computed. Nothing is read here.

use std::sync::Arc;

use crate::{
    codec::CodecChain,
    combine::view::{Values, ViewAxis, ViewVariable},
    dataset::{Role, Variable},
    packing::ValueRule,
    recipe::calc::Expression,
};

/// How many variables may be read, directly and through each other, for one chunk of a derived one.
pub const MOST_READS: usize = 256;

/// A variable that a step made.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Its shape, type and chunks.
    pub variable: Variable,
    /// Where its elements come from.
    pub origin: Origin,
    /// How many variables are read for a chunk of it, through all that lies between.
    pub n_reads: usize,
}

/// Where the elements of a derived variable come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// They are here. It is one chunk.
    Held(Arc<Values>),
    /// Those of another variable, along one dimension in an order of their own.
    Picked {
        /// The elements to take from.
        input: Input,
        /// The dimension.
        axis: usize,
        /// For each element along it, the element of `input` along the same dimension.
        indexes: Arc<Vec<u64>>,
    },
    /// Those of another variable, which has fewer; behind its end, `pad`.
    Padded {
        /// The elements that are there.
        input: Input,
        /// One element, little-endian.
        pad: Vec<u8>,
    },
    /// `float64` computed from others, element by element.
    Computed {
        /// What is computed.
        expression: Expression,
        /// The variables it names.
        inputs: Vec<(String, Input)>,
    },
}

/// A variable as a derived one reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its number, of a file or derived.
    pub source: usize,
    /// For each dimension of the derived variable, where elements come from; `New` where the same element serves all.
    pub axes: Vec<ViewAxis>,
    /// Source dimensions that are at one index.
    pub fixed: Vec<(usize, u64)>,
    /// What happens to each value.
    pub rule: ValueRule,
}

impl Derived {
    /// A derived variable with the shape, type and chunks of `view`.
    #[must_use]
    pub fn like(view: &ViewVariable, origin: Origin, n_reads: usize) -> Self {
        let variable = Variable {
            path: view.path.clone(),
            role: Role::Variable,
            dimensions: view.dimensions.clone(),
            shape: view.shape.clone(),
            dtype: view.dtype.clone(),
            chunk_shape: view.chunk_shape.iter().map(|length| (*length).max(1)).collect(),
            is_chunked: false,
            codecs: CodecChain::default(),
            fill: vec![0; view.dtype.size_bytes().unwrap_or(0) as usize],
            attributes: crate::attribute::Attributes::default(),
        };
        Self { variable, origin, n_reads }
    }

    /// Numbers of the variables that it is made of.
    #[must_use]
    pub fn inputs(&self) -> Vec<usize> {
        match &self.origin {
            Origin::Held(_) => Vec::new(),
            Origin::Picked { input, .. } | Origin::Padded { input, .. } => vec![input.source],
            Origin::Computed { inputs, .. } => inputs.iter().map(|(_, input)| input.source).collect(),
        }
    }
}

impl Input {
    /// All of a view.
    #[must_use]
    pub fn of(view: &ViewVariable) -> Self {
        Self { source: view.source, axes: view.axes.clone(), fixed: view.fixed.clone(), rule: view.rule.clone() }
    }
}
