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
    /// Each with the number of steps in which it was joined; none for a whole one.
    batches: Vec<(Option<u8>, RecordBatch)>,
    rows: usize,
    bytes: usize,
    headers: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The bytes of the rows alone: what there is to encode.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory that the batches take, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.headers
    }

    /// Adds a batch whose rows have so many bytes.
    pub(super) fn push(
        &mut self,
        schema: &ArrowSchemaRef,
        batch: RecordBatch,
        bytes: usize,
    ) -> Result<()> {
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.headers += headers(&batch);
        let whole = batch.num_rows() >= WHOLE;
        self.batches.push(((!whole).then_some(0), batch));
        while self.join_last(schema)? {}
        Ok(())
    }

    /// Joins the last batches if there are enough of one step.
    fn join_last(&mut self, schema: &ArrowSchemaRef) -> Result<bool> {
        let Some(from) = self.batches.len().checked_sub(JOINED) else {
            return Ok(false);
        };
        let last = self.batches.get(from..).unwrap_or_default();
        let Some((Some(step), _)) = last.first() else {
            return Ok(false);
        };
        if last.iter().any(|(other, _)| *other != Some(*step)) {
            return Ok(false);
        }
        let joined = concat_batches(schema, last.iter().map(|(_, batch)| batch))?;
        let before: usize = last.iter().map(|(_, batch)| headers(batch)).sum();
        let step = (joined.num_rows() < WHOLE).then(|| step.saturating_add(1));
        self.headers = self.headers.saturating_sub(before) + headers(&joined);
        self.batches.truncate(from);
        self.batches.push((step, joined));
        Ok(true)
    }

    /// Gives all batches, joined to one where they are small, and the number of their rows.
    pub(super) fn take(&mut self, schema: &ArrowSchemaRef) -> Result<(Vec<RecordBatch>, usize)> {
        let Self { batches, rows, .. } = std::mem::take(self);
        let mut batches: Vec<_> = batches.into_iter().map(|(_, batch)| batch).collect();
        if batches.len() > 1 && rows / batches.len() < WHOLE {
            batches = vec![concat_batches(schema, &batches)?];
        }
        Ok((batches, rows))
    }

    #[cfg(test)]
    pub(super) fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.batches.iter().map(|(_, batch)| batch)
    }
}

/// The bytes of a batch's rows, not those of the buffers that it may share with others.
pub(super) fn slice_memory(batch: &RecordBatch) -> Result<usize> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()?;
    }
    Ok(bytes)
}

/// What a batch takes beside the bytes of its rows.
fn headers(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let arrays: usize = columns.map(|column| array_headers(&column.to_data())).sum();
    arrays + batch.num_columns() * size_of::<ArrayRef>() + size_of::<RecordBatch>()
}

fn array_headers(array: &ArrayData) -> usize {
    let buffers = array.buffers().len() + usize::from(array.nulls().is_some());
    let children: usize = array.child_data().iter().map(array_headers).sum();
    ARRAY + BUFFER * buffers + children
}
