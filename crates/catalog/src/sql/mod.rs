//! The embedded catalog on SQLite or PostgreSQL.

mod cache;
mod commit;
mod create;
mod database;
mod fault;
mod journal;
mod migrate;
mod namespaces;
mod overlap;
mod recover;
mod schema;
mod session;
mod tables;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berglake_format::commit::{CommitOutcome, Committer, TableChange, metadata_file};
use berglake_format::storage::{Location, Storage};
use berglake_format::{
    Environment, Error, ErrorKind, NamespaceIdent, Result, Secret, Table, TableIdent,
};
use iceberg::spec::TableMetadata;
use tokio::sync::Mutex;

use crate::{Catalog, NewTable, Purged};
use cache::MetadataCache;
use database::{Database, Row};
pub use journal::{AuditRecord, Journal, MetricsReport};

/// Settings of a [`SqlCatalog`].
#[derive(Debug, Clone)]
pub struct SqlCatalogConfig {
    /// The catalog's name. Other engines must give the same, since a store can hold several.
    pub name: String,
    /// Where the store is: `sqlite:PATH`, `sqlite::memory:` or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. A SQLite file and its folder are made when
    /// missing, unless `?mode=rw` or `?mode=ro` follows.
    pub uri: Secret,
    /// The folder below which tables lie.
    pub warehouse: Location,
    /// The most connections that are open at once; 8 where nothing is said.
    pub max_connections: u32,
    /// How long another program's lock on a SQLite file is waited for; 30 s where nothing is said.
    pub busy_timeout: Duration,
    /// How long a connection is waited for; 10 s where nothing is said.
    pub connect_timeout: Duration,
    /// How long PostgreSQL may take for one statement, before it is given up; 30 s where nothing is
    /// said. A lock is waited for two thirds of it, and a program that stands still within a transaction
    /// loses that, and its locks, after half of it.
    pub answer_timeout: Duration,
    /// How much parsed table metadata is kept in memory; 64 MiB where nothing is said.
    pub metadata_cache_bytes: usize,
}

impl SqlCatalogConfig {
    /// A catalog of this name in this store, all else as it is where nothing is said.
    pub fn new(name: impl Into<String>, uri: impl Into<String>, warehouse: Location) -> Self {
        Self {
            name: name.into(),
            uri: Secret::new(uri),
            warehouse,
            max_connections: 8,
            busy_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            metadata_cache_bytes: 64 << 20,
        }
    }
}

/// A catalog whose tables are rows of a SQL database, in the tables of the JDBC catalog (schema V1).
///
/// PyIceberg's `SqlCatalog` and Java's `JdbcCatalog` can use the same store at the same time. Cheap
/// to clone.
#[derive(Clone)]
pub struct SqlCatalog(Arc<Inner>);

struct Inner {
    name: String,
    warehouse: Location,
    database: Database,
    /// Whether the store tells tables from views; one of schema V0 that cannot be written does not.
    typed: bool,
    storage: Storage,
    environment: Environment,
    cache: MetadataCache,
    turns: Vec<Mutex<()>>,
}

impl fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCatalog")
            .field("name", &self.0.name)
            .field("database", &self.0.database)
            .field("warehouse", &self.0.warehouse.to_string())
            .finish_non_exhaustive()
    }
}

/// A table's row: where its metadata is now.
type Pointer = String;

impl SqlCatalog {
    /// Opens the store and makes its tables where they are missing.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a URI or a name that is not possible,
    /// [`Denied`](ErrorKind::Denied) where the file, its folder or the credentials are refused,
    /// [`Corrupt`](ErrorKind::Corrupt) for a file that is no SQLite database,
    /// [`Unavailable`](ErrorKind::Unavailable) for a server that is away. Each says which store it
    /// was, never with credentials.
    pub async fn open(
        config: SqlCatalogConfig,
        storage: Storage,
        environment: Environment,
    ) -> Result<Self> {
        if config.name.is_empty() || config.name.chars().count() > schema::MAX_NAME {
            return Err(
                Error::invalid("the catalog's name must have 1 to 255 characters")
                    .with("name", format!("{:?}", config.name)),
            );
        }
        let database = Database::open(&config).await?;
        let typed = schema::prepare(&database, &config.name).await?;
        Ok(Self(Arc::new(Inner {
            name: config.name,
            warehouse: config.warehouse,
            database,
            typed,
            storage,
            environment,
            cache: MetadataCache::new(config.metadata_cache_bytes),
            turns: (0..64).map(|_| Mutex::default()).collect(),
        })))
    }

