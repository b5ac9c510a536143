//! DMR++: the XML that OPeNDAP servers and NASA's archives keep beside an HDF5 or netCDF-4 file, with the place of each
//! of its chunks.
//!
//! It promises that a document is read within bounds of size, depth and number, and that a variable of a kind that it
//! does not know is named with the reason and the others are read. No entity of a document's own is expanded.

mod tree;

use std::collections::BTreeMap;

use frazil_model::{
    attribute::{AttributeValue, Attributes, Numbers},
    codec::{ByteOrder, Codec, CodecChain},
    dataset::{Group, Unread},
    dtype::{DataType, FloatType, IntType},
    region::{grid_of, number_of},
    zarr::{ArrayLayout, ChunkKeys, Separator},
};

use super::{
    bad, base64,
    table::{Described, Tables, Target},
};
use crate::{FormatError, zarr};
use tree::{Node, PlacedChunk};

/// Attributes that are HDF5's own bookkeeping.
const BOOKKEEPING: [&str; 9] = [
    "CLASS",
    "NAME",
    "REFERENCE_LIST",
    "DIMENSION_LIST",
    "DIMENSION_LABELS",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
    "_NCProperties",
];

/// Most dimensions of a variable.
const MOST_RANK: usize = 64;

/// Whether a file begins like one.
#[must_use]
pub fn looks_like_dmrpp(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let text = String::from_utf8_lossy(head.get(..head.len().min(4096)).unwrap_or_default());
    (text.starts_with("<?xml") || text.starts_with("<Dataset")) && text.contains("<Dataset") && text.contains("DAP/4.0")
}

/// Reads a whole document. The file that it stands for is named as it says, else by `own_name` without `.dmrpp`.
///
/// # Errors
/// If it is no such document, or says more than its bounds allow.
pub fn read_dmrpp(bytes: &[u8], own_name: &str) -> Result<Described, FormatError> {
    let root = tree::read(bytes)?;
    if root.name != "Dataset" {
        return Err(bad("it is XML, and no DMR++: it does not begin with `Dataset`"));
    }
    let file = match root.attribute("href") {
        Some(href) if !href.is_empty() && href != "OPeNDAP_DMRpp_DATA_ACCESS_URL" => href.to_owned(),
        _ => own_name.strip_suffix(".dmrpp").unwrap_or(own_name).to_owned(),
    };
    let mut reading =
        Reading { file, dimensions: BTreeMap::new(), groups: Vec::new(), found: Vec::new(), unread: Vec::new() };
    reading.dimensions_of("", &root);
    reading.group("", &root)?;
    let Reading { file, groups, found, unread, .. } = reading;
    let (layouts, nodes): (Vec<ArrayLayout>, Vec<&Node>) = found.into_iter().unzip();
    let plain: Vec<ArrayLayout> = layouts.clone();
    let mut tables = Tables::of(zarr::of_layouts(layouts, groups, unread));
    for (array, (layout, node)) in plain.iter().zip(nodes).enumerate() {
        put_chunks(&mut tables, array, layout, node, &file)?;
    }
    Ok(tables.finish("dmrpp"))
}

struct Reading<'n> {
    file: String,
    /// Lengths by path.
    dimensions: BTreeMap<String, u64>,
    groups: Vec<Group>,
    found: Vec<(ArrayLayout, &'n Node)>,
    unread: Vec<Unread>,
}

impl<'n> Reading<'n> {
    fn dimensions_of(&mut self, path: &str, node: &Node) {
        for child in &node.children {
            let name = child.attribute("name").unwrap_or_default();
            match child.name.as_str() {
                "Dimension" => {
                    if let Some(size) = child.attribute("size").and_then(|size| size.parse().ok()) {
                        self.dimensions.insert(format!("{path}/{name}"), size);
                    }
                }
                "Group" => self.dimensions_of(&format!("{path}/{name}"), child),
                _ => {}
            }
        }
    }

