//! What the tests share: catalogs in a temporary folder, a small table, small operations.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{Mark, Operation, PlannedChange, TableChange};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, NamespaceIdent, Result, Table, TableIdent};
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

/// Adds one to a number that is kept in a property: lost updates and doubled ones both show.
pub struct Increment {
    pub key: String,
    pub writer: String,
}

#[async_trait]
impl Operation for Increment {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let now: u64 = base
            .metadata()
            .properties()
            .get(&self.key)
            .map_or(0, |value| value.parse().unwrap());
        let next = (now + 1).to_string();
        // The token is unique to the attempt, so that it can be found after a lost answer.
        let token = base.environment().ids().uuid().to_string();
        let token_key = format!("token.{}", self.writer);
        Ok(Some(PlannedChange {
            change: set(
                base.ident(),
                base,
                &[(&self.key, &next), (&token_key, &token)],
            ),
            mark: Mark::Property {
                key: token_key,
                value: token,
            },
            scratch: Vec::new(),
        }))
    }
}
