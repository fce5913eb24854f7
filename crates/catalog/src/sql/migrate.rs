//! The tables that berglake has beside those of the JDBC catalog, by numbered migrations.
//!
//! The tables of the JDBC catalog are not among them: they are shared with other programs, which
//! make them too. What is here only a server needs, so that it is made when one starts and an
//! embedded catalog stays as other programs know it.

use std::borrow::Cow;

use berglake_format::{Error, ErrorKind, Result};
use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::database::{Database, Pool};
use super::fault::{Dialect, fault};

/// Where the database remembers which migrations it has. Another program with migrations of its own
/// may share the database, so the usual name is not taken.
const TABLE: &str = "berglake_migrations";

const MIGRATIONS: [(i64, &str, &str); 1] = [(
    1,
    "journal",
    include_str!("../../migrations/0001_journal.sql"),
)];

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(description),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.into());
    migrator.dangerous_set_table_name(TABLE);
    // An older server may run beside a newer one while they are exchanged.
    migrator.set_ignore_missing(true);
    migrator
}

impl Database {
    /// Brings berglake's own tables up to date. Several servers may do so at the same time.
    pub(super) async fn migrate(&self) -> Result<()> {
        let migrator = migrator();
        let result = match self.pool() {
            Pool::Sqlite(pool) => {
                // SQLite's migrations are not locked by the driver; this is the lock of all writers
                // of this program, and other programs wait at the file's own.
                let _gate = self.gate().lock_owned().await;
                match pool.acquire().await {
                    Ok(mut connection) => migrator.run_direct(None, &mut *connection, false).await,
                    Err(error) => Err(MigrateError::Execute(error)),
                }
            }
            Pool::Postgres(pool) => match pool.acquire().await {
                Ok(mut connection) => {
                    let result = migrator.run_direct(None, &mut *connection, false).await;
                    if result.is_err() {
                        // The connection may still hold the migrations' lock.
                        connection.close_on_drop();
                    }
                    result
                }
                Err(error) => Err(MigrateError::Execute(error)),
            },
        };
        result.map_err(|error| explain(self.dialect(), self.place(), error))
    }
}

fn explain(dialect: Dialect, place: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            fault(dialect, place, error).error
        }
        other => Error::new(
            ErrorKind::Corrupt,
            "the tables that berglake keeps in the catalog's database are not as it made them",
        )
        .with("catalog", place)
        .help(format!(
            "restore the tables berglake_* from a copy, or drop them with {TABLE}: \
             they hold metrics reports and audit records, no tables of the catalog"
        ))
        .source_error(other),
    }
}