    fn group(&mut self, path: &str, node: &'n Node) -> Result<(), FormatError> {
        let shown = if path.is_empty() { "/" } else { path };
        self.groups.push(Group { path: shown.to_owned(), attributes: attributes(node), dimensions: Vec::new() });
        for child in &node.children {
            let name = child.attribute("name").unwrap_or_default();
            let below = format!("{path}/{name}");
            if matches!(child.name.as_str(), "Dimension" | "Attribute" | "Map" | "Enumeration") || name.is_empty() {
                continue;
            }
            if name.contains('/') || matches!(name, "." | "..") {
                self.unread.push(Unread { path: below, reason: "its name leads elsewhere".into() });
            } else if child.name == "Group" {
                self.group(&below, child)?;
            } else {
                match self.layout(&below, child) {
                    Ok(layout) => self.found.push((layout, child)),
                    Err(reason) => self.unread.push(Unread { path: below, reason }),
                }
            }
        }
        Ok(())
    }

    /// How a variable is laid out; the error is a reason.
    fn layout(&self, path: &str, node: &Node) -> Result<ArrayLayout, String> {
        let dtype =
            dtype_of(&node.name).ok_or_else(|| format!("values of type {} are not read from DMR++", node.name))?;
        let (mut shape, mut dimensions) = (Vec::new(), Vec::new());
        for (number, dim) in node.children.iter().filter(|child| child.name == "Dim").enumerate() {
            let named = dim.attribute("name").map(str::to_owned);
            let length = match &named {
                Some(name) => self.dimensions.get(name).copied(),
                None => dim.attribute("size").and_then(|size| size.parse().ok()),
            };
            shape.push(length.ok_or("a dimension of it has no length")?);
            let last = named.as_deref().and_then(|name| name.rsplit('/').next()).map(str::to_owned);
            dimensions.push(last.unwrap_or_else(|| format!("dim_{number}")));
        }
        let n_elements = shape.iter().try_fold(1_u64, |n, length| n.checked_mul((*length).max(1)));
        if shape.len() > MOST_RANK || n_elements.is_none() {
            return Err("its shape is absurd".into());
        }
        let chunks = node.child("chunks");
        let mut chunk_shape = shape.iter().map(|length| (*length).max(1)).collect::<Vec<u64>>();
        if let Some(sizes) = chunks.and_then(|chunks| chunks.child("chunkDimensionSizes")) {
            let sizes: Option<Vec<u64>> = sizes.text.split_ascii_whitespace().map(|size| size.parse().ok()).collect();
            let fits = |sizes: &Vec<u64>| sizes.len() == shape.len() && !sizes.contains(&0);
            chunk_shape = sizes.filter(fits).ok_or("its chunks do not fit its shape")?;
        }
        if chunk_shape.iter().try_fold(1_u64, |n, length| n.checked_mul(*length)).is_none() {
            return Err("its chunk shape is absurd".into());
        }
        if chunks.is_none() && node.child("compact").is_none() && node.children.iter().any(|child| child.is_of_dmrpp) {
            return Err("its values are kept in a way that is not read yet".into());
        }
        if let Some(chunk) = chunks.and_then(|chunks| chunks.chunks.iter().find(|chunk| chunk.is_odd)) {
            return Err(format!("its chunk at byte {} is in blocks, or skips a step of the codecs", chunk.offset));
        }
        let codecs = chain(&dtype, chunks)?;
        let fill = chunks.and_then(|chunks| chunks.attribute("fillValue"));
        let fill = fill.and_then(|text| fill_of(&dtype, text));
        Ok(ArrayLayout {
            path: path.to_owned(),
            shape,
            chunk_shape,
            shards: None,
            fill,
            codecs,
            dimensions,
            attributes: attributes(node),
            dtype,
            keys: ChunkKeys::V2(Separator::Dot),
            calibration: None,
        })
    }
}

fn dtype_of(name: &str) -> Option<DataType> {
    Some(match name {
        "Int8" => DataType::Int(IntType::I8),
        "Int16" => DataType::Int(IntType::I16),
        "Int32" => DataType::Int(IntType::I32),
        "Int64" => DataType::Int(IntType::I64),
        "UInt8" | "Byte" => DataType::Int(IntType::U8),
        "UInt16" => DataType::Int(IntType::U16),
        "UInt32" => DataType::Int(IntType::U32),
        "UInt64" => DataType::Int(IntType::U64),
        "Float32" => DataType::Float(FloatType::F32),
        "Float64" => DataType::Float(FloatType::F64),
        "Char" => DataType::Char,
        _ => return None,
    })
}

