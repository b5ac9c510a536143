//! FlatBuffers, as little of them as Icechunk's documents need: tables, vectors and texts, written and read.
//!
//! What is written grows from its beginning: a parent comes first, and its children are pointed to once their place is
//! known, so that one text can serve a million references. What is read is looked at byte by byte: it promises an error,
//! never a crash, for whatever the bytes claim.
//!
//! Source: the FlatBuffers internals document, "Format components".

use crate::FormatError;

/// Most children of one table.
const MOST_CHILDREN: usize = 8;

/// Most fields of one table.
const MOST_FIELDS: usize = 16;

/// A field of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// One byte.
    U8(u8),
    /// Four bytes.
    U32(u32),
    /// Eight bytes.
    U64(u64),
    /// A structure of bytes, in its place.
    Bytes(&'a [u8]),
    /// Something that is written later.
    Child,
}

impl Field<'_> {
    const fn size(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::U32(_) | Self::Child => 4,
            Self::U64(_) => 8,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Where a table was put: its fields are to be pointed at their children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    /// First byte of each child field, in the order they were given.
    pub children: [usize; MOST_CHILDREN],
    /// First byte of the first field that holds bytes.
    pub bytes_at: usize,
}

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Shapes of tables and where they stand.
    shapes: Vec<(Vec<u16>, usize)>,
}

