//! Namespaces: rows of properties, levels joined by dots.
//!
//! As in Java and PyIceberg a namespace exists if it has a property, or if a table or another
//! namespace is below it.

use std::collections::{BTreeSet, HashMap};

use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result};

use super::database::{Row, Write};
use super::fault::{Cause, Fault};
use super::{Inner, check_length, joined, pair, schema};
use crate::names;

/// The property that keeps a namespace alive that has no other. It is not shown.
const MARKER: (&str, &str) = ("exists", "true");

pub(super) const LOCATION: &str = "location";

const EXISTS: &str = "SELECT namespace FROM iceberg_namespace_properties
    WHERE catalog_name = $1 AND (namespace = $2 OR substr(namespace, 1, length($3)) = $3)
    UNION ALL
    SELECT table_namespace FROM iceberg_tables
    WHERE catalog_name = $1
        AND (table_namespace = $2 OR substr(table_namespace, 1, length($3)) = $3)
    LIMIT 1";

const PROPERTIES: &str = "SELECT property_key, property_value FROM iceberg_namespace_properties
    WHERE catalog_name = $1 AND namespace = $2";

const INSERT: &str = "INSERT INTO iceberg_namespace_properties
    (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, $3, $4)";

const DELETE: &str = "DELETE FROM iceberg_namespace_properties
    WHERE catalog_name = $1 AND namespace = $2 AND property_key = $3";

impl Inner {
    pub(super) async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        let name = joined(namespace);
        let below = format!("{name}.");
        let rows = self
            .database
            .fetch(EXISTS, &[&self.name, &name, &below])
            .await?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn namespace_exists_in(
        &self,
        write: &mut Write<'_>,
        namespace: &NamespaceIdent,
    ) -> Result<bool, Fault> {
        let name = joined(namespace);
        let below = format!("{name}.");
        let rows = write.fetch(EXISTS, &[&self.name, &name, &below]).await?;
        Ok(!rows.is_empty())
    }

    /// The error for a namespace that does not exist, with the names that may have been meant.
    pub(super) async fn no_such_namespace(&self, namespace: &NamespaceIdent) -> Error {
        let name = joined(namespace);
        let error =
            Error::not_found(format!("there is no namespace {name}")).with("catalog", &self.name);
        let Ok(all) = self.all_namespaces().await else {
            return error;
        };
        let near = names::near(&name, all.iter().map(String::as_str));
        if near.is_empty() {
            return error.help("list the namespaces to see what there is, or create it");
        }
        error.help(format!("did you mean {}?", near.join(" or ")))
    }

    async fn all_namespaces(&self) -> Result<BTreeSet<String>> {
        let rows = self
            .database
            .fetch(
                "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1
                 UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1",
                &[&self.name],
            )
            .await?;
        let first = |row: Row| row.into_iter().next().flatten();
        Ok(rows.into_iter().filter_map(first).collect())
    }

