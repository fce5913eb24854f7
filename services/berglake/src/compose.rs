//! Turns a project's configuration into handles: the one place where the crates are wired together.

use std::sync::Arc;

use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Error, Identity};
use berglake_pipeline::{Project, Runner};
use berglake_query::{Engine, EngineOptions};

use crate::cli::Global;
use crate::exit::{Failure, Outcome};

/// A project with its storage, before its catalog is opened.
pub(crate) struct Lake {
    pub(crate) project: Project,
    pub(crate) storage: Storage,
    pub(crate) environment: Environment,
    warehouse: Location,
}

impl Lake {
    /// Loads the project that the command line names.
    pub(crate) fn load(global: &Global) -> Outcome<Self> {
        let project = Project::load_with(&global.project, environment(), global.set.clone())
            .map_err(Failure::usage)?;
        let warehouse = Location::parse(&project.config.warehouse).map_err(Failure::usage)?;
        let storage = Storage::new(project.config.storage.clone());
        let environment = Environment::system(Identity {
            application: project.config.name.clone(),
            principal: whoami::username().unwrap_or_else(|_| "unknown".to_string()),
        });
        Ok(Self {
            project,
            storage,
            environment,
            warehouse,
        })
    }

    /// Opens the catalog; a SQLite file that does not exist is made.
    pub(crate) async fn catalog(&self) -> Outcome<Arc<dyn Catalog>> {
        self.open(self.project.config.catalog_uri.reveal()).await
    }

    /// Opens the catalog for a command that only looks. Where its file does not exist, that is a
    /// catalog with nothing in it, and it stays so.
    pub(crate) async fn catalog_to_read(&self) -> Outcome<Arc<dyn Catalog>> {
        if self.is_fresh() {
            return self.open("sqlite::memory:").await;
        }
        self.catalog().await
    }

    /// Whether nothing has been written yet: the catalog is a file, and it does not exist.
    pub(crate) fn is_fresh(&self) -> bool {
        let file = self.project.config.catalog_file();
        // What cannot be looked at may well exist; opening it says what is wrong.
        file.is_some_and(|file| matches!(file.try_exists(), Ok(false)))
    }

    async fn open(&self, uri: &str) -> Outcome<Arc<dyn Catalog>> {
        let config = SqlCatalogConfig::new(
            self.project.config.catalog_name.clone(),
            uri,
            self.warehouse.clone(),
        );
        let catalog = SqlCatalog::open(config, self.storage.clone(), self.environment.clone())
            .await
            .map_err(Failure::opening)?;
        Ok(Arc::new(catalog))
    }

    /// The SQL engine over this catalog.
    pub(crate) fn engine(&self, catalog: &Arc<dyn Catalog>) -> Outcome<Engine> {
        let options = EngineOptions {
            environment: self.environment.clone(),
            ..EngineOptions::default()
        };
        Ok(Engine::new(catalog.clone(), options)?)
    }

    /// The runner of the project's pipeline.
    pub(crate) fn runner(&self, catalog: &Arc<dyn Catalog>) -> Outcome<Runner> {
        let engine = self.engine(catalog)?;
        Ok(Runner::new(
            &self.project,
            catalog.clone(),
            self.storage.clone(),
            self.environment.clone(),
            engine,
        )?)
    }

    /// The error for a command that needs tables in a project that has none yet.
    pub(crate) fn nothing_yet(&self) -> Error {
        Error::not_found("the project has no tables yet")
            .with("project", self.project.root.display())
            .help("`berglake run` makes them")
    }
}

/// The environment variables that are valid text; others cannot be overrides.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
