//! A file as combining sees it: its variables after the per-file steps, and how each is read from the source.
//!
//! A view changes names, order and extent without touching a value; the engine follows its axes back to the file.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    attribute::Attributes,
    codec::CodecChain,
    combine::{derived::Derived, padding},
    dataset::{Dataset, Group, Role, Variable},
    dtype::DataType,
    packing::{Packing, ValueRule, decoded_type},
};

/// Values small enough to be held while combining.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Elements of a fixed size, little-endian, C order.
    Fixed(Bytes),
    /// Texts of any length; `None` was never written.
    Texts(Vec<Option<String>>),
}

/// One file.
#[derive(Debug, Clone)]
pub struct FileView {
    /// How the file is named in messages.
    pub name: String,
    /// Groups with their attributes.
    pub groups: Vec<Group>,
    /// Variables that readers see.
    pub variables: Vec<ViewVariable>,
    /// How many variables the file's `Dataset` has: variables that steps make are numbered from there.
    pub n_sources: usize,
    /// Variables that steps made.
    pub derived: Vec<Derived>,
}

/// One variable of a file.
#[derive(Debug, Clone)]
pub struct ViewVariable {
    /// Its number in the file's `Dataset`, or behind those among the variables that steps made.
    pub source: usize,
    /// Its name in the output, absolute.
    pub path: String,
    /// Names of its dimensions.
    pub dimensions: Vec<String>,
    /// Lengths of its dimensions.
    pub shape: Vec<u64>,
    /// What one element is, after `rule`.
    pub dtype: DataType,
    /// Attributes.
    pub attributes: Attributes,
    /// Whether the numbers among them are JSON's, without a type.
    pub is_json: bool,
    /// Value of elements that were never written, little-endian, in the file's type.
    pub fill: Vec<u8>,
    /// For each dimension, where its elements come from.
    pub axes: Vec<ViewAxis>,
    /// Source dimensions that the view has not, each at one index.
    pub fixed: Vec<(usize, u64)>,
    /// The source's chunks, in the order of the view's dimensions.
    pub chunk_shape: Vec<u64>,
    /// Whether the file itself cuts the variable into chunks.
    pub is_chunked: bool,
    /// The source's codecs.
    pub codecs: CodecChain,
    /// What happens to each value.
    pub rule: ValueRule,
    /// The values after `rule`, where they are small.
    pub values: Option<Arc<Values>>,
}

/// Where the elements along a dimension come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewAxis {
    /// Element `i` is element `start + i * step` of source dimension `axis`.
    Source {
        /// Source dimension.
        axis: usize,
        /// First element.
        start: u64,
        /// 1 or -1.
        step: i8,
    },
    /// A dimension of length one that the source has not.
    New,
}

impl FileView {
    /// The file as readers see it: a variable that is shorter than its dimensions is filled up.
    #[must_use]
    pub fn of(name: &str, dataset: &Dataset, values: &dyn Fn(usize) -> Option<Arc<Values>>) -> Self {
        let is_json = !matches!(dataset.format.as_str(), "netcdf4" | "netcdf3" | "hdf5" | "dmrpp" | "");
        let variables = dataset
            .variables
            .iter()
            .enumerate()
            .filter(|(_, variable)| variable.role == Role::Variable)
            .map(|(source, variable)| ViewVariable { is_json, ..ViewVariable::of(source, variable, values(source)) })
            .collect();
        let mut view = Self {
            name: name.to_owned(),
            groups: dataset.groups.clone(),
            variables,
            n_sources: dataset.variables.len(),
            derived: Vec::new(),
        };
        // Of a store, and of references that read as one, each array says how long it is.
        if matches!(dataset.format.as_str(), "netcdf4" | "netcdf3" | "hdf5" | "") {
            padding::pad(&mut view, dataset);
        }
        view
    }

    /// The variable at `path`.
    #[must_use]
    pub fn variable(&self, path: &str) -> Option<&ViewVariable> {
        self.variables.iter().find(|variable| variable.path == path)
    }

    /// The one-dimensional variable that labels `dimension`, as seen from `group`: there or in a parent.
    #[must_use]
    pub fn coordinate(&self, group: &str, dimension: &str) -> Option<&ViewVariable> {
        let mut group = group;
        loop {
            let path = if group == "/" { format!("/{dimension}") } else { format!("{group}/{dimension}") };
            if let Some(found) = self.variable(&path).filter(|variable| variable.dimensions == [dimension]) {
                return Some(found);
            }
            if group == "/" {
                return None;
            }
            group = group.rfind('/').filter(|at| *at > 0).map_or("/", |at| &group[..at]);
        }
    }
}

impl FileView {
    /// The group that declares the dimension a variable of `group` calls `dimension`; `None` if the file says nothing.
    #[must_use]
    pub fn declaring_group(&self, group: &str, dimension: &str) -> Option<&str> {
        let is_above = |path: &str| path == "/" || group == path || group.starts_with(&format!("{path}/"));
        self.groups
            .iter()
            .filter(|group| is_above(&group.path) && group.dimensions.iter().any(|one| one.name == dimension))
            .map(|group| group.path.as_str())
            .max_by_key(|path| path.len())
    }
}

