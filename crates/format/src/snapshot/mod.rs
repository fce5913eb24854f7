//! Producing snapshots: manifests, manifest list, summary, and the operations that use them.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use iceberg::expr::Predicate;
use iceberg::spec::DataFile;

use crate::commit::{Operation, PlannedChange};
use crate::{Result, Table};

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
#[derive(Debug, Clone)]
pub struct Append {
    /// The files.
    pub files: Vec<DataFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

/// Replaces all rows that match a filter by new files. Every file that matches partly is an error:
/// the filter must follow partitions or whole files (specification of Java's `OverwriteFiles`).
#[derive(Debug, Clone)]
pub struct Overwrite {
    /// Which rows go.
    pub filter: Predicate,
    /// What comes.
    pub files: Vec<DataFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

/// Adds data files and deletes of rows in one snapshot (merge on read).
///
/// Planned against one head with rows looked up at that head: at any other head planning is a
/// [`Conflict`](crate::ErrorKind::Conflict), and the caller looks the rows up again. Operations that
/// look rows up implement [`Operation`] themselves and plan a `RowDelta` inside their own `plan`.
#[derive(Debug, Clone)]
pub struct RowDelta {
    /// The head at which rows were looked up; none for a table without snapshot.
    pub base: Option<i64>,
    /// New data files.
    pub data_files: Vec<DataFile>,
    /// New delete files. On V3 each replaces the data file's older deletion vector.
    pub delete_files: Vec<DataFile>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

#[async_trait]
impl Operation for Append {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        todo!("{base:?}")
    }
}

#[async_trait]
impl Operation for Overwrite {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        todo!("{base:?}")
    }
}

#[async_trait]
impl Operation for RowDelta {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        todo!("{base:?}")
    }
}
