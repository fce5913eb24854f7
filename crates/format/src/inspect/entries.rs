//! `$entries` and `$all_entries`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use iceberg::spec::{ManifestEntry, ManifestFile};

use super::Output;
use super::columns::{FileColumns, Row};
use super::metrics::ReadableMetrics;
use super::select::chunks;
use super::values::{optional, required};
use crate::plan::{Loaded, load_manifests};
use crate::{Result, Table};

struct Columns {
    file: FileColumns,
    metrics: ReadableMetrics,
}

impl Columns {
    fn of(table: &Table) -> Result<Self> {
        Ok(Self {
            file: FileColumns::of(table)?,
            metrics: ReadableMetrics::of(table)?,
        })
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("status", DataType::Int32),
            optional("snapshot_id", DataType::Int64),
            optional("sequence_number", DataType::Int64),
            optional("file_sequence_number", DataType::Int64),
            required("data_file", DataType::Struct(self.file.fields().into())),
            self.metrics.field(),
        ]))
    }

    fn batch(&self, manifests: &[Loaded]) -> Result<RecordBatch> {
        let of = || manifests.iter().flat_map(|(_, entries)| entries);
        let optional_longs = |get: fn(&ManifestEntry) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(of().map(|entry| get(entry))))
        };
        let files: Vec<Row<'_>> = manifests
            .iter()
            .flat_map(|(manifest, entries)| {
                let spec_id = manifest.partition_spec_id;
                entries.iter().map(move |entry| (spec_id, &entry.data_file))
            })
            .collect();
        let data_file =
            StructArray::try_new(self.file.fields().into(), self.file.arrays(&files)?, None)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(
                of().map(|entry| entry.status() as i32),
            )),
            optional_longs(ManifestEntry::snapshot_id),
            optional_longs(ManifestEntry::sequence_number),
            optional_longs(|entry| entry.file_sequence_number),
            Arc::new(data_file),
            self.metrics.array(&files)?,
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

pub(super) fn schema(table: &Table) -> Result<SchemaRef> {
    Ok(Columns::of(table)?.schema())
}

/// The entries of these manifests, those of removed files too.
pub(super) async fn read(
    table: &Table,
    manifests: Vec<ManifestFile>,
    output: &mut Output<'_>,
) -> Result<()> {
    let columns = Columns::of(table)?;
    for chunk in chunks(manifests) {
        let loaded = load_manifests(table, chunk).await?;
        output.push(&columns.batch(&loaded)?)?;
    }
    Ok(())
}
