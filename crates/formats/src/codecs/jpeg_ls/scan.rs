//! The samples of one component (T.87, annex A): each is predicted from its neighbours, and what is coded is the error,
//! in Golomb codes that adapt to what came before in the same surroundings. Rows of equal samples are counted.

/// Surroundings of a sample: three gradients of nine classes each, of which opposite ones are one.
const N_CONTEXTS: usize = 365;
const C_LEAST: i32 = -128;
const C_MOST: i32 = 127;
/// Bits of the lengths of runs, by how well the last ones went.
const RUN_BITS: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Bits of a code's second part; more cannot come from 16-bit samples.
const MOST_CODE_BITS: u32 = 24;

/// Parameters that an image may set; 0 stands for the usual one.
pub(super) struct Thresholds {
    pub largest: i32,
    pub t: [i32; 3],
    pub reset: i32,
}

/// How samples are coded.
pub(super) struct Coding {
    largest: i32,
    near: i32,
    t: [i32; 3],
    reset: i32,
    /// Different errors.
    range: i32,
    /// Bits of an error that is written out.
    error_bits: u32,
    /// Longest code.
    limit: u32,
}

impl Coding {
    /// `None` if the parameters contradict each other.
    pub fn of(sample_bits: u32, near: i32, preset: Option<&Thresholds>) -> Option<Self> {
        let said = |number: Option<i32>, usual: i32| number.filter(|number| *number != 0).unwrap_or(usual);
        let most = (1 << sample_bits) - 1;
        let largest = said(preset.map(|preset| preset.largest), most);
        let usual = usual_thresholds(largest, near);
        let t = std::array::from_fn(|at| said(preset.map(|preset| preset.t[at]), usual[at]));
        let reset = said(preset.map(|preset| preset.reset), 64);
        let is_sound = (1..=most).contains(&largest)
            && near <= 255.min(largest / 2)
            && near < t[0]
            && t[0] <= t[1]
            && t[1] <= t[2]
            && t[2] <= largest
            && (3..=largest.max(255)).contains(&reset);
        if !is_sound {
            return None;
        }
        let range = (largest + 2 * near) / (2 * near + 1) + 1;
        let bits_of = |n: i32| u32::BITS - (n.unsigned_abs() - 1).leading_zeros();
        let bits = bits_of(largest + 1).max(2);
        Some(Self { largest, near, t, reset, range, error_bits: bits_of(range), limit: 2 * (bits + bits.max(8)) })
    }

    /// The class of a gradient.
    const fn class(&self, gradient: i32) -> i32 {
        let size = gradient.abs();
        let class = if size <= self.near {
            0
        } else if size < self.t[0] {
            1
        } else if size < self.t[1] {
            2
        } else if size < self.t[2] {
            3
        } else {
            4
        };
        if gradient < 0 { -class } else { class }
    }

    /// The sample that is `error` steps from what was predicted; errors wrap around.
    fn sample(&self, predicted: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let mut sample = predicted + error * step;
        if sample < -self.near {
            sample += self.range * step;
        } else if sample > self.largest + self.near {
            sample -= self.range * step;
        }
        sample.clamp(0, self.largest)
    }
}

/// Annex C.2.4.1.1.
fn usual_thresholds(largest: i32, near: i32) -> [i32; 3] {
    let of = |[one, two, three]: [i32; 3]| {
        let clamped = |value: i32, least: i32| if value > largest || value < least { least } else { value };
        let one = clamped(one, near + 1);
        let two = clamped(two, one);
        [one, two, clamped(three, two)]
    };
    if largest >= 128 {
        let factor = (largest.min(4095) + 128) / 256;
        of([factor + 2 + 3 * near, factor * 4 + 3 + 5 * near, factor * 17 + 4 + 7 * near])
    } else {
        let factor = 256 / (largest + 1);
        of([2.max(3 / factor + 3 * near), 3.max(7 / factor + 5 * near), 4.max(21 / factor + 7 * near)])
    }
}

