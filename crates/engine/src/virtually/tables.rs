//! Kerchunk's tables of references in a folder: `.zmetadata` shows them, and comes last.

use frazil_formats::references::tables::{RECORD_ROWS, TableWriter};
use frazil_store::folder::Folder;

use super::{
    kerchunk::{Said, consolidated, documents, each_chunk},
    make::Part,
    native::Natives,
    pinned::{RECORD, Record},
};
use crate::error::EngineError;

/// Key of the document that shows the tables.
const METADATA: &str = ".zmetadata";

/// The record of the tables in `folder`; `None` if frazil did not write any.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn record(folder: &Folder) -> Result<Option<Record>, EngineError> {
    if !folder.exists(METADATA)? {
        return Ok(None);
    }
    let Some(bytes) = folder.get(RECORD)? else { return Ok(None) };
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|error| EngineError::Damaged { key: RECORD.into(), reason: error.to_string() })
}

/// Writes all tables, then what shows them; answers their bytes. Whatever others are there are hidden first.
///
/// # Errors
/// If something cannot be written.
pub(crate) fn write(folder: &Folder, parts: &[Part], natives: &[Natives], record: &Record) -> Result<u64, EngineError> {
    let said =
        serde_json::to_vec_pretty(record).map_err(|error| EngineError::Document { reason: error.to_string() })?;
    if folder.exists(RECORD)? {
        folder.remove(METADATA)?;
        for entry in folder.names("")?.into_iter().filter(|entry| entry.name != ".frazil") {
            folder.remove(&entry.name)?;
        }
    }
    // First of all: by it a folder without its metadata is known as ours.
    folder.put(RECORD, &said)?;
    let mut n_bytes = 0;
    for (part, natives) in parts.iter().zip(natives) {
        for (number, target) in part.laid.targets.iter().enumerate() {
            let array = format!("{}{}", part.prefix, target.path);
            n_bytes += tables(folder, part, natives, number, array.trim_start_matches('/'))?;
        }
    }
    let metadata = consolidated(&documents(parts)?, &format!(",\"record_size\":{RECORD_ROWS}"));
    folder.sync(Some(".frazil"))?;
    folder.sync(None)?;
    folder.put(METADATA, metadata.as_bytes())?;
    folder.sync(None)?;
    Ok(n_bytes)
}

/// The tables of one array.
fn tables(folder: &Folder, part: &Part, natives: &Natives, number: usize, array: &str) -> Result<u64, EngineError> {
    let (mut table, mut record, mut n_bytes) = (TableWriter::default(), 0_u64, 0);
    let mut put = |table: TableWriter, record: u64| -> Result<(), EngineError> {
        let failed = |error: frazil_formats::FormatError| EngineError::Document { reason: error.to_string() };
        let mut table = table;
        // A reader takes a row by its number: files are of one length, the last one too.
        table.missing_to(usize::try_from(RECORD_ROWS).unwrap_or(usize::MAX));
        let bytes = table.finish().map_err(failed)?;
        n_bytes += bytes.len() as u64;
        folder.put(&format!("{array}/refs.{record}.parq"), &bytes)?;
        Ok(())
    };
    each_chunk(part, natives, number, &mut |at, _, said| {
        while at / RECORD_ROWS > record {
            put(std::mem::take(&mut table), record)?;
            record += 1;
        }
        table.missing_to(usize::try_from(at % RECORD_ROWS).unwrap_or(usize::MAX));
        match said {
            Said::Range { url, offset, length } => table.range(url, offset, length),
            Said::Bytes(bytes) => table.bytes(bytes),
        }
        Ok(())
    })?;
    put(table, record)?;
    folder.sync(Some(array))?;
    Ok(n_bytes)
}
