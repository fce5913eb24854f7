//! Incremental scans of what was appended.

use iceberg::spec::{ManifestContentType, ManifestStatus, Operation, SnapshotRef};

use super::{PlanMetrics, ScanPlan, load_manifests, manifest_list, select, task_of};
use crate::{Error, ErrorKind, Result, Table};

/// Plans the rows that were appended after `from` (exclusive; none for the start) up to `to`
/// (inclusive), in commit order.
///
/// Snapshots of the operation `replace` (compaction) are skipped. The range is pinned: `to` is named
/// by the caller. The columns are those of the table's current schema. No deletes are in such a
/// range, so the tasks have none.
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) if `from` is no ancestor of `to` (rolled back, or
/// expired) or if a snapshot in between is an `overwrite` or a `delete`; the message names the
/// snapshot and says that the flow needs a full refresh.
/// [`NotFound`](crate::ErrorKind::NotFound) if there is no snapshot `to`.
pub async fn appended_rows(
    table: &Table,
    from: Option<i64>,
    to: i64,
    columns: Option<Vec<String>>,
) -> Result<ScanPlan> {
    let head = table.snapshot(to)?.clone();
    let schema = select::columns(table.schema(), columns.as_deref())
        .map_err(|error| error.with("table", table.ident()))?;
    let mut plan = ScanPlan {
        table: table.clone(),
        snapshot: Some(head),
        schema,
        tasks: Vec::new(),
        metrics: PlanMetrics::default(),
    };
    for snapshot in range(table, from, to)? {
        match snapshot.summary().operation {
            Operation::Append => plan.add_appended(&snapshot).await?,
            Operation::Replace => {}
            Operation::Overwrite | Operation::Delete => {
                return Err(changed_rows(table, &snapshot));
            }
        }
    }
    plan.metrics.files = plan.tasks.len();
    plan.metrics.bytes = plan
        .tasks
        .iter()
        .map(|task| task.file.file_size_in_bytes())
        .sum();
    Ok(plan)
}

/// The snapshots after `from` up to `to`, oldest first.
pub(crate) fn range(table: &Table, from: Option<i64>, to: i64) -> Result<Vec<SnapshotRef>> {
    let mut snapshots = Vec::new();
    let mut reached = None;
    for snapshot in table.ancestors(Some(to)) {
        if Some(snapshot.snapshot_id()) == from {
            snapshots.reverse();
            return Ok(snapshots);
        }
        reached = snapshot.parent_snapshot_id();
        snapshots.push(snapshot.clone());
    }
    match (from, reached) {
        (None, None) => {
            snapshots.reverse();
            Ok(snapshots)
        }
        (None, Some(expired)) => Err(Error::new(
            ErrorKind::Conflict,
            "the table's first snapshots have expired, so what was appended is not known from the start",
        )
        .with("table", table.ident())
        .with("expired", expired)
        .help("the flow needs a full refresh")),
        (Some(from), _) => Err(Error::new(
            ErrorKind::Conflict,
            "the snapshot that was read last is no ancestor of the one to read up to: it was rolled \
             back or has expired",
        )
        .with("table", table.ident())
        .with("from", from)
        .with("to", to)
        .help("the flow needs a full refresh")),
    }
}

fn changed_rows(table: &Table, snapshot: &SnapshotRef) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "rows were not only appended: a snapshot in between changes or deletes rows",
    )
    .with("table", table.ident())
    .with("snapshot", snapshot.snapshot_id())
    .with("operation", snapshot.summary().operation.as_str())
    .help("the flow needs a full refresh")
}

impl ScanPlan {
    /// Adds tasks for the files that this snapshot added.
    async fn add_appended(&mut self, snapshot: &SnapshotRef) -> Result<()> {
        let id = snapshot.snapshot_id();
        // What a snapshot adds stands in manifests that it wrote itself; merged ones carry the files
        // of others as existing.
        let written: Vec<_> = manifest_list(&self.table, snapshot)
            .await?
            .into_iter()
            .filter(|manifest| manifest.added_snapshot_id == id && manifest.has_added_files())
            .collect();
        self.metrics.manifests += written.len();
        for (manifest, entries) in load_manifests(&self.table, written).await? {
            let added = entries.iter().filter(|entry| {
                entry.status() == ManifestStatus::Added && entry.snapshot_id() == Some(id)
            });
            for entry in added {
                if manifest.content == ManifestContentType::Deletes {
                    return Err(changed_rows(&self.table, snapshot));
                }
                self.tasks.push(task_of(&manifest, entry)?);
            }
        }
        Ok(())
    }
}
