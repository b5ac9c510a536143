//! The netCDF-4 view of an HDF5 file: dimensions, their names, and what is bookkeeping.
//!
//! It promises what the netCDF library shows: dimension scales are dimensions, arrays without scales get
//! `phony_dim_N`, and the attributes that tie arrays to scales are hidden. Only where a scale has another length than the
//! axis that it is attached to, the library cuts the array to the scale, and here the axis gets a `phony_dim_N`.

use std::collections::{BTreeMap, HashMap};

use frazil_model::{
    attribute::{AttributeValue, Attributes},
    dataset::{Dataset, Dimension, Group, Role, Unread, Variable},
    manifest::{ChunkManifest, ChunkTable, Hdf5Places},
};

use crate::{
    Decoded,
    hdf5::{
        array::Array,
        decoder::{Object, ObjectAttributes},
        superblock::FileContext,
        tree::{Tree, tree},
    },
};

/// How the name of an array begins whose name is that of a dimension it does not describe.
const NOT_COORDINATE: &str = "_nc4_non_coord_";
/// How the `NAME` of a scale begins that holds no values.
const WITHOUT_VARIABLE: &str = "This is a netCDF dimension but not a netCDF variable";
/// Attributes that readers do not see.
const HIDDEN: [&str; 8] = [
    "CLASS",
    "NAME",
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
    "_NCProperties",
];
/// Memory of what is repeated for arrays with several names.
const MAX_REPEATED_BYTES: usize = 64 << 20;

/// A dimension while it is being worked out.
struct Scale {
    name: String,
    id: i128,
    length: u64,
    is_unlimited: bool,
    /// The scale's object; none for a made-up dimension.
    address: Option<u64>,
    /// Longest use by a variable.
    used_length: Option<u64>,
}

/// Dimensions of all groups.
#[derive(Default)]
struct Scales {
    /// For each group, its dimensions.
    by_group: Vec<Vec<Scale>>,
    /// Group and place of a scale, by its object: the first, if several groups name it.
    by_address: HashMap<u64, (usize, usize)>,
    /// The same for each group that names the object.
    by_group_and_address: HashMap<(usize, u64), (usize, usize)>,
    /// Dimensions of a group that are alike in length and growth.
    alike: HashMap<(usize, u64, bool), Vec<usize>>,
    by_id: HashMap<i128, (usize, usize)>,
    next_id: i128,
}

/// Puts the objects of a file together.
pub(crate) fn decoded(context: FileContext, root: u64, objects: &BTreeMap<u64, Object>) -> Decoded {
    let mut tree = tree(root, objects);
    let mut scales = find_scales(&tree, objects);
    let parents: Vec<Option<usize>> = tree.groups.iter().map(|group| group.parent).collect();
    let names = name_dimensions(&tree, &parents, objects, &mut scales);
    let mut unread = std::mem::take(&mut tree.unread);
    let mut dataset = Dataset { format: "hdf5".into(), ..Dataset::default() };
    let mut places = Hdf5Places {
        offset_bytes: context.offset_bytes,
        length_bytes: context.length_bytes,
        base_address: context.base_address,
        stored_paths: Vec::new(),
    };
    let mut tables = Vec::new();
    let mut is_netcdf = false;
    let mut listing = Listing { seen: HashMap::new(), repeated_bytes: 0 };
    for (index, group) in tree.groups.iter().enumerate() {
        let found = objects.get(&group.address);
        let attributes = found.and_then(attributes_of);
        is_netcdf |= attributes.is_some_and(|found| is_of_netcdf(&found.values));
        note_attributes(&mut unread, &group.path, found);
        dataset.groups.push(Group {
            path: group.path.clone(),
            attributes: attributes.map(|found| visible(&found.values)).unwrap_or_default(),
            dimensions: scales.dimensions(index),
        });
        for (place, (name, address)) in group.arrays.iter().enumerate() {
            let stored_path = join(&group.path, name);
            let dimensions = names.get(index).and_then(|names| names.get(place)?.as_ref());
            let Some(object) = objects.get(address) else { continue };
            note_attributes(&mut unread, &stored_path, Some(object));
            is_netcdf |= attributes_of(object).is_some_and(|found| is_of_netcdf(&found.values));
            match listing.variable(object, *address, &stored_path, &scales, dimensions) {
                Ok((variable, table)) => {
                    if variable.path != stored_path {
                        places.stored_paths.push((variable.path.clone(), stored_path));
                    }
                    dataset.variables.push(variable);
                    tables.push(table);
                }
                Err(reason) => unread.push(Unread { path: stored_path, reason }),
            }
        }
    }
    if is_netcdf {
        dataset.format = "netcdf4".into();
    }
    dataset.unread = unread;
    Decoded { dataset, manifest: ChunkManifest { tables, hdf5: Some(places), ..ChunkManifest::default() } }
}

