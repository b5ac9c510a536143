//! From the bytes of a chunk to its elements, and back.
//!
//! A worker thread owns one [`Codecs`], whose buffers and compressor states live from chunk to chunk. It promises that
//! decoding gives exactly the bytes of a chunk or an error, and that no more memory is taken than the chunk's own size
//! asks for, whatever the stored bytes claim. It does not know where chunks come from or what the elements mean.

mod bit_planes;
mod bits;
mod blosc;
mod blosc2;
mod checksum;
mod engines;
mod filters;
mod hdf5_filters;
mod jpeg_ls;
mod lz;
mod nbit;
mod scale_offset;
mod shuffle;
mod szip;
mod unsized_chunk;
mod zfp;
mod zip;
mod zstandard;

use std::ops::Range;

use frazil_model::codec::{ByteOrder, Codec, CodecChain};
use libdeflater::Decompressor;

use crate::{
    error::FormatError,
    hdf5::{float_bits::to_standard, integer_bits::widen, text_cells::clean},
};

pub use filters::{from_hdf5_filter, name_of_hdf5_filter, unreadable};
pub use shuffle::{Planes, shuffle, unshuffle};

use engines::Engines;
use zip::Deflater;
use zstandard::Zstd;

/// A buffer that only grows: what lies beyond the bytes in use is left from earlier chunks.
pub(crate) type Scratch = Vec<u8>;

/// The first `n_bytes` of a buffer, which grows if it must.
pub(crate) fn room(scratch: &mut Scratch, n_bytes: usize) -> &mut [u8] {
    if scratch.len() < n_bytes {
        // Growing in place would copy what nobody needs any more.
        scratch.clear();
        scratch.resize(n_bytes, 0);
    }
    &mut scratch[..n_bytes]
}

pub(crate) fn bad(codec: &str, reason: impl Into<String>) -> FormatError {
    FormatError::Chunk { codec: codec.to_owned(), reason: reason.into() }
}

/// How a chunk was stored and how large its elements are together.
#[derive(Debug, Clone, Copy)]
pub struct ChunkForm<'a> {
    /// The steps that were applied.
    pub chain: &'a CodecChain,
    /// Bytes of the pieces that byte order turns round (`DataType::swap_bytes`).
    pub swap_bytes: u32,
    /// Bytes of all elements of a full chunk.
    pub decoded_bytes: usize,
}

/// Where the bytes are between two steps.
enum Place {
    Stored(Range<usize>),
    Front(Range<usize>),
}

/// What a step must give.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// So many bytes.
    Exactly(usize),
    /// The steps before it compress too, so nobody knows; but no more than this.
    AtMost(usize),
}

impl Expected {
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::Exactly(n_bytes) | Self::AtMost(n_bytes) => n_bytes,
        }
    }
}

/// Buffers and compressor states that a thread reuses from chunk to chunk.
pub struct Codecs {
    /// Holds the bytes between two steps.
    front: Scratch,
    /// Receives the bytes of the next step; then the two change places.
    back: Scratch,
    engines: Engines,
}

impl Default for Codecs {
    fn default() -> Self {
        Self::new()
    }
}

impl Codecs {
    /// Without any buffer yet.
    #[must_use]
    pub fn new() -> Self {
        let engines = Engines {
            inflater: Decompressor::new(),
            deflater: Deflater::default(),
            zstd: Zstd::default(),
            block: Scratch::new(),
        };
        Self { front: Scratch::new(), back: Scratch::new(), engines }
    }

