//! `$snapshots` and `$history`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::select;
use super::values::{instant_type, instants, map_type, optional, required, texts};
use crate::{Result, Table};

pub(super) fn snapshots_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("committed_at", instant_type()),
        required("snapshot_id", DataType::Int64),
        optional("parent_id", DataType::Int64),
        optional("operation", DataType::Utf8),
        optional("manifest_list", DataType::Utf8),
        optional("summary", map_type(DataType::Utf8, DataType::Utf8)),
    ]))
}

pub(super) fn snapshots(table: &Table) -> Result<RecordBatch> {
    let all = select::snapshots(table);
    let of = || all.iter();
    let columns = vec![
        instants(of().map(|s| Some(s.timestamp_ms()))),
        Arc::new(Int64Array::from_iter_values(of().map(|s| s.snapshot_id()))),
        Arc::new(Int64Array::from_iter(of().map(|s| s.parent_snapshot_id()))),
        Arc::new(StringArray::from_iter_values(
            of().map(|s| s.summary().operation.as_str()),
        )),
        Arc::new(StringArray::from_iter_values(
            of().map(|s| s.manifest_list()),
        )),
        texts(of().map(|s| &s.summary().additional_properties))?,
    ];
    Ok(RecordBatch::try_new(snapshots_schema(), columns)?)
}

pub(super) fn history_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("made_current_at", instant_type()),
        required("snapshot_id", DataType::Int64),
        optional("parent_id", DataType::Int64),
        required("is_current_ancestor", DataType::Boolean),
    ]))
}

pub(super) fn history(table: &Table) -> Result<RecordBatch> {
    let metadata = table.metadata();
    let ancestors: HashSet<i64> = table
        .ancestors(metadata.current_snapshot_id())
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    let of = || metadata.history().iter();
    let parents = of().map(|entry| {
        metadata
            .snapshot_by_id(entry.snapshot_id)
            .and_then(|snapshot| snapshot.parent_snapshot_id())
    });
    let current: Vec<bool> = of()
        .map(|entry| ancestors.contains(&entry.snapshot_id))
        .collect();
    let columns = vec![
        instants(of().map(|entry| Some(entry.timestamp_ms))),
        Arc::new(Int64Array::from_iter_values(
            of().map(|entry| entry.snapshot_id),
        )),
        Arc::new(Int64Array::from_iter(parents)),
        Arc::new(BooleanArray::from(current)),
    ];
    Ok(RecordBatch::try_new(history_schema(), columns)?)
}
