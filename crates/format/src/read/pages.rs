//! Pages of Parquet files, looked at before they are decoded.
//!
//! A page has no checksum that is checked, and the decoder makes room for as many values as a dictionary
//! or an encoding claims to have, before it looks for them. Memory that cannot be had kills the process,
//! so what a page claims is held against its bytes and against the footer, for each column chunk as it
//! is fetched. Values are passed over. Only pages whose encoding counts values of its own (the delta
//! encodings of texts) and those of columns in lists are decompressed for it: rows of the latter begin
//! where a repetition level is 0, and a reader that skips rows waits without end for levels that are
//! not there.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::footer::place;
use super::levels::rows_begun;
use super::page_index::PageLocation;
use super::thrift::{DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, Input, PAGE_HEADER, Type};
use crate::{Error, Result};

/// Pages may be as large whatever the footer says of the size of all of them.
const LARGE_PAGE: i64 = 64 * 1024 * 1024;
/// Encodings of texts that begin with numbers of their own, as they stand in page headers.
const COUNTING: [i64; 2] = [
    Encoding::DELTA_LENGTH_BYTE_ARRAY as i64,
    Encoding::DELTA_BYTE_ARRAY as i64,
];

/// Bytes of a column chunk: the whole of it, or some of its pages.
pub(super) struct Part<'a> {
    pub(super) chunk: &'a ColumnChunkMetaData,
    /// The rows of the row group.
    pub(super) rows: i64,
    /// Where the bytes are in the file. A page begins there.
    pub(super) start: u64,
    pub(super) bytes: &'a Bytes,
    /// Where the pages of the chunk are, if it was read.
    pub(super) locations: Option<&'a [PageLocation]>,
}

/// What the header of a page says. Sizes are in bytes.
#[derive(Debug, Default)]
struct Header {
    size: i64,
    compressed: i64,
    dictionary: Option<i64>,
    data: Option<Data>,
}

/// What the header of a data page says.
#[derive(Debug, Default, Clone, Copy)]
struct Data {
    values: i64,
    encoding: i64,
    /// Only the second version says it.
    rows: Option<i64>,
}

impl Header {
    /// The decoder goes by the type of the page, and has numbers of 32 bits.
    fn read(input: &mut Input<'_>) -> Result<Self> {
        let mut header = Self::default();
        let (mut ty_of_page, mut structs) = (None, Vec::new());
        input.fields(0, |input, id, ty| {
            match (id, ty) {
                (1, Type::Number) => ty_of_page = Some(small(input)?),
                (2, Type::Number) => header.size = small(input)?,
                (3, Type::Number) => header.compressed = small(input)?,
                (5 | 7 | 8, Type::Struct) => {
                    structs.push(id);
                    let (of, at_encoding) = match id {
                        5 => (&DATA_PAGE, 2),
                        7 => (&DICTIONARY_PAGE, 2),
                        _ => (&DATA_PAGE_V2, 4),
                    };
                    let mut data = Data::default();
                    let is_second = id == 8;
                    input.fields(1, |input, id, ty| {
                        match (id, ty) {
                            (1, Type::Number) => data.values = small(input)?,
                            (3, Type::Number) if is_second => data.rows = Some(small(input)?),
                            (id, Type::Number) if id == at_encoding => {
                                data.encoding = small(input)?;
                            }
                            _ => of.pass(input, id, ty, 2)?,
                        }
                        Ok(())
                    })?;
                    match id {
                        7 => header.dictionary = Some(data.values),
                        _ => header.data = Some(data),
                    }
                }
                _ => PAGE_HEADER.pass(input, id, ty, 1)?,
            }
            Ok(())
        })?;
        match (ty_of_page, &structs[..]) {
            (Some(0), [5]) | (Some(1), []) | (Some(2), [7]) | (Some(3), [8]) => Ok(header),
            _ => Err(
                Error::corrupt("a page is not of the type that its header says")
                    .with("type", format!("{ty_of_page:?}"))
                    .with("headers", format!("{structs:?}")),
            ),
        }
    }
}

fn small(input: &mut Input<'_>) -> Result<i64> {
    let number = input.number()?;
    match i32::try_from(number) {
        Ok(number) => Ok(number.into()),
        Err(_) => {
            Err(Error::corrupt("a number of a page header is too great").with("number", number))
        }
    }
}

