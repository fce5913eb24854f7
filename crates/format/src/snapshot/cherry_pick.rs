//! Taking over what a snapshot of another line did.

use std::collections::HashSet;

use async_trait::async_trait;
use iceberg::spec::{
    MAIN_BRANCH, Operation as SnapshotOperation, SnapshotRef, SnapshotReference, SnapshotRetention,
};
use iceberg::{TableRequirement, TableUpdate};

use super::producer::Producer;
use super::removals::Removals;
use super::since::{Changed, Since};
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::manifest::rebuild;
use crate::write::WrittenFile;
use crate::{Error, ErrorKind, Result, Table};

/// The summary's key for the snapshot that was taken over.
const SOURCE: &str = "source-snapshot-id";
/// The summary's keys of write-audit-publish: staged, and published.
const STAGED: &str = "wap.id";
const PUBLISHED: &str = "published-wap-id";

/// Commits what a snapshot did on top of a branch, as the Java implementation does:
///
/// - where the snapshot's parent is the branch's head, the branch moves to it;
/// - an append is appended, and rows get new row ids on format version 3;
/// - a replacement of partitions is made again, if nobody has added to these partitions since;
/// - everything else cannot be taken over.
///
/// A snapshot is taken over once: the summary names it, and staged writes (`wap.id`) are marked as
/// published.
#[derive(Debug, Clone)]
pub struct CherryPick {
    /// The snapshot.
    pub snapshot_id: i64,
    /// The branch; `main` where none is named.
    pub branch: Option<String>,
}

#[async_trait]
impl Operation for CherryPick {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let picked = base.snapshot(self.snapshot_id)?.clone();
        let head = base
            .head(self.branch.as_deref())?
            .map(|head| head.snapshot_id());
        self.check_new(base, head, &picked)?;
        if picked.parent_snapshot_id() == head {
            return self.forward(base, head).map(Some);
        }
        let summary = &picked.summary().additional_properties;
        let replaces = summary
            .get("replace-partitions")
            .is_some_and(|value| value == "true");
        let mut notes = CommitNotes {
            branch: self.branch.clone(),
            ..CommitNotes::default()
        };
        let source = self.snapshot_id.to_string();
        notes.summary.insert(SOURCE.to_string(), source);
        if let Some(staged) = summary.get(STAGED) {
            notes.summary.insert(PUBLISHED.to_string(), staged.clone());
        }
        let operation = &picked.summary().operation;
        if !(*operation == SnapshotOperation::Append
            || (*operation == SnapshotOperation::Overwrite && replaces))
        {
            return Err(self.error(
                base,
                "only appends, replaced partitions and what follows on the head can be taken over",
            )
            .with("operation", operation.as_str()));
        }
        let changed = Since::of(base, &picked).await?;
        if !changed.added_deletes.is_empty() {
            return Err(self.error(base, "the snapshot deletes rows by delete files"));
        }
        let mut removals = Removals::default();
        if replaces {
            self.check_partitions(base, &picked, head, &changed).await?;
            notes
                .summary
                .insert("replace-partitions".to_string(), "true".to_string());
            for gone in &changed.removed {
                removals.data_file(&gone.file, gone.spec_id);
            }
        }
        let mut producer = Producer::new(base, NextSnapshot::of(base), operation.clone())?;
        let files = changed.added.iter().map(|added| {
            let file = rebuild(&added.file, added.spec_id, |file| {
                // They are rows of another line, which has given them ids.
                file.first_row_id(None);
            })?;
            Ok(WrittenFile {
                file,
                spec_id: added.spec_id,
            })
        });
        producer.add_data(files.collect::<Result<Vec<_>>>()?)?;
        producer.finish(&notes, removals).await.map(Some)
    }
}

impl CherryPick {
    /// The snapshot has not been taken over before.
    fn check_new(&self, base: &Table, head: Option<i64>, picked: &SnapshotRef) -> Result<()> {
        let id = self.snapshot_id.to_string();
        let staged = picked.summary().additional_properties.get(STAGED);
        for ancestor in base.ancestors(head) {
            let summary = &ancestor.summary().additional_properties;
            if ancestor.snapshot_id() == self.snapshot_id {
                return Err(self.error(base, "the snapshot is part of the branch already"));
            }
            let is_source = summary.get(SOURCE) == Some(&id);
            let is_published = staged.is_some_and(|staged| {
                [STAGED, PUBLISHED]
                    .iter()
                    .any(|key| summary.get(*key) == Some(staged))
            });
            if is_source || is_published {
                return Err(self
                    .error(base, "the snapshot has been taken over already")
                    .with("by", ancestor.snapshot_id()));
            }
        }
        Ok(())
    }

    /// Moves the branch to the snapshot.
    fn forward(&self, base: &Table, head: Option<i64>) -> Result<PlannedChange> {
        let branch = self.branch.as_deref().unwrap_or(MAIN_BRANCH);
        let retention = match base.refs()?.remove(branch) {
            Some(own) => own.retention,
            None => SnapshotRetention::branch(None, None, None),
        };
        Ok(PlannedChange::of_metadata(
            base,
            vec![TableRequirement::RefSnapshotIdMatch {
                r#ref: branch.to_string(),
                snapshot_id: head,
            }],
            vec![TableUpdate::SetSnapshotRef {
                ref_name: branch.to_string(),
                reference: SnapshotReference::new(self.snapshot_id, retention),
            }],
        ))
    }

    /// Nobody has touched the replaced partitions since the snapshot was made.
    async fn check_partitions(
        &self,
        base: &Table,
        picked: &SnapshotRef,
        head: Option<i64>,
        changed: &Since,
    ) -> Result<()> {
        let key = |changed: &Changed| (changed.spec_id, changed.file.partition().clone());
        let replaced: HashSet<_> = changed
            .removed
            .iter()
            .chain(&changed.added)
            .map(key)
            .collect();
        let parent = picked.parent_snapshot_id();
        let is_ancestor = |parent: i64| base.ancestors(head).any(|a| a.snapshot_id() == parent);
        if parent.is_some_and(|parent| !is_ancestor(parent)) {
            return Err(self.error(
                base,
                "partitions were replaced on a snapshot that is no ancestor of the branch",
            ));
        }
        let since = Since::load(base, parent, head).await?;
        let others = since
            .added
            .iter()
            .chain(&since.removed)
            .chain(&since.added_deletes);
        for other in others {
            if replaced.contains(&key(other)) {
                return Err(self
                    .error(base, "a partition that was replaced has changed since")
                    .with("file", other.file.file_path())
                    .with("by", other.by));
            }
        }
        Ok(())
    }

    fn error(&self, base: &Table, message: &str) -> Error {
        Error::new(ErrorKind::InvalidInput, message)
            .with("table", base.ident())
            .with("snapshot", self.snapshot_id)
            .with("branch", self.branch.as_deref().unwrap_or(MAIN_BRANCH))
    }
}
