//! Metadata tables: what a table's metadata says, as Arrow batches.
//!
//! Names, columns and types are those of the Java implementation and of Spark, which shows them as
//! `t.files`; `properties` is Trino's, and `statistics` and `partition_statistics` have the fields of the
//! specification.

mod columns;
mod entries;
mod files;
mod human;
mod manifests;
mod metadata;
mod metrics;
pub(crate) mod partition;
mod partitions;
mod select;
mod size;
mod snapshots;
mod values;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use iceberg::spec::{ManifestContentType, ManifestFile};

use crate::plan::SnapshotSelector;
use crate::{Error, Result, Table};

use files::Repeated;

pub use size::{HeadSize, MetadataSize};

/// A metadata table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataTable {
    /// One row per snapshot: committed_at, snapshot_id, parent_id, operation, manifest_list, summary.
    Snapshots,
    /// The snapshot log: made_current_at, snapshot_id, parent_id, is_current_ancestor.
    History,
    /// Branches and tags: name, type, snapshot_id, and what keeps them and their snapshots.
    Refs,
    /// The metadata files that are still known, the current one last, each with the snapshot that was
    /// current then: timestamp, file, latest_snapshot_id, latest_schema_id, latest_sequence_number.
    MetadataLogEntries,
    /// Table properties: key, value.
    Properties,
    /// One row per statistics file: snapshot_id, statistics_path, sizes, blob_metadata.
    Statistics,
    /// One row per partition statistics file: snapshot_id, statistics_path, file_size_in_bytes.
    PartitionStatistics,
    /// The manifests of a snapshot: content, path, length, counts of files, partition summaries with
    /// bounds as text.
    Manifests,
    /// The entries of a snapshot's manifests, those of removed files too: status (0 existing, 1 added,
    /// 2 deleted), snapshot_id, sequence numbers, data_file, readable_metrics.
    Entries,
    /// Live data and delete files of a snapshot, with readable metrics.
    Files,
    /// Of `files` the data files.
    DataFiles,
    /// Of `files` the delete files.
    DeleteFiles,
    /// One row per partition: partition, spec_id, record_count, file_count, deletes, last update.
    Partitions,
    /// The manifests of all snapshots: one row per snapshot, which is reference_snapshot_id, and
    /// manifest.
    AllManifests,
    /// The entries of the manifests of all snapshots, each manifest once.
    AllEntries,
    /// The files that are live in any snapshot, each once. (Java may repeat one that several manifests
    /// name.)
    AllFiles,
    /// Of `all_files` the data files.
    AllDataFiles,
    /// Of `all_files` the delete files.
    AllDeleteFiles,
}

