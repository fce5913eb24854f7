//! What the metadata file says beside snapshots: `$refs`, `$metadata_log_entries`, `$properties`,
//! `$statistics` and `$partition_statistics`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Fields, Int32Type, Schema, SchemaRef};
use iceberg::spec::{BlobMetadata, SnapshotRetention};
use itertools::Itertools;

use super::values::{
    instant_type, instants, list_type, lists, map_type, optional, required, structs, texts,
};
use crate::{Result, Table};

pub(super) fn refs_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("name", DataType::Utf8),
        required("type", DataType::Utf8),
        required("snapshot_id", DataType::Int64),
        optional("max_reference_age_in_ms", DataType::Int64),
        optional("min_snapshots_to_keep", DataType::Int32),
        optional("max_snapshot_age_in_ms", DataType::Int64),
    ]))
}

/// Branches and tags by name.
pub(super) fn refs(table: &Table) -> Result<RecordBatch> {
    let refs = table.refs()?;
    let of = || refs.values();
    let kinds = of().map(|r| if r.is_branch() { "BRANCH" } else { "TAG" });
    let ages = of().map(|r| match r.retention {
        SnapshotRetention::Branch { max_ref_age_ms, .. }
        | SnapshotRetention::Tag { max_ref_age_ms } => max_ref_age_ms,
    });
    let (keep, snapshot_ages): (Vec<_>, Vec<_>) = of()
        .map(|r| match r.retention {
            SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                ..
            } => (min_snapshots_to_keep, max_snapshot_age_ms),
            SnapshotRetention::Tag { .. } => (None, None),
        })
        .unzip();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(refs.keys())),
        Arc::new(StringArray::from_iter_values(kinds)),
        Arc::new(Int64Array::from_iter_values(of().map(|r| r.snapshot_id))),
        Arc::new(Int64Array::from_iter(ages)),
        Arc::new(Int32Array::from_iter(keep)),
        Arc::new(Int64Array::from_iter(snapshot_ages)),
    ];
    Ok(RecordBatch::try_new(refs_schema(), columns)?)
}

pub(super) fn log_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("timestamp", instant_type()),
        required("file", DataType::Utf8),
        optional("latest_snapshot_id", DataType::Int64),
        optional("latest_schema_id", DataType::Int32),
        optional("latest_sequence_number", DataType::Int64),
    ]))
}

/// The metadata files that are still known, the current one last, each with the snapshot that was
/// current when it was written, by the snapshot log.
pub(super) fn log(table: &Table) -> Result<RecordBatch> {
    let metadata = table.metadata();
    let current = (metadata.last_updated_ms(), table.metadata_location());
    let files: Vec<(i64, &str)> = metadata
        .metadata_log()
        .iter()
        .map(|entry| (entry.timestamp_ms, entry.metadata_file.as_str()))
        .chain([current])
        .collect();
    let latest: Vec<Option<i64>> = files
        .iter()
        .map(|(time, _)| {
            let mut log = metadata.history().iter().rev();
            let entry = log.find(|entry| entry.timestamp_ms <= *time)?;
            Some(entry.snapshot_id)
        })
        .collect();
    let snapshots = || latest.iter().map(|id| metadata.snapshot_by_id((*id)?));
    let columns: Vec<ArrayRef> = vec![
        instants(files.iter().map(|(time, _)| Some(*time))),
        Arc::new(StringArray::from_iter_values(
            files.iter().map(|(_, file)| file),
        )),
        Arc::new(Int64Array::from_iter(latest.iter().copied())),
        Arc::new(Int32Array::from_iter(
            snapshots().map(|snapshot| snapshot?.schema_id()),
        )),
        Arc::new(Int64Array::from_iter(
            snapshots().map(|snapshot| Some(snapshot?.sequence_number())),
        )),
    ];
    Ok(RecordBatch::try_new(log_schema(), columns)?)
}

pub(super) fn properties_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("key", DataType::Utf8),
        required("value", DataType::Utf8),
    ]))
}

/// Table properties by key.
pub(super) fn properties(table: &Table) -> Result<RecordBatch> {
    let properties: Vec<_> = table.metadata().properties().iter().sorted().collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            properties.iter().map(|(key, _)| key),
        )),
        Arc::new(StringArray::from_iter_values(
            properties.iter().map(|(_, value)| value),
        )),
    ];
    Ok(RecordBatch::try_new(properties_schema(), columns)?)
}

pub(super) fn statistics_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("snapshot_id", DataType::Int64),
        required("statistics_path", DataType::Utf8),
        required("file_size_in_bytes", DataType::Int64),
        required("file_footer_size_in_bytes", DataType::Int64),
        optional("key_metadata", DataType::Utf8),
        required("blob_metadata", list_type(DataType::Struct(blob_fields()))),
    ]))
}

fn blob_fields() -> Fields {
    vec![
        required("type", DataType::Utf8),
        required("snapshot_id", DataType::Int64),
        required("sequence_number", DataType::Int64),
        required("fields", list_type(DataType::Int32)),
        optional("properties", map_type(DataType::Utf8, DataType::Utf8)),
    ]
    .into()
}

/// Statistics files by snapshot.
pub(super) fn statistics(table: &Table) -> Result<RecordBatch> {
    let files: Vec<_> = table
        .metadata()
        .statistics_iter()
        .sorted_by_key(|file| file.snapshot_id)
        .collect();
    let of = || files.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(of().map(|f| f.snapshot_id))),
        Arc::new(StringArray::from_iter_values(
            of().map(|f| f.statistics_path.as_str()),
        )),
        Arc::new(Int64Array::from_iter_values(
            of().map(|f| f.file_size_in_bytes),
        )),
        Arc::new(Int64Array::from_iter_values(
            of().map(|f| f.file_footer_size_in_bytes),
        )),
        Arc::new(StringArray::from_iter(
            of().map(|f| f.key_metadata.as_deref()),
        )),
        blobs(
            of().map(|f| f.blob_metadata.len()),
            of().flat_map(|f| &f.blob_metadata).collect(),
        )?,
    ];
    Ok(RecordBatch::try_new(statistics_schema(), columns)?)
}

fn blobs(lengths: impl Iterator<Item = usize>, blobs: Vec<&BlobMetadata>) -> Result<ArrayRef> {
    let of = || blobs.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            of().map(|b| b.r#type.as_str()),
        )),
        Arc::new(Int64Array::from_iter_values(of().map(|b| b.snapshot_id))),
        Arc::new(Int64Array::from_iter_values(
            of().map(|b| b.sequence_number),
        )),
        lists::<Int32Type>(of().map(|b| Some(b.fields.clone()))),
        texts(of().map(|b| &b.properties))?,
    ];
    structs(lengths, blob_fields(), columns)
}

pub(super) fn partition_statistics_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("snapshot_id", DataType::Int64),
        required("statistics_path", DataType::Utf8),
        required("file_size_in_bytes", DataType::Int64),
    ]))
}

/// Partition statistics files by snapshot.
pub(super) fn partition_statistics(table: &Table) -> Result<RecordBatch> {
    let files: Vec<_> = table
        .metadata()
        .partition_statistics_iter()
        .sorted_by_key(|file| file.snapshot_id)
        .collect();
    let of = || files.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(of().map(|f| f.snapshot_id))),
        Arc::new(StringArray::from_iter_values(
            of().map(|f| f.statistics_path.as_str()),
        )),
        Arc::new(Int64Array::from_iter_values(
            of().map(|f| f.file_size_in_bytes),
        )),
    ];
    Ok(RecordBatch::try_new(
        partition_statistics_schema(),
        columns,
    )?)
}
