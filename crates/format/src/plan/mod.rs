//! What to read of a snapshot: manifests and files pruned by a filter, deletes matched to data files.

use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::{DataFile, SchemaRef, SnapshotRef};

use crate::{Result, Table};

/// Which snapshot of a table to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SnapshotSelector {
    /// The head of `main`. The table's current schema is used.
    #[default]
    Head,
    /// The snapshot with this id, with the schema that it was written with.
    Id(i64),
    /// The snapshot that was the head of `main` at this time (ms since 1970 UTC, inclusive), by the
    /// table's snapshot log.
    AsOf(i64),
    /// The snapshot of this branch (current schema) or tag (the snapshot's schema).
    Ref(String),
}

/// Plans a scan.
#[derive(Debug, Clone)]
pub struct ScanBuilder<'a> {
    table: &'a Table,
    selector: SnapshotSelector,
    filter: Predicate,
    columns: Option<Vec<String>>,
}

impl<'a> ScanBuilder<'a> {
    /// A scan of all columns and rows of the head.
    pub fn new(table: &'a Table) -> Self {
        Self {
            table,
            selector: SnapshotSelector::Head,
            filter: Predicate::AlwaysTrue,
            columns: None,
        }
    }

    /// Another snapshot than the head.
    #[must_use]
    pub fn snapshot(mut self, selector: SnapshotSelector) -> Self {
        self.selector = selector;
        self
    }

    /// Only files that may hold rows for which this is true. Rows are not filtered by the reader;
    /// each task carries the residual that must still be applied.
    #[must_use]
    pub fn filter(mut self, filter: Predicate) -> Self {
        self.filter = filter;
        self
    }

    /// Only these top-level columns, in this order.
    #[must_use]
    pub fn select(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The snapshot that will be read, or none for a table without rows, and the schema to read it
    /// with: the current one at the head and on branches, the snapshot's own for what is fixed.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot or ref that does not exist,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column.
    pub fn resolve(&self) -> Result<(Option<SnapshotRef>, SchemaRef)> {
        todo!()
    }

    /// Reads manifest list and manifests, and matches deletes.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot or ref that does not exist,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column or a filter that does
    /// not fit its column's type, errors of the storage with the path.
    pub async fn plan(self) -> Result<ScanPlan> {
        let _ = (self.table, self.selector, self.filter, self.columns);
        todo!()
    }
}

/// The files of a scan, pinned: reading it later gives the same rows, whatever is committed meanwhile.
#[derive(Debug, Clone)]
pub struct ScanPlan {
    /// The table as it was planned on.
    pub table: Table,
    /// The snapshot, or none for a table without rows.
    pub snapshot: Option<SnapshotRef>,
    /// The columns that the reader gives, with their field ids.
    pub schema: SchemaRef,
    /// One task per data file, in the order of data sequence number, then of the manifests.
    pub tasks: Vec<ScanTask>,
    /// What was pruned.
    pub metrics: PlanMetrics,
}

/// A delete file as it applies to a data file.
#[derive(Debug, Clone)]
pub struct DeleteFile {
    /// The delete file's manifest entry.
    pub file: DataFile,
    /// Its data sequence number.
    pub sequence_number: i64,
}

/// One data file to read, with the deletes that apply to it.
#[derive(Debug, Clone)]
pub struct ScanTask {
    /// The data file's manifest entry.
    pub file: Arc<DataFile>,
    /// The partition spec that the file was written with.
    pub spec_id: i32,
    /// The file's data sequence number.
    pub sequence_number: i64,
    /// Position-delete files that may name it, or its one deletion vector.
    pub position_deletes: Vec<Arc<DeleteFile>>,
    /// Equality-delete files that apply to it.
    pub equality_deletes: Vec<Arc<DeleteFile>>,
    /// What of the filter remains to be applied to its rows; `AlwaysTrue` where all rows match.
    pub residual: Predicate,
}

/// What planning read and pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanMetrics {
    /// Manifests of the snapshot (data and deletes).
    pub manifests: usize,
    /// Manifests that were skipped by their partition summaries.
    pub manifests_pruned: usize,
    /// Live data files in the manifests that were read, plus those of skipped manifests.
    pub files: usize,
    /// Data files that were skipped, by partition or by bounds, in read and in skipped manifests.
    pub files_pruned: usize,
    /// Delete files that apply to a selected data file.
    pub delete_files: usize,
    /// Bytes of the selected data files.
    pub bytes: u64,
}

impl ScanPlan {
    /// Whether deletes must be applied.
    pub fn has_deletes(&self) -> bool {
        self.tasks
            .iter()
            .any(|t| !t.position_deletes.is_empty() || !t.equality_deletes.is_empty())
    }
}

/// Plans the rows that were appended after `from` (exclusive; none for the start) up to `to`
/// (inclusive), in commit order.
///
/// Snapshots of the operation `replace` (compaction) are skipped. The range is pinned: `to` is named
/// by the caller.
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) if `from` is no ancestor of `to` (rolled back, or
/// expired) or if a snapshot in between is an `overwrite` or a `delete`; the message names the
/// snapshot and says that the flow needs a full refresh.
pub async fn appended_rows(
    table: &Table,
    from: Option<i64>,
    to: i64,
    columns: Option<Vec<String>>,
) -> Result<ScanPlan> {
    todo!("{table:?} {from:?} {to} {columns:?}")
}
