//! HDF5's registered filters: their names, and which of them frazil decodes.
//!
//! Numbers below 256 belong to the HDF5 library, the others are in the HDF Group's registry.

use frazil_model::codec::{Codec, CodecChain};

use super::zfp;

/// Every filter that frazil can name; the flag says whether it decodes it.
const FILTERS: [(u32, &str, Reads); 28] = [
    (1, "deflate", Reads::Yes),
    (2, "shuffle", Reads::Yes),
    (3, "fletcher32", Reads::Yes),
    (4, "szip", Reads::Yes),
    (5, "nbit", Reads::Yes),
    (6, "scale-offset", Reads::Yes),
    (305, "lzo", Reads::No),
    (307, "bzip2", Reads::Yes),
    (32000, "lzf", Reads::Yes),
    (32001, "blosc", Reads::Yes),
    (32002, "mafisc", Reads::No),
    (32003, "snappy", Reads::No),
    (32004, "lz4", Reads::Yes),
    (32008, "bitshuffle", Reads::Yes),
    (32010, "cbf", Reads::No),
    (32012, "jpeg", Reads::No),
    (32013, "zfp", Reads::Yes),
    (32014, "fpzip", Reads::No),
    (32015, "zstd", Reads::Yes),
    (32016, "b3d", Reads::No),
    (32017, "sz", Reads::No),
    (32018, "fcidecomp", Reads::Yes),
    (32019, "jpeg", Reads::No),
    (32022, "bitgroom", Reads::Yes),
    (32023, "granular bitround", Reads::Yes),
    (32024, "sz3", Reads::No),
    (32026, "blosc2", Reads::Yes),
    (32028, "sperr", Reads::No),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Yes,
    No,
}

/// The usual name of a registered HDF5 filter; `unknown filter` for others.
#[must_use]
pub fn name_of_hdf5_filter(id: u32) -> &'static str {
    FILTERS.iter().find(|(known, ..)| *known == id).map_or("unknown filter", |(_, name, _)| name)
}

/// The codec of an HDF5 filter with its client values. `element_bytes` are those of the dataset's type, for a shuffle
/// that does not say.
#[must_use]
pub fn from_hdf5_filter(id: u32, name: &str, values: &[u32], element_bytes: u32) -> Codec {
    match id {
        1 => Codec::Deflate { level: values.first().copied() },
        2 => Codec::Shuffle { element_bytes: values.first().copied().unwrap_or(element_bytes) },
        3 => Codec::Fletcher32,
        32015 => Codec::Zstd { level: values.first().map(|level| level.cast_signed()) },
        32001 => blosc(values, element_bytes),
        _ => {
            let name = if name.is_empty() { name_of_hdf5_filter(id) } else { name };
            Codec::Hdf5 { id, name: name.to_owned(), values: values.to_vec() }
        }
    }
}

/// HDF5's blosc filter keeps its own version and c-blosc's, then width, chunk bytes, level, shuffle and compressor.
fn blosc(values: &[u32], element_bytes: u32) -> Codec {
    const COMPRESSORS: [&str; 6] = ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"];
    let value = |at: usize| values.get(at).copied();
    let compressor = value(6).and_then(|number| COMPRESSORS.get(usize::try_from(number).ok()?));
    Codec::Blosc {
        cname: (*compressor.unwrap_or(&"blosclz")).to_owned(),
        clevel: value(4).unwrap_or(5),
        shuffle: value(5).unwrap_or(1),
        element_bytes: value(2).unwrap_or(element_bytes),
    }
}

/// The first step of a chain that frazil cannot decode, in words; `None` if it decodes them all.
#[must_use]
pub fn unreadable(chain: &CodecChain) -> Option<String> {
    chain.steps.iter().find_map(|step| match step {
        Codec::Hdf5 { id: 32013, values, .. } => {
            zfp::unreadable(values).map(|why| format!("HDF5 filter 32013 ({why})"))
        }
        Codec::Hdf5 { id, name, .. } => {
            let known = FILTERS.iter().any(|(known, _, reads)| known == id && *reads == Reads::Yes);
            let usual = name_of_hdf5_filter(*id);
            let name = if usual == "unknown filter" { name.as_str() } else { usual };
            (!known).then(|| format!("HDF5 filter {id} ({name})"))
        }
        _ => None,
    })
}

/// Whether a filter changes values before they are written and leaves nothing to undo.
pub(crate) const fn only_rounds(id: u32) -> bool {
    matches!(id, 32022 | 32023)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_filter_that_cannot_be_decoded_is_named() {
        let steps = vec![from_hdf5_filter(2, "", &[4], 4), from_hdf5_filter(32028, "", &[], 4)];
        let chain = CodecChain { steps, ..CodecChain::default() };
        assert_eq!(unreadable(&chain), Some("HDF5 filter 32028 (sperr)".to_owned()));
        assert_eq!(unreadable(&CodecChain { steps: chain.steps[..1].to_vec(), ..chain }), None);
    }

    #[test]
    fn a_shuffle_without_a_width_has_that_of_the_type() {
        assert_eq!(from_hdf5_filter(2, "shuffle", &[], 8), Codec::Shuffle { element_bytes: 8 });
    }
}
