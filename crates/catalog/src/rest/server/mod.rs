//! The REST catalog as a server: a router over a [`SqlCatalog`].
//!
//! What an answer to a commit means is the contract of [`Committer`], spelled as status codes:
//!
//! | status | meaning |
//! |---|---|
//! | 200, 204 | it is durable |
//! | 409 `CommitFailedException` | it is certain that nothing was changed; planning again may help |
//! | 404, 400, 406, 503 | it is certain that nothing was changed; planning again does not help, or not yet |
//! | 500, 502, 504 `CommitStateUnknownException` | it may have been made, now or a little later |
//!
//! A change runs to its end even if the client goes away. Routes that the specification has and this
//! server does not are not in the list of `/v1/config`, and are answered with 406.

mod auth;
mod commits;
mod config;
mod error;
mod extract;
mod hand_out;
mod metrics;
mod namespaces;
mod observe;
mod page;
mod routes;
mod tables;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use berglake_format::Result;
use berglake_format::commit::Committer;
use tokio::sync::watch;

pub use auth::Token;
pub use hand_out::HandOut;

use crate::{Catalog as _, Journal, SqlCatalog};

/// Settings of a [`CatalogServer`].
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The tokens that are let in; everybody, where there are none.
    pub tokens: Vec<Token>,
    /// What clients are told about the storage.
    pub hand_out: HandOut,
    /// The most bytes of a request's body; 64 MiB where nothing is said.
    pub max_body: usize,
    /// How long a commit is waited for before it is answered as unknown; 60 s where nothing is said.
    pub commit_timeout: Duration,
    /// How long metrics reports and audit records are kept; 30 days where nothing is said.
    pub keep_journal: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            hand_out: HandOut::default(),
            max_body: 64 << 20,
            commit_timeout: Duration::from_secs(60),
            keep_journal: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Serves a catalog over REST. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CatalogServer(Arc<State>);

struct State {
    catalog: SqlCatalog,
    committer: Arc<dyn Committer>,
    journal: Journal,
    options: ServerOptions,
    /// The number of changes that are under way.
    under_way: watch::Sender<usize>,
    /// The catalog's name where it can stand in a path; clients that ask for a warehouse get it.
    prefix: Option<String>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogServer")
            .field("catalog", &self.catalog)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CatalogServer {
    /// A server of this catalog. Its own tables in the store are made where they are missing.
    ///
    /// # Errors
    /// As [`SqlCatalog::open`]: the store is away or cannot be written.
    pub async fn new(catalog: SqlCatalog, options: ServerOptions) -> Result<Self> {
        let committer = Arc::new(catalog.clone());
        Self::with_committer(catalog, committer, options).await
    }

    /// The same, with commits through this committer instead of the catalog itself: one that is
    /// watched, or fails on purpose.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn with_committer(
        catalog: SqlCatalog,
        committer: Arc<dyn Committer>,
        options: ServerOptions,
    ) -> Result<Self> {
        let journal = Journal::open(&catalog, options.keep_journal).await?;
        let name = catalog.name();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~');
        let prefix = name.chars().all(plain).then(|| name.to_string());
        Ok(Self(Arc::new(State {
            catalog,
            committer,
            journal,
            options,
            under_way: watch::Sender::new(0),
            prefix,
        })))
    }

    /// The routes, from `/v1` on.
    pub fn router(&self) -> Router {
        routes::router(self.0.clone())
    }

    /// Waits until no change is under way, so that all of them are in the journal. One that was
    /// answered as unknown because it took too long is not waited for, and nor is what comes later: who
    /// ends a server lets nobody in before.
    pub async fn drained(&self) {
        let mut under_way = self.0.under_way.subscribe();
        // The other end is this server's own.
        let _ = under_way.wait_for(|changes| *changes == 0).await;
    }

    /// The metrics reports and audit records.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }
}
