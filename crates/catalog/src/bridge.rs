//! The `iceberg` crate's catalog trait on top of ours.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use berglake_format::commit::{CommitOutcome, TableChange};
use berglake_format::storage::Location;
use berglake_format::{ErrorKind, NamespaceIdent, Table, TableIdent};
use iceberg::{Namespace, Runtime, TableCommit, TableCreation, TableUpdate};

use crate::{Catalog, NewTable};

/// A catalog of ours as an [`iceberg::Catalog`], for code that knows that trait alone.
///
/// Commits go the same way as all others. A lost answer is looked for before it is reported.
#[derive(Debug, Clone)]
pub struct IcebergCatalog(Arc<dyn Catalog>);

impl IcebergCatalog {
    /// Wraps a catalog.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self(catalog)
    }

    /// The catalog inside.
    pub fn inner(&self) -> &Arc<dyn Catalog> {
        &self.0
    }
}

/// A table of ours as one of the `iceberg` crate, with the same storage.
///
/// # Errors
/// If it is called outside a Tokio runtime.
pub fn to_iceberg_table(table: &Table) -> iceberg::Result<iceberg::table::Table> {
    iceberg::table::Table::builder()
        .identifier(table.ident().clone())
        .metadata(table.metadata().clone())
        .metadata_location(table.metadata_location())
        .file_io(table.storage().file_io())
        .runtime(Runtime::try_current()?)
        .build()
}

/// The kinds that the foreign trait knows for names; the rest as everywhere.
fn named(
    error: berglake_format::Error,
    missing: iceberg::ErrorKind,
    taken: iceberg::ErrorKind,
) -> iceberg::Error {
    let kind = match error.kind() {
        ErrorKind::NotFound => missing,
        ErrorKind::AlreadyExists => taken,
        _ => return error.into(),
    };
    iceberg::Error::new(kind, error.to_string())
}

fn of_table(error: berglake_format::Error) -> iceberg::Error {
    named(
        error,
        iceberg::ErrorKind::TableNotFound,
        iceberg::ErrorKind::TableAlreadyExists,
    )
}

fn of_namespace(error: berglake_format::Error) -> iceberg::Error {
    named(
        error,
        iceberg::ErrorKind::NamespaceNotFound,
        iceberg::ErrorKind::NamespaceAlreadyExists,
    )
}

#[async_trait]
impl iceberg::Catalog for IcebergCatalog {
    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> iceberg::Result<Vec<NamespaceIdent>> {
        self.0.list_namespaces(parent).await.map_err(of_namespace)
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> iceberg::Result<Namespace> {
        self.0
            .create_namespace(namespace, properties.clone())
            .await
            .map_err(of_namespace)?;
        Ok(Namespace::with_properties(namespace.clone(), properties))
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> iceberg::Result<Namespace> {
        let properties = self.0.load_namespace(namespace).await;
        Ok(Namespace::with_properties(
            namespace.clone(),
            properties.map_err(of_namespace)?,
        ))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> iceberg::Result<bool> {
        match self.0.load_namespace(namespace).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The properties given are the whole set: others are removed.
    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> iceberg::Result<()> {
        let current = self.0.load_namespace(namespace).await;
        let removals = current
            .map_err(of_namespace)?
            .into_keys()
            .filter(|key| !properties.contains_key(key))
            .collect();
        self.0
            .update_namespace(namespace, properties, removals)
            .await
            .map_err(of_namespace)
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> iceberg::Result<()> {
        self.0.drop_namespace(namespace).await.map_err(of_namespace)
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> iceberg::Result<Vec<TableIdent>> {
        self.0.list_tables(namespace).await.map_err(of_namespace)
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> iceberg::Result<iceberg::table::Table> {
        let location = creation.location.as_deref().map(Location::parse);
        let new = NewTable {
            ident: TableIdent::new(namespace.clone(), creation.name),
            schema: creation.schema,
            partition_spec: creation.partition_spec,
            sort_order: creation.sort_order,
            location: location.transpose()?,
            properties: creation.properties,
            format_version: creation.format_version,
        };
        to_iceberg_table(&self.0.create_table(new).await.map_err(of_table)?)
    }

    async fn load_table(&self, table: &TableIdent) -> iceberg::Result<iceberg::table::Table> {
        to_iceberg_table(&self.0.load(table).await.map_err(of_table)?)
    }

    async fn drop_table(&self, table: &TableIdent) -> iceberg::Result<()> {
        self.0.drop_table(table, false).await.map_err(of_table)
    }

    async fn purge_table(&self, table: &TableIdent) -> iceberg::Result<()> {
        self.0.drop_table(table, true).await.map_err(of_table)
    }

    async fn table_exists(&self, table: &TableIdent) -> iceberg::Result<bool> {
        Ok(self.0.table_exists(table).await?)
    }

    async fn rename_table(&self, src: &TableIdent, dest: &TableIdent) -> iceberg::Result<()> {
        self.0.rename_table(src, dest).await.map_err(of_table)
    }

    async fn register_table(
        &self,
        table: &TableIdent,
        metadata_location: String,
    ) -> iceberg::Result<iceberg::table::Table> {
        let table = self.0.register_table(table, &metadata_location).await;
        to_iceberg_table(&table.map_err(of_table)?)
    }

    async fn update_table(
        &self,
        mut commit: TableCommit,
    ) -> iceberg::Result<iceberg::table::Table> {
        let change = TableChange {
            ident: commit.identifier().clone(),
            requirements: commit.take_requirements(),
            updates: commit.take_updates(),
        };
        let ident = change.ident.clone();
        let added: Vec<i64> = change
            .updates
            .iter()
            .filter_map(|update| match update {
                TableUpdate::AddSnapshot { snapshot } => Some(snapshot.snapshot_id()),
                _ => None,
            })
            .collect();
        match self.0.commit(vec![change]).await.map_err(of_table)? {
            CommitOutcome::Committed(tables) => match tables.first() {
                Some(table) => to_iceberg_table(table),
                None => self.load_table(&ident).await,
            },
            CommitOutcome::Conflict { ident, reason } => Err(iceberg::Error::new(
                iceberg::ErrorKind::CatalogCommitConflicts,
                format!("the commit to {ident} was not made: {reason}"),
            )
            .with_retryable(true)),
            CommitOutcome::Unknown(error) => {
                // The foreign trait has no word for it. The snapshot that was to be added tells;
                // if it is not there it may still come, so this is no error to retry.
                if !added.is_empty()
                    && let Ok(table) = self.0.load(&ident).await
                    && added
                        .iter()
                        .all(|id| table.metadata().snapshot_by_id(*id).is_some())
                {
                    return to_iceberg_table(&table);
                }
                Err(error.into())
            }
        }
    }
}
