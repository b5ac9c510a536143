//! Numbers of any width from a stream of bits, highest bit first.

use crate::error::FormatError;

use super::bad;

/// A place in a stream of bits.
pub(crate) struct Bits<'a> {
    codec: &'static str,
    input: &'a [u8],
    at: usize,
    /// Bits that were taken from the input and not yet given out, at the high end.
    held: u64,
    n_held: u32,
}

impl<'a> Bits<'a> {
    pub const fn new(codec: &'static str, input: &'a [u8]) -> Self {
        Self { codec, input, at: 0, held: 0, n_held: 0 }
    }

    /// Takes in whole bytes until 57 bits or more are held, or the input is at its end.
    fn fill(&mut self) {
        if let Some(word) = self.input.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            self.held |= u64::from_be_bytes(*word) >> self.n_held;
            let n_bytes = (64 - self.n_held) / 8;
            self.at += n_bytes as usize;
            self.n_held += 8 * n_bytes;
            // What lies below the held bits belongs to the next byte and comes again with it.
            self.held &= !(u64::MAX.checked_shr(self.n_held).unwrap_or(0));
            return;
        }
        while self.n_held <= 56 {
            let Some(byte) = self.input.get(self.at) else {
                return;
            };
            self.held |= u64::from(*byte) << (56 - self.n_held);
            self.n_held += 8;
            self.at += 1;
        }
    }

    fn end(&self) -> FormatError {
        bad(self.codec, "the compressed bytes end too early")
    }

    /// The next `n_bits`, at most 32, as a number.
    pub fn short(&mut self, n_bits: u32) -> Result<u32, FormatError> {
        if n_bits == 0 {
            return Ok(0);
        }
        if self.n_held < n_bits {
            self.fill();
            if self.n_held < n_bits {
                return Err(self.end());
            }
        }
        let number = self.held >> (64 - n_bits);
        self.held <<= n_bits;
        self.n_held -= n_bits;
        #[allow(clippy::cast_possible_truncation)] // at most 32 bits
        Ok(number as u32)
    }

    /// The next `n_bits`, at most 64, as a number.
    pub fn long(&mut self, n_bits: u32) -> Result<u64, FormatError> {
        if n_bits <= 32 {
            return self.short(n_bits).map(u64::from);
        }
        let high = u64::from(self.short(n_bits - 32)?);
        Ok(high << 32 | u64::from(self.short(32)?))
    }

    /// How many zeros come before the next one, which is taken too; at most `limit`.
    pub fn zeros(&mut self, limit: u32) -> Result<u32, FormatError> {
        let mut zeros = 0_u32;
        loop {
            if self.n_held == 0 {
                self.fill();
                if self.n_held == 0 {
                    return Err(self.end());
                }
            }
            let run = self.held.leading_zeros().min(self.n_held);
            zeros = zeros.saturating_add(run);
            if zeros > limit {
                return Err(bad(self.codec, format!("a code is longer than {limit} bits")));
            }
            if run < self.n_held {
                // One more for the one itself; shifted in two steps, since it may be all 64 bits.
                self.held = (self.held << run) << 1;
                self.n_held -= run + 1;
                return Ok(zeros);
            }
            (self.held, self.n_held) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_out_as_their_bits_went_in(numbers in proptest::collection::vec((any::<u64>(), 1..65_u32), 0..50)) {
            let text: String = numbers
                .iter()
                .map(|(number, width)| format!("{:064b}", number)[64 - *width as usize..].to_owned())
                .collect();
            let bytes: Vec<u8> = text
                .as_bytes()
                .chunks(8)
                .map(|bits| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&b'1'))))
                .collect();
            let mut bits = Bits::new("test", &bytes);
            for (number, width) in &numbers {
                prop_assert_eq!(bits.long(*width).unwrap(), number & (u64::MAX >> (64 - width)));
            }
            prop_assert!(bits.long(8).is_err());
        }

        #[test]
        fn runs_of_zeros_are_counted(runs in proptest::collection::vec(0..200_u32, 0..20)) {
            let text: String = runs.iter().map(|run| format!("{}1", "0".repeat(*run as usize))).collect();
            let bytes: Vec<u8> = text
                .as_bytes()
                .chunks(8)
                .map(|bits| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&b'1'))))
                .collect();
            let mut bits = Bits::new("test", &bytes);
            for run in &runs {
                prop_assert_eq!(bits.zeros(1000).unwrap(), *run);
            }
        }
    }
}
