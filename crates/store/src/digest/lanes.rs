//! MD5 of several texts at a time.
//!
//! One MD5 is a chain in which each step waits for the one before, so most of a core is idle. Texts that have nothing to
//! do with each other can take the same steps side by side, in the lanes of vectors. It promises the digests of RFC 1321.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Bytes of each part of a file that are read at a time: those of all lanes stay near the core.
const READ_BYTES: usize = 128 << 10;

/// Texts that take the same steps at once.
pub const LANES: usize = 4;

const BLOCK_BYTES: usize = 64;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Rotations of the four rounds (RFC 1321, section 3.4).
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// `floor(2^32 * abs(sin(n + 1)))` for each step (RFC 1321, section 3.4).
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

type State = [u32; 4];

/// One value in each lane.
type Vector<const LANES: usize> = [u32; LANES];

/// The word that a step of a round takes.
const fn word_of<const ROUND: usize>(step: usize) -> usize {
    match ROUND {
        0 => step,
        1 => (5 * step + 1) % 16,
        2 => (3 * step + 5) % 16,
        _ => 7 * step % 16,
    }
}

#[inline(always)]
fn step<const ROUND: usize>([a, b, c, d]: State, word: u32, step: usize) -> u32 {
    let mixed = match ROUND {
        0 => d ^ (b & (c ^ d)),
        1 => c ^ (d & (b ^ c)),
        2 => b ^ c ^ d,
        _ => c ^ (b | !d),
    };
    let sum = a.wrapping_add(word).wrapping_add(SINES[16 * ROUND + step]).wrapping_add(mixed);
    b.wrapping_add(sum.rotate_left(ROTATIONS[ROUND][step % 4]))
}

/// The sixteen steps of a round in one lane, written out: only then does the compiler take all lanes at once.
#[inline(always)]
fn round<const LANES: usize, const ROUND: usize>(
    [mut a, mut b, mut c, mut d]: State,
    words: &[Vector<LANES>; 16],
    lane: usize,
) -> State {
    a = step::<ROUND>([a, b, c, d], words[word_of::<ROUND>(0)][lane], 0);
    d = step::<ROUND>([d, a, b, c], words[word_of::<ROUND>(1)][lane], 1);
    c = step::<ROUND>([c, d, a, b], words[word_of::<ROUND>(2)][lane], 2);
    b = step::<ROUND>([b, c, d, a], words[word_of::<ROUND>(3)][lane], 3);
    a = step::<ROUND>([a, b, c, d], words[word_of::<ROUND>(4)][lane], 4);
    d = step::<ROUND>([d, a, b, c], words[word_of::<ROUND>(5)][lane], 5);
    c = step::<ROUND>([c, d, a, b], words[word_of::<ROUND>(6)][lane], 6);
    b = step::<ROUND>([b, c, d, a], words[word_of::<ROUND>(7)][lane], 7);
    a = step::<ROUND>([a, b, c, d], words[word_of::<ROUND>(8)][lane], 8);
    d = step::<ROUND>([d, a, b, c], words[word_of::<ROUND>(9)][lane], 9);
    c = step::<ROUND>([c, d, a, b], words[word_of::<ROUND>(10)][lane], 10);
    b = step::<ROUND>([b, c, d, a], words[word_of::<ROUND>(11)][lane], 11);
    a = step::<ROUND>([a, b, c, d], words[word_of::<ROUND>(12)][lane], 12);
    d = step::<ROUND>([d, a, b, c], words[word_of::<ROUND>(13)][lane], 13);
    c = step::<ROUND>([c, d, a, b], words[word_of::<ROUND>(14)][lane], 14);
    b = step::<ROUND>([b, c, d, a], words[word_of::<ROUND>(15)][lane], 15);
    [a, b, c, d]
}

