//! The catalogs of the benches, and how tables get many snapshots in a short time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use berglake_benches::Error;
use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{
    CommitOutcome, Committer, Operation, TableChange, Transaction, metadata_file,
};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::WrittenFile;
use berglake_format::{Environment, NamespaceIdent, Table, TableIdent};

use crate::protocol;

/// The catalog's name; engines that read the same catalog file give the same.
const CATALOG: &str = "berglake";
/// The one namespace.
pub const NAMESPACE: &str = "bench";

/// Catalogs by their folder: opening one is not what is measured.
#[derive(Default)]
pub struct Lake {
    catalogs: HashMap<PathBuf, Arc<SqlCatalog>>,
}

impl Lake {
    /// The catalog of a folder; it is made where it does not exist.
    pub async fn catalog(&mut self, folder: &Path) -> Result<Arc<SqlCatalog>, Error> {
        if let Some(catalog) = self.catalogs.get(folder) {
            return Ok(catalog.clone());
        }
        std::fs::create_dir_all(folder)?;
        let catalog = Arc::new(open(folder).await?);
        let namespace = NamespaceIdent::new(NAMESPACE.to_string());
        if !catalog.list_namespaces(None).await?.contains(&namespace) {
            catalog.create_namespace(&namespace, HashMap::new()).await?;
        }
        self.catalogs.insert(folder.to_path_buf(), catalog.clone());
        Ok(catalog)
    }
}

/// Opens the catalog of a folder.
pub async fn open(folder: &Path) -> Result<SqlCatalog, Error> {
    let config = SqlCatalogConfig::new(
        CATALOG,
        format!("sqlite:{}", folder.join("catalog.db").display()),
        Location::from_path(&folder.join("warehouse"))?,
    );
    Ok(SqlCatalog::open(config, Storage::default(), Environment::default()).await?)
}

/// The name of a table in the one namespace.
pub fn ident(name: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(NAMESPACE.to_string()), name.to_string())
}

/// Makes a table, and gives a committer for it.
pub async fn create(catalog: &SqlCatalog, table: NewTable) -> Result<Deferred, Error> {
    let table = catalog.create_table(table).await?;
    Ok(Deferred::new(table))
}

/// One table whose commits are made as they always are, manifests and manifest lists written, but
/// without a metadata file each: those of ten thousand commits would be gigabytes.
#[derive(Debug)]
pub struct Deferred(Mutex<Table>);

impl Deferred {
    pub fn new(table: Table) -> Self {
        Self(Mutex::new(table))
    }

    /// The table as it stands now.
    pub fn table(&self) -> Table {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Commits an operation on the table.
    pub async fn apply(&self, operation: impl Operation + 'static) -> Result<(), Error> {
        let ident = self.table().ident().clone();
        Transaction::new(self)
            .step(ident, operation)
            .commit()
            .await?;
        Ok(())
    }

    /// Writes the metadata file, and has the catalog point at it.
    pub async fn publish(&self, catalog: &SqlCatalog) -> Result<Table, Error> {
        let table = self.table();
        let at = metadata_file::write(
            table.storage(),
            table.environment(),
            table.metadata(),
            Some(table.metadata_location()),
        )
        .await?;
        Ok(catalog.register_over(table.ident(), &at).await?)
    }
}

#[async_trait]
impl Committer for Deferred {
    async fn load(&self, _ident: &TableIdent) -> berglake_format::Result<Table> {
        Ok(self.table())
    }

    async fn commit(&self, changes: Vec<TableChange>) -> berglake_format::Result<CommitOutcome> {
        let [change] = changes.as_slice() else {
            return Err(berglake_format::Error::invalid(
                "there is one table, which changes once per commit",
            ));
        };
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let location = current.metadata_location().to_string();
        let metadata = match change.apply(current.metadata(), &location)? {
            Ok(metadata) => Arc::new(metadata),
            Err(reason) => {
                return Ok(CommitOutcome::Conflict {
                    ident: change.ident.clone(),
                    reason,
                });
            }
        };
        let (storage, environment) = (current.storage().clone(), current.environment().clone());
        let ident = change.ident.clone();
        *current = Table::new(ident, metadata, location, storage, environment);
        Ok(CommitOutcome::Committed(vec![current.clone()]))
    }
}

/// What other engines are told of a table of the catalog in this folder.
pub fn described(folder: &Path, table: &Table) -> protocol::Table {
    protocol::Table {
        folder: folder.to_path_buf(),
        name: table.ident().name().to_string(),
        metadata: table.metadata_location().to_string(),
        files: Vec::new(),
    }
}

/// The data files of a table's head, in the order in which they were added, so that other tables can
/// have them too.
pub async fn data_files(table: &Table) -> Result<Vec<WrittenFile>, Error> {
    let plan = table.scan().all_metrics().plan().await?;
    let files = plan.tasks.iter().map(|task| WrittenFile {
        file: task.file.as_ref().clone(),
        spec_id: task.spec_id,
    });
    Ok(files.collect())
}

/// A number that looks random and is the same for the same two numbers (SplitMix64).
pub fn noise(one: u64, other: u64) -> u64 {
    let mut z = one
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(other.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
