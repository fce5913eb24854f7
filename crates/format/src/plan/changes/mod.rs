//! Row-level changes between two snapshots: which files hold the rows that came and went.
//!
//! A snapshot is compared with its parent by the files that are live in each, and not by what its
//! entries or its summary say, so it does not matter which operation or which engine made it.
//! Manifests that both have hold nothing new and are not read, except to find the data files that new
//! delete files apply to.
//!
//! | data file | in the parent | in the snapshot | its changes |
//! |---|---|---|---|
//! | added | – | with its deletes | rows that are live in the snapshot were inserted |
//! | removed | with its deletes | – | rows that were live in the parent were deleted |
//! | kept, other deletes | with its deletes | with its deletes | rows that are live in only one of both |
//! | kept, same deletes | | | none |
//!
//! Rows that a snapshot took from one file to another unchanged are on both sides here; the
//! [reader](crate::read::read_changes) lets them cancel out.

mod diff;

use iceberg::spec::{Operation, SchemaRef, SnapshotRef};

use super::{PlanMetrics, ScanTask, appended, select};
use crate::{Error, Result, Table};

use diff::Planner;

/// The changes between two snapshots, pinned: reading them later gives the same, whatever is committed
/// meanwhile.
#[derive(Debug, Clone)]
pub struct ChangePlan {
    /// The table as it was planned on.
    pub table: Table,
    /// The snapshot whose rows are known already; none for an empty table.
    pub from: Option<i64>,
    /// The last snapshot of the range.
    pub to: i64,
    /// The columns that the reader gives, with their field ids.
    pub schema: SchemaRef,
    /// The snapshots after `from` up to `to`, oldest first, without those of the operation `replace`.
    pub snapshots: Vec<SnapshotChanges>,
    /// What planning read, over all snapshots.
    pub metrics: PlanMetrics,
}

/// The changes of one snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotChanges {
    /// The place of the snapshot in the range, from 0.
    pub ordinal: i32,
    /// The snapshot.
    pub snapshot: SnapshotRef,
    /// The data files whose live rows changed: removed ones, those with other deletes, added ones.
    pub files: Vec<FileChange>,
}

/// A data file as it is live before and after a snapshot. Its rows that are live in one of both were
/// changed.
#[derive(Debug, Clone)]
pub struct FileChange {
    /// The file with its deletes in the parent; none if it was added.
    pub before: Option<ScanTask>,
    /// The file with its deletes in the snapshot; none if it was removed.
    pub after: Option<ScanTask>,
}

/// Plans the rows that were inserted and deleted after `from` (exclusive; none for the start) up to
/// `to` (inclusive), in commit order.
///
/// Snapshots of the operation `replace` (compaction) change no rows; they are skipped and have no
/// ordinal, as in Iceberg's `IncrementalChangelogScan`. The range is pinned: `to` is named by the
/// caller. The columns are those of the table's current schema, for rows of all snapshots.
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) if `from` is no ancestor of `to` (rolled back, or expired)
/// or, where there is no `from`, if the table's first snapshots have expired.
/// [`NotFound`](crate::ErrorKind::NotFound) if there is no snapshot `to`,
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column, errors of the storage with
/// the path.
pub async fn changed_rows(
    table: &Table,
    from: Option<i64>,
    to: i64,
    columns: Option<Vec<String>>,
) -> Result<ChangePlan> {
    table.snapshot(to)?;
    let schema = select::columns(table.schema(), columns.as_deref())
        .map_err(|error| error.with("table", table.ident()))?;
    let mut planner = Planner::new(table)?;
    let mut snapshots = Vec::new();
    for snapshot in appended::range(table, from, to)? {
        if snapshot.summary().operation == Operation::Replace {
            continue;
        }
        let ordinal = i32::try_from(snapshots.len()).map_err(|_| {
            Error::invalid("the range has more snapshots than can be counted")
                .with("table", table.ident())
        })?;
        let files = planner.changes(&snapshot).await?;
        snapshots.push(SnapshotChanges {
            ordinal,
            snapshot,
            files,
        });
    }
    Ok(ChangePlan {
        table: table.clone(),
        from,
        to,
        schema,
        snapshots,
        metrics: planner.metrics(),
    })
}

impl SnapshotChanges {
    /// Whether it is plain from metadata that all changes are inserts, or all are deletes, so that
    /// none of them can cancel another.
    pub(crate) fn is_one_sided(&self) -> bool {
        let all = |test: fn(&FileChange) -> bool| self.files.iter().all(test);
        all(|file| file.before.is_none()) || all(FileChange::only_deletes)
    }
}

impl FileChange {
    /// The data file, with what it had last.
    pub fn task(&self) -> Option<&ScanTask> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// Whether no row can be inserted: a delete that is no longer there may bring rows back.
    fn only_deletes(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                diff::delete_keys(before).is_subset(&diff::delete_keys(after))
            }
            (before, _) => before.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
