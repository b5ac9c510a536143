//! HDF5's zfp filter: arrays of one to three dimensions in blocks of four elements along each, whose coefficients are
//! kept bit plane by bit plane.
//!
//! The filter's client values hold the array's form and the mode, the chunk the bits. All modes are read: fixed rate,
//! precision, accuracy, expert and reversible. Floats come out bit for bit as the reference decoder gives them.

use crate::error::FormatError;

use super::{Expected, Scratch, bad, room, shuffle::swap_in_place};

const MAGIC: u64 = 0x05_70_66_7a;
const MAX_BLOCK: usize = 64;
const MIN_EXPONENT: i32 = -1074;
const MAX_PRECISION: u32 = 64;
const MAX_BITS: u32 = 16658;

fn odd(reason: impl Into<String>) -> FormatError {
    bad("zfp", reason)
}

/// Bits of a stream, lowest bit of the first byte first.
struct Stream<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Stream<'_> {
    /// The next `n_bits`, at most 64, lowest first.
    fn bits(&mut self, n_bits: u32) -> Result<u64, FormatError> {
        if n_bits > 32 {
            let low = self.bits(32)?;
            return Ok(low | self.bits(n_bits - 32)? << 32);
        }
        if n_bits == 0 {
            return Ok(0);
        }
        let end = self.at + u64::from(n_bits);
        if end > 8 * self.bytes.len() as u64 {
            return Err(odd("the compressed bits end too early"));
        }
        let from = usize::try_from(self.at / 8).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let bits = word >> (self.at % 8) & ((1 << n_bits) - 1);
        self.at = end;
        Ok(bits)
    }

    fn bit(&mut self) -> Result<bool, FormatError> {
        Ok(self.bits(1)? == 1)
    }

    /// Leaves bits out; a stream may end within what is left out.
    const fn skip(&mut self, n_bits: u32) {
        self.at += n_bits as u64;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int32,
    Int64,
    Float,
    Double,
}

impl Kind {
    const fn bits(self) -> u32 {
        match self {
            Self::Int32 | Self::Float => 32,
            Self::Int64 | Self::Double => 64,
        }
    }

    /// Bits of a float's exponent, and what it is offset by.
    const fn exponent(self) -> (u32, i32) {
        match self {
            Self::Float => (8, 127),
            _ => (11, 1023),
        }
    }
}

/// The array's form and the mode.
struct Form {
    kind: Kind,
    /// Lengths, fastest first; 1 beyond the rank.
    lengths: [usize; 3],
    rank: usize,
    min_bits: u32,
    max_bits: u32,
    max_precision: u32,
    min_exponent: i32,
}

