//! Replacing files by others with the same rows.
//!
//! Rows were copied at one head, and the change is planned at another. What happened in between is
//! looked up file by file, not snapshot by snapshot, so it does not matter who did it:
//!
//! | at the new head | then |
//! |---|---|
//! | a file that was copied is gone | conflict |
//! | a row that was copied is deleted by position | deleted in the new file, at the place of the row |
//! | a row that was not copied, because it was deleted, is there again | conflict |
//! | equality deletes that are newer than the copies | apply to the new files by sequence number |
//! | equality deletes that were applied are gone, or others are as old as them | conflict |
//! | rows that had no ids when they were copied have some (version 3) | conflict |
//!
//! New files have the sequence number of the head that was copied, so that newer equality deletes
//! apply to them and older ones, which were applied, do not.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use iceberg::spec::FormatVersion;
use roaring::RoaringTreemap;

use super::producer::Producer;
use super::removals::{DeleteKey, Removals, delete_key};
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::deletes::DeleteLoader;
use crate::plan::{ScanPlan, ScanTask};
use crate::rewrite::{CopiedFile, CopiedRows};
use crate::storage::normalize;
use crate::write::{DeletedRows, WrittenFile, discard, write_deletes};
use crate::{Error, ErrorKind, Result, Table};

/// Replaces data files by files with the same rows (a `replace` snapshot).
///
/// Deletes that were committed since the rows were copied are carried over to the new files; where
/// that cannot be done, planning is a [`Conflict`](ErrorKind::Conflict), and the files are the
/// caller's to discard. Delete files that no data file needs any more are removed with the files.
#[derive(Debug, Clone)]
pub struct RewriteFiles {
    /// The format version of the table when the rows were copied.
    format_version: FormatVersion,
    /// The sequence number of the head at which they were copied.
    sequence_number: i64,
    copies: Vec<CopiedRows>,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl RewriteFiles {
    /// Replaces the inputs of these copies, which were made from this plan, by their outputs.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for the plan of a table without rows.
    pub fn new(plan: &ScanPlan, copies: Vec<CopiedRows>) -> Result<Self> {
        let snapshot = plan.snapshot.as_ref().ok_or_else(|| {
            Error::invalid("a table without rows has no files to rewrite")
                .with("table", plan.table.ident())
        })?;
        Ok(Self {
            format_version: plan.table.metadata().format_version(),
            sequence_number: snapshot.sequence_number(),
            copies,
            notes: CommitNotes::default(),
        })
    }

    /// The files that were written, for whoever has to discard them.
    pub fn outputs(&self) -> impl Iterator<Item = &WrittenFile> {
        self.copies.iter().flat_map(|copy| &copy.outputs)
    }

    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) where the files are not at this head as they were copied and
    /// the difference cannot be carried over; errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<PlannedChange> {
        if base.metadata().format_version() != self.format_version {
            return Err(gone(
                "the table was upgraded while its files were rewritten",
            ));
        }
        let head = self.notes.scan(base).plan().await?;
        let tasks = by_path(&head)?;
        let deletes = self.carried(base, &tasks).await?;
        let removals = self.removals(&head, &tasks)?;

        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Replace)?;
        producer.add_rewritten(self.outputs().cloned(), self.sequence_number)?;
        let carried = write_deletes(base, &deletes).await?;
        let planned = match producer.add_deletes(carried.iter().cloned()) {
            Ok(()) => producer.finish(&self.notes, removals).await,
            Err(error) => Err(error),
        };
        match planned {
            Ok(mut planned) => {
                let mut files: Vec<String> = carried
                    .iter()
                    .map(|delete| delete.file.file_path().to_string())
                    .collect();
                // All deletion vectors of one attempt are in one file.
                files.dedup();
                planned.scratch.extend(files);
                Ok(planned)
            }
            Err(error) => {
                discard(base, &carried).await;
                Err(error)
            }
        }
    }

    /// The deletes of new files that stand for deletes of old files since these were copied.
    async fn carried(
        &self,
        base: &Table,
        tasks: &HashMap<String, &ScanTask>,
    ) -> Result<Vec<DeletedRows>> {
        let loader = DeleteLoader::new(base.storage().clone());
        let mut carried = Vec::new();
        for copy in &self.copies {
            let mut deleted = vec![RoaringTreemap::new(); copy.outputs.len()];
            for input in &copy.inputs {
                let task = task_of(tasks, input)?;
                if input.file.first_row_id().is_none() && task.file.first_row_id().is_some() {
                    // The first commit after an upgrade to version 3 has given ids to its rows, and
                    // the copies would get others.
                    return Err(gone("rows were given ids while they were copied")
                        .with("path", input.file.file_path()));
                }
                self.check_equality_deletes(base, copy, input, task)?;
                let by_position = loader.positions(task).await?;
                let by_position = by_position.as_deref().cloned().unwrap_or_default();
                check_nothing_is_back(input, &by_position)?;
                let new = &by_position & &input.copied;
                if !new.is_empty() && !copy.in_order() {
                    return Err(gone(
                        "rows were deleted while they were moved to other partitions",
                    )
                    .with("path", input.file.file_path()));
                }
                for position in new {
                    let (output, at) = copy
                        .place(input, position)
                        .ok_or_else(|| Error::internal("a copied row has no place"))?;
                    if let Some(deleted) = deleted.get_mut(output) {
                        deleted.insert(at);
                    }
                }
            }
            let changed = copy.outputs.iter().zip(deleted);
            carried.extend(changed.filter(|(_, positions)| !positions.is_empty()).map(
                |(output, positions)| DeletedRows {
                    data_file: output.file.clone(),
                    spec_id: output.spec_id,
                    positions,
                },
            ));
        }
        Ok(carried)
    }

    /// Equality deletes need not be carried over: those that were applied are older than the new
    /// files, all others are newer.
    fn check_equality_deletes(
        &self,
        base: &Table,
        copy: &CopiedRows,
        input: &CopiedFile,
        task: &ScanTask,
    ) -> Result<()> {
        let mut applied = 0;
        for delete in &task.equality_deletes {
            if input
                .equality_deletes
                .contains(&normalize(delete.file.file_path()))
            {
                applied += 1;
                continue;
            }
            let spec = base.metadata().partition_spec_by_id(delete.spec_id);
            let of_all = spec.is_some_and(|spec| spec.is_unpartitioned());
            if delete.sequence_number <= self.sequence_number
                || !(of_all || copy.stays_in_partition(input))
            {
                return Err(
                    gone("rows were deleted by key, and the new files would not have it")
                        .with("path", input.file.file_path())
                        .with("delete-file", delete.file.file_path()),
                );
            }
        }
        if applied < input.equality_deletes.len() {
            return Err(gone("deletes that were applied have been taken back")
                .with("path", input.file.file_path()));
        }
        Ok(())
    }

    /// The inputs, and delete files that apply to nothing but them.
    fn removals(&self, head: &ScanPlan, tasks: &HashMap<String, &ScanTask>) -> Result<Removals> {
        let mut removals = Removals::default();
        let mut inputs = HashSet::new();
        for input in self.copies.iter().flat_map(|copy| &copy.inputs) {
            removals.data_file(&input.file, input.spec_id);
            inputs.insert(normalize(input.file.file_path()));
        }
        let (theirs, others): (Vec<&ScanTask>, Vec<&ScanTask>) = head
            .tasks
            .iter()
            .partition(|task| inputs.contains(&normalize(task.file.file_path())));
        let mut needed: HashSet<DeleteKey> = others
            .iter()
            .flat_map(|task| task.position_deletes.iter().chain(&task.equality_deletes))
            .map(|delete| delete_key(&delete.file))
            .collect();
        for input in self.copies.iter().flat_map(|copy| &copy.inputs) {
            // These apply to the new files.
            let newer = task_of(tasks, input)?
                .equality_deletes
                .iter()
                .filter(|delete| delete.sequence_number > self.sequence_number);
            needed.extend(newer.map(|delete| delete_key(&delete.file)));
        }
        for task in theirs {
            for delete in task.position_deletes.iter().chain(&task.equality_deletes) {
                if !needed.contains(&delete_key(&delete.file)) {
                    removals.delete_file(&delete.file);
                }
            }
        }
        Ok(removals)
    }
}

