//! `berglake.toml`: where catalog, storage and sources are, and what is the default for new tables.

use std::collections::BTreeMap;
use std::path::Path;

use berglake_format::Result;
use berglake_format::storage::StorageConfig;

/// The effective configuration of a project: file, then environment, then flags.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pipeline's name; the folder's name where nothing is said.
    pub name: String,
    /// The catalog's URI with relative SQLite paths made absolute.
    pub catalog_uri: berglake_format::Secret,
    /// The catalog's name as other engines must give it.
    pub catalog_name: String,
    /// The warehouse: a location or an absolute folder.
    pub warehouse: String,
    /// The stores.
    pub storage: StorageConfig,
    /// Properties of new tables.
    pub defaults: BTreeMap<String, String>,
    /// Properties of new tables by layer (namespace); they win over `defaults`.
    pub layers: BTreeMap<String, BTreeMap<String, String>>,
    /// What `${name}` stands for in SQL files.
    pub variables: BTreeMap<String, String>,
    /// The folder of the SQL files, relative to the project.
    pub pipelines: String,
}

impl Config {
    /// Loads `berglake.toml` and applies `BERGLAKE_*` overrides.
    ///
    /// # Errors
    /// See [`Project::load`](crate::Project::load).
    pub fn load(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let _ = (root, environment.into_iter().count());
        todo!()
    }
}