    /// The elements of a chunk, little-endian and exactly `form.decoded_bytes` long. Bit `i` of `skipped_steps` says
    /// that step `i` was not applied to this chunk. What needs no work is not copied.
    ///
    /// # Errors
    /// [`FormatError::Chunk`] if a checksum differs, a step fails, or the elements are more or fewer bytes.
    pub fn decode<'a>(
        &'a mut self,
        form: &ChunkForm<'_>,
        stored: &'a [u8],
        skipped_steps: u32,
    ) -> Result<&'a [u8], FormatError> {
        let (place, order) = self.decode_steps(form, stored, skipped_steps, 0)?;
        self.finish(form, stored, place, order)
    }

    /// As [`Self::decode`], but elements whose last step is an ordinary shuffle are left so: whoever copies them
    /// elsewhere can undo it on the way.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    pub fn decode_loosely<'a>(
        &'a mut self,
        form: &ChunkForm<'_>,
        stored: &'a [u8],
        skipped_steps: u32,
    ) -> Result<Loose<'a>, FormatError> {
        let width = match form.chain.steps.first() {
            Some(Codec::Shuffle { element_bytes }) if !is_skipped(skipped_steps, 0) => *element_bytes,
            _ => 0,
        };
        let is_usual = matches!(width, 2 | 4 | 8) && form.swap_bytes == width;
        if !is_usual || !form.decoded_bytes.is_multiple_of(width as usize) {
            return self.decode(form, stored, skipped_steps).map(Loose::Elements);
        }
        let (place, order) = self.decode_steps(form, stored, skipped_steps, 1)?;
        let shuffled = self.finish(form, stored, place, ByteOrder::Little)?;
        match Planes::new(shuffled, width as usize, order) {
            Some(planes) => Ok(Loose::Planes(planes)),
            None => Err(bad("shuffle", "its elements are of an odd size")),
        }
    }

    /// Undoes all steps but the first `n_left`.
    fn decode_steps(
        &mut self,
        form: &ChunkForm<'_>,
        stored: &[u8],
        skipped_steps: u32,
        n_left: usize,
    ) -> Result<(Place, ByteOrder), FormatError> {
        let mut place = Place::Stored(0..stored.len());
        let mut order = if form.swap_bytes > 1 { form.chain.byte_order } else { ByteOrder::Little };
        for (number, step) in form.chain.steps.iter().enumerate().skip(n_left).rev() {
            if is_skipped(skipped_steps, number) {
                continue;
            }
            let input = match &place {
                Place::Stored(range) => &stored[range.clone()],
                Place::Front(range) => &self.front[range.clone()],
            };
            let checked = match step {
                Codec::Fletcher32 => Some(checksum::verified_fletcher32(input)?.len()),
                Codec::Crc32c => Some(checksum::verified_crc32c(input)?.len()),
                step if is_empty(step) => Some(input.len()),
                _ => None,
            };
            if let Some(n_bytes) = checked {
                let (Place::Stored(range) | Place::Front(range)) = &mut place;
                range.end = range.start + n_bytes;
                continue;
            }
            // Only the step next to the elements may turn numbers round on its way.
            let inner = (0..number).all(|earlier| {
                is_skipped(skipped_steps, earlier) || form.chain.steps.get(earlier).is_some_and(is_empty)
            });
            let turn = if inner { order } else { ByteOrder::Little };
            let expected = expected(form, skipped_steps, number);
            let n_bytes = self.engines.decode_step(step, form.swap_bytes, turn, expected, input, &mut self.back)?;
            if n_bytes.order == ByteOrder::Little && turn == ByteOrder::Big {
                order = ByteOrder::Little;
            }
            std::mem::swap(&mut self.front, &mut self.back);
            place = Place::Front(0..n_bytes.n_bytes);
        }
        Ok((place, order))
    }

    /// Checks the size and turns numbers round where no step did.
    fn finish<'a>(
        &'a mut self,
        form: &ChunkForm<'_>,
        stored: &'a [u8],
        place: Place,
        order: ByteOrder,
    ) -> Result<&'a [u8], FormatError> {
        let (Place::Stored(range) | Place::Front(range)) = &place;
        if range.len() != form.decoded_bytes {
            let codec = form.chain.steps.first().map_or("uncompressed data", name_of);
            return Err(bad(codec, format!("it decodes to {} bytes, not to {}", range.len(), form.decoded_bytes)));
        }
        let swap_bytes = form.swap_bytes as usize;
        match place {
            Place::Stored(range) if order == ByteOrder::Little => Ok(&stored[range]),
            Place::Stored(range) => {
                let to = room(&mut self.front, range.len());
                shuffle::swap_into(&stored[range], swap_bytes, to);
                Ok(to)
            }
            Place::Front(range) => {
                let elements = &mut self.front[range];
                if order == ByteOrder::Big {
                    shuffle::swap_in_place(elements, swap_bytes);
                }
                Ok(elements)
            }
        }
    }

    /// The stored bytes of a chunk's little-endian elements.
    ///
    /// # Errors
    /// [`FormatError::Chunk`] if the chain has a step that frazil only reads, or a level that does not exist.
    pub fn encode<'a>(
        &'a mut self,
        chain: &CodecChain,
        swap_bytes: u32,
        elements: &'a [u8],
    ) -> Result<&'a [u8], FormatError> {
        let place = self.encode_steps(chain, &chain.steps, swap_bytes, elements)?;
        Ok(match place {
            Place::Stored(range) => &elements[range],
            Place::Front(range) => &self.front[range],
        })
    }

    /// Appends the stored bytes of a chunk's little-endian elements to `out`, of which no more than `most_bytes` are
    /// touched. If they do not fit, `out` is as it was.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn encode_into(
        &mut self,
        chain: &CodecChain,
        swap_bytes: u32,
        elements: &[u8],
        most_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<Fit, FormatError> {
        // Only the last step knows how to stop in time; of those before it, the memory is planned.
        let steps: &[Codec] = match chain.steps.iter().rposition(|step| !is_empty(step)) {
            Some(last) => &chain.steps[..=last],
            None => &[],
        };
        let (last, earlier) = match steps.split_last() {
            Some((last, earlier)) if ends_in_time(last) => (Some(last), earlier),
            _ => (None, steps),
        };
        let place = self.encode_steps(chain, earlier, swap_bytes, elements)?;
        let Self { front, engines, .. } = self;
        let input = match &place {
            Place::Stored(range) => &elements[range.clone()],
            Place::Front(range) => &front[range.clone()],
        };
        let begin = out.len();
        let fit = match last {
            Some(Codec::Zstd { level }) => engines.zstd.append(*level, input, most_bytes, out)?,
            Some(Codec::Blosc { cname, clevel, shuffle, element_bytes }) => {
                let (shuffle, element_bytes) = (*shuffle, *element_bytes);
                let how = blosc::Writing { cname, clevel: *clevel, shuffle, element_bytes };
                blosc::append(&mut engines.inside(), &how, input, most_bytes, out)?
            }
            _ if begin.saturating_add(input.len()) > most_bytes => Fit::TooLarge,
            _ => {
                out.extend_from_slice(input);
                Fit::Whole
            }
        };
        if fit == Fit::TooLarge {
            out.truncate(begin);
        }
        Ok(fit)
    }

    fn encode_steps(
        &mut self,
        chain: &CodecChain,
        steps: &[Codec],
        swap_bytes: u32,
        elements: &[u8],
    ) -> Result<Place, FormatError> {
        let mut place = Place::Stored(0..elements.len());
        if chain.byte_order == ByteOrder::Big && swap_bytes > 1 {
            shuffle::swap_into(elements, swap_bytes as usize, room(&mut self.front, elements.len()));
            place = Place::Front(0..elements.len());
        }
        for step in steps {
            let input = match &place {
                Place::Stored(range) => &elements[range.clone()],
                Place::Front(range) => &self.front[range.clone()],
            };
            if is_empty(step) {
                continue;
            }
            let n_bytes = self.engines.encode_step(step, input, &mut self.back)?;
            std::mem::swap(&mut self.front, &mut self.back);
            place = Place::Front(0..n_bytes);
        }
        Ok(place)
    }
}