    pub(super) async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        let levels = |name: &str| name.split('.').map(str::to_string).collect::<Vec<_>>();
        let above = parent.map_or_else(Vec::new, |parent| levels(&joined(parent)));
        let all = self.all_namespaces().await?;
        let mut there: Vec<_> = all.iter().map(|name| levels(name)).collect();
        there.retain(|levels| levels.starts_with(&above));
        // A namespace that nothing is in has a property.
        if let Some(parent) = parent
            && there.is_empty()
        {
            return Err(self.no_such_namespace(parent).await);
        }
        let children: BTreeSet<Vec<String>> = there
            .into_iter()
            .filter(|levels| levels.len() > above.len())
            .map(|mut levels| {
                levels.truncate(above.len() + 1);
                levels
            })
            .collect();
        let idents = children.into_iter().map(NamespaceIdent::from_vec);
        Ok(idents.collect::<iceberg::Result<_>>()?)
    }

    pub(super) async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        mut properties: HashMap<String, String>,
    ) -> Result<()> {
        names::check_namespace(namespace)?;
        let name = joined(namespace);
        check_length("namespace's name", &name, schema::MAX_NAME)?;
        self.check_properties(&properties)?;
        properties.insert(MARKER.0.to_string(), MARKER.1.to_string());
        let exists = || {
            Error::new(
                ErrorKind::AlreadyExists,
                format!("the namespace {name} exists"),
            )
            .with("catalog", &self.name)
        };
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if self.namespace_exists_in(&mut write, namespace).await? {
            write.rollback().await;
            return Err(exists());
        }
        for (key, value) in &properties {
            match write
                .execute(INSERT, &[&self.name, &name, key, value])
                .await
            {
                Err(fault) if fault.is(Cause::Duplicate) => return Err(exists()),
                result => result?,
            };
        }
        Ok(write.commit().await?)
    }

    pub(super) async fn load_namespace(
        &self,
        namespace: &NamespaceIdent,
    ) -> Result<HashMap<String, String>> {
        let name = joined(namespace);
        let below = format!("{name}.");
        // In one question, because the namespace may come or go between two. What exists gives a row
        // without a property.
        let sql = format!("{PROPERTIES} UNION ALL SELECT NULL, NULL FROM ({EXISTS}) AS existing");
        let rows = self
            .database
            .fetch(&sql, &[&self.name, &name, &below])
            .await?;
        if rows.is_empty() {
            return Err(self.no_such_namespace(namespace).await);
        }
        Ok(rows
            .into_iter()
            .filter_map(pair)
            .filter(|(key, value)| (key.as_str(), value.as_str()) != MARKER)
            .collect())
    }

    pub(super) async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.check_properties(&updates)?;
        if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
            return Err(Error::invalid("a property is both set and removed")
                .with("namespace", joined(namespace))
                .with("property", both));
        }
        let name = joined(namespace);
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if !self.namespace_exists_in(&mut write, namespace).await? {
            write.rollback().await;
            return Err(self.no_such_namespace(namespace).await);
        }
        for key in removals.iter().chain(updates.keys()) {
            write.execute(DELETE, &[&self.name, &name, key]).await?;
        }
        for (key, value) in &updates {
            write
                .execute(INSERT, &[&self.name, &name, key, value])
                .await?;
        }
        // A namespace without any row would be gone.
        let left = write.fetch(PROPERTIES, &[&self.name, &name]).await?;
        if left.is_empty() {
            write
                .execute(INSERT, &[&self.name, &name, MARKER.0, MARKER.1])
                .await?;
        }
        Ok(write.commit().await?)
    }

    pub(super) async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let name = joined(namespace);
        let below = format!("{name}.");
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if !self.namespace_exists_in(&mut write, namespace).await? {
            write.rollback().await;
            return Err(self.no_such_namespace(namespace).await);
        }
        let contents = write
            .fetch(
                "SELECT table_namespace, table_name FROM iceberg_tables
                 WHERE catalog_name = $1
                     AND (table_namespace = $2 OR substr(table_namespace, 1, length($3)) = $3)
                 UNION ALL
                 SELECT namespace, property_key FROM iceberg_namespace_properties
                 WHERE catalog_name = $1 AND substr(namespace, 1, length($3)) = $3
                 ORDER BY 1, 2 LIMIT 1",
                &[&self.name, &name, &below],
            )
            .await?;
        if let Some((inside, table)) = contents.into_iter().next().and_then(pair) {
            let what = if inside == name {
                format!("table {inside}.{table}")
            } else {
                format!("namespace {inside}")
            };
            write.rollback().await;
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the namespace {name} is not empty"),
            )
            .with("catalog", &self.name)
            .with("holds", what)
            .help("drop what is in it first"));
        }
        write
            .execute(
                "DELETE FROM iceberg_namespace_properties
                 WHERE catalog_name = $1 AND namespace = $2",
                &[&self.name, &name],
            )
            .await?;
        Ok(write.commit().await?)
    }

    fn check_properties(&self, properties: &HashMap<String, String>) -> Result<()> {
        for (key, value) in properties {
            if key.is_empty() {
                return Err(Error::invalid("a property's name is empty"));
            }
            check_length("property's name", key, schema::MAX_NAME)?;
            check_length("property's value", value, schema::MAX_VALUE)
                .map_err(|error| error.with("property", key))?;
        }
        if let Some(location) = properties.get(LOCATION) {
            self.inside_warehouse(&Location::parse(location)?)?;
        }
        Ok(())
    }

    /// Refuses a location outside the warehouse.
    pub(super) fn inside_warehouse(&self, location: &Location) -> Result<()> {
        if location.is_within(&self.warehouse) {
            return Ok(());
        }
        Err(Error::invalid("the location lies outside the warehouse")
            .with("location", location)
            .with("warehouse", &self.warehouse)
            .help("name a folder inside the warehouse"))
    }
}