/// For each array of each group, its dimensions.
type Names = Vec<Vec<Option<Vec<(usize, usize)>>>>;

/// Gives every array its dimensions. The library does so group by group, children first, and leaves out arrays whose
/// types it does not know; the numbers of made-up names follow from that. Those it leaves out come last here.
fn name_dimensions(
    tree: &Tree,
    parents: &[Option<usize>],
    objects: &BTreeMap<u64, Object>,
    scales: &mut Scales,
) -> Names {
    let mut names: Names = tree.groups.iter().map(|group| vec![None; group.arrays.len()]).collect();
    let order = children_first(parents);
    for is_shown in [true, false] {
        for index in &order {
            let Some(group) = tree.groups.get(*index) else { continue };
            for (place, (_, address)) in group.arrays.iter().enumerate() {
                let Some(object) = objects.get(address) else { continue };
                let Some(Ok(array)) = &object.array else { continue };
                if array.is_known_to_netcdf != is_shown {
                    continue;
                }
                let chosen = scales.name_dimensions(parents, *index, *address, array, attributes_of(object));
                if let Some(name) = names.get_mut(*index).and_then(|names| names.get_mut(place)) {
                    *name = Some(chosen);
                }
            }
        }
    }
    names
}

/// Indexes of groups, each after its children. Parents come first in the list.
fn children_first(parents: &[Option<usize>]) -> Vec<usize> {
    let mut children = vec![Vec::new(); parents.len()];
    for (index, parent) in parents.iter().enumerate() {
        if let Some(list) = parent.and_then(|parent| children.get_mut(parent)) {
            list.push(index);
        }
    }
    let mut order = Vec::with_capacity(parents.len());
    // Parents before children, last child first; turned round it is children first, in order.
    let mut stack = if parents.is_empty() { Vec::new() } else { vec![0] };
    while let Some(index) = stack.pop() {
        order.push(index);
        stack.extend(children.get(index).into_iter().flatten().copied());
    }
    order.reverse();
    order
}

fn attributes_of(object: &Object) -> Option<&ObjectAttributes> {
    object.attributes.as_ref()?.as_ref().ok()
}

fn join(group: &str, name: &str) -> String {
    if group == "/" { format!("/{name}") } else { format!("{group}/{name}") }
}

fn visible(attributes: &Attributes) -> Attributes {
    Attributes(attributes.0.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str())).cloned().collect())
}