/// Bits of a scan: behind each 0xFF one bit is stuffed, and a set one begins a marker.
struct Bits<'a> {
    input: &'a [u8],
    at: usize,
    held: u64,
    n_held: u32,
    after_ff: bool,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.n_held <= 48 {
            let Some(byte) = self.input.get(self.at).copied() else { return };
            if self.after_ff && byte & 0x80 != 0 {
                return;
            }
            let n_bits = if self.after_ff { 7 } else { 8 };
            self.held = self.held << n_bits | u64::from(byte);
            self.n_held += n_bits;
            self.after_ff = byte == 0xFF;
            self.at += 1;
        }
    }

    fn take(&mut self, n_bits: u32) -> Option<i32> {
        if self.n_held < n_bits {
            self.fill();
        }
        self.n_held = self.n_held.checked_sub(n_bits)?;
        i32::try_from(self.held >> self.n_held & ((1 << n_bits) - 1)).ok()
    }

    /// A Golomb code with `k` low bits, of at most `limit` bits in all.
    fn code(&mut self, k: u32, limit: u32, error_bits: u32) -> Option<i32> {
        let most = limit.checked_sub(error_bits + 1)?;
        let mut n_zeros = 0;
        while self.take(1)? == 0 {
            n_zeros += 1;
            if n_zeros > most {
                return None;
            }
        }
        if n_zeros < most {
            let high = i32::try_from(n_zeros).ok()?.checked_mul(1 << k)?;
            Some(high + self.take(k)?)
        } else {
            Some(self.take(error_bits)? + 1)
        }
    }

    /// Where the next marker begins.
    fn end(&self) -> usize {
        // A 0xFF before the marker is the last coded byte, with a stuffed one behind it, or the marker's own.
        let rest = self.input.get(self.at.saturating_sub(1)..).unwrap_or_default();
        let marker = rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] & 0x80 != 0);
        marker.map_or(self.input.len(), |place| self.at.saturating_sub(1) + place)
    }
}

/// What was learned about the errors in one kind of surroundings.
#[derive(Clone, Copy)]
struct Context {
    /// Sum of the sizes of the errors.
    a: i32,
    /// Sum of the errors (of runs: how many were negative).
    b: i32,
    /// What is added to predictions.
    c: i32,
    /// How many errors there were.
    n: i32,
}

impl Context {
    /// The low bits that suit errors of mean size `sum / n`.
    fn low_bits(&self, sum: i32) -> Option<u32> {
        (0..MOST_CODE_BITS).find(|k| i64::from(self.n) << k >= i64::from(sum))
    }

    fn learn(&mut self, error: i32, coding: &Coding) {
        self.b += error * (2 * coding.near + 1);
        self.a += error.abs();
        if self.n == coding.reset {
            (self.a, self.b, self.n) = (self.a >> 1, self.b >> 1, self.n >> 1);
        }
        self.n += 1;
        if self.b <= -self.n {
            self.b = (self.b + self.n).max(1 - self.n);
            self.c = (self.c - 1).max(C_LEAST);
        } else if self.b > 0 {
            self.b = (self.b - self.n).min(0);
            self.c = (self.c + 1).min(C_MOST);
        }
    }
}

struct Scan<'a> {
    coding: &'a Coding,
    bits: Bits<'a>,
    contexts: [Context; N_CONTEXTS],
    /// After a run: the sample above is another, or the same.
    after_run: [Context; 2],
    run_index: usize,
}

/// Decodes a plane of lines of `line_samples`; returns how many bytes of `input` it took. `None` if it is damaged.
pub(super) fn decode(
    coding: &Coding,
    input: &[u8],
    line_samples: usize,
    sample_bytes: usize,
    plane: &mut [u8],
) -> Option<usize> {
    let fresh = Context { a: ((coding.range + 32) / 64).max(2), b: 0, c: 0, n: 1 };
    let bits = Bits { input, at: 0, held: 0, n_held: 0, after_ff: false };
    let mut scan = Scan { coding, bits, contexts: [fresh; N_CONTEXTS], after_run: [fresh; 2], run_index: 0 };
    // A sample before and one behind each line.
    let (mut above, mut line) = (vec![0; line_samples + 2], vec![0; line_samples + 2]);
    for out in plane.chunks_exact_mut(line_samples * sample_bytes) {
        above[line_samples + 1] = above[line_samples];
        line[0] = above[1];
        scan.line(&above, &mut line)?;
        for (cell, sample) in out.chunks_exact_mut(sample_bytes).zip(&line[1..]) {
            cell.copy_from_slice(&sample.to_le_bytes()[..sample_bytes]);
        }
        std::mem::swap(&mut above, &mut line);
    }
    Some(scan.bits.end())
}

