//! A committer without a catalog, for tests and for programs that keep their tables to themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{TableCreation, TableIdent};

use super::{CommitOutcome, Committer, ConflictReason, TableChange, metadata_file};
use crate::storage::{Location, Storage};
use crate::{Environment, Error, ErrorKind, Result, Table};

/// Keeps the pointers to the current metadata files in memory. The files are real.
#[derive(Debug)]
pub struct MemoryCommitter {
    storage: Storage,
    environment: Environment,
    pointers: Mutex<HashMap<TableIdent, (String, Arc<TableMetadata>)>>,
}

impl MemoryCommitter {
    /// A committer without tables.
    pub fn new(storage: Storage, environment: Environment) -> Self {
        Self {
            storage,
            environment,
            pointers: Mutex::new(HashMap::new()),
        }
    }

    /// Creates a table. `creation.location` must be set.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), and errors of the storage.
    pub async fn create(&self, ident: TableIdent, creation: TableCreation) -> Result<Table> {
        if let Some(location) = &creation.location {
            Location::parse(location)?;
        }
        let metadata = iceberg::spec::TableMetadataBuilder::from_table_creation(creation)?
            .build()?
            .metadata;
        let at = metadata_file::write(&self.storage, &self.environment, &metadata, None).await?;
        let metadata = Arc::new(metadata);
        let mut pointers = self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        if pointers.contains_key(&ident) {
            return Err(
                Error::new(ErrorKind::AlreadyExists, "the table exists").with("table", ident)
            );
        }
        pointers.insert(ident.clone(), (at.clone(), metadata.clone()));
        Ok(self.table(&ident, at, metadata))
    }

    fn table(&self, ident: &TableIdent, at: String, metadata: Arc<TableMetadata>) -> Table {
        Table::new(
            ident.clone(),
            metadata,
            at,
            self.storage.clone(),
            self.environment.clone(),
        )
    }

    fn pointer(&self, ident: &TableIdent) -> Option<(String, Arc<TableMetadata>)> {
        self.pointers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(ident)
            .cloned()
    }
}

#[async_trait]
impl Committer for MemoryCommitter {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        let (at, metadata) = self
            .pointer(ident)
            .ok_or_else(|| Error::not_found("there is no such table").with("table", ident))?;
        Ok(self.table(ident, at, metadata))
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let mut planned = Vec::with_capacity(changes.len());
        for change in &changes {
            let Some((at, metadata)) = self.pointer(&change.ident) else {
                let ident = change.ident.clone();
                return Ok(CommitOutcome::Conflict {
                    ident,
                    reason: ConflictReason::TableGone,
                });
            };
            match change.apply(&metadata, &at)? {
                Err(reason) => {
                    return Ok(CommitOutcome::Conflict {
                        ident: change.ident.clone(),
                        reason,
                    });
                }
                Ok(new) => {
                    let new_at =
                        metadata_file::write(&self.storage, &self.environment, &new, Some(&at))
                            .await?;
                    planned.push((change.ident.clone(), at, new_at, Arc::new(new)));
                }
            }
        }
        let mut pointers = self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        for (ident, old, _, _) in &planned {
            if pointers.get(ident).is_none_or(|(at, _)| at != old) {
                let (ident, reason) = (ident.clone(), ConflictReason::PointerMoved);
                return Ok(CommitOutcome::Conflict { ident, reason });
            }
        }
        let mut tables = Vec::with_capacity(planned.len());
        for (ident, _, at, metadata) in planned {
            pointers.insert(ident.clone(), (at.clone(), metadata.clone()));
            tables.push(self.table(&ident, at, metadata));
        }
        Ok(CommitOutcome::Committed(tables))
    }
}
