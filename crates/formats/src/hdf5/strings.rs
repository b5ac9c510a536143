//! Values of variable-length text, which chunks only point to.

use frazil_model::manifest::Hdf5Places;

use crate::{
    error::FormatError,
    hdf5::{
        cursor::Cursor,
        datatype::Padding,
        element::unpadded,
        global_heap,
        session::{Memo, Session, malformed, too_large},
        superblock::FileContext,
    },
    sparse::{SparseBytes, Stop, Wants},
};

/// Bytes of all texts of one call.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// The texts that the descriptors in `raw` point to: 4 bytes of length, an address, 4 bytes of number each.
///
/// - **Result**: one text for each descriptor; `None` where it points nowhere, which readers show as empty text.
///   All heaps that are not held are wanted at once.
/// - **Errors**: a text that is not UTF-8 is refused: there is no way to keep its bytes as they are.
pub fn strings(raw: &[u8], file: &Hdf5Places, bytes: &SparseBytes) -> Result<Vec<Option<String>>, Stop> {
    let context = FileContext {
        offset_bytes: file.offset_bytes,
        length_bytes: file.length_bytes,
        base_address: file.base_address,
    };
    let descriptor_bytes = 8 + usize::from(file.offset_bytes);
    if !raw.len().is_multiple_of(descriptor_bytes) {
        return Err(malformed("variable-length text", 0, "its descriptors are cut short").into());
    }
    let mut memo = Memo::default();
    let mut session = Session { bytes, context, memo: &mut memo };
    let mut cursor = Cursor::new("variable-length text", 0, raw);
    let mut wants = Wants::default();
    let mut texts = Vec::with_capacity(raw.len() / descriptor_bytes);
    let mut n_text_bytes = 0_u64;
    while !cursor.rest().is_empty() {
        let Some((n_bytes, pointer)) = global_heap::descriptor(&session, &mut cursor)? else {
            texts.push(None);
            continue;
        };
        let object = global_heap::object(&mut session, pointer);
        let Some(object) = wants.collect(object)? else { continue };
        let text = object.get(..n_bytes as usize).unwrap_or(object);
        let text = unpadded(text, Padding::NulTerminated);
        n_text_bytes = n_text_bytes.saturating_add(text.len() as u64);
        if n_text_bytes > MAX_TEXT_BYTES {
            return Err(too_large("variable-length text of one chunk", n_text_bytes, MAX_TEXT_BYTES).into());
        }
        let text = std::str::from_utf8(text).map_err(|_| FormatError::Malformed {
            what: "variable-length text".into(),
            offset: pointer.address,
            reason: "it is not UTF-8".into(),
        })?;
        texts.push(Some(text.to_owned()));
    }
    wants.or_stop()?;
    Ok(texts)
}