/// Decoded elements, or those whose bytes are still shuffled.
#[derive(Debug, Clone, Copy)]
pub enum Loose<'a> {
    /// Little-endian elements.
    Elements(&'a [u8]),
    /// Their bytes, plane by plane.
    Planes(Planes<'a>),
}

/// Whether encoded bytes had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// They are all there.
    Whole,
    /// They are more than may be.
    TooLarge,
}

/// Whether a step appends what it encodes, and stops where there is no room.
const fn ends_in_time(step: &Codec) -> bool {
    matches!(step, Codec::Zstd { .. } | Codec::Blosc { .. })
}

/// Bytes that encoding a chunk of `chunk_bytes` works in, besides the elements and the encoded bytes.
#[must_use]
pub fn working_bytes(chain: &CodecChain, swap_bytes: u32, chunk_bytes: u64) -> u64 {
    let turns = u64::from(chain.byte_order == ByteOrder::Big && swap_bytes > 1);
    let mut steps: Vec<&Codec> = chain.steps.iter().filter(|step| !is_empty(step)).collect();
    steps.pop_if(|step| ends_in_time(step));
    let n_buffers = (turns + steps.len() as u64).min(2);
    n_buffers.saturating_mul(most_encoded_bytes(chunk_bytes))
}

/// Most bytes that a chunk of `chunk_bytes` can be encoded to.
#[must_use]
pub const fn most_encoded_bytes(chunk_bytes: u64) -> u64 {
    // Each of our compressors adds less than a 256th to what it cannot pack, and a header.
    chunk_bytes.saturating_add(chunk_bytes / 128).saturating_add(4096)
}

