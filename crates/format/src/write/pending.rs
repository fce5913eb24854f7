//! Rows that wait for the encoders of a file.
//!
//! A batch that is split over many partitions leaves a few rows for each. Such a crumb takes far more
//! memory for its arrays and buffers than for its rows, so both are counted, and crumbs are joined as
//! they come: eight of them to one, eight such to one, and so on. A row is copied once for each step,
//! and a file never holds more than a few dozen crumbs.

use arrow::array::{ArrayData, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;

use crate::Result;

/// So many batches of one step are joined.
const JOINED: usize = 8;
/// A batch of so many rows is worth encoding by itself, and is not copied.
const WHOLE: usize = 1024;
/// What an array takes beside its buffers: itself behind an `Arc`, with its type.
const ARRAY: usize = 160;
/// What a buffer takes beside its bytes: who frees it behind an `Arc`, and the filling to 64 bytes.
const BUFFER: usize = 128;

/// Batches of one schema, in their order.
#[derive(Default)]
pub(super) struct Pending {
    batches: Vec<Waiting>,
    rows: usize,
    size: Size,
}

struct Waiting {
    batch: RecordBatch,
    /// What it takes beside its rows.
    headers: usize,
    /// In how many steps it was joined; none for a whole one.
    step: Option<u8>,
}

/// What a batch takes in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// Its rows, without what it may share with other batches.
    pub bytes: usize,
    /// Its arrays and buffers.
    pub headers: usize,
}

impl Size {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let mut size = Self {
            bytes: 0,
            headers: size_of::<RecordBatch>() + batch.num_columns() * size_of::<ArrayRef>(),
        };
        for column in batch.columns() {
            let array = column.to_data();
            size.bytes += array.get_slice_memory_size()?;
            size.headers += headers(&array);
        }
        Ok(size)
    }
}

fn headers(array: &ArrayData) -> usize {
    let buffers = array.buffers().len() + usize::from(array.nulls().is_some());
    let children: usize = array.child_data().iter().map(headers).sum();
    ARRAY + BUFFER * buffers + children
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The bytes of the rows alone: what there is to encode.
    pub(super) fn bytes(&self) -> usize {
        self.size.bytes
    }

    /// The memory that the batches take, about.
    pub(super) fn memory(&self) -> usize {
        self.size.bytes + self.size.headers
    }

    /// Adds a batch of this size.
    pub(super) fn push(
        &mut self,
        schema: &ArrowSchemaRef,
        batch: RecordBatch,
        size: Size,
    ) -> Result<()> {
        self.rows += batch.num_rows();
        self.size.bytes += size.bytes;
        self.size.headers += size.headers;
        self.batches.push(Waiting {
            headers: size.headers,
            step: (batch.num_rows() < WHOLE).then_some(0),
            batch,
        });
        while self.join_last(schema)? {}
        Ok(())
    }

    /// Joins the last batches if there are enough of one step.
    fn join_last(&mut self, schema: &ArrowSchemaRef) -> Result<bool> {
        let Some(from) = self.batches.len().checked_sub(JOINED) else {
            return Ok(false);
        };
        let last = self.batches.get(from..).unwrap_or_default();
        let Some(step) = last.first().and_then(|first| first.step) else {
            return Ok(false);
        };
        if last.iter().any(|other| other.step != Some(step)) {
            return Ok(false);
        }
        let before: usize = last.iter().map(|waiting| waiting.headers).sum();
        let batch = concat_batches(schema, last.iter().map(|waiting| &waiting.batch))?;
        let headers = Size::of(&batch)?.headers;
        self.size.headers = self.size.headers.saturating_sub(before) + headers;
        self.batches.truncate(from);
        self.batches.push(Waiting {
            headers,
            step: (batch.num_rows() < WHOLE).then(|| step.saturating_add(1)),
            batch,
        });
        Ok(true)
    }

    /// Gives all batches, joined to one where they are small, and the number of their rows.
    pub(super) fn take(&mut self, schema: &ArrowSchemaRef) -> Result<(Vec<RecordBatch>, usize)> {
        let Self { batches, rows, .. } = std::mem::take(self);
        let mut batches: Vec<_> = batches.into_iter().map(|waiting| waiting.batch).collect();
        if batches.len() > 1 && rows / batches.len() < WHOLE {
            batches = vec![concat_batches(schema, &batches)?];
        }
        Ok((batches, rows))
    }

    #[cfg(test)]
    pub(super) fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.batches.iter().map(|waiting| &waiting.batch)
    }
}
