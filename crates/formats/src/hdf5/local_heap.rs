//! Local heaps: the names of old-style groups.

use crate::{
    hdf5::{cursor::Cursor, session::Session},
    sparse::Stop,
};

/// The data of the local heap at `address`, with the address of its first byte.
pub(crate) fn local_heap<'a>(session: &mut Session<'a>, address: u64) -> Result<(u64, &'a [u8]), Stop> {
    let context = session.context;
    let n_bytes = 8 + 2 * u64::from(context.length_bytes) + u64::from(context.offset_bytes);
    let offset = session.offset("local heap", address)?;
    let head = session.read("local heap", address, n_bytes)?;
    let mut cursor = Cursor::new("local heap", offset, head);
    if cursor.take(4)? != b"HEAP" {
        return Err(cursor.bad("it has no signature".into()).into());
    }
    let version = cursor.u8()?;
    if version != 0 {
        return Err(cursor.bad(format!("version {version}")).into());
    }
    cursor.skip(3)?;
    let n_bytes = cursor.uint(context.length_bytes.into())?;
    cursor.skip(context.length_bytes.into())?;
    let data = cursor.address(context.offset_bytes)?.ok_or_else(|| cursor.bad("it has no data".into()))?;
    Ok((data, session.read("local heap data", data, n_bytes)?))
}

/// The text that begins at `at` of a local heap's data.
pub(crate) fn text(data: (u64, &[u8]), at: u64) -> Result<String, Stop> {
    let rest = usize::try_from(at).ok().and_then(|at| data.1.get(at..)).unwrap_or_default();
    let mut cursor = Cursor::new("name in a local heap", data.0.saturating_add(at), rest);
    Ok(name(cursor.until_nul()?))
}

/// A name as text. Names ought to be UTF-8; where one is not, its bytes are kept as the characters of Latin-1.
pub(crate) fn name(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}
