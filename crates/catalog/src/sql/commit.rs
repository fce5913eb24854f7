//! Commits: new metadata files first, then one database transaction that moves all pointers.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange, metadata_file};
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent, failpoint};
use futures::future::join_all;
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, TableMetadata};
use tokio::sync::MutexGuard;

use super::create::{Inserted, check_decimals};
use super::database::Write;
use super::fault::{Cause, CommitFault, Fault};
use super::{Inner, Pointer, check_length, joined, schema};
use crate::purge;

const MOVE: &str = "UPDATE iceberg_tables
    SET metadata_location = $5, previous_metadata_location = $4
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
        AND metadata_location = $4";

/// For a change without updates: nothing moves, and the row is still locked and compared.
const HOLD: &str = "UPDATE iceberg_tables SET metadata_location = $4
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
        AND metadata_location = $4";

/// One table of a commit, with its new metadata file written.
struct Staged {
    ident: TableIdent,
    step: Step,
}

/// What becomes of a table.
enum Step {
    /// Nothing: the change updates nothing, and only has to hold.
    Hold(Table),
    /// It gets new metadata.
    Move { base: Table, new: NewFile },
    /// It is made, in this folder.
    Make { location: Location, new: NewFile },
}

/// A metadata file that was written for the commit.
struct NewFile {
    pointer: Pointer,
    metadata: Arc<TableMetadata>,
}

impl Step {
    fn new_file(&self) -> Option<&NewFile> {
        match self {
            Self::Hold(_) => None,
            Self::Move { new, .. } | Self::Make { new, .. } => Some(new),
        }
    }
}

enum Staging {
    Ready(Box<Staged>),
    Lost(ConflictReason),
}

impl Inner {
    pub(super) async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let mut seen = HashSet::new();
        if let Some(twice) = changes.iter().find(|change| !seen.insert(&change.ident)) {
            return Err(Error::invalid("a commit names a table twice").with("table", &twice.ident));
        }
        // Writers of this program take turns per table, so that they do not write metadata files
        // for races that they would lose. Against other programs the compare-and-swap decides.
        let _turns = self.take_turns(&changes).await;

