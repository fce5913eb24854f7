//! SQLite and PostgreSQL behind one small face: text in, text out, transactions.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::SqlCatalogConfig;
use super::fault::{Cause, CommitFault, Dialect, Fault, commit_fault, fault};
use super::session::{Session, with_limits};

/// A row: its columns as text.
pub(super) type Row = Vec<Option<String>>;

pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The database of a catalog. Statements use `$1`, `$2`, … and select text columns alone.
pub(super) struct Database {
    pool: Pool,
    place: String,
    /// SQLite has one writer at a time and its lock is polled; those of this program queue here.
    gate: Arc<Mutex<()>>,
    /// How long PostgreSQL may take for an answer.
    answer_timeout: Duration,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.place).finish()
    }
}

impl Database {
    /// Opens the database that the URI names; a SQLite file and its folder are made when missing.
    pub(super) async fn open(config: &SqlCatalogConfig) -> Result<Self> {
        let uri = config.uri.reveal();
        if let Some(rest) = uri.strip_prefix("sqlite:") {
            return Self::open_sqlite(&SqliteUri::parse(rest)?, config).await;
        }
        if uri.starts_with("postgres://") || uri.starts_with("postgresql://") {
            return Self::open_postgres(uri, config).await;
        }
        // The URI itself may hold a password, so that only its scheme is shown.
        let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
        Err(
            Error::invalid(format!("unknown scheme {scheme:?} in the catalog's URI"))
                .help("write sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        )
    }

    async fn open_sqlite(uri: &SqliteUri, config: &SqlCatalogConfig) -> Result<Self> {
        let (options, place, connections) = match &uri.path {
            None => (
                SqliteConnectOptions::new().in_memory(true),
                "sqlite::memory:".to_string(),
                // Each connection to a database in memory has a database of its own.
                1,
            ),
            Some(path) => {
                prepare_folder(path, uri.mode)?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(uri.mode == Mode::Create)
                    .read_only(uri.mode == Mode::Read);
                let place = format!("sqlite:{}", path.display());
                (options, place, config.max_connections.max(1))
            }
        };
        // The journal stays as the file has it, which is SQLite's rollback journal for a new file:
        // the catalog is then one file that can be copied, put on a read-only medium and shared
        // with other engines. With it only EXTRA syncs the folder after the journal is removed;
        // under FULL a power failure could take back a commit that had been answered.
        let options = options
            .busy_timeout(config.busy_timeout)
            .synchronous(SqliteSynchronous::Extra)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(config.connect_timeout)
            .connect_with(options)
            .await
            .map_err(|error| fault(Dialect::Sqlite, &place, error).error)?;
        Ok(Self {
            pool: Pool::Sqlite(pool),
            place,
            gate: Arc::default(),
            answer_timeout: config.answer_timeout,
        })
    }

    async fn open_postgres(uri: &str, config: &SqlCatalogConfig) -> Result<Self> {
        // The parser's own message is dropped: it might quote a part of the URI.
        let options = PgConnectOptions::from_str(uri).map_err(|_| {
            Error::invalid("the catalog's PostgreSQL URI is not valid")
                .help("write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded")
        })?;
        let options = with_limits(options, config.answer_timeout)
            .application_name("berglake")
            .disable_statement_logging();
        let place = format!(
            "postgres://{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        // The pool would wait for a server that is away and then say only that time is up.
        let first =
            tokio::time::timeout(config.connect_timeout, PgConnection::connect_with(&options))
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
                .map_err(|error| fault(Dialect::Postgres, &place, error).error)?;
        // Closing is a courtesy to the server; it notices by itself too.
        let _ = first.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .acquire_timeout(config.connect_timeout)
            .connect_lazy_with(options);
        Ok(Self {
            pool: Pool::Postgres(pool),
            place,
            gate: Arc::default(),
            answer_timeout: config.answer_timeout,
        })
    }

    /// The database without credentials.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The files of the database, where it is one of files.
    pub(super) fn files(&self) -> Vec<Location> {
        let path = match self.place.strip_prefix("sqlite:") {
            None | Some(":memory:") => return Vec::new(),
            Some(path) => path,
        };
        ["", "-journal", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| Location::from_path(Path::new(&format!("{path}{suffix}"))).ok())
            .collect()
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.pool {
            Pool::Sqlite(_) => Dialect::Sqlite,
            Pool::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The turn of this program's writers to SQLite.
    pub(super) fn gate(&self) -> Arc<Mutex<()>> {
        self.gate.clone()
    }

    fn fault(&self, error: sqlx::Error) -> Fault {
        fault(self.dialect(), &self.place, error)
    }

    /// Reads rows.
    pub(super) async fn fetch(&self, sql: &str, values: &[&str]) -> Result<Vec<Row>, Fault> {
        match &self.pool {
            Pool::Sqlite(pool) => {
                let rows = bound::<Sqlite>(sql, values).fetch_all(pool).await;
                rows.and_then(|rows| rows.iter().map(texts).collect())
            }
            Pool::Postgres(pool) => match Session::acquire(pool, self.answer_timeout).await {
                Ok(mut session) => {
                    let rows = session.fetch(bound::<Postgres>(sql, values)).await;
                    rows.and_then(|rows| rows.iter().map(texts).collect())
                }
                Err(error) => Err(error),
            },
        }
        .map_err(|error| self.fault(error))
    }

    /// Starts a transaction that writes. Dropping it rolls it back.
    pub(super) async fn begin(&self) -> Result<Write<'_>, Fault> {
        let (inner, gate) = match &self.pool {
            Pool::Sqlite(pool) => {
                let gate = self.gate.clone().lock_owned().await;
                // SQLite's write lock is taken at once, and waited for as long as the busy timeout
                // says: a transaction that reads first and writes later may find at the write that
                // another one came between, and can then only fail.
                let begun = pool.begin_with("BEGIN IMMEDIATE").await;
                let inner = begun.map_err(|error| self.fault(error))?;
                (Inner::Sqlite(inner), Some(gate))
            }
            Pool::Postgres(pool) => {
                let begun = Session::begin(pool, self.answer_timeout).await;
                let inner = begun.map_err(|error| self.fault(error))?;
                (Inner::Postgres(inner), None)
            }
        };
        Ok(Write {
            database: self,
            inner,
            _gate: gate,
        })
    }
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(Session),
}

/// A transaction that writes.
pub(super) struct Write<'a> {
    database: &'a Database,
    inner: Inner,
    _gate: Option<OwnedMutexGuard<()>>,
}

impl Write<'_> {
    /// Runs a statement and gives the number of rows that it changed.
    pub(super) async fn execute(&mut self, sql: &str, values: &[&str]) -> Result<u64, Fault> {
        match &mut self.inner {
            Inner::Sqlite(inner) => bound::<Sqlite>(sql, values)
                .execute(&mut **inner)
                .await
                .map(|done| done.rows_affected()),
            Inner::Postgres(inner) => inner
                .execute(bound::<Postgres>(sql, values))
                .await
                .map(|done| done.rows_affected()),
        }
        .map_err(|error| self.database.fault(error))
    }

    /// Reads rows inside the transaction.
    pub(super) async fn fetch(&mut self, sql: &str, values: &[&str]) -> Result<Vec<Row>, Fault> {
        match &mut self.inner {
            Inner::Sqlite(inner) => {
                let rows = bound::<Sqlite>(sql, values).fetch_all(&mut **inner).await;
                rows.and_then(|rows| rows.iter().map(texts).collect())
            }
            Inner::Postgres(inner) => {
                let rows = inner.fetch(bound::<Postgres>(sql, values)).await;
                rows.and_then(|rows| rows.iter().map(texts).collect())
            }
        }
        .map_err(|error| self.database.fault(error))
    }

    /// Lets one transaction at a time change what a catalog lists. Commits to tables do not take
    /// part: their compare-and-swap needs no lock.
    pub(super) async fn lock_listing(&mut self, catalog: &str) -> Result<(), Fault> {
        // SQLite's write lock already covers the whole file.
        if self.database.dialect() == Dialect::Postgres {
            self.execute(
                "SELECT pg_advisory_xact_lock(hashtext('berglake'), hashtext($1))",
                &[catalog],
            )
            .await?;
        }
        Ok(())
    }

    /// Makes it durable.
    pub(super) async fn commit(self) -> Result<(), CommitFault> {
        let (dialect, place) = (self.database.dialect(), self.database.place());
        match self.inner {
            Inner::Sqlite(inner) => inner.commit().await,
            Inner::Postgres(inner) => inner.end("COMMIT").await,
        }
        .map_err(|error| commit_fault(dialect, place, error))
    }

    /// Gives it up. Whatever goes wrong here, the database keeps nothing of it.
    pub(super) async fn rollback(self) {
        let result = match self.inner {
            Inner::Sqlite(inner) => inner.rollback().await,
            Inner::Postgres(inner) => inner.end("ROLLBACK").await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a transaction was given up with its connection");
        }
    }
}

impl Fault {
    pub(super) fn is(&self, cause: Cause) -> bool {
        self.cause == cause
    }
}

fn bound<DB>(sql: &str, values: &[&str]) -> Query<'static, DB, DB::Arguments>
where
    DB: sqlx::Database,
    String: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
{
    // Statements are this module's own text; whatever comes from outside is a bound value.
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind((*value).to_string());
    }
    query
}

fn texts<R>(row: &R) -> Result<Row, sqlx::Error>
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    Option<String>: for<'r> sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    (0..row.len()).map(|column| row.try_get(column)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    Create,
}

