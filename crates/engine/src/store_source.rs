//! A finished Zarr store as a source: what it holds is read back for its own extension.

use std::{collections::HashMap, sync::Arc};

use frazil_formats::Decoded;
use frazil_model::{
    combine::view::Values,
    dtype::DataType,
    manifest::ChunkManifest,
    region::{Region, coordinates_of, count},
    zarr::ArrayLayout,
};
use frazil_store::{folder::Folder, read::Fingerprint};

use crate::{
    boxes::Boxes,
    error::EngineError,
    scan::is_wanted,
    source::Source,
    store::StoreBoxes,
    strided::{self, Walk, c_strides},
};

/// A chunk of an existing store may have this many decoded bytes.
const MOST_CHUNK_BYTES: u64 = 2 << 30;

/// The store at `root` as a source, with the layouts of its arrays.
///
/// # Errors
/// If its metadata or its coordinates cannot be read.
pub fn open(root: &Folder) -> Result<(Source, Vec<ArrayLayout>), EngineError> {
    let name = root.to_string();
    let mut boxes = StoreBoxes::open(root, &name, MOST_CHUNK_BYTES)?;
    let dataset = boxes.dataset().clone();
    let mut values = HashMap::new();
    for (number, variable) in dataset.variables.iter().enumerate().filter(|(_, variable)| is_wanted(variable)) {
        let region = Region::whole(&variable.shape);
        let loaded = match variable.dtype {
            DataType::String => Values::Texts(boxes.texts(number, &region)?),
            _ => {
                let element_bytes = u64::from(variable.dtype.size_bytes().unwrap_or(1));
                let mut all = vec![0; usize::try_from(variable.n_elements() * element_bytes).unwrap_or(0)];
                boxes.read(number, &region, &mut all)?;
                Values::Fixed(all.into())
            }
        };
        values.insert(number, Arc::new(loaded));
    }
    let layouts = boxes.layouts().to_vec();
    let decoded = Arc::new(Decoded { dataset, manifest: ChunkManifest::default() });
    let fingerprint = Fingerprint { size_bytes: 0, state: String::new() };
    let source = Source {
        location: root.location(),
        name,
        fingerprint,
        decoded,
        values,
        derived: Vec::new(),
        store: Some(root.clone()),
        others: Arc::default(),
    };
    Ok((source, layouts))
}

/// Reads chunks of stores. One a thread.
#[derive(Default)]
pub struct StoreReader {
    open: Option<(String, StoreBoxes)>,
    part: Vec<u8>,
    whole: Vec<u8>,
}

impl StoreReader {
    /// The elements of a chunk, of the full chunk shape.
    ///
    /// # Errors
    /// If the chunk cannot be read or decoded.
    pub fn chunk(&mut self, source: &Source, number: usize, chunk: u64) -> Result<&[u8], EngineError> {
        let Some(root) = &source.store else { return Err(source.unreadable(number, "it is no store")) };
        if self.open.as_ref().is_none_or(|(name, _)| *name != source.name) {
            self.open = Some((source.name.clone(), StoreBoxes::open(root, &source.name, MOST_CHUNK_BYTES)?));
        }
        let Some((_, boxes)) = &mut self.open else { return Err(source.unreadable(number, "it is no store")) };
        let variable = source.variable(number);
        let element_bytes = variable.dtype.size_bytes().unwrap_or(1) as usize;
        let region = Region::of_cell(&coordinates_of(chunk, &variable.grid()), &variable.chunk_shape, &variable.shape);
        self.part.clear();
        self.part.resize(usize::try_from(region.n_elements()).unwrap_or(0) * element_bytes, 0);
        boxes.read(number, &region, &mut self.part)?;
        if region.shape == variable.chunk_shape {
            return Ok(&self.part);
        }
        self.whole.clear();
        self.whole.resize(usize::try_from(count(&variable.chunk_shape)).unwrap_or(0) * element_bytes, 0);
        let extents: Vec<usize> = region.shape.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect();
        let from = Walk { offset: 0, strides: c_strides(&region.shape) };
        let to = Walk { offset: 0, strides: c_strides(&variable.chunk_shape) };
        strided::copy(&self.part, &from, &mut self.whole, &to, &extents, element_bytes);
        Ok(&self.whole)
    }
}