        let results = join_all(changes.iter().map(|change| self.stage(change))).await;
        let mut staged = Vec::with_capacity(results.len());
        let mut failure = None;
        for (change, result) in changes.iter().zip(results) {
            match result {
                Ok(Staging::Ready(ready)) => staged.push(*ready),
                Ok(Staging::Lost(reason)) => {
                    let ident = change.ident.clone();
                    failure.get_or_insert(Ok(CommitOutcome::Conflict { ident, reason }));
                }
                // An error outweighs a conflict: planning again would not help.
                Err(error) => {
                    if !matches!(failure, Some(Err(_))) {
                        failure = Some(Err(error));
                    }
                }
            }
        }
        if let Some(failure) = failure {
            self.discard(&staged).await;
            return failure;
        }
        match self.swap(&staged).await {
            Ok(None) => Ok(CommitOutcome::Committed(self.finish(staged).await)),
            Ok(Some((ident, reason))) => {
                self.discard(&staged).await;
                Ok(CommitOutcome::Conflict { ident, reason })
            }
            Err(CommitFault::RolledBack(fault)) => {
                self.discard(&staged).await;
                match (fault.cause, staged.first()) {
                    (Cause::LostRace, Some(first)) => Ok(CommitOutcome::Conflict {
                        ident: first.ident.clone(),
                        reason: ConflictReason::PointerMoved,
                    }),
                    _ => Err(fault.error),
                }
            }
            // The pointers may have moved, so the files stay whatever happens.
            Err(CommitFault::Unknown(error)) => Ok(CommitOutcome::Unknown(error)),
        }
    }

    async fn take_turns(&self, changes: &[TableChange]) -> Vec<MutexGuard<'_, ()>> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let count = self.turns.len().max(1) as u64;
        let mut which: Vec<usize> = changes
            .iter()
            .map(|change| (hasher.hash_one(&change.ident) % count) as usize)
            .collect();
        // One order for everybody, so that two commits never wait for each other.
        which.sort_unstable();
        which.dedup();
        let mut turns = Vec::with_capacity(which.len());
        for turn in which.into_iter().filter_map(|n| self.turns.get(n)) {
            turns.push(turn.lock().await);
        }
        turns
    }

    /// Applies the change to the current metadata and writes the new file.
    async fn stage(&self, change: &TableChange) -> Result<Staging> {
        let ident = &change.ident;
        let base = match self.load(ident).await {
            Ok(base) => base,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if change.is_creation() {
                    return self.stage_creation(change).await;
                }
                return Ok(Staging::Lost(ConflictReason::TableGone));
            }
            Err(error) => return Err(error),
        };
        // The requirements come first: a stale change is a conflict, whatever else is wrong with it.
        let probe = TableChange {
            updates: Vec::new(),
            ..change.clone()
        };
        if let Err(reason) = probe.apply(base.metadata(), base.metadata_location())? {
            return Ok(Staging::Lost(reason));
        }
        if let Some(reason) = stale_snapshot(&change.updates, base.metadata()) {
            return Ok(Staging::Lost(reason));
        }
        let ready = |step| {
            let ident = ident.clone();
            Ok(Staging::Ready(Box::new(Staged { ident, step })))
        };
        if change.updates.is_empty() {
            return ready(Step::Hold(base));
        }
        let metadata = match change.apply(base.metadata(), base.metadata_location())? {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Staging::Lost(reason)),
        };
        for update in &change.updates {
            if let TableUpdate::AddSchema { schema } = update {
                check_decimals(schema).map_err(|error| error.with("table", ident))?;
            }
        }
        if let Some(reason) = old_deletes(&change.updates, &metadata) {
            return Ok(Staging::Lost(reason));
        }
        if metadata.location() != base.metadata().location() {
            self.inside_warehouse(&Location::parse(metadata.location())?)
                .map_err(|error| error.with("table", ident))?;
        }
        let new = self
            .write_metadata(ident, metadata, Some(base.metadata_location()))
            .await?;
        ready(Step::Move { base, new })
    }

    /// Makes the first metadata of a table that the change creates, and writes its file.
    async fn stage_creation(&self, change: &TableChange) -> Result<Staging> {
        let ident = &change.ident;
        self.check_new_name(ident).await?;
        let default = self.default_location(ident).await?.to_string();
        let metadata = match change.create(&self.environment, &default)? {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Staging::Lost(reason)),
        };
        let location = self
            .check_new_table(&metadata)
            .map_err(|error| error.with("table", ident))?;
        if let Some(neighbour) = self.neighbour(&location).await? {
            return Err(neighbour.refusal(ident, &location));
        }
        let new = self.write_metadata(ident, metadata, None).await?;
        Ok(Staging::Ready(Box::new(Staged {
            ident: ident.clone(),
            step: Step::Make { location, new },
        })))
    }

    async fn write_metadata(
        &self,
        ident: &TableIdent,
        metadata: TableMetadata,
        current: Option<&str>,
    ) -> Result<NewFile> {
        let pointer = metadata_file::write(&self.storage, &self.environment, &metadata, current)
            .await
            .map_err(|error| error.with("table", ident))?;
        if let Err(error) = check_length("metadata location", &pointer, schema::MAX_VALUE) {
            self.remove_unused(&pointer).await;
            return Err(error.with("table", ident));
        }
        failpoint::hit(failpoint::METADATA_FILE_WRITTEN);
        Ok(NewFile {
            pointer,
            metadata: Arc::new(metadata),
        })
    }

    /// Moves all pointers in one transaction, or says which table's had moved before.
    async fn swap(
        &self,
        staged: &[Staged],
    ) -> Result<Option<(TableIdent, ConflictReason)>, CommitFault> {
        // Until COMMIT is sent a failure is certain: the database keeps nothing of the transaction.
        let before_commit = CommitFault::RolledBack;
        let mut write = self.database.begin().await.map_err(before_commit)?;
        // Who makes a row takes this lock before any row's, as everybody does who changes the listing.
        let makes = |one: &Staged| matches!(one.step, Step::Make { .. });
        if staged.iter().any(makes) {
            write
                .lock_listing(&self.name)
                .await
                .map_err(before_commit)?;
        }
        // Rows are locked in one order for everybody, against deadlocks.
        let mut order: Vec<&Staged> = staged.iter().collect();
        order.sort_unstable_by(|a, b| key(&a.ident).cmp(&key(&b.ident)));
        for one in order {
            let done = match &one.step {
                Step::Hold(base) => self.move_pointer(&mut write, base, None).await,
                Step::Move { base, new } => self.move_pointer(&mut write, base, Some(new)).await,
                Step::Make { location, new } => {
                    self.make_row(&mut write, &one.ident, location, &new.pointer)
                        .await
                }
            };
            match done {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    write.rollback().await;
                    return Ok(Some((one.ident.clone(), reason)));
                }
                Err(fault) => {
                    write.rollback().await;
                    return Err(before_commit(fault));
                }
            }
        }
        failpoint::hit(failpoint::BEFORE_POINTER_SWAP);
        write.commit().await?;
        failpoint::hit(failpoint::AFTER_POINTER_SWAP);
        Ok(None)
    }

    async fn move_pointer(
        &self,
        write: &mut Write<'_>,
        base: &Table,
        new: Option<&NewFile>,
    ) -> Result<Option<ConflictReason>, Fault> {
        let namespace = joined(base.ident().namespace());
        let mut values = vec![
            self.name.as_str(),
            &namespace,
            base.ident().name(),
            base.metadata_location(),
        ];
        let sql = match new {
            Some(new) => {
                values.push(&new.pointer);
                MOVE
            }
            None => HOLD,
        };
        let moved = write.execute(sql, &values).await? == 1;
        Ok((!moved).then_some(ConflictReason::PointerMoved))
    }

    async fn make_row(
        &self,
        write: &mut Write<'_>,
        ident: &TableIdent,
        location: &Location,
        pointer: &str,
    ) -> Result<Option<ConflictReason>, Fault> {
        let other = |error| Fault {
            cause: Cause::Other,
            error,
        };
        match self.insert_in(write, ident, location, pointer).await? {
            Inserted::Yes => Ok(None),
            Inserted::NameTaken => Ok(Some(ConflictReason::Requirement(
                "table already exists".to_string(),
            ))),
            Inserted::NoNamespace => Err(other(self.no_such_namespace(ident.namespace()).await)),
            Inserted::FolderTaken(error) => Err(other(error)),
        }
    }

    /// The tables as they stand after the commit.
    async fn finish(&self, staged: Vec<Staged>) -> Vec<Table> {
        let mut tables = Vec::with_capacity(staged.len());
        for Staged { ident, step } in staged {
            let (base, NewFile { pointer, metadata }) = match step {
                Step::Hold(base) => {
                    tables.push(base);
                    continue;
                }
                Step::Move { base, new } => (Some(base), new),
                Step::Make { new, .. } => (None, new),
            };
            self.cache.put(&pointer, &metadata);
            let table = Table::new(
                ident,
                metadata,
                pointer,
                self.storage.clone(),
                self.environment.clone(),
            );
            if let Some(base) = base {
                self.cache.remove(base.metadata_location());
                purge::remove_old_metadata(&base, &table).await;
            }
            tables.push(table);
        }
        tables
    }

    /// Deletes the metadata files of a commit that certainly did not happen.
    async fn discard(&self, staged: &[Staged]) {
        for new in staged.iter().filter_map(|one| one.step.new_file()) {
            self.remove_unused(&new.pointer).await;
        }
    }
}