/// Reads the form; the second answer is whether the file's numbers are big-endian.
fn form(values: &[u32]) -> Result<(Form, bool), FormatError> {
    let (_, words) = values.split_first().ok_or_else(|| odd("its settings are missing"))?;
    let bytes_of = |word: fn(&u32) -> [u8; 4]| words.iter().flat_map(word).collect::<Vec<u8>>();
    let mut bytes = bytes_of(|word| word.to_le_bytes());
    let mut is_big = false;
    if bytes.get(..3) != Some(b"zfp") {
        bytes = bytes_of(|word| word.to_be_bytes());
        is_big = true;
    }
    let mut stream = Stream { bytes: &bytes, at: 0 };
    if stream.bits(32)? != MAGIC {
        return Err(odd("its settings are not those of zfp 5"));
    }
    let kind = match stream.bits(2)? {
        0 => Kind::Int32,
        1 => Kind::Int64,
        2 => Kind::Float,
        _ => Kind::Double,
    };
    let rank = usize::try_from(stream.bits(2)?).unwrap_or(0) + 1;
    let length_bits = match rank {
        1 => 48,
        2 => 24,
        3 => 16,
        _ => return Err(odd("arrays of four dimensions are not read")),
    };
    let mut lengths = [1; 3];
    for length in lengths.iter_mut().take(rank) {
        *length = usize::try_from(stream.bits(length_bits)? + 1).map_err(|_| odd("too long"))?;
    }
    let (min_bits, max_bits, max_precision, min_exponent) = mode(&mut stream)?;
    Ok((Form { kind, lengths, rank, min_bits, max_bits, max_precision, min_exponent }, is_big))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // fields of at most 15 bits
fn mode(stream: &mut Stream<'_>) -> Result<(u32, u32, u32, i32), FormatError> {
    let short = stream.bits(12)? as u32;
    Ok(match short {
        0..2048 => (short + 1, short + 1, MAX_PRECISION, MIN_EXPONENT),
        2048..2176 => (1, MAX_BITS, short + 1 - 2048, MIN_EXPONENT),
        2176 => (1, MAX_BITS, MAX_PRECISION, MIN_EXPONENT - 1),
        2177..4095 => (1, MAX_BITS, MAX_PRECISION, short as i32 + MIN_EXPONENT - 2177),
        _ => {
            let (min_bits, max_bits) = (stream.bits(15)? as u32 + 1, stream.bits(15)? as u32 + 1);
            (min_bits, max_bits, stream.bits(7)? as u32 + 1, stream.bits(15)? as i32 - 16495)
        }
    })
}

/// Whether frazil decodes chunks with these client values; if not, why.
pub(crate) fn unreadable(values: &[u32]) -> Option<String> {
    form(values).err().map(|error| error.to_string())
}

/// Decodes a chunk whose filter has the client `values`.
pub(crate) fn decode(values: &[u32], input: &[u8], expected: Expected, to: &mut Scratch) -> Result<usize, FormatError> {
    let (form, is_big) = form(values)?;
    let width = form.kind.bits() as usize / 8;
    let n_bytes = form.lengths.iter().try_fold(width, |product, length| product.checked_mul(*length));
    let n_bytes = n_bytes.filter(|n_bytes| *n_bytes <= expected.limit());
    let n_bytes = n_bytes.ok_or_else(|| odd(format!("an array of {:?}", form.lengths)))?;
    let output = room(to, n_bytes);
    let order = order(form.rank);
    let mut stream = Stream { bytes: input, at: 0 };
    let mut block = [0_u64; MAX_BLOCK];
    let [nx, ny, nz] = form.lengths;
    for z in (0..nz).step_by(4) {
        for y in (0..ny).step_by(4) {
            for x in (0..nx).step_by(4) {
                read_block(&form, &order, &mut stream, &mut block)?;
                for (number, value) in block.iter().enumerate().take(1 << (2 * form.rank)) {
                    let (x, y, z) = (x + number % 4, y + number / 4 % 4, z + number / 16);
                    if x < nx && y < ny && z < nz {
                        let at = ((z * ny + y) * nx + x) * width;
                        output[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                    }
                }
            }
        }
    }
    if is_big {
        swap_in_place(output, width);
    }
    Ok(n_bytes)
}

/// Where each coefficient of a block belongs: by the sum of its places, then by the sum of their squares. Ties follow
/// no rule, so they are a table.
fn order(rank: usize) -> Vec<u8> {
    const PLANE: [u8; 16] = [0, 1, 4, 5, 2, 8, 6, 9, 3, 12, 10, 7, 13, 11, 14, 15];
    const CUBE: [u16; 64] = [
        0x000, 0x100, 0x010, 0x001, 0x011, 0x101, 0x110, 0x200, 0x020, 0x002, 0x111, 0x210, 0x201, 0x021, 0x120, 0x102,
        0x012, 0x300, 0x030, 0x003, 0x211, 0x121, 0x112, 0x022, 0x202, 0x220, 0x310, 0x301, 0x031, 0x130, 0x103, 0x013,
        0x122, 0x212, 0x221, 0x311, 0x131, 0x113, 0x320, 0x302, 0x032, 0x230, 0x203, 0x023, 0x222, 0x321, 0x312, 0x132,
        0x231, 0x213, 0x123, 0x033, 0x303, 0x330, 0x322, 0x232, 0x223, 0x133, 0x313, 0x331, 0x233, 0x323, 0x332, 0x333,
    ];
    match rank {
        1 => vec![0, 1, 2, 3],
        2 => PLANE.to_vec(),
        _ => CUBE.iter().map(|digits| ((digits >> 8) + 4 * (digits >> 4 & 3) + 16 * (digits & 3)) as u8).collect(),
    }
}

/// Reads one block: the bits of its elements, in the order in which they lie in the array.
fn read_block(
    form: &Form,
    order: &[u8],
    stream: &mut Stream<'_>,
    block: &mut [u64; MAX_BLOCK],
) -> Result<(), FormatError> {
    let start = stream.at;
    let reversible = form.min_exponent < MIN_EXPONENT;
    let n = order.len();
    block.fill(0);
    match form.kind {
        Kind::Int32 | Kind::Int64 if reversible => read_reversible(form, order, stream, start, block)?,
        Kind::Int32 | Kind::Int64 => read_lossy(form, order, stream, start, form.max_precision, block)?,
        Kind::Float | Kind::Double => {
            let (exponent_bits, bias) = form.kind.exponent();
            // The first bit says whether the block is anything but zeros. If nothing may be lost, a second one says
            // that there is no common exponent: the floats' bits were taken as integers.
            let is_zero = !stream.bit()?;
            if !is_zero && reversible && stream.bit()? {
                read_reversible(form, order, stream, start, block)?;
                block.iter_mut().take(n).for_each(|value| *value = reinterpreted(form.kind, *value));
            } else if !is_zero {
                let exponent = i32::try_from(stream.bits(exponent_bits)?).unwrap_or(0) - bias;
                if reversible {
                    read_reversible(form, order, stream, start, block)?;
                } else {
                    let planes = 2 * (i32::try_from(form.rank).unwrap_or(0) + 1);
                    let needed = exponent.saturating_sub(form.min_exponent).saturating_add(planes);
                    let precision = form.max_precision.min(u32::try_from(needed).unwrap_or(0));
                    read_lossy(form, order, stream, start, precision, block)?;
                }
                block.iter_mut().take(n).for_each(|value| *value = scaled(form.kind, *value, exponent));
            }
        }
    }
    let used = u32::try_from(stream.at - start).unwrap_or(u32::MAX);
    stream.skip(form.min_bits.saturating_sub(used));
    Ok(())
}

/// The float that `integer` stands for in a block whose largest exponent is `exponent`.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn scaled(kind: Kind, integer: u64, exponent: i32) -> u64 {
    if kind == Kind::Float {
        let scale = power_of_two(exponent - 30) as f32;
        (scale * integer as u32 as i32 as f32).to_bits().into()
    } else {
        (power_of_two(exponent - 62) * integer.cast_signed() as f64).to_bits()
    }
}

/// `2^exponent`, also where that is subnormal.
fn power_of_two(exponent: i32) -> f64 {
    if exponent >= -1022 {
        f64::from_bits(u64::from((exponent + 1023).clamp(0, 2047).unsigned_abs()) << 52)
    } else {
        f64::from_bits(
            1_u64.checked_shl((exponent + 1074).max(0).unsigned_abs()).filter(|_| exponent >= -1074).unwrap_or(0),
        )
    }
}

/// The float whose bits, as a sign and a magnitude, were made an integer.
#[allow(clippy::cast_possible_truncation)]
const fn reinterpreted(kind: Kind, integer: u64) -> u64 {
    match kind {
        Kind::Float => {
            let bits = integer as u32;
            (if bits >> 31 == 1 { bits ^ 0x7fff_ffff } else { bits }) as u64
        }
        _ => {
            if integer >> 63 == 1 {
                integer ^ (u64::MAX >> 1)
            } else {
                integer
            }
        }
    }
}

fn read_lossy(
    form: &Form,
    order: &[u8],
    stream: &mut Stream<'_>,
    start: u64,
    precision: u32,
    block: &mut [u64; MAX_BLOCK],
) -> Result<(), FormatError> {
    planes(form, order, stream, start, precision, block)?;
    transform(form, block, |[mut x, mut y, mut z, mut w]| {
        y = y.wrapping_add(w >> 1);
        w = w.wrapping_sub(y >> 1);
        y = y.wrapping_add(w);
        w = w.wrapping_shl(1).wrapping_sub(y);
        z = z.wrapping_add(x);
        x = x.wrapping_shl(1).wrapping_sub(z);
        y = y.wrapping_add(z);
        z = z.wrapping_shl(1).wrapping_sub(y);
        w = w.wrapping_add(x);
        x = x.wrapping_shl(1).wrapping_sub(w);
        [x, y, z, w]
    });
    Ok(())
}

fn read_reversible(
    form: &Form,
    order: &[u8],
    stream: &mut Stream<'_>,
    start: u64,
    block: &mut [u64; MAX_BLOCK],
) -> Result<(), FormatError> {
    let precision_bits = if form.kind.bits() == 32 { 5 } else { 6 };
    let precision = u32::try_from(stream.bits(precision_bits)?).unwrap_or(0) + 1;
    planes(form, order, stream, start, precision, block)?;
    transform(form, block, |[x, y, z, w]| {
        let times = |value: i64, factor: i64| value.wrapping_mul(factor);
        [
            x,
            x.wrapping_add(y),
            x.wrapping_add(times(y, 2)).wrapping_add(z),
            x.wrapping_add(times(y, 3)).wrapping_add(times(z, 3)).wrapping_add(w),
        ]
    });
    Ok(())
}

/// Reads bit planes, highest first, and turns them into signed coefficients in their places.
fn planes(
    form: &Form,
    order: &[u8],
    stream: &mut Stream<'_>,
    start: u64,
    precision: u32,
    block: &mut [u64; MAX_BLOCK],
) -> Result<(), FormatError> {
    let n = u32::try_from(order.len()).unwrap_or(0);
    let width = form.kind.bits();
    let used = u32::try_from(stream.at - start).unwrap_or(u32::MAX);
    let mut left = form.max_bits.saturating_sub(used);
    let mut coefficients = [0_u64; MAX_BLOCK];
    let mut known = 0_u32;
    for plane in (width.saturating_sub(precision)..width).rev() {
        if left == 0 {
            break;
        }
        let direct = known.min(left);
        left -= direct;
        let mut bits = stream.bits(direct)?;
        // Beyond those that were ever nonzero: a bit says whether any more follow, then zeros lead to the next one.
        while left > 0 && known < n {
            left -= 1;
            if !stream.bit()? {
                break;
            }
            while left > 0 && known < n - 1 {
                left -= 1;
                if stream.bit()? {
                    break;
                }
                known += 1;
            }
            bits |= 1 << known;
            known += 1;
        }
        while bits != 0 {
            coefficients[bits.trailing_zeros() as usize] |= 1 << plane;
            bits &= bits - 1;
        }
    }
    let negative = 0xaaaa_aaaa_aaaa_aaaa_u64 >> (64 - width);
    for (coefficient, place) in coefficients.iter().zip(order) {
        block[usize::from(*place)] = (coefficient ^ negative).wrapping_sub(negative);
    }
    Ok(())
}

/// Applies `lift` to each row of four along each dimension, slowest first, in the kind's own width.
#[allow(clippy::cast_possible_truncation)]
fn transform(form: &Form, block: &mut [u64; MAX_BLOCK], lift: impl Fn([i64; 4]) -> [i64; 4]) {
    let narrow = |value: u64| if form.kind.bits() == 32 { i64::from(value as u32 as i32) } else { value.cast_signed() };
    let n = 1_usize << (2 * form.rank);
    for dimension in (0..form.rank).rev() {
        let stride = 1_usize << (2 * dimension);
        for first in (0..n).filter(|at| (at / stride).is_multiple_of(4)) {
            let row = std::array::from_fn(|k| narrow(block[first + k * stride]));
            for (k, value) in lift(row).into_iter().enumerate() {
                block[first + k * stride] = value.cast_unsigned();
            }
        }
    }
}
