//! What was committed to a branch after a head that somebody has read.

use std::sync::Arc;

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntry, ManifestStatus, Operation, SnapshotRef,
};

use crate::plan::{load_manifests, manifest_list, range};
use crate::{Result, Table};

/// A file that a snapshot added or removed.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) file: DataFile,
    pub(super) spec_id: i32,
    /// The snapshot.
    pub(super) by: i64,
    /// Whether the snapshot only rewrote rows that were there.
    pub(super) rewritten: bool,
}

/// Files that snapshots have added and removed.
#[derive(Debug, Default)]
pub(super) struct Since {
    pub(super) added: Vec<Changed>,
    pub(super) removed: Vec<Changed>,
    pub(super) added_deletes: Vec<Changed>,
}

impl Since {
    /// What was committed after `from` (none for the start) up to `to`.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) where that is not known: `from` is no ancestor of `to`
    /// or has expired.
    pub(super) async fn load(base: &Table, from: Option<i64>, to: Option<i64>) -> Result<Self> {
        let mut since = Self::default();
        if from == to {
            return Ok(since);
        }
        let Some(to) = to else {
            // There was a head and there is none: nothing can be said about what happened.
            return Err(range_is_gone(base, from));
        };
        for snapshot in range(base, from, to)? {
            since.add(base, &snapshot).await?;
        }
        Ok(since)
    }

    /// What this snapshot alone added and removed.
    pub(super) async fn of(base: &Table, snapshot: &SnapshotRef) -> Result<Self> {
        let mut since = Self::default();
        since.add(base, snapshot).await?;
        Ok(since)
    }

    async fn add(&mut self, base: &Table, snapshot: &SnapshotRef) -> Result<()> {
        let id = snapshot.snapshot_id();
        let rewritten = snapshot.summary().operation == Operation::Replace;
        // What a snapshot changes stands in manifests that it wrote itself.
        let own = manifest_list(base, snapshot)
            .await?
            .into_iter()
            .filter(|manifest| manifest.added_snapshot_id == id)
            .collect();
        for (manifest, entries) in load_manifests(base, own).await? {
            let changed = |entry: &Arc<ManifestEntry>| Changed {
                file: entry.data_file().clone(),
                spec_id: manifest.partition_spec_id,
                by: id,
                rewritten,
            };
            for entry in entries.iter().filter(|e| e.snapshot_id() == Some(id)) {
                match (manifest.content, entry.status()) {
                    (ManifestContentType::Data, ManifestStatus::Added) => {
                        self.added.push(changed(entry));
                    }
                    (ManifestContentType::Data, ManifestStatus::Deleted) => {
                        self.removed.push(changed(entry));
                    }
                    (ManifestContentType::Deletes, ManifestStatus::Added) => {
                        self.added_deletes.push(changed(entry));
                    }
                    // A delete file that is gone is in the way of nobody: with its data file, or
                    // because another took its place.
                    (ManifestContentType::Deletes, ManifestStatus::Deleted)
                    | (_, ManifestStatus::Existing) => {}
                }
            }
        }
        Ok(())
    }
}

fn range_is_gone(base: &Table, from: Option<i64>) -> crate::Error {
    let error = crate::Error::new(
        crate::ErrorKind::Conflict,
        "the branch has no snapshot any more, and rows were read from one",
    );
    match from {
        Some(from) => error.with("snapshot", from),
        None => error,
    }
    .with("table", base.ident())
}