fn key(ident: &TableIdent) -> (String, &str) {
    (joined(ident.namespace()), ident.name())
}

/// Whether a snapshot was numbered before another one took its number.
///
/// A requirement on one branch does not notice a commit to another branch, but sequence numbers and
/// row ids are the table's: planned on an older head, they are taken. Planning again helps.
fn stale_snapshot(updates: &[TableUpdate], metadata: &TableMetadata) -> Option<ConflictReason> {
    let mut last = metadata.last_sequence_number();
    let mut next_row = metadata.next_row_id();
    let mut version = metadata.format_version();
    for update in updates {
        match update {
            TableUpdate::UpgradeFormatVersion { format_version } => version = *format_version,
            TableUpdate::AddSnapshot { snapshot } => {
                let number = snapshot.sequence_number();
                // One without a parent has no older rows that its deletes could meet, so that two
                // replacements of a table may have one number. Going back is never possible.
                let taken = match snapshot.parent_snapshot_id() {
                    Some(_) => number <= last,
                    None => number < last,
                };
                if version != FormatVersion::V1 && taken {
                    return Some(ConflictReason::Requirement(format!(
                        "snapshot {} has the sequence number {number}, and the table is at {last}",
                        snapshot.snapshot_id()
                    )));
                }
                last = last.max(number);
                if let (FormatVersion::V3, Some((first, added))) = (version, snapshot.row_range()) {
                    if first < next_row {
                        return Some(ConflictReason::Requirement(format!(
                            "snapshot {} starts at row id {first}, and the table is at {next_row}",
                            snapshot.snapshot_id()
                        )));
                    }
                    next_row = first.saturating_add(added);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a snapshot brings position delete files to a table that has deletion vectors only.
///
/// It was planned before the table's format version was raised, which a check of a ref does not
/// notice. Planning again helps. Writers say in the summary what they add; one that does not is not
/// noticed here.
fn old_deletes(updates: &[TableUpdate], after: &TableMetadata) -> Option<ConflictReason> {
    if after.format_version() < FormatVersion::V3 {
        return None;
    }
    updates.iter().find_map(|update| {
        let TableUpdate::AddSnapshot { snapshot } = update else {
            return None;
        };
        let summary = &snapshot.summary().additional_properties;
        let added = summary.get("added-position-delete-files")?;
        (added.trim() != "0").then(|| {
            ConflictReason::Requirement(format!(
                "snapshot {} adds {added} position delete files, and a table of format version 3 takes deletion vectors",
                snapshot.snapshot_id()
            ))
        })
    })
}