/// Checks what the pages of a chunk claim.
pub(super) fn check(part: &Part<'_>) -> Result<()> {
    let Part {
        chunk,
        rows,
        start,
        bytes,
        ..
    } = *part;
    let mut input = Input(bytes);
    let (mut values, mut counts) = (0i64, false);
    let mut pages = Vec::new();
    let mut end = 0;
    while !input.0.is_empty() {
        end = bytes.len() - input.0.len();
        let header = match Header::read(&mut input) {
            Ok(header) => header,
            // Nobody looks behind the last page.
            Err(_) if values == chunk.num_values() => break,
            Err(error) => return Err(error),
        };
        let compressed = usize::try_from(header.compressed).ok();
        let inside = compressed.is_some_and(|size| input.take(size).is_ok());
        let excessive = header.size > LARGE_PAGE && header.size > chunk.uncompressed_size();
        if !inside || header.size < 0 || excessive {
            return Err(Error::corrupt("a page has an impossible size")
                .with("size", header.size)
                .with("compressed-size", header.compressed));
        }
        if let Some(count) = header.dictionary {
            check_dictionary(chunk, &header, count)?;
        }
        if let Some(data) = header.data {
            let count = data.values;
            let sum = (count >= 0).then(|| values.checked_add(count)).flatten();
            values = sum
                .filter(|sum| *sum <= chunk.num_values())
                .ok_or_else(|| {
                    Error::corrupt("the pages of a column have more values than its footer says")
                        .with("recorded", chunk.num_values())
                        .with("page", count)
                })?;
            counts |= COUNTING.contains(&data.encoding);
            pages.push(DataPage {
                offset: start + end as u64,
                values: count,
                rows: Some(count),
                rows_in_header: data.rows,
            });
        }
        end = bytes.len() - input.0.len();
    }
    // A column without lists has a value, or none, in each row. Where there are lists, rows are counted.
    let has_lists = chunk.column_descr().max_rep_level() > 0;
    if counts || has_lists {
        check_contents(chunk, start, bytes.slice(..end), &mut pages)?;
    }
    for page in &pages {
        if let (Some(rows), Some(in_header)) = (page.rows, page.rows_in_header)
            && rows != in_header
        {
            return Err(Error::corrupt("a page has other rows than its header says")
                .with("rows", rows)
                .with("recorded", in_header));
        }
    }
    let found = pages
        .iter()
        .try_fold(0i64, |sum, page| sum.checked_add(page.rows?));
    let whole = place(chunk) == Some(start..start + bytes.len() as u64);
    if whole && found.is_some_and(|found| found != rows) {
        return Err(Error::corrupt(
            "the pages of a column have another number of rows than their row group",
        )
        .with("found", found.unwrap_or_default())
        .with("rows", rows));
    }
    match part.locations {
        Some(locations) => check_locations(part, locations, &pages),
        None => Ok(()),
    }
}

/// A data page of a chunk.
struct DataPage {
    offset: u64,
    values: i64,
    /// The rows that begin in it; none where they cannot be counted.
    rows: Option<i64>,
    rows_in_header: Option<i64>,
}

fn check_dictionary(chunk: &ColumnChunkMetaData, header: &Header, count: i64) -> Result<()> {
    let size = match chunk.compression() {
        Compression::UNCOMPRESSED => header.compressed,
        _ => header.size,
    };
    let least = count.checked_mul(least_size(chunk));
    if least.is_some_and(|least| (0..=size).contains(&least)) {
        return Ok(());
    }
    Err(
        Error::corrupt("a dictionary has more values than bytes for them")
            .with("values", count)
            .with("size", size),
    )
}

/// Holds the pages that are in the bytes against those that the offset index names there. The decoder
/// takes pages and rows from where the index says that they are.
fn check_locations(part: &Part<'_>, locations: &[PageLocation], pages: &[DataPage]) -> Result<()> {
    let wrong = |offset: u64| {
        Error::corrupt("the offset index of a column says something else than its pages")
            .with("offset", offset)
    };
    let end = part.start + part.bytes.len() as u64;
    let mut pages = pages.iter().peekable();
    let named = locations.iter().enumerate();
    for (at, location) in named.filter(|(_, own)| (part.start..end).contains(&own.offset)) {
        // A page without values may be left out.
        while pages
            .next_if(|page| page.offset != location.offset && page.values == 0)
            .is_some()
        {}
        let behind = locations
            .get(at + 1)
            .map_or(part.rows, |next| next.first_row);
        match pages.next() {
            Some(page)
                if page.offset == location.offset
                    && page.rows.unwrap_or(behind - location.first_row)
                        == behind - location.first_row => {}
            _ => return Err(wrong(location.offset)),
        }
    }
    match pages.find(|page| page.values > 0) {
        Some(page) => Err(wrong(page.offset)),
        None => Ok(()),
    }
}

/// The bytes that a value of a dictionary has at least.
fn least_size(chunk: &ColumnChunkMetaData) -> i64 {
    match chunk.column_type() {
        PhysicalType::BOOLEAN => 1,
        PhysicalType::INT32 | PhysicalType::FLOAT | PhysicalType::BYTE_ARRAY => 4,
        PhysicalType::INT64 | PhysicalType::DOUBLE => 8,
        PhysicalType::INT96 => 12,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => i64::from(chunk.column_descr().type_length()).max(1),
    }
}