impl Writer {
    /// A document whose kind is `identifier`. The root table must be written next.
    pub fn new(identifier: [u8; 4]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&identifier);
        Self { bytes, shapes: Vec::new() }
    }

    /// The bytes so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes so far, to put a name in.
    pub const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How long the document is.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    fn pad(&mut self, to: usize, rest: usize) {
        while self.bytes.len() % to != rest {
            self.bytes.push(0);
        }
    }

    /// Points the field at `from` to what is written next.
    fn point(&mut self, from: usize) {
        let here = self.bytes.len();
        self.point_to(from, here);
    }

    /// Points the field at `from` to what stands at `to`, which lies behind it.
    pub fn point_to(&mut self, from: usize, to: usize) {
        let far = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        if let Some(cell) = self.bytes.get_mut(from..from + 4) {
            cell.copy_from_slice(&far.to_le_bytes());
        }
    }

    /// Writes the root table.
    pub fn root(&mut self, fields: &[(u16, Field<'_>)]) -> Placed {
        self.table(0, fields)
    }

    /// Writes a table that the field at `from` points to. `fields` are numbers of slots with their values; wide ones
    /// first, so that each stands where its size wants it.
    pub fn table(&mut self, from: usize, fields: &[(u16, Field<'_>)]) -> Placed {
        debug_assert!(fields.len() <= MOST_FIELDS);
        let mut offsets = [0_u16; MOST_FIELDS];
        let mut n_slots = 0;
        let mut end = 4;
        for (slot, field) in fields {
            offsets[usize::from(*slot)] = u16::try_from(end).unwrap_or(u16::MAX);
            n_slots = n_slots.max(usize::from(*slot) + 1);
            end += field.size();
        }
        let mut shape = [0_u16; MOST_FIELDS + 2];
        shape[0] = u16::try_from(4 + 2 * n_slots).unwrap_or(u16::MAX);
        shape[1] = u16::try_from(end).unwrap_or(u16::MAX);
        shape[2..2 + n_slots].copy_from_slice(&offsets[..n_slots]);
        let shape = &shape[..2 + n_slots];
        let shape_at = match self.shapes.iter().find(|(known, _)| known == shape) {
            Some((_, at)) => *at,
            None => {
                self.pad(2, 0);
                let at = self.bytes.len();
                shape.iter().for_each(|number| self.bytes.extend_from_slice(&number.to_le_bytes()));
                self.shapes.push((shape.to_vec(), at));
                at
            }
        };
        // Numbers of eight bytes come right behind the four that every table begins with.
        self.pad(8, 4);
        self.point(from);
        let at = self.bytes.len();
        let far = i32::try_from(at - shape_at).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&far.to_le_bytes());
        let mut placed = Placed { children: [0; MOST_CHILDREN], bytes_at: 0 };
        let mut n_children = 0;
        for (_, field) in fields {
            match field {
                Field::U8(number) => self.bytes.push(*number),
                Field::U32(number) => self.bytes.extend_from_slice(&number.to_le_bytes()),
                Field::U64(number) => self.bytes.extend_from_slice(&number.to_le_bytes()),
                Field::Bytes(bytes) => {
                    if placed.bytes_at == 0 {
                        placed.bytes_at = self.bytes.len();
                    }
                    self.bytes.extend_from_slice(bytes);
                }
                Field::Child => {
                    placed.children[n_children] = self.bytes.len();
                    n_children += 1;
                    self.bytes.extend_from_slice(&[0; 4]);
                }
            }
        }
        placed
    }

    fn length(&mut self, n: usize) {
        self.bytes.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Writes a text for the field at `from`; answers where it stands.
    pub fn text(&mut self, from: usize, text: &str) -> usize {
        self.pad(4, 0);
        self.point(from);
        let at = self.bytes.len();
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }

    /// Writes a vector of bytes.
    pub fn vector(&mut self, from: usize, bytes: &[u8]) {
        self.structures(from, bytes.len(), 1, bytes);
    }

    /// Writes a vector of numbers.
    pub fn numbers(&mut self, from: usize, numbers: &[u32]) {
        self.pad(4, 0);
        self.point(from);
        self.length(numbers.len());
        numbers.iter().for_each(|number| self.bytes.extend_from_slice(&number.to_le_bytes()));
    }

    /// Writes a vector of `n` structures that want an address divisible by `align`.
    pub fn structures(&mut self, from: usize, n: usize, align: usize, bytes: &[u8]) {
        match align {
            8 => self.pad(8, 4),
            _ => self.pad(4, 0),
        }
        self.point(from);
        self.length(n);
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a vector of `n` things that are written later; answers where the first is pointed at from. Each takes four
    /// bytes.
    pub fn children(&mut self, from: usize, n: usize) -> usize {
        self.pad(4, 0);
        self.point(from);
        self.length(n);
        let first = self.bytes.len();
        self.bytes.resize(first + 4 * n, 0);
        first
    }
}

/// A table that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn damaged(what: &str) -> FormatError {
    FormatError::Malformed { what: "a document of Icechunk".into(), offset: 0, reason: what.into() }
}

fn cell<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FormatError> {
    at.checked_add(N)
        .and_then(|end| bytes.get(at..end))
        .and_then(|cell| cell.try_into().ok())
        .ok_or_else(|| damaged("it is cut short"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, FormatError> {
    cell(bytes, at).map(u32::from_le_bytes)
}

fn follow(bytes: &[u8], at: usize) -> Result<usize, FormatError> {
    let far = u32_at(bytes, at)? as usize;
    at.checked_add(far).filter(|to| *to < bytes.len() && far > 0).ok_or_else(|| damaged("a part of it lies outside"))
}

impl<'a> Table<'a> {
    /// The root table of a document.
    pub fn root(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Ok(Self { bytes, at: follow(bytes, 0)? })
    }

    /// First byte of the field in `slot`; `None` if the table does not have it.
    fn field(&self, slot: u16) -> Result<Option<usize>, FormatError> {
        let far = i32::from_le_bytes(cell(self.bytes, self.at)?);
        let shape = i64::try_from(self.at).unwrap_or(i64::MAX) - i64::from(far);
        let shape = usize::try_from(shape).map_err(|_| damaged("a table has no shape"))?;
        let shape_bytes = u16::from_le_bytes(cell(self.bytes, shape)?);
        if 4 + 2 * slot >= shape_bytes {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(cell(self.bytes, shape + 4 + 2 * usize::from(slot))?);
        Ok((offset != 0).then_some(self.at + usize::from(offset)))
    }

    /// A byte; 0 if it is not there.
    pub fn u8(&self, slot: u16) -> Result<u8, FormatError> {
        self.field(slot)?.map_or(Ok(0), |at| cell::<1>(self.bytes, at).map(|cell| cell[0]))
    }

    /// A number; 0 if it is not there.
    pub fn u32(&self, slot: u16) -> Result<u32, FormatError> {
        self.field(slot)?.map_or(Ok(0), |at| u32_at(self.bytes, at))
    }

    /// A number; 0 if it is not there.
    pub fn u64(&self, slot: u16) -> Result<u64, FormatError> {
        self.field(slot)?.map_or(Ok(0), |at| cell(self.bytes, at).map(u64::from_le_bytes))
    }

    /// A structure of bytes.
    pub fn bytes<const N: usize>(&self, slot: u16) -> Result<Option<[u8; N]>, FormatError> {
        self.field(slot)?.map(|at| cell(self.bytes, at)).transpose()
    }

    /// A table.
    pub fn table(&self, slot: u16) -> Result<Option<Self>, FormatError> {
        self.field(slot)?.map(|at| Ok(Self { bytes: self.bytes, at: follow(self.bytes, at)? })).transpose()
    }

    /// A vector of elements of `size` bytes: its first byte and its length.
    fn elements(&self, slot: u16, size: usize) -> Result<Option<(usize, usize)>, FormatError> {
        let Some(at) = self.field(slot)? else { return Ok(None) };
        let at = follow(self.bytes, at)?;
        let n = u32_at(self.bytes, at)? as usize;
        let first = at + 4;
        let end = n.checked_mul(size).and_then(|n_bytes| first.checked_add(n_bytes));
        end.filter(|end| *end <= self.bytes.len()).ok_or_else(|| damaged("a list is longer than the document"))?;
        Ok(Some((first, n)))
    }

    /// The bytes of a vector of bytes.
    pub fn vector(&self, slot: u16) -> Result<Option<&'a [u8]>, FormatError> {
        Ok(self.elements(slot, 1)?.map(|(first, n)| &self.bytes[first..first + n]))
    }

    /// A text.
    pub fn text(&self, slot: u16) -> Result<Option<&'a str>, FormatError> {
        let text = self.vector(slot)?;
        text.map(|bytes| std::str::from_utf8(bytes).map_err(|_| damaged("a text is not UTF-8"))).transpose()
    }

    /// A vector of numbers.
    pub fn numbers(&self, slot: u16) -> Result<Vec<u32>, FormatError> {
        let Some((first, n)) = self.elements(slot, 4)? else { return Ok(Vec::new()) };
        (0..n).map(|number| u32_at(self.bytes, first + 4 * number)).collect()
    }

    /// A vector of structures of `N` bytes.
    pub fn structures<const N: usize>(&self, slot: u16) -> Result<Vec<[u8; N]>, FormatError> {
        let Some((first, n)) = self.elements(slot, N)? else { return Ok(Vec::new()) };
        (0..n).map(|number| cell(self.bytes, first + N * number)).collect()
    }

    /// A vector of tables.
    pub fn tables(
        &self,
        slot: u16,
    ) -> Result<impl ExactSizeIterator<Item = Result<Table<'a>, FormatError>>, FormatError> {
        let (first, n) = self.elements(slot, 4)?.unwrap_or((0, 0));
        let bytes = self.bytes;
        Ok((0..n).map(move |number| Ok(Table { bytes, at: follow(bytes, first + 4 * number)? })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Vec<u8> {
        let mut writer = Writer::new(*b"Test");
        let root = writer.root(&[
            (1, Field::U64(7)),
            (2, Field::U32(5)),
            (4, Field::Child),
            (5, Field::Child),
            (0, Field::Bytes(&[1, 2, 3])),
        ]);
        let first = writer.children(root.children[0], 2);
        for number in 0..2 {
            let one = writer.table(first + 4 * number, &[(0, Field::Child)]);
            writer.text(one.children[0], ["eins", "zwei"][number]);
        }
        writer.numbers(root.children[1], &[8, 9]);
        writer.into_bytes()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = document();
        let root = Table::root(&bytes).unwrap();
        assert_eq!(root.bytes::<3>(0).unwrap(), Some([1, 2, 3]));
        assert_eq!((root.u64(1).unwrap(), root.u32(2).unwrap(), root.u32(3).unwrap()), (7, 5, 0));
        let texts: Vec<&str> = root.tables(4).unwrap().map(|table| table.unwrap().text(0).unwrap().unwrap()).collect();
        assert_eq!(texts, ["eins", "zwei"]);
        assert_eq!(root.numbers(5).unwrap(), [8, 9]);
    }

    #[test]
    fn damage_is_an_error_and_no_crash() {
        let bytes = document();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let read = |bad: &[u8]| -> Result<(), FormatError> {
                    let root = Table::root(bad)?;
                    for table in root.tables(4)? {
                        table?.text(0)?;
                    }
                    root.numbers(5)?;
                    root.bytes::<3>(0)?;
                    root.table(4)?;
                    root.u64(1).map(drop)
                };
                let _ = read(&bad);
                let _ = read(&bad[..at]);
            }
        }
    }
}
