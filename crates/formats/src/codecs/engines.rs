//! One step of a chain, with the compressor states that live from chunk to chunk.
//!
//! It promises to give no more bytes than the step may, whatever the input claims. It does not know the order of steps.

use frazil_model::codec::{ByteOrder, Codec};
use libdeflater::Decompressor;

use super::{blosc::Inside, *};

/// Compressor states.
pub(super) struct Engines {
    pub inflater: Decompressor,
    pub deflater: Deflater,
    pub zstd: Zstd,
    pub block: Scratch,
}

/// What a step gave.
pub(super) struct Step {
    pub n_bytes: usize,
    /// Order of the numbers now, if they were asked to be turned round.
    pub order: ByteOrder,
}

impl Engines {
    /// Decodes one step that is neither a checksum nor empty.
    pub(super) fn decode_step(
        &mut self,
        step: &Codec,
        swap_bytes: u32,
        order: ByteOrder,
        expected: Expected,
        input: &[u8],
        to: &mut Scratch,
    ) -> Result<Step, FormatError> {
        let limit = expected.limit();
        let unturned = |n_bytes| Step { n_bytes, order };
        let step_done = match step {
            Codec::Shuffle { element_bytes } => {
                within(step, input.len(), limit)?;
                let turn = if *element_bytes == swap_bytes { order } else { ByteOrder::Little };
                shuffle::unshuffle_ordered(input, *element_bytes as usize, turn, room(to, input.len()));
                Step { n_bytes: input.len(), order: if turn == order { ByteOrder::Little } else { order } }
            }
            Codec::Deflate { .. } => unturned(zip::inflate(&mut self.inflater, input, room(to, limit))?),
            Codec::Gzip { .. } => unturned(zip::gunzip(&mut self.inflater, input, room(to, limit))?),
            Codec::Zstd { .. } => unturned(self.zstd.decode(input, room(to, limit))?),
            Codec::Blosc { .. } => {
                let n_bytes = blosc::decoded_bytes(input)?;
                within(step, n_bytes, limit)?;
                let mut inside = self.inside();
                let order = blosc::decode(&mut inside, input, swap_bytes, order, room(to, n_bytes))?;
                Step { n_bytes, order }
            }
            Codec::IntegerBits { int, offset, precision } => {
                within(step, input.len(), limit)?;
                let output = room(to, input.len());
                output.copy_from_slice(input);
                widen(output, *int, *offset, *precision, order);
                unturned(input.len())
            }
            Codec::FloatBits { float, parts } => {
                within(step, input.len(), limit)?;
                let output = room(to, input.len());
                output.copy_from_slice(input);
                to_standard(output, *float, *parts, order);
                unturned(input.len())
            }
            Codec::TextCells { size_bytes, end } => {
                within(step, input.len(), limit)?;
                let output = room(to, input.len());
                output.copy_from_slice(input);
                clean(output, *size_bytes, *end);
                unturned(input.len())
            }
            Codec::Fletcher32 | Codec::Crc32c => return Err(bad(name_of(step), "it is no step of its own")),
            Codec::Hdf5 { id, values, .. } => {
                unturned(hdf5_filters::decode(&mut self.inside(), (*id, values), input, expected, to)?)
            }
        };
        match expected {
            Expected::Exactly(n_bytes) if n_bytes != step_done.n_bytes => {
                Err(bad(name_of(step), format!("it decodes to {} bytes, not to {n_bytes}", step_done.n_bytes)))
            }
            _ => Ok(step_done),
        }
    }

    pub(super) fn inside(&mut self) -> Inside<'_> {
        Inside {
            inflater: &mut self.inflater,
            deflater: &mut self.deflater,
            zstd: &mut self.zstd,
            block: &mut self.block,
        }
    }

    pub(super) fn encode_step(&mut self, step: &Codec, input: &[u8], to: &mut Scratch) -> Result<usize, FormatError> {
        match step {
            Codec::Shuffle { element_bytes } => {
                shuffle::shuffle(input, *element_bytes as usize, room(to, input.len()));
                Ok(input.len())
            }
            Codec::Deflate { level } => self.deflater.zlib(*level, input, to),
            Codec::Gzip { level } => self.deflater.gzip(*level, input, to),
            Codec::Zstd { level } => self.zstd.encode(*level, input, to),
            Codec::Fletcher32 => Ok(append(input, checksum::fletcher32(input), to)),
            Codec::Crc32c => Ok(append(input, crc32c::crc32c(input), to)),
            Codec::Blosc { cname, clevel, shuffle, element_bytes } => {
                let how = blosc::Writing { cname, clevel: *clevel, shuffle: *shuffle, element_bytes: *element_bytes };
                blosc::encode(&mut self.inside(), &how, input, to)
            }
            Codec::IntegerBits { .. } | Codec::FloatBits { .. } | Codec::TextCells { .. } => {
                Err(bad(name_of(step), "frazil reads it and does not write it"))
            }
            Codec::Hdf5 { id, name, .. } => Err(bad(name, format!("frazil does not write HDF5 filter {id}"))),
        }
    }
}

pub(super) fn append(input: &[u8], checksum: u32, to: &mut Scratch) -> usize {
    let n_bytes = input.len() + checksum::CHECKSUM_BYTES;
    let output = room(to, n_bytes);
    output[..input.len()].copy_from_slice(input);
    output[input.len()..].copy_from_slice(&checksum.to_le_bytes());
    n_bytes
}

pub(super) fn within(step: &Codec, n_bytes: usize, limit: usize) -> Result<(), FormatError> {
    if n_bytes > limit {
        return Err(bad(name_of(step), format!("it decodes to {n_bytes} bytes, more than {limit}")));
    }
    Ok(())
}
