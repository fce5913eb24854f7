//! Replacing rows by key (SCD type 1).
//!
//! Of the rows of one key in a batch one wins; the rows that the table has under the keys of the
//! winners are looked up at the head and deleted by position, and the winners are written, all in
//! one row delta. Positions hold for the head at which they were looked up, and for no other: after
//! a conflict the whole is planned again.

mod lookup;
mod winners;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange};
use berglake_format::snapshot::{NextSnapshot, RowDelta};
use berglake_format::write::{DataWriter, WrittenFile, discard, write_deletes};
use berglake_format::{Error, Result, Table};

use self::lookup::look_up;
use self::winners::Winners;
use super::notes;
use crate::progress::Step;

/// What an upsert did, at the head where it was planned last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpsertReport {
    /// Rows of new keys.
    pub inserted: u64,
    /// Rows whose key the table had.
    pub updated: u64,
    /// Rows of the batch that lost against another row of the batch with the same key.
    pub superseded: u64,
    /// Rows that are older than the table's row of the same key, and were dropped.
    pub late: u64,
    /// Rows of the table that were deleted; more than `updated` if it had a key more than once.
    pub deleted: u64,
}

/// Writes rows by key: a row takes the place of the table's row with the same key.
///
/// - The row with the highest sequence wins; among equals the later position in the batches does,
///   and the incoming row against the table's.
/// - NULL is a key value like any other and equal to itself. As a sequence it is lower than all.
/// - A row may move to another partition: it is deleted where it was and written where it belongs.
/// - Floating-point keys are compared bit by bit, except that all NaNs are the same; do not use them.
#[derive(Debug)]
pub struct Upsert {
    batches: Vec<RecordBatch>,
    keys: Vec<String>,
    sequence: String,
    steps: Vec<Step>,
    report: Mutex<UpsertReport>,
}

impl Upsert {
    /// Upserts these batches, in source order, by the key columns and the sequence column.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) without key columns, or for a key
    /// column that is named twice.
    pub fn new(
        batches: Vec<RecordBatch>,
        keys: impl IntoIterator<Item = impl Into<String>>,
        sequence: impl Into<String>,
    ) -> Result<Self> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() {
            return Err(Error::invalid("an upsert needs at least one key column"));
        }
        if let Some(at) = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at])) {
            return Err(Error::invalid("a key column is named twice").with("column", &keys[at]));
        }
        let report = Mutex::new(UpsertReport::default());
        Ok(Self {
            batches,
            keys,
            sequence: sequence.into(),
            steps: Vec::new(),
            report,
        })
    }

    /// Records the progress of a flow with the rows. A commit may serve several flows.
    #[must_use]
    pub fn with_step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// What it did: zeros before it is planned, final once it is committed.
    pub fn report(&self) -> UpsertReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn plan_on(&self, base: &Table) -> Result<Option<PlannedChange>> {
        // The fence comes first: what is overtaken needs no look-up.
        let next = NextSnapshot::of(base);
        let notes = notes(base, next, &self.steps)?;
        let winners = Winners::of(base, &self.batches, &self.keys, &self.sequence)?;
        let found = look_up(base, &winners).await?;
        let mut report = UpsertReport {
            superseded: winners.superseded,
            late: found.late,
            deleted: found.deletes.iter().map(|rows| rows.new).sum(),
            ..UpsertReport::default()
        };
        report.updated = found.updated;
        report.inserted = found.keep.iter().filter(|keep| **keep).count() as u64 - found.updated;
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        let rows = winners.rows(&self.batches, &found.keep)?;
        if rows.is_empty() && self.steps.is_empty() {
            return Ok(None);
        }
        let data_files = write(base, &rows).await?;
        let deletes: Vec<_> = found.deletes.into_iter().map(|rows| rows.deleted).collect();
        let delete_files = match deletes.is_empty() {
            true => Ok(Vec::new()),
            false => write_deletes(base, &deletes).await,
        };
        let delete_files = match delete_files {
            Ok(files) => files,
            Err(error) => {
                discard(base, &data_files).await;
                return Err(error);
            }
        };
        let written: Vec<WrittenFile> = data_files.iter().chain(&delete_files).cloned().collect();
        let delta = RowDelta {
            base: base.metadata().current_snapshot_id(),
            data_files,
            delete_files,
            notes,
        };
        match delta.plan_as(base, next).await {
            Ok(mut planned) => {
                // Another attempt looks rows up anew and writes anew: nothing of this is reused.
                let paths = written.iter().map(|file| file.file.file_path().to_owned());
                planned.scratch.extend(paths);
                Ok(Some(planned))
            }
            Err(error) => {
                discard(base, &written).await;
                Err(error)
            }
        }
    }
}

async fn write(base: &Table, rows: &[RecordBatch]) -> Result<Vec<WrittenFile>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = DataWriter::new(base)?;
    for batch in rows {
        if let Err(error) = writer.write(batch).await {
            writer.abort().await;
            return Err(error);
        }
    }
    writer.finish().await
}

#[async_trait]
impl Operation for Upsert {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_on(base).await
    }
}

/// By reference, so that whoever commits can ask for the report afterwards.
#[async_trait]
impl Operation for &Upsert {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_on(base).await
    }
}
