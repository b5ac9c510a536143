//! HDF5's fcidecomp filter (32018): JPEG-LS images, as EUMETSAT's imagers write them.
//!
//! Source: ITU-T T.87 (ISO/IEC 14495-1), annexes A to D. It promises every sample of a lossless image, and of a
//! near-lossless one the sample that the reference decoder gives. One component in each scan: what the filter writes.

mod scan;

use scan::{Coding, Thresholds};

use crate::error::FormatError;

use super::{Expected, Scratch, bad, room};

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const START_OF_FRAME: u8 = 0xF7;
const PARAMETERS: u8 = 0xF8;
/// Comments and what applications note: nothing that decoding needs.
const NOTES: [std::ops::RangeInclusive<u8>; 2] = [0xE0..=0xEF, 0xFE..=0xFE];

fn odd(reason: impl Into<String>) -> FormatError {
    bad("fcidecomp", reason)
}

/// The size of an image.
#[derive(Debug, Clone, Copy)]
struct Frame {
    sample_bits: u32,
    n_lines: usize,
    line_samples: usize,
    n_components: usize,
}

impl Frame {
    const fn sample_bytes(self) -> usize {
        if self.sample_bits <= 8 { 1 } else { 2 }
    }
}

/// What comes between the markers.
struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(n_bytes).ok_or_else(|| odd("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, FormatError> {
        let bytes = self.take(2)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// The next marker; more than one 0xFF may lead to it.
    fn marker(&mut self) -> Result<u8, FormatError> {
        if self.take(1)? != [0xFF] {
            return Err(odd("a marker is missing"));
        }
        loop {
            match self.take(1)? {
                [0xFF] => {}
                [marker] => return Ok(*marker),
                _ => return Err(odd("it ends too early")),
            }
        }
    }

    /// The body of a segment.
    fn body(&mut self) -> Result<Self, FormatError> {
        let length = self.number()?;
        Ok(Self(self.take(length.checked_sub(2).ok_or_else(|| odd("a segment is too short"))?)?))
    }
}

/// Decodes an image into little-endian samples, component after component; returns how many bytes they are.
pub(crate) fn decode(input: &[u8], expected: Expected, to: &mut Scratch) -> Result<usize, FormatError> {
    let mut segments = Segments(input);
    if segments.marker()? != START_OF_IMAGE {
        return Err(odd("it does not begin as an image"));
    }
    let (mut frame, mut preset, mut n_scans) = (None, None, 0);
    loop {
        match segments.marker()? {
            START_OF_FRAME => frame = Some(read_frame(&mut segments.body()?, expected)?),
            PARAMETERS => preset = Some(read_parameters(&mut segments.body()?)?),
            START_OF_SCAN => {
                let frame = frame.ok_or_else(|| odd("a scan comes before the size of the image"))?;
                let near = read_scan(&mut segments.body()?)?;
                let coding =
                    Coding::of(frame.sample_bits, near, preset.as_ref()).ok_or_else(|| odd("odd parameters"))?;
                let plane_bytes = frame.n_lines * frame.line_samples * frame.sample_bytes();
                if n_scans == frame.n_components {
                    return Err(odd("it has more scans than components"));
                }
                let planes = room(to, plane_bytes * frame.n_components);
                let plane = &mut planes[plane_bytes * n_scans..plane_bytes * (n_scans + 1)];
                let n_read = scan::decode(&coding, segments.0, frame.line_samples, frame.sample_bytes(), plane)
                    .ok_or_else(|| odd("the coded samples are damaged or end too early"))?;
                segments.take(n_read)?;
                n_scans += 1;
            }
            END_OF_IMAGE => break,
            note if NOTES.iter().any(|notes| notes.contains(&note)) => {
                segments.body()?;
            }
            other => return Err(odd(format!("frazil does not read its part {other:#04x}"))),
        }
    }
    match frame {
        Some(frame) if n_scans == frame.n_components => {
            Ok(frame.n_lines * frame.line_samples * frame.sample_bytes() * n_scans)
        }
        _ => Err(odd("components are missing")),
    }
}

fn read_frame(body: &mut Segments<'_>, expected: Expected) -> Result<Frame, FormatError> {
    let sample_bits = body.take(1)?.first().map_or(0, |bits| u32::from(*bits));
    let (n_lines, line_samples) = (body.number()?, body.number()?);
    let n_components = body.take(1)?.first().map_or(0, |n| usize::from(*n));
    let frame = Frame { sample_bits, n_lines, line_samples, n_components };
    if !(2..=16).contains(&sample_bits) || n_lines == 0 || line_samples == 0 || n_components == 0 {
        return Err(odd(format!("an image of {n_components}x{n_lines}x{line_samples} samples of {sample_bits} bits")));
    }
    // Three numbers below 2^16: the product fits.
    let n_bytes = n_lines * line_samples * n_components * frame.sample_bytes();
    if n_bytes > expected.limit() {
        return Err(odd(format!("it decodes to {n_bytes} bytes, more than {}", expected.limit())));
    }
    Ok(frame)
}

/// Preset parameters: the largest sample, thresholds and the counts between which statistics are halved; 0 is usual.
fn read_parameters(body: &mut Segments<'_>) -> Result<Thresholds, FormatError> {
    if body.take(1)? != [1] {
        return Err(odd("frazil does not read its tables"));
    }
    let mut next = || body.number().and_then(|number| i32::try_from(number).map_err(|_| odd("odd parameters")));
    Ok(Thresholds { largest: next()?, t: [next()?, next()?, next()?], reset: next()? })
}

/// The allowed error of a scan.
fn read_scan(body: &mut Segments<'_>) -> Result<i32, FormatError> {
    let n_components = body.take(1)?;
    if n_components != [1] {
        return Err(odd("components that are interleaved"));
    }
    let [_, table, near, interleaved, transform] = *body.take(5)? else { return Err(odd("it ends too early")) };
    if table != 0 || interleaved != 0 || transform != 0 {
        return Err(odd("frazil does not read its mapping tables, interleaving or transforms"));
    }
    Ok(near.into())
}
