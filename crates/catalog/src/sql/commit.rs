//! Commits: new metadata files first, then one database transaction that moves all pointers.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange, metadata_file};
use berglake_format::storage::Location;
use berglake_format::{Error, Result, Table, TableIdent, failpoint};
use futures::future::join_all;
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, TableMetadata};
use tokio::sync::MutexGuard;

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
    base: Table,
    /// The new file and its contents; none where the change updates nothing.
    new: Option<(Pointer, Arc<TableMetadata>)>,
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
            Err(error) if error.kind() == berglake_format::ErrorKind::NotFound => {
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
        let ready = |base, new| {
            let ident = ident.clone();
            Ok(Staging::Ready(Box::new(Staged { ident, base, new })))
        };
        if change.updates.is_empty() {
            return ready(base, None);
        }
        let metadata = match change.apply(base.metadata(), base.metadata_location())? {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Staging::Lost(reason)),
        };
        if metadata.location() != base.metadata().location() {
            self.inside_warehouse(&Location::parse(metadata.location())?)
                .map_err(|error| error.with("table", ident))?;
        }
        let pointer = metadata_file::write(
            &self.storage,
            &self.environment,
            &metadata,
            Some(base.metadata_location()),
        )
        .await
        .map_err(|error| error.with("table", ident))?;
        if let Err(error) = check_length("metadata location", &pointer, schema::MAX_VALUE) {
            self.remove_unused(&pointer).await;
            return Err(error.with("table", ident));
        }
        failpoint::hit(failpoint::METADATA_FILE_WRITTEN);
        ready(base, Some((pointer, Arc::new(metadata))))
    }

    /// Moves all pointers in one transaction, or says which table's had moved before.
    async fn swap(
        &self,
        staged: &[Staged],
    ) -> Result<Option<(TableIdent, ConflictReason)>, CommitFault> {
        // Until COMMIT is sent a failure is certain: the database keeps nothing of the transaction.
        let before_commit = CommitFault::RolledBack;
        let mut write = self.database.begin().await.map_err(before_commit)?;
        // Rows are locked in one order for everybody, against deadlocks.
        let mut order: Vec<&Staged> = staged.iter().collect();
        order.sort_unstable_by(|a, b| key(&a.ident).cmp(&key(&b.ident)));
        for one in order {
            match self.move_pointer(&mut write, one).await {
                Ok(true) => {}
                Ok(false) => {
                    write.rollback().await;
                    return Ok(Some((one.ident.clone(), ConflictReason::PointerMoved)));
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

    async fn move_pointer(&self, write: &mut Write<'_>, staged: &Staged) -> Result<bool, Fault> {
        let namespace = joined(staged.ident.namespace());
        let mut values = vec![
            self.name.as_str(),
            &namespace,
            staged.ident.name(),
            staged.base.metadata_location(),
        ];
        let sql = match &staged.new {
            Some((pointer, _)) => {
                values.push(pointer);
                MOVE
            }
            None => HOLD,
        };
        Ok(write.execute(sql, &values).await? == 1)
    }

    /// The tables as they stand after the commit.
    async fn finish(&self, staged: Vec<Staged>) -> Vec<Table> {
        let mut tables = Vec::with_capacity(staged.len());
        for Staged { ident, base, new } in staged {
            let Some((pointer, metadata)) = new else {
                tables.push(base);
                continue;
            };
            self.cache.put(&pointer, &metadata);
            self.cache.remove(base.metadata_location());
            let table = Table::new(
                ident,
                metadata,
                pointer,
                self.storage.clone(),
                self.environment.clone(),
            );
            purge::remove_old_metadata(&base, &table).await;
            tables.push(table);
        }
        tables
    }

    /// Deletes the metadata files of a commit that certainly did not happen.
    async fn discard(&self, staged: &[Staged]) {
        for (pointer, _) in staged.iter().filter_map(|one| one.new.as_ref()) {
            self.remove_unused(pointer).await;
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
                if version != FormatVersion::V1 && number <= last {
                    return Some(ConflictReason::Requirement(format!(
                        "snapshot {} has the sequence number {number}, and the table is at {last}",
                        snapshot.snapshot_id()
                    )));
                }
                last = number;
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
