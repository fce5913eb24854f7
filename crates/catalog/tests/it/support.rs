//! What the tests share: catalogs in a temporary folder, a small table, small operations.

use std::collections::HashMap;
use std::sync::Arc;

use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange};
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, NamespaceIdent, Result, Table, TableIdent};
use futures::TryStreamExt;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{TableRequirement, TableUpdate};

pub fn namespace(name: &str) -> NamespaceIdent {
    NamespaceIdent::from_vec(name.split('.').map(str::to_string).collect()).unwrap()
}

pub fn ident(namespace: &str, name: &str) -> TableIdent {
    TableIdent::new(self::namespace(namespace), name.to_string())
}

pub fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_string(), (*value).to_string()))
        .collect()
}

pub fn schema() -> Schema {
    Schema::builder()
        .with_fields([
            Arc::new(NestedField::required(
                10,
                "id",
                Type::Primitive(PrimitiveType::Long),
            )),
            Arc::new(NestedField::optional(
                20,
                "name",
                Type::Primitive(PrimitiveType::String),
            )),
        ])
        .build()
        .unwrap()
}

pub fn table(namespace: &str, name: &str) -> NewTable {
    NewTable::new(ident(namespace, name), schema())
}

/// A catalog on SQLite in this folder, its warehouse beside the file.
pub async fn sqlite(folder: &std::path::Path) -> SqlCatalog {
    let uri = format!("sqlite:{}", folder.join("catalog.db").display());
    open(&uri, folder).await.unwrap()
}

pub async fn open(uri: &str, folder: &std::path::Path) -> Result<SqlCatalog> {
    let warehouse = Location::from_path(&folder.join("warehouse"))?;
    let config = SqlCatalogConfig::new("lake", uri, warehouse);
    SqlCatalog::open(config, Storage::default(), Environment::default()).await
}

/// A catalog with one namespace `n` and the tables `n.a` and `n.b`.
pub async fn with_tables(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("n"), HashMap::new())
        .await
        .unwrap();
    for name in ["a", "b"] {
        catalog.create_table(table("n", name)).await.unwrap();
    }
}

/// Sets properties under the requirement that the table is the one that was looked at.
pub fn set(ident: &TableIdent, base: &Table, pairs: &[(&str, &str)]) -> TableChange {
    TableChange {
        ident: ident.clone(),
        requirements: vec![TableRequirement::UuidMatch {
            uuid: base.metadata().uuid(),
        }],
        updates: vec![TableUpdate::SetProperties {
            updates: properties(pairs),
        }],
    }
}

/// An append without files whose snapshot carries this token.
pub fn token(token: &str) -> Append {
    Append {
        files: Vec::new(),
        notes: CommitNotes {
            summary: [("token".to_string(), token.to_string())].into(),
            ..CommitNotes::default()
        },
    }
}

/// The tokens of all snapshots, sorted: a lost commit and a doubled one both show.
pub fn tokens(table: &Table) -> Vec<String> {
    let mut tokens: Vec<String> = table
        .metadata()
        .snapshots()
        .filter_map(|snapshot| snapshot.summary().additional_properties.get("token"))
        .cloned()
        .collect();
    tokens.sort_unstable();
    tokens
}

/// The names of the files below a table's folder, sorted.
pub async fn files(table: &Table) -> Vec<String> {
    let folder = table.location().unwrap();
    let listing = table.storage().list(&folder).unwrap();
    let mut files: Vec<String> = listing
        .map_ok(|file| file.location.to_string())
        .try_collect()
        .await
        .unwrap();
    files.sort_unstable();
    files
}

/// A conflict's reason; anything else fails the test.
pub fn conflict(outcome: CommitOutcome) -> (TableIdent, ConflictReason) {
    match outcome {
        CommitOutcome::Conflict { ident, reason } => (ident, reason),
        other => panic!("a conflict was expected: {other:?}"),
    }
}

/// The tables of a commit that was made; anything else fails the test.
pub fn committed(outcome: CommitOutcome) -> Vec<Table> {
    match outcome {
        CommitOutcome::Committed(tables) => tables,
        other => panic!("a commit was expected: {other:?}"),
    }
}