/// What stands behind `sqlite:`.
#[derive(Debug, PartialEq, Eq)]
struct SqliteUri {
    /// The file; none for a database in memory.
    path: Option<PathBuf>,
    mode: Mode,
}

impl SqliteUri {
    fn parse(rest: &str) -> Result<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix("//").unwrap_or(path);
        let mode = match query {
            "" | "mode=rwc" => Mode::Create,
            "mode=rw" => Mode::Write,
            "mode=ro" => Mode::Read,
            other => {
                return Err(Error::invalid(format!(
                    "unknown option {other:?} in the catalog's URI"
                ))
                .help("SQLite takes ?mode=ro, ?mode=rw or ?mode=rwc"));
            }
        };
        match path {
            "" => Err(Error::invalid("the catalog's URI names no file")
                .help("write sqlite:PATH, or sqlite::memory:")),
            ":memory:" => Ok(Self { path: None, mode }),
            path => Ok(Self {
                path: Some(PathBuf::from(path)),
                mode,
            }),
        }
    }
}

/// Makes the file's folder, and says early and plainly what SQLite would say late and darkly.
fn prepare_folder(path: &Path, mode: Mode) -> Result<()> {
    if path.is_dir() {
        return Err(Error::invalid("the catalog's file is a folder")
            .with("path", path.display())
            .help("name a file, for instance catalog.db inside that folder"));
    }
    if mode != Mode::Create {
        return match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::not_found("the catalog file does not exist")
                .with("path", path.display())
                .help("check the path, or let it be made with ?mode=rwc")),
            Err(error) => Err(Error::from(error).with("path", path.display())),
        };
    }
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(
            ErrorKind::Denied,
            "the folder of the catalog file cannot be made",
        )
        .with("path", folder.display())
        .help("name a folder that is writable")
        .source_error(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_sqlite_uri_are_understood() {
        for (text, path) in [
            ("c.db", "c.db"),
            ("//c.db", "c.db"),
            ("/w/c.db", "/w/c.db"),
            ("///w/c.db", "/w/c.db"),
            // as SQLAlchemy writes an absolute path
            ("////w/c.db", "//w/c.db"),
        ] {
            let uri = SqliteUri::parse(text).unwrap();
            assert_eq!(uri.path.as_deref(), Some(Path::new(path)), "{text}");
        }
        assert_eq!(SqliteUri::parse(":memory:").unwrap().path, None);
        assert_eq!(SqliteUri::parse("c.db?mode=ro").unwrap().mode, Mode::Read);
        assert!(SqliteUri::parse("").is_err());
        assert!(SqliteUri::parse("c.db?cache=shared").is_err());
    }
}
