//! Base64 (RFC 4648, section 4), as documents hold small chunks.

/// The bytes that `text` stands for; `None` if it is not Base64. Line breaks and spaces count for nothing.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits, mut n_signs, mut n_filled) = (0_u32, 0, 0_usize, 0);
    for sign in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        n_signs += 1;
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'a'..=b'z' => sign - b'a' + 26,
            b'0'..=b'9' => sign - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                n_filled += 1;
                continue;
            }
            _ => return None,
        };
        if n_filled > 0 {
            return None;
        }
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xff) as u8);
        }
    }
    let is_whole = n_filled <= 2 && (n_filled == 0 || n_signs.is_multiple_of(4)) && n_bits < 6;
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("Zm9v\nYmFy\n").as_deref(), Some(&b"foobar"[..]));
        for wrong in ["Z", "Zg=", "Zg===", "=Zg=", "Z!==", "Zg==Zg=="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
