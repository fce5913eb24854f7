//! Turns a project's configuration into handles: the one place where the crates are wired together.

use std::path::Path;
use std::sync::Arc;

use berglake_catalog::rest::{RestCatalog, RestCatalogConfig};
use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Error, Identity, Result};
use berglake_pipeline::{Config, Project, Runner};
use berglake_query::{Engine, EngineOptions};

/// A project with its storage, before its catalog is opened. Embedded and served, everything gets
/// its handles here.
#[derive(Debug, Clone)]
pub struct Lake {
    /// The project: its folder and its effective configuration.
    pub project: Project,
    /// The stores of the warehouse and of files.
    pub storage: Storage,
    /// Clock, ids, and who writes.
    pub environment: Environment,
    warehouse: Location,
}

impl Lake {
    /// Loads the project in a folder, with overrides from the process's environment variables and
    /// flags that win over them: dotted keys such as `storage.s3.region`, and their values.
    ///
    /// # Errors
    /// As [`Project::load_with`], and for a warehouse that is no location.
    pub fn load(root: &Path, flags: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let project = Project::load_with(root, environment(), flags)?;
        let environment = Environment::system(Identity {
            application: project.config.name.clone(),
            principal: whoami::username().unwrap_or_else(|_| "unknown".to_string()),
        });
        Self::new(project, environment)
    }

    /// The handles of a project, in this environment.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a warehouse that is no location.
    pub fn new(project: Project, environment: Environment) -> Result<Self> {
        let warehouse = Location::parse(&project.config.warehouse)?;
        let storage = Storage::new(project.config.storage.clone());
        Ok(Self {
            project,
            storage,
            environment,
            warehouse,
        })
    }

    /// Opens the catalog; a SQLite file that does not exist is made.
    ///
    /// # Errors
    /// Those of the catalog: it cannot be reached, opened or made.
    pub async fn catalog(&self) -> Result<Arc<dyn Catalog>> {
        self.open(self.project.config.catalog_uri.reveal()).await
    }

    /// Opens the catalog for somebody who only looks. Where its file does not exist, that is a
    /// catalog with nothing in it, and it stays so.
    ///
    /// # Errors
    /// As [`catalog`](Self::catalog).
    pub async fn catalog_to_read(&self) -> Result<Arc<dyn Catalog>> {
        if self.is_fresh() {
            return self.open("sqlite::memory:").await;
        }
        self.catalog().await
    }

    /// Whether nothing has been written yet: the catalog is a file, and it does not exist.
    pub fn is_fresh(&self) -> bool {
        let file = self.project.config.catalog_file();
        // What cannot be looked at may well exist; opening it says what is wrong.
        file.is_some_and(|file| matches!(file.try_exists(), Ok(false)))
    }

    async fn open(&self, uri: &str) -> Result<Arc<dyn Catalog>> {
        if self.project.config.is_rest_catalog() {
            return self.connect(uri).await;
        }
        Ok(Arc::new(self.open_sql(uri).await?))
    }

    /// Opens the catalog as the SQL store that it is, for those who serve it.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if the project's catalog is a REST
    /// catalog, and as [`catalog`](Self::catalog).
    pub async fn sql_catalog(&self) -> Result<SqlCatalog> {
        if self.project.config.is_rest_catalog() {
            return Err(Error::invalid(
                "the project's catalog is a REST catalog, which is served elsewhere",
            )
            .help("serve a catalog from a project whose catalog.uri is sqlite: or postgres:"));
        }
        self.open_sql(self.project.config.catalog_uri.reveal())
            .await
    }

    async fn open_sql(&self, uri: &str) -> Result<SqlCatalog> {
        let config = SqlCatalogConfig::new(
            self.project.config.catalog_name.clone(),
            uri,
            self.warehouse.clone(),
        );
        SqlCatalog::open(config, self.storage.clone(), self.environment.clone()).await
    }

    async fn connect(&self, uri: &str) -> Result<Arc<dyn Catalog>> {
        let Config {
            catalog_name, rest, ..
        } = &self.project.config;
        let config = RestCatalogConfig {
            warehouse: rest.warehouse.clone(),
            prefix: rest.prefix.clone(),
            token: rest.token.clone(),
            ..RestCatalogConfig::new(catalog_name, uri, self.warehouse.clone())
        };
        let (storage, environment) = (self.storage.clone(), self.environment.clone());
        Ok(Arc::new(
            RestCatalog::connect(config, storage, environment).await?,
        ))
    }

    /// The SQL engine over this catalog.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn engine(&self, catalog: &Arc<dyn Catalog>) -> Result<Engine> {
        self.engine_with(catalog, EngineOptions::default())
    }

    /// The SQL engine over this catalog, with these options, the lake's environment and what the
    /// project says of new tables.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn engine_with(
        &self,
        catalog: &Arc<dyn Catalog>,
        options: EngineOptions,
    ) -> Result<Engine> {
        let options = EngineOptions {
            environment: self.environment.clone(),
            table_defaults: self.project.config.table_defaults(),
            ..options
        };
        Engine::new(catalog.clone(), options)
    }

    /// The runner of the project's pipeline.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn runner(&self, catalog: &Arc<dyn Catalog>) -> Result<Runner> {
        Runner::new(
            &self.project,
            catalog.clone(),
            self.storage.clone(),
            self.environment.clone(),
            self.engine(catalog)?,
        )
    }

    /// The error for somebody who needs tables in a project that has none yet.
    pub fn nothing_yet(&self) -> Error {
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
