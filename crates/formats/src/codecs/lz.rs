//! Two small byte-pair compressors of one family: LZF and blosclz. Only decoded; the output has a hard end.

use crate::error::FormatError;

use super::bad;

/// Reads bytes of a compressed stream.
struct Reader<'a> {
    codec: &'static str,
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<usize, FormatError> {
        let byte = self.input.get(self.at).copied();
        self.at += 1;
        byte.map(usize::from).ok_or_else(|| bad(self.codec, "the compressed bytes end too early"))
    }

    fn bytes(&mut self, n_bytes: usize) -> Result<&'a [u8], FormatError> {
        let bytes = self.input.get(self.at..).and_then(|rest| rest.get(..n_bytes));
        self.at += n_bytes;
        bytes.ok_or_else(|| bad(self.codec, "the compressed bytes end too early"))
    }

    const fn at_end(&self) -> bool {
        self.at >= self.input.len()
    }
}

/// Writes literals and copies of what was written before.
struct Writer<'a> {
    codec: &'static str,
    output: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn too_long(&self) -> FormatError {
        bad(self.codec, format!("it decodes to more than {} bytes", self.output.len()))
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let end = self.at + bytes.len();
        match self.output.get_mut(self.at..end) {
            Some(to) => to.copy_from_slice(bytes),
            None => return Err(self.too_long()),
        }
        self.at = end;
        Ok(())
    }

    /// Repeats `n_bytes` from `distance` (at least 1) bytes before.
    fn copy(&mut self, distance: usize, n_bytes: usize) -> Result<(), FormatError> {
        let from =
            self.at.checked_sub(distance).ok_or_else(|| bad(self.codec, "it refers to bytes before its start"))?;
        let end = self.at.checked_add(n_bytes).filter(|end| *end <= self.output.len());
        let end = end.ok_or_else(|| self.too_long())?;
        if distance >= n_bytes {
            self.output.copy_within(from..from + n_bytes, self.at);
        } else if distance == 1 {
            let byte = self.output[from];
            self.output[self.at..end].fill(byte);
        } else {
            // The copy overlaps what it makes, on purpose: a pattern repeats.
            for at in self.at..end {
                self.output[at] = self.output[at - distance];
            }
        }
        self.at = end;
        Ok(())
    }
}

/// Decodes LZF into `output`; returns how much of it was filled.
pub(crate) fn decode_lzf(input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    let mut reader = Reader { codec: "lzf", input, at: 0 };
    let mut writer = Writer { codec: "lzf", output, at: 0 };
    while !reader.at_end() {
        let control = reader.byte()?;
        if control < 32 {
            writer.literal(reader.bytes(control + 1)?)?;
            continue;
        }
        let mut n_bytes = control >> 5;
        if n_bytes == 7 {
            n_bytes += reader.byte()?;
        }
        let distance = ((control & 31) << 8 | reader.byte()?) + 1;
        writer.copy(distance, n_bytes + 2)?;
    }
    Ok(writer.at)
}

/// Decodes blosclz into `output`; returns how much of it was filled.
pub(crate) fn decode_blosclz(input: &[u8], output: &mut [u8]) -> Result<usize, FormatError> {
    /// Distances from here on are written in two more bytes.
    const FAR: usize = 8191;
    let mut reader = Reader { codec: "blosclz", input, at: 0 };
    let mut writer = Writer { codec: "blosclz", output, at: 0 };
    if reader.at_end() {
        return Ok(0);
    }
    // The first instruction is always a literal; its upper bits mean something else.
    let mut control = reader.byte()? & 31;
    loop {
        if control < 32 {
            writer.literal(reader.bytes(control + 1)?)?;
        } else {
            let mut n_bytes = (control >> 5) - 1;
            let high = (control & 31) << 8;
            if n_bytes == 6 {
                loop {
                    let more = reader.byte()?;
                    n_bytes += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = reader.byte()?;
            let distance =
                if low == 255 && high == 31 << 8 { (reader.byte()? << 8 | reader.byte()?) + FAR } else { high + low };
            writer.copy(distance + 1, n_bytes + 3)?;
        }
        if reader.at_end() {
            return Ok(writer.at);
        }
        control = reader.byte()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_before_the_start_is_refused() {
        assert!(decode_lzf(&[0, 7, 0x20, 9], &mut [0; 16]).is_err());
    }

    #[test]
    fn a_run_repeats_what_it_just_made() {
        let mut output = [0; 9];
        assert_eq!(decode_lzf(&[1, b'a', b'b', 0xa0, 1], &mut output), Ok(9));
        assert_eq!(&output, b"ababababa");
    }

    #[test]
    fn an_output_that_is_too_small_is_an_error() {
        assert!(decode_lzf(&[1, b'a', b'b', 0xa0, 1], &mut [0; 8]).is_err());
    }
}
