//! Producing snapshots: manifests, manifest list, summary, and the operations that use them.
//!
//! Each operation is planned against one head: it writes the manifests of the new snapshot and gives
//! the change that makes it the head of `main`. Sequence numbers of new files are inherited from the
//! manifest list (specification, "Sequence Number Inheritance"), so manifests survive a retry of the
//! same plan; a conflict plans anew all the same, because its validations must be repeated.

mod expire;
pub(crate) mod manifests;
mod producer;
mod removals;
mod rewrite;
mod summary;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use iceberg::expr::Predicate;
use iceberg::spec::FormatVersion;

use crate::commit::{Operation, PlannedChange};
use crate::plan::ScanBuilder;
use crate::write::WrittenFile;
use crate::{Error, ErrorKind, Result, Table};

pub use expire::{
    ExpireSnapshots, ExpiredSnapshot, ExpiryPlan, KeptSnapshot, NeededSnapshots, Reason,
    check_collectable,
};
pub use rewrite::RewriteFiles;

use producer::Producer;
use removals::Removals;

/// The identity of a snapshot that is about to be planned.
///
/// It is drawn before planning so that a commit's notes can name their own snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextSnapshot {
    /// Its id.
    pub id: i64,
    /// Its sequence number.
    pub sequence_number: i64,
}

impl NextSnapshot {
    /// The next snapshot of this table, with an id that the table does not have.
    pub fn of(base: &Table) -> Self {
        let metadata = base.metadata();
        let mut id = base.environment().ids().snapshot_id();
        while metadata.snapshot_by_id(id).is_some() {
            id = base.environment().ids().snapshot_id();
        }
        Self {
            id,
            sequence_number: metadata.next_sequence_number(),
        }
    }
}

/// What a commit carries beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitNotes {
    /// Entries of the snapshot's summary beside the standard ones.
    pub summary: BTreeMap<String, String>,
    /// Table properties to set in the same commit.
    pub properties: HashMap<String, String>,
}

/// Adds data files. Conflicts with nothing: after a lost race it is planned anew on the new head.
///
/// No files and some notes give a snapshot without files, which is how progress without rows is
/// recorded.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// The files.
    pub files: Vec<WrittenFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

/// Replaces all rows that match a filter by new files. A file that matches only partly is an error:
/// the filter must follow partitions or whole files.
///
/// Planned anew after a lost race, it also replaces matching rows that were added meanwhile.
#[derive(Debug, Clone)]
pub struct Overwrite {
    /// Which rows go.
    pub filter: Predicate,
    /// What comes.
    pub files: Vec<WrittenFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

/// Adds data files and deletes of rows in one snapshot (merge on read).
///
/// Planned against one head with rows looked up at that head: at any other head planning is a
/// [`Conflict`](ErrorKind::Conflict), and the caller looks the rows up again. Operations that
/// look rows up implement [`Operation`] themselves and plan a `RowDelta` inside their own `plan`.
#[derive(Debug, Clone, Default)]
pub struct RowDelta {
    /// The head at which rows were looked up; none for a table without snapshot.
    pub base: Option<i64>,
    /// New data files.
    pub data_files: Vec<WrittenFile>,
    /// New delete files. On V3 each replaces the data file's older deletion vector.
    pub delete_files: Vec<WrittenFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl Append {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// Errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Append)?;
        producer.add_data(self.files.iter().cloned())?;
        producer.finish(&self.notes, Removals::default()).await
    }
}

impl Overwrite {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a filter that matches a file only partly;
    /// errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let mut removals = Removals::default();
        if self.filter == Predicate::AlwaysTrue {
            removals.everything = true;
        } else {
            let plan = ScanBuilder::new(base)
                .filter(self.filter.clone())
                .plan()
                .await?;
            for task in &plan.tasks {
                if task.residual != Predicate::AlwaysTrue {
                    return Err(Error::invalid(
                        "the filter of an overwrite matches a file only partly",
                    )
                    .with("path", task.file.file_path())
                    .with("filter", &self.filter)
                    .help("overwrite by whole partitions, or delete the rows first"));
                }
                removals.data_file(&task.file, task.spec_id);
            }
        }
        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Overwrite)?;
        producer.add_data(self.files.iter().cloned())?;
        producer.finish(&self.notes, removals).await
    }
}

impl RowDelta {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if `base` is not at the head at which rows were looked up;
    /// [`InvalidInput`](ErrorKind::InvalidInput) for delete files of another form than the table's
    /// format version demands (invariant 13); errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let head = base.metadata().current_snapshot_id();
        if head != self.base {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the rows to delete were looked up at another head",
            )
            .with("head", head.map_or("none".to_string(), |id| id.to_string()))
            .with(
                "looked-up-at",
                self.base.map_or("none".to_string(), |id| id.to_string()),
            ));
        }
        let vectors = base.metadata().format_version() >= FormatVersion::V3;
        let mut removals = Removals::default();
        for delete in &self.delete_files {
            let is_vector = delete.file.file_format() == iceberg::spec::DataFileFormat::Puffin;
            if is_vector != vectors {
                return Err(Error::invalid(
                    "position deletes are Parquet files on format version 2 and deletion vectors from 3 on",
                )
                .with("path", delete.file.file_path())
                .with("format-version", base.metadata().format_version()));
            }
            if let (true, Some(data_file)) = (is_vector, delete.file.referenced_data_file()) {
                removals.vector_of(&data_file, &delete.file, delete.spec_id);
            }
        }
        let operation = match (self.data_files.is_empty(), self.delete_files.is_empty()) {
            (_, true) => iceberg::spec::Operation::Append,
            (true, false) => iceberg::spec::Operation::Delete,
            (false, false) => iceberg::spec::Operation::Overwrite,
        };
        let mut producer = Producer::new(base, next, operation)?;
        producer.add_data(self.data_files.iter().cloned())?;
        producer.add_deletes(self.delete_files.iter().cloned())?;
        producer.finish(&self.notes, removals).await
    }
}

#[async_trait]
impl Operation for Append {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}

#[async_trait]
impl Operation for Overwrite {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}

#[async_trait]
impl Operation for RowDelta {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}

#[cfg(test)]
mod tests;