/// The codecs of a variable; the error is a reason.
fn chain(dtype: &DataType, chunks: Option<&Node>) -> Result<CodecChain, String> {
    let mut steps = Vec::new();
    let said = |name: &str| chunks.and_then(|chunks| chunks.attribute(name));
    let words: Vec<&str> = said("compressionType").unwrap_or_default().split_ascii_whitespace().collect();
    // HDF5 shuffles before it packs and sums up after that, in whatever order the words stand.
    for known in ["shuffle", "deflate", "fletcher32"] {
        for _ in words.iter().filter(|word| **word == known) {
            steps.push(match known {
                "shuffle" => Codec::Shuffle { element_bytes: dtype.size_bytes().unwrap_or(1) },
                "deflate" => Codec::Deflate {
                    level: said("deflateLevel")
                        .and_then(|levels| levels.split_ascii_whitespace().next()?.parse().ok())
                        .filter(|level| *level <= 9),
                },
                _ => Codec::Fletcher32,
            });
        }
    }
    if let Some(other) = words.iter().find(|word| !["shuffle", "deflate", "fletcher32"].contains(*word)) {
        return Err(format!("it is packed with {other}, which is not read from DMR++"));
    }
    let byte_order = if said("byteOrder") == Some("BE") { ByteOrder::Big } else { ByteOrder::Little };
    Ok(CodecChain { byte_order, steps })
}

/// The fill value as little-endian bytes.
fn fill_of(dtype: &DataType, text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    match dtype {
        DataType::Float(FloatType::F32) => Some(text.parse::<f32>().ok()?.to_le_bytes().to_vec()),
        DataType::Float(FloatType::F64) => Some(text.parse::<f64>().ok()?.to_le_bytes().to_vec()),
        DataType::Int(int) => {
            let number: i128 = text.parse().ok()?;
            let n_bytes = int.size_bytes() as usize;
            Some(number.to_le_bytes().get(..n_bytes)?.to_vec())
        }
        _ => None,
    }
}

/// Puts the chunks of a variable.
fn put_chunks(
    tables: &mut Tables,
    array: usize,
    layout: &ArrayLayout,
    node: &Node,
    file: &str,
) -> Result<(), FormatError> {
    if let Some(compact) = node.child("compact").or_else(|| node.child("chunks").and_then(|one| one.child("compact"))) {
        let bytes = base64::decode(&compact.text).ok_or_else(|| bad(format!("`{}` is not Base64", layout.path)))?;
        return tables.put_chunk(array, 0, &Target::Bytes(bytes.into()));
    }
    let grid = grid_of(&layout.shape, &layout.chunk_shape);
    let wrong =
        |chunk: &PlacedChunk| bad(format!("the chunk of `{}` at byte {} lies nowhere", layout.path, chunk.offset));
    for chunk in node.child("chunks").map(|chunks| chunks.chunks.as_slice()).unwrap_or_default() {
        let number = match &chunk.position {
            None => 0,
            Some(position) => {
                if position.len() != grid.len() {
                    return Err(wrong(chunk));
                }
                let at: Vec<u64> = position.iter().zip(&layout.chunk_shape).map(|(at, length)| at / length).collect();
                // What lies behind the present end of an array is no part of it.
                if at.iter().zip(&grid).any(|(at, length)| at >= length) {
                    continue;
                }
                number_of(&at, &grid)
            }
        };
        let name = chunk.href.as_deref().unwrap_or(file);
        tables.put_chunk(array, number, &Target::File(name.into(), chunk.offset, Some(chunk.n_bytes)))?;
    }
    Ok(())
}

fn attributes(node: &Node) -> Attributes {
    let mut found = Attributes::default();
    for child in node.children.iter().filter(|child| child.name == "Attribute") {
        let name = child.attribute("name").unwrap_or_default();
        let kind = child.attribute("type").unwrap_or_default();
        if kind == "Container" {
            // The attributes of the file itself, as some servers wrap them.
            if name.ends_with("_GLOBAL") {
                attributes(child).0.into_iter().for_each(|(name, value)| found.set(&name, value));
            }
            continue;
        }
        if name.is_empty() || BOOKKEEPING.contains(&name) {
            continue;
        }
        let values = child.children.iter().filter(|value| value.name == "Value");
        let values: Vec<&str> = values.map(|value| value.attribute("value").unwrap_or(value.text.as_str())).collect();
        found.set(name, attribute(kind, &values));
    }
    found
}

