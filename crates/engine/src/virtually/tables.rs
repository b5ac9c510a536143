//! Kerchunk's tables of references in a folder: `.zmetadata` shows them, and comes last.

use std::collections::BTreeMap;

use frazil_formats::references::tables::{RECORD_ROWS, TableWriter};
use frazil_store::folder::Folder;

use super::{
    kerchunk::{Said, consolidated, documents, each_chunk},
    make::Part,
    native::Natives,
    record::{RECORD, Record},
};
use crate::{error::EngineError, journal::Stored};

/// Key of the document that shows the tables.
const METADATA: &str = ".zmetadata";

/// The record of the tables in `folder`; `None` if frazil did not write any, or they are not shown.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn record(folder: &Folder) -> Result<Option<Record>, EngineError> {
    if folder.exists(METADATA)? { noted(folder) } else { Ok(None) }
}

/// The record of tables that lost what shows them, too, if it says that they had it.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn record_of_any(folder: &Folder) -> Result<Option<Record>, EngineError> {
    let record = noted(folder)?;
    Ok(match folder.exists(METADATA)? {
        true => record,
        false => record.filter(|record| record.objects.contains_key(METADATA)),
    })
}

fn noted(folder: &Folder) -> Result<Option<Record>, EngineError> {
    let Some(bytes) = folder.get(RECORD)? else { return Ok(None) };
    Record::parse(RECORD, &bytes).map(Some)
}

/// Writes all tables, then what shows them; answers their bytes. Whatever others are there are hidden first.
///
/// # Errors
/// If something cannot be written.
pub(crate) fn write(folder: &Folder, parts: &[Part], natives: &[Natives], record: &Record) -> Result<u64, EngineError> {
    if folder.exists(RECORD)? {
        folder.remove(METADATA)?;
        for entry in folder.names("")?.into_iter().filter(|entry| entry.name != ".frazil") {
            folder.remove(&entry.name)?;
        }
    }
    // First of all: by it a folder without its metadata is known as ours.
    folder.put(RECORD, record.to_text()?.as_bytes())?;
    let (mut n_bytes, mut record) = (0, record.clone());
    for (part, natives) in parts.iter().zip(natives) {
        for (number, target) in part.laid.targets.iter().enumerate() {
            let array = format!("{}{}", part.prefix, target.path);
            let written = tables(folder, part, natives, number, array.trim_start_matches('/'))?;
            n_bytes += written.values().map(|stored| stored.length).sum::<u64>();
            record.objects.extend(written);
        }
    }
    let metadata = consolidated(&documents(parts)?, &format!(",\"record_size\":{RECORD_ROWS}"));
    record.objects.insert(METADATA.to_owned(), Stored::of(metadata.as_bytes()));
    folder.put(RECORD, record.to_text()?.as_bytes())?;
    folder.sync(Some(".frazil"))?;
    folder.sync(None)?;
    folder.put(METADATA, metadata.as_bytes())?;
    folder.sync(None)?;
    Ok(n_bytes)
}

/// The tables of one array, as they were written.
fn tables(
    folder: &Folder,
    part: &Part,
    natives: &Natives,
    number: usize,
    array: &str,
) -> Result<BTreeMap<String, Stored>, EngineError> {
    let (mut table, mut record, mut written) = (TableWriter::default(), 0_u64, BTreeMap::new());
    let mut put = |table: TableWriter, record: u64| -> Result<(), EngineError> {
        let failed = |error: frazil_formats::FormatError| EngineError::Document { reason: error.to_string() };
        let mut table = table;
        // A reader takes a row by its number: files are of one length, the last one too.
        table.missing_to(usize::try_from(RECORD_ROWS).unwrap_or(usize::MAX));
        let bytes = table.finish().map_err(failed)?;
        let key = format!("{array}/refs.{record}.parq");
        folder.put(&key, &bytes)?;
        written.insert(key, Stored::of(&bytes));
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
    Ok(written)
}
