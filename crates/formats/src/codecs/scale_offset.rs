//! HDF5's scale-offset filter: integers less their minimum, or floats rounded to so many decimals, in as few bits as
//! the chunk needs. The largest code stands for the fill value, if there is one.

use crate::error::FormatError;

use super::{Expected, Scratch, bad, bits::Bits, room};

/// Bits of a value, its minimum, and room for a longer minimum.
const HEADER_BYTES: usize = 21;
const DECIMALS: u32 = 0;

fn odd(reason: impl Into<String>) -> FormatError {
    bad("scale-offset", reason)
}

/// What the client values say.
struct Form {
    decimals: Option<i32>,
    size: usize,
    big: bool,
    /// Bits of the fill value.
    fill: Option<u64>,
}

fn form(values: &[u32]) -> Result<(Form, u32), FormatError> {
    let [scale, factor, n_elements, class, size, _sign, order, has_fill, fill @ ..] = values else {
        return Err(odd("its settings are missing"));
    };
    let word = |at: usize| u64::from(fill.get(at).copied().unwrap_or(0));
    let decimals = match (class, *scale) {
        (0, _) => None,
        (1, DECIMALS) if matches!(size, 4 | 8) => Some(factor.cast_signed()),
        _ => return Err(odd(format!("type class {class} of {size} bytes, scaled in way {scale}"))),
    };
    if !matches!(size, 1 | 2 | 4 | 8) || *order > 1 {
        return Err(odd(format!("elements of {size} bytes in order {order}")));
    }
    let fill = (*has_fill == 1).then(|| word(0) | word(1) << 32);
    Ok((Form { decimals, size: *size as usize, big: *order == 1, fill }, *n_elements))
}

/// Decodes a chunk whose filter has the client `values`.
pub(crate) fn decode(values: &[u32], input: &[u8], expected: Expected, to: &mut Scratch) -> Result<usize, FormatError> {
    let (form, n_elements) = form(values)?;
    let n_bytes = usize::try_from(n_elements).ok().and_then(|count| count.checked_mul(form.size));
    let n_bytes = n_bytes.filter(|n_bytes| *n_bytes <= expected.limit());
    let n_bytes = n_bytes.ok_or_else(|| odd(format!("{n_elements} elements of {} bytes", form.size)))?;
    let (header, body) = input.split_at_checked(HEADER_BYTES).ok_or_else(|| odd("it has no header"))?;
    let [b0, b1, b2, b3, minimum_bytes, minimum @ ..] = header else {
        return Err(odd("it has no header"));
    };
    let n_bits = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
    let minimum = minimum.iter().take(usize::from(*minimum_bytes).min(8)).rev();
    let minimum = minimum.fold(0, |number, byte| number << 8 | u64::from(*byte));
    let all_bits = u32::try_from(8 * form.size).unwrap_or(u32::MAX);
    let output = room(to, n_bytes);
    if n_bits >= all_bits {
        if n_bits > all_bits {
            return Err(odd(format!("values of {n_bits} bits in {all_bits}")));
        }
        output.copy_from_slice(body.get(..n_bytes).ok_or_else(|| odd("it is too short"))?);
    } else {
        let mut bits = Bits::new("scale-offset", body);
        let largest = (1_u64 << n_bits) - 1;
        for element in output.chunks_exact_mut(form.size) {
            let code = bits.long(n_bits)?;
            let value = match form.fill {
                Some(fill) if code == largest => fill,
                _ => value(&form, code, minimum),
            };
            element.copy_from_slice(&value.to_le_bytes()[..form.size]);
        }
    }
    if form.big {
        super::shuffle::swap_in_place(output, form.size);
    }
    Ok(n_bytes)
}

/// The bits of the value that `code` stands for, computed as HDF5 does it, in the type's own width.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn value(form: &Form, code: u64, minimum: u64) -> u64 {
    match form.decimals {
        None => code.wrapping_add(minimum),
        Some(decimals) if form.size == 4 => {
            let scale = 10_f64.powi(decimals) as f32;
            (code as f32 / scale + f32::from_bits(minimum as u32)).to_bits().into()
        }
        Some(decimals) => (code as f64 / 10_f64.powi(decimals) + f64::from_bits(minimum)).to_bits(),
    }
}
