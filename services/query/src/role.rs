//! The role.

use async_trait::async_trait;
use berglake_format::Result;
use berglake_host::{Context, Role, check_exposure};
use berglake_pipeline::config::{Config, Listen};
use berglake_query::EngineOptions;

use crate::QueryService;

/// Answers SQL over HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryRole;

/// The role.
pub fn role() -> QueryRole {
    QueryRole
}

#[async_trait]
impl Role for QueryRole {
    fn name(&self) -> &'static str {
        "query"
    }

    fn listen(&self, config: &Config) -> Listen {
        config.query.server.listen.clone()
    }

    fn is_server(&self) -> bool {
        true
    }

    fn check(&self, config: &Config) -> Result<()> {
        check_exposure("query", &config.query.server)
    }

    async fn run(&self, context: Context) -> Result<()> {
        let catalog = context.catalog().await?;
        let config = context.lake.project.config.query.clone();
        let options = EngineOptions {
            memory_limit: Some(usize::try_from(config.memory).unwrap_or(usize::MAX)),
            ..EngineOptions::default()
        };
        let engine = context.lake.engine_with(&catalog, options)?;
        let service = QueryService::new(engine, config, context.lake.environment.clone());
        context.gate.open(service.router());
        context.ready();
        context.watch_catalog(catalog.as_ref()).await;
        Ok(())
    }
}