impl Scan<'_> {
    fn line(&mut self, above: &[i32], line: &mut [i32]) -> Option<()> {
        let n = line.len() - 2;
        let mut at = 1;
        while at <= n {
            let (left, up, corner, next) = (line[at - 1], above[at], above[at - 1], above[at + 1]);
            let classes = [next - up, up - corner, corner - left].map(|gradient| self.coding.class(gradient));
            if classes == [0; 3] {
                let length = self.run(n + 1 - at)?;
                line[at..at + length].fill(left);
                at += length;
                if at <= n {
                    line[at] = self.behind_run(left, above[at])?;
                    at += 1;
                }
                continue;
            }
            line[at] = self.regular(classes, (left, up, corner))?;
            at += 1;
        }
        Some(())
    }

    fn regular(&mut self, classes: [i32; 3], (left, up, corner): (i32, i32, i32)) -> Option<i32> {
        let number = 81 * classes[0] + 9 * classes[1] + classes[2];
        let sign = number.signum();
        let context = self.contexts.get_mut(number.unsigned_abs() as usize)?;
        let predicted = if corner >= left.max(up) {
            left.min(up)
        } else if corner <= left.min(up) {
            left.max(up)
        } else {
            left + up - corner
        };
        let predicted = (predicted + sign * context.c).clamp(0, self.coding.largest);
        let k = context.low_bits(context.a)?;
        let code = self.bits.code(k, self.coding.limit, self.coding.error_bits)?;
        let folds_other_way = self.coding.near == 0 && k == 0 && 2 * context.b <= -context.n;
        let error = match (code & 1 == 1, folds_other_way) {
            (false, false) => code >> 1,
            (true, false) | (false, true) => -(code >> 1) - 1,
            (true, true) => code >> 1,
        };
        context.learn(error, self.coding);
        Some(self.coding.sample(predicted, sign * error))
    }

    /// How many of the `n_left` samples are as the one before.
    fn run(&mut self, n_left: usize) -> Option<usize> {
        let mut length = 0;
        while self.bits.take(1)? == 1 {
            let step = 1 << RUN_BITS[self.run_index];
            if step <= n_left - length {
                self.run_index = (self.run_index + 1).min(RUN_BITS.len() - 1);
            }
            length = n_left.min(length + step);
            if length == n_left {
                return Some(length);
            }
        }
        length += usize::try_from(self.bits.take(RUN_BITS[self.run_index])?).ok()?;
        (length < n_left).then_some(length)
    }

    /// The sample that ends a run.
    fn behind_run(&mut self, left: i32, up: i32) -> Option<i32> {
        let is_as_above = (left - up).abs() <= self.coding.near;
        let kind = i32::from(is_as_above);
        let context = &mut self.after_run[usize::from(is_as_above)];
        let (predicted, sign) = match is_as_above {
            true => (left, 1),
            false => (up, if left > up { -1 } else { 1 }),
        };
        let k = context.low_bits(context.a + if is_as_above { context.n >> 1 } else { 0 })?;
        let limit = self.coding.limit.checked_sub(RUN_BITS[self.run_index] + 1)?;
        let code = self.bits.code(k, limit, self.coding.error_bits)?;
        let folded = code + kind;
        let size = (folded + 1) >> 1;
        let mostly_negative = k != 0 || 2 * context.b >= context.n;
        let error = if mostly_negative == (folded & 1 == 1) { -size } else { size };
        context.b += i32::from(error < 0);
        context.a += (code + 1 - kind) >> 1;
        if context.n == self.coding.reset {
            (context.a, context.b, context.n) = (context.a >> 1, context.b >> 1, context.n >> 1);
        }
        context.n += 1;
        self.run_index = self.run_index.saturating_sub(1);
        Some(self.coding.sample(predicted, sign * error))
    }
}
