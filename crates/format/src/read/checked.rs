//! Parquet files whose bytes are checked before a decoder sees them.
//!
//! The decoders of Parquet believe what a file says of itself: they reserve memory for as many things as
//! it claims to have, add up places without looking whether they are in the file, and take rows from where
//! an index says that they are. [`CheckedParquet`] stands between such a decoder and the store, whichever
//! decoder it is, and holds all that is fetched against the file's size and its footer first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::footer::{self, place};
use super::page_index::{self, PageLocation};
use super::pages;
use crate::{Error, Result};

/// A Parquet file that is checked as it is read.
///
/// What it cannot vouch for is a value that has become another value of its type, bounds and bits of bloom
/// filters by which pages are left out, and first rows of pages that are left out: there are no checksums.
///
/// # Errors
/// Its methods give what is damaged as [`ParquetError::External`] around an [`Error`] of the kind
/// [`Corrupt`](crate::ErrorKind::Corrupt) without the file's path, and errors of the file below as they are.
#[derive(Debug, Clone)]
pub struct CheckedParquet<R> {
    input: R,
    size: u64,
    hint: u64,
    known: Arc<Known>,
}

/// What is known of a file from what was read of it. Readers of the same file share it, so that one may
/// read pages by what another learned from the footer and the page index.
#[derive(Debug, Default)]
pub struct Known {
    footer: OnceLock<Places>,
    locations: Mutex<Locations>,
}

/// Where the pages are of column chunks whose offset index was read, by row group and column.
type Locations = HashMap<(usize, usize), Arc<[PageLocation]>>;

/// Column chunks are apart from each other; so many around the same bytes cost more to check than to read.
const MOST_AROUND: usize = 16;

impl<R: AsyncFileReader> CheckedParquet<R> {
    /// A file of `size` bytes of which nothing is known yet. `hint` is how many bytes to fetch first for a
    /// footer; most have less than the default of 64 KiB.
    pub fn new(input: R, size: u64, hint: Option<usize>) -> Self {
        Self::sharing(input, size, hint, Arc::default())
    }

    /// The same, with what other readers of the file know.
    pub fn sharing(input: R, size: u64, hint: Option<usize>, known: Arc<Known>) -> Self {
        Self {
            input,
            size,
            hint: hint.map_or(footer::HINT, |hint| hint as u64),
            known,
        }
    }

    /// Takes a footer that [`load_footer`](Self::load_footer) gave for the same file before.
    pub fn know(&self, footer: &Arc<ParquetMetaData>) {
        self.known.places(footer);
    }

    /// The file below.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Reads the footer, without page indexes.
    ///
    /// # Errors
    /// If it cannot be read, claims what cannot be, or places a column outside of the file.
    pub async fn load_footer(&mut self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        let footer = footer::load(&mut self.input, self.size, self.hint).await?;
        let footer = Arc::new(footer);
        self.known.places(&footer);
        Ok(footer)
    }

    async fn fetch(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, ParquetError> {
        // A store has no word of its own for a range that a file does not have, so one that is outside of
        // it would look like a store that failed and may be asked again. None takes a range without bytes.
        for range in &ranges {
            if range.start >= range.end || range.end > self.size {
                return Err(outer(
                    Error::corrupt("something of the file has an impossible place in it")
                        .with("begin", range.start)
                        .with("end", range.end)
                        .with("file-size", self.size),
                ));
            }
        }
        let footer = self.get_metadata(None).await?;
        let places = self.known.places(&footer);
        let fetched = self.input.get_byte_ranges(ranges.clone()).await?;
        let checked = ranges.iter().zip(fetched).map(|(range, bytes)| {
            if bytes.len() as u64 != range.end - range.start {
                return Err(Error::corrupt("the file is shorter than it should be")
                    .with("begin", range.start)
                    .with("end", range.end)
                    .with("found", bytes.len()));
            }
            self.known.check(places, range, bytes)
        });
        checked.collect::<Result<_>>().map_err(outer)
    }
}

fn outer(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl<R: AsyncFileReader> AsyncFileReader for CheckedParquet<R> {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let fetched = self.fetch(vec![range]);
        fetched
            .map(|fetched| Ok(fetched?.pop().unwrap_or_default()))
            .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        self.fetch(ranges).boxed()
    }

    /// The footer, without page indexes: decoders ask for them when they need them.
    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            match self.known.footer.get() {
                Some(places) => Ok(places.footer.clone()),
                None => self.load_footer().await,
            }
        }
        .boxed()
    }
}

impl Known {
    fn places(&self, footer: &Arc<ParquetMetaData>) -> &Places {
        self.footer.get_or_init(|| Places::new(footer.clone()))
    }

    /// Checks bytes of the file, and gives them as a decoder may have them.
    fn check(&self, places: &Places, range: &Range<u64>, bytes: Bytes) -> Result<Bytes> {
        for (count, at) in places.chunks.around(range).enumerate() {
            if count == MOST_AROUND {
                return Err(Error::corrupt("the columns of a file lie in each other")
                    .with("begin", range.start)
                    .with("end", range.end));
            }
            let chunk = places.chunk(at);
            let known = self.locations().get(&(at.group, at.column)).cloned();
            pages::check(&pages::Part {
                chunk,
                rows: places.footer.row_group(at.group).num_rows(),
                start: range.start,
                bytes: &bytes,
                locations: known.as_deref(),
            })
            .map_err(|error| named(error, chunk))?;
        }
        self.check_indexes(places, range, bytes)
    }