    /// The storage that the tables' files are in.
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// The metadata of a table as [`create_table`](Catalog::create_table) would make it now, for a
    /// client that fills it before it exists. Nothing is written; the table comes to be by a commit
    /// that requires that there is none.
    ///
    /// # Errors
    /// As [`create_table`](Catalog::create_table).
    pub async fn stage_table(&self, table: &NewTable) -> Result<TableMetadata> {
        self.0.stage_table(table).await
    }

    /// The folder below which tables of a namespace with these properties are created: its own
    /// `location`, or the one that its name stands for in the warehouse.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a `location` that is none, or lies
    /// outside the warehouse.
    pub fn namespace_location(
        &self,
        namespace: &NamespaceIdent,
        properties: &HashMap<String, String>,
    ) -> Result<Location> {
        self.0.namespace_location(namespace, properties)
    }

    /// Adds a table by its metadata file, as [`register_table`](Catalog::register_table) does; a table
    /// that exists is made to point at the file.
    ///
    /// # Errors
    /// As [`register_table`](Catalog::register_table), and
    /// [`Conflict`](ErrorKind::Conflict) if the table is written to at the same time.
    pub async fn register_over(
        &self,
        ident: &TableIdent,
        metadata_location: &str,
    ) -> Result<Table> {
        self.0.register_table(ident, metadata_location, true).await
    }

    /// Drops a table with its files, and says which of these are still there. Whenever this succeeds
    /// the table is gone, so that it must not be called again for what is left.
    ///
    /// # Errors
    /// As [`drop_table`](Catalog::drop_table).
    pub async fn purge_table(&self, ident: &TableIdent) -> Result<Purged> {
        self.0.purge_table(ident).await
    }

    /// Where the table's metadata is now; none if there is no such table. It changes with each commit.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn metadata_location(&self, ident: &TableIdent) -> Result<Option<String>> {
        self.0.pointer(ident).await
    }

    /// Clock, identifiers and identity that this catalog gives to its tables.
    pub fn environment(&self) -> &Environment {
        &self.0.environment
    }
}

