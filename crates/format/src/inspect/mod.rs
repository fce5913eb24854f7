//! Metadata tables: what a table's metadata says, as Arrow batches.

mod files;
mod partition;
mod partitions;
mod size;
mod snapshots;
mod values;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use iceberg::spec::SnapshotRef;

use crate::plan::{Loaded, SnapshotSelector, load_manifests, manifest_list};
use crate::{Result, Table};

pub use size::{HeadSize, MetadataSize};

/// A metadata table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataTable {
    /// One row per snapshot: committed_at, snapshot_id, parent_id, operation, manifest_list, summary.
    Snapshots,
    /// The snapshot log: made_current_at, snapshot_id, parent_id, is_current_ancestor.
    History,
    /// Live data and delete files of a snapshot, with readable metrics.
    Files,
    /// One row per partition: partition, spec_id, record_count, file_count, deletes, last update.
    Partitions,
}

impl MetadataTable {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Snapshots,
        Self::History,
        Self::Files,
        Self::Partitions,
    ];

    /// The name after `$` or the last dot, e.g. `snapshots`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Files => "files",
            Self::Partitions => "partitions",
        }
    }

    /// The metadata table of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|table| table.name().eq_ignore_ascii_case(name))
    }

    /// The columns for this table (partition columns depend on its specs).
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for partition types without Arrow form.
    pub fn schema(self, table: &Table) -> Result<SchemaRef> {
        match self {
            Self::Snapshots => Ok(snapshots::snapshots_schema()),
            Self::History => Ok(snapshots::history_schema()),
            Self::Files => files::schema(table),
            Self::Partitions => partitions::schema(table),
        }
    }

    /// The rows. Snapshots and history are those of the table, whatever `at` says.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot that does not exist, errors of the
    /// storage with the path.
    pub async fn read(self, table: &Table, at: &SnapshotSelector) -> Result<RecordBatch> {
        match self {
            Self::Snapshots => snapshots::snapshots(table),
            Self::History => snapshots::history(table),
            Self::Files => files::read(table, &live_files(table, at).await?),
            Self::Partitions => partitions::read(table, &live_files(table, at).await?),
        }
    }
}

/// The manifests of a snapshot with their entries, those of removed files too.
async fn live_files(table: &Table, at: &SnapshotSelector) -> Result<Vec<Loaded>> {
    let snapshot: Option<SnapshotRef> = crate::plan::snapshot(table, at)?.0;
    match snapshot {
        Some(snapshot) => load_manifests(table, manifest_list(table, &snapshot).await?).await,
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
