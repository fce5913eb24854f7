//! What a database's refusal means to the caller.

use berglake_format::{Error, ErrorKind};

/// Why a statement failed, as far as the catalog acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A row with this primary key exists.
    Duplicate,
    /// The database gave up this transaction in favour of another; nothing of it was kept.
    LostRace,
    /// Anything else.
    Other,
}

/// A statement that failed: why, and the error to show.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) error: Error,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

/// A transaction whose COMMIT did not answer with success.
#[derive(Debug)]
pub(super) enum CommitFault {
    /// The database says that it kept nothing.
    RolledBack(Fault),
    /// It may have been kept.
    Unknown(Error),
}

impl From<CommitFault> for Error {
    fn from(fault: CommitFault) -> Self {
        match fault {
            CommitFault::RolledBack(fault) => fault.error,
            CommitFault::Unknown(error) => error,
        }
    }
}

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// Turns an error of the driver into ours. `place` is the database without credentials.
pub(super) fn fault(dialect: Dialect, place: &str, error: sqlx::Error) -> Fault {
    let cause = match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => Cause::Duplicate,
        sqlx::Error::Database(database) if dialect == Dialect::Postgres => {
            match database.code().as_deref() {
                // serialization_failure and deadlock_detected
                Some("40001" | "40P01") => Cause::LostRace,
                _ => Cause::Other,
            }
        }
        _ => Cause::Other,
    };
    let (kind, message, help) = match (&error, dialect) {
        (sqlx::Error::Database(database), Dialect::Sqlite) => {
            sqlite(database.code().and_then(|code| code.parse().ok()))
        }
        (sqlx::Error::Database(database), Dialect::Postgres) => {
            postgres(database.code().as_deref().unwrap_or_default())
        }
        (sqlx::Error::Io(io), Dialect::Postgres) if io.kind() == std::io::ErrorKind::TimedOut => (
            ErrorKind::Unavailable,
            "the PostgreSQL server of the catalog did not answer in time",
            "check that it runs and can be reached, then try again",
        ),
        (sqlx::Error::Io(_), Dialect::Postgres) => (
            ErrorKind::Unavailable,
            "the PostgreSQL server of the catalog cannot be reached",
            "check that it runs and that host and port in the catalog's URI are right",
        ),
        (sqlx::Error::Tls(_), _) => (
            ErrorKind::Unavailable,
            "no TLS connection to the PostgreSQL server of the catalog",
            "check the server's certificate, or set sslmode in the catalog's URI",
        ),
        (sqlx::Error::PoolTimedOut, _) => (
            ErrorKind::Unavailable,
            "no connection to the catalog's database became free in time",
            "the database is away or overloaded; try again, or allow more connections",
        ),
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => (
            ErrorKind::Corrupt,
            "a row of the catalog cannot be decoded",
            "the tables iceberg_tables and iceberg_namespace_properties must hold text columns",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the catalog's database failed",
            "try again",
        ),
    };
    Fault {
        cause,
        error: Error::new(kind, message)
            .with("catalog", place)
            .help(help)
            .source_error(error),
    }
}

/// Whether a failed COMMIT certainly kept nothing.
///
/// All else is in doubt: a connection that broke, a disk that failed, a server that was shut down
/// may each have made the change durable before the answer was lost.
pub(super) fn commit_fault(dialect: Dialect, place: &str, error: sqlx::Error) -> CommitFault {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
        _ => None,
    };
    let certain = match (dialect, code.as_deref()) {
        // A busy SQLite file was not written to, and dropping the transaction rolls it back.
        (Dialect::Sqlite, Some(code)) => code.parse().is_ok_and(is_sqlite_busy),
        // 40003 is statement_completion_unknown; the rest of class 40 and the integrity
        // constraints of class 23 say that the transaction was rolled back.
        (Dialect::Postgres, Some(code)) => {
            code != "40003" && (code.starts_with("40") || code.starts_with("23"))
        }
        (_, None) => false,
    };
    if certain {
        return CommitFault::RolledBack(fault(dialect, place, error));
    }
    CommitFault::Unknown(
        Error::new(
            ErrorKind::UnknownOutcome,
            "the answer of the catalog's database to a commit was lost",
        )
        .with("catalog", place)
        .help("load the table again and look whether the change is there")
        .source_error(error),
    )
}

/// Whether this extended result code says that another connection holds a lock.
fn is_sqlite_busy(code: i32) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED
    matches!(code & 0xff, 5 | 6)
}

