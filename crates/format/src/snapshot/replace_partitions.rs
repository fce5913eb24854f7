//! Replacing whole partitions.

use async_trait::async_trait;

use super::producer::Producer;
use super::removals::Removals;
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::write::WrittenFile;
use crate::{Error, Result, Table};

/// The summary's key by which such a snapshot is known.
const REPLACE_PARTITIONS: &str = "replace-partitions";

/// Replaces all rows of the partitions that new files are in, and leaves all others (a dynamic
/// overwrite). Delete files of these partitions go with their data files. In a table that is not
/// partitioned everything is replaced, files of older specs too.
///
/// The new files must be of the table's current spec. As in the Java implementation, files that were
/// written with another spec stay, whatever rows they hold: after a change of the partitioning, rewrite
/// the table first, or overwrite by a filter. Without new files nothing is replaced.
///
/// Planned anew after a lost race, it also replaces rows that were added to these partitions meanwhile.
#[derive(Debug, Clone, Default)]
pub struct ReplacePartitions {
    /// What comes.
    pub files: Vec<WrittenFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl ReplacePartitions {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew. Without new
    /// files it is a snapshot that changes no rows.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a file of another spec than the current one;
    /// errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let spec = base.metadata().default_partition_spec();
        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Overwrite)?;
        let mut removals = Removals::default();
        for WrittenFile { file, spec_id } in &self.files {
            if *spec_id != spec.spec_id() {
                return Err(Error::invalid(
                    "a file that is to replace its partition was written with another partition spec",
                )
                .with("path", file.file_path())
                .with("spec", spec_id)
                .with("current-spec", spec.spec_id())
                .help("the partitioning was changed meanwhile: write the file again"));
            }
            if spec.is_unpartitioned() {
                removals.everything = true;
            } else {
                let partition = producer.partition_of_now(file.partition(), *spec_id)?;
                removals.partition(&partition, *spec_id);
            }
        }
        producer.add_data(self.files.iter().cloned())?;
        let mut notes = self.notes.clone();
        notes
            .summary
            .insert(REPLACE_PARTITIONS.to_string(), "true".to_string());
        producer.finish(&notes, removals).await
    }
}

#[async_trait]
impl Operation for ReplacePartitions {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        if self.files.is_empty() && self.notes.is_empty() {
            return Ok(None);
        }
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}
