//! A connection to PostgreSQL that nobody waits for without end.
//!
//! The server is told to give up statements, waits for locks and transactions that stand still; and
//! because a server that vanished gives up nothing, what it does not answer is given up here a little
//! later. A COMMIT that was given up may have been made.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgQueryResult, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Error, PgPool, raw_sql};

/// The server's own limits, in milliseconds. Those that the catalog's URI sets stay.
///
/// A transaction of ours never waits for anything but the database, so that one that stands still
/// belongs to a program that does; its locks are free before those who wait for them give up.
pub(super) fn with_limits(options: PgConnectOptions, answer: Duration) -> PgConnectOptions {
    let given = options.get_options().unwrap_or_default().to_string();
    // `-c name=value`, `-cname=value` or `--name=value`
    let is_given = |name: &str| {
        let mut settings = given.split_whitespace().filter_map(|word| {
            let word = word.strip_prefix("--").unwrap_or(word);
            let (set, _) = word.strip_prefix("-c").unwrap_or(word).split_once('=')?;
            Some(set)
        });
        settings.any(|set| set == name)
    };
    let limits = [
        ("statement_timeout", answer),
        ("lock_timeout", answer * 2 / 3),
        ("idle_in_transaction_session_timeout", answer / 2),
    ];
    // Zero would mean no limit.
    let millis = |limit: Duration| limit.as_millis().max(1).to_string();
    let missing = limits
        .into_iter()
        .filter(|(name, _)| !is_given(name))
        .map(|(name, limit)| (name, millis(limit)));
    options.options(missing)
}

/// A connection that is in use. It goes back to the pool only when it is known to be idle, and is
/// closed otherwise, which also ends its transaction.
pub(super) struct Session {
    connection: PoolConnection<Postgres>,
    limit: Duration,
    /// Set while something is under way, and for good when no answer came.
    busy: bool,
    /// Whether its transaction has ended.
    idle: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.busy || !self.idle {
            self.connection.close_on_drop();
        }
    }
}

impl Session {
    pub(super) async fn acquire(pool: &PgPool, answer: Duration) -> Result<Self, Error> {
        Ok(Self {
            connection: pool.acquire().await?,
            // The server's own limit comes first, since it says what was waited for.
            limit: answer + answer / 4,
            busy: false,
            idle: true,
        })
    }

    pub(super) async fn begin(pool: &PgPool, answer: Duration) -> Result<Self, Error> {
        let mut session = Self::acquire(pool, answer).await?;
        session.idle = false;
        // Whatever the database's default is: what is read after a lock was waited for must be of then.
        session
            .simple("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await?;
        Ok(session)
    }

    /// Ends the transaction by this statement.
    pub(super) async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        self.simple(statement).await?;
        self.idle = true;
        Ok(())
    }

    pub(super) async fn fetch(&mut self, query: Statement) -> Result<Vec<PgRow>, Error> {
        self.busy = true;
        let result = within(self.limit, query.fetch_all(&mut *self.connection)).await;
        self.answered(result)
    }

    pub(super) async fn execute(&mut self, query: Statement) -> Result<PgQueryResult, Error> {
        self.busy = true;
        let result = within(self.limit, query.execute(&mut *self.connection)).await;
        self.answered(result)
    }

    async fn simple(&mut self, statement: &'static str) -> Result<PgQueryResult, Error> {
        self.busy = true;
        let work = raw_sql(statement).execute(&mut *self.connection);
        let result = within(self.limit, work).await;
        self.answered(result)
    }

    /// After an answer of the database, a refusal included, the connection can be used again.
    fn answered<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.busy = !matches!(result, Ok(_) | Err(Error::Database(_)));
        result
    }
}

/// A statement with its values.
pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// No answer in time is a connection that broke: nobody knows what became of what was sent.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Error::Io(std::io::ErrorKind::TimedOut.into())))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use berglake_format::ErrorKind;

    use super::super::fault::{CommitFault, Dialect, commit_fault, fault};
    use super::*;

    fn limits(uri: &str) -> String {
        let options = PgConnectOptions::from_str(uri).unwrap();
        let options = with_limits(options, Duration::from_secs(30));
        options.get_options().unwrap().to_string()
    }

    #[test]
    fn the_server_is_told_to_give_up_and_what_the_uri_says_stays() {
        let all = limits("postgres://h/d");
        for limit in [
            "-c statement_timeout=30000",
            "-c lock_timeout=20000",
            "-c idle_in_transaction_session_timeout=15000",
        ] {
            assert!(all.contains(limit), "{all}");
        }
        let own = limits("postgres://h/d?options=-c%20lock_timeout%3D5");
        assert!(own.contains("-c lock_timeout=5 "), "{own}");
        assert!(!own.contains("20000"), "{own}");
        assert!(own.contains("statement_timeout=30000"), "{own}");
        let other = limits("postgres://h/d?options=-c%20deadlock_timeout%3D5");
        assert!(other.contains(" lock_timeout=20000"), "{other}");
    }

    #[tokio::test]
    async fn a_commit_without_an_answer_is_unknown_and_a_statement_changed_nothing() {
        let silent = || async {
            let limit = Duration::from_millis(1);
            within::<()>(limit, std::future::pending())
                .await
                .unwrap_err()
        };
        let commit = commit_fault(Dialect::Postgres, "here", silent().await);
        assert!(matches!(commit, CommitFault::Unknown(_)), "{commit:?}");
        let statement = fault(Dialect::Postgres, "here", silent().await).error;
        assert_eq!(statement.kind(), ErrorKind::Unavailable);
    }
}
