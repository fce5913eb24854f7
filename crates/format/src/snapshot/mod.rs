//! Producing snapshots: manifests, manifest list, summary, and the operations that use them.
//!
//! Each operation is planned against one head: it writes the manifests of the new snapshot and gives
//! the change that makes it the head of a branch, `main` unless another is named. Sequence numbers of new files are inherited from the
//! manifest list (specification, "Sequence Number Inheritance"), so manifests survive a retry of the
//! same plan; a conflict plans anew all the same, because its validations must be repeated.

mod cherry_pick;
mod delete_files;
mod expire;
mod fast_append;
mod isolation;
mod merge;
mod producer;
mod refs;
mod removals;
mod replace_partitions;
mod rewrite;
mod rewrite_manifests;
mod since;
mod summary;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use iceberg::expr::Predicate;
use iceberg::spec::{DataContentType, FormatVersion};

use crate::commit::{Operation, PlannedChange};
use crate::plan::{ScanBuilder, SnapshotSelector};
use crate::write::WrittenFile;
use crate::{Error, ErrorKind, Result, Table};

pub use cherry_pick::CherryPick;
pub use delete_files::{DeleteFiles, FilesToDelete, MissingFiles};
pub use expire::{
    ExpireSnapshots, ExpiredSnapshot, ExpiryPlan, KeptSnapshot, NeededSnapshots, Reason,
    check_collectable,
};
pub use fast_append::FastAppend;
pub use isolation::{Isolated, IsolationLevel};
pub use refs::{
    CreateRef, DropRef, Existing, FastForward, RefKind, RefRetention, RollbackTo,
    RollbackToTimestamp, SetCurrentSnapshot,
};
pub use replace_partitions::ReplacePartitions;
pub use rewrite::RewriteFiles;
pub use rewrite_manifests::RewriteManifests;

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
    /// The branch that the snapshot goes to; `main` where none is named. It must exist.
    pub branch: Option<String>,
}

impl CommitNotes {
    /// Whether there is nothing to say.
    fn is_empty(&self) -> bool {
        self.summary.is_empty() && self.properties.is_empty()
    }

    /// The id of the snapshot that the branch is at.
    fn head(&self, base: &Table) -> Result<Option<i64>> {
        let head = base.head(self.branch.as_deref())?;
        Ok(head.map(|snapshot| snapshot.snapshot_id()))
    }

    /// A scan of the branch.
    fn scan<'a>(&self, base: &'a Table) -> ScanBuilder<'a> {
        let scan = ScanBuilder::new(base);
        match &self.branch {
            Some(branch) => scan.snapshot(SnapshotSelector::Ref(branch.clone())),
            None => scan,
        }
    }
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
/// look rows up implement [`Operation`] themselves and plan a `RowDelta` inside their own `plan`;
/// [`Isolated`] lets one be planned at a newer head, where nothing that came in between is in its way.
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
        let removals = Removals::matching(base, &self.notes, &self.filter).await?;
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
        let head = self.notes.head(base)?;
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
        self.plan_at(base, next).await
    }

    /// Plans at whatever head there is; that nothing is in the way is the caller's business.
    async fn plan_at(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        let vectors = base.metadata().format_version() >= FormatVersion::V3;
        let mut removals = Removals::default();
        for delete in &self.delete_files {
            if delete.file.content_type() == DataContentType::EqualityDeletes {
                continue;
            }
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
