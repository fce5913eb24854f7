//! The end of a row group, which goes on beside the beginning of the next one.

use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedFileWriter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::columns::{Column, ColumnEncoder, EncodedColumn, stopped};
use crate::Result;

/// Writes a file into memory, from where it is taken for the upload.
pub(super) type ParquetWriter = SerializedFileWriter<Vec<u8>>;

/// What comes after a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    More,
    Footer,
}

/// A row group that was written.
pub(super) struct Ended {
    pub writer: ParquetWriter,
    /// What the file has grown by.
    pub bytes: Bytes,
    /// The NaNs of each top-level column, by its place.
    pub nans: Vec<(usize, Vec<u64>)>,
    /// The file's footer, if it has been written.
    pub footer: Option<ParquetMetaData>,
}

/// Waits for the columns' last chunks, closes them side by side and writes them in their order.
pub(super) async fn end(
    writer: ParquetWriter,
    columns: Vec<Column>,
    then: Then,
    permits: Arc<Semaphore>,
    expected: usize,
) -> Result<Ended> {
    if columns.iter().all(|column| column.is_idle()) {
        // Crumbs, or nothing at all: handing out columns would cost more than closing them.
        let mut encoders = Vec::with_capacity(columns.len());
        for mut column in columns {
            encoders.push(column.settle().await?);
        }
        let close =
            move || -> Result<Vec<_>> { encoders.into_iter().map(ColumnEncoder::close).collect() };
        return write_with(&permits, move || write(writer, close()?, then, expected)).await;
    }
    // Each column is closed as soon as its own last chunk is encoded.
    let mut closing: Vec<JoinHandle<Result<EncodedColumn>>> = Vec::with_capacity(columns.len());
    for mut column in columns {
        let encoder = column.settle().await?;
        let permit = permit(&permits).await?;
        closing.push(tokio::task::spawn_blocking(move || {
            let encoded = encoder.close();
            drop(permit);
            encoded
        }));
    }
    let mut encoded = Vec::with_capacity(closing.len());
    for column in closing {
        encoded.push(
            column
                .await
                .map_err(|error| stopped().source_error(error))??,
        );
    }
    write_with(&permits, move || write(writer, encoded, then, expected)).await
}

async fn write_with(
    permits: &Arc<Semaphore>,
    step: impl FnOnce() -> Result<Ended> + Send + 'static,
) -> Result<Ended> {
    let permit = permit(permits).await?;
    let step = move || {
        let ended = step();
        drop(permit);
        ended
    };
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|error| stopped().source_error(error))?
}

fn write(
    mut writer: ParquetWriter,
    columns: Vec<EncodedColumn>,
    then: Then,
    expected: usize,
) -> Result<Ended> {
    // A vector that grows by doubling could take twice the row group's size.
    writer.inner_mut().reserve(expected);
    let mut nans = Vec::with_capacity(columns.len());
    if !columns.is_empty() {
        let mut group = writer.next_row_group()?;
        for column in columns {
            for leaf in column.leaves {
                leaf.append_to_row_group(&mut group)?;
            }
            nans.push((column.at, column.nans));
        }
        group.close()?;
    }
    let footer = match then {
        Then::Footer => Some(writer.finish()?),
        Then::More => None,
    };
    writer.flush()?;
    let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
    Ok(Ended {
        writer,
        bytes,
        nans,
        footer,
    })
}

async fn permit(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let permits = permits.clone();
    permits.acquire_owned().await.map_err(|_| stopped())
}
