//! Going back to an older metadata file when the current one is missing or damaged.

use std::sync::Arc;

use berglake_format::commit::metadata_file;
use berglake_format::recover::{Pointers, Recovery, examine};
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent};
use iceberg::spec::TableMetadata;

use super::create::REPLACE;
use super::fault::{Cause, CommitFault};
use super::overlap::folders_of;
use super::{Inner, SqlCatalog, check_length, joined, schema};

/// What to do about a table whose metadata cannot be read.
pub(super) const ADVICE: &str = "restore the file, or go back to the newest older one that can be read: \
                                 `berglake recover-metadata NAMESPACE.TABLE`";

/// How often it is looked again because a commit came in between.
const ATTEMPTS: usize = 5;

impl SqlCatalog {
    /// What the table's row says, without reading any file.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a table that does not exist, and those of the store.
    pub async fn pointers(&self, ident: &TableIdent) -> Result<Pointers> {
        self.0.pointers(ident).await
    }

    /// Looks for the metadata file that a table can go back to whose current one is missing or damaged:
    /// that which was current before, else the newest in the folder that can be read and is of the same
    /// table, or the one that is `named`. Nothing is changed. What is cached of the current file is not
    /// asked: the file is read.
    ///
    /// # Errors
    /// As [`examine`], [`NotFound`](ErrorKind::NotFound) for a table that does not exist,
    /// [`Conflict`](ErrorKind::Conflict) if it is written to all the time, and those of the store.
    pub async fn plan_recovery(&self, ident: &TableIdent, named: Option<&str>) -> Result<Recovery> {
        self.0.plan_recovery(ident, named).await
    }

    /// Makes the table point at the metadata file that was chosen, if it still points at the damaged one,
    /// which becomes the one before it. No file is changed or deleted.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the table points elsewhere by now, and nothing was changed;
    /// [`UnknownOutcome`](ErrorKind::UnknownOutcome) if the answer was lost; those of reading the file and
    /// of the store.
    pub async fn recover(&self, ident: &TableIdent, plan: &Recovery) -> Result<Table> {
        self.0.recover(ident, plan).await
    }
}

impl Inner {
    async fn pointers(&self, ident: &TableIdent) -> Result<Pointers> {
        let sql = format!(
            "SELECT metadata_location, previous_metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3{}",
            self.only_tables()
        );
        let namespace = joined(ident.namespace());
        let row = [self.name.as_str(), &namespace, ident.name()];
        let rows = self.database.fetch(&sql, &row).await?;
        let Some(row) = rows.into_iter().next() else {
            return Err(self.no_such_table(ident).await);
        };
        let mut columns = row.into_iter();
        match columns.next().flatten() {
            Some(current) => Ok(Pointers {
                current,
                previous: columns.next().flatten().filter(|text| !text.is_empty()),
            }),
            None => Err(
                Error::corrupt("the table's row in the catalog names no metadata file")
                    .with("table", ident)
                    .with("catalog", self.database.place()),
            ),
        }
    }

    async fn plan_recovery(&self, ident: &TableIdent, named: Option<&str>) -> Result<Recovery> {
        for _ in 0..ATTEMPTS {
            let pointers = self.pointers(ident).await?;
            let result = examine(&self.storage, &pointers, named).await;
            // A file that is missing may have been replaced, and removed, since the row was read.
            if self.pointers(ident).await? == pointers {
                return result.map_err(|error| error.with("table", ident));
            }
        }
        Err(moved(ident))
    }

    async fn recover(&self, ident: &TableIdent, plan: &Recovery) -> Result<Table> {
        let chosen = &plan.chosen()?.location;
        let damaged = &plan.pointers.current;
        check_length("metadata location", chosen, schema::MAX_VALUE)?;
        // Somebody may have brought the file back since it was looked at.
        if metadata_file::read(&self.storage, damaged).await.is_ok() {
            return Err(moved(ident));
        }
        let metadata = metadata_file::read(&self.storage, chosen)
            .await
            .map_err(|error| error.with("table", ident))?;
        let folders = new_folders(&metadata, damaged)?;
        self.go_back(ident, damaged, chosen, &folders).await?;
        tracing::warn!(
            table = %ident,
            from = damaged,
            to = chosen,
            lost = plan.lost.len(),
            "the table went back to an older metadata file"
        );
        self.cache.remove(damaged);
        let metadata = Arc::new(metadata);
        self.cache.put(chosen, &metadata);
        let (storage, environment) = (self.storage.clone(), self.environment.clone());
        Ok(Table::new(
            ident.clone(),
            metadata,
            chosen,
            storage,
            environment,
        ))
    }

    /// The compare-and-swap.
    async fn go_back(
        &self,
        ident: &TableIdent,
        damaged: &str,
        chosen: &str,
        folders: &[Location],
    ) -> Result<()> {
        let namespace = joined(ident.namespace());
        let row = [
            self.name.as_str(),
            &namespace,
            ident.name(),
            damaged,
            chosen,
        ];
        let mut write = self.database.begin().await?;
        if !folders.is_empty() {
            write.lock_listing(&self.name).await?;
            if let Some(neighbour) = self.neighbour_in(&mut write, ident, folders).await? {
                write.rollback().await;
                return Err(neighbour.refusal(ident));
            }
        }
        match write.execute(REPLACE, &row).await {
            Ok(1..) => {}
            Ok(0) => {
                write.rollback().await;
                return Err(moved(ident));
            }
            Err(fault) if fault.is(Cause::LostRace) => return Err(moved(ident)),
            Err(fault) => return Err(fault.into()),
        }
        match write.commit().await {
            Ok(()) => Ok(()),
            Err(CommitFault::RolledBack(fault)) if fault.is(Cause::LostRace) => Err(moved(ident)),
            Err(CommitFault::RolledBack(fault)) => Err(fault.error),
            // Whoever else may have moved it there: it is where it should be.
            Err(CommitFault::Unknown(error)) => match self.pointer(ident).await {
                Ok(Some(now)) if now == chosen => Ok(()),
                _ => Err(error.with("table", ident)),
            },
        }
    }
}

/// The folders that the metadata takes beside those in which the table is already: an older file may be
/// from before the table was moved.
fn new_folders(metadata: &TableMetadata, damaged: &str) -> Result<Vec<Location>> {
    let mut folders = folders_of(metadata)?;
    if let Ok(damaged) = Location::parse(damaged) {
        folders.retain(|folder| !damaged.is_within(folder));
    }
    Ok(folders)
}

fn moved(ident: &TableIdent) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the table got other metadata while it was looked at, and was left as it is",
    )
    .with("table", ident)
    .help("look at the table again: a writer that still had its metadata may have repaired it")
}
