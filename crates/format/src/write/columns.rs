//! The columns of a row group while it is written, each with its encoder.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use tokio::task::JoinHandle;

use super::metrics;
use crate::{Error, Result};

/// One top-level column of the row group under way.
pub(super) struct Column {
    pub state: ColumnState,
    /// Its sizes before the chunk that is being encoded.
    pub last: Sizes,
}

pub(super) enum ColumnState {
    Idle(ColumnEncoder),
    Busy(JoinHandle<Result<ColumnEncoder>>),
    /// Only while a step fails half-way; the file is lost then.
    Gone,
}

/// Bytes of rows that were encoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    /// In the file.
    pub encoded: usize,
    /// In memory.
    pub memory: usize,
}

impl Column {
    pub(super) fn idle(encoder: ColumnEncoder) -> Self {
        Self {
            state: ColumnState::Idle(encoder),
            last: Sizes::default(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, ColumnState::Idle(_))
    }

    /// Takes the encoder as soon as it has finished its chunk.
    pub(super) async fn settle(&mut self) -> Result<ColumnEncoder> {
        match std::mem::replace(&mut self.state, ColumnState::Gone) {
            ColumnState::Idle(encoder) => Ok(encoder),
            ColumnState::Busy(task) => task.await.map_err(|error| stopped().source_error(error))?,
            ColumnState::Gone => Err(Error::internal("a file is written on after it failed")),
        }
    }
}

/// Encodes one top-level column.
pub(super) struct ColumnEncoder {
    at: usize,
    leaves: Vec<ArrowColumnWriter>,
    nans: Vec<u64>,
    count_nans: bool,
}

/// A column of a row group, encoded.
pub(super) struct EncodedColumn {
    /// Which top-level column.
    pub at: usize,
    pub leaves: Vec<ArrowColumnChunk>,
    /// How many NaNs each leaf has.
    pub nans: Vec<u64>,
}

impl ColumnEncoder {
    pub(super) fn new(at: usize, leaves: Vec<ArrowColumnWriter>, count_nans: bool) -> Self {
        let nans = vec![0; leaves.len()];
        Self {
            at,
            leaves,
            nans,
            count_nans,
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        let of = |size: fn(&ArrowColumnWriter) -> usize| self.leaves.iter().map(size).sum();
        Sizes {
            encoded: of(ArrowColumnWriter::get_estimated_total_bytes),
            memory: of(ArrowColumnWriter::memory_size),
        }
    }

    pub(super) fn encode(mut self, schema: &Schema, batches: &[RecordBatch]) -> Result<Self> {
        let field = schema.field(self.at);
        for batch in batches {
            let array = batch.column(self.at);
            for (writer, leaf) in self.leaves.iter_mut().zip(compute_leaves(field, array)?) {
                writer.write(&leaf)?;
            }
            if self.count_nans {
                metrics::count_nans(array, &mut self.nans)?;
            }
        }
        Ok(self)
    }

    /// Encodes what is left of the column.
    pub(super) fn close(self) -> Result<EncodedColumn> {
        let leaves = self.leaves.into_iter().map(|leaf| Ok(leaf.close()?));
        Ok(EncodedColumn {
            at: self.at,
            leaves: leaves.collect::<Result<_>>()?,
            nans: self.nans,
        })
    }
}

pub(super) fn stopped() -> Error {
    Error::internal("a task that encodes a column has stopped")
}
