//! Commits: new metadata files first, then one database transaction that moves all pointers.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange, metadata_file};
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent, failpoint};
use futures::future::join_all;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use tokio::sync::MutexGuard;

use super::create::{Inserted, check_decimals};
use super::database::Write;
use super::fault::{Cause, CommitFault, Fault};
use super::overlap::folders_of;
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
    /// It gets new metadata, and with it these folders, where they are not those that it had.
    Move {
        base: Table,
        new: NewFile,
        folders: Vec<Location>,
    },
    /// It is made, in these folders.
    Make {
        folders: Vec<Location>,
        new: NewFile,
    },
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

    fn takes_folders(&self) -> bool {
        match self {
            Self::Hold(_) => false,
            Self::Move { folders, .. } | Self::Make { folders, .. } => !folders.is_empty(),
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
        let metadata = match change.apply(base.metadata(), base.metadata_location())? {
            Ok(metadata) => metadata,
            Err(reason) => return Ok(Staging::Lost(reason)),
        };
        let ready = |step| {
            let ident = ident.clone();
            Ok(Staging::Ready(Box::new(Staged { ident, step })))
        };
        if change.updates.is_empty() {
            return ready(Step::Hold(base));
        }
        for update in &change.updates {
            if let TableUpdate::AddSchema { schema } = update {
                check_decimals(schema).map_err(|error| error.with("table", ident))?;
            }
        }
        check_identity(base.metadata(), &metadata).map_err(|error| error.with("table", ident))?;
        let folders = self.new_folders(ident, base.metadata(), &metadata).await?;
        let new = self
            .write_metadata(ident, metadata, Some(base.metadata_location()))
            .await?;
        ready(Step::Move { base, new, folders })
    }

    /// The folders that a change gives to a table, checked; none where they stay as they were.
    async fn new_folders(
        &self,
        ident: &TableIdent,
        before: &TableMetadata,
        after: &TableMetadata,
    ) -> Result<Vec<Location>> {
        let folders = folders_of(after).map_err(|error| error.with("table", ident))?;
        // A table that has always been where it may not be made can still be written to.
        if folders_of(before).is_ok_and(|before| before == folders) {
            return Ok(Vec::new());
        }
        let folders = self
            .checked_folders(after)
            .map_err(|error| error.with("table", ident))?;
        match self.neighbours(ident, &folders).await?.first() {
            Some(neighbour) => Err(neighbour.refusal(ident)),
            None => Ok(folders),
        }
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
        let folders = self
            .check_new_table(&metadata)
            .map_err(|error| error.with("table", ident))?;
        if let Some(neighbour) = self.neighbours(ident, &folders).await?.first() {
            return Err(neighbour.refusal(ident));
        }
        let new = self.write_metadata(ident, metadata, None).await?;
        Ok(Staging::Ready(Box::new(Staged {
            ident: ident.clone(),
            step: Step::Make { folders, new },
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
        // Who takes a folder takes this lock before any row's, as everybody does who changes the
        // listing.
        if staged.iter().any(|one| one.step.takes_folders()) {
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
                Step::Move { base, new, folders } => {
                    match self.neighbour_in(&mut write, &one.ident, folders).await {
                        Ok(None) => self.move_pointer(&mut write, base, Some(new)).await,
                        Ok(Some(neighbour)) => Err(refused(neighbour.refusal(&one.ident))),
                        Err(fault) => Err(fault),
                    }
                }
                Step::Make { folders, new } => {
                    self.make_row(&mut write, &one.ident, folders, &new.pointer)
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
        folders: &[Location],
        pointer: &str,
    ) -> Result<Option<ConflictReason>, Fault> {
        match self.insert_in(write, ident, folders, pointer).await? {
            Inserted::Yes => Ok(None),
            Inserted::NameTaken => Ok(Some(ConflictReason::Requirement(
                "table already exists".to_string(),
            ))),
            Inserted::NoNamespace => Err(refused(self.no_such_namespace(ident.namespace()).await)),
            Inserted::FolderTaken(error) => Err(refused(error)),
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
                Step::Move { base, new, .. } => (Some(base), new),
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
                purge::remove_old_metadata(&base, &table, &self.warehouse).await;
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

fn refused(error: Error) -> Fault {
    Fault {
        cause: Cause::Other,
        error,
    }
}

/// Refuses to make another table of a table: whoever reads or drops it by its UUID would not find it
/// any more. Tables of format version 1 may have none, and get one.
fn check_identity(before: &TableMetadata, after: &TableMetadata) -> Result<()> {
    if before.uuid() == after.uuid() || before.uuid().is_nil() {
        return Ok(());
    }
    Err(Error::invalid("the UUID of a table cannot be changed")
        .with("uuid", before.uuid())
        .with("asked for", after.uuid())
        .help("leave assign-uuid out of changes of tables that exist"))
}

fn key(ident: &TableIdent) -> (String, &str) {
    (joined(ident.namespace()), ident.name())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use berglake_format::commit::{Committer, Operation, PlannedChange, Transaction};
    use berglake_format::snapshot::{Append, RowDelta};
    use berglake_format::storage::Storage;
    use berglake_format::write::WrittenFile;
    use berglake_format::{Environment, NamespaceIdent};
    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, NestedField,
        PrimitiveType, Schema, Struct, Type,
    };

    use super::*;
    use crate::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};

    fn file(folder: &str, name: &str, content: DataContentType) -> DataFileBuilder {
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(format!("{folder}/data/{name}"))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .partition_spec_id(0)
            .record_count(1)
            .file_size_in_bytes(100);
        builder
    }

    fn written(builder: &DataFileBuilder) -> Vec<WrittenFile> {
        let file = builder.build().unwrap();
        vec![WrittenFile { file, spec_id: 0 }]
    }

    /// Replaces a row as an upsert does. Another engine upgrades the table after the first plan.
    struct Replace<'a>(&'a SqlCatalog, AtomicBool);

    #[async_trait]
    impl Operation for Replace<'_> {
        async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
            let folder = base.metadata().location();
            let mut delete = file(folder, "deletes", DataContentType::PositionDeletes);
            delete.referenced_data_file(Some(format!("{folder}/data/a")));
            if base.metadata().format_version() >= FormatVersion::V3 {
                delete.file_format(DataFileFormat::Puffin);
                delete.content_offset(Some(4));
                delete.content_size_in_bytes(Some(40));
            }
            let delta = RowDelta {
                base: base.metadata().current_snapshot_id(),
                data_files: written(&file(folder, "new", DataContentType::Data)),
                delete_files: written(&delete),
                ..RowDelta::default()
            };
            let planned = delta.plan(base).await?;
            if !self.1.swap(true, Ordering::SeqCst) {
                let upgrade = TableChange {
                    ident: base.ident().clone(),
                    requirements: Vec::new(),
                    updates: vec![TableUpdate::UpgradeFormatVersion {
                        format_version: FormatVersion::V3,
                    }],
                };
                let outcome = self.0.commit(vec![upgrade]).await?;
                assert!(matches!(outcome, CommitOutcome::Committed(_)));
            }
            Ok(planned)
        }
    }

    #[tokio::test]
    async fn an_upgrade_during_an_upsert_has_it_planned_again_in_the_new_form() {
        let warehouse = Location::parse("memory:///wh").unwrap();
        let config = SqlCatalogConfig::new("lake", "sqlite::memory:", warehouse);
        let catalog = SqlCatalog::open(config, Storage::default(), Environment::default());
        let catalog = catalog.await.unwrap();
        let namespace = NamespaceIdent::new("n".to_string());
        let created = catalog.create_namespace(&namespace, HashMap::new()).await;
        created.unwrap();
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([Arc::new(id)]).build();
        let ident = TableIdent::new(namespace, "t".to_string());
        let new = NewTable::new(ident.clone(), schema.unwrap());
        let table = catalog.create_table(new).await.unwrap();
        let first = file(table.metadata().location(), "a", DataContentType::Data);
        let append = Append {
            files: written(&first),
            ..Append::default()
        };
        let first = Transaction::new(&catalog).step(ident.clone(), append);
        first.commit().await.unwrap();

        let replace = Replace(&catalog, AtomicBool::new(false));
        let replaced = Transaction::new(&catalog).step(ident, replace);
        let applied = replaced.commit().await.unwrap();
        let head = applied.first().unwrap().table();
        assert_eq!(head.metadata().format_version(), FormatVersion::V3);
        let summary = head.current_snapshot().unwrap().summary();
        let added = |what: &str| summary.additional_properties.get(what).map(String::as_str);
        assert_eq!(added("added-dvs"), Some("1"));
        assert_eq!(added("added-position-delete-files"), None);
    }
}