/// Takes one block into each lane.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // The compiler takes the lanes together only if they are counted.
fn take<const LANES: usize>(state: &mut [Vector<LANES>; 4], words: &[Vector<LANES>; 16]) {
    for lane in 0..LANES {
        let before = [state[0][lane], state[1][lane], state[2][lane], state[3][lane]];
        let now = round::<LANES, 0>(before, words, lane);
        let now = round::<LANES, 1>(now, words, lane);
        let now = round::<LANES, 2>(now, words, lane);
        let now = round::<LANES, 3>(now, words, lane);
        for part in 0..4 {
            state[part][lane] = before[part].wrapping_add(now[part]);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Takes `n_blocks` of each text, which has as many. Lanes without a text do the first one's work again.
fn advance<const LANES: usize>(states: &mut [&mut State], texts: &[&[u8]], n_blocks: usize) {
    let of = |lane: usize| if lane < texts.len() { lane } else { 0 };
    let mut state: [Vector<LANES>; 4] = std::array::from_fn(|part| std::array::from_fn(|lane| states[of(lane)][part]));
    let texts: [&[u8]; LANES] = std::array::from_fn(|lane| &texts[of(lane)][..n_blocks * BLOCK_BYTES]);
    for block in 0..n_blocks {
        let blocks = texts.map(|text| &text[block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES]);
        let words: [Vector<LANES>; 16] = std::array::from_fn(|n| std::array::from_fn(|lane| word(blocks[lane], 4 * n)));
        take(&mut state, &words);
    }
    for (lane, one) in states.iter_mut().enumerate() {
        **one = state.map(|part| part[lane]);
    }
}

/// The MD5 of a text of which so much has come.
#[derive(Clone)]
struct Begun {
    state: State,
    n_bytes: u64,
}

/// Takes what comes next of each text, in whole blocks.
fn take_together(begun: &mut [Begun], texts: &[&[u8]]) {
    let mut texts = texts.to_vec();
    loop {
        // Those that go on, as many as there are lanes, as far as the shortest of them.
        let mut going: Vec<(&mut Begun, &mut &[u8])> =
            begun.iter_mut().zip(&mut texts).filter(|(_, text)| text.len() >= BLOCK_BYTES).take(LANES).collect();
        let Some(n_blocks) = going.iter().map(|(_, text)| text.len() / BLOCK_BYTES).min() else { return };
        let now: Vec<&[u8]> = going.iter().map(|(_, text)| **text).collect();
        let mut of_lanes: Vec<&mut State> = going.iter_mut().map(|(begun, _)| &mut begun.state).collect();
        match now.len() {
            1 => advance::<1>(&mut of_lanes, &now, n_blocks),
            _ => advance::<LANES>(&mut of_lanes, &now, n_blocks),
        }
        for (begun, text) in going {
            *text = &text[n_blocks * BLOCK_BYTES..];
            begun.n_bytes += (n_blocks * BLOCK_BYTES) as u64;
        }
    }
}

impl Begun {
    const NEW: Self = Self { state: START, n_bytes: 0 };

    /// The digest, with what is left of the text: less than a block.
    fn finish(mut self, rest: &[u8]) -> [u8; 16] {
        // A mark, and the length in bits, at the end of a block (RFC 1321, sections 3.1 and 3.2).
        let n_bytes = if rest.len() < BLOCK_BYTES - 8 { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
        let mut end = vec![0; n_bytes];
        end[..rest.len()].copy_from_slice(rest);
        end[rest.len()] = 0x80;
        let n_bits = (self.n_bytes + rest.len() as u64).wrapping_mul(8);
        end[n_bytes - 8..].copy_from_slice(&n_bits.to_le_bytes());
        advance::<1>(&mut [&mut self.state], &[&end], n_bytes / BLOCK_BYTES);
        let mut bytes = [0; 16];
        for (four, part) in bytes.chunks_exact_mut(4).zip(self.state) {
            four.copy_from_slice(&part.to_le_bytes());
        }
        bytes
    }
}

/// The MD5 of each text, of any lengths.
#[must_use]
pub fn md5_of_each(texts: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut begun = vec![Begun::NEW; texts.len()];
    take_together(&mut begun, texts);
    let rest = |text: &&[u8]| text.len() / BLOCK_BYTES * BLOCK_BYTES;
    begun.into_iter().zip(texts).map(|(begun, text)| begun.finish(&text[rest(text)..])).collect()
}

/// The MD5 of each of some parts of a file, by offset and end, in the order of the parts.
///
/// # Errors
/// If they cannot be read to their ends.
pub fn md5_of_ranges(file: &File, ranges: &[(u64, u64)]) -> io::Result<Vec<[u8; 16]>> {
    let mut all = Vec::with_capacity(ranges.len());
    let mut buffers = vec![vec![0_u8; READ_BYTES]; LANES.min(ranges.len())];
    for ranges in ranges.chunks(LANES) {
        let mut begun = vec![Begun::NEW; ranges.len()];
        loop {
            let mut texts: Vec<&[u8]> = Vec::with_capacity(ranges.len());
            for ((begun, (offset, end)), buffer) in begun.iter().zip(ranges).zip(&mut buffers) {
                let at = offset + begun.n_bytes;
                let n_bytes = end.saturating_sub(at).min(READ_BYTES as u64) as usize;
                file.read_exact_at(&mut buffer[..n_bytes], at)?;
                texts.push(&buffer[..n_bytes]);
            }
            if texts.iter().all(|text| text.len() < BLOCK_BYTES) {
                all.extend(begun.into_iter().zip(texts).map(|(begun, rest)| begun.finish(rest)));
                break;
            }
            take_together(&mut begun, &texts);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::md5;

    #[test]
    fn known_digests_come_out() {
        // RFC 1321, appendix A.5.
        let shown: Vec<String> =
            md5_of_each(&[b"", b"abc", b"message digest"]).iter().map(|digest| crate::bucket::hex(digest)).collect();
        assert_eq!(
            shown,
            [
                "d41d8cd98f00b204e9800998ecf8427e",
                "900150983cd24fb0d6963f7d28e17f72",
                "f96b697d7cb7938d525a2f31aaf161d0"
            ]
        );
    }

    #[test]
    fn parts_of_a_file_have_the_digests_of_their_bytes() {
        let path = std::env::temp_dir().join(format!("frazil-lanes-{}", std::process::id()));
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let ranges = [(0, 1_000_000), (1_000_000, 1_000_000), (5, 70), (1_500_000, 3_000_001), (7, 500_000), (0, 64)];
        let alone: Vec<[u8; 16]> = ranges.iter().map(|(start, end)| md5(&bytes[*start..*end])).collect();
        let ranges = ranges.map(|(start, end)| (start as u64, end as u64));
        let file = File::open(&path).unwrap();
        assert_eq!(md5_of_ranges(&file, &ranges).unwrap(), alone);
        assert!(md5_of_ranges(&file, &[(2_999_999, 3_000_002)]).is_err());
        std::fs::remove_file(&path).unwrap();
    }

    proptest! {
        #[test]
        fn side_by_side_is_as_one_by_one(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20)) {
            let slices: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let alone: Vec<[u8; 16]> = texts.iter().map(|text| md5(text)).collect();
            prop_assert_eq!(md5_of_each(&slices), alone);
        }
    }
}