    /// Checks the page indexes that are in these bytes. An offset index that cannot be right is blanked: the
    /// decoder then goes without page indexes, and reads whole column chunks. Some writers leave places and
    /// rows out of it, for pages or columns without values.
    fn check_indexes(&self, places: &Places, range: &Range<u64>, bytes: Bytes) -> Result<Bytes> {
        let mut pages = HashMap::new();
        let mut blank = Vec::new();
        let within: Vec<_> = places.indexes.within(range).collect();
        for (at, inside) in within.iter().filter(|(at, _)| at.kind == Kind::ColumnIndex) {
            let count = page_index::check_column_index(&bytes[inside.clone()])
                .map_err(|error| named(error, places.chunk(*at)))?;
            pages.insert((at.group, at.column), count);
        }
        for (at, inside) in within.iter().filter(|(at, _)| at.kind == Kind::OffsetIndex) {
            let of = (at.group, at.column);
            let rows = places.footer.row_group(at.group).num_rows();
            let chunk = places.chunk(*at);
            // One says what is in the pages, the other where they are.
            let found = page_index::offset_index(&bytes[inside.clone()], chunk, rows).ok();
            let found =
                found.filter(|found| pages.get(&of).is_none_or(|pages| *pages == found.len()));
            match found {
                Some(found) => {
                    self.locations().insert(of, found.into());
                }
                None => blank.push(inside.clone()),
            }
        }
        if blank.is_empty() {
            return Ok(bytes);
        }
        let mut usable = Vec::from(bytes);
        for place in blank {
            usable[place].fill(0);
        }
        Ok(usable.into())
    }

    fn locations(&self) -> MutexGuard<'_, Locations> {
        let locations = self.locations.lock();
        locations.unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(error: Error, chunk: &ColumnChunkMetaData) -> Error {
    error.with("column", chunk.column_path().string())
}

/// Where things are in a file.
#[derive(Debug)]
struct Places {
    footer: Arc<ParquetMetaData>,
    chunks: Ranges,
    indexes: Ranges,
}

/// What is in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chunk,
    ColumnIndex,
    OffsetIndex,
}

#[derive(Debug, Clone, Copy)]
struct At {
    group: usize,
    column: usize,
    kind: Kind,
}

impl Places {
    fn new(footer: Arc<ParquetMetaData>) -> Self {
        let (mut chunks, mut indexes) = (Vec::new(), Vec::new());
        for (group, row_group) in footer.row_groups().iter().enumerate() {
            for (column, chunk) in row_group.columns().iter().enumerate() {
                let at = |kind| At {
                    group,
                    column,
                    kind,
                };
                chunks.extend(place(chunk).map(|range| (range, at(Kind::Chunk))));
                let columns = (chunk.column_index_offset(), chunk.column_index_length());
                let offsets = (chunk.offset_index_offset(), chunk.offset_index_length());
                for ((offset, length), kind) in
                    [(columns, Kind::ColumnIndex), (offsets, Kind::OffsetIndex)]
                {
                    let start = offset.and_then(|offset| u64::try_from(offset).ok());
                    let length = length.and_then(|length| u64::try_from(length).ok());
                    if let Some((start, length)) = start.zip(length) {
                        indexes.push((start..start + length, at(kind)));
                    }
                }
            }
        }
        Self {
            footer,
            chunks: Ranges::new(chunks),
            indexes: Ranges::new(indexes),
        }
    }

    fn chunk(&self, at: At) -> &ColumnChunkMetaData {
        self.footer.row_group(at.group).column(at.column)
    }
}

/// Ranges of a file in the order of their beginnings. In a whole file they are apart from each other, but
/// nothing says that this one is.
#[derive(Debug)]
struct Ranges {
    sorted: Vec<(Range<u64>, At)>,
    /// The greatest end of a range and of all before it.
    ends: Vec<u64>,
}

impl Ranges {
    fn new(mut sorted: Vec<(Range<u64>, At)>) -> Self {
        sorted.sort_by_key(|(range, _)| range.start);
        let mut greatest = 0;
        let ends = sorted.iter().map(|(range, _)| {
            greatest = range.end.max(greatest);
            greatest
        });
        let ends = ends.collect();
        Self { sorted, ends }
    }

    /// Those that this range is in.
    fn around(&self, range: &Range<u64>) -> impl Iterator<Item = At> {
        let begin_before = self
            .sorted
            .partition_point(|(own, _)| own.start <= range.start);
        let reaching = move |at: &usize| self.ends[*at] >= range.end;
        let candidates = (0..begin_before).rev().take_while(reaching);
        candidates
            .map(|at| &self.sorted[at])
            .filter(|(own, _)| own.end >= range.end)
            .map(|(_, at)| *at)
    }

    /// Those that are in this range, and where in it.
    fn within(&self, range: &Range<u64>) -> impl Iterator<Item = (At, Range<usize>)> {
        let first = self
            .sorted
            .partition_point(|(own, _)| own.start < range.start);
        let begun = self.sorted[first..]
            .iter()
            .take_while(|(own, _)| own.start < range.end);
        begun
            .filter(|(own, _)| own.end <= range.end)
            .map(|(own, at)| {
                let inside = own.start - range.start..own.end - range.start;
                (*at, inside.start as usize..inside.end as usize)
            })
    }
}

#[cfg(test)]
mod tests;