/// Checks encodings that count their values themselves, and counts the rows of columns in lists.
fn check_contents(
    chunk: &ColumnChunkMetaData,
    start: u64,
    bytes: Bytes,
    known: &mut [DataPage],
) -> Result<()> {
    let greatest = chunk.column_descr().max_rep_level();
    let mut known = known.iter_mut();
    let unreadable = |error| Error::corrupt("a page cannot be decompressed").source_error(error);
    let offset = i64::try_from(start).map_err(|_| cut())?;
    let size = i64::try_from(bytes.len()).map_err(|_| cut())?;
    let these = chunk.clone().into_builder();
    let these = these
        .set_dictionary_page_offset(None)
        .set_data_page_offset(offset)
        .set_total_compressed_size(size)
        .build()
        .map_err(unreadable)?;
    let bytes = Arc::new(Piece { start, bytes });
    let mut pages = SerializedPageReader::new(bytes, &these, 0, None).map_err(unreadable)?;
    while let Some(page) = pages.get_next_page().map_err(unreadable)? {
        let most = u64::from(page.num_values());
        let levels = match &page {
            Page::DictionaryPage { .. } => continue,
            Page::DataPage {
                buf,
                num_values,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let column = chunk.column_descr();
                let size = levels_size(Some(buf), *rep_level_encoding, greatest, *num_values)?;
                let repetition = buf.get(..size).ok_or_else(cut)?;
                if let Some(page) = known.next().filter(|_| greatest > 0) {
                    page.rows = match rep_level_encoding {
                        Encoding::RLE => Some(rows_begun(&repetition[4..], greatest, most)?),
                        _ => None,
                    };
                }
                let definition = column.max_def_level();
                let rest = buf.get(size..);
                size + levels_size(rest, *def_level_encoding, definition, *num_values)?
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let size = *rep_levels_byte_len as usize;
                let repetition = buf.get(..size).ok_or_else(cut)?;
                if let Some(page) = known.next().filter(|_| greatest > 0) {
                    page.rows = Some(rows_begun(repetition, greatest, most)?);
                }
                size.saturating_add(*def_levels_byte_len as usize)
            }
        };
        let values = page.buffer().get(levels..).ok_or_else(cut)?;
        match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                Deltas::begin(&mut Input(values), most)?;
            }
            Encoding::DELTA_BYTE_ARRAY => {
                let mut values = Input(values);
                // The lengths of what is shared with the text before, then those of the rest.
                let prefixes = Deltas::begin(&mut values, most)?;
                prefixes.skip(&mut values)?;
                Deltas::begin(&mut values, most)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The bytes of levels in a page of the first version.
fn levels_size(
    bytes: Option<&[u8]>,
    encoding: Encoding,
    greatest_level: i16,
    values: u32,
) -> Result<usize> {
    if greatest_level == 0 {
        return Ok(0);
    }
    if encoding == Encoding::RLE {
        let length = bytes.and_then(<[u8]>::first_chunk::<4>).ok_or_else(cut)?;
        return Ok((u32::from_le_bytes(*length) as usize).saturating_add(4));
    }
    // Packed as many bits each, which only old writers do.
    let bits = u64::from(u16::BITS - greatest_level.cast_unsigned().leading_zeros());
    let bytes = u64::from(values).saturating_mul(bits).div_ceil(8);
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Numbers in the encoding DELTA_BINARY_PACKED.
struct Deltas {
    count: u64,
    blocks: u64,
    of_block: u64,
}

impl Deltas {
    /// Reads how many there are: not more than values in the page.
    fn begin(input: &mut Input<'_>, most: u64) -> Result<Self> {
        let block = input.unsigned()?;
        let blocks = input.unsigned()?;
        let count = input.unsigned()?;
        input.number()?;
        if count > most {
            return Err(Error::corrupt("an encoding has more values than its page")
                .with("values", count)
                .with("page", most));
        }
        if blocks == 0 || block % blocks != 0 || blocks > input.0.len() as u64 && count > 1 {
            return Err(Error::corrupt("an encoding has blocks of impossible size")
                .with("size", block)
                .with("blocks", blocks));
        }
        Ok(Self {
            count,
            blocks,
            of_block: block / blocks,
        })
    }

    /// Goes behind the last of them.
    fn skip(&self, input: &mut Input<'_>) -> Result<()> {
        // The first one stands before the blocks.
        let mut left = self.count.saturating_sub(1);
        if left > 0 && self.of_block == 0 {
            return Err(cut());
        }
        while left > 0 {
            input.number()?;
            let widths = usize::try_from(self.blocks)
                .ok()
                .and_then(|blocks| input.0.get(..blocks));
            let widths = widths.ok_or_else(cut)?;
            input.take(widths.len())?;
            for width in widths {
                if left == 0 {
                    break;
                }
                let bits = u64::from(*width).saturating_mul(self.of_block);
                input.take(usize::try_from(bits / 8).unwrap_or(usize::MAX))?;
                left = left.saturating_sub(self.of_block);
            }
        }
        Ok(())
    }
}

fn cut() -> Error {
    Error::corrupt("a page is cut short")
}

/// Some bytes of a file, at their place in it.
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Piece {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let at = usize::try_from(start.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let mut bytes = self.bytes.clone();
        bytes.advance(at.min(bytes.len()));
        Ok(bytes.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut rest = self.get_read(start)?.into_inner();
        if rest.len() < length {
            return Err(ParquetError::EOF("a page is cut short".to_string()));
        }
        Ok(rest.split_to(length))
    }
}

#[cfg(test)]
mod tests;