impl Inner {
    /// The condition that a row is a table and no view.
    fn only_tables(&self) -> &'static str {
        if self.typed {
            " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)"
        } else {
            ""
        }
    }

    /// Where the table's metadata is now; none if there is no such table.
    async fn pointer(&self, ident: &TableIdent) -> Result<Option<Pointer>> {
        let sql = format!(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3{}",
            self.only_tables()
        );
        let namespace = joined(ident.namespace());
        let rows = self
            .database
            .fetch(&sql, &[&self.name, &namespace, ident.name()])
            .await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        match row.into_iter().next().flatten() {
            Some(pointer) => Ok(Some(pointer)),
            None => Err(
                Error::corrupt("the table's row in the catalog names no metadata file")
                    .with("table", ident)
                    .with("catalog", self.database.place()),
            ),
        }
    }

    async fn table_at(&self, ident: &TableIdent, pointer: &str) -> Result<Table> {
        let metadata = match self.cache.get(pointer) {
            Some(metadata) => metadata,
            None => {
                let metadata = metadata_file::read(&self.storage, pointer)
                    .await
                    .map_err(|error| error.with("table", ident))?;
                let metadata = Arc::new(metadata);
                self.cache.put(pointer, &metadata);
                metadata
            }
        };
        Ok(Table::new(
            ident.clone(),
            metadata,
            pointer,
            self.storage.clone(),
            self.environment.clone(),
        ))
    }

    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        let mut seen: Option<Pointer> = None;
        loop {
            let Some(pointer) = self.pointer(ident).await? else {
                return Err(self.no_such_table(ident).await);
            };
            match self.table_at(ident, &pointer).await {
                // Between the two reads another writer may have committed and removed the old
                // file. If the pointer still names it, the file is really missing.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if seen.as_ref() == Some(&pointer) {
                        return Err(Error::corrupt(
                            "the catalog names a metadata file that does not exist",
                        )
                        .with("table", ident)
                        .with("path", pointer)
                        .help(recover::ADVICE)
                        .source_error(error));
                    }
                    seen = Some(pointer);
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return Err(error.help(recover::ADVICE));
                }
                result => return result,
            }
        }
    }

    /// The error for a table that does not exist, with the names that may have been meant.
    async fn no_such_table(&self, ident: &TableIdent) -> Error {
        let error =
            Error::not_found(format!("there is no table {ident}")).with("catalog", &self.name);
        let sql = format!(
            "SELECT table_namespace, table_name FROM iceberg_tables WHERE catalog_name = $1{}
             LIMIT 5000",
            self.only_tables()
        );
        // Suggestions are a courtesy: without them the error is still right.
        let Ok(rows) = self.database.fetch(&sql, &[&self.name]).await else {
            return error;
        };
        let all: Vec<(String, String)> = rows.into_iter().filter_map(pair).collect();
        let namespace = joined(ident.namespace());
        let mut meant: Vec<String> = crate::names::near(
            ident.name(),
            all.iter()
                .filter(|(n, _)| *n == namespace)
                .map(|(_, name)| name.as_str()),
        )
        .into_iter()
        .map(|name| format!("{namespace}.{name}"))
        .collect();
        let full: Vec<String> = all.iter().map(|(n, name)| format!("{n}.{name}")).collect();
        let elsewhere = all
            .iter()
            .zip(&full)
            .filter(|((n, name), _)| *n != namespace && name == ident.name())
            .map(|(_, full)| full.clone());
        meant.extend(elsewhere.take(3));
        if meant.is_empty() {
            let near = crate::names::near(&ident.to_string(), full.iter().map(String::as_str));
            meant.extend(near.into_iter().map(str::to_string));
        }
        if meant.is_empty() {
            return error.help("list the tables to see what there is");
        }
        error.help(format!("did you mean {}?", meant.join(" or ")))
    }
}

/// A namespace as the store has it.
fn joined(namespace: &NamespaceIdent) -> String {
    namespace.join(".")
}

/// The first two columns of a row, if neither is NULL.
fn pair(row: Row) -> Option<(String, String)> {
    let mut columns = row.into_iter();
    Some((columns.next()??, columns.next()??))
}

/// Checks that a text fits its column.
fn check_length(what: &'static str, text: &str, most: usize) -> Result<()> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the {what} has {length} characters, and the catalog holds {most}"
    ))
    .with("value", text.chars().take(80).collect::<String>() + "…"))
}

#[async_trait]
impl Committer for SqlCatalog {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.0.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.0.commit(changes).await
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn warehouse(&self) -> &Location {
        &self.0.warehouse
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        self.0.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.0.create_namespace(namespace, properties).await
    }

    async fn load_namespace(&self, namespace: &NamespaceIdent) -> Result<HashMap<String, String>> {
        self.0.load_namespace(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.0.update_namespace(namespace, updates, removals).await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.0.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.0.list_tables(namespace).await
    }

    async fn create_table(&self, table: NewTable) -> Result<Table> {
        self.0.create_table(table).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        Ok(self.0.pointer(ident).await?.is_some())
    }

    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        if purge {
            self.0.purge_table(ident).await.map(drop)
        } else {
            self.0.drop_table(ident).await
        }
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.0.rename_table(from, to).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        self.0.register_table(ident, metadata_location, false).await
    }
}