#[async_trait]
impl Operation for RewriteFiles {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        if self.copies.is_empty() {
            return Ok(None);
        }
        self.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}

/// The tasks of a plan by the normal spelling of their paths.
fn by_path(plan: &ScanPlan) -> Result<HashMap<String, &ScanTask>> {
    let mut tasks = HashMap::with_capacity(plan.tasks.len());
    for task in &plan.tasks {
        if tasks
            .insert(normalize(task.file.file_path()), task)
            .is_some()
        {
            return Err(Error::corrupt("a data file is in the table twice")
                .with("path", task.file.file_path()));
        }
    }
    Ok(tasks)
}

fn task_of<'a>(tasks: &HashMap<String, &'a ScanTask>, input: &CopiedFile) -> Result<&'a ScanTask> {
    tasks
        .get(&normalize(input.file.file_path()))
        .filter(|task| task.spec_id == input.spec_id)
        .copied()
        .ok_or_else(|| {
            gone("a file was removed from the table while it was rewritten")
                .with("path", input.file.file_path())
        })
}

/// Every row that was not copied must still be deleted, or it would be lost: a rollback brings
/// deleted rows back.
fn check_nothing_is_back(input: &CopiedFile, by_position: &RoaringTreemap) -> Result<()> {
    let mut accounted = by_position | &input.copied;
    accounted |= &input.deleted_by_key;
    accounted.remove_range(input.file.record_count()..);
    if accounted.len() != input.file.record_count() {
        return Err(gone("deletes that were applied have been taken back")
            .with("path", input.file.file_path()));
    }
    Ok(())
}

fn gone(message: &str) -> Error {
    Error::new(ErrorKind::Conflict, message)
        .help("nothing was changed; the next run of the compaction plans anew")
}

#[cfg(test)]
mod tests;
