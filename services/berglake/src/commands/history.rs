//! `berglake history`

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt64Array,
};
use berglake_format::{Error, Result, Table};
use futures::stream;

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;
use crate::render::rows;

pub(crate) async fn run(global: &Global, name: &str) -> Outcome {
    let output = global.output.unwrap_or(Output::Table);
    rows::check_terminal(output)?;
    let lake = compose::lake(global)?;
    if lake.is_fresh() {
        return Err(lake.nothing_yet().into());
    }
    let catalog = compose::catalog(&lake).await?;
    let table = super::load_table(catalog.as_ref(), name).await?;
    let batch = snapshots(&table)?;
    let schema = batch.schema();
    let mut out = Out::new();
    rows::print(&mut out, output, &schema, stream::iter([Ok(batch)])).await?;
    Ok(())
}

/// The snapshots of a table, oldest first.
fn snapshots(table: &Table) -> Result<RecordBatch> {
    let mut snapshots: Vec<_> = table.metadata().snapshots().collect();
    snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()));
    let head = table.metadata().current_snapshot_id();
    let note = |name: &str| -> Vec<Option<String>> {
        snapshots
            .iter()
            .map(|snapshot| snapshot.summary().additional_properties.get(name).cloned())
            .collect()
    };
    let counter = |name: &str| -> ArrayRef {
        Arc::new(UInt64Array::from_iter(
            note(name)
                .iter()
                .map(|value| value.as_ref()?.parse::<u64>().ok()),
        ))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "committed_at",
            Arc::new(
                TimestampMillisecondArray::from_iter_values(
                    snapshots.iter().map(|snapshot| snapshot.timestamp_ms()),
                )
                .with_timezone("UTC"),
            ),
        ),
        (
            "snapshot_id",
            Arc::new(Int64Array::from_iter_values(
                snapshots.iter().map(|snapshot| snapshot.snapshot_id()),
            )),
        ),
        (
            "parent_id",
            Arc::new(Int64Array::from_iter(
                snapshots
                    .iter()
                    .map(|snapshot| snapshot.parent_snapshot_id()),
            )),
        ),
        (
            "operation",
            Arc::new(StringArray::from_iter_values(snapshots.iter().map(
                |snapshot| snapshot.summary().operation.as_str().to_string(),
            ))),
        ),
        ("added_records", counter("added-records")),
        ("deleted_records", counter("deleted-records")),
        ("added_position_deletes", counter("added-position-deletes")),
        ("added_data_files", counter("added-data-files")),
        (
            "is_current",
            Arc::new(BooleanArray::from_iter(
                snapshots
                    .iter()
                    .map(|snapshot| Some(Some(snapshot.snapshot_id()) == head)),
            )),
        ),
        ("engine", Arc::new(StringArray::from(note("engine-name")))),
        (
            "application",
            Arc::new(StringArray::from(note("berglake.application"))),
        ),
        (
            "principal",
            Arc::new(StringArray::from(note("berglake.principal"))),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .map_err(Error::from)
}
