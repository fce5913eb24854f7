//! `$partitions`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use iceberg::spec::{DataContentType, ManifestEntry, ManifestFile};
use itertools::Itertools;

use super::partition::{PartitionColumns, Values};
use super::select::chunks;
use super::values::{instant_type, instants, longs, optional, required};
use crate::plan::load_manifests;
use crate::{Result, Table};

pub(super) fn schema(table: &Table) -> Result<SchemaRef> {
    Ok(build_schema(&PartitionColumns::of(table)?))
}

fn build_schema(partition: &PartitionColumns) -> SchemaRef {
    let mut fields: Vec<FieldRef> = Vec::new();
    if !partition.is_empty() {
        fields.push(required("partition", partition.data_type()));
        fields.push(required("spec_id", DataType::Int32));
    }
    fields.extend([
        required("record_count", DataType::Int64),
        required("file_count", DataType::Int32),
        required("total_data_file_size_in_bytes", DataType::Int64),
        required("position_delete_record_count", DataType::Int64),
        required("position_delete_file_count", DataType::Int32),
        required("equality_delete_record_count", DataType::Int64),
        required("equality_delete_file_count", DataType::Int32),
        optional("last_updated_at", instant_type()),
        optional("last_updated_snapshot_id", DataType::Int64),
    ]);
    Arc::new(Schema::new(fields))
}

/// Files and rows of one kind.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    files: i32,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Partition {
    spec_id: i32,
    data: Count,
    position: Count,
    equality: Count,
    /// When it was last changed, by which snapshot; none where that has expired.
    updated: Option<(i64, i64)>,
}

impl Partition {
    fn add(&mut self, table: &Table, spec_id: i32, entry: &ManifestEntry) {
        let count = match entry.content_type() {
            DataContentType::Data => &mut self.data,
            DataContentType::PositionDeletes => &mut self.position,
            DataContentType::EqualityDeletes => &mut self.equality,
        };
        count.files = count.files.saturating_add(1);
        count.rows = count.rows.saturating_add(entry.record_count());
        count.bytes = count.bytes.saturating_add(entry.file_size_in_bytes());
        let change = entry
            .snapshot_id()
            .and_then(|id| table.metadata().snapshot_by_id(id))
            .map(|snapshot| (snapshot.timestamp_ms(), snapshot.snapshot_id()));
        if self.updated.is_none() || change > self.updated {
            self.updated = change.or(self.updated);
            self.spec_id = spec_id;
        }
    }
}

pub(super) async fn read(table: &Table, manifests: Vec<ManifestFile>) -> Result<RecordBatch> {
    let columns = PartitionColumns::of(table)?;
    let mut partitions: HashMap<Values, Partition> = HashMap::new();
    for chunk in chunks(manifests) {
        for (manifest, entries) in load_manifests(table, chunk).await? {
            let spec_id = manifest.partition_spec_id;
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                let values = columns.values(spec_id, entry.data_file.partition());
                let partition = partitions.entry(values).or_default();
                partition.add(table, spec_id, entry);
            }
        }
    }
    // By value, so that two reads give the same order.
    let (values, partitions): (Vec<Values>, Vec<Partition>) = partitions
        .into_iter()
        .sorted_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
        .unzip();
    let of = || partitions.iter();
    let ints = |get: fn(&Partition) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(of().map(get)))
    };
    let mut arrays: Vec<ArrayRef> = Vec::new();
    if !columns.is_empty() {
        arrays.push(columns.array(&values)?);
        arrays.push(ints(|p| p.spec_id));
    }
    arrays.extend([
        longs(of().map(|p| p.data.rows)),
        ints(|p| p.data.files),
        longs(of().map(|p| p.data.bytes)),
        longs(of().map(|p| p.position.rows)),
        ints(|p| p.position.files),
        longs(of().map(|p| p.equality.rows)),
        ints(|p| p.equality.files),
        instants(of().map(|p| p.updated.map(|(at, _)| at))),
        Arc::new(Int64Array::from_iter(
            of().map(|p| p.updated.map(|(_, id)| id)),
        )),
    ]);
    Ok(RecordBatch::try_new(build_schema(&columns), arrays)?)
}
