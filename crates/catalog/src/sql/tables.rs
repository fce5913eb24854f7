//! Listing, dropping and renaming tables.

use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, TableIdent};

use super::fault::{Cause, CommitFault};
use super::overlap::{Neighbour, folders_of};
use super::{Inner, check_length, joined, schema};
use crate::purge::Bounds;
use crate::{Purged, names, purge};

/// How often a purge starts again because a commit came between its look and its drop.
const PURGE_ATTEMPTS: usize = 10;

impl Inner {
    pub(super) async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let sql = format!(
            "SELECT table_name FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2{}",
            self.only_tables()
        );
        let rows = self
            .database
            .fetch(&sql, &[&self.name, &joined(namespace)])
            .await?;
        if rows.is_empty() && !self.namespace_exists(namespace).await? {
            return Err(self.no_such_namespace(namespace).await);
        }
        // Databases differ in their collations; the order is ours.
        let mut names: Vec<String> = rows.into_iter().flatten().flatten().collect();
        names.sort_unstable();
        Ok(names
            .into_iter()
            .map(|name| TableIdent::new(namespace.clone(), name))
            .collect())
    }

    pub(super) async fn drop_table(&self, ident: &TableIdent) -> Result<()> {
        let sql = format!(
            "DELETE FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3{}",
            self.only_tables()
        );
        let namespace = joined(ident.namespace());
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        let dropped = write
            .execute(&sql, &[&self.name, &namespace, ident.name()])
            .await?;
        if dropped == 0 {
            write.rollback().await;
            return Err(self.no_such_table(ident).await);
        }
        Ok(write.commit().await?)
    }

    /// Drops the row first and the files after it, so that no row ever names files that are gone. Once
    /// the row is gone nothing is an error any more.
    pub(super) async fn purge_table(&self, ident: &TableIdent) -> Result<Purged> {
        let namespace = joined(ident.namespace());
        for _ in 0..PURGE_ATTEMPTS {
            let table = self.load(ident).await?;
            // Tables that other programs or older versions made may lie in each other.
            let folders = folders_of(table.metadata())?;
            let inside = |other: &Location| folders.iter().any(|own| other.is_within(own));
            let others = self.neighbours(ident, &folders).await?.into_iter();
            let others = others.map(Neighbour::into_folder).filter(inside);
            let bounds = Bounds {
                warehouse: &self.warehouse,
                others: others.chain(self.database.files()).collect(),
            };
            let files = match purge::files_of(&table, &bounds).await {
                Ok(files) => files,
                Err(error) => {
                    let head = self.pointer(ident).await?;
                    // Whoever committed meanwhile may have removed files of the head that was looked at.
                    if head.is_none_or(|head| head != table.metadata_location()) {
                        continue;
                    }
                    return Err(error);
                }
            };
            let mut write = self.database.begin().await?;
            write.lock_listing(&self.name).await?;
            // Only at the head whose files were listed: a commit meanwhile would leave its own.
            let dropped = write
                .execute(
                    "DELETE FROM iceberg_tables
                     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
                         AND metadata_location = $4",
                    &[
                        &self.name,
                        &namespace,
                        ident.name(),
                        table.metadata_location(),
                    ],
                )
                .await?;
            if dropped == 0 {
                write.rollback().await;
                continue;
            }
            match write.commit().await {
                Ok(()) => {}
                Err(CommitFault::RolledBack(fault)) if fault.is(Cause::LostRace) => continue,
                Err(fault) => return Err(Error::from(fault).with("table", ident)),
            }
            self.cache.remove(table.metadata_location());
            return Ok(purge::delete(&table, files).await);
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the table is being written to and could not be dropped",
        )
        .with("table", ident)
        .help("stop its writers, then try again"))
    }

    pub(super) async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        names::check_level("table", to.name(), true)?;
        check_length("table's name", to.name(), schema::MAX_NAME)?;
        if !self.namespace_exists(to.namespace()).await? {
            return Err(self.no_such_namespace(to.namespace()).await);
        }
        if self.pointer(from).await?.is_none() {
            return Err(self.no_such_table(from).await);
        }
        if from == to {
            return Err(self.exists(to));
        }
        let sql = format!(
            "UPDATE iceberg_tables SET table_namespace = $4, table_name = $5
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3{}",
            self.only_tables()
        );
        let (old, new) = (joined(from.namespace()), joined(to.namespace()));
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if !self.namespace_exists_in(&mut write, to.namespace()).await? {
            write.rollback().await;
            return Err(self.no_such_namespace(to.namespace()).await);
        }
        let values = [self.name.as_str(), &old, from.name(), &new, to.name()];
        match write.execute(&sql, &values).await {
            Ok(1..) => Ok(write.commit().await?),
            Ok(0) => {
                write.rollback().await;
                Err(self.no_such_table(from).await)
            }
            Err(fault) if fault.is(Cause::Duplicate) => Err(self.exists(to)),
            Err(fault) => Err(fault.into()),
        }
    }
}
