//! Changes as batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use iceberg::spec::SchemaRef as IcebergSchemaRef;
use tokio::sync::mpsc;

use super::ChangeType;
use super::bag::{Changed, Origin};
use super::file::Columns;
use super::keys::Place;
use crate::Result;

/// Where batches go.
pub(super) struct Output {
    schema: SchemaRef,
    /// The places of the selected columns among those that were read.
    columns: Vec<usize>,
    batches: mpsc::Sender<RecordBatch>,
}

impl Output {
    pub(super) fn new(
        schema: &SchemaRef,
        selected: &IcebergSchemaRef,
        read: &Columns,
        batches: mpsc::Sender<RecordBatch>,
    ) -> Self {
        let place = |id: i32| {
            let mut fields = read.table.as_struct().fields().iter();
            fields.position(|field| field.id == id)
        };
        let fields = selected.as_struct().fields().iter();
        Self {
            schema: Arc::clone(schema),
            columns: fields.filter_map(|field| place(field.id)).collect(),
            batches,
        }
    }

    /// Sends rows as inserts or deletes; false if nobody reads any more.
    pub(super) async fn of_one_kind(&self, changed: &Changed) -> Result<bool> {
        let columns = self.columns.iter();
        let columns = columns.map(|at| Arc::clone(changed.batch.column(*at)));
        let change = (kind(changed), changed.origin);
        let changes = std::iter::repeat_n(change, changed.batch.num_rows());
        self.send(columns.collect(), changes).await
    }

    /// Sends deletes, then updates, then inserts; false if nobody reads any more.
    pub(super) async fn all(
        &self,
        rows: &[Changed],
        pairs: &[(Place, Place)],
        batch_size: usize,
    ) -> Result<bool> {
        let ordered = in_order(rows, pairs);
        for chunk in ordered.chunks(batch_size.max(1)) {
            let places: Vec<Place> = chunk.iter().map(|(_, place)| *place).collect();
            let column = |at: &usize| {
                let arrays = rows
                    .iter()
                    .map(|changed| changed.batch.column(*at).as_ref());
                let arrays: Vec<&dyn Array> = arrays.collect();
                interleave(&arrays, &places)
            };
            let columns = self.columns.iter().map(column);
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let changes = chunk
                .iter()
                .map(|(kind, (batch, _))| (*kind, rows[*batch].origin));
            if !self.send(columns, changes).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn send(
        &self,
        mut columns: Vec<ArrayRef>,
        changes: impl Iterator<Item = (ChangeType, Origin)> + Clone,
    ) -> Result<bool> {
        let kinds = changes.clone().map(|(kind, _)| kind.as_str());
        let ordinals = changes.clone().map(|(_, origin)| origin.ordinal);
        let snapshots = changes.map(|(_, origin)| origin.snapshot);
        columns.push(Arc::new(StringArray::from_iter_values(kinds)));
        columns.push(Arc::new(Int32Array::from_iter_values(ordinals)));
        columns.push(Arc::new(Int64Array::from_iter_values(snapshots)));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(self.batches.send(batch).await.is_ok())
    }
}

fn kind(changed: &Changed) -> ChangeType {
    match changed.inserted {
        true => ChangeType::Insert,
        false => ChangeType::Delete,
    }
}

/// All rows in the order in which they are given.
fn in_order(rows: &[Changed], pairs: &[(Place, Place)]) -> Vec<(ChangeType, Place)> {
    let mut paired: Vec<Vec<bool>> = rows
        .iter()
        .map(|changed| vec![false; changed.batch.num_rows()])
        .collect();
    for (batch, row) in pairs.iter().flat_map(|(before, after)| [before, after]) {
        paired[*batch][*row] = true;
    }
    let alone = |inserted: bool| {
        let batches = rows.iter().zip(&paired).enumerate();
        batches
            .filter(move |(_, (changed, _))| changed.inserted == inserted)
            .flat_map(|(at, (changed, paired))| {
                let rows = paired.iter().enumerate();
                rows.filter(|(_, paired)| !**paired)
                    .map(move |(row, _)| (kind(changed), (at, row)))
            })
    };
    let updates = pairs.iter().flat_map(|(before, after)| {
        [
            (ChangeType::UpdateBefore, *before),
            (ChangeType::UpdateAfter, *after),
        ]
    });
    alone(false).chain(updates).chain(alone(true)).collect()
}
