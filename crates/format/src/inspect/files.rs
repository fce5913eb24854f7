//! `$files`, `$data_files`, `$delete_files`, and the same of all snapshots.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use iceberg::spec::{DataFile, ManifestFile};

use super::Output;
use super::columns::{FileColumns, Row};
use super::metrics::ReadableMetrics;
use super::select::chunks;
use crate::plan::load_manifests;
use crate::{Result, Table};

/// How often a file is shown that several manifests name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    /// As often as they name it. Those of one snapshot name each file once.
    Shown,
    /// Once, as the first of them has it: manifests of several snapshots repeat what was carried on.
    Once,
}

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
        let mut fields = self.file.fields();
        fields.push(self.metrics.field());
        Arc::new(Schema::new(fields))
    }

    fn batch(&self, files: &[Row<'_>]) -> Result<RecordBatch> {
        let mut columns = self.file.arrays(files)?;
        columns.push(self.metrics.array(files)?);
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

pub(super) fn schema(table: &Table) -> Result<SchemaRef> {
    Ok(Columns::of(table)?.schema())
}

/// The live files of these manifests.
pub(super) async fn read(
    table: &Table,
    manifests: Vec<ManifestFile>,
    repeated: Repeated,
    output: &mut Output<'_>,
) -> Result<()> {
    let columns = Columns::of(table)?;
    let mut seen = HashSet::new();
    let with_files = manifests
        .into_iter()
        .filter(|manifest| manifest.has_added_files() || manifest.has_existing_files());
    for chunk in chunks(with_files) {
        let loaded = load_manifests(table, chunk).await?;
        let files: Vec<Row<'_>> = loaded
            .iter()
            .flat_map(|(manifest, entries)| {
                let live = entries.iter().filter(|entry| entry.is_alive());
                live.map(|entry| (manifest.partition_spec_id, &entry.data_file))
            })
            .filter(|(_, file)| repeated == Repeated::Shown || seen.insert(identity(file)))
            .collect();
        output.push(&columns.batch(&files)?)?;
    }
    Ok(())
}

/// What tells files apart: deletion vectors of several data files may lie in one Puffin file.
fn identity(file: &DataFile) -> (String, Option<i64>) {
    (file.file_path().to_string(), file.content_offset())
}
