//! Page indexes of Parquet files, looked at before they are decoded: which pages a column chunk has, where
//! they are, which rows they begin with, and what is in them. As with footers, the decoder makes room for
//! as many pages as an index claims to have; and it fetches pages from where the index says they are, and
//! takes rows by it.

use parquet::file::metadata::ColumnChunkMetaData;

use super::footer::place;
use super::thrift::{COLUMN_INDEX, Input, OFFSET_INDEX, PAGE_LOCATION, Type};
use crate::{Error, Result};

/// A page of a column chunk, as its offset index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageLocation {
    /// Where its header begins in the file.
    pub(super) offset: u64,
    /// The row of the row group that it begins with.
    pub(super) first_row: i64,
}

/// Reads the offset index of a column chunk in a row group of so many rows.
pub(super) fn offset_index(
    bytes: &[u8],
    chunk: &ColumnChunkMetaData,
    rows: i64,
) -> Result<Vec<PageLocation>> {
    let place = place(chunk).unwrap_or_default();
    let mut locations: Vec<PageLocation> = Vec::new();
    // The end of the page before, and the row that it begins with.
    let mut before = (place.start, 0);
    Input(bytes).fields(0, |input, id, ty| {
        if id != 1 {
            return OFFSET_INDEX.pass(input, id, ty, 1);
        }
        ty.must_be(Type::List)?;
        for at in 0..input.list_of(Type::Struct)? {
            let (mut offset, mut size, mut first_row) = (-1, -1, -1);
            input.fields(2, |input, id, ty| {
                match (id, ty) {
                    (1, Type::Number) => offset = input.number()?,
                    (2, Type::Number) => size = input.number()?,
                    (3, Type::Number) => first_row = input.number()?,
                    _ => PAGE_LOCATION.pass(input, id, ty, 3)?,
                }
                Ok(())
            })?;
            let begin = u64::try_from(offset).ok();
            let length = i32::try_from(size).ok().filter(|size| *size >= 0);
            let end = begin
                .zip(length)
                .and_then(|(begin, length)| begin.checked_add(length.unsigned_abs().into()));
            let in_place = begin.is_some_and(|begin| begin >= before.0)
                && end.is_some_and(|end| end <= place.end);
            let in_order = match at {
                0 => first_row == 0,
                _ => (before.1..=rows).contains(&first_row),
            };
            let (Some(offset), Some(end), true, true) = (begin, end, in_place, in_order) else {
                return Err(
                    Error::corrupt("an offset index has a page where none can be")
                        .with("page", at)
                        .with("offset", offset)
                        .with("size", size)
                        .with("first-row", first_row)
                        .with("rows", rows),
                );
            };
            before = (end, first_row);
            locations.push(PageLocation { offset, first_row });
        }
        Ok(())
    })?;
    if locations.is_empty() && rows > 0 {
        return Err(Error::corrupt("an offset index has no pages").with("rows", rows));
    }
    Ok(locations)
}

/// Checks a column index, and gives the number of its pages.
pub(super) fn check_column_index(bytes: &[u8]) -> Result<usize> {
    let mut pages = None;
    let mut same = |count: usize| match *pages.get_or_insert(count) == count {
        true => Ok(()),
        false => Err(
            Error::corrupt("the lists of a column index have different lengths")
                .with("length", count),
        ),
    };
    Input(bytes).fields(0, |input, id, ty| match id {
        // Whether all of a page is NULL.
        1 => {
            ty.must_be(Type::List)?;
            let count = input.list_of(Type::Bool)?;
            same(count)?;
            (0..count).try_for_each(|_| input.skip(Type::Bool, 1))
        }
        // The least and the greatest value of each page.
        2 | 3 => {
            ty.must_be(Type::List)?;
            let count = input.list_of(Type::Binary)?;
            same(count)?;
            (0..count).try_for_each(|_| input.skip(Type::Binary, 1))
        }
        // How many NULLs each page has.
        5 => {
            ty.must_be(Type::List)?;
            let count = input.list_of(Type::Number)?;
            same(count)?;
            (0..count).try_for_each(|_| input.skip(Type::Number, 1))
        }
        _ => COLUMN_INDEX.pass(input, id, ty, 1),
    })?;
    pages.ok_or_else(|| Error::corrupt("a column index has no pages"))
}

#[cfg(test)]
mod tests;
