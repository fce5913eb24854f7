//! The tables of the JDBC catalog, schema V1.

use berglake_format::Result;

use super::database::{Database, Write};
use super::fault::{Cause, Dialect, Fault};

const TABLES: &str = "CREATE TABLE iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
)";

const NAMESPACES: &str = "CREATE TABLE iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
)";

/// Stores made before views existed have no such column (schema V0); rows without it are tables.
const TYPE: &str = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)";

/// The longest name of a catalog, a namespace, a table or a property, in characters.
pub(super) const MAX_NAME: usize = 255;
/// The longest metadata location or property value, in characters.
pub(super) const MAX_VALUE: usize = 1000;

/// What a store has of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    tables: bool,
    namespaces: bool,
    types: bool,
}

impl Found {
    fn complete(self) -> bool {
        self.tables && self.namespaces && self.types
    }
}

/// Brings the store to schema V1 and says whether rows tell tables from views.
///
/// A store that is complete is not written to, so that a read-only one can be opened. One of schema
/// V0 that cannot be written to is read as it is.
pub(super) async fn prepare(database: &Database, catalog: &str) -> Result<bool> {
    let columns = columns(database.dialect());
    let found = found(database.fetch(columns, &[]).await?);
    if found.complete() {
        return Ok(true);
    }
    match create(database, catalog).await {
        Ok(()) => Ok(true),
        // Another program may have come first; what counts is what is there now.
        Err(fault) => {
            let found = self::found(database.fetch(columns, &[]).await?);
            if found.tables && found.namespaces {
                tracing::debug!(error = %fault.error, "the catalog's tables are used as they are");
                return Ok(found.types);
            }
            Err(fault.into())
        }
    }
}

async fn create(database: &Database, catalog: &str) -> Result<(), Fault> {
    let mut write = database.begin().await?;
    write.lock_listing(catalog).await?;
    let found = found(write.fetch(columns(database.dialect()), &[]).await?);
    add(&mut write, found).await?;
    write.commit().await.map_err(|fault| Fault {
        cause: Cause::Other,
        error: fault.into(),
    })
}

async fn add(write: &mut Write<'_>, found: Found) -> Result<(), Fault> {
    if !found.tables {
        write.execute(TABLES, &[]).await?;
    } else if !found.types {
        write.execute(TYPE, &[]).await?;
    }
    if !found.namespaces {
        write.execute(NAMESPACES, &[]).await?;
    }
    Ok(())
}

fn columns(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
             WHERE t.name IN ('iceberg_tables', 'iceberg_namespace_properties')"
        }
        // Where the server looks for unqualified names: the same tables that the statements hit.
        Dialect::Postgres => {
            "SELECT c.relname::text, a.attname::text FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.oid IN (to_regclass('iceberg_tables'),
                             to_regclass('iceberg_namespace_properties'))"
        }
    }
}

fn found(rows: Vec<super::database::Row>) -> Found {
    let has = |table: &str, column: Option<&str>| {
        rows.iter().any(|row| {
            row.first().and_then(Option::as_deref) == Some(table)
                && column.is_none_or(|column| row.get(1).and_then(Option::as_deref) == Some(column))
        })
    };
    Found {
        tables: has("iceberg_tables", None),
        namespaces: has("iceberg_namespace_properties", None),
        types: has("iceberg_tables", Some("iceberg_type")),
    }
}