/// Whether the netCDF library wrote this.
fn is_of_netcdf(attributes: &Attributes) -> bool {
    ["_NCProperties", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict"]
        .iter()
        .any(|name| attributes.get(name).is_some())
        || attributes.text("NAME").is_some_and(|name| name.starts_with(WITHOUT_VARIABLE))
}

/// Names attributes that are damaged.
fn note_attributes(unread: &mut Vec<Unread>, path: &str, object: Option<&Object>) {
    match object.and_then(|object| object.attributes.as_ref()) {
        Some(Ok(attributes)) => {
            unread.extend(attributes.unread.iter().map(|(name, reason)| Unread {
                path: path.to_owned(),
                reason: format!("attribute `{name}`: {reason}"),
            }))
        }
        Some(Err(error)) => unread.push(Unread { path: path.to_owned(), reason: format!("its attributes: {error}") }),
        None => {}
    }
}

/// Finds the dimension scales of all groups.
fn find_scales(tree: &Tree, objects: &BTreeMap<u64, Object>) -> Scales {
    let mut scales = Scales::default();
    for (index, group) in tree.groups.iter().enumerate() {
        scales.by_group.push(Vec::new());
        for (name, address) in &group.arrays {
            let Some(object) = objects.get(address) else { continue };
            let (Some(Ok(array)), Some(attributes)) = (&object.array, attributes_of(object)) else { continue };
            if attributes.values.text("CLASS") != Some("DIMENSION_SCALE") {
                continue;
            }
            let (Some(length), Some(max)) = (array.shape.first(), array.max_shape.first()) else { continue };
            scales.add(
                index,
                Scale {
                    name: name.clone(),
                    id: integer(&attributes.values, "_Netcdf4Dimid").unwrap_or(scales.next_id),
                    length: *length,
                    is_unlimited: max.is_none(),
                    address: Some(*address),
                    used_length: None,
                },
            );
        }
    }
    scales
}

fn integer(attributes: &Attributes, name: &str) -> Option<i128> {
    attributes.numbers(name)?.to_integers()?.first().copied()
}

impl Scales {
    fn add(&mut self, group: usize, scale: Scale) -> (usize, usize) {
        let place = (group, self.by_group.get(group).map_or(0, Vec::len));
        self.next_id = self.next_id.max(scale.id.saturating_add(1));
        self.by_id.entry(scale.id).or_insert(place);
        let twin = scale.address.and_then(|address| self.by_group_and_address.get(&(group, address)));
        if let Some(twin) = twin.copied() {
            // One scale with several names: the library keeps the last.
            if let Some(old) = self.by_group.get_mut(twin.0).and_then(|group| group.get_mut(twin.1)) {
                old.name = scale.name;
            }
            return twin;
        }
        if let Some(address) = scale.address {
            self.by_address.entry(address).or_insert(place);
            self.by_group_and_address.insert((group, address), place);
        }
        self.alike.entry((group, scale.length, scale.is_unlimited)).or_default().push(place.1);
        if let Some(group) = self.by_group.get_mut(group) {
            group.push(scale);
        }
        place
    }

    fn get(&self, (group, index): (usize, usize)) -> Option<&Scale> {
        self.by_group.get(group)?.get(index)
    }

    /// The dimensions of the array at `address` in `group`, one for each of its shape.
    fn name_dimensions(
        &mut self,
        parents: &[Option<usize>],
        group: usize,
        address: u64,
        array: &Array,
        attributes: Option<&ObjectAttributes>,
    ) -> Vec<(usize, usize)> {
        let own = self.nearest(parents, group, address);
        let coordinates = attributes
            .and_then(|found| found.values.numbers("_Netcdf4Coordinates")?.to_integers())
            .filter(|ids| ids.len() == array.shape.len());
        let lists = attributes.map(|found| found.dimension_list.as_slice()).unwrap_or_default();
        let mut chosen: Vec<(usize, usize)> = Vec::with_capacity(array.shape.len());
        for (axis, length) in array.shape.iter().enumerate() {
            let by_id = coordinates.as_ref().and_then(|ids| self.by_id.get(ids.get(axis)?).copied());
            let is_own = if axis == 0 { own } else { None };
            let listed = || {
                let references = lists.get(axis)?;
                references.iter().find_map(|reference| self.nearest(parents, group, *reference))
            };
            let is_unlimited = array.max_shape.get(axis).is_some_and(Option::is_none);
            let place = match by_id.or(is_own).or_else(listed) {
                Some(place) if self.fits(place, *length) => place,
                Some(_) => self.of_its_own(group, *length, is_unlimited, &chosen),
                None => self.made_up(group, *length, is_unlimited, &chosen),
            };
            if let Some(scale) = self.by_group.get_mut(place.0).and_then(|group| group.get_mut(place.1)) {
                scale.used_length = scale.used_length.max(Some(*length));
            }
            chosen.push(place);
        }
        chosen
    }

    /// The scale that is the object at `address`: in this group, in one above it, or anywhere.
    fn nearest(&self, parents: &[Option<usize>], group: usize, address: u64) -> Option<(usize, usize)> {
        let first = self.by_address.get(&address)?;
        let mut above = Some(group);
        while let Some(index) = above {
            if let Some(place) = self.by_group_and_address.get(&(index, address)) {
                return Some(*place);
            }
            above = parents.get(index).copied().flatten();
        }
        Some(*first)
    }

    /// Whether a scale can name an axis of this length. HDF5 attaches scales of any length; the library then shows as much
    /// of the array as there is scale, or nothing. Here no value is lost: such an axis gets a made-up dimension.
    fn fits(&self, place: (usize, usize), length: u64) -> bool {
        self.get(place).is_none_or(|scale| scale.is_unlimited || scale.length == length)
    }

    /// A made-up dimension of this length that the variable does not use yet.
    fn of_its_own(&mut self, group: usize, length: u64, is_unlimited: bool, used: &[(usize, usize)]) -> (usize, usize) {
        let alike = self.alike.get(&(group, length, is_unlimited));
        let is_free = |index: &&usize| {
            let place = (group, **index);
            !used.contains(&place) && self.get(place).is_some_and(|scale| scale.address.is_none())
        };
        let found = alike.into_iter().flatten().find(is_free).map(|index| (group, *index));
        found.unwrap_or_else(|| self.phony(group, length, is_unlimited))
    }

    /// A dimension of this length that the variable does not use yet; a new one if there is none.
    fn made_up(&mut self, group: usize, length: u64, is_unlimited: bool, used: &[(usize, usize)]) -> (usize, usize) {
        let alike = self.alike.get(&(group, length, is_unlimited));
        let unused = alike.into_iter().flatten().find(|index| !used.contains(&(group, **index)));
        let found = unused.map(|index| (group, *index));
        found.unwrap_or_else(|| self.phony(group, length, is_unlimited))
    }

    fn phony(&mut self, group: usize, length: u64, is_unlimited: bool) -> (usize, usize) {
        let id = self.next_id;
        let name = format!("phony_dim_{id}");
        self.add(group, Scale { name, id, length, is_unlimited, address: None, used_length: None })
    }

    /// The dimensions of a group, in the order of their numbers.
    fn dimensions(&self, group: usize) -> Vec<Dimension> {
        let mut scales: Vec<&Scale> = self.by_group.get(group).into_iter().flatten().collect();
        scales.sort_by_key(|scale| scale.id);
        let length = |scale: &Scale| match scale.used_length {
            // A dimension that grows is as long as its longest variable.
            Some(used) if scale.is_unlimited => used.max(scale.length),
            _ => scale.length,
        };
        scales
            .into_iter()
            .map(|scale| Dimension {
                name: scale.name.clone(),
                length: length(scale),
                is_unlimited: scale.is_unlimited,
            })
            .collect()
    }
}

/// Which arrays were listed already, and how much was repeated for their other names.
struct Listing {
    seen: HashMap<u64, String>,
    repeated_bytes: usize,
}

impl Listing {
    /// The variable of an object and where its chunks are, or why there is none.
    fn variable(
        &mut self,
        object: &Object,
        address: u64,
        stored_path: &str,
        scales: &Scales,
        dimensions: Option<&Vec<(usize, usize)>>,
    ) -> Result<(Variable, ChunkTable), String> {
        let array = match &object.array {
            Some(Ok(array)) => array,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("it was not read".into()),
        };
        let table = match &object.chunks {
            Some(Ok(table)) => table,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("its chunks were not read".into()),
        };
        let attributes = attributes_of(object);
        if let Some(first) = self.seen.get(&address) {
            let n_table_bytes = match table {
                ChunkTable::Ranges(ranges) => ranges.len().saturating_mul(24),
                ChunkTable::Inline(_) => 0,
                ChunkTable::External(parts) => parts.len().saturating_mul(128),
                ChunkTable::Virtual(parts) => parts.len().saturating_mul(512),
                ChunkTable::Referred(table) => table.len().saturating_mul(28),
            };
            let values = attributes.map(|found| found.values.0.as_slice()).unwrap_or_default();
            let n_attribute_bytes: usize = values.iter().map(|(name, value)| name.len() + 64 + n_bytes(value)).sum();
            let n_own_bytes = 512 + array.fill.len();
            let repeated = n_table_bytes.saturating_add(n_attribute_bytes).saturating_add(n_own_bytes);
            self.repeated_bytes = self.repeated_bytes.saturating_add(repeated);
            if self.repeated_bytes > MAX_REPEATED_BYTES {
                return Err(format!("another name of `{first}`, which is listed"));
            }
        } else {
            self.seen.insert(address, stored_path.to_owned());
        }
        let is_dimension_only = attributes.is_some_and(|found| {
            found.values.text("CLASS") == Some("DIMENSION_SCALE")
                && found.values.text("NAME").is_some_and(|name| name.starts_with(WITHOUT_VARIABLE))
        });
        let variable = Variable {
            path: shown_path(stored_path),
            role: if is_dimension_only { Role::DimensionOnly } else { Role::Variable },
            dimensions: dimensions
                .into_iter()
                .flatten()
                .map(|place| scales.get(*place).map(|scale| scale.name.clone()).unwrap_or_default())
                .collect(),
            shape: array.shape.clone(),
            dtype: array.element.dtype.clone(),
            chunk_shape: array.chunk_shape.clone(),
            is_chunked: array.is_chunked,
            codecs: array.codecs.clone(),
            fill: array.fill.clone(),
            attributes: attributes.map(|found| visible(&found.values)).unwrap_or_default(),
        };
        Ok((variable, table.clone()))
    }
}

/// About how much memory a value takes.
fn n_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::Text(text) | AttributeValue::Unread(text) => text.len(),
        AttributeValue::Texts(texts) => texts.iter().map(|text| text.len() + 24).sum(),
        AttributeValue::Numbers(numbers) => numbers.len().saturating_mul(8),
    }
}

/// The path without the mark of an array that is not the coordinate of its name.
fn shown_path(stored: &str) -> String {
    match stored.rsplit_once('/') {
        Some((group, name)) => format!("{group}/{}", name.strip_prefix(NOT_COORDINATE).unwrap_or(name)),
        None => stored.to_owned(),
    }
}
