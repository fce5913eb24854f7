//! Footers of Parquet files, checked before they are decoded.
//!
//! The decoder reserves memory for as many things as a list claims to have, and goes as deep into a
//! schema as it is. Memory that cannot be had and a stack without end kill the process, so the footer
//! is walked first: it is a struct in Thrift's compact protocol, in which every element has a byte or
//! more. A field of another type than it must be is refused, because the decoder does not look at what a
//! field says it is, and would read on at another place.

use std::ops::Range;

use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{
    ColumnChunkMetaData, FooterTail, ParquetMetaData, ParquetMetaDataReader,
};

use super::thrift::{FILE_METADATA, Input, SCHEMA_ELEMENT, Type};
use crate::{Error, Result};

/// Most footers fit into this, so that one request fetches them.
pub(super) const HINT: u64 = 64 * 1024;
/// Groups of a schema in each other. A list is two of them, a map as well.
const GREATEST_NESTING: usize = 128;
/// Of `FileMetaData`, the list of schema elements in the order of a depth-first walk.
const SCHEMA: i64 = 2;
/// Of `SchemaElement`, how many of the elements behind it are its own.
const NUM_CHILDREN: i64 = 5;

/// Reads the footer of a file of this size, of which it fetches so many bytes first. All columns that it
/// speaks of are in the file.
pub(super) async fn load(
    input: &mut impl AsyncFileReader,
    size: u64,
    hint: u64,
) -> Result<ParquetMetaData, ParquetError> {
    let short = || ParquetError::EOF("the file is too short for a footer".to_string());
    if size < FOOTER_SIZE as u64 {
        return Err(short());
    }
    let tail = input
        .get_bytes(size.saturating_sub(hint.max(FOOTER_SIZE as u64))..size)
        .await?;
    let (footer, last) = tail.split_last_chunk::<FOOTER_SIZE>().ok_or_else(short)?;
    let last = FooterTail::try_new(last)?;
    if last.is_encrypted_footer() {
        return Err(ParquetError::NYI("the footer is encrypted".to_string()));
    }
    let length = last.metadata_length();
    let fetched;
    let footer = match footer.len().checked_sub(length) {
        Some(start) => &footer[start..],
        None => {
            let end = size.saturating_sub(FOOTER_SIZE as u64);
            let start = end.checked_sub(length as u64).ok_or_else(short)?;
            fetched = input.get_bytes(start..end).await?;
            &fetched[..]
        }
    };
    check(footer).map_err(|error| ParquetError::External(Box::new(error)))?;
    let footer = ParquetMetaDataReader::decode_metadata(footer)?;
    check_places(&footer, size).map_err(|error| ParquetError::External(Box::new(error)))?;
    Ok(footer)
}

/// Where a column chunk is in its file, if that can be.
pub(super) fn place(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let first = chunk.dictionary_page_offset();
    let start = u64::try_from(first.unwrap_or(chunk.data_page_offset())).ok()?;
    let size = u64::try_from(chunk.compressed_size()).ok()?;
    Some(start..start.checked_add(size)?)
}

fn check_places(footer: &ParquetMetaData, size: u64) -> Result<()> {
    let groups = footer.row_groups().iter();
    for chunk in groups.flat_map(|group| group.columns()) {
        if place(chunk).is_none_or(|place| place.end > size) {
            return Err(
                Error::corrupt("a column has an impossible place in its file")
                    .with("column", chunk.column_path().string())
                    .with(
                        "dictionary",
                        format!("{:?}", chunk.dictionary_page_offset()),
                    )
                    .with("offset", chunk.data_page_offset())
                    .with("size", chunk.compressed_size())
                    .with("file-size", size),
            );
        }
    }
    Ok(())
}

/// Checks what the decoder would believe.
fn check(footer: &[u8]) -> Result<()> {
    let mut nesting = Nesting::default();
    Input(footer).fields(0, |input, id, ty| {
        if id != SCHEMA {
            return FILE_METADATA.pass(input, id, ty, 1);
        }
        ty.must_be(Type::List)?;
        let count = input.list_of(Type::Struct)?;
        for at in 0..count {
            let mut children = 0;
            input.fields(2, |input, id, ty| {
                if id != NUM_CHILDREN {
                    return SCHEMA_ELEMENT.pass(input, id, ty, 3);
                }
                ty.must_be(Type::Number)?;
                children = input.number()?;
                Ok(())
            })?;
            nesting.element(children, count - at - 1)?;
        }
        Ok(())
    })
}

/// The groups around an element of the schema: how many children each of them still gets.
#[derive(Default)]
struct Nesting(Vec<i64>);

impl Nesting {
    fn element(&mut self, children: i64, behind: usize) -> Result<()> {
        if usize::try_from(children).map_or(true, |children| children > behind) {
            return Err(
                Error::corrupt("a group of the file's schema has an impossible size")
                    .with("children", children),
            );
        }
        if let Some(left) = self.0.last_mut() {
            *left -= 1;
        }
        self.0.push(children);
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        if self.0.len() > GREATEST_NESTING {
            return Err(Error::corrupt("the file's schema is too deep")
                .with("greatest-depth", GREATEST_NESTING));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
