//! The role.

use async_trait::async_trait;
use berglake_catalog::Catalog as _;
use berglake_catalog::rest::server::CatalogServer;
use berglake_format::Result;
use berglake_host::{Context, Role, check_exposure};
use berglake_pipeline::config::{Config, Listen};

use crate::options;

/// Serves the catalog over REST.
#[derive(Debug, Clone, Copy, Default)]
pub struct CatalogRole;

/// The role.
pub fn role() -> CatalogRole {
    CatalogRole
}

#[async_trait]
impl Role for CatalogRole {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn listen(&self, config: &Config) -> Listen {
        config.catalog_server.listen.clone()
    }

    fn is_server(&self) -> bool {
        true
    }

    fn check(&self, config: &Config) -> Result<()> {
        check_exposure("catalog.server", &config.catalog_server)
    }

    async fn run(&self, context: Context) -> Result<()> {
        let catalog = context.sql_catalog().await?;
        let options = options(&context.lake.project.config, catalog.warehouse());
        let server = CatalogServer::new(catalog.clone(), options).await?;
        context.gate.open(server.router());
        context.ready();
        context.watch_catalog(&catalog).await;
        // Changes that are under way are still to be recorded.
        context.gate.close();
        server.drained().await;
        server.journal().flush().await;
        Ok(())
    }
}