fn is_skipped(skipped_steps: u32, number: usize) -> bool {
    u32::try_from(number).ok().and_then(|number| skipped_steps.checked_shr(number)).unwrap_or(0) & 1 == 1
}

/// Whether a step does nothing. A checksum does: it is of the bytes before they are turned round.
const fn is_empty(step: &Codec) -> bool {
    match step {
        Codec::Shuffle { element_bytes } => *element_bytes <= 1,
        Codec::Hdf5 { id, .. } => filters::only_rounds(*id),
        _ => false,
    }
}

/// How many bytes step `number` decodes to: all that the steps before it made of the elements.
fn expected(form: &ChunkForm<'_>, skipped_steps: u32, number: usize) -> Expected {
    let mut n_bytes = form.decoded_bytes;
    let earlier = form.chain.steps.iter().enumerate().take(number);
    for (_, step) in earlier.filter(|(earlier, _)| !is_skipped(skipped_steps, *earlier)) {
        match step {
            Codec::Shuffle { .. } | Codec::IntegerBits { .. } | Codec::FloatBits { .. } | Codec::TextCells { .. } => {}
            Codec::Fletcher32 | Codec::Crc32c => n_bytes = n_bytes.saturating_add(checksum::CHECKSUM_BYTES),
            // Compressed bytes can be a little more than the bytes they stand for, never much more.
            _ => return Expected::AtMost(n_bytes.saturating_add(n_bytes / 8).saturating_add(64 * 1024)),
        }
    }
    Expected::Exactly(n_bytes)
}

