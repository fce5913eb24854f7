//! Which commits of others make an operation impossible.
//!
//! An operation was prepared from rows that were read at one head and is planned at another. By level
//! of isolation, as the Java implementation defines them, these are conflicts:
//!
//! | since the rows were read | snapshot | serializable |
//! |---|---|---|
//! | a data file from which the operation deletes rows is gone, compacted ones too | conflict | conflict |
//! | the deletion vector of such a file was replaced | conflict | conflict |
//! | rows were deleted from such a file, and the operation also adds rows (an update) | conflict | conflict |
//! | an overwrite, of partitions too: rows that match its filter were deleted | conflict | conflict |
//! | rows were added that may match the filter | | conflict |
//! | rows that may match the filter were deleted | | conflict |
//!
//! "May match" goes by partitions and bounds of columns, so it errs on the safe side.

use std::collections::HashSet;

use async_trait::async_trait;
use iceberg::expr::Predicate;
use iceberg::spec::DataFileFormat;

use super::since::{Changed, Since};
use super::{NextSnapshot, Overwrite, ReplacePartitions, RowDelta};
use crate::commit::{Operation, PlannedChange};
use crate::evaluate::{FileFilter, Matches};
use crate::plan::target_of;
use crate::storage::normalize;
use crate::{Error, ErrorKind, Result, Table};

/// How far an operation is kept apart from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Nobody else has changed the rows that the operation changes.
    Snapshot,
    /// Nobody else has changed, added or removed rows that the operation has read.
    #[default]
    Serializable,
}

/// An operation that was prepared at one head and may be planned at another, if nothing that came in
/// between is in its way. A conflict is an error of planning: the rows must be read again.
#[derive(Debug, Clone)]
pub struct Isolated<O> {
    /// The operation.
    pub operation: O,
    /// The head of the branch at which its rows were read; none for a branch without snapshot.
    pub base: Option<i64>,
    /// The level.
    pub level: IsolationLevel,
    /// Which rows were read.
    pub filter: Predicate,
}

#[async_trait]
impl Operation for Isolated<RowDelta> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let head = self.operation.notes.head(base)?;
        let others = self.others(base, head).await?;
        self.keeps_targets(&others)?;
        if self.level == IsolationLevel::Serializable {
            others.no_rows_added()?;
            others.no_rows_deleted()?;
        }
        let next = NextSnapshot::of(base);
        self.operation.plan_at(base, next).await.map(Some)
    }
}

#[async_trait]
impl Operation for Isolated<Overwrite> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let head = self.operation.notes.head(base)?;
        self.others(base, head).await?.overwritten(self.level)?;
        self.operation.plan(base).await
    }
}

#[async_trait]
impl Operation for Isolated<ReplacePartitions> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let head = self.operation.notes.head(base)?;
        self.others(base, head).await?.overwritten(self.level)?;
        self.operation.plan(base).await
    }
}

impl<O> Isolated<O> {
    async fn others(&self, base: &Table, head: Option<i64>) -> Result<Others> {
        let filter = FileFilter::new(base.metadata(), base.schema(), &self.filter)
            .map_err(|error| error.with("table", base.ident()))?;
        Ok(Others {
            since: Since::load(base, self.base, head).await?,
            filter,
        })
    }
}

impl Isolated<RowDelta> {
    /// Checks the data files from which rows are to be deleted.
    fn keeps_targets(&self, others: &Others) -> Result<()> {
        let delta = &self.operation;
        if delta.delete_files.is_empty() {
            return Ok(());
        }
        let mut targets = HashSet::new();
        let mut all_known = true;
        for delete in &delta.delete_files {
            match target_of(&delete.file) {
                Some(path) => {
                    targets.insert(normalize(&path));
                }
                None => all_known = false,
            }
        }
        let is_target = |path: &str| !all_known || targets.contains(&normalize(path));
        for gone in &others.since.removed {
            if is_target(gone.file.file_path()) {
                let message = "a data file from which rows are to be deleted is gone";
                return Err(conflict(message, gone));
            }
        }
        let updates = !delta.data_files.is_empty();
        for deletes in &others.since.added_deletes {
            let (is_ours, is_vector) = match target_of(&deletes.file) {
                Some(path) => (
                    is_target(&path),
                    deletes.file.file_format() == DataFileFormat::Puffin,
                ),
                // It may name any file of its partition.
                None => (others.may_match_partition(deletes), false),
            };
            if is_ours && is_vector {
                return Err(conflict(
                    "the deletion vector of a data file was replaced meanwhile",
                    deletes,
                ));
            }
            if is_ours && updates {
                return Err(conflict(
                    "rows were deleted meanwhile that may be those to update",
                    deletes,
                ));
            }
        }
        Ok(())
    }
}

/// What others have done, and which of it concerns the operation.
struct Others {
    since: Since,
    filter: FileFilter,
}

impl Others {
    fn overwritten(&self, level: IsolationLevel) -> Result<()> {
        self.no_rows_deleted()?;
        if level == IsolationLevel::Serializable {
            self.no_rows_added()?;
        }
        Ok(())
    }

    fn no_rows_added(&self) -> Result<()> {
        let mut added = self.since.added.iter().filter(|added| !added.rewritten);
        match added.find(|added| self.may_match(added)) {
            Some(added) => Err(conflict("rows were added that may match", added)),
            None => Ok(()),
        }
    }

    fn no_rows_deleted(&self) -> Result<()> {
        let removed = self.since.removed.iter().filter(|gone| !gone.rewritten);
        let deletes = self.since.added_deletes.iter();
        let deletes = deletes.filter(|deletes| !deletes.rewritten);
        let gone = removed.filter(|gone| self.may_match(gone));
        match gone
            .chain(deletes.filter(|deletes| self.may_match_partition(deletes)))
            .next()
        {
            Some(gone) => Err(conflict("rows were deleted that may match", gone)),
            None => Ok(()),
        }
    }

    fn may_match(&self, changed: &Changed) -> bool {
        !matches!(
            self.filter.matches(changed.spec_id, &changed.file),
            Matches::None
        )
    }

    fn may_match_partition(&self, changed: &Changed) -> bool {
        self.filter
            .partition_may_match(changed.spec_id, changed.file.partition())
    }
}

fn conflict(message: &str, with: &Changed) -> Error {
    Error::new(ErrorKind::Conflict, message)
        .with("file", with.file.file_path())
        .with("snapshot", with.by)
        .help("nothing was changed; read the rows again")
}