impl MetadataTable {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Snapshots,
        Self::History,
        Self::Refs,
        Self::MetadataLogEntries,
        Self::Properties,
        Self::Statistics,
        Self::PartitionStatistics,
        Self::Manifests,
        Self::Entries,
        Self::Files,
        Self::DataFiles,
        Self::DeleteFiles,
        Self::Partitions,
        Self::AllManifests,
        Self::AllEntries,
        Self::AllFiles,
        Self::AllDataFiles,
        Self::AllDeleteFiles,
    ];

    /// The name after `$` or the last dot, e.g. `snapshots`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Refs => "refs",
            Self::MetadataLogEntries => "metadata_log_entries",
            Self::Properties => "properties",
            Self::Statistics => "statistics",
            Self::PartitionStatistics => "partition_statistics",
            Self::Manifests => "manifests",
            Self::Entries => "entries",
            Self::Files => "files",
            Self::DataFiles => "data_files",
            Self::DeleteFiles => "delete_files",
            Self::Partitions => "partitions",
            Self::AllManifests => "all_manifests",
            Self::AllEntries => "all_entries",
            Self::AllFiles => "all_files",
            Self::AllDataFiles => "all_data_files",
            Self::AllDeleteFiles => "all_delete_files",
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
            Self::Refs => Ok(metadata::refs_schema()),
            Self::MetadataLogEntries => Ok(metadata::log_schema()),
            Self::Properties => Ok(metadata::properties_schema()),
            Self::Statistics => Ok(metadata::statistics_schema()),
            Self::PartitionStatistics => Ok(metadata::partition_statistics_schema()),
            Self::Manifests => Ok(manifests::schema()),
            Self::AllManifests => Ok(manifests::all_schema()),
            Self::Entries | Self::AllEntries => entries::schema(table),
            Self::Files
            | Self::DataFiles
            | Self::DeleteFiles
            | Self::AllFiles
            | Self::AllDataFiles
            | Self::AllDeleteFiles => files::schema(table),
            Self::Partitions => partitions::schema(table),
        }
    }

    /// All columns of all rows in one batch. See [`batches`](Self::batches).
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    pub async fn read(self, table: &Table, at: &SnapshotSelector) -> Result<RecordBatch> {
        let batches = self.batches(table, at, None).await?;
        Ok(concat_batches(&self.schema(table)?, &batches)?)
    }

    /// The rows, of these columns where they are named by their places. Manifests are read some at a
    /// time, so that what is held in memory are the columns that are asked for.
    ///
    /// `manifests`, `entries`, `files`, `data_files`, `delete_files` and `partitions` show the snapshot
    /// `at`, and have no rows where the table has no snapshot. What begins with `all_` can show no other
    /// snapshot than all of them. The others are those of the table, whatever `at` says, as in Spark.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot that does not exist,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a snapshot of what shows all of them, errors
    /// of the storage with the path.
    pub async fn batches(
        self,
        table: &Table,
        at: &SnapshotSelector,
        columns: Option<&[usize]>,
    ) -> Result<Vec<RecordBatch>> {
        let mut output = Output {
            columns,
            batches: Vec::new(),
        };
        match self {
            Self::Snapshots => output.push(&snapshots::snapshots(table)?)?,
            Self::History => output.push(&snapshots::history(table)?)?,
            Self::Refs => output.push(&metadata::refs(table)?)?,
            Self::MetadataLogEntries => output.push(&metadata::log(table)?)?,
            Self::Properties => output.push(&metadata::properties(table)?)?,
            Self::Statistics => output.push(&metadata::statistics(table)?)?,
            Self::PartitionStatistics => output.push(&metadata::partition_statistics(table)?)?,
            Self::Manifests => {
                let manifests = select::manifests_at(table, at).await?;
                output.push(&manifests::manifests(table, &manifests)?)?;
            }
            Self::Entries => {
                let manifests = select::manifests_at(table, at).await?;
                entries::read(table, manifests, &mut output).await?;
            }
            Self::Files | Self::DataFiles | Self::DeleteFiles => {
                let manifests = self.of_content(select::manifests_at(table, at).await?);
                files::read(table, manifests, Repeated::Shown, &mut output).await?;
            }
            Self::Partitions => {
                let manifests = select::manifests_at(table, at).await?;
                output.push(&partitions::read(table, manifests).await?)?;
            }
            Self::AllManifests => {
                self.only_head(table, at)?;
                manifests::all_manifests(table, &mut output).await?;
            }
            Self::AllEntries => {
                self.only_head(table, at)?;
                let manifests = select::distinct_manifests(table).await?;
                entries::read(table, manifests, &mut output).await?;
            }
            Self::AllFiles | Self::AllDataFiles | Self::AllDeleteFiles => {
                self.only_head(table, at)?;
                let manifests = self.of_content(select::distinct_manifests(table).await?);
                files::read(table, manifests, Repeated::Once, &mut output).await?;
            }
        }
        Ok(output.batches)
    }

    /// Of these manifests those that have the files that this table shows.
    fn of_content(self, mut manifests: Vec<ManifestFile>) -> Vec<ManifestFile> {
        let content = match self {
            Self::DataFiles | Self::AllDataFiles => Some(ManifestContentType::Data),
            Self::DeleteFiles | Self::AllDeleteFiles => Some(ManifestContentType::Deletes),
            _ => None,
        };
        manifests.retain(|manifest| content.is_none_or(|content| manifest.content == content));
        manifests
    }

    /// Refuses another snapshot than the head, as Java does for a table of all snapshots.
    fn only_head(self, table: &Table, at: &SnapshotSelector) -> Result<()> {
        if *at == SnapshotSelector::Head {
            return Ok(());
        }
        let one = self.name().trim_start_matches("all_");
        Err(
            Error::invalid("a metadata table of all snapshots cannot be read at one of them")
                .with("table", table.ident())
                .with("metadata-table", self.name())
                .help(format!("read ${one} at that snapshot")),
        )
    }
}

/// The rows that were read so far.
struct Output<'a> {
    /// The columns to keep, by their places; all where there are none.
    columns: Option<&'a [usize]>,
    batches: Vec<RecordBatch>,
}

impl Output<'_> {
    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            self.batches.push(match self.columns {
                Some(columns) => batch.project(columns)?,
                None => batch.clone(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