/// A step's name for messages.
fn name_of(step: &Codec) -> &str {
    match step {
        Codec::Shuffle { .. } => "shuffle",
        Codec::Deflate { .. } => "deflate",
        Codec::Gzip { .. } => "gzip",
        Codec::Fletcher32 => "fletcher32",
        Codec::Crc32c => "crc32c",
        Codec::Zstd { .. } => "zstd",
        Codec::Blosc { .. } => "blosc",
        Codec::FloatBits { .. } => "floats of an unusual layout",
        Codec::TextCells { .. } => "texts in cells",
        Codec::IntegerBits { .. } => "integers of fewer bits than their bytes",
        Codec::Hdf5 { name, .. } => name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(byte_order: ByteOrder, steps: &[Codec]) -> CodecChain {
        CodecChain { byte_order, steps: steps.to_vec() }
    }

    fn blosc(cname: &str, shuffle: u32) -> Codec {
        Codec::Blosc { cname: cname.to_owned(), clevel: 3, shuffle, element_bytes: 4 }
    }

    fn step() -> impl Strategy<Value = Codec> {
        prop_oneof![
            (1..10_u32).prop_map(|element_bytes| Codec::Shuffle { element_bytes }),
            (0..10_u32).prop_map(|level| Codec::Deflate { level: Some(level) }),
            (0..10_u32).prop_map(|level| Codec::Gzip { level: Some(level) }),
            (-2..10_i32).prop_map(|level| Codec::Zstd { level: Some(level) }),
            Just(Codec::Fletcher32),
            Just(Codec::Crc32c),
            (prop_oneof!["zstd", "lz4", "zlib"], 0..6_u32, 0..2_u32, 1..300_u32).prop_map(
                |(cname, clevel, shuffle, element_bytes)| Codec::Blosc { cname, clevel, shuffle, element_bytes }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_a_chain_encodes_it_decodes(
            steps in proptest::collection::vec(step(), 0..4),
            words in proptest::collection::vec(0..5000_u32, 0..2000),
            big in any::<bool>(),
            swap_bytes in prop_oneof![Just(1_u32), Just(2), Just(4)],
            skipped in 0..16_u32,
        ) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let elements: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let kept: Vec<Codec> = steps.iter().enumerate().filter(|(i, _)| skipped >> i & 1 == 0)
                .map(|(_, step)| step.clone()).collect();
            let mut codecs = Codecs::new();
            let stored = codecs.encode(&chain(order, &kept), swap_bytes, &elements).unwrap().to_vec();
            let full = chain(order, &steps);
            let form = ChunkForm { chain: &full, swap_bytes, decoded_bytes: elements.len() };
            prop_assert_eq!(codecs.decode(&form, &stored, skipped).unwrap(), &elements[..]);
            let loose = match codecs.decode_loosely(&form, &stored, skipped).unwrap() {
                Loose::Elements(elements) => elements.to_vec(),
                Loose::Planes(planes) => {
                    let mut all = vec![0; planes.n_bytes()];
                    planes.copy_run(0, &mut all);
                    all
                }
            };
            prop_assert_eq!(&loose, &elements);
            let short = ChunkForm { decoded_bytes: elements.len() + 4, ..form };
            prop_assert!(codecs.decode(&short, &stored, skipped).is_err());
        }

        #[test]
        fn damaged_bytes_never_panic(
            steps in proptest::collection::vec(step(), 1..3),
            at in any::<prop::sample::Index>(),
            value in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let elements: Vec<u8> = (0..2000_u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
            let chain = chain(ByteOrder::Big, &steps);
            let mut codecs = Codecs::new();
            let mut stored = codecs.encode(&chain, 4, &elements).unwrap().to_vec();
            let at = at.index(stored.len());
            stored[at] = value;
            let form = ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes: elements.len() };
            let _ = codecs.decode(&form, &stored, 0);
            stored.truncate(cut.index(stored.len()));
            let _ = codecs.decode(&form, &stored, 0);
        }
    }

    #[test]
    fn codecs_can_move_to_another_thread() {
        const fn is_send<T: Send>() {}
        is_send::<Codecs>();
    }

    #[test]
    fn a_chunk_of_another_size_is_refused_though_the_hdf5_library_would_read_it() {
        // It reads what is too long, and makes up what is missing.
        let chain = chain(ByteOrder::Little, &[Codec::Deflate { level: None }]);
        let mut codecs = Codecs::new();
        let stored = codecs.encode(&chain, 4, &[7; 36]).unwrap().to_vec();
        for decoded_bytes in [32, 40] {
            assert!(codecs.decode(&ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes }, &stored, 0).is_err());
        }
    }

    #[test]
    fn bytes_that_need_no_work_are_not_copied() {
        let chain = chain(ByteOrder::Little, &[Codec::Shuffle { element_bytes: 1 }, Codec::Crc32c]);
        let mut codecs = Codecs::new();
        let stored = codecs.encode(&chain, 4, b"abcd").unwrap().to_vec();
        let form = ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes: 4 };
        assert_eq!(codecs.decode(&form, &stored, 0).unwrap().as_ptr(), stored.as_ptr());
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_chunk_asks_for() {
        let zeros = vec![0; 10_000_000];
        for step in [
            Codec::Deflate { level: None },
            Codec::Gzip { level: None },
            Codec::Zstd { level: None },
            blosc("zstd", 1),
            blosc("lz4", 0),
        ] {
            let chain = chain(ByteOrder::Little, &[step]);
            let stored = Codecs::new().encode(&chain, 4, &zeros).unwrap().to_vec();
            let mut codecs = Codecs::new();
            let form = ChunkForm { chain: &chain, swap_bytes: 4, decoded_bytes: 4096 };
            assert!(codecs.decode(&form, &stored, 0).is_err());
            assert!(codecs.front.capacity() + codecs.back.capacity() + codecs.engines.block.capacity() < 100_000);
        }
    }

    #[test]
    fn gzip_members_that_follow_one_another_are_one_chunk() {
        let chain = chain(ByteOrder::Little, &[Codec::Gzip { level: None }]);
        let mut codecs = Codecs::new();
        let mut stored = codecs.encode(&chain, 1, b"first, ").unwrap().to_vec();
        stored.extend_from_slice(codecs.encode(&chain, 1, b"second").unwrap());
        let form = ChunkForm { chain: &chain, swap_bytes: 1, decoded_bytes: 13 };
        assert_eq!(codecs.decode(&form, &stored, 0), Ok(&b"first, second"[..]));
    }
}