impl ViewVariable {
    /// The variable as it is in the file.
    #[must_use]
    pub fn of(source: usize, variable: &Variable, values: Option<Arc<Values>>) -> Self {
        let axes = (0..variable.shape.len()).map(|axis| ViewAxis::Source { axis, start: 0, step: 1 }).collect();
        let (dtype, rule) = shown_as(&variable.dtype);
        let values = match (&rule, values.as_deref()) {
            (ValueRule::Gather(record), Some(Values::Fixed(stored))) => {
                let mut gathered = Vec::new();
                record.gather(stored, &mut gathered);
                Some(Arc::new(Values::Fixed(gathered.into())))
            }
            _ => values,
        };
        Self {
            source,
            path: variable.path.clone(),
            dimensions: variable.dimensions.clone(),
            shape: variable.shape.clone(),
            dtype,
            attributes: variable.attributes.clone(),
            is_json: false,
            fill: variable.fill.clone(),
            axes,
            fixed: Vec::new(),
            chunk_shape: variable.chunk_shape.clone(),
            is_chunked: variable.is_chunked,
            codecs: variable.codecs.clone(),
            rule,
            values,
        }
    }

    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The group it is in.
    #[must_use]
    pub fn group(&self) -> &str {
        self.path.rfind('/').filter(|at| *at > 0).map_or("/", |at| &self.path[..at])
    }

    /// The position of `dimension`.
    #[must_use]
    pub fn axis_of(&self, dimension: &str) -> Option<usize> {
        self.dimensions.iter().position(|name| name == dimension)
    }

    /// How its counts become values.
    #[must_use]
    pub fn packing(&self) -> Packing {
        Packing { is_json: self.is_json, ..Packing::of(&self.attributes) }
    }

    /// The type of the labels that its values are.
    #[must_use]
    pub fn label_type(&self) -> DataType {
        let packing = self.packing();
        match decoded_type(&self.dtype, &packing).filter(|_| packing.scales()) {
            Some(float) => DataType::Float(float),
            None => self.dtype.clone(),
        }
    }

    /// The same variable with its dimensions in the order `order`, which lists positions of today's dimensions.
    #[must_use]
    pub fn transposed(&self, order: &[usize]) -> Self {
        let mut turned = self.clone();
        turned.dimensions = order.iter().map(|axis| self.dimensions[*axis].clone()).collect();
        turned.shape = order.iter().map(|axis| self.shape[*axis]).collect();
        turned.axes = order.iter().map(|axis| self.axes[*axis]).collect();
        turned.chunk_shape = order.iter().map(|axis| self.chunk_shape[*axis]).collect();
        turned.values = self.values.as_ref().map(|values| Arc::new(values.transposed(&self.shape, order)));
        turned
    }
}

/// The type under which readers of the store see elements of `dtype`, and the rule that makes them.
fn shown_as(dtype: &DataType) -> (DataType, ValueRule) {
    match dtype {
        DataType::Record(record) if record.tight() != *record => {
            (DataType::Record(record.tight()), ValueRule::Gather(record.clone()))
        }
        other => (other.clone(), ValueRule::Verbatim),
    }
}

impl Values {
    /// How many elements, of `element_bytes` each where they have a fixed size.
    #[must_use]
    pub fn len(&self, element_bytes: usize) -> usize {
        match self {
            Self::Fixed(bytes) => bytes.len() / element_bytes.max(1),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// The elements `indexes` along dimension `axis` of an array of `shape`.
    #[must_use]
    pub fn picked(&self, shape: &[u64], axis: usize, indexes: &[u64]) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let rows = size(crate::region::count(&shape[..axis]));
        let (length, inner) = (size(shape[axis]), size(crate::region::count(&shape[axis + 1..])));
        let starts = (0..rows).flat_map(|row| indexes.iter().map(move |index| (row * length + size(*index)) * inner));
        match self {
            Self::Fixed(bytes) => {
                let element = bytes.len() / (rows * length * inner).max(1);
                let mut picked = Vec::with_capacity(rows * indexes.len() * inner * element);
                starts.for_each(|at| picked.extend_from_slice(&bytes[at * element..(at + inner) * element]));
                Self::Fixed(picked.into())
            }
            Self::Texts(texts) => Self::Texts(starts.flat_map(|at| texts[at..at + inner].to_vec()).collect()),
        }
    }

    /// The values of an array of `shape` with its dimensions in another order.
    #[must_use]
    pub fn transposed(&self, shape: &[u64], order: &[usize]) -> Self {
        let n_elements = crate::region::count(shape);
        let target_shape: Vec<u64> = order.iter().map(|axis| shape[*axis]).collect();
        let source_of = |number: u64| {
            let at = crate::region::coordinates_of(number, &target_shape);
            let mut from = vec![0; at.len()];
            for (position, axis) in order.iter().enumerate() {
                from[*axis] = at[position];
            }
            usize::try_from(crate::region::number_of(&from, shape)).unwrap_or(usize::MAX)
        };
        match self {
            Self::Fixed(bytes) => {
                let size = usize::try_from(n_elements).map_or(1, |n| bytes.len() / n.max(1));
                let mut turned = Vec::with_capacity(bytes.len());
                for number in 0..n_elements {
                    let at = source_of(number) * size;
                    turned.extend_from_slice(&bytes[at..at + size]);
                }
                Self::Fixed(turned.into())
            }
            Self::Texts(texts) => Self::Texts((0..n_elements).map(|number| texts[source_of(number)].clone()).collect()),
        }
    }
}