fn sqlite(code: Option<i32>) -> (ErrorKind, &'static str, &'static str) {
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => (
            ErrorKind::Unavailable,
            "another program holds a lock on the catalog file",
            "wait until it has finished, then try again",
        ),
        Some(8) => (
            ErrorKind::Denied,
            "the catalog file cannot be written",
            "make the file and its folder writable; SQLite keeps its journal beside the file",
        ),
        Some(3 | 23) => (
            ErrorKind::Denied,
            "access to the catalog file is refused",
            "check the permissions of the file and its folder",
        ),
        Some(11) => (
            ErrorKind::Corrupt,
            "the catalog file is damaged",
            "restore it from a copy; the tables' own files are not affected",
        ),
        Some(13) => (
            ErrorKind::Unavailable,
            "the disk or the catalog file is full",
            "make room, then try again",
        ),
        Some(14) => (
            ErrorKind::Denied,
            "the catalog file cannot be opened",
            "check that the path is right and that file and folder are writable; \
             SQLite keeps its journal beside the file",
        ),
        Some(26) => (
            ErrorKind::Corrupt,
            "the catalog file is no SQLite database",
            "name another file in the catalog's URI, or move this one away",
        ),
        _ => (
            ErrorKind::Unavailable,
            "SQLite could not use the catalog file",
            "check the disk and the file, then try again",
        ),
    }
}

fn postgres(code: &str) -> (ErrorKind, &'static str, &'static str) {
    match code {
        "28P01" | "28000" => (
            ErrorKind::Denied,
            "the PostgreSQL server of the catalog refuses these credentials",
            "check user and password in the catalog's URI and the server's pg_hba.conf",
        ),
        "3D000" => (
            ErrorKind::NotFound,
            "the PostgreSQL server has no such database",
            "create it, or name another one in the catalog's URI",
        ),
        "42501" | "25006" => (
            ErrorKind::Denied,
            "the PostgreSQL user may not do this",
            "grant it the right to read and write (and at first to create) the catalog's tables",
        ),
        "22001" => (
            ErrorKind::InvalidInput,
            "a value is too long for the catalog",
            "names have at most 255 characters, locations and property values at most 1000",
        ),
        "40001" | "40P01" => (
            ErrorKind::Conflict,
            "another transaction of the catalog's database came first",
            "try again",
        ),
        "55P03" => (
            ErrorKind::Unavailable,
            "another program holds a lock in the catalog's database",
            "try again; pg_locks and pg_stat_activity of the database say which program",
        ),
        "57014" => (
            ErrorKind::Unavailable,
            "the PostgreSQL server of the catalog did not finish in time",
            "the database is overloaded or waits for something; see pg_stat_activity, then try again",
        ),
        "53300" => (
            ErrorKind::Unavailable,
            "the PostgreSQL server has no connection left",
            "try again, or allow fewer connections per program",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the PostgreSQL server of the catalog failed",
            "see the server's log, then try again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Answer(&'static str);

    impl fmt::Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl std::error::Error for Answer {}

    impl sqlx::error::DatabaseError for Answer {
        fn message(&self) -> &str {
            self.0
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn answer(code: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Answer(code)))
    }

    #[test]
    fn only_a_failed_commit_that_certainly_kept_nothing_is_called_rolled_back() {
        let known = |dialect, error| {
            matches!(
                commit_fault(dialect, "here", error),
                CommitFault::RolledBack(_)
            )
        };
        // busy; busy while recovering
        for code in ["5", "261"] {
            assert!(known(Dialect::Sqlite, answer(code)), "{code}");
        }
        // disk errors and a full disk
        for code in ["10", "778", "13"] {
            assert!(!known(Dialect::Sqlite, answer(code)), "{code}");
        }
        for code in ["40001", "40P01", "40002", "23505"] {
            assert!(known(Dialect::Postgres, answer(code)), "{code}");
        }
        // completion unknown; server shut down; connection failed; disk full
        for code in ["40003", "57P01", "08006", "53100"] {
            assert!(!known(Dialect::Postgres, answer(code)), "{code}");
        }
        let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(!known(Dialect::Postgres, broken()));
        assert!(!known(Dialect::Sqlite, broken()));
    }

    #[test]
    fn deadlocks_and_serialization_failures_are_lost_races() {
        for code in ["40001", "40P01"] {
            let fault = fault(Dialect::Postgres, "here", answer(code));
            assert_eq!(fault.cause, Cause::LostRace);
            assert_eq!(fault.error.kind(), ErrorKind::Conflict);
        }
    }
}