fn attribute(kind: &str, values: &[&str]) -> AttributeValue {
    fn all<T: std::str::FromStr>(values: &[&str]) -> Option<Vec<T>> {
        values.iter().map(|value| value.trim().parse().ok()).collect()
    }
    let numbers = match kind {
        "String" | "Url" | "URL" | "Char" => {
            return match values {
                [one] => AttributeValue::Text((*one).to_owned()),
                many => AttributeValue::Texts(many.iter().map(|one| (*one).to_owned()).collect()),
            };
        }
        "Int8" => all(values).map(Numbers::I8),
        "Int16" => all(values).map(Numbers::I16),
        "Int32" => all(values).map(Numbers::I32),
        "Int64" => all(values).map(Numbers::I64),
        "UInt8" | "Byte" => all(values).map(Numbers::U8),
        "UInt16" => all(values).map(Numbers::U16),
        "UInt32" => all(values).map(Numbers::U32),
        "UInt64" => all(values).map(Numbers::U64),
        "Float32" => all(values).map(Numbers::F32),
        "Float64" => all(values).map(Numbers::F64),
        _ => None,
    };
    numbers.map_or_else(|| AttributeValue::Unread(format!("an attribute of type {kind}")), AttributeValue::Numbers)
}

#[cfg(test)]
mod tests {
    use frazil_model::manifest::ChunkTable;

    use super::*;

    const DOCUMENT: &str = r#"<?xml version="1.0" encoding="ISO-8859-1"?>
<Dataset xmlns="http://xml.opendap.org/ns/DAP/4.0#" xmlns:dmrpp="http://xml.opendap.org/dap/dmrpp/1.0.0#" name="a.nc4" dmrpp:href="a.nc4">
  <Dimension name="lat" size="4"/>
  <Float32 name="x"><Dim name="/lat"/>
    <Attribute name="units" type="String"><Value>K &amp; more</Value></Attribute>
    <Attribute name="scale" type="Float32"><Value>0.1</Value></Attribute>
    <dmrpp:chunks compressionType="deflate shuffle" deflateLevel="4" fillValue="-1" byteOrder="LE">
      <dmrpp:chunkDimensionSizes>2</dmrpp:chunkDimensionSizes>
      <dmrpp:chunk offset="100" nBytes="10" chunkPositionInArray="[0]"/>
      <dmrpp:chunk offset="200" nBytes="11" chunkPositionInArray="[2]"/>
    </dmrpp:chunks>
  </Float32>
  <Group name="g"><Int16 name="y"><Dim size="1"/><dmrpp:chunks><dmrpp:chunk offset="7" nBytes="2"/></dmrpp:chunks></Int16></Group>
  <String name="s"/>
</Dataset>"#;

    #[test]
    fn a_document_says_where_chunks_are() {
        let described = read_dmrpp(DOCUMENT.as_bytes(), "b.nc4.dmrpp").unwrap();
        let decoded = &described.decoded;
        let paths: Vec<&str> = decoded.dataset.variables.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["/x", "/g/y"]);
        assert_eq!(decoded.dataset.unread[0].path, "/s");
        let x = &decoded.dataset.variables[0];
        assert_eq!(x.attributes.text("units"), Some("K & more"));
        assert_eq!(x.codecs.steps[0], Codec::Shuffle { element_bytes: 4 });
        assert_eq!(x.fill, (-1.0_f32).to_le_bytes());
        let ChunkTable::Referred(table) = &decoded.manifest.tables[0] else { panic!("references") };
        assert_eq!((&table.offset[..], &table.length[..]), (&[100, 200][..], &[10, 11][..]));
        assert_eq!(decoded.manifest.referred.as_ref().unwrap().files, ["a.nc4"]);
    }

    #[test]
    fn what_is_hostile_is_refused() {
        let deep = format!("<Dataset>{}</Dataset>", "<Group name='g'>".repeat(100_000));
        let bomb = "<!DOCTYPE Dataset [<!ENTITY a \"aaaa\">]><Dataset name='x'>&a;</Dataset>";
        for wrong in [deep.as_str(), bomb, "", "<html/>", "<Dataset>", "</Dataset>"] {
            assert!(read_dmrpp(wrong.as_bytes(), "x").is_err(), "{}", &wrong[..wrong.len().min(40)]);
        }
        let nowhere = DOCUMENT.replace("[2]", "[2,2]");
        assert!(read_dmrpp(nowhere.as_bytes(), "x").is_err());
    }
}
