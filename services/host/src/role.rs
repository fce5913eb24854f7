//! What a role is, and what it is given.

use std::sync::Arc;

use async_trait::async_trait;
use berglake_catalog::{Catalog, SqlCatalog};
use berglake_format::Result;
use berglake_pipeline::config::{Config, Listen};
use berglake_pipeline::watch::Heads;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::health::{Check, Health};
use crate::{Gate, Lake};

/// A part of the platform that runs until it is told to stop.
///
/// A role does not wait for what it needs: it fails, and is run again after a pause, with the reason
/// in readiness and logs. So it does not matter in which order catalog, stores and roles are started.
#[async_trait]
pub trait Role: Send + Sync + 'static {
    /// Its name, as on the command line.
    fn name(&self) -> &'static str;

    /// Where it listens as a process of its own.
    fn listen(&self, config: &Config) -> Listen;

    /// Whether it answers requests of others than operators, so that it listens among other roles in
    /// one process too.
    fn is_server(&self) -> bool {
        false
    }

    /// Finds out what is wrong with its configuration before anything is started.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with what is wrong.
    fn check(&self, config: &Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Does its work until `context.stop` is cancelled, then ends what is in flight.
    ///
    /// # Errors
    /// Of the kinds [`InvalidInput`](berglake_format::ErrorKind::InvalidInput),
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) and
    /// [`Corrupt`](berglake_format::ErrorKind::Corrupt) if it can never work as things stand, which
    /// ends the process. With every other kind it is run again.
    async fn run(&self, context: Context) -> Result<()>;
}

/// What a role is given. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The project's handles.
    pub lake: Arc<Lake>,
    /// Cancelled when the role is to end.
    pub stop: CancellationToken,
    /// Where the role's own routes appear.
    pub gate: Gate,
    /// The role's checks.
    pub(crate) health: Health,
    pub(crate) role: &'static str,
    pub(crate) shared: Arc<Shared>,
    /// Whether the role itself runs.
    pub(crate) running: Check,
}

/// What the roles of a process have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    catalog: OnceCell<Arc<dyn Catalog>>,
    sql: OnceCell<SqlCatalog>,
    heads: OnceCell<Heads>,
}

impl Context {
    /// The catalog, which all roles of the process share. It is opened by whoever asks first.
    ///
    /// # Errors
    /// As [`Lake::catalog`]; then the next one to ask tries again.
    pub async fn catalog(&self) -> Result<Arc<dyn Catalog>> {
        let opened = self.shared.catalog.get_or_try_init(|| async {
            if self.lake.project.config.is_rest_catalog() {
                return self.lake.catalog().await;
            }
            let catalog: Arc<dyn Catalog> = Arc::new(self.sql_catalog().await?);
            Ok(catalog)
        });
        opened.await.cloned()
    }

    /// The same catalog as the SQL store that it is, for the role that serves it.
    ///
    /// # Errors
    /// As [`Lake::sql_catalog`]; then the next one to ask tries again.
    pub async fn sql_catalog(&self) -> Result<SqlCatalog> {
        let opened = self.shared.sql.get_or_try_init(|| self.lake.sql_catalog());
        opened.await.cloned()
    }

    /// The heads of the catalog's tables, through which roles of one process wake each other.
    ///
    /// # Errors
    /// As [`catalog`](Self::catalog).
    pub async fn heads(&self) -> Result<Heads> {
        let catalog = self.catalog().await?;
        let heads = self
            .shared
            .heads
            .get_or_init(|| async { Heads::new(catalog) });
        Ok(heads.await.clone())
    }

    /// A check of this role.
    pub fn check(&self, name: &str) -> Check {
        self.health.check(self.role, name)
    }

    /// Says that the role has what it needs and does its work.
    pub fn ready(&self) {
        tracing::info!(role = self.role, "ready");
        self.running.ok();
    }

    /// Says that the role runs, and what somebody should know.
    pub fn ready_but(&self, reason: &str) {
        tracing::warn!(role = self.role, reason, "ready");
        self.running.degraded(reason);
    }

    /// Reports whether the catalog answers, again and again, until the role ends.
    pub async fn watch_catalog(&self, catalog: &dyn Catalog) {
        const EVERY: std::time::Duration = std::time::Duration::from_secs(5);
        let check = self.check("catalog");
        let mut away = false;
        loop {
            match catalog.list_namespaces(None).await {
                Ok(_) => {
                    if std::mem::take(&mut away) {
                        tracing::info!(role = self.role, "the catalog is back");
                    }
                    check.ok();
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(role = self.role, %error, "the catalog does not answer");
                    }
                    check.failing(error.to_string());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}
