//! Namespaces and tables: the embedded SQL catalog on SQLite or PostgreSQL, in the tables of the
//! JDBC catalog, so that PyIceberg's `SqlCatalog` and Java's `JdbcCatalog` open the same warehouse
//! with no server.
//!
//! A commit is a compare-and-swap on the metadata location; several tables commit in one database
//! transaction. This crate refuses to know data files and queries.
//!
//! Read these first: [`Catalog`], [`SqlCatalog`], [`IcebergCatalog`].
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod bridge;
mod names;
mod purge;
pub mod rest;
mod sql;

use std::collections::HashMap;

use async_trait::async_trait;
use berglake_format::commit::Committer;
use berglake_format::storage::Location;
use berglake_format::{NamespaceIdent, Result, Table, TableIdent};
use iceberg::spec::{FormatVersion, Schema, SortOrder, UnboundPartitionSpec};

pub use bridge::{IcebergCatalog, to_iceberg_table};
pub use purge::Purged;
pub use sql::{AuditRecord, Journal, MetricsReport, SqlCatalog, SqlCatalogConfig};

/// A table to create.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its name.
    pub ident: TableIdent,
    /// Its columns; ids are assigned anew.
    pub schema: Schema,
    /// How it is partitioned; not at all where nothing is said. Source ids are those of `schema`.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// How its files are sorted; not at all where nothing is said. Source ids are those of `schema`.
    pub sort_order: Option<SortOrder>,
    /// Its folder; the catalog's default where nothing is said. It must lie in the warehouse.
    pub location: Option<Location>,
    /// Its properties.
    pub properties: HashMap<String, String>,
    /// Its format version.
    pub format_version: FormatVersion,
}

impl NewTable {
    /// A table with these columns, format version 2, not partitioned, at its default location.
    pub fn new(ident: TableIdent, schema: Schema) -> Self {
        Self {
            ident,
            schema,
            partition_spec: None,
            sort_order: None,
            location: None,
            properties: HashMap::new(),
            format_version: FormatVersion::V2,
        }
    }
}

/// Namespaces and tables. Commits go through [`Committer`], which every catalog is.
#[async_trait]
pub trait Catalog: Committer {
    /// The catalog's name, as other engines must give it.
    fn name(&self) -> &str;

    /// The folder below which all tables lie.
    fn warehouse(&self) -> &Location;

    /// The namespaces directly below `parent`, or at the top, in alphabetical order.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) if the parent does not exist.
    async fn list_namespaces(&self, parent: Option<&NamespaceIdent>)
    -> Result<Vec<NamespaceIdent>>;

    /// Creates a namespace.
    ///
    /// # Errors
    /// [`AlreadyExists`](berglake_format::ErrorKind::AlreadyExists).
    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()>;

    /// A namespace's properties.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound).
    async fn load_namespace(&self, namespace: &NamespaceIdent) -> Result<HashMap<String, String>>;

    /// Sets and removes properties of a namespace.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound).
    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()>;

    /// Drops a namespace that has neither tables nor namespaces below it.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound),
    /// [`Conflict`](berglake_format::ErrorKind::Conflict) if it is not empty.
    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()>;

    /// The tables of a namespace in alphabetical order.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound).
    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>>;

    /// Creates a table.
    ///
    /// # Errors
    /// [`AlreadyExists`](berglake_format::ErrorKind::AlreadyExists);
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) for its namespace;
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a location outside the
    /// warehouse or a partition spec that does not fit the schema.
    async fn create_table(&self, table: NewTable) -> Result<Table>;

    /// Whether the table exists.
    ///
    /// # Errors
    /// Errors of the store.
    async fn table_exists(&self, ident: &TableIdent) -> Result<bool>;

    /// Drops a table; with `purge` its files too, unless its `gc.enabled` is `false`.
    ///
    /// Files that cannot be deleted stay, and that is logged, not an error: the table is gone, and who
    /// tried again would purge the next one of this name.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound);
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a purge of a table with
    /// `gc.enabled=false`.
    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()>;

    /// Renames a table; its files stay where they are.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound),
    /// [`AlreadyExists`](berglake_format::ErrorKind::AlreadyExists).
    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()>;

    /// Adds a table that exists as files, by its metadata file.
    ///
    /// # Errors
    /// [`AlreadyExists`](berglake_format::ErrorKind::AlreadyExists), and those of reading metadata.
    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table>;
}
