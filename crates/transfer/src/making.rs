//! The digest that a server keeps, made of bytes that come one after the other.
//!
//! Of an object that was sent in parts the size of the parts is not known. Those that programs use are tried side by side; it
//! promises that a digest that fits none of them is told from one that fits.

use frazil_store::{
    bucket::Digest,
    digest::{Running, crc32c_on, md5},
};

use crate::copy::parts::part_bytes;

/// Sizes of parts that other programs send, in MiB.
const USUAL_PARTS_MIB: [u64; 12] = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128];

/// So many sizes of whole MiB are tried besides.
const MOST_TRIED: usize = 6;

/// What a digest that was made says of the one that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is the one that was expected.
    Equal,
    /// It is another one.
    Other,
    /// It is made of parts, and their size is not known.
    UnknownParts,
}

/// A digest under way.
pub(crate) struct Making {
    expected: Digest,
    kind: Kind,
}

enum Kind {
    Md5(Running),
    Crc32c(u32),
    Parts(Vec<OfParts>),
}

impl Making {
    /// One of so many bytes, of the kind of the digest that is expected.
    pub fn of(expected: Digest, size_bytes: u64) -> Self {
        let kind = match expected {
            Digest::Md5(_) => Kind::Md5(Running::default()),
            Digest::Crc32c(_) => Kind::Crc32c(0),
            Digest::Md5OfParts { n_parts, .. } => {
                Kind::Parts(sizes_of_parts(size_bytes, n_parts).into_iter().map(OfParts::of).collect())
            }
        };
        Self { expected, kind }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Md5(running) => running.take(bytes),
            Kind::Crc32c(sum) => *sum = crc32c_on(*sum, bytes),
            Kind::Parts(all) => all.iter_mut().for_each(|one| one.take(bytes)),
        }
    }

    /// What it says, and a digest of the bytes that is sure.
    pub fn finish(self) -> (Made, Option<Digest>) {
        let made = match self.kind {
            Kind::Md5(running) => Digest::Md5(running.finish()),
            Kind::Crc32c(sum) => Digest::Crc32c(sum),
            Kind::Parts(all) => {
                return match all.into_iter().map(OfParts::finish).find(|digest| *digest == self.expected) {
                    Some(digest) => (Made::Equal, Some(digest)),
                    // Parts may have any size: that none of those tried fits tells nothing.
                    None => (Made::UnknownParts, None),
                };
            }
        };
        (if made == self.expected { Made::Equal } else { Made::Other }, Some(made))
    }
}

/// The digest of bytes in parts of one size.
struct OfParts {
    part_bytes: u64,
    left: u64,
    running: Running,
    parts: Vec<u8>,
    n_parts: u32,
}

impl OfParts {
    fn of(part_bytes: u64) -> Self {
        Self { part_bytes, left: part_bytes, running: Running::default(), parts: Vec::new(), n_parts: 0 }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n_bytes = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(n_bytes);
            self.running.take(now);
            self.left -= n_bytes as u64;
            bytes = rest;
            if self.left == 0 {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        self.parts.extend(std::mem::take(&mut self.running).finish());
        self.n_parts += 1;
        self.left = self.part_bytes;
    }

    fn finish(mut self) -> Digest {
        if self.left < self.part_bytes || self.n_parts == 0 {
            self.end();
        }
        Digest::Md5OfParts { digest: md5(&self.parts), n_parts: self.n_parts }
    }
}

/// Sizes that parts of an object may have had, ours first.
fn sizes_of_parts(size_bytes: u64, n_parts: u32) -> Vec<u64> {
    let n_parts = u64::from(n_parts);
    if n_parts <= 1 {
        return vec![size_bytes.max(1)];
    }
    let fits = |part: &u64| size_bytes.div_ceil(*part) == n_parts;
    let usual = USUAL_PARTS_MIB.iter().map(|mib| mib << 20);
    let mut sizes: Vec<u64> = std::iter::once(part_bytes(size_bytes)).chain(usual).filter(fits).collect();
    let least_mib = size_bytes.div_ceil(n_parts).div_ceil(1 << 20);
    sizes.extend((least_mib..).map(|mib| mib << 20).take(MOST_TRIED).filter(fits));
    let mut seen = std::collections::BTreeSet::new();
    sizes.retain(|part| seen.insert(*part));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn parts_of_whole_mib_are_found_and_others_are_not_said_to_differ() {
        let bytes: Vec<u8> = (0..40 * MIB).map(|at| ((at * at) >> 7) as u8).collect();
        for (part, expected) in [
            (5 * MIB, Made::Equal),
            (8 * MIB, Made::Equal),
            (14 * MIB, Made::Equal),
            (16 * MIB, Made::Equal),
            (17 * MIB, Made::Equal),
            (40 * MIB, Made::Equal),
            (50 * MIB, Made::Equal),
            (13 * MIB + 5000, Made::UnknownParts),
        ] {
            let sums: Vec<u8> = bytes.chunks(part as usize).flat_map(md5).collect();
            let n_parts = u32::try_from(sums.len() / 16).unwrap();
            let digest = Digest::Md5OfParts { digest: md5(&sums), n_parts };
            let mut making = Making::of(digest, bytes.len() as u64);
            bytes.chunks(777_777).for_each(|piece| making.take(piece));
            assert_eq!(making.finish().0, expected, "{part}");
        }
    }

    #[test]
    fn few_sizes_are_tried() {
        for size_mib in [1, 5, 40, 1000, 100_000] {
            for n_parts in 1..40 {
                assert!(sizes_of_parts(size_mib * MIB, n_parts).len() <= MOST_TRIED + 6, "{size_mib} {n_parts}");
            }
        }
    }
}
